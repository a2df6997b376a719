"""What waits in a journal: new messages and changes of messages, each knowing how its author hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from heartlink.errors import Refusal, conflict, not_found
from heartlink.model import CallRecord, FileView, Message, MessageType, ReplyTo, StoredMessage, User, UserId
from heartlink.protocol import encode, iso
from heartlink.rooms import RoomState, excerpt


class Published(NamedTuple):
    """One step of a room's history: a new message (``change`` None) or a message's new state, and who caused it."""

    row: StoredMessage
    change: str | None
    entry: Post | Amend | None


class Answer(Protocol):
    """How an entry's author learns its fate when no published copy tells them."""

    def __call__(
        self, entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool
    ) -> None:
        """``published``: the room has just been told; otherwise only the author needs an answer."""


class Entry:
    """Something that waits for its number: who asked, over which connection, and how they hear of the outcome."""

    __slots__ = ("answer", "attempts", "author", "base", "loaded", "origin", "ref")

    def __init__(self, author: User, answer: Answer, origin: object | None, ref: str | None) -> None:
        self.author = author
        self.answer = answer
        self.origin = origin
        self.ref = ref
        self.base: StoredMessage | None = None
        """The message it speaks of, once it was read from the store."""
        self.loaded = False
        self.attempts = 0

    def target(self) -> int | None:
        """The id of the message it speaks of."""
        raise NotImplementedError

    def known(self, state: RoomState) -> StoredMessage | None:
        """The message's state now: in memory, or as it was read."""
        target = self.target()
        return None if target is None else state.recent.get(target) or self.base


class Post(Entry):
    """A new message. ``dedup`` is what the store keeps once: of the ``client_id``, or of this posting alone."""

    __slots__ = (
        "call",
        "change",
        "client_id",
        "content",
        "dedup",
        "file",
        "file_url",
        "fingerprint",
        "mentions",
        "message_type",
        "reply_to",
        "sent_before",
    )

    def __init__(
        self,
        author: User,
        answer: Answer,
        *,
        content: str,
        message_type: MessageType,
        client_id: str | None,
        dedup: str,
        fingerprint: str,
        reply_to: int | None,
        mentions: tuple[UserId, ...],
        call: CallRecord | msgspec.UnsetType = msgspec.UNSET,
        file: FileView | None = None,
        file_url: str = "",
        origin: object | None = None,
        ref: str | None = None,
    ) -> None:
        super().__init__(author, answer, origin, ref)
        self.call = call
        self.file = file
        self.file_url = file_url
        self.content = content
        self.message_type = message_type
        self.client_id = client_id
        self.dedup = dedup
        self.fingerprint = fingerprint
        self.reply_to = reply_to
        self.mentions = mentions
        self.sent_before: StoredMessage | None = None
        self.change: str | None = None

    def target(self) -> int | None:
        return self.reply_to

    def occupies(self) -> object:
        return self.dedup

    def already(self, state: RoomState) -> StoredMessage | None:
        """The message stored under the same ``client_id``, as far as is known without asking the store."""
        return state.recent.sent_as(self.dedup) or self.sent_before

    def answer_again(self, earlier: StoredMessage) -> None:
        """Answer a ``client_id`` that was stored before: with the same message, or with a conflict."""
        if earlier.fingerprint == self.fingerprint:
            self.answer(self, earlier, duplicate=True, published=False)
            return
        refusal = conflict(
            f"The client_id '{self.client_id}' was used for another message before.",
            "Use a new client_id for new content.",
        )
        self.answer(self, refusal, duplicate=False, published=False)

    def make(self, state: RoomState, seq: int, now_ms: int) -> StoredMessage | Refusal:
        """The message with its number, ready to be stored."""
        quoted: ReplyTo | None = None
        if self.reply_to is not None:
            known = self.known(state)
            if known is None:
                return not_found(f"The message {self.reply_to}, to which this replies,", "Send it without 'reply_to'.")
            quoted = ReplyTo(known.message.id, known.message.sender, excerpt(_words_of(known.message)))
        message = Message(
            id=seq,
            seq=seq,
            rev=seq,
            client_id=self.client_id,
            room_id=state.room.id,
            sender=self.author.username,
            sender_id=self.author.id,
            sender_name=self.author.display_name,
            sender_avatar=self.author.avatar_url,
            content=self.content,
            message_type=self.message_type,
            file=self.file,
            file_url=self.file_url,
            reply_to=quoted,
            mentions=self.mentions,
            created_at=iso(now_ms),
            call=self.call,
            listened=() if self.message_type == "voice" else msgspec.UNSET,
        )
        return StoredMessage(message, encode(message), self.dedup, self.fingerprint)


class Amend(Entry):
    """A change of a message: ``edit`` gets it and answers its new state, itself for no change, or a refusal."""

    __slots__ = ("change", "edit", "message_id")

    def __init__(
        self,
        author: User,
        answer: Answer,
        *,
        message_id: int,
        change: str,
        edit: Callable[[Message, int], Message | Refusal],
        origin: object | None = None,
        ref: str | None = None,
    ) -> None:
        super().__init__(author, answer, origin, ref)
        self.message_id = message_id
        self.change = change
        self.edit = edit

    def target(self) -> int | None:
        return self.message_id

    def occupies(self) -> object:
        return self.message_id

    def make(self, state: RoomState, seq: int, now_ms: int) -> StoredMessage | Refusal:
        """The message's new state with its number; the known row itself when nothing changes."""
        known = self.known(state)
        if known is None:
            return not_found(f"The message {self.message_id}")
        edited = self.edit(known.message, now_ms)
        if isinstance(edited, Refusal):
            return edited
        if edited is known.message:
            return known
        message = msgspec.structs.replace(edited, seq=seq, rev=seq)
        return StoredMessage(message, encode(message), known.dedup, known.fingerprint)


def _words_of(message: Message) -> str:
    """What a quote of a message shows: its text, or the name of its file."""
    return message.content or (message.file.name if message.file is not None else "")
