"""A HeartLink process that benchmarks start, end and start again on the same port and data folder."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.servers import free_port

MAIN = Path(__file__).parent.parent / "main.py"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
REQUEST_SECONDS = 30.0
LIMITS_OFF = (
    "--registrations-per-minute=0",
    "--connections-per-address=0",
    "--connections-per-user=0",
    "--messages-per-second=0",
    "--message-burst=0",
)
ENOUGH_FILES = 8192


class HeartLinkProcess:
    """One server, restarted at will; `up_at` is the monotonic moment at which it said that it accepts."""

    def __init__(self, folder: Path, flags: Sequence[str] = LIMITS_OFF) -> None:
        self.port = free_port()
        self.up_at = 0.0
        self._folder = folder
        self._flags = flags
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Start, and return when it accepts; raises RuntimeError with its last words."""
        await asyncio.to_thread(self._launch)
        await asyncio.wait_for(asyncio.to_thread(self._read_until_ready), START_SECONDS)

    def _launch(self) -> None:
        command = [
            sys.executable,
            str(MAIN),
            f"--port={self.port}",
            f"--data-dir={self._folder / 'data'}",
            *self._flags,
        ]
        with (self._folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def _read_until_ready(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Stop with"):
                self.up_at = time.monotonic()
                return
        raise RuntimeError(f"the server did not start: {(self._folder / 'log.txt').read_text()[-600:]}")

    async def end(self, number: signal.Signals) -> float:
        """Send a signal and wait until the process is gone; returns the seconds that took."""
        process, self._process = self._process, None
        assert process is not None and process.stdout is not None
        begun = time.monotonic()
        process.send_signal(number)
        await asyncio.wait_for(asyncio.to_thread(process.wait), STOP_SECONDS)
        process.stdout.close()
        return time.monotonic() - begun

    async def close(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await self.end(signal.SIGTERM)
        if self._process is not None:
            self._process.kill()

    def resident_bytes(self) -> int:
        """Its memory, as the kernel counts it."""
        assert self._process is not None
        rss: int = psutil.Process(self._process.pid).memory_info().rss
        return rss

    def post(self, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        """Ask for something over REST; blocks."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", msgspec.json.encode(body), headers)
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            answer: dict[str, Any] = msgspec.json.decode(response.read())
        return answer

    def furnish(self, users: int, rooms: int, members: int) -> list[tuple[str, list[str]]]:
        """Make users, and rooms of some of them each; returns the rooms with their members' tokens; blocks."""
        names = [f"u{os.getpid()}x{number}" for number in range(users)]
        with ThreadPoolExecutor(4) as pool:
            made = list(
                pool.map(lambda name: self.post("/api/auth/register", {"username": name, "password": "x" * 12}), names)
            )
        tokens = [str(one["token"]) for one in made]
        furnished = []
        for number in range(rooms):
            seats = [(number + step) % users for step in range(members)]
            body = {"name": f"Room {number}", "kind": "group", "members": [names[seat] for seat in seats[1:]]}
            room_id = str(self.post("/api/rooms", body, tokens[seats[0]])["id"])
            furnished.append((room_id, [tokens[seat] for seat in seats]))
        return furnished


def allow_many_files(wanted: int) -> None:
    """Let this process and those it starts have so many sockets open, as far as the system permits."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
