"""Clients that come back as `heartlink.js` does, and keep account of every message: for the benchmarks of restarts."""

import asyncio
import base64
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

CONNECT_SECONDS = 10.0
GREETING_SECONDS = 30.0
BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS = 0.5, 5.0
OPENING_AT_ONCE = 50
LOOK_SECONDS = 0.05
NO_MASK = b"\0\0\0\0"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Message(msgspec.Struct):
    """What of a message is looked at."""

    id: int
    rev: int
    client_id: str | None = None
    is_own: bool = False


class Frame(msgspec.Struct):
    """What of a frame is looked at."""

    type: str
    message: Message | str | None = None
    epoch: str = ""
    last_seq: int = 0
    resume: str = ""
    duplicate: bool = False
    reconnect_in_ms: int = 0
    error_code: str = ""


_decoder = msgspec.json.Decoder(Frame)


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A frame as a client sends it; a mask of zeros leaves the payload as it is."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + NO_MASK + payload


class Wire(asyncio.Protocol):
    """One connection: the upgrade, then whole frames for its member."""

    def __init__(self, member: "Member", request: bytes) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._member = member
        self._request = request
        self._buffer = bytearray()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self._member.crowd.refusals[bytes(self._buffer[9:12]).decode()] += 1
                self.abort()
                return
            self._is_open = True
            del self._buffer[: end + 4]
        self._read_frames()

    def _read_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(buffer[at + 2 : start], "big") if end >= start else end
            if start + size > end:
                break
            opcode, payload = buffer[at] & 0x0F, bytes(buffer[start : start + size])
            at = start + size
            if opcode == TEXT:
                self._member.hears(_decoder.decode(payload))
            elif opcode == PING:
                self.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                self._member.close_code = int.from_bytes(payload[:2], "big")
                self.write(client_frame(CLOSE, payload[:2]))
        del buffer[:at]

    def write(self, data: bytes) -> None:
        """Send, unless it is over."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        """End at once."""
        if self.transport is not None:
            self.transport.abort()


@dataclass
class Return:
    """One way back: when the connection was lost, when the last try began, and when all that was missed had come."""

    lost_at: float
    tried_at: float = 0.0
    caught_up_at: float = 0.0
    resume: str = ""


@dataclass
class Room:
    """A room as its members saw it begin."""

    room_id: str
    base: int = 0
    members: list["Member"] = field(default_factory=list)


class Member:
    """One client in one room."""

    def __init__(self, crowd: "Crowd", room: Room, token: str) -> None:
        self.crowd, self.room = crowd, room
        self.close_code = 1006
        self.is_in = asyncio.Event()
        self.returns: list[Return] = []
        self.last_rev = 0
        self.gaps = self.twice = 0
        self.outbox: dict[str, bytes] = {}
        self._token = token
        self._epoch = ""
        self._wire: Wire | None = None
        self._wait_seconds = 0.0
        self._is_catching_up = False
        room.members.append(self)

    async def live(self) -> None:
        """Connect, and come back whenever the connection is lost, until the crowd goes home."""
        attempts = 0
        while not self.crowd.is_over:
            wire = await self._connect()
            if wire is not None:
                self._wire = wire
                await wire.closed
                self._wire = None
                if self.is_in.is_set():
                    attempts = 0
                    self.is_in.clear()
                    self.returns.append(Return(time.monotonic()))
            # As in static/js/lib/socket.js: what the server said, else back-off with jitter.
            step = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(attempts, 8))
            wait_seconds, self._wait_seconds = self._wait_seconds or step * random.uniform(0.5, 1.0), 0.0
            attempts += 1
            await asyncio.sleep(wait_seconds)

    async def _connect(self) -> Wire | None:
        query = f"?since={self.last_rev}&epoch={self._epoch}" if self._epoch else ""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /ws/chat/{self.room.room_id}/{query} HTTP/1.1\r\nHost: 127.0.0.1:{self.crowd.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        ).encode()
        if self.returns:
            self.returns[-1].tried_at = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, wire = await loop.create_connection(lambda: Wire(self, request), "127.0.0.1", self.crowd.port)
        except (OSError, TimeoutError):
            return None
        return wire

    def says(self, client_id: str, content: str) -> None:
        """Keep a message in the outbox until its own copy has come; send it now if there is a way."""
        frame = msgspec.json.encode({"type": "message", "content": content, "client_id": client_id})
        self.outbox[client_id] = client_frame(TEXT, frame)
        if self._wire is not None and self.is_in.is_set():
            self._wire.write(self.outbox[client_id])

    def hears(self, frame: Frame) -> None:
        """A frame came."""
        if frame.type in ("chat_message", "message_updated") and isinstance(frame.message, Message):
            self._take(frame.message, frame.duplicate)
        elif frame.type == "connection_established":
            self._greeted(frame)
        elif frame.type == "caught_up":
            self._came_in()
        elif frame.type == "going_away":
            self._wait_seconds = frame.reconnect_in_ms / 1000
        elif frame.type == "error":
            self.crowd.errors[frame.error_code] += 1

    def _greeted(self, frame: Frame) -> None:
        if not self._epoch:
            self._epoch, self.last_rev = frame.epoch, frame.last_seq
            self._came_in()
            return
        self.returns[-1].resume = frame.resume
        self._is_catching_up = True
        if frame.resume != "changes":
            self._came_in()

    def _came_in(self) -> None:
        if self.returns:
            self.returns[-1].caught_up_at = time.monotonic()
        self._is_catching_up = False
        self.is_in.set()
        if self._wire is not None:
            for frame in self.outbox.values():
                self._wire.write(frame)

    def _take(self, message: Message, duplicate: bool) -> None:
        if message.is_own and message.client_id in self.outbox:
            del self.outbox[message.client_id]
        if duplicate:
            return
        # Nothing is edited here: so in a replay too the numbers are dense.
        self.twice += message.rev <= self.last_rev
        self.gaps += message.rev > self.last_rev + 1
        self.last_rev = max(self.last_rev, message.rev)

    def hang_up(self) -> None:
        """Leave for good."""
        if self._wire is not None:
            self._wire.abort()


class Crowd:
    """All clients, and what they saw."""

    def __init__(self, port: int, rooms: Sequence[tuple[str, Sequence[str]]], clients: int) -> None:
        self.port = port
        self.is_over = False
        self.errors: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.rooms = [Room(room_id) for room_id, _ in rooms]
        seats = [(number % len(rooms), number // len(rooms)) for number in range(clients)]
        self.members = [
            Member(self, self.rooms[room], rooms[room][1][seat % len(rooms[room][1])]) for room, seat in seats
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self.said = 0

    async def open(self, patience_seconds: float) -> None:
        """Have everybody come in, some at a time."""
        async with asyncio.timeout(patience_seconds):
            for at in range(0, len(self.members), OPENING_AT_ONCE):
                some = self.members[at : at + OPENING_AT_ONCE]
                self._tasks += [asyncio.create_task(member.live()) for member in some]
                await asyncio.gather(*(member.is_in.wait() for member in some))
        for room in self.rooms:
            room.base = max(member.last_rev for member in room.members)

    async def talk(self, per_second: float) -> None:
        """Somebody says something, again and again; until cancelled. Whoever is away says it when back."""
        while True:
            member = random.choice(self.members)
            self.said += 1
            member.says(f"said-{self.said}", f"message {self.said}")
            await asyncio.sleep(1 / per_second)

    async def all_back(self, returns: int, patience_seconds: float) -> None:
        """Wait until everybody has come back so many times."""
        await _until(
            lambda: all(len(member.returns) >= returns and member.is_in.is_set() for member in self.members),
            patience_seconds,
        )

    async def all_heard(self, patience_seconds: float) -> None:
        """Wait until nobody has anything to say left, and all members of a room have heard the same."""
        await _until(self._have_heard_all, patience_seconds)

    def _have_heard_all(self) -> bool:
        if any(member.outbox for member in self.members):
            return False
        return all(len({member.last_rev for member in room.members}) == 1 for room in self.rooms)

    def faults(self) -> list[str]:
        """What must not be: a message lost, a message twice, a hole, a history that had to be fetched anew."""
        stored = sum(room.members[0].last_rev - room.base for room in self.rooms)
        counts = {
            "messages missing or made twice": abs(stored - self.said),
            "frames that came twice": sum(member.twice for member in self.members),
            "holes in what came": sum(member.gaps for member in self.members),
            "full reloads": sum(one.resume != "changes" for one in self.all_returns()),
        }
        return [f"{count} {what}" for what, count in counts.items() if count]

    def all_returns(self) -> Iterable[Return]:
        """Every way back of everybody."""
        return (one for member in self.members for one in member.returns)

    async def close(self) -> None:
        """Go home."""
        self.is_over = True
        for task in self._tasks:
            task.cancel()
        for member in self.members:
            member.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _until(condition: Callable[[], bool], patience_seconds: float) -> None:
    async with asyncio.timeout(patience_seconds):
        for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
            await asyncio.sleep(LOOK_SECONDS)
