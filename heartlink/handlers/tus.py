"""tus 1.0: uploads that can be gone on with. Core, creation (also with a first piece), expiration, termination.

https://tus.io/protocols/resumable-upload; what is HeartLink's own is in docs/protocol.md.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import Final

from tornado.httputil import format_timestamp

from heartlink.errors import (
    Refusal,
    invalid_parameters,
    method_not_allowed,
    missing_parameters,
    not_found,
    rate_limited,
    unfit,
)
from heartlink.files import Upload, Writing
from heartlink.handlers.base import Operation, describe
from heartlink.handlers.streaming import StreamingHandler
from heartlink.handlers.uploads import read_wish
from heartlink.model import RoomId

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,expiration,termination"
PIECE_TYPE: Final = "application/offset+octet-stream"
OVERRIDE: Final = "X-HTTP-Method-Override"
MESSAGE_HEADER: Final = "HeartLink-Message-Id"
PATH: Final = "/api/uploads/"
LENGTH: Final = re.compile("[0-9]{1,18}")
EXPOSED: Final = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires, Tus-Resumable, Tus-Version, "
    f"Tus-Extension, Tus-Max-Size, {MESSAGE_HEADER}, Retry-After"
)
ALLOWED: Final = (
    f"Authorization, Content-Type, Tus-Resumable, Upload-Length, Upload-Metadata, Upload-Offset, {OVERRIDE}"
)
OWN_NAMES: Final = {"filename": "name"}
"""Metadata that is called otherwise in a plain upload."""


def read_metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata`` as texts by key; raises ``invalid_parameters``."""
    found: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise unfit("Upload-Metadata", f"the value of '{key[:64]}' is no base64 of UTF-8") from None
        if not key or key in found:
            raise unfit("Upload-Metadata", "a key is empty, or there twice")
        found[OWN_NAMES.get(key, key)] = text
    return found


class TusHandler(StreamingHandler):
    """What both addresses share: the version, the headers, a piece that comes in."""

    cors_headers = ALLOWED
    _writing: Writing | None = None

    def set_default_headers(self) -> None:
        """Every answer names the version."""
        super().set_default_headers()
        self.set_header("Tus-Resumable", VERSION)
        self.set_header("Tus-Version", VERSION)
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Expose-Headers", EXPOSED)

    async def prepare(self) -> None:
        """Take a POST for the method that it stands for, where a proxy lets no other through."""
        instead = self.request.headers.get(OVERRIDE, "").upper()
        if instead and self.request.method == "POST":
            self.request.method = instead
        await super().prepare()

    async def begin(self) -> None:
        """Want the version; then what each method wants."""
        if self.request.method not in self.allowed_methods():
            raise method_not_allowed(str(self.request.method), self.allowed_methods())
        self.need_identity()
        seen = self.request.headers.get("Tus-Resumable", "")
        if seen != VERSION:
            raise Refusal(
                "unknown_version",
                412,
                f"The version '{seen[:20]}' of tus is not spoken here." if seen else "No version of tus was named.",
                f"Send 'Tus-Resumable: {VERSION}'.",
            )
        await self.prepare_tus()

    async def prepare_tus(self) -> None:
        """What a method makes sure of before the body."""

    def allowed_methods(self) -> tuple[str, ...]:
        """The methods of this address."""
        return (*self.operations, "OPTIONS")

    def options(self, *args: str, **kwargs: str) -> None:
        """Say what is spoken here."""
        self.set_header("Tus-Extension", EXTENSIONS)
        if self.house.settings.upload_bytes:
            self.set_header("Tus-Max-Size", str(self.house.settings.upload_bytes))
        super().options(*args)
        return

    def number(self, header: str) -> int:
        """A header that is a whole number; raises ``invalid_parameters``."""
        text = self.request.headers.get(header)
        if text is None:
            raise invalid_parameters(f"The header {header} is missing.", f"Add '{header}'.", {header: "missing"})
        if not LENGTH.fullmatch(text):
            raise unfit(header, "it is no whole number")
        return int(text)

    def piece_length(self) -> int | None:
        """The length of the body; None when it is not said."""
        text = self.request.headers.get("Content-Length", "" if "Transfer-Encoding" in self.request.headers else "0")
        return int(text) if LENGTH.fullmatch(text) else None

    def has_piece_type(self) -> bool:
        """Whether the body says that it is a piece."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == PIECE_TYPE

    async def go_on(self, upload: Upload, offset: int) -> None:
        """Take the body as a piece of an upload."""
        writing = await self.house.uploads.resumables.write(
            self.need_identity(), upload, offset, self.piece_length(), self.refuse
        )
        self._writing = writing
        if self.is_refused or self._has_left:
            writing.close()

    async def take(self, piece: bytes) -> None:
        """More of the piece."""
        if self._writing is not None:
            await self._writing.take(piece)
        elif self.request.method == "POST":
            raise wrong_type(self.request.headers.get("Content-Type", ""))

    def leave(self) -> None:
        """What has come is kept."""
        if self._writing is not None:
            self._writing.close()

    async def conclude(self, upload: Upload) -> None:
        """Have the piece on the disk, and the message in the room when it was the last; sets the headers."""
        uploads = self.house.uploads.resumables
        offset = upload.offset if self._writing is None else await self._writing.done()
        if upload.is_complete:
            message_id = await uploads.finish(self.need_identity(), upload)
            self.set_header(MESSAGE_HEADER, str(message_id))
        self.set_header("Upload-Offset", str(offset))
        self.put_expiry(upload)

    def put_expiry(self, upload: Upload) -> None:
        """Say until when it can be gone on with."""
        if upload.record.message_id is None:
            expires_ms = self.house.uploads.resumables.expires_at_ms(upload)
            self.set_header("Upload-Expires", format_timestamp(expires_ms / 1000))


class CreationHandler(TusHandler):
    """New uploads."""

    operations = describe(
        POST=Operation(
            "Begin an upload (tus 1.0): Upload-Length, and Upload-Metadata with `room`, `filename`, `client_id`, "
            "`content`, `reply_to`, `kind`, `duration`, `waveform`; a first piece may be the body.",
            status=201,
            errors=(403, 404, 410, 412, 413, 415, 429, 503, 507),
        ),
    )

    async def prepare_tus(self) -> None:
        """Begin the upload; a body is its first piece."""
        identity = self.need_identity()
        wait_seconds = self.house.rest_rate(identity.user.id).take(time.monotonic())
        if wait_seconds:
            raise rate_limited(round(wait_seconds, 3))
        if "Upload-Defer-Length" in self.request.headers:
            raise unfit("Upload-Defer-Length", "a length is wanted at once", "Send Upload-Length.")
        length = self.number("Upload-Length")
        metadata = " ".join(self.request.headers.get("Upload-Metadata", "").split())
        said = read_metadata(metadata)
        if not said.get("room"):
            raise missing_parameters("room", "Upload-Metadata")
        piece_length, has_piece = self.piece_length(), self.has_piece_type()
        if piece_length and not has_piece:
            raise wrong_type(self.request.headers.get("Content-Type", ""))
        self._upload = await self.house.uploads.resumables.begin(
            identity, read_wish(RoomId(said["room"]), said), length, metadata
        )
        if has_piece and piece_length != 0:
            await self.go_on(self._upload, 0)

    async def post(self) -> None:
        """Where it can be gone on with."""
        if self.is_refused:
            self._end_lingering()
            return
        await self.conclude(self._upload)
        self.set_header("Location", f"{PATH}{self._upload.record.id}")
        self.set_header("Cache-Control", "no-store")
        self.set_status(201)
        self.finish()


class UploadedHandler(TusHandler):
    """One upload."""

    operations = describe(
        HEAD=Operation("How much of an upload has come (tus 1.0).", errors=(404, 412)),
        PATCH=Operation(
            "Go on with an upload (tus 1.0); the last piece posts the message, and names it in HeartLink-Message-Id.",
            status=204,
            errors=(403, 404, 409, 410, 412, 413, 415, 423, 503, 507),
        ),
        DELETE=Operation("Give an upload up (tus 1.0).", status=204, errors=(404, 409, 412)),
    )

    async def prepare_tus(self) -> None:
        """Find the upload; a PATCH takes its place at its end."""
        identity = self.need_identity()
        self._upload = self.house.uploads.resumables.get(identity, self.path_args[0])
        if self.request.method != "PATCH":
            return
        if not self.has_piece_type():
            raise wrong_type(self.request.headers.get("Content-Type", ""))
        offset = self.number("Upload-Offset")
        is_over = self._upload.record.message_id is not None or self._upload.finishing is not None
        if is_over and offset == self._upload.record.length and self.piece_length() == 0:
            return
        await self.go_on(self._upload, offset)

    async def head(self, *args: str, **kwargs: str) -> None:
        """Where it stands; of a complete one also which message it is."""
        if self.is_refused:
            self._end_lingering()
            return
        upload, uploads = self._upload, self.house.uploads.resumables
        offset = await uploads.offset(upload)
        if upload.is_removed:
            raise not_found("This upload")
        if upload.is_complete:
            self.set_header(MESSAGE_HEADER, str(await uploads.finish(self.need_identity(), upload)))
        self.set_header("Upload-Offset", str(offset))
        self.set_header("Upload-Length", str(upload.record.length))
        if upload.record.metadata:
            self.set_header("Upload-Metadata", upload.record.metadata)
        self.put_expiry(upload)
        self.set_header("Cache-Control", "no-store")
        self.finish()

    async def patch(self, upload_id: str) -> None:
        """The piece is complete."""
        if self.is_refused:
            self._end_lingering()
            return
        await self.conclude(self._upload)
        self.set_header("Cache-Control", "no-store")
        self.answer_nothing()

    async def delete(self, upload_id: str) -> None:
        """Forget it."""
        if self.is_refused:
            self._end_lingering()
            return
        await self.house.uploads.resumables.remove(self._upload)
        self.answer_nothing()


def wrong_type(seen: str) -> Refusal:
    """A piece that does not say it is one."""
    return Refusal(
        "unsupported_media_type",
        415,
        f"The body was sent as '{seen[:80]}'.",
        f"Send pieces with 'Content-Type: {PIECE_TYPE}'.",
    )


TUS_ROUTES = [
    (r"/api/uploads/?", CreationHandler, "a new upload that can be gone on with (tus)"),
    (r"/api/uploads/([^/]+)", UploadedHandler, "one of them (tus)"),
]
