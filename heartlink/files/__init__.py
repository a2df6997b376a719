"""Files on their way into rooms and out of them (PROTOCOL 5): uploads, what is running, what is kept."""

from heartlink.files.transfers import Transfer, Transfers

__all__ = ["Transfer", "Transfers"]
