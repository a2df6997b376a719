"""The frames of the permission stream, both ways (PROTOCOL 4). Names with a capital inside are older clients' names."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from heartlink.protocol.commands import Command, Heartbeat, HeartbeatAck, Ping, Reauth
from heartlink.protocol.events import (
    AccessRevoked,
    AuthExpiring,
    ErrorFrame,
    Event,
    GoingAway,
    HeartbeatAckReply,
    HeartbeatEvent,
    HeartbeatResponse,
    Pong,
    ReauthOk,
    Reply,
)
from heartlink.protocol.notices import CacheInvalidation, Notification, SystemNotification

CHECKS_LIMIT = 1000
"""Questions in one ``permission_check_batch``."""

TYPES_LIMIT = 100
"""Kinds of notifications in one subscription."""

Resource = Annotated[str, msgspec.Meta(pattern=r"^(\*|[\w-]{1,64})$")]
Action = Annotated[str, msgspec.Meta(pattern=r"^(\*|[\w.-]{1,64})$")]
Scope = Annotated[str, msgspec.Meta(pattern=r"^(\*|room:[^/]{1,100})$")]
RequestId = Annotated[str, msgspec.Meta(max_length=64)] | int | None
"""What a question is called by who asks; its answer and its refusal repeat it."""

NotificationType = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


# --- Commands --------------------------------------------------------------------------------------


class Connect(Command, frozen=True, tag="connect"):
    """Ask for ``connection_confirmed`` again."""


class Authenticate(Command, frozen=True, tag="auth"):
    """Ask who one is here; the answer is ``auth_success``."""


class ConfirmAuthentication(Command, frozen=True, tag="auth_confirm"):
    """The same by its other name."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question: may I do this, there?"""

    resource: Resource
    action: Action
    scope: Scope = "*"

    @property
    def permission(self) -> str:
        """What is asked for, as grants call it."""
        return f"{self.resource}.{self.action}"


class PermissionCheck(Command, frozen=True, tag="permission_check"):
    """Ask whether something is allowed; ``min_version`` asks for an answer at least as new."""

    resource: Resource
    action: Action
    scope: Scope = "*"
    request_id: RequestId = None
    min_version: Annotated[int, msgspec.Meta(ge=0)] | None = None


class PermissionCheckBatch(Command, frozen=True, tag="permission_check_batch"):
    """Ask many questions at once, answered of one and the same version."""

    checks: Annotated[list[Check], msgspec.Meta(max_length=CHECKS_LIMIT)]
    request_id: RequestId = None
    min_version: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Explain(Command, frozen=True, tag="explain"):
    """Ask why: of a permission (``resource``, ``action``), or of an earlier answer (``decision_id``)."""

    resource: Resource | None = None
    action: Action | None = None
    scope: Scope = "*"
    decision_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    request_id: RequestId = None


class SubscribeNotifications(Command, frozen=True, tag="subscribe_notifications"):
    """Hear only these types of notifications from now on; changes of rights are always told."""

    types: Annotated[list[NotificationType], msgspec.Meta(max_length=TYPES_LIMIT)]


class UnsubscribeNotifications(Command, frozen=True, tag="unsubscribe_notifications"):
    """Hear these types no more; without ``types`` none at all."""

    types: Annotated[list[NotificationType], msgspec.Meta(max_length=TYPES_LIMIT)] | None = None


PERMISSION_COMMANDS: tuple[type[Command], ...] = (
    Connect,
    Authenticate,
    ConfirmAuthentication,
    PermissionCheck,
    PermissionCheckBatch,
    Explain,
    SubscribeNotifications,
    UnsubscribeNotifications,
    Heartbeat,
    HeartbeatAck,
    Ping,
    Reauth,
)


# --- Greeting --------------------------------------------------------------------------------------


class PermissionView(msgspec.Struct, frozen=True, kw_only=True):
    """One effective right, or a denial that takes something away from a wider one."""

    permission: str
    scope: str
    expires_at: str | None
    effect: Literal["allow", "deny"]


class MenuView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the navigation."""

    key: str
    name: str
    icon: str
    url: str
    parent: str | None
    sort_order: int


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this stream can do."""

    permission_notifications: bool = True
    role_updates: bool = True
    menu_access_updates: bool = True
    cache_invalidation: bool = True
    heartbeat: bool = True
    explain: bool = True
    resume: bool = True


class ConnectionConfirmed(Reply, frozen=True, tag="connection_confirmed"):
    """The greeting, always the first frame (PROTOCOL 4.1); ``version`` is the latest that changed this user."""

    user_id: str | None
    username: str
    groups: list[str]
    server_time: str
    epoch: str
    version: int
    heartbeat_interval: float
    features: Features
    resume: Literal["none", "changes", "full"]
    resume_reason: Literal["epoch_changed", "too_far_behind", "ahead_of_server"] | None


class PermissionSnapshot(Event, frozen=True, tag="permission_snapshot"):
    """All that a user may: roles, effective rights, menu entries."""

    epoch: str
    version: int
    roles: list[str]
    permissions: list[PermissionView]
    menus: list[MenuView]


class AuthSuccess(Reply, frozen=True, tag="auth_success"):
    """Whose stream this is."""

    user_id: str | None
    username: str
    timestamp: str


# --- Pushes ----------------------------------------------------------------------------------------


class Push(Event, frozen=True, kw_only=True):
    """Base of what a commit tells: ``prev`` is the version before it of this user."""

    version: int
    prev: int
    timestamp: str


class RoleChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody's roles before and after."""

    user_id: str | None
    old_roles: list[str]
    new_roles: list[str]


class RoleUpdated(Push, frozen=True, tag="role_updated"):
    """The user has other roles."""

    data: RoleChange


class MenuChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that show from now on, or look different, and the keys of those that do not show any more."""

    added: list[MenuView]
    removed: list[str]


class MenuAccess(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What changed of somebody's navigation."""

    user_id: str | None
    menu_changes: MenuChanges


class MenuAccessChanged(Push, frozen=True, tag="menu_access_changed"):
    """The user sees other menu entries."""

    data: MenuAccess


class RightsChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What changed of somebody's rights; ``permissions`` is all of them. A denial that comes counts as revoked."""

    user_id: str | None
    action: Literal["granted", "revoked", "updated"]
    granted: list[PermissionView]
    revoked: list[PermissionView]
    permissions: list[PermissionView]
    because: str


class PermissionChanged(Push, frozen=True, tag="permission_changed"):
    """The end of what a commit tells a user: whoever was at ``prev`` is at ``version`` now."""

    data: RightsChange


# --- Answers ---------------------------------------------------------------------------------------


class SubscriptionConfirmed(Reply, frozen=True, tag="subscription_confirmed"):
    """The types that are heard from now on."""

    subscribed_types: list[str]


class UnsubscriptionConfirmed(Reply, frozen=True, tag="unsubscription_confirmed"):
    """The types that are heard no more (null: none is heard any more), and those that still are (null: all others)."""

    unsubscribed_types: list[str] | None
    subscribed_types: list[str] | None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; ``decision_id`` is what :class:`Explain` takes."""

    resource: str
    action: str
    scope: str
    has_permission: bool
    decision_id: str


class PermissionCheckResponse(Reply, frozen=True, tag="permission_check_response"):
    """Whether it is allowed, as of ``version`` of the whole policy."""

    request_id: RequestId
    resource: str
    action: str
    scope: str
    has_permission: bool
    version: int
    decision_id: str
    timestamp: str


class PermissionCheckBatchResponse(Reply, frozen=True, tag="permission_check_batch_response"):
    """Whether they are allowed, in the order in which they were asked, all of the same version."""

    request_id: RequestId
    results: list[CheckResult]
    version: int
    timestamp: str


class BecauseView(msgspec.Struct, frozen=True, kw_only=True):
    """One grant that decided: what it says, until when, and the way by which it came to the user.

    ``chain`` is the user's own role and those it inherits from, a group, or the role in the room; ``text`` says it all.
    """

    effect: Literal["allow", "deny"]
    permission: str
    scope: str
    via: Literal["user", "role", "group", "everyone", "anonymous", "room_role"]
    chain: list[str]
    grant_id: str | None
    expires_at: str | None
    text: str


class NeedView(msgspec.Struct, frozen=True, kw_only=True):
    """What would have to be so for the answer to be yes."""

    what: Literal["grant", "lift_denial"]
    permission: str
    scope: str
    text: str


class GranterView(msgspec.Struct, frozen=True, kw_only=True):
    """Who could give it: somebody who runs the user's own room, or the administrators, who are not named."""

    kind: Literal["user", "administrators"]
    user_id: str | None
    username: str | None
    display_name: str | None
    text: str


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier answer: what it was, of which version, and whether the user's rights have changed since."""

    allowed: bool
    version: int
    changed_since: bool


class Explanation(Reply, frozen=True, tag="explanation"):
    """Why something is allowed or not, as of ``version`` of the whole policy."""

    request_id: RequestId
    allowed: bool
    resource: str
    action: str
    scope: str
    because: list[BecauseView]
    needs: list[NeedView]
    who_can_grant: list[GranterView]
    version: int
    decision_id: str | None
    decided: Decided | None


PERMISSION_EVENTS: tuple[type[Event], ...] = (
    ConnectionConfirmed,
    PermissionSnapshot,
    RoleUpdated,
    MenuAccessChanged,
    PermissionChanged,
    CacheInvalidation,
    SystemNotification,
    Notification,
    PermissionCheckResponse,
    PermissionCheckBatchResponse,
    Explanation,
    SubscriptionConfirmed,
    UnsubscriptionConfirmed,
    AuthSuccess,
    ErrorFrame,
    HeartbeatEvent,
    HeartbeatAckReply,
    HeartbeatResponse,
    Pong,
    ReauthOk,
    AuthExpiring,
    AccessRevoked,
    GoingAway,
)
