"""Acknowledged is stored, once, in order, whatever is killed, reset or frozen meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from .trial import run_trial
from .verdict import Plan

ACKNOWLEDGED_PER_SECOND = 10_000 / 60


@pytest.mark.parametrize("store", ["sqlite", "mongo"])
def test_nothing_acknowledged_is_lost_repeated_or_reordered(
    store: str, tmp_path: Path, seconds: float, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    least = round(seconds * ACKNOWLEDGED_PER_SECOND)
    verdict = run_trial(Plan(seconds, seed, store=store, least_acknowledged=least), tmp_path)
    with capsys.disabled():
        print(f"\n{verdict.table()}")
    assert not any(verdict.violations.values()), verdict.report()
    assert verdict.acknowledged >= least, verdict.report()
    assert sum(verdict.faults.values()) >= seconds / 3, verdict.report()
