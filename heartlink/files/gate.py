"""Whether an upload may begin: who, where, how large, how many at once, and whether there is space."""

from __future__ import annotations

from collections.abc import Callable

from heartlink.chat import LiveRoom, LiveRooms
from heartlink.chat.talk import require
from heartlink.errors import Refusal, draining, not_saved, too_large, unauthenticated, unfit
from heartlink.files.publisher import Wish
from heartlink.files.quotas import Quotas, Reservation
from heartlink.files.spool import Spool
from heartlink.files.transfers import Transfers
from heartlink.media import read_duration, read_waveform
from heartlink.model import Identity, User, UserId


class Gate:
    """Everything that is asked before a byte is taken."""

    def __init__(
        self,
        live_rooms: LiveRooms,
        transfers: Transfers,
        quotas: Quotas,
        spool: Spool,
        *,
        is_current: Callable[[Identity], bool],
        is_store_up: Callable[[], bool],
        is_draining: Callable[[], bool],
        message_chars: int,
        uploads_per_user: int,
    ) -> None:
        self.quotas = quotas
        self._live_rooms = live_rooms
        self._transfers = transfers
        self._spool = spool
        self._is_current = is_current
        self._is_store_up = is_store_up
        self._is_draining = is_draining
        self._message_chars = message_chars
        self._uploads_per_user = uploads_per_user

    def check_wish(self, wish: Wish) -> None:
        """Raise the Refusal for what no message could say."""
        if len(wish.content) > self._message_chars:
            raise too_large("The message", f"{self._message_chars} characters")
        if wish.client_id is not None and not 1 <= len(wish.client_id) <= 64:
            raise unfit("client_id", "it does not have 1 to 64 characters")
        if wish.kind not in ("", "voice", "file"):
            raise unfit("kind", "it is neither 'voice' nor 'file'", "Leave it out: what a file is, its bytes say.")
        read_duration(wish.duration)
        read_waveform(wish.waveform)

    def check_house(self) -> None:
        """Raise ``draining`` or ``not_saved`` while nothing can be taken in."""
        if self._is_draining():
            raise draining()
        if not self._is_store_up():
            raise not_saved()

    def check_count(self, user_id: UserId) -> None:
        """Raise ``too_many`` when enough of a user's uploads are running."""
        if self._uploads_per_user and self._transfers.count(user_id, "upload") >= self._uploads_per_user:
            raise Refusal(
                "too_many",
                429,
                f"{self._uploads_per_user} of your uploads are running already.",
                "Wait until one of them is done.",
                retry_after_seconds=1.0,
            )

    async def reserve(self, user: User, length: int | None) -> Reservation:
        """Space for an upload of a length (None: not known yet), on the disk and in the user's quota."""
        declared = length or 0
        self.quotas.check_length(declared)
        await self._spool.make_room(declared)
        return await self.quotas.reserve(user.id, declared)

    def capabilities(self, live: LiveRoom, identity: Identity) -> tuple[str, ...]:
        """What somebody may do in a room now; raises ``unauthenticated`` when their session has ended."""
        if not self._is_current(identity):
            raise unauthenticated("Your sign-in has ended meanwhile.")
        return self._live_rooms.rights(live, identity.user.id).capabilities(live.id)

    def check_right(self, live: LiveRoom, identity: Identity) -> User:
        """The user, if they may send into the room now."""
        return require(live, identity.user, self.capabilities(live, identity), "chat.send")
