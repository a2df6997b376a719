"""Calls: who rings, who answers, what travels between the two, what ends it, and the line that stays (PROTOCOL 3.3)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heartlink.calls import IceServers
from heartlink.calls.machine import Call, words
from heartlink.errors import Refusal
from heartlink.model import RoomId, RunningCall, User, UserId
from heartlink.store.calls import RunningCalls
from tests.actors import Chair, Person, Server
from tests.administrators import administrator, does
from tests.conftest import Serve

gen_test = pytest.mark.gen_test(timeout=30)


class Stage:
    """Ann and Bob in a private room, or with Cid in a group."""

    def __init__(self, server: Server, people: list[Person], room: str, chairs: list[Chair]) -> None:
        self.server = server
        self.people = people
        self.room = room
        self.chairs = chairs

    async def history(self) -> list[dict[str, Any]]:
        answer = await self.people[0].asks("GET", f"/api/rooms/{self.room}/messages")
        return [message for message in answer.json["messages"] if "call" in message]


async def staged(serve: Serve, *names: str, **settings: Any) -> Stage:
    server = await serve(**settings)
    people = [await server.person(name) for name in names or ("ann", "bob")]
    kind = "private" if len(people) == 2 else "group"
    room = await people[0].opens(name="Tea", kind=kind, members=[person.name for person in people[1:]])
    return Stage(server, people, room, [await person.sits_in(room) for person in people])


async def calls(chair: Chair, **more: Any) -> str:
    """A call that rings; its id."""
    created = await chair.asks({"type": "video_call_invite", **more})
    assert created["type"] == "call_created", created
    return str(created["call_id"])


def status(call_id: str | None, what: str, **more: Any) -> dict[str, Any]:
    return {"type": "video_call_status", "status": what, **({"call_id": call_id} if call_id else {}), **more}


async def answered(stage: Stage) -> str:
    """A call that the second person has answered."""
    ann, bob = stage.chairs[:2]
    call_id = await calls(ann)
    await bob.hears("video_call_invite", call_id=call_id)
    assert (await bob.asks(status(call_id, "joined")))["status"] == "joined"
    await ann.hears("video_call_status", status="joined", call_id=call_id, username="bob")
    return call_id


async def becomes(wanted: object, ask: Callable[[], Awaitable[object]]) -> None:
    """What is asked for is so, at last."""
    for _ in range(1000):
        if await ask() == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{await ask()} and not {wanted}")


async def vanishes(chair: Chair) -> None:
    """A page goes without having hung up."""
    chair._connection.close(1001)
    await chair.is_closed()


async def hears_line(chair: Chair, outcome: str) -> dict[str, Any]:
    message = await chair.hears_message(message_type="system")
    assert message["call"]["outcome"] == outcome, message
    return message


# --- Ring, answer, end


@gen_test
async def test_a_call_rings_is_answered_and_ends_for_both(serve: Serve) -> None:
    stage = await staged(serve)
    (ann, bob), (a, b) = stage.people, stage.chairs
    call_id = await calls(a, message="tea?", media="audio")
    invited = await b.hears("video_call_invite")
    assert 0 < invited.pop("ring_seconds") <= 45
    assert invited == {
        "type": "video_call_invite",
        "call_id": call_id,
        "username": "ann",
        "user_id": ann.id,
        "room_id": stage.room,
        "message": "tea?",
        "media": "audio",
    }
    await b.sends(status(call_id, "joined", message_id=7, video_room_id="old"))
    joined = await a.hears("video_call_status")
    assert joined == {
        **status(call_id, "joined", message_id=7, video_room_id="old"),
        "username": "bob",
        "user_id": bob.id,
    }
    await a.sends(status(call_id, "ended"))
    ended = await b.hears("video_call_status", status="ended")
    assert (ended["username"], ended["outcome"], ended["reason"]) == ("ann", "answered", "hung_up")
    line = await hears_line(b, "answered")
    assert line["sender"] == "ann" and line["content"].startswith("Audio call, ")
    assert line["call"] == {
        "call_id": call_id,
        "media": "audio",
        "outcome": "answered",
        "duration_seconds": line["call"]["duration_seconds"],
        "caller_id": ann.id,
        "callee_id": bob.id,
    }
    assert [message["id"] for message in await stage.history()] == [line["id"]]
    plain = await a.says("words have no such field")
    assert "call" not in plain


@gen_test
async def test_signals_reach_only_the_one_they_name(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    (ann, bob, cid), (a, b, c) = stage.people, stage.chairs
    second = await bob.sits_in(stage.room)
    call_id = await answered(stage)
    offer = {"type": "offer", "sdp": "v=0"}
    await a.sends({"type": "call_signal", "call_id": call_id, "to": bob.id, "kind": "offer", "data": offer})
    heard = await b.hears("call_signal")
    assert heard == {
        "type": "call_signal",
        "call_id": call_id,
        "from": ann.id,
        "to": bob.id,
        "kind": "offer",
        "data": offer,
    }
    await b.sends({"type": "call_signal", "call_id": call_id, "to": ann.id, "kind": "candidate", "data": None})
    assert (await a.hears("call_signal"))["data"] is None
    for sender, to, code in (
        (c, ann, "forbidden"),
        (second, ann, "conflict"),
        (a, cid, "not_found"),
        (a, ann, "not_found"),
    ):
        frame = {"type": "call_signal", "call_id": call_id, "to": to.id, "kind": "answer", "data": {}}
        assert (await sender.asks(frame))["error_code"] == code
    unknown = {"type": "call_signal", "call_id": "x", "to": ann.id, "kind": "answer", "data": {}}
    assert (await b.asks(unknown))["error_code"] == "not_found"
    for chair in (c, second):
        await chair.sends({"type": "ping", "ref": "last"})
        await chair.hears("pong", ref="last")
        assert not [frame for frame in chair.heard if frame["type"] == "call_signal"]


@gen_test
async def test_while_it_rings_only_caller_and_called_may_signal(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    (ann, bob, cid), (a, b, c) = stage.people, stage.chairs
    call_id = await calls(a)
    early = {"type": "call_signal", "call_id": call_id, "kind": "candidate", "data": 1}
    await a.sends({**early, "to": bob.id})
    assert (await b.hears("call_signal"))["from"] == ann.id
    await b.sends({**early, "to": ann.id})
    assert (await a.hears("call_signal"))["from"] == bob.id
    assert (await b.asks({**early, "to": cid.id}))["error_code"] == "not_found"
    await c.sends(status(call_id, "declined"))
    await a.hears("video_call_status", status="declined", username="cid")
    assert (await c.asks({**early, "to": ann.id}))["error_code"] == "forbidden"


@gen_test
async def test_declined_and_cancelled_leave_their_lines(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    call_id = await calls(a)
    await b.hears("video_call_invite")
    await b.sends(status(call_id, "declined"))
    assert (await a.hears("video_call_status"))["status"] == "declined"
    ended = await a.hears("video_call_status")
    assert (ended["status"], ended["outcome"], ended["reason"]) == ("ended", "declined", "declined")
    assert (await hears_line(a, "declined"))["call"]["callee_id"] == stage.people[1].id
    call_id = await calls(a)
    await a.sends(status(None, "left"))
    await b.hears("video_call_status", status="left", call_id=call_id, username="ann")
    ended = await b.hears("video_call_status", status="ended")
    assert (ended["outcome"], ended["reason"]) == ("cancelled", "cancelled")
    assert (await hears_line(b, "cancelled"))["content"] == "Video call, cancelled"


@gen_test
async def test_unanswered_it_expires_and_counts_as_missed(serve: Serve) -> None:
    stage = await staged(serve, call_ring_seconds=0.2)
    a, b = stage.chairs
    call_id = await calls(a)
    for chair in (a, b):
        expired = await chair.hears("video_call_status", status="expired", call_id=call_id)
        assert (expired["outcome"], expired["username"]) == ("missed", "ann")
    assert (await hears_line(b, "missed"))["content"] == "Missed video call"
    late = await b.asks(status(call_id, "joined"))
    assert late["error_code"] == "conflict" and late["fields"] == {"call_id": call_id}
    assert (await b.asks(status(call_id, "left")))["status"] == "left"
    await a.hears("video_call_status", status="left", username="bob")


@gen_test
async def test_several_devices_ring_and_one_answers(serve: Serve) -> None:
    stage = await staged(serve)
    ann, bob = stage.people
    a, first = stage.chairs
    second, mine = await bob.sits_in(stage.room), await ann.sits_in(stage.room)
    lobby = await bob.listens()
    call_id = await calls(a)
    for chair in (first, second):
        await chair.hears("video_call_invite", call_id=call_id)
    notice = await lobby.hears("notification")
    assert notice["data"] == {
        "kind": "incoming_call",
        "call_id": call_id,
        "room_id": stage.room,
        "room_name": "Tea",
        "username": "ann",
        "display_name": "ann",
        "user_id": ann.id,
        "media": "video",
        "message": "",
    }
    await first.sends(status(call_id, "joined"))
    await second.hears("video_call_status", status="joined", username="bob")
    over = await lobby.hears("notification")
    assert over["data"] == {"kind": "call_over", "call_id": call_id, "room_id": stage.room, "outcome": "answered"}
    assert not [frame for frame in mine.heard if frame["type"] == "video_call_invite"]
    # Another device that says no has only stopped ringing, and cannot hang up what goes on elsewhere.
    assert (await second.asks(status(call_id, "declined")))["status"] == "declined"
    assert (await a.asks(status(call_id, "left")))["status"] == "left"
    await first.hears("video_call_status", status="ended", outcome="answered")
    assert not [frame for frame in a.heard if frame.get("status") == "declined"]


@gen_test
async def test_whoever_comes_while_it_rings_hears_it(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    call_id = await calls(a)
    await b.leaves()
    again = await stage.people[1].sits_in(stage.room)
    assert (await again.hears("video_call_invite"))["call_id"] == call_id
    lobby = await stage.people[1].listens()
    assert (await lobby.hears("notification"))["data"]["call_id"] == call_id
    assert (await again.asks(status(call_id, "joined")))["type"] == "video_call_status"


@gen_test
async def test_in_a_group_the_first_takes_it(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    a, _, c = stage.chairs
    call_id = await answered(stage)
    await c.hears("video_call_status", status="joined", username="bob")
    assert (await c.asks(status(call_id, "joined")))["error_code"] == "conflict"
    assert (await c.asks(status(call_id, "ended")))["error_code"] == "forbidden"
    await a.sends(status(call_id, "ended"))
    assert (await hears_line(c, "answered"))["call"]["callee_id"] == stage.people[1].id
    assert (await c.asks(status(call_id, "joined")))["error_code"] == "conflict"


@gen_test
async def test_a_group_call_ends_when_all_have_declined(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    a, b, c = stage.chairs
    call_id = await calls(a)
    await b.sends(status(call_id, "declined"))
    await a.hears("video_call_status", status="declined", username="bob")
    await c.sends(status(call_id, "left"))
    await a.hears("video_call_status", status="left", username="cid")
    await a.hears("video_call_status", status="ended", outcome="declined")
    assert (await hears_line(a, "declined"))["call"]["callee_id"] is None


@gen_test
async def test_one_call_in_a_room_and_the_second_caller_hears_of_the_first(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    call_id = await calls(a)
    refused = await b.asks({"type": "video_call_invite"})
    assert (refused["error_code"], refused["fields"]) == ("conflict", {"call_id": call_id})
    assert [frame["call_id"] for frame in b.heard if frame["type"] == "video_call_invite"] == [call_id]
    assert (await b.asks(status(call_id, "joined")))["status"] == "joined"
    assert (await a.asks({"type": "video_call_invite"}))["error_code"] == "conflict"


@gen_test
async def test_who_is_in_another_call_is_busy(serve: Serve) -> None:
    stage = await staged(serve)
    await answered(stage)
    cid = await stage.server.person("cid")
    room = await cid.opens(kind="private", members=["bob"])
    c = await cid.sits_in(room)
    b = await stage.people[1].sits_in(room)
    call_id = await calls(c)
    busy = await c.hears("video_call_status")
    assert (busy["status"], busy["username"], busy["call_id"]) == ("busy", "bob", call_id)
    ended = await c.hears("video_call_status")
    assert (ended["status"], ended["outcome"]) == ("ended", "busy")
    await hears_line(b, "busy")
    assert not [frame for frame in b.heard if frame["type"] == "video_call_invite"]
    # And whoever is in a call starts no other one.
    assert (await b.asks({"type": "video_call_invite"}))["error_code"] == "conflict"


# --- What the old clients say


@gen_test
async def test_old_frames_are_relayed_as_sent(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    a, b, c = stage.chairs
    for name in ("video_offer", "video_answer", "ice_candidate", "video_call_end"):
        text = f'{{"offer": {{"sdp": "雪"}}, "extra":[1, 2.50],"type": "{name}", "ref": "r"}}'
        await a.sends(text)
        for chair in (b, c):
            heard = await chair.hears(name)
            assert heard == {"offer": {"sdp": "雪"}, "extra": [1, 2.5], "type": name, "ref": "r"}
    await a.sends({"type": "ping", "ref": "last"})
    await a.hears("pong", ref="last")
    assert not [frame for frame in a.heard if frame["type"].startswith(("video_", "ice_"))]


@gen_test
async def test_a_status_without_a_call_is_handed_on(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    await a.sends(status(None, "joined", message_id=12, video_room_id="v1"))
    heard = await b.hears("video_call_status")
    assert heard == {
        **status(None, "joined", message_id=12, video_room_id="v1"),
        "username": "ann",
        "user_id": stage.people[0].id,
    }


# --- What ends a call from outside


@gen_test
async def test_a_lost_connection_has_a_while_to_come_back(serve: Serve) -> None:
    stage = await staged(serve)
    ann, a, b = stage.people[0], *stage.chairs
    call_id = await answered(stage)
    await vanishes(a)
    await b.hears("video_call_status", status="reconnecting", username="ann")
    waiting = {"type": "call_signal", "call_id": call_id, "to": ann.id, "kind": "candidate", "data": 1}
    assert (await b.asks(waiting))["error_code"] == "conflict"
    again = await ann.sits_in(stage.room)
    assert (await again.asks(status(call_id, "joined")))["status"] == "joined"
    await b.hears("video_call_status", status="joined", username="ann")
    await b.sends(waiting)
    await again.hears("call_signal")
    # A second connection of the same user may take it over while the first is there.
    third = await ann.sits_in(stage.room)
    assert (await third.asks(status(call_id, "joined")))["status"] == "joined"
    await again.hears("video_call_status", status="joined", username="ann")
    await again.leaves()
    await b.sends(waiting)
    await third.hears("call_signal")
    await b.sends(status(call_id, "ended"))
    await hears_line(third, "answered")


@gen_test
async def test_who_does_not_come_back_has_hung_up(serve: Serve) -> None:
    stage = await staged(serve, call_resume_seconds=0.1)
    a, b = stage.chairs
    await answered(stage)
    await vanishes(a)
    await b.hears("video_call_status", status="reconnecting")
    ended = await b.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["username"], ended["outcome"]) == ("lost", "ann", "answered")
    await hears_line(b, "answered")


@gen_test
async def test_a_client_that_says_goodbye_has_hung_up(serve: Serve) -> None:
    stage = await staged(serve, call_resume_seconds=60)
    a, b = stage.chairs
    await answered(stage)
    await a.leaves()
    ended = await b.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["username"]) == ("hung_up", "ann")
    assert not [frame for frame in b.heard if frame.get("status") == "reconnecting"]
    await hears_line(b, "answered")


@gen_test
async def test_a_caller_who_is_lost_rings_no_longer(serve: Serve) -> None:
    stage = await staged(serve, call_resume_seconds=0.1)
    a, b = stage.chairs
    await calls(a)
    await b.hears("video_call_invite")
    await vanishes(a)
    ended = await b.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["outcome"]) == ("lost", "cancelled")
    await hears_line(b, "cancelled")


@gen_test
async def test_a_revoked_right_ends_the_call_at_once(serve: Serve) -> None:
    stage = await staged(serve, "ann", "bob", "cid")
    ann, bob, _ = stage.people
    a, b, c = stage.chairs
    call_id = await answered(stage)
    # A mute takes the right to write: the call goes on.
    await does(ann, "PUT", f"/api/rooms/{stage.room}/mutes/{bob.id}", {})
    await b.hears("capabilities_changed")
    signal = {"type": "call_signal", "call_id": call_id, "kind": "candidate", "data": 1}
    await a.sends({**signal, "to": bob.id})
    await b.hears("call_signal")
    assert (await ann.asks("DELETE", f"/api/rooms/{stage.room}/members/{bob.id}")).status in (200, 204)
    ended = await a.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["username"], ended["outcome"]) == ("revoked", "bob", "answered")
    assert (await b.is_closed())[0] == 4403
    assert b.heard[-1]["type"] == "access_revoked"
    assert (await a.asks({**signal, "to": bob.id}))["error_code"] == "conflict"
    await hears_line(c, "answered")


@gen_test
async def test_a_right_that_goes_while_it_rings_stops_the_ringing(serve: Serve) -> None:
    stage = await staged(serve)
    ann, bob = stage.people
    a, _ = stage.chairs
    lobby = await bob.listens()
    call_id = await calls(a)
    await lobby.hears("notification")
    await does(ann, "PUT", f"/api/rooms/{stage.room}/bans/{bob.id}", {})
    over = await lobby.hears("notification")
    assert (over["data"]["kind"], over["data"]["call_id"]) == ("call_over", call_id)
    ended = await a.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["outcome"]) == ("revoked", "failed")
    await hears_line(a, "failed")


@gen_test
async def test_signing_out_ends_the_call_at_once(serve: Serve) -> None:
    stage = await staged(serve, call_resume_seconds=60)
    a, _ = stage.chairs
    await answered(stage)
    assert (await stage.people[1].asks("POST", "/api/auth/logout")).status in (200, 204)
    ended = await a.hears("video_call_status", status="ended")
    assert (ended["reason"], ended["username"]) == ("signed_out", "bob")
    await hears_line(a, "answered")


@gen_test
async def test_a_deactivated_account_is_in_no_call(serve: Serve) -> None:
    stage = await staged(serve, call_resume_seconds=60)
    a, _ = stage.chairs
    admin = await administrator(stage.server, "admin")
    await answered(stage)
    await does(admin, "PATCH", f"/api/users/{stage.people[1].id}", {"is_active": False})
    assert (await a.hears("video_call_status", status="ended"))["reason"] == "signed_out"


@gen_test
async def test_the_end_of_a_room_ends_its_call(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    await answered(stage)
    assert (await stage.people[0].asks("DELETE", f"/api/rooms/{stage.room}")).status in (200, 204)
    for chair in (a, b):
        assert (await chair.hears("video_call_status", status="ended"))["reason"] == "room_ended"
        await chair.hears("room_ended")

    async def lines() -> int:
        return len(await stage.history())

    await becomes(1, lines)


@gen_test
async def test_whoever_may_only_read_cannot_call_but_answer(serve: Serve) -> None:
    stage = await staged(serve)
    ann, bob = stage.people
    a, b = stage.chairs
    await does(ann, "PATCH", f"/api/rooms/{stage.room}/members/{bob.id}", {"role": "guest"})
    await b.hears("capabilities_changed")
    for frame in ({"type": "video_call_invite"}, {"type": "video_offer"}, status(None, "joined")):
        refused = await b.asks(frame)
        assert refused["error_code"] == "forbidden" and refused["decision_id"]
    call_id = await calls(a)
    assert (await b.asks(status(call_id, "joined")))["status"] == "joined"


# --- What stays


async def began(serve: Serve, **settings: Any) -> tuple[Stage, str]:
    stage = await staged(serve, **settings)
    return stage, await answered(stage)


async def restarted(serve: Serve, stage: Stage, **settings: Any) -> Server:
    """The same store under a new house, as after a kill: nothing of the old one said goodbye."""
    old = stage.server.settings
    stage.server.house.calls.pause()
    stage.server.house.calls.close()
    await stage.server.house._open.aclose()  # type: ignore[union-attr]
    stage.server.house._open = None
    server = Server(Path(old.data_dir), old.mongo_url, **settings)
    server.port = 0
    await server.open()
    return server


@gen_test
async def test_a_call_survives_a_restart_when_both_come_back(serve: Serve) -> None:
    stage, call_id = await began(serve)
    server = await restarted(serve, stage)
    try:
        a, b = [await _again(server, person).sits_in(stage.room) for person in stage.people]
        for chair in (b, a):
            assert (await chair.asks(status(call_id, "joined")))["status"] == "joined"
        to = {"type": "call_signal", "call_id": call_id, "to": stage.people[1].id, "kind": "offer", "data": {}}
        await a.sends(to)
        await b.hears("call_signal")
        await b.sends(status(call_id, "left"))
        line = await hears_line(a, "answered")
        assert line["call"]["call_id"] == call_id
    finally:
        await server.close()


@gen_test
async def test_a_call_that_nobody_comes_back_to_has_its_line_once(serve: Serve) -> None:
    stage, call_id = await began(serve)
    for _ in range(2):
        server = await restarted(serve, stage, call_resume_seconds=0.1)
        stage.server = server
        ann = _again(server, stage.people[0])
        chair = await ann.sits_in(stage.room, "?since=0")
        line = await hears_line(chair, "answered")
        assert line["call"]["call_id"] == call_id
        await chair.says("later")
        page = (await ann.asks("GET", f"/api/rooms/{stage.room}/messages")).json["messages"]
        assert [message["call"]["call_id"] for message in page if "call" in message] == [call_id]
        await becomes([], RunningCalls(server.house.backend).all)
        # As if the server had been killed between the line and the forgetting.
        await RunningCalls(server.house.backend).put(_stored(stage, call_id))
        for person in server._people:
            await person.leave()
    await stage.server.close()


def _again(server: Server, person: Person) -> Person:
    return server.holding({"token": person.token, "user": person.user})


def _stored(stage: Stage, call_id: str) -> RunningCall:
    ann, bob = (UserId(person.id) for person in stage.people)
    return RunningCall(
        id=call_id,
        room_id=RoomId(stage.room),
        caller_id=ann,
        callee_id=bob,
        media="video",
        message="",
        started_at_ms=0,
        answered_at_ms=1000,
        seen_at_ms=5000,
    )


@gen_test
async def test_a_line_is_no_words_of_its_sender(serve: Serve) -> None:
    stage = await staged(serve)
    a, b = stage.chairs
    await calls(a)
    await a.sends(status(None, "ended"))
    line = await hears_line(a, "cancelled")
    refused = await a.asks({"type": "edit_message", "id": line["id"], "content": "I won"})
    assert refused["error_code"] == "conflict"
    await a.sends({"type": "delete_message", "id": line["id"]})
    gone = await b.hears_message(id=line["id"], deleted=True)
    assert "call" not in gone and not gone["content"]
    assert (await a.asks({"type": "message", "content": "x", "message_type": "system"}))["error_code"]


# --- Pure


def a_call(*invited: str) -> Call:
    return Call(
        id="c",
        room_id=RoomId("r"),
        caller_id=UserId("ann"),
        media="video",
        message="",
        started_at_ms=0,
        invited=frozenset(map(UserId, invited)),
        seats={UserId("ann"): "seat a"},
    )


def test_a_call_goes_only_forward() -> None:
    call = a_call("bob")
    assert call.is_ringing and call.outcome == "missed"
    assert call.join(UserId("bob"), "seat b", 1000) == "answered"
    assert call.join(UserId("bob"), "seat b", 1000) == "again"
    assert call.join(UserId("bob"), "other", 1000) == "moved"
    assert not call.lose(UserId("bob"), "seat b") and call.lose(UserId("bob"), "other")
    assert call.join(UserId("bob"), "third", 2000) == "resumed"
    with pytest.raises(Refusal):
        call.join(UserId("cid"), "seat c", 2000)
    assert call.end("hung_up", 125_400) and not call.end("lost", 130_000)
    assert (call.outcome, call.duration_seconds) == ("answered", 124)
    assert words(call.record) == "Video call, 2 min 4 s"
    with pytest.raises(Refusal):
        call.join(UserId("ann"), "late", 2000)


def test_a_clock_that_goes_back_makes_no_negative_call() -> None:
    call = a_call("bob")
    call.join(UserId("bob"), "seat", 5000)
    call.end("hung_up", 1000)
    assert call.duration_seconds == 0


def test_turn_credentials_are_what_turn_servers_check() -> None:
    ann = User(id=UserId("u1"), username="ann", fold="ann", display_name="Ann", password_hash="", created_at_ms=0)
    servers = IceServers(
        ("stun:s.example:3478", "turn:t.example:3478?transport=udp|joe|pass|word", "turns:t.example"),
        "north",
        lambda: 1_000_000,
    )
    stun, given, made = servers.for_user(ann)
    assert stun == {"urls": "stun:s.example:3478"}
    assert given == {"urls": "turn:t.example:3478?transport=udp", "username": "joe", "credential": "pass|word"}
    expires, _, user_id = made["username"].partition(":")
    assert int(expires) == 1000 + 7 * 24 * 3600 and user_id == "u1"
    digest = hmac.new(b"north", made["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(made["credential"]) == digest
    assert servers.for_user(None) == [stun]


@gen_test
async def test_the_greeting_has_the_servers_with_credentials(serve: Serve) -> None:
    server = await serve(ice_servers=("stun:s.example", "turn:t.example|joe|secret"))
    ann = await server.person("ann")
    chair = await ann.sits_in(await ann.opens())
    assert chair.greeting["ice_servers"] == [
        {"urls": "stun:s.example"},
        {"urls": "turn:t.example", "username": "joe", "credential": "secret"},
    ]


@gen_test
async def test_signals_have_a_rate_of_their_own(serve: Serve) -> None:
    stage = await staged(serve, messages_per_second=1, message_burst=5)
    bob, (a, b) = stage.people[1], stage.chairs
    call_id = await answered(stage)
    signal = {"type": "call_signal", "call_id": call_id, "to": bob.id, "kind": "candidate", "data": 1}
    for _ in range(5):
        await a.sends(signal)
    refused = await a.asks(signal)
    assert refused["error_code"] == "rate_limited" and refused["retry_after"] > 0
    for _ in range(5):
        await b.hears("call_signal")
    assert (await a.asks({"type": "ping"}))["type"] == "pong"
