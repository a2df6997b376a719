"""A socket that sends back what comes, served with ``--echo-route`` only: what conformance tests talk to."""

from __future__ import annotations

from heartlink import frames
from heartlink.connection import Connection, ConnectionLimits, Flusher
from heartlink.handlers.base import BaseHandler
from heartlink.handlers.websocket import PeerSocketHandler


class EchoSocketHandler(BaseHandler, PeerSocketHandler):
    """``/ws/echo/``: no sign-in, no limits, no frames of its own; the same protocol class as every other socket."""

    def limits(self) -> ConnectionLimits:
        """None: the largest messages of the tests are 16 MiB."""
        return ConnectionLimits(0, 0, 0)

    def flusher(self) -> Flusher:
        """The flusher of this event loop."""
        return self.house.hub.flusher

    def check_origin(self, origin: str) -> bool:
        """There is nothing to protect."""
        return True

    def received(self, connection: Connection, text: bytes) -> None:
        """Send a text back."""
        connection.push(frames.text_frame(text))

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """Send bytes back."""
        connection.push(frames.binary_frame(payload))
