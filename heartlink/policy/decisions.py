"""The book of decisions: what was answered to whom, so that it can be asked about by its id (PROTOCOL 4.3)."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from heartlink.errors import Refusal, forbidden
from heartlink.rights.deltas import Who

DECISIONS_PER_SUBJECT: Final = 256
"""The last decisions about one subject that can be asked about."""

DECISIONS_LIMIT: Final = 100_000
"""Decisions remembered in all; beyond it those of whoever has asked nothing for longest are forgotten."""

log = logging.getLogger(__name__)


class Decision(NamedTuple):
    """One answer: about whom, what was asked, what was said, and of which version of the policy."""

    id: str
    who: Who
    permission: str
    scope: str
    allowed: bool
    version: int


class Decisions:
    """Remembers decisions, each under an id that nobody can guess; one subject cannot push out another's."""

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._by_subject: OrderedDict[Who, OrderedDict[str, Decision]] = OrderedDict()
        self._count = 0

    def note(self, who: Who, permission: str, scope: str, *, allowed: bool) -> str:
        """Remember an answer; the id under which it can be explained."""
        decision = Decision(secrets.token_hex(8), who, permission, scope, allowed, self._version())
        of_subject = self._by_subject.get(who)
        if of_subject is None:
            of_subject = self._by_subject[who] = OrderedDict()
        else:
            self._by_subject.move_to_end(who)
        of_subject[decision.id] = decision
        self._count += 1
        if len(of_subject) > DECISIONS_PER_SUBJECT:
            of_subject.popitem(last=False)
            self._count -= 1
        while self._count > DECISIONS_LIMIT:
            _, forgotten = self._by_subject.popitem(last=False)
            self._count -= len(forgotten)
        return decision.id

    def deny(self, who: Who, permission: str, scope: str) -> Refusal:
        """The refusal for a permission that is not held, with the id of the decision."""
        decision_id = self.note(who, permission, scope, allowed=False)
        log.info("decision %s: '%s' in %r is denied to user %s", decision_id, permission, scope, who or "anonymous")
        return forbidden(permission, scope, decision_id)

    def find(self, who: Who, decision_id: str) -> Decision | None:
        """A decision about this very subject; None for those about others, too old ones, and inventions."""
        return self._by_subject.get(who, OrderedDict()).get(decision_id)
