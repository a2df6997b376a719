"""MongoDB through Motor: journaled writes, majority where there is one to ask; standalone, replica set or sharded.

A document is ``{_id, …keys…, body}``. Only what MongoDB and its stand-ins agree on is used: point reads and writes by
``_id``, equality and one range on top-level fields, unique indexes on fields that are always set.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, DESCENDING, ReadPreference
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from heartlink.errors import DuplicateKey, StartupFailure, StoreUnavailable
from heartlink.store.backend import Change, Collection, Document, Insert, KeyValue, Span
from heartlink.store.folder import DataFolder
from heartlink.store.mongo.faults import startup_failure, unavailable
from heartlink.store.mongo.gridfs import INDEXES, GridFs

DEFAULT_DATABASE = "heartlink"
TIMEOUT_SECONDS = 3.0
GRACE_SECONDS = 0.3
START_SECONDS = 3.5
CLOSE_SECONDS = 1.0
HEARTBEAT_MS = 2_000
BATCHES_WAITING = 50_000
CHANGES_PER_GROUP = 256
ASKS_WAITING = 2_000
# Motor's pool has five workers a core; one is left for the appends, which must never wait behind anything else.
ASKS_AT_ONCE = 5 * (os.cpu_count() or 1) - 1
PROBE = "probe"
DUPLICATE = 11000
URL_HINT = "It looks like mongodb://user:password@host:27017/heartlink; write @ : / % in a password as %40 %3A %2F %25."

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Batch:
    """An append that waits for its turn: its changes, and their documents as MongoDB takes them."""

    future: asyncio.Future[None]
    collection: str
    changes: list[tuple[Change, dict[str, Any]]]
    deadline: float


class MongoBackend:
    """A :class:`~heartlink.store.backend.Backend` in one database of a MongoDB deployment."""

    def __init__(self, url: str, folder: DataFolder | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.name = "MongoDB"
        self._url, self._folder, self._timeout_seconds = url, folder, timeout_seconds
        self._client: Any = None
        self._database: Any = None
        self._waiting: deque[Batch] = deque()
        self._appender: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(ASKS_AT_ONCE)
        self._asked = self._failures = self._pings = 0
        self._blobs = GridFs(self._ask, self._of)

    async def open(self, collections: Sequence[Collection]) -> None:
        """Connect, learn what the deployment is, make the indexes."""
        self._loop = asyncio.get_running_loop()
        where, database = self._read_url()
        self.name = f"MongoDB at {where} (database {database})"
        if self._folder is not None:
            self._folder.open()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._connect(database)
                for collection in collections:
                    await self._make_indexes(collection)
                for name, fields in INDEXES.items():
                    await self._database[name].create_index([(field, ASCENDING) for field in fields])
                await self.ping()
        except (PyMongoError, StoreUnavailable, TimeoutError, OSError) as error:
            await self.close()
            raise startup_failure(where, database, error) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was handed over, then disconnect."""
        if self._appender is not None:
            await asyncio.wait([self._appender])
        self._database = None
        client, self._client = self._client, None
        if client is not None:
            # It takes leave of the server by the network, on the calling thread.
            await self._loop.run_in_executor(None, disconnect, client)
        if self._folder is not None:
            self._folder.close()

    async def ping(self) -> None:
        """Write one document for real: a frozen or demoted server answers less than that."""
        self._pings += 1
        probe = {"_id": PROBE, "pings": self._pings}
        stored = self._of(PROBE)
        await self._ask(lambda: stored.replace_one({"_id": PROBE}, probe, upsert=True))

    async def insert(self, collection: Collection, document: Document) -> None:
        """Store a new document."""
        stored, rows = as_stored(collection, document), self._of(collection.name)
        await self._ask(lambda: rows.insert_one(stored))

    async def put(self, collection: Collection, document: Document) -> None:
        """Store a document whatever was under its id."""
        stored, rows = as_stored(collection, document), self._of(collection.name)
        await self._ask(lambda: rows.replace_one({"_id": document.id}, stored, upsert=True))

    async def get(self, collection: Collection, id: str) -> Document | None:
        """The document under an id."""
        rows = self._of(collection.name)
        found = await self._ask(lambda: rows.find_one({"_id": id}))
        return None if found is None else as_document(collection, found)

    async def get_many(self, collection: Collection, ids: Sequence[str]) -> list[Document]:
        """Those of several ids that exist."""
        if not ids:
            return []
        cursor = self._of(collection.name).find({"_id": {"$in": list(ids)}}).limit(len(ids))
        return [as_document(collection, found) for found in await self._ask(lambda: cursor.to_list(len(ids)))]

    async def delete(self, collection: Collection, id: str) -> bool:
        """Remove a document."""
        rows = self._of(collection.name)
        done = await self._ask(lambda: rows.delete_one({"_id": id}))
        return bool(done.deleted_count)

    async def change(self, collection: Collection, document: Document, where: Mapping[str, KeyValue]) -> bool:
        """Replace a document whose keys still have given values."""
        wanted = {"_id": document.id, **known(collection, where)}
        stored, rows = as_stored(collection, document), self._of(collection.name)
        done = await self._ask(lambda: rows.replace_one(wanted, stored))
        return bool(done.matched_count)

    async def scan(
        self,
        collection: Collection,
        equal: Mapping[str, KeyValue],
        span: Span | None = None,
        limit: int = 1000,
    ) -> list[Document]:
        """Documents whose keys have given values, within a span, in its order."""
        condition: dict[str, Any] = dict(known(collection, equal))
        order = [("_id", ASCENDING)]
        if span is not None:
            known(collection, {span.key: 0})
            ends = {"$gt": span.above, "$lt": span.below}
            condition[span.key] = {name: end for name, end in ends.items() if end is not None}
            if not condition[span.key]:
                del condition[span.key]
            order = [(span.key, DESCENDING if span.descending else ASCENDING)]
        cursor = self._of(collection.name).find(condition).sort(order).limit(limit)
        return [as_document(collection, found) for found in await self._ask(lambda: cursor.to_list(limit))]

    def append(self, collection: Collection, batch: Sequence[Change]) -> asyncio.Future[None]:
        """Store a batch in order; what waits meanwhile travels together."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self._database is None or len(self._waiting) >= BATCHES_WAITING:
            future.set_exception(StoreUnavailable("MongoDB is closed, or too much waits for it."))
            return future
        changes = [(change, as_stored(collection, change.document)) for change in batch]
        deadline = self._loop.time() + self._timeout_seconds + GRACE_SECONDS
        self._waiting.append(Batch(future, collection.name, changes, deadline))
        if self._appender is None:
            self._appender = self._loop.create_task(self._append_waiting(), name="mongo-append")
        return future

    async def put_blob(self, blob_id: str, source: Path) -> None:
        """Store the content of a file."""
        await self._blobs.put(blob_id, source)

    def read_blob(self, blob_id: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a blob in pieces."""
        return self._blobs.read(blob_id, start, length)

    async def blob_size(self, blob_id: str) -> int | None:
        """The bytes of a blob."""
        return await self._blobs.size(blob_id)

    async def delete_blob(self, blob_id: str) -> bool:
        """Remove a blob."""
        return await self._blobs.delete(blob_id)

    async def blob_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids above ``after`` in their order."""
        return await self._blobs.ids(after, limit)

    async def _append_waiting(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft()]
                size = len(group[0].changes)
                while self._waiting and size + len(self._waiting[0].changes) <= CHANGES_PER_GROUP:
                    group.append(self._waiting.popleft())
                    size += len(group[-1].changes)
                await self._append_group(group)
        finally:
            self._appender = None

    async def _append_group(self, group: list[Batch]) -> None:
        try:
            async with asyncio.timeout_at(group[0].deadline):
                await self._store_in_order([(batch, *change) for batch in group for change in batch.changes])
        except Exception as error:
            if isinstance(error, (PyMongoError, TimeoutError, OSError)):
                # Nothing that waits is sent after an unknown outcome: it would wait as long again, for nothing.
                group += self._waiting
                self._waiting.clear()
                error = unavailable(error)
            for batch in group:
                if not batch.future.done():
                    batch.future.set_exception(error)
        for batch in group:
            if not batch.future.done():
                batch.future.set_result(None)

    async def _store_in_order(self, steps: list[tuple[Batch, Change, dict[str, Any]]]) -> None:
        at = 0
        while at < len(steps):
            batch, change, stored = steps[at]
            if batch.future.done():
                at += 1
            elif isinstance(change, Insert):
                end = at
                while (
                    end < len(steps)
                    and isinstance(steps[end][1], Insert)
                    and steps[end][0].collection == batch.collection
                    and not steps[end][0].future.done()
                ):
                    end += 1
                at = await self._insert_run(steps, at, end)
            else:
                wanted = {"_id": change.document.id, change.field: change.expected}
                try:
                    done = await self._of(batch.collection).replace_one(wanted, stored)
                    if not done.matched_count:
                        refuse(batch, f"{change.document.id} has another {change.field}")
                except DuplicateKeyError as error:
                    refuse(batch, str(error))
                at += 1

    async def _insert_run(self, steps: list[tuple[Batch, Change, dict[str, Any]]], at: int, end: int) -> int:
        """Insert ``steps[at:end]`` with one call; return the position to go on from."""
        collection = self._of(steps[at][0].collection)
        try:
            await collection.insert_many([stored for _, _, stored in steps[at:end]], ordered=True)
        except DuplicateKeyError as error:
            failed, reason = at, str(error)
        except BulkWriteError as error:
            written = (error.details or {}).get("writeErrors", [])
            if len(written) != 1 or written[0].get("code") != DUPLICATE:
                raise
            failed, reason = at + int(written[0]["index"]), str(written[0].get("errmsg", ""))
        else:
            return end
        refuse(steps[failed][0], reason)
        return failed + 1

    async def _ask(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        if self._asked >= ASKS_WAITING:
            raise StoreUnavailable("Too many requests wait for MongoDB.")
        self._asked += 1
        failures = self._failures
        try:
            async with asyncio.timeout(self._timeout_seconds + GRACE_SECONDS), self._turns:
                if self._failures != failures:
                    # As with appends: it would wait as long again, and keep a worker from those who come later.
                    raise StoreUnavailable("MongoDB did not answer those who asked before.")
                return await ask()
        except DuplicateKeyError as error:
            raise DuplicateKey(str(error)) from None
        except (PyMongoError, TimeoutError, OSError) as error:
            self._failures += 1
            raise unavailable(error) from error
        finally:
            self._asked -= 1

    def _of(self, collection: str) -> Any:
        if self._database is None:
            raise StoreUnavailable("MongoDB is closed.")
        return self._database[collection]

    def _read_url(self) -> tuple[str, str]:
        try:
            parsed: Mapping[str, Any] = parse_uri(
                self._url, validate=True, warn=False, connect_timeout=self._timeout_seconds
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            # The library's own words may quote the URL, and with it the password.
            plain = "@" not in self._url or str(error).startswith("The DNS ")
            reason = f": {str(error).rstrip('.')}" if plain else ""
            raise StartupFailure(f"The address in --mongo-url cannot be read{reason}.", URL_HINT) from None
        where = ",".join(f"{host}:{port}" if port else host for host, port in parsed["nodelist"])
        return where, parsed["database"] or DEFAULT_DATABASE

    async def _connect(self, database: str) -> None:
        timeout_ms = round(self._timeout_seconds * 1000)
        self._client = AsyncIOMotorClient(
            self._url,
            io_loop=self._loop,
            appname="heartlink",
            journal=True,
            retryWrites=False,
            timeoutMS=timeout_ms,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms // 2,
            heartbeatFrequencyMS=HEARTBEAT_MS,
        )
        # Longer than connecting may take, so that a failure has a reason to tell, and soon enough to tell it in time.
        with pymongo.timeout(self._timeout_seconds * 2 / 3):
            hello = await self._client.admin.command("hello")
        several = "setName" in hello or hello.get("msg") == "isdbgrid"
        self._database = self._client.get_database(
            database,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority", j=True) if several else WriteConcern(w=1, j=True),
            read_concern=ReadConcern("majority" if several else "local"),
        )

    async def _make_indexes(self, collection: Collection) -> None:
        stored = self._database[collection.name]
        unique = set(collection.unique)
        # A stand-in may not use a compound index for its first field alone: such fields get one of their own.
        by_equality = {(fields[0],) for fields in (*collection.unique, *collection.indexes)}
        plain = {*collection.indexes, *by_equality} - unique
        for fields in sorted(unique):
            await stored.create_index([(field, ASCENDING) for field in fields], unique=True)
        for fields in sorted(plain):
            await stored.create_index([(field, ASCENDING) for field in fields])


def disconnect(client: Any) -> None:
    with pymongo.timeout(CLOSE_SECONDS):
        client.delegate.close()


def known(collection: Collection, keys: Mapping[str, KeyValue]) -> Mapping[str, KeyValue]:
    for key in keys:
        if key not in collection.text and key not in collection.integer:
            raise ValueError(f"The collection {collection.name} has no key {key!r}.")
    return keys


def as_stored(collection: Collection, document: Document) -> dict[str, Any]:
    keys = {key: document.keys[key] for key in (*collection.text, *collection.integer)}
    return {"_id": document.id, **keys, "body": document.body.decode()}


def as_document(collection: Collection, found: Mapping[str, Any]) -> Document:
    keys = {key: found[key] for key in (*collection.text, *collection.integer)}
    return Document(found["_id"], keys, found["body"].encode())


def refuse(batch: Batch, reason: str) -> None:
    if not batch.future.done():
        batch.future.set_exception(DuplicateKey(reason))
