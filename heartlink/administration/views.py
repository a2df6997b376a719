"""The policy as REST shows it (PROTOCOL 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from heartlink.model import Grant, Group, Menu, Role, RoomId, Subject, User
from heartlink.policy import Commit
from heartlink.protocol import iso
from heartlink.rights import EVERYWHERE, membership_grants
from heartlink.rights.changes import AnyChange
from heartlink.rights.policy import Policy

SubjectKind = Literal["user", "role", "group", "everyone", "anonymous"]
Effect = Literal["allow", "deny"]
Source = Literal["grant", "role", "room_role"]

ROLE_GRANT = "role:"
"""How the ids of grants begin that are a role's own permissions: ``role:<key>:<permission>``."""


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """A role; its permissions are grants to it in scope ``*``."""

    key: str
    name: str
    parent: str | None
    permissions: list[str]
    users_count: int


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A group of users."""

    key: str
    name: str
    users_count: int


class GroupMembersView(msgspec.Struct, frozen=True, kw_only=True):
    """A group with the ids of all its members."""

    key: str
    name: str
    users: list[str]


class UserRolesView(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a user's roles."""

    user_id: str
    roles: list[str]


class SubjectView(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a grant speaks of; everyone and anonymous have no ``id``."""

    kind: SubjectKind
    id: str | UnsetType = UNSET


class GrantView(msgspec.Struct, frozen=True, kw_only=True):
    """A grant; ``source`` says what it is part of: itself, a role's permissions, or a role in a room."""

    id: str
    subject: SubjectView
    permission: str
    scope: str
    effect: Effect
    expires_at: str | None
    source: Source = "grant"


class MenuEntryView(msgspec.Struct, frozen=True, kw_only=True):
    """A menu entry with the permission by which it shows."""

    key: str
    name: str
    icon: str
    url: str
    parent: str | None
    sort_order: int
    permission: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the policy: who changed what, when and why; ``before`` is what would undo it."""

    version: int
    at: str
    by: str | None
    by_id: str | None
    why: str
    changes: tuple[AnyChange, ...]
    before: tuple[AnyChange, ...]
    touched_count: int


def role_view(policy: Policy, role: Role) -> RoleView:
    """A role as it is shown."""
    return RoleView(
        key=role.key,
        name=role.name,
        parent=role.parent,
        permissions=list(role.permissions),
        users_count=len(policy.holders_of_role(role.key)),
    )


def group_view(policy: Policy, group: Group) -> GroupView:
    """A group as it is shown."""
    return GroupView(key=group.key, name=group.name, users_count=len(policy.group_members.get(group.key, ())))


def group_members_view(policy: Policy, group: Group) -> GroupMembersView:
    """A group with its members."""
    return GroupMembersView(
        key=group.key, name=group.name, users=sorted(policy.group_members.get(group.key, frozenset()))
    )


def menu_entry_view(menu: Menu) -> MenuEntryView:
    """A menu entry as it is shown to those who change it."""
    return MenuEntryView(**msgspec.structs.asdict(menu))


def grant_view(grant: Grant, source: Source = "grant") -> GrantView:
    """A grant as it is shown."""
    return GrantView(
        id=grant.id,
        subject=SubjectView(kind=grant.subject.kind, id=grant.subject.id or UNSET),
        permission=grant.permission,
        scope=grant.scope,
        effect=grant.effect,
        expires_at=None if grant.expires_at_ms is None else iso(grant.expires_at_ms),
        source=source,
    )


def role_grants(role: Role) -> Iterator[Grant]:
    """A role's own permissions as the grants that they are."""
    for permission in role.permissions:
        yield Grant(id=f"{ROLE_GRANT}{role.key}:{permission}", subject=Subject("role", role.key), permission=permission)


def audit_entry(commit: Commit) -> AuditEntry:
    """A commit as it is shown."""
    return AuditEntry(
        version=commit.version,
        at=iso(commit.at_ms),
        by=commit.by_name or None,
        by_id=commit.by,
        why=commit.why,
        changes=commit.changes,
        before=commit.undo,
        touched_count=len(commit.touched),
    )


def all_grants(policy: Policy, scope: str | None, subject: Subject | None) -> Iterator[tuple[Grant, Source]]:
    """Every grant of a scope and to a subject (None: of all), roles' permissions included.

    Roles in a room are there where the scope of that room is named; to whom they belong is for the caller to look at.
    """
    for grant in policy.grants.values() if subject is None else policy.grants_to(subject):
        if scope is None or grant.scope == scope:
            yield grant, "grant"
    if scope in (None, EVERYWHERE):
        for role in policy.roles.values():
            for grant in role_grants(role):
                yield grant, "role"
    elif scope is not None:
        for member in policy.members_of(RoomId(scope.removeprefix("room:"))).values():
            for grant in membership_grants(member):
                yield grant, "room_role"


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as administrators see it."""

    id: str
    username: str
    display_name: str
    is_active: bool
    is_online: bool
    roles: list[str]
    groups: list[str]
    created_at: str


def person_view(policy: Policy, user: User, *, is_online: bool) -> PersonView:
    """An account as administrators see it."""
    return PersonView(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        is_active=user.is_active,
        is_online=is_online,
        roles=list(policy.roles_of.get(user.id, ())),
        groups=policy.groups_of(user.id),
        created_at=iso(user.created_at_ms),
    )
