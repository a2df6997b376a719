"""What the server says of itself: OpenAPI, AsyncAPI and the list of routes, held against the code (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from heartlink.dispatch import ChatDispatcher
from heartlink.handlers import routes
from heartlink.protocol import (
    CHAT_COMMANDS,
    CHAT_EVENTS,
    DOCTOR_COMMANDS,
    DOCTOR_EVENTS,
    PERMISSION_COMMANDS,
    PERMISSION_EVENTS,
)
from tests.actors import Person
from tests.conftest import Serve

pytestmark = pytest.mark.gen_test

# PROTOCOL 5, as far as accounts, rooms and messages go.
PROMISED = [
    ("POST", "/api/auth/register"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/logout"),
    ("POST", "/api/auth/refresh"),
    ("POST", "/api/auth/password"),
    ("GET", "/api/me"),
    ("PATCH", "/api/me"),
    ("GET", "/api/users"),
    ("GET", "/api/users/{user_id}"),
    ("POST", "/api/ws-ticket"),
    ("GET", "/api/rooms"),
    ("POST", "/api/rooms"),
    ("GET", "/api/rooms/{room_id}"),
    ("PATCH", "/api/rooms/{room_id}"),
    ("DELETE", "/api/rooms/{room_id}"),
    ("POST", "/api/rooms/{room_id}/members"),
    ("PATCH", "/api/rooms/{room_id}/members/{user_id}"),
    ("DELETE", "/api/rooms/{room_id}/members/{user_id}"),
    ("POST", "/api/rooms/{room_id}/invites"),
    ("GET", "/api/invites/{code}"),
    ("POST", "/api/invites/{code}"),
    ("DELETE", "/api/invites/{code}"),
    ("GET", "/api/rooms/{room_id}/messages"),
    ("POST", "/api/rooms/{room_id}/messages"),
    ("PATCH", "/api/rooms/{room_id}/messages/{message_id}"),
    ("DELETE", "/api/rooms/{room_id}/messages/{message_id}"),
    ("PUT", "/api/rooms/{room_id}/messages/{message_id}/reactions/{emoji}"),
    ("DELETE", "/api/rooms/{room_id}/messages/{message_id}/reactions/{emoji}"),
    ("POST", "/api/rooms/{room_id}/read"),
    ("GET", "/api/doctor/whoami"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/routes"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/asyncapi.json"),
]


async def described(serve: Serve, path: str) -> dict[str, Any]:
    server = await serve()
    answer = await server.stranger().asks("GET", path)
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("application/json")
    found: dict[str, Any] = answer.json
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        document = document[step]
    return document


def assert_resolved(document: Any) -> None:
    found = list(references(document))
    assert len(found) > 20
    for reference in found:
        target = resolve(document, reference)
        assert target, reference


ALL_IS_WELL = {
    ("post", "/api/rooms/{room_id}/messages"): {"200", "201"},
    ("post", "/api/rooms/{room_id}/files"): {"200", "201"},
    ("get", "/files/{file_id}/{name}"): {"200", "206", "304"},
    ("get", "/files/{file_id}/thumbnail"): {"200", "206", "304"},
}


async def test_openapi_describes_every_rest_address_and_nothing_else(serve: Serve) -> None:
    document = await described(serve, "/api/openapi.json")
    assert document["openapi"].startswith("3.1") and document["info"]["title"] == "HeartLink"
    assert_resolved(document)
    operations = {(method.upper(), path) for path, item in document["paths"].items() for method in item} - {
        ("PARAMETERS", path) for path in document["paths"]
    }
    assert {(method, path) for method, path in PROMISED} <= operations
    in_table = {(method, route.path) for route in routes() if route.kind == "rest" for method in route.operations}
    assert operations == in_table
    for path, item in document["paths"].items():
        names = {parameter["name"] for parameter in item.get("parameters", ())}
        assert names == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        for method in set(item) - {"parameters"}:
            assert item[method]["summary"].endswith(".") and item[method]["responses"], (method, path)
    for (method, path), answers in ALL_IS_WELL.items():
        assert answers <= set(document["paths"][path][method]["responses"]), path
    error = document["components"]["schemas"]["ErrorDetail"]
    assert {"code", "message", "fix"} <= set(error["required"])


async def test_asyncapi_describes_every_frame_of_every_socket(serve: Serve) -> None:
    document = await described(serve, "/api/asyncapi.json")
    assert document["asyncapi"].startswith("3.")
    assert_resolved(document)
    addresses = {channel["address"]: channel for channel in document["channels"].values()}
    assert set(addresses) == {route.path for route in routes() if route.kind == "socket"}
    for word, kinds in (
        ("chat", (*CHAT_COMMANDS, *CHAT_EVENTS)),
        ("permissions", (*PERMISSION_COMMANDS, *PERMISSION_EVENTS)),
        ("doctor", (*DOCTOR_COMMANDS, *DOCTOR_EVENTS)),
    ):
        for address, channel in addresses.items():
            if address.split("/")[2] == word:
                messages = [resolve(document, message["$ref"]) for message in channel["messages"].values()]
                assert {message["name"] for message in messages} == {kind.__struct_config__.tag for kind in kinds}
                for message in messages:
                    payload = resolve(document, message["payload"]["$ref"])
                    assert payload["properties"]["type"]["enum"] == [message["name"]]


async def test_every_route_of_the_table_is_listed_and_exists(serve: Serve) -> None:
    server = await serve()
    nobody = server.stranger()
    listed = (await nobody.asks("GET", "/api/routes")).json["routes"]
    assert {(route["path"], route["kind"]) for route in listed} == {(route.path, route.kind) for route in routes()}
    assert {"/", "/login", "/register", "/chat/{room_id}/"} <= {r["path"] for r in listed if r["kind"] == "page"}
    for route in listed:
        assert route["summary"] and route["methods"]
        answers = await asyncio.gather(*(nothing_at(nobody, method, route["path"]) for method in route["methods"]))
        assert not any(answers), route


async def nothing_at(nobody: Person, method: str, path: str) -> bool:
    """Whether no handler stands behind an address; a handler may find nothing of that id, but it knows the method."""
    answer = await nobody.asks(method, path.replace("{", "").replace("}", ""))
    return answer.status in (405, 500) or b"This address does not exist" in answer.body


async def test_every_command_has_somebody_who_does_it(serve: Serve) -> None:
    server = await serve()
    chat = server.house.chat_dispatcher
    assert isinstance(chat, ChatDispatcher) and set(chat.table) == set(CHAT_COMMANDS)
    assert set(server.house.permission_dispatcher.table) == set(PERMISSION_COMMANDS)
    assert set(server.house.doctor_dispatcher.table) == set(DOCTOR_COMMANDS)


async def test_health_says_one_word_and_needs_no_sign_in(serve: Serve) -> None:
    server = await serve()
    nobody = server.stranger()
    for path in ("/healthz", "/readyz"):
        answer = await nobody.asks("GET", path, headers={"Authorization": "Bearer nonsense"})
        assert (answer.status, answer.json["status"]) == (200, "ok")
    server.house.health.is_up = False
    assert (await nobody.asks("GET", "/healthz")).status == 200
    down = await nobody.asks("GET", "/readyz")
    assert (down.status, down.code) == (503, "store_unavailable") and down.headers["Retry-After"]
