"""Legal holds: what must not be erased yet, copied out before its period is.

A hold has a ground, a last day and who set it. It names an inquiry, a requester with days, a person, or several of
these, which must then all fit. Each has a key of its own, ``keys/holds/<number>.key``: unlinking it shreds what was
copied out, everywhere. What a hold encrypts is 12 bytes of nonce, then AES-256-GCM under HMAC-SHA-256(that key,
"hub/hold/values/1").

``holds``: key u32 number (big endian), value sealed: MessagePack array

| field | type | what |
|---|---|---|
| 0 version | int | 1 |
| 1 number | int | from 1 on, never used again |
| 2 until | str | ISO date, its last day in Japan |
| 3 inquiry | bin | name of an inquiry, 8 bytes; empty = any |
| 4 requester | str | institution code; empty = any |
| 5 since | int | records asked for from this moment on, seconds since 1970 |
| 6 before | int | and before this one |
| 7 person | bin | u32 person (little endian), encrypted with "person" as associated data; empty = any |
| 8 state | int | a :class:`HoldState` |
| 9 copied | int | records copied out |
| 10 events | array | of arrays (time, what, by, ground): "set", "extended", "released", "ended"; kept for ever |

``held``: key u32 number, u64 index of the first record of a piece (big endian), value sealed: :class:`Piece` in
MessagePack, encrypted with the key in ``held`` as associated data.
"""

from __future__ import annotations

import datetime as dt
import hmac
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub import _hash
from hub.catalog.moments import day_starts, ends_at
from hub.errors import RequestError, StorageError
from hub.limits import HOLD_BY_CHARS_MAX, HOLD_GROUND_CHARS_MAX, HOLD_YEARS_MAX
from hub.persons.merges import lives_of
from hub.records.bodies import ROW, Bodies, Chunk, Heads, Supervised
from hub.records.erasures import years_after
from hub.storage.keys import make_key_file, read_key, shred_key_file
from hub.storage.periods import JAPAN_TIME, NONCE_BYTES, PeriodKeys
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store
from hub.tlog.entry import hash_entry, hash_shared

PIECE_ROWS = 256
STEP_BYTES = 1 << 18
"""Bytes of copied records that one transaction writes; it holds the writer for about two milliseconds."""

_PERSON = struct.Struct("<I")
_U64 = Annotated[int, msgspec.Meta(ge=0)]
FOREVER = 2**62


class HoldState(IntEnum):
    """How a hold stands."""

    IN_FORCE = 1
    ENDING = 2
    """Its key is being shredded; nothing brings it back."""
    ENDED = 3


class Event(msgspec.Struct, array_like=True, frozen=True):
    """What happened to a hold: when (seconds since 1970), what, by whom, on what ground."""

    time: int
    what: str
    by: str
    ground: str


class Hold(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A legal hold, see the module's table."""

    version: int
    number: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    until: str
    inquiry: bytes
    requester: str
    since: int
    before: int
    person: bytes
    state: HoldState
    copied: _U64
    events: list[Event]

    def __repr__(self) -> str:
        return f"Hold({self.number}, {self.state.name}, records={self.copied})"

    @property
    def key(self) -> bytes:
        """Its key in ``holds``, and the begin of keys in ``held``."""
        return self.number.to_bytes(4, "big")

    @property
    def ends_at(self) -> float:
        """The first moment at which it is over, seconds since 1970."""
        return ends_at(dt.date.fromisoformat(self.until))


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """Up to 256 records of one chunk under one hold, whole: all that their proofs need.

    Attributes:
        version: 1. indexes: ascending. decisions: place in ``shared`` and ``operators`` of each record.
        shared: encoded, see ``tlog/entry.py``. salts, rows: 16 and 48 bytes of each record.
        operators, cases: what only supervisors read; a case of each record.
    """

    version: int
    indexes: list[int]
    decisions: list[int]
    shared: list[bytes]
    salts: bytes
    rows: bytes
    operators: list[str | None]
    cases: list[str | None]

    def __repr__(self) -> str:
        return f"Piece(records={len(self.indexes)})"

    def entries(self) -> npt.NDArray[np.uint8]:
        """uint8[n, 32]: the log's entries as they follow from what was copied."""
        hashes = [hash_shared(one) for one in self.shared]
        return np.frombuffer(
            b"".join(
                hash_entry(self.salts[16 * at : 16 * at + 16], hashes[decision], self.rows[48 * at : 48 * at + 48])
                for at, decision in enumerate(self.decisions)
            ),
            dtype=np.uint8,
        ).reshape(-1, 32)


class HoldKeys:
    """The keys of holds of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return "HoldKeys()"

    def make(self, number: int) -> None:
        """Make and sync a hold's key."""
        make_key_file(self._path(number))

    def shred(self, number: int) -> None:
        """Unlink a hold's key, durably."""
        shred_key_file(self._path(number))

    def exists(self, number: int) -> bool:
        """Whether its key is there."""
        return self._path(number).exists()

    def encrypt(self, number: int, name: bytes, plain: bytes) -> bytes:
        """Nonce and ciphertext under a hold's key."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(number).encrypt(nonce, plain, name)

    def decrypt(self, number: int, name: bytes, raw: bytes) -> bytes:
        """The same back.

        Raises:
            StorageError: the key is gone, or these are not bytes that it encrypted under this name.
        """
        try:
            return self._cipher(number).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], name)
        except (InvalidTag, ValueError):
            raise StorageError(f"hold {number}: expected what its key encrypted, got something else") from None

    def _cipher(self, number: int) -> AESGCM:
        return AESGCM(hmac.digest(read_key(self._path(number)), b"hub/hold/values/1", "sha256"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.key"


# -- the entries


def read_holds(snapshot: Snapshot) -> list[Hold]:
    """All holds that ever were, ascending.

    Raises:
        StorageError: an entry is damaged.
    """
    return [_parse(key, value) for key, value in snapshot.items("holds", b"")]


def find_hold(snapshot: Snapshot, number: int) -> Hold:
    """One hold.

    Raises:
        RequestError: there is none of this number.
    """
    value = snapshot.get("holds", number.to_bytes(4, "big")) if _is_number(number) else None
    if value is None:
        raise RequestError("hold: expected the number of one, got another")
    return _parse(number.to_bytes(4, "big"), value)


def holds_of(commit: Commit) -> list[Hold]:
    """All holds as a transaction sees them, ascending."""
    with commit.txn.cursor(db=commit.databases["holds"]) as cursor:
        return [_parse(bytes(key), value) for key, value in cursor]


def put_hold(commit: Commit, hold: Hold) -> None:
    """Write an entry."""
    commit.put_sealed("holds", hold.key, msgspec.msgpack.encode(hold))


def in_force(holds: list[Hold], now: float) -> list[Hold]:
    """Those that keep records from being erased at a moment."""
    return [hold for hold in holds if hold.state == HoldState.IN_FORCE and now < hold.ends_at]


def add_hold(store: Store, keys: HoldKeys, hold: Hold, person: int | None) -> Hold:
    """Give a hold its number and key, and enter it; durable when it returns."""
    with store.commit() as commit:
        number = max((one.number for one in holds_of(commit)), default=0) + 1
        # The key first: an entry whose key is missing could copy nothing; a key without an entry is the next hold's.
        keys.make(number)
        sealed = b"" if person is None else keys.encrypt(number, b"person", _PERSON.pack(person))
        hold = msgspec.structs.replace(hold, number=number, person=sealed)
        put_hold(commit, hold)
    return hold


def make_hold(
    now: int,
    ground: str,
    until: dt.date,
    by: str,
    *,
    inquiry: str | None,
    requester: str | None,
    since: dt.date | None,
    last: dt.date | None,
) -> Hold:
    """A hold that has no number yet.

    Raises:
        RequestError: an argument has the wrong form.
    """
    name = b""
    if inquiry is not None:
        try:
            name = bytes.fromhex(inquiry)
        except (ValueError, TypeError):
            name = b""
        if len(name) != 8:
            raise RequestError("inquiry: expected a name of 16 hex digits, got something else")
    for day in (since, last):
        if day is not None and requester is None:
            raise RequestError("since, last: expected a requester with them, got none")
        if day is not None:
            _check_day("since, last", day)
    begin, before = -FOREVER if since is None else int(day_starts(since)), FOREVER if last is None else _behind(last)
    if begin >= before:
        raise RequestError("since, last: expected days in their order, got others")
    _check_until(now, until)
    events = [_event(now, "set", by, ground)]
    return Hold(
        1, 1, until.isoformat(), name, requester or "", begin, before, b"", HoldState.IN_FORCE, 0, events
    )  # fmt: skip


def extend_hold(store: Store, number: int, now: int, until: dt.date, ground: str, by: str) -> Hold:
    """Give a hold in force a later last day; durable when it returns.

    Raises:
        RequestError: no such hold, it is over, or the day is not later.
    """
    _check_until(now, until)
    with store.commit() as commit:
        found = _find_in_force(commit, number, now)
        if until.isoformat() <= found.until:
            raise RequestError(f"until: expected a day after {found.until}, got {until.isoformat()}")
        events = [*found.events, _event(now, "extended", by, ground)]
        changed = msgspec.structs.replace(found, until=until.isoformat(), events=events)
        put_hold(commit, changed)
    return changed


def release_hold(store: Store, number: int, now: int, ground: str, by: str) -> Hold:
    """End a hold before its last day; durable when it returns.

    Raises:
        RequestError: no such hold, or it is over.
    """
    with store.commit() as commit:
        found = _find_in_force(commit, number, now)
        events = [*found.events, _event(now, "released", by, ground)]
        changed = msgspec.structs.replace(found, state=HoldState.ENDING, events=events)
        put_hold(commit, changed)
    return changed


def _find_in_force(commit: Commit, number: int, now: int) -> Hold:
    found = next((hold for hold in holds_of(commit) if _is_number(number) and hold.number == number), None)
    if found is None:
        raise RequestError("hold: expected the number of one, got another")
    if found.state != HoldState.IN_FORCE or now >= found.ends_at:
        raise RequestError(f"hold {number}: expected one in force, got one that is over")
    return found


def _is_number(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**32


def _event(now: int, what: str, by: str, ground: str) -> Event:
    for name, text, chars_max in (("by", by, HOLD_BY_CHARS_MAX), ("ground", ground, HOLD_GROUND_CHARS_MAX)):
        if not isinstance(text, str) or not 1 <= len(text.strip()) <= len(text) <= chars_max:
            raise RequestError(f"{name}: expected 1 to {chars_max} characters, got something else")
    return Event(now, what, by, ground)


def _check_until(now: int, until: dt.date) -> None:
    _check_day("until", until)
    today = dt.datetime.fromtimestamp(now, JAPAN_TIME)
    if not today.date() <= until <= years_after(today, HOLD_YEARS_MAX).date():
        raise RequestError(f"until: expected a day from today to {HOLD_YEARS_MAX} years on, got {until.isoformat()}")


def _check_day(name: str, day: object) -> None:
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        raise RequestError(f"{name}: expected a date, got {type(day).__name__}")


def _behind(day: dt.date) -> int:
    return int(min(ends_at(day), FOREVER))


def _parse(key: bytes, value: object) -> Hold:
    try:
        hold = msgspec.msgpack.decode(unseal("holds", key, value), type=Hold)
    except msgspec.DecodeError as error:
        raise StorageError("holds: expected an entry, got something else") from error
    if hold.version != 1 or hold.key != key:
        raise StorageError("holds: expected an entry that agrees with itself, got another")
    return hold


# -- what is copied


def copy_held(
    store: Store, keys: HoldKeys, periods: PeriodKeys, heads: Heads, holds: list[Hold], first: int, end: int
) -> dict[int, int]:
    """Copy the records of a range that some holds name; the same again writes the same.

    Returns:
        hold's number -> records copied.

    Raises:
        StorageError: a body is damaged; nothing of it was copied.
    """
    copied = dict.fromkeys((hold.number for hold in holds), 0)
    persons = {
        hold.number: _PERSON.unpack(keys.decrypt(hold.number, b"person", hold.person))[0]
        for hold in holds
        if hold.person
    }
    waiting: list[tuple[bytes, bytes]] = []
    while holds and first < end:
        with store.snapshot() as snapshot:
            bodies = Bodies(snapshot, periods, heads)
            chunk = bodies.locate(first).chunk
            for hold in holds:
                person = persons.get(hold.number)
                # Whoever was merged with the person is held with them: whose a record is may yet be in question.
                numbers = None if person is None else lives_of(snapshot).sources(lives_of(snapshot).now(person))
                for piece in _pieces(bodies, chunk, hold, numbers, store):
                    key = hold.key + piece.indexes[0].to_bytes(8, "big")
                    waiting.append((key, keys.encrypt(hold.number, key, msgspec.msgpack.encode(piece))))
                    copied[hold.number] += len(piece.indexes)
        first = chunk.first + chunk.rows
        if first >= end or sum(len(value) for _, value in waiting) >= STEP_BYTES:
            _write(store, waiting)
            waiting = []
    return copied


def _write(store: Store, waiting: list[tuple[bytes, bytes]]) -> None:
    while waiting:
        with store.commit() as commit:
            size = 0
            while waiting and size < STEP_BYTES:
                key, value = waiting.pop(0)
                commit.put_sealed("held", key, value)
                size += len(value)


def _pieces(bodies: Bodies, chunk: Chunk, hold: Hold, persons: list[int] | None, store: Store) -> Iterator[Piece]:
    """The records of a chunk that a hold names."""
    fits = np.array(
        [
            hold.inquiry in (b"", one.inquiry)
            and hold.requester in ("", one.requester)
            and hold.since <= requested_at < hold.before
            for one, (requested_at, _) in zip(chunk.shared, chunk.fields.times, strict=True)
        ]
    )
    if not fits.any():
        return
    rows = bodies.whole(chunk.first)[1].view(ROW)[:, 0]
    chosen = fits[rows["decision"]]
    if persons is not None:
        chosen &= np.isin(rows["person"], persons)
    places = np.flatnonzero(chosen)
    if not len(places):
        return
    salts = bodies.key_of(chunk).salts(chunk.nonce, chunk.rows)
    operators, cases = _supervised(chunk, rows["decision"])
    for at in range(0, len(places), PIECE_ROWS):
        some = places[at : at + PIECE_ROWS]
        own = np.ascontiguousarray(rows[some])
        used, decisions = np.unique(own["decision"], return_inverse=True)
        committed = np.empty((len(some), 48), dtype=np.uint8)
        _hash.hash_records(
            np.ascontiguousarray(salts[some]),
            store.keys.disclosure_keys(np.ascontiguousarray(own["person"])),
            own.view(np.uint8).reshape(-1, ROW.itemsize),
            chunk.shared_hashes,
            chunk.times,
            committed=committed,
        )
        yield Piece(
            version=1,
            indexes=(some + chunk.first).tolist(),
            decisions=decisions.tolist(),
            shared=[chunk.fields.shared[one] for one in used],
            salts=salts[some].tobytes(),
            rows=committed.tobytes(),
            operators=[operators[one] for one in used],
            cases=[cases.get(place) for place in some.tolist()],
        )


def _supervised(chunk: Chunk, decisions: npt.NDArray[np.uint16]) -> tuple[list[str | None], dict[int, str | None]]:
    """The operator of each decision, and the case of each position that has one."""
    decoded = [msgspec.msgpack.decode(one, type=Supervised) for one in chunk.fields.supervised]
    operators = [decoded[at if len(decoded) > 1 else 0].operator for at in range(len(chunk.shared))]
    cases: dict[int, str | None] = {}
    for at, one in enumerate(decoded):
        if one.cases is not None:
            covered = np.flatnonzero(decisions == at) if len(decoded) > 1 else np.arange(chunk.rows)
            cases.update(zip(covered.tolist(), one.cases, strict=True))
    return operators, cases


def read_pieces(store: Store, keys: HoldKeys, number: int) -> Iterator[Piece]:
    """What was copied for a hold, in the order of indexes.

    Raises:
        StorageError: a piece is damaged, or the hold's key is gone.
    """
    key = number.to_bytes(4, "big")
    below = (number + 1).to_bytes(5, "big")[1:]
    while True:
        with store.snapshot() as snapshot:
            found = snapshot.items("held", key, below if number < 2**32 - 1 else None, limit=1)
            if not found:
                return
            key = found[0][0]
            raw = unseal("held", key, found[0][1])
        try:
            yield msgspec.msgpack.decode(keys.decrypt(number, key, raw), type=Piece)
        except msgspec.DecodeError as error:
            raise StorageError(f"hold {number}: expected copied records, got something else") from error
        key += b"\0"
