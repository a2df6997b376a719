"""Mutes and bans: denials in a room's scope, made and lifted by those who run the room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from heartlink.chat.live import LiveRoom, LiveRooms
from heartlink.chat.membership import Membership
from heartlink.errors import conflict, not_a_member, not_found, unfit
from heartlink.model import RoomId, User, UserId
from heartlink.policy import Desk
from heartlink.protocol import iso
from heartlink.rights import RESTRICTED, restriction_grant, room_scope
from heartlink.rights import Restriction as Kind
from heartlink.rights.changes import AnyChange, DropGrant, PutGrant
from heartlink.rights.policy import Policy
from heartlink.store.users import Users

NEEDED: Final[Mapping[Kind, str]] = {"mute": "chat.moderate", "ban": "room.remove"}
"""What one must hold in the room to make it, and to lift it."""

SECONDS_MOST: Final = 366 * 86_400
WHY_CHARS: Final = 500


class Restriction(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is muted in a room or banned from it, until when (null: until it is lifted)."""

    user_id: str
    username: str
    display_name: str
    kind: Kind
    expires_at: str | None


class Moderation:
    """Restricts people in rooms."""

    def __init__(
        self, membership: Membership, live_rooms: LiveRooms, users: Users, desk: Desk, *, clock: Callable[[], int]
    ) -> None:
        self._membership = membership
        self._live_rooms = live_rooms
        self._users = users
        self._desk = desk
        self._clock = clock

    async def restrict(
        self, user: User, room_id: RoomId, whom: UserId, kind: Kind, *, expires_in_seconds: int | None, why: str
    ) -> Restriction:
        """Mute somebody, or ban them, which ends their membership; raises Refusals."""
        if expires_in_seconds is not None and not 1 <= expires_in_seconds <= SECONDS_MOST:
            raise unfit("expires_in", f"it is not from 1 to {SECONDS_MOST} seconds")
        if len(why) > WHY_CHARS:
            raise unfit("why", f"it is longer than {WHY_CHARS} characters")
        restricted = await self._users.get(whom)
        if restricted is None:
            raise not_found("This user")
        if whom == user.id:
            raise conflict("Nobody can restrict themselves.", "Leave the room, if that is what you want.")
        async with self._membership.change(room_id, user, NEEDED[kind]) as live:
            ends_ms = None if expires_in_seconds is None else self._clock() + expires_in_seconds * 1000
            grant = restriction_grant(kind, room_id, whom, ends_ms)

            def propose(policy: Policy) -> list[AnyChange]:
                member = live.state.members.get(whom)
                if member is None and kind == "mute":
                    raise not_found("This membership", "Look at the room's members.")
                if member is not None:
                    self._membership.check_above(live, user, member)
                leaves = self._membership.departure(live, whom) if member is not None and kind == "ban" else []
                return [PutGrant(grant), *leaves]

            done = "muted" if kind == "mute" else "banned"
            reason = why.strip() or f"{user.username} {done} {restricted.username}"
            await self._membership.commit(live, propose, by=user, why=reason, permission=NEEDED[kind])
            if kind == "ban":
                await self._membership.settle_departure(live, whom, user)
            return _view(restricted, kind, ends_ms)

    async def lift(self, user: User, room_id: RoomId, whom: UserId, kind: Kind) -> None:
        """End a restriction that was made here; what administrators denied is theirs to take back."""
        restricted = await self._users.get(whom)
        name = restricted.username if restricted else "somebody"
        async with self._membership.change(room_id, user, NEEDED[kind], even_ended=True) as live:
            grant_id = restriction_grant(kind, room_id, whom).id

            def propose(policy: Policy) -> list[AnyChange]:
                if grant_id not in policy.grants:
                    raise not_found("This restriction", "See the room's restrictions for those that exist.")
                return [DropGrant(grant_id)]

            what = "may write again" if kind == "mute" else "is banned no longer"
            await self._membership.commit(live, propose, by=user, why=f"{name} {what}", permission=NEEDED[kind])

    async def restrictions(self, user: User, room_id: RoomId) -> list[Restriction]:
        """Who is muted in a room and banned from it; for those who could lift some of it."""
        async with self._live_rooms.use(room_id) as live:
            self._check_may_see(live, user)
            found = [
                (grant, kind)
                for grant in self._desk.policy.grants.values()
                if grant.scope == room_scope(room_id)
                for kind in RESTRICTED
                if grant.id == restriction_grant(kind, room_id, UserId(grant.subject.id)).id
            ]
            people = await self._users.get_many([UserId(grant.subject.id) for grant, _ in found])
            self._check_may_see(live, user)
        return [
            _view(people[UserId(grant.subject.id)], kind, grant.expires_at_ms)
            for grant, kind in found
            if UserId(grant.subject.id) in people
        ]

    def _check_may_see(self, live: LiveRoom, user: User) -> None:
        if any(self._live_rooms.may(live, user.id, permission) for permission in NEEDED.values()):
            return
        if user.id not in live.state.members:
            raise not_a_member(live.id)
        raise self._desk.decisions.deny(user.id, NEEDED["mute"], room_scope(live.id))


def _view(user: User, kind: Kind, ends_ms: int | None) -> Restriction:
    return Restriction(
        user_id=user.id,
        username=user.username,
        display_name=user.display_name,
        kind=kind,
        expires_at=None if ends_ms is None else iso(ends_ms),
    )
