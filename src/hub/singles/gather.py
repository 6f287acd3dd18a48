"""Small inquiries that come at the same time share one commit: they are gathered into groups (``group.py``).

A few threads take turns. One *forms* a group of everything that waits and lays it out, then *writes* it; while its
commit is synced the next thread forms the next group. When its checkpoint is durable as well the callers are woken.

    wait -> form: find, decide, resolve, lay out -> write: commit, synced -> checkpoint, synced -> answers

If the process dies before the commit nothing happened; behind it the same request id gets the same answer. A call whose
caller has gone (an interrupt, a cancelled task) is recorded all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog, DecisionTable
from hub.errors import BusyError, HubError, RequestError, StorageError
from hub.limits import CALLS_PER_GROUP_MAX, CALLS_WAITING_MAX, ROWS_PER_GROUP_MAX, ROWS_WAITING_MAX
from hub.messages import Answer, Status
from hub.protection.asked import Limit
from hub.protection.screen import Screen
from hub.requests.batch import Batch
from hub.requests.groups import Found
from hub.requests.state import check_request
from hub.resolve import resolve_aliases
from hub.respond import respond
from hub.singles.gatherparts import RETRY_AFTER_S, Parts, own_error, write_group
from hub.singles.gatherrows import FormedRows, RowLane, Taken, call_done
from hub.singles.group import Call, Columns, GroupLayer, LaidGroup, answer_group, join_columns
from hub.singles.small import SmallAnswers, SmallRows, check_rows
from hub.storage.periods import period_of
from hub.storage.workers import Workers

THREADS = 1
"""With two, one forms a group while the other waits for the disk. Where a sync takes as little as here (0.4 ms, beside
2 ms of work for 64 calls) their groups are smaller and nothing is won: 22,000 inquiries/s with one thread, 20,300 with
two, 21,100 with three. On a slow disk two are better."""

WAIT_S, MEAN_OF = 0.004, 8
"""Whoever does groups in its own thread and waits longer for the disk, in the mean, leaves the next to the threads."""
SLOW_S = 1.0

_CLOSED = "hub: expected an open hub, got a closed one"

_ALONE = Workers(1)

Waiter = Callable[[Answer | None, BaseException | None], None] | asyncio.Future[Answer]
"""Called once, from another thread, and must not wait; or a future of a running loop."""

Settled = tuple[asyncio.Future[Answer], Answer | None, BaseException | None]


class Formed:
    """Calls that were formed together: a group to write, and those that were answered before."""

    __slots__ = ("found", "group", "name")

    def __init__(self, name: str, group: LaidGroup | None, found: list[tuple[Call, Found]]) -> None:
        self.name = name
        self.group = group
        self.found = found


class Gatherer:
    """The queue of small inquiries of one hub, and the threads that serve it; they start with the first call."""

    def __init__(self, parts: Parts, *, threads: int = THREADS) -> None:
        self._parts = parts
        self._layer = GroupLayer(parts.store.keys)
        self._threads_wanted = threads
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        """Held while the nine below are read or changed; nothing else is taken under it."""
        self._queue: deque[Call] = deque()
        self._rows = 0
        self._under_way: dict[bytes, Call] = {}
        self._reserved: dict[bytes, threading.Thread] = {}
        self._lane = RowLane(parts)
        self._turn = False
        """Whether rows are next, where calls wait as well."""
        self._closing = False
        self._sleeping = False
        self._aside = False
        """Whether a caller does a group of rows itself: nothing is taken meanwhile."""
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        """One entry wakes the thread that sleeps. In C: an interrupt in a caller falls before or behind its ``put``. A
        ``threading.Semaphore`` could keep a waiter that is gone, to be woken at the end instead of the thread."""
        self._forming = threading.Lock()
        """Held by the thread that waits for calls and forms a group of them; taken before ``_writing``."""
        self._own = threading.Lock()
        """Held by a caller that does a group itself."""
        self._slow_until = self._waited = 0.0
        self._writing = threading.Lock()
        """Held by the thread that commits; taken before the former is let go, so that groups keep their order."""

    def __repr__(self) -> str:
        return f"Gatherer(waiting={len(self._queue)})"

    def waiting(self) -> tuple[int, int, float]:
        """Calls and rows that wait to be taken, and for how many seconds the first of them has."""
        with self._lock:
            since = self._queue[0].at if self._queue else None
            return len(self._queue), self._rows, 0.0 if since is None else time.monotonic() - since

    # -- for callers

    def reserve(self, key: bytes) -> None:
        """Say that this thread does a request by itself.

        Raises:
            BusyError: it is under way in another thread.
        """
        own = threading.current_thread()
        with self._lock:
            owner = self._reserved.get(key, own)
            # A thread may meet a request of its own here: an interrupt kept it from taking its name off.
            if (owner is not own and owner.is_alive()) or key in self._under_way or self._lane.has(key):
                raise BusyError("request_id: this request is under way")
            self._reserved[key] = own

    def let_go(self, key: bytes) -> None:
        """The end of :meth:`reserve`."""
        self._reserved.pop(key, None)

    def ask(self, batch: Batch, key: bytes) -> Answer:
        """Wait for the answer of a small inquiry, which is durable then."""
        done = threading.Lock()
        done.acquire()
        result: list[Answer | BaseException] = []

        def wake(answer: Answer | None, error: BaseException | None) -> None:
            result.append(answer if error is None else error)  # type: ignore[arg-type]
            done.release()

        self.submit(batch, key, wake)
        # An interrupt here leaves the call where it is: it is recorded, and the same request id gets its answer.
        done.acquire()
        found = result[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def submit(self, batch: Batch, key: bytes, waiter: Waiter) -> None:
        """Put a small inquiry into the queue; ``waiter`` gets the answer. The same one twice at a time is done once.

        Raises:
            RequestError: the hub is closed, or the request id is under way with other rows.
            BusyError: too much waits, or the request is under way by itself.
        """
        self._check_open()
        call = Call(batch, key)
        call.waiters.append(waiter)
        with self._lock:
            if self._closing:
                raise RequestError(_CLOSED)
            other = self._under_way.get(key)
            if other is not None:
                if other.batch.digest != batch.digest:
                    raise RequestError(
                        "request_id: expected the inquiry and rows that it was first used with, got others"
                    )
                other.waiters.append(waiter)
                return
            owner = self._reserved.get(key)
            if (owner is not None and owner.is_alive()) or self._lane.has(key):
                raise BusyError("request_id: this request is under way")
            if len(self._queue) >= CALLS_WAITING_MAX or self._rows + len(batch) > ROWS_WAITING_MAX:
                raise BusyError("inquiry: too many wait for their commit", retry_after_s=RETRY_AFTER_S)
            self._under_way[key] = call
            self._queue.append(call)
            self._rows += len(batch)
            self._wake()

    def submit_rows(self, rows: SmallRows, done: Callable[[SmallAnswers], None]) -> None:
        """Put inquiries of one row each into the queue.

        ``done`` is called once, from another thread, when all of them are durable or have their error; it must not
        wait. The same request twice is done once; what the queue has no room for is answered BUSY in ``errors``.

        Raises:
            RequestError: a column has not the form of :class:`SmallRows`, or the hub is closed or read-only; nothing
                was done.
        """
        wrong = check_rows(rows)
        if wrong is not None:
            raise RequestError(wrong)
        self._check_open()
        if self._parts.store.readonly:
            raise RequestError("write: expected a hub opened for writing, got a read-only one")
        with self._lock:
            if self._closing:
                raise RequestError(_CLOSED)
            self._lane.put(rows, done)
            self._wake()

    def do_rows(self, rows: SmallRows, done: Callable[[SmallAnswers], None]) -> bool:
        """:meth:`submit_rows` by the caller's own thread, where nothing else is under way: ``done`` is called before
        this returns. False where it is not so, or the disk was slow lately; nothing was done then.

        A loop that reads frames and a thread that commits hand the interpreter's lock to each other several times a
        row; beside that, a sync of 0.1 ms is short.

        Raises:
            RequestError: as :meth:`submit_rows`.
        """
        wrong = check_rows(rows)
        if wrong is not None:
            raise RequestError(wrong)
        self._check_open()
        began, used = time.monotonic(), time.thread_time()
        if began < self._slow_until or self._parts.store.readonly or not self._own.acquire(blocking=False):
            return False
        try:
            if not self._parts.store.writer.acquire(blocking=False):
                return False
            try:
                with self._lock:
                    idle = self._sleeping and not self._queue and self._lane.idle
                    if self._closing or len(self._threads) != 1 or not idle:
                        return False
                    self._aside = True
                    self._lane.put(rows, done)
                    taken = self._lane.take(self._under_way.keys(), self._reserved)
                try:
                    self._do(taken)
                finally:
                    with self._lock:
                        self._aside = False
                        if self._queue or not self._lane.idle:
                            self._wake()
            finally:
                self._parts.store.writer.release()
        finally:
            self._own.release()
            # What it waited for: the disk, mostly.
            now = time.monotonic()
            self._waited += (now - began - (time.thread_time() - used) - self._waited) / MEAN_OF
            if self._waited > WAIT_S:
                self._slow_until, self._waited = now + SLOW_S, 0.0
        return True

    def close(self) -> None:
        """Refuse what waits, finish what is being written, end the threads; may be called again."""
        with self._lock:
            self._closing = True
            waiting = list(self._queue)
            self._queue.clear()
            self._rows = 0
            refused = self._lane.clear(RequestError(_CLOSED))
            threads = list(self._threads)
        for _ in threads:
            self._woken.put(None)
        for call in waiting:
            call.error = RequestError(_CLOSED)
        self._deliver(waiting)
        call_done(refused)
        for thread in threads:
            thread.join()
        with self._own:
            """Whoever does a group itself has done it."""

    def _check_open(self) -> None:
        store = self._parts.store
        if store.closed or store.forked:
            with store.snapshot():
                """Says why it cannot be used."""

    def _wake(self) -> None:
        """Something was put into a queue; under the lock."""
        if not self._threads:
            self._start()
        if self._sleeping:
            # In this order: where an interrupt falls between, the thread is woken once more than it need be.
            self._woken.put(None)
            self._sleeping = False

    # -- the threads

    def _start(self) -> None:
        self._threads = [
            threading.Thread(target=self._work, name="hub-gather", daemon=True) for _ in range(self._threads_wanted)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            with self._forming:
                taken = self._take()
                if taken is None:
                    return
                formed, failure = self._form_either(taken)
                self._writing.acquire()
            try:
                formed, failure = self._write_either(taken, formed, failure)
            finally:
                self._writing.release()
            self._end(taken, formed, failure)

    def _do(self, taken: Taken) -> None:
        """All steps of a group, one after the other."""
        formed, failure = self._form_either(taken)
        formed, failure = self._write_either(taken, formed, failure)
        self._end(taken, formed, failure)

    def _form_either(self, taken: list[Call] | Taken) -> tuple[Formed | FormedRows | None, BaseException | None]:
        try:
            return self._lane.form(taken) if isinstance(taken, Taken) else self._form(taken), None
        except BaseException as error:
            return None, error

    def _write_either(
        self, taken: list[Call] | Taken, formed: Formed | FormedRows | None, failure: BaseException | None
    ) -> tuple[Formed | FormedRows | None, BaseException | None]:
        if failure is None:
            try:
                if isinstance(formed, FormedRows):
                    formed = self._lane.write(formed)
                elif formed is not None:
                    self._write(formed)
            except BaseException as error:
                failure = error
        if failure is not None:
            if isinstance(taken, Taken):
                self._lane.halve(taken, taken.places(), failure)
            else:
                self._halve(taken, failure)
        return formed, failure

    def _end(
        self, taken: list[Call] | Taken, formed: Formed | FormedRows | None, failure: BaseException | None
    ) -> None:
        if isinstance(taken, Taken):
            if isinstance(formed, FormedRows) and failure is None:
                self._lane.answer(taken, formed)
            self._lane.deliver(taken)
            with self._lock:
                complete = self._lane.settle(taken)
            call_done(complete)
        else:
            if isinstance(formed, Formed) and failure is None:
                self._answer(formed)
            self._deliver(taken)

    def _take(self) -> list[Call] | Taken | None:
        """Everything that waits, up to one group, calls and rows in turns; waits for the first. None at the end."""
        while True:
            with self._lock:
                if self._closing:
                    return None
                if self._aside:
                    pass
                elif not self._lane.idle and (self._turn or not self._queue):
                    self._turn = False
                    return self._lane.take(self._under_way.keys(), self._reserved)
                elif self._queue:
                    self._turn = True
                    calls: list[Call] = []
                    rows = 0
                    while self._queue and len(calls) < CALLS_PER_GROUP_MAX:
                        rows += len(self._queue[0].batch)
                        if calls and rows > ROWS_PER_GROUP_MAX:
                            break
                        calls.append(self._queue.popleft())
                        self._rows -= len(calls[-1].batch)
                    return calls
                self._sleeping = True
            self._woken.get()

    def _form(self, calls: list[Call]) -> Formed:
        """Find, decide, resolve and lay out some calls; who cannot be decided gets its own error."""
        parts = self._parts
        now, catalog = parts.now(), parts.catalog()
        found: list[tuple[Call, Found]] = []
        fresh: list[Call] = []
        tables: dict[tuple[object, ...], DecisionTable] = {}
        for call, one in zip(calls, parts.groups.find_all([call.key for call in calls], now), strict=True):
            call.error = call.answer = None
            try:
                if one is not None:
                    check_request(one.request, call.batch)
                    found.append((call, one))
                else:
                    inquiry = call.batch.inquiry
                    question = inquiry.requester, inquiry.procedure, inquiry.items, inquiry.role
                    call.table = tables.get(question)
                    if call.table is None:
                        call.table = tables[question] = catalog.table(inquiry, now)
                    fresh.append(call)
            except HubError as error:
                call.error = error
        if not fresh:
            return Formed("", None, found)
        fresh, columns = _join(fresh)
        if columns is None:
            return Formed("", None, found)
        return Formed(parts.day(now), self._lay(fresh, columns, now, catalog), found)

    def _lay(self, calls: list[Call], columns: Columns, received_at: int, catalog: Catalog) -> LaidGroup:
        parts = self._parts
        persons, resolved, screen = self._resolve(calls, columns)
        key = parts.periods.make(period_of(parts.now()))
        try:
            return self._layer.lay(calls, columns, persons, resolved, screen, received_at, catalog, key)
        except BaseException:
            parts.asked.give_up(calls[0].key)
            raise

    def _limit(self, calls: list[Call]) -> Limit:
        """How many bodies may be asked; the rows of a group are settled under the name of its first call."""
        questions = []
        for call in calls:
            assert call.table is not None
            questions.append(((call.batch.inquiry.requester, tuple(call.table.items)), call.table.providers_max))
        return Limit(self._parts.asked, calls[0].key, 0, questions, self._parts.now())

    def _resolve(
        self, calls: list[Call], columns: Columns
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], Screen]:
        """Persons and statuses of a group's rows, a kernel call a requester, and the screen of the same snapshot."""
        wanted = (columns.status == Status.OK).view(np.uint8)
        requesters = [call.batch.requester for call in calls]
        with self._parts.store.snapshot() as snapshot:
            screen = Screen(snapshot, self._parts.flagged(snapshot), self._limit(calls))
            if len(set(requesters)) == 1:
                one = resolve_aliases(
                    snapshot, requesters[0], columns.providers, columns.aliases, _ALONE, wanted=wanted
                )
                return one.persons, one.status, screen
            persons, status = np.empty(len(wanted), np.uint32), np.empty(len(wanted), np.uint8)
            of_row = np.array(requesters)[columns.call]
            for requester in sorted(set(requesters)):
                at = np.flatnonzero(of_row == requester)
                part = resolve_aliases(
                    snapshot, requester, columns.providers[at], columns.aliases[at], _ALONE, wanted=wanted[at]
                )
                persons[at], status[at] = part.persons, part.status
            return persons, status, screen

    def _write(self, formed: Formed) -> None:
        """Make a group durable."""

        def again(group: LaidGroup) -> LaidGroup:
            return self._lay(group.calls, group.columns, group.received_at, group.catalog)

        if formed.group is not None:
            formed.group = write_group(self._parts, formed.name, formed.group, again)

    def _answer(self, formed: Formed) -> None:
        """Make the checkpoint durable, then put the answers together."""
        parts = self._parts
        calls = [call for call, _ in formed.found] + (formed.group.calls if formed.group is not None else [])
        if not calls:
            return
        try:
            # Also for what was there already: the process before may have died between commit and checkpoint.
            parts.publish()
            if formed.group is not None:
                answer_group(formed.group)
        except BaseException as error:
            for call in calls:
                call.error = error
            return
        for call, found in formed.found:
            try:
                with parts.store.snapshot() as snapshot:
                    request_id = call.batch.inquiry.request_id
                    call.answer = respond(snapshot, found.name, call.key, found.request, request_id, found.state)
            except BaseException as error:
                call.error = error

    def _halve(self, calls: list[Call], failure: BaseException) -> None:
        """Do the halves of a group that failed each by itself, so that the calls at fault are found.

        What became durable all the same is found by :meth:`_form` and answered from there.
        """
        if len(calls) == 1 or self._parts.store.broken or getattr(failure, "retry_safe", False):
            # The disk's fault, or this call's.
            for call in calls:
                call.error, call.answer = failure, None
            return
        middle = len(calls) // 2
        for half in (calls[:middle], calls[middle:]):
            try:
                formed = self._form(half)
                self._write(formed)
            except BaseException as error:
                self._halve(half, error)
            else:
                self._answer(formed)

    def _deliver(self, calls: list[Call]) -> None:
        with self._lock:
            for call in calls:
                # Nobody joins it from here on, so that ``waiters`` stands still.
                del self._under_way[call.key]
        loops: dict[asyncio.AbstractEventLoop, list[Settled]] = {}
        for call in calls:
            answer, error = call.answer, call.error
            if answer is None and error is None:
                error = StorageError("inquire: expected an answer, got none", retry_safe=True)
            for number, waiter in enumerate(call.waiters):
                if number and answer is not None:
                    # Joined: arrays of its own, as if it had asked alone.
                    answer = Answer(answer.status.copy(), answer.rule.copy(), answer.reason.copy(), answer.receipt)
                own = None if error is None else own_error(error)
                if isinstance(waiter, asyncio.Future):
                    loops.setdefault(waiter.get_loop(), []).append((waiter, answer, own))
                else:
                    waiter(answer, own)
        for loop, settled in loops.items():
            # One call a loop and group: waking a loop costs as much as several answers.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, settled)


def _join(calls: list[Call]) -> tuple[list[Call], Columns | None]:
    """The columns of those calls whose providers are known; the others get their error."""
    try:
        return calls, join_columns(calls)
    except RequestError:
        good = []
        for call in calls:
            try:
                join_columns([call])
                good.append(call)
            except RequestError as error:
                call.error = error
        return good, join_columns(good) if good else None


def _settle(settled: list[Settled]) -> None:
    """Runs in the loop of the futures."""
    for future, answer, error in settled:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            assert answer is not None
            future.set_result(answer)


def settle_future(future: Future[Answer]) -> Callable[[Answer | None, BaseException | None], None]:
    """A waiter that hands its answer to a future of ``concurrent.futures``."""

    def settle(answer: Answer | None, error: BaseException | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            assert answer is not None
            future.set_result(answer)

    return settle
