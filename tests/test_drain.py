"""Going away: those who are many are told to come back over a longer time, and probes are told what is so."""

from __future__ import annotations

import asyncio
import json

import pytest

from heartlink.connection import Connection, ConnectionLimits
from heartlink.errors import StoreUnavailable
from heartlink.frames import cut
from heartlink.hub import RECONNECT_FIRST_MS, RECONNECT_MOST_MS, RECONNECT_SPREAD_MS
from tests.conftest import Serve
from tests.test_hub import Wire, new_hub

pytestmark = pytest.mark.gen_test


def told_ms(wire: Wire) -> int:
    """When the peer of a wire was told to come back."""
    _, end = cut(wire.sent, 1)
    frame = json.loads(wire.sent[2:end])
    assert frame["type"] == "going_away"
    return int(frame["reconnect_in_ms"])


@pytest.mark.parametrize("peers", [1, 100, 1000, 3000])
async def test_they_come_back_one_after_the_other_however_many_they_are(peers: int) -> None:
    hub = new_hub()
    wires = []
    for _ in range(peers):
        wire = Wire()
        wire.connection = Connection(wire, hub.flusher, ConnectionLimits(), 0.0)
        hub.register(wire.connection, "10.0.0.1", None)
        wires.append(wire)
    await asyncio.wait_for(hub.drain(30), 30)
    moments = sorted(told_ms(wire) for wire in wires)
    latest = min(RECONNECT_FIRST_MS + RECONNECT_SPREAD_MS * peers, RECONNECT_MOST_MS)
    assert moments[0] >= RECONNECT_FIRST_MS and moments[-1] <= latest
    if peers >= 100:
        # In any tenth of the time about a tenth of them, so that none is a storm.
        width = (latest - RECONNECT_FIRST_MS) / 10
        tenths = [
            sum(int((moment - RECONNECT_FIRST_MS) // width) == tenth for moment in moments) for tenth in range(10)
        ]
        assert max(tenths) < peers * 0.3
    hub.close()


async def test_probes_are_told_what_is_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    stranger = server.stranger()
    assert (await stranger.asks("GET", "/readyz")).json["status"] == "ok"

    async def is_away() -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(server.house.backend, "ping", is_away)
        await server.house.health.check()
        away = await stranger.asks("GET", "/readyz")
    assert (away.status, away.code, away.headers["Retry-After"]) == (503, "store_unavailable", "1")
    assert await server.house.health.check()
    await server.house.drain()
    leaving = await stranger.asks("GET", "/readyz")
    assert (leaving.status, leaving.code, leaving.headers["Retry-After"]) == (503, "draining", "2")
    assert (await stranger.asks("GET", "/healthz")).status == 200, "alive until the end"
    assert b"heartlink_draining 1.0" in (await stranger.asks("GET", "/metrics")).body
