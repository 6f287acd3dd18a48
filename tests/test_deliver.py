"""The kernel that sorts permits by provider: against a plain loop, and with rows and columns that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from hub._deliver import count_permits, number_parts, place_permits, unsupervised
from hub.provision.inbox import Part, PermitRows, compact
from hub.provision.tail import LEAVING
from hub.records.bodies import ROW, ROW_BYTES
from hub.tlog.entry import Shared, encode_shared, unsupervise

BOXES = 1 << 17


def draw(seed: int, rows: int) -> np.ndarray:
    """Rows of every kind and outcome, the first and the last provider among them."""
    random = np.random.default_rng(seed)
    table = np.zeros(rows, dtype=ROW)
    table["person"] = random.integers(0, 1 << 32, rows, dtype=np.uint32)
    table["provider"] = random.choice([0, 1, 7, 1_741, 65_535], rows)
    table["decision"] = random.integers(0, 3, rows)
    table["outcome"] = random.choice([0, 0, 0, 3, 255], rows)
    table["kind"] = random.choice([1, 8, 6, 7, 9, 10, 11, 12, 0, 255], rows)
    return table


def plain(table: np.ndarray) -> np.ndarray:
    return table.view(np.uint8).reshape(-1, ROW_BYTES)


@pytest.mark.parametrize("rows", [0, 1, 2, 1_000])
def test_permits_and_arrivals_stand_by_inbox_in_the_order_of_the_log(rows: int) -> None:
    chunks = [draw(seed, rows) for seed in (1, 2)]
    part = np.array([5, 3, 5], dtype=np.uint32)
    expected = sorted(
        (
            int(row["provider"]) + 65_536 * (row["kind"] in (9, 10)),
            number * 10_000 + at,
            int(row["person"]),
            int(part[row["decision"]]),
        )
        for number, table in enumerate(chunks)
        for at, row in enumerate(table)
        if row["outcome"] == 0 and row["kind"] in (1, 8, 9, 10)
    )
    counts = np.zeros(BOXES, dtype=np.uint32)
    for table in chunks:
        count_permits(plain(table), LEAVING, counts)
    assert int(counts.sum()) == len(expected)
    starts = np.concatenate(([0], np.cumsum(counts)))
    places = starts[:-1].astype(np.uint32)
    columns = [np.empty(len(expected), dtype=np.uint32) for _ in range(3)]
    for number, table in enumerate(chunks):
        place_permits(plain(table), LEAVING, number * 10_000, part, places, *columns)
    of_row = np.repeat(np.arange(BOXES), counts).tolist()
    assert list(zip(of_row, *(column.tolist() for column in columns), strict=True)) == expected
    assert (places == starts[1:]).all()


@pytest.mark.parametrize(("decisions", "room"), [(2, 10), (3, 0), (3, 9)])
def test_a_decision_or_a_place_that_is_not_there_is_refused(decisions: int, room: int) -> None:
    table = np.zeros(10, dtype=ROW)
    table["kind"], table["decision"] = 1, 2
    places, columns = np.zeros(BOXES, np.uint32), [np.full(room, 9, np.uint32) for _ in range(3)]
    with pytest.raises(IndexError, match="permits: expected decisions"):
        place_permits(plain(table), LEAVING, 0, np.zeros(decisions, np.uint32), places, *columns)
    place_permits(
        plain(table), LEAVING, 0, np.zeros(3, np.uint32), np.zeros(BOXES, np.uint32),
        *(np.zeros(10, np.uint32) for _ in range(3)),
    )  # fmt: skip


@pytest.mark.parametrize("wrong", ["rows", "kinds", "counts", "columns"])
def test_columns_of_another_size_are_refused(wrong: str) -> None:
    rows = np.zeros((3, 15 if wrong == "rows" else ROW_BYTES), dtype=np.uint8)
    leaving = LEAVING[:255].copy() if wrong == "kinds" else LEAVING
    counts = np.zeros(BOXES - (wrong == "counts"), dtype=np.uint32)
    if wrong != "columns":
        with pytest.raises(ValueError, match="expected"):
            count_permits(rows, leaving, counts)
    columns = [np.zeros(3, np.uint32), np.zeros(3, np.uint32), np.zeros(2 + (wrong != "columns"), np.uint32)]
    with pytest.raises(ValueError, match="expected"):
        place_permits(rows, leaving, 0, np.zeros(1, np.uint32), counts, *columns)


def shared(inquiry: int, supervised: bytes, remark: str | None) -> bytes:
    return encode_shared(
        Shared(
            inquiry=inquiry.to_bytes(8, "big"), requester="nenkin", on_behalf_of=None, procedure="19-8/73/75.3",
            items=("a",), role=None, section="b", reference_date=None, catalog="c", rule=1, reason=0, legal_basis="d",
            supervised=supervised, remark=remark,
        )
    )  # fmt: skip


def test_commitments_become_zeros_as_the_plain_way_does_it() -> None:
    given = [shared(1, b"\xff" * 32, None), shared(2, b"\xc0" * 32, None), shared(3, bytes(32), "remark")]
    assert unsupervised(given) == [unsupervise(given[0]), unsupervise(given[1]), None]
    assert unsupervised([]) == []
    assert unsupervised([None, given[0]]) == [None, unsupervise(given[0])]  # type: ignore[list-item]
    assert unsupervised([b"", b"\xc4\x20" + bytes(31) + b"\xc0", b"\xc4\x20" + bytes(32) + b"\xc1"]) == [None] * 3
    assert unsupervised([b"\xc4\x20" + b"x" * 32 + b"\xc0"]) == [b"\xc4\x20" + bytes(32) + b"\xc0"]


def test_permits_keep_the_parts_that_they_have_each_once() -> None:
    # Of seven parts two are alike, and one is nobody's.
    parts = [Part(bytes([value]), 0, 0) for value in (9, 8, 7, 8, 6, 5, 4)]
    which = np.array([3, 1, 1, 5, 0, 3, 4], dtype=np.uint32)
    rows = PermitRows(np.arange(7, dtype=np.uint64), np.arange(7, dtype=np.uint32), which, parts)
    found = compact(rows)
    assert [found.parts[place] for place in found.which] == [parts[place] for place in which]
    # In the order of the log, whatever the order of the permits is.
    assert found.parts == [parts[place] for place in (0, 1, 4, 5)]
    with pytest.raises(IndexError):
        number_parts(np.array([7], np.uint32), parts)
