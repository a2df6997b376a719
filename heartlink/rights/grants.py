"""Grants and what they come to: a pure resolver (PROTOCOL 4.4). No I/O, no clock of its own.

A *grant* gives or denies a permission (``resource.action``, ``*`` in either half) to a subject within a scope (``*``
or ``room:<id>``). Deny beats allow at the same scope, a narrower scope beats a wider one, and silence is no. The roles
of a room are grants in that room's scope: :func:`membership_grants` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from heartlink.model import Grant, Member, RoomId, RoomRole, Subject, UserId
from heartlink.rights.entries import EVERYWHERE, Entry, Patterns, Said
from heartlink.rights.patterns import names_of

ROOM_PERMISSIONS: Final = (
    "chat.read",
    "chat.send",
    "chat.moderate",
    "room.invite",
    "room.update",
    "room.remove",
    "room.end",
)
"""What can be done in a room, in the order in which ``capabilities`` lists it."""

ROLE_PERMISSIONS: Final[Mapping[RoomRole, tuple[str, ...]]] = {
    "owner": ("chat.*", "room.*"),
    "admin": ("chat.*", "room.invite", "room.update", "room.remove"),
    "member": ("chat.read", "chat.send", "room.invite"),
    "guest": ("chat.read",),
}

ROLE_RANK: Final[Mapping[RoomRole, int]] = {"guest": 0, "member": 1, "admin": 2, "owner": 3}
"""Nobody hands out or takes away a role above their own."""

ANONYMOUS: Final = Subject("anonymous")
EVERYONE: Final = Subject("everyone")


def room_scope(room_id: RoomId) -> str:
    """The scope of one room."""
    return f"room:{room_id}"


def membership_grants(member: Member) -> list[Grant]:
    """The grants that a membership is."""
    scope = room_scope(member.room_id)
    subject = Subject("user", member.user_id)
    return [
        Grant(id=f"{scope}:{member.user_id}:{permission}", subject=subject, permission=permission, scope=scope)
        for permission in ROLE_PERMISSIONS[member.role]
    ]


def guest_access_grants(room_id: RoomId) -> list[Grant]:
    """The grants by which anybody may read a room, signed in or not."""
    scope = room_scope(room_id)
    return [
        Grant(id=f"{scope}:{subject.kind}:chat.read", subject=subject, permission="chat.read", scope=scope)
        for subject in (ANONYMOUS, EVERYONE)
    ]


Restriction = Literal["mute", "ban"]
"""What those who run a room may put on somebody in it."""

RESTRICTED: Final[Mapping[Restriction, str]] = {"mute": "chat.send", "ban": "chat.read"}
"""What each takes away."""


def restriction_grant(kind: Restriction, room_id: RoomId, user_id: UserId, expires_at_ms: int | None = None) -> Grant:
    """The denial that a mute or a ban is."""
    scope = room_scope(room_id)
    return Grant(
        id=f"{kind}:{user_id}:{scope}",
        subject=Subject("user", user_id),
        permission=RESTRICTED[kind],
        scope=scope,
        effect="deny",
        expires_at_ms=expires_at_ms,
    )


def is_restriction(grant_id: str) -> bool:
    """Whether a grant was made in its room, and can be lifted there."""
    return grant_id.partition(":")[0] in RESTRICTED


class Rights:
    """One subject's effective rights: what was allowed and denied, scope by scope, and until when."""

    __slots__ = ("said",)

    def __init__(self, said: Mapping[str, Said]) -> None:
        self.said = said

    @classmethod
    def of(cls, grants: Iterable[Grant | Entry]) -> Rights:
        """The rights that grants, or entries, come to; all of them must speak of the subject."""
        found: dict[str, tuple[dict[str, int | None], dict[str, int | None]]] = {}
        for grant in grants:
            allow, deny = found.setdefault(grant.scope, ({}, {}))
            place = allow if grant.effect == "allow" else deny
            ends = grant.expires_at_ms
            if grant.permission in place:
                known = place[grant.permission]
                ends = None if known is None or ends is None else max(known, ends)
            place[grant.permission] = ends
        return cls({scope: Said(allow, deny) for scope, (allow, deny) in found.items()})

    def allows(self, permission: str, scope: str = EVERYWHERE, now_ms: int = 0) -> bool:
        """Whether a permission holds in a scope at a moment."""
        names = names_of(permission)
        for place in (scope, EVERYWHERE) if scope != EVERYWHERE else (EVERYWHERE,):
            said = self.said.get(place)
            if said is None:
                continue
            if _any_lasts(said.deny, names, now_ms):
                return False
            if _any_lasts(said.allow, names, now_ms):
                return True
        return False

    def denies(self, permission: str, scope: str, now_ms: int = 0) -> bool:
        """Whether a permission is denied in this very scope, which is more than not being allowed."""
        said = self.said.get(scope)
        return said is not None and _any_lasts(said.deny, names_of(permission), now_ms)

    def capabilities(self, room_id: RoomId, now_ms: int = 0) -> tuple[str, ...]:
        """What the subject may do in a room, in a fixed order."""
        scope = room_scope(room_id)
        return tuple(permission for permission in ROOM_PERMISSIONS if self.allows(permission, scope, now_ms))


def _any_lasts(patterns: Patterns, names: tuple[str, ...], now_ms: int) -> bool:
    for name in names:
        ends = patterns.get(name, 0)
        if ends is None or ends > now_ms:
            return True
    return False
