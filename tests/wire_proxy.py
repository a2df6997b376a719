"""A proxy for MongoDB's wire protocol: it records the commands that pass, and can play a lost primary or a locked door.

async with WireProxy(server.socket_path) as proxy:
    MongoBackend(proxy.url, …)
    proxy.demoted = True        # every command is answered NotWritablePrimary, then the connection is closed
    proxy.replica_set = "rs0"   # `hello` says that this is the primary of a replica set
    proxy.login_error = 18      # log-ins are refused with this code
    proxy.commands              # what was asked, hello and its like left out
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path
from typing import Any

import bson

OP_MSG = 2013
OP_QUERY = 2004
NOT_WRITABLE_PRIMARY = 10107
HELLO = ("hello", "ismaster", "isMaster")
HEADER = struct.Struct("<iiii")


class WireProxy:
    """Listens on loopback, forwards to a unix socket."""

    def __init__(self, socket_path: Path) -> None:
        self.commands: list[dict[str, Any]] = []
        self.demoted = False
        self.replica_set = ""
        self.login_error = 0
        self._socket_path = socket_path
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}/proxied"

    async def __aenter__(self) -> WireProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._socket_path))
            while message := await read_message(reader):
                command = decode_command(message)
                own = self._own_answer(command)
                if own is None:
                    up_writer.write(message)
                    answer = await read_message(up_reader)
                    if self.replica_set and command and next(iter(command)) in HELLO:
                        answer = rewrite(answer, self._replica_set_member())
                else:
                    answer = encode_answer(message, own)
                writer.write(answer)
                await writer.drain()
                if own is not None and own.get("code") == NOT_WRITABLE_PRIMARY:
                    return
        except (ConnectionError, OSError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            for stream in (writer, up_writer):
                if stream is not None:
                    stream.close()
                    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                        await stream.wait_closed()

    def _own_answer(self, command: dict[str, Any]) -> dict[str, Any] | None:
        name = next(iter(command))
        if name in HELLO:
            if self.demoted:
                return {"ok": 1.0, "isWritablePrimary": False, "secondary": True, "maxWireVersion": 21} | (
                    self._replica_set_member() | {"isWritablePrimary": False, "secondary": True}
                    if self.replica_set
                    else {}
                )
            return None
        self.commands.append(command)
        if name in ("saslStart", "saslContinue") and self.login_error:
            return {"ok": 0.0, "errmsg": "refused", "code": self.login_error}
        if self.demoted:
            return {"ok": 0.0, "errmsg": "not primary", "code": NOT_WRITABLE_PRIMARY}
        return None

    def _replica_set_member(self) -> dict[str, Any]:
        me = self.address
        return {
            "setName": self.replica_set,
            "setVersion": 1,
            "hosts": [me],
            "me": me,
            "primary": me,
            "isWritablePrimary": True,
            "secondary": False,
        }


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One whole message, or nothing at the end of the stream."""
    try:
        header = await reader.readexactly(HEADER.size)
        return header + await reader.readexactly(HEADER.unpack(header)[0] - HEADER.size)
    except asyncio.IncompleteReadError:
        return b""


def decode_command(message: bytes) -> dict[str, Any]:
    """The command's document; document sequences are put where they would stand in it."""
    opcode = HEADER.unpack_from(message)[3]
    if opcode == OP_QUERY:
        at = message.index(b"\0", HEADER.size + 4) + 1 + 8
        return bson.decode(message[at : at + size_at(message, at)])
    assert opcode == OP_MSG, opcode
    command: dict[str, Any] = {}
    sequences: dict[str, Any] = {}
    at = HEADER.size + 4
    while at < len(message):
        kind, at = message[at], at + 1
        end = at + size_at(message, at)
        if kind == 0:
            command = bson.decode(message[at:end])
        else:
            name_end = message.index(b"\0", at + 4)
            sequences[message[at + 4 : name_end].decode()] = bson.decode_all(message[name_end + 1 : end])
        at = end
    return command | sequences


def size_at(message: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", message, at)[0])


def encode_answer(request: bytes, document: dict[str, Any]) -> bytes:
    """An answer of our own to a request, in the request's own kind of message."""
    _, id, _, opcode = HEADER.unpack_from(request)
    body = bson.encode(document)
    if opcode == OP_QUERY:
        body = struct.pack("<iqii", 8, 0, 0, 1) + body
        return HEADER.pack(HEADER.size + len(body), 1, id, 1) + body
    body = struct.pack("<iB", 0, 0) + body
    return HEADER.pack(HEADER.size + len(body), 1, id, OP_MSG) + body


def rewrite(answer: bytes, changes: dict[str, Any]) -> bytes:
    """An answer with some fields replaced."""
    length, own_id, id, opcode = HEADER.unpack_from(answer)
    skipped = 20 if opcode == 1 else 5
    start = HEADER.size + skipped
    body = answer[HEADER.size : start] + bson.encode(bson.decode(answer[start:length]) | changes)
    return HEADER.pack(HEADER.size + len(body), own_id, id, opcode) + body
