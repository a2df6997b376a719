"""Members and writers: clients that speak the published contract only and never stop coming back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from .checker import Ledger, Sent, View
from .wire import Frame, Refused, Rest, Row, Socket, decode_frame, open_socket

PING_SECONDS = 2.0
SILENCE_SECONDS = 6.0
PATIENT_SILENCE_SECONDS = 20.0
TICK_SECONDS = 0.02
ANSWER_SECONDS = 8.0
RETRY_SECONDS = 0.2
POSTED_EVERY_SECONDS = 0.2
CHANGED_EVERY_SECONDS = 1.0
FAREWELLS_THAT_ARE_FAILURES = (1002, 1003, 1007, 1009, 1011, 4002, 4401, 4403, 4404, 4410, 4429)
REFUSALS_THAT_ARE_FAILURES = (400, 401, 403, 404, 410, 426, 429, 500)
WORDS = ("heart", "你好", "links", "пульс", "🫀", "again", "e\u0301", "stay", "<b>", '"quoted"', "\\", "done")


@dataclass(frozen=True)
class Account:
    """A registered user."""

    username: str
    user_id: str
    token: str


class Member:
    """One connection to one room that reads, resumes after each loss and reloads where it must."""

    def __init__(
        self, ledger: Ledger, account: Account, room_id: str, port: int, seed: str, *, patient: bool = False
    ) -> None:
        self.account = account
        self.room_id = room_id
        self.name = f"{account.username}@{room_id}{seed.rpartition(':')[2]}"
        self.view = View(ledger, self.name, room_id)
        self.progress = asyncio.Event()
        self.socket: Socket | None = None
        self.random = random.Random(seed)
        self.ledger = ledger
        self._port = port
        self._silence_seconds = PATIENT_SILENCE_SECONDS if patient else SILENCE_SECONDS
        self._loaded_reloads = 0
        self._stopping = False

    @property
    def is_live(self) -> bool:
        return self.socket is not None and self.view.live

    @property
    def is_complete(self) -> bool:
        """Whether the history below the first greeting is here as well."""
        return self.view.complete

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await asyncio.gather(self._stay_connected(), self._load(), self._work())

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                connected = await self._connect_once()
                failures = 0 if connected else failures + 1
            except Refused as refused:
                failures += 1
                self.ledger.counts[f"upgrade refused {refused.status}"] += 1
                if refused.status in REFUSALS_THAT_ARE_FAILURES:
                    self.ledger.violate("unexpected", f"{self.name}: upgrade refused: {refused}")
            except (OSError, TimeoutError):
                failures += 1
            delay = min(0.5, 0.02 * 2 ** min(failures, 6))
            await asyncio.sleep(delay * (0.5 + self.random.random()))

    async def _connect_once(self) -> bool:
        path = f"/ws/chat/{quote(self.room_id)}/"
        if self.view.cursor >= 0:
            path += f"?since={self.view.cursor}&epoch={quote(self.ledger.epoch)}"
        socket = await open_socket(self._port, path, self.account.token, self._hear)
        self.ledger.counts["connections"] += 1
        try:
            await self._watch(socket)
            code = socket.closed.result()
            self.ledger.counts[f"closed {code}"] += 1
            if code in FAREWELLS_THAT_ARE_FAILURES:
                self.ledger.violate("unexpected", f"{self.name}: closed with {code}")
            return True
        finally:
            self.socket = None
            self.view.disconnected()
            self.on_disconnected()
            socket.abort()

    async def _watch(self, socket: Socket) -> None:
        loop = asyncio.get_running_loop()
        while not socket.closed.done():
            await asyncio.wait([socket.closed], timeout=PING_SECONDS)
            if loop.time() - socket.heard_at > self._silence_seconds:
                socket.abort()
                await socket.closed
                self.ledger.counts["silences"] += 1
            socket.send(type="ping", timestamp=loop.time())

    async def _load(self) -> None:
        """Read the history over REST whenever a greeting said that it cannot be replayed."""
        rest = Rest(self._port, self.account.token)
        try:
            while True:
                await self._until(lambda: not self.view.complete and self.view.cursor >= 0)
                reloads, after = self.view.reloads, 0
                while True:
                    try:
                        page = await rest.history(self.room_id, after)
                    except (OSError, TimeoutError, asyncio.IncompleteReadError):
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    except Refused as refused:
                        self.ledger.counts[f"history refused {refused.status}"] += 1
                        if refused.status in REFUSALS_THAT_ARE_FAILURES:
                            self.ledger.violate("unexpected", f"{self.name}: history: {refused}")
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    self.view.load(page)
                    if page.messages:
                        after = page.messages[-1].id
                    if not page.has_more:
                        break
                if reloads == self.view.reloads:
                    self.view.complete = True
                    self.progress.set()
        finally:
            rest.close()

    async def _until(self, condition: object) -> None:
        assert callable(condition)
        while not condition():
            self.progress.clear()
            await self.progress.wait()

    async def _work(self) -> None:
        """What a member does besides reading: nothing."""

    def on_disconnected(self) -> None:
        """Called after each loss of the connection."""

    def _hear(self, socket: Socket, data: bytes) -> None:
        try:
            frame = decode_frame(data)
        except msgspec.MsgspecError as problem:
            self.ledger.violate("unexpected", f"{self.name}: {problem} in {data[:300]!r}")
            return
        self.ledger.counts["frames"] += 1
        if frame.type == "chat_message" and isinstance(frame.message, Row):
            self._hear_message(frame, frame.message)
        elif frame.type == "message_updated" and isinstance(frame.message, Row):
            if frame.ref is not None and self.view.is_answer(frame.message):
                self.ledger.counts["changes that changed nothing"] += 1
            else:
                self.ledger.counts["deliveries"] += 1
                self.view.updated(frame.message)
            self.on_update(frame, frame.message)
        elif frame.type == "connection_established":
            self.socket = socket
            self.view.greeted(frame)
            if self.view.live:
                self.on_live()
        elif frame.type == "caught_up":
            self.view.caught_up(frame)
            self.on_live()
        elif frame.type == "error":
            self.on_error(frame)
        self.progress.set()

    def _hear_message(self, frame: Frame, row: Row) -> None:
        if row.is_own != (row.sender == self.account.username):
            self.ledger.violate("unexpected", f"{self.name}: is_own is {row.is_own} on {row.sender}'s {row.id}")
        if frame.duplicate:
            self.ledger.counts["duplicate answers"] += 1
            self.view.repeated(row)
        else:
            self.ledger.counts["deliveries"] += 1
            self.view.created(row)
        if row.is_own:
            self.on_own(frame, row)

    def on_live(self) -> None:
        """Called when the room is live on a new connection."""

    def on_own(self, frame: Frame, row: Row) -> None:
        """Called for the user's own copy."""

    def on_update(self, frame: Frame, row: Row) -> None:
        """Called for a changed message."""

    def on_error(self, frame: Frame) -> None:
        """Called for an error frame."""
        self.ledger.counts[f"error {frame.error_code}"] += 1


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


class Poster:
    """Somebody who posts over REST, one message at a time, each until it is answered well."""

    def __init__(self, ledger: Ledger, account: Account, room_id: str, port: int, seed: str) -> None:
        self.writing = True
        self.pending = ""
        self._ledger = ledger
        self._account = account
        self._room_id = room_id
        self._rest = Rest(port, account.token)
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Post until told to stop writing."""
        loop = asyncio.get_running_loop()
        number = 0
        try:
            while self.writing:
                number += 1
                client_id = f"{self._account.username}-{number:06d}"
                content = f"{client_id} {self._random.choice(WORDS)}"
                now = loop.time()
                sent = Sent(self._room_id, self._account.username, client_id, content, number, now)
                self.pending = client_id
                self._ledger.acknowledge(sent, await self._post(sent), loop.time())
                self.pending = ""
                await asyncio.sleep(POSTED_EVERY_SECONDS * self._random.random())
        finally:
            self._rest.close()

    async def _post(self, sent: Sent) -> Row:
        body = {"content": sent.content, "client_id": sent.client_id}
        while True:
            try:
                payload = await self._rest.call("POST", f"/api/rooms/{quote(self._room_id)}/messages", body)
                return msgspec.json.decode(payload, type=Row)
            except Refused as refused:
                self._ledger.counts[f"post refused {refused.status}"] += 1
                if refused.status in REFUSALS_THAT_ARE_FAILURES:
                    self._ledger.violate("unexpected", f"{self._account.username}: post: {refused}")
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._ledger.counts["posts without an answer"] += 1
            # It goes out again alone, so whatever its outcome was, nothing can overtake it.
            await asyncio.sleep(RETRY_SECONDS)


class Steward:
    """A room's owner who lets somebody in and removes them again, over REST, and looks whether that is so."""

    def __init__(self, ledger: Ledger, owner: Account, guest: Account, room_id: str, port: int, seed: str) -> None:
        self.writing = True
        self.pending = ""
        self.is_member = False
        self.room_id = room_id
        self._ledger = ledger
        self._owner = Rest(port, owner.token)
        self._guest = Rest(port, guest.token)
        self._guest_account = guest
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Change the membership until told to stop."""
        try:
            while self.writing:
                self.pending = "removal" if self.is_member else "invitation"
                await self._change()
                self.is_member = not self.is_member
                self.pending = ""
                self._ledger.counts["memberships changed"] += 1
                await self.look(self._guest)
                await asyncio.sleep(CHANGED_EVERY_SECONDS * self._random.random())
        finally:
            self._owner.close()
            self._guest.close()

    async def _change(self) -> None:
        path = f"/api/rooms/{quote(self.room_id)}/members"
        while True:
            try:
                if self.is_member:
                    await self._owner.call("DELETE", f"{path}/{self._guest_account.user_id}", expect=(204, 404))
                else:
                    body = {"username": self._guest_account.username}
                    await self._owner.call("POST", path, body, expect=(200, 201, 409))
                return
            except Refused as refused:
                self._ledger.counts[f"membership refused {refused.status}"] += 1
                if refused.status in REFUSALS_THAT_ARE_FAILURES:
                    self._ledger.violate("unexpected", f"membership in {self.room_id}: {refused}")
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._ledger.counts["memberships without an answer"] += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def look(self, guest: Rest) -> None:
        """What was acknowledged last must be so."""
        try:
            payload = await guest.call("GET", f"/api/rooms/{quote(self.room_id)}", expect=(200, 403))
        except (Refused, OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        if (b"last_message" in payload) != self.is_member:
            text = f"{self.room_id}: the membership was acknowledged as {self.is_member}: {payload[:200]!r}"
            self._ledger.violate("lost", text)


async def cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    """End clients and wait for them; raises what one of them had died of."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
