"""Permissions and the wildcards that cover them: ``resource.action``, ``*`` in either half."""

from __future__ import annotations

from collections.abc import Iterable


def names_of(permission: str) -> tuple[str, str, str, str]:
    """A permission and the three wildcards that cover it."""
    resource, _, action = permission.partition(".")
    return permission, f"{resource}.*", f"*.{action}", "*.*"


def covers(pattern: str, other: str) -> bool:
    """Whether everything that ``other`` matches is matched by ``pattern`` as well."""
    return pattern in names_of(other)


def overlaps(one: str, other: str) -> bool:
    """Whether some permission is matched by both."""
    return all(
        "*" in (mine, theirs) or mine == theirs for mine, theirs in zip(_halves(one), _halves(other), strict=True)
    )


def covered_by_any(permission: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns covers a permission."""
    return any(covers(pattern, permission) for pattern in patterns)


def _halves(permission: str) -> tuple[str, str]:
    resource, _, action = permission.partition(".")
    return resource, action
