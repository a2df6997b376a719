"""Those who talk to the server over REST only: one who posts, and one who changes who belongs to a room."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import quote

import msgspec

from .checker import Ledger, Sent
from .clients import REFUSALS_THAT_ARE_FAILURES, RETRY_SECONDS, WORDS, Account
from .wire import Refused, Rest, Row

POSTED_EVERY_SECONDS = 0.2
CHANGED_EVERY_SECONDS = 1.0


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
