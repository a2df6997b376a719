"""The backend itself: what is handed to the writer, what the readers answer, and how the file is opened and closed."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from heartlink.errors import StartupFailure, StoreUnavailable
from heartlink.store.backend import Change, Collection, Document, KeyValue, Span
from heartlink.store.folder import DataFolder
from heartlink.store.sqlite.blobs import Blobs
from heartlink.store.sqlite.checkpoint import Checkpointer
from heartlink.store.sqlite.connection import WRITER_CACHE_BYTES, connect
from heartlink.store.sqlite.sql import PARAMETERS_PER_STATEMENT, Table
from heartlink.store.sqlite.writer import Job, Writer, update

DATABASE_FILE = "heartlink.db"
FORMAT = 1
CONFIRM_SECONDS = 3.0
JOBS_WAITING = 50_000
READS_WAITING = 5_000
READERS = 2
PROBE = Table(Collection("probe"))

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class SqliteBackend:
    """A :class:`~heartlink.store.backend.Backend` in one file of the data folder."""

    def __init__(self, folder: DataFolder, *, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        self.name = f"SQLite in {folder}"
        self._folder = folder
        self._path = folder.path / DATABASE_FILE
        self._confirm_seconds = confirm_seconds
        self._blobs = Blobs(folder.path)
        self._tables: dict[str, Table] = {}
        self._connection: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._checkpointer: Checkpointer | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._turn: list[Job] = []
        self._waiting: deque[tuple[float, list[Job]]] = deque()
        self._jobs = self._reads = 0
        self._deadline: asyncio.TimerHandle | None = None

    async def open(self, collections: Sequence[Collection]) -> None:
        """Lock the folder, check the file, make tables and start the threads."""
        self._loop = asyncio.get_running_loop()
        self._folder.open()
        self._tables = {collection.name: Table(collection) for collection in collections}
        self._threads = ThreadPoolExecutor(READERS, "heartlink-reader")
        try:
            connection = await self._loop.run_in_executor(self._threads, self._prepare)
            self._writer = Writer(connection, self._report)
            for _ in range(READERS):
                self._readers.put(connect(self._path, reads_only=True))
            self._checkpointer = Checkpointer(self._path, self._writer)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Write what was handed over, copy the log into the file, and give the folder free."""
        threads, self._threads = self._threads, None
        if threads is not None:
            self._hand_over()
            await self._loop.run_in_executor(None, self._release, threads)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._folder.close()

    async def ping(self) -> None:
        """Write one row for real: a full disk answers reads."""
        await self._write(lambda connection: connection.execute(PROBE.upsert, ("ping", b"")))

    async def insert(self, collection: Collection, document: Document) -> None:
        """Store a new document."""
        table = self._tables[collection.name]
        row = table.row(document)
        await self._write(lambda connection: connection.execute(table.insert(1), row))

    async def put(self, collection: Collection, document: Document) -> None:
        """Store a document whatever was under its id."""
        table = self._tables[collection.name]
        row = table.row(document)
        await self._write(lambda connection: connection.execute(table.upsert, row))

    async def get(self, collection: Collection, id: str) -> Document | None:
        """The document under an id."""
        table = self._tables[collection.name]
        rows = await self._read(table.get, table.id_values(id))
        return table.document(rows[0]) if rows else None

    async def get_many(self, collection: Collection, ids: Sequence[str]) -> list[Document]:
        """Those of several ids that exist."""
        table = self._tables[collection.name]
        at_once = PARAMETERS_PER_STATEMENT // len(table.identity)
        found: list[Document] = []
        for start in range(0, len(ids), at_once):
            some = ids[start : start + at_once]
            values = [value for id in some for value in table.id_values(id)]
            found += map(table.document, await self._read(table.get_many(len(some)), values))
        return found

    async def delete(self, collection: Collection, id: str) -> bool:
        """Remove a document."""
        table = self._tables[collection.name]
        return await self._write(lambda connection: connection.execute(table.delete, table.id_values(id)).rowcount == 1)

    async def change(self, collection: Collection, document: Document, where: Mapping[str, KeyValue]) -> bool:
        """Replace a document whose keys still have given values."""
        table = self._tables[collection.name]
        return await self._write(lambda connection: update(connection, table, document, where))

    async def scan(
        self,
        collection: Collection,
        equal: Mapping[str, KeyValue],
        span: Span | None = None,
        limit: int = 1000,
    ) -> list[Document]:
        """Documents whose keys have given values, within a span, in its order."""
        table = self._tables[collection.name]
        rows = await self._read(*table.select(equal, span, limit))
        return [table.document(row) for row in rows]

    def append(self, collection: Collection, batch: Sequence[Change]) -> asyncio.Future[None]:
        """Store a batch, in one commit with all that is handed over in this turn of the loop; all of it or nothing."""
        return self._submit(Job(self._loop.create_future(), self._tables[collection.name], batch))

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

    def _submit(self, job: Job) -> asyncio.Future[Any]:
        if self._threads is None or self._jobs >= JOBS_WAITING:
            job.future.set_exception(StoreUnavailable("SQLite is closed, or too much waits for it."))
            return job.future
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._jobs += 1
        self._turn.append(job)
        return job.future

    def _hand_over(self) -> None:
        jobs, self._turn = self._turn, []
        if not jobs or self._writer is None:
            return
        self._writer.put(jobs)
        self._waiting.append((self._loop.time() + self._confirm_seconds, jobs))
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._confirm_seconds, self._give_up)

    def _give_up(self) -> None:
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            for job in self._waiting.popleft()[1]:
                if not job.future.done():
                    job.future.set_exception(StoreUnavailable("SQLite did not confirm in time."))
        self._deadline = self._loop.call_at(self._waiting[0][0], self._give_up) if self._waiting else None

    def _report(self, count: int, jobs: list[Job], outcomes: list[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, count, jobs, outcomes)
        except RuntimeError:
            logger.debug("The event loop ended before %d writes were reported.", len(jobs))

    def _deliver(self, count: int, jobs: list[Job], outcomes: list[Any]) -> None:
        self._jobs -= count
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
        waiting = self._waiting
        while waiting and all(job.future.done() for job in waiting[0][1]):
            waiting.popleft()

    async def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return await self._submit(Job(self._loop.create_future(), work=work))  # type: ignore[no-any-return]

    async def _read(self, statement: str, values: Sequence[KeyValue]) -> list[Any]:
        if self._threads is None or self._reads >= READS_WAITING:
            raise StoreUnavailable("SQLite is closed, or too many reads wait for it.")
        self._reads += 1
        try:
            async with asyncio.timeout(self._confirm_seconds):
                return await self._loop.run_in_executor(self._threads, self._fetch, statement, values)
        except (sqlite3.DatabaseError, TimeoutError) as error:
            raise StoreUnavailable(f"SQLite: {error}") from error
        finally:
            self._reads -= 1

    def _fetch(self, statement: str, values: Sequence[KeyValue]) -> list[Any]:
        connection = self._readers.get()
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            self._readers.put(connection)

    def _prepare(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = connect(self._path, cache_bytes=WRITER_CACHE_BYTES)
            self._check(self._connection)
            self._make_tables(self._connection)
            self._blobs.open()
        except sqlite3.OperationalError as error:
            raise StartupFailure(
                f"The database file {self._path} cannot be used: {error}.",
                "Look at the free space and the rights of the data folder.",
            ) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None
        except OSError as error:
            raise StartupFailure(
                f"The database file {self._path} cannot be opened ({error.strerror}).",
                "Look at the free space and the rights of the data folder.",
            ) from None
        return self._connection

    def _check(self, connection: sqlite3.Connection) -> None:
        [(verdict,)] = connection.execute("pragma quick_check(1)").fetchall()
        if verdict != "ok":
            raise self._damaged(str(verdict).splitlines()[-1])
        [(version,)] = connection.execute("pragma user_version").fetchall()
        if version > FORMAT:
            raise StartupFailure(
                f"The database file {self._path} was written by a newer HeartLink (format {version}).",
                "Start that version, or name another folder with --data-dir.",
            )

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute("pragma journal_mode = wal").fetchall()
        connection.execute("begin immediate")
        for table in (*self._tables.values(), PROBE):
            columns = connection.execute(f"pragma table_info({table.name})").fetchall()
            for statement in table.schema(column[1] for column in columns):
                connection.execute(statement)
        connection.execute(f"pragma user_version = {FORMAT}")
        connection.execute("commit")

    def _damaged(self, reason: str) -> StartupFailure:
        return StartupFailure(
            f"The database file {self._path} is damaged ({reason}).",
            "Put it aside together with its -wal and -shm files, and restore your last copy or start anew.",
        )

    def _release(self, threads: ThreadPoolExecutor) -> None:
        # Reads that wait are answered first: only then every connection is back, and can be closed.
        threads.shutdown()
        self._blobs.close()
        if self._checkpointer is not None:
            self._checkpointer.stop()
        while not self._readers.empty():
            self._readers.get().close()
        if self._writer is not None:
            self._writer.stop()
        if self._connection is not None:
            self._connection.close()
        if self._checkpointer is not None:
            self._checkpointer.release()
        self._checkpointer = self._writer = self._connection = None
