"""Grants and what they come to: a pure resolver (PROTOCOL 4.4). No I/O, no clock of its own.

A *grant* gives or denies a permission (``resource.action``, ``*`` in either half) to a subject within a scope (``*``
or ``room:<id>``). Deny beats allow at the same scope, a narrower scope beats a wider one, and silence is no. The roles
of a room are grants in that room's scope: :func:`membership_grants` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from heartlink.model import Grant, Member, RoomId, RoomRole, Subject, UserId
from heartlink.rights.patterns import names_of

EVERYWHERE: Final = "*"

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


def subjects_of(user_id: UserId | None) -> tuple[Subject, ...]:
    """The subjects whose grants count for a user, or for somebody who is not signed in."""
    return (ANONYMOUS,) if user_id is None else (Subject("user", user_id), EVERYONE)


@dataclass(slots=True)
class _Said:
    allow: set[str] = field(default_factory=set)
    deny: set[str] = field(default_factory=set)


class Rights:
    """One subject's effective rights: what was allowed and denied, scope by scope."""

    __slots__ = ("_said",)

    def __init__(self, said: dict[str, _Said]) -> None:
        self._said = said

    def allows(self, permission: str, scope: str = EVERYWHERE) -> bool:
        """Whether a permission holds in a scope."""
        for place in (scope, EVERYWHERE) if scope != EVERYWHERE else (EVERYWHERE,):
            said = self._said.get(place)
            if said is None:
                continue
            names = names_of(permission)
            if not said.deny.isdisjoint(names):
                return False
            if not said.allow.isdisjoint(names):
                return True
        return False

    def capabilities(self, room_id: RoomId) -> tuple[str, ...]:
        """What the subject may do in a room, in a fixed order."""
        scope = room_scope(room_id)
        return tuple(permission for permission in ROOM_PERMISSIONS if self.allows(permission, scope))


def resolve(grants: Iterable[Grant], user_id: UserId | None, now_ms: int) -> Rights:
    """The effective rights of a user (None: not signed in) at a moment, from the grants that may concern them."""
    subjects = set(subjects_of(user_id))
    said: dict[str, _Said] = {}
    for grant in grants:
        if grant.subject not in subjects or (grant.expires_at_ms is not None and grant.expires_at_ms <= now_ms):
            continue
        place = said.setdefault(grant.scope, _Said())
        (place.allow if grant.effect == "allow" else place.deny).add(grant.permission)
    return Rights(said)
