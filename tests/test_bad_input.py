"""What must come back for what should not have been sent, and that nobody else notices (PROTOCOL 2, 3, 5).

Every row is followed by a canary: two healthy people still talk within a second.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import heartlink
from heartlink.errors import TOO_SLOW
from heartlink.names import is_emoji
from tests.actors import Answer, Chair, Person, Server
from tests.conftest import Serve
from tests.raw_peer import RawPeer, until

pytestmark = pytest.mark.gen_test(timeout=60)

CANARY_SECONDS = 1.0
BIG = 10**30
LONG = "x" * 65
DEEP = 30_000


class Canary:
    """Two healthy people; each song is heard by the other within a second."""

    def __init__(self, ann: Chair, bob: Chair) -> None:
        self._ann, self._bob = ann, bob
        self._songs = 0

    async def sings(self) -> None:
        self._songs += 1
        async with asyncio.timeout(CANARY_SECONDS):
            await self._ann.says(f"song {self._songs}")
            await self._bob.hears_message(content=f"song {self._songs}")


class House(NamedTuple):
    """A server with three people in one room: two are healthy, the third misbehaves."""

    server: Server
    room: str
    canary: Canary
    carol: Person
    at_carol: Chair


async def furnished(serve: Serve, **settings: Any) -> House:
    server = await serve(messages_per_second=0, **settings)
    ann, bob, carol = await asyncio.gather(*(server.person(name) for name in ("ann", "bob", "carol")))
    room = await ann.opens(name="Tea", members=["bob", "carol"])
    canary = Canary(await ann.sits_in(room), await bob.sits_in(room))
    await canary.sings()
    return House(server, room, canary, carol, await carol.sits_in(room))


def none_of(wrong: list[Any]) -> None:
    assert not wrong, "\n".join(map(repr, wrong))


def explains_itself(error: dict[str, Any], code: str) -> bool:
    """Whether a refusal has its code, a sentence and a fix, and no trace of our insides."""
    words = json.dumps(error)
    return (
        error.get("code", error.get("error_code")) == code
        and len(str(error.get("message", ""))) > 5
        and len(str(error.get("fix", ""))) > 5
        and not any(inside in words for inside in ("Traceback", "heartlink.", "Error(", 'File \\"', "msgspec"))
    )


# --- Frames ------------------------------------------------------------------------------------------

UNREADABLE = [
    ("nothing", ""),
    ("blanks", " \t\n "),
    ("half an object", '{"type": "ping"'),
    ("words", "hello everybody"),
    ("two objects", '{"type":"ping"}{"type":"ping"}'),
    ("single quotes", "{'type': 'ping'}"),
    ("a comma too many", '{"type":"ping",}'),
    ("not a number", '{"type":"ping","timestamp":NaN}'),
    ("a NUL", "\x00"),
    ("a NUL inside", '{"type":"message","content":"a\x00b"}'),
    ("a raw line break in a text", '{"type":"message","content":"a\nb"}'),
    ("a byte order mark", '\ufeff{"type":"ping"}'),
    ("half a character", '{"type":"message","content":"\\ud800"}'),
    ("an unknown escape", '{"type":"message","content":"\\x41"}'),
    ("nested too deeply", "[" * DEEP + "]" * DEEP),
    ("nested too deeply in a field", '{"type":"ping","timestamp":' + "[" * DEEP + "]" * DEEP + "}"),
    ("a key without quotes", '{type:"ping"}'),
    ("a bare keyword", "undefined"),
]
"""Text that is no JSON: invalid_json."""

NOT_OBJECTS = ["null", "true", "42", "-1.5e3", '"text"', "[]", '[{"type":"ping"}]']
"""JSON that is no object: invalid_parameters."""

MESSAGE = {"type": "message", "content": "hi"}
FRAMES: list[tuple[dict[str, Any], str]] = [
    # Types there are not.
    ({"type": 42}, "invalid_parameters"),
    ({"type": None}, "invalid_parameters"),
    ({"type": ["ping"]}, "invalid_parameters"),
    ({"type": {"ping": 1}}, "invalid_parameters"),
    ({"type": ""}, "unknown_message_type"),
    ({"type": "mesage", "content": "hi"}, "unknown_message_type"),
    ({"type": "Message", "content": "hi"}, "unknown_message_type"),
    ({"type": "chat_message", "message": {"content": "hi"}}, "unknown_message_type"),
    ({"type": "connection_established"}, "unknown_message_type"),
    ({"type": "x" * 5000}, "unknown_message_type"),
    ({"type": "__class__"}, "unknown_message_type"),
    # Fields that are missing.
    ({}, "missing_parameters"),
    ({"type": "message"}, "missing_parameters"),
    ({"type": "edit_message", "content": "x"}, "missing_parameters"),
    ({"type": "edit_message", "id": 1}, "missing_parameters"),
    ({"type": "delete_message"}, "missing_parameters"),
    ({"type": "react", "emoji": "👍"}, "missing_parameters"),
    ({"type": "react", "id": 1}, "missing_parameters"),
    ({"type": "typing"}, "missing_parameters"),
    ({"type": "read_status"}, "missing_parameters"),
    ({"type": "online_status"}, "missing_parameters"),
    ({"type": "new_message"}, "missing_parameters"),
    ({"type": "reauth"}, "missing_parameters"),
    # Messages that are none.
    ({"content": 42}, "invalid_parameters"),
    ({"content": None}, "invalid_parameters"),
    ({"content": ["hi"]}, "invalid_parameters"),
    ({"content": {"text": "hi"}}, "invalid_parameters"),
    ({"content": True}, "invalid_parameters"),
    ({"content": ""}, "invalid_parameters"),
    ({"content": " \n\t\u3000"}, "invalid_parameters"),
    ({"content": "x" * 10_001}, "too_large"),
    ({"content": "字" * 10_001}, "too_large"),
    ({**MESSAGE, "message_type": "poem"}, "invalid_parameters"),
    ({**MESSAGE, "message_type": 1}, "invalid_parameters"),
    ({**MESSAGE, "message_type": None}, "invalid_parameters"),
    ({**MESSAGE, "message_type": "image"}, "invalid_parameters"),
    ({**MESSAGE, "message_type": "system"}, "invalid_parameters"),
    ({**MESSAGE, "file_id": 7}, "invalid_parameters"),
    ({**MESSAGE, "file_id": "nowhere"}, "not_found"),
    ({**MESSAGE, "reply_to": "1"}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": 0}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": -1}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": 1.5}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": True}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": BIG}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": 2**53}, "invalid_parameters"),
    ({**MESSAGE, "reply_to": 2**53 - 1}, "not_found"),
    ({**MESSAGE, "reply_to": 999_999}, "not_found"),
    # Changes of messages.
    ({"type": "edit_message", "id": "1", "content": "x"}, "invalid_parameters"),
    ({"type": "edit_message", "id": None, "content": "x"}, "invalid_parameters"),
    ({"type": "edit_message", "id": 0, "content": "x"}, "invalid_parameters"),
    ({"type": "edit_message", "id": BIG, "content": "x"}, "invalid_parameters"),
    ({"type": "edit_message", "id": 1, "content": 5}, "invalid_parameters"),
    ({"type": "edit_message", "id": 1, "content": " "}, "invalid_parameters"),
    ({"type": "edit_message", "id": 1, "content": "x" * 10_001}, "too_large"),
    ({"type": "edit_message", "id": 999_999, "content": "x"}, "not_found"),
    ({"type": "edit_message", "id": 1, "content": "not mine"}, "forbidden"),
    ({"type": "delete_message", "id": -1}, "invalid_parameters"),
    ({"type": "delete_message", "id": [1]}, "invalid_parameters"),
    ({"type": "delete_message", "id": 999_999}, "not_found"),
    ({"type": "delete_message", "id": 1}, "forbidden"),
    ({"type": "react", "id": 1, "emoji": ""}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "   "}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": 128077}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "👍 👍"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "thumbs"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "7"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "<b>"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "\u200d\ufe0f"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "\u202e👍"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "\x00"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "👍" * 65}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "👍", "on": "yes"}, "invalid_parameters"),
    ({"type": "react", "id": 1, "emoji": "👍", "on": 1}, "invalid_parameters"),
    ({"type": "react", "id": 999_999, "emoji": "👍"}, "not_found"),
    # Around the messages.
    ({"type": "typing", "is_typing": "yes"}, "invalid_parameters"),
    ({"type": "typing", "is_typing": 1}, "invalid_parameters"),
    ({"type": "typing", "is_typing": True, "what": "smoke"}, "invalid_parameters"),
    ({"type": "typing", "is_typing": True, "what": None}, "invalid_parameters"),
    ({"type": "read_status", "message_ids": "1"}, "invalid_parameters"),
    ({"type": "read_status", "message_ids": ["1"]}, "invalid_parameters"),
    ({"type": "read_status", "message_ids": [0]}, "invalid_parameters"),
    ({"type": "read_status", "message_ids": [1] * 1001}, "invalid_parameters"),
    ({"type": "read_status", "message_ids": {"1": True}}, "invalid_parameters"),
    ({"type": "read_status", "up_to": -1}, "invalid_parameters"),
    ({"type": "read_status", "up_to": "3"}, "invalid_parameters"),
    ({"type": "read_status", "up_to": BIG}, "invalid_parameters"),
    ({"type": "online_status", "status": "asleep"}, "invalid_parameters"),
    ({"type": "online_status", "status": None}, "invalid_parameters"),
    ({"type": "online_status", "status": 1}, "invalid_parameters"),
    ({"type": "new_message", "message_id": None}, "invalid_parameters"),
    ({"type": "new_message", "message_id": []}, "invalid_parameters"),
    ({"type": "new_message", "message_id": LONG}, "invalid_parameters"),
    ({"type": "reauth", "token": 42}, "invalid_parameters"),
    ({"type": "reauth", "token": None}, "invalid_parameters"),
    ({"type": "reauth", "token": ""}, "invalid_token"),
    ({"type": "reauth", "token": "no.such.token"}, "invalid_token"),
    ({"type": "reauth", "token": "\x00" * 10}, "invalid_token"),
]
"""Objects with something wrong in them; each is sent with a ``ref``, messages also with a ``client_id``."""

SPOILT_NAMES: list[dict[str, Any]] = [
    {"type": "ping", "ref": 42},
    {"type": "ping", "ref": LONG},
    {"type": "ping", "ref": ["r"]},
    {"content": "hi", "client_id": 42},
    {"content": "hi", "client_id": ""},
    {"content": "hi", "client_id": LONG},
    {"content": "hi", "client_id": {"c": 1}},
]
"""A ``ref`` or ``client_id`` that cannot be one: invalid_parameters, which names the field."""


async def test_text_that_is_no_json_is_refused_and_the_socket_stays(serve: Serve) -> None:
    house = await furnished(serve)
    wrong = []
    for name, text in UNREADABLE:
        await house.at_carol.sends(text)
        error = await house.at_carol.hears("error")
        if not explains_itself(error, "invalid_json") or error["ref"] is not None:
            wrong.append((name, error))
        await house.canary.sings()
    for text in NOT_OBJECTS:
        await house.at_carol.sends(text)
        error = await house.at_carol.hears("error")
        if not explains_itself(error, "invalid_parameters"):
            wrong.append((text, error))
        await house.canary.sings()
    for blob in (b"", b"\x00\xff", b'{"type":"ping"}'):
        await house.at_carol.sends(blob)
        error = await house.at_carol.hears("error")
        if not explains_itself(error, "unsupported_data"):
            wrong.append((str(blob), error))
        await house.canary.sings()
    none_of(wrong)


async def test_frames_with_something_wrong_are_refused_one_by_one(serve: Serve) -> None:
    house = await furnished(serve)
    wrong = []
    for number, (frame, code) in enumerate(FRAMES):
        names = {"ref": f"ref-{number}"}
        if frame.get("type", "message") == "message":
            names["client_id"] = f"client-{number}"
        await house.at_carol.sends({**frame, **names})
        while (answer := await house.at_carol.next()).get("ref") != names["ref"]:
            pass
        if answer["type"] != "error" or not explains_itself(answer, code):
            wrong.append((frame, code, answer))
        elif answer["client_id"] != names.get("client_id"):
            wrong.append((frame, "the client_id is not repeated", answer))
        await house.canary.sings()
    none_of(wrong)
    history = await house.carol.asks("GET", f"/api/rooms/{house.room}/messages?limit=200")
    senders = {message["sender"] for message in history.json["messages"]}
    assert senders == {"ann"}, "nothing of what was refused is stored"


async def test_names_that_cannot_be_repeated_are_refused_as_well(serve: Serve) -> None:
    house = await furnished(serve)
    for frame in SPOILT_NAMES:
        await house.at_carol.sends(frame)
        error = await house.at_carol.hears("error")
        field = "ref" if "ref" in frame else "client_id"
        assert explains_itself(error, "invalid_parameters"), (frame, error)
        assert list(error["fields"]) == [field], (frame, error)
        await house.canary.sings()


async def test_an_unknown_type_is_answered_with_the_nearest_name(serve: Serve) -> None:
    house = await furnished(serve)
    for name, nearest in (("mesage", "message"), ("edit_mesage", "edit_message"), ("online-status", "online_status")):
        error = await house.at_carol.asks({"type": name})
        assert f"'{nearest}'" in error["fix"]
    assert "docs/protocol.md" in (await house.at_carol.asks({"type": "qqqq"}))["fix"]


async def test_every_emoji_of_the_picker_can_be_used(serve: Serve) -> None:
    house = await furnished(serve)
    picker = json.loads((Path(heartlink.__file__).parent / "static/data/emoji.json").read_text())
    emoji = [row[0] for row in picker["emoji"]] + ["👍🏽", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "❤"]
    assert len(emoji) > 1500
    assert [one for one in emoji if not is_emoji(one)] == []
    for one in ("🫨", "1️⃣", "👨‍👩‍👧‍👦"):
        assert (await house.at_carol.asks({"type": "react", "id": 1, "emoji": one}))["type"] == "message_updated"
    assert (await house.carol.asks("PUT", f"/api/rooms/{house.room}/messages/1/reactions/%F0%9F%AB%A8")).status == 200


ODD_BUT_FINE: list[dict[str, Any]] = [
    {"type": "ping", "timestamp": BIG},
    {"type": "ping", "timestamp": -BIG},
    {"type": "ping", "timestamp": 10**400},
    {"type": "ping", "timestamp": 2**63},
    {"type": "ping", "timestamp": [[[{"deep": None}]]]},
    {"type": "ping", "timestamp": "\x00\u2028 \U0001f600"},
    {"type": "ping", "timestamp": 1e308},
    {"type": "ping", "unknown": {"field": BIG}},
    {"type": "heartbeat", "timestamp": "whatever"},
    {"type": "read_status", "message_ids": []},
    {"type": "read_status", "up_to": 2**53 - 1},
    {"type": "new_message", "message_id": "an old id", "ref": ""},
]


async def test_what_is_odd_but_fine_is_done(serve: Serve) -> None:
    house = await furnished(serve)
    for frame in ODD_BUT_FINE:
        await house.at_carol.sends(frame)
        await house.canary.sings()
    sign = {"type": "ping", "timestamp": "the end"}
    await house.at_carol.sends(sign)
    await house.at_carol.hears("pong", timestamp="the end")
    errors = [frame for frame in house.at_carol.heard if frame["type"] == "error"]
    # A number that no JSON reader keeps exact may be refused; nothing else may.
    assert {error["error_code"] for error in errors} <= {"invalid_parameters", "invalid_json"} and len(errors) <= 4
    kept = await house.at_carol.says("a NUL \x00, a line\u2028break, \u202eturned, 😀", client_id="odd")
    assert kept["content"] == "a NUL \x00, a line\u2028break, \u202eturned, 😀"


async def test_a_frame_over_the_limit_closes_with_1009_and_one_at_the_limit_does_not(serve: Serve) -> None:
    house = await furnished(serve)
    head, tail = '{"type":"ping","timestamp":"', '"}'
    await house.at_carol.sends(head + "x" * (65_536 - len(head) - len(tail)) + tail)
    await house.at_carol.hears("pong")
    await house.at_carol.sends(head + "x" * (65_537 - len(head) - len(tail)) + tail)
    assert await house.at_carol.is_closed() == (1009, "message_too_big")
    await house.canary.sings()


# --- REST ---------------------------------------------------------------------------------------------

ROOM = "/api/rooms/{room}"
JSON_TYPE = {"Content-Type": "application/json"}


class Row(NamedTuple):
    """A request, and what must come back."""

    method: str
    path: str
    body: Any
    status: int
    code: str
    headers: dict[str, str] | None = None


REQUESTS = [
    # Addresses there are not.
    Row("GET", "/api", None, 404, "not_found"),
    Row("GET", "/api/", None, 404, "not_found"),
    Row("GET", "/api/nothing", None, 404, "not_found"),
    Row("POST", "/api/rooms/", {}, 404, "not_found"),
    Row("GET", ROOM + "/nothing", None, 404, "not_found"),
    Row("GET", "/api/rooms/no-such-room", None, 404, "not_found"),
    Row("GET", "/api/rooms/" + "x" * 5000, None, 404, "not_found"),
    Row("GET", "/api/rooms/%00", None, 404, "not_found"),
    Row("GET", "/api/rooms/a%2Fb", None, 404, "not_found"),
    Row("GET", "/api/rooms/%ff", None, 400, "invalid_parameters"),
    Row("GET", "/api/rooms/no-such-room/messages", None, 404, "not_found"),
    Row("POST", "/api/rooms/no-such-room/messages", {"content": "hi"}, 404, "not_found"),
    Row("POST", "/api/rooms/no-such-room/read", {"up_to": 1}, 404, "not_found"),
    Row("POST", "/api/rooms/no-such-room/invites", {}, 404, "not_found"),
    Row("POST", "/api/rooms/no-such-room/members", {}, 404, "not_found"),
    Row("GET", "/api/invites/nothing", None, 404, "not_found"),
    Row("POST", "/api/invites/nothing", None, 404, "not_found"),
    Row("DELETE", "/api/invites/nothing", None, 404, "not_found"),
    Row("DELETE", ROOM + "/members/nobody", None, 403, "forbidden"),
    Row("PATCH", ROOM + "/messages/999999", {"content": "x"}, 404, "not_found"),
    Row("PATCH", ROOM + "/messages/abc", {"content": "x"}, 404, "not_found"),
    Row("DELETE", ROOM + "/messages/0", None, 404, "not_found"),
    Row("DELETE", ROOM + "/messages/-1", None, 404, "not_found"),
    Row("DELETE", ROOM + "/messages/1.5", None, 404, "not_found"),
    Row("DELETE", ROOM + "/messages/" + "9" * 30, None, 404, "not_found"),
    Row("DELETE", ROOM + "/messages/" + "9" * 6000, None, 404, "not_found"),
    Row("PUT", ROOM + "/messages/999999/reactions/%F0%9F%91%8D", None, 404, "not_found"),
    # Methods there are not.
    Row("PUT", "/api/rooms", {}, 405, "method_not_allowed"),
    Row("DELETE", "/api/rooms", None, 405, "method_not_allowed"),
    Row("POST", ROOM, {}, 405, "method_not_allowed"),
    Row("GET", ROOM + "/read", None, 405, "method_not_allowed"),
    Row("PUT", ROOM + "/messages", {}, 405, "method_not_allowed"),
    Row("POST", "/api/me", {}, 405, "method_not_allowed"),
    Row("POST", "/healthz", {}, 405, "method_not_allowed"),
    Row("GET", "/api/auth/login", None, 405, "method_not_allowed"),
    Row("BREW", "/api/rooms", None, 405, "method_not_allowed"),
    # Bodies that are no JSON.
    Row("POST", "/api/rooms", b"{", 400, "invalid_json"),
    Row("POST", "/api/rooms", b"hello", 400, "invalid_json"),
    Row("POST", "/api/rooms", b"\xff\xfe", 400, "invalid_json"),
    Row("POST", "/api/rooms", b'{"name":"\xff"}', 400, "invalid_json"),
    Row("POST", "/api/rooms", b'{"name":"\\ud800"}', 400, "invalid_json"),
    Row("POST", "/api/rooms", b"[" * DEEP + b"]" * DEEP, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}", 400, "invalid_json"),
    Row("POST", "/api/rooms", b'{"name":"a"} {"name":"b"}', 400, "invalid_json"),
    Row("POST", "/api/rooms", b"name=Tea", 415, "unsupported_media_type", {"Content-Type": "text/plain"}),
    Row("POST", "/api/rooms", b"<a/>", 415, "unsupported_media_type", {"Content-Type": "application/xml"}),
    Row("POST", ROOM + "/messages", b"content=hi", 415, "unsupported_media_type", {"Content-Type": "text/html"}),
    Row("POST", ROOM + "/messages", b'{"content":"' + b"x" * (1 << 20) + b'"}', 413, "too_large"),
    Row("POST", "/api/rooms", [], 400, "invalid_parameters"),
    Row("POST", "/api/rooms", "Tea", 400, "invalid_parameters"),
    # Rooms that cannot be.
    Row("POST", "/api/rooms", {"name": 42}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"name": None}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"name": "x" * 101}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"name": "a\u202eb"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"name": "a\x00b"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"kind": "secret"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"kind": 1}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"guest_access": "yes"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"members": "bob"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"members": [1]}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"members": ["nobody"]}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"members": ["bob"] * 101}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": 1}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": ""}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "a/b"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "."}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": ".."}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "x" * 101}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": " tea"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "te\u200ba"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "te\x00a"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "te\u202ea"}, 400, "invalid_parameters"),
    Row("POST", "/api/rooms", {"room_id": "te\na"}, 400, "invalid_parameters"),
    Row("PATCH", ROOM, {"name": "new"}, 403, "forbidden"),
    Row("PATCH", ROOM, {"kind": "open"}, 400, "invalid_parameters"),
    Row("DELETE", ROOM, None, 403, "forbidden"),
    # Members and links.
    Row("POST", ROOM + "/members", {"username": "nobody"}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/members", {"username": 1}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/members", {"username": "x" * 10_000}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/members", {"user_id": "nobody"}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/members", {"username": "bob", "role": "king"}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/members", {"username": "bob", "role": "owner"}, 403, "forbidden"),
    Row("PATCH", ROOM + "/members/nobody", {"role": "admin"}, 403, "forbidden"),
    Row("PATCH", ROOM + "/members/nobody", {}, 400, "missing_parameters"),
    Row("POST", ROOM + "/invites", {"max_uses": 0}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/invites", {"max_uses": BIG}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/invites", {"max_uses": "3"}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/invites", {"expires_in": -5}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/invites", {"expires_in": 10**9}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/invites", {"expires_in": 1.5}, 400, "invalid_parameters"),
    # Messages and history.
    Row("POST", ROOM + "/messages", {}, 400, "missing_parameters"),
    Row("POST", ROOM + "/messages", None, 400, "missing_parameters"),
    Row("POST", ROOM + "/messages", {"content": ""}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/messages", {"content": 7}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/messages", {"content": "x" * 10_001}, 413, "too_large"),
    Row("POST", ROOM + "/messages", {"content": "x", "client_id": LONG}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/messages", {"content": "x", "reply_to": 999_999}, 404, "not_found"),
    Row("POST", ROOM + "/messages", {"content": "x", "message_type": "image"}, 400, "invalid_parameters"),
    Row("PATCH", ROOM + "/messages/1", {"content": "not mine"}, 403, "forbidden"),
    Row("PATCH", ROOM + "/messages/1", {"content": ""}, 400, "invalid_parameters"),
    Row("DELETE", ROOM + "/messages/1", None, 403, "forbidden"),
    Row("PUT", ROOM + "/messages/1/reactions/word", None, 400, "invalid_parameters"),
    Row("PUT", ROOM + "/messages/1/reactions/%20", None, 400, "invalid_parameters"),
    Row("PUT", ROOM + "/messages/1/reactions/" + "%F0%9F%91%8D" * 65, None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?limit=0", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?limit=201", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?limit=ten", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?limit=1e2", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?limit=", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?before=-1", None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?after=" + "9" * 5000, None, 400, "invalid_parameters"),
    Row("GET", ROOM + "/messages?before=%ff", None, 400, "invalid_parameters"),
    Row("POST", ROOM + "/read", {}, 400, "missing_parameters"),
    Row("POST", ROOM + "/read", {"up_to": "1"}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/read", {"up_to": -1}, 400, "invalid_parameters"),
    Row("POST", ROOM + "/read", {"up_to": BIG}, 400, "invalid_parameters"),
    # Who asks.
    Row("GET", "/api/rooms", None, 401, "invalid_token", {"Authorization": "Bearer no.such.token"}),
    Row("GET", "/api/rooms", None, 401, "invalid_token", {"Authorization": "Bearer"}),
    Row("GET", "/api/rooms", None, 401, "invalid_token", {"Authorization": "Basic Y2Fyb2w6eA=="}),
]


def is_refused_well(answer: Answer, status: int, code: str) -> bool:
    if answer.status != status or "json" not in answer.headers.get("Content-Type", ""):
        return False
    return explains_itself(answer.json["error"], code) and ("Allow" in answer.headers) == (status == 405)


async def test_requests_with_something_wrong_are_refused_one_by_one(serve: Serve) -> None:
    house = await furnished(serve)
    wrong = []
    for row in REQUESTS:
        answer = await house.carol.asks(row.method, row.path.format(room=house.room), row.body, headers=row.headers)
        if not is_refused_well(answer, row.status, row.code):
            wrong.append((row.method, row.path[:80], str(row.body)[:80], row.status, row.code, answer))
        await house.canary.sings()
    none_of(wrong)
    assert len((await house.carol.asks("GET", "/api/rooms")).json["rooms"]) == 1, "nothing of it was done"


FOR_MEMBERS = [
    ("GET", ROOM, None),
    ("GET", ROOM + "/messages", None),
    ("PATCH", ROOM, {"name": "new"}),
    ("DELETE", ROOM, None),
    ("POST", ROOM + "/members", {}),
    ("POST", ROOM + "/members", {"username": "carol"}),
    ("POST", ROOM + "/invites", {}),
    ("GET", ROOM + "/invites", None),
    ("POST", ROOM + "/messages", {"content": "hi"}),
    ("PATCH", ROOM + "/messages/1", {"content": "hi"}),
    ("DELETE", ROOM + "/messages/1", None),
    ("PUT", ROOM + "/messages/1/reactions/%F0%9F%91%8D", None),
    ("POST", ROOM + "/read", {"up_to": 1}),
]


async def test_what_is_for_members_is_refused_to_strangers_and_to_those_who_are_not_signed_in(serve: Serve) -> None:
    house = await furnished(serve)
    dave, nobody = await house.server.person("dave"), house.server.stranger()
    for method, path, body in FOR_MEMBERS:
        address = path.format(room=house.room)
        for person, status, codes in (
            (dave, 403, ("not_a_member", "forbidden")),
            (nobody, 401, ("unauthenticated",)),
        ):
            answer = await person.asks(method, address, body)
            assert answer.status == status and answer.code in codes, (method, path, answer)
            assert explains_itself(answer.json["error"], answer.code)
    await house.canary.sings()


# --- The door -----------------------------------------------------------------------------------------

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
BAD_TOKEN = "no.such.token"


class Knock(NamedTuple):
    """Where somebody knocks and with what; the status and code of the refusal."""

    path: str
    headers: dict[str, str]
    status: int
    code: str


DOOR = "/ws/chat/{room}/"
KNOCKS = [
    Knock(DOOR, {"Authorization": f"Bearer {BAD_TOKEN}"}, 401, "invalid_token"),
    Knock(DOOR, {"Authorization": "Basic eDp5"}, 401, "invalid_token"),
    Knock(DOOR, {"Authorization": ""}, 401, "invalid_token"),
    Knock(DOOR, {"Sec-WebSocket-Protocol": f"bearer.{BAD_TOKEN}, heartlink.v1"}, 401, "invalid_token"),
    Knock(DOOR + "?token=" + BAD_TOKEN, {}, 401, "invalid_token"),
    Knock(DOOR + "?token=nosuchticket", {}, 401, "invalid_token"),
    Knock(DOOR + "?token=", {"Cookie": "heartlink_session={dave}", "Origin": "{origin}"}, 401, "invalid_token"),
    Knock(DOOR, {"Cookie": f"heartlink_session={BAD_TOKEN}", "Origin": "{origin}"}, 401, "invalid_token"),
    Knock(DOOR, {}, 401, "unauthenticated"),
    Knock(DOOR, {"Authorization": "Bearer {dave}"}, 403, "not_a_member"),
    Knock(DOOR + "?token={dave}", {}, 403, "not_a_member"),
    Knock("/ws/chat/no-such-room/", {"Authorization": "Bearer {carol}"}, 404, "not_found"),
    Knock("/ws/chat/no-such-room", {"Authorization": "Bearer {carol}"}, 404, "not_found"),
    Knock("/ws/chat/" + "x" * 200 + "/", {"Authorization": "Bearer {carol}"}, 404, "not_found"),
    Knock("/ws/chat/%00/", {"Authorization": "Bearer {carol}"}, 404, "not_found"),
    Knock("/ws/chat/{ended}/", {"Authorization": "Bearer {ann}"}, 410, "ended"),
    Knock(DOOR + "?since=abc", {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
    Knock(DOOR + "?since=-1", {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
    Knock(DOOR + "?since=1.5", {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
    Knock(DOOR + "?since=" + "9" * 30, {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
    Knock(DOOR + "?since=%ff", {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
    Knock(DOOR + "?since=1&epoch=" + "e" * 65, {"Authorization": "Bearer {carol}"}, 400, "invalid_parameters"),
]
ONLY_UPGRADES = [
    Knock(DOOR, {"Cookie": "heartlink_session={carol}"}, 403, "origin_missing"),
    Knock(DOOR, {"Cookie": "heartlink_session={carol}", "Origin": "http://evil.example"}, 403, "origin_not_allowed"),
    Knock(DOOR, {"Cookie": "heartlink_session={carol}", "Origin": "null"}, 403, "origin_not_allowed"),
    Knock(DOOR, {"Authorization": "Bearer {carol}", "Host": "evil.example"}, 403, "host_not_allowed"),
    Knock(DOOR, {"Authorization": "Bearer {carol}", "Sec-WebSocket-Key": ""}, 400, "invalid_parameters"),
    Knock(DOOR, {"Authorization": "Bearer {carol}", "Sec-WebSocket-Version": "8"}, 426, "unknown_version"),
    Knock(DOOR, {"Authorization": "Bearer {carol}", "Sec-WebSocket-Version": ""}, 426, "unknown_version"),
]
"""What only an upgrade can have wrong."""


async def test_every_refusal_at_the_door_is_told_to_upgrades_and_to_plain_gets_alike(serve: Serve) -> None:
    house = await furnished(serve)
    dave, ann = await house.server.person("dave"), await house.server.person("anna")
    ended = await ann.opens(name="Over")
    assert (await ann.asks("DELETE", f"/api/rooms/{ended}")).status == 200
    words = {"room": house.room, "ended": ended, "origin": house.server.url}
    words |= {"ann": str(ann.token), "carol": str(house.carol.token), "dave": str(dave.token)}
    nobody, wrong = house.server.stranger(), []
    for knock in KNOCKS + ONLY_UPGRADES:
        path = knock.path.format(**words)
        headers = {name: value.format(**words) for name, value in knock.headers.items()}
        refused = await nobody.asks("GET", path, headers={**UPGRADE, **headers})
        if not is_refused_well(refused, knock.status, knock.code):
            wrong.append(("upgrade", knock, refused))
        if knock not in ONLY_UPGRADES:
            told = await nobody.asks("GET", path, headers=headers)
            body = told.json if told.status == 426 else {}
            same = body.get("would") == knock.status and explains_itself(body.get("error") or {}, knock.code)
            if not (same and body["websocket"] is True and body["route"] == "/ws/chat/{room_id}/"):
                wrong.append(("plain", knock, told))
        await house.canary.sings()
    none_of(wrong)


async def test_a_plain_get_says_that_an_upgrade_would_be_let_in(serve: Serve) -> None:
    house = await furnished(serve)
    for path in (f"/ws/chat/{house.room}/", f"/ws/chat/{house.room}", f"/ws/chat/{house.room}/?since=1"):
        told = await house.carol.asks("GET", path)
        assert (told.status, told.json["would"], told.json["error"]) == (426, 101, None)
        assert told.headers["Upgrade"] == "websocket"
    half = await house.carol.asks("GET", f"/ws/chat/{house.room}/", headers={"Upgrade": "websocket"})
    assert half.status == 426, "without 'Connection: Upgrade' it is a plain GET"
    assert (await house.carol.asks("POST", f"/ws/chat/{house.room}/", {})).status == 405


async def test_socket_addresses_that_do_not_exist_list_those_that_do(serve: Serve) -> None:
    server = await serve()
    nobody = server.stranger()
    for path in ("/ws", "/ws/", "/ws/chats/x/", "/ws/chat/", "/ws/chat//", "/ws/chat/a/b/", "/ws/unknown"):
        for headers in ({}, UPGRADE):
            answer = await nobody.asks("GET", path, headers=headers)
            assert is_refused_well(answer, 404, "not_found"), (path, answer)
            assert "/ws/chat/{room_id}/" in answer.json["error"]["routes"]


async def test_too_many_sockets_of_one_user_or_address_are_refused_with_429(serve: Serve) -> None:
    house = await furnished(serve, connections_per_user=2, connections_per_address=5)
    second = await house.carol.sits_in(house.room)
    for person in (house.carol,):
        refused = await person.asks("GET", f"/ws/chat/{house.room}/", headers=UPGRADE)
        assert is_refused_well(refused, 429, "too_many") and refused.headers["Retry-After"]
        told = await person.asks("GET", f"/ws/chat/{house.room}/")
        assert (told.status, told.json["would"], told.json["error"]["code"]) == (426, 429, "too_many")
    dave = await house.server.person("dave")
    assert (await dave.asks("POST", "/api/rooms", {"room_id": "d"})).status == 201
    fifth = await dave.sits_in("d")
    refused = await (await house.server.person("erin")).asks("GET", f"/ws/chat/{house.room}/", headers=UPGRADE)
    assert is_refused_well(refused, 429, "too_many") and "address" in refused.json["error"]["message"]
    await second.leaves()
    await fifth.leaves()
    await (await house.carol.sits_in(house.room)).says("there is a place again")


async def test_sockets_that_come_all_at_once_do_not_pass_the_limit(serve: Serve) -> None:
    house = await furnished(serve, connections_per_user=4)
    target = f"/ws/chat/{house.room}/?token={house.carol.token}"
    peers = await asyncio.gather(*(RawPeer.knocks(house.server.port, target) for _ in range(12)))
    assert sorted(peer.status for peer in peers) == [101] * 3 + [429] * 9
    for peer in peers:
        peer.abandon()


# --- A peer that does not read ------------------------------------------------------------------------


async def test_a_frozen_reader_costs_its_queue_delays_nobody_and_misses_nothing(serve: Serve) -> None:
    queue_bytes = 256 * 1024
    house = await furnished(serve, queue_bytes=queue_bytes, message_chars=20_000, frame_bytes=0)
    live = house.server.house.live_rooms.loaded(house.at_carol.greeting["room_id"])
    assert live is not None
    await house.at_carol.leaves()
    target = f"/ws/chat/{house.room}/?token={house.carol.token}"
    frozen = await RawPeer.knocks(house.server.port, target, receive_bytes=4096)
    await until(lambda: live.topic.of_user(house.carol.user["id"]))
    (connection,) = live.topic.of_user(house.carol.user["id"])
    ann = house.canary._ann
    said = 0
    while connection.farewell is None:
        said += 1
        assert said < 400, "the kernel cannot have taken all of this"
        await ann.says("话" * 20_000, client_id=f"loud-{said}")
        assert connection.queued_bytes <= queue_bytes
        await house.canary.sings()
    assert connection.farewell == TOO_SLOW
    await frozen.reads_all()
    assert frozen.close_code == 4000
    heard = [frame["message"] for frame in frozen.frames if frame["type"] == "chat_message"]
    seqs = [message["seq"] for message in heard]
    seqs += await resumes_until_caught_up(house, seqs[-1])
    last_seq = (await house.canary._ann.says("the end"))["seq"] - 1
    assert seqs == list(range(seqs[0], last_seq + 1)) and seqs[0] == 2


async def resumes_until_caught_up(house: House, since: int) -> list[int]:
    """The numbers replayed, over as many connections as the small queue makes necessary."""
    seqs: list[int] = []
    for _ in range(100):
        chair = await house.carol.sits_in(house.room, f"?since={since}")
        if chair.greeting["resume"] == "full":
            path = f"/api/rooms/{house.room}/messages?limit=200&after={since}"
            page = (await house.carol.asks("GET", path)).json
            assert not page["has_more"]
            return seqs + [message["seq"] for message in page["messages"]]
        with suppress(AssertionError):
            while (frame := await chair.next())["type"] != "caught_up":
                if frame["type"] == "chat_message":
                    seqs.append(frame["message"]["seq"])
            return seqs
        since = seqs[-1] if seqs else since
    raise AssertionError("resuming makes no progress")
