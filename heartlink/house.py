"""The composition root: everything is made here, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final

from heartlink.administration import Administration, Notices, Setup
from heartlink.auth import Auth
from heartlink.calls import Calls, IceServers, make_calls
from heartlink.chat import (
    Around,
    Arrivals,
    Fence,
    Invites,
    LiveRoom,
    LiveRooms,
    Membership,
    Moderation,
    Search,
    Talk,
    Views,
    publish,
)
from heartlink.connection import ConnectionLimits, TokenBucket
from heartlink.connection.rates import UserRates
from heartlink.demo import furnish
from heartlink.diagnosis import Diagnosis
from heartlink.dispatch import ChatDispatcher, DoctorDispatcher, PermissionDispatcher
from heartlink.errors import Refusal, StartupFailure, StoreFault, draining
from heartlink.files import Depot, Transfers, Uploads
from heartlink.hub import Hub
from heartlink.journal import Journals, Published
from heartlink.media import Inspector
from heartlink.metrics import Metrics, count_files, make_metrics, watch_loop_lag
from heartlink.model import RoomId, SessionId, UserId
from heartlink.policy import Desk, Explainer, furnish_policy
from heartlink.protocol import Limits
from heartlink.refusals import RefusalLog
from heartlink.rights.policy import Policy
from heartlink.settings import Settings
from heartlink.store.backend import Backend
from heartlink.store.calls import RunningCalls
from heartlink.store.files import Files
from heartlink.store.formats import bring_up_to_date
from heartlink.store.health import StoreHealth
from heartlink.store.measured import measured
from heartlink.store.messages import Messages
from heartlink.store.meta import read_epoch
from heartlink.store.opening import make_backend
from heartlink.store.policy import Commits
from heartlink.store.rooms import Rooms
from heartlink.store.tables import ALL
from heartlink.store.users import EndedSessions, Users
from heartlink.streams import Questions, Streams, UnreadHints
from heartlink.tallies import Tallies
from heartlink.tasks import Tasks

logger = logging.getLogger(__name__)

JOURNAL_CHECK_SECONDS: Final = 0.25
"""How often writes that take too long are looked for."""

FORGET_EVERY_SECONDS: Final = 10.0
"""How often idle rooms are let go."""

SETTLE_SECONDS: Final = 2.0
"""How long draining waits for writes that are under way."""


def epoch_ms() -> int:
    """The clock of the house."""
    return time.time_ns() // 1_000_000


class House:
    """Everything that runs, wired once. ``async with House(settings) as house`` opens it."""

    epoch: str
    hub: Hub
    auth: Auth
    desk: Desk
    health: StoreHealth
    live_rooms: LiveRooms
    journals: Journals
    talk: Talk
    around: Around
    arrivals: Arrivals
    membership: Membership
    invites: Invites
    moderation: Moderation
    views: Views
    search: Search
    fence: Fence
    transfers: Transfers
    depot: Depot
    uploads: Uploads
    calls: Calls
    chat_dispatcher: ChatDispatcher
    streams: Streams
    unread_hints: UnreadHints
    explainer: Explainer
    administration: Administration
    setup: Setup
    notices: Notices
    permission_dispatcher: PermissionDispatcher
    metrics: Metrics
    refusal_log: RefusalLog
    diagnosis: Diagnosis
    doctor_dispatcher: DoctorDispatcher

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = epoch_ms
        self.tasks = Tasks()
        self.draining = False
        self.tallies = Tallies()
        backend = make_backend(mongo_url=settings.mongo_url, data_dir=settings.data_dir)
        self.backend: Backend = measured(backend, self.tallies)
        self.users = Users(self.backend)
        self.rooms = Rooms(self.backend)
        self.messages = Messages(self.backend)
        self.files = Files(self.backend)
        self.inspector = Inspector()
        self.connection_limits = ConnectionLimits(settings.frame_bytes, settings.queue_bytes, settings.queue_frames)
        self.rest_rate = UserRates(self.make_bucket)
        self._open: AsyncExitStack | None = None

    async def __aenter__(self) -> House:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.backend.close)
            await self.backend.open(ALL)
            try:
                await self._furnish(stack)
            except StoreFault as fault:
                raise StartupFailure(f"The storage failed while starting: {fault}", "Start again.") from fault
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.aclose()

    async def _furnish(self, stack: AsyncExitStack) -> None:
        """Make the rooms of the house from the bottom up; what is made later is closed earlier."""
        settings, clock = self.settings, self.clock
        await bring_up_to_date(self.backend)
        self.epoch = await read_epoch(self.backend)
        self.health = StoreHealth(self.backend)
        self.hub = Hub(
            clock=clock,
            heartbeat_seconds=settings.heartbeat_seconds,
            connections_per_address=settings.connections_per_address,
            connections_per_user=settings.connections_per_user,
        )
        stack.callback(self.hub.close)
        self.auth = Auth(settings, self.users, EndedSessions(self.backend), clock, self._end_session, self._end_user)
        stack.push_async_callback(self.auth.close)
        stack.push_async_callback(self.inspector.close)
        await self.auth.open()
        await self._open_desk()
        self._furnish_chat()
        await self._furnish_uploads(stack)
        self._furnish_streams()
        self._furnish_calls()
        self._furnish_administration()
        self._furnish_doctor()
        self.metrics = make_metrics(self)
        self.tasks.keep(lambda: watch_loop_lag(self.tallies.loop_lag_seconds))
        stack.callback(self.refusal_log.close)
        stack.callback(self.unread_hints.close)
        stack.callback(self.calls.close)
        stack.callback(self.live_rooms.close)
        stack.push_async_callback(self.tasks.close)
        self.health.on_return(self._recover)
        keepers = (self.health.watch, self.hub.beat, self.desk.keep_time, self.calls.note_running, self._keep_time)
        for work in keepers:
            self.tasks.keep(work)
        await self.calls.open()
        if settings.demo:
            await furnish(self.users, self.auth, self.desk, self.membership, self.live_rooms, self.talk)
        await self._find_administrator()

    async def _open_desk(self) -> None:
        """Who may do what, before anybody is let in: with all that has expired meanwhile taken back."""
        self.desk = Desk(Policy(), Commits(self.backend), clock=self.clock, save_seconds=self.settings.save_seconds)
        try:
            await self.desk.open(await self.users.all_ids())
            await furnish_policy(self.desk)
        except Refusal as refusal:
            raise StartupFailure(f"The policy could not be read or stored: {refusal.message}", refusal.fix) from None
        self.auth.on_user_created = self.desk.add_user

    def _furnish_chat(self) -> None:
        settings, clock, spawn = self.settings, self.clock, self.tasks.spawn
        self.journals = Journals(
            self.messages,
            clock=clock,
            spawn=spawn,
            is_store_up=lambda: self.health.is_up,
            suspect_store=self.health.suspect,
            tallies=self.tallies,
            save_seconds=settings.save_seconds,
        )
        self.live_rooms = LiveRooms(
            self.rooms,
            self.messages,
            self.users,
            self.journals,
            self.desk.policy,
            self.desk.decisions,
            clock=clock,
            spawn=spawn,
            publish=self._publish,
        )
        self.fence = Fence(self.live_rooms, self.hub, self.users)
        self.desk.on_commit(self.fence.act)
        self.transfers = Transfers(self.live_rooms)
        self.fence.follow(self.transfers.judge)
        self.depot = Depot(settings, self.files, self.messages, clock=clock, spawn=spawn)
        self.talk = Talk(clock=clock, message_chars=settings.message_chars, keeper=self.depot.keeper, spawn=spawn)
        self.around = Around(self.rooms, clock=clock, spawn=spawn, typing_seconds=settings.typing_seconds)
        self.arrivals = Arrivals(
            self.live_rooms,
            self.messages,
            self.around,
            clock=clock,
            spawn=spawn,
            epoch=self.epoch,
            heartbeat_seconds=settings.heartbeat_seconds,
            grace_seconds=settings.presence_grace_seconds,
            # Half a queue: the other half is for what is said meanwhile.
            replay_limit=settings.replay_limit,
            limits=Limits(
                message_chars=settings.message_chars,
                upload_bytes=settings.upload_bytes,
                messages_per_second=settings.messages_per_second,
            ),
            ice_servers=IceServers(settings.ice_servers, settings.turn_secret, clock).for_user,
        )
        self.membership = Membership(self.live_rooms, self.rooms, self.users, self.desk, clock=clock)
        self.membership.on_end.append(lambda live: self.transfers.end_room(live.id))
        self.moderation = Moderation(self.membership, self.live_rooms, self.users, self.desk, clock=clock)
        self.invites = Invites(self.membership, self.live_rooms, self.rooms, clock=clock)
        self.views = Views(
            self.live_rooms, self.rooms, self.messages, self.users, self.desk.policy, clock=clock, epoch=self.epoch
        )
        self.search = Search(self.live_rooms, self.messages, self.views)

    async def _furnish_uploads(self, stack: AsyncExitStack) -> None:
        self.uploads = self.depot.make_uploads(
            self.inspector, self.live_rooms, self.transfers, self.talk, self.auth, self.health, lambda: self.draining
        )
        stack.push_async_callback(self.uploads.close)
        await self.uploads.open()
        self.tasks.keep(self.depot.sweep.watch)

    def _furnish_streams(self) -> None:
        """After the chat, so that rooms follow a commit before people are told of it."""
        self.streams = Streams(
            self.desk,
            clock=self.clock,
            epoch=self.epoch,
            heartbeat_seconds=self.settings.heartbeat_seconds,
            replay_bytes=self.settings.queue_bytes // 2,
            room_name=self._room_name,
        )
        self.desk.on_commit(self.streams.act)
        self.explainer = Explainer(self.desk, self.users, clock=self.clock)
        questions = Questions(self.desk, self.explainer, clock=self.clock, spawn=self.tasks.spawn)
        self.permission_dispatcher = PermissionDispatcher(
            self.streams, questions, self.hub, self.auth, clock=self.clock, spawn=self.tasks.spawn
        )
        call_later = asyncio.get_running_loop().call_later
        self.unread_hints = UnreadHints(self.streams, self.desk.policy, clock=self.clock, call_later=call_later)

    def _furnish_calls(self) -> None:
        clock, spawn = self.clock, self.tasks.spawn
        self.calls = make_calls(
            self.settings,
            self.live_rooms,
            RunningCalls(self.backend),
            self.messages,
            self.users,
            self.streams,
            clock,
            spawn,
        )
        self.calls.follow(self.arrivals, self.streams, self.hub, self.membership, self.fence)
        self.chat_dispatcher = ChatDispatcher(
            self.talk,
            self.around,
            self.calls,
            self.hub,
            self.auth,
            clock=clock,
            spawn=spawn,
            make_bucket=self.make_bucket,
        )

    def _furnish_administration(self) -> None:
        """What those who change the policy do."""
        desk, users, clock = self.desk, self.users, self.clock
        self.administration = Administration(desk, Commits(self.backend), users, self.auth, self.hub, clock=clock)
        self.notices = Notices(self.administration, desk, self.explainer, self.streams.notify, clock=clock)
        self.setup = Setup(desk, users, self.auth, self.administration.keepers, clock=clock)

    def _furnish_doctor(self) -> None:
        """What helps to find out why a socket does not open."""
        call_later = asyncio.get_running_loop().call_later
        self.refusal_log = RefusalLog(call_later)
        self.diagnosis = Diagnosis(self.settings, clock=self.clock, call_later=call_later)
        self.doctor_dispatcher = DoctorDispatcher(
            self.diagnosis, self.hub, self.auth, clock=self.clock, spawn=self.tasks.spawn
        )

    async def _find_administrator(self) -> None:
        """Make the one that was named; where there is none, a way for whoever started the server to become one."""
        if self.settings.create_admin:
            await self.setup.create(self.settings.create_admin, self.settings.admin_password)
        await self.setup.open()

    def _end_session(self, session_id: SessionId) -> None:
        self.hub.end_session(session_id)
        self.transfers.end_session(session_id)

    def _end_user(self, user_id: UserId, keep: SessionId | None) -> None:
        self.hub.end_user(user_id, keep)
        self.transfers.end_user(user_id, keep)

    def _room_name(self, room_id: RoomId) -> str:
        live = self.live_rooms.loaded(room_id)
        return live.state.room.name if live else ""

    def _publish(self, live: LiveRoom, steps: list[Published]) -> None:
        publish(live, steps)
        count_files(self.tallies, steps)
        self.depot.keeper.note(live, steps)
        self.unread_hints.note(live.state)

    def make_bucket(self) -> TokenBucket:
        """The rate at which one connection, or one user over REST, may send."""
        return TokenBucket(self.settings.messages_per_second, self.settings.message_burst)

    def _recover(self) -> None:
        """The store is back."""
        logger.info("the storage is back")
        self.live_rooms.recover()
        self.tasks.spawn(self._recover_desk())
        for live in self.live_rooms:
            self.around.recover(live)

    async def _recover_desk(self) -> None:
        # A refusal is tried again at the next return, and by the next commit in any case.
        with contextlib.suppress(Refusal):
            await self.desk.recover()

    async def _keep_time(self) -> None:
        """Give up writes that take too long, and let go of idle rooms."""
        loop = asyncio.get_running_loop()
        forget_at = loop.time()
        while True:
            await asyncio.sleep(JOURNAL_CHECK_SECONDS)
            self.journals.give_up_late()
            if loop.time() >= forget_at:
                self.live_rooms.forget_idle()
                forget_at = loop.time() + FORGET_EVERY_SECONDS

    async def drain(self) -> None:
        """Let writes land, ask everybody to come back in a moment, and end what is still being sent by then."""
        self.draining = True
        self.calls.pause()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.journals.settle(), SETTLE_SECONDS)
        await self.hub.drain(self.settings.drain_seconds)
        self.transfers.end_all(draining())
