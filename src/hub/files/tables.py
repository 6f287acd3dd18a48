"""Tables of text in and out: CSV (UTF-8 with or without BOM, CP932), and Parquet and Arrow through pyarrow.

A CSV is read twice: once to see that all of it is text of one encoding and well quoted, and once in blocks, so that
a broken file is refused before anything is recorded. Results are written to a temporary name beside their own and
renamed when complete.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.files.columns import (
    Cells,
    Choices,
    Column,
    Digits,
    cells_of_texts,
    column_part,
    column_rows,
    encode_aliases,
    encode_csv,
    find_lines,
    pad_bytes,
    split_lines,
)

ENCODINGS = ("auto", "utf-8", "utf-8-sig", "cp932")
ARROW_SUFFIXES = (".parquet", ".arrow", ".feather")
BLOCK_BYTES = 1 << 22
ROWS_PER_BLOCK = 1 << 16
CELLS_BYTES_MAX = 1 << 24
"""Characters that the rows of a piece of a result take, each as wide as the widest of its column: short rows go out
65,536 at a time, and of payloads of 64 KiB 190."""
LINE_CHARS_MAX = 1 << 20
"""No line of a CSV is longer: a file without line ends is refused, not read into memory."""


_CP932_STRAYS = re.compile("[\x80\uf8f0-\uf8f3]")
_UTF8_JAPANESE = re.compile(rb"[\xe3-\xe9][\x80-\xbf][\x80-\xbf]")
"""Kana and kanji are three bytes in UTF-8."""


class Block(NamedTuple):
    """Rows as they stand in a file: cells by column name, line numbers, blank rows, rows with all their columns."""

    columns: dict[str, Cells]
    line: npt.NDArray[np.int64]
    blank: npt.NDArray[np.bool_]
    whole: npt.NDArray[np.bool_]

    def part(self, first: int, stop: int) -> Block:
        """Rows first to stop - 1."""
        columns = {name: cells.part(first, stop) for name, cells in self.columns.items()}
        return Block(columns, self.line[first:stop], self.blank[first:stop], self.whole[first:stop])


def open_table(
    path: str | os.PathLike[str],
    required: Sequence[str],
    optional: Sequence[str],
    encoding: str = "auto",
    *,
    unread: Sequence[str] = (),
    rows: int = ROWS_PER_BLOCK,
    integers: Sequence[str] = (),
) -> Table:
    """Open a CSV, Parquet or Arrow file by its suffix and check its columns and, of a CSV, all of its text.

    Args:
        unread: columns that may be there, of any type; what is in them may be missing from the blocks.
        rows: of a block of a Parquet or Arrow file, at most; a CSV's blocks are of ``BLOCK_BYTES``.
        integers: columns that may be numbers in such a file; they become text.
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"{path}: expected a file" + ("" if path.exists() else ", found nothing"))
    if path.suffix.lower() in ARROW_SUFFIXES:
        return ArrowTable(path, required, optional, rows, integers, unread)
    if encoding not in ENCODINGS:
        raise RequestError(f"encoding: expected one of {', '.join(ENCODINGS)}, got {encoding}")
    return CsvTable(path, required, [*optional, *unread], encoding)


class Table:
    """What all kinds of file have in common."""

    path: Path
    names: list[str]
    rows_max: int

    def blocks(self) -> Iterator[Block]:
        """The rows in order, some at a time."""
        raise NotImplementedError

    def _order(self, names: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
        """Check the column names; they are not repeated, since a file without a header shows its first row here."""
        known = [name.strip().lower() for name in names]
        wanted = ",".join(required) + "".join(f"[,{name}]" for name in optional)
        if (
            set(known) - {*required, *optional}
            or len(set(known)) != len(known)
            or any(name not in known for name in required)
        ):
            raise RequestError(f"{self.path}: expected the columns {wanted}, found others")
        return known


class CsvTable(Table):
    """A CSV file, checked when opened.

    Lines without any quote are cut with numpy (4 million rows/s and more); a file with a quote, or with a carriage
    return that ends no line, goes through the csv module (about 0.5 million). Both give the same rows.
    """

    def __init__(self, path: Path, required: Sequence[str], optional: Sequence[str], encoding: str) -> None:
        self.path = path
        self._stamp = _file_stamp(path)
        self.encoding, self._skip, lines, plain = _scan(path, encoding)
        self.rows_max = max(0, lines - 1)
        reader = self._reader()
        header = next(iter(reader), None)
        if header is None:
            raise RequestError(f"{path}: expected a first line with the columns, found an empty file")
        self.names = self._order(header[1], required, optional)
        self._plain = plain
        if not plain:
            # Broken quotes must show before the first row is recorded.
            for _ in reader:
                pass

    def blocks(self) -> Iterator[Block]:
        yield from self._plain_blocks() if self._plain else self._quoted_blocks()
        if _file_stamp(self.path) != self._stamp:
            raise RequestError(f"{self.path}: changed while it was read")

    def _plain_blocks(self) -> Iterator[Block]:
        with self.path.open("rb") as file:
            file.seek(self._skip)
            file.readline()
            line = 2
            for data in _whole_lines(file, self.path):
                block = self._cut(data, line)
                yield block
                line += len(block.line)

    def _cut(self, data: bytes, line: int) -> Block:
        lines = find_lines(data, self.encoding)
        cells, whole = split_lines(lines, len(self.names))
        blank = lines.start == lines.end
        numbers = np.arange(line, line + len(blank))
        return Block(dict(zip(self.names, cells, strict=True)), numbers, blank, whole & ~blank)

    def _quoted_blocks(self) -> Iterator[Block]:
        records = self._reader()
        next(records)
        while True:
            lines: list[int] = []
            rows: list[list[str]] = []
            chars = 0
            for line, row in records:
                lines.append(line)
                rows.append(row)
                chars += sum(map(len, row))
                if len(rows) == ROWS_PER_BLOCK or chars >= BLOCK_BYTES:
                    break
            if not rows:
                return
            count = len(self.names)
            whole = [len(row) == count for row in rows]
            columns = {
                name: cells_of_texts([row[i] if ok else "" for row, ok in zip(rows, whole, strict=True)])
                for i, name in enumerate(self.names)
            }
            blank = np.array([not row for row in rows])
            yield Block(columns, np.array(lines, np.int64), blank, np.array(whole))

    def _reader(self) -> Iterator[tuple[int, list[str]]]:
        """The csv module's records, each with the line at which it starts."""
        with self.path.open("rb") as binary:
            binary.seek(self._skip)
            text = io.TextIOWrapper(binary, self.encoding, newline="")
            reader = csv.reader(_bounded_lines(text, self.path), strict=True)
            line = 1
            try:
                for row in reader:
                    yield line, row
                    line = reader.line_num + 1
            except csv.Error as error:
                # The module's messages name what was expected and never what was found.
                raise RequestError(f"{self.path}: line {line}: broken CSV: {error}") from None
            except UnicodeDecodeError:
                raise RequestError(f"{self.path}: changed while it was read") from None


def _bounded_lines(text: IO[str], path: Path) -> Iterator[str]:
    while line := text.readline(LINE_CHARS_MAX):
        if len(line) == LINE_CHARS_MAX:
            raise RequestError(f"{path}: expected lines of at most {LINE_CHARS_MAX:,} characters, got a longer one")
        yield line


def _file_stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _whole_lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The rest of a file in pieces of about ``BLOCK_BYTES`` that end where a line ends."""
    while data := file.read(BLOCK_BYTES):
        end = file.readline(LINE_CHARS_MAX)
        if len(end) == LINE_CHARS_MAX:
            raise RequestError(f"{path}: expected lines of at most {LINE_CHARS_MAX:,} bytes, got a longer one")
        yield data + end


def _scan(path: Path, encoding: str) -> tuple[str, int, int, bool]:
    """Read a CSV once.

    Returns:
        Its encoding, the bytes of a byte order mark, the number of its lines at most, and whether no line needs
        the csv module: no quote, and every carriage return is followed by a newline.
    """
    with path.open("rb") as file:
        skip = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
    if skip and encoding == "cp932":
        raise RequestError(f"{path}: expected cp932, found the byte order mark of UTF-8")
    if encoding != "cp932":
        found = _scan_as(path, "utf-8", skip, _is_utf8)
        if not isinstance(found, int):
            return "utf-8", skip, *found
        if skip or encoding != "auto":
            raise RequestError(f"{path}: line {found}: expected text in UTF-8")
    found = _scan_as(path, "cp932", skip, check_cp932 if encoding == "cp932" else check_surely_cp932)
    if isinstance(found, int):
        names = "CP932" if encoding == "cp932" else "UTF-8 or CP932, one of them throughout"
        raise RequestError(f"{path}: line {found}: expected text in {names}")
    return "cp932", skip, *found


def _scan_as(path: Path, encoding: str, skip: int, judge: Callable[[bytes], int | None]) -> tuple[int, bool] | int:
    """The number of lines and whether all are plain; or the line that ``judge`` finds not to be of this encoding."""
    lines, plain, data = 0, True, b""
    with path.open("rb") as file:
        file.seek(skip)
        for data in _whole_lines(file, path):
            bad = None if data.isascii() else judge(data)
            if bad is not None:
                return lines + 1 + data.count(b"\n", 0, bad)
            plain = plain and b'"' not in data and data.count(b"\r") == data.count(b"\r\n")
            lines += data.count(b"\n")
    return lines + (data[-1:] not in (b"\n", b"")), plain


def _is_utf8(data: bytes) -> int | None:
    """None, or the first byte that is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def check_cp932(data: bytes) -> int | None:
    """None, or the first byte that is not CP932.

    Python's codec also takes the bytes 80, A0 and FD to FF, to which CP932 gives no character.
    """
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError as error:
        return error.start
    stray = _CP932_STRAYS.search(text)
    return len(text[: stray.start()].encode("cp932")) if stray else None


def check_surely_cp932(data: bytes) -> int | None:
    """As :func:`check_cp932`, and no line is Japanese in UTF-8: most of that is valid CP932 and would be misread."""
    bad = check_cp932(data)
    if bad is None:
        for match in _UTF8_JAPANESE.finditer(data):
            line = data.rfind(b"\n", 0, match.start()) + 1
            text, _, _ = data[line : line + LINE_CHARS_MAX].partition(b"\n")
            if _is_utf8(text) is None:
                return line
    return bad


def _pyarrow() -> Any:
    """pyarrow, which comes with the extra ``files``."""
    try:
        import pyarrow
        import pyarrow.feather
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise RequestError("parquet and arrow files: expected pyarrow, not installed (pip install pyarrow)") from None
    return pyarrow


class ArrowTable(Table):
    """A Parquet or Arrow (Feather 2, IPC file) file of text columns; a row's line is its number."""

    def __init__(
        self, path: Path, required: Sequence[str], optional: Sequence[str], rows: int, integers: Sequence[str],
        unread: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.path, self._rows = path, rows
        self._arrow = _pyarrow()
        try:
            if path.suffix.lower() == ".parquet":
                self._file = self._arrow.parquet.ParquetFile(path)
                schema, self.rows_max = self._file.schema_arrow, self._file.metadata.num_rows
            else:
                self._file = self._arrow.ipc.open_file(self._arrow.memory_map(str(path)))
                schema = self._file.schema
                batches = range(self._file.num_record_batches)
                self.rows_max = sum(self._file.get_batch(i).num_rows for i in batches)
        except (self._arrow.ArrowException, OSError):
            raise RequestError(f"{path}: expected a {path.suffix[1:]} file, found something else") from None
        self.names = self._order(schema.names, required, [*optional, *unread])
        self._unread = frozenset(unread)
        types = self._arrow.types
        for name, field in zip(self.names, schema, strict=True):
            if name in self._unread:
                continue
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            fits = types.is_string(kind) or types.is_large_string(kind)
            if not (fits or (name in integers and types.is_integer(kind))):
                raise RequestError(f"{path}: column {name}: expected text, got {field.type}")

    def blocks(self) -> Iterator[Block]:
        row = 1
        for batch in self._batches():
            if batch.num_rows:
                named = zip(self.names, batch.columns, strict=True)
                columns = {name: self._cells(column) for name, column in named if name not in self._unread}
                numbers = np.arange(row, row + batch.num_rows)
                yield Block(columns, numbers, np.zeros(batch.num_rows, np.bool_), np.ones(batch.num_rows, np.bool_))
                row += batch.num_rows

    def _batches(self) -> Iterator[Any]:
        try:
            if self.path.suffix.lower() == ".parquet":
                yield from self._file.iter_batches(self._rows)
            else:
                for i in range(self._file.num_record_batches):
                    batch = self._file.get_batch(i)
                    yield from (batch.slice(at, self._rows) for at in range(0, batch.num_rows, self._rows))
        except (self._arrow.ArrowException, OSError):
            raise RequestError(f"{self.path}: broken {self.path.suffix[1:]} file") from None

    def _cells(self, column: Any) -> Cells:
        """An Arrow column as cells; a null is an empty cell."""
        text = column.cast(self._arrow.large_string()).fill_null("")
        _, offsets, data = text.buffers()
        ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
        used = bytes(memoryview(data)[ends[0] : ends[-1]]) if data else b""
        return Cells(pad_bytes(used), ends[:-1] - ends[0], ends[1:] - ends[0])


class TableWriter:
    """Write a result file under a temporary name and rename it when the ``with`` block ends well.

    An exception inside leaves no file and an older one untouched. The file is readable by its owner alone: it
    holds aliases.
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str], *, encoding: str = "utf-8") -> None:
        """Args: names: the columns; encoding: of a CSV, utf-8, utf-8-sig (a byte order mark for Excel) or cp932."""
        self.path = Path(path)
        self._names = list(names)
        self._arrow_writer: Any = None
        self._arrow = _pyarrow() if self.path.suffix.lower() in ARROW_SUFFIXES else None
        self._encoding = "utf-8" if encoding in ("auto", "utf-8-sig") else encoding
        self._mark = encoding == "utf-8-sig"
        self._file: IO[bytes]
        self._temporary: Path

    def __enter__(self) -> TableWriter:
        try:
            # One name for each result: what a killed run left behind is written over by the next.
            self._temporary = self.path.with_name(f".{self.path.name}.part")
            self._temporary.unlink(missing_ok=True)
            handle = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileNotFoundError:
            raise RequestError(f"{self.path}: expected the folder to exist") from None
        except OSError as error:
            raise _named(error, self.path) from None
        self._file = os.fdopen(handle, "wb")
        if self._arrow is None:
            self._file.write(codecs.BOM_UTF8 if self._mark else b"")
            self._file.write(",".join(self._names).encode(self._encoding) + b"\n")
        return self

    def write(self, columns: Sequence[Column]) -> None:
        """Append rows; all columns are of one length.

        Raises:
            RequestError: a text has no form in the encoding.
        """
        try:
            if self._arrow is not None:
                self._write_arrow(columns)
                return
            for first in range(0, column_rows(columns[0]), ROWS_PER_BLOCK):
                self._write_csv([column_part(column, first, first + ROWS_PER_BLOCK) for column in columns])
        except UnicodeEncodeError:
            raise RequestError(f"{self.path}: a text has no form in {self._encoding}: write utf-8") from None
        except OSError as error:
            raise _named(error, self.path) from None

    def _write_csv(self, columns: Sequence[Column]) -> None:
        """Rows in pieces in which they take no more room than is good, see ``CELLS_BYTES_MAX``."""
        count = column_rows(columns[0])
        if count > 1 and count * sum(map(_widest, columns)) > CELLS_BYTES_MAX:
            for first, stop in ((0, count // 2), (count // 2, count)):
                self._write_csv([column_part(column, first, stop) for column in columns])
        else:
            self._file.write(encode_csv(columns, self._encoding))

    def _write_arrow(self, columns: Sequence[Column]) -> None:
        arrays = [_arrow_array(self._arrow, column) for column in columns]
        table = self._arrow.Table.from_arrays(arrays, self._names)  # type: ignore[union-attr]
        if self._arrow_writer is None:
            if self.path.suffix.lower() == ".parquet":
                self._arrow_writer = self._arrow.parquet.ParquetWriter(self._file, table.schema)  # type: ignore[union-attr]
            else:
                self._arrow_writer = self._arrow.ipc.new_file(self._file, table.schema)  # type: ignore[union-attr]
        self._arrow_writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._arrow is not None and self._arrow_writer is None:
                    self._write_arrow([[] for _ in self._names])
                if self._arrow_writer is not None:
                    self._arrow_writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._temporary, self.path)
                _sync_folder(self.path.parent)
        except OSError as error:
            raise _named(error, self.path) from None
        finally:
            with suppress(OSError):
                self._file.close()
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _widest(column: Column) -> int:
    """Characters of a column's widest text; 0 of one that has no texts."""
    if isinstance(column, Digits | np.ndarray):
        return 0
    return max(map(len, column.names if isinstance(column, Choices) else column), default=0)


def _named(error: OSError, path: Path) -> OSError:
    """The same error, naming the file that the caller knows instead of the temporary one or none."""
    return OSError(error.errno, error.strerror or str(error), str(path))


def _arrow_array(arrow: Any, column: Column) -> Any:
    if isinstance(column, Digits):
        return arrow.array([f"{value:0{column.width}d}" for value in column.values.tolist()], arrow.string())
    if isinstance(column, Choices):
        return arrow.array(list(column.names), arrow.string()).take(arrow.array(column.numbers))
    if isinstance(column, np.ndarray) and column.ndim == 2:
        text = encode_aliases(column.astype(np.uint8, copy=False))
        offsets = np.arange(len(text) + 1, dtype=np.int32) * text.shape[1]
        return arrow.Array.from_buffers(
            arrow.string(), len(text), [None, arrow.py_buffer(offsets), arrow.py_buffer(text)]
        )
    return arrow.array(column) if isinstance(column, np.ndarray) else arrow.array(list(column), arrow.string())
