"""Making a backup, also while a server uses the data folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from heartlink import __version__
from heartlink.backups.archive import DATABASE, FILES, LAYOUT, ArchiveWriter, Manifest, Problem
from heartlink.backups.contents import Contents, read_contents
from heartlink.disk import sync_path
from heartlink.errors import StoreFault
from heartlink.protocol import iso
from heartlink.store.sqlite import blob_path
from heartlink.store.sqlite.snapshot import fold_log, snapshot

TRIES: Final = 3
"""How often the database is looked at again when a file has vanished meanwhile: its message was just deleted."""

SPARE_BYTES: Final = 16 << 20


async def back_up(data_dir: Path, target: Path, report: Callable[[str], None]) -> Manifest:
    """Write a backup of a data folder to a new file, durable and readable by its owner only; raises Problem.

    The database is copied as it is at one moment; a file is copied as soon as it is there, because it never changes.
    """
    try:
        _prepare(data_dir, target)
        with tempfile.TemporaryDirectory(prefix=".heartlink-backup-", dir=target.parent) as folder:
            draft = Path(folder) / "draft.tar"
            manifest = await _write(data_dir, draft, Path(folder), report)
            os.link(draft, target)
            sync_path(target.parent)
    except StoreFault as fault:
        raise Problem(f"The database in {data_dir} cannot be copied ({fault}).", "Run `check` on it.") from None
    except OSError as error:
        raise Problem(f"The backup cannot be written: {error}.", "Look at the space and the rights there.") from None
    return manifest


async def _write(data_dir: Path, draft: Path, folder: Path, report: Callable[[str], None]) -> Manifest:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
        archive = ArchiveWriter(writer)
        # Files first: what is sent while they are copied is found by the second look.
        _add_files(archive, data_dir, _files_in(data_dir / FILES))
        for attempt in range(TRIES):
            copy = folder / f"{attempt}" / DATABASE
            copy.parent.mkdir()
            snapshot(data_dir / DATABASE, copy)
            contents = await read_contents(copy.parent)
            there = _names(archive)
            _add_files(archive, data_dir, contents.unsure - there)
            gone = _add_files(archive, data_dir, contents.files.keys() - there)
            if not gone:
                break
            report(f"{len(gone)} files vanished while they were copied; looking again …")
        else:
            raise Problem(
                f"{len(gone)} files of messages are missing, {min(gone)} first.", "Run `check` on the folder."
            )
        # Reading it has opened a log beside it.
        fold_log(copy)
        archive.add(DATABASE, copy)
        manifest = _manifest(archive, contents)
        archive.close(manifest)
        writer.flush()
        os.fsync(writer.fileno())
    return manifest


def _manifest(archive: ArchiveWriter, contents: Contents) -> Manifest:
    return Manifest(
        layout=LAYOUT,
        format=contents.format,
        written_by=__version__,
        created_at=iso(time.time_ns() // 1_000_000),
        epoch=contents.epoch,
        rooms=contents.rooms,
        messages=contents.messages,
        users=contents.users,
        files=len(contents.files),
        bytes=archive.bytes,
        digests=archive.digests,
    )


def _names(archive: ArchiveWriter) -> set[str]:
    return {name.rpartition("/")[2] for name in archive.digests if name.startswith(f"{FILES}/")}


def _files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*/*") if path == blob_path(folder.parent, path.name)}


def _add_files(archive: ArchiveWriter, data_dir: Path, names: set[str]) -> set[str]:
    """Add files by their names; those that are not there (any more) are returned."""
    gone = set()
    for name in sorted(names):
        path = blob_path(data_dir, name)
        try:
            archive.add(path.relative_to(data_dir).as_posix(), path)
        except FileNotFoundError:
            gone.add(name)
    return gone


def _prepare(data_dir: Path, target: Path) -> None:
    if not (data_dir / DATABASE).is_file():
        raise Problem(f"There is no HeartLink database in {data_dir}.", "Name the folder with --data-dir.")
    if target.exists():
        raise Problem(f"{target} exists already.", "Name another file with --to, or move that one away.")
    target.parent.mkdir(parents=True, exist_ok=True)
    _require_space(data_dir, target.parent)


def _require_space(data_dir: Path, folder: Path) -> None:
    needed = 2 * (data_dir / DATABASE).stat().st_size + SPARE_BYTES
    log = data_dir / f"{DATABASE}-wal"
    needed += log.stat().st_size if log.exists() else 0
    needed += sum(path.stat().st_size for path in (data_dir / FILES).glob("*/*"))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Problem(
            f"The backup needs up to {needed >> 20} MiB in {folder}, and {free >> 20} MiB are free.",
            "Free some space, or name a file on another disk with --to.",
        )
