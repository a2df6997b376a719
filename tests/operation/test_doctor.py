"""The doctor at the command line: one patient for each verdict, each with exactly that illness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crooked_proxy import (
    AUTHORITY,
    NAME,
    CrookedProxy,
    Listener,
    Speaker,
    free_port,
    free_port_on_both,
    opened,
    swallowing_port,
)

from heartlink.doctor import (
    VERDICTS,
    BadAddress,
    Kind,
    Options,
    Report,
    examination,
    examine,
    read_address,
    sockets,
    ways,
)
from heartlink.doctor.__main__ import main, make_parser
from heartlink.doctor.manual import codes_table, verdicts_table
from heartlink.doctor.remedies import PROXIES, block, lines_for
from heartlink.doctor.report import as_json, as_text, without
from heartlink.doctor.strangers import recognize
from tests.actors import Server
from tests.conftest import Serve
from tests.launching import ROOT
from tests.launching import Server as Launched

pytestmark = pytest.mark.gen_test(timeout=30)

PATIENT_SECONDS = 20.0
"""For patients that answer at once: a slow machine must not be taken for an ill one."""

HASTY_SECONDS = 1.5
"""For patients whose illness is to be silent: nothing has to be answered in time."""


async def report_of(url: str, **options: Any) -> Report:
    options.setdefault("budget_seconds", PATIENT_SECONDS)
    return await examine(read_address(url), Options(**options))


def words(report: Report) -> str:
    return f"{report.found.sentence} {report.found.fix}"


# --- Patients behind a proxy of HeartLink ----------------------------------------------------------

BEHIND_A_PROXY: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    # verdict, what the proxy does wrong, options, what the sentence must say
    ("upgrade_dropped", {"drops": ("Upgrade",)}, {}, "'Upgrade' gets lost"),
    ("upgrade_dropped", {"drops": ("Upgrade", "Connection")}, {}, "HeartLink sees a plain request at /ws/doctor/"),
    ("connection_dropped", {"sets": {"Connection": "close"}}, {}, "HeartLink sees 'close'"),
    ("connection_dropped", {"drops": ("Connection",)}, {}, "HeartLink sees 'nothing'"),
    ("subprotocol_dropped", {"answer_drops": ("Sec-WebSocket-Protocol",)}, {}, "not answered"),
    ("subprotocol_dropped", {"answer_sets": {"Sec-WebSocket-Protocol": "chat"}}, {}, "answered with 'chat'"),
    ("accept_wrong", {"answer_sets": {"Sec-WebSocket-Accept": "x"}}, {}, "did not understand"),
    ("host_rewritten", {"sets": {"Host": "127.0.0.1:9"}}, {}, "HeartLink sees '127.0.0.1:9'"),
    *[
        ("cannot_upgrade", {"upgrade_status": status}, {}, f"{NAME} cannot upgrade to a WebSocket: it answers {status}")
        for status in (404, 200, 501, 400, 426)
    ],
    ("idle_cut", {"cut_seconds": 0.3}, {"idle_seconds": 20}, "ends quiet connections"),
    ("sockets_not_forwarded", {"own": {"/ws/": 404}}, {}, f"{NAME} answers /ws/doctor/ itself with 404"),
    ("pages_not_forwarded", {"own": {"/api/": 404, "/healthz": 404}}, {}, f"{NAME} answers /api/routes itself"),
    ("wrong_path", {"rewrites": lambda path: path.removeprefix("/ws")}, {}, "another address"),
    ("wrong_path", {"rewrites": lambda path: f"/ws{path}"}, {}, "another address"),
    ("wrong_path", {"own": {"/api/doctor": 404}}, {}, "/api/doctor/whoami is answered by crooked"),
    ("moved", {"location": "https://chat.example.org/x"}, {}, "only sends on to https://chat.example.org"),
    ("gateway_down", {"own": {"/": 503}}, {}, f"{NAME} answers 503"),
    ("gateway_down", {"upgrade_status": 504}, {}, f"{NAME} answers 504"),
    ("another_web_server", {"own": {"/": 404}}, {}, f"{NAME} answers at http"),
]


@pytest.mark.parametrize(("code", "faults", "options", "said"), BEHIND_A_PROXY)
async def test_a_proxy_is_found_out(
    serve: Serve, code: str, faults: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    server = await serve()
    async with CrookedProxy(server.port, **faults) as proxy:
        report = await report_of(proxy.url, **options)
    assert (report.found.verdict.code, said in words(report)) == (code, True), words(report)
    text = "\n".join(as_text(report))
    for name in ("nginx", "Caddy", "Apache", "HAProxy"):
        # A redirection is no fault of the forwarding: there the address is what is to be mended.
        assert (f"\n{name}:\n" in text) is (code != "moved")


@pytest.mark.parametrize(
    ("code", "faults", "limit", "said"),
    [
        ("upgrade_unanswered", {"upgrade_hangs": True}, "UPGRADE_SECONDS", "nothing comes back"),
        ("buffered", {"holds": True}, "FRAME_SECONDS", "frames are held back"),
    ],
)
async def test_a_proxy_that_lets_one_wait_is_found_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, code: str, faults: dict[str, Any], limit: str, said: str
) -> None:
    # Only the step that waits in vain is in a hurry.
    monkeypatch.setattr(sockets, limit, 0.03)
    server = await serve()
    async with CrookedProxy(server.port, **faults) as proxy:
        report = await report_of(proxy.url)
    assert (report.found.verdict.code, said in report.found.sentence) == (code, True), words(report)


async def test_a_proxy_that_tries_for_a_while_before_it_gives_up_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr("heartlink.doctor.occupants.RECOGNIZE_SECONDS", 0.01)
    async with CrookedProxy(1, own={"/": 503}, thinks_seconds=0.3) as proxy:
        report = await report_of(proxy.url)
    assert report.found.verdict.code == "gateway_down", words(report)


async def test_an_honest_proxy_is_healthy(serve: Serve) -> None:
    server = await serve()
    async with CrookedProxy(server.port) as proxy:
        report = await report_of(proxy.url, idle_seconds=0.1)
    assert report.found.verdict.code == "healthy", words(report)
    assert any(step.name == "idle" and step.state == "ok" for step in report.steps)


async def test_heartlink_below_a_path_is_found_where_it_is(serve: Serve) -> None:
    server = await serve()

    def below(path: str) -> str:
        return path.removeprefix("/talk") if path.startswith("/talk/") else f"/nowhere-at-all{path}"

    async with CrookedProxy(server.port, own={"/api": 404, "/ws": 404}, rewrites=below) as proxy:
        report = await report_of(f"{proxy.url}/talk/chat/tea/")
    assert report.found.verdict.code == "wrong_path"
    assert "it answers below /talk/" in report.found.sentence


async def test_frames_that_come_late_are_held_back(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    monkeypatch.setattr("heartlink.doctor.sockets.HELD_BACK_MS", 0.0)
    monkeypatch.setattr("heartlink.doctor.sockets.HELD_BACK_TIMES", 0.0)
    report = await report_of(server.url)
    assert report.found.verdict.code == "buffered"
    assert re.search(r"a frame takes \d+ ms there and back, a page \d+ ms", report.found.sentence)


async def test_what_comes_back_changed_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()

    def crooked(peer: Any, command: Any) -> Any:
        answer = honest(peer, command)
        return type(answer)(text=answer.text.upper(), bytes=answer.bytes, ref=answer.ref)

    honest = server.house.diagnosis.echo
    monkeypatch.setitem(server.house.doctor_dispatcher.table, _type_of(server, honest), crooked)
    report = await report_of(server.url)
    assert report.found.verdict.code == "echo_wrong", words(report)


def _type_of(server: Server, handler: object) -> Any:
    table = server.house.doctor_dispatcher.table
    return next(kind for kind, own in table.items() if own == handler)


# --- Patients that are no HeartLink ----------------------------------------------------------------


def banner(line: bytes) -> Callable[[], Listener]:
    return lambda: Speaker(line)


def web_page(status: int, page: bytes, server: str = "Apache/2.4.9") -> Callable[[], Listener]:
    head = f"HTTP/1.1 {status} x\r\nServer: {server}\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
    return lambda: Speaker(answer=lambda _: head.encode() + page, stays=False)


def redis(heard: bytes) -> bytes | None:
    if heard.startswith(b"GET"):
        return b"-ERR wrong number of arguments for 'get' command\r\n"
    return b"+PONG\r\n" if heard == b"PING\r\n" else None


def only_to(question: bytes, answer: bytes) -> Callable[[bytes], bytes | None]:
    return lambda heard: answer if heard == question else None


SSL_REQUEST = bytes.fromhex("0000000804d2162f")
MYSQL = b"J\0\0\0\x0a5.7.44-log\0\x08\0\0\0abcdefgh\0"

STRANGERS: list[tuple[str, Callable[[], Listener], str]] = [
    (
        "another_program",
        banner(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        "an SSH server (it says 'SSH-2",
    ),
    ("another_program", banner(b"220 mail.example.org ESMTP Postfix\r\n"), "a mail server (SMTP)"),
    ("another_program", banner(b"220 (vsFTPd 3.0.3) FTP\r\n"), "an FTP server"),
    ("another_program", banner(MYSQL), "a MySQL or MariaDB server (it says '5.7.44-log')"),
    ("another_program", banner(b"* OK IMAP4 ready\r\n"), "an IMAP server"),
    ("another_program", banner(b"hello, who are you?\n"), "a program that does not speak HTTP"),
    ("another_program", lambda: Speaker(answer=redis), "a Redis server"),
    (
        "another_program",
        lambda: Speaker(answer=only_to(b"PING\r\n", b"-NOAUTH Authentication required.\r\n")),
        "a Redis server",
    ),
    ("another_program", lambda: Speaker(answer=only_to(SSL_REQUEST, b"N")), "a PostgreSQL server"),
    (
        "another_program",
        web_page(200, b"It looks like you are trying to access MongoDB over HTTP on the native driver port."),
        "a MongoDB server",
    ),
    ("another_web_server", web_page(404, b"no"), "Apache/2.4.9 answers at http"),
    ("another_web_server", web_page(200, b"{}", "WSGIServer/0.2"), "/api/routes is answered with 200"),
    ("hangs_up", lambda: Speaker(hangs_up=True), "hangs up without a word"),
]


@pytest.mark.parametrize(("code", "make", "said"), STRANGERS)
async def test_who_else_listens_is_said(code: str, make: Callable[[], Listener], said: str) -> None:
    async with make() as patient:
        report = await report_of(patient.url)
    assert (report.found.verdict.code, said in report.found.sentence) == (code, True), words(report)
    assert f"process {os.getpid()} (" in report.found.fix, "the port's holder is on this machine"


def busy(heard: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\n\r\n" if heard == b"PING\r\n" else b""


@pytest.mark.parametrize(
    ("code", "make", "said"),
    [
        ("silent", Speaker, "says nothing"),
        ("answer_missing", lambda: Speaker(answer=busy), "an answer for /api/routes does not come"),
    ],
)
async def test_who_says_nothing(monkeypatch: pytest.MonkeyPatch, code: str, make: Any, said: str) -> None:
    monkeypatch.setattr(examination, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr("heartlink.doctor.occupants.RECOGNIZE_SECONDS", 0.03)
    monkeypatch.setattr("heartlink.doctor.occupants.PATIENCE_SECONDS", 0.01)
    async with make() as patient:
        report = await report_of(patient.url)
    assert (report.found.verdict.code, said in report.found.sentence) == (code, True), words(report)


@pytest.mark.parametrize("status", [404, 200, 501, 400, 426])
async def test_a_web_server_that_cannot_upgrade_is_told_to_whoever_asks_for_a_socket(status: int) -> None:
    async with web_page(status, b"<html>no</html>")() as patient:
        report = await report_of(f"ws://127.0.0.1:{patient.port}/ws/chat/tea/")
    assert report.found.verdict.code == "cannot_upgrade"
    assert f"Apache/2.4.9 cannot upgrade to a WebSocket: it answers {status}" in report.found.sentence


async def test_nothing_listens() -> None:
    port = free_port_on_both()
    report = await report_of(f"localhost:{port}")
    assert report.found.verdict.code == "nothing_listens"
    assert f"port {port} of localhost" in report.found.sentence and "::1: refused" in report.found.sentence


async def test_a_port_behind_a_firewall() -> None:
    with swallowing_port() as port:
        report = await report_of(f"127.0.0.1:{port}", budget_seconds=HASTY_SECONDS)
    assert report.found.verdict.code == "filtered"


async def test_no_way_at_all() -> None:
    report = await report_of("255.255.255.255:80")
    assert report.found.verdict.code == "unreachable"


async def test_names_that_do_not_exist_and_name_servers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def unanswered(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def never(*_: object, **__: object) -> Any:
        asked.wait(PATIENT_SECONDS)
        return []

    for answer, code, seconds in (
        (unknown, "name_unknown", PATIENT_SECONDS),
        (unanswered, "name_unanswered", PATIENT_SECONDS),
        (never, "name_unanswered", 0.5),
    ):
        monkeypatch.setattr(ways.socket, "getaddrinfo", answer)
        report = await report_of("https://chat.example.org/", budget_seconds=seconds)
        assert report.found.verdict.code == code
        assert "chat.example.org" in report.found.sentence
    asked.set()


async def test_the_time_for_all_of_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "ANSWER_SECONDS", 1000.0)
    async with Speaker() as patient:
        report = await report_of(patient.url, budget_seconds=HASTY_SECONDS)
    assert report.found.verdict.code == "out_of_time"
    assert "at the step 'http'" in report.found.sentence


def as_json_page(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


ROUTES = as_json_page('{"routes": [{"kind": "socket", "path": "/ws/doctor/"}, {"kind": "socket"}, 7]}')


@pytest.mark.parametrize(
    "view", ["[]", '{"page": 7}', '{"page": {"is_accepted": true}, "proxy_headers": 7}', "{" * 5000]
)
async def test_what_only_looks_like_heartlink_ends_with_a_verdict(view: str) -> None:
    async with Speaker(answer=lambda heard: ROUTES if b"/api/routes" in heard else as_json_page(view)) as patient:
        report = await report_of(patient.url)
    assert report.found.verdict.code in ("answer_odd", "wrong_path", "host_rewritten"), words(report)


GARBAGE = [
    b"\0" * 200_000,
    b"HTTP/1.1 200 OK\r\n" + b"X" * 200_000,
    b"HTTP/1.1 200 OK\r\n" * 9000,
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"HTTP/1.1 301 x\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x88\x02\xff",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"\xff\xfe\x1b[31m evil \x07\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_ends_with_a_verdict_that_a_terminal_may_show(garbage: bytes) -> None:
    async with Speaker(answer=lambda _: garbage, stays=False) as patient:
        report = await report_of(patient.url, budget_seconds=5)
    assert report.found.verdict.kind is not Kind.HEALTHY, words(report)
    shown = "\n".join(as_text(report))
    assert all(mark.isprintable() or mark == "\n" for mark in shown)


# --- Two programs on one port ----------------------------------------------------------------------


@pytest.mark.parametrize(("other", "code"), [("::1", "another_on_ipv6"), ("127.0.0.1", "another_on_ipv4")])
async def test_localhost_is_two_addresses(serve: Serve, other: str, code: str) -> None:
    server = await serve()
    own = "127.0.0.1" if other == "::1" else "::1"
    port = free_port_on_both()
    async with CrookedProxy(server.port, host=own, port=port), Speaker(b"SSH-2.0-x\r\n", host=other, port=port):
        report = await report_of(f"http://localhost:{port}/")
        assert report.found.verdict.code == code, words(report)
        assert "an SSH server" in report.found.sentence and f"process {os.getpid()} (" in report.found.fix
        direct = f"http://[::1]:{port}" if own == "::1" else f"http://127.0.0.1:{port}"
        assert f"until then use {direct}" in report.found.fix
        # By its own address it is found healthy.
        assert (await report_of(direct)).found.verdict.code == "healthy"


async def test_two_heartlinks_on_one_port_are_two(serve: Serve) -> None:
    one, two = await serve(), await serve()
    port = free_port_on_both()
    async with opened(CrookedProxy(one.port, port=port), CrookedProxy(two.port, host="::1", port=port)):
        report = await report_of(f"localhost:{port}")
    assert report.found.verdict.code == "another_on_ipv4" or report.found.verdict.code == "another_on_ipv6"
    assert "another HeartLink answers on" in report.found.sentence


@pytest.mark.parametrize("own", ["127.0.0.1", "::1"])
async def test_a_name_that_only_works_on_one_family_is_worth_a_note(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    server = await serve(allowed_hosts=("chat.example.org",))
    both = [(0, 0, 0, "", (address, 0)) for address in ("::1", "127.0.0.1")]
    monkeypatch.setattr(ways.socket, "getaddrinfo", lambda *_, **__: both)
    async with CrookedProxy(server.port, host=own) as proxy:
        report = await report_of(f"http://chat.example.org:{proxy.port}/")
    assert report.found.verdict.code == "healthy", words(report)
    (step,) = [step for step in report.steps if step.name == f"tcp, {'IPv6' if own == '127.0.0.1' else 'IPv4'}"]
    assert step.state == "note" and ("AAAA record" if own == "127.0.0.1" else "the A record") in step.fix
    assert f"→ {step.fix}" in "\n".join(as_text(report))


# --- TLS -------------------------------------------------------------------------------------------

CERTIFICATES = [
    ("expired", "tls_expired", "has expired on 2021-01-01"),
    ("future", "tls_not_yet_valid", "it begins on 2100-01-01"),
    ("self_signed", "tls_self_signed", "no browser trusts it"),
    ("unknown_issuer", "tls_unknown_issuer", "does not know"),
    ("wrong_name", "tls_wrong_name", "not for 'localhost' but for chat.example.org, www.example.org"),
]


@pytest.mark.parametrize(("certificate", "code", "said"), CERTIFICATES)
async def test_what_is_wrong_with_a_certificate(
    monkeypatch: pytest.MonkeyPatch, certificate: str, code: str, said: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    async with Speaker(certificate=certificate) as patient:
        report = await report_of(f"https://localhost:{patient.port}/")
    assert (report.found.verdict.code, said in report.found.sentence) == (code, True), words(report)


async def test_a_good_certificate_is_healthy_and_a_bad_one_can_be_passed_over(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    server = await serve(trusted_proxies=("127.0.0.1",))
    async with CrookedProxy(server.port, certificate="good") as proxy:
        report = await report_of(f"wss://localhost:{proxy.port}/ws/doctor/")
        assert report.found.verdict.code == "healthy", words(report)
        (headers,) = [step for step in report.steps if step.name == "headers"]
        assert headers.state == "note" and "X-Forwarded-Proto is not sent" in headers.text
    strange = await serve()
    async with CrookedProxy(strange.port, certificate="good", sets={"X-Forwarded-Proto": "https"}) as proxy:
        report = await report_of(f"https://localhost:{proxy.port}/")
        (headers,) = [step for step in report.steps if step.name == "headers"]
        assert headers.state == "note" and "X-Forwarded-Proto is not believed" in headers.text
        assert "--trusted-proxies" in headers.fix
    async with CrookedProxy(server.port, certificate="expired") as proxy:
        report = await report_of(f"https://localhost:{proxy.port}", insecure=True)
        assert report.found.verdict.code == "healthy", words(report)
        assert any("certificate not checked" in step.text for step in report.steps)


async def test_tls_and_plain_http_mixed_up(serve: Serve) -> None:
    server = await serve()
    report = await report_of(f"https://localhost:{server.port}/", budget_seconds=5)
    assert report.found.verdict.code == "plain_on_tls_port"
    assert f"Use http://localhost:{server.port}" in report.found.fix
    async with Speaker(certificate="good") as patient:
        report = await report_of(f"http://localhost:{patient.port}/", budget_seconds=5)
        assert report.found.verdict.code == "tls_on_plain_port", words(report)
        assert f"Use https://localhost:{patient.port}" in report.found.fix
    # As nginx answers it.
    async with web_page(400, b"<center>The plain HTTP request was sent to HTTPS port</center>")() as patient:
        assert (await report_of(patient.url)).found.verdict.code == "tls_on_plain_port"


async def test_tls_that_fails() -> None:
    # The alert 'handshake_failure', as from a server without any cipher in common.
    async with Speaker(answer=lambda _: b"\x15\x03\x03\x00\x02\x02\x28", stays=False) as patient:
        report = await report_of(f"https://127.0.0.1:{patient.port}/", budget_seconds=5)
    assert report.found.verdict.code == "tls_failed"
    async with Speaker(b"SSH-2.0-x\r\n") as patient:
        assert (await report_of(f"https://127.0.0.1:{patient.port}/")).found.verdict.code == "another_program"


# --- HeartLink's own reasons -----------------------------------------------------------------------


async def test_a_healthy_server_with_token_and_room(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    report = await report_of(f"{server.url}/chat/{room}/", token=ann.token)
    assert report.found.verdict.code == "healthy", words(report)
    names = [step.name for step in report.steps if step.state == "ok"]
    for wanted in ("token", "cookie", "socket /ws/chat/{room_id}/", "socket /ws/permissions/{user_id}/", "echo"):
        assert wanted in names, names
    assert re.search(r"round trip p50 [\d.]+ ms, worst of 8 [\d.]+ ms", report.found.sentence)
    assert str(ann.token) not in as_json(report) + "\n".join(as_text(report))


async def test_it_says_with_the_servers_own_words_why_it_is_refused(serve: Serve) -> None:
    server = await serve(message_chars=100)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(name="Tea", kind="private")

    async def refused(**options: Any) -> tuple[str, str]:
        report = await report_of(server.url, **options)
        return report.found.verdict.code, words(report)

    assert (await refused(token="nonsense"))[0] == "refused_401"
    code, said = await refused(token=bob.token, room_id=room)
    assert code == "refused_403" and "not_a_member: You are not a member" in said and "invite link" in said
    assert (await refused(room_id=room))[0] == "refused_401"
    assert (await refused(token=ann.token, room_id="no-such-room"))[0] == "refused_404"
    assert (await ann.asks("DELETE", f"/api/rooms/{room}")).status in (200, 204)
    code, said = await refused(token=ann.token, room_id=room)
    assert code == "refused_410" and "was ended" in said


async def test_too_many_connections_and_a_server_that_stops(serve: Serve) -> None:
    server = await serve(connections_per_address=1)
    chair = await server.stranger().listens("anonymous/")
    report = await report_of(server.url)
    assert report.found.verdict.code == "refused_429", words(report)
    await chair.leaves()
    server.house.draining = True
    report = await report_of(server.url)
    assert report.found.verdict.code == "refused_503" and "draining" in report.found.sentence


async def test_a_host_that_the_server_does_not_answer_to(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve(allowed_hosts=("chat.example.org",))
    monkeypatch.setattr(ways.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("127.0.0.1", server.port))])
    report = await report_of(f"http://tea.example.org:{server.port}/")
    assert report.found.verdict.code == "refused_403"
    assert "host_not_allowed" in report.found.sentence and "--allowed-hosts" in report.found.fix
    # The same, but the doctor asked for the right name and a proxy made another of it.
    async with CrookedProxy(server.port, sets={"Host": "heartlink-backend"}) as proxy:
        report = await report_of(f"http://chat.example.org:{proxy.port}/".replace("chat.example.org", "127.0.0.1"))
    assert report.found.verdict.code == "host_rewritten" and "'heartlink-backend'" in report.found.sentence


def as_the_house(status: int, body: dict[str, Any], *, at: str) -> Callable[[int], CrookedProxy]:
    """HeartLink, but at one address it answers with something that it seldom has reason to."""

    class Odd(CrookedProxy):
        def _own_status(self, target: str, is_upgrade: bool) -> int:
            return status if is_upgrade and target.startswith(at) else 0

        def _own_answer(self, status: int) -> bytes:
            page = json.dumps(body).encode()
            head = "X-Request-Id: 1\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n"
            return f"HTTP/1.1 {status} x\r\n{head}Content-Length: {len(page)}\r\n\r\n".encode() + page

    return lambda port: Odd(port)


@pytest.mark.parametrize(("status", "code"), [(400, "refused_400"), (451, "refused_other"), (500, "server_error")])
async def test_refusals_that_are_rare(serve: Serve, status: int, code: str) -> None:
    error = {"error": {"code": "because", "message": "So it is.", "fix": "Wait.", "request_id": "abc"}}
    async with as_the_house(status, error, at="/ws/doctor/")((await serve()).port) as patient:
        report = await report_of(patient.url)
    assert report.found.verdict.code == code
    assert "because" in report.found.sentence
    assert "abc" in words(report) or "Wait." in words(report)


async def test_a_socket_that_greets_wrongly_or_closes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()

    def closes(peer: Any, handshake: Any) -> None:
        from heartlink.errors import INTERNAL_FAREWELL

        peer.connection.hang_up(INTERNAL_FAREWELL)

    def mutters(peer: Any, handshake: Any) -> None:
        peer.connection.push(b"\x81\x02{}")

    for arrive, code, said in ((closes, "closed", "4002 'internal_error'"), (mutters, "greeting_wrong", "2 bytes")):
        monkeypatch.setattr(server.house.diagnosis, "arrive", arrive)
        report = await report_of(server.url)
        assert (report.found.verdict.code, said in report.found.sentence) == (code, True), words(report)


def test_every_verdict_has_its_patient() -> None:
    """Each code stands in a test of this file: as what must come out of a patient, not only as a word."""
    own = Path(__file__).read_text(encoding="utf-8")
    missing = [code for code in VERDICTS if f'"{code}"' not in own]
    assert missing == []


# --- Addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origin", "room"),
    [
        ("localhost:8000", "http://localhost:8000", ""),
        ("chat.example.org", "http://chat.example.org", ""),
        ("chat.example.org:443", "https://chat.example.org", ""),
        ("::1", "http://[::1]", ""),
        ("[::1]:8000/chat/tea/", "http://[::1]:8000", "tea"),
        ("https://chat.example.org/chat/%E8%8C%B6/", "https://chat.example.org", "茶"),
        ("wss://chat.example.org:8443/ws/chat/tea/?token=a.b.c", "https://chat.example.org:8443", "tea"),
        ("HTTP://LOCALHOST:80/tools/heart_link/chat/tea", "http://localhost", "tea"),
    ],
)
def test_whatever_names_a_server_is_understood(text: str, origin: str, room: str) -> None:
    target = read_address(text)
    assert (target.origin, target.room_id) == (origin, room)
    assert target.token == ("a.b.c" if "token" in text else "")
    assert "a.b.c" not in repr(target)


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://a b/", "x" * 2001])
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        read_address(text)


# --- The lines -------------------------------------------------------------------------------------


def test_the_proxy_that_was_seen_comes_first_and_what_mends_it_is_marked() -> None:
    for fault in ("upgrade", "host", "idle", "buffering", "path", "address", "forwarded"):
        for name, lines in lines_for(fault, "HAProxy 2.6").items():
            assert "this is what mends it" in lines or lines.count("#") >= 2, (fault, name)
    assert next(iter(lines_for("host", "Apache/2.4.61 (Debian)"))) == "Apache"
    for proxy in PROXIES:
        # The remarks apart, they are the very lines that docs/proxies.md has and the tests of operation run.
        printed = lines_for("upgrade")[proxy.name]
        assert "".join(f"{row}\n" for row in printed.splitlines() if not row.lstrip().startswith("#")) == block(proxy)


def test_a_secret_is_left_out() -> None:
    assert without("a hunter2 b", "hunter2") == "a … b"
    assert without("as it was", "") == "as it was"


# --- The command -----------------------------------------------------------------------------------


def command(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("DOCTOR_TOKEN", "SSL_CERT_FILE")}
    return subprocess.Popen(
        [sys.executable, "-m", "heartlink.doctor", *arguments],
        stdin=subprocess.PIPE,
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**plain, **more.pop("environment", {})},
    )


async def ends(process: subprocess.Popen[str], said: str = "") -> tuple[int, str, str]:
    """Exit code and what it said, while the loop of the patients goes on."""
    out, err = await asyncio.get_running_loop().run_in_executor(None, lambda: process.communicate(said, timeout=30))
    return process.returncode, out or "", err


async def test_the_command_says_it_in_one_sentence_first_and_last_and_by_its_exit_code(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    code, out, errors = await ends(command(server.url, "--token=-", "--budget=20"), f"{ann.token}\n")
    lines = out.splitlines()
    assert (code, errors) == (0, "")
    assert lines[0] == lines[-1] and lines[0].startswith(f"HeartLink at {server.url} is healthy: version")
    assert any(line.startswith("ok      cookie") for line in lines)
    assert str(ann.token) not in out

    port = free_port()
    code, out, errors = await ends(command(f"127.0.0.1:{port}", "--json"))
    report = json.loads(out)
    assert (code, report["exit_code"], report["class"], report["verdict"]) == (11, 11, "nothing", "nothing_listens")
    assert report["conclusion"].startswith(f"Nothing listens on port {port}") and report["fix"]
    assert [step["name"] for step in report["steps"]] == ["name", "tcp, IPv4"]
    assert report["took_ms"] > 0 and report["lines"] == {}

    secret = "eyJhbGciOi.hunter2.sig"
    code, out, errors = await ends(command(f"{server.url}/?token={secret}", environment={"NO_COLOR": "1"}))
    assert code == 15 and "hunter2" not in out + errors


async def test_a_token_that_a_server_repeats_is_not_printed(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    error = {"error": {"code": "odd", "message": f"Not with {ann.token}.", "fix": f"Drop {ann.token}."}}
    async with as_the_house(451, error, at="/ws/doctor/")(server.port) as patient:
        for format_flags in ([], ["--json"]):
            code, out, errors = await ends(
                command(patient.url, "--token=-", "--budget=20", *format_flags), f"{ann.token}\n"
            )
            assert (code, errors) == (15, "") and "Not with …." in out and "Drop …." in out
            assert str(ann.token) not in out


async def test_a_heartlink_on_another_port_of_this_machine_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests may have theirs at the same time.
    monkeypatch.setattr("heartlink.doctor.neighbours.ASKED_LIMIT", 1000)
    monkeypatch.setattr("heartlink.doctor.neighbours.SHOWN_LIMIT", 1000)
    loop = asyncio.get_running_loop()
    with Launched("--port=0", f"--data-dir={tmp_path}") as server:
        address = await loop.run_in_executor(None, server.address)
        async with Speaker(b"SSH-2.0-x\r\n") as other:
            for wrong in (other.port, free_port()):
                report = await report_of(f"127.0.0.1:{wrong}")
                assert "HeartLink does answer on this machine, at http://" in report.found.fix, words(report)
                assert f"{address}." in report.found.fix or f"{address} and" in report.found.fix


async def test_whoever_watches_sees_each_step_when_it_is_done(serve: Serve) -> None:
    server = await serve()
    async with CrookedProxy(server.port, holds=True) as proxy:
        ours, theirs = pty.openpty()
        process = command(proxy.url, "--budget=4", stdout=theirs)
        os.close(theirs)
        loop = asyncio.get_running_loop()
        seen = b""
        # The step before the one that waits is there while the process still runs.
        while b"subprotocol" not in seen:
            seen += await loop.run_in_executor(None, os.read, ours, 4096)
        assert b"frames are held back" not in seen and process.poll() is None
        # At its end a terminal is an error, not the end of a file.
        with contextlib.suppress(OSError):
            while more := await loop.run_in_executor(None, os.read, ours, 4096):
                seen += more
        os.close(ours)
        code, _, errors = await ends(process)
    lines = seen.decode().replace("\r", "").strip().splitlines()
    assert (code, errors) == (14, "")
    assert lines[0].startswith("ok      name") and "frames are held back" in lines[-1]


def test_a_command_that_is_not_understood_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--nonsense", "x"], ["ftp://x"], ["x", "--budget=0"], ["x", "--idle=a"], ["x", "y"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, errors = capsys.readouterr()
        assert (left.value.code, out, errors.count("\n")) == (Kind.USAGE.exit_code, "", 1)
        assert "--help" in errors


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    for kind in Kind:
        assert re.search(rf"^ +{kind.exit_code}  {re.escape(kind.meaning)}$", out, re.MULTILINE)


async def test_it_recognizes_while_the_other_side_stays_silent() -> None:
    async with Speaker(b"RFB 003.008\n") as patient:
        assert str(await recognize("127.0.0.1", patient.port, 5)) == "a VNC server (it says 'RFB 003.008')"


# --- Its document ----------------------------------------------------------------------------------


def test_the_document_has_every_verdict_exit_code_and_flag() -> None:
    document = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert verdicts_table() in document and codes_table() in document, "python -m heartlink.doctor.manual"
    flags = {flag for action in make_parser()._actions for flag in action.option_strings if flag.startswith("--")}
    assert flags - {"--help"} == set(re.findall(r"^\| `(--[a-z]+)", document, re.MULTILINE))


def test_the_document_of_proxies_has_the_lines_that_are_printed() -> None:
    document = (ROOT / "docs" / "proxies.md").read_text(encoding="utf-8")
    rows = {row.strip() for row in document.splitlines()}
    for proxy in PROXIES:
        assert {row.strip() for row in block(proxy).splitlines()} <= rows, proxy.name
