"""Rights that are live: the console and the page it acts upon, in two windows each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import Cast, Server, store_flags
from .people import Person, unique
from .test_pages import everywhere, inspect

ADMIN = {"username": "admin", "password": "admin-demo-pass"}
TABS = ("Users", "Roles", "Groups", "Grants", "Menus", "Audit", "Connected", "Notification")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongo_urls: Iterator[str]) -> Iterator[Server]:
    """A server that has an administrator."""
    flags = ["--demo", "--messages-per-second=0", "--registrations-per-minute=0", *store_flags(mongo_urls)]
    server = Server(tmp_path_factory.mktemp("data"), *flags)
    server.start()
    yield server
    server.stop()


def administrator(cast: Cast, **options: object) -> Person:
    """Whoever runs the place."""
    admin = cast.visitor(**options)
    admin.name = ADMIN["username"]
    admin.id = admin.asks("POST", "/api/auth/login", ADMIN)["user"]["id"]
    return admin


def opens_console(admin: Person, tab: str = "users") -> None:
    admin.goes_to(f"/admin/#{tab}")
    expect(admin.page.locator("#connection-words")).to_have_text("Live")
    expect(admin.page.locator(f"#panel-{tab} h2")).to_be_visible()


def opens_rights(person: Person) -> None:
    person.goes_to("/permissions/")
    expect(person.page.locator("#connection-words")).to_have_attribute("data-state", "live")
    expect(person.page.locator(".right").first).to_be_visible()


def grants(admin: Person, subject: Person, permission: str, scope: str = "*", **more: object) -> str:
    body = {"subject": {"kind": "user", "id": subject.id}, "permission": permission, "scope": scope, **more}
    return str(admin.asks("POST", "/api/grants", body)["id"])


def fills_grant(page: Page, effect: str, permission: str, who: str, room: str) -> None:
    """The form of the console, up to the preview."""
    page.get_by_role("button", name="New grant").click()
    dialog = page.locator("#change-dialog")
    dialog.get_by_label("Allow or deny").select_option(effect)
    dialog.get_by_label("What").fill(permission)
    dialog.get_by_label("User name, or key").fill(who)
    dialog.get_by_label("Where").select_option(label=room)
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.locator(".preview-sum")).to_be_visible()


def saves(page: Page, why: str = "") -> None:
    dialog = page.locator("#change-dialog")
    if why:
        dialog.get_by_label("Reason").fill(why)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()


def test_revoked_while_typing(cast: Cast, artifacts: Path) -> None:
    """The input closes with the reason and its draft, then the room is left with the reason; undo brings it back."""
    bob, admin = cast.user(unique("bob"), display_name="Bob"), administrator(cast)
    name = unique("Harbour")
    room = bob.makes_room(name, admin)
    bob.asks("PATCH", f"/api/rooms/{room}/members/{admin.id}", {"role": "admin"})
    bob.posts(room, "Is anybody out there?")
    bob.makes_room("Kitchen")
    bob.opens(room)
    opens_console(admin, "grants")
    bob.writes("I was just about to say")

    page, dialog = admin.page, admin.page.locator("#change-dialog")
    fills_grant(page, "deny", "chat.send", bob.name, name)
    expect(dialog.locator(".preview-sum")).to_contain_text("akes rights from 1 person")
    expect(dialog.locator(".preview-people")).to_contain_text(f"@{bob.name}")
    page.screenshot(path=artifacts / "revoked-1-preview.png")
    saves(page, "A quiet hour")
    words = bob.page.locator("#message-input")
    closed = bob.page.locator("#composer-closed")
    expect(words).to_be_disabled()
    expect(words).to_have_value("I was just about to say")
    expect(closed).to_contain_text("You may read here, but not write.")
    expect(closed).to_contain_text("A quiet hour")
    expect(closed.locator(".reason")).to_contain_text("You yourself are denied it.")
    expect(closed.get_by_role("button", name="Ask for access")).to_be_visible()
    bob.is_connected()
    bob.page.screenshot(path=artifacts / "revoked-2-input.png")

    fills_grant(page, "deny", "chat.read", bob.name, name)
    expect(dialog.locator(".preview-sum")).to_contain_text("emoves 1 person from 1 room")
    expect(dialog.locator(".preview-people")).to_contain_text(f"is removed from {name}")
    saves(page)
    left = bob.page.locator(".left-room")
    expect(left.get_by_role("heading", name="You are no longer in this room")).to_be_visible()
    expect(left.locator(".reason")).to_contain_text("You yourself are denied it.")
    expect(left).to_contain_text(f"chat.read to {bob.name}")
    expect(bob.message("Is anybody out there?")).to_be_hidden()
    expect(bob.page.locator("#room-list .room-name")).to_have_text(["Kitchen"])
    bob.page.screenshot(path=artifacts / "revoked-3-left.png")

    page.get_by_role("tab", name="Audit").click()
    undo = page.get_by_role("button", name=re.compile("^Take version"))
    page.locator(".audit-row", has_text="chat.read").first.locator(".audit-details summary").click()
    expect(page.locator(".audit-row", has_text="chat.read").first).to_contain_text("Denied to")
    page.screenshot(path=artifacts / "revoked-4-audit.png")
    undo.first.click()
    expect(left).to_have_count(0)
    bob.is_connected()
    bob.hears("Is anybody out there?")
    expect(words).to_be_disabled()
    page.locator(".audit-row", has_text="A quiet hour").last.get_by_role("button").click()
    expect(words).to_be_enabled()
    expect(words).to_have_value("I was just about to say")
    words.press("End")
    words.press_sequentially(" hello")
    words.press("Enter")
    bob.sees_status("I was just about to say hello", "stored")


def test_a_grant_of_ten_seconds_counts_down_and_ends(cast: Cast, artifacts: Path) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    opens_rights(ann)
    grants(admin, ann, "reports.read", expires_in=10, why="For a moment")
    row = ann.page.locator(".right", has_text="reports.read")
    expect(row).to_be_visible()
    expect(row.locator(".countdown")).to_have_text(re.compile(r"^\d+ sec left$"))
    first = row.locator(".countdown").inner_text()
    ann.page.screenshot(path=artifacts / "ten-seconds.png")
    expect(row.locator(".countdown")).not_to_have_text(first)
    expect(ann.page.locator("#my-changes")).to_contain_text("For a moment")
    expect(row).to_have_count(0, timeout=14_000)
    expect(ann.page.locator("#my-changes li").first).to_contain_text("reports.read")
    expect(ann.page.locator("#my-changes li")).to_have_count(2)


def test_a_menu_appears_and_vanishes(cast: Cast, artifacts: Path) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    ann.goes_to("/")
    expect(ann.page.locator("#navigation .nav-link")).to_have_text(["Rooms", "My rights"])
    ann.page.evaluate("window.isSamePage = true")
    opens_console(admin, "menus")
    page, dialog = admin.page, admin.page.locator("#change-dialog")
    key = unique("reports")
    page.get_by_role("button", name="New menu entry").click()
    for label, words in (("Key", key), ("Name", "Reports"), ("Address", "/reports/"), ("Icon", "chart")):
        dialog.get_by_label(label, exact=label in ("Key", "Name")).fill(words)
    dialog.get_by_label("Shows to those who hold").fill("reports.see")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog).to_contain_text("sees the menu")
    saves(page)
    expect(page.locator("#navigation")).to_contain_text("Reports")
    expect(ann.page.locator("#navigation .nav-link")).to_have_count(2)

    grant = grants(admin, ann, "reports.see")
    link = ann.page.locator("#navigation").get_by_role("link", name="Reports")
    expect(link).to_have_attribute("href", "/reports/")
    expect(ann.page.locator("#navigation-news")).to_have_text("New in the navigation: Reports")
    below = {
        "key": f"{key}-sales",
        "name": "Sales",
        "parent": key,
        "url": "/reports/sales/",
        "permission": "reports.see",
    }
    admin.asks("POST", "/api/menus", below)
    summary = ann.page.locator("#navigation summary", has_text="Reports")
    expect(summary).to_be_visible()
    summary.click()
    expect(ann.page.locator("#navigation").get_by_role("link", name="Sales")).to_be_visible()
    ann.page.screenshot(path=artifacts / "menu-appears.png")
    ann.page.keyboard.press("Escape")
    expect(ann.page.locator("#navigation").get_by_role("link", name="Sales")).to_be_hidden()

    ann.page.set_viewport_size({"width": 360, "height": 780})
    expect(ann.page.locator("#navigation")).to_be_hidden()
    ann.page.get_by_role("button", name=re.compile("^Account")).click()
    narrow = ann.page.locator("#navigation-list")
    expect(narrow.get_by_role("link", name="Sales")).to_be_visible()
    ann.page.screenshot(path=artifacts / "menu-narrow.png")
    admin.asks("DELETE", f"/api/grants/{grant}")
    expect(narrow.get_by_role("link")).to_have_text(["Rooms", "My rights"])
    expect(ann.page.locator("#navigation-news")).to_contain_text("No longer in the navigation")
    assert ann.page.evaluate("window.isSamePage") is True


def test_why_not_and_asking_for_it(cast: Cast, artifacts: Path) -> None:
    """A true answer, a request that reaches the administrator with its form filled in, and the right itself."""
    bob, admin = cast.user(unique("bob")), administrator(cast)
    name = unique("Quay")
    room = bob.makes_room(name, admin)
    ann = cast.user(unique("ann"))
    bob.asks("POST", f"/api/rooms/{room}/members", {"username": ann.name})
    opens_rights(ann)
    opens_console(admin)
    group = ann.page.locator(".scope-group", has_text=name)
    group.get_by_role("button", name=re.compile(r"Why\? Write messages")).click()
    expect(group.locator(".reason")).to_contain_text("Your role in this room: member.")

    why = ann.page.locator("#why-form")
    why.get_by_label("What").fill("chat.moderate")
    why.get_by_label("Where").select_option(label=name)
    why.get_by_role("button", name="Explain").click()
    answer = ann.page.locator("#why-answer")
    expect(answer).to_contain_text("You may not: Change and delete others' messages")
    expect(answer).to_contain_text("silence is no")
    expect(answer).to_contain_text(bob.name)
    ann.page.screenshot(path=artifacts / "why-not.png", full_page=True)
    answer.get_by_role("button", name="Ask for access").click()
    expect(answer).to_contain_text("Asked.")

    toast = admin.page.locator(".notice-toast")
    expect(toast).to_contain_text(f"@{ann.name} asks for chat.moderate")
    expect(toast).to_have_css("opacity", "1")
    admin.page.screenshot(path=artifacts / "asked.png")
    toast.get_by_role("link", name="Answer").click()
    dialog = admin.page.locator("#change-dialog")
    expect(dialog.get_by_label("What")).to_have_value("chat.moderate")
    expect(dialog.get_by_label("User name, or key")).to_have_value(ann.name)
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog).to_contain_text("gains Change and delete others' messages")
    saves(admin.page)
    expect(group.locator(".right", has_text="Change and delete others' messages")).to_be_visible()


def test_the_console_is_closed_to_others(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    answer = ann.page.goto(f"{ann.url}/admin/")
    assert answer is not None
    assert answer.status == 403
    expect(ann.page.locator("#page-reason")).to_contain_text("You may not: Manage everybody's rights")
    expect(ann.page.get_by_role("button", name="Ask for access")).to_be_visible()
    inspect(ann.page, 1280)
    nobody = cast.visitor()
    nobody.goes_to("/admin")
    expect(nobody.page).to_have_url(re.compile(r"/login\?next=/admin/"))


def test_a_console_whose_right_is_taken_says_so(cast: Cast) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    admin.asks("PUT", f"/api/users/{ann.id}/roles", {"roles": ["administrator"]})
    opens_console(ann, "roles")
    admin.asks("PUT", f"/api/users/{ann.id}/roles", {"roles": []})
    expect(ann.page.locator("#admin-lost")).to_contain_text("You may not: Manage everybody's rights")
    expect(ann.page.locator("#navigation")).not_to_contain_text("Administration")


def test_what_another_administrator_changes_appears(cast: Cast) -> None:
    admin, key = administrator(cast), unique("crew")
    opens_console(admin, "roles")
    expect(admin.page.locator("#panel-roles")).not_to_contain_text(key)
    other = administrator(cast)
    other.asks("POST", "/api/roles", {"key": key, "name": "The crew", "permissions": ["deck.walk"]})
    child = {"key": f"{key}-child", "name": "Of the crew", "parent": key, "permissions": []}
    other.asks("POST", "/api/roles", child)
    expect(admin.page.locator(f'[data-key="{key}-child"]')).to_contain_text(f"inherits from {key}")
    expect(admin.page.locator(f'[data-key="{key}-child"]')).to_have_attribute("data-depth", "1")


def test_a_refusal_shows_code_message_and_fix(cast: Cast) -> None:
    admin = administrator(cast)
    opens_console(admin, "roles")
    admin.page.get_by_role("button", name="Change the role Administrator").click()
    dialog = admin.page.locator("#change-dialog")
    dialog.get_by_label("Permissions, everywhere").fill("nonsense")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.locator(".form-error")).to_contain_text("invalid_parameters")
    expect(dialog.locator(".form-error")).to_contain_text("Write resource.action")
    admin.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_groups_roles_and_people_by_keyboard(cast: Cast) -> None:
    """What a form changes is told before it is saved, and nobody's page is reloaded for it."""
    ann, admin = cast.user(unique("ann"), display_name="Ann Ågren"), administrator(cast)
    opens_rights(ann)
    opens_console(admin)
    page, dialog, key = admin.page, admin.page.locator("#change-dialog"), unique("choir")
    page.get_by_role("tab", name="Users").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("tab", name="Groups")).to_be_focused()
    expect(page.get_by_role("tab", name="Groups")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="New group").press("Enter")
    expect(dialog.get_by_label("Key")).to_be_focused()
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    expect(dialog.locator(".preview-sum")).to_contain_text("Nobody gains or loses anything")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Members of {key}").press("Enter")
    dialog.get_by_label("Add a person by user name").fill(ann.name)
    page.keyboard.press("Enter")
    expect(dialog.locator(".chip")).to_contain_text("Ann Ågren")
    dialog.get_by_role("button", name="Preview").press("Enter")
    saves(page)
    admin.asks("POST", "/api/grants", {"subject": {"kind": "group", "id": key}, "permission": "songs.sing"})
    row = ann.page.locator(".right", has_text="songs.sing")
    row.get_by_role("button", name="Why?").click()
    expect(row.locator(".reason")).to_contain_text(f"Your group {key} allows it.")
    expect(ann.page.locator("#my-roles")).to_contain_text(key)


def test_words_to_everybody(cast: Cast, artifacts: Path) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    room = ann.makes_room("Quiet")
    ann.opens(room)
    opens_console(admin, "notify")
    admin.page.get_by_label("Message").fill("Tea is ready <b>now</b>")
    admin.page.get_by_label("Priority").select_option("high")
    admin.page.get_by_role("button", name="Send").click()
    expect(admin.page.locator(".toast", has_text="Sent to")).to_be_visible()
    toast = ann.page.locator(".notice-toast")
    expect(toast).to_contain_text("@admin says to everybody")
    expect(toast).to_contain_text("Tea is ready <b>now</b>")
    expect(toast).to_have_css("opacity", "1")
    ann.page.screenshot(path=artifacts / "words-to-everybody.png")
    toast.get_by_role("button", name="Close").click()
    expect(toast).to_have_count(0)


def test_somebody_deactivated_is_out_at_once(cast: Cast) -> None:
    ann, admin = cast.user(unique("ann")), administrator(cast)
    room = ann.makes_room("Short")
    ann.opens(room)
    opens_console(admin)
    admin.page.get_by_label("Search for users").fill(ann.name)
    admin.page.get_by_role("button", name=f"Deactivate {ann.name}").click()
    admin.page.locator("#confirm-yes").click()
    expect(ann.page.locator("#connection-words")).to_have_text("Signed out")
    expect(admin.page.get_by_role("button", name=f"Let {ann.name} in again")).to_be_visible()


def furnished(cast: Cast) -> tuple[Person, Person]:
    """Somebody with rights of all sorts, and who gave them."""
    admin = administrator(cast, reduced_motion="reduce")
    mei = cast.user(unique("mei"), display_name="王美", reduced_motion="reduce")
    room = admin.makes_room("Sunday hike 周日徒步", mei)
    for body in (
        {"key": unique("staff"), "name": "Staff", "permissions": ["reports.read", "room.create"]},
        {"key": unique("support"), "name": "Support", "parent": "staff", "permissions": ["tickets.*"]},
    ):
        admin.asks("POST", "/api/roles", body)
    admin.asks("POST", "/api/groups", {"key": unique("night"), "name": "Night shift 夜班"})
    admin.asks("PUT", "/api/groups/night/members", {"users": [mei.id]})
    admin.asks("PUT", f"/api/users/{mei.id}/roles", {"roles": ["support"]})
    grants(admin, mei, "chat.moderate", f"room:{room}", expires_in=7500, why="Looks after the room until tonight")
    grants(admin, mei, "reports.export", effect="deny", why="Exports wait for the audit")
    for_night = {"subject": {"kind": "group", "id": "night"}, "why": "The night shift reads reports"}
    admin.asks("POST", "/api/grants", {**for_night, "permission": "reports.*"})
    menu = {"key": unique("insight"), "name": "Reports", "icon": "chart", "url": "/reports/", "sort_order": 30}
    admin.asks("POST", "/api/menus", {**menu, "permission": "reports.read"})
    below = {"key": unique("nightly"), "name": "Tonight 今晚", "icon": "🌙", "url": "/reports/tonight/"}
    admin.asks("POST", "/api/menus", {**below, "parent": "insight", "permission": "reports.read"})
    return admin, mei


def test_the_pages_on_every_screen(cast: Cast, artifacts: Path) -> None:
    admin, mei = furnished(cast)
    opens_rights(mei)
    grants(admin, mei, "songs.sing", expires_in=100_000, why="She asked for it, and sings well")
    expect(mei.page.locator(".right", has_text="songs.sing")).to_be_visible()
    mei.page.get_by_role("button", name=re.compile(r"Why\? Change and delete")).click()
    expect(mei.page.locator(".reason")).to_be_visible()

    def look(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"permissions-{scheme}-{width}.png", full_page=True)

    everywhere(mei, look)
    opens_console(admin)
    for tab in TABS:
        admin.page.get_by_role("tab", name=tab).click()
        panel = admin.page.locator(f"#{admin.page.get_by_role('tab', name=tab).get_attribute('aria-controls')}")
        expect(panel.locator("h2")).to_be_visible()
        expect(panel.locator(".rows, form").first).to_be_visible()
        name = tab.lower()

        def look_at_tab(page: Page, width: int, scheme: str, name: str = name) -> None:
            inspect(page, width)
            page.screenshot(path=artifacts / f"admin-{name}-{scheme}-{width}.png")

        everywhere(admin, look_at_tab)
    admin.page.get_by_role("tab", name="Roles").click()
    admin.page.get_by_role("button", name="Delete the role Support").click()
    expect(admin.page.locator("#change-dialog .preview-sum")).to_be_visible()

    def look_at_preview(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"admin-preview-{scheme}-{width}.png")

    everywhere(admin, look_at_preview)


def test_the_pages_speak_chinese(cast: Cast, artifacts: Path) -> None:
    admin = administrator(cast, locale="zh-CN", reduced_motion="reduce")
    admin.goes_to("/permissions/")
    expect(admin.page.get_by_role("heading", name="我的权限")).to_be_visible()
    expect(admin.page.locator(".right").first).to_contain_text("一切")
    admin.page.set_viewport_size({"width": 360, "height": 780})
    inspect(admin.page, 360)
    admin.page.screenshot(path=artifacts / "permissions-zh-360.png")
    admin.goes_to("/admin/#grants")
    admin.page.get_by_role("button", name="新建授权").click()
    expect(admin.page.locator("#change-dialog")).to_contain_text("允许或禁止")
    inspect(admin.page, 360)
    admin.page.screenshot(path=artifacts / "admin-zh-360.png")
    admin.page.keyboard.press("Escape")
    admin.makes_room("茶室")
    admin.page.get_by_role("tab", name="审计").click()
    expect(admin.page.locator(".audit-row").first).to_contain_text("admin 新建了房间")
