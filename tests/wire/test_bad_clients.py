"""Whoever sends what is none of the protocol, or does not read: refused or cut, and the others hear nothing of it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from served import HELLO, Served, Wires, frame

from hub.errors import BusyError
from hub.limits import WIRE_PART_BYTES
from hub.messages import Status
from inquiries import tax_inquiry
from parties import Parties


def arguments(parties: Parties, request_id: str, rows: int = 1, **changes: Any) -> dict[str, Any]:
    inquiry = {
        "procedure": "19-8/73/75.3", "items": ["市町村民税"], "role": "納付義務者", "section": "国民年金部",
        "request_id": request_id,
    }  # fmt: skip
    aliases = np.tile(parties.nenkin, (rows // len(parties.nenkin) + 1, 1))[:rows].tobytes()
    return {"inquiry": inquiry, "aliases": aliases, "providers": [[parties.town], b""], **changes}


def still_served(plain: Served) -> None:
    """Another client is answered as if nothing were."""
    wires = Wires(plain.port)
    wires.call(1, "nenkin", "verifier_key", {})
    assert wires.read()[:2] == [5, 1]
    wires.close()


def wait_until_alone(plain: Served) -> None:
    """Until the server has noticed that everybody left."""
    assert plain.server is not None
    deadline = time.monotonic() + 10
    while plain.server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert plain.server.connections == set()


def reason_of_end(wires: Wires) -> str:
    """What the server says before it closes."""
    text = ""
    try:
        while True:
            message = wires.read()
            if message[0] == 6 and message[1] is None:
                text = message[3]
    except (EOFError, ConnectionError):
        return text


NOT_HELLO = {
    "of another version": (frame([1, [1], "x"], 1), "frame: expected version 0, got 1"),
    "of versions to come": (frame([1, [2, 3], "x"], 0), "hello: expected one of the versions 1"),
    "a call": (frame([3, 1, "nenkin", "status", False, 0, b""], 0), "hello: expected it first"),
    "a web page": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame: expected 2 to 4096 bytes"),
    "too long": (struct.pack("<I", 4_097), "frame: expected 2 to 4096 bytes, got 4097"),
    "nested": (frame(b"\x91" * 4_000, 0), "message: "),
}


@pytest.mark.parametrize("name", NOT_HELLO)
def test_a_connection_that_begins_otherwise_ends_with_the_reason(plain: Served, name: str) -> None:
    data, text = NOT_HELLO[name]
    wires = Wires(plain.port, hello=False)
    wires.send(data)
    assert text in reason_of_end(wires)
    still_served(plain)


ENDS = {
    "hello again": (HELLO[:4] + b"\1" + HELLO[5:], "hello: expected it once"),
    "oversized": (struct.pack("<I", 1 << 31), "frame: expected 2 to 1048576 bytes"),
    "another version": (frame([4, 1, b"x"], 2), "frame: expected version 1, got 2"),
    "a reply": (frame([5, 1, 0, b""]), "message: "),
    "a part of nothing": (frame([4, 1, b"x"]), "part: expected one of a call that is not complete"),
    "more than it says": (frame([3, 1, "nenkin", "status", False, 1, b"xx"]), "call: expected no more bytes"),
    "a part too many": (
        frame([3, 1, "nenkin", "status", False, 3, b"x"]) + frame([4, 1, b"xxx"]),
        "part: expected bytes that the call announced",
    ),
    "an empty part": (frame([3, 1, "nenkin", "status", False, 3, b"x"]) + frame([4, 1, b""]), "part: expected bytes"),
    "a number twice": (
        frame([3, 1, "nenkin", "status", False, 3, b"x"]) + frame([3, 1, "nenkin", "status", False, 3, b"x"]),
        "call: expected a number that is not in use",
    ),
    "deeply nested": (frame(b"\x93\x04\x01" + b"\x91" * 1_000_000), "message: "),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_frame_out_of_place_ends_the_connection_with_the_reason(plain: Served, name: str) -> None:
    data, text = ENDS[name]
    wires = Wires(plain.port)
    wires.send(data)
    assert text in reason_of_end(wires)
    still_served(plain)


def test_arguments_of_another_form_are_an_error_of_the_call_only(plain: Served, parties: Parties) -> None:
    wires = Wires(plain.port)
    good = arguments(parties, "r")
    bad: list[tuple[str, Any, str]] = [
        ("status", {}, "missing required field `request_id`"),
        ("status", {"request_id": 5}, "Expected `str`, got `int`"),
        ("status", {"request_id": "r", "more": 1}, "unknown field `more`"),
        ("status", b"\x91" * 200_000, "status: "),
        ("status", b"", "status: "),
        ("status", b"\xa1a" * 3, "status: "),
        ("nothing", {}, "method: expected one that the wire has"),
        ("__init__", {}, "method: expected one that the wire has"),
        ("acquire", {}, "method: expected one that the wire has"),
        ("inquire", {**good, "aliases": bytes(15)}, "aliases: expected 16 bytes a row, got 15"),
        ("inquire", {**good, "providers": [[parties.town, "x"], b"\0\0\0\0"]}, "institution: "),
        ("inquire", {**good, "providers": [[parties.town], b"\1\0\0\0"]}, "providers: expected places of 1 codes"),
        ("inquire", {**good, "providers": [[], b"\1\0\0"]}, "providers: expected 4 bytes a row"),
        ("inquire", {**good, "cases": [b"\5\0\0\0", b"four"]}, "cases: expected as many bytes"),
        ("inquire", {**good, "cases": [b"\1\0\0\0", b"\xff"]}, "cases: expected UTF-8"),
        ("inquire", {**good, "consents": b"\2"}, "consents: expected 0 or 1"),
        ("inquire", {**good, "inquiry": {**good["inquiry"], "requester": "mhlw"}}, "unknown field `requester`"),
        ("inquire", {**good, "inquiry": {**good["inquiry"], "operator": "o" * 99}}, "operator: expected 1 to"),
        ("collect", {"limit": 2**40}, "limit: expected"),
        ("collect", {"limit": -(2**63)}, "limit: expected"),
        ("history", {"portal_alias": b"short"}, "alias: expected 16 bytes"),
    ]
    for number, (method, given, text) in enumerate(bad):
        wires.call(number, "portal" if method == "history" else "nenkin", method, given)
        fault = wires.read()
        assert fault[:3] in ([6, number, "request"], [6, number, "catalog"]), fault
        assert text in fault[3]
    wires.call(99, "nenkin", "inquire", good)
    assert wires.read()[:2] == [5, 99]
    wires.close()


def test_a_connection_cut_at_every_byte_of_a_frame_leaves_nothing_half_done(plain: Served, parties: Parties) -> None:
    body = msgspec.msgpack.encode(arguments(parties, "cut", 2))
    data = frame([3, 1, "nenkin", "inquire", False, len(body), body])
    before = parties.h.stats()["records"]
    for end in range(len(data)):
        sock = socket.create_connection(("127.0.0.1", plain.port), timeout=10)
        sock.sendall(HELLO + data[:end])
        sock.close()
    # The server reads what they sent, and whatever it took for a call is done, before anybody looks.
    wait_until_alone(plain)
    time.sleep(0.1)
    assert parties.h.stats()["records"] == before
    wires = Wires(plain.port)
    wires.send(data)
    assert wires.read()[:2] == [5, 1]
    assert parties.h.stats()["records"] == before + 2


def test_a_long_call_cut_between_its_parts_is_forgotten_with_its_bytes(plain: Served, parties: Parties) -> None:
    body = msgspec.msgpack.encode(arguments(parties, "long", 150_000))
    for end in (1, 2, 5, 8):
        wires = Wires(plain.port)
        first, *rest = [body[at : at + WIRE_PART_BYTES] for at in range(0, len(body), WIRE_PART_BYTES)]
        wires.send(frame([3, 1, "nenkin", "inquire", False, len(body), first]))
        for piece in rest[:end]:
            wires.send(frame([4, 1, piece]))
        wires.close()
    # All of them would not fit the bytes in flight at once.
    wait_until_alone(plain)
    assert plain.server is not None
    assert plain.server.calls._bytes_left == 1 << 22
    wires = Wires(plain.port)
    wires.send(frame([3, 7, "nenkin", "inquire", True, len(body), first]))
    for piece in rest:
        wires.send(frame([4, 7, piece]))
    words = []
    while (message := wires.read())[0] != 5:
        words.append(message)
    assert words == [[7, 7, 65_536], [7, 7, 131_072], [7, 7, 150_000]]
    answer = message[3]
    while len(answer) < message[2]:
        answer += wires.read()[2]
    assert len(msgspec.msgpack.decode(answer)["status"]) == 150_000


def test_more_bytes_than_the_server_holds_are_busy_and_their_parts_are_ignored(plain: Served) -> None:
    wires = Wires(plain.port)
    size = (1 << 22) + 1
    wires.send(frame([3, 1, "nenkin", "inquire", False, size, b"x"]))
    fault = wires.read()
    assert fault[:3] == [6, 1, "busy"]
    assert fault[4] is True
    assert fault[5] > 0
    left = size - 1
    while left:
        piece = bytes(min(left, 1 << 19))
        wires.send(frame([4, 1, piece]))
        left -= len(piece)
    wires.call(1, "nenkin", "verifier_key", {})
    assert wires.read()[:2] == [5, 1]
    wires.close()


def test_whoever_sends_slowly_is_cut(plain: Served) -> None:
    """Silent, one byte, half a frame, half a call; one that sends a byte now and then; not one that has no call."""
    half = frame([3, 1, "nenkin", "status", False, 3, b"x"])
    slow = [Wires(plain.port, hello=False) for _ in range(5)]
    for wires, data in zip(slow, (b"", b"\x00", HELLO + b"\x10\x00", HELLO + half, HELLO + half[:9]), strict=True):
        wires.send(data)
    idle = Wires(plain.port)
    begin = time.monotonic()
    ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in half[9:]:
                slow[4].send(bytes([byte]))
                if ended.wait(0.5):
                    return

    dripping = threading.Thread(target=drip)
    dripping.start()
    for wires in slow:
        assert "within seconds" in reason_of_end(wires)
    ended.set()
    dripping.join()
    assert time.monotonic() - begin < 9
    idle.call(1, "nenkin", "verifier_key", {})
    assert idle.read()[:2] == [5, 1]


def test_whoever_sends_the_parts_of_a_call_by_the_byte_is_cut(plain: Served) -> None:
    assert plain.server is not None
    wires = Wires(plain.port)
    wires.send(frame([3, 1, "nenkin", "status", False, 1 << 20, b"x"]))
    ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.2):
                wires.send(frame([4, 1, b"x"]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert "within seconds" in reason_of_end(wires)
    ended.set()
    dripping.join()
    wait_until_alone(plain)
    assert plain.server.calls._bytes_left == 1 << 22


def test_whoever_leaves_little_unread_is_cut_as_well(plain: Served) -> None:
    """What waits for it is less than what makes the server read no further."""
    assert plain.server is not None
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", plain.port))
    wires = Wires(plain.port, sock=sock)
    (connection,) = plain.server.connections
    unread = 0
    for number in range(1_000):
        before, deadline = plain.server.calls.ledger.calls, time.monotonic() + 10
        wires.send(frame([3, number, "nenkin", "catalog", False, 1, b"\x80"]))
        while (plain.server.calls.ledger.calls == before or connection._open) and time.monotonic() < deadline:
            time.sleep(0.001)
        unread = connection._transport.get_write_buffer_size()
        if unread:
            break
    assert 0 < unread < 1 << 20
    wait_until_alone(plain)
    wires.close()


def test_a_long_call_of_a_client_that_left_counts_until_it_is_done(plain: Served, parties: Parties) -> None:
    assert plain.server is not None
    calls = plain.server.calls
    body = msgspec.msgpack.encode(arguments(parties, "left", 120_000))
    wires = Wires(plain.port)
    with parties.h._store.writer:
        wires.send(frame([3, 1, "nenkin", "inquire", False, len(body), body[:WIRE_PART_BYTES]]))
        for at in range(WIRE_PART_BYTES, len(body), WIRE_PART_BYTES):
            wires.send(frame([4, 1, body[at : at + WIRE_PART_BYTES]]))
        wires.call(2, "nenkin", "checkpoint", {})
        assert wires.read()[1] == 2
        wires.close()
        wait_until_alone(plain)
        assert calls._bytes_left == (1 << 22) - len(body)
    deadline = time.monotonic() + 20
    while calls._bytes_left < 1 << 22 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert calls._bytes_left == 1 << 22
    assert parties.h.status("nenkin", "left").complete


def test_whoever_does_not_read_is_cut_and_holds_up_nobody(plain: Served, parties: Parties) -> None:
    wires = Wires(plain.port)
    wires.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sent = threading.Event()

    def ask() -> None:
        try:
            for first in range(0, 1 << 30, 10_000):
                calls = [frame([3, first + i, "nenkin", "catalog", False, 1, b"\x80"]) for i in range(10_000)]
                wires.send(b"".join(calls))
        except OSError:
            sent.set()

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(5):
        still_served(plain)
    # The server reads no further, so the sender waits; then it is cut.
    assert sent.wait(15)
    thread.join()
    wait_until_alone(plain)
    assert plain.server is not None
    assert plain.server.calls._bytes_left == 1 << 22


def test_more_calls_than_may_be_open_wait_and_are_all_answered(plain: Served, parties: Parties) -> None:
    wires = Wires(plain.port)
    assert wires.welcome[3] == 8
    calls = 300
    data = b"".join(
        frame([3, number, "nenkin", "inquire", False, len(body), body])
        for number in range(calls)
        for body in [msgspec.msgpack.encode(arguments(parties, f"n{number}"))]
    )
    assert plain.server is not None
    with parties.h._store.writer:
        threading.Thread(target=wires.send, args=(data,)).start()
        time.sleep(0.3)
        (connection,) = plain.server.connections
        assert len(connection._open) == 8
        still_served(plain)
    replies = [wires.read() for _ in range(calls)]
    assert sorted(reply[1] for reply in replies) == list(range(calls))
    assert {reply[0] for reply in replies} == {5}
    assert parties.h.status("nenkin", "n299").complete


def test_a_call_of_another_institution_is_refused_on_a_plain_connection_too(plain: Served, parties: Parties) -> None:
    wires = Wires(plain.port)
    wires.call(1, "mhlw", "checkpoint", {})
    assert wires.read()[:3] == [6, 1, "access"]
    wires.call(2, "nenkin", "history", {"portal_alias": parties.portal[0].tobytes()})
    assert wires.read()[:3] == [6, 2, "access"]
    wires.call(3, "portal", "history", {"portal_alias": parties.portal[0].tobytes()})
    assert wires.read()[:2] == [5, 3]


def test_a_client_that_goes_away_takes_nothing_back(plain: Served, parties: Parties) -> None:
    wires = Wires(plain.port)
    wires.call(1, "nenkin", "inquire", arguments(parties, "gone"))
    wires.close()
    for _ in range(100):
        # One that came by the wire as a column is not joined by one that did not: it is busy until it is done.
        with contextlib.suppress(BusyError):
            answer = parties.h.inquire(tax_inquiry("gone", operator="here"), parties.nenkin[:1], parties.town)
            break
        time.sleep(0.05)
    assert answer.status.tolist() == [Status.OK]
    assert len(parties.shown(0)) == 1
