"""What all connections of an event loop share: one callback a turn to write, one timer for the goodbyes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from heartlink.connection.ledger import Ledger

GOODBYE_SECONDS = 2.0
"""How long a peer that was hung up on may take to read what is left and to answer the close frame."""

log = logging.getLogger(__name__)


class Flushable(Protocol):
    """What the flusher needs of a connection."""

    id: str

    def flush(self) -> None:
        """Write what is queued."""

    def abort(self) -> None:
        """End now, if it has not ended."""


class Handle(Protocol):
    """A callback under way that can be called off."""

    def cancel(self) -> None: ...


class Flusher:
    """Writes once per loop turn to every connection that has something queued, and ends overdue goodbyes.

    One per event loop, whose ``call_soon`` and ``call_later`` it is given.
    """

    __slots__ = ("_call_later", "_clock", "_goodbye_seconds", "_leaving", "_ready", "_timer", "call_soon", "ledger")

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        call_later: Callable[[float, Callable[[], None]], Handle],
        clock: Callable[[], float] = time.monotonic,
        goodbye_seconds: float = GOODBYE_SECONDS,
    ) -> None:
        self.call_soon = call_soon
        self.ledger = Ledger(clock)
        """What all these connections wrote and read."""
        self._call_later = call_later
        self._clock = clock
        self._goodbye_seconds = goodbye_seconds
        self._ready: list[Flushable] = []
        self._leaving: deque[tuple[float, Flushable]] = deque()
        self._timer: Handle | None = None

    def add(self, connection: Flushable) -> None:
        """Flush this connection when the turn ends."""
        if not self._ready:
            self.call_soon(self._flush)
        self._ready.append(connection)

    def expect_end(self, connection: Flushable) -> None:
        """See to it that this connection is gone in ``goodbye_seconds``."""
        # All wait equally long, so they fall due in the order they came: one timer serves them all.
        self._leaving.append((self._clock() + self._goodbye_seconds, connection))
        if self._timer is None:
            self._timer = self._call_later(self._goodbye_seconds, self._end_overdue)

    def close(self) -> None:
        """Call the timer off and abort whoever is still leaving."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._leaving:
            self._leaving.popleft()[1].abort()

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        self.ledger.begin_turn()
        for connection in ready:
            try:
                connection.flush()
            except Exception:
                # One connection's bug must not cost the others their frames.
                log.exception("flushing connection %s failed", connection.id)
                self.call_soon(connection.abort)
        self.ledger.end_turn()

    def _end_overdue(self) -> None:
        self._timer = None
        now = self._clock()
        while self._leaving and self._leaving[0][0] <= now:
            self._leaving.popleft()[1].abort()
        if self._leaving:
            self._timer = self._call_later(self._leaving[0][0] - now, self._end_overdue)
