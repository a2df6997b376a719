"""Questions about rights, words to people, accounts, connections, and the first administrator (PROTOCOL 4.3, 5, 7)."""

from __future__ import annotations

import json
import re
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import launching
from tests.actors import PASSWORD, Answer, Person, Server
from tests.administrators import administrator, does, grants
from tests.conftest import Serve

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def opened(serve: Serve, **settings: Any) -> tuple[Server, Person, Person]:
    """A server with an administrator, and ann, who is nobody in particular."""
    server = await serve(**settings)
    return server, await administrator(server), await server.person("ann")


async def explained(person: Person, permission: str, scope: str = "*", **more: Any) -> Any:
    resource, action = permission.split(".")
    body = {"resource": resource, "action": action, "scope": scope, **more}
    return await does(person, "POST", "/api/permissions/explain", body, 200)


async def checked(person: Person, *permissions: str, **more: Any) -> list[bool]:
    checks = [
        dict(zip(("resource", "action"), permission.split("."), strict=True), **more) for permission in permissions
    ]
    reply = await does(person, "POST", "/api/permissions/check", {"checks": checks}, 200)
    return [row["has_permission"] for row in reply["results"]]


# --- May I? ------------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_my_rights_are_roles_groups_permissions_and_menus(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", {"key": "staff", "permissions": ["news.*"]})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]})
    await grants(root, "user", ann.id, "news.write", effect="deny")
    ends = (await grants(root, "user", ann.id, "chat.read", "room:tea", expires_in=600))["expires_at"]
    await does(root, "POST", "/api/roles", {"key": "unrelated"})
    mine = await does(ann, "GET", "/api/permissions/me")
    assert mine["version"] == server.house.desk.version == mine["stream_version"] + 1
    assert (mine["roles"], mine["groups"]) == (["staff"], [])
    assert [row for row in mine["permissions"] if row["permission"].startswith(("news", "chat"))] == [
        {"permission": "news.*", "scope": "*", "expires_at": None, "effect": "allow"},
        {"permission": "news.write", "scope": "*", "expires_at": None, "effect": "deny"},
        {"permission": "chat.read", "scope": "room:tea", "expires_at": ends, "effect": "allow"},
    ]
    assert [menu["key"] for menu in mine["menus"]] == ["rooms", "permissions"]
    assert set(mine["menus"][0]) == {"key", "name", "icon", "url", "parent", "sort_order"}
    # The stream says the same, and goes on from there.
    stream = await ann.listens(query=f"?since={mine['stream_version']}&epoch={server.house.epoch}")
    assert stream.greeting["resume"] == "changes"


@pytest.mark.gen_test
async def test_checks_answer_for_oneself_for_nobody_and_with_the_right_for_others(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await grants(root, "user", ann.id, "chat.send", "room:tea")
    await grants(root, "anonymous", None, "news.read")
    assert await checked(ann, "chat.send", "room.create") == [False, True]
    assert await checked(ann, "chat.send", scope="room:tea") == [True]
    assert await checked(server.stranger(), "news.read", "room.create") == [True, False]
    reply = await does(
        root,
        "POST",
        "/api/permissions/check",
        {"checks": [{"resource": "chat", "action": "send", "scope": "room:tea", "user_id": ann.id}]},
        200,
    )
    row = reply["results"][0]
    assert row == {
        "resource": "chat",
        "action": "send",
        "scope": "room:tea",
        "has_permission": True,
        "decision_id": row["decision_id"],
    }
    assert reply["version"] == server.house.desk.version
    about_root = {"checks": [{"resource": "a", "action": "b", "user_id": root.id}]}
    answer = await ann.asks("POST", "/api/permissions/check", about_root)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert (await server.stranger().asks("POST", "/api/permissions/check", about_root)).status == 401
    about_nobody = {"checks": [{"resource": "a", "action": "b", "user_id": "nobody"}]}
    assert (await ann.asks("POST", "/api/permissions/check", about_nobody)).status == 403
    assert (await root.asks("POST", "/api/permissions/check", about_nobody)).status == 404
    # Who may have rights explained, and nothing else, gets there as well.
    await grants(root, "user", ann.id, "permissions.explain")
    assert (await ann.asks("POST", "/api/permissions/check", about_root)).status == 200


@pytest.mark.gen_test
async def test_a_check_may_ask_for_a_version(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    version = (await grants(root, "user", ann.id, "a.b"))["version"]
    check = {"checks": [{"resource": "a", "action": "b"}], "min_version": version}
    assert (await does(ann, "POST", "/api/permissions/check", check, 200))["version"] == version
    answer = await ann.asks("POST", "/api/permissions/check", {**check, "min_version": version + 1})
    assert (answer.status, answer.code) == (409, "conflict")
    assert str(version) in answer.json["error"]["message"] and "Retry-After" in answer.headers


@pytest.mark.gen_test
async def test_questions_that_do_not_fit(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    bad: list[tuple[str, Any, str]] = [
        ("check", {}, "checks"),
        ("check", {"checks": [{}]}, "resource"),
        ("check", {"checks": [{"resource": "a"}]}, "action"),
        ("check", {"checks": [{"resource": "a b", "action": "b"}]}, "checks[0].resource"),
        ("check", {"checks": [{"resource": "a", "action": "b", "scope": "tea"}]}, "checks[0].scope"),
        ("check", {"checks": [{"resource": "a", "action": "b"}] * 1001}, "checks"),
        ("check", {"checks": [], "min_version": -1}, "min_version"),
        ("explain", {}, "resource"),
        ("explain", {"resource": "a"}, "action"),
        ("explain", {"resource": "a", "action": "b", "scope": "room:"}, "scope"),
        ("explain", {"decision_id": 5}, "decision_id"),
    ]
    for what, body, field in bad:
        answer = await ann.asks("POST", f"/api/permissions/{what}", body)
        assert answer.status == 400, (body, answer)
        assert field in answer.json["error"]["fields"], (body, answer)
    both = {"decision_id": "x", "resource": "a", "action": "b"}
    assert (await ann.asks("POST", "/api/permissions/explain", both)).status == 400


# --- Why? --------------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_an_explanation_names_the_chain_that_decided(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", {"key": "low", "name": "Low", "permissions": ["news.*"]})
    await does(root, "POST", "/api/roles", {"key": "high", "name": "High", "parent": "low"})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["high"]})
    told = await explained(ann, "news.read")
    assert (told["allowed"], told["needs"], told["who_can_grant"]) == (True, [], [])
    assert told["because"] == [
        {
            "effect": "allow",
            "permission": "news.*",
            "scope": "*",
            "via": "role",
            "chain": ["high", "low"],
            "grant_id": None,
            "expires_at": None,
            "text": "Your role High, by way of Low, allows you 'news.*' everywhere.",
        }
    ]
    denied = await grants(root, "everyone", None, "news.read", "room:tea", effect="deny", expires_in=600)
    told = await explained(ann, "news.read", "room:tea")
    assert told["allowed"] is False
    assert told["because"][0]["grant_id"] == denied["id"]
    assert told["because"][0]["text"] == (f"Everyone is denied 'news.read' in this room, until {denied['expires_at']}.")
    assert told["needs"] == [
        {
            "what": "lift_denial",
            "permission": "news.read",
            "scope": "room:tea",
            "text": "The denial of 'news.read' in this room must be lifted.",
        }
    ]
    silent = await explained(ann, "other.thing")
    assert (silent["because"], silent["needs"][0]["what"]) == ([], "grant")


@pytest.mark.gen_test
async def test_a_decision_is_explained_as_it_was_and_as_it_is(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    check = {"checks": [{"resource": "a", "action": "b"}]}
    decision_id = (await does(ann, "POST", "/api/permissions/check", check, 200))["results"][0]["decision_id"]
    asked_at = server.house.desk.version
    told = await does(ann, "POST", "/api/permissions/explain", {"decision_id": decision_id}, 200)
    assert (told["allowed"], told["permission"], told["decision_id"]) == (False, "a.b", decision_id)
    assert told["decided"] == {"allowed": False, "version": asked_at, "changed_since": False}
    await grants(root, "user", ann.id, "a.b")
    told = await does(ann, "POST", "/api/permissions/explain", {"decision_id": decision_id}, 200)
    assert told["allowed"] is True
    assert told["decided"] == {"allowed": False, "version": asked_at, "changed_since": True}
    # Refusals over REST can be asked about as well.
    refused = await ann.asks("GET", "/api/roles")
    told = await does(
        ann, "POST", "/api/permissions/explain", {"decision_id": refused.json["error"]["decision_id"]}, 200
    )
    assert (told["allowed"], told["permission"], told["scope"]) == (False, "permissions.manage", "*")
    # Somebody else's is as unknown as one that never was.
    bob = await server.person("bob")
    for person in (bob, root, server.stranger()):
        for unknown in (decision_id, "0123456789abcdef"):
            answer = await person.asks("POST", "/api/permissions/explain", {"decision_id": unknown})
            assert (answer.status, answer.code) == (404, "not_found")
    told = await does(root, "POST", "/api/permissions/explain", {"decision_id": decision_id, "user_id": ann.id}, 200)
    assert told["allowed"] is True


@pytest.mark.gen_test
async def test_an_explanation_tells_nothing_of_others(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    bob, cyn = await server.person("bob"), await server.person("cyn")
    secret = await bob.opens(name="Secret", members=["cyn", "root"])
    await does(root, "POST", "/api/roles", {"key": "hidden", "name": "Hidden", "permissions": ["secret.read"]})
    await does(root, "PUT", f"/api/users/{bob.id}/roles", {"roles": ["hidden"]})
    await does(root, "POST", "/api/groups", {"key": "cabal", "name": "Cabal"})
    await does(root, "PUT", "/api/groups/cabal/members", {"users": [cyn.id]})
    await grants(root, "group", "cabal", "secret.write")
    await grants(root, "user", cyn.id, "chat.send", f"room:{secret}", effect="deny")
    names = ("bob", "cyn", "root", "hidden", "Hidden", "cabal", "Cabal", "Secret", bob.id, cyn.id, root.id)
    for person in (ann, server.stranger()):
        for permission, scope in (
            ("chat.read", f"room:{secret}"),
            ("chat.send", f"room:{secret}"),
            ("secret.read", "*"),
            ("secret.write", "*"),
            ("permissions.manage", "*"),
        ):
            told = await explained(person, permission, scope)
            said = json.dumps(told, ensure_ascii=False)
            assert told["allowed"] is False
            assert [name for name in names if name in said] == [], said
            assert [granter["kind"] for granter in told["who_can_grant"]] == ["administrators"]
            # A room that does not exist is told of in the same words.
            elsewhere = await explained(person, permission, scope.replace(secret, "no-such-room"))
            assert json.dumps(elsewhere) == json.dumps(told).replace(secret, "no-such-room")
        answer = await person.asks(
            "POST", "/api/permissions/explain", {"resource": "a", "action": "b", "user_id": bob.id}
        )
        assert answer.status == (403 if person is ann else 401)
    # Who belongs to the room is told who runs it, and no more.
    told = await explained(cyn, "chat.moderate", f"room:{secret}")
    assert [granter["username"] for granter in told["who_can_grant"]] == ["bob", None]
    assert (await explained(cyn, "secret.read"))["who_can_grant"][0]["kind"] == "administrators"
    # With the right to know, one does.
    assert (await explained(root, "secret.read", user_id=bob.id))["because"][0]["chain"] == ["hidden"]


# --- Words to people ---------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_notification_reaches_those_it_is_for(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    bob = await server.person("bob")
    at_ann, at_bob, at_door = await ann.listens(), await bob.listens(), await server.stranger().listens()
    body = {"message": "Down at noon 中午", "priority": "high", "users": [ann.id]}
    assert await does(root, "POST", "/api/notifications", body, 202) == {"sent_to": 1}
    heard = await at_ann.hears("system_notification")
    assert heard["data"] == {"message": "Down at noon 中午", "priority": "high", "type": "info", "by": "root"}
    assert ISO.fullmatch(heard["timestamp"])
    all_body = {"message": "All hear this", "priority": "normal", "type": "maintenance"}
    assert await does(root, "POST", "/api/notifications", all_body, 202) == {"sent_to": 3}
    for stream in (at_bob, at_ann, at_door):
        assert (await stream.hears("system_notification"))["data"]["type"] == "maintenance"
    sent = await does(root, "POST", "/api/cache-invalidations", {"users": [bob.id], "keys": ["reports", "用户"]}, 202)
    assert sent == {"sent_to": 1}
    assert (await at_bob.hears("cache_invalidation"))["data"] == {"userId": bob.id, "cacheKeys": ["reports", "用户"]}
    for path, bad in (
        ("/api/notifications", {"message": " ", "priority": "high"}),
        ("/api/notifications", {"message": "x", "priority": "loud"}),
        ("/api/notifications", {"message": "x" * 2001}),
        ("/api/notifications", {"message": "x", "users": ["nobody"]}),
        ("/api/notifications", {"message": "x", "type": "no spaces"}),
        ("/api/cache-invalidations", {"keys": []}),
        ("/api/cache-invalidations", {"keys": [""]}),
        ("/api/cache-invalidations", {"keys": ["x"], "users": ["nobody"]}),
    ):
        assert (await root.asks("POST", path, bad)).status == 400, (path, bad)


@pytest.mark.gen_test
async def test_to_send_words_one_right_is_enough_and_it_opens_nothing_else(serve: Serve) -> None:
    _, root, ann = await opened(serve)
    body = {"message": "hi", "priority": "low"}
    assert (await ann.asks("POST", "/api/notifications", body)).status == 403
    await grants(root, "user", ann.id, "notifications.send")
    assert (await ann.asks("POST", "/api/notifications", body)).status == 202
    assert (await ann.asks("POST", "/api/cache-invalidations", {"keys": ["x"]})).status == 403
    assert (await ann.asks("GET", "/api/roles")).status == 403


@pytest.mark.gen_test
async def test_asking_for_access_reaches_those_who_can_give_it_and_nobody_else(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    bob, cyn = await server.person("bob"), await server.person("cyn")
    room = await bob.opens(name="Tea", members=["ann", "cyn"])
    at_root, at_bob, at_cyn = await root.listens(), await bob.listens(), await cyn.listens()
    scope = f"room:{room}"
    asked = {"permission": "chat.moderate", "scope": scope, "message": "Please"}
    assert await does(ann, "POST", "/api/access-requests", asked, 202) == {
        "permission": "chat.moderate",
        "scope": scope,
    }
    expected = {
        "kind": "access_request",
        "user_id": ann.id,
        "username": "ann",
        "permission": "chat.moderate",
        "scope": scope,
        "message": "Please",
    }
    for stream in (at_bob, at_root):
        assert (await stream.hears("notification"))["data"] == expected
    # In a room that she does not belong to she knocks at nobody's door but the administrators'.
    elsewhere = await bob.opens(name="Elsewhere")
    await does(ann, "POST", "/api/access-requests", {"permission": "chat.read", "scope": f"room:{elsewhere}"}, 202)
    await does(ann, "POST", "/api/access-requests", {"permission": "news.read"}, 202)
    for _ in range(2):
        await at_root.hears("notification")
    for stream in (at_bob, at_cyn):
        before = len(stream.heard)
        await stream.asks({"type": "ping"})
        assert [frame for frame in stream.heard[before:] if frame["type"] == "notification"] == []
    answer = await ann.asks("POST", "/api/access-requests", {"permission": "chat.send", "scope": scope})
    assert (answer.status, answer.code) == (409, "conflict")
    for bad in (
        {"permission": "chat"},
        {"permission": "a.b", "scope": "tea"},
        {"permission": "a.b", "message": "x" * 501},
    ):
        assert (await ann.asks("POST", "/api/access-requests", bad)).status == 400, bad
    answers = [await ann.asks("POST", "/api/access-requests", {"permission": "a.b"}) for _ in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1


# --- Accounts and connections ------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_accounts_are_listed_with_their_roles(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    await does(root, "POST", "/api/roles", {"key": "staff"})
    await does(root, "PUT", f"/api/users/{ann.id}/roles", {"roles": ["staff"]})
    anna = await server.person("Anna")
    await does(root, "PATCH", f"/api/users/{anna.id}", {"is_active": False})
    page = await does(root, "GET", "/api/admin/users?q=AN")
    assert [(row["username"], row["roles"], row["is_active"]) for row in page["users"]] == [
        ("ann", ["staff"], True),
        ("Anna", [], False),
    ]
    assert set(page["users"][0]) == {
        "id",
        "username",
        "display_name",
        "is_active",
        "is_online",
        "roles",
        "groups",
        "created_at",
    }
    found: list[str] = []
    after = ""
    for _ in range(3):
        page = await does(root, "GET", f"/api/admin/users?limit=1&after={after}")
        after = page["users"][0]["username"]
        found.append(after)
    assert (found, page["has_more"]) == (["ann", "Anna", "root"], False)
    assert [row["username"] for row in (await does(root, "GET", "/api/admin/users?q=ann&after=ann"))["users"]] == [
        "Anna"
    ]


@pytest.mark.gen_test
async def test_a_deactivated_account_is_out_at_once_and_may_come_back(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    room = await root.opens(name="Tea", members=["ann"])
    chat, stream = await ann.sits_in(room), await ann.listens()
    shut = await does(root, "PATCH", f"/api/users/{ann.id}", {"is_active": False})
    assert (shut["username"], shut["is_active"]) == ("ann", False)
    assert await chat.is_closed() == (4401, "unauthenticated")
    assert await stream.is_closed() == (4401, "unauthenticated")
    assert (await ann.asks("GET", "/api/me")).status == 401
    body = {"username": "ann", "password": PASSWORD}
    assert (await server.stranger().asks("POST", "/api/auth/login", body)).status == 401
    await does(root, "PATCH", f"/api/users/{ann.id}", {"is_active": True})
    assert (await server.stranger().asks("POST", "/api/auth/login", body)).status == 200
    assert (await ann.asks("GET", "/api/me")).status == 401, "old tokens stay ended"
    assert (await root.asks("PATCH", "/api/users/nobody", {"is_active": False})).status == 404
    assert (await root.asks("PATCH", f"/api/users/{ann.id}", {})).status == 400
    assert (await root.asks("PATCH", f"/api/users/{ann.id}", {"is_active": "no"})).status == 400


@pytest.mark.gen_test
async def test_connections_are_listed(serve: Serve) -> None:
    server, root, ann = await opened(serve)
    room = await ann.opens(name="Tea")
    chat = await ann.sits_in(room)
    await server.stranger().listens()
    await chat.hears("user_joined")
    listed = await does(root, "GET", "/api/connections")
    first, second = listed["connections"]
    assert listed["total"] == 2
    assert (first["kind"], first["room_id"], first["username"], first["user_id"]) == ("chat", room, "ann", ann.id)
    assert (second["kind"], second["room_id"], second["username"], second["user_id"]) == (
        "permissions",
        None,
        None,
        None,
    )
    assert first["address"] == "127.0.0.1" and ISO.fullmatch(first["since"])
    assert first["bytes_out"] > 0 and (first["queued_frames"], first["queued_bytes"]) == (0, 0)
    await chat.leaves()
    assert (await does(root, "GET", "/api/connections"))["total"] == 1


# --- The first administrator -------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_first_who_registers_is_nobody_and_the_link_counts_once(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    assert (await ann.asks("GET", "/api/roles")).status == 403
    token = server.house.setup.token
    assert token is not None and len(token) >= 32
    for wrong in ("", "x", token[:-1], token + "x", token.swapcase()):
        assert (await ann.asks("POST", f"/setup/{wrong}", {})).status == 404
        assert (await ann.asks("GET", f"/setup/{wrong}")).status == 404
    for method in ("GET", "POST"):
        answer = await server.stranger().asks(method, f"/setup/{token}", None if method == "GET" else {})
        assert (answer.status, answer.headers["Location"]) == (302, f"/login?next=/setup/{token}")
    page = await ann.asks("GET", f"/setup/{token}")
    assert page.status == 200 and token in page.body.decode()
    assert (await ann.asks("GET", "/api/roles")).status == 403, "looking is not enough"
    assert (await ann.asks("POST", f"/setup/{token}", {})).status == 303
    assert (await ann.asks("GET", "/api/roles")).status == 200
    for person in (ann, bob):
        assert (await person.asks("POST", f"/setup/{token}", {})).status == 404
        assert (await person.asks("GET", f"/setup/{token}")).status == 404
    assert (await bob.asks("GET", "/api/roles")).status == 403
    audit = await does(ann, "GET", "/api/audit?limit=1")
    assert (audit["entries"][0]["by"], audit["entries"][0]["why"]) == ("ann", "ann opened the setup link")


@pytest.mark.gen_test
async def test_the_button_of_the_setup_page_needs_the_token_of_its_page(serve: Serve) -> None:
    server = await serve()
    body = {"username": "ann", "password": PASSWORD}
    signed_in = await server.stranger().asks("POST", "/api/auth/register", body)
    cookies = {
        name: morsel.value
        for line in signed_in.headers.get_list("Set-Cookie")
        for name, morsel in SimpleCookie(line).items()
    }
    path = f"/setup/{server.house.setup.token}"
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    page = await server.stranger().asks("GET", path, headers=headers)
    xsrf = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
    assert xsrf is not None
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    forged = await pressed(server, path, form, "wrong")
    assert forged.status == 403
    assert server.house.setup.token is not None
    assert (await pressed(server, path, form, xsrf.group(1))).status == 303
    assert server.house.setup.token is None


async def pressed(server: Server, path: str, headers: dict[str, str], xsrf: str) -> Answer:
    return await server.stranger().asks("POST", path, urlencode({"_xsrf": xsrf}).encode(), headers=headers)


@pytest.mark.gen_test
async def test_a_link_is_void_once_somebody_administers(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    token = server.house.setup.token or ""
    await server.house.setup.create("bob", "")
    assert (await ann.asks("POST", f"/setup/{token}", {})).status == 404
    assert (await ann.asks("GET", "/api/roles")).status == 403
    assert (await bob.asks("GET", "/api/roles")).status == 200


def test_the_server_prints_the_link_and_logs_nothing_of_it(tmp_path: Path) -> None:
    with launching.Server("--port=0", f"--data-dir={tmp_path}") as server:
        server.address()
        line = next(line for line in server.said if "/setup/" in line)
        address = line.rpartition(" ")[2]
        token = address.rpartition("/")[2]
        assert ask(address)[0] == 302
        assert ask(address + "x")[0] == 404
        server.signal(launching.signal.SIGTERM)
        code, _, errors = server.exit()
    assert code == 0
    assert "/setup/…" in errors and token not in errors


def test_an_administrator_is_made_by_name(tmp_path: Path) -> None:
    flags = ("--port=0", f"--data-dir={tmp_path}", "--create-admin=Boss")
    with launching.Server(*flags) as server:
        address = server.address()
        line = next(line for line in server.said if "administrator Boss" in line)
        found = re.search(r"password (\S+)", line)
        assert found is not None and not any("/setup/" in said for said in server.said)
        token = sign_in(address, "boss", found.group(1))
        assert ask(f"{address}/api/roles", token)[0] == 200
    # The account is there now: nothing is made, and nothing is printed.
    with launching.Server(*flags, environment={"HEARTLINK_ADMIN_PASSWORD": "another password"}) as server:
        address = server.address()
        assert not any("Made the administrator" in said or "/setup/" in said for said in server.said)
        assert sign_in(address, "boss", found.group(1))


def test_the_password_of_the_administrator_may_be_given(tmp_path: Path) -> None:
    environment = {"HEARTLINK_CREATE_ADMIN": "boss", "HEARTLINK_ADMIN_PASSWORD": "a password of mine"}
    with launching.Server("--port=0", f"--data-dir={tmp_path}", environment=environment) as server:
        address = server.address()
        assert not any("Made the administrator" in said or "a password of mine" in said for said in server.said)
        assert sign_in(address, "boss", "a password of mine")


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [("x" * 65, "", "x" * 64), ("two words", "", "two words"), ("boss", "short", "password")],
)
def test_an_administrator_that_cannot_be_made_is_explained(
    tmp_path: Path, name: str, password: str, reason: str
) -> None:
    environment = {"HEARTLINK_ADMIN_PASSWORD": password} if password else {}
    flags = ("--port=0", f"--data-dir={tmp_path}", f"--create-admin={name}")
    with launching.Server(*flags, environment=environment) as server:
        code, _, errors = server.exit()
    assert code == 2, errors
    assert reason in errors and "Traceback" not in errors and errors.count("\n") == 1, errors


def ask(address: str, token: str = "", body: Any = None) -> tuple[int, Any]:
    """A request by the standard library; the status and what came."""
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    try:
        with build_opener(Stay).open(Request(address, content, headers), timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def sign_in(address: str, username: str, password: str) -> str:
    status, body = ask(f"{address}/api/auth/login", body={"username": username, "password": password})
    assert status == 200, body
    return str(json.loads(body)["token"])
