"""What one types to name a server: an address of a page, of a socket, ``host:port`` or only a name."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlsplit

URL_CHARS = 2000
PREFIXES_LIMIT = 3
"""Parts of a path below which HeartLink is looked for when it is not at the top."""

_SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}
_PORTS = {False: 80, True: 443}
_OWN_FIRST_PARTS = frozenset(
    ("ws", "api", "chat", "static", "login", "register", "permissions", "admin", "doctor", "files", "invite", "setup")
)
_CHAT = re.compile(r"/(?:ws/)?chat/([^/]+)/?$")


class BadAddress(Exception):
    """An address that names no server, and why."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server that is to be examined; ``prefixes`` are the paths below which it may be, the top first."""

    host: str
    port: int
    is_tls: bool
    wants_socket: bool
    prefixes: tuple[str, ...] = ("",)
    room_id: str = ""
    token: str = field(default="", repr=False)

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address."""
        return is_address(self.host)

    @property
    def authority(self) -> str:
        """Host and port as a browser writes them in ``Host`` and in an origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.is_tls] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The origin of its pages."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}"


def read_address(text: str) -> Target:
    """The server that ``text`` names; raises BadAddress."""
    text = text.strip()
    if not text or len(text) > URL_CHARS:
        raise BadAddress("it is empty" if not text else f"it is longer than {URL_CHARS} characters")
    if "://" not in text:
        text = ("https://" if re.match(r"^[^/]*:443(/|$)", text) else "http://") + _bracketed(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise BadAddress(str(problem)) from None
    if parts.scheme.lower() not in _SCHEMES:
        raise BadAddress(f"'{parts.scheme[:20]}' is not http, https, ws or wss")
    if not host or re.search(r"[\s\x00-\x1f]", host):
        raise BadAddress("it names no host")
    if port == 0:
        raise BadAddress("0 is no port that one can connect to")
    is_tls = _SCHEMES[parts.scheme.lower()]
    room = _CHAT.search(parts.path)
    return Target(
        host=host,
        port=port or _PORTS[is_tls],
        is_tls=is_tls,
        wants_socket=parts.scheme.lower() in ("ws", "wss") or "/ws/" in parts.path,
        prefixes=_prefixes(parts.path),
        room_id=unquote(room.group(1)) if room else "",
        token=parse_qs(parts.query).get("token", [""])[-1],
    )


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def socket_path(route: str, **values: str) -> str:
    """A socket route such as ``/ws/chat/{room_id}/`` with its variable parts filled in."""
    for name, value in values.items():
        route = route.replace("{" + name + "}", quote(value, safe=""))
    return route


def _bracketed(text: str) -> str:
    """``::1`` and ``::1/path`` with the brackets that a URL wants."""
    host, slash, rest = text.partition("/")
    return f"[{host}]{slash}{rest}" if host.count(":") > 1 and is_address(host) else text


def _prefixes(path: str) -> tuple[str, ...]:
    """The top, and what stands before the first part of the path that is HeartLink's own."""
    found = [""]
    for part in [part for part in path.split("/") if part][:PREFIXES_LIMIT]:
        if part in _OWN_FIRST_PARTS:
            break
        found.append(f"{found[-1]}/{part}")
    return tuple(found)
