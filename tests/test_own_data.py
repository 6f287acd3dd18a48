"""Own data (自己情報): NO_SELF looks like no data, and flags count for every answer that comes behind them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.messages import Flag, Status
from hub.provision.ends import append_ends

TOWN, OTHER = "131016", "131024"
CODES = [f"{number:011}" for number in range(1, 5)]
RULE = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
self,1,1,番号法附則6条3項,番号法,自己情報の提供,自己情報の提供,市町村長,地方税,市町村民税,本人
"""
CLASS = "label,members\n番号法附則6条3項,code:portal\n"


@pytest.fixture
def h(tmp_path: Path) -> Iterator[hub.Hub]:
    opened = hub.open(tmp_path / "hub", create=True)
    catalog = opened.catalog.import_table(CLASS.encode(), "classes")
    catalog = catalog.import_rules(RULE.encode())
    opened.load_catalog(catalog)
    yield opened
    opened.close()


def ask(h: hub.Hub, request_id: str, aliases: np.ndarray) -> None:
    inquiry = hub.Inquiry(
        requester="portal", procedure="self/1/1", items=("市町村民税",), role="本人", section="わたしの情報",
        request_id=request_id,
    )  # fmt: skip
    assert (h.inquire(inquiry, aliases, TOWN).status == Status.OK).all()


def columns(h: hub.Hub, request_id: str) -> tuple[bytes, bytes, list[bytes | None], bool]:
    found = h.answers("portal", request_id)
    return found.status.tobytes(), found.reason.tobytes(), found.payloads, found.complete


def test_own_data_of_a_person_flagged_no_self_looks_like_no_data(h: hub.Hub) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    for person in range(2):
        ask(h, f"own-{person}", mine[person : person + 1])
    found = {alias.tobytes(): p for one in h.collect(TOWN) for alias, p in zip(one.aliases, one.permit, strict=True)}
    blocked, plain = (np.array([found[theirs[person].tobytes()]], np.uint64) for person in range(2))
    h.provide(TOWN, blocked, Status.PROVIDED, [b"income"])
    h.provide(TOWN, plain, Status.NO_RECORD)
    assert columns(h, "own-0") == columns(h, "own-1")
    assert h.answers("portal", "own-0").status.tolist() == [Status.NO_RECORD]
    # The provider's machine may send the same again.
    h.provide(TOWN, blocked, Status.PROVIDED, [b"income"])
    kinds = [(one.kind, one.outcome, one.provided_at) for one in h.history(mine[0]).records]
    assert kinds == [(one.kind, one.outcome, one.provided_at) for one in h.history(mine[1]).records]


def test_no_self_covers_what_was_provided_before(h: hub.Hub) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    ask(h, "own", mine[:1])
    h.provide(TOWN, h.collect(TOWN)[0], Status.PROVIDED, [b"income"])
    assert h.answers("portal", "own").payloads == [b"income"]
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    assert (h.answers("portal", "own").status.tolist(), h.answers("portal", "own").payloads) == ([11], [None])
    h.flag(TOWN, theirs[:1], Flag.NO_SELF, on=False)
    assert h.answers("portal", "own").payloads == [b"income"]


def test_no_self_leaves_other_inquiries_alone(h: hub.Hub) -> None:
    mine, theirs = h.acquire("nenkin", CODES).aliases, h.acquire(TOWN, CODES).aliases
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    inquiry = hub.Inquiry(
        requester="nenkin", procedure="19-8/73/75.3", items=("地方税",), role="納付義務者", section="国民年金部",
        request_id="tax",
    )  # fmt: skip
    h.inquire(inquiry, mine[:1], TOWN)
    h.provide(TOWN, h.collect(TOWN)[0], Status.PROVIDED, [b"tax"])
    assert h.answers("nenkin", "tax").payloads == [b"tax"]


def test_a_flag_that_comes_between_an_answer_and_its_commit_counts(
    h: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    ask(h, "own", mine[:1])
    (permits,) = h.collect(TOWN)
    flagged = []

    def flag_first(*arguments: object) -> None:
        if not flagged:
            flagged.append(h.flag(TOWN, theirs[:1], Flag.MANUAL))
        append_ends(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("hub.provision.provide.append_ends", flag_first)
    h.provide(TOWN, permits, Status.PROVIDED, [b"income"])
    assert h.answers("portal", "own").status.tolist() == [Status.PENDING]
    assert h.collect(TOWN, manual=True)[0].permit.tolist() == permits.permit.tolist()
    h.provide(TOWN, permits, Status.PROVIDED, [b"income"], clerk="clerk")
    assert h.answers("portal", "own").payloads == [b"income"]


def test_a_provider_withholds_by_its_permit_and_nobody_else_can(h: hub.Hub) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    ask(h, "own", mine[:2])
    (permits,) = h.collect(TOWN)
    first = int(permits.permit[[alias.tobytes() for alias in permits.aliases].index(theirs[0].tobytes())])
    for institution in (OTHER, "portal", "nenkin"):
        with pytest.raises(hub.errors.RequestError, match="handle: expected"):
            h.withhold(first, "ground", dt.date(2030, 1, 1), institution=institution)
    with pytest.raises(hub.errors.RequestError, match="institution: expected the provider"):
        h.withhold(first, "ground", dt.date(2030, 1, 1))
    assert [len(h.history(alias).records) for alias in mine[:2]] == [1, 1]
    h.withhold(first, "ground", dt.date(2030, 1, 1), institution=TOWN)
    assert [len(h.history(alias).records) for alias in mine[:2]] == [0, 1]


def test_another_answer_than_the_one_before_is_refused_for_a_person_flagged_no_self_too(h: hub.Hub) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    ask(h, "own", mine[:1])
    (permits,) = h.collect(TOWN)
    h.provide(TOWN, permits, Status.PROVIDED)
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    with pytest.raises(hub.errors.RequestError, match="expected ones that wait"):
        h.provide(TOWN, permits, Status.EMPTY)
    h.provide(TOWN, permits, Status.PROVIDED)


@pytest.mark.parametrize("outcome", [Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED])
def test_whatever_was_answered_before_no_self_it_looks_like_no_data(h: hub.Hub, outcome: Status) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    ask(h, "own", mine[:1])
    reasons = hub.Reason.UNDER_CORRECTION if outcome == Status.REFUSED else None
    h.provide(TOWN, h.collect(TOWN)[0], outcome, reasons=reasons)
    ask(h, "none", mine[1:2])
    h.provide(TOWN, h.collect(TOWN)[0], Status.NO_RECORD)
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    assert columns(h, "own") == columns(h, "none")
