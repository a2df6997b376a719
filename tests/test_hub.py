"""Who is connected and who listens: counting, limits, ends from outside, topics, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from heartlink.connection import Connection, ConnectionLimits, State
from heartlink.errors import SIGNED_OUT, Refusal
from heartlink.frames import text_frame
from heartlink.hub import Hub, Topic
from heartlink.model import Identity, SessionId, User, UserId

pytestmark = pytest.mark.gen_test

ANN, BOB = UserId("ann"), UserId("bob")


class Wire:
    """An outlet that takes everything, remembers it, and is gone when told."""

    def __init__(self) -> None:
        self.sent = b""
        self.connection: Connection

    def send_now(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def when_writable(self, callback: Callable[[], None]) -> None:
        raise AssertionError("everything is taken at once")

    def finish(self, answered: bool) -> None:
        self.connection.lost()

    def abort(self) -> None:
        self.connection.lost()


class Clock:
    """Epoch milliseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def new_hub(clock: Clock | None = None, *, per_address: int = 0, per_user: int = 0) -> Hub:
    return Hub(
        clock=clock or Clock(),
        heartbeat_seconds=30,
        connections_per_address=per_address,
        connections_per_user=per_user,
    )


def wired(hub: Hub) -> tuple[Wire, Connection]:
    wire = Wire()
    wire.connection = Connection(wire, hub.flusher, ConnectionLimits(), asyncio.get_running_loop().time())
    return wire, wire.connection


def identity(user_id: UserId, session: str = "s", expires_at_ms: int = 9_999_999_999_999) -> Identity:
    user = User(id=user_id, username=user_id, fold=user_id, display_name="", password_hash="", created_at_ms=0)
    return Identity(user=user, session_id=SessionId(f"{user_id}:{session}"), expires_at_ms=expires_at_ms, by="bearer")


def join(
    hub: Hub, user_id: UserId | None = ANN, session: str = "s", *, address: str = "here"
) -> tuple[Wire, Connection]:
    wire, connection = wired(hub)
    hub.register(connection, address, None if user_id is None else identity(user_id, session))
    return wire, connection


async def turn() -> None:
    """Let what was queued in this turn go out."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_connections_are_counted_in_and_count_themselves_out() -> None:
    hub = new_hub()
    (_, first), (_, second), (_, guest) = join(hub), join(hub), join(hub, None)
    assert len(hub) == 3 and hub.is_online(ANN) and not hub.is_online(BOB)
    assert set(hub.connections_of(ANN)) == {first, second}
    first.lost()
    first.lost()
    assert len(hub) == 2 and hub.is_online(ANN)
    second.lost()
    guest.lost()
    assert len(hub) == 0 and not hub.is_online(ANN)
    hub.close()


async def test_limits_count_what_is_open() -> None:
    hub = new_hub(per_address=3, per_user=2)
    _, first = join(hub)
    join(hub, address="elsewhere")
    with pytest.raises(Refusal, match="too_many") as caught:
        hub.admit("somewhere", ANN)
    assert "connections_per_user" in caught.value.fix and caught.value.status == 429
    hub.admit("somewhere", BOB)
    hub.admit("somewhere", None)
    join(hub, BOB)
    join(hub, None)
    with pytest.raises(Refusal, match="too_many") as caught:
        hub.admit("here", None)
    assert "connections_per_address" in caught.value.fix
    first.lost()
    hub.admit("here", ANN)
    hub.close()
    unlimited = new_hub()
    for _ in range(50):
        join(unlimited)
    unlimited.admit("here", ANN)
    unlimited.close()


async def test_a_session_or_a_user_is_ended_in_the_same_turn() -> None:
    hub = new_hub()
    (wire, one), (_, two), (_, other), (_, bob) = join(hub), join(hub), join(hub, session="t"), join(hub, BOB)
    one.push(text_frame(b"secret"))
    hub.end_session(SessionId("ann:s"))
    assert [connection.fenced for connection in (one, two, other, bob)] == [True, True, False, False]
    await turn()
    assert one.farewell == SIGNED_OUT and one.state is State.GONE
    assert b"secret" not in wire.sent, "what was queued is dropped"
    hub.end_session(SessionId("nobody:x"))
    (_, kept) = join(hub, session="kept")
    hub.end_user(ANN, SessionId("ann:kept"))
    assert (other.fenced, kept.fenced, bob.fenced) == (True, False, False)
    hub.end_user(ANN, None)
    assert kept.fenced and not bob.fenced
    hub.close()


async def test_a_token_that_ends_is_announced_once_and_ends_unless_replaced() -> None:
    clock = Clock()
    hub = new_hub(clock)
    ends = clock.now_ms + 100_000
    (wire, ending), (_, renewed), (_, gone) = wired(hub), wired(hub), wired(hub)
    for connection in (ending, renewed, gone):
        hub.register(connection, "here", identity(ANN, expires_at_ms=ends))
    gone.lost()
    hub.identify(renewed, identity(ANN, "new", ends + 200_000))
    clock.now_ms = ends - 60_001
    hub._end_expired()
    await turn()
    assert wire.sent == b""
    clock.now_ms = ends - 60_000
    hub._end_expired()
    hub._end_expired()
    await turn()
    assert wire.sent.count(b"auth_expiring") == 1 and b'"seconds":60' in wire.sent
    clock.now_ms = ends - 1
    hub._end_expired()
    assert not ending.fenced
    clock.now_ms = ends
    hub._end_expired()
    assert ending.farewell == SIGNED_OUT and not renewed.fenced
    assert hub.connections_of(ANN) == [renewed] or ending.fenced
    hub.end_session(SessionId("ann:s"))
    assert not renewed.fenced, "it belongs to its new session only"
    clock.now_ms = ends + 200_000
    hub._end_expired()
    assert renewed.fenced
    hub.close()


async def test_draining_ends_everybody_and_waits_for_them() -> None:
    hub = new_hub()
    wires = [join(hub)[0] for _ in range(5)]
    await asyncio.wait_for(hub.drain(5), 1)
    assert len(hub) == 0
    for wire in wires:
        assert b"going_away" in wire.sent and b"service_restart" in wire.sent
        assert wire.sent.index(b"going_away") < wire.sent.index(b"service_restart")
    await hub.drain(5)
    hub.close()


async def test_a_topic_tells_those_who_listen() -> None:
    hub, topic = new_hub(), Topic()
    (ann_wire, ann), (bob_wire, bob), (guest_wire, guest) = join(hub), join(hub, BOB), join(hub, None)
    for user_id, connection in ((ANN, ann), (BOB, bob), (None, guest)):
        topic.join(user_id, connection)
    assert len(topic) == 3 and set(topic) == {ann, bob, guest} and topic.of_user(BOB) == [bob]
    topic.tell(text_frame(b"to all"))
    topic.tell(text_frame(b"but ann"), ann)
    topic.tell_all_but(text_frame(b"apart") + text_frame(b"together"), 2, {BOB}, {guest})
    topic.tell_latest("k", text_frame(b"old"), bob)
    topic.tell_latest("k", text_frame(b"new"), bob)
    await turn()
    assert ann_wire.sent == text_frame(b"to all") + text_frame(b"apart") + text_frame(b"together") + text_frame(b"new")
    assert bob_wire.sent == text_frame(b"to all") + text_frame(b"but ann")
    assert guest_wire.sent == text_frame(b"to all") + text_frame(b"but ann") + text_frame(b"new")
    topic.leave(BOB, bob)
    topic.leave(BOB, bob)
    assert len(topic) == 2 and topic.of_user(BOB) == []
    hub.close()
