"""What waits at the hub -> answers from the copy register.

    collect -> alias to own id to row, in bulk -> outcomes and payloads -> the own copy -> provide -> its receipt

| the person | outcome |
|---|---|
| flagged MANUAL here | MANUAL: a clerk decides |
| flagged MANUAL at the hub, by whomever | none: it is on the clerk's list (``collect(manual=True)``) already |
| has a row with something of the items asked for | PROVIDED, with a payload (``encode.py``) |
| has a row with nothing of them | EMPTY |
| has none in a register that is loaded | NO_RECORD |
| is not linked to an own id yet, or the register was never loaded whole | NO_RECORD, ``Reason.NOT_LOADED`` |

A load under way answers nothing: what is asked meanwhile is answered from the generation before it. Permits for items
of which no register has all are left to others.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.agency.encode import make_payloads
from hub.agency.links import Links
from hub.agency.manual import ManualFlags
from hub.agency.owncopy import AnsweredRows, OwnCopy
from hub.agency.register import Register, Registers, read_registers
from hub.agency.runs import Words, mix_keys
from hub.agency.store import AgencyStore
from hub.errors import RowsError
from hub.limits import COLLECT_ROWS_MAX
from hub.messages import Aliases, PermitInquiry, Permits, Reason, Status
from hub.provision.payloads import EMPTY_BYTES, seal_payload

PAGE_ROWS = 1 << 18
"""Permits that are collected together; the hub makes whole transactions of them."""

PAYLOADS_BYTES = 1 << 26
"""Payloads that are held together."""


class Answered(NamedTuple):
    """What was done: permits by the name of their outcome, and how many were left to others."""

    outcomes: dict[str, int]
    left: int

    @property
    def rows(self) -> int:
        """Permits that were answered."""
        return sum(self.outcomes.values())


class _Plan(NamedTuple):
    """Answers to some permits."""

    permits: npt.NDArray[np.uint64]
    aliases: Aliases
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    payloads: list[bytes | None]
    bytes: int

    def __repr__(self) -> str:
        return f"_Plan({len(self.permits)})"


class _Page(NamedTuple):
    """Answers to what was collected together, and how many permits are left to others."""

    plans: list[_Plan]
    left: int

    def __repr__(self) -> str:
        return f"_Page({len(self.plans)})"


class Answerer:
    """Answers permits of an open agency."""

    def __init__(
        self, store: AgencyStore, links: Links, registers: Registers, manual: ManualFlags, copy: OwnCopy
    ) -> None:
        self._store, self._links, self._registers = store, links, registers
        self._manual, self._copy = manual, copy

    def __repr__(self) -> str:
        return "Answerer()"

    def answer(self, h: Any, limit: int | None, progress: Callable[[int], None] | None) -> Answered:
        """See ``Agency.answer``."""
        self.recover(h)
        behind = self._copy.last_number()
        counts: Counter[str] = Counter()
        left = rows = 0
        pages = self._pages(h, limit)
        # While the hub takes one page the next is collected and looked up: two thirds of the time are the hub's own.
        with ThreadPoolExecutor(1, "agency-answer") as ahead:
            following: Future[_Page | None] = ahead.submit(next, pages, None)
            while (page := following.result()) is not None:
                following = ahead.submit(next, pages, None)
                left += page.left
                for plan in page.plans:
                    done = self._give(h, plan)
                    counts.update(_names(done.outcomes))
                    rows += len(done.permits)
                    if progress is not None:
                        progress(rows)
        turned = self._turned(h, behind) if rows else {}
        if turned:
            counts[Status.MANUAL.name] += sum(turned.values())
            counts.subtract(turned)
        return Answered({name: rows for name, rows in counts.items() if rows}, left)

    def _turned(self, h: Any, behind: int) -> dict[str, int]:
        """Correct what the hub made MANUAL of: answers about people who were flagged since they were collected.

        Returns:
            how many, by the outcome that was given.
        """
        waiting = _all_waiting(h, self._store.institution, manual=True)
        turned: Counter[str] = Counter()
        for number in range(behind + 1, self._copy.last_number() + 1) if len(waiting) else ():
            rows = self._copy.read(number)
            if rows is not None:
                hit = np.isin(rows.permits, waiting) & (rows.outcomes != Status.MANUAL)
                if hit.any():
                    turned.update(_names(rows.outcomes[hit]))
                    self._copy.turn(rows, hit)
        return dict(turned)

    def _pages(self, h: Any, limit: int | None) -> Iterator[_Page]:
        """What waits, page by page, with its answers."""
        planned = 0
        cursor = None
        while limit is None or planned < limit:
            most = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - planned)
            # Without those that a clerk decides already: the hub would look up of each how often it was asked about.
            most = min(most, COLLECT_ROWS_MAX)
            found = h.collect(self._store.institution, limit=most, after=cursor, manual=False)
            if not found:
                return
            plans = self.plan(h, found)
            rows = sum(len(plan.permits) for plan in plans)
            yield _Page(plans, sum(map(len, found)) - rows)
            planned += rows
            cursor = found[-1].cursor

    def plan(self, h: Any, page: list[Permits]) -> list[_Plan]:
        """Answers to permits; those that no register answers are left out."""
        with self._store.read() as reader:
            registers = read_registers(reader)
        keys: dict[str, bytes | None] = {}
        # Inquiries that are answered alike are looked up together: a page may have one for each permit.
        groups: dict[tuple[str, tuple[int, ...], bytes | None], list[Permits]] = {}
        by_name: dict[str, Register] = {}
        for permits in page:
            found = _register_for(registers, permits.inquiry)
            if found is None:
                continue
            register, asked = found
            requester = permits.inquiry.requester
            if requester not in keys:
                keys[requester] = h.payload_key(requester)
            by_name[register.layout.name] = register
            groups.setdefault((register.layout.name, asked, keys[requester]), []).append(permits)
        plans = []
        for (name, asked, key), some in groups.items():
            plans += self._plan_group(by_name[name], list(asked), key, some)
        return _joined(plans)

    def _plan_group(self, register: Register, asked: list[int], key: bytes | None, some: list[Permits]) -> list[_Plan]:
        numbers = np.concatenate([permits.permit for permits in some])
        aliases = np.concatenate([permits.aliases for permits in some])
        n = len(numbers)
        outcomes = np.full(n, Status.NO_RECORD, np.uint8)
        reasons = np.full(n, Reason.NOT_LOADED, np.uint8)
        mixed = mix_keys(aliases)
        manual = self._manual.among(mixed)
        if manual is not None:
            outcomes[manual], reasons[manual] = Status.MANUAL, Reason.NONE
        if register.generation is None:
            return [_Plan(numbers, aliases, outcomes, reasons, [None] * n, 0)]
        return self._look_up(register, asked, key, numbers, aliases, mixed, outcomes, reasons)

    def _look_up(
        self, register: Register, asked: list[int], key: bytes | None, numbers: npt.NDArray[np.uint64],
        aliases: Aliases, mixed: tuple[Words, Words], outcomes: npt.NDArray[np.uint8], reasons: npt.NDArray[np.uint8],
    ) -> list[_Plan]:  # fmt: skip
        generation = register.generation
        assert generation is not None
        hi, lo = mixed
        waiting = outcomes != Status.MANUAL
        if generation.layout.key.kind == "own_id":
            with self._store.read() as reader:
                linked, (hi, lo) = self._links.keys_of(reader, mixed)
            waiting &= linked
        at = np.flatnonzero(waiting)
        whole = len(at) == len(hi)
        found, parts = self._registers.find(generation, hi if whole else hi[at], lo if whole else lo[at])
        reasons[at] = Reason.NONE
        at = at[found]
        size = parts.sizes[:, asked].sum(axis=1)
        outcomes[at] = np.where(size > 0, np.uint8(Status.PROVIDED), np.uint8(Status.EMPTY))
        file = self._registers.file(generation)
        plans = []
        # Cut where the payloads in front take as much as is held together.
        full = np.zeros(len(numbers), np.int64)
        full[at] = size
        upto = np.cumsum(full) // PAYLOADS_BYTES
        edges = [0, *(np.flatnonzero(upto[1:] != upto[:-1]) + 1).tolist(), len(numbers)]
        starts = np.searchsorted(at, edges).tolist()
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            some = slice(starts[number], starts[number + 1])
            made = make_payloads(file, parts.part(some), asked)
            held = int(size[some].sum())
            if key is not None:
                made = [seal_payload(key, one) for one in made]
                held += len(made) * EMPTY_BYTES
            payloads: list[bytes | None]
            if len(made) == high - low and (size[some] > 0).all():
                payloads = list(made)
            else:
                payloads = [None] * (high - low)
                for row, one, has in zip((at[some] - low).tolist(), made, (size[some] > 0).tolist(), strict=True):
                    payloads[row] = one if has else None
            rows = slice(low, high)
            plans.append(_Plan(numbers[rows], aliases[rows], outcomes[rows], reasons[rows], payloads, held))
        return plans

    def _give(self, h: Any, plan: _Plan) -> _Plan:
        """Answer, with the own copy written first; returns what was answered."""
        number = self._copy.intend(plan.permits, plan.aliases, plan.outcomes, plan.reasons)
        wanted = np.ones(len(plan.permits), np.bool_)
        at = 0
        while wanted.any():
            some = _part(plan, wanted)
            try:
                receipt = h.provide(
                    self._store.institution, some.permits, some.outcomes, some.payloads, reasons=some.reasons
                )
            except RowsError as error:
                # Lapsed, or answered by somebody else since they were collected: no answer of ours.
                wanted[np.flatnonzero(wanted)[error.rows]] = False
                continue
            at = receipt.received_at
            break
        if wanted.all():
            self._copy.given(number, at)
            return plan
        rows = AnsweredRows(number, plan.permits, plan.aliases, plan.outcomes, plan.reasons, None)
        self._copy.settle(rows, wanted, at)
        return _part(plan, wanted)

    def recover(self, h: Any) -> int:
        """Find out what became of answers that were under way when a process died; returns how many were taken."""
        goes = self._copy.open_goes()
        if not goes:
            return 0
        waiting = _all_waiting(h, self._store.institution, manual=False)
        taken = 0
        for rows in goes:
            kept = ~np.isin(rows.permits, waiting)
            at = 0
            probed = np.flatnonzero(kept)
            while len(probed):
                # What does not wait was answered or has lapsed. MANUAL changes neither, and the hub says which.
                try:
                    at = h.provide(self._store.institution, rows.permits[probed], Status.MANUAL).received_at
                except RowsError as error:
                    if error.cause != "answered":
                        kept[probed[error.rows]] = False
                    probed = np.delete(probed, error.rows)
                    continue
                # Permits of people of whom there is no alias any more: now a clerk decides.
                answered = rows.outcomes[probed] == Status.MANUAL
                kept[probed[~answered]] = False
                break
            self._copy.settle(rows, kept, at)
            taken += int(kept.sum())
        return taken


def _register_for(registers: list[Register], inquiry: PermitInquiry) -> tuple[Register, tuple[int, ...]] | None:
    """The register that has all items of an inquiry, and their places in its layout."""
    for one in registers:
        layout = one.layout if one.generation is None else one.generation.layout
        items = layout.items
        if layout.procedures and inquiry.procedure not in layout.procedures:
            continue
        if inquiry.items and all(item in items for item in inquiry.items):
            return one, tuple(sorted(items.index(item) for item in inquiry.items))
    return None


def _all_waiting(h: Any, institution: str, *, manual: bool) -> npt.NDArray[np.uint64]:
    """Every permit that waits, sorted: those that a clerk is to decide, or the others."""
    found = [np.zeros(0, np.uint64)]
    cursor = None
    while page := h.collect(institution, limit=COLLECT_ROWS_MAX, after=cursor, manual=manual):
        found += [permits.permit for permits in page]
        cursor = page[-1].cursor
    return np.sort(np.concatenate(found))


def _joined(plans: list[_Plan]) -> list[_Plan]:
    """Plans of several inquiries as few calls of the hub."""
    joined: list[list[_Plan]] = []
    size = 0
    for plan in plans:
        if not joined or size + plan.bytes > PAYLOADS_BYTES:
            joined.append([])
            size = 0
        joined[-1].append(plan)
        size += plan.bytes
    return [_join(some) for some in joined]


def _join(some: list[_Plan]) -> _Plan:
    if len(some) == 1:
        return some[0]
    return _Plan(
        np.concatenate([one.permits for one in some]), np.concatenate([one.aliases for one in some]),
        np.concatenate([one.outcomes for one in some]), np.concatenate([one.reasons for one in some]),
        [payload for one in some for payload in one.payloads], sum(one.bytes for one in some),
    )  # fmt: skip


def _part(plan: _Plan, rows: npt.NDArray[np.bool_]) -> _Plan:
    if rows.all():
        return plan
    kept = [payload for payload, stays in zip(plan.payloads, rows.tolist(), strict=True) if stays]
    return _Plan(plan.permits[rows], plan.aliases[rows], plan.outcomes[rows], plan.reasons[rows], kept, plan.bytes)


def _names(outcomes: npt.NDArray[np.uint8]) -> dict[str, int]:
    counts = np.bincount(outcomes, minlength=1)
    return {Status(number).name: int(counts[number]) for number in np.flatnonzero(counts).tolist()}
