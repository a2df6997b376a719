"""Who is connected, and who listens to what: registration, limits, heartbeats, token expiry, topics, draining."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from heartlink.connection import Archive, Arrival, Connection, Flusher, State, stamped_ping, take_snapshot
from heartlink.errors import HEARTBEAT_TIMEOUT, SERVICE_RESTART, SIGNED_OUT, Farewell, Refusal
from heartlink.frames import text_frame
from heartlink.model import Identity, RoomId, SessionId, UserId
from heartlink.protocol import AuthExpiring, Event, GoingAway, HeartbeatEvent, encode

HEARTBEAT_SLOTS: Final = 15
"""Connections are spread over this many moments of an interval, so that not all beat at once."""

EXPIRY_WARNING_SECONDS: Final = 60
"""How long before its token ends a socket is told."""

EXPIRIES_PER_CONNECTION: Final = 4
EXPIRIES_SPARE: Final = 256
"""With more moments to look at tokens than these, those of connections that are gone are forgotten."""

RECONNECT_FIRST_MS: Final = 200
RECONNECT_SPREAD_MS: Final = 5
"""On a restart peers are told to come back after the first, plus the second for each of them, at random."""

RECONNECT_MOST_MS: Final = 10_000

LAG_SECONDS: Final = 2.0
"""Whoever looks at the connections has them pinged, at most this often."""


Key = TypeVar("Key")


def frame_of(event: Event) -> bytes:
    """An event as a WebSocket frame."""
    return text_frame(encode(event))


class Topic:
    """The connections that hear the same things, by user (None: not signed in)."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: dict[UserId | None, list[Connection]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._listeners.values()))

    def __iter__(self) -> Iterator[Connection]:
        return itertools.chain.from_iterable(list(self._listeners.values()))

    def of_user(self, user_id: UserId | None) -> list[Connection]:
        """A user's connections here."""
        return self._listeners.get(user_id, [])

    @property
    def subjects_count(self) -> int:
        """Of how many users there is a connection here; all who are not signed in count as one."""
        return len(self._listeners)

    def subjects(self) -> list[UserId | None]:
        """The users of whom there is a connection here."""
        return list(self._listeners)

    def join(self, user_id: UserId | None, connection: Connection) -> None:
        """Listen from now on."""
        self._listeners.setdefault(user_id, []).append(connection)

    def leave(self, user_id: UserId | None, connection: Connection) -> None:
        """Listen no more."""
        listeners = self._listeners.get(user_id)
        if listeners and connection in listeners:
            listeners.remove(connection)
            if not listeners:
                del self._listeners[user_id]

    def tell(self, frame: bytes, skip: Connection | None = None) -> None:
        """Send one frame that must not get lost to everyone."""
        for listeners in self._listeners.values():
            for connection in listeners:
                if connection is not skip:
                    connection.push(frame)

    def tell_latest(self, key: str, frame: bytes, skip: Connection | None = None) -> None:
        """Send a frame of which only the latest under ``key`` counts."""
        for listeners in self._listeners.values():
            for connection in listeners:
                if connection is not skip:
                    connection.push_latest(key, frame)

    def tell_all_but(self, blob: bytes, frames: int, apart: Iterable[UserId | None], alone: set[Connection]) -> None:
        """Send joined frames to everyone except the users ``apart`` and the connections ``alone``."""
        apart = set(apart)
        for user_id, listeners in self._listeners.items():
            if user_id not in apart:
                for connection in listeners:
                    if connection not in alone:
                        connection.push_many(blob, frames)


class Hub:
    """All open connections of this process."""

    def __init__(
        self,
        *,
        clock: Callable[[], int],
        heartbeat_seconds: float,
        connections_per_address: int,
        connections_per_user: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop.call_soon, loop.call_later)
        self.heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._per_address_limit = connections_per_address
        self._per_user_limit = connections_per_user
        self._connections: dict[Connection, Arrival] = {}
        self._per_address: Counter[str] = Counter()
        self._by_user: dict[UserId, set[Connection]] = {}
        self._by_session: dict[SessionId, set[Connection]] = {}
        self._slots: list[set[Connection]] = [set() for _ in range(HEARTBEAT_SLOTS)]
        self._next_slot = itertools.cycle(range(HEARTBEAT_SLOTS))
        self._expiries: list[tuple[int, int, Connection, int]] = []
        self._expiry_order = itertools.count()
        self._emptied = asyncio.Event()
        self.on_revoked: list[Callable[[Connection], None]] = []
        """Told, in the same turn, of each connection whose session is over."""
        self._measured_at = -LAG_SECONDS
        self.archive = Archive()
        """Connections that were closed a while ago."""

    def __len__(self) -> int:
        return len(self._connections)

    # Coming and going

    def admit(self, address: str, user_id: UserId | None) -> None:
        """Refuse a connection over the limits; call at the door, before the upgrade."""
        if self._per_address_limit and self._per_address[address] >= self._per_address_limit:
            raise _too_many_connections("your address", "connections_per_address")
        if self._per_user_limit and user_id and len(self._by_user.get(user_id, ())) >= self._per_user_limit:
            raise _too_many_connections("your account", "connections_per_user")

    def register(
        self,
        connection: Connection,
        address: str,
        identity: Identity | None,
        route: str = "",
        room_id: RoomId | None = None,
    ) -> None:
        """Count a connection in; it counts itself out when it is gone."""
        slot = self._slots[next(self._next_slot)]
        self._connections[connection] = Arrival(address, self._clock(), route, room_id)
        self._per_address[address] += 1
        slot.add(connection)
        connection.undo(lambda: self._forget(connection, address, slot))
        if identity is not None:
            self.identify(connection, identity)

    def identify(self, connection: Connection, identity: Identity) -> None:
        """Give a connection its identity, or another token of the same user."""
        self._unlink(connection)
        connection.identity = identity
        self._by_user.setdefault(identity.user.id, set()).add(connection)
        self._by_session.setdefault(identity.session_id, set()).add(connection)
        for before_seconds in (EXPIRY_WARNING_SECONDS, 0):
            due_ms = identity.expires_at_ms - before_seconds * 1000
            entry = (due_ms, next(self._expiry_order), connection, identity.expires_at_ms)
            heapq.heappush(self._expiries, entry)

    def _unlink(self, connection: Connection) -> None:
        identity = connection.identity
        if identity is not None:
            _discard(self._by_user, identity.user.id, connection)
            _discard(self._by_session, identity.session_id, connection)

    def _forget(self, connection: Connection, address: str, slot: set[Connection]) -> None:
        arrival = self._connections.pop(connection, None)
        if arrival is not None:
            self.archive.add(take_snapshot(connection, arrival, self._clock()))
        slot.discard(connection)
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        self._unlink(connection)
        if len(self._expiries) > EXPIRIES_SPARE + EXPIRIES_PER_CONNECTION * len(self._connections):
            self._forget_expiries()
        if not self._connections:
            self._emptied.set()

    def _forget_expiries(self) -> None:
        """Let go of those who left long before their tokens end."""
        self._expiries = [entry for entry in self._expiries if entry[2].state is State.OPEN]
        heapq.heapify(self._expiries)

    def connections_of(self, user_id: UserId) -> list[Connection]:
        """All open connections of a user."""
        return list(self._by_user.get(user_id, ()))

    def arrivals(self, limit: int) -> list[tuple[Connection, Arrival]]:
        """The open connections, the oldest first, with where from and since when; at most so many."""
        return list(itertools.islice(self._connections.items(), limit))

    @property
    def users_count(self) -> int:
        """Signed-in users who have a connection open."""
        return len(self._by_user)

    def find(self, connection_id: str) -> tuple[Connection, Arrival] | None:
        """An open connection by its id."""
        rows = self._connections.items()
        return next(((connection, arrival) for connection, arrival in rows if connection.id == connection_id), None)

    def is_online(self, user_id: UserId) -> bool:
        """Whether a user has any connection open."""
        return user_id in self._by_user

    # Ends from outside

    def end_session(self, session_id: SessionId) -> None:
        """A session was signed out: its sockets end in this turn."""
        for connection in list(self._by_session.get(session_id, ())):
            self._revoke(connection, SIGNED_OUT)

    def end_user(self, user_id: UserId, keep: SessionId | None) -> None:
        """All of a user's tokens have ended, but perhaps one session."""
        for connection in list(self._by_user.get(user_id, ())):
            if connection.identity is None or connection.identity.session_id != keep:
                self._revoke(connection, SIGNED_OUT)

    def _revoke(self, connection: Connection, farewell: Farewell) -> None:
        connection.drop_queued()
        connection.hang_up(farewell)
        for follower in self.on_revoked:
            follower(connection)

    # Staying alive

    async def beat(self) -> None:
        """Send heartbeats and pings, end silent peers and expired tokens; runs as long as the server."""
        pause_seconds = self.heartbeat_seconds / HEARTBEAT_SLOTS
        for slot in itertools.cycle(self._slots):
            await asyncio.sleep(pause_seconds)
            self._beat_slot(slot)
            self._end_expired()
            self.archive.forget_old(self._clock())

    def _beat_slot(self, slot: set[Connection]) -> None:
        oldest = time.monotonic() - 2 * self.heartbeat_seconds
        heartbeat = frame_of(HeartbeatEvent(timestamp=self._clock() / 1000))
        ping = stamped_ping(time.monotonic())
        for connection in list(slot):
            if connection.heard_at < oldest:
                connection.hang_up(HEARTBEAT_TIMEOUT)
            elif connection.frames_out or connection.queued_frames:
                # Not before the greeting, which is the first frame.
                connection.push_latest("heartbeat", heartbeat)
                connection.push_latest("ping", ping)

    def measure_lag(self) -> None:
        """Ping everybody who is greeted, unless that was done a moment ago; their pongs tell each one's lag."""
        now = time.monotonic()
        if now - self._measured_at < LAG_SECONDS:
            return
        self._measured_at = now
        ping = stamped_ping(now)
        for connection in list(self._connections):
            if connection.frames_out or connection.queued_frames:
                connection.push_latest("ping", ping)

    def _end_expired(self) -> None:
        now_ms = self._clock()
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, _, connection, expires_at_ms = heapq.heappop(self._expiries)
            identity = connection.identity
            if connection.state is not State.OPEN or identity is None or identity.expires_at_ms != expires_at_ms:
                continue
            if expires_at_ms <= now_ms:
                self._revoke(connection, SIGNED_OUT)
            else:
                seconds = round((expires_at_ms - now_ms) / 1000)
                connection.push(frame_of(AuthExpiring(seconds=seconds)))

    # The end

    async def drain(self, patience_seconds: float) -> None:
        """Tell every peer to come back in a while, each at another moment, and wait until all are gone."""
        most_ms = min(RECONNECT_FIRST_MS + RECONNECT_SPREAD_MS * len(self), RECONNECT_MOST_MS)
        for connection in list(self._connections):
            jitter_ms = random.randint(RECONNECT_FIRST_MS, most_ms)
            connection.hang_up(SERVICE_RESTART, frame_of(GoingAway(reconnect_in_ms=jitter_ms)))
        if self._connections:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), patience_seconds)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()

    def close(self) -> None:
        """End what is still open, and release what the loop holds for us."""
        for connection in list(self._connections):
            connection.abort()
        self.flusher.close()


def _discard(index: dict[Key, set[Connection]], key: Key, connection: Connection) -> None:
    found = index.get(key)
    if found is not None:
        found.discard(connection)
        if not found:
            del index[key]


def _too_many_connections(whose: str, setting: str) -> Refusal:
    return Refusal(
        "too_many",
        429,
        f"There are too many open sockets from {whose}.",
        f"Close some, or raise the setting {setting}.",
        retry_after_seconds=5.0,
    )
