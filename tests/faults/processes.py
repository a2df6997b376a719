"""The processes under test: the server and, where a real MongoDB is not named, the wire server that stands in."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote_plus

from .wire import Refused, Rest

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
TAIL_BYTES = 4_000
SETTINGS = (
    "--messages-per-second=0",
    "--registrations-per-minute=0",
    "--connections-per-address=0",
    "--connections-per-user=0",
    # Smaller than the default, so that a reader frozen for some seconds is hung up on and has to come back.
    "--queue-bytes=262144",
)


class Died(Exception):
    """A process ended by itself."""


class Process:
    """A child that can be killed, frozen, resumed and started again; its output goes to one log file."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.starts = 0
        self._child: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    async def spawn(self) -> None:
        """Start the child and do not wait for it."""
        assert not self.is_running
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- {self.name}, start {self.starts}\n".encode())
            log.flush()
            self._child = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    async def start(self) -> None:
        """Start the child and wait until it serves; raises `Died` or `TimeoutError`."""
        await self.spawn()
        assert self._child is not None
        async with asyncio.timeout(START_SECONDS):
            while not await self.serves():
                if self._child.returncode is not None:
                    raise Died(f"{self.name} ended with {self._child.returncode}:\n{self.tail()}")
                await asyncio.sleep(POLL_SECONDS)

    async def serves(self) -> bool:
        """Whether the child answers."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Send a signal to the child, if it still runs."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and wait until the child is gone."""
        if self._child is not None:
            self.signal(signal.SIGKILL)
            await asyncio.wait_for(self._child.wait(), STOP_SECONDS)

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self._child is not None
        self.signal(signal.SIGTERM)
        return await asyncio.wait_for(self._child.wait(), STOP_SECONDS)

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")


class Server(Process):
    """HeartLink itself on a fixed port and data folder."""

    def __init__(
        self, data: Path, port: int, *, mongo_url: str = "", planted: str = "", flags: tuple[str, ...] = ()
    ) -> None:
        entry = ["tests/faults/planted.py", planted] if planted else ["main.py"]
        command = [sys.executable, *entry, f"--port={port}", f"--data-dir={data}", *SETTINGS, *flags]
        if mongo_url:
            command.append(f"--mongo-url={mongo_url}")
        super().__init__("the server", command, data.parent / "server.log")
        self.port = port

    async def serves(self) -> bool:
        rest = Rest(self.port)
        try:
            await rest.call("GET", "/healthz")
        except (OSError, TimeoutError, Refused, asyncio.IncompleteReadError):
            return False
        finally:
            rest.close()
        return True


class Database(Process):
    """The MongoDB wire server of the store's tests, on a Unix socket in a folder of its own (a short path)."""

    def __init__(self, folder: Path) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="nx-"))
        self.socket_path = self._own / "nx.sock"
        command = [sys.executable, "tests/nx_server.py", str(self.socket_path), str(folder / "database")]
        super().__init__("the database", command, folder / "database.log")
        (folder / "database").mkdir()
        self.url = f"mongodb://{quote_plus(str(self.socket_path))}/heartlink"

    def remove(self) -> None:
        """Remove the socket's folder."""
        shutil.rmtree(self._own, ignore_errors=True)

    async def serves(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.socket_path))
        except OSError:
            return False
        writer.close()
        return True


def free_port() -> int:
    """A free loopback port below the ephemeral ones: a client's own port must not take it while the server is down."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port between 20000 and 32000")
