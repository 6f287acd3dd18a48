"""One connection at the client: calls out, replies in, several at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hub.errors import HubError
from hub.limits import WIRE_PART_BYTES, WIRE_REPLY_BYTES_MAX
from hub.wire.faults import WireError, error_of
from hub.wire.frames import GREETING, VERSIONS, FrameError, Splitter, encode_frame
from hub.wire.tlsfiles import tls_error
from hub.wire.words import Call, Closing, Fault, Hello, Part, Progress, Reply, Welcome, decode_from_server

AGENT = "hub-python/1"

Told = Callable[[int], None]

SILENCE_S = 30
"""An idle connection is given up when the other machine's kernel has not answered for so long: a firewall that forgot
it, or a cable, tells nobody. A server that works long at a call is not silent in this sense. (Not TCP_USER_TIMEOUT: it
also ends a connection on which the server does not read on because it has enough to do.)"""


def _notice_silence(sock: Any) -> None:
    options = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", SILENCE_S // 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", SILENCE_S // 6),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    for level, name, value in options:
        if sock is not None and hasattr(socket, name):
            # Not on every system; without it the caller's timeout ends the waiting.
            with contextlib.suppress(OSError):
                sock.setsockopt(level, getattr(socket, name), value)


class Waiting:
    """A call that has not been answered."""

    __slots__ = ("buffer", "future", "progress", "size")

    def __init__(self, future: asyncio.Future[memoryview], progress: Told | None) -> None:
        self.future, self.progress = future, progress
        self.buffer: bytearray | None = None
        self.size = 0


class Link(asyncio.Protocol):
    """See the module; used in its loop's thread only.

    Attributes:
        greeted, gone: done when the server has said who it is, and when the connection has ended.
        welcome: what the server said of itself. usable: whether it takes further calls.
        calls, frames: how many went over it so far, frames of both directions.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[Welcome] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.welcome: Welcome | None = None
        self.usable = False
        self.calls = self.frames = 0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._splitter = Splitter()
        self._waiting: dict[int, Waiting] = {}
        self._outgoing: deque[tuple[int, memoryview, int]] = deque()
        self._paused = False
        self._next = 0
        self._end: HubError | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Link(open={len(self._waiting)})"

    @property
    def open_calls(self) -> int:
        """How many calls are not answered."""
        return len(self._waiting)

    def call(
        self, institution: str, method: str, arguments: bytes | memoryview, progress: Told | None = None
    ) -> asyncio.Future[memoryview]:
        """Call; a future of the reply's body. Cancelled, the call is done all the same.

        Raises:
            WireError: the connection has ended; nothing was sent.
        """
        if not self.usable or self._transport is None or self.welcome is None:
            raise WireError("connection: expected an open one, got one that has ended", retry_safe=True)
        self.calls += 1
        number = self._next
        while number in self._waiting:
            number = (number + 1) & 0xFFFFFFFF
        self._next = (number + 1) & 0xFFFFFFFF
        waiting = self._waiting[number] = Waiting(self._loop.create_future(), progress)
        body = memoryview(arguments)
        piece = body[:WIRE_PART_BYTES]
        self._send(Call(number, institution, method, progress is not None, len(body), piece))
        if len(piece) < len(body):
            self._outgoing.append((number, body, len(piece)))
            self._pump()
        return waiting.future

    def close(self) -> None:
        """Close when what was written has left."""
        self.usable, self._closed = False, True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, word: Any) -> None:
        if self._transport is not None:
            self.frames += 1
            self._transport.write(encode_frame(word, GREETING if self.welcome is None else self.welcome.version))

    def _pump(self) -> None:
        while self._outgoing and not self._paused:
            number, body, sent = self._outgoing.popleft()
            piece = body[sent : sent + WIRE_PART_BYTES]
            # Also of a call that was refused meanwhile: the server waits for as many bytes as were announced.
            self._send(Part(number, piece))
            if sent + len(piece) < len(body):
                self._outgoing.append((number, body, sent + len(piece)))

    # -- of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _notice_silence(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(high=1 << 20)
        self._send(Hello(list(VERSIONS), AGENT))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self._transport = None
        if not self.gone.done():
            self.gone.set_result(None)
        if self._end is None:
            if isinstance(error, ssl.SSLError):
                self._end = tls_error(error)
            elif self._closed:
                self._end = WireError("connection: closed at this end", retry_safe=True)
            elif self.welcome is None:
                # Of a certificate that it does not take the server says so in TLS, and that may be lost on the way.
                self._end = WireError("connection: ended by the server before it began: does it know you?",
                                      retry_safe=True)  # fmt: skip
            else:
                self._end = WireError("connection: ended by the server", retry_safe=True)
        self._fail(self._end)

    def _fail(self, error: HubError) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(error)
            # Whoever waited may have given up.
            self.greeted.exception()
        waiting, self._waiting = self._waiting, {}
        self._outgoing.clear()
        for one in waiting.values():
            if not one.future.done():
                one.future.set_exception(WireError(str(error)))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        self._splitter.push(data)
        try:
            while (message := self._splitter.pop()) is not None:
                self.frames += 1
                self._take(decode_from_server(message))
        except HubError as error:
            self._end = self._end or error
            self.close()

    def _take(self, word: Welcome | Reply | Part | Fault | Progress | Closing) -> None:
        if isinstance(word, Reply):
            self._reply(word)
        elif isinstance(word, Part):
            self._part(word)
        elif isinstance(word, Fault):
            self._fault(word)
        elif isinstance(word, Progress):
            one = self._waiting.get(word.number)
            if one is not None and one.progress is not None and not one.future.done():
                one.progress(word.rows)
        elif isinstance(word, Closing):
            self.usable = False
            if not self._waiting:
                self.close()
        elif self.welcome is None:
            if word.version not in VERSIONS:
                raise FrameError(f"welcome: expected a version that was offered, got {word.version}")
            self.welcome = word
            self._splitter.agree(word.version)
            self.usable = True
            if not self.greeted.done():
                self.greeted.set_result(word)
        else:
            raise FrameError("welcome: expected it once, got another")

    def _reply(self, reply: Reply) -> None:
        one = self._waiting.get(reply.number)
        if one is None or one.buffer is not None or len(reply.body) > reply.size:
            raise FrameError("reply: expected one of a call that is open, got another")
        if reply.size > WIRE_REPLY_BYTES_MAX:
            raise FrameError(f"reply: expected at most {WIRE_REPLY_BYTES_MAX} bytes, got {reply.size}")
        if len(reply.body) == reply.size:
            self._settle(reply.number, reply.body)
        else:
            one.buffer, one.size = bytearray(reply.body), reply.size

    def _part(self, part: Part) -> None:
        one = self._waiting.get(part.number)
        if one is None or one.buffer is None or len(one.buffer) + len(part.body) > one.size or not len(part.body):
            raise FrameError("part: expected one of a reply that is not complete, got another")
        one.buffer += part.body
        if len(one.buffer) == one.size:
            self._settle(part.number, memoryview(one.buffer))

    def _settle(self, number: int, body: memoryview) -> None:
        one = self._waiting.pop(number)
        if not one.future.done():
            one.future.set_result(body)
        if not self.usable and not self._waiting:
            self.close()

    def _fault(self, fault: Fault) -> None:
        if fault.number is None:
            self._end = error_of(fault)
            self.close()
            return
        one = self._waiting.pop(fault.number, None)
        if one is None:
            raise FrameError("fault: expected one of a call that is open, got another")
        if not one.future.done():
            one.future.set_exception(error_of(fault))
        if not self.usable and not self._waiting:
            self.close()
