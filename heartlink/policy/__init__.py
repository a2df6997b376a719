"""What changes rights: commits that are stored and then act in one loop turn (DESIGN 6)."""

from heartlink.policy.decisions import Decision, Decisions
from heartlink.policy.desk import Desk, Judge, Listener, Proposal
from heartlink.policy.explainer import Explainer, ExplanationView
from heartlink.policy.first import ADMINISTRATOR, furnish_policy
from heartlink.policy.history import History, Step
from heartlink.store.policy import Commit

__all__ = [
    "ADMINISTRATOR",
    "Commit",
    "Decision",
    "Decisions",
    "Desk",
    "Explainer",
    "ExplanationView",
    "History",
    "Judge",
    "Listener",
    "Proposal",
    "Step",
    "furnish_policy",
]
