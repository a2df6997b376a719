"""What a commit changed for one subject, as frames; the same bytes go to all who hear them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from heartlink.hub import frame_of
from heartlink.model import Menu
from heartlink.policy import Step
from heartlink.protocol import (
    MenuAccess,
    MenuAccessChanged,
    MenuChanges,
    MenuView,
    PermissionChanged,
    PermissionView,
    RightsChange,
    RoleChange,
    RoleUpdated,
    iso,
)
from heartlink.rights.entries import Difference, Entry


def permission_view(entry: Entry) -> PermissionView:
    """An effective right as the wire shows it."""
    ends = entry.expires_at_ms
    return PermissionView(
        permission=entry.permission,
        scope=entry.scope,
        expires_at=None if ends is None else iso(ends),
        effect=entry.effect,
    )


def permission_views(entries: Iterable[Entry]) -> list[PermissionView]:
    """Effective rights in one order: what holds everywhere first."""
    ordered = sorted(entries, key=lambda entry: (entry.scope, entry.permission, entry.effect))
    return [permission_view(entry) for entry in ordered]


def menu_views(menus: Iterable[Menu]) -> list[MenuView]:
    """Menu entries as the wire shows them."""
    return [
        MenuView(
            key=menu.key,
            name=menu.name,
            icon=menu.icon,
            url=menu.url,
            parent=menu.parent,
            sort_order=menu.sort_order,
        )
        for menu in menus
    ]


def frames_of_step(step: Step) -> list[bytes]:
    """The frames that tell a subject of one commit, in their order (PROTOCOL 4.2); ``permission_changed`` is last."""
    who, old, new = step.delta
    version, prev, timestamp = step.version, step.prev, iso(step.at_ms)
    frames: list[bytes] = []
    if old.roles != new.roles:
        roles = RoleChange(user_id=who, old_roles=list(old.roles), new_roles=list(new.roles))
        frames.append(frame_of(RoleUpdated(data=roles, version=version, prev=prev, timestamp=timestamp)))
    added, removed = step.delta.menus_added, step.delta.menus_removed
    if added or removed:
        menus = MenuAccess(user_id=who, menu_changes=MenuChanges(added=menu_views(added), removed=list(removed)))
        frames.append(frame_of(MenuAccessChanged(data=menus, version=version, prev=prev, timestamp=timestamp)))
    rights = step.delta.rights
    change = RightsChange(
        user_id=who,
        action=_action(rights),
        granted=[permission_view(entry) for entry in rights.granted],
        revoked=[permission_view(entry) for entry in rights.revoked],
        permissions=permission_views(new.entries),
        because=step.because,
    )
    frames.append(frame_of(PermissionChanged(data=change, version=version, prev=prev, timestamp=timestamp)))
    return frames


def _action(rights: Difference) -> Literal["granted", "revoked", "updated"]:
    if rights.granted and not rights.revoked:
        return "granted"
    if rights.revoked and not rights.granted:
        return "revoked"
    return "updated"
