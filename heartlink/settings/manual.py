"""The table of settings as people read it: ``--help`` and the documentation."""

from __future__ import annotations

from heartlink.settings.table import PREFIX, Entry, entries


def help_text() -> str:
    """What ``--help`` prints."""
    lines = ["Usage: python main.py [--port=8000] [--name=value …]", "", "Settings (default in brackets):"]
    for entry in entries():
        value = "" if entry.kind == "bool" else "=" + ("|".join(entry.choices) or entry.name.split("_")[-1].upper())
        notes = ", ".join(note for note in (entry.unit, _default_note(entry)) if note)
        lines += [f"  {entry.flag}{value}", f"      {entry.help}{f' [{notes}]' if notes else ''}"]
    lines += [
        "  --help, --version",
        "",
        f"Each can also be set in the environment ({PREFIX}PORT and so on) or in the TOML file that --config",
        "names (port = 8000). Flags win over the environment, the environment over the file.",
    ]
    return "\n".join(lines)


def _default_note(entry: Entry) -> str:
    return entry.default_text if entry.kind != "bool" else ""


def markdown_table() -> str:
    """The table of settings for the documentation."""
    lines = [
        "| flag | environment, TOML key | default | unit | what it is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in entries():
        default = f"`{entry.default_text}`" if entry.default_text else ""
        names = f"`{entry.flag}` | `{entry.variable}`, `{entry.name}`"
        lines.append(f"| {names} | {default} | {entry.unit} | {entry.help} |")
    return "\n".join(lines)
