"""Every frame of the chat socket, both ways: JSON becomes types here, and types become JSON (PROTOCOL 2, 3).

Incoming frames are *commands*, decoded by :func:`decode`; outgoing ones are *replies* and *events*, encoded by
:func:`encode`. A stored message's JSON is joined into its frames without being encoded again.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from heartlink.errors import (
    Refusal,
    invalid_json,
    invalid_parameters,
    missing_parameters,
    unfit,
    unknown_message_type,
)
from heartlink.model import Message, MessageType, RoomKind, RoomRole, Status

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

MAX_READ_IDS = 1000
"""Message ids in one ``read_status``."""

MessageId = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Ref = Annotated[str, msgspec.Meta(max_length=64)]
Emoji = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


# --- Commands: what a client sends -----------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all commands; ``ref`` comes back in whatever answers."""

    ref: Ref | None = None


class SendMessage(Command, frozen=True, tag="message"):
    """Say something in the room; the sender's own ``chat_message`` is the acknowledgement."""

    content: str
    message_type: MessageType = "text"
    client_id: ClientId | None = None
    reply_to: MessageId | None = None
    file_id: str | None = None


class EditMessage(Command, frozen=True, tag="edit_message"):
    """Replace the text of a message."""

    id: MessageId
    content: str


class DeleteMessage(Command, frozen=True, tag="delete_message"):
    """Leave a tombstone in a message's place."""

    id: MessageId


class React(Command, frozen=True, tag="react"):
    """Put an emoji on a message, or take one's own away."""

    id: MessageId
    emoji: Emoji
    on: bool = True


class Typing(Command, frozen=True, tag="typing"):
    """Say that one is writing or recording; ends by itself."""

    is_typing: bool
    what: Literal["text", "voice"] = "text"


class ReadStatus(Command, frozen=True, tag="read_status"):
    """Raise one's read cursor, by ids seen or by a bound."""

    message_ids: Annotated[list[MessageId], msgspec.Meta(max_length=MAX_READ_IDS)] | None = None
    up_to: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None


class OnlineStatus(Command, frozen=True, tag="online_status"):
    """Set how one is shown in the room."""

    status: Status


class NewMessage(Command, frozen=True, tag="new_message"):
    """An old client's notice that it stored something over HTTP."""

    message_id: MessageId | Annotated[str, msgspec.Meta(max_length=64)]


class Heartbeat(Command, frozen=True, tag="heartbeat"):
    """Ask for a ``heartbeat_response``."""


class HeartbeatAck(Command, frozen=True, tag="heartbeat_ack"):
    """Answer a server's heartbeat."""


class Ping(Command, frozen=True, tag="ping"):
    """Ask for the given timestamp back."""

    timestamp: Any = None


class Reauth(Command, frozen=True, tag="reauth"):
    """Replace the token of the open socket."""

    token: str


CHAT_COMMANDS: tuple[type[Command], ...] = (
    SendMessage,
    EditMessage,
    DeleteMessage,
    React,
    Typing,
    ReadStatus,
    OnlineStatus,
    NewMessage,
    Heartbeat,
    HeartbeatAck,
    Ping,
    Reauth,
)


# --- Replies and events: what the server sends -----------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of everything the server sends."""


class Reply(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what may answer a command: ``ref`` is there when the command had one."""

    ref: str | None = None


class UserProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A user as others see them; a guest has id null and the name Anonymous."""

    id: str | None
    username: str
    display_name: str
    avatar_url: str = ""
    bio: str = ""
    tags: tuple[str, ...] = ()
    is_online: bool = True


class RoomSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The room of a greeting."""

    id: str
    name: str
    kind: RoomKind
    status: Literal["active", "waiting", "ended"]


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member as the others see them."""

    user_id: str
    username: str
    display_name: str
    avatar_url: str
    status: Status
    last_seen: str | None
    read_up_to: int
    role: RoomRole


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must stay within; 0 means no limit."""

    message_chars: int
    upload_bytes: int
    messages_per_second: float


class ConnectionEstablished(Event, frozen=True, tag="connection_established"):
    """The greeting, always the first frame (PROTOCOL 3.1)."""

    message: str
    room_id: str
    user: str
    user_profile: UserProfile
    heartbeat_interval: float
    server_time: str
    epoch: str
    last_seq: int
    resume: Literal["none", "changes", "full"]
    resume_reason: Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None
    room: RoomSummary
    capabilities: tuple[str, ...]
    members: list[MemberView]
    limits: Limits
    ice_servers: list[dict[str, str]] = []


class CaughtUp(Event, frozen=True, tag="caught_up"):
    """The end of a replay: from here on everything is live."""

    last_seq: int


class ErrorFrame(Event, frozen=True, tag="error"):
    """A refusal on an open socket (PROTOCOL 2.4)."""

    error_code: str
    message: str
    fix: str
    timestamp: str
    ref: str | None = None
    client_id: str | None = None
    retry_after: float | None = None
    decision_id: str | None = None
    fields: dict[str, str] | None = None


class UserJoined(Event, frozen=True, tag="user_joined"):
    """A user's first connection to the room has arrived."""

    username: str
    user_id: str
    user_profile: UserProfile


class UserLeft(Event, frozen=True, tag="user_left"):
    """A user's last connection has been gone for the time of grace."""

    username: str
    user_id: str
    last_seen: str


class UserTyping(Event, frozen=True, tag="user_typing"):
    """Somebody writes, records, or stopped."""

    username: str
    user_id: str
    is_typing: bool
    what: Literal["text", "voice"]


class ReadStatusUpdate(Reply, frozen=True, tag="read_status_update"):
    """A read cursor has risen."""

    message_ids: list[int]
    up_to: int
    username: str
    user_id: str


class Presence(Reply, frozen=True, tag="presence"):
    """How a member is shown."""

    user_id: str
    username: str
    status: Status
    last_seen: str | None


class NewMessageNotice(Event, frozen=True, tag="new_message"):
    """An old client's notice, handed on."""

    message_id: int | str
    username: str
    user_id: str


class HeartbeatEvent(Event, frozen=True, tag="heartbeat"):
    """The server's heartbeat, epoch seconds."""

    timestamp: float


class HeartbeatAckReply(Reply, frozen=True, tag="heartbeat_ack"):
    """Answer to a client's ``heartbeat_ack``."""

    timestamp: float


class HeartbeatResponse(Reply, frozen=True, tag="heartbeat_response"):
    """Answer to a client's ``heartbeat``."""

    timestamp: str
    server_time: float


class Pong(Reply, frozen=True, tag="pong"):
    """Answer to ``ping``: the timestamp as sent."""

    timestamp: Any


class ReauthOk(Reply, frozen=True, tag="reauth_ok"):
    """The new token counts from now on."""

    expires_at: str


class AuthExpiring(Event, frozen=True, tag="auth_expiring"):
    """The token ends soon; send ``reauth``."""

    seconds: int


class RoomUpdated(Event, frozen=True, tag="room_updated"):
    """The room's name, kind or status has changed."""

    room: RoomSummary


class MemberAdded(Event, frozen=True, tag="member_added"):
    """Somebody became a member, or got another role."""

    member: MemberView
    by: str | None


class MemberRemoved(Event, frozen=True, tag="member_removed"):
    """Somebody is no longer a member."""

    user_id: str
    username: str
    by: str | None


class RoomEnded(Event, frozen=True, tag="room_ended"):
    """The room was ended; close 4410 follows."""

    room_id: str
    by: str | None


class CapabilitiesChanged(Event, frozen=True, tag="capabilities_changed"):
    """What the receiver may do in this room from now on."""

    capabilities: tuple[str, ...]
    because: str


class AccessRevoked(Event, frozen=True, tag="access_revoked"):
    """The right to be here has ended; close 4403 follows."""

    because: str
    decision_id: str


class GoingAway(Event, frozen=True, tag="going_away"):
    """The server restarts; close 1012 follows."""

    reconnect_in_ms: int


class ChatMessage(Reply, frozen=True, tag="chat_message"):
    """A message, as it is described in the schemas; frames are joined by :func:`message_frame`."""

    message: Message
    duplicate: bool = False


class MessageUpdated(Reply, frozen=True, tag="message_updated"):
    """A change of a message, as it is described in the schemas."""

    message: Message
    change: Literal["edited", "deleted", "reactions"]


CHAT_EVENTS: tuple[type[Event], ...] = (
    ConnectionEstablished,
    ChatMessage,
    MessageUpdated,
    CaughtUp,
    ErrorFrame,
    UserJoined,
    UserLeft,
    UserTyping,
    ReadStatusUpdate,
    Presence,
    NewMessageNotice,
    HeartbeatEvent,
    HeartbeatAckReply,
    HeartbeatResponse,
    Pong,
    ReauthOk,
    AuthExpiring,
    RoomUpdated,
    MemberAdded,
    MemberRemoved,
    RoomEnded,
    CapabilitiesChanged,
    AccessRevoked,
    GoingAway,
)


# --- Text to types ---------------------------------------------------------------------------------


class BadFrame(Exception):
    """A frame that could not be read: the refusal, and what the answer repeats of it."""

    def __init__(self, refusal: Refusal, ref: str | None = None, client_id: str | None = None) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.ref = ref
        self.client_id = client_id


class CommandReader:
    """Decodes the commands of one kind of socket; ``default`` is the command of a frame without ``type``."""

    MISSING: ClassVar[re.Pattern[str]] = re.compile(r"missing required field `([^`]+)`")

    def __init__(self, commands: tuple[type[Command], ...], default: type[Command]) -> None:
        union = commands[0]
        for command in commands[1:]:
            union = union | command  # type: ignore[assignment]
        self._decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(union)
        self._by_name = {str(command.__struct_config__.tag): command for command in commands}
        self._default = default

    def decode(self, text: bytes) -> Command:
        """The command in a frame's text; raises BadFrame with the refusal that answers it."""
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._explain(text)

    def _explain(self, text: bytes) -> Command:
        """Find out what is wrong with a frame, or that only its ``type`` was left out."""
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadFrame(invalid_json(str(error).rstrip("."))) from None
        except RecursionError:
            raise BadFrame(invalid_json("it is nested too deeply")) from None
        if not isinstance(found, dict):
            raise BadFrame(
                invalid_parameters("The frame is JSON, but not an object.", 'Send an object like {"type": "ping"}.')
            )
        ref, client_id = _short_text(found.get("ref")), _short_text(found.get("client_id"))
        name = found.get("type", self._default.__struct_config__.tag)
        if not isinstance(name, str):
            raise BadFrame(unfit("type", "it must be a string"), ref, client_id)
        command = self._by_name.get(name)
        if command is None:
            nearest = difflib.get_close_matches(name, self._by_name, 1)
            raise BadFrame(unknown_message_type(name, nearest[0] if nearest else None), ref, client_id)
        try:
            return msgspec.convert({**found, "type": name}, command)
        except msgspec.ValidationError as error:
            raise BadFrame(explain_mismatch(error, f"'{name}'"), ref, client_id) from None


def explain_mismatch(error: msgspec.ValidationError, where: str) -> Refusal:
    """The refusal for JSON that does not fit its type: which field, and what was expected."""
    text = str(error)
    missing = CommandReader.MISSING.search(text)
    if missing:
        return missing_parameters(missing.group(1), where)
    reason, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or "body"
    return unfit(field, reason[:1].lower() + reason[1:])


def _short_text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 64 else None


# --- Types to text ---------------------------------------------------------------------------------

_encoder = msgspec.json.Encoder()


def encode(record: object) -> bytes:
    """JSON of a record, UTF-8, non-ASCII as itself."""
    return _encoder.encode(record)


def error_frame(refusal: Refusal, now_ms: int, ref: str | None = None, client_id: str | None = None) -> ErrorFrame:
    """The ``error`` frame of a refusal."""
    return ErrorFrame(
        error_code=refusal.code,
        message=refusal.message,
        fix=refusal.fix,
        timestamp=iso(now_ms),
        ref=ref,
        client_id=client_id,
        retry_after=refusal.retry_after_seconds,
        decision_id=refusal.decision_id,
        fields=refusal.fields,
    )


_OWN = (b',"is_own":false,"is_read":false}', b',"is_own":true,"is_read":false}')
_OWN_READ = (b',"is_own":false,"is_read":true}', b',"is_own":true,"is_read":true}')


def message_view(body: bytes, *, is_own: bool, is_read: bool = False) -> bytes:
    """M as one reader sees it: the stored JSON with ``is_own`` and ``is_read`` joined to it."""
    return body[:-1] + (_OWN_READ if is_read else _OWN)[is_own]


def message_frame(
    body: bytes,
    *,
    change: str | None = None,
    is_own: bool,
    is_read: bool = False,
    duplicate: bool = False,
    ref: str | None = None,
) -> bytes:
    """``chat_message`` (or ``message_updated`` when ``change`` is given) around a stored message's JSON."""
    head = b'{"type":"chat_message","message":' if change is None else b'{"type":"message_updated","message":'
    tail = b"" if change is None else b',"change":"' + change.encode() + b'"'
    if duplicate:
        tail += b',"duplicate":true'
    if ref is not None:
        tail += b',"ref":' + _encoder.encode(ref)
    return b"".join((head, body[:-1], (_OWN_READ if is_read else _OWN)[is_own], tail, b"}"))


def iso(time_ms: int) -> str:
    """ISO-8601 UTC with ``Z`` and milliseconds (PROTOCOL 1)."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
