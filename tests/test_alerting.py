"""Whether there is something new to be told of: marks and flags of the moment count, own acts do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.errors import RequestError
from hub.messages import Flag
from parties import REVIEW, Parties

END = 1 << 40


@pytest.fixture
def p(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as made:
        yield made


def test_the_newest_between_two_places_is_found(p: Parties) -> None:
    for n in range(3):
        p.ask(f"r{n}", [0, 1])
    newest, middle, oldest = p.shown(0)
    assert p.h.news(p.portal[0], first=0, below=END) == newest
    assert p.h.news(p.portal[0], first=newest, below=END) == newest
    assert p.h.news(p.portal[0], first=newest + 1, below=END) is None
    assert p.h.news(p.portal[0], first=0, below=newest) == middle
    assert p.h.news(p.portal[0], first=oldest, below=oldest + 1) == oldest
    assert p.h.news(p.portal[0], first=0, below=oldest) is None
    assert p.h.news(p.portal[2], first=0, below=END) is None


def test_what_is_withheld_now_is_no_news_and_what_is_lifted_is(p: Parties) -> None:
    p.ask("r", [0])
    handle = ("r", 0)
    p.h.withhold(handle, "ground", REVIEW, institution="nenkin")
    assert p.h.news(p.portal[0], first=0, below=END) is None
    p.h.lift(handle, institution="nenkin", clerk="a", second_clerk="b")
    assert p.h.news(p.portal[0], first=0, below=END) is not None


@pytest.mark.parametrize("where", ["town", "elsewhere"])
def test_of_a_person_flagged_no_self_anywhere_there_is_no_news(p: Parties, where: str) -> None:
    p.ask("r", [0, 1])
    code = p.town if where == "town" else "nenkin"
    aliases = p.known if where == "town" else p.nenkin
    p.h.flag(code, aliases[:1], Flag.NO_SELF)
    assert p.h.news(p.portal[0], first=0, below=END) is None
    assert p.h.news(p.portal[1], first=0, below=END) is not None
    p.h.flag(code, aliases[:1], Flag.NO_SELF, on=False)
    assert p.h.news(p.portal[0], first=0, below=END) is not None


def test_what_the_person_did_is_no_news_to_them_however_often(p: Parties) -> None:
    p.ask("r", [0])
    page = p.h.history(p.portal[0])
    behind = page.records[0].index + 1
    p.h.ask_correction(p.portal[0], page.records[0], "違います", disclosed=page.disclosure)
    assert len(p.shown(0)) == 2
    assert p.h.news(p.portal[0], first=behind, below=END) is None


@pytest.mark.parametrize("place", [-1, 1 << 63, True, "0"])
def test_what_is_no_place_is_refused(p: Parties, place: object) -> None:
    for given in ({"first": place, "below": 1}, {"first": 0, "below": place}):
        with pytest.raises(RequestError, match="expected a place in the log"):
            p.h.news(p.portal[0], **given)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="alias: expected one of the portal's"):
        p.h.news(bytes(16), first=0, below=1)
