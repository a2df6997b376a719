"""What is known of an upload that can be gone on with: three files of the spool, so that it outlives a crash.

``<id>.tus`` says what it shall become, ``<id>.part`` is what has come, and ``<id>.mark`` how much of that was on the
disk when it was last said to be. What lies behind the mark does not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from heartlink.disk import sync_path
from heartlink.files.publisher import Wish
from heartlink.files.spool import Spool
from heartlink.model import FileId, UserId

RECORD: Final = ".tus"
PART: Final = ".part"
MARK: Final = ".mark"
MARK_DIGITS: Final = 20


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An upload as it was begun, and what became of it; ``dedup`` is the key under which its message is stored once.

    ``metadata`` is what its client said of it, word for word.
    """

    id: str
    owner_id: UserId
    wish: Wish
    length: int
    file_id: FileId
    dedup: str
    created_at_ms: int
    metadata: str = ""
    message_id: int | None = None


class Records:
    """The files of such uploads. Everything here blocks: call it in a thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def part(self, upload_id: str) -> Path:
        """Where the content is."""
        return self._spool.folder / f"{upload_id}{PART}"

    def marker(self, upload_id: str) -> Callable[[int], None]:
        """What notes how much is on the disk."""
        path = self._path(upload_id, MARK)

        def mark(offset: int) -> None:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(opened, b"%0*d" % (MARK_DIGITS, offset), 0)
                os.fdatasync(opened)
            finally:
                os.close(opened)

        return mark

    def begin(self, record: Record) -> None:
        """Have a new upload on the disk, with nothing come yet."""
        self.marker(record.id)(0)
        self.part(record.id).touch(mode=0o600)
        self.save(record)

    def save(self, record: Record) -> None:
        """Store a record's new state, durable on return."""
        path = self._path(record.id, RECORD)
        fresh = path.with_name(path.name + ".new")
        opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(opened, msgspec.json.encode(record))
            os.fsync(opened)
        finally:
            os.close(opened)
        fresh.replace(path)
        sync_path(self._spool.folder)

    def finish(self, record: Record) -> None:
        """Store what became of it, and let go of the content."""
        self.save(record)
        for path in (self.part(record.id), self._path(record.id, MARK)):
            path.unlink(missing_ok=True)

    def remove(self, upload_id: str) -> None:
        """Forget an upload, first that there is one."""
        for suffix in (RECORD, MARK, PART):
            self._path(upload_id, suffix).unlink(missing_ok=True)

    def load(self) -> list[tuple[Record, int, int]]:
        """All uploads with how much of each there is, and when that was last so; what belongs to none is removed."""
        found: list[tuple[Record, int, int]] = []
        kept: set[str] = set()
        for name in self._spool.names():
            if name.endswith(RECORD):
                entry = self._read(name.removesuffix(RECORD))
                if entry is not None:
                    found.append(entry)
                    kept |= {name, *(f"{entry[0].id}{suffix}" for suffix in (PART, MARK))}
        for name in self._spool.names():
            if name not in kept:
                (self._spool.folder / name).unlink(missing_ok=True)
        return found

    def _read(self, upload_id: str) -> tuple[Record, int, int] | None:
        path = self._path(upload_id, RECORD)
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
            if record.id != upload_id:
                return None
            if record.message_id is not None:
                return record, record.length, int(path.stat().st_mtime * 1000)
            mark = self._path(upload_id, MARK)
            offset = int(mark.read_bytes())
            if not 0 <= offset <= min(record.length, self.part(upload_id).stat().st_size):
                return None
            return record, offset, int(mark.stat().st_mtime * 1000)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def _path(self, upload_id: str, suffix: str) -> Path:
        return self._spool.folder / f"{upload_id}{suffix}"
