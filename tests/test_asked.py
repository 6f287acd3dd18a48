"""The bound on how many bodies one requester asks about one person a day: tables, records, what is in flight."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hub.protection.asked
from hub._asked import MOST, Table
from hub.errors import StorageError
from hub.messages import Status
from hub.protection.asked import Asked, day_of, day_start
from hub.protection.askedrows import People, Question, Rows, count_together

NOON = day_start(20_000) + 43_200
DAY_S = 86_400


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


def count(
    table: Table, persons: Any, providers: Any, most: int = 3, others: Any = None, wanted: Any = None
) -> list[int]:
    n = len(persons)
    unsure = np.full(n, 7, dtype=np.uint8)
    chosen = np.ones(n, np.uint8) if wanted is None else np.array(wanted, np.uint8)
    marked = table.count(column(*persons), column(*providers), chosen, others, most, unsure)
    assert marked == unsure.sum()
    return unsure.tolist()


# The kernel


@pytest.mark.parametrize("dense", [False, True])
def test_a_change_beyond_the_bound_is_marked_and_changes_nothing(dense: bool) -> None:
    table = Table()
    table.reserve(1_000 if dense else 20, 10)
    assert table.dense == dense
    assert count(table, [5, 5, 5, 5, 6], [1, 2, 3, 4, 4]) == [0, 0, 0, 1, 0]
    assert table.get(5) == (3, 3)
    assert count(table, [5, 5, 6], [3, 4, 4]) == [0, 1, 0]
    assert table.get(6) == (4, 1)
    assert table.get(7) == (0, 0)


def test_rows_that_are_not_wanted_are_passed_over_whatever_they_hold() -> None:
    table = Table()
    table.reserve(2, 10)
    assert count(table, [0xFFFFFFFF, 1], [9, 9], wanted=[0, 1]) == [0, 0]
    assert table.get(1) == (9, 1)


def test_the_changes_of_other_tables_count() -> None:
    table, other = Table(), Table()
    for one in (table, other):
        one.reserve(8, 10)
    count(other, [1, 1, 2], [7, 8, 7])
    changes = np.zeros(3, np.uint16)
    other.add(column(1, 2, 3), np.array([1, 1, 1], np.uint8), changes)
    assert changes.tolist() == [2, 1, 0]
    other.add(column(1, 2, 3), np.array([1, 0, 1], np.uint8), changes)
    assert changes.tolist() == [4, 1, 0]
    assert count(table, [1, 2, 3], [5, 5, 5], others=changes) == [1, 0, 0]


def test_changes_stop_at_the_largest_bound() -> None:
    table = Table()
    table.reserve(400, 10)
    assert count(table, [1] * 400, [1 + i % 2 for i in range(400)], most=MOST) == [0] * MOST + [
        int((1 + i % 2) != 2) for i in range(MOST, 400)
    ]
    with pytest.raises(ValueError, match="bound"):
        count(table, [1], [1], most=MOST + 1)


def test_rows_without_room_are_refused_before_any_is_counted() -> None:
    for rows in (1, 1_000):
        table = Table()
        with pytest.raises(ValueError, match="room"):
            count(table, [1], [1])
        table.reserve(rows, 10)
        many = list(range(1, 2000))
        with pytest.raises(ValueError, match="room"):
            count(table, many, many)
        assert table.get(1) == (0, 0)


@given(st.integers(0, 2**32), st.sampled_from([300, 5_000, 2**32 - 1]), st.integers(1, 5))
def test_a_table_counts_as_a_dict_through_every_growth(seed: int, highest: int, most: int) -> None:
    rng = random.Random(seed)
    table, model = Table(), {}
    for _ in range(12):
        n = rng.choice([1, 3, 40, 300])
        persons = [rng.randrange(highest - 1 if rng.random() < 0.6 else 40) for _ in range(n)]
        providers = [rng.choice([1, 2, 3, 65_535]) for _ in range(n)]
        # The larger numbers are few: an array of them would be gigabytes.
        table.reserve(n, (max(persons) + 1) if highest < 10_000 else 2**31)
        marks = count(table, persons, providers, most)
        for person, provider, mark in zip(persons, providers, marks, strict=True):
            last, changes = model.get(person, (0, 0))
            if last != provider:
                assert mark == (changes >= most)
                if not mark:
                    model[person] = provider, changes + 1
            else:
                assert not mark
    for person, expected in model.items():
        assert table.get(person) == expected


# The day


class Memory:
    """A log as a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Rows]] = []
        self.broken = False
        self.reads = 0

    def rows_since(self, since: int, requester: str | None) -> Iterator[Rows]:
        self._check()
        yield from (rows for at, rows in self.lines if at >= since and requester in (None, rows.question[0]))

    def answers_of(self, question: Question, people: People, since: int) -> list[Rows]:
        self._check()
        return [rows.of(people) for at, rows in self.lines if at >= since and count_together(rows.question, question)]

    def _check(self) -> None:
        self.reads += 1
        if self.broken:
            raise StorageError("records: expected")


class Desk:
    """Asks, and keeps what it asked as a dict of sets."""

    def __init__(self) -> None:
        self.log = Memory()
        self.asked = Asked(self.log)
        self.now = NOON
        self.flying: dict[tuple[str, int], Rows] = {}
        self.judged: dict[tuple[str, int], Rows] = {}
        self.words: dict[tuple[str, int], Any] = {}

    def ask(
        self, owner: str, persons: list[int], providers: list[int], *, part: int = 0, most: int = 3,
        question: Question = ("nenkin", ("tax",)), denied: tuple[int, ...] = (), commit: bool = True,
    ) -> list[int]:  # fmt: skip
        """The rows that were held."""
        status = np.zeros(len(persons), np.uint8)
        status[list(denied)] = Status.DENIED
        expected = status.tolist()
        columns = column(*persons), column(*providers)
        judged = Rows(question, columns[0][status == 0], columns[1][status == 0])
        before = self.judged.get((owner, part))
        if before is None or not hub.protection.asked._same(before, judged):
            # The same rows again stay where they are: what was allowed stays allowed.
            self.flying.pop((owner, part), None)
        self.judged[owner, part] = judged
        told = self.known(question[0])
        for row, (person, provider) in enumerate(zip(persons, providers, strict=True)):
            known = [told.setdefault((person, item), set()) for item in question[1]]
            if expected[row] == Status.OK and any(provider not in one and len(one) >= most for one in known):
                expected[row] = Status.HELD
            elif expected[row] == Status.OK:
                for one in known:
                    one.add(provider)
        held = self.asked.hold_rows(owner, part, question, *columns, status, most, self.now)
        assert status.tolist() == expected
        assert held == expected.count(Status.HELD)
        allowed = status == Status.OK
        self.flying[owner, part] = Rows(question, columns[0][allowed], columns[1][allowed])
        if commit:
            self.commit(owner, part)
        return np.flatnonzero(status == Status.HELD).tolist()

    def known(self, requester: str) -> dict[tuple[int, str], set[int]]:
        """The bodies that were asked about a person and item."""
        told: dict[tuple[int, str], set[int]] = {}
        lines = [rows for at, rows in self.log.lines if day_of(at) == day_of(self.now)]
        for rows in (*lines, *self.flying.values()):
            if rows.question[0] == requester:
                for person, provider in zip(rows.persons.tolist(), rows.providers.tolist(), strict=True):
                    for item in rows.question[1]:
                        told.setdefault((person, item), set()).add(provider)
        return told

    def commit(self, owner: str, part: int = 0) -> None:
        self.log.lines.append((self.now, self.flying.pop((owner, part))))
        self.asked.settle(owner, part)

    def fail(self, owner: str) -> None:
        for name in [name for name in self.flying if name[0] == owner]:
            del self.flying[name]
        self.asked.give_up(owner)

    def restart(self) -> None:
        self.asked = Asked(self.log)
        self.flying.clear()


def test_the_third_body_is_asked_and_the_fourth_is_not() -> None:
    desk = Desk()
    assert desk.ask("a", [1, 1, 1, 2], [10, 11, 12, 13]) == []
    assert desk.ask("b", [1, 2], [13, 10]) == [0]


def test_a_body_that_was_asked_may_be_asked_again() -> None:
    desk = Desk()
    desk.ask("a", [1, 1, 1], [10, 11, 12])
    for _ in range(3):
        assert desk.ask("b", [1, 1, 1, 1], [10, 11, 13, 12]) == [2]


def test_what_a_procedure_allows_more_is_allowed() -> None:
    desk = Desk()
    assert desk.ask("a", [1] * 6, [1, 2, 3, 4, 5, 6], most=5) == [5]
    assert desk.ask("b", [2] * 300, list(range(1, 301)), most=255) == list(range(255, 300))


def test_rows_that_are_denied_do_not_count_and_are_not_held() -> None:
    desk = Desk()
    assert desk.ask("a", [1, 1, 1, 1, 1], [1, 2, 3, 4, 5], denied=(0, 4)) == []
    assert desk.ask("b", [1, 1], [1, 5], denied=(1,)) == [0]


def test_requesters_and_items_that_share_nothing_do_not_count_together() -> None:
    desk = Desk()
    desk.ask("a", [1, 1, 1], [10, 11, 12])
    assert desk.ask("b", [1], [13], question=("131016", ("tax",))) == []
    assert desk.ask("c", [1], [13], question=("nenkin", ("care",))) == []
    assert desk.ask("d", [1], [13], question=("nenkin", ("tax", "care"))) == [0]
    assert desk.ask("e", [1, 1], [10, 14], question=("nenkin", ("tax", "care"))) == [1]


def test_lists_that_share_an_item_count_together_from_either_side() -> None:
    desk = Desk()
    desk.ask("a", [1], [10], question=("nenkin", ("tax", "care")))
    desk.ask("b", [1], [11], question=("nenkin", ("tax", "home")))
    assert desk.ask("c", [1, 1], [12, 13], question=("nenkin", ("tax",))) == [1]
    # For care only one body was asked.
    assert desk.ask("d", [1, 1, 1], [13, 14, 15], question=("nenkin", ("care",))) == [2]
    # To be known for one of the items is not enough.
    assert desk.ask("e", [1], [13], question=("nenkin", ("care", "tax"))) == [0]


def test_the_next_day_begins_at_midnight_in_japan() -> None:
    desk = Desk()
    desk.ask("a", [1, 1, 1], [10, 11, 12])
    desk.now = day_start(20_001) - 1
    assert desk.ask("b", [1], [13]) == [0]
    desk.now += 1
    assert desk.ask("c", [1, 1, 1, 1], [13, 14, 15, 16]) == [3]


def test_rows_prepared_before_midnight_count_on_the_day_of_their_commit() -> None:
    desk = Desk()
    desk.now = day_start(20_001) - 1
    desk.ask("a", [1, 1], [10, 11], commit=False)
    desk.now += 1
    assert desk.ask("b", [1, 1], [12, 13]) == [1]
    desk.commit("a")
    assert desk.ask("c", [1, 1], [11, 13]) == [1]


def test_a_chunk_prepared_twice_is_not_held_by_itself() -> None:
    desk = Desk()
    for _ in range(3):
        assert desk.ask("a", [1, 1, 1, 1, 2], [10, 11, 12, 13, 10], commit=False) == [3]
    desk.commit("a")
    assert desk.ask("b", [1, 1], [12, 13]) == [1]


def test_rows_that_left_when_a_chunk_was_prepared_again_do_not_count() -> None:
    desk = Desk()
    desk.ask("a", [1, 1, 1], [10, 11, 12], commit=False)
    desk.ask("a", [1, 1, 1], [10, 11, 12], denied=(1, 2), commit=False)
    desk.commit("a")
    assert desk.ask("b", [1, 1, 1], [13, 14, 12]) == [2]
    desk.ask("c", [5], [10])
    desk.ask("d", [5, 5], [11, 12], commit=False)
    desk.ask("d", [5, 5], [11, 12], denied=(0, 1), commit=False)
    # The table must not take the body that left for one that was asked.
    assert desk.ask("e", [5, 5, 5], [13, 14, 12]) == [2]


def test_what_was_not_committed_does_not_count_and_frees_nobody() -> None:
    desk = Desk()
    desk.ask("a", [1, 1], [10, 11])
    desk.ask("b", [1], [12], commit=False)
    assert desk.ask("c", [1], [13], commit=False) == [0]
    desk.fail("b")
    desk.commit("c")
    # The table must not take the body whose commit failed for one that was asked.
    assert desk.ask("d", [1, 1], [13, 12]) == [1]


def test_what_is_in_flight_counts_when_a_table_is_made_anew() -> None:
    desk = Desk()
    desk.ask("a", [1, 1], [10, 11], commit=False)
    desk.ask("b", [2], [10], commit=False)
    desk.fail("b")
    assert desk.ask("c", [1, 1], [12, 13]) == [1]


def test_a_log_that_cannot_be_read_lets_nothing_pass() -> None:
    desk = Desk()
    desk.log.broken = True
    with pytest.raises(StorageError):
        desk.asked.hold_rows("a", 0, ("nenkin", ("tax",)), column(1), column(1), np.zeros(1, np.uint8), 3, NOON)
    desk.log.broken = False
    desk.ask("a", [1, 1, 1], [10, 11, 12])
    desk.ask("b", [2], [20])
    status = np.zeros(3, np.uint8)
    desk.log.broken = True
    with pytest.raises(StorageError):
        desk.asked.hold_rows("c", 0, ("nenkin", ("tax",)), column(2, 2, 1), column(10, 11, 13), status, 3, NOON)
    assert not status.any()
    desk.log.broken = False
    assert desk.ask("d", [2, 2, 2, 1], [13, 14, 11, 13]) == [2, 3]


def test_the_records_are_not_read_while_a_table_is_sure() -> None:
    desk = Desk()
    desk.ask("a", [1, 2, 3], [10, 10, 10])
    reads = desk.log.reads
    desk.ask("b", [1, 2, 3] * 2, [11, 11, 11, 12, 12, 12])
    desk.ask("c", [1, 2, 3], [12, 12, 12])
    assert desk.log.reads == reads
    # Back and forth between bodies that were asked: read once, then known.
    desk.ask("d", [1], [11])
    assert desk.log.reads == reads + 1
    desk.ask("e", [1, 1], [11, 12], most=4)
    assert desk.log.reads == reads + 1


def test_a_requester_of_too_many_lists_is_judged_by_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.protection.asked, "ASKED_LISTS_MAX", 2)
    for restarted in (False, True):
        desk = Desk()
        desk.ask("a", [1, 1, 1], [10, 11, 12])
        for name in ("b", "c", "d"):
            desk.ask(name, [1], [10], question=("nenkin", (name,)))
        if restarted:
            desk.restart()
        assert desk.ask("e", [1, 2], [13, 13]) == [0]
        assert desk.ask("f", [1], [13], question=("nenkin", ("e", "tax"))) == [0]


steps = st.lists(st.integers(0, 2**32), min_size=1, max_size=25)


@settings(max_examples=60)
@given(steps, st.booleans())
@example([0] * 5, True)
def test_random_batches_are_judged_as_by_a_dict_of_sets(seeds: list[int], tight: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if tight:
            # Tables leave and come back all the time; a requester has too many lists soon.
            patch.setattr(hub.protection.asked, "ASKED_BYTES_MAX", 9_000)
            patch.setattr(hub.protection.asked, "ASKED_LISTS_MAX", 3)
        desk = Desk()
        for number, seed in enumerate(seeds):
            take_step(desk, random.Random(seed), str(number))


def take_step(desk: Desk, rng: random.Random, name: str) -> None:
    """Ask (Desk compares with the dict), commit, fail, start again, or let time pass."""
    flying = sorted(desk.flying)
    what = rng.random()
    if what < 0.1 and flying:
        desk.fail(rng.choice(flying)[0])
    elif what < 0.3 and flying:
        desk.commit(*rng.choice(flying))
    elif what < 0.35:
        desk.restart()
    elif what < 0.4:
        desk.now += DAY_S // 2
    elif what < 0.5 and flying:
        owner, part = rng.choice(flying)
        words = desk.words[owner, part]
        desk.ask(owner, *words[0], part=part, **words[1], commit=False)
    else:
        owner, part = rng.choice(flying) if flying and rng.random() < 0.3 else (name, 0)
        n = rng.choice([1, 5, 60])
        items = rng.choice([("a",), ("b",), ("a", "b"), ("c",), ("b", "c"), ("d",)])
        rows = [rng.randrange(8) for _ in range(n)], [rng.randrange(1, 7) for _ in range(n)]
        denied = tuple(row for row in range(n) if rng.random() < 0.2)
        question = rng.choice(["x", "y"]), items
        options = {"question": question, "most": rng.choice([1, 3, 3, 4]), "denied": denied}
        desk.words[owner, part] = rows, options
        desk.ask(owner, *rows, part=part, **options, commit=rng.random() < 0.5)
