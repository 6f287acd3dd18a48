"""A life of aliases that may be killed anywhere: acquired, reissued, delivered on tickets, closed, revoked, in turn.

The process that works keeps a journal, whose disk is a good one: what it was about to do, with all that the hub told
it before, and what it had been told when that was done. Whoever opens the folder later holds it against the journal.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.aliases import RESIDENT_CODES, find_aliases, find_persons
from hub.messages import Acquisition, Status

POPULATION = 400
CODES = np.arange(POPULATION, dtype=np.int64) + 90_000_000_000
MINE, THEIRS = "nenkin", "131016"
STEPS = ("acquire", "reissue", "tickets", "deliver", "close", "revoke")


@dataclass
class Journal:
    """What a process knows: the step that it is at, and what the hub has told so far.

    Attributes:
        number: of the step. begun: whether it was begun and not acknowledged.
        mine, theirs: uint8[P, 16], each person's alias at the two institutions, zeros for none.
        ended: uint8[M, 16], aliases of MINE that were reissued or revoked.
        tickets: uint8[T, 16], the last that were drawn, for the persons ``people``.
    """

    number: np.ndarray
    begun: np.ndarray
    mine: np.ndarray
    theirs: np.ndarray
    ended: np.ndarray
    tickets: np.ndarray
    people: np.ndarray

    @classmethod
    def new(cls) -> Journal:
        zeros = np.zeros((POPULATION, 16), np.uint8)
        nothing = np.zeros((0, 16), np.uint8)
        return cls(np.array(0), np.array(False), zeros, zeros.copy(), nothing, nothing, np.zeros(0, np.int64))

    @classmethod
    def read(cls, path: Path) -> Journal:
        with np.load(path) as found:
            return cls(*(found[field.name] for field in fields(cls)))

    def write(self, path: Path) -> None:
        with open(path.with_suffix(".new"), "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        os.replace(path.with_suffix(".new"), path)

    @property
    def step(self) -> str:
        return STEPS[int(self.number) % len(STEPS)]

    def rows(self, seed: int) -> np.ndarray:
        """The persons whom the step is about."""
        rng = np.random.default_rng([seed, int(self.number)])
        chosen = np.sort(rng.choice(POPULATION, int(rng.integers(1, POPULATION // 2)), replace=False))
        if self.step in ("reissue", "revoke"):
            return chosen[self.mine[chosen].any(axis=1)]
        return self.people if self.step in ("deliver", "close") else chosen


def perform(h: hub.Hub, known: Journal, seed: int) -> None:
    """Do the journal's step, perhaps not for the first time, and take its answer into the journal."""
    rows, step = known.rows(seed), known.step
    old = known.mine[rows]
    if step == "acquire":
        known.mine[rows] = h.acquire(MINE, CODES[rows]).aliases
    elif step == "reissue":
        answer = h.reissue(MINE, old)
        assert len(set(answer.status.tolist()) | {Acquisition.NONE}) <= 2, "a reissue was done in part"
        assert (answer.status != Acquisition.NONE).all()
        known.mine[rows] = answer.aliases
    elif step == "tickets":
        known.tickets, known.people = h.tickets(THEIRS, len(rows)), rows
    elif step == "deliver":
        assert h.deliver("jlis", known.tickets, CODES[rows]).rows == len(rows)
        answer = h.acquired(THEIRS, known.tickets)
        assert set(answer.status.tolist()) <= {Acquisition.CREATED, Acquisition.ALREADY}
        known.theirs[rows] = answer.aliases
    elif step == "close":
        assert h.close_tickets(THEIRS, known.tickets) in (0, len(rows))
        assert not h.acquired(THEIRS, known.tickets).status.any()
    else:
        assert h.revoke(MINE, old) in (0, len(rows))
        known.mine[rows] = 0
    if step in ("reissue", "revoke"):
        known.ended = np.concatenate((known.ended, old))


def run_lives(
    path: Path, seed: int, stop: int | None, tell: Callable[[str], Any], attempt: Callable[..., Any]
) -> None:
    """Go on where the journal is, to ``stop`` or until killed; ``attempt`` does each step."""
    known = Journal.read(path) if path.exists() else Journal.new()
    while stop is None or known.number < stop:
        known.begun = np.array(True)
        known.write(path)
        tell("started")
        attempt(lambda h, known=known: perform(h, known, seed))
        known.number, known.begun = known.number + 1, np.array(False)
        known.write(path)
        tell("done")


def holders(h: hub.Hub, institution: str) -> np.ndarray:
    """Each person's alias at an institution, zeros for none; nobody gets one by this."""
    number, workers = h.catalog.institution(institution).number, h._workers
    pseudonyms = h._store.keys.pseudonyms(hub._columns.code_blocks(CODES, 10**11)[0])
    with h._store.snapshot() as snapshot:
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)[0]
        return find_aliases(snapshot, number, persons, workers)[0]


def statuses(h: hub.Hub, aliases: np.ndarray) -> set[int]:
    """What MINE's aliases answer."""
    with h._store.snapshot() as snapshot:
        return set(find_persons(snapshot, h.catalog.institution(MINE).number, aliases, h._workers)[2].tolist())


def check(h: hub.Hub, known: Journal, seed: int) -> str:
    """Hold a folder against a journal; returns whether the step under way did ``nothing`` or was ``whole``.

    Raises:
        AssertionError: something that was told is lost, or a step is there in part.
    """
    report = h.verify()
    assert report.ok, report.problems
    assert not len(known.ended) or statuses(h, known.ended) == {Status.REVOKED}
    mine, theirs = holders(h, MINE), holders(h, THEIRS)
    stats = h.stats()["aliases"]
    assert [stats.get(MINE, 0), stats.get(THEIRS, 0)] == [int(table.any(axis=1).sum()) for table in (mine, theirs)]
    moved_mine = np.flatnonzero((mine != known.mine).any(axis=1)).tolist()
    moved_theirs = np.flatnonzero((theirs != known.theirs).any(axis=1)).tolist()
    rows, step = known.rows(seed), known.step
    if not known.begun:
        assert not moved_mine
        assert not moved_theirs
        return "acknowledged"
    tickets = h.acquired(THEIRS, known.tickets).status.tolist()
    whole = bool(moved_mine or moved_theirs)
    if step == "acquire":
        rows = rows[~known.mine[rows].any(axis=1)]
        assert mine[moved_mine].any(axis=1).all()
    elif step == "reissue" and len(rows):
        assert statuses(h, known.mine[rows]) == {Status.REVOKED if whole else Status.OK}
        assert mine[rows].any(axis=1).all()
    elif step == "revoke" and len(rows):
        assert statuses(h, known.mine[rows]) == {Status.REVOKED if whole else Status.OK}
        assert not mine[moved_mine].any()
    elif step == "deliver":
        rows = rows[~known.theirs[rows].any(axis=1)]
        # Aliases first, then the tickets, which are one value here.
        assert set(tickets) in ({Acquisition.WAITING}, {Acquisition.CREATED}, {Acquisition.ALREADY}) or whole
        assert (Acquisition.WAITING in tickets) != (Acquisition.CREATED in tickets or Acquisition.ALREADY in tickets)
        whole = whole or Acquisition.WAITING not in tickets
    elif step == "close":
        assert (Acquisition.NONE in tickets) != (Acquisition.CREATED in tickets or Acquisition.ALREADY in tickets)
        whole = Acquisition.NONE in tickets
    moved = moved_theirs if step == "deliver" else moved_mine
    assert not (moved_mine if step == "deliver" else moved_theirs)
    assert moved in ([], rows.tolist() if step in ("acquire", "reissue", "revoke", "deliver") else [])
    return "whole" if whole else "nothing"
