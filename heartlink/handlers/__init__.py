"""The whole URL table on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import tornado.locale

from heartlink.handlers.accounts import ACCOUNT_ROUTES
from heartlink.handlers.base import ApiNotFoundHandler, Application
from heartlink.handlers.connections import CONNECTION_ROUTES
from heartlink.handlers.description import Route
from heartlink.handlers.doctor import DOCTOR_AMONG_FILES, DOCTOR_PAGES, DOCTOR_ROUTES, DOCTOR_SOCKETS
from heartlink.handlers.echo import EchoSocketHandler
from heartlink.handlers.files import DOWNLOAD_ROUTES
from heartlink.handlers.messages import MESSAGE_ROUTES
from heartlink.handlers.moderation import MODERATION_ROUTES
from heartlink.handlers.operations import (
    AliveHandler,
    AsyncApiHandler,
    MetricsHandler,
    OpenApiHandler,
    ReadyHandler,
    RoutesHandler,
)
from heartlink.handlers.oversight import OVERSIGHT_ROUTES
from heartlink.handlers.pages import PAGE_ROUTES, StaticFiles
from heartlink.handlers.policy import POLICY_ROUTES
from heartlink.handlers.questions import QUESTION_ROUTES
from heartlink.handlers.rooms import ROOM_ROUTES
from heartlink.handlers.setup import SETUP_ROUTES
from heartlink.handlers.sockets import SOCKET_ROUTES, UnknownSocketHandler
from heartlink.handlers.tus import TUS_ROUTES
from heartlink.handlers.uploads import UPLOAD_ROUTES

if TYPE_CHECKING:
    from heartlink.house import House

PACKAGE: Final = Path(__file__).parent.parent

OPERATION_ROUTES: Final = [
    (r"/healthz", AliveHandler, "alive"),
    (r"/readyz", ReadyHandler, "the store can be reached"),
    (r"/metrics", MetricsHandler, "what an operator watches, for Prometheus"),
    (r"/api/routes", RoutesHandler, "this list"),
    (r"/api/openapi.json", OpenApiHandler, "REST, as OpenAPI"),
    (r"/api/asyncapi.json", AsyncApiHandler, "sockets, as AsyncAPI"),
]

REST_ROUTES: Final = [
    *OPERATION_ROUTES,
    *DOCTOR_ROUTES,
    *ACCOUNT_ROUTES,
    *ROOM_ROUTES,
    *MESSAGE_ROUTES,
    *MODERATION_ROUTES,
    *UPLOAD_ROUTES,
    *TUS_ROUTES,
    *DOWNLOAD_ROUTES,
    *QUESTION_ROUTES,
    *POLICY_ROUTES,
    *OVERSIGHT_ROUTES,
    *CONNECTION_ROUTES,
]

DESCRIBING: Final = (RoutesHandler, OpenApiHandler, AsyncApiHandler)


def routes() -> tuple[Route, ...]:
    """Every page, REST and socket route."""
    return (
        *_of_kind("page", [*PAGE_ROUTES, *SETUP_ROUTES, *DOCTOR_PAGES, DOCTOR_AMONG_FILES]),
        *_of_kind("rest", REST_ROUTES),
        *_of_kind("socket", [*SOCKET_ROUTES, *DOCTOR_SOCKETS]),
    )


def _of_kind(kind: Literal["page", "rest", "socket"], rows: Sequence[tuple[str, Any, str]]) -> list[Route]:
    return [Route(pattern, handler, summary, kind) for pattern, handler, summary in rows]


def make_application(house: House) -> Application:
    """The application that answers every address for a house."""
    tornado.locale.load_translations(str(PACKAGE / "locale"))
    table = routes()
    sockets = tuple(route.path for route in table if route.kind == "socket")
    specs: list[Any] = [
        (route.pattern, route.handler, {"routes": table}) if route.handler in DESCRIBING else route[:2]
        for route in table
    ]
    if house.settings.echo_route:
        specs.append((r"/ws/echo/?", EchoSocketHandler))
    specs += [
        (r"/ws(/.*)?", UnknownSocketHandler, {"routes": sockets}),
        (r"/api(?:/.*)?", ApiNotFoundHandler),
    ]
    application = Application(
        house,
        specs,
        static_path=str(PACKAGE / "static"),
        static_handler_class=StaticFiles,
        template_path=str(PACKAGE / "templates"),
    )
    application.add_handlers(r".*", [DOCTOR_AMONG_FILES[:2]])
    # A handler of several addresses counts under the first.
    application.paths = {route.handler: route.path for route in reversed(table)} | {StaticFiles: "/static/"}
    return application
