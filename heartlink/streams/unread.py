"""Hints that a room one is not in has something new, gathered so that a busy room costs next to nothing."""

from __future__ import annotations

from bisect import bisect_right
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
        if state.room.id not in self._news and self._streams.subjects_count:
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
            self._tell_of(state)

    def _tell_of(self, state: RoomState) -> None:
        room_id, now_ms = state.room.id, self._clock()
        scope, news = room_scope(room_id), _News(state)
        by_count: dict[int, list[UserId]] = {}
        for user_id in self._streams.listened_to(state.members):
            if state.is_here(user_id) or not self._policy.rights(user_id).allows("chat.read", scope, now_ms):
                continue
            unread = news.unread_of(user_id, state.read_up_to(user_id))
            if unread:
                by_count.setdefault(unread, []).append(user_id)
        for unread, users in by_count.items():
            hint = Unread(room_id=room_id, last_seq=state.last_seq, unread=unread)
            self._streams.notify(users, Notification(timestamp=iso(now_ms), data=hint), latest_key=f"unread:{room_id}")


class _News:
    """A room's messages as far as memory reaches, sorted so that counting them for one more user costs nothing."""

    def __init__(self, state: RoomState) -> None:
        rows = state.recent.changed_since(state.recent.floor) or ()
        self._all: list[int] = []
        self._by_sender: dict[UserId, list[int]] = {}
        for message in sorted((row.message for row in rows if not row.message.deleted), key=lambda message: message.id):
            self._all.append(message.id)
            self._by_sender.setdefault(message.sender_id, []).append(message.id)

    def unread_of(self, user_id: UserId, cursor: int) -> int:
        """Others' messages after a cursor, up to a bound."""
        own = self._by_sender.get(user_id, [])
        count = len(self._all) - bisect_right(self._all, cursor) - (len(own) - bisect_right(own, cursor))
        return min(count, COUNTED_AT_MOST)
