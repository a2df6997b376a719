"""The transports below a connection: bytes to frames to hooks, and whole turns of frames to the kernel."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from tornado.iostream import IOStream, StreamClosedError

from heartlink import frames
from heartlink.connection import BINARY, WS_CLOSE, WS_PING, WS_PONG, Connection, ConnectionLimits, Flusher
from heartlink.errors import INTERNAL_FAREWELL, INVALID_UTF8, MESSAGE_TOO_BIG, PROTOCOL_ERROR
from heartlink.frames import Binary, Close, FrameReader, Ping, Pong, Violation, pong_frame

try:
    from tornado.speedups import websocket_mask as unmask
except ImportError:
    unmask = frames.unmask

READ_BYTES = 65_536
"""The most taken from a socket at once."""

FRAMES_PER_TURN = 32
"""The most frames of one peer handled before the others have their turn."""

KERNEL_UNSENT_BYTES = 131_072
"""The most the kernel takes beyond what it has sent: the rest waits in the queue, is counted, and can be dropped.
Without it a peer that does not read costs 4 MB of kernel memory before its queue even begins to fill."""

STREAM_WRITE_BYTES = 16_384
"""The most handed to a TLS stream beyond what it has sent: one TLS record, which cannot be taken back."""

FAREWELLS = {farewell.close_code: farewell for farewell in (PROTOCOL_ERROR, INVALID_UTF8, MESSAGE_TOO_BIG)}

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)


class Hooks(Protocol):
    """Whom a transport tells what came; a PeerSocketHandler."""

    def opened(self, connection: Connection) -> None:
        """The socket is open."""

    def received(self, connection: Connection, text: bytes) -> None:
        """A text message came."""

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """A binary message came."""

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        """TCP is closed."""


class Transport:
    """What both transports share: bytes to frames to hooks, at most ``FRAMES_PER_TURN`` at a time."""

    __slots__ = ("_handler", "_reader", "_received", "connection", "send_now")

    def __init__(self, handler: Hooks, limits: ConnectionLimits, flusher: Flusher) -> None:
        self._handler: Hooks | None = handler
        self._received = handler.received
        self._reader = FrameReader(limits.frame_bytes, unmask)
        self.connection = Connection(self, flusher, limits, monotonic())

    send_now: Callable[[bytes], int]

    def when_writable(self, callback: Callable[[], None]) -> None:
        """See Outlet."""
        raise NotImplementedError

    def finish(self, answered: bool) -> None:
        """See Outlet."""
        raise NotImplementedError

    def abort(self) -> None:
        """See Outlet."""
        raise NotImplementedError

    def _open(self) -> None:
        if self._handler is not None:
            self._call(self._handler.opened)

    def _take_in(self, data: bytes) -> None:
        connection = self.connection
        if data:
            connection.heard(len(data), monotonic())
        for event in self._reader.feed(data, FRAMES_PER_TURN):
            if type(event) is not bytes:
                self._hand_on(event)
            elif not connection.fenced:
                connection.frames_in += 1
                try:
                    self._received(connection, event)
                except Exception:
                    self._hook_failed("received")

    def _hand_on(self, event: frames.Event) -> None:
        """Everything but text."""
        connection = self.connection
        if isinstance(event, Close):
            connection.note_read(WS_CLOSE, len(event.reason))
            connection.peer_left(event.code, event.reason)
        elif connection.fenced or self._handler is None:
            return
        elif isinstance(event, Ping):
            connection.note_read(WS_PING, len(event.payload))
            connection.push(pong_frame(event.payload))
        elif isinstance(event, Pong):
            connection.note_read(WS_PONG, len(event.payload))
            connection.ponged(event.payload)
        elif isinstance(event, Binary):
            connection.frames_in += 1
            connection.note_read(BINARY, len(event.payload))
            try:
                self._handler.received_binary(connection, event.payload)
            except Exception:
                self._hook_failed("received_binary")
        elif isinstance(event, Violation):
            log.debug("connection %s: %s", connection.id, event.detail)
            connection.hang_up(FAREWELLS[event.code])

    def _call(self, hook: Callable[[Connection], None]) -> None:
        try:
            hook(self.connection)
        except Exception:
            self._hook_failed(hook.__name__)

    def _hook_failed(self, name: str) -> None:
        """The boundary: whatever a hook raises ends here."""
        log.exception("connection %s: %s failed", self.connection.id, name)
        self.connection.hang_up(INTERNAL_FAREWELL)

    def _ended(self) -> None:
        """TCP is closed: let everybody know, once."""
        handler, self._handler = self._handler, None
        if handler is None:
            return
        del self._received
        self.connection.lost()
        farewell = self.connection.farewell
        try:
            if farewell is None:
                handler.on_ws_connection_close()
            else:
                handler.on_ws_connection_close(farewell.close_code, farewell.reason)
        except Exception:
            log.exception("connection %s: closing its handler failed", self.connection.id)


class SocketTransport(Transport):
    """A plain TCP socket, watched by the event loop."""

    __slots__ = ("_behind", "_loop", "_on_writable", "_socket")

    def __init__(self, handler: Hooks, limits: ConnectionLimits, flusher: Flusher, own: socket.socket) -> None:
        self.send_now = own.send
        super().__init__(handler, limits, flusher)
        self._socket = own
        self._loop = asyncio.get_running_loop()
        self._behind = False
        self._on_writable: Callable[[], None] | None = None

    def start(self, leftover: bytes) -> None:
        """Open, and read what has come already."""
        _tune(self._socket)
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._open()
        if leftover:
            self._read(leftover)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """See Outlet."""
        if self._on_writable is None:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._on_writable = callback

    def finish(self, answered: bool) -> None:
        """See Outlet."""
        if answered:
            self._close()
        elif self._reader.ended:
            # Closing with bytes unread would reset the connection, and the close frame might get lost with it:
            # say that no more comes, and read on until the peer has understood.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """See Outlet."""
        if self._handler is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._close()

    def _readable(self) -> None:
        if self._behind:
            return
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._read(data)
        else:
            self._close()

    def _read(self, data: bytes) -> None:
        self._take_in(data)
        self._behind = self._reader.behind and self._handler is not None
        if self._behind:
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        if self._handler is not None:
            self._read(b"")

    def _writable(self) -> None:
        callback, self._on_writable = self._on_writable, None
        if callback is not None:
            # Re-arming costs two system calls: stay armed until nothing is left to write.
            self._on_writable = _armed
            callback()
        if self._on_writable is _armed:
            self._on_writable = None
            self._loop.remove_writer(self._socket.fileno())

    def _close(self) -> None:
        if self._handler is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._ended()


def _tune(peer: socket.socket) -> None:
    # A peer that is gone already may refuse.
    with suppress(OSError):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES)


def _armed() -> None:
    """Stands for a callback while the one that waited is running."""


class StreamTransport(Transport):
    """A TLS stream, read and written through Tornado."""

    __slots__ = ("_last_write", "_stream")

    def __init__(self, handler: Hooks, limits: ConnectionLimits, flusher: Flusher, stream: IOStream) -> None:
        self.send_now = self._send_now
        super().__init__(handler, limits, flusher)
        self._stream = stream
        self._last_write: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Open, then read to the end."""
        _tune(self._stream.socket)
        try:
            self._open()
            while True:
                self._take_in(await self._stream.read_bytes(READ_BYTES, partial=True))
                # Awaiting a read that is done already does not let the loop turn.
                await asyncio.sleep(0)
                while self._reader.behind:
                    self._take_in(b"")
                    await asyncio.sleep(0)
        except StreamClosedError:
            pass
        finally:
            self._stream.close()
            self._ended()

    def _send_now(self, data: bytes) -> int:
        view = memoryview(data)
        taken = 0
        while taken < len(view) and not self._stream.writing():
            self._last_write = self._stream.write(view[taken : taken + STREAM_WRITE_BYTES])
            taken = min(taken + STREAM_WRITE_BYTES, len(view))
        return taken

    def when_writable(self, callback: Callable[[], None]) -> None:
        """See Outlet."""
        if self._last_write is not None:
            self._last_write.add_done_callback(lambda _: callback())

    def finish(self, answered: bool) -> None:
        """See Outlet."""
        if self._stream.writing():
            self.when_writable(lambda: self.finish(answered))
        elif answered:
            self._stream.close()
        elif self._reader.ended and not self._stream.closed():
            with suppress(OSError):
                self._stream.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """See Outlet."""
        self._stream.close()
