"""Audio and video: what it is, how long, how large, and what is not passed on; from files that real programs wrote."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from heartlink.media.facts import CLEANED_SUFFIX, Finding, Unreadable
from heartlink.media.kinds import HEAD_BYTES, sniff
from heartlink.media.matroska import look_at_webm
from heartlink.media.mp3 import look_at_mp3
from heartlink.media.mp4 import look_at_mp4
from heartlink.media.ogg import look_at_ogg
from heartlink.media.wav import look_at_wav

SAMPLES = Path(__file__).parent / "samples"
READERS: dict[str, Callable[[Path], Finding]] = {
    "video/webm": look_at_webm,
    "audio/mpeg": look_at_mp3,
    "video/mp4": look_at_mp4,
    "audio/ogg": look_at_ogg,
    "audio/wav": look_at_wav,
}

RECORDINGS = [
    # file, what its first bytes say, what it is, width, height, about how many seconds
    ("voice.webm", "video/webm", "audio/webm", None, None, 1.0),
    ("film.webm", "video/webm", "video/webm", 160, 120, 1.0),
    ("voice.ogg", "audio/ogg", "audio/ogg", None, None, 1.0),
    ("vorbis.ogg", "audio/ogg", "audio/ogg", None, None, 1.0),
    ("film.ogv", "audio/ogg", "video/ogg", None, None, None),
    ("constant.mp3", "audio/mpeg", "audio/mpeg", None, None, 1.08),
    ("variable.mp3", "audio/mpeg", "audio/mpeg", None, None, 1.08),
    ("voice.m4a", "video/mp4", "audio/mp4", None, None, 1.0),
    ("turned.mp4", "video/mp4", "video/mp4", 120, 160, 1.0),
    ("fragments.mp4", "video/mp4", "video/mp4", 160, 120, 1.0),
]


def copied(name: str, folder: Path) -> Path:
    target = folder / name
    target.write_bytes((SAMPLES / name).read_bytes())
    return target


@pytest.mark.parametrize("row", RECORDINGS, ids=[row[0] for row in RECORDINGS])
def test_a_recording_tells_what_it_is(
    row: tuple[str, str, str, int | None, int | None, float | None], tmp_path: Path
) -> None:
    name, by_head, mime, width, height, seconds = row
    path = copied(name, tmp_path)
    assert sniff(path.read_bytes()[:HEAD_BYTES]) == by_head
    found = READERS[by_head](path)
    assert (found.mime, found.width, found.height) == (mime, width, height)
    assert found.duration_seconds == (None if seconds is None else pytest.approx(seconds, abs=0.02))


@pytest.mark.parametrize("name", ["film.mkv", "film.mov", "picture.avif"])
def test_relatives_that_not_every_browser_shows_are_only_files(name: str) -> None:
    assert sniff((SAMPLES / name).read_bytes()[:HEAD_BYTES]) == "application/octet-stream"


@pytest.mark.parametrize("row", RECORDINGS, ids=[row[0] for row in RECORDINGS])
def test_whatever_is_cut_off_or_broken_is_read_to_an_end(
    row: tuple[str, str, str, int | None, int | None, float | None], tmp_path: Path
) -> None:
    whole = (SAMPLES / row[0]).read_bytes()
    path = tmp_path / "broken"
    for end in (4, 12, 27, 40, 60, 100, 200, 300, 500, len(whole) // 2, len(whole) - 1):
        for broken in (whole[:end], whole[:end] + b"\xff" * 40 + whole[end + 40 :], whole[:end] + bytes(40)):
            path.write_bytes(broken)
            try:
                found = READERS[row[1]](path)
            except (Unreadable, ValueError, IndexError):
                continue
            assert found.mime.partition("/")[2] == row[2].partition("/")[2]


def test_names_and_places_in_a_film_are_blanked_without_moving_anything(tmp_path: Path) -> None:
    path = copied("voice.m4a", tmp_path)
    assert b"Teahouse" in path.read_bytes()
    assert look_at_mp4(path).is_cleaned
    cleaned = tmp_path / f"voice.m4a{CLEANED_SUFFIX}"
    octets, original = cleaned.read_bytes(), path.read_bytes()
    assert b"Teahouse" not in octets and b"udta" not in octets
    assert len(octets) == len(original)
    changed = [index for index in range(len(octets)) if octets[index] != original[index]]
    assert changed[-1] - changed[0] < 400
    # What was cleaned once has nothing left to clean.
    again = tmp_path / "again"
    again.write_bytes(octets)
    found = look_at_mp4(again)
    assert (found.is_cleaned, found.mime, found.duration_seconds) == (False, "audio/mp4", pytest.approx(1.0, abs=0.02))


def test_a_film_without_tracks_or_with_text_in_front_is_none(tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x08moov" + b"<script>" * 9)
    with pytest.raises(Unreadable):
        look_at_mp4(path)
    path.write_bytes(b"ID3\x04\0\0\0\0\0\0" + b"<html><script>alert(1)</script>" * 100)
    with pytest.raises(Unreadable):
        look_at_mp3(path)


def wav(path: Path, seconds: float, width: int = 2) -> Path:
    """A tone that swells from nothing to half of the full scale."""
    rate, full = 8000, 1 << 8 * width - 2
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(width)
        out.setframerate(rate)
        count = int(rate * seconds)
        values = (int(full * math.sin(index / 3) * index / count) for index in range(count))
        frames = b"".join(struct.pack("<i", value)[:width] for value in values)
        out.writeframes(frames if width > 1 else bytes((octet + 128) % 256 for octet in frames))
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_plain_samples_are_drawn(width: int, tmp_path: Path) -> None:
    found = look_at_wav(wav(tmp_path / "swell.wav", 2.0, width))
    assert found.mime == "audio/wav" and found.duration_seconds == pytest.approx(2.0)
    assert found.waveform is not None and len(found.waveform) == 64
    assert max(found.waveform) == 100 and found.waveform[0] <= 4
    assert found.waveform[48] > found.waveform[24] > found.waveform[8]


def test_silence_is_flat_and_a_header_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(32_000))
    assert look_at_wav(path).waveform == (0,) * 64
    octets = bytearray(path.read_bytes())
    octets[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(octets)
    assert look_at_wav(path).duration_seconds == pytest.approx(1.0)
    octets[28:32] = bytes(4)
    path.write_bytes(octets)
    with pytest.raises(Unreadable):
        look_at_wav(path)
