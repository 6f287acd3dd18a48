"""What the parts of the second reader have in common; nothing of it comes from ``hub``."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Values = dict[bytes, bytes]


class Damaged(Exception):
    """Stored bytes are not what their table says."""


def expect(fits: bool, what: str) -> None:
    if not fits:
        raise Damaged(what)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(data)
