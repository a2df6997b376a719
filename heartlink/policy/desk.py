"""The one place where the policy changes: checked, numbered, stored, and then, in one turn, acted upon.

A commit whose outcome is unknown makes the desk *dirty*: before anything else it reads what the store holds above its
version, and acts on that.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from heartlink.errors import DuplicateKey, Refusal, StoreFault, change_not_saved
from heartlink.model import User, UserId
from heartlink.policy.decisions import Decisions
from heartlink.policy.history import History, Step
from heartlink.rights.changes import AnyChange, DropGrant, PutGrant
from heartlink.rights.checking import check_change
from heartlink.rights.deltas import Delta, Effective, Who
from heartlink.rights.policy import Policy
from heartlink.store.policy import COMMITS_PER_READ, Commit, Commits

logger = logging.getLogger(__name__)

REPLAYED_COMMITS: Final = 2000
REPLAYED_STEPS: Final = 20_000
"""At start the steps of the last commits are worked out again, for clients that were away: of at most so many commits,
and so many steps of users, that starting takes seconds."""

PEOPLE_PER_TURN: Final = 250
"""Of how many people a change is worked out before others get their turn of the loop."""

LOOK_AGAIN_SECONDS: Final = 1.0
"""How often the clock is looked at while a timed grant waits for its end: it may be set, or the machine may sleep."""

RETRY_SECONDS: Final = 0.5
"""How long an expiry waits that could not be stored, and how often a commit in doubt is looked for."""

LATE_MS: Final = 30_000
"""How long a commit that was not confirmed may still arrive in the store."""

Listener = Callable[[Commit, list[Step]], None]
"""Acts on a commit: called in the turn in which it counts, without an await in between."""

Proposal = Callable[[Policy], Sequence[AnyChange]]
"""What shall be changed, worked out at the last step; raises the Refusal that keeps it from being done."""

Judge = Callable[[Sequence[Delta]], None]
"""Sees what a commit would change before it is stored."""


def _approve(deltas: Sequence[Delta]) -> None:
    """Has nothing against it."""


class Desk:
    """Commits changes of the policy, one after the other."""

    def __init__(self, policy: Policy, commits: Commits, *, clock: Callable[[], int], save_seconds: float) -> None:
        self.policy = policy
        self.history = History()
        self.decisions = Decisions(lambda: self.version)
        self.version = 0
        self._commits = commits
        self._clock = clock
        self._save_seconds = save_seconds
        self._turn = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._is_dirty = False
        self._late_until_ms = 0
        self._expiries: list[tuple[int, str]] = []
        self._news = asyncio.Event()

    def on_commit(self, listener: Listener) -> None:
        """Have every commit acted upon; listeners are called in the order in which they came."""
        self._listeners.append(listener)

    # Opening

    async def open(self, users: Sequence[UserId]) -> None:
        """Read all commits, and commit what has expired meanwhile; call before anybody is let in."""
        self.policy.users.update(users)
        commits = [commit async for commit in self._all()]
        replayed = _first_to_replay(commits)
        for index, commit in enumerate(commits):
            if index < replayed:
                for change in commit.changes:
                    self.policy.apply(change)
                for touched in commit.touched:
                    self.history.note(UserId(touched) or None, commit.version)
            else:
                # Whoever came later was not there to be changed, though the change would reach them now.
                known = set(commit.touched)
                for delta in self.policy.change(commit.changes):
                    if (delta.who or "") in known:
                        self.history.add(commit.version, delta, commit.why, commit.at_ms)
            self.version = commit.version
        for grant in self.policy.grants.values():
            self._expect(PutGrant(grant))
        await self.expire()

    async def _all(self) -> AsyncIterator[Commit]:
        version = 0
        while True:
            commits = await self._commits.after(version)
            for commit in commits:
                yield commit
            if len(commits) < COMMITS_PER_READ:
                return
            version = commits[-1].version

    async def add_user(self, user_id: UserId) -> None:
        """Somebody has an account from now on; not while a commit is under way."""
        async with self._turn:
            self.policy.add_user(user_id)

    # Committing

    async def commit(
        self, propose: Proposal, *, by: User | None, why: str | Callable[[], str], judge: Judge = _approve
    ) -> Commit | None:
        """Check, number, store and act; None when nothing was to be changed. Raises Refusals, also ``not_saved``.

        ``judge`` sees what would change, with the policy as it is, and may raise a Refusal.
        """
        async with self._turn:
            if self._is_dirty:
                await self._reload()
            changes = tuple(propose(self.policy))
            if not changes:
                return None
            undo, deltas = await self._try_in_turns(changes)
            judge(deltas)
            commit = Commit(
                version=self.version + 1,
                at_ms=self._clock(),
                by=by.id if by else None,
                by_name=by.username if by else "",
                why=why if isinstance(why, str) else why(),
                changes=changes,
                undo=undo,
                touched=tuple(delta.who or "" for delta in deltas),
            )
            try:
                async with asyncio.timeout(self._save_seconds):
                    await self._commits.add(commit)
            except (StoreFault, TimeoutError) as error:
                self._doubt()
                if isinstance(error, DuplicateKey):
                    await self._reload()
                raise change_not_saved() from None
            self._act(commit, deltas)
            return commit

    def preview(self, changes: Sequence[AnyChange]) -> list[Delta]:
        """What changes would change, for everybody; nothing is changed."""
        return self._try(changes)[1]

    def inverse(self, changes: Sequence[AnyChange]) -> tuple[AnyChange, ...]:
        """What would undo changes made now; nothing is changed. Raises the Refusal that keeps them from being made."""
        return self._try(changes)[0]

    def rehearse(self, proposals: Sequence[Proposal]) -> list[Delta]:
        """What proposals made one after the other would change, for everybody; nothing is changed."""
        changes: list[AnyChange] = []
        undo: list[AnyChange] = []
        try:
            for propose in proposals:
                for change in propose(self.policy):
                    check_change(self.policy, change, self._clock())
                    undo.insert(0, self.policy.apply(change))
                    changes.append(change)
        finally:
            for step in undo:
                self.policy.apply(step)
        return self.preview(changes)

    def _try(self, changes: Sequence[AnyChange]) -> tuple[tuple[AnyChange, ...], list[Delta]]:
        """What undoes changes, and the deltas they would make; the policy stays as it is."""
        touched = self._touched(changes)
        old = {who: self.policy.effective(who) for who in touched}
        with self.policy.tried(changes, self._check) as undo:
            deltas = self._deltas(old, touched)
        return tuple(undo), deltas

    async def _try_in_turns(self, changes: Sequence[AnyChange]) -> tuple[tuple[AnyChange, ...], list[Delta]]:
        """The same, with a pause after some people, so that a change for thousands does not hold up everything else.

        Call with the desk's turn held: the policy must be the same after each pause.
        """
        touched = self._touched(changes)
        some = [touched[start : start + PEOPLE_PER_TURN] for start in range(0, len(touched), PEOPLE_PER_TURN)]
        with self.policy.tried(changes, self._check) as undo:
            pass
        deltas: list[Delta] = []
        for people in some:
            old = {who: self.policy.effective(who) for who in people}
            with self.policy.tried(changes, self._check):
                deltas += self._deltas(old, people)
            if len(some) > 1:
                await asyncio.sleep(0)
        return tuple(undo), deltas

    def _touched(self, changes: Sequence[AnyChange]) -> list[Who]:
        return list(set[Who]().union(*map(self.policy.reach, changes)))

    def _deltas(self, old: Mapping[Who, Effective], people: Sequence[Who]) -> list[Delta]:
        deltas = (Delta(who, old[who], self.policy.fresh(who)) for who in people)
        return [delta for delta in deltas if delta.old != delta.new]

    def _check(self, change: AnyChange) -> None:
        check_change(self.policy, change, self._clock())

    def _act(self, commit: Commit, known: list[Delta] | None = None) -> None:
        """Make a stored commit count: from here to the end of the listeners there is no await."""
        deltas = self.policy.change(commit.changes, known)
        self.version = commit.version
        steps = [self.history.add(commit.version, delta, commit.why, commit.at_ms) for delta in deltas]
        for change in commit.changes:
            self._expect(change)
        for listener in self._listeners:
            try:
                listener(commit, steps)
            except Exception:
                # One's fault must not keep the others from acting on what counts already.
                logger.exception("acting on version %s failed", commit.version)

    def _doubt(self) -> None:
        """The store may hold a commit that we have not acted upon, or may yet take it: look for it."""
        self._is_dirty = True
        self._late_until_ms = self._clock() + LATE_MS
        self._news.set()

    @property
    def is_in_doubt(self) -> bool:
        """Whether the store may know of a commit that we have not acted upon."""
        return self._is_dirty or self._clock() < self._late_until_ms

    async def recover(self) -> None:
        """Act on what the store holds and we have not heard of; raises ``not_saved`` when it cannot be asked."""
        async with self._turn:
            if self.is_in_doubt:
                await self._reload()

    async def _reload(self) -> None:
        """Read and act on what the store holds above our version."""
        try:
            async with asyncio.timeout(self._save_seconds):
                for commit in await self._commits.after(self.version):
                    self._act(commit)
        except (StoreFault, TimeoutError):
            raise change_not_saved() from None
        self._is_dirty = False

    # Expiring

    def _expect(self, change: AnyChange) -> None:
        if isinstance(change, PutGrant) and change.grant.expires_at_ms is not None:
            heapq.heappush(self._expiries, (change.grant.expires_at_ms, change.grant.id))
            self._news.set()

    async def expire(self) -> None:
        """Commit the end of every grant whose time is over."""
        now_ms = self._clock()
        due: list[str] = []
        while self._expiries and self._expiries[0][0] <= now_ms:
            due.append(heapq.heappop(self._expiries)[1])

        def over(policy: Policy) -> list[AnyChange]:
            grants = (policy.grants.get(id) for id in dict.fromkeys(due))
            return [
                DropGrant(grant.id)
                for grant in grants
                if grant is not None and grant.expires_at_ms is not None and grant.expires_at_ms <= now_ms
            ]

        try:
            await self.commit(over, by=None, why="its time was over")
        except Refusal:
            for id in due:
                heapq.heappush(self._expiries, (now_ms, id))
            raise

    async def keep_time(self) -> None:
        """End timed grants at their time, and find out about commits in doubt; runs as long as the server."""
        while True:
            self._news.clear()
            if self.is_in_doubt:
                with contextlib.suppress(Refusal):
                    await self.recover()
            wait_seconds = (self._expiries[0][0] - self._clock()) / 1000 if self._expiries else None
            if wait_seconds is not None and wait_seconds <= 0:
                try:
                    await self.expire()
                except Refusal:
                    await asyncio.sleep(RETRY_SECONDS)
                continue
            bounds = [] if wait_seconds is None else [wait_seconds, LOOK_AGAIN_SECONDS]
            if self.is_in_doubt:
                bounds.append(RETRY_SECONDS)
            try:
                await asyncio.wait_for(self._news.wait(), min(bounds, default=None))
            except TimeoutError:
                continue


def _first_to_replay(commits: Sequence[Commit]) -> int:
    """The first of the last commits whose steps are worked out again."""
    first, steps = len(commits), 0
    while first and len(commits) - first < REPLAYED_COMMITS:
        steps += len(commits[first - 1].touched)
        if steps > REPLAYED_STEPS:
            break
        first -= 1
    return first
