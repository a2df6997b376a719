"""The table from frame type to handler, and the boundary at which refusals and failures become frames."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from heartlink.auth import Auth, Credential
from heartlink.chat import Around, Peer, Talk
from heartlink.connection import INVALID, Connection, TokenBucket, kind_of
from heartlink.diagnosis import Diagnosis
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
from heartlink.logs import log_fault
from heartlink.model import User
from heartlink.protocol import (
    CHAT_COMMANDS,
    DOCTOR_COMMANDS,
    PERMISSION_COMMANDS,
    RELAYED_COMMANDS,
    Authenticate,
    BadFrame,
    ChangeCall,
    Command,
    CommandReader,
    ConfirmAuthentication,
    Connect,
    DeleteMessage,
    Echo,
    EchoText,
    EditMessage,
    Event,
    Explain,
    Heartbeat,
    HeartbeatAck,
    HeartbeatAckReply,
    HeartbeatResponse,
    InviteToCall,
    Listened,
    NewMessage,
    OnlineStatus,
    PermissionCheck,
    PermissionCheckBatch,
    Ping,
    Pong,
    React,
    ReadStatus,
    Reauth,
    ReauthOk,
    RelayedCommand,
    SendMessage,
    SignalPeer,
    SubscribeNotifications,
    Typing,
    UnsubscribeNotifications,
    error_frame,
    iso,
)
from heartlink.streams import Questions, Streams

logger = logging.getLogger(__name__)

REFUSALS_IN_A_ROW: Final = 200
"""After this many refusals for sending too fast the peer is hung up on."""

Handler = Callable[[Any, Any], Event | None]


class Sender(Protocol):
    """What the boundary needs to know of whoever sends."""

    connection: Connection
    bucket: TokenBucket
    refusals: int
    user: User | None


class CallDesk(Protocol):
    """Who does what is asked about calls; what is handed on as it came is given as it came."""

    def invite(self, peer: Peer, command: InviteToCall) -> None: ...

    def change(self, peer: Peer, command: ChangeCall) -> Event | None: ...

    def signal(self, peer: Peer, command: SignalPeer) -> None: ...

    def relay(self, peer: Peer, text: bytes) -> None: ...


class Dispatcher:
    """Hands the frames of one kind of socket to whoever does what they ask, within the peer's rate.

    What every socket has is here: rates, answers to what cannot be done, and the commands of staying alive.
    """

    def __init__(
        self,
        hub: Hub,
        auth: Auth,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        reader: CommandReader,
        table: Mapping[type[Command], Handler],
    ) -> None:
        self._hub = hub
        self._auth = auth
        self._clock = clock
        self._spawn = spawn
        self._reader = reader
        self.table: dict[type[Command], Handler] = {
            **table,
            Heartbeat: self._heartbeat,
            HeartbeatAck: self._heartbeat_ack,
            Ping: self._ping,
            Reauth: self._reauth,
        }

    def received(self, peer: Sender, text: bytes) -> None:
        """Do what a frame asks; its answer, if it has one of its own, is queued at once."""
        try:
            command = self._reader.decode(text)
        except BadFrame as bad:
            peer.connection.note_read(INVALID, len(text))
            if self._is_within_rate(peer, bad.echo):
                self._refuse(peer, bad.refusal, bad.echo)
            return
        peer.connection.note_read(kind_of(command), len(text))
        if not self._is_within_rate(peer, command):
            return
        try:
            reply = self.table[type(command)](peer, text if isinstance(command, RelayedCommand) else command)
        except Refusal as refusal:
            self._refuse(peer, refusal, Echo.of(command))
        except Exception:
            fault_id = log_fault(logger, "a frame on connection %s failed", peer.connection.id)
            self._refuse(peer, internal_error(fault_id), Echo.of(command))
        else:
            if reply is not None:
                peer.connection.push(frame_of(reply))

    def received_binary(self, peer: Sender) -> None:
        """Refuse a binary frame."""
        if self._is_within_rate(peer, Echo()):
            self._refuse(peer, unsupported_data(), Echo())

    def _is_within_rate(self, peer: Sender, cause: Command | Echo) -> bool:
        wait_seconds = self.bucket_of(peer, cause).take(time.monotonic())
        if not wait_seconds:
            peer.refusals = 0
            return True
        peer.refusals += 1
        if peer.refusals >= REFUSALS_IN_A_ROW:
            peer.connection.hang_up(TOO_MANY)
        else:
            echo = cause if isinstance(cause, Echo) else Echo.of(cause)
            self._refuse(peer, rate_limited(round(wait_seconds, 3)), echo)
        return False

    def bucket_of(self, peer: Sender, cause: Command | Echo) -> TokenBucket:
        """What counts how often a peer sends such frames."""
        return peer.bucket

    def _refuse(self, peer: Sender, refusal: Refusal, echo: Echo) -> None:
        peer.connection.push(frame_of(error_frame(refusal, self._clock(), *echo)))

    # Staying alive

    def _heartbeat(self, peer: Sender, command: Heartbeat) -> Event:
        now_ms = self._clock()
        return HeartbeatResponse(timestamp=iso(now_ms), server_time=now_ms / 1000, ref=command.ref)

    def _heartbeat_ack(self, peer: Sender, command: HeartbeatAck) -> Event:
        return HeartbeatAckReply(timestamp=self._clock() / 1000, ref=command.ref)

    def _ping(self, peer: Sender, command: Ping) -> Event:
        return Pong(timestamp=command.timestamp, ref=command.ref)

    def _reauth(self, peer: Sender, command: Reauth) -> None:
        if peer.user is None:
            raise unauthenticated("A guest has no token to replace.", "Connect again with the token.")
        self._spawn(self._replace_token(peer, command))

    async def _replace_token(self, peer: Sender, command: Reauth) -> None:
        try:
            identity = await self._auth.identify(Credential("query", command.token), spend=True)
            if peer.user is None or identity.user.id != peer.user.id:
                raise unauthenticated("This is somebody else's token.", "Connect again to be somebody else.")
        except Refusal as refusal:
            self._refuse(peer, refusal, Echo.of(command))
            return
        except StoreFault:
            self._refuse(peer, store_unavailable(), Echo.of(command))
            return
        connection = peer.connection
        if not connection.fenced:
            self._hub.identify(connection, identity)
            connection.push(frame_of(ReauthOk(expires_at=iso(identity.expires_at_ms), ref=command.ref)))


class ChatDispatcher(Dispatcher):
    """What can be asked for on a chat socket (PROTOCOL 3)."""

    def __init__(
        self,
        talk: Talk,
        around: Around,
        calls: CallDesk,
        hub: Hub,
        auth: Auth,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        make_bucket: Callable[[], TokenBucket],
    ) -> None:
        self._make_bucket = make_bucket
        table: dict[type[Command], Handler] = {
            SendMessage: talk.say,
            EditMessage: talk.edit,
            DeleteMessage: talk.delete,
            React: talk.react,
            Listened: talk.listen,
            Typing: around.typing,
            ReadStatus: around.read,
            OnlineStatus: around.show,
            NewMessage: around.notice,
            InviteToCall: calls.invite,
            ChangeCall: calls.change,
            SignalPeer: calls.signal,
            **dict.fromkeys(RELAYED_COMMANDS, calls.relay),
        }
        reader = CommandReader(CHAT_COMMANDS, default=SendMessage)
        super().__init__(hub, auth, clock=clock, spawn=spawn, reader=reader, table=table)

    def bucket_of(self, peer: Sender, cause: Command | Echo) -> TokenBucket:
        """Signals come in bursts of candidates: they are counted apart, so that neither they nor words wait."""
        if not isinstance(cause, SignalPeer) or not isinstance(peer, Peer):
            return peer.bucket
        peer.signal_bucket = peer.signal_bucket or self._make_bucket()
        return peer.signal_bucket


class PermissionDispatcher(Dispatcher):
    """What can be asked for on the permission stream (PROTOCOL 4)."""

    def __init__(
        self,
        streams: Streams,
        questions: Questions,
        hub: Hub,
        auth: Auth,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        table: dict[type[Command], Handler] = {
            Connect: streams.confirm,
            Authenticate: streams.identify,
            ConfirmAuthentication: streams.identify,
            SubscribeNotifications: streams.subscribe,
            UnsubscribeNotifications: streams.unsubscribe,
            PermissionCheck: questions.check,
            PermissionCheckBatch: questions.check_all,
            Explain: questions.explain,
        }
        super().__init__(hub, auth, clock=clock, spawn=spawn, reader=CommandReader(PERMISSION_COMMANDS), table=table)


class DoctorDispatcher(Dispatcher):
    """What can be asked for on the doctor's socket."""

    def __init__(
        self,
        diagnosis: Diagnosis,
        hub: Hub,
        auth: Auth,
        *,
        clock: Callable[[], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        table: dict[type[Command], Handler] = {EchoText: diagnosis.echo}
        super().__init__(hub, auth, clock=clock, spawn=spawn, reader=CommandReader(DOCTOR_COMMANDS), table=table)
