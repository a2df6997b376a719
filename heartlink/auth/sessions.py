"""Accounts at the door: register, log in, log out, change the password; credentials become identities."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import msgspec

from heartlink.auth.door import Credential, Doorkeeper, bad_token
from heartlink.auth.keys import load_key
from heartlink.auth.passwords import Passwords, check_password
from heartlink.auth.throttle import LoginThrottle, Quota
from heartlink.auth.tokens import ALGORITHM, TICKET_SECONDS, Clock, Tickets, Tokens
from heartlink.errors import (
    DuplicateKey,
    Refusal,
    StartupFailure,
    StoreUnavailable,
    conflict,
    wrong_credentials,
)
from heartlink.model import Identity, SessionId, User, UserId
from heartlink.names import FOLD_CHARS, check_display_name, check_username, fold
from heartlink.settings import Settings
from heartlink.store.users import EndedSessions, Users

ENDED_SESSIONS_PER_USER = 2_000
PURGE_EVERY_MS = 3_600_000

SessionEnded = Callable[[SessionId], None]
UserCreated = Callable[[UserId], Awaitable[None]]
UserEnded = Callable[[UserId, SessionId | None], None]

log = logging.getLogger("heartlink.auth")


async def _nobody_to_tell(user_id: UserId) -> None:
    """Stands until somebody wants to know of new users."""


class SignedIn(msgspec.Struct, frozen=True):
    """A fresh token, when it expires, and whose it is."""

    token: str
    expires_at_ms: int
    user: User


class Auth:
    """Knows who somebody is. Told nothing of sockets: it calls back when a session or all of a user's end."""

    def __init__(
        self,
        settings: Settings,
        users: Users,
        ended_sessions: EndedSessions,
        clock: Clock,
        on_session_ended: SessionEnded = lambda session_id: None,
        on_user_ended: UserEnded = lambda user_id, keep_session_id: None,
    ) -> None:
        self.on_session_ended = on_session_ended
        self.on_user_ended = on_user_ended
        self.on_user_created: UserCreated = _nobody_to_tell
        self.door = Doorkeeper(settings)
        self.passwords = Passwords()
        self.throttle = LoginThrottle(clock)
        self._settings = settings
        self._users = users
        self._ended_sessions = ended_sessions
        self._clock = clock
        self._registrations = Quota(clock, settings.registrations_per_minute)
        self._tickets = Tickets(clock)
        self._tokens: Tokens | None = None
        self._ended: dict[UserId, dict[SessionId, int]] = {}
        self._unsaved: dict[SessionId, int] = {}
        self._purged_ms = clock()

    @property
    def tokens(self) -> Tokens:
        """What signs and reads tokens, once opened."""
        if self._tokens is None:
            raise RuntimeError("Auth is not open.")
        return self._tokens

    async def open(self) -> None:
        """Load the key and the ended sessions; raises StartupFailure for a key that cannot be used."""
        key = load_key(self._settings.secret, self._settings.data_dir)
        try:
            jwt.encode({}, key, algorithm=ALGORITHM)
        except jwt.PyJWTError as error:
            raise StartupFailure(f"The secret cannot sign tokens: {error}", "Use plain random text.") from None
        self._tokens = Tokens(key, int(self._settings.token_hours * 3_600_000), self._clock)
        for session_id, expires_ms in (await self._ended_sessions.all_after(self._clock())).items():
            user_id = UserId(session_id.partition(":")[0])
            self._ended.setdefault(user_id, {})[session_id] = expires_ms
        await self._ended_sessions.purge(self._clock())
        await self.passwords.open()

    async def close(self) -> None:
        """Store what could not be stored before, and end the threads; safe to call twice."""
        try:
            await self._save_ended()
        except StoreUnavailable:
            log.warning("%d ended sessions could not be stored", len(self._unsaved))
        self.passwords.close()

    # Coming in

    async def register(self, username: str, password: str, display_name: str, address: str) -> SignedIn:
        """A new account, signed in; raises ``invalid_parameters``, ``conflict`` or ``rate_limited``."""
        username = check_username(username)
        display_name = check_display_name(display_name) if display_name.strip() else username
        check_password(password)
        self._registrations.take(address)
        user = await self.create_user(username, password, display_name)
        return self._sign_in(user)

    async def create_user(self, username: str, password: str, display_name: str) -> User:
        """Store a new account under a checked name; raises ``conflict`` when it is taken."""
        folded = fold(username)
        if await self._users.by_fold(folded) is not None:
            raise _taken(username)
        user = User(
            id=UserId(secrets.token_hex(12)),
            username=username,
            fold=folded,
            display_name=display_name,
            password_hash=await self.passwords.hash(password),
            created_at_ms=self._clock(),
        )
        try:
            await self._users.add(user)
        except DuplicateKey:
            raise _taken(username) from None
        await self.on_user_created(user.id)
        return user

    async def log_in(self, username: str, password: str, address: str) -> SignedIn:
        """Sign in; the answer and the work are the same for a wrong name and a wrong password."""
        folded = fold(username[:FOLD_CHARS])
        self.throttle.check(folded, address)
        user = await self._users.by_fold(folded)
        if not await self._has_password(user, password, folded, address) or user is None:
            raise wrong_credentials()
        user = await self._unchanged(user)
        if self.passwords.is_outdated(user.password_hash):
            user = await self._rehash(user, password)
        return self._sign_in(user)

    def refresh(self, identity: Identity) -> SignedIn:
        """A new token of the same session."""
        if not self.is_current(identity):
            raise bad_token("its session was signed out")
        return self._sign_in(identity.user, identity.session_id)

    async def change_password(self, identity: Identity, old: str, new: str, address: str) -> SignedIn:
        """Replace the password; every token and socket of the user ends, and a new session begins."""
        check_password(new, "new_password")
        user = identity.user
        self.throttle.check(user.fold, address)
        if not await self._has_password(user, old, user.fold, address):
            raise wrong_credentials()
        password_hash = await self.passwords.hash(new)
        changed = await self._end_user(user.id, verified=user, password_hash=password_hash)
        return self._sign_in(changed)

    async def _has_password(self, user: User | None, password: str, folded: str, address: str) -> bool:
        async with self.passwords.turn():
            # Others may have failed while this one waited for its turn.
            self.throttle.check(folded, address)
            fits = await self.passwords.verify(user.password_hash if user else None, password)
            if fits and user is not None and user.is_active:
                self.throttle.succeeded(folded, address)
                return True
            self.throttle.failed(folded, address)
            return False

    async def _unchanged(self, user: User) -> User:
        """The user, unless the password that was just verified is no longer the right one."""
        now = await self._users.get(user.id)
        if now is None or not now.is_active or now.password_hash != user.password_hash:
            raise wrong_credentials()
        return now

    async def _rehash(self, user: User, password: str) -> User:
        password_hash = await self.passwords.hash(password)

        def change(now: User) -> User:
            same = now.password_hash == user.password_hash
            return msgspec.structs.replace(now, password_hash=password_hash) if same else now

        try:
            return await self._users.update(user.id, change) or user
        except StoreUnavailable:
            return user

    def _sign_in(self, user: User, session_id: SessionId | None = None) -> SignedIn:
        name = session_id.partition(":")[2] if session_id else secrets.token_urlsafe(16)
        token, expires_at_ms = self.tokens.mint(user.id, name, user.tokens_not_before_ms)
        return SignedIn(token, expires_at_ms, user)

    # Being known

    async def identify(self, credential: Credential, *, spend: bool = False) -> Identity:
        """Who presents a credential; raises the Refusal ``invalid_token``. ``spend`` uses a ticket up."""
        if credential.by == "query" and credential.value and "." not in credential.value:
            take = self._tickets.spend if spend else self._tickets.peek
            identity = take(credential.value)
            if identity is None or not self.is_current(identity):
                raise bad_token(f"it is no JSON web token, and no ticket of the last {TICKET_SECONDS} seconds")
            return identity
        claims = self.tokens.read(credential.value)
        if self._has_ended(claims.user_id, claims.session_id):
            raise bad_token("its session was signed out")
        user = self._users.cached(claims.user_id) or await self._users.get(claims.user_id)
        if user is None:
            raise bad_token("its user does not exist")
        if not user.is_active:
            raise bad_token("its user was deactivated")
        if claims.issued_at_ms < user.tokens_not_before_ms:
            raise bad_token("the password was changed since it was issued")
        identity = Identity(
            user=user, session_id=claims.session_id, expires_at_ms=claims.expires_at_ms, by=credential.by
        )
        # The session may have ended while the user was looked up.
        if not self.is_current(identity):
            raise bad_token("its session was signed out")
        return identity

    def is_current(self, identity: Identity) -> bool:
        """Whether an identity still counts now; without waiting, for the last step before letting somebody in."""
        user = self._users.cached(identity.user.id) or identity.user
        return (
            identity.expires_at_ms > self._clock()
            and user.is_active
            and user.tokens_not_before_ms == identity.user.tokens_not_before_ms
            and not self._has_ended(user.id, identity.session_id)
        )

    def issue_ticket(self, identity: Identity) -> tuple[str, int]:
        """A one-use ticket for a socket and its lifetime in seconds."""
        return self._tickets.issue(msgspec.structs.replace(identity, by="ticket"))

    # Going out

    async def log_out(self, identity: Identity) -> None:
        """End a session with its tokens and sockets, at once; ``store_unavailable`` when that is not stored yet."""
        user_id, session_id = identity.user.id, identity.session_id
        if len(self._ended.get(user_id, ())) >= ENDED_SESSIONS_PER_USER:
            await self._end_user(user_id)
            self._ended.pop(user_id, None)
            return
        expires_ms = max(identity.expires_at_ms, self._clock() + self.tokens.lifetime_ms + 1000)
        self._ended.setdefault(user_id, {})[session_id] = expires_ms
        self._unsaved[session_id] = expires_ms
        self.on_session_ended(session_id)
        await self._save_ended()
        await self._purge()

    async def deactivate(self, user_id: UserId) -> None:
        """End everything of a user and let them in no more."""
        await self._end_user(user_id, is_active=False)

    async def _end_user(self, user_id: UserId, verified: User | None = None, **changes: Any) -> User:
        def change(user: User) -> User:
            if verified is not None and user.password_hash != verified.password_hash:
                raise wrong_credentials()
            # One above, so that a token issued in this very millisecond ends too.
            not_before_ms = max(self._clock(), user.tokens_not_before_ms) + 1
            return msgspec.structs.replace(user, tokens_not_before_ms=not_before_ms, **changes)

        user = await self._users.update(user_id, change)
        if user is None:
            raise bad_token("its user does not exist")
        self.on_user_ended(user_id, None)
        return user

    def _has_ended(self, user_id: UserId, session_id: SessionId) -> bool:
        ended = self._ended.get(user_id)
        return ended is not None and ended.get(session_id, 0) > self._clock()

    async def _save_ended(self) -> None:
        for session_id, expires_ms in list(self._unsaved.items()):
            await self._ended_sessions.put(session_id, expires_ms)
            self._unsaved.pop(session_id, None)

    async def _purge(self) -> None:
        now = self._clock()
        if now < self._purged_ms + PURGE_EVERY_MS:
            return
        self._purged_ms = now
        for user_id, sessions in list(self._ended.items()):
            left = {session_id: expires_ms for session_id, expires_ms in sessions.items() if expires_ms > now}
            if left:
                self._ended[user_id] = left
            else:
                del self._ended[user_id]
        with contextlib.suppress(StoreUnavailable):
            await self._ended_sessions.purge(now)


def _taken(username: str) -> Refusal:
    message = f"The user name '{username}' is taken."
    return conflict(message, "Choose another one.", fields={"username": message})
