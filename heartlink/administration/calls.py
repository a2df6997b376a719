"""Which REST call is which wish: one table for the handlers and for the preview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, UnsetType

from heartlink.administration.grants import CreateGrant, DeleteGrant
from heartlink.administration.groups import (
    CreateGroup,
    CreateMenu,
    DeleteGroup,
    DeleteMenu,
    SetGroupUsers,
    UpdateMenu,
)
from heartlink.administration.roles import AssignRoles, CreateRole, DeleteRole, UpdateRole
from heartlink.administration.wishes import (
    Body,
    MenuChanges,
    NewGrant,
    NewGroup,
    NewGroupMembers,
    NewMenu,
    NewRole,
    NewRoles,
    RoleChanges,
    Wish,
)
from heartlink.errors import unfit
from heartlink.protocol import explain_mismatch

CHANGES_LIMIT: Final = 100
"""Changes in one preview."""


class Call(NamedTuple):
    """One row: method and address (``*`` is its variable part), the type of the body, and what makes the wish."""

    method: str
    path: str
    body: type[Body]
    wish: Callable[[str, Any, int], Wish]


CALLS: Final = (
    Call("POST", "/api/roles", NewRole, lambda _, body, now_ms: CreateRole(body)),
    Call("PATCH", "/api/roles/*", RoleChanges, lambda key, body, now_ms: UpdateRole(key, body)),
    Call("DELETE", "/api/roles/*", Body, lambda key, body, now_ms: DeleteRole(key)),
    Call("PUT", "/api/users/*/roles", NewRoles, lambda key, body, now_ms: AssignRoles(key, body)),
    Call("POST", "/api/grants", NewGrant, lambda _, body, now_ms: CreateGrant(body, now_ms)),
    Call("DELETE", "/api/grants/*", Body, lambda key, body, now_ms: DeleteGrant(key)),
    Call("POST", "/api/menus", NewMenu, lambda _, body, now_ms: CreateMenu(body)),
    Call("PATCH", "/api/menus/*", MenuChanges, lambda key, body, now_ms: UpdateMenu(key, body)),
    Call("DELETE", "/api/menus/*", Body, lambda key, body, now_ms: DeleteMenu(key)),
    Call("POST", "/api/groups", NewGroup, lambda _, body, now_ms: CreateGroup(body)),
    Call("DELETE", "/api/groups/*", Body, lambda key, body, now_ms: DeleteGroup(key)),
    Call("PUT", "/api/groups/*/members", NewGroupMembers, lambda key, body, now_ms: SetGroupUsers(key, body)),
)


class WantedChange(msgspec.Struct, frozen=True):
    """A REST call of the policy, as it would be made: method, path, and the body, if it has one."""

    method: str
    path: str
    body: msgspec.Raw | UnsetType = UNSET


def call_for(method: str, path: str) -> tuple[Call, str] | None:
    """The row of a call and its variable part; None for what changes no policy."""
    parts = path.partition("?")[0].rstrip("/").split("/")
    for call in CALLS:
        wanted = call.path.split("/")
        if call.method != method.upper() or len(wanted) != len(parts):
            continue
        if all(one in ("*", other) for one, other in zip(wanted, parts, strict=True)):
            variable = [part for one, part in zip(wanted, parts, strict=True) if one == "*"]
            return call, unquote(variable[0]) if variable else ""
    return None


def wish_of(wanted: WantedChange, index: int, now_ms: int) -> Wish:
    """The wish behind a call; raises ``invalid_parameters`` that says which of the calls does not fit, and why."""
    found = call_for(wanted.method, wanted.path)
    if found is None:
        reason = f"'{wanted.method[:10]} {wanted.path[:100]}' changes no policy"
        raise unfit(f"changes[{index}]", reason, "Send calls of roles, users' roles, grants, menus and groups.")
    call, variable = found
    text = b"{}" if wanted.body is UNSET else bytes(wanted.body)
    try:
        body = msgspec.json.decode(b"{}" if text == b"null" else text, type=call.body)
    except msgspec.ValidationError as error:
        raise explain_mismatch(error, f"changes[{index}].body") from None
    return call.wish(variable, body, now_ms)
