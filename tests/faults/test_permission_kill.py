"""The permission stream when its server is killed: nobody misses a change, nobody hears of one that is not so."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from pathlib import Path
from typing import Any

import launching
import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError

from tests.actors import Answer, Person
from tests.mirror import Follower

pytestmark = pytest.mark.gen_test(timeout=90)

KILLS = 4
ADMIN = {"username": "admin", "password": "admin-demo-pass"}
GONE = (ConnectionError, StreamClosedError, HTTPClientError, TimeoutError)


class Place:
    """Where the server is now."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._flags = ("--port=0", f"--data-dir={folder}", "--demo", "--messages-per-second=0")

    @contextlib.asynccontextmanager
    async def open(self) -> Any:
        """A process, killed at the end."""
        with launching.Server(*self._flags) as process:
            self.url = (await asyncio.to_thread(process.address)).rstrip("/")
            yield process

    async def person(self, path: str, **body: Any) -> Person:
        """Somebody who signs in or up."""
        answer = await Person(self).asks("POST", f"/api/auth/{path}", body)  # type: ignore[arg-type]
        assert answer.status in (200, 201), answer
        return Person(self, answer.json["token"], answer.json["user"])  # type: ignore[arg-type]


class Administrator:
    """Changes rights over REST, one thing after the other, until the server is gone."""

    def __init__(self, admin: Person, people: list[Person], seed: int) -> None:
        self._admin = admin
        self._people = people
        self._random = random.Random(seed)
        self._grants: list[str] = []
        self._numbers = itertools.count()
        self.roles: dict[str, list[list[str]]] = {person.id: [[]] for person in people}
        """What each may have as roles: what was acknowledged last, and what was asked for since."""
        self.version = 0
        self.done = 0
        self.goal = 0
        self.reached = asyncio.Event()

    def aims(self, more: int) -> asyncio.Event:
        """Set when so many things more were acknowledged."""
        self.goal = self.done + more
        self.reached = asyncio.Event()
        return self.reached

    async def prepare(self) -> None:
        for body in (
            {"key": "base", "name": "Base", "permissions": ["report.read", "menu.reports"]},
            {"key": "editor", "name": "Editor", "parent": "base", "permissions": ["report.*"]},
            {"key": "guard", "name": "Guard", "permissions": ["chat.moderate"]},
        ):
            assert (await self._admin.asks("POST", "/api/roles", body)).status == 201
        menu = {"key": "reports", "name": "Reports", "url": "/reports/", "sort_order": 30}
        assert (await self._admin.asks("POST", "/api/menus", menu)).status == 201
        assert (await self._admin.asks("POST", "/api/groups", {"key": "crew", "name": "Crew"})).status == 201

    async def work(self) -> None:
        """Until the server is gone."""
        deeds = (self._give_roles, self._grant, self._take_back, self._regroup, self._rename)
        with contextlib.suppress(*GONE):
            while True:
                await self._random.choice(deeds)()
                self.done += 1
                if self.done >= self.goal:
                    self.reached.set()

    async def _asks(self, method: str, path: str, body: Any = None) -> Answer:
        answer = await self._admin.asks(method, path, body)
        if answer.status == 599:
            raise ConnectionError
        assert answer.status in (200, 201), (method, path, body, answer)
        self.version = max(self.version, answer.json["version"])
        return answer

    async def _give_roles(self) -> None:
        person = self._random.choice(self._people)
        roles = self._random.sample(["base", "editor", "guard"], self._random.randint(0, 2))
        self.roles[person.id].append(roles)
        await self._asks("PUT", f"/api/users/{person.id}/roles", {"roles": roles})
        self.roles[person.id] = [roles]

    async def _grant(self) -> None:
        person = self._random.choice(self._people)
        subject = self._random.choice(
            ({"kind": "user", "id": person.id}, {"kind": "group", "id": "crew"}, {"kind": "everyone"})
        )
        body = {
            "subject": subject,
            "permission": f"thing.a{next(self._numbers) % 7}",
            "scope": self._random.choice(("*", "room:r1")),
            "effect": self._random.choice(("allow", "allow", "deny")),
        }
        if self._random.random() < 0.5:
            body["expires_in"] = self._random.choice((0.05, 0.5, 600))
            await self._asks("POST", "/api/grants", body)
        else:
            self._grants.append((await self._asks("POST", "/api/grants", body)).json["id"])

    async def _take_back(self) -> None:
        if self._grants:
            grant_id = self._grants.pop(self._random.randrange(len(self._grants)))
            await self._asks("DELETE", f"/api/grants/{grant_id}")

    async def _regroup(self) -> None:
        users = [person.id for person in self._random.sample(self._people, self._random.randint(0, len(self._people)))]
        await self._asks("PUT", "/api/groups/crew/members", {"users": users})

    async def _rename(self) -> None:
        await self._asks("PATCH", "/api/menus/reports", {"name": f"Reports {next(self._numbers)}"})


async def test_a_killed_server_goes_on_where_it_was_for_everybody_who_listens(tmp_path: Path) -> None:
    place = Place(tmp_path / "data")
    chance = random.Random(7)
    followers: list[Follower] = []
    administrator: Administrator | None = None
    for _ in range(KILLS):
        async with place.open() as process:
            if administrator is None:
                people = [
                    await place.person("register", username=f"user{number}", password="a good password")
                    for number in range(3)
                ]
                admin = await place.person("login", **ADMIN)
                administrator = Administrator(admin, people, seed=3)
                await administrator.prepare()
                followers = [Follower(person) for person in people]
            came = [await follower.comes() for follower in followers]
            assert set(came) <= {"none", "changes"}, "nothing that it could not tell"
            reached = administrator.aims(8)
            work = asyncio.create_task(administrator.work())
            reading = [asyncio.create_task(follower.hears_out()) for follower in followers]
            await asyncio.wait_for(reached.wait(), 20)
            await asyncio.sleep(chance.uniform(0, 0.2))
            process.process.kill()
            await asyncio.wait_for(asyncio.gather(work, *reading), 20)
    async with place.open():
        assert administrator is not None
        for follower in followers:
            assert await follower.comes() == "changes"
            await follower.settles()
            for _ in range(20):
                fresh = await follower.fresh()
                await follower.settles()
                if fresh["version"] == follower.mirror.version:
                    break
            assert follower.mirror.state == fresh
            assert follower.mirror.roles in administrator.roles[follower.person.id], "what was acknowledged is so"
            assert len(follower.mirror.versions) > KILLS * 3
        check = {"checks": [], "min_version": administrator.version}
        answer = await followers[0].person.asks("POST", "/api/permissions/check", check)
        assert answer.status == 200 and answer.json["version"] >= administrator.version
        for follower in followers:
            await follower.goes()
