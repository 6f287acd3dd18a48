"""What is sent unasked, step by step: what a child does to a folder, and what must be true wherever it stopped.

As ``exchange_life.py``: the receiver keeps the numbers of what arrived in files of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from enum import IntEnum
from pathlib import Path

import numpy as np

import hub
import hub.provision.deliver
import hub.provision.delivery
import hub.requests.state
import hub.sending.notices
import hub.sending.notify
import hub.sending.push
from hub.messages import Kind, Status
from hub.records.bodies import ROW, Bodies, links_of
from inquiries import tax_inquiry
from test_push import catalog_with_pushes, push_of

START = 1_798_761_600  # 2027-01-01
DAY_S = 86_400
PERSONS = 8


class Step(IntEnum):
    """What is done, in this order."""

    NOTIFY_ALL = 0
    NOTIFY_EACH = 1
    PUSH = 2
    ARRIVE = 3
    TAKE = 4
    SORT = 5
    ASK = 6
    ANSWER = 7
    UPDATE = 8
    SORT_AGAIN = 9
    ARRIVE_AGAIN = 10
    TAKE_AGAIN = 11
    LAPSE = 12
    SORT_ENDS = 13


STEPS = len(Step)

SMALL = {
    (hub.provision.deliver, "PERMITS_PER_SEGMENT"): 3, (hub.provision.deliver, "SMALL_SEGMENT"): 3,
    (hub.provision.deliver, "SMALL_SEGMENTS"): 2,
    (hub.provision.deliver, "STRETCH_RECORDS_MAX"): 8,
    (hub.provision.deliver, "STEP_BYTES"): 1, (hub.sending.notify, "ROWS_PER_CHUNK"): 4,
    (hub.sending.push, "ROWS_PER_CHUNK"): 4,
    (hub.sending.notices, "NOTICE_ROWS_PER_VALUE"): 2, (hub.provision.delivery, "DELAY_S"): 3_600.0,
}  # fmt: skip
"""So small that most steps are several transactions."""

Waiting = set[tuple[int, int]]


def make_small() -> None:
    """For a process that does nothing else."""
    for (module, name), value in SMALL.items():
        setattr(module, name, value)


class LifeClock:
    """The clock at a step: what has arrived lapses at one of them."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self) -> float:
        return float(START + 10 * self.step + (40 * DAY_S if self.step >= Step.LAPSE else 0))


def prepare(folder: Path, desk: Path) -> None:
    """A folder in which everybody is known, and what its institutions know."""
    codes = [f"{10**9 + person:011}" for person in range(PERSONS)]
    with hub.open(folder, create=True, clock=LifeClock()) as h:
        h.load_catalog(catalog_with_pushes())
        town = h.catalog.institutions("市町村長")[0].code
        known = {name: h.acquire(code, codes).aliases.tobytes().hex()
                 for name, code in (("town", town), ("nenkin", "nenkin"), ("portal", "portal"))}  # fmt: skip
    (desk / "known").write_text(json.dumps({"code": town, **known}))


class Desk:
    """What the institutions know and keep, beside the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        known = json.loads((folder / "known").read_text())
        self.code: str = known["code"]
        self.town, self.nenkin, self.portal = (
            np.frombuffer(bytes.fromhex(known[name]), np.uint8).reshape(-1, 16) for name in ("town", "nenkin", "portal")
        )
        self._persons = {alias.tobytes(): person for person, alias in enumerate(self.nenkin)}

    def __repr__(self) -> str:
        return "Desk()"

    def payloads(self, name: str, persons: list[int]) -> list[bytes | None]:
        return [hashlib.sha256(name.encode() + self.town[person].tobytes()).digest() for person in persons]

    def waiting(self, h: hub.Hub) -> dict[tuple[int, int], int]:
        """(person, kind) of what waits -> its number; each with its own data."""
        found = {}
        for arrivals in h.arrived("nenkin"):
            for number, alias, payload in zip(
                arrivals.number.tolist(), arrivals.aliases, arrivals.payloads, strict=True
            ):
                person, kind = self._persons[alias.tobytes()], int(arrivals.about.kind)
                assert (person, kind) not in found, "something arrived twice"
                assert [payload] == self.payloads(Kind(kind).name, [person])
                found[person, kind] = number
        return found

    def write(self, h: hub.Hub, name: str) -> None:
        """Write down what waits."""
        partial = self.folder / f"{name}.new"
        partial.write_text(json.dumps([[*key, number] for key, number in self.waiting(h).items()]))
        os.replace(partial, self.folder / name)

    def take(self, h: hub.Hub, name: str, taken: Waiting) -> None:
        rows = json.loads((self.folder / name).read_text())
        h.taken("nenkin", [number for person, kind, number in rows if (person, kind) in taken])


ALL: Waiting = {(person, int(Kind.PUSH)) for person in range(PERSONS)}
CORRECTED: Waiting = {(person, int(Kind.UPDATE)) for person in range(3)}
TAKEN: Waiting = {(person, int(Kind.PUSH)) for person in range(0, PERSONS, 2)}
TAKEN_AGAIN: Waiting = {(1, int(Kind.PUSH)), (0, int(Kind.UPDATE)), (1, int(Kind.UPDATE))}


def perform(h: hub.Hub, desk: Desk, step: int) -> None:
    """Do a step, or do it again."""
    match step:
        case Step.NOTIFY_ALL | Step.NOTIFY_EACH:
            notice = hub.Notice(institution=desk.code, subject="a", section="b", request_id=f"n{step}")
            texts = "for all" if step == Step.NOTIFY_ALL else [f"for {person}" for person in range(PERSONS)]
            assert not h.notify(notice, desk.town, texts).status.any()
        case Step.PUSH:
            payloads = desk.payloads("PUSH", list(range(PERSONS)))
            assert not h.push(push_of(desk.code), desk.town, "nenkin", payloads).status.any()
        case Step.ARRIVE | Step.ARRIVE_AGAIN:
            desk.write(h, f"arrived{step}")
        case Step.TAKE:
            desk.take(h, f"arrived{step - 1}", TAKEN)
        case Step.TAKE_AGAIN:
            desk.take(h, f"arrived{step - 1}", TAKEN_AGAIN)
        case Step.SORT | Step.SORT_AGAIN | Step.SORT_ENDS:
            assert h._delivery is not None
            h._delivery.deliver()
        case Step.ASK:
            assert not h.inquire(tax_inquiry("r"), np.ascontiguousarray(desk.nenkin[:4]), desk.code).status.any()
        case Step.ANSWER:
            for permits in h.collect(desk.code):
                empty = (permits.aliases == desk.town[3]).all(axis=1)
                outcomes = np.where(empty, Status.EMPTY, Status.PROVIDED).astype(np.uint8)
                h.provide(desk.code, permits, outcomes)
        case Step.UPDATE:
            update = hub.Update(institution=desk.code, section="b", request_id="u", items=("市町村民税",))
            sent = h.update(update, np.ascontiguousarray(desk.town[:4]), desk.payloads("UPDATE", list(range(4))))
            assert sent.status.tolist() == [0, 0, 0, Status.NO_RECORD]
        case Step.LAPSE:
            h.lapse()


def waiting_after(done: int) -> Waiting:
    """What waits for the receiver when so many steps are done."""
    found: Waiting = set()
    found |= ALL if done > Step.PUSH else set()
    found -= TAKEN if done > Step.TAKE else set()
    found |= CORRECTED if done > Step.UPDATE else set()
    found -= TAKEN_AGAIN if done > Step.TAKE_AGAIN else set()
    return set() if done > Step.LAPSE else found


def kinds_after(done: int) -> Counter[int]:
    """Records by kind when so many steps are done."""
    every = {
        Step.NOTIFY_ALL: {Kind.NOTICE: 8}, Step.NOTIFY_EACH: {Kind.NOTICE: 8}, Step.PUSH: {Kind.PUSH: 8},
        Step.TAKE: {Kind.TAKEN: 4}, Step.ASK: {Kind.INQUIRY: 4}, Step.ANSWER: {Kind.PROVISION: 4},
        Step.UPDATE: {Kind.UPDATE: 3}, Step.TAKE_AGAIN: {Kind.TAKEN: 3}, Step.LAPSE: {Kind.TAKEN: 4},
    }  # fmt: skip
    found: Counter[int] = Counter()
    for step in range(min(done, STEPS)):
        found.update({int(kind): n for kind, n in every.get(Step(step), {}).items()})
    return found


def texts_after(done: int, person: int) -> list[str]:
    return [f"for {person}"] * (done > Step.NOTIFY_EACH) + ["for all"] * (done > Step.NOTIFY_ALL)


def check_between(h: hub.Hub, desk: Desk, done: int) -> None:
    """Each row is as after ``done`` steps or as after the next one, and the log is sound."""
    report = h.verify()
    assert report.ok, report.problems
    kinds, before, after = check_log(h), kinds_after(done), kinds_after(done + 1)
    for kind in after | kinds:
        assert before[kind] <= kinds[kind] <= after[kind], f"kind {kind}"
    for person in range(PERSONS):
        assert h.notices(desk.portal[person]).texts in (texts_after(done, person), texts_after(done + 1, person))
    # What is due lapses as soon as anybody looks.
    waiting = set(desk.waiting(h))
    assert waiting_after(done) & waiting_after(done + 1) <= waiting <= waiting_after(done) | waiting_after(done + 1)


def check_log(h: hub.Hub) -> Counter[int]:
    """Each arrival ends in one record at most; the records by kind."""
    kinds: Counter[int] = Counter()
    linked: list[int] = []
    with h._store.snapshot() as snapshot:
        bodies = Bodies(snapshot, h._periods, h._heads)
        for key, _ in snapshot.items("records", b""):
            table = bodies.whole(int.from_bytes(key, "big"))[1].view(ROW)[:, 0]
            kinds.update(table["kind"].tolist())
            linked += links_of(table[table["kind"] == Kind.TAKEN]).tolist()
    assert len(set(linked)) == len(linked), "an arrival ended twice"
    return kinds


def finish(h: hub.Hub, desk: Desk, clock: LifeClock, done: int) -> None:
    """Do the rest, beginning with the step that may have been under way, and compare the end."""
    for step in range(done, STEPS):
        clock.step = step
        perform(h, desk, step)
        assert check_log(h) == kinds_after(step + 1)
        assert set(desk.waiting(h)) == waiting_after(step + 1)
        # Once more: nothing is recorded again.
        before = h.stats()["records"]
        perform(h, desk, step)
        assert h.stats()["records"] == before
    for person in range(PERSONS):
        assert h.notices(desk.portal[person]).texts == texts_after(STEPS, person)
    assert h.verify().problems == ()
