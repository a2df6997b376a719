"""Words to people, and wishes of people for rights: sent over their permission streams (PROTOCOL 4.2, 5)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Literal

from heartlink.administration.keepers import MANAGE
from heartlink.administration.office import NOTIFY, Administration
from heartlink.connection import TokenBucket
from heartlink.errors import conflict, rate_limited, unfit
from heartlink.model import Identity, UserId
from heartlink.policy import Desk, Explainer
from heartlink.protocol import (
    AccessRequested,
    Announcement,
    CacheInvalidation,
    Notice,
    Notification,
    StaleKeys,
    SystemNotification,
    iso,
)

REQUESTS_PER_SECOND: Final = 0.1
REQUESTS_AT_ONCE: Final = 5
RATES_LIMIT: Final = 10_000
"""People whose rate of asking is remembered."""

ASKED_LIMIT: Final = 100
"""People who hear of one request."""

Notify = Callable[[Iterable[UserId] | None, Notice], int]
Priority = Literal["low", "normal", "medium", "high", "urgent", "critical"]


class Notices:
    """Sends what is not a change of rights."""

    def __init__(
        self,
        administration: Administration,
        desk: Desk,
        explainer: Explainer,
        notify: Notify,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._administration = administration
        self._desk = desk
        self._explainer = explainer
        self._notify = notify
        self._clock = clock
        self._rates: OrderedDict[UserId, TokenBucket] = OrderedDict()

    def announce(self, identity: Identity, message: str, kind: str, priority: str, users: list[str] | None) -> int:
        """Tell people something (None: everybody who listens); returns how many streams it went to."""
        self._administration.need(identity, NOTIFY)
        if not message.strip():
            raise unfit("message", "it is empty", "Write some text.")
        data = Announcement(message=message, type=kind, priority=priority, by=identity.user.username)
        return self._notify(self._known(users), SystemNotification(timestamp=iso(self._clock()), data=data))

    def invalidate(self, identity: Identity, keys: list[str], users: list[str] | None) -> int:
        """Tell clients what to fetch anew; returns how many streams it went to."""
        self._administration.need(identity, MANAGE)
        event = CacheInvalidation(timestamp=iso(self._clock()), data=StaleKeys(cache_keys=keys))
        return self._notify(self._known(users), event)

    def request_access(self, identity: Identity, permission: str, scope: str, message: str) -> None:
        """Tell those who can grant something that somebody asks for it. Who they are stays with us."""
        user = identity.user
        policy, now_ms = self._desk.policy, self._clock()
        if policy.rights(user.id).allows(permission, scope, now_ms):
            raise conflict(f"You hold '{permission}' already.", "Load the page again if it does not show that.")
        self._take(user.id)
        managers = [
            who
            for who in policy.concerned_by(MANAGE)
            if who is not None and policy.rights(who).allows(MANAGE, now_ms=now_ms)
        ]
        asked = dict.fromkeys([*self._explainer.people_who_can_grant(user.id, scope), *sorted(managers)])
        data = AccessRequested(
            user_id=user.id, username=user.username, permission=permission, scope=scope, message=message
        )
        asked.pop(user.id, None)
        self._notify(list(asked)[:ASKED_LIMIT], Notification(timestamp=iso(now_ms), data=data))

    def _known(self, users: list[str] | None) -> list[UserId] | None:
        if users is None:
            return None
        unknown = [user for user in users if user not in self._desk.policy.users]
        if unknown:
            raise unfit("users", f"there is no user '{unknown[0][:64]}'", "Send ids of users, as /api/users has them.")
        return [UserId(user) for user in dict.fromkeys(users)]

    def _take(self, user_id: UserId) -> None:
        bucket = self._rates.pop(user_id, None) or TokenBucket(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE)
        self._rates[user_id] = bucket
        if len(self._rates) > RATES_LIMIT:
            self._rates.popitem(last=False)
        wait_seconds = bucket.take(time.monotonic())
        if wait_seconds:
            raise rate_limited(round(wait_seconds, 3))
