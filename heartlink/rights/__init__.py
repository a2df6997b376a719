"""Who may do what: pure, no I/O, no clock of its own (PROTOCOL 4.4, docs/rights.md)."""

from heartlink.rights.entries import EVERYWHERE
from heartlink.rights.grants import (
    ANONYMOUS,
    EVERYONE,
    RESTRICTED,
    ROLE_PERMISSIONS,
    ROLE_RANK,
    ROOM_PERMISSIONS,
    Restriction,
    Rights,
    guest_access_grants,
    is_restriction,
    membership_grants,
    restriction_grant,
    room_scope,
)

__all__ = [
    "ANONYMOUS",
    "EVERYONE",
    "EVERYWHERE",
    "RESTRICTED",
    "ROLE_PERMISSIONS",
    "ROLE_RANK",
    "ROOM_PERMISSIONS",
    "Restriction",
    "Rights",
    "guest_access_grants",
    "is_restriction",
    "membership_grants",
    "restriction_grant",
    "room_scope",
]
