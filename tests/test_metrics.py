"""What an operator watches: the figures are those of what happened, labels are bounded, and not everybody may look."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from heartlink.connection import KINDS
from heartlink.errors import StoreUnavailable
from heartlink.handlers.operations import FORWARDED_HEADERS
from heartlink.tallies import KEYS_LIMIT, OTHER, Histogram, Tallies
from tests.actors import Person, Server
from tests.administrators import administrator
from tests.conftest import Serve
from tests.raw_peer import until

pytestmark = pytest.mark.gen_test(timeout=60)

PATIENCE_SECONDS = 30.0

DEPLOY = Path(__file__).parent.parent / "deploy"
METRIC = re.compile(r"\b(?:heartlink|process|python)_[a-z_]+\b")


class Figures:
    """One answer of ``/metrics``, read as Prometheus reads it."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.types = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def sum(self, name: str, **labels: str) -> float:
        """The sum of a metric over all of its label values that fit."""
        assert name in self.names, f"{name} is not among {sorted(self.names)}"
        found = [one for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(float(one.value) for one in found)

    def values(self, label: str, prefix: str = "heartlink_") -> set[str]:
        """All values of a label."""
        return {one.labels[label] for one in self.samples if one.name.startswith(prefix) and label in one.labels}


async def figures(who: Person) -> Figures:
    answer = await who.asks("GET", "/metrics")
    assert answer.status == 200, answer
    return Figures(answer.body.decode())


async def lively(serve: Serve, **settings: Any) -> tuple[Server, Person, Figures]:
    """A server on which somebody said something to two, was refused, looked, and left."""
    server = await serve(**settings)
    ann, bob = await server.person("ann"), await server.person("bob")
    room = await ann.opens(name="Tea", members=["bob"])
    chair, other = await ann.sits_in(room), await bob.sits_in(room)
    for number in range(3):
        await chair.says(f"message {number}")
        await other.hears_message(content=f"message {number}")
    await chair.sends("{")
    await chair.hears("error", error_code="invalid_json")
    await chair.sends({"type": "no such thing"})
    await chair.hears("error", error_code="unknown_message_type")
    await bob.asks("GET", "/api/rooms/nowhere")
    await bob.asks("GET", "/nowhere/at/all")
    await server.stranger().asks("GET", "/api/me")
    await other.leaves()
    await until(lambda: len(server.house.hub) == 1, PATIENCE_SECONDS)
    return server, ann, await figures(ann)


async def test_the_figures_are_those_of_what_happened(serve: Serve) -> None:
    server, _, seen = await lively(serve)
    assert seen.sum("heartlink_connections", route="/ws/chat/{room_id}/") == 1
    assert seen.sum("heartlink_users_online") == 1
    assert seen.sum("heartlink_frames_total", direction="in", type="message") == 3
    assert seen.sum("heartlink_frames_total", direction="in", type="invalid") == 2
    assert seen.sum("heartlink_frames_total", direction="out", type="chat_message") == 6
    assert seen.sum("heartlink_deliveries_total") == 6
    assert seen.sum("heartlink_frame_bytes_total", direction="out", type="chat_message") > 6 * 200
    assert seen.sum("heartlink_closes_total", by="peer") == 1
    assert seen.sum("heartlink_slow_closes_total") == 0
    assert seen.sum("heartlink_refusals_total", place="frame", code="invalid_json") == 1
    assert seen.sum("heartlink_refusals_total", place="http", code="unauthenticated") == 1
    assert seen.sum("heartlink_http_requests_total", route="/ws/chat/{room_id}/", status="101") == 2
    assert seen.sum("heartlink_http_requests_total", route="/api/rooms/{room_id}", method="GET", status="404") == 1
    assert seen.sum("heartlink_http_requests_total", route=OTHER, status="404") == 1
    assert seen.sum("heartlink_http_request_seconds_count") == seen.sum("heartlink_http_requests_total")
    assert seen.sum("heartlink_journal_batch_entries_sum") >= 3
    assert seen.sum("heartlink_store_seconds_count", operation="append") >= 3
    assert seen.sum("heartlink_store_seconds_count", operation="get") >= 1
    assert seen.sum("heartlink_store_up") == 1 and seen.sum("heartlink_draining") == 0
    assert seen.sum("heartlink_rooms_live") == 1
    assert seen.sum("process_open_fds") > 3 and seen.sum("process_resident_memory_bytes") > 10_000_000
    assert seen.types["heartlink_build_info"] == "gauge"
    await until(lambda: sum(server.house.tallies.loop_lag_seconds.counts), PATIENCE_SECONDS)


async def test_labels_are_bounded_whatever_is_asked(serve: Serve) -> None:
    server = await serve()
    stranger = server.stranger()
    for number in range(30):
        await stranger.asks("GET", f"/no/such/{number}")
        await stranger.asks("GET", f"/api/rooms/room{number}")
        await stranger.asks("GET", f"/ws/nowhere{number}/")
    chair = await stranger.listens()
    for number in range(20):
        await chair.sends({"type": f"made up {number}"})
        await chair.hears("error")
    seen = await figures(stranger)
    assert seen.values("type") <= set(KINDS)
    routes = {route["path"] for route in (await stranger.asks("GET", "/api/routes")).json["routes"]}
    assert seen.values("route") <= routes | {OTHER, "/static/"}
    assert len(seen.samples) < 500


def test_more_keys_than_there_can_be_count_together() -> None:
    tallies = Tallies()
    for number in range(KEYS_LIMIT + 20):
        tallies.count(tallies.refusals, "http", f"code{number}")
    assert len(tallies.refusals) == KEYS_LIMIT + 1 and tallies.refusals[OTHER, OTHER] == 20


def test_a_histogram_counts_each_value_in_its_class() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0.5, 1, 1.5, 4, 100):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("4.0", 4), ("+Inf", 5)]
    assert histogram.total == 107


async def test_a_store_that_does_not_answer_shows(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    chair = await ann.sits_in(room)

    def lost(*_: object) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StoreUnavailable("away"))
        return future

    with monkeypatch.context() as broken:
        broken.setattr(server.house.messages, "append", lost)
        await chair.sends({"content": "hi", "client_id": "c1"})
        await chair.hears("error", error_code="not_saved")
    await until(lambda: server.house.health.is_up, PATIENCE_SECONDS)
    await chair.says("again")
    seen = await figures(ann)
    assert seen.sum("heartlink_store_failures_total", operation="append") == 1
    assert seen.sum("heartlink_refusals_total", place="frame", code="not_saved") == 1


async def test_files_are_counted_with_the_messages_that_bring_them(serve: Serve) -> None:
    server = await serve()
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    plain = {"Content-Type": "application/octet-stream"}
    for number in range(2):
        answer = await ann.asks("POST", f"/api/rooms/{room}/files?name=n{number}.bin", bytes(1000), headers=plain)
        assert answer.status == 201, answer
    seen = await figures(ann)
    assert seen.sum("heartlink_uploads_total", type="file") == 2
    assert seen.sum("heartlink_upload_bytes_total") == 2000
    assert seen.sum("heartlink_transfers") == 0 and seen.sum("heartlink_calls") == 0


async def test_this_machine_may_look_and_whoever_comes_through_it_may_not(serve: Serve) -> None:
    server = await serve()
    stranger = server.stranger()
    assert (await stranger.asks("GET", "/metrics")).status == 200
    for name in FORWARDED_HEADERS:
        answer = await stranger.asks("GET", "/metrics", headers={name: "203.0.113.9"})
        assert (answer.status, answer.code) == (401, "unauthenticated"), name
    root, ann = await administrator(server), await server.person("ann")
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    assert (await ann.asks("GET", "/metrics", headers=proxied)).status == 403
    assert (await root.asks("GET", "/metrics", headers=proxied)).status == 200


async def test_with_a_token_only_those_look_who_show_it(serve: Serve) -> None:
    server = await serve(metrics_token="hush hush")
    stranger = server.stranger()
    assert (await stranger.asks("GET", "/metrics")).status == 401
    for shown in ("Bearer wrong", "Basic hush hush", "Bearer", "Bearer húsh"):
        assert (await stranger.asks("GET", "/metrics", headers={"Authorization": shown})).status == 401, shown
    answer = await stranger.asks("GET", "/metrics", headers={"Authorization": "Bearer hush hush"})
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    opened = {"Authorization": "Bearer hush hush", "Accept": "application/openmetrics-text; version=1.0.0"}
    answer = await stranger.asks("GET", "/metrics", headers=opened)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text") and answer.body.endswith(
        b"# EOF\n"
    )
    root = await administrator(server)
    assert (await root.asks("GET", "/metrics")).status == 200


async def test_dashboard_and_alerts_speak_of_metrics_that_exist(serve: Serve) -> None:
    seen = await figures((await serve()).stranger())
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    alerts = (DEPLOY / "prometheus-alerts.yml").read_text()
    asked += re.findall(r"^\s+expr: (.+)$", alerts, re.MULTILINE)
    assert len(asked) > 20
    # A family of which nothing has happened yet has no sample, but it is announced.
    announced = seen.names | set(seen.types) | {f"{name}_total" for name in seen.types}
    announced |= {f"{name}_{part}" for name in seen.types for part in ("bucket", "count", "sum")}
    for expression in asked:
        names = set(METRIC.findall(expression))
        assert names, expression
        assert names <= announced, f"{expression}: {names - announced}"
