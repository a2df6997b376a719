"""What MongoDB does to us, in our words."""

from __future__ import annotations

import re

from pymongo.errors import OperationFailure

from heartlink.errors import StartupFailure, StoreUnavailable

UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18


def unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"MongoDB: {error_text(error)}")


def error_text(error: Exception) -> str:
    """The library's words without the topology it appends to them."""
    text = str(error)
    if not text or text.startswith("No servers found yet"):
        return "it did not answer in time"
    return re.split(r"\s*\(configured timeouts|, Timeout: |, full error: ", text)[0].rstrip(".")


def startup_failure(where: str, database: str, error: Exception) -> StartupFailure:
    code = error.code if isinstance(error, OperationFailure) else None
    if code == AUTHENTICATION_FAILED:
        return StartupFailure(
            f"MongoDB at {where} refused the user name or the password.",
            "Check both in --mongo-url, and the database of the account with ?authSource=….",
        )
    if code == UNAUTHORIZED:
        return StartupFailure(
            f"MongoDB at {where} does not let this user work in the database {database}.",
            "Put a user with the role readWrite on it into --mongo-url.",
        )
    return StartupFailure(
        f"MongoDB at {where} cannot be used: {error_text(error)}.",
        "Check that it runs and is reachable from here, or leave out --mongo-url for the embedded database.",
    )
