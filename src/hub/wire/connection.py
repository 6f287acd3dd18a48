"""One connection at the server: frames in, calls begun, replies out; everything that it may hold is bounded.

    identify -> hello -> (call, parts)* -> answers in whatever order they are ready

It is not read while ``requests_per_connection`` calls are open or while its client does not read. Short replies leave
at once; long ones a part at a time, in turns, whenever there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
from typing import Any, Protocol, cast

from hub._wire import Wired
from hub.errors import BusyError, HubError
from hub.limits import WIRE_FRAME_BYTES_MAX, WIRE_PART_BYTES, WIRE_UPLOAD_BYTES_PER_S_MIN
from hub.wire.access import Access, Party, tell_security
from hub.wire.calls import RETRY_AFTER_S, Calls, Work
from hub.wire.config import Limits
from hub.wire.faults import AccessError, fault_of
from hub.wire.frames import GREETING, VERSIONS, FrameError, Splitter, encode_frame
from hub.wire.methods import Method
from hub.wire.words import Call, Closing, Hello, Part, Progress, Reply, Welcome, decode_from_client

WRITE_BUFFER_BYTES = 1 << 20
UPLOADS_MAX = 16

MAPPED_BYTES = 1 << 25
"""Arguments from so many bytes on have pages of their own, as the C library would give them: those leave without the
interpreter's lock, the 200 MB of ten million rows otherwise hold it for 15 ms."""

DROPPED_MAX = 256
BUSY_MAX, REST_S = 64, 0.25
"""A connection that was told BUSY so often within a second is not read for so long: to refuse a call costs as much as
to answer one, and who does not wait as it was told would keep the loop from the others."""


class Place(Protocol):
    """What of the server its connections need."""

    access: Access
    calls: Calls
    limits: Limits
    connections: set[Connection]

    def now(self) -> float:
        """Seconds of the loop's clock."""


class Upload:
    """A call whose arguments have not all come yet.

    Attributes:
        size: bytes that are there. at: when its newest part came. since, had: a moment before that, and how many bytes
            there were then.
    """

    __slots__ = ("_buffer", "at", "call", "had", "method", "since", "size")

    def __init__(self, call: Call, method: Method, at: float) -> None:
        self.call, self.method = call, method
        self.at = self.since = at
        self.size = self.had = 0
        self._buffer = _make_room(call.size)
        self.add(call.body)
        self.had = self.size

    def add(self, piece: memoryview) -> None:
        """Take the next bytes; no more than were announced."""
        if isinstance(self._buffer, bytearray):
            self._buffer += piece
        else:
            self._buffer[self.size : self.size + len(piece)] = piece
        self.size += len(piece)

    def whole(self) -> memoryview:
        """All bytes, when they are there."""
        return memoryview(self._buffer)

    def is_late(self, now: float, within: float) -> bool:
        """Whether no part came for so long, or too little of them."""
        if now - self.at > within:
            return True
        passed = now - self.since
        if passed <= within:
            return False
        slow = self.size - self.had < passed * WIRE_UPLOAD_BYTES_PER_S_MIN
        self.since, self.had = now, self.size
        return slow


def _make_room(size: int) -> bytearray | mmap.mmap:
    """For the arguments of a call: it takes memory as they come, never as they were announced."""
    if size >= MAPPED_BYTES:
        # The system refuses what it could never give.
        with contextlib.suppress(OSError, ValueError, OverflowError):
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return bytearray()


class Connection(Wired, asyncio.Protocol):
    """See the module. Single inquiries are taken from what comes by ``_wire.pyx``; the rest is read here."""

    __slots__ = (
        "_busy", "_busy_at", "_frame_at", "_left", "_left_at", "_long", "_outgoing", "_party", "_peer", "_place",
        "_splitter", "_unread_at",
    )  # fmt: skip

    def __init__(self, place: Place) -> None:
        self._place = place
        self._intake = place.calls.singles.intake
        self._transport = None
        self._party: Party | None = None
        self._peer: str | None = None
        self._splitter = Splitter()
        self._version = None
        self._open = {}
        self._long: dict[int, int] = {}
        """Of the open calls, bytes of replies that are counted as in flight."""
        self._uploads: dict[int, Upload] = {}
        self._dropped: dict[int, int] = {}
        """Calls that were refused while their parts were under way: number -> bytes to come."""
        self._outgoing: list[tuple[int, memoryview, int]] = []
        """Long replies that leave in turns, and short ones while nothing is read: number, body, bytes sent. An empty
        deque would take 600 bytes."""
        self._called_at = self._frame_at = place.now()
        """When it called last, and when the frame began of which a part is there."""
        self._unread_at = self._busy_at = 0.0
        self._left, self._left_at = 0, place.now()
        """Bytes that waited to be read at the last look, and since when they have not become fewer."""
        self._busy = 0
        """How often it was told BUSY since then; -1 while it is not read for that."""

    def __repr__(self) -> str:
        return f"Connection(open={len(self._open)})"

    # -- of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        place = self._place
        place.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else None
        tls = transport.get_extra_info("ssl_object")
        try:
            if len(place.connections) > place.limits.connections:
                raise BusyError("server: too many connections", retry_after_s=10 * RETRY_AFTER_S)
            party = place.access.identify(None if tls is None else tls.getpeercert(True))
            place.calls.join(party)
            self._party = party
            self._party_number = self._intake.party(party.name, party.institutions)
        except AccessError as error:
            tell_security("certificate refused", peer=self._peer, cause=str(error))
            self.end(error)
        except HubError as error:
            self.end(error)
        except Exception as error:
            # A certificate that the authority signed and nobody can read.
            tell_security("certificate refused", peer=self._peer, cause=type(error).__name__)
            self.end(AccessError("certificate: expected one that can be read, got another"))

    def connection_lost(self, _: Exception | None) -> None:
        self._place.connections.discard(self)
        calls = self._place.calls
        for upload in self._uploads.values():
            calls.count(-upload.call.size, upload.call.institution)
        for number, size in self._long.items():
            calls.count(-size, self._open[number])
        if self._party is not None and self._transport is not None:
            calls.leave(self._party)
        self._transport = None
        self._uploads.clear()
        self._open.clear()
        self._long.clear()
        self._outgoing.clear()

    def _receive(self, data: bytes) -> None:
        """What arrived and is no single inquiry that is read at once."""
        self._splitter.push(data)
        self._read()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._unread_at = self._place.now()
        self._throttle()

    def resume_writing(self) -> None:
        self._unread_at = 0.0
        self._pump()
        self._throttle()

    # -- reading

    def _read(self) -> None:
        began = self._splitter.partial
        some = False
        try:
            # Of whoever has gone meanwhile nothing is kept: nobody would count it off again.
            while not self._halted and not self._ending_at and self._transport is not None:
                message = self._splitter.pop()
                if message is None:
                    self._clear = self._version == 1 and not self._splitter.partial
                    break
                some = True
                if self._version != 1 or not self._intake.take_message(self, message):
                    self._take(decode_from_client(message))
        except HubError as error:
            self.end(error)
        if some or not began:
            self._frame_at = self._place.now()

    def _take(self, word: Hello | Call | Part) -> None:
        if self._version is None:
            if not isinstance(word, Hello):
                raise FrameError("hello: expected it first, got something else")
            self._greet(word)
        elif isinstance(word, Call):
            self._call(word)
        elif isinstance(word, Part):
            self._part(word)
        else:
            raise FrameError("hello: expected it once, got another")

    def _greet(self, hello: Hello) -> None:
        common = set(VERSIONS) & set(hello.versions)
        if not common:
            raise FrameError(f"hello: expected one of the versions {', '.join(map(str, VERSIONS))}, got none of them")
        assert self._party is not None
        limits = self._place.limits
        version = max(common)
        codes = sorted(self._party.institutions)
        self._send(Welcome(version, WIRE_FRAME_BYTES_MAX, limits.requests_per_connection, codes), GREETING)
        self._version = version
        self._splitter.agree(version)

    def _call(self, call: Call) -> None:
        number, place = call.number, self._place
        if number in self._open or number in self._uploads or number in self._dropped:
            raise FrameError("call: expected a number that is not in use, got one that is")
        if len(call.body) > call.size:
            raise FrameError("call: expected no more bytes than it says, got more")
        self._called_at = place.now()
        party = self._party
        assert party is not None
        long = call.size > len(call.body)
        try:
            method = place.calls.check(party, call, self._peer)
            if long:
                if len(self._uploads) >= UPLOADS_MAX:
                    raise BusyError("call: too many arrive in parts", retry_after_s=RETRY_AFTER_S)
                place.calls.reserve(call.size, call.institution, call.method)
        except HubError as error:
            if long:
                self._drop(number, call.size - len(call.body))
            self._send(fault_of(number, call.method, error))
            self._note(error)
            return
        if long:
            self._uploads[number] = Upload(call, method, self._called_at)
        else:
            self._begin(call, method, call.body, 0)

    def _drop(self, number: int, size: int) -> None:
        if len(self._dropped) >= DROPPED_MAX:
            raise FrameError("call: expected the parts of calls that were refused, got more calls")
        self._dropped[number] = size

    def _part(self, part: Part) -> None:
        number, size = part.number, len(part.body)
        upload = self._uploads.get(number)
        if upload is None:
            left = self._dropped.get(number, 0) - size
            if left < 0 or not size:
                raise FrameError("part: expected one of a call that is not complete, got another")
            self._dropped[number] = left
            if not left:
                del self._dropped[number]
            return
        if not size or upload.size + size > upload.call.size:
            raise FrameError("part: expected bytes that the call announced, got none or more")
        upload.add(part.body)
        upload.at = self._called_at = self._place.now()
        if upload.size == upload.call.size:
            del self._uploads[number]
            self._begin(upload.call, upload.method, upload.whole(), upload.call.size)

    def _begin(self, call: Call, method: Method, body: memoryview, counted: int) -> None:
        self._open[call.number] = call.institution
        assert self._party is not None
        try:
            self._place.calls.begin(Work(self, call, method, self._party, body, counted))
        except BaseException as error:
            self.fail(call.number, call.method, error)
        if len(self._open) >= self._place.limits.requests_per_connection:
            self._throttle()

    # -- of who does the calls

    def answer(self, number: int, body: bytes | memoryview) -> None:
        """Send a call's reply."""
        institution = self._open.get(number)
        if institution is None:
            return
        if len(body) <= WIRE_PART_BYTES and not self._unread_at:
            self._send(Reply(number, len(body), memoryview(body)))
            self._done(number)
            return
        self._place.calls.count(len(body), institution)
        self._long[number] = len(body)
        self._outgoing.append((number, memoryview(body), 0))
        self._pump()

    def fail(self, number: int, method: str, error: BaseException) -> None:
        """Send a call's error."""
        if number in self._open:
            self._send(fault_of(number, method, error))
            self._done(number)
            self._note(error)

    def advance(self, number: int, rows: int) -> None:
        """Send how far a call has come; left out where its client does not read."""
        if number in self._open and not self._unread_at:
            self._send(Progress(number, rows))

    def _done(self, number: int) -> None:
        institution = self._open.pop(number)
        counted = self._long.pop(number, 0) if self._long else 0
        if counted:
            self._place.calls.count(-counted, institution)
        if self._halted:
            self._throttle()

    def _note(self, error: BaseException) -> None:
        """Let a connection rest that goes on calling though it was told to wait."""
        if not isinstance(error, BusyError) or self._busy < 0:
            return
        now = self._place.now()
        if now - self._busy_at > 1:
            self._busy_at, self._busy = now, 0
        self._busy += 1
        if self._busy >= BUSY_MAX:
            self._busy = -1
            asyncio.get_running_loop().call_later(REST_S, self._wake)
            self._throttle()

    def _wake(self) -> None:
        self._busy = 0
        self._throttle()

    # -- writing

    def _send(self, word: Any, version: int | None = None) -> None:
        if self._transport is not None and not self._ending_at:
            self._transport.write(encode_frame(word, self._version or GREETING if version is None else version))

    def _pump(self) -> None:
        while self._outgoing and not self._unread_at and not self._ending_at:
            number, body, sent = self._outgoing.pop(0)
            piece = body[sent : sent + WIRE_PART_BYTES]
            if sent:
                self._send(Part(number, piece))
            else:
                self._send(Reply(number, len(body), piece))
            if sent + len(piece) < len(body):
                self._outgoing.append((number, body, sent + len(piece)))
            else:
                self._done(number)

    def _throttle(self) -> None:
        """Read, or do not, as it stands now."""
        transport = self._transport
        if transport is None or self._ending_at:
            return
        halt = self._unread_at > 0 or self._busy < 0 or len(self._open) >= self._place.limits.requests_per_connection
        if halt == self._halted:
            return
        self._halted = halt
        if halt:
            transport.pause_reading()
        else:
            transport.resume_reading()
            # Nothing of the time in which it was not read is the client's.
            self._frame_at = now = self._place.now()
            for upload in self._uploads.values():
                upload.at = upload.since = now
                upload.had = upload.size
            asyncio.get_running_loop().call_soon(self._read)

    # -- the end

    @property
    def party(self) -> Party | None:
        """Who is at the other end."""
        return self._party

    @property
    def busy(self) -> bool:
        """Whether a call is open or a reply has not left."""
        return self._transport is not None and (
            bool(self._open) or bool(self._outgoing) or self._transport.get_write_buffer_size() > 0
        )

    def end(self, error: BaseException) -> None:
        """Say why, and close."""
        if self._transport is None or self._ending_at:
            return
        self._send(fault_of(None, "connection", error))
        self._ending_at = self._place.now()
        self._transport.close()

    def announce_close(self) -> None:
        """Say that the server closes: what is open is still answered."""
        if self._version is not None:
            self._send(Closing("server: closing"))

    def close(self) -> None:
        """Close when what was written has left."""
        if self._transport is not None and not self._ending_at:
            self._ending_at = self._place.now()
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def inspect(self, now: float) -> None:
        """Cut what takes too long, and whose certificate does not stand any more; called every second."""
        limits = self._place.limits
        if self._ending_at:
            if now - self._ending_at > limits.unread_s:
                self.abort()
            return
        if self._unread_at:
            if now - self._unread_at > limits.unread_s:
                self.abort()
            return
        if self._transport is not None:
            # Less than what stops the reading, but it stays where it is: nobody reads it.
            left = self._transport.get_write_buffer_size()
            if not left or left < self._left:
                self._left_at = now
            elif now - self._left_at > limits.unread_s:
                self.abort()
                return
            self._left = left
        if self._halted:
            return
        if self._version is None:
            if now - self._called_at > limits.hello_s:
                self.end(FrameError("hello: expected it within seconds, got none"))
            return
        late = self._splitter.partial and now - self._frame_at > limits.frame_s
        if late or any(upload.is_late(now, limits.frame_s) for upload in self._uploads.values()):
            self.end(FrameError("frame: expected the rest of it within seconds, got nothing"))
        elif not self._open and not self._uploads and now - self._called_at > limits.idle_s:
            self.close()

    def check_certificate(self) -> None:
        """End a connection whose certificate was revoked or has ended since."""
        if self._party is None or self._party.certificate is None or self._ending_at:
            return
        try:
            self._place.access.check(self._party.certificate)
        except AccessError as error:
            tell_security("certificate refused", peer=self._peer, certificate=self._party.name, cause=str(error))
            self.end(error)
