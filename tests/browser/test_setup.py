"""The first administrator: from the line the server prints to the console, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import launching

from .conftest import store_flags
from .people import PASSWORD, Person
from .test_pages import everywhere, inspect


@pytest.fixture
def link(tmp_path: Path, mongo_urls: Iterator[str]) -> Iterator[str]:
    """What a new server prints."""
    with launching.Server("--port=0", f"--data-dir={tmp_path}", *store_flags(mongo_urls)) as server:
        server.address()
        yield next(line for line in server.said if "/setup/" in line).rpartition(" ")[2]


def test_whoever_opens_the_link_signs_in_presses_the_button_and_administers(
    chromium: Browser, link: str, artifacts: Path
) -> None:
    url, _, path = link.partition("/setup/")
    person = Person(chromium.new_context(locale="en-US"), url)
    try:
        page = person.page
        person.goes_to(f"/setup/{path}")
        # Nobody is signed in: an account first, and back here.
        page.get_by_role("main").get_by_role("link", name="Create an account").click()
        page.get_by_label("User name").fill("first")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Create").click()
        button = page.get_by_role("button", name="Make first an administrator")
        expect(button).to_be_visible()

        def look(page: Page, width: int, scheme: str) -> None:
            inspect(page, width)
            page.screenshot(path=artifacts / f"setup-{scheme}-{width}.png")

        everywhere(person, look)
        button.click()
        expect(page).to_have_url(f"{url}/admin/")
        assert person.asks("GET", "/api/roles")["roles"][0]["users_count"] == 1
        person.goes_to(f"/setup/{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(button).to_have_count(0)
        assert not person.complaints
    finally:
        person.context.close()
