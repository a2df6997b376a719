"""What a request says about who sends it and from where: credential, origin, host (PROTOCOL 2.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from heartlink.errors import Refusal, foreign_origin, invalid_token, missing_origin, unknown_host
from heartlink.settings import Settings, is_loopback

SESSION_COOKIE = "heartlink_session"
SUBPROTOCOL_PREFIX = "bearer."
SHOWN_CHARS = 200

By = Literal["bearer", "subprotocol", "query", "cookie"]
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Credential:
    """A token or ticket as it was presented, and by what; never shown."""

    by: By
    value: str = field(repr=False)


def find_credential(
    headers: Mapping[str, str],
    *,
    query_token: str | None = None,
    cookie: str | None = None,
) -> Credential | None:
    """The first credential in the order of PROTOCOL 2.1, or None when there is none at all.

    ``headers`` need not be case-insensitive beyond ``Authorization`` and ``Sec-WebSocket-Protocol``. Raises the
    Refusal ``invalid_token`` for an Authorization header of another kind: what is present is never passed over.
    """
    authorization = headers.get("Authorization")
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(
                "invalid_token",
                401,
                f"The Authorization header has the scheme '{scheme[:20]}'.",
                "Send 'Authorization: Bearer <token>', or no such header.",
            )
        return Credential("bearer", token.strip())
    for name in subprotocols(headers):
        if name.startswith(SUBPROTOCOL_PREFIX):
            return Credential("subprotocol", name.removeprefix(SUBPROTOCOL_PREFIX))
    if query_token is not None:
        return Credential("query", query_token)
    if cookie is not None:
        return Credential("cookie", cookie)
    return None


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """The names offered in ``Sec-WebSocket-Protocol``, in their order."""
    offered = headers.get("Sec-WebSocket-Protocol", "")
    return [name.strip() for name in offered.split(",") if name.strip()]


class Doorkeeper:
    """Judges the Host and the Origin of a request by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._is_private = is_loopback(settings.host)
        self._hosts = frozenset(_bare_host(host) for host in settings.allowed_hosts)
        self._origins = frozenset(filter(None, map(_origin_parts, settings.allowed_origins)))

    def check_host(self, host: str) -> None:
        """Raise the Refusal ``host_not_allowed`` for a Host this server does not answer to (DNS rebinding)."""
        if not (self._is_private or self._hosts):
            return
        name = _bare_host(host)
        # An address cannot be rebound: only a name can be made to lead somewhere else.
        if not (name in self._hosts or _is_loopback_name(name) or _is_address(name)):
            raise unknown_host(host[:SHOWN_CHARS])

    def is_listed(self, origin: str) -> bool:
        """Whether pages of this origin were allowed by the settings."""
        return _origin_parts(origin) in self._origins

    def check_origin(self, origin: str | None, host: str, *, is_https: bool) -> None:
        """Raise a Refusal (403) unless the page's Origin is this host or one of the allowed origins.

        For what a browser sends along by itself: a socket opened by cookie must carry an Origin.
        """
        if origin is None:
            raise missing_origin(host[:SHOWN_CHARS])
        parts = _origin_parts(origin)
        if parts is None or not (parts in self._origins or _is_same(parts, host, is_https)):
            raise foreign_origin(origin[:SHOWN_CHARS], host[:SHOWN_CHARS])


def _origin_parts(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None or parts.path or parts.query or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port


def _is_same(parts: tuple[str, str, int], host: str, is_https: bool) -> bool:
    scheme, name, port = parts
    # A proxy that ends TLS without saying so makes https look like http: then both schemes are this host.
    if is_https and scheme != "https":
        return False
    return _origin_parts(f"{scheme}://{host}") == (scheme, name, port)


def _bare_host(host: str) -> str:
    try:
        name = urlsplit(f"//{host.strip().lower()}").hostname or ""
    except ValueError:
        return ""
    return name.rstrip(".")


def is_private_name(host: str) -> bool:
    """Whether a Host is an address or a name of this machine itself, and no name that others know it by."""
    name = _bare_host(host)
    return _is_loopback_name(name) or _is_address(name)


def _is_loopback_name(name: str) -> bool:
    return is_loopback(name) or name.endswith(".localhost")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bad_token(detail: str) -> Refusal:
    """The Refusal for a credential that was presented and does not count."""
    return invalid_token(f"The token is not valid: {detail}.")
