"""Finding words in a room's history, backwards and piece by piece, so that nobody else waits for it (PROTOCOL 5)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from heartlink.chat.live import LiveRoom, LiveRooms
from heartlink.chat.views import Views
from heartlink.errors import busy, too_many_searches, unfit
from heartlink.model import RoomId, StoredMessage, User, UserId
from heartlink.names import fold
from heartlink.store.messages import Candidate, Messages

QUERY_CHARS: Final = 200
"""Longest query."""

QUERY_WORDS: Final = 12
"""Different words of one query."""

SEARCH_SECONDS: Final = 0.25
"""How long one request looks before it answers with what it has; the client goes on from there."""

SEARCHES_PER_USER: Final = 3
"""Searches of one user that run at once; of everybody who is not signed in together, too."""

SEARCHES_AT_ONCE: Final = 64
"""Searches of all users that run at once."""

SLICE_SECONDS: Final = 0.0005
"""How long messages are looked at before everybody else has a turn."""

REST_SECONDS: Final = 0.001
"""Between two pieces, so that those who talk hardly notice those who search."""

FIRST_ROWS: Final = 64
"""Messages read first: what is looked for is mostly recent."""

MOST_ROWS: Final = 256
"""Messages read in one piece."""

PIECE_BYTES: Final = 1 << 18
"""What a piece should weigh: where messages are long, fewer are read at once."""


class SearchPage(msgspec.Struct, frozen=True):
    """What was found, newest first.

    Everything from ``searched_to`` on was looked at; it is 0 once that is the whole room. With ``has_more`` the next
    request goes on with ``before=searched_to``, also where nothing was found yet: the time for one request was over.
    """

    messages: list[msgspec.Raw]
    has_more: bool
    searched_to: int


class Query:
    """Words that must all occur in a message's text or in its file's name, whatever their case and width."""

    def __init__(self, text: str) -> None:
        if len(text) > QUERY_CHARS:
            raise unfit("q", f"it is longer than {QUERY_CHARS} characters", "Look for a few words of it.")
        self.words = tuple(dict.fromkeys(fold(text).split()))
        if not self.words:
            raise unfit("q", "it is empty", "Say what to look for.")
        if len(self.words) > QUERY_WORDS:
            raise unfit("q", f"it has more than {QUERY_WORDS} words", "Look for a few of them.")
        # In JSON as it is stored; None where a word has letters that a plain text cannot have.
        self._plain = [msgspec.json.encode(word)[1:-1] if word.isascii() else None for word in self.words]

    def finds(self, body: bytes) -> bool:
        """Whether a stored message fits."""
        if body.isascii():
            # Most English messages end here, without being decoded.
            lowered = body.lower()
            if not all(word is not None and word in lowered for word in self._plain):
                return False
        message = _decoder.decode(body)
        if message.deleted:
            return False
        text = message.content if message.file is None else f"{message.content}\n{message.file.name}"
        folded = text.lower() if text.isascii() else fold(text)
        return all(word in folded for word in self.words)


class _FileName(msgspec.Struct):
    name: str = ""


class _Words(msgspec.Struct):
    """Of a stored message what can be searched."""

    content: str = ""
    deleted: bool = False
    file: _FileName | None = None


_decoder = msgspec.json.Decoder(_Words)


class Search:
    """Looks through rooms for people."""

    def __init__(self, live_rooms: LiveRooms, messages: Messages, views: Views) -> None:
        self._live_rooms = live_rooms
        self._messages = messages
        self._views = views
        self._running: Counter[UserId | None] = Counter()
        # All searches read in turn: the store's other readers stay free for everybody else.
        self._turn = asyncio.Semaphore(1)

    async def find(
        self, room_id: RoomId, user: User | None, query: Query, *, before: int | None, limit: int
    ) -> SearchPage:
        """The newest messages with ids below ``before`` that fit, as far as the time reaches; raises Refusal."""
        user_id = user.id if user else None
        with self._place(user_id):
            async with self._live_rooms.use(room_id) as live:
                self._require(live, user)
                started_at = live.state.last_seq
                bound = started_at + 1 if before is None else min(before, started_at + 1)
                found, reached = await self._look(live, query, bound, limit)
                found = await self._latest(live, found, started_at, query)
                shown = await self._views.shown(live, found, user)
                # At the last step once more: what a right that has gone meanwhile let be read is not sent.
                self._require(live, user)
        return SearchPage(shown, reached > 0, reached)

    def _require(self, live: LiveRoom, user: User | None) -> None:
        if not self._live_rooms.may(live, user.id if user else None, "chat.read"):
            raise self._views.why_not_readable(live, user)

    @contextmanager
    def _place(self, user_id: UserId | None) -> Iterator[None]:
        if self._running[user_id] >= SEARCHES_PER_USER:
            raise too_many_searches(SEARCHES_PER_USER)
        if self._running.total() >= SEARCHES_AT_ONCE:
            raise busy("searches")
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    async def _look(self, live: LiveRoom, query: Query, bound: int, limit: int) -> tuple[list[StoredMessage], int]:
        """What fits below ``bound``, newest first, and the id down to which everything was looked at."""
        deadline = time.monotonic() + SEARCH_SECONDS
        found: list[StoredMessage] = []
        rows = FIRST_ROWS
        while True:
            async with self._turn:
                piece = await self._messages.candidates(live.id, bound, rows)
                found += await _sift(piece, query)
                await asyncio.sleep(REST_SECONDS)
            is_last = len(piece) < rows or piece[-1].id <= 1
            if len(found) > limit or (len(found) == limit and not is_last):
                return found[:limit], found[limit - 1].message.id
            if is_last:
                return found, 0
            bound = piece[-1].id
            if time.monotonic() >= deadline:
                return found, bound
            size_bytes = sum(len(candidate.body) for candidate in piece)
            rows = max(1, min(rows * 2, MOST_ROWS, rows * PIECE_BYTES // size_bytes))

    async def _latest(
        self, live: LiveRoom, found: list[StoredMessage], since: int, query: Query
    ) -> list[StoredMessage]:
        """The same messages as they are now: what was deleted or edited while others were read does not appear."""
        while (changed := live.state.recent.changed_since(since)) is None:
            since = live.state.last_seq
            ids = [row.message.id for row in found]
            found = sorted(await self._messages.get_many(live.id, ids), key=lambda row: -row.message.id)
        newer = {row.message.id: row for row in changed}
        now = [max(row, newer.get(row.message.id, row), key=lambda row: row.message.rev) for row in found]
        return [row for row in now if query.finds(row.body)]


async def _sift(piece: list[Candidate], query: Query) -> list[StoredMessage]:
    """Those that fit; on the loop in short slices, for a thread would keep the interpreter longer than they do."""
    found: list[StoredMessage] = []
    slice_ends = time.monotonic() + SLICE_SECONDS
    for candidate in piece:
        if query.finds(candidate.body):
            found.append(candidate.decoded())
        if time.monotonic() >= slice_ends:
            await asyncio.sleep(0)
            slice_ends = time.monotonic() + SLICE_SECONDS
    return found
