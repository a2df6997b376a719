"""One peer: its states, its bounded outgoing queue, its rates, its undo list, and the one way out.

Knows frames and limits, but no sockets: a transport drives it and offers it an *Outlet*. Nothing here awaits.
"""

from heartlink.connection.flusher import GOODBYE_SECONDS, Flusher
from heartlink.connection.peer import Connection, ConnectionLimits, Outlet, State
from heartlink.connection.rates import TokenBucket

__all__ = ["GOODBYE_SECONDS", "Connection", "ConnectionLimits", "Flusher", "Outlet", "State", "TokenBucket"]
