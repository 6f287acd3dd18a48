"""The family's number, 2023: whoever registers the children registers themselves.

A parent filled in the form for a child and gave their own individual number; an office that had a child's number
missing looked it up by surname and address and took the first of the household. In the hundred and thirty thousand
family accounts, and in thousands of insurance records, a child's file was linked with a parent. Everything looked
right: same surname, same address. Only the birth date did not fit, and nobody looked at it.

What must not happen here: that a surname and an address make a link. And who clears it up must not be the clerk who
made it: there are real cases (a register that is behind, a birth date that was wrong at the office), and a second
clerk lets them go with a reason that the family can read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub.errors import RequestError
from hub.messages import Acquisition, Differs, Kind
from hub.mislinks.attributes import Attributes
from hub.mislinks.detectors import Mislink, find_mislinks
from linkworld import FIRST_CODE, LinkWorld

HOME = "宮崎県宮崎市霧島1丁目2番地3"
FATHER = Attributes(name="甲斐　誠", kana="カイ マコト", address=HOME, sex="男", birth="1978-05-05")
DAUGHTER = Attributes(name="甲斐　葵", kana="カイ アオイ", address=HOME, sex="女", birth="2014-03-03")
SON = Attributes(name="甲斐　蓮", kana="カイ レン", address=HOME, sex="男", birth="2017-07-07")
FAMILY = [FATHER, DAUGHTER, SON]
INSURER = "nenkin"


@pytest.fixture
def codes() -> np.ndarray:
    return np.arange(3, dtype=np.int64) + FIRST_CODE


def family_world(folder: Path) -> LinkWorld:
    """A hub whose register body knows the family."""
    world = LinkWorld(folder, 3)
    world.people, world.register = FAMILY, FAMILY
    return world


def test_a_parents_number_given_for_the_children_is_held(tmp_path: Path, codes: np.ndarray) -> None:
    with family_world(tmp_path / "hub") as world:
        h = world.h
        tickets = world.claim(INSURER, FAMILY)
        # The father's number stands on all three forms.
        compared = world.deliver(tickets, codes[[0, 0, 0]])

        acquired = h.acquired(INSURER, tickets)
        assert acquired.status.tolist() == [Acquisition.CREATED, Acquisition.HELD, Acquisition.HELD]
        assert Differs(int(acquired.differs[1])) == Differs.NAME | Differs.SEX | Differs.BIRTH
        assert Differs(int(acquired.differs[2])) == Differs.NAME | Differs.BIRTH

        # The detector names it, and whose number it was.
        found = find_mislinks(compared.own, compared.registered)
        assert found.kind == {1: Mislink.HOUSEHOLD, 2: Mislink.HOUSEHOLD}
        assert found.other == {1: 0, 2: 0}

        # The children's own numbers are asked for again; the father keeps his link.
        assert h.close_tickets(INSURER, np.ascontiguousarray(tickets[1:])) == 2
        again = world.claim(INSURER, [DAUGHTER, SON])
        world.deliver(again, codes[1:])
        assert h.acquired(INSURER, again).status.tolist() == [Acquisition.CREATED] * 2
        assert h.stats()["aliases"][INSURER] == 3
        assert h.verify().ok


def test_a_surname_and_an_address_make_no_link(tmp_path: Path, codes: np.ndarray) -> None:
    with family_world(tmp_path / "hub") as world:
        # An office that has no reading, no first name, and the first of the household by surname and address.
        form = Attributes(name="甲斐　葵", address=HOME, sex="男", birth="2014-03-03")
        tickets = world.claim(INSURER, [form])
        world.deliver(tickets, codes[:1])
        acquired = world.h.acquired(INSURER, tickets)
        assert acquired.status.tolist() == [Acquisition.HELD]
        assert Differs(int(acquired.differs[0])) == Differs.NAME | Differs.BIRTH


def test_a_register_that_is_behind_is_cleared_by_a_second_clerk(tmp_path: Path, codes: np.ndarray) -> None:
    with family_world(tmp_path / "hub") as world:
        h = world.h
        portal = h.acquire("portal", codes).aliases
        # The insurer's birth date of the daughter is a slip of the pen: it is she all the same.
        slip = Attributes(name="甲斐　葵", kana="カイ アオイ", address=HOME, sex="女", birth="2014-03-08")
        tickets = world.claim(INSURER, [slip], clerk="sato")
        world.deliver(tickets, codes[1:2])
        assert h.acquired(INSURER, tickets).status.tolist() == [Acquisition.HELD]

        reason = "出生届の写しにより生年月日の誤記を確認"
        with pytest.raises(RequestError, match="another than the one who claimed"):
            h.confirm_links(INSURER, tickets, clerk="Sato", reason=reason)
        acquired = h.confirm_links(INSURER, tickets, clerk="suzuki", reason=reason)
        assert acquired.status.tolist() == [Acquisition.CREATED]

        # The family reads who linked whom, over which difference, and why; nobody else does.
        (record,) = h.history(portal[1]).records
        assert (record.kind, record.items, record.remark) == (Kind.LINK_CONFIRMED, ("生年月日",), reason)
        assert h.history(portal[0]).records == []
        assert h.verify().ok


def test_a_child_who_was_linked_with_the_parent_gets_their_own_link(tmp_path: Path, codes: np.ndarray) -> None:
    with family_world(tmp_path / "hub") as world:
        h = world.h
        # As it was in 2023, without attributes: father and daughter are one person to the insurer.
        tickets = h.tickets(INSURER, 2)
        h.deliver("jlis", tickets, codes[[0, 0]])
        before = h.acquired(INSURER, tickets).aliases
        assert (before[0] == before[1]).all()

        # The father is rightly known under this alias by his own file: it stays, only the daughter's file moves.
        right = world.claim(INSURER, [DAUGHTER])
        world.deliver(right, codes[1:2])
        acquired = h.replace_links(
            INSURER, right, before[1:].copy(), clerk="suzuki", reason="家族の番号による登録", keep_old=True
        )
        assert (h.acquire(INSURER, codes[:2]).aliases == np.concatenate((before[:1], acquired.aliases))).all()
        assert h.verify().ok
