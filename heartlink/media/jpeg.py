"""JPEG (ITU-T T.81): its segments, without those that tell of the camera, the place and the program."""

from __future__ import annotations

import re
from typing import Final

from heartlink.media.anatomy import Anatomy, Buffer
from heartlink.media.facts import Excess

SCANS_LIMIT: Final = 100
"""Passes over the picture: each takes as long as decoding it once."""

_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_KEPT: Final = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD}) - {0xC8}
_KEPT_APPLICATION: Final = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_EXIF: Final = b"Exif\0\0"
_START_OF_SCAN: Final = 0xDA
_END: Final = 0xD9
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
# The next marker inside of a scan: stuffed zeros, restarts and fill bytes belong to the scan.
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def dissect_jpeg(data: Buffer) -> Anatomy:
    """Its parts up to the end of the image; raises Excess."""
    anatomy, position, scans = Anatomy(), 2, 0
    anatomy.keep(0, 2)
    while data[position : position + 1] == b"\xff":
        while data[position + 1 : position + 2] == b"\xff":
            position += 1
        header = data[position + 1 : position + 4]
        marker = header[0] if header else -1
        if marker == _END:
            anatomy.keep(position, position + 2)
            anatomy.is_complete = scans > 0 and anatomy.width > 0
            return anatomy
        length = int.from_bytes(header[1:3], "big")
        end = position + 2 + length
        if marker in _ALONE or len(header) < 3 or length < 2 or (marker < 0xE0 and marker not in _KEPT):
            break
        content = data[position + 4 : min(end, position + 16)]
        if marker == 0xE1 and content.startswith(_EXIF):
            anatomy.exif = data[position + 4 : end]
        if marker in _FRAMES and not _read_frame(anatomy, content):
            break
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > SCANS_LIMIT:
                raise Excess("A JPEG of so many scans", f"{SCANS_LIMIT} scans")
            found = _NEXT_MARKER.search(data, end)
            end = found.start() if found else len(data)
        own = _KEPT_APPLICATION.get(marker)
        if marker in _KEPT or (own and content.startswith(own)):
            anatomy.keep(position, min(end, len(data)))
        position = end
    anatomy.keep(position, len(data))
    return anatomy


def _read_frame(anatomy: Anatomy, content: bytes) -> bool:
    """Note the size that a frame header tells; False when it is none, or one too many."""
    height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    if anatomy.frames or len(content) < 6 or not width or not height:
        return False
    anatomy.width, anatomy.height = width, height
    anatomy.count_frame(width, height)
    return True
