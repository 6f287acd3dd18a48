"""TLS of the server's connections: any cut of the bytes, any size, farewells, what breaks, what stays silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from certificates import Authority, Issued

from hub.server import run_in_loop
from hub.wire.tls import TlsBuffer, TlsConnection

HANDSHAKE_S = 30.0


class Echo(asyncio.Protocol):
    """Sends back what comes, and counts what it heard of."""

    made: list[Echo]
    lost: list[Echo]
    flood = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.paused = 0
        if self.flood:
            self.transport.write(bytes(self.flood))
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(self)


class Place:
    """A loop in a thread that answers as :class:`Echo`."""

    def __init__(self, folder: Path, *, usual: bool) -> None:
        self.authority = Authority(folder)
        self.host = self.authority.issue("server", server=True)
        self.client = self.authority.issue("client")
        self.handshake_s = HANDSHAKE_S
        self.kind: Any = type("Kind", (Echo,), {"made": [], "lost": []})
        self._ready = threading.Event()
        run = run_in_loop if usual else asyncio.run
        self._thread = threading.Thread(target=lambda: run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.host.cert, self.host.key)
        context.load_verify_locations(self.authority.ca)
        self.loop, self._end, buffer = asyncio.get_running_loop(), asyncio.Event(), TlsBuffer()
        listener = await self.loop.create_server(
            lambda: TlsConnection(context, self.kind(), buffer, self.handshake_s), "127.0.0.1", 0
        )
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listener.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def context(self, client: Issued | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.ca)
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context

    def socket(self) -> ssl.SSLSocket:
        # An end without farewell is an error, not an end.
        return self.context(self.client).wrap_socket(
            self.raw(), server_hostname="127.0.0.1", suppress_ragged_eofs=False
        )

    def until(self, count: int, of: list[Echo]) -> None:
        deadline = time.monotonic() + 10
        while len(of) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(of) == count


@pytest.fixture(params=[False, True], ids=["plain-loop", "usual-loop"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path, usual=request.param)
    yield found
    found.stop()


class Cut:
    """A client whose bytes leave in pieces of any length."""

    def __init__(self, place: Place, seed: int) -> None:
        self.random = random.Random(seed)
        self.sock = place.raw()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = place.context(place.client).wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send()
                self.incoming.write(self.sock.recv(65_536))

    def send(self, most: int = 400) -> None:
        data = self.outgoing.read()
        while data:
            size = self.random.randint(1, most)
            self.sock.sendall(data[:size])
            data = data[size:]

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            try:
                found += self.tls.read(size - len(found))
            except ssl.SSLWantReadError:
                self.incoming.write(self.sock.recv(65_536))
        return found


def read(sock: ssl.SSLSocket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = sock.recv(1 << 20)
        assert piece
        found += piece
    return bytes(found)


def test_what_is_sent_comes_back_however_it_was_cut(place: Place) -> None:
    clients = [Cut(place, seed) for seed in range(8)]
    sent = [bytes([seed]) * (300 * (seed + 1)) for seed in range(8)]
    # Their pieces alternate, and all of them pass through one buffer.
    for client, data in zip(clients, sent, strict=True):
        client.tls.write(data)
    left = {client: client.outgoing.read() for client in clients}
    while any(left.values()):
        for client in clients:
            size = client.random.randint(1, 50)
            client.sock.sendall(left[client][:size])
            left[client] = left[client][size:]
    assert [client.read(len(data)) for client, data in zip(clients, sent, strict=True)] == sent
    for client in clients:
        client.sock.close()
    place.until(8, place.kind.lost)


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 3_000_000])
def test_messages_of_any_size_pass(place: Place, size: int) -> None:
    data = random.Random(size).randbytes(size)
    client = Cut(place, size)
    client.tls.write(data)
    # Only what is encrypted already leaves in another thread.
    sender = threading.Thread(target=client.sock.sendall, args=(client.outgoing.read(),))
    sender.start()
    assert client.read(size) == data
    sender.join()
    client.sock.close()


def test_a_farewell_is_answered(place: Place) -> None:
    sock = place.socket()
    sock.sendall(b"x")
    assert sock.recv(10) == b"x"
    sock.unwrap().close()
    place.until(1, place.kind.lost)


def test_the_server_takes_leave_when_it_closes(place: Place) -> None:
    with place.socket() as sock:
        place.until(1, place.kind.made)
        place.loop.call_soon_threadsafe(place.kind.made[0].transport.close)
        assert sock.recv(10) == b""
    place.until(1, place.kind.lost)


def test_a_broken_record_ends_only_its_own_connection(place: Place) -> None:
    other = place.socket()
    broken = place.socket()
    raw = socket.socket(fileno=broken.detach())
    raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    place.until(1, place.kind.lost)
    raw.close()
    other.sendall(b"still there")
    assert read(other, 11) == b"still there"
    other.close()


def test_without_a_certificate_nothing_is_heard_of_a_client_and_it_is_told(place: Place) -> None:
    # In TLS 1.3 a client has shaken hands before it is refused.
    sock = place.context(None).wrap_socket(place.raw(), server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        sock.recv(10)
    sock.close()
    assert place.kind.made == place.kind.lost == []


def test_a_handshake_that_never_ends_is_cut(place: Place) -> None:
    place.handshake_s = 0.2
    with place.raw() as sock:
        sock.sendall(b"\x16\x03\x01")
        assert sock.recv(10) == b""
    assert place.kind.made == place.kind.lost == []


def test_a_handshake_that_has_ended_is_not_cut(place: Place) -> None:
    with place.socket() as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"
        assert place.kind.made[0].transport._timer is None


def test_whoever_takes_leave_without_having_read_is_cut(place: Place) -> None:
    place.kind.flood = 30_000_000
    sock = place.socket()
    place.until(1, place.kind.made)
    assert place.kind.made[0].paused == 1
    place.kind.made[0].transport._timeout = 0.1
    with contextlib.suppress(ssl.SSLError, OSError):
        sock.settimeout(0.1)
        sock.unwrap()
    place.until(1, place.kind.lost)
    sock.close()


def test_nothing_is_written_behind_the_end(place: Place) -> None:
    with place.socket() as sock:
        place.until(1, place.kind.made)

        def end() -> None:
            transport = place.kind.made[0].transport
            transport.write(b"last")
            transport.close()
            transport.write(b"behind it")
            transport.close()
            assert transport.is_closing()

        place.loop.call_soon_threadsafe(end)
        assert read(sock, 4) == b"last"
        assert sock.recv(10) == b""
