"""Who has listened to a voice message: each of the others once, in the message itself (PROTOCOL 3.2)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from heartlink.errors import Refusal, not_found, unfit
from heartlink.model import Message, User


def listened_by(user: User) -> Callable[[Message, int], Message | Refusal]:
    """The change that notes that somebody has listened; none when that is known."""

    def change(message: Message, now_ms: int) -> Message | Refusal:
        if message.deleted:
            return not_found(f"The message {message.id} was deleted; it")
        if message.message_type != "voice":
            return unfit("id", "it is no voice message", "Send the id of a voice message.")
        if message.sender_id == user.id:
            return unfit("id", "it is your own voice message", "Send the id of somebody else's.")
        listeners = message.listened or ()
        if user.username in listeners:
            return message
        return msgspec.structs.replace(message, listened=(*listeners, user.username))

    return change
