"""Mutes and bans of a room over HTTP, for those who run it (PROTOCOL 4.4)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from heartlink.chat import Restriction
from heartlink.handlers.base import Operation, describe
from heartlink.handlers.rooms import RoomHandler
from heartlink.model import RoomId, UserId
from heartlink.rights import Restriction as Kind


class RestrictionBody(msgspec.Struct, frozen=True):
    """For how many seconds (left out: until it is lifted), and what the person is told."""

    expires_in: Annotated[int, msgspec.Meta(ge=1)] | None = None
    why: str = ""


class RestrictionsReply(msgspec.Struct, frozen=True):
    """Who is muted and banned."""

    restrictions: list[Restriction]


class RestrictionsHandler(RoomHandler):
    """Who is muted in a room and banned from it."""

    operations = describe(
        GET=Operation("Who is muted and banned.", response=RestrictionsReply, errors=(403, 404)),
    )

    async def get(self, room_id: str) -> None:
        """All of them."""
        user = self.need_identity().user
        self.answer(RestrictionsReply(await self.house.moderation.restrictions(user, RoomId(room_id))))


class RestrictionHandler(RoomHandler):
    """One restriction of a person in a room."""

    kind: Kind

    async def put(self, room_id: str, user_id: str) -> None:
        """Make it, or give it another end."""
        user, body = self.need_identity().user, self.body(RestrictionBody)
        restriction = await self.house.moderation.restrict(
            user, RoomId(room_id), UserId(user_id), self.kind, expires_in_seconds=body.expires_in, why=body.why
        )
        self.answer(restriction)

    async def delete(self, room_id: str, user_id: str) -> None:
        """Lift it."""
        await self.house.moderation.lift(self.need_identity().user, RoomId(room_id), UserId(user_id), self.kind)
        self.answer_nothing()


class MuteHandler(RestrictionHandler):
    """A mute: the person reads and does not write."""

    kind: Kind = "mute"
    operations = describe(
        PUT=Operation("Mute a member.", RestrictionBody, Restriction, errors=(403, 404, 409, 410)),
        DELETE=Operation("Let them write again.", status=204, errors=(403, 404)),
    )


class BanHandler(RestrictionHandler):
    """A ban: the person is out, and does not come back."""

    kind: Kind = "ban"
    operations = describe(
        PUT=Operation(
            "Ban somebody; their membership ends.", RestrictionBody, Restriction, errors=(403, 404, 409, 410)
        ),
        DELETE=Operation("Let them join again.", status=204, errors=(403, 404)),
    )


MODERATION_ROUTES = [
    (r"/api/rooms/([^/]+)/restrictions", RestrictionsHandler, "who is muted in it and banned from it"),
    (r"/api/rooms/([^/]+)/mutes/([^/]+)", MuteHandler, "a mute"),
    (r"/api/rooms/([^/]+)/bans/([^/]+)", BanHandler, "a ban"),
]
