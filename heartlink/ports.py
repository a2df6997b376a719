"""Claims the port before anything else is opened, and names the process that already holds it (PROTOCOL 7)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import psutil

from heartlink.errors import StartupFailure

BACKLOG: Final = 4096
RESOLVE_SECONDS: Final = 3.0
EPHEMERAL_ATTEMPTS: Final = 20
COMMAND_CHARS: Final = 200
LOCALHOST: Final = ("127.0.0.1", "::1")
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


async def claim_port(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of ``host``, not yet listening; ``port`` 0 finds one that is free on all.

    Raises StartupFailure when the port is held (also where only ``localhost`` in a browser would reach the other
    process), when it needs a privilege, and when the address is not of this machine.
    """
    addresses = await _addresses(host)
    for _ in range(EPHEMERAL_ATTEMPTS if port == 0 else 1):
        try:
            claimed = _bind_all(addresses, port, required=host != "localhost")
        except _Taken as taken:
            last = taken
            continue
        if port:
            _check_localhost(addresses, port, claimed)
        return claimed
    raise last.as_failure()


def listen(claimed: Sequence[socket.socket]) -> None:
    """Lets the claimed sockets take connections; raises StartupFailure when another was faster."""
    for sock in claimed:
        address, port = sock.getsockname()[:2]
        try:
            sock.listen(BACKLOG)
        except OSError as failure:
            raise _Taken(address, port, failure).as_failure() from failure


def http_address(claimed: Sequence[socket.socket], host: str) -> str:
    """Where a browser on this machine finds the server, as in ``http://127.0.0.1:8000``."""
    address, port = claimed[0].getsockname()[:2]
    if host == "localhost" or address in WILDCARDS:
        return f"http://localhost:{port}"
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


class _Taken(Exception):
    """An address that could not be had, and the system's reason."""

    def __init__(self, address: str, port: int, failure: OSError) -> None:
        super().__init__(address, port, failure)
        self.address, self.port, self.failure = address, port, failure

    def as_failure(self) -> StartupFailure:
        where = f"[{self.address}]" if ":" in self.address else self.address
        match self.failure.errno:
            case errno.EADDRINUSE:
                return StartupFailure(
                    f"Port {self.port} is in use on {where}: {holder_of(self.port, self.address)} holds it.",
                    "Stop that process, or choose another port with --port.",
                )
            case errno.EACCES | errno.EPERM:
                return StartupFailure(
                    f"Port {self.port} needs a privilege that this process does not have.",
                    "Choose a port from 1024 up, as in --port=8000, and put a proxy in front of it.",
                )
            case errno.EADDRNOTAVAIL:
                return StartupFailure(
                    f"The address {where} is not an address of this machine.",
                    "Choose one of its own with --host, or 0.0.0.0 for all.",
                )
        return StartupFailure(
            f"Port {self.port} on {where} cannot be used: {self.failure.strerror}.",
            "Choose another address with --host or another port with --port.",
        )


def holder_of(port: int, address: str) -> str:
    """The process that listens on ``port`` where ``address`` conflicts with it, in words: id, command, since when."""
    try:
        rows = [row for row in psutil.net_connections("tcp") if row.status == psutil.CONN_LISTEN]
    except (psutil.Error, OSError):
        return "a process of another user"
    rows = [row for row in rows if row.laddr and row.laddr.port == port]
    rows.sort(key=lambda row: (row.laddr.ip != address, row.laddr.ip not in WILDCARDS, row.pid is None))
    if not rows or rows[0].pid is None:
        return "a process of another user"
    command = since = ""
    with contextlib.suppress(psutil.Error, OSError):
        holder = psutil.Process(rows[0].pid)
        since = f"running since {datetime.fromtimestamp(holder.create_time()):%Y-%m-%d %H:%M:%S}"
        command = " ".join(holder.cmdline())
    printable = "".join(mark if mark.isprintable() else " " for mark in command)
    if len(printable) > COMMAND_CHARS:
        printable = printable[: COMMAND_CHARS - 1] + "…"
    about = ", ".join(filter(None, (printable, since)))
    return f"process {rows[0].pid} ({about})" if about else f"process {rows[0].pid}"


async def _addresses(host: str) -> tuple[str, ...]:
    if host == "localhost":
        return LOCALHOST
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    try:
        lookup = asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = await asyncio.wait_for(lookup, RESOLVE_SECONDS)
    except (OSError, UnicodeError, TimeoutError) as failure:
        raise StartupFailure(
            f"The host name {host[:80]!r} could not be resolved.",
            "Give an address with --host, as in --host=127.0.0.1.",
        ) from failure
    return tuple(dict.fromkeys(str(row[4][0]) for row in found))


def _bind_all(addresses: Sequence[str], port: int, *, required: bool) -> list[socket.socket]:
    """Binds each address; where not all are required, a family that the machine lacks is left out."""
    claimed: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                claimed.append(_bind(address, claimed[0].getsockname()[1] if claimed else port))
            except _Taken as taken:
                if required or not claimed or taken.failure.errno not in NO_SUCH_FAMILY:
                    raise
    except _Taken:
        for sock in claimed:
            sock.close()
        raise
    return claimed


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as failure:
        raise _Taken(address, port, failure) from failure
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        sock.bind((address, port))
    except OSError as failure:
        sock.close()
        raise _Taken(address, port, failure) from failure
    return sock


def _check_localhost(addresses: Sequence[str], port: int, claimed: Sequence[socket.socket]) -> None:
    """Refuses a port whose other ``localhost`` side is held: a browser would reach that process, or either."""
    if len(addresses) > 1 or addresses[0] not in {"0.0.0.0", *LOCALHOST}:
        return
    other = LOCALHOST[0] if addresses[0] == LOCALHOST[1] else LOCALHOST[1]
    try:
        _bind(other, port).close()
    except _Taken as taken:
        if taken.failure.errno == errno.EADDRINUSE:
            for sock in claimed:
                sock.close()
            raise taken.as_failure() from taken
