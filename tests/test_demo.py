"""The demo: a room somebody lives in, made once however often the server starts (PROTOCOL 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heartlink.demo import ADMIN_PASSWORD, ROOM_ID
from tests.actors import Server
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

PEOPLE = {"test_user_a": "testpass123", "test_user_b": "testpass123", "admin": ADMIN_PASSWORD}


async def look_around(server: Server) -> dict[str, Any]:
    """What one finds: who may sign in, the room as each sees it, and its history."""
    found: dict[str, Any] = {}
    for name, password in PEOPLE.items():
        body = {"username": name, "password": password}
        answer = await server.stranger().asks("POST", "/api/auth/login", body)
        assert answer.status == 200, answer
        person = server.holding(answer.json)
        room = (await person.asks("GET", f"/api/rooms/{ROOM_ID}")).json
        chair = await person.sits_in(ROOM_ID)
        found[name] = (person.id, room["role"], room["last_seq"], chair.greeting["capabilities"])
        found["messages"] = [
            {**message, "is_own": None}
            for message in (await person.asks("GET", f"/api/rooms/{ROOM_ID}/messages")).json["messages"]
        ]
        found["members"] = sorted(member["username"] for member in room["members"])
    return found


async def test_the_demo_is_furnished_once(serve: Serve, tmp_path: Path, mongo_urls: Any) -> None:
    assert ROOM_ID == "e3aee9e3-99e1-428b-8e09-fb6389db5bef"
    mongo_url = next(mongo_urls)
    first = await Server(tmp_path / "demo", mongo_url, demo=True).open()
    before = await look_around(first)
    await first.close()
    second = await Server(tmp_path / "demo", mongo_url, demo=True).open()
    after = await look_around(second)
    try:
        assert after == before
        assert before["members"] == sorted(PEOPLE)
        assert (before["test_user_a"][1], before["test_user_b"][1], before["admin"][1]) == ("owner", "member", "admin")
        assert len(before["messages"]) >= 3 and any(message["reactions"] for message in before["messages"])
        assert {message["sender"] for message in before["messages"]} == {"test_user_a", "test_user_b"}
    finally:
        await second.close()


async def test_without_the_demo_there_is_nobody(serve: Serve) -> None:
    server = await serve()
    body = {"username": "test_user_a", "password": "testpass123"}
    assert (await server.stranger().asks("POST", "/api/auth/login", body)).status == 401
    person = await server.person("ann")
    assert (await person.asks("GET", f"/api/rooms/{ROOM_ID}")).status == 404
