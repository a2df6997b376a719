"""Who may open a socket, by what, from where, and what ends it (PROTOCOL 2.1, 2.2, 2.3)."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from tests.actors import PASSWORD, Answer, Chair, Person, Server
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

BAD = "x.y.z"
SIGNED_OUT = (4401, "unauthenticated")


async def knock(server: Server, room: str, query: str = "", **headers: str) -> Chair | Answer:
    """A socket opened with exactly these headers, or the answer that refused it."""
    url = f"{server.url.replace('http', 'ws', 1)}/ws/chat/{room}/{query}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    offered = sent.pop("Sec-WebSocket-Protocol", "").split(", ")
    try:
        connection = await websocket_connect(
            HTTPRequest(url, headers=sent), subprotocols=[name for name in offered if name] or None
        )
    except HTTPClientError as error:
        assert error.response is not None
        return Answer(error.code, error.response.headers, error.response.body or b"")
    chair = Chair(connection)
    chair.greeting = await chair.hears("connection_established")
    return chair


async def comes_in(server: Server, room: str, query: str = "", **headers: str) -> str:
    """The name under which somebody is let in, or the code of the refusal."""
    found = await knock(server, room, query, **headers)
    if isinstance(found, Answer):
        assert found.status in (401, 403), found
        return f"{found.status} {found.code}"
    await found.leaves()
    return str(found.greeting["user"])


async def ann_and_a_room(serve: Serve, **settings: Any) -> tuple[Server, Person, str]:
    server = await serve(**settings)
    ann = await server.person("ann")
    return server, ann, await ann.opens(name="Tea")


async def ticket_of(person: Person) -> str:
    return str((await person.asks("POST", "/api/ws-ticket")).json["ticket"])


async def test_each_kind_of_credential_lets_in(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    token, origin = str(ann.token), server.url
    assert await comes_in(server, room, Authorization=f"Bearer {token}") == "ann"
    assert await comes_in(server, room, Sec_WebSocket_Protocol=f"bearer.{token}, heartlink.v1") == "ann"
    assert await comes_in(server, room, f"?token={token}") == "ann"
    assert await comes_in(server, room, f"?token={await ticket_of(ann)}") == "ann"
    assert await comes_in(server, room, Cookie=f"heartlink_session={token}", Origin=origin) == "ann"


async def test_what_is_present_and_bad_is_never_passed_over(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    token = str(ann.token)
    good: dict[str, str] = {"Cookie": f"heartlink_session={token}", "Origin": server.url}
    refused = "401 invalid_token"
    assert await comes_in(server, room, f"?token={token}", Authorization=f"Bearer {BAD}", **good) == refused
    assert await comes_in(server, room, f"?token={token}", Authorization="Basic eA==", **good) == refused
    assert await comes_in(server, room, f"?token={token}", Sec_WebSocket_Protocol=f"bearer.{BAD}") == refused
    for query in (f"?token={BAD}", "?token=", "?token=null", "?token=undefined", "?token=%00"):
        assert await comes_in(server, room, query, **good) == refused, query
    assert await comes_in(server, room, Cookie=f"heartlink_session={BAD}", Origin=server.url) == refused
    assert await comes_in(server, room) == "401 unauthenticated"


async def test_a_ticket_is_spent_by_an_upgrade_and_not_by_a_look(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    query = f"?token={await ticket_of(ann)}"
    for _ in range(2):
        look = await server.stranger().asks("GET", f"/ws/chat/{room}/{query}")
        assert (look.status, look.json["would"], look.json["error"]) == (426, 101, None)
    assert await comes_in(server, room, query) == "ann"
    assert await comes_in(server, room, query) == "401 invalid_token"
    look = await server.stranger().asks("GET", f"/ws/chat/{room}/{query}")
    assert (look.status, look.json["would"], look.json["error"]["code"]) == (426, 401, "invalid_token")


async def test_a_cookie_needs_the_origin_of_this_host_or_of_a_friend(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve, allowed_origins=("https://friend.example",))
    cookie = f"heartlink_session={ann.token}"
    assert await comes_in(server, room, Cookie=cookie) == "403 origin_missing"
    for origin in ("http://evil.example", "null", "https://friend.example.evil.example", "http://friend.example"):
        assert await comes_in(server, room, Cookie=cookie, Origin=origin) == "403 origin_not_allowed", origin
    assert await comes_in(server, room, Cookie=cookie, Origin="https://friend.example") == "ann"
    refused = await knock(server, room, Cookie=cookie, Origin="http://evil.example")
    assert isinstance(refused, Answer)
    message = refused.json["error"]["message"]
    assert "http://evil.example" in message and f"127.0.0.1:{server.port}" in message
    assert await comes_in(server, room, Authorization=f"Bearer {ann.token}", Origin="http://evil.example") == "ann"


async def test_a_name_that_was_made_to_lead_here_is_refused(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    cookie = f"heartlink_session={ann.token}"
    headers = {"Cookie": cookie, "Host": "evil.example", "Origin": "http://evil.example"}
    assert await comes_in(server, room, **headers) == "403 host_not_allowed"


async def test_logging_out_ends_the_sockets_of_that_log_in_only(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    answer = await ann.asks("POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
    other = server.holding(answer.json)
    later = server.holding((await ann.asks("POST", "/api/auth/refresh")).json)
    ending = [await ann.sits_in(room), await later.sits_in(room)]
    staying = await other.sits_in(room)
    assert (await ann.asks("POST", "/api/auth/logout")).status == 204
    for chair in ending:
        assert await chair.is_closed() == SIGNED_OUT
    await staying.says("still here")
    assert await comes_in(server, room, Authorization=f"Bearer {later.token}") == "401 invalid_token"


async def test_a_new_password_ends_every_socket(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    answer = await ann.asks("POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
    other = server.holding(answer.json)
    chairs = [await ann.sits_in(room), await other.sits_in(room)]
    ticket = await ticket_of(other)
    body = {"old_password": PASSWORD, "new_password": "another good one"}
    changed = await ann.asks("POST", "/api/auth/password", body)
    for chair in chairs:
        assert await chair.is_closed() == SIGNED_OUT
    for query in (f"?token={ann.token}", f"?token={other.token}", f"?token={ticket}"):
        assert await comes_in(server, room, query) == "401 invalid_token"
    await (await server.holding(changed.json).sits_in(room)).says("back again")


async def test_a_deactivated_user_is_out_in_the_same_turn(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    chair = await ann.sits_in(room)
    user = await server.house.users.get(ann.user["id"])
    assert user is not None
    await server.house.auth.deactivate(user.id)
    assert await chair.is_closed() == SIGNED_OUT
    assert await comes_in(server, room, Authorization=f"Bearer {ann.token}") == "401 invalid_token"


async def test_another_token_keeps_a_socket_open(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    bob = await server.person("bob")
    answer = await ann.asks("POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
    other = server.holding(answer.json)
    chair = await ann.sits_in(room)
    for token, code in ((BAD, "invalid_token"), ("", "invalid_token"), (bob.token, "unauthenticated")):
        assert (await chair.asks({"type": "reauth", "token": token}))["error_code"] == code
    assert (await chair.asks({"type": "reauth", "token": other.token}))["type"] == "reauth_ok"
    await ann.asks("POST", "/api/auth/logout")
    await chair.says("the other token counts now")
    ticket = await ticket_of(other)
    assert (await chair.asks({"type": "reauth", "token": ticket}))["type"] == "reauth_ok"
    assert (await chair.asks({"type": "reauth", "token": ticket}))["error_code"] == "invalid_token"


async def test_the_subprotocol_is_answered_and_is_never_the_token(serve: Serve) -> None:
    server, ann, room = await ann_and_a_room(serve)
    offered = (
        (f"bearer.{ann.token}, heartlink.v1", "heartlink.v1"),
        (f"other, bearer.{ann.token}, heartlink.v1", "heartlink.v1"),
        (f"bearer.{ann.token}, other, more", "other"),
    )
    for offer, chosen in offered:
        chair = await knock(server, room, Sec_WebSocket_Protocol=offer)
        assert isinstance(chair, Chair)
        assert chair._connection.selected_subprotocol == chosen
        await chair.leaves()
