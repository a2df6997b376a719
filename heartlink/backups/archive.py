"""What a backup file is: a tar of the database, the files people sent, and a manifest of their digests.

The manifest comes last, so that a file that was cut off is known by its absence. The signing key is not in it: who
finds a backup cannot sign tokens, and log-outs since then are not undone by restoring it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec

from heartlink.store.sqlite import DATABASE_FILE, FOLDER

DATABASE: Final = DATABASE_FILE
FILES: Final = FOLDER
MANIFEST: Final = "manifest.json"
LAYOUT: Final = 1
"""The layout of the backup file itself."""

MANIFEST_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 1 << 20


class Problem(Exception):
    """What keeps a backup from being made, checked or restored: one sentence, and what to do."""

    def __init__(self, line: str, hint: str = "") -> None:
        super().__init__(f"{line} {hint}".rstrip())


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. ``digests`` are SHA-256 by member name; ``bytes`` is the sum of the members."""

    layout: int
    format: int
    written_by: str
    created_at: str
    epoch: str
    rooms: int
    messages: int
    users: int
    files: int
    bytes: int
    digests: dict[str, str]


class ArchiveWriter:
    """Adds members to a tar and remembers their digests."""

    def __init__(self, target: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see close
        self.digests: dict[str, str] = {}
        self.bytes = 0

    def add(self, name: str, source: Path) -> None:
        """Add a file; raises FileNotFoundError when it has gone meanwhile."""
        with source.open("rb") as reader:
            member = tarfile.TarInfo(name)
            member.size = source.stat().st_size
            member.mtime = int(source.stat().st_mtime)
            member.mode = 0o600
            digesting = _Digesting(reader)
            self._tar.addfile(member, digesting)
        self.digests[name] = digesting.digest.hexdigest()
        self.bytes += member.size

    def close(self, manifest: Manifest) -> None:
        """Write the manifest as the last member."""
        content = msgspec.json.format(msgspec.json.encode(manifest))
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(content)
        member.mode = 0o600
        self._tar.addfile(member, io.BytesIO(content))
        self._tar.close()


class _Digesting:
    """A reader that digests what passes."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._reader.read(size)
        self.digest.update(content)
        return content


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except FileNotFoundError:
        raise Problem(f"There is no backup {path}.", "Name the file that `backup` has written.") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Problem(f"{path} cannot be read as a backup ({error}).", "Use another copy of it.") from None


def read_manifest(path: Path) -> Manifest:
    """The manifest of a backup; raises Problem where the file is none, is cut off, or comes from a later layout."""
    with _opened(path) as tar:
        manifest: Manifest | None = None
        for member in tar:
            if member.name == MANIFEST and member.size <= MANIFEST_BYTES:
                reader = tar.extractfile(member)
                try:
                    manifest = msgspec.json.decode(reader.read() if reader else b"", type=Manifest)
                except msgspec.DecodeError as error:
                    raise Problem(f"The manifest of {path} does not fit ({error}).", "Use another copy.") from None
    if manifest is None:
        raise Problem(f"{path} has no manifest: it is no backup, or was cut off.", "Use another copy of it.")
    if manifest.layout > LAYOUT:
        raise Problem(
            f"{path} was made by a newer HeartLink ({manifest.written_by}).", "Use that version to restore it."
        )
    return manifest


def unpack(path: Path, manifest: Manifest, target: Path) -> None:
    """Write every member below ``target``, comparing digests; raises Problem at the first that differs."""
    missing = dict(manifest.digests)
    with _opened(path) as tar:
        for member in tar:
            if member.name == MANIFEST:
                continue
            expected = missing.pop(member.name, None)
            reader = tar.extractfile(member) if member.isreg() else None
            if expected is None or reader is None or not _is_ours(member.name):
                raise Problem(f"{path} holds '{member.name[:200]}', which is not in its manifest.", "Use another copy.")
            digesting = _Digesting(reader)  # type: ignore[arg-type]
            place = target / member.name
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
                shutil.copyfileobj(digesting, writer, CHUNK_BYTES)
                writer.flush()
                os.fsync(writer.fileno())
            if digesting.digest.hexdigest() != expected:
                raise Problem(f"'{member.name}' in {path} is damaged: its digest differs.", "Use another copy of it.")
    if missing:
        raise Problem(f"{path} lacks '{next(iter(missing))}' of its manifest.", "Use another copy of it.")


def _is_ours(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if any(part in ("..", "/", "") for part in parts):
        return False
    return parts == (DATABASE,) or (len(parts) in (2, 3) and parts[0] == FILES)
