"""Law that changes: rules of one's own, dates, delegations, assessments; and what was decided stays decided."""

from __future__ import annotations

import datetime as dt

import pytest

from hub.catalog import Catalog
from hub.catalog.law import OWN_RULES_FROM
from hub.errors import CatalogError
from hub.messages import Inquiry, Reason, Status

HEADER = "basis,row,article,number,requester,procedure,provider,kind,detail,roles,valid_from,valid_to\n"
OWN = HEADER + (
    "own,1,1,1,市町村長,助成の申請の審査,市町村長,地方税,市町村民税,申請者,2026-08-01,2026-10-31\n"
    "own,1,1,2,市町村長,助成の変更の審査,市町村長,地方税,市町村民税,申請者,2027-04-01,\n"
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.japan().import_rules(OWN)


def ask(catalog, procedure, at, *, requester="131016", provider="131024", items=("地方税",), role="申請者", **fields):
    inquiry = Inquiry(
        requester=requester, procedure=procedure, items=items, role=role, section="課", request_id="1", **fields
    )
    return catalog.decide(inquiry, provider, dt.date.fromisoformat(at))


def test_a_rule_is_in_force_from_its_first_day_to_its_last(catalog):
    reasons = [
        ask(catalog, "own/1/1.1", day).reason for day in ("2026-07-31", "2026-08-01", "2026-10-31", "2026-11-01")
    ]
    assert reasons == [Reason.NOT_YET, Reason.NONE, Reason.NONE, Reason.EXPIRED]


def test_the_last_day_ends_at_midnight_in_japan(catalog):
    inquiry = Inquiry(
        requester="131016", procedure="own/1/1.1", items=("地方税",), role="申請者", section="課", request_id="1"
    )
    midnight = dt.datetime(2026, 10, 31, 15, tzinfo=dt.UTC)
    assert catalog.decide(inquiry, "131024", midnight - dt.timedelta(seconds=1)).allowed
    assert not catalog.decide(inquiry, "131024", midnight).allowed


def test_a_past_reference_date_does_not_revive_an_expired_rule(catalog):
    decision = ask(catalog, "own/1/1.1", "2026-11-24", reference_date=dt.date(2026, 9, 1))
    assert (decision.status, decision.reason) == (Status.DENIED, Reason.EXPIRED)
    assert "was in force until 2026-10-31" in decision.explanation


def test_a_future_reference_date_does_not_hasten_a_coming_rule(catalog):
    decision = ask(catalog, "own/1/1.2", "2026-11-24", reference_date=dt.date(2027, 6, 1))
    assert (decision.status, decision.reason) == (Status.DENIED, Reason.NOT_YET)
    assert "in force from 2027-04-01" in decision.explanation


def test_a_past_decision_is_replayed(catalog):
    then = ask(catalog, "own/1/1.1", "2026-10-01")
    assert then.allowed
    assert not ask(catalog, "own/1/1.1", "2026-11-24").allowed
    kept = Catalog.load(catalog.dump())
    assert ask(kept, "own/1/1.1", "2026-10-01") == then


def test_own_rules_are_numbered_apart_and_shown_as_such(catalog):
    rule = catalog.rule(OWN_RULES_FROM)
    assert (rule.basis, rule.procedure, rule.valid_to) == ("own", "own/1/1.1", dt.date(2026, 10, 31))
    assert "運営者の規則(法令ではない)" in rule.legal_basis
    assert "運営者の規則(法令ではない)" in ask(catalog, "own/1/1.1", "2026-10-01").legal_basis
    assert catalog.rules[:3311] == Catalog.japan().rules
    assert catalog.counts["procedures"] == 995
    assert not [problem for problem in catalog.problems() if problem.grave]


def test_the_same_file_again_changes_nothing(catalog):
    again = catalog.import_rules(OWN)
    assert again.digest == catalog.digest
    assert (again.imported.added, again.imported.unchanged) == (0, 2)


def test_an_amendment_ends_a_shipped_rule_and_begins_another():
    shipped = Catalog.japan()
    old = shipped.rule(1407)
    text = HEADER.replace("number,", "number,sub,") + (
        f"19-8,73,75,3,{old.sub},厚生労働大臣,{old.label},市町村長,地方税,市町村民税,納付義務者,2026-06-26,2027-03-31\n"
        f"19-8,73,75,3,{old.sub},厚生労働大臣,{old.label},市町村長,地方税,市町村民税,納付義務者;配偶者,2027-04-01,\n"
    )
    amended = shipped.import_rules(text)
    assert (amended.imported.added, amended.imported.updated) == (1, 1)
    assert amended.rule(1407).valid_to == dt.date(2027, 3, 31)
    for day, role, rule in [
        ("2027-03-31", "納付義務者", 1407),
        ("2027-04-01", "納付義務者", OWN_RULES_FROM),
        ("2027-04-01", "配偶者", OWN_RULES_FROM),
    ]:
        decision = ask(amended, "19-8/73/75.3", day, requester="nenkin", provider="131016", role=role)
        assert (decision.allowed, decision.rule) == (True, rule)
    assert not ask(amended, "19-8/73/75.3", "2027-03-31", requester="nenkin", provider="131016", role="配偶者").allowed
    # Left out, the role is looked for among the rules in force: one before the amendment, two after it.
    assert ask(amended, "19-8/73/75.3", "2027-03-31", requester="nenkin", provider="131016", role=None).allowed


def test_a_kind_covers_only_details_in_force():
    text = HEADER + (
        "own,2,1,,市町村長,調査,市町村長,地方税,市町村民税,申請者,,2026-12-31\n"
        "own,2,1,,市町村長,調査,市町村長,地方税,固定資産税,申請者,,\n"
    )
    catalog = Catalog.japan().import_rules(text)
    assert ask(catalog, "own/2/1", "2026-12-31").items == ("市町村民税", "固定資産税")
    later = ask(catalog, "own/2/1", "2027-01-01")
    assert (later.allowed, later.items) == (True, ("固定資産税",))
    assert ask(catalog, "own/2/1", "2027-01-01", items=("市町村民税",)).reason is Reason.EXPIRED


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x,1,1,1,市町村長,p,市町村長,地方税,d,申請者,,", "line 2: basis: expected one of 19-8"),
        ("own,,1,1,市町村長,p,市町村長,地方税,d,申請者,,", "row: expected 1 to 20"),
        ("own,1/2,1,1,市町村長,p,市町村長,地方税,d,申請者,,", "row: expected 1 to 20"),
        ("own,1,1.2,1,市町村長,p,市町村長,地方税,d,申請者,,", "article: expected 1 to 20"),
        ("own,1,1,a/b,市町村長,p,市町村長,地方税,d,申請者,,", "number: expected at most 20"),
        ("own,1,1,1,,p,市町村長,地方税,d,申請者,,", "requester: expected a value"),
        ("own,1,1,1,市町村長,p,市町村長,地方税,d,,,", "roles: expected names"),
        ("own,1,1,1,市町村長,p,市町村長,地方税,d,申請者;申請者,,", "roles: expected names"),
        ("own,1,1,1,市町村長,p,市町村長,地方税,d,申請者,2026-13-01,", "date: expected YYYY-MM-DD"),
        ("own,1,1,1,市町村長,p,市町村長,地方税,d,申請者,令和8年,", "date: expected YYYY-MM-DD"),
        ("own,1,1,1,市町村長,p,市町村長,地方税,d,申請者,2026-12-01,2026-11-30", "valid_to: expected a day from"),
        ("own,1,1,1,市町村長,p,市町村長,地方税," + "d" * 401 + ",申請者,,", "field: expected at most 400"),
    ],
)
def test_a_broken_rule_is_named(line, words):
    with pytest.raises(CatalogError, match=words):
        Catalog.japan().import_rules(HEADER + line + "\n")


def test_a_rule_of_400_characters_and_a_day_as_spreadsheets_write_it_are_accepted():
    line = "own,1,1,1,市町村長,p,市町村長,地方税," + "d" * 400 + ",申請者,2026/4/1,\n"
    assert Catalog.japan().import_rules(HEADER + line).rule(OWN_RULES_FROM).valid_from == dt.date(2026, 4, 1)


def test_a_class_string_that_nobody_placed_is_a_grave_problem_and_lets_nobody_ask():
    text = HEADER + "own,1,1,1,町内会長,p,市町村長,地方税,市町村民税,申請者,,\n"
    catalog = Catalog.japan().import_rules(text)
    grave = [problem.text for problem in catalog.problems() if problem.grave]
    assert len(grave) == 1
    assert grave[0].startswith("class 町内会長 (requester of row own/1)")
    assert ask(catalog, "own/1/1.1", "2026-11-24").reason is Reason.REQUESTER
    placed = catalog.import_table("label,members\n町内会長,form:特別区\n")
    assert not [problem for problem in placed.problems() if problem.grave]
    assert ask(placed, "own/1/1.1", "2026-11-24").allowed
    assert "町内会長" in placed.institution("131016").classes


class TestDelegations:
    TEXT = (
        "delegate,principal,law,article,rows,side,valid_from,valid_to\n"
        "jlis,厚生労働大臣,例示法,9,58;79,requester,2026-10-01,2026-10-31\n"
    )

    @pytest.fixture
    def delegated(self) -> Catalog:
        return Catalog.japan().import_table(self.TEXT)

    def test_a_delegate_asks_in_the_rows_and_days_of_its_delegation(self, delegated):
        def reason(procedure: str, day: str) -> Reason:
            return ask(delegated, procedure, day, requester="jlis", provider="moj", items=("戸籍",)).reason

        assert reason("19-8/79/81.1", "2026-10-01") is Reason.NONE
        assert reason("19-8/79/81.1", "2026-10-31") is Reason.NONE
        assert reason("19-8/79/81.1", "2026-09-30") is Reason.REQUESTER
        assert reason("19-8/79/81.1", "2026-11-01") is Reason.REQUESTER
        assert reason("19-8/30/32.1", "2026-10-15") is Reason.REQUESTER

    def test_a_delegate_is_narrowed_as_its_principal_is(self, delegated):
        for paragraph, reason in ((1, Reason.NONE), (2, Reason.NARROWED)):
            decision = ask(
                delegated, f"19-8/58/60.{paragraph}項2", "2026-10-15", requester="jlis", provider="131016",
                items=("市町村民税",), role="申請等に係る者",
            )  # fmt: skip
            assert decision.reason is reason
            assert decision.on_behalf_of == "厚生労働大臣"

    def test_the_pension_agency_is_a_delegate_in_three_rows(self):
        rows = {p.row for p in Catalog.japan().procedures(requester="nenkin")}
        assert rows == {"72", "73", "74"}

    def test_a_delegate_may_provide(self):
        text = self.TEXT.replace("58;79,requester", "73,provider").replace("厚生労働大臣", "市町村長")
        catalog = Catalog.japan().import_table(text)
        rule = next(rule for rule in catalog.rules if rule.row == "73" and rule.provider == "市町村長")
        for day, reason in (("2026-10-15", Reason.NONE), ("2026-11-15", Reason.PROVIDER)):
            decision = ask(
                catalog,
                rule.procedure,
                day,
                requester="mhlw",
                provider="jlis",
                items=(rule.detail,),
                role=rule.roles[0],
            )
            assert decision.reason is reason

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("jlis,厚生労働大臣,法,1,73,asker,,", "side: expected one of requester, provider, both"),
            ("jlis,厚生労働大臣,法,1,,requester,,", "rows: expected names"),
            ("jlis,,法,1,73,requester,,", "principal: expected a value"),
        ],
    )
    def test_broken_ones_are_named(self, line, words):
        with pytest.raises(CatalogError, match=words):
            Catalog.japan().import_table(self.TEXT.splitlines()[0] + "\n" + line + "\n")


class TestAssessments:
    HEADER = "institution,row,side,published_on\n"

    def decide(self, lines: str, day: str = "2026-11-24", provider: str = "131016"):
        catalog = Catalog.japan().import_table(self.HEADER + lines)
        return ask(catalog, "19-8/73/75.3", day, requester="nenkin", provider=provider, role="納付義務者")

    def test_without_the_requesters_nothing_is_asked(self):
        decision = self.decide("nenkin,*,both,\n")
        assert (decision.status, decision.reason) == (Status.DENIED_ASSESSMENT, Reason.REQUESTER_ASSESSMENT)

    def test_without_the_providers_only_it_is_not_asked(self):
        decision = self.decide("131016,*,both,\n")
        assert (decision.status, decision.reason) == (Status.DENIED_ASSESSMENT, Reason.PROVIDER_ASSESSMENT)
        assert self.decide("131016,*,both,\n", provider="131024").allowed

    def test_an_assessment_counts_from_its_day(self):
        assert not self.decide("131016,*,both,2026-11-25\n").allowed
        assert self.decide("131016,*,both,2026-11-24\n").allowed

    def test_an_assessment_counts_for_its_row_and_side(self):
        assert self.decide("131016,73,provider,2026-11-01\n").allowed
        assert not self.decide("131016,72,provider,2026-11-01\n").allowed
        assert not self.decide("131016,73,requester,2026-11-01\n").allowed

    def test_the_star_can_be_taken_away(self):
        assert self.decide("*,*,both,\n").reason is Reason.REQUESTER_ASSESSMENT
        assert self.decide("*,*,both,\nnenkin,*,both,2026-01-01\n").reason is Reason.PROVIDER_ASSESSMENT

    def test_a_denial_comes_before_a_missing_assessment(self):
        assert self.decide("130001,*,both,\n", provider="130001").reason is Reason.PROVIDER


def test_a_file_is_known_by_its_columns():
    with pytest.raises(CatalogError, match="expected the columns of institutions, rules"):
        Catalog.japan().import_table("a,b\n1,2\n")
    with pytest.raises(CatalogError, match="table: expected one of"):
        Catalog.japan().import_table("a,b\n1,2\n", "laws")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,members\n甲,class:甲\n", "no class within itself"),
        ("label,members\n甲,class:乙\n", "expected a class of the table, got 乙"),
        ("label,members\n甲,kind:town\n", "kind: expected one of"),
        ("label,members\n甲,市町村長\n", "members: expected parts like code:"),
        ("label,members\n,code:mhlw\n", "label: expected"),
        ("list,institution\n甲,\n", "list, institution: expected both"),
        ("list,institution,member\n甲,mhlw,yes\n", "member: expected one of 0, 1"),
        ("institution,row,side,published_on\nmhlw,73/1,both,\n", "row: expected a row like"),
        ("procedure,members\n,code:mhlw\n", "procedure: expected an id"),
    ],
)
def test_broken_tables_are_named(text, words):
    with pytest.raises(CatalogError, match=words):
        Catalog.japan().import_table(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("procedure,members\n19-8/1/9,code:mhlw\n", "no procedure"),
        ("procedure,members\n19-8/1/3.1,code:nenkin\n", "bodies that its row does not name"),
        (
            "delegate,principal,law,article,rows,side\nnenkin,厚生労働大臣,法,1,999,requester\n",
            "there is no row 19-8/999",
        ),
        (
            "delegate,principal,law,article,rows,side\nnenkin,厚生労働大臣,法,1,2,requester\n",
            "does not name the principal",
        ),
        ("delegate,principal,law,article,rows,side\nnenkin,大臣,法,1,1,requester\n", "no class of classes.csv"),
        ("institution,row,side,published_on\nmhlw,999,both,\n", "there is no row 19-8/999"),
        ("list,institution\n何か,mhlw\n", "no class uses the list 何か"),
    ],
)
def test_contradictions_are_grave_problems(text, words):
    grave = [problem.text for problem in Catalog.japan().import_table(text).problems() if problem.grave]
    assert len(grave) == 1
    assert words in grave[0]


@pytest.mark.parametrize(
    "text",
    [
        "list,institution\n福祉事務所設置町村,203831\n",
        "delegate,principal,law,article,rows,side\nabsent,厚生労働大臣,法,1,1,requester\n",
        "institution,row,side,published_on\nabsent,*,both,\n",
        "procedure,members\n19-8/1/3.1,code:absent\n",
    ],
)
def test_what_is_not_connected_yet_is_a_note(text):
    before, after = (c.problems() for c in (Catalog.japan(), Catalog.japan().import_table(text)))
    assert len(after) == len(before) + 1
    assert not any(problem.grave for problem in after)
