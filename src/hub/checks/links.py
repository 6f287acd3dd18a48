"""Compares tickets with what stands beside them, and links with the records and events that tell of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hub.acquisition.claims import CLAIMS, KEY_BYTES, LINKED, Link, read_claim, read_link
from hub.acquisition.tickets import ALREADY, CLAIMED, CREATED, HELD, Draw, read_draws
from hub.aliases import NOBODY
from hub.errors import StorageError
from hub.messages import Differs, Kind
from hub.persons.merges import lives_of
from hub.protection.withholding import Office
from hub.records.bodies import Bodies
from hub.records.events import EventKind, ToldLink, read_told_as
from hub.records.handles import Stood, read_stood
from hub.storage.snapshot import Snapshot

_KINDS = {EventKind.LINK_CONFIRMED: Kind.LINK_CONFIRMED, EventKind.LINK_REPLACED: Kind.LINK_REPLACED}
_AT_A_TIME = 1_000
_ALL = sum(Differs)


def check_tickets(snapshot: Snapshot, office: Office) -> None:
    """Check tickets, claims and links against each other, and links against records and events.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    claims = {key: value for key, value in _items(snapshot, CLAIMS) if len(key) == KEY_BYTES}
    links = {key: read_link(office.vault, key, value) for key, value in _items(snapshot, LINKED)}
    bodies = office.bodies(snapshot)
    merged = _merged(snapshot)
    codes: dict[int, str] = {}
    for number, draw in read_draws(snapshot):
        delivered = (draw.states == CREATED) | (draw.states == ALREADY)
        right = np.where(delivered, draw.persons < snapshot.state.persons, draw.persons == NOBODY)
        if not right.all() or (draw.states > CLAIMED).any():
            raise StorageError(f"tickets: expected a person for each delivered, found another in draw {number}")
        if draw.institution not in codes:
            codes[draw.institution] = office.catalog().institution_by_number(draw.institution).code
        prefix = number.to_bytes(8, "big")
        for position in np.flatnonzero(draw.states == CLAIMED).tolist():
            key = prefix + position.to_bytes(2, "big")
            if key not in claims:
                raise StorageError(f"{CLAIMS}: expected the claim of a ticket of draw {number}, found none")
            read_claim(office.vault, key, claims.pop(key))
        for position in np.flatnonzero((draw.states == HELD) | delivered).tolist():
            link = links.pop(prefix + position.to_bytes(2, "big"), None)
            if link is None and draw.states[position] == HELD:
                raise StorageError(f"{LINKED}: expected how a held ticket of draw {number} stands, found nothing")
            if link is not None:
                _check_link(bodies, snapshot.state.records, draw, position, link, codes[draw.institution], merged)
    for name, rest in ((CLAIMS, claims), (LINKED, links)):
        if rest:
            raise StorageError(f"{name}: expected those of tickets that say so, found another")
    _check_events(snapshot, office, bodies)


def _merged(snapshot: Snapshot) -> set[int]:
    """Persons who were ever one with another: by number it cannot be told whether two of them are one."""
    lives = lives_of(snapshot)
    return {one for person, life in lives.items() for one in (person, *(merge.gone for merge in life.merges))}


def _check_link(
    bodies: Bodies, records: int, draw: Draw, position: int, link: Link, code: str, merged: set[int]
) -> None:
    if not 0 <= link.differs <= _ALL:
        raise StorageError(f"{LINKED}: expected some of four attributes, found another")
    if draw.states[position] == HELD:
        if len(link.pseudonym) != 16 or not link.differs or link.confirmed or link.replaced:
            raise StorageError(f"{LINKED}: expected a held ticket to wait for a clerk, found another state")
        return
    if link.pseudonym or not (link.confirmed or link.replaced) or bool(link.differs) != bool(link.confirmed):
        raise StorageError(f"{LINKED}: expected what was confirmed or replaced, found another state")
    for after, kind in ((link.confirmed, Kind.LINK_CONFIRMED), (link.replaced, Kind.LINK_REPLACED)):
        record = _read(bodies, records, after - 1, code, kind) if after else None
        if record is None or not merged.isdisjoint((record.person, int(draw.persons[position]))):
            continue
        if (record.person == draw.persons[position]) != (kind == Kind.LINK_CONFIRMED):
            raise StorageError(f"{LINKED}: expected record {record.index} to be about another person")


def _check_events(snapshot: Snapshot, office: Office, bodies: Bodies) -> None:
    """Every confirmation and replacement that an event tells of is a record of the same institution."""
    for number, link, event in read_told_as(snapshot, office.vault, ToldLink, _KINDS):
        if event.person >= snapshot.state.persons or not event.alias:
            raise StorageError(f"event {number}: expected a person and an alias, got another")
        record = _read(bodies, snapshot.state.records, link - 1, event.institution, _KINDS[event.kind])
        same = event.kind == EventKind.LINK_CONFIRMED
        if record is not None and ((record.person == event.person) != same or record.shared.remark != event.ground):
            raise StorageError(f"event {number}: expected the record that it tells of, found another")


def _read(bodies: Bodies, records: int, index: int, code: str, kind: Kind) -> Stood | None:
    """The record of a link; None where it was erased."""
    if not 0 <= index < records:
        raise StorageError(f"{LINKED}: expected a record of the log, found none")
    if bodies.is_erased(index):
        return None
    record = read_stood(bodies, index)
    if record.kind != kind or record.shared.requester != code:
        raise StorageError(f"{LINKED}: expected record {index} to tell of it, found another")
    return record


def _items(snapshot: Snapshot, name: str) -> Iterator[tuple[bytes, bytes]]:
    first = b""
    while items := snapshot.items(name, first, limit=_AT_A_TIME):
        yield from ((key, bytes(value)) for key, value in items)
        first = items[-1][0] + b"\0"
