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
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, sync_playwright

from .people import Person, unique

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 30
Maker = Callable[[str, bytes], Path]
"""Makes a file of a name and its content."""
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
def server(
    tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str], request: pytest.FixtureRequest
) -> Iterator[Server]:
    """One for all tests of a module, with the flags that its ``SERVER_FLAGS`` names."""
    flags = getattr(request.module, "SERVER_FLAGS", ("--messages-per-second=0", "--registrations-per-minute=0"))
    server = Server(tmp_path_factory.mktemp("data"), *flags, *store_flags(mongo_urls))
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


@pytest.fixture(scope="module")
def couple(chromium: Browser, server: Server) -> Iterator[tuple[Person, Person]]:
    """Ann and Bob, who stay for all tests of a module."""
    cast = Cast(chromium, server)
    yield cast.user("ann"), cast.user("bob")
    cast.leave()


@pytest.fixture
def two(couple: tuple[Person, Person]) -> Iterator[tuple[Person, Person]]:
    """Ann and Bob in a room of their own; at the end neither of their pages may have complained."""
    ann, bob = couple
    room = ann.makes_room(unique("Harbour "), bob)
    for person in couple:
        person.complaints.clear()
        person.goes_to(f"/chat/{quote(room, safe='')}/")
    for person in couple:
        person.is_connected()
    yield couple
    for person in couple:
        person.page.unroute_all()
        for page in person.context.pages:
            if page is not person.page:
                page.close()
    assert [complaint for person in couple for complaint in person.complaints] == []


@pytest.fixture
def a_file(tmp_path: Path) -> Maker:
    """Makes a file to attach."""

    def make(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make
