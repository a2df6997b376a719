"""Coming back after a while: what is replayed, when the history has to be read instead, and what was written late."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from heartlink.chat import arrivals
from heartlink.model import RoomId, StoredMessage
from heartlink.protocol import encode
from tests.actors import Chair, Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=30)

BEYOND_MEMORY = 140


async def room_with_messages(serve: Serve, count: int, **settings: Any) -> tuple[Person, str, Chair]:
    server = await serve(messages_per_second=0, **settings)
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    chair = await ann.sits_in(room)
    for number in range(1, count + 1):
        await chair.sends({"content": f"message {number}", "client_id": f"m{number}"})
    await chair.hears_message(content=f"message {count}")
    return ann, room, chair


async def replayed(chair: Chair) -> list[int]:
    last = await chair.hears("caught_up")
    ids = [frame["message"]["id"] for frame in chair.heard if frame["type"] == "chat_message"]
    assert ids[-1] == last["last_seq"]
    return ids


async def test_what_was_missed_is_replayed_from_memory_and_from_the_store(serve: Serve) -> None:
    ann, room, _ = await room_with_messages(serve, BEYOND_MEMORY)
    for since in (BEYOND_MEMORY - 5, 3):
        chair = await ann.sits_in(room, f"?since={since}")
        assert chair.greeting["resume"] == "changes"
        assert await replayed(chair) == list(range(since + 1, BEYOND_MEMORY + 1))


async def test_who_missed_more_than_a_queue_holds_is_not_too_slow_for_the_replay(serve: Serve) -> None:
    ann, room, _ = await room_with_messages(serve, BEYOND_MEMORY, queue_bytes=32_768)
    chair = await ann.sits_in(room, "?since=1")
    assert await replayed(chair) == list(range(2, BEYOND_MEMORY + 1))
    await chair.says("here again")


@pytest.mark.parametrize("limit", ["replay_limit", "replay_bytes"])
async def test_who_missed_too_much_for_one_peer_reads_the_history(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(arrivals, "REPLAY_BYTES", 16_384 if limit == "replay_bytes" else arrivals.REPLAY_BYTES)
    settings = {"replay_limit": 100} if limit == "replay_limit" else {}
    ann, room, _ = await room_with_messages(serve, BEYOND_MEMORY, **settings)
    chair = await ann.sits_in(room, "?since=1")
    assert (chair.greeting["resume"], chair.greeting["resume_reason"]) == ("full", "too_far_behind")
    await chair.says("here again")
    page = (await ann.asks("GET", f"/api/rooms/{room}/messages?after=1&limit=200")).json
    assert len(page["messages"]) == BEYOND_MEMORY and not page["has_more"]


async def test_a_write_that_arrives_after_it_was_given_up_is_told_to_the_room_before_it_is_replayed(
    serve: Serve,
) -> None:
    ann, room, at_ann = await room_with_messages(serve, BEYOND_MEMORY)
    messages = ann.server.house.messages
    model = await messages.get(RoomId(room), 1)
    assert model is not None
    late = BEYOND_MEMORY + 1
    message = msgspec.structs.replace(model.message, id=late, seq=late, rev=late, client_id="late", content="late")
    await messages.append([(StoredMessage(message, encode(message), "late", "late"), 0)])
    returning = await ann.sits_in(room, "?since=1")
    assert await replayed(returning) == list(range(2, late + 1))
    assert (await at_ann.hears_message(content="late"))["id"] == late
    for chair in (at_ann, returning):
        await chair.sends({"content": "and on", "client_id": "on"})
        assert (await chair.hears_message(client_id="on"))["id"] == late + 1


async def test_newcomers_who_hold_the_room_one_after_the_other_keep_nobody_from_talking(serve: Serve) -> None:
    ann, room, at_ann = await room_with_messages(serve, 1)
    live = ann.server.house.live_rooms.loaded(RoomId(room))
    assert live is not None
    journal = live.journal

    async def come_again_and_again() -> None:
        while True:
            async with journal.turn():
                await asyncio.sleep(0.005)

    newcomers = [asyncio.create_task(come_again_and_again()) for _ in range(3)]
    try:
        for number in range(5):
            await at_ann.says(f"between them {number}")
    finally:
        for newcomer in newcomers:
            newcomer.cancel()
        await asyncio.wait(newcomers)
