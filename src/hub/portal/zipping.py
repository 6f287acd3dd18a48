"""Compression that betrays nothing: what an address brings never meets what only the reader may know (BREACH).

A compressed page is the shorter, the more of it repeats. Who makes a browser load an address of their choice and sees
how long the answer is could so find out a page's words one after the other. Templates put a ``SEAM`` around what an
address brings and around the records; each piece is compressed for itself (deflate with full flushes, RFC 1951), with
no look back over a seam. Form tokens are masked anew on every page besides (``sessions.py``).
"""

from __future__ import annotations

import zlib

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from hub.portal.view import SEAM

LEVEL = 1
"""Pages of a hundred stories repeat themselves: level 5 makes them 7 % shorter and takes three times as long. Of files
with proofs most is hashes, which no level makes shorter."""
BYTES_MIN = 1_024
"""What is shorter leaves as it is."""

_GZIP = 16 + zlib.MAX_WBITS
_SEAM = SEAM.encode()
_KINDS = (b"text/", b"application/json", b"image/svg+xml")


class Zipped:
    """An ASGI application whose texts leave compressed, to browsers that take gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        takes = any(name == b"accept-encoding" and b"gzip" in value.lower() for name, value in scope["headers"])
        await self._app(scope, receive, _Answer(send, takes).send)


class _Answer:
    """One response on its way out."""

    def __init__(self, send: Send, takes: bool) -> None:
        self._send, self._takes = send, takes
        self._start: Message | None = None
        self._pages = False
        self._zip: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._pages = kind.startswith(b"text/html")
            self._takes = self._takes and kind.startswith(_KINDS)
            self._start = message
        elif message["type"] == "http.response.body":
            await self._send_body(message)
        else:
            await self._send(message)

    async def _send_body(self, message: Message) -> None:
        assert message["type"] == "http.response.body"
        body, more, start = message["body"], message.get("more_body", False), self._start
        if start is not None:
            self._start = None
            whole = None if more else len(body)
            if self._takes and (whole is None or whole >= BYTES_MIN):
                self._zip = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
            body = self._squeeze(body, last=not more)
            await self._send(_with_length(start, None if more else len(body), zipped=self._zip is not None))
        else:
            body = self._squeeze(body, last=not more)
        await self._send({**message, "body": body})

    def _squeeze(self, body: bytes, *, last: bool) -> bytes:
        found = []
        pieces = body.split(_SEAM) if self._pages else [body]
        if self._zip is None:
            return b"".join(pieces)
        for piece in pieces:
            found.append(self._zip.compress(piece))
            if self._pages:
                found.append(self._zip.flush(zlib.Z_FULL_FLUSH))
        if last:
            found.append(self._zip.flush())
        return b"".join(found)


def _with_length(start: Message, length: int | None, *, zipped: bool) -> Message:
    assert start["type"] == "http.response.start"
    headers = [one for one in start["headers"] if one[0].lower() != b"content-length"]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    if zipped:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    return {**start, "headers": headers}
