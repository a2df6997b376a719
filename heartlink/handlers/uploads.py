"""Uploads in one request: the body is the file, or a form with it (PROTOCOL 5)."""

from __future__ import annotations

import re
import time
from typing import Final

from heartlink.chat import LiveRoom
from heartlink.errors import missing_parameters, rate_limited, unfit
from heartlink.files import Incoming, Wish
from heartlink.files.multipart import Field, FilePart, FormReader, Piece, boundary_of
from heartlink.handlers.base import Operation, describe
from heartlink.handlers.streaming import StreamingHandler
from heartlink.model import Message, RoomId, StoredMessage
from heartlink.protocol import MAX_INTEGER

FORM_TYPE: Final = "multipart/form-data"
FILE_FIELDS: Final = ("file", "image", "audio", "video")
WISHES: Final = ("name", "content", "client_id", "duration", "waveform", "kind", "reply_to")
FORM_OVERHEAD_BYTES: Final = 64 << 10
"""What a form may be longer than its file before its length says that the file is too long."""


def read_wish(room_id: RoomId, said: dict[str, str]) -> Wish:
    """What an upload shall become, by its parameters; raises ``invalid_parameters``."""
    reply_to = said.get("reply_to") or None
    if reply_to is not None and not (re.fullmatch("[0-9]{1,16}", reply_to) and 1 <= int(reply_to) <= MAX_INTEGER):
        raise unfit("reply_to", "it is no id of a message")
    return Wish(
        room_id=room_id,
        name=said.get("name", ""),
        content=said.get("content", ""),
        client_id=said.get("client_id") or None,
        reply_to=None if reply_to is None else int(reply_to),
        kind=said.get("kind", ""),
        duration=said.get("duration") or None,
        waveform=said.get("waveform") or None,
    )


class UploadHandler(StreamingHandler):
    """A new file in a room."""

    operations = describe(
        POST=Operation(
            "Upload a file: the body itself, or a form with the field `file`; 200 with `duplicate` when its client_id "
            "was stored before.",
            response=Message,
            status=201,
            also=(200,),
            query={
                "name": "what the file is called; in a form its own name counts",
                "content": "a text to go with it",
                "client_id": "makes sending it again harmless",
                "reply_to": "the message to which this replies",
                "kind": "`voice` for a voice message",
                "duration": "seconds, where the file does not tell itself",
                "waveform": "up to 64 numbers from 0 to 100, likewise",
            },
            errors=(403, 404, 408, 409, 410, 413, 429, 503, 507),
        )
    )

    _incoming: Incoming | None = None
    _form: FormReader | None = None
    _has_file = False
    _in_file = False
    _is_unchosen = False
    """Whether the file is what browsers send of a field in which none was chosen: no name, and no bytes so far."""

    async def begin(self) -> None:
        """Look at everything that can be known before the body."""
        identity = self.need_identity()
        wait_seconds = self.house.rest_rate(identity.user.id).take(time.monotonic())
        if wait_seconds:
            raise rate_limited(round(wait_seconds, 3))
        self._said = {name: text for name in WISHES if (text := self.get_query_argument(name, None)) is not None}
        self._room_id = RoomId(self.path_args[0])
        self.house.uploads.gate.check_wish(read_wish(self._room_id, self._said))
        length = self._announced()
        content_type = self.request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() == FORM_TYPE:
            self._form = FormReader(boundary_of(content_type))
            if length is not None:
                length = max(0, length - FORM_OVERHEAD_BYTES)
        self._has_file = self._in_file = self._form is None
        self._incoming = await self.house.uploads.begin(identity, self._room_id, length, self.refuse)
        if self.is_refused or self._has_left:
            self._incoming.close()

    def _announced(self) -> int | None:
        text = self.request.headers.get("Content-Length", "")
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else None

    async def take(self, piece: bytes) -> None:
        """A piece of the file, or of the form around it."""
        assert self._incoming is not None
        if self._form is None:
            await self._incoming.take(piece)
            return
        for found in self._form.feed(piece):
            if isinstance(found, Field):
                self._in_file = False
                if found.name in WISHES:
                    self._said[found.name] = found.value
            elif isinstance(found, FilePart):
                self._begin_file(found)
            elif isinstance(found, Piece) and self._in_file:
                self._is_unchosen = False
                await self._incoming.take(found.data)

    def _begin_file(self, part: FilePart) -> None:
        self._in_file = part.field in FILE_FIELDS
        if self._in_file:
            if self._has_file and not self._is_unchosen:
                raise unfit(part.field, "it is the second file", "Send each file with a request of its own.")
            self._has_file, self._is_unchosen = True, not part.name
            self._said["name"] = part.name or self._said.get("name", "")
            if part.field == "audio":
                # What older clients call a recording; it stays a file where its bytes are no sound.
                self._said.setdefault("kind", "voice")

    async def post(self, room_id: str) -> None:
        """The body is complete: make it a message."""
        if self.is_refused:
            self._end_lingering()
            return
        assert self._incoming is not None
        if not self._has_file or self._is_unchosen:
            raise missing_parameters("file", "the form")
        if self._form is not None and not self._form.is_complete:
            raise unfit("file", "the form ends before its last boundary", "Send it again.")
        await self._incoming.finish(read_wish(self._room_id, self._said), self._answer)

    def _answer(self, live: LiveRoom, row: StoredMessage, duplicate: bool) -> None:
        if not self.is_refused:
            assert self.identity is not None
            self.answer_message(live, row, self.identity.user, status=200 if duplicate else 201, duplicate=duplicate)

    def leave(self) -> None:
        """What lies in the spool is of no more use."""
        if self._incoming is not None:
            self._incoming.close()


UPLOAD_ROUTES = [(r"/api/rooms/([^/]+)/files", UploadHandler, "a new file in it")]
