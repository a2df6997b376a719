"""Messages over HTTP: history, posting, changes, read marks (PROTOCOL 5)."""

from __future__ import annotations

import re
import time
from typing import Annotated, Final

import msgspec

from heartlink.chat import HistoryPage, LiveRoom, Query, SearchPage
from heartlink.errors import not_found, rate_limited, room_ended, unfit
from heartlink.handlers.base import Operation, describe
from heartlink.handlers.rooms import RoomHandler
from heartlink.model import (
    Identity,
    Message,
    MessageType,
    RoomId,
    StoredMessage,
    User,
)
from heartlink.protocol import (
    MAX_INTEGER,
    ClientId,
    DeleteMessage,
    EditMessage,
    Listened,
    MessageId,
    React,
    SendMessage,
)

HISTORY_LIMIT: Final = 200
HISTORY_LIMIT_BY_DEFAULT: Final = 50
SEARCH_LIMIT: Final = 100
SEARCH_LIMIT_BY_DEFAULT: Final = 20
SEARCH_TEXT_CHARS: Final = 2000
"""More than a query may have, so that it is the search that says what is wrong with it."""


class PostMessageBody(msgspec.Struct, frozen=True):
    """A message to be sent."""

    content: str
    message_type: MessageType = "text"
    client_id: ClientId | None = None
    reply_to: MessageId | None = None
    file_id: str | None = None


class EditMessageBody(msgspec.Struct, frozen=True):
    """A message's new text."""

    content: str


class ReadBody(msgspec.Struct, frozen=True):
    """Up to which message one has read."""

    up_to: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class TalkHandler(RoomHandler):
    """What the addresses of messages share."""

    def message_id(self, text: str) -> int:
        """The id in an address; what no message can have does not exist."""
        if not re.fullmatch("[0-9]{1,16}", text) or not 1 <= int(text) <= MAX_INTEGER:
            raise not_found("This message")
        return int(text)

    def take_turn(self, identity: Identity) -> User:
        """The user, unless they post too fast."""
        wait_seconds = self.house.rest_rate(identity.user.id).take(time.monotonic())
        if wait_seconds:
            raise rate_limited(round(wait_seconds, 3))
        return identity.user

    def answer_message(
        self, live: LiveRoom, row: StoredMessage, user: User, *, status: int = 200, duplicate: bool = False
    ) -> None:
        """Answer with M."""
        shown = self.house.views.message(live, row, user)
        body = bytes(shown)[:-1] + b',"duplicate":true}' if duplicate else shown
        self.answer(msgspec.Raw(body), status)

    async def amend(self, room_id: str, command: EditMessage | DeleteMessage | React | Listened) -> None:
        """Change a message and answer with its new state."""
        user = self.take_turn(self.need_identity())
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            row = await self.house.talk.amend(live, user, self.capabilities(live, user), command)
            self.answer_message(live, row, user)


class MessagesHandler(TalkHandler):
    """A room's history, and new messages."""

    operations = describe(
        GET=Operation(
            "A page of the history, ascending, tombstones included.",
            response=HistoryPage,
            query={
                "before": "only ids below this one",
                "after": "only ids above this one; alone: the oldest of them",
                "limit": f"1 to {HISTORY_LIMIT}, {HISTORY_LIMIT_BY_DEFAULT} if left out",
            },
            errors=(403, 404),
        ),
        POST=Operation(
            "Send a message; 200 with `duplicate` when its client_id was stored before.",
            PostMessageBody,
            Message,
            status=201,
            also=(200,),
            errors=(403, 404, 409, 410, 413, 429, 503),
        ),
    )

    async def get(self, room_id: str) -> None:
        """A page."""
        before = self.query_integer("before", None, 0, MAX_INTEGER)
        after = self.query_integer("after", None, 0, MAX_INTEGER)
        limit = self.query_integer("limit", HISTORY_LIMIT_BY_DEFAULT, 1, HISTORY_LIMIT)
        user = self.identity.user if self.identity else None
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            page = await self.house.views.history(
                live, user, before=before, after=after, limit=limit or HISTORY_LIMIT_BY_DEFAULT
            )
        self.answer(page)

    async def post(self, room_id: str) -> None:
        """A new message, which is broadcast as well."""
        user, body = self.take_turn(self.need_identity()), self.body(PostMessageBody)
        command = SendMessage(
            content=body.content,
            message_type=body.message_type,
            client_id=body.client_id,
            reply_to=body.reply_to,
            file_id=body.file_id,
        )
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            row, duplicate = await self.house.talk.post(live, user, lambda: self.capabilities(live, user), command)
            self.answer_message(live, row, user, status=200 if duplicate else 201, duplicate=duplicate)


class MessageHandler(TalkHandler):
    """One message."""

    operations = describe(
        PATCH=Operation("Edit a message.", EditMessageBody, Message, errors=(403, 404, 410, 413, 429, 503)),
        DELETE=Operation("Delete a message; its tombstone.", response=Message, errors=(403, 404, 410, 429, 503)),
    )

    async def patch(self, room_id: str, message_id: str) -> None:
        """Another text."""
        body = self.body(EditMessageBody)
        await self.amend(room_id, EditMessage(id=self.message_id(message_id), content=body.content))

    async def delete(self, room_id: str, message_id: str) -> None:
        """A tombstone."""
        await self.amend(room_id, DeleteMessage(id=self.message_id(message_id)))


class ReactionHandler(TalkHandler):
    """An emoji on a message."""

    operations = describe(
        PUT=Operation("React with an emoji.", response=Message, errors=(403, 404, 410, 429, 503)),
        DELETE=Operation("Take one's reaction away.", response=Message, errors=(403, 404, 410, 429, 503)),
    )

    async def put(self, room_id: str, message_id: str, emoji: str) -> None:
        """React."""
        await self._react(room_id, message_id, emoji, on=True)

    async def delete(self, room_id: str, message_id: str, emoji: str) -> None:
        """Take it away."""
        await self._react(room_id, message_id, emoji, on=False)

    async def _react(self, room_id: str, message_id: str, emoji: str, *, on: bool) -> None:
        if len(emoji) > 64:
            raise unfit("emoji", "it is longer than 64 characters")
        await self.amend(room_id, React(id=self.message_id(message_id), emoji=emoji, on=on))


class ListenedHandler(TalkHandler):
    """A voice message that one has listened to."""

    operations = describe(
        PUT=Operation(
            "Say that I have listened to somebody's voice message.",
            response=Message,
            errors=(403, 404, 410, 429, 503),
        ),
    )

    async def put(self, room_id: str, message_id: str) -> None:
        """Once for each listener; told to everybody."""
        await self.amend(room_id, Listened(id=self.message_id(message_id)))


class ReadHandler(RoomHandler):
    """One's read mark."""

    operations = describe(POST=Operation("Raise my read mark; it only rises.", ReadBody, ReadBody, errors=(403, 404)))

    async def post(self, room_id: str) -> None:
        """Stored, then told to the room."""
        user, body = self.need_identity().user, self.body(ReadBody)
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            if not self.house.live_rooms.may(live, user.id, "chat.read"):
                raise self.house.views.why_not_readable(live, user)
            if live.state.status == "ended":
                raise room_ended(live.id)
            await self.house.around.raise_and_save(live, user, body.up_to)
            self.answer(ReadBody(live.state.read_up_to(user.id)))


class SearchHandler(RoomHandler):
    """Words in a room's history."""

    operations = describe(
        GET=Operation(
            "Find messages by words in their text or their file's name, newest first.",
            response=SearchPage,
            query={
                "q": "the words; all must occur, in any case and width, also inside of words",
                "before": "only ids below this one: the `searched_to` of the answer to go on from",
                "limit": f"1 to {SEARCH_LIMIT}, {SEARCH_LIMIT_BY_DEFAULT} if left out",
            },
            errors=(403, 404),
        ),
    )

    async def get(self, room_id: str) -> None:
        """What was found in the time for one request."""
        query = Query(self.query_text("q", limit=SEARCH_TEXT_CHARS))
        before = self.query_integer("before", None, 0, MAX_INTEGER)
        limit = self.query_integer("limit", None, 1, SEARCH_LIMIT) or SEARCH_LIMIT_BY_DEFAULT
        user = self.identity.user if self.identity else None
        self.answer(await self.house.search.find(RoomId(room_id), user, query, before=before, limit=limit))


MESSAGE_ROUTES = [
    (r"/api/rooms/([^/]+)/messages", MessagesHandler, "its history"),
    (r"/api/rooms/([^/]+)/messages/([^/]+)", MessageHandler, "a message"),
    (r"/api/rooms/([^/]+)/messages/([^/]+)/reactions/([^/]+)", ReactionHandler, "a reaction"),
    (r"/api/rooms/([^/]+)/messages/([^/]+)/listened", ListenedHandler, "that I have listened to it"),
    (r"/api/rooms/([^/]+)/read", ReadHandler, "my read mark in it"),
    (r"/api/rooms/([^/]+)/search", SearchHandler, "words in its history"),
]
