"""MongoDB alone: what goes over the wire, what the stand-in does with it, and reasons not to start."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gridfs
import pymongo
import pytest

from heartlink.errors import DuplicateKey, StartupFailure, StoreUnavailable
from heartlink.store.backend import Backend, Collection, Document, Replace
from heartlink.store.mongo import TIMEOUT_SECONDS, MongoBackend
from heartlink.store.tables import ALL
from tests.contract_store import BARE, COLLECTIONS, NOTES, ROWS, inserts, note, outcome, row, shapes
from tests.nx_server import NxServer
from tests.wire_proxy import WireProxy

START_WITHIN_SECONDS = 5.0
WRITES = ("insert", "update", "delete", "findAndModify")


@pytest.fixture(scope="module")
def server() -> Iterator[NxServer]:
    with NxServer() as server:
        yield server


@contextlib.asynccontextmanager
async def opened(url: str, collections: tuple[Collection, ...] = COLLECTIONS) -> AsyncIterator[Backend]:
    backend = MongoBackend(url)
    await backend.open(collections)
    try:
        yield backend
    finally:
        await backend.close()


# --- what goes over the wire ---


async def use_everything(backend: Backend) -> None:
    await backend.ping()
    await backend.insert(ROWS, row("a", 1))
    await outcome(backend.insert(ROWS, row("a", 1)))
    await backend.put(ROWS, row("a", 1))
    await backend.get(ROWS, "x")
    await backend.get_many(ROWS, ["x", "y"])
    await backend.change(ROWS, row("a", 1, rev=2), {"rev": 1})
    await backend.delete(ROWS, "x")
    await backend.append(ROWS, [*inserts(row("b", 1), row("b", 2)), Replace(row("b", 1, rev=3), "rev", 1)])
    for equal, span in shapes(ROWS):
        await backend.scan(ROWS, equal, span, 10)
    await backend.scan(ROWS, {})


@pytest.mark.parametrize("replica_set", ["", "rs0"], ids=["standalone", "replica set"])
def test_only_the_plain_subset_is_spoken(server: NxServer, replica_set: str) -> None:
    """Durable writes by _id, reads with a limit; no transaction, no operator but those that are known to agree."""

    async def go() -> list[dict[str, Any]]:
        async with WireProxy(server.socket_path) as proxy:
            proxy.replica_set = replica_set
            async with opened(f"{proxy.url}{replica_set}?readPreference=secondaryPreferred&w=1") as backend:
                proxy.commands.clear()
                await use_everything(backend)
            return proxy.commands

    commands = [command for command in asyncio.run(go()) if "endSessions" not in command]
    assert {next(iter(command)) for command in commands} == {"insert", "update", "delete", "find"}
    for command in commands:
        assert not {"txnNumber", "startTransaction", "autocommit"} & command.keys()
        if next(iter(command)) in WRITES:
            w = "majority" if replica_set else 1
            assert command["writeConcern"] == {"w": w, "j": True}
        else:
            assert command["readConcern"] == {"level": "majority" if replica_set else "local"}
            assert 0 < command["limit"] <= 1000
            check_filter(command["filter"])
        for change in (*command.get("updates", ()), *command.get("deletes", ())):
            assert change["q"].keys() <= {"_id", "rev"}
            assert isinstance(change["q"]["_id"], str)
        assert command.get("$readPreference", {"mode": "primary"}) == {"mode": "primary"}
        assert command.get("ordered", True) is True


def check_filter(condition: dict[str, Any]) -> None:
    for field, value in condition.items():
        assert not field.startswith("$")
        if isinstance(value, dict):
            assert value.keys() <= ({"$in"} if field == "_id" else {"$gt", "$lt"})


def test_batches_that_wait_travel_together(server: NxServer) -> None:
    async def go() -> int:
        async with WireProxy(server.socket_path) as proxy, opened(proxy.url) as backend:
            proxy.commands.clear()
            await asyncio.gather(*(backend.append(ROWS, inserts(row(f"t{room}", 1))) for room in range(100)))
            return len(proxy.commands)

    assert asyncio.run(go()) == 1


# --- what the stand-in does: one row for each habit that the backend relies on ---


@pytest.mark.parametrize("collection", [one for one in ALL if one.unique or one.indexes], ids=lambda one: one.name)
def test_scans_follow_an_index(server: NxServer, collection: Collection) -> None:
    """Compound indexes need a plain one beside them there; then every scan is a search."""
    url = server.url_for("plans")

    async def make() -> None:
        async with opened(url, ALL):
            pass

    asyncio.run(make())
    with pymongo.MongoClient(url) as client:
        rows = client["plans"][collection.name]
        for equal, span in shapes(collection):
            condition: dict[str, Any] = dict(equal)
            if span is not None and (span.above is not None or span.below is not None):
                ends = {"$gt": span.above, "$lt": span.below}
                condition[span.key] = {name: end for name, end in ends.items() if end is not None}
            if condition:
                plan = rows.find(condition).limit(50).explain()["queryPlanner"]["winningPlan"]
                assert plan[0]["detail"].startswith("SEARCH"), (condition, plan)
        for condition in ({"_id": "x"}, {"_id": "x", "rev": 1}, {"_id": {"$in": ["x", "y"]}}):
            plan = rows.find(condition).explain()["queryPlanner"]["winningPlan"]
            assert "(_id=?)" in plan[0]["detail"], (condition, plan)


def test_a_conditional_replace_is_atomic(server: NxServer) -> None:
    """Several clients, each with its own connections, raise one number; none of the raises is lost."""

    async def go() -> None:
        url = server.url_for("atomic")
        async with opened(url) as one, opened(url) as two, opened(url) as three:
            await one.insert(NOTES, note("n", "w", 0))

            async def raise_it(backend: Backend, times: int) -> None:
                while times:
                    found = await backend.get(NOTES, "n")
                    assert found is not None
                    at = int(found.keys["at"])
                    times -= await backend.change(NOTES, note("n", "w", at + 1), {"at": at})

            await asyncio.gather(*(raise_it(backend, 25) for backend in (one, two, three)))
            assert await one.get(NOTES, "n") == note("n", "w", 75)

    asyncio.run(go())


def test_a_failed_batch_names_its_place(server: NxServer) -> None:
    """insert_many stops at the first duplicate and says which it was: the batches around it depend on that."""
    with pymongo.MongoClient(server.url_for("places")) as client:
        rows = client["places"]["rows"]
        rows.create_index([("room", 1), ("seq", 1)], unique=True)
        rows.insert_one({"_id": "0", "room": "a", "seq": 2})
        with pytest.raises(pymongo.errors.BulkWriteError) as caught:
            rows.insert_many([{"_id": str(seq), "room": "a", "seq": seq} for seq in (1, 2, 3)])
        [error] = caught.value.details["writeErrors"]
        assert (error["index"], error["code"]) == (1, 11000)
        assert rows.count_documents({}) == 2


def test_a_duplicate_by_replace_is_told_as_one(server: NxServer) -> None:
    async def go() -> None:
        async with opened(server.url_for("replaced")) as backend:
            await backend.append(ROWS, inserts(row("a", 1), row("a", 2)))
            with pytest.raises(DuplicateKey):
                await backend.append(ROWS, [Replace(row("a", 2, rev=1), "rev", 2)])
            assert await backend.get(ROWS, "a:000000000002") == row("a", 2)

    asyncio.run(go())


def test_indexes_outlive_the_server(tmp_path: Path) -> None:
    """After a kill -9 and a start, unique keys are still unique."""

    async def go() -> None:
        with NxServer(tmp_path) as server:
            async with opened(server.url) as backend:
                await backend.insert(ROWS, row("a", 1))
                server.kill()
                server.start()
            async with opened(server.url) as backend:
                for other in (row("a", 1, rev=5, dedup="n"), row("a", 5, rev=1, dedup="n"), row("b", 1, dedup="a/1")):
                    with pytest.raises(DuplicateKey):
                        await backend.insert(ROWS, Document("other", other.keys, b""))

    asyncio.run(go())


# --- reasons not to start ---


def refused(url: str, *said: str, unsaid: str = "secret", timeout_seconds: float = 0.5) -> None:
    """Starting fails in time, with one line that says where and why, and never the password."""

    async def go() -> str:
        backend = MongoBackend(url, timeout_seconds=timeout_seconds)
        async with asyncio.timeout(START_WITHIN_SECONDS):
            with pytest.raises(StartupFailure) as caught:
                await backend.open(COLLECTIONS)
        assert caught.value.hint
        return str(caught.value)

    text = asyncio.run(go())
    assert "\n" not in text
    assert unsaid not in text
    for words in said:
        assert words in text, text


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused(f"mongodb://ann:secret@127.0.0.1:{port}/x", f"127.0.0.1:{port}", "Connection refused")


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused(
            f"mongodb://127.0.0.1:{silent.getsockname()[1]}/x",
            "127.0.0.1",
            "timed out",
            timeout_seconds=TIMEOUT_SECONDS,
        )


def test_no_such_host() -> None:
    refused("mongodb://ann:secret@no-such-host.invalid:27017/x", "no-such-host.invalid:27017")


@pytest.mark.parametrize(("code", "reason"), [(18, "refused the user name or the password"), (13, "does not let")])
def test_the_door_is_locked(server: NxServer, code: int, reason: str) -> None:
    async def go() -> None:
        async with WireProxy(server.socket_path) as proxy:
            proxy.login_error = code
            url = f"mongodb://ann:secret@{proxy.address}/house?authMechanism=PLAIN&authSource=$external"
            await asyncio.to_thread(refused, url, reason, proxy.address)

    asyncio.run(go())


def test_it_is_not_the_primary(server: NxServer) -> None:
    async def go() -> None:
        async with WireProxy(server.socket_path) as proxy:
            proxy.demoted = True
            await asyncio.to_thread(refused, f"{proxy.url}?replicaSet=rs0", proxy.address)

    asyncio.run(go())


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ann:secret@host:99999/x",
        "mongodb://ann:sec/ret:secret@host/x",
        "mongodb://ann:secret%@host/x",
        "mongodb://ann:p@secret@host/x",
        "mongodb://ann:secret@host/x?w=0&journal=true",
        "mongodb://ann:secret@host/x?authMechanism=secret",
        "http://ann:secret@host/x",
        "ann:secret@host",
        "mongodb://",
        "mongodb://host/a b$c",
        "mongodb+srv://ann:secret@host.invalid:12/x",
        "mongodb+srv://ann:secret@host.invalid/x",
    ],
)
def test_an_address_that_cannot_be_read(url: str) -> None:
    refused(url, "--mongo-url")


@pytest.mark.parametrize(
    ("path", "database"), [("", "heartlink"), ("/", "heartlink"), ("/house", "house"), ("/?appName=x", "heartlink")]
)
def test_the_name_says_where(server: NxServer, path: str, database: str) -> None:
    async def go() -> None:
        async with WireProxy(server.socket_path) as proxy, opened(f"mongodb://{proxy.address}{path}") as backend:
            assert backend.name == f"MongoDB at {proxy.address} (database {database})"
            await backend.insert(BARE, Document("d", {}, b""))
            await backend.delete(BARE, "d")

    asyncio.run(go())


def test_a_blob_that_was_broken_off_anywhere_is_stored_again_and_removed(server: NxServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 600_000)

    async def go() -> None:
        async with opened(server.url_for("broken"), ()) as backend:
            assert isinstance(backend, MongoBackend)
            blobs, ask = backend._blobs, backend._blobs._ask
            for number, again in enumerate((True, False) * 9):
                left = number // 2

                async def breaks_off(operation: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise StoreUnavailable("killed")
                    return await ask(operation)

                blob = f"blob{number}"
                blobs._ask = breaks_off
                with contextlib.suppress(StoreUnavailable):
                    await backend.put_blob(blob, source)
                blobs._ask = ask
                assert await backend.blob_size(blob) in (None, 600_000), "as a whole or not at all"
                if again:
                    await backend.put_blob(blob, source)
                    assert sum([len(piece) async for piece in backend.read_blob(blob)]) == 600_000
                await backend.delete_blob(blob)
                assert await backend.blob_size(blob) is None and await backend.blob_ids() == []

    asyncio.run(go())
    with pymongo.MongoClient(server.url_for("broken")) as client:
        database = client["broken"]
        assert database["blobs.files"].find_one({}) is None and database["blob_ids"].find_one({}) is None


def test_blobs_are_files_that_every_tool_for_gridfs_reads(server: NxServer, tmp_path: Path) -> None:
    source, data = tmp_path / "source", random.Random(1).randbytes(700_000)
    source.write_bytes(data)

    async def go() -> None:
        async with opened(server.url_for("tools"), ()) as backend:
            await backend.put_blob("readable", source)

    asyncio.run(go())
    with pymongo.MongoClient(server.url_for("tools")) as client:
        assert gridfs.GridFSBucket(client["tools"], "blobs").open_download_stream("readable").read() == data
