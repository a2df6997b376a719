"""What the backends do when their database dies, freezes, is demoted or is full: say so in time, and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heartlink.errors import StoreUnavailable
from heartlink.rooms import RECENT_MESSAGES
from heartlink.store.backend import Backend, Document, Span
from heartlink.store.folder import DataFolder
from heartlink.store.mongo import TIMEOUT_SECONDS, MongoBackend
from heartlink.store.sqlite import SqliteBackend
from tests.actors import Server
from tests.contract_store import BARE, COLLECTIONS, ROWS, inserts, outcome, row
from tests.nx_server import NxServer
from tests.wire_proxy import WireProxy

REFUSED_WITHIN_SECONDS = 4.0
BACK_WITHIN_SECONDS = 5.0


@pytest.fixture
def server() -> Iterator[NxServer]:
    with NxServer() as server:
        yield server


async def refuses_in_time(backend: Backend, room: str) -> None:
    """Every operation says StoreUnavailable, more of them at once than Motor has workers."""
    calls: list[Awaitable[Any]] = [backend.append(ROWS, inserts(row(room, number))) for number in range(1, 40)]
    calls += [backend.insert(BARE, Document(f"{room}{number}", {}, b"")) for number in range(20)]
    calls += [backend.get(ROWS, "x"), backend.scan(ROWS, {"room": "a"}), backend.ping()]
    async with asyncio.timeout(REFUSED_WITHIN_SECONDS):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * len(results)


async def comes_back(backend: Backend) -> None:
    """Within the limit, a write is confirmed again."""
    async with asyncio.timeout(BACK_WITHIN_SECONDS):
        while isinstance(await outcome(backend.ping()), StoreUnavailable):
            pass


async def acknowledge(backend: Backend, first: int, count: int) -> None:
    for number in range(first, first + count):
        await backend.append(ROWS, inserts(row("kept", number)))


async def kept(backend: Backend) -> list[Any]:
    return [found.keys["seq"] for found in await backend.scan(ROWS, {"room": "kept"}, Span("seq"))]


@contextlib.asynccontextmanager
async def opened(backend: Backend) -> Any:
    await backend.open(COLLECTIONS)
    try:
        yield backend
    finally:
        await backend.close()


def die(server: NxServer, proxy: WireProxy) -> Callable[[], Any]:
    server.kill()
    return server.start


def freeze(server: NxServer, proxy: WireProxy) -> Callable[[], Any]:
    server.freeze()
    return server.thaw


def demote(server: NxServer, proxy: WireProxy) -> Callable[[], Any]:
    proxy.demoted = True
    return lambda: setattr(proxy, "demoted", False)


@pytest.mark.parametrize(
    ("fault", "replica_set", "timeout_seconds"),
    [(freeze, "", TIMEOUT_SECONDS), (die, "", 0.5), (demote, "", 0.5), (die, "rs0", 0.5), (demote, "rs0", 0.5)],
)
def test_mongodb_goes_and_comes_back(server: NxServer, fault: Any, replica_set: str, timeout_seconds: float) -> None:
    """With the time limit that people get, and with a shorter one for the tests' sake."""

    async def go() -> None:
        async with WireProxy(server.socket_path) as proxy:
            proxy.replica_set = replica_set
            async with opened(MongoBackend(proxy.url, timeout_seconds=timeout_seconds)) as backend:
                for number in range(1 if timeout_seconds == TIMEOUT_SECONDS else 3):
                    await acknowledge(backend, 1 + 20 * number, 20)
                    undo = fault(server, proxy)
                    await refuses_in_time(backend, f"lost{number}")
                    undo()
                    await comes_back(backend)
                    assert await kept(backend) == list(range(1, 21 + 20 * number))

    asyncio.run(go())


def test_mongodb_dies_under_load(server: NxServer) -> None:
    """What was confirmed is there after each kill; what was not may be, but only in order."""

    async def go() -> None:
        confirmed: list[int] = []
        async with opened(MongoBackend(server.url)) as backend:
            for number in range(3):
                start = 1000 * number
                futures = [
                    backend.append(ROWS, inserts(*(row("kept", start + 5 * at + i) for i in range(5))))
                    for at in range(100)
                ]
                await futures[10 + number]
                server.kill()
                results = await asyncio.gather(*futures, return_exceptions=True)
                confirmed += [start + 5 * at for at, result in enumerate(results) if result is None]
                assert {type(result) for result in results} == {type(None), StoreUnavailable}
                server.start()
                await comes_back(backend)
                stored = await kept(backend)
                for first in confirmed:
                    assert set(range(first, first + 5)) <= set(stored)
                mine = [seq for seq in stored if seq >= start]
                assert mine == list(range(start, start + len(mine)))

    asyncio.run(go())


def test_a_frozen_write_may_be_stored_later_but_never_twice(server: NxServer) -> None:
    async def go() -> None:
        async with opened(MongoBackend(server.url, timeout_seconds=0.5)) as backend:
            await acknowledge(backend, 1, 1)
            server.freeze()
            assert isinstance(await outcome(backend.append(ROWS, inserts(row("kept", 2)))), StoreUnavailable)
            server.thaw()
            await comes_back(backend)
            await outcome(backend.append(ROWS, inserts(row("kept", 2))))
            assert await kept(backend) == [1, 2]

    asyncio.run(go())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a small disk needs the right to mount one")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, timeout=10, check=False
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], timeout=10, check=True)


def fill(disk: Path) -> Path:
    """Take all the space there is; remove the file to give it back."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


def test_sqlite_on_a_full_disk(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        folder = small_disk / "data"
        async with opened(SqliteBackend(DataFolder(folder))) as backend:
            first = 1
            for _ in range(3):
                await acknowledge(backend, first, 5)
                ballast = fill(small_disk)
                large = b'"' + b"x" * 500_000 + b'"'
                async with asyncio.timeout(REFUSED_WITHIN_SECONDS):
                    results = await asyncio.gather(
                        backend.append(ROWS, inserts(row("lost", first, body=large))),
                        backend.insert(BARE, Document("lost", {}, large)),
                        return_exceptions=True,
                    )
                assert [type(result) for result in results] == [StoreUnavailable] * 2
                assert await kept(backend) == list(range(1, first + 5))
                ballast.unlink()
                await comes_back(backend)
                first += 5
            assert await backend.scan(ROWS, {"room": "lost"}) == []
        async with opened(SqliteBackend(DataFolder(folder))) as backend:
            assert await kept(backend) == list(range(1, first))

    asyncio.run(go())
    assert "disk is full" in caplog.text or "disk I/O error" in caplog.text


def test_sqlite_that_stands_still(tmp_path: Path) -> None:
    """Another process holds the database's write lock: writes are refused in time, reads go on, and it comes back."""

    async def go() -> None:
        import sqlite3

        async with opened(SqliteBackend(DataFolder(tmp_path), confirm_seconds=0.5)) as backend:
            await acknowledge(backend, 1, 3)
            with contextlib.closing(sqlite3.connect(tmp_path / "heartlink.db", isolation_level=None)) as other:
                other.execute("begin immediate")
                began = time.monotonic()
                writes = [backend.append(ROWS, inserts(row("lost", number))) for number in range(1, 4)]
                assert await kept(backend) == [1, 2, 3]
                results = await asyncio.gather(*writes, backend.ping(), return_exceptions=True)
                assert time.monotonic() - began < REFUSED_WITHIN_SECONDS
                assert [type(result) for result in results] == [StoreUnavailable] * 4
                other.execute("rollback")
                await comes_back(backend)
            assert await kept(backend) == [1, 2, 3]

    asyncio.run(go())


def test_sqlite_whose_disk_stands_still(tmp_path: Path) -> None:
    """A transaction that takes too long is given up by those who wait, and what they wrote may still be stored."""

    async def go() -> None:
        async with opened(SqliteBackend(DataFolder(tmp_path), confirm_seconds=0.2)) as backend:
            hold = asyncio.Event()
            loop = asyncio.get_running_loop()

            def slow(connection: Any) -> None:
                asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()

            first = asyncio.ensure_future(backend._write(slow))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second = backend.append(ROWS, inserts(row("kept", 1)))
            assert isinstance(await outcome(second), StoreUnavailable)
            assert isinstance(await outcome(first), StoreUnavailable)
            hold.set()
            await comes_back(backend)
            assert await kept(backend) in ([], [1])

    asyncio.run(go())


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    """The wire server ends with its parent."""
    code = "import time, nx_server; print(nx_server.NxServer().start().pid, flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([handle], [], [], BACK_WITHIN_SECONDS)[0], "the wire server outlived its parent"
    finally:
        os.close(handle)


def test_who_cannot_be_brought_up_to_date_hears_why_and_is_when_the_store_is_back(
    server: NxServer, tmp_path: Path
) -> None:
    """More was missed than is held in memory, and the database stands still."""
    said = RECENT_MESSAGES + 10

    async def go() -> None:
        house = await Server(tmp_path, server.url, messages_per_second=0).open()
        ann = await house.person("ann")
        room = await ann.opens(name="Tea")
        at_ann = await ann.sits_in(room)
        for number in range(said):
            await at_ann.sends({"content": f"m{number}", "client_id": f"c{number}"})
        await at_ann.hears_message(client_id=f"c{said - 1}", is_own=True)
        server.freeze()
        for _ in range(2):
            late = await ann.sits_in(room, "?since=1", greeted=False)
            error = await late.hears("error")
            assert error["error_code"] == "store_unavailable" and error["fix"] and error["retry_after"]
            assert await late.is_closed() == (4002, "internal_error")
            # The second time the room itself waits for the store, because it does not know whether this is stored.
            await at_ann.sends({"content": "unknown", "client_id": "unknown"})
            assert (await at_ann.hears("error"))["error_code"] == "not_saved"
        server.thaw()
        async with asyncio.timeout(30):
            while not house.house.health.is_up:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
        late = await ann.sits_in(room, "?since=1")
        assert late.greeting["resume"] == "changes"
        await late.hears_message(client_id=f"c{said - 1}")
        await house.close()

    asyncio.run(go())
