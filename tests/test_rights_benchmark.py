"""The benchmark of rights measures what it says, on a small scale; what it costs is not asserted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import rights

SMALL = {
    "STREAMS": 4,
    "ROLE_CHANGES": 3,
    "CHECKS": 200,
    "GRANTS_OF_ONE": 50,
    "RESOLVES": 2,
    "COMMITS": 4,
    "MANY_USERS": 200,
}


def test_every_row_of_the_table_has_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(rights, name, value)
    rows = asyncio.run(rights.measure(tmp_path))
    assert len(rows) == 17
    assert rows[0] == ("streams open, a delta to each, 2 changes", "4")
    for name, value in rows:
        figure = float(value.partition(" ")[0].replace(",", ""))
        assert figure > 0 or "without the store" in name or "check" in name, (name, value)
