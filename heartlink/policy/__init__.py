"""What changes rights: commits that are stored and then act in one loop turn (DESIGN 6)."""

from heartlink.policy.decisions import Decision, Decisions
from heartlink.policy.desk import Desk, Listener
from heartlink.policy.first import ADMINISTRATOR, furnish_policy
from heartlink.policy.history import History, Step
from heartlink.store.policy import Commit

__all__ = [
    "ADMINISTRATOR",
    "Commit",
    "Decision",
    "Decisions",
    "Desk",
    "History",
    "Listener",
    "Step",
    "furnish_policy",
]
