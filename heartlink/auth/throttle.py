"""How often somebody may try: failed log-ins per name and address, registrations per address."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from heartlink.errors import rate_limited

FREE_FAILURES_PER_PAIR = 5
FREE_FAILURES_PER_ADDRESS = 50
LONGEST_DELAY_SECONDS = 60
FORGET_AFTER_MS = 15 * 60_000
REMEMBERED = 10_000

Clock = Callable[[], int]


@dataclass(slots=True)
class _Failures:
    count: int
    last_ms: int
    blocked_until_ms: int


class FailureCounter:
    """Counts failures by key and asks for ever longer pauses after the first few."""

    def __init__(self, clock: Clock, free_failures: int) -> None:
        self._clock = clock
        self._free_failures = free_failures
        self._failures: OrderedDict[tuple[str, ...], _Failures] = OrderedDict()

    def wait_seconds(self, key: tuple[str, ...]) -> float:
        """How long the next try has to wait; 0 when it may come now."""
        failures = self._failures.get(key)
        return max(0, failures.blocked_until_ms - self._clock()) / 1000 if failures else 0

    def add(self, key: tuple[str, ...]) -> None:
        """Count a failure."""
        now = self._clock()
        failures = self._failures.pop(key, None)
        if failures is None or failures.last_ms + FORGET_AFTER_MS < now:
            failures = _Failures(0, now, 0)
        failures.count += 1
        failures.last_ms = now
        over = failures.count - self._free_failures
        if over >= 0:
            delay_seconds = LONGEST_DELAY_SECONDS if over > 6 else min(LONGEST_DELAY_SECONDS, 2**over)
            failures.blocked_until_ms = now + delay_seconds * 1000
        self._failures[key] = failures
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def forget(self, key: tuple[str, ...]) -> None:
        """Start from nothing again."""
        self._failures.pop(key, None)


class LoginThrottle:
    """Slows down guessing, equally for names that exist and names that do not."""

    def __init__(self, clock: Clock) -> None:
        self._pairs = FailureCounter(clock, FREE_FAILURES_PER_PAIR)
        self._addresses = FailureCounter(clock, FREE_FAILURES_PER_ADDRESS)

    def check(self, fold: str, address: str) -> None:
        """Raise the Refusal ``rate_limited`` while this name or this address has to wait."""
        network = network_of(address)
        wait = max(self._pairs.wait_seconds((fold, network)), self._addresses.wait_seconds((network,)))
        if wait > 0:
            raise rate_limited(wait)

    def failed(self, fold: str, address: str) -> None:
        """Count a failed log-in."""
        network = network_of(address)
        self._pairs.add((fold, network))
        self._addresses.add((network,))

    def succeeded(self, fold: str, address: str) -> None:
        """Forget the failures of this name from this address."""
        self._pairs.forget((fold, network_of(address)))


class Quota:
    """So many uses a minute for each address; a limit of 0 means no limit."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._levels: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, address: str) -> None:
        """Use one, or raise the Refusal ``rate_limited``."""
        if not self._per_minute:
            return
        network = network_of(address)
        now = self._clock()
        left, seen_ms = self._levels.pop(network, (float(self._per_minute), now))
        left = min(self._per_minute, left + max(0, now - seen_ms) * self._per_minute / 60_000)
        allowed = left >= 1
        self._levels[network] = (left - 1 if allowed else left, now)
        if len(self._levels) > REMEMBERED:
            self._levels.popitem(last=False)
        if not allowed:
            raise rate_limited(math.ceil((1 - left) * 60_000 / self._per_minute) / 1000)


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)
