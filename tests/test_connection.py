"""One peer without a socket: the outlet is a list, the loop is a list of callbacks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartlink.connection import GOODBYE_SECONDS, Connection, ConnectionLimits, Flusher, State, TokenBucket
from heartlink.errors import GOING_AWAY, NORMAL, REVOKED, TOO_SLOW
from heartlink.frames import close_frame, cut, text_frame

LIMITS = ConnectionLimits(queue_bytes=10_000, queue_frames=100)


class Turns:
    """The loop's part: callbacks for the next turn, one clock, timers."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.timers: list[Timer] = []
        self.now = 1_000.0
        self.flusher = Flusher(self.soon.append, self.call_later, lambda: self.now)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, callback))
        return self.timers[-1]

    def turn(self) -> None:
        soon, self.soon[:] = self.soon[:], []
        for callback in soon:
            callback()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now]
        self.timers = [timer for timer in self.timers if timer.due > self.now]
        for timer in due:
            timer.callback()
        self.turn()


class Timer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due, self.callback = due, callback

    def cancel(self) -> None:
        self.callback = lambda: None


class Line:
    """An outlet: takes so many bytes and keeps them; tells its connection when it is closed."""

    connection: Connection

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.waiting: Callable[[], None] | None = None
        self.finished: list[bool] = []
        self.aborted = 0
        self.broken: Exception | None = None

    @property
    def taken(self) -> bytes:
        return b"".join(self.writes)

    def send_now(self, data: bytes) -> int:
        if self.broken is not None:
            raise self.broken
        part = data[: self.room]
        self.room -= len(part)
        if not part:
            raise BlockingIOError
        self.writes.append(part)
        return len(part)

    def when_writable(self, callback: Callable[[], None]) -> None:
        self.waiting = callback

    def make_room(self, size: int) -> None:
        self.room += size
        callback, self.waiting = self.waiting, None
        assert callback is not None
        callback()

    def finish(self, answered: bool) -> None:
        self.finished.append(answered)
        if answered:
            self.connection.lost()

    def abort(self) -> None:
        self.aborted += 1
        self.connection.lost()


def connect(room: int = 1 << 30, limits: ConnectionLimits = LIMITS) -> tuple[Turns, Line, Connection]:
    turns, line = Turns(), Line(room)
    line.connection = Connection(line, turns.flusher, limits, turns.now)
    return turns, line, line.connection


def texts(*words: str) -> list[bytes]:
    return [text_frame(word.encode()) for word in words]


ONE, TWO, THREE, FOUR = texts("one", "two", "three", "four")


# --- One write per turn ----------------------------------------------------------------------------


def test_what_is_pushed_in_a_turn_goes_out_in_one_write() -> None:
    turns, line, connection = connect()
    connection.push(ONE)
    connection.push_many(TWO + THREE, 2)
    connection.push_latest("typing", FOUR)
    assert not line.writes and connection.queued_frames == 4
    turns.turn()
    assert line.writes == [ONE + TWO + THREE + FOUR]
    assert (connection.queued_frames, connection.queued_bytes) == (0, 0)
    assert (connection.frames_out, connection.bytes_out) == (4, len(line.taken))
    turns.turn()
    connection.push(ONE)
    turns.turn()
    assert line.writes[1:] == [ONE]


def test_one_callback_flushes_all_and_one_failing_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    turns, lines = Turns(), [Line() for _ in range(3)]
    for line in lines:
        line.connection = Connection(line, turns.flusher, LIMITS, turns.now)
        line.connection.push(ONE)
    assert len(turns.soon) == 1
    lines[1].broken = ZeroDivisionError()
    turns.turn()
    assert [line.taken for line in lines] == [ONE, b"", ONE]
    assert len(caplog.records) == 1 and "ZeroDivisionError" in caplog.text
    turns.turn()
    assert lines[1].connection.state is State.GONE


def test_what_the_kernel_refuses_waits_and_goes_out_in_order() -> None:
    frames = texts(*(f"message {n}" for n in range(20)))
    for room in range(len(b"".join(frames)) + 1):
        turns, line, connection = connect(room)
        connection.push_many(b"".join(frames[:10]), 10)
        for frame in frames[10:]:
            connection.push(frame)
        turns.turn()
        sent = cut(b"".join(frames), room)[0]
        assert (connection.queued_frames, connection.frames_out) == (20 - sent, sent)
        assert connection.queued_bytes == len(b"".join(frames)) - room
        connection.push(ONE)
        turns.turn()
        assert connection.queued_frames == 21 - sent or sent == 20
        while line.waiting:
            line.make_room(7)
        assert line.taken == b"".join([*frames, ONE])
        assert connection.frames_out == 21 and connection.queued_frames == connection.queued_bytes == 0


# --- Classes and limits ----------------------------------------------------------------------------


def test_the_latest_replaces_its_forerunner_in_place() -> None:
    turns, line, connection = connect()
    connection.push_latest("typing:ann", ONE)
    connection.push(TWO)
    connection.push_latest("typing:bob", THREE)
    connection.push_latest("typing:ann", FOUR)
    assert connection.queued_frames == 3 and connection.queued_bytes == len(FOUR + TWO + THREE)
    turns.turn()
    assert line.taken == FOUR + TWO + THREE
    connection.push_latest("typing:ann", ONE)
    turns.turn()
    assert line.writes[1:] == [ONE]


@pytest.mark.parametrize("room", range(len(ONE + TWO + THREE) + 1))
def test_the_latest_is_replaced_only_while_no_byte_of_it_was_sent(room: int) -> None:
    turns, line, connection = connect(room)
    connection.push(ONE)
    connection.push_latest("typing", TWO)
    connection.push(THREE)
    turns.turn()
    connection.push_latest("typing", FOUR)
    turns.turn()
    if line.waiting:
        line.make_room(1 << 20)
    untouched = room <= len(ONE)
    assert line.taken == (ONE + FOUR + THREE if untouched else ONE + TWO + THREE + FOUR)


def test_a_tight_queue_drops_what_may_be_dropped_first() -> None:
    turns, line, connection = connect(0, ConnectionLimits(queue_bytes=0, queue_frames=10))
    connection.push_latest("typing", ONE)
    for _ in range(4):
        connection.push(TWO)
    turns.turn()
    connection.push_latest("presence", ONE)
    assert (connection.queued_frames, connection.frames_dropped) == (5, 1)
    for _ in range(6):
        connection.push(TWO)
    assert (connection.queued_frames, connection.frames_dropped, connection.fenced) == (10, 2, False)
    line.make_room(1 << 20)
    assert line.taken == TWO * 10


@pytest.mark.parametrize("limits", [ConnectionLimits(queue_frames=10, queue_bytes=0), ConnectionLimits(0, 50, 0)])
def test_a_full_queue_ends_the_connection_and_is_not_sent_first(limits: ConnectionLimits) -> None:
    turns, line, connection = connect(0, limits)
    for _ in range(10):
        connection.push(ONE)
    turns.turn()
    connection.push(ONE)
    assert connection.farewell == TOO_SLOW and connection.state is State.LEAVING
    assert connection.queued_frames == 1
    line.make_room(1 << 20)
    assert line.taken == close_frame(4000, "too_slow")


def test_a_burst_in_one_turn_is_not_the_peers_fault() -> None:
    turns, line, connection = connect(limits=ConnectionLimits(queue_bytes=100, queue_frames=10))
    for _ in range(100):
        connection.push(ONE)
    connection.push_many(ONE * 50, 50)
    turns.turn()
    assert line.taken == ONE * 150 and not connection.fenced


def test_a_burst_that_finds_the_kernel_full_is() -> None:
    turns, _line, connection = connect(20, ConnectionLimits(queue_bytes=0, queue_frames=10))
    for _ in range(100):
        connection.push(ONE)
    assert connection.farewell == TOO_SLOW and connection.queued_frames <= 2
    turns.turn()


def test_a_replay_may_be_longer_than_the_queue_until_it_was_read() -> None:
    turns, line, connection = connect(room=0)
    replay = text_frame(b"m" * (3 * LIMITS.queue_bytes))
    connection.push_replay(replay, 1)
    live = text_frame(b"live")
    connection.push(live)
    turns.turn()
    assert connection.state is State.OPEN
    line.make_room(1 << 30)
    turns.turn()
    assert line.taken == replay + live
    line.room = 0
    connection.push(replay)
    turns.turn()
    assert connection.farewell == TOO_SLOW, "what was allowed for the replay is not allowed for good"


def test_no_limit_means_no_limit() -> None:
    _turns, _line, connection = connect(0, ConnectionLimits(0, 0, 0))
    for _ in range(10_000):
        connection.push(ONE)
    assert not connection.fenced and connection.queued_frames == 10_000


# --- Revocation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [True, False])
def test_after_drop_queued_only_the_rest_of_a_started_frame_leaves(joined: bool) -> None:
    frames = [*texts("a", "bb"), text_frame(b"c" * 200), text_frame(b"d" * 70_000), *texts("", "e")]
    everything = b"".join(frames)
    limits = ConnectionLimits(queue_bytes=0)
    positions = [*range(220), *range(len(everything) - 5, len(everything))]
    for position in positions:
        turns, line, connection = connect(position, limits)
        if joined:
            connection.push_many(everything, len(frames))
        else:
            for frame in frames:
                connection.push(frame)
        turns.turn()
        whole, end = cut(everything, position)
        started = end > position
        assert connection.drop_queued() == len(frames) - whole - started
        assert connection.drop_queued() == 0
        assert connection.queued_frames == started
        connection.hang_up(REVOKED, ONE)
        if line.waiting:
            line.make_room(1 << 20)
        line.room = 1 << 20
        turns.turn()
        assert line.taken == everything[:end] + ONE + close_frame(4403, "forbidden")


def test_drop_queued_before_the_turn_ends_leaves_nothing_to_send() -> None:
    turns, line, connection = connect()
    connection.push_many(ONE + TWO, 2)
    connection.push_latest("typing", THREE)
    assert connection.drop_queued() == 3
    connection.push(FOUR)
    turns.turn()
    assert line.taken == FOUR
    assert connection.frames_dropped == 3 and connection.frames_out == 1


OPERATIONS = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 300)),
    st.tuples(st.just("push many"), st.lists(st.integers(0, 200), min_size=1, max_size=5)),
    st.tuples(st.just("push latest"), st.sampled_from("ab")),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("make room"), st.integers(1, 400)),
    st.tuples(st.just("drop"), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=40), st.integers(0, 500))
def test_whatever_happens_whole_frames_arrive_in_order(operations: list[tuple[str, Any]], room: int) -> None:
    turns, line, connection = connect(room, ConnectionLimits(queue_bytes=0, queue_frames=0))
    numbers = itertools.count(1)
    must_come: list[int] = []
    dropped_to = 0

    def numbered(length: int) -> bytes:
        must_come.append(next(numbers))
        return text_frame(b"%d " % must_come[-1] + b"x" * length)

    for what, argument in operations:
        if what == "push":
            connection.push(numbered(argument))
        elif what == "push many":
            connection.push_many(b"".join(map(numbered, argument)), len(argument))
        elif what == "push latest":
            connection.push_latest(argument, text_frame(b"%d latest" % next(numbers)))
        elif what == "turn":
            turns.turn()
        elif what == "drop":
            connection.drop_queued()
            assert connection.queued_frames <= 1
            dropped_to = len(must_come)
        elif line.waiting:
            line.make_room(argument)
    turns.turn()
    while line.waiting:
        line.make_room(1 << 20)
    arrived = [int(payload.split()[0]) for payload in payloads(line.taken)]
    assert arrived == sorted(set(arrived)) or any(what == "push latest" for what, _ in operations)
    assert len(set(arrived)) == len(arrived) == connection.frames_out
    must_arrive = must_come[dropped_to:]
    assert [number for number in arrived if number in must_arrive] == must_arrive
    assert connection.bytes_out == len(line.taken)
    assert (connection.queued_frames, connection.queued_bytes, connection.fenced) == (0, 0, False)


def payloads(stream: bytes) -> Iterator[bytes]:
    """The payloads of the server's frames; fails when they do not end where the stream ends."""
    while stream:
        start = 2 if stream[1] < 126 else 4
        length = stream[1] if start == 2 else int.from_bytes(stream[2:4], "big")
        assert stream[0] == 0x81 and len(stream) >= start + length
        yield stream[start : start + length]
        stream = stream[start + length :]


# --- The way out -----------------------------------------------------------------------------------


def test_hanging_up_says_the_last_words_once_and_waits_for_the_answer() -> None:
    turns, line, connection = connect()
    connection.push(ONE)
    connection.hang_up(REVOKED, TWO)
    connection.hang_up(NORMAL, THREE)
    connection.push(FOUR)
    connection.push_many(FOUR, 1)
    connection.push_latest("typing", FOUR)
    assert connection.fenced and connection.state is State.LEAVING and connection.farewell == REVOKED
    turns.turn()
    assert line.writes == [ONE + TWO + close_frame(4403, "forbidden")]
    assert line.finished == [False]
    connection.peer_left(4403)
    assert line.finished == [False, True] and connection.state is State.GONE
    turns.wait(GOODBYE_SECONDS)
    assert line.aborted == 0 and line.taken.count(close_frame(4403, "forbidden")) == 1


@pytest.mark.parametrize("code", [1000, 4999, None])
def test_the_peers_close_frame_is_answered_with_its_own_code(code: int | None) -> None:
    turns, line, connection = connect()
    connection.push(ONE)
    connection.peer_left(code, "bye")
    connection.push(TWO)
    assert connection.fenced
    turns.turn()
    assert line.taken == ONE + close_frame(code) and line.finished == [True]
    assert connection.farewell is not None and connection.farewell.close_code == (code or 1005)


def test_a_peer_that_answers_before_all_was_sent_gets_the_rest() -> None:
    turns, line, connection = connect(2)
    connection.push(ONE)
    connection.hang_up(GOING_AWAY)
    turns.turn()
    connection.peer_left(1001)
    assert line.finished == []
    line.make_room(1 << 20)
    assert line.taken == ONE + close_frame(1001, "going away") and line.finished == [True]


def test_a_frozen_peer_is_gone_after_the_goodbye() -> None:
    turns, line, connection = connect(3)
    connection.push(ONE)
    connection.hang_up(GOING_AWAY)
    turns.turn()
    turns.wait(GOODBYE_SECONDS - 0.1)
    assert line.aborted == 0
    turns.wait(0.2)
    assert line.aborted == 1 and connection.state is State.GONE


def test_one_timer_ends_all_goodbyes_each_at_its_time() -> None:
    turns = Turns()
    lines = [Line() for _ in range(4)]
    for line in lines:
        line.connection = Connection(line, turns.flusher, LIMITS, turns.now)
        line.connection.hang_up(GOING_AWAY)
        turns.wait(0.5)
        assert len(turns.timers) == 1
    lines[1].connection.lost()
    turns.wait(GOODBYE_SECONDS - 2)
    assert [line.aborted for line in lines] == [1, 0, 0, 0]
    turns.wait(1)
    assert [line.aborted for line in lines] == [1, 0, 1, 0]
    turns.flusher.close()
    assert [line.aborted for line in lines] == [1, 0, 1, 1]


def test_undo_runs_once_last_first_and_past_failures(caplog: pytest.LogCaptureFixture) -> None:
    _turns, _line, connection = connect()
    done: list[str] = []
    connection.undo(lambda: done.append("first"))
    connection.undo(lambda: done.append("second"))
    connection.undo(lambda: 1 // 0)
    connection.undo(lambda: done.append("third"))
    connection.hang_up(NORMAL)
    assert done == []
    connection.lost()
    connection.lost()
    connection.abort()
    assert done == ["third", "second", "first"]
    assert len(caplog.records) == 1 and "ZeroDivisionError" in caplog.text
    connection.undo(lambda: done.append("late"))
    assert done[3:] == ["late"]


def test_a_broken_line_never_runs_undo_while_somebody_pushes() -> None:
    turns, line, connection = connect(limits=ConnectionLimits(queue_frames=2))
    done: list[str] = []
    connection.undo(lambda: done.append("undone"))
    line.broken = ConnectionResetError()
    for _ in range(5):
        connection.push(ONE)
    assert done == [] and connection.fenced
    turns.turn()
    turns.turn()
    assert done == ["undone"] and connection.state is State.GONE
    connection.push(ONE)
    connection.peer_left(1000)
    connection.hang_up(NORMAL)
    turns.turn()
    assert line.taken == b""


def test_what_was_queued_when_tcp_ended_is_forgotten() -> None:
    turns, line, connection = connect()
    connection.push(ONE)
    connection.lost()
    assert (connection.queued_frames, connection.queued_bytes) == (0, 0)
    turns.turn()
    turns.flusher.close()
    assert line.taken == b""


def test_signs_of_life_and_names() -> None:
    turns, line, connection = connect()
    connection.heard(17, turns.now + 5)
    assert (connection.heard_at, connection.bytes_in) == (turns.now + 5, 17)
    others = {Connection(line, turns.flusher, LIMITS, turns.now).id for _ in range(100)}
    assert len(others) == 100 and connection.id in repr(connection)
    assert connection.identity is None and connection.context is None


# --- Rates -----------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_then_its_rate_and_says_when() -> None:
    bucket, now = TokenBucket(20, 40), 5_000.0
    assert [bucket.take(now) for _ in range(40)] == [0.0] * 40
    assert bucket.take(now) == pytest.approx(0.05)
    assert bucket.take(now + 0.03) == pytest.approx(0.02)
    assert bucket.take(now + 0.05) == 0.0
    taken = sum(bucket.take(now + 0.05 + n / 1000) == 0.0 for n in range(1, 1001))
    assert taken == 20
    assert [bucket.take(now + 100) for _ in range(41)].count(0.0) == 40


def test_a_refused_take_costs_nothing() -> None:
    bucket = TokenBucket(1, 1)
    assert bucket.take(10) == 0.0
    assert [bucket.take(10.5) for _ in range(100)] == pytest.approx([0.5] * 100)
    assert bucket.take(11) == 0.0


def test_a_rate_of_zero_is_no_limit_and_a_burst_of_zero_is_one() -> None:
    unlimited, single = TokenBucket(0, 0), TokenBucket(2, 0)
    assert not any(unlimited.take(1) for _ in range(10_000))
    assert [single.take(1), single.take(1)] == [0.0, 0.5]
