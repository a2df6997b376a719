"""The servers measured: how each is started, spoken to and stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.generator import Dialect, RunFailed, Seat, compile_program, pin_to
from benchmarks.workloads import Workload

START_SECONDS = 30
STOP_SECONDS = 12
PEERS = Path(__file__).parent / "peers"
PLAIN = Dialect(send='{"type":"message","content":"%C","client_id":"%I"}')


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """One server under test; `folder` is its own, emptied by whoever made it."""

    name: str
    stores: str
    dialect = PLAIN
    # A workload that says nothing new about this server and would only take time.
    skips: frozenset[str] = frozenset()

    def __init__(self, folder: Path, core: int | None) -> None:
        self.folder, self.core, self.port = folder, core, 0
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command line that serves on `self.port`."""

    def environment(self) -> dict[str, str]:
        """Variables added to this process's own."""
        return {}

    def seats(self, workload: Workload) -> list[Seat]:
        """One seat for each connection of the workload, room by room in turns."""
        count = workload.rooms * workload.connections_per_room
        return [Seat(i % workload.rooms, f"/ws/chat/room-{i % workload.rooms}/") for i in range(count)]

    def prepare(self) -> None:  # noqa: B027 (most servers need nothing)
        """Make once, while the server runs, what the seats need."""

    def start(self) -> None:
        """Start on a free port and wait until it accepts; RunFailed with its last words otherwise."""
        self.port = free_port()
        log_path = self.folder / "log.txt"
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=os.environ | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=pin_to(self.core),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RunFailed(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.05)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def last_words(self) -> str:
        """The end of what the server wrote."""
        text = (self.folder / "log.txt").read_text(errors="replace").strip()
        return " / ".join(text.splitlines()[-4:])[-600:]

    def pids(self) -> list[int]:
        """The server's process and its descendants."""
        if self.process is None or self.process.poll() is not None:
            raise RunFailed(f"{self.name} is not running: {self.last_words()}")
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(child.pid for child in children)]

    def stop(self) -> None:
        """End the server's process group, politely first; safe to call again."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class NaiveC(Server):
    """The yardstick: a C loop with one `send` per member and message."""

    name = "C loop, one send per member and message"
    stores = "nothing"

    def __init__(self, folder: Path, core: int | None, programs: Path) -> None:
        super().__init__(folder, core)
        self.programs = programs

    def command(self) -> Sequence[str | Path]:
        return [compile_program("fanout", self.programs), str(self.port)]


class GatheringC(NaiveC):
    """The same with one `send` per member and turn of its loop: what is left when only the kernel's share counts."""

    name = "C loop, one send per member and loop turn"

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "gather"]


class Aiohttp(Server):
    """aiohttp, JSON encoded once a message."""

    name = "aiohttp"
    stores = "nothing"

    def __init__(self, folder: Path, core: int | None, python: Path) -> None:
        super().__init__(folder, core)
        self.python = python

    def command(self) -> Sequence[str | Path]:
        return [self.python, PEERS / "aiohttp_app.py", str(self.port)]


class Channels(Server):
    """Django Channels on Daphne with the in-memory layer."""

    name = "Django Channels on Daphne"
    stores = "nothing"

    def __init__(self, folder: Path, core: int | None, python: Path) -> None:
        super().__init__(folder, core)
        self.python = python

    def command(self) -> Sequence[str | Path]:
        address = ["-b", "127.0.0.1", "-p", str(self.port)]
        return [self.python, "-m", "daphne", "-v", "0", *address, "channels_app:application"]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PEERS), "PYTHONDONTWRITEBYTECODE": "1"}


class ChannelsOrm(Channels):
    """The same with every message saved by the ORM, as the replaced system did."""

    name = "the same, each message saved by the ORM"
    stores = "SQLite, Django's defaults"
    skips = frozenset({"idle", "W1c"})

    def environment(self) -> dict[str, str]:
        database = self.folder / "messages.sqlite3"
        database.unlink(missing_ok=True)
        return super().environment() | {"PEER_DATABASE": str(database)}


def main_py() -> Path:
    """HeartLink's entry point in this checkout."""
    return Path(__file__).parent.parent / "main.py"


def this_python() -> str:
    """The interpreter that runs the benchmark, which has HeartLink's packages."""
    return sys.executable
