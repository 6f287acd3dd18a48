"""Kernels of columns against plain Python: keys, codes, order, text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import _columns


def random_keys(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)


@given(st.lists(st.integers(0, 5), max_size=200))
def test_first_rows_finds_the_first_of_equal_keys(picks: list[int]) -> None:
    pool = random_keys(9, 6)
    pool[1, :8] = pool[0, :8]
    keys = np.ascontiguousarray(pool[picks]) if picks else np.empty((0, 16), np.uint8)
    assert _columns.first_rows(keys).tolist() == [picks.index(pick) for pick in picks]


def test_keys_that_are_marked_twice_are_found() -> None:
    keys = random_keys(10, 3000)
    keys = np.concatenate([keys, keys[[5, 2999, 5, 17]]])
    seen, twice = np.zeros(512, np.uint64), np.zeros(512, np.uint64)
    assert _columns.mark_keys(keys[:3000], seen, twice) + _columns.mark_keys(keys[3000:], seen, twice) >= 4
    rows = _columns.marked_rows(keys, twice).tolist()
    assert rows == sorted(rows)
    assert {5, 17, 2999, 3000, 3001, 3002, 3003} <= set(rows)
    assert len(rows) < 1200
    with pytest.raises(ValueError, match="bitmaps"):
        _columns.mark_keys(keys, np.zeros(3, np.uint64), np.zeros(3, np.uint64))
    with pytest.raises(ValueError, match="bitmaps"):
        _columns.mark_keys(keys, np.zeros(4, np.uint64), np.zeros(2, np.uint64))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=300))
def test_order_by_key_is_a_stable_order(keys: list[int]) -> None:
    order = _columns.order_by_key(np.array(keys, np.uint64)).tolist()
    assert order == sorted(range(len(keys)), key=lambda row: keys[row])


@given(st.lists(st.integers(0, 10**11 - 1), max_size=50))
def test_codes_as_text_and_as_numbers_make_the_same_blocks(codes: list[int]) -> None:
    numbers, bad = _columns.parse_codes([f"{code:011d}" for code in codes])
    assert bad == -1
    assert numbers.tolist() == codes
    blocks, bad = _columns.code_blocks(numbers, 10**11)
    assert bad == -1
    assert [bytes(block) for block in blocks] == [b"\x0b" + f"{code:011d}".encode() + bytes(4) for code in codes]


@pytest.mark.parametrize(
    "text",
    ["", "1234567890", "123456789012", "1234567890a", "\uff11" * 11, " 1234567890", 12345678901, None, "-1234567890"],
)
def test_what_is_not_eleven_digits_is_named_by_its_row(text: object) -> None:
    assert _columns.parse_codes(["00000000001", text])[1] == 1  # type: ignore[list-item]


@given(st.binary(min_size=0, max_size=160))
def test_hex_goes_there_and_back(raw: bytes) -> None:
    aliases = np.frombuffer(raw[: len(raw) // 16 * 16], np.uint8).reshape(-1, 16)
    texts = _columns.hex_encode(aliases)
    assert texts == [bytes(alias).hex() for alias in aliases]
    for form in (texts, [text.upper() for text in texts], [text.encode() for text in texts]):
        back, good = _columns.hex_decode(form)
        assert good.all()
        assert (back == aliases).all()


@pytest.mark.parametrize(
    "text", ["", "0" * 31, "0" * 33, "g" + "0" * 31, " " + "0" * 31, "\uff10" * 32, None, 5, "0" * 31 + "\n"]
)
def test_what_is_not_hex_is_marked_and_zero(text: object) -> None:
    aliases, good = _columns.hex_decode([text, "f" * 32])  # type: ignore[list-item]
    assert good.tolist() == [False, True]
    assert not aliases[0].any()
