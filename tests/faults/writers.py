"""Writers: members who keep messages under way, and change what was said."""

from __future__ import annotations

import asyncio
from collections import deque

from .checker import Ledger, Sent
from .clients import RETRY_SECONDS, WORDS, Account, Member
from .wire import Frame, Row, Socket

TICK_SECONDS = 0.02
ANSWER_SECONDS = 8.0


class Writer(Member):
    """A member that keeps messages under way, sends again what was not acknowledged, and changes what it said."""

    window = 16

    def __init__(
        self, ledger: Ledger, account: Account, room_id: str, port: int, seed: str, *, per_second: float
    ) -> None:
        super().__init__(ledger, account, room_id, port, seed)
        self.pending: dict[str, Sent] = {}
        self.twins: list[Member] = []
        self.is_moderator = False
        self.writing = True
        self._per_second = per_second
        self._retries: deque[tuple[float, Sent]] = deque()
        self._known: deque[Sent] = deque(maxlen=200)
        self._repeats: dict[str, Sent] = {}
        self._changes: dict[str, tuple[int, str, str]] = {}
        self._number = 0
        self._change_number = 0
        self._loop = asyncio.get_running_loop()

    async def _work(self) -> None:
        credit, before = 0.0, self._loop.time()
        while True:
            await asyncio.sleep(TICK_SECONDS * (0.5 + self.random.random()))
            now = self._loop.time()
            credit = min(credit + (now - before) * self._per_second, float(self.window))
            before = now
            if not self.is_live:
                continue
            self._send_again(now)
            while self.writing and credit >= 1.0 and len(self.pending) < self.window:
                credit -= 1.0
                self._say_something(now)
            oldest = min((sent.last_sent_at for sent in self.pending.values()), default=now)
            if now - oldest > ANSWER_SECONDS and self.socket is not None:
                self.ledger.counts["answers that did not come"] += 1
                self.socket.abort()

    def _send_again(self, now: float) -> None:
        while self._retries and self._retries[0][0] <= now:
            _, sent = self._retries.popleft()
            if sent.client_id in self.pending:
                self._send(sent, now)

    def _say_something(self, now: float) -> None:
        dice = self.random.random()
        if dice < 0.02 and self._known:
            self._repeat(self.random.choice(self._known))
        elif dice < 0.08 and self._known:
            self._change(self.random.choice(self._known))
        elif dice < 0.10 and self.view.rows:
            self._react()
        else:
            self._say(now)

    def _say(self, now: float) -> None:
        self._number += 1
        client_id = f"{self.account.username}-{self._number:06d}"
        words = " ".join(self.random.choices(WORDS, k=self.random.randint(3, 12)))
        sent = Sent(self.room_id, self.account.username, client_id, f"{client_id} {words}", self._number, now)
        self.pending[client_id] = sent
        self._send(sent, now)
        if self.twins and self.random.random() < 0.03:
            # Over two connections it may arrive ahead of what one of them still holds back.
            sent.over_two = True
            self._send_frame(self.random.choice(self.twins).socket, sent)

    def _send(self, sent: Sent, now: float) -> None:
        sent.attempts += 1
        sent.last_sent_at = now
        self._send_frame(self.socket, sent)

    def _send_frame(self, socket: Socket | None, sent: Sent) -> None:
        if socket is not None:
            socket.send(type="message", content=sent.content, client_id=sent.client_id, ref=sent.client_id)

    def _repeat(self, sent: Sent) -> None:
        self.ledger.counts["repetitions"] += 1
        self._repeats[sent.client_id] = sent
        self._send_frame(self.socket, sent)

    def _change(self, sent: Sent) -> None:
        row = self.view.rows.get(sent.acknowledged_id)
        if self.is_moderator and self.random.random() < 0.5:
            row = self.view.rows[self.random.choice(list(self.view.rows)[-20:])]
        if row is None or row.deleted or self.socket is None:
            return
        ref = self._next_change()
        if self.random.random() < 0.25:
            self._changes[ref] = (row.id, "deleted", "")
            self.socket.send(type="delete_message", id=row.id, ref=ref)
        else:
            content = f"{row.content.partition(' ')[0]} {ref}"
            self._changes[ref] = (row.id, "edited", content)
            self.socket.send(type="edit_message", id=row.id, content=content, ref=ref)

    def _react(self) -> None:
        row = self.view.rows[self.random.choice(list(self.view.rows)[-100:])]
        if row.deleted or self.socket is None:
            return
        ref, emoji = self._next_change(), self.random.choice(("❤️", "👍", "🎉"))
        on = self.account.username not in row.reactions.get(emoji, [])
        self._changes[ref] = (row.id, "reactions", emoji if on else f"-{emoji}")
        self.socket.send(type="react", id=row.id, emoji=emoji, on=on, ref=ref)

    def _next_change(self) -> str:
        self._change_number += 1
        self.ledger.counts["changes"] += 1
        return f"{self.account.username}-change-{self._change_number}"

    def on_live(self) -> None:
        self._retries.clear()
        now = self._loop.time()
        for sent in self.pending.values():
            self._send(sent, now)

    def on_disconnected(self) -> None:
        self.ledger.unanswered_changes[self.room_id] += len(self._changes)
        self._changes.clear()

    def on_own(self, frame: Frame, row: Row) -> None:
        client_id = row.client_id
        if client_id is None:
            self.ledger.violate("unexpected", f"{self.name}: its own copy of {row.id} has no client_id")
            return
        sent = self.pending.pop(client_id, None)
        if sent is not None:
            self.ledger.acknowledge(sent, row, self._loop.time())
            self._known.append(sent)
        elif frame.duplicate and client_id in self._repeats:
            known = self._repeats.pop(client_id)
            if known.acknowledged_id != row.id:
                text = f"{client_id} was acknowledged as {known.acknowledged_id}, now as {row.id}"
                self.ledger.violate("duplicated", f"{self.name}: {text}")

    def on_update(self, frame: Frame, row: Row) -> None:
        for ref, (message_id, change, content) in list(self._changes.items()):
            if message_id != row.id or change != frame.change:
                continue
            if change == "edited" and content != row.content:
                continue
            if change == "reactions":
                named = self.account.username in row.reactions.get(content.removeprefix("-"), [])
                if named == content.startswith("-"):
                    continue
            del self._changes[ref]
            return

    def on_error(self, frame: Frame) -> None:
        super().on_error(frame)
        if frame.ref in self._changes:
            del self._changes[str(frame.ref)]
            self.ledger.unanswered_changes[self.room_id] += 1
            if frame.error_code in ("not_saved", "not_found", "conflict", "forbidden", "invalid_parameters"):
                return
        sent = self.pending.get(frame.client_id or "")
        if frame.error_code == "not_saved":
            if sent is not None:
                sent.refused += 1
                wait = min(frame.retry_after or RETRY_SECONDS, 1.0)
                self._retries.append((self._loop.time() + wait, sent))
            return
        self.ledger.violate("unexpected", f"{self.name}: {frame.error_code} {frame.message} for {frame.client_id}")
