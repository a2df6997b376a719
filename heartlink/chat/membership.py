"""Rooms and who belongs to them: create, change, invite, join, leave, remove, end.

Every change is stored first and then acts on the open sockets in the same loop turn, without an ``await`` in between.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import msgspec

from heartlink.chat.live import LiveRoom, LiveRooms
from heartlink.chat.talk import denied
from heartlink.errors import (
    ROOM_ENDED_FAREWELL,
    Refusal,
    conflict,
    not_a_member,
    not_found,
    room_ended,
    too_large,
    unauthenticated,
    unfit,
)
from heartlink.hub import frame_of
from heartlink.model import Member, Room, RoomId, RoomKind, RoomRole, User, UserId
from heartlink.names import fold
from heartlink.policy import Desk
from heartlink.protocol import RoomEnded, RoomUpdated
from heartlink.rights import EVERYWHERE, ROLE_PERMISSIONS, ROLE_RANK, guest_access_grants, room_scope
from heartlink.rights.changes import AnyChange, DropGrant, PutGrant, SetMember
from heartlink.rights.policy import Policy
from heartlink.store.rooms import MEMBERS_LIMIT, ROOMS_PER_USER_LIMIT, Rooms
from heartlink.store.users import Users

ROOM_ID_CHARS: Final = 100
ROOM_NAME_CHARS: Final = 100


class Membership:
    """Decides who belongs to which room, and makes the open sockets follow."""

    def __init__(
        self, live_rooms: LiveRooms, rooms: Rooms, users: Users, desk: Desk, *, clock: Callable[[], int]
    ) -> None:
        self._live_rooms = live_rooms
        self._rooms = rooms
        self._users = users
        self._desk = desk
        self._clock = clock
        self._opening: set[RoomId] = set()
        self.on_end: list[Callable[[LiveRoom], None]] = []
        """Told of a room that ends, while its people can still hear why what they do in it ends too."""

    # Rooms

    async def create(
        self, owner: User, *, name: str, kind: RoomKind, room_id: str | None, members: list[str], guest_access: bool
    ) -> RoomId:
        """Open a room with its first members, by user name; raises ``conflict`` when the id is taken."""
        self._check_may_create(owner)
        invited = [await self._user_named(username, "members") for username in dict.fromkeys(members)]
        room = Room(
            id=RoomId(str(uuid.uuid4()) if room_id is None else check_room_id(room_id)),
            name=check_room_name(name),
            kind=kind,
            owner_id=owner.id,
            created_at_ms=self._clock(),
        )
        taken = conflict(f"A room with the id '{room.id}' exists.", "Choose another id.", {"room_id": "taken"})
        if room.id in self._opening:
            raise taken
        self._opening.add(room.id)
        try:
            if not await self._rooms.create(room) and not await self._is_unfinished(room):
                raise taken
            # Through the live room, as every later change: somebody may have found the new room already.
            async with self._live_rooms.use(room.id) as live, live.changing:
                first: list[AnyChange] = [self._set(room.id, owner.id, "owner")]
                first += [self._set(room.id, user.id, "member") for user in invited if user.id != owner.id]
                if guest_access:
                    first += [PutGrant(grant) for grant in guest_access_grants(room.id)]
                live.profiles.update((user.id, user) for user in (owner, *invited))
                await self._desk.commit(lambda policy: first, by=owner, why=f"{owner.username} opened the room")
        finally:
            self._opening.discard(room.id)
        return room.id

    async def _is_unfinished(self, room: Room) -> bool:
        """Whether an earlier opening was cut off before anybody was in the room: whoever began it may finish."""
        async with self._live_rooms.use(room.id) as live:
            state = live.state
            is_untouched = not state.members and not state.last_seq and state.status != "ended"
            return is_untouched and state.room.owner_id == room.owner_id

    def _check_may_create(self, owner: User) -> None:
        policy = self._desk.policy
        if not policy.rights(owner.id).allows("room.create", now_ms=self._clock()):
            raise self._desk.decisions.deny(owner.id, "room.create", EVERYWHERE)
        if len(policy.memberships_of(owner.id)) >= ROOMS_PER_USER_LIMIT:
            raise too_large("The number of your rooms", f"{ROOMS_PER_USER_LIMIT} rooms")

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
                await self._set_guest_access(live, user, guest_access)

    async def _set_guest_access(self, live: LiveRoom, user: User, guest_access: bool) -> None:
        grants = guest_access_grants(live.id)

        def propose(policy: Policy) -> list[AnyChange]:
            if guest_access:
                return [PutGrant(grant) for grant in grants if grant.id not in policy.grants]
            return [DropGrant(grant.id) for grant in grants if grant.id in policy.grants]

        what = "opened the room to" if guest_access else "closed the room to"
        await self.commit(live, propose, by=user, why=f"{user.username} {what} guests", permission="room.update")

    async def end(self, user: User, room_id: RoomId) -> None:
        """End a room: its history stays, its sockets close."""
        async with self.change(room_id, user, "room.end") as live:
            await self._end(live, user)

    async def _end(self, live: LiveRoom, user: User) -> None:
        ended = msgspec.structs.replace(live.state.room, ended_at_ms=self._clock())
        await self._rooms.put(ended)
        live.state.room = ended
        for follower in self.on_end:
            follower(live)
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
                    await self._change_role(live, user, whom.id, role, "room.invite")
            else:
                await self.put(live, whom, wanted, user, vouched_by=user.id)
            return whom.id

    async def change_role(self, user: User, room_id: RoomId, whom: UserId, role: RoomRole) -> None:
        """Give a member another role; never above one's own."""
        async with self.change(room_id, user, "room.update") as live:
            await self._change_role(live, user, whom, role, "room.update")

    async def remove(self, user: User, room_id: RoomId, whom: UserId) -> None:
        """Take somebody out of a room, or leave it."""
        leaves = whom == user.id
        async with self.change(room_id, user, None if leaves else "room.remove", even_ended=leaves) as live:
            member = live.state.members.get(whom)
            if member is None:
                raise not_found("This membership", "Look at the room's members.")
            await self._remove(live, whom, user, None if leaves else "room.remove")

    async def put(
        self, live: LiveRoom, whom: User, role: RoomRole, by: User, *, vouched_by: UserId | None = None
    ) -> None:
        """Store a new membership and tell the room, if who vouches may invite; call within :meth:`change`."""
        if whom.id in live.state.members:
            return
        if len(live.state.members) >= MEMBERS_LIMIT:
            raise too_large("The number of members", f"{MEMBERS_LIMIT} in one room")
        live.profiles[whom.id] = whom
        why = f"{whom.username} joined the room" if whom.id == by.id else f"{by.username} added {whom.username}"

        def propose(policy: Policy) -> list[AnyChange]:
            if vouched_by is not None and not self._live_rooms.may(live, vouched_by, "room.invite"):
                raise denied(live, vouched_by, "room.invite")
            if policy.rights(whom.id).denies("chat.read", room_scope(live.id), self._clock()):
                if whom.id == by.id:
                    raise _banned(denied(live, whom.id, "chat.read"))
                raise conflict(f"{whom.username} is banned from this room.", "Lift the ban first.")
            return [self._set(live.id, whom.id, role)]

        await self.commit(live, propose, by=by, why=why, permission=None)

    async def _change_role(self, live: LiveRoom, user: User, whom: UserId, role: RoomRole, permission: str) -> None:
        def propose(policy: Policy) -> list[AnyChange]:
            member = live.state.members.get(whom)
            if member is None:
                raise not_found("This membership", "Look at the room's members.")
            self._check_rank(live, user, role)
            if whom != user.id:
                self.check_above(live, user, member)
            if member.role == "owner" and role != "owner" and self._owners(live) == [whom]:
                raise conflict("A room cannot be without an owner.", "Make somebody else owner first.")
            return [] if member.role == role else [self._set(live.id, whom, role, member.joined_at_ms)]

        name = self._name(live, whom)
        why = f"{user.username} made {name} {role}"
        await self.commit(live, propose, by=user, why=why, permission=permission)

    async def _remove(self, live: LiveRoom, whom: UserId, by: User, permission: str | None) -> None:
        def propose(policy: Policy) -> list[AnyChange]:
            member = live.state.members.get(whom)
            if member is None:
                raise not_found("This membership", "Look at the room's members.")
            if whom != by.id:
                self.check_above(live, by, member)
            return self.departure(live, whom)

        name = self._name(live, whom)
        why = f"{name} left the room" if whom == by.id else f"{by.username} removed {name} from the room"
        await self.commit(live, propose, by=by, why=why, permission=permission)
        await self.settle_departure(live, whom, by)

    async def settle_departure(self, live: LiveRoom, whom: UserId, by: User) -> None:
        """After a membership has ended: a room that nobody could enter any more ends."""
        live.profiles.pop(whom, None)
        if not live.state.members and live.state.room.kind != "public" and live.state.status != "ended":
            await self._end(live, by)

    def departure(self, live: LiveRoom, whom: UserId) -> list[AnyChange]:
        """What the end of a membership changes: the last owner has an heir."""
        heir = self._heir(live, whom)
        inherits = [] if heir is None else [self._set(live.id, heir.user_id, "owner", heir.joined_at_ms)]
        return [*inherits, self._set(live.id, whom, None)]

    def _name(self, live: LiveRoom, user_id: UserId) -> str:
        user = live.user(user_id)
        return user.username if user else "somebody"

    def _owners(self, live: LiveRoom) -> list[UserId]:
        return [member.user_id for member in live.state.members.values() if member.role == "owner"]

    def _heir(self, live: LiveRoom, leaving: UserId) -> Member | None:
        """Who becomes owner when the last one leaves: the highest role, then the longest membership."""
        others = [member for member in live.state.members.values() if member.user_id != leaving]
        if self._owners(live) != [leaving] or not others:
            return None
        return max(others, key=lambda member: (ROLE_RANK[member.role], -member.joined_at_ms))

    # What all of them share

    @asynccontextmanager
    async def change(
        self, room_id: RoomId, user: User, permission: str | None, *, even_ended: bool = False
    ) -> AsyncIterator[LiveRoom]:
        """Hold a room for a change, having made sure that the user may make it."""
        async with self._live_rooms.use(room_id) as live, live.changing:
            self._check_may(live, user, permission)
            if live.state.status == "ended" and not even_ended:
                raise room_ended(live.id)
            yield live

    async def commit(
        self,
        live: LiveRoom,
        propose: Callable[[Policy], list[AnyChange]],
        *,
        by: User,
        why: str,
        permission: str | None,
    ) -> None:
        """Commit, unless who asked for it may do so no more when its turn has come: others may have been first."""

        def checked(policy: Policy) -> list[AnyChange]:
            account = self._users.cached(by.id) or by
            if not account.is_active or account.tokens_not_before_ms != by.tokens_not_before_ms:
                raise unauthenticated("Your sign-in has ended meanwhile.")
            self._check_may(live, by, permission)
            return propose(policy)

        await self._desk.commit(checked, by=by, why=why)

    def _check_may(self, live: LiveRoom, user: User, permission: str | None) -> None:
        if permission is not None and not self._live_rooms.may(live, user.id, permission):
            if user.id not in live.state.members:
                raise not_a_member(live.id)
            raise denied(live, user.id, permission)

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

    def _set(
        self, room_id: RoomId, user_id: UserId, role: RoomRole | None, joined_at_ms: int | None = None
    ) -> SetMember:
        return SetMember(room_id, user_id, role, self._clock() if joined_at_ms is None else joined_at_ms)

    def _rank(self, live: LiveRoom, user: User) -> int:
        """How far somebody's word goes: that of their role, or of the highest role all of whose rights they hold."""
        mine = live.state.members.get(user.id)
        held = (
            rank
            for role, rank in ROLE_RANK.items()
            if all(self._live_rooms.may(live, user.id, permission) for permission in ROLE_PERMISSIONS[role])
        )
        return max(held, default=-1) if mine is None else max([ROLE_RANK[mine.role], *held])

    def _check_rank(self, live: LiveRoom, user: User, role: RoomRole) -> None:
        if ROLE_RANK[role] > self._rank(live, user):
            raise Refusal("forbidden", 403, f"You cannot make somebody {role}.", "Ask somebody of that role.")

    def check_above(self, live: LiveRoom, user: User, member: Member) -> None:
        """Raise the Refusal that keeps somebody from acting upon a member of their own rank or a higher one."""
        rank = self._rank(live, user)
        if rank < ROLE_RANK["owner"] and ROLE_RANK[member.role] >= rank:
            raise Refusal("forbidden", 403, f"This member is {member.role} as well.", "Ask an owner of the room.")


def _banned(refusal: Refusal) -> Refusal:
    return replace(refusal, message="You are banned from this room.", fix="Ask those who run the room to lift the ban.")


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
