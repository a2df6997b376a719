"""Voice messages between two browsers with microphones that beep: recorded, sent, heard, known to be heard."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import Cast
from .people import Person, unique
from .test_pages import everywhere, inspect

# Every stream the page was given, so that a test sees when the microphone is let go.
WATCH_MICROPHONE = """
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.streams = [];
  navigator.mediaDevices.getUserMedia = async (wish) => {
    const stream = await ask(wish);
    window.streams.push(stream);
    return stream;
  };
"""
MICROPHONE_IS_FREE = "streams.flatMap(stream => stream.getTracks()).every(track => track.readyState === 'ended')"
AUDIO = "document.getElementById('voice-audio')"


def two(cast: Cast, **options: Any) -> tuple[Person, Person, str]:
    """Two people who may be heard, in one room, connected."""
    ann = cast.user(unique("ann"), display_name="Ann", permissions=["microphone"], **options)
    bob = cast.user(unique("bob"), display_name="Bob", permissions=["microphone"])
    room = ann.makes_room(unique("Room "), bob)
    ann.page.add_init_script(WATCH_MICROPHONE)
    ann.opens(room)
    bob.opens(room)
    return ann, bob, room


def becomes(page: Page, expression: str) -> None:
    """Wait until something is so in the page; its policy forbids scripts to wait for text as a condition."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


@contextmanager
def holding(page: Page) -> Iterator[tuple[float, float]]:
    """The microphone button held down by the mouse, until something was recorded; where it is."""
    box = page.locator("#voice-button").bounding_box()
    assert box
    place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*place)
    page.mouse.down()
    records(page)
    yield place
    page.mouse.up()


def records(page: Page, seconds: int = 1) -> None:
    """Wait until so much was recorded."""
    at_least = "|".join(f"0:{count:02}" for count in range(seconds, seconds + 8))
    expect(page.locator(".voice-bar .voice-clock")).to_have_text(re.compile(at_least), timeout=30_000)


def talks(person: Person, seconds: int = 1) -> None:
    """A voice message, talked freely."""
    before = person.page.locator("#stored .voice").count()
    person.page.locator("#voice-button").click()
    records(person.page, seconds)
    person.page.locator(".voice-send").click()
    expect(person.page.locator("#stored .voice")).to_have_count(before + 1, timeout=30_000)


def voices(person: Person, count: int = 1) -> Locator:
    """The voice messages that somebody has got."""
    found = person.page.locator("#stored .voice")
    expect(found).to_have_count(count, timeout=30_000)
    return found


def plays(person: Person, beyond_seconds: float = 0.2) -> None:
    """What plays now, or has just ended, was really played to beyond a place."""
    becomes(person.page, f"{AUDIO}.played.length && {AUDIO}.played.end({AUDIO}.played.length - 1) > {beyond_seconds}")


def slowly(person: Person) -> None:
    """Let what plays take its time, so that a busy machine comes to see it."""
    person.page.evaluate(f"{AUDIO}.playbackRate = 0.2")


def test_a_voice_message_is_recorded_heard_and_known_to_be_heard(cast: Cast) -> None:
    ann, bob, room = two(cast)
    with holding(ann.page):
        expect(bob.page.locator("#typing")).to_have_text("Ann is recording…")
        expect(ann.page.locator(".voice-bar")).to_have_attribute("data-state", "held")
        records(ann.page, 2)
    voice = voices(bob)
    expect(bob.page.locator("#typing")).to_be_empty()
    expect(voice.locator(".voice-dot")).to_be_visible()
    becomes(ann.page, MICROPHONE_IS_FREE)
    message = ann.asks("GET", f"/api/rooms/{room}/messages")["messages"][0]
    assert (message["message_type"], message["listened"], message["content"]) == ("voice", [], "")
    assert message["file"]["mime"] == "audio/webm" and message["file"]["size"] > 1000
    assert 1.2 < message["file"]["duration"] < 30
    assert len(message["file"]["waveform"]) == 64 and max(message["file"]["waveform"]) == 100
    assert ann.page.locator(".voice-heard").count() == 0

    voice.locator(".voice-wave").press("Home")
    slowly(bob)
    voice.get_by_role("button", name="Play the voice message").click()
    plays(bob, 0.2)
    expect(voice.locator(".voice-time")).to_have_text(re.compile(r"^-0:0\d$"))
    expect(voice.locator(".voice-dot")).to_have_count(0)
    expect(voices(ann).locator(".voice-heard")).to_have_text("heard by Bob")
    voice.get_by_role("button", name="Pause").click()
    becomes(bob.page, f"{AUDIO}.paused")

    for person in (ann, bob):
        person.page.reload()
        person.is_connected()
    expect(voices(ann).locator(".voice-heard")).to_have_text("heard by Bob")
    expect(voices(bob).locator(".voice-dot")).to_have_count(0)
    voices(bob).get_by_role("button", name="Play the voice message").click()
    plays(bob)


def test_one_moves_in_it_by_keyboard_and_by_pointer(cast: Cast) -> None:
    ann, bob, room = two(cast)
    talks(ann, 3)
    voices(bob)
    duration = bob.asks("GET", f"/api/rooms/{room}/messages")["messages"][0]["file"]["duration"]
    slider = bob.page.get_by_role("slider", name="Position in the voice message")
    box = slider.bounding_box()
    assert box

    def is_at(seconds: float) -> None:
        near = f"Math.abs({AUDIO}.currentTime - {seconds}) < 0.35 && !{AUDIO}.seeking"
        becomes(bob.page, near)
        assert slider.get_attribute("aria-valuenow") == str(int(bob.page.evaluate(f"{AUDIO}.currentTime") + 0.5))

    bob.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    is_at(duration / 2)
    slider.focus()
    bob.page.keyboard.press("Home")
    is_at(0)
    bob.page.keyboard.press("ArrowRight")
    is_at(2)
    bob.page.keyboard.press("End")
    is_at(duration)
    bob.page.keyboard.press("ArrowLeft")
    is_at(duration - 2)
    assert slider.get_attribute("aria-valuetext")
    bob.page.keyboard.press(" ")
    plays(bob, duration - 1.8)
    expect(bob.page.locator("#stored .voice-dot")).to_have_count(0)


def test_what_is_cancelled_is_sent_to_nobody(cast: Cast) -> None:
    ann, bob, room = two(cast)
    page, bar = ann.page, ann.page.locator(".voice-bar")
    with holding(page) as (x, y):
        page.mouse.move(x - 60, y)
        expect(page.locator(".voice-hint")).to_have_text("Slide left to cancel, up to lock")
        page.mouse.move(x - 140, y)
        expect(page.locator(".voice-hint")).to_have_text("Let go to cancel")
    expect(bar).to_have_count(0)
    expect(bob.page.locator("#typing")).to_be_empty()
    page.locator("#voice-button").click()
    records(page)
    page.keyboard.press("Escape")
    expect(bar).to_have_count(0)
    page.locator("#voice-button").click()
    records(page)
    page.get_by_role("button", name="Stop and listen").click()
    page.get_by_role("button", name="Cancel the recording").click()
    expect(bar).to_have_count(0)
    becomes(page, MICROPHONE_IS_FREE)
    assert page.evaluate("streams.length") == 3
    # Whatever was on its way would come before these words.
    ann.says("nothing but words")
    bob.hears("nothing but words")
    assert len(ann.asks("GET", f"/api/rooms/{room}/messages")["messages"]) == 1
    expect(ann.page.locator("#pending > *")).to_have_count(0)


def test_the_keyboard_records_listens_answers_and_sends(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    bob.says("say something")
    ann.hears("say something")
    ann.acts_on("say something", "Reply")
    page = ann.page
    page.locator("#voice-button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".voice-bar")).to_have_attribute("data-state", "free")
    records(page, 3)
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Stop and listen")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".voice-bar")).to_have_attribute("data-state", "review")
    page.locator(".voice-bar .voice-play").click()
    expect(page.locator(".voice-bar.playing")).to_be_visible()
    page.locator(".voice-send").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".voice-bar")).to_have_count(0)
    expect(page.locator("#message-input")).to_be_focused()
    voices(bob)
    expect(bob.page.locator(".message", has=bob.page.locator(".voice")).locator(".quote")).to_contain_text(
        "say something"
    )
    expect(page.locator("#composer-context")).to_be_hidden()


def test_one_plays_at_a_time_and_then_the_next_one_not_heard_yet(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    for _ in range(3):
        talks(ann)
    found = voices(bob, 3)
    expect(bob.page.locator(".voice-dot")).to_have_count(3)
    found.nth(1).locator(".voice-wave").press("Home")
    speed = found.nth(1).locator(".voice-speed")
    for words in ("1.5×", "2×"):
        speed.click()
        expect(speed).to_have_text(words)
    assert bob.page.evaluate(f"{AUDIO}.playbackRate") == 2
    expect(bob.page.locator(".voice-dot")).to_have_count(3)
    found.nth(1).locator(".voice-play").click()
    # The first one was passed over; the third plays on by itself, and then it is quiet.
    expect(found.nth(2).locator(".voice-dot")).to_have_count(0, timeout=30_000)
    expect(bob.page.locator(".voice.playing")).to_have_count(0, timeout=30_000)
    expect(bob.page.locator(".voice-dot")).to_have_count(1)
    for one, other in ((0, 2), (2, 0)):
        found.nth(one).locator(".voice-wave").press("Home")
        slowly(bob)
        found.nth(one).locator(".voice-play").click()
        expect(found.nth(one)).to_have_class(re.compile("playing"))
        expect(found.nth(other)).not_to_have_class(re.compile("playing"))
    bob.page.reload()
    bob.is_connected()
    voices(bob, 3).nth(0).locator(".voice-wave").press("Home")
    expect(bob.page.locator(".voice.current .voice-speed")).to_have_text("2×")


def test_recording_and_listening_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann, bob, _ = two(cast)
    talks(ann)
    voices(bob).locator(".voice-play").click()
    expect(voices(ann).locator(".voice-heard")).to_be_visible()
    talks(bob)
    voices(ann, 2)
    page = ann.page

    def look(state: str) -> Callable[[Page, int, str], None]:
        def look_at(page: Page, width: int, scheme: str) -> None:
            inspect(page, width)
            page.screenshot(path=artifacts / f"voice-{state}-{scheme}-{width}.png")

        return look_at

    page.locator("#voice-button").click()
    records(page)
    everywhere(ann, look("recording"))
    page.get_by_role("button", name="Stop and listen").click()
    expect(page.locator(".voice-bar")).to_have_attribute("data-state", "review")
    everywhere(ann, look("review"))
    page.keyboard.press("Escape")
    expect(page.locator(".voice-bar")).to_have_count(0)


def test_a_recording_waits_for_the_server(cast: Cast) -> None:
    ann, bob, room = two(cast)
    cast.server.kill()
    ann.is_cut_off()
    ann.page.locator("#voice-button").click()
    records(ann.page)
    ann.page.locator(".voice-send").click()
    pending = ann.page.locator("#pending .voice")
    expect(pending).to_have_count(1)
    pending.locator(".voice-play").click()
    plays(ann)
    cast.server.start()
    voice = voices(bob)
    ann.is_connected()
    expect(ann.page.locator("#pending > *")).to_have_count(0)
    voice.locator(".voice-play").click()
    expect(voices(ann).locator(".voice-heard")).to_have_text("heard by Bob")
    assert len(ann.asks("GET", f"/api/rooms/{room}/messages")["messages"]) == 1


def test_after_five_minutes_it_stops_and_waits_to_be_sent(cast: Cast) -> None:
    ann = cast.user(unique("ann"), permissions=["microphone"])
    room = ann.makes_room("Alone")
    ann.page.clock.install()
    ann.opens(room)
    ann.page.locator("#voice-button").click()
    records(ann.page)
    ann.page.clock.fast_forward(275_000)
    expect(ann.page.locator(".voice-clock")).to_have_text(re.compile(r"^0:2\d left$"))
    ann.page.clock.fast_forward(30_000)
    expect(ann.page.locator(".voice-bar")).to_have_attribute("data-state", "review")
    ann.page.locator(".voice-cancel").click()
    expect(ann.page.locator(".voice-bar")).to_have_count(0)


@pytest.mark.parametrize(
    ("error", "sentence", "fix"),
    [
        ("NotAllowedError", "This page may not use the microphone.", "Allow it"),
        ("NotFoundError", "No microphone was found.", "Connect one"),
        ("NotReadableError", "The microphone cannot be used now.", "Another program"),
    ],
)
def test_without_a_microphone_it_says_why_and_what_to_do(cast: Cast, error: str, sentence: str, fix: str) -> None:
    ann = cast.user(unique("ann"))
    room = ann.makes_room("Alone")
    refuse = f"() => Promise.reject(new DOMException('as browsers do', '{error}'))"
    ann.page.add_init_script(f"navigator.mediaDevices.getUserMedia = {refuse}")
    ann.opens(room)
    ann.page.locator("#voice-button").click()
    toast = ann.page.locator(".toast")
    expect(toast).to_contain_text(sentence)
    expect(toast.locator(".fix")).to_contain_text(fix)
    expect(ann.page.locator(".voice-bar")).to_have_count(0)
    expect(ann.page.locator("#voice-button")).to_have_attribute("aria-pressed", "false")
