"""Mutes and bans: made and lifted by those who run a room, acting at once (PROTOCOL 4.4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actors import Chair, Person, Server
from tests.administrators import administrator
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test


async def a_room(serve: Serve) -> tuple[Server, Person, Person, Person, str]:
    """A room with its owner, an admin of the room, and a member."""
    server = await serve()
    owner, keeper, bob = [await server.person(name) for name in ("owner", "keeper", "bob")]
    room = await owner.opens(name="Square", kind="public", members=["keeper", "bob"])
    answer = await owner.asks("PATCH", f"/api/rooms/{room}/members/{keeper.id}", {"role": "admin"})
    assert answer.status == 200
    return server, owner, keeper, bob, room


async def capabilities(chair: Chair) -> Any:
    return (await chair.hears("capabilities_changed"))["capabilities"]


async def test_a_muted_member_reads_and_does_not_write(serve: Serve) -> None:
    _, _, keeper, bob, room = await a_room(serve)
    at_bob = await bob.sits_in(room)
    muted = await keeper.asks("PUT", f"/api/rooms/{room}/mutes/{bob.id}", {"why": "A quiet hour"})
    assert muted.status == 200, muted
    assert muted.json == {
        "user_id": bob.id,
        "username": "bob",
        "display_name": "bob",
        "kind": "mute",
        "expires_at": None,
    }
    changed = await at_bob.hears("capabilities_changed")
    assert changed["because"] == "A quiet hour" and "chat.send" not in changed["capabilities"]
    refused = await at_bob.asks({"type": "message", "content": "but"})
    assert refused["error_code"] == "forbidden" and refused["decision_id"]
    why = await bob.asks("POST", "/api/permissions/explain", {"decision_id": refused["decision_id"]})
    assert {"owner", "keeper"} <= {granter["username"] for granter in why.json["who_can_grant"]}
    listed = await keeper.asks("GET", f"/api/rooms/{room}/restrictions")
    assert listed.json == {"restrictions": [muted.json]}
    assert (await keeper.asks("DELETE", f"/api/rooms/{room}/mutes/{bob.id}")).status == 204
    assert "chat.send" in await capabilities(at_bob)
    await at_bob.says("thank you")
    assert (await keeper.asks("DELETE", f"/api/rooms/{room}/mutes/{bob.id}")).status == 404


async def test_a_mute_ends_by_itself(serve: Serve) -> None:
    _, _, keeper, bob, room = await a_room(serve)
    at_bob = await bob.sits_in(room)
    answer = await keeper.asks("PUT", f"/api/rooms/{room}/mutes/{bob.id}", {"expires_in": 1})
    assert answer.json["expires_at"] is not None
    assert "chat.send" not in await capabilities(at_bob)
    assert "chat.send" in await capabilities(at_bob)
    await at_bob.says("again")


async def test_who_is_banned_is_out_and_does_not_come_back(serve: Serve) -> None:
    _, owner, keeper, bob, room = await a_room(serve)
    link = (await owner.asks("POST", f"/api/rooms/{room}/invites", {})).json["code"]
    at_bob, at_owner = await bob.sits_in(room), await owner.sits_in(room)
    assert (await keeper.asks("PUT", f"/api/rooms/{room}/bans/{bob.id}", {"why": "Enough"})).status == 200
    assert (await at_bob.hears("access_revoked"))["because"] == "Enough"
    assert await at_bob.is_closed() == (4403, "forbidden")
    assert (await at_owner.hears("member_removed"))["user_id"] == bob.id
    for method, path in (("POST", f"/api/rooms/{room}/members"), ("POST", f"/api/invites/{link}")):
        refused = await bob.asks(method, path, {})
        assert (refused.status, refused.code) == (403, "forbidden"), refused
        assert refused.json["error"]["message"] == "You are banned from this room."
    added = await owner.asks("POST", f"/api/rooms/{room}/members", {"username": "bob"})
    assert (added.status, added.code) == (409, "conflict")
    assert (await owner.asks("DELETE", f"/api/rooms/{room}/bans/{bob.id}")).status == 204
    assert (await bob.asks("POST", f"/api/rooms/{room}/members", {})).status == 201
    await bob.sits_in(room)


async def test_a_room_from_which_its_last_member_was_banned_ends(serve: Serve) -> None:
    server = await serve()
    root, bob = await administrator(server), await server.person("bob")
    room = await bob.opens(name="Alone")
    assert (await root.asks("PUT", f"/api/rooms/{room}/bans/{bob.id}", {})).status == 200
    assert (await root.asks("GET", f"/api/rooms/{room}")).json["status"] == "ended"


async def test_nobody_restricts_those_of_their_own_rank_or_above(serve: Serve) -> None:
    server, owner, keeper, bob, room = await a_room(serve)
    stranger = await server.person("stranger")
    rows = [
        (keeper, owner, 403),
        (bob, keeper, 403),
        (bob, bob, 409),
        (owner, owner, 409),
        (stranger, bob, 403),
        (owner, keeper, 200),
    ]
    for who, whom, expected in rows:
        for kind in ("mutes", "bans"):
            answer = await who.asks("PUT", f"/api/rooms/{room}/{kind}/{whom.id}", {})
            assert answer.status == expected, (who.name, whom.name, kind, answer)
    nobody = await owner.asks("PUT", f"/api/rooms/{room}/mutes/nobody", {})
    assert (nobody.status, nobody.code) == (404, "not_found")
    outside = await owner.asks("PUT", f"/api/rooms/{room}/mutes/{stranger.id}", {})
    assert outside.status == 404, "only members are muted"
    assert (await owner.asks("PUT", f"/api/rooms/{room}/bans/{stranger.id}", {})).status == 200
    for body in ({"expires_in": 0}, {"expires_in": 10**9}, {"why": "x" * 501}, {"expires_in": "soon"}):
        refused = await owner.asks("PUT", f"/api/rooms/{room}/mutes/{bob.id}", body)
        assert (refused.status, refused.code) == (400, "invalid_parameters"), body


async def test_what_an_administrator_denied_is_not_lifted_in_the_room(serve: Serve) -> None:
    server, owner, _, bob, room = await a_room(serve)
    root = await administrator(server)
    denied = {
        "subject": {"kind": "user", "id": bob.id},
        "permission": "chat.send",
        "scope": f"room:{room}",
        "effect": "deny",
    }
    assert (await root.asks("POST", "/api/grants", denied)).status == 201
    assert (await owner.asks("GET", f"/api/rooms/{room}/restrictions")).json == {"restrictions": []}
    assert (await owner.asks("DELETE", f"/api/rooms/{room}/mutes/{bob.id}")).status == 404
    asked = {"resource": "chat", "action": "send", "scope": f"room:{room}"}
    why = await bob.asks("POST", "/api/permissions/explain", asked)
    assert [granter["kind"] for granter in why.json["who_can_grant"]] == ["administrators"]
