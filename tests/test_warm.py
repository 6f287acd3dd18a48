"""What a server reads before it listens, so that the first inquiry of a day need not wait for the day's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.errors import StorageError
from hub.protection.askedlog import AskedLog
from inquiries import tax_inquiry

CODES = [f"{number:011}" for number in range(1, 9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub in which somebody was asked about today."""
    with hub.open(tmp_path / "hub", create=True) as h:
        ask(h, "before", h.acquire("nenkin", CODES).aliases)
    return tmp_path / "hub"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each reading of the log of a day."""
    found: list[int] = []
    since = AskedLog.rows_since

    def rows_since(log: AskedLog, *arguments: Any) -> Iterator[Any]:
        found.append(1)
        return since(log, *arguments)

    monkeypatch.setattr(AskedLog, "rows_since", rows_since)
    return found


def ask(h: hub.Hub, name: str, mine: Any) -> None:
    town = h.catalog.institutions("市町村長")[0].code
    h.acquire(town, CODES)
    assert len(h.inquire(tax_inquiry(name), np.ascontiguousarray(mine), town)) == len(CODES)


@pytest.mark.parametrize("warm", [True, False])
def test_the_first_inquiry_reads_what_was_not_read_before(folder: Path, read: list[int], warm: bool) -> None:
    with hub.open(folder) as h:
        if warm:
            h.warm()
        assert len(read) == warm
        ask(h, "after", h.acquire("nenkin", CODES).aliases)
        assert len(read) == 1


def test_a_day_that_cannot_be_read_is_the_inquiries_affair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_since(log: AskedLog, *arguments: Any) -> Iterator[Any]:
        raise StorageError("records: damaged")

    monkeypatch.setattr(AskedLog, "rows_since", rows_since)
    with hub.open(folder) as h:
        h.warm()
        with pytest.raises(StorageError, match="damaged"):
            ask(h, "after", h.acquire("nenkin", CODES).aliases)


def test_who_only_reads_has_nothing_to_wait_for(folder: Path, read: list[int]) -> None:
    with hub.open(folder, readonly=True) as h:
        h.warm()
    assert read == []
