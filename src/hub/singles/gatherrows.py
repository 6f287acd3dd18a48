"""Inquiries of one row each on their way through the gatherer, as columns (``small.py``, ``rowgroup.py``).

    submission, submission ... -> take: one group -> form -> write -> answer -> deliver: to each its own part

The steps are called by the threads of ``gather.py``, in its order and under its locks; groups of rows and of calls take
turns. The same request twice in a group is done once; one that is in the group before is found there, since that is
durable before this one is formed or, with several threads, written.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub._small import Keys
from hub.catalog import Catalog, DecisionTable
from hub.errors import BusyError, HubError, RequestError, StorageError
from hub.limits import CALLS_PER_GROUP_MAX, CALLS_WAITING_MAX
from hub.messages import Status
from hub.persons.successions import NAME as SUCCESSIONS
from hub.protection.asked import Limit
from hub.protection.screen import Screen
from hub.requests.groups import Found
from hub.resolve import resolve_aliases, resolve_parts
from hub.respond import respond
from hub.singles.gatherparts import RETRY_AFTER_S, Parts, logger, own_error, write_group
from hub.singles.rowgroup import DecidedRows, LaidRows, RowLayer, decide_rows, join_rows, take_rows
from hub.singles.small import SmallAnswers, SmallRows, no_answers
from hub.storage.periods import period_of
from hub.storage.workers import Workers

Done = Callable[[SmallAnswers], None]
Places = npt.NDArray[np.intp]

_UNDER_WAY = "request_id: this request is under way"
_FULL = "inquiry: too many wait for their commit"

_ALONE = Workers(1)


class Submission:
    """What one caller handed in.

    Attributes:
        rows, done: as it did. answers: what is known of them. end: rows that found room in the queue, the first ones.
        taken: rows of those that left it. left: without answer.
    """

    __slots__ = ("answers", "done", "end", "left", "rows", "taken")

    def __init__(self, rows: SmallRows, done: Done, room: int) -> None:
        self.rows, self.done = rows, done
        self.answers = no_answers(len(rows.which))
        self.end = self.left = min(room, len(rows.which))
        self.taken = 0
        self.refuse(self.end, len(rows.which), BusyError(_FULL, retry_after_s=RETRY_AFTER_S))

    def __repr__(self) -> str:
        return f"Submission(rows={len(self.rows.which)})"

    def refuse(self, first: int, end: int, error: HubError) -> None:
        """Give some rows an error."""
        for row in range(first, end):
            self.answers.errors[row] = own_error(error)


class Taken:
    """Rows that left the queue together.

    Attributes:
        rows: all of them. sources: (submission, its first row here, the one behind its last). answers: of the rows.
        table: their keys. first: of each row where its request came first; again: rows that are not the first.
        left_out: bool[N] of rows that have an error already, or None.
    """

    __slots__ = ("again", "answers", "first", "left_out", "rows", "sources", "table")

    def __init__(self, sources: list[tuple[Submission, int, int]]) -> None:
        self.sources = sources
        self.rows = join_rows([_part(one, begin, end) for one, begin, end in sources])
        n = len(self.rows.which)
        self.answers = no_answers(n)
        self.table, self.first = Keys(), np.empty(n, np.uint32)
        self.again = self.table.firsts(self.rows.keys, self.first)
        self.left_out: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        return f"Taken(rows={len(self)})"

    def fail(self, row: int, error: HubError) -> None:
        """Say that a row has an error instead of an answer."""
        self.answers.errors[row] = error

    def refuse(self, keys: Collection[bytes]) -> None:
        """Leave out the rows whose request is under way elsewhere."""
        if len(keys) <= len(self):
            rows = [row - 1 for key in keys if (row := self.table.get(key))]
        else:
            rows = [row for row, key in enumerate(self.rows.keys) if key.tobytes() in keys]
        self.leave_out(rows)

    def leave_out(self, rows: list[int]) -> None:
        """Leave out rows."""
        if rows and self.left_out is None:
            self.left_out = np.zeros(len(self), np.bool_)
        for row in rows:
            assert self.left_out is not None
            self.left_out[row] = True
            self.fail(row, BusyError(_UNDER_WAY))

    def places(self) -> Places:
        """The rows that are to be done: of each request the first, but for those that are left out."""
        if not self.again and self.left_out is None:
            return np.arange(len(self))
        wanted = self.first == np.arange(len(self), dtype=np.uint32)
        if self.left_out is not None:
            wanted &= ~self.left_out
        return np.flatnonzero(wanted)


class FormedRows(NamedTuple):
    """Rows that were formed together: a group to write, the places of its rows, and those that were answered before."""

    name: str
    group: LaidRows | None
    at: Places
    found: list[tuple[int, Found]]


class RowLane:
    """The queue of rows, and what is done with them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._layer = RowLayer(parts.store.keys)
        self._queue: deque[Submission] = deque()
        self.waiting = 0
        """Rows in the queue. This and what is above and below is read and changed under the gatherer's lock."""
        self._under_way: list[Taken] = []

    def __repr__(self) -> str:
        return f"RowLane(waiting={self.waiting})"

    # -- under the gatherer's lock

    def put(self, rows: SmallRows, done: Done) -> None:
        """Put rows into the queue; those that it has no room for have their error, and leave it with the rest."""
        one = Submission(rows, done, max(0, CALLS_WAITING_MAX - self.waiting))
        self.waiting += one.end
        self._queue.append(one)

    def has(self, key: bytes) -> bool:
        """Whether a request is under way here."""
        return any(taken.table.get(key) for taken in self._under_way)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def take(self, calls: Collection[bytes], reserved: dict[bytes, threading.Thread]) -> Taken:
        """What waits, up to one group; requests that are under way as calls, or by themselves, are left out."""
        sources: list[tuple[Submission, int, int]] = []
        room = CALLS_PER_GROUP_MAX
        while self._queue and room:
            one = self._queue[0]
            first, one.taken = one.taken, min(one.end, one.taken + room)
            sources.append((one, first, one.taken))
            room -= one.taken - first
            self.waiting -= one.taken - first
            if one.taken == one.end:
                self._queue.popleft()
        taken = Taken(sources)
        if calls:
            taken.refuse(calls)
        if reserved:
            taken.refuse([key for key, thread in reserved.items() if thread.is_alive()])
        for other in self._under_way:
            # Only with several threads: what the group before does is not durable yet.
            places = np.empty(len(taken), np.uint64)
            if other.table.find(taken.rows.keys, places):
                taken.leave_out(np.flatnonzero(places).tolist())
        self._under_way.append(taken)
        return taken

    def clear(self, error: HubError) -> list[Submission]:
        """Empty the queue: everything in it gets this error. Returns those with nothing under way any more."""
        waiting = list(self._queue)
        self._queue.clear()
        self.waiting = 0
        for one in waiting:
            one.refuse(one.taken, one.end, error)
            one.left -= one.end - one.taken
            one.end = one.taken
        return [one for one in waiting if not one.left]

    def settle(self, taken: Taken) -> list[Submission]:
        """Rows are under way no longer; returns the submissions that are complete now."""
        self._under_way.remove(taken)
        complete = []
        for one, begin, end in taken.sources:
            one.left -= end - begin
            if not one.left:
                complete.append(one)
        return complete

    # -- the steps

    def form(self, taken: Taken, at: Places | None = None) -> FormedRows:
        """Find, decide, resolve and lay out some rows (all of them, or those at these places)."""
        parts = self._parts
        if at is None:
            at = taken.places()
        if not len(at):
            return FormedRows("", None, at, [])
        if taken.answers.errors:
            # Those of a try before: what fails again says so again.
            for row in at.tolist():
                taken.answers.errors.pop(row, None)
        now, catalog = parts.now(), parts.catalog()
        rows = taken.rows if len(at) == len(taken) else take_rows(taken.rows, at)
        found: list[tuple[int, Found]] = []
        gone = np.zeros(len(at), np.bool_)
        for row, one in parts.groups.find_rows(rows.keys, now):
            gone[row] = True
            if one.request.digest == rows.digests[row].tobytes():
                found.append((int(at[row]), one))
            else:
                taken.fail(int(at[row]), _other_request())
        if gone.any():
            rows = take_rows(rows, np.flatnonzero(~gone))
            at = at[~gone]
            if not len(at):
                return FormedRows("", None, at, found)
        at, decided = self._decide(taken, at, rows, catalog, now)
        if not len(at):
            return FormedRows("", None, at, found)
        name = parts.day(now)
        return FormedRows(name, self._lay(object(), decided, now, now, catalog), at, found)

    def _decide(
        self, taken: Taken, at: Places, rows: SmallRows, catalog: Catalog, now: int
    ) -> tuple[Places, DecidedRows]:
        """The decisions of rows; who cannot be decided gets an error and is left out."""
        tables: list[DecisionTable | None] = []
        errors: dict[int, HubError] = {}
        for number, question in enumerate(rows.questions):
            try:
                tables.append(catalog.table(question.inquiry, now))
            except HubError as error:
                errors[number] = error
                tables.append(None)
        decided = decide_rows(rows, tables)
        bad: list[int] = []
        if decided.undecided:
            for row in np.flatnonzero(decided.decision == 0xFFFF).tolist():
                bad.append(row)
                cause = errors.get(int(rows.which[row])) or _provider_error(decided, row)
                taken.fail(int(at[row]), own_error(cause))
        if self._parts.store.may_have(SUCCESSIONS):
            bad += self._check_bodies(taken, at, rows, set(bad))
        if not bad:
            return at, decided
        good = np.ones(len(at), np.bool_)
        good[bad] = False
        left = np.flatnonzero(good)
        return at[left], decided.take(left)

    def _check_bodies(self, taken: Taken, at: Places, rows: SmallRows, bad: set[int]) -> list[int]:
        """The rows that are by or to a body that was succeeded."""
        found: list[int] = []
        requesters = np.array([question.requester for question in rows.questions], np.uint32)[rows.which]
        refused: dict[tuple[int, int], HubError | None] = {}
        for row, pair in enumerate(zip(requesters.tolist(), rows.providers.tolist(), strict=True)):
            if row in bad:
                continue
            if pair not in refused:
                refused[pair] = None
                try:
                    self._parts.check_bodies(np.unique(np.array(pair, np.uint32)))
                except HubError as error:
                    refused[pair] = error
            cause = refused[pair]
            if cause is not None:
                found.append(row)
                taken.fail(int(at[row]), own_error(cause))
        return found

    def _lay(self, owner: object, decided: DecidedRows, now: int, received_at: int, catalog: Catalog) -> LaidRows:
        parts = self._parts
        persons, resolved, screen = self._resolve(owner, decided, now)
        key = parts.periods.make(period_of(now))
        try:
            return self._layer.lay(owner, decided, persons, resolved, screen, received_at, catalog, key)
        except BaseException:
            parts.asked.give_up(owner)
            raise

    def _resolve(
        self, owner: object, decided: DecidedRows, now: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], Screen]:
        """Persons and statuses of a group's rows, and the screen of the same snapshot."""
        parts, rows = self._parts, decided.rows
        wanted = (decided.status == np.uint8(Status.OK)).view(np.uint8)
        requesters = np.array([question.requester for question in rows.questions], np.uint32)
        with parts.store.snapshot() as snapshot:
            screen = Screen(snapshot, parts.flagged(snapshot), self._limit(owner, decided, now))
            if len(requesters) == 1 or (requesters == requesters[0]).all():
                one = resolve_aliases(
                    snapshot, int(requesters[0]), rows.providers, rows.aliases, _ALONE, wanted=wanted
                )
                return one.persons, one.status, screen
            of_row = requesters[rows.which]
            order = np.argsort(of_row, kind="stable")
            numbers, begins = np.unique(of_row[order], return_index=True)
            found = resolve_parts(
                snapshot, numbers.tolist(), np.append(begins, len(order)), rows.providers[order], rows.aliases[order],
                _ALONE, wanted[order],
            )  # fmt: skip
            persons, status = np.empty(len(wanted), np.uint32), np.empty(len(wanted), np.uint8)
            persons[order], status[order] = found.persons, found.status
            return persons, status, screen

    def _limit(self, owner: object, decided: DecidedRows, now: int) -> Limit:
        """How many bodies may be asked; rows of a group are settled under its owner's name."""
        questions = [
            ((question.inquiry.requester, () if table is None else tuple(table.items)), table.providers_max)
            if table is not None else ((question.inquiry.requester, ()), 0)
            for question, table in zip(decided.rows.questions, decided.tables, strict=True)
        ]  # fmt: skip
        return Limit(self._parts.asked, owner, 0, questions, now)

    def write(self, formed: FormedRows) -> FormedRows:
        """Make a group durable."""
        if formed.group is None:
            return formed

        def again(group: LaidRows) -> LaidRows:
            return self._lay(group.owner, group.decided, self._parts.now(), group.received_at, group.catalog)

        return formed._replace(group=write_group(self._parts, formed.name, formed.group, again))

    def answer(self, taken: Taken, formed: FormedRows) -> None:
        """Make the checkpoint durable, then put the answers together."""
        parts, answers, group = self._parts, taken.answers, formed.group
        if group is None and not formed.found:
            return
        try:
            # Also for what was there already: the process before may have died between commit and checkpoint.
            parts.publish()
        except BaseException as error:
            self.fail(taken, np.concatenate([formed.at, np.array([row for row, _ in formed.found], np.intp)]), error)
            return
        if group is not None:
            at = formed.at
            answers.status[at], answers.rule[at] = group.status, group.decided.rule
            answers.reason[at], answers.received_at[at] = group.decided.reason, group.received_at
        for row, found in formed.found:
            try:
                with parts.store.snapshot() as snapshot:
                    key = taken.rows.keys[row].tobytes()
                    one = respond(snapshot, found.name, key, found.request, "", found.state)
                answers.status[row], answers.rule[row], answers.reason[row] = one.status[0], one.rule[0], one.reason[0]
                answers.received_at[row] = one.receipt.received_at
            except BaseException as error:
                taken.fail(row, own_error(error))

    def fail(self, taken: Taken, at: Places, error: BaseException) -> None:
        """Give rows an error."""
        for row in at.tolist():
            taken.fail(row, own_error(error))

    def halve(self, taken: Taken, at: Places, failure: BaseException) -> None:
        """Do the halves of a group that failed each by itself, so that the rows at fault are found.

        What became durable all the same is found by :meth:`form` and answered from there.
        """
        if len(at) <= 1 or self._parts.store.broken or getattr(failure, "retry_safe", False):
            # The disk's fault, or this row's.
            self.fail(taken, at, failure)
            return
        middle = len(at) // 2
        for half in (at[:middle], at[middle:]):
            try:
                formed = self.write(self.form(taken, half))
            except BaseException as error:
                self.halve(taken, half, error)
            else:
                self.answer(taken, formed)

    def deliver(self, taken: Taken) -> None:
        """Give every submission its part; requests that came twice get the answer of the first."""
        answers = taken.answers
        if taken.again:
            self._follow(taken)
        begin = 0
        for one, first, end in taken.sources:
            rows = slice(begin, begin + end - first)
            for column, mine in zip(one.answers.columns, answers.columns, strict=True):
                column[first:end] = mine[rows]
            begin += end - first
        if answers.errors:
            starts = np.cumsum([0] + [end - first for _, first, end in taken.sources])
            for row, error in answers.errors.items():
                place = int(np.searchsorted(starts, row, side="right")) - 1
                one, first, _ = taken.sources[place]
                one.answers.errors[row - int(starts[place]) + first] = error

    def _follow(self, taken: Taken) -> None:
        answers, digests = taken.answers, taken.rows.digests
        for row in np.flatnonzero(taken.first != np.arange(len(taken), dtype=np.uint32)).tolist():
            first = int(taken.first[row])
            error = answers.errors.get(first)
            if (digests[row] != digests[first]).any():
                # Where the first was refused, nobody knows yet whether this one would be.
                busy = BusyError(_UNDER_WAY)
                taken.fail(row, busy if error is not None else _other_request())
            elif error is not None:
                taken.fail(row, own_error(error))
            else:
                for column in answers.columns:
                    column[row] = column[first]


def call_done(submissions: list[Submission]) -> None:
    """Hand over what is complete; a caller's fault is its own."""
    for one in submissions:
        try:
            one.done(one.answers)
        except Exception as error:
            logger.error("inquire: whoever handed rows in failed to take their answers", exc_info=error)


def _part(one: Submission, begin: int, end: int) -> SmallRows:
    rows = one.rows
    return rows if end - begin == len(rows.which) else take_rows(rows, slice(begin, end))


def _provider_error(decided: DecidedRows, row: int) -> HubError:
    table = decided.tables[int(decided.rows.which[row])]
    try:
        if table is not None:
            table.look_up(decided.rows.providers[row : row + 1])
    except HubError as error:
        return error
    return StorageError("inquiry: expected a decision, got none")


def _other_request() -> RequestError:
    return RequestError("request_id: expected the inquiry and rows that it was first used with, got others")
