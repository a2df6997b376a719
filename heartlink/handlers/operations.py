"""Addresses for operators and for programs that want to know what there is (PROTOCOL 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from heartlink.errors import store_unavailable
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.handlers.description import Route, asyncapi, openapi, routes_reply


class HealthReply(msgspec.Struct, frozen=True):
    """One word."""

    status: str


class AliveHandler(JsonHandler):
    """Whether the process answers."""

    identifies = False
    operations = describe(GET=Operation("Alive.", response=HealthReply, needs_sign_in=False))

    async def get(self) -> None:
        """Alive."""
        self.answer(HealthReply("ok"))


class ReadyHandler(JsonHandler):
    """Whether the store takes messages."""

    identifies = False
    operations = describe(
        GET=Operation("The store can be reached.", response=HealthReply, errors=(503,), needs_sign_in=False)
    )

    async def get(self) -> None:
        """Ready, or 503 with the reason."""
        if self.house.draining:
            raise store_unavailable()
        if not self.house.health.is_up:
            raise store_unavailable()
        self.answer(HealthReply("ok"))


class DescribingHandler(JsonHandler):
    """An address that describes the others."""

    identifies = False

    def initialize(self, routes: tuple[Route, ...]) -> None:
        """Keep what to describe."""
        self.routes = routes


class RoutesHandler(DescribingHandler):
    """Every page, REST and socket route."""

    operations = describe(GET=Operation("Every page, REST and socket route.", needs_sign_in=False))

    async def get(self) -> None:
        """The list."""
        self.answer(routes_reply(self.routes))


class OpenApiHandler(DescribingHandler):
    """The REST addresses, as OpenAPI."""

    operations = describe(GET=Operation("This description.", response=Mapping[str, Any], needs_sign_in=False))

    async def get(self) -> None:
        """OpenAPI 3.1."""
        self.answer(openapi(self.routes))


class AsyncApiHandler(DescribingHandler):
    """The sockets, as AsyncAPI."""

    operations = describe(GET=Operation("The sockets, as AsyncAPI.", response=Mapping[str, Any], needs_sign_in=False))

    async def get(self) -> None:
        """AsyncAPI 3.0."""
        self.answer(asyncapi(self.routes))
