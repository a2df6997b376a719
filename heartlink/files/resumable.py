"""Uploads that can be gone on with, after a lost connection and after a restart (tus 1.0; PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from heartlink.chat import LiveRooms, new_file_id
from heartlink.errors import Refusal, conflict, not_found, too_large
from heartlink.files.gate import Gate
from heartlink.files.publisher import Publisher, Wish
from heartlink.files.quotas import Reservation
from heartlink.files.records import Record, Records
from heartlink.files.spool import Digest, Draft, Spool, digest_of
from heartlink.files.transfers import Transfer, Transfers
from heartlink.model import Identity, UserId
from heartlink.store.messages import dedup_key

UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")
UNFINISHED_PER_USER: Final = 100
"""Uploads that one user may have begun and not ended."""

TAKE_OVER_SECONDS: Final = 10.0
"""How long whoever takes an upload over waits until the one before has put away what it had."""

FOR_NOW: Final = frozenset({401, 429, 503, 507})
"""Refusals of the last step after which the bytes are kept: it can be asked for again."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Upload:
    """One of them, as the server knows it now."""

    def __init__(self, record: Record, offset: int, touched_ms: int, reservation: Reservation) -> None:
        self.record = record
        self.offset = offset
        """Bytes that are surely on the disk."""
        self.touched_ms = touched_ms
        self.reservation = reservation
        self.digest: Digest | None = None if offset else hashlib.sha256()
        """Of the bytes up to ``offset``; None where they came before a restart: then they are read again."""
        self.writing: Writing | None = None
        self.finishing: asyncio.Task[int] | None = None
        self.is_removed = False

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come."""
        return self.offset == self.record.length


class Resumables:
    """All uploads that can be gone on with."""

    def __init__(
        self,
        spool: Spool,
        gate: Gate,
        transfers: Transfers,
        publisher: Publisher,
        live_rooms: LiveRooms,
        *,
        clock: Callable[[], int],
        spawn: Spawn,
        keep_hours: float,
    ) -> None:
        self.spool = spool
        self.gate = gate
        self.transfers = transfers
        self.records = Records(spool)
        self._publisher = publisher
        self._live_rooms = live_rooms
        self._clock = clock
        self._spawn = spawn
        self._keep_ms = int(keep_hours * 3_600_000)
        self._uploads: dict[str, Upload] = {}
        self._beginning: Counter[UserId] = Counter()

    async def open(self) -> None:
        """Learn what a restart has left, and clear what is of no use."""
        for record, offset, touched_ms in await self.spool.do(self.records.load):
            unfinished = record.length if record.message_id is None else 0
            reservation = self.gate.quotas.hold(record.owner_id, unfinished)
            self._uploads[record.id] = Upload(record, offset, touched_ms, reservation)
        await self.expire()

    async def close(self) -> None:
        """Put away what has come of those that are running."""
        running = [upload.writing for upload in self._uploads.values() if upload.writing is not None]
        await asyncio.gather(*(writing.put_away() for writing in running))

    # The life of an upload

    async def begin(self, identity: Identity, wish: Wish, length: int, metadata: str = "") -> Upload:
        """A new upload; raises the Refusal that says why not."""
        user = identity.user
        self.gate.check_house()
        self.gate.check_wish(wish)
        self._check_unfinished(user.id)
        # Those who come together count each other: a place is taken before anything is awaited.
        self._beginning[user.id] += 1
        try:
            return await self._begin(identity, wish, length, metadata)
        finally:
            self._beginning[user.id] -= 1
            if not self._beginning[user.id]:
                del self._beginning[user.id]

    async def _begin(self, identity: Identity, wish: Wish, length: int, metadata: str) -> Upload:
        gate, user = self.gate, identity.user
        reservation = await gate.reserve(user, length)
        try:
            async with self._live_rooms.use(wish.room_id) as live:
                gate.check_right(live, identity)
            now_ms, upload_id = self._clock(), secrets.token_hex(16)
            own_key = secrets.token_hex(16)
            record = Record(
                id=upload_id,
                owner_id=user.id,
                wish=wish,
                length=length,
                file_id=new_file_id(),
                dedup=own_key if wish.client_id is None else dedup_key(wish.room_id, user.id, wish.client_id),
                created_at_ms=now_ms,
                metadata=metadata,
            )
            await self.spool.do(lambda: self.records.begin(record))
        except BaseException:
            reservation.release()
            raise
        upload = self._uploads[upload_id] = Upload(record, 0, now_ms, reservation)
        return upload

    def _check_unfinished(self, user_id: UserId) -> None:
        mine = (upload for upload in self._uploads.values() if upload.record.owner_id == user_id)
        unfinished = sum(upload.record.message_id is None for upload in mine) + self._beginning[user_id]
        if unfinished >= UNFINISHED_PER_USER:
            raise Refusal(
                "too_many",
                429,
                f"You have begun {UNFINISHED_PER_USER} uploads and ended none of them.",
                "Go on with them or remove them (DELETE), then begin another one.",
                retry_after_seconds=60.0,
            )

    def get(self, identity: Identity, upload_id: str) -> Upload:
        """An upload of one's own; raises ``not_found`` for everything else."""
        upload = self._uploads.get(upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
        if upload is None or upload.record.owner_id != identity.user.id or self._is_over(upload):
            raise not_found("This upload", "Its time may be over: begin it again with POST /api/uploads/.")
        return upload

    def expires_at_ms(self, upload: Upload) -> int:
        """Until when it can be gone on with, unless more comes."""
        return upload.touched_ms + self._keep_ms

    def _is_over(self, upload: Upload) -> bool:
        is_used = upload.writing is not None or upload.finishing is not None
        return not is_used and self.expires_at_ms(upload) <= self._clock()

    async def offset(self, upload: Upload) -> int:
        """How much of it is surely on the disk, with all that has come so far."""
        if upload.writing is not None:
            return await upload.writing.draft.sync()
        return upload.offset

    async def write(
        self, identity: Identity, upload: Upload, offset: int, length: int | None, end: Callable[[Refusal], None]
    ) -> Writing:
        """Go on from ``offset``; whoever was at it is ended. ``end`` is called when this one may go on no more."""
        if length is not None and offset + length > upload.record.length:
            raise too_large("What is sent", f"the Upload-Length of {upload.record.length} bytes")
        await self._take_over(upload)
        await self.spool.make_room(length or 0)
        async with self._live_rooms.use(upload.record.wish.room_id) as live:
            self.gate.check_right(live, identity)
            # Nothing is awaited from here on: two who came together must not both go on.
            self.gate.check_count(identity.user.id)
            if upload.writing is not None or upload.finishing is not None or upload.is_removed:
                raise locked()
            if offset != upload.offset:
                raise conflict(
                    f"The upload stands at {upload.offset}, not at {offset}.", "Ask with HEAD, and go on from there."
                )
            upload.writing = Writing(self, upload, identity, end)
            return upload.writing

    async def _take_over(self, upload: Upload) -> None:
        writing = upload.writing
        if writing is None:
            return
        writing.transfer.end(locked())
        try:
            async with asyncio.timeout(TAKE_OVER_SECONDS):
                await asyncio.shield(writing.put_away())
        except TimeoutError:
            raise locked() from None

    async def finish(self, identity: Identity, upload: Upload) -> int:
        """The message of a complete upload; asked for again, it is the same one. Raises what forbids it."""
        if upload.record.message_id is not None:
            return upload.record.message_id
        if upload.finishing is None:
            # Whoever asked may be gone before it is done.
            upload.finishing = asyncio.ensure_future(self._finish(identity, upload))
            upload.finishing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(upload.finishing)

    async def _finish(self, identity: Identity, upload: Upload) -> int:
        record = upload.record
        try:
            path = self.records.part(record.id)
            if upload.digest is None:
                sha256 = await self.spool.do(lambda: digest_of(path))
            else:
                sha256 = upload.digest.hexdigest()
            async with self._live_rooms.use(record.wish.room_id) as live:
                row, _ = await self._publisher.publish(
                    live,
                    identity.user,
                    lambda: self.gate.capabilities(live, identity),
                    record.wish,
                    path,
                    sha256=sha256,
                    file_id=record.file_id,
                    dedup=record.dedup,
                )
        except Refusal as refusal:
            if refusal.status not in FOR_NOW:
                await self._forget(upload)
            raise
        finally:
            upload.finishing = None
        upload.touched_ms = self._clock()
        upload.record = done = msgspec.structs.replace(record, message_id=row.message.id)
        upload.reservation.release()
        await self.spool.do(lambda: self.records.finish(done))
        return row.message.id

    async def remove(self, upload: Upload) -> None:
        """The rest will not come; raises ``conflict`` when it is about to be a message."""
        if upload.finishing is not None or upload.record.message_id is not None:
            raise conflict("All of it has come: it is a message, or about to be one.", "Delete the message.")
        upload.is_removed = True
        await self._take_over(upload)
        await self._forget(upload)

    async def _forget(self, upload: Upload) -> None:
        upload.is_removed = True
        self._uploads.pop(upload.record.id, None)
        upload.reservation.release()
        await self.spool.do(lambda: self.records.remove(upload.record.id))

    async def expire(self) -> None:
        """Forget those whose time is over."""
        for upload in [upload for upload in self._uploads.values() if self._is_over(upload)]:
            await self._forget(upload)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the requests."""
        self._spawn(work)

    def touch(self, upload: Upload) -> None:
        """More of it has come: its time begins anew."""
        upload.touched_ms = self._clock()


class Writing:
    """A request that goes on with an upload: ``take`` what comes, then ``done``; ``close`` in any case."""

    def __init__(
        self, resumables: Resumables, upload: Upload, identity: Identity, end: Callable[[Refusal], None]
    ) -> None:
        self.upload = upload
        self._resumables = resumables
        record = upload.record
        self.draft = Draft(
            resumables.spool,
            resumables.records.part(record.id),
            offset=upload.offset,
            digest=upload.digest,
            on_synced=resumables.records.marker(record.id),
        )
        self.transfer = Transfer("upload", record.wish.room_id, identity, end)
        self._putting_away: asyncio.Task[None] | None = None
        resumables.transfers.begin(self.transfer)

    async def take(self, data: bytes) -> None:
        """More of it; returns when more may come."""
        length = self.upload.record.length
        if self.draft.length + len(data) > length:
            raise too_large("What is sent", f"the Upload-Length of {length} bytes")
        await self.draft.write(data)

    async def done(self) -> int:
        """Have all that has come on the disk; the offset from which to go on."""
        await self.draft.sync()
        await self.put_away()
        return self.upload.offset

    def close(self) -> None:
        """The request is over: what has come is put away, to be gone on with. Safe to call twice."""
        if self._putting_away is None:
            self._resumables.spawn(self.put_away())

    async def put_away(self) -> None:
        """Sync what has come, and let go of the file; many may wait for it."""
        if self._putting_away is None:
            self._putting_away = asyncio.ensure_future(self._put_away())
        await asyncio.shield(self._putting_away)

    async def _put_away(self) -> None:
        resumables, upload = self._resumables, self.upload
        resumables.transfers.over(self.transfer)
        try:
            if not upload.is_removed:
                await self.draft.sync()
        except Refusal:
            # The disk is full: what was synced before counts.
            pass
        finally:
            await self.draft.close()
            upload.offset = self.draft.synced
            if not self.draft.is_synced:
                upload.digest = None
            upload.writing = None
            resumables.touch(upload)


def locked() -> Refusal:
    """Another request goes on with the same upload."""
    return Refusal(
        "locked",
        423,
        "Another request goes on with this upload.",
        "Ask with HEAD how much has come, and go on from there.",
        retry_after_seconds=1.0,
    )
