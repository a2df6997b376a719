"""The journal of a room over the real embedded database, which a thin layer makes slow, forgetful or late."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartlink.errors import DuplicateKey, Refusal, StoreUnavailable
from heartlink.journal import Amend, Journal, Journals, Post, Published
from heartlink.journal.writer import ATTEMPTS, BATCH_LIMIT, WAITING_LIMIT
from heartlink.model import Message, Room, RoomId, StoredMessage, User, UserId
from heartlink.rooms import RECENT_MESSAGES, RecentMessages, RoomState
from heartlink.store.folder import DataFolder
from heartlink.store.messages import Messages, dedup_key, fingerprint
from heartlink.store.sqlite import SqliteBackend
from heartlink.store.tables import ALL
from heartlink.tallies import Tallies
from heartlink.tasks import Tasks

Fate = Literal["ok", "lost", "stored", "half", "hangs", "dup", "half dup"]
"""What becomes of a batch: stored; not stored, stored, or a prefix stored and then an unknown outcome; no answer until
``release``; DuplicateKey with nothing or with a prefix stored."""

ROOM_IDS = itertools.count()


class Troubled(Messages):
    """The repository of messages, but the fate of each batch is decided by the test."""

    def __init__(self, backend: SqliteBackend) -> None:
        super().__init__(backend)
        self.fates: list[Fate] = []
        """Of the next batches; afterwards all is well."""
        self.batches: list[list[tuple[StoredMessage, int]]] = []
        self.hanging: list[tuple[list[tuple[StoredMessage, int]], asyncio.Future[None]]] = []
        self.silent: list[asyncio.Future[None]] = []
        """Every answer that hung; some never come."""
        self.reads_fail = 0

    def append(self, batch: list[tuple[StoredMessage, int]]) -> asyncio.Future[None]:
        self.batches.append(batch)
        fate: Fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "ok":
            return super().append(batch)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if fate == "hangs":
            self.hanging.append((batch, answer))
            self.silent.append(answer)
            return answer
        stored = {"stored": batch, "half": batch[: len(batch) // 2], "half dup": batch[: len(batch) // 2]}.get(fate, [])
        error = DuplicateKey() if fate in ("dup", "half dup") else StoreUnavailable()
        if stored:
            super().append(stored).add_done_callback(lambda done: _fail(answer, done.exception() or error))
        else:
            asyncio.get_running_loop().call_soon(_fail, answer, error)
        return answer

    async def release(self, answered: bool = True) -> None:
        """Let what hangs reach the database now; its answer may get lost."""
        hanging, self.hanging = self.hanging, []
        for batch, answer in hanging:
            error: BaseException | None = None
            try:
                await super().append(batch)
            except DuplicateKey as duplicate:
                error = duplicate
            if answered and not answer.done():
                answer.set_exception(error) if error else answer.set_result(None)

    async def changed_since(self, room_id: RoomId, rev: int, limit: int) -> list[StoredMessage]:
        if self.reads_fail:
            self.reads_fail -= 1
            raise StoreUnavailable()
        return await super().changed_since(room_id, rev, limit)


def _fail(answer: asyncio.Future[None], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


class Heard(NamedTuple):
    """What an author was told of an entry."""

    entry: Post | Amend
    outcome: StoredMessage | Refusal
    duplicate: bool
    published: bool

    @property
    def code(self) -> str:
        if isinstance(self.outcome, Refusal):
            return self.outcome.code
        return "duplicate" if self.duplicate else "stored"


class Desk:
    """A room's journal, with everything it published and answered."""

    def __init__(self, store: Troubled, tasks: Tasks, name: str = "") -> None:
        self.room_id = RoomId(name or f"room-{next(ROOM_IDS)}")
        self.store = store
        self.is_up = True
        self.suspected = 0
        self.told: list[Published] = []
        self.turns: list[asyncio.Task[None]] = []
        self.heard: list[Heard] = []
        self.now_ms = 1_700_000_000_000
        self.shared = Journals(
            store,
            clock=lambda: self.now_ms,
            spawn=tasks.spawn,
            is_store_up=lambda: self.is_up,
            tallies=Tallies(),
            suspect_store=self._suspect,
            save_seconds=2.0,
        )
        room = Room(id=self.room_id, name="", kind="group", owner_id=UserId("ann"), created_at_ms=0)
        self.state = RoomState(room=room, members={}, recent=RecentMessages())
        self.journal = Journal(self.shared, self.state, self.told.extend)

    def _suspect(self) -> None:
        self.is_up = False
        self.suspected += 1

    def recover(self) -> None:
        """The store is back."""
        self.is_up = True
        if self.journal.dirty:
            self.shared.begin_soon(self.journal)

    @property
    def hangs(self) -> bool:
        """Whether the batch under way is one that gets no answer."""
        return any(answer is self.journal._flight and not answer.done() for answer in self.store.silent)

    async def quiet(self) -> None:
        """Until nothing waits or is under way, except what hangs."""
        async with asyncio.timeout(5):
            while not self.journal.is_idle and not self.hangs:
                if self.journal.dirty and not self.is_up:
                    return
                await asyncio.sleep(0)

    def answer(
        self, entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool
    ) -> None:
        self.heard.append(Heard(entry, outcome, duplicate, published))

    def post(self, content: str, client_id: str | None = None, reply_to: int | None = None) -> Post:
        """Say something as ann."""
        client_id = client_id or f"c-{len(self.heard)}-{content}"
        entry = Post(
            ANN,
            self.answer,
            content=content,
            message_type="text",
            client_id=client_id,
            dedup=dedup_key(self.room_id, ANN.id, client_id),
            fingerprint=fingerprint(content, "text", reply_to, None),
            reply_to=reply_to,
            mentions=(),
        )
        self.journal.submit(entry)
        return entry

    def edit(self, message_id: int, content: str) -> Amend:
        """Change a message's text."""

        def change(message: Message, now_ms: int) -> Message:
            return message if message.content == content else msgspec.structs.replace(message, content=content)

        entry = Amend(ANN, self.answer, message_id=message_id, change="edited", edit=change)
        self.journal.submit(entry)
        return entry

    def code(self, entry: Post | Amend) -> str:
        """How an entry was answered; each is answered once."""
        (code,) = [heard.code for heard in self.heard if heard.entry is entry]
        return code

    @property
    def seqs(self) -> list[int]:
        return [step.row.message.rev for step in self.told]

    @property
    def contents(self) -> list[str]:
        return [step.row.message.content for step in self.told]

    async def check(self) -> None:
        """What was published is dense, in order, once, and what the store holds; what was acknowledged is there."""
        assert self.seqs == list(range(1, len(self.told) + 1))
        shown: dict[int, bytes] = {}
        for step in self.told:
            assert (step.change is None) == (step.row.message.id == step.row.message.rev)
            shown[step.row.message.id] = step.row.body
        rows = await self.store.changed_since(self.room_id, 0, 100_000)
        assert {row.message.id: row.body for row in rows} == shown
        dedups = [row.dedup for row in rows]
        assert len(set(dedups)) == len(dedups), "nothing is stored twice"
        for heard in self.heard:
            if isinstance(heard.outcome, StoredMessage):
                assert heard.outcome.message.id in shown
                if isinstance(heard.entry, Post):
                    assert heard.entry.dedup in dedups
        ended = [heard.entry for heard in self.heard]
        assert len({id(entry) for entry in ended}) == len(ended), "nobody is answered twice"


ANN = User(id=UserId("ann"), username="ann", fold="ann", display_name="Ann", password_hash="", created_at_ms=0)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[SqliteBackend, Tasks]]:
    backend, tasks = SqliteBackend(DataFolder(folder)), Tasks()
    await backend.open(ALL)
    try:
        yield backend, tasks
    finally:
        await tasks.close()
        await backend.close()


Run = Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Play a scene at a desk of a room of its own; all share one database."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        backend, tasks = runner.run(stack.enter_async_context(opened(tmp_path_factory.mktemp("journal"))))

        def play(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
            async def played() -> None:
                desk = Desk(Troubled(backend), tasks)
                await scene(desk)
                await desk.check()

            runner.run(played())

        yield play
        runner.run(stack.aclose())


# --- All is well ---------------------------------------------------------------------------------------


def test_what_comes_together_is_stored_in_one_call_and_published_in_order(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        entries = [desk.post(str(number)) for number in range(20)]
        assert not desk.told, "nothing is published before the store has it"
        await desk.quiet()
        assert len(desk.store.batches) == 1
        assert desk.contents == [str(number) for number in range(20)]
        assert {desk.code(entry) for entry in entries} == {"stored"}
        assert [heard.published for heard in desk.heard] == [True] * 20

    run(scene)


def test_what_comes_meanwhile_goes_into_the_next_batch(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("first")
        await desk.quiet()
        for number in range(BATCH_LIMIT + 10):
            desk.post(str(number))
        await desk.quiet()
        assert not desk.told and len(desk.store.batches) == 1
        await desk.store.release()
        await desk.quiet()
        assert [len(batch) for batch in desk.store.batches] == [1, BATCH_LIMIT, 10]

    run(scene)


def test_a_batch_never_holds_two_changes_of_one_message(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.post("one")
        desk.post("two")
        for number in range(3):
            desk.edit(1, f"one {number}")
            desk.edit(2, f"two {number}")
        desk.post("three")
        await desk.quiet()
        for batch in desk.store.batches:
            ids = [row.message.id for row, _ in batch]
            assert len(set(ids)) == len(ids)
        assert desk.seqs == list(range(1, 10)) and len(desk.store.batches) <= 5

    run(scene)


def test_a_change_of_nothing_spends_no_number(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.post("same")
        await desk.quiet()
        unchanged, missing = desk.edit(1, "same"), desk.edit(99, "x")
        reply = desk.post("reply", reply_to=98)
        await desk.quiet()
        assert (desk.code(unchanged), desk.code(missing), desk.code(reply)) == ("stored", "not_found", "not_found")
        assert desk.seqs == [1] and len(desk.store.batches) == 1

    run(scene)


def test_a_client_id_counts_once_also_when_memory_has_forgotten_it(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        first = desk.post("hello", "x")
        twice = desk.post("hello", "x")
        other = desk.post("not hello", "x")
        await desk.quiet()
        assert [desk.code(entry) for entry in (first, twice, other)] == ["stored", "duplicate", "conflict"]
        for number in range(RECENT_MESSAGES + 1):
            desk.post(f"filler {number}")
        await desk.quiet()
        assert desk.state.recent.sent_as(first.dedup) is None
        before, late, wrong, after = (
            desk.post("before"),
            desk.post("hello", "x"),
            desk.post("not hello", "x"),
            desk.post("after"),
        )
        await desk.quiet()
        assert [desk.code(entry) for entry in (before, late, wrong, after)] == [
            "stored",
            "duplicate",
            "conflict",
            "stored",
        ]
        assert desk.contents[-2:] == ["before", "after"] and desk.suspected == 0

    run(scene)


def test_a_turn_lets_no_batch_begin_and_waits_for_the_one_under_way(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("under way")
        await desk.quiet()
        order: list[str] = []

        async def turn() -> None:
            async with desk.journal.turn():
                order.append(f"turn at {desk.state.last_seq}")
                desk.post("waits")
                await asyncio.sleep(0.01)
                assert desk.seqs == [1]
            order.append("over")

        waiting = asyncio.create_task(turn())
        await asyncio.sleep(0.01)
        assert order == []
        await desk.store.release()
        await waiting
        await desk.quiet()
        assert order == ["turn at 1", "over"] and desk.seqs == [1, 2]

    run(scene)


def test_settling_waits_for_what_is_under_way(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("a")
        settling = asyncio.create_task(desk.shared.settle())
        await asyncio.sleep(0.01)
        assert not settling.done()
        await desk.store.release()
        await asyncio.wait_for(settling, 1)
        assert desk.seqs == [1]

    run(scene)


# --- The store fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "stored"), [("lost", 0), ("half", 2), ("stored", 4)], ids=["before storing", "halfway", "after storing"]
)
def test_an_unknown_outcome_is_not_saved_and_what_was_stored_is_published_once(
    run: Run, fate: Fate, stored: int
) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = [fate]
        entries = [desk.post(str(number), f"id-{number}") for number in range(4)]
        await desk.quiet()
        assert {desk.code(entry) for entry in entries} == {"not_saved"}
        assert desk.journal.dirty and not desk.told and not desk.is_up
        desk.recover()
        await desk.quiet()
        assert desk.contents == [str(number) for number in range(stored)]
        assert all(step.entry is None for step in desk.told), "their authors were told not_saved"
        again = [desk.post(str(number), f"id-{number}") for number in range(4)]
        await desk.quiet()
        assert [desk.code(entry) for entry in again] == ["duplicate"] * stored + ["stored"] * (4 - stored)
        assert desk.contents == ["0", "1", "2", "3"]

    run(scene)


def test_who_waits_behind_a_lost_batch_is_told_at_once(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        first = desk.post("first")
        await desk.quiet()
        behind = desk.post("behind")
        turn = asyncio.create_task(desk.journal._take_turn())
        await asyncio.sleep(0)
        desk.journal.give_up()
        assert (desk.code(first), desk.code(behind)) == ("not_saved", "not_saved")
        with pytest.raises(Refusal, match="not_saved"):
            await turn
        later = desk.post("while it is down")
        assert desk.code(later) == "not_saved", "refused at once, without asking the store"
        desk.store.hanging.clear()
        desk.recover()
        await desk.quiet()
        after = desk.post("after")
        await desk.quiet()
        assert desk.code(after) == "stored" and desk.contents == ["after"]

    run(scene)


def test_only_what_takes_too_long_is_given_up(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        entry = desk.post("slow")
        await desk.quiet()
        desk.shared.give_up_late()
        assert not desk.heard
        desk.shared.save_seconds = 0
        desk.shared.give_up_late()
        assert desk.code(entry) == "not_saved"
        desk.store.hanging.clear()

    run(scene)


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "never answered"])
def test_a_write_that_lands_before_the_room_looks_again(run: Run, answered: bool) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("zombie", "z")
        await desk.quiet()
        desk.journal.give_up()
        await desk.store.release(answered)
        desk.recover()
        await desk.quiet()
        assert desk.contents == ["zombie"]
        again = desk.post("zombie", "z")
        await desk.quiet()
        assert desk.code(again) == "duplicate"

    run(scene)


def test_a_write_that_lands_unseen_meets_the_next_batch(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("zombie", "z")
        desk.post("its neighbour")
        await desk.quiet()
        desk.journal.give_up()
        desk.recover()
        await desk.quiet()
        await desk.store.release(answered=False)
        retry, new = desk.post("zombie", "z"), desk.post("new")
        await desk.quiet()
        assert desk.contents == ["zombie", "its neighbour", "new"]
        assert desk.code(retry) in ("stored", "duplicate") and desk.code(new) == "stored"

    run(scene)


def test_a_write_that_comes_too_late_for_its_number_is_not_stored(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.post("message")
        await desk.quiet()
        desk.store.fates = ["hangs"]
        desk.post("zombie", "z")
        desk.edit(1, "zombie's edit")
        await desk.quiet()
        desk.journal.give_up()
        desk.recover()
        await desk.quiet()
        desk.post("new")
        await desk.quiet()
        await desk.store.release()
        await desk.quiet()
        assert desk.contents == ["message", "new"]
        desk.post("zombie", "z")
        await desk.quiet()
        assert desk.contents == ["message", "new", "zombie"]

    run(scene)


def test_a_reload_that_fails_is_done_again(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["stored"]
        desk.post("stored, but who knows")
        await desk.quiet()
        desk.store.reads_fail = 2
        for _ in range(2):
            desk.recover()
            await desk.quiet()
            assert desk.journal.dirty and not desk.told and not desk.is_up
        desk.recover()
        waiting = desk.post("waits for the reload")
        await desk.quiet()
        assert desk.contents == ["stored, but who knows", "waits for the reload"] and desk.code(waiting) == "stored"

    run(scene)


@pytest.mark.parametrize("fate", ["dup", "half dup"])
def test_a_duplicate_in_the_middle_costs_the_others_nothing(run: Run, fate: Fate) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = [fate]
        entries = [desk.post(str(number)) for number in range(6)]
        await desk.quiet()
        assert {desk.code(entry) for entry in entries} == {"stored"}
        assert desk.contents == [str(number) for number in range(6)]
        assert desk.suspected == 0

    run(scene)


@pytest.mark.parametrize("fate", ["dup", "half dup"])
def test_changes_in_a_batch_that_met_a_duplicate_are_made_once(run: Run, fate: Fate) -> None:
    async def scene(desk: Desk) -> None:
        for number in range(4):
            desk.post(str(number))
        await desk.quiet()
        desk.store.fates = [fate]
        edits = [desk.edit(number, f"edited {number}") for number in (1, 2, 3, 4)]
        await desk.quiet()
        assert {desk.code(entry) for entry in edits} == {"stored"}
        assert desk.seqs == list(range(1, 9))
        assert desk.contents[4:] == [f"edited {number}" for number in (1, 2, 3, 4)]

    run(scene)


def test_what_can_never_be_stored_is_given_up_after_some_attempts(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["dup"] * (ATTEMPTS + 1)
        entry = desk.post("unlucky")
        await desk.quiet()
        assert desk.code(entry) == "internal_error"
        assert len(desk.store.batches) == ATTEMPTS + 1
        await desk.quiet()
        desk.post("goes on")
        await desk.quiet()
        assert desk.contents == ["goes on"]

    run(scene)


def test_too_many_who_wait_are_refused(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("first")
        await desk.quiet()
        for number in range(WAITING_LIMIT):
            desk.post(str(number))
        assert desk.code(desk.post("one too many")) == "busy"
        desk.journal.give_up()
        assert len(desk.heard) == WAITING_LIMIT + 2

    run(scene)


def test_a_turn_that_is_refused_and_called_off_at_once_holds_nothing_up(run: Run) -> None:
    async def scene(desk: Desk) -> None:
        desk.store.fates = ["hangs"]
        desk.post("first")
        await desk.quiet()
        turn = asyncio.create_task(desk.journal._take_turn())
        await asyncio.sleep(0)
        desk.journal.give_up()
        turn.cancel()
        with pytest.raises((asyncio.CancelledError, Refusal)):
            await turn
        desk.store.hanging.clear()
        desk.recover()
        entry = desk.post("goes on")
        await desk.quiet()
        assert desk.code(entry) == "stored"

    run(scene)


# --- Anything, in any order ------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("post"), st.sampled_from("abcdef"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("post"), st.sampled_from("abcdef"), st.just("x")),
    st.tuples(st.just("edit"), st.integers(1, 8), st.sampled_from(["x", "y", "z"])),
    st.tuples(st.just("reply"), st.integers(1, 8), st.sampled_from("abcdef")),
    st.tuples(st.just("fate"), st.sampled_from(["lost", "stored", "half", "hangs", "dup", "half dup"]), st.just("")),
    st.tuples(st.just("wait"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("quiet"), st.just(""), st.just("")),
    st.tuples(st.just("give up"), st.just(""), st.just("")),
    st.tuples(st.just("release"), st.booleans(), st.just("")),
    st.tuples(st.just("recover"), st.just(""), st.just("")),
    st.tuples(st.just("bad read"), st.just(""), st.just("")),
    st.tuples(st.just("turn"), st.just(""), st.just("")),
)


async def play(desk: Desk, step: tuple[str, Any, Any]) -> None:
    kind, first, second = step
    if kind == "post":
        desk.post(second, first)
    elif kind == "reply":
        desk.post("reply", second, reply_to=first)
    elif kind == "edit":
        desk.edit(first, second)
    elif kind == "fate":
        desk.store.fates.append(first)
    elif kind == "wait":
        for _ in range(first):
            await asyncio.sleep(0)
    elif kind == "quiet":
        await desk.quiet()
    elif kind == "give up":
        desk.journal.give_up()
    elif kind == "release":
        await desk.store.release(first)
    elif kind == "recover":
        desk.recover()
    elif kind == "bad read":
        desk.store.reads_fail = 1
    elif kind == "turn":
        desk.turns.append(asyncio.create_task(look_in_turn(desk)))
        await asyncio.sleep(0)


async def look_in_turn(desk: Desk) -> None:
    """Nothing is published in somebody's turn."""
    with contextlib.suppress(Refusal, StoreUnavailable):
        async with desk.journal.turn():
            before = len(desk.told)
            await desk.store.changed_since(desk.room_id, 0, 100)
            assert len(desk.told) == before


async def heal(desk: Desk) -> None:
    """Everything comes to its end: what hangs lands, the store is well, the room looks again."""
    desk.store.fates.clear()
    desk.store.reads_fail = 0
    await desk.store.release()
    desk.journal.give_up()
    desk.recover()
    await desk.quiet()
    # Whatever landed unseen is met by the next batch.
    desk.post("the last word", f"last {len(desk.told)}")
    await desk.quiet()


@given(steps=st.lists(STEPS, max_size=30))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_nothing_acknowledged_is_lost_doubled_or_out_of_order(
    run: Run, steps: list[tuple[str, Any, Any]]
) -> None:
    async def scene(desk: Desk) -> None:
        for step in steps:
            await play(desk, step)
        await heal(desk)
        async with asyncio.timeout(5):
            await asyncio.gather(*desk.turns)
        assert desk.contents[-1] == "the last word"
        assert desk.journal.is_idle

    run(scene)
