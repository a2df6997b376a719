"""Files on their way out: rights at each request, ranges, and an end in the turn in which a right ends (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, Final, cast
from urllib.parse import quote

from tornado.httputil import format_timestamp

from heartlink.errors import BlobMissing, Refusal, StoreUnavailable, busy, not_found, unauthenticated
from heartlink.files import Transfer
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.handlers.ranges import Content, choose_part, no_such_range, not_as_expected
from heartlink.media import INLINE, PLAYED, THUMBNAIL_TYPE
from heartlink.model import FileId, StoredFile, User
from heartlink.store.files import thumbnail_blob

FILE_ID_CHARS: Final = 64
DOWNLOADS_PER_USER: Final = 256
DOWNLOADS_OF_GUESTS: Final = 512
DOWNLOADS_LIMIT: Final = 4096
"""Downloads that run at once: of one user, of all who are not signed in, of all."""

PIECE_SECONDS: Final = 120.0
"""How long a reader may take for one piece of a file."""

TAG_CHARS: Final = 32
CONTENT_POLICY: Final = "default-src 'none'; sandbox"
PLAYER_POLICY: Final = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox allow-same-origin"
"""For what plays: opened by itself it is a page that the browser makes, which loads it once more, with the cookie."""

_PLAIN: Final = frozenset("!#$&+-.^_`|~ ()[]{}@,;=")


class DownloadHandler(JsonHandler):
    """What a file and its preview share."""

    async def send(self, file_id: str, *, as_thumbnail: bool) -> None:
        """Send a file, or its preview, to whoever may read the room of its message."""
        file = await self._find(file_id)
        if file is None:
            raise self._unknown()
        async with self.house.live_rooms.use(file.room_id) as live:
            self._check_may_read(file, self.identity.user if self.identity else None)
            if as_thumbnail and not file.thumbnail_bytes:
                raise not_found("A preview of this file", "Ask for the file itself.")
            message_id = self.house.depot.keeper.message_of(file)
            transfer = Transfer("download", live.id, self.identity, self._cut, message_id)
            self.house.transfers.begin(transfer)
            try:
                await self._answer(file, as_thumbnail)
            finally:
                self.house.transfers.over(transfer)

    async def _find(self, file_id: str) -> StoredFile | None:
        is_id = len(file_id) <= FILE_ID_CHARS and file_id.isascii() and file_id.isprintable()
        file = await self.house.files.get(FileId(file_id)) if is_id else None
        if file is not None and self.house.depot.keeper.message_of(file) is None:
            # Its row may have been confirmed while it was on its way here.
            file = await self.house.files.get(file.id)
        return file

    def _unknown(self) -> Refusal:
        # The same for a file that does not exist and for one of other people's rooms.
        return unauthenticated() if self.identity is None else not_found("This file")

    def _check_may_read(self, file: StoredFile, user: User | None) -> None:
        """Raise a Refusal unless whoever asks may read the file now, and may begin another download."""
        house, user_id = self.house, user.id if user else None
        live = house.live_rooms.loaded(file.room_id)
        if live is None or (self.identity is not None and not house.auth.is_current(self.identity)):
            raise unauthenticated()
        if not house.live_rooms.may(live, user_id, "chat.read"):
            refusal = house.views.why_not_readable(live, user)
            raise self._unknown() if refusal.code == "not_a_member" else refusal
        if house.depot.keeper.is_gone(file):
            raise not_found("This file")
        running = house.transfers.count(user_id, "download")
        if running >= (DOWNLOADS_PER_USER if user else DOWNLOADS_OF_GUESTS) or len(house.transfers) >= DOWNLOADS_LIMIT:
            raise busy("downloads")

    async def _answer(self, file: StoredFile, as_thumbnail: bool) -> None:
        tag = file.sha256[:TAG_CHARS]
        content = Content(
            file.thumbnail_bytes if as_thumbnail else file.size,
            f'"{tag}-thumbnail"' if as_thumbnail else f'"{tag}"',
            file.created_at_ms // 1000,
        )
        part = choose_part(str(self.request.method), self.request.headers, content)
        self._put_headers(content)
        if part.status == 416:
            self.set_header("Content-Range", f"bytes */{content.size_bytes}")
            self.answer_refusal(no_such_range(content.size_bytes))
            return
        if part.status == 412:
            raise not_as_expected()
        self.set_status(part.status)
        if part.status == 304:
            self.finish()
            return
        self._put_kind(file, as_thumbnail)
        self.set_header("Content-Length", str(part.length))
        if part.status == 206:
            last = part.start + part.length - 1
            self.set_header("Content-Range", f"bytes {part.start}-{last}/{content.size_bytes}")
        if self.request.method != "HEAD" and part.length:
            blob = thumbnail_blob(file.blob) if as_thumbnail else file.blob
            await self._pour(blob, part.start, part.length)

    def _put_headers(self, content: Content) -> None:
        """What every answer about a file carries: kept only by whoever asked, and asked for again each time."""
        self.set_header("ETag", content.etag)
        self.set_header("Last-Modified", format_timestamp(content.modified_seconds))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Cache-Control", "private, no-cache")
        self.add_header("Vary", "Cookie, Authorization")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Content-Security-Policy", CONTENT_POLICY)
        if "Access-Control-Allow-Origin" in self._headers:
            exposed = "Retry-After, Content-Range, Content-Disposition, ETag, Last-Modified"
            self.set_header("Access-Control-Expose-Headers", exposed)

    def _put_kind(self, file: StoredFile, as_thumbnail: bool) -> None:
        is_inline = as_thumbnail or (file.inline and file.mime in INLINE)
        self.set_header("Content-Type", THUMBNAIL_TYPE if as_thumbnail else file.mime)
        self.set_header("Content-Disposition", disposition(file.name, is_inline=is_inline))
        if is_inline and not as_thumbnail and file.mime in PLAYED:
            self.set_header("Content-Security-Policy", PLAYER_POLICY)

    # The bytes

    async def _pour(self, blob: str, start: int, length: int) -> None:
        """Send piece by piece, each when the one before has left; a reader who is slow has one of them wait."""
        try:
            async with aclosing(cast(Any, self.house.files.read(blob, start, length))) as pieces:
                async for piece in pieces:
                    if not self._may_go_on():
                        break
                    self.write(piece)
                    async with asyncio.timeout(PIECE_SECONDS):
                        await self.flush()
        except TimeoutError:
            self._cut()
        except (BlobMissing, StoreUnavailable) as fault:
            if not self._headers_written:
                raise not_found("This file") if isinstance(fault, BlobMissing) else fault from None
            self._cut()

    def _may_go_on(self) -> bool:
        if self.identity is not None and not self.house.auth.is_current(self.identity):
            self._cut()
        return not self._stream().closed()

    def _cut(self, _: Refusal | None = None) -> None:
        """End the connection: what waits in it is dropped, and the reader sees fewer bytes than were announced."""
        self._stream().close()

    def _stream(self) -> Any:
        return cast(Any, self.request.connection).stream


class FileHandler(DownloadHandler):
    """A file. The name in its address is for people; only the id counts."""

    operations = describe(
        GET=Operation(
            "A file, or the part that `Range` names; with `ETag`, as an attachment unless it is safe to show.",
            also=(206, 304),
            errors=(403, 404, 412, 416),
        )
    )

    async def get(self, file_id: str, name: str) -> None:
        """The file."""
        await self.send(file_id, as_thumbnail=False)


class ThumbnailHandler(DownloadHandler):
    """The preview of an image."""

    operations = describe(
        GET=Operation(
            "A small WebP picture of an image; 404 for other files.", also=(206, 304), errors=(403, 404, 412, 416)
        )
    )

    async def get(self, file_id: str) -> None:
        """The preview."""
        await self.send(file_id, as_thumbnail=True)


def disposition(name: str, *, is_inline: bool) -> str:
    """``Content-Disposition`` by RFC 6266: the name in plain letters for old clients, and as it is."""
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in _PLAIN) else "_" for character in name
    )
    kind = "inline" if is_inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


DOWNLOAD_ROUTES = [
    (r"/files/([^/]+)/thumbnail", ThumbnailHandler, "the preview of an image"),
    (r"/files/([^/]+)/([^/]*)", FileHandler, "a file"),
]
