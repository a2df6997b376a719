"""The pure state of a room: what memory holds of its history, read cursors, presence."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartlink.model import Member, Message, Receipt, Room, RoomId, RoomKind, Status, StoredMessage, UserId
from heartlink.rooms import EXCERPT_CHARS, RECENT_BYTES, RECENT_MESSAGES, RecentMessages, RoomState, excerpt

TEA = RoomId("tea")
ANN, BOB = UserId("ann"), UserId("bob")


def row(message_id: int, rev: int | None = None, *, sender: UserId = ANN, size: int = 10) -> StoredMessage:
    rev = rev or message_id
    message = Message(
        id=message_id,
        seq=rev,
        rev=rev,
        client_id=None,
        room_id=TEA,
        sender=sender,
        sender_id=sender,
        sender_name=sender,
        sender_avatar="",
        content=str(rev),
        message_type="text",
        created_at="",
    )
    return StoredMessage(message, b"x" * size, f"dedup-{message_id}", "")


def room(kind: RoomKind = "group", *, members: int = 2, ended: bool = False) -> RoomState:
    users = [ANN, BOB, *(UserId(f"user{number}") for number in range(members))][:members]
    return RoomState(
        room=Room(id=TEA, name="", kind=kind, owner_id=ANN, created_at_ms=0, ended_at_ms=1 if ended else None),
        members={user: Member(room_id=TEA, user_id=user, role="member", joined_at_ms=0) for user in users},
        recent=RecentMessages(),
    )


# --- Recent messages -----------------------------------------------------------------------------------


def test_memory_holds_the_messages_changed_last_and_knows_how_far_back_it_reaches() -> None:
    recent = RecentMessages()
    for number in range(1, RECENT_MESSAGES + 11):
        recent.add(row(number))
    assert recent.floor == 10
    assert recent.get(10) is None and recent.get(11) == row(11)
    assert recent.sent_as("dedup-10") is None and recent.sent_as("dedup-11") == row(11)
    assert recent.changed_since(9) is None
    found = recent.changed_since(10)
    assert found is not None and [one.message.rev for one in found] == list(range(11, RECENT_MESSAGES + 11))
    assert recent.changed_since(10**6) == []


def test_large_messages_take_the_place_of_many() -> None:
    recent = RecentMessages()
    for number in range(1, 6):
        recent.add(row(number, size=RECENT_BYTES // 2))
    assert recent.floor == 3 and recent.get(3) is None and recent.get(4) is not None
    recent.add(row(6, size=2 * RECENT_BYTES))
    assert recent.get(6) is not None, "the newest is held whatever its size"


def test_a_memory_filled_from_the_store_is_complete_only_when_that_was_all() -> None:
    newest_first = [row(5), row(2, 4), row(3)]
    assert RecentMessages(newest_first, complete=True).changed_since(0) is not None
    partial = RecentMessages(newest_first, complete=False)
    assert partial.floor == 2 and partial.changed_since(1) is None
    assert [one.message.rev for one in partial.changed_since(2) or ()] == [3, 4, 5]
    assert partial.newest(2) == [row(3), row(5)] and partial.newest(3) is None


CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 400), st.sampled_from([10, RECENT_BYTES // 60])), max_size=400
)


@given(changes=CHANGES, since=st.integers(0, 400), limit=st.integers(1, 200))
def test_what_memory_answers_is_what_the_whole_history_would(
    changes: list[tuple[bool, int, int]], since: int, limit: int
) -> None:
    recent, history = RecentMessages(), dict[int, StoredMessage]()
    for rev, (creates, which, size) in enumerate(changes, 1):
        message_id = rev if creates or not history else sorted(history)[which % len(history)]
        history[message_id] = row(message_id, rev, size=size)
        recent.add(history[message_id])
    by_rev = sorted(history.values(), key=lambda one: one.message.rev)
    found = recent.changed_since(since)
    assert found in (None, [one for one in by_rev if one.message.rev > since])
    assert (found is None) == (since < recent.floor)
    page = recent.newest(limit)
    assert page in (None, sorted(history.values(), key=lambda one: one.message.id)[-limit:])
    if len(history) <= RECENT_MESSAGES and all(size == 10 for _, _, size in changes):
        assert found is not None and page is not None, "what all fits into memory is answered from it"
    for message_id in history:
        assert recent.get(message_id) in (None, history[message_id])


# --- Numbers, cursors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", get_args(RoomKind))
def test_only_a_private_room_waits_for_its_second_person(kind: RoomKind) -> None:
    assert room(kind, members=1).status == ("waiting" if kind == "private" else "active")
    assert room(kind, members=2).status == "active"
    assert room(kind, members=1, ended=True).status == "ended"


@given(raises=st.lists(st.tuples(st.sampled_from([ANN, BOB]), st.integers(0, 20)), max_size=20))
def test_a_cursor_only_rises_and_never_passes_the_newest_message(raises: list[tuple[UserId, int]]) -> None:
    state = room()
    for number in range(1, 11):
        state.publish(row(number))
    for user, up_to in raises:
        before = state.read_up_to(user)
        receipt = state.raise_cursor(user, up_to)
        assert state.read_up_to(user) == max(before, min(up_to, 10))
        assert (receipt is None) == (state.read_up_to(user) == before)
        if receipt is not None:
            assert receipt == Receipt(room_id=TEA, user_id=user, up_to=state.read_up_to(user))


def test_read_means_by_another_for_ones_own_and_by_oneself_for_others() -> None:
    state = room()
    own, others = row(1), row(2, sender=BOB)
    state.publish(own)
    state.publish(others)
    assert not state.is_read(own, ANN) and not state.is_read(others, ANN) and not state.is_read(own, None)
    state.raise_cursor(ANN, 2)
    assert not state.is_read(own, ANN), "reading one's own does not count"
    assert state.is_read(others, ANN) and state.is_read(others, BOB)
    state.raise_cursor(BOB, 1)
    assert state.is_read(own, ANN) and state.is_read(own, BOB) and not state.is_read(own, None)


def test_numbers_never_go_back() -> None:
    state = room()
    state.publish(row(3))
    state.publish(row(1, 2))
    assert state.last_seq == 3


# --- Presence ------------------------------------------------------------------------------------------


def test_presence_counts_connections_and_forgives_a_reload() -> None:
    state = room()
    assert state.arrive(ANN) is True and state.arrive(ANN) is False
    assert state.depart(ANN, 5) is False and state.depart(ANN, 7) is True
    assert state.attendance[ANN].status == "online", "until the grace is over"
    assert state.arrive(ANN) is False, "a reload is not a departure"
    assert state.is_gone(ANN) is False
    assert state.depart(ANN, 9) is True
    assert state.is_gone(ANN) is True and state.is_gone(ANN) is False
    assert (state.attendance[ANN].status, state.receipt(ANN).last_seen_ms) == ("offline", 9)
    assert state.arrive(ANN) is True


def test_what_one_chose_to_show_lasts_until_one_is_gone() -> None:
    state = room()
    assert state.show(ANN, "busy") is False, "who is not here shows nothing"
    state.arrive(ANN)
    for status in get_args(Status):
        assert state.show(ANN, status) is (status != "online")
        assert state.attendance[ANN].status == status
    state.depart(ANN, 1)
    state.is_gone(ANN)
    state.arrive(ANN)
    assert state.attendance[ANN].status == "online"


def test_what_was_stored_of_people_is_restored() -> None:
    state = room()
    state.restore([Receipt(room_id=TEA, user_id=BOB, up_to=4, last_seen_ms=99)])
    assert state.read_up_to(BOB) == 4 and state.receipt(BOB).last_seen_ms == 99
    assert state.attendance[BOB].status == "offline" and not state.is_here(BOB)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("short", "short"),
        ("two\n\n lines\t here ", "two lines here"),
        ("x" * EXCERPT_CHARS, "x" * EXCERPT_CHARS),
        ("字" * (EXCERPT_CHARS + 1), "字" * (EXCERPT_CHARS - 1) + "…"),
        ("", ""),
    ],
)
def test_a_quote_is_one_line_of_bounded_length(content: str, shown: str) -> None:
    assert excerpt(content) == shown
