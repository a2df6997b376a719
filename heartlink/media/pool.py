"""Worker processes that look into files: few, bounded in time and memory, replaced when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from heartlink.errors import busy
from heartlink.media.facts import Finding, Job

WORKERS: Final = 2
"""Processes at once; each may need a few hundred MiB for the largest image that is accepted."""

WAITING_LIMIT: Final = 1000
"""Files that wait for a worker."""

JOB_SECONDS: Final = 60.0
"""How long one file may take, by the clock on the wall; its processor time is limited in the worker."""

JOBS_PER_WORKER: Final = 200
"""After so many files a worker makes room for a fresh one."""

ANSWER_BYTES: Final = 64 << 10

PACKAGE_ROOT: Final = str(Path(__file__).parent.parent.parent)
ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a worker gets of the server's environment: there may be passwords in the rest."""

# Isolated from whatever lies in the folder of the day: what runs there is this package and its libraries.
BOOT: Final = "import sys; sys.path.insert(0, sys.argv[1]); from heartlink.media.worker import main; main()"

TOO_HARD: Final = Finding(excess="What this file unpacks to", limit="what can be unpacked within a few seconds")

logger = logging.getLogger(__name__)


class WorkerLost(Exception):
    """A worker ended, or had to be ended, before it answered."""


class Worker:
    """One process; a line in, a line out. It ends with its standard input, so also when this process is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._jobs = 0

    @classmethod
    async def start(cls) -> Worker:
        """A fresh process, in a session of its own: Ctrl-C in a terminal is not meant for it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", BOOT, PACKAGE_ROOT, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=ANSWER_BYTES,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_worn(self) -> bool:
        """Whether it has ended or done its share."""
        return self._process.returncode is not None or self._jobs >= JOBS_PER_WORKER

    async def work(self, job: Job, limit_seconds: float) -> Finding:
        """What it finds; raises WorkerLost, and TimeoutError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs += 1
        async with asyncio.timeout(limit_seconds):
            try:
                self._process.stdin.write(msgspec.json.encode(job) + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
            except (ConnectionError, ValueError):
                line = b""
        try:
            return msgspec.json.decode(line, type=Finding)
        except msgspec.DecodeError:
            raise WorkerLost from None

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


class WorkerPool:
    """Hands files to workers, which are started when there is something to do."""

    def __init__(self, workers: int = WORKERS, job_seconds: float = JOB_SECONDS) -> None:
        self._job_seconds = job_seconds
        self._turns = asyncio.Semaphore(workers)
        self._free: list[Worker] = []
        self._all: set[Worker] = set()
        self._waiting = 0
        self._is_closed = False

    async def run(self, job: Job) -> Finding:
        """What a worker finds in a file; raises the Refusal ``busy`` when too many wait.

        A worker that dies gets a successor, once: a second death, or time that runs out, is the file's fault.
        """
        if self._waiting >= WAITING_LIMIT or self._is_closed:
            raise busy("files to be looked into")
        self._waiting += 1
        try:
            async with self._turns:
                for _ in range(2):
                    with contextlib.suppress(WorkerLost):
                        return await self._run_once(job)
        except TimeoutError:
            logger.warning("a file took more than %g seconds to look into", self._job_seconds)
        finally:
            self._waiting -= 1
        return TOO_HARD

    async def _run_once(self, job: Job) -> Finding:
        worker = self._free.pop() if self._free else await self._start()
        try:
            finding = await worker.work(job, self._job_seconds)
        except BaseException:
            # Also when nobody waits for the answer any more: it must not be taken for the next one.
            await self._end(worker)
            raise
        if worker.is_worn or self._is_closed:
            await self._end(worker)
        else:
            self._free.append(worker)
        return finding

    async def _start(self) -> Worker:
        if self._is_closed:
            raise busy("files to be looked into")
        worker = await Worker.start()
        self._all.add(worker)
        return worker

    async def _end(self, worker: Worker) -> None:
        await asyncio.shield(worker.end())
        self._all.discard(worker)

    @property
    def pids(self) -> list[int]:
        """The processes there are."""
        return [worker.pid for worker in self._all]

    async def close(self) -> None:
        """End every worker; what they were at is refused. Safe to call twice."""
        self._is_closed = True
        self._free.clear()
        for worker in list(self._all):
            await self._end(worker)
