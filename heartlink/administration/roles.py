"""Wishes about roles, and about who has them."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from heartlink.administration.views import RoleView, UserRolesView, role_view
from heartlink.administration.wishes import Names, NewRole, NewRoles, RoleChanges, Wish, shown
from heartlink.errors import conflict, not_found, too_large
from heartlink.model import Role, Subject, UserId
from heartlink.rights.changes import AnyChange, DropGrant, DropRole, PutRole, SetRoles
from heartlink.rights.policy import Policy

ROLES_LIMIT: Final = 1000


class CreateRole(Wish):
    """A new role."""

    def __init__(self, body: NewRole) -> None:
        self._role = Role(
            key=body.key,
            name=body.name.strip() or body.key,
            parent=body.parent,
            permissions=tuple(dict.fromkeys(body.permissions)),
        )

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """Unless its key is taken."""
        if self._role.key in policy.roles:
            raise conflict(f"There is a role '{self._role.key}'.", "Choose another key.", {"key": "taken"})
        if len(policy.roles) >= ROLES_LIMIT:
            raise too_large("The number of roles", f"{ROLES_LIMIT} roles")
        return [PutRole(self._role)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"made the role {self._role.key} with {shown(self._role.permissions)}"

    def outcome(self, policy: Policy) -> RoleView:
        """The role."""
        return role_view(policy, policy.roles.get(self._role.key, self._role))


class UpdateRole(Wish):
    """Another state of a role."""

    def __init__(self, key: str, body: RoleChanges) -> None:
        self._key = key
        self._body = body

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """What is named is changed."""
        known, body = policy.roles.get(self._key), self._body
        if known is None:
            raise not_found(f"The role '{self._key}'", "See /api/roles for those that exist.")
        wanted = Role(
            key=known.key,
            name=known.name if body.name is UNSET else body.name.strip(),
            parent=known.parent if body.parent is UNSET else body.parent,
            permissions=known.permissions if body.permissions is UNSET else tuple(dict.fromkeys(body.permissions)),
        )
        return [] if wanted == known else [PutRole(wanted)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"changed the role {self._key}"

    def outcome(self, policy: Policy) -> RoleView:
        """The role as it is now."""
        known = policy.roles.get(self._key)
        if known is None:
            raise not_found(f"The role '{self._key}'")
        return role_view(policy, known)


class DeleteRole(Wish):
    """A role is no more: nobody has it, its children inherit from its parent, its grants are dropped."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._last: RoleView | None = None

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """All in one commit."""
        role = policy.roles.get(self._key)
        if role is None:
            raise not_found(f"The role '{self._key}'", "See /api/roles for those that exist.")
        self._last = role_view(policy, role)
        changes: list[AnyChange] = [
            PutRole(msgspec.structs.replace(policy.roles[child], parent=role.parent))
            for child in sorted(policy.children_of_role(role.key))
        ]
        for user_id in sorted(policy.holders_of_role(role.key)):
            kept = tuple(key for key in policy.roles_of[user_id] if key != role.key)
            changes.append(SetRoles(user_id, kept))
        changes += [DropGrant(grant.id) for grant in policy.grants_to(Subject("role", role.key))]
        return [*changes, DropRole(role.key)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        return f"deleted the role {self._key}"

    def outcome(self, policy: Policy) -> RoleView:
        """The role as it was."""
        if self._last is None:
            raise not_found(f"The role '{self._key}'")
        return self._last


class AssignRoles(Wish):
    """The roles of a user, all of them."""

    def __init__(self, user_id: str, body: NewRoles) -> None:
        self._user_id = UserId(user_id)
        self._roles = tuple(dict.fromkeys(body.roles))

    def mentions(self, policy: Policy) -> tuple[UserId, ...]:
        """Whose roles they are."""
        return (self._user_id,)

    def propose(self, policy: Policy, now_ms: int) -> list[AnyChange]:
        """Unless they have just these."""
        if self._user_id not in policy.users:
            raise not_found("This user", "See /api/admin/users for those that exist.")
        same = policy.roles_of.get(self._user_id, ()) == self._roles
        return [] if same else [SetRoles(self._user_id, self._roles)]

    def reason(self, names: Names) -> str:
        """As told to people."""
        roles = f"the roles {shown(self._roles)}" if self._roles else "no roles"
        return f"gave {names(self._user_id)} {roles}"

    def outcome(self, policy: Policy) -> UserRolesView:
        """The user's roles as they are now."""
        return UserRolesView(user_id=self._user_id, roles=list(policy.roles_of.get(self._user_id, ())))
