"""Which database HeartLink uses: MongoDB where a URL is given, SQLite in the data folder otherwise."""

from __future__ import annotations

from pathlib import Path

from heartlink.store.backend import Backend
from heartlink.store.folder import DataFolder
from heartlink.store.sqlite import SqliteBackend


def make_backend(*, mongo_url: str, data_dir: Path | str) -> Backend:
    """The backend for these settings, not yet opened; the data folder is locked when it opens, on either database."""
    folder = DataFolder(Path(data_dir))
    if not mongo_url:
        return SqliteBackend(folder)
    # Motor takes a tenth of a second to import, which the embedded default need not pay.
    from heartlink.store.mongo import MongoBackend

    return MongoBackend(mongo_url, folder)
