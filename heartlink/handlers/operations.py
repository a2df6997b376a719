"""Addresses for operators and for programs that want to know what there is (PROTOCOL 5)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from heartlink.errors import draining, store_unavailable, unauthenticated
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.handlers.description import Route, asyncapi, openapi, routes_reply
from heartlink.settings import is_loopback

FORWARDED_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")


class HealthReply(msgspec.Struct, frozen=True):
    """One word."""

    status: str


class AliveReply(HealthReply, frozen=True):
    """One word, and which process says it: a name that is new with each start."""

    instance: str


class AliveHandler(JsonHandler):
    """Whether the process answers."""

    identifies = False
    operations = describe(GET=Operation("Alive.", response=AliveReply, needs_sign_in=False))

    async def get(self) -> None:
        """Alive."""
        self.answer(AliveReply("ok", self.application.settings["instance"]))


class ReadyHandler(JsonHandler):
    """Whether the store takes messages."""

    identifies = False
    operations = describe(
        GET=Operation("The store can be reached.", response=HealthReply, errors=(503,), needs_sign_in=False)
    )

    async def get(self) -> None:
        """Ready, or 503 with the reason."""
        if self.house.draining:
            raise draining()
        if not self.house.health.is_up:
            raise store_unavailable()
        self.answer(HealthReply("ok"))


class MetricsHandler(JsonHandler):
    """What an operator watches: for whoever shows the metrics token, for administrators, and without such a token for
    this machine itself."""

    identifies = False
    operations = describe(
        GET=Operation(
            "What an operator watches, in the text format of Prometheus; for this machine, or with --metrics-token.",
            errors=(401, 403),
            needs_sign_in=False,
        )
    )

    async def get(self) -> None:
        """All families."""
        if not self._is_local() and not self._shows_token():
            await self._check_administrator()
        content, media_type = self.house.metrics.render(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", media_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(content)

    def _is_local(self) -> bool:
        """Whether this machine itself asks, and nobody through it: proxies say for whom they ask."""
        is_forwarded = any(name in self.request.headers for name in FORWARDED_HEADERS)
        return not self.house.settings.metrics_token and not is_forwarded and is_loopback(self.client_address)

    def _shows_token(self) -> bool:
        token = self.house.settings.metrics_token
        scheme, _, shown = self.request.headers.get("Authorization", "").strip().partition(" ")
        is_same = hmac.compare_digest(shown.strip().encode(), token.encode())
        return bool(token) and scheme.lower() == "bearer" and is_same

    async def _check_administrator(self) -> None:
        self.identity = await self.identify()
        if self.identity is None:
            raise unauthenticated(
                "The metrics are for operators.",
                "Send 'Authorization: Bearer …' with the server's --metrics-token, or ask from the server's machine.",
            )
        self.house.administration.need(self.identity)


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
