"""Small stored values under a checksum, and the errors of storage in our words.

A sealed value is u64 xxh3-64, little endian, and a body. The sum is over: name of the database, a zero byte, bytes of
the key in decimal digits, a zero byte, the key, the body; so a value under another's key is noticed as well as a
flipped bit.
"""

from __future__ import annotations

import errno
from typing import Any

import lmdb
import xxhash

from hub.errors import StorageError


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


def storage_error(action: str, error: Exception) -> StorageError:
    """An error of LMDB or of the system in our words."""
    if isinstance(error, lmdb.DiskError | lmdb.MapFullError) or getattr(error, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
    ):
        return StorageError(f"{action}: no space left, nothing of this step was kept", retry_safe=True)
    return StorageError(f"{action}: {error}")
