"""One trial: a server, its database, clients and a nemesis; the verdict of the checker at its end."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pymongo

from .checker import Ledger
from .clients import Account, Member, cancel_all
from .nemesis import Nemesis
from .processes import Database, Server, free_port
from .proxy import Proxy
from .requesters import Poster, Steward
from .verdict import Plan, Verdict
from .wire import Refused, Rest, Row
from .writers import Writer

INSIST_SECONDS = 45.0
DEADLINE_SECONDS = 180.0
PASSWORD = "a long fault test password"
ROOMS = ("anteroom", "心", "attic-3")
WRITERS = ("ann", "bob", "cleo", "dan")
OWNER = WRITERS[0]
MEMBERS = ("eve", "fay", "gus")
GUEST = "hal"
POSTER = "ivy"
VISITOR = "jan"
VANDAL = "vandal"


class Trial:
    """The processes and clients of one plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.ledger = Ledger(store_can_fail=plan.store == "mongo")
        self._folder = folder
        self._database: Database | None = None
        self._members: list[Member] = []
        self._others: list[Poster | Steward] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._borrowed: tuple[str, str] | None = None
        self._history_rows = 0

    async def run(self) -> Verdict:
        """Set up, break, heal, settle; raises what the test itself fails with, never a violation."""
        began = time.monotonic()
        mongo_url = self._choose_database()
        data = self._folder / "data"
        plan = self.plan
        server = Server(data, free_port(), mongo_url=mongo_url, planted=plan.planted, flags=plan.flags)
        try:
            if self._database is not None:
                await self._database.start()
            await server.start()
            async with Proxy(server.port) as proxy:
                faults = await self._play(server, proxy)
        finally:
            await cancel_all(self._tasks)
            await server.kill()
            if self._database is not None:
                await self._database.kill()
                self._database.remove()
            await self._give_back()
        return Verdict(
            plan=self.plan,
            ledger=self.ledger,
            faults=faults,
            server_log=server.tail(),
            database_log=self._database.tail() if self._database else "",
            wall_seconds=time.monotonic() - began,
            starts=server.starts,
            history_rows=self._history_rows,
        )

    def _choose_database(self) -> str:
        if self.plan.store != "mongo":
            return ""
        named = os.environ.get("HEARTLINK_TEST_MONGO_URL", "")
        if named:
            return self._own_url(named)
        self._database = Database(self._folder)
        return self._database.url

    def _own_url(self, named: str) -> str:
        """The named server with a database of this trial's own, which is dropped at the end."""
        base, _, query = named.partition("?")
        scheme, _, rest = base.partition("://")
        self._borrowed = (named, f"heartlink_faults_{secrets.token_hex(6)}")
        return f"{scheme}://{rest.partition('/')[0]}/{self._borrowed[1]}{'?' * bool(query)}{query}"

    async def _give_back(self) -> None:
        if self._borrowed is None:
            return
        url, name = self._borrowed

        def drop() -> None:
            with pymongo.MongoClient[dict[str, Any]](url, timeoutMS=5_000) as client:
                client.drop_database(name)

        await asyncio.to_thread(drop)

    async def _play(self, server: Server, proxy: Proxy) -> dict[str, int]:
        self.ledger.began_at = asyncio.get_running_loop().time()
        accounts = await register_all(server.port)
        await make_rooms(server.port, accounts)
        writers = self._admit_all(proxy.port, accounts)
        vandal = (f"/ws/chat/{quote(ROOMS[0])}/", accounts[VANDAL].token)
        seed = f"{self.plan.seed}:nemesis"
        nemesis = Nemesis(self.ledger, seed, server, proxy, self._database, vandal, self.plan.deck)
        self._start(self._admit_late(server.port, proxy.port, accounts))
        await self._while_clients_live(nemesis.run(self.plan.seconds, self.plan.faults_per_second, self._is_enough))
        for writer in writers:
            writer.writing = False
        for other in self._others:
            other.writing = False
        await self._while_clients_live(self._settle(server.port, accounts[OWNER], writers))
        await cancel_all(self._tasks)
        self._tasks.clear()
        await server.kill()
        await server.start()
        await self._judge(server.port, accounts[OWNER])
        visitor = Rest(server.port, accounts[VISITOR].token)
        for other in self._others:
            if isinstance(other, Steward):
                await other.look(visitor)
        visitor.close()
        return dict(nemesis.faults)

    def _is_enough(self) -> bool:
        return len(self.ledger.latencies_seconds) >= self.plan.least_acknowledged

    def _admit_all(self, port: int, accounts: dict[str, Account]) -> list[Writer]:
        writers = []
        for room_id in ROOMS:
            for username in WRITERS:
                seed = f"{self.plan.seed}:{room_id}:{username}"
                account = accounts[username]
                writer = Writer(self.ledger, account, room_id, port, seed, per_second=self.plan.per_second)
                writer.is_moderator = username == OWNER
                writers.append(writer)
                self._admit(writer)
            twin = Member(self.ledger, accounts[OWNER], room_id, port, f"{self.plan.seed}:twin")
            writers[-len(WRITERS)].twins.append(twin)
            self._admit(twin)
            for username in MEMBERS:
                self._admit(Member(self.ledger, accounts[username], room_id, port, f"{self.plan.seed}:"))
            patient = Member(
                self.ledger, accounts[MEMBERS[0]], room_id, port, f"{self.plan.seed}:patient", patient=True
            )
            self._admit(patient)
            poster = Poster(self.ledger, accounts[POSTER], room_id, port, f"{self.plan.seed}:{room_id}:{POSTER}")
            self._others.append(poster)
            self._start(poster.run())
            steward = Steward(
                self.ledger, accounts[OWNER], accounts[VISITOR], room_id, port, f"{self.plan.seed}:{room_id}:steward"
            )
            self._others.append(steward)
            self._start(steward.run())
        return writers

    async def _admit_late(self, server_port: int, proxy_port: int, accounts: dict[str, Account]) -> None:
        """Two come later: one was a member all along, the other is invited while everything breaks."""
        await asyncio.sleep(self.plan.seconds * 0.25)
        for room_id in ROOMS:
            self._admit(Member(self.ledger, accounts[MEMBERS[1]], room_id, proxy_port, f"{self.plan.seed}:late"))
        await asyncio.sleep(self.plan.seconds * 0.3)
        for room_id in ROOMS:
            await insist(
                Rest(server_port, accounts[OWNER].token),
                f"/api/rooms/{quote(room_id)}/members",
                {"username": GUEST},
            )
            self._admit(Member(self.ledger, accounts[GUEST], room_id, proxy_port, f"{self.plan.seed}:invited"))

    def _admit(self, member: Member) -> None:
        self._members.append(member)
        self._start(member.run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _while_clients_live(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, and fail at once when a client dies of an error of its own."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task, *(t for t in self._tasks if not t.done())], return_when="FIRST_COMPLETED")
                for client in self._tasks:
                    if client.done():
                        client.result()
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()

    async def _settle(self, port: int, owner: Account, writers: list[Writer]) -> None:
        """Wait until everything is acknowledged and every member stands where the room stands."""
        rest = Rest(port, owner.token)
        problem = ""
        try:
            async with asyncio.timeout(self.plan.settle_seconds):
                while problem := await self._unsettled(rest, writers):  # noqa: ASYNC110 - asks over REST
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.ledger.violate("unexpected", f"not settled after {self.plan.settle_seconds:g} s: {problem}")
        finally:
            rest.close()

    async def _unsettled(self, rest: Rest, writers: list[Writer]) -> str:
        for writer in writers:
            if writer.pending:
                return f"{writer.name} waits for {list(writer.pending)[:5]}"
        for other in self._others:
            if other.pending:
                return f"a request over REST waits: {other.pending}"
        for room_id in ROOMS:
            try:
                last_seq = (await rest.history(room_id, 0)).last_seq
            except (OSError, TimeoutError, Refused, asyncio.IncompleteReadError) as failure:
                return f"the history of {room_id}: {failure!r}"
            for member in self._members:
                if member.room_id != room_id:
                    continue
                if not (member.is_live and member.is_complete and member.view.cursor == last_seq):
                    view = member.view
                    return f"{member.name}: at {view.cursor} of {last_seq}, live {view.live}, {view.complete}"
        return ""

    async def _judge(self, port: int, owner: Account) -> None:
        rest = Rest(port, owner.token)
        try:
            for room_id in ROOMS:
                rows: list[Row] = []
                page = await rest.history(room_id, 0)
                while True:
                    self.ledger.check_epoch(page.epoch, "the final history")
                    rows += page.messages
                    if not page.has_more:
                        break
                    page = await rest.history(room_id, rows[-1].id)
                self._history_rows += len(rows)
                self.ledger.settle(room_id, rows, page.last_seq)
                for member in self._members:
                    if member.room_id == room_id:
                        self.ledger.settle_view(member.view, rows, page.last_seq)
        finally:
            rest.close()


async def register_all(port: int) -> dict[str, Account]:
    """Every account of the trial, registered while nothing breaks yet."""
    accounts = {}
    for username in (*WRITERS, *MEMBERS, GUEST, POSTER, VISITOR, VANDAL):
        rest = Rest(port)
        payload = await rest.call("POST", "/api/auth/register", {"username": username, "password": PASSWORD})
        rest.close()
        answer = msgspec.json.decode(payload)
        accounts[username] = Account(username, answer["user"]["id"], answer["token"])
    return accounts


async def make_rooms(port: int, accounts: dict[str, Account]) -> None:
    """The rooms of the trial, with everyone but the late guest in them."""
    rest = Rest(port, accounts[OWNER].token)
    usernames = [*WRITERS[1:], *MEMBERS, POSTER, VANDAL]
    for room_id in ROOMS:
        await rest.call("POST", "/api/rooms", {"name": room_id, "room_id": room_id, "members": usernames})
    rest.close()


async def insist(rest: Rest, path: str, body: object) -> None:
    """POST until it is answered well, through whatever breaks meanwhile."""
    try:
        async with asyncio.timeout(INSIST_SECONDS):
            while True:
                try:
                    await rest.call("POST", path, body, expect=(200, 201, 409))
                    return
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)
                except Refused as refused:
                    if refused.status < 500:
                        raise
                    await asyncio.sleep(0.1)
    finally:
        rest.close()


def run_trial(plan: Plan, folder: Path) -> Verdict:
    """One trial from start to verdict, within a hard deadline."""

    async def run() -> Verdict:
        async with asyncio.timeout(3 * plan.seconds + DEADLINE_SECONDS):
            return await Trial(plan, folder).run()

    return asyncio.run(run())
