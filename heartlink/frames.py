"""WebSocket frames (RFC 6455) as bytes: build what the server sends, read what a client sends. No I/O.

A server frame carries no mask, so its bytes are the same for every receiver: build once, hand to many.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from dataclasses import dataclass

CONTROL_PAYLOAD_BYTES = 125
"""The most a ping, pong or close may carry (RFC 6455 5.5)."""

CLOSE_REASON_BYTES = CONTROL_PAYLOAD_BYTES - 2

_FINAL = 0x80
_RESERVED = 0x70
_MASKED = 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))
_LENGTH_16_BITS, _LENGTH_64_BITS = 126, 127
_MASK_BYTES = 4
_SMALLEST_FRAME_BYTES = 2 + _MASK_BYTES

_UNREADABLE = 1002
_NOT_UTF8 = 1007
_TOO_BIG = 1009


# --- What the server sends -------------------------------------------------------------------------


def header(opcode: int, length: int) -> bytes:
    """The header of one unfragmented server frame."""
    first = _FINAL | opcode
    if length < _LENGTH_16_BITS:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, _LENGTH_16_BITS)) + length.to_bytes(2, "big")
    return bytes((first, _LENGTH_64_BITS)) + length.to_bytes(8, "big")


def text_header(length: int) -> bytes:
    """The header of a text frame whose payload of ``length`` bytes the caller joins to it."""
    return header(_TEXT, length)


def text_frame(payload: bytes) -> bytes:
    """A text frame; ``payload`` must be UTF-8."""
    return header(_TEXT, len(payload)) + payload


def binary_frame(payload: bytes) -> bytes:
    """A binary frame."""
    return header(_BINARY, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping of at most ``CONTROL_PAYLOAD_BYTES``."""
    return _control_frame(_PING, payload)


def pong_frame(payload: bytes = b"") -> bytes:
    """The answer to a ping: its payload, unchanged."""
    return _control_frame(_PONG, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame; ``None`` says nothing (RFC 6455 7.1.5). A reason too long is cut at a whole character.

    Raises ValueError for a code that must not travel.
    """
    if code is None:
        return _control_frame(_CLOSE, b"")
    if not is_close_code(code):
        raise ValueError(f"close code {code} must not be sent (RFC 6455 7.4)")
    text = reason.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore").encode()
    return _control_frame(_CLOSE, code.to_bytes(2, "big") + text)


def is_close_code(code: int) -> bool:
    """Whether a close code may stand in a frame (RFC 6455 7.4 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _control_frame(opcode: int, payload: bytes) -> bytes:
    if len(payload) > CONTROL_PAYLOAD_BYTES:
        raise ValueError(f"a control frame carries at most {CONTROL_PAYLOAD_BYTES} bytes, not {len(payload)}")
    return header(opcode, len(payload)) + payload


def cut(frames: bytes, position: int) -> tuple[int, int]:
    """Where joined server frames may be cut at or after ``position``.

    Returns how many whole frames end at or before the position, and the offset at which the frame that
    contains it ends (the position itself when it lies between two frames).
    """
    count = end = 0
    while end < position:
        length = frames[end + 1]
        if length < _LENGTH_16_BITS:
            end += 2 + length
        elif length == _LENGTH_16_BITS:
            end += 4 + int.from_bytes(frames[end + 2 : end + 4], "big")
        else:
            end += 10 + int.from_bytes(frames[end + 2 : end + 10], "big")
        count += 1
    return (count if end == position else count - 1), end


# --- What a client sends ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binary:
    """A whole binary message."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Wants a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A sign of life."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's close frame, legal; ``code`` is None when it gave none."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """Why reading cannot go on: the close code to answer with (1002, 1007 or 1009), and what was wrong."""

    code: int
    detail: str


Event = bytes | Binary | Ping | Pong | Close | Violation
"""What a reader finds. A text message, by far the most common, is plain ``bytes`` of valid UTF-8."""

Unmask = Callable[[bytes, bytes], bytes]
"""``unmask(mask, data)``: a payload with the four mask bytes taken off (RFC 6455 5.3)."""


def unmask(mask: bytes, data: bytes) -> bytes:
    """Take the mask off in pure Python, as one big number."""
    length = len(data)
    repeated = (mask * (length // _MASK_BYTES + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")


class _Unreadable(Exception):
    def __init__(self, code: int, detail: str) -> None:
        self.violation = Violation(code, detail)


class FrameReader:
    """Turns what a client's TCP delivers, however chopped, into events.

    After a Close or a Violation, always the last event, everything fed is ignored. At most ``message_bytes``
    of one message (0 = no limit) and one chunk are ever held; a frame that would pass it is refused by its header.
    """

    behind: bool
    """Whether what was fed may hold another whole frame: call ``feed(b"")`` to go on."""

    ended: bool
    """Whether a Close or a Violation was found."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_limit",
        "_message",
        "_message_is_text",
        "_needed",
        "_unmask",
        "behind",
        "ended",
    )

    def __init__(self, message_bytes: int = 0, unmask: Unmask = unmask) -> None:
        self._limit = message_bytes or sys.maxsize
        self._unmask = unmask
        self._buffer = bytearray()
        self._needed = 2
        self._message: bytearray | None = None
        self._message_is_text = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self.behind = self.ended = False

    def feed(self, data: bytes, frames: int = sys.maxsize) -> list[Event]:
        """Read on, through at most ``frames`` frames; what lies behind them waits for the next call."""
        # One whole text frame is what a read brings nearly always.
        length = announced = len(data) - _SMALLEST_FRAME_BYTES
        mask_at = 2
        if length >= _LENGTH_16_BITS:
            length, mask_at = length - 2, 4
            announced = _LENGTH_16_BITS if data[2] << 8 | data[3] == length else -1
        if (
            length >= 0
            and data[0] == _FINAL | _TEXT
            and data[1] == _MASKED | announced
            and not self._buffer
            and self._message is None
            and length <= self._limit
            and not self.ended
        ):
            text = self._unmask(data[mask_at : mask_at + _MASK_BYTES], data[mask_at + _MASK_BYTES :])
            if text.isascii() or _is_utf8(text):
                return [text]
        return self._feed(data, frames)

    def _feed(self, data: bytes, frames: int) -> list[Event]:
        events: list[Event] = []
        if self.ended:
            return events
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while frames and len(buffer) - at >= self._needed and not self.ended:
                size = self._read_frame(at, events)
                if not size:
                    break
                at += size
                frames -= 1
        except _Unreadable as problem:
            events.append(problem.violation)
            self.ended = True
        if self.ended:
            self._buffer, self._message, self._needed = bytearray(), None, 2
        else:
            del buffer[:at]
        self.behind = len(self._buffer) >= self._needed
        return events

    def _read_frame(self, at: int, events: list[Event]) -> int:
        """Read the frame at ``at`` if it is whole: returns its size, or 0 after noting how much is needed."""
        buffer = self._buffer
        first, length = buffer[at], buffer[at + 1] & 0x7F
        opcode = first & 0x0F
        self._check(first, buffer[at + 1])
        payload_at = at + _SMALLEST_FRAME_BYTES
        if length >= _LENGTH_16_BITS:
            width = 2 if length == _LENGTH_16_BITS else 8
            payload_at += width
            if len(buffer) < at + 2 + width:
                self._needed = 2 + width
                return 0
            length = int.from_bytes(buffer[at + 2 : at + 2 + width], "big")
            if length >> 63:
                raise _Unreadable(_UNREADABLE, "the highest bit of the length is set")
        if opcode < _CLOSE and length + len(self._message or b"") > self._limit:
            raise _Unreadable(_TOO_BIG, f"the message passes {self._limit} bytes")
        end = payload_at + length
        if len(buffer) < end:
            self._needed = end - at
            return 0
        self._needed = 2
        payload = self._unmask(bytes(buffer[payload_at - _MASK_BYTES : payload_at]), bytes(buffer[payload_at:end]))
        if opcode >= _CLOSE:
            events.append(self._control(opcode, payload))
        else:
            self._data(opcode, payload, bool(first & _FINAL), events)
        return end - at

    def _check(self, first: int, second: int) -> None:
        """Refuse what two header bytes already show to be wrong."""
        opcode = first & 0x0F
        if first & _RESERVED:
            raise _Unreadable(_UNREADABLE, "a reserved bit is set")
        if opcode not in _OPCODES:
            raise _Unreadable(_UNREADABLE, f"opcode {opcode:#x} is reserved")
        if not second & _MASKED:
            raise _Unreadable(_UNREADABLE, "a client's frame must be masked")
        if opcode >= _CLOSE:
            if not first & _FINAL:
                raise _Unreadable(_UNREADABLE, "a control frame is fragmented")
            if second & 0x7F > CONTROL_PAYLOAD_BYTES:
                raise _Unreadable(_UNREADABLE, "a control frame is too long")
        elif opcode == _CONTINUATION and self._message is None:
            raise _Unreadable(_UNREADABLE, "nothing is there to continue")
        elif opcode != _CONTINUATION and self._message is not None:
            raise _Unreadable(_UNREADABLE, "a new message starts inside another")

    def _data(self, opcode: int, payload: bytes, final: bool, events: list[Event]) -> None:
        if self._message is None:
            if final:
                events.append(_text(payload) if opcode == _TEXT else Binary(payload))
                return
            self._message = bytearray()
            self._message_is_text = opcode == _TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if self._message_is_text else None
        self._message += payload
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, final)
            except UnicodeDecodeError:
                raise _Unreadable(_NOT_UTF8, "the text is not UTF-8") from None
        if final:
            message = bytes(self._message)
            events.append(message if self._message_is_text else Binary(message))
            self._message = self._decoder = None

    def _control(self, opcode: int, payload: bytes) -> Event:
        if opcode == _PING:
            return Ping(payload)
        if opcode == _PONG:
            return Pong(payload)
        self.ended = True
        if not payload:
            return Close(None, "")
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1 or not is_close_code(code):
            raise _Unreadable(_UNREADABLE, f"{code} is no close code")
        return Close(code, _text(payload[2:]).decode())


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(payload: bytes) -> bytes:
    if payload.isascii() or _is_utf8(payload):
        return payload
    raise _Unreadable(_NOT_UTF8, "the text is not UTF-8")
