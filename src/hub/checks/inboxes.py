"""Compares the inboxes with the log that they follow from, and payloads and clerks' permits with its records.

    every segment against its entry, summed up -> one pass over the log, summed up by segment -> the sums compared

A sum is of a 64-bit mix of everything that is known of a permit, or of its end: two sides that agree on count and sum
have the same ones. So neither side is held in memory, and the log is read once, not once a provider. What lies before
the oldest segment is not read again: what was asked there is over, and its segments were dropped
(``provision/deliver.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub.errors import StorageError
from hub.messages import Kind, Status
from hub.provision.deliver import DROP_AFTER_S, make_entry, read_mark
from hub.provision.inbox import (
    BOXES,
    INBOXES,
    MANUAL,
    OUTCOMES,
    PERMITS,
    Inbox,
    Indexes,
    Outcomes,
    Part,
    PermitRows,
    ended_by,
    read_delivered,
    read_inbox,
    read_outcomes,
    read_segment,
    segment_period,
)
from hub.provision.payloadstore import NAME as PAYLOADS
from hub.provision.payloadstore import NO_PAYLOAD, payload_sizes
from hub.provision.tail import Changes, read_changes
from hub.records.bodies import ROW, Bodies, Heads, read_place
from hub.records.erasures import read_erasures
from hub.storage.periods import PeriodKeys
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot
from hub.store import Store

_AT_A_TIME = 1_000
_INDEX_BITS = np.uint64(47)
"""An inbox has a number of 17 bits; the log ends before its indexes take as many as are left."""
_ALWAYS = -(1 << 62)
_INDEX_MASK = np.uint64((1 << 47) - 1)

Sums = npt.NDArray[np.uint64]


class _Side(NamedTuple):
    """Counts and sums by segment: permits, and their ends; uint64[segments]."""

    permits: Sums
    permit_sums: Sums
    ends: Sums
    end_sums: Sums

    def __repr__(self) -> str:
        return f"_Side({len(self.permits)})"


class _Inboxes(NamedTuple):
    """All inboxes, each of its own snapshot.

    Attributes:
        keys: uint64[segments], inbox << 47 | first, ascending; last: uint64, index of its last permit.
        side: what the segments say.
        bases: uint64[131072], by inbox: what is before is in segments. cutoffs: int64[131072], by inbox: a permit
            that was requested from then on was in no segment that can have been dropped. oldest: of all inboxes.
    """

    keys: Sums
    last: Sums
    side: _Side
    bases: Indexes
    cutoffs: npt.NDArray[np.int64]
    oldest: int

    def __repr__(self) -> str:
        return f"_Inboxes(segments={len(self.keys)})"

    def segment_of(self, providers: Sums, indexes: Indexes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """In which segment a permit must be, and whether there is one."""
        at = np.searchsorted(self.keys, _key(providers, indexes), side="right") - 1
        if not len(self.keys):
            return at, np.zeros(len(at), np.bool_)
        return at, (at >= 0) & (self.keys[at] >> _INDEX_BITS == providers) & (indexes <= self.last[at])


def check_inboxes(store: Store, periods: PeriodKeys, stopped: Callable[[], bool] = bool) -> None:
    """Check that the inboxes are what follows from the log, and that each permit ended once at most.

    Args:
        stopped: whether nobody waits for it any more: it ends soon, with nothing found.

    Raises:
        StorageError: the first that does not fit is named.
    """
    with store.snapshot() as snapshot:
        erased = _erased(snapshot)
    inboxes = _read_inboxes(store, periods, erased, stopped)
    with store.snapshot() as snapshot:
        records = snapshot.state.records
        manual = _read_manual(snapshot)
        begin = _begin(snapshot, inboxes, manual, erased)
    found = _Log(inboxes, manual, erased)
    heads = Heads()
    while begin < records:
        if stopped():
            return
        # A snapshot each: a long one would keep every page that is rewritten meanwhile.
        with store.snapshot() as snapshot:
            changes = next(read_changes(snapshot, Bodies(snapshot, periods, heads), begin, records), None)
        if changes is None:
            break
        found.take(changes)
        begin = changes.end
    with store.snapshot() as snapshot:
        if _erased(snapshot) != erased:
            # Retention went over it meanwhile; what is left is checked the next time.
            return
    found.compare()
    _check_ended_once(store, periods, found.late())


def _erased(snapshot: Snapshot) -> int:
    """Index behind the last record that was erased."""
    return max((one.end for one in read_erasures(snapshot)), default=0)


def _begin(snapshot: Snapshot, inboxes: _Inboxes, manual: Sums, erased: int) -> int:
    """The record from which on the log is compared."""
    delivered = read_delivered(snapshot)
    oldest = min([delivered, *(inboxes.keys & _INDEX_MASK).tolist(), *(manual & _INDEX_MASK).tolist()])
    oldest = max(oldest, erased)
    # A permit was requested no later than its chunk was written, and chunks are in the order of their times.
    low, high = erased, delivered
    while low < high:
        place = read_place(snapshot, (low + high) // 2)
        if place.time < inboxes.oldest:
            low = place.first + place.rows
        else:
            high = place.first
    if oldest >= low:
        return low
    # A segment may begin within a chunk, and the log is read by whole ones.
    return read_place(snapshot, oldest).first


# -- what the inboxes say


def _read_inboxes(store: Store, periods: PeriodKeys, erased: int, stopped: Callable[[], bool]) -> _Inboxes:
    with store.snapshot() as snapshot:
        delivered = read_delivered(snapshot)
        providers = [int.from_bytes(key, "big") for key, _ in snapshot.items(INBOXES, b"")]
    bases = np.full(BOXES, delivered, dtype=np.uint64)
    # Of who has no inbox nothing was ever sorted in, and so nothing dropped.
    cutoffs = np.full(BOXES, _ALWAYS, dtype=np.int64)
    keys: list[int] = []
    last: list[int] = []
    sums: list[tuple[int, int, int, int]] = []
    for provider in providers:
        if stopped():
            break
        with store.snapshot() as snapshot:
            inbox = read_inbox(snapshot, provider)
            _check_base(snapshot, inbox)
            _check_names(snapshot, inbox)
            bases[provider] = inbox.base
            cutoffs[provider] = snapshot.state.time - DROP_AFTER_S
            for entry in inbox.entries:
                keys.append(provider << 47 | int(entry["first"]))
                last.append(int(entry["last"]))
                sums.append(_check_segment(snapshot, periods, inbox, entry, erased))
    table = np.array(sums, dtype=np.uint64).reshape(-1, 4)
    side = _Side(*(np.ascontiguousarray(column) for column in table.T))
    oldest = min((int(cutoffs[provider]) for provider in providers), default=_ALWAYS)
    return _Inboxes(np.array(keys, dtype=np.uint64), np.array(last, dtype=np.uint64), side, bases, cutoffs, oldest)


def _check_base(snapshot: Snapshot, inbox: Inbox) -> None:
    mark = read_mark(snapshot)
    ends = {read_delivered(snapshot)} | (set() if mark is None else {mark.end})
    if inbox.base not in ends or inbox.base > snapshot.state.records:
        raise StorageError(f"inbox of {inbox.provider}: expected it to end where the sorting has come to, got another")


def _check_names(snapshot: Snapshot, inbox: Inbox) -> None:
    """That there are values of its segments only."""
    low, below = (number.to_bytes(4, "big") for number in (inbox.provider, inbox.provider + 1))
    firsts = inbox.entries["first"].tolist()
    for name, known in ((PERMITS, firsts), (OUTCOMES, None)):
        found = [int.from_bytes(key[4:], "big") for key, _ in snapshot.items(name, low, below)]
        if found != known if known is not None else not set(found).issubset(firsts):
            raise StorageError(f"{name} of {inbox.provider}: expected those that its inbox names, got others")


def _check_segment(
    snapshot: Snapshot, periods: PeriodKeys, inbox: Inbox, entry: np.void, erased: int
) -> tuple[int, int, int, int]:
    """Check a segment by itself; count and sum of its permits, of its ends."""
    provider, first = inbox.provider, int(entry["first"])
    if int(entry["last"]) < erased and periods.of(segment_period(snapshot, provider, first)) is None:
        return 0, 0, 0, 0
    rows = read_segment(snapshot, periods, provider, entry)
    stored = read_outcomes(snapshot, provider, entry)
    n = len(rows.indexes)
    outcomes = stored or Outcomes(np.zeros(n, np.uint64), np.zeros(n, np.uint32))
    name = f"{PERMITS} of {provider} from record {first}"
    if not n or (rows.indexes[1:] <= rows.indexes[:-1]).any():
        raise StorageError(f"{name}: expected them in the order of the log, got another")
    if make_entry(rows, outcomes).tobytes() != entry.tobytes():
        raise StorageError(f"{name}: expected those that the inbox counts, got others")
    ended = outcomes.words != 0
    if int(rows.indexes[-1]) >= inbox.base or (ended_by(outcomes.words) >= inbox.base).any():
        raise StorageError(f"{name}: expected them from before the inbox's end, got later ones")
    kept = rows.indexes >= erased
    permits = _mix_permits(rows)[kept]
    ended &= kept
    ends = _mix_ends(rows.indexes[ended], outcomes.words[ended], outcomes.released[ended])
    return len(permits), int(permits.sum(dtype=np.uint64)), len(ends), int(ends.sum(dtype=np.uint64))


def _read_manual(snapshot: Snapshot) -> Sums:
    """uint64[N], provider << 47 | index of the permits that wait for a clerk, ascending."""
    found: list[int] = []
    first = b""
    while items := snapshot.items(MANUAL, first, limit=_AT_A_TIME):
        for key, value in items:
            if len(key) != 12 or len(unseal(MANUAL, key, value)) != 8:
                raise StorageError(f"{MANUAL}: expected a permit and a time, got something else")
            found.append(int.from_bytes(key[:4], "big") << 47 | int.from_bytes(key[4:], "big"))
        first = items[-1][0] + b"\0"
    return np.array(found, dtype=np.uint64)


# -- what the log says


class _Log:
    """What the log says of the same segments; grows chunk by chunk."""

    def __init__(self, inboxes: _Inboxes, manual: Sums, erased: int) -> None:
        self._inboxes, self._manual, self._erased = inboxes, manual, np.uint64(erased)
        n = len(inboxes.keys)
        self._side = _Side(*(np.zeros(n, np.uint64) for _ in range(4)))
        self._known = np.zeros(len(manual), np.bool_)
        self._late: list[tuple[Sums, Sums]] = []

    def __repr__(self) -> str:
        return f"_Log({len(self._side.permits)})"

    def take(self, changes: Changes) -> None:
        """One chunk more.

        Raises:
            StorageError: it leaves a permit that is in no segment, or ends one that still waits for a clerk.
        """
        self._take_permits(changes)
        self._take_ends(changes)

    def _take_permits(self, changes: Changes) -> None:
        left, inboxes = changes.left, self._inboxes
        providers = np.repeat(np.array(changes.numbers, dtype=np.uint64), np.diff(changes.starts))
        place, manual = self._among_manual(_key(providers, left.indexes))
        self._known[place[manual]] = True
        at = np.flatnonzero((left.indexes < inboxes.bases[providers]) & (left.indexes >= self._erased))
        segment, inside = inboxes.segment_of(providers[at], left.indexes[at])
        requested = np.array([part.requested_at for part in left.parts] or [0], dtype=np.int64)
        missing = ~inside & (requested[left.which[at]] >= inboxes.cutoffs[providers[at]])
        if missing.any():
            one = at[np.argmax(missing)]
            raise StorageError(
                f"inbox of {int(providers[one])}: expected the permit of record {int(left.indexes[one])}, found none"
            )
        at, segment = at[inside], segment[inside]
        np.add.at(self._side.permits, segment, np.uint64(1))
        np.add.at(self._side.permit_sums, segment, _mix_permits(left)[at])

    def _among_manual(self, keys: Sums) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Where each of some permits would stand among those that wait for a clerk, and whether it does."""
        if not len(self._manual):
            return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self._manual, keys), len(self._manual) - 1)
        return at, self._manual[at] == keys

    def _take_ends(self, changes: Changes) -> None:
        links, ends, inboxes = changes.links, changes.ends, self._inboxes
        providers = np.repeat(np.array(changes.ended_numbers, dtype=np.uint64), np.diff(changes.ended_starts))
        keys = _key(providers, links)
        _, waiting = self._among_manual(keys)
        if waiting.any():
            index = int(links[np.argmax(waiting)])
            raise StorageError(f"{MANUAL}: expected permits that are open, got that of record {index}, which has ended")
        late = ended_by(ends.words).astype(np.uint64) >= inboxes.bases[providers]
        self._late.append((keys[late], ends.words[late]))
        at = np.flatnonzero(~late & (links >= self._erased))
        segment, inside = inboxes.segment_of(providers[at], links[at])
        at, segment = at[inside], segment[inside]
        np.add.at(self._side.ends, segment, np.uint64(1))
        np.add.at(self._side.end_sums, segment, _mix_ends(links[at], ends.words[at], ends.released[at]))

    def compare(self) -> None:
        """Compare all segments, and clerks' permits.

        Raises:
            StorageError: one has others than the log.
        """
        for what, names in (("permits", ("permits", "permit_sums")), ("ends of permits", ("ends", "end_sums"))):
            for name in names:
                wrong = np.flatnonzero(getattr(self._side, name) != getattr(self._inboxes.side, name))
                if len(wrong):
                    key = int(self._inboxes.keys[wrong[0]])
                    raise StorageError(
                        f"inbox of {key >> 47}: expected the {what} of the log from record {key & (1 << 47) - 1} on, "
                        "got others"
                    )
        if not self._known.all():
            key = int(self._manual[np.argmin(self._known)])
            index = key & (1 << 47) - 1
            raise StorageError(f"{MANUAL}: expected permits of the log, got record {index}, which left none")

    def late(self) -> tuple[Sums, Sums]:
        """Ends behind the inboxes: keys of their permits, ascending, and words."""
        keys = np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in self._late)])
        words = np.concatenate([np.empty(0, np.uint64), *(words for _, words in self._late)])
        order = np.argsort(keys, kind="stable")
        return keys[order], words[order]


def _check_ended_once(store: Store, periods: PeriodKeys, late: tuple[Sums, Sums]) -> None:
    """Check that what ended behind the inboxes ended once, and is open in its segment if it is in one by now."""
    keys, words = late
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise _ended_twice(keys[twice[0]])
    providers = keys >> _INDEX_BITS
    for provider in np.unique(providers).tolist():
        begin, end = np.searchsorted(providers, (provider, provider + 1)).tolist()
        indexes, own = keys[begin:end] & _INDEX_MASK, words[begin:end]
        with store.snapshot() as snapshot:
            for entry in read_inbox(snapshot, provider).entries:
                low, high = np.searchsorted(indexes, (int(entry["first"]), int(entry["last"]) + 1)).tolist()
                if low == high:
                    continue
                rows = read_segment(snapshot, periods, provider, entry)
                stored = read_outcomes(snapshot, provider, entry)
                if stored is None:
                    continue
                place = np.minimum(np.searchsorted(rows.indexes, indexes[low:high]), len(rows.indexes) - 1)
                before = np.where(rows.indexes[place] == indexes[low:high], stored.words[place], np.uint64(0))
                # It may have been sorted in since: then it stands there as itself.
                wrong = np.flatnonzero((before != 0) & (before != own[low:high]))
                if len(wrong):
                    raise _ended_twice(indexes[low + wrong[0]])


def _ended_twice(key: np.uint64) -> StorageError:
    index = int(key & _INDEX_MASK)
    return StorageError(f"log: expected each permit to end once, got that of record {index} twice")


# -- payloads


def check_payload_values(store: Store, periods: PeriodKeys) -> None:
    """Check that payloads can be decrypted, and belong to records that say that something was provided.

    Raises:
        StorageError: the first that does not fit is named.
    """
    first = b""
    heads = Heads()
    while True:
        with store.snapshot() as snapshot:
            items = snapshot.items(PAYLOADS, first, limit=64)
            bodies = Bodies(snapshot, periods, heads)
            for key, value in items:
                _check_payloads(bodies, periods, key, value)
        if not items:
            return
        first = items[-1][0] + b"\0"


def _check_payloads(bodies: Bodies, periods: PeriodKeys, key: bytes, value: object) -> None:
    first = int.from_bytes(key, "big")
    name = f"{PAYLOADS} of records from {first}"
    found = payload_sizes(periods, key, value)
    if bodies.is_erased(first):
        return
    if found is None:
        raise StorageError(f"{name}: expected the key of their period, got none")
    chunk, raw = bodies.whole(first)
    period, sizes = found
    if (period, len(sizes)) != (chunk.period, chunk.rows):
        raise StorageError(f"{name}: expected those of a chunk, got others")
    rows = raw.view(ROW)[:, 0]
    wrong = np.flatnonzero(
        (sizes != NO_PAYLOAD)
        & ((rows["kind"] != Kind.PROVISION) | (rows["outcome"] != Status.PROVIDED))
        & (~np.isin(rows["kind"], (Kind.PUSH, Kind.UPDATE)) | (rows["outcome"] != Status.OK))
    )
    if len(wrong):
        raise StorageError(f"{name}: expected them of what was provided, got one of record {first + int(wrong[0])}")


# -- sums


def _key(providers: Sums, indexes: Indexes) -> Sums:
    return providers << _INDEX_BITS | indexes


def _mix_permits(rows: PermitRows) -> Sums:
    """uint64[N], of everything that is known of each permit."""
    parts = np.array([_part_sum(part) for part in rows.parts] or [0], dtype=np.uint64)
    return _mix(_mix(_mix(rows.indexes) + rows.persons) + parts[rows.which])


def _part_sum(part: Part) -> int:
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(part))


def _mix_ends(links: Indexes, words: Sums, released: npt.NDArray[np.uint32]) -> Sums:
    """uint64[N], of everything that is known of each end."""
    return _mix(_mix(_mix(links) + words) + released)


def _mix(values: npt.NDArray[np.uint64]) -> Sums:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of a value moves all others."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)
