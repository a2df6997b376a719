"""Coming into a room and leaving it: greeting, replay, presence (PROTOCOL 3.1).

A newcomer takes its place in the journal's order: what was published before is replayed, what comes after is live, and
both happen in one loop turn, so nothing can fall between them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, NamedTuple

from heartlink.chat.around import Around
from heartlink.chat.live import LiveRoom, LiveRooms, Peer
from heartlink.chat.talk import denied
from heartlink.errors import (
    INTERNAL_FAREWELL,
    REVOKED,
    ROOM_ENDED_FAREWELL,
    Refusal,
    StoreFault,
    StoreUnavailable,
    not_a_member,
    room_ended,
    store_unavailable,
    unauthenticated,
)
from heartlink.frames import text_frame
from heartlink.hub import frame_of
from heartlink.model import Message, StoredMessage, User
from heartlink.protocol import (
    AccessRevoked,
    CaughtUp,
    ConnectionEstablished,
    Limits,
    RoomEnded,
    UserJoined,
    UserLeft,
    error_frame,
    iso,
    message_frame,
)
from heartlink.store.messages import Messages

REPLAY_BYTES: Final = 8 * 1024 * 1024
"""What may be replayed to one peer; beyond it the history is read over REST, page by page."""

REPLAY_CHUNK_BYTES: Final = 64 * 1024
"""Replayed frames are joined to pieces of about this size."""

TURNS: Final = 3
"""How often a newcomer asks for the room's turn again when a write that was given up has arrived after all."""


class Resume(NamedTuple):
    """Where a client says it is: the last number it has, and the history that it is from (None: it did not say)."""

    since: int
    epoch: str | None


class Arrivals:
    """Lets people into rooms, brings them up to date, and tells the others."""

    def __init__(
        self,
        rooms: LiveRooms,
        messages: Messages,
        around: Around,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        epoch: str,
        heartbeat_seconds: float,
        grace_seconds: float,
        replay_limit: int,
        limits: Limits,
        ice_servers: Callable[[User | None], list[dict[str, str]]],
    ) -> None:
        self._rooms = rooms
        self._messages = messages
        self._around = around
        self._clock = clock
        self._spawn = spawn
        self._epoch = epoch
        self._heartbeat_seconds = heartbeat_seconds
        self._grace_seconds = grace_seconds
        self._replay_limit = replay_limit
        self._limits = limits
        self._ice_servers = ice_servers
        self.on_arrival: list[Callable[[Peer], None]] = []
        """Told of each connection that has just been greeted."""

    def check(self, live: LiveRoom, user: User | None) -> None:
        """Raise the Refusal that keeps somebody out of a room; called at the door and again when they come in."""
        user_id = user.id if user else None
        may_read = self._rooms.may(live, user_id, "chat.read")
        if not may_read and user is None:
            raise unauthenticated("This room is open only to people who are signed in.")
        if not may_read and user_id not in live.state.members:
            raise not_a_member(live.id)
        if not may_read and user_id is not None:
            raise denied(live, user_id, "chat.read")
        if live.state.status == "ended":
            raise room_ended(live.id)

    def arrive(self, peer: Peer, resume: Resume | None) -> None:
        """Bring a peer in: at once if memory reaches back far enough, otherwise in its turn of the room."""
        state = peer.live.state
        reason = self._reason_for_full(peer.live, resume) if resume else None
        if resume is None or reason is not None:
            self._let_in(peer, "full" if reason else "none", reason)
            return
        missed = state.recent.changed_since(resume.since)
        if missed is not None:
            self._bring_up_to_date(peer, resume, missed)
        else:
            self._spawn(self._arrive_in_turn(peer, resume))

    def _bring_up_to_date(self, peer: Peer, resume: Resume, missed: list[StoredMessage]) -> None:
        """Replay, or point to the history when that would be too much to hold for one peer."""
        if sum(len(row.body) for row in missed) > REPLAY_BYTES:
            self._let_in(peer, "full", "too_far_behind")
        else:
            self._let_in(peer, "changes", None, missed, resume.since)

    def _reason_for_full(
        self, live: LiveRoom, resume: Resume
    ) -> Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None:
        if resume.epoch is not None and resume.epoch != self._epoch:
            return "epoch_changed"
        if resume.since > live.state.last_seq:
            return "ahead_of_server"
        if live.state.last_seq - resume.since > self._replay_limit:
            return "too_far_behind"
        return None

    async def _arrive_in_turn(self, peer: Peer, resume: Resume) -> None:
        """Read what was missed while nothing new is published, then let the peer in."""
        live = peer.live
        try:
            async with self._rooms.use(live.id) as current:
                for _ in range(TURNS if current is live else 0):
                    if await self._arrive_now(peer, resume):
                        return
            raise StoreUnavailable("the store goes on writing what was given up")
        except (StoreFault, Refusal) as problem:
            refusal = problem if isinstance(problem, Refusal) else store_unavailable()
            if refusal.code == "not_saved":
                # What kept the room from its turn; to whoever comes in it means that nothing can be read now.
                refusal = store_unavailable()
            # The client comes back after a while and finds the store, or the reason at the door.
            peer.connection.hang_up(INTERNAL_FAREWELL, frame_of(error_frame(refusal, self._clock())))

    async def _arrive_now(self, peer: Peer, resume: Resume) -> bool:
        """In the room's turn; False when the store holds more than was published, which has to be published first."""
        live = peer.live
        async with live.journal.turn():
            reason = self._reason_for_full(live, resume)
            if reason is not None:
                self._let_in(peer, "full", reason)
                return True
            missed = await self._messages.changed_since(live.id, resume.since, self._replay_limit + 1)
            if missed and missed[-1].message.rev > live.state.last_seq:
                live.journal.dirty = True
                return False
            self._bring_up_to_date(peer, resume, missed)
            return True

    def _let_in(
        self,
        peer: Peer,
        resume: Literal["none", "changes", "full"],
        reason: Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None,
        missed: list[StoredMessage] | None = None,
        since: int = 0,
    ) -> None:
        """Greeting, replay, live: in one turn, so that nothing falls between them."""
        live, connection, user = peer.live, peer.connection, peer.user
        if connection.fenced:
            return
        try:
            self.check(live, user)
        except Refusal as refusal:
            if refusal.code == "ended":
                connection.hang_up(ROOM_ENDED_FAREWELL, frame_of(RoomEnded(room_id=live.id, by=None)))
            else:
                revoked = AccessRevoked(because=refusal.message, decision_id=refusal.decision_id or "")
                connection.hang_up(REVOKED, frame_of(revoked))
            return
        peer.capabilities = self._rooms.rights(live, peer.user_id).capabilities(live.id)
        is_first = user is not None and live.state.arrive(user.id)
        # It names all members: in a very large room that is more than a queue may hold.
        connection.push_replay(frame_of(self._greeting(peer, resume, reason)), 1)
        if missed is not None:
            self._replay(peer, since, missed)
        live.topic.join(peer.user_id, connection)
        connection.undo(lambda: self._leave(peer))
        if user is not None:
            live.drop_timer("leaving", user.id)
            if is_first:
                joined = UserJoined(username=user.username, user_id=user.id, user_profile=self._rooms.profile(user))
                live.topic.tell(frame_of(joined))
        for follower in self.on_arrival:
            follower(peer)
        peer.came_in()

    def _greeting(
        self,
        peer: Peer,
        resume: Literal["none", "changes", "full"],
        reason: Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None,
    ) -> ConnectionEstablished:
        live = peer.live
        name = live.state.room.name or live.id
        return ConnectionEstablished(
            message=f"Connected to {name}.",
            room_id=live.id,
            user=peer.user.username if peer.user else "",
            user_profile=self._rooms.profile(peer.user),
            heartbeat_interval=self._heartbeat_seconds,
            server_time=iso(self._clock()),
            epoch=self._epoch,
            last_seq=live.state.last_seq,
            resume=resume,
            resume_reason=reason,
            room=live.summary(),
            capabilities=peer.capabilities,
            members=live.member_views(),
            limits=self._limits,
            ice_servers=self._ice_servers(peer.user),
        )

    def _replay(self, peer: Peer, since: int, missed: list[StoredMessage]) -> None:
        """Everything missed, oldest change first, as creations and changes."""
        live, connection = peer.live, peer.connection
        piece: list[bytes] = []
        size = 0
        for row in missed:
            frame = text_frame(
                message_frame(
                    row.body,
                    change=None if row.message.id > since else _latest_change(row.message),
                    is_own=row.message.sender_id == peer.user_id,
                    is_read=live.state.is_read(row, peer.user_id),
                )
            )
            piece.append(frame)
            size += len(frame)
            if size >= REPLAY_CHUNK_BYTES:
                connection.push_replay(b"".join(piece), len(piece))
                piece, size = [], 0
        piece.append(frame_of(CaughtUp(last_seq=live.state.last_seq)))
        connection.push_replay(b"".join(piece), len(piece))

    def _leave(self, peer: Peer) -> None:
        """A connection is gone; if it was the user's last here, the others are told after the grace."""
        live, user = peer.live, peer.user
        peer.attached = False
        live.topic.leave(peer.user_id, peer.connection)
        if user is not None and live.state.depart(user.id, self._clock()):
            live.set_timer("leaving", user.id, self._grace_seconds, lambda: self._tell_left(live, user))

    def _tell_left(self, live: LiveRoom, user: User) -> None:
        if not live.state.is_gone(user.id):
            return
        if ("typing", user.id) in live.timers:
            self._around.end_typing(live, user)
        last_seen_ms = live.state.attendance[user.id].last_seen_ms or self._clock()
        live.topic.tell(frame_of(UserLeft(username=user.username, user_id=user.id, last_seen=iso(last_seen_ms))))
        if user.id in live.state.members:
            self._around.note_last_seen(live, user.id)


def _latest_change(message: Message) -> str:
    """What a replayed change is called: several may have come together, the most telling one counts."""
    if message.deleted:
        return "deleted"
    return "edited" if message.edited_at is not None else "reactions"
