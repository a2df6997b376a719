"""The little HTTP and WebSocket that the doctor speaks: raw, so that it sees what really came back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from heartlink.frames import unmask

HEAD_BYTES: Final = 64 << 10
BODY_BYTES: Final = 512 << 10
FRAME_BYTES: Final = 1 << 20
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class NotHttp(Exception):
    """What came back does not begin like an HTTP answer; ``seen`` is empty when the peer hung up without a word."""

    def __init__(self, seen: bytes) -> None:
        super().__init__(seen[:80])
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The body as JSON, None when it is something else."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def server(self) -> str:
        """What the ``Server`` header says, short and printable."""
        return printable(self.headers.get("server", ""), 60)


def printable(text: str, limit: int = 200) -> str:
    """A foreign text as it may be shown on a terminal."""
    clean = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


class Line:
    """One TCP or TLS connection; use as ``with``, which lets it go at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: str, port: int, tls: ssl.SSLContext | None = None, name: str = "") -> Line:
        """Connect; raises OSError and ssl.SSLError."""
        reader, writer = await asyncio.open_connection(
            address, port, ssl=tls, server_hostname=(name or address) if tls else None, limit=HEAD_BYTES
        )
        return cls(reader, writer)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Let go without a farewell."""
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        """Send, without waiting."""
        self.writer.write(data)

    def request(self, path: str, headers: Mapping[str, str]) -> None:
        """Send a GET."""
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))

    async def answer(self) -> Answer:
        """Read one answer, of a socket's opening only the head; raises NotHttp and OSError."""
        head = await self._head()
        status_line, *rows = head.decode("latin-1").split("\r\n" if b"\r\n" in head else "\n")
        try:
            status = int(status_line.split(None, 2)[1])
        except (IndexError, ValueError):
            raise NotHttp(head) from None
        pairs = [(name.strip().lower(), value.strip()) for name, _, value in (row.partition(":") for row in rows)]
        headers = dict(pairs)
        bodiless = status in (101, 204, 304)
        body = b"" if bodiless else await self._body(headers)
        return Answer(status, headers, body, tuple(value for name, value in pairs if name == "set-cookie"))

    async def _head(self) -> bytes:
        seen = b""
        while b"\r\n\r\n" not in seen:
            start = len(seen)
            try:
                seen += await self.reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as cut:
                raise NotHttp(seen + cut.partial) from None
            except asyncio.LimitOverrunError:
                raise NotHttp(seen or await self.reader.read(80)) from None
            if not seen.startswith(b"HTTP/") or len(seen) > HEAD_BYTES:
                raise NotHttp(seen)
            if seen[start:] == b"\n":
                return seen.rstrip(b"\r\n")
        return seen.removesuffix(b"\r\n\r\n")

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        try:
            if "chunked" in headers.get("transfer-encoding", "").lower():
                return await self._chunks()
            if (length := headers.get("content-length", "")).isdecimal():
                return await self.reader.readexactly(min(int(length[:12]), BODY_BYTES))
            body = b""
            while len(body) < BODY_BYTES and (more := await self.reader.read(BODY_BYTES)):
                body += more
            return body
        except (asyncio.IncompleteReadError, ValueError):
            return b""

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readline()).partition(b";")[0], 16):
            if size > BODY_BYTES or len(body) > BODY_BYTES:
                break
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        return body


# --- WebSocket -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as the server sent it."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The frame's object, empty when it holds none."""
        try:
            found = msgspec.json.decode(self.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def close(self) -> tuple[int | None, str]:
        """Code and reason of a close frame."""
        if len(self.payload) < 2:
            return None, ""
        return int.from_bytes(self.payload[:2], "big"), printable(self.payload[2:].decode(errors="replace"), 123)


def new_key() -> str:
    """A ``Sec-WebSocket-Key``."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key: str) -> str:
    """What a server must answer to that key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def send_frame(line: Line, opcode: int, payload: bytes) -> None:
    """Send one masked frame (RFC 6455 5.3)."""
    mask, length = os.urandom(4), len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + length.to_bytes(8, "big")
    line.send(head + mask + unmask(mask, payload))


def send_json(line: Line, **fields: object) -> None:
    """Send one object as a text frame."""
    send_frame(line, TEXT, msgspec.json.encode(fields))


async def read_frame(line: Line) -> Frame:
    """The next frame that is no ping; pings are answered. Raises asyncio.IncompleteReadError at the end, OSError."""
    while True:
        first, second = await line.reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await line.reader.readexactly(2 if length == 126 else 8), "big")
        if length > FRAME_BYTES:
            raise ConnectionAbortedError("a frame that is too long")
        frame = Frame(first & 0x0F, await line.reader.readexactly(length))
        if frame.opcode == PING:
            send_frame(line, PONG, frame.payload)
        elif frame.opcode != PONG:
            return frame
