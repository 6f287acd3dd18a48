"""An institution's own ids of its people: text -> keys of 128 bits, and back.

A key, before it is mixed (``runs.py``): an own id of at most 15 bytes of UTF-8 stands in bytes 0 to 14, zeros behind
it, its length in byte 15. A longer one is the first 15 bytes of its SHA-256, and 0xFF in byte 15; its text is kept in
database ``longids`` under these 16 bytes. So two own ids of up to 15 bytes never share a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.files.columns import Cells, cells_of_texts
from hub.limits import OWN_ID_BYTES_MAX

SHORT_BYTES = 15
LONG = 0xFF

RawKeys = npt.NDArray[np.uint8]


def decode_own_ids(own_ids: Any) -> Cells:
    """Own ids of a caller as cells.

    Raises:
        RequestError: not a list of texts.
    """
    if isinstance(own_ids, Cells):
        return own_ids
    if not isinstance(own_ids, list | tuple) or not all(isinstance(one, str) for one in own_ids):
        raise RequestError("own_ids: expected a list of texts, got something else")
    return cells_of_texts(own_ids)


def fitting_ids(cells: Cells) -> npt.NDArray[np.bool_]:
    """bool[N]: whether each is 1 to ``OWN_ID_BYTES_MAX`` bytes."""
    size = cells.end - cells.start
    return (size > 0) & (size <= OWN_ID_BYTES_MAX)


def check_own_ids(cells: Cells) -> None:
    """Refuse own ids that are empty or too long.

    Raises:
        RequestError: one is.
    """
    fits = fitting_ids(cells)
    if not fits.all():
        row = int(np.argmin(fits))
        raise RequestError(f"own_ids: expected 1 to {OWN_ID_BYTES_MAX} bytes of UTF-8, got another length in row {row}")


def raw_keys(cells: Cells) -> tuple[RawKeys, dict[bytes, bytes]]:
    """uint8[N, 16], and of the long ones key -> text."""
    n = len(cells.start)
    windows: npt.NDArray[np.void] = np.ndarray(
        (len(cells.buffer) - 15,), np.dtype("V16"), cells.buffer, strides=(1,)
    )
    keys = windows[cells.start].view(np.uint8).reshape(n, 16).copy()
    size = cells.end - cells.start
    keys[np.arange(16) >= np.minimum(size, SHORT_BYTES)[:, None]] = 0
    keys[:, 15] = np.minimum(size, LONG)
    texts: dict[bytes, bytes] = {}
    for row in np.flatnonzero(size > SHORT_BYTES).tolist():
        text = cells.buffer[cells.start[row] : cells.end[row]].tobytes()
        key = hashlib.sha256(text).digest()[:SHORT_BYTES] + bytes([LONG])
        keys[row] = np.frombuffer(key, np.uint8)
        texts[key] = text
    return keys, texts


def short_texts(keys: RawKeys) -> Sequence[str | None]:
    """The own ids of keys; None where it is a long one."""
    raw = keys.tobytes()
    return [_short(raw[at : at + 16]) for at in range(0, len(raw), 16)]


def _short(key: bytes) -> str | None:
    return None if key[15] == LONG else key[: key[15]].decode()
