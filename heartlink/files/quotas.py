"""What may be uploaded: bytes of a file, of a user, and how many at once."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from heartlink.errors import Refusal, too_large
from heartlink.model import UserId
from heartlink.store.files import Files

REMEMBERED_USERS: Final = 10_000
"""Users whose total is kept in memory; of others it is read again."""


class Quotas:
    """Counts what users have and what they are about to have. 0 is no limit, of any of them."""

    def __init__(self, files: Files, *, file_bytes: int, user_bytes: int) -> None:
        self.file_bytes = file_bytes
        self._files = files
        self._user_bytes = user_bytes
        self._kept: OrderedDict[UserId, int] = OrderedDict()
        self._stale: set[UserId] = set()
        self._reserved: Counter[UserId] = Counter()

    def check_length(self, length: int) -> None:
        """Raise ``too_large`` (413) for a file over the limit."""
        if self.file_bytes and length > self.file_bytes:
            raise too_large("The file", f"{self.file_bytes} bytes")

    async def reserve(self, user_id: UserId, length: int) -> Reservation:
        """Set so much aside for an upload; raises ``quota_exceeded``."""
        await self._load(user_id)
        reservation = Reservation(self, user_id)
        reservation.grow_to(length)
        return reservation

    def hold(self, user_id: UserId, length: int) -> Reservation:
        """Set so much aside again that was before a restart, whatever else there is."""
        return Reservation(self, user_id, length)

    async def _load(self, user_id: UserId) -> None:
        if not self._user_bytes:
            return
        if user_id not in self._kept or user_id in self._stale:
            self._stale.discard(user_id)
            self._kept[user_id] = await self._files.bytes_of(user_id)
        self._kept.move_to_end(user_id)
        while len(self._kept) > REMEMBERED_USERS:
            oldest = next((user for user in self._kept if not self._reserved[user]), None)
            if oldest is None:
                break
            del self._kept[oldest]
            self._stale.discard(oldest)

    def kept(self, user_id: UserId, more_bytes: int) -> None:
        """So much was stored for good; negative: removed."""
        if user_id in self._kept:
            self._kept[user_id] = max(0, self._kept[user_id] + more_bytes)

    def doubt(self, user_id: UserId) -> None:
        """What was stored of a user is not known: it is read again before their next upload."""
        if user_id in self._kept:
            self._stale.add(user_id)

    def _move(self, user_id: UserId, more_bytes: int) -> None:
        if more_bytes > 0 and self._user_bytes:
            used = self._kept.get(user_id, 0) + self._reserved[user_id]
            if used + more_bytes > self._user_bytes:
                raise quota_exceeded(self._user_bytes, self._user_bytes - used)
        self._reserved[user_id] += more_bytes
        if not self._reserved[user_id]:
            del self._reserved[user_id]


class Reservation:
    """Bytes set aside for one upload, until it is released."""

    def __init__(self, quotas: Quotas, user_id: UserId, held: int = 0) -> None:
        self._quotas = quotas
        self._user_id = user_id
        self._bytes = held
        quotas._reserved[user_id] += held

    def grow_to(self, length: int) -> None:
        """It has become longer than was said; raises ``quota_exceeded``."""
        if length > self._bytes:
            self._quotas._move(self._user_id, length - self._bytes)
            self._bytes = length

    def release(self) -> None:
        """It is over; safe to call twice."""
        held, self._bytes = self._bytes, 0
        self._quotas._move(self._user_id, -held)


def quota_exceeded(limit: int, left: int) -> Refusal:
    """Somebody has uploaded as much as they may."""
    return Refusal(
        "quota_exceeded",
        413,
        f"Your files may come to {limit} bytes together, and {max(0, left)} are left.",
        "Delete messages with files that you need no more, or ask the operator for more space.",
    )
