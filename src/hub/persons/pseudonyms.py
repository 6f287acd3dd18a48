"""Identifiers from outside, to the keyed pseudonyms under which they are stored.

An identifier has 1 to 64 bytes. The key is its namespace's (``Keys.derive_namespace``), so that the same identifier has
unrelated pseudonyms in two namespaces. Who holds the hub's keys can read short ones back.

| identifier | pseudonym |
|---|---|
| to 15 bytes | AES-256(key of ``<namespace>``, u8 length ‖ identifier ‖ zeros) |
| 16 bytes on | first 16 bytes of HMAC-SHA-256(key of ``<namespace>/long``, identifier) |
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.limits import IDENTIFIER_BYTES_MAX, ROWS_PER_BATCH_MAX
from hub.messages import Aliases
from hub.storage.blockcipher import BlockCipher
from hub.storage.keys import Keys

SHORT_BYTES_MAX = 15
"""An identifier up to here fits a block of AES with its length, and who holds the key can read it back."""


class Identifiers(NamedTuple):
    """Identifiers one behind the other: their bytes, and where each begins and how long it is (int64[N])."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Identifiers(rows={len(self.lengths)})"


def decode_identifiers(identifiers: Any, name: str = "identifiers") -> Identifiers:
    """Check identifiers: a list of text (as UTF-8) or bytes, each 1 to 64 bytes; or uint8[N, bytes].

    Raises:
        RequestError: another form, or too many rows.
    """
    if isinstance(identifiers, np.ndarray):
        good = identifiers.dtype == np.uint8 and identifiers.ndim == 2 and identifiers.flags.c_contiguous
        if not good or not 1 <= identifiers.shape[1] <= IDENTIFIER_BYTES_MAX:
            raise RequestError(f"{name}: expected uint8[N, 1 to {IDENTIFIER_BYTES_MAX}], got another array")
        rows, size = identifiers.shape
        lengths = np.full(rows, size, np.int64)
        data = identifiers.reshape(-1)
    elif isinstance(identifiers, list | tuple):
        raw = _encode(identifiers, name)
        lengths = np.fromiter(map(len, raw), np.int64, len(raw))
        wrong = np.flatnonzero((lengths < 1) | (lengths > IDENTIFIER_BYTES_MAX))
        if len(wrong):
            raise RequestError(f"{name}: expected 1 to {IDENTIFIER_BYTES_MAX} bytes, got others in row {wrong[0]}")
        data = np.frombuffer(b"".join(raw), np.uint8)
    else:
        raise RequestError(f"{name}: expected a list or uint8[N, bytes], got {type(identifiers).__name__}")
    if len(lengths) > ROWS_PER_BATCH_MAX:
        raise RequestError(f"{name}: expected at most {ROWS_PER_BATCH_MAX} rows, got {len(lengths)}")
    return Identifiers(data, np.cumsum(lengths) - lengths, lengths)


def _encode(identifiers: Sequence[object], name: str) -> list[bytes]:
    raw: list[bytes] = []
    for row, one in enumerate(identifiers):
        if isinstance(one, str):
            try:
                raw.append(one.encode())
            except UnicodeEncodeError:
                raise RequestError(f"{name}: expected text that UTF-8 can spell, got other in row {row}") from None
        elif isinstance(one, bytes):
            raw.append(one)
        else:
            raise RequestError(f"{name}: expected text or bytes, got {type(one).__name__} in row {row}")
    return raw


def pseudonyms_of(keys: Keys, namespace: str, identifiers: Identifiers) -> Aliases:
    """Identifiers to their pseudonyms in a namespace: uint8[N, 16]."""
    data, starts, lengths = identifiers
    out = np.empty((len(lengths), 16), np.uint8)
    short = lengths <= SHORT_BYTES_MAX
    if short.any():
        blocks = np.zeros((int(np.count_nonzero(short)), 16), np.uint8)
        size, first = lengths[short], starts[short]
        blocks[:, 0] = size
        for length in np.flatnonzero(np.bincount(size)).tolist():
            rows = np.flatnonzero(size == length)
            blocks[rows, 1 : 1 + length] = data[first[rows, None] + np.arange(length)]
        out[short] = BlockCipher(keys.derive_namespace(namespace)).encrypt(blocks)
    long = np.flatnonzero(~short)
    if len(long):
        key, view = keys.derive_namespace(f"{namespace}/long"), data.data
        bounds = zip(starts[long].tolist(), (starts[long] + lengths[long]).tolist(), strict=True)
        made = b"".join(hmac.digest(key, view[start:end], "sha256")[:16] for start, end in bounds)
        out[long] = np.frombuffer(made, np.uint8).reshape(-1, 16)
    return out
