"""Wishes about grants.

What a role is allowed everywhere and for good is the role's own permission, whichever way it was asked for: one fact,
one place. Such a grant has the id ``role:<key>:<permission>``.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from heartlink.administration.views import ROLE_GRANT, GrantView, grant_view, role_grants
from heartlink.administration.wishes import Names, NewGrant, Wish
from heartlink.errors import conflict, invalid_parameters, not_found, too_large
from heartlink.model import Grant, Subject, UserId
from heartlink.rights import EVERYWHERE
from heartlink.rights.changes import AnyChange, DropGrant, PutGrant, PutRole
from heartlink.rights.policy import Policy

GRANTS_LIMIT: Final = 100_000


class CreateGrant(Wish):
    """A new grant."""

    def __init__(self, body: NewGrant, now_ms: int) -> None:
        subject = Subject(body.subject.kind, body.subject.id)
        self._grant = Grant(
            id=secrets.token_hex(8),
            subject=subject,
            permission=body.permission,
            scope=body.scope,
            effect=body.effect,
            expires_at_ms=_end(body, now_ms),
        )
        self._is_of_role = (
            subject.kind == "role"
            and body.scope == EVERYWHERE
            and body.effect == "allow"
            and self._grant.expires_at_ms is None
        )
        if self._is_of_role:
            own = f"{ROLE_GRANT}{subject.id}:{body.permission}"
            self._grant = msgspec.structs.replace(self._grant, id=own)

    def mentions(self, policy: Policy) -> tuple[UserId, ...]:
        """Whom it is granted to."""
        return _user_of(self._grant)

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """The grant, or the role with one permission more."""
        grant = self._grant
        role = policy.roles.get(grant.subject.id) if self._is_of_role else None
        if role is not None:
            if grant.permission in role.permissions:
                return []
            return [PutRole(msgspec.structs.replace(role, permissions=(*role.permissions, grant.permission)))]
        if len(policy.grants) >= GRANTS_LIMIT:
            raise too_large("The number of grants", f"{GRANTS_LIMIT} grants")
        return [PutGrant(grant)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"{'granted' if self._grant.effect == 'allow' else 'denied'} {_described(self._grant, names)}"

    def outcome(self, policy: Policy) -> GrantView:
        """The grant."""
        return grant_view(self._grant, "role" if self._is_of_role else "grant")


class DeleteGrant(Wish):
    """A grant is taken back."""

    def __init__(self, grant_id: str) -> None:
        self._id = grant_id
        self._last: tuple[Grant, bool] | None = None

    def mentions(self, policy: Policy) -> tuple[UserId, ...]:
        """Whom it was granted to."""
        known = policy.grants.get(self._id)
        return () if known is None else _user_of(known)

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """The grant, or the role with one permission less."""
        known = policy.grants.get(self._id)
        if known is not None:
            self._last = (known, False)
            return [DropGrant(known.id)]
        key, _, permission = self._id.removeprefix(ROLE_GRANT).partition(":")
        role = policy.roles.get(key) if self._id.startswith(ROLE_GRANT) else None
        if role is not None and permission in role.permissions:
            self._last = (next(grant for grant in role_grants(role) if grant.permission == permission), True)
            left = tuple(kept for kept in role.permissions if kept != permission)
            return [PutRole(msgspec.structs.replace(role, permissions=left))]
        self._refuse_membership(policy)
        raise not_found("This grant", "See /api/grants for those that exist.")

    def _refuse_membership(self, policy: Policy) -> None:
        """What a role in a room gives is taken with the role."""
        parts = self._id.split(":")
        if len(parts) < 4 or parts[0] != "room":
            return
        room_id, user_id = ":".join(parts[1:-2]), UserId(parts[-2])
        if any(member.room_id == room_id for member in policy.memberships_of(user_id).values()):
            raise conflict(
                "This grant is part of a role in a room.",
                f"Change the role with PATCH, or end it with DELETE, at /api/rooms/{room_id}/members/{user_id}.",
            )

    def reason(self, names: Names) -> str:
        """As told to people."""
        if self._last is None:
            return "took back a grant"
        grant, _ = self._last
        return f"took back: {'granted' if grant.effect == 'allow' else 'denied'} {_described(grant, names)}"

    def outcome(self, policy: Policy) -> GrantView:
        """The grant as it was."""
        if self._last is None:
            raise not_found("This grant")
        return grant_view(self._last[0], "role" if self._last[1] else "grant")


def _user_of(grant: Grant) -> tuple[UserId, ...]:
    return (UserId(grant.subject.id),) if grant.subject.kind == "user" else ()


def _end(body: NewGrant, now_ms: int) -> int | None:
    if body.expires_in is not None:
        if body.expires_at is not None:
            raise invalid_parameters(
                "A grant has one end, and two were given.",
                "Send 'expires_at' or 'expires_in', not both.",
                {"expires_in": "there is 'expires_at' as well"},
            )
        return now_ms + max(1, round(body.expires_in * 1000))
    return None if body.expires_at is None else round(body.expires_at.timestamp() * 1000)


def _described(grant: Grant, names: Names) -> str:
    subject = grant.subject
    match subject.kind:
        case "user":
            whom = names(subject.id)
        case "role" | "group":
            whom = f"{subject.kind} {subject.id}"
        case "everyone":
            whom = "everyone"
        case "anonymous":
            whom = "people who are not signed in"
    place = "" if grant.scope == EVERYWHERE else f" in {grant.scope}"
    return f"{grant.permission} to {whom}{place}"
