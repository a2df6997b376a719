"""The peers' own virtual environment, made once in the cache folder."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.generator import RunFailed

REQUIREMENTS = Path(__file__).parent / "requirements-peers.txt"
INSTALL_SECONDS = 300
WITHOUT_THEM = "go on without them by --only c,heartlink"
PEER_PACKAGES = ("aiohttp", "channels", "daphne", "Django", "Twisted", "asgiref")


def make_environment(cache: Path) -> Path:
    """The interpreter of an environment that holds what requirements-peers.txt pins; RunFailed if it cannot be."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"peers-{key}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if complete.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing the peers into {folder} …", file=sys.stderr)
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        REQUIREMENTS,
    ]
    commands: list[list[str | Path]] = [[sys.executable, "-m", "venv", folder], pip]
    for command in commands:
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"installing the peers took over {INSTALL_SECONDS} s; {WITHOUT_THEM}") from None
        if result.returncode:
            reason = (result.stderr or result.stdout).strip()[-400:]
            raise RunFailed(f"the peers cannot be installed; {WITHOUT_THEM}. {reason}")
    complete.touch()
    return python
