"""Compares who is who, who has died and who succeeded whom with the events, records and alias tables they stand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hub.aliases import CLOSED, NOBODY, RESIDENT_CODES, find_aliases, find_persons
from hub.errors import StorageError
from hub.messages import Kind, Status
from hub.persons.deaths import NAME as DEATHS
from hub.persons.deaths import all_deaths, entered_after
from hub.persons.merges import NAME as PERSONS
from hub.persons.merges import Lives, Merge, aliases_of, read_lives
from hub.persons.successions import NAME as SUCCESSIONS
from hub.persons.successions import successions_of
from hub.protection.withholding import Office
from hub.records.events import EventKind, ToldFlag, read_told
from hub.records.handles import read_stood
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

_KINDS = (EventKind.MERGED, EventKind.SPLIT, EventKind.DIED, EventKind.ALIVE, EventKind.SUCCEEDED)
_AT_A_TIME = 1_000
_ALONE = Workers(1)


def check_lives(snapshot: Snapshot, office: Office) -> None:
    """Check merged persons, deaths and successions.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    told = list(_events(snapshot, office))
    _check_persons(snapshot, told)
    _check_deaths(snapshot, office, told)
    _check_successions(snapshot, office, told)


def _events(snapshot: Snapshot, office: Office) -> Iterator[tuple[int, ToldFlag]]:
    after = 0
    while some := list(read_told(snapshot, office.vault, after, _AT_A_TIME)):
        yield from ((number, event) for number, _, event in some if event is not None and event.kind in _KINDS)
        after = some[-1][0]


def _check_persons(snapshot: Snapshot, told: list[tuple[int, ToldFlag]]) -> None:
    lives = read_lives(snapshot)
    merged = {number: event.person for number, event in told if event.kind == EventKind.MERGED}
    split = Counter(event.person for _, event in told if event.kind == EventKind.SPLIT)
    for person, life in lives.items():
        for merge in life.merges:
            if merged.pop(merge.event, None) != merge.gone:
                raise StorageError(f"{PERSONS}: expected a merge as event {merge.event} says, got another")
            if merge.until:
                split[merge.gone] -= 1
            _check_merge(snapshot, lives, person, merge)
        if life.into != NOBODY:
            _check_gone(snapshot, lives, person, life.into)
    if merged or any(split.values()):
        raise StorageError(f"{PERSONS}: expected the merges and splits that events tell of, got others")


def _check_merge(snapshot: Snapshot, lives: Lives, person: int, merge: Merge) -> None:
    fits = merge.since <= (merge.until or snapshot.state.records) <= snapshot.state.records
    stands = lives.life(merge.gone).into == person
    # Of one that was split the gone person may have been merged again.
    if not fits or (not merge.until and not stands):
        raise StorageError(f"{PERSONS}: expected merge of event {merge.event} to stand as both say, got otherwise")


def _check_gone(snapshot: Snapshot, lives: Lives, person: int, into: int) -> None:
    """Whoever is merged into another is known to no institution, and their resident code leads to the other."""
    if sum(merge.gone == person and not merge.until for merge in lives.life(into).merges) != 1:
        raise StorageError(f"{PERSONS}: expected one merge of each who is gone, got another number")
    if aliases_of(snapshot, person):
        raise StorageError(f"{PERSONS}: expected no alias of one who is gone, found some")
    code, none = find_aliases(snapshot, RESIDENT_CODES, np.array([person], dtype=np.uint32), _ALONE)
    found = find_persons(snapshot, RESIDENT_CODES, code, _ALONE)[0]
    if none[0] or int(found[0]) != lives.now(person):
        raise StorageError(f"{PERSONS}: expected the code of one who is gone to lead to the other, got another")


def _check_deaths(snapshot: Snapshot, office: Office, told: list[tuple[int, ToldFlag]]) -> None:
    deaths = all_deaths(snapshot)
    count = 0
    for _, event in told:
        ground = (event.ground or "").replace(":", " ").split()
        if event.kind == EventKind.DIED and ground[1:2] == ["told"]:
            count += int(ground[0])
        elif event.kind == EventKind.ALIVE:
            count -= int(ground[0])
    if count != len(deaths):
        raise StorageError(f"{DEATHS}: expected {count} as events tell, got {len(deaths)}")
    entered: dict[int, int] = {}
    number = 0
    while some := entered_after(snapshot, number, _AT_A_TIME):
        for number, persons in some:
            entered |= dict.fromkeys(persons.tolist(), number)
    if entered != {person: commit for person, (_, commit, _) in deaths.items()}:
        raise StorageError(f"{DEATHS}: expected those whom commits entered, got others")
    bodies = office.bodies(snapshot)
    for person, (_, _, index) in deaths.items():
        if index >= snapshot.state.records:
            raise StorageError(f"{DEATHS}: expected a record of the log, found none")
        if bodies.is_erased(index):
            continue
        record = read_stood(bodies, index)
        if (record.person, record.kind, record.outcome) != (person, Kind.DIED, Status.OK):
            raise StorageError(f"{DEATHS}: expected record {index} to tell of it, got another")
    _check_closed(snapshot, office, list(deaths))


def _check_closed(snapshot: Snapshot, office: Office, persons: list[int]) -> None:
    """The portal aliases of the dead are closed."""
    portal = office.catalog().institution("portal").number
    lives = read_lives(snapshot)
    now = lives.current(np.array(persons, dtype=np.uint32))
    aliases, none = find_aliases(snapshot, portal, now, _ALONE)
    flags = find_persons(snapshot, portal, np.ascontiguousarray(aliases[none == 0]), _ALONE)[1]
    if (flags & CLOSED == 0).any():
        raise StorageError(f"{DEATHS}: expected the portal aliases of the dead to be closed, got an open one")


def _check_successions(snapshot: Snapshot, office: Office, told: list[tuple[int, ToldFlag]]) -> None:
    catalog = office.catalog()
    said = {
        code: event.institution
        for _, event in told
        if event.kind == EventKind.SUCCEEDED
        for code in (event.ground or "").split(":")[0].split(", ")[:-1]
    }
    found = successions_of(snapshot).items()
    stored = {
        catalog.institution_by_number(old).code: catalog.institution_by_number(new).code
        for old, (new, _) in found.items()
    }
    if stored != said:
        raise StorageError(f"{SUCCESSIONS}: expected those that events tell of, got others")
