"""The plain subset on which MongoDB and SQLite agree: named collections of documents with string ids.

A document is an id, its *declared* keys (text or integer, always all of them) and a body, which is JSON text that
the backend never looks into. Only declared keys can be asked for. User input is never a key's name.

Every coroutine raises :class:`~heartlink.errors.StoreUnavailable` when the database does not confirm in time; a write
is then of unknown outcome. What was confirmed is durable (journaled, fsync).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

KeyValue = str | int


@dataclass(frozen=True, slots=True)
class Collection:
    """A named collection and its declared keys: ``text`` and ``integer`` fields, all of them always set.

    ``indexes`` are the combinations that scans use (equality fields first, the ordered field last) and ``unique``
    those whose combination of values exists once. The id is always unique. ``id_from`` names a text and an integer key,
    unique together, of which the id is always made (:func:`id_of`): a backend need not store it beside them.
    """

    name: str
    text: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    id_from: tuple[str, str] | None = None


def id_of(text: str, number: int) -> str:
    """The id of a document in a collection with ``id_from``."""
    return f"{text}:{number:012d}"


class Document(NamedTuple):
    """One stored document: id (at most 512 bytes), declared keys (without NUL), body (UTF-8 JSON text)."""

    id: str
    keys: Mapping[str, KeyValue]
    body: bytes


class Insert(NamedTuple):
    """In a batch: a document whose id and unique keys must not exist."""

    document: Document


class Replace(NamedTuple):
    """In a batch: the new state of an existing document whose integer key ``field`` must still be ``expected``."""

    document: Document
    field: str
    expected: int


Change = Insert | Replace


@dataclass(frozen=True, slots=True)
class Span:
    """An exclusive range over one ordered key; an open end is None."""

    key: str
    above: KeyValue | None = None
    below: KeyValue | None = None
    descending: bool = False


class Backend(Protocol):
    """What HeartLink asks of a database."""

    name: str
    """What the start-up line says: ``SQLite in ./data``, ``MongoDB at host:27017 (database heartlink)``."""

    async def open(self, collections: Sequence[Collection]) -> None:
        """Connect, lock, check, make collections and indexes; raise StartupFailure with one line where that fails."""

    async def close(self) -> None:
        """Finish what was handed over, then release everything; safe to call twice."""

    async def ping(self) -> None:
        """Return when the database can be written to; raise StoreUnavailable otherwise (bounded in time)."""

    async def insert(self, collection: Collection, document: Document) -> None:
        """Store a new document; raise DuplicateKey, storing nothing, when the id or a unique key exists."""

    async def put(self, collection: Collection, document: Document) -> None:
        """Store a document whatever was under its id; raise DuplicateKey when another holds a unique key."""

    async def get(self, collection: Collection, id: str) -> Document | None:
        """The document under an id."""

    async def get_many(self, collection: Collection, ids: Sequence[str]) -> list[Document]:
        """Those of at most 500 ids that exist, in no particular order."""

    async def delete(self, collection: Collection, id: str) -> bool:
        """Remove a document; False when there was none."""

    async def change(self, collection: Collection, document: Document, where: Mapping[str, KeyValue]) -> bool:
        """Replace the document under its id if it exists and its keys equal ``where``; False otherwise."""

    async def scan(
        self,
        collection: Collection,
        equal: Mapping[str, KeyValue],
        span: Span | None = None,
        limit: int = 1000,
    ) -> list[Document]:
        """Documents whose keys equal ``equal`` and lie within ``span``, ordered by its key.

        Without a span by id, or by the keys of which the id is made.
        """

    def append(self, collection: Collection, batch: Sequence[Change]) -> asyncio.Future[None]:
        """Store a batch in order; called on the event loop, never blocks, no task is made.

        Batches handed over in one loop turn share a commit where the database can do that. The future's error is
        DuplicateKey (an id or unique key existed, or a Replace met another value: a *prefix* of the batch may be
        stored, on SQLite nothing is) or StoreUnavailable (any prefix may be stored, now or later).
        """
