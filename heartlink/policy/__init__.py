"""What changes rights: commits that are stored and then act in one loop turn (DESIGN 6)."""

from heartlink.policy.desk import Desk, Listener
from heartlink.policy.history import History, Step
from heartlink.store.policy import Commit

__all__ = ["Commit", "Desk", "History", "Listener", "Step"]
