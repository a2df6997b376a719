"""Who may do what, in one table: every REST call, every socket's door, every frame, for four kinds of people.

A route, method or frame that is missing here fails the test: whoever adds one says who may use it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from heartlink.handlers import routes
from heartlink.model import UserId
from heartlink.protocol import CHAT_COMMANDS, DOCTOR_COMMANDS, PERMISSION_COMMANDS
from tests.actors import PASSWORD, Chair, Person, Server
from tests.administrators import administrator, does, grants
from tests.conftest import Serve
from tests.filing import filed

pytestmark = pytest.mark.gen_test(timeout=60)

COLUMNS = ("anonymous", "stranger", "member", "admin")
"""Not signed in; signed in but not in the room; an ordinary member of it; an administrator who is not in it."""

PUBLIC = (200, 200, 200, 200)
SIGNED_IN = (401, 200, 200, 200)
MEMBERS = (401, 403, 200, 200)
MANAGERS = (401, 403, 403, 200)
MAKERS = (401, 403, 403, 201)


class Row(NamedTuple):
    """A call and the status that each of the four gets. Words in braces are made anew for every one of them."""

    method: str
    path: str
    expected: tuple[int, int, int, int]
    body: Any = None
    about: str = ""


REST = [
    # Operations
    Row("GET", "/healthz", PUBLIC),
    Row("GET", "/readyz", PUBLIC),
    Row("GET", "/metrics", PUBLIC, about="from this machine itself"),
    Row("GET", "/api/routes", PUBLIC),
    Row("GET", "/api/openapi.json", PUBLIC),
    Row("GET", "/api/asyncapi.json", PUBLIC),
    Row("GET", "/api/doctor/whoami", PUBLIC),
    # Files
    Row("POST", "/api/rooms/{room_id}/files", (401, 403, 201, 201), {"any": "bytes"}),
    Row("POST", "/api/uploads/", (401, 412, 412, 412), about="without a version of tus"),
    Row("HEAD", "/api/uploads/{upload_id}", (401, 412, 412, 412), about="without a version of tus"),
    Row("PATCH", "/api/uploads/{upload_id}", (401, 412, 412, 412), about="without a version of tus"),
    Row("DELETE", "/api/uploads/{upload_id}", (401, 412, 412, 412), about="without a version of tus"),
    Row("GET", "/files/{file_id}/{name}", (401, 404, 200, 200)),
    Row("GET", "/files/{file_id}/thumbnail", (401, 404, 200, 200)),
    # Accounts
    Row("POST", "/api/auth/register", (201, 201, 201, 201), {"username": "{new}", "password": PASSWORD}),
    Row("POST", "/api/auth/login", PUBLIC, {"username": "owner", "password": PASSWORD}),
    Row("POST", "/api/auth/refresh", SIGNED_IN),
    Row("POST", "/api/auth/password", SIGNED_IN, {"old_password": PASSWORD, "new_password": "a better one"}),
    Row("POST", "/api/auth/logout", (401, 204, 204, 204)),
    Row("GET", "/api/me", SIGNED_IN),
    Row("PATCH", "/api/me", SIGNED_IN, {"bio": "me"}),
    Row("GET", "/api/users", SIGNED_IN),
    Row("GET", "/api/users/{user_id}", SIGNED_IN),
    Row("PATCH", "/api/users/{user_id}", MANAGERS, {"is_active": True}),
    Row("POST", "/api/ws-ticket", SIGNED_IN),
    # Rooms
    Row("GET", "/api/rooms", SIGNED_IN),
    Row("POST", "/api/rooms", (401, 201, 201, 201), {}),
    Row("GET", "/api/rooms/{room_id}", MEMBERS),
    Row("PATCH", "/api/rooms/{room_id}", MANAGERS, {"name": "Other"}),
    Row("DELETE", "/api/rooms/{room_id}", MANAGERS),
    Row("POST", "/api/rooms/{room_id}/members", (401, 403, 201, 201), {"username": "nobody"}),
    Row("POST", "/api/rooms/{room_id}/members", (401, 403, 201, 403), {}, "to join what is not public"),
    Row("PATCH", "/api/rooms/{room_id}/members/{user_id}", MANAGERS, {"role": "guest"}),
    Row("DELETE", "/api/rooms/{room_id}/members/{user_id}", (401, 403, 403, 204)),
    Row("GET", "/api/rooms/{room_id}/restrictions", MANAGERS),
    Row("PUT", "/api/rooms/{room_id}/mutes/{user_id}", MANAGERS, {}),
    Row("DELETE", "/api/rooms/{room_id}/mutes/{user_id}", (401, 403, 403, 404), about="of whom nothing was muted"),
    Row("PUT", "/api/rooms/{room_id}/bans/{user_id}", MANAGERS, {}),
    Row("DELETE", "/api/rooms/{room_id}/bans/{user_id}", (401, 403, 403, 404), about="of whom nothing was banned"),
    Row("GET", "/api/rooms/{room_id}/invites", MEMBERS),
    Row("POST", "/api/rooms/{room_id}/invites", (401, 403, 201, 201), {}),
    Row("GET", "/api/invites/{code}", PUBLIC),
    Row("POST", "/api/invites/{code}", SIGNED_IN),
    Row("DELETE", "/api/invites/{code}", (401, 403, 403, 204)),
    # Messages
    Row("GET", "/api/rooms/{room_id}/messages", MEMBERS),
    Row("POST", "/api/rooms/{room_id}/messages", (401, 403, 201, 201), {"content": "hi"}),
    Row("PATCH", "/api/rooms/{room_id}/messages/{message_id}", MANAGERS, {"content": "ho"}, "somebody else's"),
    Row("DELETE", "/api/rooms/{room_id}/messages/{message_id}", MANAGERS, None, "somebody else's"),
    Row("PUT", "/api/rooms/{room_id}/messages/{message_id}/reactions/{emoji}", MEMBERS),
    Row("DELETE", "/api/rooms/{room_id}/messages/{message_id}/reactions/{emoji}", MEMBERS),
    Row("PUT", "/api/rooms/{room_id}/messages/{message_id}/listened", (401, 403, 400, 400), about="a text"),
    Row("POST", "/api/rooms/{room_id}/read", MEMBERS, {"up_to": 1}),
    Row("GET", "/api/rooms/{room_id}/search?q=hi", MEMBERS),
    # Rights, asked
    Row("GET", "/api/permissions/me", SIGNED_IN),
    Row("POST", "/api/permissions/check", PUBLIC, {"checks": [{"resource": "chat", "action": "send"}]}),
    Row(
        "POST",
        "/api/permissions/check",
        MANAGERS,
        {"checks": [{"resource": "chat", "action": "send", "user_id": "{user_id}"}]},
        "about somebody else",
    ),
    Row("POST", "/api/permissions/explain", PUBLIC, {"resource": "chat", "action": "send"}),
    Row(
        "POST",
        "/api/permissions/explain",
        MANAGERS,
        {"resource": "chat", "action": "send", "user_id": "{user_id}"},
        "about somebody else",
    ),
    Row("POST", "/api/access-requests", (401, 202, 202, 409), {"permission": "never.held"}, "an admin holds all"),
    # Rights, changed
    Row("GET", "/api/roles", MANAGERS),
    Row("POST", "/api/roles", MAKERS, {"key": "{new}"}),
    Row("GET", "/api/roles/{key}", MANAGERS),
    Row("PATCH", "/api/roles/{key}", MANAGERS, {"name": "Other"}),
    Row("DELETE", "/api/roles/{key}", MANAGERS),
    Row("GET", "/api/users/{user_id}/roles", MANAGERS),
    Row("PUT", "/api/users/{user_id}/roles", MANAGERS, {"roles": ["{key}"]}),
    Row("GET", "/api/groups", MANAGERS),
    Row("POST", "/api/groups", MAKERS, {"key": "{new}"}),
    Row("DELETE", "/api/groups/{key}", MANAGERS),
    Row("GET", "/api/groups/{key}/members", MANAGERS),
    Row("PUT", "/api/groups/{key}/members", MANAGERS, {"users": ["{user_id}"]}),
    Row("GET", "/api/grants", MANAGERS),
    Row("POST", "/api/grants", MAKERS, {"subject": {"kind": "user", "id": "{user_id}"}, "permission": "a.b"}),
    Row("DELETE", "/api/grants/{grant_id}", MANAGERS),
    Row("GET", "/api/menus", MANAGERS),
    Row("POST", "/api/menus", MAKERS, {"key": "{new}", "name": "New"}),
    Row("PATCH", "/api/menus/{key}", MANAGERS, {"name": "Other"}),
    Row("DELETE", "/api/menus/{key}", MANAGERS),
    Row(
        "POST",
        "/api/permissions/preview",
        MANAGERS,
        {"changes": [{"method": "POST", "path": "/api/roles", "body": {"key": "{new}"}}]},
    ),
    Row("GET", "/api/audit", MANAGERS),
    Row("POST", "/api/audit/{version}/undo", MAKERS, {}),
    Row("GET", "/api/admin/users", MANAGERS),
    Row("GET", "/api/connections", MANAGERS),
    Row("DELETE", "/api/connections/{connection_id}", (401, 403, 403, 204)),
    Row("GET", "/api/connections/{connection_id}/recording", MANAGERS),
    Row("GET", "/api/me/connections", SIGNED_IN),
    Row("GET", "/api/me/connections/{connection_id}/recording", (401, 404, 200, 404), about="of the member's"),
    Row("POST", "/api/notifications", (401, 403, 403, 202), {"message": "hi", "priority": "low"}),
    Row("POST", "/api/cache-invalidations", (401, 403, 403, 202), {"keys": ["x"]}),
]

DOORS: dict[str, tuple[int, int, int, int]] = {
    "/ws/chat/{room_id}/": (401, 403, 101, 101),
    "/ws/doctor/": (101, 101, 101, 101),
    "/ws/permissions/": (101, 101, 101, 101),
    "/ws/permissions/anonymous/": (101, 101, 101, 101),
    "/ws/permissions/{user_id}/": (401, 403, 403, 101),
}
"""What an upgrade would get; with ``user_id`` it is somebody else's stream."""

ALONE = "nothing"
"""No answer of its own."""

CHAT: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    # In a room that anybody may read: whoever is not signed in, and the stranger, are guests there.
    ({"type": "message", "content": "hi"}, ("unauthenticated", "forbidden", "chat_message", "chat_message")),
    (
        {"type": "edit_message", "id": 1, "content": "other"},
        ("unauthenticated", "forbidden", "forbidden", "message_updated"),
    ),
    ({"type": "delete_message", "id": 1}, ("unauthenticated", "forbidden", "forbidden", "message_updated")),
    ({"type": "react", "id": 2, "emoji": "👍"}, ("unauthenticated", "forbidden", "message_updated", "message_updated")),
    ({"type": "listened", "id": 2}, ("unauthenticated",) + ("invalid_parameters",) * 3),
    ({"type": "typing", "is_typing": True}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "read_status", "up_to": 1}, ("unauthenticated",) + ("read_status_update",) * 3),
    ({"type": "online_status", "status": "busy"}, ("unauthenticated",) + ("presence",) * 3),
    ({"type": "new_message", "message_id": 1}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "video_call_invite"}, ("unauthenticated", "forbidden", "call_created", "call_created")),
    (
        {"type": "video_call_status", "status": "left"},
        ("unauthenticated", "forbidden", "video_call_status", "video_call_status"),
    ),
    (
        {"type": "call_signal", "call_id": "none", "to": "nobody", "kind": "offer", "data": {}},
        ("unauthenticated", "not_found", "not_found", "not_found"),
    ),
    ({"type": "video_offer"}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "video_answer"}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "ice_candidate"}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "video_call_end"}, ("unauthenticated", "forbidden", ALONE, ALONE)),
    ({"type": "heartbeat"}, ("heartbeat_response",) * 4),
    ({"type": "heartbeat_ack"}, ("heartbeat_ack",) * 4),
    ({"type": "ping", "timestamp": 1}, ("pong",) * 4),
    ({"type": "reauth", "token": "{token}"}, ("unauthenticated", "reauth_ok", "reauth_ok", "reauth_ok")),
]

STREAM: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    ({"type": "connect"}, ("connection_confirmed",) * 4),
    ({"type": "auth"}, ("auth_success",) * 4),
    ({"type": "auth_confirm"}, ("auth_success",) * 4),
    ({"type": "permission_check", "resource": "a", "action": "b"}, ("permission_check_response",) * 4),
    ({"type": "permission_check_batch", "checks": []}, ("permission_check_batch_response",) * 4),
    ({"type": "explain", "resource": "a", "action": "b"}, ("explanation",) * 4),
    ({"type": "subscribe_notifications", "types": ["x"]}, ("subscription_confirmed",) * 4),
    ({"type": "unsubscribe_notifications"}, ("unsubscription_confirmed",) * 4),
    ({"type": "heartbeat"}, ("heartbeat_response",) * 4),
    ({"type": "heartbeat_ack"}, ("heartbeat_ack",) * 4),
    ({"type": "ping", "timestamp": 1}, ("pong",) * 4),
    ({"type": "reauth", "token": "{token}"}, ("unauthenticated", "reauth_ok", "reauth_ok", "reauth_ok")),
]

DOCTOR: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    ({"type": "echo", "text": "hi"}, ("echo_response",) * 4),
    ({"type": "heartbeat"}, ("heartbeat_response",) * 4),
    ({"type": "heartbeat_ack"}, ("heartbeat_ack",) * 4),
    ({"type": "ping", "timestamp": 1}, ("pong",) * 4),
    ({"type": "reauth", "token": "{token}"}, ("unauthenticated", "reauth_ok", "reauth_ok", "reauth_ok")),
]


class Stage:
    """A server with the four, an owner of rooms, and whatever a call needs, made anew each time."""

    def __init__(self, server: Server, owner: Person, people: dict[str, Person]) -> None:
        self.server = server
        self.people = people
        self._owner = owner
        self._numbers = itertools.count()
        self._room = ""
        self._makers: dict[str, Callable[[str], Awaitable[str]]] = {
            "new": self._new_name,
            "user_id": self._user_id,
            "room_id": self._new_room,
            "message_id": self._new_message,
            "code": self._new_invite,
            "key": self._new_key,
            "grant_id": self._new_grant,
            "version": self._new_version,
            "connection_id": self._new_connection,
            "emoji": self._emoji,
            "file_id": self._new_file,
            "upload_id": self._new_name,
            "name": self._new_name,
        }

    async def filled(self, row: Row) -> tuple[str, Any]:
        """The address and the body of a call, with what its words in braces stand for."""
        values: dict[str, str] = {}
        for name in dict.fromkeys(re.findall(r"\{(\w+)\}", row.path + repr(row.body))):
            values[name] = await self._makers[name](row.path)
        path = row.path.format(**{name: quote(value, safe="") for name, value in values.items()})
        return path, fill(row.body, values)

    async def _new_name(self, path: str) -> str:
        return f"new{next(self._numbers)}"

    async def _user_id(self, path: str) -> str:
        return self._owner.id if "members" not in path or "groups" in path else self.people["other"].id

    async def _new_room(self, path: str) -> str:
        self._room = await self._owner.opens(name="Tea", members=["member", "other"])
        return self._room

    async def _new_message(self, path: str) -> str:
        message = await does(self._owner, "POST", f"/api/rooms/{self._room}/messages", {"content": "first"})
        return str(message["id"])

    async def _new_invite(self, path: str) -> str:
        room = await self._owner.opens(name="Tea", members=["member"])
        return str((await does(self._owner, "POST", f"/api/rooms/{room}/invites", {}))["code"])

    async def _new_key(self, path: str) -> str:
        kind = "roles" if "users" in path else path.split("/")[2]
        body = {"key": await self._new_name(path), "name": "Some"}
        return str((await does(self.people["admin"], "POST", f"/api/{kind}", body))["key"])

    async def _new_grant(self, path: str) -> str:
        return str((await grants(self.people["admin"], "everyone", None, "x.y", expires_in=600))["id"])

    async def _new_version(self, path: str) -> str:
        made = await does(self.people["admin"], "POST", "/api/roles", {"key": await self._new_name(path)})
        return str(made["version"])

    async def _new_file(self, path: str) -> str:
        room = await self._new_room(path)
        return (await filed(self.server, room, self._owner, b"content", thumbnail=b"small")).id

    async def _new_connection(self, path: str) -> str:
        member = self.people["member"]
        await member.listens()
        return self.server.house.hub.connections_of(UserId(member.id))[-1].id

    async def _emoji(self, path: str) -> str:
        return "👍"


def fill(body: Any, values: dict[str, str]) -> Any:
    """A body with its words in braces replaced."""
    if isinstance(body, dict):
        return {name: fill(value, values) for name, value in body.items()}
    if isinstance(body, list):
        return [fill(value, values) for value in body]
    return body.format(**values) if isinstance(body, str) and "{" in body else body


async def staged(serve: Serve) -> Stage:
    server = await serve(messages_per_second=0, registrations_per_minute=0)
    admin = await administrator(server, "admin")
    owner = await server.person("owner")
    people = {name: await server.person(name) for name in ("stranger", "member", "other", "nobody")}
    return Stage(server, owner, {**people, "anonymous": server.stranger(), "admin": admin})


ENDING = ("/api/auth/password", "/api/auth/logout")
"""After these a person's token is void: somebody who may do no more and no less is sent instead."""


async def test_every_call_is_answered_as_the_table_says(serve: Serve) -> None:
    stage = await staged(serve)
    wrong: list[str] = []
    for row in REST:
        for column, expected in zip(COLUMNS, row.expected, strict=True):
            person = stage.people[column]
            if row.path in ENDING and column != "anonymous":
                person = await stage.server.person(f"{column}-{row.path.rpartition('/')[2]}")
            path, body = await stage.filled(row)
            answer = await person.asks(row.method, path, body)
            if answer.status != expected:
                wrong.append(f"{column}: {row.method} {row.path} {row.about}: {expected} expected, {answer}")
            elif answer.status >= 400 and row.method != "HEAD":
                assert {"code", "message", "fix"} <= set(answer.json["error"]), answer
    assert not wrong, "\n".join(wrong)


async def test_every_door_opens_to_those_the_table_says(serve: Serve) -> None:
    stage = await staged(serve)
    for place, row in DOORS.items():
        for column, would in zip(COLUMNS, row, strict=True):
            path, _ = await stage.filled(Row("GET", place, PUBLIC))
            answer = await stage.people[column].asks("GET", path)
            assert (answer.status, answer.json["would"]) == (426, would), (column, place, answer)
            assert answer.json["route"] == place


async def answer_to(chair: Chair, frame: dict[str, Any], person: Person) -> str:
    """What a frame is answered with: the type of the answer, the code of an error, or nothing."""
    await chair.sends(fill({**frame, "ref": "asked"}, {"token": person.token or "x.y.z"}))
    if frame["type"] in (
        "reauth",
        "explain",
        "message",
        "edit_message",
        "delete_message",
        "react",
        "listened",
        "video_call_invite",
    ):
        # These wait for the store or for names: their answer does not come at once.
        while True:
            heard = await chair.next()
            if heard.get("ref") == "asked":
                break
    else:
        await chair.sends({"type": "ping", "ref": "after"})
        before = len(chair.heard)
        await chair.hears("pong", ref="after")
        heard = next((one for one in chair.heard[before:] if one.get("ref") == "asked"), {"type": ALONE})
    return str(heard["error_code"] if heard["type"] == "error" else heard["type"])


async def test_every_frame_of_the_chat_is_answered_as_the_table_says(serve: Serve) -> None:
    stage = await staged(serve)
    owner = stage._owner
    for column, number in zip(COLUMNS, range(4), strict=True):
        room = await owner.opens(name="Open", guest_access=True, members=["member"])
        for content in ("first", "second"):
            await does(owner, "POST", f"/api/rooms/{room}/messages", {"content": content})
        person = stage.people[column]
        chair = await person.sits_in(room)
        for frame, expected in CHAT:
            assert await answer_to(chair, frame, person) == expected[number], (column, frame)


async def test_every_frame_of_the_stream_is_answered_as_the_table_says(serve: Serve) -> None:
    stage = await staged(serve)
    for column, number in zip(COLUMNS, range(4), strict=True):
        person = stage.people[column]
        chair = await person.listens()
        for frame, expected in STREAM:
            assert await answer_to(chair, frame, person) == expected[number], (column, frame)


async def test_every_frame_of_the_doctor_is_answered_as_the_table_says(serve: Serve) -> None:
    stage = await staged(serve)
    for column, number in zip(COLUMNS, range(4), strict=True):
        person = stage.people[column]
        chair = await person.visits_the_doctor()
        for frame, expected in DOCTOR:
            assert await answer_to(chair, frame, person) == expected[number], (column, frame)


def test_nothing_is_missing_from_the_table() -> None:
    known = {(method, route.path) for route in routes() if route.kind == "rest" for method in route.operations}
    assert len(known) > 50
    assert {(row.method, row.path.partition("?")[0]) for row in REST} == known
    assert set(DOORS) == {route.path for route in routes() if route.kind == "socket"}
    for table, commands in ((CHAT, CHAT_COMMANDS), (STREAM, PERMISSION_COMMANDS), (DOCTOR, DOCTOR_COMMANDS)):
        assert {frame["type"] for frame, _ in table} == {command.__struct_config__.tag for command in commands}
