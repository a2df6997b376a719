"""The table of settings as people read it: ``--help`` and the documentation."""

from __future__ import annotations

from typing import Final

from heartlink.settings.table import PREFIX, Entry, entries

HELP_COLUMNS: Final = 30
PLACEHOLDERS: Final = {
    "int": "=N",
    "float": "=N",
    "str": "=TEXT",
    "bool": "",
    "Path": "=PATH",
    "tuple[str, ...]": "=A,B",
}


def help_text() -> str:
    """What ``--help`` prints."""
    rows = [_help_row(entry) for entry in entries()]
    rows += [("--help", "This text."), ("--version", "The version.")]
    lines = ["Usage: python main.py [--port=8000] [--name=value …]", ""]
    for left, right in rows:
        # A long flag gets a line of its own, so that the explanations stay under each other.
        lines += [f"  {left:<{HELP_COLUMNS}}{right}"] if len(left) < HELP_COLUMNS else [f"  {left}"]
        if len(left) >= HELP_COLUMNS:
            lines.append(f"  {'':<{HELP_COLUMNS}}{right}")
    lines += [
        "",
        f"Each can also be set in the environment ({PREFIX}PORT and so on) or in the TOML file that --config",
        "names (port = 8000). Flags win over the environment, the environment over the file.",
    ]
    return "\n".join(lines)


def _help_row(entry: Entry) -> tuple[str, str]:
    value = "=" + "|".join(entry.choices) if entry.choices else PLACEHOLDERS[entry.kind]
    default = entry.default_text if entry.kind != "bool" else ""
    note = f" [{default} {entry.unit}".rstrip() + "]" if default else ""
    return entry.flag + value, entry.help + note


def markdown_table() -> str:
    """The table of settings for the documentation."""
    lines = ["| flag | environment, TOML key | default | unit | what it is |", "| --- | --- | --- | --- | --- |"]
    for entry in entries():
        default = f"`{entry.default_text}`" if entry.default_text else ""
        names = f"`{entry.flag}` | `{entry.variable}`, `{entry.name}`"
        lines.append(f"| {names} | {default} | {entry.unit} | {entry.help} |")
    return "\n".join(lines)
