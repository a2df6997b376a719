"""The client's end of the wire: a small RFC 6455 socket and a small HTTP client, on asyncio alone."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 10.0
HEAD_BYTES = 65_536


class Row(msgspec.Struct, frozen=True):
    """The part of a message (PROTOCOL 3.2) that has to be the same for everyone."""

    id: int
    rev: int
    sender: str
    content: str
    created_at: str
    deleted: bool
    is_own: bool
    reactions: dict[str, list[str]]
    edited_at: str | None = None
    client_id: str | None = None

    def state(self) -> tuple[object, ...]:
        """What two members must agree on, in a form that compares."""
        reactions = tuple(sorted((emoji, tuple(sorted(names))) for emoji, names in self.reactions.items()))
        return (
            self.id,
            self.rev,
            self.sender,
            self.content,
            self.created_at,
            self.deleted,
            self.edited_at,
            reactions,
        )


class Frame(msgspec.Struct):
    """A server frame as far as the fault test looks into it."""

    type: str
    message: Row | str | None = None
    change: str | None = None
    duplicate: bool = False
    epoch: str = ""
    last_seq: int = 0
    resume: str = ""
    resume_reason: str | None = None
    error_code: str = ""
    client_id: str | None = None
    ref: str | None = None
    retry_after: float | None = None


class History(msgspec.Struct):
    """One page of `GET /api/rooms/<id>/messages`."""

    messages: list[Row]
    has_more: bool
    last_seq: int
    epoch: str


_frames = msgspec.json.Decoder(Frame)
_histories = msgspec.json.Decoder(History)


def decode_frame(data: bytes) -> Frame:
    """The frame in a text message; raises `msgspec.ValidationError` where it breaks the contract."""
    return _frames.decode(data)


class Refused(Exception):
    """The server answered an upgrade or a request with another status than the expected one."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body[:300]}")
        self.status = status
        self.body = body


def pack_frame(opcode: int, payload: bytes, *, masked: bool = True, fin: bool = True) -> bytes:
    """One client frame; a zero mask is a valid mask and leaves the payload as it is."""
    first = opcode | (0x80 if fin else 0)
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Socket(asyncio.Protocol):
    """A WebSocket connection that hands each text message to a callback; `closed` gets the close code."""

    def __init__(self, request: bytes, on_text: Callable[[Socket, bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()
        self.heard_at = loop.time()
        self._request = request
        self._on_text = on_text
        self._loop = loop
        self._buffer = bytearray()
        self._upgraded = False
        self._close_code = 1006
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._buffer += data
        if not self._upgraded and not self._read_head():
            return
        self._read_frames()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the connection ended before the upgrade"))
        if not self.closed.done():
            self.closed.set_result(self._close_code)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = int(self._buffer.split(b" ", 2)[1])
        if status != 101:
            body = bytes(self._buffer[end + 4 :]).decode("utf-8", "replace")
            if not self.opened.done():
                self.opened.set_exception(Refused(status, body))
            return False
        del self._buffer[: end + 4]
        self._upgraded = True
        if not self.opened.done():
            self.opened.set_result(None)
        return True

    def _read_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            size, head = buffer[at + 1], 2
            if size == 126:
                if end - at < 4:
                    break
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            elif size == 127:
                if end - at < 10:
                    break
                size, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
            if end - at < head + size:
                break
            payload = bytes(buffer[at + head : at + head + size])
            opcode = buffer[at] & 0x0F
            at += head + size
            self._take(opcode, payload)
        del buffer[:at]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            self._on_text(self, payload)
        elif opcode == 9:
            self.send_raw(pack_frame(10, payload))
        elif opcode == 8:
            self._close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.send_raw(pack_frame(8, payload[:2]))
            if self._transport is not None:
                self._transport.close()

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, **frame: Any) -> None:
        """Send one JSON object as a text frame."""
        self.send_raw(pack_frame(1, msgspec.json.encode(frame)))

    def abort(self) -> None:
        """Drop the connection at once; what was not written is lost."""
        if self._transport is not None:
            self._transport.abort()


async def open_socket(port: int, path: str, token: str, on_text: Callable[[Socket, bytes], None]) -> Socket:
    """Connect and upgrade; raises `Refused`, `OSError` or `TimeoutError`."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, socket = await loop.create_connection(lambda: Socket(request, on_text), "127.0.0.1", port)
        try:
            await socket.opened
        except BaseException:
            socket.abort()
            raise
    return socket


class Rest:
    """One keep-alive HTTP connection of one user."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self.token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: object = None, expect: tuple[int, ...] = (200, 201)) -> bytes:
        """The body of the answer; raises `Refused` on another status, `OSError` or `TimeoutError`."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                status, payload = await self._exchange(method, path, body)
        except BaseException:
            self.close()
            raise
        if status not in expect:
            raise Refused(status, payload.decode("utf-8", "replace"))
        return payload

    async def history(self, room_id: str, after: int) -> History:
        """The page of messages above `after`."""
        payload = await self.call("GET", f"/api/rooms/{quote(room_id)}/messages?after={after}&limit=200")
        return _histories.decode(payload)

    def close(self) -> None:
        """Drop the connection; the next call opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        data = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Content-Length: {len(data)}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        }
        status = int(head.split(b" ", 2)[1])
        if "content-length" in fields:
            payload = await reader.readexactly(int(fields["content-length"]))
        elif status == 204:
            payload = b""
        else:
            payload = await reader.read()
        if fields.get("connection", "").lower() == "close" or "content-length" not in fields:
            self.close()
        return status, payload
