"""The shipped legal basis, its quirks, and the bodies that it names."""

from __future__ import annotations

import csv
import datetime as dt
import time
from pathlib import Path

import pytest

from hub.catalog import Catalog
from hub.catalog.institutions import KINDS, check_digit
from hub.errors import RequestError

JAPAN = Path(__file__).parents[2] / "src" / "hub" / "catalog" / "japan"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.japan()


def read(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((JAPAN / f"{name}.csv").open(encoding="utf-8", newline="")))


def test_the_whole_order_is_there(catalog):
    counts = catalog.counts
    assert (counts["rows"], counts["pairs"], counts["procedures"], counts["lines"]) == (196, 818, 993, 3287)
    assert counts["rules"] == 3311
    assert "令和6年デジタル庁・総務省令第9号" in catalog.origin


def test_the_shipped_catalog_is_made_once():
    assert Catalog.japan() is Catalog.japan()


def test_it_loads_fast():
    Catalog.japan.__wrapped__()
    start = time.perf_counter()
    Catalog.japan.__wrapped__()
    assert time.perf_counter() - start < 1.0  # measured 0.05 s; a shared machine may be slow


def test_rules_are_numbered_in_the_order_of_the_files(catalog):
    assert [rule.rule for rule in catalog.rules] == list(range(1, 3312))
    first = catalog.rule(1)
    assert (first.row, first.article, first.number, first.sub, first.procedure) == ("1", "3", "1", "イ", "19-8/1/3.1")
    assert (first.requester_class, first.provider_class) == ("厚生労働大臣", "法務大臣")
    assert (first.items, first.roles) == (("戸籍",), ("被扶養者", "届出者"))
    assert catalog.rule(2).items == ("市町村民税", "地方税")
    assert (first.valid_from, first.valid_to, first.basis) == (dt.date(2026, 6, 26), None, "19-8")


def test_rules_follow_the_lines_of_the_file_and_the_pairs_of_the_table(catalog):
    pairs: dict[tuple[str, str], list[str]] = {}
    for row in read("rows"):
        pairs.setdefault((row["row"], row["kind"]), []).append(row["provider"])
    expected = [
        (
            line["row"],
            line["article"],
            line["number"],
            line["sub"],
            line["kind"],
            line["detail"],
            line["roles"],
            provider,
        )
        for line in read("procedures")
        for provider in pairs[line["row"], line["kind"]]
    ]
    assert expected == [
        (rule.row, rule.article, rule.number, rule.sub, rule.kind, rule.detail, ";".join(rule.roles), rule.provider)
        for rule in catalog.rules
    ]


@pytest.mark.parametrize(
    ("procedure", "basis"),
    [
        ("19-8/73/75.3", "番号法19条8号・主務省令2条の表73の項・75条3号"),
        ("19-8/17/19", "番号法19条8号・主務省令2条の表17の項・19条"),
        ("19-8/55-2/57-2.1", "番号法19条8号・主務省令2条の表55の2の項・57条の21号"),
        ("19-8/81/83.3-3", "番号法19条8号・主務省令2条の表81の項・83条3号の3"),
        ("19-8/58/60.2項1", "番号法19条8号・主務省令2条の表58の項・60条2項1号"),
    ],
)
def test_ids_and_legal_bases_of_unusual_places(catalog, procedure, basis):
    assert catalog.procedure(procedure).legal_basis == basis


def test_labels_repeat_and_ids_do_not(catalog):
    labels = [procedure.label for procedure in catalog.procedures()]
    assert len(set(labels)) < len(labels)
    assert len({procedure.id for procedure in catalog.procedures()}) == 993


def test_a_kind_with_two_provider_classes_is_two_rules_a_line(catalog):
    double = [
        rule for rule in catalog.rules if rule.kind == "障害者自立支援給付" and rule.row in ("42", "125", "144", "161")
    ]
    assert len(double) == 48
    assert {rule.provider for rule in double} == {"都道府県知事", "市町村長"}


def test_a_kind_that_the_table_names_and_no_article_details_is_noted(catalog):
    notes = [str(problem) for problem in catalog.problems()]
    assert any("19-8/81" in note and "自立生活援助" in note for note in notes)
    assert not any(problem.grave for problem in catalog.problems())


def test_every_class_string_of_the_table_is_placed(catalog):
    strings = {row["requester"] for row in read("rows")} | {row["provider"] for row in read("rows")}
    assert len({row["requester"] for row in read("rows")}) == 54
    assert len({row["provider"] for row in read("rows")}) == 20
    assert strings == set(catalog.class_labels)
    assert all(label in catalog.placement for label in strings)


def test_only_open_classes_are_empty(catalog):
    empty = {label for label in catalog.class_labels if not catalog.institutions(label)}
    assert empty == {
        "他の法令による給付の支給を行うこととされている者",
        "認定地方公共団体の長",
        "特区地方公共団体の長",
        "同意を得た市町村又は都道府県の長",
        "存続組合又は指定基金",
        "特定公的給付を実施する行政機関の長等",
    }
    notes = "\n".join(map(str, catalog.problems()))
    assert all(label in notes for label in empty)


def test_classes_are_sets_of_bodies(catalog):
    welfare, health = "都道府県知事等(福祉事務所設置)", "都道府県知事又は保健所設置市(特別区を含む)の長"
    assert {"市町村長", welfare, health} <= set(catalog.institution("131016").classes)  # 千代田区
    assert {"都道府県知事", welfare, health} <= set(catalog.institution("130001").classes)
    assert "市町村長" not in catalog.institution("130001").classes
    assert welfare in catalog.institution("323438").classes  # 奥出雲町 runs a welfare office
    assert welfare not in catalog.institution("313025").classes  # 岩美町 is not listed
    assert health not in catalog.institution("132047").classes  # 三鷹市 has none of its own
    atom = "都道府県知事又は広島市長若しくは長崎市長"
    assert [body.code for body in catalog.institutions(atom) if body.kind == "city"] == ["341002", "422011"]
    assert "都道府県教育委員会" not in catalog.institution("130001").classes
    assert "都道府県知事又は都道府県教育委員会" in catalog.institution("130001-edu").classes
    assert set(catalog.institution("nenkin").classes) == {
        "厚生労働大臣又は日本年金機構",
        "厚生労働大臣若しくは日本年金機構又は共済組合等",
        "厚生労働大臣若しくは日本年金機構、共済組合等又は農林漁業団体職員共済組合",
    }
    assert catalog.institution("portal").classes == ()


def test_classes_and_institutions_are_two_views_of_one_membership(catalog):
    for label in catalog.class_labels:
        assert [body.code for body in catalog.institutions(label)] == [
            body.code for body in catalog.institutions() if label in body.classes
        ]


def test_a_compound_class_is_the_union_of_its_parts(catalog):
    def codes(label: str) -> set[str]:
        return {body.code for body in catalog.institutions(label)}

    assert codes("厚生労働大臣、都道府県知事又は市町村長") == codes("厚生労働大臣") | codes("都道府県知事又は市町村長")
    assert codes("医療保険者又は後期高齢者医療広域連合") == codes("医療保険者") | codes("後期高齢者医療広域連合")
    assert codes("医療保険者") >= codes("市町村長") | codes("健康保険組合") | codes("全国健康保険協会")


def test_institutions_are_numbered_from_one_without_gaps(catalog):
    bodies = catalog.institutions()
    assert [body.number for body in bodies] == list(range(1, len(bodies) + 1))
    assert catalog.institution_by_number(1).code == "mhlw"
    assert all(catalog.institution(body.code) is body for body in bodies)
    kinds = [body.kind for body in bodies]
    assert kinds.count("prefecture") == 47
    assert 200 <= kinds.count("city") <= 400
    assert set(kinds) == set(KINDS)
    assert {"mhlw", "nenkin", "jlis", "portal"} <= set(catalog.codes)


def test_shipped_local_government_codes_have_their_check_digit(catalog):
    codes = [body.code for body in catalog.institutions() if body.kind in ("prefecture", "city")]
    assert all(check_digit(code[:5]) == code[5] for code in codes)
    assert check_digit("13101") == "6"
    assert check_digit("01000") == "6"


@pytest.mark.parametrize("number", [0, 3312, 4_000_000_000])
def test_no_other_number_is_a_rule(catalog, number):
    with pytest.raises(RequestError, match="rule"):
        catalog.rule(number)


def test_what_is_not_there_is_a_request_error(catalog):
    with pytest.raises(RequestError, match="connected body"):
        catalog.institution("999999")
    with pytest.raises(RequestError, match="institution number"):
        catalog.institution_by_number(0)
    with pytest.raises(RequestError, match="institution number"):
        catalog.institution_by_number(catalog.numbers_end)
    with pytest.raises(RequestError, match="class"):
        catalog.institutions("市町村の長")
    with pytest.raises(RequestError, match=r"did you mean 19-8/73/75\.3"):
        catalog.procedure("19-8/73/75.31")


def test_a_rule_and_a_procedure_can_be_shown(catalog):
    shown = catalog.describe(1407)
    assert "番号法19条8号・主務省令2条の表73の項・75条3号ロ" in shown
    assert "市町村民税, 地方税" in shown
    assert "第2号厚生年金被保険者" in catalog.describe("19-8/58/60.2項1")
