"""Cells to columns and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.files.columns import (
    Choices,
    CodeTable,
    Digits,
    cells_of_texts,
    decode_aliases,
    decode_digits,
    decode_texts,
    encode_aliases,
    encode_csv,
    find_lines,
    split_lines,
)

CODES = {"131016": 1, "131": 2, "131016x": 3, "nenkin": 4, "exactly8": 5, "longer-than-eight": 6}


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_aliases_survive_text_in_either_case(rows: list[bytes]) -> None:
    aliases = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)
    for change in (str.lower, str.upper, str.swapcase):
        decoded, ok = decode_aliases(cells_of_texts([change(row.hex()) for row in rows]))
        assert ok.all()
        np.testing.assert_array_equal(decoded, aliases)
    assert [bytes(row).decode() for row in encode_aliases(aliases)] == [row.hex() for row in rows]


@given(st.lists(st.text(alphabet="0123456789abcdefABCDEFgG :/@`é\0あ", min_size=30, max_size=34)))
def test_an_alias_is_32_hex_digits_and_nothing_else(texts: list[str]) -> None:
    decoded, ok = decode_aliases(cells_of_texts(texts))
    right = [len(t) == 32 and all(c in "0123456789abcdefABCDEF" for c in t) for t in texts]
    assert ok.tolist() == right
    assert [bytes(a) for a in decoded] == [
        bytes.fromhex(t) if r else bytes(16) for t, r in zip(texts, right, strict=True)
    ]


@given(st.lists(st.text(alphabet="0123456789 -+/:٣", max_size=13)))
def test_a_code_is_11_ascii_digits_and_nothing_else(texts: list[str]) -> None:
    decoded, ok = decode_digits(cells_of_texts(texts), 11)
    right = [len(t) == 11 and t.isascii() and t.isdigit() for t in texts]
    assert ok.tolist() == right
    assert decoded.tolist() == [int(t) if r else 0 for t, r in zip(texts, right, strict=True)]


@pytest.mark.parametrize("character", ":/ x\0é")
def test_one_wrong_character_anywhere_spoils_a_code(character: str) -> None:
    texts = ["12345678901"[:i] + character + "12345678901"[i + len(character.encode()) :] for i in range(10)]
    _, ok = decode_digits(cells_of_texts(texts), 11)
    assert not ok.any()


@given(st.lists(st.sampled_from([*CODES, "", "13101", "131016 ", "131016\0", "nenki", "longer-than-eigh", "あ"])))
def test_a_code_table_finds_what_a_dict_finds(texts: list[str]) -> None:
    numbers, ok = CodeTable(CODES).decode(cells_of_texts(texts))
    assert ok.tolist() == [text in CODES for text in texts]
    assert numbers.tolist() == [CODES.get(text, 0) for text in texts]


def test_an_empty_code_table_finds_nothing() -> None:
    numbers, ok = CodeTable({}).decode(cells_of_texts(["", "131016"]))
    assert not ok.any()
    assert not numbers.any()


def test_texts_over_their_bound_are_emptied() -> None:
    texts, ok = decode_texts(cells_of_texts(["あ" * 3, "あ" * 4]), 3)
    assert texts == ["あああ", ""]
    assert ok.tolist() == [True, False]


def test_bytes_that_are_no_text_are_emptied() -> None:
    good = cells_of_texts(["ab", "cd", ""])
    cells = good._replace(buffer=np.where(np.arange(len(good.buffer)) == 3, 0xFF, good.buffer).astype(np.uint8))
    texts, ok = decode_texts(cells, 3)
    assert texts == ["ab", "", ""]
    assert ok.tolist() == [True, False, True]


@given(st.lists(st.lists(st.text(alphabet="ab1é", max_size=4), min_size=1, max_size=4), max_size=12), st.booleans())
def test_lines_are_cut_like_str_split(rows: list[list[str]], last_newline: bool) -> None:
    text = "\n".join(",".join(row) for row in rows) + ("\n" if last_newline else "")
    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    lines = find_lines(text.encode())
    for columns in (1, 2, 3):
        cells, whole = split_lines(lines, columns)
        cut = [line.split(",") for line in expected]
        assert whole.tolist() == [len(row) == columns for row in cut]
        for i, column in enumerate(cells):
            texts, _ = decode_texts(column, 100)
            assert texts == [row[i] if len(row) == columns else "" for row in cut]


def test_csv_lines_hold_every_kind_of_column() -> None:
    aliases = np.arange(32, dtype=np.uint8).reshape(2, 16)
    data = encode_csv(
        [
            np.array([0, 1230]),
            Digits(np.array([7, 12345678901]), 11),
            aliases,
            Choices(np.array([1, 0]), ["A,B", "C"]),
            ["x", 'say "あ"'],
        ],
        "utf-8",
    )
    assert data.decode() == (
        "0,00000000007,000102030405060708090a0b0c0d0e0f,C,x\n"
        '1230,12345678901,101112131415161718191a1b1c1d1e1f,"A,B","say ""あ"""\n'
    )


@given(st.lists(st.integers(min_value=0, max_value=2**63 - 1), min_size=1))
def test_numbers_are_written_as_python_writes_them(values: list[int]) -> None:
    assert encode_csv([np.array(values)], "utf-8").decode().split() == [str(value) for value in values]


def test_no_rows_are_no_lines() -> None:
    assert (
        encode_csv([np.zeros(0, np.int64), np.zeros((0, 16), np.uint8), Choices(np.zeros(0, int), ["A"]), []], "utf-8")
        == b""
    )


def test_a_text_without_a_form_in_cp932_is_an_error() -> None:
    assert encode_csv([["日本"]], "cp932") == "日本\n".encode("cp932")
    with pytest.raises(UnicodeEncodeError):
        encode_csv([["é"]], "cp932")


def test_a_repr_shows_counts_only() -> None:
    assert repr(cells_of_texts(["secret"])) == "Cells(rows=1)"
