"""What a client may send: the commands of the chat socket (PROTOCOL 2, 3)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from heartlink.model import MessageType, Status

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

MAX_READ_IDS = 1000
"""Message ids in one ``read_status``."""

MessageId = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Ref = Annotated[str, msgspec.Meta(max_length=64)]
Emoji = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


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


class Listened(Command, frozen=True, tag="listened"):
    """Say that one has listened to somebody's voice message."""

    id: MessageId


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


TALK_COMMANDS: tuple[type[Command], ...] = (
    SendMessage,
    EditMessage,
    DeleteMessage,
    React,
    Listened,
    Typing,
    ReadStatus,
    OnlineStatus,
    NewMessage,
    Heartbeat,
    HeartbeatAck,
    Ping,
    Reauth,
)
