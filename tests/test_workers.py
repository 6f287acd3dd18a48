"""Threads of bulk work: all slices are done, and where they are told to they stand behind the process's others."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from hub.storage.workers import ROWS_PER_SLICE_MIN, Workers


def nice_of_this_thread() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.parametrize(
    ("rows", "slices"),
    [(0, 1), (2 * ROWS_PER_SLICE_MIN - 1, 1), (2 * ROWS_PER_SLICE_MIN, 2), (9 * ROWS_PER_SLICE_MIN, 3)],
)
def test_slices_cover_every_row_once(rows: int, slices: int) -> None:
    workers = Workers(3)
    try:
        found = workers.over_slices(rows, lambda part: (part.start, part.stop))
    finally:
        workers.close()
    assert len(found) == slices
    assert [begin for begin, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == rows


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows a thread's priority")
@pytest.mark.parametrize("behind", [0, 5])
def test_threads_stand_back_by_as_much_as_they_are_told(behind: int) -> None:
    own, workers = nice_of_this_thread(), Workers(1)
    workers.behind = behind
    further = workers.pool(1, "further")
    try:
        expected = min(19, own + behind)
        assert workers.submit(nice_of_this_thread).result() == expected
        assert further.submit(nice_of_this_thread).result() == expected
        assert nice_of_this_thread() == own
    finally:
        further.shutdown()
        workers.close()


def test_where_priorities_are_forbidden_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbid)
    workers = Workers(1)
    workers.behind = 5
    try:
        assert workers.submit(int, "7").result() == 7
    finally:
        workers.close()
