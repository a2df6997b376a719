"""The flight recorder: what went over one connection lately, as types, sizes and times, never as content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from heartlink.connection.ledger import ENTRY, KINDS, MOST_16

ENTRIES_KEPT: Final = 128
"""The latest entries of a connection; one stands for all frames of a type in one write."""

RING_BYTES: Final = ENTRIES_KEPT * ENTRY.size


class Record(NamedTuple):
    """One entry, read back: when (the ledger's clock), which way, what, how much, and what waited behind it."""

    at_ms: int
    is_out: bool
    kind: str
    frames: int
    bytes: int
    queued_frames: int


class Recording:
    """The latest entries of one connection, in a ring that grows with what happens, up to ``RING_BYTES``."""

    __slots__ = ("_at", "_ring", "entries_total", "queued_at_end")

    def __init__(self) -> None:
        self._ring: bytearray | None = None
        self._at = 0
        self.entries_total = 0
        self.queued_at_end = 0
        """Frames that waited when the server hung up."""

    def add(self, entry: bytes) -> None:
        """Keep one entry; the oldest goes when there is no room."""
        self.entries_total += 1
        ring, at = self._ring, self._at
        if ring is None:
            self._ring = bytearray(entry)
            self._at = ENTRY.size
            return
        if at == RING_BYTES:
            at = 0
        ring[at : at + ENTRY.size] = entry
        self._at = at + ENTRY.size

    def records(self) -> Iterator[Record]:
        """The entries that are kept, oldest first."""
        return records_of(self.packed())

    def packed(self) -> bytes:
        """The same in the form in which they are kept."""
        ring = self._ring or b""
        at = self._at if len(ring) == RING_BYTES else 0
        return bytes(ring[at:]) + bytes(ring[:at])

    def last(self) -> Record | None:
        """The latest entry."""
        if self._ring is None:
            return None
        return next(records_of(bytes(self._ring[self._at - ENTRY.size : self._at])))


def with_queue(entry: bytes, queued_frames: int) -> bytes:
    """An entry that says how much waited behind it."""
    at_ms, size, frames, _, kind, is_out = ENTRY.unpack(entry)
    return ENTRY.pack(at_ms, size, frames, min(queued_frames, MOST_16), kind, is_out)


def records_of(packed: bytes) -> Iterator[Record]:
    """Packed entries, read back."""
    for at_ms, size, frames, queued, kind, is_out in ENTRY.iter_unpack(packed):
        yield Record(at_ms, bool(is_out), KINDS[kind], frames, size, queued)
