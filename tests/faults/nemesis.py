"""The nemesis: a seeded deck of faults, dealt at seeded moments and healed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

from .checker import Ledger
from .processes import Database, Process, Server
from .proxy import Link, Proxy
from .wire import Refused, open_socket, pack_frame

FAULTS_PER_SECOND = 0.65
SERVER_DECK = {
    "server killed": 6,
    "server killed while starting": 2,
    "server frozen": 3,
    "one connection reset": 5,
    "some connections reset": 4,
    "all connections reset": 3,
    "one connection frozen": 4,
    "all connections frozen": 2,
    "one reader frozen": 4,
    "some readers frozen": 2,
    "garbage sent": 4,
}
DISK_DECK = {"disk full": 4}
DATABASE_DECK = {
    "server killed": 4,
    "server frozen": 2,
    "all connections frozen": 1,
    "database killed": 4,
    "database frozen briefly": 3,
    "database frozen": 2,
}
FROZEN_SECONDS = (0.3, 3.0)
READER_FROZEN_SECONDS = (1.0, 9.0)
# Beyond the store's own time-out, so that the outcome of what was under way is unknown to the server.
DATABASE_FROZEN_SECONDS = (3.3, 5.0)
DATABASE_FROZEN_BRIEFLY_SECONDS = (0.1, 2.0)
FULL_DISK_BYTES = 4_096
DOWN_SECONDS = (0.0, 0.8)
# Without a moment of health between two faults nothing would show how the server comes back.
BREATH_SECONDS = 1.0
STARTING_SECONDS = (0.02, 0.6)


class Nemesis:
    """Breaks the server, its connections and its database, one card of the deck after the other."""

    def __init__(
        self,
        ledger: Ledger,
        seed: str,
        server: Server,
        proxy: Proxy,
        database: Database | None,
        vandal: tuple[str, str],
        deck: dict[str, int] | None = None,
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._ledger = ledger
        self._random = random.Random(seed)
        self._server = server
        self._proxy = proxy
        self._database = database
        self._vandal_path, self._vandal_token = vandal
        self._deck = deck or SERVER_DECK | (DATABASE_DECK if database else DISK_DECK)
        self._server_turn = asyncio.Lock()
        self._database_turn = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._faults: dict[str, Callable[[], Awaitable[None]]] = {
            "server killed": self._kill_server,
            "server killed while starting": self._kill_starting_server,
            "server frozen": lambda: self._freeze(self._server, self._server_turn, FROZEN_SECONDS),
            "one connection reset": lambda: self._reset(1),
            "some connections reset": lambda: self._reset(6),
            "all connections reset": lambda: self._reset(10_000),
            "one connection frozen": lambda: self._freeze_links(1, Link.freeze, FROZEN_SECONDS),
            "all connections frozen": lambda: self._freeze_links(10_000, Link.freeze, FROZEN_SECONDS),
            "one reader frozen": lambda: self._freeze_links(1, Link.freeze_reader, READER_FROZEN_SECONDS),
            "some readers frozen": lambda: self._freeze_links(4, Link.freeze_reader, READER_FROZEN_SECONDS),
            "garbage sent": self._send_garbage,
            "disk full": self._fill_disk,
            "database killed": self._kill_database,
            "database frozen": lambda: self._freeze_database(DATABASE_FROZEN_SECONDS),
            "database frozen briefly": lambda: self._freeze_database(DATABASE_FROZEN_BRIEFLY_SECONDS),
        }

    async def run(self, seconds: float, faults_per_second: float, is_enough: Callable[[], bool]) -> None:
        """Deal faults for `seconds`, on a slow machine for up to three times as long until `is_enough`, then heal.

        Raises what a restart failed with.
        """
        loop = asyncio.get_running_loop()
        end, last = loop.time() + seconds, loop.time() + 3 * seconds
        try:
            for card in self._deal():
                pause = self._random.uniform(0.2, 1.8) / faults_per_second
                now = loop.time() + pause
                if now >= last or (now >= end and is_enough()):
                    break
                await asyncio.sleep(pause)
                self._raise_failures()
                self.faults[card] += 1
                self._ledger.note(loop.time(), card)
                self._running.add(loop.create_task(self._strike(card), name=card))
            await asyncio.sleep(max(0.0, end - loop.time()))
        finally:
            await self._heal()

    def _deal(self) -> list[str]:
        # Every kind comes in a short run, too: several decks, each shuffled by itself and in the deck's proportion.
        cards: list[str] = []
        small = {kind: max(1, round(count / 2)) for kind, count in self._deck.items()}
        for deck in [small] + [self._deck] * 40:
            pile = [kind for kind, count in deck.items() for _ in range(count)]
            self._random.shuffle(pile)
            cards += pile
        return cards

    async def _strike(self, card: str) -> None:
        await self._faults[card]()

    def _raise_failures(self) -> None:
        for task in [task for task in self._running if task.done()]:
            self._running.discard(task)
            task.result()

    async def _heal(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=60.0)
        self._proxy.thaw_all()
        self._raise_failures()

    async def _kill_server(self) -> None:
        async with self._server_turn:
            await self._server.kill()
            await self._restart(self._server)
            await asyncio.sleep(BREATH_SECONDS)

    async def _kill_starting_server(self) -> None:
        async with self._server_turn:
            await self._server.kill()
            await self._server.spawn()
            await asyncio.sleep(self._random.uniform(*STARTING_SECONDS))
            await self._server.kill()
            await self._restart(self._server)

    async def _restart(self, process: Process) -> None:
        await asyncio.sleep(self._random.uniform(*DOWN_SECONDS))
        # A server that starts has to reach its database: both kinds of fault may overlap, not at this one point.
        turn = self._database_turn if process is self._server else contextlib.nullcontext()
        async with turn:
            await process.start()

    async def _freeze(self, process: Process, turn: asyncio.Lock, seconds: tuple[float, float]) -> None:
        async with turn:
            process.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(self._random.uniform(*seconds))
            finally:
                process.signal(signal.SIGCONT)
            await asyncio.sleep(BREATH_SECONDS)

    async def _freeze_database(self, seconds: tuple[float, float]) -> None:
        assert self._database is not None
        await self._freeze(self._database, self._database_turn, seconds)

    async def _kill_database(self) -> None:
        assert self._database is not None
        async with self._database_turn:
            await self._database.kill()
            await self._restart(self._database)
            await asyncio.sleep(BREATH_SECONDS)

    async def _fill_disk(self) -> None:
        """Let no file of the server grow beyond its first page for a while; what it is told is EFBIG, not ENOSPC."""
        async with self._server_turn:
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, resource.RLIM_INFINITY))
            await asyncio.sleep(self._random.uniform(*FROZEN_SECONDS))
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await asyncio.sleep(BREATH_SECONDS)

    def _pick(self, count: int) -> list[Link]:
        links = list(self._proxy.links)
        return self._random.sample(links, min(count, len(links)))

    async def _reset(self, count: int) -> None:
        for link in self._pick(count):
            link.reset()

    async def _freeze_links(self, count: int, freeze: Callable[[Link], None], seconds: tuple[float, float]) -> None:
        links = self._pick(count)
        for link in links:
            freeze(link)
        await asyncio.sleep(self._random.uniform(*seconds))
        # Half of the outages end, the other half turn out to have been the end.
        reset = self._random.random() < 0.5
        for link in links:
            if reset:
                link.reset()
            else:
                link.thaw()

    async def _send_garbage(self) -> None:
        noise = self._random.randbytes(self._random.randint(1, 400))
        texts = [b"", b"[]", b"nul", b'"x"', b'{"type":5}', b'{"type":"no_such"}', b'{"type":"message"}', b"\xff\xfe"]
        texts += [b'{"type":"message","content":5}', b'{"type":"react","id":"x"}', b"[" * 5_000, b'{"a":' * 900]
        frames = [pack_frame(1, text) for text in texts]
        frames += [pack_frame(2, noise), pack_frame(1, b"x" * 70_000), pack_frame(1, b'{"type":"ping"}', masked=False)]
        frames += [pack_frame(3, b"reserved"), pack_frame(0, b"continues nothing"), pack_frame(9, b"p" * 200)]
        frames += [pack_frame(8, b"\x03"), pack_frame(1, b"begun", fin=False), noise, pack_frame(1, noise)[:-1]]
        for data in self._random.sample(frames, 6):
            with contextlib.suppress(OSError, TimeoutError, Refused):
                socket = await open_socket(self._proxy.port, self._vandal_path, self._vandal_token, lambda *_: None)
                socket.send_raw(data)
                await asyncio.wait([socket.closed], timeout=self._random.uniform(0.0, 0.3))
                socket.abort()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection("127.0.0.1", self._proxy.port)
                writer.write(os.urandom(64) + b"\r\n\r\n")
                await writer.drain()
                writer.transport.abort()
