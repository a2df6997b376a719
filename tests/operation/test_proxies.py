"""Real proxies with one fault each: the doctor's verdict, and the same proxy with the lines that the doctor printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heartlink.doctor.remedies import PROXIES, UPSTREAM, block
from tests.crooked_proxy import AUTHORITY, CERTIFICATES, swallowing_port
from tests.launching import ROOT, Server
from tests.operation.proxies import KINDS, RunningProxy, apache_file, caddy_file, free_port, nginx_file

PATIENT = "--budget=20"
PROCESS_SECONDS = 60.0
IDLE = "--idle=20"
"""Longer than what cuts, and left at once by what is cut."""

GOOD = CERTIFICATES / "good.pem"


@pytest.fixture(scope="module")
def heartlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HeartLink's address behind all the proxies, such as ``127.0.0.1:8000``."""
    folder = tmp_path_factory.mktemp("heartlink")
    with Server("--port=0", "--trusted-proxies=127.0.0.1", f"--data-dir={folder}") as server:
        yield server.address().removeprefix("http://")


@pytest.fixture
def patient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningProxy]:
    """The proxy that the test's parameters name."""
    with RunningProxy(KINDS[request.param], tmp_path / "proxy") as proxy:
        yield proxy


def diagnosed(url: str, *flags: str) -> dict[str, Any]:
    """The report of the command, as JSON; its process has ended by itself."""
    environment = {**os.environ, "SSL_CERT_FILE": str(AUTHORITY)}
    command = [sys.executable, "-m", "heartlink.doctor", url, "--json", *flags]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=PROCESS_SECONDS, cwd=ROOT, env=environment, check=False
    )
    report: dict[str, Any] = json.loads(ended.stdout)
    assert (ended.stderr, ended.returncode) == ("", report["exit_code"])
    print(f"{report['verdict']:<22} {report['took_ms']:7.0f} ms  {report['conclusion']}")
    return report


class Fault(NamedTuple):
    """A broken configuration: which proxy, what it does wrong, the verdict, and a word that the sentence must have."""

    proxy: str
    lines: str
    verdict: str
    said: str
    flags: tuple[str, ...] = ()


UPGRADES = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
KEEPS_HOST = "proxy_set_header Host $http_host;"
PASS = f"proxy_pass http://{UPSTREAM};"
HAPROXY_SERVER = f"backend heartlink\n    server one {UPSTREAM}\n"

FAULTS = [
    Fault("nginx", f"location / {{ {PASS} {KEEPS_HOST} }}", "upgrade_dropped", "'Upgrade' gets lost"),
    Fault(
        "nginx",
        f"location / {{ {PASS} {KEEPS_HOST} proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; }}",
        "connection_dropped",
        "HeartLink sees 'close'",
    ),
    Fault("nginx", f"location / {{ {PASS} {UPGRADES} }}", "host_rewritten", "every socket of a signed-in page"),
    Fault("nginx", f"location / {{ {PASS} {UPGRADES} proxy_set_header Host $host; }}", "host_rewritten", "'127.0.0.1'"),
    Fault(
        "nginx",
        f"location / {{ {PASS} {UPGRADES} {KEEPS_HOST} proxy_read_timeout 1s; }}",
        "idle_cut",
        "without a close frame",
        (IDLE,),
    ),
    Fault(
        "nginx",
        f"location / {{ {PASS} {UPGRADES} {KEEPS_HOST} if ($http_upgrade) {{ return 501; }} }}",
        "cannot_upgrade",
        "nginx/1",
    ),
    Fault(
        "nginx",
        f"location / {{ {PASS} {UPGRADES} {KEEPS_HOST} proxy_hide_header Sec-WebSocket-Protocol; }}",
        "subprotocol_dropped",
        "not answered",
    ),
    Fault(
        "nginx",
        f"location / {{ {PASS} {UPGRADES} {KEEPS_HOST} }} location /ws/ {{ return 404; }}",
        "sockets_not_forwarded",
        "answers /ws/doctor/ itself with 404",
    ),
    Fault(
        "nginx",
        f"location /ws/ {{ {PASS} {UPGRADES} {KEEPS_HOST} }} location / {{ return 404; }}",
        "pages_not_forwarded",
        "answers /api/routes itself with 404",
    ),
    Fault(
        "nginx",
        f"location / {{ {PASS} {UPGRADES} {KEEPS_HOST} }} "
        f"location /ws/ {{ proxy_pass http://{UPSTREAM}/; {UPGRADES} {KEEPS_HOST} }}",
        "wrong_path",
        "another address",
    ),
    Fault("nginx", "location / { proxy_pass http://127.0.0.1:1; }", "gateway_down", "answers 502"),
    Fault("nginx", "location / { return 404; }", "another_web_server", "nginx/1"),
    Fault("nginx", "return 301 https://chat.example.org$request_uri;", "moved", "https://chat.example.org"),
    Fault(
        "HAProxy",
        f"backend heartlink\n    http-request del-header Upgrade\n    server one {UPSTREAM}\n",
        "upgrade_dropped",
        "'Upgrade' gets lost",
    ),
    Fault(
        "HAProxy",
        f"backend heartlink\n    http-request set-header Host internal.example\n    server one {UPSTREAM}\n",
        "host_rewritten",
        "HeartLink sees 'internal.example'",
    ),
    Fault(
        "HAProxy",
        f"backend heartlink\n    timeout tunnel 1s\n    server one {UPSTREAM}\n",
        "idle_cut",
        "without a close frame",
        (IDLE,),
    ),
    Fault(
        "HAProxy",
        "backend heartlink\n    http-request deny deny_status 400 if { hdr(Upgrade) -m found }\n"
        f"    server one {UPSTREAM}\n",
        "cannot_upgrade",
        "it answers 400",
    ),
    Fault(
        "HAProxy",
        f"backend heartlink\n    http-request return status 404 if {{ path_beg /ws/ }}\n    server one {UPSTREAM}\n",
        "sockets_not_forwarded",
        "itself with 404",
    ),
    Fault(
        "HAProxy",
        f"backend heartlink\n    http-request set-path /app%[path]\n    server one {UPSTREAM}\n",
        "wrong_path",
        "another address",
    ),
    Fault(
        "HAProxy",
        f"backend heartlink\n    http-response del-header Sec-WebSocket-Protocol\n    server one {UPSTREAM}\n",
        "subprotocol_dropped",
        "not answered",
    ),
    Fault("HAProxy", "backend heartlink\n    server one 127.0.0.1:1\n", "gateway_down", "answers 503"),
    Fault("HAProxy", "backend heartlink\n    http-request return status 200\n", "another_web_server", "not HeartLink"),
    Fault(
        "Apache",
        f"ProxyPreserveHost On\nProxyPass / http://{UPSTREAM}/\n",
        "upgrade_dropped",
        "'Upgrade' gets lost",
    ),
    Fault("Apache", f"ProxyPass / http://{UPSTREAM}/ upgrade=websocket\n", "host_rewritten", "every socket"),
    Fault(
        "Apache",
        f"Timeout 1\nProxyPreserveHost On\nProxyPass / http://{UPSTREAM}/ upgrade=websocket\n",
        "idle_cut",
        "without a close frame",
        (IDLE,),
    ),
    Fault("Apache", "ProxyPass / http://127.0.0.1:1/\n", "gateway_down", "answers 503"),
    Fault("Caddy", f"request_header -Upgrade\nreverse_proxy {UPSTREAM}\n", "upgrade_dropped", "'Upgrade' gets lost"),
    Fault(
        "Caddy",
        f"reverse_proxy {UPSTREAM} {{\n    header_up Host internal.example\n}}\n",
        "host_rewritten",
        "HeartLink sees 'internal.example'",
    ),
    Fault("Caddy", "reverse_proxy 127.0.0.1:1\n", "gateway_down", "answers 502"),
    Fault("Caddy", "respond 404\n", "another_web_server", "not HeartLink"),
]


@pytest.mark.parametrize(
    ("patient", "fault"),
    [(fault.proxy, fault) for fault in FAULTS],
    ids=[f"{fault.proxy}-{fault.verdict}" for fault in FAULTS],
    indirect=["patient"],
)
def test_a_fault_is_named_and_the_printed_lines_mend_it(patient: RunningProxy, fault: Fault, heartlink: str) -> None:
    url = f"http://127.0.0.1:{patient.port}/"
    patient.forwards(fault.lines.replace(UPSTREAM, heartlink))
    report = diagnosed(url, PATIENT, *fault.flags)
    assert (report["verdict"], fault.said in report["conclusion"]) == (fault.verdict, True), report["conclusion"]
    if fault.verdict == "moved":
        assert report["lines"] == {}
        return
    assert set(report["lines"]) == set(KINDS)
    server = "HAProxy" if fault.proxy == "HAProxy" else next(iter(report["lines"]))
    assert server == fault.proxy, "the lines of the proxy that was seen come first"

    patient.forwards(report["lines"][fault.proxy].replace(UPSTREAM, heartlink))
    mended = diagnosed(url, PATIENT, "--idle=2" if fault.flags else "--idle=0")
    assert mended["verdict"] == "healthy", mended["conclusion"]
    # What the proxy says of the client is believed: nothing is left to remark.
    (headers,) = [step for step in mended["steps"] if step["name"] == "headers"]
    assert headers["state"] == "ok" and "X-Forwarded-For" in headers["text"], headers


# --- Other things that listen ----------------------------------------------------------------------


@pytest.mark.parametrize("patient", ["nginx", "HAProxy", "Apache", "Caddy"], indirect=True)
def test_certificates_and_tls_mixed_up_at_a_real_proxy(patient: RunningProxy, heartlink: str) -> None:
    lines = next(block(proxy) for proxy in PROXIES if proxy.name == patient.kind.name).replace(UPSTREAM, heartlink)
    for certificate, verdict in (
        ("expired", "tls_expired"),
        ("self_signed", "tls_self_signed"),
        ("wrong_name", "tls_wrong_name"),
    ):
        patient.forwards(lines, CERTIFICATES / f"{certificate}.pem")
        assert diagnosed(f"https://localhost:{patient.port}/", PATIENT)["verdict"] == verdict
    patient.forwards(lines, GOOD)
    healthy = diagnosed(f"https://localhost:{patient.port}/", PATIENT)
    assert healthy["verdict"] == "healthy", healthy["conclusion"]
    (headers,) = [step for step in healthy["steps"] if step["name"] == "headers"]
    assert headers["state"] == "ok", headers
    assert diagnosed(f"http://localhost:{patient.port}/", PATIENT)["verdict"] == "tls_on_plain_port"
    patient.forwards(lines)
    assert diagnosed(f"https://localhost:{patient.port}/", PATIENT)["verdict"] == "plain_on_tls_port"


@pytest.mark.parametrize("patient", ["HAProxy"], indirect=True)
def test_a_forwarder_that_waits_is_silent(patient: RunningProxy) -> None:
    # As many a load balancer does that waits for words which only its own protocol has.
    patient.runs(
        "defaults\n    mode tcp\n    timeout client 60s\n    timeout connect 5s\n    timeout server 60s\n"
        f"listen all\n    bind 127.0.0.1:{patient.port}\n    tcp-request inspect-delay 50s\n"
        "    tcp-request content accept if { req.len ge 100000 }\n    server one 127.0.0.1:1\n"
    )
    report = diagnosed(f"http://127.0.0.1:{patient.port}/")
    assert report["verdict"] == "silent"
    assert f"process {patient.pid} (" in report["fix"] and "haproxy" in report["fix"]


@pytest.mark.parametrize("patient", ["nginx"], indirect=True)
def test_a_proxy_that_waits_for_what_is_behind_it(patient: RunningProxy) -> None:
    with swallowing_port() as port:
        patient.forwards(f"location / {{ proxy_pass http://127.0.0.1:{port}; }}")
        report = diagnosed(f"http://127.0.0.1:{patient.port}/")
    assert report["verdict"] == "answer_missing"


@pytest.mark.parametrize("patient", ["HAProxy"], indirect=True)
def test_a_proxy_that_tries_again_and_again(patient: RunningProxy) -> None:
    # It says so after three seconds; the doctor waits for that within its usual time, here at half the pace.
    patient.forwards("backend heartlink\n    server one 127.0.0.1:1\n")
    report = diagnosed(f"http://127.0.0.1:{patient.port}/", "--budget=9")
    assert report["verdict"] == "gateway_down"


# --- docs/proxies.md -------------------------------------------------------------------------------

DOCUMENT = (ROOT / "docs" / "proxies.md").read_text(encoding="utf-8")
AROUND = {
    "nginx": lambda content, folder, ports: nginx_file(content, folder),
    "HAProxy": lambda content, folder, ports: content,
    "Caddy": lambda content, folder, ports: caddy_file(content, folder),
    "Apache": lambda content, folder, ports: apache_file(content, folder, *ports),
}


def documented(proxy: str) -> str:
    """The whole file that the document gives for a proxy."""
    found = re.search(rf"^## {proxy}$.*?^```\w*\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, proxy
    return found[1]


@pytest.mark.parametrize("patient", ["nginx", "HAProxy", "Apache", "Caddy"], indirect=True)
def test_the_documented_files_are_healthy(patient: RunningProxy, heartlink: str) -> None:
    plain, ports = free_port(), [patient.port]
    content = documented(patient.kind.name)
    for line in next(block(proxy) for proxy in PROXIES if proxy.name == patient.kind.name).splitlines():
        assert line.strip() in content, f"the document lacks: {line}"
    changes = {
        UPSTREAM: heartlink,
        "chat.example.org": "localhost",
        "/etc/ssl/chat.pem": str(GOOD),
        "/etc/letsencrypt/live/localhost/fullchain.pem": str(GOOD),
        "/etc/letsencrypt/live/localhost/privkey.pem": str(GOOD),
        "[::]:443": f"[::1]:{patient.port}",
        "[::]:80": f"[::1]:{plain}",
    }
    for written, real in changes.items():
        content = content.replace(written, real)
    content = re.sub(r"(?<=[\s:])443\b", str(patient.port), content)
    content = re.sub(r"(?<=[\s:])80\b", str(plain), content)
    if patient.kind.name == "Caddy":
        # It gets its certificate by itself; here it is given one, and a port that is free.
        content = content.replace("localhost {", f"https://localhost:{patient.port} {{\n    tls {GOOD} {GOOD}")
    else:
        ports.append(plain)
    patient.runs(AROUND[patient.kind.name](content, patient.folder, ports), *ports)

    report = diagnosed(f"https://localhost:{patient.port}/", PATIENT, "--idle=1")
    assert report["verdict"] == "healthy", report["conclusion"]
    (headers,) = [step for step in report["steps"] if step["name"] == "headers"]
    assert headers["state"] == "ok" and "X-Forwarded-Proto" in headers["text"], headers
    if patient.kind.name != "Caddy":
        assert diagnosed(f"http://localhost:{plain}/", PATIENT)["verdict"] == "moved"
