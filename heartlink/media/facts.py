"""What is known of a file, and the words that the server and its workers exchange about one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

MediaKind = Literal["image", "voice", "video", "file"]

UNKNOWN_TYPE: Final = "application/octet-stream"
"""What is sent with everything that is not to be shown inside a page."""

CLEANED_SUFFIX: Final = ".cleaned"
THUMBNAIL_SUFFIX: Final = ".thumbnail"
THUMBNAIL_TYPE: Final = "image/webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What a file is, by its bytes.

    ``name`` is cleaned for display; ``inline`` says whether it may be shown inside a page; ``size_bytes`` is that of
    what is to be kept: the file ``cleaned`` where there is one, else the file that was looked at. ``thumbnail`` is a
    picture of type ``thumbnail_mime``. Both lie beside the original, and whoever asked removes or moves them. Width and
    height are pixels as they are shown; a waveform is up to 64 numbers from 0 to 100.
    """

    name: str
    kind: MediaKind
    mime: str
    inline: bool
    size_bytes: int
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    waveform: tuple[int, ...] | None = None
    cleaned: Path | None = None
    thumbnail: Path | None = None
    thumbnail_mime: str = THUMBNAIL_TYPE


class Job(msgspec.Struct, frozen=True):
    """What a worker is asked: what is in the file at ``path``, of which the first bytes say ``mime``?"""

    path: str
    mime: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker answers. An empty ``mime``: it is not what its first bytes say.

    ``excess`` and ``limit`` are set when it is too large to be unpacked: what is, and within what it had to stay.
    ``failure`` is the number of an error of the system (``errno``): the disk may be full.
    ``is_cleaned`` and ``has_thumbnail`` tell of files beside the original, under its name and a suffix.
    """

    mime: str = ""
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    waveform: tuple[int, ...] | None = None
    is_cleaned: bool = False
    has_thumbnail: bool = False
    excess: str = ""
    limit: str = ""
    failure: int = 0


class Excess(Exception):
    """Something is more than we unpack: what it is, and within what it had to stay."""

    def __init__(self, what: str, limit: str) -> None:
        super().__init__(what)
        self.what = what
        self.limit = limit


class Unreadable(Exception):
    """A file is not what its first bytes say, or only a part of it."""
