"""A hub that is served to others: the Hub's methods for its server.

Once served, a folder stays marked (``meta``, ``served``: its address): whoever holds it may no longer call what would
give one caller two aliases of a person (``acquire``, ``resolve``).
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from hub.aliases import BY_ALIAS, BY_PERSON, check_table, table_number
from hub.catalog import Catalog
from hub.errors import RequestError, StorageError
from hub.protection.asked import Asked
from hub.provision.deliver import all_inboxes
from hub.provision.delivery import Delivery
from hub.provision.inbox import ARRIVALS, read_delivered
from hub.records.handles import read_handle
from hub.records.log import Log
from hub.runs.merger import Merger
from hub.singles.gather import Gatherer
from hub.storage.hugepages import map_hugely
from hub.storage.sealed import unseal
from hub.storage.times import Times
from hub.storage.workers import Workers
from hub.store import Store
from hub.tlog.verify import read_checkpoint

SERVED = b"served"


class Vitals(NamedTuple):
    """How an open hub is; nothing of it is about anybody.

    Attributes:
        records, published: in the log, and of these covered by the last durable checkpoint. unsorted: in no inbox yet.
        permits, arrivals: that wait in the inboxes of all institutions.
        map_used, map_size, disk_free: bytes.
        commit_times, publish_times: of transactions, and of checkpoints. full: how often a disk or map had no room.
        stopped: background threads (``inboxes``, ``index``) that have, and ``writing`` where nothing can be written
            until the folder is opened again.
    """

    records: int
    published: int
    unsorted: int
    permits: int
    arrivals: int
    map_used: int
    map_size: int
    disk_free: int
    commit_times: Times
    publish_times: Times
    full: int
    stopped: frozenset[str]


class Serving(ABC):
    """The part of :class:`hub.Hub` that a server needs beside what its callers call."""

    _workers: Workers
    _asked: Asked
    _store: Store
    _log: Log | None
    _gatherer: Gatherer | None
    _delivery: Delivery | None
    _merger: Merger | None

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _now(self) -> int:
        """The hub's clock, never before the last record."""

    def give_way(self) -> None:
        """Rest 0.3 ms where small inquiries came lately: for whoever does long work in pieces beside them."""
        self._store.turns.give_way()

    def stand_back(self, behind: int) -> None:
        """Let the threads of bulk work stand behind the process's others, see :class:`hub.storage.workers.Workers`; to
        be called before there is any."""
        self._workers.behind = behind

    def warm(self) -> None:
        """Read what the first inquiry of a day would have to wait for; a folder in which that is damaged says so then.
        Whoever only reads has nothing to wait for."""
        if not self._store.readonly:
            with contextlib.suppress(StorageError):
                self._asked.begin(self._now())

    def warm_tables(self, requesters: Sequence[str], providers: Sequence[str]) -> int:
        """Read and check the tables that rows of bulk inquiries are looked up in, so that none has to wait for it.

        As far as the system has them for files, they stand in pages of 2 MiB then (``storage/hugepages.py``).

        Args:
            requesters, providers: codes of the institutions that will ask, and of those that will be asked.

        Returns:
            Bytes of the file in parts for which such pages were asked.

        Raises:
            RequestError: there is no such institution.
            StorageError: a table is damaged.
        """
        institution = self.catalog.institution
        tables = [table_number(institution(code).number, BY_ALIAS) for code in requesters]
        tables += [table_number(institution(code).number, BY_PERSON) for code in providers]
        with self._store.snapshot() as snapshot:
            asked = map_hugely(snapshot, tables, self._store.folder / "env" / "data.mdb")
        for table in tables:
            with self._store.snapshot() as snapshot:
                check_table(snapshot, table)
        return asked

    def mark_served(self, address: str) -> None:
        """Mark the folder as served, for ever; whoever opens it for writing meanwhile reads where.

        Args:
            address: as clients connect to it, ``hubs://host:port``.

        Raises:
            StorageError: the disk is full or failed; then do not serve it.
        """
        with self._store.writer:
            if self.served_at() != address:
                with self._store.commit() as commit:
                    commit.put_sealed("meta", SERVED, address.encode())
        self._store.name_holder(f"served at {address}: use that")

    def served_at(self) -> str | None:
        """The address at which the folder was served last, or None: it never was."""
        with self._store.snapshot() as snapshot:
            value = snapshot.get("meta", SERVED)
        return None if value is None else unseal("meta", SERVED, value).decode("utf-8", "replace")

    def disk_free(self) -> int:
        """Bytes that may still be written on the folder's disk."""
        found = os.statvfs(self._store.folder)
        return found.f_bavail * found.f_frsize

    def waiting_calls(self) -> tuple[int, int, float]:
        """Small inquiries and their rows that wait for a shared commit, and for how many seconds the first has."""
        assert self._gatherer is not None
        return self._gatherer.waiting()

    def vitals(self) -> Vitals:
        """How the hub is, for whoever watches over its server; takes about a microsecond an institution."""
        store, log = self._store, self._log
        assert log is not None
        with store.snapshot() as snapshot:
            records, delivered = snapshot.state.records, read_delivered(snapshot)
            waiting = [0, 0]
            for inbox in all_inboxes(snapshot):
                waiting[inbox.provider >= ARRIVALS] += int(inbox.entries["open"].sum())
        threads = (("inboxes", self._delivery), ("index", self._merger))
        stopped = {name for name, thread in threads if thread is not None and not thread.alive}
        if store.broken:
            stopped.add("writing")
        return Vitals(
            records, read_checkpoint(log.checkpoint()).size, records - delivered, waiting[0], waiting[1],
            *store.map_use(), self.disk_free(), store.commit_times, log.publish_times, store.full, frozenset(stopped),
        )  # fmt: skip

    def check_handle(self, institution: str, handle: Any) -> None:
        """Refuse a handle that was made for another institution; one by request id is its requester's anyway.

        Raises:
            RequestError: it was.
        """
        if isinstance(handle, bytes) and read_handle(self._store.keys, handle)[0] != (
            self.catalog.institution(institution).number
        ):
            raise RequestError("handle: expected one of this institution, got another's")
