"""The conversation page: writing, reading back, reacting, by mouse and by keyboard, in both languages."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from .conftest import Cast
from .people import Person, unique

ATTACKS = (
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    '"><svg onload=document.title="owned">',
    "https://example.org/<b>x</b>?q=\"onmouseover=document.title='owned'",
)


def two(cast: Cast) -> tuple[Person, Person, str]:
    """Two people in one room, connected."""
    ann, bob = cast.user(unique("ann"), display_name="Ann"), cast.user(unique("bob"), display_name="Bob")
    room = ann.makes_room(unique("Room "), bob)
    ann.opens(room)
    bob.opens(room)
    return ann, bob, room


def test_the_keyboard_alone_is_enough(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    page = ann.page
    page.bring_to_front()
    page.locator("body").press("Tab")
    page.locator("#message-input").focus()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    bob.hears("first line\nsecond line")
    ann.sees_status("first line\nsecond line", "stored")

    page.keyboard.press("ArrowUp")
    expect(page.locator("#context-title")).to_have_text("Edit the message")
    page.keyboard.press("Escape")
    expect(page.locator("#composer-context")).to_be_hidden()
    expect(page.locator("#message-input")).to_have_value("")

    bob.says("answer me")
    ann.hears("answer me")
    page.locator("#messages").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".message:focus .text")).to_have_text("answer me")
    page.keyboard.press("r")
    expect(page.locator("#context-title")).to_have_text("Reply to Bob")
    page.keyboard.type("here you are")
    page.keyboard.press("Enter")
    expect(bob.hears("here you are").locator(".quote")).to_contain_text("answer me")

    page.locator("#messages").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Delete")
    expect(page.locator("#confirm-dialog")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(bob.page.locator(".tombstone")).to_have_count(1)


def test_a_deleted_message_disappears_from_the_quotes_too(cast: Cast) -> None:
    ann, bob, room = two(cast)
    ann.says("a secret slip")
    bob.hears("a secret slip")
    bob.acts_on("a secret slip", "Reply")
    bob.says("what did you say?")
    expect(ann.hears("what did you say?").locator(".quote")).to_contain_text("a secret slip")
    ann.acts_on("a secret slip", "Delete")
    ann.page.locator("#confirm-yes").click()
    for person in (ann, bob):
        expect(person.page.locator("#messages")).not_to_contain_text("a secret slip")
        expect(person.message("what did you say?").locator(".quote")).to_contain_text("message deleted")
    bob.opens(room)
    expect(bob.message("what did you say?").locator(".quote")).to_contain_text("message deleted")
    expect(bob.page.locator("#messages")).not_to_contain_text("a secret slip")


def test_what_people_write_stays_text(cast: Cast) -> None:
    ann, bob, room = two(cast)
    for attack in ATTACKS:
        ann.says(attack)
        bob.hears(attack)
    ann.asks("PATCH", f"/api/rooms/{room}", {"name": "<b>bold</b>"})
    expect(bob.page.locator("#room-title")).to_have_text("<b>bold</b>")
    assert "owned" not in bob.page.title()
    assert bob.page.locator("#messages :is(img, script, svg[onload], b b)").count() == 0
    hrefs = bob.page.locator("#messages .text a").evaluate_all("links => links.map(link => link.href)")
    assert hrefs
    assert all(href.startswith("https://example.org/") for href in hrefs)
    rels = bob.page.locator("#messages .text a").evaluate_all("links => links.map(link => link.rel)")
    assert all("noopener" in rel for rel in rels)
    bob.goes_to("/")
    expect(bob.page.locator("#room-list")).to_contain_text("<b>bold</b>")


def test_names_stay_text_in_the_page_itself(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    ann.asks("PATCH", "/api/me", {"display_name": "<!--<script>"})
    ann.goes_to("/")
    expect(ann.page.locator("#rooms-empty")).to_be_visible()
    expect(ann.page.locator(".menu-title strong")).to_have_text("<!--<script>")


def test_links_and_mentions(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    ann.says(f"@{bob.name} see https://example.org/a_(b)?c=1, or mail me@example.org")
    message = bob.page.locator(".message").last
    expect(message.locator(".mention.me")).to_have_text(f"@{bob.name}")
    expect(message.locator(".mention")).to_have_count(1)
    expect(message.locator("a")).to_have_attribute("href", "https://example.org/a_(b)?c=1")
    ann.writes("@bo")
    expect(ann.page.locator("#mention-list li")).to_have_count(1)
    ann.page.keyboard.press("Enter")
    expect(ann.page.locator("#message-input")).to_have_value(f"@{bob.name} ")


def test_emoji_are_found_in_chinese_and_in_english(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    page = ann.page
    page.get_by_role("button", name="Emoji", exact=True).click()
    search = page.get_by_label("Search emoji")
    expect(search).to_be_focused()
    search.fill("pizza")
    expect(page.locator(".emoji-cell").first).to_have_attribute("data-emoji", "🍕")
    search.fill("红心")
    expect(page.locator(".emoji-cell").first).to_have_attribute("data-emoji", "❤️")
    search.fill("no such thing at all")
    expect(page.locator(".emoji-grid")).to_contain_text("Nothing found")
    search.fill("pizza")
    page.keyboard.press("Enter")
    expect(page.locator("#message-input")).to_have_value("🍕")
    page.keyboard.press("Enter")
    expect(bob.hears("🍕").locator(".emoji-only")).to_be_visible()

    bob.message("🍕").hover()
    bob.message("🍕").locator(".toolbar").get_by_role("button", name="React", exact=True).click()
    bob.page.get_by_label("Search emoji").fill("party popper")
    bob.page.keyboard.press("Enter")
    expect(ann.message("🍕").locator(".reaction")).to_have_text(re.compile("🎉.*1"))
    ann.message("🍕").locator(".reaction").click()
    expect(bob.message("🍕").locator(".reaction")).to_have_text(re.compile("🎉.*2"))
    ann.message("🍕").locator(".reaction").click()
    expect(bob.message("🍕").locator(".reaction")).to_have_text(re.compile("🎉.*1"))


def test_the_page_speaks_chinese(cast: Cast) -> None:
    ann = cast.user(unique("ann"), locale="zh-CN")
    room = ann.makes_room("茶馆 / 一".replace("/", "与"))
    ann.goes_to("/")
    expect(ann.page.locator("html")).to_have_attribute("lang", "zh")
    expect(ann.page.get_by_role("heading", name="我的房间")).to_be_visible()
    ann.opens(room)
    expect(ann.page.locator("#connection-words")).to_have_text("已连接")
    expect(ann.page.get_by_role("button", name="房间设置")).to_be_visible()
    ann.says("你好")
    expect(ann.message("你好").locator(".status")).to_have_text("已保存")
    ann.page.get_by_role("button", name=re.compile("^账号")).click()
    ann.page.get_by_role("button", name="English").click()
    expect(ann.page.locator("#connection-words")).to_have_text("Connected")
    expect(ann.page.locator("html")).to_have_attribute("lang", "en")


def test_a_room_with_a_chinese_id_has_an_address(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    room = unique("茶馆 一?#%")
    ann.asks("POST", "/api/rooms", {"room_id": room, "name": "茶馆"})
    ann.opens(room)
    ann.says("在吗")
    ann.sees_status("在吗", "stored")
    ann.goes_to("/")
    ann.page.get_by_role("link", name=re.compile("茶馆")).click()
    ann.is_connected()
    ann.hears("在吗")


def test_three_hundred_messages_upward_keep_their_place(cast: Cast) -> None:
    ann, bob = cast.user(unique("ann")), cast.user(unique("bob"))
    room = ann.makes_room("Archive", bob)
    for number in range(300):
        bob.posts(room, f"message {number}" + "\nwith another line" * (number % 4))
    ann.asks("POST", f"/api/rooms/{room}/read", {"up_to": 300})
    ann.opens(room)
    page = ann.page
    expect(page.locator(".message")).to_have_count(50)
    expect(page.locator(".message").last).to_be_in_viewport()
    frame = page.locator("#messages")
    for expected in range(100, 301, 50):
        place = frame.evaluate(SCROLL_UP_AND_MEASURE)
        assert place["count"] == expected - 50
        expect(page.locator(".message")).to_have_count(expected)
        top = frame.evaluate(PLACE_OF, place["id"])
        assert abs(top - place["top"]) < 2, f"the page jumped by {top - place['top']} px at {expected}"
    frame.evaluate("frame => { frame.scrollTop = 0; }")
    expect(page.locator("#history-edge")).to_have_text("This is where the conversation begins.")
    texts = page.locator(".message .text").all_inner_texts()
    assert [int(text.split()[1]) for text in texts] == list(range(300))

    bob.posts(room, "something new")
    expect(page.locator("#to-latest")).to_contain_text("1 new")
    assert frame.evaluate("frame => frame.scrollTop") < 100, "a new message moved the reader"
    page.locator("#to-latest").click()
    expect(ann.hears("something new")).to_be_in_viewport()
    expect(page.locator("#to-latest")).to_be_hidden()


SCROLL_UP_AND_MEASURE = """frame => {
  frame.scrollTop = 300;
  const top = frame.getBoundingClientRect().top, messages = [...frame.querySelectorAll('.message')];
  const second = messages.filter(one => one.getBoundingClientRect().top > top + 20)[1];
  return {id: second.dataset.id, top: second.getBoundingClientRect().top, count: messages.length};
}"""
PLACE_OF = "(frame, id) => frame.querySelector(`.message[data-id='${id}']`).getBoundingClientRect().top"


def test_a_quote_leads_to_its_message_however_old(cast: Cast) -> None:
    ann, bob = cast.user(unique("ann")), cast.user(unique("bob"))
    room = ann.makes_room("Archive", bob)
    first = bob.posts(room, "the very first")
    for number in range(120):
        bob.posts(room, f"in between {number}")
    bob.posts(room, "remember?", reply_to=first["id"])
    ann.opens(room)
    ann.hears("remember?").locator(".quote").click()
    expect(ann.message("the very first")).to_be_in_viewport()
    expect(ann.message("the very first")).to_be_focused()


def test_the_unread_are_marked_and_counted(cast: Cast) -> None:
    ann, bob = cast.user(unique("ann")), cast.user(unique("bob"))
    room = ann.makes_room("Kitchen", bob)
    seen = bob.posts(room, "seen already")
    ann.asks("POST", f"/api/rooms/{room}/read", {"up_to": seen["id"]})
    for number in range(3):
        bob.posts(room, f"news {number}")
    ann.goes_to("/")
    expect(ann.page.locator(".room-link .badge")).to_contain_text("3")
    expect(ann.page.locator(".room-last")).to_contain_text("news 2")
    expect(ann.page).to_have_title(re.compile(r"^\(3\) "))
    ann.page.get_by_role("link", name=re.compile("Kitchen")).click()
    ann.is_connected()
    row = ann.page.locator(".row").filter(has=ann.page.locator(".unread-mark"))
    expect(row.locator(".text")).to_have_text("news 0")
    ann.page.bring_to_front()
    expect(ann.page).to_have_title(re.compile("^Kitchen"))
    ann.goes_to("/")
    expect(ann.page.locator(".room-link")).to_have_count(1)
    expect(ann.page.locator(".room-link .badge")).to_have_count(0)


def test_a_draft_waits_in_its_room(cast: Cast) -> None:
    ann, _, room = two(cast)
    other = ann.makes_room("Elsewhere")
    ann.writes("half a thou")
    ann.opens(other)
    expect(ann.page.locator("#message-input")).to_have_value("")
    ann.opens(room)
    expect(ann.page.locator("#message-input")).to_have_value("half a thou")
    ann.page.locator("#message-input").press("Enter")
    ann.sees_status("half a thou", "stored")
    ann.opens(room)
    expect(ann.page.locator("#message-input")).to_have_value("")


def test_two_tabs_of_one_user_are_one_person(cast: Cast) -> None:
    ann, bob, _ = two(cast)
    second = ann.new_tab()
    second.goto(ann.page.url)
    expect(second.locator("#connection-words")).to_have_attribute("data-state", "live")
    expect(bob.page.locator("#people-list .person")).to_have_count(2)
    ann.context.set_offline(True)
    for tab in (ann.page, second):
        tab.evaluate("dispatchEvent(new Event('online'))")
    ann.context.set_offline(False)
    second.locator("#message-input").fill("from the second tab")
    second.locator("#message-input").press("Enter")
    ann.says("from the first tab")
    for tab in (ann.page, second, bob.page):
        for text in ("from the first tab", "from the second tab"):
            expect(tab.locator(".text").filter(has_text=text)).to_have_count(1)
    expect(second.locator("#pending .message")).to_have_count(0)
    expect(ann.page.locator("#pending .message")).to_have_count(0)
    second.close()
    expect(bob.page.locator("#people-list .person[data-user-id]")).to_have_count(2)


def test_a_message_left_by_a_closed_tab_is_sent_by_the_other_once(cast: Cast) -> None:
    ann, bob, room = two(cast)
    second = ann.new_tab()
    second.route_web_socket(re.compile("/ws/chat/"), lambda socket: socket.close(code=4002, reason="internal_error"))
    second.goto(ann.page.url)
    expect(second.locator("#connection-words")).to_have_attribute("data-state", "waiting")
    second.locator("#message-input").fill("left behind")
    second.locator("#message-input").press("Enter")
    expect(ann.page.locator("#pending .text")).to_have_text("left behind")
    assert bob.message("left behind").count() == 0
    second.close()
    ann.opens(room)
    bob.hears("left behind")
    ann.hears("left behind")
    expect(ann.page.locator("#pending .message")).to_have_count(0)


def test_a_refused_message_says_why_and_can_be_tried_again(cast: Cast) -> None:
    """The server's no to one message: it stays on the page with its reason."""
    ann, bob, room = two(cast)
    frames: list[str] = []

    def refuse_first(socket: object) -> None:
        upstream = socket.connect_to_server()  # type: ignore[attr-defined]

        def hand_on(text: str) -> None:
            if '"type":"message"' in text and not frames:
                frames.append(text)
                client_id = re.search(r'"client_id":"(\w+)"', text)
                assert client_id is not None
                socket.send(  # type: ignore[attr-defined]
                    '{"type":"error","error_code":"forbidden","message":"You do not hold \'chat.send\' in this room.",'
                    f'"fix":"Ask an owner or admin of the room for it.","client_id":"{client_id[1]}"}}'
                )
            else:
                upstream.send(text)

        socket.on_message(hand_on)  # type: ignore[attr-defined]

    ann.page.route_web_socket(re.compile("/ws/chat/"), refuse_first)
    ann.opens(room)
    ann.says("let me in")
    ann.sees_status("let me in", "failed")
    expect(ann.message("let me in").locator(".failure")).to_contain_text("Ask an owner or admin")
    ann.says("the next one goes on")
    bob.hears("the next one goes on")
    ann.page.get_by_role("button", name="Try again").click()
    bob.hears("let me in")
    ann.sees_status("let me in", "stored")


def test_settings_show_what_one_may(cast: Cast) -> None:
    ann, bob, room = two(cast)
    page = ann.page
    page.get_by_role("button", name="Room settings").click()
    page.locator("#rename-form").get_by_label("Name").fill("Renamed room")
    page.get_by_role("button", name="Rename").click()
    expect(bob.page.locator("#room-title")).to_have_text("Renamed room")
    cid = cast.user(unique("cid"))
    page.get_by_label("Add a person by user name").fill(cid.name)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(bob.page.locator("#people-list .person")).to_have_count(3)
    page.get_by_label("Add a person by user name").fill("nobody at all")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#add-form .form-error")).not_to_be_empty()
    page.get_by_role("button", name="Close").click()

    bob.page.get_by_role("button", name="Room settings").click()
    expect(bob.page.locator("#rename-form")).to_be_hidden()
    expect(bob.page.locator("#end-room")).to_be_hidden()
    expect(bob.page.get_by_role("button", name=re.compile("^Moderate "))).to_have_count(0)
    ann.asks("PATCH", f"/api/rooms/{room}/members/{bob.id}", {"role": "admin"})
    expect(bob.page.locator("#rename-form")).to_be_visible()
    bob.page.get_by_role("button", name="Leave the room").click()
    bob.page.locator("#confirm-yes").click()
    expect(bob.page).to_have_url(bob.url + "/")
    expect(page.locator("#people-list .person")).to_have_count(2)


def test_notifications_are_asked_for_on_a_click_only(cast: Cast) -> None:
    ann = cast.user(unique("ann"))
    room = ann.makes_room("Quiet")
    ann.page.add_init_script(
        "window.asked = 0; Notification.requestPermission = async () => { window.asked += 1; return 'denied'; };"
    )
    ann.opens(room)
    assert ann.page.evaluate("window.asked") == 0
    ann.page.get_by_role("button", name="Notifications").click()
    expect(ann.page.locator(".toast")).to_contain_text("does not allow notifications")
    assert ann.page.evaluate("window.asked") == 1
