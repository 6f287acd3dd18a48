"""A provider's answers to its permits -> durable provisions; and lapses, where no answer came.

    check every row (nothing is changed by a bad one) -> order by person key, commit to them -> one transaction a chunk:
    records, payloads, refusals for the Commission -> checkpoint -> receipt

The same answer to the same permit again, as after a crash, is accepted and recorded no second time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.append import Laid, append_records, lay_records, make_fields, order_by_person
from hub.bodies import ROW
from hub.errors import RequestError, StorageError
from hub.events import EventKind, Told
from hub.exchange import Exchange, Seen
from hub.inbox import MANUAL, Part, ended_by, read_manual, reason_of, segment_key, status_of
from hub.limits import PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_PER_COMMIT_MAX, PROMPT_S, ROWS_PER_BATCH_MAX, ROWS_PER_CHUNK
from hub.messages import REFUSALS, Kind, Permits, Reason, Receipt, Status
from hub.payloadkeys import read_payload_key
from hub.payloads import check_payloads
from hub.payloadstore import Packed, PayloadReader, pack_payloads, put_payloads
from hub.periods import period_of
from hub.permits import PermitNumbers
from hub.snapshot import Commit
from hub.tlog.entry import Shared, decode_shared
from hub.withholding import Office, check_clerk

_ANSWERS = (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED, Status.MANUAL)
_TRIES = 3


class Given(NamedTuple):
    """Answers, checked.

    Attributes:
        numbers: uint64[N], permit numbers. outcomes, reasons: uint8[N]. payloads: N, or None where there are none.
    """

    numbers: npt.NDArray[np.uint64]
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    payloads: list[bytes | None] | None

    def __repr__(self) -> str:
        return f"Given({len(self.numbers)})"


class _Chunk(NamedTuple):
    laid: Laid
    packed: Packed | None
    manual: list[bytes]
    refused: list[tuple[int, int]]


def decode_answers(permits: Any, outcomes: Any, payloads: Any, reasons: Any) -> Given:
    """Check the form of a provider's answers.

    Raises:
        RequestError: a column has another length or type, a value is none of those that a provider may give.
    """
    numbers = permits.permit if isinstance(permits, Permits) else permits
    if isinstance(numbers, np.ndarray) and numbers.dtype == np.uint64 and numbers.ndim == 1:
        numbers = np.ascontiguousarray(numbers)
    elif isinstance(numbers, list | tuple) and all(type(one) is int and 0 <= one < 1 << 64 for one in numbers):
        numbers = np.array(numbers, dtype=np.uint64)
    else:
        raise RequestError(f"permits: expected hub.Permits or uint64[N], got {type(permits).__name__}")
    n = len(numbers)
    if n > ROWS_PER_BATCH_MAX:
        raise RequestError(f"permits: expected at most {ROWS_PER_BATCH_MAX} rows, got {n}")
    if n > 1:
        ascending = np.sort(numbers)
        if (ascending[1:] == ascending[:-1]).any():
            raise RequestError("permits: expected each once, got one twice")
    found = _column("outcomes", outcomes, n)
    wrong = np.flatnonzero(~np.isin(found, _ANSWERS))
    if len(wrong):
        names = ", ".join(one.name for one in _ANSWERS)
        raise RequestError(f"outcomes: expected {names}, got another in row {wrong[0]}")
    why = np.zeros(n, np.uint8) if reasons is None else _column("reasons", reasons, n)
    refused = found == Status.REFUSED
    wrong = np.flatnonzero(np.where(refused, ~np.isin(why, REFUSALS), why != 0))
    if len(wrong):
        names = ", ".join(one.name for one in REFUSALS)
        raise RequestError(f"reasons: expected {names} for REFUSED and none otherwise, got another in row {wrong[0]}")
    return Given(numbers, found, why, _decode_payloads(payloads, found))


def _column(name: str, values: Any, n: int) -> npt.NDArray[np.uint8]:
    if isinstance(values, int) and not isinstance(values, bool) and 0 <= values < 256:
        return np.full(n, int(values), dtype=np.uint8)
    if isinstance(values, list | tuple) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 256 for one in values
    ):
        values = np.array([int(one) for one in values], dtype=np.uint8)
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8 or values.ndim != 1:
        raise RequestError(f"{name}: expected one value, a list or uint8[{n}], got {type(values).__name__}")
    if len(values) != n:
        raise RequestError(f"{name}: expected {n} rows, got {len(values)}")
    return values


def _decode_payloads(payloads: Any, outcomes: npt.NDArray[np.uint8]) -> list[bytes | None] | None:
    if payloads is None:
        return None
    if not isinstance(payloads, list | tuple):
        raise RequestError(f"payloads: expected a list, got {type(payloads).__name__}")
    if len(payloads) != len(outcomes):
        raise RequestError(f"payloads: expected {len(outcomes)} rows, got {len(payloads)}")
    # A list of plain bytes, as mostly, is looked at without a line of Python for each.
    plain = set(map(type, payloads)) == {bytes} and max(map(len, payloads)) <= PAYLOAD_BYTES_MAX
    if plain and (outcomes == Status.PROVIDED).all():
        return list(payloads)
    found = [bytes(one) if isinstance(one, bytearray | memoryview) else one for one in payloads]
    without = outcomes != Status.PROVIDED
    if without.any() and any(found[row] is not None for row in np.flatnonzero(without).tolist()):
        raise RequestError("payloads: expected them with PROVIDED only, got one with another outcome")
    for row, one in enumerate(found):
        if one is not None and (type(one) is not bytes or len(one) > PAYLOAD_BYTES_MAX):
            raise RequestError(f"payloads: expected at most {PAYLOAD_BYTES_MAX} bytes, got something else in row {row}")
    return found


class Provider:
    """Takes answers, and lets permits lapse, in an open hub."""

    def __init__(
        self, office: Office, exchange: Exchange, numbers: PermitNumbers, published: Callable[[], None]
    ) -> None:
        self._office, self._exchange, self._numbers, self._published = office, exchange, numbers, published

    def __repr__(self) -> str:
        return "Provider()"

    # -- answers

    def provide(self, institution: str, given: Given, clerk: str | None) -> Receipt:
        """See ``Hub.provide``."""
        check_clerk("clerk", clerk)
        provider = self._office.catalog().institution(institution).number
        indexes = self._numbers.index(provider, given.numbers)
        with self._exchange.lock(provider):
            now = self._office.now()
            with self._exchange.state() as state:
                seen = state.see(provider, indexes)
                self._check_found(seen)
                given = self._by_clerk(state, provider, seen, given, clerk)
                parts = [decode_shared(part.shared) for part in seen.parts]
                self._check_payloads(state, seen, parts, given)
                fresh = self._check_open(state, seen, given, now)
                manual = self._manual(state, provider, indexes)
            rows = np.flatnonzero(fresh & (given.outcomes != Status.MANUAL))
            by_clerk = np.isin(indexes, np.array(sorted(manual), dtype=np.uint64)) if manual else None
            for some in _split(rows, given.payloads):
                self._record(provider, indexes, seen, parts, given, some, clerk, by_clerk)
            self._ask_clerk(provider, indexes[fresh & (given.outcomes == Status.MANUAL)].tolist(), manual)
        self._published()
        return Receipt(request_id="", rows=len(indexes), received_at=now)

    def _check_found(self, seen: Seen) -> None:
        if not seen.found.all():
            row = int(np.argmin(seen.found))
            raise RequestError(f"permits: expected permits of this institution, got another in row {row}")

    def _check_open(self, state: Any, seen: Seen, given: Given, now: int) -> npt.NDArray[np.bool_]:
        """bool[N]: which permits are open; the others must have been answered by the same before."""
        before = status_of(seen.outcomes.words)
        fresh = before == 0
        if not fresh.all():
            same = (before == given.outcomes) & (reason_of(seen.outcomes.words) == given.reasons)
            lapsed = np.flatnonzero(before == Status.LAPSED)
            if len(lapsed):
                raise RequestError(f"permits: expected ones that have not lapsed, got one in row {lapsed[0]}")
            wrong = np.flatnonzero(~fresh & ~same)
            if len(wrong):
                raise RequestError(f"permits: expected ones that wait, got one that was answered in row {wrong[0]}")
            self._check_same_payloads(state, seen, given, np.flatnonzero(~fresh))
        deadlines = np.array([part.deadline for part in seen.parts], dtype=np.int64)
        if len(deadlines):
            late = np.flatnonzero(fresh & (deadlines[np.where(fresh, seen.which, 0)] <= now))
            if len(late):
                raise RequestError(f"permits: expected ones that have not lapsed, got one in row {late[0]}")
        return fresh

    def _check_same_payloads(self, state: Any, seen: Seen, given: Given, rows: npt.NDArray[np.intp]) -> None:
        kept: list[bytes | None] = [None] * len(rows)
        reader = PayloadReader(state.snapshot, self._office.periods)
        reader.read(ended_by(seen.outcomes.words[rows]), kept, np.arange(len(rows)))
        for at, row in enumerate(rows.tolist()):
            payload = None if given.payloads is None else given.payloads[row]
            # What was fetched before is not there any more to be compared.
            if kept[at] is not None and kept[at] != payload:
                raise RequestError(f"permits: expected ones that wait, got one that was answered in row {row}")

    def _by_clerk(
        self, state: Any, provider: int, seen: Seen, given: Given, clerk: str | None
    ) -> Given:
        """A machine's answers about persons of whom a clerk must decide become MANUAL."""
        if clerk is not None:
            return given
        flagged = self._office.manual_anywhere(state.snapshot, seen.persons)
        if flagged is None:
            return given
        held = flagged & (seen.outcomes.words == 0)
        if not held.any():
            return given
        payloads = given.payloads
        if payloads is not None:
            payloads = [None if by_clerk else one for one, by_clerk in zip(payloads, held.tolist(), strict=True)]
        return given._replace(
            outcomes=np.where(held, np.uint8(Status.MANUAL), given.outcomes).astype(np.uint8),
            reasons=np.where(held, np.uint8(0), given.reasons).astype(np.uint8),
            payloads=payloads,
        )

    def _check_payloads(self, state: Any, seen: Seen, parts: list[Shared], given: Given) -> None:
        """Where the requester has a key, what is not sealed to it is refused."""
        if given.payloads is None:
            return
        catalog = self._office.catalog()
        requesters = {shared.requester for shared in parts}
        of_part = np.array([shared.requester for shared in parts], dtype=object)
        waiting = seen.outcomes.words == 0
        for requester in sorted(requesters):
            number = catalog.institution(requester).number
            key = read_payload_key(self._office.store, state.snapshot, number)
            if key is None:
                continue
            rows = np.flatnonzero(waiting & (of_part[seen.which] == requester))
            payloads = [given.payloads[row] for row in rows.tolist()]
            bad = check_payloads(payloads, key)
            if bad is not None:
                row = rows[bad]
                raise RequestError(f"payloads: expected them sealed to the requester's key, got another in row {row}")

    def _manual(self, state: Any, provider: int, indexes: npt.NDArray[np.uint64]) -> set[int]:
        """Of these permits those that were answered MANUAL."""
        low, high = segment_key(provider, 0), segment_key(provider + 1, 0)
        if not state.snapshot.items(MANUAL, low, high, limit=1):
            return set()
        return {
            index
            for index in indexes.tolist()
            if state.snapshot.get(MANUAL, segment_key(provider, index)) is not None
        }

    def _ask_clerk(self, provider: int, indexes: list[int], manual: set[int]) -> None:
        """Note which permits a clerk must decide."""
        fresh = [index for index in indexes if index not in manual]
        for start in range(0, len(fresh), ROWS_PER_CHUNK):
            with self._office.store.commit() as commit:
                for index in fresh[start : start + ROWS_PER_CHUNK]:
                    commit.put_sealed(MANUAL, segment_key(provider, index), self._office.now().to_bytes(8, "little"))

    def _record(
        self, provider: int, indexes: npt.NDArray[np.uint64], seen: Seen, parts: list[Shared], given: Given,
        rows: npt.NDArray[np.intp], clerk: str | None, by_clerk: npt.NDArray[np.bool_] | None,
    ) -> None:  # fmt: skip
        """Make the provisions of one chunk durable."""
        payloads = given.payloads
        if payloads is not None and len(rows) < len(payloads):
            payloads = [payloads[row] for row in rows.tolist()]
        manual = None if by_clerk is None else by_clerk[rows]
        ends = Ends(
            np.full(len(rows), provider, np.uint16), indexes[rows], seen.persons[rows], seen.which[rows], seen.parts,
            parts, given.outcomes[rows], given.reasons[rows], payloads, manual, Kind.PROVISION, clerk,
        )  # fmt: skip
        append_ends(self._office, ends)

    # -- lapses

    def lapse(self) -> int:
        """Record the lapse of every permit whose time is over; returns how many."""
        done = 0
        now = self._office.now()
        with self._exchange.state() as state:
            due = [
                inbox.provider
                for inbox in state.providers()
                if ((inbox.entries["open"] > 0) & (inbox.entries["deadline"] <= now)).any()
                or state.has_left(inbox.provider)
            ]
        at = 0
        while at < len(due):
            with contextlib.ExitStack() as locks:
                several: list[Ends] = []
                rows = 0
                while at < len(due) and rows < ROWS_PER_CHUNK:
                    locks.enter_context(self._exchange.lock(due[at]))
                    some = self._lapsed(due[at], now, ROWS_PER_CHUNK - rows)
                    rows += len(some.indexes)
                    several.append(some)
                    if rows < ROWS_PER_CHUNK:
                        at += 1
                if rows:
                    append_ends(self._office, _join_ends(several))
                    done += rows
        if done:
            self._published()
        return done

    def _lapsed(self, provider: int, now: int, most: int) -> Ends:
        with self._exchange.state() as state:
            inbox, records = state.inbox(provider), state.snapshot.state.records
            found = state.between(inbox, 0, records, waiting=True, due=now)
            manual = np.array(sorted(read_manual(state.snapshot, provider)), dtype=np.uint64)
        deadlines = np.array([part.deadline for part in found.rows.parts], dtype=np.int64)
        at = np.flatnonzero(deadlines[found.rows.which] <= now)[:most] if len(deadlines) else np.empty(0, np.intp)
        parts = list(found.rows.parts)
        return Ends(
            np.full(len(at), provider, np.uint16), found.rows.indexes[at], found.rows.persons[at],
            found.rows.which[at], parts, [decode_shared(part.shared) for part in parts],
            np.full(len(at), Status.LAPSED, np.uint8), np.zeros(len(at), np.uint8), None,
            np.isin(found.rows.indexes[at], manual), Kind.LAPSE, None,
        )  # fmt: skip


class Ends(NamedTuple):
    """Permits that end, one chunk of them.

    Attributes:
        providers: uint16[N]. indexes: uint64[N], of the permits' records. persons: uint32[N].
        which: uint32[N], place in ``parts``; ``shared`` are those, decoded.
        outcomes, reasons: uint8[N]. payloads: N, or None. by_clerk: bool[N], answered MANUAL before, or None.
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

    def __repr__(self) -> str:
        return f"Ends({len(self.indexes)})"


def append_ends(office: Office, ends: Ends) -> None:
    """Make the ends of some permits durable: records, payloads, refusals, in one transaction.

    Raises:
        StorageError: the disk failed or is full; nothing was kept.
    """
    chunk = _prepare(office, ends)
    with office.store.commit() as commit:
        now = max(office.now(), commit.state.time)
        for _ in range(_TRIES):
            if period_of(now) == chunk.laid.period:
                break
            # Another period has begun since.
            chunk, now = _prepare(office, ends), max(office.now(), commit.state.time)
        else:
            raise StorageError("provide: expected a period that stands still, got several", retry_safe=True)
        _write(office, commit, chunk, ends, now)
    office.wake()


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
    for name in used.tolist():
        which, reason, is_late = name >> 9, name >> 1 & 0xFF, name & 1
        shared.append(msgspec.structs.replace(ends.shared[which], reason=reason, remark=None))
        times.append((ends.parts[which].requested_at, now if ends.kind == Kind.PROVISION else 0))
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
        refused = [(at, int(reasons[at])) for at in np.flatnonzero(reasons).tolist()]
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


def _write(office: Office, commit: Commit, chunk: _Chunk, ends: Ends, now: int) -> None:
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


def _join_ends(several: list[Ends]) -> Ends:
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


def _split(rows: npt.NDArray[np.intp], payloads: list[bytes | None] | None) -> list[npt.NDArray[np.intp]]:
    """Rows in chunks of one transaction each."""
    if payloads is None:
        return [rows[start : start + ROWS_PER_CHUNK] for start in range(0, len(rows), ROWS_PER_CHUNK)]
    every = np.fromiter((0 if one is None else len(one) for one in payloads), np.int64, len(payloads))
    sizes = np.cumsum(every[rows])
    if len(rows) <= ROWS_PER_CHUNK and (not len(rows) or sizes[-1] <= PAYLOAD_BYTES_PER_COMMIT_MAX):
        return [rows] if len(rows) else []
    chunks = []
    start = 0
    while start < len(rows):
        before = int(sizes[start - 1]) if start else 0
        end = int(np.searchsorted(sizes, before + PAYLOAD_BYTES_PER_COMMIT_MAX, side="right"))
        end = min(max(end, start + 1), start + ROWS_PER_CHUNK)
        chunks.append(rows[start:end])
        start = end
    return chunks
