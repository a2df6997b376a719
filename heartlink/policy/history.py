"""Each subject's own line of versions, so that a client that was away can be told just what it missed."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from heartlink.model import Menu
from heartlink.rights.deltas import Delta, Effective, Who
from heartlink.rights.entries import Entry

STEPS_PER_SUBJECT: Final = 64
STEPS_LIMIT: Final = 200_000
"""Steps that are remembered of all subjects together; whose rights have not changed for longest is forgotten first."""


class Step(NamedTuple):
    """What one commit changed for one subject: ``prev`` is the version before it on this subject's own line."""

    version: int
    prev: int
    delta: Delta
    because: str
    at_ms: int


class _Trace(NamedTuple):
    """What is kept of a step: how to get from what came of it back to what was before."""

    version: int
    prev: int
    because: str
    at_ms: int
    roles: tuple[str, ...]
    menus: tuple[Menu, ...]
    came: frozenset[Entry]
    went: frozenset[Entry]


class History:
    """Versions and recent steps of all subjects."""

    def __init__(self) -> None:
        self._versions: dict[Who, int] = {}
        self._traces: OrderedDict[Who, deque[_Trace]] = OrderedDict()
        self._count = 0

    def version_of(self, who: Who) -> int:
        """The latest commit that changed a subject; 0 when none did."""
        return self._versions.get(who, 0)

    def note(self, who: Who, version: int) -> None:
        """Remember that a commit changed a subject, but not how: what led there cannot be told any more."""
        self._versions[who] = version
        self._count -= len(self._traces.pop(who, ()))

    def add(self, version: int, delta: Delta, because: str, at_ms: int) -> Step:
        """Remember what a commit changed for a subject."""
        who, old, new = delta
        step = Step(version, self.version_of(who), delta, because, at_ms)
        came, went = new.entries - old.entries, old.entries - new.entries
        self._versions[who] = version
        traces = self._traces.pop(who, None) or deque(maxlen=STEPS_PER_SUBJECT)
        self._count += len(traces) < STEPS_PER_SUBJECT
        traces.append(_Trace(version, step.prev, because, at_ms, old.roles, old.menus, came, went))
        self._traces[who] = traces
        while self._count > STEPS_LIMIT:
            self._count -= len(self._traces.popitem(last=False)[1])
        return step

    def since(self, who: Who, version: int, now: Effective) -> list[Step] | None:
        """The steps after a version of a subject's line, which led to ``now``; None when they are not all known."""
        if version == self.version_of(who):
            return []
        steps: list[Step] = []
        new = now
        for trace in reversed(self._traces.get(who, ())):
            if trace.version <= version:
                break
            old = Effective(trace.roles, (new.entries - trace.came) | trace.went, trace.menus)
            steps.append(Step(trace.version, trace.prev, Delta(who, old, new), trace.because, trace.at_ms))
            new = old
        return steps[::-1] if steps and steps[-1].prev <= version else None
