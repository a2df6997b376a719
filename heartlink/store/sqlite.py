"""The embedded database: SQLite in the data folder, durable by group commit (WAL, synchronous FULL).

One writer thread puts everything that waits into one transaction and answers with one call back into the event loop;
a few reader threads have connections of their own; a third kind copies the log into the database file, out of the
writer's way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from heartlink.errors import DuplicateKey, StartupFailure, StoreUnavailable
from heartlink.store.backend import Change, Collection, Document, Insert, KeyValue, Span
from heartlink.store.folder import DataFolder
from heartlink.store.sql import Table

DATABASE_FILE = "heartlink.db"
FORMAT = 1
CONFIRM_SECONDS = 3.0
JOBS_WAITING = 50_000
JOBS_PER_TRANSACTION = 2_000
READS_WAITING = 5_000
READERS = 2
BUSY_MS = 2_000
LOG_BYTES_KEPT = 64 * 1024 * 1024
CHECKPOINT_SECONDS = 4.0
PROBE = Table(Collection("probe"))

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Any]
sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


@dataclass(slots=True, eq=False)
class Job:
    """One write that waits for its transaction: a batch for a table, or any other work."""

    future: asyncio.Future[Any]
    table: Table | None = None
    batch: Sequence[Change] = ()
    work: Work | None = None


class Conflict(Exception):
    """A Replace met another value than the one it expected."""


class Writer:
    """The one thread that writes: drains what waits into one transaction, and reports it with one call."""

    def __init__(self, connection: sqlite3.Connection, report: Callable[[list[Job], list[Any]], None]) -> None:
        self._connection = connection
        self._report = report
        self._queue: SimpleQueue[list[Job] | threading.Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="heartlink-writer", daemon=True)
        self.transactions = 0
        self._thread.start()

    def put(self, jobs: list[Job]) -> None:
        """Hand over jobs; they are done in this order."""
        self._queue.put(jobs)

    def checkpoint(self) -> threading.Event:
        """Ask for a checkpoint between two transactions; the event tells when it is over."""
        done = threading.Event()
        self._queue.put(done)
        return done

    def stop(self) -> None:
        """Do what was handed over, then end the thread; blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            jobs: list[Job] = []
            while isinstance(item, list):
                jobs += item
                if len(jobs) >= JOBS_PER_TRANSACTION:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            if jobs:
                self._write([job for job in jobs if not job.future.done()])
            if isinstance(item, threading.Event):
                run_checkpoint(self._connection)
                item.set()
            elif item is None:
                return

    def _write(self, jobs: list[Job]) -> None:
        self.transactions += 1
        try:
            try:
                outcomes = self._together(jobs)
            except (sqlite3.OperationalError, sqlite3.InternalError):
                raise
            except Exception:
                self._rollback()
                outcomes = self._one_by_one(jobs)
        except Exception as error:
            self._rollback()
            logger.warning("SQLite did not store %d writes: %s", len(jobs), error)
            outcomes = [StoreUnavailable(f"SQLite: {error}") for _ in jobs]
        self._report(jobs, outcomes)

    def _together(self, jobs: list[Job]) -> list[Any]:
        connection, outcomes = self._connection, []
        connection.execute("begin immediate")
        table: Table | None = None
        waiting: list[Document] = []
        for job in jobs:
            outcome = None
            if job.table is not table or job.work is not None:
                self._insert(table, waiting)
                table, waiting = job.table, []
            if job.work is not None:
                outcome = job.work(connection)
            elif table is not None:
                for change in job.batch:
                    if isinstance(change, Insert):
                        waiting.append(change.document)
                    else:
                        self._insert(table, waiting)
                        waiting = []
                        replace(connection, table, change.document, {change.field: change.expected})
            outcomes.append(outcome)
        self._insert(table, waiting)
        connection.execute("commit")
        return outcomes

    def _insert(self, table: Table | None, documents: list[Document]) -> None:
        at, left, rows = 0, len(documents), 0
        while left and table is not None:
            rows = min(table.most_rows, 1 << (left.bit_length() - 1))
            values: list[Any] = []
            for document in documents[at : at + rows]:
                values += table.row(document)
            self._connection.execute(table.insert_or_rollback(rows), values)
            at, left = at + rows, left - rows

    def _one_by_one(self, jobs: list[Job]) -> list[Any]:
        connection, outcomes = self._connection, []
        connection.execute("begin immediate")
        for job in jobs:
            connection.execute("savepoint job")
            outcome: Any = None
            try:
                if job.work is not None:
                    outcome = job.work(connection)
                elif job.table is not None:
                    store_batch(connection, job.table, job.batch)
            except (sqlite3.OperationalError, sqlite3.InternalError):
                raise
            except Exception as error:
                outcome = explain(error)
                connection.execute("rollback to job")
            connection.execute("release job")
            outcomes.append(outcome)
        connection.execute("commit")
        return outcomes

    def _rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
        except sqlite3.Error as error:
            logger.warning("SQLite did not roll back: %s", error)


def store_batch(connection: sqlite3.Connection, table: Table, batch: Sequence[Change]) -> None:
    for change in batch:
        if isinstance(change, Insert):
            connection.execute(table.insert(1), table.row(change.document))
        else:
            replace(connection, table, change.document, {change.field: change.expected})


def replace(connection: sqlite3.Connection, table: Table, document: Document, where: Mapping[str, KeyValue]) -> None:
    if not update(connection, table, document, where):
        raise Conflict(f"{table.collection.name} {document.id}")


def update(connection: sqlite3.Connection, table: Table, document: Document, where: Mapping[str, KeyValue]) -> bool:
    values = [*table.row(document)[1:], document.id, *where.values()]
    return connection.execute(table.update + table.where(where), values).rowcount == 1


def explain(error: Exception) -> Exception:
    """What the caller is told of an error that concerns only its own write."""
    if isinstance(error, Conflict):
        return DuplicateKey(str(error))
    if isinstance(error, sqlite3.IntegrityError) and error.sqlite_errorcode in (
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    ):
        return DuplicateKey(str(error))
    return error


def run_checkpoint(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("pragma wal_checkpoint(passive)").fetchall()
    except sqlite3.Error as error:
        logger.warning("SQLite did not copy its log into the database file: %s", error)


class Checkpointer:
    """Keeps the log short: copies and syncs beside the writer, so that the writer's own part takes a moment only."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path, self._writer = path, writer
        self._connection = connect(path)
        self._stop = threading.Event()
        # Closing any descriptor of the file drops the locks SQLite holds on it: this one is closed last of all.
        self._descriptor = os.open(path, os.O_RDWR)
        self._thread = threading.Thread(target=self._run, name="heartlink-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection; blocks."""
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def release(self) -> None:
        """Close the descriptor; only when SQLite has the file no longer open."""
        os.close(self._descriptor)

    def copy(self) -> None:
        """Copy the log into the database file and let the writer start it anew; blocks for both."""
        for _ in range(2):
            run_checkpoint(self._connection)
            try:
                sync_data(self._descriptor)
            except OSError as error:
                logger.warning("The database file was not synced: %s", error)
        self._writer.checkpoint().wait()

    def _run(self) -> None:
        seen = 0
        while not self._stop.wait(CHECKPOINT_SECONDS):
            if self._writer.transactions != seen:
                seen = self._writer.transactions
                self.copy()


def connect(path: Path, *, reads_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_MS}")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute(f"pragma journal_size_limit = {LOG_BYTES_KEPT}")
        if reads_only:
            connection.execute("pragma query_only = on")
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteBackend:
    """A :class:`~heartlink.store.backend.Backend` in one file of the data folder."""

    def __init__(self, folder: DataFolder, *, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        self.name = f"SQLite in {folder}"
        self._folder = folder
        self._path = folder.path / DATABASE_FILE
        self._confirm_seconds = confirm_seconds
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
            await self._loop.run_in_executor(threads, self._release)
            threads.shutdown()
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
        rows = await self._read(table.get, (id,))
        return table.document(rows[0]) if rows else None

    async def get_many(self, collection: Collection, ids: Sequence[str]) -> list[Document]:
        """Those of several ids that exist."""
        table = self._tables[collection.name]
        rows = await self._read(table.get_many(len(ids)), ids) if ids else []
        return [table.document(row) for row in rows]

    async def delete(self, collection: Collection, id: str) -> bool:
        """Remove a document."""
        table = self._tables[collection.name]
        return await self._write(lambda connection: connection.execute(table.delete, (id,)).rowcount == 1)

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

    def _report(self, jobs: list[Job], outcomes: list[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, jobs, outcomes)
        except RuntimeError:
            logger.debug("The event loop ended before %d writes were reported.", len(jobs))

    def _deliver(self, jobs: list[Job], outcomes: list[Any]) -> None:
        self._jobs -= len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
        waiting = self._waiting
        while waiting and waiting[0][1][-1].future.done():
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
            self._connection = connect(self._path)
            self._check(self._connection)
            self._make_tables(self._connection)
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

    def _release(self) -> None:
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
