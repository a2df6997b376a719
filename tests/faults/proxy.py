"""A TCP proxy between the clients and the server that can reset, freeze and resume what passes it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import cast

# Small kernel buffers make a frozen reader felt by the server soon instead of after megabytes.
SERVER_SIDE_BUFFER_BYTES = 16_384
CONNECT_SECONDS = 5.0


class _End(asyncio.Protocol):
    """One of the two ends of a link; reads from its peer and writes into the other end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._frozen = False
        self._choked = False
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=65_536)
        self._regulate()

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self._early += data
        elif not other.transport.is_closing():
            other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.choke(True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.choke(False)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.end(hard=exc is not None)

    def join(self, other: _End) -> None:
        """Send what came before the other end existed."""
        self.other = other
        if self._early and other.transport is not None:
            other.transport.write(bytes(self._early))
            self._early.clear()

    def freeze(self, frozen: bool) -> None:
        """Stop or go on reading from this end's peer."""
        self._frozen = frozen
        self._regulate()

    def choke(self, choked: bool) -> None:
        self._choked = choked
        self._regulate()

    def _regulate(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._frozen or self._choked:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def shut(self, hard: bool) -> None:
        """Close this end, with a RST where `hard`."""
        if self.transport is None or (self.transport.is_closing() and not hard):
            return
        if hard:
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Link:
    """One client connection and its connection to the server."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.client = _End(self)
        self.server = _End(self)
        self._connecting: asyncio.Task[None] | None = None
        self._ended = False

    def start(self) -> asyncio.Protocol:
        self._proxy.links[self] = None
        self._connecting = asyncio.get_running_loop().create_task(self._connect())
        return self.client

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SERVER_SIDE_BUFFER_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(raw, ("127.0.0.1", self._proxy.upstream_port))
                await loop.create_connection(lambda: self.server, sock=raw)
        except (OSError, TimeoutError):
            raw.close()
            self.end(hard=True)
            return
        self.server.join(self.client)
        self.client.join(self.server)

    def freeze(self) -> None:
        """Let nothing pass in either direction."""
        self.client.freeze(True)
        self.server.freeze(True)

    def freeze_reader(self) -> None:
        """Stop taking what the server sends; the other direction goes on."""
        self.server.freeze(True)

    def thaw(self) -> None:
        """Let everything pass again."""
        self.client.freeze(False)
        self.server.freeze(False)

    def reset(self) -> None:
        """Send RST both ways."""
        self.end(hard=True)

    def end(self, hard: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._proxy.links.pop(self, None)
        self.client.shut(hard)
        self.server.shut(hard)

    async def stop(self) -> None:
        self.end(hard=True)
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=CONNECT_SECONDS)


class Proxy:
    """Listens on an ephemeral loopback port and passes everything on to `upstream_port`."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.port = 0
        self.links: dict[Link, None] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self).start(), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self.links):
            await link.stop()

    def thaw_all(self) -> None:
        """Let every connection pass again."""
        for link in list(self.links):
            link.thaw()
