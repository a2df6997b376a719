"""What a trial is to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from .checker import KINDS, Ledger, render_table, render_timeline
from .nemesis import FAULTS_PER_SECOND


@dataclass(frozen=True)
class Plan:
    """What a trial does; two trials of the same plan meet the same faults in the same order."""

    seconds: float
    seed: int
    per_second: float = 60.0
    store: str = "sqlite"
    planted: str = ""
    flags: tuple[str, ...] = ()
    deck: dict[str, int] | None = None
    faults_per_second: float = FAULTS_PER_SECOND
    settle_seconds: float = 45.0
    least_acknowledged: int = 0


@dataclass
class Verdict:
    """The figures of a finished trial."""

    plan: Plan
    ledger: Ledger
    faults: dict[str, int]
    server_log: str
    database_log: str
    wall_seconds: float
    starts: int
    history_rows: int

    @property
    def acknowledged(self) -> int:
        return sum(len(sents) for sents in self.ledger.acknowledged.values())

    @property
    def violations(self) -> dict[str, int]:
        return {kind: self.ledger.violations[kind] for kind in KINDS}

    def table(self) -> str:
        """All figures, readable."""
        ledger, waits = self.ledger, sorted(self.ledger.latencies_seconds) or [0.0]
        percent = [waits[min(len(waits) - 1, int(len(waits) * part))] * 1_000 for part in (0.5, 0.99)]
        planted = f", planted: {self.plan.planted}" if self.plan.planted else ""
        title = f"fault test, store {self.plan.store}, seed {self.plan.seed}, {self.plan.seconds:g} s{planted}"
        rows: list[tuple[str, object]] = [
            ("acknowledged", self.acknowledged),
            ("deliveries", ledger.counts["deliveries"]),
            ("changes sent", ledger.counts["changes"]),
            ("rows in the final history", self.history_rows),
            ("acknowledgement p50 [ms]", f"{percent[0]:.1f}"),
            ("acknowledgement p99 [ms]", f"{percent[1]:.1f}"),
            ("server starts", self.starts),
            ("wall time [s]", f"{self.wall_seconds:.1f}"),
        ]
        parts = [title, render_table(rows), "faults", render_table(sorted(self.faults.items()))]
        others = {key: value for key, value in ledger.counts.items() if key not in ("deliveries", "changes")}
        parts += ["clients", render_table(sorted(others.items()))]
        parts += ["violations", render_table(self.violations.items())]
        for kind in KINDS:
            parts += [f"  {kind}: {text}" for text in ledger.examples[kind]]
        return "\n".join(parts)

    def report(self) -> str:
        """The table and the ends of the logs."""
        logs = f"--- end of the server's log\n{self.server_log}\n"
        if self.database_log:
            logs += f"--- end of the database's log\n{self.database_log}\n"
        return f"{self.table()}\nacknowledged, second by second\n{render_timeline(self.ledger)}\n{logs}"
