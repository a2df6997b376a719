"""A subject's effective rights as a set of entries, in one normal form, so that two states can be compared.

Two states that allow the same have the same entries, and ``(old - removed) | added == new`` for their difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from heartlink.rights.patterns import covers, overlaps

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


class Difference(NamedTuple):
    """What one has more, and less, than before."""

    granted: tuple[Entry, ...]
    revoked: tuple[Entry, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not self.granted and not self.revoked


def normal_form(said: Mapping[str, Said]) -> frozenset[Entry]:
    """The entries that count: nothing that is denied, covered by another entry, or takes nothing away."""
    wide = said.get(EVERYWHERE, Said({}, {}))
    wide_allow = _surviving(wide)
    found = [Entry(permission, EVERYWHERE, "allow", ends) for permission, ends in wide_allow.items()]
    found += [Entry(denied, EVERYWHERE, "deny", ends) for denied, ends in _biting(wide.deny, wide_allow)]
    for scope, place in said.items():
        if scope == EVERYWHERE:
            continue
        allow = {
            permission: ends
            for permission, ends in _surviving(place).items()
            if not _held_anyway(permission, ends, wide_allow, wide.deny)
        }
        deny = _biting(place.deny, {**wide_allow, **_surviving(place)})
        found += [Entry(permission, scope, "allow", ends) for permission, ends in allow.items()]
        found += [Entry(denied, scope, "deny", ends) for denied, ends in deny]
    return frozenset(found)


def difference(old: frozenset[Entry], new: frozenset[Entry]) -> Difference:
    """From one normal form to another: a denial that comes takes away, one that goes gives back."""
    more, less = new - old, old - new
    granted = [entry for entry in more if entry.effect == "allow"] + [entry for entry in less if entry.effect == "deny"]
    revoked = [entry for entry in less if entry.effect == "allow"] + [entry for entry in more if entry.effect == "deny"]
    return Difference(_sorted(granted), _sorted(revoked))


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.scope, entry.permission, entry.effect)))


def _surviving(said: Said) -> dict[str, int | None]:
    """What is allowed in a scope, without what is denied there or covered by another allowance that lasts as long."""
    left = {
        permission: ends
        for permission, ends in said.allow.items()
        if not any(covers(denied, permission) for denied in said.deny)
    }
    return {
        permission: ends
        for permission, ends in left.items()
        if not any(other != permission and covers(other, permission) and _lasts(left[other], ends) for other in left)
    }


def _held_anyway(permission: str, ends: int | None, wide_allow: Patterns, wide_deny: Patterns) -> bool:
    """Whether a wider scope gives the same, for as long, and takes nothing of it away."""
    return any(
        covers(other, permission) and _lasts(other_ends, ends) for other, other_ends in wide_allow.items()
    ) and not any(overlaps(denied, permission) for denied in wide_deny)


def _biting(deny: Patterns, allow: Patterns) -> list[tuple[str, int | None]]:
    """The denials that take something away, without those that another denial covers for as long."""
    biting = {denied: ends for denied, ends in deny.items() if any(overlaps(denied, allowed) for allowed in allow)}
    return [
        (denied, ends)
        for denied, ends in biting.items()
        if not any(other != denied and covers(other, denied) and _lasts(biting[other], ends) for other in biting)
    ]


def _lasts(one: int | None, other: int | None) -> bool:
    """Whether something lasts at least as long as something else."""
    return one is None or (other is not None and one >= other)
