"""The client library on a page of another origin: a token instead of the cookie, tickets for the sockets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page

from .conftest import Cast, Server, store_flags
from .people import PASSWORD


class OtherSite(BaseHTTPRequestHandler):
    """A page of somebody else: empty, and with nothing of ours."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title><link rel=icon href='data:,'>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path: Path, elsewhere: str, mongo_urls: Iterator[str]) -> Iterator[Server]:
    server = Server(tmp_path / "data", f"--allowed-origins={elsewhere}", *store_flags(mongo_urls))
    server.start()
    yield server
    server.stop()


OPEN = """async ({base, token, roomId, socketAuth}) => {
  const {HeartLink} = await import(`${base}/static/js/heartlink.js`);
  window.link = new HeartLink({base, getToken: () => token, socketAuth});
  window.room = await link.room(roomId);
  window.heard = [];
  window.states = [];
  room.on('message', message => heard.push(message.content));
  room.on('state', state => states.push(state.name));
  await room.open();
}"""


def until(page: Page, expression: str) -> None:
    page.wait_for_function(expression, timeout=10_000)


@pytest.mark.parametrize("way", ["ticket", "subprotocol"])
def test_another_page_talks_with_a_token(cast: Cast, server: Server, elsewhere: str, way: str) -> None:
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    visitor = cast.visitor()
    login = {"username": bob.name, "password": PASSWORD}
    token = visitor.asks("POST", "/api/auth/login", login)["token"]
    visitor.context.clear_cookies()
    visitor.page.goto(elsewhere)
    visitor.page.evaluate(OPEN, {"base": server.url, "token": token, "roomId": room, "socketAuth": way})
    until(visitor.page, "room.state.name === 'live'")
    ann.opens(room)
    ann.says("hello over there")
    until(visitor.page, "heard.includes('hello over there')")
    visitor.page.evaluate("room.send('hello back')")
    ann.hears("hello back")
    until(visitor.page, "room.outbox.entries.length === 0")

    server.kill()
    until(visitor.page, "room.state.name === 'waiting'")
    visitor.page.evaluate("room.send('written in the dark')")
    server.start()
    ann.hears("written in the dark")
    ann.says("there you are")
    until(visitor.page, "heard.includes('there you are')")
    assert visitor.page.evaluate("room.timeline.messages.map(message => message.content)") == [
        "hello over there",
        "hello back",
        "written in the dark",
        "there you are",
    ]


def test_another_page_sends_files(cast: Cast, server: Server, elsewhere: str) -> None:
    """Over tus, in pieces, across a restart; and in one request."""
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    visitor = cast.visitor()
    token = visitor.asks("POST", "/api/auth/login", {"username": bob.name, "password": PASSWORD})["token"]
    visitor.context.clear_cookies()
    visitor.page.goto(elsewhere)
    way = {"base": server.url, "token": token, "roomId": room, "socketAuth": "ticket"}
    visitor.page.evaluate(OPEN, way)
    until(visitor.page, "room.state.name === 'live'")
    visitor.page.evaluate(
        """() => {
          window.told = [];
          room.on('upload', ({sent_bytes, total_bytes}) => told.push(sent_bytes / total_bytes));
          const bytes = Uint8Array.from({length: 3 << 20}, (_, at) => (at * 7919) >> 5);
          window.sent = crypto.subtle.digest('SHA-256', bytes).then(hash => Array.from(new Uint8Array(hash)));
          room.sendFile(new File([bytes], 'from afar.bin'), {caption: 'as promised'});
        }"""
    )
    until(visitor.page, "told.some(part => part > 0)")
    server.kill()
    server.start()
    until(visitor.page, "room.outbox.entries.length === 0 && heard.includes('as promised')")
    [message] = ann.asks("GET", f"/api/rooms/{room}/messages")["messages"]
    assert (message["message_type"], message["file"]["name"]) == ("file", "from afar.bin")
    body = ann.context.request.get(server.url + message["file_url"]).body()
    assert list(hashlib.sha256(body).digest()) == visitor.page.evaluate("sent")
    assert visitor.page.evaluate("told.at(-1)") == 1

    post = "about => link.rest.postFile(room.id, new Blob(['a short note']), about)"
    about = {"name": "note.txt", "content": "in one request", "client_id": "once"}
    first, second = visitor.page.evaluate(post, about), visitor.page.evaluate(post, about)
    assert (first["id"], first["file"]["name"], first["content"]) == (second["id"], "note.txt", "in one request")
    assert second["duplicate"]


def test_a_refusal_at_the_door_is_explained(cast: Cast, server: Server, elsewhere: str) -> None:
    """A script sees only a closed socket; the library asks the address and stops when coming back is no use."""
    ann, eve = cast.user("ann"), cast.user("eve")
    room = ann.makes_room("Closed")
    token = eve.asks("POST", "/api/auth/login", {"username": eve.name, "password": PASSWORD})["token"]
    eve.page.goto(elsewhere)
    for room_id, code, status in ((room, "not_a_member", 403), ("nowhere", "not_found", 404)):
        eve.page.evaluate(OPEN, {"base": server.url, "token": token, "roomId": room_id, "socketAuth": "ticket"})
        until(eve.page, "room.state.name === 'stopped'")
        error = eve.page.evaluate(
            "(({code, status, message, fix}) => ({code, status, message, fix}))(room.state.error)"
        )
        assert (error["code"], error["status"]) == (code, status)
        assert error["message"]
        assert error["fix"]


WAIT = """async ({base, path}) => {
  const {ReconnectingSocket} = await import(`${base}/static/js/lib/socket.js`);
  window.told = window.waited = null;
  const url = base.replace('http', 'ws') + path;
  const socket = new ReconnectingSocket({address: async () => ({url, protocols: []}), explain: async () => null});
  socket.on('frame', frame => { if (frame.type === 'going_away') told = frame.reconnect_in_ms; });
  socket.on('state', state => { if (state.name === 'waiting') waited ??= state.retryAt - Date.now(); });
  window.socket = socket;
  socket.open();
}"""


def test_a_restart_is_waited_out_as_long_as_the_server_says(cast: Cast, server: Server, elsewhere: str) -> None:
    """What it says to one client alone is less than the library's own back-off would wait."""
    page = cast.user("ann").page
    page.goto(elsewhere)
    page.evaluate(WAIT, {"base": server.url, "path": "/ws/permissions/anonymous/"})
    until(page, "socket.state.name === 'open'")
    server.stop()
    until(page, "waited !== null")
    told, waited = page.evaluate("[told, waited]")
    assert 200 <= told <= 220
    assert told - 100 <= waited <= told


def test_a_page_that_was_not_allowed_reads_nothing(cast: Cast, server: Server) -> None:
    ann = cast.user("ann")
    token = ann.asks("POST", "/api/auth/login", {"username": ann.name, "password": PASSWORD})["token"]
    visitor = cast.visitor()
    visitor.page.goto("data:text/html,<title>nowhere</title>")
    outcome = visitor.page.evaluate(
        """async ({base, token}) => fetch(`${base}/api/me`, {headers: {Authorization: `Bearer ${token}`}})
             .then(() => 'read', () => 'refused')""",
        {"base": server.url, "token": token},
    )
    visitor.complaints.clear()
    assert outcome == "refused"


PURE = """async base => {
  const {Backoff, MemoryStorage, Outbox, Timeline} = await import(`${base}/static/js/heartlink.js`);
  const {Position} = await import(`${base}/static/js/lib/position.js`);
  const results = {};
  const message = (id, rev, content) => ({id, rev, content, is_read: false});

  const timeline = new Timeline();
  timeline.replace([message(5, 5, 'five'), message(6, 9, 'six, edited')], true);
  results.older = [timeline.apply(message(6, 6, 'six')), timeline.apply(message(3, 10, 'not loaded'))];
  results.newer = [timeline.apply(message(5, 11, 'five, edited')), timeline.apply(message(8, 8, 'eight'))];
  timeline.prepend([message(3, 10, 'three'), message(4, 4, 'four')], false);
  results.order = timeline.messages.map(one => one.content);
  results.trimmed = [timeline.trim(2), timeline.hasMore, timeline.oldestId];

  const position = new Position();
  const frame = (rev, more) => ({message: {rev}, ...more});
  position.begin(10, 'e');
  results.live = [position.take(frame(11)), position.take(frame(11)), position.take(frame(13)), position.query.since];
  results.duplicate = [position.take(frame(40, {duplicate: true})), position.query.since];
  results.greeted = position.greet({resume: 'changes', last_seq: 20, epoch: 'e'});
  results.replay = [position.take(frame(14)), position.take(frame(19)), position.take(frame(21))];
  results.held = [position.caughtUp(20).length, position.query.since, position.take(frame(21))];
  const full = (resume_reason, last_seq) => position.greet({resume: 'full', resume_reason, last_seq, epoch: 'f'});
  results.other = [full('epoch_changed', 3), position.query, full('too_far_behind', 9), full('ahead_of_server', 2)];
  position.read();
  const query = () => position.query;
  results.interrupted = [full('too_far_behind', 30), position.interrupt(), query(),
                         position.greet({resume: 'none', resume_reason: null, last_seq: 31, epoch: 'f'}),
                         position.read(), position.interrupt(), query()];

  const waits = random => { const backoff = new Backoff({firstMs: 500, mostMs: 5000, random: () => random});
                            return Array.from({length: 6}, () => backoff.next()); };
  results.waits = [waits(0), waits(1)];

  const storage = new MemoryStorage();
  const make = tabId => new Outbox({scope: 's', storage, tabId});
  const first = make('tab1');
  const one = first.add({content: 'one'}), two = first.add({content: 'two'});
  first.update(one.client_id, {state: 'sent'});
  const second = make('tab2');
  results.foreign = [second.entries.length, second.next];
  await second.adopt();
  results.adopted = second.entries.map(entry => [entry.content, entry.state, entry.owner]);
  results.next = second.next.client_id === one.client_id;
  second.remove(one.client_id);
  results.left = make('tab3').entries.map(entry => entry.content);

  const shared = new Outbox({scope: 'l', storage: localStorage, tabId: 'tab1'});
  const tell = id => dispatchEvent(new StorageEvent('storage', {key: `heartlink:outbox:l:${id}`, newValue:
    JSON.stringify({client_id: id, content: id, created_at: 1, order: 0, owner: 'tab9', state: 'sent'})}));
  const heard = () => shared.entries.map(entry => entry.content);
  tell('a');
  results.told = heard();
  shared.remove('a');
  shared.remove('b');
  tell('a');
  tell('b');
  results.toldTooLate = heard();
  return results;
}"""


def test_the_pure_parts(cast: Cast, server: Server, elsewhere: str) -> None:
    visitor = cast.visitor()
    visitor.page.goto(elsewhere)
    results = visitor.page.evaluate(PURE, server.url)
    assert results == {
        "older": ["ignored", "ignored"],
        "newer": ["changed", "added"],
        "order": ["three", "four", "five, edited", "six, edited", "eight"],
        "trimmed": [[3, 4, 5], True, 6],
        "live": ["apply", "apply", "gap", 11],
        "duplicate": ["apply", 11],
        "greeted": "replay",
        "replay": ["apply", "apply", "hold"],
        "held": [1, 20, "apply"],
        "other": ["other_history", {"since": 3, "epoch": "f"}, "reload", "other_history"],
        "interrupted": ["reload", None, {}, "reload", None, None, {"since": 31, "epoch": "f"}],
        "waits": [[250, 500, 1000, 2000, 2500, 2500], [500, 1000, 2000, 4000, 5000, 5000]],
        "foreign": [2, None],
        "adopted": [["one", "queued", "tab2"], ["two", "queued", "tab2"]],
        "next": True,
        "left": ["two"],
        "told": ["a"],
        "toldTooLate": [],
    }
