"""The key that signs tokens: from the settings, or made once and kept in the data folder."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from heartlink.disk import sync_path
from heartlink.errors import StartupFailure

KEY_FILE = "secret.key"
KEY_BYTES = 32
KEY_FILE_BYTES = 4096


def load_key(secret: str, data_dir: Path) -> bytes:
    """The signing key; raises StartupFailure where it is too short, damaged, or cannot be kept private.

    The key is the text of the settings as it is, or of the file without white space around it, as UTF-8.
    """
    if secret:
        return _checked(secret.encode(), "The secret from the settings")
    path = data_dir / KEY_FILE
    try:
        if not os.path.lexists(path):
            _make(path)
        return _read(path)
    except OSError as error:
        raise StartupFailure(
            f"The key file {path} cannot be used ({error.strerror}).",
            "Give this user the right to read and write it, or set a secret of your own.",
        ) from None


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as writer:
            writer.write(secrets.token_urlsafe(48).encode())
            writer.flush()
            os.fsync(writer.fileno())
        _publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_path(path.parent)


def _publish(draft: Path, path: Path) -> None:
    # A link appears whole or not at all, and never replaces the key that another process has just made;
    # some file systems have none.
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:
        draft.rename(path)


def _read(path: Path) -> bytes:
    # Without O_NONBLOCK a pipe under this name would hang the start.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(file, "rb") as reader:
        status = os.fstat(reader.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise StartupFailure(f"The key file {path} is no regular file.", "Move it away and start again.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(reader.fileno(), 0o600)
        content = reader.read(KEY_FILE_BYTES + 1)
    key = content.strip()
    if len(content) > KEY_FILE_BYTES or not all(0x21 <= byte <= 0x7E for byte in key):
        raise StartupFailure(
            f"The key file {path} is damaged: it is not one line of plain text.",
            "Put the backup of it back, or delete it: a new key is made, and everybody signs in again.",
        )
    return _checked(key, f"The key in {path}")


def _checked(key: bytes, what: str) -> bytes:
    if len(key) < KEY_BYTES:
        raise StartupFailure(
            f"{what} has {len(key)} bytes, and {KEY_BYTES} are needed.",
            "Use a longer one, for instance from: openssl rand -base64 48",
        )
    return key
