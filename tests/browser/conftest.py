"""Real browsers against the real server: `pytest tests/browser`. Needs a Chromium of the system."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from .people import Person

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 30
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A microphone that beeps and a camera that draws; whoever shall use them is given the permission.
    "--use-fake-device-for-media-stream",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Server:
    """HeartLink as a process that can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.flags = flags
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once it says that it accepts connections."""
        command = [sys.executable, "main.py", f"--port={self.port}", f"--data-dir={self.folder}", *self.flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINK_")}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines: Queue[str] = Queue()
        threading.Thread(target=_read, args=(self._process.stdout, lines), daemon=True).start()
        self.port = self._await_port(lines)

    def _await_port(self, lines: Queue[str]) -> int:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        seen: list[str] = []
        while time.monotonic() < deadline:
            try:
                seen.append(lines.get(timeout=0.2))
            except Empty:
                assert self._process is not None
                if self._process.poll() is not None:
                    break
                continue
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", seen[-1]):
                return int(found[1])
        raise AssertionError("The server did not start:\n" + "".join(seen))

    def kill(self) -> None:
        """As the power does it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator does it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(20)
        self._process = None


def _read(stream: Any, lines: Queue[str]) -> None:
    with stream:
        for line in stream:
            lines.put(line)


def chromium_path() -> str:
    """Where the system's Chromium is."""
    path = os.environ.get("HEARTLINK_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    return path or pytest.fail("No Chromium was found: install one, or name it in HEARTLINK_TEST_CHROMIUM.")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    folder = Path(os.environ.get("HEARTLINK_TEST_ARTIFACTS") or Path(__file__).parent / "artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str]) -> Iterator[Server]:
    flags = ["--messages-per-second=0", "--registrations-per-minute=0", *store_flags(mongo_urls)]
    server = Server(tmp_path_factory.mktemp("data"), *flags)
    server.start()
    yield server
    server.stop()


def store_flags(mongo_urls: Iterator[str]) -> list[str]:
    """The flags that name the database the tests run on (HEARTLINK_TEST_STORE)."""
    url = next(mongo_urls)
    return [f"--mongo-url={url}"] if url else []


class Cast:
    """Makes people; at the end none of their pages may have complained."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser = browser
        self.server = server
        self.people: list[Person] = []

    def visitor(self, **options: Any) -> Person:
        """Somebody who is not signed in."""
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", **options}
        person = Person(self._browser.new_context(**options), self.server.url)
        self.people.append(person)
        return person

    def user(self, name: str, *, display_name: str = "", **options: Any) -> Person:
        """Somebody with an account, signed in by REST; the page itself is still empty."""
        person = self.visitor(**options)
        person.sign_up(name, display_name)
        return person

    def leave(self) -> None:
        for person in self.people:
            person.context.close()


@pytest.fixture
def cast(chromium: Browser, server: Server) -> Iterator[Cast]:
    cast = Cast(chromium, server)
    try:
        yield cast
        complaints = [complaint for person in cast.people for complaint in person.complaints]
        assert not complaints
    finally:
        cast.leave()
