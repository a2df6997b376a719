"""The examination: step by step from the name to the frames, until the first thing that is wrong."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final

from heartlink.doctor.address import Target
from heartlink.doctor.neighbours import find_neighbours
from heartlink.doctor.occupants import GATEWAY_STATUSES, Meeting, Occupant, house_says_no, is_house, refusal_in
from heartlink.doctor.sockets import SocketSteps
from heartlink.doctor.steps import Notebook, Options, Step, Tell
from heartlink.doctor.strangers import trusting_context
from heartlink.doctor.verdicts import Found, refused
from heartlink.doctor.ways import Way, is_of_this_machine, look_up
from heartlink.doctor.wire import NotHttp, printable

NAME_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 1.6
ANSWER_SECONDS: Final = 1.4
NEIGHBOUR_SECONDS: Final = 0.4
WHOAMI_PATH: Final = "/api/doctor/whoami"


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of it."""

    target: Target
    found: Found
    steps: tuple[Step, ...]
    took_ms: float
    server: str


async def examine(target: Target, options: Options, tell: Tell = lambda step: None) -> Report:
    """Examine a server; ``tell`` hears of each step as it is done. Ends within the budget, whatever the peer does."""
    examination = Examination(target, options, tell)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(options.budget_seconds + options.idle_seconds):
            found = await examination.run()
    except Found as verdict:
        found = verdict
        if examination.is_here and "holder" in found.seen:
            neighbours = await find_neighbours(target, NEIGHBOUR_SECONDS * options.pace)
            found.seen["holder"] = f"{found.seen['holder']}{neighbours}"
    except (AttributeError, KeyError, TypeError, ValueError, EOFError) as problem:
        # What calls itself HeartLink may be anything: its answers are read as if they were, and this is the end of it.
        found = examination.notebook.fail(
            Found(
                "answer_odd", origin=target.origin, step=examination.notebook.current, problem=printable(repr(problem))
            )
        )
    except TimeoutError:
        found = Found("out_of_time", seconds=options.budget_seconds, step=examination.notebook.current)
    took_ms = 1000 * (time.perf_counter() - began)
    return Report(target, found, tuple(examination.notebook.steps), took_ms, examination.server)


class Examination:
    """The steps in their order, and what they have seen."""

    def __init__(self, target: Target, options: Options, tell: Tell) -> None:
        self.target = target
        self.options = options
        self.notebook = Notebook(options, tell)
        self.server = ""
        self.is_here = False

    async def run(self) -> Found:
        """All steps; returns that all is well, or raises Found."""
        addresses = await self._look_up()
        ways = await self._connect(addresses)
        occupant = await self._meet(ways)
        version = await self._ask_who_i_am(occupant.way)
        sockets = SocketSteps(self.notebook, occupant)
        summary = await sockets.run()
        return Found("healthy", origin=self.target.origin, summary=f"version {version}, {summary}")

    async def _look_up(self) -> list[str]:
        target = self.target
        self.notebook.begin("name")
        if target.is_literal:
            self.notebook.note(f"{target.host} is an address, there is no name to look up")
            return [target.host]
        try:
            async with self.notebook.within(NAME_SECONDS):
                addresses = await look_up(target.host, target.port)
        except TimeoutError:
            raise self.notebook.fail(Found("name_unanswered", host=target.host)) from None
        except UnicodeError:
            raise self.notebook.fail(Found("name_unknown", host=printable(target.host, 80))) from None
        except OSError as problem:
            is_temporary = isinstance(problem, socket.gaierror) and problem.errno == socket.EAI_AGAIN
            code = "name_unanswered" if is_temporary else "name_unknown"
            raise self.notebook.fail(Found(code, host=printable(target.host, 80))) from None
        self.notebook.note(f"{target.host} is {' and '.join(addresses)}")
        return addresses

    async def _connect(self, addresses: list[str]) -> list[Way]:
        """Every way that takes a connection; one of each family."""
        self.is_here = all(is_of_this_machine(address) for address in addresses)
        results = await asyncio.gather(*(self._try_to_connect(address) for address in addresses))
        outcomes = dict(zip(addresses, results, strict=True))
        for family, mark in (("tcp, IPv4", "."), ("tcp, IPv6", ":")):
            own = [address for address in addresses if (":" in address) == (mark == ":")]
            if not own:
                continue
            self.notebook.begin(family)
            words = ", ".join(f"{address} {outcomes[address][0]}" for address in own)
            is_open = any(outcomes[address][0] == "open" for address in own)
            others_open = any(outcome[0] == "open" for outcome in results)
            took_ms = max(outcomes[address][1] for address in own)
            fix = "" if is_open or self.target.host == "localhost" else _family_fix(family, self.target.port)
            self.notebook.note(
                words, state="ok" if is_open else "note" if others_open else "failed", fix=fix, took_ms=took_ms
            )
        ways: dict[str, Way] = {}
        for address in addresses:
            if outcomes[address][0] == "open":
                way = Way(self.target, address, self._tls_context(), self.options.token)
                ways.setdefault(way.family, way)
        if not ways:
            raise self._nobody(outcomes)
        return list(ways.values())

    async def _try_to_connect(self, address: str) -> tuple[str, float]:
        began = time.perf_counter()
        outcome = "open"
        try:
            async with self.notebook.within(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(address, self.target.port)
                writer.transport.abort()
        except TimeoutError:
            outcome = "does not answer"
        except ConnectionRefusedError:
            outcome = "refused"
        except OSError as problem:
            outcome = (problem.strerror or type(problem).__name__).lower()
            if problem.errno == errno.ETIMEDOUT:
                outcome = "does not answer"
        return outcome, 1000 * (time.perf_counter() - began)

    def _nobody(self, outcomes: dict[str, tuple[str, float]]) -> Found:
        seen = {
            "host": self.target.host,
            "port": self.target.port,
            "addresses": ", ".join(f"{address}: {outcome}" for address, (outcome, _) in outcomes.items()),
            "holder": "",
        }
        words = [outcome for outcome, _ in outcomes.values()]
        if "refused" in words:
            return Found("nothing_listens", **seen)
        if "does not answer" in words:
            return Found("filtered", **seen)
        return Found("unreachable", **seen, reason=words[0])

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self.target.is_tls:
            return None
        return trusting_context() if self.options.insecure else ssl.create_default_context()

    async def _meet(self, ways: list[Way]) -> Occupant:
        """Who lives there; where two families lead to two programs, that is the verdict."""
        pace = self.options.pace
        self.notebook.begin("tls" if self.target.is_tls else "http")
        occupants = await asyncio.gather(*(Meeting(way, ANSWER_SECONDS * pace, pace).meet() for way in ways))
        first = occupants[0]
        ours = next((one for one in occupants if one.found is None), None)
        if ours is None:
            self.server = first.server
            assert first.found is not None
            raise self.notebook.fail(first.found)
        self.server = ours.server
        if ours.tls_text:
            self.notebook.note(ours.tls_text, took_ms=ours.tls_ms)
        self.notebook.begin("http")
        self.notebook.note(ours.http_text, took_ms=ours.http_ms)
        self.notebook.begin("who answers")
        if other := next((one for one in occupants if self._is_another(ours, one)), None):
            raise self.notebook.fail(self._two_programs(ours, other))
        addresses = " and ".join(one.way.shown for one in occupants if one.found is None)
        self.notebook.note(f"HeartLink, on {addresses}", took_ms=ours.http_ms)
        return ours

    def _is_another(self, ours: Occupant, one: Occupant) -> bool:
        if one is ours or one.found is None:
            # A name may well lead to several servers; localhost leads to one.
            return self.target.host == "localhost" and one.instance != ours.instance
        return True

    def _two_programs(self, ours: Occupant, other: Occupant) -> Found:
        host = f"[{ours.way.address}]" if ":" in ours.way.address else ours.way.address
        who = "another HeartLink" if other.found is None else other.who
        return Found(
            f"another_on_{other.way.family.lower()}",
            host=self.target.host,
            own=ours.way.shown,
            other=other.way.shown,
            who=who.rstrip("."),
            direct=f"{'https' if self.target.is_tls else 'http'}://{host}:{self.target.port}",
            holder=Meeting(other.way, 0, 0).holder(),
        )

    async def _ask_who_i_am(self, way: Way) -> str:
        """How a request arrives, who the token makes me, whether a page's socket would be let in; the version."""
        self.notebook.begin("headers")
        view = await self._whoami(way)
        sent, arrived = self.target.authority, str(view.get("host", ""))
        page = view.get("page") or {}
        if arrived.lower() != sent.lower() and not page.get("is_accepted", False):
            raise self.notebook.fail(Found("host_rewritten", sent=sent, arrived=printable(arrived)))
        self._note_forwarded(view)
        self.notebook.begin("origin")
        if not page.get("is_accepted", False):
            error = page.get("error") or {}
            found = refused(
                403,
                path="a page's socket",
                reason=error.get("code", ""),
                message=error.get("message", ""),
                remedy=error.get("fix", ""),
            )
            raise self.notebook.fail(found)
        self.notebook.note(f"pages of {self.target.origin} may open sockets", took_ms=0)
        self.notebook.begin("token")
        credential = view.get("credential")
        if credential is None:
            self.notebook.note("none given: as somebody who is not signed in (--token)", state="skipped", took_ms=0)
        elif not credential.get("is_valid"):
            error = credential.get("error") or {}
            found = refused(
                401,
                path="this token",
                reason=error.get("code", ""),
                message=error.get("message", ""),
                remedy=error.get("fix", ""),
            )
            raise self.notebook.fail(found, took_ms=0)
        else:
            self.notebook.note(f"{credential.get('username')}, until {credential.get('expires_at')}", took_ms=0)
        return printable(str(view.get("version", "?")), 40)

    def _note_forwarded(self, view: dict[str, Any]) -> None:
        scheme = "https" if self.target.is_tls else "http"
        added = view.get("proxy_headers") or []
        if view.get("scheme") != scheme:
            is_sent = "X-Forwarded-Proto" in added
            cause = "not believed" if is_sent else "not sent"
            fix = (
                "Start HeartLink with --trusted-proxies=<the proxy's address>."
                if is_sent
                else ("Let the proxy send X-Forwarded-Proto, and start HeartLink with --trusted-proxies=<its address>.")
            )
            text = f"Host arrives unchanged, but not that this is {scheme}: X-Forwarded-Proto is {cause}"
            self.notebook.note(text, state="note", fix=fix)
        else:
            through = f", through a proxy ({', '.join(added)})" if added else ""
            self.notebook.note(f"Host '{view.get('host')}' arrives unchanged{through}")

    async def _whoami(self, way: Way) -> dict[str, Any]:
        path = f"{WHOAMI_PATH}?page={self.target.origin}"
        try:
            async with self.notebook.within(ANSWER_SECONDS):
                answer = await way.get(path)
        except (OSError, EOFError, TimeoutError, NotHttp) as problem:
            what = f"no answer ({type(problem).__name__})"
            raise self.notebook.fail(
                Found("server_error", path=WHOAMI_PATH, status=what, reason="", request="")
            ) from None
        view = answer.json
        if answer.status == 200 and isinstance(view, dict):
            return view
        if is_house(answer) and refusal_in(answer):
            raise self.notebook.fail(house_says_no(answer, WHOAMI_PATH, self.target.authority))
        server = answer.server or "A web server"
        if answer.status in GATEWAY_STATUSES:
            raise self.notebook.fail(Found("gateway_down", server=server, status=answer.status))
        evidence = f"{WHOAMI_PATH} is answered by {server} with {answer.status}, {'other addresses are not'}"
        raise self.notebook.fail(Found("wrong_path", evidence=evidence))


def _family_fix(family: str, port: int) -> str:
    if family.endswith("IPv6"):
        return f"Listen on IPv6 too (--host=:: or the proxy's listen [::]:{port}), or take the AAAA record out of DNS."
    return f"Listen on IPv4 too (--host=0.0.0.0 or the proxy's listen {port}), or take the A record out of DNS."
