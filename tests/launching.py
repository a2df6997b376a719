"""Real ``python main.py`` processes for tests: started, heard, signalled, and ended whatever happens."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent
READY_SECONDS = 30.0
EXIT_SECONDS = 15.0
# Takes from root what makes every file writable and every port free (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
# CAP_NET_BIND_SERVICE, through PR_CAPBSET_DROP), then becomes the program; others have none of it anyway.
AS_ORDINARY_USER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2, 10) if os.geteuid() == 0 else ():
    if libc.prctl(24, capability, 0, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""


class Server:
    """One server process; leaving the ``with`` block kills what is left of it."""

    def __init__(self, *flags: str, environment: dict[str, str] | None = None, ordinary: bool = False) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINK_")}
        before = [sys.executable, "-c", AS_ORDINARY_USER] if ordinary else []
        self.process = subprocess.Popen(
            [*before, sys.executable, str(ROOT / "main.py"), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=plain | (environment or {}),
        )
        self.said: list[str] = []
        self._heard: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._heard_error = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.put(line.rstrip("\n"))
        self._heard.put(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard_error:
                self._errors.append(line)
                self._heard_error.notify_all()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(EXIT_SECONDS)
        for reader in self._readers:
            reader.join(EXIT_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def wait_for(self, words: str) -> str:
        """The first line on stdout, from here on, that contains ``words``."""
        while True:
            try:
                line = self._heard.get(timeout=READY_SECONDS)
            except queue.Empty:
                raise AssertionError(f"the server did not say '{words}': {self.said} {self._errors}") from None
            if line is None:
                raise AssertionError(f"the server ended without '{words}': {self.said} {self._errors}")
            self.said.append(line)
            if words in line:
                return line

    def wait_for_error(self, words: str) -> None:
        """Until a line on stderr contains ``words``."""
        with self._heard_error:
            said = self._heard_error.wait_for(lambda: any(words in line for line in self._errors), READY_SECONDS)
        assert said, f"the server did not log '{words}': {self._errors}"

    def address(self) -> str:
        """Where it listens, once it does."""
        line = self.wait_for("listens on")
        self.wait_for("Stop with")
        return line.rpartition(" ")[2]

    def signal(self, *numbers: signal.Signals) -> None:
        """Sends signals one after the other."""
        for number in numbers:
            self.process.send_signal(number)

    def exit(self) -> tuple[int, str, str]:
        """Exit code, the rest of stdout and all of stderr, once it has ended by itself."""
        code = self.process.wait(EXIT_SECONDS)
        for reader in self._readers:
            reader.join(EXIT_SECONDS)
        rest: list[str] = []
        while (line := self._heard.get(timeout=EXIT_SECONDS)) is not None:
            rest.append(line)
        return code, "\n".join(rest), "".join(self._errors)
