"""OpenAPI and AsyncAPI documents and the list of routes, generated from the code's own types and the URL table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from heartlink import __version__
from heartlink.handlers.base import Operation
from heartlink.protocol import (
    CHAT_COMMANDS,
    CHAT_EVENTS,
    DOCTOR_COMMANDS,
    DOCTOR_EVENTS,
    PERMISSION_COMMANDS,
    PERMISSION_EVENTS,
    Command,
    Event,
)

OPENAPI_VERSION = "3.1.0"
ASYNCAPI_VERSION = "3.0.0"
VARIABLE = re.compile(r"\([^)]*\)")
SCHEMAS = "#/components/schemas/{name}"

PARAMETER_NAMES: Mapping[str, str] = {
    "rooms": "room_id",
    "chat": "room_id",
    "members": "user_id",
    "messages": "message_id",
    "files": "file_id",
    "uploads": "upload_id",
    "reactions": "emoji",
    "mutes": "user_id",
    "bans": "user_id",
    "invites": "code",
    "invite": "code",
    "users": "user_id",
    "roles": "key",
    "groups": "key",
    "menus": "key",
    "grants": "grant_id",
    "audit": "version",
    "setup": "token",
    "connections": "connection_id",
    "permissions": "user_id",
}
"""How the variable part behind a word of an address is called."""


class Route(NamedTuple):
    """One row of the URL table: its pattern, its handler, what it is, and of which kind."""

    pattern: str
    handler: Any
    summary: str
    kind: Literal["page", "rest", "socket"]

    @property
    def path(self) -> str:
        """The address with its variable parts in braces."""
        parts = VARIABLE.sub("*", self.pattern.removesuffix("/?")).split("/")
        named = [
            "{" + PARAMETER_NAMES.get(before, "name") + "}" if part == "*" else part
            for before, part in zip(["", *parts], parts, strict=False)
        ]
        path = "/".join(named) or "/"
        return path + "/" if self.pattern.endswith("/?") else path

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What its methods take and give."""
        found: Mapping[str, Operation] = getattr(self.handler, "operations", {})
        return found


def routes_reply(routes: Sequence[Route]) -> dict[str, Any]:
    """Every page, REST and socket route: path, kind, methods, what it is."""
    return {
        "routes": [
            {
                "path": route.path,
                "kind": route.kind,
                "methods": list(route.operations) or ["GET"],
                "summary": route.summary,
            }
            for route in routes
        ]
    }


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """The REST addresses as an OpenAPI document."""
    rest = [route for route in routes if route.kind == "rest"]
    types = [
        kind
        for route in rest
        for operation in route.operations.values()
        for kind in (operation.request, operation.response)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    _, components = msgspec.json.schema_components([*dict.fromkeys(types), ErrorReply], ref_template=SCHEMAS)
    components["RoomView"]["properties"]["last_message"] = _one_of(_ref("Message"), {"type": "null"})
    for page in ("HistoryPage", "SearchPage"):
        components[page]["properties"]["messages"]["items"] = _ref("Message")
    components["Message"]["properties"] |= {name: {"type": "boolean"} for name in ("is_own", "is_read", "duplicate")}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "HeartLink", "version": __version__},
        "paths": {route.path: _path_item(route) for route in rest},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "heartlink_session"},
            },
        },
        "security": [{"bearer": []}, {"cookie": []}],
    }


class ErrorDetail(msgspec.Struct, frozen=True):
    """Why something was refused, and what to do."""

    code: str
    message: str
    fix: str
    fields: dict[str, str] | None = None
    retry_after: float | None = None
    decision_id: str | None = None
    request_id: str | None = None


class ErrorReply(msgspec.Struct, frozen=True):
    """Every refusal over HTTP."""

    error: ErrorDetail


def _path_item(route: Route) -> dict[str, Any]:
    item: dict[str, Any] = {
        method.lower(): _operation(route, operation) for method, operation in route.operations.items()
    }
    names = re.findall(r"\{(\w+)\}", route.path)
    if names:
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return item


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.response is not None:
        answer["content"] = _json(_schema(operation.response))
    refused = {"description": "Refused.", "content": _json(_ref("ErrorReply"))}
    statuses = {400, 429, 503, *operation.errors, *((401,) if operation.needs_sign_in else ())}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [route.path.split("/")[2] if route.path.startswith("/api/") else "operation"],
        "responses": {
            **{str(status): answer for status in (operation.status, *operation.also)},
            **{str(status): refused for status in sorted(statuses)},
        },
    }
    if operation.request is not None:
        described["requestBody"] = {"content": _json(_schema(operation.request))}
    if operation.query:
        described["parameters"] = [
            {"name": name, "in": "query", "description": about, "schema": {"type": "string"}}
            for name, about in operation.query.items()
        ]
    if not operation.needs_sign_in:
        described["security"] = []
    return described


class Channel(NamedTuple):
    """One kind of socket: the handlers' word in their address, and what travels both ways."""

    name: str
    word: str
    commands: tuple[type[Command], ...]
    events: tuple[type[Event], ...]


CHANNELS: Final = (
    Channel("chat", "chat", CHAT_COMMANDS, CHAT_EVENTS),
    Channel("permissions", "permissions", PERMISSION_COMMANDS, PERMISSION_EVENTS),
    Channel("doctor", "doctor", DOCTOR_COMMANDS, DOCTOR_EVENTS),
)

PARAMETERS: Final = MappingProxyType({"room_id": "The room's id.", "user_id": "The user's id."})


def asyncapi(routes: Sequence[Route]) -> dict[str, Any]:
    """The sockets as an AsyncAPI document; addresses with other variable parts are channels of their own."""
    kinds = tuple(dict.fromkeys(kind for channel in CHANNELS for kind in (*channel.commands, *channel.events)))
    _, components = msgspec.json.schema_components(kinds, ref_template=SCHEMAS)
    components["Message"]["properties"] |= {"is_own": {"type": "boolean"}, "is_read": {"type": "boolean"}}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        for route in routes:
            if route.kind == "socket" and route.path.split("/")[2] == channel.word:
                name = "_".join([channel.name, *(word.strip("{}") for word in route.path.split("/")[3:] if word)])
                name = channel.name if channel.name == "chat" else name
                channels[name] = _channel(route, channel)
                prefix = "" if channel.name == "chat" else f"{name}_"
                operations[f"{prefix}send"] = _direction("receive", name, channel.commands)
                operations[f"{prefix}hear"] = _direction("send", name, channel.events)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {"title": "HeartLink", "version": __version__},
        "channels": channels,
        "operations": operations,
        "components": {"messages": {kind.__name__: _message(kind) for kind in kinds}, "schemas": components},
    }


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": kind.__struct_config__.tag,
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "payload": _ref(kind.__name__),
    }


def _channel(route: Route, channel: Channel) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": route.path,
        "messages": {
            kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}
            for kind in (*channel.commands, *channel.events)
        },
    }
    names = re.findall(r"\{(\w+)\}", route.path)
    if names:
        described["parameters"] = {name: {"description": PARAMETERS[name]} for name in names}
    return described


def _direction(action: str, channel: str, kinds: Sequence[type]) -> dict[str, Any]:
    """An operation from the server's chair, as AsyncAPI counts it."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in kinds],
    }


def _schema(kind: Any) -> dict[str, Any]:
    return _ref(kind.__name__) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else {"type": "object"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": SCHEMAS.format(name=name)}


def _one_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": list(schemas)}
