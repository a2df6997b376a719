"""Files on their way into rooms and out of them (PROTOCOL 5): uploads, what is running, what is kept."""

from heartlink.files.depot import Depot
from heartlink.files.incoming import Incoming, Uploads
from heartlink.files.publisher import Wish
from heartlink.files.quotas import Quotas
from heartlink.files.resumable import Resumables, Upload, Writing
from heartlink.files.transfers import Transfer, Transfers

__all__ = ["Depot", "Incoming", "Quotas", "Resumables", "Transfer", "Transfers", "Upload", "Uploads", "Wish", "Writing"]
