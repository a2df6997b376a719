"""How often a peer may."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from heartlink.model import UserId

USERS_LIMIT: Final = 10_000
"""Users whose rate is remembered."""


class TokenBucket:
    """Lets ``rate_per_second`` through, ``burst`` at once; a rate of 0 lets everything through."""

    __slots__ = ("_depth_seconds", "_full_at", "_interval_seconds")

    def __init__(self, rate_per_second: float, burst: int) -> None:
        self._interval_seconds = 1 / rate_per_second if rate_per_second else 0.0
        self._depth_seconds = self._interval_seconds * max(burst, 1)
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take one: 0.0 when it was there, else the seconds until it will be. ``now`` is monotonic."""
        if not self._interval_seconds:
            return 0.0
        full_at = max(self._full_at, now) + self._interval_seconds
        wait_seconds = full_at - now - self._depth_seconds
        # Sums of floats: a token that is due now may look a rounding error away.
        if wait_seconds > 1e-6:
            return wait_seconds
        self._full_at = full_at
        return 0.0


class UserRates:
    """The buckets of users who post over REST; those who have not posted for long are forgotten."""

    def __init__(self, make_bucket: Callable[[], TokenBucket]) -> None:
        self._make_bucket = make_bucket
        self._buckets: OrderedDict[UserId, TokenBucket] = OrderedDict()

    def __call__(self, user_id: UserId) -> TokenBucket:
        """The bucket of a user."""
        bucket = self._buckets.pop(user_id, None) or self._make_bucket()
        self._buckets[user_id] = bucket
        if len(self._buckets) > USERS_LIMIT:
            self._buckets.popitem(last=False)
        return bucket
