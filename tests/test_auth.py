"""Who is there: passwords, tokens, tickets, throttling, keys and the rules of the door, on the real store."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from argon2 import PasswordHasher, extract_parameters

from heartlink.auth import Auth, Credential, Doorkeeper, SignedIn, find_credential
from heartlink.auth.keys import KEY_FILE, load_key
from heartlink.auth.passwords import WAITING
from heartlink.auth.throttle import FORGET_AFTER_MS, network_of
from heartlink.auth.tokens import TICKET_SECONDS, TICKETS_PER_USER
from heartlink.errors import DuplicateKey, Refusal, StartupFailure, StoreUnavailable
from heartlink.model import Identity, SessionId, User, UserId
from heartlink.settings import Settings
from heartlink.store.backend import Backend, Collection, Document, KeyValue
from heartlink.store.opening import make_backend
from heartlink.store.tables import ALL
from heartlink.store.users import EndedSessions, Users

SECRET = "a key of plain text that is long enough"
PASSWORD = "correct horse"
HERE = "192.0.2.1"
HOUR_MS = 3_600_000


class Time:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now_ms = int(time.time() * 1000)

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


class Entrance:
    """Auth on a real store, with what it called back."""

    def __init__(self, backend: Backend, settings: Settings, clock: Time) -> None:
        self.backend = backend
        self.clock = clock
        self.ended: list[str] = []
        self.users = Users(backend)
        self.auth = Auth(
            settings,
            self.users,
            EndedSessions(backend),
            clock,
            on_session_ended=lambda session_id: self.ended.append(session_id),
            on_user_ended=lambda user_id, keep: self.ended.append(user_id),
        )

    async def register(self, name: str = "ann", password: str = PASSWORD) -> SignedIn:
        return await self.auth.register(name, password, "", HERE)

    async def log_in(self, name: str = "ann", password: str = PASSWORD, address: str = HERE) -> SignedIn:
        return await self.auth.log_in(name, password, address)

    async def who(self, token: str) -> Identity:
        return await self.auth.identify(Credential("bearer", token))


@dataclass(frozen=True)
class Place:
    """Where the data of one test is, whichever database it is in."""

    data_dir: Path
    mongo_url: str


@pytest.fixture
def place(tmp_path: Path, mongo_urls: Iterator[str]) -> Place:
    return Place(tmp_path / "data", next(mongo_urls))


@asynccontextmanager
async def entrance(place: Place, clock: Time | None = None, **changes: Any) -> AsyncIterator[Entrance]:
    """An open entrance over the data of a place."""
    settings = Settings(**{"data_dir": place.data_dir, "secret": SECRET, **changes})
    backend = make_backend(mongo_url=place.mongo_url, data_dir=place.data_dir)
    await backend.open(ALL)
    try:
        opened = Entrance(backend, settings, clock or Time())
        await opened.auth.open()
        yield opened
        await opened.auth.close()
    finally:
        await backend.close()


def on_the_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test that waits, on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def go() -> None:
            async with asyncio.timeout(120):
                await test(*args, **kwargs)

        asyncio.run(go())

    return run


async def refused(attempt: Awaitable[object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await attempt
    return caught.value


# --- Accounts --------------------------------------------------------------------------------------


@on_the_loop
async def test_who_registers_is_signed_in_and_known(place: Place) -> None:
    async with entrance(place) as door:
        signed_in = await door.register("Ann")
        assert signed_in.user.display_name == "Ann"
        assert (await door.who(signed_in.token)).user == signed_in.user
        again = await door.log_in("ＡＮＮ")
        assert again.user.id == signed_in.user.id
        assert again.token != signed_in.token


@on_the_loop
async def test_a_password_is_stored_as_argon2id_with_the_chosen_costs(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        parameters = extract_parameters(user.password_hash)
        assert user.password_hash.startswith("$argon2id$")
        assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19_456, 2, 1)


@on_the_loop
async def test_two_who_register_one_name_at_once_are_one_and_a_conflict(place: Place) -> None:
    async with entrance(place) as door:
        names = ("Straße", "STRASSE", "strasse", "straẞe")
        results = await asyncio.gather(*map(door.register, names), return_exceptions=True)
        winners = [result for result in results if isinstance(result, SignedIn)]
        refusals = [result for result in results if isinstance(result, Refusal)]
        assert (len(winners), len(refusals)) == (1, 3)
        for refusal in refusals:
            assert (refusal.code, refusal.status) == ("conflict", 409)
            assert refusal.fields is not None and "username" in refusal.fields


@on_the_loop
async def test_a_password_too_short_or_too_long_is_refused(place: Place) -> None:
    async with entrance(place) as door:
        for password in ("", "seven77", "x" * 1025):
            refusal = await refused(door.register("ann", password))
            assert refusal.fields is not None and "password" in refusal.fields
            assert not password or password not in str(refusal)
        await door.register("ann", "x" * 1024)
        await door.log_in("ann", "x" * 1024)


@on_the_loop
async def test_a_password_is_the_same_however_it_is_composed(place: Place) -> None:
    async with entrance(place) as door:
        await door.register("ann", "mañana mañana")
        await door.log_in("ann", "man\u0303ana man\u0303ana")
        assert (await refused(door.log_in("ann", "Mañana mañana"))).code == "wrong_credentials"


@on_the_loop
async def test_a_wrong_name_and_a_wrong_password_cost_and_answer_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: list[str] = []
    original = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> Any:
        worked_on.append(str(hash))
        return original(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    async with entrance(place) as door:
        await door.register("ann")
        gone = await door.register("gone")
        await door.auth.deactivate(gone.user.id)
        answers = []
        for name, password in (("ann", "wrong wrong"), ("nobody", "wrong wrong"), ("gone", PASSWORD), ("no\0", "x")):
            worked_on.clear()
            refusal = await refused(door.log_in(name, password))
            answers.append((refusal.code, refusal.status, refusal.message, refusal.fix, refusal.fields))
            (used,) = worked_on
            parameters = extract_parameters(used)
            assert (parameters.memory_cost, parameters.time_cost) == (19_456, 2)
        assert len(set(map(str, answers))) == 1
        assert answers[0][:2] == ("wrong_credentials", 401)


@on_the_loop
async def test_an_outdated_hash_is_renewed_by_the_next_log_in(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        await door.users.update(user.id, lambda now: msgspec.structs.replace(now, password_hash=cheap))
        await door.log_in()
        stored = await Users(door.backend).get(user.id)
        assert stored is not None and extract_parameters(stored.password_hash).memory_cost == 19_456
        await door.log_in()


@on_the_loop
async def test_a_damaged_hash_lets_nobody_in(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        await door.users.update(user.id, lambda now: msgspec.structs.replace(now, password_hash="$argon2id$rubbish"))
        assert (await refused(door.log_in())).code == "wrong_credentials"


@on_the_loop
async def test_the_queue_of_passwords_is_bounded(place: Place) -> None:
    async with entrance(place) as door:
        release = asyncio.Event()

        async def hold() -> None:
            async with door.auth.passwords.turn():
                await release.wait()

        held = [asyncio.create_task(hold()) for _ in range(WAITING)]
        await asyncio.sleep(0)
        refusal = await refused(door.log_in())
        assert (refusal.code, refusal.status) == ("busy", 503)
        release.set()
        await asyncio.gather(*held)
        assert (await refused(door.log_in())).code == "wrong_credentials"


# --- Tokens ----------------------------------------------------------------------------------------


def claims_of(user: User, now_ms: int, **changes: Any) -> dict[str, Any]:
    now = now_ms // 1000
    claims = {"iss": "heartlink", "aud": "heartlink", "sub": user.id, "iat": now, "exp": now + 60, "jti": "one"}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


@on_the_loop
async def test_a_token_minted_elsewhere_with_the_key_counts(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        door.clock.advance(1)
        for changes in ({}, {"aud": ["other", "heartlink"]}, {"sid": "mine"}, {"iat": door.clock() / 1000}, {"nbf": 0}):
            token = jwt.encode(claims_of(user, door.clock(), **changes), SECRET, algorithm="HS256")
            identity = await door.who(token)
            assert identity.user == user
            assert identity.expires_at_ms == claims_of(user, door.clock())["exp"] * 1000


BAD_TOKENS: tuple[tuple[str, Callable[[User, int], str], str], ...] = (
    ("empty", lambda user, now: "", "empty"),
    ("words", lambda user, now: "null", "not a JSON web token"),
    ("dots", lambda user, now: "a.b.c", "not a JSON web token"),
    ("not ascii", lambda user, now: "ä.ö.ü", "not a JSON web token"),
    ("too long", lambda user, now: "x" * 4097, "longer than"),
    (
        "algorithm none",
        lambda user, now: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims_of(user, now))}.",
        "not signed with HS256",
    ),
    (
        "other algorithm",
        lambda user, now: jwt.encode(claims_of(user, now), SECRET * 2, algorithm="HS512"),
        "not signed with HS256",
    ),
    ("other key", lambda user, now: jwt.encode(claims_of(user, now), SECRET[::-1]), "signature does not fit"),
    (
        "tampered",
        lambda user, now: ".".join(
            (
                jwt.encode(claims_of(user, now), SECRET).split(".")[0],
                part(claims_of(user, now, exp=now)),
                jwt.encode(claims_of(user, now), SECRET).split(".")[2],
            )
        ),
        "signature does not fit",
    ),
    ("no list", lambda user, now: jwt.api_jws.encode(b"[1]", SECRET), "not a JSON web token"),
    *(
        (
            f"without {name}",
            lambda user, now, name=name: jwt.encode(claims_of(user, now, **{name: None}), SECRET),
            f"no claim '{name}'",
        )
        for name in ("exp", "iat", "aud", "iss", "sub", "jti")
    ),
)
BAD_CLAIMS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"aud": "other"}, "not for 'heartlink'"),
    ({"aud": []}, "no claim 'aud'"),
    ({"aud": 5}, "not for 'heartlink'"),
    ({"iss": "other"}, "not from 'heartlink'"),
    ({"exp": 1}, "expired"),
    ({"exp": -1}, "no time"),
    ({"exp": True}, "no time"),
    ({"exp": "9999999999"}, "no time"),
    ({"exp": float("nan")}, "no time"),
    ({"exp": float("inf")}, "no time"),
    ({"iat": 9_999_999_999, "exp": 99_999_999_999}, "in the future"),
    ({"iat": "now"}, "no time"),
    ({"nbf": 9_999_999_999}, "not valid yet"),
    ({"nbf": "x"}, "no time"),
    ({"sub": "nobody"}, "user does not exist"),
    ({"sub": ""}, "no short text"),
    ({"sub": "x" * 129}, "no short text"),
    ({"sub": "a\0b"}, "no short text"),
    ({"sub": "\ud800"}, "no short text"),
    ({"jti": ""}, "no short text"),
    ({"sid": 5}, "no short text"),
    ({"sid": ""}, "no short text"),
)


@on_the_loop
async def test_a_bad_token_is_refused_with_its_reason(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        for name, make, said in BAD_TOKENS:
            refusal = await refused(door.who(make(user, door.clock())))
            assert (refusal.code, refusal.status) == ("invalid_token", 401), name
            assert said in refusal.message, name


@on_the_loop
async def test_every_claim_is_verified(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        for changes, said in BAD_CLAIMS:
            token = jwt.encode(claims_of(user, door.clock(), **changes), SECRET, algorithm="HS256")
            for _ in range(2):
                refusal = await refused(door.who(token))
                assert (refusal.code, refusal.status) == ("invalid_token", 401), changes
                assert said in refusal.message, changes
        far = jwt.encode(claims_of(user, door.clock(), exp=10**300), SECRET, algorithm="HS256")
        assert (await door.who(far)).expires_at_ms < 10**15
        assert (await refused(door.auth.identify(Credential("cookie", "x.y.z")))).code == "invalid_token"


@on_the_loop
async def test_a_token_ends_at_its_second(place: Place) -> None:
    async with entrance(place, token_hours=1) as door:
        signed_in = await door.register()
        door.clock.now_ms = signed_in.expires_at_ms - 1
        identity = await door.who(signed_in.token)
        assert door.auth.is_current(identity)
        door.clock.now_ms += 1
        assert "expired" in (await refused(door.who(signed_in.token))).message
        assert not door.auth.is_current(identity)


@on_the_loop
async def test_logging_out_ends_all_tokens_of_one_log_in_and_no_other(place: Place) -> None:
    clock = Time()
    async with entrance(place, clock) as door:
        first = await door.register()
        other = await door.log_in()
        identity = await door.who(first.token)
        later = door.auth.refresh(identity)
        ticket, _ = door.auth.issue_ticket(identity)
        assert (await door.who(later.token)).session_id == identity.session_id
        await door.auth.log_out(identity)
        assert door.ended == [identity.session_id]
        assert not door.auth.is_current(identity)
        for token in (first.token, later.token):
            assert "signed out" in (await refused(door.who(token))).message
        await refused(door.auth.identify(Credential("query", ticket)))
        with pytest.raises(Refusal):
            door.auth.refresh(identity)
        await door.who(other.token)
    async with entrance(place, clock) as door:
        assert "signed out" in (await refused(door.who(later.token))).message
        await door.who(other.token)


@on_the_loop
async def test_an_ended_session_is_forgotten_when_its_tokens_are_over(place: Place) -> None:
    clock = Time()
    async with entrance(place, clock, token_hours=2) as door:
        for _ in range(3):
            await door.auth.log_out(await door.who((await door.log_in()).token if _ else (await door.register()).token))
        stored = EndedSessions(door.backend)
        assert len(await stored.all_after(clock())) == 3
        clock.advance(4 * 3600)
        await door.auth.log_out(await door.who((await door.log_in()).token))
        assert len(await stored.all_after(0)) == 1


@on_the_loop
async def test_more_ended_sessions_than_are_read_at_once_are_all_known_after_a_restart(place: Place) -> None:
    async with entrance(place) as door:
        stored = EndedSessions(door.backend)
        later = door.clock() + HOUR_MS
        sessions = {SessionId(f"u:{number}"): later + number // 4 for number in range(25)}
        await asyncio.gather(*(stored.put(session_id, ends) for session_id, ends in sessions.items()))
        assert await stored.all_after(door.clock(), per_read=10) == sessions
        assert await stored.all_after(later + 3) == {name: ends for name, ends in sessions.items() if ends > later + 3}
        assert await stored.all_after(later + 100) == {}


@on_the_loop
async def test_the_sessions_of_one_user_that_ended_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartlink.auth.sessions.ENDED_SESSIONS_PER_USER", 3)
    async with entrance(place) as door:
        signed_in = await door.register()
        identity = await door.who(signed_in.token)
        for number in range(3):
            await door.auth.log_out(
                msgspec.structs.replace(identity, session_id=SessionId(f"{identity.user.id}:{number}"))
            )
        await door.who(signed_in.token)
        door.ended.clear()
        await door.auth.log_out(identity)
        assert door.ended == [identity.user.id]
        assert "password was changed" in (await refused(door.who(signed_in.token))).message
        await door.who((await door.log_in()).token)


@on_the_loop
async def test_two_users_whose_tokens_share_a_name_have_sessions_of_their_own(place: Place) -> None:
    async with entrance(place) as door:
        tokens = []
        for name in ("ann", "bob"):
            user = (await door.register(name)).user
            door.clock.advance(1)
            tokens.append(jwt.encode(claims_of(user, door.clock() + 1000), SECRET, algorithm="HS256"))
        await door.auth.log_out(await door.who(tokens[0]))
        await refused(door.who(tokens[0]))
        await door.who(tokens[1])


@on_the_loop
async def test_a_new_password_ends_every_token_and_the_new_one_counts_at_once(place: Place) -> None:
    clock = Time()
    async with entrance(place, clock) as door:
        tokens = [(await door.register()).token, (await door.log_in()).token]
        identity = await door.who(tokens[0])
        ticket, _ = door.auth.issue_ticket(identity)
        new = await door.auth.change_password(identity, PASSWORD, "battery staple", HERE)
        assert door.ended == [identity.user.id]
        assert not door.auth.is_current(identity)
        for token in tokens:
            assert "password was changed" in (await refused(door.who(token))).message
        await refused(door.auth.identify(Credential("query", ticket)))
        await door.who(new.token)
        await door.who((await door.log_in("ann", "battery staple")).token)
        assert (await refused(door.log_in())).code == "wrong_credentials"
    async with entrance(place, clock) as door:
        await refused(door.who(tokens[0]))
        await door.who(new.token)


@on_the_loop
async def test_changing_the_password_needs_the_old_one(place: Place) -> None:
    async with entrance(place) as door:
        signed_in = await door.register()
        identity = await door.who(signed_in.token)
        assert (
            await refused(door.auth.change_password(identity, "wrong wrong", "battery staple", HERE))
        ).code == "wrong_credentials"
        short = await refused(door.auth.change_password(identity, PASSWORD, "short", HERE))
        assert short.fields is not None and "new_password" in short.fields
        await door.who(signed_in.token)
        assert door.ended == []


@on_the_loop
async def test_of_two_new_passwords_at_once_one_counts_and_the_other_is_refused(place: Place) -> None:
    async with entrance(place) as door:
        identity = await door.who((await door.register()).token)
        changes = [door.auth.change_password(identity, PASSWORD, f"new password {n}", HERE) for n in range(2)]
        results = await asyncio.gather(*changes, return_exceptions=True)
        (winner,) = (n for n in range(2) if isinstance(results[n], SignedIn))
        assert isinstance(results[1 - winner], Refusal)
        await door.log_in("ann", f"new password {winner}")


@on_the_loop
async def test_a_log_in_with_the_old_password_loses_against_a_new_password(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entrance(place) as door:
        identity = await door.who((await door.register()).token)
        verify = door.auth.passwords.verify
        verified, go_on = asyncio.Event(), asyncio.Event()

        async def slow(password_hash: str | None, password: str) -> bool:
            fits = await verify(password_hash, password)
            verified.set()
            await go_on.wait()
            return fits

        monkeypatch.setattr(door.auth.passwords, "verify", slow)
        late = asyncio.create_task(door.log_in())
        await verified.wait()
        monkeypatch.setattr(door.auth.passwords, "verify", verify)
        await door.auth.change_password(identity, PASSWORD, "battery staple", HERE)
        go_on.set()
        assert (await refused(late)).code == "wrong_credentials"


@on_the_loop
async def test_a_deactivated_user_is_out_at_once_and_stays_out(place: Place) -> None:
    async with entrance(place) as door:
        signed_in = await door.register()
        identity = await door.who(signed_in.token)
        await door.auth.deactivate(identity.user.id)
        assert door.ended == [identity.user.id]
        assert not door.auth.is_current(identity)
        assert (await refused(door.who(signed_in.token))).status == 401
        assert (await refused(door.log_in())).code == "wrong_credentials"


# --- Tickets ---------------------------------------------------------------------------------------


@on_the_loop
async def test_a_ticket_is_looked_at_often_and_used_once(place: Place) -> None:
    async with entrance(place) as door:
        identity = await door.who((await door.register()).token)
        ticket, seconds = door.auth.issue_ticket(identity)
        assert seconds == TICKET_SECONDS
        credential = Credential("query", ticket)
        for _ in range(2):
            assert (await door.auth.identify(credential)).by == "ticket"
        spent = await door.auth.identify(credential, spend=True)
        assert (spent.user, spent.session_id) == (identity.user, identity.session_id)
        for spend in (False, True):
            assert (await refused(door.auth.identify(credential, spend=spend))).code == "invalid_token"


@on_the_loop
async def test_a_ticket_is_for_the_query_only_and_for_half_a_minute(place: Place) -> None:
    async with entrance(place) as door:
        identity = await door.who((await door.register()).token)
        ticket, seconds = door.auth.issue_ticket(identity)
        await refused(door.auth.identify(Credential("bearer", ticket)))
        await refused(door.auth.identify(Credential("cookie", ticket)))
        door.clock.advance(seconds)
        await refused(door.auth.identify(Credential("query", ticket)))


@on_the_loop
async def test_the_tickets_of_one_user_are_bounded_and_come_back(place: Place) -> None:
    async with entrance(place) as door:
        ann = await door.who((await door.register("ann")).token)
        bob = await door.who((await door.register("bob")).token)
        tickets = [door.auth.issue_ticket(ann)[0] for _ in range(TICKETS_PER_USER)]
        with pytest.raises(Refusal) as caught:
            door.auth.issue_ticket(ann)
        assert caught.value.status == 429 and caught.value.retry_after_seconds
        door.auth.issue_ticket(bob)
        await door.auth.identify(Credential("query", tickets[0]), spend=True)
        door.auth.issue_ticket(ann)
        door.clock.advance(TICKET_SECONDS)
        for _ in range(TICKETS_PER_USER):
            door.auth.issue_ticket(ann)


# --- Throttling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ann", "nobody"])
@on_the_loop
async def test_failed_log_ins_wait_ever_longer_alike_for_every_name(place: Place, name: str) -> None:
    async with entrance(place) as door:
        await door.register("ann")
        for _ in range(5):
            assert (await refused(door.log_in(name, "wrong wrong"))).code == "wrong_credentials"
        for wait in (1, 2, 4, 8, 16, 32, 60, 60):
            refusal = await refused(door.log_in(name.upper(), PASSWORD + "!"))
            assert (refusal.code, refusal.status, refusal.retry_after_seconds) == ("rate_limited", 429, wait)
            door.clock.advance(wait)
            assert (await refused(door.log_in(name, "wrong wrong"))).code == "wrong_credentials"
        assert (
            await refused(door.log_in(name, address="192.0.2.2", password="other other"))
        ).code == "wrong_credentials"


@on_the_loop
async def test_success_and_time_forget_failures(place: Place) -> None:
    async with entrance(place) as door:
        await door.register()
        for _ in range(3):
            for _ in range(4):
                await refused(door.log_in("ann", "wrong wrong"))
            await door.log_in()
        for _ in range(5):
            await refused(door.log_in("ann", "wrong wrong"))
        assert (await refused(door.log_in())).code == "rate_limited"
        door.clock.advance(FORGET_AFTER_MS / 1000 + 1)
        for _ in range(5):
            assert (await refused(door.log_in("ann", "wrong wrong"))).code == "wrong_credentials"


@on_the_loop
async def test_guesses_sent_all_at_once_are_counted_too(place: Place) -> None:
    async with entrance(place) as door:
        await door.register()
        guesses = [refused(door.log_in("ann", f"guess number {n}")) for n in range(40)]
        codes = [refusal.code for refusal in await asyncio.gather(*guesses)]
        assert codes.count("wrong_credentials") <= 6
        assert codes.count("rate_limited") >= 34


@on_the_loop
async def test_many_who_log_in_at_once_with_the_right_password_all_come_in(place: Place) -> None:
    async with entrance(place) as door:
        await door.register()
        assert len(await asyncio.gather(*(door.log_in() for _ in range(20)))) == 20


@on_the_loop
async def test_one_address_that_tries_many_names_has_to_wait(place: Place) -> None:
    async with entrance(place) as door:
        await door.register()
        for number in range(49):
            door.auth.throttle.failed(f"name{number}", HERE)
        assert (await refused(door.log_in("name49", "wrong wrong"))).code == "wrong_credentials"
        assert (await refused(door.log_in())).code == "rate_limited"
        await door.log_in(address="192.0.2.2")


@on_the_loop
async def test_registering_has_a_limit_of_its_own_per_address(place: Place) -> None:
    async with entrance(place, registrations_per_minute=3) as door:
        for number in range(3):
            await door.register(f"name{number}")
        refusal = await refused(door.register("name3"))
        assert (refusal.status, refusal.retry_after_seconds) == (429, 20)
        await door.auth.register("name4", PASSWORD, "", "192.0.2.2")
        await refused(door.register("not\na name"))
        door.clock.advance(20)
        await door.register("name3")
    async with entrance(place, registrations_per_minute=0) as door:
        for number in range(5):
            await door.register(f"other{number}")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("nonsense") == "nonsense"


# --- The store behind it ---------------------------------------------------------------------------


@on_the_loop
async def test_people_are_found_by_the_beginning_of_their_folded_name(place: Place) -> None:
    async with entrance(place, registrations_per_minute=0) as door:
        for name in ("ann", "Anna", "annette", "Bob", "an", "ANNZ", "林小明", "🦊"):
            await door.register(name)
        gone = await door.register("annx")
        await door.auth.deactivate(gone.user.id)
        found = [user.username for user in await door.users.search("ann", 20)]
        assert found == ["ann", "Anna", "annette", "ANNZ"]
        assert [user.username for user in await door.users.search("ann", 2)] == ["ann", "Anna"]
        assert [user.username for user in await door.users.search("林", 20)] == ["林小明"]
        assert len(await door.users.search("", 20)) == 8
        assert await door.users.search("zzz", 20) == []
        many = await Users(door.backend).get_many([gone.user.id, UserId("nobody")])
        assert list(many) == [gone.user.id]


@on_the_loop
async def test_changes_of_one_user_at_once_are_all_kept(place: Place) -> None:
    async with entrance(place) as door:
        user_id = (await door.register()).user.id

        def add(tag: str) -> Callable[[User], User]:
            return lambda user: msgspec.structs.replace(user, tags=(*user.tags, tag))

        await asyncio.gather(*(door.users.update(user_id, add(str(n))) for n in range(20)))
        stored = await Users(door.backend).get(user_id)
        assert stored is not None and sorted(stored.tags, key=int) == [str(n) for n in range(20)]
        assert await door.users.update(UserId("nobody"), add("x")) is None


class Forgetful:
    """A real backend that sometimes does not confirm what it was given, and does it later."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.is_failing = False
        self._late: list[Callable[[], Awaitable[object]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def put(self, collection: Collection, document: Document) -> None:
        self._fail_with(lambda: self._backend.put(collection, document))
        await self._backend.put(collection, document)

    async def change(self, collection: Collection, document: Document, where: Mapping[str, KeyValue]) -> bool:
        self._fail_with(lambda: self._backend.change(collection, document, where))
        return await self._backend.change(collection, document, where)

    def _fail_with(self, later: Callable[[], Awaitable[object]]) -> None:
        if self.is_failing:
            self._late.append(later)
            raise StoreUnavailable

    async def deliver(self) -> None:
        for write in self._late:
            await write()
        self._late.clear()


def with_bio(bio: str) -> Callable[[User], User]:
    return lambda user: msgspec.structs.replace(user, bio=bio)


@on_the_loop
async def test_a_change_of_unknown_outcome_is_never_cached_over(place: Place) -> None:
    async with entrance(place) as door:
        user_id = (await door.register()).user.id
        backend = Forgetful(door.backend)
        users = Users(backend)
        backend.is_failing = True
        with pytest.raises(StoreUnavailable):
            await users.update(user_id, with_bio("new"))
        before = await users.get(user_id)
        assert before is not None and before.bio == ""
        assert users.cached(user_id) is None
        await backend.deliver()
        after = await users.get(user_id)
        assert after is not None and after.bio == "new"
        assert users.cached(user_id) == after


@on_the_loop
async def test_a_change_that_arrives_late_never_undoes_a_later_one(place: Place) -> None:
    async with entrance(place) as door:
        user_id = (await door.register()).user.id
        backend = Forgetful(door.backend)
        users = Users(backend)
        backend.is_failing = True
        with pytest.raises(StoreUnavailable):
            await users.update(user_id, with_bio("late"))
        backend.is_failing = False
        assert await users.update(user_id, with_bio("later")) is not None
        await backend.deliver()
        stored = await Users(door.backend).get(user_id)
        assert stored is not None and stored.bio == "later"
        assert users.cached(user_id) == stored


@on_the_loop
async def test_a_change_builds_on_one_that_has_arrived_late(place: Place) -> None:
    async with entrance(place) as door:
        user_id = (await door.register()).user.id
        backend = Forgetful(door.backend)
        users = Users(backend)

        before = await users.get(user_id)
        assert before is not None
        backend.is_failing = True
        with pytest.raises(StoreUnavailable):
            await users.update(user_id, with_bio("late"))
        backend.is_failing = False
        # A read that began before the change arrived, and ended after it.
        users._cache[user_id] = before
        await backend.deliver()
        after = await users.update(user_id, lambda user: msgspec.structs.replace(user, tags=("x",)))
        assert after is not None and (after.bio, after.tags) == ("late", ("x",))


@on_the_loop
async def test_logging_out_acts_at_once_and_is_stored_when_the_store_is_back(place: Place) -> None:
    clock = Time()
    async with entrance(place, clock) as door:
        backend = Forgetful(door.backend)
        auth = Auth(Settings(data_dir=place.data_dir, secret=SECRET), door.users, EndedSessions(backend), clock)
        await auth.open()
        token = (await door.register()).token
        backend.is_failing = True
        with pytest.raises(StoreUnavailable):
            await auth.log_out(await auth.identify(Credential("bearer", token)))
        await refused(auth.identify(Credential("bearer", token)))
        await auth.close()
        backend.is_failing = False
        await auth.close()
    async with entrance(place, clock) as door:
        assert "signed out" in (await refused(door.who(token))).message


@on_the_loop
async def test_the_store_itself_holds_a_name_only_once(place: Place) -> None:
    async with entrance(place) as door:
        user = (await door.register()).user
        with pytest.raises(DuplicateKey):
            await door.users.add(msgspec.structs.replace(user, id=UserId("other")))


# --- The key ---------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    key = load_key("", folder)
    path = folder / KEY_FILE
    assert len(key) >= 32 and path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key("", folder) == key
    assert [entry.name for entry in folder.iterdir()] == [KEY_FILE]
    assert load_key("", tmp_path / "other") != key


def test_a_key_file_open_to_others_is_closed(tmp_path: Path) -> None:
    key = load_key("", tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    assert load_key("", tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_a_key_written_by_hand_counts_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("k" * 32 + "\n")
    assert load_key("", tmp_path) == b"k" * 32


def test_a_key_from_the_settings_leaves_no_file(tmp_path: Path) -> None:
    assert load_key(SECRET, tmp_path) == SECRET.encode()
    assert list(tmp_path.iterdir()) == []


def damage_with(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_with(b""), "has 0 bytes"),
        (damage_with(b"k" * 31), "has 31 bytes"),
        (damage_with(b"k" * 40 + b"\0" * 8), "is damaged"),
        (damage_with(os.urandom(31) + b"\xff"), "is damaged"),
        (damage_with(b"k" * 20 + b"\n" + b"k" * 20), "is damaged"),
        (damage_with(b"k" * 5000), "is damaged"),
        (lambda path: path.mkdir(), "cannot be used"),
        (lambda path: path.symlink_to("/etc/hostname"), "cannot be used"),
        (lambda path: os.mkfifo(path), "no regular file"),
    ],
)
def test_a_bad_key_file_stops_the_start_with_one_line(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(tmp_path / KEY_FILE)
    with pytest.raises(StartupFailure) as caught:
        load_key("", tmp_path)
    assert said in caught.value.line and KEY_FILE in caught.value.line
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_data_folder_that_is_a_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupFailure):
        load_key("", tmp_path / "file")


@on_the_loop
async def test_a_secret_too_short_or_of_another_kind_stops_the_start(place: Place) -> None:
    for secret, said in (
        ("short", "has 5 bytes"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot sign tokens"),
    ):
        with pytest.raises(StartupFailure) as caught:
            async with entrance(place, secret=secret):
                pass
        assert said in caught.value.line
        assert secret not in str(caught.value)


@on_the_loop
async def test_tokens_live_as_long_as_the_key_in_the_data_folder(place: Place) -> None:
    async with entrance(place, secret="") as door:
        token = (await door.register()).token
    async with entrance(place, secret="") as door:
        await door.who(token)
    (place.data_dir / KEY_FILE).unlink()
    async with entrance(place, secret="") as door:
        assert "signature" in (await refused(door.who(token))).message


# --- The door --------------------------------------------------------------------------------------

OFFER = "Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("headers", "query", "cookie", "expected"),
    [
        ({}, None, None, None),
        ({"Authorization": "Bearer a"}, "c", "d", ("bearer", "a")),
        ({"Authorization": "bearer  a ", OFFER: "bearer.b"}, "c", "d", ("bearer", "a")),
        ({"Authorization": "Bearer"}, "c", "d", ("bearer", "")),
        ({OFFER: "heartlink.v1, bearer.b"}, "c", "d", ("subprotocol", "b")),
        ({OFFER: "bearer."}, "c", "d", ("subprotocol", "")),
        ({OFFER: "heartlink.v1"}, "c", "d", ("query", "c")),
        ({}, "", "d", ("query", "")),
        ({}, None, "d", ("cookie", "d")),
        ({}, None, "", ("cookie", "")),
    ],
)
def test_credentials_are_tried_in_their_order(
    headers: dict[str, str], query: str | None, cookie: str | None, expected: tuple[str, str] | None
) -> None:
    found = find_credential(headers, query_token=query, cookie=cookie)
    assert (found and (found.by, found.value)) == expected
    assert found is None or repr(found) == f"Credential(by={found.by!r})"


@pytest.mark.parametrize("value", ["Basic YTpi", "Token x", "x", ""])
def test_another_kind_of_authorization_is_refused_not_passed_over(value: str) -> None:
    with pytest.raises(Refusal) as caught:
        find_credential({"Authorization": value}, query_token="c", cookie="d")
    assert (caught.value.code, caught.value.status) == ("invalid_token", 401)
    assert "YTpi" not in caught.value.message


def doorkeeper(**changes: Any) -> Doorkeeper:
    return Doorkeeper(Settings(**changes))


@pytest.mark.parametrize(
    ("origin", "host", "is_https", "is_allowed"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", False, True),
        ("http://LOCALHOST:8000", "localhost:8000", False, True),
        ("http://[::1]:8000", "[::1]:8000", False, True),
        ("http://chat.example.org", "chat.example.org", False, True),
        ("http://chat.example.org", "chat.example.org:80", False, True),
        ("https://chat.example.org", "chat.example.org", True, True),
        ("https://chat.example.org", "chat.example.org:443", True, True),
        ("https://chat.example.org", "chat.example.org", False, True),
        ("https://friend.example.org", "chat.example.org", False, True),
        ("http://chat.example.org", "chat.example.org", True, False),
        ("http://friend.example.org", "chat.example.org", False, False),
        ("http://localhost:8001", "localhost:8000", False, False),
        ("http://127.0.0.1:8000", "localhost:8000", False, False),
        ("http://evil.example", "chat.example.org", False, False),
        ("http://chat.example.org.evil.example", "chat.example.org", False, False),
        ("http://chat.example.org@evil.example", "chat.example.org", False, False),
        ("http://evil.example@chat.example.org", "chat.example.org", False, False),
        ("http://chat.example.org/path", "chat.example.org", False, False),
        ("null", "chat.example.org", False, False),
        ("file://", "chat.example.org", False, False),
        ("", "chat.example.org", False, False),
        ("http://[", "chat.example.org", False, False),
        ("http://chat.example.org:99999", "chat.example.org", False, False),
    ],
)
def test_a_page_must_be_from_here_or_from_a_friend(origin: str, host: str, is_https: bool, is_allowed: bool) -> None:
    door = doorkeeper(allowed_origins=("https://friend.example.org",))
    if is_allowed:
        door.check_origin(origin, host, is_https=is_https)
        return
    with pytest.raises(Refusal) as caught:
        door.check_origin(origin, host, is_https=is_https)
    assert (caught.value.code, caught.value.status) == ("origin_not_allowed", 403)
    assert f"'{origin}'" in caught.value.message and f"'{host}'" in caught.value.message


def test_a_cookie_without_an_origin_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        doorkeeper().check_origin(None, "localhost", is_https=False)
    assert (caught.value.code, caught.value.status) == ("origin_missing", 403)


LOOPBACK = {"host": "127.0.0.1"}
PUBLIC = {"host": "0.0.0.0"}
LISTED = {"host": "0.0.0.0", "allowed_hosts": ("chat.example.org",)}


@pytest.mark.parametrize(
    ("settings", "host", "is_allowed"),
    [
        (LOOPBACK, "localhost:8000", True),
        (LOOPBACK, "LocalHost", True),
        (LOOPBACK, "127.0.0.1:8000", True),
        (LOOPBACK, "[::1]:8000", True),
        (LOOPBACK, "heart.localhost", True),
        (LOOPBACK, "evil.example:8000", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "chat.example.org", False),
        (LOOPBACK | {"allowed_hosts": ("chat.example.org",)}, "chat.example.org:8000", True),
        (PUBLIC, "anything.example", True),
        (LISTED, "Chat.Example.org.:8000", True),
        (LISTED, "localhost", True),
        (LISTED, "192.0.2.7:8000", True),
        (LISTED, "other.example.org", False),
    ],
)
def test_a_host_is_answered_to_or_not(settings: dict[str, Any], host: str, is_allowed: bool) -> None:
    door = doorkeeper(**settings)
    if is_allowed:
        door.check_host(host)
        return
    with pytest.raises(Refusal) as caught:
        door.check_host(host)
    assert (caught.value.code, caught.value.status) == ("host_not_allowed", 403)
    assert host in caught.value.message
