"""What stays of calls: the line in the history, stored once whatever happens, and calls taken up after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from heartlink.calls.board import Board, Running
from heartlink.calls.machine import Call, words
from heartlink.chat import LiveRoom, LiveRooms
from heartlink.errors import Refusal, StoreFault
from heartlink.journal import Amend, Post
from heartlink.model import CallRecord, RoomId, RunningCall, StoredMessage, User, UserId
from heartlink.store.calls import RunningCalls
from heartlink.store.messages import Messages, dedup_key
from heartlink.store.users import Users

SEEN_EVERY_SECONDS: Final = 15.0
"""How often it is noted that a call still runs: how exact its length is when the server is killed."""

RETRY_SECONDS: Final = 1.0
"""How long a line rests that the store did not take."""

logger = logging.getLogger(__name__)


class Lines:
    """Stores calls while they run, and the line of each that is over."""

    def __init__(
        self,
        calls: RunningCalls,
        messages: Messages,
        users: Users,
        live_rooms: LiveRooms,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._calls = calls
        self._messages = messages
        self._users = users
        self._live_rooms = live_rooms
        self._clock = clock

    async def keep(self, call: Call) -> None:
        """Store a running call's present state; raises StoreFault."""
        await self._calls.put(call.stored(self._clock()))

    async def keep_quietly(self, call: Call) -> None:
        """The same where nobody waits for it: the next time will do."""
        if not call.is_over:
            with contextlib.suppress(StoreFault):
                await self.keep(call)

    async def forget(self, call_id: str) -> None:
        """A call is in the history, or was never told of; what stays here is found at the next start."""
        with contextlib.suppress(StoreFault):
            await self._calls.delete(call_id)

    async def note_running(self, board: Board) -> None:
        """Note every while that the calls still run; runs as long as the server."""
        while True:
            await asyncio.sleep(SEEN_EVERY_SECONDS)
            for running in board:
                await self.keep_quietly(running.call)

    async def write(self, running: Running) -> None:
        """Put the line of a call that is over into the history, as often as it takes."""
        call, live = running.call, running.live
        while True:
            try:
                caller = live.user(call.caller_id) or await self._users.get(call.caller_id)
                if caller is not None:
                    await _post(live, caller, call.record)
                break
            except (Refusal, StoreFault) as fault:
                logger.info("the line of call %s waits for the store: %s", call.id, fault)
                await asyncio.sleep(RETRY_SECONDS)
        await self.forget(call.id)

    async def restore(self, board: Board) -> list[tuple[Running, RunningCall]]:
        """Take up the calls that ran when the server went down; call before anybody is let in."""
        found = []
        for stored in await self._calls.all():
            if await self._messages.sent_as(dedup_of(stored.room_id, stored.id)) is not None:
                await self.forget(stored.id)
                continue
            try:
                async with self._live_rooms.use(stored.room_id) as live:
                    invited = frozenset(live.state.members) - {stored.caller_id}
                    found.append((board.add(Call.restored(stored, invited), live), stored))
            except Refusal:
                await self.forget(stored.id)
        return found


async def _post(live: LiveRoom, caller: User, record: CallRecord) -> None:
    """Store and publish a call's line, once however often it is asked for; raises ``not_saved``."""
    settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool) -> None:
        if settled.done():
            return
        if isinstance(outcome, Refusal):
            settled.set_exception(outcome)
        else:
            settled.set_result(None)

    live.journal.submit(
        Post(
            caller,
            settle,
            content=words(record),
            message_type="system",
            client_id=None,
            dedup=dedup_of(live.id, record.call_id),
            fingerprint=record.call_id,
            reply_to=None,
            mentions=(),
            call=record,
        )
    )
    await settled


def dedup_of(room_id: RoomId, call_id: str) -> str:
    """What exists once of a call's line; no user has this id, so that nobody can take it first."""
    return dedup_key(room_id, UserId("a call"), call_id)
