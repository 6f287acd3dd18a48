"""The life of aliases: the Hub's methods by which they are acquired with tickets, replaced, ended; see docs/aliases.md.

The work is done in ``acquisition/tickets.py`` and ``acquisition/reissue.py``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.acquisition.acquire import Barred
from hub.acquisition.reissue import reissue, revoke
from hub.acquisition.ticketdelivery import deliver_tickets
from hub.acquisition.tickets import acquired_aliases, close_tickets, draw_tickets
from hub.aliases import Statuses
from hub.catalog import Catalog
from hub.decode import CODES_ABOVE, decode_aliases, decode_codes, decode_differs
from hub.errors import RequestError
from hub.limits import ROWS_PER_BATCH_MAX
from hub.messages import Acquired, Aliases, Receipt
from hub.persons.successions import table_of
from hub.protection.withholding import Office
from hub.storage.snapshot import Commit
from hub.storage.workers import Workers
from hub.store import Store

REGISTER = "jlis"
"""The register body (地方公共団体情報システム機構): it knows resident record codes and no aliases."""


class Lives(ABC):
    """The part of :class:`hub.Hub` that keeps the life of aliases."""

    _store: Store
    _workers: Workers
    _office: Office
    _delivering: threading.Lock
    """Held while tickets are delivered or closed: what was read of them is true until it is written."""

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded."""

    @abstractmethod
    def _tell_held(self, commit: Commit, institution: int, differs: Statuses, delivered: int) -> None:
        """Append the event of tickets that are held."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    @abstractmethod
    def _barred(self, institution: str | int) -> Barred | None:
        """Who may not acquire an alias at an institution; None where nobody is barred."""

    # -- acquisition in three parts

    def tickets(self, institution: str, n: int) -> Aliases:
        """Draw one-off tickets (取得番号), to be sent to the register body with whatever tells it who is meant.

        Returns:
            uint8[n, 16]; nobody can tell them from random ones. Each is good for ``limits.TICKET_DAYS``.

        Raises:
            RequestError: unknown institution, the register body, or not 1 <= n <= ``limits.ROWS_PER_BATCH_MAX``.
            StorageError: the disk is full or failed; nothing was drawn.
        """
        number = self.catalog.institution(institution).number
        if institution == REGISTER:
            # With an alias of a person whose code it knows it would hold two of the three.
            raise RequestError("institution: expected another than the register body, got it")
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise RequestError(f"n: expected a number of tickets, got {type(n).__name__}")
        if not 1 <= n <= ROWS_PER_BATCH_MAX:
            raise RequestError(f"n: expected 1 to {ROWS_PER_BATCH_MAX} tickets, got {n}")
        self._check_at_work(institution)
        return draw_tickets(self._store, self._store.keys, number, int(n), self._now())

    def deliver(self, institution: str, tickets: Any, codes: Any, differs: Any = None) -> Receipt:
        """The register body's part: deliver tickets of whatever institutions with resident record codes.

        Each institution gets an alias of the person, or keeps the one that it has; no alias is told here, nor whether
        there was one. The same delivery again is a retry, also after the tickets were used. After an error or a crash
        the same call completes what is missing; what the first attempt created may then be told as ALREADY.

        Args:
            institution: ``jlis``. tickets: uint8[N, 16]. codes: list of N 11-digit strings, or int64[N].
            differs: uint8[N] of :class:`hub.Differs`: what of the claimed attributes (``claims``) is another in the
                register; 0 = all match. A row where something differs is HELD: nothing is made until a second clerk of
                the institution confirms it. None where no ticket has a claim.

        Raises:
            RequestError: another institution or form; or a ticket is unknown, has lapsed, or was delivered with
                another code or outcome; or it has a claim that was not compared, or none where something differs or
                where its institution must send one: the first such row is named, and nothing was changed.
            StorageError: the disk is full or failed.
        """
        if institution != REGISTER:
            raise RequestError(f"institution: expected the register body, {REGISTER}, got another")
        rows, numbers, now = decode_aliases(tickets, "tickets"), decode_codes(codes), self._now()
        if len(rows) != len(numbers):
            raise RequestError(f"codes: expected {len(rows)} rows, got {len(numbers)}")
        masks = None if differs is None else decode_differs(differs, len(rows))
        with self._delivering:
            deliver_tickets(
                self._store, self._store.keys, self._office.vault, rows, numbers, masks, now, self._workers,
                CODES_ABOVE, self._tell_held, self._barred,
            )  # fmt: skip
        return Receipt(rows=len(rows), received_at=now)

    def acquired(self, institution: str, tickets: Any) -> Acquired:
        """An institution's aliases of the persons with whose codes its tickets were delivered.

        It changes nothing and may be repeated, until the tickets are closed or lapse.

        Args:
            tickets: uint8[N, 16], any order, duplicates allowed, untrusted.

        Returns:
            aliases uint8[N, 16], those that the persons have at this moment, and status: CREATED; ALREADY where the
            institution had an alias of this person before; WAITING where nothing was delivered yet; HELD where
            attributes differ, with ``differs``, until ``confirm_links``; NONE where the ticket is unknown, another
            institution's, closed or lapsed, or its alias was revoked.
        """
        number = self.catalog.institution(institution).number
        rows = decode_aliases(tickets, "tickets")
        with self._store.snapshot() as snapshot:
            return acquired_aliases(
                snapshot, self._store.keys, self._office.vault, number, rows, self._now(), self._workers,
                closed=self._barred(number) is not None,
            )  # fmt: skip

    def close_tickets(self, institution: str, tickets: Any) -> int:
        """Say that the aliases of these tickets have arrived: the hub forgets whom they were delivered for.

        From then on they answer NONE. One that is HELD is dropped: its link is never made. Tickets that wait, are
        unknown or another institution's are left as they are.

        Returns:
            how many tickets this call closed.
        """
        number = self.catalog.institution(institution).number
        rows = decode_aliases(tickets, "tickets")
        with self._delivering:
            return close_tickets(self._store, self._store.keys, number, rows, self._now())

    # -- replaced, ended

    def reissue(self, institution: str, aliases: Any) -> Acquired:
        """Replace an institution's aliases, as after a leak: the old ones stop in the commit in which others begin.

        From then on an old alias answers ``Status.REVOKED``. Asked again, a row that was replaced before is ALREADY,
        with the alias that its person has now: so the same call may be repeated when its answer was lost.

        Args:
            aliases: uint8[N, 16], the institution's, at most ``limits.ROWS_PER_REISSUE_MAX`` rows, and fewer where
                more than 8 million are in use (``limits.REISSUE_BYTES_MAX``). Duplicates are done once.

        Returns:
            aliases uint8[N, 16] in the caller's order, and status: CREATED; ALREADY; NONE, with zeros, where the alias
            is unknown or was revoked, and nothing was changed.

        Raises:
            RequestError: unknown institution, another form or too many rows; nothing was changed.
            StorageError: the disk is full or failed; nothing of this call was kept.
        """
        number, rows = self.catalog.institution(institution).number, decode_aliases(aliases)
        out, status = np.zeros((len(rows), 16), np.uint8), np.zeros(len(rows), np.uint8)
        for table, at in self._by_table(number, rows):
            found = reissue(self._store, table, rows if len(at) == len(rows) else rows[at], self._workers)
            out[at], status[at] = found.aliases, found.status
        return Acquired(out, status)

    def revoke(self, institution: str, aliases: Any) -> int:
        """End an institution's aliases, in one commit; their persons have none there until it acquires again.

        From then on such an alias answers ``Status.REVOKED``, and who asks the institution about its person
        ``NO_ALIAS_AT_PROVIDER``. A later acquisition gives another alias, CREATED; nothing leads to it from this one.

        Args:
            aliases: as in ``reissue``.

        Returns:
            how many aliases this call ended; unknown, revoked and repeated ones are not counted.

        Raises:
            RequestError, StorageError: as in ``reissue``.
        """
        number, rows = self.catalog.institution(institution).number, decode_aliases(aliases)
        return sum(
            revoke(self._store, table, rows if len(at) == len(rows) else rows[at], self._workers)
            for table, at in self._by_table(number, rows)
        )

    def _by_table(self, number: int, rows: Aliases) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """In whose tables aliases of an institution are: its own, or one's that it succeeded; each is a commit."""
        with self._store.snapshot() as snapshot:
            tables = table_of(snapshot, number, rows, self._workers)
        numbers = np.unique(tables).tolist() or [number]
        return [(table, np.flatnonzero(tables == table)) for table in numbers]
