"""Files on their way between people: what they attach, how it is slowed down, what a page asks of the server for it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from urllib.parse import unquote

from PIL import Image
from playwright.sync_api import FileChooser, Locator, Page, Request, expect

from .people import Person

LARGEST_BYTES = 4 << 20
FLAGS = (f"--upload-bytes={LARGEST_BYTES}", "--messages-per-second=0", "--registrations-per-minute=0")
PATIENCE_MS = 30_000
SLOW, STANDSTILL, NO_LIMIT = 384 << 10, 1 << 10, -1
"""Bytes a second that leave a page."""


def picture(width: int, height: int, colour: str = "#bf1f58") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(data, "PNG")
    return data.getvalue()


def noise(length: int) -> bytes:
    """Always the same, and like nothing else."""
    return b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(length // 32))


def room_of(person: Person) -> str:
    return unquote(person.page.url.split("/chat/")[1].strip("/"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chooses(person: Person, *files: Path) -> FileChooser:
    """By the button, as people do it."""
    with person.page.expect_file_chooser() as chooser:
        person.page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(list(files))
    return chooser.value


def attaches(person: Person, *files: Path, caption: str = "") -> None:
    """Chooses and sends."""
    chooses(person, *files)
    expect(person.page.locator("#attachments li")).to_have_count(len(files))
    person.page.locator("#message-input").fill(caption)
    person.page.locator("#message-input").press("Enter")
    expect(person.page.locator("#attachments")).to_be_hidden()


def has_sent(person: Person) -> None:
    expect(person.page.locator("#pending .message")).to_have_count(0, timeout=PATIENCE_MS)


def card(person: Person, name: str) -> Locator:
    """The stored message that shows a file of this name."""
    names = person.page.locator(f'.file-name[title="{name}"]')
    return person.page.locator("#stored .message").filter(has=names)


def fetched(person: Person, name: str) -> bytes:
    """The file as its download button gives it."""
    expect(card(person, name)).to_have_count(1, timeout=PATIENCE_MS)
    with person.page.expect_download() as download:
        card(person, name).get_by_role("link", name=f"Download {name}").click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def is_shown(image: Locator) -> None:
    expect(image).to_have_js_property("complete", True, timeout=PATIENCE_MS)
    expect(image).not_to_have_js_property("naturalWidth", 0)


class Line:
    """What a page sends goes no faster than this."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Network.enable")
        self.limit(SLOW)

    def ends(self) -> None:
        """From here on as fast as it can."""
        self.limit(NO_LIMIT)
        self._session.detach()

    def limit(self, upload_bytes_per_second: int) -> None:
        conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
        conditions["uploadThroughput"] = upload_bytes_per_second
        self._session.send("Network.emulateNetworkConditions", conditions)

    def awaits(self, part: float) -> None:
        """More than this part of the one pending file has gone out."""
        self._page.wait_for_function(
            "part => { const bar = document.querySelector('#pending progress'); return bar && bar.position > part; }",
            arg=part,
            timeout=PATIENCE_MS,
        )

    def stands_still_at(self, part: float) -> None:
        """Nothing goes on from there, so that there is time to look."""
        self.awaits(part)
        self.limit(STANDSTILL)


class Uploads:
    """What a page asks of /api/uploads/, and what it is told."""

    def __init__(self, page: Page) -> None:
        self.begun = 0
        self.last = ""
        self.sent_from: list[int] = []
        page.on("request", self._sent)
        page.on("requestfinished", self._finished)

    def _sent(self, request: Request) -> None:
        if request.method == "PATCH" and "/api/uploads/" in request.url:
            self.sent_from.append(int(request.headers["upload-offset"]))

    def _finished(self, request: Request) -> None:
        answer = request.response() if request.method == "POST" and "/api/uploads/" in request.url else None
        if answer is not None:
            self.begun += 1
            self.last = answer.headers.get("location", "").split("/")[-1]
