"""The one place where text becomes types, and types become text."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar, NamedTuple

import msgspec

from heartlink.errors import (
    Refusal,
    invalid_json,
    invalid_parameters,
    missing_parameters,
    unfit,
    unknown_message_type,
)
from heartlink.protocol.commands import Command
from heartlink.protocol.events import ErrorFrame


class Echo(NamedTuple):
    """What whatever answers a frame repeats of it."""

    ref: str | None = None
    client_id: str | None = None
    request_id: str | int | None = None

    @classmethod
    def of(cls, command: Command) -> Echo:
        """What the answer to a command repeats."""
        return cls(command.ref, getattr(command, "client_id", None), getattr(command, "request_id", None))

    @classmethod
    def found_in(cls, frame: dict[str, object]) -> Echo:
        """The same of a frame that could not be read, as far as it can be."""
        request_id = frame.get("request_id")
        return cls(
            _short_text(frame.get("ref")),
            _short_text(frame.get("client_id")),
            request_id if type(request_id) is int else _short_text(request_id),
        )


class BadFrame(Exception):
    """A frame that could not be read: the refusal, and what the answer repeats of it."""

    def __init__(self, refusal: Refusal, echo: Echo | None = None) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.echo = echo or Echo()


class CommandReader:
    """Decodes the commands of one kind of socket; ``default`` is the command of a frame without ``type``, if any."""

    MISSING: ClassVar[re.Pattern[str]] = re.compile(r"missing required field `([^`]+)`")

    def __init__(self, commands: tuple[type[Command], ...], default: type[Command] | None = None) -> None:
        union = commands[0]
        for command in commands[1:]:
            union = union | command  # type: ignore[assignment]
        self._decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(union)
        self._by_name = {str(command.__struct_config__.tag): command for command in commands}
        self._default = default

    def decode(self, text: bytes) -> Command:
        """The command in a frame's text; raises BadFrame with the refusal that answers it."""
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._explain(text)

    def _explain(self, text: bytes) -> Command:
        """Find out what is wrong with a frame, or that only its ``type`` was left out."""
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadFrame(invalid_json(str(error).rstrip("."))) from None
        except RecursionError:
            raise BadFrame(invalid_json("it is nested too deeply")) from None
        if not isinstance(found, dict):
            raise BadFrame(
                invalid_parameters("The frame is JSON, but not an object.", 'Send an object like {"type": "ping"}.')
            )
        echo = Echo.found_in(found)
        if "type" not in found and self._default is None:
            raise BadFrame(missing_parameters("type", "the frame"), echo)
        name = found.get("type", self._default.__struct_config__.tag if self._default else None)
        if not isinstance(name, str):
            raise BadFrame(unfit("type", "it must be a string"), echo)
        command = self._by_name.get(name)
        if command is None:
            nearest = difflib.get_close_matches(name, self._by_name, 1)
            raise BadFrame(unknown_message_type(name, nearest[0] if nearest else None), echo)
        try:
            return msgspec.convert({**found, "type": name}, command)
        except msgspec.ValidationError as error:
            raise BadFrame(explain_mismatch(error, f"'{name}'"), echo) from None


def explain_mismatch(error: msgspec.ValidationError, where: str) -> Refusal:
    """The refusal for JSON that does not fit its type: which field, and what was expected."""
    text = str(error)
    missing = CommandReader.MISSING.search(text)
    if missing:
        return missing_parameters(missing.group(1), where)
    reason, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or "body"
    return unfit(field, reason[:1].lower() + reason[1:])


def _short_text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 64 else None


_encoder = msgspec.json.Encoder()


def encode(record: object) -> bytes:
    """JSON of a record, UTF-8, non-ASCII as itself."""
    return _encoder.encode(record)


def error_frame(
    refusal: Refusal,
    now_ms: int,
    ref: str | None = None,
    client_id: str | None = None,
    request_id: str | int | None = None,
) -> ErrorFrame:
    """The ``error`` frame of a refusal."""
    return ErrorFrame(
        error_code=refusal.code,
        message=refusal.message,
        fix=refusal.fix,
        timestamp=iso(now_ms),
        ref=ref,
        client_id=client_id,
        retry_after=refusal.retry_after_seconds,
        decision_id=refusal.decision_id,
        fields=refusal.fields,
        request_id=msgspec.UNSET if request_id is None else request_id,
    )


_OWN = (b',"is_own":false,"is_read":false}', b',"is_own":true,"is_read":false}')
_OWN_READ = (b',"is_own":false,"is_read":true}', b',"is_own":true,"is_read":true}')


def message_view(body: bytes, *, is_own: bool, is_read: bool = False) -> bytes:
    """M as one reader sees it: the stored JSON with ``is_own`` and ``is_read`` joined to it."""
    return body[:-1] + (_OWN_READ if is_read else _OWN)[is_own]


def message_frame(
    body: bytes,
    *,
    change: str | None = None,
    is_own: bool,
    is_read: bool = False,
    duplicate: bool = False,
    ref: str | None = None,
) -> bytes:
    """``chat_message`` (or ``message_updated`` when ``change`` is given) around a stored message's JSON."""
    head = b'{"type":"chat_message","message":' if change is None else b'{"type":"message_updated","message":'
    tail = b"" if change is None else b',"change":"' + change.encode() + b'"'
    if duplicate:
        tail += b',"duplicate":true'
    if ref is not None:
        tail += b',"ref":' + _encoder.encode(ref)
    return b"".join((head, body[:-1], (_OWN_READ if is_read else _OWN)[is_own], tail, b"}"))


def iso(time_ms: int) -> str:
    """ISO-8601 UTC with ``Z`` and milliseconds (PROTOCOL 1)."""
    return f"{_iso_seconds(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _iso_seconds(time_seconds: int) -> str:
    return f"{datetime.fromtimestamp(time_seconds, UTC):%Y-%m-%dT%H:%M:%S}"
