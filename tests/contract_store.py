"""What every storage backend must do, said once; test_store_contract.py runs it on each of them.

A *place* is where a database lives: ``place.backend()`` makes a backend over the same data each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Protocol

import pytest

from heartlink.errors import DuplicateKey, StartupFailure, StoreUnavailable
from heartlink.store.backend import Backend, Change, Collection, Document, Insert, Replace, Span
from heartlink.store.tables import ALL

CONFIRM_SECONDS = 4.0
ROWS = Collection(
    "rows",
    text=("room", "dedup"),
    integer=("seq", "rev"),
    unique=(("room", "seq"), ("room", "rev"), ("dedup",)),
)
NOTES = Collection("notes", text=("word",), integer=("at",), indexes=(("word",), ("at",), ("word", "at")))
BARE = Collection("bare")
MADE = Collection("made", text=("room", "dedup"), integer=("seq", "rev"), unique=ROWS.unique, id_from=("room", "seq"))
COLLECTIONS = (ROWS, NOTES, BARE, MADE)
BIGGEST = 2**63 - 1


def shapes(collection: Collection) -> list[tuple[dict[str, str | int], Span | None]]:
    """Every kind of scan that a collection's declared indexes are there for."""
    found: list[tuple[dict[str, str | int], Span | None]] = []
    for *equal, last in (*collection.unique, *collection.indexes):
        a, b = ("a", "b") if last in collection.text else (1, 1000)
        values: dict[str, str | int] = {key: "a" if key in collection.text else 1 for key in equal}
        found.append((values | {last: a}, None))
        for descending in (False, True):
            found.append((values, Span(last, descending=descending)))
            found.append((values, Span(last, above=a, descending=descending)))
            found.append((values, Span(last, below=b, descending=descending)))
            found.append((values, Span(last, above=a, below=b, descending=descending)))
    return found


class Place(Protocol):
    """A database that outlives the backends opened on it."""

    options: dict[str, str]
    """Arguments of ``make_backend`` for another process."""
    conflict_stores_nothing: bool

    def backend(self) -> Backend: ...


class Rows:
    """Documents as the tests need them."""

    @staticmethod
    def row(room: str, seq: int, rev: int | None = None, dedup: str | None = None, body: bytes = b"{}") -> Document:
        keys = {"room": room, "dedup": dedup or f"{room}/{seq}", "seq": seq, "rev": rev if rev is not None else seq}
        return Document(f"{room}:{seq:012d}", keys, body)

    @staticmethod
    def note(id: str, word: str, at: int, body: bytes = b"{}") -> Document:
        return Document(id, {"word": word, "at": at}, body)


row, note = Rows.row, Rows.note


def inserts(*documents: Document) -> list[Change]:
    return [Insert(document) for document in documents]


async def outcome(future: Awaitable[Any]) -> BaseException | None:
    """How a write ended: None, or its error."""
    return (await asyncio.gather(future, return_exceptions=True))[0]


def on_backend(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with an open backend, on a loop of its own."""

    def run(self: Any, place: Place, **others: Any) -> None:
        async def go() -> None:
            backend = place.backend()
            await backend.open(COLLECTIONS)
            try:
                await test(self, backend, **({"place": place} if wants_place else {}), **others)
            finally:
                await backend.close()

        asyncio.run(go())

    # pytest reads from the signature which arguments to supply: those of the test, and the place.
    wanted = [name for name in signature(test).parameters if name not in ("self", "backend", "place")]
    wants_place = "place" in signature(test).parameters
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "place", *wanted)]
    )
    return run


class StoreContract:
    """Every operation, its edges, its refusals and its durability."""

    # --- one document ---

    @on_backend
    async def test_what_was_inserted_is_there(self, backend: Backend) -> None:
        await backend.insert(ROWS, row("a", 1, body=b'{"x":1}'))
        assert await backend.get(ROWS, "a:000000000001") == row("a", 1, body=b'{"x":1}')
        assert await backend.get(ROWS, "a:000000000002") is None
        assert await backend.get(BARE, "a:000000000001") is None

    @pytest.mark.parametrize(
        ("id", "body"),
        [
            ("plain", b""),
            ("nul in the body", b'{"x":"\x00"}'),
            ("emoji", '{"x":"😀👨‍👩‍👧"}'.encode()),
            ("房间:你好", '{"内容":"你好"}'.encode()),
            ("$set.a/b'\"\\%;--", b'{"$set":{"_id":1}}'),
            ("i" * 512, b"null"),
            ("字" * 170 + "ii", b"[]"),
            ("large", json.dumps(["0123456789"] * 50_000).encode()),
            ("spaces ", b' { "x" : 1 } \n'),
            ("1", b"1"),
        ],
        ids=lambda value: repr(value[:8]),
    )
    @on_backend
    async def test_bytes_come_back_as_they_went(self, backend: Backend, id: str, body: bytes) -> None:
        await backend.insert(BARE, Document(id, {}, body))
        assert await backend.get(BARE, id) == Document(id, {}, body)
        await backend.put(BARE, Document(id, {}, body + b" "))
        assert await backend.get_many(BARE, [id, "none"]) == [Document(id, {}, body + b" ")]
        assert await backend.scan(BARE, {}) == [Document(id, {}, body + b" ")]
        assert await backend.delete(BARE, id)

    @pytest.mark.parametrize(
        ("word", "at"),
        [
            *((word, 1) for word in ("", "a", "中文", "😀", "$a.b", "'\"\\%", "w" * 512, "1", "null")),
            *(("w", at) for at in (0, -1, 2**31, 2**53 + 1, BIGGEST, -BIGGEST - 1)),
        ],
        ids=lambda value: repr(value)[:8],
    )
    @on_backend
    async def test_keys_are_found_as_they_were_stored(self, backend: Backend, at: int, word: str) -> None:
        stored = note("n", word, at)
        await backend.insert(NOTES, stored)
        assert await backend.scan(NOTES, {"word": word}) == [stored]
        assert await backend.scan(NOTES, {"at": at}) == [stored]
        assert await backend.scan(NOTES, {"word": word, "at": at}) == [stored]
        assert await backend.scan(NOTES, {"word": word + "x"}) == []

    @on_backend
    async def test_an_insert_is_refused_when_the_id_exists(self, backend: Backend) -> None:
        await backend.insert(BARE, Document("one", {}, b"1"))
        with pytest.raises(DuplicateKey):
            await backend.insert(BARE, Document("one", {}, b"2"))
        assert await backend.scan(BARE, {}) == [Document("one", {}, b"1")]

    @pytest.mark.parametrize(
        "other", [row("a", 1, 9, "new"), row("a", 9, 1, "new"), row("b", 1, 1, "a/1")], ids=["seq", "rev", "dedup"]
    )
    @on_backend
    async def test_an_insert_is_refused_when_a_unique_key_exists(self, backend: Backend, other: Document) -> None:
        await backend.insert(ROWS, row("a", 1))
        other = Document("another id", other.keys, b"")
        with pytest.raises(DuplicateKey):
            await backend.insert(ROWS, other)
        with pytest.raises(DuplicateKey):
            await backend.put(ROWS, other)
        assert await backend.get(ROWS, "another id") is None
        assert await backend.get(ROWS, "a:000000000001") == row("a", 1)
        await backend.insert(ROWS, row("b", 1))

    @on_backend
    async def test_put_stores_whatever_was_there(self, backend: Backend) -> None:
        await backend.put(ROWS, row("a", 1, body=b"1"))
        await backend.put(ROWS, row("a", 1, rev=7, body=b"2"))
        assert await backend.scan(ROWS, {"room": "a"}) == [row("a", 1, rev=7, body=b"2")]
        await backend.insert(ROWS, row("a", 2, rev=1))

    @on_backend
    async def test_delete_says_whether_there_was_one(self, backend: Backend) -> None:
        await backend.insert(ROWS, row("a", 1))
        assert await backend.delete(ROWS, "a:000000000001") is True
        assert await backend.delete(ROWS, "a:000000000001") is False
        await backend.insert(ROWS, row("a", 1))

    @on_backend
    async def test_get_many_takes_500_ids(self, backend: Backend) -> None:
        assert await backend.get_many(BARE, []) == []
        documents = [Document(f"d{number:03d}", {}, b"%d" % number) for number in range(0, 500, 2)]
        await backend.append(BARE, inserts(*documents))
        found = await backend.get_many(BARE, [f"d{number:03d}" for number in range(500)])
        assert sorted(found, key=lambda document: document.id) == documents

    @on_backend
    async def test_change_replaces_only_what_is_as_expected(self, backend: Backend) -> None:
        await backend.insert(ROWS, row("a", 1))
        assert await backend.change(ROWS, row("a", 1, rev=2, body=b"2"), {"rev": 1}) is True
        assert await backend.change(ROWS, row("a", 1, rev=3, body=b"3"), {"rev": 1}) is False
        assert await backend.change(ROWS, row("a", 2, rev=3), {"rev": 1}) is False
        assert await backend.change(ROWS, row("a", 1, rev=4, body=b"4"), {"rev": 2, "room": "b"}) is False
        assert await backend.get(ROWS, "a:000000000001") == row("a", 1, rev=2, body=b"2")
        assert await backend.change(ROWS, row("a", 1, rev=2, body=b"same rev"), {}) is True
        assert await backend.get(ROWS, "a:000000000002") is None

    @on_backend
    async def test_of_many_changes_one_wins(self, backend: Backend) -> None:
        await backend.insert(NOTES, note("n", "w", 0))
        won = await asyncio.gather(
            *(backend.change(NOTES, note("n", "w", 1, b"%d" % number), {"at": 0}) for number in range(30))
        )
        assert sum(won) == 1
        assert await backend.get(NOTES, "n") == note("n", "w", 1, b"%d" % won.index(True))

    @on_backend
    async def test_a_change_keeps_unique_keys_unique(self, backend: Backend) -> None:
        await backend.append(ROWS, inserts(row("a", 1), row("a", 2)))
        with pytest.raises(DuplicateKey):
            await backend.change(ROWS, row("a", 2, rev=1), {"rev": 2})
        assert await backend.get(ROWS, "a:000000000002") == row("a", 2)

    @on_backend
    async def test_an_id_made_of_keys_is_an_id(self, backend: Backend) -> None:
        documents = [row(room, seq) for room in ("a", "", "a:b", "房间") for seq in (0, 1, 2, 10**12, BIGGEST)]
        for document in documents:
            await backend.insert(MADE, document)
        assert [await backend.get(MADE, document.id) for document in documents] == documents
        found = await backend.get_many(MADE, [document.id for document in documents])
        assert sorted(found) == sorted(documents)
        for id in ("", "a", "a:", ":1", "a:1", "a:0000000000001", "a:00000000000x", "a:-00000000001", "a:٠٠٠٠٠٠٠٠٠٠٠١"):
            assert await backend.get(MADE, id) is None
            assert await backend.get_many(MADE, [id, "a:000000000001"]) == [row("a", 1)]
            assert await backend.delete(MADE, id) is False
        assert await backend.change(MADE, row("a", 1, rev=5, body=b"5"), {"rev": 1}) is True
        assert await backend.change(MADE, row("a", 1, rev=6), {"rev": 1}) is False
        await backend.append(MADE, [Replace(row("a", 1, rev=7), "rev", 5), Insert(row("a", 9))])
        await backend.put(MADE, row("a", 9, body=b"put"))
        await backend.put(MADE, row("a", 8, body=b"put"))
        assert await backend.get(MADE, "a:000000000009") == row("a", 9, body=b"put")
        assert await backend.scan(MADE, {"room": "a"}, Span("rev", above=6, below=10)) == [
            row("a", 1, rev=7),
            row("a", 8, body=b"put"),
            row("a", 9, body=b"put"),
        ]
        with pytest.raises(DuplicateKey):
            await backend.insert(MADE, row("a", 9, rev=99, dedup="new"))
        assert await backend.delete(MADE, "a:000000000009") is True
        assert await backend.get(MADE, "a:000000000009") is None

    # --- scans ---

    @pytest.mark.parametrize(
        ("span", "limit", "found"),
        [
            (None, 1000, [1, 2, 3, 4, 5, 6]),
            (Span("seq"), 1000, [1, 2, 3, 4, 5, 6]),
            (Span("seq", descending=True), 1000, [6, 5, 4, 3, 2, 1]),
            (Span("seq", above=2), 1000, [3, 4, 5, 6]),
            (Span("seq", below=5), 1000, [1, 2, 3, 4]),
            (Span("seq", above=2, below=5), 1000, [3, 4]),
            (Span("seq", above=2, below=5, descending=True), 1000, [4, 3]),
            (Span("seq", above=0), 2, [1, 2]),
            (Span("seq", below=6, descending=True), 2, [5, 4]),
            (Span("seq", above=6), 1000, []),
            (Span("seq", above=5, below=3), 1000, []),
            (Span("rev", above=104), 1000, [2, 1]),
            (Span("rev", descending=True), 3, [1, 2, 3]),
            (Span("dedup", above="k2", below="k5"), 1000, [3, 4]),
            (Span("dedup", above="k2", descending=True), 2, [6, 5]),
        ],
        ids=str,
    )
    @on_backend
    async def test_a_span_excludes_its_ends(self, backend: Backend, span: Span, limit: int, found: list[int]) -> None:
        mine = [row("a", number, rev=107 - number, dedup=f"k{number}") for number in (4, 1, 6, 3, 2, 5)]
        others = [row(room, number) for room in ("", "A", "aa", "b") for number in (1, 2, 3)]
        await backend.append(ROWS, inserts(*mine, *others))
        documents = await backend.scan(ROWS, {"room": "a"}, span, limit)
        assert [document.keys["seq"] for document in documents] == found

    @on_backend
    async def test_a_span_alone_is_enough(self, backend: Backend) -> None:
        await backend.append(NOTES, inserts(*(note(f"n{at}", "w", at) for at in (3, -5, 1, 2**40))))
        assert [found.id for found in await backend.scan(NOTES, {}, Span("at", below=2))] == ["n-5", "n1"]
        assert [found.id for found in await backend.scan(NOTES, {"word": "w"}, Span("at", above=2))] == [
            "n3",
            f"n{2**40}",
        ]

    @on_backend
    async def test_order_is_by_code_point_and_by_value(self, backend: Backend) -> None:
        words = ["", "A", "Z", "a", "aa", "b", "é", "中", "😀"]
        await backend.append(NOTES, inserts(*(note(f"n{w}", w, len(words) - i) for i, w in enumerate(words))))
        assert [found.keys["word"] for found in await backend.scan(NOTES, {}, Span("word"))] == words
        assert [found.id for found in await backend.scan(NOTES, {})] == sorted(f"n{word}" for word in words)
        assert [found.keys["at"] for found in await backend.scan(NOTES, {}, Span("at"))] == list(range(1, 10))

    @on_backend
    async def test_more_than_a_first_batch_of_a_cursor_comes_back(self, backend: Backend) -> None:
        documents = [row("a", number, body=b'"' + b"x" * 500 + b'"') for number in range(1, 1001)]
        for at in range(0, 1000, 200):
            await backend.append(ROWS, inserts(*documents[at : at + 200]))
        assert await backend.scan(ROWS, {"room": "a"}, Span("seq")) == documents
        assert await backend.scan(ROWS, {"room": "a"}, Span("seq"), limit=999) == documents[:999]

    @on_backend
    async def test_only_declared_keys_can_be_asked_for(self, backend: Backend) -> None:
        with pytest.raises(ValueError, match="no key 'body'"):
            await backend.scan(ROWS, {"body": "{}"})
        with pytest.raises(ValueError, match="no key"):
            await backend.scan(ROWS, {}, Span("$where"))
        with pytest.raises(ValueError, match="no key"):
            await backend.change(ROWS, row("a", 1), {'seq" or 1 --': 1})

    # --- append ---

    @on_backend
    async def test_a_batch_is_stored_in_order(self, backend: Backend) -> None:
        first = row("a", 1, body=b"1")
        edited, again = row("a", 1, rev=3, body=b"2"), row("a", 1, rev=4, body=b"3")
        batch: list[Change] = [Insert(first), Insert(row("a", 2)), Replace(edited, "rev", 1)]
        batch += [Replace(again, "rev", 3), Insert(row("a", 5))]
        await backend.append(ROWS, batch)
        assert await backend.scan(ROWS, {"room": "a"}, Span("rev")) == [row("a", 2), again, row("a", 5)]
        await backend.append(ROWS, [])

    @on_backend
    async def test_batches_of_one_room_follow_each_other(self, backend: Backend) -> None:
        futures = [backend.append(ROWS, inserts(row("a", 1)))]
        futures += [backend.append(ROWS, [Replace(row("a", 1, rev=rev), "rev", rev - 1)]) for rev in range(2, 40)]
        assert await asyncio.gather(*futures) == [None] * 39
        assert await backend.get(ROWS, "a:000000000001") == row("a", 1, rev=39)

    @on_backend
    async def test_a_hundred_rooms_append_at_once(self, backend: Backend) -> None:
        futures = [
            backend.append(ROWS, inserts(*(row(f"r{room}", seq) for seq in range(at, at + 3))))
            for at in (1, 4)
            for room in range(100)
        ]
        await asyncio.gather(*futures)
        for room in range(100):
            found = await backend.scan(ROWS, {"room": f"r{room}"}, Span("seq"))
            assert [document.keys["seq"] for document in found] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("bad_at", [0, 2, 5])
    @pytest.mark.parametrize("kind", ["id", "seq", "rev", "dedup", "expected", "missing", "taken"])
    @on_backend
    async def test_a_batch_with_a_conflict_stores_a_prefix_at_most(
        self, backend: Backend, place: Place, bad_at: int, kind: str
    ) -> None:
        await backend.append(ROWS, inserts(row("a", 1, rev=50), row("z", 1), row("z", 2)))
        bad: Change = {
            "id": Insert(Document("a:000000000001", row("a", 99).keys, b"")),
            "seq": Insert(Document("x", row("a", 1, rev=99, dedup="x").keys, b"")),
            "rev": Insert(Document("x", row("a", 99, rev=50).keys, b"")),
            "dedup": Insert(Document("x", row("a", 99, dedup="a/1").keys, b"")),
            "expected": Replace(row("a", 1, rev=99), "rev", 49),
            "missing": Replace(row("a", 98, rev=99), "rev", 98),
            "taken": Replace(row("z", 2, rev=1), "rev", 2),
        }[kind]
        batch = inserts(*(row("a", seq) for seq in range(2, 7)))
        batch.insert(bad_at, bad)
        before = backend.append(ROWS, inserts(row("b", 1)))
        conflicting = backend.append(ROWS, batch)
        after = backend.append(ROWS, [*inserts(row("c", 1)), Replace(row("c", 1, rev=2), "rev", 1)])
        results = await asyncio.gather(before, conflicting, after, return_exceptions=True)
        assert results[0] is None
        assert isinstance(results[1], DuplicateKey)
        assert results[2] is None
        stored = [found.keys["seq"] for found in await backend.scan(ROWS, {"room": "a"}, Span("seq"))]
        assert stored == list(range(1, len(stored) + 1))
        assert len(stored) <= 1 + (0 if place.conflict_stores_nothing else bad_at)
        assert await backend.get(ROWS, "a:000000000001") == row("a", 1, rev=50)
        assert len(await backend.scan(ROWS, {"room": "b"})) == len(await backend.scan(ROWS, {"room": "c"})) == 1

    @on_backend
    async def test_two_batches_in_one_turn_that_exclude_each_other(self, backend: Backend) -> None:
        first = backend.append(ROWS, inserts(row("a", 1)))
        second = backend.append(ROWS, inserts(row("a", 2), row("b", 1, dedup="a/1")))
        third = backend.append(ROWS, inserts(row("c", 1)))
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        assert results[0] is None
        assert isinstance(results[1], DuplicateKey)
        assert results[2] is None
        assert await backend.get(ROWS, "b:000000000001") is None

    @on_backend
    async def test_a_caller_that_goes_away_disturbs_nobody(self, backend: Backend) -> None:
        gone = backend.append(ROWS, inserts(row("a", 1)))
        stays = backend.append(ROWS, inserts(row("b", 1)))
        gone.cancel()
        assert await outcome(stays) is None
        late = backend.append(ROWS, inserts(row("c", 1)))
        await asyncio.sleep(0)
        late.cancel()
        assert await outcome(backend.append(ROWS, inserts(row("d", 1)))) is None

    @on_backend
    async def test_a_document_without_its_keys_fails_alone(self, backend: Backend) -> None:
        good = backend.append(ROWS, inserts(row("a", 1)))
        with pytest.raises(KeyError):
            await backend.append(ROWS, inserts(Document("x", {"room": "a"}, b"")))
        assert await outcome(good) is None
        with pytest.raises(OverflowError):
            await backend.append(ROWS, inserts(row("a", BIGGEST + 1)))
        assert len(await backend.scan(ROWS, {})) == 1

    # --- opening, closing, coming back ---

    def test_data_outlives_the_backend(self, place: Place) -> None:
        async def go() -> None:
            for number in range(3):
                backend = place.backend()
                await backend.open(COLLECTIONS)
                await backend.ping()
                assert len(await backend.scan(BARE, {})) == number
                await backend.insert(BARE, Document(f"d{number}", {}, b""))
                await backend.close()
                await backend.close()

        asyncio.run(go())

    def test_a_collection_may_learn_new_keys(self, place: Place) -> None:
        async def go() -> None:
            for collection in (BARE, Collection("bare", text=("word",), indexes=(("word",),))):
                backend = place.backend()
                await backend.open([collection])
                keys = dict.fromkeys(collection.text, "new")
                await backend.insert(collection, Document(f"d{len(keys)}", keys, b""))
                if keys:
                    found = await backend.scan(collection, {"word": "new"})
                    assert [document.id for document in found] == ["d1"]
                await backend.close()

        asyncio.run(go())

    def test_what_was_handed_over_is_written_before_closing(self, place: Place) -> None:
        async def go() -> None:
            backend = place.backend()
            await backend.open(COLLECTIONS)
            futures = [backend.append(ROWS, inserts(row(f"r{room}", 1))) for room in range(50)]
            await backend.close()
            assert await asyncio.gather(*futures) == [None] * 50
            with pytest.raises(StoreUnavailable):
                await backend.append(ROWS, inserts(row("late", 1)))
            for late in (backend.ping(), backend.get(ROWS, "x"), backend.insert(BARE, Document("x", {}, b""))):
                with pytest.raises(StoreUnavailable):
                    await late
            again = place.backend()
            await again.open(COLLECTIONS)
            assert len(await again.scan(ROWS, {})) == 50
            await again.close()

        asyncio.run(go())

    def test_closing_leaves_no_thread(self, place: Place) -> None:
        async def go() -> None:
            backend = place.backend()
            await backend.open(COLLECTIONS)
            await backend.insert(BARE, Document("d", {}, b""))
            await backend.close()

        before = set(threading.enumerate())
        asyncio.run(go())
        for thread in set(threading.enumerate()) - before:
            # Motor shares one pool of idle workers among all clients of a process, for the process's life.
            if not thread.name.startswith("ThreadPoolExecutor"):
                thread.join(CONFIRM_SECONDS)
                assert not thread.is_alive(), thread

    def test_a_second_server_on_the_folder_is_refused(self, place: Place) -> None:
        async def go() -> None:
            first, second = place.backend(), place.backend()
            await first.open(COLLECTIONS)
            with pytest.raises(StartupFailure, match=f"already used by another HeartLink .process {os.getpid()}."):
                await second.open(COLLECTIONS)
            await second.close()
            await first.insert(BARE, Document("d", {}, b""))
            await first.close()
            await second.open(COLLECTIONS)
            await second.close()

        asyncio.run(go())

    def test_acknowledged_is_stored_whatever_dies(self, place: Place) -> None:
        """kill -9 of the writing process; what it said it had stored is there, in order, once."""
        acknowledged = 0
        for _ in range(3):
            acknowledged = max(acknowledged, write_and_kill(place.options, at_least=acknowledged + 60))

            async def count() -> int:
                backend = place.backend()
                await backend.open(ALL_AND_OURS)
                found: list[Document] = []
                while page := await backend.scan(ROWS, {"room": "a"}, Span("seq", above=len(found)), 500):
                    found += page
                await backend.close()
                assert [document.keys["seq"] for document in found] == list(range(1, len(found) + 1))
                return len(found)

            assert asyncio.run(count()) >= acknowledged


ALL_AND_OURS = (*ALL, *COLLECTIONS)


def write_and_kill(options: dict[str, str], at_least: int) -> int:
    """Let another process append until ``at_least`` are acknowledged, kill it, return the last it acknowledged."""
    command = [sys.executable, str(Path(__file__)), json.dumps(options)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    last = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = int(line)
            if last >= at_least:
                process.send_signal(signal.SIGKILL)
                break
        # What was acknowledged before the kill may still stand in the pipe; a torn last line does not count.
        for line in process.stdout:
            if line.endswith(b"\n"):
                last = int(line)
    assert last >= at_least, f"the writer ended early, with code {process.returncode}"
    return last


async def write_for_ever(options: dict[str, str]) -> None:
    from heartlink.store.opening import make_backend

    backend = make_backend(**options)  # type: ignore[arg-type]
    await backend.open(ALL_AND_OURS)
    stored = await backend.scan(ROWS, {"room": "a"}, Span("seq", descending=True), 1)
    seq = int(stored[0].keys["seq"]) if stored else 0
    while True:
        futures = []
        for size in (1, 7, 3):
            batch = inserts(*(row("a", number) for number in range(seq + 1, seq + 1 + size)))
            futures.append(backend.append(ROWS, batch))
            seq += size
        await asyncio.gather(*futures)
        print(seq, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(write_for_ever(json.loads(sys.argv[1])))
