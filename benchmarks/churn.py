"""What is left of those who came and went: `python -m benchmarks.churn`; how to read it is in docs/benchmarks.md."""

import argparse
import asyncio
import base64
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine, in_words
from benchmarks.process import ENOUGH_FILES, HeartLinkProcess, allow_many_files

CYCLES, FIRST, AT_ONCE = 10_000, 1000, 40
ROOMS, USERS, MEMBERS = 10, 20, 10
PATIENCE_SECONDS = 30.0
SETTLE_SECONDS = 6.0
"""Longer than a departure is kept secret, and than a goodbye may take."""

ALLOWED_GROWTH = 0.05
CACHE = Path(__file__).parent / ".cache"
CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@dataclass(frozen=True)
class Point:
    """The server's memory after so many cycles, with everybody gone."""

    cycles: int
    resident_bytes: int


async def come_and_go(port: int, path: str, token: str, *, politely: bool) -> None:
    """Connect, wait for the greeting, and leave: with a close frame, or without a word."""
    key = base64.b64encode(os.urandom(16)).decode()
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lines = (
                f"GET {path} HTTP/1.1",
                f"Host: 127.0.0.1:{port}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {key}",
                f"Authorization: Bearer {token}",
            )
            writer.write("\r\n".join((*lines, "", "")).encode())
            await reader.readuntil(b'"type":"connection_established"')
            if politely:
                writer.write(CLOSE_FRAME)
                await reader.read()
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def churn(port: int, seats: Sequence[tuple[str, str]], cycles: int, at_once: int) -> None:
    """So many cycles, so many of them at once; every other one ends without a word."""
    numbers = iter(range(cycles))

    async def some() -> None:
        for number in numbers:
            path, token = seats[number % len(seats)]
            await come_and_go(port, path, token, politely=number % 2 == 0)

    await asyncio.gather(*(some() for _ in range(at_once)))


def seats_in(furnished: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[str, str]]:
    """Every member's place in every room."""
    return [(f"/ws/chat/{room_id}/", token) for room_id, tokens in furnished for token in tokens]


async def measure(folder: Path, cycles: int) -> tuple[list[Point], float]:
    """The memory after every thousand cycles, and how many cycles a second there were."""
    allow_many_files(ENOUGH_FILES)
    server = HeartLinkProcess(folder)
    await server.start()
    try:
        seats = seats_in(await asyncio.to_thread(server.furnish, USERS, ROOMS, MEMBERS))
        points: list[Point] = []
        busy_seconds = 0.0
        for done in range(FIRST, cycles + 1, FIRST):
            begun = time.monotonic()
            await churn(server.port, seats, FIRST, AT_ONCE)
            busy_seconds += time.monotonic() - begun
            await asyncio.sleep(SETTLE_SECONDS)
            points.append(Point(done, server.resident_bytes()))
            print(f"{done:,} cycles: {points[-1].resident_bytes / 1024:,.0f} KiB", file=sys.stderr)
        return points, cycles / busy_seconds
    finally:
        await server.close()


def main() -> int:
    """Exit code 0 when the memory is within `ALLOWED_GROWTH` of where it was after the first thousand cycles."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.churn", description=__doc__)
    parser.add_argument("--cycles", type=int, default=CYCLES)
    flags = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="churn-", dir=CACHE) as name:
        points, pace = asyncio.run(measure(Path(name), flags.cycles))
    first, last = points[0].resident_bytes, points[-1].resident_bytes
    growth = last / first - 1
    print(f"{in_words(describe_machine())}\n\n| measured | |\n| --- | ---: |")
    print(f"| cycles, {AT_ONCE} at once | {flags.cycles:,} |\n| cycles a second | {pace:,.0f} |")
    print(f"| memory after the first {FIRST:,} | {first / 1024:,.0f} KiB |")
    print(f"| memory after all | {last / 1024:,.0f} KiB |\n| growth | {growth:+.1%} |")
    return 0 if growth <= ALLOWED_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
