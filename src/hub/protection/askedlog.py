"""What was asked today according to the log: for the tables of ``asked.py``, which hold no more than it does.

A row counts as asked when it is a record of an inquiry, or of a release, with an outcome of ``COUNTED``. Its day is
that of the commit, as the head of its chunk has it in the clear; times never run backwards in the log, so the day's
first chunk is found by halves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hub.history import find_records, person_keys
from hub.limits import REQUEST_DAYS
from hub.protection.asked import COUNTED
from hub.protection.askedrows import People, Question, Rows, count_together
from hub.records.bodies import ROW, Bodies, Heads, read_place
from hub.records.erasures import read_erasures
from hub.records.handles import QUESTIONS
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.store import Store
from hub.tlog.entry import decode_shared, middle_of

# By tables: of a chunk of one row each call of numpy costs more than its work.
_IS_QUESTION, _IS_COUNTED = (np.isin(np.arange(256), values) for values in (QUESTIONS, COUNTED))
_DAY_S = 86_400
_ALL = (1 << 63) - 1
_CHUNKS_AT_A_TIME = 16
_RECORDS_AT_A_TIME = 16

_LOOK_UP_NS, _CHUNK_NS, _RECORD_NS = 300_000, 60_000, 15
"""A person looked up in the index; a chunk of the day read whole, and each record in it: what costs less is done."""

_PLACES_SAMPLED = 8
_QUESTIONS_KEPT = 4_096


class AskedLog:
    """Reads the day's questions from the log of one hub."""

    def __init__(self, store: Store, periods: PeriodKeys, heads: Heads) -> None:
        self._store, self._periods, self._heads = store, periods, heads
        self._questions: dict[bytes, Question] = {}
        """Of shared fields but inquiry and commitment: those of small inquiries come again and again."""

    def __repr__(self) -> str:
        return "AskedLog()"

    def rows_since(self, since: int, requester: str | None) -> Iterator[Rows]:
        """All rows recorded from a moment on, of one requester or of all; see ``DayLog``.

        Raises:
            StorageError: a chunk is damaged.
        """
        index: int | None = None
        while True:
            found: list[Rows] = []
            # A snapshot each so many: a long one would keep every page that is rewritten.
            with self._store.snapshot() as snapshot:
                bodies = Bodies(snapshot, self._periods, self._heads)
                if index is None:
                    index = first_since(snapshot, since)
                for _ in range(_CHUNKS_AT_A_TIME):
                    if index >= snapshot.state.records:
                        break
                    fields, raw = bodies.plain(index)
                    index += len(raw)
                    found += self._rows_of(fields.shared, raw.view(ROW)[:, 0], requester)
                done = index >= snapshot.state.records
            yield from found
            if done:
                return

    def answers_of(self, question: Question, people: People, since: int) -> list[Rows]:
        """The rows about some persons that count together with a question; see ``DayLog``.

        Raises:
            StorageError: index or bodies are damaged.
        """
        with self._store.snapshot() as snapshot:
            if len(people.persons) * _LOOK_UP_NS <= _scan_ns(snapshot, since):
                found = (self._look_up(snapshot, question, person, since) for person in people.persons.tolist())
                return [rows for one in found for rows in one]
        everything = self.rows_since(since, question[0])
        return [rows.of(people) for rows in everything if count_together(rows.question, question)]

    def _look_up(self, snapshot: Snapshot, question: Question, person: int, since: int) -> Iterator[Rows]:
        bodies, keys = Bodies(snapshot, self._periods, self._heads), person_keys(self._periods, person)
        # A request that goes on after days keeps the time at which it was received.
        earliest = since - (REQUEST_DAYS + 1) * _DAY_S
        for batch in find_records(snapshot, bodies, keys, person, _ALL, since=earliest, batch=_RECORDS_AT_A_TIME):
            for one in batch:
                if one.chunk.time < since:
                    return
                shared = one.chunk.shared[one.decision]
                found = shared.requester, shared.items
                counts = one.kind in QUESTIONS and one.outcome in COUNTED and one.provider != 0
                if counts and count_together(found, question):
                    yield Rows(found, np.array([one.person], np.uint32), np.array([one.provider], np.uint16))


    def _rows_of(self, shared: list[bytes], rows: np.ndarray, requester: str | None) -> Iterator[Rows]:
        """The rows of a chunk that count, by question."""
        numbers: dict[Question, int] = {}
        of_decision = np.empty(len(shared), dtype=np.int32)
        for decision, raw in enumerate(shared):
            question = self._question_of(raw)
            wanted = requester is None or question[0] == requester
            of_decision[decision] = numbers.setdefault(question, len(numbers)) if wanted else -1
        number = of_decision.take(rows["decision"])
        number[~(_IS_QUESTION.take(rows["kind"]) & _IS_COUNTED.take(rows["outcome"]))] = -1
        number[rows["provider"] == 0] = -1
        order = np.argsort(number, kind="stable") if len(numbers) > 1 else np.flatnonzero(number >= 0)
        ends = np.searchsorted(number.take(order), np.arange(len(numbers) + 1)).tolist()
        for question, at in numbers.items():
            part = rows[order[ends[at] : ends[at + 1]]]
            if len(part):
                yield Rows(question, np.ascontiguousarray(part["person"]), part["provider"].astype(np.uint32))

    def _question_of(self, raw: bytes) -> Question:
        middle = middle_of(raw)
        found = None if middle is None else self._questions.get(middle)
        if found is None:
            shared = decode_shared(raw)
            found = shared.requester, shared.items
            if middle is not None:
                if len(self._questions) >= _QUESTIONS_KEPT:
                    self._questions.clear()
                self._questions[middle] = found
        return found


def first_since(snapshot: Snapshot, since: int) -> int:
    """Index of the first record of the first chunk that was committed at this moment or later.

    Raises:
        StorageError: the head of a chunk is damaged.
    """
    erasures = read_erasures(snapshot)
    low, end = erasures[-1].end if erasures else 0, snapshot.state.records
    # The chunks before ``low`` are earlier, the chunk at ``end`` is not.
    while low < end:
        place = read_place(snapshot, (low + end) // 2)
        if place.time < since:
            low = place.first + place.rows
        else:
            end = max(place.first, low)
    return low


def _scan_ns(snapshot: Snapshot, since: int) -> float:
    """About how long it takes to read all records from a moment on."""
    first, end = first_since(snapshot, since), snapshot.state.records
    if first == end:
        return 0.0
    places = np.linspace(first, end - 1, _PLACES_SAMPLED, dtype=np.int64).tolist()
    # The mean of 1 / rows over records is chunks / records.
    chunks = (end - first) * sum(1 / read_place(snapshot, place).rows for place in places) / len(places)
    return _CHUNK_NS * chunks + _RECORD_NS * (end - first)
