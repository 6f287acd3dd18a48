"""Compares the flags of people with the events that tell of them."""

from __future__ import annotations

from collections.abc import Iterator

from hub.aliases import NOBODY
from hub.errors import StorageError
from hub.protection.flags import read_flagged
from hub.protection.withholding import Office
from hub.records.events import EventKind, ToldFlag, read_told
from hub.storage.snapshot import Snapshot

_OF_LINKAGE = (EventKind.SUSPENDED, EventKind.RESUMED)
_KINDS = (EventKind.FLAGGED, EventKind.UNFLAGGED, *_OF_LINKAGE)
_AT_A_TIME = 1_000


def check_flags(snapshot: Snapshot, office: Office) -> None:
    """Check that everybody is flagged, and suspended, as the last event of that person and institution says.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    catalog = office.catalog()
    told: dict[tuple[int, int], int] = {}
    numbers: dict[str, int] = {}
    for number, event in _events(snapshot, office):
        everybody = event.kind in _OF_LINKAGE and event.person == NOBODY
        if event.person >= snapshot.state.persons and not everybody:
            raise StorageError(f"event {number}: expected a person that there is, got another")
        if event.institution not in numbers:
            numbers[event.institution] = catalog.institution(event.institution).number
        told[event.person, numbers[event.institution]] = event.flags
    stored = read_flagged(snapshot).entries()
    if stored != {place: flags for place, flags in told.items() if flags}:
        raise StorageError("flagged: expected everybody's flags as their events say, got others")


def _events(snapshot: Snapshot, office: Office) -> Iterator[tuple[int, ToldFlag]]:
    after = 0
    while some := list(read_told(snapshot, office.vault, after, _AT_A_TIME)):
        yield from ((number, event) for number, _, event in some if event is not None and event.kind in _KINDS)
        after = some[-1][0]
