"""How a file looks in the message that shows it (PROTOCOL 3.2)."""

from __future__ import annotations

from urllib.parse import quote

from heartlink.model import FileId, FileView, StoredFile


def file_url(file_id: FileId, name: str) -> str:
    """The address of a file's content; the name is only for whoever reads it, and for what it is saved as."""
    return f"/files/{file_id}/{quote(name, safe='')}"


def thumbnail_url(file_id: FileId) -> str:
    """The address of a file's thumbnail."""
    return f"/files/{file_id}/thumbnail"


def file_view(file: StoredFile) -> FileView:
    """``file`` of M."""
    return FileView(
        id=file.id,
        name=file.name,
        size=file.size,
        mime=file.mime,
        width=file.width,
        height=file.height,
        duration=file.duration,
        waveform=file.waveform,
        thumbnail_url=thumbnail_url(file.id) if file.thumbnail_bytes else None,
    )
