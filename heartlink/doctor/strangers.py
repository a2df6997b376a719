"""What it seems to be that answers in HeartLink's place: by its greeting, or by what it says to a word or two."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from heartlink.doctor.wire import Answer, Line, printable

BANNER_BYTES: Final = 400
SHOWN_CHARS: Final = 70

_BANNERS: Final = (
    (re.compile(rb"SSH-"), "an SSH server"),
    (re.compile(rb"220[ -][^\r\n]*(FTP|FileZilla)", re.IGNORECASE), "an FTP server"),
    (re.compile(rb"220[ -][^\r\n]*(SMTP|Postfix|Exim|Sendmail|mail)", re.IGNORECASE), "a mail server (SMTP)"),
    (re.compile(rb"220[ -]"), "an FTP or mail server"),
    (re.compile(rb".\0\0\0[\x09\x0a][0-9]", re.DOTALL), "a MySQL or MariaDB server"),
    (re.compile(rb".\0\0[\0\x01]\xff[\x00-\xff]{2}[^\0]*(Host|MySQL|MariaDB)", re.DOTALL), "a MySQL or MariaDB server"),
    (re.compile(rb"\* (OK|PREAUTH|BYE)"), "an IMAP server"),
    (re.compile(rb"\+OK"), "a POP3 server"),
    (re.compile(rb"RFB \d"), "a VNC server"),
    (re.compile(rb"AMQP"), "an AMQP broker (RabbitMQ)"),
    (re.compile(rb"-(ERR|DENIED|NOAUTH|MISCONF|LOADING)|\+PONG"), "a Redis server"),
    (re.compile(rb"ERROR\r\n"), "a memcached server"),
    (re.compile(rb"\x15\x03[\x00-\x04]"), "a TLS server"),
)
_WORDS_IN_PAGES: Final = (
    (b"MongoDB over HTTP", "a MongoDB server"),
    (b"plain HTTP request was sent to HTTPS", "a TLS server"),
    (b"speaking plain HTTP to an SSL-enabled", "a TLS server"),
    (b"HTTP request to an HTTPS server", "a TLS server"),
    (b"requires TLS", "a TLS server"),
)
TLS_SERVER: Final = "a TLS server"
UNKNOWN: Final = "a program that does not speak HTTP"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who it seems to be; ``shown`` is what it said, empty for one that said nothing."""

    who: str
    shown: str = ""

    @property
    def is_tls(self) -> bool:
        """Whether it speaks TLS where plain HTTP was sent."""
        return self.who == TLS_SERVER

    def __str__(self) -> str:
        return f"{self.who} (it says '{self.shown}')" if self.shown else self.who


SILENT: Final = Stranger("a program that takes connections and says nothing")
SLOW_WEB_SERVER: Final = Stranger("a web server that is still busy with an answer")
HANGS_UP: Final = Stranger("a program that hangs up without a word")


def by_page(answer: Answer) -> Stranger | None:
    """Who answers HTTP only to say that HTTP is wrong here."""
    for words, who in _WORDS_IN_PAGES:
        if words in answer.body[:4000]:
            return Stranger(who)
    return None


def by_banner(seen: bytes) -> Stranger | None:
    """Who greets like that; None for nothing at all."""
    if not seen:
        return None
    if seen.startswith(b"HTTP/"):
        return SLOW_WEB_SERVER
    for pattern, who in _BANNERS:
        if pattern.match(seen):
            is_text = seen[:1].isascii() and seen[:4].isascii() and b"\0" not in seen[:4] and who != TLS_SERVER
            return Stranger(who, _shown(seen) if is_text else _version_in(seen))
    return Stranger(UNKNOWN, _shown(seen))


async def recognize(address: str, port: int, seconds: float) -> Stranger:
    """Who listens there and does not answer HTTP: waits for a greeting and says a word or two, all at once."""
    ways: dict[str, Callable[[], Awaitable[bytes]]] = {
        "greeting": lambda: _hear(address, port, b""),
        "tls": lambda: _shake_hands(address, port),
        "ping": lambda: _hear(address, port, b"PING\r\n"),
        # PostgreSQL's question whether it speaks TLS: 'S' or 'N', one byte and nothing else.
        "postgres": lambda: _hear(address, port, bytes.fromhex("0000000804d2162f")),
    }
    tasks = {asyncio.create_task(_within(seconds, ask)): name for name, ask in ways.items()}
    heard: dict[str, bytes | None] = {}
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            heard |= {tasks[task]: task.result() for task in done}
            if (found := _known(heard)) is not None:
                return found
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    odd = by_banner(heard["greeting"] or b"") or by_banner(heard["ping"] or b"")
    return odd or (SILENT if heard["greeting"] is None and heard["ping"] is None else HANGS_UP)


def _known(heard: dict[str, bytes | None]) -> Stranger | None:
    """Whom the answers so far give away."""
    if heard.get("tls"):
        return Stranger(TLS_SERVER)
    if heard.get("postgres") in (b"S", b"N"):
        return Stranger("a PostgreSQL server")
    for name in ("greeting", "ping"):
        found = by_banner(heard.get(name) or b"")
        if found is not None and found.who != UNKNOWN:
            return found
    return None


async def _within(seconds: float, ask: Callable[[], Awaitable[bytes]]) -> bytes | None:
    """What came, empty when the peer hung up, None when nothing came in time."""
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except TimeoutError:
        return None
    except (OSError, EOFError):
        return b""


async def _hear(address: str, port: int, words: bytes) -> bytes:
    with await Line.open(address, port) as line:
        if words:
            line.send(words)
        return await line.reader.read(BANNER_BYTES)


async def _shake_hands(address: str, port: int) -> bytes:
    context = trusting_context()
    with await Line.open(address, port, context, address):
        return b"TLS"


def trusting_context() -> ssl.SSLContext:
    """TLS that takes any certificate: to learn who answers, never to send a secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shown(seen: bytes) -> str:
    first_line = seen.splitlines()[0] if seen.splitlines() else seen
    return printable(first_line.decode("utf-8", "replace"), SHOWN_CHARS)


def _version_in(seen: bytes) -> str:
    found = re.search(rb"[0-9]+\.[0-9]+[0-9A-Za-z.+~-]*", seen)
    return printable(found.group().decode(), SHOWN_CHARS) if found else ""
