"""The bodies of records: how a chunk of them is laid out, encrypted, checked and read.

A chunk is one value in ``records`` under the u64 index (big endian) of its first record, little endian inside. Keys and
what they are for stand in docs/log.md; rows and fields are encrypted under the period's.

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 of "records", 0, the key and bytes 8 to r |
| 8 | u32 | magic, "HRC2" |
| 12 | u32 | n, records in it, 1 to 65,536 |
| 16 | u64 | index of the first, the same as the key |
| 24 | u64 | generation: number of the commit that wrote it |
| 32 | i64 | hub time of that commit, seconds since 1970 |
| 40 | u32 | s, bytes of the fields |
| 44 | u16 | period |
| 46 | u16 | 0 |
| 48 | 12 | nonce |
| 60 | u32 | 0 |
| 64 | s | fields, encrypted: MessagePack array, see :class:`Fields` |
| next multiple of 8 | ceil(n / 256) x u64 | xxh3-64 of each 256 rows as stored |
| r | n x 16 | rows, encrypted, in the order of their person keys |

Row, before it is encrypted (AES-256-CTR, one block a row):

| at | type | what |
|---|---|---|
| 0 | u32 | person |
| 4 | u16 | provider, institution number; 0 = none |
| 6 | u16 | decision: entry of the fields' decisions |
| 8 | u8 | outcome, a ``Status`` |
| 9 | u8 | kind, a ``Kind`` |
| 10 | u48 | 1 + index of the record that this one follows, 0 = none |

A reader of one record checks the head with the fields and sums, and the 4 KiB of rows that its own stands in.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub import _bodies
from hub._bodies import Body
from hub.errors import StorageError
from hub.storage.periods import PeriodKey, PeriodKeys, period_name
from hub.storage.snapshot import Snapshot
from hub.tlog.entry import Shared, decode_shared, hash_shared

MAGIC = 0x32435248  # "HRC2"
HEAD = struct.Struct("<QIIQQqIHH12sI")
HEAD_BYTES = 64
ROW_BYTES = 16
ROWS_PER_PIECE = 256
HEADS_KEPT = 4_096
DECISIONS_KEPT = 32_768
"""Chunks, and decisions in them, whose head and fields a process keeps decoded: about 2 KB a decision. A group of small
inquiries has a decision for each."""

ROW = np.dtype(
    [
        ("person", "<u4"),
        ("provider", "<u2"),
        ("decision", "<u2"),
        ("outcome", "u1"),
        ("kind", "u1"),
        ("link", "<u2", (3,)),
    ]
)
assert ROW.itemsize == ROW_BYTES

_PREFIX = b"records\0"


class KeyGoneError(StorageError):
    """The key of a record's period is not there (any more): what was erased cannot be read."""


class Place(NamedTuple):
    """What a chunk's head says in the clear: index of its first record, records, period, time of the commit."""

    first: int
    rows: int
    period: int
    time: int


class Fields(msgspec.Struct, array_like=True, frozen=True):
    """What the records of a chunk have in common.

    Attributes:
        shared: of each decision what the citizen may read, encoded, see ``tlog/entry.py``.
        times: of each decision (requested at, provided at), seconds since 1970, 0 = not.
        blind: 32 random bytes, from which each decision's own are made.
        supervised: for supervisors, of each decision or one for all of them: MessagePack :class:`Supervised`; shared
            fields commit to it, see :func:`supervise`.
        moments: of each decision, seconds since 1970: when the permit that its records leave lapses; of a provision
            when the requester sees it, 0 = at once; 0 = neither. Empty where all are 0.
    """

    shared: list[bytes]
    times: list[tuple[int, int]]
    blind: bytes
    supervised: list[bytes]
    moments: list[int] = []


class Joined(NamedTuple):
    """Fields that were encoded, as the one who made them hands them on.

    Attributes:
        encoded: MessagePack of :class:`Fields`. shared_hashes: uint8[K, 32], what entries commit to of each decision.
        requested_at: of all of them, seconds since 1970; nothing of it was provided.
    """

    encoded: bytes
    shared_hashes: npt.NDArray[np.uint8]
    requested_at: int

    def __repr__(self) -> str:
        return f"Joined(decisions={len(self.shared_hashes)})"

    def fields(self) -> Fields:
        """What they were encoded from."""
        return msgspec.msgpack.decode(self.encoded, type=Fields)


class Supervised(msgspec.Struct, array_like=True, frozen=True):
    """What only supervisors read of an inquiry.

    Attributes:
        operator: as stated. cases: None or a case number for each record that it covers, in their order.
        classes: labels, where some rows named classes instead of bodies; else it is left out.
    """

    operator: str | None
    cases: list[str | None] | None
    classes: list[str] = []


class Decisions(Sequence[Shared]):
    """Decisions of a chunk, each decoded when it is first asked for: whoever sorts permits needs none of them.

    Raises:
        StorageError: when one is asked for that is not as it should be.
    """

    __slots__ = ("_found", "_hashes", "_raw", "told")

    def __init__(self, raw: Sequence[bytes]) -> None:
        self._raw = raw
        self._found: dict[int, Shared] = {}
        self._hashes: dict[int, bytes] = {}
        self.told: dict[int, Any] = {}
        """What ``disclose.py`` makes of a decision for people to read, the same in every record of it."""

    def __repr__(self) -> str:
        return f"Decisions({len(self._raw)})"

    def __len__(self) -> int:
        return len(self._raw)

    @overload
    def __getitem__(self, at: int) -> Shared: ...
    @overload
    def __getitem__(self, at: slice) -> list[Shared]: ...
    def __getitem__(self, at: int | slice) -> Shared | list[Shared]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self._raw)))]
        found = self._found.get(at)
        if found is None:
            found = self._found[at] = decode_shared(self._raw[at])
        return found

    def hash_of(self, at: int) -> bytes:
        """What the entries of a decision commit to, 32 bytes."""
        found = self._hashes.get(at)
        if found is None:
            found = self._hashes[at] = hash_shared(self._raw[at])
        return found


class Chunk(NamedTuple):
    """The head of a chunk, checked and decrypted.

    Attributes:
        first, rows: index of its first record, and how many it has. period, time, nonce: see the byte table.
        fields: as stored. shared: their decisions, decoded when first asked for.
        rows_at: where the rows begin. sums: of each 256 rows, 8 bytes each, as stored.
    """

    first: int
    rows: int
    period: int
    time: int
    nonce: bytes
    fields: Fields
    shared: Decisions
    rows_at: int
    sums: bytes

    def __repr__(self) -> str:
        return f"Chunk(first={self.first}, rows={self.rows})"

    def by_class(self, decision: int) -> bool:
        """Whether its requester named classes: which body that was may not be told to it."""
        supervised = self.fields.supervised
        # An array of three: what it holds need not be decoded, it may be a case number for each record.
        return supervised[decision if len(supervised) > 1 else 0][0] == 0x93

    @property
    def shared_hashes(self) -> npt.NDArray[np.uint8]:
        """uint8[K, 32]: what the entries of each decision commit to."""
        return np.frombuffer(b"".join(map(hash_shared, self.fields.shared)), np.uint8).reshape(-1, 32)

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """int64[K, 2]: requested and provided at, of each decision."""
        return np.array(self.fields.times, dtype=np.int64).reshape(-1, 2)


def link_of(row: np.void) -> int | None:
    """Index of the record that a record (a ``ROW``) follows, or None."""
    low, middle, high = row["link"].tolist()
    return (low | middle << 16 | high << 32) - 1 if low or middle or high else None


def links_of(table: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Of each record (``ROW``[N]) the index of the one that it follows, or -1: int64[N]."""
    link = table["link"].astype(np.int64)
    return (link[:, 0] | link[:, 1] << 16 | link[:, 2] << 32) - 1


def pack_link(index: int) -> tuple[int, int, int]:
    """The link of a row that follows this record."""
    link = index + 1
    return link & 0xFFFF, link >> 16 & 0xFFFF, link >> 32


class Located(NamedTuple):
    """Where one record stands: the chunk, and its position there."""

    chunk: Chunk
    position: int


def supervise(blind: bytes, decision: int, supervised: bytes) -> bytes:
    """What shared fields say of what only supervisors read: nobody can guess it back without the blinding.

    Each decision has a blinding of its own: to open one to its requester tells nothing of the others in the chunk.
    """
    own = hashlib.sha256(b"hub/blind/1" + blind + decision.to_bytes(4, "little")).digest()
    return hashlib.sha256(b"hub/supervised/1" + own + supervised).digest()


def lay_out(
    key: PeriodKey, nonce: bytes, fields: Fields | Joined, rows: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """A chunk as it is stored, but for its place in the log: uint8.

    Args:
        rows: uint8[N, 16], in the order of their person keys, not encrypted.
    """
    n = len(rows)
    plain = fields.encoded if isinstance(fields, Joined) else msgspec.msgpack.encode(fields)
    encrypted = key.crypt_fields(nonce, plain)
    sums_at = _padded(HEAD_BYTES + len(encrypted))
    rows_at = sums_at + 8 * -(-n // ROWS_PER_PIECE)
    value = np.zeros(rows_at + ROW_BYTES * n, dtype=np.uint8)
    value[HEAD_BYTES : HEAD_BYTES + len(encrypted)] = np.frombuffer(encrypted, dtype=np.uint8)
    value[rows_at:] = key.crypt_rows(nonce, rows).reshape(-1)
    step = ROW_BYTES * ROWS_PER_PIECE
    sums = [xxhash.xxh3_64_intdigest(value[at : at + step].data) for at in range(rows_at, len(value), step)]
    value[sums_at:rows_at] = np.array(sums, dtype="<u8").view(np.uint8)
    HEAD.pack_into(value.data, 0, 0, MAGIC, n, 0, 0, 0, len(encrypted), key.period, 0, nonce, 0)
    return value


def set_place(value: npt.NDArray[np.uint8], first: int, generation: int, time: int) -> None:
    """Enter a chunk's place in the log, and put the checksum over its head."""
    view = value.data
    _, magic, n, _, _, _, fields_bytes, period, _, nonce, _ = HEAD.unpack_from(view)
    HEAD.pack_into(view, 0, 0, magic, n, first, generation, time, fields_bytes, period, 0, nonce, 0)
    struct.pack_into("<Q", view, 0, _head_sum(first.to_bytes(8, "big"), view[8 : _rows_at(n, fields_bytes)]))


def _padded(at: int) -> int:
    return (at + 7) // 8 * 8


def _rows_at(rows: int, fields_bytes: int) -> int:
    return _padded(HEAD_BYTES + fields_bytes) + 8 * -(-rows // ROWS_PER_PIECE)


def _head_sum(key: bytes, rest: memoryview) -> int:
    digest = xxhash.xxh3_64(_PREFIX + key)
    digest.update(rest)
    return digest.intdigest()


def _value_before(snapshot: Snapshot, index: int) -> tuple[bytes, memoryview]:
    """Key and value of the chunk with the largest first index not above this one; the value is as long as a head."""
    found = snapshot.pages.at_or_before(b"records", index.to_bytes(8, "big"))
    if found is None or len(found[0]) != 8:
        raise StorageError(f"record {index}: expected a chunk, got none")
    if len(found[1]) < HEAD_BYTES:
        raise StorageError(
            f"records from {int.from_bytes(found[0], 'big')}: expected a chunk, got {len(found[1])} bytes"
        )
    return found


def _check_head(key: bytes, value: memoryview) -> int:
    """Check a chunk's length and the checksum over its head; returns where its rows begin."""
    head_sum, magic, n, place, _, _, fields_bytes, _, _, _, _ = HEAD.unpack_from(value)
    rows_at = _rows_at(n, fields_bytes)
    if (
        magic != MAGIC
        or place != int.from_bytes(key, "big")
        or len(value) != rows_at + ROW_BYTES * n
        or head_sum != _head_sum(key, value[8:rows_at])
    ):
        first = int.from_bytes(key, "big")
        raise StorageError(f"records from {first}: expected the stored checksum, got a damaged head")
    return rows_at


def read_place(snapshot: Snapshot, index: int) -> Place:
    """What the head of the chunk at or before an index says in the clear; needs no key.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    key, value = _value_before(snapshot, index)
    _check_head(key, value)
    _, _, n, first, _, time, _, period, _, _, _ = HEAD.unpack_from(value)
    return Place(first, n, period, time)


class Heads:
    """The heads of chunks that a process has read lately; shared by its snapshots, since a chunk never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[int, Chunk]] = OrderedDict()
        self._decisions = 0
        self._lock = threading.Lock()

    def find(self, first: int, head_sum: int) -> Chunk | None:
        """The chunk with this first index, if what is kept has this checksum."""
        found = self._kept.get(first)
        return found[1] if found is not None and found[0] == head_sum else None

    def keep(self, head_sum: int, chunk: Chunk) -> None:
        """Keep one more, and let the oldest go."""
        with self._lock:
            before = self._kept.pop(chunk.first, None)
            if before is not None:
                self._decisions -= len(before[1].shared)
            self._kept[chunk.first] = head_sum, chunk
            self._decisions += len(chunk.shared)
            while len(self._kept) > 1 and (len(self._kept) > HEADS_KEPT or self._decisions > DECISIONS_KEPT):
                self._decisions -= len(self._kept.popitem(last=False)[1][1].shared)

    def forget(self, period: int) -> None:
        """Let go of all chunks of a period whose key is gone."""
        for first, (_, chunk) in list(self._kept.items()):
            if chunk.period == period:
                self._kept.pop(first, None)


class Bodies:
    """Reads the bodies of one snapshot."""

    def __init__(self, snapshot: Snapshot, periods: PeriodKeys, heads: Heads) -> None:
        self._snapshot = snapshot
        self._periods = periods
        self._heads = heads
        self._found: dict[int, PeriodKey] = {}

    def locate(self, index: int) -> Located:
        """Find the chunk that a record stands in.

        Raises:
            StorageError: there is none, or it is damaged. KeyGoneError: its period was erased.
        """
        chunk, _ = self._chunk_before(index)
        if not chunk.first <= index < chunk.first + chunk.rows:
            raise StorageError(f"record {index}: expected a chunk that holds it, got none")
        return Located(chunk, index - chunk.first)

    def is_erased(self, index: int) -> bool:
        """Whether nothing of a record can be read any more: its period's key is gone, or its chunk has left too.

        Raises:
            StorageError: its chunk is damaged.
        """
        if self._snapshot.pages.at_or_before(b"records", index.to_bytes(8, "big")) is None:
            # Periods are erased oldest first: what lies before the first chunk was.
            return True
        return not self.readable(index)

    def readable(self, index: int) -> bool:
        """Whether the key of a record's period is there.

        Raises:
            StorageError: no chunk holds it, or it is damaged.
        """
        try:
            self.locate(index)
        except KeyGoneError:
            return False
        return True

    def key_of(self, chunk: Chunk) -> PeriodKey:
        """The key of a chunk's period.

        Raises:
            KeyGoneError: it is gone.
        """
        return self._key(chunk.period, chunk.first)

    def _key(self, period: int, first: int) -> PeriodKey:
        # Asked of the file once a reader and period, so that a page of history is all of one state: no chunk that was
        # read before is served once the key is gone, whoever unlinked it.
        key = self._found.get(period) or self._periods.of(period)
        if key is None:
            self._heads.forget(period)
            raise KeyGoneError(f"records from {first}: expected the key of {period_name(period)}, got none")
        self._found[period] = key
        return key

    def read(self, indexes: Sequence[int]) -> list[Body]:
        """Some records, in the order of their indexes.

        Where the disk has to be waited for, it is asked for all heads and then all rows at once.

        Raises:
            StorageError: a chunk's head or the rows around one are damaged, or a period's key is gone.
        """
        wanted = list(indexes)
        chunks, rows = self._read(wanted)
        return _bodies.bodies_of(wanted, chunks, rows)

    def rows(self, indexes: Sequence[int]) -> npt.NDArray[np.void]:
        """As :meth:`read`, but only the rows: ``ROW``[N]."""
        return self._read(list(indexes))[1].view(ROW)[:, 0]

    def _read(self, indexes: list[int]) -> tuple[list[Chunk], npt.NDArray[np.uint8]]:
        """Chunks and decrypted rows, uint8[N, 16], of some records."""
        chunks, counters, stored = _bodies.read_rows(self._snapshot.pages, indexes, self._heads.find, self._check_head)
        return chunks, self._by_period(chunks, lambda key, at: key.decrypt_rows_at(counters[at], stored[at]))

    def read_kept(self, indexes: Sequence[int]) -> tuple[list[int], list[Body]]:
        """:meth:`read` of those records that were not erased, and their places among the indexes.

        Raises:
            StorageError: as of :meth:`read`, but for a key that is gone.
        """
        kept = self._snapshot.items("records", b"", limit=1)
        # Periods are erased oldest first: what lies before the first chunk was.
        begin = int.from_bytes(kept[0][0], "big") if kept else 1 << 64
        places = [at for at, index in enumerate(indexes) if index >= begin]
        try:
            return places, self.read([indexes[at] for at in places])
        except KeyGoneError:
            places = [at for at in places if self.readable(indexes[at])]
            return places, self.read([indexes[at] for at in places])

    def salts(self, bodies: list[Body]) -> npt.NDArray[np.uint8]:
        """The salts of some records: uint8[N, 16]."""
        counters = _bodies.counters_of(bodies)
        return self._by_period([one.chunk for one in bodies], lambda key, at: key.salts_at(counters[at]))

    def _by_period(
        self, chunks: list[Chunk], call: Callable[[PeriodKey, Any], npt.NDArray[np.uint8]]
    ) -> npt.NDArray[np.uint8]:
        """Call with each period's key and the places of its records; the results in order, uint8[N, 16]."""
        periods = [chunk.period for chunk in chunks]
        if not periods:
            return np.empty((0, ROW_BYTES), dtype=np.uint8)
        if periods.count(periods[0]) == len(periods):
            return call(self.key_of(chunks[0]), slice(None))
        out = np.empty((len(chunks), ROW_BYTES), dtype=np.uint8)
        of_all = np.array(periods)
        for period in set(periods):
            at = np.flatnonzero(of_all == period)
            out[at] = call(self.key_of(chunks[at[0]]), at)
        return out

    def whole(self, first: int) -> tuple[Chunk, npt.NDArray[np.uint8]]:
        """A chunk and all its rows, decrypted: uint8[N, 16].

        Raises:
            StorageError: it is damaged.
        """
        chunk, value = self._chunk_before(first)
        if chunk.first != first:
            raise StorageError(f"records from {first}: expected a chunk, got none")
        step = ROW_BYTES * ROWS_PER_PIECE
        for piece, at in enumerate(range(chunk.rows_at, len(value), step)):
            self._check_piece(chunk, piece, value[at : at + step])
        rows = np.frombuffer(value[chunk.rows_at :], dtype=np.uint8).reshape(-1, ROW_BYTES)
        return chunk, self.key_of(chunk).crypt_rows(chunk.nonce, np.ascontiguousarray(rows))

    def plain(self, first: int) -> tuple[Fields, npt.NDArray[np.uint8]]:
        """Fields and rows of a chunk as :meth:`whole` has them, but nothing of the fields decoded or kept.

        Raises:
            StorageError: it is damaged.
        """
        key, value = self._place(first)
        if int.from_bytes(key, "big") != first:
            raise StorageError(f"records from {first}: expected a chunk, got none")
        rows_at = _check_head(key, value)
        _, _, _, _, _, _, fields_bytes, period, _, nonce, _ = HEAD.unpack_from(value)
        own = self._key(period, first)
        sums = np.frombuffer(value[_padded(HEAD_BYTES + fields_bytes) : rows_at], dtype="<u8").tolist()
        step = ROW_BYTES * ROWS_PER_PIECE
        for at, expected in zip(range(rows_at, len(value), step), sums, strict=True):
            if xxhash.xxh3_64_intdigest(value[at : at + step]) != expected:
                raise StorageError(f"records from {first}: expected the stored checksum, got damaged rows")
        encrypted = bytes(value[HEAD_BYTES : HEAD_BYTES + fields_bytes])
        try:
            fields = msgspec.msgpack.decode(own.crypt_fields(nonce, encrypted), type=Fields)
        except msgspec.DecodeError as error:
            raise StorageError(f"records from {first}: expected shared fields, got something else") from error
        rows = np.frombuffer(value[rows_at:], dtype=np.uint8).reshape(-1, ROW_BYTES)
        return fields, own.crypt_rows(nonce, np.ascontiguousarray(rows))

    def _check_piece(self, chunk: Chunk, piece: int, rows: memoryview) -> None:
        if xxhash.xxh3_64_intdigest(rows) != int.from_bytes(chunk.sums[8 * piece : 8 * piece + 8], "little"):
            first = chunk.first + piece * ROWS_PER_PIECE
            raise StorageError(f"records from {chunk.first}: expected the stored checksum, got damaged rows at {first}")

    def _chunk_before(self, index: int) -> tuple[Chunk, memoryview]:
        """The chunk with the largest first index not above this one, and its value."""
        key, value = self._place(index)
        return self._check_head(key, value), value

    def _place(self, index: int) -> tuple[bytes, memoryview]:
        """Key and value of the chunk with the largest first index not above this one; the value was not touched."""
        return _value_before(self._snapshot, index)

    def _check_head(self, key: bytes, value: memoryview) -> Chunk:
        first = int.from_bytes(key, "big")
        head_sum, _, n, _, _, time, fields_bytes, period, _, nonce, _ = HEAD.unpack_from(value)
        kept = self._heads.find(first, head_sum)
        if kept is not None and kept.rows == n and len(value) == kept.rows_at + ROW_BYTES * n:
            self._key(kept.period, first)
            return kept
        rows_at = _check_head(key, value)
        encrypted = bytes(value[HEAD_BYTES : HEAD_BYTES + fields_bytes])
        sums = bytes(value[_padded(HEAD_BYTES + fields_bytes) : rows_at])
        chunk = self._decode(first, n, period, time, nonce, encrypted, rows_at, sums)
        self._heads.keep(head_sum, chunk)
        return chunk

    def _decode(
        self, first: int, rows: int, period: int, time: int, nonce: bytes, encrypted: bytes, rows_at: int, sums: bytes
    ) -> Chunk:
        key = self._key(period, first)
        try:
            fields = msgspec.msgpack.decode(key.crypt_fields(nonce, encrypted), type=Fields)
        except msgspec.DecodeError as error:
            raise StorageError(f"records from {first}: expected shared fields, got something else") from error
        return Chunk(first, rows, period, time, nonce, fields, Decisions(fields.shared), rows_at, sums)
