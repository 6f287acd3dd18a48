"""Small stored values under a checksum, and the errors of storage in our words.

A sealed value is u64 xxh3-64, little endian, and a body. The sum is over: name of the database, a zero byte, bytes of
the key in decimal digits, a zero byte, the key, the body; so a value under another's key is noticed as well as a
flipped bit.

A value of an earlier commit in its own place (a write that was lost) has a right checksum. That is what sums are for:
of every database whose values change, ``state`` keeps the sum of xxh3-64(first 8 bytes of the value, key) over all of
it, modulo 2**64, moved by each commit; of an alias table ``meta`` does (``sums`` and u32 table), so that ``state``
stays small. Of ``records``, ``entries``, ``nodes`` and ``runs`` there is none: they are written once, and verification
derives them from each other.
"""

from __future__ import annotations

import os
from typing import Any

import lmdb
import xxhash

from hub.errors import FULL, FullError, StorageError


def seal(name: str, key: bytes, body: bytes) -> bytes:
    """Put the checksum before a small value."""
    return _seal_sum(name, key, body).to_bytes(8, "little") + body


def unseal(name: str, key: bytes, value: Any) -> bytes:
    """Check a sealed value and return what is in it.

    Raises:
        StorageError: the checksum is wrong.
    """
    raw = bytes(value)
    if len(raw) < 8 or int.from_bytes(raw[:8], "little") != _seal_sum(name, key, raw[8:]):
        raise StorageError(f"{name}: expected the stored checksum, got a damaged value")
    return raw[8:]


def _seal_sum(name: str, key: bytes, body: bytes) -> int:
    return xxhash.xxh3_64_intdigest(b"%b\0%d\0%b%b" % (name.encode(), len(key), key, body))


def value_sum(key: bytes, value: Any) -> int:
    """What one stored value adds to the sum of its database: its checksum stands for all of it."""
    return xxhash.xxh3_64_intdigest(bytes(value[:8]) + key)


_FULL_WORDS = tuple(os.strerror(number) for number in FULL)


def full_error(action: str) -> FullError:
    """There was no room."""
    return FullError(f"{action}: no space left, nothing of this step was kept")


def storage_error(action: str, error: Exception) -> StorageError:
    """An error of LMDB or of the system in our words."""
    if isinstance(error, lmdb.DiskError | lmdb.MapFullError) or getattr(error, "errno", None) in FULL:
        return full_error(action)
    # LMDB has classes of its own for two of these numbers; of the others it gives the system's words only.
    if isinstance(error, lmdb.Error) and str(error).endswith(_FULL_WORDS):
        return full_error(action)
    return StorageError(f"{action}: {error}")
