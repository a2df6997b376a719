"""The permission client on a page of another origin: deltas, resuming across reload and kill, a hole, questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Cast, Server, store_flags
from .people import PASSWORD, Person
from .test_library import elsewhere, until
from .test_permissions import administrator, grants

__all__ = ["elsewhere"]

OPEN = """async ({base, token, socketAuth}) => {
  const {HeartLink} = await import(`${base}/static/js/heartlink.js`);
  window.link = new HeartLink({base, getToken: () => token, socketAuth});
  window.rights = await link.permissions();
  window.heard = [];
  for (const name of ['snapshot', 'changed', 'roles', 'menus', 'notification', 'system', 'cache', 'gap'])
    rights.on(name, detail => heard.push([name, detail]));
  window.names = () => heard.map(([name]) => name);
  window.resumes = [];
  rights.on('frame', frame => frame.type === 'connection_confirmed' && resumes.push(frame.resume));
  rights.open();
}"""


@pytest.fixture
def server(tmp_path: Path, elsewhere: str, mongo_urls: Iterator[str]) -> Iterator[Server]:
    flags = ["--demo", f"--allowed-origins={elsewhere}", *store_flags(mongo_urls)]
    server = Server(tmp_path / "data", *flags)
    server.start()
    yield server
    server.stop()


class Elsewhere:
    """A page of another origin that follows the rights of somebody."""

    def __init__(self, cast: Cast, server: Server, origin: str, way: str = "ticket") -> None:
        self.person: Person = cast.user("mei")
        visitor = cast.visitor()
        login = {"username": self.person.name, "password": PASSWORD}
        token = visitor.asks("POST", "/api/auth/login", login)["token"]
        visitor.context.clear_cookies()
        self.page = visitor.page
        self._origin = origin
        self._options = {"base": server.url, "token": token, "socketAuth": way}
        self.open()

    def open(self) -> None:
        self.page.goto(self._origin)
        self.page.evaluate(OPEN, self._options)
        until(self.page, "rights.state.name === 'live'")


@pytest.mark.parametrize("way", ["ticket", "subprotocol"])
def test_rights_are_followed_from_elsewhere(cast: Cast, server: Server, elsewhere: str, way: str) -> None:
    admin, there = administrator(cast), Elsewhere(cast, server, elsewhere, way)
    page = there.page
    assert page.evaluate("names()") == ["snapshot"]
    assert page.evaluate("rights.menus.map(menu => menu.key)") == ["rooms", "permissions"]
    assert page.evaluate("rights.allows('room', 'create')") is True
    assert page.evaluate("rights.allows('reports', 'read')") is False

    admin.asks("POST", "/api/roles", {"key": "reader", "name": "Reader", "permissions": ["reports.*"]})
    admin.asks("POST", "/api/menus", {"key": "r", "name": "Reports", "url": "/r/", "permission": "reports.read"})
    admin.asks("PUT", f"/api/users/{there.person.id}/roles", {"roles": ["reader"], "why": "Welcome"})
    until(page, "names().includes('changed')")
    assert page.evaluate("names()") == ["snapshot", "roles", "menus", "changed"]
    assert page.evaluate("rights.changes[0].because") == "Welcome"
    assert page.evaluate("rights.menus.map(menu => menu.key)") == ["r", "rooms", "permissions"]
    assert page.evaluate("rights.allows('reports', 'read')") is True
    denied = grants(admin, there.person, "reports.read", "room:x", effect="deny")
    until(page, "rights.allows('reports', 'read', 'room:x') === false")
    assert page.evaluate("rights.allows('reports', 'read', 'room:y')") is True

    answer = page.evaluate("rights.check('reports', 'read', 'room:x')")
    assert answer["has_permission"] is False
    why = page.evaluate("id => rights.explain({decision_id: id})", answer["decision_id"])
    assert why["because"][0]["grant_id"] == denied
    batch = page.evaluate(
        "rights.checkBatch([{resource: 'reports', action: 'read'}, {resource: 'permissions', action: 'manage'}])"
    )
    assert [one["has_permission"] for one in batch["results"]] == [True, False]
    refusal = "error => [error.name, error.code]"
    refused = page.evaluate(f"rights.check('reports', 'read', '*', {{minVersion: 9999}}).catch({refusal})")
    assert refused[0] == "HeartLinkError"
    assert page.evaluate(f"rights.explain({{decision_id: 'nothing'}}).catch({refusal})") == [
        "HeartLinkError",
        "not_found",
    ]
    admin.asks("POST", "/api/notifications", {"message": "Tea", "priority": "low"})
    admin.asks("POST", "/api/cache-invalidations", {"keys": ["a"], "users": [there.person.id]})
    until(page, "names().includes('system') && names().includes('cache')")


def test_a_reload_and_a_kill_are_caught_up_with(cast: Cast, server: Server, elsewhere: str) -> None:
    """What was kept is the beginning: only what was missed is told."""
    admin, there = administrator(cast), Elsewhere(cast, server, elsewhere)
    page = there.page
    assert page.evaluate("resumes") == ["none"]
    page.goto("about:blank")
    grants(admin, there.person, "tea.drink", why="While away")
    there.open()
    assert page.evaluate("resumes") == ["changes"]
    assert page.evaluate("names()") == ["changed"]
    assert page.evaluate("rights.allows('tea', 'drink')") is True
    server.kill()
    until(page, "rights.state.name === 'waiting'")
    page.evaluate("() => { window.asked = rights.check('tea', 'drink', '*', {timeoutMs: 20000}); }")
    server.start()
    until(page, "rights.state.name === 'live'")
    assert page.evaluate("window.asked.then(answer => answer.has_permission)") is True
    grants(admin, there.person, "tea.pour")
    until(page, "rights.allows('tea', 'pour')")
    assert page.evaluate("resumes") == ["changes", "changes"]
    assert page.evaluate("names()") == ["changed", "changed"]


def test_a_hole_is_never_guessed_over(cast: Cast, server: Server, elsewhere: str) -> None:
    admin, there = administrator(cast), Elsewhere(cast, server, elsewhere)
    page = there.page
    before = page.evaluate("rights.rights.version")
    grants(admin, there.person, "tea.drink")
    until(page, "rights.allows('tea', 'drink')")
    # As if a push had been lost: what is known is older than what the next one builds upon.
    page.evaluate("version => { rights.rights.version = version; rights.rights.permissions = []; }", before)
    admin.asks("POST", "/api/roles", {"key": "nobody", "name": "A version that is not hers"})
    grants(admin, there.person, "tea.pour")
    until(page, "names().includes('gap') && rights.state.name === 'live'")
    until(page, "rights.allows('tea', 'drink') && rights.allows('tea', 'pour')")
    assert page.evaluate("resumes") == ["none", "changes"]

    # What fits nothing that the server tells is not asked for again and again.
    page.evaluate("rights.rights.version -= 1")
    grants(admin, there.person, "tea.serve")
    until(page, "resumes.length === 4 && rights.state.name === 'live'")
    assert page.evaluate("resumes.slice(2)") == ["changes", "none"]
    assert page.evaluate("rights.allows('tea', 'serve')") is True


def test_a_version_of_another_history_is_a_snapshot_with_a_reason(cast: Cast, server: Server, elsewhere: str) -> None:
    there = Elsewhere(cast, server, elsewhere)
    page = there.page
    page.evaluate(
        """() => { for (const key of Object.keys(localStorage)) if (key.startsWith('heartlink:rights:'))
            localStorage.setItem(key, JSON.stringify({...JSON.parse(localStorage.getItem(key)), epoch: 'other'})); }"""
    )
    there.open()
    assert page.evaluate("resumes") == ["full"]
    assert page.evaluate("heard[0][1].reason") == "epoch_changed"
