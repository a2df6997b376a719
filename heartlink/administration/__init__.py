"""Administering: the policy over REST, previews, audit and undo, the first administrator (PROTOCOL 5)."""

from heartlink.administration.calls import CALLS, CHANGES_LIMIT, Call, WantedChange, call_for
from heartlink.administration.keepers import MANAGE
from heartlink.administration.notices import Notices
from heartlink.administration.office import AUDIT_LIMIT, EXPLAIN_OTHERS, NOTIFY, Administration
from heartlink.administration.setup import Setup
from heartlink.administration.wishes import Body, Wish

__all__ = [
    "AUDIT_LIMIT",
    "CALLS",
    "CHANGES_LIMIT",
    "EXPLAIN_OTHERS",
    "MANAGE",
    "NOTIFY",
    "Administration",
    "Body",
    "Call",
    "Notices",
    "Setup",
    "WantedChange",
    "Wish",
    "call_for",
]
