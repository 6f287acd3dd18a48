"""One run of the portal's stage: hub, portal and a stand-in for sign-in, as in life; people who sign in; a load."""

from __future__ import annotations

import html
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import uvicorn

import hub
from hub.bench.portalask import Readers, digest_of
from hub.bench.portalbare import BareServer, fetch
from hub.bench.run import Run
from hub.bench.served import Credentials, ServerProcess
from hub.bench.wireask import Load, use_of
from hub.bench.wireload import LoadProcess, Outcome
from hub.errors import StorageError
from hub.portal.demo import make_key, serve_in_thread
from hub.portal.links import Links, who_of
from hub.portal.reading import address_of
from hub.portal.standin import Character, StandIn

ACR, CLIENT = "card", "bench"
CONNECTIONS = 64
START_S = 20.0


class Reader(NamedTuple):
    """Somebody who reads.

    Attributes:
        alias: 16 bytes, at the portal. shown: by records on a page, the digest of what the first page shows.
    """

    alias: bytes
    shown: dict[int, str]

    def __repr__(self) -> str:
        return "Reader()"


def reader_of(h: hub.Hub, alias: bytes, sizes: tuple[int, ...]) -> Reader:
    """What the hub itself says that a person's first pages show."""
    found = {}
    for rows in sizes:
        page = h.history(np.frombuffer(alias, np.uint8), limit=rows)
        found[rows] = digest_of(address_of(record) for record in page.records)
    return Reader(alias, found)


class PortalProcess:
    """``hub portal`` with so many records on a page, and the sign-in of its people."""

    def __init__(
        self, folder: Path, server: ServerProcess, credentials: Credentials, readers: list[Reader], rows: int
    ) -> None:
        folder.mkdir()
        self.rows = rows
        with socket.create_server(("127.0.0.1", 0)) as own, socket.create_server(("127.0.0.1", 0)) as outside:
            self.port, provider_port = own.getsockname()[1], outside.getsockname()[1]
        self.address, self.issuer = f"http://localhost:{self.port}", f"http://localhost:{provider_port}"
        self._provider_port = provider_port
        public = make_key(folder / "signin.key")
        self._standin = StandIn(self.issuer, CLIENT, public, self.address + "/signin/back", ACR, [])
        links = Links(folder / "portal.sqlite")
        links.put_all([(who_of(self.issuer, str(n)), reader.alias) for n, reader in enumerate(readers)])
        links.close()
        pem = msgspec.json.encode(str(credentials.client.resolve())).decode()
        config = folder / "portal.toml"
        config.write_text(
            f'listen = "127.0.0.1:{self.port}"\naddress = "{self.address}"\nlinks = "portal.sqlite"\n'
            f'[hub]\naddress = "{server.address}"\ncertificate = {pem}\nkey = {pem}\n'
            f"ca = {msgspec.json.encode(str(credentials.ca.resolve())).decode()}\n"
            f'[signin]\nissuer = "{self.issuer}"\nclient_id = "{CLIENT}"\nkey = "signin.key"\nacr = ["{ACR}"]\n'
            f"[limits]\npage_rows = {rows}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "hub", "portal", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pid = self.process.pid
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.close()
        raise StorageError("hub portal: expected it to listen, it does not")

    def sign_in(self, people: int) -> list[str]:
        """Let people sign in as in life, one after the other; returns the cookie of each."""
        sock = socket.create_server(("127.0.0.1", self._provider_port))
        quiet = uvicorn.Config(self._standin.app(), access_log=False, log_config=None, ws="none")
        with serve_in_thread(uvicorn.Server(quiet), sock):
            return [self._sign_in(n) for n in range(people)]

    def _sign_in(self, person: int) -> str:
        self._standin.people = [Character(str(person), "", "")]
        with httpx.Client(base_url=self.address, headers={"Origin": self.address}, trust_env=False) as browser:
            way = _link(browser.post("/signin").text, "http")
            with httpx.Client(trust_env=False) as outside:
                back = outside.get(self.issuer + _link(outside.get(way).text, "/chosen/")).headers["location"]
            browser.get(urlsplit(back)._replace(scheme="", netloc="").geturl())
            return f"portal-session={browser.cookies['portal-session']}"

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _link(page: str, start: str) -> str:
    found = re.search(rf'href="({start}[^"]+)"', page)
    if found is None:
        raise StorageError("hub portal: expected a way to sign in, got another page")
    return html.unescape(found[1])


class Scene:
    """See the module."""

    def __init__(
        self, bench: Run, folder: Path, server: ServerProcess, credentials: Credentials, readers: list[Reader]
    ) -> None:
        self.bench, self.folder, self.server = bench, folder, server
        self.credentials, self.readers = credentials, readers

    def __repr__(self) -> str:
        return f"Scene(readers={len(self.readers)})"

    @contextmanager
    def portal(self, rows: int) -> Iterator[tuple[PortalProcess, list[str]]]:
        """A portal with that many records on a page, with everybody signed in: it, and their cookies."""
        portal = PortalProcess(self.folder / f"portal-{rows}", self.server, self.credentials, self.readers, rows)
        try:
            yield portal, portal.sign_in(len(self.readers))
        finally:
            portal.close()

    def load(
        self, case: str, portal: PortalProcess, cookies: list[str], count: int, seconds: float, *, rate: float = 0.0
    ) -> Outcome:
        """Pages of ``/history`` for so long, closed or at a rate, entered as a case; every page is compared."""
        self.bench.progress.step(case)
        path = self.folder / f"{len(list(self.folder.iterdir()))}.npy"
        whom = self.bench.generator(case).integers(0, len(cookies), count)
        frames = np.array([np.frombuffer(request_of(portal, one), np.uint8) for one in cookies])
        np.save(path, frames[whom])
        shown = [reader.shown[portal.rows] for reader in self.readers]
        path.with_suffix(".readers.json").write_bytes(msgspec.json.encode(Readers(whom.tolist(), shown)))
        # At a low rate fewer connections: the server closes one that was silent for five seconds.
        connections = max(1, min(CONNECTIONS, int(rate))) if rate else CONNECTIONS
        load = LoadProcess(self.folder, path.stem, Load(
            port=portal.port, connections=connections, frames=str(path), seconds=seconds, rate=rate,
            form="page", seed=self.bench.options.seed,
        ), module="hub.bench.portalask")  # fmt: skip
        sides = {"portal": portal.pid, "hub": self.server.pid}
        before = {name: use_of([pid]).seconds for name, pid in sides.items()}
        load.go()
        outcome = load.finish()
        results = self.bench.results
        results.add(case, "rows_per_s", outcome.rate)
        results.add_latency(case, outcome.seconds.tolist())
        pages = max(1, outcome.told.asked)
        used: dict[str, Any] = {name: use_of([pid]).seconds - before[name] for name, pid in sides.items()}
        used["client"] = outcome.told.client_s
        for name, spent in used.items():
            if spent > 0:
                results.add(case, f"{name}_us_per_row", spent * 1e6 / pages)
        right = np.zeros(len(outcome.status), np.uint8)
        self.bench.truth.check_column(case, "pages", outcome.status, right, first=False)
        return outcome


    def measure_bare(self, case: str, portal: PortalProcess, cookie: str, count: int, seconds: float) -> None:
        """The same requests of a server that has one of these pages ready; the case's share of that."""
        limit = case.replace("portal: ", "portal: limit ")
        self.bench.progress.step(limit)
        request = request_of(portal, cookie)
        path = self.folder / f"bare-{portal.rows}.npy"
        np.save(path, np.tile(np.frombuffer(request, np.uint8), (count, 1)))
        server = BareServer(fetch(portal.port, request), path.with_suffix(".page"), request)
        try:
            load = LoadProcess(self.folder, path.stem, Load(
                port=server.port, connections=CONNECTIONS, frames=str(path), seconds=seconds,
                reply_bytes=server.reply_bytes, seed=self.bench.options.seed,
            ))  # fmt: skip
            load.go()
            outcome = load.finish()
        finally:
            server.close()
        self.bench.results.add(limit, "rows_per_s", outcome.rate)
        self.bench.results.add_latency(limit, outcome.seconds.tolist())
        self.bench.results.compare(case, limit=limit)


def request_of(portal: PortalProcess, cookie: str, path: str = "/history") -> bytes:
    """A browser's request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{portal.port}\r\nAccept: text/html\r\nAccept-Language: ja\r\n"
        f"Accept-Encoding: gzip, deflate, br, zstd\r\nCookie: {cookie}\r\n\r\n"
    ).encode()
