"""One connection: its states, its bounded outgoing queue, its undo list, and the one way out."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable
from typing import Literal

from heartlink.connection.flusher import Flusher
from heartlink.connection.lag import lag_of
from heartlink.connection.outlet import ConnectionLimits, Outlet, State
from heartlink.connection.recorder import RING_BYTES, SPARE_BYTES, keep, with_queue
from heartlink.errors import TOO_SLOW, Farewell
from heartlink.frames import close_frame, cut
from heartlink.model import Identity

log = logging.getLogger(__name__)


class Connection:
    """One peer.

    What is pushed goes out in order, once per loop turn, in one write. ``fenced`` is true from the first sign
    of the end on: nothing received is handed on any more, and nothing pushed is sent.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_due",
        "_flusher",
        "_latest",
        "_max_bytes",
        "_max_frames",
        "_outlet",
        "_queue",
        "_replayed",
        "_send_now",
        "_started",
        "_undo",
        "_waiting",
        "bytes_in",
        "bytes_out",
        "context",
        "ended_by",
        "farewell",
        "fenced",
        "frames_dropped",
        "frames_in",
        "frames_out",
        "heard_at",
        "id",
        "identity",
        "lag_ms",
        "queued_at_end",
        "queued_bytes",
        "queued_frames",
        "recording",
        "state",
    )

    def __init__(self, outlet: Outlet, flusher: Flusher, limits: ConnectionLimits, now: float) -> None:
        self.id = secrets.token_hex(6)
        self.identity: Identity | None = None
        self.context: object = None
        self.state = State.OPEN
        self.fenced = False
        self.farewell: Farewell | None = None
        self.ended_by: Literal["", "server", "peer"] = ""
        """Who said goodbye first; nobody when the connection was lost."""
        self.lag_ms: int | None = None
        """The latest round trip of a ping."""
        self.recording = bytearray()
        """The latest entries of the ledger (:mod:`heartlink.connection.recorder`)."""
        self.queued_at_end = 0
        """Frames that waited when the server hung up."""
        self.heard_at = now
        self.frames_in = self.bytes_in = self.frames_out = self.bytes_out = self.frames_dropped = 0
        self.queued_frames = self.queued_bytes = 0
        self._outlet = outlet
        self._send_now = outlet.send_now
        self._flusher = flusher
        self._max_bytes = limits.queue_bytes or sys.maxsize
        self._max_frames = limits.queue_frames or sys.maxsize
        # Whole frames, possibly several joined to a piece, in order; only the first piece may be the rest
        # of a frame partly sent, and then _started is true.
        self._queue: list[bytes] = []
        self._replayed: tuple[int, int] | None = None
        self._started = False
        self._latest: dict[str, int] | None = None
        self._due = False
        self._waiting = False
        self._answered = False
        self._undo: list[Callable[[], object]] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.state.value}, {self.queued_frames} frames queued>"

    # --- Going out ---------------------------------------------------------------------------------

    def push(self, frame: bytes) -> None:
        """Queue one frame that must not get lost; a full queue ends the connection with TOO_SLOW."""
        if self.fenced:
            return
        queued_bytes = self.queued_bytes + len(frame)
        queued_frames = self.queued_frames + 1
        if queued_bytes > self._max_bytes or queued_frames > self._max_frames:
            self._push_tight(frame, 1)
            return
        self.queued_bytes = queued_bytes
        self.queued_frames = queued_frames
        self._queue.append(frame)
        if not self._due:
            self._due = True
            self._flusher.add(self)

    def push_many(self, blob: bytes, frames: int) -> None:
        """Queue ``frames`` whole frames joined to one ``blob``, none of which must get lost."""
        if self.fenced:
            return
        queued_bytes = self.queued_bytes + len(blob)
        queued_frames = self.queued_frames + frames
        if queued_bytes > self._max_bytes or queued_frames > self._max_frames:
            self._push_tight(blob, frames)
            return
        self.queued_bytes = queued_bytes
        self.queued_frames = queued_frames
        self._queue.append(blob)
        if not self._due:
            self._due = True
            self._flusher.add(self)

    def push_replay(self, blob: bytes, frames: int) -> None:
        """Queue what a peer asked for when it came back: until it has read that, its queue may be longer by as much.

        The caller bounds it. Without this, who was too slow for its queue would be too slow for its replay.
        """
        size, count = self._replayed or (0, 0)
        self._replayed = size + len(blob), count + frames
        self._max_bytes += len(blob)
        self._max_frames += frames
        self.push_many(blob, frames)

    def push_latest(self, key: str, frame: bytes) -> None:
        """Queue a frame of which only the latest per ``key`` counts: it replaces its forerunner, and is
        dropped when the queue is more than half full."""
        if self.fenced:
            return
        if self._latest is None:
            self._latest = {}
        at = self._latest.get(key)
        if at is not None:
            self.queued_bytes += len(frame) - len(self._queue[at])
            self._queue[at] = frame
        elif (self.queued_bytes + len(frame)) * 2 > self._max_bytes or (self.queued_frames + 1) * 2 > self._max_frames:
            self.frames_dropped += 1
        else:
            self._latest[key] = len(self._queue)
            self.push(frame)

    def drop_queued(self) -> int:
        """Forget every queued frame of which no byte was sent; returns how many.

        The rest of a frame partly sent still goes out: without it the stream could not go on.
        """
        started = self._started
        dropped = self.queued_frames - started
        del self._queue[started:]
        self.queued_frames = int(started)
        self.queued_bytes = len(self._queue[0]) if started else 0
        self._latest = None
        self.frames_dropped += dropped
        return dropped

    def flush(self) -> None:
        """Hand all that is queued over in one write. The flusher and the outlet call this."""
        queue = self._queue
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        try:
            taken = self._send_now(data) if data else 0
        except BlockingIOError:
            taken = 0
        except OSError:
            self._break()
            return
        self.bytes_out += taken
        if taken < len(data):
            self._keep_from(taken)
            self._due = self._waiting = True
            self._outlet.when_writable(self.flush)
            return
        if len(queue) == 1 and data and not self._started:
            ledger, recording = self._flusher.ledger, self.recording
            known = ledger.latest if ledger.latest.piece is data else ledger.look_at(data)
            known.uses += 1
            recording += known.entries
            if len(recording) > RING_BYTES + SPARE_BYTES:
                del recording[: len(recording) - RING_BYTES]
        else:
            # What is left of a frame partly sent was noted when its first byte went out.
            self._note_written(queue[1:] if self._started else queue, 0)
        queue.clear()
        self.frames_out += self.queued_frames
        self.queued_frames = self.queued_bytes = 0
        self._due = False
        if self._waiting or self._latest or self._replayed or self.fenced:
            self._started = self._waiting = False
            self._latest = None
            if self._replayed:
                self._max_bytes -= self._replayed[0]
                self._max_frames -= self._replayed[1]
                self._replayed = None
            if self.state is State.LEAVING:
                self._outlet.finish(self._answered)

    def _push_tight(self, blob: bytes, frames: int) -> None:
        """Push where the limits forbid it: make room, or call the peer too slow."""
        self._drop_latest()
        self._queue.append(blob)
        self.queued_bytes += len(blob)
        self.queued_frames += frames
        if not self._waiting:
            # A burst within one turn is no fault of the peer: ask the kernel before judging.
            due = self._due
            self.flush()
            self._due = self._due or due
        if self.queued_bytes > self._max_bytes or self.queued_frames > self._max_frames:
            self.hang_up(TOO_SLOW)

    def _drop_latest(self) -> None:
        for at in (self._latest or {}).values():
            self.queued_bytes -= len(self._queue[at])
            self.queued_frames -= 1
            self.frames_dropped += 1
            self._queue[at] = b""
        self._latest = None

    def _keep_from(self, position: int) -> None:
        """Keep what lies behind ``position`` bytes of the queue, with the frame that contains it cut off alone."""
        queue = self._queue
        self.queued_bytes -= position
        whole = index = 0
        begun: list[bytes] = []
        while position >= len(queue[index]):
            position -= len(queue[index])
            if not self._started:
                begun.append(queue[index])
            whole += 1 if self._started else cut(queue[index], len(queue[index]))[0]
            self._started = False
            index += 1
        pieces = [queue[index]]
        first_kept = index
        if self._started:
            pieces = [queue[index][position:]]
        elif position:
            first_kept = index + 1
            count, end = cut(queue[index], position)
            begun.append(queue[index][:end])
            whole += count
            self._started = end > position
            pieces = [piece for piece in (queue[index][position:end], queue[index][end:]) if piece]
        queue[: index + 1] = pieces
        self.frames_out += whole
        self.queued_frames -= whole
        if self._latest:
            shift = len(pieces) - index - 1
            self._latest = {key: at + shift for key, at in self._latest.items() if at >= first_kept}
        self._note_written(begun, self.queued_frames)

    def _note_written(self, pieces: list[bytes], queued_frames: int) -> None:
        """Note whole frames that were handed over, and what waits behind them now."""
        for piece in pieces:
            entries = self._flusher.ledger.written(piece)
            keep(self.recording, with_queue(entries, queued_frames) if queued_frames else entries)

    # --- Coming in ---------------------------------------------------------------------------------

    def heard(self, size_bytes: int, now: float) -> None:
        """Note a sign of life; the transport calls this for whatever it received."""
        self.bytes_in += size_bytes
        self.heard_at = now

    def note_read(self, kind: int, size_bytes: int) -> None:
        """Note a frame that came, by kind (``heartlink.connection.ledger.KINDS``) and payload."""
        keep(self.recording, self._flusher.ledger.read(kind, size_bytes, self.queued_frames, self.heard_at))

    def ponged(self, payload: bytes) -> None:
        """The answer to a ping came: what it says of the way there and back is remembered."""
        lag_ms = lag_of(payload, self.heard_at)
        if lag_ms is not None:
            self.lag_ms = lag_ms

    def peer_left(self, code: int | None, reason: str = "") -> None:
        """The peer's close frame came: answer it with its own code, unless we had said goodbye first."""
        self._answered = True
        if self.fenced:
            if self.state is State.LEAVING and not self._due:
                self._outlet.finish(True)
            return
        self.farewell = Farewell(code or 1005, reason)
        self.ended_by = "peer"
        self._leave(close_frame(code))

    # --- The way out -------------------------------------------------------------------------------

    def undo(self, step: Callable[[], object]) -> None:
        """Have ``step`` run once when the connection is gone, last registered first; at once if it is."""
        if self.state is State.GONE:
            self._run(step)
        elif self._undo is None:
            self._undo = [step]
        else:
            self._undo.append(step)

    def hang_up(self, farewell: Farewell, *last_frames: bytes) -> None:
        """End this connection: last frames, close frame, then TCP, in at most the flusher's goodbye.

        Only the first call counts. A peer that is TOO_SLOW is not made to read its queue first.
        """
        if self.fenced:
            return
        self.farewell = farewell
        self.ended_by = "server"
        self.queued_at_end = self.queued_frames
        if farewell == TOO_SLOW:
            self.drop_queued()
        self._leave(*last_frames, close_frame(farewell.close_code, farewell.reason))

    def abort(self) -> None:
        """End this connection now, without a word."""
        if self.state is not State.GONE:
            self.fenced = True
            self._outlet.abort()

    def lost(self) -> None:
        """TCP is closed, for whatever reason: run the undo list. The transport calls this, once is enough."""
        if self.state is State.GONE:
            return
        self.state = State.GONE
        self.fenced = True
        self._queue.clear()
        self._latest = None
        self.queued_frames = self.queued_bytes = 0
        self._flusher.ledger.closed(self.farewell.close_code if self.farewell else 1006, self.ended_by or "nobody")
        steps, self._undo = self._undo, None
        while steps:
            self._run(steps.pop())
        # What holds each other would stay until the collector comes by; nothing asks for it of one that is gone.
        self.context = None
        del self._outlet, self._send_now

    def _leave(self, *frames: bytes) -> None:
        self.state = State.LEAVING
        self.fenced = True
        self._queue.extend(frames)
        self.queued_frames += len(frames)
        self.queued_bytes += sum(map(len, frames))
        if not self._due:
            self._due = True
            self._flusher.add(self)
        self._flusher.expect_end(self)

    def _break(self) -> None:
        """The peer is gone without a word. Undo later: whoever pushes may be in the middle of a list of members."""
        self.fenced = True
        self._flusher.call_soon(self.abort)

    def _run(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:
            log.exception("undoing connection %s: %r failed", self.id, step)
