"""A stored value in another's place, or one of an earlier commit in its own: found when read or by the verification.

Done with py-lmdb to copies of a folder, so that pages are whole and every checksum is right: what a file system that
swapped two sectors, or a disk that lost a write, leaves in a folder. Each value of a database is exchanged in turn.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

import hub
import hub.additions
from hub.errors import HubError, StorageError
from hub.log import default_head
from hub.merger import Merger
from inquiries import tax_inquiry

NOW = 1_798_000_000
DATABASES = (
    "meta", "tables", "changes", "pending", "records", "entries", "nodes", "catalogs", "runs", "rundir", "checkpoints",
    "requests",
)  # fmt: skip
WRITTEN_ONCE = {"changes", "records", "entries", "nodes", "catalogs", "runs", "checkpoints"}
"""A key of these never gets another value, so that no older one can be put back."""

VALUES_MAX = 6
"""Of each database: the first, the last, and some between."""

Values = dict[bytes, bytes]


class Stopped(Exception):
    """Raised where a process would have died."""


def wait_for_merges(h: hub.Hub) -> None:
    merger = h._merger
    assert isinstance(merger, Merger)
    for _ in range(500):
        if merger.idle:
            return
        merger._closing.wait(0.02)
    raise AssertionError("expected the merges to end")


def copy(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    shutil.copy(default_head(folder), default_head(target))
    return target


class Versions:
    """A folder at its end, and every value that each of its keys ever had at the end of a step."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.older: dict[str, dict[bytes, set[bytes]]] = {}
        now = [NOW]
        codes = np.arange(4_000, dtype=np.int64) + 10**9

        def open_hub() -> hub.Hub:
            return hub.open(folder, create=True, clock=lambda: now[0])

        with open_hub() as h:
            town = h.catalog.institutions("市町村長")[0].code
            own = h.acquire("nenkin", codes[:1_500]).aliases
            h.acquire(town, codes[:1_200])
            h.begin_file("nenkin", "file", bytes(32), 300)
        self._look()
        for step in range(3):
            with open_hub() as h:
                for number in range(9):
                    now[0] += 4_000
                    h.inquire(tax_inquiry(f"r{step}-{number}"), own[: 600 + number], town)
                h.acquire(town, codes[1_200 : 1_300 + 100 * step])
                if step == 1:
                    h.end_file("nenkin", "file", 300)
                if step == 2:
                    wait_for_merges(h)
            self._look()
        # A large acquisition of which only the first commit, which writes it down, took place: twice.
        patch.setattr(hub.additions, "COMMIT_BYTES_MAX", 1 << 15)
        patch.setattr(hub.additions, "ROWS_PER_PART", 500)
        patch.setattr(hub.additions, "_complete", self._stop)
        for first in (1_500, 2_800):
            with open_hub() as h, pytest.raises(Stopped):
                h.acquire("portal", codes[first : first + 1_200])
            self._look()
            if first == 1_500:
                with patch.context() as again:
                    again.undo()
                    open_hub().close()
        patch.undo()
        self.now = self._values()

    def _stop(self, *_: object) -> None:
        raise Stopped

    def _values(self) -> dict[str, Values]:
        with open_environment(self.folder) as (env, names), env.begin() as txn:
            return {
                name: {bytes(key): bytes(value) for key, value in txn.cursor(db=env.open_db(name.encode(), txn=txn))}
                for name in names
            }

    def _look(self) -> None:
        for name, values in self._values().items():
            for key, value in values.items():
                self.older.setdefault(name, {}).setdefault(key, set()).add(value)
