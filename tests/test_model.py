"""The hub against the model: whatever is asked in whatever order, both answer the same.

Every run draws new cases and prints its seed; ``HUB_MODEL_SEED=<seed>`` repeats it.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
import tempfile
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
from hub.limits import PERMIT_DAYS, ROWS_PER_CHUNK
from hub.messages import Acquisition, Status
from model import PORTAL, Conflict, Model, check_history
from reader import Reader

SEED = int(os.environ.get("HUB_MODEL_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
START = 1_798_761_600  # 2027-01-01
CODE = "{:011d}".format

CATALOG = hub.Catalog.japan()
MAYORS = "市町村長"
TODAY = dt.date(2027, 1, 3)
MUNICIPALITIES = [institution.code for institution in CATALOG.institutions("市町村長")[:3]]
PREFECTURE = next(i.code for i in CATALOG.institutions("都道府県知事") if i.code not in MUNICIPALITIES)
HOLDERS = ["nenkin", PORTAL, *MUNICIPALITIES, PREFECTURE]
QUESTIONS = [
    ("nenkin", "19-8/73/75.3", ("地方税",), "納付義務者"),
    ("nenkin", "19-8/73/75.3", ("市町村民税", "住民票"), "納付義務者"),
    ("nenkin", "19-8/73/75.3", ("地方税",), "確認対象者"),
    (MUNICIPALITIES[0], "19-8/106/108.1", ("地方税",), "一般受給資格者"),
    (MUNICIPALITIES[1], "19-8/106/108.1", ("住民票",), "支給要件児童"),
    (PREFECTURE, "19-8/106/108.1", ("住民票",), "支給要件児童"),
]
"""Lawful ones, and ones that the law refuses for the role or the requester; the providers drawn decide the rest."""


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


class Clock:
    """The hub's clock, moved by the test."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return float(self.now)


people = st.integers(0, 39)
alias_kinds = st.sampled_from(["own"] * 6 + ["other body's", "nobody's", "zeros"])
rows_to_ask = st.lists(st.tuples(alias_kinds, people, st.integers(0, len(HOLDERS) - 1)), max_size=50)


class HubMachine(RuleBasedStateMachine):
    """One folder, one writing process that comes and goes, one reading process, forty persons."""

    reader: Reader

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="hub-model-"))
        self.clock = Clock()
        self.model = Model(CATALOG)
        self.h = hub.open(self.place / "hub", create=True, clock=self.clock)
        self.reader.ask("open", folder=str(self.place / "hub"))
        self.asked: list[tuple[hub.Inquiry, Any, Any]] = []

    def teardown(self) -> None:
        self.reader.ask("close")
        self.h.close()
        shutil.rmtree(self.place)

    @initialize()
    def everybody_has_somebody(self) -> None:
        """Without aliases the first steps of a run would show little; each knows some of whom the next one knows."""
        for number, holder in enumerate(HOLDERS):
            self._acquire(holder, [CODE(90_000_000_000 + person) for person in range(5 * number, 20 + 5 * number)])

    @rule(holder=st.sampled_from(HOLDERS), persons=st.lists(people, max_size=60), as_text=st.booleans())
    def acquire(self, holder: str, persons: list[int], as_text: bool) -> None:
        codes = [CODE(90_000_000_000 + person) for person in persons]
        self._acquire(holder, codes if as_text else np.array(persons, np.int64) + 90_000_000_000)

    @rule(holder=st.sampled_from(HOLDERS), person=people)
    def acquire_one(self, holder: str, person: int) -> None:
        self._acquire(holder, [CODE(90_000_000_000 + person)])

    def _acquire(self, holder: str, codes: Any) -> None:
        got = self.h.acquire(holder, codes)
        text = codes if isinstance(codes, list) else [CODE(code) for code in codes.tolist()]
        aliases, status = self.model.acquire(holder, text, got.aliases)
        assert np.array_equal(got.aliases, aliases)
        assert np.array_equal(got.status, status)

    def _alias(self, holder: str, kind: str, person: int) -> bytes:
        number = self.model.persons.get(CODE(90_000_000_000 + person), -1)
        other = HOLDERS[(HOLDERS.index(holder) + 1) % len(HOLDERS)]
        found = {
            "own": self.model.alias_of.get(holder, {}).get(number),
            "other body's": self.model.alias_of.get(other, {}).get(number),
            "zeros": bytes(16),
        }.get(kind)
        return found or os.urandom(16)

    def _columns(self, holder: str, rows: list[tuple[str, int, int]]) -> tuple[Any, list[str]]:
        flat = b"".join(self._alias(holder, kind, person) for kind, person, _ in rows)
        return np.frombuffer(flat, np.uint8).reshape(-1, 16), [HOLDERS[provider] for _, _, provider in rows]

    @rule(
        question=st.sampled_from(QUESTIONS),
        rows=rows_to_ask,
        form=st.sampled_from(["codes", "numbers", "one", "class", "some by class"]),
    )
    def inquire(self, question: tuple[Any, ...], rows: list[tuple[str, int, int]], form: str) -> None:
        requester, procedure, items, role = question
        inquiry = hub.Inquiry(
            requester=requester,
            procedure=procedure,
            items=items,
            role=role,
            section=f"第{len(self.asked)}係",
            request_id=f"r{len(self.asked)}",
        )
        aliases, codes = self._columns(requester, rows)
        providers: Any = codes
        if form == "numbers":
            providers = np.array([CATALOG.institution(code).number for code in codes], np.uint32)
        elif form == "some by class":
            providers = [MAYORS if row % 3 else code for row, code in enumerate(codes)]
        elif form == "class":
            providers = MAYORS
        elif form == "one" or not codes:
            providers = HOLDERS[2]
        self._inquire(inquiry, aliases, providers)
        if len(aliases):
            self.asked.append((inquiry, aliases, providers))

    def _inquire(self, inquiry: hub.Inquiry, aliases: Any, providers: Any) -> None:
        got = self.h.inquire(inquiry, aliases, providers)
        if len(aliases):
            expected = self.model.inquire(inquiry, aliases, providers, self.clock.now)
            assert np.array_equal(got.status, expected.status)
            assert np.array_equal(got.rule, expected.rule)
            assert np.array_equal(got.reason, expected.reason)
            assert got.holders == expected.holders
        assert got.receipt.rows == len(got) == len(aliases)
        assert got.receipt.request_id == inquiry.request_id

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again_with_the_same_id(self, data: st.DataObject) -> None:
        self._inquire(*data.draw(st.sampled_from(self.asked)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), change=st.sampled_from(["rows", "section", "alias", "provider"]))
    def use_an_id_for_something_else(self, data: st.DataObject, change: str) -> None:
        inquiry, aliases, providers = data.draw(st.sampled_from(self.asked))
        if change == "section":
            inquiry = hub.Inquiry(**{f: getattr(inquiry, f) for f in inquiry.__struct_fields__} | {"section": "別の係"})
        elif change == "alias":
            aliases = aliases.copy()
            aliases[-1, 3] ^= 1
        else:
            numbers = self.model.numbers(providers, len(aliases))
            providers = np.array(numbers, np.uint32)
            if change == "rows":
                aliases, providers = np.concatenate([aliases, aliases[:1]]), np.append(providers, providers[:1])
            else:
                # Another provider where the same person is known would give the same answer; it is another request.
                numbers = [CATALOG.institution(code).number for code in HOLDERS]
                providers[0] = next(number for number in numbers if number != providers[0])
        with pytest.raises(hub.errors.RequestError, match="request_id"):
            self.h.inquire(inquiry, aliases, providers)
        with pytest.raises(Conflict):
            self.model.inquire(inquiry, aliases, providers, self.clock.now)

    @rule(
        person=people,
        since=st.none() | st.integers(0, 9),
        until=st.none() | st.integers(0, 9),
        institution=st.none() | st.sampled_from(HOLDERS),
        procedure=st.none() | st.sampled_from([question[1] for question in QUESTIONS]),
        limit=st.sampled_from([1, 2, 7, 100]),
    )
    def history(self, person: int, limit: int, **filters: Any) -> None:
        alias = self.model.alias_of.get(PORTAL, {}).get(self.model.persons.get(CODE(90_000_000_000 + person), -1))
        if alias is None:
            return
        moments = {}
        for name in ("since", "until"):
            if filters[name] is not None:
                filters[name] = START + 86_400 * filters[name] + 3_600
                moments[name] = dt.datetime.fromtimestamp(filters[name], dt.UTC)
        records = read_history(self.h, alias, limit, **{**filters, **moments})
        check_history(records, self.model.history(alias, **filters))

    @rule(holder=st.sampled_from(HOLDERS), rows=rows_to_ask)
    def resolve(self, holder: str, rows: list[tuple[str, int, int]]) -> None:
        aliases, providers = self._columns(holder, rows)
        got = self.h.resolve(holder, providers, aliases)
        expected, status = self.model.resolve(holder, providers, aliases)
        assert np.array_equal(got.status, status)
        assert np.array_equal(got.aliases, expected)

    @rule(holder=st.sampled_from(HOLDERS), rows=rows_to_ask)
    def a_reading_process_sees_it(self, holder: str, rows: list[tuple[str, int, int]]) -> None:
        aliases, providers = self._columns(holder, rows)
        answer = self.reader.ask("resolve", requester=holder, providers=providers, aliases=aliases.tobytes().hex())
        expected, status = self.model.resolve(holder, providers, aliases)
        assert answer == [expected.tobytes().hex(), status.tolist()]
        assert self.reader.ask("stats")["records"] == len(self.model.records)

    @rule(
        holder=st.sampled_from(HOLDERS),
        some=st.lists(st.integers(0, 39), min_size=1, max_size=12),
        flags=st.integers(1, 7),
        on=st.sampled_from([True, True, False]),
        stranger=st.sampled_from([False] * 5 + [True]),
    )
    def flag(self, holder: str, some: list[int], flags: int, on: bool, stranger: bool) -> None:
        known = self.model.person_of.get(holder, {})
        aliases = [list(known)[number % len(known)] for number in some] + [bytes(16)] * stranger
        rows = np.frombuffer(b"".join(aliases), np.uint8).reshape(-1, 16)
        if stranger:
            with pytest.raises(hub.errors.RequestError, match="aliases"):
                self.h.flag(holder, rows, hub.Flag(flags), on=on)
        else:
            self.model.flag(holder, aliases, flags, on)
            self.h.flag(holder, rows, hub.Flag(flags), on=on)
        standing = [self.model.flags_of(holder, person) for person in known.values()]
        flat = b"".join(known)
        assert self.h.flags(holder, np.frombuffer(flat, np.uint8).reshape(-1, 16)).tolist() == standing
        assert self.reader.ask("flags", institution=holder, aliases=flat.hex()) == standing

    @rule(facts=st.lists(st.tuples(people, st.integers(0, 2), st.integers(-3, 3), st.integers(-1, 4)), max_size=30))
    def push_holders(self, facts: list[tuple[int, int, int, int]]) -> None:
        codes = [CODE(90_000_000_000 + person) for person, *_ in facts]
        towns = [MUNICIPALITIES[town] for _, town, _, _ in facts]
        since = [TODAY + dt.timedelta(first) for _, _, first, _ in facts]
        until = [None if days == 4 else first + dt.timedelta(days) for first, (*_, days) in zip(since, facts)]  # noqa: B905
        got = self.h.push_holders("jlis", codes, MAYORS, towns, since, until)
        assert (got.taken, got.unknown) == self.model.push_holders(MAYORS, codes, towns, since, until)
        assert got.full == 0

    @rule(days=st.integers(0, 1), seconds=st.integers(0, 3_000))
    def time_passes(self, days: int, seconds: int) -> None:
        # Permits live seven days; then the thread that sorts the log records that they lapsed, at a moment of its own.
        if self.clock.now < START + (PERMIT_DAYS - 2) * 86_400:
            self.clock.now += 86_400 * days + seconds

    @rule()
    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.place / "hub", clock=self.clock)

    @invariant()
    def counts_agree(self) -> None:
        stats = self.h.stats()
        assert stats["persons"] == len(self.model.persons)
        assert stats["records"] == len(self.model.records)
        held = {code: len(known) for code, known in self.model.alias_of.items() if known}
        assert {code: n for code, n in stats["aliases"].items() if n} == held


def read_history(h: hub.Hub, alias: bytes, limit: int, **filters: Any) -> list[hub.Record]:
    """All pages of a history."""
    records: list[hub.Record] = []
    cursor = None
    while True:
        page = h.history(np.frombuffer(alias, np.uint8), limit=limit, cursor=cursor, **filters)
        assert len(page.records) <= limit
        assert page.records or page.cursor is None
        records += page.records
        cursor = page.cursor
        if cursor is None:
            return records


def test_any_order_of_calls_agrees_with_the_model(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    # Histories are read here to see what is shown, not when.
    monkeypatch.setattr("hub.methods.showing.HISTORY_STEP_S", 1e-6)
    HubMachine.reader = reader
    run_state_machine_as_test(
        seed(SEED)(HubMachine),
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("rows_gathered", [0, 1_024])
def test_random_flags_and_inquiries_agree_with_the_model(
    tmp_path: Path, rows_gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    monkeypatch.setattr("hub.methods.showing.HISTORY_STEP_S", 1e-6)
    monkeypatch.setattr("hub.limits.ROWS_GATHERED_MAX", rows_gathered)
    rng = np.random.default_rng([SEED, rows_gathered])
    clock, model = Clock(), Model(CATALOG)
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        for holder in HOLDERS:
            codes = 90_000_000_000 + rng.choice(100, 60, replace=False)
            model.acquire(holder, [CODE(code) for code in codes.tolist()], h.acquire(holder, codes).aliases)
        own = {holder: np.frombuffer(b"".join(model.person_of[holder]), np.uint8).reshape(-1, 16) for holder in HOLDERS}
        for number in range(120):
            holder, on = HOLDERS[rng.integers(len(HOLDERS))], bool(rng.random() < 0.6)
            chosen = own[holder][rng.integers(0, 60, int(rng.integers(1, 6)))]
            flags = int(rng.integers(1, 8))
            model.flag(holder, [alias.tobytes() for alias in chosen], flags, on)
            h.flag(holder, chosen, hub.Flag(flags), on=on)
            requester, procedure, items, role = QUESTIONS[int(rng.choice([0, 0, 3, 4]))]
            inquiry = hub.Inquiry(
                requester=requester, procedure=procedure, items=items, role=role, section="係", request_id=f"f{number}"
            )
            asked = own[requester][rng.integers(0, 60, 20)]
            providers = [MUNICIPALITIES[i] for i in rng.integers(0, 3, 20)]
            answer, expected = h.inquire(inquiry, asked, providers), model.inquire(inquiry, asked, providers, clock.now)
            assert np.array_equal(answer.status, expected.status)
        for holder in HOLDERS:
            standing = [model.flags_of(holder, person) for person in model.person_of[holder].values()]
            assert h.flags(holder, own[holder]).tolist() == standing
        assert 0 < len(model.withheld) < len(model.records)
        for alias in model.person_of[PORTAL]:
            check_history(read_history(h, alias, 100), model.history(alias))
        assert h.verify().ok


@pytest.mark.parametrize("batch", range(4))
def test_random_batches_agree_with_the_model(tmp_path: Path, batch: int) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    rng = np.random.default_rng([SEED, batch])
    clock, model = Clock(), Model(CATALOG)
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        for holder in HOLDERS:
            for _ in range(3):
                codes = 90_000_000_000 + rng.integers(0, 20_000, int(rng.integers(1, 15_000)))
                got = h.acquire(holder, codes)
                aliases, status = model.acquire(holder, [CODE(code) for code in codes.tolist()], got.aliases)
                assert np.array_equal(got.aliases, aliases)
                assert np.array_equal(got.status, status)
        for number in range(6):
            requester, procedure, items, role = QUESTIONS[number % len(QUESTIONS)]
            clock.now += int(rng.integers(0, 5))
            own = np.frombuffer(b"".join(model.alias_of[requester].values()), np.uint8).reshape(-1, 16)
            asked = own[rng.integers(0, len(own), int(rng.integers(1, 20_000)))]
            strangers = rng.random(len(asked)) < 0.05
            asked[strangers] = rng.integers(0, 256, (int(strangers.sum()), 16), np.uint8)
            numbers = np.array([CATALOG.institution(code).number for code in HOLDERS], np.uint32)
            providers = numbers[rng.integers(0, len(numbers), len(asked))]
            inquiry = hub.Inquiry(
                requester=requester, procedure=procedure, items=items, role=role, section="係", request_id=f"b{number}"
            )
            got_answer = h.inquire(inquiry, asked, providers)
            expected = model.inquire(inquiry, asked, providers, clock.now)
            assert np.array_equal(got_answer.status, expected.status)
            assert np.array_equal(got_answer.rule, expected.rule)
            assert np.array_equal(got_answer.reason, expected.reason)
        for alias in list(model.person_of[PORTAL])[:200]:
            check_history(read_history(h, alias, 3), model.history(alias))
        assert h.stats()["records"] == len(model.records)


class Stop(Exception):
    """Raised between two chunks, as Ctrl-C is."""


def stop(_: int) -> None:
    raise Stop


def test_a_request_that_was_stopped_goes_on_where_it_stopped(tmp_path: Path) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    rows = 2 * ROWS_PER_CHUNK + 5_000
    clock, model = Clock(), Model(CATALOG)
    codes = 90_000_000_000 + np.arange(3_000)
    text = [CODE(code) for code in codes.tolist()]
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        for holder in (PORTAL, "nenkin", MUNICIPALITIES[0]):
            model.acquire(holder, text, h.acquire(holder, codes).aliases)
        own = np.frombuffer(b"".join(model.alias_of["nenkin"].values()), np.uint8).reshape(-1, 16)
        asked = own[rng.integers(0, len(own), rows)]
        long = make_inquiry("long")
        with pytest.raises(Stop):
            h.inquire(long, asked, MUNICIPALITIES[0], progress=stop)
        assert (h.status("nenkin", "long").chunks_done, h.status("nenkin", "long").chunks) == (1, 3)
        assert not h.status("nenkin", "long").complete
        with pytest.raises(hub.errors.RequestError, match="request_id"):
            h.inquire(long, asked[::-1].copy(), MUNICIPALITIES[0])
        expected = model.inquire(long, asked, MUNICIPALITIES[0], clock.now)
    # Another process, another day; new aliases must not change what was already decided to be asked.
    clock.now += 86_400
    with hub.open(tmp_path / "hub", clock=clock) as h:
        got = h.inquire(long, asked, MUNICIPALITIES[0])
        assert h.status("nenkin", "long").complete
        assert got.receipt.received_at == START
        for name in ("status", "rule", "reason"):
            assert np.array_equal(getattr(got, name), getattr(expected, name))
        assert h.stats()["records"] == len(model.records) == rows
        for alias in list(model.person_of[PORTAL])[:50]:
            check_history(read_history(h, alias, 10), model.history(alias))


def make_inquiry(request_id: str) -> hub.Inquiry:
    requester, procedure, items, role = QUESTIONS[0]
    return hub.Inquiry(
        requester=requester, procedure=procedure, items=items, role=role, section="係", request_id=request_id
    )


def test_an_inquiry_between_two_chunks_of_another_is_not_lost_from_histories(tmp_path: Path) -> None:
    rows = ROWS_PER_CHUNK + 10
    clock, model = Clock(), Model(CATALOG)
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        for holder in (PORTAL, "nenkin"):
            model.acquire(holder, [CODE(90_000_000_000)], h.acquire(holder, [CODE(90_000_000_000)]).aliases)
        (own,) = model.alias_of["nenkin"].values()
        (portal_alias,) = model.alias_of[PORTAL].values()
        one = np.frombuffer(own, np.uint8).reshape(1, 16)
        asked = np.zeros((rows, 16), np.uint8)
        asked[0] = asked[-1] = one
        with pytest.raises(Stop):
            h.inquire(make_inquiry("long"), asked, MUNICIPALITIES[0], progress=stop)
        clock.now += 3_600
        h.inquire(make_inquiry("short"), one, MUNICIPALITIES[0])
        clock.now += 3_600
        h.inquire(make_inquiry("long"), asked, MUNICIPALITIES[0])
        everything = read_history(h, portal_alias, 10)
        assert len(everything) == 3
        # The order is the log's: a resumed inquiry keeps the time at which it was received.
        assert [record.index for record in everything] == [2, 1, 0]
        since = dt.datetime.fromtimestamp(START + 1_800, dt.UTC)
        later = [r for r in everything if r.requested_at >= since]
        assert later
        assert [r.index for r in read_history(h, portal_alias, 10, since=since)] == [r.index for r in later]


def test_a_million_random_rows_resolve_as_in_the_model(tmp_path: Path) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    persons, rows = 300_000, 1_000_000
    holders = ["nenkin", *MUNICIPALITIES]
    numbers = np.array([CATALOG.institution(code).number for code in holders], np.uint32)
    # The model: alias by holder and person, zeros where the holder does not know the person.
    alias_of = np.zeros((len(holders), persons, 16), np.uint8)
    with hub.open(tmp_path / "hub", create=True) as h:
        for place, holder in enumerate(holders):
            known = rng.permutation(persons)[: persons if place == 0 else persons // 2]
            acquired = h.acquire(holder, 90_000_000_000 + known)
            assert (acquired.status == Acquisition.CREATED).all()
            alias_of[place, known] = acquired.aliases
        person = rng.integers(0, persons, rows)
        provider = rng.integers(0, len(holders), rows)
        asked = alias_of[0, person]
        strangers = rng.random(rows) < 0.03
        asked[strangers] = rng.integers(0, 256, (int(strangers.sum()), 16), np.uint8)
        expected = alias_of[provider, person]
        expected[strangers] = 0
        status = np.where(expected.any(axis=1), Status.OK, Status.NO_ALIAS_AT_PROVIDER)
        status[strangers] = Status.UNKNOWN_ALIAS
        for _ in range(2):  # the second time every block was used before
            got = h.resolve("nenkin", numbers[provider], asked)
            assert np.array_equal(got.status, status)
            assert np.array_equal(got.aliases, expected)
        h.close()
    with hub.open(tmp_path / "hub", readonly=True, threads=1) as h:
        got = h.resolve("nenkin", numbers[provider], asked)
        assert np.array_equal(got.status, status)
        assert np.array_equal(got.aliases, expected)
