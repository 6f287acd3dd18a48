"""The portal's load: when a response is whole, and that a page is right only with exactly its reader's records."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hub.bench.portalask import digest_of, is_whole, judge_page, read_page
from hub.bench.wireask import WRONG

MINE = ("1-1", "1-2")


def page(addresses: tuple[str, ...], *, status: str = "200 OK", end: str = "</html>") -> bytes:
    """A response that is compressed."""
    links = "".join(f'<a href="/record/{one}">' for one in addresses)
    body = gzip.compress(f"<html>{links}{end}".encode())
    head = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_page_with_its_readers_records_is_right() -> None:
    assert judge_page(page(MINE[::-1]), digest_of(MINE)) == 0


@pytest.mark.parametrize(
    "data",
    [page(MINE[:1]), page((*MINE, "1-3")), page(("1-1", "1-3")), page(()), page(MINE, status="503 Away"),
     page(MINE, end=""), page(MINE)[:-3], b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["one-less", "one-more", "another", "none", "away", "cut", "damaged", "empty"],
)  # fmt: skip
def test_any_other_page_is_wrong(data: bytes) -> None:
    assert judge_page(data, digest_of(MINE)) == WRONG


def test_a_response_is_whole_when_all_of_it_is_there_and_not_before() -> None:
    for data in (page(MINE), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
        assert is_whole(data)
        assert not any(is_whole(data[:end]) for end in range(len(data)))


def test_pieces_are_put_together() -> None:
    whole = read_page(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (whole.status, whole.body, whole.content) == (200, b"abcde", b"abcde")


def test_the_limit_answers_with_the_page_it_was_given(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    from hub.bench.portalbare import BareServer, fetch

    request = b"GET /history HTTP/1.1\r\nHost: localhost\r\n\r\n"
    server = BareServer(page(MINE), tmp_path / "page", request)
    try:
        found = [fetch(server.port, request) for _ in range(2)]
    finally:
        server.close()
    assert [judge_page(data, digest_of(MINE)) for data in found] == [0, 0]
    assert {len(data) for data in found} == {server.reply_bytes}
