"""Who holds whom: the Hub's methods for the register body's facts and for aliases that lack; rules in docs/holders.md.

The work is done in ``persons/holders.py``, ``persons/locate.py`` and ``persons/wanted.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from hub._columns import code_blocks
from hub.aliases import NOBODY, RESIDENT_CODES, count_aliases, find_persons
from hub.catalog import Catalog
from hub.decode import CODES_ABOVE, decode_codes, decode_days, decode_providers
from hub.errors import RequestError
from hub.limits import WANTED_LIMIT_MAX
from hub.messages import Holders, Kind, Status, Wanted
from hub.persons.holders import HELD, push_facts
from hub.persons.merges import lives_of
from hub.persons.wanted import has_alias, has_wanted, pseudonym_of, put_wanted, read_wanted, remove_met, wanted_key
from hub.protection.withholding import REGISTER, Office, check_clerk
from hub.records.events import EventKind, Told
from hub.storage.snapshot import Commit
from hub.storage.workers import Workers
from hub.store import Store


class Locating(ABC):
    """The part of :class:`hub.Hub` that knows who holds whom."""

    _store: Store
    _office: Office
    _workers: Workers

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    def push_holders(
        self,
        register: str,
        codes: Any,
        label: str,
        institutions: Any,
        since: Any,
        until: Any = None,
        *,
        clerk: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Holders:
        """The register body's word on who holds persons, as members of a class, from one day to another.

        Idempotent: the same facts again change nothing, and after an error complete what is missing. A fact with the
        person, class, institution and first day of another takes its place. An open one is closed by the next that
        begins later. A last day that is the day before the first takes a fact back.

        Args:
            register: ``jlis``. codes: list of 11-digit strings, or int64[N]: resident record codes.
            label: a class, as ``Catalog.institutions`` knows it.
            institutions: of it: a code for all rows, list[str] or uint32[N] numbers.
            since, until: first and last day: a date for all rows, a list or datetime64[D][N]; until None (or NaT) is
                open.
            clerk: for auditors. progress: called with the rows done after each durable transaction.

        Raises:
            RequestError: another institution, or a value of the wrong form; nothing was changed.
            StorageError: the disk is full or failed; what was done before stands.
        """
        check_register(register)
        check_clerk("clerk", clerk)
        catalog = self.catalog
        number = catalog.class_number(label)
        numbers = decode_codes(codes)
        facts = np.empty(len(numbers), HELD)
        facts["institution"] = self._decode_members(catalog, label, institutions, len(numbers))
        facts["since"] = decode_days("since", since, len(numbers))
        facts["until"] = decode_days("until", until, len(numbers), open_end=True)
        wrong = np.flatnonzero(facts["until"] < facts["since"] - 1)
        if len(wrong):
            raise RequestError(f"until: expected no day before the one before since, got one in row {wrong[0]}")
        with self._store.snapshot() as snapshot:
            facts["person"] = NOBODY
            if count_aliases(snapshot, RESIDENT_CODES):
                pseudonyms = self._store.keys.pseudonyms(code_blocks(numbers, CODES_ABOVE)[0])
                facts["person"] = find_persons(snapshot, RESIDENT_CODES, pseudonyms, self._workers)[0]
        known = facts[facts["person"] != NOBODY]

        def tell(commit: Commit, persons: int) -> None:
            ground = f"{label}: {persons}"
            told = Told(at=self._now(), kind=EventKind.HOLDERS_PUSHED, institution=register, clerk=clerk, ground=ground)
            self._office.tell(told, commit)

        counted = push_facts(self._store, number, label, known, tell, progress)
        return Holders(taken=counted.taken, unknown=len(facts) - len(known), full=counted.full)

    def _decode_members(self, catalog: Catalog, label: str, institutions: Any, rows: int) -> Any:
        numbers = decode_providers(catalog, institutions, rows)
        members = catalog.members_of(label)
        for number in np.unique(numbers).tolist():
            body = catalog.institution_by_number(number)
            if number not in members:
                raise RequestError(f"institutions: expected bodies of {label}, got {body.code}")
        return numbers

    # -- aliases that lack

    def ask_alias(self, handle: Any, *, requester: str | None = None, clerk: str | None = None) -> None:
        """Ask that the provider of a row acquires an alias of the person, whom it does not know.

        The register body is told whom to deliver next, see ``wanted``; the requester hears nothing more of it. Again,
        or where the provider has the alias by now, nothing is added.

        Args:
            handle: ``(request_id, row)``, row counted from 0, of a row with status NO_ALIAS_AT_PROVIDER.
            requester: whose request id it is, where several used it.

        Raises:
            RequestError: the handle names no such row, or nobody holds the person.
        """
        check_clerk("clerk", clerk)
        office = self._office
        code, index = office.find(handle, None, requester)
        with self._store.writer:
            with self._store.snapshot() as snapshot:
                record = office.read(snapshot, index)
                if (
                    record.kind != Kind.INQUIRY
                    or record.outcome != Status.NO_ALIAS_AT_PROVIDER
                    or record.shared.requester != code
                    or not record.provider
                ):
                    raise RequestError("handle: expected a row whose provider has no alias, got another")
                person = lives_of(snapshot).now(record.person)
                key = wanted_key(record.provider, pseudonym_of(snapshot, person))
                if has_wanted(snapshot, key) or has_alias(snapshot, record.provider, person):
                    return
            with self._store.commit() as commit:
                now = self._now()
                put_wanted(commit, key, now)
                told = Told(at=now, kind=EventKind.ALIAS_ASKED, institution=code, clerk=clerk)
                office.tell(told, commit, record.period, index)

    def wanted(self, register: str, *, limit: int = 1_000, after: Wanted | None = None) -> list[Wanted]:
        """Whom the register body is to deliver next, to which provider; in an order that says nothing.

        Args:
            register: ``jlis``. limit: 1 to 10,000. after: the last one of the call before.

        Raises:
            RequestError: another institution, or a value of the wrong form.
        """
        check_register(register)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= WANTED_LIMIT_MAX:
            raise RequestError(f"limit: expected 1 to {WANTED_LIMIT_MAX}, got something else")
        found: list[Wanted] = []
        met: list[bytes] = []
        catalog = self.catalog
        for entries in read_wanted(self._store, b"" if after is None else self._key_after(catalog, after)):
            met += [key for key, done in zip(entries.keys, entries.met.tolist(), strict=True) if done]
            rows = np.flatnonzero(~entries.met)
            codes = self._store.keys.resident_codes(entries.pseudonyms[rows])
            found += [
                Wanted(provider=catalog.institution_by_number(provider).code, code=f"{number:011}")
                for provider, number in zip(entries.providers[rows].tolist(), codes.tolist(), strict=True)
            ]
            if len(found) >= limit:
                break
        if met and not self._store.readonly:
            remove_met(self._store, met)
        return found[:limit]

    def wanted_count(self, provider: str) -> int:
        """How many aliases a provider is to acquire; whose they are is told to nobody but the register body."""
        number = self.catalog.institution(provider).number
        first, below = number.to_bytes(2, "big"), (number + 1).to_bytes(3, "big")[-2:] if number < 0xFFFF else None
        return sum(int(np.count_nonzero(~one.met)) for one in read_wanted(self._store, first, below))

    def _key_after(self, catalog: Catalog, after: Any) -> bytes:
        if not isinstance(after, Wanted):
            raise RequestError(f"after: expected the last one of the call before, got {type(after).__name__}")
        blocks = code_blocks(decode_codes([after.code]), CODES_ABOVE)[0]
        return wanted_key(catalog.institution(after.provider).number, self._store.keys.pseudonyms(blocks).tobytes())


def check_register(institution: object) -> None:
    """Refuse whoever is not the register body.

    Raises:
        RequestError: it is another.
    """
    if institution != REGISTER:
        raise RequestError(f"institution: expected {REGISTER}, the register body, got another")
