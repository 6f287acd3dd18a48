"""The wire in the gate: a hub served over TLS, asked in bulk by the hub's own client, and row by row by a plain one.

The plain client is written from docs/wire.md: sixteen blocking connections, each with some calls in flight. With one in
flight each a burst was rounds of both processes' turns, and on a busy machine it differed by 20 % from block to block.
Both sides are asked by the same client, so that only the server's code differs.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hub.bench.gate.people import REQUESTER, Served, World
from hub.bench.gate.timing import Lacks, Prepared, Seconds, Wrong, expect, timed
from hub.bench.served import Credentials

CONNECTIONS, EACH = 16, 24
ANSWER_SECONDS_MAX = 60.0
RECEIVED_BYTES = 1 << 14
OK, REPLY = 0, 5
GREETING, VERSION = 0, 1
REPLY_BYTES = 172
"""Of a frame that answers a single inquiry, about: what the limit sends back."""

ECHO = Path(__file__).with_name("echo.py")


def serve(world: World) -> Served:
    """The hub that is served.

    Raises:
        Lacks: this side's hub does not serve.
    """
    from hub.errors import HubError

    try:
        return world.served
    except HubError as error:
        raise Lacks(str(error)) from None


def bulk(world: World) -> Prepared:
    """From a client's columns to a client's columns, at the hub all that an inquiry is."""
    import hub

    served = serve(world)
    people, rows = served.people, world.rows // 4
    client, ca = str(served.credentials.client), str(served.credentials.ca)
    remote = hub.connect(served.server.address, cert=client, ca=ca)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        persons = world.random.integers(0, len(people.codes), rows)
        asked, aliases, providers = world.inquiry(), people.requester[persons], people.homes[people.home[persons]]
        seconds, answers = timed(lambda: remote.inquire(asked, aliases, providers), beside=served.server.pid)
        return seconds, lambda: expect("wire: statuses", int(np.count_nonzero(answers[0].status)), 0)

    return rows, burst


def single(world: World) -> Prepared:
    """One row a call; the hub may take calls that are there together."""
    served = serve(world)
    links = connect_all(served.credentials, served.server.port)
    for link in links:
        link.sendall(pack([1, [VERSION], "hub-gate"], GREETING))
    for link in links:
        receive(link, 1)
    rows = CONNECTIONS * EACH

    def burst() -> tuple[Seconds, Callable[[], None]]:
        frames = frames_of(world, served, rows)
        seconds, (replies,) = timed(lambda: ask_all(links, frames), beside=served.server.pid)
        return seconds, lambda: expect("wire: statuses", [status_of(reply) for reply in replies], [OK] * rows)

    return rows, burst


def frames_of(world: World, served: Served, count: int) -> list[bytes]:
    """Single inquiries about random persons at their homes, each with a request id of its own."""
    people, sample = served.people, world.inquiry()
    found = []
    for number, person in enumerate(world.random.integers(0, len(people.codes), count).tolist()):
        asked = {
            "procedure": sample.procedure, "items": sample.items, "role": sample.role, "section": sample.section,
            "request_id": world.new_id(),
        }  # fmt: skip
        given = {
            "inquiry": asked, "aliases": people.requester[person].tobytes(),
            "providers": ([people.home_codes[people.home[person]]], b""),
        }  # fmt: skip
        body = msgspec.msgpack.encode(given)
        found.append(pack([3, number, REQUESTER, "inquire", False, len(body), body], VERSION))
    return found


def pack(message: list[Any], version: int) -> bytes:
    """A message as a frame."""
    content = msgspec.msgpack.encode(message)
    return struct.pack("<IB", len(content) + 1, version) + content


def status_of(frame: bytes) -> int:
    """Of the one row that a reply is about; -1 for what is none."""
    kind, *rest = msgspec.msgpack.decode(frame[5:])
    return int(msgspec.msgpack.decode(rest[2])["status"][0]) if kind == REPLY else -1


def connect_all(credentials: Credentials, port: int) -> list[ssl.SSLSocket]:
    """So many connections, handshakes done."""
    context = ssl.create_default_context(cafile=str(credentials.ca))
    context.load_cert_chain(credentials.client)
    found = []
    for _ in range(CONNECTIONS):
        plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.append(context.wrap_socket(plain, server_hostname="127.0.0.1"))
    return found


def ask_all(links: Sequence[ssl.SSLSocket], frames: Sequence[bytes]) -> list[bytes]:
    """Send every frame, in turns over the connections; then all replies, those of a connection together."""
    for number, frame in enumerate(frames):
        links[number % len(links)].sendall(frame)
    return [reply for link in links for reply in receive(link, len(frames) // len(links))]


def receive(link: ssl.SSLSocket, count: int) -> list[bytes]:
    """The next frames; nothing may follow them, since nothing else was asked."""
    data = b""
    found: list[bytes] = []
    while len(found) < count:
        piece = link.recv(RECEIVED_BYTES)
        if not piece:
            raise Wrong("wire: expected a reply, got the end of the connection")
        data += piece
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4], "little")):
            found.append(data[: 4 + size])
            data = data[4 + size :]
    return found


@contextlib.contextmanager
def echo(credentials: Credentials) -> Iterator[tuple[list[ssl.SSLSocket], int]]:
    """Connections to a process that only answers, and its pid: what machine, TLS and this client allow."""
    command = [sys.executable, "-P", str(ECHO), str(credentials.server), str(credentials.ca), str(REPLY_BYTES)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    links: list[ssl.SSLSocket] = []
    try:
        links = connect_all(credentials, int(process.stdout.readline()))
        yield links, process.pid
    finally:
        for link in links:
            link.close()
        process.stdin.close()
        process.wait()
        process.stdout.close()
