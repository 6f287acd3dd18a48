"""The bodies of records: how a chunk of them is laid out, checked and read.

Chunk of records: one value in ``records`` under the u64 index (big endian) of its first record, little endian inside:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 of bytes 8 to 64 |
| 8 | u64 | xxh3-64 of the value from byte 64 on |
| 16 | u32 | magic, "HRC1" |
| 20 | u32 | n, records in it, 1 to 65,536 |
| 24 | u64 | index of the first, the same as the key |
| 32 | i64 | when the hub received the inquiry, seconds since 1970 |
| 40 | u32 | s, bytes of the shared fields |
| 44 | 20 | 0 |
| 64 | s | shared fields, MessagePack array, see :class:`Shared` |
| next multiple of 8 | n x u64 | person key, ascending: first half of AES-256(records key, person as u32, zeros) |
| | n x u32 | person check: the next four bytes of the same |
| | n x u16 | provider, institution number |
| | n x u16 | decision: entry of the shared fields' decisions |
| | n x u8 | outcome, a ``Status`` |

Records of a chunk stand in person-key order: their order says nothing about the requester's rows.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub.errors import StorageError
from hub.snapshot import Snapshot

MAGIC = 0x31435248  # "HRC1"
HEAD = struct.Struct("<QQIIQqI20x")
HEAD_BYTES = 64
ROW_BYTES = 17


class Shared(msgspec.Struct, array_like=True, frozen=True):
    """What all records of a chunk have in common.

    Attributes:
        kind: ``Kind``. inquiry: 8 random bytes, the same in all chunks of an inquiry.
        catalog: SHA-256 of the catalog that decided, hex.
        rule, reason, legal_basis: of each decision.
        cases: a case number for each record, in record order, or None.
    """

    kind: int
    inquiry: bytes
    requester: str
    on_behalf_of: str | None
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    operator: str | None
    reference_date: str | None
    catalog: str
    rule: list[int]
    reason: list[int]
    legal_basis: list[str]
    cases: list[str | None] | None


def columns_at(shared_bytes: int) -> int:
    """Where the columns of a chunk begin."""
    return HEAD_BYTES + (shared_bytes + 7) // 8 * 8


def lay_out(
    shared: bytes,
    person_keys: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    decision: npt.NDArray[np.uint16],
    outcome: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """A chunk as it is stored, but for its place in the log and its time.

    Args:
        shared: the common fields, encoded. person_keys: uint8[N, 16], ascending by their first half.
        providers, decision, outcome: a column each, in the same order.
    """
    n, start = len(person_keys), columns_at(len(shared))
    value = np.zeros(start + ROW_BYTES * n, dtype=np.uint8)
    value[HEAD_BYTES : HEAD_BYTES + len(shared)] = np.frombuffer(shared, dtype=np.uint8)
    words = person_keys.view(np.uint32)
    value[start : start + 8 * n].view(np.uint64)[:] = person_keys.view(np.uint64)[:, 0]
    value[start + 8 * n : start + 12 * n].view(np.uint32)[:] = words[:, 2]
    value[start + 12 * n : start + 14 * n].view(np.uint16)[:] = providers
    value[start + 14 * n : start + 16 * n].view(np.uint16)[:] = decision
    value[start + 16 * n :] = outcome
    body_sum = xxhash.xxh3_64_intdigest(value[HEAD_BYTES:].data)
    HEAD.pack_into(value.data, 0, 0, body_sum, MAGIC, n, 0, 0, len(shared))
    return value


def set_place(value: npt.NDArray[np.uint8], first: int, received_at: int) -> None:
    """Enter a chunk's place in the log and its time, and put the checksum over its head."""
    view = value.data
    _, body, magic, rows, _, _, shared = HEAD.unpack_from(view)
    HEAD.pack_into(view, 0, 0, body, magic, rows, first, received_at, shared)
    struct.pack_into("<Q", view, 0, xxhash.xxh3_64_intdigest(view[8:HEAD_BYTES]))


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
