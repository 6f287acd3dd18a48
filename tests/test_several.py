"""Rows with several holders: the columns against lists of lists, stored as the same bytes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import StorageError
from hub.limits import HOLDER_FACTS_MAX
from hub.requests.several import NONE, Several, codes_of, decode_several, encode_several, join_several

LISTS = st.dictionaries(
    st.integers(0, 65_535), st.lists(st.integers(1, 65_535), min_size=2, max_size=HOLDER_FACTS_MAX), max_size=9
)


def columns(lists: dict[int, list[int]]) -> Several:
    rows = sorted(lists)
    numbers = [number for row in rows for number in lists[row]]
    counts = [len(lists[row]) for row in rows]
    return Several(np.array(rows, np.intp), np.array(counts, np.intp), np.array(numbers, np.uint32))


@given(LISTS, st.integers(1, 4))
def test_of_some_classes_the_lists_of_all_rows_are_stored_in_their_order(lists: dict[int, list[int]], n: int) -> None:
    parts = [columns({row: numbers for row, numbers in lists.items() if row % n == part}) for part in range(n)]
    stored = encode_several(join_several(parts))
    assert stored == msgspec.msgpack.encode(sorted(lists.items()))
    entries = decode_several(stored)
    assert [one.row for one in entries] == sorted(lists)
    assert codes_of(entries, 7, str) == {row + 7: tuple(map(str, numbers)) for row, numbers in lists.items()}


def test_rows_with_the_same_holders_share_them() -> None:
    found = codes_of(decode_several(encode_several(columns({1: [4, 5], 9: [4, 5], 3: [5, 4]}))), 0, str)
    assert found[1] is found[9]
    assert found[3] == ("5", "4")


def test_what_is_no_list_of_numbers_is_refused() -> None:
    with pytest.raises(StorageError, match="expected the numbers of a row's holders"):
        codes_of(decode_several(msgspec.msgpack.encode([(1, "x")])), 0, str)
    with pytest.raises(msgspec.DecodeError):
        decode_several(msgspec.msgpack.encode([("x", [1])]))
    assert decode_several(encode_several(join_several([NONE, NONE]))) == []
