"""How long a peer takes to answer: a ping carries its own time, and the pong brings it back (RFC 6455 5.5.3)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from heartlink.frames import ping_frame

STAMP: Final = Struct(">Q")
LAG_MOST_MS: Final = 600_000
"""A round trip longer than this is none of ours."""


def stamped_ping(now: float) -> bytes:
    """A ping that carries ``now`` (monotonic seconds); the same for all who get it in one turn."""
    return ping_frame(STAMP.pack(int(now * 1000)))


def lag_of(payload: bytes, now: float) -> int | None:
    """The milliseconds since the ping of which this is the answer; None when it answers none of ours."""
    if len(payload) != STAMP.size:
        return None
    lag_ms = int(now * 1000) - int(STAMP.unpack(payload)[0])
    return lag_ms if 0 <= lag_ms <= LAG_MOST_MS else None
