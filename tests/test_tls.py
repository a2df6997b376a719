"""TLS of the server's own: a chat over wss, what cookies and browsers are told, a new certificate, clear failures."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.netutil import bind_sockets
from tornado.websocket import WebSocketClientConnection, websocket_connect

from heartlink.errors import StartupFailure
from heartlink.handlers import make_application
from heartlink.server import FrontServer
from heartlink.tls import look_at_certificate, make_tls_context
from tests.conftest import Serve
from tests.launching import Server

CERTIFICATES = Path(__file__).parent / "certificates"
CERTIFICATE, KEY = str(CERTIFICATES / "localhost.pem"), str(CERTIFICATES / "localhost.key")
EXPIRED, EXPIRED_KEY = str(CERTIFICATES / "expired.pem"), str(CERTIFICATES / "expired.key")
PASSWORD = "a good password"
PATIENCE_SECONDS = 30.0


def asks(url: str, **options: Any) -> HTTPRequest:
    return HTTPRequest(
        url, ca_certs=CERTIFICATE, request_timeout=PATIENCE_SECONDS, connect_timeout=PATIENCE_SECONDS, **options
    )


async def hears(chair: WebSocketClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of a type."""
    while True:
        text = await asyncio.wait_for(chair.read_message(), PATIENCE_SECONDS)
        assert text is not None, f"closed with {chair.close_code}"
        frame: dict[str, Any] = json.loads(text)
        if frame["type"] == kind:
            return frame


async def talk(address: str) -> list[str]:
    """Register, sit down with the session's cookie, say something long, hear it; returns the cookies that were set."""
    body = json.dumps({"username": "ann", "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    client = AsyncHTTPClient()
    signed_in = await client.fetch(asks(f"{address}/api/auth/register", method="POST", body=body, headers=headers))
    token = json.loads(signed_in.body)["token"]
    bearer = {"Authorization": f"Bearer {token}", **headers}
    room = await client.fetch(asks(f"{address}/api/rooms", method="POST", body="{}", headers=bearer))
    cookies = signed_in.headers.get_list("Set-Cookie")
    cookie = {"Cookie": cookies[0].partition(";")[0], "Origin": address}
    path = f"/ws/chat/{json.loads(room.body)['id']}/"
    chair = await websocket_connect(asks(address.replace("https", "wss", 1) + path, headers=cookie))
    await hears(chair, "connection_established")
    # Longer than one TLS record.
    content = "长" * 9000
    for number in range(20):
        await chair.write_message(json.dumps({"content": content, "client_id": f"c{number}"}))
    for number in range(20):
        message = (await hears(chair, "chat_message"))["message"]
        assert (message["client_id"], message["content"]) == (f"c{number}", content)
    chair.close()
    return cookies


async def certificate_of(address: str) -> bytes:
    """What the server shows to whoever connects now."""
    looker = ssl.create_default_context()
    looker.check_hostname, looker.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.removeprefix("https://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=looker)
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown or b""


@pytest.mark.gen_test(timeout=90)
async def test_a_chat_over_wss_and_a_new_certificate_while_it_runs(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(CERTIFICATE, certificate)
    shutil.copy(KEY, key)
    flags = ["--port=0", f"--data-dir={tmp_path / 'data'}", f"--tls-cert={certificate}", f"--tls-key={key}"]
    with Server(*flags) as server:
        address = server.address()
        assert address.startswith("https://127.0.0.1:")
        cookies = await talk(address)
        assert cookies and all("Secure" in cookie for cookie in cookies)

        # An address of this machine is not made to insist on https; a name that others know it by is.
        client = AsyncHTTPClient()
        assert "Strict-Transport-Security" not in (await client.fetch(asks(f"{address}/healthz"))).headers

        first = await certificate_of(address)
        shutil.copy(EXPIRED, certificate)
        server.signal(signal.SIGHUP)
        server.wait_for_error("The certificate was not read anew")
        shutil.copy(EXPIRED_KEY, key)
        server.signal(signal.SIGHUP)
        server.wait_for_error("has expired")
        assert await certificate_of(address) != first

        server.signal(signal.SIGTERM)
        assert server.exit()[0] == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("trusted", [("127.0.0.1",), ()], ids=["trusted", "not trusted"])
async def test_only_a_trusted_proxy_may_say_that_it_was_https(serve: Serve, trusted: tuple[str, ...]) -> None:
    house = (await serve(allowed_hosts=("chat.example.org",))).house
    front = FrontServer(make_application(house), trusted, None)
    (listener,) = bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    front.add_sockets([listener])
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    through = {"Host": "chat.example.org", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    body = json.dumps({"username": "ann", "password": PASSWORD})
    headers = {**through, "Content-Type": "application/json"}
    client = AsyncHTTPClient()
    answer = await client.fetch(asks(f"{base}/api/auth/register", method="POST", body=body, headers=headers))
    cookies = answer.headers.get_list("Set-Cookie")
    is_https = bool(trusted)
    assert cookies and all(("Secure" in cookie) == is_https for cookie in cookies)
    assert answer.headers.get("Strict-Transport-Security") == ("max-age=15552000" if is_https else None)

    # A page of plain http is not the same site once the proxy says https; without its word both may be.
    cookie = {"Cookie": cookies[0].partition(";")[0]}
    for origin, status in (("https://chat.example.org", 101), ("http://chat.example.org", 403 if is_https else 101)):
        request = asks(
            base.replace("http", "ws", 1) + "/ws/permissions/", headers={**through, **cookie, "Origin": origin}
        )
        try:
            (await websocket_connect(request)).close()
            seen = 101
        except HTTPClientError as refused:
            seen = refused.code
        assert seen == status, origin
    front.stop()
    await front.close_all_connections()


def test_what_is_wrong_with_the_files_is_said_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    locked = str(CERTIFICATES / "locked.key")
    for certificate, key, expected in (
        (CERTIFICATE, "", "--tls-cert is given without --tls-key."),
        ("", KEY, "--tls-key is given without --tls-cert."),
        (CERTIFICATE, str(tmp_path / "nowhere"), "(--tls-key) cannot be read: No such file"),
        (CERTIFICATE, EXPIRED_KEY, "does not fit the certificate"),
        (CERTIFICATE, locked, "is protected by a passphrase"),
        (KEY, CERTIFICATE, "holds no certificate"),
        (CERTIFICATE, str(empty), "holds no key"),
    ):
        with pytest.raises(StartupFailure) as failure:
            make_tls_context(certificate, key)
        assert expected in str(failure.value)
        assert "\n" not in str(failure.value)
    assert make_tls_context("", "") is None


def test_only_certificates_out_of_date_are_warned_of() -> None:
    for certificate, key, expected in ((CERTIFICATE, KEY, ""), (EXPIRED, EXPIRED_KEY, "has expired")):
        context = make_tls_context(certificate, key)
        assert context is not None
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        line = look_at_certificate(context, certificate)
        assert expected in line if expected else not line
