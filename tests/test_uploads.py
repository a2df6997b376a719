"""Uploads in one request, from outside: over a real socket, into a real store (PROTOCOL 5)."""

from __future__ import annotations

import hashlib
import random

import pytest

from tests.actors import Answer, Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def uploads(person: Person, room: str, data: bytes, query: str = "name=note.bin", **headers: str) -> Answer:
    sent = {"Content-Type": "application/octet-stream", **headers}
    return await person.asks("POST", f"/api/rooms/{room}/files?{query}", data, headers=sent)


async def test_what_was_uploaded_is_shown_to_all_and_read_by_all(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(members=["bob"])
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    data = content(3_000_000)
    answer = await uploads(ann, room, data, "name=%E7%AC%94%E8%AE%B0.bin&content=look&client_id=one")
    assert answer.status == 201, answer
    message = answer.json
    assert message["message_type"] == "file" and message["content"] == "look" and message["client_id"] == "one"
    assert message["file"]["name"] == "笔记.bin" and message["file"]["size"] == len(data)
    assert message["file_url"] == f"/files/{message['file']['id']}/%E7%AC%94%E8%AE%B0.bin"
    for chair, is_own in ((at_ann, True), (at_bob, False)):
        heard = await chair.hears_message(id=message["id"])
        assert heard["file"] == message["file"] and heard["is_own"] is is_own
    read = await bob.asks("GET", message["file_url"])
    assert read.status == 200 and hashlib.sha256(read.body).digest() == hashlib.sha256(data).digest()
