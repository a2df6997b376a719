"""A WebSocket client that does only what it is told: it may stop reading, stay silent, or vanish."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

OPCODE_TEXT, OPCODE_CLOSE = 1, 8


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(seconds):
        for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
            await asyncio.sleep(0)


class RawPeer:
    """A socket after its upgrade was answered, whatever the answer was; nothing is read or answered by itself."""

    def __init__(self, sock: socket.socket, status: int, rest: bytes) -> None:
        self.status = status
        self.frames: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._socket = sock
        self._rest = rest

    @classmethod
    async def knocks(cls, port: int, target: str, *, receive_bytes: int = 0) -> RawPeer:
        """Ask for an upgrade; a small receive buffer makes the sender feel sooner that nobody reads."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        request = (
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await loop.sock_sendall(sock, request.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            more = await asyncio.wait_for(loop.sock_recv(sock, 4096), 5)
            assert more, f"hung up in the middle of its answer: {data!r}"
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        return cls(sock, int(head.split()[1]), rest)

    async def reads_all(self) -> None:
        """Read to the end of the connection, keeping JSON frames and the close code."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await asyncio.wait_for(loop.sock_recv(self._socket, 1 << 20), 10)
            except ConnectionResetError:
                break
            if not data:
                break
            self._rest += data
            self._parse()
            if self.close_code is not None:
                break
        self.abandon()

    def _parse(self) -> None:
        data, at = self._rest, 0
        while len(data) - at >= 2:
            opcode, length, start = data[at] & 15, data[at + 1] & 127, at + 2
            if length >= 126:
                width, form = (2, ">H") if length == 126 else (8, ">Q")
                if len(data) < start + width:
                    break
                (length,) = struct.unpack_from(form, data, start)
                start += width
            if len(data) < start + length:
                break
            self._take(opcode, data[start : start + length])
            at = start + length
        self._rest = data[at:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == OPCODE_TEXT:
            self.frames.append(json.loads(payload))
        elif opcode == OPCODE_CLOSE:
            self.close_code = struct.unpack_from(">H", payload)[0]
            self.close_reason = payload[2:].decode()

    async def sends(self, payload: bytes, opcode: int = OPCODE_TEXT) -> None:
        """One masked frame."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        await asyncio.get_running_loop().sock_sendall(self._socket, bytes([0x80 | opcode]) + size + mask + masked)

    def abandon(self) -> None:
        """Close TCP without a word."""
        self._socket.close()

    __del__ = abandon
