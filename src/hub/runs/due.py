"""Which runs of the history index are due to be merged: neighbours of about one size, about eight at a time."""

from __future__ import annotations

import functools
import math

from hub.runs.directory import Merge
from hub.runs.index import BLOCK_BYTES, RUN_RECORDS_MAX, Run, key_bytes_for

FAN_OUT = 8
SMALL_RECORDS = 512
SMALL_RUNS = 64
"""Runs under 512 records wait for 64 of their kind: a merge costs a commit of its own, as much as a single inquiry."""

MIXED_RUNS_MAX = 192
"""Runs of one chunk's size or less; more, in whatever order they come, are merged without regard to their sizes."""

INPUTS_MAX = 128


@functools.lru_cache(1 << 12)
def size_class(records: int) -> int:
    """0 for less than 512 records, then one more for each eightfold."""
    return 0 if records < SMALL_RECORDS else (records.bit_length() - 10) // 3 + 1


def due_runs(runs: list[Run], busy: set[int], *, closed: bool) -> list[Run]:
    """The neighbours of one period to be merged next, or none.

    Args:
        runs: of the period, ascending. busy: first indexes of those in a merge under way.
        closed: whether the period will hardly get any more records; then it ends as one run, or few.
    """
    stretches: list[list[Run]] = [[]]
    for run in runs:
        if run.first in busy:
            stretches.append([])
        else:
            stretches[-1].append(run)
    chosen = (
        _due_small(stretches)
        or _due_classes(stretches)
        or _due_mixed(stretches)
        or (_due_closed(runs) if closed and not busy else [])
    )[:INPUTS_MAX]
    # Offsets are 32 bits.
    while chosen and chosen[-1].last - chosen[0].first > RUN_RECORDS_MAX:
        chosen = chosen[:-1]
    return chosen if len(chosen) > 1 else []


def _groups(stretches: list[list[Run]], class_max: int) -> list[list[Run]]:
    """Neighbours that are all of this class or below."""
    groups: list[list[Run]] = []
    for stretch in stretches:
        groups.append([])
        for run in stretch:
            if size_class(run.records) > class_max:
                groups.append([])
            else:
                groups[-1].append(run)
    return groups


def _due_small(stretches: list[list[Run]]) -> list[Run]:
    groups = _groups(stretches, 0)
    if sum(map(len, groups)) < SMALL_RUNS:
        return []
    longest = max(groups, key=len)
    # Where small and large ones alternate, the small ones go with the large ones.
    return longest if len(longest) >= FAN_OUT else []


def _due_classes(stretches: list[list[Run]]) -> list[Run]:
    top = max((size_class(run.records) for stretch in stretches for run in stretch), default=0)
    for number in range(1, top + 1):
        for group in _groups(stretches, number):
            places = [at for at, run in enumerate(group) if size_class(run.records) == number]
            if len(places) >= FAN_OUT:
                # From the begin of the group: smaller ones left before a larger one would never find neighbours.
                return group[: places[-1] + 1]
    return []


def _due_mixed(stretches: list[list[Run]]) -> list[Run]:
    groups = _groups(stretches, size_class(1 << 16))
    return max(groups, key=len) if sum(map(len, groups)) > MIXED_RUNS_MAX else []


def _due_closed(runs: list[Run]) -> list[Run]:
    """The newest ones from the first that is at most twice the sum of the newer.

    What stays falls threefold from run to run, and a late record does not rewrite a whole period.
    """
    newer, begin = 0, len(runs)
    for at in range(len(runs) - 1, -1, -1):
        if runs[at].records <= 2 * newer:
            begin = at
        newer += runs[at].records
    return runs[begin:]


def new_merge(inputs: list[Run]) -> Merge:
    """A merge that has not begun."""
    records = sum(run.records for run in inputs)
    first, last = inputs[0].first, inputs[-1].last
    offset_bytes = max(1, (last - first).bit_length() + 7 >> 3)
    key_bytes = 8
    for _ in range(3):
        room = (BLOCK_BYTES - 12) // (key_bytes + offset_bytes)
        # Two standard deviations below what fits: about one block in fifty takes a third page.
        blocks = max(1, math.ceil(records / (room - 2 * math.isqrt(room))))
        key_bytes = key_bytes_for(blocks)
    tier = min(255, 1 + max(run.tier for run in inputs))
    return Merge(inputs[0].period, first, records, blocks, key_bytes, offset_bytes, tier, 0, 0, tuple(inputs))
