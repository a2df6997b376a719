"""How the rooms of this house fit together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from heartlink.calls.lines import Lines
from heartlink.calls.service import Calls
from heartlink.calls.voice import Voice
from heartlink.chat import LiveRooms
from heartlink.settings import Settings
from heartlink.store.calls import RunningCalls
from heartlink.store.messages import Messages
from heartlink.store.users import Users
from heartlink.streams import Streams


def make_calls(
    settings: Settings,
    live_rooms: LiveRooms,
    running: RunningCalls,
    messages: Messages,
    users: Users,
    streams: Streams,
    clock: Callable[[], int],
    spawn: Callable[[Coroutine[Any, Any, None]], None],
) -> Calls:
    """The calls of a server, not yet open; :meth:`Calls.follow` ties them to what ends them."""
    return Calls(
        live_rooms,
        Lines(running, messages, users, live_rooms, clock=clock),
        Voice(live_rooms, streams, clock=clock, ring_seconds=settings.call_ring_seconds),
        clock=clock,
        spawn=spawn,
        ring_seconds=settings.call_ring_seconds,
        resume_seconds=settings.call_resume_seconds,
    )
