"""A MongoDB wire server for the tests: nx-27017 in a process of its own, durable, and gone when its parent is.

    server = NxServer()             # or NxServer(folder) to keep the data in a folder of yours
    server.start()                  # returns when it accepts; the same data after kill() or stop(); start() again
    MongoBackend(server.url, …)     # database "heartlink"; server.url_for("other") names another
    server.kill()                   # SIGKILL
    server.freeze(); server.thaw()  # SIGSTOP, SIGCONT
    server.stop()                   # ends it, asks politely first
    server.close()                  # stop() and remove the socket and, unless the folder is yours, the data

``with NxServer() as server:`` does start() and close(). Everything blocks for some milliseconds; nothing needs a loop.
The process ends when its stdin does, so that a kill -9 of the tests leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote_plus

READY = b"ready\n"
STOP_SECONDS = 5.0
SOCKET_PATH_BYTES = 107


class NxServer:
    """One server process, its socket and its data folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="nx-"))
        self.folder = folder or self._own / "data"
        self.socket_path = self._own / "nx.sock"
        assert len(os.fsencode(self.socket_path)) <= SOCKET_PATH_BYTES, "TMPDIR is too long for a unix socket"
        self.url = self.url_for("heartlink")
        self._process: subprocess.Popen[bytes] | None = None

    def url_for(self, database: str) -> str:
        """The URL of a database of this server."""
        return f"mongodb://{quote_plus(str(self.socket_path))}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> NxServer:
        """Start the process; return when it accepts connections."""
        assert self._process is None, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self._own / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), str(self.socket_path), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != READY:
            said = self.log()
            self.kill()
            raise RuntimeError(f"nx-27017 did not start:\n{said}")
        return self

    def kill(self) -> None:
        """kill -9; what it acknowledged is on disk."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop its time: it accepts connections (the kernel does) and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after ``freeze``; what it was asked meanwhile, it does now."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it; safe when it does not run."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def close(self) -> None:
        """End it and remove what it left."""
        self.stop()
        shutil.rmtree(self._own, ignore_errors=True)

    def log(self) -> str:
        """What it wrote to stderr."""
        return (self._own / "log").read_text("utf-8", "replace")

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> NxServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(socket_path: str, folder: str) -> None:
    """The process: serve until stdin ends."""
    import asyncio
    import threading

    from nx_27017.handler import NeoSQLiteHandler
    from nx_27017.server import handle_client

    class Durable(NeoSQLiteHandler):
        def _open_db_conn(self, db_name):  # type: ignore[no-untyped-def]
            connection = super()._open_db_conn(db_name)
            connection.db.execute("PRAGMA synchronous=FULL")
            return connection

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    async def run() -> None:
        handler = Durable(data_dir=folder)
        server = await asyncio.start_unix_server(
            lambda reader, writer: handle_client(reader, writer, handler), socket_path
        )
        threading.Thread(target=end_with_parent, daemon=True).start()
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        await server.serve_forever()

    os.umask(0o077)
    asyncio.run(run())


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
