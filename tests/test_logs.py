"""Log lines: one record, one line, bounded, and never a token in it."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from heartlink.logs import LINE_CHARS, LineFormatter, log_fault, watch_loop, without_secrets

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


def line_of(message: str, *arguments: object, as_json: bool = False, failure: BaseException | None = None) -> str:
    exc_info = (type(failure), failure, failure.__traceback__) if failure else None
    record = logging.LogRecord("heartlink.test", logging.INFO, "x.py", 1, message, arguments, exc_info)
    return LineFormatter(as_json=as_json).format(record)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /ws/chat/a/?token=abc&since=3", "GET /ws/chat/a/?token=…&since=3"),
        ("GET /x?since=3&ticket=abc HTTP", "GET /x?since=3&ticket=… HTTP"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer …"),
        ("offered heartlink.v1, bearer.abcdefgh12345", "offered heartlink.v1, bearer.…"),
        (f"left over {TOKEN} here", "left over … here"),
        ("POST /api/invites/Zx81aa 200", "POST /api/invites/… 200"),
        ("GET /setup/Zx81aa 200", "GET /setup/… 200"),
        ("at mongodb://ann:hunter2@db.example:27017/x", "at mongodb://ann:…@db.example:27017/x"),
        ("the bearer of bad news", "the bearer of bad news"),
        ("http://127.0.0.1:8000/chat/a/", "http://127.0.0.1:8000/chat/a/"),
    ],
)
def test_secrets_are_hidden(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
    assert line_of("%s", text).endswith(expected)


def test_a_line_stays_one_line_whatever_a_peer_sends() -> None:
    assert line_of("name %s", "ann\r\n2026 ERROR forged\x1b[31m 你好").endswith(
        r"name ann\r\n2026 ERROR forged\x1b[31m 你好"
    )
    assert "\n" not in line_of("name %s", "ann\nbob", as_json=True)


def test_a_line_is_bounded() -> None:
    assert len(line_of("%s", "x" * 100_000)) < LINE_CHARS + 100


def test_json_lines_carry_time_level_logger_message_and_traceback() -> None:
    try:
        raise ValueError(f"broken by {TOKEN}")
    except ValueError as failure:
        fields = json.loads(line_of("it %s", "broke", as_json=True, failure=failure))
    assert fields["ts"].endswith("Z")
    assert (fields["level"], fields["logger"], fields["message"]) == ("info", "heartlink.test", "it broke")
    assert fields["exception"].endswith("ValueError: broken by …")


def test_a_text_line_has_its_traceback_below() -> None:
    try:
        raise ValueError("broken")
    except ValueError as failure:
        lines = line_of("it broke", failure=failure).splitlines()
    assert lines[0].endswith("INFO heartlink.test: it broke")
    assert lines[-1] == "ValueError: broken"


def test_what_nobody_caught_in_the_loop_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        watch_loop(loop)
        loop.call_soon(_fail)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert [record.name for record in caplog.records] == ["heartlink.loop"]
    assert caplog.records[0].exc_info is not None


def _fail() -> None:
    raise ValueError("nobody catches this")


def test_a_fault_has_an_id_in_its_line_and_its_record(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("heartlink.test")
    plain = log_fault(logger, "it %s", "broke")
    try:
        raise ValueError("broken")
    except ValueError:
        raised = log_fault(logger, "it broke again")
    first, second = caplog.records
    assert plain != raised and not first.exc_info and second.exc_info
    assert LineFormatter(as_json=False).format(first).endswith(f"ERROR heartlink.test: {plain} it broke")
    fields = json.loads(LineFormatter(as_json=True).format(second))
    assert fields["request_id"] == raised and fields["exception"].endswith("ValueError: broken")


def test_fields_of_a_record_stand_in_json_bounded_and_without_secrets() -> None:
    record = logging.LogRecord("heartlink.test", logging.INFO, "x.py", 1, "asked", (), None)
    record.fields = {"path": f"/x?token={TOKEN}", "ms": 1.5, "user": None, "host": "x" * 100_000}
    fields = json.loads(LineFormatter(as_json=True).format(record))
    assert (fields["path"], fields["ms"]) == ("/x?token=…", 1.5) and "user" not in fields
    assert len(fields["host"]) == LINE_CHARS
