"""The navigation of every page: the menu entries that show to whoever looks, as templates draw them (PROTOCOL 4.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from heartlink.model import Menu

ICONS: Final = (
    "rooms",
    "key",
    "shield",
    "home",
    "people",
    "settings",
    "bell",
    "globe",
    "clock",
    "lock",
    "chart",
    "folder",
    "star",
    "link",
    "help",
)
"""Drawings of the icon sheet that a menu entry may name; any other word gets a dot, an emoji is shown as it is."""

BAR_ENTRIES: Final = 5
"""Entries that stand in the bar; the others are behind 'More'."""

DEEPEST: Final = 4
"""Levels that are drawn as such; what lies deeper stands at the last."""


class Row(NamedTuple):
    """A menu entry and how deep it lies below the others."""

    menu: Menu
    depth: int
    has_children: bool


def navigation_rows(menus: Sequence[Menu]) -> list[Row]:
    """All entries in the order in which they are drawn, each followed by those below it."""
    keys = {menu.key for menu in menus}
    children: dict[str | None, list[Menu]] = {}
    for menu in menus:
        children.setdefault(menu.parent if menu.parent in keys else None, []).append(menu)

    def below(parent: str | None, depth: int) -> Iterator[Row]:
        for menu in children.get(parent, ()):
            yield Row(menu, depth, menu.key in children)
            yield from below(menu.key, min(depth + 1, DEEPEST))

    return list(below(None, 0))


def bar_groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by top entry: each with all that is below it."""
    groups: list[list[Row]] = []
    for row in rows:
        if row.depth == 0:
            groups.append([])
        groups[-1].append(row)
    return groups


def icon_of(menu: Menu) -> str:
    """The name of the drawing of an entry; empty when its icon is shown as text."""
    if menu.icon in ICONS:
        return menu.icon
    return "" if menu.icon and not menu.icon.isascii() and len(menu.icon) <= 8 else "dot"
