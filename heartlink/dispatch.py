"""The table from frame type to handler, and the boundary at which refusals and failures become frames."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from heartlink.auth import Auth, Credential
from heartlink.chat import Around, Peer, Talk
from heartlink.connection import Connection
from heartlink.errors import (
    TOO_MANY,
    Refusal,
    StoreFault,
    internal_error,
    rate_limited,
    store_unavailable,
    unauthenticated,
    unsupported_data,
)
from heartlink.hub import Hub, frame_of
from heartlink.protocol import (
    CHAT_COMMANDS,
    BadFrame,
    Command,
    CommandReader,
    DeleteMessage,
    EditMessage,
    Event,
    Heartbeat,
    HeartbeatAck,
    HeartbeatAckReply,
    HeartbeatResponse,
    NewMessage,
    OnlineStatus,
    Ping,
    Pong,
    React,
    ReadStatus,
    Reauth,
    ReauthOk,
    SendMessage,
    Typing,
    error_frame,
    iso,
)

logger = logging.getLogger(__name__)

REFUSALS_IN_A_ROW: Final = 200
"""After this many refusals for sending too fast the peer is hung up on."""

Handler = Callable[[Peer, Any], Event | None]


class ChatDispatcher:
    """Hands the frames of chat sockets to whoever does what they ask."""

    def __init__(
        self,
        talk: Talk,
        around: Around,
        hub: Hub,
        auth: Auth,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._hub = hub
        self._auth = auth
        self._clock = clock
        self._spawn = spawn
        self._reader = CommandReader(CHAT_COMMANDS, default=SendMessage)
        self.table: dict[type[Command], Handler] = {
            SendMessage: talk.say,
            EditMessage: talk.edit,
            DeleteMessage: talk.delete,
            React: talk.react,
            Typing: around.typing,
            ReadStatus: around.read,
            OnlineStatus: around.show,
            NewMessage: around.notice,
            Heartbeat: self._heartbeat,
            HeartbeatAck: self._heartbeat_ack,
            Ping: self._ping,
            Reauth: self._reauth,
        }

    def received(self, peer: Peer, text: bytes) -> None:
        """Do what a frame asks; its answer, if it has one of its own, is queued at once."""
        try:
            command = self._reader.decode(text)
        except BadFrame as bad:
            if self._is_within_rate(peer, bad.ref, bad.client_id):
                self._refuse(peer, bad.refusal, bad.ref, bad.client_id)
            return
        ref, client_id = command.ref, command.client_id if isinstance(command, SendMessage) else None
        if not self._is_within_rate(peer, ref, client_id):
            return
        try:
            reply = self.table[type(command)](peer, command)
        except Refusal as refusal:
            self._refuse(peer, refusal, ref, client_id)
        except Exception:
            logger.exception("a frame on connection %s failed", peer.connection.id)
            self._refuse(peer, internal_error(), ref, client_id)
        else:
            if reply is not None:
                peer.connection.push(frame_of(reply))

    def received_binary(self, peer: Peer) -> None:
        """Refuse a binary frame."""
        if self._is_within_rate(peer):
            self._refuse(peer, unsupported_data())

    def _is_within_rate(self, peer: Peer, ref: str | None = None, client_id: str | None = None) -> bool:
        wait_seconds = peer.bucket.take(time.monotonic())
        if not wait_seconds:
            peer.refusals = 0
            return True
        peer.refusals += 1
        if peer.refusals >= REFUSALS_IN_A_ROW:
            peer.connection.hang_up(TOO_MANY)
        else:
            self._refuse(peer, rate_limited(round(wait_seconds, 3)), ref, client_id)
        return False

    def _refuse(self, peer: Peer, refusal: Refusal, ref: str | None = None, client_id: str | None = None) -> None:
        peer.connection.push(frame_of(error_frame(refusal, self._clock(), ref, client_id)))

    # Staying alive

    def _heartbeat(self, peer: Peer, command: Heartbeat) -> Event:
        now_ms = self._clock()
        return HeartbeatResponse(timestamp=iso(now_ms), server_time=now_ms / 1000, ref=command.ref)

    def _heartbeat_ack(self, peer: Peer, command: HeartbeatAck) -> Event:
        return HeartbeatAckReply(timestamp=self._clock() / 1000, ref=command.ref)

    def _ping(self, peer: Peer, command: Ping) -> Event:
        return Pong(timestamp=command.timestamp, ref=command.ref)

    def _reauth(self, peer: Peer, command: Reauth) -> None:
        if peer.user is None:
            raise unauthenticated("A guest has no token to replace.", "Connect again with the token.")
        self._spawn(self._replace_token(peer, command))

    async def _replace_token(self, peer: Peer, command: Reauth) -> None:
        try:
            identity = await self._auth.identify(Credential("query", command.token), spend=True)
            if peer.user is None or identity.user.id != peer.user.id:
                raise unauthenticated("This is somebody else's token.", "Connect again to be somebody else.")
        except Refusal as refusal:
            self._refuse(peer, refusal, command.ref)
            return
        except StoreFault:
            self._refuse(peer, store_unavailable(), command.ref)
            return
        connection: Connection = peer.connection
        if not connection.fenced:
            self._hub.identify(connection, identity)
            connection.push(frame_of(ReauthOk(expires_at=iso(identity.expires_at_ms), ref=command.ref)))
