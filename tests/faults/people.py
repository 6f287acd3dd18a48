"""A life of persons that may be killed anywhere: merged, told dead, split, taken back, their towns succeeded, in turn.

As ``lives.py`` of aliases: the process that works keeps a journal, whose disk is a good one, and whoever opens the
folder later holds it against the journal.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.persons.deaths import all_deaths
from hub.persons.merges import NOBODY, lives_of
from hub.records.events import EventKind

POPULATION = 60
CODES = [f"{91_000_000_000 + number:011}" for number in range(POPULATION)]
DAY = dt.date(2026, 1, 1)
TWO = {"clerk": "one", "second_clerk": "another", "reason": "a life"}
SUCCESSIONS = 4
STEPS = ("begin", "merge", "deaths", "merge", "split", "alive", "succeed", "merge", "correct", "split")


@dataclass
class Journal:
    """What a process knows: its step, whether it was begun and not acknowledged, and how persons stand.

    Attributes:
        pairs: (keep, gone), merged in this order. dead: person -> days since 1970. succeeded: how many towns.
        told: how many events of each kind.
    """

    number: int = 0
    begun: bool = False
    pairs: list[list[int]] = field(default_factory=list)
    dead: dict[str, int] = field(default_factory=dict)
    succeeded: int = 0
    told: dict[str, int] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Journal:
        return cls()

    @classmethod
    def read(cls, path: Path) -> Journal:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.with_suffix(".new").write_text(json.dumps(asdict(self)))
        os.replace(path.with_suffix(".new"), path)

    @property
    def step(self) -> str:
        return STEPS[self.number % len(STEPS)]

    def state(self) -> tuple[Any, ...]:
        """What must show of it."""
        told = {kind: count for kind, count in self.told.items() if count}
        return sorted(self.pairs), self.dead, self.succeeded, told

    def after(self, seed: int) -> Journal:
        """How things stand when the step is done, and nothing else."""
        known = Journal(**json.loads(json.dumps(asdict(self))))
        some = self.chosen(seed)
        if self.step == "merge" and some:
            known.pairs.append(some)
            known._tell(EventKind.MERGED)
        elif self.step == "split" and self.pairs:
            known.pairs.pop()
            known._tell(EventKind.SPLIT)
        elif self.step in ("deaths", "correct") and some:
            known.dead |= {str(person): day_of(self, seed) for person in some}
            known._tell(EventKind.DIED)
        elif self.step == "alive" and some:
            known.dead = {key: day for key, day in self.dead.items() if int(key) not in some}
            known._tell(EventKind.ALIVE)
        elif self.step == "succeed" and self.succeeded < SUCCESSIONS:
            known.succeeded += 1
            known._tell(EventKind.SUCCEEDED)
        return known

    def _tell(self, kind: EventKind) -> None:
        self.told[kind.name] = self.told.get(kind.name, 0) + 1

    def chosen(self, seed: int) -> list[int]:
        """The persons whom the step is about."""
        rng = np.random.default_rng([seed, self.number])
        merged = {person for pair in self.pairs for person in pair}
        if self.step in ("alive", "correct"):
            some = sorted(int(key) for key in self.dead)
            return [int(one) for one in some[: max(1, len(some) // 2)]]
        free = [one for one in range(POPULATION) if one not in merged and str(one) not in self.dead]
        count = 2 if self.step == "merge" else 4
        # A long life comes to its end: nobody is left to be merged or to die.
        return rng.choice(free, count, replace=False).tolist() if len(free) >= count else []


def day_of(known: Journal, seed: int) -> int:
    return (DAY - dt.date(1970, 1, 1)).days + known.number % 300


def date_of(known: Journal, seed: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(day_of(known, seed))


def perform(h: hub.Hub, known: Journal, seed: int) -> None:
    """Do the journal's step, perhaps not for the first time."""
    some = known.chosen(seed)
    codes = [CODES[one] for one in some]
    towns = [body.code for body in h.catalog.institutions("市町村長")]
    if known.step == "begin":
        for place, body in enumerate(("nenkin", "portal", *towns[:4])):
            h.acquire(body, CODES[place % 3 :: 1 + place % 2])
    elif known.step == "merge" and some:
        h.merge("jlis", *codes, **TWO)
    elif known.step == "split" and known.pairs:
        h.split("jlis", *(CODES[one] for one in known.pairs[-1]), **TWO)
    elif known.step == "deaths" and some:
        h.deaths("jlis", codes, date_of(known, seed))
    elif known.step == "correct" and some:
        h.deaths("jlis", codes, date_of(known, seed), correct=True, clerk="one", second_clerk="another")
    elif known.step == "alive" and some:
        h.alive("jlis", codes, **TWO)
    elif known.step == "succeed" and known.succeeded < SUCCESSIONS:
        h.succeed([towns[known.succeeded]], towns[-1], DAY, **TWO)
    known.__dict__.update(known.after(seed).__dict__)


def run_lives(
    path: Path, seed: int, stop: int | None, tell: Callable[[str], Any], attempt: Callable[..., Any]
) -> None:
    """Go on where the journal is, to ``stop`` or until killed; ``attempt`` does each step."""
    known = Journal.read(path) if path.exists() else Journal.new()
    while stop is None or known.number < stop:
        known.begun = True
        known.write(path)
        tell("started")
        attempt(lambda h, known=known: perform(h, known, seed))
        known.number, known.begun = known.number + 1, False
        known.write(path)
        tell("done")


def seen(h: hub.Hub) -> tuple[Any, ...]:
    """What shows, as :meth:`Journal.state`."""
    with h._store.snapshot() as snapshot:
        lives, deaths = lives_of(snapshot), all_deaths(snapshot)
        if not snapshot.state.persons:
            return [], {}, 0, {}
        # The first acquisition numbers them in its order; nobody else is acquired.
        numbers = {}
        for place, code in enumerate(CODES):
            try:
                numbers[h._merging.person_of(snapshot, h._pseudonym(code))] = place
            except hub.errors.RequestError:
                continue
        pairs = [[numbers[life.into], numbers[one]] for one, life in lives.items() if life.into != NOBODY]
        dead = {str(numbers[person]): day for person, (day, _, _) in deaths.items()}
    told: Counter[str] = Counter()
    after = 0
    while events := h.events(after=after):
        told.update(event.kind.name for event in events)
        after = events[-1].number
    return sorted(pairs), dead, len(h.successions()), dict(told)


def check(h: hub.Hub, known: Journal, seed: int) -> str:
    """Hold a folder against a journal; returns whether the step under way did ``nothing`` or was ``whole``.

    Raises:
        AssertionError: something that was told is lost, a step is there in part, or was recorded twice.
    """
    report = h.verify()
    assert report.ok, report.problems
    found, before, after = seen(h), known.state(), known.after(seed).state()
    if not known.begun:
        assert found == before
        return "acknowledged"
    if before == after:
        return "whole"
    assert found in (before, after), f"step {known.step}: expected the state before or after"
    return "whole" if found == after else "nothing"
