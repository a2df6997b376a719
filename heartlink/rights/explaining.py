"""Why something is allowed or not: the chain of roles and grants that decided (PROTOCOL 4.3)."""

from __future__ import annotations

from typing import Literal

import msgspec

from heartlink.model import Grant, Subject
from heartlink.rights.deltas import Who
from heartlink.rights.entries import EVERYWHERE
from heartlink.rights.patterns import names_of
from heartlink.rights.policy import Policy


class Because(msgspec.Struct, frozen=True, kw_only=True):
    """One grant that decided, and how it came to the subject.

    ``chain`` is the way: the subject's own role and those it inherits from, a group, the room role.
    """

    effect: Literal["allow", "deny"]
    permission: str
    scope: str
    via: Literal["user", "role", "group", "everyone", "anonymous", "room_role"]
    chain: list[str]
    grant_id: str | None
    expires_at_ms: int | None


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What would have to be so for the answer to be yes."""

    what: Literal["grant", "lift_denial"]
    permission: str
    scope: str


class Reasons(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer, as far as it concerns the subject alone."""

    allowed: bool
    permission: str
    scope: str
    because: list[Because]
    needs: list[Need]


def explain(policy: Policy, who: Who, permission: str, scope: str, now_ms: int) -> Reasons:
    """Why a subject may or may not do something in a scope: silence is explained by what is missing."""
    names = names_of(permission)
    heard = [
        grant
        for grant in policy.grants_of(who)
        if grant.permission in names and (grant.expires_at_ms is None or grant.expires_at_ms > now_ms)
    ]
    for place in (scope, EVERYWHERE) if scope != EVERYWHERE else (EVERYWHERE,):
        here = [grant for grant in heard if grant.scope == place]
        denials = [grant for grant in here if grant.effect == "deny"]
        if denials:
            needs = [Need(what="lift_denial", permission=grant.permission, scope=place) for grant in denials]
            return _reasons(policy, who, permission, scope, denials, needs, allowed=False)
        if here:
            return _reasons(policy, who, permission, scope, here, [], allowed=True)
    needs = [Need(what="grant", permission=permission, scope=scope)]
    return _reasons(policy, who, permission, scope, [], needs, allowed=False)


def _reasons(
    policy: Policy, who: Who, permission: str, scope: str, decided: list[Grant], needs: list[Need], *, allowed: bool
) -> Reasons:
    because = [_because(policy, who, grant) for grant in decided]
    return Reasons(allowed=allowed, permission=permission, scope=scope, because=because, needs=needs)


def _because(policy: Policy, who: Who, grant: Grant) -> Because:
    stored = grant.id in policy.grants
    via, chain = _way(policy, who, grant.subject)
    if grant.subject.kind == "user" and not stored:
        member = None if who is None else policy.membership_behind(who, grant)
        via, chain = "room_role", [member.role] if member else []
    return Because(
        effect=grant.effect,
        permission=grant.permission,
        scope=grant.scope,
        via=via,
        chain=chain,
        grant_id=grant.id if stored else None,
        expires_at_ms=grant.expires_at_ms,
    )


def _way(
    policy: Policy, who: Who, subject: Subject
) -> tuple[Literal["user", "role", "group", "everyone", "anonymous", "room_role"], list[str]]:
    """How a grant to a subject reaches somebody."""
    if subject.kind == "role" and who is not None:
        for key in policy.roles_of.get(who, ()):
            line = policy.lineage(key)
            if subject.id in line:
                return "role", line[: line.index(subject.id) + 1]
    return subject.kind, [subject.id] if subject.kind in ("role", "group") else []
