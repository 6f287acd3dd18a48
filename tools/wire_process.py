"""``hub serve`` as a process, for tools that send it much, kill it and begin it again; certificates of its own."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hub

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "wire"))

from certificates import DAY, Authority, Issued  # noqa: E402

START_S = 60.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Served:
    """``hub serve`` over TLS on a folder, always at the same address.

    Args:
        base: for certificates, configuration and what the server says. parties: codes of institutions by the name of
            the certificate that may call for them. limits: further lines of the configuration. ended: certificates
            whose time is over.
    """

    def __init__(
        self, base: Path, folder: Path, parties: dict[str, list[str]], limits: str = "", *, ended: Sequence[str] = ()
    ) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self.base = base
        self.authority = Authority(base)
        self.host = self.authority.issue("server", server=True)
        self.clients = {name: self._issue(name, name in ended) for name in parties}
        self.port = free_port()
        self.address = f"hubs://127.0.0.1:{self.port}"
        self._said = base / "server.err"
        self._config = base / "hub.toml"
        listed = "".join(
            f'[[certificates]]\nname = "{name}"\nkey_sha256 = "{self.clients[name].key_sha256}"\n'
            f"institutions = {codes}\n".replace("'", '"')
            for name, codes in parties.items()
        )
        self._config.write_text(
            f'folder = "{folder}"\nlisten = "127.0.0.1:{self.port}"\nsecurity_log = "security.log"\n'
            f'[tls]\ncertificate = "{self.host.cert}"\nkey = "{self.host.key}"\nca = "{self.authority.ca}"\n'
            f'crls = ["{self.authority.crl}"]\n{listed}{limits}',
            encoding="utf-8",
        )
        self.begin()

    def _issue(self, name: str, over: bool) -> Issued:
        if over:
            return self.authority.issue(name, begin=-3 * DAY, end=-DAY)
        return self.authority.issue(name)

    def begin(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "hub", "serve", "--config", str(self._config)]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith(f"at {self.address}\n"):
            raise RuntimeError(f"hub serve: expected it to listen, got {line!r}: {self._said.read_text()[-500:]}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(90)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    @property
    def failures(self) -> list[str]:
        """What it said of failures of its own."""
        lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or line.startswith("Traceback")]

    def resident_bytes(self) -> int:
        """Its memory beside the maps of files."""
        return anonymous_bytes(self.process.pid)

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self, name: str, **options: Any) -> Any:
        """The hub's own client."""
        own = self.clients[name]
        return hub.connect(self.address, cert=own.cert, key=own.key, ca=self.authority.ca, **options)

    def context(self, issued: Issued) -> ssl.SSLContext:
        """A client's."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.load_cert_chain(issued.cert, issued.key)
        return context


def anonymous_bytes(pid: int | str = "self") -> int:
    """Memory of a process beside maps of files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1_024 for line in lines if line.startswith("RssAnon:"))
