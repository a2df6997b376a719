"""What takes more than one step in the store, when the server or the store goes away between two of them."""

from __future__ import annotations

import pytest

from heartlink.chat import live
from heartlink.model import Room, RoomId, UserId
from tests.actors import Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=30)


async def begins_a_room(ann: Person, room_id: str) -> None:
    room = Room(id=RoomId(room_id), name="Tea", kind="group", owner_id=UserId(ann.id), created_at_ms=0)
    assert await ann.server.house.rooms.create(room)


async def test_an_opening_that_was_cut_off_is_finished_by_whoever_began_it(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    await begins_a_room(ann, "tea")
    assert (await bob.asks("POST", "/api/rooms", {"room_id": "tea"})).code == "conflict"
    opened = await ann.asks("POST", "/api/rooms", {"room_id": "tea", "members": ["bob"]})
    assert (opened.status, opened.json["role"]) == (201, "owner")
    await (await bob.sits_in("tea")).says("we are in")
    assert (await ann.asks("POST", "/api/rooms", {"room_id": "tea"})).code == "conflict"


async def test_a_room_that_everybody_left_is_not_opened_anew(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    await ann.opens(room_id="tea", members=["bob"])
    await (await bob.sits_in("tea")).says("between us")
    for person in (bob, ann):
        await person.asks("DELETE", f"/api/rooms/tea/members/{person.id}")
    assert (await ann.asks("POST", "/api/rooms", {"room_id": "tea"})).code == "conflict"


async def test_a_room_forgotten_while_somebody_is_about_to_use_it_stays_one_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ann = await server.person("ann")
    room_id = RoomId(await ann.opens(name="Tea"))
    rooms = server.house.live_rooms
    monkeypatch.setattr(live, "LIVE_ROOMS_LIMIT", 0)
    rooms.forget_idle()
    assert rooms.loaded(room_id) is None
    load = rooms._load

    async def load_and_be_forgotten(wanted: RoomId) -> live.LiveRoom:
        loaded = await load(wanted)
        monkeypatch.setattr(rooms, "_load", load)
        rooms.forget_idle()
        return loaded

    monkeypatch.setattr(rooms, "_load", load_and_be_forgotten)
    async with rooms.use(room_id) as first, rooms.use(room_id) as second:
        assert first is second


async def test_a_room_that_was_forgotten_stays_forgotten(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    ann = await server.person("ann")
    room_id = RoomId(await ann.opens(name="Tea"))
    rooms = server.house.live_rooms
    async with rooms.use(room_id) as old:
        assert rooms.is_current(old)
    monkeypatch.setattr(live, "LIVE_ROOMS_LIMIT", 0)
    rooms.forget_idle()
    assert not rooms.is_current(old)
    async with rooms.use(room_id) as new:
        assert new is not old and rooms.is_current(new) and not rooms.is_current(old)
