"""Reading everything a store holds, to count it and to say what is wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from heartlink.errors import StartupFailure, StoreUnavailable
from heartlink.model import FileId, RoomId, StoredFile, StoredMessage
from heartlink.store.backend import Backend
from heartlink.store.files import Files, thumbnail_blob
from heartlink.store.folder import DataFolder
from heartlink.store.formats import FORMAT, read_stamp
from heartlink.store.messages import Messages
from heartlink.store.meta import read_epoch
from heartlink.store.policy import Commits
from heartlink.store.sqlite import SqliteBackend
from heartlink.store.tables import ALL, ROOMS
from heartlink.store.users import Users

PAGE: Final = 1000
EVERYTHING: Final = 1 << 31
ROOM_KINDS: Final = ("private", "group", "public")
PROBLEMS_AT_MOST: Final = 100


@dataclass
class Contents:
    """What a store holds.

    ``files`` are sizes in bytes by blob id, ``digests`` their SHA-256 where it is known, ``unsure`` the blobs of
    files whose message is not stored; ``problems`` is what does not fit together.
    """

    format: int = 1
    epoch: str = ""
    rooms: int = 0
    messages: int = 0
    users: int = 0
    commits: int = 0
    files: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def complain(self, line: str) -> None:
        """Note one thing that is wrong; of very many the first are enough."""
        if len(self.problems) < PROBLEMS_AT_MOST:
            self.problems.append(line)


async def read_contents(folder: Path) -> Contents:
    """Everything in a copy of the database, which nobody else uses; raises StoreUnavailable where it is damaged.

    A copy that is older than tables of today gets them; so it is never done to the original.
    """
    backend = SqliteBackend(DataFolder(folder))
    try:
        await backend.open(ALL)
    except StartupFailure as failure:
        raise StoreUnavailable(str(failure)) from None
    try:
        contents = Contents()
        stamp = await read_stamp(backend)
        contents.format = stamp.format if stamp else 1
        if contents.format > FORMAT:
            raise StoreUnavailable(f"a newer HeartLink wrote it, {stamp.written_by if stamp else ''}")
        contents.epoch = await read_epoch(backend)
        contents.users = len(await Users(backend).all_ids())
        await _read_commits(backend, contents)
        files = await _read_files(backend)
        for kind in ROOM_KINDS:
            for row in await backend.scan(ROOMS, {"kind": kind}, limit=EVERYTHING):
                contents.rooms += 1
                await _read_room(backend, RoomId(row.id), files, contents)
        for file in files.values():
            if file.message_id is None:
                contents.unsure.update(_blobs(file))
        contents.unsure -= contents.files.keys()
        return contents
    finally:
        await backend.close()


async def _read_commits(backend: Backend, contents: Contents) -> None:
    version = 0
    while page := await Commits(backend).after(version, PAGE):
        for commit in page:
            if commit.version != version + 1:
                contents.complain(
                    f"Between the versions {version} and {commit.version} of the policy some are missing."
                )
            version = commit.version
            contents.commits += 1


async def _read_files(backend: Backend) -> dict[FileId, StoredFile]:
    """All files there are rows for."""
    found: dict[FileId, StoredFile] = {}
    after = FileId("")
    while page := await Files(backend).all_after(after, PAGE):
        found.update((file.id, file) for file in page)
        after = page[-1].id
    return found


def _blobs(file: StoredFile) -> dict[str, int]:
    blobs = {file.blob: file.size}
    if file.thumbnail_bytes:
        blobs[thumbnail_blob(file.blob)] = file.thumbnail_bytes
    return blobs


async def _read_room(backend: Backend, room_id: RoomId, files: dict[FileId, StoredFile], contents: Contents) -> None:
    async for stored in _messages(backend, room_id, contents):
        message = stored.message
        contents.messages += 1
        if message.room_id != room_id or not 1 <= message.id <= message.rev:
            contents.complain(f"Message {message.id} of room {room_id} has numbers that do not fit.")
        if message.file is None:
            continue
        file = files.get(message.file.id)
        if file is None:
            contents.complain(f"Message {message.id} of room {room_id} shows a file that is not known.")
        else:
            # A row may still be pending here: it is confirmed a moment after its message, or at the next start.
            contents.files.update(_blobs(file))
            contents.digests[file.blob] = file.sha256


async def _messages(backend: Backend, room_id: RoomId, contents: Contents) -> AsyncIterator[StoredMessage]:
    after, messages = 0, Messages(backend)
    while True:
        try:
            page = await messages.history(room_id, before=None, after=after, limit=PAGE, newest=False)
        except msgspec.MsgspecError as error:
            contents.complain(f"A message of room {room_id} after {after} cannot be read ({error}).")
            return
        for stored in page:
            yield stored
        if len(page) < PAGE:
            return
        after = page[-1].message.id
