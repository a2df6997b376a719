"""Accounts and ended sessions: nouns in, nouns out, with a bounded cache of users in front of the store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from heartlink.errors import StoreUnavailable
from heartlink.model import SessionId, User, UserId
from heartlink.store.backend import Backend, Document, Span
from heartlink.store.tables import ENDED_SESSIONS, USERS

CACHED_USERS = 10_000
UNCERTAIN_USERS = 1_000
USERS_PER_READ = 500
IDS_PER_READ = 2_000
WAITING_CHANGES = 256
CHANGE_TRIES = 3
SESSIONS_PER_READ = 1_000
SESSIONS_PER_PURGE = 500

# No name contains the last code point, so it lies above every continuation of a prefix.
_ABOVE_ALL = "\U0010ffff"


class Users:
    """The repository of accounts. This process is the only writer, so a cached user is the stored one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._cache: OrderedDict[UserId, User] = OrderedDict()
        self._uncertain: OrderedDict[UserId, User] = OrderedDict()
        self._writing = asyncio.Lock()
        self._waiting = 0

    def cached(self, user_id: UserId) -> User | None:
        """The user if it is at hand without waiting."""
        user = self._cache.get(user_id)
        if user is not None:
            self._cache.move_to_end(user_id)
        return user

    async def get(self, user_id: UserId) -> User | None:
        """The user under an id."""
        user = self.cached(user_id)
        if user is not None:
            return user
        found = await self._backend.get(USERS, user_id)
        return self._keep(found) if found else None

    async def get_many(self, user_ids: Sequence[UserId]) -> dict[UserId, User]:
        """Those of the users that exist, by id."""
        users = {user_id: user for user_id in user_ids if (user := self.cached(user_id))}
        missing = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in users]
        for start in range(0, len(missing), USERS_PER_READ):
            found = await self._backend.get_many(USERS, missing[start : start + USERS_PER_READ])
            users.update((user.id, user) for user in map(self._keep, found))
        return users

    async def by_fold(self, fold: str) -> User | None:
        """The user of a folded name (:func:`heartlink.names.fold`)."""
        found = await self._backend.scan(USERS, {"fold": fold}, limit=1)
        return self._keep(found[0]) if found else None

    async def search(self, prefix: str, limit: int) -> list[User]:
        """At most ``limit`` active users whose folded name begins with ``prefix``, by name."""
        span = Span("fold", above=prefix or None, below=prefix + _ABOVE_ALL)
        found = await self._backend.scan(USERS, {"fold": prefix}, limit=1) if prefix else []
        found += await self._backend.scan(USERS, {}, span, limit=limit)
        return [user for user in map(self._keep, found) if user.is_active][:limit]

    async def listed(self, prefix: str, after: str, limit: int) -> list[User]:
        """At most ``limit`` users, active or not, whose folded name begins with ``prefix`` and lies after ``after``."""
        span = Span("fold", above=max(prefix, after) or None, below=prefix + _ABOVE_ALL)
        found = await self._backend.scan(USERS, {"fold": prefix}, limit=1) if prefix and prefix > after else []
        found += await self._backend.scan(USERS, {}, span, limit=limit)
        return [self._keep(document) for document in found][:limit]

    async def all_ids(self) -> list[UserId]:
        """The id of every account."""
        ids: list[UserId] = []
        above = ""
        while True:
            found = await self._backend.scan(USERS, {}, Span("fold", above=above), limit=IDS_PER_READ)
            ids += [UserId(row.id) for row in found]
            if len(found) < IDS_PER_READ:
                return ids
            above = str(found[-1].keys["fold"])

    async def add(self, user: User) -> None:
        """Store a new user; raises DuplicateKey when the id or the folded name exists."""
        await self._backend.insert(USERS, _document(user))
        self._remember(user)

    async def update(self, user_id: UserId, change: Callable[[User], User]) -> User | None:
        """Store what ``change`` makes of the user and return it; None when there is none. One change at a time."""
        if self._waiting >= WAITING_CHANGES:
            raise StoreUnavailable("Too many changes of users wait.")
        self._waiting += 1
        try:
            async with self._writing:
                return await self._update(user_id, change)
        finally:
            self._waiting -= 1

    async def _update(self, user_id: UserId, change: Callable[[User], User]) -> User | None:
        for _ in range(CHANGE_TRIES):
            before = await self.get(user_id)
            if before is None:
                return None
            wanted = change(before)
            if wanted == before:
                return before
            after = msgspec.structs.replace(wanted, rev=before.rev + 1)
            try:
                is_stored = await self._backend.change(USERS, _document(after), {"rev": before.rev})
            except StoreUnavailable:
                self._doubt(after)
                raise
            # Only a change of unknown outcome that has arrived meanwhile makes this one wrong.
            self._cache.pop(user_id, None)
            self._uncertain.pop(user_id, None)
            if is_stored:
                self._remember(after)
                return after
        raise StoreUnavailable("A user changes all the time.")

    def _keep(self, found: Document) -> User:
        user = msgspec.json.decode(found.body, type=User)
        # A change that was confirmed while this read was under way is the newer of the two.
        newer = self._cache.get(user.id)
        if newer is not None:
            return newer
        if self._uncertain.get(user.id, user) == user:
            self._uncertain.pop(user.id, None)
            self._remember(user)
        return user

    def _remember(self, user: User) -> None:
        self._cache[user.id] = user
        self._cache.move_to_end(user.id)
        if len(self._cache) > CACHED_USERS:
            self._cache.popitem(last=False)

    def _doubt(self, intended: User) -> None:
        # The write may still arrive: until it is seen, every read goes to the store.
        self._cache.pop(intended.id, None)
        self._uncertain[intended.id] = intended
        if len(self._uncertain) > UNCERTAIN_USERS:
            self._uncertain.popitem(last=False)


class EndedSessions:
    """The repository of sessions that were ended before their tokens expire."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def put(self, session_id: SessionId, expires_ms: int) -> None:
        """Remember that a session has ended, until ``expires_ms``."""
        await self._backend.put(ENDED_SESSIONS, Document(session_id, {"expires_ms": expires_ms}, b"{}"))

    async def all_after(self, now_ms: int, per_read: int = SESSIONS_PER_READ) -> dict[SessionId, int]:
        """Every ended session whose tokens could still be valid, with the time until which that is so."""
        sessions: dict[SessionId, int] = {}
        above = now_ms
        while True:
            span = Span("expires_ms", above=above)
            found = await self._backend.scan(ENDED_SESSIONS, {}, span, limit=per_read)
            new = {SessionId(row.id): int(row.keys["expires_ms"]) for row in found}
            if new.keys() <= sessions.keys():
                return sessions
            sessions |= new
            # The bound is exclusive and several sessions may share a millisecond.
            above = max(new.values()) - 1

    async def purge(self, now_ms: int) -> None:
        """Forget some of the sessions that are over anyway."""
        over = await self._backend.scan(ENDED_SESSIONS, {}, Span("expires_ms", below=now_ms), limit=SESSIONS_PER_PURGE)
        for row in over:
            await self._backend.delete(ENDED_SESSIONS, row.id)


def _document(user: User) -> Document:
    return Document(user.id, {"fold": user.fold, "rev": user.rev}, msgspec.json.encode(user))
