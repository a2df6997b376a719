"""The plain subset on which MongoDB and SQLite agree: named collections of documents with string ids.

A document is an id, its *declared* keys (text or integer, always all of them) and a body, which is JSON text that
the backend never looks into. Only declared keys can be asked for. User input is never a key's name.

Every coroutine raises :class:`~heartlink.errors.StoreUnavailable` when the database does not confirm in time; a write
is then of unknown outcome. What was confirmed is durable (journaled, fsync).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

KeyValue = str | int

BLOB_PIECE_BYTES: Final = 256 * 1024
"""The most that one step of :meth:`Backend.read_blob` gives."""

_BLOB_ID: Final = re.compile(r"[a-z0-9]{2}[a-z0-9-]{1,78}")


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


def check_blob_id(blob_id: str) -> str:
    """The id of a blob: 3 to 80 of ``a-z0-9-``, so that it can stand in a path; ValueError for anything else."""
    if not _BLOB_ID.fullmatch(blob_id):
        raise ValueError(f"{blob_id!r} is no id of a blob.")
    return blob_id


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

    # Blobs: bytes under an id, never changed, read in pieces

    async def put_blob(self, blob_id: str, source: Path) -> None:
        """Store the content of a file; it is durable on return, and replaces what was under the id.

        The source stays where it is, and may be removed afterwards. A blob is there as a whole or not at all;
        what an interrupted call has left, ``delete_blob`` or another ``put_blob`` of the same id takes away.
        """

    def read_blob(self, blob_id: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``start`` on, at most ``length``, in pieces; raises BlobMissing where there is no blob.

        Nothing is read ahead of who asks. Whoever stops before the end closes the iterator (``aclosing``).
        """

    async def blob_size(self, blob_id: str) -> int | None:
        """The bytes of a blob; None when there is none."""

    async def delete_blob(self, blob_id: str) -> bool:
        """Remove a blob; False when there was none. What is being read of it may break off with BlobMissing."""

    async def blob_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of blobs above ``after``, in their order; those that an interrupted call has left half stored too."""
