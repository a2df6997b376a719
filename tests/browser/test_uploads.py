"""Uploads that are interrupted: by the network, the server, the page, other people; and what they wait for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Route, WebSocketRoute, expect

from .attaching import (
    FLAGS,
    LARGEST_BYTES,
    PATIENCE_MS,
    Line,
    Uploads,
    attaches,
    card,
    fetched,
    has_sent,
    noise,
    room_of,
    sha256,
)
from .conftest import Maker, Server
from .people import Person

SERVER_FLAGS = FLAGS


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


def test_a_message_that_comes_before_the_answer_to_its_upload_removes_nothing(
    two: tuple[Person, Person], a_file: Maker
) -> None:
    ann, bob = two
    removals: list[str] = []
    ann.page.on("request", lambda request: request.method == "DELETE" and removals.append(request.url))
    files = [a_file(f"note-{number}.txt", b"one line\n") for number in range(8)]
    attaches(ann, *files)
    for file in files:
        expect(card(bob, file.name)).to_have_count(1, timeout=PATIENCE_MS)
    has_sent(ann)
    # Whatever the page has asked for by now is out before this.
    ann.page.evaluate("fetch('/healthz').then(answer => answer.text())")
    assert removals == []


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
