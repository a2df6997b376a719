"""One way to a server: an address, with or without TLS; and what goes wrong with either."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psutil

from heartlink import __version__
from heartlink.doctor.address import Target
from heartlink.doctor.strangers import trusting_context
from heartlink.doctor.verdicts import Found
from heartlink.doctor.wire import Answer, Line, new_key, printable

ADDRESSES_LIMIT: Final = 4
NAMES_SHOWN: Final = 3
_SELF_SIGNED, _CHAIN_SELF_SIGNED, _EXPIRED, _NOT_YET = 18, 19, 10, 9
_WRONG_NAME: Final = (62, 64)
_TIMES_IN_DER: Final = re.compile(rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)")
_ALTERNATIVE_NAMES: Final = b"\x06\x03\x55\x1d\x11"
_DNS_NAME: Final = 0x82


@dataclass(slots=True)
class Way:
    """How to reach the server: one address of it, with a prefix before its paths."""

    target: Target
    address: str
    tls: ssl.SSLContext | None
    token: str = field(default="", repr=False)
    prefix: str = ""

    @property
    def family(self) -> str:
        """``IPv4`` or ``IPv6``."""
        return "IPv6" if ":" in self.address else "IPv4"

    @property
    def shown(self) -> str:
        """Address and port as one writes them."""
        return f"[{self.address}]:{self.target.port}" if ":" in self.address else f"{self.address}:{self.target.port}"

    async def line(self) -> Line:
        """A new connection; raises OSError and ssl.SSLError."""
        return await Line.open(self.address, self.target.port, self.tls, self.target.host)

    async def get(self, path: str, *, with_token: bool = True) -> Answer:
        """What a plain GET is answered; raises OSError, ssl.SSLError, NotHttp."""
        with await self.line() as line:
            line.request(self.prefix + path, self._headers({"Connection": "close"}, with_token))
            return await line.answer()

    async def knock(
        self, path: str, headers: Mapping[str, str], *, with_token: bool = True
    ) -> tuple[Line, Answer, str]:
        """Ask for an upgrade: the line, what it was answered, and the key; the caller lets the line go."""
        key = new_key()
        wanted = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Protocol": "heartlink.v1",
            "Origin": self.target.origin,
        }
        line = await self.line()
        try:
            line.request(self.prefix + path, self._headers({**wanted, **headers}, with_token))
            return line, await line.answer(), key
        except BaseException:
            line.drop()
            raise

    def _headers(self, more: Mapping[str, str], with_token: bool) -> dict[str, str]:
        headers = {"Host": self.target.authority, "User-Agent": f"heartlink-doctor/{__version__}", "Accept": "*/*"}
        if with_token and self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return {**headers, **more}


# --- Names -----------------------------------------------------------------------------------------


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, those that are tried first in front; raises socket.gaierror."""
    if host == "localhost" or host.endswith(".localhost"):
        # As browsers have it, whatever the hosts file says (RFC 6761).
        return ["::1", "127.0.0.1"]
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def answer(rows: list[Any], problem: OSError | UnicodeError | None) -> None:
        if not found.done():
            if problem is None:
                found.set_result(rows)
            else:
                found.set_exception(problem)

    def ask() -> None:
        rows: list[Any] = []
        problem: OSError | UnicodeError | None = None
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as failure:
            problem = failure
        if not loop.is_closed():
            loop.call_soon_threadsafe(answer, rows, problem)

    # Not the loop's own threads: those are waited for at the end, and a name server may never answer.
    threading.Thread(target=ask, name=f"name-{secrets.token_hex(4)}", daemon=True).start()
    return list(dict.fromkeys(str(row[4][0]) for row in await found))[:ADDRESSES_LIMIT]


def is_of_this_machine(address: str) -> bool:
    """Whether an address belongs to the machine that the doctor runs on."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        return any(row.address.partition("%")[0] == address for rows in psutil.net_if_addrs().values() for row in rows)
    except OSError:
        return False


# --- Certificates ----------------------------------------------------------------------------------


async def judge_certificate(way: Way, problem: ssl.SSLCertVerificationError) -> Found:
    """What is wrong with a certificate that was not accepted."""
    host = way.target.host
    certificate = await _certificate_of(way)
    began, ended = _validity(certificate)
    match problem.verify_code:
        case number if number == _EXPIRED:
            return Found("tls_expired", host=host, when=f" on {ended:%Y-%m-%d}" if ended else "")
        case number if number == _NOT_YET:
            return Found("tls_not_yet_valid", host=host, when=f": it begins on {began:%Y-%m-%d}" if began else "")
        case number if number == _SELF_SIGNED:
            return Found("tls_self_signed", host=host)
        case number if number in _WRONG_NAME:
            names = ", ".join(_names(certificate)[:NAMES_SHOWN])
            return Found("tls_wrong_name", host=host, names=f" but for {names}" if names else "")
        case number if number in (2, 20, 21, _CHAIN_SELF_SIGNED):
            return Found("tls_unknown_issuer", host=host)
    return Found("tls_failed", host=host, reason=printable(problem.verify_message))


async def _certificate_of(way: Way) -> bytes:
    try:
        with await Line.open(way.address, way.target.port, trusting_context(), way.target.host) as line:
            tls = line.writer.get_extra_info("ssl_object")
            return tls.getpeercert(binary_form=True) or b""
    except (OSError, EOFError):
        return b""


def _validity(certificate: bytes) -> tuple[datetime | None, datetime | None]:
    found = _TIMES_IN_DER.search(certificate)
    if found is None:
        return None, None
    began, ended = (found[1] or found[2], found[3] or found[4])
    return _time(began), _time(ended)


def _time(digits: bytes) -> datetime | None:
    text = digits.decode()
    try:
        return datetime.strptime(text, "%y%m%d%H%M%S" if len(text) == 12 else "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _names(certificate: bytes) -> list[str]:
    """The DNS names in a certificate: just behind the identifier of that extension (RFC 5280 4.2.1.6)."""
    _, mark, rest = certificate.partition(_ALTERNATIVE_NAMES)
    if not mark:
        return []
    value = _der_value(rest[3:] if rest[:1] == b"\x01" else rest)
    names, data = [], _der_value(value)
    while len(data) > 2:
        own = _der_value(data)
        if data[0] == _DNS_NAME:
            names.append(printable(own.decode("ascii", "replace"), 80))
        data = data[data.index(own) + len(own) :] if own else data[2:]
    return names


def _der_value(data: bytes) -> bytes:
    """The content of the first element."""
    if len(data) < 2:
        return b""
    length, start = data[1], 2
    if length & 0x80:
        width = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
    return data[start : start + length]
