"""What becomes of a complete upload: looked into, stored, shown by a message (PROTOCOL 5).

In this order, so that a crash between any two steps loses nothing that was acknowledged and leaves nothing for good:
the row (pending), the bytes, the message through the room's journal, the row confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from heartlink.chat import FileKeeper, LiveRoom, Said, Talk
from heartlink.errors import Refusal, StoreFault, not_saved
from heartlink.files.quotas import Quotas
from heartlink.files.spool import Spool, digest_of
from heartlink.media import Inspector, MediaFacts
from heartlink.model import FileId, RoomId, StoredFile, StoredMessage, User
from heartlink.store.files import Files
from heartlink.store.messages import fingerprint


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an upload shall become: the message around the file, and what the client says of the file itself."""

    room_id: RoomId
    name: str = ""
    content: str = ""
    client_id: str | None = None
    reply_to: int | None = None
    kind: str = ""
    duration: str | None = None
    waveform: str | None = None


class Publisher:
    """Turns complete uploads into messages."""

    def __init__(
        self,
        spool: Spool,
        files: Files,
        keeper: FileKeeper,
        quotas: Quotas,
        inspector: Inspector,
        talk: Talk,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._spool = spool
        self._files = files
        self._keeper = keeper
        self._quotas = quotas
        self._inspector = inspector
        self._talk = talk
        self._clock = clock

    async def publish(
        self,
        live: LiveRoom,
        user: User,
        capabilities: Callable[[], tuple[str, ...]],
        wish: Wish,
        path: Path,
        *,
        sha256: str,
        file_id: FileId,
        dedup: str,
    ) -> tuple[StoredMessage, bool]:
        """The message of a durable file at ``path``, which stays; True with it when it was stored before.

        ``capabilities`` says what the user may do at the moment it is called; it is called at the last step. Raises
        the Refusals of the inspector and of the journal; after ``not_saved`` the same call may be made again.
        """
        said = Said(
            content=wish.content,
            client_id=wish.client_id,
            reply_to=wish.reply_to,
            dedup=dedup,
            fingerprint=fingerprint(wish.content, "file", wish.reply_to, f"sha256:{sha256}"),
        )
        if await self._keeper.earlier(live, dedup) is not None:
            return await self._talk.post_file(live, user, capabilities(), None, said)
        self._keeper.busy.add(file_id)
        is_handed_over = False
        try:
            facts = await self._inspector.inspect(
                path, name=wish.name, as_voice=wish.kind == "voice", duration=wish.duration, waveform=wish.waveform
            )
            file = await self._store(live, user, facts, path, sha256=sha256, file_id=file_id, dedup=dedup)
            # From here on the keeper sees to the row, whatever becomes of the message.
            is_handed_over = True
            try:
                allowed = capabilities()
            except Refusal:
                self._keeper.drop(file)
                raise
            return await self._talk.post_file(live, user, allowed, file, said)
        finally:
            if not is_handed_over:
                self._keeper.busy.discard(file_id)
            await self._spool.remove(*self._inspector.leftovers(path))

    async def _store(
        self, live: LiveRoom, user: User, facts: MediaFacts, path: Path, *, sha256: str, file_id: FileId, dedup: str
    ) -> StoredFile:
        """The row, pending, and the bytes."""
        content, thumbnail = facts.cleaned or path, facts.thumbnail
        if facts.cleaned is not None:
            sha256 = await self._spool.do(lambda: digest_of(content))
        file = StoredFile(
            id=file_id,
            blob=file_id,
            room_id=live.id,
            owner_id=user.id,
            name=facts.name,
            size=facts.size_bytes,
            mime=facts.mime,
            kind=facts.kind,
            inline=facts.inline,
            sha256=sha256,
            dedup=dedup,
            created_at_ms=self._clock(),
            width=facts.width,
            height=facts.height,
            duration=facts.duration_seconds,
            waveform=facts.waveform,
            thumbnail_bytes=0 if thumbnail is None else thumbnail.stat().st_size,
        )
        try:
            async with self._keeper.holding(file.blob):
                is_new = await self._files.get(file_id) is None
                await self._files.put(file)
                if is_new:
                    self._quotas.kept(user.id, file.size + file.thumbnail_bytes)
                await self._files.put_bytes(file.blob, content, thumbnail)
        except StoreFault:
            self._quotas.doubt(user.id)
            raise not_saved() from None
        return file
