"""Two thousand people come and go: nothing of them stays, but what is kept on purpose and is bounded."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest
from tornado.ioloop import IOLoop

from benchmarks.churn import churn
from heartlink.connection import Connection
from heartlink.connection.archive import KEPT_PER_PERSON
from heartlink.hub import EXPIRIES_SPARE
from tests.conftest import Serve

CYCLES, AT_ONCE = 1000, 20
PATIENCE_SECONDS = 30.0
# A tenth of an object for each cycle: what leaks, leaks at least one.
ALLOWED_GROWTH = CYCLES // 10


async def objects_left() -> Counter[str]:
    """What there is, by kind, once all connections but the few that are kept on purpose are forgotten."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            gc.collect()
            left = Counter(type(one).__qualname__ for one in gc.get_objects())
            # Each of them has two moments at which its token is looked at, and those are forgotten in batches.
            if left[Connection.__qualname__] <= EXPIRIES_SPARE // 2:
                return left
            await asyncio.sleep(0.2)


@pytest.mark.gen_test(timeout=180)
async def test_nothing_stays_of_those_who_left(serve: Serve, io_loop: IOLoop) -> None:
    server = await serve(connections_per_address=0, registrations_per_minute=0, presence_grace_seconds=0)
    people = [await server.person(f"user{number}") for number in range(4)]
    room = await people[0].opens(name="Tea", members=[person.name for person in people[1:]])
    seats = [(f"/ws/chat/{room}/", str(person.token)) for person in people]

    await churn(server.port, seats, CYCLES, AT_ONCE)
    before = await objects_left()
    await churn(server.port, seats, CYCLES, AT_ONCE)
    after = await objects_left()

    grown = {kind: count - before[kind] for kind, count in after.items() if count - before[kind] > ALLOWED_GROWTH}
    assert not grown
    assert len(server.house.hub.archive) == len(people) * KEPT_PER_PERSON
