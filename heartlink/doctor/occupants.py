"""Who lives at an address: HeartLink, HeartLink that refuses, another web server, or something else altogether."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from heartlink.doctor.strangers import (
    HANGS_UP,
    SILENT,
    SLOW_WEB_SERVER,
    UNKNOWN,
    Stranger,
    by_banner,
    by_page,
    recognize,
)
from heartlink.doctor.verdicts import Found, refused
from heartlink.doctor.ways import Way, is_of_this_machine, judge_certificate
from heartlink.doctor.wire import Answer, NotHttp, printable
from heartlink.ports import holder_of

ROUTES_PATH: Final = "/api/routes"
SOCKET_PATH: Final = "/ws/doctor/"
GATEWAY_STATUSES: Final = (502, 503, 504)
REDIRECTIONS: Final = (301, 302, 303, 307, 308)
RECOGNIZE_SECONDS: Final = 0.9
PLAIN_AFTER_SECONDS: Final = 0.35
PATIENCE_SECONDS: Final = 1.2


@dataclass(slots=True)
class Occupant:
    """Who answered on one way; ``found`` is None for a HeartLink whose routes are ``routes``."""

    way: Way
    who: str
    found: Found | None = None
    routes: tuple[str, ...] = ()
    server: str = ""
    tls_text: str = ""
    tls_ms: float = 0.0
    http_ms: float = 0.0
    http_text: str = ""
    instance: str = ""
    timings: dict[str, float] = field(default_factory=dict)


class Meeting:
    """Finds out who lives at the end of a way; ``pace`` stretches every limit."""

    def __init__(self, way: Way, answer_seconds: float, pace: float) -> None:
        self._way = way
        self._answer_seconds = answer_seconds
        self._pace = pace
        self._target = way.target
        self._who = Occupant(way, "")

    async def meet(self) -> Occupant:
        """Who it is; never raises Found."""
        try:
            if self._way.tls is not None:
                await self._shake_hands()
            await self._ask_for_routes()
        except Found as found:
            self._who.found = found
            self._who.who = self._who.who or found.sentence
        return self._who

    # TLS

    async def _shake_hands(self) -> None:
        began = time.perf_counter()
        handshake = asyncio.create_task(self._tls_text())
        try:
            # Who speaks plain HTTP may wait for ever for the rest of a request that never comes.
            if not (await asyncio.wait({handshake}, timeout=PLAIN_AFTER_SECONDS * self._pace))[0]:
                await self._refute_plain()
            async with asyncio.timeout(self._answer_seconds):
                self._who.tls_text = await handshake
        except ssl.SSLCertVerificationError as problem:
            raise await judge_certificate(self._way, problem) from None
        except (OSError, EOFError, TimeoutError) as problem:
            raise await self._not_tls(problem) from None
        finally:
            handshake.cancel()
            await asyncio.gather(handshake, return_exceptions=True)
            self._who.tls_ms = 1000 * (time.perf_counter() - began)

    async def _tls_text(self) -> str:
        with await self._way.line() as line:
            tls = line.writer.get_extra_info("ssl_object")
            return f"{tls.version()}, certificate {'not checked' if self._unchecked else 'trusted'}"

    async def _refute_plain(self) -> None:
        """Raise Found when plain HTTP is answered."""
        plain = Way(self._target, self._way.address, None)
        with contextlib.suppress(OSError, EOFError, TimeoutError, NotHttp):
            async with asyncio.timeout(self._answer_seconds / 2):
                answer = await plain.get(ROUTES_PATH, with_token=False)
            if by_page(answer) is None:
                raise Found("plain_on_tls_port", **self._place, scheme="https", direct=self._direct("http"))

    @property
    def _unchecked(self) -> bool:
        return self._way.tls is not None and self._way.tls.verify_mode == ssl.CERT_NONE

    async def _not_tls(self, problem: Exception) -> Found:
        """Why there is no TLS: plain HTTP, another program, or TLS that fails."""
        try:
            await self._refute_plain()
        except Found as found:
            return found
        stranger = await recognize(self._way.address, self._target.port, RECOGNIZE_SECONDS * self._pace)
        if stranger is not HANGS_UP and not stranger.is_tls:
            return self._stranger(stranger)
        reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or type(problem).__name__
        return Found("tls_failed", host=self._target.host, reason=printable(str(reason)).replace("_", " ").lower())

    # HTTP

    async def _ask_for_routes(self) -> None:
        began = time.perf_counter()
        try:
            answer = await self._first_answer()
        except NotHttp as other:
            raise await self._not_http(other.seen) from None
        except (OSError, EOFError):
            raise await self._not_http(b"") from None
        self._who.http_ms = 1000 * (time.perf_counter() - began)
        self._who.server = answer.server
        self._who.http_text = f"{answer.status} from {answer.server or 'HeartLink itself'}"
        if routes := routes_in(answer):
            self._who.routes = routes
            self._who.who = "HeartLink"
            self._who.instance = await self._instance()
            return
        self._who.who = answer.server or "another web server"
        raise await self._not_ours(answer)

    async def _first_answer(self) -> Answer:
        """What a plain GET is answered; raises Found for who is silent, and what else ``Way.get`` raises."""
        end = time.perf_counter() + self._answer_seconds + (RECOGNIZE_SECONDS + PATIENCE_SECONDS) * self._pace
        asked = asyncio.create_task(self._way.get(ROUTES_PATH, with_token=False))
        try:
            if not (await asyncio.wait({asked}, timeout=self._answer_seconds))[0]:
                stranger = await recognize(self._way.address, self._target.port, RECOGNIZE_SECONDS * self._pace)
                if stranger not in (SILENT, SLOW_WEB_SERVER):
                    raise self._stranger(stranger)
                # A proxy may try for some seconds to reach what is behind it before it says that it cannot.
                if not (await asyncio.wait({asked}, timeout=max(0.0, end - time.perf_counter())))[0]:
                    raise self._stranger(stranger)
            return await asked
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def _instance(self) -> str:
        answer = await self._try("/healthz")
        found = answer.json if answer is not None else None
        return str(found.get("instance", "")) if isinstance(found, dict) else ""

    async def _not_http(self, seen: bytes) -> Found:
        stranger = by_banner(seen)
        if stranger is None or stranger.who == UNKNOWN:
            stranger = await recognize(self._way.address, self._target.port, RECOGNIZE_SECONDS * self._pace)
        return self._stranger(stranger)

    def _stranger(self, stranger: Stranger) -> Found:
        self._who.who = str(stranger)
        if stranger.is_tls:
            return Found("tls_on_plain_port", **self._place, scheme="http", direct=self._direct("https"))
        if stranger is SILENT:
            return Found("silent", **self._place, holder=self.holder())
        if stranger is SLOW_WEB_SERVER:
            return Found("answer_missing", **self._place, path=ROUTES_PATH)
        if stranger is HANGS_UP:
            return Found("hangs_up", **self._place, holder=self.holder())
        return Found("another_program", **self._place, who=stranger, holder=self.holder())

    async def _not_ours(self, answer: Answer) -> Found:
        """What an HTTP answer other than the list of routes means."""
        if (stranger := by_page(answer)) is not None:
            return self._stranger(stranger)
        if is_house(answer):
            return house_says_no(answer, ROUTES_PATH, self._target.authority)
        target = self._target
        server = answer.server or "A web server that does not name itself"
        location = answer.headers.get("location", "")
        if answer.status in REDIRECTIONS and not _is_same_place(location, target.origin):
            return Found("moved", origin=target.origin, location=_origin_of(location))
        if answer.status in GATEWAY_STATUSES:
            return Found("gateway_down", server=server, status=answer.status)
        for prefix in target.prefixes[1:]:
            below = await self._try(prefix + ROUTES_PATH)
            if below is not None and routes_in(below):
                return Found(
                    "wrong_path", evidence=f"it answers below {prefix}/, but its pages and sockets need the top"
                )
        socket_answer = await self._try(SOCKET_PATH)
        if socket_answer is not None and explains(socket_answer):
            return Found("pages_not_forwarded", origin=target.origin, server=server, status=answer.status)
        status, path = await self._upgrade_status()
        evidence = f"{ROUTES_PATH} is answered with {answer.status}, an upgrade with {status}"
        if target.wants_socket and status != 101:
            advice = (
                "It is not HeartLink, or does not forward to it: give HeartLink's own port, or use the lines below."
            )
            return Found("cannot_upgrade", server=server, status=status, path=path, advice=advice, through="")
        return Found("another_web_server", server=server, origin=target.origin, evidence=evidence, holder=self.holder())

    async def _try(self, path: str) -> Answer | None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, NotHttp):
            async with asyncio.timeout(self._answer_seconds / 2):
                return await self._way.get(path, with_token=False)
        return None

    async def _upgrade_status(self) -> tuple[int | str, str]:
        path = SOCKET_PATH
        with contextlib.suppress(OSError, EOFError, TimeoutError, NotHttp):
            async with asyncio.timeout(self._answer_seconds / 2):
                line, answer, _ = await self._way.knock(path, {}, with_token=False)
                line.drop()
                return answer.status, path
        return "nothing", path

    @property
    def _place(self) -> dict[str, Any]:
        return {"host": self._target.host, "port": self._target.port}

    def _direct(self, scheme: str) -> str:
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        return f"{scheme}://{host}:{self._target.port}"

    def holder(self) -> str:
        """Which process it is, as a sentence; empty for another machine."""
        if not is_of_this_machine(self._way.address):
            return ""
        return f" On this machine the port is held by {holder_of(self._target.port, self._way.address)}."


# --- What an answer is -----------------------------------------------------------------------------


def routes_in(answer: Answer) -> tuple[str, ...]:
    """The socket routes in HeartLink's list; empty when it is something else."""
    found = answer.json if answer.status == 200 else None
    rows = found.get("routes") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return ()
    return tuple(str(row.get("path")) for row in rows if isinstance(row, dict) and row.get("kind") == "socket")


def explains(answer: Answer) -> bool:
    """Whether it is a socket address of HeartLink that explains itself (PROTOCOL 2.2)."""
    found = answer.json if answer.status == 426 else None
    return isinstance(found, dict) and found.get("websocket") is True


def is_house(answer: Answer) -> bool:
    """Whether HeartLink wrote it: its request id, and two headers that it always sets beside."""
    headers = answer.headers
    return (
        "x-request-id" in headers
        and headers.get("x-content-type-options") == "nosniff"
        and headers.get("referrer-policy") == "same-origin"
    )


def refusal_in(answer: Answer) -> dict[str, str]:
    """Code, message and fix of a refusal; empty without one."""
    found = answer.json
    error = found.get("error") if isinstance(found, dict) else None
    return {key: printable(str(value), 400) for key, value in error.items()} if isinstance(error, dict) else {}


def house_says_no(answer: Answer, path: str, sent_host: str) -> Found:
    """The verdict for what HeartLink itself refused."""
    error = refusal_in(answer)
    code, message, fix = error.get("code", ""), error.get("message", ""), error.get("fix", "")
    host_in_message = message.rpartition("Host '")[2].partition("'")[0] if "Host '" in message else ""
    if code in ("host_not_allowed", "origin_not_allowed", "origin_missing") and host_in_message not in ("", sent_host):
        return Found("host_rewritten", sent=sent_host, arrived=host_in_message)
    if answer.status in (404, 405, *REDIRECTIONS, 200) and path in (ROUTES_PATH, SOCKET_PATH):
        return Found(
            "wrong_path", evidence=f"{path} arrives there as another address and is answered with {answer.status}"
        )
    if answer.status >= 500 and answer.status not in GATEWAY_STATUSES:
        request = f" for the request {error['request_id']}" if "request_id" in error else ""
        return Found("server_error", path=path, status=answer.status, reason=f" {code}", request=request)
    return refused(
        answer.status, path=path, reason=code or "refused", message=message or "no reason given.", remedy=fix
    )


def _is_same_place(location: str, origin: str) -> bool:
    return location.startswith("/") or _origin_of(location) == origin


def _origin_of(location: str) -> str:
    try:
        parts = urlsplit(location)
    except ValueError:
        return printable(location, 80)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else location, 120)
