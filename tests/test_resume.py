"""What a client that comes back gets, what ends its socket, what a restart leaves of it (PROTOCOL 2, 3.1)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.actors import Chair, Person, Server
from tests.conftest import Serve
from tests.raw_peer import RawPeer, until

pytestmark = pytest.mark.gen_test(timeout=30)

MEMORY = 128
SIGNED_OUT = (4401, "unauthenticated")


async def ann_in_a_room(serve: Serve, **settings: Any) -> tuple[Person, str, Chair]:
    server = await serve(messages_per_second=0, **settings)
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    return ann, room, await ann.sits_in(room)


async def talks(chair: Chair, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await chair.sends({"content": f"m{number}", "client_id": f"c{number}"})
    await chair.hears_message(client_id=f"c{last}", is_own=True)


async def caught_up(chair: Chair) -> list[dict[str, Any]]:
    """What was replayed."""
    assert chair.greeting["resume"] == "changes" and chair.greeting["resume_reason"] is None
    done = await chair.hears("caught_up")
    assert done["last_seq"] == chair.greeting["last_seq"]
    return [frame for frame in chair.heard if isinstance(frame.get("message"), dict)]


# --- since and epoch -----------------------------------------------------------------------------------


async def test_every_way_to_come_back(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve, replay_limit=20)
    await talks(at_ann, 1, 30)
    epoch = at_ann.greeting["epoch"]
    for query, resume, reason in (
        ("", "none", None),
        (f"?epoch={epoch}", "none", None),
        ("?since=30", "changes", None),
        (f"?since=30&epoch={epoch}", "changes", None),
        ("?since=10", "changes", None),
        ("?since=9", "full", "too_far_behind"),
        ("?since=0", "full", "too_far_behind"),
        ("?since=31", "full", "ahead_of_server"),
        ("?since=30&epoch=another", "full", "epoch_changed"),
        ("?since=999&epoch=another", "full", "epoch_changed"),
    ):
        chair = await ann.sits_in(room, query)
        assert (chair.greeting["resume"], chair.greeting["resume_reason"]) == (resume, reason), query
        assert (chair.greeting["last_seq"], chair.greeting["epoch"]) == (30, epoch)
        await chair.sends({"type": "ping", "timestamp": query})
        await chair.hears("pong")
        kinds = [frame["type"] for frame in chair.heard]
        assert kinds[0] == "connection_established"
        assert kinds.count("caught_up") == (resume == "changes"), query
        await chair.leaves()


async def test_what_was_created_and_what_was_changed_meanwhile_is_told_apart(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve)
    await talks(at_ann, 1, 5)
    await at_ann.asks({"type": "edit_message", "id": 2, "content": "edited"})
    await at_ann.asks({"type": "react", "id": 3, "emoji": "👍"})
    await at_ann.asks({"type": "delete_message", "id": 4})
    await talks(at_ann, 6, 6)
    await at_ann.asks({"type": "edit_message", "id": 9, "content": "new and edited"})
    replay = await caught_up(await ann.sits_in(room, "?since=4"))
    assert [(frame["type"], frame.get("change"), frame["message"]["id"]) for frame in replay] == [
        ("chat_message", None, 5),
        ("message_updated", "edited", 2),
        ("message_updated", "reactions", 3),
        ("message_updated", "deleted", 4),
        ("chat_message", None, 9),
    ]
    assert [frame["message"]["rev"] for frame in replay] == [5, 6, 7, 8, 10]
    assert replay[-1]["message"]["content"] == "new and edited" and replay[-1]["message"]["is_own"] is True
    assert await caught_up(await ann.sits_in(room, "?since=10")) == []


async def test_who_comes_back_while_others_talk_misses_nothing_and_hears_nothing_twice(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve, replay_limit=5000)
    bob = await ann.server.person("bob")
    await ann.asks("POST", f"/api/rooms/{room}/members", {"username": "bob"})
    await talks(at_ann, 1, MEMORY + 80)
    writing = asyncio.create_task(talks(at_ann, MEMORY + 81, MEMORY + 380))
    chairs = []
    for since in (1, 50, MEMORY, MEMORY + 70) * 3:
        chairs.append((since, await bob.sits_in(room, f"?since={since}")))
    await writing
    last = MEMORY + 381
    await talks(at_ann, last, last)
    for since, chair in chairs:
        await chair.hears_message(client_id=f"c{last}")
        seqs = [frame["message"]["seq"] for frame in chair.heard if frame["type"] == "chat_message"]
        assert seqs == list(range(since + 1, last + 1)), since
        kinds = [frame["type"] for frame in chair.heard]
        assert kinds[0] == "connection_established" and kinds.count("caught_up") == 1


async def test_the_greeting_comes_first_whatever_the_newcomer_sends_meanwhile(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, room, at_ann = await ann_in_a_room(serve)
    await talks(at_ann, 1, MEMORY + 10)
    messages, hub = ann.server.house.messages, ann.server.house.hub
    goes_on, read = asyncio.Event(), messages.changed_since

    async def read_slowly(*args: Any) -> Any:
        await goes_on.wait()
        return await read(*args)

    monkeypatch.setattr(messages, "changed_since", read_slowly)
    peer = await RawPeer.knocks(ann.server.port, f"/ws/chat/{room}/?since=1&token={ann.token}")
    await peer.sends(json.dumps({"content": "too eager", "client_id": "eager", "ref": "r"}).encode())
    await peer.sends(b"{")
    await until(lambda: any(one.frames_in == 2 and not one.frames_out for one in hub.connections_of(ann.user["id"])))
    goes_on.set()
    await at_ann.hears_message(client_id="eager")
    await peer.sends(b"\x03\xe8", opcode=8)
    await peer.reads_all()
    kinds = [frame["type"] for frame in peer.frames]
    assert kinds[0] == "connection_established" and "error" in kinds
    (own,) = [frame for frame in peer.frames if frame.get("ref") == "r"]
    assert own["type"] == "chat_message" and own["message"]["is_own"] is True
    seqs = [frame["message"]["seq"] for frame in peer.frames if frame["type"] == "chat_message"]
    assert seqs == list(range(2, MEMORY + 12))


async def test_a_restart_changes_nothing_for_those_who_come_back(serve: Serve, tmp_path: Path, mongo_urls: Any) -> None:
    mongo_url = next(mongo_urls)
    first = await Server(tmp_path / "same", mongo_url, messages_per_second=0).open()
    ann = await first.person("ann")
    room = await ann.opens(name="Tea")
    at_ann = await ann.sits_in(room)
    await talks(at_ann, 1, MEMORY + 20)
    await at_ann.asks({"type": "edit_message", "id": 1, "content": "edited"})
    await ann.asks("POST", f"/api/rooms/{room}/read", {"up_to": 7})
    epoch = at_ann.greeting["epoch"]
    await first.close()
    second = await Server(tmp_path / "same", mongo_url, messages_per_second=0).open()
    try:
        back = second.holding({"token": ann.token, "user": ann.user})
        chair = await back.sits_in(room, f"?since={MEMORY}&epoch={epoch}")
        replay = await caught_up(chair)
        assert [frame["message"]["rev"] for frame in replay] == list(range(MEMORY + 1, MEMORY + 22))
        assert replay[-1]["type"] == "message_updated" and replay[-1]["message"]["id"] == 1
        assert chair.greeting["epoch"] == epoch and chair.greeting["members"][0]["read_up_to"] == 7
        deep = await back.sits_in(room, f"?since=2&epoch={epoch}")
        assert [frame["message"]["rev"] for frame in await caught_up(deep)] == list(range(3, MEMORY + 22))
        await chair.sends({"content": "m5", "client_id": "c5"})
        again = await chair.hears("chat_message", duplicate=True)
        assert again["message"]["id"] == 5
        assert (await chair.says("goes on"))["id"] == MEMORY + 22
    finally:
        await second.close()


# --- What ends a socket ----------------------------------------------------------------------------------


async def test_a_token_that_ends_is_announced_and_then_ends_the_socket_unless_it_is_replaced(serve: Serve) -> None:
    ann, room, _ = await ann_in_a_room(serve, token_hours=1 / 3600, heartbeat_seconds=3)
    assert ann.token is not None
    fresh = ann.server.holding((await ann.asks("POST", "/api/auth/refresh")).json)
    ending = await fresh.sits_in(room)
    assert (await ending.hears("auth_expiring"))["seconds"] <= 60
    assert await ending.is_closed() == SIGNED_OUT
    assert (await fresh.asks("GET", "/api/me")).code == "invalid_token"


async def test_another_token_keeps_a_socket_open_beyond_the_end_of_the_first(serve: Serve) -> None:
    ann, room, _ = await ann_in_a_room(serve, token_hours=1.5 / 3600, heartbeat_seconds=3)
    chair, left_alone = await ann.sits_in(room), await ann.sits_in(room)
    ann.server.house.auth.tokens.lifetime_ms = 3_600_000
    refreshed = (await ann.asks("POST", "/api/auth/refresh")).json
    ok = await chair.asks({"type": "reauth", "token": refreshed["token"]})
    assert ok["type"] == "reauth_ok" and ok["expires_at"] == refreshed["expires_at"]
    assert await left_alone.is_closed() == SIGNED_OUT
    assert (await chair.asks({"type": "ping"}))["type"] == "pong"


async def test_a_silent_peer_is_gone_after_two_heartbeats_and_one_that_answers_pings_stays(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve, heartbeat_seconds=0.4)
    silent = await RawPeer.knocks(ann.server.port, f"/ws/chat/{room}/?token={ann.token}")
    # The other one says nothing either, but its library answers the pings while somebody reads.
    beats = [at_ann.hears("heartbeat") for _ in range(3)]
    await asyncio.gather(silent.reads_all(), one_after_the_other(beats))
    assert (silent.close_code, silent.close_reason) == (4001, "heartbeat_timeout")
    assert "heartbeat" in [frame["type"] for frame in silent.frames]
    assert (await at_ann.asks({"type": "ping"}))["type"] == "pong"


async def one_after_the_other(awaited: list[Any]) -> None:
    for one in awaited:
        await one


async def test_draining_sends_everybody_away_each_at_another_moment_and_lets_nobody_in(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve)
    chairs = [at_ann, *[await ann.sits_in(room) for _ in range(15)]]
    draining = asyncio.create_task(ann.server.house.drain())
    for chair in chairs:
        assert await chair.is_closed() == (1012, "service_restart")
    moments = [chair.heard[-1]["reconnect_in_ms"] for chair in chairs]
    assert {chair.heard[-1]["type"] for chair in chairs} == {"going_away"}
    assert len(set(moments)) > 4 and all(0 < moment <= 10_000 for moment in moments)
    await draining
    look = await ann.asks("GET", f"/ws/chat/{room}/")
    assert (look.json["would"], look.json["error"]["code"]) == (503, "draining")
    assert (await ann.asks("GET", "/readyz")).status == 503
    assert (await ann.asks("GET", "/healthz")).status == 200


async def test_what_was_sent_before_draining_is_stored_and_answered(serve: Serve) -> None:
    ann, room, at_ann = await ann_in_a_room(serve)
    for number in range(50):
        await at_ann.sends({"content": f"m{number}", "client_id": f"c{number}"})
    await at_ann.hears_message(client_id="c0")
    _, farewell = await asyncio.gather(ann.server.house.drain(), at_ann.is_closed())
    assert farewell == (1012, "service_restart")
    acknowledged = [frame["message"]["id"] for frame in at_ann.heard if frame["type"] == "chat_message"]
    page = (await ann.asks("GET", f"/api/rooms/{room}/messages?limit=200")).json["messages"]
    assert {message["id"] for message in page} >= set(acknowledged)
    assert [message["id"] for message in page] == list(range(1, len(page) + 1))
