"""The doctor's socket: what was sent comes back, and the greeting says what the server saw of the handshake."""

from __future__ import annotations

import msgspec

from heartlink.protocol.commands import Command, Heartbeat, HeartbeatAck, Ping, Reauth
from heartlink.protocol.events import (
    AuthExpiring,
    ErrorFrame,
    Event,
    GoingAway,
    HeartbeatAckReply,
    HeartbeatEvent,
    HeartbeatResponse,
    Pong,
    ReauthOk,
    Reply,
)


class EchoText(Command, frozen=True, tag="echo"):
    """Ask for a text back, unchanged."""

    text: str


class EchoResponse(Reply, frozen=True, kw_only=True, tag="echo_response"):
    """The text as it arrived, and its size in UTF-8."""

    text: str
    bytes: int


class HandshakeView(msgspec.Struct, frozen=True, kw_only=True):
    """A request to open the doctor's socket as it arrived, and its answer; header values are cut, secrets left out.

    ``status`` is 101 for a socket that was opened; ``code`` is that of the refusal, empty without one.
    """

    upgrade: str
    connection: str
    version: str
    host: str
    origin: str | None
    scheme: str
    address: str
    subprotocols: list[str]
    proxy_headers: list[str]
    status: int
    code: str = ""


class DoctorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one of these sockets may cost; 0 means no limit for ``frame_bytes`` and ``messages_per_second``."""

    frame_bytes: int
    messages_per_second: int
    socket_seconds: int
    socket_bytes: int


class DoctorGreeting(Event, frozen=True, kw_only=True, tag="doctor_greeting"):
    """The first frame of the doctor's socket."""

    server_time: str
    heartbeat_interval: float
    user: str
    handshake: HandshakeView
    limits: DoctorLimits


DOCTOR_COMMANDS: tuple[type[Command], ...] = (EchoText, Heartbeat, HeartbeatAck, Ping, Reauth)

DOCTOR_EVENTS: tuple[type[Event], ...] = (
    DoctorGreeting,
    EchoResponse,
    ErrorFrame,
    HeartbeatEvent,
    HeartbeatAckReply,
    HeartbeatResponse,
    Pong,
    ReauthOk,
    AuthExpiring,
    GoingAway,
)
