"""The calls that run now: by id, by room, by who is in them; with their timers, and the rooms they keep in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from heartlink.calls.machine import Call
from heartlink.chat import LiveRoom
from heartlink.model import RoomId, UserId

OVER_REMEMBERED: Final = 1000
"""Calls that are over and still known, so that what comes late is told so."""


class Running:
    """A call, the room it is in, and what runs on a timer in it."""

    __slots__ = ("call", "has_rung", "live", "lost_at_ms", "timers")

    def __init__(self, call: Call, live: LiveRoom) -> None:
        self.call = call
        self.live = live
        self.has_rung = False
        """Whether anybody was told of it."""
        self.lost_at_ms: dict[UserId, int] = {}
        """Since when the seats are lost that are."""
        self.timers: dict[str, asyncio.TimerHandle] = {}

    def set_timer(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        """Run ``action`` after a while, instead of what was set under the same name."""
        self.drop_timer(name)
        self.timers[name] = asyncio.get_running_loop().call_later(seconds, action)

    def drop_timer(self, name: str) -> None:
        """Call off what was set."""
        timer = self.timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def seconds_left(self, name: str) -> float:
        """How long until a timer runs; 0.0 when none does."""
        timer = self.timers.get(name)
        return max(0.0, timer.when() - asyncio.get_running_loop().time()) if timer else 0.0


class Board:
    """Every running call. A room has at most one, and so has a user."""

    def __init__(self) -> None:
        self._by_id: dict[str, Running] = {}
        self._by_room: dict[RoomId, Running] = {}
        self._by_user: dict[UserId, Running] = {}
        self._over: OrderedDict[str, Call] = OrderedDict()

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def under(self, call_id: str) -> Running | None:
        """A running call by its id."""
        return self._by_id.get(call_id)

    def over(self, call_id: str) -> Call | None:
        """A call that was over a while ago."""
        return self._over.get(call_id)

    def in_room(self, room_id: RoomId) -> Running | None:
        """The call in a room now."""
        return self._by_room.get(room_id)

    def of_user(self, user_id: UserId) -> Running | None:
        """The call somebody is in, or rings with."""
        return self._by_user.get(user_id)

    def busy(self, users: frozenset[UserId]) -> list[UserId]:
        """Those of some users who are in a call."""
        return [user_id for user_id in self._by_user if user_id in users]

    def add(self, call: Call, live: LiveRoom) -> Running:
        """Take in a call; its room stays in memory until :meth:`let_go`."""
        running = Running(call, live)
        live.uses += 1
        self._by_id[call.id] = self._by_room[live.id] = running
        for user_id in call.seats:
            self._by_user[user_id] = running
        return running

    def seat(self, user_id: UserId, running: Running) -> None:
        """Somebody is in a call."""
        self._by_user[user_id] = running

    def drop(self, running: Running) -> None:
        """A call is over: its room and its people are free for another one."""
        call = running.call
        for name in list(running.timers):
            running.drop_timer(name)
        self._by_id.pop(call.id, None)
        if self._by_room.get(call.room_id) is running:
            del self._by_room[call.room_id]
        for user_id in call.seats:
            if self._by_user.get(user_id) is running:
                del self._by_user[user_id]
        self._over[call.id] = call
        if len(self._over) > OVER_REMEMBERED:
            self._over.popitem(last=False)

    def let_go(self, running: Running) -> None:
        """Nothing of the call is left to be done in its room."""
        running.live.uses -= 1
        running.live.idle_since = None

    def close(self) -> None:
        """Call off all timers."""
        for running in self:
            for name in list(running.timers):
                running.drop_timer(name)
