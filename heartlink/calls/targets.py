"""Whom a signal reaches: only the other one in a call, over the connection by which they are in it."""

from __future__ import annotations

from heartlink.calls.board import Running
from heartlink.calls.machine import Call, not_in_call
from heartlink.connection import Connection
from heartlink.errors import conflict, not_found
from heartlink.model import UserId


def targets_of(running: Running, connection: Connection, sender: UserId, to: UserId) -> list[Connection]:
    """The connections that a signal goes to; raises the Refusal that keeps it from going."""
    if running.call.is_ringing:
        return _while_ringing(running, sender, to)
    return [_seat_of(running.call, connection, sender, to)]


def _seat_of(call: Call, connection: Connection, sender: UserId, to: UserId) -> Connection:
    if sender not in call.seats:
        raise not_in_call()
    if call.seats[sender] is not connection:
        raise conflict("You are in this call over another connection.", "Join it over this one first.")
    if to != call.other_of(sender):
        raise not_found("This person in the call", "Name the one you speak with.")
    seat = call.seats[to]
    if not isinstance(seat, Connection):
        raise conflict("The other one is not connected at the moment.", "Send it again when they have joined again.")
    return seat


def _while_ringing(running: Running, sender: UserId, to: UserId) -> list[Connection]:
    """The caller may speak to each of those it rings for, and each of them to the caller."""
    call = running.call
    if sender == call.caller_id:
        targets = running.live.topic.of_user(to) if call.rings_for(to) else []
    elif not call.rings_for(sender):
        raise not_in_call()
    else:
        seat = call.seats[call.caller_id] if to == call.caller_id else None
        targets = [seat] if isinstance(seat, Connection) else []
    if not targets:
        raise not_found("This person in the call", "Wait until they have joined.")
    return targets
