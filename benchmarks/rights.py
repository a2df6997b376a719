"""What rights cost: `python -m benchmarks.rights`; what is measured and how to read it is in docs/benchmarks.md."""

import argparse
import asyncio
import contextlib
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from heartlink.model import Grant, Group, Role, RoomId, Subject, UserId
from heartlink.policy import Desk
from heartlink.rights.changes import AnyChange, PutGrant, PutGroup, PutRole, SetGroupMembers, SetMember, SetRoles
from heartlink.rights.policy import Policy
from heartlink.store.opening import make_backend
from heartlink.store.policy import Commits
from heartlink.store.tables import ALL

STREAMS = 1000
ROOMS_PER_USER = 4
ROLE_CHANGES = 9
CHECKS = 10_000
BATCH = 100
ROLES_OF_ONE = 20
GRANTS_OF_ONE = 2000
FEW_USERS, MANY_USERS = 100, 10_000
TOUCHED = 10
COMMITS = 200
RESOLVES = 50
PATIENCE_SECONDS = 60
SERVER = "benchmarks.rights_server"


# --- Streams, over real sockets ------------------------------------------------------------------------------


class Listener(asyncio.Protocol):
    """One permission stream, as cheap as Python can read it: counts frames of one kind by their first bytes."""

    def __init__(self, request: bytes, wanted: bytes) -> None:
        self.count = 0
        self.last_at = 0.0
        self.transport: asyncio.Transport
        self.wanted = wanted
        self.ready = asyncio.get_running_loop().create_future()
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done() and b'"type":"permission_snapshot"' in self._rest + data:
            self.ready.set_result(None)
        text = self._rest + data
        found = text.count(self.wanted)
        if found:
            self.count += found
            self.last_at = time.monotonic()
            text = text[text.rindex(self.wanted) + len(self.wanted) :]
        self._rest = text[-len(self.wanted) :]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("hung up before its snapshot"))


class Served:
    """The server of the benchmark in a process of its own, told what to do line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def asks(self, word: str) -> Any:
        """What it answers to a word."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word.encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        if not line:
            raise SystemExit("the server of the benchmark ended")
        return json.loads(line)


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Served]:
    """A server with its users, rooms and roles; ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", SERVER, str(folder), str(STREAMS), str(ROOMS_PER_USER)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Served(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def upgrade(port: int, token: str) -> bytes:
    """The request for a permission stream."""
    return (
        f"GET /ws/permissions/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


async def listen(port: int, token: str, wanted: bytes) -> Listener:
    """A stream that has its snapshot."""
    loop = asyncio.get_running_loop()
    _, listener = await loop.create_connection(lambda: Listener(upgrade(port, token), wanted), "127.0.0.1", port)
    await asyncio.wait_for(listener.ready, PATIENCE_SECONDS)
    return listener


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - it is counted in callbacks that know nothing of each other
            await asyncio.sleep(0.001)


async def measure_streams(served: Served, port: int, tokens: list[str]) -> list[tuple[str, str]]:
    """A role that everybody has changes, again and again: each stream gets a delta each time."""
    listeners = [await listen(port, token, b'"type":"permission_changed"') for token in tokens]
    rounds: list[dict[str, float]] = []
    gc.freeze()
    for number in range(1, ROLE_CHANGES + 1):
        done = await served.asks("change the role")
        await until(lambda number=number: all(listener.count >= number for listener in listeners))  # type: ignore[misc]
        last_at = max(listener.last_at for listener in listeners)
        rounds.append({**done, "last_ms": (last_at - done["acted_at"]) * 1000})
    if any(listener.count != ROLE_CHANGES for listener in listeners):
        raise SystemExit("a stream got a delta too many")
    cpu_after = await served.asks("cpu")
    for listener in listeners:
        listener.transport.abort()
    # The first one warms up; of the last the server's work is over when it is asked for its time.
    counted = rounds[1:]
    cpu_ms = (cpu_after["cpu_ms"] - rounds[1]["cpu_before_ms"]) / len(counted)

    def median(name: str) -> float:
        return statistics.median(round_[name] for round_ in counted)

    return [
        (f"streams open, a delta to each, {len(counted)} changes", f"{len(listeners):,}"),
        ("asked for → stored (what changes is worked out before that)", f"{median('store_ms'):.1f} ms"),
        ("stored → every delta queued, one turn", f"{median('turn_ms'):.1f} ms"),
        ("stored → last delta received", f"{median('last_ms'):.1f} ms"),
        ("server CPU for all of it, per delta", f"{cpu_ms * 1000 / len(listeners):.1f} µs"),
        ("bytes of one delta", f"{int(counted[0]['delta_bytes']):,}"),
    ]


def masked(text: bytes) -> bytes:
    """A client's text frame, masked with zeros: that is a mask as well."""
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + text


async def measure_checks(served: Served, port: int, token: str) -> list[tuple[str, str]]:
    """Ten thousand questions over one socket, one by one and in batches."""
    question = b'{"type":"permission_check","resource":"chat","action":"send","scope":"room:room-0","request_id":1}'
    check = '{"resource":"chat","action":"send","scope":"room:room-0"}'
    batch = f'{{"type":"permission_check_batch","checks":[{",".join([check] * BATCH)}]}}'.encode()
    rows: list[tuple[str, str]] = []
    for name, frame, wanted, frames in (
        ("one a frame", question, b'"type":"permission_check_response"', CHECKS),
        (f"{BATCH} a frame", batch, b'"type":"permission_check_batch_response"', CHECKS // BATCH),
    ):
        listener = await listen(port, token, wanted)
        before = await served.asks("cpu")
        started = time.monotonic()
        listener.transport.write(masked(frame) * frames)
        await until(lambda listener=listener, frames=frames: listener.count >= frames)  # type: ignore[misc]
        seconds = listener.last_at - started
        cpu_ms = (await served.asks("cpu"))["cpu_ms"] - before["cpu_ms"]
        rows.append((f"{CHECKS:,} checks over one socket, {name}", f"{seconds * 1000:.0f} ms"))
        rows.append((f"… server CPU per check, {name}", f"{cpu_ms * 1000 / CHECKS:.1f} µs"))
        listener.transport.abort()
    return rows


async def measure_over_sockets(folder: Path) -> list[tuple[str, str]]:
    """Everything that needs a server."""
    async with serve(folder) as served:
        ready = await served.asks("ready")
        streams = await measure_streams(served, ready["port"], ready["tokens"])
        return streams + await measure_checks(served, ready["port"], ready["tokens"][0])


# --- Resolving -----------------------------------------------------------------------------------------------


def measure_resolving() -> list[tuple[str, str]]:
    """One user with many roles and grants, worked out from nothing."""
    policy, user_id = Policy(), UserId("u")
    policy.users.add(user_id)
    changes: list[AnyChange] = []
    for number in range(ROLES_OF_ONE):
        parent = f"role-{number - 1}" if number % 4 else None
        permissions = tuple(f"thing{number}.{action}" for action in ("read", "write", "*"))
        changes.append(PutRole(Role(key=f"role-{number}", name="Role", parent=parent, permissions=permissions)))
    changes.append(SetRoles(user_id, tuple(f"role-{number}" for number in range(ROLES_OF_ONE))))
    for number in range(GRANTS_OF_ONE):
        scope = "*" if number % 4 == 0 else f"room:{number % 300}"
        effect = "deny" if number % 10 == 0 else "allow"
        grant = Grant(
            id=str(number),
            subject=Subject("user", user_id),
            permission=f"res{number % 97}.act{number % 13}",
            scope=scope,
            effect=effect,  # type: ignore[arg-type]
        )
        changes.append(PutGrant(grant))
    policy.change(changes)
    touch = PutGrant(Grant(id="0", subject=Subject("user", user_id), permission="res0.act0"))

    def forgotten(ask: Callable[[], object]) -> float:
        policy.apply(touch)
        started = time.perf_counter()
        ask()
        return (time.perf_counter() - started) * 1000

    rights_ms = statistics.median(forgotten(lambda: policy.rights(user_id)) for _ in range(RESOLVES))
    effective_ms = statistics.median(forgotten(lambda: policy.effective(user_id)) for _ in range(RESOLVES))
    rights = policy.rights(user_id)
    started = time.perf_counter()
    for _ in range(100_000):
        rights.allows("res5.act5", "room:77", 1)
    check_us = (time.perf_counter() - started) * 10
    who = f"a user with {ROLES_OF_ONE} roles and {GRANTS_OF_ONE:,} grants"
    return [
        (f"resolve {who}: what was allowed and denied", f"{rights_ms:.2f} ms"),
        (f"… and its normal form, {len(policy.effective(user_id).entries):,} entries", f"{effective_ms:.2f} ms"),
        ("… one check once it is resolved", f"{check_us:.2f} µs"),
    ]


# --- Commits -------------------------------------------------------------------------------------------------


async def measure_commits(folder: Path, users: int) -> tuple[float, float]:
    """Median milliseconds of a commit that touches ten of so many users: all of it, and what is not the store."""
    backend = make_backend(mongo_url="", data_dir=folder)
    await backend.open(ALL)
    store_seconds: list[float] = []

    class Timed(Commits):
        async def add(self, commit: Any) -> None:
            started = time.perf_counter()
            await super().add(commit)
            store_seconds.append(time.perf_counter() - started)

    desk = Desk(Policy(), Timed(backend), clock=lambda: time.time_ns() // 1_000_000, save_seconds=30)
    ids = [UserId(f"user-{number}") for number in range(users)]
    await desk.open(ids)
    members: list[AnyChange] = [
        SetMember(RoomId(f"room-{number % (users // 4)}"), user_id, "member", 1) for number, user_id in enumerate(ids)
    ]
    first: list[AnyChange] = [
        PutRole(Role(key="staff", name="Staff", permissions=("chat.read",))),
        PutRole(Role(key="ten", name="Ten", permissions=("a.b",))),
        PutGroup(Group(key="ten", name="Ten")),
        SetGroupMembers("ten", tuple(ids[:TOUCHED])),
        *(
            SetRoles(user_id, ("staff", "ten") if number < TOUCHED else ("staff",))
            for number, user_id in enumerate(ids)
        ),
        *members,
    ]
    await desk.commit(lambda policy: first, by=None, why="the benchmark's people")
    store_seconds.clear()
    whole: list[float] = []
    gc.collect()
    for number in range(COMMITS):
        change: AnyChange = PutRole(Role(key="ten", name="Ten", permissions=("a.b", f"thing.{number}")))
        if number % 2:
            grant = Grant(id="g", subject=Subject("group", "ten"), permission=f"thing.{number}")
            change = PutGrant(grant)
        started = time.perf_counter()
        commit = await desk.commit(lambda policy, change=change: [change], by=None, why="ten of them")  # type: ignore[misc]
        whole.append(time.perf_counter() - started)
        if commit is None or len(commit.touched) != TOUCHED:
            raise SystemExit("a commit touched others than those ten")
    await backend.close()
    own = [total - stored for total, stored in zip(whole, store_seconds, strict=True)]
    return statistics.median(whole) * 1000, statistics.median(own) * 1000


# --- The table -----------------------------------------------------------------------------------------------


async def measure(folder: Path) -> list[tuple[str, str]]:
    """All of it."""
    rows = await measure_over_sockets(folder / "served")
    rows += measure_resolving()
    for users in (FEW_USERS, MANY_USERS):
        whole_ms, own_ms = await measure_commits(folder / f"commits-{users}", users)
        rows.append((f"commit that touches {TOUCHED} of {users:,} users, stored", f"{whole_ms:.2f} ms"))
        rows.append(("… without the store", f"{own_ms:.3f} ms"))
    return rows


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rights", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / ".cache", help="where to store")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        rows = asyncio.run(measure(Path(temporary)))
    print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items()))
    print("\n| measured | median |\n| --- | ---: |")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
