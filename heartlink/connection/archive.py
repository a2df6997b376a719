"""What is remembered of connections: how an open one looks now, and for some minutes how a closed one ended."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Literal, NamedTuple

from heartlink.connection.peer import Connection
from heartlink.connection.recorder import latest_of
from heartlink.model import UserId

KEPT_SECONDS: Final = 900
"""How long the recording of a closed connection is kept."""

KEPT_CONNECTIONS: Final = 1000
KEPT_PER_PERSON: Final = 20
"""Closed connections of one user, or of one address where nobody is signed in."""


class Arrival(NamedTuple):
    """Where a connection came from and to, and when, in epoch milliseconds."""

    address: str
    since_ms: int
    route: str = ""
    room_id: str | None = None


class Snapshot(NamedTuple):
    """A connection at one moment, or at its end (``closed_ms``); ``packed`` is its recording."""

    id: str
    user_id: UserId | None
    username: str | None
    arrival: Arrival
    closed_ms: int | None
    close_code: int | None
    close_reason: str
    ended_by: Literal["", "server", "peer"]
    lag_ms: int | None
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    frames_dropped: int
    queued_frames: int
    queued_bytes: int
    packed: bytes


def take_snapshot(connection: Connection, arrival: Arrival, closed_ms: int | None = None) -> Snapshot:
    """How a connection looks now, or looked when it ended."""
    user = connection.identity.user if connection.identity else None
    farewell = connection.farewell
    is_over = closed_ms is not None
    return Snapshot(
        id=connection.id,
        user_id=user.id if user else None,
        username=user.username if user else None,
        arrival=arrival,
        closed_ms=closed_ms,
        close_code=(farewell.close_code if farewell else 1006) if is_over else None,
        close_reason=farewell.reason if farewell and is_over else "",
        ended_by=connection.ended_by,
        lag_ms=connection.lag_ms,
        frames_in=connection.frames_in,
        frames_out=connection.frames_out,
        bytes_in=connection.bytes_in,
        bytes_out=connection.bytes_out,
        frames_dropped=connection.frames_dropped,
        queued_frames=connection.queued_at_end if is_over else connection.queued_frames,
        queued_bytes=connection.queued_bytes,
        packed=latest_of(connection.recording),
    )


class Archive:
    """The latest closed connections: bounded in number, in number for each person, and in time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()
        self._by_person: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, closed: Snapshot) -> None:
        """Keep one, and let go of what is too much."""
        own = self._by_person.setdefault(_person(closed), deque())
        if len(own) >= KEPT_PER_PERSON:
            self._kept.pop(own.popleft(), None)
        own.append(closed.id)
        self._kept[closed.id] = closed
        if len(self._kept) > KEPT_CONNECTIONS:
            self._drop_oldest()

    def forget_old(self, now_ms: int) -> None:
        """Let go of those that were closed too long ago."""
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if (oldest.closed_ms or 0) > now_ms - KEPT_SECONDS * 1000:
                break
            self._drop_oldest()

    def get(self, connection_id: str) -> Snapshot | None:
        """A closed connection that is still remembered."""
        return self._kept.get(connection_id)

    def latest(self, limit: int, user_id: UserId | None = None) -> list[Snapshot]:
        """The closed connections, the last closed first; of one user only where one is named."""
        found = (closed for closed in reversed(self._kept.values()) if user_id is None or closed.user_id == user_id)
        return [closed for closed, _ in zip(found, range(limit), strict=False)]

    def _drop_oldest(self) -> None:
        _, closed = self._kept.popitem(last=False)
        own = self._by_person[_person(closed)]
        own.remove(closed.id)
        if not own:
            del self._by_person[_person(closed)]


def _person(closed: Snapshot) -> str:
    return f"user {closed.user_id}" if closed.user_id is not None else f"address {closed.arrival.address}"
