"""Fragments of an MP4 (ISO/IEC 14496-12, 8.8): how long a recording is that was written while it was made."""

from __future__ import annotations

from typing import Final

_DESCRIPTION, _BASE_OFFSET, _DURATION = 0x000002, 0x000001, 0x000008
_DATA_OFFSET, _FIRST_FLAGS = 0x000001, 0x000004
_SAMPLE_DURATION = 0x000100
_SAMPLE_FIELDS: Final = (0x000100, 0x000200, 0x000400, 0x000800)


class Fragments:
    """Adds up what the boxes of tracks and fragments tell, in the order of the file."""

    def __init__(self) -> None:
        self._track = 0
        self._timescales: dict[int, int] = {}
        self._defaults: dict[int, int] = {}
        self._default = 0
        self._ends: dict[int, int] = {}

    @property
    def seconds(self) -> float | None:
        """The end of the longest track; None when there were no fragments."""
        ends = [
            end / self._timescales[track] for track, end in self._ends.items() if end and self._timescales.get(track)
        ]
        return max(ends, default=None)

    def note(self, name: bytes, octets: bytes) -> None:
        """Take in the content of a box; others than those of tracks and fragments are passed over."""
        is_long = octets[:1] == b"\x01"
        if name == b"tkhd":
            self._track = _number(octets, 20 if is_long else 12, 4)
        elif name == b"mdhd":
            self._timescales[self._track] = _number(octets, 20 if is_long else 12, 4)
        elif name == b"trex":
            self._defaults[_number(octets, 4, 4)] = _number(octets, 12, 4)
        elif name == b"tfhd":
            self._begin(octets)
        elif name == b"tfdt":
            self._ends[self._track] = _number(octets, 4, 8 if is_long else 4)
        elif name == b"trun":
            self._ends[self._track] = self._ends.get(self._track, 0) + self._run(octets)

    def _begin(self, octets: bytes) -> None:
        """A track's part of a fragment."""
        flags, position = _number(octets, 1, 3), 8
        self._track = _number(octets, 4, 4)
        position += (8 if flags & _BASE_OFFSET else 0) + (4 if flags & _DESCRIPTION else 0)
        told = _number(octets, position, 4) if flags & _DURATION else 0
        self._default = told or self._defaults.get(self._track, 0)

    def _run(self, octets: bytes) -> int:
        """How long a run of samples is."""
        flags, count = _number(octets, 1, 3), _number(octets, 4, 4)
        if not flags & _SAMPLE_DURATION:
            return count * self._default
        start = 8 + (4 if flags & _DATA_OFFSET else 0) + (4 if flags & _FIRST_FLAGS else 0)
        step = 4 * sum(bool(flags & field) for field in _SAMPLE_FIELDS)
        return sum(_number(octets, at, 4) for at in range(start, min(start + count * step, len(octets)), step))


def _number(octets: bytes, start: int, length: int) -> int:
    return int.from_bytes(octets[start : start + length], "big")
