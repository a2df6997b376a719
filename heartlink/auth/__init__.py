"""Who is there: passwords, tokens, tickets and the rules of the door (PROTOCOL 2.1, 5)."""

from __future__ import annotations

from heartlink.auth.door import SESSION_COOKIE, Credential, Doorkeeper, find_credential, is_private_name, subprotocols
from heartlink.auth.sessions import Auth, SignedIn

__all__ = [
    "SESSION_COOKIE",
    "Auth",
    "Credential",
    "Doorkeeper",
    "SignedIn",
    "find_credential",
    "is_private_name",
    "subprotocols",
]
