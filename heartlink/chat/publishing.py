"""Stored steps on their way to everybody in the room: encoded once, one frame for all."""

from __future__ import annotations

from heartlink.chat.live import LiveRoom, Peer
from heartlink.connection import Connection
from heartlink.frames import text_frame
from heartlink.journal import Published
from heartlink.model import UserId
from heartlink.protocol import message_frame


def publish(live: LiveRoom, steps: list[Published]) -> None:
    """Send stored steps to everybody in the room: one frame for all, another for each one's own (DESIGN 5)."""
    frames = [text_frame(message_frame(step.row.body, change=step.change, is_own=False)) for step in steps]
    authors: set[UserId | None] = {step.row.message.sender_id for step in steps}
    asking: set[Connection] = set()
    for step in steps:
        origin = step.entry.origin if step.entry is not None and step.entry.ref is not None else None
        if isinstance(origin, Peer) and origin.attached:
            asking.add(origin.connection)
    live.topic.tell_all_but(b"".join(frames), len(frames), authors, asking)
    for author in authors:
        blob = b"".join(_seen_by(live, steps, frames, author))
        for connection in live.topic.of_user(author):
            if connection not in asking:
                connection.push_many(blob, len(frames))
    for connection in asking:
        reader = connection.identity.user.id if connection.identity else None
        connection.push_many(b"".join(_seen_by(live, steps, frames, reader, connection)), len(frames))


def _seen_by(
    live: LiveRoom,
    steps: list[Published],
    frames: list[bytes],
    reader: UserId | None,
    connection: Connection | None = None,
) -> list[bytes]:
    """The steps for somebody who said some of them, or who asked for some under a ``ref`` on this connection."""
    seen = frames.copy()
    for index, (row, change, entry) in enumerate(steps):
        ref = None
        if connection is not None and entry is not None and isinstance(entry.origin, Peer):
            ref = entry.ref if entry.origin.connection is connection else None
        is_own = row.message.sender_id == reader
        if is_own or ref is not None:
            is_read = change is not None and live.state.is_read(row, reader)
            seen[index] = text_frame(message_frame(row.body, change=change, is_own=is_own, is_read=is_read, ref=ref))
    return seen
