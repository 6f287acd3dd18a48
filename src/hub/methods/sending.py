"""What institutions send unasked: the Hub's methods for pushes, updates and notices, and for who receives them.

The work is done in ``sending/send.py`` with ``sending/push.py``, ``sending/update.py``, ``sending/notify.py``, and in
``sending/arrivals.py``; docs/push.md has the rules.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from hub.catalog import Catalog
from hub.exchange import Exchange
from hub.limits import ARRIVED_ROWS, HISTORY_LIMIT, NOTICE_DAYS
from hub.messages import Arrivals, History, Kind, Notice, Notices, Push, Receipt, Sent, Update
from hub.persons.successions import successions_of
from hub.protection.withholding import Office
from hub.provision.collect import collect_all
from hub.records.permits import PermitNumbers
from hub.sending.arrivals import Receiver
from hub.sending.notices import read_texts
from hub.sending.notify import Notifying
from hub.sending.push import Pushing
from hub.sending.send import Sender
from hub.sending.update import Updating
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.store import Store


class SendingMethods(ABC):
    """The part of :class:`hub.Hub` that sends unasked, and hands out what was sent."""

    _store: Store
    _office: Office
    _periods: PeriodKeys
    _sender: Sender
    _receiver: Receiver
    _exchange: Exchange
    _numbers: PermitNumbers

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any) -> int:
        """The person of a portal alias."""

    @abstractmethod
    def _read_history(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], *, leave_out: frozenset[int] = frozenset()
    ) -> History:
        """A page of a history."""

    @abstractmethod
    def _olds(self, institution: str) -> list[str]:
        """The bodies that an institution succeeded."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded."""

    @abstractmethod
    def _catch_up(self) -> None:
        """Let lapse what is due, and keep what has to be read behind the inboxes small."""

    # -- pushes

    def push(
        self,
        push: Push,
        aliases: Any,
        receivers: Any,
        payloads: Any = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Sent:
        """Give data about many persons to institutions that did not ask, by a rule of the operator's own.

        When it returns every row is durable and in the log. The same request id with the same rows gives the same
        receipt and records nothing again; after a crash it goes on at the first chunk that is missing.

        Args:
            aliases: uint8[N, 16], the sender's own. receivers: a code, list[str] or uint32[N] numbers.
            payloads: bytes or None a row, at most 64 KiB; sealed to the receiver's key if it has one.
            progress: called with the rows done after each durable chunk; an exception from it stops there.

        Returns:
            receipt with a status a row: OK; DENIED or DENIED_ASSESSMENT, with a reason; MANUAL: not sent and not
            recorded, a clerk must confirm it (``Push.confirmed``), under another request id; UNKNOWN_ALIAS, REVOKED.
            Whether a receiver knows the person is not told.

        Raises:
            RequestError: not well formed, unknown words, a payload that is not sealed to its receiver, or the request
                id was used with something else; nothing was changed.
            BusyError: the same request is under way in another thread.
            StorageError: the disk failed or is full; the chunks before it stand.
        """
        return self._sender.send(Pushing(self._store, self.catalog, push, aliases, receivers, payloads), progress)

    def update(self, update: Update, permits: Any, payloads: Any) -> Sent:
        """Correct what was provided: everybody who received it gets the correction, all in one transaction.

        An update arrives as a push does, and names what it corrects. No rule is needed but the one by which the data
        were given. The same request id with the same rows gives the same receipt and records nothing again.

        Args:
            permits: :class:`hub.Permits` or uint64[N], the institution's own, answered PROVIDED: each requester gets
                its row's correction. Or uint8[N, 16], aliases: whoever received ``update.items`` about that person from
                this institution, by an answer or by a push, gets it, once for each procedure, role and reference date.
            payloads: of each row bytes, None, or a dict of them by the receiver's code, where each is sealed to a key
                of its own; in all at most 16 MiB, counted once a receiver.

        Returns:
            receipt with a status a row: OK; NO_RECORD: nobody has received anything; MANUAL: nothing was sent, a clerk
            must confirm it (``Update.confirmed``), under another request id; UNKNOWN_ALIAS, REVOKED.

        Raises:
            RequestError: not well formed, a permit that is not this institution's or was not answered PROVIDED, a
                receiver without a payload or with one not sealed to its key, or the request id was used with something
                else; nothing was changed.
            StorageError: the disk failed or is full; nothing was kept.
        """
        self._catch_up()
        updating = Updating(self._office, self._exchange, self._numbers, update, permits, payloads)
        # What this institution provides meanwhile is seen by it, or provided after it.
        with ExitStack() as locks:
            with self._store.snapshot() as snapshot:
                olds = successions_of(snapshot).olds(updating.number)
            for number in sorted((updating.number, *olds)):
                locks.enter_context(self._exchange.lock(number))
            return self._sender.send(updating)

    def arrived(self, institution: str, *, limit: int = ARRIVED_ROWS, after: str | None = None) -> list[Arrivals]:
        """What was sent to an institution and waits to be taken, in an order of its own; as ``collect`` is of permits.

        At least once: what is not ``taken`` comes again, until it lapses after ``limits.ARRIVAL_DAYS``. What lapsed is
        left out, and of whom the institution has no alias.

        Args:
            limit: rows over the list. after: ``cursor`` of the last :class:`Arrivals` that was worked through.

        Raises:
            RequestError: the cursor is none of this institution's arrivals.
        """
        self._check_at_work(institution)
        self._catch_up()
        olds = self._olds(institution)
        if not olds:
            return self._receiver.arrived(institution, limit, after)
        return collect_all(self._receiver.arrived, [institution, *olds], limit, after)

    def taken(self, institution: str, numbers: Any) -> Receipt:
        """Say that arrivals were taken: recorded, and their data forgotten. Again it is accepted and changes nothing.

        Args:
            numbers: :class:`hub.Arrivals` or uint64[N], each once.

        Raises:
            RequestError: one is none of this institution's, or has lapsed; nothing was changed.
            StorageError: the disk failed; whole transactions of 65,536 rows may have been kept.
        """
        self._check_at_work(institution)
        self._catch_up()
        olds = self._olds(institution)
        if not olds:
            return self._receiver.taken(institution, numbers)
        return self._receiver.taken_all([institution, *olds], numbers)

    # -- notices

    def notify(
        self, notice: Notice, aliases: Any, texts: Any, *, progress: Callable[[int], None] | None = None
    ) -> Sent:
        """Send a notice (お知らせ) to the portal of persons whom an institution knows: one or a million.

        When it returns every row is durable and in the log. The same request id with the same rows gives the same
        receipt and records nothing again; after a crash it goes on at the first chunk that is missing.

        Args:
            aliases: uint8[N, 16], the institution's own. texts: one text for all rows, or one a row; UTF-8, each 1 to
                ``limits.NOTICE_BYTES_MAX`` bytes, no control character but the line feed.
            progress: called with the rows done after each durable chunk; an exception from it stops there.

        Returns:
            receipt with a status a row: OK; NO_ALIAS_AT_PROVIDER: the person reads no portal, or must get no notice by
            it: another way has to be taken; UNKNOWN_ALIAS, REVOKED.

        Raises:
            RequestError: not well formed, or the request id was used with something else; nothing was changed.
            BusyError: the same request is under way in another thread.
            StorageError: the disk failed or is full; the chunks before it stand.
        """
        return self._sender.send(Notifying(self.catalog, notice, aliases, texts), progress)

    def notices(self, portal_alias: Any, *, limit: int = HISTORY_LIMIT, cursor: str | None = None) -> Notices:
        """A citizen's notices, newest first: records of their history, each with its text and its proof.

        A text is None where it is not kept any more: it was sent more than ``limits.NOTICE_DAYS`` ago, or the sender
        has said since that this person's own data are given to nobody (NO_SELF).

        Args:
            portal_alias, limit, cursor: as of ``history``.

        Raises:
            RequestError: the alias is not one of the portal's. StorageError: a text is damaged.
        """
        options = {
            "since": None, "until": None, "institution": None, "procedure": None, "limit": limit, "cursor": cursor,
            "kind": Kind.NOTICE,
        }  # fmt: skip
        found = self._read_history(lambda snapshot: self._find_citizen(snapshot, portal_alias), options)
        return Notices.of(found, self._texts(portal_alias, found))

    def _texts(self, portal_alias: Any, found: History) -> list[str | None]:
        with self._store.snapshot() as snapshot:
            texts = read_texts(snapshot, self._periods, [record.index for record in found.records])
            senders = [self.catalog.institution(record.provider).number for record in found.records]
            person = self._find_citizen(snapshot, portal_alias)
            persons = np.full(len(senders), person, np.uint32)
            # Flags went to the successor of whoever sent it.
            numbers = successions_of(snapshot).current(np.array(senders, np.uint32))
            blocked = self._office.flagged.of(snapshot).no_self(persons, numbers)
        # Those that are due are removed once a day, and by a process that writes.
        kept_from = dt.datetime.fromtimestamp(self._office.now(), dt.UTC) - dt.timedelta(days=NOTICE_DAYS)
        return [
            None if hidden or record.requested_at < kept_from else text
            for record, text, hidden in zip(found.records, texts, blocked.tolist(), strict=True)
        ]
