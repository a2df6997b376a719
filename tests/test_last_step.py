"""Who loses a right while something of theirs is on its way: judged when it is done (PROTOCOL 4.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heartlink.model import Grant, RoomId, Subject, UserId
from heartlink.rights.changes import DropGrant, PutGrant
from heartlink.rooms import RECENT_MESSAGES
from tests.actors import Chair, Person, Server
from tests.conftest import Serve
from tests.raw_peer import until

pytestmark = pytest.mark.gen_test(timeout=30)

FORBIDDEN = (4403, "forbidden")

# --- Over real sockets -----------------------------------------------------------------------------------


def denial(person: Person, permission: str, room: str) -> PutGrant:
    subject = Subject("user", person.id)
    return PutGrant(Grant(id="no", subject=subject, permission=permission, scope=f"room:{room}", effect="deny"))


async def test_what_is_on_the_wire_when_the_right_to_send_goes_is_refused(serve: Serve) -> None:
    server = await serve(messages_per_second=0)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(members=["bob"])
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    for number in range(300):
        await at_bob.sends({"content": f"m{number}", "client_id": f"c{number}"})
    await server.house.desk.commit(lambda policy: [denial(bob, "chat.send", room)], by=None, why="enough")
    await at_bob.sends({"content": "and one more", "client_id": "last"})
    changed = await at_bob.hears("capabilities_changed")
    assert "chat.send" not in changed["capabilities"] and changed["because"] == "enough"
    sent = [*(f"c{number}" for number in range(300)), "last"]
    taken: list[str] = []
    refused: list[str] = []
    for frame in at_bob.heard:
        assert frame["type"] != "error", "told before it happened"
        if frame["type"] == "chat_message":
            taken.append(frame["message"]["client_id"])
    while len(taken) + len(refused) < len(sent):
        frame = await at_bob.next()
        if frame["type"] == "error":
            assert frame["error_code"] == "forbidden" and frame["decision_id"]
            refused.append(frame["client_id"])
        elif frame["type"] == "chat_message":
            taken.append(frame["message"]["client_id"])
    assert [*taken, *refused] == sent, "first all that counts, then nothing"
    await at_ann.says("quiet at last")
    heard = [frame["message"]["client_id"] for frame in at_ann.heard if frame["type"] == "chat_message"]
    assert heard[:-1] == taken


async def test_whoever_loses_the_right_to_read_in_a_flood_hears_why_and_then_nothing(serve: Serve) -> None:
    server = await serve(messages_per_second=0)
    people = [await server.person(f"user{number}") for number in range(6)]
    room = await people[0].opens(members=[person.name for person in people[1:]])
    chairs = [await person.sits_in(room) for person in people]
    flooding = True

    async def floods(chair: Chair) -> None:
        number = 0
        while flooding:
            number += 1
            await chair.sends({"content": f"{number}"})
            await chair.next()

    work = [asyncio.create_task(floods(chair)) for chair in chairs[:3]]
    reading = [asyncio.create_task(chair.is_closed()) for chair in chairs[3:]]
    for person, task, chair in zip(people[3:], reading, chairs[3:], strict=True):
        await asyncio.sleep(0.02)
        await people[0].asks("DELETE", f"/api/rooms/{room}/members/{person.id}")
        assert await task == FORBIDDEN
        last = chair.heard[-1]
        assert (last["type"], last["because"]) == ("access_revoked", f"user0 removed {person.name} from the room")
    flooding = False
    await asyncio.gather(*work)


# --- Requests in flight ----------------------------------------------------------------------------------


class Gate:
    """Holds whoever calls a function until it is opened, and says when somebody is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()
        self._function = getattr(owner, name)
        monkeypatch.setattr(owner, name, self._held)

    async def _held(self, *args: Any, **named: Any) -> Any:
        self.arrived.set()
        await self.opened.wait()
        return await self._function(*args, **named)


@asynccontextmanager
async def held(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, request: Any
) -> AsyncIterator[asyncio.Task[Any]]:
    """A request that waits at a function; at the end of the block it goes on."""
    with monkeypatch.context() as patches:
        gate = Gate(patches, owner, name)
        task = asyncio.create_task(request)
        await asyncio.wait_for(gate.arrived.wait(), 5)
    yield task
    gate.opened.set()


def held_using(monkeypatch: pytest.MonkeyPatch, server: Server, request: Any) -> Any:
    """A request that waits for its room to be loaded."""
    rooms = server.house.live_rooms
    rooms._live.clear()
    return held(monkeypatch, rooms, "_load", request)


async def test_a_history_that_is_being_read_is_not_shown_to_whoever_may_read_it_no_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(name="Tea", members=["bob"])
    await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "secret"})
    for path, name in ((f"/api/rooms/{room}/messages?after=0", "history"), (f"/api/rooms/{room}", "_load")):
        request = bob.asks("GET", path)
        if name == "history":
            waiting = held(monkeypatch, server.house.messages, name, request)
        else:
            waiting = held_using(monkeypatch, server, request)
        async with waiting as task:
            await server.house.desk.commit(lambda policy: [denial(bob, "chat.read", room)], by=None, why="x")
        answer = await task
        assert answer.status == 403 and b"secret" not in answer.body and answer.json["error"]["decision_id"], path
        await server.house.desk.commit(lambda policy: [DropGrant("no")], by=None, why="x")


async def test_a_message_posted_over_rest_is_judged_when_it_is_handed_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ann, bob, eve = await server.person("ann"), await server.person("bob"), await server.person("eve")
    room = await ann.opens(name="Tea", members=["bob", "eve"])

    def post(person: Person) -> Any:
        return person.asks("POST", f"/api/rooms/{room}/messages", {"content": "hello"})

    async with held_using(monkeypatch, server, post(bob)) as task:
        await server.house.desk.commit(lambda policy: [denial(bob, "chat.send", room)], by=None, why="x")
    assert ((await task).status, (await task).code) == (403, "forbidden")
    async with held_using(monkeypatch, server, post(eve)) as task:
        assert (await eve.asks("POST", "/api/auth/logout")).status == 204
    assert ((await task).status, (await task).code) == (401, "unauthenticated")
    async with held_using(monkeypatch, server, post(ann)) as task:
        await server.house.auth.deactivate(UserId(ann.id))
    assert (await task).status == 401
    assert await server.house.messages.changed_since(RoomId(room), 0, 10) == []


async def test_a_newcomer_who_waits_for_the_store_is_turned_away_at_the_last_step(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(messages_per_second=0)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(members=["bob"])
    at_ann = await ann.sits_in(room)
    for number in range(RECENT_MESSAGES + 10):
        await at_ann.sends({"content": "secret", "client_id": f"c{number}"})
    await at_ann.hears_message(client_id=f"c{RECENT_MESSAGES + 9}")
    comes = bob.sits_in(room, "?since=1", greeted=False)
    async with held(monkeypatch, server.house.messages, "changed_since", comes) as task:
        await server.house.desk.commit(lambda policy: [denial(bob, "chat.read", room)], by=None, why="x")
    chair = await task
    assert await chair.is_closed() == FORBIDDEN
    assert [frame["type"] for frame in chair.heard] == ["access_revoked"] and chair.heard[0]["decision_id"]


async def test_an_invitation_in_its_turn_is_judged_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commits wait for each other: the first takes the right by which the second was asked for."""
    server = await serve()
    ann, bob, eve = await server.person("ann"), await server.person("bob"), await server.person("eve")
    room = await ann.opens(name="Tea", members=["bob"])
    code = (await bob.asks("POST", f"/api/rooms/{room}/invites", {})).json["code"]
    house = server.house
    requests = [
        (denial(bob, "room.invite", room), bob.asks("POST", f"/api/rooms/{room}/members", {"username": "eve"})),
        (denial(bob, "room.invite", room), eve.asks("POST", f"/api/invites/{code}", {})),
        (denial(ann, "room.remove", room), ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")),
        (denial(ann, "room.update", room), ann.asks("PATCH", f"/api/rooms/{room}", {"guest_access": True})),
    ]
    for taken, request in requests:
        first = house.desk.commit(lambda policy, taken=taken: [taken], by=None, why="x")
        async with held(monkeypatch, house.desk._commits, "add", first) as committing:
            task = asyncio.create_task(request)
            await until(lambda: house.desk._turn._waiters)
        await committing
        answer = await task
        assert answer.status in (403, 404), answer
        await house.desk.commit(lambda policy: [DropGrant("no")], by=None, why="x")
    members = (await ann.asks("GET", f"/api/rooms/{room}")).json
    assert [member["username"] for member in members["members"]] == ["ann", "bob"] and not members["guest_access"]


async def test_a_room_that_one_may_not_read_hides_no_other(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    first, second = await ann.opens(name="Tea", members=["bob"]), await ann.opens(name="Coffee", members=["bob"])
    await server.house.desk.commit(lambda policy: [denial(bob, "chat.read", first)], by=None, why="x")
    answer = await bob.asks("GET", "/api/rooms")
    assert [room["id"] for room in answer.json["rooms"]] == [second]


async def test_a_list_of_rooms_forgets_what_was_read_before_the_right_went(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    first = await ann.opens(name="Tea", members=["bob"])
    second = await ann.opens(name="Coffee", members=["bob"])
    await ann.asks("POST", f"/api/rooms/{first}/messages", {"content": "secret"})
    del server.house.live_rooms._live[RoomId(second)]
    async with held(monkeypatch, server.house.live_rooms, "_load", bob.asks("GET", "/api/rooms")) as task:
        await server.house.desk.commit(lambda policy: [denial(bob, "chat.read", first)], by=None, why="x")
    answer = await task
    assert [room["id"] for room in answer.json["rooms"]] == [second] and b"secret" not in answer.body
