"""Bodies and heads that are none, too long, of another type or form: refused in words, and nothing changed."""

from __future__ import annotations

import itertools
import json
import ssl
from typing import Any

import msgspec
import pytest
from posting import JSON, MSGPACK, Web, b64, ended, read_answers

from hub.http.calling import read_headers
from hub.http.problems import HttpError
from hub.limits import HTTP_DISCARD_BYTES_MAX, HTTP_JSON_BYTES_MAX, WIRE_CALL_BYTES_MAX

NENKIN = {"hub-institution": "nenkin"}


def inquiry(web: Web, request_id: str, **changes: Any) -> dict[str, Any]:
    words = {"procedure": "19-8/73/75.3", "items": ["地方税"], "role": "納付義務者", "section": "国民年金部"}
    parties = web.parties
    fields = {
        "inquiry": {**words, "request_id": request_id}, "aliases": b64(parties.nenkin[:2]),
        "providers": [[parties.town], ""],
    }  # fmt: skip
    return {**fields, **changes}


def test_an_inquiry_in_json_is_answered_and_recorded(web: Web) -> None:
    answer = web.post("inquire", inquiry(web, "json"), hub_institution="nenkin")
    assert answer.status == 200
    assert (answer.json["status"], answer.json["receipt"]["rows"]) == (b64([0, 0]), 2)
    assert web.parties.h.status("nenkin", "json").complete
    for name, value in (("cache-control", "no-store"), ("content-type", JSON), ("x-content-type-options", "nosniff")):
        assert answer.headers[name] == value
    assert "date" in answer.headers
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "missing required field `inquiry`"),
        (b"{", "truncated"),
        (b'{"inquiry":', "truncated"),
        (b"nonsense", "malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`"),
        (b'{"n": 1}{', "unknown field"),
        (b"\xff\xfe", "malformed"),
        (b'{"\xff": 1}', "UTF-8"),
        (b"[" * 1_000_000, "Expected `object`"),
        (b'{"withhold":' + b"[" * 200_000, "Expected"),
        (b'{"inquiry":{"a":' * 5_000, "unknown field"),
        (b'{"aliases": 3}', "Expected `bytes`"),
        (b'{"aliases": "%%%"}', "base64"),
        (b'{"aliases": ["AAAA"]}', "Expected"),
    ],
    ids=itertools.count(),
)
def test_json_of_another_form_is_refused_in_words(web: Web, body: bytes, words: str) -> None:
    answer = web.send("POST", "/v1/inquire", body, {"content-type": JSON, **NENKIN})
    assert answer.status == 400
    problem = answer.json
    assert (problem["code"], problem["retry_safe"], problem["status"]) == ("request", False, 400)
    assert words in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1", b"\x81", b"\x90", b"\x91" * 1_000_000, b"\xdf\xff\xff\xff\xff", b"\x80\x80", b'{"n": 1}',
        b"\xc6\xff\xff\xff\xff",
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_msgpack_of_another_form_is_refused(web: Web, body: bytes) -> None:
    answer = web.send("POST", "/v1/status", body, {"content-type": MSGPACK, **NENKIN})
    assert (answer.status, answer.json["code"]) == (400, "request")


@pytest.mark.parametrize("cut", range(0, 240, 17))
def test_a_body_that_is_cut_anywhere_changes_nothing(web: Web, cut: int) -> None:
    body = json.dumps(inquiry(web, f"cut{cut}")).encode()
    answer = web.send("POST", "/v1/inquire", body[:cut], {"content-type": JSON, **NENKIN})
    assert answer.status == 400
    assert web.post("status", {"request_id": f"cut{cut}"}, hub_institution="nenkin").status == 400


def test_numbers_that_no_frame_could_carry_are_refused(web: Web) -> None:
    for number in (2**64, -(2**63) - 1, 10**40):
        answer = web.post("collect", {"limit": number}, hub_institution=web.parties.town)
        assert (answer.status, answer.json["code"]) == (400, "request")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=shift_jis"}, 415),
        ({"content-type": JSON, "content-encoding": "gzip"}, 415),
        ({}, 415),
        ({"content-type": JSON, "accept": "text/html"}, 406),
        ({"content-type": JSON, "accept": "application/json;q=0"}, 406),
        ({"content-type": "Application/JSON; Charset=UTF-8"}, 200),
        ({"content-type": JSON, "accept": "text/html, */*;q=0.1"}, 200),
    ],
)  # fmt: skip
def test_another_type_is_refused_before_the_body_counts(web: Web, headers: dict[str, str], status: int) -> None:
    answer = web.send("POST", "/v1/wanted_count", b"{}", {**headers, "hub-institution": web.parties.town})
    assert answer.status == status
    if status != 200:
        assert answer.json["status"] == status


def test_body_and_answer_may_have_two_types(web: Web) -> None:
    sent = msgspec.msgpack.encode({"request_id": "unknown"})
    answer = web.send("POST", "/v1/find_file", sent, {"content-type": MSGPACK, "accept": JSON, **NENKIN})
    assert (answer.status, answer.headers["content-type"], answer.json) == (200, JSON, None)
    answer = web.send("POST", "/v1/checkpoint", b"{}", {"content-type": JSON, "accept": MSGPACK})
    assert msgspec.msgpack.decode(answer.body) == web.parties.h.checkpoint()
    # Without arguments there need be no body.
    assert web.send("POST", "/v1/checkpoint").json == web.parties.h.checkpoint()


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", JSON), ("application/*", JSON), ("", JSON), (MSGPACK, MSGPACK),
        ("application/json;q=0.1, */*", MSGPACK),
        ("application/msgpack;q=0.2, application/json;q=0.3", JSON), ("*/*, application/json;q=0", MSGPACK),
        ("application/msgpack;q=nonsense, application/*", JSON),
    ],
)  # fmt: skip
def test_the_answer_has_the_type_that_is_wanted_most(accept: str, media: str) -> None:
    assert read_headers([(b"content-type", JSON.encode()), (b"accept", accept.encode())], empty=False).accepted == media


def test_who_calls_is_said_once() -> None:
    with pytest.raises(HttpError, match="hub-institution once"):
        read_headers([(b"hub-institution", b"a"), (b"hub-institution", b"b")], empty=True)


def test_an_unknown_method_and_another_verb_are_refused(web: Web) -> None:
    assert web.post("resolve", {}).status == 404
    assert web.post("../v1/status", {}).status == 404
    assert web.send("POST", "/", b"").status == 404
    other = web.send("GET", "/v1/status")
    assert (other.status, set(other.headers["allow"].split(", "))) == (405, {"POST", "OPTIONS"})
    for answer in (web.post("resolve", {}), other):
        assert answer.headers["content-type"] == "application/problem+json"


def head(web: Web, *lines: str, method: str = "status") -> bytes:
    return "\r\n".join([f"POST /v1/{method} HTTP/1.1", "Host: hub", "Hub-Institution: nenkin", *lines, "", ""]).encode()


def answered_without_a_body(web: Web, *lines: str) -> tuple[int, bool]:
    """Status of what is answered before anything of a body was sent, and whether the connection ends."""
    with web.tls() as sock:
        sock.sendall(head(web, *lines))
        (answer,) = read_answers(sock)
        return answer.status, ended(sock)


def test_a_length_that_is_too_great_is_refused_before_the_body(web: Web) -> None:
    for media, bound in ((JSON, HTTP_JSON_BYTES_MAX), (MSGPACK, WIRE_CALL_BYTES_MAX)):
        lines = f"Content-Type: {media}", f"Content-Length: {bound + 1}"
        assert answered_without_a_body(web, *lines) == (413, True)
    # As long as may be, but more than may be under way.
    lines = f"Content-Type: {MSGPACK}", f"Content-Length: {WIRE_CALL_BYTES_MAX}"
    assert answered_without_a_body(web, *lines) == (503, True)
    assert answered_without_a_body(web, *lines, "Expect: 100-continue") == (503, True)
    huge = "Content-Length: " + "9" * 30
    assert answered_without_a_body(web, f"Content-Type: {JSON}", huge)[0] in (400, 413)


def test_what_waits_for_leave_to_send_gets_it_or_an_answer(web: Web) -> None:
    body = b'{"request_id":"x"}'
    with web.tls() as sock:
        sock.sendall(head(web, f"Content-Type: {JSON}", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert sock.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        (answer,) = read_answers(sock)
        assert (answer.status, answer.json["code"]) == (400, "request")


def chunks(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_chunks_are_taken_and_bounded_as_they_come(web: Web) -> None:
    lines = f"Content-Type: {JSON}", "Transfer-Encoding: chunked"
    body = json.dumps(inquiry(web, "chunks")).encode()
    with web.tls() as sock:
        sock.sendall(head(web, *lines, method="inquire") + chunks(body, 7))
        (answer,) = read_answers(sock)
        assert answer.status == 200
        # The same connection goes on.
        sock.sendall(head(web, *lines) + chunks(b" " * (HTTP_JSON_BYTES_MAX - 2) + b"{}", 1 << 16))
        (answer,) = read_answers(sock)
        assert (answer.status, "request_id" in answer.json["detail"]) == (400, True)
        try:
            sock.sendall(head(web, *lines) + chunks(b" " * (HTTP_JSON_BYTES_MAX + 1), 1 << 16))
        except (ConnectionError, ssl.SSLError):
            return
        (answer,) = read_answers(sock)
        assert answer.status == 413


def test_a_refused_body_is_read_where_it_is_short(web: Web) -> None:
    with web.tls() as sock:
        for size in (10, HTTP_DISCARD_BYTES_MAX):
            lines = "Content-Type: text/plain", f"Content-Length: {size}"
            sock.sendall(head(web, *lines) + b"x" * size)
            (answer,) = read_answers(sock)
            assert (answer.status, "connection" in answer.headers) == (415, False)
        sock.sendall(head(web, "Content-Type: text/plain", f"Content-Length: {HTTP_DISCARD_BYTES_MAX + 1}"))
        (answer,) = read_answers(sock)
        assert (answer.status, answer.headers["connection"]) == (415, "close")


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Content-Length: -1"],
        ["Content-Length: 0x10"],
        ["Content-Length: +2"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Upgrade: websocket", "Connection: upgrade"],
        ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"],
        ["No colon"],
        ["Bad name : x"],
        ["X: a\x00b"],
    ],
    ids=itertools.count(),
)
def test_a_head_that_two_could_read_differently_is_refused(web: Web, lines: list[str]) -> None:
    with web.tls() as sock:
        sock.sendall(head(web, f"Content-Type: {JSON}", *lines) + b"{}")
        (answer,) = read_answers(sock)
        assert answer.status in (400, 411, 501)
        assert ended(sock)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x00", b"GET\r\n\r\n", b"POST /v1/status HTTP/9.9\r\n\r\n", b"\x00" * 64],
    ids=itertools.count(),
)
def test_what_is_no_http_is_refused(web: Web, junk: bytes) -> None:
    with web.tls() as sock:
        sock.sendall(junk)
        (answer,) = read_answers(sock)
        assert (answer.status, answer.json["code"]) == (400, "request")
        assert ended(sock)


def test_trailers_are_refused(web: Web) -> None:
    """They would stand among the headers of a request that is under way."""
    with web.tls() as sock:
        sock.sendall(head(web, f"Content-Type: {JSON}", "Transfer-Encoding: chunked"))
        sock.sendall(b"2\r\n{}\r\n0\r\nX-Client-Cert: forged\r\n\r\n")
        (answer,) = read_answers(sock)
        assert answer.status == 400
        assert ended(sock)


def test_no_bytes_stay_counted_after_what_was_refused(web: Web) -> None:
    server = web.served.server
    assert server is not None
    assert server.calls._bytes_left == server.limits.bytes_in_flight
