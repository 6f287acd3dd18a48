"""What providers answered, and what was pushed, kept until it is fetched or expires; never part of a record.

Database ``payloads``, key u64 index of the first record of the chunk of provisions, pushes or updates (big endian),
value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u16 | period of the chunk, under whose key it is encrypted |
| 2 | u16 | 0 |
| 4 | 12 | nonce |
| 16 | i64 | when it was answered or sent, seconds since 1970: when its records were provided, or of a push requested |
| 24 | u32 | n, records of the chunk |
| 28 | u32 | 0 |
| 32 | | encrypted (AES-256-CTR, the period's key of fields, counter block = nonce ‖ u32 0): |
| | n x u32 | bytes of each record's payload, 0xFFFFFFFF = none (any more) |
| | | the payloads, one behind the other |

A value of which all have been fetched goes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import StorageError
from hub.limits import PAYLOAD_DAYS
from hub.storage.periods import NONCE_BYTES, OpenedKeys, PeriodKey, PeriodKeys
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

NAME = "payloads"
NO_PAYLOAD = 0xFFFFFFFF
EXPIRED_AT_A_TIME = 64

_HEAD = struct.Struct("<HH12sqII")
_DAY_S = 86_400


class Packed(NamedTuple):
    """The payloads of a chunk of provisions, ready but for its place in the log; None where it has none."""

    value: bytes

    def __repr__(self) -> str:
        return f"Packed({len(self.value)} bytes)"


class _Opened(NamedTuple):
    head: tuple[int, bytes, int]
    sizes: npt.NDArray[np.uint32]
    begins: npt.NDArray[np.int64]
    content: bytes

    def __repr__(self) -> str:
        return f"_Opened({len(self.sizes)})"


def pack_payloads(key: PeriodKey, payloads: Sequence[bytes | None], now: int) -> Packed | None:
    """Encrypt the payloads of a chunk, in the order of its records; needs no lock."""
    kept = [one for one in payloads if one is not None]
    if not kept:
        return None
    if len(kept) == len(payloads):
        sizes = np.fromiter(map(len, kept), np.uint32, len(kept))
    else:
        sizes = np.fromiter([NO_PAYLOAD if one is None else len(one) for one in payloads], np.uint32, len(payloads))
    return _pack(key, sizes, b"".join(kept), now)


def _pack(key: PeriodKey, sizes: npt.NDArray[np.uint32], content: bytes, at: int) -> Packed:
    nonce = os.urandom(NONCE_BYTES)
    plain = sizes.tobytes() + content
    return Packed(_HEAD.pack(key.period, 0, nonce, at, len(sizes), 0) + key.crypt_fields(nonce, plain))


def put_payloads(commit: Commit, first: int, packed: Packed | None) -> None:
    """Write the payloads of the chunk whose first record has this index."""
    if packed is not None:
        commit.put_sealed(NAME, first.to_bytes(8, "big"), packed.value)


class PayloadReader:
    """Reads payloads of one snapshot by the records that brought them; keeps the last chunks open."""

    def __init__(self, snapshot: Snapshot, periods: PeriodKeys | OpenedKeys) -> None:
        self._snapshot, self._periods = snapshot, periods

    def __repr__(self) -> str:
        return "PayloadReader()"

    def read(self, indexes: npt.NDArray[np.int64], out: list[bytes | None], rows: npt.NDArray[np.intp]) -> None:
        """Enter the payloads of these provisions (int64[N], any order) at these places of ``out``.

        Raises:
            StorageError: a value is damaged.
        """
        if not len(indexes):
            return
        order = np.argsort(indexes)
        indexes, places = indexes[order], rows[order]
        items = self._items(int(indexes[0]), int(indexes[-1]))
        bounds = [first for first, _ in items[1:]] + [int(indexes[-1]) + 1]
        cuts = [0, *indexes.searchsorted(bounds).tolist()]
        for (first, value), begin, end in zip(items, cuts, cuts[1:], strict=False):
            # What nobody asks for is not decrypted.
            opened = _open(self._periods, first, unseal(NAME, first.to_bytes(8, "big"), value)) if begin < end else None
            if opened is None:
                continue
            at = indexes[begin:end] - first
            # Those in front of the first value that there is were fetched: none of its payloads is theirs.
            kept = (at >= 0) & (at < len(opened.sizes))
            kept[kept] = opened.sizes[at[kept]] != NO_PAYLOAD
            at, content = at[kept], opened.content
            begins, ends = opened.begins[at].tolist(), (opened.begins[at] + opened.sizes[at]).tolist()
            for row, low, high in zip(places[begin:end][kept].tolist(), begins, ends, strict=True):
                out[row] = content[low:high]

    def _items(self, first: int, last: int) -> list[tuple[int, Any]]:
        found = self._snapshot.pages.at_or_before(NAME.encode(), first.to_bytes(8, "big"))
        low = first if found is None else int.from_bytes(found[0], "big")
        items = self._snapshot.items(NAME, low.to_bytes(8, "big"), (last + 1).to_bytes(8, "big"))
        return [(int.from_bytes(key, "big"), value) for key, value in items]


def _open(periods: PeriodKeys | OpenedKeys, first: int, body: bytes) -> _Opened | None:
    period, zero, nonce, at, n, zero_too = _HEAD.unpack_from(body)
    key = periods.of(period)
    if key is None:
        return None
    plain = key.crypt_fields(nonce, body[_HEAD.size :])
    if zero or zero_too or len(plain) < 4 * n:
        raise StorageError(f"payloads of records from {first}: expected their sizes, got something else")
    sizes = np.frombuffer(plain, np.uint32, n)
    lengths = np.where(sizes == NO_PAYLOAD, 0, sizes).astype(np.int64)
    ends = np.cumsum(lengths) + 4 * n
    if len(plain) != (int(ends[-1]) if n else 0):
        raise StorageError(f"payloads of records from {first}: expected as many bytes as their sizes say, got others")
    return _Opened((period, nonce, at), sizes, ends - lengths, plain)


def payload_sizes(periods: PeriodKeys, key: bytes, value: object) -> tuple[int, npt.NDArray[np.uint32]] | None:
    """(period, bytes of each record's payload) of a stored value; None where its period's key is gone.

    Raises:
        StorageError: it is damaged.
    """
    opened = _open(periods, int.from_bytes(key, "big"), unseal(NAME, key, value))
    return None if opened is None else (opened.head[0], opened.sizes)


def has_payloads(
    snapshot: Snapshot, periods: PeriodKeys | OpenedKeys, indexes: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """bool[N]: whether what these provisions (int64[N], any order) brought is still here; only sizes are decrypted.

    Raises:
        StorageError: a value is damaged.
    """
    found = np.zeros(len(indexes), dtype=np.bool_)
    first, sizes = 0, np.empty(0, np.uint32)
    for at in np.argsort(indexes).tolist():
        index = int(indexes[at])
        if not first <= index < first + len(sizes):
            place = snapshot.pages.at_or_before(NAME.encode(), index.to_bytes(8, "big"))
            if place is None:
                continue
            first = int.from_bytes(place[0], "big")
            sizes = _read_sizes(periods, first, unseal(NAME, place[0], place[1]))
        if first <= index < first + len(sizes):
            found[at] = sizes[index - first] != NO_PAYLOAD
    return found


def _read_sizes(periods: PeriodKeys | OpenedKeys, first: int, body: bytes) -> npt.NDArray[np.uint32]:
    """The sizes of a chunk's payloads; empty where its period's key is gone."""
    period, _, nonce, _, n, _ = _HEAD.unpack_from(body)
    key = periods.of(period)
    if key is None:
        return np.empty(0, np.uint32)
    plain = key.crypt_fields(nonce, body[_HEAD.size : _HEAD.size + 4 * n])
    if len(plain) != 4 * n:
        raise StorageError(f"payloads of records from {first}: expected their sizes, got something else")
    return np.frombuffer(plain, np.uint32, n)


def forget_payloads(commit: Commit, periods: PeriodKeys, indexes: npt.NDArray[np.int64]) -> None:
    """Remove the payloads of these provisions (int64[N], ascending): they were fetched."""
    at = 0
    while at < len(indexes):
        found = _at_or_before(commit, int(indexes[at]))
        if found is None:
            at += 1
            continue
        first, body = found
        opened = _open(periods, first, body)
        n = 0 if opened is None else len(opened.sizes)
        end = int(np.searchsorted(indexes, first + n))
        if opened is None or end <= at:
            at += 1
            continue
        sizes = opened.sizes.copy()
        sizes[indexes[at:end] - first] = NO_PAYLOAD
        at = end
        key = periods.of(opened.head[0])
        assert key is not None
        name = first.to_bytes(8, "big")
        if (sizes == NO_PAYLOAD).all():
            commit.delete(NAME, name)
            continue
        kept = b"".join(_between(opened, np.flatnonzero(sizes != opened.sizes)))
        commit.put_sealed(NAME, name, _pack(key, sizes, kept, opened.head[2]).value)


def _between(opened: _Opened, gone: npt.NDArray[np.intp]) -> Iterator[bytes]:
    """What is left of a chunk's payloads without some: few pieces, for one receiver of many takes a few out."""
    end = 4 * len(opened.sizes)
    for begin, size in zip(opened.begins[gone].tolist(), opened.sizes[gone].tolist(), strict=True):
        yield opened.content[end:begin]
        end = begin + size
    yield opened.content[end:]


def _at_or_before(commit: Commit, index: int) -> tuple[int, bytes] | None:
    with commit.txn.cursor(db=commit.databases[NAME]) as cursor:
        found = cursor.set_range((index + 1).to_bytes(8, "big"))
        if not (cursor.prev() if found else cursor.last()):
            return None
        key, value = bytes(cursor.key()), bytes(cursor.value())
    return int.from_bytes(key, "big"), unseal(NAME, key, value)


def expire_payloads(store: Store, now: int) -> int:
    """Remove what was answered more than ``PAYLOAD_DAYS`` ago; returns how many chunks of it."""
    gone = 0
    while True:
        with store.snapshot() as snapshot:
            old = []
            for key, value in snapshot.items(NAME, b"", limit=EXPIRED_AT_A_TIME):
                if _HEAD.unpack_from(unseal(NAME, key, value))[3] + PAYLOAD_DAYS * _DAY_S >= now:
                    break
                old.append(key)
        if not old:
            return gone
        with store.commit() as commit:
            for key in old:
                commit.delete(NAME, key)
        gone += len(old)
        if len(old) < EXPIRED_AT_A_TIME:
            return gone
