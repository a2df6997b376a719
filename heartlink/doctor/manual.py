"""The tables of docs/doctor.md, made from the verdicts themselves."""

from __future__ import annotations

import re

from heartlink.doctor.verdicts import VERDICTS, Kind


def codes_table() -> str:
    """The exit codes, as Markdown."""
    rows = [f"| {kind.exit_code} | {kind.meaning} |" for kind in Kind]
    return "\n".join(["| exit code | what it says |", "| ---: | --- |", *rows]) + "\n"


def verdicts_table() -> str:
    """Every verdict with its exit code, its sentence and what to do, as Markdown."""
    rows = [
        f"| `{verdict.code}` | {verdict.kind.exit_code} | {_cell(verdict.sentence)} | {_cell(verdict.fix)} |"
        for verdict in VERDICTS.values()
    ]
    return "\n".join(["| verdict | exit | the sentence | what to do |", "| --- | ---: | --- | --- |", *rows]) + "\n"


def _cell(sentence: str) -> str:
    """A sentence with a mark in place of what is filled in."""
    if re.fullmatch(r"\{[^}]*\}", sentence):
        return "as the server says" if "remedy" in sentence else "as the case may be"
    bare = re.sub(r"\{(holder|request)\}", "", sentence)
    return re.sub(r"\{[^}]*\}", "…", bare).replace("|", "\\|")


if __name__ == "__main__":
    print(codes_table())
    print(verdicts_table())
