"""What all connections of an event loop wrote and read, by frame type, and the entries that describe it.

A turn hands the same bytes to a thousand members: they are looked through once, and each member pays an addition.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from heartlink import errors
from heartlink.errors import Farewell
from heartlink.protocol import Command, Event


def _kinds_below(kind: type[Command] | type[Event]) -> dict[type[Command] | type[Event], str]:
    """Every frame of the protocol that is a ``kind``, with its name."""
    name = str(kind.__struct_config__.tag)
    # What was given no name of its own only lends its fields to others.
    found = {} if name == kind.__name__ else {kind: name}
    for below in kind.__subclasses__():
        found |= _kinds_below(below)
    return found


NAMES: Final = _kinds_below(Command) | _kinds_below(Event)
KINDS: Final = (
    "other",
    "invalid",
    "binary",
    "ws_close",
    "ws_ping",
    "ws_pong",
    *dict.fromkeys(NAMES.values()),
)
"""Every kind of frame there is: JSON frames by their type, those of the WebSocket protocol itself with ``ws_``."""

OTHER, INVALID, BINARY, WS_CLOSE, WS_PING, WS_PONG = range(6)
KIND_OF_COMMAND: Final = {kind: KINDS.index(name) for kind, name in NAMES.items()}

ENTRY: Final = Struct("<IIHHBB")
"""Milliseconds since the ledger began (modulo 2**32), bytes, frames, frames queued behind, kind, 1 = outgoing."""

KINDS_BY_OPCODE: Final = {0x2: BINARY, 0x8: WS_CLOSE, 0x9: WS_PING, 0xA: WS_PONG}
CLOSE_REASONS: Final = {
    # Where several have one code, the first speaks for all.
    **{found.close_code: found.reason for found in reversed(vars(errors).values()) if isinstance(found, Farewell)},
    1005: "no code",
    1006: "connection lost",
}
"""The close codes that are counted each by itself."""

_KIND_OF_TYPE: Final = {name.encode(): kind for kind, name in enumerate(KINDS)}
TEXT_FRAME: Final = 0x81
_TYPE_AT: Final = len(b'{"type":"')
_CODE_AT: Final = len(b'{"type":"error","error_code":"')
_ERROR: Final = KINDS.index("error")
_TYPE_BYTES: Final = 64
_JOINED_KEPT: Final = 64
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF


class Piece:
    """Bytes that were looked through: what describes them, their sums by kind, and how often they went out."""

    __slots__ = ("entries", "kind", "piece", "size", "sums", "uses")

    def __init__(self) -> None:
        # Kept, so that no other bytes can get the same identity meanwhile.
        self.piece = b""
        self.entries = b""
        self.kind = self.size = 0
        """Of the one frame that it is, where ``sums`` is empty."""
        self.sums: list[tuple[int, int, int]] = []
        self.uses = 0


class FrameCount(NamedTuple):
    """How many frames of a kind went one way, and their bytes."""

    kind: str
    frames: int
    bytes: int


class Ledger:
    """The totals of all connections, and the one clock of their recordings."""

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_clock",
        "_codes",
        "_frames_in",
        "_frames_out",
        "_joined",
        "_now_ms",
        "_started",
        "closes",
        "latest",
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._now_ms = 0
        self._frames_in, self._bytes_in = [0] * len(KINDS), [0] * len(KINDS)
        self._frames_out, self._bytes_out = [0] * len(KINDS), [0] * len(KINDS)
        self.latest = Piece()
        """What was looked at last; who writes the same bytes need only add to its ``uses``."""
        self._joined: dict[int, Piece] = {}
        self._codes: Counter[bytes] = Counter()
        self.closes: Counter[tuple[int, str]] = Counter()
        """Connections that ended, by close code (0: one that is not in ``CLOSE_REASONS``) and who ended them."""

    def begin_turn(self) -> None:
        """Look at the clock; what is written from now on has this time. The flusher calls this."""
        self._now_ms = int((self._clock() - self._started) * 1000)

    def end_turn(self) -> None:
        """Add up what was written and forget the bytes. The flusher calls this."""
        self._add_up(self.latest)
        for joined in self._joined.values():
            self._add_up(joined)
        self._joined.clear()

    def look_at(self, piece: bytes) -> Piece:
        """What describes whole server frames, as ``latest``; the caller adds to its ``uses``."""
        latest = self.latest
        if latest.uses:
            self._add_up(latest)
        latest.piece = piece
        size, start = piece[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(piece[2:start], "big")
        if start + size == len(piece) and piece[0] == TEXT_FRAME:
            # One text frame is what is written nearly always.
            name_at = start + _TYPE_AT
            kind = _KIND_OF_TYPE.get(piece[name_at : piece.find(b'"', name_at, name_at + _TYPE_BYTES)], OTHER)
            latest.kind, latest.size = kind, size
            latest.entries = ENTRY.pack(self._now_ms & MOST_32, size, 1, 0, kind, 1)
        else:
            self._look_through(latest)
        return latest

    def written(self, piece: bytes) -> bytes:
        """Count one piece of several that were written together; returns the entries that describe it."""
        known = self._joined.get(id(piece))
        if known is None:
            known = self._joined[id(piece)] = Piece()
            known.piece = piece
            self._look_through(known)
            if len(self._joined) > _JOINED_KEPT:
                self.end_turn()
        known.uses += 1
        return known.entries

    def read(self, kind: int, size: int, queued: int, now: float) -> bytes:
        """Count one frame that came, of ``size`` bytes of payload; returns the entry that describes it."""
        self._frames_in[kind] += 1
        self._bytes_in[kind] += size
        now_ms = int((now - self._started) * 1000) & MOST_32
        return ENTRY.pack(now_ms, size, 1, queued if queued < MOST_16 else MOST_16, kind, 0)

    def closed(self, code: int, by: str) -> None:
        """Count a connection that ended."""
        self.closes[code if code in CLOSE_REASONS else 0, by] += 1

    def age_seconds(self, entry_ms: int) -> float:
        """How long ago an entry was made."""
        now_ms = int((self._clock() - self._started) * 1000)
        return ((now_ms - entry_ms) & MOST_32) / 1000

    def totals_in(self) -> list[FrameCount]:
        """What came, of every kind of which anything did."""
        return self._totals(self._frames_in, self._bytes_in)

    def totals_out(self) -> list[FrameCount]:
        """What was handed over, of every kind of which anything was."""
        self.end_turn()
        return self._totals(self._frames_out, self._bytes_out)

    def errors_out(self) -> dict[str, int]:
        """The ``error`` frames that were handed over, by code."""
        self.end_turn()
        return {code.decode("ascii", "replace"): count for code, count in self._codes.items()}

    def _totals(self, frames: list[int], sizes: list[int]) -> list[FrameCount]:
        rows = zip(KINDS, frames, sizes, strict=True)
        return [FrameCount(kind, count, size) for kind, count, size in rows if count]

    def _look_through(self, known: Piece) -> None:
        sums: dict[int, list[int]] = {}
        for kind, size, _ in _frames_of(known.piece):
            found = sums.setdefault(kind, [0, 0])
            found[0] += 1
            found[1] += size
        known.sums = [(kind, frames, size) for kind, (frames, size) in sums.items()]
        known.entries = b"".join(
            ENTRY.pack(self._now_ms & MOST_32, min(size, MOST_32), min(frames, MOST_16), 0, kind, 1)
            for kind, frames, size in known.sums
        )

    def _add_up(self, known: Piece) -> None:
        uses, known.uses = known.uses, 0
        if known.sums:
            for kind, frames, size in known.sums:
                self._frames_out[kind] += frames * uses
                self._bytes_out[kind] += size * uses
                if kind == _ERROR:
                    self._note_codes(known.piece, uses)
            known.sums = []
        elif uses:
            kind = known.kind
            self._frames_out[kind] += uses
            self._bytes_out[kind] += known.size * uses
            if kind == _ERROR:
                self._note_codes(known.piece, uses)
        known.piece = b""

    def _note_codes(self, piece: bytes, uses: int) -> None:
        for kind, _, start in _frames_of(piece):
            if kind == _ERROR:
                at = start + _CODE_AT
                self._codes[piece[at : piece.find(b'"', at, at + _TYPE_BYTES)]] += uses


def _frames_of(piece: bytes) -> list[tuple[int, int, int]]:
    """The whole server frames in ``piece``: kind, payload bytes, and where the payload begins."""
    found, at, end = [], 0, len(piece)
    while at < end:
        opcode, size, start = piece[at] & 0x0F, piece[at + 1], at + 2
        if size == 126:
            start += 2
            size = int.from_bytes(piece[at + 2 : start], "big")
        elif size == 127:
            start += 8
            size = int.from_bytes(piece[at + 2 : start], "big")
        if opcode == 1:
            name_at = start + _TYPE_AT
            name = piece[name_at : piece.find(b'"', name_at, name_at + _TYPE_BYTES)]
            kind = _KIND_OF_TYPE.get(name, OTHER)
        else:
            kind = KINDS_BY_OPCODE.get(opcode, OTHER)
        found.append((kind, size, start))
        at = start + size
    return found


def kind_of(command: Command) -> int:
    """The kind of a frame that was read."""
    return KIND_OF_COMMAND.get(type(command), OTHER)
