"""What goes on around the messages: typing, read cursors, presence (PROTOCOL 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.chat.live import LiveRoom, Peer
from heartlink.chat.talk import require
from heartlink.errors import StoreFault, missing_parameters, not_saved, unauthenticated
from heartlink.hub import frame_of
from heartlink.model import User, UserId
from heartlink.protocol import (
    Event,
    NewMessage,
    NewMessageNotice,
    OnlineStatus,
    Presence,
    ReadStatus,
    ReadStatusUpdate,
    Typing,
    UserTyping,
    error_frame,
    iso,
)
from heartlink.store.rooms import Rooms

logger = logging.getLogger(__name__)

PRESENCE_PAUSE_SECONDS: Final = 1.0
"""At most one change of presence of a user is told in this time."""


class Around:
    """Everything that is said about people rather than by them."""

    def __init__(
        self,
        rooms: Rooms,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        typing_seconds: float,
    ) -> None:
        self._rooms = rooms
        self._clock = clock
        self._spawn = spawn
        self._typing_seconds = typing_seconds

    # Typing

    def typing(self, peer: Peer, command: Typing) -> None:
        """Tell the others that somebody writes or records, or stopped; it stops by itself after a while."""
        live, user = peer.live, require(peer.live, peer.user, peer.capabilities, "chat.send")
        if command.is_typing:
            live.set_timer("typing", user.id, self._typing_seconds, lambda: self.end_typing(live, user, command.what))
        else:
            live.drop_timer("typing", user.id)
        self._tell_typing(live, user, command, peer)

    def end_typing(self, live: LiveRoom, user: User, what: str = "text") -> None:
        """Tell everybody that somebody no longer writes."""
        live.drop_timer("typing", user.id)
        self._tell_typing(live, user, Typing(is_typing=False, what="voice" if what == "voice" else "text"), None)

    def _tell_typing(self, live: LiveRoom, user: User, command: Typing, peer: Peer | None) -> None:
        event = UserTyping(username=user.username, user_id=user.id, is_typing=command.is_typing, what=command.what)
        live.topic.tell_latest(f"typing:{user.id}", frame_of(event), peer.connection if peer else None)

    # Read cursors

    def read(self, peer: Peer, command: ReadStatus) -> Event | None:
        """Raise a read cursor: stored first, then told to everybody; told to the reader alone if it stood higher."""
        user = peer.user
        if user is None:
            raise unauthenticated("Guests who are not signed in have no read marks.")
        require(peer.live, user, peer.capabilities, "chat.read")
        if command.message_ids is None and command.up_to is None:
            raise missing_parameters("message_ids", "'read_status' (or give 'up_to')")
        ids = command.message_ids or []
        return self.raise_cursor(peer.live, user, max([command.up_to or 0, *ids]), ids, peer, command.ref)

    def raise_cursor(
        self,
        live: LiveRoom,
        user: User,
        up_to: int,
        message_ids: list[int],
        peer: Peer | None = None,
        ref: str | None = None,
    ) -> Event | None:
        """Raise a user's cursor in a room; the event for the reader alone when it already stood as high."""
        receipt = live.state.raise_cursor(user.id, up_to)
        event = ReadStatusUpdate(
            message_ids=message_ids,
            up_to=live.state.read_up_to(user.id),
            username=user.username,
            user_id=user.id,
            ref=ref,
        )
        if receipt is None:
            return event
        live.unsaved_receipts[user.id] = receipt
        self._spawn(self._save_then_tell(live, event, peer))
        return None

    async def raise_and_save(self, live: LiveRoom, user: User, up_to: int) -> None:
        """Raise a cursor, store it, tell the room; raises StoreUnavailable."""
        receipt = live.state.raise_cursor(user.id, up_to)
        if receipt is not None:
            live.unsaved_receipts[user.id] = receipt
            await self.save_receipts(live)
            event = ReadStatusUpdate(message_ids=[], up_to=receipt.up_to, username=user.username, user_id=user.id)
            live.topic.tell(frame_of(event))

    async def _save_then_tell(self, live: LiveRoom, event: ReadStatusUpdate, peer: Peer | None) -> None:
        try:
            await self.save_receipts(live)
        except StoreFault:
            if peer is not None:
                peer.connection.push(frame_of(error_frame(not_saved(), self._clock(), event.ref)))
            return
        if peer is not None and event.ref is not None:
            peer.connection.push(frame_of(event))
            plain = ReadStatusUpdate(
                message_ids=event.message_ids, up_to=event.up_to, username=event.username, user_id=event.user_id
            )
            live.topic.tell(frame_of(plain), peer.connection)
        else:
            live.topic.tell(frame_of(event))

    async def save_receipts(self, live: LiveRoom) -> None:
        """Store all cursors of a room that were not stored yet; those that fail are kept for the next time."""
        # Whoever comes second waits until its own receipt, which the first took along, is stored.
        async with live.saving_receipts:
            unsaved, live.unsaved_receipts = live.unsaved_receipts, {}
            if not unsaved:
                return
            try:
                await self._rooms.put_receipts(list(unsaved.values()))
            except StoreFault:
                live.unsaved_receipts = {**unsaved, **live.unsaved_receipts}
                raise

    def note_last_seen(self, live: LiveRoom, user_id: UserId) -> None:
        """Store when a user was last here, as soon as that is possible."""
        live.unsaved_receipts[user_id] = live.state.receipt(user_id)
        self._spawn(self._save_quietly(live))

    async def _save_quietly(self, live: LiveRoom) -> None:
        try:
            await self.save_receipts(live)
        except StoreFault:
            logger.info("read marks of room %r wait until the store is back", live.id)

    def recover(self, live: LiveRoom) -> None:
        """The store is back: store what was kept."""
        if live.unsaved_receipts:
            self._spawn(self._save_quietly(live))

    # Presence

    def show(self, peer: Peer, command: OnlineStatus) -> Event | None:
        """Set how a user is shown in the room; told to all, at most once a second."""
        live, user = peer.live, peer.user
        if user is None:
            raise unauthenticated("Guests who are not signed in are not shown.")
        if not live.state.show(user.id, command.status):
            return self._presence(live, user, command.ref)
        if ("presence", user.id) in live.timers:
            # Told when the pause ends; only the latest counts.
            live.set_timer("presence again", user.id, PRESENCE_PAUSE_SECONDS, lambda: self._tell_presence(live, user))
            return None
        live.set_timer("presence", user.id, PRESENCE_PAUSE_SECONDS, lambda: None)
        self._tell_presence(live, user, peer if command.ref else None)
        return self._presence(live, user, command.ref) if command.ref else None

    def _tell_presence(self, live: LiveRoom, user: User, skip: Peer | None = None) -> None:
        event = self._presence(live, user)
        live.topic.tell_latest(f"presence:{user.id}", frame_of(event), skip.connection if skip else None)

    def _presence(self, live: LiveRoom, user: User, ref: str | None = None) -> Presence:
        attendance = live.state.attendance.get(user.id)
        last_seen_ms = attendance.last_seen_ms if attendance else None
        return Presence(
            user_id=user.id,
            username=user.username,
            status=attendance.status if attendance else "offline",
            last_seen=None if last_seen_ms is None else iso(last_seen_ms),
            ref=ref,
        )

    # Old clients

    def notice(self, peer: Peer, command: NewMessage) -> None:
        """Hand on an old client's notice that it stored something over HTTP."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.send")
        event = NewMessageNotice(message_id=command.message_id, username=user.username, user_id=user.id)
        peer.live.topic.tell(frame_of(event), peer.connection)
