"""What the wire is measured beside: an echo as the machine's limit, Redis, an HTTP server that answers JSON.

All of them answer the rows of the hub's own cases, over loopback, and are asked by the same load. They are spared what
the hub does beside: they check no rule, keep no record and sync nothing. Peers hold the first ``PERSONS`` persons only.

    python -m hub.bench.wirepeers echo|http SPEC         with SPEC the path of a :class:`Place` as JSON
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from hub.bench.served import Credentials
from hub.errors import StorageError
from hub.server import run_in_loop
from hub.wire.tls import TlsBuffer, TlsConnection

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint32]

PERSONS = 200_000
PIPELINE_ROWS = 10_000
"""Rows of a pipeline, and of a JSON request: more make neither of them faster."""

GATHER_S = 0.000_5
HANDSHAKE_S = 10.0


class Place(msgspec.Struct):
    """What a peer's process is told.

    Attributes:
        certificate, ca: files for TLS. request_bytes, reply_bytes: of an echo. rows: file with whom it knows.
    """

    certificate: str
    ca: str
    request_bytes: int = 0
    reply_bytes: int = 0
    rows: str = ""

    def context(self) -> ssl.SSLContext:
        """A server's that wants client certificates."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        context.load_cert_chain(self.certificate)
        return context


class PeerProcess:
    """An echo or an HTTP server, in a process of its own.

    Attributes:
        port: where it listens. pid: of the process.
    """

    def __init__(self, kind: str, folder: Path, credentials: Credentials, **known: Any) -> None:
        spec = folder / f"{kind}.json"
        pem, ca = str(credentials.server), str(credentials.ca)
        spec.write_bytes(msgspec.json.encode(Place(pem, ca, **known)))
        command = [sys.executable, "-m", "hub.bench.wirepeers", kind, str(spec)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            self.close()
            raise StorageError(f"{kind}: expected a port, got none")
        self.port = int(line)

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


# -- the echo


class Echo(asyncio.Protocol):
    """Counts the requests that came, and hands their number over."""

    def __init__(self, place: Place, gathered: Gathered) -> None:
        self._place, self._gathered, self._bytes = place, gathered, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        while self._bytes >= self._place.request_bytes:
            self._bytes -= self._place.request_bytes
            self._gathered.push(self)


class Gathered:
    """A thread that sleeps where the hub's would work and sync, then lets everything be answered."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._waiting: list[Echo] = []
        self._some = threading.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, daemon=True).start()

    def push(self, echo: Echo) -> None:
        self._waiting.append(echo)
        if len(self._waiting) == 1:
            self._some.set()

    def _work(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            time.sleep(GATHER_S)
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for echo in waiting:
            echo.write(self._reply)


async def serve_echo(place: Place) -> None:
    """Answer every so many bytes with so many others."""
    reply = struct.pack("<I", place.reply_bytes - 4) + bytes(place.reply_bytes - 4)
    gathered = Gathered(reply)
    loop = asyncio.get_running_loop()
    context, buffer = place.context(), TlsBuffer()
    server = await loop.create_server(
        lambda: TlsConnection(context, Echo(place, gathered), buffer, HANDSHAKE_S), "127.0.0.1", 0, backlog=1_024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- HTTP


def http_lacks() -> str | None:
    """What of the HTTP server is not installed."""
    return None if importlib.util.find_spec("uvicorn") else "uvicorn is not installed"


class Question(msgspec.Struct):
    """A request's JSON: aliases as 32 hex digits, and whom to ask for each."""

    aliases: list[str]
    providers: list[str]


def serve_http(place: Place) -> None:
    """Look rows up in two dicts; nothing of a framework between uvicorn and that."""
    with np.load(place.rows) as file:
        persons = {alias: number for number, alias in enumerate(hex_of(file["aliases"]))}
        keys = zip(file["codes"].tolist(), range(len(persons)), strict=True)
        provided = dict(zip(keys, hex_of(file["home"]), strict=True))
    decode, encode = msgspec.json.Decoder(Question).decode, msgspec.json.encode

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        question = decode(body)
        found = [
            None if (person := persons.get(alias)) is None else provided.get((provider, person))
            for alias, provider in zip(question.aliases, question.providers, strict=True)
        ]
        answer = encode({"aliases": found})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn = importlib.import_module("uvicorn")
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    config = uvicorn.Config(
        app, ssl_certfile=place.certificate, ssl_ca_certs=place.ca, ssl_cert_reqs=ssl.CERT_REQUIRED, lifespan="off",
        log_level="error", access_log=False,
    )  # fmt: skip
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def hex_of(aliases: npt.NDArray[np.uint8]) -> list[str]:
    """Of each alias its 32 hex digits."""
    text = aliases.tobytes().hex()
    return [text[i : i + 32] for i in range(0, len(text), 32)]


def http_request(aliases: list[str], providers: list[str]) -> bytes:
    """A request as it goes over a connection that stays."""
    body = msgspec.json.encode(Question(aliases, providers))
    head = ["POST /v1/inquire HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


def read_http(connection: socket.socket) -> tuple[bytes, int]:
    """One reply's body, and how long it was with its head."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _some(connection)
    lines = bytes(data[:end]).lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    while len(data) < end + 4 + length:
        data += _some(connection)
    return bytes(data[end + 4 :]), len(data)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise StorageError("peer: expected a reply, its connection ended")
    return data


# -- Redis


class Redis:
    """``redis-server`` with two keys a person: alias -> person, provider and person -> alias.

    Attributes:
        port: where it listens. pid: of the process.
    """

    HIT_BYTES = len(b"$4\r\n....\r\n$16\r\n................\r\n")

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        end = time.monotonic() + 10
        while True:
            try:
                self._connection = socket.create_connection(("127.0.0.1", self.port))
                return
            except OSError:
                if time.monotonic() > end:
                    self.process.kill()
                    self.process.wait()
                    raise StorageError("redis: expected it to listen, it did not") from None
                time.sleep(0.02)

    @staticmethod
    def lacks() -> str | None:
        """Why it cannot run."""
        return None if shutil.which("redis-server") else "redis-server is not installed"

    def load(self, aliases: Bytes, providers: Numbers, provided: Bytes) -> None:
        """Fill it."""
        numbers = _u32(np.arange(len(aliases), dtype=np.uint32))
        parts = (
            (b"*3\r\n$3\r\nSET\r\n$16\r\n", aliases, b"\r\n$4\r\n", numbers, b"\r\n"),
            (b"*3\r\n$3\r\nSET\r\n$8\r\n", _u32(providers), numbers, b"\r\n$16\r\n", provided, b"\r\n"),
        )
        for pattern in parts:
            for piece in _pieces(_join(*pattern)):
                self._ask(piece, 5 * len(piece))

    @staticmethod
    def requests(aliases: Bytes, providers: Numbers, persons: Numbers) -> Bytes:
        """uint8[N, L]: two GET a row. The second key is known beforehand, as it would not be: that spares a round."""
        first, second = b"*2\r\n$3\r\nGET\r\n$16\r\n", b"\r\n*2\r\n$3\r\nGET\r\n$8\r\n"
        return _join(first, aliases, second, _u32(providers), _u32(persons), b"\r\n")

    def resolve(self, aliases: Bytes, providers: Numbers, persons: Numbers) -> Bytes:
        """The providers' aliases of rows that are all there, pipelined."""
        found = np.empty((len(aliases), 16), np.uint8)
        begin = 0
        for piece in _pieces(self.requests(aliases, providers, persons)):
            reply = self._ask(piece, self.HIT_BYTES * len(piece))
            rows = np.frombuffer(reply, np.uint8).reshape(len(piece), self.HIT_BYTES)
            found[begin : begin + len(piece)] = rows[:, -18:-2]
            begin += len(piece)
        return found

    def _ask(self, piece: npt.NDArray[np.uint8], size: int) -> bytearray:
        sender = threading.Thread(target=self._connection.sendall, args=(piece.tobytes(),))
        sender.start()
        data = bytearray()
        while len(data) < size:
            data += _some(self._connection)
        sender.join()
        return data

    def close(self) -> None:
        """Stop it and wait."""
        self._connection.close()
        self.process.terminate()
        self.process.wait()


def _u32(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers, np.uint32).view(np.uint8).reshape(len(numbers), 4)


def _join(*parts: bytes | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    count = next(len(part) for part in parts if not isinstance(part, bytes))
    whole = [
        np.broadcast_to(np.frombuffer(part, np.uint8), (count, len(part))) if isinstance(part, bytes) else part
        for part in parts
    ]
    return np.hstack(whole)


def _pieces(requests: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    for begin in range(0, len(requests), PIPELINE_ROWS):
        yield requests[begin : begin + PIPELINE_ROWS]


def main(kind: str, path: Path) -> None:
    place = msgspec.json.decode(path.read_bytes(), type=Place)
    if kind == "echo":
        run_in_loop(serve_echo(place))
    else:
        serve_http(place)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
