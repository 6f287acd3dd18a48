"""Calls at the server: who may, in which thread, and what comes of it.

Small inquiries are handed to the hub's gatherer, which lets them share commits; everything else is done by threads, of
which bulk has its own, so that nothing small waits behind it. What waits is bounded everywhere; more is BUSY.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import msgspec

from hub.catalog import Catalog
from hub.errors import BusyError, HubError, RequestError
from hub.hub import Hub
from hub.limits import OPERATOR_CHARS_MAX
from hub.messages import Answer
from hub.wire.access import Party, tell_security
from hub.wire.config import Limits
from hub.wire.faults import AccessError
from hub.wire.methods import METHODS, REQUEST_DECODERS, Method
from hub.wire.results import ANSWER
from hub.wire.singles import Singles
from hub.wire.words import Call

RETRY_AFTER_S = 0.5
LOOP_BYTES_MAX = 1 << 15
"""Arguments that the loop decodes by itself; a thread does longer ones."""

CLERKS = ("clerk", "second_clerk")

_ENCODER = msgspec.msgpack.Encoder()


class Caller(Protocol):
    """Who waits for a call: a connection. Called in the loop's thread."""

    def answer(self, number: int, body: bytes) -> None:
        """The call is done."""

    def fail(self, number: int, method: str, error: BaseException) -> None:
        """The call failed."""

    def advance(self, number: int, rows: int) -> None:
        """So many rows of it are durable."""


class Work(NamedTuple):
    """One call that may be done.

    Attributes:
        body: its arguments. counted: how many of their bytes are counted as in flight, until it is done.
    """

    caller: Caller
    call: Call
    method: Method
    party: Party
    body: memoryview
    counted: int

    def __repr__(self) -> str:
        return f"Work({self.call.method})"


class Pool:
    """Threads with a bounded queue."""

    def __init__(self, name: str, threads: int, waiting_max: int) -> None:
        self._executor = ThreadPoolExecutor(threads, f"hub-{name}")
        self._open, self._open_max = 0, threads + waiting_max

    def submit(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
        """Let a thread do it.

        Raises:
            BusyError: too much waits.
        """
        if self._open >= self._open_max:
            raise BusyError("call: too many wait for a thread", retry_after_s=RETRY_AFTER_S)
        self._open += 1

        def run() -> None:
            try:
                work()
            finally:
                loop.call_soon_threadsafe(self._done)

        self._executor.submit(run)

    def _done(self) -> None:
        self._open -= 1

    def close(self) -> None:
        """Wait for what is being done; what has not begun by now has nobody who waits for it."""
        self._executor.shutdown(cancel_futures=True)


class Calls:
    """Does the calls of one server. Its methods are for the loop's thread."""

    def __init__(self, h: Hub, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._hub, self._loop = h, loop
        self._small = Pool("small", limits.small_threads, limits.small_waiting)
        self._bulk = Pool("bulk", limits.bulk_threads, limits.bulk_waiting)
        self._bytes_left = limits.bytes_in_flight
        self.singles = Singles(h, self, limits, loop)
        self.closing = False
        """Whether nothing new is begun."""

    def __repr__(self) -> str:
        return f"Calls(closing={self.closing})"

    @property
    def takes_bulk(self) -> bool:
        """Whether a call of a method that may be long is begun now."""
        return not self.closing and self._bytes_left > 0

    def reserve(self, size: int) -> None:
        """Count the bytes of a long call that is to arrive.

        Raises:
            BusyError: there are too many bytes in flight.
        """
        if size > self._bytes_left:
            raise BusyError("call: too many bytes in flight", retry_after_s=2 * RETRY_AFTER_S)
        self._bytes_left -= size

    def count(self, size: int) -> None:
        """Count bytes that are there already, as those of a long reply; a negative size is their end."""
        self._bytes_left -= size

    def check(self, party: Party, call: Call, peer: str | None) -> Method:
        """Who may call what for whom; before anything of a call is kept.

        Raises:
            AccessError: this party may not; it is in the security log. RequestError: there is no such method.
            BusyError: the server is closing.
        """
        method = METHODS.get(call.method)
        if method is None:
            raise RequestError("method: expected one that the wire has, got another")
        if call.institution not in party.institutions or method.only not in (None, call.institution):
            # Only a code that there is: what else a client sends here may be anything, an alias too.
            named = call.institution if call.institution in self._hub.catalog.codes else "unknown"
            key = None if party.certificate is None else party.certificate.key_sha256
            tell_security(
                "institution refused", certificate=party.name, key_sha256=key, peer=peer, method=call.method,
                institution=named,
            )  # fmt: skip
            if method.only not in (None, call.institution):
                raise AccessError(f"{call.method}: expected the institution {method.only}, got another")
            raise AccessError("institution: expected one of those of this connection's certificate, got another")
        if self.closing:
            raise BusyError("server: closing", retry_after_s=1.0)
        if method.bulk and self._bytes_left <= 0:
            raise BusyError("call: too many bytes in flight", retry_after_s=2 * RETRY_AFTER_S)
        return method

    def begin(self, work: Work) -> None:
        """Do a call whose arguments are all there; its caller hears of it.

        Raises:
            HubError: it could not be begun.
        """
        in_thread = False
        try:
            in_thread = self._begin(work)
        finally:
            # A thread counts them off when it is done, whether or not its caller is still there.
            if not in_thread and work.counted:
                self.count(-work.counted)

    def _begin(self, work: Work) -> bool:
        """Begin a call; whether a thread does it."""
        if work.call.method == "inquire" and len(work.body) <= LOOP_BYTES_MAX and not work.call.progress:
            arguments = self._arguments(work)
            future = self._hub.inquire_together(**arguments)
            if future is not None:
                future.add_done_callback(functools.partial(_settle, work))
                return False
            self._submit(work, self._bulk, functools.partial(self._hub.inquire, **arguments))
        elif len(work.body) <= LOOP_BYTES_MAX:
            arguments = self._arguments(work)
            self._submit(work, self._bulk if work.method.bulk else self._small, self._doer(work, arguments))
        else:
            self._submit(work, self._bulk, lambda: self._doer(work, self._arguments(work))())
        return True

    def _doer(self, work: Work, arguments: dict[str, Any]) -> Callable[[], Any]:
        method = work.method
        if work.call.progress and method.progress:
            arguments["progress"] = self._progress(work)
        if method.do is not None:
            return functools.partial(method.do, self._hub, **arguments)
        return functools.partial(getattr(self._hub, work.call.method), **arguments)

    def _progress(self, work: Work) -> Callable[[int], None]:
        def tell(rows: int) -> None:
            self._loop.call_soon_threadsafe(work.caller.advance, work.call.number, rows)

        return tell

    def _submit(self, work: Work, pool: Pool, do: Callable[[], Any]) -> None:
        caller, number, name = work.caller, work.call.number, work.call.method

        def run() -> None:
            try:
                body = _ENCODER.encode(work.method.result.pack(do()))
            except BaseException as error:
                self._loop.call_soon_threadsafe(caller.fail, number, name, error)
            else:
                self._loop.call_soon_threadsafe(caller.answer, number, body)
            finally:
                if work.counted:
                    self._loop.call_soon_threadsafe(self.count, -work.counted)

        pool.submit(self._loop, run)

    def _arguments(self, work: Work) -> dict[str, Any]:
        """The Hub's arguments of a call.

        Raises:
            RequestError: they have not the form of the method's.
        """
        name, method = work.call.method, work.method
        try:
            given = REQUEST_DECODERS[name].decode(work.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RequestError(f"{name}: {error}") from None
        return self.bind(method, given, work.call.institution, work.party.name)

    def bind(self, method: Method, given: msgspec.Struct, institution: str, party: str) -> dict[str, Any]:
        """The Hub's arguments from those of a call."""
        return bind_arguments(method, given, institution, party, self._hub.catalog)

    def close(self) -> None:
        """Wait for the threads; blocks."""
        self._small.close()
        self._bulk.close()


def bind_arguments(
    method: Method, given: msgspec.Struct, institution: str, party: str, catalog: Catalog
) -> dict[str, Any]:
    """The arguments of the Hub's method from those of a call, with who calls, and through whom."""
    arguments: dict[str, Any] = {}
    for field, form in method.params.items():
        value = getattr(given, field)
        # What was left out is most of it.
        arguments[field] = None if value is None else form.unpack(value, catalog)
    for clerk in CLERKS:
        if arguments.get(clerk) is not None:
            arguments[clerk] = _through(clerk, party, arguments[clerk])
    if method.of is not None:
        name, _, field = method.names.partition(".")
        fields = arguments[name]
        fields[field] = institution
        if "operator" in fields:
            operator = fields["operator"]
            fields["operator"] = party if operator is None else _through("operator", party, operator)
        arguments[name] = method.of(**fields)
    elif method.names:
        arguments[method.names] = institution
    return arguments


def _through(name: str, party: str, clerk: str) -> str:
    """A clerk's name as it is recorded, behind that of whose certificate it came with."""
    most = OPERATOR_CHARS_MAX - len(party) - 1
    if not clerk.strip() or len(clerk) > most:
        raise RequestError(f"{name}: expected 1 to {most} characters, got {len(clerk.strip())}")
    return f"{party}/{clerk}"


def _settle(work: Work, future: asyncio.Future[Answer]) -> None:
    if future.cancelled():
        work.caller.fail(work.call.number, "inquire", HubError("inquire: cancelled", retry_safe=True))
        return
    error = future.exception()
    if error is not None:
        work.caller.fail(work.call.number, "inquire", error)
        return
    work.caller.answer(work.call.number, _ENCODER.encode(ANSWER.pack(future.result())))
