"""Accounts over HTTP: a real server on a real port, spoken to as a script would and as a browser would."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from heartlink.errors import StoreUnavailable
from heartlink.handlers import make_application
from heartlink.handlers.accounts import ACCOUNT_ROUTES
from heartlink.handlers.base import JsonHandler, PageHandler, safe_path, without_tokens
from heartlink.house import House
from heartlink.settings import Settings

PASSWORD = "correct horse"
ANSWER_SECONDS = 30


class BrokenHandler(JsonHandler):
    """Fails in every way that is our fault."""

    identifies = False

    async def get(self, kind: str) -> None:
        if kind == "store":
            raise StoreUnavailable("mongodb://user:unspeakable@host")
        raise RuntimeError("unspeakable")


class GreetingPage(PageHandler):
    """Says who looks, in which language, to those who are signed in."""

    async def get(self, kind: str) -> None:
        if kind == "private":
            self.need_sign_in()
        if kind == "broken":
            raise RuntimeError("unspeakable")
        self.answer({"user": self.user and self.user.username, "locale": self.locale.code, "csrf": self.csrf_token})

    async def post(self, kind: str) -> None:
        self.answer({"user": self.user and self.user.username})


TEST_ROUTES = [
    (r"/api/broken/(\w+)", BrokenHandler),
    (r"/page/(\w+)", GreetingPage),
]


class Client:
    """A client of the server; remembers nothing but what it is given."""

    def __init__(self, house: House, port: int) -> None:
        self.house = house
        self.host = f"127.0.0.1:{port}"
        self.port = port
        self._http = AsyncHTTPClient(force_instance=True)

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> HTTPResponse:
        """One request; ``body`` is JSON unless it is bytes; header names have ``_`` for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        return await self._http.fetch(
            f"http://{self.host}{path}",
            method=method,
            body=body,
            headers=sent,
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            request_timeout=ANSWER_SECONDS,
        )

    async def register(self, name: str = "ann") -> HTTPResponse:
        answer = await self.ask("POST", "/api/auth/register", {"username": name, "password": PASSWORD})
        assert answer.code == 201, answer.body
        return answer

    async def log_in(self, name: str = "ann", password: str = PASSWORD, **headers: str) -> HTTPResponse:
        return await self.ask("POST", "/api/auth/login", {"username": name, "password": password}, **headers)

    async def raw(self, request: bytes) -> bytes:
        """What comes back for bytes, until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True)
class Place:
    """Where the data of one test is, whichever database it is in."""

    data_dir: Path
    mongo_url: str


@pytest.fixture
def place(tmp_path: Path, mongo_urls: Iterator[str]) -> Place:
    return Place(tmp_path / "data", next(mongo_urls))


@asynccontextmanager
async def serving(place: Place, protocol: str = "http", **changes: Any) -> AsyncIterator[Client]:
    """A server over the data of a place, and a client of it."""
    async with House(Settings(data_dir=place.data_dir, mongo_url=place.mongo_url, **changes)) as house:
        application = make_application(house)
        application.settings["log_function"] = str
        application.add_handlers(".*", TEST_ROUTES)
        server = HTTPServer(application, max_body_size=1 << 20, protocol=protocol)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        client = Client(house, sockets[0].getsockname()[1])
        try:
            yield client
        finally:
            client.close()
            server.stop()
            await server.close_all_connections()


def on_the_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test that waits, on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def go() -> None:
            async with asyncio.timeout(120):
                await test(*args, **kwargs)

        asyncio.run(go())

    return run


def record(answer: HTTPResponse) -> Any:
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(answer.body)


def error(answer: HTTPResponse) -> Any:
    found = record(answer)["error"]
    assert found["message"] and found["fix"] and found["request_id"] == answer.headers["X-Request-Id"]
    return found


def cookies(answer: HTTPResponse) -> SimpleCookie:
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("Set-Cookie"):
        jar.load(line)
    return jar


# --- The way of an account -------------------------------------------------------------------------


@on_the_loop
async def test_register_use_refresh_and_log_out(place: Place) -> None:
    async with serving(place) as client:
        body = {"username": "Ann", "password": PASSWORD, "display_name": " 安 "}
        registered = await client.ask("POST", "/api/auth/register", body)
        assert registered.code == 201
        assert "安".encode() in registered.body
        signed_in = record(registered)
        assert signed_in.keys() == {"token", "expires_at", "user"}
        assert signed_in["expires_at"].endswith("Z")
        assert signed_in["user"].keys() == {
            "id",
            "username",
            "display_name",
            "avatar_url",
            "bio",
            "tags",
            "is_online",
        }
        assert (signed_in["user"]["username"], signed_in["user"]["display_name"]) == ("Ann", "安")
        token = signed_in["token"]
        me = record(await client.ask("GET", "/api/me", token=token))
        assert me == signed_in["user"] | {"created_at": me["created_at"], "locale": ""}
        refreshed = await client.ask("POST", "/api/auth/refresh", token=token)
        assert refreshed.code == 200
        later = record(refreshed)["token"]
        gone = await client.ask("POST", "/api/auth/logout", token=later)
        assert (gone.code, gone.body) == (204, b"")
        for ended in (token, later):
            answer = await client.ask("GET", "/api/me", token=ended)
            assert (answer.code, error(answer)["code"]) == (401, "invalid_token")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@on_the_loop
async def test_a_taken_name_is_a_conflict(place: Place) -> None:
    async with serving(place) as client:
        await client.register("straße")
        taken = await client.ask("POST", "/api/auth/register", {"username": "STRASSE", "password": PASSWORD})
        assert taken.code == 409
        assert error(taken)["code"] == "conflict"
        assert "username" in error(taken)["fields"]


@on_the_loop
async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(place: Place) -> None:
    async with serving(place) as client:
        await client.register("ann")
        answers = [await client.log_in("ann", "wrong wrong"), await client.log_in("nobody", "wrong wrong")]
        shown = []
        for answer in answers:
            assert answer.code == 401
            found = error(answer)
            del found["request_id"]
            headers = {name for name, _ in answer.headers.get_all()}
            shown.append((found, headers, len(answer.body)))
        assert shown[0] == shown[1]
        assert shown[0][0]["code"] == "wrong_credentials"


@on_the_loop
async def test_failing_too_often_says_when_to_come_back(place: Place) -> None:
    async with serving(place) as client:
        for _ in range(5):
            assert (await client.log_in("nobody", "wrong wrong")).code == 401
        answer = await client.log_in("nobody", "wrong wrong")
        assert (answer.code, error(answer)["code"]) == (429, "rate_limited")
        assert answer.headers["Retry-After"] == "1"
        assert 0 < error(answer)["retry_after"] <= 1


@on_the_loop
async def test_registering_too_often_says_when_to_come_back(place: Place) -> None:
    async with serving(place, registrations_per_minute=2) as client:
        await client.register("one")
        await client.register("two")
        answer = await client.ask("POST", "/api/auth/register", {"username": "three", "password": PASSWORD})
        assert answer.code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 30


@on_the_loop
async def test_a_new_password_ends_every_other_token(place: Place) -> None:
    async with serving(place) as client:
        old = record(await client.register())["token"]
        other = record(await client.log_in())["token"]
        body = {"old_password": PASSWORD, "new_password": "battery staple"}
        changed = await client.ask("POST", "/api/auth/password", body, token=old)
        assert changed.code == 200
        new = record(changed)["token"]
        assert (await client.ask("GET", "/api/me", token=new)).code == 200
        for token in (old, other):
            assert (await client.ask("GET", "/api/me", token=token)).code == 401
        assert (await client.log_in()).code == 401
        assert (await client.log_in(password="battery staple")).code == 200
        wrong = await client.ask("POST", "/api/auth/password", body, token=new)
        assert (wrong.code, error(wrong)["code"]) == (401, "wrong_credentials")


@on_the_loop
async def test_a_profile_changes_where_it_is_told_to(place: Place) -> None:
    async with serving(place) as client:
        token = record(await client.register())["token"]
        body = {"display_name": " Ann Lee ", "bio": "hi\nthere", "tags": ["go", "go"], "locale": "zh-CN"}
        changed = record(await client.ask("PATCH", "/api/me", body, token=token))
        assert changed["display_name"] == "Ann Lee"
        assert (changed["bio"], changed["tags"], changed["locale"]) == ("hi\nthere", ["go"], "zh_CN")
        again = record(await client.ask("PATCH", "/api/me", {"avatar_url": "/files/x/a.png"}, token=token))
        assert again == changed | {"avatar_url": "/files/x/a.png"}
        back = record(await client.ask("PATCH", "/api/me", {"display_name": " "}, token=token))
        assert back["display_name"] == "ann"
        assert record(await client.ask("GET", "/api/me", token=token)) == back
    async with serving(place) as client:
        assert record(await client.ask("GET", "/api/me", token=token)) == back


@on_the_loop
async def test_people_find_each_other_and_see_only_what_is_shown(place: Place) -> None:
    async with serving(place) as client:
        token = record(await client.register("Anna"))["token"]
        for name in ("anne", "Bob"):
            await client.register(name)
        found = record(await client.ask("GET", "/api/users?q=AN", token=token))["users"]
        assert [user["username"] for user in found] == ["Anna", "anne"]
        few = record(await client.ask("GET", "/api/users?q=an&limit=1", token=token))["users"]
        assert len(few) == 1
        user = record(await client.ask("GET", f"/api/users/{found[1]['id']}", token=token))
        assert user == found[1]
        assert not {"password_hash", "locale", "created_at", "fold"} & user.keys()
        missing = await client.ask("GET", "/api/users/nobody", token=token)
        assert (missing.code, error(missing)["code"]) == (404, "not_found")


@on_the_loop
async def test_a_ticket_is_for_sockets_and_not_for_these_addresses(place: Place) -> None:
    async with serving(place) as client:
        token = record(await client.register())["token"]
        answer = await client.ask("POST", "/api/ws-ticket", token=token)
        ticket = record(answer)
        assert ticket.keys() == {"ticket", "expires_in"} and ticket["expires_in"] == 30
        assert (await client.ask("GET", f"/api/me?token={ticket['ticket']}")).code == 401
        assert (await client.ask("GET", f"/api/me?token={token}")).code == 401


@on_the_loop
async def test_nobody_signed_in_gets_nothing(place: Place) -> None:
    asked = (
        ("GET", "/api/me"),
        ("PATCH", "/api/me"),
        ("GET", "/api/users?q=a"),
        ("GET", "/api/users/x"),
        ("POST", "/api/ws-ticket"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/refresh"),
        ("POST", "/api/auth/password"),
    )
    presented: tuple[dict[str, str], ...] = (
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic eA=="},
        {"Cookie": "heartlink_session=x"},
        {"Cookie": "heartlink_session="},
    )
    async with serving(place) as client:
        for method, path in asked:
            answer = await client.ask(method, path)
            assert (answer.code, error(answer)["code"]) == (401, "unauthenticated"), path
            for headers in presented:
                answer = await client.ask(method, path, **headers)
                assert (answer.code, error(answer)["code"]) == (401, "invalid_token"), (path, headers)


# --- Browsers --------------------------------------------------------------------------------------


@on_the_loop
async def test_a_browser_is_signed_in_by_cookie_and_needs_the_xsrf_token(place: Place) -> None:
    async with serving(place) as client:
        answer = await client.register()
        session, xsrf = cookies(answer)["heartlink_session"], cookies(answer)["csrftoken"]
        assert (session["httponly"], session["samesite"], session["path"]) == (True, "Lax", "/")
        assert not session["secure"] and int(session["max-age"]) > 3600
        assert not xsrf["httponly"] and xsrf["samesite"] == "Lax"
        jar = f"heartlink_session={session.value}; csrftoken={xsrf.value}"
        assert (await client.ask("GET", "/api/me", Cookie=jar)).code == 200
        for headers in ({}, {"X_CSRFToken": "wrong"}, {"X_CSRFToken": "2|00000000|00|0"}):
            answer = await client.ask("PATCH", "/api/me", {"bio": "x"}, Cookie=jar, **headers)
            assert (answer.code, error(answer)["code"]) == (403, "xsrf_failed")
        alone = f"heartlink_session={session.value}"
        answer = await client.ask("PATCH", "/api/me", {"bio": "x"}, Cookie=alone, X_CSRFToken=xsrf.value)
        assert answer.code == 403
        answer = await client.ask("PATCH", "/api/me", {"bio": "x"}, Cookie=jar, X_CSRFToken=xsrf.value)
        assert answer.code == 200
        answer = await client.ask("PATCH", "/api/me", {"bio": "y"}, Cookie=jar, token=session.value)
        assert answer.code == 200
        gone = await client.ask("POST", "/api/auth/logout", Cookie=jar, X_CSRFToken=xsrf.value)
        assert gone.code == 204
        assert cookies(gone)["heartlink_session"].value == ""
        assert (await client.ask("GET", "/api/me", Cookie=jar)).code == 401


@on_the_loop
async def test_the_token_in_a_page_is_the_one_of_its_cookie(place: Place) -> None:
    async with serving(place) as client:
        session = cookies(await client.register())["heartlink_session"].value
        page = await client.ask("GET", "/page/open", Cookie=f"heartlink_session={session}")
        jar = f"heartlink_session={session}; csrftoken={cookies(page)['csrftoken'].value}"
        answer = await client.ask("PATCH", "/api/me", {"bio": "x"}, Cookie=jar, X_CSRFToken=record(page)["csrf"])
        assert answer.code == 200


@on_the_loop
async def test_a_cookie_is_for_https_only_where_the_client_came_by_it(place: Place) -> None:
    async with serving(place, protocol="https") as client:
        for cookie in cookies(await client.register()).values():
            assert cookie["secure"]
        assert cookies(await client.ask("GET", "/page/open"))["csrftoken"]["secure"]


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/register"])
@on_the_loop
async def test_a_page_of_another_site_signs_nobody_in(place: Place, path: str) -> None:
    async with serving(place, allowed_origins=("https://friend.example",)) as client:
        await client.register()
        body = {"username": "ann" if "login" in path else "bob", "password": PASSWORD}
        for origin in ("http://evil.example", "null", f"http://localhost:{client.port}"):
            answer = await client.ask("POST", path, body, Origin=origin)
            assert (answer.code, error(answer)["code"]) == (403, "origin_not_allowed")
            assert origin in error(answer)["message"] and client.host in error(answer)["message"]
        answer = await client.ask("POST", path, body, Origin=f"http://{client.host}")
        assert answer.code in (200, 201)
        body["username"] = "ann" if "login" in path else "cid"
        assert (await client.ask("POST", path, body, Origin="https://friend.example")).code in (200, 201)


@on_the_loop
async def test_an_old_cookie_does_not_keep_anybody_from_signing_in(place: Place) -> None:
    async with serving(place) as client:
        await client.register()
        assert (await client.log_in(Cookie="heartlink_session=old")).code == 200


@on_the_loop
async def test_another_host_name_is_not_answered_to(place: Place) -> None:
    async with serving(place) as client:
        for path in ("/api/me", "/api/auth/login", "/api/nothing"):
            answer = await client.ask("GET", path, Host="evil.example")
            assert (answer.code, error(answer)["code"]) == (403, "host_not_allowed")
        assert (await client.ask("GET", "/page/open", Host="evil.example")).code == 403
        assert (await client.ask("GET", "/page/open", Host=f"localhost:{client.port}")).code == 200


# --- Pages -----------------------------------------------------------------------------------------


@on_the_loop
async def test_a_page_carries_its_headers_and_knows_who_looks(place: Place) -> None:
    async with serving(place) as client:
        session = cookies(await client.register())["heartlink_session"].value
        page = await client.ask("GET", "/page/private", Cookie=f"heartlink_session={session}")
        assert (page.code, record(page)["user"]) == (200, "ann")
        assert page.headers["Content-Security-Policy"] == (
            "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: https:; "
            "media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        )
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Cache-Control"] == "no-store"
        assert "Server" not in page.headers
        posted = await client.ask("POST", "/page/open", b"", Cookie=f"heartlink_session={session}")
        assert posted.code == 403


@on_the_loop
async def test_a_session_that_is_over_means_signed_out_on_a_page(place: Place) -> None:
    async with serving(place) as client:
        page = await client.ask("GET", "/page/open", Cookie="heartlink_session=x.y.z")
        assert (page.code, record(page)["user"]) == (200, None)
        assert cookies(page)["heartlink_session"].value == ""
        assert (await client.ask("GET", "/page/open", token="x.y.z")).code == 401
        away = await client.ask("GET", "/page/private?a=1&b=2", Cookie="heartlink_session=x.y.z")
        assert (away.code, away.headers["Location"]) == (302, "/login?next=/page/private%3Fa%3D1%26b%3D2")


@on_the_loop
async def test_a_page_speaks_the_language_that_was_chosen_or_preferred(place: Place) -> None:
    async with serving(place) as client:
        signed_in = await client.register()
        session = cookies(signed_in)["heartlink_session"].value
        await client.ask("PATCH", "/api/me", {"locale": "zh_CN"}, token=record(signed_in)["token"])
        rows = [
            ("en_US", {}),
            ("zh_CN", {"Accept_Language": "zh"}),
            ("zh_CN", {"Accept_Language": "zh-Hant-TW"}),
            ("zh_CN", {"Accept_Language": "fr;q=0.9,en;q=0.1,zh-CN;q=0.5"}),
            ("en_US", {"Accept_Language": "fr, de;q=0.5, ;;q=x,*"}),
            ("en_US", {"Accept_Language": "zh", "Cookie": "heartlink_locale=en_US"}),
            ("zh_CN", {"Accept_Language": "en", "Cookie": "heartlink_locale=zh-cn"}),
            ("en_US", {"Cookie": "heartlink_locale=../../etc"}),
            ("zh_CN", {"Accept_Language": "en", "Cookie": f"heartlink_session={session}"}),
            ("en_US", {"Cookie": f"heartlink_session={session}; heartlink_locale=en"}),
        ]
        for expected, headers in rows:
            page = await client.ask("GET", "/page/open", **headers)
            assert record(page)["locale"] == expected, headers


@on_the_loop
async def test_a_page_that_fails_or_does_not_exist_says_so_to_people(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(place) as client:
        for path, status, code in (("/nothing/here", 404, "not_found"), ("/page/broken", 500, "internal_error")):
            with caplog.at_level(logging.CRITICAL, "heartlink.http"):
                page = await client.ask("GET", path)
            assert (page.code, page.headers["Content-Type"]) == (status, "text/html; charset=UTF-8")
            assert b"<html" in page.body and code.encode() in page.body
            assert b"unspeakable" not in page.body and b"Traceback" not in page.body
            assert "Content-Security-Policy" in page.headers


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/a/", "/chat/a/"),
        ("/invite/x?y=1", "/invite/x?y=1"),
        ("", "/"),
        ("chat", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\nevil", "/"),
        ("/\t/evil.example", "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_site(path: str, expected: str) -> None:
    assert safe_path(path) == expected


# --- Bad input -------------------------------------------------------------------------------------

DEEP = b'{"x":' + b"[" * 100_000
BAD_BODIES: tuple[tuple[bytes, str | None, int, str, str | None], ...] = (
    (b"{", None, 400, "invalid_json", None),
    (b"nope", None, 400, "invalid_json", None),
    (b'{"username":"a","password":"b"} x', None, 400, "invalid_json", None),
    (b'{"username":"\xff"}', None, 400, "invalid_json", None),
    (b'{"username":"\\ud800"}', None, 400, "invalid_json", None),
    (b"\xef\xbb\xbf{}", None, 400, "invalid_json", None),
    (DEEP, None, 400, "invalid_json", None),
    (b"[]", None, 400, "invalid_parameters", None),
    (b"null", None, 400, "invalid_parameters", None),
    (b'"text"', None, 400, "invalid_parameters", None),
    (b"", None, 400, "missing_parameters", "username"),
    (b"{}", None, 400, "missing_parameters", "username"),
    (b'{"username":"a"}', None, 400, "missing_parameters", "password"),
    (b'{"username":5,"password":"x"}', None, 400, "invalid_parameters", "username"),
    (b'{"username":null,"password":"x"}', None, 400, "invalid_parameters", "username"),
    (b'{"username":["a"],"password":"x"}', None, 400, "invalid_parameters", "username"),
    (b'{"username":"a b","password":"long enough"}', None, 400, "invalid_parameters", "username"),
    (b'{"username":"a\\u202e","password":"long enough"}', None, 400, "invalid_parameters", "username"),
    (b'{"username":"a","password":"short"}', None, 400, "invalid_parameters", "password"),
    (
        b'{"username":"a","password":"long enough","display_name":"a\\u200b"}',
        None,
        400,
        "invalid_parameters",
        "display_name",
    ),
    (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type", None),
    (b"{}", "text/plain", 415, "unsupported_media_type", None),
    (b"{}", "multipart/form-data; boundary=x", 400, "invalid_parameters", None),
    (b"{}", "application/jsonp", 415, "unsupported_media_type", None),
    (b" " * (1 << 20) + b"{}", None, 413, "too_large", None),
    (b" " * (5 << 20), "text/plain", 413, "too_large", None),
)


@on_the_loop
async def test_every_bad_body_is_explained_and_harms_nobody(place: Place) -> None:
    async with serving(place) as client:
        await client.register("canary")
        for body, kind, status, code, field in BAD_BODIES:
            answer = await client.ask("POST", "/api/auth/register", body, Content_Type=kind or "application/json")
            assert (answer.code, error(answer)["code"]) == (status, code), (body[:60], answer.body)
            assert field is None or field in error(answer)["fields"], body[:60]
            assert b"Traceback" not in answer.body
        assert (await client.log_in("canary")).code == 200


@on_the_loop
async def test_json_may_be_named_in_several_ways_or_not_at_all(place: Place) -> None:
    async with serving(place) as client:
        await client.register()
        for kind in (
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/merge-patch+json",
            "text/json",
            "",
        ):
            assert (await client.log_in(Content_Type=kind)).code == 200
        body = json.dumps({"username": "ann", "password": PASSWORD}).encode()
        head = f"POST /api/auth/login HTTP/1.1\r\nHost: {client.host}\r\nConnection: close\r\n"
        answer = await client.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert answer.startswith(b"HTTP/1.1 200 ")


@on_the_loop
async def test_bodies_that_are_too_large_are_answered_however_they_come(place: Place) -> None:
    async with serving(place) as client:
        head = f"POST /api/auth/login HTTP/1.1\r\nHost: {client.host}\r\n"
        for length in (10**11, 10**17, 10**25):
            answer = await client.raw(f"{head}Content-Length: {length}\r\n\r\nabc".encode())
            assert answer.startswith(b"HTTP/1.1 413 "), length
            assert answer.count(b"HTTP/1.1") == 1 and b'"too_large"' in answer
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        request = f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode() + chunk * 40 + b"0\r\n\r\n"
        answer = await client.raw(request)
        assert answer.startswith(b"HTTP/1.1 413 ") and b'"too_large"' in answer


BAD_PROFILES = (
    ({"display_name": "x" * 65}, "display_name"),
    ({"display_name": "a\u202eb"}, "display_name"),
    ({"display_name": None}, "display_name"),
    ({"bio": "x" * 1001}, "bio"),
    ({"bio": 5}, "bio"),
    ({"tags": "go"}, "tags"),
    ({"tags": ["x"] * 3 + [""]}, "tags"),
    ({"tags": [str(n) for n in range(11)]}, "tags"),
    ({"avatar_url": "javascript:alert(1)"}, "avatar_url"),
    ({"avatar_url": "//evil.example/a.png"}, "avatar_url"),
    ({"locale": "../x"}, "locale"),
)
BAD_QUERIES = (
    "limit=0",
    "limit=51",
    "limit=x",
    "limit=1.5",
    "limit=",
    "limit=%EF%BC%91",
    "limit=" + "9" * 30,
    "q=" + "x" * 1001,
)


@on_the_loop
async def test_bad_profiles_and_queries_name_the_field(place: Place) -> None:
    async with serving(place) as client:
        token = record(await client.register())["token"]
        before = record(await client.ask("GET", "/api/me", token=token))
        for body, field in BAD_PROFILES:
            answer = await client.ask("PATCH", "/api/me", body, token=token)
            assert (answer.code, error(answer)["code"]) == (400, "invalid_parameters"), body
            assert any(name.startswith(field) for name in error(answer)["fields"]), body
        for query in BAD_QUERIES:
            answer = await client.ask("GET", f"/api/users?{query}", token=token)
            assert answer.code == 400, query
            assert query.partition("=")[0] in error(answer)["fields"]
        answer = await client.ask("GET", "/api/users?q=%FF", token=token)
        assert (answer.code, error(answer)["code"]) == (400, "invalid_parameters")
        assert record(await client.ask("GET", "/api/me", token=token)) == before


@on_the_loop
async def test_addresses_and_methods_that_do_not_exist_say_so(place: Place) -> None:
    async with serving(place) as client:
        answer = await client.ask("GET", "/api/nothing/here")
        assert (answer.code, error(answer)["code"]) == (404, "not_found")
        answer = await client.ask("POST", "/api/nothing", b"{")
        assert answer.code == 404
        for method, path, allow in (
            ("DELETE", "/api/me", "GET, PATCH, HEAD, OPTIONS"),
            ("GET", "/api/auth/login", "POST, OPTIONS"),
            ("HEAD", "/api/auth/login", "POST, OPTIONS"),
        ):
            answer = await client.ask(method, path)
            assert (answer.code, answer.headers["Allow"]) == (405, allow)
        assert error(await client.ask("PUT", "/api/me"))["code"] == "method_not_allowed"
        answer = await client.ask("BREW", "/api/me")
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, PATCH, HEAD, OPTIONS")
        options = await client.ask("OPTIONS", "/api/me")
        assert (options.code, options.headers["Allow"]) == (204, "GET, PATCH, HEAD, OPTIONS")
        token = record(await client.register())["token"]
        head = await client.ask("HEAD", "/api/me", token=token)
        assert (head.code, head.body) == (200, b"")


@on_the_loop
async def test_what_is_our_fault_is_logged_once_and_never_shown(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(place) as client:
        with caplog.at_level(logging.WARNING):
            broken = await client.ask("GET", "/api/broken/code?token=eyJ.unspeakable.x")
            store = await client.ask("GET", "/api/broken/store")
        assert (broken.code, error(broken)["code"]) == (500, "internal_error")
        assert error(broken)["request_id"] in error(broken)["fix"]
        assert (store.code, error(store)["code"]) == (503, "store_unavailable")
        assert store.headers["Retry-After"] == "1"
        for answer in (broken, store):
            assert b"unspeakable" not in answer.body and b"Traceback" not in answer.body
            lines = [entry for entry in caplog.records if answer.headers["X-Request-Id"] in entry.getMessage()]
            assert len(lines) == 1
            assert "unspeakable" not in lines[0].getMessage()


def test_addresses_are_logged_without_their_tokens() -> None:
    for argument in ("token", "TOKEN", "ticket", "%74oken", "to%6ben"):
        shown = without_tokens(f"/ws/chat/a/?x=1&{argument}=secret&since=3")
        assert "secret" not in shown and shown.endswith("&since=3")
    assert without_tokens("/api/users?q=ann") == "/api/users?q=ann"


@on_the_loop
async def test_an_account_needs_its_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(place) as client:

        async def fail(*_: object, **__: object) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(client.house.backend, "insert", fail)
        answer = await client.ask("POST", "/api/auth/register", {"username": "ann", "password": PASSWORD})
        assert (answer.code, error(answer)["code"]) == (503, "store_unavailable")
        monkeypatch.undo()
        await client.register()


def test_every_method_of_every_address_is_described() -> None:
    assert ACCOUNT_ROUTES
    for pattern, handler, what in ACCOUNT_ROUTES:
        assert pattern.startswith("/api/") and what
        methods = {method for method in ("get", "post", "put", "patch", "delete") if method in vars(handler)}
        assert methods and {name.lower() for name in handler.operations} == methods
        for operation in handler.operations.values():
            assert operation.summary.endswith(".")
            assert (operation.response is None) == (operation.status == 204)
