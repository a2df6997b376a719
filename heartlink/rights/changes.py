"""What can be changed of the policy. A commit is made of these; each knows enough to be applied, and to be undone."""

from __future__ import annotations

import msgspec

from heartlink.model import Grant, Group, Menu, Role, RoomId, RoomRole, UserId


class Change(msgspec.Struct, frozen=True, tag_field="change"):
    """Base of all changes."""


class PutRole(Change, frozen=True, tag="put_role"):
    """A role, new or with another state."""

    role: Role


class DropRole(Change, frozen=True, tag="drop_role"):
    """A role is no more; nobody may have it or inherit from it."""

    key: str


class SetRoles(Change, frozen=True, tag="set_roles"):
    """The roles of a user, all of them."""

    user_id: UserId
    roles: tuple[str, ...]


class PutGroup(Change, frozen=True, tag="put_group"):
    """A group, new or with another name."""

    group: Group


class DropGroup(Change, frozen=True, tag="drop_group"):
    """A group is no more."""

    key: str


class SetGroupMembers(Change, frozen=True, tag="set_group_members"):
    """The members of a group, all of them."""

    key: str
    users: tuple[UserId, ...]


class PutGrant(Change, frozen=True, tag="put_grant"):
    """A grant."""

    grant: Grant


class DropGrant(Change, frozen=True, tag="drop_grant"):
    """A grant is taken back, or has expired."""

    id: str


class PutMenu(Change, frozen=True, tag="put_menu"):
    """A menu entry, new or with another state."""

    menu: Menu


class DropMenu(Change, frozen=True, tag="drop_menu"):
    """A menu entry is no more."""

    key: str


class SetMember(Change, frozen=True, tag="set_member"):
    """A user's role in a room, which is grants in that room's scope; None: none."""

    room_id: RoomId
    user_id: UserId
    role: RoomRole | None
    joined_at_ms: int = 0


AnyChange = (
    PutRole
    | DropRole
    | SetRoles
    | PutGroup
    | DropGroup
    | SetGroupMembers
    | PutGrant
    | DropGrant
    | PutMenu
    | DropMenu
    | SetMember
)
