"""No location oracle: one requester asks about one person and item at most so many different bodies a day.

Whoever may ask any municipality about a person could ask all of them, and learn where that person is known. Within the
law an inquiry knows where to ask: beyond ``providers_max`` bodies a day (in Japan's time, by the hub's clock) a row is
recorded as ``HELD``, no permit leaves, and another clerk has to give a reason (``releases.py``). A body that was asked
already may be asked again. A question that the law allows counts whether the body knows the person or not, and a held
row does not tell which: to hear from a hundred bodies that they do not is to know where somebody lives.

    row -> table of the day (``_asked.pyx``, some ns) -> certainly within the bound
                                                      -> unsure -> the day's records and what is being written -> held?

A table counts, of each person, how often the provider changed: never less than the different providers. There is one
for each list of items that a requester asked for today; lists that share an item count together, by the sum of their
tables. Where that says too many, the records decide, for each item by itself.

What must stay true is that a row which a table lets pass was asked of that body today, or leaves the bodies within the
bound. So a table holds nothing but rows that are in the log or on their way into it (*in flight*: prepared, not yet
known to be durable); when some of them did not get there (a failed commit, an interrupt) the requester's tables are
thrown away and made anew from the log, as they are after a start, and at the first question of a day. Rows of one call
are judged in their order; chunks that are prepared at the same time in the order in which they come here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hub._asked import MOST, Table
from hub.limits import ASKED_BYTES_MAX, ASKED_LISTS_MAX
from hub.messages import Status
from hub.protection.askedrows import Items, People, Persons, Question, Rows, count_together, judge_rows

COUNTED = (int(Status.OK), int(Status.NO_ALIAS_AT_PROVIDER), int(Status.SUSPENDED))
"""What the requester heard that tells it something of where the person is known."""

_COUNTED = np.isin(np.arange(256), COUNTED).astype(np.uint8)
_DAY_S = 86_400
_JAPAN_S = 9 * 3_600


class Flight(NamedTuple):
    """A part in flight: the rows that were to be judged, and those of them that count."""

    judged: Rows
    rows: Rows


class DayLog(Protocol):
    """What was asked according to the log; see ``askedlog.py``."""

    def rows_since(self, since: int, requester: str | None) -> Iterable[Rows]:
        """All rows recorded from a moment on, of one requester or of all, in any parts."""

    def answers_of(self, question: Question, people: People, since: int) -> Iterable[Rows]:
        """The rows about these persons, recorded from a moment on, of all questions that count together with one."""


def day_of(now: int) -> int:
    """The day in Japan of a moment, seconds since 1970."""
    return (now + _JAPAN_S) // _DAY_S


def day_start(day: int) -> int:
    """The first moment of such a day."""
    return day * _DAY_S - _JAPAN_S


class Asked:
    """Who was asked about whom today; of one hub, the only one that writes its folder."""

    def __init__(self, log: DayLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        """Held while anything below is read or changed, the log's reading included. Taken under the writer's lock where
        a chunk is prepared again, so nothing under it may wait for that one."""
        self._day: int | None = None
        self._below = 0
        """One more than the largest person number that was seen."""
        self._tables: OrderedDict[Question, Table] = OrderedDict()
        """Least lately used first. Of a list of items that is known but has no table, it is read from the log."""
        self._lists: dict[str, dict[Items, list[Question]]] = {}
        """Of each requester the lists of items that it asked for today, and for each the others that share an item."""
        self._crowded: set[str] = set()
        """Requesters with too many lists: each of their rows is looked up in the log."""
        self._bytes = 0
        self._flights: dict[Hashable, dict[int, Flight]] = {}
        """Owner -> part -> rows in flight."""

    def __repr__(self) -> str:
        return f"Asked(tables={len(self._tables)}, bytes={self._bytes})"

    # -- for those who record

    def hold_rows(
        self,
        owner: Hashable,
        part: int,
        question: Question,
        persons: Persons,
        providers: Persons,
        status: npt.NDArray[np.uint8],
        most: int,
        now: int,
    ) -> int:
        """Judge the rows of a chunk that would be ``COUNTED``: those to one body too many become HELD, in place.

        The others count as asked until :meth:`settle` or :meth:`give_up`. The same part again (a chunk that is
        prepared once more) takes the place of what it was: what was allowed stays allowed.

        Args:
            owner, part: by which these rows are named until they are settled.
            persons, providers: uint32[N]. status: uint8[N] of ``Status``. most: different bodies a day.
            now: the hub's clock, seconds since 1970; never earlier than in a call before.

        Returns:
            how many rows were held.

        Raises:
            StorageError: the day's records could not be read; nothing may be recorded.
        """
        wanted = _COUNTED.take(status)
        # Of a class nobody of which holds the person no body is asked.
        wanted[providers == 0] = 0
        with self._lock:
            try:
                judged = Rows(question, *_choose(wanted, persons, providers))
                self._make_way(owner, part, judged)
                held: list[int] = []
                if len(judged.persons):
                    self._turn(day_of(now))
                    unsure = self._count(question, persons, providers, wanted, most)
                    held = self._judge(question, persons, providers, wanted, unsure, most)
                    wanted[held] = 0
                    rows = Rows(question, *_choose(wanted, persons, providers)) if held else judged
                    self._flights.setdefault(owner, {})[part] = Flight(judged, rows)
            except BaseException:
                # Counted, but on their way to nowhere.
                self._forget(question[0])
                raise
        status[held] = Status.HELD
        return len(held)

    def settle(self, owner: Hashable, part: int | None = None) -> None:
        """Rows of an owner (or one part of them) are durable: the log knows them now."""
        with self._lock:
            if part is None:
                self._flights.pop(owner, None)
                return
            parts = self._flights.get(owner)
            if parts is not None:
                parts.pop(part, None)
                if not parts:
                    del self._flights[owner]

    def give_up(self, owner: Hashable) -> None:
        """Whatever of an owner's rows is in flight still is not known to be durable: only the log can say."""
        with self._lock:
            for flight in self._flights.pop(owner, {}).values():
                self._forget(flight.rows.question[0])

    def add(self, rows: Rows) -> None:
        """Rows that were not judged here are durable; to be called under the writer's lock, so that no question about
        the same person is written in between."""
        with self._lock:
            if self._day is not None and rows.question in self._tables:
                self._take(rows)

    def begin(self, now: int) -> None:
        """Read the day's records now, so that the first inquiry need not wait for it: 4 us a single one.

        Raises:
            StorageError: they could not be read.
        """
        with self._lock:
            self._turn(day_of(now))

    # -- the tables

    def _turn(self, day: int) -> None:
        """Begin a day, or begin at all."""
        if day == self._day:
            return
        self._day = None
        self._tables.clear()
        self._lists.clear()
        self._crowded.clear()
        self._bytes = 0
        for rows in self._log.rows_since(day_start(day), None):
            self._take(rows)
        # Prepared yesterday, recorded today: the log may not have them yet, and counts them as today's when it does.
        for rows in self._flying():
            self._take(rows)
        self._day = day

    def _count(
        self, question: Question, persons: Persons, providers: Persons, wanted: npt.NDArray[np.uint8], most: int
    ) -> npt.NDArray[np.bool_]:
        """Enter rows into the question's table; bool[N], those that it cannot be sure of."""
        self._enter(question)
        if question[0] in self._crowded:
            return wanted.astype(bool)
        self._below = max(self._below, int(persons[wanted.view(bool)].max()) + 1)
        needed = [question, *self._lists[question[0]][question[1]]]
        self._make(needed)
        others = None
        for other in needed[1:]:
            if others is None:
                others = np.zeros(len(persons), dtype=np.uint16)
            self._tables[other].add(persons, wanted, others)
        unsure = np.empty(len(persons), dtype=np.uint8)
        table = self._room(question, len(persons))
        table.count(persons, providers, wanted, others, min(most, MOST), unsure)
        self._shrink(needed)
        return unsure.view(bool)

    def _enter(self, question: Question) -> None:
        """Make a list of items known."""
        requester, items = question
        lists = self._lists.setdefault(requester, {})
        if items in lists or requester in self._crowded:
            return
        if len(lists) >= ASKED_LISTS_MAX:
            self._crowded.add(requester)
            self._forget(requester)
            return
        shared = [other for other in lists if not set(items).isdisjoint(other)]
        for other in shared:
            lists[other].append(question)
        lists[items] = [(requester, other) for other in shared]
        # Nobody asked for it before.
        self._tables[question] = Table()

    def _make(self, needed: list[Question]) -> None:
        """Read from the log the tables that are known but not here, and note that all of them were used."""
        missing = {question for question in needed if question not in self._tables}
        if missing:
            assert self._day is not None
            for question in missing:
                self._tables[question] = Table()
            requester = needed[0][0]
            # In flight first: what becomes durable in between is counted twice, not missed.
            for rows in (*self._flying(), *self._log.rows_since(day_start(self._day), requester)):
                if rows.question in missing:
                    self._take(rows)
        for question in needed:
            self._tables.move_to_end(question)

    def _take(self, rows: Rows) -> None:
        """Count rows that were asked, whatever the bound."""
        self._enter(rows.question)
        if rows.question[0] in self._crowded or not len(rows.persons):
            return
        self._below = max(self._below, int(rows.persons.max()) + 1)
        n = len(rows.persons)
        table = self._room(rows.question, n)
        table.count(rows.persons, rows.providers, np.ones(n, np.uint8), None, MOST, np.empty(n, np.uint8))

    def _room(self, question: Question, rows: int) -> Table:
        table = self._tables[question]
        before = table.bytes
        table.reserve(rows, self._below)
        self._bytes += table.bytes - before
        return table

    def _shrink(self, needed: list[Question]) -> None:
        """Let go of the tables that were not used for longest, but for those in use."""
        while self._bytes > ASKED_BYTES_MAX and len(self._tables) > len(needed):
            # Those in use were moved to the end.
            _, table = self._tables.popitem(last=False)
            self._bytes -= table.bytes

    def _forget(self, requester: str) -> None:
        """Let go of a requester's tables: they are read from the log when they are needed."""
        for items in self._lists.get(requester, ()):
            table = self._tables.pop((requester, items), None)
            if table is not None:
                self._bytes -= table.bytes

    # -- the records decide

    def _judge(
        self,
        question: Question,
        persons: Persons,
        providers: Persons,
        wanted: npt.NDArray[np.uint8],
        unsure: npt.NDArray[np.bool_],
        most: int,
    ) -> list[int]:
        """The rows, of those that are unsure, that are the question to one body too many."""
        if not unsure.any():
            return []
        assert self._day is not None
        people = People(np.unique(persons[unsure]))
        # In flight first, as in ``_make``.
        past = [rows.of(people) for rows in self._flying() if count_together(rows.question, question)]
        past += self._log.answers_of(question, people, day_start(self._day))
        judged = judge_rows(Rows(question, persons, providers), wanted.view(bool), unsure, past, most)
        table = self._tables.get(question)
        if table is not None:
            for person, (provider, different) in judged.known.items():
                # Not fewer than this table's own: whoever goes back and forth between two is not looked up each time.
                table.put(person, provider, different)
        return judged.held

    def _flying(self) -> list[Rows]:
        """All rows in flight."""
        return [flight.rows for parts in self._flights.values() for flight in parts.values()]

    def _make_way(self, owner: Hashable, part: int, judged: Rows) -> None:
        """Before a part is judged again: the same rows may stay counted, other ones take their place."""
        parts = self._flights.get(owner)
        before = parts.get(part) if parts is not None else None
        if parts is None or before is None or _same(before.judged, judged):
            return
        del parts[part]
        if not parts:
            del self._flights[owner]
        # Rows that were counted are not on their way any more.
        self._forget(before.judged.question[0])


class Limit:
    """The bound for the rows of one chunk, whose questions may be several."""

    __slots__ = ("_asked", "_now", "_number", "_owner", "_part", "_questions")

    def __init__(
        self, asked: Asked, owner: Hashable, part: int, questions: Sequence[tuple[Question, int]], now: int
    ) -> None:
        """For :meth:`Asked.hold_rows`.

        Args:
            part: of the first question; those that differ take the next ones.
            questions: with the different bodies a day that its procedure allows; of each call of a group, or one.
        """
        numbers: dict[tuple[Question, int], int] = {}
        number = [numbers.setdefault(one, len(numbers)) for one in questions]
        self._asked, self._owner, self._part, self._now = asked, owner, part, now
        self._questions = list(numbers)
        self._number = np.array(number, dtype=np.intp)

    def __repr__(self) -> str:
        return f"Limit(questions={len(self._questions)})"

    def hold(
        self,
        which: npt.NDArray[np.intp] | None,
        providers: Persons,
        persons: Persons,
        status: npt.NDArray[np.uint8],
    ) -> None:
        """Judge rows in place; ``which`` is the place of each in ``questions``, None: there is one only.

        Raises:
            StorageError: the day's records could not be read; nothing may be recorded.
        """
        if len(self._questions) == 1:
            ((question, most),) = self._questions
            self._asked.hold_rows(self._owner, self._part, question, persons, providers, status, most, self._now)
            return
        assert which is not None
        number = self._number[which]
        # Those of each question behind each other, so that none of them looks through all rows.
        order = np.argsort(number, kind="stable")
        starts = np.searchsorted(number[order], np.arange(len(self._questions) + 1)).tolist()
        persons, providers, sorted_status = persons[order], providers[order], status[order]
        for place, (question, most) in enumerate(self._questions):
            rows = slice(starts[place], starts[place + 1])
            own, part = sorted_status[rows], self._part + place
            self._asked.hold_rows(self._owner, part, question, persons[rows], providers[rows], own, most, self._now)
        status[order] = sorted_status


def _choose(wanted: npt.NDArray[np.uint8], *columns: Persons) -> list[Persons]:
    """The wanted rows of some columns; the columns themselves where all are."""
    if wanted.all():
        return list(columns)
    chosen = wanted.view(bool)
    return [column[chosen] for column in columns]


def _same(one: Rows, other: Rows) -> bool:
    return (
        one.question == other.question
        and np.array_equal(one.persons, other.persons)
        and np.array_equal(one.providers, other.providers)
    )
