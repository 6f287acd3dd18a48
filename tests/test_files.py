"""What an acquisition or inquiry file means, however it is read."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import RequestError
from hub.files.inquiries import (
    CAUSES,
    InquiryFile,
    InquiryPart,
    RejectedWriter,
    read_aliases,
    read_codes,
    read_delivery,
    read_inquiry,
)
from hub.files.tables import CsvTable

NUMBERS = {"131016": 7, "nenkin": 9}
ALIAS = "00112233445566778899aabbccddeeff"


def write(folder: Path, content: bytes | str, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tuples(parts: list[InquiryPart]) -> list[tuple[Any, ...]]:
    """Everything that a reader gave, as plain values."""
    return [
        (
            p.number,
            p.row.tolist(),
            [bytes(a) for a in p.aliases],
            p.providers.tolist(),
            p.cases,
            p.rejected.line.tolist(),
            p.rejected.cause.tolist(),
            p.rows_read,
        )
        for p in parts
    ]


def read_both_ways(path: Path, rows: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The parts as the quick way gives them, and as the csv module does."""
    file = read_inquiry(path, NUMBERS, rows=rows)
    assert isinstance(file._table, CsvTable)
    assert file._table._plain
    quick = tuples(list(file))
    file._table._plain = False
    return quick, tuples(list(file))


fields = st.sampled_from(
    [ALIAS, ALIAS.upper(), ALIAS[:-1], ALIAS[:-1] + "g", "131016", "nenkin", "131024", "", " ", "案件1", "x" * 101]
)
lines = st.one_of(st.lists(fields, max_size=5), st.just([ALIAS, "131016", "a"]), st.just([ALIAS, "nenkin", "案件"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.permutations(["alias", "provider", "case"]),
    rows=st.lists(lines, max_size=30),
    ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=31, max_size=31),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp932"]),
    last=st.booleans(),
    part_rows=st.integers(1, 8),
)
def test_the_quick_way_and_the_csv_module_agree(
    tmp_path: Path, header: list[str], rows: list[list[str]], ends: list[str], encoding: str, last: bool, part_rows: int
) -> None:
    text = "".join(",".join(row) + end for row, end in zip([header, *rows], ends, strict=False))
    if not last and rows:
        text = text.rstrip("\r\n")
    path = write(tmp_path, text.encode(encoding))
    quick, module = read_both_ways(path, part_rows)
    assert quick == module


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(exclude_characters='"\r', codec="utf-8"), max_size=300))
def test_any_text_without_quotes_reads_the_same_both_ways(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "alias,provider\n" + text)
    quick, module = read_both_ways(path, 5)
    assert quick == module
    records = list(csv.reader(io.StringIO("alias,provider\n" + text, newline="")))
    assert sum(part[-1] for part in quick) == len(records) - 1


def test_accepted_rows_keep_their_number_and_rejected_ones_their_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"alias,provider,case\n{ALIAS},131016,a\n\n{ALIAS},131024,b\n{ALIAS[:-1]},131016,c\n{ALIAS},nenkin\n"
        f"{ALIAS},nenkin,{'x' * 101}\n{ALIAS},nenkin,{'x' * 100}\n",
    )
    (part,) = list(read_inquiry(path, NUMBERS))
    assert part.row.tolist() == [1, 7]
    assert part.providers.tolist() == [7, 9]
    assert part.cases == ["a", "x" * 100]
    assert part.rejected.line.tolist() == [4, 5, 6, 7]
    assert [CAUSES[i].split(":")[0] for i in part.rejected.cause] == [
        "provider",
        "alias",
        "wrong number of columns",
        "case",
    ]
    assert part.rows_read == 7


def test_a_delivery_keeps_tickets_and_codes_together(tmp_path: Path) -> None:
    lines = [f"00000000017,1,{ALIAS}", f"17,2,{ALIAS}", "", f"00000000025,3,{ALIAS[:-1]}", f"00000000033,4,{ALIAS}"]
    path = write(tmp_path, "\n".join(("code,row,ticket", *lines)))
    (part,) = list(read_delivery(path))
    assert part.codes is not None
    assert (part.row.tolist(), part.codes.tolist()) == ([1, 5], [17, 33])
    assert [alias.tobytes().hex() for alias in part.aliases] == [ALIAS.lower()] * 2
    assert part.rejected.line.tolist() == [3, 5]
    assert [CAUSES[i] for i in part.rejected.cause] == ["code: expected 11 digits", "ticket: expected 32 hex digits"]
    assert (part.rows_read, repr(part)) == (5, "AliasPart(0, rows=2, rejected=2)")


@pytest.mark.parametrize("header", ["row,status", "alias,code", "ticket", "alias,alias", "alias,note"])
def test_a_file_of_aliases_has_no_other_columns(tmp_path: Path, header: str) -> None:
    with pytest.raises(RequestError, match="expected the columns alias"):
        read_aliases(write(tmp_path, f"{header}\n"))
    (part,) = list(read_aliases(write(tmp_path, f"status,alias,row\nCREATED,{ALIAS},1\n")))
    assert part.codes is None
    assert len(part.aliases) == 1


def test_a_quoted_record_over_two_lines_keeps_the_line_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, f'provider,case,alias\n131016,"one, ""two""\nthree",{ALIAS}\nnowhere,x,{ALIAS}\n')
    (part,) = list(read_inquiry(path, NUMBERS))
    assert part.cases == ['one, "two"\nthree']
    assert part.rejected.line.tolist() == [4]


def test_old_mac_line_ends_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, f"alias,provider\r{ALIAS},131016\r{ALIAS},nenkin\r")
    (part,) = list(read_inquiry(path, NUMBERS))
    assert part.providers.tolist() == [7, 9]


def test_parts_hold_exactly_their_rows(tmp_path: Path) -> None:
    codes = [f"{i:011d}" for i in range(200_001)]
    path = write(tmp_path, "code\n" + "\n".join(codes))
    parts = list(read_codes(path, rows=100_000))
    assert [len(part.row) for part in parts] == [100_000, 100_000, 1]
    assert np.concatenate([part.codes for part in parts]).tolist() == list(range(200_001))
    assert np.concatenate([part.row for part in parts]).tolist() == list(range(1, 200_002))


def test_parts_hold_exactly_their_rows_whatever_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "code\n" + "".join(f"{i:011d}\n" for i in range(20)))
    for block_bytes in (1, 12, 24, 25, 100, 1000):
        monkeypatch.setattr("hub.files.tables.BLOCK_BYTES", block_bytes)
        parts = list(read_codes(path, rows=6))
        assert [part.codes.tolist() for part in parts] == [[*range(6)], [*range(6, 12)], [*range(12, 18)], [18, 19]]


def test_a_code_of_10_or_12_digits_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, "code\n0001234567\n00012345678\n000123456789\n0001234567x\n0001234567 \n")
    (part,) = list(read_codes(path))
    assert part.codes.tolist() == [12345678]
    assert part.row.tolist() == [2]
    assert part.rejected.line.tolist() == [2, 4, 5, 6]


@pytest.mark.parametrize("header", ["code,code", "resident", f"{ALIAS},131016", "", "code,name"])
def test_other_columns_are_refused_and_not_repeated(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"{header}\n00012345678\n")
    with pytest.raises(RequestError) as error:
        read_codes(path)
    assert "expected the columns code" in str(error.value)
    assert ALIAS not in str(error.value)


def test_no_cause_and_no_repr_repeats_a_cell(tmp_path: Path) -> None:
    path = write(tmp_path, f"alias,provider\n{ALIAS},131016\n{ALIAS}0,131016\n")
    (part,) = list(read_inquiry(path, NUMBERS))
    assert repr(part) == "InquiryPart(0, rows=1, rejected=1)"
    with RejectedWriter(path, tmp_path / "out.csv") as rejected:
        rejected.write(part.rejected)
    assert (tmp_path / "in.rejected.csv").read_text() == "line,cause\n3,alias: expected 32 hex digits\n"


def test_a_run_without_rejected_lines_leaves_no_old_list_of_them(tmp_path: Path) -> None:
    old = write(tmp_path, "line,cause\n", "in.rejected.csv")
    with RejectedWriter(tmp_path / "in.csv", tmp_path / "out.csv"):
        pass
    assert not old.exists()


def test_more_parts_than_a_request_id_can_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.files.inquiries.PARTS_MAX", 2)
    path = write(tmp_path, f"alias,provider\n{ALIAS},131016\n{ALIAS},131016\n")
    assert len(list(read_inquiry(path, NUMBERS, rows=1))) == 2
    path = write(tmp_path, f"alias,provider\n{ALIAS},131016\n{ALIAS},131016\n{ALIAS},131016\n")
    with pytest.raises(RequestError, match="at most 2 rows"):
        list(read_inquiry(path, NUMBERS, rows=1))


def test_arrow_and_parquet_give_the_rows_of_the_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    aliases = [ALIAS, "ff" * 16, "x", ALIAS] * 5
    providers = ["131016", "nenkin", "nenkin", "none"] * 5
    table = pa.table(
        {"provider": pa.array(providers).dictionary_encode(), "alias": aliases, "case": ["a", "あ", None, "d"] * 5}
    )
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=3)
    feather.write_feather(table, tmp_path / "in.arrow", chunksize=7)
    write(
        tmp_path,
        "provider,alias,case\n"
        + "".join(f"{p},{a},{c}\n" for p, a, c in zip(providers, aliases, ["a", "あ", "", "d"] * 5, strict=True)),
    )

    def rows(name: str) -> list[tuple[Any, ...]]:
        file: InquiryFile = read_inquiry(tmp_path / name, NUMBERS, rows=6)
        assert file.rows_max == 20
        return tuples(list(file))

    expected = rows("in.csv")
    for name in ("in.parquet", "in.arrow"):
        found = rows(name)
        # A CSV's header is line 1; a table's rows count from 1.
        moved = [(*p[:5], [line + 1 for line in p[5]], *p[6:]) for p in found]
        assert moved == expected
