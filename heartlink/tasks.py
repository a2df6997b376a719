"""Background work with an owner: every task is held, its failure is noticed, and closing ends all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.errors import busy

TASKS_LIMIT: Final = 50_000
"""Tasks that may run at once."""

RESTART_SECONDS: Final = 1.0
"""How long work that must never end rests after it has failed."""

logger = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]


class Tasks:
    """Owns coroutines that run beside the requests."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Work) -> None:
        """Run ``work``; if it raises, that is logged with its traceback. Raises the Refusal ``busy`` over the limit."""
        if len(self._running) >= TASKS_LIMIT:
            work.close()
            raise busy("tasks")
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def keep(self, start: Callable[[], Work]) -> None:
        """Run what must never end; if it does, that is logged and it is started again."""
        self.spawn(self._keep(start))

    async def _keep(self, start: Callable[[], Work]) -> None:
        while True:
            try:
                await start()
            except Exception:
                logger.exception("%s failed and is started again", getattr(start, "__qualname__", start))
            await asyncio.sleep(RESTART_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background work failed", exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs, and wait for it."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
