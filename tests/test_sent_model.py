"""What is sent unasked against a hub of lists: random notices, pushes, updates, flags, days and crashes between.

``Model`` says in a few loops what docs/push.md says; after every step statuses, arrivals with their data, notices and
histories must be the model's.
"""

from __future__ import annotations

import dataclasses
import os
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import hub
import hub.provision.deliver
import hub.provision.delivery
import hub.provision.tail
import hub.sending.arrivals
import hub.sending.notices
import hub.sending.notify
import hub.sending.push
from hub.limits import ARRIVAL_DAYS, PERMIT_DAYS, REQUEST_DAYS
from hub.messages import Flag, Kind, Status
from hub.records.permits import lapse_time
from inquiries import tax_inquiry
from parties import DAY_S, NOON, Clock
from test_push import catalog_with_pushes, push_of

SEED = int(os.environ.get("HUB_MODEL_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PERSONS = 5
CODES = [f"{10**9 + person:011}" for person in range(PERSONS)]
TOWNS = [body.code for body in catalog_with_pushes().institutions("市町村長")[:2]]
BODIES = ["nenkin", "portal", *TOWNS]
RECEIVERS = ["nenkin", *TOWNS]
SMALL = {
    (hub.provision.deliver, "PERMITS_PER_SEGMENT"): 3, (hub.provision.deliver, "SMALL_SEGMENT"): 3,
    (hub.provision.deliver, "SMALL_SEGMENTS"): 2,
    (hub.sending.notify, "ROWS_PER_CHUNK"): 3,
    (hub.sending.push, "ROWS_PER_CHUNK"): 3, (hub.sending.notices, "NOTICE_ROWS_PER_VALUE"): 2,
    (hub.provision.delivery, "DELAY_S"): 3_600.0,
    (hub.sending.arrivals, "FEW"): 1, (hub.provision.deliver, "STRETCH_RECORDS_MAX"): 5,
    (hub.provision.deliver, "STEP_BYTES"): 1,
    (hub.provision.deliver, "DELIVER_FROM"): 8, (hub.provision.tail, "SMALL_ROWS"): 2,
    (hub.provision.tail, "BULK_ENDS_MAX"): 1,
}  # fmt: skip

senders = st.sampled_from(TOWNS)
people = st.lists(st.integers(0, PERSONS - 1), min_size=1, max_size=7)


@dataclasses.dataclass
class Line:
    """A record: who gave and who received, or who asked whom; withheld with what it goes back to."""

    kind: Kind
    person: int
    gives: str
    receives: str
    outcome: Status
    root: Line | None = None
    withheld: bool = False
    text: str | None = None
    payload: bytes | None = None
    deadline: int = 0
    state: str = ""

    def shown(self) -> bool:
        return not (self.root or self).withheld


class Model:
    """The hub as a list of lines."""

    def __init__(self) -> None:
        self.knows: dict[str, set[int]] = {}
        self.flags: dict[tuple[str, int], Flag] = {}
        self.lines: list[Line] = []

    def flagged(self, body: str, person: int, flag: Flag) -> bool:
        return bool(self.flags.get((body, person), Flag.NONE) & flag)

    def manual(self, person: int) -> bool:
        return any(self.flagged(body, person, Flag.MANUAL) for body in BODIES)

    def of(self, person: int) -> list[Line]:
        return [line for line in self.lines if line.person == person]

    def notify(self, sender: str, persons: list[int], texts: list[str]) -> list[Status]:
        told = []
        for person, text in zip(persons, texts, strict=True):
            if person not in self.knows[sender]:
                told.append(Status.UNKNOWN_ALIAS)
                continue
            hidden = self.flagged(sender, person, Flag.NO_SELF | Flag.WITHHELD)
            reached = person in self.knows["portal"] and not hidden
            told.append(Status.OK if reached else Status.NO_ALIAS_AT_PROVIDER)
            line = Line(Kind.NOTICE, person, sender, "portal", told[-1], withheld=hidden, text=text)
            self.lines.append(line)
        return told

    def push(
        self, sender: str, rows: list[tuple[int, str]], payloads: list[bytes], now: int, *, confirmed: bool
    ) -> list[Status]:
        told = []
        for (person, receiver), payload in zip(rows, payloads, strict=True):
            denied = receiver in (sender, "portal")
            known = person in self.knows[sender]
            if denied:
                told.append(Status.DENIED)
            elif not known:
                told.append(Status.UNKNOWN_ALIAS)
            elif self.manual(person) and not confirmed:
                told.append(Status.MANUAL)
                continue
            else:
                told.append(Status.OK)
            if not known:
                continue
            outcome = told[-1]
            if outcome == Status.OK and person not in self.knows[receiver] and not self.manual(person):
                outcome = Status.NO_ALIAS_AT_PROVIDER
            withheld = self.flagged(sender, person, Flag.WITHHELD)
            withheld |= outcome == Status.OK and self.flagged(receiver, person, Flag.WITHHELD)
            line = Line(Kind.PUSH, person, sender, receiver, outcome, withheld=withheld, payload=payload)
            line.deadline, line.state = lapse_time(now, ARRIVAL_DAYS), "waits" if outcome == Status.OK else ""
            self.lines.append(line)
        return told

    def update(
        self, sender: str, persons: list[int], payloads: list[bytes], now: int, *, confirmed: bool
    ) -> list[Status]:
        told, made = [], []
        for person, payload in zip(persons, payloads, strict=True):
            if person not in self.knows[sender]:
                told.append(Status.UNKNOWN_ALIAS)
                continue
            newest: dict[tuple[str, bool], Line] = {}
            for line in self.of(person):
                provided = line.kind == Kind.PROVISION and line.outcome == Status.PROVIDED
                pushed = line.kind == Kind.PUSH and line.outcome in (Status.OK, Status.NO_ALIAS_AT_PROVIDER)
                if line.gives == sender and (provided or (pushed and line.state != "lapsed")):
                    name = line.receives, pushed
                    if name not in newest or line.outcome != Status.NO_ALIAS_AT_PROVIDER:
                        newest[name] = line
            if not newest:
                told.append(Status.NO_RECORD)
            elif self.manual(person) and not confirmed:
                told.append(Status.MANUAL)
            else:
                told.append(Status.OK)
                for line in newest.values():
                    if line.outcome != Status.NO_ALIAS_AT_PROVIDER:
                        one = Line(Kind.UPDATE, person, sender, line.receives, Status.OK, root=line.root or line)
                        one.payload, one.deadline, one.state = payload, lapse_time(now, ARRIVAL_DAYS), "waits"
                        made.append(one)
        self.lines += made
        return told

    def end(self, line: Line, kind: Kind, outcome: Status) -> None:
        line.state = "lapsed" if outcome == Status.LAPSED else "ended"
        self.lines.append(Line(kind, line.person, line.gives, line.receives, outcome, root=line.root or line))

    def lapse(self, now: int) -> None:
        for line in list(self.lines):
            if line.state == "waits" and line.deadline <= now:
                self.end(line, Kind.LAPSE if line.kind == Kind.INQUIRY else Kind.TAKEN, Status.LAPSED)

    def waiting(self, receiver: str) -> list[Line]:
        sent = [line for line in self.lines if line.kind in (Kind.PUSH, Kind.UPDATE) and line.receives == receiver]
        return [line for line in sent if line.state == "waits" and line.person in self.knows[receiver]]


class SentMachine(RuleBasedStateMachine):
    """The hub beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        for (module, name), value in SMALL.items():
            self.patches.setattr(module, name, value)
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock(NOON)
        self.path = Path(self.folder.name) / "hub"
        self.h = hub.open(self.path, create=True, clock=self.clock, threads=1)
        self.h.load_catalog(catalog_with_pushes())
        self.model = Model()
        self.aliases: dict[str, dict[int, np.ndarray]] = {}
        self.number = 0
        self.again: tuple[Any, list[Status], float] | None = None

    @initialize(known=st.lists(st.sets(st.integers(0, PERSONS - 1)), min_size=4, max_size=4))
    def acquire(self, known: list[set[int]]) -> None:
        for body, persons in zip(BODIES, known, strict=True):
            # Somebody must know everybody, or there is little to see.
            own = sorted(persons if body != TOWNS[0] else range(PERSONS))
            found = self.h.acquire(body, [CODES[person] for person in own]).aliases if own else []
            self.aliases[body] = dict(zip(own, found, strict=True))
            self.model.knows[body] = set(own)
        self.h.acquire("mic", CODES)

    def rows(self, body: str, persons: list[int]) -> np.ndarray:
        return np.array([self.aliases[body].get(person, np.zeros(16, np.uint8)) for person in persons], np.uint8)

    def next_id(self) -> str:
        self.number += 1
        return f"id-{self.number}"

    def check(self, call: Any, told: list[Status]) -> None:
        assert call().status.tolist() == told
        self.again = call, told, self.clock.now

    @rule(sender=senders, persons=people, one=st.booleans())
    def notify(self, sender: str, persons: list[int], one: bool) -> None:
        request_id = self.next_id()
        texts = [request_id if one else f"{request_id}/{row}" for row in range(len(persons))]
        notice = hub.Notice(institution=sender, subject="a", section="b", request_id=request_id)
        given, rows = request_id if one else texts, self.rows(sender, persons)
        told = self.model.notify(sender, persons, texts)
        self.check(lambda: self.h.notify(notice, rows, given), told)

    @rule(
        sender=senders, rows=st.lists(st.tuples(st.integers(0, PERSONS - 1), st.sampled_from([*RECEIVERS, "portal"])),
                                      min_size=1, max_size=8), confirmed=st.booleans(),
    )  # fmt: skip
    def push(self, sender: str, rows: list[tuple[int, str]], confirmed: bool) -> None:
        request_id = self.next_id()
        payloads = [f"{request_id}/{row}".encode() for row in range(len(rows))]
        push = push_of(sender, request_id, confirmed=confirmed, operator="a" if confirmed else None)
        aliases, to = self.rows(sender, [person for person, _ in rows]), [receiver for _, receiver in rows]
        told = self.model.push(sender, rows, payloads, int(self.clock.now), confirmed=confirmed)
        self.check(lambda: self.h.push(push, aliases, to, payloads), told)

    @rule(sender=senders, persons=st.lists(st.integers(0, PERSONS - 1), min_size=1, max_size=4, unique=True),
          confirmed=st.booleans())  # fmt: skip
    def update(self, sender: str, persons: list[int], confirmed: bool) -> None:
        request_id = self.next_id()
        payloads = [f"{request_id}/{row}".encode() for row in range(len(persons))]
        update = hub.Update(
            institution=sender, section="a", request_id=request_id, items=("地方税", "出生"), confirmed=confirmed,
            operator="a" if confirmed else None,
        )  # fmt: skip
        aliases = self.rows(sender, persons)
        told = self.model.update(sender, persons, payloads, int(self.clock.now), confirmed=confirmed)
        self.check(lambda: self.h.update(update, aliases, payloads), told)

    @precondition(lambda self: self.again is not None)
    @rule()
    def repeat(self) -> None:
        """The last call again: the same statuses, and nothing is recorded."""
        assert self.again is not None
        call, told, at = self.again
        if self.clock.now - at > (REQUEST_DAYS - 1) * DAY_S:
            # The id is forgotten: it would be another call.
            return
        before = self.h.stats()["records"]
        assert call().status.tolist() == told
        assert self.h.stats()["records"] == before

    @rule(receiver=st.sampled_from(RECEIVERS), data=st.data())
    def take(self, receiver: str, data: Any) -> None:
        found = self.arrived(receiver)
        if not found:
            return
        chosen = data.draw(st.lists(st.sampled_from(sorted(found)), unique=True, min_size=1))
        self.h.taken(receiver, [number for name in chosen for number in found[name]])
        for line in self.model.waiting(receiver):
            if (line.person, line.payload) in chosen:
                self.model.end(line, Kind.TAKEN, Status.PROVIDED)

    def arrived(self, receiver: str) -> dict[tuple[int, bytes], list[int]]:
        """Of each person and payload the numbers: an update has the same for what was asked and what was pushed."""
        persons = {alias.tobytes(): person for person, alias in self.aliases[receiver].items()}
        found: dict[tuple[int, bytes], list[int]] = {}
        cursor = None
        while page := self.h.arrived(receiver, limit=3, after=cursor):
            for some in page:
                for alias, number, payload in zip(some.aliases, some.number.tolist(), some.payloads, strict=True):
                    name = persons[alias.tobytes()], payload or b""
                    found.setdefault(name, []).append(number)
            cursor = page[-1].cursor
        return found

    @rule(persons=st.lists(st.integers(0, PERSONS - 1), min_size=1, max_size=3, unique=True),
          outcome=st.sampled_from([Status.PROVIDED, Status.NO_RECORD, Status.OK]))  # fmt: skip
    def ask_and_answer(self, persons: list[int], outcome: Status) -> None:
        """The agency asks the first town, which answers at once what it has, or nothing."""
        town, model = TOWNS[0], self.model
        persons = [person for person in persons if person in model.knows["nenkin"]]
        if not persons:
            return
        assert not self.h.inquire(tax_inquiry(self.next_id()), self.rows("nenkin", persons), town).status.any()
        for person in persons:
            withheld = model.flagged("nenkin", person, Flag.WITHHELD) or model.flagged(town, person, Flag.WITHHELD)
            line = Line(Kind.INQUIRY, person, town, "nenkin", Status.OK, withheld=withheld, state="waits")
            line.deadline = lapse_time(int(self.clock.now), PERMIT_DAYS)
            model.lines.append(line)
        if outcome == Status.OK:
            return
        for permits in self.h.collect(town):
            self.h.provide(town, permits, outcome, clerk="a")
        for line in list(model.lines):
            if line.kind == Kind.INQUIRY and line.state == "waits":
                model.end(line, Kind.PROVISION, outcome)

    @rule(body=st.sampled_from(["nenkin", *TOWNS]), person=st.integers(0, PERSONS - 1),
          flag=st.sampled_from([Flag.MANUAL, Flag.WITHHELD, Flag.NO_SELF]), on=st.booleans())  # fmt: skip
    def flag(self, body: str, person: int, flag: Flag, on: bool) -> None:
        if person not in self.model.knows[body]:
            return
        self.h.flag(body, self.rows(body, [person]), flag, on=on)
        before = self.model.flags.get((body, person), Flag.NONE)
        self.model.flags[body, person] = before | flag if on else before & ~flag

    @rule(days=st.sampled_from([0, 1, 8, 29]))
    def pass_days(self, days: int) -> None:
        self.clock.now += days * DAY_S + 60
        self.h.lapse()
        self.model.lapse(int(self.clock.now))

    @rule()
    def sort_in(self) -> None:
        assert self.h._delivery is not None
        self.h._delivery.deliver()

    @rule()
    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.path, clock=self.clock, threads=1)

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        model = self.model
        if not model.knows:
            return
        for receiver in RECEIVERS:
            waiting = model.waiting(receiver)
            found = self.arrived(receiver)
            numbers = [number for some in found.values() for number in some]
            assert len(set(numbers)) == len(numbers)
            told = {name: len(some) for name, some in found.items()}
            assert told == Counter((line.person, line.payload or b"") for line in waiting)
        for person, alias in self.aliases["portal"].items():
            lines = [line for line in model.of(person) if line.shown()]
            expected = Counter((line.kind, line.gives, line.receives, line.outcome) for line in lines)
            records = self.h.history(alias, limit=1_000).records
            assert Counter((one.kind, one.provider, one.requester, one.outcome) for one in records) == expected
            notices = [line for line in lines if line.kind == Kind.NOTICE and line.outcome == Status.OK]
            texts = [None if model.flagged(line.gives, person, Flag.NO_SELF) else line.text for line in notices]
            assert sorted(map(str, self.h.notices(alias, limit=1_000).texts)) == sorted(map(str, texts))

    def teardown(self) -> None:
        try:
            assert self.h.verify().problems == ()
        finally:
            self.h.close()
            self.folder.cleanup()
            self.patches.undo()


def test_what_is_sent_agrees_with_its_model() -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    options = settings(
        max_examples=int(os.environ.get("HUB_MODEL_EXAMPLES", "12")), stateful_step_count=25, deadline=None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(seed(SEED)(SentMachine), settings=options)
