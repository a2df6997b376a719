"""The load generator's counts are right: it sees every delivery of an honest server, and the faults of a bad one."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tornado.web
import tornado.websocket
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from benchmarks.generator import Dialect, RunFailed, Seat, compile_program, generate_load, write_plan
from benchmarks.workloads import Workload

ROOM = Workload("test", "one room of three, two messages under way", 1, 3, senders=2, window=2)
DIALECT = Dialect(send='{"content":"%C","client_id":"%I"}', greeting='"type":"hello"', error='"type":"error"')
HASTE = ("settle_ms 40", "warm_up_seconds 0", "drain_seconds 0.2")
# One message warms up, two are under way at once when measuring begins.
FAULTY = 3


class Room(tornado.websocket.WebSocketHandler):
    """A chat room of three; what its path names goes wrong once, in its third message."""

    def initialize(self, rooms: dict[str, list["Room"]], counts: dict[str, int]) -> None:
        self.rooms, self.counts = rooms, counts

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        self.fault = self.path_args[0]
        self.members = self.rooms.setdefault(self.fault, [])
        self.members.append(self)
        self.write_message(f'{{"type":"hello","large":"{"x" * 70_000}"}}')

    def on_message(self, message: str | bytes) -> None:
        count = self.counts[self.fault] = self.counts.get(self.fault, 0) + 1
        due = count == FAULTY
        if due and self.fault == "refuses":
            self.write_message('{"type":"error","error_code":"not_saved"}')
            return
        for place, member in enumerate(self.members):
            if due and place == 1 and self.fault == "drops":
                continue
            for _ in range(2 if due and place == 2 and self.fault == "repeats" else 1):
                member.write_message(message)
        if count == FAULTY:
            self.ping(b"are you there?")

    def on_close(self) -> None:
        self.members.remove(self)


async def measure(program: Path, fault: str, port: int) -> dict[str, Any]:
    seats = [Seat(0, f"/{fault}") for _ in range(ROOM.connections_per_room)]
    plan = write_plan(ROOM, DIALECT, seats, port, [os.getpid()], 0.3, *HASTE)
    return await asyncio.to_thread(generate_load, program, plan, None, 0.3)


async def measure_all(program: Path, faults: tuple[str, ...]) -> list[dict[str, Any] | BaseException]:
    application = tornado.web.Application([(r"/(\w+)", Room, {"rooms": {}, "counts": {}})])
    server = HTTPServer(application)
    listener, port = bind_unused_port()
    server.add_sockets([listener])
    try:
        return await asyncio.gather(*(measure(program, fault, port) for fault in faults), return_exceptions=True)
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="the load generator needs a C compiler")
def test_the_load_generator_accounts_for_every_delivery(tmp_path: Path) -> None:
    program = compile_program("loadgen", tmp_path)
    honest, drops, repeats, refuses = asyncio.run(measure_all(program, ("honest", "drops", "repeats", "refuses")))

    assert isinstance(honest, dict), honest
    assert honest["messages"] >= 2
    assert honest["deliveries"] == honest["messages"] * ROOM.connections_per_room
    assert honest["pings"] == 1 and honest["other_frames"] == ROOM.connections_per_room
    assert honest["server_cpu_seconds"] > 0 and 0 < honest["own_p50_ms"] <= honest["own_p99_ms"]

    for outcome, words in ((drops, "1 missing"), (repeats, "1 duplicates"), (refuses, "not_saved")):
        assert isinstance(outcome, RunFailed) and words in str(outcome), outcome
