"""Aliases that providers are to acquire, because they were asked about a person whom they do not know.

Database ``wanted``, values sealed, numbers in keys big endian, in values little endian:

| key | value |
|---|---|
| u16 institution number of the provider, 16 bytes | i64 seconds since 1970: when it was first asked for |

The 16 bytes are the pseudonym of the person's resident code (``storage/keys.py``), so that the order of entries says
nothing.

An entry counts until the provider has an alias of that person; who reads looks, and in a hub open for writing what has
been acquired is removed. The register body learns codes, a provider a number, a requester nothing but that what it
asked was taken: nobody of them holds two of number, code and alias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.aliases import RESIDENT_CODES, find_aliases, find_persons
from hub.errors import StorageError
from hub.messages import Aliases
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store

NAME = "wanted"
KEY_BYTES = 18
_AT_A_TIME = 1_024
_ALONE = Workers(1)


class Entries(NamedTuple):
    """Some entries, in the order of their keys.

    Attributes:
        keys: as stored. providers: uint32[N]. pseudonyms: uint8[N, 16].
        met: bool[N], whether the provider has the alias by now.
    """

    keys: list[bytes]
    providers: npt.NDArray[np.uint32]
    pseudonyms: Aliases
    met: npt.NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Entries({len(self.keys)})"


def wanted_key(provider: int, pseudonym: bytes) -> bytes:
    """Where the entry of a provider and person is."""
    return provider.to_bytes(2, "big") + pseudonym


def pseudonym_of(snapshot: Snapshot, person: int) -> bytes:
    """The pseudonym of a person's resident code.

    Raises:
        StorageError: there is none.
    """
    found, status = find_aliases(snapshot, RESIDENT_CODES, np.array([person], dtype=np.uint32), _ALONE)
    if status[0]:
        raise StorageError(f"{NAME}: expected the resident code of a person, got none")
    return found[0].tobytes()


def put_wanted(commit: Commit, key: bytes, at: int) -> None:
    """Enter an alias that is wanted."""
    commit.put_sealed(NAME, key, at.to_bytes(8, "little", signed=True))


def has_wanted(snapshot: Snapshot, key: bytes) -> bool:
    """Whether it is entered already.

    Raises:
        StorageError: the entry is damaged.
    """
    value = snapshot.get(NAME, key)
    if value is None:
        return False
    unseal(NAME, key, value)
    return True


def has_alias(snapshot: Snapshot, provider: int, person: int) -> bool:
    """Whether a provider has an alias of a person."""
    return not find_aliases(snapshot, provider, np.array([person], dtype=np.uint32), _ALONE)[1][0]


def read_wanted(store: Store, after: bytes, below: bytes | None = None) -> Iterator[Entries]:
    """Entries behind a key, a snapshot each so many.

    Raises:
        StorageError: one is damaged, or its person is not known.
    """
    first = after + b"\0" if after else b""
    while True:
        with store.snapshot() as snapshot:
            items = snapshot.items(NAME, first, below, limit=_AT_A_TIME)
            if not items:
                return
            for key, value in items:
                if len(unseal(NAME, key, value)) != 8 or len(key) != KEY_BYTES:
                    raise StorageError(f"{NAME}: expected entries of 18 and 8 bytes, got something else")
            keys = [key for key, _ in items]
            yield _look_at(snapshot, keys)
        first = keys[-1] + b"\0"


def _look_at(snapshot: Snapshot, keys: list[bytes]) -> Entries:
    raw = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
    providers: npt.NDArray[np.uint32] = (raw[:, 0].astype(np.uint32) << np.uint32(8)) | raw[:, 1]
    pseudonyms = np.ascontiguousarray(raw[:, 2:])
    persons, _, status = find_persons(snapshot, RESIDENT_CODES, pseudonyms, _ALONE)
    if status.any():
        raise StorageError(f"{NAME}: expected entries of known persons, got others")
    met = np.zeros(len(keys), np.bool_)
    for provider in np.unique(providers).tolist():
        rows = np.flatnonzero(providers == provider)
        met[rows] = find_aliases(snapshot, provider, persons[rows], _ALONE)[1] == 0
    return Entries(keys, providers, pseudonyms, met)


def remove_met(store: Store, keys: list[bytes]) -> None:
    """Remove what has been acquired."""
    for start in range(0, len(keys), _AT_A_TIME):
        # Looked at again under the writer's lock: it may have been asked for anew since.
        with store.writer:
            with store.snapshot() as snapshot:
                there = [key for key in keys[start : start + _AT_A_TIME] if has_wanted(snapshot, key)]
                entries = _look_at(snapshot, there) if there else None
            if entries is None or not entries.met.any():
                continue
            with store.commit() as commit:
                for key, met in zip(entries.keys, entries.met.tolist(), strict=True):
                    if met:
                        commit.delete(NAME, key)
