"""Files that mean harm or are broken, made by hand: what they lie about, and what they unpack to."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

SCRIPT = b"<script>alert(document.domain)</script>"
ARCHIVE = b"PK\x03\x04\x14\0\0\0\0\0" + bytes(16) + b"evil.class"


def image(form: str, width: int = 60, height: int = 40, **options: Any) -> bytes:
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 200)).save(buffer, form, **options)
    return buffer.getvalue()


def noise(form: str, **options: Any) -> bytes:
    """A picture that takes some room."""
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, packed: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG with this content, whatever size it says."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def png_with(extra: bytes) -> bytes:
    """A sound PNG with more chunks behind its header."""
    whole = image("PNG")
    return whole[:33] + extra + whole[33:]


def gif(frames: int, width: int = 1, height: int = 1) -> bytes:
    """A GIF of so many frames, 16 bytes each, whatever size it says."""
    size = struct.pack("<HH", width, height)
    frame = b"," + bytes(4) + size + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + frame * frames + b";"


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG that says it has this size."""
    content = bytearray(image("JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of(bits: bytes) -> bytes:
    """A lossless WebP with these four bytes for its size."""
    content = bytearray(image("WEBP", lossless=True))
    content[21:25] = bits
    return bytes(content)


def jpeg_of_scans(count: int) -> bytes:
    """A JPEG that goes over its picture so often."""
    content = image("JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    return content[:scan] + content[scan:-2] * count + content[-2:]
