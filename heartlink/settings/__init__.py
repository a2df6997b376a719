"""Settings: one frozen object from flags, HEARTLINK_* environment and a TOML file (PROTOCOL 7).

The fields of `Settings` are the one table: flags, environment names, TOML keys, checks, ``--help`` and the
table in the documentation are all made from it. Flags win over the environment, the environment over the file.
"""

from __future__ import annotations

from heartlink.settings.manual import help_text, markdown_table
from heartlink.settings.sources import read_settings
from heartlink.settings.table import Entry, Settings, entries, is_loopback

__all__ = ["Entry", "Settings", "entries", "help_text", "is_loopback", "markdown_table", "read_settings"]
