"""Calls at the server: who may, in which thread, and what comes of it.

Small inquiries are handed to the hub's gatherer, which lets them share commits; everything else is done by threads:
small calls, bulk calls that are done soon (``rows.is_bounded``) and bulk have their own, so that nothing waits behind
what takes longer. What waits is bounded everywhere, for each institution too; more is BUSY.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from hub.catalog import Catalog
from hub.errors import BusyError, HubError, RequestError
from hub.hub import Hub
from hub.limits import OPERATOR_CHARS_MAX
from hub.messages import Answer
from hub.wire.access import Party, tell_security
from hub.wire.config import Limits
from hub.wire.disk import Disk
from hub.wire.fair import RETRY_AFTER_S, Pool
from hub.wire.faults import AccessError
from hub.wire.ledger import OTHER, SMALL, Ledger, Outcomes, outcomes_of
from hub.wire.methods import METHODS, REQUEST_DECODERS, Method
from hub.wire.packing import encode_body
from hub.wire.quotas import Account, Quotas
from hub.wire.results import ANSWER
from hub.wire.rows import is_bounded, rows_of_call, rows_of_reply
from hub.wire.singles import Singles
from hub.wire.words import Call

LOOP_BYTES_MAX = 1 << 15
"""Arguments that the loop decodes by itself; a thread does longer ones."""

CLERKS = ("clerk", "second_clerk")



class Caller(Protocol):
    """Who waits for a call: a connection. Called in the loop's thread."""

    def answer(self, number: int, body: bytes | memoryview) -> None:
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


class Task:
    """A call that threads do: what is counted of it when it is done."""

    __slots__ = ("account", "began", "kind", "rows", "work")

    def __init__(self, work: Work, account: Account, began: float, rows: int, kind: str) -> None:
        self.work, self.account, self.began, self.rows, self.kind = work, account, began, rows, kind


class Calls:
    """Does the calls of one server. Its methods are for the loop's thread."""

    def __init__(
        self, h: Hub, limits: Limits, loop: asyncio.AbstractEventLoop, ledger: Ledger | None = None
    ) -> None:
        """Args: ledger: with the quotas of all institutions; without one they have those of ``quotas.py``."""
        self._hub, self._loop = h, loop
        self.small = Pool(SMALL, limits.small_threads, limits.small_waiting)
        self.medium = Pool("medium", limits.medium_threads, limits.medium_waiting)
        self.bulk = Pool("bulk", limits.bulk_threads, limits.bulk_waiting)
        self.pages = Pool("pages", limits.page_threads, limits.small_waiting, spare=0)
        self.bytes_max = self._bytes_left = limits.bytes_in_flight
        self.ledger = ledger or Ledger(Quotas({}, limits.bytes_in_flight, time.monotonic))
        self.disk = Disk(h.disk_free, limits.free_bytes_min)
        self.disk.look()
        self.singles = Singles(h, self, limits, loop)
        self._accounts = self.ledger.quotas
        self.open = 0
        """Calls that were begun and are not answered."""
        self.connections = 0
        self._connections_max = limits.connections
        self._joined: dict[str, int] = {}
        """Connections of each party."""
        self.closing = False
        """Whether nothing new is begun."""

    def __repr__(self) -> str:
        return f"Calls(closing={self.closing})"

    def join(self, party: Party) -> None:
        """Count a connection.

        Raises:
            BusyError: its party has nine tenths of all that there may be: others want to connect as well.
        """
        joined = self._joined.get(party.name, 0)
        if joined >= max(1, self._connections_max * 9 // 10):
            raise BusyError("server: too many connections of this certificate", retry_after_s=10 * RETRY_AFTER_S)
        self._joined[party.name] = joined + 1
        self.connections += 1
        self.ledger.connections += 1

    def leave(self, party: Party) -> None:
        """The end of :meth:`join`."""
        self.connections -= 1
        self._joined[party.name] -= 1

    @property
    def takes_singles(self) -> bool:
        """Whether any inquiry is begun now."""
        return not self.closing and self._bytes_left > 0 and not self.disk.low

    @property
    def bytes_in_flight(self) -> int:
        """Of long calls and replies."""
        return self.bytes_max - self._bytes_left

    def reserve(self, size: int, institution: str | None = None, method: str = OTHER) -> None:
        """Count the bytes of a long call that is to arrive, for an institution where it is known.

        Raises:
            BusyError: there are too many bytes in flight.
        """
        try:
            if size > self._bytes_left:
                raise BusyError("call: too many bytes in flight", retry_after_s=2 * RETRY_AFTER_S)
            if institution is not None:
                self._accounts.account(institution).reserve(size)
        except BusyError as error:
            self.ledger.refuse(method, error)
            raise
        self.count(size, institution)

    def count(self, size: int, institution: str | None = None) -> None:
        """Count bytes that are there already, as those of a long reply; a negative size is their end."""
        self._bytes_left -= size
        if institution is not None:
            self._accounts.account(institution).bytes += size

    def check(self, party: Party, call: Call, peer: str | None) -> Method:
        """Who may call what for whom, and whether now; before anything of a call is kept.

        Raises:
            AccessError: this party may not; it is in the security log. RequestError: there is no such method.
            BusyError: the server is closing, the disk is full, or the institution has had its quota.
        """
        try:
            return self._check(party, call, peer)
        except HubError as error:
            self.ledger.refuse(call.method, error)
            raise

    def _check(self, party: Party, call: Call, peer: str | None) -> Method:
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
        if method.write:
            self.disk.check()
        self._accounts.account(call.institution).admit()
        return method

    def begin(self, work: Work) -> None:
        """Do a call whose arguments are all there; its caller hears of it.

        Raises:
            HubError: it could not be begun.
        """
        account, began = self._accounts.account(work.call.institution), time.perf_counter()
        account.begin()
        self.open += 1
        try:
            in_thread = self._begin(work, account, began)
        except BaseException as error:
            translated = self.disk.translate(error)
            self._end(work, account, translated, began, 0, SMALL)
            self._uncount(work)
            raise translated from error
        # A thread counts them off when it is done, whether or not its caller is still there.
        if not in_thread:
            self._uncount(work)

    def _uncount(self, work: Work) -> None:
        if work.counted:
            self.count(-work.counted, work.call.institution)

    def _end(
        self, work: Work, account: Account, error: BaseException | None, began: float, rows: int, kind: str
    ) -> None:
        self.open -= 1
        self.ledger.end(account, work.call.method, error, began, rows, kind)

    def _begin(self, work: Work, account: Account, began: float) -> bool:
        """Begin a call; whether a thread does it."""
        name, method = work.call.method, work.method
        if len(work.body) > LOOP_BYTES_MAX:
            self._submit(Task(work, account, began, 0, self.bulk.name), self.bulk, None)
            return True
        given = self._decode(work)
        rows = rows_of_call(name, given)
        account.charge(rows)
        arguments = self._bind(work, given)
        pool = self.pages if name == "history" else self.small
        if method.bulk:
            pool = self.medium if is_bounded(name, given) else self.bulk
        if name == "inquire" and not work.call.progress:
            account.gather(rows)
            future = self._hub.inquire_together(**arguments)
            if future is not None:
                account.gathered += rows
                future.add_done_callback(functools.partial(self._settle, work, account, began, rows))
                return False
            do: Callable[[], Any] = functools.partial(self._hub.inquire, **arguments)
        else:
            do = self._doer(work, arguments)
        self._submit(Task(work, account, began, rows, pool.name), pool, do)
        return True

    def _settle(
        self, work: Work, account: Account, began: float, rows: int, future: asyncio.Future[Answer]
    ) -> None:
        """A small inquiry has its answer."""
        account.gathered -= rows
        caller, number = work.caller, work.call.number
        if future.cancelled():
            error: BaseException | None = HubError("inquire: cancelled", retry_safe=True)
        else:
            error = future.exception()
        if error is not None:
            error = self.disk.translate(error)
            self._end(work, account, error, began, rows, SMALL)
            caller.fail(number, "inquire", error)
            return
        answer = future.result()
        self.ledger.add_answer(answer)
        self._end(work, account, None, began, rows, SMALL)
        caller.answer(number, encode_body(ANSWER.pack(answer)))

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

    def _submit(self, task: Task, pool: Pool, do: Callable[[], Any] | None) -> None:
        """Let a thread do a call; without ``do`` it decodes the arguments first."""
        method, give_way = task.work.method, self._hub.give_way

        def run() -> None:
            body: bytes | memoryview | None = None
            error: BaseException | None = None
            outcomes: Outcomes = None
            rows, leaves_at = 0, 0.0
            try:
                found = (self._read(task) if do is None else do)()
                outcomes, leaves_at = outcomes_of(found, give_way), getattr(found, "leaves_at", 0.0)
                packed = method.result.pack(found)
                del found
                rows = rows_of_reply(packed)
                body = encode_body(packed, give_way)
            except BaseException as caught:
                error = caught
            with contextlib.suppress(RuntimeError):
                # A loop that has ended has nobody who waits.
                finish = functools.partial(self._finish, task, body, error, outcomes, rows)
                self._loop.call_soon_threadsafe(self._finish_at, leaves_at, finish)

        def refuse(error: BusyError) -> None:
            self._loop.call_soon_threadsafe(self._finish, task, None, error, None, 0)

        pool.submit(task.work.call.institution, run, refuse)

    def _finish_at(self, leaves_at: float, finish: Callable[[], None]) -> None:
        """Finish a call, but not before a moment: a whole millisecond, as loops count them, or their rounding would
        tell how long the work took."""
        wait = math.ceil(leaves_at * 1e3) - math.floor(time.monotonic() * 1e3)
        if leaves_at and wait > 0:
            self._loop.call_later(wait / 1e3, finish)
        else:
            finish()

    def _read(self, task: Task) -> Callable[[], Any]:
        """Decode a long call's arguments, in a thread; what does it."""
        work = task.work
        given = self._decode(work)
        task.rows = rows_of_call(work.call.method, given)
        # What was decoded holds the bytes; they leave with it in this thread, not in the loop's.
        task.work = work._replace(body=memoryview(b""))
        self._loop.call_soon_threadsafe(task.account.charge, task.rows)
        return self._doer(work, self._bind(work, given))

    def _finish(
        self, task: Task, body: bytes | memoryview | None, error: BaseException | None, outcomes: Outcomes, rows: int
    ) -> None:
        """A thread has done a call, or could not."""
        work, account = task.work, task.account
        self._uncount(work)
        number, name = work.call.number, work.call.method
        if outcomes is not None:
            self.ledger.add_outcomes(*outcomes)
        # Of who reads the rows are known only now.
        account.charge(max(0, rows - task.rows))
        rows = max(rows, task.rows)
        if error is not None or body is None:
            error = self.disk.translate(error or HubError(f"{name}: expected a reply, got none"))
            self._end(work, account, error, task.began, rows, task.kind)
            work.caller.fail(number, name, error)
            return
        self._end(work, account, None, task.began, rows, task.kind)
        work.caller.answer(number, body)

    def _decode(self, work: Work) -> msgspec.Struct:
        """The arguments of a call as they travelled.

        Raises:
            RequestError: they have not the form of the method's.
        """
        name = work.call.method
        try:
            given: msgspec.Struct = REQUEST_DECODERS[name].decode(work.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RequestError(f"{name}: {error}") from None
        return given

    def bind(self, method: Method, given: msgspec.Struct, institution: str, party: str) -> dict[str, Any]:
        """The Hub's arguments from those of a call."""
        return bind_arguments(method, given, institution, party, self._hub.catalog)

    def _bind(self, work: Work, given: msgspec.Struct) -> dict[str, Any]:
        """The same of a call that is to be done; what its institution may not ask is in the security log."""
        institution, party = work.call.institution, work.party
        try:
            return self.bind(work.method, given, institution, party.name)
        except AccessError:
            key = None if party.certificate is None else party.certificate.key_sha256
            tell_security(
                "arguments refused", certificate=party.name, key_sha256=key, method=work.call.method,
                institution=institution,
            )  # fmt: skip
            raise

    def close(self) -> None:
        """Wait for the threads; blocks."""
        for pool in (self.small, self.medium, self.bulk, self.pages):
            pool.close()


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
    if method.bound is not None:
        method.bound(institution, arguments)
    return arguments


def _through(name: str, party: str, clerk: str) -> str:
    """A clerk's name as it is recorded, behind that of whose certificate it came with."""
    most = OPERATOR_CHARS_MAX - len(party) - 1
    if not clerk.strip() or len(clerk) > most:
        raise RequestError(f"{name}: expected 1 to {most} characters, got {len(clerk.strip())}")
    return f"{party}/{clerk}"

