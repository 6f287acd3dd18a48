"""Who breaks off, stalls beneath TLS, uses a number twice or calls for another: refused, and nothing of it is kept."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from certificates import Authority
from served import HELLO, Network, Served, Wires, frame
from test_access import told
from test_bad_clients import arguments, reason_of_end, still_served, wait_until_alone

from hub.limits import WIRE_PART_BYTES
from hub.wire.config import Limits
from hub.wire.methods import METHODS
from parties import Parties

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def served(parties: Parties, network: Network) -> Iterator[Served]:
    limits = Limits(hello_s=1.0, frame_s=1.0, unread_s=1.0)
    found = Served(parties.h, network.config(["nenkin", parties.town], limits=limits), as_usual=True)
    yield found
    found.stop()


def test_no_method_at_all_may_be_called_for_another(
    plain: Served, parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in its arguments, and whether or not they come in parts."""
    log = parties.h.checkpoint()
    wires = Wires(plain.port)
    for number, name in enumerate(METHODS):
        wires.call(2 * number, "mhlw", name, {})
        assert wires.read()[:3] == [6, 2 * number, "access"]
        wires.send(frame([3, 2 * number + 1, "mhlw", name, False, 3, b"x"]) + frame([4, 2 * number + 1, b"xx"]))
        assert wires.read()[:3] == [6, 2 * number + 1, "access"]
    lines = told(caplog)
    assert [line["method"] for line in lines] == [name for name in METHODS for _ in range(2)]
    assert {(line["what"], line["institution"]) for line in lines} == {("institution refused", "mhlw")}
    assert parties.h.checkpoint() == log


def test_what_only_the_portal_calls_is_refused_for_others_and_logged(
    plain: Served, parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    wires = Wires(plain.port)
    only = [name for name, method in METHODS.items() if method.only is not None]
    for number, name in enumerate(only):
        wires.call(number, "nenkin", name, {"portal_alias": parties.portal[0].tobytes()})
        fault = wires.read()
        assert fault[:3] == [6, number, "access"]
        assert "expected the institution portal" in fault[3]
    assert [line["method"] for line in told(caplog)] == only


@pytest.mark.parametrize("state", ["that is being done", "whose parts come", "that was refused"])
def test_the_number_of_a_call_is_not_taken_twice(plain: Served, parties: Parties, state: str) -> None:
    wires = Wires(plain.port)
    again = frame([3, 1, "nenkin", "checkpoint", False, 1, b"\x80"])
    with parties.h._store.writer:
        if state == "that is being done":
            wires.call(1, "nenkin", "begin_file", {"request_id": "f", "digest": bytes(32), "rows_max": 1})
        elif state == "whose parts come":
            wires.send(frame([3, 1, "nenkin", "status", False, 3, b"x"]))
        else:
            wires.send(frame([3, 1, "nenkin", "nothing", False, 3, b"x"]))
            assert wires.read()[:2] == [6, 1]
        wires.send(again)
        assert "call: expected a number that is not in use" in reason_of_end(wires)
    still_served(plain)
    # Once it was answered it may be used again.
    other = Wires(plain.port)
    for _ in range(2):
        other.call(1, "nenkin", "checkpoint", {})
        assert other.read()[:2] == [5, 1]


def test_a_certificate_of_another_authority_hears_nothing_and_is_logged(
    served: Served, network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign").issue("client")
    heard = b""
    try:
        with network.socket(served, foreign) as sock:
            sock.sendall(HELLO)
            heard = sock.recv(1_000)
    except (ssl.SSLError, ConnectionError):
        pass
    assert heard == b""
    deadline = time.monotonic() + 10
    while not told(caplog) and time.monotonic() < deadline:
        time.sleep(0.01)
    (line,) = told(caplog)
    assert (line["what"], line["cause"]) == ("handshake refused", "CERTIFICATE_VERIFY_FAILED")


def test_whoever_does_not_shake_hands_is_cut(served: Served) -> None:
    """Silent; half a greeting of TLS; a byte of it now and then."""
    greeting = bytes.fromhex("16030100c8010000c40303") + bytes(20)
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(3)]
    slow[1].sendall(greeting)
    begin = time.monotonic()
    closed: set[int] = set()
    at = 0
    while len(closed) < len(slow) and time.monotonic() < begin + 10:
        for number, sock in enumerate(slow):
            if number in closed:
                continue
            sock.settimeout(0.1)
            try:
                if number == 2:
                    sock.sendall(greeting[at : at + 1])
                    at += 1
                if not sock.recv(100):
                    closed.add(number)
            except TimeoutError:
                pass
            except OSError:
                closed.add(number)
    for sock in slow:
        sock.close()
    assert closed == {0, 1, 2}


def test_a_batch_over_tls_whose_connection_is_reset_anywhere_leaves_nothing(
    served: Served, network: Network, parties: Parties
) -> None:
    """Beneath TLS, in the middle of a record; then the same batch is asked and recorded once."""
    body = msgspec.msgpack.encode(arguments(parties, "reset", 3))
    data = frame([3, 1, "nenkin", "inquire", False, len(body), body])
    context = network.context()
    for end in (*range(0, len(data), 9), len(data) - 1):
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_hostname="127.0.0.1")
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw:
            _shake(tls, raw, inward, outward)
            tls.write(HELLO + data)
            sealed = outward.read()
            raw.sendall(sealed[: len(sealed) - len(data) + end])
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wait_until_alone(served)
    time.sleep(0.1)
    assert parties.h.stats()["records"] == 0
    wires = Wires(0, sock=network.socket(served))
    for number in (1, 2):
        wires.call(number, "nenkin", "inquire", arguments(parties, "reset", 3))
        assert wires.read()[:2] == [5, number]
    assert parties.h.stats()["records"] == 3
    wires.close()


def _shake(tls: ssl.SSLObject, raw: socket.socket, inward: ssl.MemoryBIO, outward: ssl.MemoryBIO) -> None:
    while True:
        try:
            tls.do_handshake()
            raw.sendall(outward.read())
            return
        except ssl.SSLWantReadError:
            raw.sendall(outward.read())
            inward.write(raw.recv(65_536))


def test_many_who_break_off_in_the_middle_of_long_calls_leave_no_bytes_counted(
    plain: Served, parties: Parties
) -> None:
    """Behind open calls, between parts, in a reply: with a reset, so that nobody says farewell."""
    assert plain.server is not None
    body = msgspec.msgpack.encode(arguments(parties, "long", 40_000))
    first = frame([3, 9, "nenkin", "inquire", False, len(body), body[:WIRE_PART_BYTES]])
    for number in range(30):
        wires = Wires(plain.port)
        calls = [frame([3, one, "nenkin", "catalog", False, 1, b"\x80"]) for one in range(number % 9)]
        wires.send(b"".join(calls) + first)
        wires.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        time.sleep(0.003 * (number % 4))
        wires.close()
    wait_until_alone(plain)
    deadline = time.monotonic() + 20
    while plain.server.calls._bytes_left < 1 << 22 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert plain.server.calls._bytes_left == 1 << 22
    still_served(plain)
