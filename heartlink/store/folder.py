"""The data folder: made private to its owner, and locked so that one HeartLink at a time uses it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from heartlink.errors import StartupFailure

LOCK_FILE = "heartlink.lock"
LOCK_BYTES_READ = 32
RESTORING_FILE = "restoring.mark"
"""Stands in a data folder while a backup takes the place of what was there."""


class DataFolder:
    """A folder that belongs to this process between ``open`` and ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __str__(self) -> str:
        plain = self.path.is_absolute() or str(self.path).startswith(".")
        return str(self.path) if plain else f"./{self.path}"

    def open(self, *, restoring: bool = False) -> None:
        """Make the folder if it is missing and lock it; raise StartupFailure with one line where that fails.

        Only who is ``restoring`` a backup may have it while half of one is there.
        """
        if self._lock is not None:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except (FileExistsError, NotADirectoryError):
            raise StartupFailure(
                f"The data folder {self} is a file, or a part of its path is.",
                "Name another folder with --data-dir.",
            ) from None
        except OSError as error:
            raise StartupFailure(
                f"The data folder {self} cannot be written to ({error.strerror}).",
                "Give this user the right to write there, or name another folder with --data-dir.",
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = self._holder(lock)
            os.close(lock)
            raise StartupFailure(
                f"The data folder {self} is already used by another HeartLink ({holder}).",
                "Stop that one, or name another folder with --data-dir.",
            ) from None
        except OSError as error:
            os.close(lock)
            raise StartupFailure(
                f"The data folder {self} cannot be locked ({error.strerror}).",
                "Free some space there, or name a folder on a local disk with --data-dir.",
            ) from None
        self._lock = lock
        if not restoring and (self.path / RESTORING_FILE).exists():
            self.close()
            raise StartupFailure(
                f"A backup was being restored into the data folder {self}, and that was cut off.",
                "Run the restore again, with --replace: what was there before is beside it.",
            )

    def close(self) -> None:
        """Give the folder free; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def _holder(lock: int) -> str:
        text = os.pread(lock, LOCK_BYTES_READ, 0).decode("ascii", "replace").strip()
        return f"process {text}" if text.isdecimal() else "its process is not known"
