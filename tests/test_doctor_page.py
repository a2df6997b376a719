"""The doctor from the server's side: its addresses, its socket, and what it tells of a request (PROTOCOL 2.2, 6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from heartlink import diagnosis
from heartlink.diagnosis import Diagnosis
from heartlink.errors import StoreUnavailable
from heartlink.settings import Settings
from tests.actors import Chair, Person, Server
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

ADDRESSES = ("/doctor/", "/tools/heart_link/test/", "/static/websocket_fix_test.html", "/test-websocket.html")


def session_cookie(person: Person) -> str:
    return f"heartlink_session={person.token}"


async def at_the_doctor(server: Server, query: str = "", **headers: str) -> Chair:
    """A socket of the doctor, greeted."""
    url = server.url.replace("http", "ws", 1) + "/ws/doctor/" + query
    chair = Chair(await websocket_connect(HTTPRequest(url, headers=headers), subprotocols=["heartlink.v1"]))
    chair.greeting = await chair.hears("doctor_greeting")
    return chair


async def seen_of(person: Person, query: str = "", **headers: str) -> dict[str, Any]:
    answer = await person.asks("GET", f"/api/doctor/whoami{query}", headers=headers)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("address", ADDRESSES)
async def test_the_page_stands_at_its_old_addresses_too_and_needs_no_sign_in(serve: Serve, address: str) -> None:
    nobody = (await serve()).stranger()
    answer = await nobody.asks("GET", address)
    assert answer.status == 200 and b"js/page/doctor.js" in answer.body
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    if address.endswith("/"):
        redirect = await nobody.asks("GET", address.rstrip("/"))
        assert (redirect.status, redirect.headers["Location"]) == (301, address)
    # What lies beside it in the folder is still served.
    assert (await nobody.asks("GET", "/static/favicon.svg")).status == 200
    assert (await nobody.asks("GET", "/static/no_such.html")).status == 404


async def test_the_page_opens_while_the_storage_is_away(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    ann = await server.person("ann")

    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(server.house.auth, "identify", unavailable)
    answer = await server.stranger().asks("GET", "/doctor/", headers={"Cookie": session_cookie(ann)})
    assert answer.status == 200


async def test_what_is_sent_comes_back(serve: Serve) -> None:
    server = await serve()
    chair = await at_the_doctor(server)
    for text in ("hello", "你好，心动链接 ❤️", "x" * (60 << 10), ""):
        answer = await chair.asks({"type": "echo", "text": text})
        assert (answer["type"], answer["text"]) == ("echo_response", text)
        assert answer["bytes"] == len(text.encode())
    assert (await chair.asks({"type": "ping", "timestamp": 7}))["timestamp"] == 7
    assert (await chair.asks({"type": "heartbeat"}))["server_time"] > 1e9
    assert (await chair.asks({"type": "echo"}))["error_code"] == "missing_parameters"
    assert (await chair.asks({"type": "ecco", "text": "x"}))["fix"] == "Did you mean 'echo'?"
    assert (await chair.asks({"type": "reauth", "token": "x.y.z"}))["error_code"] == "unauthenticated"
    await chair.sends(b"\0\1")
    assert (await chair.hears("error"))["error_code"] == "unsupported_data"
    await chair.leaves()


async def test_the_greeting_says_how_the_handshake_arrived_but_no_secret(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    assert ann.token is not None
    headers = {"Authorization": f"Bearer {ann.token}", "Origin": "https://other.example", "Via": "1.1 squid-of-ours"}
    chair = await at_the_doctor(server, **headers)
    greeting = chair.greeting
    handshake = greeting["handshake"]
    assert greeting["user"] == "ann" and greeting["heartbeat_interval"] == 30
    assert (handshake["status"], handshake["code"], handshake["version"]) == (101, "", "13")
    assert (handshake["upgrade"], handshake["connection"]) == ("websocket", "Upgrade")
    assert (handshake["host"], handshake["origin"]) == (f"127.0.0.1:{server.port}", "https://other.example")
    assert (handshake["scheme"], handshake["address"]) == ("http", "127.0.0.1")
    assert (handshake["subprotocols"], handshake["proxy_headers"]) == (["heartlink.v1"], ["Via"])
    assert ann.token not in str(greeting) and "squid" not in str(greeting)
    assert greeting["limits"]["frame_bytes"] == 65536 and greeting["limits"]["messages_per_second"] == 20
    assert [one.connection.identity.user.username for one in contexts(server)] == ["ann"]
    await chair.leaves()


def contexts(server: Server) -> list[Any]:
    return [connection.context for connection, _ in server.house.hub.arrivals(10)]


async def test_a_bad_token_is_refused_as_everywhere(serve: Serve) -> None:
    server = await serve()
    answer = await server.stranger().asks("GET", "/ws/doctor/?token=nonsense")
    assert (answer.status, answer.json["would"], answer.json["error"]["code"]) == (426, 401, "invalid_token")


async def test_an_attempt_can_be_asked_about_afterwards(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    foreign = {"Cookie": session_cookie(ann), "Origin": "https://evil.example"}
    with pytest.raises(HTTPClientError) as refused:
        await at_the_doctor(server, "?attempt=one", **foreign)
    assert refused.value.code == 403
    arrived = (await seen_of(ann, "?attempt=one"))["handshake"]
    assert (arrived["status"], arrived["code"]) == (403, "origin_not_allowed")
    assert arrived["origin"] == "https://evil.example"

    # As a proxy leaves it that does not know of upgrades.
    lost = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13", "Connection": "close"}
    assert (await server.stranger().asks("GET", "/ws/doctor/?attempt=two", headers=lost)).status == 426
    arrived = (await seen_of(ann, "?attempt=two"))["handshake"]
    assert (arrived["status"], arrived["code"]) == (426, "upgrade_headers_lost")
    assert (arrived["upgrade"], arrived["connection"]) == ("", "close")

    chair = await at_the_doctor(server, "?attempt=three")
    assert (await seen_of(ann, "?attempt=three"))["handshake"]["status"] == 101
    # A plain GET is no attempt, and names nobody gave are not known.
    await server.stranger().asks("GET", "/ws/doctor/?attempt=four")
    for name in ("four", "five", "x" * 64):
        assert (await seen_of(ann, f"?attempt={name}"))["handshake"] is None
    await chair.leaves()


async def test_whoami_tells_what_arrives_and_never_a_credential(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    nobody = server.stranger()
    seen = await seen_of(nobody)
    assert (seen["credential"], seen["page"], seen["handshake"], seen["origin"]) == (None, None, None, None)
    assert (seen["host"], seen["scheme"], seen["address"]) == (f"127.0.0.1:{server.port}", "http", "127.0.0.1")
    assert seen["server_time"].endswith("Z") and not seen["has_session_cookie"] and not seen["has_csrf_cookie"]

    by_token = (await seen_of(ann))["credential"]
    assert (by_token["by"], by_token["is_valid"], by_token["username"]) == ("bearer", True, "ann")
    assert by_token["expires_at"].endswith("Z")

    cookies = {"Cookie": f"{session_cookie(ann)}; csrftoken=x"}
    by_cookie = await seen_of(nobody, **cookies)
    assert by_cookie["has_session_cookie"] and by_cookie["has_csrf_cookie"]
    assert (by_cookie["credential"]["by"], by_cookie["credential"]["username"]) == ("cookie", "ann")
    assert str(ann.token) not in str(by_cookie)

    await ann.asks("POST", "/api/auth/logout")
    ended = (await seen_of(nobody, **cookies))["credential"]
    assert (ended["by"], ended["is_valid"], ended["error"]["code"]) == ("cookie", False, "invalid_token")
    assert str(ann.token) not in str(ended)


@pytest.mark.parametrize(
    ("page", "code"),
    [("http://127.0.0.1:{port}", ""), ("https://chat.example", "origin_not_allowed"), ("null", "origin_not_allowed")],
)
async def test_whoami_judges_the_origin_of_a_page(serve: Serve, page: str, code: str) -> None:
    server = await serve()
    judged = (await seen_of(server.stranger(), f"?page={page.format(port=server.port)}"))["page"]
    assert judged["is_accepted"] is (not code)
    assert (judged["error"] or {"code": ""})["code"] == code


async def test_a_socket_of_the_doctor_costs_only_so_much(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "SOCKETS_LIMIT", 2)
    monkeypatch.setattr(diagnosis, "SOCKET_BYTES", 3000)
    server = await serve(messages_per_second=2, message_burst=3)
    first, second = await at_the_doctor(server), await at_the_doctor(server)
    assert len(server.house.diagnosis) == 2
    refused = (await server.stranger().asks("GET", "/ws/doctor/")).json
    assert (refused["would"], refused["error"]["code"]) == (503, "busy")
    await second.leaves()
    assert len(server.house.diagnosis) == 1

    answers = [await first.asks({"type": "echo", "text": "x"}) for _ in range(4)]
    assert [answer["type"] for answer in answers] == ["echo_response"] * 3 + ["error"]
    assert answers[3]["error_code"] == "rate_limited"
    await asyncio.sleep(answers[3]["retry_after"])
    await first.sends({"type": "echo", "text": "x" * 3000})
    assert await first.is_closed() == (1000, "check_is_over")
    await first.leaves()


async def test_a_socket_of_the_doctor_ends_after_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "SOCKET_SECONDS", 0.01)
    chair = await at_the_doctor(await serve())
    assert await chair.is_closed() == (1000, "check_is_over")
    await chair.leaves()


def test_only_so_many_attempts_are_remembered_and_only_for_a_while() -> None:
    now = [0]
    diagnosed = Diagnosis(Settings(), clock=lambda: now[0], call_later=lambda seconds, callback: None)
    handshake: Any = object()
    for name in ["", "x" * 65, *(f"a{number}" for number in range(diagnosis.HANDSHAKES_LIMIT + 1))]:
        diagnosed.remember(name, handshake)
    assert diagnosed.recall("a0") is None and diagnosed.recall("x" * 65) is None and diagnosed.recall("") is None
    assert diagnosed.recall("a1") is handshake
    now[0] = diagnosis.HANDSHAKE_SECONDS * 1000
    assert diagnosed.recall("a1") is None
