"""The socket handler to build on: Tornado shakes hands, then a transport of ours takes over.

After the upgrade a plain TCP socket is taken from Tornado altogether and watched by the event loop itself, so an
idle peer costs no task and no future; a TLS stream stays with Tornado and is read in its handler's coroutine.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import NoReturn, cast

from tornado.iostream import IOStream, StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from heartlink.connection import Connection, ConnectionLimits, Flusher
from heartlink.handlers.transports import SocketTransport, StreamTransport

# More than Tornado can have read beyond the request's header.
_LEFTOVER_BYTES = 1 << 20

log = logging.getLogger(__name__)


class PeerSocketHandler(WebSocketHandler):
    """A socket address: subclasses refuse in ``prepare`` or before ``super().get()``, then live by the hooks.

    The hooks are plain functions and must not block; what one raises is logged and ends the connection
    with 4002. None is called once the connection is fenced. Clean-up belongs to ``connection.undo``.
    All that is sent is pushed on the connection, and ``hang_up`` ends it: Tornado's ``write_message``, ``ping``
    and ``close`` reach nobody here.
    """

    def limits(self) -> ConnectionLimits:
        """What this peer may cost."""
        return ConnectionLimits()

    def flusher(self) -> Flusher:
        """The flusher of this event loop."""
        raise NotImplementedError

    def opened(self, connection: Connection) -> None:
        """The upgrade was answered with 101."""

    def received(self, connection: Connection, text: bytes) -> None:
        """A text message came, valid UTF-8."""

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """A binary message came."""

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Our own protocol, for the one version there is; otherwise Tornado answers 426."""
        if self.request.headers.get("Sec-WebSocket-Version") != "13":
            return None
        return PeerProtocol(self)


class PeerProtocol(WebSocketProtocol):
    """The opening handshake (RFC 6455 4.2); a transport takes over from there."""

    _subprotocol: str | None = None

    async def accept_connection(self, handler: WebSocketHandler) -> None:
        """Answer 101 and start the transport; for TLS, stay until the end."""
        handler = cast(PeerSocketHandler, handler)
        limits, flusher = handler.limits(), handler.flusher()
        self._shake_hands(handler)
        # From here on the connection is the only way to the peer.
        handler.ws_connection = None
        stream = handler.detach()
        # The request would keep Tornado's whole HTTP connection, its task and its buffers: 3 KiB an idle peer.
        handler.request.connection = handler.request.server_connection = None
        try:
            if stream.writing():
                await stream.write(b"")
            if type(stream) is not IOStream:
                await StreamTransport(handler, limits, flusher, stream).run()
            else:
                own, leftover = _take_over(stream)
                SocketTransport(handler, limits, flusher, own).start(leftover)
        except StreamClosedError:
            log.debug("a peer was gone before its socket opened")
        except OSError as problem:
            log.warning("a socket could not be taken over: %s", problem)
        finally:
            stream.close()

    def _shake_hands(self, handler: PeerSocketHandler) -> None:
        key = handler.request.headers.get("Sec-WebSocket-Key")
        if not key or not handler.request.headers.get("Host"):
            raise HTTPError(400, "an upgrade needs the headers Host and Sec-WebSocket-Key")
        offered = handler.request.headers.get("Sec-WebSocket-Protocol", "")
        self._subprotocol = handler.select_subprotocol([name.strip() for name in offered.split(",") if name.strip()])
        if self._subprotocol:
            handler.set_header("Sec-WebSocket-Protocol", self._subprotocol)
        handler.clear_header("Content-Type")
        handler.set_status(101)
        handler.set_header("Upgrade", "websocket")
        handler.set_header("Connection", "Upgrade")
        handler.set_header("Sec-WebSocket-Accept", WebSocketProtocol13.compute_accept_value(key))
        handler.finish()

    @property
    def selected_subprotocol(self) -> str | None:
        """What ``select_subprotocol`` chose."""
        return self._subprotocol

    def is_closing(self) -> bool:
        """True: nothing is sent through this object."""
        return True

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Nothing: Tornado closes what it still owns, a transport the rest."""

    def write_message(self, *_: object, **__: object) -> NoReturn:
        """Not spoken: push frames on the connection."""
        raise NotImplementedError("push frames on the connection")

    write_ping = _process_server_headers = start_pinging = set_nodelay = write_message

    async def _receive_frame_loop(self) -> None:
        raise NotImplementedError("a transport reads the frames")


def _take_over(stream: IOStream) -> tuple[socket.socket, bytes]:
    """Take the socket from Tornado, and what was read from it already; raises StreamClosedError or OSError."""
    if stream.closed():
        raise StreamClosedError()
    own = stream.socket.dup()
    try:
        read = cast("asyncio.Future[bytes]", stream.read_bytes(_LEFTOVER_BYTES, partial=True))
        leftover = read.result() if read.done() else b""
    except BaseException:
        own.close()
        raise
    stream.close()
    return own, leftover
