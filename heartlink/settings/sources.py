"""Reads flags, environment and TOML file into `Settings`, and says what would have been right."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from heartlink.errors import StartupFailure
from heartlink.settings.table import KINDS, PREFIX, Entry, Settings, entries, is_loopback

TEST_PREFIX: Final = "HEARTLINK_TEST_"
SHOWN_CHARS: Final = 80
CONFIG_FILE_BYTES: Final = 1 << 20
TRUE_WORDS: Final = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS: Final = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was found, and how its place is called in an error."""

    value: object
    place: str
    example: str
    is_text: bool = True


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings from flags (without the program's name), environment and the TOML file they name.

    Raises StartupFailure for an unknown name, a value of the wrong kind or range, and an unreadable file.
    """
    table = {entry.name: entry for entry in entries()}
    flags = _read_flags(arguments, table)
    variables = _read_environment(environment, table)
    config = flags.get("config") or variables.get("config")
    given = (_read_file(str(config.value), table) if config else {}) | variables | flags
    settings = Settings(**{name: _value(table[name], found) for name, found in given.items()})
    if settings.demo and not is_loopback(settings.host):
        raise StartupFailure(
            f"--demo has passwords everybody knows, and --host is {_shown(settings.host)}.",
            "Use --host=127.0.0.1 with --demo, or leave --demo out.",
        )
    for entry in settings.ice_servers:
        if entry.startswith(("turn:", "turns:")) and "|" not in entry and not settings.turn_secret:
            raise StartupFailure(
                f"The TURN server {_shown(entry)} has no credentials, and browsers take none without.",
                f"Write {entry}|user|credential, or give its shared secret with --turn-secret.",
            )
    return settings


def _read_flags(arguments: Sequence[str], table: Mapping[str, Entry]) -> dict[str, _Given]:
    by_flag = {entry.flag: entry for entry in table.values()}
    found: dict[str, _Given] = {}
    waiting = list(arguments)
    while waiting:
        flag, equals, text = waiting.pop(0).partition("=")
        entry = by_flag.get(flag)
        if entry is None:
            raise _unknown("flag", flag, [*by_flag, "--help", "--version"], "See --help for all of them.")
        if not equals and entry.kind == "bool":
            text = "true"
        elif not equals:
            if not waiting or waiting[0].startswith("--"):
                raise StartupFailure(f"{flag} has no value.", f"Write {_example(entry, f'{flag}=')}.")
            text = waiting.pop(0)
        found[entry.name] = _Given(text, flag, f"{flag}=")
    return found


def _read_environment(environment: Mapping[str, str], table: Mapping[str, Entry]) -> dict[str, _Given]:
    by_variable = {entry.variable: entry for entry in table.values()}
    found: dict[str, _Given] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable not in by_variable:
            raise _unknown("environment variable", variable, list(by_variable), "Unset it, or see --help.")
        if text:
            found[by_variable[variable].name] = _Given(text, variable, f"{variable}=")
    return found


def _read_file(path: str, table: Mapping[str, Entry]) -> dict[str, _Given]:
    name = _shown(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(CONFIG_FILE_BYTES + 1)
        if len(content) > CONFIG_FILE_BYTES:
            raise StartupFailure(f"The settings file {name} is larger than 1 MiB.", "Name a TOML file of settings.")
        pairs = tomllib.loads(content.decode())
    except (OSError, ValueError) as failure:
        if isinstance(failure, OSError):
            reason = failure.strerror or type(failure).__name__
            hint = "Check the path given with --config or HEARTLINK_CONFIG."
        else:
            reason, hint = f"it is not TOML: {failure}", "Write one setting a line, as in: port = 8000"
        raise StartupFailure(f"The settings file {name} cannot be read: {reason}.", hint) from failure
    keys = [key for key in table if key != "config"]
    for key in pairs:
        if key not in keys:
            raise _unknown(f"setting in {name}", key, keys, "See --help; a dash is written _ there.")
    return {key: _Given(value, f"{key} in {name}", f"{key} = ", is_text=False) for key, value in pairs.items()}


def _unknown(what: str, name: str, known: list[str], otherwise: str) -> StartupFailure:
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    if not name.startswith("-") and what == "flag":
        return StartupFailure(f"{_shown(name)} is not a flag.", "Settings are written --name=value; see --help.")
    hint = f"Did you mean {nearest[0]}?" if nearest else otherwise
    return StartupFailure(f"There is no {what} {_shown(name)}.", hint)


def _value(entry: Entry, given: _Given) -> Any:
    try:
        value = _from_text(entry, str(given.value)) if given.is_text else _from_toml(entry, given.value)
    except (ValueError, OverflowError):
        raise _wrong(entry, given, f"which is not {KINDS[entry.kind]}") from None
    if entry.choices and value not in entry.choices:
        raise _wrong(entry, given, "which is unknown")
    if entry.low is not None and value < entry.low:
        raise _wrong(entry, given, f"which is less than {entry.low:.15g}")
    if entry.high is not None and value > entry.high:
        raise _wrong(entry, given, f"which is more than {entry.high:.15g}")
    complaint = entry.check(value) if entry.check else ""
    if complaint:
        reason, _, fix = complaint.partition("; ")
        raise StartupFailure(f"{given.place} cannot be used: {reason}.", f"{fix[:1].upper()}{fix[1:]}.")
    return value


def _from_text(entry: Entry, text: str) -> Any:
    if "\0" in text:
        raise ValueError
    match entry.kind:
        case "int":
            return _whole(text)
        case "float":
            return _number(text)
        case "bool":
            if text.lower() not in TRUE_WORDS | FALSE_WORDS:
                raise ValueError
            return text.lower() in TRUE_WORDS
        case "Path":
            return _path(text)
        case "tuple[str, ...]":
            return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _from_toml(entry: Entry, value: object) -> Any:
    match entry.kind, value:
        case "bool", bool():
            return value
        case ("int", bool()) | ("float", bool()):
            raise ValueError
        case ("int", int()) | ("float", int()):
            return value
        case "float", float() if math.isfinite(value):
            return value
        case "str", str() if "\0" not in value:
            return value
        case "Path", str():
            return _path(value)
        case "tuple[str, ...]", list() if all(isinstance(part, str) for part in value):
            return tuple(value)
    raise ValueError


def _whole(text: str) -> int:
    if not text.isascii() or "_" in text:
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    """A finite number, an int where it is whole, so that it reads the same wherever it is shown."""
    try:
        return _whole(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number) or "_" in text:
            raise ValueError from None
        return number


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text).expanduser()


def _wrong(entry: Entry, given: _Given, complaint: str) -> StartupFailure:
    seen = "a value not shown here" if entry.private else _shown(given.value)
    return StartupFailure(
        f"{given.place} is {seen}, {complaint}.",
        f"Give {entry.wanted}, for example {_example(entry, given.example)}.",
    )


def _example(entry: Entry, written: str) -> str:
    value = entry.default_text or {
        "config": "heartlink.toml",
        "mongo_url": "mongodb://127.0.0.1:27017/heartlink",
    }.get(entry.name, "…")
    if not written.endswith(" = "):
        return written + value
    return written + (
        value if entry.kind in ("int", "float", "bool") else "[…]" if entry.kind == "tuple[str, ...]" else f'"{value}"'
    )


def _shown(value: object) -> str:
    """A value as seen, on one line and cut to a bearable length."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
