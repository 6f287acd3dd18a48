"""Files of an institution -> chunks of a load, always cut in the same places, and links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hub.errors import RequestError
from hub.files.columns import Cells, cells_of_texts, decode_aliases, pad_bytes
from hub.files.tables import open_table
from hub.messages import Aliases

CHUNK_BYTES = 1 << 25
"""Of a CSV: a file that is given again must be cut in the same places, so this stays as it is."""
CHUNK_ROWS = 1 << 18
LINE_BYTES_MAX = 1 << 20
LINKS_AT_A_TIME = 1 << 20


class FileChunk(NamedTuple):
    """A chunk of a file: what ``Agency.load_chunk`` takes; ``line``: what is to be added to its lines to get the
    file's."""

    data: bytes | list[dict[str, Cells]]
    line: int

    def __repr__(self) -> str:
        return f"FileChunk(line={self.line})"


def read_chunks(path: Path) -> Iterator[FileChunk]:
    """The chunks of a CSV or a Parquet file.

    Raises:
        RequestError: no such file, or none of its kind.
    """
    if not path.is_file():
        raise RequestError(f"{path}: expected a file" + ("" if path.exists() else ", found nothing"))
    return _parquet_chunks(path) if path.suffix.lower() == ".parquet" else _csv_chunks(path)


def _csv_chunks(path: Path) -> Iterator[FileChunk]:
    with path.open("rb") as file:
        head = file.readline(LINE_BYTES_MAX)
        if not head:
            raise RequestError(f"{path}: expected a first line with the columns, found an empty file")
        lines = 0
        while data := file.read(CHUNK_BYTES):
            data += _line(file, path)
            # A line may go on behind its end where a quote is open.
            while data.count(b'"') % 2:
                more = _line(file, path)
                if not more:
                    break
                data += more
            yield FileChunk(head + data, lines)
            lines += data.count(b"\n")
        if not lines:
            yield FileChunk(head, 0)


def _line(file: Any, path: Path) -> bytes:
    found: bytes = file.readline(LINE_BYTES_MAX)
    if len(found) == LINE_BYTES_MAX:
        raise RequestError(f"{path}: expected lines of at most {LINE_BYTES_MAX:,} bytes, got a longer one")
    return found


def _parquet_chunks(path: Path) -> Iterator[FileChunk]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RequestError("parquet files: expected pyarrow, not installed (pip install pyarrow)") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        rows = 0
        for batch in file.iter_batches(CHUNK_ROWS):
            columns = {
                name: _cells(pyarrow, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
            yield FileChunk([columns], rows)
            rows += batch.num_rows
    except (pyarrow.ArrowException, OSError):
        raise RequestError(f"{path}: expected a parquet file of texts, numbers and dates, found another") from None


def _cells(arrow: Any, column: Any) -> Cells:
    """An Arrow column as cells; a null is an empty cell."""
    text = column.cast(arrow.large_string()).fill_null("")
    _, offsets, data = text.buffers()
    ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    used = bytes(memoryview(data)[ends[0] : ends[-1]]) if data else b""
    return Cells(pad_bytes(used), ends[:-1] - ends[0], ends[1:] - ends[0])


class LinkPart(NamedTuple):
    """Links of a file, up to so many at a time; ``lines``: of each row in the file."""

    own_ids: Cells
    aliases: Aliases
    lines: list[int]

    def __repr__(self) -> str:
        return f"LinkPart({len(self.aliases)})"


def read_links(path: str, *, encoding: str = "auto") -> Iterator[LinkPart]:
    """The links of a file with the columns own_id and alias.

    Raises:
        RequestError: another file, or a line that does not fit; it is named.
    """
    texts: list[str] = []
    aliases: list[Aliases] = []
    lines: list[int] = []
    for block in open_table(path, ("own_id", "alias"), (), encoding).blocks():
        whole = block.whole | block.blank
        found, ok = decode_aliases(block.columns["alias"])
        ids = block.columns["own_id"]
        ok = (ok & (ids.end > ids.start)) | block.blank
        if not (whole & ok).all():
            line = int(block.line[int(np.argmin(whole & ok))])
            raise RequestError(f"{path}: line {line}: expected an own id and an alias of 32 hex digits")
        kept = np.flatnonzero(~block.blank)
        data = ids.buffer.tobytes()
        name = "cp932" if ids.encoding == "cp932" else "utf-8"
        for start, end in zip(ids.start[kept].tolist(), ids.end[kept].tolist(), strict=True):
            texts.append(data[start:end].decode(name))
        aliases.append(found[kept])
        lines += block.line[kept].tolist()
        if len(texts) >= LINKS_AT_A_TIME:
            yield LinkPart(cells_of_texts(texts), np.concatenate(aliases), lines)
            texts, aliases, lines = [], [], []
    if texts:
        yield LinkPart(cells_of_texts(texts), np.concatenate(aliases), lines)
