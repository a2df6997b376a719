"""Measure HeartLink beside its peers; prints Markdown and writes JSON."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.environment import PEER_PACKAGES, make_environment
from benchmarks.generator import RunFailed, compile_program, generate_load, write_plan
from benchmarks.heartlink import HeartLink
from benchmarks.machine import describe_machine, measure_fdatasync, own_versions, pick_cores, versions_in
from benchmarks.report import Results, Run, render_page
from benchmarks.servers import Aiohttp, Channels, ChannelsOrm, GatheringC, NaiveC, Server
from benchmarks.workloads import WORKLOADS, Workload, shortened

CACHE = Path(__file__).parent / ".cache"
PEERS: dict[str, Callable[[Path, int | None, Path], Server]] = {
    "aiohttp": Aiohttp,
    "channels": Channels,
    "channels-orm": ChannelsOrm,
}
# In the order in which they take their turns: what HeartLink is held against most closely comes right before it.
SERVERS = ("c-gather", "c", "heartlink", *PEERS)
DEFAULT_SERVERS = SERVERS[1:]
ROWS = ("c", "c-gather", *PEERS, "heartlink")
FULL_ROUNDS, FULL_SECONDS, FULL_LIMIT_SECONDS = 3, 3.0, 570.0
QUICK_ROUNDS, QUICK_SECONDS, QUICK_LIMIT_SECONDS = 1, 1.5, 170.0


@dataclass
class Bench:
    """One invocation: its servers, and what was measured so far."""

    program: Path
    core: int | None
    seconds: float
    servers: dict[str, Server]
    runs: list[Run] = field(default_factory=list)

    def close(self) -> None:
        """Stop whatever runs."""
        for server in self.servers.values():
            server.stop()

    def measure(self, number: int, key: str, workload: Workload) -> None:
        """Run one workload on one server, which is started when it does not run, and keep what came of it."""
        server = self.servers[key]
        try:
            if server.process is None:
                server.start()
                server.prepare()
            if workload.idle:  # memory is only to be read in a process that did nothing else yet
                server.stop()
                server.start()
            seats = server.seats(workload)
            plan = write_plan(workload, server.dialect, seats, server.port, server.pids(), self.seconds)
            figures = generate_load(self.program, plan, self.core, self.seconds)
            run = Run(number, key, workload.name, figures=figures)
            if run.late:  # what it still has to do must not fall into the next run
                server.stop()
        except RunFailed as problem:
            server.stop()
            run = Run(number, key, workload.name, failure=str(problem))
        self.runs.append(run)
        print(f"round {number} {workload.name:5}{key:13}{summarize(run, workload)}", file=sys.stderr)


def summarize(run: Run, workload: Workload) -> str:
    """One line on one run, for whoever watches."""
    if run.failure:
        return f"failed: {run.failure}"
    if workload.idle:
        return f"{run.figures['upgrades_per_second']:,.0f} upgrades/s, {run.kib_per_connection:.1f} KiB per connection"
    pace = run.figures["deliveries"] / run.figures["seconds"]
    return f"{run.cost_us:.2f} µs, {pace:,.0f} deliveries/s, generator busy {run.generator_percent:.0f} %"


def parse_flags(arguments: list[str]) -> argparse.Namespace:
    """The command line; defaults that depend on --quick are filled in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under three minutes")
    parser.add_argument(
        "--only", metavar="NAMES", default=",".join(DEFAULT_SERVERS), help=f"servers, of {','.join(SERVERS)}"
    )
    parser.add_argument("--workloads", metavar="NAMES", default=",".join(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, interleaved")
    parser.add_argument("--seconds", type=float, help="how long messages are sent in each run")
    parser.add_argument("--json", type=Path, help="where the figures go (default: benchmarks/.cache/latest.json)")
    flags = parser.parse_args(arguments)
    flags.only, flags.workloads = flags.only.split(","), flags.workloads.split(",")
    for given, known in ((flags.only, SERVERS), (flags.workloads, WORKLOADS)):
        for name in given:
            if name not in known:
                parser.error(f"unknown name {name!r}; there are {', '.join(known)}")
    flags.rounds = flags.rounds or (QUICK_ROUNDS if flags.quick else FULL_ROUNDS)
    flags.seconds = flags.seconds or (QUICK_SECONDS if flags.quick else FULL_SECONDS)
    if flags.rounds < 1 or not 0.2 <= flags.seconds <= 60:
        parser.error("--rounds is at least 1 and --seconds between 0.2 and 60")
    flags.json = flags.json or CACHE / "latest.json"
    return flags


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for this invocation's databases and logs, on the checkout's disk (a /tmp in memory syncs for free)."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lay_out_servers(folder: Path, core: int | None, wanted: list[str]) -> dict[str, Server]:
    """The wanted servers, not started yet; installs the peers only when one of them is wanted."""
    servers: dict[str, Server] = {}
    python = make_environment(CACHE) if set(PEERS) & set(wanted) else None
    for key in SERVERS:
        if key not in wanted:
            continue
        if key == "c":
            servers[key] = NaiveC(folder / key, core, CACHE)
        elif key == "c-gather":
            servers[key] = GatheringC(folder / key, core, CACHE)
        elif key == "heartlink":
            servers[key] = HeartLink(folder / key, core)
        elif python is not None:
            servers[key] = PEERS[key](folder / key, core, python)
    return servers


def run_rounds(bench: Bench, workloads: list[Workload], rounds: int, limit_seconds: float) -> int:
    """All rounds, or as many as end within the limit by the pace of those before; returns how many."""
    start = time.monotonic()
    for number in range(1, rounds + 1):
        for workload in workloads:
            if workload.idle and number > 1:
                continue
            for key, server in bench.servers.items():
                if workload.name not in server.skips:
                    bench.measure(number, key, workload)
        pace = (time.monotonic() - start) / number
        if number < rounds and pace * (number + 1) > limit_seconds:
            print(f"stopping after round {number}: another would pass {limit_seconds:.0f} s", file=sys.stderr)
            return number
    return rounds


def main() -> int:
    """Exit code 0 when every run gave figures, 1 otherwise, 2 when nothing could be run."""
    flags = parse_flags(sys.argv[1:])
    signal.signal(signal.SIGTERM, stop_on_signal)
    CACHE.mkdir(exist_ok=True)
    server_core, generator_core = pick_cores()
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder())
        try:
            program = compile_program("loadgen", CACHE)
            servers = lay_out_servers(folder, server_core, flags.only)
        except RunFailed as problem:
            print(f"benchmarks: {problem}", file=sys.stderr)
            return 2
        facts: dict[str, Any] = {"machine": describe_machine(), "fdatasync": measure_fdatasync(folder)}
        facts["versions"] = gather_versions(flags.only)
        workloads = [
            shortened(load) if flags.quick else load for load in WORKLOADS.values() if load.name in flags.workloads
        ]
        bench = Bench(program, generator_core, flags.seconds, servers)
        stack.callback(bench.close)
        limit_seconds = QUICK_LIMIT_SECONDS if flags.quick else FULL_LIMIT_SECONDS
        facts["rounds"] = run_rounds(bench, workloads, flags.rounds, limit_seconds)
        facts["seconds"] = flags.seconds
        names = {key: (server.name, server.stores) for key in ROWS if (server := servers.get(key))}
    results = Results(bench.runs)
    print(render_page(results, names, facts, [(load.name, load.meaning) for load in workloads]))
    runs = [asdict(run) | derived(run) for run in results.runs]
    goals = [{"goal": text, "measured": measured, "met": met} for text, measured, met in results.goals()]
    flags.json.parent.mkdir(parents=True, exist_ok=True)
    flags.json.write_text(json.dumps(facts | {"goals": goals, "runs": runs}, indent=1, ensure_ascii=False) + "\n")
    print(f"\nfigures of every run: {flags.json}", file=sys.stderr)
    return 1 if any(run.failure for run in results.runs) else 0


def derived(run: Run) -> dict[str, float]:
    """The figures of a run that the table shows and the generator does not print."""
    if run.failure:
        return {}
    if run.workload == "idle":
        return {"kib_per_connection": run.kib_per_connection}
    return {"server_cpu_us_per_delivery": run.cost_us, "generator_busy_percent": run.generator_percent}


def gather_versions(wanted: list[str]) -> dict[str, str]:
    """Versions of what is measured."""
    found = own_versions(("heartlink", "tornado", "msgspec")) if "heartlink" in wanted else {}
    if set(PEERS) & set(wanted):
        found |= versions_in(make_environment(CACHE), PEER_PACKAGES)
    return found


def stop_on_signal(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C, so that every server started here is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
