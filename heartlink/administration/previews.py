"""What changes would mean for people, before they are made (PROTOCOL 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from heartlink.model import User, UserId
from heartlink.protocol import iso
from heartlink.rights import EVERYWHERE, Rights, room_scope
from heartlink.rights.deltas import Delta, Effective, Who
from heartlink.rights.entries import Entry
from heartlink.rights.policy import Policy

PEOPLE_LIMIT: Final = 200
"""People shown one by one in a preview; all are counted."""


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An effective right, or a denial, as ``permission_changed`` has it."""

    permission: str
    scope: str
    expires_at: str | None
    effect: str


class PreviewPerson(msgspec.Struct, frozen=True, kw_only=True):
    """What one subject would gain and lose; ``user_id`` is null for whoever is not signed in."""

    user_id: str | None
    username: str
    roles_before: list[str]
    roles_after: list[str]
    granted: list[EntryView]
    revoked: list[EntryView]
    menus_added: list[str]
    menus_removed: list[str]
    rooms_gained: list[str]
    rooms_lost: list[str]


class PreviewSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole in numbers, and in one sentence: people touched, of whom so many gain and lose, rooms and menus."""

    people: int
    gaining: int
    losing: int
    rooms: int
    menus: int
    text: str


class PreviewReply(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly those whose rights would change; the first of them one by one. ``version`` is what it is based on."""

    version: int
    summary: PreviewSummary
    people: list[PreviewPerson]
    total: int
    has_more: bool


class RoomsMoved:
    """Which rooms a change opens and closes to a subject."""

    def __init__(self, policy: Policy, now_ms: int) -> None:
        self._policy = policy
        self._now_ms = now_ms

    def of(self, delta: Delta) -> tuple[list[str], list[str]]:
        """Ids of rooms gained and lost, of those that the subject belongs to or that grants name."""
        scopes = {entry.scope for entry in (*delta.old.entries, *delta.new.entries)} - {EVERYWHERE}
        if delta.who is not None:
            scopes |= {room_scope(room_id) for room_id in self._policy.memberships_of(delta.who)}
        before, after = self._readable(delta.old, scopes), self._readable(delta.new, scopes)
        return sorted(after - before), sorted(before - after)

    def _readable(self, effective: Effective, scopes: set[str]) -> set[str]:
        rights = Rights.of(effective.entries)
        return {scope.removeprefix("room:") for scope in scopes if rights.allows("chat.read", scope, self._now_ms)}


Moved = tuple[list[str], list[str]]
"""Ids of rooms gained and lost."""


def preview_reply(
    deltas: Sequence[Delta], names: Mapping[UserId, User], *, version: int, rooms: Callable[[Delta], Moved]
) -> PreviewReply:
    """The answer for deltas, in the order in which they come."""
    moved = [rooms(delta) for delta in deltas]
    shown = zip(deltas[:PEOPLE_LIMIT], moved, strict=False)
    return PreviewReply(
        version=version,
        summary=summarize(deltas, moved),
        people=[_person(delta, names, gained, lost) for delta, (gained, lost) in shown],
        total=len(deltas),
        has_more=len(deltas) > PEOPLE_LIMIT,
    )


def summarize(deltas: Sequence[Delta], moved: Sequence[Moved]) -> PreviewSummary:
    """Counts and one sentence: "removes 14 people from 3 rooms, hides 5 menus"."""
    gaining = sum(bool(delta.rights.granted) for delta in deltas)
    losing = sum(bool(delta.rights.revoked) for delta in deltas)
    opened = {room for gained, _ in moved for room in gained}
    closed = {room for _, lost in moved for room in lost}
    let_in = sum(bool(gained) for gained, _ in moved)
    removed = sum(bool(lost) for _, lost in moved)
    shows = {menu.key for delta in deltas for menu in delta.menus_added}
    hides = {key for delta in deltas for key in delta.menus_removed}
    parts = [
        f"removes {_count(removed, 'person', 'people')} from {_count(len(closed), 'room')}" if removed else "",
        f"lets {_count(let_in, 'person', 'people')} into {_count(len(opened), 'room')}" if let_in else "",
        f"hides {_count(len(hides), 'menu')}" if hides else "",
        f"shows {_count(len(shows), 'menu')}" if shows else "",
        f"takes rights from {_count(losing, 'person', 'people')}" if losing else "",
        f"gives rights to {_count(gaining, 'person', 'people')}" if gaining else "",
    ]
    said = ", ".join(part for part in parts if part)
    if not said:
        said = (
            f"changes the roles of {_count(len(deltas), 'person', 'people')}" if deltas else "changes nobody's rights"
        )
    return PreviewSummary(
        people=len(deltas),
        gaining=gaining,
        losing=losing,
        rooms=len(opened | closed),
        menus=len(shows | hides),
        text=said,
    )


def entry_view(entry: Entry) -> EntryView:
    """An effective right as it is shown."""
    ends = entry.expires_at_ms
    return EntryView(
        permission=entry.permission,
        scope=entry.scope,
        expires_at=None if ends is None else iso(ends),
        effect=entry.effect,
    )


def _person(delta: Delta, names: Mapping[UserId, User], gained: list[str], lost: list[str]) -> PreviewPerson:
    rights = delta.rights
    return PreviewPerson(
        user_id=delta.who,
        username=_name(delta.who, names),
        roles_before=list(delta.old.roles),
        roles_after=list(delta.new.roles),
        granted=[entry_view(entry) for entry in rights.granted],
        revoked=[entry_view(entry) for entry in rights.revoked],
        menus_added=[menu.key for menu in delta.menus_added],
        menus_removed=list(delta.menus_removed),
        rooms_gained=gained,
        rooms_lost=lost,
    )


def _name(who: Who, names: Mapping[UserId, User]) -> str:
    if who is None:
        return "Anonymous"
    user = names.get(who)
    return user.username if user else ""


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
