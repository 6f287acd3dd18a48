"""Permit numbers: by what a provider names a question that it may answer, without learning where it stands in the log.

A number is 64 bits: the index of the permit's record under a permutation of the provider's own. Two providers' numbers
of neighbouring records have nothing in common, and their order is no order of the log. The permutation is a Feistel
network of six rounds over the two halves of 32 bits, left the upper one, before the first round and after the last:

    left, right = right, left ^ (first 4 bytes of AES-256(key, block), little endian)

| at | type | what of the block, little endian |
|---|---|---|
| 0 | u32 | inbox: the provider's institution number; of arrivals 65,536 more (``inbox.ARRIVALS``) |
| 4 | u32 | round, 0 to 5 |
| 8 | u32 | right half |
| 12 | u32 | 0 |

with key = own key "permits" of ``storage/keys.py``. Six rounds with independent round functions cannot be told from a
random permutation by who sees fewer than about 2^32 of its values (Patarin, CRYPTO 2003 and 2004); a provider sees its
own permits only, and the log ends before it has seen as many. A number that nobody was given leads to a random index of
64 bits, and so almost surely to none that the log has; the record there says whether it is a permit of this provider.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub.storage.keys import Keys

ROUNDS = 6
_ROWS_AT_A_TIME = 1 << 15

Numbers = npt.NDArray[np.uint64]

_DAY_S, _JAPAN_S = 86_400, 32_400


def lapse_time(requested_at: int, days: int) -> int:
    """When a permit lapses: at the end of the day in Japan on which so many days have passed, seconds since 1970.

    Whole days, so that the time tells two providers no more than the day on which somebody asked.
    """
    return -(-(requested_at + days * _DAY_S + _JAPAN_S) // _DAY_S) * _DAY_S - _JAPAN_S


class PermitNumbers:
    """Makes permit numbers and reads them. Used from any thread."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = Cipher(algorithms.AES(keys.derive("permits")), modes.ECB())

    def __repr__(self) -> str:
        return "PermitNumbers()"

    def number(self, provider: int, indexes: Numbers) -> Numbers:
        """Indexes of records (uint64[N]) to the provider's permit numbers (uint64[N])."""
        return self._run(provider, indexes, False)

    def index(self, provider: int, numbers: Numbers) -> Numbers:
        """Permit numbers (uint64[N], untrusted) to what they stand for at this provider (uint64[N])."""
        return self._run(provider, numbers, True)

    def _run(self, provider: int, values: Numbers, back: bool) -> Numbers:
        out = np.empty(len(values), dtype=np.uint64)
        for start in range(0, len(values), _ROWS_AT_A_TIME):
            # Pieces that stay in the cache through all rounds.
            part = np.ascontiguousarray(values[start : start + _ROWS_AT_A_TIME])
            left, right = part.view(np.uint32)[1::2].copy(), part.view(np.uint32)[::2].copy()
            if back:
                left, right = right, left
            blocks = np.zeros((len(part), 4), dtype=np.uint32)
            blocks[:, 0] = provider
            # The library asks for room for one block more than it writes.
            stream = np.empty(16 * len(part) + 16, dtype=np.uint8)
            encryptor = self._cipher.encryptor()
            for step in range(ROUNDS):
                blocks[:, 1] = ROUNDS - 1 - step if back else step
                blocks[:, 2] = right
                encryptor.update_into(blocks.data.cast("B"), stream.data)
                left ^= stream.view(np.uint32)[: 4 * len(part) : 4]
                left, right = right, left
            if back:
                left, right = right, left
            joined = out[start : start + len(part)].view(np.uint32)
            joined[1::2], joined[::2] = left, right
        return out
