"""The ends of permits -> durable records: provisions, with their payloads and refusals, and lapses.

    order by person key, commit to the records, encrypt the payloads (no lock) -> one transaction: records, payloads,
    refusals for the Commission, and what said that a clerk must decide goes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.errors import StorageError
from hub.limits import PROMPT_S
from hub.messages import Kind, Reason, Status
from hub.persons.merges import lives_sum
from hub.protection.flags import NAME as FLAGGED
from hub.protection.withholding import Office
from hub.provision.inbox import MANUAL, Part, segment_key
from hub.provision.payloadstore import Packed, pack_payloads, put_payloads
from hub.records.append import Laid, append_records, lay_records, make_fields, order_by_person
from hub.records.bodies import ROW
from hub.records.events import EventKind, Told
from hub.storage.periods import period_of
from hub.storage.snapshot import Commit
from hub.tlog.entry import Shared

_TRIES = 3


class FlagsMovedError(Exception):
    """Flags, or who is who, have changed since answers were screened."""


class _Chunk(NamedTuple):
    laid: Laid
    packed: Packed | None
    manual: list[bytes]
    refused: list[tuple[int, int]]


class Ends(NamedTuple):
    """Permits that end, one chunk of them; or arrivals, with kind TAKEN. All of them lapse, or none does.

    Attributes:
        providers: uint16[N]. indexes: uint64[N], of the permits' records. persons: uint32[N].
        which: uint32[N], place in ``parts``; ``shared`` are those, decoded.
        outcomes, reasons: uint8[N]. payloads: N, or None. by_clerk: bool[N], answered MANUAL before, or None.
        clerk: who decided. screened: sums of the flags and of the merged persons that they were screened with; None:
            neither matters.
    """

    providers: npt.NDArray[np.uint16]
    indexes: npt.NDArray[np.uint64]
    persons: npt.NDArray[np.uint32]
    which: npt.NDArray[np.uint32]
    parts: Sequence[Part]
    shared: Sequence[Shared]
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    payloads: list[bytes | None] | None
    by_clerk: npt.NDArray[np.bool_] | None
    kind: Kind
    clerk: str | None
    screened: tuple[int, int] | None

    def __repr__(self) -> str:
        return f"Ends({len(self.indexes)})"


def append_ends(office: Office, ends: Ends, also: Callable[[Commit], None] | None = None) -> None:
    """Make the ends of some permits durable: records, payloads, refusals, in one transaction.

    Args:
        also: what else belongs into it.

    Raises:
        FlagsMovedError: somebody was flagged or merged since they were screened; nothing was kept.
        StorageError: the disk failed or is full; nothing was kept.
    """
    chunk = _prepare(office, ends)
    with office.store.commit() as commit:
        now_screened = commit.state.sums.get(FLAGGED, 0), lives_sum(commit.state)
        if ends.screened is not None and ends.screened != now_screened:
            raise FlagsMovedError
        now = max(office.now(), commit.state.time)
        for _ in range(_TRIES):
            if period_of(now) == chunk.laid.period:
                break
            # Another period has begun since.
            chunk, now = _prepare(office, ends), max(office.now(), commit.state.time)
        else:
            raise StorageError("provide: expected a period that stands still, got several", retry_safe=True)
        first = _write(office, commit, chunk, ends, now)
        if also is not None:
            also(commit)
    office.wake(first, chunk.laid)


def _prepare(office: Office, ends: Ends) -> _Chunk:
    """Order a chunk by person key, commit to its records, encrypt its payloads; needs no lock."""
    now = office.now()
    key = office.periods.make(period_of(now))
    table = np.zeros(len(ends.indexes), dtype=ROW)
    table["person"], table["provider"], table["outcome"] = ends.persons, ends.providers, ends.outcomes
    table["kind"] = ends.kind
    links = ends.indexes + np.uint64(1)
    for place, shift in enumerate((0, 16, 32)):
        table["link"][:, place] = (links >> np.uint64(shift)).astype(np.uint16)
    late = _released(office, ends, now)
    names = ends.which.astype(np.uint64) << np.uint64(9) | ends.reasons.astype(np.uint64) << np.uint64(1) | late
    used, decision = np.unique(names, return_inverse=True)
    table["decision"] = decision
    every = office.answers_every_s
    shared, times, moments = [], [], []
    done_at = 0 if (ends.outcomes == Status.LAPSED).all() else now
    for name in used.tolist():
        which, reason, is_late = name >> 9, name >> 1 & 0xFF, name & 1
        shared.append(msgspec.structs.replace(ends.shared[which], reason=reason, remark=None))
        times.append((ends.parts[which].requested_at, done_at))
        moments.append(-(-now // every) * every if is_late else 0)
    fields = make_fields(shared, times, [(ends.clerk, None)], moments)
    person_keys = key.person_keys(ends.persons)
    order = order_by_person(person_keys)
    laid = lay_records(fields, table[order], person_keys[order], office.keys, key)
    payloads = None if ends.payloads is None else list(map(ends.payloads.__getitem__, order.tolist()))
    packed = None if payloads is None else pack_payloads(key, payloads, now)
    refused = []
    if ends.kind == Kind.PROVISION:
        reasons = ends.reasons[order]
        is_refused = ends.outcomes[order] == Status.REFUSED
        refused = [(at, int(reasons[at])) for at in np.flatnonzero(is_refused).tolist()]
    manual = []
    if ends.by_clerk is not None:
        at = np.flatnonzero(ends.by_clerk)
        pairs = zip(ends.providers[at].tolist(), ends.indexes[at].tolist(), strict=True)
        manual = [segment_key(provider, index) for provider, index in pairs]
    return _Chunk(laid, packed, manual, refused)


def _released(office: Office, ends: Ends, now: int) -> npt.NDArray[np.uint64]:
    """uint64[N]: 1 where an answer leaves at the next fixed moment, not at once."""
    if ends.kind != Kind.PROVISION:
        return np.zeros(len(ends.indexes), np.uint64)
    requested = np.array([part.requested_at for part in ends.parts], dtype=np.int64)
    late = requested[ends.which] + PROMPT_S < now
    return (late if ends.by_clerk is None else late | ends.by_clerk).astype(np.uint64)


def _write(office: Office, commit: Commit, chunk: _Chunk, ends: Ends, now: int) -> int:
    first = append_records(commit, chunk.laid, now)
    put_payloads(commit, first, chunk.packed)
    for key in chunk.manual:
        commit.delete(MANUAL, key)
    if chunk.refused:
        code = office.catalog().institution_by_number(int(ends.providers[0])).code
        for position, reason in chunk.refused:
            told = Told(
                at=now, kind=EventKind.REFUSED, institution=code, clerk=ends.clerk, ground=Reason(reason).name
            )
            office.tell(told, commit, chunk.laid.period, first + position)
    return first


def join_ends(several: list[Ends]) -> Ends:
    first = several[0]
    parts: list[Part] = []
    shared: list[Shared] = []
    which = []
    for one in several:
        which.append(one.which + np.uint32(len(parts)))
        parts += one.parts
        shared += one.shared
    return first._replace(
        providers=np.concatenate([one.providers for one in several]),
        indexes=np.concatenate([one.indexes for one in several]),
        persons=np.concatenate([one.persons for one in several]),
        which=np.concatenate(which),
        parts=parts,
        shared=shared,
        outcomes=np.concatenate([one.outcomes for one in several]),
        reasons=np.concatenate([one.reasons for one in several]),
        by_clerk=np.concatenate([one.by_clerk for one in several if one.by_clerk is not None]),
    )
