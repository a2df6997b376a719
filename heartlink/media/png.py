"""PNG (W3C PNG, third edition): its chunks, without texts, times and EXIF data."""

from __future__ import annotations

import zlib
from typing import Final

from heartlink.media.anatomy import Anatomy, Buffer

PROFILE_BYTES: Final = 1 << 20
"""Largest colour profile that is kept, unpacked."""

_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs acTL fcTL fdAT".split()
)
_SIGNATURE_BYTES: Final = 8
_FRAME_CONTROL_BYTES: Final = 26


def dissect_png(data: Buffer) -> Anatomy:
    """Its parts up to ``IEND``; raises Excess."""
    anatomy, position = Anatomy(), _SIGNATURE_BYTES
    anatomy.keep(0, _SIGNATURE_BYTES)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 12 + length
        is_header = name == b"IHDR"
        if is_header != (position == _SIGNATURE_BYTES) or not (name.isalpha() and name.isascii()):
            break
        if is_header and not _read_header(anatomy, data[position + 8 : min(end, position + 16)]):
            break
        if name == b"fcTL" and length == _FRAME_CONTROL_BYTES:
            width = int.from_bytes(data[position + 12 : position + 16], "big")
            anatomy.count_frame(width, int.from_bytes(data[position + 16 : position + 20], "big"))
        if name == b"eXIf" and end <= len(data):
            anatomy.exif = data[position + 8 : end - 4]
        if name in _KEPT and not (name == b"iCCP" and not _is_profile(data[position + 8 : end - 4])):
            anatomy.keep(position, min(end, len(data)))
        position = end
        if name == b"IEND":
            anatomy.is_complete = end <= len(data)
            return anatomy
    anatomy.keep(position, len(data))
    return anatomy


def _read_header(anatomy: Anatomy, content: bytes) -> bool:
    anatomy.width, anatomy.height = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
    return anatomy.width > 0 and anatomy.height > 0


def _is_profile(content: bytes) -> bool:
    """Whether a colour profile unpacks, to a size that one would expect."""
    packed = content[content.find(b"\0") + 2 :]
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, PROFILE_BYTES)
    except zlib.error:
        return False
    return unpacker.eof
