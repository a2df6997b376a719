"""Each subject's own line of versions, so that a client that was away can be told just what it missed."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from heartlink.rights.deltas import Delta, Who

STEPS_PER_SUBJECT: Final = 64
SUBJECTS_LIMIT: Final = 20_000
"""Subjects whose steps are remembered; of the others only the version is."""


class Step(NamedTuple):
    """What one commit changed for one subject: ``prev`` is the version before it on this subject's own line."""

    version: int
    prev: int
    delta: Delta
    because: str
    at_ms: int


class History:
    """Versions and recent steps of all subjects."""

    def __init__(self) -> None:
        self._versions: dict[Who, int] = {}
        self._steps: OrderedDict[Who, deque[Step]] = OrderedDict()

    def version_of(self, who: Who) -> int:
        """The latest commit that changed a subject; 0 when none did."""
        return self._versions.get(who, 0)

    def note(self, who: Who, version: int) -> None:
        """Remember that a commit changed a subject, but not how: what led there cannot be told any more."""
        self._versions[who] = version
        self._steps.pop(who, None)

    def add(self, version: int, delta: Delta, because: str, at_ms: int) -> Step:
        """Remember what a commit changed for a subject."""
        step = Step(version, self.version_of(delta.who), delta, because, at_ms)
        self._versions[delta.who] = version
        steps = self._steps.pop(delta.who, None) or deque(maxlen=STEPS_PER_SUBJECT)
        steps.append(step)
        self._steps[delta.who] = steps
        if len(self._steps) > SUBJECTS_LIMIT:
            self._steps.popitem(last=False)
        return step

    def since(self, who: Who, version: int) -> list[Step] | None:
        """The steps after a version of a subject's line; None when they are not all known."""
        if version == self.version_of(who):
            return []
        missed = [step for step in self._steps.get(who, ()) if step.version > version]
        return missed if missed and missed[0].prev <= version else None
