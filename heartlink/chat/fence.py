"""What a commit of the policy does to open chat sockets, in the turn in which it counts (PROTOCOL 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from heartlink.chat.live import LiveRoom, LiveRooms, Peer
from heartlink.connection import Connection
from heartlink.errors import REVOKED
from heartlink.hub import Hub, frame_of
from heartlink.policy import Commit, Step
from heartlink.protocol import AccessRevoked, CapabilitiesChanged, MemberAdded, MemberRemoved, RoomUpdated
from heartlink.rights import room_scope
from heartlink.rights.changes import SetMember
from heartlink.rights.deltas import Who
from heartlink.store.users import Users


class Fence:
    """Makes sockets follow the policy; nothing here awaits."""

    def __init__(self, live_rooms: LiveRooms, hub: Hub, users: Users) -> None:
        self._live_rooms = live_rooms
        self._hub = hub
        self._users = users
        self._followers: list[Callable[[Who], None]] = []

    def follow(self, judge: Callable[[Who], None]) -> None:
        """Have ``judge`` called, in the turn of the commit, with each whose rights have changed (None: the anonymous).

        For what is no socket and has to end with a right: a call, a running upload or download.
        """
        self._followers.append(judge)

    def act(self, commit: Commit, steps: list[Step]) -> None:
        """Let everybody's sockets follow their rights, then tell rooms of their members.

        In this order: telling may write what is queued, and nobody shall get what they may not read any more.
        """
        for step in steps:
            for connection in list(self._connections(step.delta.who)):
                if isinstance(connection.context, Peer):
                    self._refresh(connection.context, commit.why)
            for judge in self._followers:
                judge(step.delta.who)
        for change in commit.changes:
            if isinstance(change, SetMember):
                self._tell_room(commit, change)

    def _connections(self, who: Who) -> Iterator[Connection]:
        if who is not None:
            yield from self._hub.connections_of(who)
            return
        for live in self._live_rooms:
            yield from live.topic.of_user(None)

    def _tell_room(self, commit: Commit, change: SetMember) -> None:
        live = self._live_rooms.loaded(change.room_id)
        if live is None:
            return
        view = live.member_view(change.user_id)
        if view is not None:
            live.topic.tell(frame_of(MemberAdded(member=view, by=commit.by_name or None)))
        elif change.role is None:
            user = live.user(change.user_id)
            username = user.username if user else ""
            removed = MemberRemoved(user_id=change.user_id, username=username, by=commit.by_name or None)
            live.topic.tell(frame_of(removed))
        # A private room waits for its second member: that is when its status changes.
        if live.state.room.kind == "private" and len(live.state.members) <= 2:
            live.topic.tell(frame_of(RoomUpdated(room=live.summary())))

    def _refresh(self, peer: Peer, because: str) -> None:
        live: LiveRoom = peer.live
        if not peer.attached:
            # Whoever is still coming in is judged at the last step of that.
            return
        capabilities = self._live_rooms.rights(live, peer.user_id).capabilities(live.id)
        if capabilities == peer.capabilities:
            return
        peer.capabilities = capabilities
        if "chat.read" in capabilities:
            peer.connection.push(frame_of(CapabilitiesChanged(capabilities=capabilities, because=because)))
            return
        decision_id = live.decisions.note(peer.user_id, "chat.read", room_scope(live.id), allowed=False)
        peer.connection.drop_queued()
        revoked = AccessRevoked(because=because, decision_id=decision_id)
        peer.connection.hang_up(REVOKED, frame_of(revoked))
