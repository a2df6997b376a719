"""An HTTP request that is sent piece by piece, as slowly as a test wants, and may be broken off."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any

from tests.actors import Person

PATIENCE_SECONDS = 60.0


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so that nobody tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
            await asyncio.sleep(0.01)


class RawRequest:
    """One request on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @classmethod
    async def begins(cls, person: Person, method: str, path: str, headers: dict[str, str]) -> RawRequest:
        """Send the head."""
        reader, writer = await asyncio.open_connection("127.0.0.1", person.server.port)
        sent = {"Host": f"127.0.0.1:{person.server.port}", "Authorization": f"Bearer {person.token}", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        request = cls(reader, writer)
        # Whatever becomes of the test, the connection ends with the person's others.
        person._chairs.append(request)  # type: ignore[arg-type]
        return request

    async def sends(self, data: bytes) -> None:
        """A piece of the body."""
        self._writer.write(data)
        await self._writer.drain()

    async def answered(self) -> int:
        """Wait for the answer; its status."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            self.status = int(first.split()[1])
            pairs = (line.partition(":") for line in lines if line)
            self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            self.body = await self._reader.readexactly(int(self.headers.get("content-length", "0")))
        return self.status

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])

    def breaks_off(self) -> None:
        """Reset the connection, in the middle of whatever it is."""
        self._writer.transport.abort()

    async def leaves(self) -> None:
        """End the connection, and wait until that is done."""
        self.breaks_off()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def is_closed(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._reader.read(1 << 16):
                pass
