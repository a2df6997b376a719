"""What people say: post, edit, delete, react; and how the room hears of it (PROTOCOL 3.2)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from heartlink.chat.listening import listened_by
from heartlink.chat.live import LiveRoom, Peer
from heartlink.connection import Connection
from heartlink.errors import Refusal, conflict, not_found, room_ended, too_large, unauthenticated, unfit
from heartlink.frames import text_frame
from heartlink.hub import frame_of
from heartlink.journal import Amend, Post, Published
from heartlink.model import Message, StoredMessage, User, UserId
from heartlink.names import fold, is_emoji
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
from heartlink.store.messages import dedup_key, fingerprint

REACTION_KINDS: Final = 50
"""Different emoji on one message."""

MENTIONS_LIMIT: Final = 50
"""People one message may call."""

_MENTION = re.compile(r"@([^\s@]{1,64})")
_TRAILING = ".,;:!?)]}>\"'。，；：！？）】》」』”’…-"


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

    def __init__(self, *, clock: Callable[[], int], message_chars: int) -> None:
        self._clock = clock
        self._message_chars = message_chars

    # From sockets

    def say(self, peer: Peer, command: SendMessage) -> None:
        """Queue a message; the peer hears of it by its own copy."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.send")
        self._post(peer.live, user, command, self._answer_peer, peer)

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
        self, live: LiveRoom, user: User, capabilities: tuple[str, ...], command: SendMessage
    ) -> tuple[StoredMessage, bool]:
        """Store and publish a message; with True when its ``client_id`` was stored before."""
        require(live, user, capabilities, "chat.send")
        outcome = _Outcome()
        self._post(live, user, command, outcome.settle)
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
        self, live: LiveRoom, user: User, command: SendMessage, answer: _Answer, peer: Peer | None = None
    ) -> None:
        content = self._checked(command.content)
        if command.file_id is not None:
            raise not_found("The file", "Upload it first, or leave 'file_id' out.")
        if command.message_type != "text":
            raise unfit("message_type", f"a message of type '{command.message_type}' needs a file", "Send 'text'.")
        client_id = command.client_id
        live.journal.submit(
            Post(
                live.user(user.id) or user,
                answer,
                content=content,
                message_type="text",
                client_id=client_id,
                dedup=secrets.token_hex(16) if client_id is None else dedup_key(live.id, user.id, client_id),
                fingerprint=fingerprint(content, command.message_type, command.reply_to, command.file_id),
                reply_to=command.reply_to,
                mentions=mentioned(content, live) if "@" in content else (),
                origin=peer,
                ref=command.ref,
            )
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
        content = self._checked(command.content)

        def change(message: Message, now_ms: int) -> Message | Refusal:
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
            raise unfit("content", "it is empty", "Write some text.")
        if len(content) > self._message_chars:
            raise too_large("The message", f"{self._message_chars} characters")
        return content


def publish(live: LiveRoom, steps: list[Published]) -> None:
    """Send stored steps to everybody in the room: one frame for all, another for each one's own (DESIGN 5)."""
    frames = [text_frame(message_frame(step.row.body, change=step.change, is_own=False)) for step in steps]
    authors: set[UserId | None] = {step.row.message.sender_id for step in steps}
    asking: set[Connection] = set()
    for step in steps:
        origin = step.entry.origin if step.entry is not None and step.entry.ref is not None else None
        if isinstance(origin, Peer) and origin.attached:
            asking.add(origin.connection)
    live.topic.tell_all_but(b"".join(frames), len(frames), authors, asking)
    for author in authors:
        blob = b"".join(_seen_by(live, steps, frames, author))
        for connection in live.topic.of_user(author):
            if connection not in asking:
                connection.push_many(blob, len(frames))
    for connection in asking:
        reader = connection.identity.user.id if connection.identity else None
        connection.push_many(b"".join(_seen_by(live, steps, frames, reader, connection)), len(frames))


def _seen_by(
    live: LiveRoom,
    steps: list[Published],
    frames: list[bytes],
    reader: UserId | None,
    connection: Connection | None = None,
) -> list[bytes]:
    """The steps for somebody who said some of them, or who asked for some under a ``ref`` on this connection."""
    seen = frames.copy()
    for index, (row, change, entry) in enumerate(steps):
        ref = None
        if connection is not None and entry is not None and isinstance(entry.origin, Peer):
            ref = entry.ref if entry.origin.connection is connection else None
        is_own = row.message.sender_id == reader
        if is_own or ref is not None:
            is_read = change is not None and live.state.is_read(row, reader)
            seen[index] = text_frame(message_frame(row.body, change=change, is_own=is_own, is_read=is_read, ref=ref))
    return seen


def mentioned(content: str, live: LiveRoom) -> tuple[UserId, ...]:
    """The members whose names stand behind an ``@`` in a text, in order."""
    names = {fold(match.rstrip(_TRAILING)) for match in _MENTION.findall(content)}
    names |= {fold(match) for match in _MENTION.findall(content)}
    found = [
        user_id for user_id in live.state.members if (user := live.user(user_id)) is not None and user.fold in names
    ]
    return tuple(found[:MENTIONS_LIMIT])


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
