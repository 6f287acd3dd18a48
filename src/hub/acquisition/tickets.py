"""Acquisition in three parts (取得番号): one-off tickets, and what was delivered on each.

The institution draws tickets; the register body delivers them with resident record codes (住民票コード); the
institution asks with the tickets for its aliases. So the institution never learns a code, the register body never an
alias. A ticket names itself, under a key: nothing has to be looked up by it, and nobody can make one up.

Ticket = AES-256 (own key "tickets", see ``storage/keys.py``) of one block, little endian:

| at | type | what |
|---|---|---|
| 0 | u48 | number of the draw, from 0; never used again |
| 6 | u16 | institution's number |
| 8 | u32 | position in the draw, from 0 |
| 12 | u32 | 0 |

Database ``tickets``, key u64 number of the draw, big endian; value sealed, little endian. ``tickets`` in ``meta`` is
the next draw's number, u64 little endian. A call that draws more than 800 makes several draws.

| at | type | what |
|---|---|---|
| 0 | u16 | institution's number |
| 2 | u16 | n, tickets of the draw, 1 to 800 |
| 4 | u8 | 0 all wait, 1 listed, 2 all closed |
| 5 | 3 | 0 |
| 8 | i64 | when it was drawn, seconds since 1970 |
| 16 | n x u32 | where byte 4 is 1: the person of each ticket, 0xFFFFFFFF where it waits or is closed |
| | n x u8 | there: 0 waits, 1 CREATED, 2 ALREADY, 3 closed, 4 HELD (nobody's yet), 5 waits with a claim |

What institutions claim of their tickets, and how those stand that were delivered with attributes that differ, is kept
beside them (``claims.py``). A ticket that is closed forgets its person at once; the rest of a draw goes when it has
lapsed. A closed ticket stays
known until then, so that a delivery whose receipt was lost may be repeated after the institution was done with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.acquisition.claims import LINKED, Link, claim_key, find_link, forget_draw
from hub.aliases import NOBODY, Persons, Statuses, find_aliases, find_persons
from hub.errors import RequestError, StorageError
from hub.limits import CLAIMS_PER_COMMIT, TICKET_DAYS
from hub.messages import Acquired, Acquisition, Aliases
from hub.persons.merges import current
from hub.storage.blockcipher import BlockCipher
from hub.storage.confidential import Vault
from hub.storage.keys import Keys
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store

NAME, NEXT = "tickets", b"tickets"
TICKETS_PER_DRAW = 800
"""One value: with persons it fits a page, which is what a single delivery rewrites."""

DRAWS_PER_COMMIT = 16_384
"""A page each, which LMDB holds in memory: a delivery of more draws takes several commits."""

DRAWS_PURGED_AT_A_TIME = 1_000

KEPT_PURGED_AT_A_TIME = 20_000
"""Claims and links that go with lapsed draws in one transaction, or one draw's."""

WAITS, CREATED, ALREADY, CLOSED, HELD, CLAIMED = 0, 1, 2, 3, 4, 5
UNKNOWN = 255
_ALL_WAIT, _LISTED, _ALL_CLOSED = 0, 1, 2
_DAY_S = 86_400
_HEAD = struct.Struct("<HHB3xq")
_BLOCK = np.dtype([("draw", "<u8"), ("position", "<u4"), ("zero", "<u4")])
_DRAW_BITS = 48


class Draw(NamedTuple):
    """One value: institution's number, when it was drawn, and of each ticket the person and the state."""

    institution: int
    at: int
    persons: Persons
    states: Statuses

    def __repr__(self) -> str:
        return f"Draw(tickets={len(self.states)})"

    def lapsed(self, now: int) -> bool:
        """Whether its tickets are good for nothing any more."""
        return now >= self.at + TICKET_DAYS * _DAY_S


class Found(NamedTuple):
    """What some tickets are, row by row: state UNKNOWN where one was not drawn by the hub, or has lapsed.

    Attributes:
        draw, position, institution: what each says of itself. state: uint8[N]. person: uint32[N], NOBODY where none.
    """

    draw: npt.NDArray[np.uint64]
    position: npt.NDArray[np.uint32]
    institution: npt.NDArray[np.uint32]
    state: Statuses
    person: Persons

    def __repr__(self) -> str:
        return f"Found(tickets={len(self.state)})"


# -- draw


def draw_tickets(store: Store, keys: Keys, institution: int, n: int, now: int) -> Aliases:
    """Draw n tickets for an institution: uint8[n, 16], durable. What has lapsed is erased with it.

    Raises:
        StorageError: the disk is full or failed; nothing was drawn.
    """
    with store.commit() as commit:
        stored = commit.get("meta", NEXT)
        first = 0 if stored is None else int.from_bytes(unseal("meta", NEXT, stored), "little")
        draws = -(-n // TICKETS_PER_DRAW)
        for draw in range(draws):
            size = min(TICKETS_PER_DRAW, n - draw * TICKETS_PER_DRAW)
            commit.put_sealed(NAME, _key(first + draw), _HEAD.pack(institution, size, _ALL_WAIT, now))
        commit.put_sealed("meta", NEXT, (first + draws).to_bytes(8, "little"))
        _purge(commit, now)
    rows = np.arange(n, dtype=np.uint64)
    return make_tickets(keys, institution, rows // TICKETS_PER_DRAW + np.uint64(first), rows % TICKETS_PER_DRAW)


def make_tickets(keys: Keys, institution: int, draws: Any, positions: Any) -> Aliases:
    """The tickets (uint8[N, 16]) of an institution with these numbers of draws and positions."""
    blocks = np.zeros(len(draws), _BLOCK)
    blocks["draw"] = np.asarray(draws, np.uint64) | np.uint64(institution << _DRAW_BITS)
    blocks["position"] = positions
    return _cipher(keys).encrypt(blocks.view(np.uint8).reshape(-1, 16))


def _purge(commit: Commit, now: int) -> None:
    """Erase the oldest draws that lapsed a day ago or earlier: a delivery that is under way still has its own."""
    gone: list[bytes] = []
    with commit.txn.cursor(db=commit.databases[NAME]) as cursor:
        more = cursor.first()
        while more and len(gone) < DRAWS_PURGED_AT_A_TIME:
            key = bytes(cursor.key())
            if not _read(key, cursor.value()).lapsed(now - _DAY_S):
                break
            gone.append(key)
            more = cursor.next()
    erased = 0
    for key in gone:
        if erased >= KEPT_PURGED_AT_A_TIME:
            break
        erased += forget_draw(commit, int.from_bytes(key, "big"))
        commit.delete(NAME, key)


# -- ask, close


def acquired_aliases(
    snapshot: Snapshot, keys: Keys, vault: Vault, institution: int, tickets: Aliases, now: int, workers: Workers,
    *, closed: bool = False,
) -> Acquired:  # fmt: skip
    """What became of an institution's tickets, and the aliases that their persons have there now. Reads only.

    Args:
        closed: aliases of this institution may be closed: they are told no more.
    """
    found = look_up(snapshot, keys, tickets, now)
    state = np.where(found.institution == institution, found.state, UNKNOWN)
    aliases, missing = np.zeros((len(tickets), 16), np.uint8), np.zeros(len(tickets), np.bool_)
    rows = np.flatnonzero((state == CREATED) | (state == ALREADY))
    aliases[rows], none = find_aliases(snapshot, institution, current(snapshot, found.person[rows]), workers)
    missing[rows] = none != 0
    told = rows[none == 0]
    if closed and len(told):
        # Of who has died since: the alias is in its table still, and closed.
        missing[told] = find_persons(snapshot, institution, aliases[told], workers)[2] != 0
        aliases[missing] = 0
    status = np.zeros(256, np.uint8)
    status[[WAITS, CREATED, ALREADY]] = Acquisition.WAITING, Acquisition.CREATED, Acquisition.ALREADY
    status[[CLAIMED, HELD]] = Acquisition.WAITING, Acquisition.HELD
    differs = np.zeros(len(tickets), np.uint8)
    for row in np.flatnonzero(state == HELD).tolist():
        differs[row] = held_link(snapshot, vault, found, row).differs
    # Revoked since it was delivered: there is none to tell.
    return Acquired(aliases, np.where(missing, np.uint8(Acquisition.NONE), status[state]), differs)


def held_link(snapshot: Snapshot, vault: Vault, found: Found, row: int) -> Link:
    """How a held ticket stands.

    Raises:
        StorageError: nothing says so, or it is damaged.
    """
    link = find_link(snapshot, vault, key_of(found, row))
    if link is None:
        raise StorageError(f"{LINKED}: expected how a held ticket stands, found nothing")
    return link


def close_tickets(store: Store, keys: Keys, institution: int, tickets: Aliases, now: int) -> int:
    """Forget the persons of an institution's delivered and held tickets; returns how many. Others stay as they are."""
    with store.snapshot() as snapshot:
        store.compare_sum(snapshot, NAME)
        found = look_up(snapshot, keys, tickets, now)
    done = (found.institution == institution) & np.isin(found.state, (CREATED, ALREADY, HELD))
    rows = np.flatnonzero(done)
    rows = rows[np.unique(ticket_names(found)[rows], return_index=True)[1]]
    if not len(rows):
        return 0

    def forget(commit: Commit, of_draw: npt.NDArray[np.int64]) -> None:
        for row in of_draw.tolist():
            commit.delete(LINKED, key_of(found, row))

    n = len(tickets)
    with store.snapshot() as snapshot:
        some = bool(snapshot.items(LINKED, b"", limit=1))
    also, most = (forget, CLAIMS_PER_COMMIT) if some else (None, None)
    nobody, state = np.full(n, NOBODY, np.uint32), np.full(n, CLOSED, np.uint8)
    put_tickets(store, found, rows, nobody, state, now, also, rows_max=most)
    return len(rows)


# -- stored


def read_draws(snapshot: Snapshot) -> Iterator[tuple[int, Draw]]:
    """Every draw, by number.

    Raises:
        StorageError: one is damaged.
    """
    for key, value in snapshot.items(NAME, b""):
        yield int.from_bytes(key, "big"), _read(key, value)


def refuse(wrong: npt.NDArray[np.bool_], expected: str) -> None:
    """Refuse a call of which a row is wrong; the first is named.

    Raises:
        RequestError: one is.
    """
    if wrong.any():
        raise RequestError(f"tickets: expected {expected}, got another in row {int(np.argmax(wrong))}")


def find_draw(snapshot: Snapshot, number: int, now: int) -> Draw | None:
    """A draw that has not lapsed, or None."""
    value = snapshot.get(NAME, _key(number))
    one = None if value is None else _read(_key(number), value)
    return None if one is None or one.lapsed(now) else one


def look_up(snapshot: Snapshot, keys: Keys, tickets: Aliases, now: int) -> Found:
    """What some tickets (uint8[N, 16], untrusted) are."""
    blocks = _cipher(keys).decrypt(tickets).view(_BLOCK)[:, 0]
    n = len(blocks)
    draw = blocks["draw"] & np.uint64((1 << _DRAW_BITS) - 1)
    institution = (blocks["draw"] >> np.uint64(_DRAW_BITS)).astype(np.uint32)
    position = np.ascontiguousarray(blocks["position"])
    state, person = np.full(n, UNKNOWN, np.uint8), np.full(n, NOBODY, np.uint32)
    # What is no ticket of ours decrypts to noise and is not looked for.
    ours = np.flatnonzero((blocks["zero"] == 0) & (position < TICKETS_PER_DRAW))
    for number, rows in by_draw(draw, ours):
        one = find_draw(snapshot, number, now)
        if one is None:
            continue
        rows = rows[(institution[rows] == one.institution) & (position[rows] < len(one.states))]
        state[rows], person[rows] = one.states[position[rows]], one.persons[position[rows]]
    return Found(draw, position, institution, state, person)


def put_tickets(
    store: Store,
    found: Found,
    rows: npt.NDArray[np.int64],
    person: Persons,
    state: Statuses,
    now: int,
    also: Callable[[Commit, npt.NDArray[np.int64]], None] | None = None,
    *,
    rows_max: int | None = None,
) -> None:
    """Write the new person and state of some tickets: columns as long as all of them, rows of those that change.

    Args:
        also: called in each transaction with its rows, to write what goes with them. rows_max: of a transaction, and a
            draw's more; None: ``DRAWS_PER_COMMIT`` draws.
    """
    for changes in _in_commits(found, rows, rows_max):
        with store.commit() as commit:
            change_tickets(commit, found, changes, person, state)
            if also is not None:
                also(commit, np.concatenate([of_draw for _, of_draw in changes]))
            _purge(commit, now)


def change_tickets(
    commit: Commit,
    found: Found,
    changes: Iterable[tuple[int, npt.NDArray[np.int64]]],
    person: Persons,
    state: Statuses,
) -> None:
    """Put the new person and state of some tickets into a transaction, rows by draw.

    Raises:
        StorageError: a draw is gone.
    """
    for number, of_draw in changes:
        key, at = _key(number), found.position[of_draw]
        value = commit.get(NAME, key)
        if value is None:
            raise StorageError("tickets: expected a draw that has not lapsed, found it is gone")
        one = _read(key, value)
        one.persons[at], one.states[at] = person[of_draw], state[of_draw]
        commit.put_sealed(NAME, key, _pack(one))


def _in_commits(
    found: Found, rows: npt.NDArray[np.int64], rows_max: int | None
) -> Iterator[list[tuple[int, npt.NDArray[np.int64]]]]:
    """Rows by draw, as many draws together as one transaction takes."""
    some: list[tuple[int, npt.NDArray[np.int64]]] = []
    count = 0
    for number, of_draw in by_draw(found.draw, rows):
        some.append((number, of_draw))
        count += len(of_draw)
        if len(some) == DRAWS_PER_COMMIT or (rows_max is not None and count >= rows_max):
            yield some
            some, count = [], 0
    if some:
        yield some


def by_draw(
    draw: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Rows by the draw that they belong to, in the order of the draws' numbers."""
    rows = rows[np.argsort(draw[rows], kind="stable")]
    numbers, starts = np.unique(draw[rows], return_index=True)
    yield from zip(numbers.tolist(), np.split(rows, starts[1:]), strict=True) if len(rows) else ()


def key_of(found: Found, row: int) -> bytes:
    """The key of what is kept beside a ticket."""
    return claim_key(int(found.draw[row]), int(found.position[row]))


def ticket_names(found: Found) -> npt.NDArray[np.uint64]:
    """A number for each ticket; of those that were drawn by the hub no two are alike."""
    return found.draw * np.uint64(TICKETS_PER_DRAW) + found.position


def _read(key: bytes, value: object) -> Draw:
    body = unseal(NAME, key, value)
    institution, n, form, at = _HEAD.unpack_from(body.ljust(_HEAD.size, b"\0"))
    size = _HEAD.size + (5 * n if form == _LISTED else 0)
    if len(body) != size or not 1 <= n <= TICKETS_PER_DRAW or form > _ALL_CLOSED:
        raise StorageError("tickets: expected a draw of the stored size, got another")
    if form == _LISTED:
        persons = np.frombuffer(body, np.uint32, n, _HEAD.size).copy()
        return Draw(institution, at, persons, np.frombuffer(body, np.uint8, n, _HEAD.size + 4 * n).copy())
    states = np.full(n, WAITS if form == _ALL_WAIT else CLOSED, np.uint8)
    return Draw(institution, at, np.full(n, NOBODY, np.uint32), states)


def _pack(one: Draw) -> bytes:
    n = len(one.states)
    if (one.states == CLOSED).all():
        return _HEAD.pack(one.institution, n, _ALL_CLOSED, one.at)
    return _HEAD.pack(one.institution, n, _LISTED, one.at) + one.persons.tobytes() + one.states.tobytes()


def _key(draw: int) -> bytes:
    return draw.to_bytes(8, "big")


def _cipher(keys: Keys) -> BlockCipher:
    return BlockCipher(keys.derive("tickets"))
