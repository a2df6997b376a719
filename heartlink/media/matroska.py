"""WebM (RFC 8794, RFC 9559): which tracks, how large, how long, also of what browsers record without saying so."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from heartlink.media.facts import Finding, Unreadable

ELEMENTS_LIMIT: Final = 400_000
"""Elements that are looked at: an hour of voice has some 60,000."""

_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER, _BLOCK_GROUP = 0x1F43B675, 0xA0
_ENTERED: Final = frozenset([_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO, _CLUSTER, _BLOCK_GROUP])
_SCALE, _DURATION, _TRACK_TYPE, _WIDTH, _HEIGHT, _TIME = 0x2AD7B1, 0x4489, 0x83, 0xB0, 0xBA, 0xE7
_BLOCKS: Final = frozenset([0xA3, 0xA1])
_READ: Final = frozenset([_SCALE, _DURATION, _TRACK_TYPE, _WIDTH, _HEIGHT, _TIME]) | _BLOCKS
_CONTENT_BYTES: Final = 16
_VIDEO_TRACK, _AUDIO_TRACK = 1, 2
_SCALE_NS: Final = 1_000_000


@dataclass(slots=True)
class _Recording:
    tracks: set[int] = field(default_factory=set)
    scale_ns: int = _SCALE_NS
    duration: float = 0.0
    cluster_time: int = 0
    last_time: int = 0
    width: int = 0
    height: int = 0


def look_at_webm(path: Path) -> Finding:
    """Audio or video, size and duration; raises Unreadable when there are no tracks."""
    recording = _Recording()
    with path.open("rb") as file:
        for name, content in _elements(file, file.seek(0, 2)):
            if name == _CLUSTER and recording.duration > 0:
                break
            _note(recording, name, content)
    if not recording.tracks & {_VIDEO_TRACK, _AUDIO_TRACK}:
        raise Unreadable
    is_video = _VIDEO_TRACK in recording.tracks
    duration = recording.duration or float(recording.last_time)
    return Finding(
        mime="video/webm" if is_video else "audio/webm",
        width=recording.width or None if is_video else None,
        height=recording.height or None if is_video else None,
        duration_seconds=duration * recording.scale_ns / 1e9 or None,
    )


def _elements(file: BinaryIO, size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Id and the first bytes of each element, in the order of the file; those of unknown length are entered."""
    position = 0
    for _ in range(ELEMENTS_LIMIT):
        file.seek(position)
        header = file.read(12)
        name, name_bytes = _variable(header, keep_marker=True)
        length, length_bytes = _variable(header[name_bytes:], keep_marker=False)
        if not name_bytes or not length_bytes:
            return
        content = position + name_bytes + length_bytes
        is_unknown = length == (1 << 7 * length_bytes) - 1
        octets = b""
        if name in _READ and not is_unknown:
            file.seek(content)
            octets = file.read(min(length, _CONTENT_BYTES))
        yield name, octets
        if is_unknown and name not in _ENTERED:
            return
        position = content if name in _ENTERED else content + length


def _variable(octets: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length and its length in bytes; 0 bytes when it is none."""
    first = octets[0] if octets else 0
    length = 9 - first.bit_length()
    if not first or len(octets) < length:
        return 0, 0
    value = int.from_bytes(octets[:length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), length


def _note(recording: _Recording, name: int, content: bytes) -> None:
    number = int.from_bytes(content[:8], "big")
    if name == _TRACK_TYPE:
        recording.tracks.add(number)
    elif name == _SCALE:
        recording.scale_ns = number or _SCALE_NS
    elif name == _DURATION and len(content) in (4, 8):
        value: float = struct.unpack(">f" if len(content) == 4 else ">d", content)[0]
        recording.duration = value if 0 < value < 1e15 else 0.0
    elif name == _WIDTH:
        recording.width = recording.width or number
    elif name == _HEIGHT:
        recording.height = recording.height or number
    elif name == _TIME:
        recording.cluster_time = number
    elif name in _BLOCKS:
        _, track_bytes = _variable(content, keep_marker=False)
        offset = int.from_bytes(content[track_bytes : track_bytes + 2], "big", signed=True)
        recording.last_time = max(recording.last_time, recording.cluster_time + offset)
