"""GIF 87a and 89a: its blocks, without comments and what programs leave in it; animations stay as they are."""

from __future__ import annotations

from typing import Final

from heartlink.media.anatomy import Anatomy, Buffer
from heartlink.media.facts import Unreadable

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS: Final = (b"\x0bNETSCAPE2.0", b"\x0bANIMEXTS1.0")
_HEADER_BYTES: Final = 13


def dissect_gif(data: Buffer) -> Anatomy:
    """Its parts up to the trailer; raises Excess."""
    anatomy = Anatomy()
    position = _HEADER_BYTES + _table_bytes(data[10:11])
    anatomy.width, anatomy.height = _size(data[6:10])
    try:
        if position > len(data) or not anatomy.width or not anatomy.height:
            raise Unreadable
        anatomy.keep(0, position)
        while position < len(data) and data[position] != _TRAILER:
            end, is_kept = _block(anatomy, data, position)
            if is_kept:
                anatomy.keep(position, end)
            position = end
    except (Unreadable, IndexError):
        anatomy.keep(position, len(data))
        return anatomy
    # Many a program forgets the trailer; every viewer does without it.
    anatomy.is_complete = anatomy.frames > 0
    if position < len(data):
        anatomy.keep(position, position + 1)
    else:
        anatomy.pieces.append(bytes([_TRAILER]))
    return anatomy


def _block(anatomy: Anatomy, data: Buffer, position: int) -> tuple[int, bool]:
    """Where a block ends, and whether it is kept."""
    if data[position] == _EXTENSION:
        label = data[position + 1]
        is_kept = label == _GRAPHIC_CONTROL or (
            label == _APPLICATION and data[position + 2 : position + 14].startswith(_LOOPS)
        )
        return _after_sub_blocks(data, position + 2), is_kept
    if data[position] != _IMAGE:
        raise Unreadable
    left, top = _size(data[position + 1 : position + 5])
    width, height = _size(data[position + 5 : position + 9])
    if not width or not height:
        raise Unreadable
    anatomy.count_frame(max(left + width, anatomy.width), max(top + height, anatomy.height))
    return _after_sub_blocks(data, position + 11 + _table_bytes(data[position + 9 : position + 10])), True


def _after_sub_blocks(data: Buffer, position: int) -> int:
    while length := data[position]:
        position += 1 + length
    return position + 1


def _table_bytes(flags: bytes) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _size(four: bytes) -> tuple[int, int]:
    return int.from_bytes(four[:2], "little"), int.from_bytes(four[2:4], "little")
