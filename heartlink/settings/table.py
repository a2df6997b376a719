"""The table of settings: the fields of `Settings`, with what every source and document needs to know of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

PREFIX: Final = "HEARTLINK_"
SECRET_BYTES: Final = 32
MANY: Final = 1_000_000_000
NO_LIMIT: Final = "0 = no limit"

KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "Path": "a path",
    "tuple[str, ...]": "a list of texts",
}
Check = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table: a setting's name, kind, default, bounds and sentence of help."""

    name: str
    kind: str
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    check: Check | None
    private: bool

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """How it is called in the environment."""
        return PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default as one would write it, empty when there is none."""
        if self.kind == "bool":
            return "true" if self.default else "false"
        return ",".join(self.default) if isinstance(self.default, tuple) else str(self.default)

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"{KINDS[self.kind]} from {self.low:.15g} to {self.high:.15g}"
        return KINDS[self.kind]


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    check: Check | None = None,
    private: bool = False,
) -> Any:
    """A field of `Settings` with what sources and documents need; ``private`` values are never shown."""
    about = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, repr=not private, metadata=about | {"check": check, "private": private})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_host(host: str) -> str:
    return (
        "" if host else "it is empty; write 127.0.0.1 for this machine only, 0.0.0.0 for every IPv4 address, :: for all"
    )


def _check_mongo_url(url: str) -> str:
    if not url or url.startswith(("mongodb://", "mongodb+srv://")):
        return ""
    return "it is no MongoDB address; write mongodb://host:27017/database"


def _check_secret(secret: str) -> str:
    if not secret or len(secret.encode()) >= SECRET_BYTES:
        return ""
    return f"it is shorter than {SECRET_BYTES} bytes; make one with: openssl rand -base64 48"


def _check_origins(origins: tuple[str, ...]) -> str:
    for origin in origins:
        try:
            parts = urlsplit(origin)
            _ = parts.port
        except ValueError:
            return f"'{origin}' is no origin; write https://chat.example.org"
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
            return f"'{origin}' is no origin; write https://chat.example.org, without a path"
    return ""


def _check_hosts(hosts: tuple[str, ...]) -> str:
    for host in hosts:
        if "/" in host or "*" in host or " " in host:
            return f"'{host}' is no host name; write chat.example.org"
    return ""


def _check_proxies(proxies: tuple[str, ...]) -> str:
    for proxy in proxies:
        try:
            ipaddress.ip_address(proxy)
        except ValueError:
            return f"'{proxy}' is no IP address; write your proxy's addresses, as in 127.0.0.1,::1"
    return ""


def _check_ice_servers(urls: tuple[str, ...]) -> str:
    for entry in urls:
        # What stands behind the address is a secret.
        url, *credentials = entry.split("|", 2)
        if not url.startswith(("stun:", "stuns:", "turn:", "turns:")):
            return f"'{url}' is no ICE server; write stun:stun.example.org:3478"
        if credentials and (len(credentials) != 2 or not all(credentials)):
            return f"'{url}' has a user name without a credential; write {url}|user|credential"
    return ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can choose, checked; units are in the names (PROTOCOL 7)."""

    port: int = setting(8000, "Port of pages, REST and sockets; 0 takes a free one.", low=0, high=65535)
    host: str = setting(
        "127.0.0.1",
        "Address to listen on; localhost is IPv4 and IPv6, 0.0.0.0 every IPv4 address, :: all.",
        check=_check_host,
    )
    data_dir: Path = setting(Path("./data"), "Folder of the embedded database and of the server's keys.")
    mongo_url: str = setting(
        "",
        "MongoDB to store in, instead of the embedded database.",
        check=_check_mongo_url,
        private=True,
    )
    demo: bool = setting(False, "Make two demo users, an admin and their room; loopback only.")
    echo_route: bool = setting(
        False, "Serve /ws/echo/, which sends back whatever comes, without any limit: for conformance tests only."
    )
    create_admin: str = setting(
        "", "User to make administrator at start, with an account if there is none.", unit="user name"
    )
    admin_password: str = setting(
        "", "Password of the account that is made then; without it one is made up and printed once.", private=True
    )
    config: str = setting("", "TOML file with settings, written as key = value.")
    log_format: str = setting("text", "How log lines look.", choices=("text", "json"))
    log_level: str = setting(
        "info", "Least important line that is logged.", choices=("debug", "info", "warning", "error")
    )
    messages_per_second: int = setting(
        20, "Frames one connection may send, on average.", unit=f"a second, {NO_LIMIT}", low=0, high=MANY
    )
    message_burst: int = setting(
        40, "Frames it may send at once before that counts.", unit=f"frames, {NO_LIMIT}", low=0, high=MANY
    )
    frame_bytes: int = setting(65536, "Largest frame a client may send.", unit=f"bytes, {NO_LIMIT}", low=0, high=MANY)
    registrations_per_minute: int = setting(
        100, "Accounts one address may register.", unit=f"a minute, {NO_LIMIT}", low=0, high=MANY
    )
    connections_per_address: int = setting(
        1000, "Sockets open at once from one address.", unit=f"sockets, {NO_LIMIT}", low=0, high=MANY
    )
    connections_per_user: int = setting(
        20, "Sockets open at once of one user.", unit=f"sockets, {NO_LIMIT}", low=0, high=MANY
    )
    upload_bytes: int = setting(26214400, "Largest file one may upload.", unit=f"bytes, {NO_LIMIT}", low=0, high=MANY)
    upload_bytes_per_user: int = setting(
        1 << 30, "What one user's files may come to.", unit=f"bytes, {NO_LIMIT}", low=0, high=1 << 50
    )
    uploads_per_user: int = setting(
        20, "Uploads of one user that run at once.", unit=f"uploads, {NO_LIMIT}", low=0, high=MANY
    )
    upload_hours: float = setting(
        24, "How long an upload that was broken off can be gone on with.", unit="hours", low=0.0001, high=87600
    )
    free_disk_bytes: int = setting(
        256 << 20,
        "Space that uploads leave free on the disk; text chat may use it.",
        unit=f"bytes, {NO_LIMIT}",
        low=0,
        high=1 << 50,
    )
    message_chars: int = setting(10000, "Longest message.", unit="characters", low=1, high=1_000_000)
    queue_bytes: int = setting(
        1 << 20, "What may wait for one slow reader before it must resume.", unit="bytes", low=1024, high=MANY
    )
    queue_frames: int = setting(4096, "The same, counted in frames.", unit="frames", low=1, high=MANY)
    heartbeat_seconds: float = setting(30, "Time between two heartbeats.", unit="seconds", low=0.1, high=3600)
    token_hours: float = setting(168, "How long a sign-in is good for.", unit="hours", low=0.001, high=87600)
    secret: str = setting(
        "",
        f"Key that signs tokens, {SECRET_BYTES} bytes or more; without it one is made in the data folder.",
        check=_check_secret,
        private=True,
    )
    allowed_origins: tuple[str, ...] = setting(
        (), "Other sites whose pages may use the session cookie.", unit="comma list", check=_check_origins
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "Host names to answer to, besides addresses and localhost.", unit="comma list", check=_check_hosts
    )
    drain_seconds: float = setting(
        5, "How long clients get to leave when the server stops.", unit="seconds", low=0, high=6
    )
    replay_limit: int = setting(
        1000, "Most changes that are replayed to a client that resumes.", unit="messages", low=1, high=100_000
    )
    save_seconds: float = setting(
        3, "How long a write may take before its sender is told not_saved.", unit="seconds", low=0.1, high=60
    )
    presence_grace_seconds: float = setting(
        3, "How long a user may be gone before others are told.", unit="seconds", low=0, high=300
    )
    typing_seconds: float = setting(
        6, "How long a typing mark stays without being renewed.", unit="seconds", low=0.1, high=60
    )
    metrics_token: str = setting(
        "", "Bearer token for /metrics; without one this machine itself may read it.", private=True
    )
    tls_cert: str = setting("", "Certificate with its chain, a PEM file; the server then speaks https.")
    tls_key: str = setting("", "Key of that certificate, a PEM file without a passphrase.")
    hsts_seconds: int = setting(
        15_552_000,
        "How long browsers that came by https shall insist on it.",
        unit="seconds, 0 = not told",
        low=0,
        high=63_072_000,
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        unit="comma list",
        check=_check_proxies,
    )
    ice_servers: tuple[str, ...] = setting(
        (),
        "STUN and TURN servers told to clients for calls, as in docs/calls.md.",
        unit="comma list",
        check=_check_ice_servers,
        private=True,
    )
    turn_secret: str = setting(
        "", "Secret shared with the TURN servers, of which credentials are made that expire.", private=True
    )
    call_ring_seconds: float = setting(
        45, "How long a call rings before it counts as missed.", unit="seconds", low=0.1, high=600
    )
    call_resume_seconds: float = setting(
        10, "How long a call waits for somebody whose connection was lost.", unit="seconds", low=0.1, high=600
    )


def entries() -> tuple[Entry, ...]:
    """The table of settings, in the order of `Settings`."""
    return tuple(Entry(name=f.name, kind=str(f.type), default=f.default, **f.metadata) for f in fields(Settings))
