"""The files that messages show: whose row is whose, and when the last message that showed the bytes is gone."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

import msgspec

from heartlink.chat.live import LiveRoom
from heartlink.errors import Refusal, StoreFault, not_found, not_saved
from heartlink.journal import Amend, Post, Published
from heartlink.model import FileId, RoomId, StoredFile, StoredMessage, User, UserId
from heartlink.protocol import SendMessage
from heartlink.store.files import Files
from heartlink.store.messages import Messages, dedup_key

FILE_ID: Final = re.compile(r"[0-9a-f]{32}")
FILE_TYPES: Final = frozenset({"image", "voice", "video", "file"})
"""Types of messages that show a file."""

Work = Coroutine[Any, Any, None]
Answer = Callable[..., None]

logger = logging.getLogger(__name__)


class Said(NamedTuple):
    """What is said along with a file, and by what it is known again."""

    content: str
    client_id: str | None
    reply_to: int | None
    dedup: str
    fingerprint: str


class Charge(Protocol):
    """Who counts the bytes of users."""

    async def reserve(self, user_id: UserId, length: int) -> Any: ...

    def kept(self, user_id: UserId, more_bytes: int) -> None: ...


def new_file_id() -> FileId:
    """A fresh id, which nobody can guess."""
    return FileId(secrets.token_hex(16))


def dedup_of(live: LiveRoom, user: User, command: SendMessage) -> str:
    """Under what a message is stored once."""
    return secrets.token_hex(16) if command.client_id is None else dedup_key(live.id, user.id, command.client_id)


class FileKeeper:
    """Keeps rows, bytes and messages together. Each message has a row of its own; rows may share their bytes."""

    def __init__(
        self,
        files: Files,
        messages: Messages,
        charge: Charge,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Work], None],
    ) -> None:
        self._files = files
        self._messages = messages
        self._charge = charge
        self._clock = clock
        self._spawn = spawn
        self._holders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._gone: dict[tuple[RoomId, int], None] = {}
        self._shown: dict[FileId, int] = {}
        """Files whose messages were published, and whose rows do not say so yet."""
        self.busy: set[FileId] = set()
        """Rows somebody is working on now; whoever looks for what was left behind passes them over."""
        self.on_gone: Callable[[RoomId, int], None] = lambda room_id, message_id: None
        """Called in the turn in which a message with a file was deleted."""

    # Sharing

    async def earlier(self, live: LiveRoom, dedup: str) -> StoredMessage | None:
        """The message that was stored under a dedup key; raises ``not_saved`` when that cannot be known."""
        found = live.state.recent.sent_as(dedup)
        if found is not None:
            return found
        try:
            return await self._messages.sent_as(dedup)
        except StoreFault:
            raise not_saved() from None

    async def share(self, live: LiveRoom, user: User, command: SendMessage) -> StoredFile | None:
        """A new row, for another message, of a file that a message of this room shows.

        None when the message was stored before: then the journal knows what to answer.
        """
        if command.client_id is not None and await self.earlier(live, dedup_of(live, user, command)):
            return None
        shown = await self._find(live, command.file_id or "")
        reservation = await self._charge.reserve(user.id, shown.size + shown.thumbnail_bytes)
        copy = msgspec.structs.replace(
            shown,
            id=new_file_id(),
            owner_id=user.id,
            dedup=dedup_of(live, user, command),
            created_at_ms=self._clock(),
            message_id=None,
        )
        self.busy.add(copy.id)
        try:
            async with self.holding(shown.blob):
                # The last message that showed it may have gone while it was this one's turn.
                await self._find(live, shown.id)
                await self._files.put(copy)
        except BaseException as error:
            self.busy.discard(copy.id)
            if isinstance(error, StoreFault):
                raise not_saved() from None
            raise
        finally:
            reservation.release()
        self._charge.kept(user.id, copy.size + copy.thumbnail_bytes)
        return copy

    async def _find(self, live: LiveRoom, file_id: str) -> StoredFile:
        try:
            found = await self._files.get(FileId(file_id)) if FILE_ID.fullmatch(file_id) else None
        except StoreFault:
            raise not_saved() from None
        if found is None or found.room_id != live.id or self.message_of(found) is None or self.is_gone(found):
            raise not_found("The file", "Share one that a message of this room shows, or upload it.")
        return found

    # What becomes of a row when its message does

    def settling(self, file: StoredFile | None, answer: Answer) -> Answer:
        """``answer``, which also sees to the row of the file whose message is posted."""
        if file is None:
            return answer

        def settle(entry: Post | Amend, outcome: StoredMessage | Refusal, *, duplicate: bool, published: bool) -> None:
            self._later(self._settle(file, outcome), file)
            answer(entry, outcome, duplicate=duplicate, published=published)

        return settle

    def drop(self, file: StoredFile | None) -> None:
        """There will be no message: the row goes."""
        if file is not None:
            self._later(self._settle(file, None), file)

    def _later(self, work: Work, file: StoredFile | None = None) -> None:
        """Do something beside the requests; when there is too much of that, the sweep does it."""
        try:
            self._spawn(work)
        except Refusal:
            logger.warning("too much is under way; files are left to the sweep")
            if file is not None:
                self.busy.discard(file.id)

    async def _settle(self, file: StoredFile, outcome: StoredMessage | Refusal | None) -> None:
        try:
            if isinstance(outcome, Refusal) and outcome.code == "not_saved":
                # Perhaps it is stored after all: the sweep finds out.
                return
            shown = outcome.message.file if isinstance(outcome, StoredMessage) else None
            if shown is None or shown.id != file.id:
                await self.remove(file)
        except StoreFault:
            logger.info("the row of file %s is left to the sweep", file.id)
        finally:
            self.busy.discard(file.id)

    async def confirm(self, file: StoredFile, message_id: int) -> None:
        """The message of a file is stored: have its row say so."""
        if file.message_id is None:
            await self._files.confirm(file, message_id)
        self._shown.pop(file.id, None)
        if (file.room_id, message_id) in self._gone:
            await self.remove(file)

    async def _confirm(self, file_id: FileId, message_id: int) -> None:
        try:
            file = await self._files.get(file_id)
            if file is None:
                self._shown.pop(file_id, None)
            else:
                await self.confirm(file, message_id)
        except StoreFault:
            logger.info("the row of file %s is left to the sweep", file_id)

    def message_of(self, file: StoredFile) -> int | None:
        """The message that shows a file, as far as is known."""
        return self._shown.get(file.id) if file.message_id is None else file.message_id

    async def remove(self, file: StoredFile, *, even_busy: bool = True) -> None:
        """Remove a row, and its bytes unless another row has them; safe to call again."""
        async with self.holding(file.blob):
            if (even_busy or file.id not in self.busy) and await self._files.remove(file):
                self._charge.kept(file.owner_id, -file.size - file.thumbnail_bytes)

    async def remove_unowned(self, blob: str) -> None:
        """Remove bytes that belong to no row and to nobody who is about to make one."""
        if FileId(blob) in self.busy:
            return
        async with self.holding(blob):
            if not await self._files.shows(blob) and FileId(blob) not in self.busy:
                logger.info("bytes %s belong to no file and are removed", blob)
                await self._files.remove_bytes(blob)

    # What was published

    def note(self, live: LiveRoom, steps: list[Published]) -> None:
        """Steps were published: files are shown, and of a message that was deleted nobody gets the file any more."""
        for row, change, _ in steps:
            message = row.message
            if change is None and message.file is not None:
                self._shown[message.file.id] = message.id
                self._later(self._confirm(message.file.id, message.id))
            elif change == "deleted" and message.message_type in FILE_TYPES:
                self._gone[live.id, message.id] = None
                self.on_gone(live.id, message.id)
                self._later(self._release(live.id, message.id))

    def is_gone(self, file: StoredFile) -> bool:
        """Whether the message of a file was deleted, though its row is still there."""
        message_id = self.message_of(file)
        return message_id is not None and (file.room_id, message_id) in self._gone

    async def _release(self, room_id: RoomId, message_id: int) -> None:
        try:
            for file in await self._files.of_message(room_id, message_id):
                await self.remove(file)
        except StoreFault:
            logger.info("the file of a deleted message is left to the sweep")

    async def release_left(self) -> None:
        """Try again what could not be removed, and forget whose files are gone; raises StoreFault."""
        for key in list(self._gone):
            for file in await self._files.of_message(*key):
                await self.remove(file)
            self._gone.pop(key, None)

    @asynccontextmanager
    async def holding(self, blob: str) -> AsyncIterator[None]:
        """Nobody else shares or removes these bytes meanwhile."""
        lock = self._holders.setdefault(blob, asyncio.Lock())
        async with lock:
            yield
