"""kill -9 in the middle of 200 uploads: every acknowledged file is there as it was sent, and nothing else is."""

from __future__ import annotations

import asyncio
import random
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from heartlink.store.files import Files, thumbnail_blob
from heartlink.store.opening import make_backend
from heartlink.store.tables import ALL
from tests.raw_request import eventually

from .processes import Database, Server, free_port
from .uploaders import GONE, Source, Uploader, Wire, make_sources

UPLOADS = 200
PEOPLE = 4
AT_ONCE = 16
KILLS = 7
PATIENCE_SECONDS = 60.0
FLAGS = ("--uploads-per-user=0", "--log-level=warning")
IMPATIENT = (*FLAGS, "--upload-hours=0.0001")
"""With these, what nobody goes on with is swept soon after the start."""


@asynccontextmanager
async def database(store: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a MongoDB, or empty text for the embedded engine."""
    if store == "sqlite":
        yield ""
        return
    engine = Database(folder)
    try:
        await engine.start()
        yield engine.url
    finally:
        await engine.kill()
        engine.remove()


class Trial:
    """The server, the people and their files."""

    def __init__(self, folder: Path, mongo_url: str, seed: int) -> None:
        self.folder = folder
        self.mongo_url = mongo_url
        self.chance = random.Random(seed)
        self.port = free_port()
        self.sources = make_sources(self.chance, UPLOADS)
        self.seen: Counter[str] = Counter()
        self.server = self._server(FLAGS)
        self.room = ""
        self.people: list[Wire] = []

    def _server(self, flags: tuple[str, ...]) -> Server:
        return Server(self.folder / "data", self.port, mongo_url=self.mongo_url, flags=flags)

    async def prepare(self) -> None:
        """Some people in one room."""
        await self.server.start()
        names = [f"user{number}" for number in range(PEOPLE)]
        for name in names:
            body = b'{"username":"%s","password":"a good password"}' % name.encode()
            made = await Wire(self.port).asks("POST", "/api/auth/register", body, Content_Type="application/json")
            assert made.status == 201, made
            self.people.append(Wire(self.port, made.json["token"], pause_seconds=0.001))
        body = b'{"members":["%s"]}' % b'","'.join(name.encode() for name in names[1:])
        self.room = (await self.people[0].asks("POST", "/api/rooms", body, Content_Type="application/json")).json["id"]

    async def run(self) -> None:
        """Everybody sends, and the server is killed again and again until all has arrived."""
        waiting = list(self.sources)

        async def works(number: int) -> None:
            wire = self.people[number % PEOPLE]
            uploader = Uploader(wire, self.room, random.Random(self.chance.random()), self.seen)
            while waiting:
                await uploader.sends(waiting.pop())

        workers = asyncio.gather(*(works(number) for number in range(AT_ONCE)))
        try:
            for number in range(KILLS):
                await self._until_arrived((number + 1) * UPLOADS // (KILLS + 2), workers)
                await asyncio.sleep(self.chance.uniform(0, 0.2))
                await self.server.kill()
                await self.server.start()
            await workers
        finally:
            workers.cancel()

    async def _until_arrived(self, count: int, workers: asyncio.Future[Any]) -> None:
        async with asyncio.timeout(6 * PATIENCE_SECONDS):
            while sum(bool(source.message_id) for source in self.sources) < count:
                assert not workers.done(), workers.exception()
                await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """One more kill; then wait until the server has cleared what nobody will go on with."""
        await self.server.kill()
        self.server = self._server(IMPATIENT)
        await self.server.start()
        await eventually(lambda: not any((self.folder / "data" / "uploads").iterdir()))

    async def history(self) -> list[dict[str, Any]]:
        """All messages of the room."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["id"] if found else 0
            path = f"/api/rooms/{self.room}/messages?limit=200&after={after}"
            page = (await self.people[0].asks("GET", path)).json["messages"]
            if not page:
                return found
            found += page

    async def stored(self) -> tuple[list[Any], list[str]]:
        """The rows and the contents, read past the server: until nothing is unsettled any more."""
        await self.server.terminate()
        backend = make_backend(mongo_url=self.mongo_url, data_dir=self.folder / "data")
        await backend.open(ALL)
        try:
            files = Files(backend)
            return await files.all_after(limit=10_000), await files.blobs(limit=10_000)
        finally:
            await backend.close()


async def check(trial: Trial, messages: list[dict[str, Any]]) -> int:
    """Every file is there once, as it was sent; those that were left or deleted are not. The files compared."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        by_name.setdefault(message["client_id"], []).append(message)
    compared = 0
    for source in trial.sources:
        found = by_name.pop(source.name, [])
        if source.fate == "left":
            assert not found, source.name
            continue
        [message] = found
        assert message["id"] == source.message_id and message["deleted"] is (source.fate == "deleted")
        if source.fate == "deleted":
            assert message["file"] is None
            continue
        assert message["file"]["name"] == source.name and message["message_type"] == (
            "image" if source.is_image else "file"
        )
        served = await trial.people[1].asks("GET", urllib.parse.quote(message["file_url"], safe="/%"))
        assert served.status == 200 and source.matches(served.body), (source.name, served.status)
        compared += 1
    assert not by_name, "messages of nobody"
    return compared


async def unsettled(trial: Trial, messages: list[dict[str, Any]]) -> str:
    """What is stored beside what the messages show, in words; empty when it is the same."""
    rows, blobs = await trial.stored()
    shown = {message["file"]["id"]: message for message in messages if message["file"]}
    if pending := [row.id for row in rows if row.message_id is None]:
        return f"pending: {pending}"
    if {row.id for row in rows} != set(shown):
        return f"rows and messages differ: {sorted({row.id for row in rows} ^ set(shown))}"
    if any(row.message_id != shown[row.id]["id"] for row in rows):
        return "a row belongs to another message"
    wanted = {row.blob for row in rows} | {thumbnail_blob(row.blob) for row in rows if row.thumbnail_bytes}
    return "" if set(blobs) == wanted else f"contents and rows differ: {sorted(set(blobs) ^ wanted)}"


@pytest.mark.parametrize("store", ["sqlite", "mongo"])
def test_kill_in_the_middle_of_uploads(store: str, tmp_path: Path, seed: int) -> None:
    async def go() -> None:
        async with database(store, tmp_path) as mongo_url:
            trial = Trial(tmp_path, mongo_url, seed)
            try:
                await trial.prepare()
                await trial.run()
                await trial.sweep()
                messages = await trial.history()
                compared = await check(trial, messages)
                # What a kill left pending is settled within a sweep or two of the server that came after it.
                async with asyncio.timeout(2 * PATIENCE_SECONDS):
                    while said := await unsettled(trial, messages):
                        print(said)
                        await trial.server.start()
                        await asyncio.sleep(5)
                print(f"{store}: {compared} files compared after {KILLS + 1} kills, {dict(trial.seen)}")
            finally:
                await trial.server.kill()

    print("seed", seed)
    asyncio.run(go())


def test_the_check_sees_what_is_wrong() -> None:
    """A check that could not fail would prove nothing."""
    source = Source("a", b"content", is_image=False, by_tus=False, fate="kept")
    assert source.matches(b"content") and not source.matches(b"conten") and not source.matches(b"contenT")
    [picture] = [one for one in make_sources(random.Random(1), 20) if one.is_image]
    assert picture.matches(picture.data) and GONE
