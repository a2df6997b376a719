"""What of a house is watched, and the numbers of it that go up and down."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Protocol

from heartlink.connection import ConnectionLimits
from heartlink.hub import Hub
from heartlink.journal import Published
from heartlink.metrics.collector import Gauge, Metrics
from heartlink.policy import Desk
from heartlink.store.health import StoreHealth
from heartlink.tallies import Tallies


class Switchboard(Protocol):
    """Who is in a call."""

    @property
    def board(self) -> Sized: ...


class Watched(Protocol):
    """What the metrics read of a house."""

    hub: Hub
    tallies: Tallies
    connection_limits: ConnectionLimits
    health: StoreHealth
    desk: Desk
    draining: bool

    @property
    def live_rooms(self) -> Sized: ...

    @property
    def tasks(self) -> Sized: ...

    @property
    def transfers(self) -> Sized: ...

    @property
    def calls(self) -> Switchboard: ...


def make_metrics(house: Watched) -> Metrics:
    """The metrics of a house, once it is furnished."""
    gauges = (
        Gauge("store_up", "Whether the store answers.", lambda: float(house.health.is_up)),
        Gauge("draining", "Whether everybody was asked to come back in a moment.", lambda: float(house.draining)),
        Gauge("rooms_live", "Rooms in memory.", lambda: len(house.live_rooms)),
        Gauge("tasks", "Background work under way.", lambda: len(house.tasks)),
        Gauge("transfers", "Uploads and downloads under way.", lambda: len(house.transfers)),
        Gauge("calls", "Calls that ring or run.", lambda: len(house.calls.board)),
        Gauge("policy_version", "The latest version of who may what.", lambda: house.desk.version),
    )
    return Metrics(house.hub, house.tallies, house.connection_limits, gauges)


def count_files(tallies: Tallies, steps: Iterable[Published]) -> None:
    """Count the files that came with new messages."""
    for row, change, _ in steps:
        file = row.message.file
        if file is not None and change is None:
            tallies.count(tallies.uploads, row.message.message_type)
            tallies.upload_bytes += file.size
