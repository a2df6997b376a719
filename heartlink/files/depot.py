"""Everything about uploads, made and opened together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from heartlink.auth import Auth
from heartlink.chat import FileKeeper, LiveRooms, Talk
from heartlink.files.gate import Gate
from heartlink.files.incoming import Uploads
from heartlink.files.publisher import Publisher
from heartlink.files.quotas import Quotas
from heartlink.files.resumable import Resumables
from heartlink.files.spool import Spool
from heartlink.files.sweep import Sweep
from heartlink.files.transfers import Transfers
from heartlink.media import Inspector
from heartlink.settings import Settings
from heartlink.store.files import Files
from heartlink.store.health import StoreHealth
from heartlink.store.messages import Messages

Spawn = Callable[[Coroutine[Any, Any, None]], None]

FOLDER = "uploads"
"""Of what is being uploaded, in the data folder; on either database."""


class Depot:
    """What is needed before anybody can talk of files, and then what takes them in and looks after them."""

    sweep: Sweep

    def __init__(
        self, settings: Settings, files: Files, messages: Messages, *, clock: Callable[[], int], spawn: Spawn
    ) -> None:
        self.quotas = Quotas(files, file_bytes=settings.upload_bytes, user_bytes=settings.upload_bytes_per_user)
        self.keeper = FileKeeper(files, messages, self.quotas, clock=clock, spawn=spawn)
        self._settings = settings
        self._files = files
        self._messages = messages
        self._clock = clock
        self._spawn = spawn

    def make_uploads(
        self,
        inspector: Inspector,
        live_rooms: LiveRooms,
        transfers: Transfers,
        talk: Talk,
        auth: Auth,
        health: StoreHealth,
        is_draining: Callable[[], bool],
    ) -> Uploads:
        """The uploads of a house, not yet opened."""
        settings = self._settings
        self.keeper.on_gone = transfers.end_message
        spool = Spool(settings.data_dir / FOLDER, settings.free_disk_bytes)
        gate = Gate(
            live_rooms,
            transfers,
            self.quotas,
            spool,
            is_current=auth.is_current,
            is_store_up=lambda: health.is_up,
            is_draining=is_draining,
            message_chars=settings.message_chars,
            uploads_per_user=settings.uploads_per_user,
        )
        publisher = Publisher(spool, self._files, self.keeper, self.quotas, inspector, talk, clock=self._clock)
        resumables = Resumables(
            spool,
            gate,
            transfers,
            publisher,
            live_rooms,
            clock=self._clock,
            spawn=self._spawn,
            keep_hours=settings.upload_hours,
        )
        self.sweep = Sweep(
            self._files,
            self._messages,
            self.keeper,
            resumables,
            clock=self._clock,
            is_store_up=lambda: health.is_up,
        )
        return Uploads(spool, gate, transfers, publisher, live_rooms, resumables, spawn=self._spawn)
