"""Calls when their server is killed: each that was told of leaves exactly one line, whatever it was doing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import launching
import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from tests.actors import Chair, Person

pytestmark = pytest.mark.gen_test(timeout=180)

PAIRS = 8
KILLS = 3
GONE = (AssertionError, ConnectionError, StreamClosedError, WebSocketClosedError, HTTPClientError, TimeoutError)
PATIENCE_TRIES = 600


class Place:
    """Where the server is now."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        limits = ("--messages-per-second=0", "--registrations-per-minute=0", "--call-resume-seconds=0.5")
        self._flags = ("--port=0", f"--data-dir={folder}", *limits)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[launching.Server]:
        """A process, killed at the end."""
        with launching.Server(*self._flags) as process:
            self.url = (await asyncio.to_thread(process.address)).rstrip("/")
            yield process

    async def person(self, name: str) -> Person:
        body = {"username": name, "password": "a long enough password"}
        answer = await Person(self).asks("POST", "/api/auth/register", body)  # type: ignore[arg-type]
        assert answer.status == 201, answer
        return Person(self, answer.json["token"], answer.json["user"])  # type: ignore[arg-type]


class Pair:
    """Two people who call each other, answer, decline and hang up, until the server is gone."""

    def __init__(self, number: int, people: tuple[Person, Person], room: str) -> None:
        self.people = people
        self.room = room
        self.told: set[str] = set()
        """Every call whose ``call_created`` was heard."""
        self.answered: set[str] = set()
        """Those whose answer was acknowledged, and which nobody has ended yet or all."""
        self._random = random.Random(number)

    async def call_until_it_ends(self) -> None:
        chairs: list[Chair] = []
        with contextlib.suppress(*GONE):
            chairs += [await person.sits_in(self.room) for person in self.people]
            while True:
                await self._call(chairs)
        for chair in chairs:
            with contextlib.suppress(*GONE):
                await chair.leaves()

    async def _call(self, chairs: list[Chair]) -> None:
        caller, callee = self._random.sample(chairs, 2)
        created = await caller.asks({"type": "video_call_invite"})
        if created["type"] == "error":
            # A call of before the kill waits for the two to come back.
            assert created["error_code"] == "conflict", created
            await asyncio.sleep(0.1)
            return
        call_id = created["call_id"]
        self.told.add(call_id)
        await callee.hears("video_call_invite", call_id=call_id)
        await asyncio.sleep(self._random.random() * 0.03)
        what = self._random.choice(["declined", "joined", "joined", "cancelled"])
        if what == "cancelled":
            await caller.sends(status(call_id, "ended"))
        else:
            answer = await callee.asks(status(call_id, what))
            assert answer["type"] == "video_call_status", answer
        if what == "joined":
            self.answered.add(call_id)
            await asyncio.sleep(self._random.random() * 0.1)
            await self._random.choice(chairs).sends(status(call_id, "left"))
        for chair in chairs:
            await heard_line(chair, call_id)


def status(call_id: str, what: str) -> dict[str, Any]:
    return {"type": "video_call_status", "call_id": call_id, "status": what}


async def heard_line(chair: Chair, call_id: str) -> None:
    while (await chair.hears_message(message_type="system"))["call"]["call_id"] != call_id:
        pass


async def lines_of(pair: Pair) -> list[dict[str, Any]]:
    """The lines of all calls in the pair's room, from its history page by page."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = await pair.people[0].asks("GET", f"/api/rooms/{pair.room}/messages?after={after}&limit=200")
        messages = page.json["messages"]
        found += [message["call"] for message in messages if "call" in message]
        if not page.json["has_more"]:
            return found
        after = messages[-1]["id"]


async def settled(pair: Pair) -> list[dict[str, Any]]:
    """The same, once every call that was told of has one."""
    for _ in range(PATIENCE_TRIES):
        lines = await lines_of(pair)
        if {line["call_id"] for line in lines} >= pair.told:
            break
        await asyncio.sleep(0.1)
    return lines


async def test_every_call_leaves_one_line_however_often_the_server_is_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    pairs: list[Pair] = []
    for kill in range(KILLS):
        async with place.open() as process:
            if not pairs:
                for number in range(PAIRS):
                    people = (await place.person(f"a{number}"), await place.person(f"b{number}"))
                    room = await people[0].opens(kind="private", members=[people[1].name])
                    pairs.append(Pair(number, people, room))
            work = [asyncio.ensure_future(pair.call_until_it_ends()) for pair in pairs]
            goal = 30 * (kill + 1)
            for _ in range(PATIENCE_TRIES):
                if sum(len(pair.told) for pair in pairs) >= goal:
                    break
                await asyncio.sleep(0.05)
            process.process.kill()
            await asyncio.gather(*work)
    told = sum(len(pair.told) for pair in pairs)
    assert told >= 30 * KILLS
    async with place.open():
        for pair in pairs:
            lines = await settled(pair)
            counted = Counter(line["call_id"] for line in lines)
            assert set(counted) >= pair.told, "a call left no line"
            assert max(counted.values()) == 1, "a call left two lines"
            outcomes = {line["call_id"]: line["outcome"] for line in lines}
            assert {outcomes[call_id] for call_id in pair.answered} <= {"answered"}
            # Nothing of the dead calls keeps the room or its people from another one.
            chair = await pair.people[0].sits_in(pair.room)
            assert (await chair.asks({"type": "video_call_invite"}))["type"] == "call_created"
            await chair.leaves()
