"""Checking a data folder, in use or not, and a backup, without touching either."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from heartlink.backups.archive import DATABASE, Manifest, Problem, read_manifest, unpack
from heartlink.backups.contents import Contents, read_contents
from heartlink.backups.making import TRIES
from heartlink.errors import StoreFault
from heartlink.store.sqlite import blob_path
from heartlink.store.sqlite.snapshot import find_damage, snapshot


async def check_folder(data_dir: Path) -> Contents:
    """Everything that is wrong with a data folder, in ``problems``; raises Problem where there is none to check."""
    if not (data_dir / DATABASE).is_file():
        raise Problem(f"There is no HeartLink database in {data_dir}.", "Name the folder with --data-dir.")
    # A message that is deleted while its file is compared is no damage: what is wrong stays wrong.
    for attempt in range(TRIES):
        contents = await _check_copy(data_dir)
        if not contents.problems or attempt == TRIES - 1:
            break
    return contents


async def _check_copy(data_dir: Path) -> Contents:
    with tempfile.TemporaryDirectory(prefix="heartlink-check-") as folder:
        try:
            snapshot(data_dir / DATABASE, Path(folder) / DATABASE)
        except StoreFault as fault:
            return Contents(problems=[f"The database cannot be read: {fault}."])
        except OSError as error:
            raise Problem(f"The database cannot be copied to check it: {error}.", "Free some space.") from None
        return await _check(Path(folder), data_dir)


async def check_archive(path: Path) -> tuple[Manifest, Contents]:
    """Everything that is wrong with what a backup holds; raises Problem where the backup itself is damaged."""
    manifest = read_manifest(path)
    with tempfile.TemporaryDirectory(prefix=".heartlink-check-", dir=path.parent) as folder:
        try:
            unpack(path, manifest, Path(folder))
        except OSError as error:
            raise Problem(f"The backup cannot be unpacked beside itself: {error}.", "Free some space.") from None
        return manifest, await _check(Path(folder), Path(folder))


async def _check(copy: Path, data_dir: Path) -> Contents:
    damage = find_damage(copy / DATABASE)
    if damage:
        return Contents(problems=[f"The database is damaged: {damage}."])
    try:
        contents = await read_contents(copy)
    except StoreFault as fault:
        return Contents(problems=[f"The database cannot be read: {fault}."])
    for name, size in contents.files.items():
        wrong = _compare(blob_path(data_dir, name), size, contents.digests.get(name))
        if wrong:
            contents.complain(f"The file {name} of a message {wrong}.")
    return contents


def _compare(path: Path, size: int, digest: str | None) -> str:
    try:
        with path.open("rb") as reader:
            found = os.fstat(reader.fileno()).st_size
            if found != size:
                return f"has {found} bytes instead of {size}"
            if digest and hashlib.file_digest(reader, "sha256").hexdigest() != digest:
                return "is damaged: its digest differs"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
