"""Own data (自己情報) answered from a register: who is flagged NO_SELF stands out neither in answers nor in copies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from agency_desk import LAYOUT, load, own_id, register_of

import hub
import hub.agency
from hub.agency import compare
from hub.messages import Flag, Reason, Status

TOWN = "131016"
CODES = [f"{number:011}" for number in range(1, 5)]
RULE = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
self,1,1,番号法附則6条3項,番号法,自己情報の提供,自己情報の提供,市町村長,地方税,市町村民税,本人
"""
CLASS = "label,members\n番号法附則6条3項,code:portal\n"


@pytest.fixture
def h(tmp_path: Path) -> Iterator[hub.Hub]:
    with hub.open(tmp_path / "hub", create=True) as opened:
        catalog = opened.catalog.import_table(CLASS.encode(), "classes").import_rules(RULE.encode())
        opened.load_catalog(catalog)
        yield opened


def ask(portal: hub.agency.Agency, h: hub.Hub, request_id: str, aliases: np.ndarray) -> None:
    inquiry = hub.Inquiry(
        requester="portal", procedure="self/1/1", items=("市町村民税",), role="本人", section="わたしの情報",
        request_id=request_id,
    )  # fmt: skip
    assert (portal.inquire(h, inquiry, np.ascontiguousarray(aliases), TOWN).status == Status.OK).all()


def test_no_self_stands_out_neither_while_nothing_is_loaded_nor_later(h: hub.Hub, tmp_path: Path) -> None:
    mine, theirs = h.acquire("portal", CODES).aliases, h.acquire(TOWN, CODES).aliases
    h.flag(TOWN, theirs[:1], Flag.NO_SELF)
    with (
        hub.agency.open(tmp_path / "town", institution=TOWN, create=True) as town,
        hub.agency.open(tmp_path / "portal", institution="portal", create=True) as portal,
    ):
        town.declare(LAYOUT)
        town.link([own_id(person) for person in range(4)], theirs)
        ask(portal, h, "before", mine[:2])
        town.answer(h)
        found = portal.answers(h, "before")
        assert found.status.tolist() == [Status.NO_RECORD] * 2
        assert found.reason.tolist() == [Reason.NOT_LOADED] * 2
        load(town, [register_of([0, 1])])
        ask(portal, h, "own", mine)
        town.answer(h)
        found = portal.answers(h, "own")
        # The flagged one and those who are not there are the same.
        assert found.status.tolist() == [Status.NO_RECORD, Status.PROVIDED, Status.NO_RECORD, Status.NO_RECORD]
        assert found.reason.tolist() == [0] * 4
        assert compare(h, requester=portal, providers=[town]).ok
        # Told, and blocked afterwards.
        h.flag(TOWN, theirs[1:2], Flag.NO_SELF)
        assert compare(h, requester=portal, providers=[town]).ok
        assert portal.answers(h, "own").status[1] == Status.NO_RECORD
        assert compare(h, requester=portal, providers=[town]).ok
    assert h.verify().problems == ()
