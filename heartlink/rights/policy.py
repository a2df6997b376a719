"""The policy in memory: roles, groups, grants, menus, memberships; pure, changed by changes only.

:meth:`Policy.apply` returns the change that undoes it. :meth:`Policy.reach` says whom a change can touch, so that a
commit costs nothing for everybody else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from heartlink.model import Grant, Group, Member, Menu, Role, RoomId, Subject, UserId
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
from heartlink.rights.deltas import Delta, Effective, Who
from heartlink.rights.entries import EVERYWHERE, normal_form
from heartlink.rights.grants import ANONYMOUS, EVERYONE, Rights, membership_grants
from heartlink.rights.patterns import names_of


class Policy:
    """Who holds what. All collections are indexed by what is asked of them."""

    def __init__(self) -> None:
        self.users: set[UserId] = set()
        """Everybody who has an account: whom *everyone* means."""
        self.roles: dict[str, Role] = {}
        self.groups: dict[str, Group] = {}
        self.grants: dict[str, Grant] = {}
        self.menus: dict[str, Menu] = {}
        self.roles_of: dict[UserId, tuple[str, ...]] = {}
        self.group_members: dict[str, frozenset[UserId]] = {}
        self._groups_of: defaultdict[UserId, set[str]] = defaultdict(set)
        self._holders: defaultdict[str, set[UserId]] = defaultdict(set)
        self._children: defaultdict[str, set[str]] = defaultdict(set)
        self._by_subject: defaultdict[Subject, dict[str, Grant]] = defaultdict(dict)
        self._memberships: defaultdict[UserId, dict[RoomId, Member]] = defaultdict(dict)
        self._subjects_by_pattern: defaultdict[str, Counter[Subject]] = defaultdict(Counter)
        self._members: defaultdict[RoomId, dict[UserId, Member]] = defaultdict(dict)
        self._rights: dict[Who, Rights] = {}
        self._effective: dict[Who, Effective] = {}

    # Asking

    def rights(self, who: Who) -> Rights:
        """Everything that a subject was allowed and denied; remembered until a change touches them."""
        found = self._rights.get(who)
        if found is None:
            found = self._rights[who] = Rights.of(self.grants_of(who))
        return found

    def fresh(self, who: Who) -> Effective:
        """What a subject's rights come to now, whatever is remembered; nothing is."""
        rights = Rights.of(self.grants_of(who))
        roles = () if who is None else self.roles_of.get(who, ())
        return Effective(roles, normal_form(rights.said), self._shown_to(rights))

    def grants_of(self, who: Who) -> Iterator[Grant]:
        """Every grant that speaks of a subject, those of roles and memberships included."""
        for subject in self.subjects_of(who):
            yield from self._by_subject.get(subject, {}).values()
        if who is not None:
            for key in self.all_roles_of(who):
                for permission in self.roles[key].permissions:
                    yield Grant(id=f"role:{key}:{permission}", subject=Subject("role", key), permission=permission)
            for member in self._memberships.get(who, {}).values():
                yield from membership_grants(member)

    def subjects_of(self, who: Who) -> list[Subject]:
        """The subjects whose grants count for somebody."""
        if who is None:
            return [ANONYMOUS]
        roles = [Subject("role", key) for key in self.all_roles_of(who)]
        groups = [Subject("group", key) for key in sorted(self._groups_of.get(who, ()))]
        return [Subject("user", who), EVERYONE, *roles, *groups]

    def all_roles_of(self, who: UserId) -> list[str]:
        """A user's roles with all that they inherit from, nearest first, each once."""
        found: dict[str, None] = {}
        for key in self.roles_of.get(who, ()):
            found |= dict.fromkeys(self.lineage(key))
        return list(found)

    def lineage(self, key: str) -> list[str]:
        """A role and those it inherits from, nearest first."""
        line: list[str] = []
        step: str | None = key
        while step is not None and step in self.roles and step not in line:
            line.append(step)
            step = self.roles[step].parent
        return line

    def groups_of(self, who: UserId) -> list[str]:
        """The keys of a user's groups."""
        return sorted(self._groups_of.get(who, ()))

    def memberships_of(self, who: UserId) -> Mapping[RoomId, Member]:
        """A user's role in each room."""
        return self._memberships.get(who, {})

    def membership_behind(self, who: UserId, grant: Grant) -> Member | None:
        """The membership that one of its grants is part of."""
        members = self._memberships.get(who, {}).values()
        return next((member for member in members if grant in membership_grants(member)), None)

    def menus_of(self, who: Who) -> tuple[Menu, ...]:
        """The menu entries that show to a subject, in order."""
        return self._shown_to(self.rights(who))

    def _shown_to(self, rights: Rights) -> tuple[Menu, ...]:
        shown = [menu for menu in self.menus.values() if rights.allows(menu.permission, EVERYWHERE)]
        return tuple(sorted(shown, key=lambda menu: (menu.sort_order, menu.key)))

    def effective(self, who: Who) -> Effective:
        """What a subject's rights come to; remembered until a change touches them."""
        found = self._effective.get(who)
        if found is None:
            roles = () if who is None else self.roles_of.get(who, ())
            entries = normal_form(self.rights(who).said)
            found = self._effective[who] = Effective(roles, entries, self.menus_of(who))
        return found

    def members_of(self, room_id: RoomId) -> Mapping[UserId, Member]:
        """Everybody who belongs to a room, in the order in which they came; follows every change."""
        return self._members[room_id]

    def holders_of_role(self, key: str) -> frozenset[UserId]:
        """Everybody who was given a role itself, not one that inherits from it."""
        return frozenset(self._holders.get(key, ()))

    def children_of_role(self, key: str) -> frozenset[str]:
        """The roles whose parent is this one."""
        return frozenset(self._children.get(key, ()))

    def grants_to(self, subject: Subject) -> list[Grant]:
        """The grants that name a subject."""
        return list(self._by_subject.get(subject, {}).values())

    # Changing

    def add_user(self, user_id: UserId) -> None:
        """Somebody has an account; what was found of them before that may lack what everyone got meanwhile."""
        self.users.add(user_id)
        self._rights.pop(user_id, None)
        self._effective.pop(user_id, None)

    def change(self, changes: Sequence[AnyChange], known: Sequence[Delta] | None = None) -> list[Delta]:
        """Apply changes together; the deltas of those whose effective rights, roles or menus they changed.

        Who has worked the deltas out already (on this very state) gives them as ``known``.
        """
        if known is not None:
            for step in changes:
                self.apply(step)
            self._effective.update((delta.who, delta.new) for delta in known)
            return list(known)
        # Whoever comes within reach of one change by another of the same commit is within reach of that other.
        touched = set[Who]().union(*map(self.reach, changes))
        old = {who: self.effective(who) for who in touched}
        for step in changes:
            self.apply(step)
        deltas = [Delta(who, old[who], self.effective(who)) for who in touched]
        return [delta for delta in deltas if delta.old != delta.new]

    @contextmanager
    def tried(self, changes: Iterable[AnyChange], check: Callable[[AnyChange], None]) -> Iterator[list[AnyChange]]:
        """Changes made for the length of a block, each checked first; gives what undoes them.

        What is remembered of people stays as it was before: within the block ask :meth:`fresh`, and do not wait.
        """
        undo: list[AnyChange] = []
        try:
            for change in changes:
                check(change)
                undo.insert(0, self._make(change))
            yield undo
        finally:
            for step in undo:
                self._make(step)

    def apply(self, change: AnyChange) -> AnyChange:
        """Make one change; returns the change that undoes it. What was remembered of those it reaches is forgotten."""
        reached = self.reach(change)
        undo = self._make(change)
        for who in reached | self.reach(change):
            self._rights.pop(who, None)
            self._effective.pop(who, None)
        return undo

    def reach(self, change: AnyChange) -> set[Who]:
        """Everybody whose effective rights, roles or menus a change can touch."""
        match change:
            case PutRole(role):
                return set(self._people_of(Subject("role", role.key)))
            case DropRole(key):
                return set(self._people_of(Subject("role", key)))
            case SetRoles(user_id) | SetMember(_, user_id):
                return {user_id}
            case PutGroup() | DropGroup():
                return set()
            case SetGroupMembers(key, users):
                return set(self.group_members.get(key, frozenset()).symmetric_difference(users))
            case PutGrant(grant):
                known = self.grants.get(grant.id)
                return {*self._people_of(grant.subject), *(self._people_of(known.subject) if known else ())}
            case DropGrant(id):
                known = self.grants.get(id)
                return set(self._people_of(known.subject)) if known else set()
            case PutMenu(menu):
                shown = self.menus.get(menu.key)
                return self.concerned_by(menu.permission) | (self.concerned_by(shown.permission) if shown else set())
            case DropMenu(key):
                shown = self.menus.get(key)
                return self.concerned_by(shown.permission) if shown else set()

    def _people_of(self, subject: Subject) -> Iterable[Who]:
        """Everybody of whom a grant to a subject speaks."""
        match subject.kind:
            case "user":
                return (UserId(subject.id),)
            case "role":
                return set().union(*(self._holders.get(key, set()) for key in self._heirs(subject.id)))
            case "group":
                return self.group_members.get(subject.id, frozenset())
            case "everyone":
                return self.users
            case "anonymous":
                return (None,)

    def _heirs(self, key: str) -> set[str]:
        """A role and all that inherit from it."""
        found, new = {key}, [key]
        while new:
            new = [child for parent in new for child in self._children.get(parent, ()) if child not in found]
            found.update(new)
        return found

    def concerned_by(self, permission: str) -> set[Who]:
        """Everybody to whom some grant everywhere gives, or denies, a permission."""
        found: set[Who] = set()
        for name in names_of(permission):
            for subject in self._subjects_by_pattern.get(name, ()):
                found.update(self._people_of(subject))
        return found

    def _make(self, change: AnyChange) -> AnyChange:
        match change:
            case PutRole(role):
                known = self.roles.get(role.key)
                self._forget_role(known)
                self.roles[role.key] = role
                if role.parent is not None:
                    self._children[role.parent].add(role.key)
                for permission in role.permissions:
                    self._subjects_by_pattern[permission][Subject("role", role.key)] += 1
                return PutRole(known) if known else DropRole(role.key)
            case DropRole(key):
                known = self.roles.pop(key)
                self._forget_role(known)
                return PutRole(known)
            case SetRoles(user_id, roles):
                before = self.roles_of.pop(user_id, ())
                for key in before:
                    self._holders[key].discard(user_id)
                if roles:
                    self.roles_of[user_id] = roles
                for key in roles:
                    self._holders[key].add(user_id)
                return SetRoles(user_id, before)
            case PutGroup(group):
                other = self.groups.get(group.key)
                self.groups[group.key] = group
                return PutGroup(other) if other else DropGroup(group.key)
            case DropGroup(key):
                return PutGroup(self.groups.pop(key))
            case SetGroupMembers(key, users):
                members = self.group_members.pop(key, frozenset())
                for user_id in members:
                    self._groups_of[user_id].discard(key)
                self.group_members[key] = frozenset(users)
                for user_id in users:
                    self._groups_of[user_id].add(key)
                return SetGroupMembers(key, tuple(sorted(members)))
            case PutGrant(grant):
                held = self.grants.get(grant.id)
                if held is not None:
                    self._forget_grant(held)
                self.grants[grant.id] = grant
                self._by_subject[grant.subject][grant.id] = grant
                if grant.scope == EVERYWHERE:
                    self._subjects_by_pattern[grant.permission][grant.subject] += 1
                return PutGrant(held) if held else DropGrant(grant.id)
            case DropGrant(id):
                held = self.grants.pop(id)
                self._forget_grant(held)
                return PutGrant(held)
            case PutMenu(menu):
                shown = self.menus.get(menu.key)
                self.menus[menu.key] = menu
                return PutMenu(shown) if shown else DropMenu(menu.key)
            case DropMenu(key):
                return PutMenu(self.menus.pop(key))
            case SetMember(room_id, user_id, role, joined_at_ms):
                member = self._memberships[user_id].pop(room_id, None)
                if role is not None:
                    made = Member(room_id=room_id, user_id=user_id, role=role, joined_at_ms=joined_at_ms)
                    self._memberships[user_id][room_id] = self._members[room_id][user_id] = made
                else:
                    self._members[room_id].pop(user_id, None)
                if member is None:
                    return SetMember(room_id, user_id, None)
                return SetMember(room_id, user_id, member.role, member.joined_at_ms)

    def _forget_role(self, role: Role | None) -> None:
        if role is None:
            return
        if role.parent is not None:
            self._children[role.parent].discard(role.key)
        for permission in role.permissions:
            self._forget_pattern(permission, Subject("role", role.key))

    def _forget_grant(self, grant: Grant) -> None:
        self._by_subject[grant.subject].pop(grant.id, None)
        if grant.scope == EVERYWHERE:
            self._forget_pattern(grant.permission, grant.subject)

    def _forget_pattern(self, permission: str, subject: Subject) -> None:
        subjects = self._subjects_by_pattern[permission]
        subjects[subject] -= 1
        if not subjects[subject]:
            del subjects[subject]
