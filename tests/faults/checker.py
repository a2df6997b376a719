"""The checker: what each client was promised and saw, held against each other and against the history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .wire import Frame, History, Row

EXAMPLES_PER_KIND = 6
KINDS = ("lost", "duplicated", "gaps", "reordered", "differ", "unexpected")


@dataclass
class Sent:
    """A message on its way.

    `attempts` counts how often it was sent, `refused` the `not_saved` answers; `over_two` connections it went at once.
    """

    room_id: str
    author: str
    client_id: str
    content: str
    number: int
    first_sent_at: float
    last_sent_at: float = 0.0
    attempts: int = 0
    refused: int = 0
    over_two: bool = False
    acknowledged_id: int = 0


@dataclass
class Ledger:
    """Everything the clients know together, and the violations found so far."""

    violations: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    latencies_seconds: list[float] = field(default_factory=list)
    acknowledged: dict[str, dict[str, Sent]] = field(default_factory=lambda: defaultdict(dict))
    ids: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    seen: dict[str, dict[int, tuple[object, ...]]] = field(default_factory=lambda: defaultdict(dict))
    unanswered_changes: Counter[str] = field(default_factory=Counter)
    epoch: str = ""
    timeline: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    acknowledged_in: Counter[int] = field(default_factory=Counter)
    began_at: float = 0.0
    store_can_fail: bool = False
    """Whether the nemesis takes the database away too."""

    def note(self, now_seconds: float, text: str) -> None:
        """Put an event on the timeline."""
        self.timeline[int(now_seconds - self.began_at)].append(text)

    def violate(self, kind: str, text: str) -> None:
        """Record one violation of `kind`, one of `KINDS`."""
        assert kind in KINDS
        self.violations[kind] += 1
        if len(self.examples[kind]) < EXAMPLES_PER_KIND:
            self.examples[kind].append(text)

    def check_epoch(self, epoch: str, where: str) -> None:
        """The history's name must outlive every fault."""
        if self.epoch and epoch != self.epoch:
            self.violate("lost", f"{where}: the epoch went from {self.epoch} to {epoch}")
        self.epoch = epoch

    def acknowledge(self, sent: Sent, row: Row, now_seconds: float) -> None:
        """The author saw its own copy."""
        sent.acknowledged_id = row.id
        self.acknowledged[sent.room_id][sent.client_id] = sent
        self.latencies_seconds.append(now_seconds - sent.first_sent_at)
        self.acknowledged_in[int(now_seconds - self.began_at)] += 1

    def observe(self, room_id: str, row: Row, who: str) -> None:
        """Somebody was shown `row`: the same change and the same client_id must look the same to everyone."""
        state = row.state()
        known = self.seen[room_id].setdefault(row.rev, state)
        if known != state:
            self.violate("differ", f"{room_id}@{row.rev}: {who} was shown {state}, others {known}")
        token = row.content.partition(" ")[0]
        if token:
            self.identify(room_id, token, row.id, who)

    def identify(self, room_id: str, client_id: str, message_id: int, who: str) -> None:
        """One client_id is one message for good."""
        known = self.ids[room_id].setdefault(client_id, message_id)
        if known != message_id:
            self.violate("duplicated", f"{room_id}: {who} has {client_id} as {message_id} and as {known}")

    def settle(self, room_id: str, history: list[Row], last_seq: int) -> None:
        """Hold the final history against what was acknowledged and what was shown."""
        rows = {row.id: row for row in history}
        if len(rows) != len(history):
            self.violate("duplicated", f"{room_id}: the history has {len(history) - len(rows)} ids twice")
        for row in history:
            self.observe(room_id, row, "the final history")
        self._settle_promises(room_id, rows)
        self._settle_numbers(room_id, rows, last_seq)
        self._settle_order(room_id)

    def _settle_promises(self, room_id: str, rows: dict[int, Row]) -> None:
        for sent in self.acknowledged[room_id].values():
            row = rows.get(sent.acknowledged_id)
            if row is None:
                self.violate("lost", f"{room_id}: {sent.client_id} was acknowledged as {sent.acknowledged_id}")
            elif row.sender != sent.author:
                self.violate("lost", f"{room_id}: {sent.acknowledged_id} is {row.sender}'s, not {sent.client_id}")
            elif row.rev == row.id and row.content != sent.content:
                self.violate("lost", f"{room_id}: {sent.client_id} holds {row.content!r}")
        for seq, state in self.seen[room_id].items():
            shown = rows.get(int(str(state[0])))
            if shown is None or shown.rev < seq:
                self.violate("lost", f"{room_id}: change {seq} to message {state[0]} was shown and is gone")
            elif bool(state[5]) and not shown.deleted:
                self.violate("lost", f"{room_id}: message {shown.id} was deleted at {seq} and is back")

    def _settle_numbers(self, room_id: str, rows: dict[int, Row], last_seq: int) -> None:
        known = set(rows) | {row.rev for row in rows.values()}
        if known and max(known) != last_seq:
            self.violate("gaps", f"{room_id}: last_seq is {last_seq}, the history ends at {max(known)}")
        missing = [seq for seq in range(1, last_seq + 1) if seq not in known and seq not in self.seen[room_id]]
        # A change nobody was connected to see, and that another has replaced, leaves no trace but its number.
        if len(missing) > self.unanswered_changes[room_id]:
            text = f"{room_id}: nothing explains {missing[:10]} of 1..{last_seq}"
            self.violate("gaps", f"{text} ({self.unanswered_changes[room_id]} changes without an answer)")

    def _settle_order(self, room_id: str) -> None:
        by_author: dict[str, list[Sent]] = defaultdict(list)
        for sent in self.acknowledged[room_id].values():
            if not sent.refused and not sent.over_two:
                by_author[sent.author].append(sent)
        for author, sents in by_author.items():
            sents.sort(key=lambda sent: sent.number)
            highest = 0
            for sent in sents:
                if sent.acknowledged_id < highest:
                    text = f"{sent.client_id} is {sent.acknowledged_id}, after {highest}"
                    self.violate("reordered", f"{room_id}: of {author}, {text}")
                highest = max(highest, sent.acknowledged_id)

    def settle_view(self, view: View, history: list[Row], last_seq: int) -> None:
        """A member's room must be the history."""
        if view.cursor != last_seq:
            self.violate("gaps", f"{view.name}: stands at {view.cursor}, the room at {last_seq}")
        expected = {row.id: row.state() for row in history}
        held = {row.id: row.state() for row in view.rows.values()}
        if held == expected:
            return
        absent = sorted(expected.keys() - held.keys())
        extra = sorted(held.keys() - expected.keys())
        other = sorted(key for key in expected.keys() & held.keys() if expected[key] != held[key])
        text = f"{view.name}: {len(absent)} absent {absent[:5]}, {len(extra)} extra {extra[:5]}, {len(other)} other"
        if other:
            text += f", as {held[other[0]]} instead of {expected[other[0]]}"
        self.violate("differ", text)
        promised = {sent.acknowledged_id for sent in self.acknowledged[view.room_id].values()}
        for message_id in absent:
            if message_id in promised:
                self.violate("lost", f"{view.name}: never got {message_id}, which its author saw acknowledged")


class View:
    """One client's picture of one room: greetings, replays and live frames applied and checked one by one."""

    def __init__(self, ledger: Ledger, name: str, room_id: str) -> None:
        self.name = name
        self.room_id = room_id
        self.rows: dict[int, Row] = {}
        self.cursor = -1
        self.live = False
        self.complete = False
        self.reloads = 0
        self._ledger = ledger
        self._created: set[int] = set()
        self._replayed = 0
        self._since = -1

    def _violate(self, kind: str, text: str) -> None:
        self._ledger.violate(kind, f"{self.name}: {text}")

    def greeted(self, frame: Frame) -> None:
        """A new connection begins a new view."""
        self._ledger.check_epoch(frame.epoch, self.name)
        self._created.clear()
        self._since = self._replayed = self.cursor
        self.live = frame.resume != "changes"
        if not self.live:
            if self.cursor < 0:
                self._violate("gaps", "was promised changes without having asked for any")
            return
        if self.cursor >= 0:
            if frame.resume == "none" or frame.resume_reason != "too_far_behind":
                reason = f"{frame.resume!r}, {frame.resume_reason!r}, last_seq {frame.last_seq}"
                self._violate("lost", f"asked for what is above {self.cursor} and was answered {reason}")
            self._ledger.counts["reloads"] += 1
        self.cursor = frame.last_seq
        self.complete = False
        self.reloads += 1

    def disconnected(self) -> None:
        """What was replayed only in part is asked for again."""
        self.live = False

    def caught_up(self, frame: Frame) -> None:
        """The replay is over; what follows is live and dense."""
        if self.live:
            self._violate("unexpected", "caught_up without a replay")
            return
        if frame.last_seq < self._since or frame.last_seq != max(self._since, self._replayed):
            self._violate("gaps", f"caught up at {frame.last_seq}, the replay from {self._since} at {self._replayed}")
        self.cursor = frame.last_seq
        self.live = True

    def created(self, row: Row) -> None:
        """A `chat_message` that is no answer to a repetition."""
        if row.id in self._created:
            self._violate("duplicated", f"message {row.id} came twice in one connection")
            return
        if self.live and row.id != row.rev:
            self._violate("gaps", f"live message {row.id} has rev {row.rev}")
        if not self.live and row.id <= self._since:
            self._violate("duplicated", f"message {row.id} was replayed as new to one who has {self._since}")
        if self._advance(row):
            self._created.add(row.id)
        self._keep(row)

    def is_answer(self, row: Row) -> bool:
        """Whether a `message_updated` with a `ref` only says that what was asked for is so already."""
        held = self.rows.get(row.id)
        return self.live and row.rev <= self.cursor and held is not None and held.state() == row.state()

    def updated(self, row: Row) -> None:
        """A `message_updated`."""
        known = row.id in self.rows or row.id in self._created
        if not self.live and row.id > self._since:
            self._violate("gaps", f"message {row.id} was changed before it was created")
        elif not known and self.complete:
            self._violate("gaps", f"a change to message {row.id}, which never came")
        self._advance(row)
        self._keep(row)

    def repeated(self, row: Row) -> None:
        """A `chat_message` marked as a duplicate: an answer, not news."""
        if self.live and row.id > self.cursor:
            self._violate("gaps", f"message {row.id} was answered as known before it was published")
        self._ledger.identify(self.room_id, row.content.partition(" ")[0] or row.client_id or "", row.id, self.name)

    def load(self, page: History) -> None:
        """Take in a page of the history read over REST."""
        self._ledger.check_epoch(page.epoch, self.name)
        for row in page.messages:
            self._keep(row)

    def _advance(self, row: Row) -> bool:
        self._ledger.observe(self.room_id, row, self.name)
        if not self.live:
            if row.rev <= self._replayed:
                self._violate("reordered", f"the replay went from {self._replayed} to {row.rev}")
            self._replayed = max(self._replayed, row.rev)
            return True
        if row.rev == self.cursor + 1:
            self.cursor = row.rev
            return True
        if row.rev > self.cursor:
            self._violate("gaps", f"live {row.rev} came after {self.cursor}")
            self.cursor = row.rev
            return True
        self._violate("reordered", f"live {row.rev} came after {self.cursor}")
        return False

    def _keep(self, row: Row) -> None:
        held = self.rows.get(row.id)
        if held is None or held.rev < row.rev:
            self.rows[row.id] = row


def render_timeline(ledger: Ledger) -> str:
    """Second by second: how much was acknowledged, and what broke."""
    seconds = range(max([*ledger.timeline, *ledger.acknowledged_in], default=0) + 1)
    return "\n".join(
        f"  {second:>4} s {ledger.acknowledged_in[second]:>6}  {', '.join(ledger.timeline.get(second, []))}".rstrip()
        for second in seconds
    )


def render_table(rows: Iterable[tuple[str, object]]) -> str:
    """Two columns, one row a figure."""
    return "\n".join(f"  {name:<34}{value:>14}" for name, value in rows)
