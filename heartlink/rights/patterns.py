"""Permissions and the wildcards that cover them: ``resource.action``, ``*`` in either half."""

from __future__ import annotations


def names_of(permission: str) -> tuple[str, str, str, str]:
    """A permission and the three wildcards that cover it."""
    resource, _, action = permission.partition(".")
    return permission, f"{resource}.*", f"*.{action}", "*.*"


def meet(one: str, other: str) -> str | None:
    """The pattern of what is matched by both; None when nothing is."""
    halves: list[str] = []
    for mine, theirs in zip(_halves(one), _halves(other), strict=True):
        if "*" not in (mine, theirs) and mine != theirs:
            return None
        halves.append(theirs if mine == "*" else mine)
    return ".".join(halves)


def _halves(permission: str) -> tuple[str, str]:
    resource, _, action = permission.partition(".")
    return resource, action
