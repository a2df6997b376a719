"""The main job: two people talk, the server dies under them, and nothing acknowledged or written is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .conftest import Cast, Server, store_flags
from .people import PASSWORD, Person


@pytest.fixture
def server(tmp_path: Path, mongo_urls: Iterator[str]) -> Iterator[Server]:
    """A server of its own: it is killed."""
    server = Server(tmp_path / "data", *store_flags(mongo_urls))
    server.start()
    yield server
    server.stop()


def registers(person: Person, name: str, display_name: str) -> None:
    """Through the page, as people do."""
    page = person.page
    page.get_by_label("User name").fill(name)
    page.get_by_label("Display name (optional)").fill(display_name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create an account").click()
    person.name = name


def meet(cast: Cast) -> tuple[Person, Person]:
    """Ann makes an account and a room; Bob comes by the invite link."""
    ann, bob = cast.visitor(), cast.visitor()
    ann.goes_to("/")
    ann.page.get_by_role("link", name="Create an account").first.click()
    registers(ann, "ann", "Ann")
    ann.page.get_by_role("button", name="New room").click()
    ann.page.get_by_label("Name", exact=True).fill("Sunday hike")
    ann.page.get_by_role("button", name="Create", exact=True).click()
    ann.is_connected()
    ann.page.get_by_role("button", name="Room settings").click()
    ann.page.get_by_role("button", name="Make a link").click()
    expect(ann.page.get_by_label("Invite link")).to_have_value(re.compile("/invite/"))
    invite = ann.page.get_by_label("Invite link").input_value()
    ann.page.get_by_role("button", name="Close").click()

    bob.page.goto(invite)
    expect(bob.page.get_by_role("heading", name="Sunday hike")).to_be_visible()
    bob.page.get_by_role("link", name="Create an account and join").click()
    registers(bob, "bob", "Bob")
    bob.page.get_by_role("button", name="Join as Bob").click()
    bob.is_connected()
    expect(ann.page.locator("#people-list")).to_contain_text("Bob")
    return ann, bob


def test_two_people_talk_and_the_server_is_killed_under_them(cast: Cast, server: Server, artifacts: Path) -> None:
    ann, bob = meet(cast)

    ann.says("Morning! Shall we go?")
    bob.hears("Morning! Shall we go?")
    bob.says("Yes, at eight")
    ann.hears("Yes, at eight")

    bob.page.bring_to_front()
    bob.writes("I bri")
    expect(ann.page.locator("#typing")).to_contain_text("Bob is writing")
    bob.page.locator("#message-input").fill("I bring tea")
    bob.page.locator("#message-input").press("Enter")
    ann.hears("I bring tea")
    expect(ann.page.locator("#typing")).to_be_empty()

    ann.sees_status("Morning! Shall we go?", "read")
    ann.acts_on("Yes, at eight", "React with ❤️")
    expect(bob.message("Yes, at eight").locator(".reaction")).to_have_text(re.compile("❤️.*1"))

    bob.page.locator("#message-input").press("ArrowUp")
    bob.page.locator("#message-input").fill("I bring tea and cake")
    bob.page.locator("#message-input").press("Enter")
    ann.hears("I bring tea and cake")
    expect(ann.message("I bring tea and cake").locator(".meta")).to_contain_text("edited")

    for person in (ann, bob):
        person.page.evaluate("window.sameDocument = true")
    server.kill()
    ann.is_cut_off()
    bob.is_cut_off()
    ann.says("Written while the server was away")
    ann.sees_status("Written while the server was away", "queued")
    bob.says("I wrote as well")
    ann.page.screenshot(path=artifacts / "cut-off.png")

    server.start()
    ann.is_connected()
    bob.is_connected()
    bob.hears("Written while the server was away")
    ann.hears("I wrote as well")
    ann.says("Here we are again")
    bob.hears("Here we are again")
    ann.hears("Here we are again")
    expect(ann.page.locator("#pending .message")).to_have_count(0)
    expect(bob.page.locator("#pending .message")).to_have_count(0)
    assert ann.conversation() == bob.conversation()
    assert len(ann.conversation()) == 6
    ann.page.screenshot(path=artifacts / "together-again.png")
    for person in (ann, bob):
        assert person.page.evaluate("window.sameDocument"), "a page was loaded again"


def test_what_was_written_survives_a_reload_while_the_server_is_down(cast: Cast, server: Server) -> None:
    ann = cast.user("ann")
    bob = cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    ann.opens(room)
    bob.opens(room)
    address = ann.page.url
    server.kill()
    ann.is_cut_off()
    ann.says("Does this arrive?")
    ann.says("And this, after it?")
    ann.sees_status("And this, after it?", "queued")
    with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        ann.page.reload()
    server.start()
    ann.page.goto(address)
    ann.is_connected()
    bob.hears("And this, after it?")
    bob.hears("Does this arrive?")
    assert bob.conversation() == ["Does this arrive?", "And this, after it?"]
    expect(ann.page.locator("#pending .message")).to_have_count(0)
    assert ann.conversation() == bob.conversation()


def test_what_was_left_behind_is_delivered_from_any_page(cast: Cast, server: Server) -> None:
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour 港", bob)
    bob.opens(room)
    ann.opens(room)
    server.kill()
    ann.is_cut_off()
    ann.says("one for the road")
    ann.says("and another")
    ann.sees_status("and another", "queued")
    ann.page.close()
    server.start()
    ann.page = ann.new_tab()
    ann.goes_to("/")
    bob.hears("and another")
    assert bob.conversation() == ["one for the road", "and another"]
    expect(ann.page.locator(".room-last")).to_contain_text("and another", timeout=15_000)
    assert ann.page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('heartlink:outbox'))") == []


def test_a_stopped_server_says_goodbye_and_people_come_back_by_themselves(cast: Cast, server: Server) -> None:
    ann = cast.user("ann")
    room = ann.makes_room("Harbour")
    ann.opens(room)
    ann.says("before")
    ann.sees_status("before", "stored")
    server.stop()
    ann.is_cut_off()
    expect(ann.page.locator("#notice")).to_contain_text("comes back by itself")
    server.start()
    ann.is_connected()
    expect(ann.page.locator("#notice")).to_be_hidden()
    ann.says("after")
    ann.sees_status("after", "stored")


def test_a_message_lost_on_the_way_is_noticed_and_fetched(cast: Cast, server: Server) -> None:
    """Frames come in order and without holes: a hole makes the page come back for what it missed."""
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    swallowed: list[str] = []

    def swallow_one(socket: object) -> None:
        upstream = socket.connect_to_server()  # type: ignore[attr-defined]

        def hand_on(text: str) -> None:
            if "the lost one" in text and not swallowed:
                swallowed.append(text)
            else:
                socket.send(text)  # type: ignore[attr-defined]

        upstream.on_message(hand_on)

    bob.page.route_web_socket(re.compile("/ws/chat/"), swallow_one)
    bob.opens(room)
    ann.opens(room)
    ann.says("the first")
    bob.hears("the first")
    ann.says("the lost one")
    ann.sees_status("the lost one", "stored")
    assert bob.message("the lost one").count() == 0
    ann.says("the third")
    bob.hears("the third")
    bob.hears("the lost one")
    assert len(swallowed) == 1
    assert bob.conversation() == ["the first", "the lost one", "the third"]


def test_a_line_that_falls_silent_is_noticed(cast: Cast, server: Server) -> None:
    """Nothing is closed, nothing arrives: only the missing heartbeat tells."""
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    silent = {"now": False}

    def fall_silent(socket: object) -> None:
        upstream = socket.connect_to_server()  # type: ignore[attr-defined]
        upstream.on_message(lambda text: None if silent["now"] else socket.send(text))  # type: ignore[attr-defined]

    bob.page.route_web_socket(re.compile("/ws/chat/"), fall_silent)
    bob.opens(room)
    silent["now"] = True
    ann.posts(room, "can you hear me?")
    expect(bob.page.locator("#connection-words")).to_have_attribute("data-state", "waiting", timeout=20_000)
    silent["now"] = False
    bob.is_connected()
    bob.hears("can you hear me?")


def test_leaving_the_room_behind(cast: Cast, server: Server) -> None:
    """Removed, ended: the page says so and does not knock again."""
    ann, bob, cid = cast.user("ann"), cast.user("bob"), cast.user("cid")
    room = ann.makes_room("Harbour", bob, cid)
    bob.opens(room)
    cid.opens(room)
    ann.opens(room)
    ann.page.get_by_role("button", name="Moderate bob").click()
    ann.page.get_by_role("button", name="Remove", exact=True).click()
    ann.page.locator("#confirm-yes").click()
    expect(bob.page.locator("#connection-words")).to_have_attribute("data-state", "stopped")
    expect(bob.page.locator("#composer")).to_be_hidden()
    expect(bob.page.locator("#composer-closed")).not_to_be_empty()
    expect(cid.page.locator("#people-list .person")).to_have_count(2)
    ann.says("only cid hears this")
    cid.hears("only cid hears this")
    assert bob.message("only cid hears this").count() == 0

    ann.page.get_by_role("button", name="Room settings").click()
    ann.page.get_by_role("button", name="End the room").click()
    ann.page.locator("#confirm-yes").click()
    expect(cid.page.locator("#composer-closed")).to_contain_text("This room was ended")
    expect(cid.message("only cid hears this")).to_be_visible()
    cid.page.reload()
    expect(cid.page.locator("#composer-closed")).to_contain_text("This room was ended")
    cid.hears("only cid hears this")
    cid.goes_to("/")
    expect(cid.page.locator("#rooms-empty")).to_be_visible()
