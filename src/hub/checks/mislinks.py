"""Compares reports of wrong links with the events that tell of them and with their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hub.errors import StorageError
from hub.messages import Kind
from hub.mislinks.state import NAME, NOTIFIED, parse_state
from hub.protection.withholding import Office
from hub.records.events import EventKind, read_told
from hub.records.handles import read_stood
from hub.storage.snapshot import Snapshot

_KINDS = (EventKind.MISLINK_RECORDED, EventKind.MISLINK_NOTIFIED, EventKind.MISLINK_DRAFTED)
_AT_A_TIME = 1_000


def check_mislinks(snapshot: Snapshot, office: Office) -> None:
    """Check that reports stand as their events say, and that their records tell of them.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    told = _told(snapshot, office)
    bodies = office.bodies(snapshot)
    for key, value in _items(snapshot):
        period, step, state = parse_state(key, value, office.vault)
        if state is None:
            continue
        name = f"report of a wrong link, records {state.records}"
        if not 1 <= len(state.records) <= 2 or max(state.records) >= snapshot.state.records:
            raise StorageError(f"{NAME}: expected a record about each citizen, got others")
        events = [told.pop((index, EventKind.MISLINK_RECORDED), 0) for index in state.records]
        after = [
            told.pop((state.records[0], kind), 0) for kind in (EventKind.MISLINK_NOTIFIED, EventKind.MISLINK_DRAFTED)
        ]
        if events != [1] * len(events) or after != [int(step == NOTIFIED)] * 2:
            raise StorageError(f"{name}: expected it to stand as its events say, got another state")
        if step == NOTIFIED and state.portal + state.otherwise != len(state.records):
            raise StorageError(f"{name}: expected each citizen to be counted, got others")
        for index in state.records:
            if bodies.is_erased(index):
                continue
            record = read_stood(bodies, index)
            if (record.kind, record.period, record.shared.requester) != (Kind.MISLINK, period, state.institution):
                raise StorageError(f"{name}: expected records that tell of it, got others")
    for index, _ in told:
        raise StorageError(f"report of a wrong link, record {index}: expected it as its events say, found none")


def _told(snapshot: Snapshot, office: Office) -> Counter[tuple[int, int]]:
    """(index of a record, kind) -> how many events of reports that can still be read."""
    told: Counter[tuple[int, int]] = Counter()
    after = 0
    while some := list(read_told(snapshot, office.vault, after, _AT_A_TIME)):
        for _, link, event in some:
            if event is not None and event.kind in _KINDS:
                told[link - 1, int(event.kind)] += 1
        after = some[-1][0]
    return told


def _items(snapshot: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    first = b""
    while items := snapshot.items(NAME, first, limit=_AT_A_TIME):
        yield from ((key, bytes(value)) for key, value in items)
        first = items[-1][0] + b"\0"
