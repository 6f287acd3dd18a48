"""Identifiers from outside: the Hub's methods for their issuers and for who relies on them; see docs/identifiers.md.

The work is done in ``persons/identifiers.py``; which namespaces there are, whose they are and who may ask is the
catalog's.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from hub.acquisition.acquire import code_pseudonyms
from hub.aliases import NOBODY, RESIDENT_CODES, Persons, count_aliases, find_persons
from hub.catalog import Catalog
from hub.decode import CODES_ABOVE, decode_aliases, decode_codes
from hub.errors import RequestError
from hub.messages import Acquired, Aliases, Identified, Identity, Uses
from hub.methods.aliases import REGISTER
from hub.persons.identifiers import (
    Tell,
    identify,
    namespace_number,
    register,
    renew,
    revoke,
)
from hub.persons.pseudonyms import decode_identifiers, pseudonyms_of
from hub.persons.successions import find_known_persons
from hub.persons.uses import Uses as Counting
from hub.persons.uses import read_counts
from hub.protection.withholding import Office, check_clerk
from hub.records.events import EventKind, ToldIdentifiers
from hub.storage.confidential import HUB
from hub.storage.snapshot import Commit
from hub.storage.workers import Workers
from hub.store import Store


class Identifying(ABC):
    """The part of :class:`hub.Hub` that finds persons by identifiers from outside."""

    _store: Store
    _office: Office
    _workers: Workers
    _uses: Counting

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    # -- the issuer

    def register_identifiers(
        self, namespace: str, issuer: str, people: Any, identifiers: Any, *, again: bool = False,
        clerk: str | None = None,
    ) -> Acquired:  # fmt: skip
        """Say whom identifiers of a namespace name, from now on.

        The same call again changes nothing. Durable when it returns.

        Args:
            issuer: of the namespace, as the catalog says.
            people: uint8[N, 16], the issuer's own aliases; of the register body, which has none, resident record codes
                (list of 11-digit strings or int64[N]).
            identifiers: list of N texts or bytes, 1 to 64 bytes each, or uint8[N, bytes]. A person may have several.
            again: whether identifiers that were revoked (not: renewed) may name somebody anew, as after a mistake.
            clerk: who decides, for auditors.

        Returns:
            status: CREATED; ALREADY; NONE where nobody in the hub has this resident record code. No aliases.

        Raises:
            RequestError: another issuer or form; an alias is not the issuer's; an identifier is another person's, or
                has ended: nothing was changed.
            StorageError: the disk is full or failed; the same call again completes what is missing.
        """
        number = self._issued(namespace, issuer, clerk)
        if not isinstance(again, bool):
            raise RequestError(f"again: expected True or False, got {type(again).__name__}")
        column = decode_identifiers(identifiers)
        persons = self._find_people(issuer, people)
        if len(persons) != len(column.lengths):
            raise RequestError(f"identifiers: expected {len(persons)} rows, got {len(column.lengths)}")
        pseudonyms = pseudonyms_of(self._store.keys, namespace, column)
        tell = self._teller(EventKind.IDENTIFIERS_REGISTERED, namespace, issuer, clerk)
        status = register(self._store, number, pseudonyms, persons, self._workers, again=again, tell=tell)
        return Acquired(np.zeros((len(status), 16), np.uint8), status)

    def renew_identifiers(
        self, namespace: str, issuer: str, old: Any, new: Any, *, clerk: str | None = None
    ) -> Acquired:
        """Put new identifiers in the place of old ones, in one commit: from then on the old ones are REPLACED.

        Args:
            old, new: as ``identifiers`` of :meth:`register_identifiers`; at most ``limits.ROWS_PER_REISSUE_MAX`` rows.

        Returns:
            status: CREATED; ALREADY where just this was done before; NONE where the old one is unknown, revoked, or was
            renewed by another. No aliases.

        Raises:
            RequestError: another issuer or form; a new one is known already, or stands twice: nothing was changed.
            StorageError: the disk is full or failed; nothing was kept.
        """
        number = self._issued(namespace, issuer, clerk)
        before, after = decode_identifiers(old, "old"), decode_identifiers(new, "new")
        if len(before.lengths) != len(after.lengths):
            raise RequestError(f"new: expected {len(before.lengths)} rows, got {len(after.lengths)}")
        keys = self._store.keys
        tell = self._teller(EventKind.IDENTIFIERS_RENEWED, namespace, issuer, clerk)
        status = renew(
            self._store, number, pseudonyms_of(keys, namespace, before), pseudonyms_of(keys, namespace, after),
            self._workers, tell=tell,
        )  # fmt: skip
        return Acquired(np.zeros((len(status), 16), np.uint8), status)

    def revoke_identifiers(self, namespace: str, issuer: str, identifiers: Any, *, clerk: str | None = None) -> int:
        """End identifiers, in one commit; returns how many this call ended, not counting those that had ended before.

        Args:
            identifiers: at most ``limits.ROWS_PER_REISSUE_MAX``; unknown ones are passed over.

        Raises:
            RequestError, StorageError: as of :meth:`renew_identifiers`.
        """
        number = self._issued(namespace, issuer, clerk)
        pseudonyms = pseudonyms_of(self._store.keys, namespace, decode_identifiers(identifiers))
        tell = self._teller(EventKind.IDENTIFIERS_REVOKED, namespace, issuer, clerk)
        return revoke(self._store, number, pseudonyms, self._workers, tell=tell)

    # -- who relies on them

    def identify(self, institution: str, namespace: str, identifiers: Any) -> Identified:
        """A body's own aliases of the persons whom identifiers name.

        It translates inside one body and asks nobody about anybody, so it leaves no record; that it was done is counted
        by day before the answer leaves (:meth:`identified`).

        Args:
            institution: one that may rely on the namespace, as the catalog says.

        Raises:
            RequestError: it may not, or another form: nothing was looked up.
        """
        body, line = self.catalog.institution(institution), self.catalog.namespaces.of(namespace)
        if not line.may_ask(body):
            raise RequestError("institution: expected one that may rely on this namespace, got another")
        pseudonyms = pseudonyms_of(self._store.keys, namespace, decode_identifiers(identifiers))
        number = namespace_number(self.catalog, namespace)
        with self._store.snapshot() as snapshot:
            found = identify(
                snapshot, number, body.number, pseudonyms, self._workers, follow=line.may_follow(body)
            )  # fmt: skip
        if len(found):
            self._uses.count(self._now(), body.number, number, found.status)
        return found

    def identified(self, day: dt.date) -> list[Uses]:
        """How many identifiers each body asked by on a day in Japan, for auditors; whose is kept nowhere."""
        if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
            raise RequestError(f"day: expected a date, got {type(day).__name__}")
        catalog = self.catalog
        names = {namespace_number(catalog, one.namespace): one.namespace for one in catalog.namespaces}
        with self._store.snapshot() as snapshot:
            found = read_counts(snapshot, day)
        return [
            Uses(
                institution=catalog.institution_by_number(body).code,
                namespace=names[namespace],
                rows={status.name: int(counts[status]) for status in Identity if counts[status]},
            )
            for body, namespace, counts in found
        ]

    # -- parts

    def _issued(self, namespace: str, issuer: str, clerk: str | None) -> int:
        """The number of a namespace whose issuer acts."""
        check_clerk("clerk", clerk)
        line = self.catalog.namespaces.of(namespace)
        if self.catalog.institution(issuer).code != line.issuer:
            raise RequestError("issuer: expected the issuer of this namespace, got another body")
        return namespace_number(self.catalog, namespace)

    def _find_people(self, issuer: str, people: Any) -> Persons:
        """uint32[N]; NOBODY where the hub does not know a resident record code."""
        if issuer == REGISTER:
            codes = decode_codes(people)
            pseudonyms = code_pseudonyms(self._store.keys, codes, CODES_ABOVE, self._workers)
            with self._store.snapshot() as snapshot:
                if not count_aliases(snapshot, RESIDENT_CODES):
                    return np.full(len(codes), NOBODY, np.uint32)
                return find_persons(snapshot, RESIDENT_CODES, pseudonyms, self._workers)[0]
        rows: Aliases = decode_aliases(people, "people")
        with self._store.snapshot() as snapshot:
            number = self.catalog.institution(issuer).number
            persons, _, status = find_known_persons(snapshot, number, rows, self._workers)
        if status.any():
            raise RequestError(f"people: expected the issuer's own aliases, got {np.count_nonzero(status)} others")
        return persons

    def _teller(self, kind: EventKind, namespace: str, issuer: str, clerk: str | None) -> Tell:
        number = namespace_number(self.catalog, namespace)

        def tell(commit: Commit, gained: int, renewed: int, ended: int) -> None:
            told = ToldIdentifiers(
                at=self._now(), kind=kind, institution=issuer, clerk=clerk, namespace=number, gained=gained,
                renewed=renewed, ground=f"{namespace}: {abs(gained) or ended}" + (" taken back" if gained < 0 else ""),
            )  # fmt: skip
            self._office.tell(told, commit, HUB)

        return tell
