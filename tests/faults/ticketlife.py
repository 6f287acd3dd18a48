"""A life of links that may be killed anywhere: claimed, compared, held, confirmed, replaced, closed, in turn.

As ``lives.py``, whose journal and checks this follows: what was told holds, and a step that was under way is there
whole or not at all. A comparison is three transactions of which each is whole: what differs is held, aliases, tickets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from nacl.public import PrivateKey

import hub
from hub.aliases import RESIDENT_CODES, find_aliases, find_persons
from hub.messages import Acquisition, Status

POPULATION = 120
CODES = np.arange(2 * POPULATION, dtype=np.int64) + 91_000_000_000
"""Of the people whom files are about, and of as many others whose aliases stand on them by mistake."""

TOWN = "131016"
PUBLIC_KEY = bytes(PrivateKey(bytes(range(32))).public_key)
STEPS = ("draw", "claim", "compare", "confirm", "mislink", "replace", "close")
REASON = "行ずれ"
_DONE = {int(Acquisition.CREATED), int(Acquisition.ALREADY)}


@dataclass
class Journal:
    """What a process knows: the step that it is at, and what the hub has told so far.

    Attributes:
        number: of the step. begun: whether it was begun and not acknowledged.
        theirs: uint8[2 P, 16], each person's alias at the town, zeros for none. counts: records and events.
        tickets: uint8[T, 16], the last that were drawn. old: uint8[T, 16], the aliases that stand on those files.
        ended: uint8[M, 16], aliases that were replaced.
    """

    number: np.ndarray
    begun: np.ndarray
    theirs: np.ndarray
    counts: np.ndarray
    tickets: np.ndarray
    old: np.ndarray
    ended: np.ndarray

    @classmethod
    def new(cls) -> Journal:
        nothing = np.zeros((0, 16), np.uint8)
        zeros = np.zeros((2 * POPULATION, 16), np.uint8)
        return cls(np.array(0), np.array(False), zeros, np.zeros(2, np.int64), nothing, nothing, nothing)

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

    def rows(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The people of this round, what of each differs, and whose alias stands on each file by mistake."""
        rng = np.random.default_rng([seed, int(self.number) // len(STEPS)])
        people = np.sort(rng.choice(POPULATION, int(rng.integers(4, POPULATION // 2)), replace=False))
        masks = np.where(rng.random(len(people)) < 0.4, rng.integers(1, 16, len(people)), 0).astype(np.uint8)
        masks[:2] = 0, 5
        # One half slipped by a row, the other has strangers' aliases.
        half = len(people) // 2
        wrong = np.concatenate((people[1 : half + 1], people[half:] + POPULATION))
        return people, masks, wrong


def perform(h: hub.Hub, known: Journal, seed: int) -> None:
    """Do the journal's step, perhaps not for the first time, and take its answer into the journal."""
    people, masks, wrong = known.rows(seed)
    step, tickets = known.step, known.tickets
    held = np.ascontiguousarray(tickets[masks != 0]) if len(tickets) == len(masks) else tickets
    if step == "draw":
        h.register_key("jlis", PUBLIC_KEY)
        known.tickets = h.tickets(TOWN, len(people))
    elif step == "claim":
        h.claim(TOWN, tickets, [hub.seal_payload(PUBLIC_KEY, bytes(256)) for _ in people], clerk="first")
    elif step == "compare":
        h.deliver("jlis", tickets, CODES[people], masks)
        answer = h.acquired(TOWN, tickets)
        assert ((answer.status == Acquisition.HELD) == (masks != 0)).all()
        assert (answer.differs == masks).all()
    elif step == "confirm":
        answer = h.confirm_links(TOWN, held, clerk="second", reason=REASON)
        assert set(answer.status.tolist()) <= _DONE
    elif step == "mislink":
        known.old = h.acquire(TOWN, CODES[wrong]).aliases
    elif step == "replace":
        answer = h.replace_links(TOWN, tickets, known.old, clerk="second", reason=REASON)
        again = h.replace_links(TOWN, tickets, known.old, clerk="second", reason=REASON)
        assert (answer.aliases == again.aliases).all()
        assert answer.status.tolist() == again.status.tolist()
        known.ended = np.concatenate((known.ended, known.old))
    else:
        assert h.close_tickets(TOWN, tickets) in (0, len(tickets))
    known.theirs, known.counts = holders(h), counts(h)


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


def holders(h: hub.Hub) -> np.ndarray:
    """Each person's alias at the town, zeros for none; nobody gets one by this."""
    number, workers = h.catalog.institution(TOWN).number, h._workers
    pseudonyms = h._store.keys.pseudonyms(hub._columns.code_blocks(CODES, 10**11)[0])
    with h._store.snapshot() as snapshot:
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)[0]
        return find_aliases(snapshot, number, persons, workers)[0]


def counts(h: hub.Hub) -> np.ndarray:
    """Records and events."""
    with h._store.snapshot() as snapshot:
        events = snapshot.txn.stat(h._store.databases["events"])["entries"]
        return np.array([snapshot.state.records, events], np.int64)


def statuses(h: hub.Hub, aliases: np.ndarray) -> set[int]:
    """What the town's aliases answer."""
    with h._store.snapshot() as snapshot:
        return set(find_persons(snapshot, h.catalog.institution(TOWN).number, aliases, h._workers)[2].tolist())


def check(h: hub.Hub, known: Journal, seed: int) -> str:
    """Hold a folder against a journal; returns whether the step under way did ``nothing``, ``part`` or was ``whole``.

    Raises:
        AssertionError: something that was told is lost, or a transaction is there in part.
    """
    report = h.verify()
    assert report.ok, report.problems
    assert not len(known.ended) or statuses(h, known.ended) == {Status.REVOKED}
    now, (records, events) = holders(h), (counts(h) - known.counts).tolist()
    moved = np.flatnonzero((now != known.theirs).any(axis=1)).tolist()
    if not known.begun:
        assert (moved, records, events) == ([], 0, 0)
        return "acknowledged"
    people, masks, wrong = known.rows(seed)
    step, rest = known.step, people[masks == 0]
    if step in ("draw", "mislink"):
        assert (records, events) in ((0, 0), (0, 1))
        assert set(moved) <= set(wrong.tolist())
        return "whole" if moved or events else "nothing"
    answer = h.acquired(TOWN, known.tickets)
    held, others = set(answer.status[masks != 0].tolist()), set(answer.status[masks == 0].tolist())
    if step == "claim":
        sealed = {one is not None for one in h.claims("jlis", known.tickets).sealed}
        assert len(sealed) == 1
        assert (moved, records, events) == ([], 0, 0)
        return "whole" if sealed == {True} else "nothing"
    if step == "compare":
        assert (len(held), records) == (1, 0)
        assert (held == {Acquisition.HELD}) == (events == 1), (held, others, events)
        assert moved in ([], [row for row in rest.tolist() if not known.theirs[row].any()])
        assert others == {Acquisition.WAITING} or (others <= _DONE and held == {Acquisition.HELD})
        return "whole" if others <= _DONE else "part" if events else "nothing"
    if step == "confirm":
        whole = held <= _DONE
        n = int(np.count_nonzero(masks))
        assert whole or held == {Acquisition.HELD}
        assert (records, events) == ((n, n) if whole else (0, 0))
        gets = [row for row in people[masks != 0].tolist() if not known.theirs[row].any()]
        assert moved == (gets if whole else [])
    elif step == "replace":
        # The old one and the new one: both or none.
        whole = statuses(h, known.old) == {Status.REVOKED}
        assert whole or statuses(h, known.old) == {Status.OK}
        n = len(people)
        assert (records, events) == ((2 * n, n) if whole else (0, 0))
        assert moved == (sorted(wrong.tolist()) if whole else [])
        assert not whole or (now[people].any(axis=1).all() and not now[wrong[wrong >= POPULATION]].any())
        assert (answer.aliases == now[people]).all()
    else:
        whole = held | others == {Acquisition.NONE}
        assert (moved, records, events) == ([], 0, 0)
        assert whole or held | others <= _DONE
    return "whole" if whole else "nothing"
