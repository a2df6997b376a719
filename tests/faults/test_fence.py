"""A commit of the policy against a flood: nothing protected passes after it, nobody slips in (PROTOCOL 4.4)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from heartlink.chat import Peer
from heartlink.chat.arrivals import Resume
from heartlink.connection import Connection, ConnectionLimits
from heartlink.errors import REVOKED, SIGNED_OUT, Refusal
from heartlink.handlers.sockets import ChatSocketHandler
from heartlink.house import House
from heartlink.model import Grant, Group, Identity, Role, RoomId, SessionId, Subject, UserId
from heartlink.policy import Commit, Step
from heartlink.rights import guest_access_grants, room_scope
from heartlink.rights.changes import (
    AnyChange,
    DropGrant,
    PutGrant,
    PutGroup,
    PutRole,
    SetGroupMembers,
    SetMember,
    SetRoles,
)
from heartlink.rooms import RECENT_MESSAGES
from tests.actors import Server
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=150)

SENDERS = 200
USERS = 36
ROOMS = 4
REVOCATIONS = 1000
FRAMES_OF_ANYBODY = ("error", "access_revoked")
FORBIDDEN = (4403, "forbidden")


def frames_in(data: bytes) -> list[tuple[int, int, bytes]]:
    """Server frames with the place where each begins: (offset, opcode, payload); an unfinished one is left out."""
    found: list[tuple[int, int, bytes]] = []
    offset = 0
    while offset + 2 <= len(data):
        size, head = data[offset + 1], 2
        if size >= 126:
            head += 2 if size == 126 else 8
            size = int.from_bytes(data[offset + 2 : offset + head], "big")
        if offset + head + size > len(data):
            break
        found.append((offset, data[offset] & 15, data[offset + head : offset + head + size]))
        offset += head + size
    return found


class Wire:
    """The other end of a connection, in memory: takes what it is given, in part or later when it feels like it."""

    def __init__(self, chance: random.Random) -> None:
        self.taken = bytearray()
        self.send_now = self._take
        self.connection: Connection
        self._chance = chance

    def _take(self, data: bytes) -> int:
        mood = self._chance.random()
        if mood < 0.1:
            raise BlockingIOError
        size = len(data) if mood < 0.8 else self._chance.randint(1, len(data))
        self.taken += data[:size]
        return size

    def when_writable(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(self._chance.random() * 0.01, callback)

    def finish(self, answered: bool) -> None:
        self.connection.lost()

    def abort(self) -> None:
        self.connection.lost()


class WatchedConnection(Connection):
    """A connection that has everything looked at which is queued on it."""

    __slots__ = ("watch",)
    watch: Callable[[Connection, bytes], None]

    def push(self, frame: bytes) -> None:
        self.watch(self, frame)
        super().push(frame)

    def push_many(self, blob: bytes, frames: int) -> None:
        self.watch(self, blob)
        super().push_many(blob, frames)

    def push_latest(self, key: str, frame: bytes) -> None:
        self.watch(self, frame)
        super().push_latest(key, frame)


class Seat:
    """Where one sender sits: a user (None: nobody signed in), a room, and a connection when they are in."""

    def __init__(self, user_id: UserId | None, room_id: RoomId) -> None:
        self.user_id = user_id
        self.room_id = room_id
        self.connection: WatchedConnection | None = None
        self.wire: Wire | None = None
        self.cut: int | None = None
        """How much the other end had when the right to read was lost."""

    @property
    def peer(self) -> Peer | None:
        """The open place in the room."""
        peer = self.connection.context if self.connection and not self.connection.fenced else None
        return peer if isinstance(peer, Peer) and peer.attached else None


class Flood:
    """Two hundred senders in a few rooms, of whom rights are taken; everything wrong is written down."""

    def __init__(self, house: House, users: list[UserId], seed: int) -> None:
        self.house = house
        self.chance = random.Random(seed)
        self.users = users
        self.rooms = [RoomId(f"room-{number}") for number in range(ROOMS)]
        self.identities: dict[UserId, Identity] = {}
        self.seats: list[Seat] = []
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.over = False
        self._serial = 0
        self._ended: set[SessionId] = set()
        self._known: dict[tuple[UserId | None, RoomId, str], bool] = {}
        self._known_version = -1

    def may(self, user_id: UserId | None, room_id: RoomId, permission: str) -> bool:
        """What the policy says now; remembered until its next version, for it is asked for every frame."""
        if self._known_version != self.house.desk.version:
            self._known_version = self.house.desk.version
            self._known.clear()
        asked = (user_id, room_id, permission)
        if asked not in self._known:
            self._known[asked] = self.house.desk.policy.rights(user_id).allows(permission, room_scope(room_id))
        return self._known[asked]

    # Watching

    def watch(self, connection: Connection, blob: bytes) -> None:
        """Called for everything that is about to be queued."""
        peer = connection.context
        if connection.fenced or not isinstance(peer, Peer):
            return
        self.counts["pushed"] += 1
        is_over = connection.identity is not None and connection.identity.session_id in self._ended
        if is_over or not self.may(peer.user_id, peer.live.id, "chat.read"):
            kinds = {msgspec.json.decode(payload)["type"] for _, opcode, payload in frames_in(blob) if opcode == 1}
            if kinds - set(FRAMES_OF_ANYBODY):
                self.wrong.append(f"queued {kinds} for {peer.user_id} in {peer.live.id}")

    def judge(self, commit: Commit, steps: list[Step]) -> None:
        """After everybody else has acted on a commit, in the same turn: whoever lost the right is on their way out."""
        touched = {step.delta.who for step in steps}
        for seat in self.seats:
            connection = seat.connection
            if connection is None or seat.user_id not in touched or seat.cut is not None or seat.wire is None:
                continue
            peer = connection.context
            is_in = isinstance(peer, Peer) and peer.attached
            if is_in and not self.may(seat.user_id, seat.room_id, "chat.read"):
                seat.cut = len(seat.wire.taken)
                self.counts["cut off"] += 1
                if not connection.fenced:
                    self.wrong.append(f"{seat.user_id} still sits in {seat.room_id} after version {commit.version}")

    def inspect(self, seat: Seat) -> None:
        """What the other end of a connection that is over got to see."""
        assert seat.wire is not None and seat.connection is not None
        frames = frames_in(bytes(seat.wire.taken))
        if seat.cut is None or seat.connection.farewell != REVOKED:
            return
        begun_after = [
            msgspec.json.decode(payload)["type"] if opcode == 1 else f"opcode {opcode}"
            for offset, opcode, payload in frames
            if offset >= seat.cut
        ]
        if begun_after not in (["access_revoked", "opcode 8"], ["access_revoked"], []):
            self.wrong.append(f"sent after the end of the right: {begun_after}")
        elif begun_after:
            self.counts["told why"] += 1

    # Coming in, through the handler's own steps

    def _left_off(self, room_id: RoomId) -> Resume:
        """Some messages ago: at times so many that they have to be read from the store, which takes a while."""
        live = self.house.live_rooms.loaded(room_id)
        last_seq = live.state.last_seq if live else 0
        return Resume(max(0, last_seq - self.chance.choice((0, 5, 20, RECENT_MESSAGES + 20))), None)

    async def sit_down(self, seat: Seat) -> None:
        """Knock, wait a while, come in: rights may be lost at any moment of it."""
        identity = self.identities.get(seat.user_id) if seat.user_id else None
        resume = self.chance.choice((None, self._left_off(seat.room_id)))
        handler: Any = SimpleNamespace(
            house=self.house,
            identity=identity,
            client_address="",
            route=ChatSocketHandler.route,
            _read_resume=lambda: resume,
        )
        try:
            await ChatSocketHandler.enter(handler, seat.room_id)
        except Refusal:
            self.counts["refused at the door"] += 1
            return
        for _ in range(self.chance.randint(0, 6)):
            await asyncio.sleep(0)
        wire = Wire(self.chance)
        connection = WatchedConnection(wire, self.house.hub.flusher, ConnectionLimits(0, 0, 0), time.monotonic())
        connection.watch = self.watch
        wire.connection = connection
        seat.connection, seat.wire, seat.cut = connection, wire, None
        ChatSocketHandler.opened(handler, connection)
        self.counts["came in"] += 1

    async def keep_seats_taken(self) -> None:
        while not self.over:
            for seat in self.seats:
                if seat.connection is None or seat.connection.fenced:
                    if seat.connection is not None:
                        self.inspect(seat)
                        seat.connection = None
                    await self.sit_down(seat)
            await asyncio.sleep(0.001)

    # Talking

    async def talk(self) -> None:
        while not self.over:
            for seat in self.chance.sample(self.seats, 3):
                peer = seat.peer
                if peer is not None:
                    self._say(seat, peer)
            # As much as a busy server can take, so that commits come between messages and not after thousands.
            await asyncio.sleep(0.002)

    def _say(self, seat: Seat, peer: Peer) -> None:
        self._serial += 1
        client_id = f"m{self._serial}"
        may_send = self.may(seat.user_id, seat.room_id, "chat.send")
        answers: list[bytes] = []
        connection = cast(WatchedConnection, peer.connection)
        before, connection.watch = connection.watch, lambda _, blob: answers.append(blob)
        text = msgspec.json.encode({"type": "message", "content": client_id, "client_id": client_id})
        self.house.chat_dispatcher.received(peer, text)
        connection.watch = before
        if may_send:
            self.counts["said"] += 1
            return
        self.refused.add(client_id)
        self.counts["refused to say"] += 1
        frames = [msgspec.json.decode(payload) for blob in answers for _, _, payload in frames_in(blob)]
        expected = "forbidden" if seat.user_id else "unauthenticated"
        is_said_why = len(frames) == 1 and frames[0]["error_code"] == expected and frames[0]["client_id"] == client_id
        if not is_said_why or (seat.user_id and not frames[0]["decision_id"]):
            self.wrong.append(f"{seat.user_id} may not send and got {frames}")

    # Taking rights away, and giving them back

    async def commit(self, *changes: AnyChange) -> None:
        await self.house.desk.commit(lambda policy: changes, by=None, why="a whim")

    async def furnish(self) -> None:
        """Members, a role that reads everywhere, a group, guests; seats for all of them."""
        members = [SetMember(room, user, "member", 1) for room in self.rooms for user in self.users[:24]]
        roles = [SetRoles(user, ("reader",)) for user in self.users[24:30]]
        guests = [PutGrant(grant) for grant in guest_access_grants(self.rooms[0])]
        crew = [
            PutGrant(self._grant("crew", Subject("group", "crew"), permission, "*", "allow"))
            for permission in ("chat.read", "chat.send")
        ]
        await self.commit(
            PutRole(Role(key="reader", name="Reader", permissions=("chat.read", "chat.send"))),
            PutGroup(Group(key="crew", name="Crew")),
            SetGroupMembers("crew", tuple(self.users[30:])),
            *members,
            *roles,
            *guests,
            *crew,
        )
        sitting: list[UserId | None] = [*self.users, None]
        for number in range(SENDERS):
            user_id = sitting[number % len(sitting)]
            room_id = self.rooms[0] if user_id is None else self.rooms[number % ROOMS]
            self.seats.append(Seat(user_id, room_id))

    def _grant(self, name: str, subject: Subject, permission: str, scope: str, effect: str) -> Grant:
        return Grant(
            id=f"{name}:{subject.id}:{permission}:{scope}",
            subject=subject,
            permission=permission,
            scope=scope,
            effect=cast(Any, effect),
        )

    async def take_something_away(self) -> None:
        """One revocation of some kind, a little time, and the right back."""
        deeds = (
            self._leave, self._ban, self._ban, self._mute, self._mute, self._demote, self._strip,
            self._disband, self._close, self._end_session, self._deactivate,
        )  # fmt: skip
        deed = self.chance.choice(deeds)
        self.counts[deed.__name__.strip("_")] += 1
        await deed()

    async def _pause(self) -> None:
        await asyncio.sleep(self.chance.choice((0, 0, 0.001, 0.002)))

    async def _for_a_while(self, taken: AnyChange, back: AnyChange) -> None:
        await self.commit(taken)
        await self._pause()
        await self.commit(back)

    async def _leave(self) -> None:
        room, user = self.chance.choice(self.rooms), self.chance.choice(self.users[:24])
        await self._for_a_while(SetMember(room, user, None), SetMember(room, user, "member", 1))

    async def _deny(self, permission: str) -> None:
        scope = room_scope(self.chance.choice(self.rooms))
        subject = Subject("user", self.chance.choice(self.users))
        grant = self._grant("deny", subject, permission, scope, "deny")
        await self._for_a_while(PutGrant(grant), DropGrant(grant.id))

    async def _ban(self) -> None:
        await self._deny("chat.read")

    async def _mute(self) -> None:
        await self._deny("chat.send")

    async def _demote(self) -> None:
        user = self.chance.choice(self.users[24:30])
        await self._for_a_while(SetRoles(user, ()), SetRoles(user, ("reader",)))

    async def _strip(self) -> None:
        whole = Role(key="reader", name="Reader", permissions=("chat.read", "chat.send"))
        await self._for_a_while(PutRole(Role(key="reader", name="Reader")), PutRole(whole))

    async def _disband(self) -> None:
        await self._for_a_while(SetGroupMembers("crew", ()), SetGroupMembers("crew", tuple(self.users[30:])))

    async def _close(self) -> None:
        guest, everyone = guest_access_grants(self.rooms[0])
        await self.commit(DropGrant(guest.id), DropGrant(everyone.id))
        await self._pause()
        await self.commit(PutGrant(guest), PutGrant(everyone))

    async def _end_session(self) -> None:
        user = self.chance.choice(self.users)
        await self.house.auth.log_out(self.identities[user])
        self._all_ended(user)
        self.sign_in(user)

    async def _deactivate(self) -> None:
        user = self.chance.choice(self.users)
        await self.house.auth.deactivate(user)
        self._all_ended(user)
        await self._pause()
        await self.house.users.update(user, lambda account: msgspec.structs.replace(account, is_active=True))
        self.sign_in(user)

    def _all_ended(self, user: UserId) -> None:
        self._ended.add(self.identities[user].session_id)
        for connection in self.house.hub.connections_of(user):
            if not connection.fenced or connection.farewell not in (SIGNED_OUT, REVOKED):
                self.wrong.append(f"{user} is out, and a socket of theirs goes on")

    def sign_in(self, user: UserId) -> None:
        """A new session."""
        account = self.house.users.cached(user)
        assert account is not None
        self._serial += 1
        self.identities[user] = Identity(
            user=account,
            session_id=SessionId(f"{user}:{self._serial}"),
            expires_at_ms=self.house.clock() + 3_600_000,
            by="bearer",
        )


async def a_flood(server: Server, seed: int) -> Flood:
    people = [await server.person(f"user{number}") for number in range(USERS)]
    owner = people[0]
    flood = Flood(server.house, [UserId(person.id) for person in people], seed)
    for room_id in flood.rooms:
        await owner.opens(name=room_id, room_id=room_id)
    await flood.furnish()
    for user in flood.users:
        flood.sign_in(user)
    for seat in flood.seats:
        await flood.sit_down(seat)
    server.house.desk.on_commit(flood.judge)
    return flood


async def test_two_hundred_flood_rooms_while_rights_are_taken_a_thousand_times(serve: Serve) -> None:
    server = await serve(
        messages_per_second=0, registrations_per_minute=0, connections_per_address=0, connections_per_user=0
    )
    flood = await a_flood(server, seed=11)
    assert sum(seat.peer is not None for seat in flood.seats) > SENDERS * 0.9, "the flood is not one"
    work = [asyncio.create_task(flood.talk()), asyncio.create_task(flood.keep_seats_taken())]
    for _ in range(REVOCATIONS):
        await flood.take_something_away()
        for task in work:
            assert not task.done(), task.exception()
    flood.over = True
    await asyncio.gather(*work)
    await server.house.journals.settle()
    for seat in flood.seats:
        if seat.connection is not None:
            flood.inspect(seat)
    assert flood.wrong == []
    counts = flood.counts
    told = (counts["told why"], counts["cut off"], counts["refused to say"], counts["refused at the door"])
    assert min(told) > 50 and counts["said"] > 1000 and counts["pushed"] > 20_000, counts
    # Nothing that was refused was stored.
    stored: set[str] = set()
    for room_id in flood.rooms:
        above = 0
        while rows := await server.house.messages.changed_since(room_id, above, 1000):
            stored.update(row.message.client_id or "" for row in rows)
            above = rows[-1].message.rev
    assert stored and not stored & flood.refused
