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
_TYPE_AT: Final = len(b'{"type":"')
_CODE_AT: Final = len(b'{"type":"error","error_code":"')
_ERROR: Final = KINDS.index("error")
_TYPE_BYTES: Final = 64
_PIECES_KEPT: Final = 64
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF


class _Piece:
    """Bytes that were looked through: what describes them, their sums by kind, and how often they went out."""

    __slots__ = ("entries", "piece", "sums", "uses")

    def __init__(self, piece: bytes, entries: tuple[bytes, ...], sums: list[tuple[int, int, int]]) -> None:
        # Kept, so that no other bytes can get the same identity meanwhile.
        self.piece = piece
        self.entries = entries
        self.sums = sums
        self.uses = 1


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
        "_pieces",
        "_started",
        "closes",
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._frames_in, self._bytes_in = [0] * len(KINDS), [0] * len(KINDS)
        self._frames_out, self._bytes_out = [0] * len(KINDS), [0] * len(KINDS)
        self._pieces: dict[int, _Piece] = {}
        self._codes: Counter[bytes] = Counter()
        self.closes: Counter[tuple[int, str]] = Counter()
        """Connections that ended, by close code (0: one that is not in ``CLOSE_REASONS``) and who ended them."""

    def written(self, piece: bytes) -> tuple[bytes, ...]:
        """Count whole server frames that were handed to a peer; returns the entries that describe them."""
        known = self._pieces.get(id(piece))
        if known is not None:
            known.uses += 1
            return known.entries
        return self._look_through(piece)

    def settle(self) -> None:
        """Add up what was written and forget the bytes; the flusher calls this at the end of a turn."""
        for known in self._pieces.values():
            for kind, frames, size in known.sums:
                self._frames_out[kind] += frames * known.uses
                self._bytes_out[kind] += size * known.uses
                if kind == _ERROR:
                    self._note_codes(known)
        self._pieces.clear()

    def entry(self, kind: int, size: int, frames: int, queued: int, *, is_out: bool) -> bytes:
        """One entry, dated now."""
        now_ms = int((self._clock() - self._started) * 1000) & MOST_32
        return ENTRY.pack(now_ms, min(size, MOST_32), min(frames, MOST_16), min(queued, MOST_16), kind, int(is_out))

    def read(self, kind: int, size: int, queued: int) -> bytes:
        """Count one frame that came, of ``size`` bytes of payload; returns the entry that describes it."""
        self._frames_in[kind] += 1
        self._bytes_in[kind] += size
        return self.entry(kind, size, 1, queued, is_out=False)

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
        self.settle()
        return self._totals(self._frames_out, self._bytes_out)

    def errors_out(self) -> dict[str, int]:
        """The ``error`` frames that were handed over, by code."""
        self.settle()
        return {code.decode("ascii", "replace"): count for code, count in self._codes.items()}

    def _totals(self, frames: list[int], sizes: list[int]) -> list[FrameCount]:
        rows = zip(KINDS, frames, sizes, strict=True)
        return [FrameCount(kind, count, size) for kind, count, size in rows if count]

    def _look_through(self, piece: bytes) -> tuple[bytes, ...]:
        sums: dict[int, list[int]] = {}
        for kind, size, _ in _frames_of(piece):
            found = sums.get(kind)
            if found is None:
                sums[kind] = [1, size]
            else:
                found[0] += 1
                found[1] += size
        rows = [(kind, frames, size) for kind, (frames, size) in sums.items()]
        entries = tuple([self.entry(kind, size, frames, 0, is_out=True) for kind, frames, size in rows])
        if len(self._pieces) >= _PIECES_KEPT:
            self.settle()
        self._pieces[id(piece)] = _Piece(piece, entries, rows)
        return entries

    def _note_codes(self, known: _Piece) -> None:
        piece = known.piece
        for kind, _, start in _frames_of(piece):
            if kind == _ERROR:
                at = start + _CODE_AT
                self._codes[piece[at : piece.find(b'"', at, at + _TYPE_BYTES)]] += known.uses


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
