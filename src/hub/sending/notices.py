"""The texts of notices (お知らせ), kept until they expire; never part of a record.

Database ``notices``, key u64 index of the first record that the value has a text of (big endian), value sealed, little
endian:

| at | type | what |
|---|---|---|
| 0 | u16 | period of the records, under whose key it is encrypted |
| 2 | u16 | form: 0 = one text for all of them, 1 = one each |
| 4 | 12 | nonce |
| 16 | i64 | when it was sent, seconds since 1970: the time at which its records were requested |
| 24 | u32 | n, records, all of one chunk |
| 28 | u32 | 0 |
| 32 | | encrypted (AES-256-CTR, the period's key of fields, counter block = nonce ‖ u32 0): |
| | | form 0: the text |
| | n x u32 | form 1: bytes of each record's text, 0xFFFFFFFF = none, as it reached nobody |
| | | form 1: the texts, one behind the other |

Texts are UTF-8. One text for a million persons is stored once a chunk; of texts of their own a value has no more than
``limits.NOTICE_ROWS_PER_VALUE`` and about ``NOTICE_BYTES_PER_VALUE``. A value goes ``NOTICE_DAYS`` after it was sent,
and before that with the key of its period.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import StorageError
from hub.limits import NOTICE_BYTES_MAX, NOTICE_BYTES_PER_VALUE, NOTICE_DAYS, NOTICE_ROWS_PER_VALUE
from hub.storage.periods import NONCE_BYTES, OpenedKeys, PeriodKey, PeriodKeys
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

NAME = "notices"
NO_TEXT = 0xFFFFFFFF
FOR_ALL, FOR_EACH = 0, 1
EXPIRED_AT_A_TIME = 256

_HEAD = struct.Struct("<HH12sqII")
_DAY_S = 86_400


class Value(NamedTuple):
    """A value that is ready but for its place in the log: place of its first record in the chunk, bytes."""

    position: int
    body: bytes

    def __repr__(self) -> str:
        return f"Value({len(self.body)} bytes)"


class Stored(NamedTuple):
    """A stored value, decrypted: which records it is of, and where their texts are in ``content``.

    Attributes:
        begins, ends: int64[n]; begin > end where a record has none.
    """

    period: int
    sent_at: int
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    content: bytes

    def __repr__(self) -> str:
        return f"Stored({len(self.begins)})"

    def has_text(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which records have a text."""
        return self.begins < self.ends

    def text(self, position: int) -> str | None:
        """The text of one record.

        Raises:
            StorageError: it is no UTF-8.
        """
        begin, end = int(self.begins[position]), int(self.ends[position])
        if begin >= end:
            return None
        try:
            return self.content[begin:end].decode()
        except UnicodeDecodeError:
            raise StorageError(f"{NAME}: expected a text, got something else") from None


def pack_text(key: PeriodKey, text: bytes, rows: int, sent_at: int) -> list[Value]:
    """Encrypt one text for all records of a chunk; needs no lock."""
    return [Value(0, _pack(key, FOR_ALL, rows, text, sent_at))] if rows else []


def pack_texts(key: PeriodKey, texts: Sequence[bytes | None], sent_at: int) -> list[Value]:
    """Encrypt the texts of a chunk, in the order of its records, None where one has none; needs no lock."""
    sizes = np.fromiter((NO_TEXT if one is None else len(one) for one in texts), np.uint32, len(texts))
    upto = np.cumsum(np.where(sizes == NO_TEXT, 0, sizes).astype(np.int64))
    values, begin = [], 0
    while begin < len(texts):
        before = int(upto[begin - 1]) if begin else 0
        fitting = int(np.searchsorted(upto, before + NOTICE_BYTES_PER_VALUE, side="right"))
        end = min(max(fitting, begin + 1), begin + NOTICE_ROWS_PER_VALUE, len(texts))
        some = [one for one in texts[begin:end] if one is not None]
        if some:
            plain = sizes[begin:end].tobytes() + b"".join(some)
            values.append(Value(begin, _pack(key, FOR_EACH, end - begin, plain, sent_at)))
        begin = end
    return values


def _pack(key: PeriodKey, form: int, rows: int, plain: bytes, sent_at: int) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return _HEAD.pack(key.period, form, nonce, sent_at, rows, 0) + key.crypt_fields(nonce, plain)


def put_texts(commit: Commit, first: int, values: Sequence[Value]) -> None:
    """Write the texts of the chunk whose first record has this index."""
    for value in values:
        commit.put_sealed(NAME, (first + value.position).to_bytes(8, "big"), value.body)


def open_texts(periods: PeriodKeys | OpenedKeys, key: bytes, value: object) -> Stored | None:
    """A stored value; None where its period's key is gone.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    name = f"{NAME} of records from {int.from_bytes(key, 'big')}"
    if len(key) != 8 or len(body) < _HEAD.size:
        raise StorageError(f"{name}: expected a value with a head, got {len(body)} bytes")
    period, form, nonce, sent_at, n, zero = _HEAD.unpack_from(body)
    if zero or form not in (FOR_ALL, FOR_EACH) or not n:
        raise StorageError(f"{name}: expected one of two forms, got another")
    secret = periods.of(period)
    if secret is None:
        return None
    plain = secret.crypt_fields(nonce, body[_HEAD.size :])
    if form == FOR_ALL:
        begins, ends = np.zeros(n, np.int64), np.full(n, len(plain), np.int64)
    else:
        if len(plain) < 4 * n:
            raise StorageError(f"{name}: expected the sizes of {n} texts, got {len(plain)} bytes")
        sizes = np.frombuffer(plain, np.uint32, n)
        lengths = np.where(sizes == NO_TEXT, 0, sizes).astype(np.int64)
        ends = np.cumsum(lengths) + 4 * n
        begins = ends - lengths
        if int(ends[-1]) != len(plain):
            raise StorageError(f"{name}: expected as many bytes as their sizes say, got others")
        ends = np.where(sizes == NO_TEXT, -1, ends)
    if int((ends - begins).max()) > NOTICE_BYTES_MAX:
        raise StorageError(f"{name}: expected texts of at most {NOTICE_BYTES_MAX} bytes, got a longer one")
    return Stored(period, sent_at, begins, ends, plain)


def read_texts(snapshot: Snapshot, periods: PeriodKeys, indexes: Sequence[int]) -> list[str | None]:
    """The texts of some notices by the indexes of their records, None where one is not kept (any more).

    Raises:
        StorageError: a value is damaged.
    """
    opened = OpenedKeys(periods)
    kept: dict[bytes, Stored | None] = {}
    found: list[str | None] = []
    for index in indexes:
        value = snapshot.pages.at_or_before(NAME.encode(), index.to_bytes(8, "big"))
        if value is None:
            found.append(None)
            continue
        key = bytes(value[0])
        if key not in kept:
            kept[key] = open_texts(opened, key, bytes(value[1]))
        stored, at = kept[key], index - int.from_bytes(key, "big")
        found.append(stored.text(at) if stored is not None and at < len(stored.begins) else None)
    return found


def expire_notices(store: Store, now: int) -> int:
    """Remove the texts that were sent more than ``NOTICE_DAYS`` ago; returns how many values."""
    gone = 0
    while True:
        with store.snapshot() as snapshot:
            old = []
            for key, value in snapshot.items(NAME, b"", limit=EXPIRED_AT_A_TIME):
                if len(value) < 8 + _HEAD.size:
                    raise StorageError(f"{NAME}: expected a value with a head, got {len(value)} bytes")
                # Only the head is looked at: its checksum is that of all of it, and what goes need not be right.
                if _HEAD.unpack_from(bytes(value[8 : 8 + _HEAD.size]))[3] + NOTICE_DAYS * _DAY_S >= now:
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
