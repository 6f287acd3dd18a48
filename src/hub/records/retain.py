"""Erase the records whose time is over, a period at a time, in steps beside other work; end the holds that are over.

Before the first, what has lapsed is recorded and sorted into the inboxes: no open permit may need a key that goes.
Order of one period; each step is durable before the next, and the next call goes on wherever the process died:

1. its records under a legal hold are copied out (``holds.py``);
2. one transaction enters the erasure (``erasures.py``) and appends the record that tells of it, if no hold has come or
   gone since; from here on the erasure is finished, whatever happens;
3. the head covers that record;
4. the period's key is unlinked: nobody reads its bodies any more, in no process, no backup;
5. bodies and runs leave in bounded transactions; 6. the entry is marked done.

Opening the folder for writing finishes 3 and 4 where they were cut off. Entries, nodes and checkpoints stay.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from hub.aliases import NOBODY
from hub.errors import RequestError
from hub.limits import RETAIN_AHEAD_DAYS_MAX, RETAIN_PERIODS_MAX
from hub.messages import Kind, Status
from hub.records.append import append_records, lay_records, make_fields, order_rows
from hub.records.bodies import HEAD, ROW, Heads, read_place
from hub.records.erasures import Erasure, expires_at, put_erasure, read_erasures
from hub.records.holds import Event, Hold, HoldKeys, HoldState, copy_held, holds_of, in_force, put_hold, read_holds
from hub.records.log import Log
from hub.requests.state import forget_old_requests
from hub.runs.merge import drop_period
from hub.storage.periods import PeriodKeys, period_name, period_of
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store
from hub.tlog.entry import Shared

T = TypeVar("T")

STEP_BYTES = 1 << 20
STEP_VALUES = 256
STEP_S = 0.003
"""What a step removes, whichever is reached first: an inquiry that comes in between waits for the step and its sync."""

RUNS_STEP_BYTES = 1 << 17
PAUSE_S = 0.005
"""Between two steps at least, and as long as the step took: whoever waits for the writer gets it. With steps four times
as large the slowest percent of inquiries beside it took half as long again; the figures stand in docs/log.md."""

PROCEDURE = "retention"
LEGAL_BASIS = "番号法23条、同施行令29条"


class PeriodState(msgspec.Struct, frozen=True, kw_only=True):
    """One period of the log, and when it is erased.

    Attributes:
        period: ``2026Q4``. first, records: its range of indexes.
        expires_at: UTC. due: whether it has come. under_way, done: how far its erasure is.
    """

    period: str
    first: int
    records: int
    expires_at: dt.datetime
    due: bool
    under_way: bool = False
    done: bool = False


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """What one call erased.

    Attributes:
        periods: those whose erasure was completed. records: erased in them.
        copied: records copied out under legal holds. holds_ended: holds whose copies were shredded.
    """

    periods: tuple[str, ...]
    records: int
    copied: int
    holds_ended: int


class _Range(NamedTuple):
    period: int
    first: int
    end: int


class Parts(NamedTuple):
    """What retention works on: a hub's open parts."""

    store: Store
    log: Log
    periods: PeriodKeys
    heads: Heads
    hold_keys: HoldKeys


def list_periods(snapshot: Snapshot, now: int) -> list[PeriodState]:
    """Every period of the log, oldest first, the erased ones too.

    Raises:
        StorageError: a head of a chunk, or an entry of ``erasures``, is damaged.
    """
    found = []
    for erasure in read_erasures(snapshot):
        one = _state(_Range(erasure.period, erasure.first, erasure.end), now)
        done = bool(erasure.done_at)
        found.append(msgspec.structs.replace(one, due=not done, under_way=not done, done=done))
    return found + [_state(one, now) for one in _kept_ranges(snapshot)]


def retain_records(
    parts: Parts, *, clock: Callable[[], float], catalog: str, confirm: bool, progress: Callable[[int], None] | None,
    settle: Callable[[], object],
) -> Retained:  # fmt: skip
    """Erase every period that has expired, and end every hold that is over. Idempotent; goes on after a crash.

    Args:
        catalog: digest of the one in force, named by the erasure's record.
        confirm: erase also where the clock or the number of periods looks wrong, see ``limits.py``.
        progress: called with the records erased so far, after each step; an exception from it stops there.
        settle: called before a period begins to be erased, so that nothing open is left that only its key can read.

    Raises:
        RequestError: the clock is far ahead of the last record, or many periods would go: nothing was changed.
        StorageError: the disk failed, or a body under a hold is damaged: what is under way goes on at the next call.
    """
    store = parts.store
    with store.snapshot() as snapshot:
        now, last = max(int(clock()), snapshot.state.time), snapshot.state.time
        due = [one for one in _kept_ranges(snapshot) if now >= expires_at(one.period)]
    if due and not confirm:
        _check_plausible(now, last, len(due))
    if due:
        settle()
    told = _Told(progress)
    done = [_finish(parts, erasure, clock, told) for erasure in _under_way(store)]
    for one in due:
        done.append(_finish(parts, _begin(parts, one, clock, catalog), clock, told))
    _shred_unused(parts, now)
    ended = _end_holds(parts, now)
    forget_old_requests(store, now)
    return Retained(
        periods=tuple(period_name(erasure.period) for erasure in done),
        records=sum(erasure.end - erasure.first for erasure in done),
        copied=sum(erasure.copied for erasure in done),
        holds_ended=ended,
    )


def resume_shredding(parts: Parts) -> None:
    """Unlink the keys of erasures that were cut off before; called when a folder is opened, once the head is there."""
    for erasure in _under_way(parts.store):
        parts.periods.shred(erasure.period)


def _check_plausible(now: int, last: int, due: int) -> None:
    """A clock that jumped must not take years of records with it."""
    ahead = (now - last) // 86_400
    if ahead > RETAIN_AHEAD_DAYS_MAX:
        raise RequestError(
            f"retain: expected a clock at most {RETAIN_AHEAD_DAYS_MAX} days ahead of the last record, "
            f"got {ahead} days: look at the clock, then confirm"
        )
    if due > RETAIN_PERIODS_MAX:
        raise RequestError(
            f"retain: expected at most {RETAIN_PERIODS_MAX} periods to erase, got {due}: "
            "look at the clock, then confirm"
        )


class _Told:
    """Counts the records erased in a call, for who wants to see it go on."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self._records = 0

    def add(self, records: int) -> None:
        self._records += records
        if self._progress is not None:
            self._progress(self._records)


# -- what there is


def _state(one: _Range, now: int) -> PeriodState:
    moment = expires_at(one.period)
    return PeriodState(
        period=period_name(one.period),
        first=one.first,
        records=one.end - one.first,
        expires_at=dt.datetime.fromtimestamp(moment, dt.UTC),
        due=now >= moment,
    )


def _kept_ranges(snapshot: Snapshot) -> list[_Range]:
    """The periods whose records are there, oldest first: the log's time never runs backwards, so each is a range."""
    first = max((erasure.end for erasure in read_erasures(snapshot)), default=0)
    found = []
    while first < snapshot.state.records:
        period = read_place(snapshot, first).period
        low, high = first + 1, snapshot.state.records
        while low < high:
            middle = (low + high) // 2
            if read_place(snapshot, middle).period > period:
                high = middle
            else:
                low = middle + 1
        found.append(_Range(period, first, low))
        first = low
    return found


def _under_way(store: Store) -> list[Erasure]:
    with store.snapshot() as snapshot:
        return [erasure for erasure in read_erasures(snapshot) if not erasure.done_at]


# -- one period


def _begin(parts: Parts, one: _Range, clock: Callable[[], float], catalog: str) -> Erasure:
    """Copy out what is held, then enter the erasure and its record: from here on it will be finished."""
    store = parts.store
    while True:
        with store.snapshot() as snapshot:
            holds = in_force(read_holds(snapshot), max(clock(), snapshot.state.time))
        copied = copy_held(store, parts.hold_keys, parts.periods, parts.heads, holds, one.first, one.end)
        with store.commit() as commit:
            now = max(int(clock()), commit.state.time)
            # Compared under the writer's lock: a hold that came meanwhile gets its records as well.
            if in_force(holds_of(commit), now) == holds:
                return _enter(parts, commit, one, holds, copied, catalog, now)


def _enter(
    parts: Parts, commit: Commit, one: _Range, holds: list[Hold], copied: dict[int, int], catalog: str, now: int
) -> Erasure:
    erasure = Erasure(1, one.period, one.first, one.end, commit.state.records, now, 0, sum(copied.values()))
    shared = Shared(
        inquiry=os.urandom(8),
        requester="",
        on_behalf_of=None,
        procedure=PROCEDURE,
        items=erasure.items,
        role="",
        section="",
        reference_date=None,
        catalog=catalog,
        rule=0,
        reason=0,
        legal_basis=LEGAL_BASIS,
        supervised=bytes(32),
    )
    row = np.zeros(1, dtype=ROW)
    row["person"], row["kind"], row["outcome"] = NOBODY, Kind.ERASURE, Status.OK
    key = parts.periods.make(period_of(now))
    rows, person_keys = order_rows(row, key)
    fields = make_fields([shared], [(now, 0)], [(None, None)])
    append_records(commit, lay_records(fields, rows, person_keys, parts.store.keys, key), now)
    put_erasure(commit, erasure)
    for hold in holds:
        if copied[hold.number]:
            put_hold(commit, msgspec.structs.replace(hold, copied=hold.copied + copied[hold.number]))
    return erasure


def _finish(parts: Parts, erasure: Erasure, clock: Callable[[], float], told: _Told) -> Erasure:
    """Everything behind the entry; each step may find that it was done before."""
    store = parts.store
    parts.log.publish()
    parts.periods.shred(erasure.period)
    parts.heads.forget(erasure.period)
    while (dropped := _drop_bodies(store, erasure)) is not None:
        told.add(dropped)
    while _paced(lambda: drop_period(store, erasure.period, bytes_max=RUNS_STEP_BYTES)):
        told.add(0)
    with store.commit() as commit:
        erasure = msgspec.structs.replace(erasure, done_at=max(int(clock()), commit.state.time))
        put_erasure(commit, erasure)
    return erasure


def _drop_bodies(store: Store, erasure: Erasure) -> int | None:
    """One step; the records whose bodies it removed, or None where there are none left."""
    rows: dict[bytes, int] = {}
    size = 0
    with store.snapshot() as snapshot:
        end = erasure.end.to_bytes(8, "big")
        for key, value in snapshot.items("records", erasure.key, end, limit=STEP_VALUES):
            # LMDB reads the first page of a value to free it: read here, where nobody waits for the disk.
            rows[key] = HEAD.unpack_from(value)[2]
            size += len(value)
            if size >= STEP_BYTES:
                break
    if not rows:
        return None

    def remove() -> int:
        dropped = 0
        with store.commit() as commit:
            begun = time.perf_counter()
            for key, count in rows.items():
                commit.delete("records", key)
                dropped += count
                if time.perf_counter() - begun > STEP_S:
                    break
        return dropped

    return _paced(remove)


def _paced(step: Callable[[], T]) -> T:
    """Do a step, then leave the writer to others for as long."""
    begun = time.perf_counter()
    result = step()
    time.sleep(max(PAUSE_S, time.perf_counter() - begun))
    return result


def _shred_unused(parts: Parts, now: int) -> None:
    """Keys of expired periods that never got a record: made when a quarter began, and not used."""
    with parts.store.snapshot() as snapshot:
        used = {one.period for one in _kept_ranges(snapshot)}
    for period in parts.periods.periods():
        if period not in used and now >= expires_at(period):
            parts.periods.shred(period)


# -- holds that are over


def _end_holds(parts: Parts, now: int) -> int:
    """Shred the copies of holds whose last day has passed or that were released; how many."""
    store, ended = parts.store, 0
    with store.snapshot() as snapshot:
        over = [hold for hold in read_holds(snapshot) if hold.state == HoldState.ENDING or now >= hold.ends_at]
        numbers = [hold.number for hold in over if hold.state != HoldState.ENDED]
    for number in numbers:
        with store.commit() as commit:
            hold = next(one for one in holds_of(commit) if one.number == number)
            if hold.state == HoldState.IN_FORCE:
                if now < hold.ends_at:
                    # It was extended a moment ago.
                    continue
                event = Event(now, "ended", "", f"last day {hold.until}")
                hold = msgspec.structs.replace(hold, state=HoldState.ENDING, events=[*hold.events, event])
                put_hold(commit, hold)
        parts.hold_keys.shred(number)
        while _paced(lambda hold=hold: _drop_copies(store, hold)):  # type: ignore[misc]
            pass
        with store.commit() as commit:
            put_hold(commit, msgspec.structs.replace(hold, state=HoldState.ENDED))
        ended += 1
    return ended


def _drop_copies(store: Store, hold: Hold) -> bool:
    """One step; False where nothing was left."""
    with store.snapshot() as snapshot:
        below = (hold.number + 1).to_bytes(5, "big")[1:] if hold.number < 2**32 - 1 else None
        keys = [key for key, value in snapshot.items("held", hold.key, below, limit=STEP_VALUES // 8) if value[:1]]
    if keys:
        with store.commit() as commit:
            for key in keys:
                commit.delete("held", key)
    return bool(keys)
