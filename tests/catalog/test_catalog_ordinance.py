"""Affairs of ordinances: what they copy, whose consent they need, what providers keep back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hub.authorise import authorise
from hub.catalog import Catalog
from hub.catalog.law import OWN_RULES_FROM
from hub.errors import CatalogError
from hub.messages import Inquiry, Reason, Status

SHIPPED = Catalog.japan()
HEADER = "basis,row,article,number,requester,procedure,provider,kind,detail,roles,valid_from,valid_to,copies\n"
COPIED = "19-8/13/15.1"
TAX = f"19-9,1,2,1,市町村長,助成の申請の審査,市町村長,地方税,市町村民税,保護者;小慢児童等,,,{COPIED}\n"
REGISTER = f"19-9,1,2,1,市町村長,助成の申請の審査,市町村長,住民票,住民票,小慢児童等,,,{COPIED}\n"
ORDINANCE = SHIPPED.import_rules(HEADER + TAX + REGISTER)
LIMITS = "institution,kind,valid_from,valid_to\n"
DAY = dt.date(2026, 11, 28)


def inquiry(*items: str, role: str = "小慢児童等", **changes: object) -> Inquiry:
    fields = {"requester": "131016", "procedure": "19-9/1/2.1", "section": "課", "request_id": "1"}
    return Inquiry(**{**fields, "items": items, "role": role, **changes})


def decide(catalog: Catalog, *items: str, provider: str = "131024", at: dt.date = DAY, consent: bool = True):
    return catalog.decide(inquiry(*items), provider, at, consent=consent)


# -- what they copy


def test_a_rule_that_copies_a_statutory_procedure_is_taken_in():
    assert ORDINANCE.copies == {OWN_RULES_FROM: COPIED, OWN_RULES_FROM + 1: COPIED}
    assert (ORDINANCE.imported.added, ORDINANCE.imported.table) == (2, "rules")
    assert decide(ORDINANCE, "住民票").allowed
    assert not [problem for problem in ORDINANCE.problems() if problem.grave]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (COPIED, "", "line 2: copies: expected the id of the procedure of basis 19-8 that the ordinance copies, got n"),
        (COPIED, "19-8/13/99", "line 2: copies: expected the id of a procedure of basis 19-8, got '19-8/13/99'"),
        (COPIED, "19-9/1/2.1", "line 2: copies: expected the id of a procedure of basis 19-8, got '19-9/1/2.1'"),
        ("市町村民税", "固定資産税", "line 2: kind, detail: expected what 19-8/13/15.1 .* '地方税', '固定資産税'"),
        ("地方税,市", "住民票,市", "line 2: kind, detail: expected what 19-8/13/15.1 .* '住民票', '市町村民税'"),
        (",市町村民税", ",", "line 2: kind, detail: expected what 19-8/13/15.1 .* '地方税', '地方税'"),
        ("市町村長,地方税", "都道府県知事,地方税", r"line 2: provider: .* \(市町村長\), got '都道府県知事'"),
        ("市町村長,地方税", "同意を得た市町村又は都道府県の長,地方税", "line 2: provider: expected bodies"),
        ("市町村長,地方税", "町内会長,地方税", "line 2: provider: expected bodies"),
        ("保護者;", "申請者;", r"line 2: roles: .* \(小慢児童等, 保護者, 支給認定基準世帯員\), got '申請者'"),
        (",,,1", ",,2026-06-25,1", "line 2: kind, detail: expected what 19-8/13/15.1 lists in these days"),
        ("19-9,1", "own,1", "line 2: copies: expected nothing beside the basis own, got '19-8/13/15.1'"),
        ("19-9,1", "19-8,1", "line 2: copies: expected nothing beside the basis 19-8"),
    ],
)
def test_a_rule_that_exceeds_what_it_copies_is_named(old, new, words):
    text = HEADER + TAX.replace(old, new)
    with pytest.raises(CatalogError, match=words):
        SHIPPED.import_rules(text)


def test_without_the_column_a_rule_of_an_ordinance_is_refused():
    header, line = HEADER.replace(",copies", ""), TAX.replace(f",{COPIED}", "")
    with pytest.raises(CatalogError, match="line 2: copies: expected the id"):
        SHIPPED.import_rules(header + line)


def test_one_broken_line_keeps_the_whole_file_out():
    with pytest.raises(CatalogError, match="line 3: roles"):
        SHIPPED.import_rules(HEADER + TAX + REGISTER.replace("小慢児童等", "申請者"))


def test_a_rule_that_shares_its_last_day_with_what_it_copies_is_accepted():
    catalog = SHIPPED.import_rules(HEADER + TAX.replace(",,,1", ",,2026-06-26,1"))
    assert catalog.copies


def test_a_class_within_the_copied_one_is_accepted_and_one_that_is_wider_refused():
    wards = "label,members\n特別区の長,form:特別区\n特別区の長と知事,form:特別区;code:130001\n"
    catalog = SHIPPED.import_table(wards)
    text = HEADER + TAX.replace("市町村長,地方税", "特別区の長,地方税")
    narrow = catalog.import_rules(text)
    assert decide(narrow, "地方税").allowed
    assert decide(narrow, "地方税", provider="141003").reason is Reason.PROVIDER
    with pytest.raises(CatalogError, match="line 2: provider: expected bodies"):
        catalog.import_rules(text.replace("特別区の長", "特別区の長と知事"))


def test_a_class_that_outgrows_what_it_copies_is_a_grave_problem():
    catalog = SHIPPED.import_table("label,members\n対象の長,list:対象\n")
    catalog = catalog.import_table("list,institution\n対象,131016\n")
    catalog = catalog.import_rules(HEADER + TAX.replace("市町村長,地方税", "対象の長,地方税"))
    assert not [problem for problem in catalog.problems() if problem.grave]
    grown = catalog.import_table("list,institution\n対象,130001\n")
    grave = [problem.text for problem in grown.problems() if problem.grave]
    assert len(grave) == 1
    assert grave[0].startswith(f"rule {OWN_RULES_FROM} exceeds what it copies: provider: expected")


def test_a_rule_that_outlives_what_it_copies_is_a_grave_problem():
    old = SHIPPED.rule(293)
    ended = ",".join(
        [
            old.basis, old.row, old.article, old.number, old.sub, old.requester, old.label, old.provider, old.kind,
            old.detail, ";".join(old.roles), "2026-06-26", "2027-03-31",
        ]
    )  # fmt: skip
    header = HEADER.replace("number,", "number,sub,").replace(",copies", "")
    catalog = ORDINANCE.import_rules(header + ended + "\n")
    assert catalog.imported.updated == 1
    grave = [problem.text for problem in catalog.problems() if problem.grave]
    assert grave == [f"rule {OWN_RULES_FROM} is in force longer than what it copies of {COPIED}"]
    mended = catalog.import_rules(HEADER + TAX.replace(",,,1", ",,2027-03-31,1"))
    assert not [problem for problem in mended.problems() if problem.grave]


def test_a_rule_may_copy_what_the_same_file_brings_above_it():
    new = "19-8,13,15,1,都道府県知事,小慢医療費支給認定の申請の審査,市町村長,地方税,市町村民税,申請者,2027-04-01,,\n"
    own = TAX.replace("保護者;小慢児童等,,", "申請者,2027-04-01,")
    catalog = SHIPPED.import_rules(HEADER + new + own)
    assert catalog.copies == {OWN_RULES_FROM + 1: COPIED}
    with pytest.raises(CatalogError, match="line 2: roles"):
        SHIPPED.import_rules(HEADER + own + new)


def test_the_same_file_again_changes_nothing_and_another_copied_procedure_is_an_update():
    again = ORDINANCE.import_rules(HEADER + TAX + REGISTER)
    assert (again.imported.unchanged, again.digest) == (2, ORDINANCE.digest)
    other = ORDINANCE.import_rules(HEADER + TAX.replace("15.1", "15.2"))
    assert (other.imported.updated, other.copies[OWN_RULES_FROM]) == (1, "19-8/13/15.2")


def test_a_rule_from_before_copies_were_asked_for_is_a_grave_problem():
    old = Catalog(msgspec.structs.replace(ORDINANCE.tables, copies=()))
    grave = [problem.text for problem in old.problems() if problem.grave]
    assert len(grave) == 2
    assert "copies: expected the id of the procedure" in grave[0]


# -- consent


def test_local_tax_needs_consent_under_an_ordinance_and_nothing_else_does():
    for items, consent, allowed in [
        (("地方税",), True, True),
        (("地方税",), False, False),
        (("市町村民税",), False, False),
        (("住民票",), False, True),
        (("住民票", "市町村民税"), True, True),
        (("住民票", "市町村民税"), False, False),
    ]:
        decision = decide(ORDINANCE, *items, consent=consent)
        assert decision.allowed == allowed
        if not allowed:
            assert (decision.status, decision.reason) == (Status.DENIED_CONSENT, Reason.CONSENT)
            assert decision.rule == OWN_RULES_FROM
            assert "市町村民税 only with the person's consent (地方税法22条)" in decision.explanation


def test_without_a_word_about_consent_there_is_none():
    assert ORDINANCE.decide(inquiry("地方税"), "131024", DAY).reason is Reason.CONSENT


def test_a_statutory_procedure_needs_no_consent():
    asked = inquiry("地方税", requester="nenkin", procedure="19-8/73/75.3", role="納付義務者")
    assert ORDINANCE.decide(asked, "131024", DAY).allowed
    table = ORDINANCE.table(asked, DAY)
    assert not table.consent_matters
    assert table.without_consent.tolist() == list(range(len(table)))


def test_another_refusal_stays_what_it_is_without_consent():
    for provider, reason in (("130001", Reason.PROVIDER), ("131016", Reason.SAME_INSTITUTION)):
        decisions = {decide(ORDINANCE, "地方税", provider=provider, consent=consent) for consent in (True, False)}
        assert {decision.reason for decision in decisions} == {reason}


def test_refusals_for_want_of_consent_stand_behind_all_other_entries():
    table = ORDINANCE.table(inquiry("地方税"), DAY)
    moved = np.flatnonzero(table.without_consent != np.arange(len(table)))
    assert table.status[moved].tolist() == [Status.OK]
    assert table.status[table.without_consent[moved]].tolist() == [Status.DENIED_CONSENT]
    assert table.without_consent[moved].min() == len(table) - 1
    assert table.of_institution[1:].max() < len(table) - 1
    assert len(table.legal_basis) == len(table.misfits) == len(table.rules) == len(table.rule) == len(table)


@pytest.mark.parametrize("rows", [1, 3])
def test_each_row_goes_by_its_own_consent(rows):
    codes = ["131024", "130001", "131032"][:rows]
    providers = np.array([ORDINANCE.institution(code).number for code in codes], np.uint32)
    allowed = [Status.OK, Status.DENIED, Status.OK][:rows]
    refused = [Status.DENIED_CONSENT, Status.DENIED, Status.DENIED_CONSENT][:rows]

    def statuses(consents: object) -> list[int]:
        return authorise(ORDINANCE, inquiry("地方税"), providers, DAY, consents=consents).status.tolist()

    assert statuses(True) == statuses(np.ones(rows, np.bool_)) == allowed
    assert statuses(None) == statuses(False) == statuses(np.zeros(rows, np.bool_)) == refused
    first = np.arange(rows) == 0
    assert statuses(first) == allowed[:1] + refused[1:]


# -- limits


def test_a_provider_keeps_back_what_its_ordinance_says():
    catalog = ORDINANCE.import_table(LIMITS + "131024,地方税,,\n131032,*,,\n")
    decision = decide(catalog, "地方税")
    assert (decision.status, decision.reason) == (Status.DENIED_LIMITED, Reason.LIMITED)
    assert "limits by its own ordinance what it gives of 地方税" in decision.explanation
    assert decide(catalog, "住民票").allowed
    assert decide(catalog, "住民票", "地方税").reason is Reason.LIMITED
    assert decide(catalog, "住民票", provider="131032").reason is Reason.LIMITED
    assert decide(catalog, "地方税", provider="131041").allowed


def test_a_limit_holds_from_its_first_day_to_its_last():
    catalog = ORDINANCE.import_table(LIMITS + "131024,*,2026-12-01,2026-12-31\n")
    days = [dt.date(2026, 11, 30), dt.date(2026, 12, 1), dt.date(2026, 12, 31), dt.date(2027, 1, 1)]
    assert [decide(catalog, "住民票", at=day).allowed for day in days] == [True, False, False, True]


def test_a_limit_binds_no_statutory_procedure_and_no_requester():
    catalog = ORDINANCE.import_table(LIMITS + "131024,*,,\n131016,*,,\n")
    asked = inquiry("地方税", requester="nenkin", procedure="19-8/73/75.3", role="納付義務者")
    assert catalog.decide(asked, "131024", DAY).allowed
    assert decide(catalog, "住民票", provider="131032").allowed


def test_a_limit_comes_before_consent_and_before_assessments():
    catalog = ORDINANCE.import_table(LIMITS + "131024,*,,\n")
    assert decide(catalog, "地方税", consent=False).reason is Reason.LIMITED
    unassessed = catalog.import_table("institution,row,side,published_on\n131024,*,both,\n")
    assert decide(unassessed, "地方税").reason is Reason.LIMITED


def test_the_last_day_of_a_limit_can_be_set():
    catalog = ORDINANCE.import_table(LIMITS + "131024,地方税,2026-04-01,\n")
    ended = catalog.import_table(LIMITS + "131024,地方税,2026-04-01,2026-11-27\n")
    assert (ended.imported.table, ended.imported.updated) == ("limits", 1)
    assert not decide(catalog, "地方税").allowed
    assert decide(ended, "地方税").allowed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",地方税,,", "line 2: institution, kind: expected"),
        ("131024,,,", "line 2: institution, kind: expected"),
        ("*,地方税,,", r"line 2: institution: expected a code, got \*"),
        ("131024,*,soon,", "line 2: date: expected YYYY-MM-DD"),
        ("131024,*,2026-12-01,2026-11-30", "line 2: valid_to: expected a day from 2026-12-01"),
    ],
)
def test_a_broken_limit_is_named(line, words):
    with pytest.raises(CatalogError, match=words):
        SHIPPED.import_table(LIMITS + line + "\n")


def test_a_limit_of_an_unknown_kind_is_a_grave_problem_and_of_an_unknown_body_a_note():
    before = SHIPPED.problems()
    after = SHIPPED.import_table(LIMITS + "131024,市町村民税,,\nabsent,地方税,,\n").problems()
    assert len(after) == len(before) + 2
    assert after[0].grave
    assert "市町村民税 is no kind of information" in after[0].text
    assert any(not problem.grave and "limits.csv: absent is not connected" in problem.text for problem in after)


# -- shown and stored


def test_a_rule_and_its_procedure_tell_what_they_copy_and_whose_consent_they_need():
    shown = ORDINANCE.describe(OWN_RULES_FROM)
    assert f"copies: {COPIED}" in shown
    assert "consent: of the person (地方税法22条)" in shown
    assert "consent" not in ORDINANCE.describe(OWN_RULES_FROM + 1)
    shown = ORDINANCE.describe("19-9/1/2.1")
    assert shown.count(f"copies: {COPIED}") == 1
    assert shown.count("with consent") == 1
    assert "copies" not in ORDINANCE.describe(COPIED)


def test_an_affair_of_an_ordinance_tells_who_keeps_something_back():
    codes = [body.code for body in SHIPPED.institutions("市町村長")[:6]]
    kinds = ["地方税", "*", "戸籍", "住民票", "地方税", "地方税"]
    lines = "".join(f"{code},{kind},,\n" for code, kind in zip(codes, kinds, strict=True))
    catalog = ORDINANCE.import_table(LIMITS + lines)
    told = catalog.describe("19-9/1/2.1")
    named = [f"{code} ({kind})" for code, kind in zip(codes, kinds, strict=True) if kind != "戸籍"]
    assert f"limits: {', '.join(named)}\n" in told
    assert "limits" not in catalog.describe(COPIED)
    more = catalog.import_table(LIMITS + f"{codes[0]},*,,\n")
    assert f"limits: {', '.join(named)} and 1 more\n" in more.describe("19-9/1/2.1")


def test_copies_and_limits_are_stored_and_read_back():
    catalog = ORDINANCE.import_table(LIMITS + "131024,地方税,2026-04-01,\n")
    again = Catalog.load(catalog.dump())
    assert (again.tables, again.digest, again.copies) == (catalog.tables, catalog.digest, catalog.copies)
    assert decide(again, "地方税") == decide(catalog, "地方税")
    assert len({SHIPPED.digest, ORDINANCE.digest, catalog.digest}) == 3


def test_a_catalog_that_an_older_hub_stored_is_read_and_keeps_its_digest():
    store = Path(__file__).parents[1] / "data" / "store" / "catalogs.txt"
    lines = [line.split() for line in store.read_text(encoding="ascii").splitlines()]
    catalogs = [Catalog.load(bytes.fromhex(value)[8:]) for _, value in lines]
    assert [one.digest for one in catalogs] == [key for key, _ in lines]
    # Three of them were made with terms, two of these with a rule of the operator's own.
    assert [(one.tables.copies, one.tables.limits) for one in catalogs] == [((), ())] * 4
    assert sorted(len(one.tables.terms) for one in catalogs) == [0, 1, 1, 1]
    assert sorted(rule.basis for one in catalogs for rule in one.tables.rules) == ["19-8"] * 4 + ["19-9", "own", "own"]
