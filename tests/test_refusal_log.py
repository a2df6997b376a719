"""Refused upgrades in the log: one readable line each, repeats gathered, nothing secret, and an id to quote."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from heartlink.logs import LineFormatter
from heartlink.refusals import LINES_PER_WINDOW, WINDOW_SECONDS, RefusalLog, RefusedUpgrade
from tests.actors import Answer, Person
from tests.conftest import Serve

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

REFUSED = RefusedUpgrade(
    route="/ws/chat/{room_id}/",
    path="/ws/chat/tea/",
    status=403,
    code="not_a_member",
    message="You are not a member.",
    fix="Ask one.",
    origin="https://chat.example",
    host="10.0.0.5:8000",
    address="203.0.113.9",
    user="ann",
    request_id="c0ffee",
)


class Timers:
    """Stands for the event loop's ``call_later``: a test says when the time is over."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        self.waiting.append((seconds, callback))
        return self

    def cancel(self) -> None:
        self.waiting.clear()

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, callback in waiting:
            callback()


def lines_of(caplog: pytest.LogCaptureFixture, *, as_json: bool = False) -> list[str]:
    formatter = LineFormatter(as_json=as_json)
    return [formatter.format(record) for record in caplog.records if record.name == "heartlink.door"]


def test_a_line_says_where_what_and_why(caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog(Timers().call_later).note(REFUSED)
    (line,) = lines_of(caplog)
    assert line.endswith(
        "WARNING heartlink.door: Upgrade refused: 403 not_a_member at /ws/chat/{room_id}/ (/ws/chat/tea/), "
        "Origin 'https://chat.example', Host '10.0.0.5:8000', from 203.0.113.9, user ann, request c0ffee: "
        "You are not a member. Ask one."
    )
    fields = json.loads(lines_of(caplog, as_json=True)[0])
    expected = {
        "status": 403,
        "code": "not_a_member",
        "route": "/ws/chat/{room_id}/",
        "path": "/ws/chat/tea/",
        "origin": "https://chat.example",
        "host": "10.0.0.5:8000",
        "ip": "203.0.113.9",
        "user": "ann",
        "request_id": "c0ffee",
    }
    assert expected.items() <= fields.items()


def test_repeats_are_gathered_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    timers = Timers()
    refusals = RefusalLog(timers.call_later)
    for number in range(124):
        refusals.note(REFUSED._replace(request_id=str(number)))
    refusals.note(REFUSED._replace(address="203.0.113.10"))
    refusals.note(REFUSED._replace(code="origin_not_allowed"))
    refusals.note(REFUSED._replace(origin=None, user=""))
    assert len(lines_of(caplog)) == 3 and [seconds for seconds, _ in timers.waiting] == [WINDOW_SECONDS]
    timers.run()
    *_, last = lines_of(caplog)
    assert len(lines_of(caplog)) == 4
    assert last.endswith(
        "… and 124 more like it in the last 10 s: not_a_member at /ws/chat/{room_id}/ from 203.0.113.9"
    )

    # The next one is told at once again, and without repeats nothing is added.
    refusals.note(REFUSED._replace(origin=None, user=""))
    assert "Origin none" in lines_of(caplog)[-1] and "user unknown" in lines_of(caplog)[-1]
    timers.run()
    assert len(lines_of(caplog)) == 5


def test_a_flood_from_everywhere_stays_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog(Timers().call_later)
    for number in range(LINES_PER_WINDOW + 300):
        refusals.note(REFUSED._replace(address=f"10.0.{number // 250}.{number % 250}"))
    refusals.note(REFUSED._replace(address="10.0.1.49", code="draining", status=503))
    assert len(lines_of(caplog)) == LINES_PER_WINDOW
    refusals.close()
    assert lines_of(caplog)[-1].endswith(
        "… and 301 more from 300 addresses in the last 10 s: 403 not_a_member (300 times), 503 draining (1 times)"
    )
    refusals.close()
    assert len(lines_of(caplog)) == LINES_PER_WINDOW + 1


def test_lines_hold_no_secret_and_stay_one_line(caplog: pytest.LogCaptureFixture) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
    RefusalLog(Timers().call_later).note(
        REFUSED._replace(path=f"/ws/chat/x/?token={token}", origin=f"https://{token}", host="a\r\nforged " + "x" * 900)
    )
    for as_json in (False, True):
        (line,) = lines_of(caplog, as_json=as_json)
        assert token not in line and "c2lnbmF0dXJl" not in line
        assert "\n" not in line and len(line) < 1500


async def upgrades(person: Person, path: str, **headers: str) -> Answer:
    return await person.asks("GET", path, headers={**UPGRADE, **headers})


@pytest.mark.gen_test
async def test_every_refused_upgrade_is_told_with_the_id_that_its_peer_was_given(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve()
    ann, eve = await server.person("ann"), await server.person("eve")
    room = await ann.opens(name="Tea")
    place = f"/ws/chat/{room}/"
    cookie = {"Cookie": f"heartlink_session={ann.token}", "Origin": "https://evil.example"}
    headerless = {"Upgrade": "", "Connection": "close", "Host": f"127.0.0.1:{server.port}"}
    nobody = server.stranger()
    refused = [
        (await upgrades(eve, place), 403, "not_a_member", "/ws/chat/{room_id}/", "eve"),
        (await upgrades(nobody, place), 401, "unauthenticated", "/ws/chat/{room_id}/", "unknown"),
        (await upgrades(nobody, place, **cookie), 403, "origin_not_allowed", "/ws/chat/{room_id}/", "ann"),
        (await upgrades(nobody, f"{place}?token=hunter2"), 401, "invalid_token", "/ws/chat/{room_id}/", "unknown"),
        (
            await upgrades(nobody, "/ws/permissions/", Host="evil.example"),
            403,
            "host_not_allowed",
            "/ws/permissions/",
            "",
        ),
        (await upgrades(nobody, "/ws/nowhere/"), 404, "not_found", "no socket route", "unknown"),
        (await upgrades(nobody, "/chat/tea/"), 302, "not_a_socket", "no socket route", "unknown"),
        (await upgrades(nobody, "/api/rooms"), 401, "unauthenticated", "no socket route", "unknown"),
        (await upgrades(ann, place, **headerless), 426, "upgrade_headers_lost", "/ws/chat/{room_id}/", "ann"),
    ]
    lines = lines_of(caplog)
    assert len(lines) == len(refused)
    for line, (answer, status, code, route, user) in zip(lines, refused, strict=True):
        assert answer.status == status, answer
        assert f"Upgrade refused: {status} {code} at {route} (" in line
        assert f"request {answer.headers['X-Request-Id']}:" in line and f"user {user}" in line
        if answer.headers["Content-Type"].startswith("application/json") and status != 426:
            assert answer.json["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert "Origin 'https://evil.example', Host '127.0.0.1:" in lines[2]
    assert "Host 'evil.example', from 127.0.0.1" in lines[4]
    assert "(Upgrade '', Connection 'close' were seen)" in lines[8]
    assert not any("hunter2" in line for line in lines)

    # What was no attempt to open a socket, and what was opened, is not told.
    await nobody.asks("GET", place)
    await (await ann.sits_in(room)).leaves()
    assert len(lines_of(caplog)) == len(refused)


@pytest.mark.gen_test
async def test_a_bearer_among_the_subprotocols_is_not_told(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = await serve()
    answer = await upgrades(server.stranger(), "/ws/doctor/", **{"Sec-WebSocket-Protocol": "bearer.abc-def-ghi"})
    assert (answer.status, answer.code) == (401, "invalid_token")
    (line,) = lines_of(caplog)
    assert "abc-def-ghi" not in line


@pytest.mark.gen_test
async def test_the_house_tells_what_it_counted_when_it_closes(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = await serve()
    for _ in range(3):
        await upgrades(server.stranger(), "/ws/nowhere/")
    assert len(lines_of(caplog)) == 1
    await server.close()
    assert "and 2 more like it" in lines_of(caplog)[-1]


@pytest.mark.gen_test
async def test_a_fault_of_ours_gives_an_id_that_the_log_knows(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()

    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    chair = await server.stranger().visits_the_doctor()
    monkeypatch.setattr(server.house.diagnosis, "echo", fail)
    server.house.doctor_dispatcher.table = dict.fromkeys(server.house.doctor_dispatcher.table, fail)
    answer = await chair.asks({"type": "echo", "text": "x"})
    assert answer["error_code"] == "internal_error"
    (record,) = [record for record in caplog.records if record.exc_info]
    mishap = record.__dict__["fields"]["request_id"]
    assert f"'{mishap}'" in answer["fix"] and mishap in record.getMessage()
    await chair.leaves()

    caplog.clear()
    monkeypatch.setattr(server.house.diagnosis, "recall", fail)
    broken = await server.stranger().asks("GET", "/api/doctor/whoami?attempt=x")
    assert broken.status == 500
    request_id = broken.json["error"]["request_id"]
    assert request_id == broken.headers["X-Request-Id"] and request_id in broken.json["error"]["fix"]
    assert any(request_id in record.getMessage() and record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.gen_test
async def test_error_pages_show_the_id(serve: Serve) -> None:
    server = await serve()
    page = await server.stranger().asks("GET", "/no/such/page")
    assert page.status == 404 and page.headers["X-Request-Id"].encode() in page.body
