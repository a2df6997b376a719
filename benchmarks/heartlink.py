"""HeartLink as the benchmark runs it: storage on, limits off, real accounts and rooms made over REST."""

import http.client
import json
import secrets
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.generator import Dialect, RunFailed, Seat
from benchmarks.servers import Server, main_py, this_python
from benchmarks.workloads import WORKLOADS, Workload

USERS = 50
# The connections that send in W1 and W1c belong to so few of them that, as in a room of a thousand people, nearly
# every copy is somebody else's.
SPEAKERS = 4
REQUEST_SECONDS = 30
LIMITS_OFF = (
    "messages-per-second",
    "message-burst",
    "registrations-per-minute",
    "connections-per-address",
    "connections-per-user",
)


class HeartLink(Server):
    """The server of this repository on its embedded, durable store."""

    name = "HeartLink"
    stores = "SQLite, durable before sent"
    dialect = Dialect(
        send='{"type":"message","content":"%C","client_id":"%I"}',
        greeting='"type":"connection_established"',
        error='"type":"error"',
    )

    def __init__(self, folder: Path, core: int | None) -> None:
        super().__init__(folder, core)
        self.tokens: list[str] = []
        self.hall = ""
        self.pairs: list[tuple[str, int, int]] = []

    def command(self) -> Sequence[str | Path]:
        limits = [f"--{name}=0" for name in LIMITS_OFF]
        data = self.folder / "data"
        return [this_python(), main_py(), f"--port={self.port}", f"--data-dir={data}", *limits]

    def prepare(self) -> None:
        """Register the users, make the hall they all share and one room for each pair."""
        if self.pairs:
            return
        run = secrets.token_hex(3)
        names = [f"bench_{run}_{number}" for number in range(USERS)]
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)) as client:
            accounts = [{"username": name, "password": secrets.token_urlsafe(12)} for name in names]
            self.tokens = [self._post(client, "/api/auth/register", account)["token"] for account in accounts]
            self.hall = self._make_room(client, 0, names[1:])
            pairs = [(n % USERS, (n + 1 + n // USERS) % USERS) for n in range(WORKLOADS["W2"].rooms)]
            self.pairs = [(self._make_room(client, first, [names[second]]), first, second) for first, second in pairs]

    def seats(self, workload: Workload) -> list[Seat]:
        """Connections spread evenly over the members of each room."""
        count = workload.rooms * workload.connections_per_room
        if workload.rooms == 1:
            return [Seat(0, f"/ws/chat/{self.hall}/", self.tokens[self._hall_user(i, workload)]) for i in range(count)]
        seats = []
        for i in range(count):
            number = i % workload.rooms
            room, *members = self.pairs[number]
            user = members[i // workload.rooms % len(members)]
            seats.append(Seat(number, f"/ws/chat/{room}/", self.tokens[user]))
        return seats

    def _hall_user(self, i: int, workload: Workload) -> int:
        """Who sits on the hall's i-th connection: those who speak are a few users with no other connections."""
        if i < workload.senders:
            return i % SPEAKERS
        return SPEAKERS + i % (USERS - SPEAKERS)

    def _make_room(self, client: http.client.HTTPConnection, owner: int, members: list[str]) -> str:
        body = {"name": "benchmark", "kind": "group", "members": members}
        answer = self._post(client, "/api/rooms", body, self.tokens[owner])
        room: str = answer.get("room", answer)["id"]
        return room

    def _post(
        self, client: http.client.HTTPConnection, path: str, body: dict[str, Any], token: str = ""
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            client.request("POST", path, json.dumps(body), headers)
            response = client.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as problem:
            raise RunFailed(f"HeartLink does not answer POST {path}: {problem!r}") from problem
        if response.status != 201:
            raise RunFailed(f"HeartLink answered POST {path} with {response.status}: {text[:300]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer
