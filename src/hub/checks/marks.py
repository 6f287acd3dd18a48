"""Compares marks and corrections with the events that tell of them and the records that they are about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.citizens.corrections import NAME as CORRECTIONS
from hub.citizens.corrections import OPERATOR, Standing, parse_standing
from hub.errors import StorageError
from hub.messages import Kind, Status
from hub.persons.successions import successions_of
from hub.protection.marks import FOLLOWING, NAME, PERSON, RECORD, follow, parse_mark, parse_protection
from hub.protection.withholding import Office
from hub.records.bodies import ROW, Bodies, links_of
from hub.records.events import NAME as EVENTS
from hub.records.events import SIDE_NAMES, Event, EventKind, read_events
from hub.records.handles import Stood, read_stood, sides_of
from hub.storage.snapshot import Snapshot

_AT_A_TIME = 1_000
_STATES = {EventKind.WITHHELD, EventKind.LIFTED, EventKind.JUDGED}
_STEPS = {EventKind.CORRECTION_ASKED: 0, EventKind.CORRECTED: 1}
_FEW = 64
"""Links into one chunk up to which their rows are read one by one, not the chunk."""

_OF_PERMIT = np.zeros(256, dtype=np.bool_)
_OF_PERMIT[[Kind.PROVISION, Kind.LAPSE, Kind.RELEASE, Kind.TAKEN]] = True
_FOLLOWS = np.zeros(256, dtype=np.bool_)
_FOLLOWS[[*FOLLOWING, Kind.RELEASE]] = True


class Told:
    """What the events of a snapshot say: how each record and person stands, how many corrections each record has."""

    def __init__(self, snapshot: Snapshot, office: Office) -> None:
        self.marks: dict[tuple[int, str], tuple[bool, int]] = {}
        self.protections: dict[int, bool] = {}
        self.steps: Counter[tuple[int, int]] = Counter()
        after: int | None = 0
        while after is not None:
            events, behind = read_events(snapshot, office.vault, after, _AT_A_TIME)
            for event in events:
                self._take(event)
            after = behind
        keys = [int.from_bytes(key, "big") for key, _ in _items(snapshot, EVENTS)]
        if keys != list(range(1, len(keys) + 1)):
            raise StorageError(f"{EVENTS}: expected numbers from 1 without a gap, got others")

    def __repr__(self) -> str:
        return f"Told(marks={len(self.marks)})"

    def _take(self, event: Event) -> None:
        if event.kind in _STATES and event.index is not None and event.side is not None:
            self.marks[event.index, event.side] = bool(event.withheld), event.protection or 0
        elif event.kind in (EventKind.PROTECTED, EventKind.UNPROTECTED):
            self.protections[event.protection or 0] = bool(event.withheld)
        elif event.kind in _STEPS and event.index is not None:
            self.steps[event.index, _STEPS[event.kind]] += 1


def check_marks(snapshot: Snapshot, office: Office) -> None:
    """Check marks, protections and the states of corrections.

    All in one snapshot: they are compared with each other, and are few beside the records.

    Raises:
        StorageError: the first that does not fit is named.
    """
    told = Told(snapshot, office)
    catalog, bodies = office.catalog(), office.bodies(snapshot)
    for key, value in _items(snapshot, NAME, RECORD, bytes([RECORD[0] + 1])):
        index, side = int.from_bytes(key[1:9], "big"), key[9]
        mark = parse_mark(key, value, office.vault)
        record = _read(snapshot, bodies, index, f"mark of record {index}")
        if record is None or mark.inside is None:
            continue
        number = catalog.institution(mark.inside.institution).number
        sides = sides_of(catalog, record, number, *successions_of(snapshot).olds(number))
        if side not in sides or mark.period != record.period:
            raise StorageError(f"mark of record {index}: expected one of a party to it, got another")
        if told.marks.pop((index, SIDE_NAMES.get(side) or ""), None) != (mark.withheld, mark.judged):
            raise StorageError(f"mark of record {index}: expected it to stand as its events say, got another state")
    for index, _ in told.marks:
        raise StorageError(f"mark of record {index}: expected one as its events say, found none")
    for key, value in _items(snapshot, NAME, PERSON, bytes([PERSON[0] + 1])):
        protection = parse_protection(key, value, office.vault)
        if told.protections.pop(protection.number, None) != protection.on:
            raise StorageError(f"protection {protection.number}: expected it to stand as its events say, got another")
    # A new protection of the same person takes the place of one that ended.
    for number in (number for number, on in told.protections.items() if on):
        raise StorageError(f"protection {number}: expected it as its events say, found none")
    _check_corrections(snapshot, office, bodies, catalog, told)


def _check_corrections(snapshot: Snapshot, office: Office, bodies: Bodies, catalog: Catalog, told: Told) -> None:
    for key, value in _items(snapshot, CORRECTIONS):
        index = int.from_bytes(key, "big")
        name = f"corrections of record {index}"
        standing = parse_standing(key, value, office)
        root = _read(snapshot, bodies, index, name)
        if standing is None or root is None:
            continue
        _check_standing(snapshot, bodies, catalog, root, standing, name)
        counted = told.steps.pop((index, 0), 0), told.steps.pop((index, 1), 0)
        if counted != (len(standing.asked), len(standing.decided)):
            raise StorageError(f"{name}: expected as many as their events say, got others")
    for index, _ in told.steps:
        raise StorageError(f"corrections of record {index}: expected them as their events say, found none")


def _check_standing(
    snapshot: Snapshot, bodies: Bodies, catalog: Catalog, root: Stood, standing: Standing, name: str
) -> None:
    holders = {root.shared.requester, catalog.code_by_number(root.provider), OPERATOR}
    for kind, entries in ((Kind.CORRECTION_ASKED, standing.asked), (Kind.CORRECTION, standing.decided)):
        for entry in entries:
            record = _read(snapshot, bodies, entry.index, name)
            if record is None or (first := follow(bodies, record)) is None:
                continue
            if record.kind != kind or first.index != root.index or entry.holder not in holders:
                raise StorageError(f"{name}: expected record {entry.index} to follow it, got another")
    if any(not holders.issuperset(entry.waiting) for entry in standing.decided):
        raise StorageError(f"{name}: expected its holders to confirm them, got others")


def check_links(bodies: Bodies, first: int, rows: np.ndarray) -> None:
    """Check that what follows another record follows an earlier one of the same person.

    Of a provision or a lapse that one left a permit with the same provider, of what was taken an arrival; of a release
    it was held; of an update it provided something.

    Args:
        rows: uint8[N, 16], all rows of the chunk whose first record has index ``first``, decrypted.

    Raises:
        StorageError: the first that does not is named.
    """
    table = rows.view(ROW)[:, 0]
    at = np.flatnonzero(_FOLLOWS[table["kind"]])
    links = links_of(table[at])
    wrong = np.flatnonzero((links < 0) | (links >= first + at))
    if len(wrong):
        raise StorageError(f"record {first + int(at[wrong[0]])}: expected a link to an earlier record, got another")
    order = np.argsort(links, kind="stable")
    at, links = at[order], links[order]
    linked, kept = _read_linked(bodies, links)
    own, linked, at = table[at[kept]], linked[kept], at[kept]
    wrong = np.flatnonzero(own["person"] != linked["person"])
    if len(wrong):
        at_fault = first + int(at[wrong[0]])
        raise StorageError(f"record {at_fault}: expected a link to a record of the same person, got another's")
    released = own["kind"] == Kind.RELEASE
    left = np.isin(linked["kind"], (Kind.INQUIRY, Kind.RELEASE)) & (linked["outcome"] == Status.OK)
    held = (linked["kind"] == Kind.INQUIRY) & (linked["outcome"] == Status.HELD)
    sent = np.isin(linked["kind"], (Kind.PUSH, Kind.UPDATE)) & (linked["outcome"] == Status.OK)
    fits = np.select((released, own["kind"] == Kind.TAKEN), (held, sent), left)
    fits &= own["provider"] == linked["provider"]
    wrong = np.flatnonzero(_OF_PERMIT[own["kind"]] & ~fits)
    if len(wrong):
        at_fault = first + int(at[wrong[0]])
        raise StorageError(f"record {at_fault}: expected a link to what it answers, got another")
    provided = (linked["kind"] == Kind.PROVISION) & (linked["outcome"] == Status.PROVIDED)
    pushed = (linked["kind"] == Kind.PUSH) & (linked["outcome"] == Status.OK)
    wrong = np.flatnonzero((own["kind"] == Kind.UPDATE) & ~provided & ~pushed)
    if len(wrong):
        at_fault = first + int(at[wrong[0]])
        raise StorageError(f"record {at_fault}: expected a link to what it corrects, got another")


def _read_linked(
    bodies: Bodies, links: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.intp]]:
    """The rows (``ROW``[N]) of some records (int64[N], ascending), and which of them were not erased."""
    linked = np.zeros(len(links), dtype=ROW)
    kept = np.zeros(len(links), dtype=np.bool_)
    few: list[int] = []
    begin = 0
    while begin < len(links):
        link = int(links[begin])
        end = begin + 1
        # Of an erased chunk there may be nothing left that says how long it was.
        if not bodies.is_erased(link):
            chunk = bodies.locate(link).chunk
            end = begin + int(np.searchsorted(links[begin:], chunk.first + chunk.rows))
            if end - begin <= _FEW:
                few += range(begin, end)
            else:
                rows = bodies.whole(chunk.first)[1].view(ROW)[:, 0]
                linked[begin:end] = rows[links[begin:end] - chunk.first]
                kept[begin:end] = True
        begin = end
    if few:
        linked[few] = bodies.rows(links[few].tolist())
        kept[few] = True
    return linked, np.flatnonzero(kept)


def _read(snapshot: Snapshot, bodies: Bodies, index: int, name: str) -> Stood | None:
    if index >= snapshot.state.records:
        raise StorageError(f"{name}: expected a record of the log, found none")
    return None if bodies.is_erased(index) else read_stood(bodies, index)


def _items(
    snapshot: Snapshot, name: str, first: bytes = b"", below: bytes | None = None
) -> Iterator[tuple[bytes, bytes]]:
    while True:
        items = snapshot.items(name, first, below, limit=_AT_A_TIME)
        for key, value in items:
            yield key, bytes(value)
        if len(items) < _AT_A_TIME:
            return
        first = items[-1][0] + b"\0"
