"""Members: clients that speak the published contract only and never stop coming back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from .checker import Ledger, View
from .wire import Frame, Refused, Rest, Row, Socket, decode_frame, open_socket

PING_SECONDS = 2.0
SILENCE_SECONDS = 6.0
PATIENT_SILENCE_SECONDS = 20.0
RETRY_SECONDS = 0.2
INTERNAL_ERROR = 4002
FAREWELLS_THAT_ARE_FAILURES = (1002, 1003, 1007, 1009, 1011, INTERNAL_ERROR, 4401, 4403, 4404, 4410, 4429)
REFUSALS_THAT_ARE_FAILURES = (400, 401, 403, 404, 410, 426, 429, 500)
WORDS = ("heart", "你好", "links", "пульс", "🫀", "again", "e\u0301", "stay", "<b>", '"quoted"', "\\", "done")


@dataclass(frozen=True)
class Account:
    """A registered user."""

    username: str
    user_id: str
    token: str


class Member:
    """One connection to one room that reads, resumes after each loss and reloads where it must."""

    def __init__(
        self, ledger: Ledger, account: Account, room_id: str, port: int, seed: str, *, patient: bool = False
    ) -> None:
        self.account = account
        self.room_id = room_id
        self.name = f"{account.username}@{room_id}{seed.rpartition(':')[2]}"
        self.view = View(ledger, self.name, room_id)
        self.progress = asyncio.Event()
        self.socket: Socket | None = None
        self.random = random.Random(seed)
        self.ledger = ledger
        self._port = port
        self._silence_seconds = PATIENT_SILENCE_SECONDS if patient else SILENCE_SECONDS
        self._loaded_reloads = 0
        self._stopping = False
        self._is_store_away = False

    @property
    def is_live(self) -> bool:
        return self.socket is not None and self.view.live

    @property
    def is_complete(self) -> bool:
        """Whether the history below the first greeting is here as well."""
        return self.view.complete

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await asyncio.gather(self._stay_connected(), self._load(), self._work())

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                connected = await self._connect_once()
                failures = 0 if connected else failures + 1
            except Refused as refused:
                failures += 1
                self.ledger.counts[f"upgrade refused {refused.status}"] += 1
                if refused.status in REFUSALS_THAT_ARE_FAILURES:
                    self.ledger.violate("unexpected", f"{self.name}: upgrade refused: {refused}")
            except (OSError, TimeoutError):
                failures += 1
            delay = min(0.5, 0.02 * 2 ** min(failures, 6))
            await asyncio.sleep(delay * (0.5 + self.random.random()))

    async def _connect_once(self) -> bool:
        path = f"/ws/chat/{quote(self.room_id)}/"
        if self.view.cursor >= 0:
            path += f"?since={self.view.cursor}&epoch={quote(self.ledger.epoch)}"
        self._is_store_away = False
        socket = await open_socket(self._port, path, self.account.token, self._hear)
        self.ledger.counts["connections"] += 1
        try:
            await self._watch(socket)
            code = socket.closed.result()
            self.ledger.counts[f"closed {code}"] += 1
            if code == INTERNAL_ERROR and self._is_store_away and self.ledger.store_can_fail:
                # What was missed is in a database that is dead or frozen: the server said so, and to come back later.
                self.ledger.counts["turned away for want of the store"] += 1
            elif code in FAREWELLS_THAT_ARE_FAILURES:
                self.ledger.violate("unexpected", f"{self.name}: closed with {code}")
            return True
        finally:
            self.socket = None
            self.view.disconnected()
            self.on_disconnected()
            socket.abort()

    async def _watch(self, socket: Socket) -> None:
        loop = asyncio.get_running_loop()
        while not socket.closed.done():
            await asyncio.wait([socket.closed], timeout=PING_SECONDS)
            if loop.time() - socket.heard_at > self._silence_seconds:
                socket.abort()
                await socket.closed
                self.ledger.counts["silences"] += 1
            socket.send(type="ping", timestamp=loop.time())

    async def _load(self) -> None:
        """Read the history over REST whenever a greeting said that it cannot be replayed."""
        rest = Rest(self._port, self.account.token)
        try:
            while True:
                await self._until(lambda: not self.view.complete and self.view.cursor >= 0)
                reloads, after = self.view.reloads, 0
                while True:
                    try:
                        page = await rest.history(self.room_id, after)
                    except (OSError, TimeoutError, asyncio.IncompleteReadError):
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    except Refused as refused:
                        self.ledger.counts[f"history refused {refused.status}"] += 1
                        if refused.status in REFUSALS_THAT_ARE_FAILURES:
                            self.ledger.violate("unexpected", f"{self.name}: history: {refused}")
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    self.view.load(page)
                    if page.messages:
                        after = page.messages[-1].id
                    if not page.has_more:
                        break
                if reloads == self.view.reloads:
                    self.view.complete = True
                    self.progress.set()
        finally:
            rest.close()

    async def _until(self, condition: object) -> None:
        assert callable(condition)
        while not condition():
            self.progress.clear()
            await self.progress.wait()

    async def _work(self) -> None:
        """What a member does besides reading: nothing."""

    def on_disconnected(self) -> None:
        """Called after each loss of the connection."""

    def _hear(self, socket: Socket, data: bytes) -> None:
        try:
            frame = decode_frame(data)
        except msgspec.MsgspecError as problem:
            self.ledger.violate("unexpected", f"{self.name}: {problem} in {data[:300]!r}")
            return
        self.ledger.counts["frames"] += 1
        if frame.type == "chat_message" and isinstance(frame.message, Row):
            self._hear_message(frame, frame.message)
        elif frame.type == "message_updated" and isinstance(frame.message, Row):
            if frame.ref is not None and self.view.is_answer(frame.message):
                self.ledger.counts["changes that changed nothing"] += 1
            else:
                self.ledger.counts["deliveries"] += 1
                self.view.updated(frame.message)
            self.on_update(frame, frame.message)
        elif frame.type == "connection_established":
            self.socket = socket
            self.view.greeted(frame)
            if self.view.live:
                self.on_live()
        elif frame.type == "caught_up":
            self.view.caught_up(frame)
            self.on_live()
        elif frame.type == "error":
            self.on_error(frame)
        self.progress.set()

    def _hear_message(self, frame: Frame, row: Row) -> None:
        if row.is_own != (row.sender == self.account.username):
            self.ledger.violate("unexpected", f"{self.name}: is_own is {row.is_own} on {row.sender}'s {row.id}")
        if frame.duplicate:
            self.ledger.counts["duplicate answers"] += 1
            self.view.repeated(row)
        else:
            self.ledger.counts["deliveries"] += 1
            self.view.created(row)
        if row.is_own:
            self.on_own(frame, row)

    def on_live(self) -> None:
        """Called when the room is live on a new connection."""

    def on_own(self, frame: Frame, row: Row) -> None:
        """Called for the user's own copy."""

    def on_update(self, frame: Frame, row: Row) -> None:
        """Called for a changed message."""

    def on_error(self, frame: Frame) -> None:
        """Called for an error frame."""
        self.ledger.counts[f"error {frame.error_code}"] += 1
        self._is_store_away = frame.error_code == "store_unavailable"


async def cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    """End clients and wait for them; raises what one of them had died of."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
