"""What a client says of its recording, checked: for files that do not tell it themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from heartlink.errors import unfit

DURATION_SECONDS: Final = 86_400.0
"""Longest duration that is believed: a day."""

WAVEFORM_POINTS: Final = 64
WAVEFORM_TOP: Final = 100
WAVEFORM_CHARS: Final = 1000


def read_duration(value: str | float | None) -> float | None:
    """Seconds from 0 to 86,400, as a number or in text; None for nothing. Raises ``invalid_parameters``."""
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    # Written so that what is no number at all fails too.
    if isinstance(value, bool) or not 0 <= seconds <= DURATION_SECONDS:
        raise unfit("duration", f"it is not a number of seconds from 0 to {DURATION_SECONDS:.0f}")
    return round(seconds, 3)


def read_waveform(value: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """Up to 64 whole numbers from 0 to 100, as a list, JSON or ``1,2,3``; None for nothing. Raises a Refusal."""
    if value is None or len(value) == 0:
        return None
    points = _numbers(value) if isinstance(value, str) else value
    fits = len(points) <= WAVEFORM_POINTS and all(type(point) is int and 0 <= point <= WAVEFORM_TOP for point in points)
    if not fits:
        raise unfit("waveform", f"it is not a list of up to {WAVEFORM_POINTS} whole numbers from 0 to {WAVEFORM_TOP}")
    return tuple(points) or None


def _numbers(text: str) -> list[int]:
    text = text[: WAVEFORM_CHARS + 1].strip()
    try:
        return msgspec.json.decode(text if text.startswith("[") else f"[{text}]", type=list[int])
    except msgspec.DecodeError:
        raise unfit("waveform", "it is not a list of whole numbers", "Send it as in '0,12,100'.") from None
