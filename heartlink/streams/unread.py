"""Hints that a room one is not in has something new, gathered so that a busy room costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from heartlink.model import UserId
from heartlink.protocol import Notification, Unread, iso
from heartlink.rights import room_scope
from heartlink.rights.policy import Policy
from heartlink.rooms import RoomState
from heartlink.streams.streams import Streams

PAUSE_SECONDS: Final = 0.2
"""A room's hints go out this long after the first news since the last ones."""


COUNTED_AT_MOST: Final = 100
"""Beyond that many nobody counts."""


class Timer(Protocol):
    """A callback under way that can be called off."""

    def cancel(self) -> None: ...


class UnreadHints:
    """Tells members who are not in a room that there is something new, as long as they may read it."""

    def __init__(
        self,
        streams: Streams,
        policy: Policy,
        *,
        clock: Callable[[], int],
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._streams = streams
        self._policy = policy
        self._clock = clock
        self._call_later = call_later
        self._news: dict[str, RoomState] = {}
        self._timer: Timer | None = None

    def note(self, state: RoomState) -> None:
        """A room has something new."""
        if state.room.id not in self._news and self._streams.has_users:
            self._news[state.room.id] = state
            self._timer = self._timer or self._call_later(PAUSE_SECONDS, self._tell)

    def close(self) -> None:
        """Call the timer off."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        news, self._news = self._news, {}
        for state in news.values():
            for user_id in self._absent(state):
                self._hint(state, user_id)

    def _absent(self, state: RoomState) -> list[UserId]:
        listeners, members = self._streams.users(), state.members
        return [user_id for user_id in listeners if user_id in members and not state.is_here(user_id)]

    def _hint(self, state: RoomState, user_id: UserId) -> None:
        room_id = state.room.id
        if not self._policy.rights(user_id).allows("chat.read", room_scope(room_id), self._clock()):
            return
        unread = _count_unread(state, user_id)
        if unread:
            hint = Unread(room_id=room_id, last_seq=state.last_seq, unread=unread)
            event = Notification(timestamp=iso(self._clock()), data=hint)
            self._streams.notify([user_id], event, latest_key=f"unread:{room_id}")


def _count_unread(state: RoomState, user_id: UserId) -> int:
    """Others' messages after a user's cursor, as far as memory reaches and up to a bound."""
    cursor, recent = state.read_up_to(user_id), state.recent
    rows = recent.changed_since(max(cursor, recent.floor)) or ()
    new = (row.message for row in rows if row.message.id > cursor)
    count = sum(not message.deleted and message.sender_id != user_id for message in new)
    return min(count, COUNTED_AT_MOST)
