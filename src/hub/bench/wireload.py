"""What the wire's stage needs: certificates of its own, the server as a process, many connections that ask."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.errors import StorageError
from hub.wire.access import key_sha256
from hub.wire.frames import VERSIONS, Splitter, encode_frame
from hub.wire.words import Call, Fault, Hello, Progress, Reply, decode_from_server

ENCODER = msgspec.msgpack.Encoder()


class Credentials:
    """An authority, a server's certificate and a client's, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        authority = ec.generate_private_key(ec.SECP256R1())
        own = self._sign("bench authority", authority, authority, authority=True)
        self.ca = self._write("ca", own, None)
        self.server = self._issue("server", authority)
        self.client = self._issue("client", authority)
        self.client_key = key_sha256(x509.load_pem_x509_certificate(self.client.read_bytes()))

    def _issue(self, name: str, authority: ec.EllipticCurvePrivateKey) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._sign(name, key, authority), key)

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, authority: bool = False
    ) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("bench authority"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return builder.add_extension(here, critical=False).sign(by, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None) -> Path:
        path = self.folder / f"{name}.pem"
        data = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            form = serialization.PrivateFormat.PKCS8
            data += key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path.write_bytes(data)
        return path

    def context(self) -> ssl.SSLContext:
        """The client's."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.client)
        return context


class ServerProcess:
    """``hub serve`` on a folder, at any free port."""

    def __init__(self, hub_folder: Path, credentials: Credentials, institutions: list[str]) -> None:
        config = credentials.folder / "hub.toml"
        pem = '"' + str(credentials.server.resolve()) + '"'
        config.write_text(
            f'folder = "{hub_folder.resolve()}"\nlisten = "127.0.0.1:0"\n'
            f'[tls]\ncertificate = {pem}\nkey = {pem}\nca = "{credentials.ca.resolve()}"\n'
            f'[[certificates]]\nname = "bench"\nkey_sha256 = "{credentials.client_key}"\n'
            f"institutions = {msgspec.json.encode(institutions).decode()}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "hub", "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip().rpartition(" ")[2]
        if not self.address.startswith("hubs://"):
            raise StorageError("hub serve: expected an address, got none")
        self.port = int(self.address.rpartition(":")[2])

    def resident_bytes(self) -> int | None:
        """Memory of the server beside the map and other files; None where the kernel does not tell."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return None
        found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
        return found[0] * 1_024 if found else None

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Asker(asyncio.Protocol):
    """One connection with at most one inquiry of one row in flight.

    Attributes:
        ready: done when it is welcome. done: when it has asked all.
    """

    def __init__(self, crowd: Crowd, rows: range) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._crowd, self._rows = crowd, iter(rows)
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._row, self._begin, self._pause = -1, 0.0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(encode_frame(Hello(list(VERSIONS), "hub-bench"), 0))

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(error or ConnectionError("closed by the server"))
                # Of those that had nothing to ask nobody waits for it.
                future.exception()

    def ask(self, pause: float) -> None:
        """Ask the next row, and the one behind it so many seconds after this one at the earliest."""
        self._pause = pause
        self._row = next(self._rows, -1)
        if self._row < 0:
            self.done.set_result(None)
            return
        body = self._crowd.arguments(self._row)
        frame = encode_frame(Call(self._row & 0xFFFF, self._crowd.institution, "inquire", False, len(body), body), 1)
        assert self._transport is not None
        self._begin = time.perf_counter()
        self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        self._splitter.push(data)
        while (message := self._splitter.pop()) is not None:
            word = decode_from_server(message)
            if isinstance(word, Reply):
                self._answered(word)
            elif isinstance(word, Fault):
                self.done.set_exception(StorageError(word.text))
            elif not isinstance(word, Progress) and not self.ready.done():
                self._splitter.agree(1)
                self.ready.set_result(None)

    def _answered(self, reply: Reply) -> None:
        took = time.perf_counter() - self._begin
        crowd = self._crowd
        crowd.seconds[self._row] = took
        crowd.status[self._row] = msgspec.msgpack.decode(reply.body)["status"][0]
        if took >= self._pause:
            self.ask(self._pause)
        else:
            asyncio.get_running_loop().call_later(self._pause - took, self.ask, self._pause)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Crowd:
    """Many connections that ask one row at a time.

    Attributes:
        status, seconds: uint8[N] and float64[N], of each row: its answer and how long it took.
    """

    def __init__(self, institution: str, count: int, arguments: Callable[[int], memoryview]) -> None:
        self.institution, self.arguments = institution, arguments
        self.status: npt.NDArray[np.uint8] = np.full(count, 255, np.uint8)
        self.seconds: npt.NDArray[np.float64] = np.zeros(count)
        self._askers: list[Asker] = []

    async def connect(self, port: int, context: ssl.SSLContext, connections: int) -> None:
        """Connect them, until all are welcome."""
        loop = asyncio.get_running_loop()
        count = len(self.status)
        for first in range(connections):
            _, asker = await loop.create_connection(
                lambda first=first: Asker(self, range(first, count, connections)),  # type: ignore[misc]
                "127.0.0.1", port, ssl=context, server_hostname="127.0.0.1",
            )  # fmt: skip
            self._askers.append(asker)
        await asyncio.gather(*(asker.ready for asker in self._askers))

    async def run(self, port: int, context: ssl.SSLContext, connections: int, pause: float = 0.0) -> float:
        """Let them ask everything; the seconds that it took, connecting not counted."""
        await self.connect(port, context, connections)
        loop, askers = asyncio.get_running_loop(), self._askers
        begin = time.perf_counter()
        for number, asker in enumerate(askers):
            # Not all at once where they keep a pace.
            loop.call_later(pause * number / connections, asker.ask, pause)
        await asyncio.gather(*(asker.done for asker in askers))
        took = time.perf_counter() - begin
        self.close()
        return took

    def close(self) -> None:
        """Close the connections."""
        for asker in self._askers:
            asker.close()
