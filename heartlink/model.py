"""Ids and frozen records: what HeartLink's nouns are made of. No behaviour, no I/O."""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
SessionId = NewType("SessionId", str)
FileId = NewType("FileId", str)

RoomKind = Literal["private", "group", "public"]
RoomRole = Literal["owner", "admin", "member", "guest"]
Status = Literal["online", "busy", "away", "offline"]
CallMedia = Literal["video", "audio"]
CallOutcome = Literal["answered", "missed", "declined", "cancelled", "busy", "failed"]
MessageType = Literal["text", "image", "file", "voice", "video", "system"]
FileKind = Literal["image", "voice", "video", "file"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. Times are epoch milliseconds; ``fold`` is the name after NFKC and case folding.

    ``rev`` counts its stored changes, so that a change that arrives late cannot undo a later one.
    """

    id: UserId
    username: str
    fold: str
    display_name: str
    password_hash: str
    created_at_ms: int
    tokens_not_before_ms: int = 0
    avatar_url: str = ""
    bio: str = ""
    tags: tuple[str, ...] = ()
    locale: str = ""
    is_active: bool = True
    rev: int = 0


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks, and by which token: a session id ends all tokens refreshed from one log-in."""

    user: User
    session_id: SessionId
    expires_at_ms: int
    by: Literal["bearer", "query", "ticket", "cookie", "subprotocol"]


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A room as stored. ``name`` may be empty: pages then show the other members."""

    id: RoomId
    name: str
    kind: RoomKind
    owner_id: UserId
    created_at_ms: int
    ended_at_ms: int | None = None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A membership: one user's role in one room."""

    room_id: RoomId
    user_id: UserId
    role: RoomRole
    joined_at_ms: int


class Subject(msgspec.Struct, frozen=True):
    """Whom a grant speaks of; ``id`` is empty for everyone and anonymous."""

    kind: Literal["user", "role", "group", "everyone", "anonymous"]
    id: str = ""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant (PROTOCOL 4.4): gives or denies a permission to a subject in a scope, perhaps until a time."""

    id: str
    subject: Subject
    permission: str
    scope: str = "*"
    effect: Literal["allow", "deny"] = "allow"
    expires_at_ms: int | None = None


class Invite(msgspec.Struct, frozen=True, kw_only=True):
    """An invite link: who made it for which room, until when, for how many."""

    code: str
    room_id: RoomId
    made_by: UserId
    created_at_ms: int
    expires_at_ms: int | None = None
    max_uses: int | None = None
    uses: int = 0


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How far a user has read a room (a cursor that only rises), and when they were last in it."""

    room_id: RoomId
    user_id: UserId
    up_to: int
    last_seen_ms: int | None = None


class ReplyTo(msgspec.Struct, frozen=True):
    """What a reply quotes: the message's id, its sender's name, the beginning of its text."""

    id: int
    sender: str
    excerpt: str


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a call leaves in the history; ``callee_id`` is None where nobody of several answered."""

    call_id: str
    media: CallMedia
    outcome: CallOutcome
    duration_seconds: int
    caller_id: UserId
    callee_id: UserId | None


class FileView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file as its message shows it (``file`` of M): bytes, pixels, seconds; ``waveform`` is up to 64 of 0 to 100."""

    id: FileId
    name: str
    size: int
    mime: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    waveform: tuple[int, ...] | None = None
    thumbnail_url: str | None = None


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that one message shows. Messages that show the same bytes have a file each, with the same ``blob``.

    ``dedup`` is the key under which its message is stored; ``message_id`` is None until that is known. ``inline`` says
    whether a page may show it; ``sha256`` is of the bytes as they are served.
    """

    id: FileId
    blob: str
    room_id: RoomId
    owner_id: UserId
    name: str
    size: int
    mime: str
    kind: FileKind
    inline: bool
    sha256: str
    dedup: str
    created_at_ms: int
    message_id: int | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    waveform: tuple[int, ...] | None = None
    thumbnail_bytes: int = 0


class RunningCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is stored while it runs, so that it leaves its line whatever happens to the server.

    ``callee_id`` is who answered, or in a room of two who would; ``seen_at_ms`` is when the server last knew it to run.
    """

    id: str
    room_id: RoomId
    caller_id: UserId
    callee_id: UserId | None
    media: CallMedia
    message: str
    started_at_ms: int
    answered_at_ms: int | None
    seen_at_ms: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """M of PROTOCOL 3.2 without what depends on who looks (``is_own``, ``is_read``).

    ``id`` is the sequence number at creation, ``rev`` that of the last change, ``seq`` the number that brought the
    message into the state shown (so ``seq == rev``): over all frames of a room ``seq`` is dense. ``call`` is there
    only in the line that a call has left, ``listened`` (user names) only in a voice message.
    """

    id: int
    seq: int
    rev: int
    client_id: str | None
    room_id: RoomId
    sender: str
    sender_id: UserId
    sender_name: str
    sender_avatar: str
    content: str
    message_type: MessageType
    file_url: str = ""
    file: FileView | None = None
    reply_to: ReplyTo | None = None
    reactions: dict[str, list[str]] = {}
    mentions: tuple[UserId, ...] = ()
    created_at: str
    edited_at: str | None = None
    deleted: bool = False
    call: CallRecord | msgspec.UnsetType = msgspec.UNSET
    listened: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as the store has it: the record, its JSON (the same bytes go into frames), and its dedup key.

    ``fingerprint`` is a digest of what was first sent under the ``client_id``, so that a retry is told from a conflict.
    """

    message: Message
    body: bytes
    dedup: str
    fingerprint: str


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role: its permissions are grants to whoever has it, in scope ``*``; it inherits those of its parent."""

    key: str
    name: str
    parent: str | None = None
    permissions: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of users, to grant to."""

    key: str
    name: str


class Menu(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the navigation; it shows when its permission holds in scope ``*``."""

    key: str
    name: str
    permission: str
    icon: str = ""
    url: str = ""
    parent: str | None = None
    sort_order: int = 0
