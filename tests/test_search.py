"""Finding words in a room's history: what is found, by whom, and in how much time at once (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest

from heartlink.chat import Query
from heartlink.chat import search as searching
from heartlink.errors import Refusal
from heartlink.model import Grant, Message, RoomId, StoredMessage, Subject, UserId
from heartlink.protocol import encode
from heartlink.rights.changes import PutGrant
from tests.actors import Person, Server
from tests.administrators import does
from tests.conftest import Serve
from tests.raw_peer import until

pytestmark = pytest.mark.gen_test(timeout=30)

UNUSED_ID = 1_000_000
"""No test writes that many messages."""


def stored(number: int, content: str, room: str = "r", **more: Any) -> StoredMessage:
    message = Message(
        id=number, seq=number, rev=number, client_id=None, room_id=RoomId(room), sender="ann", sender_id=UserId("a"),
        sender_name="Ann", sender_avatar="", content=content, message_type="text",
        created_at="2026-01-01T00:00:00.000Z", **more,
    )  # fmt: skip
    return StoredMessage(message, encode(message), f"{room}{number}", "")


async def fill(server: Server, room: str, contents: list[str]) -> None:
    """Put messages into the store behind the server's back, before it has loaded the room."""
    assert server.house.live_rooms.loaded(RoomId(room)) is None
    for start in range(0, len(contents), 256):
        some = enumerate(contents[start : start + 256], start + 1)
        await server.house.messages.append([(stored(number, content, room), 0) for number, content in some])


async def forget(server: Server, room: str) -> None:
    """Let a room out of the server's memory."""
    server.house.live_rooms._live.pop(RoomId(room))


async def room_with(serve: Serve, *contents: str, **settings: Any) -> tuple[Server, Person, str]:
    server = await serve(messages_per_second=0, **settings)
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    for content in contents:
        await does(ann, "POST", f"/api/rooms/{room}/messages", {"content": content})
    return server, ann, room


async def finds(person: Person, room: str, q: str, **query: Any) -> list[str]:
    """The texts found, newest first, of a room small enough to be searched at once."""
    page = await does(person, "GET", f"/api/rooms/{room}/search?{urlencode({'q': q, **query})}")
    return [message["content"] for message in page["messages"]]


# --- What is found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "text", "is_found"),
    [
        ("tea", "Green TEA is ready", True),
        ("GREEN tea", "tea, which is green", True),
        ("green coffee", "green tea", False),
        ("茶", "明天喝茶吗？", True),
        ("喝茶", "明天喝茶吗？", True),
        ("喝咖啡", "明天喝茶吗？", False),
        ("喝茶　明天", "明天喝茶吗？", True),
        ("ＡＢＣ", "abc", True),
        ("abc", "全角ＡＢＣ", True),
        ("STRASSE", "Straße", True),
        ("ﬁn", "finish", True),
        ("ｶﾞ", "ガラス", True),
        ('"quoted"', 'say "quoted" now', True),
        ("back\\slash", "a back\\slash b", True),
        ("a.c", "abc", False),
        ("%", "100 per cent", False),
        ("_", "no underline", False),
        ("ann", "the sender's name is not searched", False),
        ("text", "nor are the names of fields", False),
        ("😀", "hello 😀", True),
    ],
)
def test_words_are_found_in_any_case_and_width(query: str, text: str, is_found: bool) -> None:
    assert Query(query).finds(stored(1, text).body) is is_found


def test_the_name_of_a_file_is_found() -> None:
    body = b'{"content":"here","deleted":false,"file":{"id":"f","name":"\xe6\x9c\x88\xe6\x8a\xa5 March.PDF","size":1}}'
    assert Query("march.pdf").finds(body) and Query("月报 here").finds(body)
    assert not Query("april").finds(body)
    assert not Query("hereM").finds(body), "the text and the name do not run together"
    assert not Query("here").finds(body.replace(b'"deleted":false', b'"deleted":true'))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), (" \u3000\n", "empty"), ("x" * 201, "longer"), (" ".join("abcdefghijklm"), "words")],
)
def test_what_is_no_query_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Query(text)
    assert reason in refusal.value.message and refusal.value.status == 400


async def test_the_newest_come_first_and_the_rest_on_asking(serve: Serve) -> None:
    _, ann, room = await room_with(serve, *(f"{'茶' if number % 2 else 'coffee'} {number}" for number in range(1, 10)))
    assert await finds(ann, room, "茶") == ["茶 9", "茶 7", "茶 5", "茶 3", "茶 1"]
    first = await does(ann, "GET", f"/api/rooms/{room}/search?{urlencode({'q': '茶', 'limit': 2})}")
    assert [message["id"] for message in first["messages"]] == [9, 7]
    assert (first["has_more"], first["searched_to"]) == (True, 7)
    second = await does(ann, "GET", f"/api/rooms/{room}/search?{urlencode({'q': '茶', 'limit': 5, 'before': 7})}")
    assert [message["id"] for message in second["messages"]] == [5, 3, 1]
    assert (second["has_more"], second["searched_to"]) == (False, 0)
    assert second["messages"][0] == await message_as_in_history(ann, room, 5)


async def message_as_in_history(person: Person, room: str, message_id: int) -> Any:
    page = await does(person, "GET", f"/api/rooms/{room}/messages?before={message_id + 1}&limit=1")
    return page["messages"][0]


async def test_an_edited_message_is_found_by_its_new_text_and_a_deleted_one_never(serve: Serve) -> None:
    _, ann, room = await room_with(serve, "old words", "secret words", "words")
    await does(ann, "PATCH", f"/api/rooms/{room}/messages/1", {"content": "new text"})
    await does(ann, "DELETE", f"/api/rooms/{room}/messages/2")
    assert await finds(ann, room, "words") == ["words"]
    assert await finds(ann, room, "new") == ["new text"]
    assert await finds(ann, room, "old") == []
    reply = {"content": "about the last", "reply_to": 3}
    await does(ann, "POST", f"/api/rooms/{room}/messages", reply)
    assert await finds(ann, room, "words") == ["words"], "what a reply quotes is not searched a second time"


async def test_bad_questions_are_answered_with_what_is_wrong(serve: Serve) -> None:
    _, ann, room = await room_with(serve)
    for query, field in (("", "q"), ("q=", "q"), ("q=" + "x" * 201, "q"), ("q=" + "x" * 2001, "q"),
                         ("q=a&limit=0", "limit"), ("q=a&limit=101", "limit"), ("q=a&before=x", "before")):  # fmt: skip
        answer = await ann.asks("GET", f"/api/rooms/{room}/search?{query}")
        assert (answer.status, list(answer.json["error"]["fields"])) == (400, [field]), query
        assert answer.json["error"]["fix"]


# --- In pieces -------------------------------------------------------------------------------------------


async def test_one_request_takes_a_bounded_time_and_the_next_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SEARCH_SECONDS", 0.0)
    server, ann, room = await room_with(serve)
    await forget(server, room)
    await fill(server, room, ["the needle", *(f"hay {number}" for number in range(2, 400))])
    before, requests, found = UNUSED_ID, 0, []
    while True:
        page = await does(ann, "GET", f"/api/rooms/{room}/search?q=needle&before={before}")
        requests += 1
        found += page["messages"]
        assert page["searched_to"] < before, "each request gets further"
        before = page["searched_to"]
        if not page["has_more"]:
            break
    assert [message["content"] for message in found] == ["the needle"] and before == 0
    assert requests == 7, "399 messages in pieces of 64"


async def test_long_messages_make_small_pieces(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "FIRST_ROWS", 8)
    monkeypatch.setattr(searching, "PIECE_BYTES", 4000)
    server, ann, room = await room_with(serve)
    await forget(server, room)
    await fill(server, room, ["x" * 2000] * 40)
    pieces: list[int] = []
    candidates = server.house.messages.candidates

    async def noted(room_id: RoomId, before: int, rows: int) -> Any:
        pieces.append(rows)
        return await candidates(room_id, before, rows)

    monkeypatch.setattr(server.house.messages, "candidates", noted)
    assert await finds(ann, room, "needle") == []
    assert pieces[0] == 8 and set(pieces[1:]) <= {1, 2}


async def test_what_is_deleted_or_edited_while_it_is_read_does_not_appear(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ann, room = await room_with(serve, "words one", "words two", "words three")
    candidates = server.house.messages.candidates

    async def overtaken(*arguments: Any) -> Any:
        piece = await candidates(*arguments)
        await does(ann, "DELETE", f"/api/rooms/{room}/messages/1")
        await does(ann, "PATCH", f"/api/rooms/{room}/messages/2", {"content": "something else"})
        return piece

    monkeypatch.setattr(server.house.messages, "candidates", overtaken)
    assert await finds(ann, room, "words") == ["words three"]


async def test_the_same_where_memory_does_not_reach_back(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, room = await room_with(serve, "words one", "words two")
    candidates = server.house.messages.candidates
    calls = 0

    async def overtaken(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        piece = await candidates(*arguments)
        await does(ann, "DELETE", f"/api/rooms/{room}/messages/1")
        for number in range(140):
            await does(ann, "POST", f"/api/rooms/{room}/messages", {"content": f"chat {number}"})
        return piece

    monkeypatch.setattr(server.house.messages, "candidates", overtaken)
    assert await finds(ann, room, "words") == ["words two"] and calls == 1


# --- By whom ---------------------------------------------------------------------------------------------


async def test_who_may_not_read_may_not_search(serve: Serve) -> None:
    server, ann, room = await room_with(serve, "words")
    bob = await server.person("bob")
    for person, status, code in ((bob, 403, "not_a_member"), (server.stranger(), 401, "unauthenticated")):
        answer = await person.asks("GET", f"/api/rooms/{room}/search?q=words")
        assert (answer.status, answer.code) == (status, code)
    assert (await ann.asks("GET", "/api/rooms/nowhere/search?q=words")).status == 404
    await does(ann, "PATCH", f"/api/rooms/{room}", {"guest_access": True})
    assert await finds(server.stranger(), room, "words") == ["words"]


@pytest.mark.parametrize("is_guest", [False, True])
async def test_a_right_that_goes_while_one_searches_takes_the_results_along(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, is_guest: bool
) -> None:
    server, ann, room = await room_with(serve, "words")
    bob = server.stranger() if is_guest else await server.person("bob")
    if is_guest:
        await does(ann, "PATCH", f"/api/rooms/{room}", {"guest_access": True})
    else:
        await does(ann, "POST", f"/api/rooms/{room}/members", {"username": "bob"})
    subject = Subject("anonymous") if is_guest else Subject("user", bob.id)
    denial = Grant(id="no", subject=subject, permission="chat.read", scope=f"room:{room}", effect="deny")
    candidates = server.house.messages.candidates

    async def overtaken(*arguments: Any) -> Any:
        piece = await candidates(*arguments)
        await server.house.desk.commit(lambda policy: [PutGrant(denial)], by=None, why="enough")
        return piece

    assert await finds(bob, room, "words") == ["words"]
    monkeypatch.setattr(server.house.messages, "candidates", overtaken)
    answer = await bob.asks("GET", f"/api/rooms/{room}/search?q=words")
    assert answer.status == (401 if is_guest else 403) and "words" not in answer.body.decode()


async def test_one_user_runs_a_few_searches_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, room = await room_with(serve, "words")
    candidates, go_on = server.house.messages.candidates, asyncio.Event()
    waiting = asyncio.Event()

    async def held(*arguments: Any) -> Any:
        waiting.set()
        await go_on.wait()
        return await candidates(*arguments)

    monkeypatch.setattr(server.house.messages, "candidates", held)
    path = f"/api/rooms/{room}/search?q=words"
    running = [asyncio.ensure_future(ann.asks("GET", path)) for _ in range(searching.SEARCHES_PER_USER)]
    await waiting.wait()
    await until(lambda: server.house.search._running.total() == len(running))
    refused = await ann.asks("GET", path)
    assert (refused.status, refused.code) == (429, "rate_limited") and refused.headers["Retry-After"]
    go_on.set()
    assert [(await answer).status for answer in running] == [200] * len(running)
    assert (await ann.asks("GET", path)).status == 200 and not server.house.search._running
