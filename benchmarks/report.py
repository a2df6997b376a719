"""Turns the rounds' figures into medians, ratios, goals and a Markdown page."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

YARDSTICK, OURS, REPLACED = "c", "heartlink", "channels-orm"
# Above this share of its core the load generator itself may have been what was measured.
SATURATED_PERCENT = 95
W1_GOAL_US = 1.0
W2_GOAL_TIMES = 20.0


@dataclass(frozen=True)
class Run:
    """One server under one workload in one round: the generator's figures, or why there are none."""

    round: int
    server: str
    workload: str
    figures: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def cost_us(self) -> float:
        """Microseconds of server CPU, user and system, per delivery."""
        cost: float = self.figures["server_cpu_seconds"] * 1e6 / self.figures["deliveries"]
        return cost

    @property
    def generator_percent(self) -> float:
        """How busy the load generator's own core was."""
        busy: float = self.figures["generator_cpu_seconds"] * 100 / self.figures["seconds"]
        return busy

    @property
    def late(self) -> int:
        """Deliveries that a slow server still owed when the time to wait for them was over."""
        late: int = self.figures.get("late", 0)
        return late

    @property
    def kib_per_connection(self) -> float:
        """Resident memory that one idle connection costs the server."""
        grown = self.figures["resident_after_kib"] - self.figures["resident_before_kib"]
        cost: float = grown / self.figures["connections"]
        return cost


class Results:
    """All runs of one invocation, and what follows from them."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = list(runs)

    def of(self, server: str, workload: str) -> list[Run]:
        """The runs that gave figures, in order of their rounds."""
        return [run for run in self.runs if (run.server, run.workload) == (server, workload) and not run.failure]

    def median(self, server: str, workload: str, value: Callable[[Run], float]) -> float | None:
        """Median over the rounds."""
        values = [value(run) for run in self.of(server, workload)]
        return statistics.median(values) if values else None

    def ratio(self, workload: str, dividend: str, divisor: str) -> float | None:
        """Median of the rounds' ratios of CPU per delivery; each ratio is of two runs within seconds."""
        divisors = {run.round: run.cost_us for run in self.of(divisor, workload)}
        ratios = [run.cost_us / divisors[run.round] for run in self.of(dividend, workload) if run.round in divisors]
        return statistics.median(ratios) if ratios else None

    def goals(self) -> list[tuple[str, str, bool | None]]:
        """Each goal: its text, what was measured, and whether it is met (None: not measured)."""
        w1 = self.median(OURS, "W1", lambda run: run.cost_us)
        better = self.ratio("W2", REPLACED, OURS)
        return [
            (
                f"W1 at most {W1_GOAL_US:.1f} µs of server CPU per delivery",
                "not measured" if w1 is None else f"{w1:.2f} µs",
                None if w1 is None else w1 <= W1_GOAL_US,
            ),
            (
                f"W2 at least {W2_GOAL_TIMES:.0f} times better than Channels with its ORM",
                "not measured" if better is None else f"{better:.1f} times",
                None if better is None else better >= W2_GOAL_TIMES,
            ),
        ]


def show(value: float | None) -> str:
    """A figure with as many digits as it deserves; a dash where there is none."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def times(value: float | None) -> str:
    """A ratio."""
    return "–" if value is None else f"{show(value)}×"


def render_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: the first two columns are words, the others figures."""
    rule = ["---" if index < 2 else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def render_costs(results: Results, servers: dict[str, tuple[str, str]]) -> str:
    """The main table; `servers` maps a key to its name and to what it stores."""
    header = ["server", "stores", "W1 µs", "W1 deliveries/s", "W1c µs", "W1c / C", "W2 µs", "W2 / C", "W2 deliveries/s"]
    header += ["W2 / HeartLink", "upgrades/s", "KiB per connection"]
    rows = []
    for key, (name, stores) in servers.items():
        cost = {load: results.median(key, load, lambda run: run.cost_us) for load in ("W1", "W1c", "W2")}
        pace = {load: results.median(key, load, deliveries_per_second) for load in ("W1", "W2")}
        upgrades = results.median(key, "idle", lambda run: run.figures["upgrades_per_second"])
        memory = results.median(key, "idle", lambda run: run.kib_per_connection)
        figures = [show(cost["W1"]), show(pace["W1"]), show(cost["W1c"]), times(results.ratio("W1c", key, YARDSTICK))]
        figures += [show(cost["W2"]), times(results.ratio("W2", key, YARDSTICK)), show(pace["W2"])]
        figures += [times(results.ratio("W2", key, OURS)), show(upgrades), show(memory)]
        rows.append([name, stores, *figures])
    return render_table(header, rows)


def deliveries_per_second(run: Run) -> float:
    """Deliveries of one run by wall clock."""
    pace: float = run.figures["deliveries"] / run.figures["seconds"]
    return pace


def render_latencies(results: Results, servers: dict[str, tuple[str, str]]) -> str:
    """The second table: what each of the two sides waits, and how busy the generator was."""
    header = ["server", "workload", "own copy p50 ms", "p99", "other members p50 ms", "p99", "generator busy"]
    rows = []
    for key, (name, _) in servers.items():
        for load in ("W1", "W1c", "W2"):
            if not results.of(key, load):
                continue
            cells = [
                show(results.median(key, load, lambda run, what=what: run.figures[what]))  # type: ignore[misc]
                for what in ("own_p50_ms", "own_p99_ms", "others_p50_ms", "others_p99_ms")
            ]
            busy = results.median(key, load, lambda run: run.generator_percent) or 0.0
            mark = " (saturated)" if busy >= SATURATED_PERCENT else ""
            rows.append([name, load, *cells, f"{busy:.0f} %{mark}"])
    return render_table(header, rows)


def render_page(
    results: Results, servers: dict[str, tuple[str, str]], facts: dict[str, Any], workloads: list[tuple[str, str]]
) -> str:
    """Everything the command prints at its end."""
    machine, disk = facts["machine"], facts["fdatasync"]
    loads = "; ".join(f"{name}: {meaning}" for name, meaning in workloads)
    goals = [
        f"- {text}: {measured}" + ("" if met is None else " (met)" if met else " (**missed**)")
        for text, measured, met in results.goals()
    ]
    failures = [
        f"- round {run.round}, {run.server}, {run.workload}: {run.failure}" for run in results.runs if run.failure
    ]
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}; load average before: {machine['load_average_before']}",
        f"Disk: one fdatasync of 4 KiB takes {disk['median_ms']} ms (p99 {disk['p99_ms']} ms)",
        "Versions: " + (", ".join(f"{name} {version}" for name, version in facts["versions"].items()) or "–"),
        f"{facts['rounds']} rounds of {facts['seconds']:g} s. {loads}. µs: server CPU, user and system, per delivery.",
        render_costs(results, servers),
        render_latencies(results, servers),
        "Goals:\n" + "\n".join(goals),
    ]
    late = [
        f"- round {run.round}, {run.server}, {run.workload}: {run.late} deliveries were still to come"
        for run in results.runs
        if run.late
    ]
    if late:
        parts.append("Runs cut short, their figures are of what had come:\n" + "\n".join(late))
    if failures:
        parts.append("Runs without figures:\n" + "\n".join(failures))
    return "\n\n".join(parts)
