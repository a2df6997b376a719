"""Looks into a file before anybody else gets it: what it is, how large, what of it must not be passed on."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heartlink.errors import disk_is_full, too_large
from heartlink.media.claims import DURATION_SECONDS, read_duration, read_waveform
from heartlink.media.facts import CLEANED_SUFFIX, THUMBNAIL_SUFFIX, UNKNOWN_TYPE, Finding, Job, MediaFacts
from heartlink.media.kinds import HEAD_BYTES, INLINE, kind_of, sniff
from heartlink.media.names import clean_name
from heartlink.media.pool import WorkerPool

FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT)
DEFAULT_NAMES: Final = {"image": "image", "voice": "voice", "video": "video", "file": "file"}


class Inspector:
    """Finds out what a file is, with workers that may fail at it without harm. Its pool is closed with the house."""

    def __init__(self, pool: WorkerPool | None = None) -> None:
        self._pool = pool or WorkerPool()

    async def inspect(
        self,
        path: Path,
        *,
        name: str = "",
        as_voice: bool = False,
        duration: str | float | None = None,
        waveform: str | Sequence[int] | None = None,
    ) -> MediaFacts:
        """The facts of a complete file on the local disk, which stays as it is; durable files are the caller's.

        ``duration`` (seconds) and ``waveform`` are what the client says: checked, and used where the file does not tell
        itself. Beside the file, ``<path>.cleaned`` and ``<path>.thumbnail`` may be made: ``MediaFacts.cleaned`` and
        ``.thumbnail`` name them; after an error, or a crash, either may be left over (:meth:`leftovers`).

        Raises the Refusals ``too_large`` (413: an image that unpacks to more than is good for anybody),
        ``invalid_parameters`` (400: duration or waveform), ``disk_full`` (507) and ``busy`` (503: too many files wait).
        """
        said_seconds, said_waveform = read_duration(duration), read_waveform(waveform)
        head, size_bytes = await asyncio.to_thread(_read_head, path)
        mime = sniff(head)
        finding = Finding(mime=mime)
        if mime in INLINE:
            finding = await self._pool.run(Job(str(path), mime))
            if finding.excess:
                raise too_large(finding.excess, finding.limit)
            if finding.failure in FULL_DISK:
                raise disk_is_full()
            if finding.failure:
                raise OSError(finding.failure, os.strerror(finding.failure))
            mime = finding.mime or UNKNOWN_TYPE
        cleaned, thumbnail = self.leftovers(path)
        if finding.is_cleaned:
            size_bytes = cleaned.stat().st_size
        kind = kind_of(mime, as_voice=as_voice)
        is_played = mime in INLINE and kind != "image"
        return MediaFacts(
            name=clean_name(name, DEFAULT_NAMES[kind]),
            kind=kind,
            mime=mime,
            inline=mime in INLINE,
            size_bytes=size_bytes,
            width=finding.width,
            height=finding.height,
            duration_seconds=(_believed(finding.duration_seconds) or said_seconds) if is_played else None,
            waveform=(finding.waveform or said_waveform) if is_played else None,
            cleaned=cleaned if finding.is_cleaned else None,
            thumbnail=thumbnail if finding.has_thumbnail else None,
        )

    @staticmethod
    def leftovers(path: Path) -> tuple[Path, Path]:
        """Where the cleaned file and the thumbnail of a file are made, whether or not they were."""
        return path.with_name(path.name + CLEANED_SUFFIX), path.with_name(path.name + THUMBNAIL_SUFFIX)

    async def close(self) -> None:
        """End the workers; safe to call twice."""
        await self._pool.close()


def _read_head(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        return head, file.seek(0, 2)


def _believed(seconds: float | None) -> float | None:
    return round(seconds, 3) if seconds is not None and 0 < seconds <= DURATION_SECONDS else None
