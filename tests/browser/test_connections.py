"""Connections in the console and on the page of one's rights: how far away, what went over them, ending one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import Cast, Server, store_flags
from .people import unique
from .test_pages import everywhere, inspect
from .test_permissions import administrator, opens_console, opens_rights

PATIENCE_MS = 30_000
LAG = re.compile(r"^[\d,]+ ms$")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str]) -> Iterator[Server]:
    """A server that has an administrator."""
    flags = ["--demo", "--messages-per-second=0", "--registrations-per-minute=0", *store_flags(mongo_urls)]
    server = Server(tmp_path_factory.mktemp("data"), *flags)
    server.start()
    yield server
    server.stop()


def test_an_administrator_looks_at_a_connection_and_ends_it(cast: Cast) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    room = ann.makes_room("Harbour")
    ann.opens(room)
    ann.says("a secret of mine")
    ann.hears("a secret of mine")
    opens_console(admin, "connected")
    panel = admin.page.locator("#panel-connected")
    panel.get_by_label("Filter").fill(room[:12])
    rows = panel.locator("ul.connections").first.locator(".row")
    expect(rows).to_have_count(1, timeout=PATIENCE_MS)
    expect(rows.locator("b").first).to_have_text(f"@{ann.name}")
    # Whoever looks has everybody pinged; the next look tells how long that took.
    expect(rows.locator(".lag")).to_have_text(LAG, timeout=PATIENCE_MS)

    rows.get_by_role("button", name="Recording").click()
    dialog = admin.page.locator("dialog.recording")
    expect(dialog.locator("tbody tr", has_text="chat_message").first).to_be_visible()
    expect(dialog.locator("tbody tr", has_text="connection_established")).to_have_count(1)
    assert "secret" not in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)

    rows.get_by_role("button", name="End").click()
    admin.page.locator("#confirm-yes").click()
    ended = panel.locator("ul.connections").nth(1).locator(".row")
    expect(ended.first).to_contain_text("1001", timeout=PATIENCE_MS)
    expect(ended.first).to_contain_text("closed by the server")
    # It comes back by itself, and nothing is lost.
    expect(rows).to_have_count(1, timeout=PATIENCE_MS)
    ann.is_connected()
    ann.says("still here")
    ann.hears("still here")


def test_everybody_keeps_a_recording_of_their_own(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    opens_rights(ann)
    ann.page.locator("#my-connections summary").click()
    rows = ann.page.locator("#my-connections .row")
    expect(rows.first).to_contain_text("rights", timeout=PATIENCE_MS)
    rows.first.get_by_role("button", name="Recording").click()
    dialog = ann.page.locator("dialog.recording")
    with ann.page.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    kept = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == f"heartlink-connection-{kept['connection']['id']}.json"
    assert kept["connection"]["username"] == ann.name
    assert "permission_snapshot" in [frame["type"] for frame in kept["frames"]]


def test_connections_on_every_screen(cast: Cast, artifacts: Path) -> None:
    admin = administrator(cast)
    opens_console(admin, "connected")
    row = admin.page.locator("#panel-connected .row.connection").first
    expect(row.locator(".lag")).to_have_text(LAG, timeout=PATIENCE_MS)

    def look(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"connections-{scheme}-{width}.png")

    everywhere(admin, look)
    row.get_by_role("button", name="Recording").click()
    expect(admin.page.locator("dialog.recording tbody tr").first).to_be_visible()
    everywhere(admin, look)
