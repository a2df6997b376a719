"""Copying the log into the database file, out of the writer's way."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from heartlink.store.sqlite.connection import LOG_BYTES_KEPT, connect, run_checkpoint
from heartlink.store.sqlite.writer import Writer

LOOK_SECONDS = 0.5
CHECKPOINT_SECONDS = 4.0

logger = logging.getLogger(__name__)
sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


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
        log = self._path.with_name(self._path.name + "-wal")
        copied, copied_at = 0, time.monotonic()
        while not self._stop.wait(LOOK_SECONDS):
            made = self._writer.transactions
            due = time.monotonic() - copied_at >= CHECKPOINT_SECONDS
            if made != copied and (due or log.stat().st_size > LOG_BYTES_KEPT):
                self.copy()
                copied, copied_at = made, time.monotonic()
