"""The STUN and TURN servers as browsers want to hear of them, with credentials for whoever may call."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from heartlink.model import User

TURN_SECONDS: Final = 7 * 24 * 3600
"""How long credentials made of the shared secret are good for: longer than any call."""

IceServer = dict[str, str]


class IceServers:
    """What the greeting says of ``--ice-servers``: ``url``, or ``url|user|credential``.

    A TURN server without credentials of its own gets such as expire, made of ``turn_secret`` (the way that TURN's REST
    API and coturn's ``use-auth-secret`` know). Whoever is not signed in hears of no TURN server.
    """

    def __init__(self, entries: tuple[str, ...], turn_secret: str, clock: Callable[[], int]) -> None:
        self._entries = [entry.split("|", 2) for entry in entries]
        self._secret = turn_secret.encode()
        self._clock = clock

    def for_user(self, user: User | None) -> list[IceServer]:
        """The servers for one user's calls."""
        return [server for entry in self._entries if (server := self._server(entry, user)) is not None]

    def _server(self, entry: list[str], user: User | None) -> IceServer | None:
        url, *credentials = entry
        if not url.startswith(("turn:", "turns:")):
            return {"urls": url}
        if user is None:
            return None
        username, credential = credentials or self._made_for(user)
        return {"urls": url, "username": username, "credential": credential}

    def _made_for(self, user: User) -> tuple[str, str]:
        username = f"{self._clock() // 1000 + TURN_SECONDS}:{user.id}"
        digest = hmac.new(self._secret, username.encode(), hashlib.sha1).digest()
        return username, base64.b64encode(digest).decode()
