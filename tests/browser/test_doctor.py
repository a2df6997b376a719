"""The doctor in a browser: every check green on a healthy server, and red when exactly that is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from .broken_proxy import BrokenProxy, Cut, Direction, without
from .conftest import Cast
from .people import Person, unique
from .test_pages import everywhere, inspect

STEPS = (
    "websocket",
    "http",
    "address",
    "identity",
    "upgrade",
    "greeting",
    "echo_text",
    "echo_chinese",
    "echo_large",
    "round_trip",
    "clock",
    "resume",
    "room",
)
WORKS = re.compile("Everything works|It works")
OVER_A_SOCKET = ("greeting", "echo_text", "echo_chinese", "echo_large", "round_trip", "resume")
DONE_MS = 90_000
SEEN_MS = 30_000
PATIENCE_SECONDS = 20
IMPATIENCE_SECONDS = 4
"""Where what is waited for never comes."""
REPLACED = "const own = WebSocket; window.WebSocket = function (url, names) { return new own(url, names); };"
KEPT = """window.WebSocket.prototype = own.prototype;
for (const name of ['CONNECTING', 'OPEN', 'CLOSING', 'CLOSED']) window.WebSocket[name] = own[name];"""


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """A machine may be slow: nothing here is about speed."""
    expect.set_options(timeout=SEEN_MS)
    yield
    expect.set_options(timeout=8_000)


def visits(person: Person, url: str = "", room: str = "", *, patience: int = PATIENCE_SECONDS) -> Page:
    """The doctor's page, when all its checks have run."""
    page = person.page
    page.set_default_timeout(SEEN_MS)
    page.goto(f"{url or person.url}/doctor/?patience={patience}&room={quote(room)}")
    expect(page.locator("#steps")).to_have_attribute("data-done", "true", timeout=DONE_MS)
    return page


def verdicts(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.eval_on_selector_all(
        ".step", "steps => Object.fromEntries(steps.map(step => [step.dataset.step, step.dataset.verdict]))"
    )
    return found


def finding(page: Page, step: str) -> str:
    """All that is said of a check."""
    return page.locator(f'[data-step="{step}"]').inner_text()


def calm(found: dict[str, str]) -> dict[str, str]:
    """The verdicts; that this machine is slow just now is nobody's fault."""
    return {**found, "round_trip": found["round_trip"].replace("warning", "ok")}


def assert_only(page: Page, step: str, verdict: str = "failed") -> None:
    """One check came out like this, and no other is worse than in order or not checked."""
    found = verdicts(page)
    assert tuple(found) == STEPS
    assert found[step] == verdict, (found, finding(page, step))
    assert set(calm({**found, step: "ok"}).values()) <= {"ok", "skipped"}, found
    expect(page.locator(f'[data-step="{step}"] .remedy')).not_to_be_empty()


def member(cast: Cast) -> tuple[Person, str]:
    ann = cast.user(unique("ann"))
    return ann, ann.makes_room("Tea room")


# --- healthy


def test_every_check_is_green_on_a_healthy_server(cast: Cast) -> None:
    ann, room = member(cast)
    page = visits(ann, room=room)
    assert calm(verdicts(page)) == dict.fromkeys(STEPS, "ok")
    expect(page.locator("#doctor-summary")).to_have_text(WORKS)
    expect(page.locator("#doctor-line")).to_have_attribute("data-verdict", re.compile("ok|warning"))
    assert "the worst of" in finding(page, "round_trip") and "61,440 bytes" in finding(page, "echo_large")
    routes = [route for route in ann.asks("GET", "/api/routes")["routes"] if route["kind"] == "socket"]
    expect(page.locator('[data-step="upgrade"] .finding-rows li[data-verdict="ok"]')).to_have_count(len(routes))
    expect(page.locator('[data-step="resume"] .finding-rows li')).to_have_count(2)
    page.locator("#idle-seconds").fill("2")
    page.locator("#idle-start").click()
    expect(page.locator("#idle-progress")).to_be_visible()
    expect(page.locator("#idle-result .finding")).to_have_attribute("data-verdict", "ok", timeout=DONE_MS)
    expect(page.locator("#idle-start")).to_be_visible()


def test_whoever_is_not_signed_in_is_checked_too_and_can_check_again(cast: Cast) -> None:
    page = visits(cast.visitor())
    skipped = ("identity", "room")
    assert calm(verdicts(page)) == {step: "skipped" if step in skipped else "ok" for step in STEPS}
    assert "Nobody is signed in" in finding(page, "upgrade") or "no room" in finding(page, "upgrade")
    page.route("**/healthz", lambda route: route.abort())
    page.locator("#run-again").click()
    expect(page.locator('[data-step="http"]')).to_have_attribute("data-verdict", "failed")
    expect(page.locator("#steps")).to_have_attribute("data-done", "true", timeout=DONE_MS)
    page.unroute("**/healthz")
    page.locator("#run-again").click()
    expect(page.locator('[data-step="http"]')).to_have_attribute("data-verdict", "ok")
    expect(page.locator("#doctor-summary")).to_have_text(WORKS, timeout=DONE_MS)


# --- each of them broken


def test_a_replaced_websocket_without_its_constants(cast: Cast) -> None:
    ann = cast.visitor()
    ann.context.add_init_script(REPLACED)
    page = visits(ann)
    assert_only(page, "websocket")
    assert "CONNECTING, OPEN, CLOSING, CLOSED" in finding(page, "websocket")
    assert "private window" in finding(page, "websocket")


def test_a_replaced_websocket_with_its_constants_is_worth_a_look(cast: Cast) -> None:
    ann = cast.visitor()
    ann.context.add_init_script(REPLACED + KEPT)
    page = visits(ann)
    assert_only(page, "websocket", "warning")
    expect(page.locator("#doctor-summary")).to_contain_text("It works, but something is worth a look.")
    page.get_by_role("link", name="Show it").click()
    expect(page.locator("#step-websocket")).to_be_in_viewport()


def test_no_websocket_at_all(cast: Cast) -> None:
    ann = cast.visitor()
    ann.context.add_init_script("delete window.WebSocket")
    page = visits(ann)
    assert verdicts(page)["websocket"] == "failed" and "no WebSocket" in finding(page, "websocket")
    ann.complaints.clear()


@pytest.mark.parametrize("answer", ["another server", "nothing", "a storage that is away"])
def test_http_answered_by_something_else(cast: Cast, answer: str) -> None:
    ann = cast.visitor()

    def act(route: Route) -> None:
        if answer == "nothing":
            route.abort()
        elif answer == "another server":
            route.fulfill(status=404, content_type="text/html", headers={"Server": "nginx/1.24"}, body="<h1>404</h1>")
        elif "readyz" in route.request.url:
            error = {
                "code": "store_unavailable",
                "message": "The storage cannot be reached at the moment.",
                "fix": "Wait.",
            }
            route.fulfill(status=503, json={"error": error})
        else:
            route.continue_()

    ann.page.route(re.compile("/(healthz|readyz)$"), act)
    page = visits(ann)
    words = {
        "another server": "nginx/1.24",
        "nothing": "does not answer",
        "a storage that is away": "cannot be reached",
    }
    assert_only(page, "http", "warning" if "storage" in answer else "failed")
    assert words[answer] in finding(page, "http")


def test_a_server_that_is_away_is_not_blamed_on_the_proxy(cast: Cast) -> None:
    ann = cast.visitor()
    page = visits(ann)
    ann.context.set_offline(True)
    page.get_by_role("button", name="Check again").click()
    expect(page.locator('[data-step="address"]')).to_have_attribute("data-verdict", "skipped", timeout=DONE_MS)
    expect(page.locator("#steps")).to_have_attribute("data-done", "true", timeout=DONE_MS)
    assert verdicts(page)["http"] == "failed"


def test_two_servers_at_one_address(cast: Cast) -> None:
    ann = cast.visitor()
    instances = iter("abcdefgh")
    ann.page.route("**/healthz", lambda route: route.fulfill(json={"status": "ok", "instance": next(instances)}))
    page = visits(ann)
    assert_only(page, "http")
    assert "Two servers" in finding(page, "http")


def test_an_api_that_is_not_handed_on(cast: Cast) -> None:
    ann = cast.visitor()
    ann.page.route("**/api/doctor/**", lambda route: route.fulfill(status=404, body="<h1>404</h1>"))
    page = visits(ann)
    assert verdicts(page)["address"] == "failed" and "/api/" in finding(page, "address")


def other_host(head: str) -> str:
    return re.sub(r"(?im)^Host:.*\r\n", "Host: 127.0.0.1:9\r\n", head)


def test_a_proxy_that_rewrites_the_host(cast: Cast) -> None:
    ann, _ = member(cast)
    with BrokenProxy(cast.server.port, head=other_host) as proxy:
        page = visits(ann, proxy.url)
        found = verdicts(page)
        assert (found["address"], found["upgrade"]) == ("failed", "failed")
        assert {found[step] for step in OVER_A_SOCKET} == {"skipped"}
        for words in (proxy.url, "127.0.0.1:9", f"--allowed-origins={proxy.url}"):
            assert words in finding(page, "address")
        assert f"Origin {proxy.url} and the Host 127.0.0.1:9" in finding(page, "upgrade")
    # Nobody's cookie is at stake for whoever is not signed in: only the address itself is wrong.
    with BrokenProxy(cast.server.port, head=other_host) as proxy:
        assert_only(visits(cast.visitor(), proxy.url), "address")


def test_a_proxy_that_ends_tls_without_saying_so(cast: Cast) -> None:
    ann = cast.visitor(ignore_https_errors=True)
    with BrokenProxy(cast.server.port, tls=True) as proxy:
        page = visits(ann, proxy.url)
        assert_only(page, "address", "warning")
        assert "--trusted-proxies" in finding(page, "address")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (without("Upgrade", "Connection"), "Upgrade and Connection away"),
        (without("Sec-WebSocket-Protocol"), "subprotocol away"),
    ],
    ids=["upgrade", "subprotocol"],
)
def test_a_proxy_that_takes_headers_away(cast: Cast, broken: Any, words: str) -> None:
    with BrokenProxy(cast.server.port, head=broken) as proxy:
        page = visits(cast.visitor(), proxy.url)
        found = verdicts(page)
        assert found["upgrade"] == "failed" and words in finding(page, "upgrade")
        assert {found[step] for step in OVER_A_SOCKET} == {"skipped"}
        assert found["http"] == found["address"] == found["clock"] == "ok"
        page.locator('[data-step="upgrade"] summary').click()
        nginx = page.locator('[data-step="upgrade"] pre').first
        expect(nginx).to_contain_text("proxy_set_header Host")
        assert nginx.locator("mark").all_inner_texts()[1].strip() == "proxy_set_header Upgrade $http_upgrade;"


def refuse(head: str) -> str:
    if "sec-websocket-key" in head.lower():
        raise Cut
    return head


def lost_answer(head: str) -> str:
    if head.startswith("HTTP/1.1 101"):
        raise Cut
    return head


def test_a_handshake_that_never_arrives(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, head=refuse) as proxy:
        page = visits(cast.visitor(), proxy.url)
        assert verdicts(page)["upgrade"] == "failed" and "does not reach the server" in finding(page, "upgrade")


def test_an_answer_to_the_handshake_that_gets_lost(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, answer=lost_answer) as proxy:
        page = visits(cast.visitor(), proxy.url)
        assert verdicts(page)["upgrade"] == "failed" and "does not come back" in finding(page, "upgrade")


def silent(path: str, direction: Direction, text: bytes) -> bytes | None:
    return None if direction == "down" and "/ws/doctor" in path else text


def test_a_proxy_that_holds_everything_back(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, frame=silent) as proxy:
        page = visits(cast.visitor(), proxy.url, patience=IMPATIENCE_SECONDS)
        assert verdicts(page)["greeting"] == "failed" and "buffering" in finding(page, "greeting")


def changed(path: str, direction: Direction, text: bytes) -> bytes:
    return text.replace(b"Hello", b"HELLO") if direction == "down" else text


def without_chinese(path: str, direction: Direction, text: bytes) -> bytes:
    return text.decode().encode("ascii", "replace") if direction == "up" else text


def only_small(path: str, direction: Direction, text: bytes) -> bytes:
    if direction == "up" and len(text) > 1024:
        raise Cut
    return text


def without_pongs(path: str, direction: Direction, text: bytes) -> bytes | None:
    return None if b'"pong"' in text else text


def resumed_elsewhere(path: str, direction: Direction, text: bytes) -> bytes:
    return text.replace(b'"resume":"changes","resume_reason":null', b'"resume":"full","resume_reason":"epoch_changed"')


@pytest.mark.parametrize(
    ("frame", "step", "words"),
    [
        (changed, "echo_text", "came back changed"),
        (without_chinese, "echo_chinese", "came back changed"),
        (only_small, "echo_large", "limits the size of frames"),
        (without_pongs, "round_trip", "did not come back"),
        (resumed_elsewhere, "resume", "epoch_changed"),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_a_proxy_that_meddles_with_frames(cast: Cast, frame: Any, step: str, words: str) -> None:
    with BrokenProxy(cast.server.port, frame=frame) as proxy:
        patience = IMPATIENCE_SECONDS if step == "round_trip" else PATIENCE_SECONDS
        page = visits(cast.visitor(), proxy.url, patience=patience)
        assert_only(page, step)
        assert words in finding(page, step)


def test_a_slow_way(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, delay_seconds=0.4) as proxy:
        page = visits(cast.visitor(), proxy.url)
        assert_only(page, "round_trip", "warning")
        assert "Slow" in finding(page, "round_trip")


@pytest.mark.parametrize(("ahead_seconds", "verdict"), [(-600, "failed"), (10, "warning")])
def test_clocks_that_differ(cast: Cast, ahead_seconds: int, verdict: str) -> None:
    ann = cast.visitor()
    ann.context.add_init_script(f"const now = Date.now.bind(Date); Date.now = () => now() + {ahead_seconds * 1000};")
    page = visits(ann)
    assert_only(page, "clock", verdict)
    direction = "ahead of" if ahead_seconds > 0 else "behind"
    assert f"{abs(ahead_seconds)} s {direction} the server" in finding(page, "clock")


def test_a_server_whose_clock_is_wrong(cast: Cast) -> None:
    ann = cast.visitor()

    def skew(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "server_time": "2020-01-01T00:00:00.000Z"})

    ann.page.route("**/api/doctor/whoami*", skew)
    page = visits(ann)
    assert_only(page, "clock")


def without_query(head: str) -> str:
    return re.sub(r"^(GET /ws/permissions/\S*?)\?\S* ", r"\1 ", head)


def test_a_proxy_that_drops_the_query(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, head=without_query) as proxy:
        page = visits(cast.visitor(), proxy.url)
        assert_only(page, "resume")
        assert "as if it were new" in finding(page, "resume")


def without_cookie(head: str) -> str:
    return head if head.startswith("GET /doctor/") else re.sub(r"(?im)^Cookie:.*\r\n", "", head)


def test_a_cookie_that_is_taken_away(cast: Cast) -> None:
    ann, _ = member(cast)
    with BrokenProxy(cast.server.port, head=without_cookie) as proxy:
        page = visits(ann, proxy.url)
        assert verdicts(page)["identity"] == "failed" and "sees no cookie" in finding(page, "identity")
        ann.complaints.clear()


def test_a_cookie_that_counts_no_more(cast: Cast) -> None:
    ann, _ = member(cast)
    ended: dict[str, Any] = {"code": "invalid_token", "message": "The token is not valid: its session was signed out."}
    credential = {"by": "cookie", "is_valid": False, "error": {**ended, "fix": "Sign in again to get a new token."}}

    def refuse_it(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "credential": credential})

    ann.page.route("**/api/doctor/whoami*", refuse_it)
    page = visits(ann)
    assert_only(page, "identity")
    assert "signed out" in finding(page, "identity")


def test_a_room_says_why_it_refuses(cast: Cast) -> None:
    _, room = member(cast)
    eve = cast.user(unique("eve"))
    page = visits(eve, room=room)
    assert_only(page, "room")
    assert f"Refused with 403: You are not a member of the room '{room}'." in finding(page, "room")
    page.get_by_role("textbox", name="Room id").fill("no such room")
    page.locator(".room-form button").click()
    expect(page.locator('[data-step="room"]')).to_contain_text("Refused with 404")


def test_a_proxy_that_cuts_quiet_connections(cast: Cast) -> None:
    with BrokenProxy(cast.server.port, cut_seconds=3) as proxy:
        page = visits(cast.visitor(), proxy.url)
        page.locator("#idle-seconds").fill("60")
        page.locator("#idle-start").click()
        result = page.locator("#idle-result .finding")
        expect(result).to_have_attribute("data-verdict", "failed", timeout=DONE_MS)
        expect(result).to_contain_text("It was cut after")
        page.locator("#idle-start").click()
        page.locator("#idle-cancel").click()
        expect(page.locator("#idle-result")).to_have_text("Given up.")


# --- when the page itself does not come up


def test_a_script_that_does_not_arrive_is_named(cast: Cast) -> None:
    ann = cast.visitor()
    ann.page.route("**/doctor_routes.js", lambda route: route.abort())
    ann.goes_to("/doctor/")
    expect(ann.page.locator("#doctor-stuck")).to_be_visible()
    expect(ann.page.locator("#doctor-stuck")).to_contain_text(".js")


def test_without_scripts_the_page_says_so(cast: Cast) -> None:
    page = cast.visitor(java_script_enabled=False).page
    page.goto(f"{cast.server.url}/doctor/")
    expect(page.locator("noscript .doctor-stuck")).to_contain_text("python -m heartlink.doctor")


# --- the report


def test_the_report_is_copied_and_holds_no_secret(cast: Cast) -> None:
    ann = cast.visitor(permissions=["clipboard-read", "clipboard-write"])
    ann.sign_up(unique("ann"))
    room = ann.makes_room("Tea")
    page = visits(ann, room=room)
    page.locator("#copy-report").click()
    expect(page.locator(".toast")).to_have_text("Copied.")
    report = page.evaluate("navigator.clipboard.readText()")
    for words in ("HeartLink ", "Mozilla/5.0", "[ok     ] The greeting", "/ws/doctor/", "signed in", ann.url):
        assert words in report
    for cookie in ann.context.cookies():
        assert str(cookie["value"]) not in report
    assert ann.name not in report


def test_where_nothing_may_be_copied_the_report_is_selected(cast: Cast) -> None:
    ann = cast.visitor()
    ann.context.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page = visits(ann)
    page.locator("#copy-report").click()
    expect(page.locator("#report")).to_be_visible()
    assert page.evaluate("getSelection().toString() || report.value.slice(report.selectionStart, report.selectionEnd)")


# --- the console


def frames(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(".frame .frame-head").all_inner_texts()]


def test_the_console_sends_and_shows_frames(cast: Cast, tmp_path: Path) -> None:
    ann, room = member(cast)
    page = visits(ann, room=room)
    page.locator("#console-route").select_option("/ws/doctor/")
    page.locator("#console-open").click()
    expect(page.locator("#frames")).to_contain_text("doctor_greeting")
    page.locator("#console-template").select_option(label="echo")
    page.locator("#console-frame").fill('{"type": "echo",\n "text": "你好 <b>", "ref": "mine"}')
    page.locator("#console-frame").press("Control+Enter")
    expect(page.locator("#frames")).to_contain_text("echo_response")
    page.locator("#console-frame").fill("no json")
    page.locator("#console-send").click()
    expect(page.locator("#frames")).to_contain_text("invalid_json")

    answer = page.locator('.frame[data-direction="in"]').filter(has_text="echo_response")
    answer.locator("summary").click()
    expect(answer.locator("pre")).to_contain_text('"text": "你好 <b>"')

    page.locator("#console-filter").fill("MINE echo")
    expect(page.locator(".frame")).to_have_count(2)
    page.locator("#console-filter").fill("")
    page.locator("#console-pause").click()
    page.locator("#console-frame").fill('{"type": "reauth", "token": "hunter2"}')
    page.locator("#console-send").click()
    expect(page.locator("#console-count")).to_contain_text("came while it was paused")
    before = page.locator(".frame").count()
    page.locator("#console-pause").click()
    expect(page.locator("#frames")).to_contain_text("invalid_token")
    assert page.locator(".frame").count() > before

    page.locator("#console-code").fill("3001")
    page.locator("#console-close").click()
    expect(page.locator("#frames")).to_contain_text("closed with 3001")
    with page.expect_download() as download:
        page.locator("#console-save").click()
    assert re.fullmatch(r"heartlink-frames-.*\.jsonl", download.value.suggested_filename)
    download.value.save_as(tmp_path / "frames.jsonl")
    text = (tmp_path / "frames.jsonl").read_text("utf-8")
    saved = [json.loads(line) for line in text.splitlines()]
    assert {"in", "out", "note"} == {line["direction"] for line in saved}
    assert any("你好" in line["text"] for line in saved) and "hunter2" not in text
    page.locator("#console-clear").click()
    expect(page.locator(".frame")).to_have_count(0)


def test_the_console_reaches_a_room_and_hears_why_another_refuses(cast: Cast) -> None:
    ann, room = member(cast)
    page = visits(ann)
    page.locator("#console-route").select_option("/ws/chat/{room_id}/")
    page.get_by_role("textbox", name="room_id").fill(room)
    page.locator("#console-open").click()
    expect(page.locator("#frames")).to_contain_text("connection_established")
    page.get_by_role("textbox", name="room_id").fill("elsewhere")
    page.locator("#console-open").click()
    expect(page.locator("#frames")).to_contain_text("404 not_found")
    names = page.locator("#console-template option").all_inner_texts()
    assert {"message", "typing", "ping"} <= set(names) and "echo" not in names


def test_the_console_keeps_the_last_thousand_frames(cast: Cast) -> None:
    page = visits(cast.visitor())
    log = page.evaluate(
        """async () => {
          const {FrameLog, KEPT_CHARS} = await import('/static/js/page/doctor_frames.js');
          const log = new FrameLog();
          for (let at = 0; at < 1500; at += 1) log.add('in', JSON.stringify({type: 'n' + at}), 1000 + at);
          const long = log.add('out', 'x'.repeat(KEPT_CHARS + 1), 9000);
          const found = log.found('n1499');
          return {length: log.length, forgotten: log.forgotten, found: found.length, first: log.found('')[0].type,
                  size: long.size, kept: long.text.length, isCut: long.isCut};
        }"""
    )
    assert log == {
        "length": 1000,
        "forgotten": 501,
        "found": 1,
        "first": "n501",
        "size": 16385,
        "kept": 16384,
        "isCut": True,
    }


# --- looks, and the way here


def test_the_doctor_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann = cast.visitor()
    with BrokenProxy(cast.server.port, frame=only_small) as proxy:
        page = visits(ann, proxy.url)
        page.locator("#console-open").click()
        expect(page.locator("#frames")).to_contain_text("doctor_greeting")
        page.locator(".frame summary").first.click()
        everywhere(ann, lambda page, width, scheme: looks(page, width, artifacts / f"doctor-{scheme}-{width}.png"))
    chinese = cast.visitor(locale="zh-CN", viewport={"width": 360, "height": 780})
    page = visits(chinese)
    expect(page.locator("#doctor-summary")).to_have_text(re.compile("一切正常|可以使用"))
    left = page.evaluate("document.querySelector('#steps').innerText.match(/[A-Za-z]{3,} [a-z]{3,} [a-z]{2,}/g)")
    assert left is None, left
    looks(page, 360, artifacts / "doctor-zh-360.png")


def looks(page: Page, width: int, path: Path) -> None:
    inspect(page, width)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, full_page=True)


def test_a_lost_connection_leads_here(cast: Cast) -> None:
    ann, room = member(cast)
    with BrokenProxy(cast.server.port) as proxy:
        ann.page.goto(f"{proxy.url}/chat/{room}/")
        ann.is_connected()
        proxy.close()
        why = ann.page.locator("#notice").get_by_role("link", name="Why?")
        expect(why).to_have_attribute("href", f"/doctor/?room={room}", timeout=DONE_MS)
    ann.goes_to("/")
    ann.page.locator("#account-button").click()
    ann.page.get_by_role("link", name="Check the connection").click()
    expect(ann.page.get_by_role("heading", name="Check the connection")).to_be_visible()
    expect(ann.page.locator("#steps")).to_have_attribute("data-done", "true", timeout=DONE_MS)
