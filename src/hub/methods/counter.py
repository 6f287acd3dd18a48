"""Disclosure at a counter: the Hub's method; the rule and the record stand in ``citizens/counter.py``."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hub.aliases import find_persons
from hub.catalog import Catalog
from hub.citizens.counter import append_view, check_counter, check_words, renumber
from hub.decode import decode_alias
from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT
from hub.messages import CounterHistory, History, Status
from hub.protection.withholding import Office
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store

_ALONE = Workers(1)


class Countering(ABC):
    """The part of :class:`hub.Hub` that discloses at a counter."""

    _store: Store
    _office: Office

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _read_history(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], *, leave_out: frozenset[int] = frozenset()
    ) -> History:
        """A page of a person's records, but for some kinds."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that has ended."""

    @abstractmethod
    def _corrected(self) -> None:
        """Say that records were added, and publish them."""

    def counter_history(
        self,
        institution: str,
        alias: Any,
        *,
        clerk: str,
        second_clerk: str,
        checked: str,
        section: str,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
        limit: int = HISTORY_LIMIT,
    ) -> CounterHistory:
        """A person's history, printed at a counter for people without card or portal; newest first.

        That it is read is a record of the person's before anything is read, one for every call. Withheld records are
        not shown, as in the portal. Records are counted within the page, which has neither proofs nor a cursor: what
        is older is asked for with ``until``. Each has a code by which the proof that the portal gives is found again.

        Args:
            institution: ``pm`` or a municipality. alias: the person's there.
            clerk: who checked who the person is, and asks. second_clerk: another, who has confirmed it.
            checked: by what the person was known (運転免許証 ...); the person reads it. section: in charge.
            since, until, limit: as in ``history``.

        Raises:
            RequestError: another institution, an alias that is none of its own or has stopped, one clerk alone, or a
                text of another form; nothing was recorded or read.
            StorageError: the record could not be kept; nothing was read.
        """
        body = self.catalog.institution(institution)
        check_counter(body)
        check_words(clerk, second_clerk, checked, section)
        self._check_at_work(institution)

        def find(snapshot: Snapshot) -> int:
            persons, _, status = find_persons(snapshot, body.number, decode_alias(alias), _ALONE)
            if status[0] != Status.OK:
                raise RequestError("alias: expected one of the institution's that is open, got another")
            return int(persons[0])

        options: dict[str, Any] = {
            "since": since, "until": until, "institution": None, "procedure": None, "limit": limit, "cursor": None,
        }  # fmt: skip
        # A page that cannot be asked for leaves no record: what is wrong with it is found before, and shown to nobody.
        self._read_history(find, options)
        with self._store.snapshot() as snapshot:
            person = find(snapshot)
        append_view(self._office, body, person, clerk, second_clerk, checked, section)
        self._corrected()
        return renumber(self._read_history(find, options))
