"""Calls in rooms: invite, ring, join, signal, end; what ends a right or a connection ends them (PROTOCOL 3.3)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.calls.board import Board, Running
from heartlink.calls.lines import Lines
from heartlink.calls.machine import Call, is_over, not_in_call, unknown_call
from heartlink.calls.targets import targets_of
from heartlink.calls.voice import Voice
from heartlink.chat import Arrivals, Fence, LiveRoom, LiveRooms, Membership, Peer
from heartlink.chat.talk import require
from heartlink.connection import Connection
from heartlink.errors import Refusal, StoreFault, conflict, not_saved
from heartlink.frames import text_frame
from heartlink.hub import Hub, frame_of
from heartlink.model import User, UserId
from heartlink.protocol import (
    CallCreated,
    CallSignal,
    ChangeCall,
    EndReason,
    Event,
    InviteToCall,
    SignalPeer,
    VideoCallStatus,
    error_frame,
)
from heartlink.rights.deltas import Who
from heartlink.streams import StreamPeer, Streams

RESTART_FACTOR: Final = 3
"""How many times longer both have to come back after the server was away: they wait longer between two tries."""

GOODBYES: Final = (1000, 1005)
"""Close codes by which a client leaves for good; a page that crashes or is reloaded says another one, or none."""


class Calls:
    """Every call of this server. What it decides it decides at once; only the store is waited for."""

    def __init__(
        self,
        live_rooms: LiveRooms,
        lines: Lines,
        voice: Voice,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        ring_seconds: float,
        resume_seconds: float,
    ) -> None:
        self.board = Board()
        self._live_rooms = live_rooms
        self._lines = lines
        self._voice = voice
        self._clock = clock
        self._spawn = spawn
        self._ring_seconds = ring_seconds
        self._resume_seconds = resume_seconds
        self._is_pausing = False

    def follow(self, arrivals: Arrivals, streams: Streams, hub: Hub, membership: Membership, fence: Fence) -> None:
        """Hear of whoever comes, and of what ends a call: a right, a session, a room."""
        arrivals.on_arrival.append(self.arrived)
        streams.on_arrival.append(self.stream_arrived)
        hub.on_revoked.append(self.signed_out)
        membership.on_end.append(self.room_ends)
        fence.follow(self.judge)

    async def open(self) -> None:
        """Take up the calls that ran when the server went down: their people have a while to come back."""
        for running, stored in await self._lines.restore(self.board):
            call = running.call
            if running.live.state.status == "ended":
                self._end(running, "room_ended", at_ms=stored.seen_at_ms)
                continue
            if call.is_ringing:
                rung_seconds = (self._clock() - call.started_at_ms) / 1000
                self._let_ring(running, max(0.0, self._ring_seconds - rung_seconds))
                running.has_rung = True
            for user_id in call.seats:
                self._await_return(running, user_id, self._resume_seconds * RESTART_FACTOR, stored.seen_at_ms)

    def pause(self) -> None:
        """The server goes down for a while: connections that end now say nothing about calls."""
        self._is_pausing = True

    def close(self) -> None:
        """Call off all timers; what runs goes on after the next start."""
        self._is_pausing = True
        self.board.close()

    async def note_running(self) -> None:
        """Note every while that the calls still run; runs as long as the server."""
        await self._lines.note_running(self.board)

    # What people ask for

    def invite(self, peer: Peer, command: InviteToCall) -> None:
        """Ring for the others in a room, as soon as the call is stored; ``call_created`` says so."""
        live, user = peer.live, require(peer.live, peer.user, peer.capabilities, "chat.send")
        self._check_free(live, user)
        invited = frozenset(live.state.members) - {user.id}
        call = Call(
            id=secrets.token_hex(12),
            room_id=live.id,
            caller_id=user.id,
            media=command.media,
            message=command.message.strip(),
            started_at_ms=self._clock(),
            invited=invited,
            callee_id=next(iter(invited)) if live.state.room.kind == "private" and len(invited) == 1 else None,
            seats={user.id: peer.connection},
        )
        running = self.board.add(call, live)
        try:
            self._spawn(self._begin(running, peer, command.ref))
        except Refusal:
            self._discard(running)
            raise
        self._let_ring(running, self._ring_seconds)

    def _check_free(self, live: LiveRoom, user: User) -> None:
        here, mine = self.board.in_room(live.id), self.board.of_user(user.id)
        if here is not None:
            what = "rings" if here.call.is_ringing else "is going on"
            fix = "Join it." if here.call.rings_for(user.id) else "Wait until it is over."
            raise conflict(f"A call {what} in this room.", fix, {"call_id": here.call.id})
        if mine is not None:
            raise conflict("You are in another call.", "End it first.", {"call_id": mine.call.id})

    async def _begin(self, running: Running, peer: Peer, ref: str | None) -> None:
        call = running.call
        try:
            await self._lines.keep(call)
        except StoreFault:
            if not call.is_over:
                self._discard(running)
            peer.connection.push(frame_of(error_frame(not_saved(), self._clock(), ref)))
            await self._lines.forget(call.id)
            return
        if call.is_over:
            peer.connection.push(frame_of(error_frame(is_over(call.id), self._clock(), ref)))
            return
        peer.connection.push(frame_of(CallCreated(call_id=call.id, ring_seconds=self._ring_seconds, ref=ref)))
        running.has_rung = True
        # Those who cannot answer are found before it rings, so that it does not ring for them.
        for user_id in self.board.busy(call.invited):
            none_left = call.decline(user_id)
            self._voice.busy(running, user_id, peer.connection)
            if none_left:
                self._end(running, "busy")
                return
        self._voice.ring(running)

    def _discard(self, running: Running) -> None:
        """A call nobody was told of."""
        running.call.end("cancelled", self._clock())
        self.board.drop(running)
        self.board.let_go(running)

    def _let_ring(self, running: Running, seconds: float) -> None:
        running.set_timer("ring", seconds, lambda: self._end(running, "no_answer"))

    def change(self, peer: Peer, command: ChangeCall) -> Event | None:
        """Join a call, decline it, leave it, end it; the others hear it as said, the sender under its ``ref``."""
        live, user = peer.live, require(peer.live, peer.user, peer.capabilities, "chat.read")
        call_id = command.call_id
        running = self.board.in_room(live.id) if call_id is None else self.board.under(call_id)
        over = self.board.over(call_id) if call_id is not None else None
        if running is not None and running.live is live:
            call_id = running.call.id
            if command.status == "joined":
                return self._join(running, peer, user, command)
            self._part(running, peer, user, command)
        elif over is not None and over.room_id == live.id:
            self._change_late(over, peer, user, command)
        elif call_id is not None:
            raise unknown_call()
        else:
            # Clients of the old systems speak of calls that they made over HTTP.
            require(live, user, peer.capabilities, "chat.send")
            self._voice.pass_on(None, peer, user, command)
        return done(call_id, user, command)

    def _change_late(self, call: Call, peer: Peer, user: User, command: ChangeCall) -> None:
        """Two often part at the same moment: who was in a call may still say so when it is over."""
        if command.status == "joined":
            raise is_over(call.id)
        if user.id not in call.seats and user.id not in call.invited:
            raise not_in_call()
        self._voice.pass_on(call.id, peer, user, command)

    def _join(self, running: Running, peer: Peer, user: User, command: ChangeCall) -> Event | None:
        call, mine = running.call, self.board.of_user(user.id)
        if mine is not None and mine is not running:
            raise conflict("You are in another call.", "End it first.", {"call_id": mine.call.id})
        joined = call.join(user.id, peer.connection, self._clock())
        self.board.seat(user.id, running)
        running.drop_timer(f"return {user.id}")
        running.lost_at_ms.pop(user.id, None)
        # At once, so that no signal of theirs comes before it; the answer to them waits for the store.
        self._voice.pass_on(call.id, peer, user, command)
        if joined != "answered":
            return done(call.id, user, command)
        running.drop_timer("ring")
        self._voice.stop_ringing(running)
        self._spawn(self._keep_answer(call, peer, user, command))
        return None

    async def _keep_answer(self, call: Call, peer: Peer, user: User, command: ChangeCall) -> None:
        """Acknowledge an answer once it is stored, so that it never counts as missed; without a store it goes on."""
        await self._lines.keep_quietly(call)
        answer = done(call.id, user, command)
        if answer is not None:
            peer.connection.push(frame_of(answer))

    def _part(self, running: Running, peer: Peer, user: User, command: ChangeCall) -> None:
        """Somebody does not want to be in a call, or no longer."""
        call, status = running.call, command.status
        if user.id in call.seats:
            if call.seats[user.id] not in (None, peer.connection) and status in ("declined", "expired"):
                # Another of their devices has rung, and does no longer.
                return
            ends_itself = status in ("ended", "expired")
            if not ends_itself:
                self._voice.pass_on(call.id, peer, user, command)
            reason: EndReason = "cancelled" if call.is_ringing else "hung_up"
            if call.is_ringing and status == "expired":
                reason = "no_answer"
            self._end(running, reason, by=user, command=command, skip=peer.connection if ends_itself else None)
        elif call.is_ringing:
            self._voice.pass_on(call.id, peer, user, command)
            none_left = call.decline(user.id)
            self._voice.stop_ringing(running, [user.id])
            if none_left:
                self._end(running, "declined", by=user)
        elif status != "declined":
            raise not_in_call()

    def signal(self, peer: Peer, command: SignalPeer) -> None:
        """Hand something to the other one in a call, over the connection by which they are in it."""
        user = require(peer.live, peer.user, peer.capabilities, "chat.read")
        running = self.board.under(command.call_id)
        if running is None or running.live is not peer.live:
            raise is_over(command.call_id) if self.board.over(command.call_id) else unknown_call()
        to = UserId(command.to)
        event = CallSignal(call_id=command.call_id, sender=user.id, to=to, kind=command.kind, data=command.data)
        frame = frame_of(event)
        for connection in targets_of(running, peer.connection, user.id, to):
            connection.push(frame)

    def relay(self, peer: Peer, text: bytes) -> None:
        """Hand an old client's frame to every other connection in the room, as it was sent."""
        require(peer.live, peer.user, peer.capabilities, "chat.send")
        peer.live.topic.tell(text_frame(text), peer.connection)

    # What comes and goes

    def arrived(self, peer: Peer) -> None:
        """Somebody has come into a room: what rings there rings for them, and their end is watched."""
        if peer.user is None:
            return
        peer.connection.undo(lambda: self._lost(peer))
        running = self.board.in_room(peer.live.id)
        if running is not None and running.has_rung and running.call.rings_for(peer.user.id):
            self._voice.ring_newcomer(running, peer)

    def stream_arrived(self, peer: StreamPeer) -> None:
        """Somebody has opened a page: what rings for them elsewhere rings there."""
        if peer.who is None or peer.watches:
            return
        for running in self.board:
            call = running.call
            if running.has_rung and peer.who in call.invited and call.rings_for(peer.who):
                self._voice.ring_stream(running, peer)

    def _lost(self, peer: Peer) -> None:
        """A connection is gone: whoever was in a call by it has said goodbye, or has a while to come back."""
        running = self.board.of_user(peer.user.id) if peer.user else None
        if running is None or peer.user is None or self._is_pausing:
            return
        if not running.call.lose(peer.user.id, peer.connection):
            return
        farewell = peer.connection.farewell
        if peer.connection.ended_by == "peer" and farewell is not None and farewell.close_code in GOODBYES:
            self._end(running, "cancelled" if running.call.is_ringing else "hung_up", by=peer.user)
        else:
            event = VideoCallStatus(
                status="reconnecting", call_id=running.call.id, username=peer.user.username, user_id=peer.user.id
            )
            self._voice.status(running.live, event)
            self._await_return(running, peer.user.id, self._resume_seconds, self._clock())

    def _await_return(self, running: Running, user_id: UserId, seconds: float, since_ms: int) -> None:
        running.lost_at_ms[user_id] = since_ms
        running.set_timer(f"return {user_id}", seconds, lambda: self._give_up(running, user_id))

    def _give_up(self, running: Running, user_id: UserId) -> None:
        """Somebody did not come back: the call was over when they went."""
        user = running.live.user(user_id)
        self._end(running, "lost", by=user, at_ms=running.lost_at_ms.get(user_id))

    # What ends a call from outside, in the turn in which it happens

    def judge(self, who: Who) -> None:
        """Somebody's rights have changed: without the right to be in the room they are in no call there."""
        if who is None or not len(self.board):
            return
        mine = self.board.of_user(who)
        if mine is not None and not self._live_rooms.may(mine.live, who, "chat.read"):
            self._end(mine, "revoked", by=mine.live.user(who))
        for running in self.board:
            is_rung = who in running.call.invited and running.call.rings_for(who)
            if is_rung and not self._live_rooms.may(running.live, who, "chat.read"):
                none_left = running.call.decline(who)
                self._voice.stop_ringing(running, [who])
                if none_left:
                    self._end(running, "revoked")

    def signed_out(self, connection: Connection) -> None:
        """A session is over: whoever was in a call by it is no longer."""
        peer = connection.context
        if not isinstance(peer, Peer) or peer.user is None:
            return
        running = self.board.of_user(peer.user.id)
        if running is not None and running.call.seats.get(peer.user.id) is connection:
            self._end(running, "signed_out", by=peer.user)

    def room_ends(self, live: LiveRoom) -> None:
        """A room is about to be ended, while its people can still hear it."""
        running = self.board.in_room(live.id)
        if running is not None:
            self._end(running, "room_ended")

    # The end

    def _end(
        self,
        running: Running,
        reason: EndReason,
        *,
        by: User | None = None,
        command: ChangeCall | None = None,
        skip: Connection | None = None,
        at_ms: int | None = None,
    ) -> None:
        """End a call: tell everybody, stop the ringing, leave the line."""
        call = running.call
        if not call.end(reason, self._clock() if at_ms is None else at_ms):
            return
        self.board.drop(running)
        self._voice.ended(running, by, command, skip)
        if call.answered_at_ms is None:
            self._voice.stop_ringing(running)
        self._spawn(self._leave_line(running))

    async def _leave_line(self, running: Running) -> None:
        try:
            await self._lines.write(running)
        finally:
            self.board.let_go(running)


def done(call_id: str | None, user: User, command: ChangeCall) -> VideoCallStatus | None:
    """What tells whoever gave a ``ref`` that it was done."""
    if command.ref is None:
        return None
    status, ref = command.status, command.ref
    return VideoCallStatus(status=status, call_id=call_id, username=user.username, user_id=user.id, ref=ref)
