"""Why somebody may or may not, in words: what decided, what would be needed, who could give it (PROTOCOL 4.3).

An explanation is about its subject alone. It says the same of a room that does not exist and of one that the subject
does not belong to, and it names nobody but the owners and admins of a room that the subject is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from heartlink.errors import not_found
from heartlink.model import RoomId, UserId
from heartlink.policy.desk import Desk
from heartlink.protocol import BecauseView, Decided, GranterView, NeedView, iso
from heartlink.rights import EVERYWHERE, is_restriction, room_scope
from heartlink.rights.deltas import Who
from heartlink.rights.explaining import Because, Need, explain
from heartlink.store.users import Users

GRANTERS_LIMIT: Final = 20
"""People of a room named as those who could give something."""

HANDS_OUT: Final = "room.update"
"""What one must hold in a room to change what others may do there."""


class ExplanationView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer, as of ``version`` of the policy.

    ``decided`` is what was answered under ``decision_id``, and at which version: what has changed since shows there.
    """

    allowed: bool
    permission: str
    scope: str
    because: list[BecauseView]
    needs: list[NeedView]
    who_can_grant: list[GranterView]
    version: int
    decision_id: str | None = None
    decided: Decided | None = None


ADMINISTRATORS: Final = GranterView(
    kind="administrators", user_id=None, username=None, display_name=None, text="An administrator can."
)


class Explainer:
    """Explains decisions, and what would be decided."""

    def __init__(self, desk: Desk, users: Users, *, clock: Callable[[], int]) -> None:
        self._desk = desk
        self._users = users
        self._clock = clock

    async def explain(self, who: Who, permission: str, scope: str) -> ExplanationView:
        """Why a subject holds a permission in a scope, or does not."""
        granters = await self._granters(who, scope)
        policy = self._desk.policy
        reasons = explain(policy, who, permission, scope, self._clock())
        denials = [because.grant_id or "" for because in reasons.because if because.effect == "deny"]
        if not all(map(is_restriction, denials)):
            # What administrators deny is theirs to take back, not the room's.
            granters = [ADMINISTRATORS]
        return ExplanationView(
            allowed=reasons.allowed,
            permission=permission,
            scope=scope,
            because=[self._reason(because) for because in reasons.because],
            needs=[_wanted(need) for need in reasons.needs],
            who_can_grant=[] if reasons.allowed else granters,
            version=self._desk.version,
        )

    async def explain_decision(self, who: Who, decision_id: str) -> ExplanationView:
        """The same for an earlier decision about this subject; raises ``not_found`` for others' and old ones."""
        decision = self._desk.decisions.find(who, decision_id)
        if decision is None:
            raise not_found("This decision", "Ask about the permission itself, with 'resource' and 'action'.")
        explained = await self.explain(who, decision.permission, decision.scope)
        decided = Decided(
            allowed=decision.allowed,
            version=decision.version,
            changed_since=self._desk.history.version_of(who) > decision.version,
        )
        return msgspec.structs.replace(explained, decision_id=decision_id, decided=decided)

    def people_who_can_grant(self, who: Who, scope: str) -> list[UserId]:
        """Those of a subject's room who hand out its rights, highest role first; nobody for other scopes."""
        if who is None or scope == EVERYWHERE:
            return []
        policy, room_id = self._desk.policy, RoomId(scope.removeprefix("room:"))
        if room_id not in policy.memberships_of(who):
            return []
        members = sorted(policy.members_of(room_id).values(), key=lambda member: member.role != "owner")
        found: list[UserId] = []
        for member in members:
            if member.role not in ("owner", "admin") or member.user_id == who:
                continue
            if policy.rights(member.user_id).allows(HANDS_OUT, room_scope(room_id), self._clock()):
                found.append(member.user_id)
        return found[:GRANTERS_LIMIT]

    async def _granters(self, who: Who, scope: str) -> list[GranterView]:
        people = await self._users.get_many(self.people_who_can_grant(who, scope))
        named = [
            GranterView(
                kind="user",
                user_id=user.id,
                username=user.username,
                display_name=user.display_name,
                text=f"{user.display_name} can, who runs this room.",
            )
            for user in people.values()
            if user.is_active
        ]
        return [*named, ADMINISTRATORS]

    def _reason(self, because: Because) -> BecauseView:
        ends = None if because.expires_at_ms is None else iso(because.expires_at_ms)
        return BecauseView(
            effect=because.effect,
            permission=because.permission,
            scope=because.scope,
            via=because.via,
            chain=because.chain,
            grant_id=because.grant_id,
            expires_at=ends,
            text=self._sentence(because) + (f", until {ends}." if ends else "."),
        )

    def _sentence(self, because: Because) -> str:
        what = f"'{because.permission}' {_place(because.scope)}"
        gives, given = ("allows", "allowed") if because.effect == "allow" else ("denies", "denied")
        match because.via:
            case "role":
                first, *others = [self._role_name(key) for key in because.chain] or ["?"]
                through = f", by way of {' and '.join(others)}," if others else ""
                return f"Your role {first}{through} {gives} you {what}"
            case "group":
                group = self._desk.policy.groups.get(because.chain[0]) if because.chain else None
                return f"Your group {group.name if group else '?'} {gives} you {what}"
            case "room_role":
                role = because.chain[0] if because.chain else "member"
                return f"As {role} of this room you hold {what}"
            case "everyone":
                return f"Everyone is {given} {what}"
            case "anonymous":
                return f"People who are not signed in are {given} {what}"
            case "user":
                return f"You yourself were {given} {what}"

    def _role_name(self, key: str) -> str:
        role = self._desk.policy.roles.get(key)
        return role.name if role else key


def _wanted(need: Need) -> NeedView:
    what = f"'{need.permission}' {_place(need.scope)}"
    text = f"A grant of {what} is needed." if need.what == "grant" else f"The denial of {what} must be lifted."
    return NeedView(what=need.what, permission=need.permission, scope=need.scope, text=text)


def _place(scope: str) -> str:
    return "everywhere" if scope == EVERYWHERE else "in this room"
