"""All collections and their keys, in one table."""

from __future__ import annotations

from heartlink.store.backend import Collection

META = Collection("meta")
USERS = Collection("users", text=("fold",), integer=("rev",), unique=(("fold",),))
ENDED_SESSIONS = Collection("ended_sessions", integer=("expires_ms",), indexes=(("expires_ms",),))
ROOMS = Collection("rooms", text=("kind",), indexes=(("kind",),))
INVITES = Collection("invites", text=("room",), integer=("uses",), indexes=(("room",),))
RECEIPTS = Collection("receipts", text=("room", "user"), integer=("up_to",), indexes=(("room",), ("user",)))
MESSAGES = Collection(
    "messages",
    text=("room", "dedup", "fingerprint"),
    integer=("seq", "rev"),
    unique=(("room", "seq"), ("room", "rev"), ("dedup",)),
    id_from=("room", "seq"),
)

FILES = Collection(
    "files",
    text=("file", "owner", "blob", "message"),
    integer=("pending",),
    indexes=(("owner", "file"), ("blob",), ("message",), ("pending", "file"), ("file",)),
)

CALLS = Collection("calls")
POLICY_COMMITS = Collection("policy_commits", integer=("version",), unique=(("version",),))

ALL = (META, USERS, ENDED_SESSIONS, ROOMS, INVITES, RECEIPTS, MESSAGES, FILES, CALLS, POLICY_COMMITS)
