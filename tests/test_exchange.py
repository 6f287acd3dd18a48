"""The exchange: permits wait for their provider, its answers reach who asked, each once, and nobody learns more."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
import hub.provision.deliver
import hub.provision.delivery
from hub.errors import RequestError
from hub.limits import COLLECT_ROWS_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DAYS, PERMIT_DAYS, PROMPT_S
from hub.messages import REFUSALS, Kind, Reason, Status
from hub.provision.inbox import read_inbox
from hub.records.events import EventKind
from hub.records.handles import make_handle
from hub.records.permits import lapse_time
from inquiries import tax_inquiry
from parties import DAY_S, NOON, REVIEW, Clock, Parties

OPEN_UNTIL = lapse_time(NOON, PERMIT_DAYS)
ANSWERS = {
    Status.PROVIDED: Reason.NONE,
    Status.EMPTY: Reason.NONE,
    Status.NO_RECORD: Reason.NONE,
    Status.REFUSED: Reason.UNDER_CORRECTION,
}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the background, and inboxes of a few permits in a segment."""
    monkeypatch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)
    monkeypatch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 4)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 2)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENTS", 1)


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub", persons=12) as found:
        yield found


def collected(parties: Parties, limit: int = 100, **words: Any) -> list[int]:
    """The permits that wait for the town, by pages, in the order in which they came."""
    found: list[int] = []
    cursor = None
    while lists := parties.h.collect(parties.town, limit=limit, after=cursor, **words):
        assert sum(map(len, lists)) <= limit
        found += [number for permits in lists for number in permits.permit.tolist()]
        cursor = lists[-1].cursor
    return found


def permit_of(parties: Parties, person: int) -> np.ndarray:
    """uint64[1], the permit that waits for the town about a person."""
    found = [
        number
        for permits in parties.h.collect(parties.town)
        for alias, number in zip(permits.aliases, permits.permit, strict=True)
        if (alias == parties.known[person]).all()
    ]
    assert len(found) == 1
    return np.array(found, dtype=np.uint64)


def stands(parties: Parties, request_id: str = "r1") -> list[int]:
    """How the rows of a request stand."""
    return parties.h.answers("nenkin", request_id).status.tolist()


def all_permits(parties: Parties) -> np.ndarray:
    """uint64[N], what waits for the town."""
    return np.array(collected(parties), dtype=np.uint64)


def records(parties: Parties) -> int:
    return int(parties.h.stats()["records"])


def refused(parties: Parties, match: str, *args: Any, **words: Any) -> None:
    """An answer of the town's that must be refused and change nothing."""
    before = records(parties), parties.h.checkpoint(), len(parties.h.events())
    with pytest.raises(RequestError, match=match):
        parties.h.provide(parties.town, *args, **words)
    assert (records(parties), parties.h.checkpoint(), len(parties.h.events())) == before


# -- collecting


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 13])
@pytest.mark.parametrize("sorted_in", [0, 1, 2], ids=["tail", "segments and tail", "segments"])
def test_every_waiting_permit_comes_exactly_once_by_cursor(parties: Parties, limit: int, sorted_in: int) -> None:
    for number in range(3):
        if number == 2 and sorted_in:
            parties.h._delivery.deliver()
        parties.ask(f"r{number}", list(range(4 * number, 4 * number + 4)))
    if sorted_in == 2:
        parties.h._delivery.deliver()
    found = collected(parties, limit)
    assert len(set(found)) == len(found) == 12
    assert set(collected(parties, limit)) == set(found)


def test_without_a_cursor_everything_that_is_not_answered_comes_again(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2])
    first = collected(parties)
    assert collected(parties) == first
    parties.h.provide(parties.town, [first[0]], Status.EMPTY)
    assert collected(parties) == first[1:]


@pytest.mark.parametrize("limit", [1, 3])
def test_what_is_sorted_in_or_comes_while_somebody_pages_is_neither_lost_nor_doubled(
    parties: Parties, limit: int
) -> None:
    parties.ask("r0", list(range(12)))
    found: list[int] = []
    cursor = None
    asked = 0
    while lists := parties.h.collect(parties.town, limit=limit, after=cursor):
        found += [number for permits in lists for number in permits.permit.tolist()]
        cursor = lists[-1].cursor
        if asked < 3:
            asked += 1
            parties.ask(f"new{asked}", [asked, asked + 1])
        if asked % 2:
            parties.h._delivery.deliver()
    assert len(set(found)) == len(found) == 12 + 2 * asked
    assert set(found) == set(collected(parties))


def test_what_was_answered_while_somebody_pages_does_not_come_any_more(parties: Parties) -> None:
    parties.ask("r0", list(range(12)))
    order = collected(parties, 5)
    first = parties.h.collect(parties.town, limit=5)
    parties.h.provide(parties.town, order[5:7], Status.EMPTY)
    rest = parties.h.collect(parties.town, after=first[-1].cursor)
    assert [number for permits in rest for number in permits.permit.tolist()] == order[7:]


def test_a_cursor_behind_the_last_permit_leads_to_those_that_come_later(parties: Parties) -> None:
    parties.ask("r1", [0])
    (last,) = parties.h.collect(parties.town)
    assert parties.h.collect(parties.town, after=last.cursor) == []
    parties.ask("r2", [1])
    (fresh,) = parties.h.collect(parties.town, after=last.cursor)
    assert (fresh.aliases == parties.known[[1]]).all()


def test_a_cursor_of_another_institution_or_of_nobody_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.acquire(parties.other_town, parties.codes)
    (permits,) = parties.h.collect(parties.town)
    altered = ("0" if permits.cursor[-1] != "0" else "1").join([permits.cursor[:-1], ""])
    for institution, cursor in (
        (parties.other_town, permits.cursor), (parties.town, altered), (parties.town, permits.cursor[:-2]),
        (parties.town, ""), (parties.town, "nothing"), (parties.town, 7),
    ):  # fmt: skip
        with pytest.raises(RequestError, match="after: expected a cursor of this institution"):
            parties.h.collect(institution, after=cursor)  # type: ignore[arg-type]


def test_the_limit_is_1_to_its_bound(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    for limit in (0, -1, COLLECT_ROWS_MAX + 1, True, 1.0, None):
        with pytest.raises(RequestError, match=f"limit: expected 1 to {COLLECT_ROWS_MAX}"):
            parties.h.collect(parties.town, limit=limit)  # type: ignore[arg-type]
    assert [len(parties.h.collect(parties.town, limit=limit)[0]) for limit in (1, COLLECT_ROWS_MAX)] == [1, 2]


def test_a_permit_says_what_is_asked_and_not_by_which_request(parties: Parties) -> None:
    parties.ask("the-request", [3])
    (permits,) = parties.h.collect(parties.town)
    inquiry = permits.inquiry
    assert (inquiry.requester, inquiry.procedure, inquiry.items) == ("nenkin", "19-8/73/75.3", ("市町村民税",))
    assert (permits.aliases == parties.known[[3]]).all()
    assert permits.valid_until == OPEN_UNTIL
    assert permits.manual.tolist() == [False]
    assert "the-request" not in repr(inquiry)
    assert repr(permits) == "Permits(rows=1)"


def test_two_providers_have_different_numbers_for_neighbouring_records_and_none_is_the_log_s(parties: Parties) -> None:
    parties.h.acquire(parties.other_town, parties.codes)
    numbers = [body.code for body in parties.h.catalog.institutions("市町村長")[:2]] * 6
    parties.h.inquire(tax_inquiry("r1"), parties.nenkin, numbers)
    theirs = [
        {number for permits in parties.h.collect(town) for number in permits.permit.tolist()}
        for town in (parties.town, parties.other_town)
    ]
    assert [len(some) for some in theirs] == [6, 6]
    assert not theirs[0] & theirs[1]
    assert min(theirs[0] | theirs[1]) > records(parties)


def test_the_order_within_a_stretch_is_that_of_the_numbers(parties: Parties) -> None:
    for number in range(6):
        parties.ask(f"r{number}", [number, 11 - number])
    found = parties.h.collect(parties.town)
    lowest = [int(permits.permit.min()) for permits in found]
    assert lowest == sorted(lowest)
    assert all((np.diff(permits.permit.astype(object)) > 0).all() for permits in found)


@pytest.mark.parametrize("sorted_in", [False, True])
def test_a_permit_is_handed_out_until_the_second_before_it_lapses(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", [0])
    if sorted_in:
        parties.h._delivery.deliver()
    parties.clock.now = OPEN_UNTIL - 1
    assert len(collected(parties)) == 1
    parties.clock.now = OPEN_UNTIL
    assert collected(parties) == []


# -- answering


@pytest.mark.parametrize("sorted_in", [False, True])
def test_a_batch_may_be_answered_in_part_and_each_answer_is_one_record(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", list(range(8)))
    if sorted_in:
        parties.h._delivery.deliver()
    before = records(parties)
    for at, (outcome, reason) in enumerate(ANSWERS.items()):
        given = {"reasons": reason} if reason else {}
        payloads = [b"answer"] if outcome == Status.PROVIDED else None
        receipt = parties.h.provide(parties.town, permit_of(parties, at), outcome, payloads, **given)
        assert (receipt.rows, receipt.request_id) == (1, "")
        assert records(parties) == before + at + 1
    answers = parties.h.answers("nenkin", "r1")
    assert answers.status.tolist() == [*ANSWERS, *[Status.PENDING] * 4]
    assert answers.reason.tolist() == [*ANSWERS.values(), *[0] * 4]
    assert answers.payloads == [b"answer", *[None] * 7]
    assert not answers.complete
    parties.h.provide(parties.town, all_permits(parties), Status.EMPTY)
    assert parties.h.answers("nenkin", "r1").complete
    assert parties.h.verify().problems == ()


def test_an_answer_stands_in_the_history_behind_its_inquiry_and_is_linked_to_it(parties: Parties) -> None:
    parties.ask("r1", [5])
    parties.clock.now += 1
    parties.h.provide(parties.town, permit_of(parties, 5), Status.PROVIDED, [b"secret"])
    answer, inquiry = parties.h.history(parties.portal[5]).records
    assert (answer.kind, answer.outcome, answer.link) == (Kind.PROVISION, Status.PROVIDED, inquiry.index)
    assert (inquiry.kind, inquiry.outcome, inquiry.link) == (Kind.INQUIRY, Status.OK, None)
    assert (answer.requested_at, answer.inquiry) == (inquiry.requested_at, inquiry.inquiry)
    assert answer.provided_at is not None
    assert answer.provided_at.timestamp() == NOON + 1
    assert b"secret" not in repr(answer).encode()


@pytest.mark.parametrize("sorted_in", [False, True])
@pytest.mark.parametrize("outcome", list(ANSWERS))
def test_the_same_answer_again_is_accepted_and_recorded_once(
    parties: Parties, outcome: Status, sorted_in: bool
) -> None:
    parties.ask("r1", [0, 1, 2])
    permits = all_permits(parties)
    given = {"reasons": ANSWERS[outcome]}
    payloads = [b"a", None, b""] if outcome == Status.PROVIDED else None
    first = parties.h.provide(parties.town, permits, outcome, payloads, **given)
    if sorted_in:
        parties.h._delivery.deliver()
    before = records(parties), parties.h.checkpoint(), len(parties.h.events())
    assert parties.h.provide(parties.town, permits, outcome, payloads, **given) == first
    assert parties.h.provide(parties.town, permits[[2, 0]], outcome, payloads and [b"", b"a"], **given).rows == 2
    assert (records(parties), parties.h.checkpoint(), len(parties.h.events())) == before
    assert stands(parties) == [outcome] * 3


def test_the_same_answer_with_more_permits_records_only_the_others(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2])
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits[:2], Status.EMPTY)
    before = records(parties)
    assert parties.h.provide(parties.town, permits, Status.EMPTY).rows == 3
    assert records(parties) == before + 1


@pytest.mark.parametrize("sorted_in", [False, True])
def test_another_answer_to_the_same_permit_is_refused_and_changes_nothing(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", [0, 1])
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits[:1], Status.PROVIDED, [b"a"])
    if sorted_in:
        parties.h._delivery.deliver()
    why = "expected ones that wait"
    refused(parties, why, permits[:1], Status.EMPTY)
    refused(parties, why, permits[:1], Status.MANUAL)
    refused(parties, why, permits[:1], Status.PROVIDED, [b"b"])
    refused(parties, why, permits[:1], Status.PROVIDED)
    refused(parties, why, permits[:1], Status.REFUSED, reasons=Reason.UNDER_CORRECTION)
    # The other row of a batch with a bad one waits on.
    refused(parties, why, permits, Status.EMPTY)
    assert sorted(stands(parties)) == [Status.PENDING, Status.PROVIDED]


def test_a_refusal_again_with_another_reason_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0])
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits, Status.REFUSED, reasons=Reason.UNDER_CORRECTION)
    refused(parties, "expected ones that wait", permits, Status.REFUSED, reasons=Reason.IDENTITY_IN_DOUBT)


def test_a_permit_of_another_institution_and_a_made_up_number_are_refused(parties: Parties) -> None:
    parties.h.acquire(parties.other_town, parties.codes)
    parties.ask("r1", [0])
    own = all_permits(parties)
    parties.h.inquire(tax_inquiry("r2"), np.ascontiguousarray(parties.nenkin[:1]), parties.other_town)
    (theirs,) = parties.h.collect(parties.other_town)
    for sort in (False, True):
        if sort:
            parties.h._delivery.deliver()
        for number in (int(theirs.permit[0]), int(own[0]) ^ 1, 0, (1 << 64) - 1):
            refused(parties, "expected permits of this institution, got another in row 1", [int(own[0]), number], 10)
    assert stands(parties) == [Status.PENDING]


def test_a_number_that_leads_to_a_record_that_left_no_permit_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits, Status.EMPTY)
    provider = parties.h.catalog.institution(parties.town).number
    every = np.arange(records(parties), dtype=np.uint64)
    numbers = parties.h._collector._numbers.number(provider, every)
    others = [number for number in numbers.tolist() if number not in set(permits.tolist())]
    assert len(others) == 2
    for number in others:
        refused(parties, "expected permits of this institution", [number], Status.EMPTY)


@pytest.mark.parametrize("sorted_in", [False, True])
def test_an_answer_is_taken_until_the_second_before_the_permit_lapses(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", [0, 1])
    permits = all_permits(parties)
    if sorted_in:
        parties.h._delivery.deliver()
    parties.clock.now = OPEN_UNTIL - 1
    parties.h.provide(parties.town, permits[:1], Status.EMPTY)
    parties.clock.now = OPEN_UNTIL
    with pytest.raises(RequestError, match="expected ones that have not lapsed"):
        parties.h.provide(parties.town, permits[1:], Status.EMPTY)
    # What was answered in time may be said again.
    assert parties.h.provide(parties.town, permits[:1], Status.EMPTY).rows == 1
    refused(parties, "expected ones that have not lapsed, got one in row 1", permits, Status.EMPTY)
    assert sorted(stands(parties)) == [Status.EMPTY, Status.LAPSED]


def test_another_count_of_rows_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2])
    permits = all_permits(parties)
    for count in (0, 1, 2, 4):
        refused(parties, f"outcomes: expected 3 rows, got {count}", permits, [Status.EMPTY] * count)
        refused(parties, f"payloads: expected 3 rows, got {count}", permits, Status.PROVIDED, [b"a"] * count)
        refused(parties, f"reasons: expected 3 rows, got {count}", permits, Status.EMPTY, reasons=[0] * count)
    for bad in ("text", None, 7, permits.astype(np.int64), permits.reshape(3, 1), [-1], [1 << 64], [True], [1.0]):
        refused(parties, "permits: expected hub.Permits or uint64", bad, Status.EMPTY)
    for bad in (None, "EMPTY", 256, -1, True, [Status.EMPTY, None, 1], np.zeros(3, np.int64)):
        refused(parties, "outcomes: expected", permits, bad)
    refused(parties, "each once, got one twice", [int(permits[0])] * 2, Status.EMPTY)
    assert stands(parties) == [Status.PENDING] * 3
    assert parties.h.provide(parties.town, [], Status.EMPTY).rows == 0


def test_a_provider_can_give_no_other_outcome_than_its_own(parties: Parties) -> None:
    parties.ask("r1", [0])
    permits = all_permits(parties)
    for outcome in set(Status) - {*ANSWERS, Status.MANUAL}:
        refused(parties, "outcomes: expected PROVIDED, EMPTY, NO_RECORD, REFUSED, MANUAL", permits, outcome)
    refused(parties, "outcomes", permits, 99)


@pytest.mark.parametrize("more", [0, 1])
def test_a_payload_has_at_most_64_kib(parties: Parties, more: int) -> None:
    parties.ask("r1", [0])
    payload = bytes(range(256)) * (PAYLOAD_BYTES_MAX // 256) + bytes(more)
    if more:
        refused(parties, "at most 65536 bytes, got something else in row 0", all_permits(parties), 9, [payload])
        return
    parties.h.provide(parties.town, all_permits(parties), Status.PROVIDED, [payload])
    assert parties.h.answers("nenkin", "r1").payloads == [payload]


def test_an_empty_payload_is_one(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.h.provide(parties.town, permit_of(parties, 0), Status.PROVIDED, [b""])
    parties.h.provide(parties.town, permit_of(parties, 1), Status.PROVIDED, [None])
    assert parties.h.answers("nenkin", "r1").payloads == [b"", None]


def test_a_payload_of_another_outcome_or_type_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    permits = all_permits(parties)
    for outcome in set(ANSWERS) - {Status.PROVIDED}:
        refused(
            parties, "with PROVIDED only", permits, [outcome, Status.PROVIDED], [b"", b""],
            reasons=[ANSWERS[outcome], 0],
        )  # fmt: skip
    refused(parties, "with PROVIDED only", permits, Status.MANUAL, [b"", None])
    refused(parties, "in row 1", permits, Status.PROVIDED, [b"", "text"])
    refused(parties, "expected a list", permits, Status.PROVIDED, b"ab")
    parties.h.provide(parties.town, permits, [Status.EMPTY, Status.PROVIDED], [None, bytearray(b"x")])
    assert sorted(parties.h.answers("nenkin", "r1").payloads, key=str) == [None, b"x"]


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_needs_a_reason_of_the_closed_list_and_is_an_event(parties: Parties, reason: Reason) -> None:
    parties.ask("r1", [0, 1])
    permits = all_permits(parties)
    for bad in (None, 0, Reason.CONSENT, 19, 23, [reason, 0]):
        refused(parties, "reasons: expected", permits, Status.REFUSED, reasons=bad)
    for outcome in (Status.EMPTY, Status.NO_RECORD, Status.PROVIDED, Status.MANUAL):
        refused(parties, "none otherwise", permits, outcome, reasons=reason)
    parties.h.provide(parties.town, permits, [Status.REFUSED, Status.EMPTY], reasons=[reason, 0], clerk="佐藤")
    (event,) = parties.h.events()
    assert (event.kind, event.institution, event.clerk, event.ground) == (
        EventKind.REFUSED, parties.town, "佐藤", reason.name,
    )  # fmt: skip
    (person,) = (person for person in (0, 1) if stands(parties)[person] == Status.REFUSED)
    answer = parties.h.history(parties.portal[person]).records[0]
    assert (answer.outcome, answer.index) == (Status.REFUSED, event.index)
    assert parties.h.answers("nenkin", "r1").reason.tolist()[person] == reason


def test_where_the_requester_has_a_key_only_what_is_sealed_to_it_is_taken(parties: Parties) -> None:
    private, public = hub.new_payload_key()
    _, other = hub.new_payload_key()
    parties.ask("r1", [0, 1, 2])
    parties.h.register_key("nenkin", public, clerk="佐藤")
    permits = all_permits(parties)
    sealed = [hub.seal_payload(public, data) for data in (b"one", b"two", b"three")]
    for bad in (b"in the clear", hub.seal_payload(other, b"one"), sealed[1][:-1][:60], b""):
        refused(parties, "sealed to the requester's key, got another in row 1", permits, 9, [sealed[0], bad, None])
    receipt = parties.h.provide(parties.town, permits, Status.PROVIDED, sealed)
    assert parties.h.provide(parties.town, permits, Status.PROVIDED, sealed) == receipt
    opened = {hub.open_payload(private, one) for one in parties.h.answers("nenkin", "r1").payloads if one is not None}
    assert opened == {b"one", b"two", b"three"}
    # A new key does not turn the same answer into another one.
    parties.h.register_key("nenkin", other, clerk="佐藤")
    assert parties.h.provide(parties.town, permits, Status.PROVIDED, sealed) == receipt


# -- what the requester reads


def test_answers_in_parts_are_the_same_as_all_at_once(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2, 3, 3])
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits[:3], Status.PROVIDED, [b"a", b"b", b"c"])
    whole = parties.h.answers("nenkin", "r1")
    for size in (1, 2, 5, 6):
        parts = [parties.h.answers("nenkin", "r1", first=first, limit=size) for first in range(0, 5, size)]
        assert [state for part in parts for state in part.status.tolist()] == whole.status.tolist()
        assert [payload for part in parts for payload in part.payloads] == whole.payloads
    assert len(parties.h.answers("nenkin", "r1", first=5)) == 0
    assert len(parties.h.answers("nenkin", "r1", limit=0)) == 0
    for words in ({"first": 6}, {"first": -1}, {"limit": -1}, {"first": True}, {"limit": 1.0}):
        with pytest.raises(RequestError, match="expected 0 to"):
            parties.h.answers("nenkin", "r1", **words)  # type: ignore[arg-type]


def test_a_part_is_complete_by_itself(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.h.provide(parties.town, permit_of(parties, 0), Status.EMPTY)
    assert parties.h.answers("nenkin", "r1", limit=1).complete
    assert not parties.h.answers("nenkin", "r1", first=1).complete
    assert not parties.h.answers("nenkin", "r1").complete


def test_who_reads_an_older_snapshot_sees_no_answer_whose_payload_it_cannot_have(parties: Parties) -> None:
    parties.ask("r1", [0])
    answering = parties.h._answering
    with answering._exchange.state() as old:
        parties.h.provide(parties.town, all_permits(parties), Status.PROVIDED, [b"x"])
        # Another thread has read on meanwhile, in the tail that all share.
        assert stands(parties) == [Status.PROVIDED]
        indexes = np.zeros(1, np.int64)
        assert answering._outcomes(old, indexes).words.tolist() == [0]
    with answering._exchange.state() as new:
        assert answering._outcomes(new, indexes).words.tolist() != [0]


def test_an_unknown_or_another_s_request_id_is_refused(parties: Parties) -> None:
    parties.ask("r1", [0])
    for requester, request_id in (("nenkin", "r2"), (parties.town, "r1")):
        for call in (parties.h.answers, parties.h.fetched, parties.h.status):
            with pytest.raises(RequestError, match="request_id: expected one of the last 30 days"):
                call(requester, request_id)


def test_rows_that_left_no_permit_stand_as_they_were_answered(parties: Parties) -> None:
    stranger = np.zeros((1, 16), np.uint8)
    rows = np.concatenate([parties.nenkin[:1], stranger])
    first = parties.h.inquire(tax_inquiry("r1"), rows, parties.town)
    assert first.status.tolist() == [Status.OK, Status.UNKNOWN_ALIAS]
    assert stands(parties) == [Status.PENDING, Status.UNKNOWN_ALIAS]
    denied = parties.h.inquire(tax_inquiry("r2", role="申請者"), rows[:1], parties.town)
    answers = parties.h.answers("nenkin", "r2")
    assert answers.status.tolist() == denied.status.tolist()
    assert answers.reason.tolist() == denied.reason.tolist()
    assert answers.complete


def test_what_was_fetched_is_forgotten_and_the_rest_stays(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.ask("r2", [2])
    lists = parties.h.collect(parties.town)
    every = np.concatenate([permits.permit for permits in lists])
    # One chunk of provisions has the payloads of both requests.
    parties.h.provide(parties.town, every, Status.PROVIDED, [b"x%d" % at for at in range(3)])
    kept = parties.h.answers("nenkin", "r2").payloads
    assert parties.h.fetched("nenkin", "r1") == 2
    answers = parties.h.answers("nenkin", "r1")
    assert (answers.status.tolist(), answers.payloads, answers.complete) == ([Status.PROVIDED] * 2, [None] * 2, True)
    assert parties.h.answers("nenkin", "r2").payloads == kept != [None]
    assert parties.h.fetched("nenkin", "r1") == 2
    parties.h.provide(parties.town, every, Status.PROVIDED, [b"x%d" % at for at in range(3)])
    assert parties.h.fetched("nenkin", "r2") == 1
    with parties.h._store.snapshot() as snapshot:
        assert snapshot.items("payloads", b"") == []
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("others", [1, 4])
def test_after_fetching_nothing_of_another_request_is_shown_instead(parties: Parties, others: int) -> None:
    parties.ask("r1", [0, 1])
    first, second = permit_of(parties, 0), permit_of(parties, 1)
    parties.h.provide(parties.town, first, Status.PROVIDED, [b"first"])
    # Another's stand between the two.
    parties.ask("r2", list(range(2, 2 + others)))
    theirs = np.setdiff1d(all_permits(parties), second)
    parties.h.provide(parties.town, theirs, Status.PROVIDED, [b"another's"] * others)
    parties.h.provide(parties.town, second, Status.PROVIDED, [b"second"])
    assert parties.h.answers("nenkin", "r1").payloads == [b"first", b"second"]
    assert parties.h.fetched("nenkin", "r1") == 2
    assert parties.h.answers("nenkin", "r1").payloads == [None, None]
    assert parties.h.answers("nenkin", "r2").payloads == [b"another's"] * others


@pytest.mark.parametrize("late_s", [0, 1])
def test_a_payload_is_kept_for_its_days_and_not_a_day_longer(parties: Parties, late_s: int) -> None:
    parties.ask("r1", [0])
    # Midnight in Japan, so that the daily look is at that very moment.
    parties.clock.now = lapse_time(NOON, 0) - late_s
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits, Status.PROVIDED, [b"x"])
    provided_at = parties.clock.now
    parties.clock.now = provided_at + PAYLOAD_DAYS * DAY_S + late_s
    parties.ask("r2", [1])
    parties.h.collect(parties.town)
    with parties.h._store.snapshot() as snapshot:
        assert len(snapshot.items("payloads", b"")) == 1 - late_s


# -- a clerk decides


def twins(parties: Parties, tmp_path: Path, **words: Any) -> tuple[hub.Hub, hub.Hub, Clock]:
    """The hub and its copy, open beside each other with one clock."""
    parties.h.close()
    for suffix in ("", ".head"):
        source, target = (tmp_path / f"{name}{suffix}" for name in ("hub", "twin"))
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    parties.h = hub.open(tmp_path / "hub", clock=parties.clock, **words)
    return parties.h, hub.open(tmp_path / "twin", clock=parties.clock, **words), parties.clock


def seen_by_others(h: hub.Hub, parties: Parties) -> list[Any]:
    """Everything that the requester, the portal and the public can see of request r1, but for the log's hashes."""
    answers = h.answers("nenkin", "r1")
    columns = answers.status.tobytes(), answers.reason.tobytes(), answers.payloads, answers.complete
    part = h.answers("nenkin", "r1", first=1, limit=1)
    histories = [h.history(alias).records for alias in parties.portal]
    handles = [len(h.handles("nenkin", alias)) for alias in parties.nenkin]
    size = h.checkpoint().splitlines()[1]
    return [columns, part.status.tobytes(), repr(answers), h.status("nenkin", "r1"), size, histories, handles]


@pytest.mark.parametrize("flagged", [False, True], ids=["said by the town", "kept by the hub"])
def test_a_row_that_waits_for_a_clerk_is_the_same_as_one_that_was_not_answered_yet_in_every_byte(
    parties: Parties, tmp_path: Path, flagged: bool
) -> None:
    if flagged:
        # A machine's answer about such a person is not taken, whatever it says.
        parties.h.flag(parties.town, parties.known[[1]], hub.Flag.MANUAL, clerk="佐藤")
    parties.ask("r1", [0, 1, 2])
    permit, neighbour = permit_of(parties, 1), permit_of(parties, 0)
    manual, plain, clock = twins(parties, tmp_path)
    with plain:
        before = manual.checkpoint()
        given = (Status.PROVIDED, [b"by a machine"]) if flagged else (Status.MANUAL,)
        assert manual.provide(parties.town, permit, *given).rows == 1
        assert manual.provide(parties.town, permit, *given).rows == 1
        assert manual.checkpoint() == plain.checkpoint() == before
        assert seen_by_others(manual, parties) == seen_by_others(plain, parties)
        assert manual.fetched("nenkin", "r1") == plain.fetched("nenkin", "r1") == 0
        # A prompt answer to a neighbour changes neither of them.
        for h in (manual, plain):
            h.provide(parties.town, neighbour, Status.EMPTY)
        assert seen_by_others(manual, parties) == seen_by_others(plain, parties)
        clock.now += 3_600
        for h in (manual, plain):
            h._delivery.deliver()
            h.provide(parties.town, permit, Status.PROVIDED, [b"late"], clerk="佐藤")
        assert seen_by_others(manual, parties) == seen_by_others(plain, parties)
        clock.now = OPEN_UNTIL
        for h in (manual, plain):
            assert h.lapse() == 1
            assert h.verify().problems == ()
        assert seen_by_others(manual, parties) == seen_by_others(plain, parties)


def test_a_clerk_s_permits_are_handed_out_apart_until_they_are_answered(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2])
    permit = permit_of(parties, 1)
    parties.h.provide(parties.town, permit, Status.MANUAL)
    for _ in range(2):
        assert collected(parties, manual=True) == permit.tolist()
        assert len(collected(parties, manual=False)) == 2
        (all_of_it,) = parties.h.collect(parties.town)
        assert all_of_it.asked[all_of_it.manual].tolist() == [1]
        assert all_of_it.permit[all_of_it.manual].tolist() == permit.tolist()
        parties.h._delivery.deliver()
        parties.reopen()
    parties.h.provide(parties.town, permit, Status.EMPTY, clerk="佐藤")
    assert collected(parties, manual=True) == []
    with parties.h._store.snapshot() as snapshot:
        assert snapshot.items("manual", b"") == []
    with pytest.raises(RequestError, match="manual: expected True, False or None"):
        parties.h.collect(parties.town, manual=1)  # type: ignore[arg-type]


# -- when answers leave


def open_with(parties: Parties, every_s: int) -> None:
    parties.h.close()
    parties.h = hub.open(parties.folder, clock=parties.clock, answers_every_s=every_s)


@pytest.mark.parametrize("after_s", [0, PROMPT_S, PROMPT_S + 1, 600])
@pytest.mark.parametrize("by_clerk", [False, True])
def test_a_late_answer_and_a_clerk_s_leave_at_the_next_full_multiple(
    parties: Parties, after_s: int, by_clerk: bool
) -> None:
    open_with(parties, 600)
    parties.clock.now = NOON + 7
    parties.ask("r1", [0])
    permits = all_permits(parties)
    if by_clerk:
        parties.h.provide(parties.town, permits, Status.MANUAL)
    parties.clock.now += after_s
    parties.h.provide(parties.town, permits, Status.PROVIDED, [b"x"], clerk="佐藤" if by_clerk else None)
    if not by_clerk and after_s <= PROMPT_S:
        assert stands(parties) == [Status.PROVIDED]
        return
    leaves_at = math.ceil(parties.clock.now / 600) * 600
    for sorted_in in (False, True):
        if sorted_in:
            parties.h._delivery.deliver()
        parties.clock.now = leaves_at - 1
        answers = parties.h.answers("nenkin", "r1")
        assert (answers.status.tolist(), answers.payloads, answers.complete) == ([Status.PENDING], [None], False)
        # Who says that it has everything has not got this one: it stays, and is not counted.
        assert parties.h.fetched("nenkin", "r1") == 0
    parties.clock.now = leaves_at
    answers = parties.h.answers("nenkin", "r1")
    assert (answers.status.tolist(), answers.payloads, answers.complete) == ([Status.PROVIDED], [b"x"], True)


@pytest.mark.parametrize("every_s", [0, -1, 86_401, True, 1.5, None])
def test_answers_leave_at_least_once_a_day(parties: Parties, every_s: object) -> None:
    parties.h.close()
    with pytest.raises(RequestError, match="answers_every_s: expected 1 to 86400"):
        hub.open(parties.folder, answers_every_s=every_s)  # type: ignore[arg-type]
    hub.open(parties.folder, clock=parties.clock, answers_every_s=86_400).close()


# -- lapses


@pytest.mark.parametrize("sorted_in", [False, True])
def test_what_is_not_answered_in_time_lapses_once_and_the_citizen_reads_it(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", [0, 1, 2, 3, 4, 5])
    parties.h.provide(parties.town, permit_of(parties, 0), Status.EMPTY)
    parties.h.provide(parties.town, permit_of(parties, 1), Status.MANUAL)
    left = all_permits(parties)
    if sorted_in:
        parties.h._delivery.deliver()
    parties.clock.now = OPEN_UNTIL - 1
    assert parties.h.lapse() == 0
    parties.clock.now = OPEN_UNTIL
    before = records(parties)
    assert parties.h.lapse() == 5
    assert parties.h.lapse() == 0
    assert records(parties) == before + 5
    assert stands(parties) == [Status.EMPTY, *[Status.LAPSED] * 5]
    assert parties.h.answers("nenkin", "r1").complete
    for person in range(1, 6):
        lapse, inquiry = parties.h.history(parties.portal[person]).records
        assert (lapse.kind, lapse.outcome, lapse.link) == (Kind.LAPSE, Status.LAPSED, inquiry.index)
        assert lapse.provided_at is None
    refused(parties, "have not lapsed", left, Status.EMPTY)
    with parties.h._store.snapshot() as snapshot:
        assert snapshot.items("manual", b"") == []
    parties.reopen()
    assert parties.h.lapse() == 0
    assert parties.h.verify().problems == ()


def test_lapses_are_recorded_by_whoever_looks_first_when_the_day_in_japan_changes(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.collect(parties.town)
    parties.clock.now = OPEN_UNTIL
    assert stands(parties) == [Status.LAPSED]
    assert len(parties.shown(0)) == 2


def test_permits_of_several_providers_lapse_together(parties: Parties) -> None:
    parties.h.acquire(parties.other_town, parties.codes)
    towns = [parties.town, parties.other_town] * 6
    parties.h.inquire(tax_inquiry("r1"), parties.nenkin, towns)
    parties.clock.now = OPEN_UNTIL
    commits = parties.h.stats()["commits"]
    assert parties.h.lapse() == 12
    assert parties.h.stats()["commits"] == commits + 1
    for person in range(12):
        (lapse, inquiry) = parties.h.history(parties.portal[person]).records
        assert lapse.link == inquiry.index
        assert lapse.provider == inquiry.provider == towns[person]


# -- what is withheld


@pytest.mark.parametrize("sorted_in", [False, True])
def test_an_answer_is_withheld_with_its_inquiry(parties: Parties, sorted_in: bool) -> None:
    parties.ask("r1", [0, 1])
    parties.ask("r2", [0])
    (handle, *_) = parties.handles_of_town(1)
    parties.h.withhold(("r1", 0), "第三者の安全", REVIEW)
    parties.h.withhold(handle, "第三者の安全", REVIEW)
    shown = parties.shown(0)
    assert len(shown) == 1
    assert parties.shown(1) == []
    permits = all_permits(parties)
    parties.h.provide(parties.town, permits[:2], Status.EMPTY)
    parties.clock.now = OPEN_UNTIL
    assert parties.h.lapse() == 1
    if sorted_in:
        parties.h._delivery.deliver()
    assert parties.shown(1) == []
    page = parties.h.history(parties.portal[0]).records
    assert [record.index for record in page][-1:] == shown
    assert {record.link for record in page} == {None, shown[0]}
    for limit in (1, 2):
        assert len(parties.shown(0, limit=limit)) == 2
    assert parties.h.lift(("r1", 0), clerk="佐藤", second_clerk="鈴木")
    assert len(parties.shown(0)) == 4
    assert Counter(record.kind == Kind.INQUIRY for record in parties.h.history(parties.portal[0]).records) == {
        True: 2, False: 2,
    }  # fmt: skip
    assert parties.h.verify().problems == ()


def test_an_inquiry_that_was_withheld_when_it_was_asked_hides_its_answer(parties: Parties) -> None:
    mark = hub.Withhold(ground="本人保護", until=REVIEW)
    parties.ask("r1", [0, 1], withhold=[mark, None])
    parties.h.provide(parties.town, all_permits(parties), Status.PROVIDED, [b"x", b"y"])
    assert parties.shown(0) == []
    assert len(parties.shown(1)) == 2
    assert parties.h.answers("nenkin", "r1").complete


def test_a_record_that_follows_cannot_be_marked_by_itself(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.provide(parties.town, all_permits(parties), Status.EMPTY)
    assert len(parties.handles_of_town(0)) == 1
    answer = parties.h.history(parties.portal[0]).records[0]
    number = parties.h.catalog.institution(parties.town).number
    with pytest.raises(RequestError, match="expected a record of an inquiry"):
        parties.h.withhold(make_handle(parties.h._store.keys, number, answer.index), "ground", REVIEW)


@pytest.mark.parametrize("sorted_in", [False, True])
def test_a_released_row_is_answered_like_any_other_and_withheld_with_its_inquiry(
    parties: Parties, sorted_in: bool
) -> None:
    towns = [body.code for body in parties.h.catalog.institutions("市町村長")[:5]]
    aliases = np.ascontiguousarray(parties.nenkin[[0] * 5])
    for town in towns[1:]:
        parties.h.acquire(town, parties.codes)
    asked = parties.h.inquire(tax_inquiry("r1"), aliases, towns)
    row = asked.status.tolist().index(Status.HELD)
    assert parties.h.collect(towns[row]) == []
    parties.h.release(("r1", row), "転居が続いたため", clerk="佐藤")
    assert stands(parties)[row] == Status.PENDING
    if sorted_in:
        parties.h._delivery.deliver()
    (permits,) = parties.h.collect(towns[row])
    parties.h.provide(towns[row], permits, Status.PROVIDED, [b"x"])
    assert parties.h.answers("nenkin", "r1").payloads[row] == b"x"
    shown = parties.h.history(parties.portal[0], institution=towns[row]).records
    assert [(record.kind, record.outcome) for record in shown] == [
        (Kind.PROVISION, Status.PROVIDED), (Kind.RELEASE, Status.OK), (Kind.INQUIRY, Status.HELD),
    ]  # fmt: skip
    assert [record.link for record in shown] == [shown[1].index, shown[2].index, None]
    whole = parties.shown(0)
    parties.h.withhold(("r1", row), "第三者の安全", REVIEW)
    assert set(whole) - set(parties.shown(0)) == {record.index for record in shown}
    for limit in (1, 2, 3):
        assert len(parties.shown(0, limit=limit)) == len(whole) - 3
    assert parties.h.verify().problems == ()


def test_a_segment_that_begins_within_a_chunk_of_dropped_ones_is_compared_with_all_of_it(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2, 3, 4])
    parties.h._delivery.deliver()
    parties.clock.now += 8 * DAY_S
    assert parties.h.lapse() == 5
    # The last one, alone in a segment, is joined by these.
    parties.ask("r2", [0, 1])
    parties.h._delivery.deliver()
    parties.clock.now = NOON + 64 * DAY_S
    assert parties.h.lapse() == 2
    parties.ask("r3", [0])
    parties.h._delivery.deliver()
    with parties.h._store.snapshot() as snapshot:
        number = parties.h.catalog.institution(parties.town).number
        assert read_inbox(snapshot, number).entries["first"].tolist()[0] == 4
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("sorted_in", [False, True])
def test_an_answer_to_some_of_many_small_inquiries_is_each_ones_own(parties: Parties, sorted_in: bool) -> None:
    """Of what the permits of a segment have in common only that of the named ones is taken up."""
    for person in range(8):
        inquiry = tax_inquiry(f"r{person}", section=f"section {person}")
        parties.h.inquire(inquiry, np.ascontiguousarray(parties.nenkin[[person]]), parties.town)
    named = [6, 1, 4]
    permits = np.concatenate([permit_of(parties, person) for person in named])
    if sorted_in:
        parties.h._settle_permits()
    parties.h.provide(parties.town, permits, Status.PROVIDED, [b"six", b"one", b"four"])
    for person in range(8):
        sections = {record.section for record in parties.h.history(parties.portal[person]).records}
        assert sections == {f"section {person}"}
        waits = parties.h.answers("nenkin", f"r{person}").status.tolist()
        assert waits == [Status.PROVIDED if person in named else Status.PENDING]
    assert [parties.h.answers("nenkin", f"r{person}").payloads for person in named] == [[b"six"], [b"one"], [b"four"]]


def test_many_small_segments_are_joined_to_a_few(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 64)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 16)
    monkeypatch.setattr(hub.provision.deliver, "TINY_SEGMENTS", 3)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENTS", 5)
    number = parties.h.catalog.institution(parties.town).number
    sizes = []
    for turn in range(40):
        parties.ask(f"r{turn}", [turn % 12])
        parties.h._delivery.deliver()
        if turn in (5, 11):
            # Some that are joined have ended: what became of them comes along.
            parties.h.provide(parties.town, permit_of(parties, turn % 12), Status.PROVIDED, [b"one"])
            parties.h._delivery.deliver()
        with parties.h._store.snapshot() as snapshot:
            sizes.append(read_inbox(snapshot, number).entries["permits"].tolist())
    assert max(map(len, sizes)) <= 8
    assert [4] in sizes
    assert sum(sizes[-1]) == 40
    assert sum(len(permits.permit) for permits in parties.h.collect(parties.town)) == 38
    assert parties.h.verify().problems == ()


def test_what_permits_do_not_share_is_sorted_in_before_it_is_much(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.provision.deliver, "FIELDS_FROM", 700)
    deliverer = parties.h._delivery._deliverer
    parties.ask("r0", [0])
    assert not deliverer.is_due()
    # Looked at again nothing is counted twice.
    assert not deliverer.is_due()
    for turn in range(1, 4):
        parties.ask(f"r{turn}", [turn])
    assert deliverer.is_due()
    parties.h._delivery.deliver()
    assert not deliverer.is_due()


def test_many_chunks_are_sorted_in(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.provision.deliver, "CHUNKS_FROM", 3)
    deliverer = parties.h._delivery._deliverer
    due = []
    for turn in range(4):
        due.append(deliverer.is_due())
        parties.ask(f"r{turn}", [turn])
    assert due == [False, False, False, True]
    parties.h._delivery.deliver()
    assert not deliverer.is_due()


def test_a_step_sorts_into_few_inboxes(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.provision.deliver, "STEP_INBOXES", 2)
    towns = [body.code for body in parties.h.catalog.institutions("市町村長") if body.code != parties.town][:5]
    for number, town in enumerate(towns):
        parties.h.acquire(town, parties.codes)
        parties.h.inquire(tax_inquiry(f"t{number}"), np.ascontiguousarray(parties.nenkin[[number]]), town)
    deliverer = parties.h._delivery._deliverer
    before, steps = parties.h.stats()["commits"], 0
    while deliverer.behind():
        assert deliverer.step()
        steps += 1
    assert steps == 3
    assert parties.h.stats()["commits"] - before == 3
    with parties.h._store.snapshot() as snapshot:
        numbers = [parties.h.catalog.institution(town).number for town in towns]
        assert [read_inbox(snapshot, number).entries["permits"].tolist() for number in numbers] == [[1]] * 5
