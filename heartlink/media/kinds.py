"""What a file is, from its first bytes; what may be shown inside a page, and what may not."""

from __future__ import annotations

from typing import Final

from heartlink.media.facts import UNKNOWN_TYPE, MediaKind

HEAD_BYTES: Final = 4096
"""How much of a file's beginning decides."""

IMAGES: Final = frozenset(["image/png", "image/jpeg", "image/gif", "image/webp"])
AUDIO: Final = frozenset(["audio/webm", "audio/ogg", "audio/mpeg", "audio/mp4", "audio/wav"])
VIDEO: Final = frozenset(["video/webm", "video/ogg", "video/mp4"])
PLAYED: Final = AUDIO | VIDEO
INLINE: Final = IMAGES | PLAYED
"""What may be shown or played inside a page; all else is an attachment."""

MP4_BRANDS: Final = frozenset(
    [
        *(b"isom", b"mp41", b"mp42", b"mp71", b"avc1", b"dash", b"MSNV", b"mmp4", b"f4v ", b"F4V "),
        *(b"M4A ", b"M4B ", b"M4V ", b"M4VH", b"M4VP"),
        *(b"iso%c" % letter for letter in b"23456789abc"),
    ]
)
MP3_FRAMES: Final = 3
"""So many frames in a row make an MP3: two bytes alone would fit one in two thousand files."""

MP3_BITRATES: Final = {
    # MPEG version 1, then versions 2 and 2.5, layer III, in kbit/s by the index in the frame's header.
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def sniff(head: bytes) -> str:
    """The media type that a file's first 4 KiB speak of; whether the rest keeps the promise is another question."""
    for signature, mime in _SIGNATURES:
        if head.startswith(signature):
            return mime
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], UNKNOWN_TYPE)
    if head[4:8] == b"ftyp":
        return "video/mp4" if head[8:12] in MP4_BRANDS else UNKNOWN_TYPE
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"\x42\x82\x84webm" in head[:64] else UNKNOWN_TYPE
    return "audio/mpeg" if is_mp3(head) else UNKNOWN_TYPE


def is_mp3(head: bytes) -> bool:
    """Whether MPEG audio frames, layer III, follow each other here."""
    position = 0
    for _ in range(MP3_FRAMES):
        frame = mp3_frame(head[position : position + 4])
        if frame is None:
            return False
        position += frame[0]
    return True


def mp3_frame(header: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and sampling rate of the frame with this header; None when it is none of layer III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate_index, rate_index = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in MP3_RATES or rate_index == 3 or bitrate_index in (0, 15):
        return None
    bitrate = MP3_BITRATES[1 if version == 3 else 2][bitrate_index] * 1000
    rate = MP3_RATES[version][rate_index]
    samples = 1152 if version == 3 else 576
    return samples // 8 * bitrate // rate + (header[2] >> 1 & 1), samples, rate


def kind_of(mime: str, *, as_voice: bool) -> MediaKind:
    """As which type of message a file is sent; audio is a voice message only where that was asked for."""
    if mime in IMAGES:
        return "image"
    if mime in VIDEO:
        return "video"
    return "voice" if mime in AUDIO and as_voice else "file"
