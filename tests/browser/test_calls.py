"""Calls between two real browsers with made-up cameras: pictures that move, and whatever ends them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Locator, expect

from .conftest import ARGUMENTS, Cast, Server, chromium_path, store_flags
from .people import Person

FAKES = (
    "--use-fake-device-for-media-stream=fps=15",
    "--use-fake-ui-for-media-stream",
    # Otherwise each of the two would have to find the other's name by multicast.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
PATIENCE_MS = 30_000
REMEMBER_PEERS = """
    globalThis.peers = [];
    const Real = RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Real {
        constructor(...more) { super(...more); globalThis.peers.push(this); }
    };
"""
RECEIVED = """async () => {
    const found = { frames: 0, decoded: 0, packets: 0 };
    for (const row of (await globalThis.peers.at(-1).getStats()).values()) {
        if (row.type !== "inbound-rtp") continue;
        if (row.kind === "audio") found.packets += row.packetsReceived;
        else { found.frames += row.framesReceived; found.decoded += row.framesDecoded; }
    }
    return found;
}"""
MORE_THAN = f"""async (before) => {{
    const now = await ({RECEIVED})();
    const video = document.querySelector(".call-remote");
    return now.frames > before.frames + 5 && now.decoded > before.decoded + 5 && now.packets > before.packets + 5
        && video.currentTime > before.time + 0.2 && video.videoWidth > 100;
}}"""

# A crash says nothing to anybody, and asks nobody: nor does such a page when it is loaded again.
NO_GOODBYE = """
    const listen = globalThis.addEventListener;
    globalThis.addEventListener = (name, ...more) =>
        ["pagehide", "beforeunload"].includes(name) || listen.call(globalThis, name, ...more);
"""
WAY = "/a=ice-ufrag:(\\S+)/.exec(globalThis.peers.at(-1).currentLocalDescription.sdp)[1]"


@pytest.fixture(scope="module")
def chromium(chromium: Browser) -> Iterator[Browser]:
    browser = chromium.browser_type.launch(executable_path=chromium_path(), args=[*ARGUMENTS, *FAKES])
    yield browser
    browser.close()


def serving(folder: Path, mongo_urls: Iterator[str], *flags: str) -> Iterator[Server]:
    limits = ("--messages-per-second=0", "--registrations-per-minute=0")
    server = Server(folder, *limits, *flags, *store_flags(mongo_urls))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str]) -> Iterator[Server]:
    yield from serving(tmp_path_factory.mktemp("data"), mongo_urls, "--call-resume-seconds=5")


@pytest.fixture
def impatient(tmp_path: Path, mongo_urls: Iterator[str]) -> Iterator[Server]:
    """A server on which nothing rings for long."""
    yield from serving(tmp_path, mongo_urls, "--call-ring-seconds=4")


class Two:
    """Ann and Bob in one room, each with a page of it."""

    def __init__(self, cast: Cast, kind: str = "private", **options: Any) -> None:
        self.ann = caller(cast, "ann", **options)
        self.bob = caller(cast, "bob", **options)
        self.room = self.ann.makes_room("Tea", self.bob, kind=kind)
        for person in (self.ann, self.bob):
            person.opens(self.room)

    def __iter__(self) -> Iterator[Person]:
        return iter((self.ann, self.bob))

    def speak(self, media: str = "video", answer: str = "Accept") -> None:
        """Ann calls, Bob answers, and they are connected."""
        button(self.ann, f"#call-{media}").click()
        rings(self.bob)
        self.bob.page.locator("#ring").get_by_role("button", name=answer, exact=True).click()
        for person in self:
            is_in(person, "connected")


def caller(cast: Cast, name: str, script: str = "", **options: Any) -> Person:
    person = cast.user(f"{name}{len(cast.people)}{cast.server.port}{next(_numbers)}", display_name=name, **options)
    person.context.add_init_script(REMEMBER_PEERS + script)
    return person


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()


def button(person: Person, selector: str) -> Locator:
    found = person.page.locator(selector)
    expect(found).to_be_enabled(timeout=PATIENCE_MS)
    return found


def presses(person: Person, name: str) -> None:
    person.page.locator("#call").get_by_role("button", name=name, exact=True).click()


def rings(person: Person) -> Locator:
    ring = person.page.locator("#ring")
    expect(ring).to_be_visible(timeout=PATIENCE_MS)
    return ring


def is_in(person: Person, state: str) -> None:
    expect(person.page.locator("#call")).to_have_attribute("data-state", state, timeout=PATIENCE_MS)


def is_free(person: Person) -> None:
    """The call has left the screen by itself, and another one may begin."""
    expect(person.page.locator("#call")).to_be_hidden(timeout=PATIENCE_MS)
    button(person, "#call-video")


def sees_line(person: Person, words: str) -> Locator:
    line = person.page.locator(".call-line").filter(has_text=re.compile(words))
    expect(line).to_have_count(1, timeout=PATIENCE_MS)
    return line


def sees_motion(person: Person) -> None:
    """The picture of the other one advances, and its statistics count what comes."""
    before = person.page.evaluate(RECEIVED)
    before["time"] = person.page.evaluate("document.querySelector('.call-remote').currentTime")
    person.page.wait_for_function(MORE_THAN, arg=before, timeout=PATIENCE_MS)


def sees_shape_of(person: Person, other: Person) -> None:
    """What arrives has the shape of what the other one sends, whatever it is scaled to on the way."""
    shape = "(name) => { const video = document.querySelector(name); return video.videoWidth / video.videoHeight || 0 }"
    for _ in range(PATIENCE_MS // 200):
        sent = other.page.evaluate(shape, ".call-local")
        got = person.page.evaluate(shape, ".call-remote")
        if sent and abs(sent - got) < 0.05:
            return
        person.page.wait_for_timeout(200)
    raise AssertionError(f"{sent} is sent, and {got} arrives")


def sees_sign(person: Person, words: str) -> None:
    expect(person.page.locator(".call-signs")).to_contain_text(words, timeout=PATIENCE_MS)


def test_a_video_call_moves_on_both_sides_and_leaves_its_line(cast: Cast) -> None:
    two = Two(cast)
    two.speak()
    for person in two:
        sees_motion(person)
        expect(person.page.locator(".call-time")).to_contain_text(re.compile(r"^\d+:\d\d$"))
    presses(two.bob, "Mute")
    sees_sign(two.ann, "bob is muted")
    presses(two.bob, "Turn the camera off")
    sees_sign(two.ann, "bob's camera is off")
    expect(two.ann.page.locator("#call")).to_have_attribute("data-remote", "none")
    presses(two.bob, "Turn the camera on")
    presses(two.bob, "Unmute")
    expect(two.ann.page.locator(".call-signs")).to_have_text("")
    sees_motion(two.ann)
    # The network changes for both at once: two offers cross, and each finds a new way.
    ways = [person.page.evaluate(WAY) for person in two]
    for person in two:
        person.page.evaluate("dispatchEvent(new Event('online'))")
    for person, way in zip(two, ways, strict=True):
        person.page.wait_for_function(f"(before) => {WAY} !== before", arg=way, timeout=PATIENCE_MS)
        sees_motion(person)
    # Whoever speaks can write.
    presses(two.ann, "Make the call smaller")
    two.ann.says("look here")
    two.bob.hears("look here")
    presses(two.bob, "Hang up")
    for person in two:
        sees_line(person, r"^Video call\d+:\d\d$")
        is_free(person)


def test_the_screen_takes_the_place_of_the_camera_and_gives_it_back(cast: Cast) -> None:
    two = Two(cast)
    two.speak()
    settings = "globalThis.peers.at(-1).getSenders().find(({track}) => track?.kind === 'video').track.getSettings()"
    surface = f"{settings}.displaySurface"
    assert two.ann.page.evaluate(surface) is None
    presses(two.ann, "Share the screen")
    sees_sign(two.bob, "ann shares the screen")
    assert two.ann.page.evaluate(surface)
    sees_shape_of(two.bob, two.ann)
    sees_motion(two.ann)
    presses(two.ann, "Stop sharing the screen")
    expect(two.bob.page.locator(".call-signs")).to_have_text("")
    assert two.ann.page.evaluate(surface) is None
    sees_motion(two.bob)
    presses(two.ann, "Hang up")
    is_free(two.bob)


def test_a_declined_call_says_so(cast: Cast) -> None:
    two = Two(cast, viewport={"width": 360, "height": 740})
    button(two.ann, "#call-choose").click()
    two.ann.page.get_by_role("button", name="Audio call", exact=True).click()
    rings(two.bob).get_by_role("button", name="Decline").click()
    expect(two.ann.page.locator(".call-words")).to_have_text("bob declined", timeout=PATIENCE_MS)
    sees_line(two.ann, "^Audio call, declined$")
    sees_line(two.bob, "^Declined audio call$")
    expect(two.bob.page.locator("#ring")).to_be_hidden()


def test_an_unanswered_call_is_missed_and_can_be_called_back(chromium: Browser, impatient: Server) -> None:
    cast = Cast(chromium, impatient)
    try:
        two = Two(cast)
        button(two.ann, "#call-video").click()
        rings(two.bob)
        expect(two.ann.page.locator(".call-words")).to_have_text("No answer", timeout=PATIENCE_MS)
        sees_line(two.ann, "^Video call, no answer$")
        is_free(two.ann)
        sees_line(two.bob, "^Missed video call").get_by_role("button", name="Call back").click()
        rings(two.ann)
    finally:
        cast.leave()


def test_both_call_at_once_and_a_closed_tab_has_hung_up(cast: Cast) -> None:
    two = Two(cast)
    button(two.ann, "#call-video").click()
    rings(two.bob)
    button(two.bob, "#call-video").click()
    for person in two:
        is_in(person, "connected")
        sees_motion(person)
    two.bob.page.close(run_before_unload=False)
    sees_line(two.ann, r"^Video call\d+:\d\d$")
    is_free(two.ann)


def test_a_killed_tab_ends_the_call_for_the_other(cast: Cast) -> None:
    two = Two(cast)
    two.speak()
    sees_motion(two.ann)
    with pytest.raises(Error):
        two.bob.page.goto("chrome://crash", timeout=PATIENCE_MS)
    is_in(two.ann, "reconnecting")
    expect(two.ann.page.locator(".call-words")).to_contain_text("Reconnecting")
    is_in(two.ann, "over")
    expect(two.ann.page.locator(".call-words")).to_contain_text("The connection was lost")
    sees_line(two.ann, r"^Video call\d+:\d\d$")
    is_free(two.ann)


def test_a_tab_that_crashed_and_is_loaded_again_is_back_in_the_call(cast: Cast) -> None:
    two = Two(cast, script=NO_GOODBYE)
    two.speak()
    for person in reversed(list(two)):
        person.page.reload()
        is_in(person, "connected")
    presses(two.ann, "Turn the camera on")
    presses(two.bob, "Turn the camera on")
    for person in two:
        sees_motion(person)
    presses(two.bob, "Hang up")
    for person in two:
        sees_line(person, r"^Video call\d+:\d\d$")
        is_free(person)


def test_a_revoked_right_ends_the_call(cast: Cast) -> None:
    two = Two(cast, kind="group")
    two.speak()
    two.ann.asks("PUT", f"/api/rooms/{two.room}/bans/{two.bob.id}", {})
    expect(two.ann.page.locator(".call-words")).to_contain_text("may no longer be in this room", timeout=PATIENCE_MS)
    expect(two.bob.page.locator("#left-title")).to_be_visible(timeout=PATIENCE_MS)
    expect(two.bob.page.locator("#call")).to_be_hidden(timeout=PATIENCE_MS)
    closed = "() => globalThis.peers.every(peer => peer.connectionState === 'closed')"
    for person in two:
        person.page.wait_for_function(closed, timeout=PATIENCE_MS)
    sees_line(two.ann, r"^Video call\d+:\d\d$")


def test_a_call_is_seen_in_the_lobby_and_answered_from_there(cast: Cast) -> None:
    two = Two(cast)
    two.bob.goes_to("/")
    expect(two.bob.page.locator("#room-list li")).to_have_count(1, timeout=PATIENCE_MS)
    button(two.ann, "#call-audio").click()
    ring = two.bob.page.locator(".ring.elsewhere")
    expect(ring.locator("b")).to_have_text("ann calls", timeout=PATIENCE_MS)
    ring.get_by_role("button", name="Decline").click()
    expect(ring).to_have_count(0)
    expect(two.ann.page.locator(".call-words")).to_have_text("bob declined", timeout=PATIENCE_MS)
    is_free(two.ann)
    button(two.ann, "#call-video").click()
    expect(ring).to_be_visible(timeout=PATIENCE_MS)
    ring.get_by_role("link", name="Accept").click()
    for person in two:
        is_in(person, "connected")
        sees_motion(person)
    assert "call=" not in two.bob.page.url
    presses(two.ann, "Hang up")
    is_free(two.bob)


def test_without_a_microphone_one_still_sees_and_hears(cast: Cast) -> None:
    two = Two(cast)
    two.bob.page.evaluate(
        "void (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')))"
    )
    two.speak()
    problem = two.bob.page.locator(".call-problem")
    expect(problem).to_contain_text("The browser does not allow the microphone.")
    expect(problem).to_contain_text("address bar")
    sees_motion(two.bob)
    sees_sign(two.ann, "bob is muted")
    presses(two.bob, "Hang up")
    is_free(two.ann)


def test_a_call_goes_on_through_a_killed_server(cast: Cast) -> None:
    two = Two(cast)
    two.speak()
    cast.server.kill()
    for person in two:
        person.is_cut_off()
        sees_motion(person)
    cast.server.start()
    for person in two:
        person.is_connected()
    # Back in it: what is said over the server arrives again.
    presses(two.bob, "Mute")
    sees_sign(two.ann, "bob is muted")
    presses(two.ann, "Hang up")
    for person in two:
        sees_line(person, r"^Video call\d+:\d\d$")
        is_free(person)
