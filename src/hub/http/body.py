"""The body of one request: read only when somebody wants it, and bounded as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from hub.errors import HubError
from hub.http.problems import HttpError
from hub.limits import HTTP_DISCARD_BYTES_MAX, WIRE_PART_BYTES

Receive = Callable[[], Awaitable[Any]]
Headers = Iterable[tuple[bytes, bytes]]

STEP_BYTES = 1 << 20


class GoneError(HubError):
    """The client has left; nobody waits for an answer."""


class Body:
    """See the module.

    Attributes:
        announced: its bytes, None where it comes in chunks. done: whether all of it was read.
    """

    __slots__ = ("_expects", "_receive", "announced", "done")

    def __init__(self, receive: Receive, headers: Headers) -> None:
        """Raises: HttpError: its length contradicts itself."""
        self._receive = receive
        self.announced: int | None = 0
        self._expects = self.done = chunked = False
        lengths = set()
        for name, value in headers:
            if name == b"content-length":
                lengths.add(value)
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"expect":
                self._expects = True
        if len(lengths) + chunked > 1 or not all(one.isdigit() for one in lengths):
            raise HttpError(400, "body: expected one length, got several or none that is a number")
        if lengths:
            self.announced = int(lengths.pop())
        elif chunked:
            self.announced = None
        self.done = self.announced == 0

    def __repr__(self) -> str:
        return f"Body(done={self.done})"

    async def read(self, bytes_max: int, reserve: Callable[[int], None]) -> bytearray:
        """All of it.

        Args:
            reserve: counts bytes as in flight, before they are there; nothing of a short body is counted.

        Raises:
            HttpError: it is longer, and was not read. BusyError: ``reserve`` says so. GoneError: it ends too early.
        """
        if self.announced is not None:
            self._check(self.announced, bytes_max)
            if self.announced > WIRE_PART_BYTES:
                reserve(self.announced)
        data, counted = bytearray(), WIRE_PART_BYTES
        while not self.done:
            data += await self._next()
            self._check(len(data), bytes_max)
            if self.announced is None and len(data) > counted:
                reserve(STEP_BYTES)
                counted += STEP_BYTES
        return data

    def _check(self, size: int, bytes_max: int) -> None:
        if size > bytes_max:
            raise HttpError(413, f"body: expected at most {bytes_max} bytes, got more")

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise GoneError("body: ended too early")
        self.done = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def discard(self) -> bool:
        """Read what is left and nobody wants; whether the connection may go on, which it may not before a long rest.

        A client that reads nothing before it has sent everything would not see an answer that comes with a cut.
        """
        if self._expects:
            # It waits for leave to send the body, and gets none.
            return self.done
        left = HTTP_DISCARD_BYTES_MAX
        if not self.done and self.announced is not None and self.announced > left:
            return False
        while not self.done and left > 0:
            left -= len(await self._next())
        return self.done
