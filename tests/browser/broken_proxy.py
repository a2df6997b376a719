"""A proxy that breaks one thing: headers, the Host, single frames, or the patience for a quiet connection.

with BrokenProxy(server.port, head=without("Upgrade", "Connection")) as proxy:
    page.goto(proxy.url)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

Direction = Literal["up", "down"]
Head = Callable[[str], str]
Frame = Callable[[str, Direction, bytes], bytes | None]

TEXT = 1
CERTIFICATES = Path(__file__).parents[1] / "certificates"
START_SECONDS = 30


class Cut(Exception):
    """Raised by a hook: both sides are closed at once, without a word."""


def without(*names: str) -> Head:
    """Takes headers away from the handshakes of sockets, and only from them."""

    def change(head: str) -> str:
        if "sec-websocket-key" not in head.lower():
            return head
        for name in names:
            head = re.sub(rf"(?im)^{name}:.*\r\n", "", head)
        return head

    return change


class BrokenProxy:
    """Listens on loopback in a thread of its own; ``head`` changes requests, ``frame`` text frames (None: swallow)."""

    def __init__(
        self,
        port: int,
        *,
        head: Head = lambda head: head,
        frame: Frame = lambda path, direction, text: text,
        answer: Head = lambda head: head,
        cut_seconds: float = 0,
        delay_seconds: float = 0,
        tls: bool = False,
    ) -> None:
        self._upstream = port
        self._head, self._frame, self._answer = head, frame, answer
        self._cut_seconds, self._delay_seconds = cut_seconds, delay_seconds
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(CERTIFICATES / "localhost.pem", CERTIFICATES / "localhost.key")
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> BrokenProxy:
        self._thread.start()
        assert self._ready.wait(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything, and answer nobody any more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(START_SECONDS)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            await self._pass(reader, writer, up_reader, up_writer)
        except (Cut, OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for stream in (writer, up_writer):
                if stream is not None:
                    stream.transport.abort()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1]
        # One request for each connection: then none hides behind another.
        head = self._head(re.sub(r"(?im)^Connection: keep-alive\r\n", "Connection: close\r\n", head))
        up_writer.write(head.encode("latin-1"))
        length = re.search(r"(?im)^Content-Length: (\d+)", head)
        if length:
            up_writer.write(await reader.readexactly(int(length[1])))
        answer = self._answer((await up_reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        writer.write(answer.encode("latin-1"))
        if not answer.startswith("HTTP/1.1 101"):
            writer.write(await up_reader.read())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        both = asyncio.gather(
            self._frames(path, "up", reader, up_writer), self._frames(path, "down", up_reader, writer)
        )
        try:
            await asyncio.wait_for(both, self._cut_seconds or None)
        finally:
            both.cancel()

    async def _frames(
        self, path: str, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            opcode, payload = await read_frame(reader)
            changed: bytes | None = payload
            if opcode & 15 == TEXT:
                changed = self._frame(path, direction, payload)
                await asyncio.sleep(self._delay_seconds if direction == "down" else 0)
            if changed is not None:
                writer.write(frame_bytes(opcode, changed, is_masked=direction == "up"))
                await writer.drain()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte and the unmasked payload of the next frame."""
    opcode, size = await reader.readexactly(2)
    is_masked, size = size & 128, size & 127
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if is_masked else b"\0\0\0\0"
    payload = await reader.readexactly(size)
    whole = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return opcode, whole.to_bytes(size, "big")


def frame_bytes(opcode: int, payload: bytes, *, is_masked: bool) -> bytes:
    """A frame; the mask of a client's is zero, which is one like any other."""
    flag, size = (128 if is_masked else 0), len(payload)
    if size < 126:
        length = bytes([flag | size])
    elif size < 65536:
        length = bytes([flag | 126]) + struct.pack("!H", size)
    else:
        length = bytes([flag | 127]) + struct.pack("!Q", size)
    return bytes([opcode]) + length + (b"\0\0\0\0" if is_masked else b"") + payload
