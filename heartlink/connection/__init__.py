"""One peer: its states, its bounded outgoing queue, its rates, its undo list, its flight recorder, and the one way out.

Knows frames and limits, but no sockets: a transport drives it and offers it an *Outlet*. Nothing here awaits.
"""

from heartlink.connection.archive import Archive, Arrival, Snapshot, take_snapshot
from heartlink.connection.flusher import GOODBYE_SECONDS, Flusher
from heartlink.connection.lag import stamped_ping
from heartlink.connection.ledger import (
    BINARY,
    CLOSE_REASONS,
    INVALID,
    KINDS,
    OTHER,
    WS_CLOSE,
    WS_PING,
    WS_PONG,
    Ledger,
    kind_of,
)
from heartlink.connection.outlet import ConnectionLimits, Outlet, State
from heartlink.connection.peer import Connection
from heartlink.connection.rates import TokenBucket
from heartlink.connection.recorder import Record, records_of

__all__ = [
    "BINARY",
    "CLOSE_REASONS",
    "GOODBYE_SECONDS",
    "INVALID",
    "KINDS",
    "OTHER",
    "WS_CLOSE",
    "WS_PING",
    "WS_PONG",
    "Archive",
    "Arrival",
    "Connection",
    "ConnectionLimits",
    "Flusher",
    "Ledger",
    "Outlet",
    "Record",
    "Snapshot",
    "State",
    "TokenBucket",
    "kind_of",
    "records_of",
    "stamped_ping",
    "take_snapshot",
]
