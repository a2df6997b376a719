"""A checker that has not been shown a bug proves nothing: each planted one must be caught."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .checker import KINDS
from .planted import BUGS
from .trial import run_trial
from .verdict import Plan

SECONDS = 12.0
SETTLE_SECONDS = 8.0
RESETS = {"one connection reset": 2, "some connections reset": 3, "all connections reset": 1}
KILLS = {"server killed": 3, "one connection reset": 1}
UNKNOWN = {"database frozen": 2, "one connection reset": 1}
ANY = set(KINDS) - {"unexpected"}
CASES: dict[str, tuple[str, dict[str, int], float, set[str]]] = {
    "acknowledge_before_writing": ("sqlite", KILLS, 0.5, {"lost"}),
    "no_dedup_key": ("sqlite", RESETS, 1.0, {"duplicated"}),
    "replay_outside_the_order": ("sqlite", RESETS, 1.0, {"gaps"}),
    "no_reload_after_unknown_outcome": ("mongo", UNKNOWN, 0.5, {"gaps"}),
}


def test_every_planted_bug_has_its_case() -> None:
    assert set(CASES) == set(BUGS)


@pytest.mark.parametrize("bug", CASES)
def test_planted_bug_is_caught(bug: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    store, deck, faults_per_second, expected = CASES[bug]
    if store == "mongo" and os.environ.get("HEARTLINK_TEST_MONGO_URL"):
        pytest.skip("freezing a database that is not ours: the bug shows on the wire server of the tests only")
    plan = Plan(
        SECONDS,
        seed,
        store=store,
        planted=bug,
        deck=deck,
        faults_per_second=faults_per_second,
        settle_seconds=SETTLE_SECONDS,
    )
    verdict = run_trial(plan, tmp_path)
    with capsys.disabled():
        print(f"\n{verdict.table()}")
    assert expected & {kind for kind, count in verdict.violations.items() if count}, verdict.report()


@pytest.mark.parametrize("store", ["sqlite", "mongo"])
def test_same_faults_without_a_bug_find_nothing(
    store: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    deck = KILLS | RESETS | (UNKNOWN if store == "mongo" else {})
    if os.environ.get("HEARTLINK_TEST_MONGO_URL"):
        deck.pop("database frozen", None)
    verdict = run_trial(Plan(SECONDS, seed, store=store, deck=deck, faults_per_second=0.7), tmp_path)
    with capsys.disabled():
        print(f"\n{verdict.table()}")
    assert not any(verdict.violations.values()), verdict.report()


def test_a_server_that_forgets_rooms_at_every_moment_finds_nothing(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(
        SECONDS,
        seed,
        planted="forget_rooms_at_every_moment",
        flags=("--presence-grace-seconds=0",),
        deck={"all connections reset": 1},
        faults_per_second=5.0,
    )
    verdict = run_trial(plan, tmp_path)
    with capsys.disabled():
        print(f"\n{verdict.table()}")
    assert not any(verdict.violations.values()), verdict.report()
