"""Resolving several chunks of a large inquiry together, ahead of their turn, in the order of the providers.

In a hub of tens of millions each row reads two places of gigabytes of tables, each behind a page of its own that the
processor has to find first. The table of one provider is small: where rows are taken provider by provider its pages are
found once. A chunk has too few rows of each for that, eight chunks have enough.

A chunk takes its part only in a state with the same alias tables as the one that it was resolved in; else it resolves
its rows itself, as every chunk of a smaller inquiry does.
"""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from hub.messages import Status
from hub.requests.batch import Batch, Decided, Resolution
from hub.requests.state import Request
from hub.resolve import resolve_by_provider
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store

CHUNKS_TOGETHER = 8
"""Half a million rows, 300 of each of 1,741 providers; two such groups are 22 MB."""

PERSONS_FROM = 1 << 24
"""Persons of a hub from which on it pays: below, the tables' pages are found in the processor's own lists."""

_ALONE = Workers(1)


class Ahead:
    """The groups of one inquiry's chunks. Begun by the thread that writes; its parts are taken by the workers."""

    def __init__(self, store: Store, workers: Workers, batch: Batch, decided: Decided, request: Request) -> None:
        self._store, self._workers = store, workers
        self._batch, self._decided, self._request = batch, decided, request
        self._groups: dict[int, Future[Resolution]] = {}

    def __repr__(self) -> str:
        return f"Ahead(groups={len(self._groups)})"

    def begin(self, chunk: int) -> None:
        """Start on the group of a chunk that will be prepared next, and on the one behind it."""
        group = chunk // CHUNKS_TOGETHER
        for number in (group, group + 1):
            if number not in self._groups and number * CHUNKS_TOGETHER < self._request.chunks:
                self._groups[number] = self._workers.submit(self._resolve, number)
        # The chunks of the group before may still be under way, those before them are not.
        self._groups.pop(group - 2, None)

    def part(self, chunk: int, snapshot: Snapshot) -> Resolution | None:
        """What a chunk's rows stand for, if the alias tables of this state are those that they were resolved in.

        Raises:
            StorageError: as of ``resolve_aliases``.
        """
        group, place = divmod(chunk, CHUNKS_TOGETHER)
        future = self._groups.get(group)
        if future is None:
            return None
        found = future.result()
        if found.tables_commit != snapshot.state.tables_commit:
            return None
        return found.part(slice(place * self._request.chunk_rows, (place + 1) * self._request.chunk_rows))

    def give_up(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        for future in self._groups.values():
            if not future.cancel():
                future.exception()

    def _resolve(self, group: int) -> Resolution:
        rows_each = CHUNKS_TOGETHER * self._request.chunk_rows
        rows = slice(group * rows_each, min((group + 1) * rows_each, self._request.rows))
        batch, table = self._batch, self._decided.table
        wanted = (table.status == Status.OK).astype(np.uint8).take(self._decided.decision[rows])
        with self._store.snapshot() as snapshot:
            return resolve_by_provider(
                snapshot, batch.requester, batch.providers[rows], batch.aliases[rows], _ALONE, wanted=wanted
            )


def look_ahead(
    store: Store, workers: Workers, batch: Batch, decided: Decided, request: Request, missing: int
) -> Ahead | None:
    """An :class:`Ahead` where it pays for an inquiry of which so many chunks are missing, else None."""
    if batch.by_class or missing < CHUNKS_TOGETHER:
        return None
    with store.snapshot() as snapshot:
        if snapshot.state.persons < PERSONS_FROM:
            return None
    return Ahead(store, workers, batch, decided, request)
