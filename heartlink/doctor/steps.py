"""The steps of an examination as they are noted: what was looked at, what was seen, how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from heartlink.doctor.verdicts import Found

BUDGET_SECONDS: Final = 4.5
"""What all steps together may take, the idle one aside; every limit is in proportion to it."""

State = Literal["ok", "note", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the examination is to use and to look at."""

    token: str = field(default="", repr=False)
    room_id: str = ""
    budget_seconds: float = BUDGET_SECONDS
    idle_seconds: float = 0.0
    insecure: bool = False

    @property
    def pace(self) -> float:
        """By how much every limit is stretched."""
        return self.budget_seconds / BUDGET_SECONDS


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at, and what was seen."""

    name: str
    state: State
    text: str
    took_ms: float
    fix: str = ""


Tell = Callable[[Step], None]


class Notebook:
    """The steps so far; ``tell`` hears of each as it is done."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self.options = options
        self.steps: list[Step] = []
        self.current = "name"
        self._tell = tell
        self._began = time.perf_counter()

    def begin(self, name: str) -> None:
        """A step begins."""
        self.current = name
        self._began = time.perf_counter()

    def note(self, text: str, *, state: State = "ok", fix: str = "", took_ms: float | None = None) -> None:
        """The current step is done."""
        took = 1000 * (time.perf_counter() - self._began) if took_ms is None else took_ms
        step = Step(self.current, state, text, took, fix)
        self.steps.append(step)
        self._tell(step)

    def fail(self, found: Found, *, took_ms: float | None = None) -> Found:
        """The current step found it; returns what to raise."""
        self.note(found.sentence, state="failed", fix=found.fix, took_ms=took_ms)
        return found

    def within(self, seconds: float) -> asyncio.Timeout:
        """A limit at the pace of this examination."""
        return asyncio.timeout(seconds * self.options.pace)
