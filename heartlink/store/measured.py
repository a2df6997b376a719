"""A backend whose answers are timed; what it does is another's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, cast

from heartlink.errors import DuplicateKey, StoreFault
from heartlink.store.backend import Backend
from heartlink.tallies import Tallies

TIMED: Final = (
    "ping",
    "insert",
    "put",
    "get",
    "get_many",
    "delete",
    "change",
    "scan",
    "put_blob",
    "blob_size",
    "delete_blob",
    "blob_ids",
)
"""The operations that are awaited. What is appended is timed by the journals, which wait for it anyway."""


def measured(backend: Backend, tallies: Tallies) -> Backend:
    """The backend, with the time of its answers counted in ``tallies``."""
    return cast(Backend, _Measured(backend, tallies))


class _Measured:
    def __init__(self, backend: Backend, tallies: Tallies) -> None:
        self._backend = backend
        for name in TIMED:
            if hasattr(backend, name):
                setattr(self, name, _timed(name, getattr(backend, name), tallies))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _timed(name: str, ask: Callable[..., Awaitable[Any]], tallies: Tallies) -> Callable[..., Awaitable[Any]]:
    async def timed(*args: Any, **options: Any) -> Any:
        begun = perf_counter()
        try:
            return await ask(*args, **options)
        except StoreFault as fault:
            # Finding that something exists already is an answer.
            if not isinstance(fault, DuplicateKey):
                tallies.count(tallies.store_failures, name)
            raise
        finally:
            tallies.store_took(name, perf_counter() - begun)

    return timed
