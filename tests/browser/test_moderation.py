"""Who looks after a room mutes, lifts and bans; whom it concerns sees it at once, with the reason."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from .conftest import Cast
from .people import Person, unique
from .test_pages import SETTLED, inspect


def chooses(person: Person, member: str, choice: str, reason: str = "") -> None:
    """One of the choices for a member, from the list of people."""
    person.page.get_by_role("button", name=f"Moderate {member}").click()
    dialog = person.page.get_by_role("dialog", name=member)
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=choice, exact=True).click()


def opens_restrictions(page: Page) -> None:
    page.get_by_role("button", name="Room settings").click()
    expect(page.locator("#restrictions li").first).to_be_visible()


def looks(page: Page, width: int, picture: Path) -> None:
    page.wait_for_function(SETTLED)
    inspect(page, width)
    page.screenshot(path=picture)


def test_muted_lifted_and_banned(cast: Cast, artifacts: Path) -> None:
    """The input closes and opens with the mute; the ban ends the visit, and the invite link no longer helps."""
    ann, bob = cast.user(unique("ann"), display_name="Ann"), cast.user(unique("bob"), display_name="Bob")
    room = ann.makes_room("Harbour")
    invite = ann.url + ann.asks("POST", f"/api/rooms/{room}/invites", {})["url"]
    bob.page.goto(invite)
    bob.page.get_by_role("button", name="Join as Bob").click()
    bob.is_connected()
    expect(bob.page.get_by_role("button", name=re.compile("^Moderate "))).to_have_count(0)
    ann.opens(room)
    ann.says("Welcome aboard")
    bob.hears("Welcome aboard")
    bob.writes("I was just about to say")

    chooses(ann, "Bob", "Mute for 10 minutes", "A quiet moment")
    words, closed = bob.page.locator("#message-input"), bob.page.locator("#composer-closed")
    expect(words).to_be_disabled()
    expect(closed).to_contain_text("You may read here, but not write.")
    expect(closed).to_contain_text("A quiet moment")
    ann.says("You may still listen")
    bob.hears("You may still listen")

    opens_restrictions(ann.page)
    line = ann.page.locator("#restrictions li")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("Bob")
    expect(line).to_contain_text(re.compile(r"muted · (10|9) min.* left"))
    looks(ann.page, 1280, artifacts / "restrictions-1280.png")
    ann.page.get_by_role("button", name="Lift the mute of Bob").click()
    expect(words).to_be_enabled()
    expect(words).to_have_value("I was just about to say")
    expect(line).to_have_text("Nobody is muted or banned.")
    ann.page.keyboard.press("Escape")
    words.press("Enter")
    ann.hears("I was just about to say")

    chooses(ann, "Bob", "Ban", "Enough for today")
    ann.page.locator("#confirm-yes").click()
    left = bob.page.locator(".left-room")
    expect(left.get_by_role("heading", name="You are no longer in this room")).to_be_visible()
    expect(left).to_contain_text("Enough for today")
    expect(bob.message("Welcome aboard")).to_be_hidden()
    expect(ann.page.locator("#people-list .person")).to_have_count(1)
    bob.page.goto(invite)
    bob.page.get_by_role("button", name="Join as Bob").click()
    expect(bob.page.locator("#main .form-error")).to_contain_text("You are banned from this room.")
    expect(bob.page).to_have_url(invite)

    opens_restrictions(ann.page)
    expect(line).to_contain_text("banned · until it is lifted")
    ann.page.get_by_role("button", name="Lift the ban of Bob").click()
    expect(line).to_have_text("Nobody is muted or banned.")
    bob.page.reload()
    bob.page.get_by_role("button", name="Join as Bob").click()
    bob.is_connected()


def test_the_choices_by_keyboard_and_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann, bob = cast.user(unique("ann"), display_name="Ann"), cast.user(unique("bob"), display_name="Bob")
    room = ann.makes_room("Harbour", bob)
    ann.opens(room)
    page, dialog = ann.page, ann.page.get_by_role("dialog", name="Bob")
    opener = page.get_by_role("button", name="Moderate Bob")
    opener.press("Enter")
    expect(dialog.get_by_role("button", name="Mute for 10 minutes")).to_be_focused()
    for width, height in ((1440, 900), (360, 780)):
        page.set_viewport_size({"width": width, "height": height})
        looks(page, width, artifacts / f"moderation-{width}.png")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_have_text("Bob is muted.")
    restrictions = ann.asks("GET", f"/api/rooms/{room}/restrictions")["restrictions"]
    assert [(one["user_id"], one["kind"]) for one in restrictions] == [(bob.id, "mute")]
