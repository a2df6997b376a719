"""Images: measured before they are decoded, freed of what they tell about their maker, turned upright, made small."""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import Any, Final

from PIL import Image

from heartlink.media.anatomy import Anatomy, Buffer
from heartlink.media.facts import CLEANED_SUFFIX, THUMBNAIL_SUFFIX, Finding, Unreadable
from heartlink.media.gif import dissect_gif
from heartlink.media.jpeg import dissect_jpeg
from heartlink.media.png import dissect_png
from heartlink.media.webp import dissect_webp

IMAGE_BYTES: Final = 128 << 20
"""Larger files are passed on as they are, to be downloaded: no picture within the limits needs as much."""

THUMBNAIL_SIDE: Final = 480
THUMBNAIL_QUALITY: Final = 80
UPRIGHT_QUALITY: Final = 92
UPRIGHT_EFFORT: Final = 2
"""How hard a PNG or WebP that is turned is packed, of 9 and 6: large ones shall be done in time."""


_DISSECTORS: Final = {
    "image/jpeg": dissect_jpeg,
    "image/png": dissect_png,
    "image/gif": dissect_gif,
    "image/webp": dissect_webp,
}
_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def look_at_image(path: Path, mime: str) -> Finding:
    """What the image is, with a cleaned file where something was left out, and a thumbnail; raises Excess.

    One that is broken or incomplete gets an empty ``mime``, and is freed of what could be found to leave out.
    """
    size_bytes = path.stat().st_size
    if size_bytes > IMAGE_BYTES:
        return Finding()
    cleaned = path.with_name(path.name + CLEANED_SUFFIX)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        anatomy = _DISSECTORS[mime](data)
        if anatomy.is_complete:
            anatomy.check(size_bytes)
        is_cleaned = not anatomy.is_unchanged(size_bytes)
        if is_cleaned:
            _write(anatomy, data, cleaned)
    if not anatomy.is_complete:
        return Finding(is_cleaned=is_cleaned)
    try:
        return _picture(path, cleaned if is_cleaned else None, mime, anatomy)
    except Unreadable:
        return Finding(is_cleaned=is_cleaned)


def _write(anatomy: Anatomy, data: Buffer, target: Path) -> None:
    with target.open("wb") as out, memoryview(data) as view:
        for piece in anatomy.pieces:
            out.write(piece if isinstance(piece, bytes) else view[slice(*piece)])


def _picture(path: Path, cleaned: Path | None, mime: str, anatomy: Anatomy) -> Finding:
    """Turn it upright and make its thumbnail, which also shows that it can be decoded."""
    turn = _turn(anatomy)
    source = cleaned or path
    if turn is not None and cleaned is not None:
        # It was shown turned because of its EXIF data, which are left out: there always is a cleaned file.
        _turn_upright(source, mime, turn)
    with _open(source, mime) as image:
        width, height = image.size
        _save_thumbnail(image, path.with_name(path.name + THUMBNAIL_SUFFIX))
    return Finding(mime=mime, width=width, height=height, is_cleaned=cleaned is not None, has_thumbnail=True)


def _turn(anatomy: Anatomy) -> Image.Transpose | None:
    """What makes the picture upright; None when it is, or moves."""
    if not anatomy.exif or anatomy.frames > 1:
        return None
    exif = Image.Exif()
    try:
        exif.load(anatomy.exif)
        orientation = exif.get(_ORIENTATION)
    except Exception:
        # Any of the ways in which odd data can fail.
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _open(path: Path, mime: str) -> Image.Image:
    # Pillow's own limit is a warning first; ours was asked already, and holds for every format.
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(path, formats=[_FORMATS[mime]])
    except MemoryError:
        raise
    except Exception:
        raise Unreadable from None


def _save_thumbnail(image: Image.Image, target: Path) -> None:
    buffer = io.BytesIO()
    try:
        image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        image.load()
        picture = _plain(image)
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
        profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
        picture.save(buffer, "WEBP", quality=THUMBNAIL_QUALITY, method=2, icc_profile=profile or b"")
    except MemoryError:
        raise
    except Exception:
        raise Unreadable from None
    target.write_bytes(buffer.getbuffer())


def _plain(image: Image.Image) -> Image.Image:
    """The same picture in a mode that can be scaled and saved."""
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode == wanted:
        # To convert is to copy, and the largest have no room for that.
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Sixteen bits a sample: the upper eight of them.
        return image.point(lambda value: value / 256).convert("L")
    return image.convert(wanted)


def _turn_upright(path: Path, mime: str, turn: Image.Transpose) -> None:
    """Write the picture anew as it is to be seen; a JPEG quantised as before, so that next to nothing is lost."""
    with _open(path, mime) as image:
        options = _saving(image, mime, is_sideways=turn in [_TURNS[number] for number in _SIDEWAYS])
        buffer = io.BytesIO()
        try:
            # As it is stored: on the way through red, green and blue, light and colours would be clipped.
            image.draft("YCbCr", None)
            image.transpose(turn).save(buffer, _FORMATS[mime], **options)
        except MemoryError:
            raise
        except Exception:
            raise Unreadable from None
    path.write_bytes(buffer.getbuffer())


def _saving(image: Image.Image, mime: str, *, is_sideways: bool) -> dict[str, Any]:
    """The options that keep what can be kept."""
    common = {"icc_profile": image.info.get("icc_profile") or b"", "exif": b""}
    if mime == "image/png":
        return {**common, "compress_level": UPRIGHT_EFFORT}
    if mime == "image/webp":
        return {**common, "quality": UPRIGHT_QUALITY, "method": UPRIGHT_EFFORT}
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    sampling = {1: 0 if is_sideways else 1, 2: 2}.get(_sampling(image), 0)
    kept = [_across(table) if is_sideways else list(table) for _, table in sorted(tables.items())]
    return {**common, "qtables": kept, "subsampling": sampling, "progressive": bool(image.info.get("progressive"))}


def _sampling(image: Image.Image) -> int:
    from PIL import JpegImagePlugin

    return JpegImagePlugin.get_sampling(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else -1


def _across(table: list[int]) -> list[int]:
    """A table of quantisation for a picture that was turned by a quarter: rows become columns."""
    return [table[8 * column + row] for row in range(8) for column in range(8)]
