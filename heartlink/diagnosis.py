"""The doctor's socket: it says how the handshake arrived and sends back what it hears, within limits of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from heartlink.connection import Connection, TokenBucket
from heartlink.errors import CHECK_IS_OVER, doctor_is_busy
from heartlink.hub import frame_of
from heartlink.model import User
from heartlink.protocol import DoctorGreeting, DoctorLimits, EchoResponse, EchoText, HandshakeView, iso
from heartlink.settings import Settings

SOCKETS_LIMIT: Final = 100
"""Of these sockets open at once, from everywhere: nobody needs an account for one."""

SOCKET_SECONDS: Final = 900
SOCKET_BYTES: Final = 16 << 20
HANDSHAKES_LIMIT: Final = 1000
HANDSHAKE_SECONDS: Final = 60
ATTEMPT_CHARS: Final = 64


class DoctorPeer:
    """One connection to the doctor; ``user`` is who is signed in, if anybody is."""

    __slots__ = ("bucket", "connection", "refusals", "user")

    def __init__(self, connection: Connection, user: User | None, bucket: TokenBucket) -> None:
        self.connection = connection
        self.user = user
        self.bucket = bucket
        self.refusals = 0
        """Refusals in a row for being over the rate limit."""


class Diagnosis:
    """Who is with the doctor now, and how the last handshakes arrived, by the name their page gave them."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], int],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._clock = clock
        self._call_later = call_later
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._limits = DoctorLimits(
            frame_bytes=settings.frame_bytes,
            messages_per_second=settings.messages_per_second,
            socket_seconds=SOCKET_SECONDS,
            socket_bytes=SOCKET_BYTES,
        )
        self._present: set[Connection] = set()
        self._handshakes: OrderedDict[str, tuple[int, HandshakeView]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._present)

    def check(self) -> None:
        """Raise the Refusal ``busy`` when too many are here already."""
        if len(self._present) >= SOCKETS_LIMIT:
            raise doctor_is_busy()

    def arrive(self, peer: DoctorPeer, handshake: HandshakeView) -> None:
        """Greet a peer, and end it when its time is over."""
        connection = peer.connection
        self._present.add(connection)
        connection.undo(lambda: self._present.discard(connection))
        timer = self._call_later(SOCKET_SECONDS, lambda: connection.hang_up(CHECK_IS_OVER))
        connection.undo(timer.cancel)
        greeting = DoctorGreeting(
            server_time=iso(self._clock()),
            heartbeat_interval=self._heartbeat_seconds,
            user=peer.user.username if peer.user else "",
            handshake=handshake,
            limits=self._limits,
        )
        connection.push(frame_of(greeting))

    def echo(self, peer: DoctorPeer, command: EchoText) -> EchoResponse | None:
        """The text back; None, and the end, for a peer that has sent more than all of this is for."""
        if peer.connection.bytes_in > SOCKET_BYTES:
            peer.connection.hang_up(CHECK_IS_OVER)
            return None
        return EchoResponse(text=command.text, bytes=len(command.text.encode()), ref=command.ref)

    def remember(self, attempt: str, handshake: HandshakeView) -> None:
        """Keep for a minute how a handshake arrived; ``attempt`` is a name that nobody else can guess."""
        if not attempt or len(attempt) > ATTEMPT_CHARS:
            return
        self._handshakes.pop(attempt, None)
        self._handshakes[attempt] = (self._clock() + HANDSHAKE_SECONDS * 1000, handshake)
        if len(self._handshakes) > HANDSHAKES_LIMIT:
            self._handshakes.popitem(last=False)

    def recall(self, attempt: str) -> HandshakeView | None:
        """How that handshake arrived; None when it did not."""
        until_ms, handshake = self._handshakes.get(attempt, (0, None))
        return handshake if until_ms > self._clock() else None
