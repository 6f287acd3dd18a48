"""Records that are appended together stand in the order of their person keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hub.records.append import order_by_chance, order_by_person

SEVERAL = 256


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1)))
def test_records_stand_in_the_order_of_their_person_keys(keys: list[int]) -> None:
    person_keys = np.array(keys, dtype=np.uint64)
    order = order_by_person(person_keys)
    assert person_keys[order].tolist() == sorted(keys)
    assert sorted(order.tolist()) == list(range(len(keys)))


def test_records_of_one_person_stand_in_an_order_of_chance() -> None:
    first, second = (order_by_person(np.ones(SEVERAL, dtype=np.uint64)).tolist() for _ in range(2))
    assert first != list(range(SEVERAL))
    assert first != second


def test_an_order_of_chance_has_every_row_once() -> None:
    assert sorted(order_by_chance(SEVERAL).tolist()) == list(range(SEVERAL))
    assert order_by_chance(0).tolist() == []
