"""Compiles the C programs and runs the load generator."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workloads import CONTENT_BYTES, Workload

SOURCES = Path(__file__).parent / "c"
COMPILE_TIMEOUT_SECONDS = 60
DRAIN_SECONDS = 40
# What connecting, settling, warming up and parting may take on top, all of it bounded in the generator too.
AROUND_SECONDS = 160


class RunFailed(Exception):
    """A run gave no figures; the text says why."""


@dataclass(frozen=True)
class Dialect:
    """How one server is spoken to; the texts are those of the plan in c/loadgen.c."""

    send: str
    greeting: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Seat:
    """One connection: the number of its room in the workload, the path it asks for, its bearer token."""

    room: int
    path: str
    token: str | None = None


def compile_program(name: str, folder: Path) -> Path:
    """Compile c/`name`.c unless the program in the folder is newer than the sources; RunFailed without a compiler."""
    source, program = SOURCES / f"{name}.c", folder / name
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RunFailed("no C compiler: install one (Debian: apt-get install gcc libc6-dev) or set CC")
    command = [compiler, "-O2", "-Wall", "-o", str(program), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_SECONDS)
    if result.returncode:
        raise RunFailed(f"{name}.c does not compile: {result.stderr.strip()[:500]}")
    return program


def pin_to(core: int | None) -> Callable[[], None] | None:
    """What a child process calls before it starts, to stay on one core."""
    if core is None:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def write_plan(
    workload: Workload,
    dialect: Dialect,
    seats: Sequence[Seat],
    port: int,
    pids: Sequence[int],
    seconds: float,
    *extra: str,
) -> str:
    """The generator's input for one run; `extra` are lines of the plan that replace earlier ones of the same name."""
    lines = [
        f"port {port}",
        f"nonce {secrets.token_hex(4)}",
        f"content_bytes {CONTENT_BYTES}",
        f"send {dialect.send}",
        f"senders {workload.senders}",
        f"window {workload.window}",
        f"warm_connections {workload.warm_connections}",
        f"seconds {0 if workload.idle else seconds}",
        f"drain_seconds {DRAIN_SECONDS}",
        *(f"server_pid {pid}" for pid in pids),
        *(f"connection {seat.room} {seat.path} {seat.token or '-'}" for seat in seats),
        *extra,
    ]
    if dialect.greeting:
        lines.append(f"greeting {dialect.greeting}")
    if dialect.error:
        lines.append(f"error {dialect.error}")
    return "\n".join(lines) + "\n"


def generate_load(program: Path, plan: str, core: int | None, seconds: float) -> dict[str, Any]:
    """Run the generator once and return its figures; RunFailed with its own words when it gives up."""
    try:
        result = subprocess.run(
            [program],
            input=plan,
            capture_output=True,
            text=True,
            timeout=seconds + DRAIN_SECONDS + AROUND_SECONDS,
            preexec_fn=pin_to(core),
        )
    except subprocess.TimeoutExpired:
        raise RunFailed("the load generator did not end in time") from None
    if result.returncode:
        words = result.stderr.strip() or f"it ended with code {result.returncode}"
        raise RunFailed(" ".join(words.split())[:500])
    figures: dict[str, Any] = json.loads(result.stdout)
    lost = [f"{figures[what]} {what}" for what in ("missing", "duplicates", "strangers", "lost_connections")]
    if any(not text.startswith("0 ") for text in lost):
        raise RunFailed("deliveries do not add up: " + ", ".join(lost))
    return figures
