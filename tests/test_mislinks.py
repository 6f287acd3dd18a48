"""Detectors of wrong links: they find exactly the rows that are wrong, and nothing in a file that is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import RequestError
from hub.mislinks.attributes import Attributes, People
from hub.mislinks.detectors import Mislink, Run, find_doubles, find_mislinks, find_shifts
from townsfolk import make_people, spelled_otherwise

ROWS, SHIFTED = 8_279, 2_336
PEOPLE = make_people(ROWS)
REGISTER = [spelled_otherwise(one) for one in PEOPLE]
OWN = People.of(PEOPLE)


def shift(register: list[Attributes], first: int, rows: int, offset: int) -> list[Attributes]:
    """A register's column in which each of some rows has the entry so many rows further."""
    return [*register[:first], *register[first + offset : first + offset + rows], *register[first + rows :]]


def test_a_right_file_raises_no_alarm() -> None:
    found = find_mislinks(OWN, People.of(REGISTER))
    assert not found.differs.any()
    assert (found.kind, found.runs, found.counts) == ({}, [], {})


@pytest.mark.parametrize("offset", [1, -1, 3])
@pytest.mark.parametrize("first", [3_000, 100])
def test_a_run_of_shifted_rows_is_found_to_the_row(first: int, offset: int) -> None:
    found = find_mislinks(OWN, People.of(shift(REGISTER, first, SHIFTED, offset)))
    assert found.runs == [Run(first, first + SHIFTED - 1, -offset)]
    assert found.rows(Mislink.SHIFTED).tolist() == list(range(first, first + SHIFTED))
    assert found.counts == {"SHIFTED": SHIFTED}


def test_several_runs_are_found_each() -> None:
    register = shift(shift(shift(REGISTER, 200, 500, 1), 2_000, 1_800, 1), 6_000, 36, -2)
    found = find_mislinks(OWN, People.of(register))
    assert found.runs == [Run(200, 699, -1), Run(2_000, 3_799, -1), Run(6_000, 6_035, 2)]
    assert len(found.kind) == SHIFTED


def test_the_shortest_run_is_two_rows() -> None:
    assert find_shifts(OWN, People.of(shift(REGISTER, 500, 2, 2))) == [Run(500, 501, -2)]
    assert find_shifts(OWN, People.of(shift(REGISTER, 500, 1, 2))) == []
    assert find_shifts(OWN, People.of(shift(REGISTER, 500, 1, 2)), rows_min=1) == [Run(500, 500, -2)]


def test_two_rows_that_changed_places_are_no_shift() -> None:
    register = list(REGISTER)
    register[70], register[4_000] = register[4_000], register[70]
    found = find_mislinks(OWN, People.of(register))
    assert found.kind == {70: Mislink.ELSEWHERE, 4_000: Mislink.ELSEWHERE}
    assert found.other == {70: 4_000, 4_000: 70}


def test_people_who_moved_raise_no_alarm_of_a_shift() -> None:
    register = list(REGISTER)
    for row in range(1_000, 1_200):
        one = register[row]
        register[row] = Attributes(name=one.name, address="都城市姫城町6-21", sex=one.sex, birth=one.birth)
    found = find_mislinks(OWN, People.of(register))
    assert found.counts == {"SAME_NAME": 200}


def test_a_parent_whose_number_was_given_for_a_child_is_found() -> None:
    children = [row for row in range(1, ROWS) if PEOPLE[row].birth[:4] >= "1975" and row % 40 == 0]  # type: ignore[index]
    register = list(REGISTER)
    parents = {}
    for row in children:
        parent = next(
            (at for at in range(row - 1, -1, -1) if PEOPLE[at].address == PEOPLE[row].address), None
        )
        if parent is not None:
            parents[row] = parent
            register[row] = REGISTER[parent]
    found = find_mislinks(OWN, People.of(register))
    assert len(parents) > 50
    assert found.counts == {"HOUSEHOLD": len(parents)}
    assert found.other == parents


def test_a_name_alone_is_no_match() -> None:
    one = Attributes(name="佐藤 葵", address="宮崎市霧島1-2-3", sex="女", birth="1990-04-01")
    born = Attributes(name="佐藤 葵", address="札幌市中央区北1条西2-1-1", sex="女", birth="1990-04-01")
    other = Attributes(name="佐藤 葵", address="札幌市中央区北1条西2-1-1", sex="女", birth="1971-12-24")
    stranger = Attributes(name="甲斐 誠", address="札幌市中央区北1条西2-1-1", sex="男", birth="1971-12-24")
    found = find_mislinks(People.of([one] * 3), People.of([born, other, stranger]))
    assert list(found.kind.values()) == [Mislink.SAME_NAME, Mislink.NAME_ALONE, Mislink.OTHER]


@given(
    st.integers(0, 60), st.integers(2, 30), st.sampled_from([-3, -2, -1, 1, 2, 3]), st.integers(0, 1_000)
)
def test_any_run_is_found_to_the_row(first: int, rows: int, offset: int, seed: int) -> None:
    people = make_people(100, seed)
    first += 3
    rows = min(rows, 96 - first)
    if rows < 2:
        return
    register = shift(people, first, rows, offset)
    found = find_mislinks(People.of(people), People.of(register))
    assert found.rows(Mislink.SHIFTED).tolist() == list(range(first, first + rows))
    assert [run.offset for run in found.runs] == [-offset]


def test_ids_and_aliases_that_stand_twice_are_found() -> None:
    aliases = np.random.default_rng(1).integers(0, 256, (1_000, 16), dtype=np.uint8)
    ids = [f"{row:05}" for row in range(1_000)]
    assert find_doubles(ids, aliases) == ([], [])
    aliases[900], aliases[901] = aliases[5], aliases[5]
    ids[700], ids[12] = ids[3], ids[11]
    two_aliases, two_ids = find_doubles(ids, aliases)
    assert [rows.tolist() for rows in two_aliases] == [[3, 700], [11, 12]]
    assert [rows.tolist() for rows in two_ids] == [[5, 900, 901]]


def test_the_same_pair_twice_is_no_finding() -> None:
    aliases = np.zeros((2, 16), np.uint8)
    assert find_doubles(["1", "1"], aliases) == ([], [])
    assert find_doubles([], aliases[:0]) == ([], [])


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(RequestError, match="expected 8279 rows, got 1"):
        find_mislinks(OWN, People.of(REGISTER[:1]))
    with pytest.raises(RequestError, match="expected 1 rows, got 0"):
        find_doubles([], np.zeros((1, 16), np.uint8))
    assert find_mislinks(People.of([]), People.of([])).counts == {}
