"""How late the event loop is: what everybody waits who has something to say."""

from __future__ import annotations

import asyncio
from typing import Final

from heartlink.tallies import Histogram

LOOK_SECONDS: Final = 0.25


async def watch_loop_lag(histogram: Histogram) -> None:
    """Sleep a little and see how much later one wakes; for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        histogram.observe(max(0.0, loop.time() - due))
