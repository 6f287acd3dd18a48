"""Marks (不開示): at once and everywhere, also for old records, and without a trace in any history."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
import pytest

import hub
from hub.errors import RequestError, StorageError
from hub.limits import HISTORY_STEP_S
from hub.messages import Status
from hub.records.events import EventKind
from hub.records.handles import HANDLE_BYTES
from hub.storage.sealed import seal, unseal
from inquiries import tax_inquiry
from parties import DAY_S, NOON, REVIEW, Clock, Parties, shown_in

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
SINCE = dt.date(2026, 1, 1)


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


def lift(h: hub.Hub, handle: object, **words: Any) -> None:
    assert h.lift(handle, clerk="佐藤", second_clerk="鈴木", **words)


# -- one record


def test_a_record_is_withheld_from_the_next_history_on_and_comes_back_when_it_is_lifted(parties: Parties) -> None:
    parties.ask("r1", [0, 1, 2])
    parties.ask("r2", [0])
    before = parties.shown(0)
    parties.h.withhold(("r1", 0), "第三者の安全", REVIEW)
    assert parties.shown(0) == before[:1]
    assert (len(parties.shown(1)), len(parties.shown(2))) == (1, 1)
    lift(parties.h, ("r1", 0))
    assert parties.shown(0) == before


def test_both_sides_must_lift_before_a_record_is_shown(parties: Parties) -> None:
    parties.ask("r1", [0])
    before = parties.shown(0)
    (handle,) = parties.handles_of_town(0)
    parties.h.withhold(handle, "provider", REVIEW)
    parties.h.withhold(("r1", 0), "requester", REVIEW)
    lift(parties.h, handle)
    assert parties.shown(0) == []
    lift(parties.h, ("r1", 0))
    assert parties.shown(0) == before


def test_a_mark_stays_after_its_day_of_review_and_is_listed_then(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.clock.now += 400 * DAY_S
    assert parties.shown(0) == []
    assert parties.h.marks_due("nenkin", by=REVIEW - dt.timedelta(days=1)) == []
    ((handle, record, day),) = parties.h.marks_due("nenkin", by=REVIEW)
    assert (day, record.alias, record.withheld) == (REVIEW, parties.nenkin[0].tobytes(), True)
    assert parties.h.marks_due(parties.town, by=REVIEW) == []
    lift(parties.h, handle)
    assert parties.h.marks_due("nenkin", by=REVIEW) == []


def test_a_record_older_than_request_ids_is_marked_by_its_handle(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.clock.now += 31 * DAY_S
    with pytest.raises(RequestError, match="handle: expected a request id of the last 30 days"):
        parties.h.withhold(("r1", 0), "ground", REVIEW)
    ((handle, record),) = parties.h.handles("nenkin", parties.nenkin[0])
    assert (record.requester, record.provider, record.withheld) == ("nenkin", parties.town, False)
    parties.h.withhold(handle, "ground", REVIEW)
    # Of the other one the question and, where it has come already, its lapse.
    assert (parties.shown(0), len(parties.shown(1)) in (1, 2)) == ([], True)
    assert parties.h.handles("nenkin", parties.nenkin[0])[0][1].withheld


def test_a_lift_takes_two_clerks_in_one_call_or_two(parties: Parties) -> None:
    parties.ask("r1", [0, 0])
    for row in (0, 1):
        parties.h.withhold(("r1", row), "ground", REVIEW, clerk="佐藤")
    for words in ({}, {"clerk": "佐藤", "second_clerk": "佐藤"}, {"clerk": "sato", "second_clerk": " SATO "}):
        with pytest.raises(RequestError, match="clerk: expected"):
            parties.h.lift(("r1", 0), **words)  # type: ignore[arg-type]
    assert parties.h.lift(("r1", 0), clerk="佐藤") is False
    with pytest.raises(RequestError, match="clerk: expected another"):
        parties.h.lift(("r1", 0), clerk="佐藤")
    assert parties.shown(0) == []
    assert parties.h.lift(("r1", 0), clerk="鈴木") is True
    assert len(parties.shown(0)) == 1
    assert parties.h.lift(("r1", 1), clerk="佐藤", second_clerk="鈴木") is True
    assert len(parties.shown(0)) == 2


def test_a_mark_set_anew_forgets_who_asked_to_lift_it(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.h.lift(("r1", 0), clerk="佐藤")
    parties.h.withhold(("r1", 0), "another ground", REVIEW)
    assert parties.h.lift(("r1", 0), clerk="鈴木") is False
    assert parties.shown(0) == []


def test_the_same_call_again_writes_nothing(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "ground", REVIEW, clerk="佐藤")
    before = parties.h.stats()["commits"], len(parties.h.events())
    parties.h.withhold(("r1", 0), "ground", REVIEW, clerk="佐藤")
    assert (parties.h.stats()["commits"], len(parties.h.events())) == before
    lift(parties.h, ("r1", 0))
    lift(parties.h, ("r1", 0))
    assert [event.kind for event in parties.h.events()] == [EventKind.WITHHELD, EventKind.LIFTED]


# -- who may


def test_only_a_party_may_mark_a_record(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.acquire(parties.other_town, parties.codes)
    for institution in (parties.town, parties.other_town, "mhlw"):
        # Not even the provider by the requester's id: what changes would tell which of its records is whose row.
        with pytest.raises(RequestError, match="handle: expected"):
            parties.h.withhold(("r1", 0), "ground", REVIEW, institution=institution)
    (handle,) = parties.handles_of_town(0)
    with pytest.raises(RequestError, match="handle: expected one of this institution"):
        parties.h.withhold(handle, "ground", REVIEW, institution="nenkin")
    assert len(parties.shown(0)) == 1


def test_a_provider_that_was_never_asked_does_not_learn_of_a_record(parties: Parties) -> None:
    aliases = parties.h.acquire(parties.other_town, parties.codes).aliases
    denied = parties.h.inquire(tax_inquiry("r1", requester=parties.other_town), aliases, parties.town)
    assert (denied.status == Status.DENIED).all()
    assert len(parties.shown(0)) == 1
    assert parties.handles_of_town(0) == []


@pytest.mark.parametrize("at", range(HANDLE_BYTES))
def test_a_handle_with_a_changed_byte_is_refused(parties: Parties, at: int) -> None:
    parties.ask("r1", [0])
    (handle,) = parties.handles_of_town(0)
    changed = bytearray(handle)
    changed[at] ^= 1
    with pytest.raises(RequestError, match="handle: expected one"):
        parties.h.withhold(bytes(changed), "ground", REVIEW)


def test_handles_of_two_parties_have_nothing_in_common(parties: Parties) -> None:
    for number in range(20):
        parties.ask(f"r{number}", [0, 1])
    theirs, ours = ([h for h, _ in parties.h.handles(*who)] for who in
                    ((parties.town, parties.known[0]), ("nenkin", parties.nenkin[0])))  # fmt: skip
    assert (len(set(theirs)), len(set(ours))) == (20, 20)
    assert not {handle[2:] for handle in theirs} & {handle[2:] for handle in ours}
    # All were asked in one second: each party has them in the order of its own handles.
    assert (theirs, ours) == (sorted(theirs, reverse=True), sorted(ours, reverse=True))
    told = parties.h.handles(parties.town, parties.known[0])[0][1]
    assert not hasattr(told, "index")
    assert parties.nenkin[0].tobytes() not in msgspec.msgpack.encode(told)
    assert repr(told) == "PartyRecord(INQUIRY)"


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (("r1", 3), "row from 0 to 2"),
        (("r1", -1), "row from 0 to 2"),
        (("r1", True), "row, counted"),
        (("r1", "0"), "row, counted"),
        (("r2", 0), "unknown one"),
        (("r1",), "request_id, row"),
        (5.0, "request_id, row"),
        (5, "provider whose permit"),
        (b"x" * 17, "this hub gave"),
        (("r1", 2), "without|unknown"),
    ],
)
def test_a_handle_that_names_no_record_is_refused(parties: Parties, handle: object, message: str) -> None:
    aliases = np.ascontiguousarray(np.vstack([parties.nenkin[:2], np.full((1, 16), 7, np.uint8)]))
    parties.h.inquire(tax_inquiry("r1"), aliases, parties.town)
    parties.h.withhold(("r1", 1), "ground", REVIEW)
    with pytest.raises(RequestError, match=message):
        parties.h.withhold(handle, "ground", REVIEW)


def test_an_id_that_two_institutions_used_asks_for_the_requester(parties: Parties) -> None:
    parties.ask("r1", [0])
    aliases = parties.h.acquire(parties.other_town, parties.codes).aliases
    parties.h.inquire(tax_inquiry("r1", requester=parties.other_town), aliases[:1].copy(), parties.town)
    with pytest.raises(RequestError, match="requester="):
        parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.h.withhold(("r1", 0), "ground", REVIEW, requester="nenkin")
    parties.h.withhold(("r1", 0), "ground", REVIEW, institution=parties.other_town)
    assert parties.shown(0) == []


@pytest.mark.parametrize(
    "words",
    [
        {"ground": ""}, {"ground": "x" * 201}, {"ground": None}, {"ground": "a\nb"}, {"until": "2027-04-01"},
        {"until": None}, {"until": dt.datetime(2027, 4, 1)}, {"clerk": ""}, {"clerk": 5}, {"institution": "nobody"},
    ],
)  # fmt: skip
def test_a_mark_of_the_wrong_form_is_refused_and_changes_nothing(parties: Parties, words: dict[str, Any]) -> None:
    parties.ask("r1", [0])
    before = parties.h.stats()["commits"]
    given = {"ground": "x" * 200, "until": REVIEW, **words}
    with pytest.raises(RequestError):
        parties.h.withhold(("r1", 0), given.pop("ground"), given.pop("until"), **given)
    assert parties.h.stats()["commits"] == before
    parties.h.withhold(("r1", 0), "x" * 200, REVIEW)


# -- with an inquiry


def test_marks_come_with_an_inquiry(parties: Parties) -> None:
    mark = hub.Withhold(ground="ground", until=REVIEW)
    unknown = np.full((1, 16), 7, np.uint8)
    aliases = np.ascontiguousarray(np.vstack([parties.nenkin[:4], unknown]))
    answer = parties.h.inquire(tax_inquiry("r1"), aliases, parties.town, withhold=[None, mark, None, mark, mark])
    assert answer.status.tolist() == [Status.OK] * 4 + [Status.UNKNOWN_ALIAS]
    assert [len(parties.shown(person)) for person in range(4)] == [1, 0, 1, 0]
    assert len(parties.h.marks_due("nenkin", by=REVIEW)) == 2
    assert [event.kind for event in parties.h.events()] == [EventKind.WITHHELD] * 2
    lift(parties.h, ("r1", 1))
    assert len(parties.shown(1)) == 1
    report = parties.h.verify()
    assert report.ok, report.problems


def test_marks_are_part_of_what_a_request_id_stands_for(parties: Parties) -> None:
    mark = hub.Withhold(ground="ground", until=REVIEW)
    parties.ask("r1", [0, 1], withhold=[None, mark])
    parties.ask("r1", [0, 1], withhold=[None, mark])
    for other in (None, [mark, None], [None, hub.Withhold(ground="other", until=REVIEW)]):
        with pytest.raises(RequestError, match="request_id"):
            parties.ask("r1", [0, 1], withhold=other)
    parties.ask("r2", [0, 1])
    parties.ask("r2", [0, 1], withhold=[None, None])
    assert len(parties.shown(0)) == 2


@pytest.mark.parametrize("withhold", [[None], "ab", [None, "ground"], [None, hub.Withhold(ground="", until=REVIEW)]])
def test_marks_of_the_wrong_form_are_refused(parties: Parties, withhold: Any) -> None:
    with pytest.raises(RequestError):
        parties.ask("r1", [0, 1], withhold=withhold)
    assert parties.h.stats()["records"] == 0


# -- protected persons


def test_a_protected_person_s_records_wait_until_each_party_has_judged(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置", clerk="高橋")
    parties.ask("r2", [0, 1])
    assert (parties.shown(0), len(parties.shown(1))) == ([], 2)
    ours, theirs = parties.h.unjudged("nenkin"), parties.h.unjudged(parties.town)
    assert {record.alias for _, record in ours} == {parties.nenkin[0].tobytes()}
    assert {record.alias for _, record in theirs} == {parties.known[0].tobytes()}
    for handle, _ in ours:
        parties.h.judge("nenkin", handle, withhold=False, clerk="佐藤")
    assert (parties.shown(0), parties.h.unjudged("nenkin")) == ([], [])
    parties.h.judge(parties.town, theirs[0][0], withhold=True, ground="ground", until=REVIEW)
    parties.h.judge(parties.town, theirs[1][0], withhold=False)
    assert len(parties.shown(0)) == 1
    assert parties.h.unjudged(parties.town) == []
    report = parties.h.verify()
    assert report.ok, report.problems


def test_a_protection_begins_with_its_day(parties: Parties) -> None:
    midnight = NOON - 12 * 3600
    for number, moment in enumerate((midnight - 1, midnight, midnight + 1)):
        parties.clock.now = moment
        parties.ask(f"r{number}", [0])
    parties.h.protect("jlis", parties.codes[0], since=dt.date(2026, 11, 25), ground="支援措置")
    assert parties.shown(0) == [0]


def test_a_protection_ends_by_two_clerks_and_leaves_marks_alone(parties: Parties) -> None:
    parties.ask("r1", [0, 0])
    parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置")
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    with pytest.raises(RequestError, match="clerk"):
        parties.h.unprotect("jlis", parties.codes[0])
    assert parties.h.unprotect("jlis", parties.codes[0], clerk="高橋") is False
    with pytest.raises(RequestError, match="clerk"):
        parties.h.unprotect("jlis", parties.codes[0], clerk="高橋")
    assert parties.shown(0) == []
    assert parties.h.unprotect("jlis", parties.codes[0], clerk="田中") is True
    assert len(parties.shown(0)) == 1
    assert parties.h.unprotect("jlis", parties.codes[0], clerk="田中") is True


def test_a_new_protection_has_to_be_judged_anew(parties: Parties) -> None:
    parties.ask("r1", [0])
    for _ in range(2):
        parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置")
        assert parties.shown(0) == []
        for institution in ("nenkin", parties.town):
            ((handle, _),) = parties.h.unjudged(institution)
            parties.h.judge(institution, handle, withhold=False)
        assert parties.shown(0) == [0]
        # A protection that is only changed keeps what was judged under it.
        parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置の延長")
        assert parties.shown(0) == [0]
        parties.h.unprotect("jlis", parties.codes[0], clerk="高橋", second_clerk="田中")
    report = parties.h.verify()
    assert report.ok, report.problems


def test_a_person_unknown_as_yet_is_protected_when_they_come(parties: Parties) -> None:
    code = "00000000017"
    parties.h.protect("jlis", code, since=SINCE, ground="支援措置")
    assert parties.h.unjudged("nenkin") == []
    alias = parties.h.acquire("nenkin", [code]).aliases
    citizen = parties.h.acquire("portal", [code]).aliases[0]
    parties.h.inquire(tax_inquiry("r1"), alias, parties.town)
    assert parties.h.history(citizen).records == []
    # The town has no alias of them: it was never asked, and only the requester judges.
    ((handle, _),) = parties.h.unjudged("nenkin")
    parties.h.judge("nenkin", handle, withhold=False)
    assert len(parties.h.history(citizen)) == 1


def test_one_clerk_s_judgement_does_not_lift_a_mark(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    with pytest.raises(RequestError, match="waits for a judgement"):
        parties.h.judge("nenkin", ("r1", 0), withhold=False)
    parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置")
    with pytest.raises(RequestError, match="lift its mark first"):
        parties.h.judge("nenkin", ("r1", 0), withhold=False)
    assert parties.shown(0) == []


def test_only_the_register_body_protects(parties: Parties) -> None:
    for institution in ("nenkin", parties.town, "portal"):
        with pytest.raises(RequestError, match="register body"):
            parties.h.protect(institution, parties.codes[0], since=SINCE, ground="支援措置")
        with pytest.raises(RequestError, match="register body"):
            parties.h.unprotect(institution, parties.codes[0], clerk="a", second_clerk="b")
    for code in ("1", "x" * 11, None):
        with pytest.raises(RequestError, match="codes: expected"):
            parties.h.protect("jlis", code, since=SINCE, ground="支援措置")  # type: ignore[arg-type]
    assert parties.h.events() == []


# -- nothing shows


def blind(page: hub.History) -> bytes:
    """A page as bytes, with the place in the log left out."""
    records = [msgspec.structs.replace(record, index=0) for record in page.records]
    cursor = None if page.cursor is None else len(page.cursor)
    return msgspec.json.encode([records, cursor, len(page.disclosure), repr(page)], enc_hook=str)


@pytest.mark.parametrize("side", ["requester", "provider", "with the inquiry", "protected"])
def test_a_history_with_withheld_records_is_the_same_as_one_that_never_had_them(tmp_path: Path, side: str) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    with Parties(tmp_path / "hub") as parties:
        mark = hub.Withhold(ground="ground", until=REVIEW)
        shown = 0
        if side == "protected":
            for number in range(5):
                parties.ask(f"old{number}", [0, 1, 2])
            parties.clock.now += 3 * DAY_S
            parties.h.protect("jlis", parties.codes[0], since=dt.date(2026, 11, 27), ground="支援措置")
            shown = 5
        for number in range(24):
            parties.clock.now += rng.randrange(100)
            if side != "protected" and rng.random() < 0.5:
                parties.ask(f"r{number}", [0, 1, 2])
                shown += 1
                continue
            parties.ask(f"r{number}", [0, 2], withhold=[mark, None] if side == "with the inquiry" else None)
            if side == "requester":
                parties.h.withhold((f"r{number}", 0), "ground", REVIEW)
            elif side == "provider":
                (handle, *_) = (
                    handle for handle, told in parties.h.handles(parties.town, parties.known[0], limit=1)
                    if not told.withheld
                )  # fmt: skip
                parties.h.withhold(handle, "ground", REVIEW)
        assert len(parties.shown(2)) > shown
        for limit in (1, 2, 3, 4, 5, 6, 7, shown - 1, shown, shown + 1, 24, 1000):
            if limit < 1:
                continue
            cursors: list[str | None] = [None, None]
            for _ in range(shown // limit + 1):
                pages = [parties.h.history(parties.portal[p], limit=limit, cursor=cursors[p]) for p in (0, 1)]
                assert blind(pages[0]) == blind(pages[1])
                cursors = [page.cursor for page in pages]
                if cursors[0] is None:
                    break
            assert cursors == [None, None]


def test_a_withheld_record_is_in_no_filter_either(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    for words in ({"institution": "nenkin"}, {"procedure": "19-8/73/75.3"}, {"since": SINCE}):
        assert parties.shown(0, **words) == []


def test_the_tree_is_not_touched_by_marks(parties: Parties) -> None:
    parties.ask("r1", [0, 1])
    before = parties.h.checkpoint(), parties.h.stats()["records"]
    proof = parties.h.history(parties.portal[1]).proof(0).text()
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.h.protect("jlis", parties.codes[2], since=SINCE, ground="支援措置")
    assert (parties.h.checkpoint(), parties.h.stats()["records"]) == before
    assert parties.h.history(parties.portal[1]).proof(0).text() == proof


# -- other processes, damage, kills


def _read_along(folder: Path, alias: np.ndarray, pipe: Connection) -> None:
    with hub.open(folder, readonly=True) as h:
        while pipe.recv():
            pipe.send(shown_in(h, alias))


def test_a_mark_counts_in_the_next_history_of_another_process(parties: Parties) -> None:
    parties.ask("r1", [0])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    reader = context.Process(target=_read_along, args=(parties.folder, parties.portal[0], theirs))
    reader.start()

    def read() -> list[int]:
        ours.send(True)
        assert ours.poll(60)
        return list(ours.recv())

    try:
        assert read() == [0]
        for _ in range(20):
            parties.h.withhold(("r1", 0), "ground", REVIEW)
            assert read() == []
            lift(parties.h, ("r1", 0))
            assert read() == [0]
        parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置")
        assert read() == []
    finally:
        ours.send(False)
        reader.join(30)


def change(folder: Path, name: str, how: str) -> None:
    """Change the first value of a database behind the hub's back."""
    with lmdb.open(str(folder / "env"), max_dbs=64, lib_version=0) as env:
        database = env.open_db(name.encode())
        with env.begin(write=True, db=database) as txn, txn.cursor() as cursor:
            assert cursor.first()
            key, value = bytes(cursor.key()), bytes(cursor.value())
            if how == "removed":
                txn.delete(key)
            elif how == "turned off":
                body = bytearray(unseal(name, key, value))
                body[0] ^= 1
                txn.put(key, seal(name, key, bytes(body)))
            elif how == "moved":
                other = key[:-1] + bytes([key[-1] ^ 1])
                txn.put(other, value)
            else:
                changed = bytearray(value)
                changed[9 if how == "flipped" else -1] ^= 1
                txn.put(key, bytes(changed))


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("how", ["flipped", "inside"])
def test_a_damaged_mark_shows_nothing_and_is_found(parties: Parties, how: str, protected: bool) -> None:
    parties.ask("r1", [0, 1])
    if protected:
        parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="支援措置")
    else:
        parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.h.close()
    change(parties.folder, "marks", how)
    parties.reopen()
    with pytest.raises(StorageError, match="marks"):
        parties.h.history(parties.portal[0])
    report = parties.h.verify()
    assert any("marks" in problem for problem in report.problems)


@pytest.mark.parametrize("name", ["marks", "events"])
@pytest.mark.parametrize("how", ["removed", "turned off", "moved"])
def test_a_mark_that_was_tampered_with_is_found(parties: Parties, name: str, how: str) -> None:
    parties.ask("r1", [0, 1])
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    parties.h.withhold(("r1", 1), "ground", REVIEW)
    assert parties.h.verify().ok
    parties.h.close()
    change(parties.folder, name, how)
    parties.reopen()
    if name == "marks":
        # Also before anybody verifies: a mark that is not found would let its record out.
        for person in (0, 1):
            with pytest.raises(StorageError, match="marks"):
                parties.h.history(parties.portal[person])
    assert not parties.h.verify().ok


def test_marks_go_with_their_period(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "a ground that is told nowhere", REVIEW)
    parties.h.protect("jlis", parties.codes[1], since=SINCE, ground="支援措置")
    parties.h._periods.shred(4 * 2026 + 3)
    assert [event.kind for event in parties.h.events()] == [EventKind.PROTECTED]
    assert parties.h.marks_due("nenkin", by=REVIEW) == []


def test_nothing_stored_in_the_clear_names_ground_clerk_or_code(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "SECRETGROUND", REVIEW, clerk="SECRETCLERK")
    parties.h.protect("jlis", parties.codes[0], since=SINCE, ground="SECRETGROUND", clerk="SECRETCLERK")
    parties.h.ask_correction(
        parties.portal[1], parties.ask("r2", [1]) and parties.h.history(parties.portal[1]).records[0],
        "SECRETGROUND", disclosed=parties.h.history(parties.portal[1]).disclosure, clerk="SECRETCLERK",
    )  # fmt: skip
    raw = (parties.folder / "env" / "data.mdb").read_bytes()
    assert b"SECRET" not in raw


def test_events_tell_auditors_who_did_what(parties: Parties) -> None:
    parties.ask("r1", [0])
    parties.h.withhold(("r1", 0), "ground", REVIEW, clerk="佐藤")
    parties.clock.now += 60
    parties.h.lift(("r1", 0), clerk="佐藤")
    parties.h.lift(("r1", 0), clerk="鈴木")
    first, second, third = parties.h.events()
    assert (first.number, first.institution, first.clerk, first.ground) == (1, "nenkin", "佐藤", "ground")
    assert (first.until, first.index, first.side, first.withheld) == (REVIEW, 0, "requester", True)
    assert (second.kind, second.clerk, second.withheld) == (EventKind.LIFT_ASKED, "佐藤", True)
    assert (third.kind, third.clerk, third.second_clerk, third.withheld) == (EventKind.LIFTED, "佐藤", "鈴木", False)
    assert third.at.timestamp() == NOON + 60
    assert [event.number for event in parties.h.events(after=1, limit=1)] == [2]
    assert "ground" not in repr(first)


_CHILD = """
import sys
import hub
from parties import REVIEW
with hub.open(sys.argv[1]) as h:
    for row in range(int(sys.argv[2]), int(sys.argv[3])):
        h.withhold(("r1", row), "ground", REVIEW)
        sys.stdout.write(f"{row}\\n")
        sys.stdout.flush()
"""


def test_a_mark_that_was_acknowledged_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Thousands of histories are read here to see what is shown, not when.
    monkeypatch.setattr("hub.methods.showing.HISTORY_STEP_S", 1e-6)
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    rows = 300
    folder = tmp_path / "hub"
    with Parties(folder, persons=rows, clock=Clock(time.time())) as parties:
        parties.ask("r1", list(range(rows)))
        portal = parties.portal
    done = kills = 0
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    while done < rows and kills < 12:
        words = [sys.executable, "-c", _CHILD, str(folder), str(done), str(rows)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as child:
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
            done = whole[-1] + 1
        with hub.open(folder) as h:
            hidden = [shown_in(h, portal[row]) == [] for row in range(rows)]
            assert all(hidden[:done]), "a mark that was acknowledged is lost"
            # At most the one that was under way when the process died.
            assert sum(hidden) <= done + 1
            assert len(h.events()) == sum(hidden)
            assert h.verify().ok
    assert kills


def test_a_history_leaves_at_fixed_moments_once_anything_is_withheld(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("hub.methods.showing.time.sleep", slept.append)
    parties.ask("r1", [0, 1])
    parties.h.history(parties.portal[0])
    assert slept == []
    parties.h.withhold(("r1", 0), "ground", dt.date(2040, 1, 1))
    # For everybody, whether something of theirs is withheld or not.
    parties.h.history(parties.portal[0])
    parties.h.history(parties.portal[1])
    assert len(slept) == 2
    assert all(0 <= wait < HISTORY_STEP_S for wait in slept)
