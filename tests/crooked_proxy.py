"""A proxy that does exactly one thing wrong, and listeners that are no web server at all: patients for the doctor.

async with CrookedProxy(server.port, drops=("Upgrade",)) as proxy:
    await examine(read_address(proxy.url), Options())
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "tls"
AUTHORITY = CERTIFICATES / "authority.crt"
NAME = "crooked/1.0"


def server_tls(certificate: str) -> ssl.SSLContext:
    """TLS with one of the test certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return context


class Listener:
    """Something that listens on a port of its own and does with each connection what ``serve_one`` says."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, certificate: str = "") -> None:
        self.host, self.port, self.certificate = host, port, certificate
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    async def __aenter__(self) -> Listener:
        tls = server_tls(self.certificate) if self.certificate else None
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError, asyncio.LimitOverrunError):
                await self.serve_one(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort() if self.aborts else writer.close()

    aborts = False

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        raise NotImplementedError


class Speaker(Listener):
    """Greets, then answers what it reads; silent where it has nothing to say, and hangs up at None."""

    def __init__(
        self,
        greeting: bytes = b"",
        answer: Callable[[bytes], bytes | None] = lambda _: b"",
        *,
        stays: bool = True,
        hangs_up: bool = False,
        **more: object,
    ) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._greeting, self._answer, self._stays, self._hangs_up = greeting, answer, stays, hangs_up

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        if self._hangs_up:
            return
        while heard := await reader.read(4096):
            if (said := self._answer(heard)) is None:
                return
            writer.write(said)
            await writer.drain()
            if not self._stays:
                return


class CrookedProxy(Listener):
    """Forwards to a port of this machine, but not quite.

    ``drops`` and ``sets`` change headers of requests, ``answer_drops`` and ``answer_sets`` those of answers;
    ``own`` are paths (by their beginning) that it answers itself with a status, ``upgrade_status`` is what it
    answers upgrades with, ``location`` where it sends everybody, ``rewrites`` changes the target. After an
    upgrade ``holds`` keeps back all that the server says, ``cut_seconds`` ends the connection.
    ``thinks_seconds`` is how long it takes for its own answers.
    """

    def __init__(
        self,
        upstream: int,
        *,
        drops: tuple[str, ...] = (),
        sets: Mapping[str, str] | None = None,
        answer_drops: tuple[str, ...] = (),
        answer_sets: Mapping[str, str] | None = None,
        own: Mapping[str, int] | None = None,
        upgrade_status: int = 0,
        upgrade_hangs: bool = False,
        location: str = "",
        rewrites: Callable[[str], str] = lambda path: path,
        holds: bool = False,
        cut_seconds: float = 0,
        thinks_seconds: float = 0,
        **more: object,
    ) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._upstream = upstream
        self._drops, self._sets = drops, dict(sets or {})
        self._answer_drops, self._answer_sets = answer_drops, dict(answer_sets or {})
        self._own, self._upgrade_status, self._location = dict(own or {}), upgrade_status, location
        self._upgrade_hangs = upgrade_hangs
        self._rewrites, self._holds, self._cut_seconds = rewrites, holds, cut_seconds
        self._thinks_seconds = thinks_seconds

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, version = head.split("\r\n", 1)[0].split(" ")
        is_upgrade = "\r\nupgrade: websocket" in head.lower()
        if is_upgrade and self._upgrade_hangs:
            await reader.read()
            return
        if status := self._own_status(target, is_upgrade):
            await asyncio.sleep(self._thinks_seconds)
            writer.write(self._own_answer(status))
            await writer.drain()
            return
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.write(self._own_answer(502))
            return
        self._writers.add(forth)
        try:
            forth.write(_changed(f"{method} {self._rewrites(target)} {version}", head, self._drops, self._sets))
            answer = (await back.readuntil(b"\r\n\r\n")).decode("latin-1")
            first = answer.split("\r\n", 1)[0]
            writer.write(_changed(first, answer, self._answer_drops, self._answer_sets))
            await self._pass_on(reader, writer, back, forth, is_open=" 101 " in first)
        finally:
            self._writers.discard(forth)
            forth.transport.abort()

    def _own_status(self, target: str, is_upgrade: bool) -> int:
        if self._location:
            return 301
        if is_upgrade and self._upgrade_status:
            return self._upgrade_status
        return next((status for path, status in self._own.items() if target.startswith(path)), 0)

    def _own_answer(self, status: int) -> bytes:
        page = b"<html><title>Not here</title></html>"
        more = f"Location: {self._location}\r\n" if self._location else ""
        head = f"HTTP/1.1 {status} Status\r\nServer: {NAME}\r\n{more}Content-Type: text/html\r\n"
        return f"{head}Content-Length: {len(page)}\r\nConnection: close\r\n\r\n".encode() + page

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        forth: asyncio.StreamWriter,
        *,
        is_open: bool,
    ) -> None:
        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()

        async def swallow(source: asyncio.StreamReader) -> None:
            while await source.read(65536):
                pass

        there = asyncio.create_task(copy(reader, forth))
        again = asyncio.create_task(swallow(back) if is_open and self._holds else copy(back, writer))
        limit = self._cut_seconds if is_open and self._cut_seconds else None
        try:
            await asyncio.wait({there, again}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            # What is on its way to the client still arrives.
            if again.done():
                await writer.drain()
        finally:
            for task in (there, again):
                task.cancel()
            await asyncio.gather(there, again, return_exceptions=True)


def _changed(first: str, head: str, drops: tuple[str, ...], sets: Mapping[str, str]) -> bytes:
    rows = [row for row in head.split("\r\n")[1:] if row]
    gone = {name.lower() for name in (*drops, *sets)}
    kept = [row for row in rows if row.partition(":")[0].lower() not in gone]
    added = [f"{name}: {value}" for name, value in sets.items()]
    return "\r\n".join([first, *kept, *added, "", ""]).encode("latin-1")


@contextlib.contextmanager
def swallowing_port() -> Iterator[int]:
    """A port that answers no SYN, as behind a firewall: its queue of connections is full and nobody takes any."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield int(listener.getsockname()[1])


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return int(probe.getsockname()[1])


def free_port_on_both() -> int:
    """A port on which nothing listens, neither on 127.0.0.1 nor on ::1."""
    while True:
        port = free_port("::1")
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.asynccontextmanager
async def opened(*listeners: Listener) -> AsyncIterator[None]:
    """All of them at once."""
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(listener)
        yield
