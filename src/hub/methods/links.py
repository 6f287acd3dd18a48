"""Links between own ids and aliases: the Hub's methods that keep wrong ones out; see docs/mislinks.md.

The work is done in ``acquisition/claiming.py``, ``acquisition/ticketdelivery.py`` and ``mislinks/relink.py``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from hub.acquisition.claiming import claim_tickets, claims_of, next_claims
from hub.acquisition.claims import CLAIMS, INSTITUTION_KEY_BYTES, KEY_BYTES, is_required, put_required
from hub.aliases import Statuses
from hub.catalog import Catalog
from hub.decode import decode_aliases
from hub.errors import RequestError
from hub.limits import CLAIM_BYTES_MAX, CLAIMS_LIMIT, CLAIMS_LIMIT_MAX, REMARK_CHARS_MAX
from hub.messages import Acquired, Claims, Differs, Receipt
from hub.mislinks.relink import Links
from hub.protection.withholding import REGISTER, Office, check_clerk, check_text
from hub.provision.payloadkeys import read_payload_key
from hub.provision.payloads import check_payloads
from hub.records.events import EventKind, Told
from hub.storage.snapshot import Commit
from hub.store import Store


class Linking(ABC):
    """The part of :class:`hub.Hub` that has links compared, confirmed and replaced."""

    _store: Store
    _office: Office
    _links: Links
    _delivering: threading.Lock

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    # -- compared

    def claim(self, institution: str, tickets: Any, sealed: list[bytes], *, clerk: str) -> Receipt:
        """Say whose an institution's tickets are to be: name, address, sex and birth date of its own file, sealed.

        The hub keeps them until the register body delivers the tickets, and cannot read them. Claimed again, the later
        claim holds. After an error the same call completes what is missing.

        Args:
            tickets: uint8[N, 16], the institution's own, that wait. sealed: N times bytes of
                ``hub.Attributes.seal(h.payload_key("jlis"))``, at most ``limits.CLAIM_BYTES_MAX``.
            clerk: who took them from the file; another must confirm what differs.

        Raises:
            RequestError: unknown institution; the register body has registered no key; a row is not sealed to it; or
                a ticket is unknown, another institution's, or was delivered: nothing was changed.
            StorageError: the disk is full or failed.
        """
        number = self.catalog.institution(institution).number
        rows = decode_aliases(tickets, "tickets")
        _check_named(clerk)
        if not isinstance(sealed, list | tuple) or len(sealed) != len(rows):
            raise RequestError(f"sealed: expected a list of {len(rows)}, got something else")
        with self._store.snapshot() as snapshot:
            key = read_payload_key(self._store, snapshot, self.catalog.institution(REGISTER).number)
        if key is None:
            raise RequestError("sealed: expected a register body that has registered a key, got one that has not")
        bad = check_payloads(list(sealed), key)
        if bad is None:
            bad = next((row for row, one in enumerate(sealed) if one is None or len(one) > CLAIM_BYTES_MAX), None)
        if bad is not None:
            bound = f"at most {CLAIM_BYTES_MAX} bytes sealed to the register body's key"
            raise RequestError(f"sealed: expected {bound}, got something else in row {bad}")
        now = self._now()
        if len(rows):
            with self._delivering:
                claim_tickets(
                    self._store, self._store.keys, self._office.vault, number, rows, list(sealed), clerk, now
                )
        return Receipt(rows=len(rows), received_at=now)

    def claims(
        self, institution: str, tickets: Any = None, *, limit: int = CLAIMS_LIMIT, cursor: str | None = None
    ) -> Claims:
        """The register body's part: what was claimed of tickets that wait to be delivered.

        Args:
            institution: ``jlis``. tickets: uint8[N, 16], of these in this order, None where nothing waits; else all
                of all institutions, ``limit`` a call.
            cursor: of the call before.

        Raises:
            RequestError: another institution, limit or cursor. StorageError: a claim is damaged.
        """
        _check_register(institution)
        store, keys, vault = self._store, self._store.keys, self._office.vault
        if tickets is not None:
            rows = decode_aliases(tickets, "tickets")
            with store.snapshot() as snapshot:
                return Claims(rows, claims_of(snapshot, keys, vault, rows, self._now()))
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= CLAIMS_LIMIT_MAX:
            raise RequestError(f"limit: expected 1 to {CLAIMS_LIMIT_MAX}, got something else")
        with store.snapshot() as snapshot:
            found, sealed, last = next_claims(snapshot, keys, vault, _read_cursor(cursor), limit, self._now())
        return Claims(found, list(sealed), None if last is None else last.hex())

    def require_claims(self, institution: str, on: bool = True, *, clerk: str) -> None:
        """Say that none of an institution's tickets is delivered without attributes, from now on; or that they may be.

        Tickets that wait without a claim can be claimed still. The same again changes nothing.

        Raises:
            RequestError: unknown institution, or no clerk.
        """
        number = self.catalog.institution(institution).number
        _check_named(clerk)
        if not isinstance(on, bool):
            raise RequestError(f"on: expected True or False, got {type(on).__name__}")
        with self._store.writer:
            with self._store.snapshot() as snapshot:
                self._store.compare_sum(snapshot, CLAIMS)
                if is_required(snapshot, number) == on:
                    return
            now = self._now()
            kind = EventKind.CLAIMS_REQUIRED if on else EventKind.CLAIMS_OPTIONAL
            with self._store.commit() as commit:
                put_required(commit, number, now if on else None)
                self._office.tell(Told(at=now, kind=kind, institution=institution, clerk=clerk), commit)

    def claims_required(self, institution: str) -> bool:
        """Whether an institution's tickets are delivered only with attributes."""
        number = self.catalog.institution(institution).number
        with self._store.snapshot() as snapshot:
            self._store.compare_sum(snapshot, CLAIMS)
            return is_required(snapshot, number)

    def _tell_held(self, commit: Commit, institution: int, differs: Statuses, delivered: int) -> None:
        counts = ", ".join(f"{one.name} {n}" for one in Differs if (n := int(np.count_nonzero(differs & one))))
        code = self.catalog.institution_by_number(institution).code
        ground = f"{code}: {len(differs)} of {delivered} tickets held: {counts}"
        self._office.tell(Told(at=self._now(), kind=EventKind.LINKS_HELD, institution=REGISTER, ground=ground), commit)

    # -- decided by a clerk

    def confirm_links(self, institution: str, tickets: Any, *, clerk: str, reason: str) -> Acquired:
        """Confirm tickets that are HELD: the file is that of the person whom the register body named, all the same.

        A second clerk does so, who has seen papers. The institution gets its aliases as if nothing had differed; the
        persons read in their histories who confirmed what, and why. One transaction; asked again it changes nothing.
        To drop a link instead: ``close_tickets``.

        Args:
            tickets: uint8[N, 16], at most ``limits.LINKS_PER_CALL_MAX``. clerk: another than the one who claimed.
            reason: for the persons to read.

        Returns:
            as of ``acquired``.

        Raises:
            RequestError: a ticket is not the institution's or is not held, or the clerk is who claimed it; nothing was
                changed.
            StorageError: the disk is full or failed; nothing was kept.
        """
        number = self.catalog.institution(institution).number
        rows = decode_aliases(tickets, "tickets")
        _check_named(clerk)
        check_text("reason", reason, REMARK_CHARS_MAX)
        self._check_at_work(institution)
        return self._links.confirm(number, rows, clerk, reason)

    def replace_links(
        self, institution: str, tickets: Any, aliases: Any, *, clerk: str, reason: str, keep_old: Any = False
    ) -> Acquired:
        """Put a right alias in the place of a wrong one that stood on a file; the old one stops in the same commit.

        A row's ticket is delivered for the person whom the file is about; its alias is the one that stood there, of
        somebody else. From this commit on the old alias answers ``Status.REVOKED``. Where that other person is meant by
        another row of the call (rows that were shifted), they get another alias in the same commit, and that row its
        answer. Both persons read of it in their histories; an event names both aliases. Rows that wait, are held or
        unknown change nothing, nor do rows whose alias was right. Asked again it gives the same answer.

        Args:
            tickets: uint8[N, 16], at most ``limits.LINKS_PER_CALL_MAX``. aliases: uint8[N, 16], what stood there.
            keep_old: bool, or bool[N]: the other person is rightly known here under that alias, by another file.
            reason: for the persons to read.

        Returns:
            as of ``acquired``; CREATED also where the alias was made by this call.

        Raises:
            RequestError: an alias is unknown, has stopped, or is not the one that the ticket replaced; nothing was
                changed.
            StorageError: the disk is full or failed; nothing was kept.
        """
        number = self.catalog.institution(institution).number
        rows, old = decode_aliases(tickets, "tickets"), decode_aliases(aliases)
        if len(old) != len(rows):
            raise RequestError(f"aliases: expected {len(rows)} rows, got {len(old)}")
        keep = np.asarray(keep_old)
        if keep.dtype != np.bool_ or keep.shape not in ((), (len(rows),)):
            raise RequestError(f"keep_old: expected True, False or bool[{len(rows)}], got something else")
        _check_named(clerk)
        check_text("reason", reason, REMARK_CHARS_MAX)
        self._check_at_work(institution)
        return self._links.replace(number, rows, old, np.broadcast_to(keep, (len(rows),)), clerk, reason)


def _check_named(clerk: object) -> None:
    if clerk is None:
        raise RequestError("clerk: expected the name of a clerk, got none")
    check_clerk("clerk", clerk)


def _check_register(institution: str) -> None:
    if institution != REGISTER:
        raise RequestError(f"institution: expected the register body, {REGISTER}, got another")


def _read_cursor(cursor: object) -> bytes:
    if cursor is None:
        return b""
    try:
        key = bytes.fromhex(cursor) if isinstance(cursor, str) else b""
    except ValueError:
        key = b""
    if len(key) not in (KEY_BYTES, INSTITUTION_KEY_BYTES):
        raise RequestError("cursor: expected one of these claims, got another")
    return key
