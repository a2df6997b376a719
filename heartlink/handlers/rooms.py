"""Rooms over HTTP: rooms, members, invite links (PROTOCOL 5)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from heartlink.chat import LiveRoom, RoomList, RoomView
from heartlink.chat.views import InviteView
from heartlink.errors import unauthenticated
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import (
    Invite,
    RoomId,
    RoomKind,
    RoomRole,
    User,
    UserId,
)
from heartlink.protocol import (
    MemberView,
    iso,
)

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


class RoomHandler(JsonHandler):
    """What the addresses of rooms share."""

    def capabilities(self, live: LiveRoom, user: User) -> tuple[str, ...]:
        """What a user may do in a room, now; nothing when the session has ended while the request waited."""
        if self.identity is not None and not self.house.auth.is_current(self.identity):
            raise unauthenticated("Your sign-in has ended meanwhile.")
        return self.house.live_rooms.rights(live, user.id).capabilities(live.id)

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
        invites = await self.house.invites.of_room(user, RoomId(room_id))
        self.answer(InvitesReply([_invite_reply(invite) for invite in invites]))

    async def post(self, room_id: str) -> None:
        """A new link."""
        user, body = self.need_identity().user, self.body(InviteBody)
        invite = await self.house.invites.make(
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
        invite = await self.house.invites.under(code)
        self.answer(await self.house.views.invite(invite))

    async def post(self, code: str) -> None:
        """Join."""
        user = self.need_identity().user
        room_id = await self.house.invites.accept(user, code)
        self.answer(JoinedReply(await self.house.views.room(user, room_id)))

    async def delete(self, code: str) -> None:
        """Withdraw."""
        await self.house.invites.withdraw(self.need_identity().user, code)
        self.answer_nothing()


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
]
