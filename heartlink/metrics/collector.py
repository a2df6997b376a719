"""The metrics of a house. Nothing is counted here: what the rooms counted is read at each request for it."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from heartlink import __version__
from heartlink.connection import CLOSE_REASONS, Connection, ConnectionLimits
from heartlink.errors import TOO_SLOW
from heartlink.hub import Hub
from heartlink.tallies import OTHER, Histogram, Tallies

DELIVERIES: Final = frozenset({"chat_message", "message_updated"})
"""The frames that bring what somebody said to somebody."""

LAG_QUANTILES: Final = (0.5, 0.99, 1.0)

Rows = Mapping[tuple[str, ...], float]


class Gauge(NamedTuple):
    """One number of the house that goes up and down, read when it is asked for."""

    name: str
    help: str
    read: Callable[[], float]


class Metrics:
    """The registry of one house."""

    def __init__(self, hub: Hub, tallies: Tallies, limits: ConnectionLimits, gauges: Sequence[Gauge]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(HouseCollector(hub, tallies, limits, gauges))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it in the text format that ``Accept`` asks for, and that format's media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class HouseCollector(Collector):
    """Makes families of what the house counted. Labels take their values from tables of the code alone."""

    def __init__(self, hub: Hub, tallies: Tallies, limits: ConnectionLimits, gauges: Sequence[Gauge]) -> None:
        self._hub = hub
        self._tallies = tallies
        self._limits = limits
        self._gauges = gauges

    def describe(self) -> list[Metric]:
        """Nothing: registering must not look through the whole house."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, read now."""
        yield _gauge(
            "build_info",
            "The version that runs.",
            {(__version__, platform.python_version()): 1},
            ("version", "python"),
        )
        for name, text, read in self._gauges:
            yield _gauge(name, text, {(): read()})
        yield from self._connections()
        yield from self._frames()
        yield from self._store()
        tallies = self._tallies
        yield _histogram("loop_lag_seconds", "How late the event loop came back to a timer.", tallies.loop_lag_seconds)
        yield _counter(
            "http_requests", "Answered requests, refused and upgraded ones too.", tallies.requests, _REQUEST_LABELS
        )
        yield _histogram("http_request_seconds", "From a request's first line to its answer.", tallies.request_seconds)
        yield _counter("uploads", "Files that came with messages, by type.", tallies.uploads, ("type",))
        yield _counter("upload_bytes", "Bytes of those files.", {(): tallies.upload_bytes})
        codes = self._hub.flusher.ledger.errors_out().items()
        refusals: Rows = {**tallies.refusals} | {("frame", code): count for code, count in codes}
        yield _counter("refusals", "What was refused, by place and code.", refusals, ("place", "code"))

    def _connections(self) -> Iterator[Metric]:
        rows = self._hub.arrivals(len(self._hub))
        routes: Counter[tuple[str, ...]] = Counter((arrival.route or OTHER,) for _, arrival in rows)
        connections = [connection for connection, _ in rows]
        waiting = [connection for connection in connections if connection.queued_frames]
        closes = self._hub.flusher.ledger.closes
        yield _gauge("connections", "Open sockets.", routes, ("route",))
        yield _gauge("users_online", "Signed-in users with an open socket.", {(): self._hub.users_count})
        yield _gauge("connections_waiting", "Sockets with frames in their queue.", {(): len(waiting)})
        yield _gauge("queued_frames", "Frames in all queues.", {(): sum(one.queued_frames for one in waiting)})
        yield _gauge("queued_bytes", "Bytes in all queues.", {(): sum(one.queued_bytes for one in waiting)})
        fullest = max((self._fill_ratio(one) for one in waiting), default=0.0)
        yield _gauge("queue_fill_ratio_max", "How full the fullest queue is; at 1 its peer is too slow.", {(): fullest})
        yield _gauge("connection_lag_seconds", "Latest round trips of pings.", _lags(connections), ("quantile",))
        rows_by_code: Rows = {
            (str(code) if code else OTHER, CLOSE_REASONS.get(code, OTHER), by): count
            for (code, by), count in closes.items()
        }
        yield _counter("closes", "Closed sockets, by close code and who ended them.", rows_by_code, _CLOSE_LABELS)
        slow = sum(count for (code, _), count in closes.items() if code == TOO_SLOW.close_code)
        yield _counter("slow_closes", "Sockets closed because their reader was too slow.", {(): slow})

    def _fill_ratio(self, connection: Connection) -> float:
        limits = self._limits
        by_frames = connection.queued_frames / limits.queue_frames if limits.queue_frames else 0.0
        return max(by_frames, connection.queued_bytes / limits.queue_bytes if limits.queue_bytes else 0.0)

    def _frames(self) -> Iterator[Metric]:
        ledger = self._hub.flusher.ledger
        totals = {"in": ledger.totals_in(), "out": ledger.totals_out()}
        rows = [(direction, row) for direction, found in totals.items() for row in found]
        frames: Rows = {(direction, row.kind): row.frames for direction, row in rows}
        sizes: Rows = {(direction, row.kind): row.bytes for direction, row in rows}
        delivered = sum(row.frames for row in totals["out"] if row.kind in DELIVERIES)
        yield _counter("frames", "Frames, by direction and type.", frames, ("direction", "type"))
        yield _counter("frame_bytes", "Bytes of payload in those frames.", sizes, ("direction", "type"))
        yield _counter("deliveries", "Messages and changes of messages that were handed to a socket.", {(): delivered})

    def _store(self) -> Iterator[Metric]:
        tallies = self._tallies
        seconds = HistogramMetricFamily(
            "heartlink_store_seconds", "What the store took, by operation.", labels=("operation",)
        )
        for operation, histogram in sorted(tallies.store_seconds.items()):
            seconds.add_metric((operation,), histogram.buckets(), histogram.total)
        yield seconds
        yield _counter(
            "store_failures", "Operations that the store did not confirm.", tallies.store_failures, ("operation",)
        )
        yield _histogram("journal_batch_entries", "Messages and changes that shared one write.", tallies.batch_entries)


_REQUEST_LABELS: Final = ("route", "method", "status")
_CLOSE_LABELS: Final = ("code", "reason", "by")


def _gauge(name: str, text: str, rows: Rows, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily("heartlink_" + name, text, labels=labels)
    for values, number in rows.items():
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, rows: Rows, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily("heartlink_" + name, text, labels=labels)
    for values, number in rows.items():
        family.add_metric(values, number)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily("heartlink_" + name, text, labels=())
    family.add_metric((), histogram.buckets(), histogram.total)
    return family


def _lags(connections: Sequence[Connection]) -> dict[tuple[str, ...], float]:
    known = sorted(connection.lag_ms for connection in connections if connection.lag_ms is not None)
    if not known:
        return {}
    return {(str(share),): known[min(int(share * len(known)), len(known) - 1)] / 1000 for share in LAG_QUANTILES}
