"""Uploads that can be gone on with (tus 1.0), from outside: over a real socket, into a real store (PROTOCOL 5)."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import pytest

from tests.actors import Answer, Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

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
