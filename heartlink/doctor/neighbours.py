"""HeartLinks on this machine, for whoever asked for one at another port."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Final

import psutil

from heartlink.doctor.address import Target
from heartlink.doctor.ways import Way
from heartlink.doctor.wire import NotHttp
from heartlink.ports import WILDCARDS

ASKED_LIMIT: Final = 20
SHOWN_LIMIT: Final = 3
_LOOKS_LIKE_ONE: Final = re.compile(r"(^|/)(main\.py|heartlink)$")


async def find_neighbours(target: Target, seconds: float) -> str:
    """A sentence with the addresses at which HeartLink does answer here; empty when there are none."""
    places = [place for place in _candidates() if place[1] != target.port][:ASKED_LIMIT]
    answers = await asyncio.gather(*(_is_heartlink(*place, seconds) for place in places))
    found = [f"http://{_shown(address)}:{port}" for (address, port), yes in zip(places, answers, strict=True) if yes]
    shown = " and ".join(list(dict.fromkeys(found))[:SHOWN_LIMIT])
    return f" HeartLink does answer on this machine, at {shown}." if found else ""


def _candidates() -> list[tuple[str, int]]:
    """Addresses on which a process listens whose command could be HeartLink's."""
    try:
        rows = [
            row for row in psutil.net_connections("tcp") if row.status == psutil.CONN_LISTEN and row.laddr and row.pid
        ]
    except (psutil.Error, OSError):
        return []
    alike: dict[int, bool] = {}
    for pid in {row.pid for row in rows}:
        with contextlib.suppress(psutil.Error, OSError):
            alike[pid] = any(_LOOKS_LIKE_ONE.search(word) for word in psutil.Process(pid).cmdline())
    return [(_reachable(row.laddr.ip), row.laddr.port) for row in rows if alike.get(row.pid)]


def _reachable(address: str) -> str:
    if address not in WILDCARDS:
        return address
    return "::1" if ":" in address else "127.0.0.1"


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _is_heartlink(address: str, port: int, seconds: float) -> bool:
    way = Way(Target(address, port, is_tls=False, wants_socket=False), address, None)
    with contextlib.suppress(OSError, EOFError, TimeoutError, NotHttp):
        async with asyncio.timeout(seconds):
            found = (await way.get("/healthz")).json
            return isinstance(found, dict) and "instance" in found
    return False
