"""What the server sends: replies and events of the chat socket (PROTOCOL 2, 3)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from heartlink.model import Message, RoomKind, RoomRole, Status


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
    request_id: str | int | msgspec.UnsetType = msgspec.UNSET


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
    change: Literal["edited", "deleted", "reactions", "listened"]


TALK_EVENTS: tuple[type[Event], ...] = (
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
