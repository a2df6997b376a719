"""The policy against a slow and obvious one written for this test: what is allowed, what changes, what is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartlink.errors import Refusal
from heartlink.model import Grant, Group, Menu, Role, RoomId, RoomRole, Subject, UserId
from heartlink.rights import ROLE_PERMISSIONS, Rights
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
from heartlink.rights.checking import check_change
from heartlink.rights.deltas import Effective, Who
from heartlink.rights.explaining import explain
from heartlink.rights.policy import Policy

steadily = settings(deadline=None)
"""Whether something is right does not depend on how busy the machine is."""

NOW = 1_000
USERS = [UserId("ann"), UserId("bob"), UserId("cyn")]
EVERYBODY: list[Who] = [*USERS, None]
KEYS = ["a", "b", "c", "d"]
ROOMS = [RoomId("tea"), RoomId("go")]
SCOPES = ["*", "room:tea", "room:go"]
PATTERNS = ["chat.read", "chat.send", "chat.*", "news.read", "*.read", "*.send", "*.*", "menu.a"]
# Names that stand in no pattern are there as well: a wildcard speaks of them too.
PROBES = [
    *(f"{resource}.{action}" for resource in ("chat", "news", "menu", "x") for action in ("read", "send", "a", "x")),
    *(f"room.{action}" for action in ("invite", "update", "remove", "x", "read", "send")),
]
PLACES = [*SCOPES, "room:elsewhere"]


# The slow and obvious policy


class World:
    """Plain data, read anew for every question."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.roles_of: dict[str, tuple[str, ...]] = {}
        self.groups: dict[str, set[str]] = {}
        self.grants: dict[str, Grant] = {}
        self.menus: dict[str, Menu] = {}
        self.members: dict[tuple[str, str], RoomRole] = {}

    def apply(self, change: AnyChange) -> None:
        match change:
            case PutRole(role):
                self.roles[role.key] = role
            case DropRole(key):
                del self.roles[key]
            case SetRoles(user_id, roles):
                self.roles_of[user_id] = roles
            case PutGroup(group):
                self.groups.setdefault(group.key, set())
            case DropGroup(key):
                del self.groups[key]
            case SetGroupMembers(key, users):
                self.groups[key] = set(users)
            case PutGrant(grant):
                self.grants[grant.id] = grant
            case DropGrant(id):
                del self.grants[id]
            case PutMenu(menu):
                self.menus[menu.key] = menu
            case DropMenu(key):
                del self.menus[key]
            case SetMember(room_id, user_id, role):
                self.members.pop((room_id, user_id), None)
                if role is not None:
                    self.members[room_id, user_id] = role

    def says(self, who: Who) -> Iterator[tuple[str, str, str, int | None]]:
        """Everything that is said of somebody: effect, pattern, scope, end."""
        inherited: set[str] = set()
        for key in self.roles_of.get(who or "", ()) if who else ():
            step: str | None = key
            while step is not None and step in self.roles:
                inherited.add(step)
                step = self.roles[step].parent
        for key in inherited:
            for permission in self.roles[key].permissions:
                yield "allow", permission, "*", None
        for grant in self.grants.values():
            subject = grant.subject
            speaks_of = {
                "anonymous": who is None,
                "everyone": who is not None,
                "user": who is not None and subject.id == who,
                "role": subject.id in inherited,
                "group": who is not None and who in self.groups.get(subject.id, set()),
            }[subject.kind]
            if speaks_of:
                yield grant.effect, grant.permission, grant.scope, grant.expires_at_ms
        for (room_id, user_id), role in self.members.items():
            if user_id == who:
                for permission in ROLE_PERMISSIONS[role]:
                    yield "allow", permission, f"room:{room_id}", None

    def allows(self, who: Who, permission: str, scope: str, now_ms: int) -> bool:
        """Deny over allow at the same scope, narrower over wider, silence is no."""
        for place in dict.fromkeys([scope, "*"]):
            said = {
                effect
                for effect, pattern, where, ends in self.says(who)
                if where == place and matches(pattern, permission) and (ends is None or ends > now_ms)
            }
            if said:
                return "deny" not in said
        return False

    def menus_of(self, who: Who, now_ms: int) -> list[str]:
        return sorted(key for key, menu in self.menus.items() if self.allows(who, menu.permission, "*", now_ms))


def matches(pattern: str, permission: str) -> bool:
    resource, action = permission.split(".")
    return pattern.split(".")[0] in ("*", resource) and pattern.split(".")[1] in ("*", action)


# Worlds


def grants(timed: bool) -> st.SearchStrategy[Grant]:
    subjects = st.one_of(
        st.sampled_from([Subject("everyone"), Subject("anonymous")]),
        st.sampled_from(USERS).map(lambda user: Subject("user", user)),
        st.sampled_from(KEYS).map(lambda key: Subject("role", key)),
        st.sampled_from(KEYS).map(lambda key: Subject("group", key)),
    )
    return st.builds(
        Grant,
        id=st.sampled_from([f"g{number}" for number in range(12)]),
        subject=subjects,
        permission=st.sampled_from(PATTERNS),
        scope=st.sampled_from(SCOPES),
        effect=st.sampled_from(["allow", "allow", "deny"]),
        expires_at_ms=st.sampled_from([None, None, NOW + 500, NOW + 1000]) if timed else st.none(),
    )


def changes(timed: bool = True) -> st.SearchStrategy[AnyChange]:
    keys, users = st.sampled_from(KEYS), st.sampled_from(USERS)
    roles = st.builds(
        Role,
        key=keys,
        name=st.just("A role"),
        parent=st.none() | keys,
        permissions=st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True).map(tuple),
    )
    menus = st.builds(
        Menu, key=keys, name=st.just("A menu"), permission=st.sampled_from(PATTERNS), parent=st.none() | keys
    )
    return st.one_of(
        st.builds(PutRole, roles),
        st.builds(DropRole, keys),
        st.builds(SetRoles, users, st.lists(keys, max_size=3, unique=True).map(tuple)),
        st.builds(PutGroup, st.builds(Group, key=keys, name=st.just("A group"))),
        st.builds(DropGroup, keys),
        st.builds(SetGroupMembers, keys, st.lists(users, max_size=3, unique=True).map(tuple)),
        st.builds(PutGrant, grants(timed)),
        st.builds(PutGrant, grants(timed)),
        st.builds(DropGrant, st.sampled_from([f"g{number}" for number in range(12)])),
        st.builds(PutMenu, menus),
        st.builds(DropMenu, keys),
        st.builds(
            SetMember,
            st.sampled_from(ROOMS),
            users,
            st.sampled_from([None, "guest", "member", "admin", "owner"]),
            st.integers(1, 5),
        ),
    )


class Built(NamedTuple):
    policy: Policy
    world: World


FOUNDATION: tuple[AnyChange, ...] = (
    *(PutRole(Role(key=key, name=key)) for key in KEYS),
    *(PutGroup(Group(key=key, name=key)) for key in KEYS),
)
"""So that most of what is made up finds its subject."""


def build(wanted: Sequence[AnyChange]) -> Built:
    """The same changes made to both; what may not be is left out."""
    policy, world = Policy(), World()
    policy.users.update(USERS)
    for change in (*FOUNDATION, *wanted):
        if is_fit(policy, change):
            policy.apply(change)
            world.apply(change)
    return Built(policy, world)


def is_fit(policy: Policy, change: AnyChange) -> bool:
    try:
        check_change(policy, change, NOW)
    except Refusal:
        return False
    return True


worlds = st.lists(changes(), max_size=25).map(build)
lasting_worlds = st.lists(changes(timed=False), max_size=25).map(build)


def allowed(policy: Policy, who: Who) -> list[bool]:
    """The answer to every question that the test asks."""
    rights = policy.rights(who)
    return [rights.allows(permission, place, NOW) for permission in PROBES for place in PLACES]


def state(policy: Policy) -> dict[str, Any]:
    """All that a policy is."""
    return {
        "roles": dict(policy.roles),
        "groups": dict(policy.groups),
        "grants": dict(policy.grants),
        "menus": dict(policy.menus),
        "roles_of": dict(policy.roles_of),
        "group_members": {key: users for key, users in policy.group_members.items() if users},
        "members": {user: dict(policy.memberships_of(user)) for user in USERS},
        "rooms": {room: dict(policy.members_of(room)) for room in ROOMS},
        "effective": {who: policy.effective(who) for who in EVERYBODY},
        "concerned": {permission: policy.concerned_by(permission) for permission in PROBES},
        "heirs": {key: (policy.holders_of_role(key), policy.children_of_role(key)) for key in KEYS},
    }


# What is allowed


@steadily
@given(worlds, st.sampled_from([NOW, NOW + 500, NOW + 700, NOW + 2000]))
def test_the_policy_allows_what_the_obvious_one_allows(built: Built, now_ms: int) -> None:
    for who in EVERYBODY:
        rights = built.policy.rights(who)
        for permission in PROBES:
            for place in PLACES:
                expected = built.world.allows(who, permission, place, now_ms)
                assert rights.allows(permission, place, now_ms) == expected, (who, permission, place)


@steadily
@given(worlds)
def test_menus_show_where_their_permission_holds(built: Built) -> None:
    for who in EVERYBODY:
        assert sorted(menu.key for menu in built.policy.menus_of(who)) == built.world.menus_of(who, 0)


@steadily
@given(worlds)
def test_entries_allow_what_the_grants_behind_them_allow(built: Built) -> None:
    for who in EVERYBODY:
        entries = Rights.of(built.policy.effective(who).entries)
        assert [entries.allows(permission, place, NOW) for permission in PROBES for place in PLACES] == allowed(
            built.policy, who
        )


@steadily
@given(lasting_worlds)
def test_who_is_allowed_the_same_has_the_same_entries(built: Built) -> None:
    """Both ways: else people would hear of changes that change nothing for them, or not of those that do."""
    for one in EVERYBODY:
        for other in EVERYBODY:
            is_same = built.policy.effective(one).entries == built.policy.effective(other).entries
            assert is_same == (allowed(built.policy, one) == allowed(built.policy, other)), (one, other)


PAIRS = st.tuples(
    *(
        st.lists(
            st.tuples(
                st.sampled_from(PATTERNS), st.sampled_from(["*", "room:tea"]), st.sampled_from(["allow", "deny"])
            ),
            max_size=6,
        )
        for _ in range(2)
    )
)


@settings(max_examples=500, deadline=None)
@given(PAIRS)
def test_two_ways_to_say_the_same_have_one_normal_form(pair: tuple[list[tuple[str, str, str]], ...]) -> None:
    policy = Policy()
    policy.users.update(USERS)
    for user, said in zip(USERS[:2], pair, strict=True):
        for number, (permission, scope, effect) in enumerate(said):
            subject = Subject("user", user)
            policy.apply(
                PutGrant(
                    Grant(
                        id=f"{user}{number}",
                        subject=subject,
                        permission=permission,
                        scope=scope,
                        effect=effect,  # type: ignore[arg-type]
                    )
                )
            )
    ann, bob = USERS[:2]
    is_same = policy.effective(ann).entries == policy.effective(bob).entries
    assert is_same == (allowed(policy, ann) == allowed(policy, bob)), (policy.effective(ann), policy.effective(bob))


# What changes


@steadily
@given(worlds, changes())
def test_nobody_outside_its_reach_notices_a_change(built: Built, change: AnyChange) -> None:
    policy = built.policy
    if not is_fit(policy, change):
        return
    before = {who: fresh(policy, who) for who in EVERYBODY}
    reached = policy.reach(change)
    policy.apply(change)
    changed = {who for who in EVERYBODY if fresh(policy, who) != before[who]}
    assert changed <= reached
    assert {who: policy.effective(who) for who in EVERYBODY} == {who: fresh(policy, who) for who in EVERYBODY}


def fresh(policy: Policy, who: Who) -> Effective:
    """What somebody's rights come to, worked out anew by a policy that remembers nothing."""
    forgetful = Policy()
    forgetful.users.update(policy.users)
    for change in commits_of(policy):
        forgetful.apply(change)
    return forgetful.effective(who)


def commits_of(policy: Policy) -> Iterator[AnyChange]:
    """Changes that make a policy from nothing."""
    yield from map(PutRole, policy.roles.values())
    yield from (SetRoles(user, roles) for user, roles in policy.roles_of.items())
    yield from map(PutGroup, policy.groups.values())
    yield from (SetGroupMembers(key, tuple(users)) for key, users in policy.group_members.items())
    yield from map(PutGrant, policy.grants.values())
    yield from map(PutMenu, policy.menus.values())
    for user in USERS:
        for member in policy.memberships_of(user).values():
            yield SetMember(member.room_id, user, member.role, member.joined_at_ms)


@steadily
@given(worlds, st.lists(changes(), max_size=5))
def test_deltas_of_a_commit_lead_from_the_old_rights_to_the_new(built: Built, wanted: list[AnyChange]) -> None:
    policy = built.policy
    fit: list[AnyChange] = []
    trial = Policy()
    trial.users.update(USERS)
    for change in commits_of(policy):
        trial.apply(change)
    for change in wanted:
        if is_fit(trial, change):
            trial.apply(change)
            fit.append(change)
    before = {who: policy.effective(who) for who in EVERYBODY}
    deltas = {delta.who: delta for delta in policy.change(fit)}
    for who in EVERYBODY:
        after = policy.effective(who)
        assert (before[who] != after) == (who in deltas)
        if who in deltas:
            delta = deltas[who]
            assert (delta.old, delta.new) == (before[who], after)
            granted, revoked = delta.rights
            more = {entry for entry in granted if entry.effect == "allow"}
            more |= {entry for entry in revoked if entry.effect == "deny"}
            less = {entry for entry in revoked if entry.effect == "allow"}
            less |= {entry for entry in granted if entry.effect == "deny"}
            assert (before[who].entries - less) | more == after.entries
            shown = {menu.key: menu for menu in before[who].menus if menu.key not in delta.menus_removed}
            shown |= {menu.key: menu for menu in delta.menus_added}
            assert shown == {menu.key: menu for menu in after.menus}


@steadily
@given(worlds, st.lists(changes(), max_size=6))
def test_what_was_undone_was_never_done(built: Built, wanted: list[AnyChange]) -> None:
    policy = built.policy
    before = state(policy)
    undo: list[AnyChange] = []
    for change in wanted:
        if is_fit(policy, change):
            undo.insert(0, policy.apply(change))
    redo = [policy.apply(step) for step in undo]
    assert state(policy) == before
    for step in reversed(redo):
        policy.apply(step)
    for step in undo:
        policy.apply(step)
    assert state(policy) == before


# Why


@steadily
@given(worlds)
def test_an_explanation_agrees_with_what_is_allowed(built: Built) -> None:
    policy = built.policy
    for who in EVERYBODY:
        for permission in PROBES:
            for place in PLACES:
                reasons = explain(policy, who, permission, place, NOW)
                assert reasons.allowed == policy.rights(who).allows(permission, place, NOW)
                assert bool(reasons.needs) != reasons.allowed
                effects = {because.effect for because in reasons.because}
                assert effects == ({"allow"} if reasons.allowed else {"deny"} if reasons.because else set())


@steadily
@given(worlds)
def test_an_explanation_names_the_way_by_which_a_right_came(built: Built) -> None:
    policy = built.policy
    for who in USERS:
        for permission in PROBES:
            for because in explain(policy, who, permission, "room:tea", NOW).because:
                match because.via:
                    case "role":
                        own, *_, last = because.chain[0], because.chain[-1]
                        assert own in policy.roles_of[who]
                        assert policy.lineage(own)[: len(because.chain)] == because.chain
                        granted = {grant.permission for grant in policy.grants_to(Subject("role", last))}
                        assert because.permission in granted | set(policy.roles[last].permissions)
                    case "group":
                        assert because.chain[0] in policy.groups_of(who)
                    case "room_role":
                        assert because.chain == [policy.memberships_of(who)[RoomId("tea")].role]
                    case via:
                        assert via in ("user", "everyone") and because.chain == []


@steadily
@given(worlds)
def test_what_an_explanation_says_is_needed_helps(built: Built) -> None:
    """Granting what is needed, and lifting what denies, makes the answer yes, sooner or later."""
    policy = built.policy
    for number in range(40):
        reasons = explain(policy, USERS[0], "chat.send", "room:tea", NOW)
        if reasons.allowed:
            return
        if reasons.needs[0].what == "grant":
            new = Grant(id=f"new{number}", subject=Subject("user", USERS[0]), permission="chat.send", scope="room:tea")
            policy.apply(PutGrant(new))
        else:
            ids = [because.grant_id for because in reasons.because if because.grant_id]
            assert ids, "only a grant can deny"
            policy.apply(DropGrant(ids[0]))
    raise AssertionError("it never became yes")


# What may not be


def refusal(policy: Policy, change: AnyChange) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check_change(policy, change, NOW)
    return caught.value


def test_a_circle_of_roles_is_refused_and_named() -> None:
    policy = build([]).policy
    for key, parent in (("b", "a"), ("c", "b"), ("d", "c")):
        policy.apply(PutRole(Role(key=key, name=key, parent=parent)))
    found = refusal(policy, PutRole(Role(key="a", name="a", parent="d")))
    assert (found.code, found.status) == ("conflict", 409)
    assert "a → d → c → b → a" in found.message
    assert "a → a" in refusal(policy, PutRole(Role(key="a", name="a", parent="a"))).message


def test_a_circle_of_menus_is_refused_and_named() -> None:
    policy = build([]).policy
    policy.apply(PutMenu(Menu(key="a", name="a", permission="menu.a")))
    policy.apply(PutMenu(Menu(key="b", name="b", permission="menu.b", parent="a")))
    assert "a → b → a" in refusal(policy, PutMenu(Menu(key="a", name="a", permission="menu.a", parent="b"))).message


@steadily
@given(worlds)
def test_no_change_that_is_let_through_makes_a_circle(built: Built) -> None:
    for key in built.policy.roles:
        seen: list[str] = []
        step: str | None = key
        while step is not None:
            assert step not in seen
            seen.append(step)
            step = built.policy.roles[step].parent


def test_what_is_used_is_not_dropped() -> None:
    """Else whoever made the same key again would find old holders, children and grants."""
    policy = build([]).policy
    policy.apply(SetRoles(USERS[0], ("a",)))
    policy.apply(PutRole(Role(key="c", name="c", parent="b")))
    policy.apply(PutGrant(Grant(id="g", subject=Subject("role", "d"), permission="chat.read")))
    policy.apply(SetGroupMembers("a", (USERS[0],)))
    policy.apply(PutGrant(Grant(id="h", subject=Subject("group", "b"), permission="chat.read")))
    policy.apply(PutMenu(Menu(key="a", name="a", permission="menu.a")))
    policy.apply(PutMenu(Menu(key="b", name="b", permission="menu.b", parent="a")))
    for change in (DropRole("a"), DropRole("b"), DropRole("d"), DropGroup("a"), DropGroup("b"), DropMenu("a")):
        assert refusal(policy, change).code == "conflict", change
    for fit in (DropRole("c"), DropGroup("c"), DropMenu("b")):
        check_change(policy, fit, NOW)


BAD: list[tuple[AnyChange, str]] = [
    (PutRole(Role(key="", name="x")), "key"),
    (PutRole(Role(key="..", name="x")), "key"),
    (PutRole(Role(key="a/b", name="x")), "key"),
    (PutRole(Role(key="x" * 65, name="x")), "key"),
    (PutRole(Role(key="x", name=" ")), "name"),
    (PutRole(Role(key="x", name="x\u202e")), "name"),
    (PutRole(Role(key="x", name="x", parent="nobody")), "parent"),
    (PutRole(Role(key="x", name="x", permissions=("chat",))), "permissions"),
    (PutRole(Role(key="x", name="x", permissions=("chat.read ",))), "permissions"),
    (PutRole(Role(key="x", name="x", permissions=("chat.re*d",))), "permissions"),
    (SetRoles(USERS[0], ("nobody",)), "roles"),
    (PutGrant(Grant(id="g", subject=Subject("user", "nobody"), permission="a.b")), "subject"),
    (PutGrant(Grant(id="g", subject=Subject("role", "nobody"), permission="a.b")), "subject"),
    (PutGrant(Grant(id="g", subject=Subject("group", ""), permission="a.b")), "subject"),
    (PutGrant(Grant(id="g", subject=Subject("everyone", "ann"), permission="a.b")), "subject"),
    (PutGrant(Grant(id="g", subject=Subject("everyone"), permission="a.b", scope="rooms")), "scope"),
    (PutGrant(Grant(id="g", subject=Subject("everyone"), permission="a.b", scope="room:")), "scope"),
    (PutGrant(Grant(id="g", subject=Subject("everyone"), permission="a.b", scope="room:a/b")), "scope"),
    (PutGrant(Grant(id="g", subject=Subject("everyone"), permission="a.b", expires_at_ms=NOW)), "expires_at"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", url="javascript:alert(1)")), "url"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", url="//evil.example")), "url"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", url="/\\evil.example")), "url"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", url="/a\nb")), "url"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", icon="x\u202e")), "icon"),
    (PutMenu(Menu(key="m", name="m", permission="m")), "permission"),
    (PutMenu(Menu(key="m", name="m", permission="menu.m", parent="nobody")), "parent"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_does_not_fit_is_refused_by_name(change: AnyChange, field: str) -> None:
    found = refusal(build([]).policy, change)
    assert (found.status, list(found.fields or ())) == (400, [field]), found
    assert found.message and found.fix


# The document

DOCUMENT = Path(__file__).parent.parent / "docs" / "rights.md"


def test_the_truth_table_of_the_document_is_true() -> None:
    rows = truth_table()
    assert len(rows) >= 10
    for room, wide, expected in rows:
        policy = Policy()
        policy.users.update(USERS)
        number = 0
        for scope, said in (("room:tea", room), ("*", wide)):
            for effect in said:
                number += 1
                grant = Grant(
                    id=str(number),
                    subject=Subject("user", USERS[0]),
                    permission="chat.send",
                    scope=scope,
                    effect=effect,  # type: ignore[arg-type]
                )
                policy.apply(PutGrant(grant))
        assert policy.rights(USERS[0]).allows("chat.send", "room:tea", NOW) == expected, (room, wide)
    assert {(tuple(sorted(room)), tuple(sorted(wide))) for room, wide, _ in rows} == {
        (tuple(room), tuple(wide))
        for room in ([], ["allow"], ["deny"], ["allow", "deny"])
        for wide in ([], ["allow"], ["deny"], ["allow", "deny"])
    }


def truth_table() -> list[tuple[list[str], list[str], bool]]:
    """The rows of the table: what is said in the room, what everywhere, and the answer."""
    words = {"nothing": [], "allow": ["allow"], "deny": ["deny"], "allow and deny": ["allow", "deny"]}
    rows = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) >= 3 and cells[0] in words and cells[1] in words:
            rows.append((words[cells[0]], words[cells[1]], cells[2] == "yes"))
    return rows
