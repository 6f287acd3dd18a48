"""Records found in a damaged file: an error, or the record as it was; never a place outside, never another's row."""

from __future__ import annotations

import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import numpy as np
import pytest

import hub
from hub import _bodies
from hub._pages import Pages
from hub.errors import StorageError
from hub.records.bodies import Bodies, Chunk, Heads, KeyGoneError
from hub.storage.periods import PeriodKeys
from inquiries import tax_inquiry

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
SIZES = (1, 40, 300, 700, 3)
RECORDS = sum(SIZES)
TRIES = 400


class Copied:
    """A hub's file in memory that ends where the file ends, to be damaged."""

    def __init__(self, folder: Path) -> None:
        codes = np.arange(700, dtype=np.int64) + 10**9
        with hub.open(folder, create=True) as h:
            own = h.acquire("nenkin", codes).aliases
            town = h.catalog.institutions("市町村長")[0].code
            h.acquire(town, codes)
            for number, size in enumerate(SIZES):
                h.inquire(tax_inquiry(f"r{number}"), own[:size], town)
        env = lmdb.open(str(folder / "env"), map_size=1 << 40, max_dbs=256, lib_version=0, readonly=True)
        with env, env.begin() as txn:
            self.transaction = txn.id()
        self.data = np.frombuffer((folder / "env/data.mdb").read_bytes(), np.uint8)
        # The last page of the memory is the last of the file, whatever an address behind it holds.
        self._memory = np.empty(len(self.data) + 4096, np.uint8)
        start = -self._memory.ctypes.data % 4096
        self.memory = self._memory[start : start + len(self.data)]
        self.periods = PeriodKeys(next(folder.rglob("keys/periods")))
        self.heads = Heads()
        self.memory[:] = self.data
        self.whole = [summed(one) for one in self.bodies().read(range(RECORDS))]

    def bodies(self, heads: Heads | None = None) -> Bodies:
        """A reader of what stands in the memory now."""
        pages = Pages(self.memory.ctypes.data, len(self.memory), self.transaction)
        snapshot: Any = SimpleNamespace(pages=pages)
        return Bodies(snapshot, self.periods, self.heads if heads is None else heads)


def summed(body: _bodies.Body) -> tuple[Any, ...]:
    own = body.person, body.provider, body.decision, body.outcome, body.kind, body.link
    return body.index, body.position, *own, body.chunk.first, body.chunk.fields.blind


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Copied:
    return Copied(tmp_path_factory.mktemp("bodies") / "hub")


def test_every_record_is_found_in_any_order_with_its_own_row(copied: Copied) -> None:
    copied.memory[:] = copied.data
    order = random.Random(SEED).sample(range(RECORDS), RECORDS)
    assert [summed(one) for one in copied.bodies().read(order)] == [copied.whole[index] for index in order]
    assert [one.index for one in copied.bodies(Heads()).read([5, 5, 0, RECORDS - 1])] == [5, 5, 0, RECORDS - 1]
    assert copied.bodies().read([]) == []
    assert len(copied.bodies().rows([])) == 0
    rows = copied.bodies().rows(order)
    assert rows["person"].tolist() == [copied.whole[index][2] for index in order]


@pytest.mark.parametrize("index", [RECORDS, RECORDS + 1, (1 << 48) - 1, (1 << 64) - 1])
def test_a_record_behind_the_last_is_none(copied: Copied, index: int) -> None:
    copied.memory[:] = copied.data
    with pytest.raises(StorageError, match=f"record {index}: expected a chunk that holds it"):
        copied.bodies().read([0, index])


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_file_gives_an_error_or_the_record_as_it_was(copied: Copied, known: bool) -> None:
    rng = random.Random(SEED)
    refused = 0
    for number in range(TRIES):
        copied.memory[:] = copied.data
        for _ in range(rng.choice((1, 1, 3, 30))):
            at = rng.randrange(len(copied.data))
            copied.memory[at] = rng.choice((0, 255, copied.data[at] ^ (1 << rng.randrange(8))))
        wanted = rng.sample(range(RECORDS), 40)
        try:
            # Heads that were read before the damage, or none.
            found = copied.bodies(None if known else Heads()).read(wanted)
        except KeyGoneError:
            raise
        except (StorageError, LookupError):
            refused += 1
            continue
        assert [summed(one) for one in found] == [copied.whole[index] for index in wanted], (SEED, number)
    assert refused, SEED


def test_the_kernel_knows_a_chunk_by_the_places_of_its_fields() -> None:
    assert [Chunk._fields[place] for place in (0, 1, 4, 7, 8)] == ["first", "rows", "nonce", "rows_at", "sums"]


def test_rows_are_given_back_as_they_are_stored(copied: Copied) -> None:
    copied.memory[:] = copied.data
    found = copied.bodies().read([7, 400, 3])
    rows = _bodies.rows_of(found, False)
    assert rows.tobytes() == copied.bodies().rows([7, 400, 3]).tobytes()
    numbered = _bodies.rows_of(found, True)
    assert numbered[:, 6].tolist() == [0, 1, 2]
    assert (np.delete(numbered, (6, 7), axis=1) == np.delete(rows, (6, 7), axis=1)).all()
    with pytest.raises(ValueError, match="one length"):
        _bodies.bodies_of([1, 2], [found[0].chunk], rows)
    assert repr(found[0]) == "Body(index=7)"
