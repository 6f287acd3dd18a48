"""Who holds whom: facts of the register body, and rows that name a class instead of a body."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub import limits
from hub.errors import RequestError, StorageError
from hub.messages import Reason, Status
from hub.persons import holders
from hub.persons.holders import find_holders, holders_of
from hub.records.bodies import Supervised
from hub.records.events import EventKind
from inquiries import tax_inquiry
from parties import NOON, Clock
from test_consents import ASKED, ASKS, RULES, aid_inquiry

SEED = int(os.environ.get("HUB_MODEL_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
MAYORS = "市町村長"
BOTH = "都道府県知事又は市町村長(公営住宅事業主体)"
DAY = dt.date(2026, 1, 1)
LONG_AGO = dt.date(2001, 4, 1)
EPOCH = dt.date(1970, 1, 1)
ENDLESS = dt.date.max


class Country:
    """An open hub in which nenkin asks the towns about persons whom the register body places."""

    def __init__(self, folder: Path, persons: int = 40) -> None:
        self.folder, self.clock = folder, Clock()
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.codes = [f"{10**9 + number:011}" for number in range(persons)]
        self.towns = [body.code for body in self.h.catalog.institutions(MAYORS)[:5]]
        self.nenkin = self.h.acquire("nenkin", self.codes).aliases
        self.portal = self.h.acquire("portal", self.codes).aliases

    def __enter__(self) -> Country:
        return self

    def __exit__(self, *_: object) -> None:
        self.h.close()

    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.folder, clock=self.clock)

    def push(
        self, persons: list[int], towns: Any, since: Any = LONG_AGO, until: Any = None, **words: Any
    ) -> hub.Holders:
        codes = [self.codes[person] for person in persons]
        return self.h.push_holders("jlis", codes, words.pop("label", MAYORS), towns, since, until, **words)

    def ask(self, request_id: str, persons: list[int], providers: Any = MAYORS, **words: Any) -> hub.Answer:
        inquiry = tax_inquiry(request_id, **words)
        return self.h.inquire(inquiry, np.ascontiguousarray(self.nenkin[persons]), providers)

    def held(self, person: int, day: dt.date) -> list[str]:
        """The codes of who holds a person, as it is stored."""
        number = self.h.catalog.class_number(MAYORS)
        with self.h._store.snapshot() as snapshot:
            found = holders_of(snapshot, person, number, (day - EPOCH).days)
            count, latest = find_holders(snapshot, np.array([person], np.uint32), number, (day - EPOCH).days)
        assert count.tolist() == [len(found)]
        assert latest[0] in (found or [0])
        return [self.h.catalog.institution_by_number(one).code for one in found]

    def commits(self) -> int:
        return int(self.h.stats()["commits"])

    def provider_of(self, person: int) -> list[str]:
        return [record.provider for record in self.h.history(self.portal[person]).records]


@pytest.fixture
def country(tmp_path: Path) -> Iterator[Country]:
    with Country(tmp_path / "hub") as found:
        yield found


# -- facts


def test_a_fact_holds_from_its_first_day_to_its_last(country: Country) -> None:
    town = country.towns[0]
    assert country.push([3], town, DAY, dt.date(2026, 3, 31)) == hub.Holders(taken=1, unknown=0, full=0)
    days = (dt.date(2025, 12, 31), DAY, dt.date(2026, 3, 31), dt.date(2026, 4, 1))
    assert [country.held(3, day) for day in days] == [[], [town], [town], []]
    assert country.held(4, DAY) == []


def test_a_fact_that_begins_later_closes_an_open_one_the_day_before(country: Country) -> None:
    first, second = country.towns[:2]
    country.push([0], first)
    country.push([0], second, DAY)
    assert country.held(0, DAY - dt.timedelta(1)) == [first]
    assert country.held(0, DAY) == country.held(0, ENDLESS) == [second]


def test_an_earlier_fact_that_comes_late_is_closed_as_well(country: Country) -> None:
    first, second = country.towns[:2]
    country.push([0], second, DAY)
    country.push([0], first)
    assert country.held(0, DAY - dt.timedelta(1)) == [first]
    assert country.held(0, DAY) == [second]


def test_facts_of_two_bodies_may_contradict_each_other(country: Country) -> None:
    first, second = country.towns[:2]
    country.push([0, 0], [second, first], [DAY, LONG_AGO], [None, dt.date(2026, 1, 31)])
    assert country.held(0, DAY) == [first, second]
    assert country.held(0, dt.date(2026, 2, 1)) == [second]


def test_the_last_day_of_a_fact_can_be_changed(country: Country) -> None:
    town = country.towns[0]
    country.push([0], town)
    country.push([0], town, LONG_AGO, DAY)
    assert (country.held(0, DAY), country.held(0, DAY + dt.timedelta(1))) == ([town], [])
    country.push([0], town)
    assert country.held(0, ENDLESS) == [town]


def test_a_last_day_before_the_first_takes_a_fact_back(country: Country) -> None:
    first, second = country.towns[:2]
    country.push([0], first)
    country.push([0], second, DAY)
    country.push([0], second, DAY, DAY - dt.timedelta(1))
    country.push([0], first)
    assert country.held(0, ENDLESS) == [first]
    country.push([0], first, LONG_AGO, LONG_AGO - dt.timedelta(1))
    assert country.held(0, DAY) == []
    with country.h._store.snapshot() as snapshot:
        assert [key[:1] for key, _ in snapshot.items("holders", b"")] == [b"c"]


def test_the_same_facts_again_write_nothing(country: Country) -> None:
    persons = list(range(40))
    towns = [country.towns[person % 5] for person in persons]
    country.push(persons, towns)
    before = country.commits()
    assert country.push(persons, towns) == hub.Holders(taken=40, unknown=0, full=0)
    assert country.commits() == before
    assert country.push([], []) == hub.Holders(taken=0, unknown=0, full=0)
    assert country.commits() == before


def test_persons_whom_the_hub_does_not_know_are_counted_and_left_out(tmp_path: Path) -> None:
    with Country(tmp_path / "hub", persons=2) as country:
        codes = [*country.codes, "90000000001"]
        found = country.h.push_holders("jlis", codes, MAYORS, country.towns[0], DAY)
        assert found == hub.Holders(taken=2, unknown=1, full=0)
    with hub.open(tmp_path / "empty", create=True) as h:
        assert h.push_holders("jlis", codes, MAYORS, country.towns[0], DAY).unknown == 3


def test_a_person_has_so_many_facts_of_a_class_and_no_more(country: Country) -> None:
    most = limits.HOLDER_FACTS_MAX
    days = [DAY + dt.timedelta(number) for number in range(most)]
    assert country.push([7] * most, country.towns[0], days).full == 0
    assert country.push([7, 8], country.towns[1], LONG_AGO) == hub.Holders(taken=1, unknown=0, full=1)
    assert country.held(7, LONG_AGO) == []
    assert country.held(8, LONG_AGO) == [country.towns[1]]
    # Another last day is no further fact.
    assert country.push([7], country.towns[0], days[-1], days[-1]).full == 0
    assert country.held(7, ENDLESS) == []


def test_facts_of_one_class_say_nothing_of_another(country: Country) -> None:
    country.push([0], country.towns[0])
    country.push([0], country.towns[1], DAY, label=BOTH)
    assert country.held(0, DAY) == [country.towns[0]]


@pytest.mark.parametrize("blocks", [1, 3, limits.HOLDER_BLOCKS_PER_COMMIT])
def test_facts_in_any_order_stand_as_in_a_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr(holders, "HOLDER_BLOCKS_PER_COMMIT", blocks)
    monkeypatch.setattr(holders, "HOLDER_BLOCKS_AT_A_TIME", blocks)
    print(f"HUB_MODEL_SEED={SEED}")
    rng = random.Random(SEED)
    count = 1_500
    model: dict[tuple[int, str, dt.date], dt.date] = {}
    with Country(tmp_path / "hub", persons=count) as country:
        for _ in range(4):
            persons = [rng.randrange(count) for _ in range(1_200)]
            towns = [rng.choice(country.towns) for _ in persons]
            since = [DAY + dt.timedelta(rng.randrange(8)) for _ in persons]
            until = [rng.choice([None, day + dt.timedelta(rng.randrange(-1, 4))]) for day in since]
            country.push(persons, towns, since, until)
            for person, town, first, last in zip(persons, towns, since, until, strict=True):
                model[person, town, first] = ENDLESS if last is None else last
            close(model)
            for day in range(-1, 12):
                check_day(country, model, count, DAY + dt.timedelta(day))
        country.reopen()
        check_day(country, model, count, DAY + dt.timedelta(5))
        assert country.h.verify().problems == ()


def close(model: dict[tuple[int, str, dt.date], dt.date]) -> None:
    """Take back what ends before it begins, and end what is open where the next begins."""
    for key, last in list(model.items()):
        if last < key[2]:
            del model[key]
    starts: dict[int, set[dt.date]] = {}
    for person, _, first in model:
        starts.setdefault(person, set()).add(first)
    for (person, town, first), last in list(model.items()):
        later = [day for day in starts[person] if day > first]
        if last == ENDLESS and later:
            model[person, town, first] = min(later) - dt.timedelta(1)


def check_day(country: Country, model: dict[tuple[int, str, dt.date], dt.date], persons: int, day: dt.date) -> None:
    held: dict[int, dict[str, dt.date]] = {}
    for (person, town, first), last in model.items():
        if first <= day <= last:
            at = held.setdefault(person, {})
            at[town] = max(first, at.get(town, first))
    asked = np.random.default_rng(SEED).permutation(np.append(np.arange(persons + 300), [0xFFFFFFFF] * 3 + [0, 0]))
    number = country.h.catalog.class_number(MAYORS)
    with country.h._store.snapshot() as snapshot:
        count, latest = find_holders(snapshot, asked.astype(np.uint32), number, (day - EPOCH).days)
        for row, person in enumerate(asked.tolist()):
            expected = held.get(person, {})
            assert count[row] == len(expected)
            if expected:
                code = country.h.catalog.institution_by_number(int(latest[row])).code
                assert expected[code] == max(expected.values())
                if person % 97 == 0:
                    found = holders_of(snapshot, person, number, (day - EPOCH).days)
                    codes = [country.h.catalog.institution_by_number(one).code for one in found]
                    assert sorted(codes) == sorted(expected)
            else:
                assert latest[row] == 0


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_transaction_that_fails_leaves_those_before_it_and_the_same_push_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(holders, "HOLDER_BLOCKS_PER_COMMIT", 1)
    with Country(tmp_path / "hub", persons=700) as country:
        persons, town = list(range(700)), country.towns[0]
        told: list[int] = []

        def stop(done: int) -> None:
            told.append(done)
            if when == "behind" and done == 512:
                raise KeyboardInterrupt

        store = country.h._store
        keep = store.at_commit

        def fail(commit: Any) -> None:
            if keep is not None:
                keep(commit)
            if when == "before" and len(told) == 2:
                raise KeyboardInterrupt

        store.at_commit = fail
        with pytest.raises(KeyboardInterrupt):
            country.push(persons, town, progress=stop)
        store.at_commit = keep
        assert told == [256, 512]
        assert [country.held(person, DAY) for person in (0, 511, 512, 699)] == [[town], [town], [], []]
        assert [event.ground for event in country.h.events()] == [f"{MAYORS}: 256"] * 2
        country.reopen()
        assert country.push(persons, town).taken == 700
        assert [country.held(person, DAY) for person in (0, 511, 512, 699)] == [[town]] * 4
        assert [event.ground for event in country.h.events()] == [f"{MAYORS}: 256"] * 2 + [f"{MAYORS}: 188"]
        assert country.h.verify().problems == ()


def test_a_damaged_block_is_not_answered_from(country: Country) -> None:
    country.push([0], country.towns[0])
    with country.h._store.snapshot() as snapshot:
        key, value = snapshot.items("holders", b"", limit=1)[0]
        damaged = bytearray(value)
    damaged[-1] ^= 1
    with country.h._store.commit() as commit:
        commit.txn.put(key, bytes(damaged), db=commit.databases["holders"])
    with pytest.raises(StorageError, match=r"^holders: .*damaged"):
        country.ask("r1", [0])
    assert any("holders" in problem for problem in country.h.verify().problems)


def test_a_push_is_an_event_for_auditors_that_names_nobody(country: Country) -> None:
    country.push([0, 1, 2], country.towns[0], clerk="register clerk")
    event = country.h.events()[-1]
    assert (event.kind, event.institution, event.clerk) == (EventKind.HOLDERS_PUSHED, "jlis", "register clerk")
    assert event.ground == f"{MAYORS}: 3"
    assert (event.index, event.side) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"register": "nenkin"}, "expected jlis"),
        ({"codes": ["1"]}, "11 digits"),
        ({"label": "市長"}, "class"),
        ({"label": 5}, "class"),
        ({"institutions": "nenkin"}, f"bodies of {MAYORS}, got nenkin"),
        ({"institutions": "nobody"}, "connected body"),
        ({"institutions": MAYORS}, "connected body"),
        ({"institutions": np.array([0], np.uint32)}, "institution number"),
        ({"institutions": np.array([1 << 31], np.uint32)}, "institution numbers"),
        ({"institutions": []}, "1 rows, got 0"),
        ({"since": None}, "since: expected a date in every row"),
        ({"since": [None]}, "since: expected a date in every row"),
        ({"since": "2026-01-01"}, "since"),
        ({"since": dt.datetime(2026, 1, 1)}, "since"),
        ({"since": [DAY, DAY]}, "since: expected 1 rows, got 2"),
        ({"since": [5]}, "since: expected dates"),
        ({"since": np.array(["NaT"], "datetime64[D]")}, "since: expected a date in every row"),
        ({"since": np.array([10**7], "datetime64[D]")}, "since: expected a date in every row"),
        ({"since": np.array([0], "datetime64[s]")}, "since: expected datetime64"),
        ({"until": DAY - dt.timedelta(2)}, "until: expected no day before"),
        ({"clerk": "a\nb"}, "clerk"),
    ],
)
def test_bad_facts_are_refused_and_change_nothing(country: Country, changes: dict[str, Any], words: str) -> None:
    before = country.commits()
    given: dict[str, Any] = {
        "register": "jlis", "codes": country.codes[:1], "label": MAYORS, "institutions": country.towns[0],
        "since": DAY, "until": None, "clerk": None, **changes,
    }  # fmt: skip
    clerk = given.pop("clerk")
    with pytest.raises(RequestError, match=words):
        country.h.push_holders(*given.values(), clerk=clerk)
    assert country.commits() == before


def test_a_column_of_days_is_taken_as_well(country: Country) -> None:
    since = np.array(["2026-01-01", "0001-01-01"], "datetime64[D]")
    until = np.array(["NaT", "9999-12-31"], "datetime64[D]")
    country.push([0, 1], country.towns[0], since, until)
    assert (country.held(0, DAY - dt.timedelta(1)), country.held(0, DAY)) == ([], [country.towns[0]])
    assert country.held(1, dt.date.min) == country.held(1, ENDLESS) == [country.towns[0]]


def test_a_read_only_hub_takes_no_facts(country: Country) -> None:
    country.h.close()
    country.h = hub.open(country.folder, readonly=True, clock=country.clock)
    with pytest.raises(RequestError, match="read-only"):
        country.push([0], country.towns[0])


# -- rows that name a class


def test_a_row_goes_to_the_one_body_that_holds_the_person(country: Country) -> None:
    first, second = country.towns[:2]
    country.push([0, 1], [first, second])
    country.h.acquire(first, country.codes)
    answer = country.ask("r1", [0, 1, 2])
    lacking = Status.NO_ALIAS_AT_PROVIDER
    assert answer.status.tolist() == [Status.OK, lacking, lacking]
    assert answer.holders == {}
    assert (country.provider_of(0), country.provider_of(1), country.provider_of(2)) == ([first], [second], [""])
    named = country.ask("r2", [0, 1], [first, second])
    assert named.rule.tolist() == answer.rule[:2].tolist()
    assert country.h.verify().problems == ()


def test_the_reference_date_selects_the_holder_and_else_the_day_of_receipt_in_japan(country: Country) -> None:
    first, second = country.towns[:2]
    today = dt.date(2026, 11, 25)
    country.push([0, 0], [first, second], [LONG_AGO, today])
    country.ask("r1", [0], reference_date=today - dt.timedelta(1))
    assert country.provider_of(0)[0] == first
    country.ask("r2", [0], reference_date=today)
    assert country.provider_of(0)[0] == second
    # Nine in the morning in Japan is midnight in Greenwich.
    country.clock.now = NOON - 12 * 3_600 - 1
    country.h.close()
    with Country(country.folder.parent / "other") as other:
        other.clock.now = NOON - 12 * 3_600 - 1
        other.push([0, 0], [first, second], [LONG_AGO, today])
        other.ask("r1", [0])
        assert other.provider_of(0) == [first]
        other.clock.now += 1
        other.ask("r2", [0])
        assert other.provider_of(0) == [second, first]


def test_codes_and_labels_may_stand_side_by_side_and_numbers_of_classes_are_the_same_request(country: Country) -> None:
    catalog = country.h.catalog
    first, second = country.towns[:2]
    country.push([0, 1], first)
    country.h.acquire(first, country.codes)
    answer = country.ask("r1", [0, 1, 2], [second, MAYORS, first])
    assert answer.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK, Status.OK]
    numbers = [catalog.institution(second).number, limits.CLASSES_FROM + catalog.class_number(MAYORS)]
    column = np.array([*numbers, catalog.institution(first).number], np.uint32)
    before = country.commits()
    assert country.ask("r1", [0, 1, 2], column).status.tolist() == answer.status.tolist()
    assert country.commits() == before
    with pytest.raises(RequestError, match="request_id"):
        country.ask("r1", [0, 1, 2], [second, first, first])


def test_a_class_row_alone_is_answered_too(country: Country) -> None:
    country.push([0], country.towns[0])
    country.h.acquire(country.towns[0], country.codes[:1])
    assert country.ask("r1", [0]).status.tolist() == [Status.OK]
    future = country.h.inquire_soon(tax_inquiry("r2"), country.nenkin[:1], MAYORS)
    assert future.result(timeout=30).status.tolist() == [Status.OK]


def test_several_holders_are_told_and_none_of_them_is_asked(country: Country) -> None:
    first, second, third = country.towns[:3]
    country.push([0, 0, 1], [first, second, third], [LONG_AGO, DAY, DAY], [dt.date(2030, 1, 1), None, None])
    for town in (first, second, third):
        country.h.acquire(town, country.codes)
    answer = country.ask("r1", [1, 0, 0])
    assert answer.status.tolist() == [Status.OK, Status.MULTIPLE, Status.MULTIPLE]
    assert answer.holders == {1: (first, second), 2: (first, second)}
    assert country.provider_of(0) == ["", ""]
    assert all(country.h.handles(town, country.h.acquire(town, country.codes[:1]).aliases[0]) == [] for town in
               (first, second, third))  # fmt: skip
    assert country.h.verify().problems == ()


def test_the_same_request_again_tells_the_same_holders_whatever_the_facts_say_now(country: Country) -> None:
    first, second, third = country.towns[:3]
    country.push([0, 0], [first, second], DAY)
    answer = country.ask("r1", [1, 0])
    country.push([0], third, DAY)
    country.push([0], first, DAY, DAY - dt.timedelta(1))
    before = country.h.stats()["records"]
    country.reopen()
    again = country.ask("r1", [1, 0])
    assert again.holders == answer.holders == {1: (first, second)}
    assert again.status.tolist() == answer.status.tolist()
    assert country.h.stats()["records"] == before
    assert country.ask("r2", [1, 0]).holders == {1: (second, third)}


def test_another_process_that_only_reads_tells_the_same_holders(country: Country) -> None:
    country.push([0, 0], country.towns[:2], DAY)
    answer = country.ask("r1", [1, 0])
    country.h.close()
    country.h = hub.open(country.folder, readonly=True, clock=country.clock)
    assert country.ask("r1", [1, 0]).holders == answer.holders == {1: tuple(country.towns[:2])}
    with pytest.raises(RequestError, match="read-only"):
        country.ask("r2", [1, 0])


def test_a_missing_list_of_holders_is_never_answered_as_an_empty_one(country: Country) -> None:
    country.push([0, 0], country.towns[:2], DAY)
    country.ask("r1", [0])
    name = next(name for name in country.h._store.databases if name.startswith("requests."))
    with country.h._store.snapshot() as snapshot:
        (key,) = [key for key, _ in snapshot.items(name, b"") if key[16:17] == b"\x80"]
    with country.h._store.commit() as commit:
        commit.delete(name, key)
    with pytest.raises(StorageError, match="expected the holders"):
        country.ask("r1", [0])


def test_of_several_holders_the_only_one_that_the_law_allows_is_asked(country: Country) -> None:
    first, second = country.towns[:2]
    question = {
        "requester": first, "procedure": "19-8/106/108.1", "items": ("住民票",), "role": "支給要件児童",
    }  # fmt: skip
    # Use inside one body is no linkage: of the two the other one is left.
    country.push([0, 0], [first, second], DAY)
    mine = country.h.acquire(first, country.codes).aliases
    country.h.acquire(second, country.codes)
    for town, allowed in ((first, False), (second, True)):
        assert country.h.catalog.decide(tax_inquiry(**question), town).allowed is allowed
    answer = country.h.inquire(tax_inquiry(**question), mine[:1], MAYORS)
    assert answer.status.tolist() == [Status.OK]
    assert answer.holders == {}
    assert country.provider_of(0) == [second]


def test_each_row_is_located_with_its_own_consent(
    opened: hub.Hub, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.requests.state.ROWS_PER_CHUNK", 7)
    opened.load_catalog(opened.catalog.import_rules(RULES))
    mine = opened.acquire(ASKS, codes).aliases
    opened.acquire(ASKED, codes)
    other = next(body.code for body in opened.catalog.institutions(MAYORS) if body.code not in (ASKS, ASKED))
    # By turns: one holder; two; the requester itself and another since; none.
    facts = ((ASKED, (0, 1), LONG_AGO), (other, (1,), DAY), (ASKS, (2,), LONG_AGO), (ASKED, (2,), DAY))
    for town, places, since in facts:
        held = codes[np.isin(np.arange(100) % 4, places)]
        opened.push_holders("jlis", held, MAYORS, town, since, dt.date(2050, 1, 1))
    consents = np.arange(100) % 3 == 0
    answer = opened.inquire(aid_inquiry(), mine, MAYORS, consents=consents)
    with_consent = [Status.OK, Status.MULTIPLE, Status.OK, Status.NO_ALIAS_AT_PROVIDER]
    expected = [with_consent[row % 4] if consents[row] else Status.DENIED_CONSENT for row in range(100)]
    assert answer.status.tolist() == expected
    several = [row for row in range(100) if row % 4 == 1 and consents[row]]
    assert answer.holders == dict.fromkeys(several, (other, ASKED))
    assert opened.verify().ok


def test_a_row_whose_only_holder_may_not_be_asked_is_denied_as_if_it_had_named_it(country: Country) -> None:
    first = country.towns[0]
    mine = country.h.acquire(first, country.codes).aliases
    country.push([0], first)
    inquiry = tax_inquiry(requester=first, procedure="19-8/106/108.1", items=("住民票",), role="支給要件児童")
    answer = country.h.inquire(inquiry, mine[:2], MAYORS)
    assert answer.status.tolist() == [Status.DENIED, Status.NO_ALIAS_AT_PROVIDER]
    assert answer.reason.tolist() == [Reason.SAME_INSTITUTION, Reason.NONE]


def test_a_class_that_the_law_does_not_name_is_denied_whoever_holds_the_person(country: Country) -> None:
    label = "都道府県知事"
    governors = [body.code for body in country.h.catalog.institutions(label)[:2]]
    country.push([0, 1, 1], [governors[0], *governors], DAY, label=label)
    answer = country.ask("r1", [0, 1, 2], label)
    assert answer.status.tolist() == [Status.DENIED] * 3
    assert answer.holders == {}
    assert country.provider_of(0) == [governors[0]]
    assert country.provider_of(2) == [""]


def test_an_unknown_alias_leaves_no_record_and_is_not_located(country: Country) -> None:
    country.push([0], country.towns[0])
    answer = country.h.inquire(tax_inquiry(), np.zeros((2, 16), np.uint8), MAYORS)
    assert answer.status.tolist() == [Status.UNKNOWN_ALIAS] * 2
    assert country.h.stats()["records"] == 0


def test_revoked_and_replaced_aliases_are_answered_as_in_rows_that_name_the_holder(country: Country) -> None:
    town = country.towns[0]
    own = country.h.acquire(town, country.codes).aliases
    country.push(list(range(4)), town)
    country.h.revoke("nenkin", country.nenkin[:1])
    country.h.revoke(town, own[1:2])
    fresh = country.h.reissue("nenkin", country.nenkin[2:3]).aliases
    rows = np.concatenate((country.nenkin[:4], fresh))
    by_class, named = (country.h.inquire(tax_inquiry(word), rows, word) for word in (MAYORS, town))
    expected = [Status.REVOKED, Status.NO_ALIAS_AT_PROVIDER, Status.REVOKED, Status.OK, Status.OK]
    assert by_class.status.tolist() == named.status.tolist() == expected
    # The old alias of a person does not lead to who holds them.
    assert [country.provider_of(person) for person in (0, 1)] == [[town, ""], [town, town]]
    assert country.h.verify().problems == ()


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ("市長", "connected body, got '市長'"),
        ([MAYORS, "市長"], "connected body, got '市長'"),
        (np.array([1 << 31, 1 << 31], np.uint32), "class number"),
        (np.array([0xFFFFFFFF, 1], np.uint32), "class number"),
        ("他の法令による給付の支給を行うこととされている者", "class with connected bodies"),
    ],
)
def test_a_word_that_is_no_body_and_no_class_is_refused(country: Country, providers: Any, words: str) -> None:
    before = country.commits()
    with pytest.raises(RequestError, match=words):
        country.ask("r1", [0, 1], providers)
    assert country.commits() == before


def test_a_bench_may_not_resolve_a_class(country: Country) -> None:
    for providers in (MAYORS, np.array([limits.CLASSES_FROM], np.uint32)):
        with pytest.raises(RequestError, match=r"connected body|institution numbers"):
            country.h.resolve("nenkin", providers, country.nenkin[:1])


def test_whoever_asked_a_class_is_not_told_in_its_records_who_holds_the_person(country: Country) -> None:
    town = country.towns[0]
    country.push([0], town)
    own = country.h.acquire(town, country.codes).aliases
    country.ask("by class", [0])
    ((_, record),) = country.h.handles("nenkin", country.nenkin[0])
    assert record.provider == ""
    ((_, record),) = country.h.handles(town, own[0])
    assert record.provider == town
    country.clock.now += 1
    country.ask("by name", [0], town)
    assert [record.provider for _, record in country.h.handles("nenkin", country.nenkin[0])] == [town, ""]


@pytest.mark.parametrize("flagged_by", ["a holder", "another", "the requester"])
def test_a_person_for_whom_a_clerk_answers_somewhere_looks_like_one_with_one_holder(
    country: Country, flagged_by: str
) -> None:
    first, second, third = country.towns[:3]
    # Who has: two holders, one that knows them, one that does not, none; then the same without a flag.
    persons = [0, 1, 2, 3]
    for base in (0, 10):
        facts = [(base, first, LONG_AGO), (base, second, DAY), (base + 1, first, DAY), (base + 2, third, DAY)]
        known, towns, since = (list(column) for column in zip(*facts, strict=True))
        country.push(known, towns, since, dt.date(2030, 1, 1))
    for town in (first, second):
        country.h.acquire(town, country.codes)
    holder = {"a holder": first, "another": country.towns[4], "the requester": "nenkin"}[flagged_by]
    aliases = country.h.acquire(holder, country.codes).aliases
    country.h.flag(holder, np.ascontiguousarray(aliases[persons]), hub.Flag.MANUAL)
    answer = country.ask("r1", [*persons, 10, 11, 12, 13])
    lacking = Status.NO_ALIAS_AT_PROVIDER
    assert answer.status.tolist() == [Status.OK] * 4 + [Status.MULTIPLE, Status.OK, lacking, lacking]
    assert set(answer.holders) == {4}
    assert len(set(answer.rule.tolist())) == len(set(answer.reason.tolist())) == 1
    # Of several the one that began last; of none nobody.
    assert [country.provider_of(person) for person in persons] == [[second], [first], [third], [""]]
    for person in persons:
        ((_, record),) = country.h.handles("nenkin", country.nenkin[person])
        assert (record.provider, record.outcome) == ("", Status.OK)
        with pytest.raises(RequestError, match="whose provider has no alias"):
            country.h.ask_alias(("r1", person))
    assert country.h.verify().problems == ()


def test_the_permit_of_a_protected_person_whom_nobody_holds_reaches_nobody_and_lapses(country: Country) -> None:
    town = country.towns[0]
    own = country.h.acquire(town, country.codes).aliases
    country.push([1], town)
    country.h.flag(town, own[:2], hub.Flag.MANUAL)
    assert country.ask("r1", [0, 1]).status.tolist() == [Status.OK] * 2
    ((permits),) = country.h.collect(town)
    assert permits.aliases.tolist() == own[1:2].tolist()
    assert country.h.answers("nenkin", "r1").status.tolist() == [Status.PENDING] * 2
    country.clock.now += 29 * 86_400
    assert country.h.lapse() == 2
    assert country.h.answers("nenkin", "r1").status.tolist() == [Status.LAPSED] * 2
    for person, provider in ((0, ""), (1, town)):
        records = country.h.history(country.portal[person]).records
        assert (records[0].provider, records[0].outcome) == (provider, Status.LAPSED)
    assert country.h.verify().problems == ()


def test_a_flag_that_comes_after_a_chunk_was_located_hides_its_holders(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = country.towns[:2]
    own = country.h.acquire(first, country.codes).aliases
    country.push([0, 0], [first, second], DAY)
    prepare = country.h._prepare
    calls = []

    def prepare_then_flag(*arguments: Any) -> Any:
        made = prepare(*arguments)
        if not calls:
            country.h.flag(first, own[:1], hub.Flag.MANUAL)
        calls.append(made)
        return made

    monkeypatch.setattr(country.h, "_prepare", prepare_then_flag)
    answer = country.ask("r1", [0])
    assert (answer.status.tolist(), answer.holders, len(calls)) == ([Status.OK], {}, 2)


def test_a_correction_by_the_located_body_does_not_tell_the_requester_who_holds_the_person(country: Country) -> None:
    town = country.towns[0]
    own = country.h.acquire(town, country.codes).aliases
    country.push([0], town)
    country.ask("r1", [0])
    ((handle, _),) = country.h.handles(town, own[0])
    made = country.h.correct(handle, "wrong household", "税務課")
    for code, by in (("nenkin", ""), ("pm", "")):
        (notice,) = country.h.corrections(code)
        assert (notice.by, notice.record.provider) == (by, "")
        country.h.confirm(notice.handle, section="s")
    country.clock.now += 1
    country.ask("by name", [1], town)
    country.h.correct(country.h.handles(town, own[1])[0][0], "wrong too", "税務課")
    (notice,) = country.h.corrections("nenkin")
    assert (notice.by, notice.record.provider) == (town, town)
    assert made != handle
    assert country.h.verify().problems == ()


def test_operator_cases_and_classes_are_kept_for_supervisors(country: Country) -> None:
    country.push([0], country.towns[0])
    inquiry = tax_inquiry("r1", operator="sato")
    mark = hub.Withhold(ground="g", until=DAY)
    country.h.inquire(inquiry, country.nenkin[:2], MAYORS, cases=["c1", None], withhold=[mark, None])
    with country.h._store.snapshot() as snapshot:
        chunk = country.h._office.bodies(snapshot).locate(0).chunk
    kept = msgspec.msgpack.decode(chunk.fields.supervised[0], type=Supervised)
    assert (kept.operator, kept.classes) == ("sato", [MAYORS])
    assert sorted(kept.cases or [], key=str) == [None, "c1"]
    assert (country.provider_of(0), country.provider_of(1)) == ([], [""])
    # Without a class the bytes are as they always were.
    country.ask("r2", [0], country.towns[0])
    with country.h._store.snapshot() as snapshot:
        chunk = country.h._office.bodies(snapshot).locate(2).chunk
    assert chunk.fields.supervised == [msgspec.msgpack.encode((None, None))]


def test_ten_thousand_rows_go_where_a_dict_says(tmp_path: Path) -> None:
    """With chunks of other sizes than blocks, facts of several days, several holders, and towns that lack people."""
    rng = np.random.default_rng(SEED)
    print(f"HUB_MODEL_SEED={SEED}")
    count = 3_000
    with Country(tmp_path / "hub", persons=count) as country:
        h, towns = country.h, country.towns
        # A person may be asked about at every town: no row is held.
        terms = f"procedure,permit_days,providers_per_person_max\n*,,{len(towns)}\n"
        h.load_catalog(h.catalog.import_table(terms.encode(), "terms"))
        home = rng.integers(-1, len(towns), count)
        other = np.where(rng.random(count) < 0.1, rng.integers(0, len(towns), count), -1)
        for column in (home, other):
            some = np.flatnonzero(column >= 0).tolist()
            country.push(some, [towns[column[person]] for person in some], DAY)
        known = {town: set(np.flatnonzero(rng.random(count) < 0.7).tolist()) for town in towns}
        for town, persons in known.items():
            h.acquire(town, [country.codes[person] for person in sorted(persons)])
        rows = rng.integers(0, count, 10_000).tolist()
        words = [MAYORS if rng.random() < 0.8 else towns[rng.integers(len(towns))] for _ in rows]
        answer = country.ask("bulk", rows, words)
        lists = {}
        for row, (person, word) in enumerate(zip(rows, words, strict=True)):
            held = sorted({towns[at] for at in (home[person], other[person]) if at >= 0}, key=towns.index)
            going = [word] if word != MAYORS else held
            if len(going) > 1:
                expected = Status.MULTIPLE
                lists[row] = tuple(going)
            else:
                there = bool(going) and person in known[going[0]]
                expected = Status.OK if there else Status.NO_ALIAS_AT_PROVIDER
            assert answer.status[row] == expected
        assert answer.holders == lists
        assert len(lists) > 100
        assert h.verify().problems == ()
        before = h.stats()["records"]
        again = country.ask("bulk", rows, words)
        assert again.holders == lists
        assert h.stats()["records"] == before == 10_000


def test_a_chunk_is_located_again_where_a_fact_came_between(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = country.towns[:2]
    for town in (first, second):
        country.h.acquire(town, country.codes)
    country.push([0], first)
    prepare = country.h._prepare
    calls = []

    def prepare_then_push(*arguments: Any) -> Any:
        made = prepare(*arguments)
        if not calls:
            country.push([0], second, DAY)
        calls.append(made)
        return made

    monkeypatch.setattr(country.h, "_prepare", prepare_then_push)
    country.ask("r1", [0])
    assert len(calls) == 2
    assert country.provider_of(0) == [second]


def test_other_inquiries_are_not_prepared_again_for_a_fact(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    town = country.towns[0]
    prepare = country.h._prepare
    calls = []

    def prepare_then_push(*arguments: Any) -> Any:
        made = prepare(*arguments)
        country.push([0], town)
        calls.append(made)
        return made

    monkeypatch.setattr(country.h, "_prepare", prepare_then_push)
    mark = hub.Withhold(ground="g", until=DAY)
    country.h.inquire(tax_inquiry(), country.nenkin[:1], town, withhold=[mark])
    assert len(calls) == 1


def test_an_interrupted_inquiry_by_class_goes_on_and_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.requests.state.ROWS_PER_CHUNK", 100)
    with Country(tmp_path / "hub", persons=450) as country:
        first, second = country.towns[:2]
        persons = list(range(450))
        country.push(persons, first, DAY)
        country.push(persons[::3], second, DAY)
        country.h.acquire(first, country.codes)
        country.h.acquire(second, country.codes)

        def stop(done: int) -> None:
            if done == 200:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            country.h.inquire(tax_inquiry("r1"), country.nenkin, MAYORS, progress=stop)
        country.reopen()
        # What was recorded keeps its holders; the rest is located when it is recorded.
        country.push(persons[::3], second, DAY, DAY - dt.timedelta(1))
        answer = country.h.inquire(tax_inquiry("r1"), country.nenkin, MAYORS)
        assert answer.holders == dict.fromkeys(range(0, 200, 3), (first, second))
        assert country.h.stats()["records"] == 450


KILLED = """
import sys, datetime as dt, numpy as np, hub
from hub.persons import holders
holders.HOLDER_BLOCKS_PER_COMMIT = 2
folder, town, other = sys.argv[1:]
codes = np.arange(6_000, dtype=np.int64) + 10**9
with hub.open(folder) as h:
    print("open", flush=True)
    h.push_holders("jlis", codes, "市町村長", town, dt.date(2026, 1, 1))
    h.push_holders("jlis", codes, "市町村長", other, dt.date(2026, 2, 1))
    print("done", flush=True)
"""


def test_a_push_that_is_killed_is_completed_by_the_same_push(tmp_path: Path) -> None:
    print(f"HUB_MODEL_SEED={SEED}")
    rng = random.Random(SEED)
    codes = np.arange(6_000, dtype=np.int64) + 10**9
    folder = tmp_path / "hub"
    with hub.open(folder, create=True) as h:
        first, second = (body.code for body in h.catalog.institutions(MAYORS)[:2])
        h.acquire("nenkin", codes)
        number = h.catalog.class_number(MAYORS)
        numbers = [h.catalog.institution(code).number for code in (first, second)]
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", KILLED, folder, first, second], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        time.sleep(rng.random() * 0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with hub.open(folder, readonly=True) as h:
            assert h.verify().problems == ()
    with hub.open(folder) as h:
        h.push_holders("jlis", codes, MAYORS, first, dt.date(2026, 1, 1))
        h.push_holders("jlis", codes, MAYORS, second, dt.date(2026, 2, 1))
        with h._store.snapshot() as snapshot:
            for day, expected in ((dt.date(2026, 1, 31), numbers[0]), (dt.date(2026, 2, 1), numbers[1])):
                found = find_holders(snapshot, np.arange(6_000, dtype=np.uint32), number, (day - EPOCH).days)
                assert (found[0] == 1).all()
                assert (found[1] == expected).all()
