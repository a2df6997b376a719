"""The process that looks into files: one line of JSON in, one out, within limits of its own; see ``pool``."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from heartlink.media.facts import CLEANED_SUFFIX, THUMBNAIL_SUFFIX, Excess, Finding, Job, Unreadable
from heartlink.media.images import look_at_image
from heartlink.media.kinds import IMAGES
from heartlink.media.matroska import look_at_webm
from heartlink.media.mp3 import look_at_mp3
from heartlink.media.mp4 import look_at_mp4
from heartlink.media.ogg import look_at_ogg
from heartlink.media.wav import look_at_wav

MEMORY_BYTES: Final = 1280 << 20
"""Addresses that the process may use; what they are used for is a picture, unpacked, two or three times."""

JOB_CPU_SECONDS: Final = 20
"""Processor time for one file."""

NICENESS: Final = 5

_SET_PARENT_DEATH_SIGNAL: Final = 1

_READERS: Final[dict[str, Callable[[Path], Finding]]] = {
    "audio/wav": look_at_wav,
    "audio/ogg": look_at_ogg,
    "audio/mpeg": look_at_mp3,
    "video/mp4": look_at_mp4,
    "video/webm": look_at_webm,
}


def main() -> None:
    """Answer until the input ends."""
    # Where the system knows no such limit the others hold.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    _end_with_parent()
    for line in sys.stdin.buffer:
        _grant_time()
        finding = look(msgspec.json.decode(line, type=Job))
        sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
        sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    """Let the system end this process with the server, also in the middle of a file.

    Where the system cannot do that the input ends, which is seen after the file.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # It may have gone before that.
    if os.getppid() != int(sys.argv[2]):
        sys.exit()


def _grant_time() -> None:
    """Let the system end this process when the next file takes too long."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + JOB_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def look(job: Job) -> Finding:
    """What is in a file; whatever goes wrong with it is part of the answer."""
    path = Path(job.path)
    try:
        return look_at_image(path, job.mime) if job.mime in IMAGES else _READERS[job.mime](path)
    except Excess as excess:
        finding = Finding(excess=excess.what, limit=excess.limit)
    except MemoryError:
        finding = Finding(excess="What this file unpacks to", limit="what fits into memory")
    except OSError as error:
        finding = Finding(failure=error.errno or errno.EIO)
    except (Unreadable, ValueError, IndexError):
        finding = Finding()
    for suffix in (CLEANED_SUFFIX, THUMBNAIL_SUFFIX):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()
    return finding
