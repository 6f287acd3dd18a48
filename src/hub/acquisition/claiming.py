"""Claims: an institution says of its tickets, under seal, whose they are to be; the register body reads it.

What is stored stands in ``claims.py``; what is in a seal in ``mislinks/attributes.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hub.acquisition.claims import CLAIMS, KEY_BYTES, Claim, put_claim, read_claim
from hub.acquisition.tickets import (
    CLAIMED,
    NAME,
    WAITS,
    Draw,
    find_draw,
    key_of,
    look_up,
    make_tickets,
    put_tickets,
    refuse,
    ticket_names,
)
from hub.aliases import NOBODY
from hub.errors import StorageError
from hub.limits import CLAIMS_PER_COMMIT
from hub.messages import Aliases
from hub.storage.confidential import Vault
from hub.storage.keys import Keys
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store


def claim_tickets(
    store: Store,
    keys: Keys,
    vault: Vault,
    institution: int,
    tickets: Aliases,
    sealed: list[bytes],
    clerk: str,
    now: int,
) -> None:
    """Keep the sealed attributes of an institution's tickets until they are delivered; a later claim replaces it.

    A draw at a time, many draws a transaction: after an error the same call completes the rest.

    Raises:
        RequestError: a ticket is not the institution's or does not wait; nothing was changed.
        StorageError: the disk is full or failed.
    """
    with store.snapshot() as snapshot:
        store.compare_sum(snapshot, NAME)
        found = look_up(snapshot, keys, tickets, now)
    waits = (found.institution == institution) & ((found.state == WAITS) | (found.state == CLAIMED))
    refuse(~waits, "this institution's own that wait to be delivered")
    # Of a ticket that is named twice the later row holds.
    rows = len(sealed) - 1 - np.unique(ticket_names(found)[::-1], return_index=True)[1]
    state, person = np.full(len(sealed), CLAIMED, np.uint8), np.full(len(sealed), NOBODY, np.uint32)

    def keep(commit: Commit, of_draw: npt.NDArray[np.int64]) -> None:
        for row in of_draw.tolist():
            put_claim(commit, vault, key_of(found, row), Claim(clerk, sealed[row]))

    put_tickets(store, found, np.sort(rows), person, state, now, keep, rows_max=CLAIMS_PER_COMMIT)


def claims_of(
    snapshot: Snapshot, keys: Keys, vault: Vault, tickets: Aliases, now: int
) -> list[bytes | None]:
    """The sealed attributes of some tickets, None where none wait to be compared."""
    found = look_up(snapshot, keys, tickets, now)
    out: list[bytes | None] = [None] * len(tickets)
    for row in np.flatnonzero(found.state == CLAIMED).tolist():
        out[row] = _stored_claim(snapshot, vault, key_of(found, row)).sealed
    return out


def next_claims(
    snapshot: Snapshot, keys: Keys, vault: Vault, after: bytes, limit: int, now: int
) -> tuple[Aliases, list[bytes], bytes | None]:
    """The next claims behind a key: their tickets, the sealed attributes, and the last key or None at the end."""
    items = snapshot.items(CLAIMS, after + b"\0" if after else b"", limit=limit)
    wanted = [(key, value) for key, value in items if len(key) == KEY_BYTES]
    draws: dict[int, Draw | None] = {}
    by_institution: dict[int, list[int]] = {}
    for row, (key, _) in enumerate(wanted):
        number = int.from_bytes(key[:8], "big")
        if number not in draws:
            draws[number] = find_draw(snapshot, number, now)
        draw = draws[number]
        if draw is not None:
            by_institution.setdefault(draw.institution, []).append(row)
    numbers = [(int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")) for key, _ in wanted]
    places = np.array(numbers, np.uint64).reshape(-1, 2)
    tickets = np.zeros((len(wanted), 16), np.uint8)
    for institution, rows in by_institution.items():
        tickets[rows] = make_tickets(keys, institution, places[rows, 0], places[rows, 1])
    kept = sorted(row for rows in by_institution.values() for row in rows)
    sealed = [read_claim(vault, *wanted[row]).sealed for row in kept]
    return tickets[kept], sealed, (items[-1][0] if len(items) == limit else None)


def _stored_claim(snapshot: Snapshot, vault: Vault, key: bytes) -> Claim:
    value = snapshot.get(CLAIMS, key)
    if value is None:
        raise StorageError(f"{CLAIMS}: expected the claim of a ticket that says it has one, found none")
    return read_claim(vault, key, value)
