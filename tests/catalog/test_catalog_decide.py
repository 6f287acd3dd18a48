"""The law as decided: named cases, roles, items, words that nobody knows."""

from __future__ import annotations

import datetime as dt

import pytest

from hub.catalog import Catalog
from hub.errors import RequestError
from hub.limits import ITEMS_PER_INQUIRY_MAX
from hub.messages import Inquiry, Reason, Status

AT = dt.datetime(2026, 11, 24, 9, tzinfo=dt.timezone(dt.timedelta(hours=9)))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.japan()


def ask(catalog, requester, procedure, items, provider, role=None, at=AT, **fields):
    if isinstance(items, str):
        items = (items,)
    inquiry = Inquiry(
        requester=requester, procedure=procedure, items=items, role=role, section="課", request_id="1", **fields
    )
    return catalog.decide(inquiry, provider, at)


def refused(decision, reason, status=Status.DENIED):
    assert not decision.allowed
    assert (decision.status, decision.reason) == (status, reason)
    assert decision.nearest is not None
    assert decision.nearest.rule == decision.rule
    return decision


def test_the_pension_agency_asks_a_municipality_for_tax(catalog):
    decision = ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", "納付義務者")
    assert decision.allowed
    assert decision.items == ("市町村民税",)
    assert decision.rule == 1407
    assert decision.on_behalf_of == "厚生労働大臣"
    assert decision.legal_basis == "番号法19条8号・主務省令2条の表73の項・75条3号"


def test_the_minister_asks_for_itself(catalog):
    decision = ask(catalog, "mhlw", "19-8/73/75.3", "地方税", "131016", "納付義務者")
    assert decision.allowed
    assert decision.on_behalf_of is None


@pytest.mark.parametrize("number", range(1, 12))
def test_the_pension_agency_has_no_business_with_physicians_licences(catalog, number):
    procedure = catalog.procedure(f"19-8/30/32.{number}")
    assert procedure.law == "医師法"
    decision = ask(catalog, "nenkin", procedure.id, "戸籍", "moj", procedure.roles[0])
    refused(decision, Reason.REQUESTER)
    assert "日本年金機構" in decision.explanation
    assert ask(catalog, "mhlw", procedure.id, "戸籍", "moj", procedure.roles[0]).allowed


def test_a_dependants_tax_is_allowed_where_the_applicants_is_not(catalog):
    assert ask(catalog, "mhlw", "19-8/1/3.1", "市町村民税", "131016", "被扶養者").allowed
    decision = refused(ask(catalog, "mhlw", "19-8/1/3.1", "市町村民税", "131016", "届出者"), Reason.ROLE)
    assert decision.explanation == "市町村民税 is listed for 被扶養者, not for 届出者"
    assert decision.role == "届出者"
    assert ask(catalog, "mhlw", "19-8/1/3.1", "戸籍", "moj", "届出者").allowed


def test_a_role_is_an_exact_word(catalog):
    refused(ask(catalog, "nenkin", "19-8/73/75.6", "出入国", "isa", "申請者"), Reason.ROLE)
    assert ask(catalog, "nenkin", "19-8/73/75.6", "出入国", "isa", "請求者").allowed


def test_a_municipality_asks_another_for_child_allowance(catalog):
    decision = ask(catalog, "131016", "19-8/106/108.1", "地方税", "131024", "一般受給資格者")
    assert decision.allowed, decision.explanation


def test_a_body_does_not_ask_itself(catalog):
    decision = refused(
        ask(catalog, "131016", "19-8/106/108.1", "地方税", "131016", "一般受給資格者"), Reason.SAME_INSTITUTION
    )
    assert "itself" in decision.explanation


def test_a_provider_of_another_class_is_refused(catalog):
    decision = refused(ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "130001", "納付義務者"), Reason.PROVIDER)
    assert "市町村長" in decision.explanation
    refused(ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "portal", "納付義務者"), Reason.PROVIDER)


def test_both_classes_of_a_kind_may_be_asked_each_under_its_own_rule(catalog):
    for row in ("42/44.1", "125/127.1", "161/163.1"):
        procedure = catalog.procedure(f"19-8/{row}")
        role = next(rule for rule in map(catalog.rule, procedure.rules) if rule.kind == "障害者自立支援給付").roles[0]
        prefecture = ask(catalog, "131016", procedure.id, "障害者自立支援給付", "130001", role)
        municipality = ask(catalog, "131016", procedure.id, "障害者自立支援給付", "131024", role)
        assert prefecture.allowed
        assert municipality.allowed
        assert catalog.rule(prefecture.rule).provider == "都道府県知事"
        assert catalog.rule(municipality.rule).provider == "市町村長"
        refused(ask(catalog, "131016", procedure.id, "障害者自立支援給付", "mhlw", role), Reason.PROVIDER)


@pytest.mark.parametrize(
    ("paragraph", "requester"), [(1, "mhlw"), (2, "kkr"), (3, "chikyo-tokyo"), (3, "shichoson-ren"), (4, "shigaku")]
)
def test_article_60_is_narrowed_paragraph_by_paragraph(catalog, paragraph, requester):
    for other in range(1, 5):
        decision = ask(catalog, requester, f"19-8/58/60.{other}項2", "市町村民税", "131016", "申請等に係る者")
        if other == paragraph:
            assert decision.allowed, decision.explanation
        else:
            refused(decision, Reason.NARROWED)
            assert f"60条{other}項" in decision.explanation


def test_who_is_narrowed_out_for_itself_may_still_act_for_another(catalog):
    line = "delegate,principal,law,article,rows,side,valid_from,valid_to\n"
    acting = catalog.import_table(line + "kkr,厚生労働大臣,例示法,1条,58,requester,2020-01-01,\n")
    for paragraph, on_behalf_of in ((1, "厚生労働大臣"), (2, None)):
        decision = ask(acting, "kkr", f"19-8/58/60.{paragraph}項2", "市町村民税", "131016", "申請等に係る者")
        assert decision.allowed, decision.explanation
        assert decision.on_behalf_of == on_behalf_of
    refused(ask(acting, "kkr", "19-8/58/60.3項2", "市町村民税", "131016", "申請等に係る者"), Reason.NARROWED)


def test_article_100_is_for_governors(catalog):
    assert ask(catalog, "130001", "19-8/98/100", "道府県民税", "131016", "申請者").allowed
    refused(ask(catalog, "mhlw", "19-8/98/100", "道府県民税", "131016", "申請者"), Reason.NARROWED)
    refused(ask(catalog, "131024", "19-8/98/100", "道府県民税", "131016", "申請者"), Reason.REQUESTER)


def test_a_board_of_education_is_not_its_governor(catalog):
    assert ask(
        catalog, "130001-edu", "19-8/34-2/36-2.1", "戸籍", "moj", catalog.procedure("19-8/34-2/36-2.1").roles[0]
    ).allowed
    refused(ask(catalog, "130001", "19-8/34-2/36-2.1", "戸籍", "moj", "申請者"), Reason.REQUESTER)


def test_a_town_without_a_welfare_office_decides_no_public_assistance(catalog):
    assert ask(catalog, "323438", "19-8/42/44.1", "地方税", "131016", "要保護者").allowed
    refused(ask(catalog, "313025", "19-8/42/44.1", "地方税", "131016", "要保護者"), Reason.REQUESTER)


def test_open_classes_provide_nothing_until_they_have_members(catalog):
    provider = "chikosai"
    rule = next(rule for rule in catalog.rules if rule.provider == "他の法令による給付の支給を行うこととされている者")
    requester = catalog.institutions(rule.requester)[0].code
    refused(ask(catalog, requester, rule.procedure, rule.detail, provider, rule.roles[0]), Reason.PROVIDER)
    opened = catalog.import_table(f"list,institution\n他の法令による給付の支給者,{provider}\n")
    assert ask(opened, requester, rule.procedure, rule.detail, provider, rule.roles[0]).allowed
    closed = opened.import_table(f"list,institution,member\n他の法令による給付の支給者,{provider},0\n")
    assert closed.digest == catalog.digest


def test_the_shipped_wording_says_nothing_of_the_time_before(catalog):
    start = dt.datetime(2026, 6, 26, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    assert ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", at=start).allowed
    before = ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", at=start - dt.timedelta(microseconds=1))
    refused(before, Reason.NOT_YET)
    assert "2026-06-26" in before.explanation


def test_moments_may_be_given_as_one_likes(catalog):
    for at in (AT, AT.timestamp(), AT.replace(tzinfo=None), AT.date(), AT.astimezone(dt.UTC), None):
        assert ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", at=at).allowed
    for at in (0.0, dt.date(2026, 6, 25), dt.datetime(2026, 6, 25, 23, 59, 59)):
        refused(ask(catalog, "mhlw", "19-8/73/75.3", "地方税", "131016", at=at), Reason.NOT_YET)


class TestItems:
    def test_kind_and_detail_name_the_same(self, catalog):
        by_kind = ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016")
        assert by_kind == ask(catalog, "nenkin", "19-8/73/75.3", "市町村民税", "131016")

    def test_a_kind_covers_only_the_details_that_allow_the_role(self, catalog):
        procedure = catalog.procedure("19-8/144/146.1")
        rules = [rule for rule in map(catalog.rule, procedure.rules) if rule.kind == "障害者関係"]
        for role in procedure.roles:
            expected = tuple(dict.fromkeys(rule.detail for rule in rules if role in rule.roles))
            decision = ask(catalog, "131016", procedure.id, "障害者関係", "130001", role)
            if expected:
                assert decision.items == expected
                assert decision.allowed
            else:
                refused(decision, Reason.ROLE)
                assert decision.items == ("障害者関係",)

    def test_all_items_are_allowed_or_none(self, catalog):
        assert ask(catalog, "nenkin", "19-8/73/75.3", ("地方税", "住民票"), "131016", "納付義務者").allowed
        decision = ask(catalog, "nenkin", "19-8/73/75.4", ("地方税", "戸籍"), "131016", "納付義務者")
        refused(decision, Reason.PROVIDER)
        assert "戸籍" in decision.explanation
        assert decision.items == ("市町村民税", "戸籍")

    def test_the_item_that_stops_first_gives_the_reason(self, catalog):
        decision = ask(catalog, "nenkin", "19-8/73/75.4", ("戸籍", "出入国"), "131016", "納付義務者")
        refused(decision, Reason.ITEM)
        assert "出入国" in decision.explanation

    def test_each_item_has_its_rule(self, catalog):
        decision = ask(catalog, "nenkin", "19-8/73/75.3", ("住民票", "地方税"), "131016", "納付義務者")
        assert [catalog.rule(number).kind for number in decision.rules] == ["住民票", "地方税"]
        assert decision.rule == decision.rules[0]

    def test_a_kind_and_a_detail_under_it_are_stored_once(self, catalog):
        decision = ask(catalog, "nenkin", "19-8/73/75.3", ("地方税", "市町村民税"), "131016", "納付義務者")
        assert decision.items == ("市町村民税",)
        assert decision.allowed

    def test_the_same_detail_under_two_kinds_is_told_apart_by_its_kind(self, catalog):
        for kind in ("生活保護", "外国人生活保護"):
            decision = ask(catalog, "131016", "19-8/161/163.1", kind, "131024", "要保護者等に準ずる者")
            assert decision.allowed
            assert decision.nearest is None
            assert catalog.rule(decision.rule).kind == kind

    def test_a_known_item_that_is_not_listed_is_refused(self, catalog):
        decision = refused(ask(catalog, "nenkin", "19-8/73/75.3", "出入国", "isa", "納付義務者"), Reason.ITEM)
        assert decision.items == ("出入国",)
        assert decision.explanation == "19-8/73/75.3 does not list 出入国; it lists 戸籍, 市町村民税, 住民票"

    def test_64_items_are_accepted_and_one_more_is_refused(self, catalog):
        words = tuple(sorted(catalog.item_words))[: ITEMS_PER_INQUIRY_MAX + 1]
        refused(ask(catalog, "nenkin", "19-8/73/75.3", words[:-1], "131016", "納付義務者"), Reason.ITEM)
        with pytest.raises(RequestError, match="items: expected 1 to 64, got 65"):
            ask(catalog, "nenkin", "19-8/73/75.3", words, "131016", "納付義務者")

    @pytest.mark.parametrize(
        ("items", "words"),
        [
            ((), "items: expected 1 to 64, got 0"),
            (("地方税", "地方税"), "items: expected every item once, got '地方税' twice"),
            (("地方勢",), "item: expected one that the catalog knows, got '地方勢' .did you mean 地方税"),
            (("",), "item: expected one that the catalog knows"),
            ((5,), "item: expected one that the catalog knows, got int"),
            ((["地方税"],), "inquiry: expected text"),
            ({"地方税"}, "items: expected a list or tuple of names, got set"),
        ],
    )
    def test_items_that_are_not_well_formed(self, catalog, items, words):
        with pytest.raises(RequestError, match=words):
            ask(catalog, "nenkin", "19-8/73/75.3", items, "131016", "納付義務者")

    def test_one_text_is_no_list_of_items(self, catalog):
        inquiry = Inquiry(requester="nenkin", procedure="19-8/73/75.3", items="地方税", section="課", request_id="1")
        with pytest.raises(RequestError, match="got str"):
            catalog.decide(inquiry, "131016", AT)


class TestRoles:
    def test_a_sole_role_may_be_left_out_and_is_stored(self, catalog):
        assert ask(catalog, "nenkin", "19-8/73/75.3", ("地方税", "住民票"), "131016").role == "納付義務者"

    def test_a_role_that_is_not_sole_must_be_stated(self, catalog):
        with pytest.raises(RequestError, match="role: expected one of 被扶養者, 届出者, got none"):
            ask(catalog, "mhlw", "19-8/1/3.1", "戸籍", "moj")

    def test_items_with_different_sole_roles_have_none_in_common(self, catalog):
        with pytest.raises(RequestError, match="role: expected one of"):
            ask(catalog, "nenkin", "19-8/73/75.3", ("地方税", "戸籍"), "131016")

    def test_a_stranger_is_told_the_roles_too(self, catalog):
        refused(ask(catalog, "portal", "19-8/73/75.3", "地方税", "131016"), Reason.REQUESTER)

    def test_an_item_that_is_not_listed_needs_no_role_to_be_refused(self, catalog):
        decision = refused(ask(catalog, "nenkin", "19-8/73/75.3", "医療給付", "131016"), Reason.ITEM)
        assert decision.role == ""

    @pytest.mark.parametrize("role", ["申請人", "", "納付義務者 ", 3])
    def test_a_role_that_nobody_knows(self, catalog, role):
        with pytest.raises(RequestError, match="role: expected one that the catalog knows"):
            ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", role)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"requester": "131017"}, "institution: expected the code of a connected body, got '131017'"),
        ({"requester": None}, "institution: .* got NoneType"),
        ({"procedure": "19-8/73/75"}, "procedure: .*did you mean"),
        ({"procedure": ["19-8/73/75.3"]}, "inquiry: expected text"),
        ({"provider": "999999"}, "institution: "),
    ],
)
def test_names_that_nobody_knows(catalog, fields, words):
    fields = {"requester": "nenkin", "procedure": "19-8/73/75.3", "items": "地方税", "provider": "131016"} | fields
    with pytest.raises(RequestError, match=words):
        ask(catalog, **fields)


@pytest.mark.parametrize("secret", ["0123456789abcdef0123456789abcdef", "12345678901", "1234-5678-9012", "\uff11" * 11])
def test_what_may_be_an_alias_or_a_resident_code_is_never_quoted(catalog, secret):
    for fields in (
        {"procedure": secret},
        {"role": secret},
        {"items": secret},
        {"requester": secret},
        {"provider": secret},
    ):
        fields = {"requester": "nenkin", "procedure": "19-8/73/75.3", "items": "地方税", "provider": "131016"} | fields
        with pytest.raises(RequestError) as error:
            ask(catalog, **fields)
        assert secret not in str(error.value)


def test_the_reference_date_never_changes_a_decision(catalog):
    for day in (None, dt.date(1990, 1, 1), dt.date(2026, 1, 1), dt.date(2050, 1, 1)):
        assert ask(catalog, "nenkin", "19-8/73/75.3", "地方税", "131016", reference_date=day).allowed
