"""Lists of institutions: the ministry's shape, CP932, broken lines, numbers that stay."""

from __future__ import annotations

import datetime as dt

import pytest

from hub.catalog import Catalog
from hub.errors import CatalogError
from hub.messages import Inquiry, Reason, Status

HEADER = "code,kind,prefecture,name,kana\n"
SMALL = HEADER + (
    "200000,prefecture,長野県,長野県,ながのけん\n"
    "203831,city,長野県,長野県箕輪町,ながのけんみのわまち\n"
    "011011,ward,北海道,北海道札幌市中央区,ほっかいどうさっぽろしちゅうおうく\n"
    "016969,city,北海道,北海道泊村,ほっかいどうとまりむら\n"
    "014036,city,北海道,北海道泊村,ほっかいどうとまりむら\n"
    "131016,city,東京都,東京都千代田区,とうきょうとちよだく\n"
)
TODAY = dt.date(2026, 11, 24)


def question(provider_item: str = "地方税") -> Inquiry:
    return Inquiry(requester="nenkin", procedure="19-8/73/75.3", items=(provider_item,), section="課", request_id="1")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.japan()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_a_list_is_read_in_each_encoding(catalog, tmp_path, encoding):
    path = tmp_path / "list.csv"
    path.write_bytes(SMALL.replace("\n", "\r\n").encode(encoding))
    changed = catalog.import_institutions(path)
    assert changed.institution("203831").name == "長野県箕輪町"
    done = changed.imported
    assert (done.added, done.unchanged, done.wards_skipped, done.villages_skipped) == (2, 2, 1, 1)


def test_text_and_bytes_are_read_too(catalog):
    assert catalog.import_institutions(SMALL).digest == catalog.import_institutions(SMALL.encode("cp932")).digest


def test_numbers_go_on_and_are_never_given_again(catalog):
    changed = catalog.import_institutions(SMALL)
    end = catalog.numbers_end
    assert [changed.institution(code).number for code in ("203831", "014036")] == [end, end + 1]
    for body in catalog.institutions():
        assert changed.institution(body.code).number == body.number
    again = changed.import_institutions(SMALL)
    assert again.imported.added == 0
    assert again.digest == changed.digest
    assert [rule.rule for rule in changed.rules] == [rule.rule for rule in catalog.rules]


def test_an_import_leaves_the_old_catalog_as_it_was(catalog):
    before = catalog.digest
    catalog.import_institutions(SMALL)
    assert catalog.digest == before
    assert "203831" not in catalog.codes


def test_wards_and_villages_without_an_office_are_no_institutions(catalog):
    changed = catalog.import_institutions(SMALL)
    assert "011011" not in changed.codes
    assert "016969" not in changed.codes
    assert "市町村長" in changed.institution("014036").classes  # the 泊村 that has an office


def test_a_special_ward_is_a_municipality_whatever_a_list_calls_it(catalog):
    changed = catalog.import_institutions(HEADER + "131199,ward,東京都,東京都板橋区,\n")
    assert changed.institution("131199").kind == "city"
    assert changed.imported.wards_skipped == 0


def test_an_imported_body_can_be_asked_at_once(catalog):
    decision = catalog.import_institutions(SMALL).decide(question(), "203831", TODAY)
    assert decision.allowed


def test_imported_bodies_may_be_held_unassessed(catalog):
    changed = catalog.import_institutions(SMALL, assessed=False)
    for code in ("203831", "131016"):
        decision = changed.decide(question(), code, TODAY)
        assert (decision.status, decision.reason) == (Status.DENIED_ASSESSMENT, Reason.PROVIDER_ASSESSMENT)
    assert changed.decide(question(), "131024", TODAY).allowed


def test_imported_bodies_may_be_assessed_from_a_day(catalog):
    changed = catalog.import_institutions(SMALL, assessed_on=dt.date(2026, 12, 1))
    assert not changed.decide(question(), "203831", dt.date(2026, 11, 30)).allowed
    assert changed.decide(question(), "203831", dt.date(2026, 12, 1)).allowed


def test_a_name_can_be_corrected(catalog):
    line = HEADER + "131016,city,東京都,東京都新千代田区,\n"
    changed = catalog.import_institutions(line)
    assert changed.imported.updated == 1
    assert changed.institution("131016").number == catalog.institution("131016").number
    assert changed.institution("131016").name == "東京都新千代田区"


def test_a_body_of_another_kind_joins_its_class(catalog):
    changed = catalog.import_institutions(HEADER + "kenpo-example,health-society,,例示健康保険組合,\n")
    assert "健康保険組合" in changed.institution("kenpo-example").classes
    assert "医療保険者" in changed.institution("kenpo-example").classes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("131017,city,東京都,東京都千代田区,", "line 3: code: expected check digit 6"),
        ("13101,city,東京都,東京都千代田区,", "expected 6 digits, got 5 .13101.: spreadsheets drop a leading zero"),
        ("1310160,city,東京都,東京都千代田区,", "expected 6 digits, got 7"),
        ("131016,prefecture,東京都,東京都千代田区,", "kind: expected prefecture for a code like"),
        ("130001,city,東京都,東京都千代田区,", "kind: expected prefecture for a code like"),
        ("131016,town,東京都,東京都千代田区,", "kind: expected one of prefecture, city, ward"),
        ("131016,city,東京都,,", "name: expected a name"),
        ("131016,city,東京都,東京都千代田,", "ends in 市, 区, 町 or 村"),
        ("131016,city,大阪府,東京都千代田区,", "name: expected the prefecture"),
        ("Kenpo 1,health-society,,例示健康保険組合,", "code: expected 1 to 32 of a-z 0-9 - _"),
        ("k" * 33 + ",health-society,,例示健康保険組合,", "code: expected 1 to 32"),
        ("kenpo-1,company,,例示健康保険組合,", "kind: expected one of national"),
        ("kenpo-1,city,東京都,東京都千代田区,", "kind: expected one of national"),
        ("131016,city,東京都", "expected 5 fields, got 3"),
        ("131016,city,東京都,東京都千代田区\x00,", "control character"),
        ("200000,prefecture,長野県,長野県,", "code: expected every code once"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_taken_in(catalog, line, words):
    text = HEADER + "200000,prefecture,長野県,長野県,\n" + line + "\n"
    with pytest.raises(CatalogError, match=words):
        catalog.import_institutions(text)


def test_a_code_of_32_characters_is_accepted(catalog):
    assert "k" * 32 in catalog.import_institutions(HEADER + "k" * 32 + ",health-society,,例示健康保険組合,\n").codes


def test_a_body_keeps_its_kind(catalog):
    with pytest.raises(CatalogError, match="kind: expected national for mhlw"):
        catalog.import_institutions(HEADER + "mhlw,body,,厚生労働大臣,\n")


def test_many_broken_lines_are_counted(catalog):
    with pytest.raises(CatalogError, match="and 15 more"):
        catalog.import_institutions(HEADER + "x y,body,,名,\n" * 25)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"code,kind,name\n1,city,x\n", "expected the columns code,kind,prefecture,name,kana"),
        (HEADER.replace("kana", "furigana").encode(), "expected the columns code,kind,prefecture,name,kana"),
        (b"code,code,kind,prefecture,name\n", "every column once"),
        (HEADER.encode() + b"\x81\x20\n", "expected UTF-8 or CP932"),
        (HEADER.encode() + b'"131016,city\n', "line 2"),
        (b"", "expected the columns"),
    ],
)
def test_a_broken_file_is_refused(catalog, content, words):
    with pytest.raises(CatalogError, match=words):
        catalog.import_institutions(content)


@pytest.mark.parametrize("line", ["00000000017", "7,96b62a50203c9ae1e8352e5a48eeb369,CREATED"])
def test_a_file_without_a_head_line_is_not_repeated(catalog, line):
    for call in (catalog.import_institutions, catalog.import_table):
        with pytest.raises(CatalogError) as caught:
            call(f"{line}\n{line}\n".encode())
        assert not any(part in str(caught.value) for part in line.split(","))


def test_a_name_with_an_ideographic_space_is_accepted(catalog):
    assert "x" in catalog.import_institutions((HEADER + "x,body,,国民\u3000年金,\n").encode()).codes


def test_a_missing_file_is_named_without_its_folder(catalog, tmp_path):
    with pytest.raises(CatalogError, match=r"open absent\.csv") as error:
        catalog.import_institutions(tmp_path / "absent.csv")
    assert str(tmp_path) not in str(error.value)


def test_line_numbers_count_lines_inside_quotes_and_blank_ones(catalog):
    text = HEADER + '\n"kenpo-1",health-society,,"例示\n健康保険組合",\n'
    with pytest.raises(CatalogError, match="line 3: field: expected printable"):
        catalog.import_institutions(text)
