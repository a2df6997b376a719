"""The socket addresses: everything is checked at the door, and every refusal explains itself (PROTOCOL 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
from tornado.web import HTTPError

from heartlink.auth import subprotocols
from heartlink.chat import LiveRoom, Peer, Resume
from heartlink.connection import Connection, ConnectionLimits, Flusher
from heartlink.errors import (
    INTERNAL_FAREWELL,
    SIGNED_OUT,
    Refusal,
    StoreFault,
    draining,
    not_found,
    store_unavailable,
    unknown_socket_route,
    unknown_socket_version,
    upgrade_headers_lost,
)
from heartlink.handlers.base import BaseHandler, Operation, describe, refusal_record
from heartlink.handlers.websocket import PeerSocketHandler
from heartlink.model import RoomId, User, UserId
from heartlink.protocol import MAX_INTEGER
from heartlink.streams import Resume as VersionResume
from heartlink.streams import StreamPeer

SUBPROTOCOL = "heartlink.v1"
VERSION = "13"
EPOCH_CHARS = 64


class WouldReply(msgspec.Struct, frozen=True):
    """What an upgrade by this caller would get, and why."""

    websocket: bool
    would: int
    error: dict[str, object] | None
    route: str


class SocketHandler(BaseHandler, PeerSocketHandler):
    """A socket address: ``enter`` checks everything, before the upgrade; a plain GET hears what it would get."""

    route: ClassVar[str]
    operations: ClassVar[Mapping[str, Operation]] = describe(
        GET=Operation("Upgrade to a WebSocket; a plain GET is told what an upgrade would get.", WouldReply, status=426)
    )

    async def get(self, *parts: str) -> None:
        """Upgrade, or explain."""
        upgrade = self.wants_upgrade
        try:
            self._check_version(upgrade)
            await self._check_door(upgrade)
            await self.enter(*parts)
            self._check_room_for_one_more()
        except (Refusal, HTTPError) as error:
            self._refuse(self.refusal_of(error), upgrade)
        except StoreFault:
            self._refuse(store_unavailable(), upgrade)
        else:
            if upgrade:
                await super().get()
            else:
                self._explain(101, None)

    async def enter(self, *parts: str) -> None:
        """Check the right to be here; raises the Refusal that keeps this caller out."""
        raise NotImplementedError

    def _check_version(self, upgrade: bool) -> None:
        if upgrade and self.request.headers.get("Sec-WebSocket-Version") != VERSION:
            self.set_header("Sec-WebSocket-Version", VERSION)
            raise unknown_socket_version(self.request.headers.get("Sec-WebSocket-Version", ""))

    async def _check_door(self, upgrade: bool) -> None:
        """Who is it, from where, and is there room?"""
        if self.house.draining:
            raise draining()
        query_token = self.get_query_argument("token", None)
        self.identity = await self.identify(query_token, spend=upgrade)
        if self.identity is not None and self.identity.by == "cookie" and upgrade:
            origin = self.request.headers.get("Origin") or self.request.headers.get("Sec-WebSocket-Origin")
            self.house.auth.door.check_origin(origin, self.request.host, is_https=self.is_https)
        self._check_room_for_one_more()

    def _check_room_for_one_more(self) -> None:
        # Asked first to spare the work, and again at the last step: others may have come in meanwhile.
        self.house.hub.admit(self.client_address, self.identity.user.id if self.identity else None)

    def _refuse(self, refusal: Refusal, upgrade: bool) -> None:
        if upgrade:
            self.answer_refusal(refusal)
        else:
            self._explain(refusal.status, refusal)

    def _explain(self, would: int, refusal: Refusal | None) -> None:
        if self.is_handshake:
            headers = self.request.headers
            self.refusal = upgrade_headers_lost(headers.get("Upgrade", ""), headers.get("Connection", ""))
        self.set_header("Upgrade", "websocket")
        self.set_header("Connection", "Upgrade")
        error = refusal_record(refusal, self.request_id)["error"] if refusal else None
        self.answer(WouldReply(True, would, error, self.route), 426)

    def check_origin(self, origin: str) -> bool:
        """The door has judged the origin already, where it matters."""
        return True

    def select_subprotocol(self, offered: list[str]) -> str | None:
        """Ours when it is offered, else the first that is no token: a browser drops a socket without an answer."""
        names = [name for name in subprotocols(self.request.headers) if not name.startswith("bearer.")]
        return SUBPROTOCOL if SUBPROTOCOL in names else next(iter(names), None)

    def limits(self) -> ConnectionLimits:
        """What one peer may cost."""
        return self.house.connection_limits

    def flusher(self) -> Flusher:
        """The flusher of this event loop."""
        return self.house.hub.flusher


class ChatSocketHandler(SocketHandler):
    """``/ws/chat/<room_id>/``: a room's talk (PROTOCOL 3)."""

    route = "/ws/chat/{room_id}/"

    _live: LiveRoom
    _resume: Resume | None

    async def enter(self, *parts: str) -> None:
        """Members only, or guests where a grant says so; the query says where a client left off."""
        self._resume = self._read_resume()
        user = self.identity.user if self.identity else None
        async with self.house.live_rooms.use(RoomId(parts[0])) as live:
            self.house.arrivals.check(live, user)
            self._live = live

    def _read_resume(self) -> Resume | None:
        since = self.query_integer("since", None, 0, MAX_INTEGER)
        epoch = self.query_text("epoch", "", EPOCH_CHARS) or None
        return None if since is None else Resume(since, epoch)

    def opened(self, connection: Connection) -> None:
        """Count the connection in and bring it up to date."""
        house, identity = self.house, self.identity
        house.hub.register(connection, self.client_address, identity, self.route, self._live.id)
        peer = Peer(connection, self._live, identity.user if identity else None, house.make_bucket())
        connection.context = peer
        if identity is not None and not house.auth.is_current(identity):
            connection.hang_up(SIGNED_OUT)
            return
        if not house.live_rooms.is_current(self._live):
            connection.hang_up(INTERNAL_FAREWELL)
            return
        house.arrivals.arrive(peer, self._resume)

    def received(self, connection: Connection, text: bytes) -> None:
        """A frame from the peer."""
        context = connection.context
        if isinstance(context, Peer):
            context.when_in(lambda: self.house.chat_dispatcher.received(context, text))

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """A binary frame from the peer."""
        context = connection.context
        if isinstance(context, Peer):
            context.when_in(lambda: self.house.chat_dispatcher.received_binary(context))


class PermissionSocketHandler(SocketHandler):
    """``/ws/permissions/``: one's own rights, menus and notifications; anonymous without a credential (PROTOCOL 4)."""

    route = "/ws/permissions/"

    _subject: User | None
    _resume: VersionResume | None

    async def enter(self, *parts: str) -> None:
        """Anybody may; the query says which version a client has."""
        self._resume = self._read_resume()
        self._subject = await self.find_subject(*parts)
        self.house.streams.check(self._user, self._subject.id if self._subject else None)

    async def find_subject(self, *parts: str) -> User | None:
        """Whose stream is asked for; None: that of whoever is not signed in."""
        return self._user

    @property
    def _user(self) -> User | None:
        return self.identity.user if self.identity else None

    def _read_resume(self) -> VersionResume | None:
        since = self.query_integer("since", None, 0, MAX_INTEGER)
        epoch = self.query_text("epoch", "", EPOCH_CHARS) or None
        return None if since is None else VersionResume(since, epoch)

    def opened(self, connection: Connection) -> None:
        """Count the connection in and bring it up to date."""
        house, identity = self.house, self.identity
        house.hub.register(connection, self.client_address, identity, self.route)
        peer = StreamPeer(connection, self._user, self._subject, house.make_bucket())
        connection.context = peer
        if identity is not None and not house.auth.is_current(identity):
            connection.hang_up(SIGNED_OUT)
            return
        house.streams.arrive(peer, self._resume)

    def received(self, connection: Connection, text: bytes) -> None:
        """A frame from the peer."""
        context = connection.context
        if isinstance(context, StreamPeer):
            self.house.permission_dispatcher.received(context, text)

    def received_binary(self, connection: Connection, payload: bytes) -> None:
        """A binary frame from the peer."""
        context = connection.context
        if isinstance(context, StreamPeer):
            self.house.permission_dispatcher.received_binary(context)


class UserPermissionSocketHandler(PermissionSocketHandler):
    """``/ws/permissions/<user_id>/``: a user's stream, for them and for those who hold ``permissions.watch``."""

    route = "/ws/permissions/{user_id}/"

    async def find_subject(self, *parts: str) -> User | None:
        """The user of the address; whether they exist is told only to those who may watch."""
        user_id = UserId(parts[0])
        self.house.streams.check(self._user, user_id)
        subject = await self.house.users.get(user_id)
        if subject is None:
            raise not_found("This user", "Look at the id in the address.")
        return subject


class AnonymousPermissionSocketHandler(PermissionSocketHandler):
    """``/ws/permissions/anonymous/``: what those may who are not signed in."""

    route = "/ws/permissions/anonymous/"

    async def find_subject(self, *parts: str) -> User | None:
        """Nobody; whoever has shown a valid credential is not asked for it here."""
        self.identity = None
        return None


class UnknownSocketHandler(BaseHandler):
    """Every ``/ws/…`` address that does not exist: 404 with those that do."""

    def initialize(self, routes: tuple[str, ...]) -> None:
        """Keep what to list."""
        self._routes = routes

    async def get(self, *parts: str) -> None:
        """Say which sockets there are."""
        raise unknown_socket_route(self.request.path, self._routes)


SOCKET_ROUTES = [
    (r"/ws/chat/([^/]+)/?", ChatSocketHandler, "a room's talk"),
    (r"/ws/permissions/?", PermissionSocketHandler, "one's own rights, menus and notifications, live"),
    (r"/ws/permissions/anonymous/?", AnonymousPermissionSocketHandler, "the rights of whoever is not signed in, live"),
    (r"/ws/permissions/([^/]+)/?", UserPermissionSocketHandler, "a user's rights, menus and notifications, live"),
]
