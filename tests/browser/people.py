"""People in front of browsers: what they do and what they see, in the words of the domain."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import quote

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

PASSWORD = "a long enough password"
# What the browser itself writes about requests that were meant to fail or met a dead server.
EXPECTED = re.compile(r"Failed to load resource|WebSocket connection to .* failed|net::ERR_")
_taken: Counter[str] = Counter()

expect.set_options(timeout=8_000)


def unique(name: str) -> str:
    """A name nobody has yet on a server that several tests share."""
    _taken[name] += 1
    return name if _taken[name] == 1 else f"{name}{_taken[name]}"


class Person:
    """One browser context; ``page`` is its first tab."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.name = ""
        self.id = ""
        self.complaints: list[str] = []
        self.page = self.new_tab()

    # --- where they are

    def new_tab(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(8_000)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(f"{message.type}: {message.text}")

    def goes_to(self, path: str) -> None:
        self.page.goto(self.url + path)

    def opens(self, room_id: str) -> None:
        self.goes_to(f"/chat/{quote(room_id, safe='')}/")
        self.is_connected()

    def is_connected(self) -> None:
        """In a conversation; the lobby has a line of its own."""
        words = self.page.locator(".chat-page #connection-words")
        expect(words).to_have_attribute("data-state", "live", timeout=20_000)

    def is_cut_off(self) -> None:
        expect(self.page.locator("#connection-words")).to_have_attribute("data-state", "waiting")

    # --- REST, as the page does it

    def asks(self, method: str, path: str, body: Any = None) -> Any:
        token = next((c["value"] for c in self.context.cookies(self.url) if c["name"] == "csrftoken"), "")
        headers = {"X-CSRFToken": token, "Origin": self.url}
        data = {"data": body} if body is not None else {}
        answer = self.context.request.fetch(self.url + path, method=method, headers=headers, **data)
        assert answer.ok, f"{method} {path}: {answer.status} {answer.text()}"
        return answer.json() if answer.status != 204 else None

    def sign_up(self, name: str, display_name: str = "") -> None:
        body = {"username": name, "password": PASSWORD, **({"display_name": display_name} if display_name else {})}
        self.name = name
        self.id = self.asks("POST", "/api/auth/register", body)["user"]["id"]

    def makes_room(self, name: str, *members: Person, kind: str = "group") -> str:
        names = [member.name for member in members]
        room: dict[str, Any] = self.asks("POST", "/api/rooms", {"name": name, "kind": kind, "members": names})
        return str(room["id"])

    def posts(self, room_id: str, content: str, **more: Any) -> Any:
        return self.asks("POST", f"/api/rooms/{quote(room_id, safe='')}/messages", {"content": content, **more})

    # --- what they do and see

    def writes(self, text: str) -> None:
        self.page.locator("#message-input").press_sequentially(text)

    def says(self, text: str) -> None:
        self.page.locator("#message-input").fill(text)
        self.page.locator("#message-input").press("Enter")

    def message(self, text: str) -> Locator:
        """The message whose words are exactly these, stored or still on its way."""
        words = self.page.locator(".text").filter(has_text=re.compile(f"^{re.escape(text)}$"))
        return self.page.locator(".message").filter(has=words)

    def hears(self, text: str) -> Locator:
        message = self.message(text)
        expect(message).to_have_count(1)
        return message

    def sees_status(self, text: str, status: str) -> None:
        expect(self.message(text).locator(".status")).to_have_attribute("data-status", status)

    def acts_on(self, text: str, action: str) -> None:
        self.message(text).hover()
        self.message(text).locator(".toolbar").get_by_role("button", name=action, exact=True).click()

    def conversation(self) -> list[str]:
        """All words on the screen, in order."""
        return self.page.locator(".message .text").all_inner_texts()
