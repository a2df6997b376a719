"""Refused upgrades in the log: one readable line each, and repeats of one kind gathered into one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

WINDOW_SECONDS: Final = 10.0
"""Repeats of what was told are counted for this long, then told with their number."""

LINES_PER_WINDOW: Final = 40
"""Kinds that get a line of their own in that time; those beyond are told together."""

ADDRESSES_LIMIT: Final = 10_000
"""Addresses beyond that which are told apart."""

SHOWN_CHARS: Final = 200

log: Final = logging.getLogger("heartlink.door")


class RefusedUpgrade(NamedTuple):
    """A request for a socket that was not opened, and why; ``origin`` None: none was sent, ``user`` empty: unknown."""

    route: str
    path: str
    status: int
    code: str
    message: str
    fix: str
    origin: str | None
    host: str
    address: str
    user: str
    request_id: str

    @property
    def kind(self) -> tuple[str, str, str]:
        """What makes two of them the same."""
        return self.address, self.route, self.code


class RefusalLog:
    """Tells of refused upgrades as they come, but never more than ``LINES_PER_WINDOW`` kinds in one window."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._call_later = call_later
        self._timer: Any = None
        self._repeats: dict[tuple[str, str, str], int] = {}
        self._untold: Counter[str] = Counter()
        self._untold_addresses: set[str] = set()

    def note(self, refused: RefusedUpgrade) -> None:
        """Log it, or count it when its like was logged a moment ago."""
        if self._timer is None:
            self._timer = self._call_later(WINDOW_SECONDS, self._end_window)
        kind = refused.kind
        if kind in self._repeats:
            self._repeats[kind] += 1
        elif len(self._repeats) < LINES_PER_WINDOW:
            self._repeats[kind] = 0
            _tell(refused)
        else:
            self._untold[f"{refused.status} {refused.code}"] += 1
            if len(self._untold_addresses) < ADDRESSES_LIMIT:
                self._untold_addresses.add(refused.address)

    def close(self) -> None:
        """Tell what was only counted so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_window()

    def _end_window(self) -> None:
        self._timer = None
        repeats, self._repeats = self._repeats, {}
        untold, self._untold = self._untold, Counter()
        addresses, self._untold_addresses = self._untold_addresses, set()
        for (address, route, code), count in repeats.items():
            if count:
                log.warning(
                    "Upgrade refused: … and %d more like it in the last %d s: %s at %s from %s",
                    count,
                    WINDOW_SECONDS,
                    code,
                    route,
                    address,
                    extra={"fields": {"code": code, "route": route, "ip": address, "repeats": count}},
                )
        if untold:
            log.warning(
                "Upgrade refused: … and %d more from %d%s addresses in the last %d s: %s",
                untold.total(),
                len(addresses),
                " or more" if len(addresses) == ADDRESSES_LIMIT else "",
                WINDOW_SECONDS,
                ", ".join(f"{code} ({count} times)" for code, count in untold.most_common()),
                extra={"fields": {"repeats": untold.total()}},
            )


def _tell(refused: RefusedUpgrade) -> None:
    log.warning(
        "Upgrade refused: %d %s at %s (%s), Origin %s, Host '%s', from %s, user %s, request %s: %s %s",
        refused.status,
        refused.code,
        _cut(refused.route),
        _cut(refused.path),
        f"'{_cut(refused.origin)}'" if refused.origin is not None else "none",
        _cut(refused.host),
        refused.address,
        refused.user or "unknown",
        refused.request_id,
        refused.message,
        refused.fix,
        extra={
            "fields": {
                "request_id": refused.request_id,
                "status": refused.status,
                "code": refused.code,
                "route": _cut(refused.route),
                "path": _cut(refused.path),
                "origin": refused.origin and _cut(refused.origin),
                "host": _cut(refused.host),
                "ip": refused.address,
                "user": refused.user or None,
            }
        },
    )


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
