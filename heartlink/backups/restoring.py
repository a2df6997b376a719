"""Restoring a backup into a data folder that nobody uses: under a new epoch, so that clients notice (PROTOCOL 1)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from heartlink.auth.keys import KEY_FILE
from heartlink.backups.archive import DATABASE, FILES, Problem, read_manifest, unpack
from heartlink.disk import sync_path
from heartlink.errors import StartupFailure, StoreFault
from heartlink.store.folder import RESTORING_FILE, DataFolder
from heartlink.store.formats import FORMAT
from heartlink.store.meta import renew_epoch
from heartlink.store.sqlite import SqliteBackend
from heartlink.store.sqlite.snapshot import find_damage, fold_log
from heartlink.store.tables import ALL

UNPACKED: Final = "restoring"
UPLOADS: Final = "uploads"


async def restore(path: Path, data_dir: Path, *, replace: bool, report: Callable[[str], None]) -> str:
    """Put a backup in place and return the new epoch; what was there is put aside, never deleted. Raises Problem.

    The key that signs tokens is put aside too: everybody signs in again, so no log-out since then is undone.
    """
    manifest = read_manifest(path)
    if manifest.format > FORMAT:
        raise Problem(
            f"{path} was made by a newer HeartLink ({manifest.written_by}, format {manifest.format}).",
            "Install that version or a later one, and restore with it.",
        )
    folder = DataFolder(data_dir)
    try:
        folder.open(restoring=True)
    except StartupFailure as failure:
        raise Problem(str(failure)) from None
    try:
        if (data_dir / DATABASE).exists() and not replace:
            raise Problem(
                f"{data_dir} holds a database already.",
                "Name another folder with --data-dir, or add --replace: what is there is put aside.",
            )
        unpacked = data_dir / UNPACKED
        shutil.rmtree(unpacked, ignore_errors=True)
        report("Unpacking and comparing digests …")
        unpack(path, manifest, unpacked)
        damage = find_damage(unpacked / DATABASE)
        if damage:
            raise Problem(f"The database in {path} is damaged ({damage}).", "Use another backup.")
        epoch = await _renew(unpacked)
        (unpacked / FILES).mkdir(mode=0o700, exist_ok=True)
        aside = _swap(data_dir, unpacked)
        if aside:
            report(f"What was there is in {aside}")
    except StoreFault as fault:
        raise Problem(f"The restored database cannot be opened ({fault}).", "Use another backup.") from None
    except OSError as error:
        raise Problem(f"The backup cannot be put in place: {error}.", "Look at the space and the rights.") from None
    finally:
        folder.close()
    return epoch


async def _renew(unpacked: Path) -> str:
    backend = SqliteBackend(DataFolder(unpacked))
    try:
        await backend.open(ALL)
        return await renew_epoch(backend)
    except StartupFailure as failure:
        raise Problem(str(failure)) from None
    finally:
        await backend.close()


def _swap(data_dir: Path, unpacked: Path) -> Path | None:
    """Old things aside, new things in place; a server refuses to start in between (the mark says why)."""
    mark = data_dir / RESTORING_FILE
    mark.write_text("A restore is under way, or was cut off: run it again.\n")
    sync_path(data_dir)
    old = [name for name in (DATABASE, FILES, UPLOADS, KEY_FILE) if (data_dir / name).exists()]
    aside = data_dir / time.strftime("before-restore-%Y%m%dT%H%M%SZ", time.gmtime()) if old else None
    if aside:
        aside.mkdir(mode=0o700)
        if DATABASE in old:
            fold_log(data_dir / DATABASE)
        for name in old:
            (data_dir / name).rename(aside / name)
        sync_path(aside)
    for name in (FILES, DATABASE):
        (unpacked / name).rename(data_dir / name)
    sync_path(data_dir)
    shutil.rmtree(unpacked, ignore_errors=True)
    mark.unlink()
    sync_path(data_dir)
    return aside
