"""Changes of the policy by people: checked again at the last step, judged, stored, undone (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from heartlink.administration.calls import WantedChange, wish_of
from heartlink.administration.keepers import MANAGE, Keepers
from heartlink.administration.previews import PEOPLE_LIMIT, PreviewReply, RoomsMoved, preview_reply
from heartlink.administration.views import AuditEntry, PersonView, audit_entry, person_view
from heartlink.administration.wishes import Wish
from heartlink.auth import Auth
from heartlink.errors import Refusal, conflict, not_found, unauthenticated
from heartlink.hub import Hub
from heartlink.model import Identity, RoomRole, User, UserId
from heartlink.names import fold
from heartlink.policy import Commit, Desk, Proposal
from heartlink.rights import EVERYWHERE
from heartlink.rights.changes import AnyChange, SetGroupMembers, SetMember
from heartlink.rights.policy import Policy
from heartlink.store.policy import Commits
from heartlink.store.users import Users

AUDIT_LIMIT: Final = 200
NOTIFY: Final = "notifications.send"
EXPLAIN_OTHERS: Final = "permissions.explain"

log = logging.getLogger(__name__)


class Administration:
    """What people who administer do; everybody else is refused, at the last step too."""

    def __init__(
        self, desk: Desk, commits: Commits, users: Users, auth: Auth, hub: Hub, *, clock: Callable[[], int]
    ) -> None:
        self.desk = desk
        self.keepers = Keepers(desk, users, clock=clock)
        self._commits = commits
        self._users = users
        self._auth = auth
        self._hub = hub
        self._clock = clock
        self._turn = asyncio.Lock()

    def need(self, identity: Identity, permission: str = MANAGE) -> None:
        """Raise the Refusal that keeps somebody from what needs a permission everywhere, as things are now."""
        if not self._auth.is_current(identity):
            raise unauthenticated("This session has ended.")
        if not self.holds(identity, permission):
            raise self.desk.decisions.deny(identity.user.id, permission, EVERYWHERE)

    def holds(self, identity: Identity, permission: str) -> bool:
        """Whether somebody holds a permission everywhere, now."""
        return self.desk.policy.rights(identity.user.id).allows(permission, EVERYWHERE, self._clock())

    # Changing

    async def carry_out(self, identity: Identity, wish: Wish, why: str = "") -> tuple[msgspec.Struct, int]:
        """Commit what is wished for; what was made, and the version that has it."""
        self.need(identity)
        people = await self._users.get_many(wish.mentions(self.desk.policy))

        def names(user_id: str) -> str:
            user = people.get(UserId(user_id))
            return user.username if user else user_id

        def reason() -> str:
            return why.strip() or f"{identity.user.username} {wish.reason(names)}"

        commit = await self._commit(identity, lambda policy: wish.propose(policy, self._clock()), reason)
        return wish.outcome(self.desk.policy), commit.version if commit else self.desk.version

    async def _commit(self, identity: Identity, propose: Proposal, why: str | Callable[[], str]) -> Commit | None:
        def checked(policy: Policy) -> Sequence[AnyChange]:
            # The caller's own right, or session, may be gone since they asked.
            self.need(identity)
            return propose(policy)

        async with self._turn:
            await self.keepers.look_up()
            return await self.desk.commit(checked, by=identity.user, why=why, judge=self.keepers.judge)

    async def preview(self, identity: Identity, wanted: Sequence[WantedChange]) -> PreviewReply:
        """What calls made one after the other would change, for everybody; nothing is changed."""
        self.need(identity)
        now_ms = self._clock()
        wishes = [wish_of(change, index, now_ms) for index, change in enumerate(wanted)]
        await self.keepers.look_up()
        self.need(identity)
        deltas = self.desk.rehearse([_proposal(wish, now_ms) for wish in wishes])
        self.keepers.judge(deltas)
        version = self.desk.version
        deltas.sort(key=lambda delta: delta.who or "")
        names = await self._users.get_many([delta.who for delta in deltas[:PEOPLE_LIMIT] if delta.who is not None])
        rooms = RoomsMoved(self.desk.policy, now_ms)
        return preview_reply(deltas, names, version=version, rooms=rooms.of)

    # Audit and undo

    async def audit(self, identity: Identity, before: int | None, limit: int) -> tuple[list[AuditEntry], bool]:
        """Commits before a version, newest first, and whether there are more."""
        self.need(identity)
        found = await self._commits.latest(before, limit + 1)
        self.need(identity)
        return [audit_entry(commit) for commit in found[:limit]], len(found) > limit

    async def undo(self, identity: Identity, version: int, why: str = "") -> tuple[Commit, AuditEntry]:
        """Commit the inverse of a commit; raises ``conflict`` when later ones have changed the same."""
        self.need(identity)
        undone = await self._commits.get(version)
        if undone is None:
            raise not_found(f"Version {version}", "See /api/audit for those that exist.")
        # People who come back into a room are shown with their names.
        await self._users.get_many([change.user_id for change in undone.undo if isinstance(change, SetMember)])

        def propose(policy: Policy) -> tuple[AnyChange, ...]:
            self._check_undo(undone)
            return undone.undo

        reason = why.strip() or f"{identity.user.username} took back: {undone.why}"
        commit = await self._commit(identity, propose, reason)
        if commit is None:
            raise conflict(f"Version {version} changed nothing.", "There is nothing to take back.")
        return commit, audit_entry(commit)

    def _check_undo(self, undone: Commit) -> None:
        try:
            redo = self.desk.inverse(undone.undo)
        except Refusal as refusal:
            raise _later(undone.version, refusal.message) from None
        if list(map(_plain, redo)) != list(map(_plain, undone.changes)):
            raise _later(undone.version, "Later changes touched the same.")
        rooms = {change.room_id for change in undone.undo if isinstance(change, SetMember)}
        for room_id in rooms:
            members: dict[UserId, RoomRole | None] = {
                user_id: member.role for user_id, member in self.desk.policy.members_of(room_id).items()
            }
            members |= {
                change.user_id: change.role
                for change in undone.undo
                if isinstance(change, SetMember) and change.room_id == room_id
            }
            if "owner" not in members.values():
                raise _later(undone.version, "The room would be without an owner.")

    # People

    async def people(self, identity: Identity, beginning: str, after: str, limit: int) -> tuple[list[PersonView], bool]:
        """Accounts by the beginning of their name, the deactivated ones too, and whether there are more."""
        self.need(identity)
        found = await self._users.listed(fold(beginning), fold(after), limit + 1)
        self.need(identity)
        return [self.person(user) for user in found[:limit]], len(found) > limit

    def person(self, user: User) -> PersonView:
        """An account as administrators see it."""
        return person_view(self.desk.policy, user, is_online=self._hub.is_online(user.id))

    async def set_active(self, identity: Identity, user_id: UserId, is_active: bool) -> PersonView:
        """Let somebody in no more, ending their sockets at once; or let them in again."""
        self.need(identity)
        async with self._turn:
            user = await self._users.get(user_id)
            if user is None:
                raise not_found("This user", "See /api/admin/users for those that exist.")
            await self.keepers.look_up()
            self.need(identity)
            if user.is_active and not is_active:
                if not self.keepers.anybody(but=user_id):
                    raise conflict(
                        "Then nobody could administer any more.",
                        "Give somebody else the role of an administrator first.",
                    )
                await self._auth.deactivate(user_id)
            elif is_active and not user.is_active:
                await self._users.update(user_id, lambda user: msgspec.structs.replace(user, is_active=True))
            log.info("%s set is_active of user %s to %s", identity.user.username, user_id, is_active)
        return self.person(await self._users.get(user_id) or user)


def _proposal(wish: Wish, now_ms: int) -> Proposal:
    return lambda policy: wish.propose(policy, now_ms)


def _plain(change: AnyChange) -> AnyChange:
    """A change without what makes no difference."""
    if isinstance(change, SetMember) and change.role is None:
        return SetMember(change.room_id, change.user_id, None)
    if isinstance(change, SetGroupMembers):
        return SetGroupMembers(change.key, tuple(sorted(set(change.users))))
    return change


def _later(version: int, reason: str) -> Refusal:
    return conflict(
        f"Version {version} cannot be taken back as it is now. {reason}",
        "Take back the later changes first, or change what you want changed by itself.",
    )
