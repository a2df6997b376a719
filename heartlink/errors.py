"""Every way HeartLink says no: Refusals answer and the peer stays, Farewells end a connection.

A *Refusal* is raised wherever a use case cannot go on; the boundary (dispatch for sockets, the base
handler for HTTP) turns it into an ``error`` frame or an HTTP answer (PROTOCOL 2.2, 2.4, 5).
A *Farewell* is a WebSocket close code with its reason text (PROTOCOL 2.3).
A *StoreFault* is what the database did to us; the use case that met it turns it into a Refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Refusal(Exception):
    """A request that was understood and not done: code, sentence, fix (PROTOCOL 2.2, 2.4).

    ``status`` is the HTTP status of the same refusal; ``retry_after_seconds`` says when to try again, where that helps.
    """

    code: str
    status: int
    message: str
    fix: str
    retry_after_seconds: float | None = None
    fields: dict[str, str] | None = None
    decision_id: str | None = None
    allow: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Farewell:
    """A close code and its reason; 4000–4399 invites the peer back, 4400–4499 does not (PROTOCOL 2.3)."""

    close_code: int
    reason: str


# --- Farewells -------------------------------------------------------------------------------------

NORMAL = Farewell(1000, "normal")
GOING_AWAY = Farewell(1001, "going away")
PROTOCOL_ERROR = Farewell(1002, "protocol_error")
INVALID_UTF8 = Farewell(1007, "invalid_utf8")
MESSAGE_TOO_BIG = Farewell(1009, "message_too_big")
SERVICE_RESTART = Farewell(1012, "service_restart")
TOO_SLOW = Farewell(4000, "too_slow")
CHECK_IS_OVER = Farewell(1000, "check_is_over")
HEARTBEAT_TIMEOUT = Farewell(4001, "heartbeat_timeout")
INTERNAL_FAREWELL = Farewell(4002, "internal_error")
SIGNED_OUT = Farewell(4401, "unauthenticated")
REVOKED = Farewell(4403, "forbidden")
ROOM_NOT_FOUND = Farewell(4404, "not_found")
ROOM_ENDED_FAREWELL = Farewell(4410, "ended")
TOO_MANY = Farewell(4429, "too_many")


# --- Refusals: what a peer sent --------------------------------------------------------------------


def invalid_json(detail: str) -> Refusal:
    return Refusal("invalid_json", 400, f"That is not JSON: {detail}.", "Send one JSON object in UTF-8.")


def invalid_parameters(message: str, fix: str, fields: dict[str, str] | None = None) -> Refusal:
    return Refusal("invalid_parameters", 400, message, fix, fields=fields)


def unfit(field: str, reason: str, fix: str | None = None) -> Refusal:
    """``invalid_parameters`` for one field: what is wrong with it, and what to do."""
    return invalid_parameters(
        f"The field '{field}' does not fit: {reason}.", fix or f"Mend '{field}'.", {field: reason}
    )


def missing_parameters(name: str, where: str) -> Refusal:
    return Refusal(
        "missing_parameters",
        400,
        f"The field '{name}' is missing in {where}.",
        f"Add '{name}'.",
        fields={name: "missing"},
    )


def unsupported_data() -> Refusal:
    return Refusal("unsupported_data", 400, "Binary frames are not spoken here.", "Send JSON as a text frame.")


def unknown_message_type(name: str, nearest: str | None) -> Refusal:
    fix = f"Did you mean '{nearest}'?" if nearest else "See the list of frames in docs/protocol.md."
    return Refusal("unknown_message_type", 400, f"There is no frame type '{name[:64]}' on this socket.", fix)


def too_large(what: str, limit: str) -> Refusal:
    return Refusal("too_large", 413, f"{what} is too large.", f"Stay within {limit}.")


def rate_limited(retry_after_seconds: float) -> Refusal:
    return Refusal(
        "rate_limited",
        429,
        "That was too many requests in a short time.",
        "Wait for the given number of seconds, then go on.",
        retry_after_seconds=retry_after_seconds,
    )


def too_many_searches(limit: int) -> Refusal:
    return Refusal(
        "rate_limited",
        429,
        f"{limit} of your searches are still running.",
        "Wait until one of them has answered.",
        retry_after_seconds=0.5,
    )


# --- Refusals: who asks ----------------------------------------------------------------------------


def unauthenticated(message: str = "Nobody is signed in.", fix: str = "Sign in, then try again.") -> Refusal:
    return Refusal("unauthenticated", 401, message, fix)


def invalid_token(message: str) -> Refusal:
    return Refusal("invalid_token", 401, message, "Sign in again to get a new token.")


def wrong_credentials() -> Refusal:
    return Refusal(
        "wrong_credentials",
        401,
        "User name or password is wrong.",
        "Check both; passwords are case-sensitive.",
    )


def forbidden(permission: str, scope: str, decision_id: str | None = None) -> Refusal:
    return Refusal(
        "forbidden",
        403,
        f"You do not hold '{permission}'" + (" in this room." if scope != "*" else "."),
        "Ask an administrator for it." if scope == "*" else "Ask an owner or admin of the room for it.",
        decision_id=decision_id,
    )


def not_a_member(room_id: str) -> Refusal:
    return Refusal(
        "not_a_member",
        403,
        f"You are not a member of the room '{room_id}'.",
        "Ask a member for an invite link, or join it if it is public.",
    )


def foreign_origin(origin: str, host: str) -> Refusal:
    return Refusal(
        "origin_not_allowed",
        403,
        f"The page's Origin is '{origin}', but this server was asked for as Host '{host}'.",
        "Open the page from this host, add the origin with --allowed-origins, or send a token instead of the cookie.",
    )


def missing_origin(host: str) -> Refusal:
    return Refusal(
        "origin_missing",
        403,
        f"A socket opened with the session cookie must send an Origin; none was seen (Host '{host}').",
        "Connect from a page of this host, or send a bearer token instead of the cookie.",
    )


def unknown_host(host: str) -> Refusal:
    return Refusal(
        "host_not_allowed",
        403,
        f"This server does not answer to the Host '{host}'.",
        "Use its own name, or add this one with --allowed-hosts.",
    )


def bad_xsrf_token() -> Refusal:
    return Refusal(
        "xsrf_failed",
        403,
        "The session cookie came without a matching X-CSRFToken header.",
        "Send the value of the cookie 'csrftoken' in the header X-CSRFToken.",
    )


# --- Refusals: what is asked for -------------------------------------------------------------------


def not_found(what: str, fix: str = "Check the address.") -> Refusal:
    return Refusal("not_found", 404, f"{what} does not exist.", fix)


def unknown_socket_route(path: str, routes: tuple[str, ...]) -> Refusal:
    return Refusal(
        "not_found",
        404,
        f"There is no socket at '{path[:200]}'.",
        "Use one of the socket routes listed here.",
        routes=routes,
    )


def unknown_socket_version(seen: str) -> Refusal:
    return Refusal(
        "unknown_version",
        426,
        f"Version '{seen[:20]}' of the WebSocket protocol is not spoken here.",
        "Send 'Sec-WebSocket-Version: 13' (RFC 6455).",
    )


def upgrade_headers_lost(upgrade: str, connection: str) -> Refusal:
    return Refusal(
        "upgrade_headers_lost",
        426,
        "The handshake of a WebSocket came without its headers "
        f"(Upgrade '{upgrade[:40]}', Connection '{connection[:40]}' were seen).",
        "Have the proxy in between speak HTTP/1.1 and hand on 'Upgrade: websocket' and 'Connection: Upgrade'.",
    )


def no_socket_here(path: str) -> Refusal:
    return Refusal(
        "not_a_socket",
        404,
        f"There is no socket at '{path[:200]}'.",
        "Socket routes begin with /ws/; /api/routes lists them.",
    )


def method_not_allowed(method: str, allow: tuple[str, ...]) -> Refusal:
    return Refusal(
        "method_not_allowed",
        405,
        f"{method} is not possible here.",
        f"Use one of {', '.join(allow)}.",
        allow=allow,
    )


def unsupported_media_type(seen: str) -> Refusal:
    return Refusal(
        "unsupported_media_type",
        415,
        f"The body was sent as '{seen[:80]}'.",
        "Send JSON with 'Content-Type: application/json'.",
    )


def conflict(message: str, fix: str, fields: dict[str, str] | None = None) -> Refusal:
    return Refusal("conflict", 409, message, fix, fields=fields)


def version_not_reached(wanted: int, version: int) -> Refusal:
    return Refusal(
        "conflict",
        409,
        f"Version {wanted} of the policy is asked for, and {version} is the latest.",
        "Ask again in a moment, or without 'min_version'.",
        retry_after_seconds=0.5,
        fields={"min_version": f"the latest is {version}"},
    )


def room_ended(room_id: str) -> Refusal:
    return Refusal(
        "ended",
        410,
        f"The room '{room_id}' was ended.",
        "Its history stays readable to its members; open or join another room to talk.",
    )


# --- Refusals: what we cannot do now ---------------------------------------------------------------


def not_saved() -> Refusal:
    return Refusal(
        "not_saved",
        503,
        "The storage did not take this; it is not stored as far as we know.",
        "Send it again with the same client_id: it will not appear twice.",
        retry_after_seconds=1.0,
    )


def change_not_saved() -> Refusal:
    return Refusal(
        "not_saved",
        503,
        "The storage did not confirm this change; it does not count as far as we know.",
        "Look at what is so in a moment, then make the change again if it is missing.",
        retry_after_seconds=1.0,
    )


def store_unavailable() -> Refusal:
    return Refusal(
        "store_unavailable",
        503,
        "The storage cannot be reached at the moment.",
        "Try again in a moment; the server goes on by itself when the storage is back.",
        retry_after_seconds=1.0,
    )


def busy(what: str) -> Refusal:
    return Refusal("busy", 503, f"Too many {what} are waiting.", "Try again in a moment.", retry_after_seconds=1.0)


def doctor_is_busy() -> Refusal:
    return Refusal(
        "busy",
        503,
        "Too many people are checking their connection at once.",
        "Try again in a minute.",
        retry_after_seconds=10.0,
    )


def disk_is_full() -> Refusal:
    return Refusal(
        "disk_full",
        507,
        "The server has no space left for files; messages without one go on.",
        "Try again later, and tell the operator.",
        retry_after_seconds=60.0,
    )


def draining() -> Refusal:
    return Refusal(
        "draining", 503, "The server is shutting down.", "Connect again in a moment.", retry_after_seconds=2.0
    )


def internal_error(request_id: str = "") -> Refusal:
    fix = f"Try again; if it stays, quote '{request_id}' to the operator." if request_id else "Try again."
    return Refusal("internal_error", 500, "Something went wrong on our side.", fix)


# --- What the store does to us ---------------------------------------------------------------------


class StoreFault(Exception):
    """Base of what a backend raises while running."""


class DuplicateKey(StoreFault):
    """An insert or append met an id or unique key that exists; see the backend's contract for what is stored."""


class StoreUnavailable(StoreFault):
    """The database did not confirm: whether anything was stored is unknown."""


class BlobMissing(StoreFault):
    """There is no blob under this id, or it was removed while it was being read."""


@dataclass
class StartupFailure(Exception):
    """A reason not to start: one line for the operator, exit code 2 (PROTOCOL 7)."""

    line: str
    hint: str = field(default="")

    def __str__(self) -> str:
        return f"{self.line} {self.hint}".rstrip()
