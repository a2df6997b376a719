"""WAV: how long, and how loud where."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from heartlink.media.claims import WAVEFORM_POINTS, WAVEFORM_TOP
from heartlink.media.facts import Finding, Unreadable

CHUNKS_LIMIT: Final = 1000
SAMPLED_BYTES: Final = 16 << 10
"""What of each stretch of the recording is listened to."""

SILENCE: Final = 0.005
"""A recording that stays below this part of the full scale is drawn flat."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPECODES: Final = {(_PCM, 8): "B", (_PCM, 16): "h", (_PCM, 32): "i", (_FLOAT, 32): "f", (_FLOAT, 64): "d"}


@dataclass(frozen=True, slots=True)
class Format:
    """How samples lie in the file; sizes in bytes."""

    tag: int
    bytes_per_second: int
    block_bytes: int
    sample_bits: int

    @classmethod
    def read(cls, content: bytes) -> Format:
        """The format that a ``fmt`` chunk tells; raises Unreadable."""
        if len(content) < 16:
            raise Unreadable
        tag = _number(content[:2])
        if tag == _EXTENSIBLE:
            tag = _number(content[24:26])
        found = cls(tag, _number(content[8:12]), _number(content[12:14]), _number(content[14:16]))
        if not found.bytes_per_second or not found.block_bytes:
            raise Unreadable
        return found


def look_at_wav(path: Path) -> Finding:
    """Duration, and the waveform where samples are plain numbers; raises Unreadable."""
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        form: Format | None = None
        for name, start, length in _chunks(file, size_bytes):
            if name == b"fmt ":
                file.seek(start)
                form = Format.read(file.read(min(length, 40)))
            if name == b"data" and form is not None:
                length = min(length, size_bytes - start)
                seconds = length / form.bytes_per_second
                return Finding(
                    mime="audio/wav", duration_seconds=seconds, waveform=_waveform(file, start, length, form)
                )
    raise Unreadable


def _chunks(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of each chunk."""
    position = 12
    for _ in range(CHUNKS_LIMIT):
        file.seek(position)
        header = file.read(8)
        length = _number(header[4:8])
        if len(header) < 8:
            return
        yield header[:4], position + 8, length
        position += 8 + length + length % 2


def _waveform(file: BinaryIO, start: int, length: int, form: Format) -> tuple[int, ...] | None:
    """The peaks of 64 stretches, the loudest being 100."""
    blocks = length // form.block_bytes
    is_known = (form.tag, form.sample_bits) in _TYPECODES or (form.tag, form.sample_bits) == (_PCM, 24)
    if not is_known or blocks < WAVEFORM_POINTS:
        return None
    peaks: list[float] = []
    for point in range(WAVEFORM_POINTS):
        first, after = blocks * point // WAVEFORM_POINTS, blocks * (point + 1) // WAVEFORM_POINTS
        file.seek(start + first * form.block_bytes)
        wanted = min((after - first) * form.block_bytes, SAMPLED_BYTES // form.block_bytes * form.block_bytes)
        peaks.append(_peak(file.read(wanted), form))
    loudest = max(peaks)
    if not loudest > SILENCE:
        return (0,) * WAVEFORM_POINTS
    return tuple(round(WAVEFORM_TOP * peak / loudest) for peak in peaks)


def _peak(content: bytes, form: Format) -> float:
    """The farthest that samples go from silence, as a part of the full scale."""
    width = form.sample_bits // 8
    content = content[: len(content) // width * width]
    if width == 3:
        # The upper two of three octets are enough for a drawing.
        content = b"".join(content[at + 1 : at + 3] for at in range(0, len(content), 3))
        width = 2
    samples = array(_TYPECODES.get((form.tag, form.sample_bits), "h"), content)
    if sys.byteorder == "big":
        samples.byteswap()
    if not samples:
        return 0.0
    if width == 1:
        return max(max(samples) - 128, 128 - min(samples)) / 128
    peak = max(max(samples), -min(samples)) / (1.0 if form.tag == _FLOAT else float(1 << 8 * width - 1))
    return min(peak, 1.0) if peak == peak else 0.0


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
