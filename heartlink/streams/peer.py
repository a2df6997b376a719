"""One connection of the permission stream: whose stream it is, who listens, and to what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from heartlink.connection import Connection, TokenBucket
from heartlink.model import User, UserId
from heartlink.rights.deltas import Who


class Outcome(NamedTuple):
    """How a client came in: with all that it missed, or with everything anew, and then why."""

    resume: Literal["none", "changes", "full"]
    reason: Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None = None


class Subscription:
    """Which types of notifications a connection wants to hear: all of them, until it says something else."""

    __slots__ = ("only", "without")

    def __init__(self) -> None:
        self.only: dict[str, None] | None = None
        self.without: set[str] = set()

    def add(self, types: Iterable[str]) -> list[str]:
        """Hear these, beside what was asked for before; returns all that is heard now."""
        self.without.difference_update(types)
        self.only = (self.only or {}) | dict.fromkeys(types)
        return list(self.only)

    def remove(self, types: Iterable[str] | None) -> list[str] | None:
        """Hear these no more (None: nothing any more); returns what is heard now, None for all but those."""
        if types is None:
            self.only = {}
        elif self.only is not None:
            self.only = {kind: None for kind in self.only if kind not in set(types)}
        else:
            self.without.update(types)
        return None if self.only is None else list(self.only)

    def wants(self, kinds: frozenset[str]) -> bool:
        """Whether what can be called by any of these is to be heard."""
        if self.only is None:
            return self.without.isdisjoint(kinds)
        return not kinds.isdisjoint(self.only)


class StreamPeer:
    """One connection: ``user`` listens (None: nobody signed in) to the stream of ``subject``."""

    __slots__ = ("bucket", "connection", "outcome", "refusals", "subject", "subscription", "user")

    def __init__(self, connection: Connection, user: User | None, subject: User | None, bucket: TokenBucket) -> None:
        self.connection = connection
        self.user = user
        self.subject = subject
        self.bucket = bucket
        self.refusals = 0
        """Refusals in a row for being over the rate limit."""
        self.subscription = Subscription()
        self.outcome = Outcome("none")
        """How it came in."""

    @property
    def user_id(self) -> UserId | None:
        """Who listens; None when nobody is signed in."""
        return None if self.user is None else self.user.id

    @property
    def who(self) -> Who:
        """Whose rights are told."""
        return None if self.subject is None else self.subject.id

    @property
    def watches(self) -> bool:
        """Whether it is somebody else's stream."""
        return self.user_id != self.who
