"""Files put straight into a server's store, as an upload leaves them, for tests of what comes afterwards."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

from heartlink.model import FileId, RoomId, StoredFile
from tests.actors import Person, Server


async def filed(server: Server, room_id: str, owner: Person, content: bytes, **fields: Any) -> StoredFile:
    """A file in a room, stored; ``thumbnail`` may be the bytes of its preview."""
    thumbnail: bytes = fields.pop("thumbnail", b"")
    file_id = secrets.token_hex(12)
    defaults: dict[str, Any] = {"name": "notes.txt", "mime": "application/octet-stream", "kind": "file"}
    file = StoredFile(
        **{
            **defaults,
            "inline": False,
            "id": FileId(file_id),
            "blob": file_id,
            "room_id": RoomId(room_id),
            "owner_id": owner.id,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "dedup": file_id,
            "created_at_ms": server.house.clock(),
            "message_id": 1,
            "thumbnail_bytes": len(thumbnail),
            **fields,
        }
    )
    folder = Path(server.settings.data_dir)
    sources = [folder / f"source-{file_id}{part}" for part in ("", "-thumbnail")]
    for source, octets in zip(sources, (content, thumbnail), strict=True):
        source.write_bytes(octets)
    await server.house.files.put_bytes(file.blob, sources[0], sources[1] if thumbnail else None)
    await server.house.files.put(file)
    for source in sources:
        source.unlink()
    return file
