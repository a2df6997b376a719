"""Log lines on stderr, as text or as JSON: one formatter, bounded lines, never a token."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

LINE_CHARS: Final = 2000
TRACEBACK_CHARS: Final = 8000
HIDDEN: Final = "…"

SECRETS: Final = (
    (re.compile(r"(?i)([?&](?:token|ticket|access_token)=)[^&\s\"']+"), r"\1" + HIDDEN),
    (re.compile(r"(?i)(\bbearer[ .])[A-Za-z0-9._~+/=-]{8,}"), r"\1" + HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"(/(?:invites?|setup)/)[^/\s?\"']+"), r"\1" + HIDDEN),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), r"\1" + HIDDEN + "@"),
)


def configure_logs(log_format: str, log_level: str) -> None:
    """Sends every logger of this process to stderr in ``log_format`` ("text" or "json") from ``log_level`` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(as_json=log_format == "json"))
    logging.basicConfig(handlers=[handler], level=log_level.upper(), force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Logs what nobody caught in the event loop, once and in our own format."""
    loop.set_exception_handler(_log_loop_exception)


def without_secrets(text: str) -> str:
    """``text`` with tokens, tickets, invite codes and passwords in addresses hidden."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def log_fault(logger: logging.Logger, message: str, *arguments: object) -> str:
    """Log a fault of ours, with the exception at hand, under a new id; returns the id, for the peer to quote."""
    fault_id = secrets.token_hex(8)
    is_raised = sys.exc_info()[0] is not None
    fields = {"request_id": fault_id}
    logger.error("%s " + message, fault_id, *arguments, exc_info=is_raised, extra={"fields": fields})
    return fault_id


class LineFormatter(logging.Formatter):
    """One record, one line: control characters escaped, length bounded, secrets hidden."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, or as ``time LEVEL logger: message`` with the traceback below it.

        What a record was given as ``extra={"fields": {…}}`` stands in the JSON under its own names.
        """
        message = _bounded(without_secrets(record.getMessage()), LINE_CHARS)
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        # The end of a traceback tells what happened, so the beginning is what is cut.
        trace = without_secrets(trace)[-TRACEBACK_CHARS:]
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        if not self.as_json:
            line = f"{moment} {record.levelname} {record.name}: {_on_one_line(message)}"
            return f"{line}\n{trace}" if trace else line
        fields: dict[str, Any] = {
            "ts": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        more: Mapping[str, Any] = getattr(record, "fields", {})
        fields |= {name: _bounded_field(value) for name, value in more.items() if value is not None}
        if trace:
            fields["exception"] = trace
        return msgspec.json.encode(fields).decode()


def _bounded(text: str, limit_chars: int) -> str:
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


def _bounded_field(value: object) -> object:
    return _bounded(without_secrets(value), LINE_CHARS) if isinstance(value, str) else value


def _on_one_line(text: str) -> str:
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def _log_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    failure = context.get("exception")
    logging.getLogger("heartlink.loop").error(
        "Nobody caught this in the event loop: %s",
        context.get("message", "no message"),
        exc_info=(type(failure), failure, failure.__traceback__) if failure else None,
    )
