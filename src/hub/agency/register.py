"""The copy register (副本): what an institution lets be answered by itself, loaded in chunks, visible as a whole.

Database ``registers``, key the register's name (UTF-8), value MessagePack array :class:`Register`. Database
``chunks``, key the name, a zero byte and u32 number of the chunk, value MessagePack array :class:`Chunk`: what is
durable of the load under way. A load writes two files: rows as ``encode.py`` says, and their keys, a block a chunk
(``runs.py``) of hi, lo and where the row begins. When it is complete its keys are sorted into an index of a file of
its own, and one transaction makes it the register's generation; until then the generation before answers.

A key is an own id's (``ownids.py``) or an alias's 16 bytes, as the layout says, mixed.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub.agency.encode import Encoder, Pieces, find_parts
from hub.agency.judge import Ints, Judged, judge_cells, judge_csv
from hub.agency.layout import Layout, check_layout, read_layout
from hub.agency.ownids import raw_keys
from hub.agency.runs import (
    Block,
    Maps,
    Run,
    Words,
    find_keys,
    merge_runs,
    mix_keys,
    order_keys,
    write_blocks,
)
from hub.agency.store import AgencyStore, Reader, write_all
from hub.errors import RequestError, StorageError
from hub.files.columns import Cells, decode_aliases
from hub.limits import LOAD_CHUNK_BYTES_MAX, LOAD_ID_CHARS_MAX
from hub.storage.workers import Workers

T = TypeVar("T")

REGISTERS, CHUNKS = "registers", "chunks"
_COLUMNS = 3


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """Some rows of a file, checked together: where they begin, their bytes, xxh3-64 of them."""

    at: int
    bytes: int
    sum: int


class Chunk(msgspec.Struct, array_like=True, frozen=True):
    """A chunk of a load: SHA-256 of what was sent, rows, and where they and their keys stand."""

    digest: bytes
    rows: int
    pieces: list[Piece]
    keys: list[Block]


class Load(msgspec.Struct, array_like=True, frozen=True):
    """A load under way: chunks 1 to ``chunks`` are durable."""

    load_id: str
    layout: Layout
    rows_file: int
    keys_file: int
    chunks: int
    rows: int
    rows_bytes: int
    keys_bytes: int


class Generation(msgspec.Struct, array_like=True, frozen=True):
    """A complete load: what is answered from. digests: SHA-256 over those of its chunks."""

    load_id: str
    layout: Layout
    rows_file: int
    rows_bytes: int
    rows: int
    chunks: int
    pieces: list[Piece]
    index: Run
    digest: bytes
    finished_at: int


class Register(msgspec.Struct, array_like=True, frozen=True):
    """A register: the layout of the next load, the generation that answers, the load under way."""

    layout: Layout
    generation: Generation | None
    load: Load | None


class LoadState(msgspec.Struct, frozen=True, kw_only=True):
    """How a load stands.

    Attributes:
        chunks, rows: durable. complete: whether it is what is answered from.
    """

    register: str
    load_id: str
    chunks: int
    rows: int
    complete: bool


def read_register(reader: Reader, name: str) -> Register | None:
    """A register, or None."""
    value = reader.get(REGISTERS, name.encode())
    return None if value is None else msgspec.msgpack.decode(value, type=Register)


def read_registers(reader: Reader) -> list[Register]:
    """All of them, by name."""
    return [msgspec.msgpack.decode(value, type=Register) for _, value in reader.items(REGISTERS)]


def files_named(reader: Reader) -> dict[int, int]:
    """Files of the registers, and their bytes."""
    named = {}
    for one in read_registers(reader):
        if one.generation is not None:
            named[one.generation.rows_file] = one.generation.rows_bytes
            named[one.generation.index.file] = one.generation.index.bytes
        if one.load is not None:
            named[one.load.rows_file], named[one.load.keys_file] = one.load.rows_bytes, one.load.keys_bytes
    return named


class Registers:
    """The copy registers of an open agency."""

    def __init__(self, store: AgencyStore, maps: Maps, workers: Workers) -> None:
        self._store, self._maps, self._workers = store, maps, workers

    def __repr__(self) -> str:
        return "Registers()"

    # -- loading

    def declare(self, layout: Layout | str) -> None:
        """See ``Agency.declare``."""
        layout = read_layout(layout) if isinstance(layout, str) else check_layout(layout)
        with self._store.writer:
            with self._store.read() as reader:
                found = read_register(reader, layout.name)
            if found is not None and found.layout == layout:
                return
            if found is not None and found.load is not None:
                raise RequestError("layout: expected no load of the register under way, got one: abandon it first")
            generation = None if found is None else found.generation
            with self._store.commit() as commit:
                self._put(commit, Register(layout, generation, None))

    def begin(self, name: str, load_id: str) -> LoadState:
        """See ``Agency.begin_load``."""
        if not isinstance(load_id, str) or not 1 <= len(load_id) <= LOAD_ID_CHARS_MAX or not load_id.isprintable():
            raise RequestError(f"load_id: expected 1 to {LOAD_ID_CHARS_MAX} characters, got something else")
        with self._store.writer:
            found = self._register(name)
            load, generation = found.load, found.generation
            if generation is not None and generation.load_id == load_id:
                return state_of(name, generation)
            if load is None:
                with self._store.commit() as commit:
                    rows_file, keys_file = self._store.next_files(commit, 2)
                    load = Load(load_id, found.layout, rows_file, keys_file, 0, 0, 0, 0)
                    self._put(commit, Register(found.layout, generation, load))
            elif load.load_id != load_id:
                raise RequestError("load_id: expected the load under way, got another: finish it or abandon it first")
            return state_of(name, load)

    def take(self, name: str, load_id: str, number: int, data: Any, digest: bytes | None) -> LoadState:
        """See ``Agency.load_chunk``."""
        with self._store.writer:
            found = self._register(name)
            sent = _digest(data)
            if digest is not None and digest != sent:
                raise RequestError("chunk: expected the SHA-256 that was given, got another: damaged on its way")
            load = self._load(found, load_id)
            where = f"{name}: chunk {number}"
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= load.chunks + 1:
                raise RequestError(f"{name}: expected chunk {load.chunks + 1}, got another out of order")
            if number <= load.chunks:
                if self._chunk(name, number).digest != sent:
                    raise RequestError(f"{where}: expected what was sent before under its number, got another")
                return state_of(name, load)
            blocks, keys, rows = self._judge(load, data, where)
            load = self._write(name, found, load, sent, blocks, keys, rows)
            return state_of(name, load)

    def _judge(
        self, load: Load, data: Any, where: str
    ) -> tuple[list[npt.NDArray[np.uint8]], list[Words], int]:
        """What a chunk has: rows as they are kept, in pieces; their keys; how many."""
        encoder = Encoder(load.layout)
        judged: Iterator[Judged]
        if isinstance(data, bytes | bytearray | memoryview):
            judged = judge_csv(load.layout, bytes(data), where)
        else:
            judged = judge_cells(load.layout, iter(data), where)
        pieces: list[npt.NDArray[np.uint8]] = []
        columns: list[list[Words]] = [[], [], []]
        at, rows = load.rows_bytes, 0

        def encode(some: Judged) -> tuple[npt.NDArray[np.uint8], Ints, Words, Words]:
            return *encoder.encode(some), *self._keys(load.layout, some.key)

        for piece, begins, hi, lo in _in_turn(self._workers, encode, judged):
            for column, values in zip(columns, (hi, lo, (begins[:-1] + at).astype(np.uint64)), strict=True):
                column.append(values)
            if len(piece):
                pieces.append(piece)
            at += len(piece)
            rows += len(hi)
        return pieces, [np.concatenate(column) if column else np.zeros(0, np.uint64) for column in columns], rows

    def _keys(self, layout: Layout, cells: Cells) -> tuple[Words, Words]:
        return mix_keys(decode_aliases(cells)[0] if layout.key.kind == "alias" else raw_keys(cells)[0])

    def _write(
        self, name: str, found: Register, load: Load, sent: bytes, blocks: list[npt.NDArray[np.uint8]],
        keys: list[Words], rows: int,
    ) -> Load:  # fmt: skip
        pieces = []
        at = load.rows_bytes
        with self._store.write_file(load.rows_file, load.rows_bytes) as handle:
            for block in blocks:
                write_all(handle, block)
                pieces.append(Piece(at, len(block), xxhash.xxh3_64_intdigest(block.data)))
                at += len(block)
        order = order_keys(keys[0], keys[1])
        with self._store.write_file(load.keys_file, load.keys_bytes) as handle:
            written = write_blocks(handle, load.keys_bytes, iter([[column[order] for column in keys]] if rows else []))
        load = msgspec.structs.replace(
            load, chunks=load.chunks + 1, rows=load.rows + rows, rows_bytes=at,
            keys_bytes=load.keys_bytes + 8 * _COLUMNS * rows,
        )  # fmt: skip
        with self._store.commit() as commit:
            chunk = Chunk(sent, rows, pieces, written)
            commit.put_sealed(CHUNKS, _chunk_key(name, load.chunks), msgspec.msgpack.encode(chunk))
            self._put(commit, Register(found.layout, found.generation, load))
        return load

    def finish(self, name: str, load_id: str, chunks: int, now: int) -> LoadState:
        """See ``Agency.finish_load``."""
        with self._store.writer:
            found = self._register(name)
            if found.generation is not None and found.generation.load_id == load_id:
                if found.generation.chunks != chunks:
                    raise RequestError(f"{name}: expected {found.generation.chunks} chunks, got {chunks}")
                return state_of(name, found.generation)
            load = self._load(found, load_id)
            if load.chunks != chunks:
                raise RequestError(f"{name}: expected all of {chunks} chunks to be there, got {load.chunks}")
            kept = [self._chunk(name, number) for number in range(1, chunks + 1)]
            keys = Run(load.keys_file, 0, _COLUMNS, [block for chunk in kept for block in chunk.keys])
            doubles = _Doubles(kept)
            with self._store.commit() as commit:
                (number,) = self._store.next_files(commit, 1)
                with self._store.write_file(number, 0) as handle:
                    blocks = write_blocks(handle, 0, merge_runs(self._maps, [keys], doubles.judge))
                doubles.check(name)
                generation = Generation(
                    load_id, load.layout, load.rows_file, load.rows_bytes, load.rows, chunks,
                    [piece for chunk in kept for piece in chunk.pieces], Run(number, 0, _COLUMNS, blocks),
                    hashlib.sha256(b"".join(chunk.digest for chunk in kept)).digest(), now,
                )  # fmt: skip
                for one in range(1, chunks + 1):
                    commit.delete(CHUNKS, _chunk_key(name, one))
                self._put(commit, Register(found.layout, generation, None))
            gone = [load.keys_file]
            if found.generation is not None:
                gone += [found.generation.rows_file, found.generation.index.file]
            self._maps.forget(gone)
            self._store.remove_files(gone)
            return state_of(name, generation)

    def abandon(self, name: str, load_id: str) -> None:
        """See ``Agency.abandon_load``."""
        with self._store.writer:
            found = self._register(name)
            load = self._load(found, load_id)
            with self._store.commit() as commit:
                for number in range(1, load.chunks + 1):
                    commit.delete(CHUNKS, _chunk_key(name, number))
                self._put(commit, Register(found.layout, found.generation, None))
            self._maps.forget([load.rows_file, load.keys_file])
            self._store.remove_files([load.rows_file, load.keys_file])

    def digests(self, name: str, load_id: str) -> list[bytes]:
        """SHA-256 of each chunk of the load under way that is durable."""
        load = self._load(self._register(name), load_id)
        return [self._chunk(name, number).digest for number in range(1, load.chunks + 1)]

    def _put(self, commit: Any, register: Register) -> None:
        commit.put_sealed(REGISTERS, register.layout.name.encode(), msgspec.msgpack.encode(register))

    def _register(self, name: str) -> Register:
        with self._store.read() as reader:
            found = read_register(reader, name) if isinstance(name, str) else None
        if found is None:
            raise RequestError("register: expected one that was declared, got another name")
        return found

    def _load(self, found: Register, load_id: str) -> Load:
        if found.load is None or found.load.load_id != load_id:
            raise RequestError("load_id: expected the load under way, got another")
        return found.load

    def _chunk(self, name: str, number: int) -> Chunk:
        with self._store.read() as reader:
            value = reader.get(CHUNKS, _chunk_key(name, number))
        if value is None:
            raise StorageError(f"{name}: expected chunk {number}, found none")
        return msgspec.msgpack.decode(value, type=Chunk)

    # -- look up

    def find(self, generation: Generation, hi: Words, lo: Words) -> tuple[npt.NDArray[np.bool_], Pieces]:
        """The rows of keys: bool[N] found, and where the parts of those that were found stand, in their order.

        Raises:
            StorageError: a piece is damaged or missing.
        """
        found, (at,) = find_keys(self._maps, [generation.index], hi, lo)
        places = at[found].astype(np.int64)
        file = self._maps.of(generation.rows_file).upto(generation.rows_bytes)
        self._check(generation, places)
        return found, find_parts(file, places, len(generation.layout.items))

    def file(self, generation: Generation) -> mmap.mmap | None:
        """The rows of a generation; None where it has none."""
        mapped = self._maps.of(generation.rows_file)
        mapped.upto(generation.rows_bytes)
        return mapped.map

    def _check(self, generation: Generation, places: npt.NDArray[np.int64]) -> None:
        begins = np.array([piece.at for piece in generation.pieces], dtype=np.int64)
        mapped = self._maps.of(generation.rows_file)
        for number in np.unique(np.searchsorted(begins, places, side="right") - 1).tolist():
            piece = generation.pieces[number]
            mapped.check(piece.at, piece.bytes, piece.sum)


class _Doubles:
    """Finds people of whom a load has several rows."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._begins = [chunk.pieces[0].at if chunk.pieces else -1 for chunk in chunks]
        self._rows = 0
        self._at = 0

    def __repr__(self) -> str:
        return f"_Doubles({self._rows})"

    def judge(self, columns: list[Words]) -> list[Words]:
        """Count them."""
        hi, lo, at = columns
        twice = np.flatnonzero((hi[1:] == hi[:-1]) & (lo[1:] == lo[:-1])) + 1
        if len(twice):
            first = int(at[twice].min())
            self._at = min(self._at, first) if self._rows else first
            self._rows += len(twice)
        return columns

    def check(self, name: str) -> None:
        """Refuse the load where there are any.

        Raises:
            RequestError: with their number, and the first chunk that has one.
        """
        if self._rows:
            chunk = max(number for number, begin in enumerate(self._begins, 1) if 0 <= begin <= self._at)
            raise RequestError(
                f"{name}: expected one row a person, got {self._rows} more, the first in chunk {chunk}:"
                " abandon the load and send it without them"
            )


def _in_turn(workers: Workers, call: Callable[[Judged], T], rows: Iterator[Judged]) -> Iterator[T]:
    """Results in the order of the rows, while this thread judges the next ones."""
    ahead: deque[Future[T]] = deque()
    try:
        for some in rows:
            ahead.append(workers.submit(call, some))
            if len(ahead) > workers.threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            if not future.cancel():
                future.exception()


def _chunk_key(name: str, number: int) -> bytes:
    return name.encode() + b"\0" + number.to_bytes(4, "big")


def state_of(name: str, found: Load | Generation) -> LoadState:
    """How a load or a generation stands."""
    return LoadState(
        register=name, load_id=found.load_id, chunks=found.chunks, rows=found.rows,
        complete=isinstance(found, Generation),
    )  # fmt: skip


def _digest(data: Any) -> bytes:
    """SHA-256 of a chunk: of its bytes, or of its columns: of each its name, cells and their ends."""
    if isinstance(data, bytes | bytearray | memoryview):
        if len(data) > LOAD_CHUNK_BYTES_MAX:
            raise RequestError(f"chunk: expected at most {LOAD_CHUNK_BYTES_MAX} bytes, got {len(data)}")
        return hashlib.sha256(data).digest()
    if not isinstance(data, list) or not all(isinstance(block, dict) for block in data):
        raise RequestError("chunk: expected bytes of a CSV, or a list of columns by name, got something else")
    found = hashlib.sha256()
    for block in data:
        for name, cells in block.items():
            sizes = cells.end - cells.start
            found.update(name.encode() + b"\0" + len(sizes).to_bytes(8, "little") + sizes.astype("<i8").tobytes())
            whole = len(sizes) and int(cells.end[-1]) - int(cells.start[0]) == int(sizes.sum())
            if whole:
                found.update(cells.buffer[int(cells.start[0]) : int(cells.end[-1])].data)
            else:
                for low, high in zip(cells.start.tolist(), cells.end.tolist(), strict=True):
                    found.update(cells.buffer[low:high].data)
    return found.digest()
