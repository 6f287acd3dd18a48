"""Random days at an institution agree with a dict: links, loads, flags, questions and answers in any order."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from agency_desk import ITEM, LAYOUT, csv_of, line, own_id

import hub
import hub.agency
from hub.agency import Agency, answering, compare, judge, runs
from hub.messages import Reason, Status
from inquiries import tax_inquiry
from parties import Parties

PERSONS = 30
DAYS = 40

Told = tuple[int, int, bytes | None]


class Model:
    """The town as a few dicts."""

    def __init__(self) -> None:
        self.linked: dict[int, str] = {}
        self.loaded: dict[str, str] | None = None
        self.loading: list[dict[str, str]] | None = None
        self.flagged: set[int] = set()
        self.told: dict[str, list[Told]] = {}
        self.waiting: list[tuple[str, int, int]] = []

    def answer(self, person: int) -> Told:
        if person in self.flagged:
            return Status.PENDING, 0, None
        own = self.linked.get(person)
        if own is None or self.loaded is None:
            return Status.NO_RECORD, Reason.NOT_LOADED, None
        row = self.loaded.get(own)
        if row is None:
            return Status.NO_RECORD, 0, None
        _, born, income, sex, _ = row.split(",")
        if not born:
            return Status.EMPTY, 0, None
        data = {ITEM: {"born": born, "income": int(income), "sex": sex}}
        return Status.PROVIDED, 0, msgspec.msgpack.encode(data)


class Days:
    """Does the same to both."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance, self.model = chance, Model()
        self.folder = folder
        self.parties = Parties(folder / "hub", persons=PERSONS)
        self.town: Agency = hub.agency.open(folder / "town", institution=self.parties.town, create=True)
        self.town.declare(LAYOUT)
        self.pension: Agency = hub.agency.open(folder / "pension", institution="nenkin", create=True)
        self.loads = 0

    def close(self) -> None:
        for one in (self.town, self.pension, self.parties.h):
            one.close()

    def some(self, most: int) -> list[int]:
        return self.chance.sample(range(PERSONS), self.chance.randint(1, most))

    def link(self) -> None:
        persons = self.some(6)
        ids = [own_id(person) + self.chance.choice(["", "-new"]) for person in persons]
        self.town.link(ids, np.ascontiguousarray(self.parties.known[persons]), replace=True)
        for person, own in zip(persons, ids, strict=True):
            self.model.linked[person] = own

    def flag(self) -> None:
        persons, on = self.some(2), self.chance.random() < 0.5
        self.town.flag(self.parties.known[persons], on=on)
        self.model.flagged = self.model.flagged | set(persons) if on else self.model.flagged - set(persons)

    def chunk(self) -> None:
        model = self.model
        if model.loading is None:
            self.loads += 1
            model.loading = []
        name = f"l{self.loads}"
        self.town.begin_load("tax", name)
        taken = {own for chunk in model.loading for own in chunk}
        ids = {own_id(person): person for person in self.some(12)}
        ids |= {own + "-new": person for own, person in list(ids.items())[:3]}
        fresh = {own: person for own, person in ids.items() if own not in taken}
        rows = {
            own: own + (",,,,5" if self.chance.random() < 0.2 else line(person)[len(own_id(person)) :])
            for own, person in fresh.items()
        }
        number = len(model.loading) + 1
        for _ in range(self.chance.choice([1, 2])):
            self.town.load_chunk("tax", name, number, csv_of(list(rows.values())))
        model.loading.append(rows)

    def finish(self) -> None:
        if self.model.loading is None:
            return
        if self.chance.random() < 0.2:
            self.town.abandon_load("tax", f"l{self.loads}")
        else:
            self.town.finish_load("tax", f"l{self.loads}", len(self.model.loading))
            self.model.loaded = {own: row for chunk in self.model.loading for own, row in chunk.items()}
        self.model.loading = None

    def ask(self) -> None:
        request_id, persons = f"r{len(self.model.told)}", self.some(10)
        aliases = np.ascontiguousarray(self.parties.nenkin[persons])
        self.pension.inquire(self.parties.h, tax_inquiry(request_id), aliases, self.parties.town)
        self.model.told[request_id] = [(Status.PENDING, 0, None)] * len(persons)
        self.model.waiting += [(request_id, row, person) for row, person in enumerate(persons)]

    def answer(self) -> None:
        done = self.town.answer(self.parties.h)
        assert done.left == 0
        told = {(request_id, row): self.model.answer(person) for request_id, row, person in self.model.waiting}
        assert done.rows == len(told)
        for (request_id, row), one in told.items():
            self.model.told[request_id][row] = one
        self.model.waiting = []

    def reopen(self) -> None:
        self.town.close()
        self.town = hub.agency.open(self.folder / "town")

    def check(self) -> None:
        for request_id, expected in self.model.told.items():
            found = self.pension.answers(self.parties.h, request_id)
            assert list(zip(found.status.tolist(), found.reason.tolist(), found.payloads, strict=True)) == expected
        linked = [self.model.linked.get(person) for person in range(PERSONS)]
        assert self.town.own_ids_of(self.parties.known) == linked
        if self.model.told:
            comparison = compare(self.parties.h, requester=self.pension, providers=[self.town])
            assert comparison.ok, comparison.differences


def test_random_days_agree_with_a_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (runs, "FAN_OUT", 2), (runs, "BLOCK_ROWS", 3), (answering, "PAGE_ROWS", 4), (judge, "ROWS_AT_A_TIME", 4),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    days = Days(tmp_path, random.Random(seed))
    steps = [days.link, days.flag, days.chunk, days.chunk, days.finish, days.ask, days.answer, days.answer, days.reopen]
    try:
        for day in range(DAYS):
            days.chance.choice(steps)()
            if day % 8 == 7:
                days.check()
        days.answer()
        days.check()
        assert days.parties.h.verify().problems == ()
    finally:
        days.close()
