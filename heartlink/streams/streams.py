"""Who listens to whose rights, what they are told when they come, and what at every commit (PROTOCOL 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from heartlink.errors import REVOKED, Refusal, unauthenticated
from heartlink.hub import Topic, frame_of
from heartlink.model import RoomId, User, UserId
from heartlink.policy import Commit, Desk, Step
from heartlink.protocol import (
    AccessRevoked,
    Authenticate,
    AuthSuccess,
    ConfirmAuthentication,
    Connect,
    ConnectionConfirmed,
    Features,
    Invited,
    Notice,
    Notification,
    PermissionSnapshot,
    SubscribeNotifications,
    SubscriptionConfirmed,
    UnsubscribeNotifications,
    UnsubscriptionConfirmed,
    iso,
)
from heartlink.rights import EVERYWHERE
from heartlink.rights.changes import SetMember
from heartlink.streams.peer import Outcome, StreamPeer
from heartlink.streams.pushes import frames_of_step, menu_views, permission_views

WATCH: Final = "permissions.watch"
"""What one must hold to listen to somebody else's stream."""

ANONYMOUS_NAME: Final = "Anonymous"


class Resume(NamedTuple):
    """Where a client says it is: the version it has, and the history that it is from (None: it did not say)."""

    since: int
    epoch: str | None


class Streams:
    """All open permission streams."""

    def __init__(
        self,
        desk: Desk,
        *,
        clock: Callable[[], int],
        epoch: str,
        heartbeat_seconds: float,
        replay_bytes: int,
        room_name: Callable[[RoomId], str],
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._epoch = epoch
        self._heartbeat_seconds = heartbeat_seconds
        self._replay_bytes = replay_bytes
        self._room_name = room_name
        self._topic = Topic()
        self._watchers: dict[UserId, set[StreamPeer]] = {}
        self.on_arrival: list[Callable[[StreamPeer], None]] = []
        """Told of each connection that has just been brought up to date."""

    # Coming in

    def check(self, user: User | None, who: UserId | None) -> None:
        """Raise the Refusal that keeps somebody from a stream; called at the door and again when they come in."""
        user_id = user.id if user else None
        if who is None or who == user_id:
            return
        if user_id is None:
            raise unauthenticated("A user's stream is open only to people who are signed in.")
        if not self._may_watch(user_id):
            raise self._desk.decisions.deny(user_id, WATCH, EVERYWHERE)

    def _may_watch(self, user_id: UserId | None) -> bool:
        return self._desk.policy.rights(user_id).allows(WATCH, EVERYWHERE, self._clock())

    def arrive(self, peer: StreamPeer, resume: Resume | None) -> None:
        """Greet a peer and bring it up to date; from then on it is told everything. One turn: nothing falls between."""
        connection = peer.connection
        if connection.fenced:
            return
        try:
            self.check(peer.user, peer.who)
        except Refusal as refusal:
            self._turn_out(peer, refusal.message, refusal.decision_id or "")
            return
        missed = self._missed(peer, resume)
        connection.push(frame_of(self.greeting(peer)))
        if missed is None:
            connection.push_replay(frame_of(self._snapshot(peer)), 1)
        elif missed:
            connection.push_replay(b"".join(missed), len(missed))
        self._topic.join(peer.who, connection)
        if peer.watches and peer.user_id is not None:
            self._watchers.setdefault(peer.user_id, set()).add(peer)
        connection.undo(lambda: self._leave(peer))
        for follower in self.on_arrival:
            follower(peer)

    def _leave(self, peer: StreamPeer) -> None:
        self._topic.leave(peer.who, peer.connection)
        watching = self._watchers.get(peer.user_id) if peer.user_id is not None else None
        if watching is not None:
            watching.discard(peer)
            if not watching:
                self._watchers.pop(peer.user_id or UserId(""), None)

    def _missed(self, peer: StreamPeer, resume: Resume | None) -> list[bytes] | None:
        """The frames that a client missed; None when it has to be told everything, and ``outcome`` says why."""
        if resume is None:
            return None
        if resume.epoch is not None and resume.epoch != self._epoch:
            peer.outcome = Outcome("full", "epoch_changed")
            return None
        if resume.since > self._desk.history.version_of(peer.who):
            peer.outcome = Outcome("full", "ahead_of_server")
            return None
        steps = self._desk.history.since(peer.who, resume.since, self._desk.policy.effective(peer.who))
        frames = None if steps is None else [frame for step in steps for frame in frames_of_step(step)]
        # Deltas that fill the queue would end as too slow, time after time.
        if frames is None or (self._replay_bytes and sum(map(len, frames)) > self._replay_bytes):
            peer.outcome = Outcome("full", "too_far_behind")
            return None
        peer.outcome = Outcome("changes")
        return frames

    def greeting(self, peer: StreamPeer, ref: str | None = None) -> ConnectionConfirmed:
        """Whose stream this is and where it stands."""
        who = peer.who
        return ConnectionConfirmed(
            user_id=who,
            username=peer.subject.username if peer.subject else ANONYMOUS_NAME,
            groups=self._groups(who),
            server_time=iso(self._clock()),
            epoch=self._epoch,
            version=self._desk.history.version_of(who),
            heartbeat_interval=self._heartbeat_seconds,
            features=Features(),
            resume=peer.outcome.resume,
            resume_reason=peer.outcome.reason,
            ref=ref,
        )

    def _groups(self, who: UserId | None) -> list[str]:
        mine = (
            [] if who is None else [f"user_{who}", *(f"role_{key}" for key in self._desk.policy.roles_of.get(who, ()))]
        )
        return [*mine, "global_notifications"]

    def _snapshot(self, peer: StreamPeer) -> PermissionSnapshot:
        roles, entries, menus = self._desk.policy.effective(peer.who)
        return PermissionSnapshot(
            epoch=self._epoch,
            version=self._desk.history.version_of(peer.who),
            roles=list(roles),
            permissions=permission_views(entries),
            menus=menu_views(menus),
        )

    # What a commit does

    def act(self, commit: Commit, steps: list[Step]) -> None:
        """In the turn in which a commit counts: end who may not watch any more, then tell everybody what changed."""
        for step in steps:
            watching = self._watchers.get(step.delta.who) if step.delta.who is not None else None
            if watching and not self._may_watch(step.delta.who):
                for peer in list(watching):
                    self._turn_out(peer, commit.why)
        for step in steps:
            listeners = self._topic.of_user(step.delta.who)
            if listeners:
                frames = frames_of_step(step)
                blob = b"".join(frames)
                for connection in listeners:
                    connection.push_many(blob, len(frames))
        self._tell_invited(commit)

    def _turn_out(self, peer: StreamPeer, because: str, decision_id: str | None = None) -> None:
        if decision_id is None:
            decision_id = self._desk.decisions.note(peer.user_id, WATCH, EVERYWHERE, allowed=False)
        peer.connection.drop_queued()
        peer.connection.hang_up(REVOKED, frame_of(AccessRevoked(because=because, decision_id=decision_id)))

    def _tell_invited(self, commit: Commit) -> None:
        """Whoever was made a member of a room by somebody else hears of it."""
        newcomers = {
            (change.room_id, change.user_id)
            for change in commit.undo
            if isinstance(change, SetMember) and change.role is None and change.user_id != commit.by
        }
        for change in commit.changes if newcomers else ():
            if isinstance(change, SetMember) and change.role and (change.room_id, change.user_id) in newcomers:
                invited = Invited(
                    room_id=change.room_id,
                    room_name=self._room_name(change.room_id),
                    role=change.role,
                    by=commit.by_name or None,
                )
                self.notify([change.user_id], Notification(timestamp=iso(commit.at_ms), data=invited))

    # What is told beside rights

    @property
    def subjects_count(self) -> int:
        """To how many streams somebody listens."""
        return self._topic.subjects_count

    def listened_to(self, members: Collection[UserId]) -> list[UserId]:
        """Those of some users to whose streams somebody listens; costs no more than the shorter list is long."""
        if len(members) <= self._topic.subjects_count:
            return [user_id for user_id in members if self._topic.of_user(user_id)]
        return [who for who in self._topic.subjects() if who is not None and who in members]

    def notify(self, users: Iterable[UserId] | None, event: Notice, latest_key: str | None = None) -> int:
        """Tell users (None: everybody, who is not signed in too) what they want to hear; how many connections do.

        Nothing is kept for those who are away. With ``latest_key`` only the latest under the key counts, and a
        crowded queue does without.
        """
        kinds, told = event.kinds(), 0
        shared = b""
        for who in self._topic.subjects() if users is None else dict.fromkeys(users):
            own = b""
            for connection in self._topic.of_user(who):
                peer = connection.context
                # What is meant for somebody is not for those who watch their rights.
                if not isinstance(peer, StreamPeer) or peer.watches or not peer.subscription.wants(kinds):
                    continue
                if not own:
                    addressed = event.addressed_to(who)
                    if addressed is event:
                        own = shared = shared or frame_of(event)
                    else:
                        own = frame_of(addressed)
                told += 1
                if latest_key is None:
                    connection.push(own)
                else:
                    connection.push_latest(latest_key, own)
        return told

    # What the stream itself is asked

    def confirm(self, peer: StreamPeer, command: Connect) -> ConnectionConfirmed:
        """The greeting again."""
        return self.greeting(peer, command.ref)

    def identify(self, peer: StreamPeer, command: Authenticate | ConfirmAuthentication) -> AuthSuccess:
        """Whose stream it is: that was settled at the door."""
        return AuthSuccess(
            user_id=peer.who,
            username=peer.subject.username if peer.subject else ANONYMOUS_NAME,
            timestamp=iso(self._clock()),
            ref=command.ref,
        )

    def subscribe(self, peer: StreamPeer, command: SubscribeNotifications) -> SubscriptionConfirmed:
        """Hear only these types, and those asked for before."""
        return SubscriptionConfirmed(subscribed_types=peer.subscription.add(command.types), ref=command.ref)

    def unsubscribe(self, peer: StreamPeer, command: UnsubscribeNotifications) -> UnsubscriptionConfirmed:
        """Hear these types no more."""
        left = peer.subscription.remove(command.types)
        return UnsubscriptionConfirmed(unsubscribed_types=command.types, subscribed_types=left, ref=command.ref)
