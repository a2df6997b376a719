"""Files between two people: pasted, dropped, chosen; refused, looked at, fetched."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .attaching import (
    FLAGS,
    LARGEST_BYTES,
    PATIENCE_MS,
    Uploads,
    attaches,
    card,
    chooses,
    fetched,
    has_sent,
    is_shown,
    noise,
    picture,
    room_of,
    sha256,
)
from .conftest import Maker
from .people import Person

SERVER_FLAGS = FLAGS
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


# --- refused


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
