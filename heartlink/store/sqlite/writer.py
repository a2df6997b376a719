"""The one thread that writes, and what it is given to do: group commit."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from heartlink.errors import DuplicateKey, StoreUnavailable
from heartlink.store.backend import Change, Document, Insert, KeyValue
from heartlink.store.sqlite.connection import run_checkpoint
from heartlink.store.sqlite.sql import Table

JOBS_PER_TRANSACTION = 2_000

logger = logging.getLogger(__name__)
Work = Callable[[sqlite3.Connection], Any]


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

    def __init__(self, connection: sqlite3.Connection, report: Callable[[int, list[Job], list[Any]], None]) -> None:
        self._connection = connection
        self._report = report
        self._queue: SimpleQueue[list[Job] | threading.Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="heartlink-writer", daemon=True)
        self._failing = False
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
                # Nobody waits any longer for what was cancelled or given up: better not to store it at all.
                wanted = [job for job in jobs if not job.future.done()]
                self._report(len(jobs), wanted, self._write(wanted) if wanted else [])
            if isinstance(item, threading.Event):
                run_checkpoint(self._connection)
                item.set()
            elif item is None:
                return

    def _write(self, jobs: list[Job]) -> list[Any]:
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
            if not self._failing:
                logger.warning("SQLite does not store: %s", error)
            self._failing = True
            return [StoreUnavailable(f"SQLite: {error}") for _ in jobs]
        if self._failing:
            logger.warning("SQLite stores again.")
            self._failing = False
        return outcomes

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
    """Store one batch, row by row; raises Conflict or sqlite3.IntegrityError where it cannot be."""
    for change in batch:
        if isinstance(change, Insert):
            connection.execute(table.insert(1), table.row(change.document))
        else:
            replace(connection, table, change.document, {change.field: change.expected})


def replace(connection: sqlite3.Connection, table: Table, document: Document, where: Mapping[str, KeyValue]) -> None:
    if not update(connection, table, document, where):
        raise Conflict(f"{table.collection.name} {document.id}")


def update(connection: sqlite3.Connection, table: Table, document: Document, where: Mapping[str, KeyValue]) -> bool:
    values = [*table.changed(document), *where.values()]
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
    if isinstance(error, sqlite3.Error):
        return StoreUnavailable(f"SQLite: {error}")
    return error
