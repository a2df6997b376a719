"""The embedded database: SQLite in the data folder, durable by group commit (WAL, synchronous FULL).

One writer thread puts everything that waits into one transaction and answers with one call back into the event loop;
a few reader threads have connections of their own; one more copies the log into the database file.
"""

from heartlink.store.sqlite.backend import DATABASE_FILE, SqliteBackend
from heartlink.store.sqlite.blobs import FOLDER, blob_path

__all__ = ["DATABASE_FILE", "FOLDER", "SqliteBackend", "blob_path"]
