"""Serves a house: claims the port, opens, announces, waits for the signal, drains, closes (PROTOCOL 7)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

from tornado import httputil, web
from tornado.httpserver import HTTPServer

from heartlink import __version__
from heartlink.demo import PEOPLE, ROOM_ID
from heartlink.errors import StartupFailure
from heartlink.handlers import make_application
from heartlink.handlers.base import without_tokens
from heartlink.house import House
from heartlink.logs import configure_logs, watch_loop
from heartlink.ports import claim_port, http_address, listen
from heartlink.reach import check_reach
from heartlink.settings import Settings
from heartlink.tls import load_certificate, look_at_certificate, make_tls_context

BODY_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 32 << 10
IDLE_SECONDS: Final = 75.0
BODY_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 1.0
DRAIN_MARGIN_SECONDS: Final = 2.5
STOP_LIMIT_SECONDS: Final = 9.5
COLLECTOR_THRESHOLDS: Final = (50_000, 20, 50)
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log: Final = logging.getLogger("heartlink.server")
access_log: Final = logging.getLogger("heartlink.access")


def serve(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT and returns the exit code; raises StartupFailure when it cannot start."""
    configure_logs(settings.log_format, settings.log_level)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    watch_loop(loop)
    stop = StopRequest(loop)
    life = asyncio.create_task(_live(settings, stop), name="server")
    try:
        await life
    except asyncio.CancelledError:
        if not stop.asked.is_set():
            raise
    _say("HeartLink has stopped.")
    return 0


async def _live(settings: Settings, stop: StopRequest) -> None:
    current = asyncio.current_task()
    assert current is not None
    # Until it accepts there is nobody to say good-bye to: the first signal ends the start itself.
    stop.hasten = current.cancel
    with contextlib.ExitStack() as claims:
        tls = make_tls_context(settings.tls_cert, settings.tls_key)
        claimed = await claim_port(settings.host, settings.port)
        for sock in claimed:
            claims.callback(sock.close)
        async with House(settings) as house:
            server = _front(house, tls)
            listen(claimed)
            server.add_sockets(claimed)
            stop.hasten = None
            _calm_collector()
            if tls is not None:
                _keep_certificate(settings, tls)
            _announce(settings, house, claimed)
            house.tasks.spawn(_look_at_reach(claimed, server.instance, is_tls=tls is not None))
            await stop.asked.wait()
            await _drain(settings, house, server, stop)


def _calm_collector() -> None:
    """What lives as long as the server is not looked through again; of the rest little is ever in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


class StopRequest:
    """SIGTERM and Ctrl-C: the first asks to stop, a later one hurries whatever is under way.

    From the first one on a timer ends the process if closing takes longer than an operator should wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked = asyncio.Event()
        self.hasten: Callable[[], object] | None = None
        for number in SIGNALS:
            loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        if not self.asked.is_set():
            self.asked.set()
            limit = threading.Timer(STOP_LIMIT_SECONDS, _give_up)
            limit.daemon = True
            limit.start()
        # Taken out before it is called: cancelling twice would cut the closing short, not only the waiting.
        hasten, self.hasten = self.hasten, None
        if hasten:
            hasten()


def _give_up() -> None:
    os.write(2, b"heartlink: closing took too long; the process ends now. What was acknowledged is stored.\n")
    os._exit(1)


class FrontServer(HTTPServer):
    """Tornado's server, which believes X-Forwarded-For and -Proto only of the proxies named in the settings."""

    def initialize(  # type: ignore[override]
        self, request_callback: web.Application, trusted_proxies: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> None:
        """Sets every bound a peer could otherwise use up: body, headers, idle time."""
        self.trusted_proxies = frozenset(trusted_proxies)
        self.instance = str(request_callback.settings["instance"])
        super().initialize(
            request_callback,
            ssl_options=tls,
            max_body_size=BODY_BYTES,
            max_header_size=HEADER_BYTES,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
            trusted_downstream=list(trusted_proxies),
        )

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        """Decides for each request whether its peer may speak for somebody else."""
        context = getattr(request_conn, "context", None)
        self.xheaders = getattr(context, "remote_ip", None) in self.trusted_proxies
        return super().start_request(server_conn, request_conn)


def _front(house: House, tls: ssl.SSLContext | None) -> FrontServer:
    application = make_application(house)
    application.settings["log_function"] = log_access
    return FrontServer(application, house.settings.trusted_proxies, tls)


def _keep_certificate(settings: Settings, tls: ssl.SSLContext) -> None:
    """Says what is wrong with the certificate, and reads it anew on SIGHUP; connections that are open keep theirs."""

    def look() -> None:
        line = look_at_certificate(tls, settings.tls_cert)
        if line:
            log.warning("%s", line)

    def reload() -> None:
        try:
            load_certificate(tls, settings.tls_cert, settings.tls_key)
        except StartupFailure as failure:
            log.error("The certificate was not read anew, the one before stays: %s", failure)
            return
        log.info("The certificate %s was read anew.", settings.tls_cert)
        look()

    look()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _address(settings: Settings, claimed: list[socket.socket]) -> str:
    address = http_address(claimed, settings.host)
    return address.replace("http:", "https:", 1) if settings.tls_cert else address


def log_access(handler: web.RequestHandler) -> None:
    """One line for each request, without its query string: that is where tokens and searches stand."""
    request = handler.request
    status = handler.get_status()
    level = logging.DEBUG if request.path in QUIET_PATHS and status < 500 else logging.INFO
    fields = {
        "request_id": getattr(handler, "request_id", None),
        "status": status,
        "method": request.method,
        "path": without_tokens(request.path),
        "ms": round(1000 * request.request_time(), 1),
        "ip": request.remote_ip,
    }
    access_log.log(
        level,
        "%d %s %s (%s) %.1fms %s",
        status,
        request.method,
        fields["path"],
        request.remote_ip,
        fields["ms"],
        fields["request_id"] or "-",
        extra={"fields": fields},
    )


def _announce(settings: Settings, house: House, claimed: list[socket.socket]) -> None:
    _say(f"HeartLink {__version__} listens on {_address(settings, claimed)}")
    _say(f"Stored in {house.backend.name}")
    if settings.demo:
        people = ", ".join(f"{username} ({password})" for username, _, password in PEOPLE)
        _say(f"Demo room {_address(settings, claimed)}/chat/{ROOM_ID}/ for {people}")
    if house.setup.made_up:
        username, password = house.setup.made_up
        _say(f"Made the administrator {username} with the password {password} (shown only now: change it)")
    if house.setup.token:
        link = f"{_address(settings, claimed)}/setup/{house.setup.token}"
        _say(f"Nobody is administrator yet; to become it, sign in at {link}")
    _say("Stop with Ctrl-C")


async def _look_at_reach(claimed: list[socket.socket], instance: str, *, is_tls: bool) -> None:
    """Warns when somebody else answers where this server is looked for; beside the requests, so that none waits."""
    addresses = [str(sock.getsockname()[0]) for sock in claimed]
    tls = None
    if is_tls:
        # Whom one reaches is asked here, not whether browsers believe the certificate.
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    for line in await check_reach(addresses, claimed[0].getsockname()[1], instance, tls):
        log.warning("%s", line)


async def _drain(settings: Settings, house: House, server: FrontServer, stop: StopRequest) -> None:
    """Lets everyone leave; new connections are still answered (503, draining) until that is done."""
    _say("Stopping: telling everyone to come back in a moment …")
    draining = asyncio.create_task(house.drain(), name="drain")
    stop.hasten = draining.cancel
    await asyncio.wait({draining}, timeout=settings.drain_seconds + DRAIN_MARGIN_SECONDS)
    draining.cancel()
    failure = (await asyncio.gather(draining, return_exceptions=True))[0]
    if isinstance(failure, Exception):
        logging.getLogger("heartlink.server").error("Draining failed", exc_info=failure)
    server.stop()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.close_all_connections(), CLOSE_SECONDS)


def _say(line: str) -> None:
    """Tells the operator on stdout; a reader that has gone away is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)
