"""Who hears what of a call: the room's sockets, and the permission streams of those it rings for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from heartlink.calls.board import Running
from heartlink.chat import LiveRoom, LiveRooms, Peer
from heartlink.connection import Connection
from heartlink.hub import frame_of
from heartlink.model import User, UserId
from heartlink.protocol import CallOver, ChangeCall, IncomingCall, Notification, VideoCallInvite, VideoCallStatus, iso
from heartlink.streams import StreamPeer, Streams


class Voice:
    """Tells people of calls; nothing here awaits."""

    def __init__(
        self, live_rooms: LiveRooms, streams: Streams, *, clock: Callable[[], int], ring_seconds: float
    ) -> None:
        self._live_rooms = live_rooms
        self._streams = streams
        self._clock = clock
        self._ring_seconds = ring_seconds

    def ring(self, running: Running) -> None:
        """Everybody in the room whom it rings for, and those of them who are elsewhere."""
        call, live = running.call, running.live
        apart = {*call.seats, *call.refused}
        live.topic.tell_all_but(frame_of(self._invite(running, self._ring_seconds)), 1, apart, set())
        self._streams.notify(self._listening(running), self._incoming(running))

    def ring_newcomer(self, running: Running, peer: Peer) -> None:
        """Somebody has come into the room while it rings."""
        peer.connection.push(frame_of(self._invite(running, running.seconds_left("ring"))))

    def ring_stream(self, running: Running, peer: StreamPeer) -> None:
        """Somebody has opened a page elsewhere while it rings."""
        if peer.who is not None and peer.who in self._may_hear(running.live, [peer.who]):
            peer.connection.push(frame_of(self._incoming(running)))

    def stop_ringing(self, running: Running, users: Iterable[UserId] | None = None) -> None:
        """The pages elsewhere need ring no longer, those of ``users`` or of all whom it was meant for."""
        call = running.call
        over = CallOver(call_id=call.id, room_id=running.live.id, outcome=call.outcome)
        told = self._listening(running) if users is None else users
        self._streams.notify(told, Notification(timestamp=iso(self._clock()), data=over))

    def status(self, live: LiveRoom, event: VideoCallStatus, skip: Connection | None = None) -> None:
        """Everybody in the room, but perhaps the one who said so."""
        live.topic.tell(frame_of(event), skip)

    def busy(self, running: Running, user_id: UserId, caller: Connection) -> None:
        """The caller alone hears who is in another call."""
        user = running.live.user(user_id)
        event = VideoCallStatus(
            status="busy", call_id=running.call.id, username=user.username if user else "", user_id=user_id
        )
        caller.push(frame_of(event))

    def ended(self, running: Running, by: User | None, command: ChangeCall | None, skip: Connection | None) -> None:
        """Everybody in the room hears that a call is over, and how: once for all, whatever was said before."""
        call = running.call
        said = command.status if command and command.status in ("ended", "expired") else None
        by_id = by.id if by else call.caller_id
        event = VideoCallStatus(
            status=said or ("expired" if call.reason == "no_answer" else "ended"),
            call_id=call.id,
            username=by.username if by else self._name(running),
            user_id=by_id,
            message_id=command.message_id if command else None,
            video_room_id=command.video_room_id if command else None,
            outcome=call.outcome,
            reason=call.reason,
            duration_seconds=call.duration_seconds,
        )
        self.status(running.live, event, skip)

    def pass_on(self, call_id: str | None, peer: Peer, user: User, command: ChangeCall) -> None:
        """What somebody said of a call, to the others as it was sent."""
        event = VideoCallStatus(
            status=command.status,
            call_id=call_id,
            username=user.username,
            user_id=user.id,
            message_id=command.message_id,
            video_room_id=command.video_room_id,
        )
        self.status(peer.live, event, peer.connection)

    def _invite(self, running: Running, ring_seconds: float) -> VideoCallInvite:
        call = running.call
        return VideoCallInvite(
            call_id=call.id,
            username=self._name(running),
            user_id=call.caller_id,
            room_id=running.live.id,
            message=call.message,
            media=call.media,
            ring_seconds=round(ring_seconds, 1),
        )

    def _incoming(self, running: Running) -> Notification:
        call, live = running.call, running.live
        caller = live.user(call.caller_id)
        data = IncomingCall(
            call_id=call.id,
            room_id=live.id,
            room_name=live.state.room.name,
            username=caller.username if caller else "",
            display_name=caller.display_name if caller else "",
            user_id=call.caller_id,
            media=call.media,
            message=call.message,
        )
        return Notification(timestamp=iso(self._clock()), data=data)

    def _name(self, running: Running) -> str:
        user = running.live.user(running.call.caller_id)
        return user.username if user else ""

    def _listening(self, running: Running) -> list[UserId]:
        return self._may_hear(running.live, self._streams.listened_to(running.call.invited - running.call.refused))

    def _may_hear(self, live: LiveRoom, users: Iterable[UserId]) -> list[UserId]:
        return [user_id for user_id in users if self._live_rooms.may(live, user_id, "chat.read")]
