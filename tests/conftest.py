"""What all tests share: a real house on a real port, over either database (HEARTLINK_TEST_STORE=mongo)."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.actors import Server
from tests.nx_server import NxServer

Serve = Callable[..., Awaitable[Server]]

STORE = os.environ.get("HEARTLINK_TEST_STORE", "sqlite")
MONGO_URL = os.environ.get("HEARTLINK_TEST_MONGO_URL", "")


ONE_AT_A_TIME = ("browser", "faults", "operation")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than cores, for many tests wait; none where tests want the machine for themselves, or for one file."""
    names = [name for argument in config.args for name in Path(argument.partition("::")[0]).parts]
    is_one_file = len(config.args) == 1 and names[-1].endswith(".py")
    return 0 if is_one_file or any(name in ONE_AT_A_TIME for name in names) else (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def own_loop() -> Iterator[None]:
    """The loop of the thread that nobody runs: without one pytest-tornado has one made, which nobody would close."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(scope="session")
def mongo_urls() -> Iterator[Iterator[str]]:
    """A new database's URL each time, or empty text for the embedded one."""
    if STORE != "mongo":
        yield itertools.repeat("")
    elif MONGO_URL:
        base, _, query = MONGO_URL.partition("?")
        scheme, _, rest = base.partition("://")
        server = f"{scheme}://{rest.partition('/')[0]}"
        tail = f"?{query}" if query else ""
        yield (f"{server}/heartlink_test_{secrets.token_hex(6)}{tail}" for _ in itertools.count())
    else:
        with NxServer() as server:
            yield (server.url_for(f"test_{number}") for number in itertools.count())


@pytest.fixture
def serve(io_loop: IOLoop, tmp_path: Path, mongo_urls: Iterator[str]) -> Iterator[Serve]:
    """Open a house on a port of its own: ``server = await serve(heartbeat_seconds=0.2)``; closed afterwards."""
    opened: list[Server] = []

    async def open_one(**settings: Any) -> Server:
        mongo_url = settings.pop("mongo_url", None) or next(mongo_urls)
        server = Server(tmp_path / f"data{len(opened)}", mongo_url, **settings)
        await server.open()
        opened.append(server)
        return server

    yield open_one
    for server in reversed(opened):
        io_loop.run_sync(server.close)
