"""What a file is called where people see it; no path is ever made of that."""

from __future__ import annotations

import unicodedata
from typing import Final

from heartlink.names import is_visible_at

NAME_CHARS: Final = 120
"""Longest name that is kept; its ending stays."""

ENDING_CHARS: Final = 20
"""What follows the last dot counts as an ending up to this length."""

READ_CHARS: Final = 2000
"""Characters of a sent name that are looked at, from its end."""

NAMELESS: Final = "file"

_FORBIDDEN: Final = frozenset('<>:"|?*')
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³")]
)
# What stands behind a file's id in the address of its preview.
_TAKEN: Final = frozenset(["thumbnail"])


def clean_name(name: str, default: str = NAMELESS) -> str:
    """A name to show and to save under: the last part of a path, visible characters only, NFC, at most 120 of them.

    Never refuses: what does not fit is left out or becomes ``_``, and ``default`` stands for what is empty then.
    """
    last = name[-READ_CHARS:].replace("\\", "/").rstrip("/").rpartition("/")[2]
    composed = unicodedata.normalize("NFC", last)
    shown = "".join(_shown(composed, index) for index in range(len(composed)))
    # Windows drops dots and spaces at the end, and a dot in front hides a file elsewhere.
    bare = " ".join(shown.split()).strip(". ")
    kept = _shortened(bare) or default
    stem = kept.partition(".")[0].strip().casefold()
    return f"_{kept}"[:NAME_CHARS] if stem in _DEVICES or kept in _TAKEN else kept


def _shown(text: str, index: int) -> str:
    character = text[index]
    if character in _FORBIDDEN:
        return "_"
    if is_visible_at(text, index):
        return character
    return " " if character.isspace() else ""


def _shortened(name: str) -> str:
    if len(name) <= NAME_CHARS:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > ENDING_CHARS:
        return name[:NAME_CHARS].rstrip(". ")
    return stem[: NAME_CHARS - len(dot + ending)].rstrip(". ") + dot + ending
