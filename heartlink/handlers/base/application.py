"""The application: knows its house, and answers bodies that are too large with 413 instead of hanging up."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tornado import httputil, web

from heartlink.errors import Refusal, too_large
from heartlink.handlers.base.api import JsonHandler
from heartlink.handlers.base.page import PageNotFoundHandler
from heartlink.handlers.base.request import XSRF_COOKIE, BaseHandler
from heartlink.tallies import OTHER

if TYPE_CHECKING:
    from heartlink.house import House

BODY_BYTES = 1 << 20
BYTES_PER_CHARACTER = 12
DISCARDED_BYTES = 32 << 20
CONTENT_LENGTH_DIGITS = 100
COUNTED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Application(web.Application):
    """Tornado's application around a house. Handlers that stream their bodies set their own limits."""

    def __init__(self, house: House, routes: Sequence[Any], **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "xsrf_cookie_name": XSRF_COOKIE,
            "default_handler_class": PageNotFoundHandler,
            "instance": secrets.token_hex(8),
        }
        super().__init__(list(routes), **{**defaults, **settings, "house": house})
        self.paths: dict[type[web.RequestHandler], str] = {}
        """What counts of requests call their handlers; others count together."""
        # A longest message must fit even where every character of it is written as two escapes.
        self._body_bytes = max(BODY_BYTES, BYTES_PER_CHARACTER * house.settings.message_chars)

    def log_request(self, handler: web.RequestHandler) -> None:
        """Count and log an answered request."""
        tallies = self.settings["house"].tallies
        path = self.paths.get(type(handler), OTHER)
        method = handler.request.method if handler.request.method in COUNTED_METHODS else OTHER
        tallies.count(tallies.requests, path, str(method), str(handler.get_status()))
        tallies.request_seconds.observe(handler.request.request_time())
        if isinstance(handler, BaseHandler) and handler.refusal is not None:
            tallies.count(tallies.refusals, "upgrade" if handler.is_handshake else "http", handler.refusal.code)
        super().log_request(handler)

    def find_handler(self, request: httputil.HTTPServerRequest, **kwargs: Any) -> Any:
        """What takes the request in."""
        taker = super().find_handler(request, **kwargs)
        return taker if taker.stream_request_body else BodyLimit(self, request, taker, self._body_bytes)


class BodyLimit(httputil.HTTPMessageDelegate):
    """Hands a request on to its handler until the body is too large; then reads it to the end and says so."""

    def __init__(
        self, application: Application, request: httputil.HTTPServerRequest, taker: Any, limit_bytes: int
    ) -> None:
        self._application = application
        self._request = request
        self._taker: httputil.HTTPMessageDelegate = taker
        self._limit_bytes = limit_bytes
        self._seen_bytes = 0
        self._is_refused = False
        self._is_answered = False

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Awaitable[None] | None:
        """Look at the length the peer announces."""
        announced = headers.get("Content-Length", "")
        is_number = announced.isdecimal() and len(announced) <= CONTENT_LENGTH_DIGITS
        length_bytes = int(announced) if is_number else 0
        # A connection that is closed with unread bytes is reset, and the peer may never see the answer.
        readable_bytes = max(DISCARDED_BYTES, 2 * self._limit_bytes)
        cast(Any, self._request.connection).set_max_body_size(max(readable_bytes, length_bytes))
        if length_bytes > self._limit_bytes:
            self._refuse()
        begun = self._taker.headers_received(start_line, headers)
        if length_bytes > readable_bytes:
            self._answer()
        return begun

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Count, and hand on while it fits."""
        self._seen_bytes += len(chunk)
        if self._seen_bytes > self._limit_bytes and not self._is_refused:
            self._refuse()
        return None if self._is_refused else self._taker.data_received(chunk)

    def finish(self) -> None:
        """The body is complete: let it be answered."""
        if not self._is_answered:
            self._answer()

    def on_connection_close(self) -> None:
        """The peer has gone."""
        self._taker.on_connection_close()

    def _answer(self) -> None:
        self._is_answered = True
        self._taker.finish()

    def _refuse(self) -> None:
        self._is_refused = True
        refusal = too_large("The body", f"{self._limit_bytes} bytes")
        self._taker = self._application.get_handler_delegate(self._request, RefusedHandler, {"refusal": refusal})


class RefusedHandler(JsonHandler):
    """Answers with a refusal that was found before any handler was asked."""

    identifies = False

    def initialize(self, refusal: Refusal) -> None:
        """Keep what to say."""
        self._refusal = refusal

    async def prepare(self) -> None:
        """Say it."""
        await super().prepare()
        raise self._refusal
