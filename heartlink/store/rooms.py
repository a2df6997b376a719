"""Rooms and what belongs to them: members, grants, invites, receipts. Nouns in, nouns out."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from heartlink.errors import DuplicateKey
from heartlink.model import Grant, Invite, Member, Receipt, Room, RoomId, UserId
from heartlink.store.backend import Backend, Collection, Document, KeyValue
from heartlink.store.tables import GRANTS, INVITES, MEMBERS, RECEIPTS, ROOMS

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


def _member_document(member: Member) -> Document:
    keys: dict[str, KeyValue] = {"room": member.room_id, "user": member.user_id}
    return Document(_pair_id(member.room_id, member.user_id), keys, _encode(member))


def _invite_document(invite: Invite) -> Document:
    return Document(invite.code, {"room": invite.room_id, "uses": invite.uses}, _encode(invite))


class Rooms:
    """The repository of rooms and of who belongs to them."""

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

    # Members

    async def members(self, room_id: RoomId) -> list[Member]:
        """Everybody who belongs to a room."""
        return await self._read(MEMBERS, "room", room_id, Member, MEMBERS_LIMIT)

    async def memberships(self, user_id: UserId) -> list[Member]:
        """Every room a user belongs to."""
        return await self._read(MEMBERS, "user", user_id, Member, ROOMS_PER_USER_LIMIT)

    async def member(self, room_id: RoomId, user_id: UserId) -> Member | None:
        """One membership."""
        found = await self._backend.get(MEMBERS, _pair_id(room_id, user_id))
        return msgspec.json.decode(found.body, type=Member) if found else None

    async def put_member(self, member: Member) -> None:
        """Store a membership, new or with another role."""
        await self._backend.put(MEMBERS, _member_document(member))

    async def remove_member(self, room_id: RoomId, user_id: UserId) -> bool:
        """End a membership; False when there was none."""
        return await self._backend.delete(MEMBERS, _pair_id(room_id, user_id))

    # Grants

    async def grants(self, scope: str) -> list[Grant]:
        """The stored grants of one scope (memberships are grants of their own)."""
        return await self._read(GRANTS, "scope", scope, Grant, MEMBERS_LIMIT)

    async def put_grant(self, grant: Grant) -> None:
        """Store a grant."""
        keys: dict[str, KeyValue] = {"scope": grant.scope, "subject": f"{grant.subject.kind}:{grant.subject.id}"}
        await self._backend.put(GRANTS, Document(grant.id, keys, _encode(grant)))

    async def remove_grant(self, grant_id: str) -> bool:
        """Take a grant back; False when there was none."""
        return await self._backend.delete(GRANTS, grant_id)

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

    async def receipts_of(self, user_id: UserId) -> list[Receipt]:
        """How far a user has read every room."""
        return await self._read(RECEIPTS, "user", user_id, Receipt, ROOMS_PER_USER_LIMIT)

    def put_receipts(self, receipts: list[Receipt]) -> asyncio.Future[list[None]]:
        """Store read cursors, all at once."""
        return asyncio.gather(*(self._backend.put(RECEIPTS, _receipt_document(receipt)) for receipt in receipts))


def _receipt_document(receipt: Receipt) -> Document:
    keys: dict[str, KeyValue] = {"room": receipt.room_id, "user": receipt.user_id, "up_to": receipt.up_to}
    return Document(_pair_id(receipt.room_id, receipt.user_id), keys, _encode(receipt))
