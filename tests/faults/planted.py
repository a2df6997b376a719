"""The server with one bug planted, or under a strain: `python tests/faults/planted.py NAME --port=…`.

The product has no hook for it: what is changed are its real modules, in this process.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_LATE_SECONDS = 0.1
REPLAYED_LATE_SECONDS = 0.05
FORGOTTEN_EVERY_SECONDS = 0.002


def acknowledge_before_writing() -> None:
    """A batch counts as stored at once, and is written a moment later."""
    from heartlink.store.messages import Messages

    write = Messages.append

    def append(self: Messages, batch: list[Any]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        loop.call_later(
            WRITTEN_LATE_SECONDS, lambda: write(self, batch).add_done_callback(lambda done: done.exception())
        )
        stored: asyncio.Future[None] = loop.create_future()
        stored.set_result(None)
        return stored

    Messages.append = append  # type: ignore[method-assign]


def no_dedup_key() -> None:
    """Every posting is new, whatever `client_id` it carries."""
    from heartlink.chat import keeping

    assert "dedup_key" in vars(keeping), "the bug has to be planted where the key is made now"
    vars(keeping)["dedup_key"] = lambda *_: secrets.token_hex(16)


def replay_outside_the_order() -> None:
    """What was missed is read while the room goes on, and the newcomer listens only afterwards."""
    from heartlink.chat.arrivals import Arrivals, Resume
    from heartlink.chat.live import Peer

    arrive = Arrivals.arrive

    async def replay(self: Any, peer: Peer, resume: Resume) -> None:
        missed = await self._messages.changed_since(peer.live.id, resume.since, 1000)
        await asyncio.sleep(REPLAYED_LATE_SECONDS)
        self._let_in(peer, "changes", None, missed, resume.since)

    def arrive_late(self: Any, peer: Peer, resume: Resume | None) -> None:
        if resume is None or self._reason_for_full(peer.live, resume) is not None:
            arrive(self, peer, resume)
        else:
            self._spawn(replay(self, peer, resume))

    Arrivals.arrive = arrive_late  # type: ignore[method-assign]


def no_reload_after_unknown_outcome() -> None:
    """After a write of unknown outcome the room takes the store's last number and publishes nothing of it."""
    from heartlink.journal import Journal

    async def adopt(self: Any) -> None:
        rows = await self._shared.messages.changed_since(self.state.room.id, self.state.last_seq, 1000)
        for row in rows:
            self.state.publish(row)
        self.dirty = False

    assert hasattr(Journal, "_reload"), "the bug has to be planted where the room is read again now"
    Journal._reload = adopt  # type: ignore[method-assign]


def forget_rooms_at_every_moment() -> None:
    """No bug: a room that nobody uses this very moment is forgotten, instead of after a minute."""
    from heartlink.chat import live

    make = live.LiveRooms.__init__

    async def forget(rooms: live.LiveRooms) -> None:
        while True:
            await asyncio.sleep(FORGOTTEN_EVERY_SECONDS)
            rooms.forget_idle()

    def make_forgetful(self: Any, *positional: Any, **named: Any) -> None:
        make(self, *positional, **named)
        self.forgetting = asyncio.get_running_loop().create_task(forget(self))

    live.LIVE_ROOMS_LIMIT = 0  # type: ignore[misc]
    live.LiveRooms.__init__ = make_forgetful  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        acknowledge_before_writing,
        no_dedup_key,
        replay_outside_the_order,
        no_reload_after_unknown_outcome,
    )
}


STRAINS: dict[str, Callable[[], None]] = {forget_rooms_at_every_moment.__name__: forget_rooms_at_every_moment}


def run() -> int:
    """Change what is named, and start the server with the rest of the command line."""
    sys.path.insert(0, str(ROOT))
    (BUGS | STRAINS)[sys.argv.pop(1)]()
    from main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
