"""Pushes: a provision without an inquiry, to whom has a rule for it; arrivals are no permits; nobody is searched."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
import hub.provision.deliver
import hub.provision.delivery
import hub.sending.arrivals
import hub.sending.push
from hub.errors import RequestError
from hub.limits import ARRIVAL_DAYS, ARRIVED_ROWS_MAX, PAYLOAD_BYTES_MAX
from hub.messages import Flag, Kind, Reason, Status
from hub.provision.inbox import ARRIVALS, read_inbox
from hub.records.permits import lapse_time
from parties import DAY_S, NOON, REVIEW, Clock, Parties

RULES = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
own,1,1,受取機関,運営者規則,資格の異動,出生の通知,市町村長,戸籍情報,出生,本人
own,1,1,受取機関,運営者規則,資格の異動,出生の通知,市町村長,戸籍情報,死亡,本人
"""
CLASSES = "label,members\n受取機関,code:nenkin;code:mhlw;class:市町村長\n"
OPEN_UNTIL = lapse_time(NOON, ARRIVAL_DAYS)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the background, and inboxes of a few permits in a segment."""
    monkeypatch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)
    monkeypatch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 4)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 2)


@functools.cache
def catalog_with_pushes() -> hub.Catalog:
    return hub.Catalog.japan().import_table(CLASSES.encode(), "classes").import_rules(RULES.encode())


class Pushers(Parties):
    """Parties under a catalog by which the town may push births and deaths to nenkin, the ministry and towns."""

    def __init__(self, folder: Path, persons: int = 6, clock: Clock | None = None) -> None:
        super().__init__(folder, persons, clock)
        self.h.load_catalog(catalog_with_pushes())

    def push(self, persons: list[int], request_id: str = "p1", receivers: Any = "nenkin", **words: Any) -> hub.Sent:
        payloads = words.pop("payloads", None)
        aliases = np.ascontiguousarray(self.known[persons])
        return self.h.push(push_of(self.town, request_id, **words), aliases, receivers, payloads)

    def arrived(self, institution: str = "nenkin", limit: int = 100) -> list[int]:
        found: list[int] = []
        cursor = None
        while lists := self.h.arrived(institution, limit=limit, after=cursor):
            assert sum(map(len, lists)) <= limit
            found += [number for arrivals in lists for number in arrivals.number.tolist()]
            cursor = lists[-1].cursor
        return found

    def records(self) -> int:
        return int(self.h.stats()["records"])


def push_of(town: str, request_id: str = "p1", **changes: Any) -> hub.Push:
    fields = {
        "institution": town, "procedure": "own/1/1", "items": ("出生",), "role": "本人", "section": "市民課",
        "request_id": request_id, "event": "出生",
    }  # fmt: skip
    return hub.Push(**{**fields, **changes})


@pytest.fixture
def pushers(tmp_path: Path) -> Iterator[Pushers]:
    with Pushers(tmp_path / "hub") as found:
        yield found


def sound(pushers: Pushers) -> None:
    assert pushers.h.verify().problems == ()


# -- what arrives


@pytest.mark.parametrize(("sorted_in", "few"), [(False, 64), (True, 64), (True, 2)])
def test_a_push_arrives_with_its_data_and_is_taken_once(
    pushers: Pushers, sorted_in: bool, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.sending.arrivals, "FEW", few)
    sent = pushers.push([1, 0, 3], payloads=[b"one", None, b"three"])
    assert (sent.rows, sent.status.tolist(), sent.reason.tolist()) == (3, [0, 0, 0], [0, 0, 0])
    if sorted_in:
        pushers.h._delivery.deliver()
    (arrivals,) = pushers.h.arrived("nenkin")
    about = arrivals.about
    assert (about.kind, about.sender, about.procedure, about.items) == (Kind.PUSH, pushers.town, "own/1/1", ("出生",))
    assert (about.role, about.section, about.event) == ("本人", "市民課", "出生")
    assert about.legal_basis.startswith("運営者の規則(法令ではない)")
    found = dict(zip(map(bytes, arrivals.aliases), arrivals.payloads, strict=True))
    assert found == {bytes(pushers.nenkin[p]): one for p, one in ((1, b"one"), (0, None), (3, b"three"))}
    assert arrivals.valid_until == OPEN_UNTIL
    assert pushers.h.taken("nenkin", arrivals).rows == 3
    before = pushers.records()
    assert pushers.arrived() == []
    pushers.h.taken("nenkin", arrivals)
    assert pushers.records() == before
    with pushers.h._store.snapshot() as snapshot:
        assert snapshot.items("payloads", b"") == []
    sound(pushers)


def test_what_is_not_taken_comes_again(pushers: Pushers) -> None:
    pushers.push([0, 1, 2], payloads=[b"a", b"b", b"c"])
    first = pushers.arrived()
    pushers.h.taken("nenkin", first[1:2])
    assert pushers.arrived() == [first[0], first[2]]
    assert sorted(one for lists in pushers.h.arrived("nenkin") for one in lists.payloads) != [b"a", b"b", b"c"]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("sorted_in", [0, 1, 2])
def test_every_arrival_comes_exactly_once_by_cursor(pushers: Pushers, limit: int, sorted_in: int) -> None:
    for number in range(3):
        if number == 2 and sorted_in:
            pushers.h._delivery.deliver()
        pushers.push([2 * number, 2 * number + 1], f"p{number}")
    if sorted_in == 2:
        pushers.h._delivery.deliver()
    found = pushers.arrived(limit=limit)
    assert len(set(found)) == len(found) == 6


def test_the_citizen_reads_who_gave_what_to_whom_by_whose_rule(pushers: Pushers) -> None:
    pushers.push([0])
    pushers.h.taken("nenkin", pushers.arrived())
    taken, push = pushers.h.history(pushers.portal[0]).records
    for record in (taken, push):
        assert (record.provider, record.requester) == (pushers.town, "nenkin")
        assert record.legal_basis.startswith("運営者の規則(法令ではない)")
    assert (push.kind, push.outcome, push.provided_at, push.remark) == (Kind.PUSH, Status.OK, None, "出生")
    assert (taken.kind, taken.outcome, taken.link) == (Kind.TAKEN, Status.PROVIDED, push.index)
    assert taken.provided_at == push.requested_at
    for institution in (pushers.town, "nenkin"):
        assert len(pushers.shown(0, institution=institution)) == 2
    assert pushers.shown(0, institution=pushers.other_town) == []


# -- two boxes


def collected(pushers: Pushers, institution: str) -> list[int]:
    return [number for permits in pushers.h.collect(institution) for number in permits.permit.tolist()]


@pytest.mark.parametrize("sorted_in", [False, True])
def test_permits_and_arrivals_of_one_institution_never_meet(pushers: Pushers, sorted_in: bool) -> None:
    pushers.ask("r1", [0, 1, 2])
    theirs = pushers.h.acquire(pushers.other_town, pushers.codes).aliases
    other = push_of(pushers.other_town, "p2")
    pushers.h.push(other, np.ascontiguousarray(theirs[[0, 1]]), pushers.town, [b"x", b"y"])
    if sorted_in:
        pushers.h._delivery.deliver()
    permits, arrivals = collected(pushers, pushers.town), pushers.arrived(pushers.town)
    assert (len(permits), len(arrivals)) == (3, 2)
    assert not set(permits) & set(arrivals)
    before = pushers.records()
    for call in (
        lambda: pushers.h.provide(pushers.town, arrivals, Status.EMPTY),
        lambda: pushers.h.taken(pushers.town, permits),
        lambda: pushers.h.taken("nenkin", arrivals),
    ):
        with pytest.raises(RequestError, match="of this institution"):
            call()
    for call in (
        lambda: pushers.h.collect(pushers.town, after=pushers.h.arrived(pushers.town)[0].cursor),
        lambda: pushers.h.arrived(pushers.town, after=pushers.h.collect(pushers.town)[0].cursor),
    ):
        with pytest.raises(RequestError, match="cursor"):
            call()
    assert pushers.records() == before
    pushers.h.provide(pushers.town, permits, Status.EMPTY)
    assert len(pushers.arrived(pushers.town)) == 2
    pushers.h.taken(pushers.town, arrivals)
    if sorted_in:
        pushers.h._delivery.deliver()
    assert collected(pushers, pushers.town) == pushers.arrived(pushers.town) == []
    assert pushers.h.answers("nenkin", "r1").status.tolist() == [Status.EMPTY] * 3
    sound(pushers)


def test_the_same_record_has_another_number_in_each_box(pushers: Pushers) -> None:
    numbers, index = pushers.h._receiver._numbers, np.arange(1_000, dtype=np.uint64)
    town = pushers.h.catalog.institution(pushers.town).number
    assert not set(numbers.number(town, index).tolist()) & set(numbers.number(ARRIVALS + town, index).tolist())


def test_arrivals_are_sorted_into_an_inbox_of_their_own(pushers: Pushers) -> None:
    pushers.push([0, 1, 2, 3, 4, 5])
    pushers.h._delivery.deliver()
    nenkin = pushers.h.catalog.institution("nenkin").number
    with pushers.h._store.snapshot() as snapshot:
        assert [int(one["permits"]) for one in read_inbox(snapshot, ARRIVALS + nenkin).entries] == [4, 2]
        assert not len(read_inbox(snapshot, nenkin).entries)
    pushers.h.taken("nenkin", pushers.arrived()[:3])
    pushers.h._delivery.deliver()
    with pushers.h._store.snapshot() as snapshot:
        assert sum(int(one["open"]) for one in read_inbox(snapshot, ARRIVALS + nenkin).entries) == 3
    sound(pushers)


# -- the law


def test_nothing_can_be_pushed_under_the_law_of_japan(tmp_path: Path) -> None:
    with Parties(tmp_path / "hub") as parties:
        words = {"procedure": "19-8/73/75.3", "items": ("市町村民税",), "role": "納付義務者"}
        sent = parties.h.push(push_of(parties.town, **words), parties.known[:2], "nenkin", [b"a", b"b"])
        assert sent.status.tolist() == [Status.DENIED] * 2
        assert sent.reason.tolist() == [Reason.NOT_OWN] * 2
        assert parties.h.arrived("nenkin") == []
        (record,) = parties.h.history(parties.portal[0]).records
        assert (record.kind, record.outcome) == (Kind.PUSH, Status.DENIED)
        with parties.h._store.snapshot() as snapshot:
            assert snapshot.items("payloads", b"") == []
        with pytest.raises(RequestError, match="procedure"):
            parties.h.push(push_of(parties.town, "p2"), parties.known[:2], "nenkin")
        assert parties.h.verify().problems == ()


def test_each_receiver_is_decided_by_its_own_rule(pushers: Pushers) -> None:
    portal = "portal"
    sent = pushers.push([0, 0, 0, 0], receivers=["nenkin", portal, pushers.town, pushers.other_town])
    assert sent.status.tolist() == [Status.OK, Status.DENIED, Status.DENIED, Status.OK]
    assert sent.reason.tolist()[1:3] == [Reason.REQUESTER, Reason.SAME_INSTITUTION]
    assert sorted(record.outcome for record in pushers.h.history(pushers.portal[0]).records) == [0, 3, 4, 4]
    # Who is no provider of the rule may not push by it.
    mine = pushers.h.push(push_of("nenkin", "p2"), pushers.nenkin[:1], pushers.town)
    assert mine.reason.tolist() == [Reason.PROVIDER]


def test_every_town_can_be_sent_to_at_once(pushers: Pushers) -> None:
    towns = [body.number for body in pushers.h.catalog.institutions("市町村長")]
    receivers = np.array(towns, np.uint32)
    aliases = np.repeat(pushers.known[:1], len(towns), axis=0)
    sent = pushers.h.push(push_of(pushers.town), aliases, receivers)
    assert sent.status.tolist() == [Status.DENIED if number == towns[0] else Status.OK for number in towns]


# -- nobody is searched


def test_the_sender_never_learns_whether_the_receiver_knows_the_person(pushers: Pushers) -> None:
    pushers.h.acquire(pushers.other_town, pushers.codes[:1])
    sent = pushers.push([0, 1], receivers=pushers.other_town, payloads=[b"a", b"b"])
    assert sent.status.tolist() == [Status.OK, Status.OK]
    again = pushers.push([0, 1], receivers=pushers.other_town, payloads=[b"a", b"b"])
    assert again.status.tolist() == [Status.OK, Status.OK]
    # The person does.
    outcomes = [pushers.h.history(pushers.portal[p]).records[0].outcome for p in range(2)]
    assert outcomes == [Status.OK, Status.NO_ALIAS_AT_PROVIDER]
    assert len(pushers.arrived(pushers.other_town)) == 1
    # Nor does it by its handles.
    told = [pushers.h.handles(pushers.town, pushers.known[p])[0][1] for p in range(2)]
    assert [one.outcome for one in told] == [Status.OK, Status.OK]
    assert {(one.provider, one.requester) for one in told} == {(pushers.town, pushers.other_town)}
    # Only who received it is a party.
    theirs = pushers.h.acquire(pushers.other_town, pushers.codes).aliases
    assert [len(pushers.h.handles(pushers.other_town, theirs[p])) for p in range(2)] == [1, 0]
    sound(pushers)


def test_unknown_and_revoked_aliases_are_told(pushers: Pushers) -> None:
    pushers.h.revoke(pushers.town, pushers.known[:1])
    before = pushers.records()
    aliases = np.concatenate([pushers.known[:2], np.zeros((1, 16), np.uint8)])
    sent = pushers.h.push(push_of(pushers.town), aliases, "nenkin", [b"a", b"b", b"c"])
    assert sent.status.tolist() == [Status.REVOKED, Status.OK, Status.UNKNOWN_ALIAS]
    assert pushers.records() == before + 2
    assert len(pushers.arrived()) == 1


@pytest.mark.parametrize("known", [True, False])
def test_of_a_person_whom_a_clerk_must_decide_about_nothing_is_pushed_until_one_confirms(
    pushers: Pushers, known: bool
) -> None:
    if known:
        pushers.h.acquire(pushers.other_town, pushers.codes)
    pushers.h.flag("nenkin", pushers.nenkin[:1], Flag.MANUAL)
    before = pushers.records()
    sent = pushers.push([0, 1], receivers=pushers.other_town)
    assert sent.status.tolist() == [Status.MANUAL, Status.OK]
    assert pushers.records() == before + 1
    assert pushers.shown(0) == []
    with pytest.raises(RequestError, match="operator: expected the clerk"):
        pushers.push([0], "p2", receivers=pushers.other_town, confirmed=True)
    sent = pushers.push([0], "p2", receivers=pushers.other_town, confirmed=True, operator="sato")
    assert sent.status.tolist() == [Status.OK]
    # Whoever has that person's portal account does not learn which institutions know them either.
    assert [record.outcome for record in pushers.h.history(pushers.portal[0]).records] == [Status.OK]
    assert len(pushers.arrived(pushers.other_town)) == 2 * known
    sound(pushers)


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_the_records_of_a_person_flagged_withheld_begin_withheld(pushers: Pushers, side: str) -> None:
    if side == "sender":
        pushers.h.flag(pushers.town, pushers.known[:1], Flag.WITHHELD)
    else:
        pushers.h.flag("nenkin", pushers.nenkin[:1], Flag.WITHHELD)
    assert pushers.push([0, 1]).status.tolist() == [0, 0]
    pushers.h.taken("nenkin", pushers.arrived())
    assert [len(pushers.shown(person)) for person in range(2)] == [0, 2]
    sound(pushers)


def test_both_parties_can_withhold_a_push(pushers: Pushers) -> None:
    pushers.push([0])
    for institution, alias in ((pushers.town, pushers.known[0]), ("nenkin", pushers.nenkin[0])):
        ((handle, _),) = pushers.h.handles(institution, alias)
        pushers.h.withhold(handle, "moved", REVIEW)
        assert pushers.shown(0) == []
        assert pushers.h.lift(handle, clerk="a", second_clerk="b")
        assert len(pushers.shown(0)) == 1
    sound(pushers)


def test_a_push_is_corrected_like_a_question(pushers: Pushers) -> None:
    """訂正 of the record: sender and receiver hold it, and the register's operator."""
    pushers.push([0])
    page = pushers.h.history(pushers.portal[0])
    pushers.h.ask_correction(pushers.portal[0], page.records[0], "課の名が違う", disclosed=page.disclosure)
    (notice,) = pushers.h.corrections(pushers.town)
    assert (notice.record.kind, notice.record.provider, notice.record.requester) == (Kind.PUSH, pushers.town, "nenkin")
    pushers.h.correct(notice.handle, "誤記のため", "市民課")
    for institution in ("nenkin", "pm"):
        (notice,) = pushers.h.corrections(institution)
        pushers.h.confirm(notice.handle, institution=institution, section="a")
    kinds = [record.kind for record in pushers.h.history(pushers.portal[0]).records]
    assert kinds == [Kind.CONFIRMATION, Kind.CONFIRMATION, Kind.CORRECTION, Kind.CORRECTION_ASKED, Kind.PUSH]
    sound(pushers)


def test_who_does_not_know_the_person_holds_no_record_of_a_push(pushers: Pushers) -> None:
    pushers.push([0], receivers=pushers.other_town)
    page = pushers.h.history(pushers.portal[0])
    pushers.h.ask_correction(pushers.portal[0], page.records[0], "違う", disclosed=page.disclosure)
    pushers.h.correct(pushers.h.corrections(pushers.town)[0].handle, "誤記のため", "市民課")
    assert pushers.h.corrections(pushers.other_town) == []
    assert len(pushers.h.corrections("pm")) == 1
    sound(pushers)


def test_numbers_of_arrivals_say_nothing_of_the_order_in_which_they_were_sent(pushers: Pushers) -> None:
    for number in range(6):
        pushers.push([number], f"p{number}")
    numbers = pushers.arrived()
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 6
    index = np.arange(2_000, dtype=np.uint64)
    numbers = pushers.h._receiver._numbers.number(ARRIVALS + 5, index)
    rising = int((numbers[1:] > numbers[:-1]).sum())
    assert 850 < rising < 1_150


def test_a_push_is_not_counted_as_asking(pushers: Pushers) -> None:
    """Else the clerk of a provider would read the receivers of pushes as bodies that were asked."""
    pushers.h.flag(pushers.town, pushers.known[:1], Flag.MANUAL)
    mine = push_of("nenkin", operator="sato", confirmed=True)
    pushers.h.push(mine, np.repeat(pushers.nenkin[:1], 2, axis=0), [pushers.other_town, "mhlw"])
    pushers.ask("r1", [0])
    (permits,) = pushers.h.collect(pushers.town)
    assert permits.asked.tolist() == [1]


# -- once


def test_the_same_request_again_is_recorded_once_also_after_it_was_taken(pushers: Pushers) -> None:
    first = pushers.push([0, 1], payloads=[b"a", b"b"])
    pushers.h.taken("nenkin", pushers.arrived())
    before = pushers.records()
    pushers.clock.now += 60
    pushers.reopen()
    again = pushers.push([0, 1], payloads=[b"a", b"b"])
    assert (again.status.tolist(), again.received_at) == (first.status.tolist(), first.received_at)
    assert pushers.records() == before
    assert pushers.arrived() == []


@pytest.mark.parametrize("what", ["payloads", "no payloads", "receivers", "items", "confirmed", "notice"])
def test_another_content_under_the_same_id_is_refused(pushers: Pushers, what: str) -> None:
    pushers.push([0, 1], payloads=[b"ab", b"c"])
    words: dict[str, Any] = {"payloads": [b"ab", b"c"]}
    words.update({
        "payloads": {"payloads": [b"a", b"bc"]}, "no payloads": {"payloads": None},
        "receivers": {"receivers": pushers.other_town}, "items": {"items": ("死亡",)},
        "confirmed": {"confirmed": True, "operator": "a"}, "notice": {},
    }[what])  # fmt: skip
    before = pushers.records()
    notice = hub.Notice(institution=pushers.town, subject="a", section="b", request_id="p1")
    with pytest.raises(RequestError, match="request_id: expected what it was first used with"):
        pushers.h.notify(notice, pushers.known[:2], "a") if what == "notice" else pushers.push([0, 1], **words)
    assert pushers.records() == before


def test_a_push_that_was_cut_off_goes_on(pushers: Pushers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.push, "ROWS_PER_CHUNK", 2)
    payloads = [bytes([person]) for person in range(6)]

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushers.h.push(push_of(pushers.town), pushers.known, "nenkin", payloads, progress=stop)
    assert len(pushers.arrived()) == 2
    pushers.h.taken("nenkin", pushers.arrived())
    pushers.reopen()
    # The law of the moment at which it was received decides all of it.
    pushers.clock.now += 3_600
    done: list[int] = []
    pushers.h.push(push_of(pushers.town), pushers.known, "nenkin", payloads, progress=done.append)
    assert done == [4, 6]
    assert sorted(one for lists in pushers.h.arrived("nenkin") for one in lists.payloads) == payloads[2:]
    assert len(pushers.arrived()) == 4
    sound(pushers)


def test_large_payloads_are_several_transactions(pushers: Pushers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.push, "PAYLOAD_BYTES_PER_COMMIT_MAX", 2 * PAYLOAD_BYTES_MAX)
    payloads = [bytes([person]) * PAYLOAD_BYTES_MAX for person in range(6)]
    done: list[int] = []
    pushers.h.push(push_of(pushers.town), pushers.known, "nenkin", payloads, progress=done.append)
    assert done == [2, 4, 6]
    found = {bytes(a): p for one in pushers.h.arrived("nenkin") for a, p in zip(one.aliases, one.payloads, strict=True)}
    assert found == {bytes(pushers.nenkin[person]): payloads[person] for person in range(6)}


# -- time


def test_what_nobody_takes_lapses_and_its_data_go(tmp_path: Path) -> None:
    clock = Clock()
    with Pushers(tmp_path / "hub", clock=clock) as pushers:
        pushers.push([0, 1], payloads=[b"a", b"b"])
        pushers.ask("r1", [0])
        first = pushers.arrived()
        pushers.h.taken("nenkin", first[:1])
        clock.now = OPEN_UNTIL - 1
        assert pushers.arrived() == first[1:]
        clock.now += 1
        assert pushers.arrived() == []
        with pytest.raises(RequestError, match="lapsed"):
            pushers.h.taken("nenkin", first[1:])
        # What was taken before is accepted still.
        pushers.h.taken("nenkin", first[:1])
        kinds = [[(r.kind, r.outcome) for r in pushers.h.history(pushers.portal[p]).records] for p in range(2)]
        lapsed = [kind for kind in kinds if (Kind.TAKEN, Status.LAPSED) in kind]
        assert len(lapsed) == 1
        assert pushers.h.lapse() == 0
        clock.now += 3 * DAY_S
        pushers.reopen()
        pushers.h.collect(pushers.town)
        with pushers.h._store.snapshot() as snapshot:
            assert snapshot.items("payloads", b"") == []
        sound(pushers)


def test_permits_and_arrivals_that_lapse_together_are_told_apart(tmp_path: Path) -> None:
    clock = Clock()
    with Pushers(tmp_path / "hub", clock=clock) as pushers:
        pushers.push([0, 1])
        pushers.ask("r1", [0])
        clock.now += 29 * DAY_S
        assert pushers.h.lapse() == 3
        kinds = [[record.kind for record in pushers.h.history(pushers.portal[p]).records] for p in range(2)]
        assert sorted(kinds[0]) == [Kind.INQUIRY, Kind.LAPSE, Kind.PUSH, Kind.TAKEN]
        assert sorted(kinds[1]) == [Kind.PUSH, Kind.TAKEN]
        assert pushers.h.answers("nenkin", "r1").status.tolist() == [Status.LAPSED]
        sound(pushers)


def test_segments_of_arrivals_are_dropped_long_after_they_ended(tmp_path: Path) -> None:
    clock = Clock()
    with Pushers(tmp_path / "hub", clock=clock) as pushers:
        pushers.push([0, 1, 2, 3, 4])
        pushers.h._delivery.deliver()
        pushers.h.taken("nenkin", pushers.arrived())
        pushers.h._delivery.deliver()
        clock.now += 64 * DAY_S
        pushers.push([0], "p2")
        pushers.h._delivery.deliver()
        nenkin = pushers.h.catalog.institution("nenkin").number
        with pushers.h._store.snapshot() as snapshot:
            assert [int(one["permits"]) for one in read_inbox(snapshot, ARRIVALS + nenkin).entries] == [1]
        sound(pushers)


# -- bad input


def test_bad_input_changes_nothing(pushers: Pushers) -> None:
    before = pushers.records(), pushers.h.checkpoint()
    good = push_of(pushers.town)
    for match, args in {
        "push: expected hub.Push": ({}, pushers.known, "nenkin"),
        "section": (push_of(pushers.town, section=""), pushers.known, "nenkin"),
        "request_id": (push_of(pushers.town, ""), pushers.known, "nenkin"),
        "event": (push_of(pushers.town, event="a\n"), pushers.known, "nenkin"),
        "operator: expected 1": (push_of(pushers.town, operator=""), pushers.known, "nenkin"),
        "confirmed": (push_of(pushers.town, confirmed=1), pushers.known, "nenkin"),
        "items: expected a tuple": (push_of(pushers.town, items="出生"), pushers.known, "nenkin"),
        "items: expected 1 to": (push_of(pushers.town, items=()), pushers.known, "nenkin"),
        "item": (push_of(pushers.town, items=("x",)), pushers.known, "nenkin"),
        "role": (push_of(pushers.town, role="x"), pushers.known, "nenkin"),
        "institution": (push_of("x"), pushers.known, "nenkin"),
        "aliases": (good, pushers.known.astype(np.int8), "nenkin"),
        "expected the code": (good, pushers.known, "x"),
        "receivers: expected institution numbers": (good, pushers.known, np.zeros(6, np.uint32)),
        "receivers: expected 6 rows, got 5": (good, pushers.known, ["nenkin"] * 5),
        "payloads: expected a list": (good, pushers.known, "nenkin", b"a"),
        "payloads: expected 6 rows": (good, pushers.known, "nenkin", [b"a"]),
        "in row 5": (good, pushers.known, "nenkin", [None] * 5 + [b"a" * (PAYLOAD_BYTES_MAX + 1)]),
    }.items():
        with pytest.raises(RequestError, match=match):
            pushers.h.push(*args)
    for limit in (0, ARRIVED_ROWS_MAX + 1, True):
        with pytest.raises(RequestError, match="limit"):
            pushers.h.arrived("nenkin", limit=limit)
    pushers.push([0])
    (number,) = pushers.arrived()
    before = pushers.records(), pushers.h.checkpoint()
    for numbers in ([number, number], [number ^ 1], [number, 7], b"", [-1], np.array([1.0])):
        with pytest.raises(RequestError):
            pushers.h.taken("nenkin", numbers)
    assert (pushers.records(), pushers.h.checkpoint()) == before
    pushers.h.arrived("nenkin", limit=ARRIVED_ROWS_MAX)


def test_what_is_not_sealed_to_its_receiver_is_refused(pushers: Pushers) -> None:
    private, public = hub.new_payload_key()
    pushers.h.register_key("nenkin", public)
    sealed = hub.seal_payload(public, b"data")
    receivers = [pushers.other_town, "nenkin", "nenkin"]
    before = pushers.records()
    with pytest.raises(hub.errors.RowsError, match="in row 2") as caught:
        pushers.push([0, 1, 2], receivers=receivers, payloads=[b"plain", sealed, b"plain"])
    assert caught.value.rows == [2]
    assert pushers.records() == before
    pushers.push([0, 1, 2], receivers=receivers, payloads=[b"plain", sealed, None])
    (arrivals,) = pushers.h.arrived("nenkin")
    assert sorted(one is None for one in arrivals.payloads) == [False, True]
    (payload,) = (one for one in arrivals.payloads if one is not None)
    assert hub.open_payload(private, payload) == b"data"
    # A new key does not make another request of it.
    pushers.h.register_key("nenkin", hub.new_payload_key()[1])
    pushers.push([0, 1, 2], receivers=receivers, payloads=[b"plain", sealed, None])


def test_nothing_shows_data_or_aliases_in_its_repr(pushers: Pushers) -> None:
    sent = pushers.push([0], payloads=[b"geheim"])
    (arrivals,) = pushers.h.arrived("nenkin")
    pushing = hub.sending.push.Pushing(
        pushers.h._store, pushers.h.catalog, push_of(pushers.town), pushers.known, "nenkin", [b"geheim"] * 6
    )
    for one in (sent, arrivals, pushing, pushers.h._receiver, pushers.h._sender):
        assert "geheim" not in repr(one)
        assert pushers.nenkin[0].tobytes().hex() not in repr(one)


# -- damage


@pytest.mark.parametrize("what", ["permits", "outcomes", "inboxes", "payloads"])
def test_what_is_missing_of_arrivals_is_found(pushers: Pushers, what: str) -> None:
    pushers.push([0, 1, 2, 3, 4, 5], payloads=[b"a"] * 6)
    pushers.h._delivery.deliver()
    pushers.h.taken("nenkin", pushers.arrived()[:3])
    pushers.h._delivery.deliver()
    sound(pushers)
    with pushers.h._store.snapshot() as snapshot:
        keys = [key for key, _ in snapshot.items(what, b"")]
    with pushers.h._store.commit() as commit:
        if what == "payloads":
            # Put under another chunk, with sums that fit.
            value = bytes(commit.txn.get(keys[0], db=commit.databases[what]))
            commit.delete(what, keys[0])
            commit.put_sealed(what, (int.from_bytes(keys[0], "big") + 6).to_bytes(8, "big"), value[8:])
        else:
            commit.delete(what, keys[-1])
    assert pushers.h.verify().problems != ()


def test_an_arrival_under_the_number_of_permits_is_found(pushers: Pushers) -> None:
    """The log decides in which box a record belongs."""
    pushers.push([0])
    pushers.h._delivery.deliver()
    nenkin = pushers.h.catalog.institution("nenkin").number
    with pushers.h._store.commit() as commit:
        for name in ("permits", "inboxes"):
            (key,) = (bytes(key) for key, _ in commit.txn.cursor(db=commit.databases[name]))
            value = bytes(commit.txn.get(key, db=commit.databases[name]))[8:]
            commit.delete(name, key)
            commit.put_sealed(name, nenkin.to_bytes(4, "big") + key[4:], value)
    assert any("inbox of" in problem for problem in pushers.h.verify().problems)


def test_a_copy_opened_for_reading_tells_the_same(pushers: Pushers, tmp_path: Path) -> None:
    pushers.push([0, 1])
    found = pushers.arrived()
    pushers.h.close()
    shutil.copytree(pushers.folder, tmp_path / "copy")
    shutil.copy(f"{pushers.folder}.head", tmp_path / "copy.head")
    with hub.open(tmp_path / "copy", readonly=True, clock=pushers.clock) as h:
        assert [number for one in h.arrived("nenkin") for number in one.number.tolist()] == found
        with pytest.raises(RequestError, match="read-only"):
            h.push(push_of(pushers.town, "p2"), pushers.known, "nenkin")
