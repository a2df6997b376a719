"""The pure resolver of rights: a truth table, and a slow and obvious resolver that agrees with it (PROTOCOL 4.4)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartlink.model import Grant, Member, RoomId, RoomRole, Subject, UserId
from heartlink.rights import (
    ANONYMOUS,
    EVERYONE,
    EVERYWHERE,
    ROOM_PERMISSIONS,
    Rights,
    guest_access_grants,
    membership_grants,
    room_scope,
)
from heartlink.rights.changes import PutGrant
from heartlink.rights.entries import Said, normal_form
from heartlink.rights.policy import Policy

NOW = 1_000
ANN, BOB = UserId("ann"), UserId("bob")
TEA, GO = RoomId("tea"), RoomId("go")
A, B = Subject("user", ANN), Subject("user", BOB)


def grant(permission: str, scope: str = "*", effect: str = "allow", who: Subject = A, ends: int | None = None) -> Grant:
    return Grant(
        id=f"{who}{permission}{scope}{effect}{ends}",
        subject=who,
        permission=permission,
        scope=scope,
        effect="deny" if effect == "deny" else "allow",
        expires_at_ms=ends,
    )


def resolve(grants: list[Grant], user_id: UserId | None, now_ms: int) -> Rights:
    """What the policy makes of these grants, those that are over having been taken back."""
    policy = Policy()
    policy.users |= {ANN, BOB}
    for number, one in enumerate(grants):
        if one.expires_at_ms is None or one.expires_at_ms > now_ms:
            policy.apply(PutGrant(msgspec.structs.replace(one, id=str(number))))
    return policy.rights(user_id)


TEA_ROOM, GO_ROOM = room_scope(TEA), room_scope(GO)
TABLE: list[tuple[str, list[Grant], UserId | None, str, str, bool]] = [
    ("nothing said is no", [], ANN, "chat.send", TEA_ROOM, False),
    ("an allowance everywhere counts in a room", [grant("chat.send")], ANN, "chat.send", TEA_ROOM, True),
    (
        "an allowance in a room does not count elsewhere",
        [grant("chat.send", TEA_ROOM)],
        ANN,
        "chat.send",
        GO_ROOM,
        False,
    ),
    ("nor everywhere", [grant("chat.send", TEA_ROOM)], ANN, "chat.send", EVERYWHERE, False),
    ("another permission is another", [grant("chat.read")], ANN, "chat.send", TEA_ROOM, False),
    ("somebody else's grant is theirs", [grant("chat.send", who=B)], ANN, "chat.send", TEA_ROOM, False),
    ("everyone is somebody who is signed in", [grant("chat.read", who=EVERYONE)], ANN, "chat.read", TEA_ROOM, True),
    ("anonymous is not everyone", [grant("chat.read", who=EVERYONE)], None, "chat.read", TEA_ROOM, False),
    ("anonymous is nobody signed in", [grant("chat.read", who=ANONYMOUS)], None, "chat.read", TEA_ROOM, True),
    ("who is signed in is not anonymous", [grant("chat.read", who=ANONYMOUS)], ANN, "chat.read", TEA_ROOM, False),
    ("a wildcard of actions", [grant("chat.*")], ANN, "chat.send", TEA_ROOM, True),
    ("of one resource only", [grant("chat.*")], ANN, "room.end", TEA_ROOM, False),
    ("a wildcard of resources", [grant("*.read")], ANN, "chat.read", TEA_ROOM, True),
    ("of one action only", [grant("*.read")], ANN, "chat.send", TEA_ROOM, False),
    ("everything", [grant("*.*")], ANN, "what.ever", TEA_ROOM, True),
    ("deny beats allow", [grant("chat.send"), grant("chat.send", effect="deny")], ANN, "chat.send", TEA_ROOM, False),
    (
        "a wide denial beats an exact allowance of the same scope",
        [grant("chat.send", TEA_ROOM), grant("*.*", TEA_ROOM, "deny")],
        ANN,
        "chat.send",
        TEA_ROOM,
        False,
    ),
    (
        "a narrower allowance beats a wider denial",
        [grant("chat.send", TEA_ROOM), grant("chat.send", effect="deny")],
        ANN,
        "chat.send",
        TEA_ROOM,
        True,
    ),
    (
        "but only there",
        [grant("chat.send", TEA_ROOM), grant("chat.send", effect="deny")],
        ANN,
        "chat.send",
        GO_ROOM,
        False,
    ),
    (
        "a narrower denial beats a wider allowance, of everything even",
        [grant("*.*"), grant("chat.send", TEA_ROOM, "deny")],
        ANN,
        "chat.send",
        TEA_ROOM,
        False,
    ),
    (
        "a denial of everyone beats one's own allowance of the same scope",
        [grant("chat.send"), grant("chat.send", effect="deny", who=EVERYONE)],
        ANN,
        "chat.send",
        TEA_ROOM,
        False,
    ),
    ("what lasts counts", [grant("chat.send", ends=NOW + 1)], ANN, "chat.send", TEA_ROOM, True),
    ("what has ended does not", [grant("chat.send", ends=NOW)], ANN, "chat.send", TEA_ROOM, False),
    (
        "a denial that has ended denies nothing",
        [grant("chat.send"), grant("chat.send", effect="deny", ends=NOW)],
        ANN,
        "chat.send",
        TEA_ROOM,
        True,
    ),
    (
        "of two allowances the longer one counts",
        [grant("chat.send", ends=NOW), grant("chat.send", ends=NOW + 5)],
        ANN,
        "chat.send",
        TEA_ROOM,
        True,
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_the_truth_table(row: tuple[str, list[Grant], UserId | None, str, str, bool]) -> None:
    _, grants, user_id, permission, scope, allowed = row
    for order in (grants, grants[::-1]):
        assert resolve(order, user_id, NOW).allows(permission, scope, NOW) is allowed


@pytest.mark.parametrize(
    ("role", "held"),
    [
        ("owner", ROOM_PERMISSIONS),
        ("admin", tuple(name for name in ROOM_PERMISSIONS if name != "room.end")),
        ("member", ("chat.read", "chat.send", "room.invite")),
        ("guest", ("chat.read",)),
    ],
)
def test_what_the_roles_of_a_room_hold_and_where(role: RoomRole, held: tuple[str, ...]) -> None:
    rights = resolve(membership_grants(Member(room_id=TEA, user_id=ANN, role=role, joined_at_ms=0)), ANN, NOW)
    assert rights.capabilities(TEA) == held
    assert rights.capabilities(GO) == ()


def test_a_room_open_to_guests_lets_anybody_read_and_nobody_more() -> None:
    for user_id in (ANN, None):
        rights = resolve(guest_access_grants(TEA), user_id, NOW)
        assert (rights.capabilities(TEA), rights.capabilities(GO)) == (("chat.read",), ())


# --- A slow and obvious resolver ---------------------------------------------------------------------------

HALVES = ("chat", "room", "*"), ("read", "send", "*")
PERMISSIONS = [f"{resource}.{action}" for resource in HALVES[0] for action in HALVES[1]]
ASKED = [name for name in PERMISSIONS if "*" not in name]
GRANTS = st.lists(
    st.builds(
        grant,
        st.sampled_from(PERMISSIONS),
        st.sampled_from([EVERYWHERE, TEA_ROOM, GO_ROOM]),
        st.sampled_from(["allow", "deny"]),
        st.sampled_from([A, B, EVERYONE, ANONYMOUS]),
        st.sampled_from([None, NOW - 1, NOW, NOW + 1, NOW + 10]),
    ),
    max_size=8,
)


def matches(pattern: str, permission: str) -> bool:
    return all(half in ("*", asked) for half, asked in zip(pattern.split("."), permission.split("."), strict=True))


def obviously_allows(grants: list[Grant], user_id: UserId | None, permission: str, scope: str, now_ms: int) -> bool:
    mine = [ANONYMOUS] if user_id is None else [EVERYONE, Subject("user", user_id)]
    for place in (scope, EVERYWHERE):
        effects = {
            one.effect
            for one in grants
            if one.scope == place
            and one.subject in mine
            and matches(one.permission, permission)
            and (one.expires_at_ms is None or now_ms < one.expires_at_ms)
        }
        if effects:
            return effects == {"allow"}
    return False


@given(grants=GRANTS, user_id=st.sampled_from([ANN, BOB, None]), later=st.sampled_from([0, 1, 2, 10, 11]))
def test_it_agrees_with_the_obvious_resolver_now_and_later(
    grants: list[Grant], user_id: UserId | None, later: int
) -> None:
    rights = resolve(grants, user_id, NOW)
    for scope in (EVERYWHERE, TEA_ROOM, GO_ROOM, "room:other"):
        for permission in ASKED:
            expected = obviously_allows(grants, user_id, permission, scope, NOW + later)
            assert rights.allows(permission, scope, NOW + later) is expected, (permission, scope)


@given(grants=GRANTS)
def test_the_normal_form_allows_what_the_grants_allow(grants: list[Grant]) -> None:
    lasting = [one for one in grants if one.expires_at_ms is None]
    form = normal_form(resolve(lasting, ANN, NOW).said)
    rebuilt = [grant(entry.permission, entry.scope, entry.effect) for entry in form]
    for scope in (EVERYWHERE, TEA_ROOM, GO_ROOM):
        for permission in ASKED:
            assert obviously_allows(rebuilt, ANN, permission, scope, NOW) is obviously_allows(
                lasting, ANN, permission, scope, NOW
            ), (permission, scope)
    assert (
        normal_form({place: Said(said.allow, said.deny) for place, said in resolve(rebuilt, ANN, NOW).said.items()})
        == form
    )
