"""What an administrator may ask for: each wish turns into changes of the policy as it is when they are made.

The same wishes serve REST and its preview, so what is previewed is what would be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from heartlink.administration.views import Effect, SubjectKind
from heartlink.model import UserId
from heartlink.rights.changes import AnyChange
from heartlink.rights.policy import Policy

WHY_CHARS: Final = 500
PERMISSIONS_LIMIT: Final = 1000
ROLES_PER_USER_LIMIT: Final = 100
GROUP_MEMBERS_LIMIT: Final = 10_000
LONGEST_SECONDS: Final = 10 * 366 * 86_400
"""The longest that ``expires_in`` may reach: what shall last longer needs no end."""

Why = Annotated[str, msgspec.Meta(max_length=WHY_CHARS)]
Permissions = Annotated[list[str], msgspec.Meta(max_length=PERMISSIONS_LIMIT)]
SortOrder = Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]
Icon = Annotated[str, msgspec.Meta(max_length=64)]
Names = Callable[[str], str]
"""User id to user name."""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What every change may carry: the reason, for the audit and for those whose rights it changes."""

    why: Why = ""


class NewRole(Body, frozen=True, kw_only=True):
    """A new role; it inherits what its parent holds."""

    key: str
    name: str = ""
    parent: str | None = None
    permissions: Permissions = []


class RoleChanges(Body, frozen=True, kw_only=True):
    """What shall be changed of a role; what is not there stays."""

    name: str | UnsetType = UNSET
    parent: str | UnsetType | None = UNSET
    permissions: Permissions | UnsetType = UNSET


class NewRoles(Body, frozen=True, kw_only=True):
    """All roles of a user, by key."""

    roles: Annotated[list[str], msgspec.Meta(max_length=ROLES_PER_USER_LIMIT)]


class NewGroup(Body, frozen=True, kw_only=True):
    """A new group."""

    key: str
    name: str = ""


class NewGroupMembers(Body, frozen=True, kw_only=True):
    """All members of a group, by id."""

    users: Annotated[list[str], msgspec.Meta(max_length=GROUP_MEMBERS_LIMIT)]


class NewSubject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a grant speaks of; everyone and anonymous have no ``id``."""

    kind: SubjectKind
    id: str = ""


class NewGrant(Body, frozen=True, kw_only=True):
    """A new grant; it ends at ``expires_at``, or after ``expires_in`` seconds, or never."""

    subject: NewSubject
    permission: str
    scope: str = "*"
    effect: Effect = "allow"
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    expires_in: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_SECONDS)] | None = None


class NewMenu(Body, frozen=True, kw_only=True):
    """A new menu entry; without a permission it shows by ``menu.<key>``."""

    key: str
    name: str
    icon: Icon = ""
    url: str = ""
    parent: str | None = None
    sort_order: SortOrder = 0
    permission: str | None = None


class MenuChanges(Body, frozen=True, kw_only=True):
    """What shall be changed of a menu entry; what is not there stays."""

    name: str | UnsetType = UNSET
    icon: Icon | UnsetType = UNSET
    url: str | UnsetType = UNSET
    parent: str | UnsetType | None = UNSET
    sort_order: SortOrder | UnsetType = UNSET
    permission: str | UnsetType = UNSET


class Wish:
    """Something to be done to the policy."""

    def mentions(self, policy: Policy) -> tuple[UserId, ...]:
        """Users whose names the reason needs."""
        return ()

    def propose(self, policy: Policy, now_ms: int) -> Sequence[AnyChange]:
        """The changes that fulfil it, worked out at the last step; raises the Refusal that keeps it from being done."""
        raise NotImplementedError

    def reason(self, names: Names) -> str:
        """What is done, to follow the name of who does it: ``granted chat.send to the role staff``."""
        raise NotImplementedError

    def outcome(self, policy: Policy) -> msgspec.Struct:
        """What was made, or what is no more; call after the changes were made."""
        raise NotImplementedError


def shown(names: Sequence[str], limit: int = 5) -> str:
    """Some names in a sentence."""
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
