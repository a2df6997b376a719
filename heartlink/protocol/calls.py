"""What travels around calls: invitations, what became of them, signals between two peers (PROTOCOL 3.3)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from heartlink.model import CallMedia, CallOutcome
from heartlink.protocol.commands import MAX_INTEGER, TALK_COMMANDS, Command
from heartlink.protocol.events import TALK_EVENTS, Event, Reply

CALL_MESSAGE_CHARS = 500
"""What an invitation may say."""

CallId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
OldId = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | Annotated[str, msgspec.Meta(max_length=100)]
SignalKind = Literal["offer", "answer", "candidate", "state"]
EndReason = Literal[
    "hung_up", "cancelled", "declined", "no_answer", "busy", "lost", "revoked", "signed_out", "room_ended"
]


class InviteToCall(Command, frozen=True, tag="video_call_invite"):
    """Ring for the others in the room; ``call_created`` answers."""

    message: Annotated[str, msgspec.Meta(max_length=CALL_MESSAGE_CHARS)] = ""
    media: CallMedia = "video"


class ChangeCall(Command, frozen=True, tag="video_call_status"):
    """Join a call, decline it, leave it, end it; without ``call_id`` the one that is in the room now."""

    status: Literal["joined", "declined", "left", "expired", "ended"]
    call_id: CallId | None = None
    message_id: OldId | None = None
    video_room_id: OldId | None = None


class SignalPeer(Command, frozen=True, tag="call_signal"):
    """Hand something to the other one in a call: a description, a candidate, what is muted."""

    call_id: CallId
    to: Annotated[str, msgspec.Meta(max_length=64)]
    kind: SignalKind
    data: Any


class RelayedCommand(Command, frozen=True):
    """Base of the old clients' frames that are handed on as they came, whatever else stands in them."""


class OfferVideo(RelayedCommand, frozen=True, tag="video_offer"):
    """An old client's offer, handed on as sent."""


class AnswerVideo(RelayedCommand, frozen=True, tag="video_answer"):
    """An old client's answer, handed on as sent."""


class OfferCandidate(RelayedCommand, frozen=True, tag="ice_candidate"):
    """An old client's candidate, handed on as sent."""


class EndVideoCall(RelayedCommand, frozen=True, tag="video_call_end"):
    """An old client's end of a call, handed on as sent."""


class VideoCallInvite(Event, frozen=True, tag="video_call_invite"):
    """Somebody calls; ``ring_seconds`` is how much longer it rings."""

    call_id: str
    username: str
    user_id: str
    room_id: str
    message: str
    media: CallMedia
    ring_seconds: float


class CallCreated(Reply, frozen=True, tag="call_created"):
    """The call rings, for as long as ``ring_seconds`` says."""

    call_id: str
    ring_seconds: float


class VideoCallStatus(Reply, frozen=True, tag="video_call_status"):
    """What somebody did about a call, or what became of it: how it ended stands only in the last one.

    ``busy`` (the person is in another call) and ``reconnecting`` (their connection is lost, for now) come from the
    server alone. ``duration_seconds`` counts from the answer.
    """

    status: Literal["joined", "declined", "left", "expired", "ended", "busy", "reconnecting"]
    call_id: str | None = None
    username: str | None = None
    user_id: str | None = None
    message_id: int | str | None = None
    video_room_id: int | str | None = None
    outcome: CallOutcome | None = None
    reason: EndReason | None = None
    duration_seconds: int | None = None


class CallSignal(Event, frozen=True, tag="call_signal", rename={"sender": "from"}):
    """Something from the other one in a call, whose user id is ``from``."""

    call_id: str
    sender: str
    to: str
    kind: SignalKind
    data: Any


class VideoOffer(Event, frozen=True, tag="video_offer"):
    """An old client's offer, as it was sent."""


class VideoAnswer(Event, frozen=True, tag="video_answer"):
    """An old client's answer, as it was sent."""


class IceCandidate(Event, frozen=True, tag="ice_candidate"):
    """An old client's candidate, as it was sent."""


class VideoCallEnd(Event, frozen=True, tag="video_call_end"):
    """An old client's end of a call, as it was sent."""


RELAYED_COMMANDS: tuple[type[RelayedCommand], ...] = (OfferVideo, AnswerVideo, OfferCandidate, EndVideoCall)

CHAT_COMMANDS: tuple[type[Command], ...] = (*TALK_COMMANDS, InviteToCall, ChangeCall, SignalPeer, *RELAYED_COMMANDS)
"""All that may be sent on the chat socket."""

CHAT_EVENTS: tuple[type[Event], ...] = (
    *TALK_EVENTS,
    VideoCallInvite,
    CallCreated,
    VideoCallStatus,
    CallSignal,
    VideoOffer,
    VideoAnswer,
    IceCandidate,
    VideoCallEnd,
)
"""All that is heard on it."""
