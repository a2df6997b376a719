"""Tokens (JWT, HS256) and one-use tickets. Pure but for the clock and the random numbers passed in."""

from __future__ import annotations

import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
import msgspec

from heartlink.auth.door import bad_token
from heartlink.errors import busy, rate_limited
from heartlink.model import Identity, SessionId, UserId

ALGORITHM = "HS256"
AUDIENCE = "heartlink"
ISSUER = "heartlink"
REQUIRED_CLAIMS = ("exp", "iat", "aud", "iss", "sub", "jti")
TOKEN_CHARS = 4096
REMEMBERED_TOKENS = 2_000
ID_BYTES = 128
CLOCK_SKEW_MS = 60_000
LAST_MS = 253_402_300_799_000
TICKET_SECONDS = 30
TICKETS = 20_000
TICKETS_PER_USER = 100

Clock = Callable[[], int]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid token says; times in epoch milliseconds."""

    user_id: UserId
    session_id: SessionId
    issued_at_ms: int
    not_before_ms: int
    expires_at_ms: int


class Tokens:
    """Signs and reads tokens with one key; the algorithm is fixed."""

    def __init__(self, key: bytes, lifetime_ms: int, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        # A signature that fits will always fit; only the times have to be looked at again.
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self.lifetime_ms = lifetime_ms

    def mint(self, user_id: UserId, session_name: str, not_before_ms: int) -> tuple[str, int]:
        """A new token of a session and its expiry; never older than ``not_before_ms``."""
        now = max(self._clock(), not_before_ms)
        # Whole seconds: there are readers of tokens that take nothing else for an expiry.
        expires_at_ms = -(-(now + self.lifetime_ms) // 1000) * 1000
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "iat": now / 1000,
            "exp": expires_at_ms // 1000,
            "jti": secrets.token_urlsafe(16),
            "sid": session_name,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM), expires_at_ms

    def read(self, token: str) -> Claims:
        """The claims of a token; raises the Refusal ``invalid_token`` with the reason."""
        if not token:
            raise bad_token("it is empty")
        if len(token) > TOKEN_CHARS:
            raise bad_token(f"it is longer than {TOKEN_CHARS} characters")
        claims = self._verified.get(token)
        if claims is None:
            claims = _claims(self._decode(token))
            self._verified[token] = claims
            if len(self._verified) > REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        now = self._clock()
        if claims.expires_at_ms <= now:
            raise bad_token("it has expired")
        if claims.issued_at_ms > now + CLOCK_SKEW_MS:
            raise bad_token("it was issued in the future")
        if claims.not_before_ms > now + CLOCK_SKEW_MS:
            raise bad_token("it is not valid yet")
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        # Times are compared with the clock of the house, so PyJWT is told to leave them alone.
        options = {"require": list(REQUIRED_CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options=options,  # type: ignore[arg-type]
            )
        except jwt.MissingRequiredClaimError as error:
            raise bad_token(f"it has no claim '{error.claim}'") from None
        except jwt.InvalidAudienceError:
            raise bad_token(f"it is not for '{AUDIENCE}' (claim 'aud')") from None
        except jwt.InvalidIssuerError:
            raise bad_token(f"it is not from '{ISSUER}' (claim 'iss')") from None
        except jwt.InvalidAlgorithmError:
            raise bad_token(f"it is not signed with {ALGORITHM}") from None
        except jwt.InvalidSignatureError:
            raise bad_token("its signature does not fit") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise bad_token("it is not a JSON web token") from None
        return claims


def session_id_of(user_id: UserId, session_name: str) -> SessionId:
    """The session's id: two users may have been given tokens of the same name by somebody else."""
    return SessionId(f"{user_id}:{session_name}")


class Tickets:
    """One-use tickets for ``?token=``, good for a short time and bounded in number."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tickets: OrderedDict[str, tuple[Identity, int]] = OrderedDict()
        self._by_user: Counter[UserId] = Counter()

    def issue(self, identity: Identity) -> tuple[str, int]:
        """A new ticket for an identity and its lifetime in seconds."""
        self._drop_expired()
        if self._by_user[identity.user.id] >= TICKETS_PER_USER:
            raise rate_limited(float(TICKET_SECONDS))
        if len(self._tickets) >= TICKETS:
            raise busy("tickets")
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = (identity, self._clock() + TICKET_SECONDS * 1000)
        self._by_user[identity.user.id] += 1
        return ticket, TICKET_SECONDS

    def peek(self, ticket: str) -> Identity | None:
        """Whose ticket it is, if it is still good."""
        self._drop_expired()
        found = self._tickets.get(ticket)
        return found[0] if found else None

    def spend(self, ticket: str) -> Identity | None:
        """Whose ticket it is, if it is still good; from now on it is not."""
        identity = self.peek(ticket)
        if identity is not None:
            self._drop(ticket)
        return identity

    def _drop_expired(self) -> None:
        # All live equally long, so the oldest stands first.
        now = self._clock()
        while self._tickets:
            ticket, (_, expires_ms) = next(iter(self._tickets.items()))
            if expires_ms > now:
                return
            self._drop(ticket)

    def _drop(self, ticket: str) -> None:
        identity, _ = self._tickets.pop(ticket)
        self._by_user[identity.user.id] -= 1
        if not self._by_user[identity.user.id]:
            del self._by_user[identity.user.id]


def _claims(found: dict[str, Any]) -> Claims:
    user_id = UserId(_text(found, "sub"))
    named_by_jti = _text(found, "jti")
    return Claims(
        user_id=user_id,
        session_id=session_id_of(user_id, _text(found, "sid") if "sid" in found else named_by_jti),
        issued_at_ms=_milliseconds(found, "iat"),
        not_before_ms=_milliseconds(found, "nbf") if "nbf" in found else 0,
        expires_at_ms=_milliseconds(found, "exp"),
    )


def _milliseconds(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise bad_token(f"its claim '{name}' is no time in seconds")
    return min(round(value * 1000), LAST_MS)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    is_short = isinstance(value, str) and 0 < len(value.encode("utf-8", "surrogatepass")) <= ID_BYTES
    if not is_short or not value.isprintable():
        raise bad_token(f"its claim '{name}' is no short text")
    return str(value)
