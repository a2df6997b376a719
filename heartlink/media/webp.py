"""WebP (RFC 9649): its chunks, without EXIF data, XMP and unknown ones; animations stay as they are."""

from __future__ import annotations

from typing import Final

from heartlink.media.anatomy import Anatomy, Buffer

_KEPT: Final = frozenset([b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"])
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04
_RIFF_BYTES: Final = 12


def dissect_webp(data: Buffer) -> Anatomy:
    """Its parts within the RIFF container; raises Excess."""
    anatomy, position = Anatomy(), _RIFF_BYTES
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    while position + 8 <= min(riff_end, len(data)):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        # The padding of the last chunk is often forgotten.
        end = min(end, max(riff_end, position + 8 + length))
        content = data[position + 8 : min(end, position + 40)]
        if name == b"VP8X" and len(content) >= 10:
            anatomy.width, anatomy.height = _number(content[4:7]) + 1, _number(content[7:10]) + 1
            _keep_header(anatomy, position, min(end, len(data)), content[0])
        elif name in _KEPT:
            _read_picture(anatomy, name, content)
            anatomy.keep(position, min(end, len(data)))
        elif name == b"EXIF":
            anatomy.exif = data[position + 8 : end]
        position = end
    anatomy.is_complete = position == riff_end <= len(data) and anatomy.width > 0 and anatomy.frames > 0
    if not anatomy.is_complete:
        anatomy.keep(position, len(data))
    _put_container(anatomy, data)
    return anatomy


def _read_picture(anatomy: Anatomy, name: bytes, content: bytes) -> None:
    """Count a frame, and take its size for the picture's where nothing else told it."""
    width = height = 0
    if name == b"ANMF" and len(content) >= 12:
        width, height = _number(content[6:9]) + 1, _number(content[9:12]) + 1
    elif name == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":
        width = int.from_bytes(content[6:8], "little") & 0x3FFF
        height = int.from_bytes(content[8:10], "little") & 0x3FFF
    elif name == b"VP8L" and content[:1] == b"\x2f":
        bits = int.from_bytes(content[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if width and height:
        anatomy.count_frame(width, height)
        anatomy.width, anatomy.height = max(anatomy.width, width), max(anatomy.height, height)


def _keep_header(anatomy: Anatomy, start: int, end: int, flags: int) -> None:
    """Keep the extended header, without the flags of what is left out."""
    honest = flags & ~(_EXIF_FLAG | _XMP_FLAG)
    anatomy.keep(start, start + 8)
    if honest == flags:
        anatomy.keep(start + 8, start + 9)
    else:
        anatomy.pieces.append(bytes([honest]))
    anatomy.keep(start + 9, end)


def _put_container(anatomy: Anatomy, data: Buffer) -> None:
    """Put the container's header in front, with the length of what is left."""
    pieces, anatomy.pieces = anatomy.pieces, []
    kept_bytes = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    header = data[:4] + (kept_bytes + 4).to_bytes(4, "little") + data[8:_RIFF_BYTES]
    if header == data[:_RIFF_BYTES]:
        anatomy.keep(0, _RIFF_BYTES)
    else:
        anatomy.pieces.append(header)
    for piece in pieces:
        if isinstance(piece, bytes):
            anatomy.pieces.append(piece)
        else:
            anatomy.keep(*piece)


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
