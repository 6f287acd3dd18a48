"""A hub that is served over real sockets, with certificates, in a thread of the test."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from certificates import Authority, Issued

import hub
from hub.server import Server, run_in_loop
from hub.wire.config import Certificate, Config, Limits, Plain, Tls


class Served:
    """Serves an open hub until it is stopped.

    Args:
        as_usual: in the loop that ``hub serve`` takes, uvloop's where it is installed; otherwise in Python's own.
    """

    def __init__(self, h: hub.Hub, config: Config, *, as_usual: bool = False) -> None:
        self.h = h
        self.server: Server | None = None
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        run = run_in_loop if as_usual else asyncio.run
        self._thread = threading.Thread(target=lambda: run(self._serve(config)), daemon=True)
        self._thread.start()
        self._ready.wait(20)
        if self._error is not None:
            raise self._error

    async def _serve(self, config: Config) -> None:
        try:
            self.server = Server(self.h, config)
            self._stop, self.loop = asyncio.Event(), asyncio.get_running_loop()
            await self.server.start()
        except BaseException as error:
            self._error = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await self.server.stop()

    @property
    def address(self) -> str:
        assert self.server is not None
        return self.server.address

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def do(self, work: Callable[[], Any]) -> None:
        """Do something in the server's loop."""
        assert self.loop is not None
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def begin_stop(self) -> None:
        assert self.loop is not None
        assert self._stop is not None
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        self.begin_stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


class Network:
    """An authority, the server's certificate, and one client that may call for some institutions."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = Authority(folder)
        self.host = self.authority.issue("server", server=True)
        self.client = self.authority.issue("client")

    def config(self, institutions: list[str], *, crls: bool = False, **changes: Any) -> Config:
        tls = Tls(self.host.cert, self.host.key, self.authority.ca, [self.authority.crl] if crls else [])
        listed = Certificate(name="platform", institutions=institutions, key_sha256=self.client.key_sha256)
        fields = {"folder": "", "listen": "127.0.0.1:0", "tls": tls, "certificates": [listed]}
        return Config(**{**fields, **changes})

    def connect(self, served: Served, client: Issued | None = None, **options: Any) -> Any:
        own = client or self.client
        return hub.connect(served.address, cert=own.cert, key=own.key, ca=self.authority.ca, **options)

    def context(self, client: Issued | None = None) -> ssl.SSLContext:
        own = client or self.client
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.load_cert_chain(own.cert, own.key)
        return context

    def socket(self, served: Served, client: Issued | None = None) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        return self.context(client).wrap_socket(raw, server_hostname="127.0.0.1")


def plain_config(institutions: list[str], limits: Limits | None = None, listen: str = "127.0.0.1:0") -> Config:
    """A server without TLS, on loopback."""
    return Config(
        folder="", listen=listen, plain=Plain("here", institutions), limits=limits or Limits()
    )


def frame(message: Any, version: int = 1) -> bytes:
    body = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
    return struct.pack("<IB", len(body) + 1, version) + body


HELLO = frame([1, [1], "test"], 0)


class Wires:
    """A client that sends what it likes."""

    def __init__(self, port: int, *, hello: bool = True, sock: socket.socket | None = None) -> None:
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=10)
        self.data = b""
        if hello:
            self.send(HELLO)
            self.welcome = self.read()
            assert self.welcome[0] == 2

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _take(self, size: int) -> bytes:
        while len(self.data) < size:
            piece = self.sock.recv(65_536)
            if not piece:
                raise EOFError
            self.data += piece
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def read(self) -> list[Any]:
        """The next message; EOFError where the server closed."""
        (size,) = struct.unpack("<I", self._take(4))
        return msgspec.msgpack.decode(self._take(size)[1:])

    def call(self, number: int, institution: str, method: str, arguments: Any, *, progress: bool = False) -> None:
        body = arguments if isinstance(arguments, bytes) else msgspec.msgpack.encode(arguments)
        self.send(frame([3, number, institution, method, progress, len(body), body]))

    def ended(self) -> bool:
        """Whether the server closes, whatever it says before."""
        try:
            while True:
                self.read()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self.sock.close()
