"""The fault test runs when it is named, and not as part of everything."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture(scope="session")
def seconds() -> float:
    """How long a healthy trial lasts, from HEARTLINK_TEST_FAULT_SECONDS."""
    return float(os.environ.get("HEARTLINK_TEST_FAULT_SECONDS", "60"))


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of all that is random, from HEARTLINK_TEST_FAULT_SEED; a new one each time without it."""
    named = os.environ.get("HEARTLINK_TEST_FAULT_SEED", "")
    return int(named) if named else random.SystemRandom().randrange(1_000_000)
