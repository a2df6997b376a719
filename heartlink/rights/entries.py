"""A subject's effective rights as a set of entries, in one normal form, so that two states can be compared.

Two states that allow the same have the same entries, and ``(old - removed) | added == new`` for their difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from heartlink.rights.patterns import meet, names_of

EVERYWHERE = "*"

Patterns = Mapping[str, int | None]
"""Pattern -> when it ends, epoch milliseconds; None: never."""


class Entry(NamedTuple):
    """One effective right, or a denial that takes something away from a wider one."""

    permission: str
    scope: str
    effect: Literal["allow", "deny"]
    expires_at_ms: int | None


class Said(NamedTuple):
    """What was allowed and denied in one scope."""

    allow: Patterns
    deny: Patterns


NOTHING: Final = Said(MappingProxyType({}), MappingProxyType({}))

FORMS_REMEMBERED: Final = 256
"""Kinds of rights everywhere, and of roles in rooms beside each, whose normal form is remembered."""

_Items = tuple[tuple[str, int | None], ...]


class Difference(NamedTuple):
    """What one has more, and less, than before."""

    granted: tuple[Entry, ...]
    revoked: tuple[Entry, ...]


def normal_form(said: Mapping[str, Said]) -> frozenset[Entry]:
    """The entries that count: nothing that is denied, covered by another entry, or takes nothing away."""
    wide = _wide_form(*_items(said.get(EVERYWHERE, NOTHING)))
    found = _entries(EVERYWHERE, wide.allow, wide.deny)
    for scope, place in said.items():
        if scope != EVERYWHERE:
            found += _entries(scope, *wide.form_of(place))
    return frozenset(found)


class _WideForm:
    """What holds everywhere, and what it leaves of what is said in one scope.

    People have much in common: whoever has the same rights everywhere shares one of these, and the same role in many
    rooms is worked out once.
    """

    __slots__ = ("_scopes", "allow", "deny")

    def __init__(self, allow: Patterns, deny: Patterns) -> None:
        self.allow = _widest(_surviving(allow, deny))
        self.deny = _widest(_meets(deny, self.allow))
        self._scopes: dict[tuple[_Items, _Items], tuple[Patterns, Patterns]] = {}

    def form_of(self, place: Said) -> tuple[Patterns, Patterns]:
        """What is allowed and denied in a scope beside that."""
        key = _items(place)
        found = self._scopes.get(key)
        if found is None:
            if len(self._scopes) >= FORMS_REMEMBERED:
                self._scopes.clear()
            found = self._scopes[key] = self._work_out(place)
        return found

    def _work_out(self, place: Said) -> tuple[Patterns, Patterns]:
        allow = _widest(_surviving(_beyond(place.allow, self.allow, self.deny), place.deny))
        deny = _meets(place.deny, allow)
        given = _meets(place.deny, self.allow)
        _join(deny, {common: ends for common, ends in given.items() if not _is_within(common, self.deny)})
        return allow, _widest(deny)


@lru_cache(maxsize=FORMS_REMEMBERED)
def _wide_form(allow: _Items, deny: _Items) -> _WideForm:
    return _WideForm(dict(allow), dict(deny))


def _items(said: Said) -> tuple[_Items, _Items]:
    return tuple(said.allow.items()), tuple(said.deny.items())


def difference(old: frozenset[Entry], new: frozenset[Entry]) -> Difference:
    """From one normal form to another: a denial that comes takes away, one that goes gives back."""
    more, less = new - old, old - new
    granted = [entry for entry in more if entry.effect == "allow"] + [entry for entry in less if entry.effect == "deny"]
    revoked = [entry for entry in less if entry.effect == "allow"] + [entry for entry in more if entry.effect == "deny"]
    return Difference(_sorted(granted), _sorted(revoked))


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.scope, entry.permission, entry.effect)))


def _entries(scope: str, allow: Patterns, deny: Patterns) -> list[Entry]:
    allowed = [Entry(permission, scope, "allow", ends) for permission, ends in allow.items()]
    return allowed + [Entry(permission, scope, "deny", ends) for permission, ends in deny.items()]


def _surviving(allow: Patterns, deny: Patterns) -> Patterns:
    """What is allowed, without what is denied altogether."""
    return {permission: ends for permission, ends in allow.items() if not _is_within(permission, deny)}


def _beyond(allow: Patterns, wide_allow: Patterns, wide_deny: Patterns) -> Patterns:
    """What a scope allows beyond the wider one: of what that gives as well, only what it takes away again."""
    beyond: dict[str, int | None] = {}
    for permission, ends in allow.items():
        is_given = any(name in wide_allow and _lasts(wide_allow[name], ends) for name in names_of(permission))
        _join(beyond, _meets({permission: ends}, wide_deny) if is_given else {permission: ends})
    return beyond


def _meets(patterns: Patterns, others: Patterns) -> dict[str, int | None]:
    """What is matched by one of the patterns and by one of the others, for as long as the former."""
    found: dict[str, int | None] = {}
    for permission, ends in patterns.items():
        if "*" in permission:
            _join(found, {common: ends for other in others if (common := meet(permission, other)) is not None})
        elif _is_within(permission, others):
            _join(found, {permission: ends})
    return found


def _is_within(permission: str, patterns: Patterns) -> bool:
    """Whether one of the patterns covers a permission; as quick for many patterns as for few."""
    return any(name in patterns for name in names_of(permission))


def _join(found: dict[str, int | None], more: Patterns) -> None:
    """Add patterns to others, each for as long as the longer of the two has it."""
    for permission, ends in more.items():
        if permission not in found or _lasts(ends, found[permission]):
            found[permission] = ends


def _widest(patterns: Patterns) -> dict[str, int | None]:
    """The patterns that no other one covers for as long."""
    return {
        permission: ends
        for permission, ends in patterns.items()
        if not any(
            name != permission and name in patterns and _lasts(patterns[name], ends) for name in names_of(permission)
        )
    }


def _lasts(one: int | None, other: int | None) -> bool:
    """Whether something lasts at least as long as something else."""
    return one is None or (other is not None and one >= other)
