"""Who has listened to a voice message: marked once for each of the others, told to all, kept (PROTOCOL 3.2)."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from heartlink.journal import Post
from heartlink.model import RoomId, StoredMessage
from tests.actors import Person, Server
from tests.administrators import does
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test(timeout=30)


async def sends_voice(server: Server, person: Person, room: str) -> int:
    """A voice message without its file, straight into the room's journal; its id."""
    stored: asyncio.Future[StoredMessage] = asyncio.get_running_loop().create_future()
    user = await server.house.users.get(person.id)  # type: ignore[arg-type]
    assert user is not None

    def settle(entry: Any, outcome: Any, *, duplicate: bool, published: bool) -> None:
        stored.set_result(outcome)

    async with server.house.live_rooms.use(RoomId(room)) as live:
        live.journal.submit(
            Post(
                user,
                settle,
                content="",
                message_type="voice",
                client_id=None,
                dedup=secrets.token_hex(16),
                fingerprint="",
                reply_to=None,
                mentions=(),
            )
        )
        return (await stored).message.id


async def trio(serve: Serve) -> tuple[Server, Person, Person, Person, str]:
    server = await serve()
    ann, bob, eve = [await server.person(name) for name in ("ann", "bob", "eve")]
    room = await ann.opens(name="Tea", members=["bob", "eve"])
    return server, ann, bob, eve, room


async def test_everybody_hears_who_has_listened(serve: Serve) -> None:
    server, ann, bob, eve, room = await trio(serve)
    at_ann, at_bob = await ann.sits_in(room), await bob.sits_in(room)
    voice = await sends_voice(server, ann, room)
    assert (await at_bob.hears("chat_message"))["message"]["listened"] == []
    await at_bob.sends({"type": "listened", "id": voice, "ref": "mine"})
    for chair, ref in ((at_ann, None), (at_bob, "mine")):
        heard = await chair.hears("message_updated")
        assert (heard["change"], heard["message"]["listened"], heard.get("ref")) == ("listened", ["bob"], ref)
        assert heard["message"]["rev"] == voice + 1 and heard["message"]["edited_at"] is None
    path = f"/api/rooms/{room}/messages/{voice}/listened"
    assert (await does(eve, "PUT", path))["listened"] == ["bob", "eve"]
    assert (await at_ann.hears("message_updated"))["message"]["listened"] == ["bob", "eve"]
    again = await does(bob, "PUT", path)
    assert (again["listened"], again["rev"]) == (["bob", "eve"], voice + 2), "once for each"
    page = await does(bob, "GET", f"/api/rooms/{room}/messages")
    assert page["messages"][0] == again


async def test_only_others_voice_messages_are_listened_to(serve: Serve) -> None:
    server, ann, bob, _, room = await trio(serve)
    at_bob = await bob.sits_in(room)
    voice = await sends_voice(server, ann, room)
    text = (await at_bob.says("just words"))["id"]
    own = await sends_voice(server, bob, room)
    for message_id, words in ((text, "no voice message"), (own, "your own")):
        refused = await at_bob.asks({"type": "listened", "id": message_id})
        assert refused["error_code"] == "invalid_parameters" and words in refused["message"] and refused["fix"]
    assert (await at_bob.asks({"type": "listened", "id": 999}))["error_code"] == "not_found"
    assert (await at_bob.asks({"type": "listened", "id": "1"}))["error_code"] == "invalid_parameters"
    assert (await at_bob.asks({"type": "listened"}))["error_code"] == "missing_parameters"
    await does(ann, "DELETE", f"/api/rooms/{room}/messages/{voice}")
    assert (await at_bob.asks({"type": "listened", "id": voice}))["error_code"] == "not_found"


async def test_messages_of_other_kinds_have_no_such_field(serve: Serve) -> None:
    server, ann, bob, _, room = await trio(serve)
    at_ann = await ann.sits_in(room)
    assert "listened" not in await at_ann.says("just words")
    voice = await sends_voice(server, ann, room)
    await does(bob, "PUT", f"/api/rooms/{room}/messages/{voice}/listened")
    tombstone = await does(ann, "DELETE", f"/api/rooms/{room}/messages/{voice}")
    assert (tombstone["deleted"], tombstone["listened"]) == (True, [])


async def test_who_may_only_read_may_say_that_they_have_listened(serve: Serve) -> None:
    server, ann, _, _, room = await trio(serve)
    voice = await sends_voice(server, ann, room)
    await does(ann, "PATCH", f"/api/rooms/{room}", {"guest_access": True})
    guest = await server.person("guest")
    path = f"/api/rooms/{room}/messages/{voice}/listened"
    assert (await does(guest, "PUT", path))["listened"] == ["guest"]
    assert (await server.stranger().asks("PUT", path)).status == 401
    await does(ann, "PATCH", f"/api/rooms/{room}", {"guest_access": False})
    assert (await guest.asks("PUT", path)).status == 403
