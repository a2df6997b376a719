"""Finishes or removes what crashes and failures have left: no file without its message, no bytes without a file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from heartlink.chat import FileKeeper
from heartlink.errors import StoreFault
from heartlink.files.resumable import Resumables
from heartlink.model import RoomId, StoredFile
from heartlink.store.files import Files, content_blob
from heartlink.store.messages import Messages

SWEEP_SECONDS: Final = 15.0
"""Between two looks at what is pending."""

GRACE_MS: Final = 10_000
LONG_GRACE_MS: Final = 120_000
"""How long a row may be pending: one from before the start, whose writer is gone, and one of our own. A write that the
store has not answered may still land for a while."""

WHOLE_SECONDS: Final = 24 * 3600.0
"""Between two looks at everything."""

PAUSE_SECONDS: Final = 0.05
"""Between two pages of everything: others want the store as well."""

logger = logging.getLogger(__name__)


class Sweep:
    """Looks after files in the background; nobody waits for it."""

    def __init__(
        self,
        files: Files,
        messages: Messages,
        keeper: FileKeeper,
        resumables: Resumables,
        *,
        clock: Callable[[], int],
        is_store_up: Callable[[], bool],
    ) -> None:
        self._files = files
        self._messages = messages
        self._keeper = keeper
        self._resumables = resumables
        self._clock = clock
        self._is_store_up = is_store_up
        self._started_ms = clock()

    async def watch(self) -> None:
        """Sweep for ever: what is pending often, everything at the start and once a day."""
        loop = asyncio.get_running_loop()
        whole_at = loop.time()
        while True:
            if self._is_store_up():
                try:
                    await self.sweep()
                    if loop.time() >= whole_at:
                        await self.sweep_all()
                        whole_at = loop.time() + WHOLE_SECONDS
                except StoreFault:
                    logger.info("the storage is away; files are swept when it is back")
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """What is known to be unsettled; raises StoreFault."""
        await self._resumables.expire()
        await self._keeper.release_left()
        for file in await self._files.pending():
            if file.id not in self._keeper.busy and self._is_late(file):
                await self._settle(file)

    def _is_late(self, file: StoredFile) -> bool:
        grace_ms = GRACE_MS if file.created_at_ms < self._started_ms else LONG_GRACE_MS
        return file.created_at_ms + grace_ms <= self._clock()

    async def _settle(self, file: StoredFile) -> None:
        """Confirm a pending file whose message is stored after all; remove any other."""
        row = await self._messages.sent_as(file.dedup)
        shown = row.message.file if row is not None else None
        if row is not None and shown is not None and shown.id == file.id:
            await self._keeper.confirm(file, row.message.id)
        else:
            logger.info("file %s has no message and is removed", file.id)
            await self._keeper.remove(file, even_busy=False)

    async def sweep_all(self) -> None:
        """Every file, and then every content: those of nobody are removed; raises StoreFault."""
        after = ""
        while page := await self._files.all_after(after):
            after = page[-1].id
            for file in await self._unshown(page):
                logger.info("the message of file %s is gone, and the file is removed", file.id)
                await self._keeper.remove(file)
            await asyncio.sleep(PAUSE_SECONDS)
        after = ""
        while ids := await self._files.blobs(after):
            after = ids[-1]
            for blob in dict.fromkeys(map(content_blob, ids)):
                await self._keeper.remove_unowned(blob)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _unshown(self, page: list[StoredFile]) -> list[StoredFile]:
        """Those of some confirmed files whose message was deleted, or shows another file."""
        wanted: dict[RoomId, list[StoredFile]] = {}
        for file in page:
            if file.message_id is not None and file.id not in self._keeper.busy and self._is_late(file):
                wanted.setdefault(file.room_id, []).append(file)
        found: list[StoredFile] = []
        for room_id, files in wanted.items():
            ids = [file.message_id for file in files if file.message_id is not None]
            shown = {row.message.id: row.message.file for row in await self._messages.get_many(room_id, ids)}
            for file in files:
                view = shown.get(file.message_id or 0)
                if view is None or view.id != file.id:
                    found.append(file)
        return found
