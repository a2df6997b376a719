"""Rooms and who belongs to them: create, change, invite, join, leave, remove, end.

Every change is stored first and then acts on the open sockets in the same loop turn, without an ``await`` in between.
"""

from __future__ import annotations

import secrets
import unicodedata
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from heartlink.chat.live import LiveRoom, LiveRooms, Peer
from heartlink.chat.talk import denied
from heartlink.errors import (
    REVOKED,
    ROOM_ENDED_FAREWELL,
    Refusal,
    conflict,
    not_a_member,
    not_found,
    room_ended,
    too_large,
    unfit,
)
from heartlink.hub import frame_of
from heartlink.model import Member, Room, RoomId, RoomKind, RoomRole, User, UserId
from heartlink.names import fold
from heartlink.protocol import (
    AccessRevoked,
    CapabilitiesChanged,
    MemberAdded,
    MemberRemoved,
    RoomEnded,
    RoomUpdated,
)
from heartlink.rights import ROLE_RANK, guest_access_grants
from heartlink.store.rooms import MEMBERS_LIMIT, ROOMS_PER_USER_LIMIT, Rooms
from heartlink.store.users import Users

ROOM_ID_CHARS: Final = 100
ROOM_NAME_CHARS: Final = 100


class Membership:
    """Decides who belongs to which room, and makes the open sockets follow."""

    def __init__(self, live_rooms: LiveRooms, rooms: Rooms, users: Users, *, clock: Callable[[], int]) -> None:
        self._live_rooms = live_rooms
        self._rooms = rooms
        self._users = users
        self._clock = clock

    # Rooms

    async def create(
        self, owner: User, *, name: str, kind: RoomKind, room_id: str | None, members: list[str], guest_access: bool
    ) -> RoomId:
        """Open a room with its first members, by user name; raises ``conflict`` when the id is taken."""
        if len(await self._rooms.memberships(owner.id)) >= ROOMS_PER_USER_LIMIT:
            raise too_large("The number of your rooms", f"{ROOMS_PER_USER_LIMIT} rooms")
        invited = [await self._user_named(username, "members") for username in dict.fromkeys(members)]
        room = Room(
            id=RoomId(str(uuid.uuid4()) if room_id is None else check_room_id(room_id)),
            name=check_room_name(name),
            kind=kind,
            owner_id=owner.id,
            created_at_ms=self._clock(),
        )
        if not await self._rooms.create(room):
            raise conflict(f"A room with the id '{room.id}' exists.", "Choose another id.", {"room_id": "taken"})
        # Through the live room, as every later change: somebody may have found the new room already.
        async with self._live_rooms.use(room.id) as live, live.changing:
            await self.put(live, owner, "owner", owner)
            for user in invited:
                await self.put(live, user, "member", owner)
            if guest_access:
                await self._set_guest_access(live, True)
        return room.id

    async def update(
        self, user: User, room_id: RoomId, *, name: str | None, kind: RoomKind | None, guest_access: bool | None
    ) -> None:
        """Change a room's name, kind, or whether anybody may read it."""
        async with self.change(room_id, user, "room.update") as live:
            room = live.state.room
            changed = msgspec.structs.replace(
                room,
                name=room.name if name is None else check_room_name(name),
                kind=room.kind if kind is None else kind,
            )
            if changed != room:
                await self._rooms.put(changed)
                live.state.room = changed
                live.topic.tell(frame_of(RoomUpdated(room=live.summary())))
            if guest_access is not None:
                await self._set_guest_access(live, guest_access)

    async def _set_guest_access(self, live: LiveRoom, guest_access: bool) -> None:
        wanted = guest_access_grants(live.id)
        for grant in wanted:
            if guest_access:
                await self._rooms.put_grant(grant)
            else:
                await self._rooms.remove_grant(grant.id)
        ids = {grant.id for grant in wanted}
        kept = [grant for grant in live.state.grants if grant.id not in ids]
        live.state.grants = [*kept, *wanted] if guest_access else kept
        if not guest_access:
            self._refresh_all(live, "The room is no longer open to guests.")

    async def end(self, user: User, room_id: RoomId) -> None:
        """End a room: its history stays, its sockets close."""
        async with self.change(room_id, user, "room.end") as live:
            await self._end(live, user)

    async def _end(self, live: LiveRoom, user: User) -> None:
        ended = msgspec.structs.replace(live.state.room, ended_at_ms=self._clock())
        await self._rooms.put(ended)
        live.state.room = ended
        frame = frame_of(RoomEnded(room_id=live.id, by=user.username))
        for connection in live.topic:
            connection.hang_up(ROOM_ENDED_FAREWELL, frame)

    # Members

    async def add(self, user: User, room_id: RoomId, whom: User | None, role: RoomRole | None) -> UserId:
        """Make somebody a member, or oneself of a public room; returns whose membership it is."""
        joins = whom is None or whom.id == user.id
        async with self.change(room_id, user, None if joins else "room.invite") as live:
            if joins:
                if user.id not in live.state.members and live.state.room.kind != "public":
                    raise not_a_member(live.id)
                # A public room that everybody had left belongs to whoever comes first.
                await self.put(live, user, "member" if live.state.members else "owner", user)
                return user.id
            assert whom is not None
            wanted = role or "member"
            self._check_rank(live, user, wanted)
            if whom.id in live.state.members:
                if role is not None:
                    await self._change_role(live, user, whom.id, role)
            else:
                await self.put(live, whom, wanted, user)
            return whom.id

    async def change_role(self, user: User, room_id: RoomId, whom: UserId, role: RoomRole) -> None:
        """Give a member another role; never above one's own."""
        async with self.change(room_id, user, "room.update") as live:
            await self._change_role(live, user, whom, role)

    async def remove(self, user: User, room_id: RoomId, whom: UserId) -> None:
        """Take somebody out of a room, or leave it."""
        leaves = whom == user.id
        async with self.change(room_id, user, None if leaves else "room.remove", even_ended=leaves) as live:
            member = live.state.members.get(whom)
            if member is None:
                raise not_found("This membership", "Look at the room's members.")
            if not leaves:
                self._check_above(live, user, member)
            await self._remove(live, whom, user)

    async def put(self, live: LiveRoom, whom: User, role: RoomRole, by: User) -> None:
        """Store a new membership and tell the room; call within :meth:`change`."""
        if whom.id in live.state.members:
            return
        if len(live.state.members) >= MEMBERS_LIMIT:
            raise too_large("The number of members", f"{MEMBERS_LIMIT} in one room")
        was_waiting = live.state.status == "waiting"
        member = self._member(live.id, whom.id, role)
        await self._rooms.put_member(member)
        live.state.members[whom.id] = member
        live.profiles[whom.id] = whom
        self._tell_member(live, whom.id, by)
        if was_waiting:
            live.topic.tell(frame_of(RoomUpdated(room=live.summary())))
        self._refresh(live, whom.id, f"{by.username} made you a member.")

    async def _change_role(self, live: LiveRoom, user: User, whom: UserId, role: RoomRole) -> None:
        member = live.state.members.get(whom)
        if member is None:
            raise not_found("This membership", "Look at the room's members.")
        self._check_rank(live, user, role)
        if whom != user.id:
            self._check_above(live, user, member)
        if member.role == "owner" and role != "owner" and self._owners(live) == [whom]:
            raise conflict("A room cannot be without an owner.", "Make somebody else owner first.")
        changed = msgspec.structs.replace(member, role=role)
        await self._rooms.put_member(changed)
        live.state.members[whom] = changed
        self._tell_member(live, whom, user)
        self._refresh(live, whom, f"{user.username} made you {role}.")

    async def _remove(self, live: LiveRoom, whom: UserId, by: User) -> None:
        heir = self._heir(live, whom)
        if heir is not None:
            await self._rooms.put_member(heir)
            live.state.members[heir.user_id] = heir
            self._tell_member(live, heir.user_id, by)
            self._refresh(live, heir.user_id, "The last owner has left.")
        await self._rooms.remove_member(live.id, whom)
        gone = live.user(whom)
        del live.state.members[whom]
        live.profiles.pop(whom, None)
        username = gone.username if gone else ""
        frame = frame_of(MemberRemoved(user_id=whom, username=username, by=by.username))
        live.topic.tell(frame)
        reason = "You have left the room." if whom == by.id else f"{by.username} removed you from the room."
        self._refresh(live, whom, reason)
        if not live.state.members and live.state.room.kind != "public" and live.state.status != "ended":
            await self._end(live, by)

    def _owners(self, live: LiveRoom) -> list[UserId]:
        return [member.user_id for member in live.state.members.values() if member.role == "owner"]

    def _heir(self, live: LiveRoom, leaving: UserId) -> Member | None:
        """Who becomes owner when the last one leaves: the highest role, then the longest membership."""
        others = [member for member in live.state.members.values() if member.user_id != leaving]
        if self._owners(live) != [leaving] or not others:
            return None
        heir = max(others, key=lambda member: (ROLE_RANK[member.role], -member.joined_at_ms))
        return msgspec.structs.replace(heir, role="owner")

    # What all of them share

    @asynccontextmanager
    async def change(
        self, room_id: RoomId, user: User, permission: str | None, *, even_ended: bool = False
    ) -> AsyncIterator[LiveRoom]:
        """Hold a room for a change, having made sure that the user may make it."""
        async with self._live_rooms.use(room_id) as live, live.changing:
            if permission is not None and not self._live_rooms.may(live, user.id, permission):
                if user.id not in live.state.members:
                    raise not_a_member(live.id)
                raise denied(live, user.id, permission)
            if live.state.status == "ended" and not even_ended:
                raise room_ended(live.id)
            yield live

    async def _user_named(self, username: str, field: str) -> User:
        user = await self._users.by_fold(fold(username[:200]))
        if user is None or not user.is_active:
            raise unfit(field, f"there is no user '{username[:64]}'", "Check the name, or send them an invite link.")
        return user

    async def user_to_add(self, username: str | None, user_id: str | None) -> User | None:
        """Whom a request wants to make a member; None when it names nobody."""
        if username is not None:
            return await self._user_named(username, "username")
        if user_id is None:
            return None
        user = await self._users.get(UserId(user_id))
        if user is None:
            raise unfit("user_id", "there is no such user")
        return user

    def _member(self, room_id: RoomId, user_id: UserId, role: RoomRole) -> Member:
        return Member(room_id=room_id, user_id=user_id, role=role, joined_at_ms=self._clock())

    def _check_rank(self, live: LiveRoom, user: User, role: RoomRole) -> None:
        mine = live.state.members.get(user.id)
        if mine is None or ROLE_RANK[role] > ROLE_RANK[mine.role]:
            raise Refusal("forbidden", 403, f"You cannot make somebody {role}.", "Ask somebody of that role.")

    def _check_above(self, live: LiveRoom, user: User, member: Member) -> None:
        mine = live.state.members.get(user.id)
        if mine is None or (mine.role != "owner" and ROLE_RANK[member.role] >= ROLE_RANK[mine.role]):
            raise Refusal("forbidden", 403, f"This member is {member.role} as well.", "Ask an owner of the room.")

    def _tell_member(self, live: LiveRoom, user_id: UserId, by: User) -> None:
        view = live.member_view(user_id)
        if view is not None:
            live.topic.tell(frame_of(MemberAdded(member=view, by=by.username)))

    def _refresh_all(self, live: LiveRoom, because: str) -> None:
        """Let everybody's sockets follow a change of the room's grants."""
        for connection in live.topic:
            peer = connection.context
            if isinstance(peer, Peer):
                self._refresh_peer(live, peer, because)

    def _refresh(self, live: LiveRoom, user_id: UserId, because: str) -> None:
        """Let a user's sockets follow a change of their rights, in this turn."""
        for connection in list(live.topic.of_user(user_id)):
            peer = connection.context
            if isinstance(peer, Peer):
                self._refresh_peer(live, peer, because)

    def _refresh_peer(self, live: LiveRoom, peer: Peer, because: str) -> None:
        capabilities = self._live_rooms.rights(live, peer.user_id).capabilities(live.id)
        if capabilities == peer.capabilities:
            return
        peer.capabilities = capabilities
        if "chat.read" in capabilities:
            peer.connection.push(frame_of(CapabilitiesChanged(capabilities=capabilities, because=because)))
            return
        decision_id = denied(live, peer.user_id, "chat.read").decision_id if peer.user_id else secrets.token_hex(8)
        peer.connection.drop_queued()
        revoked = AccessRevoked(because=because, decision_id=decision_id or "")
        peer.connection.hang_up(REVOKED, frame_of(revoked))


def check_room_id(room_id: str) -> str:
    """A room id as it may be; raises ``invalid_parameters`` for one that no address could hold."""
    reason = _unfit_room_id(room_id)
    if reason:
        raise unfit("room_id", reason, f"Use 1 to {ROOM_ID_CHARS} characters without '/' and without invisible ones.")
    return room_id


def _unfit_room_id(room_id: str) -> str | None:
    if not 1 <= len(room_id) <= ROOM_ID_CHARS:
        return f"it does not have 1 to {ROOM_ID_CHARS} characters"
    if not _SEPARATORS.isdisjoint(room_id) or room_id in _DOTS:
        return "it cannot be part of an address"
    if room_id != room_id.strip() or any(unicodedata.category(character) in _INVISIBLE for character in room_id):
        return "it has invisible characters"
    return None


def check_room_name(name: str) -> str:
    """A room's name as it may be shown; raises ``invalid_parameters``."""
    name = " ".join(name.split())
    if len(name) > ROOM_NAME_CHARS:
        raise unfit("name", f"it has more than {ROOM_NAME_CHARS} characters")
    # The joiner of emoji families is wanted in a name; overrides of the direction are not.
    if any(unicodedata.category(character) in _INVISIBLE and character != _JOINER for character in name):
        raise unfit("name", "it has invisible or direction-changing characters")
    return name


_SEPARATORS: Final = frozenset("/")
_DOTS: Final = frozenset({".", ".."})
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_JOINER: Final = "\u200d"
