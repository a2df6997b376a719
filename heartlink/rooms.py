"""The live side of a room, pure: its numbering, recent messages, read cursors and presence. No I/O, no await."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from heartlink.model import Member, Receipt, Room, Status, StoredMessage, UserId

RECENT_MESSAGES: Final = 128
"""Messages of a room kept in memory: what a reconnecting client has usually missed."""

RECENT_BYTES: Final = 512 * 1024
"""Their size together."""

EXCERPT_CHARS: Final = 120
"""How much of a message a reply quotes."""


class RecentMessages:
    """The messages changed last, in the order of their last change, and complete above ``floor``."""

    __slots__ = ("_by_dedup", "_bytes", "_rows", "floor")

    def __init__(self, newest_first: Iterable[StoredMessage] = (), *, complete: bool = True) -> None:
        self._rows: OrderedDict[int, StoredMessage] = OrderedDict()
        self._by_dedup: dict[str, int] = {}
        self._bytes = 0
        self.floor = 0
        rows = list(newest_first)
        for row in reversed(rows):
            self.add(row)
        if rows and not complete:
            self.floor = max(self.floor, rows[-1].message.rev - 1)

    def add(self, row: StoredMessage) -> None:
        """Take in a new message, or a message's new state."""
        message_id = row.message.id
        known = self._rows.pop(message_id, None)
        if known is not None:
            self._bytes -= len(known.body)
        self._rows[message_id] = row
        self._by_dedup[row.dedup] = message_id
        self._bytes += len(row.body)
        while len(self._rows) > RECENT_MESSAGES or (self._bytes > RECENT_BYTES and len(self._rows) > 1):
            _, oldest = self._rows.popitem(last=False)
            self._by_dedup.pop(oldest.dedup, None)
            self._bytes -= len(oldest.body)
            self.floor = oldest.message.rev

    def get(self, message_id: int) -> StoredMessage | None:
        """A message's latest state, if it is still here."""
        return self._rows.get(message_id)

    def sent_as(self, dedup: str) -> StoredMessage | None:
        """The message stored under a dedup key, if it is still here."""
        message_id = self._by_dedup.get(dedup)
        return None if message_id is None else self._rows.get(message_id)

    def changed_since(self, rev: int) -> list[StoredMessage] | None:
        """Everything changed after ``rev``, oldest change first; None when memory does not reach back that far."""
        if rev < self.floor:
            return None
        found = []
        for row in reversed(self._rows.values()):
            if row.message.rev <= rev:
                break
            found.append(row)
        return found[::-1]

    def newest(self, limit: int) -> list[StoredMessage] | None:
        """The ``limit`` newest messages by id, ascending; None when memory does not hold that many for certain."""
        certain = sorted(id for id in self._rows if id > self.floor)
        if len(certain) < limit and self.floor > 0:
            return None
        return [self._rows[id] for id in certain[-limit:]]


@dataclass(slots=True)
class Attendance:
    """One user's presence in a room: how many connections, what they chose to show, when they were last here."""

    connections: int = 0
    shown: Status = "online"
    announced: bool = False
    last_seen_ms: int | None = None

    @property
    def status(self) -> Status:
        """What the others see."""
        return self.shown if self.announced else "offline"


@dataclass(slots=True)
class RoomState:
    """What a live room knows, and its one counter; callers hold the room's turn when they change the numbering."""

    room: Room
    members: Mapping[UserId, Member]
    recent: RecentMessages
    last_seq: int = 0
    cursors: dict[UserId, int] = field(default_factory=dict)
    attendance: dict[UserId, Attendance] = field(default_factory=dict)

    @property
    def status(self) -> Literal["active", "waiting", "ended"]:
        """Ended, waiting for a second person (private rooms), or active."""
        if self.room.ended_at_ms is not None:
            return "ended"
        return "waiting" if self.room.kind == "private" and len(self.members) < 2 else "active"

    def publish(self, row: StoredMessage) -> None:
        """Take a stored message or change into the room's history; its ``rev`` is the room's newest number."""
        self.last_seq = max(self.last_seq, row.message.rev)
        self.recent.add(row)

    # Read cursors

    def read_up_to(self, user_id: UserId) -> int:
        """A user's read cursor."""
        return self.cursors.get(user_id, 0)

    def raise_cursor(self, user_id: UserId, up_to: int) -> Receipt | None:
        """Raise a read cursor; None when it is there already. It never passes the newest message."""
        bound = min(up_to, self.last_seq)
        if bound <= self.read_up_to(user_id):
            return None
        self.cursors[user_id] = bound
        return self.receipt(user_id)

    def receipt(self, user_id: UserId) -> Receipt:
        """A user's cursor and last presence, as they are stored."""
        attendance = self.attendance.get(user_id)
        return Receipt(
            room_id=self.room.id,
            user_id=user_id,
            up_to=self.read_up_to(user_id),
            last_seen_ms=attendance.last_seen_ms if attendance else None,
        )

    def restore(self, receipts: Iterable[Receipt]) -> None:
        """Take in the cursors and last presences that were stored."""
        for receipt in receipts:
            self.cursors[receipt.user_id] = receipt.up_to
            self.attendance[receipt.user_id] = Attendance(last_seen_ms=receipt.last_seen_ms)

    def is_read(self, row: StoredMessage, viewer: UserId | None) -> bool:
        """One's own message: whether somebody else has read it; anybody else's: whether the viewer has."""
        message = row.message
        if viewer is not None and message.sender_id == viewer:
            return any(up_to >= message.id for user_id, up_to in self.cursors.items() if user_id != viewer)
        return viewer is not None and self.read_up_to(viewer) >= message.id

    # Presence

    def arrive(self, user_id: UserId) -> bool:
        """Count a user's connection in; True when they were not here before (a reload within the grace is not)."""
        attendance = self.attendance.setdefault(user_id, Attendance())
        attendance.connections += 1
        if attendance.announced:
            return False
        attendance.announced = True
        attendance.shown = "online"
        return True

    def is_here(self, user_id: UserId) -> bool:
        """Whether a user has a connection to this room."""
        attendance = self.attendance.get(user_id)
        return attendance is not None and attendance.connections > 0

    def depart(self, user_id: UserId, now_ms: int) -> bool:
        """Count a connection out; True when it was the last one and the grace begins."""
        attendance = self.attendance[user_id]
        attendance.connections -= 1
        attendance.last_seen_ms = now_ms
        return attendance.connections == 0

    def is_gone(self, user_id: UserId) -> bool:
        """After the grace: settle a departure; False when the user came back meanwhile or was gone already."""
        attendance = self.attendance.get(user_id)
        if attendance is None or attendance.connections > 0 or not attendance.announced:
            return False
        attendance.announced = False
        return True

    def show(self, user_id: UserId, status: Status) -> bool:
        """Set what the others see of a user who is here; False when it was that already."""
        attendance = self.attendance.get(user_id)
        if attendance is None or attendance.shown == status:
            return False
        attendance.shown = status
        return True


def excerpt(content: str) -> str:
    """The beginning of a message, on one line, for a quote."""
    text = " ".join(content.split())
    return text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"
