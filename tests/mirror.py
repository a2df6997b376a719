"""A client of the permission stream that believes only what it is told: snapshot, deltas, and nothing skipped."""

from __future__ import annotations

import itertools
from typing import Any

from tests.actors import Chair, Person

PUSHES = ("role_updated", "menu_access_changed", "permission_changed")


def keyed(permission: dict[str, Any]) -> tuple[Any, ...]:
    """A permission as something to compare."""
    return permission["scope"], permission["permission"], permission["effect"], permission["expires_at"] or ""


def turned(permissions: list[dict[str, Any]]) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    """Allowances and denials apart."""
    allowed = {keyed(permission) for permission in permissions if permission["effect"] == "allow"}
    return allowed, {keyed(permission) for permission in permissions} - allowed


class Mirror:
    """What a client knows of its user's rights; every frame must follow from the one before."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.version = -1
        self.roles: list[str] = []
        self.permissions: set[tuple[Any, ...]] = set()
        self.menus: dict[str, dict[str, Any]] = {}
        self.versions: list[int] = []
        """Every version that it was told of as a delta."""
        self.resumed: list[tuple[str, str | None]] = []
        self._pending: list[str] = []

    @property
    def query(self) -> str:
        """How it asks for what it has missed."""
        return "" if self.version < 0 else f"?since={self.version}&epoch={self.epoch}"

    @property
    def state(self) -> dict[str, Any]:
        """All it knows, to be compared."""
        menus = sorted(self.menus.values(), key=lambda menu: (menu["sort_order"], menu["key"]))
        return {"version": self.version, "roles": self.roles, "permissions": self.permissions, "menus": menus}

    def take(self, frame: dict[str, Any]) -> None:
        """Believe one frame."""
        kind = frame["type"]
        if kind == "connection_confirmed" and "ref" not in frame:
            self.resumed.append((frame["resume"], frame["resume_reason"]))
            self.epoch = frame["epoch"]
        elif kind == "permission_snapshot":
            assert frame["epoch"] == self.epoch
            self.version, self.roles = frame["version"], frame["roles"]
            self.permissions = set(map(keyed, frame["permissions"]))
            self.menus = {menu["key"]: menu for menu in frame["menus"]}
        elif kind in PUSHES:
            self._take_push(frame)

    def _take_push(self, frame: dict[str, Any]) -> None:
        kind, data = frame["type"], frame["data"]
        assert frame["prev"] == self.version, "a gap"
        assert frame["version"] > frame["prev"]
        self._pending.append(kind)
        if kind == "role_updated":
            assert data["oldRoles"] == self.roles != data["newRoles"]
            self.roles = data["newRoles"]
        elif kind == "menu_access_changed":
            changes = data["menuChanges"]
            assert changes["added"] or changes["removed"]
            assert set(changes["removed"]) <= set(self.menus)
            for key in changes["removed"]:
                del self.menus[key]
            self.menus |= {menu["key"]: menu for menu in changes["added"]}
        else:
            self._take_rights(data)
            assert self._pending == [push for push in PUSHES if push in self._pending], "in another order, or twice"
            self._pending = []
            self.version = frame["version"]
            self.versions.append(self.version)

    def _take_rights(self, data: dict[str, Any]) -> None:
        """Old less what was revoked and more what was granted must be the new: a denial turns its effect around."""
        given, lifted = turned(data["granted"])
        taken, denied = turned(data["revoked"])
        assert taken <= self.permissions and lifted <= self.permissions, "revoked what was not there"
        self.permissions = (self.permissions - taken - lifted) | given | denied
        assert self.permissions == set(map(keyed, data["permissions"]))
        both = bool(data["granted"]) == bool(data["revoked"])
        assert data["action"] == ("updated" if both else "granted" if data["granted"] else "revoked")
        assert isinstance(data["because"], str) and data["because"]


class Follower:
    """Somebody at a stream, with a mirror of it."""

    def __init__(self, person: Person, place: str = "") -> None:
        self.person = person
        self.mirror = Mirror()
        self._place = place
        self._chair: Chair | None = None
        self._taken = 0
        self._nonce = itertools.count()

    async def comes(self, person: Person | None = None) -> str:
        """Connects, saying what it has; how it was brought up to date."""
        self.person = person or self.person
        self._chair = await self.person.listens(self._place, self.mirror.query)
        self._taken = 0
        return str(self._chair.greeting["resume"])

    async def goes(self) -> None:
        """Hangs up."""
        if self._chair is not None:
            await self._chair.leaves()
            self._chair = None

    async def hears_out(self) -> None:
        """Hears everything until the socket closes."""
        assert self._chair is not None
        await self._chair.is_closed()
        await self._chair.leaves()
        self._take_new()

    async def settles(self) -> list[dict[str, Any]]:
        """Hears all that was sent up to now; the pushes among it."""
        assert self._chair is not None
        nonce = next(self._nonce)
        await self._chair.sends({"type": "ping", "timestamp": nonce})
        await self._chair.hears("pong", timestamp=nonce)
        return [frame for frame in self._take_new() if frame["type"] in PUSHES]

    def _take_new(self) -> list[dict[str, Any]]:
        assert self._chair is not None
        new = self._chair.heard[self._taken :]
        self._taken = len(self._chair.heard)
        for frame in new:
            self.mirror.take(frame)
        return new

    async def fresh(self) -> dict[str, Any]:
        """What a new client is told."""
        other = Follower(self.person, self._place)
        assert await other.comes() == "none"
        await other.settles()
        await other.goes()
        return other.mirror.state
