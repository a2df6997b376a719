"""What every HTTP address has in common: host, who asks, and one mapping of refusals to answers (PROTOCOL 2.2, 5)."""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Awaitable, Mapping
from http.client import responses
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from tornado import web

from heartlink.auth import SESSION_COOKIE, SignedIn, find_credential, is_private_name
from heartlink.errors import (
    Refusal,
    StoreUnavailable,
    bad_xsrf_token,
    internal_error,
    invalid_parameters,
    method_not_allowed,
    missing_parameters,
    no_socket_here,
    not_found,
    store_unavailable,
    too_large,
    unauthenticated,
)
from heartlink.model import Identity
from heartlink.protocol import encode
from heartlink.refusals import RefusedUpgrade

if TYPE_CHECKING:
    from heartlink.house import House

XSRF_COOKIE = "csrftoken"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
JSON_TYPE = "application/json; charset=utf-8"
QUERY_CHARS = 1000

_SECRET_ARGUMENTS = re.compile(r"(?i)([?&](?:t|%74|%54)[^=&]*=)[^&]*")
_SETUP_LINK = re.compile(r"(?i)(/|%2f)(setup)(/|%2f)[^/?&#]*")

log = logging.getLogger("heartlink.http")


class BaseHandler(web.RequestHandler):
    """An address of the house: the Host is checked, refusals are answered, every answer has a request id."""

    identity: Identity | None = None
    request_id: str = ""
    refusal: Refusal | None = None
    """What the request was refused with, once it was."""
    route: ClassVar[str] = ""
    """The address with its variable parts in braces, where a handler has but one."""
    cors_headers: ClassVar[str] = "Authorization, Content-Type"
    """What pages of allowed origins may send."""

    @property
    def house(self) -> House:
        """The composition root."""
        house: House = self.application.settings["house"]
        return house

    @property
    def client_address(self) -> str:
        """Where the request comes from; trusted proxies were already believed by the server."""
        return str(self.request.remote_ip)

    @property
    def is_https(self) -> bool:
        """Whether the client speaks https."""
        return self.request.protocol == "https"

    @property
    def wants_upgrade(self) -> bool:
        """Whether the request asks for a WebSocket, with both headers that it takes."""
        headers = self.request.headers
        connection = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
        return headers.get("Upgrade", "").lower() == "websocket" and "upgrade" in connection

    @property
    def is_handshake(self) -> bool:
        """Whether somebody meant to open a WebSocket, though a proxy may have taken headers away."""
        headers = self.request.headers
        return "Sec-WebSocket-Key" in headers or headers.get("Upgrade", "").lower() == "websocket"

    def set_default_headers(self) -> None:
        """What every answer carries."""
        self.request_id = self.request_id or secrets.token_hex(8)
        self.clear_header("Server")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        if self.is_https:
            self._insist_on_https()
        self._let_listed_origins_read()

    def _insist_on_https(self) -> None:
        """Let browsers come by https only, from now on; on this machine's own names others may be served without."""
        seconds = self.house.settings.hsts_seconds
        if seconds and not is_private_name(self.request.host):
            self.set_header("Strict-Transport-Security", f"max-age={seconds}")

    def _let_listed_origins_read(self) -> None:
        """Let pages of allowed origins read answers; they send tokens, cookies stay with this host (CORS)."""
        origin = self.request.headers.get("Origin")
        if origin is not None and self.house.auth.door.is_listed(origin):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
            self.add_header("Vary", "Origin")

    def prepare(self) -> Awaitable[None] | None:
        """Let only known hosts in; subclasses go on with who asks."""
        self.house.auth.door.check_host(self.request.host)
        return None

    def get_current_user(self) -> Any:
        """The signed-in user, for templates."""
        return self.identity.user if self.identity else None

    # Who asks

    async def identify(self, query_token: str | None = None, *, spend: bool = False) -> Identity | None:
        """Who asks, None for nobody; a credential that is present and invalid raises its Refusal."""
        credential = find_credential(
            self.request.headers, query_token=query_token, cookie=self.get_cookie(SESSION_COOKIE)
        )
        return None if credential is None else await self.house.auth.identify(credential, spend=spend)

    def need_identity(self) -> Identity:
        """Who asks; raises ``unauthenticated`` when it is nobody."""
        if self.identity is None:
            raise unauthenticated()
        return self.identity

    def check_xsrf(self) -> None:
        """Raise ``xsrf_failed`` for an unsafe request by cookie without the matching token."""
        by_cookie = self.identity is not None and self.identity.by == "cookie"
        if not by_cookie or self.request.method in SAFE_METHODS:
            return
        try:
            self.check_xsrf_cookie()
        except web.HTTPError:
            raise bad_xsrf_token() from None

    def check_foreign_origin(self) -> None:
        """Raise a Refusal (403) when a page of somewhere else sends this; without an Origin it is no page."""
        origin = self.request.headers.get("Origin")
        if origin is not None:
            self.house.auth.door.check_origin(origin, self.request.host, is_https=self.is_https)

    def set_cookie(self, name: str, value: str | bytes, *args: Any, **kwargs: Any) -> None:
        """Set a cookie that stays on this site, and on https where the client came by it."""
        kwargs.setdefault("samesite", "Lax")
        kwargs.setdefault("secure", self.is_https)
        super().set_cookie(name, value, *args, **kwargs)

    def set_session_cookie(self, signed_in: SignedIn) -> None:
        """Sign the browser in: the session's cookie, out of reach of scripts, and the XSRF token beside it."""
        seconds = max(1, (signed_in.expires_at_ms - self.house.clock()) // 1000)
        self.set_cookie(SESSION_COOKIE, signed_in.token, max_age=seconds, httponly=True)
        self.set_cookie(XSRF_COOKIE, self.xsrf_token, max_age=seconds)

    def clear_session_cookie(self) -> None:
        """Sign the browser out."""
        self.clear_cookie(SESSION_COOKIE, httponly=True)

    # What is asked

    def query_text(self, name: str, default: str = "", limit: int = QUERY_CHARS) -> str:
        """A parameter of the query, without spaces around it."""
        text = self.get_query_argument(name, default)
        if len(text) > limit:
            raise _bad_query(name, f"it is longer than {limit} characters")
        return text

    def query_integer(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """A whole number of the query from ``low`` to ``high``; ``default`` when it is not there."""
        text = self.get_query_argument(name, None)
        if text is None:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise _bad_query(name, "it is not a whole number")
        if not low <= int(text) <= high:
            raise _bad_query(name, f"it is not from {low} to {high}")
        return int(text)

    # What is answered

    def answer(self, record: object, status: int = 200) -> None:
        """Finish with a record as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", JSON_TYPE)
        self.set_header("Cache-Control", "no-store")
        self.finish(encode(record))

    def compute_etag(self) -> str | None:
        """None: what is never stored need not be compared."""
        return None

    def answer_nothing(self) -> None:
        """Finish with 204."""
        self.set_status(204)
        self.finish()

    def answer_refusal(self, refusal: Refusal) -> None:
        """Finish with a refusal as JSON, its status and the headers that belong to it."""
        self.put_refusal_headers(refusal)
        self.set_header("Content-Type", JSON_TYPE)
        self.set_header("Cache-Control", "no-store")
        self.finish(encode(refusal_record(refusal, self.request_id)))

    def put_refusal_headers(self, refusal: Refusal) -> None:
        """Status, ``Retry-After``, ``Allow`` and ``WWW-Authenticate`` of a refusal."""
        self.refusal = refusal
        self.set_status(refusal.status, responses.get(refusal.status, "Refused"))
        if refusal.retry_after_seconds is not None:
            self.set_header("Retry-After", str(max(1, math.ceil(refusal.retry_after_seconds))))
        if refusal.allow:
            self.set_header("Allow", ", ".join(refusal.allow))
        if refusal.status == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="heartlink"')

    def on_finish(self) -> None:
        """Tell the log of an upgrade that was not granted."""
        status = self.get_status()
        if status == 101 or not self.is_handshake:
            return
        headers = self.request.headers
        refusal = self.refusal or no_socket_here(self.request.path)
        self.house.refusal_log.note(
            RefusedUpgrade(
                route=self.route or "no socket route",
                path=without_tokens(self.request.path),
                status=status,
                code=refusal.code,
                message=refusal.message,
                fix=refusal.fix,
                origin=headers.get("Origin") or headers.get("Sec-WebSocket-Origin"),
                host=self.request.host,
                address=self.client_address,
                user=self.identity.user.username if self.identity else "",
                request_id=self.request_id,
            )
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer whatever was raised; called by Tornado."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.answer_refusal(self.refusal_of(error, status_code))

    def refusal_of(self, error: BaseException | None, status: int = 500) -> Refusal:
        """The one mapping of what was raised to what is answered; never an exception's text."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, StoreUnavailable):
            return store_unavailable()
        if isinstance(error, web.MissingArgumentError):
            return missing_parameters(error.arg_name, "the query")
        if isinstance(error, web.HTTPError):
            status = error.status_code
        if status == 405:
            return method_not_allowed(str(self.request.method), self.allowed_methods())
        return _PLAIN_REFUSALS.get(status) or internal_error(self.request_id)

    def allowed_methods(self) -> tuple[str, ...]:
        """The methods that this address has."""
        cls = type(self)
        own = [
            method
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
            if getattr(cls, method.lower()) is not getattr(web.RequestHandler, method.lower())
        ]
        return (*own, *(["HEAD"] if "GET" in own else []), "OPTIONS")

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log what is our fault, once, with the request id; what a client did wrong is in the access log."""
        if isinstance(value, Refusal | web.HTTPError):
            log.debug("%s %s: %s", self.request_id, self._request_summary(), value)
        elif isinstance(value, StoreUnavailable):
            extra = {"fields": {"request_id": self.request_id}}
            log.warning("%s %s: the store is unavailable", self.request_id, self._request_summary(), extra=extra)
        elif value is not None:
            extra = {"fields": {"request_id": self.request_id}}
            log.error("%s %s failed", self.request_id, self._request_summary(), exc_info=value, extra=extra)

    def _request_summary(self) -> str:
        return f"{self.request.method} {without_tokens(self.request.uri or '')} ({self.client_address})"

    def options(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """Say which methods there are."""
        self.set_header("Allow", ", ".join(self.allowed_methods()))
        if "Access-Control-Request-Method" in self.request.headers:
            self.set_header("Access-Control-Allow-Methods", ", ".join(self.allowed_methods()))
            self.set_header("Access-Control-Allow-Headers", self.cors_headers)
            self.set_header("Access-Control-Max-Age", "600")
        self.answer_nothing()
        return None

    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """As GET, without the content."""
        answer: Awaitable[None] | None = self.get(*args, **kwargs)
        return answer


def refusal_record(refusal: Refusal, request_id: str = "") -> dict[str, dict[str, Any]]:
    """A refusal as it is sent over HTTP: ``{"error": {code, message, fix, …}}`` (PROTOCOL 2.2, 5)."""
    record: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "fix": refusal.fix}
    optional = {
        "fields": refusal.fields,
        "retry_after": refusal.retry_after_seconds,
        "decision_id": refusal.decision_id,
        "routes": refusal.routes or None,
        "request_id": request_id or None,
    }
    record |= {name: value for name, value in optional.items() if value is not None}
    return {"error": record}


def without_tokens(uri: str) -> str:
    """An address as it may be logged."""
    return _SETUP_LINK.sub(r"\1\2\3…", _SECRET_ARGUMENTS.sub(r"\1…", uri))


def _bad_query(name: str, reason: str) -> Refusal:
    return invalid_parameters(f"The parameter '{name}' does not fit: {reason}.", f"Mend '{name}'.", {name: reason})


_PLAIN_REFUSALS: Mapping[int, Refusal] = {
    400: invalid_parameters("The request cannot be read.", "Check its address, headers and body."),
    403: Refusal("forbidden", 403, "That is not allowed.", "Sign in as somebody who may."),
    404: not_found("This address"),
    413: too_large("The body", "the limit of this address"),
}
