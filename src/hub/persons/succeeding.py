"""Succession: municipalities that merge, a society that takes over another; the flags of people go with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from hub.aliases import find_aliases
from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.persons.merging import Words
from hub.persons.successions import Successions, put_succession, successions_of
from hub.protection.flags import put_person, read_person
from hub.protection.withholding import Office
from hub.records.events import EventKind, Told, ToldFlag
from hub.storage.confidential import HUB
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

_EPOCH = dt.date(1970, 1, 1)
_ALONE = Workers(1)


def succeed(office: Office, olds: Sequence[str], new: str, day: dt.date, words: Words) -> None:
    """See ``Hub.succeed``."""
    catalog = office.catalog()
    body = catalog.institution(new)
    bodies = [catalog.institution(code) for code in dict.fromkeys(olds)]
    if not bodies:
        raise RequestError("olds: expected the codes of one or several bodies, got none")
    for old in bodies:
        if old.number == body.number or old.kind != body.kind:
            raise RequestError(f"olds: expected other bodies of the kind {body.kind}, got {old.code}")
    today = dt.datetime.fromtimestamp(office.now(), JAPAN).date()
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime) or day > today:
        raise RequestError(f"day: expected a date up to today, {today}, got another: call when it has come")
    number = (day - _EPOCH).days
    with office.store.writer:
        with office.store.snapshot() as snapshot:
            left = _left(successions_of(snapshot), [(old.number, old.code) for old in bodies], body.number, number)
            stopped = set(office.flagged.of(snapshot).stopped.tolist())
            for old in bodies:
                # It would stop the successor's own people as well, or let theirs go.
                if old.number in left and old.number in stopped:
                    raise RequestError(f"olds: expected bodies whose linkage is not suspended, got {old.code}: resume")
        if left:
            with office.store.commit() as commit, office.store.snapshot() as snapshot:
                for old_number in left:
                    put_succession(commit, old_number, body.number, number)
                    _move_flags(office, commit, snapshot, old_number, body.number, words)
                ground = ", ".join([*(catalog.institution_by_number(old).code for old in left), body.code])
                told = Told(
                    at=office.now(), kind=EventKind.SUCCEEDED, institution=body.code, clerk=words.clerk,
                    second_clerk=words.second_clerk, ground=f"{ground}: {words.reason}",
                )  # fmt: skip
                office.tell(told, commit, HUB)


def _left(known: Successions, olds: list[tuple[int, str]], new: int, day: int) -> list[int]:
    """Of these bodies those that are not succeeded by this one yet.

    Raises:
        RequestError: one was succeeded by another or on another day, or the new one was succeeded itself.
    """
    left = []
    for old, code in olds:
        entry = known.entry(old)
        if entry is None:
            left.append(old)
        elif entry != (new, day):
            raise RequestError(f"olds: expected bodies that are at work, got {code}, which was succeeded already")
    if left and known.entry(new) is not None:
        raise RequestError("new: expected a body that is at work, got one that was succeeded itself")
    return left


def _move_flags(office: Office, commit: Commit, snapshot: Snapshot, old: int, new: int, words: Words) -> None:
    """The successor protects whom the old one protected; it alone can take the flags off from now on.

    The next reader reads all flags again: a succession happens once in a generation.
    """
    catalog = office.catalog()
    codes = {number: catalog.institution_by_number(number).code for number in (old, new)}
    known = office.flagged.of(snapshot)
    persons = sorted(person for person, institution in known.entries() if institution == old)
    for person in persons:
        flags = read_person(commit, person)
        after = {**flags, old: 0, new: flags.get(new, 0) | flags[old]}
        put_person(commit, person, after)
        found, _ = find_aliases(snapshot, old, np.array([person], dtype=np.uint32), _ALONE)
        for number, kind in ((new, EventKind.FLAGGED), (old, EventKind.UNFLAGGED)):
            told = ToldFlag(
                at=office.now(), kind=kind, institution=codes[number], clerk=words.clerk, ground="succession",
                person=person, alias=found[0].tobytes(), flags=after[number],
            )  # fmt: skip
            office.tell(told, commit, HUB)
