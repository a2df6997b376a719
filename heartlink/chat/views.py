"""Rooms and their history as REST shows them (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from heartlink.chat.live import LiveRoom, LiveRooms
from heartlink.chat.talk import denied
from heartlink.errors import Refusal, not_a_member, unauthenticated
from heartlink.model import Invite, Message, Room, RoomId, RoomKind, RoomRole, StoredMessage, User
from heartlink.protocol import MemberView, RoomSummary, encode, iso, message_view
from heartlink.rights import room_scope
from heartlink.rights.policy import Policy
from heartlink.store.messages import Messages
from heartlink.store.rooms import Rooms
from heartlink.store.users import Users

MEMBERS_IN_LISTS: Final = 5
"""Members shown of each room in a list of rooms."""

UNREAD_LIMIT: Final = 100
"""Unread messages are counted up to this."""

ROOMS_AT_ONCE: Final = 16
"""Rooms of one list that are looked up side by side."""


class RoomView(msgspec.Struct, frozen=True, kw_only=True):
    """A room as one user sees it; ``unread`` counts up to 100, ``last_message`` is an M or null."""

    id: str
    name: str
    kind: RoomKind
    status: Literal["active", "waiting", "ended"]
    guest_access: bool
    created_at: str
    owner_id: str
    role: RoomRole | None
    capabilities: tuple[str, ...]
    members_count: int
    members: list[MemberView]
    unread: int
    read_up_to: int
    last_seq: int
    last_message: msgspec.Raw | None
    epoch: str


class RoomList(msgspec.Struct, frozen=True):
    """Rooms, the one with the newest activity first."""

    rooms: list[RoomView]


class HistoryPage(msgspec.Struct, frozen=True):
    """A page of messages, ascending; ``has_more`` in the direction one is paging in."""

    messages: list[msgspec.Raw]
    has_more: bool
    last_seq: int
    epoch: str


class Inviter(msgspec.Struct, frozen=True, kw_only=True):
    """Who made an invite link."""

    username: str
    display_name: str


class InviteView(msgspec.Struct, frozen=True, kw_only=True):
    """An invite link as it is shown to whoever has it."""

    code: str
    room: RoomSummary
    inviter: Inviter
    expires_at: str | None


class Views:
    """Reads; never changes anything."""

    def __init__(
        self,
        live_rooms: LiveRooms,
        rooms: Rooms,
        messages: Messages,
        users: Users,
        policy: Policy,
        *,
        clock: Callable[[], int],
        epoch: str,
    ) -> None:
        self._live_rooms = live_rooms
        self._rooms = rooms
        self._messages = messages
        self._users = users
        self._policy = policy
        self._clock = clock
        self._epoch = epoch

    async def my_rooms(self, user: User) -> RoomList:
        """The rooms a user belongs to that were not ended."""
        rooms = await self._rooms.get_many(list(self._policy.memberships_of(user.id)))
        return await self._list(user, [room for room in rooms if room.ended_at_ms is None])

    async def public_rooms(self, user: User) -> RoomList:
        """Public rooms that a user may join."""
        mine = self._policy.memberships_of(user.id)
        return await self._list(user, [room for room in await self._rooms.public() if room.id not in mine])

    async def _list(self, user: User, rooms: list[Room]) -> RoomList:
        shown = [room for room in rooms if room.kind == "public" or self._may_read(user, room.id)]
        views: list[RoomView] = []
        for start in range(0, len(shown), ROOMS_AT_ONCE):
            some = shown[start : start + ROOMS_AT_ONCE]
            found = await asyncio.gather(*(self._listed(user, room.id) for room in some))
            views += [view for view in found if view is not None]
        # Reading the later ones took a while, in which a right to read an earlier one may have gone.
        views = [view for view in views if not view.members or self._may_read(user, view.id)]
        views.sort(key=_activity, reverse=True)
        return RoomList(views)

    async def _listed(self, user: User, room_id: RoomId) -> RoomView | None:
        """A room in a list; None when the user may not see it, which is no reason to hide the others."""
        try:
            return await self.room(user, room_id, MEMBERS_IN_LISTS)
        except Refusal:
            return None

    def _may_read(self, user: User, room_id: str) -> bool:
        return self._policy.rights(user.id).allows("chat.read", room_scope(RoomId(room_id)), self._clock())

    async def room(self, user: User | None, room_id: RoomId, members: int | None = None) -> RoomView:
        """A room as somebody sees it; those who may not read it see its name and kind if it is public."""
        user_id = user.id if user else None
        async with self._live_rooms.use(room_id) as live:
            state = live.state
            newest = await self._newest(live)
            unread = await self._unread(live, user) if user_id in state.members else 0
            # Asked when there is nothing more to wait for: what it shows was allowed when it was shown.
            may_read = self._live_rooms.may(live, user_id, "chat.read")
            if not may_read and (state.room.kind != "public" or user is None):
                raise self.why_not_readable(live, user)
            return RoomView(
                id=live.id,
                name=state.room.name,
                kind=state.room.kind,
                status=state.status,
                guest_access=self._live_rooms.may(live, None, "chat.read"),
                created_at=iso(state.room.created_at_ms),
                owner_id=state.room.owner_id,
                role=state.members[user_id].role if user_id and user_id in state.members else None,
                capabilities=self._live_rooms.rights(live, user_id).capabilities(live.id),
                members_count=len(state.members),
                members=live.member_views(members) if may_read else [],
                unread=unread if may_read and user_id in state.members else 0,
                read_up_to=state.read_up_to(user_id) if user_id else 0,
                last_seq=state.last_seq,
                last_message=self._shown(live, newest, user, {}) if may_read and newest else None,
                epoch=self._epoch,
            )

    async def invite(self, invite: Invite) -> InviteView:
        """An invite link as it is shown to whoever has it."""
        user = await self._users.get(invite.made_by)
        async with self._live_rooms.use(invite.room_id) as live:
            room = live.summary()
        return InviteView(
            code=invite.code,
            room=room,
            inviter=Inviter(username=user.username if user else "", display_name=user.display_name if user else ""),
            expires_at=None if invite.expires_at_ms is None else iso(invite.expires_at_ms),
        )

    def why_not_readable(self, live: LiveRoom, user: User | None) -> Refusal:
        """Why somebody may not read a room."""
        if user is None:
            return unauthenticated()
        if user.id not in live.state.members:
            return not_a_member(live.id)
        return denied(live, user.id, "chat.read")

    async def _newest(self, live: LiveRoom) -> StoredMessage | None:
        rows = live.state.recent.newest(1)
        if rows is None:
            rows = await self._messages.history(live.id, before=None, after=None, limit=1, newest=True)
        return rows[0] if rows else None

    async def _unread(self, live: LiveRoom, user: User | None) -> int:
        """Messages of others after the user's cursor, counted up to a bound."""
        if user is None:
            return 0
        cursor = live.state.read_up_to(user.id)
        rows = live.state.recent.changed_since(cursor)
        if rows is None:
            rows = await self._messages.history(live.id, before=None, after=cursor, limit=UNREAD_LIMIT, newest=True)
        new = [row.message for row in rows if row.message.id > cursor]
        return min(sum(not message.deleted and message.sender_id != user.id for message in new), UNREAD_LIMIT)

    async def history(
        self, live: LiveRoom, user: User | None, *, before: int | None, after: int | None, limit: int
    ) -> HistoryPage:
        """A page of a room's history between exclusive bounds: the newest, or the oldest after ``after`` alone."""
        if not self._live_rooms.may(live, user.id if user else None, "chat.read"):
            raise self.why_not_readable(live, user)
        # Read before the rows: whoever resumes from it misses nothing.
        last_seq = live.state.last_seq
        newest = after is None or before is not None
        rows = live.state.recent.newest(limit + 1) if before is None and after is None else None
        if rows is None:
            bound = last_seq + 1 if before is None else min(before, last_seq + 1)
            rows = await self._messages.history(live.id, before=bound, after=after, limit=limit + 1, newest=newest)
        has_more = len(rows) > limit
        page = rows[len(rows) - limit :] if has_more and newest else rows[:limit]
        shown = await self.shown(live, page, user)
        if not self._live_rooms.may(live, user.id if user else None, "chat.read"):
            raise self.why_not_readable(live, user)
        return HistoryPage(shown, has_more, last_seq, self._epoch)

    async def shown(self, live: LiveRoom, rows: list[StoredMessage], user: User | None) -> list[msgspec.Raw]:
        """Messages as somebody sees them; the caller asks for the right to read them, afterwards once more."""
        deleted = await self._deleted_targets(live, rows)
        return [self._shown(live, row, user, deleted) for row in rows]

    def message(self, live: LiveRoom, row: StoredMessage, user: User | None) -> msgspec.Raw:
        """One message as somebody sees it."""
        return self._shown(live, row, user, {})

    async def _deleted_targets(self, live: LiveRoom, rows: list[StoredMessage]) -> dict[int, bool]:
        """Which of the messages that are quoted have been deleted since."""
        quoted = {row.message.reply_to.id for row in rows if row.message.reply_to is not None}
        known = {row.message.id: row for row in rows}
        deleted: dict[int, bool] = {}
        missing: list[int] = []
        for message_id in quoted:
            row = live.state.recent.get(message_id) or known.get(message_id)
            if row is None:
                missing.append(message_id)
            else:
                deleted[message_id] = row.message.deleted
        if missing:
            for row in await self._messages.get_many(live.id, missing):
                deleted[row.message.id] = row.message.deleted
        return deleted

    def _shown(self, live: LiveRoom, row: StoredMessage, user: User | None, deleted: dict[int, bool]) -> msgspec.Raw:
        user_id = user.id if user else None
        body, message = row.body, row.message
        if message.reply_to is not None and deleted.get(message.reply_to.id):
            body = encode(without_excerpt(message))
        return msgspec.Raw(
            message_view(body, is_own=message.sender_id == user_id, is_read=live.state.is_read(row, user_id))
        )


def without_excerpt(message: Message) -> Message:
    """A reply without the text it quotes: what was deleted is not to be read in quotes either."""
    quoted = message.reply_to
    return (
        message
        if quoted is None
        else msgspec.structs.replace(message, reply_to=msgspec.structs.replace(quoted, excerpt=""))
    )


def _activity(view: RoomView) -> str:
    if view.last_message is None:
        return view.created_at
    return msgspec.json.decode(view.last_message, type=_Dated).created_at


class _Dated(msgspec.Struct):
    created_at: str
