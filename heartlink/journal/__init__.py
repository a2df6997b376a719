"""One writer per room: what people post is numbered, stored, published and acknowledged in one order (DESIGN 4).

What arrives while a write is under way waits and goes into the next batch. A batch gets its numbers, is stored with one
call, and only then is published; nobody hears of a message the store did not confirm. A write of unknown outcome makes
the room *dirty*: its senders are told ``not_saved``, and before anything else the room reads what the store holds above
its last number and publishes that.
"""

from heartlink.journal.entries import Amend, Entry, Post, Published
from heartlink.journal.writer import Journal, Journals

__all__ = ["Amend", "Entry", "Journal", "Journals", "Post", "Published"]
