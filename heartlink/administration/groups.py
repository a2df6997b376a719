"""Wishes about groups and menus."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from heartlink.administration.views import (
    GroupMembersView,
    GroupView,
    MenuEntryView,
    group_members_view,
    group_view,
    menu_entry_view,
)
from heartlink.administration.wishes import MenuChanges, Names, NewGroup, NewGroupMembers, NewMenu, Wish
from heartlink.errors import Refusal, conflict, not_found, too_large, unfit
from heartlink.model import Group, Menu, Subject, UserId
from heartlink.rights.changes import (
    AnyChange,
    DropGrant,
    DropGroup,
    DropMenu,
    PutGroup,
    PutMenu,
    SetGroupMembers,
)
from heartlink.rights.policy import Policy

GROUPS_LIMIT: Final = 1000
MENUS_LIMIT: Final = 500


class CreateGroup(Wish):
    """A new group, without members."""

    def __init__(self, body: NewGroup) -> None:
        self._group = Group(key=body.key, name=body.name.strip() or body.key)

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """Unless its key is taken."""
        if self._group.key in policy.groups:
            raise conflict(f"There is a group '{self._group.key}'.", "Choose another key.", {"key": "taken"})
        if len(policy.groups) >= GROUPS_LIMIT:
            raise too_large("The number of groups", f"{GROUPS_LIMIT} groups")
        return [PutGroup(self._group)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"made the group {self._group.key}"

    def outcome(self, policy: Policy) -> GroupView:
        """The group."""
        return group_view(policy, self._group)


class SetGroupUsers(Wish):
    """The members of a group, all of them."""

    def __init__(self, key: str, body: NewGroupMembers) -> None:
        self._key = key
        self._users = tuple(sorted({UserId(user_id) for user_id in body.users}))

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """Unless they are members already, and nobody else."""
        if self._key not in policy.groups:
            raise _no_group(self._key)
        unknown = [user_id for user_id in self._users if user_id not in policy.users]
        if unknown:
            raise unfit("users", f"there is no user '{unknown[0][:64]}'", "Send ids of users, as /api/users has them.")
        same = policy.group_members.get(self._key, frozenset()) == frozenset(self._users)
        return [] if same else [SetGroupMembers(self._key, self._users)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"changed the members of the group {self._key}"

    def outcome(self, policy: Policy) -> GroupMembersView:
        """The group with its members."""
        return group_members_view(policy, policy.groups.get(self._key, Group(key=self._key, name=self._key)))


class DeleteGroup(Wish):
    """A group is no more: nobody is in it, its grants are dropped."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._last: GroupView | None = None

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """All in one commit."""
        group = policy.groups.get(self._key)
        if group is None:
            raise _no_group(self._key)
        self._last = group_view(policy, group)
        changes: list[AnyChange] = []
        if policy.group_members.get(group.key):
            changes.append(SetGroupMembers(group.key, ()))
        changes += [DropGrant(grant.id) for grant in policy.grants_to(Subject("group", group.key))]
        return [*changes, DropGroup(group.key)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"deleted the group {self._key}"

    def outcome(self, policy: Policy) -> GroupView:
        """The group as it was."""
        if self._last is None:
            raise _no_group(self._key)
        return self._last


class CreateMenu(Wish):
    """A new menu entry."""

    def __init__(self, body: NewMenu) -> None:
        self._menu = Menu(
            key=body.key,
            name=body.name.strip(),
            icon=body.icon,
            url=body.url,
            parent=body.parent,
            sort_order=body.sort_order,
            permission=f"menu.{body.key}" if body.permission is None else body.permission,
        )

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """Unless its key is taken."""
        if self._menu.key in policy.menus:
            raise conflict(f"There is a menu '{self._menu.key}'.", "Choose another key.", {"key": "taken"})
        if len(policy.menus) >= MENUS_LIMIT:
            raise too_large("The number of menus", f"{MENUS_LIMIT} menus")
        return [PutMenu(self._menu)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"made the menu {self._menu.name}"

    def outcome(self, policy: Policy) -> MenuEntryView:
        """The menu entry."""
        return menu_entry_view(self._menu)


class UpdateMenu(Wish):
    """Another state of a menu entry."""

    def __init__(self, key: str, body: MenuChanges) -> None:
        self._key = key
        self._body = body

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """What is named is changed."""
        known = policy.menus.get(self._key)
        if known is None:
            raise _no_menu(self._key)
        fields = ("name", "icon", "url", "parent", "sort_order", "permission")
        named = {field: value for field in fields if (value := getattr(self._body, field)) is not UNSET}
        if "name" in named:
            named["name"] = named["name"].strip()
        wanted = msgspec.structs.replace(known, **named)
        return [] if wanted == known else [PutMenu(wanted)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"changed the menu {self._key}"

    def outcome(self, policy: Policy) -> MenuEntryView:
        """The menu entry as it is now."""
        known = policy.menus.get(self._key)
        if known is None:
            raise _no_menu(self._key)
        return menu_entry_view(known)


class DeleteMenu(Wish):
    """A menu entry is no more; those below it go to where it was."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._last: MenuEntryView | None = None

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """All in one commit."""
        menu = policy.menus.get(self._key)
        if menu is None:
            raise _no_menu(self._key)
        self._last = menu_entry_view(menu)
        below = [other for other in policy.menus.values() if other.parent == menu.key]
        moved: list[AnyChange] = [PutMenu(msgspec.structs.replace(other, parent=menu.parent)) for other in below]
        return [*moved, DropMenu(menu.key)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"deleted the menu {self._last.name if self._last else self._key}"

    def outcome(self, policy: Policy) -> MenuEntryView:
        """The menu entry as it was."""
        if self._last is None:
            raise _no_menu(self._key)
        return self._last


def _no_group(key: str) -> Refusal:
    return not_found(f"The group '{key[:64]}'", "See /api/groups for those that exist.")


def _no_menu(key: str) -> Refusal:
    return not_found(f"The menu '{key[:64]}'", "See /api/menus for those that exist.")
