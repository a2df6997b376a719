"""Whom a text calls by name."""

from __future__ import annotations

import re
from typing import Final

from heartlink.chat.live import LiveRoom
from heartlink.model import UserId
from heartlink.names import fold

MENTIONS_LIMIT: Final = 50
"""People one message may call."""

_MENTION = re.compile(r"@([^\s@]{1,64})")
_TRAILING = ".,;:!?)]}>\"'。，；：！？）】》」』”’…-"


def mentioned(content: str, live: LiveRoom) -> tuple[UserId, ...]:
    """The members whose names stand behind an ``@`` in a text, in order."""
    names = {fold(match.rstrip(_TRAILING)) for match in _MENTION.findall(content)}
    names |= {fold(match) for match in _MENTION.findall(content)}
    found = [
        user_id for user_id in live.state.members if (user := live.user(user_id)) is not None and user.fold in names
    ]
    return tuple(found[:MENTIONS_LIMIT])
