"""The transport against a real Tornado server on a real port, spoken to byte by byte."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError

from heartlink.connection import Connection, ConnectionLimits, Flusher
from heartlink.errors import NORMAL, ROOM_ENDED_FAREWELL
from heartlink.frames import text_frame
from heartlink.handlers.transports import KERNEL_UNSENT_BYTES
from heartlink.handlers.websocket import PeerSocketHandler

ANSWER_SECONDS = 5
GOODBYE_SECONDS = 0.3
LIMITS = ConnectionLimits(frame_bytes=65_536, queue_bytes=262_144, queue_frames=4_096)

T = TypeVar("T")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Desk:
    """What the test's handlers share: who is connected, what was heard, and the flusher."""

    def __init__(self, limits: ConnectionLimits) -> None:
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop.call_soon, loop.call_later, goodbye_seconds=GOODBYE_SECONDS)
        self.limits = limits
        self.connections: list[Connection] = []
        self.gone: list[Connection] = []
        self.changed = asyncio.Condition()

    def note(self) -> None:
        async def tell() -> None:
            async with self.changed:
                self.changed.notify_all()

        self._telling = asyncio.ensure_future(tell())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(ANSWER_SECONDS), self.changed:
            await self.changed.wait_for(condition)


class Echo(PeerSocketHandler):
    """Says back what it hears to everybody; some words make it misbehave."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    async def prepare(self) -> None:
        await asyncio.sleep(0)
        if self.get_query_argument("refuse", ""):
            raise HTTPError(403)

    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "heartlink.v1" if "heartlink.v1" in subprotocols else None

    def limits(self) -> ConnectionLimits:
        return self.desk.limits

    def flusher(self) -> Flusher:
        return self.desk.flusher

    def opened(self, connection: Connection) -> None:
        if self.get_query_argument("break", ""):
            raise RuntimeError("broken on opening")
        self.desk.connections.append(connection)
        connection.undo(lambda: (self.desk.gone.append(connection), self.desk.note()))
        connection.push(text_frame(b"welcome"))
        self.desk.note()

    def received(self, connection: Connection, text: bytes) -> None:
        if text == b"break":
            raise RuntimeError("broken on hearing")
        if text == b"end":
            connection.hang_up(ROOM_ENDED_FAREWELL, text_frame(b"ended"))
            return
        if text == b"to all":
            for each in self.desk.connections:
                each.push(text_frame(b"to all " + b"x" * 8_000))
            return
        connection.push(text_frame(text))

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        connection.push(text_frame(b"binary"))


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The loop of one test; pytest-tornado's own fixture calls what Tornado has deprecated."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield IOLoop.current()
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, made on the spot."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", f"{path}.crt"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture(params=["tcp", "tls"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where to meet: over plain TCP and over TLS."""
    return Place(request.getfixturevalue("certificate") if request.param == "tls" else None)


@pytest.fixture
def tcp() -> Place:
    return Place(None)


class Place:
    """A server for one test, and peers that connect to it."""

    def __init__(self, certificate: Path | None) -> None:
        self.certificate = certificate
        self.server_tls = self.client_tls = None
        if certificate is not None:
            self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.server_tls.load_cert_chain(certificate)
            self.client_tls = ssl.create_default_context(cafile=certificate)

    @asynccontextmanager
    async def open(self, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Desk]:
        self.desk = Desk(limits)
        server = HTTPServer(Application([("/ws", Echo, {"desk": self.desk})]), ssl_options=self.server_tls)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        server.add_sockets(sockets)
        self.peers: list[Peer] = []
        try:
            yield self.desk
        finally:
            server.stop()
            for peer in self.peers:
                await peer.vanish()
            await self.desk.until(lambda: len(self.desk.gone) == len(self.desk.connections))
            self.desk.flusher.close()
            await server.close_all_connections()

    async def connect(self, query: str = "", receive_bytes: int = 0, ahead: bytes = b"", **headers: str) -> Peer:
        """Upgrade; ``ahead`` is sent in the same breath as the request."""
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        name = "127.0.0.1" if self.client_tls else None
        reader, writer = await asyncio.open_connection(sock=plain, ssl=self.client_tls, server_hostname=name)
        peer = Peer(reader, writer)
        self.peers.append(peer)
        writer.write(self.request(query, **headers).encode() + ahead)
        peer.head = (await peer.within(reader.readuntil(b"\r\n\r\n"))).decode()
        return peer

    def request(self, query: str = "", **headers: str) -> str:
        """A request to upgrade; a header given as empty is left out."""
        wanted = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        } | {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"GET /ws{query} HTTP/1.1", *(f"{key}: {value}" for key, value in wanted.items() if value), "", ""]
        return "\r\n".join(lines)

    async def join(self, **options: object) -> Peer:
        """Connect and be welcomed."""
        peer = await self.connect(**options)  # type: ignore[arg-type]
        assert peer.head.startswith("HTTP/1.1 101"), peer.head
        assert await peer.frame() == (TEXT, b"welcome")
        return peer

    async def canary(self) -> None:
        """A healthy client is still served, quickly."""
        async with asyncio.timeout(1):
            peer = await self.join()
            peer.say(b"still there?")
            assert await peer.frame() == (TEXT, b"still there?")
            await peer.part()


class Peer:
    """A client that can send any bytes; it knows nothing of the server's code."""

    head = ""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def within(self, awaited: Awaitable[T]) -> T:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await awaited

    def say(self, text: bytes) -> None:
        self.writer.write(client_frame(TEXT, text))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, length = await self.within(self.reader.readexactly(2))
        assert first & 0x70 == 0 and first & 0x80 and length < 128, "an unmasked whole frame"
        if length == 126:
            (length,) = struct.unpack("!H", await self.within(self.reader.readexactly(2)))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.within(self.reader.readexactly(8)))
        return first & 0x0F, await self.within(self.reader.readexactly(length))

    async def closing(self) -> tuple[int | None, str]:
        """Read up to the close frame: its code and reason."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return (int.from_bytes(payload[:2], "big"), payload[2:].decode()) if payload else (None, "")

    async def end(self) -> bytes:
        """What still comes until TCP ends in good order."""
        return await self.within(self.reader.read(-1))

    async def vanish(self) -> None:
        """Close TCP without a word."""
        if not self.writer.is_closing():
            self.writer.transport.abort()
        with suppress(OSError):
            await self.within(self.writer.wait_closed())

    async def part(self) -> None:
        self.writer.write(client_frame(CLOSE, b"\x03\xe8"))
        assert (await self.closing())[0] == 1000
        assert await self.end() == b""


def client_frame(opcode: int, payload: bytes = b"", first: int | None = None, mask: bytes = b"mask") -> bytes:
    """A masked frame, by the book unless told otherwise."""
    head = bytes([0x80 | opcode if first is None else first])
    length = len(payload)
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65_536:
        head += b"\xfe" + struct.pack("!H", length)
    else:
        head += b"\xff" + struct.pack("!Q", length)
    # As one number: byte by byte, the four megabytes below take a second.
    pad = (mask * (length // 4 + 1))[:length]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)


@pytest.mark.gen_test
async def test_upgrade_echo_and_goodbye(place: Place) -> None:
    async with place.open() as desk:
        peer = await place.join(Sec_WebSocket_Protocol="bearer.abc, heartlink.v1")
        assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in peer.head.lower()
        assert "sec-websocket-protocol: heartlink.v1\r\n" in peer.head.lower()
        for text in (b"", b"a", "爱".encode(), b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536):
            peer.say(text)
            assert await peer.frame() == (TEXT, text)
        peer.writer.write(client_frame(PING, b"ping") + client_frame(PONG, b"unasked") + client_frame(BINARY, b"\xff"))
        assert await peer.frame() == (PONG, b"ping")
        assert await peer.frame() == (TEXT, b"binary")
        await peer.part()
        (connection,) = desk.connections
        await desk.until(lambda: desk.gone == [connection])
        assert (connection.frames_in, connection.frames_out) == (8, 11)


@pytest.mark.gen_test
async def test_frames_sent_together_with_the_request_are_not_lost(place: Place) -> None:
    async with place.open():
        ahead = client_frame(TEXT, b"early") + client_frame(TEXT, b"half")
        peer = await place.join(ahead=ahead[:-1])
        assert await peer.frame() == (TEXT, b"early")
        peer.writer.write(ahead[-1:])
        assert await peer.frame() == (TEXT, b"half")


@pytest.mark.gen_test
async def test_ten_thousand_frames_come_back_in_order(place: Place) -> None:
    async with place.open(ConnectionLimits(queue_frames=0, queue_bytes=0)):
        peer = await place.join()
        peer.writer.write(b"".join(client_frame(TEXT, b"%d" % n) for n in range(10_000)))
        for n in range(10_000):
            assert await peer.frame() == (TEXT, b"%d" % n)
        await place.canary()


@pytest.mark.gen_test
async def test_what_is_large_comes_through_a_small_window(place: Place) -> None:
    async with place.open():
        peer = await place.join(receive_bytes=4_096)
        texts = [bytes([65 + n]) * 65_536 for n in range(20)]
        for text in texts:
            peer.say(text)
            assert await peer.frame() == (TEXT, text)


# --- The door --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"Upgrade": ""}, "", 400),
        ({"Upgrade": "h2c"}, "", 400),
        ({"Connection": "keep-alive"}, "", 400),
        ({"Sec_WebSocket_Key": ""}, "", 400),
        ({"Sec_WebSocket_Version": ""}, "", 426),
        ({"Sec_WebSocket_Version": "8"}, "", 426),
        ({}, "?refuse=1", 403),
    ],
)
@pytest.mark.gen_test
async def test_who_does_not_upgrade_properly_gets_a_status(
    tcp: Place, headers: dict[str, str], query: str, status: int
) -> None:
    async with tcp.open() as desk:
        peer = await tcp.connect(query, **headers)
        assert peer.head.startswith(f"HTTP/1.1 {status} ")
        assert not desk.connections
        await tcp.canary()


@pytest.mark.gen_test
async def test_extensions_are_not_spoken(tcp: Place) -> None:
    async with tcp.open():
        peer = await tcp.join(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
        assert "extensions" not in peer.head.lower() and "subprotocol" not in peer.head.lower()


@pytest.mark.gen_test
async def test_a_peer_that_leaves_while_it_is_being_checked_costs_nothing(tcp: Place) -> None:
    async with tcp.open() as desk:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", tcp.port)) as hasty:
                hasty.send(tcp.request().encode())
        await tcp.canary()
        await desk.until(lambda: len(desk.gone) == len(desk.connections))


@pytest.mark.gen_test
async def test_running_out_of_descriptors_costs_one_peer_and_is_said(
    tcp: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with tcp.open() as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", tcp.port)
        await tcp.canary()
        await desk.until(lambda: len(desk.gone) == 1)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            writer.write(tcp.request().encode())
            async with asyncio.timeout(ANSWER_SECONDS):
                assert (await reader.read(-1)).startswith(b"HTTP/1.1 101")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        writer.close()
        assert [record.levelname for record in caplog.records if record.name.startswith("heartlink")] == ["WARNING"]
        await tcp.canary()


# --- The end ---------------------------------------------------------------------------------------

TOO_BIG = LIMITS.frame_bytes + 1

BAD_FRAMES = [
    ("no mask", b"\x81\x02hi", 1002, "protocol_error"),
    ("reserved bit 1", client_frame(TEXT, b"hi", first=0xC1), 1002, "protocol_error"),
    ("reserved bit 2", client_frame(TEXT, b"hi", first=0xA1), 1002, "protocol_error"),
    ("reserved bit 3", client_frame(TEXT, b"hi", first=0x91), 1002, "protocol_error"),
    ("reserved data opcode", client_frame(3, b"hi"), 1002, "protocol_error"),
    ("reserved control opcode", client_frame(11, b"hi"), 1002, "protocol_error"),
    ("long ping", client_frame(PING, b"x" * 126), 1002, "protocol_error"),
    ("fragmented ping", client_frame(PING, b"x", first=PING), 1002, "protocol_error"),
    ("fragmented close", client_frame(CLOSE, b"\x03\xe8", first=CLOSE), 1002, "protocol_error"),
    ("continuation of nothing", client_frame(0, b"hi"), 1002, "protocol_error"),
    ("text inside a message", client_frame(1, b"a", first=1) + client_frame(TEXT, b"b"), 1002, "protocol_error"),
    ("length with its highest bit set", b"\x81\xff" + b"\xff" * 8 + b"mask", 1002, "protocol_error"),
    ("close of one byte", client_frame(CLOSE, b"\x03"), 1002, "protocol_error"),
    *(
        (f"close with {code}", client_frame(CLOSE, struct.pack("!H", code)), 1002, "protocol_error")
        for code in (0, 999, 1005, 1006, 1016, 2999, 5000)
    ),
    ("text not UTF-8", client_frame(TEXT, b"\xff\xfe"), 1007, "invalid_utf8"),
    ("half a character", client_frame(TEXT, "心".encode()[:2]), 1007, "invalid_utf8"),
    ("a surrogate", client_frame(TEXT, b"\xed\xa0\x80"), 1007, "invalid_utf8"),
    ("a fragment not UTF-8", client_frame(1, b"\xff", first=1), 1007, "invalid_utf8"),
    ("a close reason not UTF-8", client_frame(CLOSE, b"\x03\xe8\xff"), 1007, "invalid_utf8"),
    ("too big", client_frame(TEXT, b"x" * TOO_BIG), 1009, "message_too_big"),
    ("too big, only announced", b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"mask", 1009, "message_too_big"),
    ("too big with more behind it", client_frame(TEXT, b"x" * 4_000_000), 1009, "message_too_big"),
    (
        "too big in fragments",
        client_frame(1, b"x" * 40_000, first=1) + client_frame(0, b"x" * 40_000),
        1009,
        "message_too_big",
    ),
]


@pytest.mark.parametrize(
    ("data", "code", "reason"), [row[1:] for row in BAD_FRAMES], ids=[row[0] for row in BAD_FRAMES]
)
@pytest.mark.gen_test
async def test_a_bad_frame_ends_its_sender_with_a_code_and_nobody_else(
    place: Place, data: bytes, code: int, reason: str
) -> None:
    async with place.open() as desk:
        peer = await place.join()
        peer.say(b"before")
        peer.writer.write(data + client_frame(TEXT, b"after"))
        assert await peer.frame() == (TEXT, b"before")
        assert await peer.closing() == (code, reason)
        assert await peer.end() == b""
        peer.writer.close()
        await desk.until(lambda: len(desk.gone) == 1)
        await place.canary()


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa0mine", b"\x13\x87"])
@pytest.mark.gen_test
async def test_a_close_frame_is_echoed_and_nothing_after_it_is_heard(place: Place, payload: bytes) -> None:
    async with place.open() as desk:
        peer = await place.join()
        peer.writer.write(client_frame(CLOSE, payload) + client_frame(TEXT, b"to all") + client_frame(PING))
        assert await peer.frame() == (CLOSE, payload[:2])
        assert await peer.end() == b""
        await desk.until(lambda: desk.gone == desk.connections)


@pytest.mark.gen_test
async def test_hanging_up_says_why_and_hears_nothing_more(place: Place) -> None:
    async with place.open() as desk:
        peer = await place.join()
        peer.writer.write(b"".join(client_frame(TEXT, text) for text in (b"end", b"more", b"more")))
        assert await peer.frame() == (TEXT, b"ended")
        assert await peer.frame() == (CLOSE, b"\x11\x3aended")
        assert desk.gone == []
        peer.writer.write(client_frame(CLOSE, b"\x11\x3a"))
        assert await peer.end() == b""
        await desk.until(lambda: desk.gone == desk.connections)


@pytest.mark.gen_test
async def test_a_peer_that_never_answers_the_close_frame_is_cut_off(place: Place) -> None:
    async with place.open() as desk:
        peer = await place.join()
        desk.connections[0].hang_up(NORMAL)
        assert await peer.closing() == (1000, "normal")
        await desk.until(lambda: desk.gone == desk.connections)


@pytest.mark.parametrize(("query", "text"), [("?break=1", b""), ("", b"break")])
@pytest.mark.gen_test
async def test_what_a_hook_raises_is_logged_once_and_ends_the_connection(
    place: Place, caplog: pytest.LogCaptureFixture, query: str, text: bytes
) -> None:
    async with place.open() as desk:
        peer = await place.connect(query)
        peer.say(text)
        peer.say(text)
        assert await peer.closing() == (4002, "internal_error")
        (record,) = [record for record in caplog.records if record.name.startswith("heartlink")]
        assert record.exc_info and "broken" in str(record.exc_info[1])
        assert "broken" not in record.getMessage()
        await place.canary()
        assert len(desk.connections) == (1 if query else 2)


@pytest.mark.parametrize("how", ["reset", "end of file"])
@pytest.mark.gen_test
async def test_when_tcp_is_cut_undo_runs(place: Place, how: str) -> None:
    async with place.open() as desk:
        peer = await place.join()
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await peer.vanish()
        elif place.certificate is None:
            peer.writer.write_eof()
        else:
            peer.writer.close()
        await desk.until(lambda: len(desk.gone) == 1)
        assert desk.connections[0].farewell is None
        await place.canary()


@pytest.mark.gen_test
async def test_a_frozen_reader_costs_its_queue_and_delays_nobody(place: Place) -> None:
    async with place.open() as desk:
        frozen = await place.join(receive_bytes=4_096)
        frozen.writer.transport.pause_reading()
        healthy = await place.join()
        (slow, _quick) = desk.connections
        sent_bytes = most_queued = 0
        while slow not in desk.gone:
            healthy.say(b"to all")
            async with asyncio.timeout(1):
                assert (await healthy.frame())[1].startswith(b"to all")
            if not slow.fenced:
                sent_bytes += 8_000
            most_queued = max(most_queued, slow.queued_bytes)
        assert slow.farewell is not None and slow.farewell.close_code == 4000
        assert LIMITS.queue_bytes // 2 < most_queued <= LIMITS.queue_bytes
        kernel_bytes = sent_bytes - LIMITS.queue_bytes
        assert kernel_bytes < 8 * KERNEL_UNSENT_BYTES or not hasattr(socket, "TCP_NOTSENT_LOWAT")
        await frozen.vanish()


@pytest.mark.gen_test
async def test_a_peer_that_only_pings_and_never_reads_is_cut_off(place: Place) -> None:
    async with place.open() as desk:
        peer = await place.join(receive_bytes=4_096)
        peer.writer.transport.pause_reading()
        pings = client_frame(PING, b"x" * 125) * 500
        while not desk.connections[0].fenced:
            peer.writer.write(pings)
            await asyncio.sleep(0)
        assert desk.connections[0].farewell is not None and desk.connections[0].farewell.close_code == 4000
        await place.canary()


@pytest.mark.gen_test
async def test_a_flood_from_one_does_not_hold_up_another(place: Place) -> None:
    async with place.open(ConnectionLimits(queue_bytes=0, queue_frames=0)) as desk:
        flood, calm = await place.join(), await place.join()
        flooding = desk.connections[0]
        flood.writer.write(client_frame(PONG) * 200_000)
        calm.say(b"hello")
        assert await calm.frame() == (TEXT, b"hello")
        assert flooding.bytes_in < 200_000 * 6
