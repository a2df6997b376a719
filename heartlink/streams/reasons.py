"""Why somebody may or may not do something, what it would take, and who could give it (PROTOCOL 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from heartlink.model import RoomId, UserId
from heartlink.policy import Desk
from heartlink.protocol import BecauseView, GranterView, NeedView, iso
from heartlink.rights import EVERYWHERE
from heartlink.rights.deltas import Who
from heartlink.rights.explaining import explain
from heartlink.store.users import Users

MANAGE: Final = "permissions.manage"
ROOM_MANAGE: Final = "room.update"
"""What one must hold to give a right: anywhere, or in a room to its members."""

GRANTERS_LIMIT: Final = 20
"""People named as those who could give it."""


class Reasons(NamedTuple):
    """The chain that decided, what is missing, and who could give it, as of one version of the policy."""

    allowed: bool
    because: list[BecauseView]
    needs: list[NeedView]
    who_can_grant: list[GranterView]
    version: int


class Reasoning:
    """Explains decisions about one subject, saying nothing of others but who could help."""

    def __init__(self, desk: Desk, users: Users, *, clock: Callable[[], int]) -> None:
        self._desk = desk
        self._users = users
        self._clock = clock

    async def explain(self, who: Who, permission: str, scope: str) -> Reasons:
        """Why a subject may or may not do something in a scope; raises a StoreFault when names cannot be read."""
        found = explain(self._desk.policy, who, permission, scope, self._clock())
        version = self._desk.version
        return Reasons(
            allowed=found.allowed,
            because=[
                BecauseView(
                    effect=because.effect,
                    permission=because.permission,
                    scope=because.scope,
                    via=because.via,
                    chain=because.chain,
                    grant_id=because.grant_id,
                    expires_at=None if because.expires_at_ms is None else iso(because.expires_at_ms),
                )
                for because in found.because
            ],
            needs=[NeedView(what=need.what, permission=need.permission, scope=need.scope) for need in found.needs],
            who_can_grant=[] if found.allowed else await self._granters(who, scope),
            version=version,
        )

    def who_can_grant(self, who: Who, scope: str) -> list[UserId]:
        """Who could give a subject a right in a scope: those of the room first, then administrators.

        Only members of a room are told who runs it, and nobody who is not signed in is told anything.
        """
        if who is None:
            return []
        policy, now_ms = self._desk.policy, self._clock()
        found: dict[UserId, None] = {}
        room_id = RoomId(scope.removeprefix("room:")) if scope != EVERYWHERE else None
        if room_id is not None and room_id in policy.memberships_of(who):
            members = policy.members_of(room_id)
            found |= {user: None for user in members if policy.rights(user).allows(ROOM_MANAGE, scope, now_ms)}
        for user in sorted(user for user in policy.concerned_by(MANAGE) if user is not None):
            if policy.rights(user).allows(MANAGE, EVERYWHERE, now_ms):
                found[user] = None
        found.pop(who, None)
        return list(found)

    async def _granters(self, who: Who, scope: str) -> list[GranterView]:
        ids = self.who_can_grant(who, scope)[:GRANTERS_LIMIT]
        users = await self._users.get_many(ids)
        return [
            GranterView(user_id=user.id, username=user.username, display_name=user.display_name)
            for user in (users.get(user_id) for user_id in ids)
            if user is not None and user.is_active
        ]
