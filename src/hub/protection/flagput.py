"""Changes of flags: who of some persons changes, and one durable transaction of them with its events.

For the flags that protect people (``methods/flags.py``) and for linkage that is suspended (``methods/suspension.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.messages import Aliases, Flag
from hub.persons.successions import find_known_persons
from hub.protection.flags import NAME as FLAGGED
from hub.protection.flags import put_person, read_person
from hub.protection.withholding import Office
from hub.records.events import EventKind, ToldFlag
from hub.storage.confidential import HUB
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

Changes = dict[int, tuple[bytes, int]]
"""Person -> (the institution's alias, the flags there afterwards); of NOBODY the alias is empty."""


class Actor(NamedTuple):
    """Who changes flags, and why.

    Attributes:
        institution, number: its code and number. clerk: of it. ground: what was given as the reason, or None.
    """

    institution: str
    number: int
    clerk: str | None
    ground: str | None = None

    def __repr__(self) -> str:
        return "Actor()"


def find_known(snapshot: Snapshot, number: int, rows: Aliases, workers: Workers) -> npt.NDArray[np.uint32]:
    """uint32[N]: the persons of an institution's own aliases, those of bodies that it succeeded included.

    Raises:
        RequestError: an alias is unknown or revoked.
    """
    persons, _, status = find_known_persons(snapshot, number, rows, workers)
    if status.any():
        raise RequestError(f"aliases: expected this institution's own, got {np.count_nonzero(status)} others")
    return persons


def find_changes(
    office: Office, snapshot: Snapshot, number: int, rows: Aliases, chosen: Flag, on: bool, workers: Workers
) -> Changes:
    """Those whose flags at an institution change where these are switched on or off."""
    persons = find_known(snapshot, number, rows, workers)
    before = office.flagged.of(snapshot).flags(persons, number)
    after = before | int(chosen) if on else before & ~np.uint8(int(chosen))
    moved = np.flatnonzero(after != before).tolist()
    return {int(persons[row]): (rows[row].tobytes(), int(after[row])) for row in moved}


def put_changes(office: Office, actor: Actor, changes: Changes, kind: EventKind, at: int) -> None:
    """Make changes durable, all together, each with its event; to be called under the writer's lock.

    Args:
        at: the hub's clock.
    """
    with office.store.snapshot() as snapshot:
        before = office.flagged.of(snapshot)
    with office.store.commit() as commit:
        changed = {}
        # By number: an order that says nothing about the order of the call.
        for person, (alias, flags) in sorted(changes.items()):
            changed[person] = read_person(commit, person) | {actor.number: flags}
            put_person(commit, person, changed[person])
            told = ToldFlag(
                at=at, kind=kind, institution=actor.institution, clerk=actor.clerk, ground=actor.ground,
                person=person, alias=alias, flags=flags,
            )  # fmt: skip
            office.tell(told, commit, HUB)
        office.flagged.add(before.changed(commit.state.sums.get(FLAGGED, 0), changed))
