"""What a change must be like before it may be committed; each refusal says what is wrong and what to do."""

from __future__ import annotations

import re
from typing import Final

from heartlink.errors import conflict, not_found, unfit
from heartlink.model import Subject
from heartlink.rights.changes import (
    AnyChange,
    DropGrant,
    DropGroup,
    DropMenu,
    DropRole,
    PutGrant,
    PutGroup,
    PutMenu,
    PutRole,
    SetGroupMembers,
    SetMember,
    SetRoles,
)
from heartlink.rights.policy import Policy

KEY: Final = re.compile(r"[\w.-]{1,64}")
PERMISSION: Final = re.compile(r"(\*|[\w-]{1,64})\.(\*|[\w.-]{1,64})")
SCOPE: Final = re.compile(r"\*|room:[^/]{1,100}")
PARENTS_LIMIT: Final = 32
NAME_CHARS: Final = 100
ICON_CHARS: Final = 64
PERMISSIONS_LIMIT: Final = 1000
"""Permissions of one role."""


def check_change(policy: Policy, change: AnyChange, now_ms: int) -> None:
    """Raise the Refusal that keeps a change from being made to a policy."""
    match change:
        case PutRole(role):
            check_key(role.key)
            _check_name(role.name)
            if len(role.permissions) > PERMISSIONS_LIMIT:
                raise unfit("permissions", f"there are more than {PERMISSIONS_LIMIT}")
            for permission in role.permissions:
                check_permission(permission, "permissions")
            _check_role_parent(policy, role.key, role.parent)
        case DropRole(key):
            need(key in policy.roles, f"The role '{key}'")
            is_used = policy.holders_of_role(key) or policy.children_of_role(key)
            _refuse_used(f"role '{key}'", is_used or policy.grants_to(Subject("role", key)))
        case SetRoles(_, roles):
            for key in roles:
                if key not in policy.roles:
                    raise unfit("roles", f"there is no role '{key}'", "Make the role first.")
        case PutGroup(group):
            check_key(group.key)
            _check_name(group.name)
        case SetGroupMembers(key):
            need(key in policy.groups, f"The group '{key}'")
        case DropGroup(key):
            need(key in policy.groups, f"The group '{key}'")
            _refuse_used(f"group '{key}'", policy.group_members.get(key) or policy.grants_to(Subject("group", key)))
        case PutGrant(grant):
            check_permission(grant.permission, "permission")
            check_scope(grant.scope)
            if grant.expires_at_ms is not None and grant.expires_at_ms <= now_ms:
                raise unfit("expires_at", "it lies in the past")
            _check_subject(policy, grant.subject)
        case DropGrant(id):
            need(id in policy.grants, f"The grant '{id}'")
        case PutMenu(menu):
            check_key(menu.key)
            _check_name(menu.name)
            check_permission(menu.permission, "permission")
            _check_url(menu.url)
            if not menu.icon.isprintable() or len(menu.icon) > ICON_CHARS:
                raise unfit("icon", f"it is not up to {ICON_CHARS} visible characters")
            _check_menu_parent(policy, menu.key, menu.parent)
        case DropMenu(key):
            need(key in policy.menus, f"The menu '{key}'")
            _refuse_used(f"menu '{key}'", any(menu.parent == key for menu in policy.menus.values()))
        case SetMember():
            pass


def need(exists: bool, what: str) -> None:
    """Raise ``not_found`` unless something exists."""
    if not exists:
        raise not_found(what)


def _refuse_used(what: str, is_used: object) -> None:
    # Whoever makes the same key again later must not find old holders, children or grants waiting for it.
    if is_used:
        raise conflict(f"The {what} is still used.", "Take back what uses it first, in the same commit or before.")


def check_scope(scope: str) -> None:
    """Raise ``invalid_parameters`` for what is no scope."""
    if not SCOPE.fullmatch(scope):
        raise unfit("scope", "it is neither '*' nor 'room:<id>'")


def check_key(key: str) -> None:
    """Raise ``invalid_parameters`` for a key that could not stand in an address."""
    if not KEY.fullmatch(key) or not key.strip("."):
        raise unfit("key", "it is not 1 to 64 letters, digits, '_', '-' or '.'")


def check_permission(permission: str, field: str) -> None:
    """Raise ``invalid_parameters`` for what is no permission."""
    if not PERMISSION.fullmatch(permission):
        raise unfit(field, f"'{permission[:100]}' is no permission", "Write resource.action, '*' for all of either.")


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_CHARS or not name.isprintable():
        raise unfit("name", f"it is not 1 to {NAME_CHARS} visible characters")


def _check_url(url: str) -> None:
    # A menu is a link in everybody's page: a script must not be put there.
    if url and not re.match(r"(/(?!/)|https?://)", url):
        raise unfit("url", "it is neither a path of this site nor an http address")
    # Browsers read a backslash as a slash: '/\\elsewhere' would be another site.
    if len(url) > 1000 or not url.isprintable() or " " in url or "\\" in url:
        raise unfit("url", "it is too long, or has characters that no address has")


def _check_role_parent(policy: Policy, key: str, parent: str | None) -> None:
    if parent is None:
        return
    if parent not in policy.roles and parent != key:
        raise unfit("parent", f"there is no role '{parent}'", "Make the parent first.")
    line = [parent] if parent == key else policy.lineage(parent)
    _refuse_circle(key, line)
    if len(line) >= PARENTS_LIMIT:
        raise unfit("parent", f"roles would inherit more than {PARENTS_LIMIT} deep")


def _check_menu_parent(policy: Policy, key: str, parent: str | None) -> None:
    line: list[str] = []
    step = parent
    while step is not None and step not in line:
        if step not in policy.menus and step != key:
            raise unfit("parent", f"there is no menu '{step}'", "Make the parent first.")
        line.append(step)
        step = policy.menus[step].parent if step in policy.menus and step != key else None
    _refuse_circle(key, line)


def _refuse_circle(key: str, line: list[str]) -> None:
    if key in line:
        circle = " → ".join([key, *line[: line.index(key) + 1]])
        raise conflict(f"That would be a circle: {circle}.", "Choose another parent.", {"parent": circle})


def _check_subject(policy: Policy, subject: Subject) -> None:
    known = {"user": policy.users, "role": policy.roles, "group": policy.groups}.get(subject.kind)
    if known is None:
        if subject.id:
            raise unfit("subject", f"'{subject.kind}' has no id")
    elif subject.id not in known:
        raise unfit("subject", f"there is no {subject.kind} '{subject.id[:64]}'")
