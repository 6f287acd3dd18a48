"""The periods of the record log and their keys, ``keys/periods/<name>.key``; what each key is for: docs/log.md.

A period is a quarter of a year in Japan time. Bodies, salts and person keys of its records can be read only with its
key: unlinking that one file shreds them everywhere, in the environment and in every copy of it.
"""

from __future__ import annotations

import datetime as dt
import functools
import hmac
import os
import re
import struct
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.storage.blockcipher import BlockCipher
from hub.storage.keys import make_key_file, read_key, shred_key_file

JAPAN_TIME = dt.timezone(dt.timedelta(hours=9), "JST")
NONCE_BYTES = 12
_PERSON = struct.Struct("<I12x")
_FILE = re.compile(r"(\d{4})Q([1-4])\.key")

Bytes = npt.NDArray[np.uint8]


def period_of(time: int) -> int:
    """The period of a moment, seconds since 1970: 4 x year + quarter from 0."""
    moment = dt.datetime.fromtimestamp(time, JAPAN_TIME)
    return 4 * moment.year + (moment.month - 1) // 3


def period_name(period: int) -> str:
    """``2026Q4``."""
    return f"{period // 4:04}Q{period % 4 + 1}"


def period_start(period: int) -> int:
    """The first moment of a period, seconds since 1970."""
    return period_end(period - 1)


def period_end(period: int) -> int:
    """The first moment after a period, seconds since 1970."""
    year, quarter = divmod(period + 1, 4)
    return int(dt.datetime(year, 3 * quarter + 1, 1, tzinfo=JAPAN_TIME).timestamp())


@functools.lru_cache(1024)
def _named(file: str) -> int | None:
    """The period whose key has this file name."""
    match = _FILE.fullmatch(file)
    return None if match is None else 4 * int(match[1]) + int(match[2]) - 1


class PeriodKey:
    """What one period's key can do. Never printed, never logged."""

    def __init__(self, period: int, key: bytes) -> None:
        self.period = period
        names = ("rows", "fields", "salts", "persons")
        rows, fields, salts, persons = (hmac.digest(key, f"hub/period/{name}/1".encode(), "sha256") for name in names)
        self._rows, self._fields, self._salts = algorithms.AES(rows), algorithms.AES(fields), algorithms.AES(salts)
        self._persons = BlockCipher(persons)
        self.marks = AESGCM(hmac.digest(key, b"hub/period/marks/1", "sha256"))
        """Encrypts what is kept beside the period's records: marks, events, states of corrections."""
        self._row_blocks, self._salt_blocks = BlockCipher(rows), BlockCipher(salts)

    def __repr__(self) -> str:
        return f"PeriodKey({period_name(self.period)})"

    def person_keys(self, persons: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
        """Person numbers (uint32[N]) to person keys of this period (uint64[N])."""
        blocks = np.zeros((len(persons), 4), dtype=np.uint32)
        blocks[:, 0] = persons
        return np.ascontiguousarray(self._persons.encrypt(blocks.view(np.uint8)).view(np.uint64)[:, 0])

    def person_key(self, person: int) -> int:
        """The person key of one person, a number of 64 bits: what :meth:`person_keys` has for each of many."""
        return int.from_bytes(self._persons.encrypt_one(_PERSON.pack(person))[:8], "little")

    def crypt_rows(self, nonce: bytes, rows: Bytes) -> Bytes:
        """Encrypt or decrypt the rows of a whole chunk: uint8[N, 16] to the same."""
        return _stream(self._rows, nonce, rows)

    def crypt_fields(self, nonce: bytes, fields: bytes) -> bytes:
        """Encrypt or decrypt the shared fields of a chunk."""
        return Cipher(self._fields, modes.CTR(nonce + bytes(4))).encryptor().update(fields)

    def salts(self, nonce: bytes, rows: int) -> Bytes:
        """The salts of a whole chunk: uint8[N, 16]."""
        return _stream(self._salts, nonce, np.zeros((rows, 16), dtype=np.uint8))

    def decrypt_rows_at(self, counters: Bytes, rows: Bytes) -> Bytes:
        """Decrypt rows of any chunks of the period; both uint8[N, 16]; a counter is the chunk's nonce
        and the position there, u32 big endian."""
        return self._row_blocks.encrypt(counters) ^ rows

    def salts_at(self, counters: Bytes) -> Bytes:
        """The salts of records of any chunks of the period: uint8[N, 16]."""
        return self._salt_blocks.encrypt(counters)


def _stream(key: algorithms.AES, nonce: bytes, rows: Bytes) -> Bytes:
    out = np.empty(rows.size + 15, dtype=np.uint8)
    cipher = Cipher(key, modes.CTR(nonce + bytes(4))).encryptor()
    cipher.update_into(rows.data.cast("B") if rows.size else b"", out.data)
    return out[: rows.size].reshape(-1, 16)


class OpenedKeys:
    """Period keys as one reader finds them: each is asked of its file once, so that all it reads is of one state."""

    def __init__(self, periods: PeriodKeys) -> None:
        self._periods = periods
        self._found: dict[int, PeriodKey | None] = {}

    def __repr__(self) -> str:
        return f"OpenedKeys({len(self._found)})"

    def of(self, period: int) -> PeriodKey | None:
        """The key of a period, or None where it has none (any more)."""
        if period not in self._found:
            self._found[period] = self._periods.of(period)
        return self._found[period]


class PeriodKeys:
    """The period keys of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, PeriodKey] = {}
        self._paths: dict[int, str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PeriodKeys(known={len(self._known)})"

    def of(self, period: int) -> PeriodKey | None:
        """The key of a period, or None where it has none (any more)."""
        with self._lock:
            # The file decides, not what was read before: it is unlinked to shred the period, by any process.
            path = self._paths.get(period)
            if path is None:
                path = self._paths[period] = str(self._path(period))
            if not os.path.exists(path):
                self._known.pop(period, None)
                return None
            found = self._known.get(period)
            if found is None:
                found = self._known[period] = PeriodKey(period, read_key(Path(path)))
            return found

    def make(self, period: int) -> PeriodKey:
        """The key of a period, made and synced where it is not there yet.

        Raises:
            StorageError: it cannot be written.
        """
        found = self.of(period)
        if found is not None:
            return found
        with self._lock:
            make_key_file(self._path(period))
        made = self.of(period)
        assert made is not None
        return made

    def shred(self, period: int) -> None:
        """Unlink a period's key, durably; nothing happens where it has none.

        Raises:
            StorageError: it cannot be unlinked.
        """
        with self._lock:
            self._known.pop(period, None)
            shred_key_file(self._path(period))

    def periods(self) -> list[int]:
        """The periods that have a key, ascending."""
        with self._lock:
            try:
                names = os.listdir(self._folder)
            except FileNotFoundError:
                names = []
            found = sorted(period for period in map(_named, names) if period is not None)
            # What another process shredded must not stay in this one's memory.
            for period in self._known.keys() - set(found):
                del self._known[period]
        return found

    def _path(self, period: int) -> Path:
        return self._folder / f"{period_name(period)}.key"
