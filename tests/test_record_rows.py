"""How rows of a chunk become records and the state of their request: the kernel against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import _columns
from hub.records.bodies import ROW


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_records_are_laid_out_as_the_columns_say(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    persons, providers = (random.integers(0, bound, rows, np.uint32) for bound in (2**32, 2**16))
    decision, status = random.integers(0, 2**16, rows, np.uint16), random.integers(0, 20, rows, np.uint8)
    place = random.permutation(rows)[: random.integers(0, rows + 1)]
    table = np.empty((len(place), 16), np.uint8)
    state = _columns.place_records(persons, providers, decision, status, place, 7, 0x80, table)
    stored, position = status | 0x80, np.zeros(rows, np.uint16)
    stored[place] = status[place]
    position[place] = np.arange(len(place))
    assert state.tobytes() == stored.tobytes() + decision.tobytes() + position.tobytes()
    expected = np.zeros(len(place), ROW)
    for name, column in (("person", persons), ("provider", providers), ("decision", decision), ("outcome", status)):
        expected[name] = column[place]
    expected["kind"] = 7
    assert table.tobytes() == expected.tobytes()


@pytest.mark.parametrize("place", [-1, 3])
def test_a_record_of_no_row_is_refused(place: int) -> None:
    columns = (np.zeros(3, kind) for kind in (np.uint32, np.uint32, np.uint16, np.uint8))
    with pytest.raises(IndexError):
        _columns.place_records(*columns, np.array([0, place]), 0, 0x80, np.empty((2, 16), np.uint8))
