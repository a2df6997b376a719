"""Coming back to the permission stream: what was missed is told, or why it cannot be (PROTOCOL 4.1, 4.2).

Whatever happened, a client that follows the stream knows what a new one is told.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heartlink.errors import Refusal
from heartlink.model import Grant, Role, Subject, UserId
from heartlink.policy import desk, history
from heartlink.policy.history import STEPS_PER_SUBJECT
from heartlink.rights.changes import AnyChange, PutGrant, PutRole, SetRoles
from tests.actors import Person, Server
from tests.conftest import Serve
from tests.mirror import Follower
from tests.random_policy import RandomChanges

pytestmark = pytest.mark.gen_test(timeout=60)

ROUNDS = 200


async def commits(server: Server, *changes: AnyChange, why: str = "a test") -> int:
    commit = await server.house.desk.commit(lambda policy: changes, by=None, why=why)
    assert commit is not None
    return commit.version


def to_user(person: Person, permission: str, grant_id: str = "g", **more: Any) -> PutGrant:
    return PutGrant(Grant(id=grant_id, subject=Subject("user", person.id), permission=permission, **more))


async def reopened(server: Server) -> Server:
    """Another house over the same store, as after a restart."""
    await server.close()
    settings = server.settings
    again = Server(settings.data_dir, settings.mongo_url, messages_per_second=0)
    return await again.open()


# --- Ways to come back -----------------------------------------------------------------------------------


async def test_every_way_to_come_back(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    versions = [await commits(server, to_user(ann, f"p{number}.x", f"g{number}")) for number in range(4)]
    epoch = server.house.epoch
    await commits(server, PutRole(Role(key="unused", name="Unused")))
    for query, resume, reason in (
        ("", "none", None),
        (f"?epoch={epoch}", "none", None),
        (f"?since={versions[-1]}", "changes", None),
        (f"?since={versions[-1]}&epoch={epoch}", "changes", None),
        (f"?since={versions[1]}&epoch={epoch}", "changes", None),
        (f"?since=0&epoch={epoch}", "changes", None),
        (f"?since={versions[-1] + 1}&epoch={epoch}", "full", "ahead_of_server"),
        (f"?since={versions[1]}&epoch=another", "full", "epoch_changed"),
        ("?since=999999&epoch=another", "full", "epoch_changed"),
    ):
        chair = await ann.listens("", query)
        assert (chair.greeting["resume"], chair.greeting["resume_reason"]) == (resume, reason), query
        assert (chair.greeting["version"], chair.greeting["epoch"]) == (versions[-1], epoch)
        await chair.asks({"type": "ping"})
        told = chair.heard[1:-1]
        if resume == "changes":
            since = int(query[7:].partition("&")[0])
            assert [frame["version"] for frame in told] == [version for version in versions if version > since]
        else:
            assert [frame["type"] for frame in told] == ["permission_snapshot"]
    for query in ("?since=-1", "?since=x", "?since=1.5", f"?since={2**70}"):
        assert (await ann.asks("GET", f"/ws/permissions/{query}")).json["would"] == 400, query


async def test_what_is_told_late_is_what_was_told_at_once(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    live = await ann.listens()
    await live.hears("permission_snapshot")
    await commits(server, PutRole(Role(key="staff", name="Staff", permissions=("menu.admin", "permissions.manage"))))
    await commits(server, SetRoles(UserId(ann.id), ("staff",)), why="hired")
    await commits(server, SetRoles(UserId(ann.id), ()), why="gone")
    await live.asks({"type": "ping"})
    late = await ann.listens("", f"?since=0&epoch={server.house.epoch}")
    await late.asks({"type": "ping"})
    assert len(live.heard) == 1 + 1 + 3 + 3 + 1
    assert late.heard[1:-1] == live.heard[2:-1], "with the time at which it happened"


async def test_whoever_missed_more_than_is_remembered_is_told_everything(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    for number in range(STEPS_PER_SUBJECT + 1):
        await commits(server, to_user(ann, f"p{number}.x", f"g{number % 3}"))
    follower = Follower(ann)
    follower.mirror.version, follower.mirror.epoch = 0, server.house.epoch
    assert await follower.comes() == "full"
    assert follower.mirror.resumed == [] and (await follower.settles()) == []
    assert follower.mirror.resumed == [("full", "too_far_behind")]
    assert follower.mirror.state == await follower.fresh()


async def test_deltas_that_would_fill_the_queue_give_way_to_a_snapshot(serve: Serve) -> None:
    server = await serve(queue_bytes=40_000)
    ann = await server.person("ann")
    for number in range(30):
        await commits(server, to_user(ann, f"p{number}.x", f"g{number}"))
    chair = await ann.listens("", f"?since=0&epoch={server.house.epoch}")
    assert (chair.greeting["resume"], chair.greeting["resume_reason"]) == ("full", "too_far_behind")
    assert len((await chair.hears("permission_snapshot"))["permissions"]) > 30


async def test_what_is_remembered_is_bounded_and_whoever_was_forgotten_is_told_everything(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ann, bob = await server.person("ann"), await server.person("bob")
    monkeypatch.setattr(history, "STEPS_LIMIT", 6)
    for number in range(4):
        await commits(server, to_user(ann, f"p{number}.x", "ann"))
    for number in range(3):
        await commits(server, to_user(bob, f"p{number}.x", "bob"))
    query = f"?since=0&epoch={server.house.epoch}"
    assert (await bob.listens("", query)).greeting["resume"] == "changes"
    assert (await ann.listens("", query)).greeting["resume_reason"] == "too_far_behind"
    monkeypatch.setattr(history, "STEPS_LIMIT", 200_000)
    monkeypatch.setattr(desk, "REPLAYED_STEPS", 2)
    again = await reopened(server)
    try:
        last = again.house.desk.version
        came_back = [(ann, 0, "full"), (bob, 0, "full"), (bob, last - 2, "changes"), (bob, last, "changes")]
        for person, since, resume in came_back:
            back = again.holding({"token": person.token, "user": person.user})
            chair = await back.listens("", f"?since={since}&epoch={again.house.epoch}")
            assert chair.greeting["resume"] == resume, (person.name, since)
            if resume == "changes":
                await chair.asks({"type": "ping"})
                assert [frame["version"] for frame in chair.heard[1:-1]] == list(range(since + 1, last + 1))
    finally:
        await again.close()


async def test_who_has_come_later_has_no_part_in_earlier_versions(serve: Serve) -> None:
    server = await serve()
    first = await server.person("first")
    await commits(server, PutGrant(Grant(id="all", subject=Subject("everyone"), permission="a.b")))
    later = await server.person("later")
    versions = [(await person.listens()).greeting["version"] for person in (first, later)]
    assert versions[1] == 0 < versions[0]
    again = await reopened(server)
    try:
        for person, version in zip((first, later), versions, strict=True):
            back = again.holding({"token": person.token, "user": person.user})
            assert (await back.listens()).greeting["version"] == version, "a restart changes nothing"
    finally:
        await again.close()


# --- Time --------------------------------------------------------------------------------------------------


async def test_timed_grants_outlive_a_restart_and_those_that_ended_meanwhile_are_gone_before_anybody_comes(
    serve: Serve,
) -> None:
    server = await serve()
    ann = await server.person("ann")
    follower = Follower(ann)
    await follower.comes()
    now_ms = server.house.clock()
    await commits(server, to_user(ann, "long.x", "long", expires_at_ms=now_ms + 3_600_000))
    await commits(server, to_user(ann, "short.x", "short", expires_at_ms=now_ms + 900))
    await follower.settles()
    await server.close()
    # Nobody is there to wait for: its time must pass while the house is closed.
    await asyncio.sleep(max(0.0, (now_ms + 950 - server.house.clock()) / 1000))
    again = await reopened(server)
    try:
        back = again.holding({"token": ann.token, "user": ann.user})
        assert await follower.comes(back) == "changes"
        (ended,) = await follower.settles()
        assert [entry["permission"] for entry in ended["data"]["revoked"]] == ["short.x"]
        assert ended["data"]["because"] == "its time was over"
        held = {entry[1]: entry[3] for entry in follower.mirror.permissions}
        assert held["long.x"] and "short.x" not in held
        assert follower.mirror.state == await follower.fresh()
        await commits(again, to_user(back, "soon.x", "soon", expires_at_ms=again.house.clock() + 80))
        versions = [frame["version"] for frame in await follower.settles()]
        while len(versions) < 2:
            versions += [frame["version"] for frame in await follower.settles()]
        assert versions == [again.house.desk.version - 1, again.house.desk.version]
    finally:
        await again.close()


# --- Snapshot and stream are one ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_snapshot_and_stream_are_a_fresh_snapshot_whatever_is_changed(serve: Serve, seed: int) -> None:
    """Every kind of change, at random, while clients go and come and the house is closed and opened."""
    server = await serve(messages_per_second=0, registrations_per_minute=0)
    people = [await server.person(f"user{number}") for number in range(4)]
    changes = RandomChanges(seed, [UserId(person.id) for person in people], server.house.clock)
    followers = [Follower(person) for person in people] + [Follower(server.stranger(), "anonymous")]
    starts = [int((await follower.person.listens()).greeting["version"]) for follower in followers]
    for follower in followers:
        await follower.comes()
    away: set[int] = set()
    for round_number in range(1, ROUNDS + 1):
        try:
            await server.house.desk.commit(changes.propose, by=None, why=f"round {round_number}")
        except Refusal as refusal:
            assert refusal.code in ("invalid_parameters", "conflict"), refusal
        if changes.random.random() < 0.2:
            number = changes.random.randrange(len(followers))
            if number in away:
                assert await followers[number].comes() == "changes"
                away.discard(number)
            else:
                await followers[number].settles()
                await followers[number].goes()
                away.add(number)
        if round_number % 60 == 0:
            for number in set(range(len(followers))) - away:
                await followers[number].settles()
            server = await reopened(server)
            for number, follower in enumerate(followers):
                held = {"token": follower.person.token, "user": follower.person.user}
                follower.person = server.holding(held)
                if number not in away:
                    assert await follower.comes() == "changes"
        if round_number % 15 == 0:
            for number in set(range(len(followers))) - away:
                await is_up_to_date(followers[number])
    try:
        for number, follower in enumerate(followers):
            if number in away:
                assert await follower.comes() == "changes"
            await is_up_to_date(follower)
        # Each was told of the commits that touched them, of all of those, and of no other.
        commits = await server.house.desk._commits.after(0)
        for follower, start in zip(followers, starts, strict=True):
            who = follower.person.user.get("id", "")
            expected = [commit.version for commit in commits if who in commit.touched and commit.version > start]
            # A grant may have ended since the commits were read.
            await follower.settles()
            assert [version for version in follower.mirror.versions if version <= commits[-1].version] == expected
            assert all(resume in ("none", "changes") for resume, _ in follower.mirror.resumed)
        assert max(len(follower.mirror.versions) for follower in followers) > ROUNDS // 8, "something happened"
    finally:
        await server.close()


async def is_up_to_date(follower: Follower) -> None:
    """What it knows is what a new client is told; grants that end meanwhile make it look again."""
    for _ in range(20):
        fresh = await follower.fresh()
        await follower.settles()
        if follower.mirror.version == fresh["version"]:
            assert follower.mirror.state == fresh
            return
    raise AssertionError("it never came to rest")


# --- Many -----------------------------------------------------------------------------------------------------


async def test_a_change_for_thousands_leaves_others_their_turns_and_is_one_for_all(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    house = server.house
    crowd = [UserId(f"user-{number}") for number in range(desk.PEOPLE_PER_TURN * 4)]
    for user_id in crowd:
        await house.desk.add_user(user_id)
    chair = await ann.listens()
    await chair.hears("permission_snapshot")
    ballot = PutGrant(Grant(id="all", subject=Subject("everyone"), permission="a.b"))
    committing = asyncio.create_task(house.desk.commit(lambda policy: [ballot], by=None, why="for everybody"))
    turns = 0
    while not committing.done():
        turns += 1
        # Until it counts nobody has it, although it is being worked out for everybody.
        held = [house.desk.policy.rights(user_id).allows("a.b") for user_id in (UserId(ann.id), crowd[0], crowd[-1])]
        assert held in ([False] * 3, [True] * 3)
        assert held[0] is (house.desk.version == 2)
        await asyncio.sleep(0)
    commit = await committing
    assert turns >= 5 and commit is not None and len(commit.touched) == len(crowd) + 1
    assert (await chair.next())["data"]["granted"][0]["permission"] == "a.b"
