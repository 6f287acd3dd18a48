"""Which records are about whom.

Two ways in, merged newest first: records of small chunks have an entry each in ``points``; a chunk of more than 256
records is searched by its own person-key column, which is sorted (a few steps a chunk, however many rows it has).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub.errors import StorageError
from hub.record import HEAD, HEAD_BYTES, MAGIC, ROW_BYTES, Shared, columns_at
from hub.snapshot import Snapshot


class Chunk:
    """A chunk of records, checked, over the map; valid as long as its snapshot.

    Attributes:
        first: index of its first record. received_at: seconds since 1970. rows: records in it.
        key: uint64[rows], the first half of each record's person key.
    """

    __slots__ = ("_raw", "_shared", "_shared_bytes", "_start", "first", "key", "received_at", "rows")

    def __init__(self, raw: npt.NDArray[np.uint8], first: int, received_at: int, rows: int, shared_bytes: int) -> None:
        self.first = first
        self.received_at = received_at
        self.rows = rows
        self._raw = raw
        self._shared: Shared | None = None
        self._shared_bytes = shared_bytes
        self._start = columns_at(shared_bytes)
        self.key = raw[self._start : self._start + 8 * rows].view(np.uint64)

    def __repr__(self) -> str:
        return f"Chunk(first={self.first}, rows={self.rows})"

    @property
    def shared(self) -> Shared:
        """The common fields; decoded when first asked for, since most chunks are only searched."""
        if self._shared is None:
            try:
                fields = self._raw[HEAD_BYTES : HEAD_BYTES + self._shared_bytes].data
                self._shared = msgspec.msgpack.decode(fields, type=Shared)
            except msgspec.DecodeError as error:
                raise StorageError(f"records from {self.first}: expected shared fields, got something else") from error
        return self._shared

    def person_key(self, position: int) -> bytes:
        """The 12 bytes of person key of one record."""
        at, check = self._start + 8 * position, self._start + 8 * self.rows + 4 * position
        return self._raw[at : at + 8].tobytes() + self._raw[check : check + 4].tobytes()

    def provider(self, position: int) -> int:
        """The provider's institution number of one record."""
        return self._u16(12, position)

    def decision(self, position: int) -> int:
        """The entry of the shared fields' decisions of one record."""
        return self._u16(14, position)

    def outcome(self, position: int) -> int:
        """The ``Status`` of one record."""
        return int(self._raw[self._start + 16 * self.rows + position])

    def _u16(self, before: int, position: int) -> int:
        at = self._start + before * self.rows + 2 * position
        return int(self._raw[at]) | int(self._raw[at + 1]) << 8


class Chunks:
    """Reads chunks of one snapshot.

    ``known`` are the chunks that this process has checked before, by first index and checksum: a chunk is never
    changed, so its checksum is taken once.
    """

    def __init__(self, snapshot: Snapshot, known: dict[int, int]) -> None:
        self.snapshot = snapshot
        self.known = known

    def read(self, key: bytes, value: Any) -> Chunk:
        """Check a chunk and lay its columns open.

        Raises:
            StorageError: it is damaged or belongs elsewhere; nothing is served from it.
        """
        first = int.from_bytes(key, "big")
        view = memoryview(value)
        raw = np.frombuffer(view, dtype=np.uint8)
        if len(raw) < HEAD_BYTES:
            raise StorageError(f"records from {first}: expected a chunk, got {len(raw)} bytes")
        head_sum, body_sum, magic, n, index, received_at, shared_bytes = HEAD.unpack_from(view)
        start = columns_at(shared_bytes)
        if (
            head_sum != xxhash.xxh3_64_intdigest(view[8:HEAD_BYTES])
            or magic != MAGIC
            or index != first
            or len(raw) != start + ROW_BYTES * n
        ):
            raise StorageError(f"records from {first}: expected the stored checksum, got a damaged head")
        if self.known.get(first) != head_sum:
            if body_sum != xxhash.xxh3_64_intdigest(view[HEAD_BYTES:]):
                raise StorageError(f"records from {first}: expected the stored checksum, got a damaged chunk")
            self.known[first] = head_sum
        return Chunk(raw, first, received_at, n, shared_bytes)

    def holding(self, index: int) -> Chunk:
        """The chunk that a record stands in."""
        with self.snapshot.txn.cursor(db=self.snapshot.databases["records"]) as cursor:
            found = cursor.set_range(index.to_bytes(8, "big"))
            if (not found or bytes(cursor.key()) != index.to_bytes(8, "big")) and not (
                cursor.prev() if found else cursor.last()
            ):
                raise StorageError(f"record {index}: expected a chunk, got none")
            chunk = self.read(bytes(cursor.key()), cursor.value())
        if not chunk.first <= index < chunk.first + chunk.rows:
            raise StorageError(f"record {index}: expected a chunk that holds it, got none")
        return chunk


def find_records(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[Chunk, int]]:
    """The records about a person with an index under ``below``, newest first: (chunk, position in it).

    Args:
        person_key: the first 12 of the 16 bytes of ``Keys.person_keys``.
    """
    both = heapq.merge(
        _in_points(chunks, person_key, below), _in_bulk(chunks, person_key, below), key=lambda entry: -entry[0]
    )
    for index, chunk in both:
        holder = chunk if chunk is not None else chunks.holding(index)
        position = index - holder.first
        if holder.person_key(position) != person_key:
            raise StorageError(f"record {index}: expected the person of the index, got another")
        yield holder, position


def _in_points(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[int, Chunk | None]]:
    snapshot = chunks.snapshot
    with snapshot.txn.cursor(db=snapshot.databases["points"]) as cursor:
        more = cursor.prev() if cursor.set_range(person_key + below.to_bytes(8, "big")) else cursor.last()
        while more and bytes(cursor.key()[:12]) == person_key:
            yield int.from_bytes(bytes(cursor.key()[12:]), "big"), None
            more = cursor.prev()


def _in_bulk(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[int, Chunk | None]]:
    wanted = np.uint64(int.from_bytes(person_key[:8], "little"))
    snapshot = chunks.snapshot
    with snapshot.txn.cursor(db=snapshot.databases["bulk"]) as cursor:
        more = cursor.prev() if cursor.set_range(below.to_bytes(8, "big")) else cursor.last()
        while more:
            key = bytes(cursor.key())
            value = snapshot.get("records", key)
            if value is None:
                raise StorageError(f"records from {int.from_bytes(key, 'big')}: expected a chunk, got none")
            chunk = chunks.read(key, value)
            for position in range(int(chunk.key.searchsorted(wanted, "right")) - 1, -1, -1):
                if chunk.key[position] != wanted:
                    break
                if chunk.first + position < below and chunk.person_key(position) == person_key:
                    yield chunk.first + position, chunk
            more = cursor.prev()
