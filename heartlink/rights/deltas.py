"""What a subject's rights come to, and what a commit changes of them."""

from __future__ import annotations

from typing import NamedTuple

from heartlink.model import Menu, UserId
from heartlink.rights.entries import Difference, Entry, difference

Who = UserId | None
"""A user, or None for whoever is not signed in."""


class Effective(NamedTuple):
    """What one subject's rights come to: roles, entries in normal form, and the menu entries that show."""

    roles: tuple[str, ...]
    entries: frozenset[Entry]
    menus: tuple[Menu, ...]


class Delta(NamedTuple):
    """What a commit changed for one subject."""

    who: Who
    old: Effective
    new: Effective

    @property
    def rights(self) -> Difference:
        """What was granted and revoked."""
        return difference(self.old.entries, self.new.entries)

    @property
    def menus_added(self) -> tuple[Menu, ...]:
        """Menu entries that show now, or look different."""
        before = set(self.old.menus)
        return tuple(menu for menu in self.new.menus if menu not in before)

    @property
    def menus_removed(self) -> tuple[str, ...]:
        """Keys of menu entries that no longer show."""
        now = {menu.key for menu in self.new.menus}
        return tuple(menu.key for menu in self.old.menus if menu.key not in now)
