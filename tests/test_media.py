"""What a file is and is called, what its sender says of it, and the workers that look into it."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from heartlink.errors import Refusal
from heartlink.media import INLINE, Inspector, clean_name, pool, read_duration, read_waveform
from heartlink.media.facts import Job
from heartlink.media.kinds import kind_of, sniff
from heartlink.media.names import NAME_CHARS
from heartlink.media.pool import WorkerPool
from tests.raw_peer import until

SAMPLES = Path(__file__).parent / "samples"
PATIENCE_SECONDS = 30.0

NAMES = [
    ("notes.txt", "notes.txt"),
    ("日记 2026.txt", "日记 2026.txt"),
    ("😀 party.png", "😀 party.png"),
    ("👩‍👩‍👧 family.jpg", "👩‍👩‍👧 family.jpg"),
    ("../../etc/passwd", "passwd"),
    ("C:\\Users\\ann\\photo.jpg", "photo.jpg"),
    ("/", "file"),
    ("", "file"),
    ("...", "file"),
    (".htaccess", "htaccess"),
    ("..\\..\\.bashrc", "bashrc"),
    ("name.txt. . .", "name.txt"),
    ("  a   b\t\n.txt ", "a b .txt"),
    ("a\0b\r\nSet-Cookie: x.txt", "ab Set-Cookie_ x.txt"),
    ("photo\u202egpj.exe", "photogpj.exe"),
    ("a\u200bb\ufeffc\u2060.txt", "abc.txt"),
    ("a\u3164b\u00adc.txt", "abc.txt"),
    ("e\u0301.txt", "\u00e9.txt"),
    ('a<b>c:d"e|f?g*h.txt', "a_b_c_d_e_f_g_h.txt"),
    ("con", "_con"),
    ("CON.txt", "_CON.txt"),
    ("lpt1.tar.gz", "_lpt1.tar.gz"),
    ("console.txt", "console.txt"),
    ("thumbnail", "_thumbnail"),
    ("half\ud800.txt", "half.txt"),
    ("a" * 300 + ".tar.gz", "a" * (NAME_CHARS - 3) + ".gz"),
    ("字" * 300 + ".jpeg", "字" * (NAME_CHARS - 5) + ".jpeg"),
    ("x" * 300, "x" * NAME_CHARS),
    ("x." + "y" * 300, "x." + "y" * (NAME_CHARS - 2)),
    ("/" * 5000 + "end.txt", "end.txt"),
]


@pytest.mark.parametrize(("sent", "shown"), NAMES, ids=range(len(NAMES)))
def test_names_are_for_showing_and_for_nothing_else(sent: str, shown: str) -> None:
    assert clean_name(sent) == shown
    assert len(shown) <= NAME_CHARS and clean_name(shown) == shown


def test_a_file_without_a_name_gets_that_of_its_kind() -> None:
    assert clean_name("\u200b", "image") == "image"


KINDS = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff\xe0", "image/jpeg"),
    (b"GIF89a", "image/gif"),
    (b"GIF87a", "image/gif"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
    (b"OggS\0", "audio/ogg"),
    (b"ID3\x04", "audio/mpeg"),
    (b"\0\0\0\x20ftypisom", "video/mp4"),
    (b"\0\0\0\x20ftypM4A ", "video/mp4"),
    (b"%PDF-1.7", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"", None),
    (b"\xff\xd8", None),
    (b"GIF88a", None),
    (b" \x89PNG\r\n\x1a\n", None),
    (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
    (b"<!doctype html><script>", None),
    (b"<?xml version='1.0'?>", None),
    (b"RIFF\0\0\0\0AVI LIST", None),
    (b"\0\0\0\x20ftypqt  ", None),
    (b"\0\0\0\x20ftypheic", None),
    (b"\0\0\0\x20ftypavif", None),
    (b"\x1aE\xdf\xa3\x93B\x82\x88matroska", None),
    (b"BM6\0\0\0", None),
    (b"II*\0", None),
    (b"MZ\x90\0", None),
    (b"\x7fELF", None),
    (b"#!/bin/sh", None),
    (b"\xff\xfb\x90\x00" + bytes(4092), None),
    (b"8BPS", None),
    (b"\0\0\x01\0", None),
]


@pytest.mark.parametrize(("head", "mime"), KINDS, ids=[str(head[:12]) for head, _ in KINDS])
def test_the_first_bytes_decide(head: bytes, mime: str | None) -> None:
    assert sniff(head) == (mime or "application/octet-stream")


def test_only_what_browsers_show_without_running_it_is_inline() -> None:
    endings = {mime.partition("/")[2] for mime in INLINE}
    assert endings == {"png", "jpeg", "gif", "webp", "webm", "ogg", "mpeg", "mp4", "wav"}
    assert kind_of("audio/webm", as_voice=True) == "voice"
    assert kind_of("audio/webm", as_voice=False) == "file"
    assert kind_of("video/webm", as_voice=True) == "video"
    assert kind_of("text/html", as_voice=True) == "file"


@pytest.mark.parametrize(
    ("value", "read"),
    [(None, None), ("", None), ("0", 0.0), ("1.23456", 1.235), (12, 12.0), ("86400", 86400.0), (" 5 ", 5.0)],
)
def test_durations_are_read(value: Any, read: float | None) -> None:
    assert read_duration(value) == read


@pytest.mark.parametrize("value", ["-1", "86401", "nan", "inf", "1e99", "long", "1,5", True, -0.1, "٣s"])
def test_durations_that_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        read_duration(value)
    assert refused.value.code == "invalid_parameters" and refused.value.fields


@pytest.mark.parametrize(
    ("value", "read"),
    [(None, None), ("", None), ([], None), ("[]", None), ("0,50,100", (0, 50, 100)), ("[1, 2]", (1, 2)), ([7], (7,))],
)
def test_waveforms_are_read(value: Any, read: tuple[int, ...] | None) -> None:
    assert read_waveform(value) == read


@pytest.mark.parametrize(
    "value", ["1,-1", "101", "1.5", "a", "[1", "[[1]]", [1] * 65, ",".join("1" * 65), [True], [1.0], "1," * 9000]
)
def test_waveforms_that_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        read_waveform(value)
    assert refused.value.code == "invalid_parameters" and refused.value.fields


# With workers


@asynccontextmanager
async def inspecting(**options: Any) -> AsyncIterator[Inspector]:
    inspector = Inspector(WorkerPool(**options))
    try:
        yield inspector
    finally:
        await inspector.close()


def put(folder: Path, content: bytes, name: str = "upload") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def image(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (9, 99, 200)).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.gen_test(timeout=60)
async def test_the_facts_of_files_of_every_kind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "CamCo"
    async with inspecting() as inspector:
        photo = put(tmp_path, image("JPEG", exif=exif), "photo")
        facts = await inspector.inspect(photo, name="../日.jpg", duration=3, waveform="1,2", as_voice=True)
        assert (facts.kind, facts.mime, facts.inline, facts.name) == ("image", "image/jpeg", True, "日.jpg")
        assert (facts.width, facts.height, facts.duration_seconds, facts.waveform) == (60, 40, None, None)
        assert facts.cleaned is not None and b"CamCo" not in facts.cleaned.read_bytes()
        assert facts.size_bytes == facts.cleaned.stat().st_size
        assert facts.thumbnail is not None and facts.thumbnail.read_bytes()[8:12] == b"WEBP"
        assert b"CamCo" in photo.read_bytes()

        voice = await inspector.inspect(SAMPLES / "voice.webm", as_voice=True, duration="99", waveform=[1, 100])
        assert (voice.kind, voice.mime, voice.name, voice.waveform) == ("voice", "audio/webm", "voice", (1, 100))
        # What the file says itself counts.
        assert voice.duration_seconds == pytest.approx(1.0, abs=0.01) and voice.cleaned is None

        page = await inspector.inspect(put(tmp_path, b"<script>alert(1)</script>"), name="cat.png", waveform="5")
        assert (page.kind, page.mime, page.inline) == ("file", "application/octet-stream", False)
        assert (page.name, page.size_bytes, page.waveform, page.thumbnail) == ("cat.png", 25, None, None)

        # Said by the sender, where the file is silent.
        film = put(tmp_path, (SAMPLES / "film.ogv").read_bytes())
        assert (await inspector.inspect(film, duration=7)).duration_seconds == 7
        empty = await inspector.inspect(put(tmp_path, b""))
        assert (empty.mime, empty.size_bytes, empty.name) == ("application/octet-stream", 0, "file")


@pytest.mark.gen_test(timeout=60)
async def test_what_is_not_what_it_says_is_a_file_to_download(tmp_path: Path) -> None:
    async with inspecting() as inspector:
        for content in (image("PNG")[:60], b"GIF89a/*" + bytes(20), b"ID3\x04" + bytes(99), b"RIFF....WAVE", b"OggS"):
            facts = await inspector.inspect(put(tmp_path, content), name="x.png")
            assert (facts.kind, facts.mime, facts.inline) == ("file", "application/octet-stream", False)
            assert facts.thumbnail is None


@pytest.mark.gen_test(timeout=60)
async def test_refusals_name_what_is_wrong_and_leave_nothing_behind(tmp_path: Path) -> None:
    bomb = bytearray(image("PNG"))
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    async with inspecting() as inspector:
        with pytest.raises(Refusal) as refused:
            await inspector.inspect(put(tmp_path, bytes(bomb)))
        assert (refused.value.code, refused.value.status) == ("too_large", 413)
        assert "50000 × 50000" in refused.value.message and "50 million" in refused.value.fix
        with pytest.raises(Refusal, match="duration"):
            await inspector.inspect(put(tmp_path, image("PNG")), duration="long")
        with pytest.raises(FileNotFoundError):
            await inspector.inspect(tmp_path / "none")
    assert not any(leftover.exists() for leftover in Inspector.leftovers(tmp_path / "upload"))


@pytest.mark.gen_test(timeout=60)
async def test_a_full_disk_is_no_fault_of_the_file(tmp_path: Path) -> None:
    async with inspecting() as inspector:
        path = put(tmp_path, image("GIF", comment=b"secret") + b"tail")
        # A folder stands where the cleaned file would be written.
        Inspector.leftovers(path)[0].mkdir()
        with pytest.raises(OSError, match="directory"):
            await inspector.inspect(path)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.gen_test(timeout=60)
async def test_workers_are_reused_replaced_when_they_die_and_gone_when_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, image("PNG"))
    monkeypatch.setenv("HEARTLINK_ADMIN_PASSWORD", "unspeakable")
    async with inspecting() as inspector:
        workers = inspector._pool
        assert workers.pids == []
        for _ in range(3):
            assert (await inspector.inspect(path)).mime == "image/png"
        (first,) = workers.pids
        assert b"unspeakable" not in environment_of(first)
        os.kill(first, signal.SIGKILL)
        assert (await inspector.inspect(path)).mime == "image/png"
        (second,) = workers.pids
        assert first != second and is_alive(second)
    assert not is_alive(first) and not is_alive(second)
    with pytest.raises(Refusal, match="busy"):
        await inspector.inspect(path)
    await inspector.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_worn_worker_makes_room_for_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "JOBS_PER_WORKER", 2)
    path = put(tmp_path, image("PNG"))
    async with inspecting(workers=1) as inspector:
        seen = []
        for _ in range(2):
            await inspector.inspect(path)
            seen += inspector._pool.pids
            await inspector.inspect(path)
            assert inspector._pool.pids == []
        assert len(set(seen)) == 2


@pytest.mark.gen_test(timeout=60)
async def test_a_file_that_takes_too_long_is_refused_and_holds_up_nobody(tmp_path: Path) -> None:
    stuck, path = tmp_path / "stuck", put(tmp_path, image("PNG"))
    # Nobody writes into it: whoever opens it waits.
    os.mkfifo(stuck)
    workers = WorkerPool(workers=1, job_seconds=0.3)
    try:
        found = await workers.run(Job(str(stuck), "image/png"))
        assert found.excess and found.limit
        assert workers.pids == []
    finally:
        await workers.close()
    async with inspecting() as inspector:
        waiting = asyncio.ensure_future(inspector._pool.run(Job(str(stuck), "image/png")))
        await until(lambda: inspector._pool.pids, PATIENCE_SECONDS)
        assert (await inspector.inspect(path)).mime == "image/png"
        # Who stops waiting for an answer gets nobody else's, and nobody gets theirs.
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await inspector.inspect(path)).mime == "image/png"
        assert len(inspector._pool.pids) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_file_that_kills_two_workers_is_refused(tmp_path: Path) -> None:
    stuck = tmp_path / "stuck"
    os.mkfifo(stuck)
    async with inspecting(workers=1) as inspector:
        workers = inspector._pool
        asked = asyncio.ensure_future(workers.run(Job(str(stuck), "audio/ogg")))
        killed: list[int] = []
        while len(killed) < 2:
            await until(lambda: set(workers.pids) - set(killed), PATIENCE_SECONDS)
            pid = next(iter(set(workers.pids) - set(killed)))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        assert (await asked).excess


@pytest.mark.gen_test(timeout=60)
async def test_too_many_that_wait_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WAITING_LIMIT", 1)
    stuck, path = tmp_path / "stuck", put(tmp_path, image("PNG"))
    os.mkfifo(stuck)
    async with inspecting() as inspector:
        waiting = asyncio.ensure_future(inspector._pool.run(Job(str(stuck), "image/png")))
        await until(lambda: inspector._pool.pids, PATIENCE_SECONDS)
        with pytest.raises(Refusal, match="busy"):
            await inspector.inspect(path)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
