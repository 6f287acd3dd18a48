"""The compiled decisions agree with a plain second reader of the files, one at a time and in bulk."""

from __future__ import annotations

import datetime as dt
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legal_oracle import Oracle, Question

from hub.authorise import authorise
from hub.catalog import Catalog
from hub.errors import RequestError
from hub.messages import REFUSALS, Inquiry, Reason, Status

COLUMNS = "basis,row,article,number,sub,requester,law,affair,procedure,provider,kind,detail,roles,valid_from,valid_to"
OWN_RULES = f"""{COLUMNS}
own,1,2,1,,市町村長,規則,助成,申請の審査,市町村長,地方税,市町村民税,申請者,2026-06-01,2026-09-30
own,1,2,1,,市町村長,規則,助成,申請の審査,市町村長,地方税,市町村民税,申請者;配偶者,2026-10-01,
own,1,2,1,ロ,市町村長,規則,助成,申請の審査,市町村長,地方税,市町村民税,申請者,2026-09-01,2026-11-30
own,1,2,1,,市町村長,規則,助成,申請の審査,市町村長,地方税,固定資産税,配偶者,,2026-12-31
own,1,2,1,,市町村長,規則,助成,申請の審査,都道府県知事,障害者関係,身体障害者手帳,申請者,,
own,1,2,1,,都道府県知事,規則,助成,申請の審査,法務大臣,戸籍,戸籍,申請者,2027-01-01,
own,1,2,1,,都道府県知事,規則,助成,申請の審査,日本年金機構,年金給付,年金給付,申請者,,
19-8,73,75,3,,厚生労働大臣,,,保険料の納付の処分,厚生労働大臣,雇用保険給付,雇用保険給付,納付義務者;配偶者,2026-12-01,
"""
ORDINANCE = f"""{COLUMNS},copies
19-9,1,2,1,,市町村長,条例,助成,申請の審査,市町村長,地方税,市町村民税,保護者;小慢児童等,2026-07-01,,19-8/13/15.1
19-9,1,2,1,,市町村長,条例,助成,申請の審査,市町村長,住民票,住民票,支給認定基準世帯員,,,19-8/13/15.1
19-9,1,2,1,,都道府県知事,条例,助成,申請の審査,市町村長,地方税,市町村民税,保護者,,2026-09-30,19-8/11/13.4
19-9,1,2,1,,市町村長,条例,助成,申請の審査,市町村長,住民票,住民票,保護者,2026-10-01,,19-8/11/13.4
19-9,1,2,1,ロ,市町村長,条例,助成,申請の審査,都道府県知事,障害者自立支援給付,自立支援給付の支給,保護者,,,19-8/144/146.1
"""
LIMITS = """institution,kind,valid_from,valid_to
131024,地方税,2026-09-30,2026-11-30
131016,*,2026-12-31,
131032,住民票,,
130001,無い種類,,
"""
ASSESSMENTS = """institution,row,side,published_on
131016,*,requester,2026-08-01
131024,73,both,2026-09-01
131024,own/1,both,2026-10-15
131024,19-9/1,both,2026-07-15
130001,*,both,
nenkin,73,requester,2026-07-01
"""
DELEGATIONS = """delegate,principal,law,article,rows,side,valid_from,valid_to
jlis,厚生労働大臣,法,1,58;73,both,2026-10-01,2026-11-30
"""

SHIPPED = Catalog.japan()
CHANGED = SHIPPED.import_table(OWN_RULES).import_table(ORDINANCE).import_table(ASSESSMENTS)
CHANGED = CHANGED.import_table(DELEGATIONS).import_table(LIMITS)
RULES = "\n".join([f"{COLUMNS},copies", *OWN_RULES.splitlines()[1:], *ORDINANCE.splitlines()[1:]])
ORACLES = {id(SHIPPED): Oracle(), id(CHANGED): Oracle(RULES, ASSESSMENTS, DELEGATIONS, LIMITS)}
STATUSES = {
    Reason.REQUESTER_ASSESSMENT: Status.DENIED_ASSESSMENT,
    Reason.PROVIDER_ASSESSMENT: Status.DENIED_ASSESSMENT,
    Reason.LIMITED: Status.DENIED_LIMITED,
    Reason.CONSENT: Status.DENIED_CONSENT,
}
REASONS_SEEN: set[str] = set()

DAYS = ["2026-06-25", "2026-06-26", "2026-07-15", "2026-09-30", "2026-10-01", "2026-11-24", "2026-12-31", "2027-01-01"]


def moment(day: str, second: int) -> dt.datetime:
    zone = dt.timezone(dt.timedelta(hours=9))
    return dt.datetime.fromisoformat(day).replace(tzinfo=zone) + dt.timedelta(seconds=second)


@st.composite
def questions(draw: st.DrawFn, catalog: Catalog):
    """Mostly questions that nearly fit; hypothesis takes what it varies from one random source per question."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    codes = sorted(catalog.codes)
    favourites = ["131016", "131024", "130001", "nenkin", "mhlw", "jlis", "341002", "moj", "130001-edu", "kkr"]
    procedures = list(catalog.procedure_ids)
    special = ["19-8/73/75.3", "19-8/58/60.1項2", "19-8/58/60.3項2", "19-8/98/100", "19-8/42/44.1", "19-8/144/146.1"]
    if catalog is CHANGED:
        special += ["own/1/2.1"] * 6 + ["19-9/1/2.1"] * 6
    procedure = catalog.procedure(chance.choice(special if chance.random() < 0.5 else procedures))

    def body(labels: tuple[str, ...]) -> str:
        fitting = [one.code for label in labels for one in catalog.institutions(label)]
        if fitting and chance.random() < 0.8:
            near = [code for code in fitting if code in favourites]
            return chance.choice(near if near and chance.random() < 0.5 else fitting)
        return chance.choice(favourites if chance.random() < 0.7 else codes)

    names = [*procedure.items, *procedure.kinds]
    items = list(dict.fromkeys(chance.choices(names, k=chance.choice([1, 1, 1, 2, 3]))))
    if chance.random() < 0.1:
        items.append(chance.choice(sorted(catalog.item_words)))
    if chance.random() < 0.03:
        items.append(chance.choice([*items, "無い項目"]))
    listed = [rule for rule in map(catalog.rule, procedure.rules) if items[0] in rule.items]
    roles = list(listed[0].roles) if listed and chance.random() < 0.8 else list(procedure.roles)
    role = chance.choice([*roles, *roles, None, chance.choice(sorted(catalog.role_words))])
    if chance.random() < 0.02:
        role = "無い役割"
    providers = tuple(rule.provider for rule in listed) or procedure.providers
    at = moment(chance.choice(DAYS), chance.choice([0, 0, 43200, 86399]))
    return body(procedure.requesters), procedure.id, items, role, body(providers), at, chance.random() < 0.5


def agree(catalog: Catalog, question: tuple) -> None:
    requester, procedure, items, role, provider, at, consent = question
    inquiry = Inquiry(
        requester=requester, procedure=procedure, items=items, role=role, section="課", request_id="1",
        reference_date=dt.date(1999, 1, 1),
    )  # fmt: skip
    try:
        expected = ORACLES[id(catalog)].ask(requester, procedure, items, role, provider, at.timestamp(), consent)
    except Question:
        with pytest.raises(RequestError):
            catalog.decide(inquiry, provider, at, consent=consent)
        return
    decision = catalog.decide(inquiry, provider, at, consent=consent)
    REASONS_SEEN.add(decision.reason.name)
    assert decision.reason.name == (expected["reason"] or "NONE")
    assert decision.allowed == (not expected["reason"])
    assert (decision.items, decision.role, decision.on_behalf_of) == (
        expected["items"], expected["role"], expected["on_behalf_of"],
    )  # fmt: skip
    assert (decision.rule, decision.rules) == (expected["rule"], expected["rules"])
    if decision.allowed:
        assert decision.nearest is None
    else:
        assert decision.nearest == catalog.rule(decision.rule)
        assert decision.status == STATUSES.get(decision.reason, Status.DENIED)
    assert decision.explanation

    providers = np.array([catalog.institution(code).number for code in ("mhlw", provider, requester)], dtype=np.uint32)
    for rows in (providers, providers[1:2]):
        row = len(rows) // 2
        # Other rows of the batch have the other answer: each goes by its own.
        consents = np.array([consent if at_row == row else not consent for at_row in range(len(rows))])
        decided = authorise(catalog, inquiry, rows, at, consents=consents)
        assert (decided.status[row], decided.rule[row], decided.reason[row]) == (
            decision.status, decision.rule, decision.reason,
        )  # fmt: skip
        assert (decided.items, decided.role, decided.on_behalf_of) == (
            decision.items, decision.role, decision.on_behalf_of,
        )  # fmt: skip
        alone = authorise(catalog, inquiry, rows[row : row + 1], at, consents=True if consent else None)
        assert alone.reason.tolist() == [decision.reason]
        assert decided.table.legal_basis[decided.decision[row]] == decision.legal_basis


@settings(max_examples=400, deadline=None)
@given(question=questions(SHIPPED))
def test_shipped_law_is_decided_as_the_plain_reader_decides_it(question):
    agree(SHIPPED, question)


@settings(max_examples=600, deadline=None)
@given(question=questions(CHANGED))
def test_dates_delegations_assessments_and_own_rules_are_decided_as_the_plain_reader_decides_them(question):
    agree(CHANGED, question)


def test_the_questions_above_meet_every_reason():
    chance = random.Random(7)
    for _ in range(1500):
        agree(CHANGED, _question(chance))
    # What the law says; a provider's refusals are its own, and only a push is refused as resting on none of its own.
    others = {*REFUSALS, Reason.NOT_LOADED, Reason.NOT_OWN}
    assert {reason.name for reason in Reason if reason not in others} <= REASONS_SEEN


def _question(chance: random.Random) -> tuple:
    """Questions around the changed rules, where the rarer reasons live."""
    requester = chance.choice(["131016", "131024", "131032", "130001", "nenkin", "jlis", "mhlw", "kkr"])
    procedure, items, roles = chance.choice(
        [
            ("own/1/2.1", ["市町村民税"], ["申請者", "配偶者"]),
            ("own/1/2.1", ["固定資産税"], ["配偶者"]),
            ("own/1/2.1", ["戸籍", "市町村民税"], ["申請者"]),
            ("own/1/2.1", ["医療給付"], ["申請者"]),
            ("19-9/1/2.1", ["地方税"], ["保護者", "小慢児童等"]),
            ("19-9/1/2.1", ["住民票", "市町村民税"], ["保護者"]),
            ("19-8/73/75.3", ["地方税"], ["納付義務者", "申請者"]),
            ("19-8/58/60.2項2", ["市町村民税"], ["申請等に係る者"]),
        ]
    )
    provider = chance.choice(["131016", "131024", "131032", "moj", "130001", "mhlw"])
    at = moment(chance.choice(DAYS), 0)
    return requester, procedure, items, chance.choice(roles), provider, at, chance.random() < 0.5


def test_every_line_of_the_order_can_be_asked_if_both_its_classes_have_a_body():
    """Each of the 3,311 rules, asked by its detail for its first role: the hub and the plain reader agree."""
    at = moment("2026-11-24", 0)
    allowed = 0
    for rule in SHIPPED.rules:
        requesters, providers = SHIPPED.institutions(rule.requester), SHIPPED.institutions(rule.provider)
        if not requesters or not providers:
            continue
        narrowing = SHIPPED.narrowed_to(rule.procedure)
        requester = next(body for body in requesters if narrowing is None or body.number in narrowing)
        provider = next((body for body in reversed(providers) if body is not requester), None)
        if provider is None:
            continue
        inquiry = Inquiry(
            requester=requester.code, procedure=rule.procedure, items=[rule.detail], role=rule.roles[0],
            section="課", request_id="1",
        )  # fmt: skip
        decision = SHIPPED.decide(inquiry, provider.code, at)
        assert decision.allowed, decision.explanation
        assert SHIPPED.rule(decision.rule).detail == rule.detail
        allowed += 1
    assert allowed > 3_000
