"""People who send files to a server that is killed under them, and go on until each has arrived."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

PIECE_BYTES = 48 << 10
REQUEST_SECONDS = 30.0
PAUSE_SECONDS = 0.05
GIVE_UP_SECONDS = 400.0
TUS = {"Tus-Resumable": "1.0.0"}
GONE = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


@dataclass
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """One-request connections to the server, each sent in pieces; raises one of GONE when the server is not there."""

    port: int
    token: str = ""
    pause_seconds: float = 0.0

    async def asks(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """A request, and its whole answer."""
        async with asyncio.timeout(REQUEST_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            try:
                return await self._exchange(reader, writer, method, path, body, headers)
            finally:
                writer.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Answer:
        sent = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), "Connection": "close"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        for at in range(0, len(body), PIECE_BYTES):
            writer.write(body[at : at + PIECE_BYTES])
            await writer.drain()
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.split("\r\n")
        found = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        length = 0 if method == "HEAD" else int(found.get("content-length", "0"))
        return Answer(int(first.split()[1]), found, await reader.readexactly(length))


@dataclass
class Source:
    """A file to be sent: what it is, and how."""

    name: str
    data: bytes
    is_image: bool
    by_tus: bool
    fate: str
    """``kept``, ``deleted`` once it has arrived, or ``left`` in the middle."""
    message_id: int = 0

    def matches(self, served: bytes) -> bool:
        """Whether what the server serves is this file; of a picture the pixels are, for its metadata is removed."""
        if not self.is_image:
            return hashlib.sha256(served).digest() == hashlib.sha256(self.data).digest()
        with Image.open(io.BytesIO(served)) as got, Image.open(io.BytesIO(self.data)) as wanted:
            return got.size == wanted.size and got.convert("RGB").tobytes() == wanted.convert("RGB").tobytes()


def make_sources(chance: random.Random, count: int) -> list[Source]:
    """Files of all sizes: small ones that meet the last steps often, large ones that are met in the middle."""
    sources = []
    for number in range(count):
        is_image = number % 20 == 7
        size = chance.choice((200, 5_000, 60_000, 60_000, 300_000, 1_500_000))
        data = _picture(chance) if is_image else b"no type of ours " + chance.randbytes(size)
        fate = "left" if number % 20 == 3 else "deleted" if number % 20 == 11 else "kept"
        sources.append(Source(f"file-{number}", data, is_image, number % 2 == 0, fate))
    return sources


def _picture(chance: random.Random) -> bytes:
    picture = Image.frombytes("RGB", (160, 120), chance.randbytes(160 * 120 * 3))
    about, made = PngInfo(), io.BytesIO()
    about.add_text("Location", "48.8584 N, 2.2945 E")
    picture.save(made, "PNG", pnginfo=about)
    return made.getvalue()


@dataclass
class Uploader:
    """Sends files one after the other; every failure of the server is waited out."""

    wire: Wire
    room: str
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    """What happened how often: answers, resumed uploads, duplicates."""
    last: str = ""
    """The last answer that was no success."""

    async def sends(self, source: Source) -> None:
        """Until the message is acknowledged, or until it is left in the middle."""
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._sends(source)
        except TimeoutError:
            raise AssertionError(f"{source.name} did not arrive: {self.last} {dict(self.seen)}") from None

    async def _sends(self, source: Source) -> None:
        if source.fate == "left":
            await self._leaves(source)
            return
        way = self._by_tus if source.by_tus else self._by_post
        while not source.message_id:
            try:
                await way(source)
            except GONE:
                self.seen["broken off"] += 1
                await asyncio.sleep(PAUSE_SECONDS * self.chance.random())
        while source.fate == "deleted":
            path = f"/api/rooms/{self.room}/messages/{source.message_id}"
            try:
                if (await self.wire.asks("DELETE", path)).status == 200:
                    return
            except GONE:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _by_post(self, source: Source) -> None:
        path = f"/api/rooms/{self.room}/files?name={source.name}&client_id={source.name}"
        answer = await self.wire.asks("POST", path, source.data, Content_Type="application/octet-stream")
        if answer.status in (200, 201):
            self.seen["duplicate"] += answer.status == 200
            source.message_id = answer.json["id"]
        else:
            await self._wait_out(answer)

    async def _by_tus(self, source: Source) -> None:
        begun = await self._begins(source)
        if begun.status != 201:
            await self._wait_out(begun)
            return
        path = begun.headers["location"]
        while True:
            try:
                if await self._goes_on(source, path):
                    return
            except GONE:
                self.seen["broken off"] += 1
                await asyncio.sleep(PAUSE_SECONDS * self.chance.random())

    async def _begins(self, source: Source) -> Answer:
        said = {"room": self.room, "filename": source.name, "client_id": source.name}
        pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())
        headers = {**TUS, "Upload-Length": str(len(source.data)), "Upload-Metadata": pairs}
        return await self.wire.asks("POST", "/api/uploads/", **headers)

    async def _goes_on(self, source: Source, path: str) -> bool:
        """One step; True when it has arrived, or has to be begun anew."""
        stands = await self.wire.asks("HEAD", path, **TUS)
        if stands.status == 404:
            self.seen["forgotten"] += 1
            return True
        if stands.status == 200 and "heartlink-message-id" in stands.headers:
            source.message_id = int(stands.headers["heartlink-message-id"])
            self.seen["learnt by HEAD"] += 1
            return True
        if stands.status != 200:
            await self._wait_out(stands)
            return False
        offset = int(stands.headers["upload-offset"])
        self.seen["resumed"] += offset > 0
        end = min(len(source.data), offset + self.chance.choice((100_000, 1_000_000)))
        headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        answer = await self.wire.asks("PATCH", path, source.data[offset:end], **headers)
        if answer.status != 204:
            await self._wait_out(answer)
        elif "heartlink-message-id" in answer.headers:
            source.message_id = int(answer.headers["heartlink-message-id"])
        return bool(source.message_id)

    async def _leaves(self, source: Source) -> None:
        """Send half of it, and never come back."""
        half = source.data[: len(source.data) // 2]
        try:
            if source.by_tus:
                begun = await self._begins(source)
                if begun.status == 201:
                    headers = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
                    await self.wire.asks("PATCH", begun.headers["location"], half, **headers)
            else:
                path = f"/api/rooms/{self.room}/files?name={source.name}&client_id={source.name}"
                async with asyncio.timeout(0.2):
                    await self.wire.asks("POST", path, half, Content_Length=str(len(source.data)))
        except GONE:
            self.seen["left"] += 1

    async def _wait_out(self, answer: Answer) -> None:
        self.seen[f"status {answer.status}"] += 1
        self.last = f"{answer.status} {answer.headers} {answer.body[:500]!r}"
        assert answer.status in (409, 423, 429, 503), (answer.status, answer.body[:500])
        await asyncio.sleep(PAUSE_SECONDS)
