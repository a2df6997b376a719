"""What files cost: `python -m benchmarks.files`; what is measured and how to read it is in docs/benchmarks.md."""

import argparse
import asyncio
import base64
import contextlib
import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from benchmarks.machine import describe_machine
from benchmarks.process import LIMITS_OFF, HeartLinkProcess

CACHE = Path(__file__).parent / ".cache"
FLAGS = (*LIMITS_OFF, "--upload-bytes=0", "--upload-bytes-per-user=0", "--uploads-per-user=0", "--free-disk-bytes=0")
COPY_BYTES = 256 << 20
ROUNDS = 3
LARGE_BYTES = 1 << 30
MESSAGES = 1500
MESSAGES_PER_SECOND = 150
UPLOADERS = 10
UPLOADER_BYTES = 32 << 20
PIECE_BYTES = 256 << 10
SAMPLE_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
MIB = 1 << 20

Row = tuple[str, str]


# --- One connection, blocking, as fast as the kernel takes it -----------------------------------------------


class Line:
    """One request on a connection of its own."""

    def __init__(self, port: int, head: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.sendall(head.encode())
        self._rest = b""

    def send_zeros(self, length: int) -> None:
        """A body of so many bytes."""
        piece = memoryview(b"no type of ours " * (PIECE_BYTES // 16))
        while length:
            now = piece[: min(length, PIECE_BYTES)]
            self._socket.sendall(now)
            length -= len(now)

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._read()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }

    def read_body(self, length: int, keep: bool = True) -> bytes:
        """So many bytes; without ``keep`` they are only counted."""
        kept, count = [self._rest], len(self._rest)
        while count < length:
            data = self._read()
            count += len(data)
            if keep:
                kept.append(data)
        return b"".join(kept) if keep else b""

    def _read(self) -> bytes:
        data = self._socket.recv(PIECE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def upload(port: int, token: str, room_id: str, length: int) -> str:
    """Upload a file in one request; its address."""
    line = Line(
        port,
        f"POST /api/rooms/{room_id}/files?name=large.bin HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
    )
    with contextlib.closing(line):
        line.send_zeros(length)
        status, headers = line.read_head()
        body = line.read_body(int(headers["content-length"]))
    assert status == 201, body
    return str(msgspec.json.decode(body)["file_url"])


def upload_by_tus(port: int, token: str, room_id: str, length: int) -> None:
    """Upload a file with tus, in one piece."""
    shared = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\n"
    room = base64.b64encode(room_id.encode()).decode()
    begun = Line(
        port,
        f"POST /api/uploads/ HTTP/1.1\r\n{shared}Upload-Length: {length}\r\nUpload-Metadata: room {room}\r\n"
        "Content-Length: 0\r\n\r\n",
    )
    with contextlib.closing(begun):
        path = begun.read_head()[1]["location"]
    line = Line(
        port,
        f"PATCH {path} HTTP/1.1\r\n{shared}Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {length}\r\n\r\n",
    )
    with contextlib.closing(line):
        line.send_zeros(length)
        status, headers = line.read_head()
    assert status == 204 and headers["heartlink-message-id"], status


def download(port: int, token: str, path: str, length: int) -> None:
    """Read a file to its end."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    with contextlib.closing(Line(port, head)) as line:
        status, headers = line.read_head()
        assert status == 200 and int(headers["content-length"]) == length
        line.read_body(length, keep=False)


# --- What it is compared with: a plain copy through the same loopback ----------------------------------------


def serve_copies(folder: Path, ready: "multiprocessing.Queue[int]") -> None:
    """A bare asyncio server: takes a length and so many bytes into a file, synced; or sends the file back."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deed, length = (await reader.readline()).split()
        path, left = folder / "copy", int(length)
        if deed == b"put":
            with path.open("wb") as file:
                while left:
                    data = await reader.read(min(left, PIECE_BYTES))
                    file.write(data)
                    left -= len(data)
                file.flush()
                os.fsync(file.fileno())
            writer.write(b"\r\n\r\n")
        else:
            with path.open("rb") as file:
                while data := file.read(PIECE_BYTES):
                    writer.write(data)
                    await writer.drain()
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(copy, "127.0.0.1", 0, limit=PIECE_BYTES)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


@contextlib.contextmanager
def copier(folder: Path) -> Iterator[int]:
    """The port of such a server, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=serve_copies, args=(folder, ready), daemon=True)
    process.start()
    try:
        yield ready.get(timeout=30)
    finally:
        process.kill()
        process.join(10)


def copy_in(port: int, length: int) -> None:
    """Send so many bytes to the plain copy, until they are synced."""
    with contextlib.closing(Line(port, f"put {length}\n")) as line:
        line.send_zeros(length)
        line.read_body(4)


def copy_out(port: int, length: int) -> None:
    """Read them back."""
    with contextlib.closing(Line(port, f"get {length}\n")) as line:
        line.read_body(length, keep=False)


# --- Measures ------------------------------------------------------------------------------------------------


def rate(work: Callable[[], object], rounds: int) -> float:
    """MiB a second, the median of some rounds."""
    rates = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        rates.append(COPY_BYTES / MIB / (time.perf_counter() - begun))
    return statistics.median(rates)


def peak_memory(server: HeartLinkProcess, work: Callable[[], object]) -> tuple[int, int]:
    """The server's resident bytes before some work, and the most while it was done."""
    before = peak = server.resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, server.resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return before, peak


async def acknowledgements(port: int, token: str, room_id: str) -> list[float]:
    """Milliseconds from sending a message to its own copy, at a steady rate; sorted."""
    request = HTTPRequest(f"ws://127.0.0.1:{port}/ws/chat/{room_id}/", headers={"Authorization": f"Bearer {token}"})
    connection = await websocket_connect(request)
    sent: dict[str, float] = {}
    taken: list[float] = []

    async def read() -> None:
        while len(taken) < MESSAGES:
            text = await connection.read_message()
            assert text is not None, "the server hung up"
            frame = msgspec.json.decode(text)
            if frame["type"] == "chat_message" and frame["message"]["client_id"] in sent:
                taken.append((time.perf_counter() - sent.pop(frame["message"]["client_id"])) * 1000)

    reading = asyncio.create_task(read())
    begun = time.perf_counter()
    for number in range(MESSAGES):
        await asyncio.sleep(max(0.0, begun + number / MESSAGES_PER_SECOND - time.perf_counter()))
        client_id = f"{begun}-{number}"
        sent[client_id] = time.perf_counter()
        await connection.write_message(msgspec.json.encode({"content": "hello", "client_id": client_id}))
    await asyncio.wait_for(reading, PATIENCE_SECONDS)
    connection.close()
    return sorted(taken)


def keep_uploading(port: int, token: str, room_id: str) -> None:
    """Upload one file after the other, for ever."""
    while True:
        upload(port, token, room_id, UPLOADER_BYTES)


@contextlib.contextmanager
def parallel_uploads(port: int, token: str, room_id: str) -> Iterator[None]:
    """Ten people who upload all the time, in processes of their own."""
    context = multiprocessing.get_context("spawn")
    people = [
        context.Process(target=keep_uploading, args=(port, token, room_id), daemon=True) for _ in range(UPLOADERS)
    ]
    for process in people:
        process.start()
    time.sleep(2.0)
    try:
        yield
    finally:
        for process in people:
            process.kill()
        for process in people:
            process.join(10)


def percentile(taken: list[float], share: float) -> float:
    """A percentile of what is sorted."""
    return taken[min(len(taken) - 1, int(share * len(taken)))]


async def measure(folder: Path) -> list[Row]:
    """All rows of the table."""
    server = HeartLinkProcess(folder, FLAGS)
    await server.start()
    try:
        [(chat_room, tokens), (file_room, _)] = await asyncio.to_thread(server.furnish, 2, 2, 2)
        token, port = tokens[0], server.port
        rows = await asyncio.to_thread(_measure_rates, folder, server, token, file_room)
        before, peak = await asyncio.to_thread(peak_memory, server, lambda: upload(port, token, file_room, LARGE_BYTES))
        rows.append((f"server's memory before an upload of {LARGE_BYTES // MIB:,} MiB", f"{before / MIB:.1f} MiB"))
        rows.append(("… the most while it was uploaded", f"{peak / MIB:.1f} MiB"))
        quiet = await acknowledgements(port, token, chat_room)
        with parallel_uploads(port, token, file_room):
            busy = await acknowledgements(port, token, chat_room)
        for name, taken in (("without uploads", quiet), (f"during {UPLOADERS} uploads", busy)):
            figures = f"{percentile(taken, 0.5):.2f} / {percentile(taken, 0.99):.2f} ms"
            rows.append((f"a message's acknowledgement {name}, p50 / p99", figures))
        return rows
    finally:
        await server.close()


def _measure_rates(folder: Path, server: HeartLinkProcess, token: str, room_id: str) -> list[Row]:
    port = server.port
    with copier(folder) as plain:
        put = rate(lambda: copy_in(plain, COPY_BYTES), ROUNDS)
        get = rate(lambda: copy_out(plain, COPY_BYTES), ROUNDS)
    path = upload(port, token, room_id, COPY_BYTES)
    posted = rate(lambda: upload(port, token, room_id, COPY_BYTES), ROUNDS)
    by_tus = rate(lambda: upload_by_tus(port, token, room_id, COPY_BYTES), ROUNDS)
    read = rate(lambda: download(port, token, path, COPY_BYTES), ROUNDS)
    return [
        (f"plain copy of {COPY_BYTES // MIB:,} MiB into a file, synced", f"{put:,.0f} MiB/s"),
        ("upload in one request, digested, synced, shown by a message", f"{posted:,.0f} MiB/s ({posted / put:.2f}×)"),
        ("upload by tus in one piece, likewise", f"{by_tus:,.0f} MiB/s ({by_tus / put:.2f}×)"),
        ("plain copy out of a file", f"{get:,.0f} MiB/s"),
        ("download", f"{read:,.0f} MiB/s ({read / get:.2f}×)"),
    ]


def main() -> None:
    """Measure, and print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="files-", dir=CACHE) as name:
        rows = asyncio.run(measure(Path(name)))
    print("| measured | median |\n| --- | ---: |")
    for name, figure in rows:
        print(f"| {name} | {figure} |")
    print("\n" + ", ".join(f"{key} {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    main()
