"""Rooms and what belongs to them: invites, receipts. Who belongs to them is the policy's to say."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from heartlink.errors import DuplicateKey
from heartlink.model import Invite, Receipt, Room, RoomId, UserId
from heartlink.store.backend import Backend, Collection, Document, KeyValue
from heartlink.store.tables import INVITES, RECEIPTS, ROOMS

MEMBERS_LIMIT = 5000
"""Members of one room."""

ROOMS_PER_USER_LIMIT = 1000
"""Rooms listed for one user."""

PUBLIC_ROOMS_LIMIT = 200
"""Public rooms in one list."""

INVITES_PER_ROOM_LIMIT = 200
"""Invite links of one room."""

_encode = msgspec.json.encode

Noun = TypeVar("Noun", bound=msgspec.Struct)


def _pair_id(room_id: RoomId, user_id: UserId) -> str:
    return f"{user_id}/{room_id}"


def _invite_document(invite: Invite) -> Document:
    return Document(invite.code, {"room": invite.room_id, "uses": invite.uses}, _encode(invite))


class Rooms:
    """The repository of rooms, invite links and read marks."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def _read(self, collection: Collection, key: str, value: str, noun: type[Noun], limit: int) -> list[Noun]:
        found = await self._backend.scan(collection, {key: value}, limit=limit)
        return [msgspec.json.decode(document.body, type=noun) for document in found]

    # Rooms

    async def create(self, room: Room) -> bool:
        """Store a new room; False when its id is taken."""
        try:
            await self._backend.insert(ROOMS, Document(room.id, {"kind": room.kind}, _encode(room)))
        except DuplicateKey:
            return False
        return True

    async def get(self, room_id: RoomId) -> Room | None:
        """The room under an id."""
        found = await self._backend.get(ROOMS, room_id)
        return msgspec.json.decode(found.body, type=Room) if found else None

    async def get_many(self, room_ids: list[RoomId]) -> list[Room]:
        """Those of the rooms that exist."""
        found: list[Document] = []
        for start in range(0, len(room_ids), 500):
            found += await self._backend.get_many(ROOMS, room_ids[start : start + 500])
        return [msgspec.json.decode(document.body, type=Room) for document in found]

    async def put(self, room: Room) -> None:
        """Store a room's new state."""
        await self._backend.put(ROOMS, Document(room.id, {"kind": room.kind}, _encode(room)))

    async def public(self) -> list[Room]:
        """Public rooms that were not ended."""
        found = await self._read(ROOMS, "kind", "public", Room, PUBLIC_ROOMS_LIMIT)
        return [room for room in found if room.ended_at_ms is None]

    # Invites

    async def put_invite(self, invite: Invite) -> None:
        """Store a new invite link."""
        await self._backend.insert(INVITES, _invite_document(invite))

    async def invite(self, code: str) -> Invite | None:
        """The invite under a code."""
        found = await self._backend.get(INVITES, code)
        return msgspec.json.decode(found.body, type=Invite) if found else None

    async def invites(self, room_id: RoomId) -> list[Invite]:
        """The invite links of a room."""
        return await self._read(INVITES, "room", room_id, Invite, INVITES_PER_ROOM_LIMIT)

    async def count_use(self, invite: Invite) -> Invite | None:
        """Take one use of an invite; None when somebody else used it at the same moment."""
        used = msgspec.structs.replace(invite, uses=invite.uses + 1)
        changed = await self._backend.change(INVITES, _invite_document(used), {"uses": invite.uses})
        return used if changed else None

    async def remove_invite(self, code: str) -> bool:
        """Withdraw an invite; False when there was none."""
        return await self._backend.delete(INVITES, code)

    # Receipts

    async def receipts(self, room_id: RoomId) -> list[Receipt]:
        """How far everybody has read a room."""
        return await self._read(RECEIPTS, "room", room_id, Receipt, MEMBERS_LIMIT)

    def put_receipts(self, receipts: list[Receipt]) -> asyncio.Future[list[None]]:
        """Store read cursors, all at once."""
        return asyncio.gather(*(self._backend.put(RECEIPTS, _receipt_document(receipt)) for receipt in receipts))


def _receipt_document(receipt: Receipt) -> Document:
    keys: dict[str, KeyValue] = {"room": receipt.room_id, "user": receipt.user_id, "up_to": receipt.up_to}
    return Document(_pair_id(receipt.room_id, receipt.user_id), keys, _encode(receipt))
