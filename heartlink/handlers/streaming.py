"""Bodies that are taken as they come: refusals that reach whoever is still sending, and an end to silence."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from tornado import web

from heartlink.errors import Refusal, StoreFault, internal_error, not_saved
from heartlink.handlers.base.request import JSON_TYPE, refusal_record
from heartlink.handlers.messages import TalkHandler
from heartlink.protocol import encode

ANY_LENGTH: Final = 1 << 62
ANY_SECONDS: Final = 30 * 24 * 3600.0
"""In place of Tornado's own limits: these handlers have theirs."""

SILENT_SECONDS: Final = 30.0
"""How long nothing may come."""

SHORTEST_SECONDS: Final = 0.1
"""Between two looks whether something came."""

LINGER_BYTES: Final = 64 << 20
LINGER_SECONDS: Final = 20.0
"""What is read and thrown away after a refusal: a connection that is closed on unread bytes is reset, and whoever is
still sending may never see why."""


@web.stream_request_body
class StreamingHandler(TalkHandler):
    """``begin`` before the body, ``take`` for each piece of it, then the method; ``leave`` in any case, once.

    ``refuse`` may be called at any time, also from outside.
    """

    is_refused = False
    _has_left = False
    _lingered_bytes = 0
    _alarm: asyncio.TimerHandle | None = None
    _heard_at = 0.0

    async def begin(self) -> None:
        """Make sure that the body is wanted; raises the Refusal that says why not."""

    async def take(self, piece: bytes) -> None:
        """A piece of the body; more comes when this returns."""

    def leave(self) -> None:
        """It is over, one way or the other."""

    async def prepare(self) -> None:
        """Find out who asks and what for; a refusal is answered at once, though the body is still to come."""
        connection = cast(Any, self.request.connection)
        connection.set_max_body_size(ANY_LENGTH)
        connection.set_body_timeout(ANY_SECONDS)
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        self._alarm = loop.call_later(SILENT_SECONDS, self._look)
        try:
            await super().prepare()
            if self.request.method != "OPTIONS":
                await self.begin()
        except Exception as error:
            self._refuse_for(error)

    async def data_received(self, chunk: bytes) -> None:
        """Hand a piece on; called by Tornado, which reads no further meanwhile."""
        self._heard_at = asyncio.get_running_loop().time()
        if self.is_refused:
            self._lingered_bytes += len(chunk)
            if self._lingered_bytes > LINGER_BYTES:
                self._end_lingering()
            return
        try:
            await self.take(chunk)
        except Exception as error:
            self._refuse_for(error)
        self._heard_at = asyncio.get_running_loop().time()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal now; what still comes is thrown away, and then the connection ends."""
        if self.is_refused or self._finished or self._headers_written:
            return
        self.is_refused = True
        self._depart()
        content = encode(refusal_record(refusal, self.request_id))
        self.clear_refused_headers()
        self.put_refusal_headers(refusal)
        self.set_header("Content-Type", JSON_TYPE)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Length", str(len(content)))
        self.set_header("Connection", "close")
        if self.request.method != "HEAD":
            self.write(content)
        waits = self.request.headers.get("Expect", "").lower() == "100-continue"
        if waits or not self._is_reading:
            self.finish()
            return
        self.flush()
        self._alarm = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_lingering)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer what the method raised, unless a refusal was answered before it was asked."""
        if self.is_refused:
            self._end_lingering()
        else:
            super().send_error(status_code, **kwargs)

    def clear_refused_headers(self) -> None:
        """Take back headers that belong to success."""

    def _refuse_for(self, error: Exception) -> None:
        if isinstance(error, StoreFault):
            error = not_saved()
        if not isinstance(error, Refusal | web.HTTPError):
            self.log_exception(type(error), error, error.__traceback__)
            error = internal_error(self.request_id)
        self.refuse(self.refusal_of(error))

    def _look(self) -> None:
        """End what has been silent for too long."""
        loop = asyncio.get_running_loop()
        silent_seconds = loop.time() - self._heard_at
        if self._is_reading and silent_seconds >= SILENT_SECONDS:
            self.refuse(silent(SILENT_SECONDS))
            return
        self._alarm = loop.call_later(max(SHORTEST_SECONDS, SILENT_SECONDS - silent_seconds), self._look)

    def _end_lingering(self) -> None:
        """What was refused is answered: let go of the connection, or of the rest of the body."""
        if not self._finished:
            self.finish()

    @property
    def _is_reading(self) -> bool:
        body = getattr(self.request, "_body_future", None)
        return body is not None and not body.done()

    def on_connection_close(self) -> None:
        """The peer has gone."""
        super().on_connection_close()
        self._depart()

    def on_finish(self) -> None:
        """The answer is out."""
        super().on_finish()
        self._depart()

    def _depart(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._has_left:
            self._has_left = True
            self.leave()


def silent(seconds: float) -> Refusal:
    """Nothing has come for too long."""
    return Refusal(
        "timeout",
        408,
        f"Nothing of the body has come for {seconds:.0f} seconds.",
        "Send it again, or go on from where the server is (tus).",
    )
