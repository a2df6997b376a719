"""Every verdict of the doctor: its code, what class it is of (the exit code), one sentence, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Kind(Enum):
    """The class of a verdict: exit code and what it means (docs/doctor.md)."""

    HEALTHY = (0, "healthy: pages and sockets work from here")
    USAGE = (2, "the command was not understood")
    NAME = (10, "the name of the host cannot be resolved")
    NOTHING = (11, "nothing answers: refused, filtered, no route")
    STRANGER = (12, "something other than HeartLink answers")
    TLS = (13, "TLS: the certificate, or TLS and plain HTTP mixed up")
    PROXY = (14, "something between here and HeartLink spoils it; the lines that mend it are printed")
    REFUSED = (15, "HeartLink itself refuses, and says why")
    SERVER = (16, "HeartLink answers, but not as it should")
    TIME = (17, "no verdict within the time there was")

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """What the exit code says."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that can be so; braces in ``sentence`` and ``fix`` are filled in with what was seen.

    ``mends`` names the lines of a proxy's configuration that mend it, empty where none do.
    """

    code: str
    kind: Kind
    sentence: str
    fix: str
    mends: str = ""


class Found(Exception):
    """Ends an examination with a verdict and what was seen."""

    def __init__(self, code: str, **seen: object) -> None:
        super().__init__(code)
        self.verdict = VERDICTS[code]
        self.seen = seen

    @property
    def sentence(self) -> str:
        """The verdict's sentence about what was seen."""
        return self.verdict.sentence.format_map(self.seen)

    @property
    def fix(self) -> str:
        """What to do about it."""
        return self.verdict.fix.format_map(self.seen)


def refused(status: int, **seen: object) -> Found:
    """HeartLink's own refusal: ``reason`` is its code, ``message`` and ``remedy`` are its words."""
    code = f"refused_{status}"
    return Found(code if code in VERDICTS else "refused_other", status=status, **seen)


_RIGHTS = "{remedy}"

_ALL: Final = (
    Verdict("healthy", Kind.HEALTHY, "HeartLink at {origin} is healthy: {summary}.", ""),
    # The name and the way
    Verdict(
        "name_unknown",
        Kind.NAME,
        "The name '{host}' does not exist as far as this machine knows.",
        "Look for a typing error, set the name up in DNS (A and AAAA), or give the server's address.",
    ),
    Verdict(
        "name_unanswered",
        Kind.NAME,
        "The name '{host}' could not be looked up in time: no name server answers.",
        "Look at the network and at /etc/resolv.conf, or give the server's address.",
    ),
    Verdict(
        "nothing_listens",
        Kind.NOTHING,
        "Nothing listens on port {port} of {host}: the connection was refused ({addresses}).",
        "Start HeartLink with --port={port}, or give the port that it says it listens on; "
        "from another machine it is reached only with --host=0.0.0.0 or through a proxy.{holder}",
    ),
    Verdict(
        "filtered",
        Kind.NOTHING,
        "Port {port} of {host} does not answer at all ({addresses}): a firewall, or nobody is there.",
        "Let TCP port {port} in at the firewall (and in the cloud's security group), or correct the address.",
    ),
    Verdict(
        "unreachable",
        Kind.NOTHING,
        "There is no way from here to {host}: {reason} ({addresses}).",
        "Look at the network of this machine and at the address.",
    ),
    # Somebody else
    Verdict(
        "another_web_server",
        Kind.STRANGER,
        "{server} answers at {origin}, not HeartLink: {evidence}.",
        "Give HeartLink's own port, or let this server forward to HeartLink with the lines below.{holder}",
        mends="all",
    ),
    Verdict(
        "another_program",
        Kind.STRANGER,
        "Not HeartLink, but {who} listens on port {port} of {host}.",
        "Give the port that HeartLink says it listens on, or stop that program.{holder}",
    ),
    Verdict(
        "silent",
        Kind.STRANGER,
        "Something takes connections on port {port} of {host} and says nothing.",
        "It is another program, or a process that hangs: see which one holds the port.{holder}",
    ),
    Verdict(
        "hangs_up",
        Kind.STRANGER,
        "Something takes connections on port {port} of {host} and hangs up without a word.",
        "It is another program, or a forwarder whose other end is gone: see which one holds the port.{holder}",
    ),
    Verdict(
        "another_on_ipv6",
        Kind.STRANGER,
        "'{host}' is two addresses: HeartLink answers on {own} but {who} answers on {other}, "
        "so a browser that tries IPv6 first never reaches HeartLink.",
        "Stop that program or move HeartLink to another port; until then use {direct}.{holder}",
    ),
    Verdict(
        "another_on_ipv4",
        Kind.STRANGER,
        "'{host}' is two addresses: HeartLink answers on {own} but {who} answers on {other}, "
        "so whoever comes by IPv4 never reaches HeartLink.",
        "Stop that program or move HeartLink to another port; until then use {direct}.{holder}",
    ),
    # TLS
    Verdict(
        "tls_expired",
        Kind.TLS,
        "The certificate of {host} has expired{when}.",
        "Renew it (certbot renew, or let Caddy do it), reload the server, and look why that did not happen by itself.",
    ),
    Verdict(
        "tls_not_yet_valid",
        Kind.TLS,
        "The certificate of {host} is not valid yet{when}.",
        "Set the clocks of both machines right, or wait until the certificate begins.",
    ),
    Verdict(
        "tls_self_signed",
        Kind.TLS,
        "The certificate of {host} is self-signed: no browser trusts it.",
        "Get one from an authority (Let's Encrypt is free), or trust this one on every machine that is to connect.",
    ),
    Verdict(
        "tls_unknown_issuer",
        Kind.TLS,
        "The certificate of {host} was issued by an authority that this machine does not know.",
        "Configure the whole chain (fullchain.pem, not cert.pem), or make the issuer's certificate known here.",
    ),
    Verdict(
        "tls_wrong_name",
        Kind.TLS,
        "The certificate is not for '{host}'{names}.",
        "Use a name that stands in the certificate, or get one that has '{host}' in it.",
    ),
    Verdict(
        "tls_failed",
        Kind.TLS,
        "TLS with {host} fails: {reason}.",
        "Look at the server's TLS configuration and log; TLS 1.2 or newer is needed.",
    ),
    Verdict(
        "plain_on_tls_port",
        Kind.TLS,
        "Port {port} of {host} speaks plain HTTP, but {scheme} was asked for.",
        "Use {direct}, or set TLS up on that port.",
    ),
    Verdict(
        "tls_on_plain_port",
        Kind.TLS,
        "Port {port} of {host} speaks TLS, but {scheme} was asked for.",
        "Use {direct}.",
    ),
    # In between
    Verdict(
        "moved",
        Kind.PROXY,
        "{origin} only sends on to {location}, and no socket follows a redirection.",
        "Open pages and sockets at {location}.",
    ),
    Verdict(
        "gateway_down",
        Kind.PROXY,
        "{server} answers {status}: it is there, but does not reach HeartLink behind it.",
        "Start HeartLink, and let the proxy forward to the address and port that it says it listens on.",
        mends="address",
    ),
    Verdict(
        "answer_missing",
        Kind.PROXY,
        "A web server is on port {port} of {host}, but an answer for {path} does not come: "
        "it waits for what is behind it, or hangs.",
        "See whether HeartLink runs and is reached from there; let the proxy forward to the address that it names.",
        mends="address",
    ),
    Verdict(
        "wrong_path",
        Kind.PROXY,
        "HeartLink is behind the wrong path: {evidence}.",
        "Forward the whole host from '/' and change nothing about the path; give HeartLink a (sub)domain of its own.",
        mends="path",
    ),
    Verdict(
        "sockets_not_forwarded",
        Kind.PROXY,
        "The pages of {origin} reach HeartLink, but its socket addresses do not: "
        "{server} answers {path} itself with {status}.",
        "Forward /ws/ to HeartLink as well: the same port serves both.",
        mends="path",
    ),
    Verdict(
        "pages_not_forwarded",
        Kind.PROXY,
        "The socket addresses of {origin} reach HeartLink, but its pages do not: "
        "{server} answers /api/routes itself with {status}.",
        "Forward everything from '/' to HeartLink: pages and sockets belong to one origin.",
        mends="path",
    ),
    Verdict(
        "cannot_upgrade",
        Kind.PROXY,
        "{server} cannot upgrade to a WebSocket: it answers {status} where 101 is wanted ({path}).",
        "{advice}",
        mends="upgrade",
    ),
    Verdict(
        "upgrade_dropped",
        Kind.PROXY,
        "The header 'Upgrade' gets lost on the way{through}: HeartLink sees a plain request at {path}.",
        "Let the proxy pass the upgrade on, with HTTP/1.1.",
        mends="upgrade",
    ),
    Verdict(
        "connection_dropped",
        Kind.PROXY,
        "The header 'Connection: Upgrade' gets lost on the way{through}: "
        "HeartLink sees '{arrived}', so {path} is a plain request.",
        "Let the proxy set 'Connection: upgrade' where it passes 'Upgrade' on.",
        mends="upgrade",
    ),
    Verdict(
        "upgrade_unanswered",
        Kind.PROXY,
        "The upgrade at {path} is not answered: {what}, while plain requests are.",
        "Something on the way{through} does not know WebSockets: let it pass them on.",
        mends="upgrade",
    ),
    Verdict(
        "accept_wrong",
        Kind.PROXY,
        "101 comes back from {path}, but without the right 'Sec-WebSocket-Accept': "
        "somebody answered who did not understand.",
        "Look at what stands between here and HeartLink{through}: a cache, an old proxy, a security product.",
        mends="upgrade",
    ),
    Verdict(
        "subprotocol_dropped",
        Kind.PROXY,
        "The subprotocol 'heartlink.v1' was offered at {path} and {answered}: browsers drop such a socket.",
        "Let the proxy pass 'Sec-WebSocket-Protocol' on, both ways.",
        mends="upgrade",
    ),
    Verdict(
        "host_rewritten",
        Kind.PROXY,
        "The proxy rewrites 'Host': '{sent}' was sent and HeartLink sees '{arrived}', "
        "so every socket of a signed-in page is refused with 403 (its Origin is not that host).",
        "Let the proxy pass the Host header on as it came.",
        mends="host",
    ),
    Verdict(
        "buffered",
        Kind.PROXY,
        "The socket at {path} opens, but frames are held back: {evidence}.",
        "Switch buffering off on the way{through}; antivirus and 'web protection' programs do this too.",
        mends="buffering",
    ),
    Verdict(
        "idle_cut",
        Kind.PROXY,
        "The socket at {path} was cut after {seconds} s without a close frame: "
        "something on the way ends quiet connections.",
        "Let the proxy keep connections for longer than HeartLink's heartbeat ({heartbeat:g} s), as below.",
        mends="idle",
    ),
    # HeartLink's own no
    Verdict("refused_400", Kind.REFUSED, "HeartLink refuses {path} with 400 {reason}: {message}", _RIGHTS),
    Verdict(
        "refused_401", Kind.REFUSED, "HeartLink does not know who asks for {path}: 401 {reason}: {message}", _RIGHTS
    ),
    Verdict(
        "refused_403", Kind.REFUSED, "HeartLink does not let this caller into {path}: 403 {reason}: {message}", _RIGHTS
    ),
    Verdict("refused_404", Kind.REFUSED, "HeartLink has no such thing as {path}: 404 {reason}: {message}", _RIGHTS),
    Verdict("refused_410", Kind.REFUSED, "What {path} was is over: 410 {reason}: {message}", _RIGHTS),
    Verdict("refused_429", Kind.REFUSED, "HeartLink has too much of this caller: 429 {reason}: {message}", _RIGHTS),
    Verdict("refused_503", Kind.REFUSED, "HeartLink takes nobody at the moment: 503 {reason}: {message}", _RIGHTS),
    Verdict("refused_other", Kind.REFUSED, "HeartLink refuses {path} with {status} {reason}: {message}", _RIGHTS),
    # HeartLink's own fault
    Verdict(
        "echo_wrong",
        Kind.PROXY,
        "What is sent at {path} comes back changed ({what}).",
        "Something on the way rewrites frames: a security product, or a proxy that takes them for pages.",
        mends="buffering",
    ),
    Verdict(
        "greeting_wrong",
        Kind.SERVER,
        "The first frame of {path} is '{seen}', not a greeting of HeartLink.",
        "Compare the versions of server and doctor; look into the server's log.",
    ),
    Verdict(
        "answer_odd",
        Kind.SERVER,
        "What {origin} answers at the step '{step}' cannot be understood, though it looks like HeartLink ({problem}).",
        "Compare the versions of server and doctor, and look whether something on the way changes answers.",
    ),
    Verdict(
        "closed",
        Kind.SERVER,
        "HeartLink closed {path} with {close_code} '{reason}'.",
        "Codes 4000 to 4399 mean: come back; the others are explained in docs/protocol.md. Look into the server's log.",
    ),
    Verdict(
        "server_error",
        Kind.SERVER,
        "HeartLink fails at {path}: {status}{reason}.",
        "Look into the server's log{request}.",
    ),
    Verdict(
        "out_of_time",
        Kind.TIME,
        "No verdict in {seconds:g} s: time ran out at the step '{step}'.",
        "The way or the server is very slow: try again with a longer --budget.",
    ),
)

VERDICTS: Final[Mapping[str, Verdict]] = MappingProxyType({verdict.code: verdict for verdict in _ALL})
