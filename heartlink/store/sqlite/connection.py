"""Connections to the one file: how they are opened, and how its log is copied into it."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

BUSY_MS = 2_000
LOG_BYTES_KEPT = 64 * 1024 * 1024
# Rows of many rooms dirty many pages, and what a commit costs is their bytes.
PAGE_BYTES = 2_048
# A writer whose indexes fit into its cache reads nothing before it writes.
WRITER_CACHE_BYTES = 32 * 1024 * 1024
READER_CACHE_BYTES = 4 * 1024 * 1024

logger = logging.getLogger(__name__)


def connect(path: Path, *, cache_bytes: int = READER_CACHE_BYTES, reads_only: bool = False) -> sqlite3.Connection:
    """A connection to the file; raises sqlite3.DatabaseError where that is none."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_MS}")
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma cache_size = -{cache_bytes // 1024}")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute(f"pragma journal_size_limit = {LOG_BYTES_KEPT}")
        if reads_only:
            connection.execute("pragma query_only = on")
    except BaseException:
        connection.close()
        raise
    return connection


def run_checkpoint(connection: sqlite3.Connection) -> None:
    """Copy what no reader still needs in the log; what fails now is done the next time."""
    try:
        connection.execute("pragma wal_checkpoint(passive)").fetchall()
    except sqlite3.Error as error:
        logger.warning("SQLite did not copy its log into the database file: %s", error)
