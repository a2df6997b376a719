"""Changes of the policy at random, all kinds of them, each valid for the policy as it is."""

from __future__ import annotations

import random
from collections.abc import Callable

from heartlink.model import Grant, Group, Menu, Role, RoomId, RoomRole, Subject, UserId
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

KEYS = ("a", "b", "c", "d")
ROOMS = ("r1", "r2")
SCOPES = ("*", "room:r1", "room:r2")
PERMISSIONS = ("chat.read", "chat.send", "chat.*", "*.read", "*.*", "menu.m1", "menu.m2", "menu.*", "report.read")
ROOM_ROLES: tuple[RoomRole | None, ...] = ("owner", "admin", "member", "guest", None)


class RandomChanges:
    """Makes up changes for some users; ``clock`` gives timed grants their end."""

    def __init__(self, seed: int, users: list[UserId], clock: Callable[[], int]) -> None:
        self.random = random.Random(seed)
        self._users = users
        self._clock = clock
        self._kinds = (
            self._put_role,
            self._drop_role,
            self._set_roles,
            self._set_roles,
            self._put_group,
            self._drop_group,
            self._set_group_members,
            self._put_grant,
            self._put_grant,
            self._put_grant,
            self._drop_grant,
            self._put_menu,
            self._drop_menu,
            self._set_member,
            self._set_member,
        )

    def propose(self, policy: Policy) -> list[AnyChange]:
        """One to three changes together; each was tried on the policy as the ones before leave it, and taken back."""
        changes: list[AnyChange] = []
        undo: list[AnyChange] = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            change = self.random.choice(self._kinds)(policy)
            if change is not None:
                changes.append(change)
                undo.insert(0, policy.apply(change))
        for change in undo:
            policy.apply(change)
        return changes

    def _some(self, things: tuple[str, ...] | list[UserId], most: int = 2) -> tuple[str, ...]:
        return tuple(self.random.sample(things, self.random.randint(0, min(most, len(things)))))

    def _one(self, things: object) -> str | None:
        found = sorted(things)  # type: ignore[call-overload]
        return self.random.choice(found) if found else None

    def _put_role(self, policy: Policy) -> AnyChange:
        key = self.random.choice(KEYS)
        # Parents are earlier in the alphabet, so that no circle is asked for.
        parents = [other for other in KEYS if other < key and other in policy.roles]
        parent = self.random.choice([None, *parents])
        return PutRole(Role(key=key, name=key, parent=parent, permissions=self._some(PERMISSIONS)))

    def _drop_role(self, policy: Policy) -> AnyChange | None:
        unused = [
            key
            for key in KEYS
            if key in policy.roles
            and not any(key in roles for roles in policy.roles_of.values())
            and not any(role.parent == key for role in policy.roles.values())
            and not any(grant.subject == Subject("role", key) for grant in policy.grants.values())
        ]
        return DropRole(self.random.choice(unused)) if unused else None

    def _set_roles(self, policy: Policy) -> AnyChange:
        known = [key for key in KEYS if key in policy.roles]
        return SetRoles(self.random.choice(self._users), self._some(tuple(known)))

    def _put_group(self, policy: Policy) -> AnyChange:
        return PutGroup(Group(key=self.random.choice(KEYS), name=f"group {self.random.random()}"))

    def _drop_group(self, policy: Policy) -> AnyChange | None:
        key = self._one(
            key
            for key in policy.groups
            if not policy.group_members.get(key)
            and not any(grant.subject == Subject("group", key) for grant in policy.grants.values())
        )
        return None if key is None else DropGroup(key)

    def _set_group_members(self, policy: Policy) -> AnyChange | None:
        key = self._one(policy.groups)
        members = tuple(UserId(user_id) for user_id in self._some(self._users, 3))
        return None if key is None else SetGroupMembers(key, members)

    def _put_grant(self, policy: Policy) -> AnyChange:
        subjects = [Subject("user", user_id) for user_id in self._users]
        subjects += [Subject("role", key) for key in KEYS if key in policy.roles]
        subjects += [Subject("group", key) for key in sorted(policy.groups)]
        subjects += [Subject("everyone"), Subject("anonymous"), Subject("anonymous")]
        lasts_ms = self.random.choice((None, None, 20, 120, 600_000))
        return PutGrant(
            Grant(
                id=f"grant-{self.random.randint(1, 12)}",
                subject=self.random.choice(subjects),
                permission=self.random.choice(PERMISSIONS),
                scope=self.random.choice(SCOPES),
                effect=self.random.choice(("allow", "allow", "deny")),
                expires_at_ms=None if lasts_ms is None else self._clock() + lasts_ms,
            )
        )

    def _drop_grant(self, policy: Policy) -> AnyChange | None:
        key = self._one(policy.grants)
        return None if key is None else DropGrant(key)

    def _put_menu(self, policy: Policy) -> AnyChange:
        key = self.random.choice(KEYS)
        parents = [other for other in KEYS if other < key and other in policy.menus]
        permission = self.random.choice(("menu.m1", "menu.m2", "report.read", "menu.*"))
        return PutMenu(
            Menu(
                key=key,
                name=f"Menu {self.random.randint(1, 2)}",
                permission=permission,
                parent=self.random.choice([None, *parents]),
                sort_order=self.random.randint(1, 3),
            )
        )

    def _drop_menu(self, policy: Policy) -> AnyChange | None:
        key = self._one(
            key for key in KEYS if key in policy.menus and not any(m.parent == key for m in policy.menus.values())
        )
        return None if key is None else DropMenu(key)

    def _set_member(self, policy: Policy) -> AnyChange:
        room_id, user_id = RoomId(self.random.choice(ROOMS)), self.random.choice(self._users)
        return SetMember(room_id, user_id, self.random.choice(ROOM_ROLES), self._clock())
