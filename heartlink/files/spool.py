"""Where uploads lie until they are complete: files on the local disk, written and synced off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from heartlink.errors import disk_is_full

WRITE_BYTES: Final = 1 << 20
"""Gathered before it is written: that much, twice, is what one upload has in memory."""

SYNC_BYTES: Final = 8 << 20
LEAST_SYNC_BYTES: Final = 2 << 20
"""What all uploads together leave unsynced, and each of them may. It is what messages wait for that are stored on the
same disk, and what an upload goes back by after a crash."""

THREADS: Final = 4
READ_BYTES: Final = 1 << 20

Result = TypeVar("Result")


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Spool:
    """The folder of what is being uploaded."""

    def __init__(self, folder: Path, free_disk_bytes: int) -> None:
        self.folder = folder
        self._free_disk_bytes = free_disk_bytes
        self._threads: ThreadPoolExecutor | None = None
        self._sync_turn = threading.Lock()
        self._counting = threading.Lock()
        self._writers = 0

    def open(self) -> None:
        """Make the folder and start the threads."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._threads = ThreadPoolExecutor(THREADS, "heartlink-spool")

    def close(self) -> None:
        """Do what was asked for, then end the threads; blocks."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    async def do(self, work: Callable[[], Result]) -> Result:
        """Run what blocks in a thread; a full disk becomes its Refusal."""
        if self._threads is None:
            raise disk_is_full()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise disk_is_full() from error

    def check_space(self, more_bytes: int = 0) -> None:
        """Raise the Refusal ``disk_full`` when less than the floor would stay free; blocks, for a moment."""
        if self._free_disk_bytes and shutil.disk_usage(self.folder).free - more_bytes < self._free_disk_bytes:
            raise disk_is_full()

    # For drafts, in a thread

    def joined(self, writers: int) -> None:
        """So many drafts more have a file open."""
        with self._counting:
            self._writers += writers

    def share_bytes(self) -> int:
        """What a draft may leave unsynced now."""
        return max(LEAST_SYNC_BYTES, SYNC_BYTES // max(1, self._writers))

    def sync(self, file: int) -> None:
        """Have a file's content on the disk; one at a time, so that others who need the disk come in between."""
        with self._sync_turn:
            os.fdatasync(file)

    async def make_room(self, more_bytes: int) -> None:
        """The same, off the loop."""
        await self.do(lambda: self.check_space(more_bytes))

    async def remove(self, *paths: Path) -> None:
        """Remove files, whether or not they are there."""

        def unlink() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        await self.do(unlink)

    def names(self) -> list[str]:
        """What lies in the folder; blocks."""
        return sorted(entry.name for entry in os.scandir(self.folder))


class Draft:
    """One file that is being written: from its end on, by one writer at a time.

    What is given to ``write`` waits in memory only until a thread takes it: who writes faster than the disk waits.
    ``on_synced`` is called in the thread with the length that is surely on the disk; ``digest`` is fed with what is
    written.
    """

    def __init__(
        self,
        spool: Spool,
        path: Path,
        *,
        offset: int = 0,
        digest: Digest | None = None,
        on_synced: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self.length = offset
        """Bytes taken in, on the disk or not."""
        self.synced = offset
        """Bytes that are surely on the disk."""
        self._spool = spool
        self._digest = digest
        self._on_synced = on_synced
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._written = offset
        self._file: int | None = None
        self._flight: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Append; raises the Refusal ``disk_full`` when that fails, perhaps of what was given before."""
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        self.length += len(data)
        if self._gathered_bytes >= WRITE_BYTES:
            async with self._turn:
                await self._land()
                self._take_off(sync=False)

    async def sync(self) -> int:
        """Have everything on the disk; the length that is there."""
        async with self._turn:
            await self._land()
            self._take_off(sync=True)
            await self._land()
        return self.synced

    async def close(self) -> None:
        """Let go of the file; what was not yet written is lost. Safe to call twice."""
        async with self._turn:
            self._gathered.clear()
            if self._flight is not None:
                await asyncio.gather(self._flight, return_exceptions=True)
        if self._file is not None:
            file, self._file = self._file, None
            self._spool.joined(-1)
            await self._spool.do(lambda: os.close(file))

    @property
    def is_synced(self) -> bool:
        """Whether all that was written is on the disk."""
        return self.synced == self._written

    async def _land(self) -> None:
        if self._flight is not None:
            # A flight that fails is kept: whoever comes after it fails as well.
            await asyncio.shield(self._flight)

    def _take_off(self, *, sync: bool) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._flight = asyncio.ensure_future(self._spool.do(lambda: self._write(gathered, sync=sync)))
        # Nobody may wait for it any more when it fails.
        self._flight.add_done_callback(lambda flight: flight.cancelled() or flight.exception())

    def _write(self, gathered: list[bytes], *, sync: bool) -> None:
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.ftruncate(self._file, self._written)
            self._spool.joined(1)
        # In one piece: each call lets go of the interpreter and has to wait for it again.
        whole = view = memoryview(b"".join(gathered))
        while view:
            done = os.pwrite(self._file, view, self._written)
            self._written += done
            view = view[done:]
        if self._digest is not None:
            self._digest.update(whole)
        if sync or self._written - self.synced >= self._spool.share_bytes():
            self._spool.sync(self._file)
            if self._on_synced is not None:
                self._on_synced(self._written)
            self.synced = self._written
            if not sync:
                self._spool.check_space()


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content; blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()
