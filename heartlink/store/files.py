"""Files that messages show: their rows, and the bytes behind them.

A row is there before its bytes and before its message, as *pending*; it is confirmed when the message is stored. So
whatever a crash leaves behind has a row that says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from heartlink.model import FileId, RoomId, StoredFile, UserId
from heartlink.store.backend import Backend, Document, KeyValue, Span, id_of
from heartlink.store.tables import FILES

PAGE = 500
"""Rows read at a time."""

THUMBNAIL = "-thumbnail"

_decoder = msgspec.json.Decoder(StoredFile)


def thumbnail_blob(blob: str) -> str:
    """The id of the blob that is the thumbnail of another one."""
    return f"{blob}{THUMBNAIL}"


def content_blob(blob: str) -> str:
    """The id of the content to which a blob belongs: its own, or that of which it is the thumbnail."""
    return blob.removesuffix(THUMBNAIL)


def _document(file: StoredFile) -> Document:
    keys: dict[str, KeyValue] = {
        "file": file.id,
        "owner": file.owner_id,
        "blob": file.blob,
        "message": "" if file.message_id is None else id_of(file.room_id, file.message_id),
        "pending": int(file.message_id is None),
    }
    return Document(file.id, keys, msgspec.json.encode(file))


def _files(documents: list[Document]) -> list[StoredFile]:
    return [_decoder.decode(document.body) for document in documents]


class Files:
    """The repository of files."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    # Rows

    async def get(self, file_id: FileId) -> StoredFile | None:
        """The file under an id."""
        found = await self._backend.get(FILES, file_id)
        return _decoder.decode(found.body) if found else None

    async def put(self, file: StoredFile) -> None:
        """Store a row, whatever was under its id."""
        await self._backend.put(FILES, _document(file))

    async def confirm(self, file: StoredFile, message_id: int) -> None:
        """Note that the message of a file is stored."""
        confirmed = msgspec.structs.replace(file, message_id=message_id)
        await self._backend.change(FILES, _document(confirmed), {"pending": 1})

    async def of_message(self, room_id: RoomId, message_id: int) -> list[StoredFile]:
        """The files of a message that are confirmed."""
        return _files(await self._backend.scan(FILES, {"message": id_of(room_id, message_id)}, limit=PAGE))

    async def pending(self, limit: int = PAGE) -> list[StoredFile]:
        """Files whose message is not known to be stored."""
        return _files(await self._backend.scan(FILES, {"pending": 1}, Span("file"), limit))

    async def all_after(self, file_id: str = "", limit: int = PAGE) -> list[StoredFile]:
        """A page of all files, by id."""
        return _files(await self._backend.scan(FILES, {}, Span("file", above=file_id), limit))

    async def bytes_of(self, owner_id: UserId) -> int:
        """What the files of a user come to."""
        total, after = 0, ""
        while True:
            span = Span("file", above=after)
            page = _files(await self._backend.scan(FILES, {"owner": owner_id}, span, PAGE))
            total += sum(file.size + file.thumbnail_bytes for file in page)
            if len(page) < PAGE:
                return total
            after = page[-1].id

    async def shows(self, blob: str) -> bool:
        """Whether any file has these bytes."""
        return bool(await self._backend.scan(FILES, {"blob": blob}, limit=1))

    async def remove(self, file: StoredFile) -> bool:
        """Remove a file, and its bytes unless another file has them; safe to call again. False: it was gone already.

        The row goes last: as long as there are bytes, something says whose they were.
        """
        sharing = await self._backend.scan(FILES, {"blob": file.blob}, limit=2)
        if all(document.id == file.id for document in sharing):
            await self.remove_bytes(file.blob)
        return await self._backend.delete(FILES, file.id)

    # Bytes

    async def put_bytes(self, blob: str, content: Path, thumbnail: Path | None) -> None:
        """Store a file's content and its thumbnail, durable on return."""
        await self._backend.put_blob(blob, content)
        if thumbnail is not None:
            await self._backend.put_blob(thumbnail_blob(blob), thumbnail)

    async def remove_bytes(self, blob: str) -> None:
        """Remove a content and its thumbnail, as far as they are there."""
        await self._backend.delete_blob(thumbnail_blob(blob))
        await self._backend.delete_blob(blob)

    def read(self, blob: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Content in pieces; see :meth:`Backend.read_blob`. A thumbnail is read as ``thumbnail_blob(blob)``."""
        return self._backend.read_blob(blob, start, length)

    async def size(self, blob: str) -> int | None:
        """The bytes of a content; None when it is gone."""
        return await self._backend.blob_size(blob)

    async def blobs(self, after: str = "", limit: int = PAGE) -> list[str]:
        """The ids of contents, thumbnails among them, in order."""
        return await self._backend.blob_ids(after, limit)
