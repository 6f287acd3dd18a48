"""Automatic answers from the copy register: who gets which outcome, and that each is kept before it is given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agency_desk import OTHER_ITEM, csv_of, load, own_id, payload_of, register_of, town_agency

import hub
from hub.agency import answering, compare
from hub.agency.owncopy import read_answered
from hub.errors import RequestError
from hub.messages import Reason, Status
from inquiries import tax_inquiry
from parties import Parties


@pytest.fixture
def parties(tmp_path: Path):
    with Parties(tmp_path / "hub", persons=8) as made:
        yield made


def told(parties: Parties, request_id: str = "r1") -> list[tuple[int, int, bytes | None]]:
    answers = parties.h.answers("nenkin", request_id)
    return list(zip(answers.status.tolist(), answers.reason.tolist(), answers.payloads, strict=True))


def copy_of(agency: Any) -> list[tuple[int, int, bool]]:
    """Outcome, reason and whether it has a receipt, of every line of the own copy."""
    with agency._store.read() as reader:
        return [
            (outcome, reason, rows.given_at is not None)
            for rows in read_answered(reader)
            for outcome, reason in zip(rows.outcomes.tolist(), rows.reasons.tolist(), strict=True)
        ]


def test_everybody_gets_the_outcome_that_is_theirs(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", list(range(8)))
    with town_agency(tmp_path / "a", parties, linked=range(7)) as agency:
        # 0 and 1 have data, 2 has none of the item, 3 is not there, 4 is flagged here, 5 at the hub, 7 is not linked.
        rows = [f"{own_id(2)},,,,7"]
        load(agency, [register_of([0, 1, 4, 5]), csv_of(rows)])
        agency.flag(parties.known[4:5])
        parties.h.flag(parties.town, parties.known[5:6], hub.Flag.MANUAL, clerk="sato")
        done = agency.answer(parties.h)
        assert done.outcomes == {"PROVIDED": 2, "EMPTY": 1, "NO_RECORD": 3, "MANUAL": 1}
        assert done.left == 0
        assert told(parties) == [
            (Status.PROVIDED, 0, payload_of(0)),
            (Status.PROVIDED, 0, payload_of(1)),
            (Status.EMPTY, 0, None),
            (Status.NO_RECORD, 0, None),
            (Status.PENDING, 0, None),
            (Status.PENDING, 0, None),
            (Status.NO_RECORD, 0, None),
            (Status.NO_RECORD, Reason.NOT_LOADED, None),
        ]
        waiting = parties.h.collect(parties.town, manual=True)
        assert sum(map(len, waiting)) == 2
        assert Counter(copy_of(agency)) == {
            (Status.PROVIDED, 0, True): 2, (Status.EMPTY, 0, True): 1, (Status.NO_RECORD, 0, True): 2,
            (Status.NO_RECORD, Reason.NOT_LOADED, True): 1, (Status.MANUAL, 0, True): 1,
        }  # fmt: skip
        # Nothing is answered twice, and what a clerk decides is left to the clerk.
        assert agency.answer(parties.h).rows == 0
        assert len(copy_of(agency)) == 7
    assert parties.h.verify().problems == ()


def test_not_loaded_yet_is_told_apart_from_no_such_person(parties: Parties, tmp_path: Path) -> None:
    with town_agency(tmp_path / "a", parties) as agency:
        parties.ask("never", [0])
        agency.answer(parties.h)
        agency.begin_load("tax", "l1")
        agency.load_chunk("tax", "l1", 1, register_of([1]))
        parties.ask("first", [1, 2])
        agency.answer(parties.h)
        agency.load_chunk("tax", "l1", 2, register_of([3]))
        agency.finish_load("tax", "l1", 2)
        parties.ask("whole", [1, 2])
        agency.answer(parties.h)
        agency.begin_load("tax", "l2")
        parties.ask("second", [1, 2])
        agency.answer(parties.h)
    not_loaded = (Status.NO_RECORD, Reason.NOT_LOADED, None)
    assert told(parties, "never") == [not_loaded]
    assert told(parties, "first") == [not_loaded, not_loaded]
    loaded = [(Status.PROVIDED, 0, payload_of(1)), (Status.NO_RECORD, 0, None)]
    assert told(parties, "whole") == loaded
    assert told(parties, "second") == loaded
    assert parties.h.verify().problems == ()


def test_not_loaded_survives_sorting_and_reopening(parties: Parties, tmp_path: Path) -> None:
    with town_agency(tmp_path / "a", parties) as agency:
        parties.ask("r1", list(range(8)))
        agency.answer(parties.h)
        before = told(parties)
        assert before == [(Status.NO_RECORD, Reason.NOT_LOADED, None)] * 8
        assert parties.h._delivery is not None
        parties.h._delivery.deliver()
        assert told(parties) == before
        parties.reopen()
        assert told(parties) == before
        # No refusal: auditors are told of none.
        assert not [event for event in parties.h.events() if event.kind == hub.EventKind.REFUSED]
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("outcome", [Status.PROVIDED, Status.EMPTY, Status.REFUSED, Status.MANUAL])
def test_not_loaded_is_a_reason_of_no_record_alone(parties: Parties, outcome: Status) -> None:
    parties.ask("r1", [0])
    (permits,) = parties.h.collect(parties.town)
    with pytest.raises(RequestError, match="reasons"):
        parties.h.provide(parties.town, permits, outcome, reasons=[Reason.NOT_LOADED])
    with pytest.raises(RequestError, match="reasons"):
        parties.h.provide(parties.town, permits, Status.NO_RECORD, reasons=[Reason.IDENTITY_IN_DOUBT])
    parties.h.provide(parties.town, permits, Status.NO_RECORD, reasons=[Reason.NOT_LOADED])
    parties.h.provide(parties.town, permits, Status.NO_RECORD, reasons=[Reason.NOT_LOADED])
    with pytest.raises(RequestError, match="answered"):
        parties.h.provide(parties.town, permits, Status.NO_RECORD)


def test_payloads_are_sealed_where_the_requester_has_a_key(parties: Parties, tmp_path: Path) -> None:
    private, public = hub.new_payload_key()
    parties.h.register_key("nenkin", public)
    parties.ask("r1", [0, 1])
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of([0])])
        agency.answer(parties.h)
    (first, _, sealed), (second, _, none) = told(parties)
    assert (first, second, none) == (Status.PROVIDED, Status.NO_RECORD, None)
    assert sealed is not None
    assert hub.open_payload(private, sealed) == payload_of(0)


def test_an_alias_may_be_the_key(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", [0, 1])
    with hub.agency.open(tmp_path / "a", institution=parties.town, create=True) as agency:
        agency.declare(
            'name = "tax"\nkey = { column = "alias", kind = "alias" }\n'
            '[[column]]\nname = "rate"\nitem = "市町村民税"\ntype = "int"\n'
        )
        load(agency, [csv_of([f"{parties.known[0].tobytes().hex()},5"], header="alias,rate")])
        assert agency.answer(parties.h).outcomes == {"PROVIDED": 1, "NO_RECORD": 1}
    assert [row[:2] for row in told(parties)] == [(Status.PROVIDED, 0), (Status.NO_RECORD, 0)]


def test_what_no_register_has_is_left(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", [0])
    with hub.agency.open(tmp_path / "a", institution=parties.town, create=True) as agency:
        assert agency.answer(parties.h) == ({}, 1)
        agency.declare(
            'name = "other"\nprocedures = ["19-8/1/1.1"]\nkey = { column = "id", kind = "own_id" }\n'
            '[[column]]\nname = "rate"\nitem = "市町村民税"\ntype = "int"\n'
        )
        assert agency.answer(parties.h) == ({}, 1)
    assert told(parties)[0][0] == Status.PENDING


def test_a_limit_is_kept_and_the_next_call_goes_on(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PAGE_ROWS", 3)
    parties.ask("r1", list(range(8)))
    seen: list[int] = []
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of(range(8))])
        assert agency.answer(parties.h, limit=4, progress=seen.append).rows == 4
        assert agency.answer(parties.h).rows == 4
    assert seen == [3, 4]
    assert [row[2] for row in told(parties)] == [payload_of(person) for person in range(8)]


def test_large_payloads_go_in_several_calls(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PAYLOADS_BYTES", 100)
    parties.ask("r1", list(range(8)))
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of([0, 2, 3, 4, 7])])
        assert agency.answer(parties.h).outcomes == {"PROVIDED": 5, "NO_RECORD": 3}
    expected = [payload_of(person) if person in (0, 2, 3, 4, 7) else None for person in range(8)]
    assert [row[2] for row in told(parties)] == expected


def test_someone_elses_answer_is_no_line_of_the_copy(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", [0, 1, 2])
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of(range(3))])
        real = parties.h.provide

        class Meanwhile:
            """The hub, where a clerk answers one of the permits just before."""

            def __getattr__(self, name: str) -> Any:
                return getattr(parties.h, name)

            def provide(self, institution: str, permits: Any, *rest: Any, **words: Any) -> Any:
                if len(permits) == 3:
                    real(institution, permits[1:2], Status.REFUSED, reasons=[Reason.UNDER_CORRECTION], clerk="ito")
                return real(institution, permits, *rest, **words)

        assert agency.answer(Meanwhile()).outcomes == {"PROVIDED": 2}
        assert copy_of(agency) == [(Status.PROVIDED, 0, True)] * 2


def test_who_is_flagged_in_between_is_manual_in_the_copy_too(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", [0, 1, 2])
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of(range(3))])

        class Meanwhile:
            """The hub, where another body flags somebody behind the collection."""

            def __getattr__(self, name: str) -> Any:
                return getattr(parties.h, name)

            def provide(self, *rest: Any, **words: Any) -> Any:
                parties.h.flag("nenkin", parties.nenkin[1:2], hub.Flag.MANUAL, clerk="ito")
                return parties.h.provide(*rest, **words)

        assert agency.answer(Meanwhile()).outcomes == {"PROVIDED": 2, "MANUAL": 1}
        assert sorted(copy_of(agency)) == [
            (Status.PROVIDED, 0, True), (Status.PROVIDED, 0, True), (Status.MANUAL, 0, True),
        ]  # fmt: skip
        assert compare(parties.h, providers=[agency]).ok


class DiesError(Exception):
    """Where a process would have died."""


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_after_dying_around_the_answer_each_line_is_there_once(
    parties: Parties, tmp_path: Path, behind: bool, is_sealed: bool
) -> None:
    if is_sealed:
        parties.h.register_key("nenkin", hub.new_payload_key()[1])
    parties.ask("r1", list(range(8)))

    class Dying:
        """The hub, and the process dies before or behind its answer."""

        def __getattr__(self, name: str) -> Any:
            return getattr(parties.h, name)

        def provide(self, institution: str, permits: Any, outcomes: Any, payloads: Any, **words: Any) -> Any:
            if behind:
                reasons = words["reasons"][:5]
                parties.h.provide(institution, permits[:5], outcomes[:5], payloads[:5], reasons=reasons)
            raise DiesError

    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of(range(4))])
        agency.flag(parties.known[6:7])
        with pytest.raises(DiesError):
            agency.answer(Dying())
    with hub.agency.open(tmp_path / "a") as agency:
        assert agency.state().unsettled == 8
        # Meanwhile the register has changed: what was given stays as it was given.
        load(agency, [register_of([7])], "l2")
        agency.answer(parties.h)
        lines = copy_of(agency)
        assert len(lines) == 8
        assert all(line[2] for line in lines)
        statuses = [row[0] for row in told(parties)]
        finals = Counter(outcome for outcome, _, _ in lines if outcome != Status.MANUAL)
        assert finals == Counter(status for status in statuses if status != Status.PENDING)
        assert agency.state().unsettled == 0
    assert parties.h.verify().problems == ()


def test_a_lapsed_permit_is_no_line_of_the_copy(parties: Parties, tmp_path: Path) -> None:
    parties.ask("r1", [0, 1])

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(parties.h, name)

        def provide(self, *rest: Any, **words: Any) -> Any:
            raise DiesError

    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of([0])])
        with pytest.raises(DiesError):
            agency.answer(Dying())
        parties.clock.now += 20 * 86_400
        agency.answer(parties.h)
        assert copy_of(agency) == []
    assert [row[0] for row in told(parties)] == [Status.LAPSED] * 2


def test_flags_are_found_and_a_missing_one_is_noticed(parties: Parties, tmp_path: Path) -> None:
    with town_agency(tmp_path / "a", parties) as agency:
        assert not agency.flagged(parties.known).any()
        assert agency.flag(parties.known[:2]) == 2
        assert agency.flag(parties.known[:3]) == 1
        assert agency.flag(parties.known[:1], on=False) == 1
        assert agency.flagged(parties.known).tolist() == [False, True, True, *[False] * 5]
        store = agency._store
        with store._env.begin(write=True) as txn:
            txn.delete(parties.known[1].tobytes(), db=store.databases["manual"])
        with pytest.raises(hub.errors.StorageError, match="expected the sum"):
            agency.flagged(parties.known)


def test_items_of_one_register_are_answered_together(parties: Parties, tmp_path: Path) -> None:
    parties.h.inquire(tax_inquiry("r1", items=("地方税",)), np.ascontiguousarray(parties.nenkin[:1]), parties.town)
    (permits,) = parties.h.collect(parties.town)
    assert set(permits.inquiry.items) <= {"市町村民税", OTHER_ITEM}
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of([0])])
        assert agency.answer(parties.h).outcomes == {"PROVIDED": 1}


def test_nothing_shows_an_alias(parties: Parties, tmp_path: Path) -> None:
    with town_agency(tmp_path / "a", parties) as agency:
        load(agency, [register_of([0])])
        agency.flag(parties.known[:1])
        for thing in (agency, agency.state(), agency._links, agency._manual, agency._registers):
            for person in range(8):
                assert parties.known[person].tobytes().hex() not in repr(thing)
                assert own_id(person) not in repr(thing)
