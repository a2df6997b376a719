"""The one writer of a room, and what all of them share."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

from heartlink.errors import DuplicateKey, Refusal, StoreFault, busy, internal_error, not_saved
from heartlink.journal.entries import Amend, Post, Published
from heartlink.logs import log_fault
from heartlink.model import RoomId, StoredMessage
from heartlink.rooms import RoomState
from heartlink.tallies import Tallies

logger = logging.getLogger(__name__)

BATCH_LIMIT: Final = 256
"""Entries that share one write."""

WAITING_LIMIT: Final = 4096
"""Entries that may wait in one room."""

ATTEMPTS: Final = 5
"""How often an entry is numbered anew before it is given up."""

RELOAD_LIMIT: Final = 1000
"""Rows read at a time when a dirty room is reloaded."""


class Numbered(NamedTuple):
    """An entry of the batch under way: its row, and the ``rev`` that the row replaces (0: a new message)."""

    entry: Post | Amend
    row: StoredMessage
    replaced: int


class MessageStore(Protocol):
    """What a journal asks of the repository of messages."""

    def append(self, batch: list[tuple[StoredMessage, int]]) -> asyncio.Future[None]: ...

    async def get(self, room_id: RoomId, message_id: int) -> StoredMessage | None: ...

    async def sent_as(self, dedup: str) -> StoredMessage | None: ...

    async def changed_since(self, room_id: RoomId, rev: int, limit: int) -> list[StoredMessage]: ...


class Journals:
    """What all rooms' journals share: the store, the clock, the turn of the loop in which they begin together."""

    def __init__(
        self,
        messages: MessageStore,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        is_store_up: Callable[[], bool],
        suspect_store: Callable[[], None],
        tallies: Tallies,
        save_seconds: float,
    ) -> None:
        self.messages = messages
        self.clock = clock
        self.spawn = spawn
        self.is_store_up = is_store_up
        self.suspect_store = suspect_store
        self._tallies = tallies
        self.save_seconds = save_seconds
        self._loop = asyncio.get_running_loop()
        self._ready: list[Journal] = []
        self._in_flight: dict[Journal, float] = {}
        self._landing = asyncio.Event()

    def begin_soon(self, journal: Journal) -> None:
        """Let a journal begin its batch at the end of this loop turn, together with all others."""
        if not self._ready:
            self._loop.call_soon(self._begin_all)
        self._ready.append(journal)

    def _begin_all(self) -> None:
        ready, self._ready = self._ready, []
        for journal in ready:
            try:
                journal.begin()
            except Exception:
                # One room's fault must not cost the others their turn.
                logger.exception("the journal of room %r failed", journal.state.room.id)
        self._landing.set()

    def took_off(self, journal: Journal, entries: int) -> None:
        """A batch is under way; it is given up after ``save_seconds``."""
        self._in_flight[journal] = self._loop.time()
        self._tallies.batch_entries.observe(entries)

    def landed(self, journal: Journal) -> None:
        """A batch is over, one way or the other."""
        since = self._in_flight.pop(journal, None)
        if since is not None:
            self._tallies.store_took("append", self._loop.time() - since)
        self._landing.set()

    def lost_sight(self) -> None:
        """The outcome of a batch is unknown."""
        self._tallies.count(self._tallies.store_failures, "append")
        self.suspect_store()

    def give_up_late(self) -> None:
        """Call a few times a second: a batch the store has held for too long is of unknown outcome."""
        latest = self._loop.time() - self.save_seconds
        for journal in [journal for journal, since in self._in_flight.items() if since <= latest]:
            journal.give_up()

    async def settle(self) -> None:
        """Return when nothing waits for the store."""
        while self._in_flight or self._ready:
            self._landing.clear()
            await self._landing.wait()


class Journal:
    """The one writer of one room."""

    __slots__ = (
        "_batch",
        "_flight",
        "_held",
        "_owes_batch",
        "_scheduled",
        "_shared",
        "_turns",
        "_waiting",
        "_working",
        "dirty",
        "publish",
        "state",
    )

    def __init__(self, shared: Journals, state: RoomState, publish: Callable[[list[Published]], None]) -> None:
        self._shared = shared
        self.state = state
        self.publish = publish
        self.dirty = False
        """Whether the store may hold more than was published."""
        self._waiting: deque[Post | Amend] = deque()
        self._batch: list[Numbered] = []
        self._flight: asyncio.Future[None] | None = None
        self._working = False
        """Whether a task of ours reads the store, to reload or to look something up."""
        self._turns: list[asyncio.Future[None]] = []
        self._held = 0
        self._owes_batch = False
        """Whether the last turn was given away: what waits to be written comes before the next one."""
        self._scheduled = False

    @property
    def is_idle(self) -> bool:
        """Whether the room may be forgotten: nothing waits, nothing is under way, nothing is unknown."""
        return not (self._waiting or self._flight or self._working or self._held or self._turns or self.dirty)

    def submit(self, entry: Post | Amend) -> None:
        """Queue an entry; its author hears of it by the published copy or by its answer."""
        if not self._shared.is_store_up():
            entry.answer(entry, not_saved(), duplicate=False, published=False)
        elif len(self._waiting) >= WAITING_LIMIT:
            entry.answer(entry, busy("messages in this room"), duplicate=False, published=False)
        else:
            self._waiting.append(entry)
            self._begin_soon()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the room's numbering: no batch is under way, none begins, and all that is stored was published."""
        await self._take_turn()
        try:
            yield
        finally:
            self._held -= 1
            self._begin_soon()

    async def _take_turn(self) -> None:
        if self._flight is None and not self._working and not self.dirty and not self._waiting:
            self._held += 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(granted)
        self._begin_soon()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._held -= 1
                self._begin_soon()
            raise

    def _begin_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._shared.begin_soon(self)

    def begin(self) -> None:
        """Number what waits and hand it to the store, unless something is under way."""
        self._scheduled = False
        if self._flight is not None or self._working:
            return
        if self._held:
            return
        if self.dirty:
            if self._shared.is_store_up():
                self._work(self._reload())
            else:
                self._refuse_waiting(not_saved())
            return
        if self._turns and not (self._waiting and self._owes_batch):
            self._owes_batch = True
            self._grant_turns()
        if self._held or not self._waiting:
            return
        self._owes_batch = False
        self._fill_batch()
        if self._batch:
            self._flight = flight = self._shared.messages.append(
                [(numbered.row, numbered.replaced) for numbered in self._batch]
            )
            self._shared.took_off(self, len(self._batch))
            flight.add_done_callback(self._landed)
        elif self._turns and not self._working:
            self._begin_soon()

    def _grant_turns(self) -> None:
        turns, self._turns = self._turns, []
        for granted in turns:
            if not granted.done():
                self._held += 1
                granted.set_result(None)

    def _fill_batch(self) -> None:
        """Move entries from the queue into the batch until one has to wait for this batch, or for the store."""
        state, now_ms, occupied = self.state, self._shared.clock(), set[object]()
        while self._waiting and len(self._batch) < BATCH_LIMIT:
            entry = self._waiting[0]
            if entry.occupies() in occupied:
                break
            if isinstance(entry, Post):
                earlier = entry.already(state)
                if earlier is not None:
                    self._waiting.popleft()
                    entry.answer_again(earlier)
                    continue
            target = entry.target()
            if target is not None and not entry.loaded and state.recent.get(target) is None:
                if not self._batch:
                    self._work(self._load(entry, target))
                break
            self._waiting.popleft()
            made = _make(entry, state, state.last_seq + len(self._batch) + 1, now_ms)
            known = entry.known(state) if isinstance(entry, Amend) else None
            if isinstance(made, Refusal) or made is known:
                entry.answer(entry, made, duplicate=False, published=False)
            else:
                occupied.add(entry.occupies())
                self._batch.append(Numbered(entry, made, known.message.rev if known else 0))

    def _landed(self, flight: asyncio.Future[None]) -> None:
        """The store has answered for a batch."""
        error = None if flight.cancelled() else flight.exception()
        if flight is not self._flight:
            return
        self._flight = None
        self._shared.landed(self)
        batch, self._batch = self._batch, []
        if isinstance(error, DuplicateKey):
            self._number_anew(batch)
        elif error is not None or flight.cancelled():
            if not isinstance(error, StoreFault):
                logger.error("the store failed in an unexpected way", exc_info=error)
            self._lose_sight(batch)
        else:
            self._tell([Published(row, entry.change, entry) for entry, row, _ in batch])
        self._begin_soon()

    def give_up(self) -> None:
        """The store has taken too long: the outcome is unknown."""
        if self._flight is not None:
            flight, self._flight = self._flight, None
            self._shared.landed(self)
            batch, self._batch = self._batch, []
            # What the store has not begun with, it leaves; the authors will send it again.
            flight.cancel()
            self._lose_sight(batch)

    def _tell(self, steps: list[Published]) -> None:
        """Publish what is stored, then answer those who are not answered by their own copy."""
        for step in steps:
            self.state.publish(step.row)
        self.publish(steps)
        for step in steps:
            if step.entry is not None:
                step.entry.answer(step.entry, step.row, duplicate=False, published=True)

    def _lose_sight(self, batch: list[Numbered]) -> None:
        """The outcome of a batch is unknown: say so to its authors and to all who waited behind it."""
        self.dirty = True
        self._shared.lost_sight()
        for entry, _, _ in batch:
            entry.answer(entry, not_saved(), duplicate=False, published=False)
        self._refuse_waiting(not_saved())

    def _number_anew(self, batch: list[Numbered]) -> None:
        """Something in the batch exists already: look at the store, then try the rest again."""
        self.dirty = True
        for entry, _, _ in reversed(batch):
            entry.attempts += 1
            if entry.attempts > ATTEMPTS:
                fault_id = log_fault(
                    logger, "an entry of room %r met a number that was taken, again", self.state.room.id
                )
                entry.answer(entry, internal_error(fault_id), duplicate=False, published=False)
            else:
                self._waiting.appendleft(entry)

    def _refuse_waiting(self, refusal: Refusal) -> None:
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            entry.answer(entry, refusal, duplicate=False, published=False)
        turns, self._turns = self._turns, []
        for granted in turns:
            if not granted.done():
                granted.set_exception(refusal)

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        self._working = True
        self._shared.spawn(self._guard(work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._shared.save_seconds):
                await work
        except Exception as error:
            if not isinstance(error, StoreFault | TimeoutError):
                logger.exception("looking into the store failed in an unexpected way")
            self._shared.suspect_store()
            self._refuse_waiting(not_saved())
        finally:
            self._working = False
            self._begin_soon()

    async def _load(self, entry: Post | Amend, target: int) -> None:
        """Read the message that an entry speaks of."""
        entry.base = await self._shared.messages.get(self.state.room.id, target)
        entry.loaded = True

    async def _reload(self) -> None:
        """Publish what the store holds above the last published number, then learn what the retried speak of."""
        retried = {entry.dedup: entry for entry in self._waiting if isinstance(entry, Post) and entry.attempts}
        while True:
            rows = await self._shared.messages.changed_since(self.state.room.id, self.state.last_seq, RELOAD_LIMIT)
            steps: list[Published] = []
            for row in rows:
                entry = retried.get(row.dedup) if row.message.id == row.message.rev else None
                if entry is not None and entry.fingerprint == row.fingerprint:
                    self._waiting.remove(entry)
                else:
                    entry = None
                steps.append(Published(row, self._reloaded_change(row), entry))
            if steps:
                self._tell(steps)
            if len(rows) < RELOAD_LIMIT:
                break
        for waiting in [entry for entry in self._waiting if entry.attempts]:
            if isinstance(waiting, Post):
                waiting.sent_before = await self._shared.messages.sent_as(waiting.dedup)
            elif isinstance(waiting, Amend):
                waiting.base = await self._shared.messages.get(self.state.room.id, waiting.message_id)
                waiting.loaded = True
        self.dirty = False

    def _reloaded_change(self, row: StoredMessage) -> str | None:
        """What a row read from the store is to the room: a new message (None), or which change of a known one."""
        message = row.message
        if message.id > self.state.last_seq:
            return None
        if message.deleted:
            return "deleted"
        known = self.state.recent.get(message.id)
        return "reactions" if known is not None and known.message.content == message.content else "edited"


def _make(entry: Post | Amend, state: RoomState, seq: int, now_ms: int) -> StoredMessage | Refusal:
    """What an entry becomes under a number; a fault of ours refuses this entry alone."""
    try:
        return entry.make(state, seq, now_ms)
    except Exception:
        return internal_error(log_fault(logger, "an entry of room %r could not be made", state.room.id))
