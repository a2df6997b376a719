"""The steps on sockets: upgrade, subprotocol, greeting, echo, round trip, cookie, the other routes, and silence."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from typing import Any, Final

from heartlink.doctor.address import socket_path
from heartlink.doctor.occupants import GATEWAY_STATUSES, SOCKET_PATH, Occupant, explains, house_says_no, is_house
from heartlink.doctor.steps import Notebook
from heartlink.doctor.verdicts import Found
from heartlink.doctor.wire import CLOSE, Answer, Frame, Line, NotHttp, accept_of, read_frame, send_json

UPGRADE_SECONDS: Final = 1.2
FRAME_SECONDS: Final = 1.2
ROUND_TRIPS: Final = 8
HELD_BACK_MS: Final = 250.0
HELD_BACK_TIMES: Final = 10.0
ECHO_BYTES: Final = 60 << 10
FRAME_MARGIN_BYTES: Final = 200
PROTOCOL: Final = "heartlink.v1"
SESSION_COOKIE: Final = "heartlink_session"
GREETINGS: Final = frozenset({"doctor_greeting", "connection_established", "connection_confirmed"})


class SocketSteps:
    """Runs the steps on the sockets of the HeartLink that was found."""

    def __init__(self, notebook: Notebook, occupant: Occupant) -> None:
        self._notebook = notebook
        self._way = occupant.way
        self._routes = occupant.routes
        self._page_ms = occupant.http_ms
        self._through = f" ({occupant.server})" if occupant.server else ""
        self._server = occupant.server or "Something on the way"
        self._heartbeat_seconds = 30.0

    async def run(self) -> str:
        """All of them; returns the summary, or raises Found."""
        note, begin = self._notebook.note, self._notebook.begin
        begin("upgrade")
        line, answer = await self._upgrade(SOCKET_PATH)
        with line:
            note(f"101 at {SOCKET_PATH}")
            begin("subprotocol")
            self._check_subprotocol(SOCKET_PATH, answer)
            note(f"'{PROTOCOL}' was offered and chosen", took_ms=0)
            begin("greeting")
            greeting = await self._greeting(line, SOCKET_PATH)
            note(f"{greeting.get('type')} arrived")
            begin("round trip")
            round_trip = await self._round_trips(line)
            note(round_trip)
            begin("echo")
            note(await self._echo(line, greeting))
            await self._other_sockets()
            await self._idle(line)
        return round_trip

    # Opening

    async def _upgrade(self, path: str, headers: dict[str, str] | None = None) -> tuple[Line, Answer]:
        """An open socket; raises Found for everything else."""
        attempt = secrets.token_hex(16)
        address = f"{path}?attempt={attempt}" if path == SOCKET_PATH else path
        try:
            async with self._notebook.within(UPGRADE_SECONDS):
                line, answer, key = await self._way.knock(address, headers or {}, with_token=headers is None)
        except TimeoutError:
            raise self._fail(
                "upgrade_unanswered", path=path, what="nothing comes back", through=self._through
            ) from None
        except (OSError, EOFError, NotHttp):
            raise self._fail("upgrade_unanswered", path=path, what="the line is cut", through=self._through) from None
        if answer.status == 101:
            if answer.headers.get("sec-websocket-accept") == accept_of(key):
                return line, answer
            line.drop()
            raise self._fail("accept_wrong", path=path, through=self._through)
        line.drop()
        raise self._notebook.fail(await self._why_not(path, answer, attempt))

    async def _why_not(self, path: str, answer: Answer, attempt: str) -> Found:
        """Why an upgrade was not answered with 101."""
        if explains(answer):
            return await self._what_was_lost(path, attempt)
        target = self._way.target
        if is_house(answer):
            return house_says_no(answer, path, target.authority)
        server = answer.server or self._server
        if answer.status in GATEWAY_STATUSES:
            return Found("gateway_down", server=server, status=answer.status)
        plain = await self._plain(path)
        if plain is not None and explains(plain):
            advice = "Let it pass the headers of the upgrade on, with HTTP/1.1, or use one that can."
            return Found("cannot_upgrade", server=server, status=answer.status, path=path, advice=advice)
        if plain is not None and is_house(plain):
            return house_says_no(plain, path, target.authority)
        return Found("sockets_not_forwarded", origin=target.origin, server=server, path=path, status=answer.status)

    async def _what_was_lost(self, path: str, attempt: str) -> Found:
        """Which header of an upgrade did not arrive, as HeartLink saw it."""
        answer = await self._plain(f"/api/doctor/whoami?attempt={attempt}")
        found = answer.json if answer is not None else None
        arrived = (found.get("handshake") if isinstance(found, dict) else None) or {}
        if str(arrived.get("upgrade", "")).lower() == "websocket":
            seen = arrived.get("connection") or "nothing"
            return Found("connection_dropped", path=path, arrived=seen, through=self._through)
        return Found("upgrade_dropped", path=path, through=self._through)

    async def _plain(self, path: str) -> Answer | None:
        try:
            async with self._notebook.within(UPGRADE_SECONDS):
                return await self._way.get(path)
        except (OSError, EOFError, TimeoutError, NotHttp):
            return None

    def _check_subprotocol(self, path: str, answer: Answer) -> None:
        chosen = answer.headers.get("sec-websocket-protocol")
        if chosen != PROTOCOL:
            answered = f"answered with '{chosen}'" if chosen else "not answered"
            raise self._fail("subprotocol_dropped", path=path, answered=answered)

    # Frames

    async def _greeting(self, line: Line, path: str) -> dict[str, Any]:
        try:
            async with self._notebook.within(FRAME_SECONDS):
                frame = await read_frame(line)
        except TimeoutError:
            raise self._held_back(path, "101 came at once, the greeting that is sent with it did not") from None
        except (OSError, EOFError):
            raise self._cut(path, 0.0) from None
        self._check_close(frame, path)
        greeting = frame.json
        if greeting.get("type") not in GREETINGS:
            seen = str(greeting.get("type") or f"a frame of {len(frame.payload)} bytes")
            raise self._fail("greeting_wrong", path=path, seen=seen[:60])
        self._heartbeat_seconds = float(greeting.get("heartbeat_interval") or self._heartbeat_seconds)
        return greeting

    async def _round_trips(self, line: Line) -> str:
        """There and back, one after the other; raises Found where frames wait for something."""
        took: list[float] = []
        end = time.perf_counter() + FRAME_SECONDS * self._notebook.options.pace
        for number in range(ROUND_TRIPS):
            if took and time.perf_counter() > end:
                break
            began = time.perf_counter()
            answer = await self._ask(line, "there and back", type="ping", timestamp=number, ref=f"ping-{number}")
            if answer.get("type") == "error":
                break
            took.append(1000 * (time.perf_counter() - began))
        if not took:
            return "not measured: HeartLink's rate limit is very low"
        median = statistics.median(took)
        if median > HELD_BACK_MS and median > HELD_BACK_TIMES * self._page_ms:
            evidence = f"a frame takes {median:.0f} ms there and back, a page {self._page_ms:.0f} ms"
            raise self._held_back(SOCKET_PATH, evidence)
        return f"round trip p50 {median:.1f} ms, worst of {len(took)} {max(took):.1f} ms"

    async def _echo(self, line: Line, greeting: dict[str, Any]) -> str:
        limit = (greeting.get("limits") or {}).get("frame_bytes") or ECHO_BYTES
        largest = max(0, min(ECHO_BYTES, limit - FRAME_MARGIN_BYTES))
        for number, text in enumerate(("hello", "你好，世界", "x" * largest)):
            what = f"{len(text.encode())} bytes"
            answer = await self._ask(line, what, type="echo", text=text, ref=f"echo-{number}")
            if answer.get("type") == "echo_response" and answer.get("text") != text:
                raise self._fail("echo_wrong", path=SOCKET_PATH, what=what)
        return f"text, Chinese and {largest >> 10} KiB come back unchanged"

    async def _ask(self, line: Line, what: str, **command: object) -> dict[str, Any]:
        """Send a command and wait for what repeats its ref."""
        began = time.perf_counter()
        try:
            async with self._notebook.within(FRAME_SECONDS):
                send_json(line, **command)
                while True:
                    frame = await read_frame(line)
                    self._check_close(frame, SOCKET_PATH)
                    if frame.json.get("ref") == command["ref"]:
                        return frame.json
        except TimeoutError:
            raise self._held_back(SOCKET_PATH, f"the answer to a frame ({what}) does not come") from None
        except (OSError, EOFError):
            raise self._cut(SOCKET_PATH, time.perf_counter() - began) from None

    # Other routes

    async def _other_sockets(self) -> None:
        """Every other socket route, as far as its address can be known; and this one by cookie, as a page does it."""
        notebook = self._notebook
        values = {"room_id": notebook.options.room_id or self._way.target.room_id, "user_id": ""}
        if self._way.token:
            me = await self._plain("/api/me")
            found = me.json if me is not None and me.status == 200 else None
            values["user_id"] = str(found.get("id", "")) if isinstance(found, dict) else ""
            notebook.begin("cookie")
            line, _ = await self._upgrade(SOCKET_PATH, {"Cookie": f"{SESSION_COOKIE}={self._way.token}"})
            line.drop()
            notebook.note(f"a page of {self._way.target.origin} opens a socket with the session cookie")
        for route in self._routes:
            if route.rstrip("/") == SOCKET_PATH.rstrip("/"):
                continue
            notebook.begin(f"socket {route}")
            path = socket_path(route, **{name: value for name, value in values.items() if value})
            if "{" in path:
                wanted = "--room" if "{room_id}" in path else "--token"
                notebook.note(f"not opened: its address is known with {wanted}", state="skipped", took_ms=0)
                continue
            line, answer = await self._upgrade(path)
            with line:
                self._check_subprotocol(path, answer)
                greeting = await self._greeting(line, path)
            notebook.note(f"101, then {greeting.get('type')}")

    # Silence

    async def _idle(self, line: Line) -> None:
        """Stay silent for as long as was asked, then see whether the socket is still there."""
        notebook, seconds = self._notebook, self._notebook.options.idle_seconds
        if not seconds:
            return
        notebook.begin("idle")
        began = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._check_close(await read_frame(line), SOCKET_PATH)
        except TimeoutError:
            pass
        except (OSError, EOFError):
            raise self._cut(SOCKET_PATH, time.perf_counter() - began) from None
        try:
            answer = await self._ask(line, "after the silence", type="ping", timestamp=0, ref="idle")
        except Found as found:
            if found.verdict.code == "closed":
                raise
            raise Found("idle_cut", **self._cut_seen(SOCKET_PATH, seconds)) from None
        notebook.note(f"{seconds:g} s of silence, and the socket still answers ({answer.get('type')})")

    # Findings

    def _check_close(self, frame: Frame, path: str) -> None:
        if frame.opcode == CLOSE:
            code, reason = frame.close
            raise self._fail("closed", path=path, close_code=code, reason=reason)

    def _cut(self, path: str, seconds: float) -> Found:
        return self._fail("idle_cut", **self._cut_seen(path, seconds))

    def _cut_seen(self, path: str, seconds: float) -> dict[str, object]:
        return {"path": path, "seconds": f"{seconds:.1f}", "heartbeat": self._heartbeat_seconds}

    def _held_back(self, path: str, evidence: str) -> Found:
        return self._fail("buffered", path=path, evidence=evidence, through=self._through)

    def _fail(self, code: str, **seen: object) -> Found:
        return self._notebook.fail(Found(code, **seen))
