"""A restart under people who talk: everybody resumes, nothing is lost or told twice; the benchmark, made small."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from benchmarks import restart

CLIENTS, ROOMS, USERS = 200, 20, 20


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_everybody_resumes_and_nothing_is_lost(tmp_path: Path, how: signal.Signals) -> None:
    done = asyncio.run(restart.measure(tmp_path, CLIENTS, ROOMS, USERS, [how]))
    assert [(one.resumed, one.faults) for one in done] == [(CLIENTS, [])]


def test_the_account_notices_what_was_lost(tmp_path: Path) -> None:
    """The same, with one member made to forget a message, and one to hear one twice: both are counted."""

    async def run() -> list[str]:
        server = restart.HeartLinkProcess(tmp_path)
        await server.start()
        try:
            furnished = await asyncio.to_thread(server.furnish, 4, 1, 4)
            crowd = restart.Crowd(server.port, furnished, 4)
            try:
                await crowd.open(restart.PATIENCE_SECONDS)
                first, second, *_ = crowd.members
                first.last_rev -= 1
                second.last_rev += 1
                crowd.said = 1
                crowd.members[3].says("said-1", "hello")
                async with asyncio.timeout(restart.PATIENCE_SECONDS):
                    await crowd.all_heard(restart.PATIENCE_SECONDS)
                return crowd.faults()
            finally:
                await crowd.close()
        finally:
            await server.close()

    assert asyncio.run(run()) == ["1 frames that came twice", "1 holes in what came"]
