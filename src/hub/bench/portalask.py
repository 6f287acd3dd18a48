"""The portal's load: ``wireask.py`` with browsers that are signed in, each of which asks for its own page.

    python -m hub.bench.portalask SPEC      as there; beside the frames stand ``*.readers.json``, :class:`Readers`

A page is right if it is whole and shows exactly the records that are its reader's, by their addresses: every line of
every page is compared, when the clock has stopped.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.bench.wireask import NO_ANSWER, WRONG, Crowd, Sender, main

HEAD_END = b"\r\n\r\n"
CHUNKS_END = b"0\r\n\r\n"
_SIZE = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RECORD = re.compile(rb'href="/record/(\d+-\d+)"')


class Readers(msgspec.Struct):
    """Who reads.

    Attributes:
        row: of each request the reader's place. shown: of each reader :func:`digest_of` what the page must show.
    """

    row: list[int]
    shown: list[str]


class Page(NamedTuple):
    """A response: its status, its head, its content as it came, and as it was before it was compressed."""

    status: int
    head: bytes
    body: bytes
    content: bytes


class Browser(Sender):
    """One connection of HTTP/1.1 that is kept."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """A whole response, or a piece of one."""
        crowd, row = self._crowd, self._row
        if self._part:
            data = self._part + data
            self._part = b""
        if not is_whole(data):
            self._part = data
            return
        now = time.perf_counter()
        self._row = -1
        crowd.replies[row] = data
        crowd.ends[row] = now
        crowd.answered += 1
        crowd.go_on(self, now)


def is_whole(data: bytes) -> bool:
    """Whether a response has come to its end; nothing may follow it."""
    end = data.find(HEAD_END)
    if end < 0:
        return False
    size = _SIZE.search(data, 0, end + 2)
    return data.endswith(CHUNKS_END, end + 4) if size is None else len(data) >= end + 4 + int(size[1])


def read_page(data: bytes) -> Page:
    """Take a whole response apart.

    Raises:
        ValueError, zlib.error: it is none.
    """
    head, _, body = data.partition(HEAD_END)
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        pieces, rest = [], body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        body = b"".join(pieces)
    content = zlib.decompress(body, 47) if b"\r\ncontent-encoding: gzip" in head.lower() else body
    return Page(int(head[9:12]), head, body, content)


def digest_of(addresses: Iterable[str]) -> str:
    """One digest of records' addresses, whatever their order."""
    return hashlib.sha256("\n".join(sorted(addresses)).encode()).hexdigest()


def judge_pages(crowd: Crowd) -> npt.NDArray[np.uint8]:
    """Of each page 0, NO_ANSWER, or WRONG where it is not exactly its reader's."""
    assert crowd.load.frames is not None
    readers = msgspec.json.decode(Path(crowd.load.frames.replace(".npy", ".readers.json")).read_bytes(), type=Readers)
    found = np.zeros(crowd.asked, np.uint8)
    for row in range(crowd.asked):
        data = crowd.replies[row]
        found[row] = NO_ANSWER if data is None else judge_page(data, readers.shown[readers.row[row]])
    return found


def judge_page(data: bytes, shown: str) -> int:
    """0 where a response is a page with exactly these records, else WRONG."""
    try:
        page = read_page(data)
    except (ValueError, zlib.error):
        return WRONG
    right = page.status == 200 and page.content.rstrip().endswith(b"</html>")
    return 0 if right and digest_of(one.decode() for one in _RECORD.findall(page.content)) == shown else WRONG


if __name__ == "__main__":
    main(Path(sys.argv[1]), Browser, judge_pages)
