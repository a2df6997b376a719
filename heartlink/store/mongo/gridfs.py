"""Blobs in GridFS: its specification's layout, so that every tool can read them, by equality and point reads alone.

Beside the bucket stands a register of ids, written before the first chunk and cleared after the last: what a crash
has left half stored or half removed is found by it, and ids can be listed in their order on every server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from heartlink.errors import BlobMissing
from heartlink.store.backend import BLOB_PIECE_BYTES, check_blob_id

BUCKET: Final = "blobs"
REGISTER: Final = "blob_ids"
CHUNK_BYTES: Final = 255 * 1024
"""GridFS's own default."""

INDEXES: Final = {
    f"{BUCKET}.files": ("filename", "uploadDate"),
    f"{BUCKET}.chunks": ("files_id", "n"),
    REGISTER: ("name",),
}

Ask = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class GridFs:
    """The bucket of one database; ``ask`` runs an operation with the backend's limits and errors."""

    def __init__(self, ask: Ask, collection: Callable[[str], Any]) -> None:
        self._ask = ask
        self._collection = collection

    async def put(self, blob_id: str, source: Path) -> None:
        """Store the content of a file: chunk after chunk, and at last the entry that makes it a file."""
        await self.delete(blob_id)
        chunks, number, length = self._chunks, 0, 0
        opened = await _in_thread(source.open, "rb")
        try:
            await self._ask(_inserting(self._register, {"_id": blob_id, "name": blob_id}))
            while data := await _in_thread(_read, opened):
                chunk = {"_id": f"{blob_id}:{number:08d}", "files_id": blob_id, "n": number, "data": data}
                await self._ask(_inserting(chunks, chunk))
                number, length = number + 1, length + len(data)
        finally:
            await _in_thread(opened.close)
        entry = {
            "_id": blob_id,
            "filename": blob_id,
            "length": length,
            "chunkSize": CHUNK_BYTES,
            "uploadDate": datetime.now(UTC),
        }
        await self._ask(_inserting(self._files, entry))

    async def read(self, blob_id: str, start: int, length: int | None) -> AsyncIterator[bytes]:
        """The bytes of a blob in pieces, a chunk in memory at a time."""
        found = await self._entry(blob_id)
        if found is None:
            raise BlobMissing(f"no blob {blob_id}")
        size, chunk_bytes = int(found["length"]), int(found["chunkSize"])
        end = size if length is None else min(size, start + length)
        while start < end:
            number, skip = divmod(start, chunk_bytes)
            chunk = await self._ask(_finding(self._chunks, {"files_id": blob_id, "n": number}))
            if chunk is None:
                raise BlobMissing(f"blob {blob_id} was removed")
            data = memoryview(chunk["data"])[skip : skip + end - start]
            start += len(data)
            for at in range(0, len(data), BLOB_PIECE_BYTES):
                yield bytes(data[at : at + BLOB_PIECE_BYTES])

    async def size(self, blob_id: str) -> int | None:
        """The bytes of a blob."""
        found = await self._entry(blob_id)
        return None if found is None else int(found["length"])

    async def delete(self, blob_id: str) -> bool:
        """Remove a blob: first that it is one, then its chunks, then that anything was ever there."""
        entry = await self._ask(_finding(self._files, {"_id": check_blob_id(blob_id)}))
        if entry is None and await self._ask(_finding(self._register, {"_id": blob_id})) is None:
            return False
        # A stand-in refuses to remove an entry that is not there.
        if entry is not None:
            await self._ask(lambda: self._files.delete_one({"_id": blob_id}))
        await self._ask(lambda: self._chunks.delete_many({"files_id": blob_id}))
        await self._ask(lambda: self._register.delete_one({"_id": blob_id}))
        return entry is not None and _is_whole(entry, blob_id)

    async def ids(self, after: str, limit: int) -> list[str]:
        """The ids above ``after`` in their order, those of half-stored blobs among them."""
        cursor = self._register.find({"name": {"$gt": after}}).sort([("name", 1)]).limit(limit)
        return [str(found["_id"]) for found in await self._ask(lambda: cursor.to_list(limit))]

    async def _entry(self, blob_id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self._ask(_finding(self._files, {"_id": check_blob_id(blob_id)}))
        return found if found is not None and _is_whole(found, blob_id) else None

    @property
    def _files(self) -> Any:
        return self._collection(f"{BUCKET}.files")

    @property
    def _chunks(self) -> Any:
        return self._collection(f"{BUCKET}.chunks")

    @property
    def _register(self) -> Any:
        return self._collection(REGISTER)


def _is_whole(entry: dict[str, Any], blob_id: str) -> bool:
    """A stand-in makes an entry without a name as soon as there is a chunk."""
    return bool(entry["filename"] == blob_id)


def _read(opened: BinaryIO) -> bytes:
    return opened.read(CHUNK_BYTES)


async def _in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


def _inserting(collection: Any, document: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: collection.insert_one(document)


def _finding(collection: Any, wanted: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: collection.find_one(wanted)
