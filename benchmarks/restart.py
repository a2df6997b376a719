"""What a restart costs those who are there: `python -m benchmarks.restart`; how to read it is in docs/benchmarks.md."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, in_words, measure_fdatasync
from benchmarks.process import ENOUGH_FILES, HeartLinkProcess, allow_many_files
from benchmarks.returning import Crowd

CLIENTS, ROOMS, USERS, MEMBERS = 2000, 100, 100, 10
MESSAGES_PER_SECOND = 50.0
BEFORE_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
CACHE = Path(__file__).parent / ".cache"


@dataclass(frozen=True)
class Restart:
    """What one restart did: every figure in seconds, one of each kind for each client."""

    how: str
    gone_seconds: float
    start_seconds: float
    after_try: list[float]
    after_up: list[float]
    outage: list[float]
    resumed: int
    faults: list[str]


async def restart(server: HeartLinkProcess, crowd: Crowd, how: signal.Signals) -> Restart:
    """End the server while people talk, start it again, and wait until everybody knows everything."""
    before = min(len(member.returns) for member in crowd.members)
    talk = asyncio.create_task(crowd.talk(MESSAGES_PER_SECOND))
    try:
        await asyncio.sleep(BEFORE_SECONDS)
        gone_seconds = await server.end(how)
        begun = time.monotonic()
        await server.start()
        await crowd.all_back(before + 1, PATIENCE_SECONDS)
    finally:
        talk.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await talk
    await crowd.all_heard(PATIENCE_SECONDS)
    back = [member.returns[-1] for member in crowd.members]
    return Restart(
        how.name,
        gone_seconds,
        server.up_at - begun,
        sorted(one.caught_up_at - one.tried_at for one in back),
        sorted(one.caught_up_at - server.up_at for one in back),
        sorted(one.caught_up_at - one.lost_at for one in back),
        sum(one.resume == "changes" for one in back),
        crowd.faults(),
    )


async def measure(folder: Path, clients: int, rooms: int, users: int, how: list[signal.Signals]) -> list[Restart]:
    """Restart once in each way, with the same people in the same rooms."""
    allow_many_files(ENOUGH_FILES)
    server = HeartLinkProcess(folder)
    await server.start()
    try:
        furnished = await asyncio.to_thread(server.furnish, users, rooms, min(MEMBERS, users))
        crowd = Crowd(server.port, furnished, clients)
        try:
            await crowd.open(PATIENCE_SECONDS)
            return [await restart(server, crowd, number) for number in how]
        finally:
            await crowd.close()
    finally:
        await server.close()


def table(done: list[Restart], clients: int) -> str:
    """The figures as Markdown."""
    lines = ["| measured | " + " | ".join(f"after {one.how}" for one in done) + " |"]
    lines.append("| --- |" + " ---: |" * len(done))

    def row(name: str, cells: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    row("clients that resumed with changes", [f"{one.resumed:,} of {clients:,}" for one in done])
    row("the process was gone after", [f"{one.gone_seconds:.2f} s" for one in done])
    row("started again, until it accepts", [f"{one.start_seconds:.2f} s" for one in done])
    for share in (50, 99):
        row(f"catch-up: last try → caught up, p{share}", [f"{at(one.after_try, share) * 1000:.0f} ms" for one in done])
    for share in (50, 99):
        row(f"server up → caught up, p{share}", [f"{at(one.after_up, share):.2f} s" for one in done])
    for share in (50, 99):
        row(f"connection lost → caught up, p{share}", [f"{at(one.outage, share):.2f} s" for one in done])
    row("lost, twice, holes, full reloads", [", ".join(one.faults) or "none" for one in done])
    return "\n".join(lines)


def at(values: list[float], percent: int) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) * percent // 100, len(values) - 1)]


def main() -> int:
    """Exit code 0 when everybody resumed and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rooms", type=int, default=ROOMS)
    flags = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="restart-", dir=CACHE) as name:
        folder = Path(name)
        how = [signal.SIGTERM, signal.SIGKILL]
        done = asyncio.run(measure(folder, flags.clients, flags.rooms, USERS, how))
        print(f"{in_words(describe_machine())}, one fdatasync {measure_fdatasync(folder)['median_ms']:.2f} ms\n")
    print(table(done, flags.clients))
    return 0 if all(one.resumed == flags.clients and not one.faults for one in done) else 1


if __name__ == "__main__":
    sys.exit(main())
