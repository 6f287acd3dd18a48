"""Identifiers that name people from outside: certificate serials, MyKey ids, insured numbers; each in its namespace.

A namespace is a line of the catalog (``catalog/namespaces.py``); its number is 2**23 + 1 + its place there. Identifiers
are stored as pseudonyms (``pseudonyms.py``) under a key of their namespace, so that one of another namespace is as
unknown as any that nobody made.

Pseudonym -> person is a table by alias (``aliases.py``). It has no table by person: a person may have several, and
nobody asks for the identifiers of a person. An entry keeps the person whom it was registered for, also where that one
was merged into another (``merges.py``), so that a split gives it back. Flags: REVOKED, or REVOKED and REPLACED where
it was renewed.

Database ``renewals``, key u32 number of the namespace (big endian), 16 bytes pseudonym; value sealed: 16 bytes, the
pseudonym that took its place. Each entry with REPLACED has one. An identifier must be unknown when it takes the place
of another, so a chain leads from older entries to younger ones and has no loop.

Crash order: each call is one commit with its event, or of a large registration is decided by one
(``acquisition/additions.py``). Only where an identifier is registered *again* it first leaves the table in a commit of
its own: until the next it is unknown, and the same call again completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hub import _columns
from hub._blocks import MARK, REMOVE
from hub.acquisition.additions import Addition, add_entries, complete_pending, cut_parts, put_parts
from hub.acquisition.reissue import rows_max
from hub.aliases import (
    BY_ALIAS,
    NOBODY,
    REPLACED,
    RESIDENT_CODES,
    REVOKED,
    Persons,
    Statuses,
    count_aliases,
    count_key,
    directory,
    find_persons,
    table_number,
)
from hub.catalog import Catalog
from hub.errors import RequestError, StorageError
from hub.limits import IDENTIFIER_CHAIN_MAX
from hub.messages import Acquisition, Aliases, Identified, Identity, Status
from hub.persons.merges import current as current_persons
from hub.persons.successions import find_known_aliases
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store

RENEWALS = "renewals"
Tell = Callable[[Commit, int, int, int], object]
"""Puts the event of a call into its commit: entries that the table gained, how many were renewed, how many ended."""


def namespace_number(catalog: Catalog, namespace: str) -> int:
    """The number of a namespace of the catalog."""
    position = catalog.namespaces.position(namespace)
    assert position is not None
    return RESIDENT_CODES + 1 + position


# -- the issuer's side


def register(
    store: Store, number: int, pseudonyms: Aliases, persons: Persons, workers: Workers, *, again: bool, tell: Tell
) -> Statuses:
    """Say whom identifiers name; the caller knows that it may.

    Args:
        pseudonyms: uint8[N, 16]. persons: uint32[N], NOBODY where unknown.
        again: those that were revoked may be registered anew, for whomever.

    Returns:
        uint8[N] of ``Acquisition``: CREATED, ALREADY, or NONE where the person is unknown.

    Raises:
        RequestError: an identifier is another person's, or has ended; nothing was changed.
        StorageError: the disk is full or failed.
    """
    with store.acquiring:
        complete_pending(store, workers)
        with store.snapshot() as snapshot:
            stored, flags, found = find_persons(snapshot, number, pseudonyms, workers)
            holders = current_persons(snapshot, stored)
        status = np.full(len(pseudonyms), Acquisition.ALREADY, np.uint8)
        status[persons == NOBODY] = Acquisition.NONE
        named = status != Acquisition.NONE
        first = _columns.first_rows(pseudonyms)
        ended = named & (found == Status.REVOKED)
        again_rows = ended & (flags & REPLACED == 0) if again else np.zeros(len(status), np.bool_)
        _refuse(ended & ~again_rows, "have not ended")
        taken = named & (found == Status.OK) & (holders != persons)
        # Of the rows of one identifier the first that names a person decides whom.
        own = _first_named(first, named)
        _refuse(taken | (named & (persons[own] != persons)), "are no other person's")
        fresh = np.flatnonzero(named & (found != Status.OK) & (own == np.arange(len(own))))
        status[fresh] = Acquisition.CREATED
        if not len(fresh):
            return status
        gone = fresh[again_rows[fresh]]
        if len(gone):
            _take_back(store, number, pseudonyms[gone], stored[gone], workers, tell)
        addition = Addition(number, np.ascontiguousarray(pseudonyms[fresh]), persons[fresh])
        add_entries(store, [addition], workers, lambda commit: tell(commit, len(fresh), 0, 0))
        return status


def _first_named(first: npt.NDArray[np.uint32], named: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """int64[N]: of each row the first row of the same identifier whose person is known (itself where none is)."""
    rows = np.arange(len(first), dtype=np.int64)
    own = np.full(len(first), len(first), np.int64)
    np.minimum.at(own, first[named], rows[named])
    found = own[first]
    return np.where(found < len(first), found, rows)


def _refuse(wrong: npt.NDArray[np.bool_], expected: str, name: str = "identifiers") -> None:
    count = int(np.count_nonzero(wrong))
    if count:
        raise RequestError(f"{name}: expected ones that {expected}, got {count} others")


def _take_back(store: Store, number: int, gone: Aliases, persons: Persons, workers: Workers, tell: Tell) -> None:
    """Take revoked identifiers out of the table, in one commit."""
    edits = np.full(len(gone), REMOVE, np.uint16)
    _check_rows(store, number, len(gone))
    _edit(store, Addition(number, np.ascontiguousarray(gone), persons, edits=edits), -len(gone), workers, tell)


def renew(
    store: Store, number: int, old: Aliases, new: Aliases, workers: Workers, *, tell: Tell
) -> Statuses:
    """Put other identifiers in the place of some, in one commit: the old ones answer REPLACED from then on.

    Args:
        old, new: pseudonyms, uint8[N, 16].

    Returns:
        uint8[N] of ``Acquisition``: CREATED; ALREADY where just this was done before; NONE where the old one is
        unknown, revoked, or was renewed by another.

    Raises:
        RequestError: a new one is known already or twice, or too many rows; nothing was changed.
    """
    n = len(old)
    both = np.concatenate((old, new))
    first = _columns.first_rows(both).astype(np.int64)
    rows = np.arange(n)
    # The same pair twice is done once; any other repetition would make a fork, or a chain within one call.
    again = first[:n] < rows
    twin = np.where(again, first[:n], rows)
    fork = (first[n:] != first[n + twin]) | (first[n:] < n) | (~again & (first[n:] != n + rows))
    with store.acquiring:
        complete_pending(store, workers)
        _check_rows(store, number, n)
        with store.snapshot() as snapshot:
            persons, flags, found = find_persons(snapshot, number, old, workers)
            known = find_persons(snapshot, number, new, workers)[2] != Status.UNKNOWN_ALIAS
            done = np.zeros(n, np.bool_)
            before = np.flatnonzero((found == Status.REVOKED) & (flags & REPLACED != 0))
            done[before] = (_read_links(snapshot, number, old[before]) == new[before]).all(axis=1)
        _refuse(fork, "name one old and one new each")
        _refuse(known & ~done, "are unknown", "new identifiers")
        status = np.full(n, Acquisition.NONE, np.uint8)
        status[done | (found == Status.OK)] = Acquisition.ALREADY
        fresh = np.flatnonzero((found == Status.OK) & ~again)
        status[fresh] = Acquisition.CREATED
        if len(fresh):
            edits = np.zeros(2 * len(fresh), np.uint16)
            edits[: len(fresh)] = MARK | REVOKED | REPLACED
            # As they are stored: of two who were merged the new one stays with whom the old one was made for.
            links = list(zip(old[fresh], new[fresh], strict=True))
            keys, people = np.concatenate((old[fresh], new[fresh])), np.concatenate((persons[fresh], persons[fresh]))
            addition = Addition(number, keys, people, edits=edits)
            _edit(store, addition, len(fresh), workers, tell, links)
        return status


def revoke(store: Store, number: int, pseudonyms: Aliases, workers: Workers, *, tell: Tell) -> int:
    """End identifiers, in one commit; returns how many this call ended.

    Raises:
        RequestError: too many rows.
    """
    with store.acquiring:
        complete_pending(store, workers)
        _check_rows(store, number, len(pseudonyms))
        with store.snapshot() as snapshot:
            persons, _, found = find_persons(snapshot, number, pseudonyms, workers)
        first = _columns.first_rows(pseudonyms)
        rows = np.flatnonzero((found == Status.OK) & (first == np.arange(len(first))))
        if len(rows):
            edits = np.full(len(rows), MARK | REVOKED, np.uint16)
            addition = Addition(number, np.ascontiguousarray(pseudonyms[rows]), persons[rows], edits=edits)
            _edit(store, addition, 0, workers, tell)
        return len(rows)


def _check_rows(store: Store, number: int, rows: int) -> None:
    """What one transaction takes, as of a reissue: each row may rewrite a block."""
    with store.snapshot() as snapshot:
        most = rows_max(directory(snapshot, table_number(number, BY_ALIAS)).blocks, 0)
    if rows > most:
        raise RequestError(f"identifiers: expected at most {most} in one call of this namespace, got {rows}")


def _edit(
    store: Store, addition: Addition, gained: int, workers: Workers, tell: Tell,
    links: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = (),
) -> None:  # fmt: skip
    number = addition.number
    ended = 0 if gained < 0 else len(addition.persons) - gained
    with store.commit() as commit, store.snapshot() as snapshot:
        put_parts(commit, cut_parts(snapshot, addition, BY_ALIAS, commit.state.commit), workers)
        after = count_aliases(snapshot, number) + gained
        commit.put_sealed("meta", count_key(number), after.to_bytes(8, "little"))
        # In the order of the keys: neighbours go into one page.
        for key, new in sorted((_link_key(number, old), new.tobytes()) for old, new in links):
            commit.put_sealed(RENEWALS, key, new)
        tell(commit, gained, len(links), ended)


def _link_key(number: int, pseudonym: npt.NDArray[np.uint8]) -> bytes:
    return number.to_bytes(4, "big") + pseudonym.tobytes()


def _read_links(snapshot: Snapshot, number: int, pseudonyms: Aliases) -> Aliases:
    """What took the place of identifiers that were renewed: uint8[N, 16].

    Raises:
        StorageError: one has nothing in its place, or is damaged.
    """
    out = bytearray()
    database = snapshot.databases[RENEWALS]
    with snapshot.reading:
        for one in pseudonyms:
            key = _link_key(number, one)
            value = snapshot.txn.get(key, db=database)
            if value is None:
                raise StorageError(f"{RENEWALS}: expected what took the place of an identifier, found nothing")
            out += parse_link(key, value)
    return np.frombuffer(bytes(out), np.uint8).reshape(-1, 16)


def parse_link(key: bytes, value: Any) -> bytes:
    """The pseudonym of a stored link.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(RENEWALS, key, value)
    if len(body) != 16:
        raise StorageError(f"{RENEWALS}: expected a pseudonym, got {len(body)} bytes")
    return body


# -- the relying body's side


def identify(
    snapshot: Snapshot, number: int, institution: int, pseudonyms: Aliases, workers: Workers, *, follow: bool
) -> Identified:
    """Find a body's own aliases of the persons whom identifiers name; the same look-ups for every row.

    Args:
        number: the namespace's. institution: the body's. follow: whether renewed ones lead on.
    """
    persons, flags, found = find_persons(snapshot, number, pseudonyms, workers)
    persons = current_persons(snapshot, persons)
    status = np.full(len(pseudonyms), Identity.UNKNOWN, np.uint8)
    status[found == Status.OK] = Identity.VALID
    status[found == Status.REVOKED] = Identity.REVOKED
    replaced = np.flatnonzero((found == Status.REVOKED) & (flags & REPLACED != 0))
    status[replaced] = Identity.REPLACED
    leads = found == Status.OK
    if follow and len(replaced):
        ends = _ends_valid(snapshot, number, pseudonyms[replaced], persons[replaced], workers)
        status[replaced[~ends]] = Identity.REVOKED
        leads[replaced[ends]] = True
    aliases, none = find_known_aliases(snapshot, institution, persons, workers)
    aliases[~leads | (none != 0)] = 0
    status[(status == Identity.VALID) & (none != 0)] = Identity.NO_ALIAS
    return Identified(aliases, status)


def _ends_valid(
    snapshot: Snapshot, number: int, pseudonyms: Aliases, persons: Persons, workers: Workers
) -> npt.NDArray[np.bool_]:
    """bool[N]: whether chains that begin with renewed identifiers end in one that is valid and the same person's."""
    valid = np.zeros(len(pseudonyms), np.bool_)
    rows, current = np.arange(len(pseudonyms)), pseudonyms
    for _ in range(IDENTIFIER_CHAIN_MAX):
        if not len(rows):
            return valid
        current = _read_links(snapshot, number, current)
        holders, flags, found = find_persons(snapshot, number, current, workers)
        # One that was registered again may be another's by now.
        same = current_persons(snapshot, holders) == persons[rows]
        valid[rows] = same & (found == Status.OK)
        on = np.flatnonzero(same & (found == Status.REVOKED) & (flags & REPLACED != 0))
        rows, current = rows[on], current[on]
    raise StorageError(f"{RENEWALS}: expected chains of at most {IDENTIFIER_CHAIN_MAX}, got a longer one")
