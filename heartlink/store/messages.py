"""Messages of a room: append in order, history by id, changes by rev, a client_id's row."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

import msgspec

from heartlink.model import Message, RoomId, StoredMessage, UserId
from heartlink.store.backend import Backend, Change, Document, Insert, KeyValue, Replace, Span, id_of
from heartlink.store.tables import MESSAGES

_decoder = msgspec.json.Decoder(Message)


def message_key(room_id: RoomId, message_id: int) -> str:
    """The store's id of a message."""
    return id_of(room_id, message_id)


def dedup_key(room_id: RoomId, sender_id: UserId, client_id: str) -> str:
    """What may exist once: one sender's ``client_id`` in one room."""
    text = f"{room_id}\x1f{sender_id}\x1f{client_id}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fingerprint(content: str, message_type: str, reply_to: int | None, file_id: str | None) -> str:
    """A digest of what was sent, to tell a retry from other content under the same ``client_id``."""
    text = msgspec.json.encode((content, message_type, reply_to, file_id))
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _document(stored: StoredMessage) -> Document:
    message = stored.message
    key = message_key(message.room_id, message.id)
    keys: dict[str, KeyValue] = {
        "room": message.room_id,
        "dedup": stored.dedup or key,
        "fingerprint": stored.fingerprint,
        "seq": message.id,
        "rev": message.rev,
    }
    return Document(key, keys, stored.body)


def _stored(document: Document) -> StoredMessage:
    return StoredMessage(
        _decoder.decode(document.body),
        document.body,
        str(document.keys["dedup"]),
        str(document.keys["fingerprint"]),
    )


class Candidate(NamedTuple):
    """A stored message that was not decoded yet: its id, its JSON, and the rest when it is wanted."""

    id: int
    body: bytes
    document: Document

    def decoded(self) -> StoredMessage:
        """The message."""
        return _stored(self.document)


class Messages:
    """The repository of messages."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def append(self, batch: list[tuple[StoredMessage, int]]) -> asyncio.Future[None]:
        """Store new messages and changed ones in order; see :meth:`Backend.append` for what a failure means.

        Each comes with the ``rev`` it replaces, 0 for a new message. Call on the event loop; no task is made.
        """
        changes: list[Change] = [
            Replace(_document(stored), "rev", replaced) if replaced else Insert(_document(stored))
            for stored, replaced in batch
        ]
        return self._backend.append(MESSAGES, changes)

    async def get(self, room_id: RoomId, message_id: int) -> StoredMessage | None:
        """One message."""
        found = await self._backend.get(MESSAGES, message_key(room_id, message_id))
        return _stored(found) if found else None

    async def get_many(self, room_id: RoomId, message_ids: list[int]) -> list[StoredMessage]:
        """Those of at most 500 messages that exist."""
        found = await self._backend.get_many(MESSAGES, [message_key(room_id, id) for id in message_ids])
        return [_stored(document) for document in found]

    async def sent_as(self, dedup: str) -> StoredMessage | None:
        """The message that was stored under a dedup key."""
        found = await self._backend.scan(MESSAGES, {"dedup": dedup}, limit=1)
        return _stored(found[0]) if found else None

    async def changed_since(self, room_id: RoomId, rev: int, limit: int) -> list[StoredMessage]:
        """Messages created or changed after ``rev``, oldest change first."""
        found = await self._backend.scan(MESSAGES, {"room": room_id}, Span("rev", above=rev), limit)
        return [_stored(document) for document in found]

    async def latest_changes(self, room_id: RoomId, limit: int) -> list[StoredMessage]:
        """The messages changed last, newest change first."""
        found = await self._backend.scan(MESSAGES, {"room": room_id}, Span("rev", descending=True), limit)
        return [_stored(document) for document in found]

    async def history(
        self, room_id: RoomId, *, before: int | None, after: int | None, limit: int, newest: bool
    ) -> list[StoredMessage]:
        """At most ``limit`` messages with ids between the exclusive bounds, ascending; from the newest end or not."""
        span = Span("seq", above=after, below=before, descending=newest)
        found = await self._backend.scan(MESSAGES, {"room": room_id}, span, limit)
        page = [_stored(document) for document in found]
        return page[::-1] if newest else page

    async def candidates(self, room_id: RoomId, before: int, limit: int) -> list[Candidate]:
        """At most ``limit`` messages with ids below ``before``, newest first, not decoded yet."""
        rows = await self._backend.scan(MESSAGES, {"room": room_id}, Span("seq", below=before, descending=True), limit)
        return [Candidate(int(row.keys["seq"]), row.body, row) for row in rows]
