"""Real nginx, HAProxy, Caddy and Apache for tests: a process each, on a port of its own, with the lines it is given."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

READY_SECONDS = 30.0
EXIT_SECONDS = 15.0
MODULES = Path("/usr/lib/apache2/modules")
APACHE_MODULES = ("mpm_event", "authz_core", "alias", "proxy", "proxy_http", "headers", "ssl", "socache_shmcb")


@dataclass(frozen=True)
class Kind:
    """A proxy: what it is called here and on disk, how it is started, and the file around its lines."""

    name: str
    program: str
    command: Callable[[str, Path, Path], list[str]]
    around: Callable[[int, str, Path, str], str]


def _nginx(port: int, lines: str, folder: Path, certificate: str) -> str:
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};" if certificate else ""
    return nginx_file(
        f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; server_name _; {tls}\n{lines}\n}}\n", folder
    )


def nginx_file(content: str, folder: Path) -> str:
    """What stands in conf.d, with the rest that nginx wants."""
    kept = "".join(
        f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{ }}\nhttp {{ access_log off; {kept}\n{content}\n}}\n"
    )


def _haproxy(port: int, lines: str, folder: Path, certificate: str) -> str:
    tls = f" ssl crt {certificate}" if certificate else ""
    return (
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
        f"frontend all\n    bind 127.0.0.1:{port}{tls}\n    default_backend heartlink\n{lines}\n"
    )


def _caddy(port: int, lines: str, folder: Path, certificate: str) -> str:
    tls = f"tls {certificate} {certificate}\n" if certificate else ""
    scheme = "https" if certificate else "http"
    return caddy_file(f"{scheme}://localhost:{port}, {scheme}://127.0.0.1:{port} {{\n{tls}{lines}\n}}\n", folder)


def caddy_file(content: str, folder: Path) -> str:
    """A Caddyfile that touches nothing of this machine."""
    return f"{{\nadmin off\nauto_https off\n}}\n{content}"


def _apache(port: int, lines: str, folder: Path, certificate: str) -> str:
    tls = f"SSLEngine on\nSSLCertificateFile {certificate}\n" if certificate else ""
    return apache_file(f"<VirtualHost *:{port}>\n{tls}{lines}\n</VirtualHost>\n", folder, port)


def apache_file(content: str, folder: Path, *ports: int) -> str:
    """What stands in sites-enabled, with the rest that Apache wants."""
    modules = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in APACHE_MODULES)
    listen = "".join(f"Listen 127.0.0.1:{port}\n" for port in ports)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    return (
        f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/apache.pid\nErrorLog {folder}/error.log\n"
        f"DefaultRuntimeDir {folder}\nMutex file:{folder} default\n{modules}{user}{listen}"
        f"<Directory {folder}>\nRequire all granted\n</Directory>\n{content}"
    )


KINDS: Mapping[str, Kind] = {
    "nginx": Kind(
        "nginx", "nginx", lambda program, file, folder: [program, "-p", str(folder), "-c", str(file)], _nginx
    ),
    "HAProxy": Kind("HAProxy", "haproxy", lambda program, file, folder: [program, "-db", "-f", str(file)], _haproxy),
    "Caddy": Kind(
        "Caddy",
        "caddy",
        lambda program, file, _: [program, "run", "--adapter", "caddyfile", "--config", str(file)],
        _caddy,
    ),
    "Apache": Kind("Apache", "apache2", lambda program, file, _: [program, "-DFOREGROUND", "-f", str(file)], _apache),
}


class RunningProxy:
    """A proxy that listens on ``port``; ``runs`` gives it another file and starts it again."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> RunningProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def forwards(self, lines: str, certificate: Path | str = "") -> None:
        """Run with these lines inside its usual surroundings."""
        self.runs(self.kind.around(self.port, lines, self.folder, str(certificate)))

    def runs(self, content: str, *ports: int) -> None:
        """Run with this whole file, and wait until its ports take connections."""
        self.stop()
        file = self.folder / "configuration"
        file.write_text(content, encoding="utf-8")
        program = shutil.which(self.kind.program)
        assert program is not None, f"{self.kind.program} is not installed: apt-get install {self.kind.program}"
        said = self.folder / "said.log"
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                self.kind.command(program, file, self.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "HOME": str(self.folder),
                    "XDG_DATA_HOME": str(self.folder),
                    "XDG_CONFIG_HOME": str(self.folder),
                },
                start_new_session=True,
            )
        end = time.monotonic() + READY_SECONDS
        for port in ports or (self.port,):
            while not _takes_connections(port):
                ended = self._process.poll() is not None
                log = self.folder / "error.log"
                words = said.read_text(errors="replace") + (log.read_text(errors="replace") if log.exists() else "")
                assert not ended and time.monotonic() < end, f"{self.kind.name} does not run:\n{words}\n{content}"
                time.sleep(0.02)

    def stop(self) -> None:
        """End what runs, with all its processes."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(EXIT_SECONDS)


def free_port() -> int:
    """A port on which nothing listens, on no address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
