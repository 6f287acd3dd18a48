"""Which records are about whom.

Two ways in, merged newest first: records of small chunks have an entry each in ``points``; a chunk of more than 256
records is searched by its own person-key column, which is sorted (a few steps a chunk, however many rows it has).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from hub.bodies import Chunk, Chunks
from hub.errors import StorageError


def find_records(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[Chunk, int]]:
    """The records about a person with an index under ``below``, newest first: (chunk, position in it).

    Args:
        person_key: the first 12 of the 16 bytes of ``Keys.person_keys``.
    """
    both = heapq.merge(
        _in_points(chunks, person_key, below), _in_bulk(chunks, person_key, below), key=lambda entry: -entry[0]
    )
    for index, chunk in both:
        holder = chunk if chunk is not None else chunks.holding(index)
        position = index - holder.first
        if holder.person_key(position) != person_key:
            raise StorageError(f"record {index}: expected the person of the index, got another")
        yield holder, position


def _in_points(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[int, Chunk | None]]:
    snapshot = chunks.snapshot
    with snapshot.txn.cursor(db=snapshot.databases["points"]) as cursor:
        more = cursor.prev() if cursor.set_range(person_key + below.to_bytes(8, "big")) else cursor.last()
        while more and bytes(cursor.key()[:12]) == person_key:
            yield int.from_bytes(bytes(cursor.key()[12:]), "big"), None
            more = cursor.prev()


def _in_bulk(chunks: Chunks, person_key: bytes, below: int) -> Iterator[tuple[int, Chunk | None]]:
    wanted = np.uint64(int.from_bytes(person_key[:8], "little"))
    snapshot = chunks.snapshot
    with snapshot.txn.cursor(db=snapshot.databases["bulk"]) as cursor:
        more = cursor.prev() if cursor.set_range(below.to_bytes(8, "big")) else cursor.last()
        while more:
            key = bytes(cursor.key())
            value = snapshot.get("records", key)
            if value is None:
                raise StorageError(f"records from {int.from_bytes(key, 'big')}: expected a chunk, got none")
            chunk = chunks.read(key, value)
            for position in range(int(chunk.key.searchsorted(wanted, "right")) - 1, -1, -1):
                if chunk.key[position] != wanted:
                    break
                if chunk.first + position < below and chunk.person_key(position) == person_key:
                    yield chunk.first + position, chunk
            more = cursor.prev()
