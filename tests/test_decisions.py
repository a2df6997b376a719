"""The book of decisions: found by their subject alone, bounded for each and for all."""

from __future__ import annotations

from heartlink.model import UserId
from heartlink.policy import Decisions
from heartlink.policy.decisions import DECISIONS_LIMIT, DECISIONS_PER_SUBJECT

ANN, BOB = UserId("ann"), UserId("bob")


def test_a_decision_is_found_by_its_subject_alone() -> None:
    book = Decisions(lambda: 7)
    id = book.note(ANN, "chat.send", "room:tea", allowed=False)
    found = book.find(ANN, id)
    assert found is not None and (found.permission, found.scope, found.allowed, found.version) == (
        "chat.send",
        "room:tea",
        False,
        7,
    )
    assert book.find(BOB, id) is None and book.find(None, id) is None and book.find(ANN, "") is None
    refusal = book.deny(None, "chat.read", "*")
    assert (refusal.code, refusal.status) == ("forbidden", 403)
    assert book.find(None, refusal.decision_id or "") is not None


def test_who_asks_much_pushes_out_their_own_decisions_only() -> None:
    book = Decisions(lambda: 1)
    kept = book.note(BOB, "a.b", "*", allowed=True)
    ids = [book.note(ANN, "a.b", "*", allowed=True) for _ in range(DECISIONS_PER_SUBJECT + 1)]
    assert book.find(ANN, ids[0]) is None and book.find(ANN, ids[1]) is not None
    assert book.find(BOB, kept) is not None


def test_the_book_is_bounded() -> None:
    book = Decisions(lambda: 1)
    first = book.note(BOB, "a.b", "*", allowed=True)
    last = [book.note(UserId(str(number)), "a.b", "*", allowed=True) for number in range(DECISIONS_LIMIT)]
    assert book.find(BOB, first) is None
    assert book.find(UserId("0"), last[0]) is not None
    assert book.find(UserId(str(DECISIONS_LIMIT - 1)), last[-1]) is not None
