"""The inboxes as they are stored: which permits wait for each provider, and what became of them.

All of it follows from the log: a record of an inquiry (or of a release) with outcome OK leaves a permit with its
provider, a record of a provision or of a lapse that links to it ends it. ``deliver.py`` sorts the log by provider now
and then; what lies behind that is read from the log itself (``tail.py``). Numbers in keys are big endian, in values
little endian; all values are sealed (``storage/sealed.py``).

``inboxes``, key u32 provider:

| at | type | what |
|---|---|---|
| 0 | u64 | base: everything before this record is in the segments below, or was in ones that were dropped |
| 8 | k x 48 | entries of segments, ascending |

Entry: u64 first, u64 last (indexes of its permits), u32 permits, u32 open, i64 earliest deadline of those (0 where none
is open), i64 latest time at which one was requested, u32 latest time at which an answer leaves, u32 0. A segment is
dropped when all of its permits had ended and the latest was requested more than ``deliver.DROP_AFTER_S`` ago.

``permits``, key u32 provider, u64 first: a segment, at most ``PERMITS_PER_SEGMENT`` permits in the order of the log:

| at | type | what |
|---|---|---|
| 0 | u16 | period under whose key it is encrypted |
| 2 | u16 | 0 |
| 4 | 12 | nonce |
| 16 | u32 | n, permits |
| 20 | u32 | s, bytes of the parts |
| 24 | | encrypted (AES-256-CTR, the period's key of fields, counter block = nonce ‖ u32 0): |
| | s | MessagePack array of [shared, requested at, deadline], each once; shared: see :class:`Part` |
| | n x u32 | index of the permit's record - first |
| | n x u32 | person |
| | n x u16 | part: place in that array |

``outcomes``, the same key; none while all are open:

| at | type | what |
|---|---|---|
| 0 | n x u64 | 0 = open; else bits 0 to 47: 1 + index of the record that ended it, then u8 ``Status``, u8 ``Reason`` |
| 8 n | n x u32 | when the requester sees it, seconds since 1970; 0 = at once |

Ends from the base on are in the log alone, those of permits in segments too.

``manual``, key u32 provider, u64 index: the permit of this record was answered MANUAL, a clerk decides; value u64 time.
It goes with the record that ends the permit.

``inbox``, key "delivering": u64 from, u64 to, u32 next provider: the log from ``from`` to before ``to`` is being sorted
in; the inboxes of providers below the next one have the base ``to`` already. Key "delivered": u64, the base of all
others, and of providers without an inbox; the same as ``from``, and where one chunk ends.

Provider 0 has an inbox too: of persons about whom a clerk must decide and whom nobody of a named class holds, so that
nobody was asked; these permits lapse.

What is sent unasked (``sending/send.py``) waits in the same way, and in the same databases: a push or an update with
outcome OK leaves an *arrival* with its receiver, a record of kind TAKEN that links to it ends it. The inbox of an
institution's arrivals has the number 65,536 + its own, the inbox of its permits its own: nothing that is asked of one
finds what is in the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub._deliver import number_parts
from hub.errors import StorageError
from hub.storage.periods import NONCE_BYTES, OpenedKeys, PeriodKey, PeriodKeys, period_name
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

INBOXES, PERMITS, OUTCOMES, MANUAL, INBOX = "inboxes", "permits", "outcomes", "manual", "inbox"

ARRIVALS = 1 << 16
"""What is added to an institution's number for the inbox of what was sent to it; without it the inbox is of permits."""

BOXES = 1 << 17
"""Numbers that an inbox can have."""

PERMITS_PER_SEGMENT = 16_384
"""An answer rewrites the states of a segment, 12 bytes a permit: 200 KB, and mostly all of them at once."""

ENTRY = np.dtype(
    [
        ("first", "<u8"),
        ("last", "<u8"),
        ("permits", "<u4"),
        ("open", "<u4"),
        ("deadline", "<i8"),
        ("requested", "<i8"),
        ("released", "<u4"),
        ("zero", "<u4"),
    ]
)
ENTRY_BYTES = 48
assert ENTRY.itemsize == ENTRY_BYTES

HEAD_BYTES = 24
INDEX_MASK = (1 << 48) - 1

Indexes = npt.NDArray[np.uint64]


class Part(NamedTuple):
    """What permits of one inquiry have in common.

    Attributes:
        shared: as in ``tlog/entry.py``, encoded, supervised zeros and remark nil, since they differ by chunk.
        requested_at, deadline: seconds since 1970.
    """

    shared: bytes
    requested_at: int
    deadline: int

    def __repr__(self) -> str:
        return "Part()"


class PermitRows(NamedTuple):
    """Permits of one provider, in the order of the log.

    Attributes:
        indexes: uint64[N], of their records. persons: uint32[N]. which: uint32[N], place in ``parts``.
    """

    indexes: Indexes
    persons: npt.NDArray[np.uint32]
    which: npt.NDArray[np.uint32]
    parts: Sequence[Part]

    def __repr__(self) -> str:
        return f"PermitRows({len(self.indexes)})"


class Outcomes(NamedTuple):
    """What became of permits: words uint64[N] and released uint32[N], see the module's table."""

    words: npt.NDArray[np.uint64]
    released: npt.NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"Outcomes({len(self.words)})"


class Inbox(NamedTuple):
    """What the segments of a provider have: entries (``ENTRY``[k]), and from where on the log has the rest."""

    provider: int
    base: int
    entries: npt.NDArray[np.void]

    def __repr__(self) -> str:
        return f"Inbox(segments={len(self.entries)})"


def word(index: int, status: int, reason: int) -> int:
    """How an ended permit stands: index of the record that ended it, its outcome and reason."""
    return index + 1 | status << 48 | reason << 56


def status_of(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """uint8[N] of ``Status``; 0 where open."""
    return (words >> np.uint64(48)).astype(np.uint8)


def reason_of(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """uint8[N] of ``Reason``."""
    return (words >> np.uint64(56)).astype(np.uint8)


def ended_by(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """int64[N]: index of the record that ended a permit; -1 where it is open."""
    return (words & np.uint64(INDEX_MASK)).astype(np.int64) - 1


def inbox_key(provider: int) -> bytes:
    """Where a provider's inbox is."""
    return provider.to_bytes(4, "big")


def segment_key(provider: int, first: int) -> bytes:
    """Where a segment, its outcomes or a manual permit is."""
    return provider.to_bytes(4, "big") + first.to_bytes(8, "big")


def stretch(column: npt.NDArray[Any], first: int, below: int) -> tuple[int, int]:
    """Where the values from ``first`` to before ``below`` stand in an ascending column.

    The bounds take the column's type: with a plain int numpy would turn all of the column into another type first, and
    64-bit numbers into floats that are not the same.
    """
    low, high = column.searchsorted(np.array((first, below), dtype=column.dtype)).tolist()
    return low, high


# -- reading


def read_delivered(snapshot: Snapshot | Commit) -> int:
    """From where on the log holds the permits of a provider without an inbox."""
    value = snapshot.get(INBOX, b"delivered")
    return 0 if value is None else int.from_bytes(unseal(INBOX, b"delivered", value), "little")


def read_inbox(snapshot: Snapshot | Commit, provider: int) -> Inbox:
    """A provider's inbox; an empty one where nothing was ever delivered.

    Raises:
        StorageError: it is damaged.
    """
    key = inbox_key(provider)
    value = snapshot.get(INBOXES, key)
    if value is None:
        return Inbox(provider, read_delivered(snapshot), np.empty(0, ENTRY))
    return parse_inbox(key, value)


def parse_inbox(key: bytes, value: object) -> Inbox:
    """A stored inbox.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(INBOXES, key, value)
    if len(key) != 4 or len(body) % ENTRY_BYTES != 8:
        raise StorageError(f"{INBOXES}: expected whole entries, got something else")
    entries = np.frombuffer(body, ENTRY, offset=8)
    if (entries["open"] > entries["permits"]).any() or (entries["first"][1:] <= entries["last"][:-1]).any():
        raise StorageError(f"{INBOXES}: expected entries that agree with each other, got others")
    return Inbox(int.from_bytes(key, "big"), int.from_bytes(body[:8], "little"), entries)


def segment_period(snapshot: Snapshot, provider: int, first: int) -> int:
    """The period under whose key a segment is encrypted.

    Raises:
        StorageError: it is damaged.
    """
    key = segment_key(provider, first)
    return int.from_bytes(unseal(PERMITS, key, snapshot.get(PERMITS, key) or b"")[:2], "little")


def read_segment(snapshot: Snapshot, periods: PeriodKeys | OpenedKeys, provider: int, entry: np.void) -> PermitRows:
    """The permits of a segment.

    Raises:
        StorageError: it is damaged, or its period's key is gone.
    """
    first, count = int(entry["first"]), int(entry["permits"])
    key = segment_key(provider, first)
    value = snapshot.get(PERMITS, key)
    body = unseal(PERMITS, key, value if value is not None else b"")
    n, size = int.from_bytes(body[16:20], "little"), int.from_bytes(body[20:24], "little")
    if n != count or len(body) != HEAD_BYTES + size + 10 * n:
        raise StorageError(f"{PERMITS}: expected {count} permits, got something else")
    period = int.from_bytes(body[:2], "little")
    secret = periods.of(period)
    if secret is None:
        raise StorageError(f"{PERMITS}: expected the key of {period_name(period)}, got none")
    plain = secret.crypt_fields(body[4:16], body[HEAD_BYTES:])
    try:
        parts = msgspec.msgpack.decode(memoryview(plain)[:size], type=list[Part])
    except msgspec.DecodeError:
        raise StorageError(f"{PERMITS}: expected parts, got something else") from None
    indexes = np.frombuffer(plain, np.uint32, n, size).astype(np.uint64) + np.uint64(first)
    persons = np.frombuffer(plain, np.uint32, n, size + 4 * n)
    which = np.frombuffer(plain, np.uint16, n, size + 8 * n).astype(np.uint32)
    if n and int(which.max()) >= len(parts):
        raise StorageError(f"{PERMITS}: expected parts of the segment, got others")
    return PermitRows(indexes, persons, which, parts)


def read_outcomes(snapshot: Snapshot, provider: int, entry: np.void) -> Outcomes | None:
    """What became of the permits of a segment; None while all are open.

    Raises:
        StorageError: it is damaged.
    """
    first, n = int(entry["first"]), int(entry["permits"])
    key = segment_key(provider, first)
    value = snapshot.get(OUTCOMES, key)
    if value is None:
        if int(entry["open"]) != n:
            raise StorageError(f"{OUTCOMES}: expected those of a segment, got none")
        return None
    body = unseal(OUTCOMES, key, value)
    if len(body) != 12 * n:
        raise StorageError(f"{OUTCOMES}: expected {12 * n} bytes, got {len(body)}")
    words = np.frombuffer(body, np.uint64, n)
    if np.count_nonzero(words == 0) != int(entry["open"]):
        raise StorageError(f"{OUTCOMES}: expected as many open permits as the inbox counts, got another number")
    return Outcomes(words, np.frombuffer(body, np.uint32, n, 8 * n))


def read_manual(snapshot: Snapshot, provider: int) -> set[int]:
    """Indexes of the permits that a provider answered MANUAL and that are not ended.

    Raises:
        StorageError: a value is damaged.
    """
    found = set()
    for key, value in snapshot.items(MANUAL, provider.to_bytes(4, "big"), (provider + 1).to_bytes(4, "big")):
        unseal(MANUAL, key, value)
        found.add(int.from_bytes(key[4:], "big"))
    return found


# -- writing


class Later:
    """What a transaction is to write, put together before it begins: meanwhile nobody waits for the writer's lock."""

    def __init__(self) -> None:
        self._writes: list[tuple[str, bytes, bytes | None]] = []

    def __repr__(self) -> str:
        return f"Later(writes={len(self._writes)})"

    def put_sealed(self, name: str, key: bytes, body: bytes) -> None:
        """As of ``Commit``."""
        self._writes.append((name, key, body))

    def delete(self, name: str, key: bytes) -> None:
        """As of ``Commit``."""
        self._writes.append((name, key, None))

    def write(self, commit: Commit) -> None:
        """Write all of it, in order."""
        for name, key, body in self._writes:
            if body is None:
                commit.delete(name, key)
            else:
                commit.put_sealed(name, key, body)


def put_inbox(later: Later, inbox: Inbox) -> None:
    """Write a provider's inbox."""
    body = inbox.base.to_bytes(8, "little") + inbox.entries.tobytes()
    later.put_sealed(INBOXES, inbox_key(inbox.provider), body)


def put_segment(later: Later, key: PeriodKey, provider: int, permits: PermitRows) -> None:
    """Write a segment."""
    first = int(permits.indexes[0])
    parts = msgspec.msgpack.encode(list(permits.parts))
    nonce = os.urandom(NONCE_BYTES)
    offsets = (permits.indexes - np.uint64(first)).astype(np.uint32)
    columns = offsets, permits.persons.astype(np.uint32), permits.which.astype(np.uint16)
    plain = parts + b"".join(column.tobytes() for column in columns)
    head = key.period.to_bytes(2, "little") + bytes(2) + nonce
    head += len(offsets).to_bytes(4, "little") + len(parts).to_bytes(4, "little")
    later.put_sealed(PERMITS, segment_key(provider, first), head + key.crypt_fields(nonce, plain))


def put_outcomes(later: Later, provider: int, first: int, outcomes: Outcomes) -> None:
    """Write what became of a segment's permits."""
    later.put_sealed(OUTCOMES, segment_key(provider, first), outcomes.words.tobytes() + outcomes.released.tobytes())


def compact(permits: PermitRows) -> PermitRows:
    """The same permits, with those parts only that they have, each once."""
    if len(permits.which) and permits.which.min() == permits.which.max():
        # Of one inquiry, as mostly.
        return permits._replace(which=np.zeros_like(permits.which), parts=[permits.parts[int(permits.which[0])]])
    used = np.unique(permits.which)
    place, parts = number_parts(used, permits.parts)
    return permits._replace(which=place[np.searchsorted(used, permits.which)], parts=parts)


def join(several: Sequence[PermitRows]) -> PermitRows:
    """Permits behind each other, in the order of the log."""
    if len(several) == 1:
        return several[0]
    numbers: dict[Part, int] = {}
    which = [np.empty(0, np.uint32)]
    for one in several:
        place = np.array([numbers.setdefault(part, len(numbers)) for part in one.parts], dtype=np.uint32)
        which.append(place[one.which])
    return PermitRows(
        np.concatenate([np.empty(0, np.uint64), *(one.indexes for one in several)]),
        np.concatenate([np.empty(0, np.uint32), *(one.persons for one in several)]),
        np.concatenate(which),
        list(numbers),
    )
