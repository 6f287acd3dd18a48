"""One HTTP connection: uvicorn's protocol, with the certificate of its TLS socket, and bounds where uvicorn has none.

    identify -> (head -> body -> answer)* -> close

No ASGI server tells the application which certificate a client has shown, so :class:`Bounded` looks at the socket as
the wire's connections do and hands itself to the gate with every request. It stands among the server's connections,
counts as one, and is inspected, drained and cut like them. What it bounds: the head of a request in bytes, number of
headers and time; the body in time and speed; requests sent ahead; what a client does not read; how long it is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, cast

from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hub.errors import BusyError, HubError
from hub.http.problems import PROBLEM, HttpError, encode_problem, problem_of
from hub.limits import HTTP_BODY_BYTES_PER_S_MIN, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_PIPELINED_MAX
from hub.wire.access import Access, Party, tell_security
from hub.wire.calls import RETRY_AFTER_S, Calls
from hub.wire.config import Limits
from hub.wire.connection import WRITE_BUFFER_BYTES
from hub.wire.faults import AccessError

Application = Callable[..., Awaitable[None]]

LONG_HEAD = f"request: expected a head of at most {HTTP_HEAD_BYTES_MAX} bytes and {HTTP_HEADERS_MAX} headers, got more"


class Place(Protocol):
    """What of the server its HTTP connections need."""

    access: Access
    calls: Calls
    limits: Limits
    connections: set[Any]

    def now(self) -> float:
        """Seconds of the loop's clock."""


class Door(NamedTuple):
    """Through which socket a connection came.

    Attributes:
        place: the server. gate: takes its requests: (connection, scope, receive, send).
        proxied: whether a trusted proxy is at the other end, so that each request says who asks.
    """

    place: Place
    gate: Application
    proxied: bool

    def __repr__(self) -> str:
        return f"Door(proxied={self.proxied})"


class State(ServerState):
    """uvicorn's, with the date in every reply, which it keeps up to date only in its own server."""

    def __init__(self) -> None:
        self._second, self._headers = 0, list[tuple[bytes, bytes]]()
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The date; nothing says which software answers."""
        second = int(time.time())
        if second != self._second:
            self._second, self._headers = second, [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, _: Any) -> None:
        """Of uvicorn: there are none of its own."""


class Bounded:
    """What stands before one of uvicorn's protocol classes; see the module.

    Attributes:
        door: where it came in. peer: its address. party: who it is by its TLS socket; behind a proxy, who asks now.
        refusal: why none of its requests is taken.
    """

    cycle: Any
    transport: asyncio.Transport

    def __init__(self, door: Door, config: UvicornConfig, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, state, {}, loop)  # type: ignore[call-arg]
        self.door, self._place = door, door.place
        self.app = self._enter
        # A line for each request would say who asks for what.
        self.access_log = False
        self.peer: str | None = None
        self.party: Party | None = None
        self.refusal: HubError | None = None
        self._joined: Party | None = None
        self._lost = False
        self._at = self._piece_at = self._body_at = self._place.now()
        """When it was made; when the last piece of a body came, and its first one."""
        self._head_at = self._unread_at = self._ending_at = 0.0
        self._head_bytes = self._body_bytes = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(busy={self.busy})"

    async def _enter(self, scope: Any, receive: Any, send: Any) -> None:
        await self.door.gate(self, scope, receive, send)

    # -- of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        place = self._place
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        place.connections.add(self)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) and name else None
        try:
            if len(place.connections) > place.limits.connections:
                raise BusyError("server: too many connections", retry_after_s=10 * RETRY_AFTER_S)
            if not self.door.proxied:
                tls = transport.get_extra_info("ssl_object")
                party = place.access.identify(None if tls is None else tls.getpeercert(True))
                place.calls.join(party)
                self.party = self._joined = party
        except AccessError as error:
            self.refuse_certificate(error)
        except HubError as error:
            self.refusal = error
        except Exception as error:
            # A certificate that the authority signed and nobody can read.
            tell_security("certificate refused", peer=self.peer, cause=type(error).__name__)
            self.refusal = AccessError("certificate: expected one that can be read, got another")

    def refuse_certificate(self, error: AccessError) -> None:
        """Take no more requests of it; they are told why. It is in the security log."""
        self.refusal = error
        name = None if self.party is None else self.party.name
        tell_security("certificate refused", peer=self.peer, certificate=name, cause=str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._place.connections.discard(self)
        if self._joined is not None:
            self._place.calls.leave(self._joined)
            self._joined = None
        super().connection_lost(error)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        if self._ending_at or self.transport.is_closing():
            return
        cycle, heading, now = self.cycle, self._heading, self._place.now()
        if heading:
            self._head_at = self._head_at or now
            self._head_bytes += len(data)
        super().data_received(data)  # type: ignore[misc]
        if self.cycle is not cycle:
            self._head_at = self._head_bytes = 0
            self._body_at = self._piece_at = now
            self._body_bytes = len(data)
        elif heading:
            if self._head_bytes > HTTP_HEAD_BYTES_MAX:
                self.refuse(HttpError(431, LONG_HEAD))
        else:
            self._piece_at = now
            self._body_bytes += len(data)

    def pause_writing(self) -> None:
        self._unread_at = self._place.now()
        super().pause_writing()  # type: ignore[misc]

    def resume_writing(self) -> None:
        self._unread_at = 0.0
        super().resume_writing()  # type: ignore[misc]

    @property
    def _heading(self) -> bool:
        """Whether what comes now is a head."""
        return self.cycle is None or self.cycle.response_complete

    # -- the end

    def refuse(self, error: HttpError) -> None:
        """Answer what is no request, and close; where an answer has begun, cut it."""
        if self._ending_at or self._lost:
            return
        self._ending_at = self._place.now()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or not cycle.more_body or getattr(self, "pipeline", None):
                # Whoever reads an answer here would take it for that of a call which is being done.
                self.transport.abort()
                return
        body = encode_problem(problem_of("request", error))
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\ncontent-type: {PROBLEM}\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def send_400_response(self, _: str) -> None:
        """Of uvicorn: what came is no HTTP."""
        self.refuse(HttpError(400, "request: expected HTTP/1.1, got something else"))

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or an answer has not left."""
        if self._lost:
            return False
        return not self._heading or bool(self.transport.get_write_buffer_size())

    def announce_close(self) -> None:
        """Close after the request that is being answered, or now."""
        if not self._lost:
            with contextlib.suppress(Exception):
                self.shutdown()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close when what was written has left."""
        if not self._lost and not self._ending_at:
            self._ending_at = self._place.now()
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if not self._lost:
            self.transport.abort()

    def inspect(self, now: float) -> None:
        """Cut what takes too long; called every second."""
        limits = self._place.limits
        if self.transport.is_closing():
            self._ending_at = self._ending_at or now
        since = self._ending_at or self._unread_at
        if since:
            if now - since > limits.unread_s:
                self.abort()
        elif self._heading:
            # Between two requests uvicorn closes after HTTP_IDLE_S.
            since = self._head_at or (self._at if self.cycle is None else now)
            if now - since > limits.hello_s:
                self.refuse(HttpError(408, "request: expected all of its head within seconds, got less"))
        elif self.cycle.more_body:
            if self.flow.read_paused:  # type: ignore[attr-defined]
                # It is not read: nothing of this time is the client's.
                self._piece_at = now
            slow = self._body_at + limits.frame_s + self._body_bytes / HTTP_BODY_BYTES_PER_S_MIN
            if now - self._piece_at > limits.frame_s or now > slow:
                self.refuse(HttpError(408, "body: expected the rest of it within seconds, got less"))

    def check_certificate(self) -> None:
        """End a connection whose certificate was revoked or has ended since."""
        party = self.party
        if party is None or party.certificate is None or self._ending_at or self._lost:
            return
        try:
            self._place.access.check(party.certificate)
        except AccessError as error:
            self.refuse_certificate(error)
            self._ending_at = self._place.now()
            if self.busy:
                # Nothing more of an answer leaves for it.
                self.abort()
            else:
                self.transport.close()


class BoundedH11(Bounded, H11Protocol):
    """On h11, which is always there; it bounds heads by itself."""


def make_bounded_httptools() -> type[Bounded]:
    """On httptools, several times as fast, which bounds nothing by itself.

    Raises:
        ImportError: it is not installed.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class BoundedHttptools(Bounded, HttpToolsProtocol):
        _in_head = False

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head = True

        def on_header(self, name: bytes, value: bytes) -> None:
            if not self._in_head:
                # Behind a body in chunks: they would stand among the headers of a request that is being answered.
                raise ValueError("trailers")
            if len(self.headers) > HTTP_HEADERS_MAX:
                # Enough for the gate to see that they are too many.
                return
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_head = False
            if self.parser.should_upgrade() or len(self.pipeline) >= HTTP_PIPELINED_MAX:
                raise ValueError("head")
            super().on_headers_complete()

        @property
        def busy(self) -> bool:
            return Bounded.busy.fget(self) or (not self._lost and bool(self.pipeline))  # type: ignore[attr-defined]

    return cast(type[Bounded], BoundedHttptools)


def find_protocol() -> type[Bounded]:
    """The class for connections: on httptools where it is installed."""
    if importlib.util.find_spec("httptools") is not None:
        return make_bounded_httptools()
    return cast(type[Bounded], BoundedH11)
