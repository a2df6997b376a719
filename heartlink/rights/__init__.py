"""Who may do what: pure, no I/O, no clock of its own (PROTOCOL 4.4, docs/rights.md)."""

from heartlink.rights.entries import EVERYWHERE
from heartlink.rights.grants import (
    ANONYMOUS,
    EVERYONE,
    ROLE_PERMISSIONS,
    ROLE_RANK,
    ROOM_PERMISSIONS,
    Rights,
    guest_access_grants,
    membership_grants,
    resolve,
    room_scope,
    subjects_of,
)

__all__ = [
    "ANONYMOUS",
    "EVERYONE",
    "EVERYWHERE",
    "ROLE_PERMISSIONS",
    "ROLE_RANK",
    "ROOM_PERMISSIONS",
    "Rights",
    "guest_access_grants",
    "membership_grants",
    "resolve",
    "room_scope",
    "subjects_of",
]
