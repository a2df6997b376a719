"""Plain numbers that the rooms of the house count as they go; the metrics read them when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

LATENCY_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the classes in which times are counted."""

BATCH_ENTRIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The same for the entries of one write to a room's history."""

KEYS_LIMIT: Final = 500
"""Different keys of one count; what is beyond them counts as ``OTHER``."""

OTHER: Final = "other"


class Histogram:
    """How many values fell into which class; a value counts in the first class whose bound it does not pass."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """The cumulated classes as Prometheus writes them: upper bound as text, values up to it."""
        rows, so_far = [], 0
        for bound, count in zip((*map(str, map(float, self.bounds)), "+Inf"), self.counts, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows


class Tallies:
    """What is counted besides the frames, which the connections' ledger counts (:mod:`heartlink.connection`)."""

    def __init__(self) -> None:
        self.refusals: Counter[tuple[str, ...]] = Counter()
        """By place (``http``, ``upgrade``) and code."""
        self.requests: Counter[tuple[str, ...]] = Counter()
        """By route, method and status."""
        self.store_failures: Counter[tuple[str, ...]] = Counter()
        """By operation."""
        self.uploads: Counter[tuple[str, ...]] = Counter()
        """Files that came with messages, by the type of the message."""
        self.upload_bytes = 0
        self.request_seconds = Histogram(LATENCY_SECONDS)
        self.store_seconds: dict[str, Histogram] = {}
        """By operation."""
        self.batch_entries = Histogram(BATCH_ENTRIES)
        self.loop_lag_seconds = Histogram(LATENCY_SECONDS)

    def count(self, counter: Counter[tuple[str, ...]], *key: str) -> None:
        """Add one under a key, or under ``OTHER`` when there are too many keys."""
        if key not in counter and len(counter) >= KEYS_LIMIT:
            key = (OTHER,) * len(key)
        counter[key] += 1

    def store_took(self, operation: str, seconds: float) -> None:
        """Count one answer of the store."""
        histogram = self.store_seconds.get(operation)
        if histogram is None:
            histogram = self.store_seconds[operation] = Histogram(LATENCY_SECONDS)
        histogram.observe(seconds)
