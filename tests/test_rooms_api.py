"""Rooms over HTTP, and how the open sockets follow: members, links, ends, history (PROTOCOL 3.3, 4.4, 5)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.actors import Answer, Chair, Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=30)

FORBIDDEN = (4403, "forbidden")
ENDED = (4410, "ended")


async def people(serve: Serve, *names: str, **settings: Any) -> list[Person]:
    server = await serve(**settings)
    return list(await asyncio.gather(*(server.person(name) for name in names)))


async def ok(asked: Any, status: int = 200) -> Any:
    """The JSON of an answer that had to be good."""
    answer: Answer = await asked
    assert answer.status == status, answer
    return answer.json if answer.body else None


async def refused(asked: Any, status: int, code: str) -> Answer:
    answer: Answer = await asked
    assert (answer.status, answer.code) == (status, code), answer
    return answer


def roles(room: dict[str, Any]) -> dict[str, str]:
    return {member["username"]: member["role"] for member in room["members"]}


async def link(person: Person, room: str, **body: Any) -> str:
    return str((await ok(person.asks("POST", f"/api/rooms/{room}/invites", body), 201))["code"])


# --- Rooms ---------------------------------------------------------------------------------------------


async def test_a_new_room_says_everything_about_itself(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    made = await ok(ann.asks("POST", "/api/rooms", {"name": " Tea  茶 ", "members": ["BOB", "bob", "ann"]}), 201)
    assert made == await ok(ann.asks("GET", f"/api/rooms/{made['id']}"))
    assert (made["name"], made["kind"], made["status"]) == ("Tea 茶", "group", "active")
    assert (made["owner_id"], made["role"], made["guest_access"]) == (ann.id, "owner", False)
    assert roles(made) == {"ann": "owner", "bob": "member"} and made["members_count"] == 2
    assert (made["unread"], made["read_up_to"], made["last_seq"], made["last_message"]) == (0, 0, 0, None)
    assert {"chat.read", "chat.send", "room.end"} <= set(made["capabilities"])
    seen_by_bob = await ok(bob.asks("GET", f"/api/rooms/{made['id']}"))
    assert seen_by_bob["role"] == "member" and "room.end" not in seen_by_bob["capabilities"]


async def test_a_room_may_have_any_id_that_fits_into_an_address(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    for room_id in ("茶 室 一", "字" * 100, "a?b#c%d", "e\u0301", "null", "🍵", "Ä&ä=1;x"):
        made = await ok(ann.asks("POST", "/api/rooms", {"room_id": room_id, "members": ["bob"]}), 201)
        assert made["id"] == room_id
        address = f"/api/rooms/{quote(room_id, safe='')}"
        assert (await ok(bob.asks("GET", address)))["id"] == room_id
        at_bob, at_ann = await bob.sits_in(room_id), await ann.sits_in(room_id)
        assert at_bob.greeting["room_id"] == room_id
        await at_ann.says("hello")
        assert (await at_bob.hears_message(content="hello"))["room_id"] == room_id
        page = await ok(bob.asks("GET", f"{address}/messages"))
        assert [message["content"] for message in page["messages"]] == ["hello"]


async def test_an_id_is_taken_once_also_by_people_who_ask_at_once(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    answers = await asyncio.gather(
        *(person.asks("POST", "/api/rooms", {"room_id": "one"}) for person in (ann, bob) for _ in range(3))
    )
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409, 409]
    taken = await refused(ann.asks("POST", "/api/rooms", {"room_id": "one"}), 409, "conflict")
    assert taken.json["error"]["fields"] == {"room_id": "taken"}


async def test_my_rooms_show_what_is_new_in_them(serve: Serve) -> None:
    ann, bob, carol = await people(serve, "ann", "bob", "carol")
    first = await ann.opens(name="First", members=["bob"])
    second = await ann.opens(name="Second", members=["bob"])
    await carol.opens(name="Not theirs")
    for number in range(3):
        await ok(ann.asks("POST", f"/api/rooms/{first}/messages", {"content": f"m{number}"}), 201)
    await ok(bob.asks("POST", f"/api/rooms/{first}/messages", {"content": "bob's own"}), 201)
    await ok(ann.asks("DELETE", f"/api/rooms/{first}/messages/2"))
    rooms = (await ok(bob.asks("GET", "/api/rooms")))["rooms"]
    assert [room["name"] for room in rooms] == ["First", "Second"], "newest activity first"
    assert (rooms[0]["unread"], rooms[0]["last_seq"]) == (2, 5), "neither one's own nor what was deleted"
    assert (rooms[0]["last_message"]["content"], rooms[0]["last_message"]["is_own"]) == ("bob's own", True)
    assert await ok(bob.asks("POST", f"/api/rooms/{first}/read", {"up_to": 1})) == {"up_to": 1}
    assert (await ok(bob.asks("GET", f"/api/rooms/{first}")))["unread"] == 1
    assert await ok(bob.asks("POST", f"/api/rooms/{first}/read", {"up_to": 99})) == {"up_to": 5}
    assert (await ok(bob.asks("GET", f"/api/rooms/{first}")))["unread"] == 0
    await ok(ann.asks("POST", f"/api/rooms/{second}/messages", {"content": "newest"}), 201)
    rooms = (await ok(bob.asks("GET", "/api/rooms")))["rooms"]
    assert [(room["name"], room["unread"]) for room in rooms] == [("Second", 1), ("First", 0)]


async def test_a_changed_room_is_told_to_those_who_are_in_it(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(name="Old", members=["bob"])
    at_bob = await bob.sits_in(room)
    changed = await ok(ann.asks("PATCH", f"/api/rooms/{room}", {"name": "New 新", "kind": "public"}))
    assert (changed["name"], changed["kind"]) == ("New 新", "public")
    updated = await at_bob.hears("room_updated")
    assert updated["room"] == {"id": room, "name": "New 新", "kind": "public", "status": "active"}
    await ok(ann.asks("PATCH", f"/api/rooms/{room}", {"name": "New 新"}))
    await ok(ann.asks("PATCH", f"/api/rooms/{room}", {"name": ""}))
    assert (await at_bob.hears("room_updated"))["room"]["name"] == "", "nothing is told of what changes nothing"
    await refused(bob.asks("PATCH", f"/api/rooms/{room}", {"name": "Bob's"}), 403, "forbidden")


async def test_a_private_room_waits_for_its_second_person(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(kind="private")
    at_ann = await ann.sits_in(room)
    assert at_ann.greeting["room"]["status"] == "waiting"
    code = await link(ann, room)
    assert (await ok(bob.asks("GET", f"/api/invites/{code}")))["room"]["status"] == "waiting"
    assert (await ok(bob.asks("POST", f"/api/invites/{code}")))["room"]["status"] == "active"
    assert (await at_ann.hears("member_added"))["member"]["username"] == "bob"
    assert (await at_ann.hears("room_updated"))["room"]["status"] == "active"


async def test_public_rooms_are_found_and_joined(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    public, group = await ann.opens(name="Open", kind="public"), await ann.opens(name="Closed")
    found = (await ok(bob.asks("GET", "/api/rooms?public=1")))["rooms"]
    assert [(room["id"], room["role"], room["members"], room["last_message"]) for room in found] == [
        (public, None, [], None)
    ]
    assert (await ok(ann.asks("GET", "/api/rooms?public=1")))["rooms"] == [], "one's own are not to be joined"
    await refused(bob.asks("GET", f"/api/rooms/{public}/messages"), 403, "not_a_member")
    await refused(bob.asks("POST", f"/api/rooms/{group}/members", {}), 403, "not_a_member")
    at_ann = await ann.sits_in(public)
    joined = await ok(bob.asks("POST", f"/api/rooms/{public}/members", {}), 201)
    assert (joined["username"], joined["role"]) == ("bob", "member")
    added = await at_ann.hears("member_added")
    assert (added["member"]["user_id"], added["by"]) == (bob.id, "bob")
    await (await bob.sits_in(public)).says("I am in")
    await ok(bob.asks("POST", f"/api/rooms/{public}/members", {}), 201)
    assert (await ok(bob.asks("GET", f"/api/rooms/{public}")))["members_count"] == 2


# --- Invite links --------------------------------------------------------------------------------------


async def test_a_link_says_who_invites_where_to_anybody_and_lets_in_those_who_are_signed_in(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(name="Tea")
    made = await ok(ann.asks("POST", f"/api/rooms/{room}/invites", {"max_uses": 2, "expires_in": 60}), 201)
    assert made["url"] == f"/invite/{made['code']}" and (made["max_uses"], made["uses"]) == (2, 0)
    assert made["room_id"] == room and made["expires_at"].endswith("Z")
    nobody = ann.server.stranger()
    shown = await ok(nobody.asks("GET", f"/api/invites/{made['code']}"))
    assert shown["room"] == {"id": room, "name": "Tea", "kind": "group", "status": "active"}
    assert shown["inviter"] == {"username": "ann", "display_name": "ann"}
    await refused(nobody.asks("POST", f"/api/invites/{made['code']}"), 401, "unauthenticated")
    assert (await ok(bob.asks("POST", f"/api/invites/{made['code']}")))["room"]["role"] == "member"
    await ok(bob.asks("POST", f"/api/invites/{made['code']}"))
    await ok(ann.asks("POST", f"/api/invites/{made['code']}"))
    (listed,) = (await ok(ann.asks("GET", f"/api/rooms/{room}/invites")))["invites"]
    assert listed["uses"] == 1, "being a member already costs no use"


async def test_ten_people_at_once_share_the_three_places_of_a_link(serve: Serve) -> None:
    ann, *guests = await people(serve, "ann", *(f"guest{number}" for number in range(10)))
    room = await ann.opens()
    code = await link(ann, room, max_uses=3)
    answers = await asyncio.gather(*(guest.asks("POST", f"/api/invites/{code}") for guest in guests))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [404] * 7
    assert (await ok(ann.asks("GET", f"/api/rooms/{room}")))["members_count"] == 4
    await refused(ann.asks("GET", f"/api/invites/{code}"), 404, "not_found")


async def test_a_link_that_is_over_or_withdrawn_lets_nobody_in(serve: Serve) -> None:
    ann, bob, carol = await people(serve, "ann", "bob", "carol")
    room = await ann.opens(members=["bob"])
    withdrawn, of_bob = await link(ann, room), await link(bob, room)
    await refused(carol.asks("DELETE", f"/api/invites/{of_bob}"), 403, "not_a_member")
    await refused(bob.asks("DELETE", f"/api/invites/{withdrawn}"), 403, "forbidden")
    await ok(ann.asks("DELETE", f"/api/invites/{withdrawn}"), 204)
    await refused(carol.asks("POST", f"/api/invites/{withdrawn}"), 404, "not_found")
    over = await link(ann, room, expires_in=60)
    rooms, now_ms = ann.server.house.rooms, ann.server.house.clock()
    invite = await rooms.invite(over)
    assert (
        invite is not None and invite.expires_at_ms is not None and 0 <= now_ms + 60_000 - invite.expires_at_ms < 5000
    )
    await rooms.remove_invite(over)
    await rooms.put_invite(msgspec.structs.replace(invite, expires_at_ms=now_ms))
    for person in (bob, carol, ann.server.stranger()):
        await refused(person.asks("GET", f"/api/invites/{over}"), 404, "not_found")
    await refused(carol.asks("POST", f"/api/invites/{over}"), 404, "not_found")
    assert [one["code"] for one in (await ok(bob.asks("GET", f"/api/rooms/{room}/invites")))["invites"]] == [of_bob]
    # A link counts only as long as who made it may invite.
    await ok(ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}"), 204)
    await refused(carol.asks("POST", f"/api/invites/{of_bob}"), 404, "not_found")


# --- Members -------------------------------------------------------------------------------------------


async def test_nobody_hands_out_or_takes_away_what_stands_above_them(serve: Serve) -> None:
    ann, bob, carol, dave = await people(serve, "ann", "bob", "carol", "dave")
    room = await ann.opens(members=["bob", "carol"])
    members = f"/api/rooms/{room}/members"
    await refused(bob.asks("PATCH", f"{members}/{carol.id}", {"role": "guest"}), 403, "forbidden")
    await refused(bob.asks("DELETE", f"{members}/{carol.id}"), 403, "forbidden")
    await refused(bob.asks("POST", members, {"username": "dave", "role": "admin"}), 403, "forbidden")
    assert (await ok(ann.asks("PATCH", f"{members}/{bob.id}", {"role": "admin"})))["role"] == "admin"
    await refused(bob.asks("PATCH", f"{members}/{ann.id}", {"role": "member"}), 403, "forbidden")
    await refused(bob.asks("DELETE", f"{members}/{ann.id}"), 403, "forbidden")
    await refused(bob.asks("PATCH", f"{members}/{carol.id}", {"role": "owner"}), 403, "forbidden")
    await refused(bob.asks("PATCH", f"{members}/{bob.id}", {"role": "owner"}), 403, "forbidden")
    assert (await ok(bob.asks("PATCH", f"{members}/{carol.id}", {"role": "guest"})))["role"] == "guest"
    assert (await ok(bob.asks("POST", members, {"user_id": dave.id, "role": "member"}), 201))["role"] == "member"
    await ok(bob.asks("DELETE", f"{members}/{carol.id}"), 204)
    await refused(ann.asks("PATCH", f"{members}/{carol.id}", {"role": "member"}), 404, "not_found")
    await refused(ann.asks("PATCH", f"{members}/{ann.id}", {"role": "member"}), 409, "conflict")
    await ok(ann.asks("PATCH", f"{members}/{dave.id}", {"role": "owner"}))
    await ok(ann.asks("PATCH", f"{members}/{ann.id}", {"role": "member"}))
    assert roles(await ok(dave.asks("GET", f"/api/rooms/{room}"))) == {
        "ann": "member",
        "bob": "admin",
        "dave": "owner",
    }


async def test_the_last_owner_leaves_the_room_to_an_heir_and_the_last_member_ends_it(serve: Serve) -> None:
    ann, bob, carol, dave = await people(serve, "ann", "bob", "carol", "dave")
    room = await ann.opens(members=["bob", "carol", "dave"])
    members = f"/api/rooms/{room}/members"
    await ok(ann.asks("PATCH", f"{members}/{carol.id}", {"role": "admin"}))
    at_bob = await bob.sits_in(room)
    await ok(ann.asks("DELETE", f"{members}/{ann.id}"), 204)
    assert (await at_bob.hears("member_added"))["member"]["role"] == "owner"
    removed = await at_bob.hears("member_removed")
    assert (removed["user_id"], removed["username"], removed["by"]) == (ann.id, "ann", "ann")
    assert roles(await ok(bob.asks("GET", f"/api/rooms/{room}"))) == {
        "bob": "member",
        "carol": "owner",
        "dave": "member",
    }
    await ok(carol.asks("DELETE", f"{members}/{carol.id}"), 204)
    assert roles(await ok(dave.asks("GET", f"/api/rooms/{room}")))["bob"] == "owner", "the longest membership"
    await ok(dave.asks("DELETE", f"{members}/{dave.id}"), 204)
    await ok(bob.asks("DELETE", f"{members}/{bob.id}"), 204)
    stored = await ann.server.house.rooms.get(at_bob.greeting["room_id"])
    assert stored is not None and stored.ended_at_ms is not None


async def test_a_public_room_that_all_have_left_belongs_to_whoever_comes_first(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(kind="public")
    await ok(ann.asks("DELETE", f"/api/rooms/{room}/members/{ann.id}"), 204)
    assert (await ok(bob.asks("POST", f"/api/rooms/{room}/members", {}), 201))["role"] == "owner"
    assert (await ok(ann.asks("POST", f"/api/rooms/{room}/members", {}), 201))["role"] == "member"


async def test_who_is_removed_hears_why_and_then_nothing_more(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(members=["bob"])
    at_ann, chairs = await ann.sits_in(room), [await bob.sits_in(room), await bob.sits_in(room)]
    await asyncio.gather(
        ok(ann.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}"), 204),
        *(at_ann.sends({"content": f"meanwhile {number}"}) for number in range(5)),
    )
    for chair in chairs:
        assert await chair.is_closed() == FORBIDDEN
        last = chair.heard[-1]
        assert last["type"] == "access_revoked" and "ann removed" in last["because"] and last["decision_id"]
    await at_ann.hears("member_removed", user_id=bob.id)
    await refused(bob.asks("GET", f"/api/rooms/{room}/messages"), 403, "not_a_member")
    await refused(bob.asks("POST", f"/api/rooms/{room}/messages", {"content": "back"}), 403, "forbidden")
    look = await bob.asks("GET", f"/ws/chat/{room}/")
    assert (look.json["would"], look.json["error"]["code"]) == (403, "not_a_member")
    await ok(ann.asks("POST", f"/api/rooms/{room}/members", {"username": "bob"}), 201)
    await (await bob.sits_in(room)).says("thank you")


async def test_who_leaves_is_out_on_every_device(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(members=["bob"])
    chair = await bob.sits_in(room)
    await ok(bob.asks("DELETE", f"/api/rooms/{room}/members/{bob.id}"), 204)
    assert await chair.is_closed() == FORBIDDEN
    assert chair.heard[-1]["type"] == "access_revoked"


async def test_another_role_changes_what_an_open_socket_may_do_at_once(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(members=["bob"])
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    await at_bob.says("I may")
    await ok(ann.asks("PATCH", f"/api/rooms/{room}/members/{bob.id}", {"role": "guest"}))
    changed = await at_bob.hears("capabilities_changed")
    assert changed["capabilities"] == ["chat.read"] and changed["because"]
    no_longer = await at_bob.asks({"type": "message", "content": "may I?"})
    assert no_longer["error_code"] == "forbidden" and no_longer["decision_id"]
    assert (await at_bob.asks({"type": "typing", "is_typing": True}))["error_code"] == "forbidden"
    await at_ann.says("you may still listen")
    await at_bob.hears_message(content="you may still listen")
    await ok(ann.asks("PATCH", f"/api/rooms/{room}/members/{bob.id}", {"role": "admin"}))
    assert "chat.moderate" in (await at_bob.hears("capabilities_changed"))["capabilities"]
    deleted = await at_bob.asks({"type": "delete_message", "id": 2})
    assert deleted["message"]["deleted"] is True


async def test_a_revocation_meets_what_is_already_on_the_wire(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob", messages_per_second=0)
    room = await ann.opens(members=["bob"])
    at_bob = await bob.sits_in(room)
    await asyncio.gather(
        ok(ann.asks("PATCH", f"/api/rooms/{room}/members/{bob.id}", {"role": "guest"})),
        *(at_bob.sends({"content": f"{number}", "ref": f"{number}"}) for number in range(50)),
    )
    answers = [await answer_to(at_bob, str(number)) for number in range(50)]
    kinds = [answer["type"] for answer in answers]
    assert kinds == sorted(kinds), "some are stored, then all are refused: never the other way round"
    page = await ok(ann.asks("GET", f"/api/rooms/{room}/messages"))
    assert len(page["messages"]) == kinds.count("chat_message")


async def answer_to(chair: Chair, ref: str) -> dict[str, Any]:
    for frame in chair.heard:
        if frame.get("ref") == ref:
            return frame
    while (frame := await chair.next()).get("ref") != ref:
        pass
    return frame


# --- The end of a room ---------------------------------------------------------------------------------


async def test_the_end_of_a_room(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(name="Over", members=["bob"])
    chairs = [await ann.sits_in(room), await bob.sits_in(room)]
    await chairs[1].says("last words")
    code = await link(ann, room)
    await refused(bob.asks("DELETE", f"/api/rooms/{room}"), 403, "forbidden")
    assert (await ok(ann.asks("DELETE", f"/api/rooms/{room}")))["status"] == "ended"
    for chair in chairs:
        assert await chair.is_closed() == ENDED
        assert chair.heard[-1] == {"type": "room_ended", "room_id": room, "by": "ann"}
    address = f"/api/rooms/{room}"
    for method, path, body in (
        ("DELETE", address, None),
        ("PATCH", address, {"name": "again"}),
        ("POST", f"{address}/messages", {"content": "hello?"}),
        ("PATCH", f"{address}/messages/1", {"content": "hello?"}),
        ("DELETE", f"{address}/messages/1", None),
        ("PUT", f"{address}/messages/1/reactions/%F0%9F%91%8D", None),
        ("POST", f"{address}/read", {"up_to": 1}),
        ("POST", f"{address}/members", {"username": "bob"}),
        ("POST", f"{address}/invites", {}),
        ("POST", f"/api/invites/{code}", None),
    ):
        person = bob if "/messages" in path else ann
        assert (await refused(person.asks(method, path, body), 410, "ended")).json["error"]["fix"]
    page = await ok(bob.asks("GET", f"{address}/messages"))
    assert [message["content"] for message in page["messages"]] == ["last words"]
    assert (await ok(bob.asks("GET", address)))["status"] == "ended"
    assert (await ok(bob.asks("GET", "/api/rooms")))["rooms"] == []
    look = await bob.asks("GET", f"/ws/chat/{room}/")
    assert (look.json["would"], look.json["error"]["code"]) == (410, "ended")
    await ok(bob.asks("DELETE", f"{address}/members/{bob.id}"), 204)
    await refused(bob.asks("GET", f"{address}/messages"), 403, "not_a_member")


# --- Guests --------------------------------------------------------------------------------------------


async def test_a_room_open_to_guests_is_read_by_anybody_and_answered_by_members(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(name="Stage", guest_access=True)
    at_ann = await ann.sits_in(room)
    await at_ann.says("welcome")
    nobody = ann.server.stranger()
    seat = await nobody.sits_in(room)
    greeting = seat.greeting
    assert greeting["user"] == "" and greeting["capabilities"] == ["chat.read"]
    assert greeting["user_profile"]["id"] is None and greeting["user_profile"]["username"] == "Anonymous"
    for frame in (
        {"type": "message", "content": "me too"},
        {"type": "typing", "is_typing": True},
        {"type": "react", "id": 1, "emoji": "👍"},
        {"type": "delete_message", "id": 1},
        {"type": "read_status", "up_to": 1},
        {"type": "online_status", "status": "busy"},
        {"type": "new_message", "message_id": 1},
        {"type": "reauth", "token": "x.y.z"},
    ):
        assert (await seat.asks(frame))["error_code"] == "unauthenticated", frame
    assert (await seat.asks({"type": "ping", "timestamp": 1}))["type"] == "pong"
    await at_ann.says("still here?")
    assert (await seat.hears_message(content="still here?"))["is_own"] is False
    page = await ok(nobody.asks("GET", f"/api/rooms/{room}/messages"))
    assert len(page["messages"]) == 2 and {message["is_own"] for message in page["messages"]} == {False}
    at_bob = await bob.sits_in(room)
    assert at_bob.greeting["user"] == "bob" and at_bob.greeting["capabilities"] == ["chat.read"]
    assert all(frame["type"] != "user_joined" or frame["user_id"] for frame in at_ann.heard)
    closed = await ok(ann.asks("PATCH", f"/api/rooms/{room}", {"guest_access": False}))
    assert closed["guest_access"] is False
    for chair in (seat, at_bob):
        assert await chair.is_closed() == FORBIDDEN
        assert chair.heard[-1]["type"] == "access_revoked" and chair.heard[-1]["because"]
    await refused(nobody.asks("GET", f"/api/rooms/{room}/messages"), 401, "unauthenticated")
    await at_ann.says("alone again")


# --- History and messages --------------------------------------------------------------------------------


async def test_history_comes_in_pages_between_exclusive_bounds(serve: Serve) -> None:
    (ann,) = await people(serve, "ann", messages_per_second=0)
    room = await ann.opens()
    chair = await ann.sits_in(room)
    for number in range(1, 251):
        await chair.sends({"content": f"m{number}", "client_id": f"c{number}"})
    await chair.hears_message(content="m250")
    await chair.asks({"type": "delete_message", "id": 3})

    async def page(query: str) -> tuple[list[int], bool]:
        found = await ok(ann.asks("GET", f"/api/rooms/{room}/messages{query}"))
        assert (found["last_seq"], found["epoch"]) == (251, chair.greeting["epoch"])
        return [message["id"] for message in found["messages"]], found["has_more"]

    assert await page("") == (list(range(201, 251)), True)
    assert await page("?limit=200") == (list(range(51, 251)), True)
    assert await page("?limit=1") == ([250], True)
    assert await page("?before=201&limit=3") == ([198, 199, 200], True)
    assert await page("?before=4") == ([1, 2, 3], False)
    assert await page("?before=1") == ([], False)
    assert await page("?before=0") == ([], False)
    assert await page("?after=248") == ([249, 250], False)
    assert await page("?after=0&limit=3") == ([1, 2, 3], True)
    assert await page("?after=250") == ([], False)
    assert await page("?after=999999") == ([], False)
    assert await page("?after=10&before=14") == ([11, 12, 13], False)
    assert await page("?after=10&before=20&limit=2") == ([18, 19], True)
    oldest = await ok(ann.asks("GET", f"/api/rooms/{room}/messages?before=5"))
    tombstone = oldest["messages"][2]
    assert (tombstone["id"], tombstone["rev"], tombstone["deleted"], tombstone["content"]) == (3, 251, True, "")


async def test_messages_over_http_are_what_the_sockets_hear(serve: Serve) -> None:
    ann, bob = await people(serve, "ann", "bob")
    room = await ann.opens(members=["bob"])
    at_bob = await bob.sits_in(room)
    address = f"/api/rooms/{room}/messages"
    posted = await ok(ann.asks("POST", address, {"content": "hi @bob", "client_id": "one"}), 201)
    assert (posted["id"], posted["is_own"], posted["mentions"], posted["client_id"]) == (1, True, [bob.id], "one")
    assert await at_bob.hears_message(id=1) == posted | {"is_own": False}
    again = await ok(ann.asks("POST", address, {"content": "hi @bob", "client_id": "one"}), 200)
    assert again == posted | {"duplicate": True}
    await refused(ann.asks("POST", address, {"content": "other", "client_id": "one"}), 409, "conflict")
    edited = await ok(ann.asks("PATCH", f"{address}/1", {"content": "hello"}))
    assert (edited["content"], edited["rev"], edited["mentions"]) == ("hello", 2, [])
    assert (await at_bob.hears("message_updated", change="edited"))["message"] == edited | {"is_own": False}
    heart = quote("❤️")
    assert (await ok(bob.asks("PUT", f"{address}/1/reactions/{heart}")))["reactions"] == {"❤️": ["bob"]}
    assert (await ok(ann.asks("PUT", f"{address}/1/reactions/{heart}")))["reactions"] == {"❤️": ["bob", "ann"]}
    assert (await ok(bob.asks("DELETE", f"{address}/1/reactions/{heart}")))["reactions"] == {"❤️": ["ann"]}
    reply = await ok(bob.asks("POST", address, {"content": "yes", "reply_to": 1}), 201)
    assert reply["reply_to"] == {"id": 1, "sender": "ann", "excerpt": "hello"}
    gone = await ok(ann.asks("DELETE", f"{address}/1"))
    assert (gone["deleted"], gone["content"], gone["reactions"]) == (True, "", {})
    await at_bob.hears("message_updated", change="deleted")
    await refused(ann.asks("PATCH", f"{address}/1", {"content": "back"}), 404, "not_found")
    assert (await ok(bob.asks("GET", address)))["messages"][1]["reply_to"]["excerpt"] == "", "not even in a quote"
    await ok(bob.asks("POST", f"/api/rooms/{room}/read", {"up_to": 1}))
    assert (await at_bob.hears("read_status_update"))["up_to"] == 1
    seqs = [frame["message"]["seq"] for frame in at_bob.heard if isinstance(frame.get("message"), dict)]
    assert seqs == list(range(1, 8))


async def test_posting_over_http_has_the_rate_of_a_socket(serve: Serve) -> None:
    (ann,) = await people(serve, "ann", messages_per_second=1, message_burst=3)
    room = await ann.opens()
    address = f"/api/rooms/{room}/messages"
    answers = [await ann.asks("POST", address, {"content": str(number)}) for number in range(4)]
    assert [answer.status for answer in answers] == [201, 201, 201, 429]
    assert answers[-1].code == "rate_limited" and int(answers[-1].headers["Retry-After"]) >= 1
    assert (await ok(ann.asks("GET", address)))["last_seq"] == 3
