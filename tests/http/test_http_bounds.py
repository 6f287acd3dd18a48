"""What one client may take of the server over HTTP: head, body, time, requests ahead, what it does not read.

On both of uvicorn's protocols: httptools, and h11 where that is not installed.
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from posting import JSON, MSGPACK, Answer, Web, b64, ended, read_answers
from served import Network

from hub.http.protocol import BoundedH11, find_protocol, make_bounded_httptools
from hub.limits import HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_PIPELINED_MAX
from hub.wire.config import Limits
from parties import Parties

HEAD = b"POST /v1/checkpoint HTTP/1.1\r\nHost: hub\r\n"
WAIT_S = 6.0
"""Longer than any bound here and the look at the connections, which comes once a second."""


@pytest.fixture(scope="module", params=["httptools", "h11"])
def bounded(request: pytest.FixtureRequest, parties: Parties, network: Network) -> Iterator[Web]:
    pytest.importorskip("httptools" if request.param == "httptools" else "h11")
    chosen = make_bounded_httptools() if request.param == "httptools" else BoundedH11
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.http.listen.find_protocol", lambda: chosen)
        patch.setattr("hub.server.INSPECT_S", 0.1)
        limits = Limits(hello_s=1.0, frame_s=1.0, unread_s=1.0, bytes_in_flight=1 << 25, connections=40)
        found = Web(parties, network, limits=limits)
        try:
            yield found
        finally:
            found.stop()


def connections(web: Web) -> int:
    assert web.served.server is not None
    return len(web.served.server.connections)


def until(condition: Any, seconds: float = WAIT_S) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def cut_while_sending(sock: ssl.SSLSocket, data: bytes) -> bool:
    """Whether the server ends a connection on which byte after byte is sent, slowly."""
    end = time.monotonic() + WAIT_S
    for byte in itertools.cycle(data):
        try:
            sock.sendall(bytes([byte]))
        except (ConnectionError, ssl.SSLError):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    raise AssertionError


def count_answers(sock: ssl.SSLSocket) -> int:
    """How many answers come before the server ends the connection."""
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := sock.recv(65_536):
            data += piece
            if data.count(b"HTTP/1.1 ") == 60:
                break
    return data.count(b"HTTP/1.1 ")


def test_httptools_is_taken_where_it_is_installed() -> None:
    assert find_protocol().__name__ == "BoundedHttptools"


def test_a_head_may_be_so_long_and_no_longer(bounded: Web) -> None:
    with bounded.tls() as sock:
        sock.sendall(HEAD + b"X: " + b"x" * (HTTP_HEAD_BYTES_MAX - 200) + b"\r\n\r\n")
        assert read_answers(sock)[0].status == 200
        sock.sendall(HEAD + b"X: " + b"x" * HTTP_HEAD_BYTES_MAX + b"\r\n\r\n")
        assert read_answers(sock)[0].status == 431
        assert ended(sock)


@pytest.mark.parametrize(
    "junk", [b"POST /" + b"x" * 1_000, b"X: " + b"x" * 1_000, b"X: y\r\n" * 200], ids=["path", "one", "many"]
)
def test_a_head_without_an_end_is_refused_soon(bounded: Web, junk: bytes) -> None:
    with bounded.tls() as sock:
        try:
            sock.sendall(b"" if junk.startswith(b"POST") else HEAD)
            for _ in range(200):
                sock.sendall(junk.rstrip(b"\r\n") if not junk.endswith(b"\r\n") else junk)
                time.sleep(0.0005)
        except (ConnectionError, ssl.SSLError):
            return
        assert ended(sock)


def test_so_many_headers_and_no_more(bounded: Web) -> None:
    def lines(count: int) -> bytes:
        return b"".join(b"X-%d: y\r\n" % number for number in range(count)) + b"\r\n"

    with bounded.tls() as sock:
        sock.sendall(HEAD + lines(HTTP_HEADERS_MAX - 1))
        assert read_answers(sock)[0].status == 200
        sock.sendall(HEAD + lines(HTTP_HEADERS_MAX))
        assert read_answers(sock)[0].status == 431


def test_who_sends_nothing_or_a_head_by_bytes_is_cut(bounded: Web) -> None:
    with bounded.tls() as silent, bounded.tls() as slow:
        assert cut_while_sending(slow, HEAD)
        assert ended(silent)
    assert until(lambda: connections(bounded) == 0)


def test_who_sends_a_body_by_bytes_is_cut(bounded: Web) -> None:
    head = HEAD + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    with bounded.tls() as stalled, bounded.tls() as slow:
        stalled.sendall(head + b"{")
        slow.sendall(head)
        assert cut_while_sending(slow, b" ")
        assert read_answers(stalled)[0].status == 408
        assert ended(stalled)
    assert until(lambda: connections(bounded) == 0)


def test_a_body_that_ends_too_early_is_nothing(bounded: Web) -> None:
    sock = bounded.tls()
    sock.sendall(HEAD + b"Content-Type: application/msgpack\r\nContent-Length: 1000000\r\n\r\n\x81")
    assert until(lambda: bounded.served.server.calls._bytes_left < 1 << 25)  # type: ignore[union-attr]
    sock.close()
    assert until(lambda: bounded.served.server.calls._bytes_left == 1 << 25)  # type: ignore[union-attr]
    assert until(lambda: connections(bounded) == 0)


def test_requests_sent_ahead_are_answered_in_their_order_and_bounded(bounded: Web) -> None:
    def request(number: int) -> bytes:
        body = json.dumps({"request_id": "r" * number}).encode()
        lines = f"Content-Type: {JSON}\r\nHub-Institution: nenkin\r\nContent-Length: {len(body)}\r\n\r\n"
        path = "status" if number % 2 else "checkpoint"
        return f"POST /v1/{path} HTTP/1.1\r\nHost: hub\r\n{lines}".encode() + body

    with bounded.tls() as sock:
        sock.sendall(b"".join(request(number) for number in range(HTTP_PIPELINED_MAX)))
        statuses = []
        with sock.makefile("rb") as response:
            for _ in range(HTTP_PIPELINED_MAX):
                statuses.append(int(response.readline().split()[1]))
                fields = http.client.parse_headers(response)
                response.read(int(fields["content-length"]))
        assert statuses == [400, 400] * (HTTP_PIPELINED_MAX // 2)
        # They are not read further than so many, whoever sends more.
        sent = request(1) * 2_000
        sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            sock.sendall(sent)
            while sock.recv(65_536):
                pass
    if bounded.served.server.http._protocol is not BoundedH11:  # type: ignore[union-attr]
        # More that come at once are too many; h11 has only one of them under way.
        with bounded.tls() as sock:
            sock.sendall(request(1) * 60)
            assert count_answers(sock) < 60
    # h11 still answers what has come in one piece.
    assert until(lambda: connections(bounded) == 0, 30)


def test_who_does_not_read_a_long_answer_is_cut(bounded: Web) -> None:
    """Its bytes are counted as long as they wait, and no longer."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.settimeout(10)
    raw.connect(("127.0.0.1", bounded.port))
    calls = bounded.served.server.calls  # type: ignore[union-attr]
    with bounded.network.context().wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        body = json.dumps({"n": 500_000}).encode()
        lines = f"Content-Type: {JSON}\r\nAccept: {MSGPACK}\r\nHub-Institution: {bounded.parties.town}\r\n"
        head = f"POST /v1/tickets HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        assert until(lambda: calls._bytes_left < 1 << 25)
        assert until(lambda: connections(bounded) == 0)
    assert until(lambda: calls._bytes_left == 1 << 25)


def test_a_long_answer_arrives_whole(bounded: Web) -> None:
    headers = {"content-type": JSON, "accept": MSGPACK, "hub-institution": bounded.parties.town}
    answer = bounded.send("POST", "/v1/tickets", b'{"n": 200000}', headers)
    assert (answer.status, len(answer.body)) == (200, 3_200_005)
    # As JSON one that is longer than it may be is refused in words.
    answer = bounded.post("tickets", {"n": 1_048_577}, hub_institution=bounded.parties.town)
    assert (answer.status, answer.json["code"]) == (406, "request")
    assert len(bounded.post("tickets", {"n": 1_048_575}, hub_institution=bounded.parties.town).json) > 1 << 24


def test_one_connection_too_many_is_told_so(bounded: Web) -> None:
    socks = [bounded.unix() for _ in range(40)]
    assert until(lambda: connections(bounded) == 40)
    answer = bounded.post("checkpoint")
    assert (answer.status, answer.json["code"], answer.json["retry_safe"]) == (503, "busy", True)
    assert int(answer.headers["retry-after"]) == 5
    for sock in socks:
        sock.close()
    assert until(lambda: connections(bounded) == 0)
    assert bounded.post("checkpoint").status == 200


def test_a_connection_serves_many_requests_and_leaves_nothing_behind(bounded: Web) -> None:
    connection = bounded.connection()
    for _ in range(300):
        headers = {"content-type": JSON, "hub-institution": "nenkin"}
        connection.request("POST", "/v1/status", b'{"request_id":"x"}', headers)
        assert Answer(connection.getresponse()).status == 400
    connection.close()
    assert until(lambda: connections(bounded) == 0)
    gc.collect()
    waiting = [one for one in gc.get_objects() if type(one).__name__ == "Waiting" and "calling" in type(one).__module__]
    assert waiting == []


def test_at_the_end_what_is_open_is_answered(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        stop_while_asked(parties, network)


def stop_while_asked(parties: Parties, network: Network) -> None:
    web = Web(parties, network)
    idle = web.tls()
    connection = web.connection()
    words = {"procedure": "19-8/73/75.3", "items": ["地方税"], "role": "納付義務者", "section": "s"}
    inquiry = {**words, "request_id": "end"}
    rows = 100_000
    body = json.dumps(
        {"inquiry": inquiry, "aliases": b64(parties.nenkin[:1].tobytes() * rows), "providers": [[parties.town], ""]}
    ).encode()
    connection.request("POST", "/v1/inquire", body, {"content-type": JSON, "hub-institution": "nenkin"})
    answers: list[Answer] = []
    reading = threading.Thread(target=lambda: answers.append(Answer(connection.getresponse())))
    reading.start()
    server = web.served.server
    assert server is not None
    assert until(lambda: any(one.cycle and not one.cycle.more_body and one.busy for one in list(server.connections)))
    web.served.begin_stop()
    assert ended(idle)
    reading.join(30)
    assert [answer.status for answer in answers] == [200]
    assert answers[0].json["receipt"]["rows"] == rows
    web.stop()
    assert parties.h.status("nenkin", "end").complete
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", web.port), timeout=5)
