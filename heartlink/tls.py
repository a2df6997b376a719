"""TLS of the server's own: the certificate and its key, what is accepted of peers, what is wrong with the files."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Final

from heartlink.errors import StartupFailure

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only. Those of TLS 1.3 are all good."""

WARN_DAYS: Final = 14
DAY_SECONDS: Final = 86_400
HANDSHAKE_ROUNDS: Final = 10

EXPIRED, NOT_YET_VALID = 10, 9
"""OpenSSL's codes for what verification found (X509_V_ERR_…)."""


def make_tls_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """What the server speaks TLS with, None where neither is named; raises StartupFailure with one line."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        given, missing = ("--tls-cert", "--tls-key") if certificate else ("--tls-key", "--tls-cert")
        raise StartupFailure(f"{given} is given without {missing}.", "Name both the certificate and its key.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Read both files, into a context in use too: whoever connects from then on gets them. Raises StartupFailure."""
    for flag, name, what in (("--tls-cert", certificate, "certificate"), ("--tls-key", key, "key")):
        text = _read(flag, name)
        mark = "-----BEGIN CERTIFICATE-----" if what == "certificate" else "PRIVATE KEY-----"
        if mark not in text:
            raise StartupFailure(
                f"The file {name} ({flag}) holds no {what} in PEM form.", f"Name the file with the line {mark}."
            )
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=lambda: "\0")
    except ssl.SSLError as failure:
        raise _unfit(failure, certificate, key) from failure


def _unfit(failure: ssl.SSLError, certificate: str, key: str) -> StartupFailure:
    if failure.reason == "KEY_VALUES_MISMATCH":
        return StartupFailure(
            f"The key {key} does not fit the certificate {certificate}.", "Name the key that it was made with."
        )
    if "ENCRYPTED" in Path(key).read_text(encoding="ascii", errors="replace"):
        return StartupFailure(
            f"The key {key} is protected by a passphrase.",
            f"Store it without one, readable for the server alone: openssl pkey -in {key} -out key.pem",
        )
    return StartupFailure(
        f"OpenSSL does not accept {certificate} with {key}: {failure.reason or failure}.",
        "Check both with: openssl x509 -in … -text and openssl pkey -in … -check",
    )


def _read(flag: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="ascii", errors="replace")
    except OSError as failure:
        raise StartupFailure(
            f"The file {name} ({flag}) cannot be read: {failure.strerror}.",
            "Check the path, and that the server's user may read it.",
        ) from failure


def look_at_certificate(context: ssl.SSLContext, certificate: str) -> str:
    """A line for the operator when the certificate has expired, soon will, or does not count yet; else nothing."""
    looker = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looker.check_hostname = False
    # What the file itself says is believed here: only its dates are in question.
    looker.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    looker.load_verify_locations(certificate)
    try:
        found = _shake_hands(context, looker)
    except ssl.SSLCertVerificationError as failure:
        if failure.verify_code == EXPIRED:
            return f"The certificate {certificate} has expired: browsers will refuse it. Renew it."
        if failure.verify_code == NOT_YET_VALID:
            return f"The certificate {certificate} does not count yet: is this machine's clock right?"
        return f"The certificate {certificate} does not verify: {failure.verify_message}."
    days = int((ssl.cert_time_to_seconds(str(found["notAfter"])) - time.time()) // DAY_SECONDS)
    return f"The certificate {certificate} expires in {days} days. Renew it." if days < WARN_DAYS else ""


def _shake_hands(context: ssl.SSLContext, looker: ssl.SSLContext) -> dict[str, object]:
    """Both ends in memory; returns what the looker sees of the certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = looker.wrap_bio(to_client, to_server)
    for _ in range(HANDSHAKE_ROUNDS):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return dict(client.getpeercert() or {})
