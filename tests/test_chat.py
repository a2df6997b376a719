"""The chat socket from outside: messages, changes, what goes on around them (PROTOCOL 3)."""

from __future__ import annotations

import re

import pytest

from tests.actors import Chair, Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def two_in_a_room(serve: Serve, **settings: object) -> tuple[Person, Person, str, Chair, Chair]:
    server = await serve(**settings)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(name="Tea 茶", members=["bob"])
    return ann, bob, room, await ann.sits_in(room), await bob.sits_in(room)


async def test_the_greeting_says_everything_a_page_needs(serve: Serve) -> None:
    server = await serve()
    ann, bob = await server.person("ann", display_name="Ann 安"), await server.person("bob")
    room = await ann.opens(name="Tea 茶", members=["bob"])
    greeting = (await ann.sits_in(room)).greeting
    assert greeting["room_id"] == room
    assert greeting["user"] == "ann"
    assert greeting["user_profile"] == {
        "id": ann.id,
        "username": "ann",
        "display_name": "Ann 安",
        "avatar_url": "",
        "bio": "",
        "tags": [],
        "is_online": True,
    }
    assert greeting["heartbeat_interval"] == 30
    assert ISO.fullmatch(greeting["server_time"])
    assert greeting["last_seq"] == 0
    assert (greeting["resume"], greeting["resume_reason"]) == ("none", None)
    assert greeting["room"] == {"id": room, "name": "Tea 茶", "kind": "group", "status": "active"}
    assert {"chat.read", "chat.send", "chat.moderate", "room.end"} <= set(greeting["capabilities"])
    assert [(member["username"], member["status"]) for member in greeting["members"]] == [
        ("ann", "online"),
        ("bob", "offline"),
    ]
    assert greeting["limits"] == {"message_chars": 10000, "upload_bytes": 26214400, "messages_per_second": 20}
    assert greeting["ice_servers"] == []
    assert set((await bob.sits_in(room)).greeting["capabilities"]) == {"chat.read", "chat.send", "room.invite"}


async def test_a_message_reaches_everybody_and_its_own_copy_is_the_acknowledgement(serve: Serve) -> None:
    ann, _bob, room, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.sends({"type": "message", "content": "hi 你好 😀", "client_id": "one", "ref": "r1"})
    own = await at_ann.hears("chat_message")
    heard = await at_bob.hears("chat_message")
    assert own["ref"] == "r1" and "ref" not in heard
    assert own["message"] == heard["message"] | {"is_own": True}
    assert heard["message"] == {
        "id": 1,
        "seq": 1,
        "rev": 1,
        "client_id": "one",
        "room_id": room,
        "sender": "ann",
        "sender_id": ann.id,
        "sender_name": "ann",
        "sender_avatar": "",
        "content": "hi 你好 😀",
        "message_type": "text",
        "file_url": "",
        "file": None,
        "reply_to": None,
        "reactions": {},
        "mentions": [],
        "created_at": heard["message"]["created_at"],
        "edited_at": None,
        "deleted": False,
        "is_own": False,
        "is_read": False,
    }
    assert ISO.fullmatch(heard["message"]["created_at"])


async def test_all_connections_of_the_sender_get_an_own_copy(serve: Serve) -> None:
    ann, _, room, at_ann, _ = await two_in_a_room(serve)
    second = await ann.sits_in(room)
    await at_ann.says("hello")
    assert (await second.hears_message(content="hello"))["is_own"] is True


async def test_a_frame_without_type_is_a_message(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.sends({"content": "old client"})
    assert (await at_bob.hears_message(content="old client"))["client_id"] is None


async def test_numbers_are_dense_over_creations_and_changes_and_the_same_for_all(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    for number in range(3):
        await at_ann.says(f"message {number}")
    await at_ann.asks({"type": "edit_message", "id": 2, "content": "edited"})
    await at_bob.sends({"type": "react", "id": 1, "emoji": "👍"})
    await at_ann.asks({"type": "delete_message", "id": 3})
    await at_ann.says("last")
    await at_bob.hears_message(content="last")
    for chair in (at_ann, at_bob):
        steps = [frame["message"] for frame in chair.heard if isinstance(frame.get("message"), dict)]
        assert [step["seq"] for step in steps] == [1, 2, 3, 4, 5, 6, 7]
        assert [step["rev"] for step in steps] == [1, 2, 3, 4, 5, 6, 7]
        assert [step["id"] for step in steps] == [1, 2, 3, 2, 1, 3, 7]


async def test_a_client_id_counts_once_for_good(serve: Serve) -> None:
    ann, _, room, at_ann, at_bob = await two_in_a_room(serve)
    first = await at_ann.says("only once", client_id="x")
    await at_ann.sends({"content": "only once", "client_id": "x"})
    again = await at_ann.hears("chat_message")
    assert again["duplicate"] is True and again["message"]["id"] == first["id"]
    over_rest = await ann.asks("POST", f"/api/rooms/{room}/messages", {"content": "only once", "client_id": "x"})
    assert (over_rest.status, over_rest.json["duplicate"], over_rest.json["id"]) == (200, True, first["id"])
    await at_ann.sends({"content": "something else", "client_id": "x"})
    error = await at_ann.hears("error")
    assert (error["error_code"], error["client_id"]) == ("conflict", "x")
    await at_ann.says("after")
    await at_bob.hears_message(content="after")
    assert sum(frame["type"] == "chat_message" for frame in at_bob.heard) == 2


async def test_a_client_id_still_counts_when_memory_has_forgotten_it(serve: Serve) -> None:
    _, _, _, at_ann, _ = await two_in_a_room(serve, messages_per_second=0)
    first = await at_ann.says("long ago", client_id="old")
    for number in range(150):
        await at_ann.sends({"content": f"filler {number}", "client_id": f"f{number}"})
    await at_ann.hears_message(content="filler 149")
    await at_ann.sends({"content": "long ago", "client_id": "old"})
    again = await at_ann.hears("chat_message", duplicate=True)
    assert again["message"]["id"] == first["id"]
    await at_ann.sends({"content": "a retry among others", "client_id": "new"})
    await at_ann.sends({"content": "other", "client_id": "old"})
    assert (await at_ann.hears_message(client_id="new"))["id"] == 152
    assert (await at_ann.hears("error"))["error_code"] == "conflict"


async def test_the_same_client_id_twice_in_one_breath_is_stored_once(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    for _ in range(3):
        await at_ann.sends({"content": "twice", "client_id": "t"})
    copies = [await at_ann.hears("chat_message") for _ in range(3)]
    assert [copy.get("duplicate", False) for copy in copies] == [False, True, True]
    assert {copy["message"]["id"] for copy in copies} == {1}
    await at_ann.says("end")
    await at_bob.hears_message(content="end")
    assert sum(frame["type"] == "chat_message" for frame in at_bob.heard) == 2


async def test_two_people_may_use_the_same_client_id(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    mine = await at_ann.says("mine", client_id="same")
    await at_bob.hears_message(content="mine")
    theirs = await at_bob.says("theirs", client_id="same")
    assert (mine["id"], theirs["id"]) == (1, 2)


async def test_edit_delete_react(serve: Serve) -> None:
    _ann, _bob, _, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.says("helo")
    edited = await at_ann.asks({"type": "edit_message", "id": 1, "content": "hello"})
    assert (edited["type"], edited["change"]) == ("message_updated", "edited")
    assert edited["message"]["content"] == "hello" and ISO.fullmatch(edited["message"]["edited_at"])
    assert edited["message"]["is_own"] is True
    heard = await at_bob.hears("message_updated")
    assert heard["message"]["is_own"] is False and heard["change"] == "edited"

    reacted = await at_bob.asks({"type": "react", "id": 1, "emoji": "❤️"})
    assert reacted["message"]["reactions"] == {"❤️": ["bob"]} and reacted["message"]["is_own"] is False
    assert (await at_ann.hears("message_updated", change="reactions"))["message"]["is_own"] is True
    same = await at_bob.asks({"type": "react", "id": 1, "emoji": "❤️"})
    assert same["message"]["rev"] == reacted["message"]["rev"], "nothing changed, so no number was spent"
    gone = await at_bob.asks({"type": "react", "id": 1, "emoji": "❤️", "on": False})
    assert gone["message"]["reactions"] == {}

    deleted = await at_ann.asks({"type": "delete_message", "id": 1})
    assert deleted["change"] == "deleted"
    assert (deleted["message"]["deleted"], deleted["message"]["content"]) == (True, "")
    for frame in (
        {"type": "edit_message", "id": 1, "content": "back"},
        {"type": "react", "id": 1, "emoji": "👍"},
    ):
        assert (await at_ann.asks(frame))["error_code"] == "not_found"


async def test_one_changes_only_ones_own_unless_one_moderates(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.says("ann's")
    await at_bob.hears_message(content="ann's")
    await at_bob.says("bob's")
    for frame in ({"type": "edit_message", "id": 1, "content": "no"}, {"type": "delete_message", "id": 1}):
        refused = await at_bob.asks(frame)
        assert refused["error_code"] == "forbidden" and refused["decision_id"]
    deleted = await at_ann.asks({"type": "delete_message", "id": 2})
    assert deleted["message"]["deleted"] is True and deleted["message"]["is_own"] is False


async def test_changes_of_messages_that_memory_has_forgotten(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve, messages_per_second=0)
    for number in range(150):
        await at_ann.sends({"content": f"m{number}", "client_id": f"c{number}"})
    await at_ann.hears_message(content="m149")
    edited = await at_ann.asks({"type": "edit_message", "id": 1, "content": "old and new"})
    assert (edited["message"]["id"], edited["message"]["rev"]) == (1, 151)
    await at_bob.sends({"type": "react", "id": 2, "emoji": "👍", "ref": "a"})
    await at_bob.sends({"type": "react", "id": 2, "emoji": "🎉", "ref": "b"})
    answer = await at_bob.hears("message_updated", ref="b")
    assert answer["message"]["reactions"] == {"👍": ["bob"], "🎉": ["bob"]}
    reply = await at_ann.says("about the third", reply_to=3)
    assert reply["reply_to"] == {"id": 3, "sender": "ann", "excerpt": "m2"}


async def test_replies_quote_and_mentions_find_members(serve: Serve) -> None:
    ann, bob, room, at_ann, at_bob = await two_in_a_room(serve)
    await at_bob.says("what about\n\nlunch? " + "x" * 300)
    reply = await at_ann.says("yes, @BOB! and @nobody", reply_to=1)
    assert reply["reply_to"]["id"] == 1 and reply["reply_to"]["sender"] == "bob"
    assert reply["reply_to"]["excerpt"].startswith("what about lunch? xxx")
    assert len(reply["reply_to"]["excerpt"]) == 120
    assert reply["mentions"] == [bob.id]
    refused = await at_ann.asks({"type": "message", "content": "to nothing", "reply_to": 99})
    assert refused["error_code"] == "not_found"
    # What was deleted is not to be read in quotes either.
    await at_bob.asks({"type": "delete_message", "id": 1})
    history = (await ann.asks("GET", f"/api/rooms/{room}/messages")).json["messages"]
    assert history[1]["reply_to"] == {"id": 1, "sender": "bob", "excerpt": ""}


async def test_typing_is_told_to_the_others_and_ends_by_itself(serve: Serve) -> None:
    ann, _, _, at_ann, at_bob = await two_in_a_room(serve, typing_seconds=0.1)
    await at_ann.sends({"type": "typing", "is_typing": True, "what": "voice"})
    begun = await at_bob.hears("user_typing")
    assert begun == {"type": "user_typing", "username": "ann", "user_id": ann.id, "is_typing": True, "what": "voice"}
    ended = await at_bob.hears("user_typing")
    assert ended["is_typing"] is False
    await at_ann.sends({"type": "typing", "is_typing": True})
    await at_bob.hears("user_typing", is_typing=True)
    await at_ann.sends({"type": "typing", "is_typing": False})
    await at_bob.hears("user_typing", is_typing=False)


async def test_read_cursors_only_rise_and_show_in_history(serve: Serve) -> None:
    ann, bob, room, at_ann, at_bob = await two_in_a_room(serve)
    for number in range(4):
        await at_ann.says(f"m{number}")
    await at_bob.sends({"type": "read_status", "message_ids": [1, 3]})
    update = await at_ann.hears("read_status_update")
    assert update == {
        "type": "read_status_update",
        "message_ids": [1, 3],
        "up_to": 3,
        "username": "bob",
        "user_id": bob.id,
    }
    assert (await at_bob.hears("read_status_update"))["up_to"] == 3
    lower = await at_bob.asks({"type": "read_status", "up_to": 2})
    assert lower["up_to"] == 3, "a cursor never falls"
    beyond = await at_bob.asks({"type": "read_status", "up_to": 99})
    assert beyond["up_to"] == 4, "nor does it pass the newest message"
    mine = (await ann.asks("GET", f"/api/rooms/{room}/messages")).json["messages"]
    assert [message["is_read"] for message in mine] == [True] * 4
    greeting = (await ann.sits_in(room)).greeting
    assert {member["username"]: member["read_up_to"] for member in greeting["members"]} == {"ann": 0, "bob": 4}


async def test_presence_counts_connections_and_forgives_a_reload(serve: Serve) -> None:
    server = await serve(presence_grace_seconds=0.3)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(members=["bob"])
    at_ann = await ann.sits_in(room)
    assert (await at_ann.hears("user_joined"))["user_id"] == ann.id, "the newcomer hears of it as well"
    first = await bob.sits_in(room)
    joined = await at_ann.hears("user_joined")
    assert joined["username"] == "bob" and joined["user_profile"]["id"] == bob.id
    second = await bob.sits_in(room)
    await first.leaves()
    await second.leaves()
    back = await bob.sits_in(room)  # A reload within the grace.
    await back.says("still here")
    await at_ann.hears_message(content="still here")
    assert [frame["type"] for frame in at_ann.heard[-2:]] == ["user_joined", "chat_message"]
    await back.leaves()
    left = await at_ann.hears("user_left")
    assert (left["username"], left["user_id"]) == ("bob", bob.id) and ISO.fullmatch(left["last_seen"])
    members = (await ann.asks("GET", f"/api/rooms/{room}")).json["members"]
    assert [(member["username"], member["status"]) for member in members] == [("ann", "online"), ("bob", "offline")]
    assert members[1]["last_seen"] == left["last_seen"]


async def test_online_status_is_told_to_all(serve: Serve) -> None:
    ann, _, _, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.sends({"type": "online_status", "status": "busy"})
    for chair in (at_ann, at_bob):
        presence = await chair.hears("presence")
        assert presence == {
            "type": "presence",
            "user_id": ann.id,
            "username": "ann",
            "status": "busy",
            "last_seen": None,
        }
    # At most one a second: the latest comes when the pause is over.
    await at_ann.sends({"type": "online_status", "status": "away"})
    await at_ann.sends({"type": "online_status", "status": "online"})
    assert (await at_bob.hears("presence"))["status"] == "online"


async def test_old_clients_notices_are_handed_on(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve)
    await at_ann.sends({"type": "new_message", "message_id": 7})
    assert (await at_bob.hears("new_message"))["message_id"] == 7


async def test_pings_and_heartbeats_are_answered(serve: Serve) -> None:
    _, _, _, at_ann, _ = await two_in_a_room(serve, heartbeat_seconds=0.3)
    assert (await at_ann.asks({"type": "ping", "timestamp": "then"}))["timestamp"] == "then"
    answer = await at_ann.asks({"type": "heartbeat"})
    assert answer["type"] == "heartbeat_response" and ISO.fullmatch(answer["timestamp"])
    assert isinstance(answer["server_time"], float)
    assert isinstance((await at_ann.asks({"type": "heartbeat_ack"}))["timestamp"], float)
    assert isinstance((await at_ann.hears("heartbeat"))["timestamp"], float)


async def test_too_many_frames_are_refused_one_by_one_and_then_hung_up_on(serve: Serve) -> None:
    _, _, _, at_ann, at_bob = await two_in_a_room(serve, messages_per_second=1, message_burst=5)
    for number in range(5 + 200):
        await at_ann.sends({"type": "ping", "timestamp": number, "ref": str(number)})
    assert await at_ann.is_closed() == (4429, "too_many")
    refused = [frame for frame in at_ann.heard if frame["type"] == "error"]
    assert {frame["error_code"] for frame in refused} == {"rate_limited"}
    assert all(frame["retry_after"] > 0 and frame["ref"] for frame in refused)
    assert len(refused) == 199
    await at_bob.says("undisturbed")
