"""The desk when the store does not say what became of a commit (PROTOCOL 4.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heartlink.errors import Refusal, StoreUnavailable
from heartlink.model import Grant, Subject
from heartlink.policy import Commit
from heartlink.rights.changes import PutGrant
from tests.actors import Person, Server
from tests.administrators import administrator, does
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=30)


def mute(person: Person, room: str) -> dict[str, Any]:
    """Bars somebody from a room."""
    subject = {"kind": "user", "id": person.id}
    return {"subject": subject, "permission": "chat.read", "scope": f"room:{room}", "effect": "deny"}


class Forgetful:
    """Stands between the desk and the store: what it passes on it does not confirm."""

    def __init__(self, server: Server, *, after: asyncio.Event | None = None) -> None:
        self._commits = server.house.desk._commits
        self._add = self._commits.add
        self._after = after
        self.late: asyncio.Task[None] | None = None
        self._commits.add = self.add  # type: ignore[method-assign]

    async def add(self, commit: Commit) -> None:
        self._commits.add = self._add  # type: ignore[method-assign]
        if self._after is None:
            await self._add(commit)
        else:
            self.late = asyncio.ensure_future(self._arrive(self._after, commit))
        raise StoreUnavailable("The line went dead.")

    async def _arrive(self, moment: asyncio.Event, commit: Commit) -> None:
        await moment.wait()
        await self._add(commit)


async def test_a_commit_that_was_stored_but_not_confirmed_acts_without_being_asked(serve: Serve) -> None:
    server = await serve()
    root, ann = await administrator(server), await server.person("ann")
    room = await root.opens(members=["ann"])
    chair = await ann.sits_in(room)
    Forgetful(server)
    answer = await root.asks("POST", "/api/grants", mute(ann, room))
    assert (answer.status, answer.code) == (503, "not_saved")
    assert "client_id" not in answer.json["error"]["fix"]
    assert (await chair.hears("access_revoked"))["because"].startswith("root denied chat.read to ann")
    assert await chair.is_closed() == (4403, "forbidden")


async def test_a_commit_that_arrives_late_acts_when_it_has_arrived(serve: Serve) -> None:
    server = await serve()
    root, ann = await administrator(server), await server.person("ann")
    room = await root.opens(members=["ann"])
    chair = await ann.sits_in(room)
    moment = asyncio.Event()
    forgetful = Forgetful(server, after=moment)
    assert (await root.asks("POST", "/api/grants", mute(ann, room))).status == 503
    await server.house.desk.recover()
    assert not server.house.desk._is_dirty, "the store was asked, and had nothing"
    await chair.says("still here")
    moment.set()
    assert forgetful.late is not None
    await forgetful.late
    await chair.hears("access_revoked")


async def test_a_number_that_a_late_commit_took_is_not_given_twice(serve: Serve) -> None:
    server = await serve()
    root, ann = await administrator(server), await server.person("ann")
    room = await root.opens(members=["ann"])
    moment = asyncio.Event()
    forgetful = Forgetful(server, after=moment)
    assert (await root.asks("POST", "/api/grants", mute(ann, room))).status == 503
    await server.house.desk.recover()
    version = server.house.desk.version
    moment.set()
    assert forgetful.late is not None
    await forgetful.late

    def propose(policy: Any) -> list[PutGrant]:
        return [PutGrant(Grant(id="late", subject=Subject("user", ann.id), permission="a.b"))]

    # Whoever comes next is told that it was not saved, or finds the number taken already: never is it used twice.
    try:
        commit = await server.house.desk.commit(propose, by=None, why="next")
        assert commit is not None and commit.version == version + 2
    except Refusal as refusal:
        assert refusal.code == "not_saved"
    versions = [entry["version"] for entry in (await does(root, "GET", "/api/audit"))["entries"]]
    assert versions == list(range(server.house.desk.version, 0, -1))
