"""Updates: a correction reaches everybody who received what it corrects, and nobody else."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
import hub.provision.delivery
import hub.sending.send
import hub.sending.update
from hub.errors import RequestError, RowsError
from hub.limits import PAYLOAD_BYTES_PER_COMMIT_MAX, UPDATE_ROWS_MAX
from hub.messages import Flag, Kind, Status
from parties import DAY_S, Clock
from test_push import Pushers, push_of

TAX = {"procedure": "19-8/106/108.1", "items": ("地方税",)}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)


@pytest.fixture
def pushers(tmp_path: Path) -> Iterator[Pushers]:
    with Pushers(tmp_path / "hub") as found:
        yield found


def update_of(town: str, request_id: str = "u1", **changes: Any) -> hub.Update:
    fields = {"institution": town, "section": "税務課", "request_id": request_id, "reason": "誤りがありました"}
    return hub.Update(**{**fields, **changes})


class Asked:
    """Several institutions ask the town about persons by rules that the law has."""

    def __init__(self, pushers: Pushers) -> None:
        self.p = pushers
        self.town = pushers.town
        self.towns = [body.code for body in pushers.h.catalog.institutions("市町村長")[2:7]]
        self.aliases = {code: pushers.h.acquire(code, pushers.codes).aliases for code in self.towns}
        self.aliases["nenkin"] = pushers.nenkin

    def ask(self, requester: str, persons: list[int], request_id: str) -> None:
        if requester == "nenkin":
            self.p.ask(request_id, persons)
            return
        procedure = self.p.h.catalog.procedure("19-8/106/108.1")
        rule = next(
            rule for rule in self.p.h.catalog.rules_of(procedure.id)
            if rule.provider == "市町村長" and rule.kind == "地方税"
        )  # fmt: skip
        inquiry = hub.Inquiry(
            requester=requester, procedure=procedure.id, items=("市町村民税",), role=rule.roles[0], section="a",
            request_id=request_id,
        )  # fmt: skip
        rows = np.ascontiguousarray(self.aliases[requester][persons])
        answer = self.p.h.inquire(inquiry, rows, self.town)
        assert not answer.status.any()

    def provide(self, requester: str, outcome: Status = Status.PROVIDED) -> np.ndarray:
        """Answer everything that this requester asks; the permits."""
        numbers = [one for permits in self.p.h.collect(self.town) if permits.inquiry.requester == requester
                   for one in permits.permit.tolist()]  # fmt: skip
        payloads = [b"wrong"] * len(numbers) if outcome == Status.PROVIDED else None
        self.p.h.provide(self.town, numbers, outcome, payloads)
        return np.array(numbers, np.uint64)


@pytest.fixture
def asked(pushers: Pushers) -> Asked:
    return Asked(pushers)


def payloads_at(pushers: Pushers, institution: str) -> list[bytes | None]:
    return [one for arrivals in pushers.h.arrived(institution) for one in arrivals.payloads]


def test_three_who_received_it_get_it_and_two_who_did_not_get_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with Pushers(tmp_path / "hub", clock=clock) as pushers:
        asked = Asked(pushers)
        first, second, third, lapsed, nothing = ("nenkin", *asked.towns[:4])
        asked.ask(lapsed, [0], "r")
        clock.now += 9 * DAY_S
        pushers.h.lapse()
        for requester in (first, second, third, nothing):
            asked.ask(requester, [0, 1], "r2")
        for requester in (first, second, third):
            asked.provide(requester)
        asked.provide(nothing, Status.NO_RECORD)
        before = pushers.records()
        sent = pushers.h.update(update_of(pushers.town, items=("地方税",)), pushers.known[:1], [b"right"])
        assert sent.status.tolist() == [Status.OK]
        assert pushers.records() == before + 3
        got = {code: payloads_at(pushers, code) for code in (first, second, third, lapsed, nothing)}
        assert got == {first: [b"right"], second: [b"right"], third: [b"right"], lapsed: [], nothing: []}
        for code in (first, second, third):
            (arrivals,) = pushers.h.arrived(code)
            assert arrivals.aliases.tobytes() == asked.aliases[code][0].tobytes()
            about = arrivals.about
            assert (about.kind, about.sender, about.items) == (Kind.UPDATE, pushers.town, ("市町村民税",))
            assert about.event == "誤りがありました"
            # It names the receiver's own question.
            (handle,) = (
                handle for handle, told in pushers.h.handles(code, asked.aliases[code][0])
                if told.kind == Kind.INQUIRY
            )  # fmt: skip
            assert arrivals.corrects == [handle]
            pushers.h.taken(code, arrivals)
        records = pushers.h.history(pushers.portal[0], limit=1_000).records
        updates = [record for record in records if record.kind == Kind.UPDATE]
        assert {record.requester for record in updates} == {first, second, third}
        assert {(record.provider, record.remark) for record in updates} == {(pushers.town, "誤りがありました")}
        by_index = {record.index: record for record in records}
        for record in updates:
            provision = by_index[record.link]
            assert (provision.kind, provision.outcome) == (Kind.PROVISION, Status.PROVIDED)
            assert (provision.requester, provision.legal_basis) == (record.requester, record.legal_basis)
        assert len([record for record in records if record.kind == Kind.TAKEN]) == 3
        assert pushers.h.verify().problems == ()


def test_a_correction_by_permits_reaches_who_asked_by_them(asked: Asked) -> None:
    pushers = asked.p
    for requester in ("nenkin", asked.towns[0]):
        asked.ask(requester, [0, 1], "r1")
    permits = np.concatenate([asked.provide("nenkin"), asked.provide(asked.towns[0])])
    pushers.h._delivery.deliver()
    sent = pushers.h.update(update_of(pushers.town), permits[[0, 3]], [b"a", b"b"])
    assert sent.status.tolist() == [Status.OK, Status.OK]
    assert payloads_at(pushers, "nenkin") == [b"a"]
    assert payloads_at(pushers, asked.towns[0]) == [b"b"]
    assert pushers.h.verify().problems == ()


def test_who_was_pushed_to_is_corrected_but_not_whose_arrival_lapsed(tmp_path: Path) -> None:
    clock = Clock()
    with Pushers(tmp_path / "hub", clock=clock) as pushers:
        other = pushers.h.acquire(pushers.other_town, pushers.codes).aliases
        assert len(other)
        pushers.push([0], receivers=pushers.other_town, payloads=[b"wrong"])
        clock.now += 30 * DAY_S
        pushers.h.lapse()
        pushers.push([0], "p2", payloads=[b"wrong"])
        sent = pushers.h.update(update_of(pushers.town, items=("出生",)), pushers.known[:1], [b"right"])
        assert sent.status.tolist() == [Status.OK]
        assert sorted(payloads_at(pushers, "nenkin")) == [b"right", b"wrong"]
        assert payloads_at(pushers, pushers.other_town) == []
        (corrected,) = (
            handle for arrivals in pushers.h.arrived("nenkin") for handle in arrivals.corrects if handle
        )  # fmt: skip
        assert corrected in [handle for handle, _ in pushers.h.handles("nenkin", pushers.nenkin[0])]
        assert pushers.h.verify().problems == ()


def test_nobody_learns_whether_a_receiver_of_a_push_knew_the_person(pushers: Pushers) -> None:
    pushers.h.acquire(pushers.other_town, pushers.codes[:1])
    pushers.push([0, 1], receivers=pushers.other_town)
    before = pushers.records()
    told = []
    for number, given in enumerate(([b"a"] * 2, [{pushers.other_town: b"a"}] * 2, [{"nenkin": b"a"}] * 2)):
        for person in range(2):
            update = update_of(pushers.town, f"u{number}.{person}", items=("出生",))
            try:
                sent = pushers.h.update(update, pushers.known[person : person + 1], given[person : person + 1])
                told.append((person, number, sent.status.tolist()))
            except RequestError as error:
                told.append((person, number, str(error)))
    assert [one[1:] for one in told if one[0] == 0] == [one[1:] for one in told if one[0] == 1]
    assert pushers.records() == before + 2


def test_who_asked_twice_gets_one_correction_of_the_newest(asked: Asked) -> None:
    pushers = asked.p
    for number in range(2):
        asked.ask("nenkin", [0], f"r{number}")
        asked.provide("nenkin")
    pushers.h.update(update_of(pushers.town, items=("市町村民税",)), pushers.known[:1], [b"right"])
    assert payloads_at(pushers, "nenkin") == [b"right"]
    records = pushers.h.history(pushers.portal[0]).records
    assert next(r for r in records if r.kind == Kind.UPDATE).link == max(
        r.index for r in records if r.kind == Kind.PROVISION
    )


def test_where_nobody_received_anything_it_says_so(asked: Asked) -> None:
    pushers = asked.p
    asked.ask("nenkin", [0, 1], "r1")
    asked.provide("nenkin")
    pushers.h.revoke(pushers.town, pushers.known[1:2])
    before = pushers.records()
    aliases = np.concatenate([pushers.known[1:3], np.zeros((1, 16), np.uint8)])
    sent = pushers.h.update(update_of(pushers.town, items=("地方税",)), aliases, [b"a"] * 3)
    assert sent.status.tolist() == [Status.REVOKED, Status.NO_RECORD, Status.UNKNOWN_ALIAS]
    # Other items than those that were provided.
    sent = pushers.h.update(update_of(pushers.town, "u2", items=("出生",)), pushers.known[:1], [b"a"])
    assert sent.status.tolist() == [Status.NO_RECORD]
    # Another institution has provided nothing.
    theirs = pushers.h.acquire(pushers.other_town, pushers.codes).aliases
    sent = pushers.h.update(update_of(pushers.other_town, items=("地方税",)), theirs[:1], [b"a"])
    assert sent.status.tolist() == [Status.NO_RECORD]
    assert pushers.records() == before
    assert pushers.h.verify().problems == ()


def test_a_receivers_own_key_is_asked_for(asked: Asked) -> None:
    pushers = asked.p
    for requester in ("nenkin", asked.towns[0]):
        asked.ask(requester, [0], "r1")
        asked.provide(requester)
    private, public = hub.new_payload_key()
    pushers.h.register_key("nenkin", public)
    update = update_of(pushers.town, items=("地方税",))
    before = pushers.records()
    for given in (b"plain", {"nenkin": b"plain", asked.towns[0]: b"b"}, {"nenkin": None}):
        with pytest.raises(RequestError, match=r"payloads.* in row 0"):
            pushers.h.update(update, pushers.known[:1], [given])
    assert pushers.records() == before
    given = {"nenkin": hub.seal_payload(public, b"for nenkin"), asked.towns[0]: b"for the town", "unused": None}
    pushers.h.update(update, pushers.known[:1], [given])
    (sealed,) = payloads_at(pushers, "nenkin")
    assert hub.open_payload(private, sealed or b"") == b"for nenkin"
    assert payloads_at(pushers, asked.towns[0]) == [b"for the town"]


def test_of_a_person_whom_a_clerk_must_decide_about_nothing_is_sent_until_one_confirms(asked: Asked) -> None:
    pushers = asked.p
    asked.ask("nenkin", [0, 1], "r1")
    asked.provide("nenkin")
    pushers.h.flag("nenkin", pushers.nenkin[:1], Flag.MANUAL)
    before = pushers.records()
    update = update_of(pushers.town, items=("地方税",))
    assert pushers.h.update(update, pushers.known[:2], [b"a", b"b"]).status.tolist() == [Status.MANUAL, Status.OK]
    assert pushers.records() == before + 1
    update = update_of(pushers.town, "u2", items=("地方税",), confirmed=True, operator="sato")
    assert pushers.h.update(update, pushers.known[:1], [b"a"]).status.tolist() == [Status.OK]
    assert sorted(payloads_at(pushers, "nenkin")) == [b"a", b"b"]


def test_the_same_request_again_is_recorded_once_also_when_more_was_provided(asked: Asked) -> None:
    pushers = asked.p
    asked.ask("nenkin", [0], "r1")
    asked.provide("nenkin")
    update = update_of(pushers.town, items=("地方税",))
    first = pushers.h.update(update, pushers.known[:1], [b"a"])
    asked.ask(asked.towns[0], [0], "r1")
    asked.provide(asked.towns[0])
    pushers.reopen()
    before = pushers.records()
    again = pushers.h.update(update, pushers.known[:1], [b"a"])
    assert (again.status.tolist(), again.received_at) == (first.status.tolist(), first.received_at)
    assert pushers.records() == before
    assert payloads_at(pushers, asked.towns[0]) == []
    for other in (update_of(pushers.town, items=("地方税",), reason=None), update_of(pushers.town, items=("出生",))):
        with pytest.raises(RequestError, match="request_id"):
            pushers.h.update(other, pushers.known[:1], [b"a"])
    with pytest.raises(RequestError, match="request_id"):
        pushers.h.update(update, pushers.known[:1], [b"b"])


def test_all_of_an_update_or_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    pushers = asked.p
    for requester in ("nenkin", *asked.towns):
        asked.ask(requester, [0, 1, 2], "r1")
        asked.provide(requester)
    put = hub.sending.push.put_payloads

    def fail(*args: Any) -> None:
        raise OSError("nothing")

    monkeypatch.setattr(hub.sending.push, "put_payloads", fail)
    before = pushers.records()
    update = update_of(pushers.town, items=("地方税",))
    with pytest.raises(OSError, match="nothing"):
        pushers.h.update(update, pushers.known[:3], [b"a", b"b", b"c"])
    assert pushers.records() == before
    monkeypatch.setattr(hub.sending.push, "put_payloads", put)
    pushers.h.update(update, pushers.known[:3], [b"a", b"b", b"c"])
    assert pushers.records() == before + 18
    for requester in ("nenkin", *asked.towns):
        assert sorted(payloads_at(pushers, requester)) == [b"a", b"b", b"c"]


def test_what_is_provided_meanwhile_waits_for_the_update(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else somebody would get the wrong data behind the look and before the commit, and no correction."""
    pushers = asked.p
    asked.ask("nenkin", [0], "r1")
    asked.provide("nenkin")
    asked.ask(asked.towns[0], [0], "r2")
    decide = hub.sending.update.Updating.decide
    threads: list[threading.Thread] = []
    waited: list[bool] = []

    def then_provide(self: Any, *args: Any) -> Any:
        decisions = decide(self, *args)
        threads.append(threading.Thread(target=asked.provide, args=(asked.towns[0],)))
        threads[0].start()
        threads[0].join(1.0)
        waited.append(threads[0].is_alive())
        return decisions

    monkeypatch.setattr(hub.sending.update.Updating, "decide", then_provide)
    pushers.h.update(update_of(pushers.town, items=("地方税",)), pushers.known[:1], [b"right"])
    threads[0].join()
    assert waited == [True]
    records = pushers.h.history(pushers.portal[0]).records
    provided = next(one for one in records if one.kind == Kind.PROVISION and one.requester == asked.towns[0])
    assert provided.index > next(one for one in records if one.kind == Kind.UPDATE).index


def test_an_update_is_withheld_with_what_it_corrects(asked: Asked) -> None:
    from parties import REVIEW

    pushers = asked.p
    asked.ask("nenkin", [0], "r1")
    asked.provide("nenkin")
    pushers.h.update(update_of(pushers.town, items=("地方税",)), pushers.known[:1], [b"a"])
    pushers.h.taken("nenkin", [one for a in pushers.h.arrived("nenkin") for one in a.number.tolist()])
    assert len(pushers.shown(0)) == 4
    pushers.h.withhold(("r1", 0), "moved", REVIEW, institution="nenkin", requester="nenkin")
    assert pushers.shown(0) == []
    assert pushers.h.verify().problems == ()


def test_an_update_has_no_mark_of_its_own(asked: Asked) -> None:
    """It is shown with what it corrects, so that a mark of its own could neither be read nor lifted."""
    pushers = asked.p
    asked.ask("nenkin", [0], "r1")
    asked.provide("nenkin")
    pushers.h.flag(pushers.town, pushers.known[:1], Flag.WITHHELD)
    before = len(pushers.h.events())
    pushers.h.update(update_of(pushers.town, items=("地方税",)), pushers.known[:1], [b"a"])
    assert len(pushers.h.events()) == before
    assert pushers.h.marks_due(pushers.town, by=dt.date.max) == []
    assert len(pushers.shown(0)) == 3


def test_the_bounds_of_an_update(pushers: Pushers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.update, "UPDATE_ROWS_MAX", 2)
    update = update_of(pushers.town, items=("出生",))
    with pytest.raises(RequestError, match="at most 2 rows, got 3"):
        pushers.h.update(update, pushers.known[:3], [None] * 3)
    pushers.push([0, 0], receivers=["nenkin", pushers.other_town])
    monkeypatch.setattr(hub.sending.update, "ROWS_PER_CHUNK", 1)
    with pytest.raises(RequestError, match="at most 1 receivers in all, got 2"):
        pushers.h.update(update, pushers.known[:2], [b"abc"] * 2)
    monkeypatch.setattr(hub.sending.update, "ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(hub.sending.update, "PAYLOAD_BYTES_PER_COMMIT_MAX", 5)
    with pytest.raises(RequestError, match="at most 5 bytes in all"):
        pushers.h.update(update, pushers.known[:2], [b"abc"] * 2)
    monkeypatch.setattr(hub.sending.update, "PAYLOAD_BYTES_PER_COMMIT_MAX", 6)
    assert pushers.h.update(update, pushers.known[:2], [b"abc"] * 2).status.tolist() == [Status.OK, Status.NO_RECORD]
    assert (UPDATE_ROWS_MAX, PAYLOAD_BYTES_PER_COMMIT_MAX) == (4_096, 1 << 24)


def test_bad_input_changes_nothing(asked: Asked) -> None:
    pushers = asked.p
    asked.ask("nenkin", [0, 1], "r1")
    permits = asked.provide("nenkin", Status.EMPTY)
    asked.ask("nenkin", [2], "r2")
    (waiting,) = (one for permits_ in pushers.h.collect(pushers.town) for one in permits_.permit.tolist())
    before = pushers.records(), pushers.h.checkpoint()
    good, of_items = update_of(pushers.town), update_of(pushers.town, items=("地方税",))
    for match, args in {
        "update: expected hub.Update": ({}, permits, [None] * 2),
        "section": (update_of(pushers.town, section=""), permits, [None] * 2),
        "reason": (update_of(pushers.town, reason=""), permits, [None] * 2),
        "operator": (update_of(pushers.town, confirmed=True), permits, [None] * 2),
        "institution": (update_of("x"), permits, [None] * 2),
        "items: expected those": (good, pushers.known[:1], [None]),
        "items: expected none": (of_items, permits, [None] * 2),
        "items: expected words": (update_of(pushers.town, items=("x",)), pushers.known[:1], [None]),
        "items: expected a tuple": (update_of(pushers.town, items="x"), pushers.known[:1], [None]),
        "answered PROVIDED, got another in row 0": (good, permits, [None] * 2),
        "got another in row 0$": (good, [waiting], [None]),
        "got another in row 0 *$": (good, [12345], [None]),
        "each once": (good, [7, 7], [None] * 2),
        "permits: expected hub.Permits": (good, "x", [None]),
        "payloads: expected a list": (good, permits, b"a"),
        "payloads: expected 2 rows": (good, permits, [None]),
        "something else in row 1": (good, permits, [None, 1]),
        "codes of receivers": (good, permits, [None, {1: b"a"}]),
    }.items():
        with pytest.raises(RequestError, match=match):
            pushers.h.update(*args)
    with pytest.raises(RowsError) as caught:
        pushers.h.update(good, permits, [None] * 2)
    assert caught.value.rows == [0, 1]
    assert (pushers.records(), pushers.h.checkpoint()) == before


def test_nothing_shows_data_or_aliases_in_its_repr(asked: Asked) -> None:
    pushers = asked.p
    asked.ask("nenkin", [0], "r1")
    asked.provide("nenkin")
    sent = pushers.h.update(update_of(pushers.town, items=("地方税",)), pushers.known[:1], [b"geheim"])
    updating = hub.sending.update.Updating(
        pushers.h._office, pushers.h._exchange, pushers.h._numbers, update_of(pushers.town, items=("地方税",)),
        pushers.known[:1], [b"geheim"],
    )  # fmt: skip
    decisions = updating.decide(pushers.h.catalog, 0)
    for one in (sent, updating, decisions, *updating._found, *pushers.h.arrived("nenkin")):
        assert "geheim" not in repr(one)
        assert pushers.known[0].tobytes().hex() not in repr(one)


def test_own_data_of_a_person_flagged_no_self_go_nowhere(tmp_path: Path) -> None:
    from test_own_data import CLASS, RULE

    with Pushers(tmp_path / "hub") as pushers:
        catalog = pushers.h.catalog.import_table(CLASS.encode(), "classes").import_rules(RULE.encode())
        pushers.h.load_catalog(catalog)
        inquiry = hub.Inquiry(
            requester="portal", procedure="self/1/1", items=("市町村民税",), role="本人", section="a", request_id="o1",
        )  # fmt: skip
        pushers.h.inquire(inquiry, pushers.portal[:2], pushers.town)
        for permits in pushers.h.collect(pushers.town):
            pushers.h.provide(pushers.town, permits, Status.PROVIDED, [b"wrong"] * len(permits))
        pushers.h.flag(pushers.town, pushers.known[:1], Flag.NO_SELF)
        update = update_of(pushers.town, items=("地方税",))
        assert pushers.h.update(update, pushers.known[:2], [b"a", b"b"]).status.tolist() == [Status.OK, Status.OK]
        assert payloads_at(pushers, "portal") == [b"b"]
        assert not [r for r in pushers.h.history(pushers.portal[0]).records if r.kind == Kind.UPDATE]
        assert pushers.h.verify().problems == ()


def test_a_push_of_another_institution_is_not_corrected(pushers: Pushers) -> None:
    theirs = pushers.h.acquire(pushers.other_town, pushers.codes).aliases
    pushers.h.push(push_of(pushers.other_town), theirs[:1], "nenkin")
    update = update_of(pushers.town, items=("出生",))
    assert pushers.h.update(update, pushers.known[:1], [b"a"]).status.tolist() == [Status.NO_RECORD]
