"""Starting, refusing to start, and stopping, with real processes (PROTOCOL 7)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import Server
from nx_server import NxServer
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect
from wrong_password_server import WrongPasswordServer

from heartlink import __version__, reach
from heartlink.errors import StartupFailure
from heartlink.ports import claim_port, listen
from heartlink.reach import check_reach

UNPRIVILEGED_FROM = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
MONGO_SECONDS = 5.0
# What an interpreter on a busy machine may need before and after the part that is measured.
PROCESS_SECONDS = 10.0
STOP_SECONDS = 10.0

HOLDER = """
import socket, sys
address, family = sys.argv[1], socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((address, int(sys.argv[2])), family=family, dualstack_ipv6=address == "::") as held:
    print(held.getsockname()[1], flush=True)
    sys.stdin.read()
"""


def refused(*flags: str, environment: dict[str, str] | None = None, ordinary: bool = False) -> str:
    """The one line with which a server refused to start."""
    with Server(*flags, environment=environment, ordinary=ordinary) as server:
        code, said, errors = server.exit()
    assert code == 2, (code, said, errors)
    assert said == ""
    assert errors.startswith("heartlink: ")
    assert errors.count("\n") == 1, errors
    assert "Traceback" not in errors
    return errors.strip()


@contextlib.contextmanager
def held_port(address: str, port: int = 0) -> Iterator[tuple[int, int]]:
    """A port that another process listens on, and that process's id."""
    command = [sys.executable, "-c", HOLDER, address, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            yield int(holder.stdout.readline()), holder.pid
        finally:
            holder.kill()


@contextlib.contextmanager
def silent_server() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PROCESS_SECONDS)
        yield listener


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def database_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.read_bytes().startswith(b"SQLite format 3")]


# --- What is said when it works --------------------------------------------------------------------


def test_it_says_where_it_listens_what_stores_and_how_to_stop(tmp_path: Path) -> None:
    with Server("--port=0", f"--data-dir={tmp_path / 'data'}") as server:
        address = server.address()
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            assert answer.status == 200
        assert server.said[0] == f"HeartLink {__version__} listens on {address}"
        assert address.startswith("http://127.0.0.1:")
        assert str(tmp_path / "data") in server.said[1]
        assert "Ctrl-C" in server.said[-1]


def test_the_demo_says_who_may_enter_its_room_and_lets_them_in_again_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with Server("--port=0", "--demo", f"--data-dir={tmp_path}") as server:
            address = server.address()
            (line,) = [line for line in server.said if "Demo room" in line]
            assert f"{address}/chat/e3aee9e3-99e1-428b-8e09-fb6389db5bef/" in line
            for username in ("test_user_a", "test_user_b"):
                assert f"{username} (testpass123)" in line
                account = {"username": username, "password": "testpass123"}
                assert post(address, "/api/auth/login", account)["token"]


def test_localhost_is_ipv4_and_ipv6(tmp_path: Path) -> None:
    with Server("--port=0", "--host=localhost", f"--data-dir={tmp_path}") as server:
        address = server.address()
        port = int(address.rpartition(":")[2])
        assert address == f"http://localhost:{port}"
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_settings_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    config = tmp_path / "heartlink.toml"
    config.write_text(f'data_dir = "{tmp_path / "from_file"}"\nport = 1\n')
    with Server(environment={"HEARTLINK_CONFIG": str(config), "HEARTLINK_PORT": "0"}) as server:
        server.address()
        assert (tmp_path / "from_file").is_dir()


def test_help_and_version_need_no_server() -> None:
    for flag, words in (("--help", "--mongo-url"), ("--version", f"HeartLink {__version__}")):
        with Server(flag) as server:
            code, said, errors = server.exit()
        assert (code, errors) == (0, "")
        assert words in said


def test_log_lines_can_be_json_and_hold_no_token(tmp_path: Path) -> None:
    with Server("--port=0", "--log-format=json", f"--data-dir={tmp_path}") as server:
        address = server.address()
        for path in ("/ws/chat/lobby/?token=eyJhbGciOi.hunter2.sig", "/api/rooms?token=hunter2"):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(address + path, timeout=5).close()
        server.signal(signal.SIGTERM)
        _, _, errors = server.exit()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert all({"ts", "level", "logger", "message"} <= set(line) for line in lines)
    asked = [line for line in lines if line["logger"] == "heartlink.access"]
    assert [(line["method"], line["path"], line["status"], line["ip"]) for line in asked] == [
        ("GET", "/ws/chat/lobby/", 426, "127.0.0.1"),
        ("GET", "/api/rooms", 401, "127.0.0.1"),
    ]
    assert all(line["ms"] >= 0 and len(line["request_id"]) == 16 for line in asked)
    assert "hunter2" not in errors


@pytest.mark.parametrize(("proxies", "address"), [("", "127.0.0.1"), ("10.0.0.1,127.0.0.1", "203.0.113.9")])
def test_only_a_named_proxy_may_speak_for_others(tmp_path: Path, proxies: str, address: str) -> None:
    with Server("--port=0", f"--trusted-proxies={proxies}", f"--data-dir={tmp_path}") as server:
        base = server.address()
        request = urllib.request.Request(f"{base}/login")
        request.add_header("X-Forwarded-For", "198.51.100.1, 203.0.113.9")
        urllib.request.urlopen(request, timeout=5).close()
        request.full_url = f"{base}/ws/nowhere/"
        request.add_header("Upgrade", "websocket")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=5)
        server.signal(signal.SIGTERM)
        _, _, errors = server.exit()
    assert f"200 GET /login ({address})" in errors
    assert "Upgrade refused: 404 not_found at no socket route (/ws/nowhere/)" in errors
    assert f"from {address}, user unknown, request" in errors


# --- What is said when it does not -----------------------------------------------------------------


@pytest.mark.parametrize(
    "flag", ["--prot=1", "--port=x", "--port=70000", "--port=-1", "--demo=1 --host=0.0.0.0", "9000", "--config=/no"]
)
def test_a_bad_flag_costs_one_line(flag: str) -> None:
    refused(*flag.split())


@pytest.mark.parametrize("holder", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_told_with_its_holder(tmp_path: Path, holder: str) -> None:
    with held_port(holder) as (port, pid):
        line = refused(f"--port={port}", f"--data-dir={tmp_path / 'data'}")
    assert f"Port {port} is in use on " in line
    assert f"process {pid} (" in line
    assert "import socket" in line
    assert re.search(r", running since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\) holds it", line)
    assert not (tmp_path / "data").exists(), "the port is claimed before anything is opened"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
@pytest.mark.parametrize("holder", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_every_way_in_which_a_port_can_be_held_is_noticed(holder: str, host: str) -> None:
    with held_port(holder) as (port, pid), pytest.raises(StartupFailure) as caught:
        asyncio.run(claim_port(host, port))
    assert f"process {pid} (" in caught.value.line
    for sock in asyncio.run(claim_port(host, port)):
        sock.close()


def test_a_free_port_is_free_on_both_sides_of_localhost() -> None:
    claimed = asyncio.run(claim_port("localhost", 0))
    assert len({sock.getsockname()[1] for sock in claimed}) == 1
    listen(claimed)
    for sock in claimed:
        socket.create_connection(sock.getsockname()[:2], timeout=5).close()
        sock.close()


def test_a_port_lost_between_claim_and_listening_is_explained() -> None:
    claimed = asyncio.run(claim_port("127.0.0.1", 0))
    with claimed[0], held_port("127.0.0.1", claimed[0].getsockname()[1]) as (_, pid):  # noqa: SIM117
        with pytest.raises(StartupFailure, match=f"process {pid} "):
            listen(claimed)


def test_a_second_server_is_told_of_the_first(tmp_path: Path) -> None:
    with Server("--port=0", f"--data-dir={tmp_path / 'one'}") as first:
        port = first.address().rpartition(":")[2]
        line = refused(f"--port={port}", f"--data-dir={tmp_path / 'two'}")
        assert f"process {first.process.pid} (" in line
        assert "main.py" in line


def test_a_privileged_port_is_explained(tmp_path: Path) -> None:
    if UNPRIVILEGED_FROM.exists() and int(UNPRIVILEGED_FROM.read_text()) < 80:
        pytest.skip("this system gives low ports to everyone")
    line = refused("--port=79", f"--data-dir={tmp_path}", ordinary=True)
    assert "Port 79 needs a privilege" in line


def test_an_address_of_another_machine_is_explained() -> None:
    assert "192.0.2.1 is not an address of this machine" in refused("--port=0", "--host=192.0.2.1")
    assert "could not be resolved" in refused("--port=0", "--host=nowhere.invalid")


def test_a_data_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    for folder in (tmp_path / "closed", tmp_path / "closed" / "data", Path("/proc/heartlink")):
        line = refused("--port=0", f"--data-dir={folder}", ordinary=True)
        assert f"The data folder {folder} cannot be written to" in line


def test_a_data_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        assert f"The data folder {folder} is a file" in refused("--port=0", f"--data-dir={folder}")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_data_folder_in_use_is_explained(tmp_path: Path) -> None:
    with Server("--port=0", f"--data-dir={tmp_path}") as first:
        first.address()
        line = refused("--port=0", f"--data-dir={tmp_path}")
    assert f"is already used by another HeartLink (process {first.process.pid})" in line


@pytest.mark.parametrize("place", ["head", "body", "all"])
def test_a_damaged_database_is_explained(tmp_path: Path, place: str) -> None:
    with Server("--port=0", f"--data-dir={tmp_path}") as server:
        server.address()
        server.signal(signal.SIGTERM)
        assert server.exit()[0] == 0
    (database,) = database_files(tmp_path)
    content = bytearray(database.read_bytes())
    start, end = {"head": (0, 100), "body": (4096, len(content)), "all": (0, len(content))}[place]
    content[start:end] = b"\xa5" * (end - start)
    database.write_bytes(content)
    line = refused("--port=0", f"--data-dir={tmp_path}")
    assert "damaged" in line
    assert database.name in line
    assert database.read_bytes() == content


def test_a_mongodb_that_is_not_there_is_told_within_five_seconds(tmp_path: Path) -> None:
    port = free_port()
    began = time.monotonic()
    line = refused(
        "--port=0", f"--data-dir={tmp_path}", f"--mongo-url=mongodb://ann:hunter2@127.0.0.1:{port}/heartlink"
    )
    assert time.monotonic() - began < MONGO_SECONDS + PROCESS_SECONDS
    assert f"127.0.0.1:{port}" in line
    assert os.strerror(errno.ECONNREFUSED) in line
    assert "hunter2" not in line


def test_a_mongodb_that_never_answers_is_told_within_five_seconds(tmp_path: Path) -> None:
    with silent_server() as listener:
        port = listener.getsockname()[1]
        began = time.monotonic()
        line = refused("--port=0", f"--data-dir={tmp_path}", f"--mongo-url=mongodb://127.0.0.1:{port}/heartlink")
    assert time.monotonic() - began < MONGO_SECONDS + PROCESS_SECONDS
    assert f"127.0.0.1:{port}" in line


def test_a_wrong_password_for_mongodb_is_explained(tmp_path: Path) -> None:
    with WrongPasswordServer() as mongo:
        url = f"mongodb://ann:hunter2@127.0.0.1:{mongo.port}/heartlink"
        line = refused("--port=0", f"--data-dir={tmp_path}", f"--mongo-url={url}")
    assert mongo.log_ins > 0
    assert f"127.0.0.1:{mongo.port}" in line
    assert "password" in line
    assert "hunter2" not in line


# --- Stopping --------------------------------------------------------------------------------------


def post(address: str, path: str, body: dict[str, str], token: str = "") -> dict[str, object]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        content = json.load(answer)
    assert isinstance(content, dict)
    return content


async def frames_until_closed(url: str, token: str, opened: asyncio.Event) -> tuple[list[str], int | None]:
    """The types of all frames, and the close code."""
    connection = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"Bearer {token}"}))
    types: list[str] = []
    while (message := await connection.read_message()) is not None:
        types.append(json.loads(message)["type"])
        opened.set()
    connection.close()
    return types, connection.close_code


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGINT)])
def test_a_signal_drains_and_ends_with_zero(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    with Server("--port=0", f"--data-dir={tmp_path}") as server:
        address = server.address()
        token = str(post(address, "/api/auth/register", {"username": "ann", "password": "correct horse"})["token"])
        room = post(address, "/api/rooms", {"name": "Tea"}, token)
        url = f"{address.replace('http', 'ws', 1)}/ws/chat/{room['id']}/"

        async def scenario() -> tuple[list[str], int | None]:
            opened = asyncio.Event()
            listening = asyncio.create_task(frames_until_closed(url, token, opened))
            await asyncio.wait_for(opened.wait(), 10)
            server.signal(*numbers)
            return await asyncio.wait_for(listening, STOP_SECONDS)

        began = time.monotonic()
        types, close_code = asyncio.run(scenario())
        code, said, errors = server.exit()
        assert time.monotonic() - began < STOP_SECONDS + PROCESS_SECONDS
    assert (code, close_code) == (0, 1012)
    assert types[0] == "connection_established"
    assert types[-1] == "going_away"
    assert said.endswith("HeartLink has stopped.")
    assert "Traceback" not in errors
    assert "ERROR" not in errors


def test_it_stops_in_time_although_its_database_is_frozen(tmp_path: Path) -> None:
    with NxServer() as mongo, Server("--port=0", f"--data-dir={tmp_path}", f"--mongo-url={mongo.url}") as server:
        server.address()
        mongo.freeze()
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        code, said, errors = server.exit()
        took_seconds = time.monotonic() - began
        mongo.thaw()
    assert (code, said.splitlines()[-1]) == (0, "HeartLink has stopped."), errors
    assert took_seconds < STOP_SECONDS


def test_what_was_stored_is_there_after_a_restart_on_the_same_port(tmp_path: Path) -> None:
    port = free_port()
    account = {"username": "ann", "password": "correct horse"}
    for path in ("/api/auth/register", "/api/auth/login"):
        with Server(f"--port={port}", f"--data-dir={tmp_path}") as server:
            assert post(server.address(), path, account)["token"]
            server.signal(signal.SIGTERM)
            assert server.exit()[0] == 0


def test_several_signals_during_the_start_end_it_cleanly(tmp_path: Path) -> None:
    with silent_server() as listener:
        url = f"mongodb://127.0.0.1:{listener.getsockname()[1]}/heartlink"
        with Server("--port=0", f"--data-dir={tmp_path}", f"--mongo-url={url}") as server:
            connection, _ = listener.accept()
            with connection:
                server.signal(signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
                code, said, errors = server.exit()
    assert (code, said, errors) == (0, "HeartLink has stopped.", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anything_is_open_ends_it_quietly(tmp_path: Path, number: signal.Signals) -> None:
    with Server("--port=0", f"--data-dir={tmp_path}") as server:
        status = Path(f"/proc/{server.process.pid}/status")
        caught = 0
        while not caught >> (signal.SIGTERM - 1) & 1:
            assert server.process.poll() is None
            caught = int(status.read_text().partition("SigCgt:")[2].split()[0], 16)
        server.signal(number)
        code, _, errors = server.exit()
    assert (code, errors) == (0, "")


# --- Who else answers, once it runs ----------------------------------------------------------------

OTHER_PROGRAM = """
import http.server, socket, sys
http.server.HTTPServer.address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def another_web_server(address: str, port: int = 0) -> Iterator[tuple[int, int]]:
    """Another program's web server, and its process's id."""
    command = [sys.executable, "-c", OTHER_PROGRAM, address, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout is not None
        try:
            yield int(program.stdout.readline()), program.pid
        finally:
            program.kill()


def test_another_program_that_answers_in_its_place_is_told_with_pid_command_and_since_when(tmp_path: Path) -> None:
    # All of 127/8 is this machine: localhost leads to the other program, and the server can still start.
    with (
        another_web_server("127.0.0.1") as (port, pid),
        Server("--host=127.0.0.2", f"--port={port}", f"--data-dir={tmp_path}") as server,
    ):
        address = server.address()
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
        server.wait_for_error("Another program answers")
        server.signal(signal.SIGTERM)
        code, _, errors = server.exit()
    (line,) = [line for line in errors.splitlines() if "Another program" in line]
    assert code == 0
    assert f"answers on 127.0.0.1:{port}: process {pid} (" in line
    assert "http.server" in line and re.search(r"running since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)", line)


@pytest.mark.parametrize("late", ["::1", "127.0.0.1"])
def test_a_program_that_took_the_other_side_of_localhost_is_noticed(late: str) -> None:
    own = "127.0.0.1" if late == "::1" else "::1"
    ipv4, ipv6 = asyncio.run(claim_port("localhost", 0))
    held, left = (ipv4, ipv6) if late == "::1" else (ipv6, ipv4)
    port = held.getsockname()[1]
    left.close()
    with held, another_web_server(late, port) as (_, pid):
        lines = asyncio.run(check_reach([own], port, "name-of-this-start"))
    (line,) = [line for line in lines if "Another program" in line]
    where = f"[::1]:{port}" if late == "::1" else f"127.0.0.1:{port}"
    assert f"Another program answers on {where}: process {pid} (" in line and "localhost" in line


def test_a_server_that_reaches_itself_says_nothing_about_it(tmp_path: Path) -> None:
    for host in ("localhost", "0.0.0.0"):
        with Server("--port=0", f"--host={host}", f"--data-dir={tmp_path}", "--log-level=debug") as server:
            port = int(server.address().rpartition(":")[2])
            # Its own question for itself is in the log: the check has been made.
            server.wait_for_error("GET /healthz")
            with urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=5) as answer:
                instance = json.load(answer)["instance"]
            assert asyncio.run(check_reach([host], port, instance)) == []
            server.signal(signal.SIGTERM)
            assert "answers on" not in server.exit()[2]


def test_silence_on_an_address_of_its_own_is_a_busy_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "LIMIT_SECONDS", 0.2)
    with silent_server() as listener:
        port = listener.getsockname()[1]
        for claimed in ("127.0.0.1", "0.0.0.0"):
            assert asyncio.run(check_reach([claimed], port, "name-of-this-start")) == []
        (line,) = asyncio.run(check_reach(["127.0.0.2"], port, "name-of-this-start"))[1:]
    assert f"Another program answers on 127.0.0.1:{port}: process {os.getpid()} (" in line


def test_an_address_that_it_listens_on_and_does_not_reach_is_told() -> None:
    port = free_port()
    (line,) = asyncio.run(check_reach(["127.0.0.1"], port, "x"))
    assert "does not reach itself" in line and f"heartlink.doctor 127.0.0.1:{port}" in line
