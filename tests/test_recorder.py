"""The flight recorder: types, sizes and times, never content; for whom it concerns, and for administrators."""

from __future__ import annotations

import itertools
import json

import pytest

from heartlink.connection import KINDS, Archive, Arrival, Connection, ConnectionLimits, records_of, take_snapshot
from heartlink.connection.archive import KEPT_CONNECTIONS, KEPT_PER_PERSON, KEPT_SECONDS
from heartlink.connection.lag import LAG_MOST_MS, lag_of, stamped_ping
from heartlink.connection.recorder import ENTRIES_KEPT, RING_BYTES, SPARE_BYTES, latest_of
from heartlink.errors import GOING_AWAY, TOO_SLOW
from heartlink.frames import text_frame
from tests.administrators import administrator
from tests.conftest import Serve
from tests.raw_peer import until
from tests.test_connection import Line, Turns

PATIENCE_SECONDS = 30.0

SAID = text_frame(b'{"type":"chat_message","message":{"content":"a secret"}}')
TYPED = text_frame(b'{"type":"user_typing","username":"ann"}')
REFUSED = text_frame(b'{"type":"error","error_code":"rate_limited","message":"slow down"}')
STRANGE = text_frame(b'{"type":"no such thing"}')


def seen(connection: Connection) -> list[tuple[str, str, int, int]]:
    """Way, kind, frames and what waited, of every entry."""
    rows = records_of(connection.recording)
    return [("out" if row.is_out else "in", row.kind, row.frames, row.queued_frames) for row in rows]


def connect(turns: Turns, room: int = 1 << 30) -> tuple[Connection, Line]:
    line = Line(room)
    line.connection = Connection(line, turns.flusher, ConnectionLimits(), turns.now)
    return line.connection, line


# --- One connection -----------------------------------------------------------------------------------


def test_what_went_over_is_told_by_type_and_size_and_nothing_else() -> None:
    turns = Turns()
    connection, _ = connect(turns)
    connection.push(SAID)
    turns.turn()
    connection.push_many(SAID + SAID + TYPED, 3)
    connection.push(STRANGE)
    turns.turn()
    connection.note_read(KINDS.index("message"), 40)
    assert seen(connection) == [
        ("out", "chat_message", 1, 0),
        ("out", "chat_message", 2, 0),
        ("out", "user_typing", 1, 0),
        ("out", "other", 1, 0),
        ("in", "message", 1, 0),
    ]
    first = next(records_of(connection.recording))
    assert first.bytes == len(SAID) - 2
    assert b"secret" not in bytes(connection.recording)


def test_a_frame_partly_sent_counts_once_and_what_waits_is_told() -> None:
    turns = Turns()
    connection, line = connect(turns, room=len(SAID) + 5)
    for frame in (SAID, SAID, TYPED):
        connection.push(frame)
    turns.turn()
    assert seen(connection) == [("out", "chat_message", 1, 2), ("out", "chat_message", 1, 2)]
    line.make_room(10_000)
    assert seen(connection)[2:] == [("out", "user_typing", 1, 0)]
    totals = {row.kind: (row.frames, row.bytes) for row in turns.flusher.ledger.totals_out()}
    assert totals == {"chat_message": (2, 2 * (len(SAID) - 2)), "user_typing": (1, len(TYPED) - 2)}


@pytest.mark.parametrize("step", [1, 7, 50, 130])
def test_however_it_is_cut_each_frame_is_noted_once(step: int) -> None:
    turns = Turns()
    connection, line = connect(turns, room=step)
    for _ in range(3):
        connection.push_many(SAID + TYPED, 2)
        connection.push(SAID)
    turns.turn()
    while line.waiting is not None:
        line.make_room(step)
    totals = {row.kind: (row.frames, row.bytes) for row in turns.flusher.ledger.totals_out()}
    assert totals == {"chat_message": (6, 6 * (len(SAID) - 2)), "user_typing": (3, 3 * (len(TYPED) - 2))}
    assert sum(frames for _, _, frames, _ in seen(connection)) == connection.frames_out == 9


def test_the_ring_keeps_the_latest_and_stays_within_its_size() -> None:
    turns = Turns()
    connection, _ = connect(turns)
    for number in range(3 * ENTRIES_KEPT):
        connection.push(SAID if number < 3 * ENTRIES_KEPT - 1 else TYPED)
        turns.now += 0.5
        turns.turn()
        assert len(connection.recording) <= RING_BYTES + SPARE_BYTES
    rows = list(records_of(latest_of(connection.recording)))
    assert len(rows) == ENTRIES_KEPT and rows[-1].kind == "user_typing"
    assert [later.at_ms - row.at_ms for row, later in itertools.pairwise(rows)] == [500] * (ENTRIES_KEPT - 1)
    assert turns.flusher.ledger.age_seconds(rows[0].at_ms) == (ENTRIES_KEPT - 1) * 0.5


def test_one_frame_for_many_is_counted_for_each() -> None:
    turns = Turns()
    members = [connect(turns)[0] for _ in range(7)]
    for member in members:
        member.push_many(SAID + SAID, 2)
    members[0].push(REFUSED)
    turns.turn()
    totals = {row.kind: row.frames for row in turns.flusher.ledger.totals_out()}
    assert totals == {"chat_message": 14, "error": 1}
    assert turns.flusher.ledger.errors_out() == {"rate_limited": 1}


def test_how_it_ended_is_counted_by_code_and_by_whom() -> None:
    turns = Turns()
    ends = {}
    for name in ("server", "peer", "strange", "lost"):
        connection, _line = connect(turns)
        connection.push(SAID)
        if name == "server":
            connection.hang_up(TOO_SLOW)
        elif name == "peer":
            connection.peer_left(1000)
        elif name == "strange":
            connection.peer_left(4999)
        connection.lost()
        ends[name] = take_snapshot(connection, Arrival("::1", 0), closed_ms=9)
    assert turns.flusher.ledger.closes == {(4000, "server"): 1, (1000, "peer"): 1, (0, "peer"): 1, (1006, "nobody"): 1}
    slow = ends["server"]
    assert (slow.close_code, slow.close_reason, slow.queued_frames) == (4000, "too_slow", 1)


def test_a_pong_tells_the_lag_unless_it_answers_nothing() -> None:
    ping = stamped_ping(100.0)
    assert lag_of(ping[2:], 100.25) == 250
    assert lag_of(ping[2:], 99.0) is None, "from the future"
    assert lag_of(ping[2:], 101.0 + LAG_MOST_MS / 1000) is None
    assert lag_of(b"", 100.0) is None and lag_of(b"x" * 20, 100.0) is None


def test_the_archive_is_bounded_in_number_for_each_person_and_in_time() -> None:
    turns, archive = Turns(), Archive()

    def closed(address: str, at_ms: int) -> str:
        connection, _ = connect(turns)
        connection.lost()
        archive.add(take_snapshot(connection, Arrival(address, 0), closed_ms=at_ms))
        return connection.id

    ids = [closed("10.0.0.1", 1000) for _ in range(KEPT_PER_PERSON + 5)]
    assert [archive.get(id) is not None for id in ids] == [False] * 5 + [True] * KEPT_PER_PERSON
    others = [closed(f"10.1.{number}.1", 2000) for number in range(KEPT_CONNECTIONS)]
    assert len(archive) == KEPT_CONNECTIONS and archive.get(ids[-1]) is None
    assert archive.latest(1)[0].id == others[-1]
    archive.forget_old(2000 + KEPT_SECONDS * 1000)
    assert len(archive) == 0


# --- Whose it is ------------------------------------------------------------------------------------------


@pytest.mark.gen_test(timeout=60)
async def test_a_recording_is_for_whom_it_concerns_and_for_administrators(serve: Serve) -> None:
    server = await serve()
    root = await administrator(server)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(name="Tea", members=["bob"])
    chair = await ann.sits_in(room)
    await chair.says("very secret")
    mine = (await ann.asks("GET", "/api/me/connections")).json
    (one,) = mine["connections"]
    assert mine["closed"] == [] and mine["total"] == 1
    assert (one["kind"], one["route"], one["room_id"]) == ("chat", "/ws/chat/{room_id}/", room)

    path = f"/api/me/connections/{one['id']}/recording"
    answer = await ann.asks("GET", path)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="heartlink-connection-{one["id"]}.json"'
    types = [(frame["direction"], frame["type"]) for frame in answer.json["frames"]]
    assert types[0] == ("out", "connection_established") and ("in", "message") in types
    assert types.index(("in", "message")) < types.index(("out", "chat_message"))
    assert "secret" not in json.dumps(answer.json)

    assert (await bob.asks("GET", path)).status == 404, "somebody else's is as if it were not there"
    assert (await bob.asks("GET", f"/api/connections/{one['id']}/recording")).status == 403
    assert (await root.asks("GET", f"/api/connections/{one['id']}/recording")).json["connection"]["username"] == "ann"

    # An administrator ends it; how it ended is remembered.
    assert (await root.asks("DELETE", f"/api/connections/{one['id']}")).status == 204
    assert await chair.is_closed() == (GOING_AWAY.close_code, GOING_AWAY.reason)
    await until(lambda: not len(server.house.hub), PATIENCE_SECONDS)
    assert (await root.asks("DELETE", f"/api/connections/{one['id']}")).status == 404
    (closed,) = (await ann.asks("GET", "/api/me/connections")).json["closed"]
    assert (closed["id"], closed["close_code"], closed["ended_by"]) == (one["id"], 1001, "server")
    last = (await ann.asks("GET", path)).json["frames"][-1]
    assert last["type"] == "ws_close"


@pytest.mark.gen_test(timeout=60)
async def test_whoever_looks_sees_the_lag_and_finds_by_name_room_and_address(serve: Serve) -> None:
    server = await serve()
    root = await administrator(server)
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    chair = await ann.sits_in(room)
    await server.stranger().listens()
    await root.asks("GET", "/api/connections")
    # The ping went out before the answer to the question, and the pong before this frame.
    await chair.asks({"type": "ping", "timestamp": 1})
    for wanted, expected in (("ANN", 1), (room[:8], 1), ("permissions", 1), ("127.0.0.1", 2), ("nobody", 0)):
        found = (await root.asks("GET", f"/api/connections?q={wanted}")).json
        assert (len(found["connections"]), found["total"]) == (expected, 2), wanted
    (one,) = (await root.asks("GET", "/api/connections?q=ann")).json["connections"]
    assert 0 <= one["lag_ms"] < 60_000
    assert one["last_frame"]["type"] in KINDS
