"""One call from its first ring to its end, pure: who may join, who is in it, how it came out. No I/O, no await."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from heartlink.errors import Refusal, conflict, not_found
from heartlink.model import CallMedia, CallOutcome, CallRecord, RoomId, RunningCall, UserId
from heartlink.protocol import EndReason

UNANSWERED: Final[dict[EndReason, CallOutcome]] = {
    "hung_up": "cancelled",
    "cancelled": "cancelled",
    "lost": "cancelled",
    "signed_out": "cancelled",
    "no_answer": "missed",
    "declined": "declined",
    "busy": "busy",
    "revoked": "failed",
    "room_ended": "failed",
}
"""What a call that nobody answered came to, by why it ended."""

Joined = Literal["answered", "resumed", "moved", "again"]
"""What a join did: took the call, came back, took it over from another connection of the same user, or nothing new."""


@dataclass(slots=True, eq=False)
class Call:
    """A call between two people; a *seat* is the connection over which one of them is in it, None while that is lost.

    It rings until somebody joins, is active until it ends, and then over for good. Times are epoch milliseconds.
    """

    id: str
    room_id: RoomId
    caller_id: UserId
    media: CallMedia
    message: str
    started_at_ms: int
    invited: frozenset[UserId] = frozenset()
    """The members whom it was meant for; it rings for whoever else may come in, too."""
    refused: set[UserId] = field(default_factory=set)
    """Those who have answered no, or cannot answer."""
    callee_id: UserId | None = None
    answered_at_ms: int | None = None
    ended_at_ms: int | None = None
    reason: EndReason | None = None
    seats: dict[UserId, object | None] = field(default_factory=dict)

    @classmethod
    def restored(cls, stored: RunningCall, invited: frozenset[UserId]) -> Call:
        """A call that ran when the server went down: both seats are lost."""
        seats: dict[UserId, object | None] = {stored.caller_id: None}
        if stored.callee_id is not None and stored.answered_at_ms is not None:
            seats[stored.callee_id] = None
        return cls(
            id=stored.id,
            room_id=stored.room_id,
            caller_id=stored.caller_id,
            media=stored.media,
            message=stored.message,
            started_at_ms=stored.started_at_ms,
            callee_id=stored.callee_id,
            answered_at_ms=stored.answered_at_ms,
            invited=invited,
            seats=seats,
        )

    def stored(self, now_ms: int) -> RunningCall:
        """The call as it is stored while it runs."""
        return RunningCall(
            id=self.id,
            room_id=self.room_id,
            caller_id=self.caller_id,
            callee_id=self.callee_id,
            media=self.media,
            message=self.message,
            started_at_ms=self.started_at_ms,
            answered_at_ms=self.answered_at_ms,
            seen_at_ms=now_ms,
        )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended_at_ms is not None

    @property
    def is_ringing(self) -> bool:
        """Whether nobody has answered yet."""
        return self.answered_at_ms is None and not self.is_over

    def rings_for(self, user_id: UserId) -> bool:
        """Whether somebody can still answer it."""
        return self.is_ringing and user_id not in self.seats and user_id not in self.refused

    def other_of(self, user_id: UserId) -> UserId | None:
        """The one whom somebody in an answered call speaks with."""
        return next((other for other in self.seats if other != user_id), None)

    # What happens to it

    def join(self, user_id: UserId, seat: object, now_ms: int) -> Joined:
        """Answer, come back, or move to another connection; raises ``conflict`` when it is over or taken."""
        if self.is_over:
            raise is_over(self.id)
        if user_id in self.seats:
            before = self.seats[user_id]
            self.seats[user_id] = seat
            if before is None:
                return "resumed"
            return "again" if before is seat else "moved"
        if not self.is_ringing:
            raise conflict("Somebody else has answered this call.", "Call again when it is over.", {"call_id": self.id})
        self.seats[user_id] = seat
        self.callee_id = user_id
        self.answered_at_ms = now_ms
        return "answered"

    def decline(self, user_id: UserId) -> bool:
        """Somebody it rings for does not answer; True when none of those it was meant for is left."""
        if not self.rings_for(user_id):
            return False
        self.refused.add(user_id)
        return bool(self.invited) and self.invited <= self.refused

    def lose(self, user_id: UserId, seat: object) -> bool:
        """A connection is gone; True when somebody was in the call over it."""
        if self.is_over or self.seats.get(user_id) is not seat:
            return False
        self.seats[user_id] = None
        return True

    def end(self, reason: EndReason, now_ms: int) -> bool:
        """It is over; False when it was already."""
        if self.is_over:
            return False
        self.reason = reason
        self.ended_at_ms = now_ms
        return True

    # How it came out

    @property
    def outcome(self) -> CallOutcome:
        """What it came to; while it runs, what it would come to if it ended for want of an answer."""
        return "answered" if self.answered_at_ms is not None else UNANSWERED[self.reason or "no_answer"]

    @property
    def duration_seconds(self) -> int:
        """How long the two have spoken."""
        if self.answered_at_ms is None or self.ended_at_ms is None:
            return 0
        return max(0, round((self.ended_at_ms - self.answered_at_ms) / 1000))

    @property
    def record(self) -> CallRecord:
        """What it leaves in the history."""
        return CallRecord(
            call_id=self.id,
            media=self.media,
            outcome=self.outcome,
            duration_seconds=self.duration_seconds,
            caller_id=self.caller_id,
            callee_id=self.callee_id,
        )


def is_over(call_id: str) -> Refusal:
    """The refusal for a call that has ended."""
    return conflict("This call is over.", "Start another one.", {"call_id": call_id})


def not_in_call() -> Refusal:
    """The refusal for whoever acts in a call of others."""
    return Refusal("forbidden", 403, "You are not in this call.", "Join it while it rings, or start another one.")


def unknown_call() -> Refusal:
    """The refusal for a call id that nothing is known of in this room."""
    return not_found("This call", "Look at the invitation, or start another call.")


def words(record: CallRecord) -> str:
    """A call's line in the history, for whoever cannot draw it."""
    kind = "Video call" if record.media == "video" else "Audio call"
    match record.outcome:
        case "answered":
            minutes, seconds = divmod(record.duration_seconds, 60)
            return f"{kind}, {minutes} min {seconds} s" if minutes else f"{kind}, {seconds} s"
        case "missed":
            return f"Missed {kind.lower()}"
    return f"{kind}, {record.outcome}"
