"""Clerks find what they may ask."""

from __future__ import annotations

import pytest

from hub.catalog import Catalog
from hub.errors import RequestError


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.japan()


def test_without_anything_every_procedure_is_listed_in_the_order_of_the_law(catalog):
    everything = catalog.procedures()
    assert len(everything) == 993
    assert [everything[0].id, everything[-1].id] == ["19-8/1/3.1", "19-8/173-2/175-2"]


def test_child_allowance_is_found_though_its_procedures_are_not_called_so(catalog):
    found = catalog.procedures(words="児童手当")
    own = [procedure for procedure in found if procedure.law == "児童手当法"]
    assert found[: len(own)] == own
    assert len(own) == 9
    others = found[len(own) :]
    assert others
    assert all("児童手当" in "".join((*p.kinds, *p.items)) for p in others)


def test_every_word_must_occur(catalog):
    found = catalog.procedures(words="児童手当　改定")
    assert [procedure.id for procedure in found] == ["19-8/106/108.3", "19-8/107/109.2"]
    assert catalog.procedures(words=["児童手当", "改定"]) == found
    assert catalog.procedures(words="児童手当 医師") == []


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("マッサージ", "マツサージ"),
        ("まっさーじ", "マツサージ"),
        ("ﾏｯｻｰｼﾞ", "マツサージ"),
        ("ＲＩ法", "RI法"),
        ("ri法", "RI法"),
    ],
)
def test_width_case_and_kana_do_not_matter(catalog, typed, written):
    found = catalog.procedures(words=typed)
    assert found
    assert all(written in procedure.law + procedure.label for procedure in found)


def test_a_requester_sees_what_it_may_use(catalog):
    for code in ("131016", "130001", "nenkin", "kkr", "portal", "313025"):
        body = catalog.institution(code)
        rows = {72, 73, 74} if code == "nenkin" else ()
        expected = []
        for procedure in catalog.procedures():
            narrowed = catalog.narrowed_to(procedure.id)
            fits = procedure.requester in body.classes and (narrowed is None or body.number in narrowed)
            if fits or (procedure.row.isdigit() and int(procedure.row) in rows):
                expected.append(procedure)
        assert catalog.procedures(requester=code) == expected
    assert catalog.procedures(requester="portal") == []


def test_requester_words_and_item_narrow_together(catalog):
    found = catalog.procedures("131016", "児童手当", "住民票")
    assert found
    for procedure in found:
        assert "住民票" in (*procedure.kinds, *procedure.items)
        assert procedure in catalog.procedures("131016")
        assert procedure in catalog.procedures(words="児童手当")


def test_an_item_is_a_kind_or_a_detail(catalog):
    kinds, details = catalog.procedures(item="地方税"), catalog.procedures(item="市町村民税")
    assert {p.id for p in details} < {p.id for p in kinds}
    assert all("市町村民税" in procedure.items for procedure in details)


def test_a_place_in_the_law_is_found(catalog):
    assert catalog.procedures(words="19-8/73/75.3")[0].id == "19-8/73/75.3"


def test_what_is_not_known_is_said(catalog):
    with pytest.raises(RequestError, match="item"):
        catalog.procedures(item="市民税")
    with pytest.raises(RequestError, match="institution"):
        catalog.procedures(requester="131017")
    assert catalog.procedures(words="存在しない言葉") == []
