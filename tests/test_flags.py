"""Flags of people: stored per institution, in force at the next read, and what an inquiry makes of them."""

from __future__ import annotations

import bisect
import datetime as dt
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub.aliases import find_persons
from hub.errors import RequestError, StorageError
from hub.limits import FLAGS_PER_CALL_MAX, PERMIT_DAYS
from hub.messages import Status
from hub.protection.flags import NOBODY_FLAGGED, Flagged, join_keys, person_key, put_person, read_flagged, read_person
from hub.protection.marks import read_state
from hub.protection.screen import DEFAULT_GROUND, default_marks
from hub.records.events import EventKind
from hub.records.handles import PROVIDER
from hub.singles import gather
from hub.storage.periods import period_of
from hub.storage.workers import Workers
from inquiries import tax_inquiry
from parties import DAY_S, NOON, Clock, Parties
from test_marks import change

MANUAL, WITHHELD, NO_SELF = hub.Flag.MANUAL, hub.Flag.WITHHELD, hub.Flag.NO_SELF
NOBODY = 0xFFFFFFFF
IN_A_YEAR = dt.date(2027, 11, 25)
SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


@pytest.fixture(params=["group", "chunk"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which an inquiry is recorded: small ones together, large ones by themselves."""
    if request.param == "chunk":
        monkeypatch.setattr("hub.limits.ROWS_GATHERED_MAX", 0)
    return str(request.param)


def told(h: hub.Hub) -> list[tuple[EventKind, str, hub.Flag | None]]:
    return [(event.kind, event.institution, event.flags) for event in h.events()]


# -- stored


def test_a_flag_is_set_and_taken_off_and_leaves_the_others_as_they_are(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    assert h.flags(town, known).tolist() == [0] * 6
    h.flag(town, known[:2], MANUAL | WITHHELD, clerk="佐藤")
    h.flag(town, known[1:3], NO_SELF)
    assert h.flags(town, known).tolist() == [3, 7, 4, 0, 0, 0]
    h.flag(town, known[:3], WITHHELD, on=False)
    assert h.flags(town, known).tolist() == [1, 5, 4, 0, 0, 0]
    assert h.flags("nenkin", parties.nenkin).tolist() == [0] * 6
    parties.reopen()
    assert parties.h.flags(town, known).tolist() == [1, 5, 4, 0, 0, 0]
    assert parties.h.verify().problems == ()


def test_each_change_of_a_person_is_an_event_and_the_same_call_again_is_none(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    h.flag(town, np.ascontiguousarray(known[[0, 0, 1]]), MANUAL, clerk="佐藤")
    before = h.stats()["commits"]
    h.flag(town, known[:2], MANUAL, clerk="鈴木")
    h.flag(town, known[2:], MANUAL | NO_SELF, on=False)
    assert h.stats()["commits"] == before
    h.flag(town, known[:1], MANUAL | WITHHELD)
    h.flag(town, known[:1], MANUAL | WITHHELD, on=False)
    assert told(h) == [
        (EventKind.FLAGGED, town, MANUAL),
        (EventKind.FLAGGED, town, MANUAL),
        (EventKind.FLAGGED, town, MANUAL | WITHHELD),
        (EventKind.UNFLAGGED, town, hub.Flag.NONE),
    ]
    events = h.events()
    assert {event.alias for event in events[:2]} == {alias.tobytes() for alias in known[:2]}
    assert [event.clerk for event in events] == ["佐藤", "佐藤", None, None]


def test_an_alias_that_is_not_its_own_changes_nothing(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    mixed = np.ascontiguousarray(np.vstack([known[:2], parties.nenkin[:1]]))
    for call in (lambda: h.flag(town, mixed, MANUAL), lambda: h.flags(town, mixed)):
        with pytest.raises(RequestError, match=r"^aliases: expected this institution's own, got 1 others$"):
            call()
    assert (h.flags(town, known).tolist(), h.events()) == ([0] * 6, [])


@pytest.mark.parametrize("flags", [0, 8, True, "MANUAL", None, 1.0])
def test_what_is_no_flag_is_refused(parties: Parties, flags: object) -> None:
    with pytest.raises(RequestError, match=r"^flags: expected"):
        parties.h.flag(parties.town, parties.known, flags)  # type: ignore[arg-type]


def test_other_wrong_arguments_are_refused(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    with pytest.raises(RequestError, match=r"^on: expected True or False, got int$"):
        h.flag(town, known, MANUAL, on=1)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"^clerk: expected 1 to"):
        h.flag(town, known, MANUAL, clerk="")
    with pytest.raises(RequestError, match=r"^institution"):
        h.flag("nowhere", known, MANUAL)
    with pytest.raises(RequestError, match=r"^aliases: expected"):
        h.flag(town, known[:, :8], MANUAL)
    assert h.events() == []


def test_a_full_call_is_accepted_and_one_row_more_is_refused(parties: Parties) -> None:
    h, town = parties.h, parties.town
    full = np.repeat(parties.known[:1], FLAGS_PER_CALL_MAX, axis=0)
    h.flag(town, full, MANUAL)
    assert len(h.events()) == 1
    with pytest.raises(RequestError, match=rf"^aliases: expected at most {FLAGS_PER_CALL_MAX} rows"):
        h.flag(town, np.vstack([full, full[:1]]), MANUAL)


def test_flags_stay_with_the_person_when_an_alias_is_replaced(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    h.flag(town, known[:2], MANUAL | NO_SELF)
    fresh = h.reissue(town, known[:1]).aliases
    assert h.flags(town, np.ascontiguousarray(np.vstack([fresh, known[1:2]]))).tolist() == [5, 5]
    for call in (lambda: h.flags(town, known[:1]), lambda: h.flag(town, known[:1], MANUAL, on=False)):
        with pytest.raises(RequestError, match=r"^aliases: expected this institution's own, got 1 others$"):
            call()
    h.flag(town, fresh, MANUAL, on=False)
    assert h.flags(town, fresh).tolist() == [4]
    assert h.verify().problems == ()


def test_no_flags_of_nobody_are_no_change(parties: Parties) -> None:
    parties.h.flag(parties.town, parties.known[:0], MANUAL)
    assert parties.h.flags(parties.town, parties.known[:0]).tolist() == []
    assert parties.h.events() == []


# -- in memory


def test_where_nobody_is_flagged_nothing_is_looked_up() -> None:
    persons = np.array([0, 5, NOBODY], np.uint32)
    assert NOBODY_FLAGGED.manual_anywhere(persons) is None
    assert NOBODY_FLAGGED.withheld(persons, 3) is None
    assert NOBODY_FLAGGED.no_self(persons, 3).tolist() == [False] * 3


def test_nobody_is_never_flagged_whoever_is() -> None:
    last = NOBODY - 1
    flagged = Flagged(1, join_keys(np.array([last], np.uint32), 9), np.array([7], np.uint8))
    persons = np.array([last, NOBODY, 0], np.uint32)
    assert flagged.manual_anywhere(persons).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert flagged.withheld(persons, 9).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert flagged.no_self(persons, 8).tolist() == [False] * 3


# -- inquiries


def test_who_is_manual_anywhere_is_answered_for_alike_by_holder_and_non_holder(parties: Parties, path: str) -> None:
    h, other = parties.h, parties.other_town
    rows = np.ascontiguousarray(parties.nenkin[[0, 1]])
    assert h.inquire(tax_inquiry("before"), rows, other).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 2
    h.flag(parties.town, parties.known[:1], MANUAL)
    assert h.inquire(tax_inquiry("after"), rows, other).status.tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER]
    assert h.inquire(tax_inquiry("holder"), rows, parties.town).status.tolist() == [Status.OK] * 2
    h.flag(parties.town, parties.known[:1], MANUAL, on=False)
    assert h.inquire(tax_inquiry("again"), rows, other).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 2
    assert h.verify().problems == ()


def test_a_manual_person_changes_nothing_that_the_law_denies(parties: Parties, path: str) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:1], MANUAL)
    rows = np.ascontiguousarray(np.vstack([parties.nenkin[:1], np.zeros((1, 16), np.uint8)]))
    found = h.inquire(tax_inquiry("r"), rows, "mhlw").status.tolist()
    assert found[0] == Status.DENIED
    assert h.inquire(tax_inquiry("r2"), rows, parties.other_town).status.tolist() == [Status.OK, Status.UNKNOWN_ALIAS]


def test_answers_about_a_manual_person_are_the_same_at_a_holder_and_at_a_non_holder(tmp_path: Path, path: str) -> None:
    told = []
    for name, known in (("holder", True), ("non-holder", False)):
        with Parties(tmp_path / name, clock=Clock()) as parties:
            h, other = parties.h, parties.other_town
            h.acquire(other, parties.codes[0 if known else 1 :])
            h.flag("nenkin", parties.nenkin[:1], MANUAL)
            answer = h.inquire(tax_inquiry("r"), parties.nenkin, other)
            again = h.inquire(tax_inquiry("r"), parties.nenkin, other)
            (record,) = h.history(parties.portal[0]).records
            ((_, seen),) = h.handles("nenkin", parties.nenkin[0])
            told.append([
                [getattr(one, column).tobytes() for one in (answer, again) for column in ("status", "rule", "reason")],
                answer.receipt, h.status("nenkin", "r"),
                msgspec.structs.replace(record, inquiry="", index=0),
                msgspec.structs.replace(seen, alias=b""),
                h.stats()["records"], len(h.events()),
            ])  # fmt: skip
    assert told[0] == told[1]


def test_a_permit_about_a_manual_person_waits_and_lapses_alike_at_a_holder_and_at_a_non_holder(
    tmp_path: Path, path: str
) -> None:
    told = []
    for name, known in (("holder", True), ("non-holder", False)):
        with Parties(tmp_path / name, clock=Clock()) as parties:
            h, other = parties.h, parties.other_town
            h.acquire(other, parties.codes[0 if known else 1 :])
            h.flag("nenkin", parties.nenkin[:1], MANUAL)
            h.inquire(tax_inquiry("r"), parties.nenkin[:1], other)
            waiting = h.collect(other)
            assert sum(map(len, waiting)) == known
            seen: list[Any] = [h.answers("nenkin", "r").status.tolist()]
            for permits in waiting:
                # A machine must not answer; a clerk could, and does not.
                h.provide(other, permits, Status.NO_RECORD)
            seen.append(h.answers("nenkin", "r").status.tolist())
            parties.clock.now += (PERMIT_DAYS + 1) * DAY_S
            answers = h.answers("nenkin", "r")
            seen += [answers.status.tolist(), answers.payloads, answers.complete]
            seen += [h.collect(other), h.stats()["records"]]
            records = h.history(parties.portal[0]).records
            seen += [msgspec.structs.replace(record, inquiry="") for record in records]
            assert h.verify().problems == ()
            told.append(seen)
    assert told[0] == told[1]
    assert told[0][:3] == [[Status.PENDING], [Status.PENDING], [Status.LAPSED]]


def test_a_provider_hears_of_a_manual_person_whom_it_does_not_know_nowhere(parties: Parties) -> None:
    h, other = parties.h, parties.other_town
    h.acquire(other, parties.codes[1:])
    h.flag(parties.town, parties.known[:1], MANUAL)
    h.protect("jlis", parties.codes[0], since=dt.date(2026, 1, 1), ground="ground")
    h.protect("jlis", parties.codes[1], since=dt.date(2026, 1, 1), ground="ground")
    h.inquire(tax_inquiry("r"), np.ascontiguousarray(parties.nenkin[:2]), other)
    assert len(h.unjudged("nenkin")) == 2
    assert len(h.unjudged(other)) == 1


def test_new_records_begin_withheld_on_the_side_that_flagged_their_person(parties: Parties, path: str) -> None:
    h = parties.h
    parties.ask("before", [0, 1, 2])
    h.flag("nenkin", parties.nenkin[:1], WITHHELD)
    h.flag(parties.town, parties.known[:2], WITHHELD)
    parties.ask("after", [0, 1, 2])
    assert [len(parties.shown(person)) for person in range(3)] == [1, 1, 2]
    events = [event for event in h.events() if event.kind == EventKind.WITHHELD]
    assert sorted((event.institution, event.side) for event in events) == sorted(
        [("nenkin", "requester"), (parties.town, "provider"), (parties.town, "provider")]
    )
    assert {(event.ground, event.until, event.clerk) for event in events} == {(DEFAULT_GROUND, IN_A_YEAR, None)}
    assert [len(h.marks_due(code, by=IN_A_YEAR)) for code in ("nenkin", parties.town)] == [1, 2]
    assert h.marks_due(parties.town, by=IN_A_YEAR - dt.timedelta(days=1)) == []
    h.flag(parties.town, parties.known[1:2], WITHHELD, on=False)
    parties.ask("later", [0, 1, 2])
    assert [len(parties.shown(person)) for person in range(3)] == [1, 2, 3]
    ((handle, _, _),) = h.marks_due("nenkin", by=IN_A_YEAR)[:1]
    assert h.lift(handle, clerk="佐藤", second_clerk="鈴木")
    assert h.verify().problems == ()


def test_what_is_provided_about_a_withheld_person_is_shown_to_nobody_either(parties: Parties) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:1], WITHHELD)
    parties.ask("r", [0, 1])
    for permits in h.collect(parties.town):
        h.provide(parties.town, permits, Status.EMPTY)
    assert [len(parties.shown(person)) for person in (0, 1)] == [0, 2]
    assert h.verify().problems == ()


def test_only_a_party_s_flag_withholds_a_record(parties: Parties, path: str) -> None:
    h, other = parties.h, parties.other_town
    theirs = h.acquire(other, parties.codes[:2]).aliases
    h.flag(other, theirs, WITHHELD)
    parties.ask("town", [0, 1])
    assert [len(parties.shown(person)) for person in (0, 1)] == [1, 1]
    # The question is denied: it does not reach who would be the provider.
    mhlw = h.acquire("mhlw", parties.codes).aliases
    h.flag("mhlw", mhlw, WITHHELD)
    rows = np.ascontiguousarray(parties.nenkin[:2])
    assert h.inquire(tax_inquiry("denied"), rows, "mhlw").status.tolist() == [Status.DENIED] * 2
    assert [len(parties.shown(person)) for person in (0, 1)] == [2, 2]
    h.flag("nenkin", parties.nenkin[:1], WITHHELD)
    h.inquire(tax_inquiry("denied again"), rows, "mhlw")
    assert [len(parties.shown(person)) for person in (0, 1)] == [2, 3]
    assert h.verify().problems == ()


def test_the_requester_s_own_mark_goes_before_its_default(parties: Parties) -> None:
    h = parties.h
    h.flag("nenkin", parties.nenkin[:2], WITHHELD)
    h.flag(parties.town, parties.known[:1], WITHHELD)
    own = hub.Withhold(ground="its own", until=dt.date(2027, 1, 1))
    parties.ask("r", [0, 1, 2], withhold=[own, None, own])
    events = [event for event in h.events() if event.kind == EventKind.WITHHELD]
    assert sorted((event.side, event.ground) for event in events) == [
        ("provider", DEFAULT_GROUND), ("requester", DEFAULT_GROUND), ("requester", "its own"), ("requester", "its own"),
    ]  # fmt: skip
    assert h.verify().problems == ()


def test_a_row_without_a_person_has_no_mark_and_no_flag(parties: Parties, path: str) -> None:
    h = parties.h
    h.flag("nenkin", parties.nenkin, WITHHELD | MANUAL)
    rows = np.zeros((2, 16), np.uint8)
    assert h.inquire(tax_inquiry("r"), rows, parties.town).status.tolist() == [Status.UNKNOWN_ALIAS] * 2
    assert [event.kind for event in h.events()] == [EventKind.FLAGGED] * 6


def test_marks_of_other_writers_have_side_and_institution(parties: Parties) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[1:2], WITHHELD)
    town = h.catalog.institution(parties.town).number
    with h._store.snapshot() as snapshot:
        flagged = h._office.flagged.of(snapshot)
        persons = find_persons(snapshot, town, parties.known, Workers(1))[0]
    key = h._periods.make(period_of(NOON))

    def code_of(number: int) -> str:
        return h.catalog.institution_by_number(number).code

    def made(**parties_of: Any) -> list[tuple[int, int]]:
        sides = {1: parties_of["requester"], 2: parties_of["provider"]}
        return [(mark.position, mark.side) for mark in default_marks(flagged, key, NOON, persons, sides, code_of)]

    assert made(requester=town, provider=0) == [(1, 1)]
    assert made(requester=0, provider=np.full(6, town, np.uint32)) == [(1, 2)]
    assert made(requester=town, provider=town) == [(1, 1), (1, 2)]
    assert made(requester=0, provider=0) == []


# -- between preparing and commit


class Between:
    """Does something once, right behind the first time that rows were screened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: str, act: Callable[[], None]) -> None:
        self.times = 0
        owner: Any = gather.GroupLayer if path == "group" else hub.hub
        name = "lay" if path == "group" else "prepare_chunk"
        original = getattr(owner, name)

        def watched(*words: Any, **more: Any) -> Any:
            done = original(*words, **more)
            self.times += 1
            if self.times == 1:
                act()
            return done

        monkeypatch.setattr(owner, name, watched)


@pytest.mark.parametrize("on", [True, False])
def test_a_flag_that_is_committed_before_a_row_counts_for_it(
    parties: Parties, path: str, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, town, known = parties.h, parties.town, parties.known
    if not on:
        h.flag(town, known[:1], MANUAL | WITHHELD)
    between = Between(monkeypatch, path, lambda: h.flag(town, known[:1], MANUAL | WITHHELD, on=on))
    mixed = np.array([h.catalog.institution(code).number for code in (town, parties.other_town)], np.uint32)
    rows = np.ascontiguousarray(parties.nenkin[[0, 0]])
    status = h.inquire(tax_inquiry("r"), rows, mixed).status.tolist()
    assert between.times == 2
    assert status == [Status.OK, Status.OK if on else Status.NO_ALIAS_AT_PROVIDER]
    # Withheld where the town is the provider; of the other record it is no party.
    assert len(parties.shown(0)) == (1 if on else 2)
    assert h.verify().problems == ()


def test_what_was_screened_with_the_same_flags_is_not_prepared_again(
    parties: Parties, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, known = parties.h, parties.known
    h.flag(parties.town, known[:1], MANUAL)

    def there_and_back() -> None:
        h.flag(parties.town, known[1:2], MANUAL)
        h.flag(parties.town, known[1:2], MANUAL, on=False)

    between = Between(monkeypatch, path, there_and_back)
    assert parties.ask("r", [0, 1]).status.tolist() == [Status.OK] * 2
    assert between.times == 1


def test_every_record_is_screened_with_the_flags_of_its_own_commit(parties: Parties, path: str) -> None:
    print(f"seed {SEED}")
    h, rng = parties.h, random.Random(SEED)
    switched: list[tuple[int, bool]] = [(0, False)]
    asked = 0
    done = threading.Event()

    def switch() -> None:
        on = False
        while not done.is_set():
            on = not on
            with h._store.writer:
                h.flag(parties.town, parties.known[:1], MANUAL | WITHHELD, on=on)
                switched.append((h.stats()["records"], on))
            time.sleep(rng.uniform(0, 0.004))

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        one = parties.nenkin[:1]
        while len(switched) < 60 and asked < 2_000:
            provider = parties.town if asked % 2 else parties.other_town
            h.inquire(tax_inquiry(f"r{asked}"), one, provider)
            asked += 1
    finally:
        done.set()
        thread.join()
    starts = [at for at, _ in switched]
    with h._store.snapshot() as snapshot:
        bodies = h._office.bodies(snapshot).read(list(range(asked)))
        hidden = [read_state(snapshot, index, PROVIDER)[0] for index in range(asked)]
    for index, body in enumerate(bodies):
        assert body.index == index
        on = switched[bisect.bisect_right(starts, index) - 1][1]
        holder = body.provider == h.catalog.institution(parties.town).number
        assert body.outcome == (Status.OK if on or holder else Status.NO_ALIAS_AT_PROVIDER)
        assert hidden[index] == (on and holder)
    assert h.verify().problems == ()


# -- in memory and in other processes


def test_memory_is_what_is_stored(parties: Parties) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:3], MANUAL)
    h.flag("nenkin", parties.nenkin[2:5], WITHHELD | NO_SELF)
    h.flag(parties.town, parties.known[:1], MANUAL, on=False)
    with h._store.snapshot() as snapshot:
        kept, read = h._office.flagged.of(snapshot), read_flagged(snapshot)
    assert kept is not read
    assert (kept.sum, kept._keys.tolist(), kept._flags.tolist()) == (
        read.sum, read._keys.tolist(), read._flags.tolist(),
    )  # fmt: skip


def test_memory_follows_any_changes(parties: Parties) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    flagged, model = NOBODY_FLAGGED, {}  # type: ignore[var-annotated]
    people = np.unique(np.concatenate([rng.integers(0, 200, 100), rng.integers(0, 100_000, 30)])).astype(np.uint32)
    everybody = np.append(people, NOBODY).astype(np.uint32)
    for step in range(300):
        persons = {}
        for person in rng.choice(people, int(rng.integers(1, 8)), replace=False).tolist():
            at = {number: flags for (one, number), flags in model.items() if one == person}
            at |= {int(number): int(rng.choice([0, 0, 0, 1, 2, 4, 7])) for number in rng.integers(1, 4, 2)}
            persons[person] = at
            model = {key: flags for key, flags in model.items() if key[0] != person}
            model |= {(person, number): flags for number, flags in at.items() if flags}
        flagged = flagged.changed(step + 1, persons)
        assert flagged.entries() == model
        for institutions in (2, rng.integers(1, 4, len(everybody)).astype(np.uint32)):
            numbers = np.broadcast_to(institutions, everybody.shape).tolist()
            at_each = [model.get(key, 0) for key in zip(everybody.tolist(), numbers, strict=True)]
            assert flagged.flags(everybody, institutions).tolist() == at_each
            for flag, ask in ((MANUAL, flagged.manual), (WITHHELD, flagged.withheld), (NO_SELF, flagged.no_self)):
                found = ask(everybody, institutions)
                expected = [bool(flags & flag) for flags in at_each]
                assert (found.tolist() if found is not None else [False] * len(expected)) == expected
        for flag, anywhere in ((MANUAL, flagged.manual_anywhere), (WITHHELD, flagged.withheld_anywhere)):
            found = anywhere(everybody)
            some = {person for (person, _), flags in model.items() if flags & flag}
            assert (found is None) == (not some)
            if found is not None:
                assert found.tolist() == [person in some for person in everybody.tolist()]


def _read_along(folder: Path, institution: str, aliases: np.ndarray, pipe: Connection) -> None:
    with hub.open(folder, readonly=True) as h:
        while pipe.recv():
            pipe.send(h.flags(institution, aliases).tolist())


def test_a_flag_counts_at_the_next_read_of_another_process(parties: Parties) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    reader = context.Process(target=_read_along, args=(parties.folder, parties.town, parties.known[:2], theirs))
    reader.start()

    def read() -> list[int]:
        ours.send(True)
        assert ours.poll(60)
        return list(ours.recv())

    try:
        assert read() == [0, 0]
        for _ in range(20):
            parties.h.flag(parties.town, parties.known[:1], MANUAL)
            parties.h.flag(parties.town, parties.known[:2], NO_SELF)
            assert read() == [5, 4]
            parties.h.flag(parties.town, parties.known[:2], MANUAL | NO_SELF, on=False)
            assert read() == [0, 0]
    finally:
        ours.send(False)
        reader.join(30)


def test_a_reading_process_flags_nobody(parties: Parties) -> None:
    parties.h.close()
    with hub.open(parties.folder, readonly=True) as h:
        with pytest.raises(RequestError, match="read-only"):
            h.flag(parties.town, parties.known[:1], MANUAL)
        assert h.flags(parties.town, parties.known[:1]).tolist() == [0]


# -- damage and kills


@pytest.mark.parametrize("how", ["flipped", "removed", "moved", "turned off"])
def test_while_a_flag_is_damaged_or_hidden_nothing_is_asked_and_it_is_found(parties: Parties, how: str) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:2], MANUAL)
    assert h.verify().ok
    h.close()
    change(parties.folder, "flagged", how)
    parties.reopen()
    with pytest.raises(StorageError, match="flagged"):
        parties.ask("r", [2])
    with pytest.raises(StorageError, match="flagged"):
        parties.h.flags(parties.town, parties.known)
    assert parties.h.stats()["records"] == 0
    assert any("flagged" in problem for problem in parties.h.verify().problems)


def test_a_flag_whose_commit_fails_is_not_in_force(parties: Parties) -> None:
    h, known, other = parties.h, parties.known, parties.other_town
    keep = h._store.at_commit

    def fail(_: object) -> None:
        raise StorageError("write: expected room, got none", retry_safe=True)

    for _ in range(2):
        h._store.at_commit = fail
        with pytest.raises(StorageError, match="room"):
            h.flag(parties.town, known[:1], MANUAL)
        h._store.at_commit = keep
        assert h.flags(parties.town, known).tolist() == [0] * 6
        assert [event.institution for event in h.events() if event.institution != "nenkin"] == []
        h.flag("nenkin", parties.nenkin[2:3], NO_SELF)
        h.flag("nenkin", parties.nenkin[2:3], NO_SELF, on=False)
    one = parties.nenkin[:1]
    assert h.inquire(tax_inquiry("r"), one, other).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER]
    h.flag(parties.town, known[:1], MANUAL)
    assert h.inquire(tax_inquiry("r2"), one, other).status.tolist() == [Status.OK]
    assert h.verify().problems == ()


def test_a_flag_that_no_event_tells_of_is_found(parties: Parties) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:1], MANUAL)
    with h._store.commit() as commit:
        put_person(commit, 0, {1: 7})
    assert h.verify().problems == ("flagged: expected everybody's flags as their events say, got others",)


@pytest.mark.parametrize(
    "body", [b"", b"\1\0\1", b"\1\0\0\0", b"\1\0\x10\0", b"\1\0\1\1", b"\0\0\1\0", b"\2\0\1\0\1\0\1\0", b"\1\0\1\0" * 2]
)
def test_a_value_that_is_no_flags_is_refused(parties: Parties, body: bytes) -> None:
    with parties.h._store.commit() as commit:
        commit.put_sealed("flagged", person_key(3), body)
    with parties.h._store.snapshot() as snapshot:
        for read in (read_flagged, lambda snapshot: read_person(snapshot, 3)):
            with pytest.raises(StorageError, match=r"^flagged: expected"):
                read(snapshot)


_CHILD = """
import sys
import numpy as np
import hub
with hub.open(sys.argv[1]) as h:
    known = np.load(sys.argv[2])
    for row in range(int(sys.argv[3]), len(known), 2):
        h.flag(sys.argv[4], known[row : row + 2], hub.Flag.MANUAL)
        sys.stdout.write(f"{row}\\n")
        sys.stdout.flush()
"""


def test_a_flag_that_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    rows, folder = 400, tmp_path / "hub"
    with Parties(folder, persons=rows, clock=Clock(time.time())) as parties:
        town, known = parties.town, parties.known
    np.save(tmp_path / "known.npy", known)
    done = kills = 0
    while done < rows and kills < 8:
        words = [sys.executable, "-c", _CHILD, str(folder), str(tmp_path / "known.npy"), str(done), town]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            fd = child.stdout.fileno()
            heard = os.read(fd, 64)
            time.sleep(rng.uniform(0, 0.02))
            child.send_signal(signal.SIGKILL)
            while more := os.read(fd, 65536):
                heard += more
            child.wait(30)
        kills += 1
        whole = [int(line) for line in heard.decode().split("\n")[:-1]]
        if whole:
            done = whole[-1] + 2
        with hub.open(folder) as h:
            flags = h.flags(town, known).tolist()
            assert all(flags[:done]), "a flag that was acknowledged is lost"
            # The two of one call come together.
            assert sum(flags) in (done, done + 2)
            assert len(h.events()) == sum(flags)
            assert h.verify().problems == ()
    assert kills
