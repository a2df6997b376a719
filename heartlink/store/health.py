"""Whether the database answers: suspected at the first failure, believed again after a ping that got through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from heartlink.errors import StoreUnavailable
from heartlink.store.backend import Backend

CHECK_SECONDS: Final = 2.0
"""Between two pings while all is well: a database nobody writes to may die as well."""

RETRY_SECONDS: Final = 0.25
"""Between two pings while it is away."""


class StoreHealth:
    """The one place that knows whether the store is up; ``watch`` runs as a task that its opener owns."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._suspected = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self.is_up = True

    def on_return(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` each time the store has come back."""
        self._listeners.append(listener)

    def suspect(self) -> None:
        """Something failed: refuse at once what needs the store, until a ping gets through."""
        self.is_up = False
        self._suspected.set()

    async def check(self) -> bool:
        """Ping now; the answer is also remembered."""
        try:
            await self._backend.ping()
        except StoreUnavailable:
            self.suspect()
            return False
        if not self.is_up:
            self.is_up = True
            for listener in self._listeners:
                listener()
        return True

    async def watch(self) -> None:
        """Ping for ever."""
        while True:
            if self.is_up:
                self._suspected.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._suspected.wait(), CHECK_SECONDS)
            else:
                await asyncio.sleep(RETRY_SECONDS)
            await self.check()
