"""The store contract on each database: SQLite, MongoDB's wire protocol, and the MongoDB that the environment names."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from heartlink.store.backend import Backend
from heartlink.store.opening import make_backend
from tests.contract_blobs import BlobContract
from tests.contract_store import StoreContract
from tests.nx_server import NxServer

MONGO_URL = os.environ.get("HEARTLINK_TEST_MONGO_URL", "")


class MadePlace:
    """A place as the arguments of ``make_backend``."""

    def __init__(self, folder: Path, mongo_url: str = "") -> None:
        self.options = {"mongo_url": mongo_url, "data_dir": str(folder)}
        self.conflict_stores_nothing = not mongo_url

    def backend(self) -> Backend:
        return make_backend(**self.options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[NxServer]:
    with NxServer() as server:
        yield server


class TestSqlite(StoreContract, BlobContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> MadePlace:
        return MadePlace(tmp_path / "data")


class TestMongoWire(StoreContract, BlobContract):
    numbers = itertools.count()

    @pytest.fixture
    def place(self, server: NxServer, tmp_path: Path) -> MadePlace:
        return MadePlace(tmp_path / "data", server.url_for(f"test{next(self.numbers)}"))


class TestMongo(StoreContract, BlobContract):
    __test__ = bool(MONGO_URL)

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[MadePlace]:
        name = f"heartlink_test_{uuid.uuid4().hex[:12]}"
        yield MadePlace(tmp_path / "data", with_database(MONGO_URL, name))
        with pymongo.MongoClient(MONGO_URL) as client:
            client.drop_database(name)


def with_database(url: str, name: str) -> str:
    """The same URL for another database; accounts stay where they are."""
    base, _, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    hosts, _, database = rest.partition("/")
    if "@" in hosts and "authSource" not in query:
        query += f"{'&' if query else ''}authSource={database or 'admin'}"
    return f"{scheme}://{hosts}/{name}?{query}"
