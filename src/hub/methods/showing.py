"""What the hub shows: histories with their proofs, and the log; the Hub's methods for citizens and auditors.

The work is done in ``disclose.py``, ``records/log.py`` and ``verify.py``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from hub._bodies import Body
from hub.aliases import CLOSED, REVOKED, find_persons
from hub.catalog import Catalog
from hub.citizens.corrections import make_disclosure
from hub.decode import decode_alias
from hub.disclose import disclose_history, prove_records
from hub.errors import RequestError
from hub.history import GapError
from hub.limits import HISTORY_LIMIT, HISTORY_STEP_S
from hub.messages import History, Record, Status
from hub.persons.merges import lives_of
from hub.protection.marks import has_marks
from hub.protection.withholding import Office
from hub.records.bodies import Bodies, Heads
from hub.records.holds import HoldKeys
from hub.records.kept import note_exported
from hub.records.log import Log
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store
from hub.tlog.proof import Proof
from hub.tlog.tiles import Exported, export_tiles
from hub.verify import Report, Verifier

_ALONE = Workers(1)


class Showing(ABC):
    """The part of :class:`hub.Hub` that shows records, and proves them."""

    _store: Store
    _periods: PeriodKeys
    _heads: Heads
    _hold_keys: HoldKeys
    _office: Office
    _workers: Workers
    _clock: Callable[[], float]

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def catalog_of(self, digest: str) -> Catalog:
        """The catalog with this digest."""

    @abstractmethod
    def _published(self) -> Log:
        """The record log."""

    @abstractmethod
    def _wake(self) -> None:
        """Say that records were added."""

    # -- histories

    def history(
        self,
        portal_alias: Any,
        *,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
        institution: str | None = None,
        procedure: str | None = None,
        limit: int = HISTORY_LIMIT,
        cursor: str | None = None,
    ) -> History:
        """Who asked whom about a person, when, for what, on which basis, and what came of it; newest first.

        Args:
            portal_alias: the person's alias at ``portal``: 16 bytes, 32 hex digits or uint8[16].
            since, until: a date (a day in Japan, ``until`` inclusive) or an aware datetime (``until`` exclusive).
            institution: only records in which it asked or was asked. procedure: only this one.
            limit: 1 to 1,000 records. cursor: of the page before.

        In a hub that has marks it returns at multiples of ``limits.HISTORY_STEP_S``, for everybody.

        Raises:
            RequestError: the alias is not one of the portal's, or a filter has the wrong form.
        """
        begun = time.monotonic()
        found = self.page_of(
            portal_alias, since=since, until=until, institution=institution, procedure=procedure, limit=limit,
            cursor=cursor,
        )  # fmt: skip
        self._even_out(begun)
        return found

    def page_of(self, portal_alias: Any, **options: Any) -> History:
        """:meth:`history` that does not wait; whoever shows it waits for :meth:`leaves_at` in its own way."""
        return self._disclose_twice(lambda snapshot: self._find_citizen(snapshot, portal_alias), options, frozenset())

    def leaves_at(self, begun: float) -> float:
        """Before when nobody may see a history that was begun at a moment and is there now; of ``time.monotonic``."""
        with self._store.snapshot() as snapshot:
            # Of the whole hub, not of the person: who asks may know that somewhere something is withheld.
            if not has_marks(snapshot):
                return begun
        now = time.monotonic()
        return now + (begun - now) % HISTORY_STEP_S

    def _read_history(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], *, leave_out: frozenset[int] = frozenset()
    ) -> History:
        """A page of the records of whom ``find`` names; for a proxy without some kinds, and without a disclosure."""
        begun = time.monotonic()
        found = self._disclose_twice(find, options, leave_out)
        self._even_out(begun)
        return found

    def _disclose_twice(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], leave_out: frozenset[int]
    ) -> History:
        try:
            return self._disclose(find, options, leave_out)
        except GapError:
            # Retention may have erased, since this snapshot began, what it still names: once more from the newest one.
            return self._disclose(find, options, leave_out)

    def _even_out(self, begun: float) -> None:
        """Let a history leave at a fixed moment, so that its time does not tell what it passed over."""
        wait = self.leaves_at(begun) - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def _disclose(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], leave_out: frozenset[int]
    ) -> History:
        with self._store.snapshot() as snapshot:
            person = find(snapshot)
            bodies, now = Bodies(snapshot, self._periods, self._heads), max(int(self._clock()), snapshot.state.time)
            return disclose_history(
                snapshot,
                bodies,
                self.catalog,
                self._store.keys,
                self._periods,
                person,
                prove=self._prove,
                visibility=self._office.visibility(snapshot, bodies, person),
                # A correction is the person's own to ask for.
                disclosure="" if leave_out else make_disclosure(self._store.keys, person, now, snapshot.state.records),
                leave_out=leave_out,
                lives=lives_of(snapshot),
                catalog_of=self.catalog_of,
                **options,
            )

    def disclosure_key(self, portal_alias: Any) -> bytes:
        """The 16 bytes by which a proof says whose record it is; for the portal, to hand to that person.

        Raises:
            RequestError: the alias is not one of the portal's.
        """
        with self._store.snapshot() as snapshot:
            person = self._find_citizen(snapshot, portal_alias)
        return self._store.keys.disclosure_keys(np.array([person], dtype=np.uint32)).tobytes()

    def disclosure_keys(self, portal_alias: Any) -> list[bytes]:
        """The keys by which proofs of this person's history say whose records they are: of 16 bytes each.

        One mostly, that of ``disclosure_key``; where persons were merged into this one, theirs behind it.

        Raises:
            RequestError: the alias is not one of the portal's.
        """
        with self._store.snapshot() as snapshot:
            members = lives_of(snapshot).members(self._find_citizen(snapshot, portal_alias))
        keys = self._store.keys.disclosure_keys(np.array(members, dtype=np.uint32))
        return [key.tobytes() for key in keys]

    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any, *, closed: bool = False) -> int:
        """The person of a portal alias; with ``closed`` also of one whose person has died."""
        number = self.catalog.institution("portal").number
        persons, flags, status = find_persons(snapshot, number, decode_alias(portal_alias), _ALONE)
        if int(flags[0]) & (CLOSED | REVOKED) == CLOSED:
            if not closed:
                raise RequestError("alias: expected one that is open, got one that was closed")
        elif status[0] != Status.OK:
            raise RequestError("alias: expected one of the portal's, got another")
        return int(persons[0])

    def _prove(self, found: list[Body], records: list[Record]) -> list[Proof]:
        with self._store.snapshot() as snapshot:
            bodies = Bodies(snapshot, self._periods, self._heads)
            return prove_records(self._published(), snapshot, bodies, self._store.keys, found, records)

    def _corrected(self) -> None:
        self._wake()
        self._published().publish()

    # -- the log

    @property
    def verifier_key(self) -> str:
        """The log's public key as a C2SP vkey: all that is needed to check a proof."""
        return self._published().verifier_key

    def checkpoint(self) -> str:
        """The latest checkpoint, a C2SP signed note; every answered row is in the tree that it names."""
        return self._published().checkpoint()

    def checkpoints(self) -> list[tuple[dt.datetime | None, str]]:
        """Checkpoints that are kept, by size: (time of the last record, note); the latest is :meth:`checkpoint`'s.

        One a minute for a day, one an hour for a year, one a day for ever, and each one that was exported (whose time
        may be None).

        Raises:
            TamperError: one is not signed by this log's key. StorageError: one is damaged.
        """
        with self._store.snapshot() as snapshot:
            kept = self._published().checkpoints(snapshot)
        return [(None if time is None else dt.datetime.fromtimestamp(time, dt.UTC), note) for time, note in kept]

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The RFC 6962 consistency proof between two sizes of the log.

        Raises:
            RequestError: not 0 <= old_size <= new_size <= size of the latest checkpoint.
        """
        with self._store.snapshot() as snapshot:
            return self._published().consistency(snapshot, old_size, new_size)

    def export_tiles(
        self, folder: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None
    ) -> Exported:
        """Write the log as static files in the C2SP layout; only what is new since the last time.

        Raises:
            RequestError: the folder holds another log.
            StorageError: a file could not be written, or what is stored does not lead to the signed root.
        """
        with contextlib.closing(self._published().renewed_tree()) as tree:
            note_exported(self._published().exported, tree.checkpoint)
            return export_tiles(tree, folder, progress=progress)

    def verify(self, *, progress: Callable[[int], None] | None = None) -> Report:
        """Re-derive everything from the stored bytes: checksums, blocks, entries, tree, head, index.

        Other work goes on beside it. ``hub verify FOLDER`` also walks the pages of the environment.

        Args:
            progress: called with the records that are done.
        """
        verifier = Verifier(
            self._store, self._published(), self._periods, self._hold_keys, self._workers, self._office
        )
        return verifier.run(progress)
