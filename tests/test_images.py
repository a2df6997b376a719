"""Images: measured before decoding, freed of metadata and of what follows them, upright, with a small picture."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from heartlink.media import anatomy, images
from heartlink.media.facts import CLEANED_SUFFIX, THUMBNAIL_SUFFIX, Excess, Finding
from heartlink.media.images import look_at_image
from heartlink.media.jpeg import SCANS_LIMIT

SECRETS = (b"Exif", b"CamCo", b"GPS-52.5", b"http://ns.adobe.com/xap", b"<?xpacket", b"secret remark")
XMP = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">GPS-52.5</x:xmpmeta>'
MIMES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
PROFILE = b"\0" * 36 + b"acsp" + b"p3" * 45


def picture(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """Red above, blue below, green in the upper left corner: how it is turned can be seen."""
    image = Image.new("RGB", (width, height), (220, 30, 30))
    image.paste((30, 30, 220), (0, height // 2, width, height))
    image.paste((30, 220, 30), (0, 0, width // 4, height // 4))
    return image.convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[0x0112], data[0x010F] = orientation, "CamCo"
    data.get_ifd(0x8825)[1] = "GPS-52.5"
    return data


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


class Looked:
    """A file after it was looked at."""

    def __init__(self, folder: Path, content: bytes, mime: str) -> None:
        path = folder / "image"
        for suffix in (CLEANED_SUFFIX, THUMBNAIL_SUFFIX):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(content)
        self.found: Finding = look_at_image(path, mime)
        cleaned = folder / f"image{CLEANED_SUFFIX}"
        assert cleaned.exists() == self.found.is_cleaned
        self.kept = cleaned.read_bytes() if self.found.is_cleaned else content
        self._thumbnail = folder / f"image{THUMBNAIL_SUFFIX}"
        assert path.read_bytes() == content

    @property
    def image(self) -> Image.Image:
        image = Image.open(io.BytesIO(self.kept))
        image.load()
        return image

    @property
    def thumbnail(self) -> Image.Image:
        image = Image.open(self._thumbnail)
        image.load()
        return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures of one size, of 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


METADATA = [
    ("JPEG", {"exif": exif(), "comment": b"secret remark", "icc_profile": PROFILE, "xmp": XMP}),
    ("JPEG", {"exif": exif(), "progressive": True, "subsampling": 0}),
    ("WEBP", {"exif": exif(), "xmp": XMP, "icc_profile": PROFILE, "lossless": True}),
    ("WEBP", {"exif": exif(), "quality": 50}),
    ("PNG", {"exif": exif(), "icc_profile": PROFILE}),
    ("GIF", {"comment": b"secret remark"}),
]


@pytest.mark.parametrize(("form", "options"), METADATA, ids=[f"{form}{n}" for n, (form, _) in enumerate(METADATA)])
def test_metadata_go_and_not_a_pixel_changes(form: str, options: dict[str, Any], tmp_path: Path) -> None:
    content = saved(picture(), form, **options)
    assert any(secret in content for secret in SECRETS) or b"eXIf" in content
    looked = Looked(tmp_path, content, MIMES[form])
    assert (looked.found.mime, looked.found.width, looked.found.height) == (MIMES[form], 96, 64)
    assert looked.found.is_cleaned
    assert not [secret for secret in (*SECRETS, b"eXIf", b"XMP ", b"EXIF") if secret in looked.kept]
    assert looked.image.tobytes() == Image.open(io.BytesIO(content)).convert(looked.image.mode).tobytes()
    assert looked.image.info.get("icc_profile") == options.get("icc_profile")
    assert not looked.image.getexif()
    # A WebP also says in front which metadata it has: none.
    assert form != "WEBP" or looked.kept[12:16] != b"VP8X" or not looked.kept[20] & 0b1100


def test_texts_of_a_png_go_whichever_way_they_are_packed(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Comment", "secret remark <script>alert(1)</script>")
    texts.add_text("Packed", "secret remark " * 100, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    looked = Looked(tmp_path, saved(picture(), "PNG", pnginfo=texts), "image/png")
    assert not [word for word in (b"tEXt", b"zTXt", b"iTXt", b"<script>", *SECRETS) if word in looked.kept]
    assert looked.image.tobytes() == picture().tobytes()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_one_without_metadata_stays_to_the_byte(form: str, tmp_path: Path) -> None:
    looked = Looked(tmp_path, saved(picture(), form), MIMES[form])
    assert looked.found.mime == MIMES[form]
    assert not looked.found.is_cleaned


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_what_follows_the_image_is_cut_off(form: str, tmp_path: Path) -> None:
    content = saved(picture(), form)
    for tail in (b"PK\x03\x04 a zip file", b"<script>alert(1)</script>", b"\0"):
        looked = Looked(tmp_path, content + tail, MIMES[form])
        assert looked.found.mime == MIMES[form]
        assert looked.kept == content


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_upright_before_its_orientation_goes(form: str, orientation: int, tmp_path: Path) -> None:
    content = saved(picture(97, 61), form, exif=exif(orientation), **({"quality": 85} if form == "JPEG" else {}))
    looked = Looked(tmp_path, content, MIMES[form])
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (looked.found.width, looked.found.height) == upright.size
    assert difference(looked.image, upright) < (0 if form == "PNG" else 3) + 0.01
    assert not looked.image.getexif() and b"CamCo" not in looked.kept
    assert difference(looked.thumbnail, upright) < 8


def test_turning_a_photograph_loses_next_to_nothing(tmp_path: Path) -> None:
    light, colour = Image.effect_noise((320, 240), 60), Image.radial_gradient("L").resize((320, 240))
    photograph = Image.merge("YCbCr", [light, colour, ImageOps.invert(colour)])
    for subsampling in (0, 1, 2):
        content = saved(photograph, "JPEG", quality=70, subsampling=subsampling, exif=exif(6))
        looked = Looked(tmp_path, content, "image/jpeg")
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert difference(looked.image, upright) < 1
        assert len(looked.kept) < 1.2 * len(content)
        anew = Image.open(io.BytesIO(saved(upright, "JPEG", quality=70, subsampling=subsampling)))
        assert difference(looked.image, upright) < difference(anew, upright) / 2


MODES = [
    ("1", "PNG"),
    ("L", "PNG"),
    ("LA", "PNG"),
    ("P", "PNG"),
    ("RGBA", "PNG"),
    ("I;16", "PNG"),
    ("L", "JPEG"),
    ("CMYK", "JPEG"),
    ("RGBA", "WEBP"),
    ("P", "GIF"),
]


@pytest.mark.parametrize(("mode", "form"), MODES)
def test_pictures_of_every_kind_get_a_small_one(mode: str, form: str, tmp_path: Path) -> None:
    image = Image.new("I;16", (900, 30), 40_000) if mode == "I;16" else picture(900, 30, mode)
    looked = Looked(tmp_path, saved(image, form), MIMES[form])
    assert (looked.found.mime, looked.found.width, looked.found.height) == (MIMES[form], 900, 30)
    assert looked.found.has_thumbnail and looked.thumbnail.format == "WEBP"
    assert looked.thumbnail.size == (480, 16)
    if mode == "I;16":
        assert looked.thumbnail.getpixel((5, 5)) == pytest.approx((156, 156, 156), abs=2)


def test_clear_parts_stay_clear_and_a_small_picture_is_not_blown_up(tmp_path: Path) -> None:
    looked = Looked(tmp_path, saved(Image.new("RGBA", (20, 10), (0, 0, 0, 0)), "PNG"), "image/png")
    assert looked.thumbnail.size == (20, 10)
    assert looked.thumbnail.convert("RGBA").getpixel((3, 3))[3] == 0


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_what_moves_goes_on_moving(form: str, tmp_path: Path) -> None:
    frames = [picture().rotate(90 * turn) for turn in range(4)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 80, "loop": 0}
    if form == "WEBP":
        options |= {"exif": exif(6), "lossless": True}
    if form == "GIF":
        options["comment"] = b"secret remark"
    content = saved(frames[0], form, **options)
    looked = Looked(tmp_path, content + b"tail", MIMES[form])
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(looked.kept))
    assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1) == 4
    assert after.info.get("loop") == 0 and not [secret for secret in SECRETS if secret in looked.kept]
    for number in range(4):
        before.seek(number)
        after.seek(number)
        assert before.convert("RGBA").tobytes() == after.convert("RGBA").tobytes()
        assert before.info.get("duration") == after.info.get("duration")


# What is broken


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_part_of_an_image_is_no_image_but_is_not_lost(form: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"comment": b"secret remark"} if form == "GIF" else {"exif": exif()}
    noise = Image.merge("RGB", [Image.effect_noise((200, 200), 80)] * 3)
    content = saved(noise, form, **options)
    cut = content[: len(content) * 2 // 3]
    looked = Looked(tmp_path, cut, MIMES[form])
    assert (looked.found.mime, looked.found.has_thumbnail) == ("", False)
    assert len(looked.kept) > len(cut) - 1500
    if form in ("JPEG", "GIF"):
        # There the metadata come first, and go also from what is only a part.
        assert not [secret for secret in SECRETS if secret in looked.kept]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_whatever_is_cut_off_or_broken_is_looked_at_to_an_end(form: str, tmp_path: Path) -> None:
    whole = saved(picture(40, 30), form, **({} if form == "GIF" else {"exif": exif(6)}))
    for end in [*range(9, 80, 3), *range(80, len(whole), 41), len(whole) - 1]:
        for broken in (whole[:end], whole[:end] + b"\xff\xd9\xff" + whole[end + 3 :], whole[:end] + bytes(9)):
            try:
                looked = Looked(tmp_path, broken, MIMES[form])
            except Excess:
                continue
            if looked.found.mime:
                looked.image.load()


def test_a_program_in_the_guise_of_an_image_is_none(tmp_path: Path) -> None:
    for content, mime in (
        (b"GIF89a/*" + b"\0" * 8 + b"*/=1;alert(1)//;", "image/gif"),
        (b"GIF89a=1;alert(document.domain)//", "image/gif"),
        (b"\xff\xd8\xff\xe0<script>alert(1)</script>", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script>", "image/png"),
        (b"RIFF\x10\0\0\0WEBP<svg onload=alert(1)>", "image/webp"),
    ):
        assert Looked(tmp_path, content, mime).found.mime == ""


# What is too much


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, packed: bytes, bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def gif(frames: int, width: int = 1, height: int = 1) -> bytes:
    size = struct.pack("<HH", width, height)
    frame = b"," + bytes(4) + size + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + frame * frames + b";"


def test_a_bomb_is_refused_with_its_measures(tmp_path: Path) -> None:
    jpeg = bytearray(saved(picture(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    webp = bytearray(saved(picture(), "WEBP", exif=exif()))
    webp[24:30] = b"\xff" * 6
    lossless = bytearray(saved(picture(), "WEBP", lossless=True))
    lossless[21:25] = b"\xff\xff\xff\x0f"
    bombs: list[tuple[bytes, str, str]] = [
        (png(50_000, 50_000, zlib.compress(bytes(1000))), "image/png", "50000 × 50000"),
        (png(1, 40_000, zlib.compress(bytes(1000))), "image/png", "1 × 40000"),
        (png(0x7FFFFFFF, 0x7FFFFFFF, b""), "image/png", "2147483647"),
        (png(8000, 6000, zlib.compress(bytes(6_006_000)), 1, 0), "image/png", "in 5,"),
        (bytes(jpeg), "image/jpeg", "65535 × 65535"),
        (bytes(webp), "image/webp", "16777216 × 16777216"),
        (bytes(lossless), "image/webp", "16384 × 16384"),
        (gif(1, 65_535, 65_535), "image/gif", "65535 × 65535"),
        (gif(100_000), "image/gif", "frames"),
        (gif(300, 2000, 2000), "image/gif", "frames"),
    ]
    for content, mime, word in bombs:
        assert len(content) < 2 << 20
        with pytest.raises(Excess, match=word):
            Looked(tmp_path, content, mime)


def test_a_jpeg_of_a_thousand_passes_is_refused(tmp_path: Path) -> None:
    content = saved(picture(), "JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    assert Looked(tmp_path, content, "image/jpeg").found.mime
    with pytest.raises(Excess, match="scans"):
        Looked(tmp_path, content[:scan] + content[scan:-2] * SCANS_LIMIT + content[-2:], "image/jpeg")


def test_a_stream_that_unpacks_to_more_than_the_picture_is_read_no_further(tmp_path: Path) -> None:
    rows = (b"\0" + b"\x80" * 30) * 10
    looked = Looked(tmp_path, png(10, 10, zlib.compress(rows + bytes(20_000_000))), "image/png")
    assert looked.found.mime == "image/png"


def test_a_colour_profile_that_unpacks_without_end_goes(tmp_path: Path) -> None:
    whole = saved(picture(), "PNG")
    bomb = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(4_000_000)))
    looked = Looked(tmp_path, whole[:33] + bomb + whole[33:], "image/png")
    assert looked.found.mime == "image/png" and looked.kept == whole


def test_pictures_of_telephones_are_within_the_limits() -> None:
    for width, height in ((8064, 6048), (8160, 6120), (4000, 3000), (16_000, 3000)):
        anatomy.check_size(width, height)
    assert images.IMAGE_BYTES > 100 << 20
