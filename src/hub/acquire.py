"""Acquisition: who has which alias already, who gets a new one.

Resident record codes (住民票コード) enter as keyed pseudonyms and are looked up in a namespace of their own; who is not
known yet becomes a new person. The institution never learns the code, and the hub never the individual number.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub import _core
from hub.additions import Addition, add_entries, complete_pending
from hub.aliases import RESIDENT_CODES, Statuses, find_aliases, find_persons
from hub.errors import StorageError
from hub.keys import Keys
from hub.limits import PERSONS_MAX, ROWS_PER_ACQUIRE_CHUNK
from hub.messages import Acquired, Acquisition, Aliases
from hub.store import Store
from hub.workers import Workers


def acquire(
    store: Store, keys: Keys, number: int, codes: npt.NDArray[np.int64], workers: Workers, above: int
) -> Acquired:
    """Give an institution its aliases of the persons with these resident record codes.

    Idempotent: who has an alias there keeps it. Each chunk is durable or not there at all; after an error the
    chunks before it stand, and the same call again completes the rest.

    Args:
        number: the institution's number.
        codes: int64[N], each at least 0 and under ``above``.
    """
    aliases, status = np.empty((len(codes), 16), np.uint8), np.empty(len(codes), np.uint8)
    for start in range(0, len(codes), ROWS_PER_ACQUIRE_CHUNK):
        rows = slice(start, start + ROWS_PER_ACQUIRE_CHUNK)
        pseudonyms = keys.pseudonyms(_core.code_blocks(codes[rows], above)[0])
        # One acquisition at a time; inquiries are recorded beside it.
        with store.acquiring:
            # What an error left half written is completed first; nearly always there is nothing.
            complete_pending(store, workers)
            aliases[rows], status[rows] = _acquire_chunk(store, number, pseudonyms, workers)
    return Acquired(aliases, status)


def _acquire_chunk(store: Store, number: int, pseudonyms: Aliases, workers: Workers) -> tuple[Aliases, Statuses]:
    status = np.full(len(pseudonyms), Acquisition.ALREADY, np.uint8)
    # Nobody else writes alias tables while ``acquiring`` is held: this snapshot decides CREATED or ALREADY.
    with store.snapshot() as snapshot:
        persons, _, unknown = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)
        aliases, missing = find_aliases(snapshot, number, persons, workers)
        first_person = snapshot.state.persons
    if not missing.any():
        return aliases, status
    additions = []
    rows = np.flatnonzero(unknown)
    if len(rows):
        first, rank = _first_and_rank(pseudonyms[rows])
        if first_person + len(first) > PERSONS_MAX:
            raise StorageError(f"acquire: expected at most {PERSONS_MAX} persons, got more")
        persons[rows] = (first_person + rank).astype(np.uint32)
        additions.append(Addition(RESIDENT_CODES, pseudonyms[rows[first]], persons[rows[first]]))
    rows = np.flatnonzero(missing)
    first, rank = _first_and_rank(pseudonyms[rows])
    new = random_aliases(len(first))
    aliases[rows] = new[rank]
    status[rows[first]] = Acquisition.CREATED
    additions.append(Addition(number, new, persons[rows[first]]))
    add_entries(store, additions, workers)
    return aliases, status


def _first_and_rank(keys: Aliases) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows where a key occurs first, and for every row the rank of its key among those."""
    first = _core.first_rows(keys)
    own = first == np.arange(len(keys), dtype=np.uint32)
    return np.flatnonzero(own), (np.cumsum(own) - 1)[first]


def random_aliases(n: int) -> Aliases:
    """n aliases from the system's random source: uint8[n, 16].

    More than a few come as the key stream of AES-256-CTR under a fresh random key, ten times as fast.
    """
    if n <= 1024:
        return np.frombuffer(os.urandom(16 * n), dtype=np.uint8).reshape(n, 16)
    cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(os.urandom(16)))
    out = np.empty(16 * n + 15, dtype=np.uint8)
    cipher.encryptor().update_into(np.zeros(16 * n, dtype=np.uint8).data, out.data)
    return out[: 16 * n].reshape(n, 16)
