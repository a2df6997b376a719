"""The policy's commits: one document each, numbered; the policy is what they come to, from the first to the last."""

from __future__ import annotations

from typing import Final

import msgspec

from heartlink.model import UserId
from heartlink.rights.changes import AnyChange
from heartlink.store.backend import Backend, Document, Span
from heartlink.store.tables import POLICY_COMMITS

COMMITS_PER_READ: Final = 1000


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the policy: what, what it replaced, who, when, why, and whose rights it changed.

    ``touched`` are users' ids, ``""`` for whoever is not signed in.
    """

    version: int
    at_ms: int
    by: UserId | None
    by_name: str
    why: str
    changes: tuple[AnyChange, ...]
    undo: tuple[AnyChange, ...]
    touched: tuple[str, ...]


_decoder = msgspec.json.Decoder(Commit)


class Commits:
    """The repository of commits."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def add(self, commit: Commit) -> None:
        """Store a commit; raises DuplicateKey when its version exists."""
        document = Document(f"{commit.version:012d}", {"version": commit.version}, msgspec.json.encode(commit))
        await self._backend.insert(POLICY_COMMITS, document)

    async def after(self, version: int, limit: int = COMMITS_PER_READ) -> list[Commit]:
        """At most ``limit`` commits after a version, oldest first."""
        found = await self._backend.scan(POLICY_COMMITS, {}, Span("version", above=version), limit)
        return [_decoder.decode(document.body) for document in found]

    async def latest(self, before: int | None, limit: int) -> list[Commit]:
        """At most ``limit`` commits before a version (None: the end), newest first."""
        span = Span("version", below=before, descending=True)
        found = await self._backend.scan(POLICY_COMMITS, {}, span, limit)
        return [_decoder.decode(document.body) for document in found]

    async def get(self, version: int) -> Commit | None:
        """The commit that made a version."""
        found = await self._backend.get(POLICY_COMMITS, f"{version:012d}")
        return _decoder.decode(found.body) if found else None
