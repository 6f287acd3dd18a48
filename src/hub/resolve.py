"""Stage 3 of 6: a requester's aliases -> persons and, of allowed rows, the providers' aliases.

Reads one snapshot. A block's checksum is checked before the first row is answered from it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hub import _core
from hub.aliases import (
    BY_ALIAS,
    NOBODY,
    NOT_LOADED,
    UNCHECKED,
    check_slots,
    directory,
    find_aliases,
    provider_map,
    table_number,
)
from hub.errors import StorageError
from hub.messages import Aliases, Status
from hub.persons.successions import Successions, successions_of
from hub.requests.batch import Resolution
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

_SIXTEEN_BYTES = np.complex128

ROUNDS_MAX = 5
"""Requester's blocks, providers' directories, providers' blocks, the answer; and one more."""


def resolve_aliases(
    snapshot: Snapshot,
    requester: int,
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    workers: Workers,
    *,
    wanted: npt.NDArray[np.uint8] | None = None,
) -> Resolution:
    """Translate a requester's aliases into persons and the providers' aliases.

    A body that succeeded others (``persons/successions.py``) is known by their aliases as well.

    Args:
        snapshot: held by the caller until it is done with the result's meaning.
        requester: institution number. providers: uint32[N] institution numbers, or uint32[1] for all rows.
        aliases: uint8[N, 16], any order, duplicates allowed, untrusted.
        wanted: uint8[N] or None; the provider's alias is looked up where it is not 0.

    Raises:
        StorageError: a block is damaged; nothing is answered.
    """
    result = _resolve(snapshot, requester, providers, aliases, workers, wanted)
    found = successions_of(snapshot)
    if found.sum:
        _look_before(snapshot, found, requester, providers, aliases, workers, wanted, result)
    return result


def resolve_by_provider(
    snapshot: Snapshot,
    requester: int,
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    workers: Workers,
    *,
    wanted: npt.NDArray[np.uint8],
) -> Resolution:
    """:func:`resolve_aliases`, but the rows are taken in the order of their providers; answered in their own.

    At 62.5 M persons of 1,741 providers half a million random rows take three quarters of the time, that of ordering
    them included; at a few million it is not worth it.
    """
    # Of 16 bits, as institutions' numbers are, they are sorted several times as fast as of 32.
    small = int(providers.max(initial=0)) < 1 << 16
    order = np.argsort(providers.astype(np.uint16) if small else providers, kind="stable")
    # As numbers of 16 bytes: numpy moves those as a whole, rows of 16 single bytes it moves several times as slowly.
    in_order = aliases.view(_SIXTEEN_BYTES).reshape(-1).take(order).view(np.uint8).reshape(-1, 16)
    found = resolve_aliases(snapshot, requester, providers.take(order), in_order, workers, wanted=wanted.take(order))
    result = Resolution(len(aliases), found.tables_commit)
    result.persons[order], result.status[order] = found.persons, found.status
    result.aliases.view(_SIXTEEN_BYTES).reshape(-1)[order] = found.aliases.view(_SIXTEEN_BYTES).reshape(-1)
    return result


def resolve_parts(
    snapshot: Snapshot,
    requesters: list[int],
    starts: npt.NDArray[np.int64],
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    workers: Workers,
    wanted: npt.NDArray[np.uint8],
) -> Resolution:
    """:func:`resolve_aliases` for the rows of several requesters, of whom each may have few.

    Args:
        requesters: K institution numbers. starts: int64[K + 1], where the rows of each begin, and the end.
        providers, aliases, wanted: as there, all of N rows.
    """
    result = Resolution(len(aliases), snapshot.state.tables_commit)
    again = 1
    if not successions_of(snapshot).sum:
        directories = [directory(snapshot, table_number(one, BY_ALIAS)) for one in requesters]
        flags = np.empty(len(aliases), dtype=np.uint8)
        again = _core.resolve_parts(
            aliases, providers, directories, starts, snapshot.providers, result.persons, flags, result.aliases,
            result.status, wanted,
        )  # fmt: skip
    else:
        result.status[:] = UNCHECKED
    if again:
        waiting = np.flatnonzero((result.status == UNCHECKED) | (result.status == NOT_LOADED))
        for part in np.unique(np.searchsorted(starts, waiting, side="right") - 1).tolist():
            rows = slice(int(starts[part]), int(starts[part + 1]))
            one = resolve_aliases(
                snapshot, requesters[part], providers[rows], aliases[rows], workers, wanted=wanted[rows]
            )
            result.persons[rows], result.aliases[rows] = one.persons, one.aliases
            result.status[rows] = one.status
    return result


def _look_before(
    snapshot: Snapshot,
    found: Successions,
    requester: int,
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    workers: Workers,
    wanted: npt.NDArray[np.uint8] | None,
    result: Resolution,
) -> None:
    """Of rows that found nothing, look into the tables of the bodies that requester and providers succeeded."""
    every = np.broadcast_to(providers, len(aliases)) if len(providers) == 1 else providers
    for old in found.olds(requester):
        rows = np.flatnonzero(result.status == Status.UNKNOWN_ALIAS)
        if not len(rows):
            break
        some = None if wanted is None else wanted[rows]
        part = _resolve(snapshot, old, np.ascontiguousarray(every[rows]), aliases[rows], workers, some)
        result.persons[rows], result.aliases[rows], result.status[rows] = part.persons, part.aliases, part.status
    rows = np.flatnonzero(result.status == Status.NO_ALIAS_AT_PROVIDER)
    for number in np.unique(every[rows]).tolist():
        for old in found.olds(number):
            left = rows[(every[rows] == number) & (result.status[rows] == Status.NO_ALIAS_AT_PROVIDER)]
            known, none = find_aliases(snapshot, old, result.persons[left], workers)
            left, known = left[none == 0], known[none == 0]
            result.aliases[left], result.status[left] = known, Status.OK


def _resolve(
    snapshot: Snapshot,
    requester: int,
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    workers: Workers,
    wanted: npt.NDArray[np.uint8] | None,
) -> Resolution:
    """The same by the tables of the bodies themselves."""
    found = directory(snapshot, table_number(requester, BY_ALIAS))
    result = Resolution(len(aliases), snapshot.state.tables_commit)
    flags = np.empty(len(aliases), dtype=np.uint8)

    def run(rows: slice) -> int:
        return _core.resolve_batch(
            aliases[rows],
            providers[rows],
            found,
            snapshot.providers,
            result.persons[rows],
            flags[rows],
            result.aliases[rows],
            result.status[rows],
            None if wanted is None else wanted[rows],
        )

    for _ in range(ROUNDS_MAX):
        if not sum(workers.over_slices(len(aliases), run)):
            return result
        _prepare(snapshot, found, providers, aliases, result)
    raise StorageError("resolve: expected every block to be checked by now, got some that are not", retry_safe=True)


def _prepare(
    snapshot: Snapshot,
    found: _core.Directory,
    providers: npt.NDArray[np.uint32],
    aliases: Aliases,
    result: Resolution,
) -> None:
    """Load the directories and check the blocks that rows could not be looked up in yet."""
    missing = providers[result.status == NOT_LOADED]
    if len(missing):
        provider_map(snapshot, np.unique(missing).tolist())
    unchecked = result.status == UNCHECKED
    at_requester = unchecked & (result.persons == NOBODY)
    if at_requester.any():
        check_slots(found, _core.slots_of(found, aliases[at_requester]))
    rows = np.flatnonzero(unchecked & ~at_requester)
    if len(rows):
        rows = rows[np.argsort(providers[rows], kind="stable")]
        numbers, starts = np.unique(providers[rows], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(rows, starts[1:]), strict=True):
            table = snapshot.providers.loaded()[number]
            check_slots(table, _core.slots_of_persons(table, result.persons[part]))
