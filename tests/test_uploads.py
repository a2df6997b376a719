"""Uploads in one request, from outside: over a real socket, into a real store (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heartlink.files import sweep
from heartlink.handlers import streaming
from heartlink.model import FileId, Grant, Subject
from heartlink.rights.changes import PutGrant
from tests.actors import Answer, Person, Server
from tests.conftest import Serve
from tests.raw_request import RawRequest, eventually

pytestmark = pytest.mark.gen_test(timeout=60)

PLAIN = {"Content-Type": "application/octet-stream"}


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def uploads(person: Person, room: str, data: bytes, query: str = "name=note.bin", **headers: str) -> Answer:
    return await person.asks("POST", f"/api/rooms/{room}/files?{query}", data, headers={**PLAIN, **headers})


async def settled(server: Server) -> None:
    """Wait until nothing is under way in the background of files."""
    house = server.house
    await eventually(lambda: not (house.depot.keeper.busy or spooled(server) or len(house.transfers)))


def spooled(server: Server) -> list[str]:
    return sorted(path.name for path in Path(server.settings.data_dir, "uploads").iterdir())


async def kept(server: Server, files: int, blobs: int | None = None) -> None:
    """Wait until there are so many files, and contents: what is removed is removed behind the answer."""
    house, found = server.house, (-1, -1)
    try:
        async with asyncio.timeout(30):
            while found != (files, files if blobs is None else blobs):
                found = (len(await house.files.all_after()), len(await house.files.blobs()))
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{found} files and contents are kept") from None


async def two(serve: Serve, **settings: Any) -> tuple[Server, Person, Person, str]:
    server = await serve(messages_per_second=0, **settings)
    ann, bob = await server.person("ann"), await server.person("bob")
    return server, ann, bob, await ann.opens(name="Tea", members=["bob"])


async def mutes(server: Server, person: Person, room: str, permission: str = "chat.send") -> None:
    subject = Subject("user", person.id)
    grant = Grant(id="no", subject=subject, permission=permission, scope=f"room:{room}", effect="deny")
    await server.house.desk.commit(lambda policy: [PutGrant(grant)], by=None, why="enough")


# --- What arrives ----------------------------------------------------------------------------------------


async def test_what_was_uploaded_is_shown_to_all_and_read_by_all(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    data = content(3_000_000)
    answer = await uploads(ann, room, data, "name=%E7%AC%94%E8%AE%B0.bin&content=look&client_id=one")
    assert answer.status == 201, answer
    message = answer.json
    assert message["message_type"] == "file" and message["content"] == "look" and message["client_id"] == "one"
    assert message["is_own"] and message["file"]["name"] == "笔记.bin" and message["file"]["size"] == len(data)
    assert message["file_url"] == f"/files/{message['file']['id']}/%E7%AC%94%E8%AE%B0.bin"
    for chair, is_own in ((at_ann, True), (at_bob, False)):
        heard = await chair.hears_message(id=message["id"])
        assert heard["file"] == message["file"] and heard["is_own"] is is_own
    read = await bob.asks("GET", message["file_url"])
    assert read.status == 200 and hashlib.sha256(read.body).digest() == hashlib.sha256(data).digest()
    history = (await bob.asks("GET", f"/api/rooms/{room}/messages")).json["messages"]
    assert history[-1]["file"] == message["file"]
    await settled(server)
    await kept(server, 1)


async def test_a_message_with_a_file_outlives_a_restart(serve: Serve, tmp_path: Path) -> None:
    server, ann, _, room = await two(serve, data_dir=tmp_path / "kept")
    message = (await uploads(ann, room, content(70_000))).json
    mongo_url = server.settings.mongo_url
    await server.close()
    again = await serve(data_dir=tmp_path / "kept", mongo_url=mongo_url or None)
    ann = Person(again, ann.token, {"id": ann.id, "username": "ann"})
    history = (await ann.asks("GET", f"/api/rooms/{room}/messages")).json["messages"]
    assert history[-1]["file"] == message["file"]
    assert (await ann.asks("GET", message["file_url"])).body == content(70_000)


FORM = "xYzBoundary"


def form(*parts: tuple[str, str | None, bytes], end: bytes = b"--\r\n") -> bytes:
    body = b""
    for name, file_name, data in parts:
        body += f'--{FORM}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += f'; filename="{file_name}"\r\nContent-Type: text/plain'.encode() if file_name is not None else b""
        body += b"\r\n\r\n" + data + b"\r\n"
    return body + f"--{FORM}".encode() + end


async def posts_form(
    person: Person, room: str, body: bytes, kind: str = f"multipart/form-data; boundary={FORM}"
) -> Answer:
    return await person.asks("POST", f"/api/rooms/{room}/files?content=query", body, headers={"Content-Type": kind})


async def test_a_form_is_as_good_whatever_its_file_is_called_and_wherever_it_stands(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    data = b"\r\n--not the boundary\r\n" + content(200_000) + b"\r\n--" + FORM[:-1].encode()
    for number, (field, before) in enumerate((("file", True), ("image", False), ("audio", True))):
        fields = [("content", None, f"看 {number}".encode()), ("client_id", None, f"c{number}".encode())]
        file = [(field, "报告 %22a%22.txt", data)]
        answer = await posts_form(ann, room, form(*(fields + file if before else file + fields)))
        assert answer.status == 201, answer
        message = answer.json
        assert message["content"] == f"看 {number}" and message["client_id"] == f"c{number}"
        assert message["file"]["size"] == len(data) and "报告" in message["file"]["name"]
        assert (await ann.asks("GET", message["file_url"])).body == data
    empty = await posts_form(ann, room, form(("file", "empty.txt", b"")))
    assert empty.status == 201 and empty.json["file"]["size"] == 0 and empty.json["content"] == "query"
    chosen = await posts_form(ann, room, form(("image", "", b""), ("file", "a.txt", b"1")))
    assert chosen.status == 201 and chosen.json["file"]["name"] == "a.txt"
    await settled(server)


async def test_a_recording_in_a_form_is_a_voice_message(serve: Serve) -> None:
    _, ann, bob, room = await two(serve)
    at_bob = await bob.sits_in(room)
    recording = (Path(__file__).parent / "samples" / "voice.webm").read_bytes()
    for field, kind, expected in (("audio", None, "voice"), ("file", b"voice", "voice"), ("file", None, "file")):
        parts = [("kind", None, kind)] if kind else []
        answer = await posts_form(ann, room, form(*parts, (field, "blob", recording)))
        assert (answer.status, answer.json["message_type"]) == (201, expected), answer
        assert (await at_bob.hears_message(id=answer.json["id"]))["file"]["mime"].startswith("audio/")
    text = await posts_form(ann, room, form(("audio", "a.mp3", b"no sound at all")))
    assert text.json["message_type"] == "file"


NO_FORMS: list[tuple[bytes, str | None, str]] = [
    (form(("content", None, b"x")), None, "file"),
    (form(("file", "a", b"1"), ("file", "b", b"2")), None, "second file"),
    (form(("file", "a", b"12345"), end=b""), None, "last boundary"),
    (form(("file", "a", b"1"))[:-20], None, "last boundary"),
    (b"no form at all", None, "file"),
    (form(("file", "", b"")), None, "'file' is missing"),
    (form(("file", "a", b"1")), "multipart/form-data", "boundary"),
    (form(("content", None, b"x" * 300_000), ("file", "a", b"1")), None, "longer than"),
    (f"--{FORM}\r\nX: {'y' * 9000}".encode(), None, "too long"),
    (f"--{FORM}\r\nX: y\r\n\r\nz\r\n--{FORM}--\r\n".encode(), None, "no name"),
    (f"--{FORM}junk".encode() + b" " * 40, None, "something else"),
    (form(*[("content", None, b"x")] * 40), None, "parts"),
]


async def test_a_form_that_is_none_is_refused_with_the_reason(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    for body, kind, reason in NO_FORMS:
        answer = await posts_form(ann, room, body, kind or f"multipart/form-data; boundary={FORM}")
        assert answer.status == 400 and reason in answer.json["error"]["message"], (body[:50], answer)
    await settled(server)
    await kept(server, 0)


# --- Again -----------------------------------------------------------------------------------------------


async def test_a_retry_under_the_same_client_id_stores_nothing_new(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    at_bob = await bob.sits_in(room)
    data = content(100_000)
    first = await uploads(ann, room, data, "name=a&client_id=one")
    again = await uploads(ann, room, data, "name=other&client_id=one")
    assert (first.status, again.status) == (201, 200) and again.json["duplicate"] is True
    assert again.json["file"] == first.json["file"]
    for query, body in (("client_id=one", content(100_000, 2)), ("client_id=one&content=more", data)):
        refused = await uploads(ann, room, body, query)
        assert (refused.status, refused.code) == (409, "conflict"), refused
    as_text = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "x", "client_id": "one"})
    assert (as_text.status, as_text.code) == (409, "conflict")
    assert (await uploads(bob, room, data, "client_id=one")).status == 201, "somebody else's is another"
    await settled(server)
    await kept(server, 2)
    await at_bob.says("end")
    assert sum(frame["type"] == "chat_message" for frame in at_bob.heard) == 3


async def test_two_at_once_under_one_client_id_become_one_message(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    answers = await asyncio.gather(*(uploads(ann, room, content(50_000), "client_id=one") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json["file"]["id"] for answer in answers}) == 1
    await settled(server)
    await kept(server, 1)


# --- Who may, and for how long ---------------------------------------------------------------------------


async def test_who_may_not_send_may_not_upload(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    eve = await server.person("eve")
    ended = await ann.opens(name="Over")
    await ann.asks("DELETE", f"/api/rooms/{ended}")
    await mutes(server, bob, room)
    for person, where, status, code in (
        (server.stranger(), room, 401, "unauthenticated"),
        (eve, room, 403, "forbidden"),
        (bob, room, 403, "forbidden"),
        (ann, ended, 410, "ended"),
        (ann, "nowhere", 404, "not_found"),
    ):
        answer = await uploads(person, where, content(300_000))
        assert (answer.status, answer.code) == (status, code), answer
    await settled(server)
    await kept(server, 0)


async def begins(person: Person, room: str, length: int = 5_000_000, **headers: str) -> RawRequest:
    sent = {**PLAIN, "Content-Length": str(length), **headers}
    request = await RawRequest.begins(person, "POST", f"/api/rooms/{room}/files?name=a", sent)
    await request.sends(content(2_000_000))
    return request


async def runs(server: Server, count: int = 1) -> None:
    await eventually(lambda: len(server.house.transfers) == count)


async def test_what_ends_the_right_ends_the_running_upload(serve: Serve) -> None:
    server = await serve(messages_per_second=0)
    ann = await server.person("ann")

    async def ends(how: str, person: Person, room: str) -> None:
        if how == "mute":
            await mutes(server, person, room)
        elif how == "remove":
            await ann.asks("DELETE", f"/api/rooms/{room}/members/{person.id}")
        elif how == "end":
            await ann.asks("DELETE", f"/api/rooms/{room}")
        elif how == "logout":
            await person.asks("POST", "/api/auth/logout")
        else:
            await server.house.auth.deactivate(person.id)

    for how, status in (("mute", 403), ("remove", 403), ("end", 410), ("logout", 401), ("deactivate", 401)):
        person = await server.person(how)
        room = await ann.opens(members=[how])
        request = await begins(person, room)
        await runs(server)
        await ends(how, person, room)
        assert await request.answered() == status, (how, request.body)
        assert request.json["error"]["fix"]
        request.breaks_off()
        await settled(server)
    await kept(server, 0)


async def test_a_server_that_stops_says_so_to_whoever_is_still_sending(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    request = await begins(ann, room)
    await runs(server)
    await server.house.drain()
    assert await request.answered() == 503
    assert request.code == "draining" and request.headers["retry-after"] == "2"


async def test_a_right_lost_at_the_last_step_stores_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, bob, room = await two(serve)
    inspect, arrived, go_on = server.house.inspector.inspect, asyncio.Event(), asyncio.Event()

    async def held(*args: Any, **named: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return await inspect(*args, **named)

    monkeypatch.setattr(server.house.inspector, "inspect", held)
    task = asyncio.create_task(uploads(bob, room, content(1000)))
    await asyncio.wait_for(arrived.wait(), 30)
    await mutes(server, bob, room)
    answer = await task
    go_on.set()
    assert (answer.status, answer.code) == (403, "forbidden")
    await settled(server)
    await kept(server, 0)
    assert (await ann.asks("GET", f"/api/rooms/{room}/messages")).json["messages"] == []


async def test_what_is_broken_off_leaves_nothing(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    requests = [await begins(ann, room) for _ in range(3)]
    await runs(server, 3)
    await eventually(lambda: len(spooled(server)) == 3)
    for request in requests:
        request.breaks_off()
    await settled(server)
    await kept(server, 0)


async def test_whoever_falls_silent_is_told_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENT_SECONDS", 0.2)
    server, ann, _, room = await two(serve)
    request = await begins(ann, room)
    assert await request.answered() == 408 and request.code == "timeout"
    await settled(server)


# --- How much --------------------------------------------------------------------------------------------


async def test_a_file_over_the_limit_is_refused_before_it_is_sent(serve: Serve) -> None:
    server, ann, _, room = await two(serve, upload_bytes=1_000_000)
    for headers in ({}, {"Expect": "100-continue"}):
        sent = {**PLAIN, "Content-Length": str(10**12), **headers}
        request = await RawRequest.begins(ann, "POST", f"/api/rooms/{room}/files", sent)
        assert await request.answered() == 413 and request.code == "too_large", request.body
        request.breaks_off()
    assert (await uploads(ann, room, content(1_000_000))).status == 201
    assert (await uploads(ann, room, content(1_000_001))).status == 413
    in_form = await posts_form(ann, room, form(("file", "a", content(1_000_001))))
    assert (in_form.status, in_form.code) == (413, "too_large")
    await settled(server)
    await kept(server, 1)


async def test_a_file_of_untold_length_is_refused_where_it_passes_the_limit(serve: Serve) -> None:
    server, ann, _, room = await two(serve, upload_bytes=1_000_000)
    sent = {**PLAIN, "Transfer-Encoding": "chunked"}
    request = await RawRequest.begins(ann, "POST", f"/api/rooms/{room}/files", sent)
    piece = content(50_000)
    for _ in range(21):
        await request.sends(b"%x\r\n%b\r\n" % (len(piece), piece))
    assert await request.answered() == 413 and request.code == "too_large"
    request.breaks_off()
    await settled(server)
    request = await RawRequest.begins(ann, "POST", f"/api/rooms/{room}/files", sent)
    for _ in range(3):
        await request.sends(b"%x\r\n%b\r\n" % (len(piece), piece))
    await request.sends(b"0\r\n\r\n")
    assert await request.answered() == 201 and request.json["file"]["size"] == 150_000
    request.breaks_off()


async def test_a_users_files_together_have_a_limit_and_deleting_gives_space_back(serve: Serve) -> None:
    server, ann, bob, room = await two(serve, upload_bytes_per_user=250_000)
    first = (await uploads(ann, room, content(100_000))).json
    assert (await uploads(ann, room, content(100_000, 2))).status == 201
    refused = await uploads(ann, room, content(100_000, 3))
    assert (refused.status, refused.code) == (413, "quota_exceeded") and "50000" in refused.json["error"]["message"]
    shared = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "", "file_id": first["file"]["id"]})
    assert (shared.status, shared.code) == (413, "quota_exceeded"), "showing it again counts as well"
    assert (await uploads(bob, room, content(100_000, 3))).status == 201
    await ann.asks("DELETE", f"/api/rooms/{room}/messages/{first['id']}")
    await kept(server, 2)
    assert (await uploads(ann, room, content(100_000, 3))).status == 201


async def test_running_uploads_count_too(serve: Serve) -> None:
    server, ann, _, room = await two(serve, upload_bytes_per_user=6_000_000)
    request = await begins(ann, room, 5_000_000)
    await runs(server)
    refused = await uploads(ann, room, content(2_000_000))
    assert (refused.status, refused.code) == (413, "quota_exceeded")
    request.breaks_off()
    await settled(server)
    assert (await uploads(ann, room, content(2_000_000))).status == 201


async def test_so_many_at_once(serve: Serve) -> None:
    server, ann, bob, room = await two(serve, uploads_per_user=2)
    requests = [await begins(ann, room) for _ in range(2)]
    await runs(server, 2)
    refused = await uploads(ann, room, content(10))
    assert (refused.status, refused.code) == (429, "too_many") and refused.headers["Retry-After"]
    assert (await uploads(bob, room, content(10))).status == 201
    for request in requests:
        request.breaks_off()
    await settled(server)
    many = await asyncio.gather(*(begins(ann, room) for _ in range(6)))
    refusals = [asyncio.create_task(request.answered()) for request in many]
    await eventually(lambda: sum(map(asyncio.Task.done, refusals)) == 4)
    assert len(server.house.transfers) == 2
    for request in many:
        request.breaks_off()
    answers = await asyncio.gather(*refusals, return_exceptions=True)
    assert answers.count(429) == 4
    await settled(server)
    assert (await uploads(ann, room, content(10))).status == 201


async def test_a_full_disk_refuses_files_and_text_goes_on(serve: Serve) -> None:
    server, ann, _, room = await two(serve, free_disk_bytes=1 << 50)
    refused = await uploads(ann, room, content(10))
    assert (refused.status, refused.code) == (507, "disk_full") and refused.headers["Retry-After"]
    said = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "hi"})
    assert said.status == 201
    await settled(server)


async def test_while_the_store_is_away_nothing_is_taken(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    server.house.health.is_up = False
    refused = await uploads(ann, room, content(10))
    assert (refused.status, refused.code) == (503, "not_saved")


async def test_what_does_not_fit_is_named(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    for query, field in (
        ("client_id=" + "x" * 65, "client_id"),
        ("reply_to=abc", "reply_to"),
        ("kind=picture", "kind"),
        ("duration=long", "duration"),
        ("waveform=abc", "waveform"),
    ):
        refused = await uploads(ann, room, content(10), query)
        assert refused.status == 400 and field in refused.json["error"]["fields"], refused
    await settled(server)
    await kept(server, 0)


async def test_a_reply_to_a_file_quotes_its_name(serve: Serve) -> None:
    _, ann, bob, room = await two(serve)
    message = (await uploads(ann, room, content(10), "name=plan.bin")).json
    reply = (await uploads(bob, room, content(11), f"reply_to={message['id']}")).json
    assert reply["reply_to"] == {"id": message["id"], "sender": "ann", "excerpt": "plan.bin"}
    refused = await uploads(ann, room, content(12), "reply_to=999")
    assert (refused.status, refused.code) == (404, "not_found")


async def test_the_text_of_a_file_may_go_again_and_that_of_a_text_may_not(serve: Serve) -> None:
    _, ann, bob, room = await two(serve)
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    message = (await uploads(ann, room, content(10), "name=plan.bin&content=look")).json
    words = await at_ann.says("words")
    edited = await at_ann.asks({"type": "edit_message", "id": message["id"], "content": " "})
    assert edited["type"] == "message_updated" and edited["message"]["content"] == "", edited
    heard = await at_bob.hears_message(id=message["id"], content="")
    assert heard["file"] == message["file"] and heard["edited_at"]
    refused = await at_ann.asks({"type": "edit_message", "id": words["id"], "content": " "})
    assert refused["error_code"] == "invalid_parameters" and set(refused["fields"]) == {"content"}


# --- Shown again, and gone -------------------------------------------------------------------------------


async def test_a_file_is_there_as_long_as_a_message_shows_it(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    at_bob = await bob.sits_in(room)
    first = (await uploads(ann, room, content(70_000), "name=plan.bin")).json
    await settled(server)
    again = await at_bob.says("look again", file_id=first["file"]["id"])
    assert again["message_type"] == "file" and again["file"]["id"] != first["file"]["id"]
    assert {**again["file"], "id": ""} == {**first["file"], "id": ""}
    third = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "", "file_id": again["file"]["id"]})
    assert third.status == 201 and third.json["content"] == ""
    await settled(server)
    await kept(server, 3, 1)
    for message, left in ((first, 2), (third.json, 1)):
        gone = await ann.asks("DELETE", f"/api/rooms/{room}/messages/{message['id']}")
        assert gone.json["file"] is None and gone.json["file_url"] == "" and gone.json["deleted"]
        assert (await bob.asks("GET", message["file_url"])).status == 404, "from the same turn on"
        await kept(server, left, 1)
        assert (await ann.asks("GET", again["file_url"])).body == content(70_000)
    await at_bob.sends({"type": "delete_message", "id": again["id"]})
    await at_bob.hears_message(id=again["id"], deleted=True)
    assert (await bob.asks("GET", again["file_url"])).status == 404
    await kept(server, 0)


async def test_who_shares_a_file_twice_under_one_client_id_shares_it_once(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    at_bob = await bob.sits_in(room)
    first = (await uploads(ann, room, content(1000))).json
    frame = {"type": "message", "content": "x", "client_id": "one", "file_id": first["file"]["id"], "ref": "r"}
    await at_bob.sends(frame)
    shared = (await at_bob.hears("chat_message", ref="r"))["message"]
    await ann.asks("DELETE", f"/api/rooms/{room}/messages/{first['id']}")
    await at_bob.sends(frame)
    again = await at_bob.hears("chat_message", duplicate=True)
    assert again["message"]["file"] == shared["file"]
    await at_bob.sends({**frame, "content": "other"})
    assert (await at_bob.hears("error"))["error_code"] == "conflict"
    await settled(server)
    await kept(server, 1)


async def test_a_file_of_another_room_or_of_nowhere_is_not_shared(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    other = await ann.opens(name="Other")
    elsewhere = (await uploads(ann, other, content(1000))).json["file"]["id"]
    deleted = (await uploads(ann, room, content(1001))).json
    await ann.asks("DELETE", f"/api/rooms/{room}/messages/{deleted['id']}")
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    for file_id in (elsewhere, deleted["file"]["id"], "0" * 32, "", "../../etc/passwd", "x" * 5000):
        answer = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "x", "file_id": file_id})
        assert (answer.status, answer.code) == (404, "not_found"), answer
        await at_ann.sends({"type": "message", "content": "x", "file_id": file_id, "client_id": "c"})
        assert (await at_ann.hears("error"))["error_code"] == "not_found"
    shown = (await uploads(ann, room, content(1002))).json["file"]["id"]
    await mutes(server, bob, room)
    await at_bob.hears("capabilities_changed")
    await at_bob.sends({"type": "message", "content": "x", "file_id": shown})
    assert (await at_bob.hears("error"))["error_code"] == "forbidden"
    await settled(server)
    await kept(server, 2)


# --- What failures leave ---------------------------------------------------------------------------------


async def test_the_sweep_settles_what_was_left(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, _, room = await two(serve)
    house = server.house
    shown, removed, forged = [(await uploads(ann, room, content(1000, seed))).json for seed in (1, 2, 3)]
    await settled(server)
    rows = {row.id: row for row in await house.files.all_after()}
    row_of = {key: rows[message["file"]["id"]] for key, message in (("shown", shown), ("forged", forged))}
    # As after a crash: confirmed nowhere, never posted, bytes of nobody, a tombstone whose file is still there.
    await house.files.put(msgspec.structs.replace(row_of["shown"], message_id=None))
    orphan = msgspec.structs.replace(row_of["forged"], id=FileId("f" * 32), message_id=None, dedup="never")
    await house.files.put(orphan)
    source = tmp_path / "source"
    await asyncio.to_thread(source.write_bytes, b"bytes of nobody")
    await house.files.put_bytes("e" * 32, source, source)
    monkeypatch.setattr(house.depot.keeper, "note", lambda live, steps: None)
    await ann.asks("DELETE", f"/api/rooms/{room}/messages/{removed['id']}")
    monkeypatch.setattr(sweep, "LONG_GRACE_MS", 0)
    await house.depot.sweep.sweep()
    await house.depot.sweep.sweep_all()
    left = {row.id: row for row in await house.files.all_after()}
    assert set(left) == {shown["file"]["id"], forged["file"]["id"]}
    assert left[shown["file"]["id"]].message_id == shown["id"]
    assert sorted(await house.files.blobs()) == sorted(left)
    assert (await ann.asks("GET", shown["file_url"])).body == content(1000, 1)
    assert (await ann.asks("GET", forged["file_url"])).body == content(1000, 3)


async def test_the_sweep_leaves_alone_what_is_under_way(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, _, room = await two(serve)
    monkeypatch.setattr(sweep, "LONG_GRACE_MS", 0)
    post, house = server.house.talk.post_file, server.house

    async def swept_meanwhile(*args: Any) -> Any:
        await house.depot.sweep.sweep()
        await house.depot.sweep.sweep_all()
        return await post(*args)

    monkeypatch.setattr(house.talk, "post_file", swept_meanwhile)
    message = (await uploads(ann, room, content(1000))).json
    assert (await ann.asks("GET", message["file_url"])).body == content(1000)


async def test_a_message_of_unknown_outcome_keeps_its_file_until_that_is_known(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ann, bob, room = await two(serve, save_seconds=0.3)
    at_bob = await bob.sits_in(room)
    house, append = server.house, server.house.messages.append
    late, landed = asyncio.Event(), asyncio.Event()

    def stored_late(batch: Any) -> asyncio.Future[None]:
        async def lands() -> None:
            await late.wait()
            await append(batch)
            landed.set()

        return asyncio.shield(asyncio.ensure_future(lands()))

    monkeypatch.setattr(house.messages, "append", stored_late)
    refused = await uploads(ann, room, content(1000), "client_id=one")
    assert (refused.status, refused.code) == (503, "not_saved")
    await house.depot.sweep.sweep()
    await kept(server, 1)
    monkeypatch.setattr(house.messages, "append", append)
    late.set()
    await asyncio.wait_for(landed.wait(), 30)
    again = await uploads(ann, room, content(1000), "client_id=one")
    assert again.status in (200, 201) and again.json["id"] == 1, again
    assert (await at_bob.hears_message(id=again.json["id"]))["file"] == again.json["file"]
    monkeypatch.setattr(sweep, "LONG_GRACE_MS", 0)
    await house.depot.sweep.sweep()
    [row] = await house.files.all_after()
    assert (row.id, row.message_id) == (again.json["file"]["id"], 1)
    assert (await bob.asks("GET", again.json["file_url"])).body == content(1000)
