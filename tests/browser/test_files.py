"""Files between two people: pasted, dropped, chosen; interrupted and resumed; looked at, fetched, refused."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from PIL import Image
from playwright.sync_api import Browser, FileChooser, Locator, Page, Request, Route, WebSocketRoute, expect

from .conftest import Cast, Server, store_flags
from .people import Person, unique

LARGEST_BYTES = 4 << 20
PATIENCE_MS = 30_000
Maker = Callable[[str, bytes], Path]
SLOW, STANDSTILL, NO_LIMIT = 384 << 10, 1 << 10, -1
"""Bytes a second that leave a page."""

DROP = """([element, kind, files]) => {
  const transfer = new DataTransfer();
  for (const {name, type, base64} of files) {
    const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {type}));
  }
  const event = new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true});
  return !element.dispatchEvent(event);
}"""

COPY = """async base64 => {
  const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
  await navigator.clipboard.write([new ClipboardItem({'image/png': new Blob([bytes], {type: 'image/png'})})]);
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str]) -> Iterator[Server]:
    flags = [f"--upload-bytes={LARGEST_BYTES}", "--registrations-per-minute=0", *store_flags(mongo_urls)]
    server = Server(tmp_path_factory.mktemp("data"), *flags)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def couple(chromium: Browser, server: Server) -> Iterator[tuple[Person, Person]]:
    cast = Cast(chromium, server)
    yield cast.user("ann"), cast.user("bob")
    cast.leave()


@pytest.fixture
def two(couple: tuple[Person, Person]) -> Iterator[tuple[Person, Person]]:
    """Ann and Bob in a room of their own; at the end neither of their pages may have complained."""
    ann, bob = couple
    room = ann.makes_room(unique("Harbour "), bob)
    for person in couple:
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


# --- what they have, do and see


def picture(width: int, height: int, colour: str = "#bf1f58") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(data, "PNG")
    return data.getvalue()


def noise(length: int) -> bytes:
    """Always the same, and like nothing else."""
    return b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(length // 32))


@pytest.fixture
def a_file(tmp_path: Path) -> Maker:
    """Makes a file to attach."""

    def make(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


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


# --- the ways in


def test_a_picture_is_pasted_and_seen_by_both(two: tuple[Person, Person], artifacts: Path) -> None:
    ann, bob = two
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ann.page.bring_to_front()
    ann.page.evaluate(COPY, base64.b64encode(picture(1200, 800)).decode())
    ann.page.locator("#message-input").fill("the harbour")
    ann.page.locator("#message-input").press("Control+V")
    expect(ann.page.locator("#attachments .attachment-picture")).to_have_count(1)
    ann.page.locator("#message-input").press("Enter")
    for person in (ann, bob):
        expect(person.page.locator("#stored .media-image")).to_have_count(1, timeout=PATIENCE_MS)
        is_shown(person.page.locator("#stored .media-image img"))
        expect(person.message("the harbour")).to_have_count(1)
        box = person.page.locator("#stored .media-image").bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.03)
    has_sent(ann)
    expect(bob.page.locator(".room-last")).to_contain_text("[image] the harbour", timeout=PATIENCE_MS)
    expect(ann.page.locator("#upload-news")).to_contain_text("Sent: image ")
    bob.acts_on("the harbour", "Reply")
    expect(bob.page.locator("#context-text")).to_have_text("[image] the harbour")
    bob.says("lovely")
    expect(ann.hears("lovely").locator(".quote")).to_contain_text("[image] the harbour")
    ann.page.screenshot(path=artifacts / "files-picture.png")

    ann.acts_on("the harbour", "Delete")
    address = ann.page.locator("#stored .media-image img").get_attribute("src")
    ann.page.locator("#confirm-yes").click()
    expect(bob.page.locator("#stored .media-image")).to_have_count(0)
    expect(bob.page.locator("#stored .tombstone").first).to_have_text("message deleted")
    assert bob.context.request.get(f"{bob.url}{address}").status in (404, 410)


def test_a_file_is_dropped_and_fetched(two: tuple[Person, Person]) -> None:
    ann, bob = two
    data = noise(90_000)
    file = {"name": "chart 海图.bin", "type": "", "base64": base64.b64encode(data).decode()}
    conversation = ann.page.locator("#main").element_handle()
    ann.page.evaluate(DROP, [conversation, "dragenter", [file]])
    expect(ann.page.locator("#drop-sign")).to_be_visible()
    assert ann.page.evaluate(DROP, [conversation, "dragover", [file]]), "the page would not take it"
    assert ann.page.evaluate(DROP, [conversation, "drop", [file]])
    expect(ann.page.locator("#drop-sign")).to_be_hidden()
    expect(ann.page.locator("#attachments li")).to_have_count(1)
    ann.page.get_by_role("button", name="Send").click()
    assert sha256(fetched(bob, "chart 海图.bin")) == sha256(data)
    # Beside the conversation a dropped file is not opened in place of the page.
    side = ann.page.locator("#rooms-side").element_handle()
    assert ann.page.evaluate(DROP, [side, "drop", [file]])
    expect(ann.page.locator("#attachments")).to_be_hidden()


def test_several_are_chosen_and_come_in_order(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    files = [a_file(f"{name}.bin", noise(40_000) + name.encode()) for name in ("one", "two", "three", "four")]
    assert chooses(ann, *files).is_multiple()
    ann.page.get_by_role("button", name="Remove three.bin").click()
    expect(ann.page.locator("#attachments li")).to_have_count(3)
    ann.says("all of them")
    for name in ("one", "two", "four"):
        expect(card(bob, f"{name}.bin")).to_have_count(1, timeout=PATIENCE_MS)
    names = bob.page.locator("#stored .file-name").evaluate_all("all => all.map(one => one.title)")
    assert names == ["one.bin", "two.bin", "four.bin"]
    expect(card(bob, "one.bin").locator(".text")).to_have_text("all of them")
    assert sha256(fetched(bob, "four.bin")) == sha256(files[3].read_bytes())
    has_sent(ann)


# --- interrupted


def test_the_server_is_killed_in_the_middle_and_the_upload_resumes(
    two: tuple[Person, Person], a_file: Maker, server: Server
) -> None:
    ann, bob = two
    data = noise(LARGEST_BYTES)
    uploads, line = Uploads(ann.page), Line(ann.page)
    attaches(ann, a_file("tour.bin", data))
    line.awaits(0.3)
    server.kill()
    ann.is_cut_off()
    expect(ann.page.locator("#pending .upload-words")).to_contain_text("It goes on by itself.")
    ann.says("does it arrive?")
    server.start()
    line.ends()
    assert sha256(fetched(bob, "tour.bin")) == sha256(data)
    bob.hears("does it arrive?")
    has_sent(ann)
    assert uploads.begun == 1
    assert uploads.sent_from.count(0) == 1, "its beginning was sent again"
    expect(card(ann, "tour.bin")).to_have_count(1)


def test_a_reload_in_the_middle_goes_on_and_a_second_tab_keeps_out(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    data = noise(LARGEST_BYTES)
    line = Line(ann.page)
    attaches(ann, a_file("long.bin", data), caption="patience")
    line.stands_still_at(0.3)
    second = ann.new_tab()
    others = Uploads(second)
    second.goto(ann.page.url)
    expect(second.locator("#pending .file-name")).to_have_attribute("title", "long.bin")
    expect(second.locator("#connection-words")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    expect(second.locator("#pending .upload-words")).to_have_text("Another tab sends it.")

    uploads = Uploads(ann.page)
    ann.page.reload()
    line.ends()
    assert sha256(fetched(bob, "long.bin")) == sha256(data)
    has_sent(ann)
    expect(second.locator("#pending .message")).to_have_count(0)
    assert uploads.begun == others.begun == 0
    assert min(uploads.sent_from) >= 1 << 20, "its beginning was sent again"
    assert others.sent_from == []
    expect(bob.message("patience")).to_have_count(1)


def test_an_upload_that_the_server_has_forgotten_begins_anew(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    data = noise(2 << 20)
    uploads, line = Uploads(ann.page), Line(ann.page)
    attaches(ann, a_file("again.bin", data))
    line.stands_still_at(0.1)
    token = next(cookie["value"] for cookie in ann.context.cookies(ann.url) if cookie["name"] == "csrftoken")
    headers = {"X-CSRFToken": token, "Origin": ann.url, "Tus-Resumable": "1.0.0"}
    answer = ann.context.request.delete(f"{ann.url}/api/uploads/{uploads.last}", headers=headers)
    assert answer.status == 204
    line.ends()
    assert sha256(fetched(bob, "again.bin")) == sha256(data)
    has_sent(ann)
    assert uploads.begun == 2


def test_a_proxy_that_takes_less_at_once_is_given_less(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    uploads = Uploads(ann.page)

    def refuse(route: Route) -> None:
        if route.request.method == "PATCH" and uploads.sent_from in ([0], [0, 0]):
            route.fulfill(status=413, content_type="text/html", body="<h1>413 Request Entity Too Large</h1>")
        else:
            route.continue_()

    ann.page.route(re.compile("/api/uploads/"), refuse)
    data = noise(1 << 20)
    attaches(ann, a_file("wide.bin", data))
    assert sha256(fetched(bob, "wide.bin")) == sha256(data)
    has_sent(ann)
    quarter = 256 << 10
    assert uploads.sent_from == [0, 0, 0, quarter, 2 * quarter, 3 * quarter]


def test_what_is_attached_while_the_server_is_away_is_sent_in_its_place(
    two: tuple[Person, Person], a_file: Maker, server: Server
) -> None:
    ann, bob = two
    server.kill()
    ann.is_cut_off()
    ann.says("before it")
    attaches(ann, a_file("small.bin", noise(3_200)), caption="the file")
    ann.says("after it")
    expect(ann.page.locator("#pending .message")).to_have_count(3)
    expect(ann.page.locator("#pending .upload-words")).to_contain_text("Waiting to be sent")
    address = ann.page.url
    with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        ann.page.reload()
    server.start()
    ann.page.goto(address)
    bob.is_connected()
    bob.hears("after it")
    expect(card(bob, "small.bin")).to_have_count(1, timeout=PATIENCE_MS)
    assert bob.conversation() == ["before it", "the file", "after it"]
    assert sha256(fetched(bob, "small.bin")) == sha256(noise(3_200))
    has_sent(ann)


def test_a_file_waits_for_the_words_before_it(two: tuple[Person, Person], a_file: Maker) -> None:
    """Its message may not be made while it is not known whether they were stored."""
    ann, bob = two
    held: list[Callable[[], None]] = []

    def hold_back(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()

        def hand_on(text: str | bytes) -> None:
            if "look at this" in str(text):
                held.append(lambda: socket.send(text))
            else:
                socket.send(text)

        upstream.on_message(hand_on)

    room = room_of(ann)
    ann.page.close()
    ann.page = ann.new_tab()
    ann.page.route_web_socket(re.compile("/ws/chat/"), hold_back)
    ann.opens(room)
    uploads = Uploads(ann.page)
    ann.says("look at this")
    bob.hears("look at this")
    with ann.page.expect_response(lambda answer: answer.url.endswith("/api/uploads/")):
        attaches(ann, a_file("this.bin", noise(3_200)))
    # What would follow the answer at once is out before what the page asks for now.
    ann.page.evaluate("fetch('/healthz').then(answer => answer.text())")
    assert uploads.sent_from == []
    [hand_on] = held
    hand_on()
    expect(card(bob, "this.bin")).to_have_count(1, timeout=PATIENCE_MS)
    has_sent(ann)


def test_an_upload_is_cancelled(two: tuple[Person, Person], a_file: Maker, artifacts: Path) -> None:
    ann, bob = two
    uploads, line = Uploads(ann.page), Line(ann.page)
    attaches(ann, a_file("mistake.bin", noise(2 << 20)))
    line.stands_still_at(0.1)
    ann.page.screenshot(path=artifacts / "files-under-way.png")
    with ann.page.expect_request(lambda request: request.method == "DELETE" and "/api/uploads/" in request.url):
        ann.page.get_by_role("button", name="Cancel the upload of mistake.bin").click()
    has_sent(ann)
    line.ends()
    ann.says("sorry")
    bob.hears("sorry")
    expect(bob.page.locator("#stored .file-card")).to_have_count(0)
    assert uploads.last
    headers = {"Tus-Resumable": "1.0.0"}
    answer = ann.context.request.head(f"{ann.url}/api/uploads/{uploads.last}", headers=headers)
    assert answer.status in (404, 410)
    ann.page.reload()
    ann.is_connected()
    expect(ann.page.locator("#pending .message")).to_have_count(0)


def test_what_is_left_behind_is_sent_from_any_page(two: tuple[Person, Person], server: Server, a_file: Maker) -> None:
    ann, bob = two
    server.kill()
    ann.is_cut_off()
    ann.says("one for the road")
    attaches(ann, a_file("map.bin", noise(64_000)), caption="and the map")
    expect(ann.page.locator("#pending .message")).to_have_count(2)
    ann.page.close()
    server.start()
    ann.page = ann.new_tab()
    ann.goes_to("/")
    assert sha256(fetched(bob, "map.bin")) == sha256(noise(64_000))
    assert bob.conversation() == ["one for the road", "and the map"]
    ann.page.wait_for_function(
        "() => !Object.keys(localStorage).some(key => key.startsWith('heartlink:outbox'))", timeout=PATIENCE_MS
    )


# --- refused


def test_whoever_is_removed_in_the_middle_is_told_why(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    room = quote(room_of(bob), safe="")
    line = Line(bob.page)
    attaches(bob, a_file("late.bin", noise(2 << 20)))
    line.stands_still_at(0.1)
    ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}")
    expect(bob.page.get_by_role("region", name="You are no longer in this room")).to_be_visible()
    line.ends()
    told = "Not sent: late.bin. You do not hold 'chat.send' in this room."
    expect(bob.page.locator("#upload-news")).to_have_text(told, timeout=PATIENCE_MS)
    assert ann.asks("GET", f"/api/rooms/{room}/messages")["messages"] == []


def test_what_is_too_large_is_refused_before_it_is_sent(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, _ = two
    uploads = Uploads(ann.page)
    chooses(ann, a_file("film.bin", bytes(LARGEST_BYTES + (1 << 20))), a_file("note.bin", b"short"))
    expect(ann.page.locator(".toast")).to_contain_text("“film.bin” is too large: 5 MB.")
    expect(ann.page.locator(".toast .fix")).to_contain_text("Files may have up to 4 MB.")
    expect(ann.page.locator("#attachments li")).to_have_count(1)
    ann.page.get_by_role("button", name="Remove note.bin").click()
    expect(ann.page.locator("#attachments")).to_be_hidden()
    assert uploads.begun == 0


def test_what_the_server_refuses_says_why_and_can_be_discarded(two: tuple[Person, Person], a_file: Maker) -> None:
    """A picture of more pixels than anybody can look at; the page cannot know, the server does."""
    ann, bob = two
    bomb = bytearray(picture(8, 8))
    bomb[16:24] = (200_000).to_bytes(4, "big") * 2
    attaches(ann, a_file("bomb.png", bytes(bomb)))
    expect(ann.page.locator("#pending .message.failed .failure")).to_contain_text("pixels", timeout=PATIENCE_MS)
    expect(ann.page.locator("#upload-news")).to_contain_text("Not sent: bomb.png.")
    ann.page.get_by_role("button", name="Try again").click()
    expect(ann.page.locator("#pending .message.failed")).to_have_count(1, timeout=PATIENCE_MS)
    ann.page.get_by_role("button", name="Discard").click()
    has_sent(ann)
    ann.says("never mind")
    bob.hears("never mind")
    expect(bob.page.locator("#stored .message")).to_have_count(1)


# --- looked at


def test_the_gallery_is_walked_by_keys(two: tuple[Person, Person], a_file: Maker, artifacts: Path) -> None:
    ann, bob = two
    names = ["red.png", "green.png", "blue.png"]
    sizes = [(900, 600), (300, 900), (640, 640)]
    files = [a_file(name, picture(*size, name.removesuffix(".png"))) for name, size in zip(names, sizes, strict=True)]
    attaches(ann, *files, caption="three colours")
    expect(bob.page.locator("#stored .media-image")).to_have_count(3, timeout=PATIENCE_MS)
    page = bob.page
    gallery = page.get_by_role("dialog", name="Images")
    shown = gallery.locator(".gallery-picture")
    opener = page.get_by_role("button", name="Open the image blue.png")
    opener.press("Enter")
    expect(shown).to_have_attribute("alt", "blue.png")
    is_shown(shown)
    expect(gallery.get_by_role("button", name="Next image")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_attribute("alt", "green.png")
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_attribute("alt", "red.png")
    expect(gallery).to_contain_text("three colours")
    expect(gallery).to_contain_text("1 of 3")
    page.keyboard.press("ArrowRight")
    expect(shown).to_have_attribute("alt", "green.png")
    page.keyboard.press("+")
    expect(gallery.get_by_role("button", name="Zoom")).to_have_attribute("aria-pressed", "true")
    page.screenshot(path=artifacts / "files-gallery.png")
    page.keyboard.press("0")
    with page.expect_download() as download:
        gallery.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "green.png"
    bob.context.grant_permissions(["clipboard-read", "clipboard-write"])
    gallery.get_by_role("button", name="Copy the image").click()
    expect(gallery.get_by_role("status")).to_have_text("The image is copied.")
    types = page.evaluate("navigator.clipboard.read().then(items => items.flatMap(item => item.types))")
    assert "image/png" in types

    # Ann takes the picture back while Bob looks at it.
    green = ann.page.locator("#stored .message").filter(has=ann.page.get_by_role("button", name=re.compile("green")))
    green.hover()
    green.locator(".toolbar").get_by_role("button", name="Delete").click()
    ann.page.locator("#confirm-yes").click()
    expect(shown).to_have_attribute("alt", "blue.png")
    page.keyboard.press("Escape")
    expect(gallery).to_have_count(0)
    expect(opener).to_be_focused()


def test_the_gallery_reaches_beyond_what_is_loaded(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, _ = two
    room = room_of(ann)
    attaches(ann, a_file("early.png", picture(60, 40)))
    has_sent(ann)
    for number in range(60):
        ann.posts(room, f"words {number}")
    attaches(ann, a_file("late.png", picture(60, 40)))
    has_sent(ann)
    ann.opens(room)
    expect(ann.page.locator("#stored .media-image")).to_have_count(1)
    ann.page.get_by_role("button", name="Open the image late.png").click()
    shown = ann.page.locator(".gallery-picture")
    expect(shown).to_have_attribute("alt", "late.png")
    ann.page.get_by_role("button", name="Previous image").click()
    expect(shown).to_have_attribute("alt", "early.png", timeout=PATIENCE_MS)
    expect(ann.page.get_by_role("button", name="Previous image")).to_be_hidden()
    expect(ann.page.locator(".gallery-stage")).to_be_focused()


def test_a_picture_that_is_gone_leaves_a_quiet_place(two: tuple[Person, Person], a_file: Maker) -> None:
    ann, bob = two
    bob.page.route(re.compile("/files/"), lambda route: route.fulfill(status=404))
    attaches(ann, a_file("lost.png", picture(400, 300)))
    expect(bob.page.locator("#stored .media-missing")).to_have_text("The image is not here.", timeout=PATIENCE_MS)
    box = bob.page.locator("#stored .media-missing").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(4 / 3, abs=0.03)
