"""What people say: post, edit, delete, react; and how the room hears of it (PROTOCOL 3.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from heartlink.chat.keeping import FileKeeper, Said, Work, dedup_of
from heartlink.chat.listening import listened_by
from heartlink.chat.live import LiveRoom, Peer
from heartlink.chat.mentions import mentioned
from heartlink.chat.showing import file_url, file_view
from heartlink.errors import Refusal, conflict, not_found, room_ended, too_large, unauthenticated, unfit
from heartlink.frames import text_frame
from heartlink.hub import frame_of
from heartlink.journal import Amend, Post
from heartlink.model import Message, StoredFile, StoredMessage, User, UserId
from heartlink.names import is_emoji
from heartlink.protocol import (
    DeleteMessage,
    EditMessage,
    Listened,
    React,
    SendMessage,
    error_frame,
    iso,
    message_frame,
)
from heartlink.rights import room_scope
from heartlink.store.messages import fingerprint

REACTION_KINDS: Final = 50
"""Different emoji on one message."""


def require(live: LiveRoom, user: User | None, capabilities: tuple[str, ...], permission: str) -> User:
    """The user, if they may do this in the room; raises the Refusal that says why not."""
    if live.state.status == "ended":
        raise room_ended(live.id)
    if permission not in capabilities:
        if user is None:
            raise unauthenticated("Guests who are not signed in cannot do this.")
        raise denied(live, user.id, permission)
    if user is None:
        raise unauthenticated("Only people who are signed in can do this.")
    return user


def denied(live: LiveRoom, user_id: UserId, permission: str) -> Refusal:
    """The refusal for a permission that is not held in a room, with the id under which it can be explained."""
    return live.decisions.deny(user_id, permission, room_scope(live.id))


class Talk:
    """Turns what a person wants to say into entries of the room's journal, and its steps into frames."""

    def __init__(
        self, *, clock: Callable[[], int], message_chars: int, keeper: FileKeeper, spawn: Callable[[Work], None]
    ) -> None:
        self._clock = clock
        self._message_chars = message_chars
        self._keeper = keeper
        self._spawn = spawn

    # From sockets

    def say(self, peer: Peer, command: SendMessage) -> None:
        """Queue a message; the peer hears of it by its own copy."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.send")
        if command.file_id is None:
            self._post(peer.live, user, command, self._answer_peer, peer)
        else:
            self._spawn(self._say_with_file(peer, user, command))

    async def _say_with_file(self, peer: Peer, user: User, command: SendMessage) -> None:
        """The same with a file, which has to be looked up: what the peer may do is asked again after that."""
        live, file = peer.live, None
        try:
            file = await self._keeper.share(live, user, command)
            if not peer.connection.fenced:
                require(live, peer.user, peer.capabilities, "chat.send")
                answer = self._keeper.settling(file, self._answer_peer)
                self._post(live, user, command, answer, peer, file=file)
                return
        except Refusal as refusal:
            peer.connection.push(frame_of(error_frame(refusal, self._clock(), command.ref, command.client_id)))
        self._keeper.drop(file)

    def edit(self, peer: Peer, command: EditMessage) -> None:
        """Queue another text for a message."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.send")
        self._edit(peer.live, user, peer.capabilities, command, self._answer_peer, peer)

    def delete(self, peer: Peer, command: DeleteMessage) -> None:
        """Queue a tombstone in a message's place."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.read")
        self._delete(peer.live, user, peer.capabilities, command, self._answer_peer, peer)

    def react(self, peer: Peer, command: React) -> None:
        """Queue an emoji on a message, or its removal."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.send")
        self._react(peer.live, user, command, self._answer_peer, peer)

    def listen(self, peer: Peer, command: Listened) -> None:
        """Queue the mark that somebody has listened to a voice message."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.read")
        self._listen(peer.live, user, command, self._answer_peer, peer)

    def _answer_peer(
        self, entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool
    ) -> None:
        peer = entry.origin
        assert isinstance(peer, Peer)
        if isinstance(outcome, Refusal):
            client_id = entry.client_id if isinstance(entry, Post) else None
            peer.connection.push(frame_of(error_frame(outcome, self._clock(), entry.ref, client_id)))
        elif not published:
            payload = message_frame(
                outcome.body,
                change=entry.change if isinstance(entry, Amend) else None,
                is_own=outcome.message.sender_id == peer.user_id,
                is_read=peer.live.state.is_read(outcome, peer.user_id),
                duplicate=duplicate,
                ref=entry.ref,
            )
            peer.connection.push(text_frame(payload))

    # From REST: the same, awaited

    async def post(
        self, live: LiveRoom, user: User, capabilities: Callable[[], tuple[str, ...]], command: SendMessage
    ) -> tuple[StoredMessage, bool]:
        """Store and publish a message; with True when its ``client_id`` was stored before."""
        require(live, user, capabilities(), "chat.send")
        outcome, file = _Outcome(), None
        try:
            if command.file_id is not None:
                file = await self._keeper.share(live, user, command)
                require(live, user, capabilities(), "chat.send")
            self._post(live, user, command, self._keeper.settling(file, outcome.settle), file=file)
        except Refusal:
            self._keeper.drop(file)
            raise
        return await outcome.settled

    async def post_file(
        self, live: LiveRoom, user: User, capabilities: tuple[str, ...], file: StoredFile | None, said: Said
    ) -> tuple[StoredMessage, bool]:
        """Store and publish the message of a file that was uploaded; None: of one that was there already.

        Nothing is awaited before the message is on its way: the capabilities are those of this turn.
        """
        outcome = _Outcome()
        try:
            require(live, user, capabilities, "chat.send")
            answer = self._keeper.settling(file, outcome.settle)
            live.journal.submit(self._entry(live, user, said, answer, file))
        except Refusal:
            self._keeper.drop(file)
            raise
        return await outcome.settled

    async def amend(
        self,
        live: LiveRoom,
        user: User,
        capabilities: tuple[str, ...],
        command: EditMessage | DeleteMessage | React | Listened,
    ) -> StoredMessage:
        """Store and publish a change of a message; its new state."""
        needed = "chat.read" if isinstance(command, DeleteMessage | Listened) else "chat.send"
        require(live, user, capabilities, needed)
        outcome = _Outcome()
        if isinstance(command, EditMessage):
            self._edit(live, user, capabilities, command, outcome.settle)
        elif isinstance(command, DeleteMessage):
            self._delete(live, user, capabilities, command, outcome.settle)
        elif isinstance(command, Listened):
            self._listen(live, user, command, outcome.settle)
        else:
            self._react(live, user, command, outcome.settle)
        return (await outcome.settled)[0]

    # The entries

    def _post(
        self,
        live: LiveRoom,
        user: User,
        command: SendMessage,
        answer: _Answer,
        peer: Peer | None = None,
        *,
        file: StoredFile | None = None,
    ) -> None:
        if command.file_id is None and command.message_type != "text":
            raise unfit("message_type", f"a message of type '{command.message_type}' needs a file", "Send 'text'.")
        if command.file_id is None or command.content:
            self._checked(command.content)
        said = Said(
            content=command.content,
            client_id=command.client_id,
            reply_to=command.reply_to,
            dedup=dedup_of(live, user, command),
            fingerprint=fingerprint(command.content, command.message_type, command.reply_to, command.file_id),
        )
        live.journal.submit(self._entry(live, user, said, answer, file, peer, command.ref))

    def _entry(
        self,
        live: LiveRoom,
        user: User,
        said: Said,
        answer: _Answer,
        file: StoredFile | None,
        peer: Peer | None = None,
        ref: str | None = None,
    ) -> Post:
        return Post(
            live.user(user.id) or user,
            answer,
            content=said.content,
            message_type="text" if file is None else file.kind,
            client_id=said.client_id,
            dedup=said.dedup,
            fingerprint=said.fingerprint,
            reply_to=said.reply_to,
            mentions=mentioned(said.content, live) if "@" in said.content else (),
            file=None if file is None else file_view(file),
            file_url="" if file is None else file_url(file.id, file.name),
            origin=peer,
            ref=ref,
        )

    def _edit(
        self,
        live: LiveRoom,
        user: User,
        capabilities: tuple[str, ...],
        command: EditMessage,
        answer: _Answer,
        peer: Peer | None = None,
    ) -> None:
        content = self._checked(command.content) if command.content.strip() else ""

        def change(message: Message, now_ms: int) -> Message | Refusal:
            if not content and message.file is None:
                return _is_empty()
            if message.sender_id != user.id and "chat.moderate" not in capabilities:
                return denied(live, user.id, "chat.moderate")
            if message.deleted:
                return _is_deleted(message.id)
            if message.message_type == "system":
                return conflict("What the server wrote cannot be edited.", "Write a message of your own.")
            if message.content == content:
                return message
            mentions = mentioned(content, live) if "@" in content else ()
            return msgspec.structs.replace(message, content=content, mentions=mentions, edited_at=iso(now_ms))

        self._amend(live, user, command.id, "edited", change, answer, peer, command.ref)

    def _delete(
        self,
        live: LiveRoom,
        user: User,
        capabilities: tuple[str, ...],
        command: DeleteMessage,
        answer: _Answer,
        peer: Peer | None = None,
    ) -> None:
        def change(message: Message, now_ms: int) -> Message | Refusal:
            if message.sender_id != user.id and "chat.moderate" not in capabilities:
                return denied(live, user.id, "chat.moderate")
            if message.deleted:
                return message
            return msgspec.structs.replace(
                message,
                content="",
                deleted=True,
                reply_to=None,
                reactions={},
                mentions=(),
                file=None,
                file_url="",
                call=msgspec.UNSET,
                listened=() if message.message_type == "voice" else msgspec.UNSET,
            )

        self._amend(live, user, command.id, "deleted", change, answer, peer, command.ref)

    def _react(self, live: LiveRoom, user: User, command: React, answer: _Answer, peer: Peer | None = None) -> None:
        emoji = command.emoji.strip()
        if not is_emoji(emoji):
            raise unfit("emoji", "it is not one emoji", "Send one emoji.")

        def change(message: Message, now_ms: int) -> Message | Refusal:
            if message.deleted:
                return _is_deleted(message.id)
            people = message.reactions.get(emoji, [])
            if (user.username in people) == command.on:
                return message
            reactions = {**message.reactions}
            if command.on:
                if emoji not in reactions and len(reactions) >= REACTION_KINDS:
                    return too_large("The number of different reactions", f"{REACTION_KINDS} on one message")
                reactions[emoji] = [*people, user.username]
            else:
                reactions[emoji] = [name for name in people if name != user.username]
                if not reactions[emoji]:
                    del reactions[emoji]
            return msgspec.structs.replace(message, reactions=reactions)

        self._amend(live, user, command.id, "reactions", change, answer, peer, command.ref)

    def _listen(self, live: LiveRoom, user: User, command: Listened, answer: _Answer, peer: Peer | None = None) -> None:
        self._amend(live, user, command.id, "listened", listened_by(user), answer, peer, command.ref)

    def _amend(
        self,
        live: LiveRoom,
        user: User,
        message_id: int,
        change_name: str,
        change: Callable[[Message, int], Message | Refusal],
        answer: _Answer,
        peer: Peer | None,
        ref: str | None,
    ) -> None:
        live.journal.submit(
            Amend(user, answer, message_id=message_id, change=change_name, edit=change, origin=peer, ref=ref)
        )

    def _checked(self, content: str) -> str:
        if not content.strip():
            raise _is_empty()
        if len(content) > self._message_chars:
            raise too_large("The message", f"{self._message_chars} characters")
        return content


def _is_empty() -> Refusal:
    return unfit("content", "it is empty", "Write some text.")


def _is_deleted(message_id: int) -> Refusal:
    return not_found(f"The message {message_id} was deleted; it")


class _Outcome:
    """An entry's fate as something to await."""

    def __init__(self) -> None:
        self.settled: asyncio.Future[tuple[StoredMessage, bool]] = asyncio.get_running_loop().create_future()

    def settle(
        self, entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool
    ) -> None:
        if self.settled.done():
            return
        if isinstance(outcome, Refusal):
            self.settled.set_exception(outcome)
        else:
            self.settled.set_result((outcome, duplicate))


_Answer = Callable[..., None]
