"""One name, two people, 2023: looked up by name and birth date.

Where an office had no number it asked the register by name, reading and birth date, and took the one answer. There are
people of one name who were born on one day. One got the other's certificates at a convenience store; another read a
stranger's medicines in an insurance record. The address told them apart, and was not asked for, since people move.

What must not happen here: that a name makes a link, not with a birth date either. And the other way round: who is
written 髙橋 here and 高橋 there, on 1丁目2番3号 here and 1-2-3 there, is one person, and no clerk should have to
say so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub.messages import Acquisition, Differs
from hub.mislinks.attributes import Attributes, People
from hub.mislinks.detectors import Mislink, find_mislinks
from linkworld import FIRST_CODE, LinkWorld

HERE = Attributes(
    name="髙橋　さくら", kana="タカハシ サクラ", address="宮崎県宮崎市霧島1丁目2番3号", sex="女", birth="1990-04-01"
)
THERE = Attributes(
    name="高橋 さくら", kana="タカハシ サクラ", address="札幌市中央区北一条西2丁目1番地", sex="女", birth="1990-04-01"
)
MAN = Attributes(name="高橋 薫", kana="タカハシ カオル", address="都城市姫城町6-21", sex="男", birth="1990-04-01")
WOMAN = Attributes(name="高橋 薫", kana="タカハシ カオル", address="都城市姫城町6-21", sex="女", birth="1990-04-01")
REGISTER = [HERE, THERE, MAN, WOMAN]
INSURER = "nenkin"


@pytest.fixture
def codes() -> np.ndarray:
    return np.arange(4, dtype=np.int64) + FIRST_CODE


def namesakes(folder: Path) -> LinkWorld:
    """A hub whose register body knows four people of two names."""
    world = LinkWorld(folder, 4)
    world.people, world.register = REGISTER, REGISTER
    return world


def test_a_name_and_a_birth_date_make_no_link(tmp_path: Path, codes: np.ndarray) -> None:
    with namesakes(tmp_path / "hub") as world:
        h = world.h
        tickets = world.claim(INSURER, [HERE, MAN])
        # The register was asked by name and birth date, and the other one answered.
        compared = world.deliver(tickets, codes[[1, 3]])

        acquired = h.acquired(INSURER, tickets)
        assert acquired.status.tolist() == [Acquisition.HELD] * 2
        assert [Differs(mask) for mask in acquired.differs.tolist()] == [Differs.ADDRESS, Differs.SEX]
        assert h.stats()["aliases"] == {}

        found = find_mislinks(compared.own, compared.registered)
        assert set(found.kind.values()) == {Mislink.SAME_NAME}
        assert h.verify().ok


def test_the_two_have_links_of_their_own(tmp_path: Path, codes: np.ndarray) -> None:
    with namesakes(tmp_path / "hub") as world:
        h = world.h
        tickets = world.claim(INSURER, REGISTER)
        assert not world.deliver(tickets, codes).differs.any()
        aliases = h.acquired(INSURER, tickets).aliases
        assert len({alias.tobytes() for alias in aliases}) == 4


def test_one_person_in_two_spellings_is_one(tmp_path: Path, codes: np.ndarray) -> None:
    with namesakes(tmp_path / "hub") as world:
        h = world.h
        spellings = [
            Attributes(name="高橋 さくら", address="宮崎市霧島1-2-3", sex="2", birth="H2.4.1"),
            Attributes(name="髙橋桜", kana="たかはし さくら", address="宮崎市霧島1-2の3", sex="f", birth="19900401"),
        ]
        for one in spellings:
            ticket = world.claim(INSURER, [one])
            assert world.deliver(ticket, codes[:1]).differs.tolist() == [0]
        assert h.stats()["aliases"] == {INSURER: 1}


def test_a_name_alone_stands_out_in_a_file() -> None:
    older = Attributes(name="高橋 さくら", address="都城市姫城町6-21", sex="女", birth="1962-11-30")
    found = find_mislinks(People.of([HERE, HERE]), People.of([THERE, older]))
    assert found.kind == {0: Mislink.SAME_NAME, 1: Mislink.NAME_ALONE}


def test_whoever_was_linked_with_a_namesake_is_moved_and_both_read_of_it(tmp_path: Path, codes: np.ndarray) -> None:
    with namesakes(tmp_path / "hub") as world:
        h = world.h
        portal = h.acquire("portal", codes).aliases
        wrong = h.acquire(INSURER, codes[1:2]).aliases
        right = world.claim(INSURER, [HERE])
        world.deliver(right, codes[:1])
        h.replace_links(INSURER, right, wrong, clerk="suzuki", reason="同姓同名・同生年月日の別人")
        for person in (0, 1):
            (record,) = h.history(portal[person]).records
            assert record.remark == "同姓同名・同生年月日の別人"
        assert h.acquire(INSURER, codes[1:2]).status.tolist() == [Acquisition.CREATED]
        assert h.verify().ok
