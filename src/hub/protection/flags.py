"""The flags that protect people, per person and institution: as they are stored, and as they are asked about in bulk.

MANUAL (自動応答不可), WITHHELD (the default mark 不開示 of new records), NO_SELF (自己情報提供不可), SUSPENDED (the
institution has stopped the linkage of this person): ``messages.Flag``. Database ``flagged``, key u32 person (big
endian), value sealed: an entry for each institution that has flagged this person, little endian, ascending by
institution, at least one:

| at | type | what |
|---|---|---|
| 0 | u16 | number of the institution |
| 2 | u8 | flags, 1 to 15: 1 MANUAL, 2 WITHHELD, 4 NO_SELF, 8 SUSPENDED |
| 3 | u8 | 0 |

A person whom nobody flags has no value. Under the key of NOBODY (0xFFFFFFFF) stand the institutions that have suspended
the linkage of everybody, each with the flag 8 alone. Who set a flag and when stands in ``events`` alone.

All of it is few beside the persons, and is kept in memory by its sum (``storage/sealed.py``): a snapshot with the same
sum has the same flags. Reading it compares the sum, so that a value which a damaged page hides is never taken for no
flag.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hub.aliases import NOBODY
from hub.errors import StorageError
from hub.messages import Flag
from hub.storage.sealed import unseal, value_sum
from hub.storage.snapshot import SUM_MASK, Commit, Snapshot

NAME = "flagged"
FLAGS = (Flag.MANUAL, Flag.WITHHELD, Flag.NO_SELF, Flag.SUSPENDED)
ENTRY = np.dtype([("institution", "<u2"), ("flags", "u1"), ("zero", "u1")])

STATES_KEPT = 4
"""A flag call has one commit, an inquiry is prepared in a few milliseconds: an older one is read again."""

_ALL = int(Flag.MANUAL | Flag.WITHHELD | Flag.NO_SELF | Flag.SUSPENDED)
_FIRST_OF_NOBODY = np.uint64(NOBODY << 16)
_AT_A_TIME = 10_000

_NO_BITS = np.zeros(1, dtype=np.uint8)
_NO_ONE = np.empty(0, dtype=np.uint32)

Persons = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


# -- stored


def person_key(person: int) -> bytes:
    """Where the flags of a person are."""
    return person.to_bytes(4, "big")


def read_person(source: Snapshot | Commit, person: int) -> dict[int, int]:
    """Institution number -> flags of one person; of NOBODY the institutions that are suspended as a whole.

    Raises:
        StorageError: the value is damaged.
    """
    key = person_key(person)
    value = source.get(NAME, key)
    if value is None:
        return {}
    entries = _parse(unseal(NAME, key, value))
    return dict(zip(entries["institution"].tolist(), entries["flags"].tolist(), strict=True))


def put_person(commit: Commit, person: int, flags: Mapping[int, int]) -> None:
    """Write the flags of a person: institution number -> flags; who has none is left out."""
    kept = sorted((number, value) for number, value in flags.items() if value)
    if not kept:
        commit.delete(NAME, person_key(person))
        return
    entries = np.zeros(len(kept), dtype=ENTRY)
    entries["institution"], entries["flags"] = zip(*kept, strict=True)
    commit.put_sealed(NAME, person_key(person), entries.tobytes())


def _parse(body: bytes) -> np.ndarray:
    if not body or len(body) % ENTRY.itemsize:
        raise StorageError(f"{NAME}: expected entries of {ENTRY.itemsize} bytes, got {len(body)} bytes")
    entries = np.frombuffer(body, dtype=ENTRY)
    numbers = entries["institution"].astype(np.int64)
    _check(entries, bool((np.diff(numbers) <= 0).any()))
    return entries


def _check(entries: np.ndarray, disorder: bool) -> None:
    wrong = (entries["flags"] == 0) | (entries["flags"] > _ALL) | (entries["zero"] != 0) | (entries["institution"] == 0)
    if disorder or wrong.any():
        raise _broken()


def _broken() -> StorageError:
    return StorageError(f"{NAME}: expected flags by institution, got something else")


def read_flagged(snapshot: Snapshot) -> Flagged:
    """Everybody's flags in a snapshot; about two microseconds a person who has any.

    Raises:
        StorageError: a value is damaged, or their sum is another than what was written last.
    """
    found, first = 0, b""
    keys: list[bytes] = []
    bodies: list[bytes] = []
    while items := snapshot.items(NAME, first, limit=_AT_A_TIME):
        for key, value in items:
            bodies.append(unseal(NAME, key, value))
            found += value_sum(key, value)
            keys.append(key)
        first = items[-1][0] + b"\0"
    expected = snapshot.state.sums.get(NAME, 0)
    if found & SUM_MASK != expected:
        raise StorageError(f"{NAME}: expected the sum of what was written last, got another")
    lengths = np.array([len(body) for body in bodies], dtype=np.int64)
    if any(len(key) != 4 for key in keys) or (lengths == 0).any() or (lengths % ENTRY.itemsize).any():
        raise StorageError(f"{NAME}: expected entries by person, got something else")
    entries = np.frombuffer(b"".join(bodies), dtype=ENTRY)
    persons = np.frombuffer(b"".join(keys), dtype=">u4").repeat(lengths // ENTRY.itemsize)
    joined = join_keys(persons.astype(np.uint32), entries["institution"])
    _check(entries, bool((joined[1:] <= joined[:-1]).any()))
    # Behind all persons.
    end = int(joined.searchsorted(_FIRST_OF_NOBODY))
    if (entries["flags"][end:] != Flag.SUSPENDED).any():
        raise _broken()
    stopped = entries["institution"][end:].astype(np.uint32)
    return Flagged(expected, joined[:end].copy(), entries["flags"][:end].copy(), stopped)


# -- asked about


class Flagged:
    """Who is flagged where, in one state of the hub; immutable, so that any thread may read it.

    A bit a person number says whether anybody flags that person so: of 10 million persons 1.25 MB for each flag. Only
    whom it names is looked up. NOBODY is never flagged.

    Attributes:
        sum: of database ``flagged`` in the states that this is true of; 0 = nobody is flagged.
        stopped: uint32[K], ascending: numbers of the institutions that have suspended the linkage of everybody.
    """

    __slots__ = ("_bits", "_flags", "_keys", "stopped", "sum")

    def __init__(
        self,
        total: int,
        keys: Keys,
        flags: Bytes,
        stopped: Persons = _NO_ONE,
        bits: dict[Flag, Bytes] | None = None,
    ) -> None:
        self.sum = total
        self.stopped = stopped
        self._keys, self._flags = keys, flags
        if bits is None:
            persons = (keys >> np.uint64(16)).astype(np.uint32)
            bits = {flag: _set_bits(_NO_BITS, persons[flags & flag != 0], _NO_ONE) for flag in FLAGS}
        self._bits = bits

    def __len__(self) -> int:
        return len(self._keys) + len(self.stopped)

    def __repr__(self) -> str:
        return f"Flagged(entries={len(self)})"

    def has(self, flag: Flag) -> bool:
        """Whether anybody is flagged so."""
        return len(self._bits[flag]) > 1

    def manual_anywhere(self, persons: Persons) -> Mask | None:
        """bool[N]: whose answers a clerk must decide at some institution; None where that is nobody's at all."""
        return self._anywhere(Flag.MANUAL, persons)

    def withheld_anywhere(self, persons: Persons) -> Mask | None:
        """bool[N]: whose new records some institution withholds; None where that is nobody's at all."""
        return self._anywhere(Flag.WITHHELD, persons)

    def no_self_anywhere(self, persons: Persons) -> Mask | None:
        """bool[N]: whose own data some institution gives to nobody; None where that is nobody's at all."""
        return self._anywhere(Flag.NO_SELF, persons)

    def manual(self, persons: Persons, institutions: Persons | int) -> Mask | None:
        """bool[N]: whose answers a clerk of this institution must decide; None where nobody is so flagged at all."""
        return self._at(Flag.MANUAL, persons, institutions)

    def withheld(self, persons: Persons, institutions: Persons | int) -> Mask | None:
        """bool[N]: whose new records this institution withholds; None where nobody is so flagged at all.

        Args:
            persons: uint32[N]. institutions: uint32[N] or one number for all.
        """
        return self._at(Flag.WITHHELD, persons, institutions)

    def no_self(self, persons: Persons, institution: Persons | int) -> Mask:
        """bool[N]: whose own data this institution gives to nobody who asks for it as theirs."""
        found = self._at(Flag.NO_SELF, persons, institution)
        return np.zeros(len(persons), dtype=np.bool_) if found is None else found

    def suspended(self, persons: Persons, institutions: Persons | int) -> Mask | None:
        """bool[N]: whose linkage this institution has stopped, theirs or everybody's; None where there is no such.

        Args:
            persons: uint32[N]. institutions: uint32[N] or one number for all.
        """
        found = self._at(Flag.SUSPENDED, persons, institutions)
        if not len(self.stopped):
            return found
        whole = np.broadcast_to(np.isin(institutions, self.stopped), persons.shape)
        return whole.copy() if found is None else found | whole

    def flags(self, persons: Persons, institutions: Persons | int) -> Bytes:
        """uint8[N] of :class:`hub.Flag`: how persons stand at an institution."""
        if not len(self._keys):
            return np.zeros(len(persons), dtype=np.uint8)
        wanted = join_keys(persons, institutions)
        at = np.minimum(self._keys.searchsorted(wanted), len(self._keys) - 1)
        found: Bytes = self._flags[at]
        found[self._keys[at] != wanted] = 0
        return found

    def entries(self) -> dict[tuple[int, int], int]:
        """(person, institution) -> flags, of all who have any; institutions that are suspended as a whole by NOBODY."""
        pairs = zip(self._keys.tolist(), self._flags.tolist(), strict=True)
        found = {(key >> 16, key & 0xFFFF): flags for key, flags in pairs}
        return found | {(NOBODY, number): int(Flag.SUSPENDED) for number in self.stopped.tolist()}

    def _anywhere(self, flag: Flag, persons: Persons) -> Mask | None:
        if not self.has(flag):
            return None
        return _test_bits(self._bits[flag], persons)

    def _at(self, flag: Flag, persons: Persons, institutions: Persons | int) -> Mask | None:
        found = self._anywhere(flag, persons)
        if found is None:
            return None
        at = np.flatnonzero(found)
        numbers = institutions if isinstance(institutions, int) else institutions[at]
        found[at] = self.flags(persons[at], numbers) & flag != 0
        return found

    def changed(self, total: int, persons: Mapping[int, Mapping[int, int]]) -> Flagged:
        """The next state: these persons' flags are others; institution number -> flags for each.

        Args:
            total: the sum of that state.
        """
        stopped = self.stopped
        if NOBODY in persons:
            whole = sorted(number for number, value in persons[NOBODY].items() if value)
            stopped = np.array(whole, dtype=np.uint32)
            persons = {person: at for person, at in persons.items() if person != NOBODY}
        if not persons:
            return Flagged(total, self._keys, self._flags, stopped, self._bits)
        numbers = np.array(sorted(persons), dtype=np.uint64)
        first = self._keys.searchsorted(numbers << np.uint64(16))
        end = self._keys.searchsorted((numbers + np.uint64(1)) << np.uint64(16))
        gone = np.concatenate([np.arange(*bounds) for bounds in zip(first, end, strict=True)]).astype(np.intp)
        keys, flags = np.delete(self._keys, gone), np.delete(self._flags, gone)
        fresh = sorted((p << 16 | n, value) for p, at in persons.items() for n, value in at.items() if value)
        added = np.array([key for key, _ in fresh], dtype=np.uint64)
        values = np.array([value for _, value in fresh], dtype=np.uint8)
        place = keys.searchsorted(added)
        people = (added >> np.uint64(16)).astype(np.uint32)
        bits = {
            flag: _set_bits(self._bits[flag], people[values & flag != 0], numbers.astype(np.uint32)) for flag in FLAGS
        }
        return Flagged(total, np.insert(keys, place, added), np.insert(flags, place, values), stopped, bits)


def join_keys(persons: Persons, institutions: npt.NDArray[np.integer] | int) -> Keys:
    """Person and institution as one number, in the order of both."""
    numbers = institutions if isinstance(institutions, int) else institutions.astype(np.uint64)
    found: Keys = (persons.astype(np.uint64) << np.uint64(16)) | np.uint64(numbers)
    return found


def _set_bits(before: Bytes, persons: Persons, cleared: Persons) -> Bytes:
    """A bit a person, with one byte of zeros at the end; of ``cleared`` only those bits that ``persons`` sets."""
    if not len(persons) and not _test_bits(before, cleared).any():
        return before
    needed = (int(persons.max()) >> 3) + 2 if len(persons) else 1
    bits = np.zeros(max(needed, len(before)), dtype=np.uint8)
    bits[: len(before)] = before
    within = cleared[cleared >> 3 < len(bits)]
    np.bitwise_and.at(bits, within >> 3, ~_bit_of(within))
    np.bitwise_or.at(bits, persons >> 3, _bit_of(persons))
    return bits if len(persons) or bits.any() else _NO_BITS


def _test_bits(bits: Bytes, persons: Persons) -> Mask:
    # Whoever is behind the last flagged person meets the last byte, which is 0; so does NOBODY.
    found: Bytes = bits.take(persons >> 3, mode="clip")
    found >>= (persons & 7).astype(np.uint8)
    found &= 1
    return found.view(np.bool_)


def _bit_of(persons: Persons) -> Bytes:
    return np.left_shift(np.uint8(1), (persons & 7).astype(np.uint8))


NOBODY_FLAGGED = Flagged(0, np.empty(0, np.uint64), np.empty(0, np.uint8))


class FlaggedCache:
    """What was read of the flags, as long as a snapshot has the same; may be used from any thread."""

    def __init__(self) -> None:
        self._known: tuple[Flagged, ...] = (NOBODY_FLAGGED,)
        """Of the newest state and a few before, which snapshots that are still in use have."""
        self._lock = threading.Lock()
        """Held while flags are read, so that only one thread does; nothing else is taken under it but a snapshot's."""

    def __repr__(self) -> str:
        return f"FlaggedCache(entries={len(self._known[0])})"

    def of(self, snapshot: Snapshot) -> Flagged:
        """Everybody's flags in a snapshot.

        Raises:
            StorageError: a value is damaged or missing: a flag that is there may not be missed.
        """
        total = snapshot.state.sums.get(NAME, 0)
        if not total:
            return NOBODY_FLAGGED
        return self._find(total) or self._read(snapshot, total)

    def add(self, flagged: Flagged) -> None:
        """Take in a state that is about to become durable, so that nobody reads all of it again.

        Where its transaction fails no snapshot ever has its sum.
        """
        self._known = (flagged, *self._known[: STATES_KEPT - 1])

    def _find(self, total: int) -> Flagged | None:
        return next((one for one in self._known if one.sum == total), None)

    def _read(self, snapshot: Snapshot, total: int) -> Flagged:
        with self._lock:
            found = self._find(total)
            if found is None:
                found = read_flagged(snapshot)
                self._known = (found, *self._known[: STATES_KEPT - 1])
        return found
