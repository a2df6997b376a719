"""An upload in one request: streamed to the spool, and made a message at its end."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.chat import LiveRoom, LiveRooms, new_file_id
from heartlink.errors import Refusal, draining
from heartlink.files.gate import Gate
from heartlink.files.publisher import Publisher, Wish
from heartlink.files.quotas import Reservation
from heartlink.files.resumable import Resumables
from heartlink.files.spool import Draft, Spool
from heartlink.files.transfers import Transfer, Transfers
from heartlink.model import Identity, RoomId, StoredMessage
from heartlink.store.messages import dedup_key

SUFFIX: Final = ".post"
"""Of the spool's files that are of no use after a restart."""


class Uploads:
    """Uploads in one request each; beside them those that can be gone on with."""

    def __init__(
        self,
        spool: Spool,
        gate: Gate,
        transfers: Transfers,
        publisher: Publisher,
        live_rooms: LiveRooms,
        resumables: Resumables,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.spool = spool
        self.gate = gate
        self.transfers = transfers
        self.publisher = publisher
        self.live_rooms = live_rooms
        self.resumables = resumables
        self.spawn = spawn

    async def open(self) -> None:
        """Make the spool, and learn what a restart has left in it."""
        self.spool.open()
        await self.resumables.open()

    async def close(self) -> None:
        """End what is running, and let go of the spool."""
        self.transfers.end_all(draining())
        await self.resumables.close()
        await asyncio.get_running_loop().run_in_executor(None, self.spool.close)

    async def begin(
        self, identity: Identity, room_id: RoomId, length: int | None, end: Callable[[Refusal], None]
    ) -> Incoming:
        """Let an upload begin; ``end`` is called when it may go on no more. Raises the Refusal that says why not."""
        self.gate.check_house()
        reservation = await self.gate.reserve(identity.user, length)
        try:
            async with self.live_rooms.use(room_id) as live:
                self.gate.check_right(live, identity)
                # Counted in the turn in which it becomes one of them: those who come together do not all slip through.
                self.gate.check_count(identity.user.id)
                return Incoming(self, identity, room_id, reservation, end)
        except BaseException:
            reservation.release()
            raise


class Incoming:
    """One of them: ``take`` what comes, then ``finish``, and ``close`` in any case."""

    def __init__(
        self,
        uploads: Uploads,
        identity: Identity,
        room_id: RoomId,
        reservation: Reservation,
        end: Callable[[Refusal], None],
    ) -> None:
        self._uploads = uploads
        self._identity = identity
        self._room_id = room_id
        self._reservation = reservation
        path = uploads.spool.folder / f"{secrets.token_hex(16)}{SUFFIX}"
        self._digest = hashlib.sha256()
        self._draft = Draft(uploads.spool, path, digest=self._digest)
        self._transfer = Transfer("upload", room_id, identity, end)
        self._is_closed = self._is_finishing = False
        uploads.transfers.begin(self._transfer)

    async def take(self, data: bytes) -> None:
        """More of the file; returns when more may come."""
        length = self._draft.length + len(data)
        self._uploads.gate.quotas.check_length(length)
        self._reservation.grow_to(length)
        await self._draft.write(data)

    async def finish(self, wish: Wish, answer: Callable[[LiveRoom, StoredMessage, bool], None]) -> None:
        """Have the file on the disk, then in a message; ``answer`` is called with that while its room is in use."""
        self._is_finishing = True
        try:
            await self._finish(wish, answer)
        finally:
            self._is_finishing = False
            if self._is_closed:
                self._uploads.spawn(self._clear())

    async def _finish(self, wish: Wish, answer: Callable[[LiveRoom, StoredMessage, bool], None]) -> None:
        uploads, user = self._uploads, self._identity.user
        uploads.gate.check_wish(wish)
        await self._draft.sync()
        client_id = wish.client_id
        dedup = secrets.token_hex(16) if client_id is None else dedup_key(self._room_id, user.id, client_id)
        async with uploads.live_rooms.use(self._room_id) as live:
            row, duplicate = await uploads.publisher.publish(
                live,
                user,
                lambda: uploads.gate.capabilities(live, self._identity),
                wish,
                self._draft.path,
                sha256=self._digest.hexdigest(),
                file_id=new_file_id(),
                dedup=dedup,
            )
            answer(live, row, duplicate)

    def close(self) -> None:
        """It is over: what lies in the spool goes. Safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._uploads.transfers.over(self._transfer)
            self._reservation.release()
            # What is being made a message is needed until that is decided.
            if not self._is_finishing:
                self._uploads.spawn(self._clear())

    async def _clear(self) -> None:
        await self._draft.close()
        await self._uploads.spool.remove(self._draft.path)
