"""The store's own facts: the epoch, an opaque name for one history (PROTOCOL 1)."""

from __future__ import annotations

import secrets

import msgspec

from heartlink.errors import DuplicateKey
from heartlink.store.backend import Backend, Document
from heartlink.store.tables import META

_EPOCH_ID = "epoch"


class Epoch(msgspec.Struct, frozen=True):
    """The name of the history this store holds."""

    name: str


async def has_epoch(backend: Backend) -> bool:
    """Whether a HeartLink has used this store before."""
    return await backend.get(META, _EPOCH_ID) is not None


async def renew_epoch(backend: Backend) -> str:
    """Give the store another epoch: clients that come back then read everything anew (PROTOCOL 1)."""
    epoch = Epoch(secrets.token_hex(8))
    await backend.put(META, Document(_EPOCH_ID, {}, msgspec.json.encode(epoch)))
    return epoch.name


async def read_epoch(backend: Backend) -> str:
    """The store's epoch; a new store gets one here, for good."""
    found = await backend.get(META, _EPOCH_ID)
    if found is None:
        made = Document(_EPOCH_ID, {}, msgspec.json.encode(Epoch(secrets.token_hex(8))))
        try:
            await backend.insert(META, made)
            found = made
        except DuplicateKey:
            found = await backend.get(META, _EPOCH_ID) or made
    return msgspec.json.decode(found.body, type=Epoch).name
