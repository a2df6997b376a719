"""Every page: no complaint of the browser, a name on every control, no scrolling sideways, readable; and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import Cast
from .people import Person, unique

WIDTHS = (360, 1440)
SCHEMES = ("light", "dark")

NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, textarea, select, [role=log], dialog[open]')]
  .filter(control => control.checkVisibility({visibilityProperty: true}) && control.tabIndex >= 0)
  .filter(control => {
    const labels = [...(control.labels ?? [])].map(label => label.innerText).join(' ');
    const by = control.getAttribute('aria-labelledby');
    const named = by ? document.getElementById(by)?.innerText : control.getAttribute('aria-label');
    return !(named || labels || control.innerText || '').trim();
  })
  .map(control => control.outerHTML.slice(0, 120))"""

# Contrast as WCAG counts it, of every piece of text against the nearest painted background.
FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const background = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest('script, svg, noscript, .sr-only, :disabled')) continue;
    if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (/^[\\p{Extended_Pictographic}\\ufe0f\\u200d\\s]+$/u.test(node.data)) continue;
    const style = getComputedStyle(element), below = background(element);
    const [a, b] = [luminance(over(rgba(style.color), below)), luminance(below)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.data.trim().slice(0, 40)}`);
  }
  return faint;
}"""

SETTLED = "() => document.getAnimations().every(one => !(one instanceof CSSTransition))"
BEATS_IN_SIGHT = """() => [...document.querySelectorAll('.beat')]
  .some(beat => beat.getBoundingClientRect().right < beat.parentElement.getBoundingClientRect().right - 30)"""
LANDMARKS = "() => [document.querySelectorAll('main').length, document.querySelectorAll('h1').length]"


def furnished(cast: Cast) -> tuple[Person, str]:
    """Somebody with a room in which a little was said."""
    ann = cast.user(unique("ann"), display_name="Ann Ågren")
    bob = cast.user(unique("bob"), display_name="Bob")
    mei = cast.user(unique("mei"), display_name="王美")
    room = ann.makes_room("Sunday hike 周日徒步", bob, mei)
    bob.posts(room, "Morning! Is the weather going to hold?")
    mei.posts(room, "天气预报说周日晴，最高 18 度 ☀️")
    ann.posts(room, "Perfect. I'll bring tea and the big thermos.")
    asked = ann.posts(room, f"@{bob.name} can you take the map? https://example.org/trails")
    bob.posts(room, "Of course. Eight at the north gate?", reply_to=asked["id"])
    mei.posts(room, "我带水果 🍎🍊，八点见！")
    last = bob.posts(room, "❤️")
    for person, emoji in ((ann, "👍"), (mei, "👍"), (mei, "🎉")):
        person.asks("PUT", f"/api/rooms/{room}/messages/{asked['id']}/reactions/{emoji}")
    bob.asks("POST", f"/api/rooms/{room}/read", {"up_to": last["id"]})
    ann.asks("POST", f"/api/rooms/{room}/read", {"up_to": last["id"]})
    kitchen = bob.makes_room("Kitchen", ann)
    bob.posts(kitchen, "Did you lock the door?")
    bob.makes_room(unique("Town square "), kind="public")
    bob.opens(room)
    return ann, room


def inspect(page: Page, width: int) -> None:
    """What must hold on every page."""
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert page.evaluate(FAINT) == []
    assert page.evaluate(LANDMARKS) == [1, 1]


def everywhere(person: Person, look: Callable[[Page, int, str], Any]) -> None:
    for scheme in SCHEMES:
        for width in WIDTHS:
            person.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            person.page.set_viewport_size({"width": width, "height": 780 if width < 800 else 900})
            person.page.wait_for_function(SETTLED)
            look(person.page, width, scheme)


def test_the_conversation_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann, room = furnished(cast)
    ann.opens(room)
    expect(ann.page.locator(".beat").first).to_be_attached()

    def look(page: Page, width: int, scheme: str) -> None:
        page.locator("#to-latest").evaluate("button => button.click()")
        page.wait_for_function(BEATS_IN_SIGHT)
        inspect(page, width)
        page.screenshot(path=artifacts / f"chat-{scheme}-{width}.png")

    everywhere(ann, look)
    page = ann.page
    page.get_by_role("button", name="Emoji", exact=True).click()
    expect(page.locator(".emoji-cell").first).to_be_visible()
    assert page.evaluate(NAMELESS) == []
    page.screenshot(path=artifacts / "emoji-dark-1440.png")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Room settings").click()
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#settings-dialog")).to_contain_text("Copy")
    assert page.evaluate(NAMELESS) == []
    page.screenshot(path=artifacts / "settings-dark-1440.png")


def test_the_drawers_on_a_narrow_screen(cast: Cast, artifacts: Path) -> None:
    ann, room = furnished(cast)
    page = ann.page
    page.set_viewport_size({"width": 360, "height": 780})
    ann.opens(room)
    expect(page.locator("#people-side")).not_to_be_in_viewport()
    page.locator("#open-people").click()
    expect(page.locator("#people-side")).to_be_in_viewport()
    expect(page.locator("#people-list .person")).to_have_count(3)
    page.wait_for_function(SETTLED)
    page.screenshot(path=artifacts / "people-light-360.png")
    page.keyboard.press("Escape")
    expect(page.locator("#open-people")).to_be_focused()
    page.locator("#open-rooms").click()
    expect(page.locator("#rooms-side")).to_be_in_viewport()
    expect(page.locator("#room-list a")).to_have_count(2)
    page.wait_for_function(SETTLED)
    page.screenshot(path=artifacts / "rooms-light-360.png")
    page.locator("#scrim").click(position={"x": 340, "y": 300})
    expect(page.locator("#rooms-side")).not_to_be_in_viewport()


def test_the_lobby_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann, _ = furnished(cast)
    ann.goes_to("/")
    expect(ann.page.locator("#room-list li")).to_have_count(2)
    expect(ann.page.locator("#public-list li").first).to_be_visible()

    def look(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"lobby-{scheme}-{width}.png")

    everywhere(ann, look)


@pytest.mark.parametrize("path", ["/", "/login?next=/chat/x/", "/register", "/no/such/page"])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_pages_of_a_visitor(cast: Cast, artifacts: Path, path: str, language: str) -> None:
    person = cast.visitor(locale=language, reduced_motion="reduce")
    person.goes_to(path)
    name = re.sub(r"\W+", "-", path.partition("?")[0]).strip("-") or "welcome"

    def look(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"{name}-{language[:2]}-{scheme}-{width}.png")

    everywhere(person, look)


def test_a_room_one_may_not_enter_says_why(cast: Cast) -> None:
    ann, eve = cast.user(unique("ann")), cast.user(unique("eve"))
    room = ann.makes_room("Closed")
    answer = eve.page.goto(f"{eve.url}/chat/{room}/")
    assert answer is not None
    assert answer.status == 403
    expect(eve.page.get_by_role("heading")).to_contain_text("You are not a member")
    inspect(eve.page, 1280)
    answer = eve.page.goto(f"{eve.url}/chat/nowhere/")
    assert answer is not None
    assert answer.status == 404
    expect(eve.page.get_by_role("heading")).to_contain_text("does not exist")

    square = ann.makes_room(unique("Square "), kind="public")
    answer = eve.page.goto(f"{eve.url}/chat/{square}/")
    assert answer is not None
    assert answer.status == 403
    eve.page.get_by_role("button", name="Join the room").click()
    eve.is_connected()


def test_signing_in_leads_back(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    room = ann.makes_room("Harbour")
    ann.goes_to("/")
    ann.page.get_by_role("button", name=re.compile("^Account")).click()
    ann.page.get_by_role("button", name="Sign out").click()
    expect(ann.page.get_by_role("link", name="Sign in").first).to_be_visible()
    ann.goes_to(f"/chat/{room}/")
    expect(ann.page).to_have_url(re.compile(r"/login\?next="))
    ann.page.get_by_label("User name").fill(ann.name)
    ann.page.get_by_label("Password").fill("wrong password")
    ann.page.get_by_role("button", name="Sign in").click()
    expect(ann.page.locator(".form-error")).to_contain_text("User name or password is wrong")
    ann.page.get_by_label("Password").fill("a long enough password")
    ann.page.get_by_role("button", name="Sign in").click()
    ann.is_connected()


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"])
def test_signing_in_leads_nowhere_else(cast: Cast, target: str) -> None:
    ann = cast.user(unique("ann"))
    ann.asks("POST", "/api/auth/logout", {})
    ann.page.goto(f"{ann.url}/login?next={target}")
    ann.page.get_by_label("User name").fill(ann.name)
    ann.page.get_by_label("Password").fill("a long enough password")
    ann.page.get_by_role("button", name="Sign in").click()
    expect(ann.page.locator("#rooms-empty")).to_be_visible()
    assert ann.page.url == ann.url + "/"


def test_a_changed_password_signs_the_other_device_out(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    room = ann.makes_room("Harbour")
    other = cast.visitor()
    other.asks("POST", "/api/auth/login", {"username": ann.name, "password": "a long enough password"})
    other.opens(room)
    ann.opens(room)
    ann.page.get_by_role("button", name=re.compile("^Account")).click()
    ann.page.get_by_role("button", name="Change password").click()
    ann.page.get_by_label("Present password").fill("a long enough password")
    ann.page.get_by_label("New password").fill("another long password")
    ann.page.locator("#password-form").get_by_role("button", name="Change password").click()
    expect(ann.page.locator(".toast")).to_contain_text("The password is changed")
    expect(other.page.locator("#connection-words")).to_have_text("Signed out")
    expect(other.page.locator("#notice").get_by_role("link", name="Sign in")).to_be_visible()
    ann.is_connected()
    ann.says("still here")
    ann.sees_status("still here", "stored")


def test_light_and_dark_are_kept(cast: Cast) -> None:
    person = cast.visitor(color_scheme="light")
    person.goes_to("/")
    light = person.page.evaluate("getComputedStyle(document.body).backgroundColor")
    person.page.get_by_role("button", name="Light or dark").click()
    dark = person.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    person.goes_to("/login")
    assert person.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_no_motion_for_those_who_want_none(cast: Cast) -> None:
    ann = cast.user(unique("ann"), reduced_motion="reduce")
    room = ann.makes_room("Still")
    ann.opens(room)
    ann.says("quiet")
    expect(ann.page.locator(".pulse.still .beat").first).to_be_attached()
    moving = ann.page.locator(".beat").first.evaluate(
        "beat => beat.getAnimations().some(one => one.effect.getKeyframes().some(frame => frame.transform))"
    )
    assert moving is False
