"""A living room for newcomers: two users, an admin and the room they share (PROTOCOL 7). Demo data is data."""

from __future__ import annotations

from functools import partial
from typing import Final

from heartlink.auth import Auth
from heartlink.chat import LiveRoom, LiveRooms, Membership, Talk
from heartlink.errors import Refusal
from heartlink.model import RoomId, User
from heartlink.names import fold
from heartlink.policy import ADMINISTRATOR, Desk
from heartlink.protocol import React, SendMessage
from heartlink.rights.changes import AnyChange, SetRoles
from heartlink.rights.policy import Policy
from heartlink.store.users import Users

ROOM_ID: Final = RoomId("e3aee9e3-99e1-428b-8e09-fb6389db5bef")
PASSWORD: Final = "testpass123"
ADMIN_PASSWORD: Final = "admin-demo-pass"

PEOPLE: Final = (
    ("test_user_a", "Ann 安", PASSWORD),
    ("test_user_b", "Bob 博", PASSWORD),
    ("admin", "Admin", ADMIN_PASSWORD),
)

TALK: Final = (
    (0, "Good morning! Can you hear me over here? 早上好！"),
    (1, "Loud and clear. One port, no setup, I like it. 一个端口就够了。"),
    (0, "Kill the server with -9 while you type: nothing that got its tick is lost."),
    (1, "Now I have to try that. 我来试试 😄"),
)


async def furnish(
    users: Users, auth: Auth, desk: Desk, membership: Membership, live_rooms: LiveRooms, talk: Talk
) -> None:
    """Make what is not there yet; safe to run at every start."""
    people = [await _person(users, auth, *person) for person in PEOPLE]
    ann, bob, admin = people
    await desk.commit(lambda policy: _make_administrator(policy, admin), by=None, why="the demo's administrator")
    try:
        await membership.create(
            ann,
            name="Living room 客厅",
            kind="group",
            room_id=ROOM_ID,
            members=[bob.username, admin.username],
            guest_access=False,
        )
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise

    def rights(live: LiveRoom, user: User) -> tuple[str, ...]:
        return live_rooms.rights(live, user.id).capabilities(ROOM_ID)

    async with live_rooms.use(ROOM_ID) as live:
        # A start that was cut off is finished by the next: what was said already is not said twice.
        if live.state.last_seq >= len(TALK):
            return
        for index, (who, content) in enumerate(TALK):
            user = people[who]
            command = SendMessage(content=content, client_id=f"demo-{index}")
            stored, _ = await talk.post(live, user, partial(rights, live, user), command)
            if index == len(TALK) - 2:
                other = people[1 - who]
                await talk.amend(live, other, rights(live, other), React(id=stored.message.id, emoji="❤️"))
    await membership.change_role(ann, ROOM_ID, admin.id, "admin")


def _make_administrator(policy: Policy, user: User) -> list[AnyChange]:
    roles = policy.roles_of.get(user.id, ())
    return [] if ADMINISTRATOR in roles else [SetRoles(user.id, (*roles, ADMINISTRATOR))]


async def _person(users: Users, auth: Auth, username: str, display_name: str, password: str) -> User:
    found = await users.by_fold(fold(username))
    return found or await auth.create_user(username, password, display_name)
