"""AES on blocks that goes on where it was begun: every call as if it were the first, whichever thread makes it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub.storage.blockcipher import BlockCipher
from hub.storage.periods import PeriodKey

KEY = bytes(range(32))


def expected(blocks: np.ndarray) -> bytes:
    return Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(blocks.tobytes())


def test_every_call_is_as_the_first() -> None:
    cipher, random = BlockCipher(KEY), np.random.default_rng(1)
    for rows in (1, 0, 3, 1, 1000, 1):
        blocks = random.integers(0, 256, (rows, 16), dtype=np.uint8)
        encrypted = cipher.encrypt(blocks)
        assert encrypted.shape == (rows, 16)
        assert encrypted.tobytes() == expected(blocks)
        assert (cipher.decrypt(encrypted) == blocks).all()
        assert [cipher.encrypt_one(block.tobytes()) for block in blocks] == [block.tobytes() for block in encrypted]
    assert repr(cipher) == "BlockCipher()"


def test_threads_do_not_share_what_is_under_way() -> None:
    cipher, random = BlockCipher(KEY), np.random.default_rng(2)
    parts = [random.integers(0, 256, (20_000, 16), dtype=np.uint8) for _ in range(4)]
    right: list[bool] = []

    def run(blocks: np.ndarray) -> None:
        right.append(all(cipher.encrypt(blocks).tobytes() == expected(blocks) for _ in range(20)))

    threads = [threading.Thread(target=run, args=(blocks,)) for blocks in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4


def test_what_is_no_whole_block_is_refused_and_leaves_nothing_behind() -> None:
    cipher = BlockCipher(KEY)
    one = np.zeros((1, 16), np.uint8)
    before = cipher.encrypt(one).tobytes()
    for wrong in (np.zeros(15, np.uint8), np.zeros((2, 17), np.uint8)):
        with pytest.raises(ValueError, match="whole ones"):
            cipher.encrypt(wrong)
    with pytest.raises((ValueError, TypeError)):
        cipher.encrypt(np.zeros((4, 32), np.uint8)[:, ::2])
    with pytest.raises(ValueError, match="16 bytes, got 15"):
        cipher.encrypt_one(bytes(15))
    assert cipher.encrypt(one).tobytes() == before == cipher.encrypt_one(bytes(16))


def test_a_persons_key_is_the_same_alone_and_among_others() -> None:
    key, persons = PeriodKey(8100, KEY), np.array([0, 1, 70_000, 2**32 - 1], np.uint32)
    assert [key.person_key(person) for person in persons.tolist()] == key.person_keys(persons).tolist()
