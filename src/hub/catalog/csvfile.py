"""Read the CSV files of the catalog: UTF-8 or CP932, named columns, errors by line number."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from hub.catalog.words import is_plain
from hub.errors import CatalogError
from hub.limits import CATALOG_ERRORS_SHOWN, CATALOG_FIELD_CHARS_MAX, CATALOG_FILE_BYTES_MAX

Source = str | bytes | Path
"""A path, or the content itself: bytes, or text with a line break in it."""

T = TypeVar("T")


class CsvFile:
    """One file, decoded: its name for messages, its columns, its lines.

    Attributes:
        name: the file's name without its folder; ``text`` where the content was given itself.
        columns: the header.
        lines: (line number counted from 1, fields by column), blank lines left out.
    """

    def __init__(self, source: Source) -> None:
        self.name, content = _read_content(source)
        records = _split(self.name, content)
        header = next(records, (0, []))[1]
        self.columns = tuple(header)
        if len(set(self.columns)) != len(self.columns):
            raise CatalogError(f"{self.name}: expected every column once, got one twice")
        self._records = list(records)

    def parse(
        self, parse: Callable[[dict[str, str]], T], required: Sequence[str], optional: Iterable[str] = ()
    ) -> list[T]:
        """Turn every line into a value.

        Args:
            parse: takes a line's fields, stripped; raises ValueError for what is wrong with them.
            required, optional: the columns; an optional one that the file lacks reads as empty.

        Raises:
            CatalogError: a column lacks or is not known, or lines are broken: the first ten are named.
        """
        known = [*required, *optional]
        missing = [name for name in required if name not in self.columns]
        unknown = [name for name in self.columns if name not in known]
        if missing or unknown:
            # A file without a head line may be one of aliases or codes: its first line is not repeated.
            raise CatalogError(f"{self.name}: expected the columns {','.join(known)}, got others")
        values: list[T] = []
        broken: list[str] = []
        for line, fields in self._records:
            try:
                if len(fields) != len(self.columns):
                    raise ValueError(f"expected {len(self.columns)} fields, got {len(fields)}")
                row = dict.fromkeys(known, "")
                row.update(zip(self.columns, map(_clean, fields), strict=True))
                values.append(parse(row))
            except ValueError as error:
                broken.append(f"line {line}: {error}")
        raise_broken(self.name, broken)
        return values


def raise_broken(name: str, broken: Sequence[str]) -> None:
    """Raise one error that names the first broken lines of a file and counts the rest; none, no error."""
    if not broken:
        return
    shown = "; ".join(broken[:CATALOG_ERRORS_SHOWN])
    more = f"; and {len(broken) - CATALOG_ERRORS_SHOWN} more" if len(broken) > CATALOG_ERRORS_SHOWN else ""
    raise CatalogError(f"{name}: {shown}{more}")


def expect(name: str, value: str, allowed: Iterable[str]) -> str:
    """The value, if it is one of those allowed; ValueError otherwise."""
    words = tuple(allowed)
    if value not in words:
        raise ValueError(f"{name}: expected one of {', '.join(words)}, got {value[:40]!r}")
    return value


def _clean(field: str) -> str:
    field = field.strip()
    if len(field) > CATALOG_FIELD_CHARS_MAX:
        raise ValueError(f"field: expected at most {CATALOG_FIELD_CHARS_MAX} characters, got {len(field)}")
    if not is_plain(field):
        raise ValueError("field: expected printable characters, got a control character")
    return field


def _read_content(source: Source) -> tuple[str, str]:
    """The name for messages and the decoded content."""
    if isinstance(source, str) and "\n" in source:
        return "text", source
    if isinstance(source, bytes):
        return "text", _decode("text", source)
    path = Path(source)
    try:
        with path.open("rb") as file:
            content = file.read(CATALOG_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CatalogError(f"open {path.name}: {error.strerror}") from error
    return path.name, _decode(path.name, content)


def _decode(name: str, content: bytes) -> str:
    """UTF-8 with or without a mark, else CP932, the encoding that Excel in Japan writes."""
    if len(content) > CATALOG_FILE_BYTES_MAX:
        raise CatalogError(f"{name}: expected at most {CATALOG_FILE_BYTES_MAX} bytes, got more")
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise CatalogError(f"{name}: expected UTF-8 or CP932, got neither")


def _split(name: str, content: str) -> Iterator[tuple[int, list[str]]]:
    """Records with the number of the line on which each begins; blank lines left out."""
    reader = csv.reader(io.StringIO(content.removeprefix("\ufeff"), newline=""), strict=True)
    line = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CatalogError(f"{name}: line {line}: {error}") from error
        if any(field.strip() for field in fields):
            yield line, fields
        line = reader.line_num + 1
