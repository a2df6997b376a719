"""Passwords: argon2id in threads of its own, never on the event loop."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from heartlink.errors import busy, invalid_parameters

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
THREADS = 2
WAITING = 512
PASSWORD_MIN_CHARS = 8
PASSWORD_MAX_CHARS = 1024

Answer = TypeVar("Answer")


class Passwords:
    """Hashes and verifies within a bounded queue; a full one raises the Refusal ``busy``."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._turn = asyncio.Semaphore(THREADS)
        self._waiting = 0
        self._dummy_hash = ""

    async def open(self) -> None:
        """Make the hash that stands in for users who do not exist."""
        self._dummy_hash = await self.hash(secrets.token_urlsafe(16))

    def close(self) -> None:
        """End the threads; safe to call twice."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one of the few places in which a password is worked on."""
        if self._waiting >= WAITING:
            raise busy("sign-ins")
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def hash(self, password: str) -> str:
        """The argon2id hash of a password, with its parameters and salt."""
        async with self.turn():
            return await self._run(lambda: self._hasher.hash(_prepared(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password fits; with no hash the same work is done for nothing. Call with a turn held."""
        fits = await self._run(lambda: self._fits(password_hash or self._dummy_hash, password))
        return fits and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _fits(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _prepared(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def check_password(password: str, field: str = "password") -> str:
    """The password itself, or a Refusal when it is too short or too long."""
    length = len(password)
    if PASSWORD_MIN_CHARS <= length <= PASSWORD_MAX_CHARS:
        return password
    message = f"The password has {length} characters."
    fix = f"Choose one of {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters."
    raise invalid_parameters(message, fix, fields={field: f"{message} {fix}"})


def _prepared(password: str) -> bytes:
    # The same password is composed differently on different systems (RFC 8265, section 4.2.2).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
