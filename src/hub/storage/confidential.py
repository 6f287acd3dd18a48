"""Small stored values that only the hub may read: encrypted under the key of a period, so that shredding it takes them.

Where a module's table says *encrypted*: 12 random bytes of nonce, then AES-256-GCM of a MessagePack array, with the
database's name and the u16 period (little endian) as additional data. The key is HMAC-SHA-256(period key,
"hub/period/marks/1"); of what belongs to no period, period 0, HMAC-SHA-256(``identifiers.key``, "hub/own/marks/1").
"""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.errors import StorageError
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKeys

T = TypeVar("T")

HUB = 0
"""The period of what belongs to none."""

_NONCE_BYTES = 12


class Vault:
    """Encrypts and decrypts such values."""

    def __init__(self, keys: Keys, periods: PeriodKeys) -> None:
        self._own = AESGCM(keys.derive("marks"))
        self._periods = periods

    def __repr__(self) -> str:
        return "Vault()"

    def encrypt(self, name: str, period: int, body: object) -> bytes:
        """Encrypt a value of a database.

        Raises:
            StorageError: the period's key is gone.
        """
        cipher = self._cipher(period)
        if cipher is None:
            raise StorageError(f"{name}: expected the key of its period, got none")
        return encrypt(cipher, name, period, body)

    def decrypt(self, name: str, period: int, raw: bytes, kind: type[T]) -> T | None:
        """Read a value of a database, or None where its period was shredded.

        Raises:
            StorageError: it is damaged.
        """
        cipher = self._cipher(period)
        if cipher is None:
            return None
        try:
            return msgspec.msgpack.decode(
                cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _additional(name, period)), type=kind
            )
        except (InvalidTag, ValueError, msgspec.DecodeError):
            raise StorageError(f"{name}: expected a value of its period's key, got something else") from None

    def _cipher(self, period: int) -> AESGCM | None:
        if period == HUB:
            return self._own
        key = self._periods.of(period)
        return None if key is None else key.marks


def encrypt(cipher: AESGCM, name: str, period: int, body: object) -> bytes:
    """Encrypt a value under a period's ``PeriodKey.marks``."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, msgspec.msgpack.encode(body), _additional(name, period))


def _additional(name: str, period: int) -> bytes:
    return name.encode() + period.to_bytes(2, "little")
