"""Huge pages under the tables: nothing changes but the pages, whoever reads or writes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.aliases import BY_ALIAS, BY_PERSON, table_number
from hub.storage.hugepages import HUGE_BYTES, huge_bytes, map_hugely

PERSONS = 250_000
"""Half a table of so many takes 8 MB."""

CODES = 99_000_000_000 + np.arange(PERSONS, dtype=np.int64)


class Known:
    """An open hub in which everybody is known to the agency and to the portal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "env" / "data.mdb"
        self.h = hub.open(folder, create=True, threads=1)
        self.asking = self.h.acquire("nenkin", CODES).aliases
        self.shown = self.h.acquire("portal", CODES).aliases

    def tables(self) -> list[int]:
        number = self.h.catalog.institution
        return [table_number(number("nenkin").number, BY_ALIAS), table_number(number("portal").number, BY_PERSON)]

    def map_hugely(self, tables: list[int] | None = None) -> int:
        with self.h._store.snapshot() as snapshot:
            return map_hugely(snapshot, self.tables() if tables is None else tables, self.data)

    def check(self) -> None:
        found = self.h.resolve("nenkin", "portal", self.asking)
        assert not found.status.any()
        assert (found.aliases == self.shown).all()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    found = Known(tmp_path_factory.mktemp("huge") / "hub")
    yield found
    found.h.close()


def test_the_tables_are_mapped_in_huge_pages_and_answer_the_same(known: Known) -> None:
    known.check()
    asked = known.map_hugely()
    assert asked % HUGE_BYTES == 0
    known.check()
    if not huge_bytes(known.data):
        pytest.skip("this system gives a file no huge pages")
    # Two halves of 8 MB each, less what lies at their ends.
    assert 8 << 20 <= asked <= 24 << 20
    assert huge_bytes(known.data) >= asked // 2


def test_tables_are_warmed_for_those_who_ask_and_are_asked(known: Known) -> None:
    assert known.h.warm_tables(["nenkin"], ["portal"]) == known.map_hugely()
    known.check()
    assert known.h.warm_tables([], []) == 0
    with pytest.raises(hub.errors.RequestError, match="institution"):
        known.h.warm_tables(["nobody"], [])


def test_parts_that_hold_little_of_the_tables_stay_as_they_are(known: Known) -> None:
    assert known.map_hugely([]) == 0
    # A table that nobody has.
    assert known.map_hugely([table_number(4_000, BY_ALIAS)]) == 0


def test_a_file_that_is_not_mapped_here_is_left_alone(known: Known, tmp_path: Path) -> None:
    other = tmp_path / "data.mdb"
    other.write_bytes(bytes(4096))
    with known.h._store.snapshot() as snapshot:
        assert map_hugely(snapshot, known.tables(), other) == 0
    assert huge_bytes(other) == 0


def test_who_asks_and_acquires_meanwhile_is_answered_right(known: Known) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        random = np.random.default_rng(1)
        while not done.is_set():
            some = random.integers(0, PERSONS, 5_000)
            found = known.h.resolve("nenkin", "portal", known.asking[some])
            if found.status.any() or (found.aliases != known.shown[some]).any():
                wrong.append(found)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(3):
            more = known.h.acquire("nenkin", 99_500_000_000 + np.arange(1_000 * number, 1_000 * (number + 1)))
            assert (more.status == hub.Acquisition.CREATED).all()
            known.map_hugely()
    finally:
        done.set()
        asking.join()
    assert wrong == []
    known.check()
    assert known.h.verify().ok
