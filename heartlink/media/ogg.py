"""Ogg (RFC 3533): what is in it, and how long that is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from heartlink.media.facts import Finding, Unreadable

HEAD_BYTES: Final = 4096
TAIL_BYTES: Final = 128 << 10
"""No page is longer than half of this: the last one begins within it."""

OPUS_RATE: Final = 48_000

_PAGE_BYTES: Final = 27
_NO_POSITION: Final = (1 << 64) - 1


def look_at_ogg(path: Path) -> Finding:
    """Audio or video, and the duration of Opus and Vorbis; raises Unreadable."""
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        file.seek(0)
        head = file.read(HEAD_BYTES)
        file.seek(max(0, size_bytes - TAIL_BYTES))
        tail = file.read(TAIL_BYTES)
    if len(head) < _PAGE_BYTES or head[4]:
        raise Unreadable
    packet = head[_PAGE_BYTES + head[26] :]
    mime = "video/ogg" if b"\x80theora" in head else "audio/ogg"
    rate, skipped = 0, 0
    if packet.startswith(b"OpusHead"):
        rate, skipped = OPUS_RATE, int.from_bytes(packet[10:12], "little")
    elif packet.startswith(b"\x01vorbis"):
        rate = int.from_bytes(packet[12:16], "little")
    position = _last_position(tail, head[14:18])
    if not rate or position is None or position <= skipped:
        return Finding(mime=mime)
    return Finding(mime=mime, duration_seconds=(position - skipped) / rate)


def _last_position(tail: bytes, serial: bytes) -> int | None:
    """The position, in samples, at the end of the last page of a stream that tells one."""
    at = tail.rfind(b"OggS")
    while at >= 0:
        position = int.from_bytes(tail[at + 6 : at + 14], "little")
        if tail[at + 14 : at + 18] == serial and position != _NO_POSITION:
            return position
        at = tail.rfind(b"OggS", 0, at)
    return None
