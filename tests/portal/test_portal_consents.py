"""My consents: seen as the records say, withdrawn with effect on the next inquiry, given again; nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from portalworld import PortalWorld, text_of, token_of
from served import Network
from test_portal_history import records_of

import hub
from hub.messages import Kind, Status
from parties import REVIEW, Parties

RULES = """basis,row,article,number,requester,law,affair,procedure,provider,kind,detail,roles,copies
19-9,1,2,1,市町村長,子ども医療費助成条例,医療費の助成,子ども医療費助成の申請の審査,市町村長,地方税,市町村民税,保護者,19-8/11/13.4
"""
PROCEDURE = "19-9/1/2.1"


@pytest.fixture
def asked(tmp_path: Path, network: Network) -> Iterator[PortalWorld]:
    with Parties(tmp_path / "hub") as parties:
        parties.h.load_catalog(parties.h.catalog.import_rules(RULES.encode()))
        parties.h.acquire(parties.other_town, parties.codes)
        made = PortalWorld(tmp_path, network, parties)
        yield made
        made.stop()


def ask(world: PortalWorld, request_id: str, persons: list[int]) -> list[int]:
    """The town asks another one for an affair of its ordinance, and says that these consented."""
    parties = world.parties
    inquiry = hub.Inquiry(
        requester=parties.town, procedure=PROCEDURE, items=("地方税",), role="保護者", section="課",
        request_id=request_id,
    )  # fmt: skip
    aliases = np.ascontiguousarray(parties.known[persons])
    return parties.h.inquire(inquiry, aliases, parties.other_town, consents=True).status.tolist()


def test_a_consent_is_seen_withdrawn_and_given_again(asked: PortalWorld) -> None:
    parties = asked.parties
    assert ask(asked, "a", [0, 1]) == [Status.OK] * 2
    name = parties.h.catalog.name_of(parties.town)
    fields = {"institution": parties.town, "procedure": PROCEDURE}
    with asked.signed_in(0) as browser:
        page = text_of(browser.get("/consents").text)
        for words in (name, "子ども医療費助成の申請の審査", "市町村民税", "2026年11月25日"):
            assert words in page
        sent = asked.post(browser, "/consents", "/consents/withdraw", **fields)
        assert sent.headers["location"] == "/consents?done=withdrawn"
        assert "取り消し済み" in text_of(browser.get("/consents").text)
        assert ask(asked, "b", [0, 1]) == [Status.DENIED_CONSENT, Status.OK]
        history = text_of(browser.get("/history").text)
        assert "あなたが、地方税の照会についての同意を取り消しました。" in history
        assert f"{name}（{parties.town}）" in history
        assert "あなたの同意がないため、認められませんでした。" in history
        parties.clock.now += 60
        # Twice is once.
        for _ in range(2):
            sent = asked.post(browser, "/consents", "/consents/give", **fields)
            assert sent.headers["location"] == "/consents?done=given"
        assert ask(asked, "c", [0]) == [Status.OK]
    kinds = [one.kind for one in records_of(asked, 0)]
    assert kinds.count(Kind.CONSENT_WITHDRAWN) == kinds.count(Kind.CONSENT_GIVEN) == 1
    with asked.signed_in(1) as browser:
        assert "取り消し済み" not in browser.get("/consents").text


def test_what_is_not_in_the_list_cannot_be_withdrawn(asked: PortalWorld) -> None:
    parties = asked.parties
    ask(asked, "a", [0])
    before = parties.h.checkpoint()
    with asked.signed_in(1) as browser:
        assert "同意を得たとする照会はありません" in text_of(browser.get("/consents").text)
        for what, fields in (
            ("withdraw", {"institution": parties.town, "procedure": PROCEDURE}), ("give", {}), ("nothing", {}),
            ("withdraw", {"institution": "x", "procedure": "y"}),
        ):  # fmt: skip
            token = token_of(browser.get("/consents").text)
            assert browser.post(f"/consents/{what}", data={"csrf": token, **fields}).status_code == 404
        assert browser.post("/consents/withdraw", data={}).status_code == 403
    with asked.browser() as nobody:
        assert nobody.get("/consents").headers["location"] == "/signin"
    assert parties.h.checkpoint() == before


def test_a_question_that_is_withheld_shows_in_no_list_of_consents(asked: PortalWorld) -> None:
    ask(asked, "a", [0])
    asked.parties.h.withhold(("a", 0), "ground", REVIEW, institution=asked.parties.town)
    with asked.signed_in(0) as first, asked.signed_in(2) as never:
        pages = [browser.get("/consents").text for browser in (first, never)]
        assert len(pages[0]) == len(pages[1])
        assert all("同意を得たとする照会はありません" in text_of(page) for page in pages)


def test_what_was_refused_or_needs_no_consent_is_none(asked: PortalWorld) -> None:
    parties = asked.parties
    parties.ask("tax", [0])
    inquiry = hub.Inquiry(
        requester=parties.town, procedure=PROCEDURE, items=("地方税",), role="保護者", section="課", request_id="no",
    )  # fmt: skip
    answer = parties.h.inquire(inquiry, np.ascontiguousarray(parties.known[:1]), parties.other_town)
    assert answer.status.tolist() == [Status.DENIED_CONSENT]
    with asked.signed_in(0) as browser:
        assert "同意を得たとする照会はありません" in text_of(browser.get("/consents").text)
