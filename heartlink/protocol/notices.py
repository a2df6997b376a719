"""What the permission stream tells beside rights: notifications, announcements, what is out of date (PROTOCOL 4.2)."""

from __future__ import annotations

import msgspec

from heartlink.model import CallMedia, CallOutcome
from heartlink.protocol.events import Event


class Notice(Event, frozen=True, kw_only=True):
    """Base of what is told beside rights, to those who want to hear it."""

    timestamp: str

    def kinds(self) -> frozenset[str]:
        """The types under which one subscribes to it."""
        return frozenset((str(self.__struct_config__.tag),))

    def addressed_to(self, user_id: str | None) -> Notice:
        """The same for one receiver."""
        return self


class StaleKeys(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a client should fetch anew."""

    user_id: str | None = None
    cache_keys: list[str]


class CacheInvalidation(Notice, frozen=True, tag="cache_invalidation"):
    """What the user's clients remember under these keys is out of date."""

    data: StaleKeys

    def addressed_to(self, user_id: str | None) -> Notice:
        """With the receiver's id in it."""
        return msgspec.structs.replace(self, data=msgspec.structs.replace(self.data, user_id=user_id))


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """Words to people: ``type`` is what sort of thing it is, ``by`` the user name of who sent it."""

    message: str
    type: str = "info"
    priority: str = "normal"
    by: str | None = None


class SystemNotification(Notice, frozen=True, tag="system_notification"):
    """Somebody who runs the place has something to say."""

    data: Announcement

    def kinds(self) -> frozenset[str]:
        """Its own type as well."""
        return super().kinds() | {self.data.type}


class Invited(msgspec.Struct, frozen=True, kw_only=True, tag="invite", tag_field="kind"):
    """Somebody was made a member of a room by somebody else."""

    room_id: str
    room_name: str
    role: str
    by: str | None


class Unread(msgspec.Struct, frozen=True, kw_only=True, tag="unread", tag_field="kind"):
    """A room in which the user is not has something new: its latest number, and about how many are unread."""

    room_id: str
    last_seq: int
    unread: int


class AccessRequested(msgspec.Struct, frozen=True, kw_only=True, tag="access_request", tag_field="kind"):
    """Somebody asks for a permission that the user could give."""

    user_id: str
    username: str
    permission: str
    scope: str
    message: str


class IncomingCall(msgspec.Struct, frozen=True, kw_only=True, tag="incoming_call", tag_field="kind"):
    """Somebody calls in a room; the room's page answers."""

    call_id: str
    room_id: str
    room_name: str
    username: str
    display_name: str
    user_id: str
    media: CallMedia
    message: str


class CallOver(msgspec.Struct, frozen=True, kw_only=True, tag="call_over", tag_field="kind"):
    """A call rings no longer: somebody answered it (``outcome`` is answered), or it is over."""

    call_id: str
    room_id: str
    outcome: CallOutcome


class Notification(Notice, frozen=True, tag="notification"):
    """Something for the user alone."""

    data: Invited | Unread | AccessRequested | IncomingCall | CallOver

    def kinds(self) -> frozenset[str]:
        """Its own kind as well."""
        return super().kinds() | {str(self.data.__struct_config__.tag)}
