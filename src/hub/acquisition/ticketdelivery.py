"""Tickets that the register body delivers: with aliases where nothing differs, held where something does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hub.acquisition.acquire import Barred, acquire, code_pseudonyms
from hub.acquisition.claims import CLAIMS, Link, find_link, is_required, put_link, read_claim
from hub.acquisition.tickets import (
    ALREADY,
    CLAIMED,
    CLOSED,
    CREATED,
    HELD,
    NAME,
    UNKNOWN,
    WAITS,
    Found,
    held_link,
    key_of,
    look_up,
    put_tickets,
    refuse,
    ticket_names,
)
from hub.aliases import NOBODY, RESIDENT_CODES, Statuses, find_persons
from hub.errors import StorageError
from hub.limits import CLAIMS_PER_COMMIT
from hub.messages import Acquisition, Aliases
from hub.persons.merges import current
from hub.storage.confidential import Vault
from hub.storage.keys import Keys
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store


def deliver_tickets(
    store: Store,
    keys: Keys,
    vault: Vault,
    tickets: Aliases,
    codes: npt.NDArray[np.int64],
    differs: Statuses | None,
    now: int,
    workers: Workers,
    above: int,
    told: Callable[[Commit, int, Statuses, int], None],
    barred: Callable[[int], Barred | None] = lambda institution: None,
) -> None:
    """Give each ticket's institution an alias of the person with this code, and keep for the ticket who that is.

    Where attributes differ the ticket is held instead: no alias is made, no person either, and nothing says whether
    there was one. Else aliases come first, in acquisitions of their own, an institution at a time, then the tickets:
    after a crash in between the same call completes the rest, and what was acquired before it is ALREADY then.

    Args:
        tickets: uint8[N, 16], of any institutions, untrusted. codes: int64[N], each at least 0 and under ``above``.
        differs: uint8[N] of ``Differs``; None where nothing was compared.
        told: called in the transaction that holds tickets with an institution's number, the masks of those that it
            holds (not 0) and how many of its tickets the call delivers.
        barred: of an institution's number who gets no alias there; their tickets are closed.

    Raises:
        RequestError: a ticket is unknown or has lapsed, or has another person already; one that has a claim was not
            compared, or one that has none was; nothing was changed.
        StorageError: the disk is full or failed; the same call may be made again.
    """
    pseudonyms = code_pseudonyms(keys, codes, above, workers)
    masks = np.zeros(len(codes), np.uint8) if differs is None else differs
    with store.snapshot() as snapshot:
        # A value of an earlier commit would let a ticket be delivered to a second person.
        store.compare_sum(snapshot, NAME)
        store.compare_sum(snapshot, CLAIMS)
        found = look_up(snapshot, keys, tickets, now)
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)[0]
        refuse(found.state == UNKNOWN, "ones that were drawn and have not lapsed")
        delivered = (found.state == CREATED) | (found.state == ALREADY)
        refuse(delivered & (current(snapshot, found.person) != persons), "each delivered once, with one code")
        _check_again(snapshot, vault, found, pseudonyms, masks)
        _check_compared(snapshot, found, differs)
    _, first, same = np.unique(ticket_names(found), return_index=True, return_inverse=True)
    refuse((codes[first][same] != codes) | (masks[first][same] != masks), "each delivered once, with one code")
    waits = (found.state[first] == WAITS) | (found.state[first] == CLAIMED)
    held = np.sort(first[waits & (masks[first] != 0)])
    _hold(store, vault, found, held, first[waits], pseudonyms, masks, now, told)
    left = np.sort(first[waits & (masks[first] == 0)])
    if not len(left):
        return
    state = np.empty(len(codes), np.uint8)
    for institution in np.unique(found.institution[left]).tolist():
        rows = left[found.institution[left] == institution]
        acquired = acquire(store, keys, institution, codes[rows], workers, above, barred(institution)).status
        state[rows] = np.where(acquired == Acquisition.NONE, np.uint8(CLOSED), acquired)
    with store.snapshot() as snapshot:
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)[0]
    persons[state == CLOSED] = NOBODY

    def forget(commit: Commit, of_draw: npt.NDArray[np.int64]) -> None:
        for row in of_draw[found.state[of_draw] == CLAIMED].tolist():
            commit.delete(CLAIMS, key_of(found, row))

    claimed = bool((found.state[left] == CLAIMED).any())
    put_tickets(store, found, left, persons, state, now, forget, rows_max=CLAIMS_PER_COMMIT if claimed else None)


def _check_again(
    snapshot: Snapshot, vault: Vault, found: Found, pseudonyms: Aliases, masks: Statuses
) -> None:
    """Refuse to deliver with another outcome what was delivered before; what a clerk has confirmed since may repeat."""
    wrong = np.zeros(len(masks), np.bool_)
    delivered = (found.state == CREATED) | (found.state == ALREADY)
    for row in np.flatnonzero((found.state == HELD) | (delivered & (masks != 0))).tolist():
        if found.state[row] == HELD:
            held = held_link(snapshot, vault, found, row)
            wrong[row] = held.differs != masks[row] or held.pseudonym != pseudonyms[row].tobytes()
        else:
            link = find_link(snapshot, vault, key_of(found, row))
            wrong[row] = link is None or link.differs != masks[row]
    refuse(wrong, "each delivered once, with one code and one outcome")


def _check_compared(snapshot: Snapshot, found: Found, differs: Statuses | None) -> None:
    """Refuse what has a claim and was not compared, and what has none and differs, or needs one."""
    if differs is None:
        refuse(found.state == CLAIMED, "with a claim to be compared before they are delivered")
    else:
        refuse((found.state == WAITS) & (differs != 0), "with a claim where something differs")
    waits = found.state == WAITS
    needs = [one for one in np.unique(found.institution[waits]).tolist() if is_required(snapshot, one)]
    refuse(waits & np.isin(found.institution, needs), "with a claim where the institution must send one")


def _hold(
    store: Store,
    vault: Vault,
    found: Found,
    held: npt.NDArray[np.int64],
    every: npt.NDArray[np.int64],
    pseudonyms: Aliases,
    masks: Statuses,
    now: int,
    told: Callable[[Commit, int, Statuses, int], None],
) -> None:
    """Keep tickets whose attributes differ until a second clerk has looked at them."""
    if not len(held):
        return

    def keep(commit: Commit, rows: npt.NDArray[np.int64]) -> None:
        for row in rows.tolist():
            key = key_of(found, row)
            value = commit.get(CLAIMS, key)
            if value is None:
                raise StorageError(f"{CLAIMS}: expected the claim of a ticket that says it has one, found none")
            clerk = read_claim(vault, key, value).clerk
            put_link(
                commit, vault, key, Link(differs=int(masks[row]), clerk=clerk, pseudonym=pseudonyms[row].tobytes())
            )
            commit.delete(CLAIMS, key)
        for institution in np.unique(found.institution[rows]).tolist():
            own = masks[rows[found.institution[rows] == institution]]
            told(commit, institution, own, int(np.count_nonzero(found.institution[every] == institution)))

    n = len(masks)
    nobody, state = np.full(n, NOBODY, np.uint32), np.full(n, HELD, np.uint8)
    put_tickets(store, found, held, nobody, state, now, keep, rows_max=CLAIMS_PER_COMMIT)
