"""What a connection stands on: the transport below it, its states, its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Outlet(Protocol):
    """What a connection needs of the transport below it. Closing, by whomever, ends in ``Connection.lost``."""

    send_now: Callable[[bytes], int]
    """Hand over what can be without waiting: returns how many bytes that were. BlockingIOError when none
    could be, any other OSError when the peer is gone; exactly what a non-blocking ``socket.send`` does."""

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once when more can be handed over."""

    def finish(self, answered: bool) -> None:
        """All was said, the close frame too; ``answered`` when the peer's own close frame has come."""

    def abort(self) -> None:
        """Close at once, forgetting what the kernel still holds."""


class State(Enum):
    """A connection only ever goes down this list."""

    OPEN = "open"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one peer may cost, 0 = no limit: a message coming in, and the queue going out."""

    frame_bytes: int = 65_536
    queue_bytes: int = 1_048_576
    queue_frames: int = 4_096
