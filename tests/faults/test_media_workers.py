"""Workers that look into files: none outlives its server, and the largest accepted image stays within its memory."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from heartlink.media import Inspector
from heartlink.media.anatomy import MOST_PIXELS
from heartlink.media.pool import WorkerPool
from heartlink.media.worker import MEMORY_BYTES

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 30.0

# Prints the ids of two workers, one of them idle and one at a file that never ends, then waits to be killed.
PARENT = """
import asyncio, os, sys
from heartlink.media.facts import Job
from heartlink.media.pool import WorkerPool

async def main(image, stuck):
    pool = WorkerPool()
    await pool.run(Job(image, "image/png"))
    asyncio.ensure_future(pool.run(Job(stuck, "image/png")))
    asyncio.ensure_future(pool.run(Job(stuck, "image/png")))
    while len(pool.pids) < 2:
        await asyncio.sleep(0.01)
    print(*pool.pids, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie that nobody has waited for."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not re.search(r"^State:\s+[ZX]", status, re.MULTILINE)


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"{pids} are still running"
        time.sleep(0.02)


def test_no_worker_outlives_a_server_that_was_killed(tmp_path: Path) -> None:
    image, stuck = tmp_path / "image", tmp_path / "stuck"
    Image.new("RGB", (20, 20)).save(image, "PNG")
    os.mkfifo(stuck)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(image), str(stuck)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_running, pids))
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(pids)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


LARGEST = [
    ("PNG", "RGBA", {"compress_level": 1, "exif": True}),
    ("JPEG", "RGB", {"exif": True}),
    ("JPEG", "RGB", {"progressive": True}),
    ("WEBP", "RGBA", {"method": 0, "quality": 10}),
    ("GIF", "P", {}),
]


@pytest.mark.gen_test(timeout=180)
@pytest.mark.parametrize(("form", "mode", "options"), LARGEST, ids=[row[0] + str(row[2]) for row in LARGEST])
async def test_the_largest_image_stays_within_its_memory(
    form: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    side = int(MOST_PIXELS**0.5)
    path, buffer = tmp_path / "large", io.BytesIO()
    if "exif" in options:
        options = {**options, "exif": Image.Exif()}
        options["exif"][0x0112] = 6
    noise = Image.effect_noise((side // 8, side // 8), 50).resize((side, side), Image.Resampling.NEAREST)
    noise.convert(mode).save(buffer, form, **options)
    path.write_bytes(buffer.getbuffer())
    inspector = Inspector(WorkerPool(workers=1, job_seconds=150))
    try:
        facts = await inspector.inspect(path)
        (pid,) = inspector._pool.pids
        assert (facts.kind, facts.width, facts.height) == ("image", side, side)
        assert peak_bytes(pid) < MEMORY_BYTES
        print(f"{form} {options}: {path.stat().st_size >> 20} MiB, {peak_bytes(pid) >> 20} MiB at the peak")
    finally:
        await inspector.close()
