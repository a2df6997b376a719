"""Uploads that can be gone on with (tus 1.0), from outside: over a real socket, into a real store (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from heartlink.errors import StoreUnavailable
from tests.actors import Answer, Person, Server
from tests.conftest import Serve
from tests.raw_request import RawRequest, eventually

pytestmark = pytest.mark.gen_test(timeout=60)

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def metadata(**said: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())


async def begins(person: Person, room: str, length: int, **said: str) -> Answer:
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata(room=room, **said)}
    return await person.asks("POST", "/api/uploads/", headers=headers)


async def goes_on(person: Person, path: str, offset: int, data: bytes, **headers: str) -> Answer:
    return await person.asks("PATCH", path, data, headers={**PIECE, "Upload-Offset": str(offset), **headers})


async def stands(person: Person, path: str) -> Any:
    answer = await person.asks("HEAD", path, headers=TUS)
    assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store", answer
    return answer.headers


async def test_an_upload_in_pieces_becomes_a_message_with_the_last(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(members=["bob"])
    at_bob = await bob.sits_in(room)
    data = content(700_000)
    begun = await begins(ann, room, len(data), filename="笔记.bin", client_id="one", content="look")
    assert begun.status == 201 and begun.headers["Tus-Resumable"] == "1.0.0" and begun.headers["Upload-Expires"], begun
    path = begun.headers["Location"]
    assert (await stands(ann, path))["Upload-Offset"] == "0"
    for start in range(0, len(data), 300_000):
        answer = await goes_on(ann, path, start, data[start : start + 300_000])
        assert answer.status == 204, answer
        assert answer.headers["Upload-Offset"] == str(min(start + 300_000, len(data)))
    message_id = int(answer.headers["HeartLink-Message-Id"])
    heard = await at_bob.hears_message(id=message_id)
    assert heard["file"]["name"] == "笔记.bin" and heard["content"] == "look" and heard["client_id"] == "one"
    read = await bob.asks("GET", heard["file_url"])
    assert hashlib.sha256(read.body).digest() == hashlib.sha256(data).digest()
    over = await stands(ann, path)
    assert (over["Upload-Offset"], over["Upload-Length"]) == (str(len(data)), str(len(data)))
    assert over["HeartLink-Message-Id"] == str(message_id)


async def test_a_head_repeats_what_was_said_of_the_upload_but_no_white_space(serve: Serve) -> None:
    _, ann, _, room = await two(serve)
    said = metadata(room=room, filename="笔记.bin")
    headers = {**TUS, "Upload-Length": "5", "Upload-Metadata": said.replace(",", ", \t") + ", mine"}
    begun = await ann.asks("POST", "/api/uploads/", headers=headers)
    assert begun.status == 201, begun
    repeated = (await stands(ann, begun.headers["Location"]))["Upload-Metadata"]
    assert repeated.replace(", ", ",") == f"{said},mine"


async def two(serve: Serve, **settings: Any) -> tuple[Server, Person, Person, str]:
    server = await serve(messages_per_second=0, **settings)
    ann, bob = await server.person("ann"), await server.person("bob")
    return server, ann, bob, await ann.opens(name="Tea", members=["bob"])


def spooled(server: Server) -> list[str]:
    return sorted(path.name for path in Path(server.settings.data_dir, "uploads").iterdir())


async def begun(person: Person, room: str, length: int, **said: str) -> str:
    answer = await begins(person, room, length, **said)
    assert answer.status == 201, answer
    return str(answer.headers["Location"])


async def shown(person: Person, room: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await person.asks("GET", f"/api/rooms/{room}/messages")).json["messages"]
    return found


# --- The protocol ----------------------------------------------------------------------------------------


async def test_options_say_what_is_spoken_here(serve: Serve) -> None:
    server = await serve(upload_bytes=12345)
    answer = await server.stranger().asks("OPTIONS", "/api/uploads/")
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == "12345"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "expiration",
        "termination",
    }
    far = await serve(allowed_origins=("https://far.example",))
    asked = {"Origin": "https://far.example", "Access-Control-Request-Method": "PATCH"}
    answer = await far.stranger().asks("OPTIONS", "/api/uploads/x", headers=asked)
    assert "Upload-Offset" in answer.headers["Access-Control-Allow-Headers"]
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert "HeartLink-Message-Id" in answer.headers["Access-Control-Expose-Headers"]
    assert "PATCH" in (await server.stranger().asks("OPTIONS", "/api/uploads/x")).headers["Allow"]


async def test_what_is_wrong_with_a_beginning_is_said(serve: Serve) -> None:
    server, ann, bob, room = await two(serve, upload_bytes=1000, upload_bytes_per_user=1500)
    eve = await server.person("eve")
    good = {**TUS, "Upload-Length": "10", "Upload-Metadata": metadata(room=room)}
    for person, changes, status, code in (
        (ann, {"Tus-Resumable": "0.2.2"}, 412, "unknown_version"),
        (ann, {"Upload-Length": "-1"}, 400, "invalid_parameters"),
        (ann, {"Upload-Length": "ten"}, 400, "invalid_parameters"),
        (ann, {"Upload-Length": "1001"}, 413, "too_large"),
        (ann, {"Upload-Defer-Length": "1"}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": ""}, 400, "missing_parameters"),
        (ann, {"Upload-Metadata": "room !!!"}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": metadata(room=room, duration="long")}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": metadata(room=room, waveform="[1,101]")}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": f"{metadata(room=room)},{metadata(room=room)}"}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": metadata(room=room, reply_to="x")}, 400, "invalid_parameters"),
        (ann, {"Upload-Metadata": metadata(room="nowhere")}, 404, "not_found"),
        (eve, {}, 403, "forbidden"),
        (server.stranger(), {}, 401, "unauthenticated"),
    ):
        answer = await person.asks("POST", "/api/uploads/", headers={**good, **changes})
        assert (answer.status, answer.code) == (status, code), (changes, answer)
        assert answer.headers["Tus-Resumable"] == "1.0.0" and answer.json["error"]["fix"]
    del good["Upload-Length"]
    assert (await ann.asks("POST", "/api/uploads/", headers=good)).status == 400
    typed = {**good, "Upload-Length": "3", "Content-Type": "text/plain"}
    assert (await ann.asks("POST", "/api/uploads/", b"abc", headers=typed)).status == 415
    await begun(ann, room, 1000)
    refused = await begins(ann, room, 1000)
    assert (refused.status, refused.code) == (413, "quota_exceeded"), "what was begun counts"
    assert (await begins(bob, room, 1000)).status == 201


async def test_what_is_wrong_with_a_piece_is_said_and_changes_nothing(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    path = await begun(ann, room, 1000)
    assert (await goes_on(ann, path, 0, content(400))).status == 204
    for person, offset, data, headers, status in (
        (ann, 0, b"x", {}, 409),
        (ann, 401, b"x", {}, 409),
        (ann, 400, content(601), {}, 413),
        (ann, 400, b"x", {"Content-Type": "text/plain"}, 415),
        (ann, 400, b"x", {"Tus-Resumable": "1.1.0"}, 412),
        (bob, 400, b"x", {}, 404),
        (server.stranger(), 400, b"x", {}, 401),
    ):
        answer = await goes_on(person, path, offset, data, **headers)
        assert answer.status == status, (offset, headers, answer)
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    without = await ann.asks("PATCH", path, b"x", headers=PIECE)
    assert (without.status, without.code) == (400, "invalid_parameters")
    for other in ("0" * 32, "..%2f..%2fx", "x"):
        assert (await goes_on(ann, f"/api/uploads/{other}", 0, b"x")).status == 404
        assert (await ann.asks("HEAD", f"/api/uploads/{other}", headers=TUS)).status == 404
    assert (await ann.asks("GET", path, headers=TUS)).status == 405
    assert (await bob.asks("HEAD", path, headers=TUS)).status == 404
    assert (await bob.asks("DELETE", path, headers=TUS)).status == 404
    assert (await stands(ann, path))["Upload-Offset"] == "400"
    assert (await goes_on(ann, path, 400, content(600, 2))).headers["HeartLink-Message-Id"] == "1"
    [message] = await shown(ann, room)
    assert (await ann.asks("GET", message["file_url"])).body == content(400) + content(600, 2)


async def test_those_that_are_begun_together_are_counted_together(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ann, _, room = await two(serve)
    monkeypatch.setattr("heartlink.files.resumable.UNFINISHED_PER_USER", 3)
    answers = await asyncio.gather(*(begins(ann, room, 10) for _ in range(7)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [429] * 4
    [path, *_] = [answer.headers["Location"] for answer in answers if answer.status == 201]
    assert (await ann.asks("DELETE", path, headers=TUS)).status == 204
    assert (await begins(ann, room, 10)).status == 201


async def test_a_beginning_may_bring_the_first_piece_or_all(serve: Serve) -> None:
    _, ann, _, room = await two(serve)
    headers = {**PIECE, "Upload-Length": "1000", "Upload-Metadata": metadata(room=room)}
    first = await ann.asks("POST", "/api/uploads", content(300), headers=headers)
    assert (first.status, first.headers["Upload-Offset"]) == (201, "300")
    assert (await goes_on(ann, first.headers["Location"], 300, content(700, 2))).headers["HeartLink-Message-Id"] == "1"
    whole = await ann.asks("POST", "/api/uploads/", content(1000), headers=headers)
    assert (whole.status, whole.headers["Upload-Offset"], whole.headers["HeartLink-Message-Id"]) == (201, "1000", "2")
    empty = await begins(ann, room, 0, filename="empty")
    assert (empty.status, empty.headers["HeartLink-Message-Id"]) == (201, "3")
    assert [message["file"]["size"] for message in await shown(ann, room)] == [1000, 1000, 0]


async def test_a_post_may_stand_for_what_a_proxy_lets_not_through(serve: Serve) -> None:
    _, ann, _, room = await two(serve)
    path = await begun(ann, room, 10)
    override = {"X-HTTP-Method-Override": "PATCH", **PIECE, "Upload-Offset": "0"}
    assert (await ann.asks("POST", path, b"12345", headers=override)).headers["Upload-Offset"] == "5"
    assert (await ann.asks("POST", path, headers={**TUS, "X-HTTP-Method-Override": "DELETE"})).status == 204
    assert (await ann.asks("POST", path, headers={**TUS, "X-HTTP-Method-Override": "SHUT"})).status == 405


async def test_an_upload_that_was_given_up_is_forgotten(serve: Serve) -> None:
    server, ann, _, room = await two(serve, upload_bytes_per_user=1000)
    path = await begun(ann, room, 1000)
    await goes_on(ann, path, 0, content(100))
    assert (await ann.asks("DELETE", path, headers=TUS)).status == 204
    for method in ("HEAD", "DELETE"):
        assert (await ann.asks(method, path, headers=TUS)).status == 404
    assert spooled(server) == []
    path = await begun(ann, room, 1000)
    await goes_on(ann, path, 0, content(1000))
    refused = await ann.asks("DELETE", path, headers=TUS)
    assert (refused.status, refused.code) == (409, "conflict")
    assert len(await shown(ann, room)) == 1


async def test_what_nobody_goes_on_with_vanishes_after_its_time(serve: Serve) -> None:
    server, ann, _, room = await two(serve, upload_bytes_per_user=1000)
    path = await begun(ann, room, 1000)
    await goes_on(ann, path, 0, content(100))
    uploads = server.house.uploads.resumables
    for upload in uploads._uploads.values():
        upload.touched_ms -= 25 * 3_600_000
    assert (await ann.asks("HEAD", path, headers=TUS)).status == 404
    await server.house.depot.sweep.sweep()
    assert spooled(server) == [] and (await begins(ann, room, 1000)).status == 201


# --- Broken off, and gone on with ------------------------------------------------------------------------


async def begins_piece(person: Person, path: str, offset: int, length: int) -> RawRequest:
    headers = {**PIECE, "Upload-Offset": str(offset), "Content-Length": str(length)}
    return await RawRequest.begins(person, "PATCH", path, headers)


async def test_what_came_before_the_line_broke_is_kept(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    data = content(6_000_000)
    path = await begun(ann, room, len(data))
    offset = 0
    for part in (2_500_000, 1_700_000):
        request = await begins_piece(ann, path, offset, len(data) - offset)
        await request.sends(data[offset : offset + part])
        await eventually(lambda: len(server.house.transfers) == 1)
        request.breaks_off()
        await eventually(lambda: len(server.house.transfers) == 0)
        now = int((await stands(ann, path))["Upload-Offset"])
        assert offset <= now <= offset + part
        offset = now
    assert offset
    answer = await goes_on(ann, path, offset, data[offset:])
    assert answer.headers["HeartLink-Message-Id"] == "1"
    [message] = await shown(ann, room)
    assert hashlib.sha256((await ann.asks("GET", message["file_url"])).body).digest() == hashlib.sha256(data).digest()


async def test_a_restart_loses_nothing_that_was_claimed(serve: Serve, tmp_path: Path) -> None:
    server, ann, _, room = await two(serve, data_dir=tmp_path / "kept", upload_bytes_per_user=3000)
    data = content(2000)
    path, other = await begun(ann, room, len(data), client_id="one"), await begun(ann, room, 500)
    assert (await goes_on(ann, path, 0, data[:800])).status == 204
    folder = tmp_path / "kept" / "uploads"
    # As after kill -9: a crash's rubbish, an upload in one request, bytes that were never said to be there.
    for name in ("x.post", "y.part", "z.tus", "z.tus.new", "w.mark"):
        await asyncio.to_thread((folder / name).write_bytes, b"rubbish")
    part = folder / f"{path.rpartition('/')[2]}.part"
    await asyncio.to_thread(part.write_bytes, data[:800] + b"never claimed")
    mongo_url = server.settings.mongo_url
    await server.close()
    again = await serve(data_dir=tmp_path / "kept", mongo_url=mongo_url or None, upload_bytes_per_user=3000)
    ann = Person(again, ann.token, {"id": ann.id, "username": "ann"})
    assert len(spooled(again)) == 6
    where = await stands(ann, path)
    assert (where["Upload-Offset"], where["Upload-Metadata"]) == ("800", metadata(room=room, client_id="one"))
    assert (await begins(ann, room, 1000)).code == "quota_exceeded", "what was begun before counts"
    assert (await goes_on(ann, path, 800, data[800:])).headers["HeartLink-Message-Id"] == "1"
    [message] = await shown(ann, room)
    assert (await ann.asks("GET", message["file_url"])).body == data and message["client_id"] == "one"
    assert (await stands(ann, other))["Upload-Offset"] == "0"


async def test_whoever_comes_later_takes_the_upload_over(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    data = content(3_000_000)
    path = await begun(ann, room, len(data))
    first = await begins_piece(ann, path, 0, len(data))
    await first.sends(data[:1_200_000])
    writings = server.house.uploads.resumables._uploads
    await eventually(lambda: all(one.writing and one.writing.draft.length == 1_200_000 for one in writings.values()))
    offset = int((await stands(ann, path))["Upload-Offset"])
    assert offset == 1_200_000, "synced to be told"
    answer = await goes_on(ann, path, offset, data[offset:])
    assert answer.status == 204, answer
    assert await first.answered() == 423 and first.code == "locked"
    [message] = await shown(ann, room)
    assert hashlib.sha256((await ann.asks("GET", message["file_url"])).body).digest() == hashlib.sha256(data).digest()


async def test_many_at_once_never_mix(serve: Serve) -> None:
    _, ann, _, room = await two(serve)
    data = content(400_000)
    path = await begun(ann, room, len(data))
    for start in range(0, len(data), 100_000):
        piece = data[start : start + 100_000]
        answers = await asyncio.gather(*(goes_on(ann, path, start, piece) for _ in range(6)))
        assert {answer.status for answer in answers} <= {204, 409, 423, 404}, answers
        assert sum(answer.status == 204 for answer in answers) >= 1 or start + 100_000 <= int(
            (await stands(ann, path))["Upload-Offset"]
        )
    assert len(await shown(ann, room)) == 1
    [message] = await shown(ann, room)
    assert (await ann.asks("GET", message["file_url"])).body == data
    assert (await stands(ann, path))["HeartLink-Message-Id"] == str(message["id"])


async def test_a_last_step_that_failed_is_taken_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ann, _, room = await two(serve)
    put, path = server.house.files.put_bytes, await begun(ann, room, 1000)

    async def fails(*args: Any) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(server.house.files, "put_bytes", fails)
    refused = await goes_on(ann, path, 0, content(1000))
    assert (refused.status, refused.code) == (503, "not_saved")
    assert (await ann.asks("HEAD", path, headers=TUS)).status == 503
    monkeypatch.setattr(server.house.files, "put_bytes", put)
    over = await stands(ann, path)
    assert (over["Upload-Offset"], over["HeartLink-Message-Id"]) == ("1000", "1")
    again = await goes_on(ann, path, 1000, b"")
    assert (again.status, again.headers["HeartLink-Message-Id"]) == (204, "1")
    assert len(await shown(ann, room)) == 1 and len(await server.house.files.blobs()) == 1


async def test_what_is_refused_for_good_is_forgotten(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "text", "client_id": "one"})
    path = await begun(ann, room, 1000, client_id="one")
    refused = await goes_on(ann, path, 0, content(1000))
    assert (refused.status, refused.code) == (409, "conflict")
    assert (await ann.asks("HEAD", path, headers=TUS)).status == 404 and spooled(server) == []
    await eventually(lambda: not server.house.depot.keeper.busy)
    assert await server.house.files.blobs() == []


async def test_the_same_file_in_one_request_and_in_pieces_is_one_message(serve: Serve) -> None:
    server, ann, _, room = await two(serve)
    data = content(1000)
    query = f"/api/rooms/{room}/files?client_id=one"
    first = await ann.asks("POST", query, data, headers={"Content-Type": "application/octet-stream"})
    path = await begun(ann, room, 1000, client_id="one")
    second = await goes_on(ann, path, 0, data)
    assert first.json["id"] == int(second.headers["HeartLink-Message-Id"]) == 1
    assert len(await shown(ann, room)) == len(await server.house.files.blobs()) == 1


async def test_what_ends_the_right_ends_the_running_piece(serve: Serve) -> None:
    server, ann, bob, room = await two(serve)
    path = await begun(bob, room, 5_000_000)
    request = await begins_piece(bob, path, 0, 5_000_000)
    await request.sends(content(2_000_000))
    await eventually(lambda: len(server.house.transfers) == 1)
    await ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")
    assert await request.answered() == 403 and request.code == "forbidden"
    request.breaks_off()
    offset = int((await stands(bob, path))["Upload-Offset"])
    refused = await goes_on(bob, path, offset, b"x")
    assert (refused.status, refused.code) == (403, "forbidden")
    await eventually(lambda: len(server.house.transfers) == 0)
