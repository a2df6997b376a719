"""Calls between two people in a room: who rings, who answers, what travels between them, and what stays of it."""

from heartlink.calls.ice import IceServers
from heartlink.calls.making import make_calls
from heartlink.calls.service import Calls

__all__ = ["Calls", "IceServers", "make_calls"]
