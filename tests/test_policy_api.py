"""The policy over HTTP: roles, users' roles, groups, grants, menus; audit, undo, preview (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest

from heartlink.policy import Commit, Step
from tests.actors import Person, Server
from tests.administrators import administrator, does, grants
from tests.conftest import Serve
from tests.raw_peer import until

pytestmark = pytest.mark.gen_test(timeout=30)

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ROLE = {"key": "staff", "name": "Staff", "parent": None, "permissions": ["chat.send", "news.*"]}


async def opened(serve: Serve) -> tuple[Server, Person, Person]:
    """A server with an administrator, and ann, who is nobody in particular."""
    server = await serve()
    return server, await administrator(server), await server.person("ann")


async def rights_of(person: Person) -> set[tuple[str, str]]:
    """What somebody holds, beside what everyone does."""
    mine = await does(person, "GET", "/api/permissions/me")
    ordinary = {"menu.permissions", "menu.rooms", "room.create"}
    return {(row["permission"], row["scope"]) for row in mine["permissions"] if row["permission"] not in ordinary}


# --- Roles -------------------------------------------------------------------------------------------


async def test_a_role_from_its_beginning_to_its_end(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    version = server.house.desk.version
    made = await does(root, "POST", "/api/roles", ROLE)
    assert made == {**ROLE, "users_count": 0, "version": version + 1}
    assert await does(root, "GET", "/api/roles/staff") == made
    given = await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]})
    assert given == {"user_id": ann.id, "roles": ["staff"], "version": version + 2}
    assert await rights_of(ann) == {("chat.send", "*"), ("news.*", "*")}
    changed = await does(root, "PATCH", "/api/roles/staff", {"permissions": ["chat.read"], "name": "Crew"})
    assert (changed["name"], changed["permissions"], changed["users_count"]) == ("Crew", ["chat.read"], 1)
    assert await rights_of(ann) == {("chat.read", "*")}
    listed = await does(root, "GET", "/api/roles")
    assert [role["key"] for role in listed["roles"]] == ["administrator", "staff"]
    assert listed["version"] == version + 3
    removed = await does(root, "DELETE", "/api/roles/staff")
    assert (removed["key"], removed["version"]) == ("staff", version + 4)
    assert await rights_of(ann) == set()
    assert (await does(root, "GET", f"/api/users/{ann.id}/roles"))["roles"] == []
    for method in ("GET", "PATCH", "DELETE"):
        answer = await root.asks(method, "/api/roles/staff", None if method == "GET" else {})
        assert (answer.status, answer.code) == (404, "not_found"), answer


async def test_roles_inherit_and_a_circle_is_named(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    for key, parent in (("low", None), ("middle", "low"), ("high", "middle")):
        await does(root, "POST", "/api/roles", {"key": key, "parent": parent, "permissions": [f"{key}.x"]})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["high"]})
    assert await rights_of(ann) == {("low.x", "*"), ("middle.x", "*"), ("high.x", "*")}
    answer = await root.asks("PATCH", "/api/roles/low", {"parent": "high"})
    assert (answer.status, answer.code) == (409, "conflict")
    assert "low → high → middle → low" in answer.json["error"]["message"]


async def test_a_role_is_deleted_in_one_commit_with_all_that_hangs_on_it(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    for key, parent in (("low", None), ("middle", "low"), ("high", "middle"), ("other", None)):
        await does(root, "POST", "/api/roles", {"key": key, "parent": parent, "permissions": [f"{key}.x"]})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["other", "middle"]})
    timed = await grants(root, "role", "middle", "timed.x", expires_in=600)
    denied = await grants(root, "role", "middle", "denied.x", "room:tea", effect="deny")
    version = (await does(root, "DELETE", "/api/roles/middle"))["version"]
    assert version == server.house.desk.version == denied["version"] + 1
    assert (await does(root, "GET", "/api/roles/high"))["parent"] == "low"
    assert (await does(root, "GET", f"/api/users/{ann.id}/roles"))["roles"] == ["other"]
    left = {grant["id"] for grant in (await does(root, "GET", "/api/grants"))["grants"]}
    assert left.isdisjoint({timed["id"], denied["id"]})
    # Whoever makes it again starts from nothing.
    await does(root, "POST", "/api/roles", {"key": "middle", "permissions": ["middle.x"]})
    assert await rights_of(ann) == {("other.x", "*")}


# --- Groups and menus --------------------------------------------------------------------------------


async def test_a_group_from_its_beginning_to_its_end(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    made = await does(root, "POST", "/api/groups", {"key": "team", "name": "The team"})
    assert made == {"key": "team", "name": "The team", "users_count": 0, "version": made["version"]}
    await grants(root, "group", "team", "news.read", "room:tea")
    members = await does(root, "PUT", "/api/groups/team/members", {"users": [ann.id, root.id, ann.id]})
    assert members["users"] == sorted([ann.id, root.id])
    assert await does(root, "GET", "/api/groups/team/members") == members
    assert await rights_of(ann) == {("news.read", "room:tea")}
    assert (await does(ann, "GET", "/api/permissions/me"))["groups"] == ["team"]
    assert (await does(root, "GET", "/api/groups"))["groups"] == [{"key": "team", "name": "The team", "users_count": 2}]
    await does(root, "DELETE", "/api/groups/team")
    assert await rights_of(ann) == set()
    assert (await root.asks("GET", "/api/groups/team/members")).status == 404
    assert (await root.asks("PUT", "/api/groups/team/members", {"users": []})).status == 404


async def test_menus_show_to_those_who_hold_their_permission(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    menu = {"key": "reports", "name": "Reports", "icon": "chart", "url": "/reports/", "parent": None, "sort_order": 5}
    made = await does(root, "POST", "/api/menus", menu)
    assert made == {**menu, "permission": "menu.reports", "version": made["version"]}
    await does(root, "POST", "/api/menus", {"key": "yearly", "name": "Yearly", "parent": "reports"})
    assert "reports" not in await menus_of(ann)
    await grants(root, "user", ann.id, "menu.reports")
    assert (await does(ann, "GET", "/api/permissions/me"))["menus"][0] == menu
    changed = await does(root, "PATCH", "/api/menus/reports", {"permission": "news.read", "sort_order": 50})
    assert (changed["permission"], changed["name"]) == ("news.read", "Reports")
    assert "reports" not in await menus_of(ann)
    await does(root, "DELETE", "/api/menus/reports")
    listed = {row["key"]: row for row in (await does(root, "GET", "/api/menus"))["menus"]}
    assert "reports" not in listed and listed["yearly"]["parent"] is None


async def menus_of(person: Person) -> list[str]:
    return [menu["key"] for menu in (await does(person, "GET", "/api/permissions/me"))["menus"]]


# --- Grants ------------------------------------------------------------------------------------------


async def test_a_grant_has_the_shape_of_the_protocol(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    await does(root, "POST", "/api/groups", {"key": "team"})
    made = await grants(root, "user", ann.id, "chat.send", "room:tea 茶", effect="deny")
    assert made == {
        "id": made["id"],
        "subject": {"kind": "user", "id": ann.id},
        "permission": "chat.send",
        "scope": "room:tea 茶",
        "effect": "deny",
        "expires_at": None,
        "source": "grant",
        "version": made["version"],
    }
    for kind in ("everyone", "anonymous"):
        assert (await grants(root, kind, None, "x.y"))["subject"] == {"kind": kind}
    assert (await grants(root, "group", "team", "x.y"))["subject"] == {"kind": "group", "id": "team"}
    removed = await does(root, "DELETE", f"/api/grants/{made['id']}")
    assert removed == {**made, "version": removed["version"]}
    assert (await root.asks("DELETE", f"/api/grants/{made['id']}")).status == 404


async def test_a_grant_may_end(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    soon = await grants(root, "user", ann.id, "soon.x", expires_in=0.2)
    later = await grants(root, "user", ann.id, "later.x", expires_at="2999-01-02T03:04:05.678+01:00")
    assert ISO.fullmatch(soon["expires_at"])
    assert later["expires_at"] == "2999-01-02T02:04:05.678Z"
    stream = await ann.listens()
    ended = await stream.hears("permission_changed")
    assert [row["permission"] for row in ended["data"]["revoked"]] == ["soon.x"]
    assert ended["data"]["because"] == "its time was over"
    assert await rights_of(ann) == {("later.x", "*")}
    assert server.house.desk.version == ended["version"]


async def test_what_a_role_is_granted_for_good_is_its_own_permission(serve: Serve) -> None:
    _, root, _ = await opened(serve)
    await does(root, "POST", "/api/roles", ROLE)
    made = await grants(root, "role", "staff", "room.create")
    assert (made["id"], made["source"]) == ("role:staff:room.create", "role")
    assert (await does(root, "GET", "/api/roles/staff"))["permissions"] == ["chat.send", "news.*", "room.create"]
    again = await grants(root, "role", "staff", "room.create")
    assert again == made, "asking twice changes nothing"
    listed = (await does(root, "GET", "/api/grants?subject=role:staff"))["grants"]
    assert [grant["permission"] for grant in listed] == ["chat.send", "news.*", "room.create"]
    await does(root, "DELETE", "/api/grants/role:staff:chat.send")
    assert (await does(root, "GET", "/api/roles/staff"))["permissions"] == ["news.*", "room.create"]
    assert (await root.asks("DELETE", "/api/grants/role:staff:chat.send")).status == 404
    # What ends, denies, or stands for one room is a grant of its own.
    for more in ({"expires_in": 60}, {"effect": "deny"}, {"scope": "room:tea"}):
        assert (await grants(root, "role", "staff", "a.b", **more))["source"] == "grant"


async def test_grants_are_listed_by_subject_scope_and_page(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    for number in range(5):
        await grants(root, "user", ann.id, f"page.x{number}", "room:tea")
    await grants(root, "everyone", None, "page.x1", "room:go")
    found: list[str] = []
    after = ""
    while True:
        page = await does(root, "GET", f"/api/grants?scope=room:tea&subject=user:{ann.id}&limit=2&after={after}")
        found += [grant["permission"] for grant in page["grants"]]
        if not page["has_more"]:
            break
        after = page["grants"][-1]["id"]
    assert sorted(found) == [f"page.x{number}" for number in range(5)]
    everyone = (await does(root, "GET", "/api/grants?subject=everyone&permission=page.x1"))["grants"]
    assert [grant["scope"] for grant in everyone] == ["room:go"]
    for query in ("subject=nobody", "subject=user:", "subject=everyone:x", "limit=0", "limit=1001", "limit=x"):
        assert (await root.asks("GET", f"/api/grants?{query}")).status == 400, query


async def test_roles_in_a_room_are_listed_as_its_grants_and_end_at_their_own_address(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    room = await ann.opens(name="Tea", members=["root"])
    listed = (await does(root, "GET", f"/api/grants?scope=room:{room}"))["grants"]
    mine = [grant for grant in listed if grant["subject"] == {"kind": "user", "id": root.id}]
    assert {grant["permission"] for grant in mine} == {"chat.read", "chat.send", "room.invite"}
    assert {grant["source"] for grant in mine} == {"room_role"}
    answer = await root.asks("DELETE", f"/api/grants/{mine[0]['id']}")
    assert (answer.status, answer.code) == (409, "conflict")
    address = f"/api/rooms/{room}/members/{root.id}"
    assert address in answer.json["error"]["fix"]
    assert (await root.asks("DELETE", address)).status == 204
    assert (await root.asks("DELETE", f"/api/grants/{mine[0]['id']}")).status == 404


async def test_a_mute_and_a_ban_are_grants_in_the_room(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    room = await root.opens(name="Tea", members=["ann"])
    chair = await ann.sits_in(room)
    muted = await grants(root, "user", ann.id, "chat.send", f"room:{room}", effect="deny", why="Too loud")
    changed = await chair.hears("capabilities_changed")
    assert ("chat.send" not in changed["capabilities"], changed["because"]) == (True, "Too loud")
    error = await chair.asks({"type": "message", "content": "hello?"})
    assert error["error_code"] == "forbidden"
    told = await does(ann, "POST", "/api/permissions/explain", {"decision_id": error["decision_id"]}, 200)
    assert (told["allowed"], told["permission"], told["scope"]) == (False, "chat.send", f"room:{room}")
    assert told["because"][0]["grant_id"] == muted["id"] and told["needs"][0]["what"] == "lift_denial"
    await does(root, "DELETE", f"/api/grants/{muted['id']}")
    await chair.says("thank you")
    await grants(root, "user", ann.id, "chat.read", f"room:{room}", effect="deny")
    revoked = await chair.hears("access_revoked")
    assert await chair.is_closed() == (4403, "forbidden")
    told = await does(ann, "POST", "/api/permissions/explain", {"decision_id": revoked["decision_id"]}, 200)
    assert (told["allowed"], told["permission"]) == (False, "chat.read")


# --- What does not fit -------------------------------------------------------------------------------

BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/api/roles", {}, 400, "key"),
    ("POST", "/api/roles", {"key": 5}, 400, "key"),
    ("POST", "/api/roles", {"key": "a/b"}, 400, "key"),
    ("POST", "/api/roles", {"key": "."}, 400, "key"),
    ("POST", "/api/roles", {"key": "x", "name": "\u202e"}, 400, "name"),
    ("POST", "/api/roles", {"key": "x", "parent": "nobody"}, 400, "parent"),
    ("POST", "/api/roles", {"key": "x", "permissions": ["chat"]}, 400, "permissions"),
    ("POST", "/api/roles", {"key": "x", "permissions": "chat.send"}, 400, "permissions"),
    ("POST", "/api/roles", {"key": "x", "permissions": ["a.b"] * 1001}, 400, "permissions"),
    ("POST", "/api/roles", {"key": "x", "why": "y" * 501}, 400, "why"),
    ("POST", "/api/roles", {"key": "administrator"}, 409, "key"),
    ("PATCH", "/api/roles/administrator", {"name": None}, 400, "name"),
    ("PATCH", "/api/roles/administrator", {"parent": "administrator"}, 409, "parent"),
    ("PUT", "/api/users/{ann}/roles", {}, 400, "roles"),
    ("PUT", "/api/users/{ann}/roles", {"roles": ["nobody"]}, 400, "roles"),
    ("PUT", "/api/users/{ann}/roles", {"roles": None}, 400, "roles"),
    ("PUT", "/api/users/{ann}/roles", {"roles": [1]}, 400, "roles[0]"),
    ("PUT", "/api/users/nobody/roles", {"roles": []}, 404, ""),
    ("POST", "/api/groups", {"key": ""}, 400, "key"),
    ("PUT", "/api/groups/nobody/members", {"users": []}, 404, ""),
    ("DELETE", "/api/groups/nobody", {}, 404, ""),
    ("POST", "/api/grants", {"permission": "a.b"}, 400, "subject"),
    ("POST", "/api/grants", {"subject": {"kind": "god"}, "permission": "a.b"}, 400, "subject.kind"),
    ("POST", "/api/grants", {"subject": {"kind": "user"}, "permission": "a.b"}, 400, "subject"),
    ("POST", "/api/grants", {"subject": {"kind": "user", "id": "no"}, "permission": "a.b"}, 400, "subject"),
    ("POST", "/api/grants", {"subject": {"kind": "role", "id": "no"}, "permission": "a.b"}, 400, "subject"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone", "id": "x"}, "permission": "a.b"}, 400, "subject"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone"}}, 400, "permission"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone"}, "permission": "ab"}, 400, "permission"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone"}, "permission": "a.b", "scope": "x"}, 400, "scope"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone"}, "permission": "a.b", "effect": "no"}, 400, "effect"),
    ("POST", "/api/grants", {"subject": {"kind": "everyone"}, "permission": "a.b", "expires_in": 0}, 400, "expires_in"),
    (
        "POST",
        "/api/grants",
        {"subject": {"kind": "everyone"}, "permission": "a.b", "expires_in": 1e300},
        400,
        "expires_in",
    ),
    (
        "POST",
        "/api/grants",
        {"subject": {"kind": "everyone"}, "permission": "a.b", "expires_at": "2001-01-01T00:00:00Z"},
        400,
        "expires_at",
    ),
    (
        "POST",
        "/api/grants",
        {"subject": {"kind": "everyone"}, "permission": "a.b", "expires_at": "2999-01-01T00:00:00"},
        400,
        "expires_at",
    ),
    (
        "POST",
        "/api/grants",
        {"subject": {"kind": "everyone"}, "permission": "a.b", "expires_at": "2999-01-01T00:00:00Z", "expires_in": 5},
        400,
        "expires_in",
    ),
    ("DELETE", "/api/grants/nothing", {}, 404, ""),
    ("DELETE", "/api/grants/role:nobody:a.b", {}, 404, ""),
    ("DELETE", "/api/grants/room:x:y:z", {}, 404, ""),
    ("POST", "/api/menus", {"key": "x"}, 400, "name"),
    ("POST", "/api/menus", {"key": "x", "name": "X", "url": "javascript:alert(1)"}, 400, "url"),
    ("POST", "/api/menus", {"key": "x", "name": "X", "sort_order": 1.5}, 400, "sort_order"),
    ("POST", "/api/menus", {"key": "x", "name": "X", "icon": "i" * 65}, 400, "icon"),
    ("POST", "/api/menus", {"key": "x", "name": "X", "parent": "x"}, 409, "parent"),
    ("POST", "/api/menus", {"key": "rooms", "name": "X"}, 409, "key"),
    ("PATCH", "/api/menus/rooms", {"permission": "x"}, 400, "permission"),
    ("PATCH", "/api/menus/nothing", {}, 404, ""),
    ("POST", "/api/permissions/preview", {"changes": []}, 400, "changes"),
    ("POST", "/api/permissions/preview", {"changes": [{"method": "GET", "path": "/api/roles"}]}, 400, "changes[0]"),
    ("POST", "/api/permissions/preview", {"changes": [{"method": "PUT", "path": "/api/me"}]}, 400, "changes[0]"),
    ("POST", "/api/permissions/preview", {"changes": [{"method": "POST", "path": "/api/roles"}]}, 400, "key"),
    ("POST", "/api/permissions/preview", {"changes": [{"method": "DELETE", "path": "/api/roles/no"}]}, 404, ""),
    ("POST", "/api/audit/999/undo", {}, 404, ""),
    ("POST", "/api/audit/one/undo", {}, 404, ""),
    ("POST", "/api/audit/²/undo", {}, 404, ""),
]


async def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    version = server.house.desk.version
    for method, path, body, status, field in BAD:
        place = path.format(ann=ann.id).replace("²", "%C2%B2")
        answer = await root.asks(method, place, body)
        assert answer.status == status, (method, path, body, answer)
        error = answer.json["error"]
        assert error["message"] and error["fix"], answer
        assert not field or field in error["fields"], (method, path, body, answer)
    for content, status in ((b"{", 400), (b"[]", 400), (b"\xff", 400)):
        assert (await root.asks("POST", "/api/roles", content)).status == status
    assert server.house.desk.version == version


# --- The last step -----------------------------------------------------------------------------------


async def test_a_right_lost_on_the_way_is_lost_at_the_last_step(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["administrator"]})
    desk = server.house.desk
    store, waiting, go = desk._commits.add, asyncio.Event(), asyncio.Event()

    async def slow(commit: Commit) -> None:
        waiting.set()
        await go.wait()
        await store(commit)

    desk._commits.add = slow  # type: ignore[method-assign]
    revoking = asyncio.ensure_future(root.asks("PUT", f"/api/users/{ann.id}/roles", {"roles": []}))
    await waiting.wait()
    # She still holds the right while this comes in: it waits for the other to be stored.
    late = [
        asyncio.ensure_future(ann.asks("POST", "/api/roles", {"key": "mine"})),
        asyncio.ensure_future(ann.asks("PATCH", f"/api/users/{root.id}", {"is_active": False})),
        asyncio.ensure_future(ann.asks("POST", "/api/audit/1/undo", {})),
    ]
    await until(lambda: len(server.house.administration._turn._waiters or ()) == len(late))
    go.set()
    assert (await revoking).status == 200
    for answer in await asyncio.gather(*late):
        assert (answer.status, answer.code) == (403, "forbidden"), answer
        assert answer.json["error"]["decision_id"]
    assert "mine" not in desk.policy.roles
    assert (await root.asks("GET", "/api/me")).status == 200


async def test_nobody_locks_everybody_out(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    deny = {"subject": {"kind": "everyone"}, "permission": "permissions.*", "effect": "deny"}
    ways: list[tuple[str, str, Any]] = [
        ("PUT", f"/api/users/{root.id}/roles", {"roles": []}),
        ("DELETE", "/api/roles/administrator", {}),
        ("PATCH", "/api/roles/administrator", {"permissions": ["chat.read"]}),
        ("DELETE", "/api/grants/role:administrator:*.*", {}),
        ("POST", "/api/grants", deny),
        ("PATCH", f"/api/users/{root.id}", {"is_active": False}),
    ]
    version = server.house.desk.version
    for method, path, body in ways:
        answer = await root.asks(method, path, body)
        assert (answer.status, answer.code) == (409, "conflict"), (method, path, answer)
        assert "administer" in answer.json["error"]["message"]
        if path.startswith("/api/users") and method == "PATCH":
            continue
        previewed = await root.asks(
            "POST", "/api/permissions/preview", {"changes": [{"method": method, "path": path, "body": body}]}
        )
        assert previewed.status == 409
    assert server.house.desk.version == version
    # Somebody whose right ends by itself does not stand in for one who stays, nor does one who cannot sign in.
    await grants(root, "user", ann.id, "permissions.manage", expires_in=600)
    assert (await root.asks(*ways[0])).status == 409
    bob = await server.person("bob")
    await does(root, "PUT", f"/api/users/{bob.id}/roles", {"roles": ["administrator"]})
    await does(root, "PATCH", f"/api/users/{bob.id}", {"is_active": False})
    assert (await root.asks(*ways[0])).status == 409
    await does(root, "PATCH", f"/api/users/{bob.id}", {"is_active": True})
    await does(root, "PUT", f"/api/users/{root.id}/roles", {"roles": []})
    assert (await root.asks("GET", "/api/roles")).status == 403


# --- Audit and undo ----------------------------------------------------------------------------------


async def test_the_audit_says_who_changed_what_when_and_why(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", ROLE)
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"], "why": "She starts today"})
    await grants(root, "user", ann.id, "chat.read", "room:tea")
    page = await does(root, "GET", "/api/audit?limit=2")
    assert page["has_more"] is True and page["version"] == page["entries"][0]["version"]
    third, second = page["entries"]
    assert third["why"] == "root granted chat.read to ann in room:tea"
    assert second == {
        "version": third["version"] - 1,
        "at": second["at"],
        "by": "root",
        "by_id": root.id,
        "why": "She starts today",
        "changes": [{"change": "set_roles", "user_id": ann.id, "roles": ["staff"]}],
        "before": [{"change": "set_roles", "user_id": ann.id, "roles": []}],
        "touched_count": 1,
    }
    assert ISO.fullmatch(second["at"])
    older = await does(root, "GET", f"/api/audit?before={second['version']}")
    assert older["entries"][0]["why"] == "root made the role staff with chat.send, news.*"
    assert older["entries"][-1]["version"] == 1 and older["has_more"] is False
    for query in ("limit=0", "limit=201", "before=0", "before=x"):
        assert (await root.asks("GET", f"/api/audit?{query}")).status == 400, query


async def test_reasons_reach_those_whose_rights_they_change(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    stream = await ann.listens()
    made = await grants(root, "user", ann.id, "chat.read", "room:tea", effect="deny")
    await does(root, "DELETE", f"/api/grants/{made['id']}", {"why": "A mistake"})
    await grants(root, "user", ann.id, "chat.read", "room:tea", why="  ")
    heard = [(await stream.hears("permission_changed"))["data"]["because"] for _ in range(1)]
    # A denial of what one does not hold changes nothing, and nothing is heard of it.
    assert heard == ["root granted chat.read to ann in room:tea"]


async def whole(server: Server) -> Any:
    """The policy as its commits make it, to be compared."""
    policy = server.house.desk.policy
    return (
        dict(policy.roles),
        dict(policy.groups),
        dict(policy.grants),
        dict(policy.menus),
        dict(policy.roles_of),
        {key: users for key, users in policy.group_members.items() if users},
        {user: dict(policy.memberships_of(user)) for user in policy.users},
    )


async def test_every_kind_of_change_is_taken_back_by_one_click(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", ROLE)
    await does(root, "POST", "/api/roles", {"key": "lead", "parent": "staff"})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]})
    await does(root, "POST", "/api/groups", {"key": "team"})
    await does(root, "PUT", "/api/groups/team/members", {"users": [ann.id]})
    await does(root, "POST", "/api/menus", {"key": "top", "name": "Top"})
    await does(root, "POST", "/api/menus", {"key": "below", "name": "Below", "parent": "top"})
    held = await grants(root, "role", "staff", "x.y", "room:tea")
    await grants(root, "group", "team", "x.y")
    steps: list[tuple[str, str, Any]] = [
        ("POST", "/api/roles", {"key": "new"}),
        ("PATCH", "/api/roles/staff", {"permissions": [], "name": "Crew"}),
        ("DELETE", "/api/roles/staff", {}),
        ("PUT", f"/api/users/{ann.id}/roles", {"roles": ["lead", "staff"]}),
        ("POST", "/api/groups", {"key": "new"}),
        ("PUT", "/api/groups/team/members", {"users": [root.id]}),
        ("DELETE", "/api/groups/team", {}),
        ("POST", "/api/grants", {"subject": {"kind": "user", "id": ann.id}, "permission": "a.b", "expires_in": 600}),
        ("DELETE", f"/api/grants/{held['id']}", {}),
        ("POST", "/api/menus", {"key": "new", "name": "New"}),
        ("PATCH", "/api/menus/below", {"parent": None, "name": "Beside"}),
        ("DELETE", "/api/menus/top", {}),
    ]
    for method, path, body in steps:
        before = await whole(server)
        version = (await does(root, method, path, body))["version"]
        assert await whole(server) != before, (method, path)
        undone = await does(root, "POST", f"/api/audit/{version}/undo", {})
        assert undone["version"] == version + 1
        assert undone["why"].startswith("root took back: root "), undone
        assert await whole(server) == before, (method, path)
        again = await does(root, "POST", f"/api/audit/{undone['version']}/undo", {"why": "It was right"})
        assert again["why"] == "It was right"
        await does(root, "POST", f"/api/audit/{again['version']}/undo", {})
        assert await whole(server) == before, (method, path)


async def test_what_was_changed_since_is_not_taken_back_along_with_it(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    made = (await does(root, "POST", "/api/roles", ROLE))["version"]
    changed = (await does(root, "PATCH", "/api/roles/staff", {"name": "Crew"}))["version"]
    given = (await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]}))["version"]
    for version in (made, made):
        answer = await root.asks("POST", f"/api/audit/{version}/undo", {})
        assert (answer.status, answer.code) == (409, "conflict"), answer
    for version in (given, changed, made):
        await does(root, "POST", f"/api/audit/{version}/undo", {})
    assert (await root.asks("POST", f"/api/audit/{made}/undo", {})).status == 409, "it is taken back already"
    assert (await root.asks("POST", "/api/audit/1/undo", {})).status == 409, "the first policy is in use"


async def test_taking_back_a_removal_from_a_room_lets_people_in_again(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    bob = await server.person("bob")
    room = await ann.opens(name="Tea", members=["bob", "root"])
    chair = await ann.sits_in(room)
    await ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")
    await chair.hears("member_removed", user_id=bob.id)
    assert (await bob.asks("GET", f"/ws/chat/{room}/")).json["would"] == 403
    await does(root, "POST", f"/api/audit/{server.house.desk.version}/undo", {})
    assert (await chair.hears("member_added"))["member"]["username"] == "bob"
    await bob.sits_in(room)
    opening = next(
        entry["version"]
        for entry in (await does(root, "GET", "/api/audit"))["entries"]
        if entry["why"] == "ann opened the room"
    )
    answer = await root.asks("POST", f"/api/audit/{opening}/undo", {})
    assert (answer.status, answer.code) == (409, "conflict"), "a room is not without an owner"


async def test_the_policy_is_the_same_after_a_restart(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", ROLE)
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]})
    await does(root, "POST", "/api/audit/4/undo", {})
    before, version = await whole(server), server.house.desk.version
    settings = server.settings
    await server.close()
    again = await Server(settings.data_dir, settings.mongo_url).open()
    assert (await whole(again), again.house.desk.version) == (before, version)
    assert again.house.setup.token is None
    await again.close()


# --- Preview -----------------------------------------------------------------------------------------


async def test_a_preview_says_who_would_gain_and_lose_what(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    bob = await server.person("bob")
    await does(root, "POST", "/api/roles", {"key": "staff", "permissions": ["menu.staff", "chat.read"]})
    await does(root, "POST", "/api/menus", {"key": "staff", "name": "Staff"})
    for person in (ann, bob):
        await does(root, "PUT", f"/api/users/{person.id}/roles", {"roles": ["staff"]})
    room = await root.opens(name="Tea")
    await grants(root, "user", ann.id, "chat.send", f"room:{room}")
    version = server.house.desk.version
    change = {"method": "DELETE", "path": "/api/roles/staff"}
    seen = await does(root, "POST", "/api/permissions/preview", {"changes": [change]}, 200)
    assert (seen["version"], seen["total"], seen["has_more"]) == (version, 2, False)
    assert seen["summary"] == {
        "people": 2,
        "gaining": 0,
        "losing": 2,
        "rooms": 1,
        "menus": 1,
        "text": "removes 1 person from 1 room, hides 1 menu, takes rights from 2 people",
    }
    by_name = {person["username"]: person for person in seen["people"]}
    assert by_name["ann"]["rooms_lost"] == [room] and by_name["bob"]["rooms_lost"] == []
    assert by_name["bob"] == {
        "user_id": bob.id,
        "username": "bob",
        "roles_before": ["staff"],
        "roles_after": [],
        "granted": [],
        "revoked": [
            {"permission": "chat.read", "scope": "*", "expires_at": None, "effect": "allow"},
            {"permission": "menu.staff", "scope": "*", "expires_at": None, "effect": "allow"},
        ],
        "menus_added": [],
        "menus_removed": ["staff"],
        "rooms_gained": [],
        "rooms_lost": [],
    }
    assert server.house.desk.version == version and "staff" in server.house.desk.policy.roles
    nothing = {"method": "POST", "path": "/api/roles", "body": {"key": "new", "permissions": ["a.b"]}}
    seen = await does(root, "POST", "/api/permissions/preview", {"changes": [nothing]}, 200)
    assert (seen["people"], seen["summary"]["text"]) == ([], "changes nobody's rights")


@pytest.mark.parametrize("seed", range(4))
async def test_what_a_preview_shows_is_what_is_sent(serve: Serve, seed: int) -> None:
    server, root, _ = await opened(serve)
    dice = random.Random(seed)
    people = [root, *[await server.person(f"p{number}") for number in range(4)]]
    for key in ("a", "b", "c"):
        await does(root, "POST", "/api/roles", {"key": key})
        await does(root, "POST", "/api/groups", {"key": key})
        await does(root, "POST", "/api/menus", {"key": key, "name": key})
    room = await root.opens(name="Tea", members=["p0", "p1"])
    steps: list[Step] = []
    server.house.desk.on_commit(lambda commit, made: steps.extend(made))
    for _ in range(60):
        calls = [made_up(dice, people, room) for _ in range(dice.choice([1, 1, 3]))]
        changes = [{"method": method, "path": path, "body": body} for method, path, body in calls]
        preview = await root.asks("POST", "/api/permissions/preview", {"changes": changes})
        steps.clear()
        if preview.status != 200:
            assert preview.status in (400, 404, 409), preview
            if len(calls) == 1:
                assert (await root.asks(*calls[0])).status == preview.status
            continue
        for call in calls:
            await does(root, *call)
        # Several calls are several versions: what counts is where they lead.
        first = {step.delta.who: step.delta.old for step in reversed(steps)}
        last = {step.delta.who: step.delta.new for step in steps}
        moved = {who for who in first if first[who] != last[who]}
        shown = {person["user_id"]: person for person in preview.json["people"]}
        assert set(shown) == moved, (calls, shown)
        for step in steps if len(calls) == 1 else ():
            seen, delta = shown[step.delta.who], step.delta
            assert pairs(seen["granted"]) == {(row.permission, row.scope, row.effect) for row in delta.rights.granted}
            assert pairs(seen["revoked"]) == {(row.permission, row.scope, row.effect) for row in delta.rights.revoked}
            assert seen["menus_added"] == [menu.key for menu in delta.menus_added]
            assert seen["menus_removed"] == list(delta.menus_removed)
            assert (seen["roles_before"], seen["roles_after"]) == (list(delta.old.roles), list(delta.new.roles))


def pairs(rows: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(row["permission"], row["scope"], row["effect"]) for row in rows}


def made_up(dice: random.Random, people: list[Person], room: str) -> tuple[str, str, Any]:
    """Some call of the policy; not all of them fit."""
    key, other = dice.choice("abcd"), dice.choice(["a", "b", None])
    person = dice.choice(people[1:])
    permissions = dice.sample(["chat.read", "chat.*", "menu.a", "menu.*", "*.read", "news.read"], 2)
    subject: dict[str, str] = dice.choice(
        [
            {"kind": "user", "id": person.id},
            {"kind": "role", "id": key},
            {"kind": "group", "id": key},
            {"kind": "everyone"},
            {"kind": "anonymous"},
        ]
    )
    grant = {
        "subject": subject,
        "permission": permissions[0],
        "scope": dice.choice(["*", f"room:{room}"]),
        "effect": dice.choice(["allow", "deny"]),
    }
    return dice.choice(
        [
            ("POST", "/api/roles", {"key": key, "parent": other, "permissions": permissions}),
            ("PATCH", f"/api/roles/{key}", {"parent": other}),
            ("PATCH", f"/api/roles/{key}", {"permissions": permissions}),
            ("DELETE", f"/api/roles/{key}", {}),
            ("PUT", f"/api/users/{person.id}/roles", {"roles": dice.sample(["a", "b", "c"], 2)}),
            ("POST", "/api/groups", {"key": key}),
            ("PUT", f"/api/groups/{key}/members", {"users": [person.id]}),
            ("DELETE", f"/api/groups/{key}", {}),
            ("POST", "/api/grants", grant),
            ("POST", "/api/grants", grant),
            ("POST", "/api/menus", {"key": key, "name": "M", "parent": other}),
            ("PATCH", f"/api/menus/{key}", {"permission": permissions[1]}),
            ("DELETE", f"/api/menus/{key}", {}),
        ]
    )
