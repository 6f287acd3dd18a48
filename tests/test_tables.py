"""CSV, Parquet and Arrow: what is refused, and that a result is whole or not there."""

import errno
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from hub.errors import RequestError
from hub.files import tables
from hub.files.columns import Choices, decode_texts
from hub.files.tables import CsvTable, TableWriter, open_table


def write(folder: Path, content: bytes | str, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def column(path: Path, name: str = "case", encoding: str = "auto") -> list[str]:
    table = open_table(path, (name,), (), encoding)
    return [text for block in table.blocks() for text in decode_texts(block.columns[name], 1000)[0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_auto_finds_the_encoding(tmp_path: Path, encoding: str, quote: str) -> None:
    path = write(tmp_path, f"case\n{quote}ソ表①{quote}\n".encode(encoding))
    assert column(path) == ["ソ表①"]


def test_text_that_is_both_is_utf8(tmp_path: Path) -> None:
    both = "あい".encode()
    assert column(write(tmp_path, b"case\n" + both + b"\n")) == [both.decode()]
    assert column(write(tmp_path, b"case\n" + both + b"\n"), encoding="cp932") == [both.decode("cp932")]


@pytest.mark.parametrize(
    ("encoding", "data", "line"),
    [
        ("auto", b"case\na\n\xff\xfd\n", 3),
        ("utf-8", b"case\n\x83\x5c\n", 2),
        ("cp932", b"case\na\n\x81\n", 3),
        ("auto", "case\na\n日本\n".encode() + "日本".encode("cp932"), 3),
        ("auto", "case\n日本\n".encode("cp932") + "日本".encode(), 3),
        ("cp932", "case\n日本\n".encode("cp932") + b"\x80", 3),
        ("utf-8", b"\xef\xbb\xbfcase\n\xff", 2),
    ],
)
def test_bytes_of_no_encoding_are_refused_with_their_line(
    tmp_path: Path, encoding: str, data: bytes, line: int
) -> None:
    with pytest.raises(RequestError, match=f"line {line}: expected text in "):
        column(write(tmp_path, data), encoding=encoding)


def test_mixed_encodings_are_refused_however_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 7)
    data = b"case\n" + "日本\n".encode() * 50 + "表ソ能\n".encode("cp932")
    with pytest.raises(RequestError, match="line 2: expected text in UTF-8 or CP932, one of them throughout"):
        column(write(tmp_path, data))


@pytest.mark.parametrize("size", [5, 6, 7, 11, 64])
def test_blocks_of_any_size_give_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", size)
    texts = ["a", "", "あい", "bcd", "é", "", "x"]
    for end in ("\n", "\r\n"):
        table = open_table(write(tmp_path, ("case" + end + end.join(texts)).encode()), ("case",), ())
        assert isinstance(table, CsvTable)
        assert table._plain
        blocks = list(table.blocks())
        assert [t for b in blocks for t in decode_texts(b.columns["case"], 9)[0]] == texts
        assert np.concatenate([b.line for b in blocks]).tolist() == list(range(2, 9))
        assert np.concatenate([b.blank for b in blocks]).tolist() == [not t for t in texts]


@pytest.mark.parametrize(
    "data", ['case\n"open\n', 'case\n"a"b\n', 'case\nfine\n"never closed,\n\n\n', 'case\n"' + "x" * 200_000 + '"\n']
)
def test_broken_quotes_are_refused_when_opened(tmp_path: Path, data: str) -> None:
    with pytest.raises(RequestError, match=r"line [23]: broken CSV: "):
        open_table(write(tmp_path, data), ("case",), ())


def test_a_file_without_line_ends_is_refused_and_not_read_into_memory(tmp_path: Path) -> None:
    for data in (b"case\n" + b"x" * (3 * tables.BLOCK_BYTES), b'case\n"' + b"x" * (3 * tables.BLOCK_BYTES)):
        with pytest.raises(RequestError, match="expected"):
            open_table(write(tmp_path, data), ("case",), ())


def test_an_empty_file_and_a_missing_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="empty file"):
        open_table(write(tmp_path, b""), ("case",), ())
    with pytest.raises(RequestError, match="found nothing"):
        open_table(tmp_path / "none.csv", ("case",), ())
    with pytest.raises(RequestError, match="expected a file"):
        open_table(tmp_path, ("case",), ())


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "case\n" + "a\n" * 10)
    table = open_table(path, ("case",), ())
    with path.open("a") as file:
        file.write("b\n")
    with pytest.raises(RequestError, match="changed while it was read"):
        list(table.blocks())


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="encoding: expected one of auto"):
        column(write(tmp_path, "case\n"), encoding="latin-1")


def test_without_pyarrow_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RequestError, match="expected pyarrow, not installed"):
        open_table(write(tmp_path, b"", "in.parquet"), ("case",), ())
    with pytest.raises(RequestError, match="expected pyarrow"):
        TableWriter(tmp_path / "out.arrow", ["a"])


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_that_is_no_arrow_is_refused(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(RequestError, match=f"expected a {suffix} file"):
        open_table(write(tmp_path, "case\na\n", f"in.{suffix}"), ("case",), ())


def test_a_column_of_numbers_is_refused_in_arrow(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"case": [1, 2]}), tmp_path / "in.parquet")
    with pytest.raises(RequestError, match="column case: expected text, got int64"):
        open_table(tmp_path / "in.parquet", ("case",), ())


def test_a_result_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with TableWriter(path, ["row", "status"]) as writer:
        writer.write([np.array([1, 2]), Choices(np.array([0, 1]), ["OK", "DENIED"])])
        assert not path.exists()
    assert path.read_text() == "row,status\n1,OK\n2,DENIED\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_result_leaves_the_old_one_and_no_other_file(tmp_path: Path) -> None:
    path = write(tmp_path, "old", "out.csv")

    def fail() -> None:
        with TableWriter(path, ["row"]) as writer:
            writer.write([np.array([1])])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_result_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as error, TableWriter(tmp_path / "out.csv", ["row"]) as writer:
        writer.write([np.array([1])])
    assert error.value.filename == str(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_renamed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"out\.csv'$"), TableWriter(tmp_path / "out.csv", ["row"]):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_result_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(RequestError, match="expected the folder to exist"),
        TableWriter(tmp_path / "none/out.csv", ["row"]),
    ):
        pass


def test_results_are_written_for_excel_and_in_cp932(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "cp932"):
        with TableWriter(tmp_path / "out.csv", ["name"], encoding=encoding) as writer:
            writer.write([["千代田区"]])
        assert (tmp_path / "out.csv").read_bytes() == "name\n千代田区\n".encode(encoding)
    with (
        pytest.raises(RequestError, match="no form in cp932"),
        TableWriter(tmp_path / "x.csv", ["name"], encoding="cp932") as w,
    ):
        w.write([["é"]])


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_arrow_results_read_back(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    from hub.files.columns import Digits

    path = tmp_path / f"out.{suffix}"
    aliases = np.arange(32, dtype=np.uint8).reshape(2, 16)
    with TableWriter(path, ["row", "code", "alias", "status", "name"]) as writer:
        for _ in range(2):
            writer.write(
                [
                    np.array([1, 2]),
                    Digits(np.array([5, 6]), 11),
                    aliases,
                    Choices(np.array([1, 1]), ["A", "B"]),
                    ["あ", "b"],
                ]
            )
    found = (parquet if suffix == "parquet" else feather).read_table(path).to_pydict()
    assert found == {
        "row": [1, 2] * 2,
        "code": ["00000000005", "00000000006"] * 2,
        "alias": [bytes(a).hex() for a in aliases] * 2,
        "status": ["B"] * 4,
        "name": ["あ", "b"] * 2,
    }
    with TableWriter(path, ["row"]):
        pass
    assert open_table(path, ("row",), ()).rows_max == 0
