"""RFC 6455 by the Autobahn test suite: its fuzzing client against the echo route, which our protocol class serves.

The suite needs Python 2.7; HEARTLINK_TEST_PYTHON2 names one that is not found by itself. The tables of bad frames in
tests/test_frames.py and tests/test_websocket.py run everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.launching import ROOT, Server

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
CASES_AT_LEAST = 300
SUITE = "autobahntestsuite==0.8.2"
# The last one that makes environments of Python 2.7.
VIRTUALENV = "virtualenv==20.15.1"
ENVIRONMENT = ROOT / "build" / "autobahn"
INSTALL_SECONDS = 240
RUN_SECONDS = 300


def find_python2() -> str | None:
    """A Python 2.7 of this machine."""
    named = os.environ.get("HEARTLINK_TEST_PYTHON2")
    managed = sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))
    for candidate in (named, *managed, shutil.which("python2.7"), shutil.which("pypy")):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def install_suite(python2: str) -> Path:
    """The suite's command, in an environment that is kept for the next time."""
    command = ENVIRONMENT / "suite" / "bin" / "wstest"
    if not command.exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT / "maker", with_pip=True)
        for step in (
            [ENVIRONMENT / "maker/bin/python", "-m", "pip", "install", "-q", VIRTUALENV],
            [ENVIRONMENT / "maker/bin/virtualenv", "-q", "-p", python2, ENVIRONMENT / "suite"],
            [ENVIRONMENT / "suite/bin/python", "-m", "pip", "install", "-q", SUITE],
        ):
            done = subprocess.run([str(part) for part in step], capture_output=True, text=True, timeout=INSTALL_SECONDS)
            assert done.returncode == 0, done.stderr
    return command


def test_no_case_of_the_autobahn_suite_fails(tmp_path: Path) -> None:
    python2 = find_python2()
    if python2 is None:
        pytest.skip("no Python 2.7 here, which the Autobahn test suite needs; the tables of bad frames were run")
    command = install_suite(python2)
    with Server("--port=0", f"--data-dir={tmp_path / 'data'}", "--echo-route") as server:
        url = server.wait_for("listens on").rpartition(" ")[2]
        plan = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "HeartLink", "url": url.replace("http", "ws") + "/ws/echo/"}],
            "cases": CASES,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        done = subprocess.run(
            [str(command), "-m", "fuzzingclient", "-s", str(tmp_path / "plan.json")],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
    assert done.returncode == 0, done.stderr[-2000:] or done.stdout[-2000:]
    verdicts = json.loads((tmp_path / "reports" / "index.json").read_text())["HeartLink"]
    failed = {
        case: (verdict["behavior"], verdict["behaviorClose"])
        for case, verdict in verdicts.items()
        if verdict["behavior"] not in ("OK", "NON-STRICT", "INFORMATIONAL")
        or verdict["behaviorClose"] not in ("OK", "INFORMATIONAL")
    }
    assert len(verdicts) >= CASES_AT_LEAST
    assert failed == {}
    print(f"{len(verdicts)} cases of {SUITE}, 0 failed", file=sys.stderr)


def test_the_echo_route_exists_with_its_flag_only(tmp_path: Path) -> None:
    with Server("--port=0", f"--data-dir={tmp_path}") as server:
        url = server.wait_for("listens on").rpartition(" ")[2]
        answer = subprocess.run(
            [sys.executable, "-c", f"import urllib.request as u; u.urlopen('{url}/ws/echo/')"],
            capture_output=True,
            text=True,
        )
    assert "404" in answer.stderr
