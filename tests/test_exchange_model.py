"""The exchange against a model of it: whatever is asked and answered in whatever order, every row is in one state.

Every run draws new cases and prints its seed; ``HUB_MODEL_SEED=<seed>`` repeats it.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
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
import hub.exchange
import hub.provision.answers
import hub.provision.deliver
import hub.provision.delivery
import hub.provision.provide
import hub.provision.tail
import hub.requests.state
from hub.errors import RequestError
from hub.limits import PERMIT_DAYS
from hub.messages import REFUSALS, Kind, Status
from hub.protection.releases import find_releases
from hub.provision.answers import _read_rows
from hub.records.bodies import ROW, Bodies, links_of
from hub.records.permits import lapse_time
from hub.requests.state import request_key
from inquiries import tax_inquiry
from parties import DAY_S, Clock
from reader import Reader

SEED = int(os.environ.get("HUB_MODEL_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
START = 1_798_761_600  # 2027-01-01
LAST = START + 25 * DAY_S
PERSONS, TOWNS = 4, 5
"""More towns than one may be asked about in a day: some rows are held."""

STRANGER = PERSONS
"""A row whose alias nobody knows."""

SMALL = {
    (hub.provision.deliver, "PERMITS_PER_SEGMENT"): 3, (hub.provision.deliver, "SMALL_SEGMENT"): 3,
    (hub.provision.deliver, "SMALL_SEGMENTS"): 2,
    (hub.provision.deliver, "STRETCH_RECORDS_MAX"): 5,
    (hub.provision.deliver, "STEP_BYTES"): 1, (hub.provision.deliver, "DELIVER_FROM"): 8,
    (hub.provision.tail, "SMALL_ROWS"): 2,
    (hub.provision.tail, "BULK_ENDS_MAX"): 1, (hub.provision.answers, "FEW_ROWS"): 3,
    (hub.provision.provide, "ROWS_PER_CHUNK"): 4,
    (hub.requests.state, "ROWS_PER_CHUNK"): 4, (hub.provision.delivery, "DELAY_S"): 3_600.0,
    (hub.exchange, "SPAN_PER_ROW"): 1, (hub.exchange, "SPAN_MIN"): 2,
}  # fmt: skip
"""So small that a few rows meet every form: several segments, stretches, steps, chunks, arrays."""


class Row:
    """How a row that left a permit stands."""

    def __init__(self, town: int, index: int, deadline: int) -> None:
        self.town, self.index, self.deadline = town, index, deadline
        self.status, self.reason = Status.PENDING, 0
        self.payload: bytes | None = None
        self.manual = False


class Held:
    """A row that was held, and how it stands since it was released."""

    def __init__(self, person: int, town: int, index: int) -> None:
        self.person, self.town, self.index = person, town, index
        self.now: Row | Status = Status.HELD


class ExchangeMachine(RuleBasedStateMachine):
    """One folder, some towns that answer, one agency that asks; a reading process beside them."""

    reader: Reader

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for (module, name), value in SMALL.items():
            self.patch.setattr(module, name, value)
        self.root = Path(tempfile.mkdtemp(prefix="hub-exchange-"))
        self.clock = Clock(START)
        self.requests: dict[str, list[Row | Held | Status]] = {}
        self.released = 0
        self.numbers: dict[int, Row] = {}
        self.pages: list[tuple[str | None, list[int], set[int]]] = [(None, [], set())] * TOWNS
        self.open()

    def open(self) -> None:
        # One thread: which of a person's rows are held depends on the order in which chunks are prepared.
        self.h = hub.open(self.root / "hub", create=True, clock=self.clock, threads=1)

    @initialize(known=st.lists(st.booleans(), min_size=PERSONS * TOWNS, max_size=PERSONS * TOWNS))
    def acquire(self, known: list[bool]) -> None:
        codes = [f"{10**9 + person:011}" for person in range(PERSONS)]
        self.towns = [body.code for body in self.h.catalog.institutions("市町村長")[:TOWNS]]
        self.asking = np.concatenate([self.h.acquire("nenkin", codes).aliases, np.zeros((1, 16), np.uint8)])
        self.known = np.array(known).reshape(TOWNS, PERSONS)
        for town, row in enumerate(self.known):
            self.h.acquire(self.towns[town], [code for code, is_known in zip(codes, row, strict=True) if is_known])

    def teardown(self) -> None:
        try:
            if hasattr(self, "towns"):
                self.check_log()
        finally:
            self.h.close()
            self.patch.undo()
            shutil.rmtree(self.root)

    # -- what is done

    @precondition(lambda self: len(self.requests) < 8)
    @rule(
        rows=st.one_of(
            st.lists(st.tuples(st.integers(0, STRANGER), st.integers(0, TOWNS - 1)), min_size=1, max_size=12),
            st.integers(0, PERSONS - 1).map(lambda person: [(person, town) for town in range(TOWNS)]),
        ),
        bulk=st.booleans(),
    )
    def inquire(self, rows: list[tuple[int, int]], bulk: bool) -> None:
        name = f"r{len(self.requests)}"
        aliases = np.ascontiguousarray(self.asking[[person for person, _ in rows]])
        towns = [self.towns[town] for _, town in rows]
        words: dict[str, Any] = {"progress": lambda done: None} if bulk else {}
        answer = self.h.inquire(tax_inquiry(name), aliases, towns, **words)
        self.requests[name] = self.rows_of(name, rows)
        first = {Row: Status.OK, Held: Status.HELD}
        assert answer.status.tolist() == [first.get(type(row), row) for row in self.requests[name]]

    def rows_of(self, name: str, rows: list[tuple[int, int]]) -> list[Row | Held | Status]:
        """The rows as the model has them; where they stand in the log is the hub's to say."""
        found = self.h._groups.find(request_key("nenkin", name), int(self.clock.now))
        assert found is not None
        with self.h._answering._exchange.state() as state:
            day, request, small = found
            stored = _read_rows(state, day, request_key("nenkin", name), request, small, 0, len(rows))
        made: list[Row | Held | Status] = []
        for (person, town), index, status in zip(rows, stored.indexes.tolist(), stored.status.tolist(), strict=True):
            if status == Status.HELD:
                # How many were asked before is another model's matter.
                assert person != STRANGER
                made.append(Held(person, town, index))
            elif person == STRANGER:
                made.append(Status.UNKNOWN_ALIAS)
            elif not self.known[town, person]:
                made.append(Status.NO_ALIAS_AT_PROVIDER)
            else:
                made.append(self.permit_of(town, index))
        return made

    def permit_of(self, town: int, index: int) -> Row:
        """The row of a permit that a record left just now."""
        row = Row(town, index, lapse_time(int(self.clock.now), PERMIT_DAYS))
        number = self.h.catalog.institution(self.towns[town]).number
        permit = self.h._collector._numbers.number(number, np.array([index], np.uint64))
        self.numbers[int(permit[0])] = row
        return row

    def held(self) -> list[tuple[str, int]]:
        return [(name, at) for name, rows in self.requests.items() for at, row in enumerate(rows) if type(row) is Held]

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name, at = data.draw(st.sampled_from(self.held()))
        row = self.requests[name][at]
        assert isinstance(row, Held)
        before = self.size()
        self.h.release((name, at), "転居が続いたため", clerk="佐藤", requester="nenkin")
        assert self.size() == before + (row.now == Status.HELD)
        if row.now != Status.HELD:
            return
        self.released += 1
        with self.h._store.snapshot() as snapshot:
            (index,) = find_releases(snapshot, np.array([row.index])).tolist()
        known = self.known[row.town, row.person]
        row.now = self.permit_of(row.town, index) if known else Status.NO_ALIAS_AT_PROVIDER

    @rule(town=st.integers(0, TOWNS - 1), limit=st.integers(1, 5))
    def collect_a_page(self, town: int, limit: int) -> None:
        cursor, handed, begun_with = self.pages[town]
        if cursor is None:
            begun_with = self.waiting(town)
        page = self.h.collect(self.towns[town], limit=limit, after=cursor)
        numbers = [number for permits in page for number in permits.permit.tolist()]
        assert len(numbers) <= limit
        assert set(numbers) <= self.waiting(town)
        for permits in page:
            for number, manual in zip(permits.permit.tolist(), permits.manual.tolist(), strict=True):
                assert (permits.valid_until, manual) == (self.numbers[number].deadline, self.numbers[number].manual)
        handed = handed + numbers
        assert len(set(handed)) == len(handed), "expected each permit once by cursor"
        if page:
            self.pages[town] = page[-1].cursor, handed, begun_with
            return
        assert begun_with & self.waiting(town) <= set(handed), "expected every permit that waited all the while"
        self.pages[town] = None, [], set()

    def waiting(self, town: int) -> set[int]:
        return {number for number, row in self.numbers.items() if row.town == town and row.status == Status.PENDING}

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), town=st.integers(0, TOWNS - 1), same=st.booleans())
    def provide(self, data: st.DataObject, town: int, same: bool) -> None:
        own = [number for number, row in self.numbers.items() if row.town == town]
        if not own:
            return
        if not same or data.draw(st.integers(0, 3)):
            # Mostly what waits, so that most answers are taken.
            own = [number for number in own if self.numbers[number].status == Status.PENDING] or own
        chosen = data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=10, unique=True))
        if same:
            given = [self.answer_before(number) for number in chosen]
        else:
            given = [data.draw(answers_of_a_town) for _ in chosen]
        self.give(town, chosen, given)

    def answer_before(self, number: int) -> tuple[int, int, bytes | None]:
        row = self.numbers[number]
        if row.status == Status.PENDING:
            return (Status.MANUAL, 0, None) if row.manual else (Status.EMPTY, 0, None)
        if row.status == Status.LAPSED:
            # Which no town can give.
            return Status.EMPTY, 0, None
        return row.status, row.reason, row.payload

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), made_up=st.integers(0, (1 << 64) - 1))
    def provide_what_is_another_s(self, data: st.DataObject, made_up: int) -> None:
        number = data.draw(st.sampled_from(list(self.numbers)))
        town = (self.numbers[number].town + 1) % TOWNS
        own = next((one for one, row in self.numbers.items() if row.town == town), made_up)
        before = self.size()
        with pytest.raises(RequestError, match="expected permits of this institution"):
            self.h.provide(self.towns[town], list({own, number, made_up}), Status.EMPTY)
        assert self.size() == before

    def give(self, town: int, chosen: list[int], given: list[tuple[int, int, bytes | None]]) -> None:
        columns = [list(column) for column in zip(*given, strict=True)]
        rows = [self.numbers[number] for number in chosen]
        fits = all(self.fits(row, *one) for row, one in zip(rows, given, strict=True))
        before = self.size()

        def call() -> hub.Receipt:
            payloads = columns[2] if any(one is not None for one in columns[2]) else None
            return self.h.provide(self.towns[town], chosen, columns[0], payloads, reasons=columns[1])

        if not fits:
            with pytest.raises(RequestError, match="permits: expected ones that"):
                call()
            assert self.size() == before
            return
        assert call().rows == len(chosen)
        recorded = 0
        for row, (status, reason, payload) in zip(rows, given, strict=True):
            if row.status == Status.PENDING and status == Status.MANUAL:
                row.manual = True
            elif row.status == Status.PENDING:
                row.status, row.reason, row.payload, row.manual = Status(status), reason, payload, False
                recorded += 1
        assert self.size() == before + recorded

    def fits(self, row: Row, status: int, reason: int, payload: bytes | None) -> bool:
        if row.status == Status.PENDING:
            return True
        same = (row.status, row.reason) == (status, reason) and status != Status.LAPSED
        return same and row.payload in (None, payload)

    def size(self) -> int:
        return int(self.h.stats()["records"])

    @precondition(lambda self: self.clock.now < LAST)
    @rule(seconds=st.sampled_from([1, 3, 3_600, DAY_S, 3 * DAY_S, 8 * DAY_S]), say=st.booleans())
    def time_goes_on(self, seconds: int, say: bool) -> None:
        self.clock.now = min(self.clock.now + seconds, LAST)
        waiting = [row for row in self.numbers.values() if row.status == Status.PENDING]
        lapsed = [row for row in waiting if row.deadline <= self.clock.now]
        if say:
            assert self.h.lapse() == len(lapsed)
        for row in lapsed:
            row.status, row.manual = Status.LAPSED, False

    @rule(steps=st.integers(1, 4))
    def sort_in(self, steps: int) -> None:
        assert self.h._delivery is not None
        for _ in range(steps):
            self.h._delivery._deliverer.step()

    @rule(verify=st.booleans())
    def reopen(self, verify: bool) -> None:
        if verify:
            assert self.h.verify().problems == ()
        self.h.close()
        self.open()

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def fetched(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.requests)))
        rows = self.stand(name)
        provided = [row for row in rows if isinstance(row, Row) and row.status == Status.PROVIDED]
        assert self.h.fetched("nenkin", name) == len(provided)
        for row in provided:
            row.payload = None

    # -- what must hold

    def stand(self, name: str) -> list[Row | Status]:
        return [row.now if isinstance(row, Held) else row for row in self.requests[name]]

    def expected(self, name: str) -> tuple[list[int], list[int], list[bytes | None], bool]:
        rows = self.stand(name)
        status = [int(row.status) if isinstance(row, Row) else int(row) for row in rows]
        reason = [row.reason if isinstance(row, Row) else 0 for row in rows]
        payloads = [row.payload if isinstance(row, Row) else None for row in rows]
        return status, reason, payloads, not {Status.PENDING, Status.HELD} & set(status)

    @invariant()
    def answers_are_the_model_s(self) -> None:
        for name in self.requests:
            status, reason, payloads, complete = self.expected(name)
            answers = self.h.answers("nenkin", name)
            assert answers.status.tolist() == status
            assert answers.reason.tolist() == reason
            assert answers.payloads == payloads
            assert answers.complete == complete

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def read_elsewhere(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.requests)))
        status, reason, payloads, complete = self.expected(name)
        self.reader.ask("open", folder=str(self.root / "hub"), now=self.clock.now)
        try:
            found = self.reader.ask("answers", requester="nenkin", request_id=name)
        finally:
            self.reader.ask("close")
        assert found == [status, reason, [None if one is None else one.hex() for one in payloads], complete]

    def check_log(self) -> None:
        """Every state change is in the log once, and nothing else."""
        self.h.lapse()
        assert self.h.verify().problems == ()
        kinds: Counter[int] = Counter()
        ends: dict[int, tuple[int, int]] = {}
        with self.h._store.snapshot() as snapshot:
            bodies = Bodies(snapshot, self.h._periods, self.h._heads)
            for key, _ in snapshot.items("records", b""):
                table = bodies.whole(int.from_bytes(key, "big"))[1].view(ROW)[:, 0]
                kinds.update(table["kind"].tolist())
                at = np.flatnonzero(np.isin(table["kind"], (Kind.PROVISION, Kind.LAPSE)))
                for link, kind, outcome in zip(
                    links_of(table[at]).tolist(), table["kind"][at].tolist(), table["outcome"][at].tolist(), strict=True
                ):
                    assert link not in ends, "expected each permit to end once"
                    ends[link] = kind, outcome
        ended = {row.index: row for row in self.numbers.values() if row.status != Status.PENDING}
        assert ends == {
            index: (Kind.LAPSE if row.status == Status.LAPSED else Kind.PROVISION, row.status)
            for index, row in ended.items()
        }
        asked = sum(row != Status.UNKNOWN_ALIAS for rows in self.requests.values() for row in rows)
        assert kinds[Kind.INQUIRY] == asked
        assert kinds[Kind.RELEASE] == self.released
        assert sum(kinds.values()) == asked + len(ended) + self.released


answers_of_a_town = st.one_of(
    st.tuples(st.sampled_from([Status.EMPTY, Status.NO_RECORD, Status.MANUAL]), st.just(0), st.none()),
    st.tuples(st.just(Status.PROVIDED), st.just(0), st.one_of(st.none(), st.binary(max_size=40))),
    st.tuples(st.just(Status.REFUSED), st.sampled_from(REFUSALS), st.none()),
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def test_the_exchange_agrees_with_its_model(reader: Reader) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    ExchangeMachine.reader = reader
    options = settings(
        max_examples=int(os.environ.get("HUB_MODEL_EXAMPLES", "20")), stateful_step_count=30, deadline=None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(seed(SEED)(ExchangeMachine), settings=options)
