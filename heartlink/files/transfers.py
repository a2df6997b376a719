"""Uploads and downloads that are running: counted by user, and ended with the right, the session, the room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from heartlink.chat import LiveRooms
from heartlink.errors import Refusal, forbidden, not_found, room_ended, unauthenticated
from heartlink.model import Identity, RoomId, SessionId, UserId
from heartlink.rights import room_scope

NEEDED: Final = {"upload": "chat.send", "download": "chat.read"}
"""The permission that each direction needs, as long as it lasts."""


@dataclass(eq=False, slots=True)
class Transfer:
    """A file on its way. ``end`` is called at most once, in the turn in which it may go on no more; it must not raise.

    ``message_id`` is that of the message whose file is read; None for what is being uploaded.
    """

    direction: Literal["upload", "download"]
    room_id: RoomId
    identity: Identity | None
    end: Callable[[Refusal], None]
    message_id: int | None = None

    @property
    def user_id(self) -> UserId | None:
        """Whose it is; None when nobody is signed in."""
        return None if self.identity is None else self.identity.user.id


class Transfers:
    """All that is running. Whoever begins one calls ``over`` when it is done, whatever has become of it."""

    def __init__(self, live_rooms: LiveRooms) -> None:
        self._live_rooms = live_rooms
        self._running: dict[UserId | None, dict[Transfer, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._running.values()))

    def begin(self, transfer: Transfer) -> None:
        """From here on it ends with its right; the caller has made sure, in this turn, that there is one."""
        self._running.setdefault(transfer.user_id, {})[transfer] = None

    def over(self, transfer: Transfer) -> None:
        """It is done, or was ended; safe to call twice."""
        running = self._running.get(transfer.user_id)
        if running is not None:
            running.pop(transfer, None)
            if not running:
                del self._running[transfer.user_id]

    def count(self, user_id: UserId | None, direction: str) -> int:
        """How many of a user are running."""
        return sum(transfer.direction == direction for transfer in self._running.get(user_id, ()))

    # Ends from outside: nothing here awaits

    def judge(self, who: UserId | None) -> None:
        """The rights of a user (None: of whoever is not signed in) have changed."""
        for transfer in list(self._running.get(who, ())):
            needed = NEEDED[transfer.direction]
            live = self._live_rooms.loaded(transfer.room_id)
            if live is None or not self._live_rooms.may(live, who, needed):
                self._end(transfer, forbidden(needed, room_scope(transfer.room_id)))

    def end_session(self, session_id: SessionId) -> None:
        """A session was signed out."""
        self._end_all(
            (one for one in self._all() if one.identity is not None and one.identity.session_id == session_id),
            unauthenticated("Your sign-in has ended meanwhile."),
        )

    def end_user(self, user_id: UserId, keep: SessionId | None) -> None:
        """All of a user's tokens have ended, but perhaps one session."""
        self._end_all(
            (one for one in self._running.get(user_id, ()) if one.identity and one.identity.session_id != keep),
            unauthenticated("Your sign-in has ended meanwhile."),
        )

    def end_room(self, room_id: RoomId) -> None:
        """A room was ended: nothing is sent into it any more; what it has may still be read."""
        uploads = (one for one in self._all() if one.room_id == room_id and one.direction == "upload")
        self._end_all(uploads, room_ended(room_id))

    def end_message(self, room_id: RoomId, message_id: int) -> None:
        """A message was deleted: its file is read no further."""
        downloads = (one for one in self._all() if one.room_id == room_id and one.message_id == message_id)
        self._end_all(downloads, not_found("This file"))

    def end_all(self, refusal: Refusal) -> None:
        """The house closes."""
        self._end_all(self._all(), refusal)

    def _all(self) -> Iterable[Transfer]:
        return (transfer for running in self._running.values() for transfer in running)

    def _end_all(self, transfers: Iterable[Transfer], refusal: Refusal) -> None:
        for transfer in list(transfers):
            self._end(transfer, refusal)

    def _end(self, transfer: Transfer, refusal: Refusal) -> None:
        self.over(transfer)
        transfer.end(refusal)
