"""The doctor: its page, its socket, and what the server sees of whoever asks (PROTOCOL 2.2, 6)."""

from __future__ import annotations

from typing import Any

import msgspec

from heartlink import __version__
from heartlink.auth import SESSION_COOKIE
from heartlink.connection import Connection
from heartlink.diagnosis import ATTEMPT_CHARS, DoctorPeer
from heartlink.doctor.remedies import PROXIES
from heartlink.errors import SIGNED_OUT, Refusal, StoreUnavailable
from heartlink.handlers.base import (
    XSRF_COOKIE,
    BaseHandler,
    JsonHandler,
    Operation,
    PageHandler,
    describe,
    refusal_record,
)
from heartlink.handlers.pages import TrailingSlash
from heartlink.handlers.sockets import SocketHandler
from heartlink.protocol import HandshakeView, iso

SHOWN_CHARS = 200
SUBPROTOCOLS_SHOWN = 10
PROXY_HEADERS = (
    "Via",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Real-IP",
)


class DoctorPage(PageHandler):
    """What is wrong with the connection, and what to do; for everybody, also while the storage is away."""

    async def prepare(self) -> None:
        """Who looks, as far as that can be found out now."""
        try:
            await super().prepare()
        except StoreUnavailable:
            self.identity = None

    async def get(self) -> None:
        """The page; ``?room=`` names a room to ask about."""
        room_id = self.query_text("room", limit=SHOWN_CHARS)
        self.render_page(
            "doctor.html",
            version=__version__,
            page_origin=f"{self.request.protocol}://{self.request.host}",
            page_data={"version": __version__, "room_id": room_id, "proxies": proxies()},
        )


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of its sender, never the credential itself; ``error`` says why it does not count."""

    by: str
    is_valid: bool
    username: str | None = None
    expires_at: str | None = None
    error: dict[str, Any] | None = None


class PageOriginView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a socket that is opened by cookie from a page of this origin would be let in."""

    origin: str
    is_accepted: bool
    error: dict[str, Any] | None = None


class WhoAmIReply(msgspec.Struct, frozen=True, kw_only=True):
    """How a request arrived at the server, and what it says of its sender."""

    version: str
    server_time: str
    host: str
    origin: str | None
    scheme: str
    address: str
    proxy_headers: list[str]
    has_session_cookie: bool
    has_csrf_cookie: bool
    credential: CredentialView | None
    page: PageOriginView | None
    handshake: HandshakeView | None


class WhoAmIHandler(JsonHandler):
    """What the server sees of a request; a credential that does not count is told, not refused."""

    identifies = False
    operations = describe(
        GET=Operation(
            "How this request arrives: host, scheme, address, cookie and token (never their values).",
            response=WhoAmIReply,
            query={
                "page": "An origin to judge, such as https://chat.example.org.",
                "attempt": "The name an attempt to open /ws/doctor/ was given (?attempt=): how it arrived.",
            },
            needs_sign_in=False,
        )
    )

    async def get(self) -> None:
        """All of it."""
        page = self.query_text("page", limit=SHOWN_CHARS)
        attempt = self.query_text("attempt", limit=ATTEMPT_CHARS)
        self.answer(
            WhoAmIReply(
                version=__version__,
                server_time=iso(self.house.clock()),
                host=self.request.host[:SHOWN_CHARS],
                origin=(self.request.headers.get("Origin") or "")[:SHOWN_CHARS] or None,
                scheme=self.request.protocol,
                address=self.client_address,
                proxy_headers=proxy_headers(self),
                has_session_cookie=self.get_cookie(SESSION_COOKIE) is not None,
                has_csrf_cookie=self.get_cookie(XSRF_COOKIE) is not None,
                credential=await self._credential(),
                page=self._judge(page) if page else None,
                handshake=self.house.diagnosis.recall(attempt) if attempt else None,
            )
        )

    async def _credential(self) -> CredentialView | None:
        by = "bearer" if "Authorization" in self.request.headers else "cookie"
        try:
            identity = await self.identify()
        except Refusal as refusal:
            return CredentialView(by=by, is_valid=False, error=refusal_record(refusal)["error"])
        if identity is None:
            return None
        expires_at = iso(identity.expires_at_ms)
        return CredentialView(by=identity.by, is_valid=True, username=identity.user.username, expires_at=expires_at)

    def _judge(self, origin: str) -> PageOriginView:
        try:
            self.house.auth.door.check_origin(origin, self.request.host, is_https=self.is_https)
        except Refusal as refusal:
            return PageOriginView(origin=origin, is_accepted=False, error=refusal_record(refusal)["error"])
        return PageOriginView(origin=origin, is_accepted=True)


class DoctorSocketHandler(SocketHandler):
    """``/ws/doctor/``: says how the handshake arrived, and sends texts back; for everybody."""

    route = "/ws/doctor/"

    async def enter(self, *parts: str) -> None:
        """Anybody may, while there is room."""
        self.house.diagnosis.check()

    def on_finish(self) -> None:
        """Remember how the handshake arrived, for the page that gave it a name."""
        super().on_finish()
        if self.is_handshake:
            attempt = self.get_query_argument("attempt", "")
            self.house.diagnosis.remember(attempt, handshake_of(self))

    def opened(self, connection: Connection) -> None:
        """Count the connection in and greet it."""
        house, identity = self.house, self.identity
        house.hub.register(connection, self.client_address, identity, self.route)
        peer = DoctorPeer(connection, identity.user if identity else None, house.make_bucket())
        connection.context = peer
        if identity is not None and not house.auth.is_current(identity):
            connection.hang_up(SIGNED_OUT)
            return
        house.diagnosis.arrive(peer, handshake_of(self))

    def received(self, connection: Connection, text: bytes) -> None:
        """A frame from the peer."""
        context = connection.context
        if isinstance(context, DoctorPeer):
            self.house.doctor_dispatcher.received(context, text)

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """A binary frame from the peer."""
        context = connection.context
        if isinstance(context, DoctorPeer):
            self.house.doctor_dispatcher.received_binary(context)


def proxies() -> list[dict[str, Any]]:
    """The proxies with their lines, as the command line prints them."""
    return [
        {
            "name": proxy.name,
            "place": proxy.place,
            "lines": [line._asdict() for line in proxy.lines],
            "by_itself": dict(proxy.by_itself),
        }
        for proxy in PROXIES
    ]


def handshake_of(handler: BaseHandler) -> HandshakeView:
    """A request as it arrived, with the status it was answered with; without any credential."""
    headers = handler.request.headers
    offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    shown = [name[:SHOWN_CHARS] for name in offered if not name.startswith("bearer.")]
    return HandshakeView(
        upgrade=headers.get("Upgrade", "")[:SHOWN_CHARS],
        connection=headers.get("Connection", "")[:SHOWN_CHARS],
        version=headers.get("Sec-WebSocket-Version", "")[:SHOWN_CHARS],
        host=handler.request.host[:SHOWN_CHARS],
        origin=(headers.get("Origin") or "")[:SHOWN_CHARS] or None,
        scheme=handler.request.protocol,
        address=handler.client_address,
        subprotocols=shown[:SUBPROTOCOLS_SHOWN],
        proxy_headers=proxy_headers(handler),
        status=handler.get_status(),
        code=handler.refusal.code if handler.refusal else "",
    )


def proxy_headers(handler: BaseHandler) -> list[str]:
    """The names of the headers that proxies add; their values are nobody's business."""
    return [name for name in PROXY_HEADERS if name in handler.request.headers]


DOCTOR_PAGES: list[tuple[str, Any, str]] = [
    (r"/doctor/", DoctorPage, "what is wrong with the connection"),
    (r"/doctor", TrailingSlash, "what is wrong with the connection"),
    (r"/tools/heart_link/test/", DoctorPage, "the doctor, at an old address"),
    (r"/tools/heart_link/test", TrailingSlash, "the doctor, at an old address"),
    (r"/test-websocket.html", DoctorPage, "the doctor, at an old address"),
]

DOCTOR_AMONG_FILES = (r"/static/websocket_fix_test.html", DoctorPage, "the doctor, at an old address")
"""It stands before the files there, which Tornado puts before every other address."""

DOCTOR_ROUTES = [(r"/api/doctor/whoami", WhoAmIHandler, "how a request arrives here")]

DOCTOR_SOCKETS = [(r"/ws/doctor/?", DoctorSocketHandler, "what is sent comes back")]
