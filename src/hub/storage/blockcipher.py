"""AES on blocks of 16 bytes, each for itself (ECB), where every block is another person, number or counter.

The equal-blocks weakness of ECB is the determinism that is wanted here: one person has one pseudonym.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub.messages import Aliases

BLOCK_BYTES = 16


class BlockCipher:
    """AES (FIPS 197) under one key of 16, 24 or 32 bytes. Never printed, never logged; any thread may use it.

    The library takes 6 us to begin an encryption, 500 blocks' worth, and ECB keeps nothing between two: so what was
    begun goes on with the next call. While one runs, it belongs to its thread alone.
    """

    __slots__ = ("_cipher", "_decryptors", "_encryptors")

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())
        self._encryptors: list[Any] = []
        self._decryptors: list[Any] = []

    def __repr__(self) -> str:
        return "BlockCipher()"

    def encrypt(self, blocks: Aliases) -> Aliases:
        """Encrypt each block: uint8[N, 16], C-contiguous, to the same.

        Raises:
            ValueError: no whole blocks. TypeError: another layout.
        """
        context = _take(self._encryptors, self._cipher.encryptor)
        out = _update(context, blocks)
        self._encryptors.append(context)
        return out

    def encrypt_one(self, block: bytes) -> bytes:
        """As :meth:`encrypt`, of a single block of 16 bytes.

        Raises:
            ValueError: another length.
        """
        if len(block) != BLOCK_BYTES:
            raise ValueError(f"block: expected {BLOCK_BYTES} bytes, got {len(block)}")
        context = _take(self._encryptors, self._cipher.encryptor)
        out: bytes = context.update(block)
        self._encryptors.append(context)
        return out

    def decrypt(self, blocks: Aliases) -> Aliases:
        """What :meth:`encrypt` made of blocks, undone."""
        context = _take(self._decryptors, self._cipher.decryptor)
        out = _update(context, blocks)
        self._decryptors.append(context)
        return out


def _take(idle: list[Any], begin: Callable[[], Any]) -> Any:
    """One that nobody else has from here on."""
    try:
        return idle.pop()
    except IndexError:
        return begin()


def _update(context: Any, blocks: Aliases) -> Aliases:
    size = blocks.size
    if size % BLOCK_BYTES:
        raise ValueError(f"blocks: expected whole ones of {BLOCK_BYTES} bytes")
    # The library asks for room for one block more than it writes.
    out = np.empty(size + BLOCK_BYTES - 1, dtype=np.uint8)
    if size:
        context.update_into(blocks.data.cast("B"), out.data)
    return out[:size].reshape(-1, BLOCK_BYTES)
