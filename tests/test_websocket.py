"""The transport against a real Tornado server on a real port, spoken to byte by byte."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError

from heartlink.connection import Connection, ConnectionLimits, Flusher
from heartlink.errors import ROOM_ENDED_FAREWELL, TOO_SLOW
from heartlink.frames import ping_frame, text_frame
from heartlink.handlers import websocket
from heartlink.handlers.websocket import PeerSocketHandler

ANSWER_SECONDS = 5
LIMITS = ConnectionLimits(frame_bytes=65_536, queue_bytes=262_144, queue_frames=4_096)

T = TypeVar("T")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Desk:
    """What the test's handlers share: who is connected, what was heard, and the flusher."""

    def __init__(self, limits: ConnectionLimits) -> None:
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop.call_soon, loop.call_later)
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
                each.push(text_frame(b"to all"))
            return
        connection.push(text_frame(text))

    def received_binary(self, connection: Connection) -> None:
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
                peer.writer.transport.abort()
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
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=self.client_tls, server_hostname=name, limit=1 << 22
        )
        peer = Peer(reader, writer)
        self.peers.append(peer)
        wanted = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        } | {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"GET /ws{query} HTTP/1.1", *(f"{key}: {value}" for key, value in wanted.items() if value), "", ""]
        writer.write("\r\n".join(lines).encode() + ahead)
        peer.head = (await peer.within(reader.readuntil(b"\r\n\r\n"))).decode()
        return peer

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

    async def part(self) -> None:
        self.writer.write(client_frame(CLOSE, b"\x03\xe8"))
        assert (await self.closing())[0] == 1000
        assert await self.end() == b""


def client_frame(opcode: int, payload: bytes = b"", first: int | None = None, mask: bytes = b"\x1f\x2e\x3d\x4c") -> bytes:
    """A masked frame, by the book unless told otherwise."""
    head = bytes([0x80 | opcode if first is None else first])
    length = len(payload)
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65_536:
        head += b"\xfe" + struct.pack("!H", length)
    else:
        head += b"\xff" + struct.pack("!Q", length)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


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
