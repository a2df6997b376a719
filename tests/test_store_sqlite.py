"""SQLite alone: plans and cost of its queries, group commit, its log, its files, and reasons not to start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from heartlink.errors import StartupFailure, StoreUnavailable
from heartlink.store.backend import Collection, Document, Replace, Span
from heartlink.store.folder import DataFolder
from heartlink.store.opening import make_backend
from heartlink.store.sqlite import DATABASE_FILE, SqliteBackend
from heartlink.store.sqlite.sql import Table
from heartlink.store.tables import ALL, MESSAGES
from tests.contract_store import BARE, COLLECTIONS, ROWS, inserts, row, shapes

NOBODY = 65534


@contextlib.asynccontextmanager
async def opened(folder: Path, collections: tuple[Collection, ...] = COLLECTIONS) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(DataFolder(folder))
    await backend.open(collections)
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A data folder with a database of all collections in it."""

    async def make() -> None:
        async with opened(tmp_path / "data", (*ALL, *COLLECTIONS)) as backend:
            await backend.append(ROWS, inserts(*(row("a", seq, body=b"x" * 500) for seq in range(1, 200))))

    asyncio.run(make())
    return tmp_path / "data"


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the test's own."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        yield connection


# --- plans and cost ---


@pytest.mark.parametrize("collection", [one for one in ALL if one.unique or one.indexes], ids=lambda one: one.name)
def test_scans_follow_an_index(made: Path, collection: Collection) -> None:
    table = Table(collection)
    assert shapes(collection)
    with beside(made) as connection:
        for equal, span in shapes(collection):
            plan = explain(connection, *table.select(equal, span, 50))
            assert len(plan) == 1, plan
            assert plan[0].startswith("SEARCH") or (not equal and "USING INDEX" in plan[0]), (equal, span, plan)
        for statement in (table.get, table.get_many(3), table.delete, table.update):
            plan = explain(connection, statement, [None] * statement.count("?"))
            assert f"SEARCH {collection.name} USING" in str(plan), plan
            assert f"SCAN {collection.name}" not in str(plan), plan
        assert "TEMP B-TREE" not in str(explain(connection, *table.select({}, None, 50)))


def explain(connection: sqlite3.Connection, statement: str, values: object) -> list[str]:
    return [line[3] for line in connection.execute(f"explain query plan {statement}", values)]


def test_a_page_of_history_costs_the_same_in_a_long_room(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine, not in time."""
    table = Table(MESSAGES)
    pages: dict[str, Callable[[int], tuple[str, object]]] = {
        "the newest": lambda size: table.select({"room": "a"}, Span("seq", descending=True), 50),
        "the middle": lambda size: table.select({"room": "a"}, Span("seq", below=size // 2, descending=True), 50),
        "a replay": lambda size: table.select({"room": "a"}, Span("rev", above=size - 60), 50),
        "one message": lambda size: (table.get, table.id_values(message(size // 2).id)),
        "a client_id": lambda size: table.select({"dedup": f"a/{size // 2}"}, None, 1),
    }
    cost: dict[str, list[int]] = {name: [] for name in pages}

    async def go() -> None:
        stored = 0
        async with opened(tmp_path, ALL) as backend:
            for size in (1_000, 100_000):
                while stored < size:
                    batch = inserts(*(message(seq) for seq in range(stored + 1, stored + 501)))
                    await backend.append(MESSAGES, batch)
                    stored += 500
                with beside(tmp_path) as connection:
                    for name, page in pages.items():
                        cost[name].append(steps(connection, *page(size)))

    asyncio.run(go())
    for name, (small, large) in cost.items():
        assert 0 < large <= 3 * small, (name, cost)


def message(seq: int) -> Document:
    keys = {"room": "a", "dedup": f"a/{seq}", "fingerprint": "", "seq": seq, "rev": seq}
    return Document(f"a:{seq:012d}", keys, b'{"content":"hello"}')


def steps(connection: sqlite3.Connection, statement: str, values: object) -> int:
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection.set_progress_handler(count, 1)
    assert connection.execute(statement, values).fetchall()
    connection.set_progress_handler(None, 1)
    return counted


# --- group commit and the log ---


def test_what_comes_in_one_turn_is_one_transaction(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(tmp_path) as backend:
            writer = backend._writer
            assert writer is not None
            before = writer.transactions
            futures = [backend.append(ROWS, inserts(row(f"r{room}", 1), row(f"r{room}", 2))) for room in range(300)]
            await asyncio.gather(*futures)
            assert writer.transactions == before + 1

    asyncio.run(go())


def test_what_is_given_up_is_neither_stored_nor_counted(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(tmp_path) as backend:
            futures = [backend.append(ROWS, inserts(row(f"r{room}", 1))) for room in range(10)]
            for future in futures[::2]:
                future.cancel()
            await asyncio.gather(*futures, return_exceptions=True)
            alone = backend.append(ROWS, inserts(row("alone", 1)))
            alone.cancel()
            await backend.ping()
            assert backend._jobs == 0
            assert not backend._waiting
            assert [found.keys["room"] for found in await backend.scan(ROWS, {})] == [f"r{n}" for n in (1, 3, 5, 7, 9)]

    asyncio.run(go())


@pytest.mark.parametrize("kind", [sqlite3.DatabaseError, sqlite3.OperationalError, sqlite3.InternalError])
def test_whatever_sqlite_says_the_store_is_unavailable(tmp_path: Path, kind: type[Exception]) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise kind("database disk image is malformed")

    async def go() -> None:
        async with opened(tmp_path) as backend:
            with pytest.raises(StoreUnavailable, match="malformed"):
                await backend._write(fail)
            await backend.append(ROWS, inserts(row("a", 1)))

    asyncio.run(go())


def test_too_much_that_waits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartlink.store.sqlite.backend.JOBS_WAITING", 20)

    async def go() -> None:
        async with opened(tmp_path) as backend:
            futures = [backend.append(ROWS, inserts(row(f"r{room}", 1))) for room in range(25)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert [result is None for result in results] == [True] * 20 + [False] * 5
            assert isinstance(results[-1], StoreUnavailable)
            await backend.append(ROWS, inserts(row("later", 1)))

    asyncio.run(go())


@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 255, 1000])
def test_any_number_of_rows_is_stored_by_whole_statements(tmp_path: Path, count: int) -> None:
    async def go() -> None:
        async with opened(tmp_path) as backend:
            documents = [row("a", seq, body=b"%d" % seq) for seq in range(1, count + 1)]
            await backend.append(ROWS, inserts(*documents))
            assert await backend.scan(ROWS, {"room": "a"}, Span("seq")) == documents

    asyncio.run(go())


def test_the_log_starts_anew_after_it_was_copied(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(tmp_path) as backend:
            log, file = tmp_path / f"{DATABASE_FILE}-wal", tmp_path / DATABASE_FILE
            sizes, seq = [], 0
            for _ in range(4):
                for _ in range(20):
                    seq += 1
                    await backend.append(ROWS, inserts(row("a", seq, body=b"x" * 10_000)))
                sizes.append(log.stat().st_size)
                assert backend._checkpointer is not None
                before = file.stat().st_size
                await asyncio.to_thread(backend._checkpointer.copy)
                assert file.stat().st_size > before
            assert max(sizes) < 2 * sizes[0], sizes
            assert len(await backend.scan(ROWS, {"room": "a"})) == seq

    asyncio.run(go())


def test_closing_copies_the_log(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == [DATABASE_FILE, "heartlink.lock"]


def test_closing_answers_those_who_read(made: Path) -> None:
    async def go() -> None:
        async with opened(made) as backend:
            reads = [asyncio.ensure_future(backend.scan(ROWS, {"room": "a"}, Span("seq"))) for _ in range(200)]
            await asyncio.sleep(0)
        assert {len(found) for found in await asyncio.gather(*reads)} == {199}

    asyncio.run(go())
    assert sorted(path.name for path in made.iterdir()) == [DATABASE_FILE, "heartlink.lock"]


def test_a_checkpoint_in_between_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers, readers and checkpoints at once, as fast as they go."""
    for name in ("LOOK_SECONDS", "CHECKPOINT_SECONDS"):
        monkeypatch.setattr(f"heartlink.store.sqlite.checkpoint.{name}", 0.001)

    async def go() -> None:
        async with opened(tmp_path) as backend:
            for seq in range(1, 300):
                changed = row("a", seq, rev=seq + 10_000)
                await backend.append(ROWS, [*inserts(row("a", seq)), Replace(changed, "rev", seq)])
                assert await backend.get(ROWS, changed.id) == changed

    asyncio.run(go())
    with beside(tmp_path) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_a_lost_event_loop_is_no_error_of_the_writer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = SqliteBackend(DataFolder(tmp_path))

    async def go() -> None:
        await backend.open(COLLECTIONS)
        backend.append(ROWS, inserts(row("a", 1))).add_done_callback(lambda future: future.cancelled())
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        asyncio.run(go())
        assert backend._threads is not None
        backend._release(backend._threads)
        backend._folder.close()
    with beside(tmp_path) as connection:
        assert connection.execute("select count(*) from rows").fetchall() == [(1,)]
    assert not caplog.records


# --- files, and reasons not to start ---


def test_the_folder_is_private(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(tmp_path / "new" / "data") as backend:
            await backend.insert(BARE, Document("d", {}, b""))
            data = tmp_path / "new" / "data"
            assert stat.S_IMODE(data.stat().st_mode) == 0o700
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
            names = (DATABASE_FILE, f"{DATABASE_FILE}-shm", f"{DATABASE_FILE}-wal", "heartlink.lock")
            assert modes == dict.fromkeys(names, 0o600)
            assert (data / "heartlink.lock").read_text() == f"{os.getpid()}\n"

    before = os.umask(0)
    try:
        asyncio.run(go())
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("given", "said"),
    [("data", "SQLite in ./data"), ("./data", "SQLite in ./data"), ("/srv/x", "SQLite in /srv/x")],
)
def test_the_name_says_where(given: str, said: str) -> None:
    assert make_backend(mongo_url="", data_dir=given).name == said


def start(folder: Path) -> None:
    async def go() -> None:
        async with opened(folder):
            pass

    asyncio.run(go())


def refused(folder: Path, reason: str) -> None:
    """Starting fails with one line that says why, a hint, and nothing left locked."""
    for _ in range(2):
        with pytest.raises(StartupFailure, match=reason) as caught:
            start(folder)
        assert "\n" not in str(caught.value)
        assert str(folder.name) in caught.value.line
        assert caught.value.hint


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    refused(tmp_path / "data", "is a file")
    refused(tmp_path / "data" / "below", "is a file")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder needs the right to be another user")
def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "data").mkdir(mode=0o555)
    os.seteuid(NOBODY)
    try:
        refused(tmp_path / "data", "cannot be written to .Permission denied.")
        refused(tmp_path / "data" / "below", "cannot be written to .Permission denied.")
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("damage", ["text", "page", "cut", "first bytes"])
def test_a_damaged_database_is_refused(made: Path, damage: str) -> None:
    file = made / DATABASE_FILE
    whole = file.read_bytes()
    broken = {
        "text": b"This is not a database, it is a letter to my aunt.\n" * 200,
        "page": whole[:20_480] + b"\xff" * 4096 + whole[24_576:],
        "cut": whole[: len(whole) // 2],
        "first bytes": b"\0" * 100 + whole[100:],
    }[damage]
    file.write_bytes(broken)
    refused(made, "damaged")
    assert file.read_bytes() == broken
    file.write_bytes(whole)
    start(made)


def test_an_empty_database_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).touch()
    start(tmp_path)


def test_a_folder_in_the_place_of_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / DATABASE_FILE).mkdir(parents=True)
    refused(tmp_path / "data", "cannot be opened .Is a directory.")


def test_a_newer_format_is_refused(made: Path) -> None:
    with beside(made) as connection:
        connection.execute("pragma user_version = 99")
    refused(made, "newer HeartLink .format 99.")
