"""Rooms over HTTP: rooms, members, invites, messages, read marks (PROTOCOL 5)."""

from __future__ import annotations

import time
from typing import Annotated, Final

import msgspec

from heartlink.chat import HistoryPage, LiveRoom, RoomList, RoomView
from heartlink.chat.views import InviteView
from heartlink.errors import not_found, rate_limited, room_ended, unfit
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import (
    Identity,
    Invite,
    Message,
    MessageType,
    RoomId,
    RoomKind,
    RoomRole,
    StoredMessage,
    User,
    UserId,
)
from heartlink.protocol import (
    MAX_INTEGER,
    ClientId,
    DeleteMessage,
    EditMessage,
    MemberView,
    MessageId,
    React,
    SendMessage,
    iso,
)

HISTORY_LIMIT: Final = 200
HISTORY_LIMIT_BY_DEFAULT: Final = 50
FIRST_MEMBERS_LIMIT: Final = 100


class CreateRoomBody(msgspec.Struct, frozen=True):
    """A new room; without a name pages show its members, without an id it gets one."""

    name: str = ""
    kind: RoomKind = "group"
    room_id: str | None = None
    members: Annotated[list[str], msgspec.Meta(max_length=FIRST_MEMBERS_LIMIT)] = []
    guest_access: bool = False


class UpdateRoomBody(msgspec.Struct, frozen=True):
    """What shall be changed of a room."""

    name: str | None = None
    kind: RoomKind | None = None
    guest_access: bool | None = None


class AddMemberBody(msgspec.Struct, frozen=True):
    """Who shall become a member; nobody named means oneself, in a public room."""

    username: str | None = None
    user_id: str | None = None
    role: RoomRole | None = None


class RoleBody(msgspec.Struct, frozen=True):
    """A member's new role."""

    role: RoomRole


class InviteBody(msgspec.Struct, frozen=True):
    """A new invite link: how many seconds it counts, for how many people."""

    expires_in: int | None = None
    max_uses: int | None = None


class InviteReply(msgspec.Struct, frozen=True, kw_only=True):
    """An invite link; ``url`` is an address of this site."""

    code: str
    room_id: str
    url: str
    expires_at: str | None
    max_uses: int | None
    uses: int


class InvitesReply(msgspec.Struct, frozen=True):
    """The invite links of a room."""

    invites: list[InviteReply]


class JoinedReply(msgspec.Struct, frozen=True):
    """The room one has joined."""

    room: RoomView


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


class RoomHandler(JsonHandler):
    """What the addresses of rooms share."""

    def capabilities(self, live: LiveRoom, user: User) -> tuple[str, ...]:
        """What a user may do in a room, now."""
        return self.house.live_rooms.rights(live, user.id).capabilities(live.id)

    def message_id(self, text: str) -> int:
        """The id in an address; what no message can have does not exist."""
        if not text.isdecimal() or not 1 <= int(text) <= MAX_INTEGER:
            raise not_found("This message")
        return int(text)

    async def answer_room(self, user: User, room_id: RoomId, status: int = 200) -> None:
        """Answer with a room as the user sees it."""
        self.answer(await self.house.views.room(user, room_id), status)


class RoomsHandler(RoomHandler):
    """My rooms, and new ones."""

    operations = describe(
        GET=Operation(
            "My rooms with unread counts and last message, newest activity first.",
            response=RoomList,
            query={"public": "1 for the public rooms that I may join instead"},
        ),
        POST=Operation("Open a room.", CreateRoomBody, RoomView, status=201, errors=(409,)),
    )

    async def get(self) -> None:
        """My rooms, or the public ones."""
        user = self.need_identity().user
        views = self.house.views
        is_public = self.query_text("public", "") not in ("", "0", "false")
        self.answer(await (views.public_rooms(user) if is_public else views.my_rooms(user)))

    async def post(self) -> None:
        """A new room, which is mine."""
        user, body = self.need_identity().user, self.body(CreateRoomBody)
        room_id = await self.house.membership.create(
            user,
            name=body.name,
            kind=body.kind,
            room_id=body.room_id,
            members=body.members,
            guest_access=body.guest_access,
        )
        await self.answer_room(user, room_id, 201)


class OneRoomHandler(RoomHandler):
    """A room."""

    operations = describe(
        GET=Operation("A room with all its members.", response=RoomView, errors=(403, 404)),
        PATCH=Operation("Change a room.", UpdateRoomBody, RoomView, errors=(403, 404, 410)),
        DELETE=Operation("End a room; its history stays readable.", response=RoomView, errors=(403, 404, 410)),
    )

    async def get(self, room_id: str) -> None:
        """The room as I see it."""
        await self.answer_room(self.need_identity().user, RoomId(room_id))

    async def patch(self, room_id: str) -> None:
        """Change what is named."""
        user, body = self.need_identity().user, self.body(UpdateRoomBody)
        await self.house.membership.update(
            user, RoomId(room_id), name=body.name, kind=body.kind, guest_access=body.guest_access
        )
        await self.answer_room(user, RoomId(room_id))

    async def delete(self, room_id: str) -> None:
        """End it."""
        user = self.need_identity().user
        await self.house.membership.end(user, RoomId(room_id))
        await self.answer_room(user, RoomId(room_id))


class MembersHandler(RoomHandler):
    """Who belongs to a room."""

    operations = describe(
        POST=Operation(
            "Make somebody a member, or oneself of a public room.",
            AddMemberBody,
            MemberView,
            status=201,
            errors=(403, 404, 410),
        )
    )

    async def post(self, room_id: str) -> None:
        """A new member."""
        user, body = self.need_identity().user, self.body(AddMemberBody)
        membership = self.house.membership
        whom = await membership.user_to_add(body.username, body.user_id)
        user_id = await membership.add(user, RoomId(room_id), whom, body.role)
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            self.answer(live.member_view(user_id), 201)


class MemberHandler(RoomHandler):
    """One membership."""

    operations = describe(
        PATCH=Operation("Give a member another role.", RoleBody, MemberView, errors=(403, 404, 409)),
        DELETE=Operation("Take somebody out, or leave.", status=204, errors=(403, 404)),
    )

    async def patch(self, room_id: str, user_id: str) -> None:
        """Another role."""
        user, body = self.need_identity().user, self.body(RoleBody)
        await self.house.membership.change_role(user, RoomId(room_id), UserId(user_id), body.role)
        async with self.house.live_rooms.use(RoomId(room_id)) as live:
            self.answer(live.member_view(UserId(user_id)))

    async def delete(self, room_id: str, user_id: str) -> None:
        """Remove, or leave."""
        await self.house.membership.remove(self.need_identity().user, RoomId(room_id), UserId(user_id))
        self.answer_nothing()


class InvitesHandler(RoomHandler):
    """The invite links of a room."""

    operations = describe(
        GET=Operation("The invite links of a room.", response=InvitesReply, errors=(403, 404)),
        POST=Operation("Make an invite link.", InviteBody, InviteReply, status=201, errors=(403, 404, 410)),
    )

    async def get(self, room_id: str) -> None:
        """Mine, or all for those who may change the room."""
        user = self.need_identity().user
        invites = await self.house.membership.invites(user, RoomId(room_id))
        self.answer(InvitesReply([_invite_reply(invite) for invite in invites]))

    async def post(self, room_id: str) -> None:
        """A new link."""
        user, body = self.need_identity().user, self.body(InviteBody)
        invite = await self.house.membership.invite(
            user, RoomId(room_id), expires_in_seconds=body.expires_in, max_uses=body.max_uses
        )
        self.answer(_invite_reply(invite), 201)


class InviteHandler(RoomHandler):
    """One invite link."""

    operations = describe(
        GET=Operation("Who invites where.", response=InviteView, errors=(404,), needs_sign_in=False),
        POST=Operation("Join by an invite link.", response=JoinedReply, errors=(404, 410)),
        DELETE=Operation("Withdraw an invite link.", status=204, errors=(403, 404)),
    )

    async def get(self, code: str) -> None:
        """What the link leads to; for anybody who has it."""
        invite = await self.house.membership.invite_under(code)
        self.answer(await self.house.views.invite(invite))

    async def post(self, code: str) -> None:
        """Join."""
        user = self.need_identity().user
        room_id = await self.house.membership.accept(user, code)
        self.answer(JoinedReply(await self.house.views.room(user, room_id)))

    async def delete(self, code: str) -> None:
        """Withdraw."""
        await self.house.membership.withdraw(self.need_identity().user, code)
        self.answer_nothing()


class TalkHandler(RoomHandler):
    """What the addresses of messages share."""

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

    async def amend(self, room_id: str, command: EditMessage | DeleteMessage | React) -> None:
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
            row, duplicate = await self.house.talk.post(live, user, self.capabilities(live, user), command)
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


def _invite_reply(invite: Invite) -> InviteReply:
    return InviteReply(
        code=invite.code,
        room_id=invite.room_id,
        url=f"/invite/{invite.code}",
        expires_at=None if invite.expires_at_ms is None else iso(invite.expires_at_ms),
        max_uses=invite.max_uses,
        uses=invite.uses,
    )


ROOM_ROUTES = [
    (r"/api/rooms", RoomsHandler, "my rooms"),
    (r"/api/rooms/([^/]+)", OneRoomHandler, "a room"),
    (r"/api/rooms/([^/]+)/members", MembersHandler, "its members"),
    (r"/api/rooms/([^/]+)/members/([^/]+)", MemberHandler, "one of its members"),
    (r"/api/rooms/([^/]+)/invites", InvitesHandler, "its invite links"),
    (r"/api/invites/([^/]+)", InviteHandler, "an invite link"),
    (r"/api/rooms/([^/]+)/messages", MessagesHandler, "its history"),
    (r"/api/rooms/([^/]+)/messages/([^/]+)", MessageHandler, "a message"),
    (r"/api/rooms/([^/]+)/messages/([^/]+)/reactions/([^/]+)", ReactionHandler, "a reaction"),
    (r"/api/rooms/([^/]+)/read", ReadHandler, "my read mark in it"),
]
