"""Where the figures come from: cores, disk, versions."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

SYNC_SAMPLES = 200
SYNC_BYTES = 4096


def pick_cores() -> tuple[int | None, int | None]:
    """A core for the servers and another for the load generator; (None, None) where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def measure_fdatasync(folder: Path) -> dict[str, float]:
    """Milliseconds of one `fdatasync` after 4 KiB were appended, on the disk HeartLink stores on."""
    path = folder / "fdatasync"
    samples = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(SYNC_SAMPLES):
            os.write(descriptor, os.urandom(SYNC_BYTES))
            start = time.perf_counter()
            os.fdatasync(descriptor)
            samples.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    samples.sort()
    return {"median_ms": round(statistics.median(samples), 3), "p99_ms": round(samples[-SYNC_SAMPLES // 100], 3)}


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, kernel, Python and how busy the machine already was."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def in_words(machine: dict[str, object]) -> str:
    """The machine in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"load average before: {machine['load_average_before']}"
    )


def own_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions in this environment; those that are absent are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_in(python: Path, names: Iterable[str]) -> dict[str, str]:
    """The same, in the environment of another interpreter."""
    script = "import sys, importlib.metadata as m\nfor name in sys.argv[1:]: print(name, m.version(name))"
    output = subprocess.run([python, "-c", script, *names], check=True, capture_output=True, text=True, timeout=30)
    return dict(line.split() for line in output.stdout.splitlines())
