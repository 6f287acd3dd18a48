"""What was done through one link: who received what about the person behind it, what waits, what is still here."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.errors import RequestError
from hub.messages import Reason, Status
from hub.mislinks.blast import blast_rows
from hub.records.bodies import ROW, Bodies, link_of
from hub.tlog.entry import Shared
from inquiries import tax_inquiry
from parties import DAY_S, NOON, Parties
from test_merging import A, B, World
from test_push import Pushers

PENDING, PROVIDED, NO_RECORD, REFUSED, LAPSED = (
    Status.PENDING, Status.PROVIDED, Status.NO_RECORD, Status.REFUSED, Status.LAPSED,
)  # fmt: skip
TODAY = dt.date(2026, 11, 25)


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


def answer(parties: Parties, persons: list[int], outcome: Status = PROVIDED, **words: object) -> None:
    """The town answers what waits about some persons."""
    mine = {parties.known[person].tobytes() for person in persons}
    for permits in parties.h.collect(parties.town):
        rows = [row for row in range(len(permits)) if permits.aliases[row].tobytes() in mine]
        if rows:
            payloads = [b"tax"] * len(rows) if outcome == PROVIDED else None
            parties.h.provide(parties.town, permits.permit[rows], outcome, payloads, clerk="鈴木", **words)
    parties.clock.now += 1


def seen(found: hub.BlastRadius) -> list[tuple[str, str, Status, str]]:
    """Newest first."""
    return [(one.side, one.receiver, one.outcome, one.payload) for one in found.dealings]


def test_both_sides_read_who_received_what_and_whether_it_is_still_here(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0, 1])
    answer(parties, [0, 1])
    assert h.answers("nenkin", "r1").complete
    h.fetched("nenkin", "r1")
    parties.ask("r2", [0])
    answer(parties, [0])
    parties.ask("r3", [0, 2])
    answer(parties, [0], REFUSED, reasons=Reason.IDENTITY_IN_DOUBT)
    parties.ask("r4", [0])
    at_town, at_nenkin = h.blast_radius(town, parties.known[0]), h.blast_radius("nenkin", parties.nenkin[0])
    outcomes = [(PENDING, "none"), (REFUSED, "none"), (PROVIDED, "waiting"), (PROVIDED, "gone")]
    assert seen(at_town) == [("provider", "nenkin", *one) for one in outcomes]
    assert seen(at_nenkin) == [("requester", "nenkin", *one) for one in outcomes]
    assert {one.source for one in (*at_town.dealings, *at_nenkin.dealings)} == {town}
    assert (at_town.records, at_nenkin.records) == (7, 7)
    assert at_town.receivers == at_nenkin.receivers == {"nenkin": 2}
    assert (len(at_town.open), len(at_town.updates)) == (1, 2)
    assert (len(at_nenkin.open), len(at_nenkin.updates)) == (0, 0)
    assert at_town.items == ["市町村民税"]
    # What is open is refused by the number that it gives; then nothing is open any more.
    permits = np.array([one.permit for one in at_town.open], dtype=np.uint64)
    h.provide(town, permits, REFUSED, reasons=Reason.LINKAGE_SUSPENDED)
    assert h.blast_radius(town, parties.known[0]).open == []


@pytest.mark.parametrize("how", ["reissued", "revoked"])
def test_an_alias_that_was_replaced_or_revoked_leads_to_its_person_still(parties: Parties, how: str) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0, 1])
    answer(parties, [0])
    before = h.blast_radius(town, parties.known[0])
    old = parties.known[:1].copy()
    (h.reissue if how == "reissued" else h.revoke)(town, old)
    after = h.blast_radius(town, old[0])
    assert seen(after) == seen(before) == [("provider", "nenkin", PROVIDED, "waiting")]
    assert [one.permit for one in after.dealings] == [one.permit for one in before.dealings]


def test_only_what_was_asked_or_answered_in_the_interval_counts(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("before", [0])
    answer(parties, [0], NO_RECORD)
    parties.ask("across", [0])
    parties.clock.now = NOON + 2 * DAY_S
    answer(parties, [0])
    parties.clock.now = NOON + 3 * DAY_S
    parties.ask("within", [0])
    parties.clock.now = NOON + 5 * DAY_S
    parties.ask("behind", [0])
    day = dt.timedelta(days=1)

    def outcomes(**words: object) -> list[Status]:
        return [one.outcome for one in h.blast_radius(town, parties.known[0], **words).dealings]

    assert outcomes() == [PENDING, PENDING, PROVIDED, NO_RECORD]
    assert outcomes(since=TODAY + 2 * day, until=TODAY + 3 * day) == [PENDING, PROVIDED]
    assert outcomes(since=TODAY + 3 * day, until=TODAY + 4 * day) == [PENDING]
    assert outcomes(until=TODAY) == [PROVIDED, NO_RECORD]
    moment = dt.datetime.fromtimestamp(NOON + 3 * DAY_S, dt.UTC)
    assert outcomes(until=moment) == [PROVIDED, NO_RECORD]
    assert outcomes(until=moment + dt.timedelta(seconds=1)) == [PENDING, PROVIDED, NO_RECORD]
    assert outcomes(since=TODAY + 6 * day) == [PENDING, PENDING]
    parties.clock.now = NOON + 9 * DAY_S
    h.lapse()
    found = h.blast_radius(town, parties.known[0])
    assert [one.outcome for one in found.dealings] == [PENDING, PENDING, PROVIDED, NO_RECORD]
    parties.clock.now = NOON + 20 * DAY_S
    h.lapse()
    found = h.blast_radius(town, parties.known[0])
    assert [one.outcome for one in found.dealings] == [LAPSED, LAPSED, PROVIDED, NO_RECORD]
    assert found.open == []


def test_a_permit_whose_time_is_over_is_not_open_though_its_lapse_is_not_recorded_yet(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0])
    assert len(h.blast_radius(town, parties.known[0]).open) == 1
    parties.clock.now = NOON + 30 * DAY_S
    found = h.blast_radius(town, parties.known[0])
    assert [one.outcome for one in found.dealings] == [PENDING]
    assert found.open == []


def test_what_is_not_this_institutions_is_not_in_it(parties: Parties) -> None:
    h, town, other = parties.h, parties.town, parties.other_town
    theirs = h.acquire(other, parties.codes).aliases
    one = parties.nenkin[:1]
    h.inquire(tax_inquiry("r1"), one, town)
    h.inquire(tax_inquiry("r2"), one, other)
    h.inquire(tax_inquiry("r3"), parties.nenkin[1:2], town)
    stranger = h.acquire("nenkin", ["00000000017"]).aliases
    h.inquire(tax_inquiry("r4"), stranger, town)
    assert [one.source for one in h.blast_radius(town, parties.known[0]).dealings] == [town]
    assert [one.source for one in h.blast_radius(other, theirs[0]).dealings] == [other]
    assert {one.source for one in h.blast_radius("nenkin", parties.nenkin[0]).dealings} == {town, other}
    assert [one.outcome for one in h.blast_radius("nenkin", stranger[0]).dealings] == [Status.NO_ALIAS_AT_PROVIDER]
    assert h.blast_radius(town, parties.known[5]).dealings == ()


def test_whoever_asked_a_class_is_not_told_which_body_answered(parties: Parties) -> None:
    h, town = parties.h, parties.town
    h.push_holders("jlis", parties.codes[:1], "市町村長", town, dt.date(2020, 1, 1))
    found = h.inquire(tax_inquiry("r1"), parties.nenkin[:1], "市町村長")
    assert found.status.tolist() == [Status.OK]
    assert [one.source for one in h.blast_radius("nenkin", parties.nenkin[0]).dealings] == [""]
    assert [one.source for one in h.blast_radius(town, parties.known[0]).dealings] == [town]


def test_an_answer_that_waits_for_its_moment_is_not_shown_to_who_asked(tmp_path: Path) -> None:
    with Parties(tmp_path / "hub") as parties:
        h, town = parties.h, parties.town
        h.close()
        parties.h = h = hub.open(parties.folder, clock=parties.clock, answers_every_s=600)
        parties.ask("r1", [0])
        parties.clock.now += 601
        answer(parties, [0])
        assert [one.outcome for one in h.blast_radius("nenkin", parties.nenkin[0]).dealings] == [PENDING]
        assert [one.outcome for one in h.blast_radius(town, parties.known[0]).dealings] == [PROVIDED]
        parties.clock.now += 600
        assert [one.outcome for one in h.blast_radius("nenkin", parties.nenkin[0]).dealings] == [PROVIDED]


def test_a_body_hears_of_no_protected_person_whom_it_does_not_know_any_more(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0, 1])
    answer(parties, [0, 1])
    h.flag("nenkin", parties.nenkin[:1], hub.Flag.MANUAL)
    h.revoke(town, parties.known[:1].copy())
    assert parties.ask("r2", [0]).status.tolist() == [Status.OK]
    assert seen(h.blast_radius(town, parties.known[0])) == [("provider", "nenkin", PROVIDED, "waiting")]


def test_a_released_row_stands_beside_the_held_one(parties: Parties) -> None:
    h = parties.h
    towns = [body.code for body in h.catalog.institutions("市町村長")[:4]]
    for town in towns[1:]:
        h.acquire(town, parties.codes)
    last = h.acquire(towns[3], parties.codes).aliases
    h.inquire(tax_inquiry("r1"), np.repeat(parties.nenkin[:1], 4, axis=0), towns)
    assert h.blast_radius(towns[3], last[0]).dealings == ()
    h.release(("r1", 3), "moved", clerk="鈴木", requester="nenkin")
    assert [one.outcome for one in h.blast_radius(towns[3], last[0]).dealings] == [PENDING]
    found = h.blast_radius("nenkin", parties.nenkin[0])
    assert sorted(one.outcome for one in found.dealings) == [PENDING] * 4 + [Status.HELD]


def test_what_was_sent_unasked_counts_and_tells_its_sender_nothing_of_who_took_it(tmp_path: Path) -> None:
    with Pushers(tmp_path / "hub") as pushers:
        h, town, other = pushers.h, pushers.town, pushers.other_town
        pushers.push([0], "p1", ["nenkin"], payloads=[b"born"])
        pushers.push([0], "p2", [other], payloads=[b"born"])
        before = h.blast_radius(town, pushers.known[0])
        assert {(one.side, one.receiver, one.outcome, one.payload) for one in before.dealings} == {
            ("provider", "nenkin", Status.OK, "gone"), ("provider", other, Status.OK, "gone"),
        }  # fmt: skip
        assert (before.receivers, before.items, len(before.open)) == ({"nenkin": 1, other: 1}, ["出生"], 0)
        received = h.blast_radius("nenkin", pushers.nenkin[0])
        assert seen(received) == [("requester", "nenkin", PENDING, "waiting")]
        assert [one.source for one in received.dealings] == [town]
        for arrivals in h.arrived("nenkin"):
            h.taken("nenkin", arrivals)
        assert seen(h.blast_radius("nenkin", pushers.nenkin[0])) == [("requester", "nenkin", PROVIDED, "gone")]
        after = h.blast_radius(town, pushers.known[0])
        assert after.dealings == before.dealings
        assert after.records == before.records == 2


def test_who_has_got_a_correction_needs_none_any_more(tmp_path: Path) -> None:
    with Pushers(tmp_path / "hub") as pushers:
        h, town, other = pushers.h, pushers.town, pushers.other_town
        pushers.ask("r1", [0])
        answer(pushers, [0])
        pushers.push([0, 0], "p1", ["nenkin", other])
        before = h.blast_radius(town, pushers.known[0])
        assert len(before.updates) == 3
        permits = np.array([one.permit for one in before.dealings if one.permit is not None], dtype=np.uint64)
        words = {"institution": town, "section": "課税課", "reason": "another person's"}
        h.update(hub.Update(request_id="u1", **words), permits, [b"right"])
        h.update(hub.Update(request_id="u2", items=("出生",), **words), pushers.known[:1], [b"right"])
        after = h.blast_radius(town, pushers.known[0])
        # Of a push it would tell which of the two knows the person.
        assert sorted(one.receiver for one in after.updates) == sorted(["nenkin", other])
        assert [one.updated for one in after.dealings if one.permit is not None] == [True]
        assert (after.records, len(after.dealings)) == (before.records, 3)
        received = h.blast_radius("nenkin", pushers.nenkin[0])
        assert sorted(one.kind for one in received.dealings) == [
            hub.Kind.INQUIRY, hub.Kind.PUSH, hub.Kind.UPDATE, hub.Kind.UPDATE,
        ]  # fmt: skip


def test_persons_who_are_merged_are_one_and_apart_again_when_they_are_split(tmp_path: Path) -> None:
    world = World(tmp_path / "hub")
    with world.h as h:
        world.acquire("nenkin", [A, B])
        assert world.ask("a", "nenkin", A, world.town) == Status.OK
        assert world.ask("b", "nenkin", B, world.other) == Status.OK

        def asked(code: str) -> list[str]:
            found = h.blast_radius("nenkin", world.known["nenkin", code])
            return sorted(one.source for one in found.dealings)

        assert (asked(A), asked(B)) == ([world.town], [world.other])
        world.merge()
        both = sorted([world.town, world.other])
        # The alias of the one who is gone is revoked now, and leads to the one who stays.
        assert (asked(A), asked(B)) == (both, both)
        found = h.report_mislink(
            "nenkin", world.known["nenkin", B], clerk="佐藤", second_clerk="鈴木", reason="the same name"
        )
        assert found.notified == 1
        assert h.verify().problems == ()
        world.split()
        assert (asked(A), asked(B)) == ([world.town], [world.other])
        assert h.verify().problems == ()


def walked(h: hub.Hub, institution: str, person: int) -> list[tuple[str, str, str, Status, int]]:
    """The same from all records of the log, one after the other, without index and bounds."""
    number, catalog = h.catalog.institution(institution).number, h.catalog
    rows: list[tuple[int, int, Shared, int, int, int | None]] = []
    with h._store.snapshot() as snapshot:
        bodies = Bodies(snapshot, h._periods, h._heads)
        for key, _ in snapshot.items("records", b""):
            first = int.from_bytes(key, "big")
            chunk, raw = bodies.whole(first)
            for at, row in enumerate(raw.view(ROW)[:, 0]):
                decision = int(row["decision"])
                if row["person"] == person:
                    head = first + at, int(row["kind"]), chunk.shared[decision], int(row["provider"])
                    rows.append((*head, int(row["outcome"]), link_of(row)))
        times = {index: bodies.locate(index).chunk.fields.times for index, *_ in rows}
    ends = {link: outcome for _, kind, _, _, outcome, link in rows if kind in (6, 7)}
    found = []
    for index, kind, shared, provider, outcome, _ in rows:
        asked, gave = shared.requester == institution, provider == number and not 1 <= outcome <= 7 and outcome != 16
        if kind not in (1, 8):
            continue
        status = Status(ends.get(index, outcome))
        status = PENDING if status == Status.OK else status
        at = max(one for one, _ in times[index])
        line = shared.requester, catalog.code_by_number(provider), status, at
        found += [("requester", *line)] * asked + [("provider", *line)] * gave
    return sorted(found)


def test_the_index_finds_what_a_walk_through_the_whole_log_finds(tmp_path: Path) -> None:
    seed = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    print(f"HUB_FAULT_SEED={seed}")
    rng = random.Random(seed)
    with Parties(tmp_path / "hub", persons=8) as parties:
        h = parties.h
        others = h.acquire(parties.other_town, parties.codes[:5]).aliases
        towns = {parties.town: parties.known, parties.other_town: others}
        for number in range(40):
            parties.clock.now += rng.randrange(1, DAY_S)
            town = rng.choice(list(towns))
            persons = [rng.randrange(8) for _ in range(rng.randrange(1, 12))]
            h.inquire(tax_inquiry(f"r{number}"), np.ascontiguousarray(parties.nenkin[persons]), town)
            if rng.random() < 0.3:
                rows = towns[town][[rng.randrange(5)]].copy()
                (h.suspend if rng.random() < 0.5 else h.resume)(town, rows, clerk="佐藤", reason="doubt")
            for permits in h.collect(town, limit=rng.randrange(1, 30)):
                outcome = rng.choice((PROVIDED, Status.EMPTY, NO_RECORD, REFUSED))
                reasons = Reason.UNDER_CORRECTION if outcome == REFUSED else None
                h.provide(town, permits, outcome, reasons=reasons, clerk="鈴木")
        h.lapse()
        parties.clock.now += 2
        for institution, aliases in (("nenkin", parties.nenkin), *towns.items()):
            for person, alias in enumerate(aliases):
                found = h.blast_radius(institution, alias)
                lines = [
                    (one.side, one.receiver, one.source, one.outcome, int(one.requested_at.timestamp()))
                    for one in found.dealings
                ]
                assert sorted(lines) == walked(h, institution, person)
        assert h.verify().problems == ()


def test_wrong_arguments_are_refused(parties: Parties) -> None:
    h, town = parties.h, parties.town
    for alias in (parties.nenkin[0], np.zeros(16, np.uint8)):
        with pytest.raises(RequestError, match=r"^alias: expected one of this institution's, of now or before"):
            h.blast_radius(town, alias)
    with pytest.raises(RequestError, match=r"^until: expected a moment behind since"):
        h.blast_radius(town, parties.known[0], since=TODAY, until=TODAY - dt.timedelta(days=1))
    with pytest.raises(RequestError, match=r"^since, until: expected"):
        h.blast_radius(town, parties.known[0], since="2026")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"^institution"):
        h.blast_radius("nowhere", parties.known[0])


def test_it_shows_counts_only_and_no_other_institutions_alias(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0])
    answer(parties, [0])
    found = h.blast_radius(town, parties.known[0])
    assert repr(found) == "BlastRadius(records=2, dealings=1, received=1, open=0, updates=1)"
    assert repr(found.dealings[0]) == "Dealing(provider, PROVIDED)"
    told = repr(blast_rows(found)) + str(found) + repr(found.dealings)
    for alias in (parties.nenkin[0], parties.portal[0], parties.known[0]):
        assert alias.tobytes().hex() not in told
        assert repr(alias.tobytes()) not in told
    # What it names is the institution's own, and names a record.
    h.withhold(found.dealings[0].handle, "wrong link", dt.date(2027, 1, 1), institution=town)
    assert parties.shown(0) == []
