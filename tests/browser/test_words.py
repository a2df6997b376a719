"""Words in the conversation page: finding them, and the emoji that some of them become, in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page, expect

from .conftest import Cast
from .people import Person, unique
from .test_pages import everywhere, inspect


def two(cast: Cast, **options: Any) -> tuple[Person, Person, str]:
    """Two people and their room; no page is open yet."""
    ann = cast.user(unique("ann"), display_name="Ann", **options)
    bob = cast.user(unique("bob"), display_name="Bob", **options)
    return ann, bob, ann.makes_room(unique("Room "), bob)


def uploads(person: Person, room: str, name: str, content: bytes) -> Any:
    """A file, sent as a script would."""
    token = next(c["value"] for c in person.context.cookies(person.url) if c["name"] == "csrftoken")
    headers = {"X-CSRFToken": token, "Origin": person.url, "Content-Type": "application/octet-stream"}
    path = f"/api/rooms/{quote(room, safe='')}/files?name={quote(name)}"
    answer = person.context.request.post(person.url + path, headers=headers, data=content)
    assert answer.status == 201, answer.text()
    return answer.json()


CHAT_A_LOT = """async ([path, count]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
  const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
  for (let at = 0; at < count; at += 40) {
    const some = Array.from({ length: Math.min(40, count - at) }, (_, index) => at + index);
    const bodies = some.map((number) => JSON.stringify({ content: `talk ${number}` }));
    const post = (body) => fetch(path, { method: "POST", headers, body });
    for (const answer of await Promise.all(bodies.map(post))) if (!answer.ok) throw new Error(String(answer.status));
  }
}"""


def talks(person: Person, room: str, count: int) -> None:
    """Many messages, about in order."""
    person.goes_to("/")
    person.page.evaluate(CHAT_A_LOT, [f"/api/rooms/{quote(room, safe='')}/messages", count])
    person.posts(room, "the last of them")


def searches(person: Person, words: str) -> None:
    """Open the panel where it is closed, and type."""
    if person.page.locator("#search-side").is_hidden():
        person.page.locator("#open-search").click()
    person.page.locator("#search-input").fill(words)


# --- Search ----------------------------------------------------------------------------------------------


def test_words_are_found_marked_and_jumped_to(cast: Cast) -> None:
    ann, bob, room = two(cast)
    bob.posts(room, "明天下午我们去喝茶吗？")
    uploads(bob, room, "月报 March.pdf", b"%PDF-1.4 not much of one")
    talks(bob, room, 320)
    bob.posts(room, "Green TEA <b>again</b>")
    ann.opens(room)
    page = ann.page
    page.locator("#messages").focus()
    page.keyboard.press("/")
    expect(page.locator("#search-input")).to_be_focused()
    page.keyboard.type("喝茶")
    hits = page.locator(".search-hit")
    expect(hits).to_have_count(1)
    expect(hits.locator("mark")).to_have_text("喝茶")
    expect(page.locator("#search-state")).to_have_text("one message")
    searches(ann, "ｔｅａ")
    expect(hits.locator("mark")).to_have_text("TEA")
    expect(hits).to_contain_text("<b>again</b>")
    searches(ann, "march.PDF 月报")
    expect(hits.locator(".search-file mark")).to_have_text(["月报", "March.pdf"])

    page.keyboard.press("ArrowDown")
    expect(hits.first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".message:focus .file-name")).to_contain_text("March")
    expect(page.locator(".message:focus")).to_be_in_viewport()
    # What lies between was not loaded for that: new words are missed until one goes back to them.
    assert page.locator("#stored .row").count() < 150
    bob.posts(room, "said meanwhile")
    expect(page.locator("#to-latest-count")).to_have_text("1 new")
    expect(ann.message("said meanwhile")).to_have_count(0)
    page.locator("#to-latest").click()
    ann.hears("said meanwhile")
    expect(ann.message("Green TEA <b>again</b>")).to_be_in_viewport()


def test_one_can_read_on_from_where_one_jumped_to(cast: Cast) -> None:
    ann, bob, room = two(cast)
    bob.posts(room, "the needle")
    talks(bob, room, 320)
    ann.opens(room)
    searches(ann, "needle")
    ann.page.locator(".search-hit").click()
    expect(ann.message("the needle")).to_be_in_viewport()
    expect(ann.message("the last of them")).to_have_count(0)
    ann.says("from here")
    ann.hears("from here")
    expect(ann.message("the last of them")).to_be_in_viewport()
    ann.page.locator(".search-hit").click()
    expect(ann.message("the needle")).to_be_in_viewport()
    for pages in (2, 3, 4):
        ann.page.locator("#messages").evaluate("frame => (frame.scrollTop = frame.scrollHeight)")
        expect(ann.page.locator("#stored .row").nth(50 * pages - 1)).to_be_attached()
    expect(ann.message("the last of them")).to_have_count(0)
    shown = ann.page.locator("#stored .row").evaluate_all("rows => rows.map(row => Number(row.dataset.id))")
    assert shown == list(range(1, len(shown) + 1)), "without a gap"


def test_the_search_goes_on_by_itself_and_says_when_it_finds_nothing(cast: Cast) -> None:
    ann, bob, room = two(cast)
    for number in range(45):
        bob.posts(room, f"tea {number}")
    ann.opens(room)
    searches(ann, "tea")
    hits = ann.page.locator(".search-hit")
    expect(hits).to_have_count(20)
    expect(ann.page.locator("#search-state")).to_have_text("the newest 20 messages")
    ann.page.locator("#search-more").click()
    expect(hits).to_have_count(40)
    ann.page.locator("#search-more").click()
    expect(hits).to_have_count(45)
    expect(ann.page.locator("#search-state")).to_have_text("45 messages")
    expect(ann.page.locator("#search-more")).to_be_hidden()
    searches(ann, "coffee")
    expect(ann.page.locator("#search-state")).to_have_text("Nothing was found for “coffee”.")
    ann.page.keyboard.press("Escape")
    expect(ann.page.locator("#search-side")).to_be_hidden()
    expect(ann.page.locator("#open-search")).to_be_focused()

    # Each answer is the end of its time here, so that it takes many.
    asked: list[str] = []

    def cut_short(route: Any) -> None:
        asked.append(route.request.url)
        before = re.search(r"before=(\d+)", route.request.url)
        top = int(before[1]) if before else 46
        to = max(0, top - 9)
        found = [{**M, "id": 1, "content": "the first tea"}] if to == 0 else []
        route.fulfill(json={"messages": found, "has_more": to > 0, "searched_to": to})

    M = ann.asks("GET", f"/api/rooms/{room}/messages?limit=1")["messages"][0]
    ann.page.route("**/search?*", cut_short)
    searches(ann, "first")
    expect(hits).to_have_count(1)
    expect(ann.page.locator("#search-state")).to_have_text("one message")
    assert len(asked) == 6 and "before" not in asked[0] and asked[-1].endswith("before=1")


def test_the_search_on_a_phone_in_chinese(cast: Cast) -> None:
    options = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "locale": "zh-CN"}
    ann, bob, room = two(cast, **options)
    bob.posts(room, "我们去喝茶")
    ann.opens(room)
    ann.page.locator("#open-search").tap()
    expect(ann.page.get_by_role("heading", name="搜索")).to_be_visible()
    searches(ann, "茶")
    expect(ann.page.locator("#search-state")).to_have_text("1 条消息")
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 360
    ann.page.locator(".search-hit").tap()
    expect(ann.page.locator("#search-side")).to_be_hidden()
    expect(ann.page.locator(".message:focus .text")).to_have_text("我们去喝茶")


def test_the_search_and_the_picker_are_readable_on_every_screen(cast: Cast, artifacts: Path) -> None:
    ann, bob, room = two(cast)
    bob.posts(room, "明天下午我们去喝茶吗？ Tea at the river, I know a good place.")
    uploads(bob, room, "tea list.pdf", b"%PDF-1.4 not much of one")
    for emoji in ("🍵", "👋🏽"):
        ann.posts(room, emoji)
    ann.opens(room)
    searches(ann, "tea")
    expect(ann.page.locator(".search-hit")).to_have_count(2)
    ann.page.locator(".search-hit").first.focus()

    def look_at_hits(page: Page, width: int, scheme: str) -> None:
        inspect(page, width)
        page.screenshot(path=artifacts / f"search-{scheme}-{width}.png")

    everywhere(ann, look_at_hits)
    ann.page.keyboard.press("Escape")

    def look_at_picker(page: Page, width: int, scheme: str) -> None:
        page.locator("#emoji-button").click()
        page.locator(".emoji-tone").click()
        inspect(page, width)
        page.screenshot(path=artifacts / f"emoji-{scheme}-{width}.png")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")

    everywhere(ann, look_at_picker)


def test_marks_stand_where_the_server_finds_the_words(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    ann.goes_to("/")
    rows = [
        ("Straße und STRASSE", "strasse", ["Straße", "STRASSE"]),
        ("全角ＡＢＣ and abc", "abc", ["ＡＢＣ", "abc"]),
        ("ガラスとｶﾞﾗｽ", "ガラス", ["ガラス", "ｶﾞﾗｽ"]),
        ("tea teas TEA", "tea teas", ["tea", "teas", "TEA"]),
        ("👩‍👩‍👧 family", "family", ["family"]),
        ("nothing", "x", []),
    ]
    module = "import(new URL('marks.js', document.querySelector('link[href*=\"/js/page/ui.\"]').href))"
    for text, query, expected in rows:
        found = ann.page.evaluate(
            f"async ([text, query]) => {{ const {{ placesOf, wordsOf }} = await {module};"
            " return placesOf(text, wordsOf(query)).map(([start, end]) => text.slice(start, end)); }",
            [text, query],
        )
        assert found == expected, text


# --- Emoji -----------------------------------------------------------------------------------------------


def box(page: Page) -> Any:
    return page.locator("#message-input")


def test_shortcodes_become_emoji(cast: Cast) -> None:
    ann, bob, room = two(cast)
    ann.opens(room)
    bob.opens(room)
    page, options = ann.page, ann.page.locator("#emoji-list li")
    ann.writes("at 12:30 http://x:80 :smi")
    expect(options.first).to_contain_text(":smile:")
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    expect(box(page)).to_have_value("at 12:30 http://x:80 😄 ")
    ann.writes("and :heart:")
    expect(box(page)).to_have_value("at 12:30 http://x:80 😄 and ❤️")
    ann.writes(" :no_such_thing: :tea")
    expect(options.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#emoji-list")).to_be_hidden()
    page.keyboard.press("Enter")
    bob.hears("at 12:30 http://x:80 😄 and ❤️ :no_such_thing: :tea")


def test_chinese_names_complete_as_well(cast: Cast) -> None:
    ann, _, room = two(cast, locale="zh-CN")
    ann.opens(room)
    ann.page.locator("#message-input").focus()
    # As an input method hands it over: in one piece.
    ann.page.keyboard.insert_text("好 :笑")
    expect(ann.page.locator("#emoji-list li").first).to_contain_text("笑")
    ann.page.keyboard.press("Enter")
    expect(box(ann.page)).to_have_value(re.compile(r"^好 \S+ $"))
    ann.page.keyboard.insert_text(":握手")
    ann.page.keyboard.insert_text(":")
    expect(box(ann.page)).to_have_value(re.compile(r"🤝$"))


def test_the_picker_searches_remembers_and_takes_a_skin_tone(cast: Cast) -> None:
    ann, bob, room = two(cast)
    ann.opens(room)
    bob.opens(room)
    page, picker = ann.page, ann.page.locator("#emoji-picker")
    page.locator("#emoji-button").click()
    for words in ("thumbs up", "拇指向上", "thumbsup"):
        picker.get_by_role("searchbox").fill(words)
        expect(picker.locator(".emoji-grid .emoji-cell").first).to_have_text("👍")
    picker.locator(".emoji-tone").click()
    expect(picker.get_by_role("radio", name="no skin tone")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(picker.locator(".emoji-grid .emoji-cell").first).to_have_text("👍🏾")
    picker.get_by_role("searchbox").press("Enter")
    expect(box(page)).to_have_value("👍🏾")
    page.keyboard.press("Enter")
    bob.hears("👍🏾")

    page.reload()
    ann.is_connected()
    ann.message("👍🏾").hover()
    ann.message("👍🏾").locator(".toolbar").get_by_role("button", name="React", exact=True).click()
    expect(picker.locator("[data-group=recent] .emoji-cell")).to_have_text(["👍🏾"])
    picker.locator(".emoji-tab").nth(4).click()
    expect(picker.locator("[data-group='3'] h3")).to_be_in_viewport()
    picker.locator("[data-group=recent] .emoji-cell").click()
    expect(bob.message("👍🏾").locator(".reaction")).to_have_attribute("data-react", "👍🏾")
    ann.writes(":wave:")
    expect(box(page)).to_have_value("👋🏾")


def test_a_few_emoji_alone_are_large(cast: Cast) -> None:
    ann, bob, room = two(cast)
    rows = {"😀": 1, "👍🏽 ❤️": 2, "🇨🇳1️⃣👨‍👩‍👧": 3, "😀😀😀😀": 0, "ok 😀": 0, "12": 0, "©": 0}
    for text in rows:
        ann.posts(room, text)
    bob.opens(room)
    normal = bob.message("12").locator(".text").evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
    for text, count in rows.items():
        words = bob.message(text).locator(".text")
        expect(words).to_have_count(1)
        size = words.evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
        assert (size > 1.8 * normal) == bool(count), text
        assert words.get_attribute("data-count") == (str(count) if count else None), text
