"""MP3: found behind its tags; how long, from the encoder's count of frames or from the bit rate."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

from heartlink.media.facts import Finding, Unreadable
from heartlink.media.kinds import HEAD_BYTES, is_mp3, mp3_frame

SEARCHED_BYTES: Final = 64 << 10
"""How far behind the tags the first frame may begin."""

TAGS_LIMIT: Final = 4

_ID3_BYTES: Final = 10
_VBRI_OFFSET: Final = 36


def look_at_mp3(path: Path) -> Finding:
    """The duration; raises Unreadable when no frames follow the tags."""
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        start = _after_tags(file)
        file.seek(start)
        head = file.read(SEARCHED_BYTES)
    offset = next(
        (at for at in _syncs(head) if is_mp3(head[at : at + HEAD_BYTES])),
        None,
    )
    frame = mp3_frame(head[offset : offset + 4]) if offset is not None else None
    if offset is None or frame is None:
        raise Unreadable
    frame_bytes, samples, rate = frame
    frames = _frames_told(head[offset : offset + frame_bytes]) or (size_bytes - start - offset) / frame_bytes
    return Finding(mime="audio/mpeg", duration_seconds=frames * samples / rate)


def _syncs(head: bytes) -> list[int]:
    found: list[int] = []
    at = head.find(b"\xff")
    while at >= 0:
        if head[at + 1 : at + 2] >= b"\xe0":
            found.append(at)
        at = head.find(b"\xff", at + 1)
    return found


def _after_tags(file: BinaryIO) -> int:
    """Where the ID3v2 tags end."""
    position = 0
    for _ in range(TAGS_LIMIT):
        file.seek(position)
        header = file.read(_ID3_BYTES)
        if len(header) < _ID3_BYTES or not header.startswith(b"ID3"):
            break
        length = 0
        for octet in header[6:10]:
            length = length << 7 | octet & 0x7F
        position += _ID3_BYTES + length + (_ID3_BYTES if header[5] & 0x10 else 0)
    return position


def _frames_told(frame: bytes) -> int:
    """The number of frames that the first one tells (Xing, Info, VBRI); 0 when it does not."""
    is_first_version, is_mono = frame[1] & 0x08, frame[3] >> 6 == 3
    offset = 4 + ((17 if is_mono else 32) if is_first_version else (9 if is_mono else 17))
    if frame[offset : offset + 4] in (b"Xing", b"Info") and frame[offset + 7 : offset + 8] >= b"\x01":
        return int.from_bytes(frame[offset + 8 : offset + 12], "big") if frame[offset + 7] & 1 else 0
    if frame[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
        return int.from_bytes(frame[_VBRI_OFFSET + 14 : _VBRI_OFFSET + 18], "big")
    return 0
