"""The server that benchmarks/rights.py measures: people, rooms and roles made at once, told what to do on stdin."""

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from heartlink.handlers import make_application
from heartlink.house import House
from heartlink.model import Role, RoomId, User, UserId
from heartlink.policy import Commit, Step
from heartlink.rights.changes import AnyChange, PutRole, SetMember, SetRoles
from heartlink.settings import Settings
from heartlink.streams import frames_of_step

PEOPLE_PER_ROOM = 20


class Clock:
    """When the last commit was stored and when it had acted."""

    def __init__(self) -> None:
        self.acted_at = self.done_at = 0.0
        self.delta_bytes = 0

    def before(self, commit: Commit, steps: list[Step]) -> None:
        self.acted_at = time.monotonic()

    def after(self, commit: Commit, steps: list[Step]) -> None:
        self.done_at = time.monotonic()
        self.delta_bytes = sum(map(len, frames_of_step(steps[0]))) if steps else 0


async def furnish(house: House, count: int, rooms: int) -> list[str]:
    """Users with a role and some rooms each; a token for each."""
    now_ms = house.clock()
    ids = [UserId(f"user-{number:04}") for number in range(count)]
    tokens: list[str] = []
    for user_id in ids:
        user = User(
            id=user_id,
            username=user_id,
            fold=user_id,
            display_name=user_id,
            password_hash="",
            created_at_ms=now_ms,
        )
        await house.users.add(user)
        await house.desk.add_user(user_id)
        tokens.append(house.auth.tokens.mint(user_id, user_id, 0)[0])
    changes: list[AnyChange] = [PutRole(Role(key="staff", name="Staff", permissions=("report.read", "chat.moderate")))]
    changes += [SetRoles(user_id, ("staff",)) for user_id in ids]
    changes += [
        SetMember(RoomId(f"room-{(number // PEOPLE_PER_ROOM) * rooms + room}"), user_id, "member", now_ms)
        for number, user_id in enumerate(ids)
        for room in range(rooms)
    ]
    await house.desk.commit(lambda policy: changes, by=None, why="the benchmark's people")
    return tokens


async def main(folder: Path, count: int, rooms: int) -> None:
    """Serve until stdin ends; each word is answered with one line of JSON."""
    settings = Settings(
        port=0, data_dir=folder, messages_per_second=0, connections_per_address=0, connections_per_user=0
    )
    clock = Clock()
    async with House(settings) as house:
        house.desk._listeners.insert(0, clock.before)
        house.desk.on_commit(clock.after)
        tokens = await furnish(house, count, rooms)
        server = HTTPServer(make_application(house))
        sockets = bind_sockets(0, "127.0.0.1", family=socket.AF_INET, backlog=2048)
        server.add_sockets(sockets)
        number = 0

        async def change_role() -> dict[str, Any]:
            nonlocal number
            number += 1
            role = Role(
                key="staff", name="Staff", permissions=("report.read", "chat.moderate", f"report.write{number}")
            )
            cpu_before, started = time.process_time(), time.monotonic()
            await house.desk.commit(lambda policy: [PutRole(role)], by=None, why="a change for everybody")
            return {
                "acted_at": clock.acted_at,
                "store_ms": (clock.acted_at - started) * 1000,
                "turn_ms": (clock.done_at - clock.acted_at) * 1000,
                "delta_bytes": clock.delta_bytes,
                "cpu_before_ms": cpu_before * 1000,
            }

        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while word := (await reader.readline()).strip():
            if word == b"ready":
                answer: dict[str, Any] = {"port": sockets[0].getsockname()[1], "tokens": tokens}
            elif word == b"cpu":
                answer = {"cpu_ms": time.process_time() * 1000}
            else:
                answer = await change_role()
            print(json.dumps(answer), flush=True)
        server.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
