"""Invite links: made, looked at, used, withdrawn."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from heartlink.chat.live import LiveRooms
from heartlink.chat.membership import Membership
from heartlink.errors import conflict, not_found, too_large, unfit
from heartlink.model import Invite, RoomId, User
from heartlink.store.rooms import INVITES_PER_ROOM_LIMIT, Rooms

INVITE_SECONDS_MOST: Final = 366 * 86_400
INVITE_USES_MOST: Final = 100_000
ATTEMPTS: Final = 10
"""How often two people who use the last place of an invite at once are sorted out."""


class Invites:
    """Knows the invite links of all rooms."""

    def __init__(
        self, membership: Membership, live_rooms: LiveRooms, rooms: Rooms, *, clock: Callable[[], int]
    ) -> None:
        self._membership = membership
        self._live_rooms = live_rooms
        self._rooms = rooms
        self._clock = clock

    async def make(
        self, user: User, room_id: RoomId, *, expires_in_seconds: int | None, max_uses: int | None
    ) -> Invite:
        """Make an invite link."""
        if expires_in_seconds is not None and not 1 <= expires_in_seconds <= INVITE_SECONDS_MOST:
            raise unfit("expires_in", f"it is not from 1 to {INVITE_SECONDS_MOST} seconds")
        if max_uses is not None and not 1 <= max_uses <= INVITE_USES_MOST:
            raise unfit("max_uses", f"it is not from 1 to {INVITE_USES_MOST}")
        async with self._membership.change(room_id, user, "room.invite"):
            now_ms = self._clock()
            known = await self._rooms.invites(room_id)
            over = [old for old in known if old.expires_at_ms is not None and old.expires_at_ms <= now_ms]
            for old in over:
                await self._rooms.remove_invite(old.code)
            if len(known) - len(over) >= INVITES_PER_ROOM_LIMIT:
                raise too_large("The number of invite links", f"{INVITES_PER_ROOM_LIMIT}; withdraw some first")
            invite = Invite(
                code=secrets.token_urlsafe(12),
                room_id=room_id,
                made_by=user.id,
                created_at_ms=now_ms,
                expires_at_ms=None if expires_in_seconds is None else now_ms + expires_in_seconds * 1000,
                max_uses=max_uses,
            )
            await self._rooms.put_invite(invite)
            return invite

    async def of_room(self, user: User, room_id: RoomId) -> list[Invite]:
        """The invite links that a user may see: their own, or all with ``room.update``."""
        async with self._membership.change(room_id, user, "room.invite", even_ended=True) as live:
            sees_all = self._live_rooms.may(live, user.id, "room.update")
            return [invite for invite in await self._rooms.invites(room_id) if sees_all or invite.made_by == user.id]

    async def under(self, code: str) -> Invite:
        """An invite that still counts; raises the Refusal ``not_found`` otherwise."""
        invite = await self._rooms.invite(code)
        if invite is None or (invite.expires_at_ms is not None and invite.expires_at_ms <= self._clock()):
            raise not_found("This invite link", "It was withdrawn or is over; ask for a new one.")
        if invite.max_uses is not None and invite.uses >= invite.max_uses:
            raise not_found("A free place on this invite link", "It was used up; ask for a new one.")
        return invite

    async def accept(self, user: User, code: str) -> RoomId:
        """Join by an invite link; being a member already costs no use of it."""
        found = await self._rooms.invite(code)
        if found is None:
            raise not_found("This invite link", "It was withdrawn; ask for a new one.")
        async with self._membership.change(found.room_id, user, None) as live:
            if user.id in live.state.members:
                return live.id
            for _ in range(ATTEMPTS):
                invite = await self.under(code)
                if not self._live_rooms.may(live, invite.made_by, "room.invite"):
                    raise not_found("This invite link", "Who made it may no longer invite; ask for a new one.")
                if await self._rooms.count_use(invite) is not None:
                    await self._membership.put(live, user, "member", user, vouched_by=invite.made_by)
                    return live.id
            raise conflict("Many people use this invite link at this moment.", "Try again.")

    async def withdraw(self, user: User, code: str) -> None:
        """Take an invite link back: one's own, or any with ``room.update``."""
        invite = await self._rooms.invite(code)
        if invite is None:
            raise not_found("This invite link", "It was withdrawn already.")
        permission = "room.invite" if invite.made_by == user.id else "room.update"
        async with self._membership.change(invite.room_id, user, permission, even_ended=True):
            await self._rooms.remove_invite(code)
