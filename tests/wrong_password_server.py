"""Just enough of MongoDB's wire protocol to refuse a password: it greets, and says no to every log-in.

The wire server of the other tests knows no accounts, so this stands in for the one answer it cannot give.
"""

from __future__ import annotations

import itertools
import socketserver
import struct
import threading
from types import TracebackType
from typing import Any

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
GREETING = {
    "ok": 1,
    "isWritablePrimary": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
    "saslSupportedMechs": ["SCRAM-SHA-256"],
}
REFUSED = {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}


class WrongPasswordServer:
    """Listens on a free port of loopback; ``log_ins`` counts who tried."""

    def __init__(self) -> None:
        self.log_ins = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for number in itertools.count(1):
                    header = self.rfile.read(16)
                    if len(header) < 16:
                        return
                    length, request_id, _, opcode = struct.unpack("<iiii", header)
                    body = self.rfile.read(length - 16)
                    self.wfile.write(outer.answer(number, request_id, opcode, body))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, number: int, request_id: int, opcode: int, body: bytes) -> bytes:
        """The reply to one message, in the opcode that belongs to it."""
        if opcode == OP_QUERY:
            start = body.index(b"\0", 4) + 9
            document = self._reply(bson.decode(body[start:]))
            payload, reply_opcode = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document), OP_REPLY
        else:
            size = struct.unpack_from("<i", body, 5)[0]
            document = self._reply(bson.decode(body[5 : 5 + size]))
            payload, reply_opcode = struct.pack("<iB", 0, 0) + bson.encode(document), OP_MSG
        return struct.pack("<iiii", 16 + len(payload), number, request_id, reply_opcode) + payload

    def _reply(self, command: dict[str, Any]) -> dict[str, Any]:
        if next(iter(command)).lower() in ("hello", "ismaster"):
            return GREETING
        self.log_ins += 1
        return REFUSED

    def __enter__(self) -> WrongPasswordServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
