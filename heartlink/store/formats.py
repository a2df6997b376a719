"""The stamp of a store's format: upgrades it step by step, refuses what a newer HeartLink wrote."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from heartlink import __version__
from heartlink.errors import StartupFailure
from heartlink.store.backend import Backend, Document
from heartlink.store.meta import has_epoch
from heartlink.store.tables import META

FORMAT: Final = 2
"""The format this HeartLink reads and writes. 1: without a stamp. 2: stamped; files and calls beside the messages."""

_STAMP_ID: Final = "format"

Upgrade = Callable[[Backend], Awaitable[None]]


async def _stamp_only(_: Backend) -> None:
    """Nothing to change: new tables are made when the store opens."""


UPGRADES: Final[Mapping[int, Upgrade]] = {1: _stamp_only}
"""What turns a store of a format into one of the next. Each is safe to run again: a crash may come after any part."""

logger = logging.getLogger(__name__)


class Stamp(msgspec.Struct, frozen=True):
    """Which format a store is in, and which HeartLink wrote that down."""

    format: int
    written_by: str


async def bring_up_to_date(backend: Backend, format: int = FORMAT, upgrades: Mapping[int, Upgrade] = UPGRADES) -> None:
    """Upgrade an older store to ``format`` and stamp a new one; raises StartupFailure for a newer one."""
    stamp = await read_stamp(backend)
    if stamp is None:
        # A store that has an epoch and no stamp is older than stamps.
        stamp = Stamp(1 if await has_epoch(backend) else format, __version__)
        if stamp.format == format:
            await _write(backend, format)
    if stamp.format > format:
        raise StartupFailure(
            f"{backend.name} was written by a newer HeartLink ({stamp.written_by}, format {stamp.format}); "
            f"this is {__version__}, which reads up to format {format}.",
            f"Start HeartLink {stamp.written_by} or later, or restore a backup made before the upgrade.",
        )
    for number in range(stamp.format, format):
        await upgrades[number](backend)
        await _write(backend, number + 1)
        logger.info("%s was upgraded from format %d to %d", backend.name, number, number + 1)


async def read_stamp(backend: Backend) -> Stamp | None:
    """The stamp; None where there is none."""
    found = await backend.get(META, _STAMP_ID)
    return msgspec.json.decode(found.body, type=Stamp) if found else None


async def _write(backend: Backend, format: int) -> None:
    await backend.put(META, Document(_STAMP_ID, {}, msgspec.json.encode(Stamp(format, __version__))))
