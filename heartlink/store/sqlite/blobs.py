"""Blobs as files beside the database: ``files/ab/ab12…``, each put there whole and on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from heartlink.disk import sync_path
from heartlink.errors import BlobMissing, StoreUnavailable
from heartlink.store.backend import BLOB_PIECE_BYTES, check_blob_id

FOLDER: Final = "files"
HALF_MADE: Final = "half-made"
"""Where copies are made; what a crash has left there is nobody's."""

THREADS: Final = 4
PREFIX_CHARS: Final = 2

Result = TypeVar("Result")


def blob_path(data_dir: Path, blob_id: str) -> Path:
    """Where a blob lies in a data folder."""
    return data_dir / FOLDER / blob_id[:PREFIX_CHARS] / blob_id


class Blobs:
    """The files of one data folder. Threads of its own: a slow copy keeps nobody from reading the database."""

    def __init__(self, folder: Path) -> None:
        self._data_dir = folder
        self._folder = folder / FOLDER
        self._half_made = self._folder / HALF_MADE
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Clear what a crash has left half made; blocks."""
        shutil.rmtree(self._half_made, ignore_errors=True)
        self._threads = ThreadPoolExecutor(THREADS, "heartlink-blobs")

    def close(self) -> None:
        """Finish what was begun; blocks, safe to call twice."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    async def put(self, blob_id: str, source: Path) -> None:
        """Store the content of a file."""
        await self._do(lambda: self._put(check_blob_id(blob_id), source))

    async def read(self, blob_id: str, start: int, length: int | None) -> AsyncIterator[bytes]:
        """The bytes of a blob in pieces."""
        path = blob_path(self._data_dir, check_blob_id(blob_id))
        try:
            opened = await self._do(lambda: os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            raise BlobMissing(f"no blob {blob_id}") from None
        try:
            at, left = start, length
            while left is None or left > 0:
                wanted = BLOB_PIECE_BYTES if left is None else min(BLOB_PIECE_BYTES, left)
                piece = await self._do(_reading(opened, wanted, at))
                if not piece:
                    return
                at += len(piece)
                left = None if left is None else left - len(piece)
                yield piece
        finally:
            os.close(opened)

    async def size(self, blob_id: str) -> int | None:
        """The bytes of a blob."""
        path = blob_path(self._data_dir, check_blob_id(blob_id))
        try:
            return await self._do(lambda: path.stat().st_size)
        except FileNotFoundError:
            return None

    async def delete(self, blob_id: str) -> bool:
        """Remove a blob."""
        path = blob_path(self._data_dir, check_blob_id(blob_id))
        try:
            await self._do(path.unlink)
        except FileNotFoundError:
            return False
        return True

    async def ids(self, after: str, limit: int) -> list[str]:
        """The ids above ``after`` in their order."""
        return await self._do(lambda: self._ids(after, limit))

    async def _do(self, work: Callable[[], Result]) -> Result:
        if self._threads is None:
            raise StoreUnavailable("The folder of files is closed.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreUnavailable(f"The folder of files: {error}") from error

    def _put(self, blob_id: str, source: Path) -> None:
        target, made = blob_path(self._data_dir, blob_id), self._half_made / blob_id
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._half_made.mkdir(mode=0o700, exist_ok=True)
        made.unlink(missing_ok=True)
        try:
            # A second name for the same bytes costs nothing; across file systems they are copied.
            os.link(source, made)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, made)
        made.chmod(0o600)
        sync_path(made)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_path(self._folder)
            sync_path(self._folder.parent)
        made.replace(target)
        # Where both were names of one file already, nothing was replaced, and one name is too many.
        made.unlink(missing_ok=True)
        sync_path(target.parent)

    def _ids(self, after: str, limit: int) -> list[str]:
        found: list[str] = []
        if not self._folder.is_dir():
            return found
        folders = sorted(entry.name for entry in os.scandir(self._folder) if len(entry.name) == PREFIX_CHARS)
        for name in folders:
            if name < after[:PREFIX_CHARS]:
                continue
            with contextlib.suppress(FileNotFoundError):
                found += sorted(entry.name for entry in os.scandir(self._folder / name) if entry.name > after)
            if len(found) >= limit:
                break
        return found[:limit]


def _reading(opened: int, wanted: int, at: int) -> Callable[[], bytes]:
    return lambda: os.pread(opened, wanted, at)
