"""Who is connected, and what went over a connection lately: all of them for administrators, one's own for everybody."""

from __future__ import annotations

import logging
from typing import Literal

import msgspec

from heartlink.connection import Arrival, Connection, Ledger, Record, Snapshot, records_of, take_snapshot
from heartlink.connection.ledger import ENTRY
from heartlink.errors import GOING_AWAY, Refusal, not_found
from heartlink.handlers.base import JsonHandler, Operation, describe
from heartlink.model import UserId
from heartlink.protocol import iso

LISTED_CONNECTIONS = 1000
LISTED_CLOSED = 100

log = logging.getLogger("heartlink.connections")


class FrameView(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one type that went one way together; ``queued_frames`` waited behind them."""

    at: str
    direction: Literal["in", "out"]
    type: str
    frames: int
    bytes: int
    queued_frames: int


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """One socket: whose, from where, since when, to what; what waits in its queue, how far away its peer is.

    ``lag_ms`` is the latest round trip of a ping. What begins with ``close``, and ``ended_by``, is set once it is over.
    """

    id: str
    user_id: str | None
    username: str | None
    address: str
    since: str
    kind: str
    route: str
    room_id: str | None
    lag_ms: int | None
    queued_frames: int
    queued_bytes: int
    frames_in: int
    frames_out: int
    frames_dropped: int
    bytes_in: int
    bytes_out: int
    last_frame: FrameView | None
    closed_at: str | None = None
    close_code: int | None = None
    close_reason: str | None = None
    ended_by: Literal["server", "peer", "nobody"] | None = None


class ConnectionsReply(msgspec.Struct, frozen=True):
    """Open sockets, oldest first, and those that were closed lately, latest first; ``total`` counts the open."""

    connections: list[ConnectionView]
    closed: list[ConnectionView]
    total: int


class RecordingReply(msgspec.Struct, frozen=True):
    """The flight recorder of one socket: its latest frames, oldest first, as types and sizes, never as content."""

    connection: ConnectionView
    frames: list[FrameView]


class ConnectionHandler(JsonHandler):
    """What all these addresses share."""

    def show_row(self, connection: Connection, arrival: Arrival) -> ConnectionView:
        """An open connection as it is now."""
        return self.show(take_snapshot(connection, arrival))

    def show(self, shot: Snapshot) -> ConnectionView:
        """A connection, open or closed."""
        arrival = shot.arrival
        frames = list(records_of(shot.packed[-ENTRY.size :]))
        return ConnectionView(
            id=shot.id,
            user_id=shot.user_id,
            username=shot.username,
            address=arrival.address,
            since=iso(arrival.since_ms),
            kind=[*arrival.route.split("/"), "", "", ""][2],
            route=arrival.route,
            room_id=arrival.room_id,
            lag_ms=shot.lag_ms,
            queued_frames=shot.queued_frames,
            queued_bytes=shot.queued_bytes,
            frames_in=shot.frames_in,
            frames_out=shot.frames_out,
            frames_dropped=shot.frames_dropped,
            bytes_in=shot.bytes_in,
            bytes_out=shot.bytes_out,
            last_frame=self._frame(frames[-1]) if frames else None,
            closed_at=iso(shot.closed_ms) if shot.closed_ms is not None else None,
            close_code=shot.close_code,
            close_reason=shot.close_reason if shot.closed_ms is not None else None,
            ended_by=(shot.ended_by or "nobody") if shot.closed_ms is not None else None,
        )

    def answer_recording(self, connection_id: str, user_id: UserId | None = None) -> None:
        """The recording of a connection, as a file to keep; only of a user's own where one is named."""
        found = self.house.hub.find(connection_id)
        shot = take_snapshot(*found) if found else self.house.hub.archive.get(connection_id)
        if shot is None or (user_id is not None and shot.user_id != user_id):
            raise no_such_connection()
        self.set_header("Content-Disposition", f'attachment; filename="heartlink-connection-{shot.id}.json"')
        self.answer(RecordingReply(self.show(shot), [self._frame(record) for record in records_of(shot.packed)]))

    def _frame(self, record: Record) -> FrameView:
        age_ms = round(self._ledger.age_seconds(record.at_ms) * 1000)
        return FrameView(
            at=iso(self.house.clock() - age_ms),
            direction="out" if record.is_out else "in",
            type=record.kind,
            frames=record.frames,
            bytes=record.bytes,
            queued_frames=record.queued_frames,
        )

    @property
    def _ledger(self) -> Ledger:
        return self.house.hub.flusher.ledger


class ConnectionsHandler(ConnectionHandler):
    """Who is connected."""

    operations = describe(
        GET=Operation(
            f"Open sockets, at most {LISTED_CONNECTIONS}, with how far away each is, and those closed lately.",
            response=ConnectionsReply,
            query={"q": "part of a user's name, an address, a room's id or a kind; only those are listed"},
            errors=(403,),
        )
    )

    async def get(self) -> None:
        """Those that fit, as they are now; everybody is pinged, so that asking again tells their lag."""
        self.house.administration.need(self.need_identity())
        wanted = self.query_text("q").casefold()
        hub = self.house.hub
        rows = [row for row in hub.arrivals(len(hub)) if not wanted or _fits(wanted, *row)]
        opened = [self.show_row(*row) for row in rows[:LISTED_CONNECTIONS]]
        shots = hub.archive.latest(LISTED_CLOSED)
        closed = [self.show(shot) for shot in shots if not wanted or _fits_shot(wanted, shot)]
        hub.measure_lag()
        self.answer(ConnectionsReply(opened, closed, len(hub)))


class OneConnectionHandler(ConnectionHandler):
    """One open socket."""

    operations = describe(
        DELETE=Operation("Close a socket with 1001; its client may come back at once.", status=204, errors=(403, 404))
    )

    async def delete(self, connection_id: str) -> None:
        """Say goodbye to it."""
        identity = self.need_identity()
        self.house.administration.need(identity)
        found = self.house.hub.find(connection_id)
        if found is None:
            raise no_such_connection()
        log.info("%s closed connection %s", identity.user.username, connection_id)
        found[0].hang_up(GOING_AWAY)
        self.answer_nothing()


class RecordingHandler(ConnectionHandler):
    """What went over any socket lately."""

    operations = describe(
        GET=Operation(
            "The latest frames of a socket, as types and sizes; kept for some minutes after it was closed.",
            response=RecordingReply,
            errors=(403, 404),
        )
    )

    async def get(self, connection_id: str) -> None:
        """As a file."""
        self.house.administration.need(self.need_identity())
        self.answer_recording(connection_id)


class MyConnectionsHandler(ConnectionHandler):
    """One's own sockets."""

    operations = describe(
        GET=Operation("My open sockets, and those closed in the last minutes.", response=ConnectionsReply)
    )

    async def get(self) -> None:
        """Those that are open, and those that were."""
        user_id = self.need_identity().user.id
        hub = self.house.hub
        found = [row for row in hub.arrivals(len(hub)) if row[0].identity and row[0].identity.user.id == user_id]
        closed = [self.show(shot) for shot in hub.archive.latest(LISTED_CLOSED, user_id)]
        opened = [self.show_row(*row) for row in found]
        hub.measure_lag()
        self.answer(ConnectionsReply(opened, closed, len(found)))


class MyRecordingHandler(ConnectionHandler):
    """What went over a socket of one's own lately."""

    operations = describe(
        GET=Operation(
            "The latest frames of a socket of mine, as types and sizes; kept for some minutes after it was closed.",
            response=RecordingReply,
            errors=(404,),
        )
    )

    async def get(self, connection_id: str) -> None:
        """As a file."""
        self.answer_recording(connection_id, self.need_identity().user.id)


def no_such_connection() -> Refusal:
    """The refusal for a connection that is not known, or not known any more."""
    return not_found("This connection", "Look at the list again: closed ones are remembered for some minutes only.")


def _fits(wanted: str, connection: Connection, arrival: Arrival) -> bool:
    user = connection.identity.user if connection.identity else None
    return _has(wanted, user.username if user else "", arrival)


def _fits_shot(wanted: str, shot: Snapshot) -> bool:
    return _has(wanted, shot.username or "", shot.arrival)


def _has(wanted: str, username: str, arrival: Arrival) -> bool:
    return any(wanted in text.casefold() for text in (username, arrival.address, arrival.room_id or "", arrival.route))


CONNECTION_ROUTES = [
    (r"/api/connections", ConnectionsHandler, "who is connected"),
    (r"/api/connections/([^/]+)", OneConnectionHandler, "one socket"),
    (r"/api/connections/([^/]+)/recording", RecordingHandler, "what went over a socket lately"),
    (r"/api/me/connections", MyConnectionsHandler, "my sockets"),
    (r"/api/me/connections/([^/]+)/recording", MyRecordingHandler, "what went over a socket of mine lately"),
]
