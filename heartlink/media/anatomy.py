"""The parts of an image file, found without decoding it: which to keep, which to leave out, how large it unpacks."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from heartlink.media.facts import Excess

Buffer: TypeAlias = bytes | mmap.mmap

MOST_PIXELS: Final = 50_000_000
"""Pixels of one picture: what a telephone's camera makes, and 200 MB unpacked."""

MOST_SIDE: Final = 32_767
MOST_FRAMES: Final = 2_000
MOST_FRAME_PIXELS: Final = 1_000_000_000
"""Pixels of all frames of a moving picture together."""

DENSE_PIXELS: Final = 16_000_000
MOST_PIXELS_PER_BYTE: Final = 1_000
"""A picture of more than the first in which every byte stands for more than the second shows nothing, at great cost."""


@dataclass(slots=True)
class Anatomy:
    """What was found: size, frames, what is kept (pieces of the file, or bytes in their place), and the EXIF data.

    ``is_complete`` is False when the file ends early or its structure breaks; the rest is then kept as it is.
    """

    width: int = 0
    height: int = 0
    frames: int = 0
    frame_pixels: int = 0
    is_complete: bool = False
    exif: bytes = b""
    pieces: list[tuple[int, int] | bytes] = field(default_factory=list)

    def keep(self, start: int, end: int) -> None:
        """Keep a piece of the file; those that touch become one."""
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, tuple) and last[1] == start:
            self.pieces[-1] = (last[0], end)
        elif start < end:
            self.pieces.append((start, end))

    def is_unchanged(self, size_bytes: int) -> bool:
        """Whether everything is kept."""
        return self.pieces == [(0, size_bytes)]

    def count_frame(self, width: int, height: int) -> None:
        """One more frame; raises Excess over the limits."""
        self.frames += 1
        self.frame_pixels += width * height
        check_size(width, height)
        if self.frames > MOST_FRAMES:
            raise Excess("An image of so many frames", f"{MOST_FRAMES:,} frames")
        if self.frame_pixels > MOST_FRAME_PIXELS:
            raise Excess("An image of so many and large frames", f"{MOST_FRAME_PIXELS // 1_000_000:,} million pixels")

    def check(self, size_bytes: int) -> None:
        """Raise Excess when the picture unpacks to more than is good for anybody."""
        check_size(self.width, self.height)
        pixels = self.width * self.height
        if pixels > DENSE_PIXELS and pixels > MOST_PIXELS_PER_BYTE * size_bytes:
            raise Excess(
                f"An image of {self.width} × {self.height} pixels in {size_bytes:,} bytes",
                f"{MOST_PIXELS_PER_BYTE:,} pixels for each byte",
            )


def check_size(width: int, height: int) -> None:
    """Raise Excess for a picture that is too large to be unpacked."""
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise Excess(
            f"An image of {width} × {height} pixels",
            f"{MOST_PIXELS // 1_000_000} million pixels and {MOST_SIDE:,} on a side",
        )
