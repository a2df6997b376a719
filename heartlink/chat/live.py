"""Rooms that somebody uses now: loaded once from the store, kept while in use, forgotten when idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from heartlink.connection import Connection, TokenBucket
from heartlink.errors import TOO_MANY, Refusal, not_found
from heartlink.hub import Topic
from heartlink.journal import Journal, Journals, Published
from heartlink.model import Receipt, RoomId, User, UserId
from heartlink.policy import Decisions
from heartlink.protocol import MemberView, RoomSummary, UserProfile, iso
from heartlink.rights import Rights, room_scope
from heartlink.rights.policy import Policy
from heartlink.rooms import RECENT_MESSAGES, RecentMessages, RoomState
from heartlink.store.messages import Messages
from heartlink.store.rooms import Rooms
from heartlink.store.users import Users

IDLE_SECONDS: Final = 60.0
"""How long a room that nobody uses stays in memory."""

LIVE_ROOMS_LIMIT: Final = 10_000
"""Rooms in memory; above it idle ones are forgotten at once."""


EARLY_LIMIT: Final = 64
"""Frames of one peer that wait for its greeting."""


class LiveRoom:
    """A room in memory: its state, who listens, its journal, and what runs on a timer in it."""

    __slots__ = (
        "_users",
        "changing",
        "decisions",
        "idle_since",
        "journal",
        "profiles",
        "saving_receipts",
        "state",
        "timers",
        "topic",
        "unsaved_receipts",
        "uses",
    )

    def __init__(self, state: RoomState, users: Users, profiles: dict[UserId, User], decisions: Decisions) -> None:
        self.state = state
        self.decisions = decisions
        self.topic = Topic()
        self.journal: Journal
        self.profiles = profiles
        """The members' accounts as they were when they came in; :meth:`user` knows the latest."""
        self.changing = asyncio.Lock()
        """Held by whoever changes the members or the room itself."""
        self.timers: dict[tuple[str, UserId], asyncio.TimerHandle] = {}
        self.unsaved_receipts: dict[UserId, Receipt] = {}
        self.saving_receipts = asyncio.Lock()
        self.uses = 0
        self.idle_since: float | None = None
        self._users = users

    @property
    def id(self) -> RoomId:
        """The room's id."""
        return self.state.room.id

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it and nothing is under way."""
        in_use = self.uses or len(self.topic) or self.timers or self.unsaved_receipts or self.saving_receipts.locked()
        return not in_use and self.journal.is_idle

    def user(self, user_id: UserId) -> User | None:
        """A member's account as it is now."""
        return self._users.cached(user_id) or self.profiles.get(user_id)

    def summary(self) -> RoomSummary:
        """The room as greetings and events show it."""
        room = self.state.room
        return RoomSummary(id=room.id, name=room.name, kind=room.kind, status=self.state.status)

    def member_view(self, user_id: UserId) -> MemberView | None:
        """A member as the others see them."""
        member, user = self.state.members.get(user_id), self.user(user_id)
        if member is None or user is None:
            return None
        attendance = self.state.attendance.get(user_id)
        last_seen_ms = attendance.last_seen_ms if attendance else None
        return MemberView(
            user_id=user_id,
            username=user.username,
            display_name=user.display_name,
            avatar_url=user.avatar_url,
            status=attendance.status if attendance else "offline",
            last_seen=None if last_seen_ms is None else iso(last_seen_ms),
            read_up_to=self.state.read_up_to(user_id),
            role=member.role,
        )

    def member_views(self, limit: int | None = None) -> list[MemberView]:
        """The members as others see them, in the order in which they came."""
        members = sorted(self.state.members.values(), key=lambda member: member.joined_at_ms)[:limit]
        views = (self.member_view(member.user_id) for member in members)
        return [view for view in views if view is not None]

    def set_timer(self, kind: str, user_id: UserId, seconds: float, action: Callable[[], None]) -> None:
        """Run ``action`` after a while, instead of what was set for the same kind and user."""
        self.drop_timer(kind, user_id)

        def fire() -> None:
            self.timers.pop((kind, user_id), None)
            action()

        self.timers[kind, user_id] = asyncio.get_running_loop().call_later(seconds, fire)

    def drop_timer(self, kind: str, user_id: UserId) -> bool:
        """Call off what was set; False when nothing was."""
        timer = self.timers.pop((kind, user_id), None)
        if timer is not None:
            timer.cancel()
        return timer is not None


class Peer:
    """One connection's place in a room; ``capabilities`` is what its user may do here now."""

    __slots__ = (
        "_early",
        "attached",
        "bucket",
        "capabilities",
        "connection",
        "live",
        "refusals",
        "signal_bucket",
        "user",
    )

    def __init__(self, connection: Connection, live: LiveRoom, user: User | None, bucket: TokenBucket) -> None:
        self.connection = connection
        self.live = live
        self.user = user
        self.bucket = bucket
        self.signal_bucket: TokenBucket | None = None
        """The rate of its signals in calls, once it sends any."""
        self.capabilities: tuple[str, ...] = ()
        self.attached = False
        self.refusals = 0
        """Refusals in a row for being over the rate limit."""
        self._early: list[Callable[[], None]] = []

    def when_in(self, step: Callable[[], None]) -> None:
        """Do what a frame asks, after the greeting: what comes before it waits."""
        if self.attached:
            step()
        elif len(self._early) < EARLY_LIMIT:
            self._early.append(step)
        else:
            self.connection.hang_up(TOO_MANY)

    def came_in(self) -> None:
        """The greeting is out: from here on the peer is one of the room."""
        self.attached = True
        early, self._early = self._early, []
        for step in early:
            step()

    @property
    def user_id(self) -> UserId | None:
        """Whose connection this is; None when nobody is signed in."""
        return None if self.user is None else self.user.id


class LiveRooms:
    """All rooms in memory."""

    def __init__(
        self,
        rooms: Rooms,
        messages: Messages,
        users: Users,
        journals: Journals,
        policy: Policy,
        decisions: Decisions,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        publish: Callable[[LiveRoom, list[Published]], None],
    ) -> None:
        self._rooms = rooms
        self._messages = messages
        self._users = users
        self._journals = journals
        self._policy = policy
        self._decisions = decisions
        self._clock = clock
        self._spawn = spawn
        self._publish = publish
        self._live: dict[RoomId, LiveRoom] = {}
        self._loading: dict[RoomId, asyncio.Future[LiveRoom]] = {}

    def __iter__(self) -> Any:
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)

    def loaded(self, room_id: RoomId) -> LiveRoom | None:
        """A room if it is in memory."""
        return self._live.get(room_id)

    @asynccontextmanager
    async def use(self, room_id: RoomId) -> AsyncIterator[LiveRoom]:
        """A room, kept in memory meanwhile; raises the Refusal ``not_found``."""
        live = self._live.get(room_id) or await self._load(room_id)
        while not self.is_current(live):
            live = self._live.get(room_id) or await self._load(room_id)
        live.uses += 1
        try:
            yield live
        finally:
            live.uses -= 1
            live.idle_since = None

    def is_current(self, live: LiveRoom) -> bool:
        """Whether a room found a moment ago is still the one in memory.

        One that was forgotten never comes back: another may have taken its place, and numbered messages, meanwhile.
        """
        return self._live.get(live.id) is live

    def rights(self, live: LiveRoom, user_id: UserId | None) -> Rights:
        """What a user may do in a room, now."""
        return self._policy.rights(user_id)

    def may(self, live: LiveRoom, user_id: UserId | None, permission: str) -> bool:
        """Whether a user holds a permission in a room, now."""
        return self.rights(live, user_id).allows(permission, room_scope(live.id), self._clock())

    def profile(self, user: User | None, is_online: bool = True) -> UserProfile:
        """A user as others see them."""
        if user is None:
            return UserProfile(id=None, username="Anonymous", display_name="Anonymous")
        user = self._users.cached(user.id) or user
        return UserProfile(
            id=user.id,
            username=user.username,
            display_name=user.display_name,
            avatar_url=user.avatar_url,
            bio=user.bio,
            tags=user.tags,
            is_online=is_online,
        )

    async def _load(self, room_id: RoomId) -> LiveRoom:
        """Load a room once, however many ask for it at the same time."""
        loading = self._loading.get(room_id)
        if loading is None:
            loading = self._loading[room_id] = asyncio.get_running_loop().create_future()
            self._spawn(self._load_into(room_id, loading))
        return await asyncio.shield(loading)

    async def _load_into(self, room_id: RoomId, loading: asyncio.Future[LiveRoom]) -> None:
        try:
            live = await self._read(room_id)
        except BaseException as error:
            loading.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            # Whoever waited has the error; nobody may have.
            loading.exception()
            if not isinstance(error, Exception):
                raise
        else:
            self._live[room_id] = live
            loading.set_result(live)
        finally:
            del self._loading[room_id]

    async def _read(self, room_id: RoomId) -> LiveRoom:
        room = await self._rooms.get(room_id)
        if room is None:
            raise no_such_room(room_id)
        members = self._policy.members_of(room_id)
        receipts, recent, profiles = await asyncio.gather(
            self._rooms.receipts(room_id),
            self._messages.latest_changes(room_id, RECENT_MESSAGES),
            self._users.get_many(list(members)),
        )
        state = RoomState(
            room=room,
            members=members,
            recent=RecentMessages(recent, complete=len(recent) < RECENT_MESSAGES),
            last_seq=recent[0].message.rev if recent else 0,
        )
        state.restore(receipts)
        live = LiveRoom(state, self._users, profiles, self._decisions)
        live.journal = Journal(self._journals, state, lambda steps: self._publish(live, steps))
        return live

    def forget_idle(self) -> None:
        """Let go of rooms that nobody has used for a while; call every few seconds."""
        now = asyncio.get_running_loop().time()
        crowded = len(self._live) > LIVE_ROOMS_LIMIT
        for room_id, live in list(self._live.items()):
            if not live.is_idle:
                live.idle_since = None
            elif live.idle_since is None and not crowded:
                live.idle_since = now
            elif crowded or now - (live.idle_since or now) >= IDLE_SECONDS:
                del self._live[room_id]

    def recover(self) -> None:
        """The store is back: let every room that lost sight of it read what it holds."""
        for live in self._live.values():
            if live.journal.dirty:
                self._journals.begin_soon(live.journal)

    def close(self) -> None:
        """Call off all timers."""
        for live in self._live.values():
            for timer in live.timers.values():
                timer.cancel()
            live.timers.clear()


def no_such_room(room_id: str) -> Refusal:
    """The refusal for a room id that nothing is known of."""
    return not_found(f"The room '{room_id[:100]}'", "Check the address, or open a new room.")
