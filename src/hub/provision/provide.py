"""A provider's answers to its permits -> durable provisions.

    form -> whose permits, how they stand, flags, keys (nothing is changed by a bad row) -> records (``ends.py``), a
    transaction a chunk -> checkpoint -> receipt

The same answer to the same permit again, as after a crash, is accepted and recorded no second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError, RowsError
from hub.exchange import Exchange, Seen, State
from hub.limits import PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_PER_COMMIT_MAX, ROWS_PER_BATCH_MAX, ROWS_PER_CHUNK
from hub.messages import OWN_DATA, REFUSALS, Flag, Kind, Permits, Reason, Receipt, Status
from hub.persons.merges import Lives, current, lives_of, misplaced
from hub.persons.successions import successions_of
from hub.protection.flags import Flagged
from hub.protection.withholding import Office, check_clerk
from hub.provision.ends import Ends, FlagsMovedError, append_ends
from hub.provision.inbox import MANUAL, Indexes, ended_by, reason_of, segment_key, status_of
from hub.provision.payloadkeys import read_payload_key
from hub.provision.payloads import check_payloads
from hub.provision.payloadstore import PayloadReader
from hub.records.append import order_by_chance
from hub.records.permits import PermitNumbers
from hub.tlog.entry import Shared, decode_shared

_ANSWERS = (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED, Status.MANUAL)
_IS_ANSWER = np.isin(np.arange(256), _ANSWERS)
_PLAIN = frozenset((bytes, type(None)))
_IS_REFUSAL = np.isin(np.arange(256), REFUSALS)


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
    found = _column("outcomes", outcomes, n)
    fits = _IS_ANSWER[found]
    if not fits.all():
        names = ", ".join(one.name for one in _ANSWERS)
        raise RequestError(f"outcomes: expected {names}, got another in row {int(np.argmin(fits))}")
    why = np.zeros(n, np.uint8) if reasons is None else _column("reasons", reasons, n)
    fits = np.where(found == Status.REFUSED, _IS_REFUSAL[why], why == 0)
    wrong = np.flatnonzero(~fits & ~((found == Status.NO_RECORD) & (why == Reason.NOT_LOADED)))
    if len(wrong):
        names = ", ".join(one.name for one in REFUSALS)
        raise RequestError(
            f"reasons: expected {names} for REFUSED, NOT_LOADED or none for NO_RECORD, and none otherwise,"
            f" got another in row {wrong[0]}"
        )
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
    # Plain bytes and None, as mostly, are looked at without a line of Python for each.
    plain = set(map(type, payloads)) <= _PLAIN and max(map(len, filter(None, payloads)), default=0) <= PAYLOAD_BYTES_MAX
    if plain and all(payloads[row] is None for row in np.flatnonzero(outcomes != Status.PROVIDED).tolist()):
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
    """Takes answers in an open hub."""

    def __init__(
        self, office: Office, exchange: Exchange, numbers: PermitNumbers, published: Callable[[], None]
    ) -> None:
        self._office, self._exchange, self._numbers, self._published = office, exchange, numbers, published

    def __repr__(self) -> str:
        return "Provider()"

    def provide(self, institution: str, given: Given, clerk: str | None) -> Receipt:
        """See ``Hub.provide``."""
        check_clerk("clerk", clerk)
        provider = self._office.catalog().institution(institution).number
        indexes = self._numbers.index(provider, given.numbers)
        with self._exchange.lock(provider):
            now = self._office.now()
            while True:
                try:
                    self._provide(provider, indexes, given, now, clerk)
                    break
                except FlagsMovedError:
                    # A flag counts for every answer whose commit comes behind its own: all of it is looked at again.
                    continue
        self._published()
        return Receipt(request_id="", rows=len(indexes), received_at=now)

    def provide_all(self, institutions: list[str], given: Given, clerk: str | None) -> Receipt:
        """:meth:`provide`, of an institution and of those that it succeeded, whose permits it has as well."""
        which = np.full(len(given.numbers), -1, np.intp)
        catalog = self._office.catalog()
        with self._exchange.state() as state:
            for place, code in enumerate(institutions):
                left = np.flatnonzero(which < 0)
                number = catalog.institution(code).number
                found = state.see(number, self._numbers.index(number, given.numbers[left])).found
                which[left[found]] = place
        if (which < 0).any():
            raise _unfit("permits: expected permits of this institution, got another", which < 0, "unknown")
        for place, code in enumerate(institutions):
            rows = np.flatnonzero(which == place)
            if not len(rows):
                continue
            payloads = None if given.payloads is None else [given.payloads[row] for row in rows.tolist()]
            some = Given(given.numbers[rows], given.outcomes[rows], given.reasons[rows], payloads)
            try:
                self.provide(code, some, clerk)
            except RowsError as error:
                error.rows = rows[error.rows].tolist()
                raise
        return Receipt(request_id="", rows=len(which), received_at=self._office.now())

    def _provide(
        self, provider: int, indexes: npt.NDArray[np.uint64], given: Given, now: int, clerk: str | None
    ) -> None:
        with self._exchange.state() as state:
            flagged, lives = self._office.flagged.of(state.snapshot), lives_of(state.snapshot)
            seen = state.see(provider, indexes)
            self._check_found(seen)
            parts = [decode_shared(part.shared) for part in seen.parts]
            self._check_persons(lives, provider, seen, parts, given, indexes)
            # Flags went to the successor of a body that is answered for.
            number = successions_of(state.snapshot).now(provider)
            given = _screen(flagged, lives, number, seen, parts, given, clerk)
            self._check_payloads(state, seen, parts, given)
            fresh = self._check_open(state, seen, given, now, indexes)
            manual = state.manual_among(provider, indexes)
        rows = np.flatnonzero(fresh & (given.outcomes != Status.MANUAL))
        by_clerk = np.isin(indexes, np.array(sorted(manual), dtype=np.uint64)) if manual else None
        for some in _split(rows, given.payloads):
            payloads = given.payloads
            if payloads is not None and len(some) < len(payloads):
                payloads = list(map(payloads.__getitem__, some.tolist()))
            ends = Ends(
                np.full(len(some), provider, np.uint16), indexes[some], seen.persons[some], seen.which[some],
                seen.parts, parts, given.outcomes[some], given.reasons[some], payloads,
                None if by_clerk is None else by_clerk[some], Kind.PROVISION, clerk, (flagged.sum, lives.sum),
            )  # fmt: skip
            append_ends(self._office, ends)
        self._ask_clerk(provider, indexes[fresh & (given.outcomes == Status.MANUAL)].tolist(), manual)

    def _check_found(self, seen: Seen) -> None:
        if not seen.found.all():
            raise _unfit("permits: expected permits of this institution, got another", ~seen.found, "unknown")

    def _check_persons(
        self, lives: Lives, provider: int, seen: Seen, parts: list[Shared], given: Given, indexes: Indexes
    ) -> None:
        """Refuse to give anybody's data where two persons who were one are two again, and the permit is the other's."""
        if not lives.any_split:
            return
        waiting = (seen.outcomes.words == 0) & np.isin(given.outcomes, (Status.PROVIDED, Status.EMPTY))
        requesters = [self._office.number_of(shared.requester) for shared in parts]
        wrong = waiting & misplaced(lives, provider, indexes, seen.persons, seen.which, requesters)
        if wrong.any():
            raise _unfit("permits: expected ones whose person is certain, got one of persons who were split", wrong,
                         "split")  # fmt: skip

    def _blocked(self, state: State, indexes: Indexes, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Whether a NO_SELF flag makes NO_RECORD of what is answered to permits."""
        flagged = self._office.flagged.of(state.snapshot)
        blocked = np.zeros(len(rows), np.bool_)
        if flagged.has(Flag.NO_SELF):
            found = self._office.bodies(state.snapshot).read(indexes[rows].tolist())
            persons = current(state.snapshot, np.array([one.person for one in found], np.uint32))
            numbers = successions_of(state.snapshot).current(np.array([one.provider for one in found], np.uint32))
            blocked = flagged.no_self(persons, numbers)
            for at, one in enumerate(found):
                blocked[at] &= one.chunk.shared[one.decision].procedure.startswith(OWN_DATA)
        return blocked

    def _check_open(
        self, state: State, seen: Seen, given: Given, now: int, indexes: Indexes
    ) -> npt.NDArray[np.bool_]:
        """bool[N]: which permits are open; the others must have been answered by the same before."""
        before = status_of(seen.outcomes.words)
        fresh = before == 0
        if not fresh.all():
            same = (before == given.outcomes) & (reason_of(seen.outcomes.words) == given.reasons)
            lapsed = before == Status.LAPSED
            if lapsed.any():
                raise _unfit(_LAPSED, lapsed, "lapsed")
            wrong = np.flatnonzero(~fresh & ~same)
            if len(wrong):
                wrong = wrong[~(self._blocked(state, indexes, wrong) & (before[wrong] == Status.NO_RECORD))]
            if len(wrong):
                raise _unfit(_ANSWERED, wrong, "answered")
            self._check_same_payloads(state, seen, given, np.flatnonzero(~fresh))
        deadlines = np.array([part.deadline for part in seen.parts], dtype=np.int64)
        if len(deadlines):
            late = fresh & (deadlines[np.where(fresh, seen.which, 0)] <= now)
            if late.any():
                raise _unfit(_LAPSED, late, "lapsed")
        return fresh

    def _check_same_payloads(self, state: State, seen: Seen, given: Given, rows: npt.NDArray[np.intp]) -> None:
        kept: list[bytes | None] = [None] * len(rows)
        reader = PayloadReader(state.snapshot, state.periods)
        reader.read(ended_by(seen.outcomes.words[rows]), kept, np.arange(len(rows)))
        other = []
        for at, row in enumerate(rows.tolist()):
            payload = None if given.payloads is None else given.payloads[row]
            # What was fetched before is not there any more to be compared.
            if kept[at] is not None and kept[at] != payload:
                other.append(row)
        if other:
            raise _unfit(_ANSWERED, np.array(other), "answered")

    def _check_payloads(self, state: State, seen: Seen, parts: list[Shared], given: Given) -> None:
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
            if check_payloads(payloads, key) is not None:
                bad = [check_payloads([one], key) is not None for one in payloads]
                raise _unfit("payloads: expected them sealed to the requester's key, got another", rows[bad], "payload")

    def _ask_clerk(self, provider: int, indexes: list[int], manual: set[int]) -> None:
        """Note which permits a clerk must decide."""
        fresh = [index for index in indexes if index not in manual]
        for start in range(0, len(fresh), ROWS_PER_CHUNK):
            with self._office.store.commit() as commit:
                for index in fresh[start : start + ROWS_PER_CHUNK]:
                    commit.put_sealed(MANUAL, segment_key(provider, index), self._office.now().to_bytes(8, "little"))


_LAPSED = "permits: expected ones that have not lapsed, got one"
_ANSWERED = "permits: expected ones that wait, got one that was answered"


def _unfit(message: str, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_], cause: str) -> RowsError:
    """The error for these rows (bool[N], or their places)."""
    places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    return RowsError(f"{message} in row {places[0]}", rows=places.tolist(), cause=cause)


def _screen(
    flagged: Flagged, lives: Lives, provider: int, seen: Seen, parts: list[Shared], given: Given, clerk: str | None
) -> Given:
    """What flags make of answers to open permits.

    Without a clerk those about persons of whom a clerk must decide (MANUAL, at any institution) become MANUAL, and so
    do those about persons whose linkage this provider has suspended, unless it refuses: a refusal gives nothing away.
    Own data of a person flagged NO_SELF at this provider become NO_RECORD, whatever it answers.
    """
    waiting = seen.outcomes.words == 0
    persons = lives.current(seen.persons)
    if clerk is None:
        manual = flagged.manual_anywhere(persons)
        if manual is not None:
            given = _turn(given, manual & waiting, Status.MANUAL)
        suspended = flagged.suspended(persons, provider)
        if suspended is not None:
            given = _turn(given, suspended & waiting & (given.outcomes != Status.REFUSED), Status.MANUAL)
    if flagged.has(Flag.NO_SELF):
        own = np.array([shared.procedure.startswith(OWN_DATA) for shared in parts] or [False])
        blocked = flagged.no_self(persons, provider) & own[seen.which] & waiting
        # A NO_RECORD stays as it is, with its reason: beside others that are not loaded it must not stand out.
        blocked &= (given.outcomes != Status.MANUAL) & (given.outcomes != Status.NO_RECORD)
        given = _turn(given, blocked, Status.NO_RECORD)
    return given


def _turn(given: Given, rows: npt.NDArray[np.bool_], outcome: Status) -> Given:
    """Answers of which some have another outcome, and no payload."""
    if not rows.any():
        return given
    payloads = given.payloads
    if payloads is not None:
        payloads = [None if turned else one for one, turned in zip(payloads, rows.tolist(), strict=True)]
    return given._replace(
        outcomes=np.where(rows, np.uint8(outcome), given.outcomes),
        reasons=np.where(rows, np.uint8(0), given.reasons),
        payloads=payloads,
    )


def _split(rows: npt.NDArray[np.intp], payloads: list[bytes | None] | None) -> list[npt.NDArray[np.intp]]:
    """Rows in chunks of one transaction each; where there are several, chance puts them together.

    In the provider's order they would tell who sees the indexes of the records as well, the portal, in which part of
    that order each permit stands.
    """
    sizes = np.zeros(0, np.int64)
    if payloads is not None and None in payloads:
        sizes = np.fromiter([0 if one is None else len(one) for one in payloads], np.int64, len(payloads))
    elif payloads is not None:
        sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))  # type: ignore[arg-type]
    if len(rows) <= ROWS_PER_CHUNK and (payloads is None or sizes[rows].sum() <= PAYLOAD_BYTES_PER_COMMIT_MAX):
        return [rows] if len(rows) else []
    rows = rows[order_by_chance(len(rows))]
    upto = None if payloads is None else np.cumsum(sizes[rows])
    chunks = []
    start = 0
    while start < len(rows):
        end = min(start + ROWS_PER_CHUNK, len(rows))
        if upto is not None:
            before = int(upto[start - 1]) if start else 0
            fitting = int(np.searchsorted(upto, before + PAYLOAD_BYTES_PER_COMMIT_MAX, side="right"))
            end = min(end, max(fitting, start + 1))
        chunks.append(np.sort(rows[start:end]))
        start = end
    return chunks
