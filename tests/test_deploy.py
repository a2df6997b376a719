"""What `deploy/` says of HeartLink is so: settings that exist, files that exist, times that leave room for draining."""

from __future__ import annotations

import re
from pathlib import Path

from heartlink.server import STOP_LIMIT_SECONDS
from heartlink.settings import entries

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def test_every_setting_that_is_named_exists() -> None:
    variables = {entry.variable for entry in entries()}
    flags = {entry.flag for entry in entries()}
    for name in ("Dockerfile", "compose.yaml", "heartlink.service"):
        text = read(name)
        # What compose takes from its own caller is its own.
        named = set(re.findall(r"(?<!\{)\bHEARTLINK_[A-Z_]+\b", text))
        assert named <= variables, f"{name}: {named - variables}"
        used = set(re.findall(r"main\.py\S*((?: --[a-z-]+=\S+)+)", text))
        for flag in re.findall(r"--[a-z-]+(?==)", " ".join(used)):
            assert flag in flags, f"{name}: {flag}"
    assert "HEARTLINK_MONGO_URL" in read("compose.yaml") and "HEARTLINK_HOST=0.0.0.0" in read("Dockerfile")


def test_whoever_stops_it_waits_until_it_has_drained() -> None:
    unit = re.search(r"^TimeoutStopSec=(\d+)$", read("heartlink.service"), re.MULTILINE)
    grace = re.search(r"stop_grace_period: (\d+)s", read("compose.yaml"))
    for found in (unit, grace):
        assert found is not None and int(found[1]) > STOP_LIMIT_SECONDS


def test_what_the_image_copies_is_there() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", read("Dockerfile"), re.MULTILINE)
    names = [name for line in sources for name in line.split()]
    assert {"main.py", "heartlink", "pyproject.toml"} <= set(names)
    assert all((ROOT / name).exists() for name in names)
    assert "USER heartlink" in read("Dockerfile") and "HEALTHCHECK" in read("Dockerfile")
