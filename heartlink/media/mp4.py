"""MP4 (ISO/IEC 14496-12): which tracks, how large, how long; where it was recorded is blanked out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from heartlink.media.facts import CLEANED_SUFFIX, Finding, Unreadable
from heartlink.media.fragments import Fragments

BOXES_LIMIT: Final = 100_000
BLANK_BYTES: Final = 1 << 20
CONTENT_BYTES: Final = 256 << 10
"""What is read of one box: the samples of one fragment are told in it, and a fragment is some seconds."""

_ENTERED: Final = frozenset([b"moov", b"trak", b"mdia", b"mvex", b"moof", b"traf"])
_READ: Final = frozenset(
    [b"mvhd", b"mehd", b"tkhd", b"hdlr", b"mdhd", b"trex", b"tfhd", b"tfdt", b"trun"],
)
# Users' data, iTunes' and QuickTime's metadata, XMP: the place, the device, names, covers.
_BLANKED: Final = frozenset([b"udta", b"meta", b"uuid"])


@dataclass(slots=True)
class _Movie:
    handlers: set[bytes] = field(default_factory=set)
    seconds: float | None = None
    timescale: int = 0
    size: tuple[int, int] = (0, 0)
    blanks: list[tuple[int, int]] = field(default_factory=list)
    fragments: Fragments = field(default_factory=Fragments)


def look_at_mp4(path: Path) -> Finding:
    """Audio or video, size, duration, and a copy without metadata where there were some; raises Unreadable."""
    movie = _Movie()
    with path.open("rb") as file:
        for name, start, content, end in _boxes(file, file.seek(0, 2)):
            _note(movie, name, start, content, end, file)
    if not movie.handlers & {b"vide", b"soun"}:
        raise Unreadable
    if movie.blanks:
        _write_blanked(path, movie.blanks)
    is_video = b"vide" in movie.handlers
    width, height = movie.size if is_video else (0, 0)
    return Finding(
        mime="video/mp4" if is_video else "audio/mp4",
        width=width or None,
        height=height or None,
        duration_seconds=movie.seconds or movie.fragments.seconds,
        is_cleaned=bool(movie.blanks),
    )


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start, start of the content, and end of each box, with those inside of the boxes that we enter."""
    position = 0
    for _ in range(BOXES_LIMIT):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        length, name, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), position + 16
        elif length == 0:
            length = size_bytes - position
        if length < content - position:
            return
        end = position + length
        yield name, position, content, min(end, size_bytes)
        position = content if name in _ENTERED else end


def _note(movie: _Movie, name: bytes, start: int, content: int, end: int, file: BinaryIO) -> None:
    if name in _BLANKED:
        # An empty one tells nothing, and what was blanked before is called otherwise.
        movie.blanks.append((start, end))
        return
    if name not in _READ:
        return
    file.seek(content)
    octets = file.read(min(CONTENT_BYTES, end - content))
    movie.fragments.note(name, octets)
    is_long = octets[:1] == b"\x01"
    if name == b"hdlr":
        movie.handlers.add(octets[8:12])
    elif name == b"tkhd":
        _note_size(movie, octets[88:96] if is_long else octets[76:84], octets[52:88] if is_long else octets[40:76])
    elif name == b"mehd":
        _note_duration(movie, octets[4:12] if is_long else octets[4:8])
    elif name == b"mvhd":
        movie.timescale = int.from_bytes(octets[20:24] if is_long else octets[12:16], "big")
        _note_duration(movie, octets[24:32] if is_long else octets[16:20])


def _note_duration(movie: _Movie, octets: bytes) -> None:
    duration = int.from_bytes(octets, "big")
    is_known = duration and octets != b"\xff" * len(octets)
    if is_known and movie.timescale:
        movie.seconds = duration / movie.timescale


def _note_size(movie: _Movie, octets: bytes, matrix: bytes) -> None:
    """The size of the first track that has one, in pixels, as it is shown: a quarter turn is part of its matrix."""
    width, height = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[4:6], "big")
    is_turned = not any(matrix[:4]) and any(matrix[4:8])
    if not any(movie.size):
        movie.size = (height, width) if is_turned else (width, height)


def _write_blanked(path: Path, blanks: list[tuple[int, int]]) -> None:
    """Copy the file with these boxes turned into free space: nothing moves, so every offset stays right."""
    cleaned = path.with_name(path.name + CLEANED_SUFFIX)
    shutil.copyfile(path, cleaned)
    with cleaned.open("r+b") as file:
        for start, end in blanks:
            file.seek(start)
            header = file.read(16)
            header_bytes = 16 if header[:4] == b"\0\0\0\1" else 8
            file.seek(start + 4)
            file.write(b"free")
            file.seek(start + header_bytes)
            for at in range(start + header_bytes, end, BLANK_BYTES):
                file.write(bytes(min(BLANK_BYTES, end - at)))
