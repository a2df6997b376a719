"""The flight recorder: what went over one connection lately, as types, sizes and times, never as content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from heartlink.connection.ledger import ENTRY, KINDS, MOST_16

ENTRIES_KEPT: Final = 128
"""The latest entries of a connection; one stands for all frames of a type in a piece of what was written."""

RING_BYTES: Final = ENTRIES_KEPT * ENTRY.size
SPARE_BYTES: Final = ENTRIES_KEPT // 2 * ENTRY.size
"""By how much a recording grows beyond that before it is cut: cutting copies it."""


class Record(NamedTuple):
    """One entry, read back: when (the ledger's clock), which way, what, how much, and what waited behind it."""

    at_ms: int
    is_out: bool
    kind: str
    frames: int
    bytes: int
    queued_frames: int


def with_queue(entries: bytes, queued_frames: int) -> bytes:
    """The entries, saying how much waited behind them."""
    queued = min(queued_frames, MOST_16)
    return b"".join(
        ENTRY.pack(at_ms, size, frames, queued, kind, is_out)
        for at_ms, size, frames, _, kind, is_out in ENTRY.iter_unpack(entries)
    )


def keep(ring: bytearray, entries: bytes) -> None:
    """Add entries to a connection's recording; the oldest go when there are too many."""
    ring += entries
    if len(ring) > RING_BYTES + SPARE_BYTES:
        del ring[: len(ring) - RING_BYTES]


def latest_of(ring: bytearray) -> bytes:
    """The entries that are kept, packed."""
    return bytes(ring[-RING_BYTES:])


def records_of(packed: bytes | bytearray) -> Iterator[Record]:
    """Packed entries, read back."""
    for at_ms, size, frames, queued, kind, is_out in ENTRY.iter_unpack(packed):
        yield Record(at_ms, bool(is_out), KINDS[kind], frames, size, queued)
