"""Calls that run now: what is still here at the next start was cut off."""

from __future__ import annotations

import msgspec

from heartlink.model import RunningCall
from heartlink.store.backend import Backend, Document
from heartlink.store.tables import CALLS

RUNNING_CALLS_LIMIT = 10_000
"""Calls that are taken up again after a restart; the rest waits for the next one."""


class RunningCalls:
    """The repository of calls under way."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def put(self, call: RunningCall) -> None:
        """Store a call's present state."""
        await self._backend.put(CALLS, Document(call.id, {}, msgspec.json.encode(call)))

    async def delete(self, call_id: str) -> None:
        """Forget a call whose line is stored."""
        await self._backend.delete(CALLS, call_id)

    async def all(self) -> list[RunningCall]:
        """Every call that was not forgotten, in the order of their ids."""
        found = await self._backend.scan(CALLS, {}, limit=RUNNING_CALLS_LIMIT)
        return [msgspec.json.decode(document.body, type=RunningCall) for document in found]
