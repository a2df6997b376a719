"""What every storage backend must do with blobs, said once; test_store_contract.py runs it on each of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from heartlink.errors import BlobMissing, StoreUnavailable
from heartlink.store.backend import BLOB_PIECE_BYTES, Backend
from tests.contract_store import BARE, Place, on_backend

BIG_BYTES = 3 * BLOB_PIECE_BYTES + 12_345


def content(seed: int, size: int = BIG_BYTES) -> bytes:
    return random.Random(seed).randbytes(size)


async def put(backend: Backend, folder: Path, blob_id: str, data: bytes) -> None:
    source = folder / "source"
    source.write_bytes(data)
    await backend.put_blob(blob_id, source)
    assert source.read_bytes() == data, "the source is the caller's"
    source.unlink()


async def read(backend: Backend, blob_id: str, start: int = 0, length: int | None = None) -> bytes:
    pieces = [piece async for piece in backend.read_blob(blob_id, start, length)]
    assert all(0 < len(piece) <= BLOB_PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


class BlobContract:
    """In and out as a whole, in part, by many at once, and gone when removed."""

    @on_backend
    async def test_what_was_put_is_read(self, backend: Backend, tmp_path: Path) -> None:
        for number, size in enumerate((0, 1, 255 * 1024, BLOB_PIECE_BYTES, 2 * 255 * 1024, BIG_BYTES)):
            await put(backend, tmp_path, f"blob-{number}", content(number, size))
            assert await backend.blob_size(f"blob-{number}") == size
        for number, size in enumerate((0, 1, 255 * 1024, BLOB_PIECE_BYTES, 2 * 255 * 1024, BIG_BYTES)):
            assert await read(backend, f"blob-{number}") == content(number, size)

    @on_backend
    async def test_a_part_is_read_alone(self, backend: Backend, tmp_path: Path) -> None:
        data = content(1)
        await put(backend, tmp_path, "part", data)
        edges = (0, 1, 255 * 1024 - 1, 255 * 1024, BLOB_PIECE_BYTES, BIG_BYTES - 1, BIG_BYTES, BIG_BYTES + 5)
        for start in edges:
            for length in (0, 1, 255 * 1024, BLOB_PIECE_BYTES + 1, None):
                end = None if length is None else start + length
                assert await read(backend, "part", start, length) == data[start:end], (start, length)

    @on_backend
    async def test_whoever_reads_may_stop(self, backend: Backend, tmp_path: Path) -> None:
        await put(backend, tmp_path, "long", content(2))
        async with aclosing(backend.read_blob("long", 10)) as pieces:
            assert (await anext(pieces))[:100] == content(2)[10:110]
        assert await backend.delete_blob("long")

    @on_backend
    async def test_what_is_not_there(self, backend: Backend) -> None:
        assert await backend.blob_size("missing") is None
        assert not await backend.delete_blob("missing")
        with pytest.raises(BlobMissing):
            await read(backend, "missing")

    @on_backend
    async def test_what_was_removed_is_gone_and_its_id_free(self, backend: Backend, tmp_path: Path) -> None:
        await put(backend, tmp_path, "gone", content(3))
        assert await backend.delete_blob("gone") and not await backend.delete_blob("gone")
        assert await backend.blob_size("gone") is None and await backend.blob_ids() == []
        await put(backend, tmp_path, "gone", b"other")
        assert await read(backend, "gone") == b"other"

    @on_backend
    async def test_another_content_replaces_the_first(self, backend: Backend, tmp_path: Path) -> None:
        for data in (content(4), b"short", content(5), b"", content(5)):
            await put(backend, tmp_path, "same", data)
            assert await read(backend, "same") == data and await backend.blob_size("same") == len(data)
        source = tmp_path / "kept"
        source.write_bytes(b"kept")
        for _ in range(3):
            await backend.put_blob("same", source)
        assert await read(backend, "same") == b"kept" and await backend.blob_ids() == ["same"]

    @on_backend
    async def test_ids_come_in_order_and_in_pages(self, backend: Backend, tmp_path: Path) -> None:
        ids = sorted(["aa1", "aa2", "ab-thumbnail", "ab0", "zz9", "000", f"{'f' * 80}"])
        for id in reversed(ids):
            await put(backend, tmp_path, id, id.encode())
        assert await backend.blob_ids() == ids
        found: list[str] = []
        while page := await backend.blob_ids(found[-1] if found else "", 2):
            assert len(page) <= 2
            found += page
        assert found == ids

    @on_backend
    async def test_an_id_never_leaves_its_place(self, backend: Backend, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"x")
        for id in ("", "..", "../x", "a/b", "ab/../../etc", "a\x00b", "AB1", "ab", "x" * 81, ".hidden", "ab\n"):
            with pytest.raises(ValueError, match="no id of a blob"):
                await backend.put_blob(id, source)
            with pytest.raises(ValueError, match="no id of a blob"):
                await read(backend, id)
            with pytest.raises(ValueError, match="no id of a blob"):
                await backend.delete_blob(id)

    @on_backend
    async def test_a_source_that_is_missing_stores_nothing(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises((FileNotFoundError, StoreUnavailable)):
            await backend.put_blob("never", tmp_path / "missing")
        assert await backend.blob_ids() == []

    @on_backend
    async def test_many_at_once(self, backend: Backend, tmp_path: Path) -> None:
        async def there_and_back(number: int) -> None:
            folder = tmp_path / str(number)
            folder.mkdir()
            await put(backend, folder, f"many-{number}", content(number, 300_000))
            assert hashlib.sha256(await read(backend, f"many-{number}")).digest() == (
                hashlib.sha256(content(number, 300_000)).digest()
            )

        await asyncio.gather(*(there_and_back(number) for number in range(12)))
        assert len(await backend.blob_ids()) == 12

    def test_blobs_outlive_the_backend(self, place: Place, tmp_path: Path) -> None:
        async def go(*, first: bool) -> None:
            backend = place.backend()
            await backend.open((BARE,))
            try:
                if first:
                    await put(backend, tmp_path, "kept", content(9))
                assert await read(backend, "kept") == content(9) and await backend.blob_ids() == ["kept"]
            finally:
                await backend.close()

        asyncio.run(go(first=True))
        asyncio.run(go(first=False))
