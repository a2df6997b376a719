"""People for the tests: ``ann.says("hi")``, ``bob.hears("chat_message")``, against a real house on a real port."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.websocket import WebSocketClientConnection, websocket_connect

from heartlink.handlers import make_application
from heartlink.house import House
from heartlink.settings import Settings

PATIENCE_SECONDS = 5.0
PASSWORD = "a good password"


class Answer:
    """An HTTP answer: status, headers, and the body as it came and as JSON."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


class Server:
    """A house that is served on a port of its own."""

    def __init__(self, folder: Path, mongo_url: str = "", **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "port": 0,
            "data_dir": folder,
            "mongo_url": mongo_url,
            "presence_grace_seconds": 0.1,
        }
        self.settings = Settings(**{**defaults, **settings})
        self.house: House
        self.port = 0
        self._stack = AsyncExitStack()
        self._people: list[Person] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> Server:
        self.house = await self._stack.enter_async_context(House(self.settings))
        server = HTTPServer(make_application(self.house))
        sockets = bind_sockets(self.port, "127.0.0.1", family=socket.AF_INET)
        self.port = sockets[0].getsockname()[1]
        server.add_sockets(sockets)

        async def stop() -> None:
            server.stop()
            await server.close_all_connections()

        self._stack.push_async_callback(stop)
        return self

    async def close(self) -> None:
        for person in self._people:
            await person.leave()
        await self.house.hub.drain(1.0)
        await self._stack.aclose()

    async def person(self, username: str, **more: Any) -> Person:
        """Somebody who has registered and is signed in."""
        body = {"username": username, "password": PASSWORD, **more}
        answer = await Person(self).asks("POST", "/api/auth/register", body)
        assert answer.status == 201, answer
        return self.holding(answer.json)

    def holding(self, signed_in: dict[str, Any]) -> Person:
        """Somebody by what a sign-in answered."""
        person = Person(self, signed_in["token"], signed_in["user"])
        self._people.append(person)
        return person

    def stranger(self) -> Person:
        """Somebody who is not signed in."""
        person = Person(self)
        self._people.append(person)
        return person


class Person:
    """Somebody with a token, or without one."""

    def __init__(self, server: Server, token: str | None = None, user: dict[str, Any] | None = None) -> None:
        self.server = server
        self.token = token
        self.user = user or {}
        self._chairs: list[Chair] = []

    @property
    def id(self) -> str:
        return str(self.user["id"])

    @property
    def name(self) -> str:
        return str(self.user["username"])

    async def asks(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
        """An HTTP request; a body that is no bytes is sent as JSON."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        request = HTTPRequest(
            self.server.url + path,
            method=method,
            headers={**sent, **(headers or {})},
            body=content,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            request_timeout=PATIENCE_SECONDS,
        )
        response = await AsyncHTTPClient().fetch(request, raise_error=False)
        return Answer(response.code, response.headers, response.body or b"")

    async def opens(self, **body: Any) -> str:
        """A new room; its id."""
        answer = await self.asks("POST", "/api/rooms", body)
        assert answer.status == 201, answer
        return str(answer.json["id"])

    async def sits_in(self, room_id: str, query: str = "", *, greeted: bool = True) -> Chair:
        """A chat socket in a room, greeted."""
        chair = await self._connects(f"/ws/chat/{quote(room_id, safe='')}/{query}")
        if greeted:
            chair.greeting = await chair.hears("connection_established")
        return chair

    async def listens(self, place: str = "", query: str = "") -> Chair:
        """A socket of the permission stream, greeted; ``place`` is what stands behind its address."""
        chair = await self._connects(f"/ws/permissions/{place}{query}")
        chair.greeting = await chair.hears("connection_confirmed")
        return chair

    async def visits_the_doctor(self) -> Chair:
        """A socket of the doctor, greeted."""
        chair = await self._connects("/ws/doctor/")
        chair.greeting = await chair.hears("doctor_greeting")
        return chair

    async def _connects(self, path: str) -> Chair:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = self.server.url.replace("http", "ws", 1) + path
        chair = Chair(await websocket_connect(HTTPRequest(url, headers=headers)))
        self._chairs.append(chair)
        return chair

    async def leave(self) -> None:
        for chair in self._chairs:
            await chair.leaves()


class Chair:
    """A chat socket: what is said into it and heard from it."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self.greeting: dict[str, Any] = {}
        self.heard: list[dict[str, Any]] = []
        """Everything that came, in order."""
        self._is_over = False

    async def _read(self) -> dict[str, Any] | None:
        """The next frame, None once the socket is closed."""
        if self._is_over:
            return None
        text = await asyncio.wait_for(self._connection.read_message(), PATIENCE_SECONDS)
        if text is None:
            self._is_over = True
            return None
        frame: dict[str, Any] = msgspec.json.decode(text)
        self.heard.append(frame)
        return frame

    async def next(self) -> dict[str, Any]:
        """The next frame, whatever it is; fails when the socket closes instead."""
        frame = await self._read()
        assert frame is not None, f"closed with {self._connection.close_code}"
        return frame

    async def hears(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next frame of a type with these fields; others are passed over."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items()):
                return frame

    async def hears_message(self, **fields: Any) -> dict[str, Any]:
        """The next ``chat_message`` or ``message_updated`` whose M has these fields; its M."""
        while True:
            frame = await self.next()
            message = frame.get("message")
            if isinstance(message, dict) and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def sends(self, frame: Any) -> None:
        """A frame as it is: text and bytes unchanged, everything else as JSON."""
        if isinstance(frame, bytes):
            await self._connection.write_message(frame, binary=True)
        else:
            await self._connection.write_message(frame if isinstance(frame, str) else json.dumps(frame))

    async def says(self, content: str, **more: Any) -> dict[str, Any]:
        """A message, acknowledged; its M."""
        client_id = more.pop("client_id", None) or f"c{len(self.heard)}-{content[:20]}"
        await self.sends({"type": "message", "content": content, "client_id": client_id, **more})
        return await self.hears_message(client_id=client_id, is_own=True)

    async def asks(self, frame: dict[str, Any]) -> dict[str, Any]:
        """A frame with a ``ref``; whatever repeats it."""
        ref = f"r{len(self.heard)}"
        await self.sends({**frame, "ref": ref})
        while True:
            answer = await self.next()
            if answer.get("ref") == ref:
                return answer

    async def is_closed(self) -> tuple[int | None, str | None]:
        """Read until the socket is closed; code and reason."""
        while await self._read() is not None:
            pass
        return self._connection.close_code, self._connection.close_reason

    async def leaves(self) -> None:
        """Close, and wait until that is done."""
        self._connection.close()
        await self.is_closed()
