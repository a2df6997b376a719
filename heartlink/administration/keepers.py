"""Who keeps the keys: that somebody can always administer, whatever is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from heartlink.errors import conflict
from heartlink.model import UserId
from heartlink.policy import Desk
from heartlink.rights import EVERYWHERE, Rights
from heartlink.rights.deltas import Delta, Effective
from heartlink.store.users import Users

MANAGE: Final = "permissions.manage"
"""What one must hold to change the policy."""

NEVER_MS: Final = 2**62
"""A moment at which every timed grant is over."""

KEEPERS_LOOKED_UP: Final = 1000
"""Accounts that are looked at, to see whether they are active."""


class Keepers:
    """Those who hold ``permissions.manage`` and can sign in."""

    def __init__(self, desk: Desk, users: Users, *, clock: Callable[[], int]) -> None:
        self._desk = desk
        self._users = users
        self._clock = clock

    async def look_up(self) -> None:
        """Have the accounts at hand that :meth:`judge` will ask about; call before a commit that it shall judge."""
        concerned = [who for who in self._desk.policy.concerned_by(MANAGE) if who is not None]
        await self._users.get_many(concerned[:KEEPERS_LOOKED_UP])

    def anybody(self, but: UserId | None = None) -> bool:
        """Whether somebody is left who can administer; call after :meth:`look_up`."""
        others = (who for who in self._desk.policy.concerned_by(MANAGE) if who is not None and who != but)
        return any(self._is_active(who) and self._holds(self._desk.policy.effective(who)) for who in others)

    def judge(self, deltas: Sequence[Delta]) -> None:
        """Raise ``conflict`` when a change would leave nobody who can administer, now or once timed grants are over."""
        # Only who held the keys can lose them: the others' rights need not be looked through.
        concerned = self._desk.policy.concerned_by(MANAGE)
        keeping = [delta for delta in deltas if delta.who in concerned]
        for test in (self._holds, self._holds_for_good):
            lost = [delta.who for delta in keeping if test(delta.old) and not test(delta.new)]
            if lost and not any(map(test, self._after(deltas))):
                raise conflict(
                    "Then nobody could administer any more.",
                    "Give somebody else the role of an administrator first.",
                    {"permission": f"nobody else holds '{MANAGE}'"},
                )

    def _after(self, deltas: Sequence[Delta]) -> Iterable[Effective]:
        """What everybody would hold who might hold the keys then."""
        changed = {delta.who: delta.new for delta in deltas}
        for who in self._desk.policy.concerned_by(MANAGE) | changed.keys():
            if who is not None and self._is_active(who):
                yield changed[who] if who in changed else self._desk.policy.effective(who)

    def _is_active(self, who: UserId) -> bool:
        user = self._users.cached(who)
        return user is None or user.is_active

    def _holds(self, effective: Effective, at_ms: int | None = None) -> bool:
        return Rights.of(effective.entries).allows(MANAGE, EVERYWHERE, self._clock() if at_ms is None else at_ms)

    def _holds_for_good(self, effective: Effective) -> bool:
        return self._holds(effective) and self._holds(effective, NEVER_MS)
