"""The lines of nginx, Caddy, Apache and HAProxy that forward to HeartLink as they should; tested with the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

UPSTREAM: Final = "127.0.0.1:8000"
"""HeartLink's address in the lines as they are printed."""


class Line(NamedTuple):
    """A line of a configuration; ``mends`` is the fault that is there without it, empty for none."""

    text: str
    mends: str = ""


class Proxy(NamedTuple):
    """A proxy: where its lines belong, the lines, and what it does by itself."""

    name: str
    place: str
    lines: tuple[Line, ...]
    by_itself: Mapping[str, str] = MappingProxyType({})


NGINX: Final = Proxy(
    "nginx",
    "inside server { … }, in place of the location that is there",
    (
        Line("location / {"),
        Line(f"    proxy_pass http://{UPSTREAM};", "address"),
        Line("    proxy_http_version 1.1;", "upgrade"),
        Line("    proxy_set_header Upgrade $http_upgrade;", "upgrade"),
        Line('    proxy_set_header Connection "upgrade";', "upgrade"),
        Line("    proxy_set_header Host $http_host;", "host"),
        Line("    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "forwarded"),
        Line("    proxy_set_header X-Forwarded-Proto $scheme;", "forwarded"),
        Line("    proxy_read_timeout 120s;", "idle"),
        Line("    proxy_send_timeout 120s;", "idle"),
        Line("    proxy_buffering off;", "buffering"),
        Line("    proxy_request_buffering off;", "buffering"),
        Line("    client_max_body_size 32m;"),
        Line("}"),
    ),
    MappingProxyType({"path": "no other location may match /ws/, and proxy_pass ends without a slash"}),
)

CADDY: Final = Proxy(
    "Caddy",
    "inside the site's { … }, in place of everything that forwards",
    (
        Line(f"reverse_proxy {UPSTREAM} {{", "address"),
        Line("    flush_interval -1", "buffering"),
        Line("}"),
    ),
    MappingProxyType(
        {
            "upgrade": "Caddy forwards upgrades by itself: no request_header or header_up may touch their headers",
            "host": "Caddy keeps Host by itself: no request_header or header_up may touch it",
            "idle": "Caddy cuts nothing by itself: look for read_timeout and stream_timeout",
            "path": "no handle, handle_path or rewrite around it",
            "forwarded": "Caddy sets X-Forwarded-For and -Proto by itself",
        }
    ),
)

APACHE: Final = Proxy(
    "Apache",
    "inside <VirtualHost>, in place of every ProxyPass (a2enmod proxy_http headers; 2.4.47 or newer)",
    (
        Line("ProxyPreserveHost On", "host"),
        Line('RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"', "forwarded"),
        Line(f"ProxyPass / http://{UPSTREAM}/ upgrade=websocket timeout=120 flushpackets=on", "upgrade"),
        Line(f"ProxyPassReverse / http://{UPSTREAM}/"),
    ),
    MappingProxyType(
        {
            "idle": "timeout=120 is what keeps quiet sockets",
            "buffering": "flushpackets=on is what hands frames on at once",
            "path": "one ProxyPass for '/', with the slash on both sides",
            "address": "ProxyPass and ProxyPassReverse name HeartLink's address",
        }
    ),
)

HAPROXY: Final = Proxy(
    "HAProxy",
    "in place of the backend that is there; its frontend has mode http and default_backend heartlink",
    (
        Line("backend heartlink"),
        Line("    mode http"),
        Line("    option forwardfor", "forwarded"),
        Line("    http-request set-header X-Forwarded-Proto https if { ssl_fc }", "forwarded"),
        Line("    http-request set-header X-Forwarded-Proto http unless { ssl_fc }", "forwarded"),
        Line("    timeout connect 5s"),
        Line("    timeout server 120s", "idle"),
        Line("    timeout tunnel 120s", "idle"),
        Line(f"    server heartlink {UPSTREAM}", "address"),
    ),
    MappingProxyType(
        {
            "upgrade": "HAProxy forwards upgrades by itself: no http-request may touch Upgrade or Connection",
            "host": "HAProxy keeps Host by itself: no http-request set-header or replace-header may touch it",
            "buffering": "HAProxy hands on at once by itself",
            "path": "no http-request set-path or replace-path, and no other backend for /ws/",
        }
    ),
)

PROXIES: Final = (NGINX, CADDY, APACHE, HAPROXY)


def block(proxy: Proxy) -> str:
    """A proxy's lines as they stand in its configuration."""
    return "".join(f"{line.text}\n" for line in proxy.lines)


def lines_for(mends: str, server: str = "") -> dict[str, str]:
    """Each proxy's lines, with a remark where those are that mend ``mends``; the one that ``server`` names first."""
    ordered = sorted(PROXIES, key=lambda proxy: proxy.name.lower() not in server.lower())
    return {proxy.name: _marked(proxy, mends) for proxy in ordered}


def _marked(proxy: Proxy, mends: str) -> str:
    rows = [f"# {proxy.place}"]
    if mends in proxy.by_itself:
        rows.append(f"# {proxy.by_itself[mends]}")
    is_marked = False
    for line in proxy.lines:
        if line.mends == mends and not is_marked:
            indent = line.text[: len(line.text) - len(line.text.lstrip())]
            rows.append(f"{indent}# this is what mends it:")
            is_marked = True
        rows.append(line.text)
    return "\n".join(rows) + "\n"
