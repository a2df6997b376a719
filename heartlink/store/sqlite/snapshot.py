"""A consistent copy of the database file, also while a server writes to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from heartlink.disk import sync_path
from heartlink.errors import StoreUnavailable
from heartlink.store.sqlite.connection import connect


def snapshot(source: Path, target: Path) -> None:
    """Copy the database as it is at one moment into a new file; the writer of the source is not kept waiting.

    Raises FileNotFoundError without a source, StoreUnavailable where it cannot be read or the copy not be written.
    """
    if not source.is_file():
        raise FileNotFoundError(source)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(connect(source, reads_only=True)) as reader, closing(sqlite3.connect(target)) as writer:
            reader.backup(writer)
            # One file, that can be moved about: without a log beside it.
            writer.execute("pragma journal_mode = delete").fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"SQLite: {error}") from error
    sync_path(target)
    sync_path(target.parent)


def find_damage(path: Path) -> str | None:
    """What SQLite's full integrity check says is wrong with a file nobody uses; None where all is well."""
    try:
        with closing(connect(path, reads_only=True)) as connection:
            [(verdict,)] = connection.execute("pragma integrity_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else str(verdict).splitlines()[-1]


def fold_log(path: Path) -> None:
    """Take what stands in the log beside a database that nobody uses into its file, and remove the log."""
    try:
        with closing(connect(path)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()
            connection.execute("pragma journal_mode = delete").fetchall()
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(f"SQLite: {error}") from error
