"""Acting in the portal: notices, corrections, proxies; a renewed card; each a world of its own."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from portalworld import PortalWorld, fill, text_of, token_of
from served import Network
from test_portal_history import records_of

import hub
from hub.portal.citizens import citizen_of
from hub.portal.config import Link
from hub.portal.reading import address_of
from parties import Parties

CHILD, GROWN = "2014-02-28", "1980-02-29"


@pytest.fixture
def acting(tmp_path: Path, network: Network) -> Iterator[PortalWorld]:
    with Parties(tmp_path / "hub") as parties:
        fill(parties, 0)
        made = PortalWorld(tmp_path, network, parties, claims={3: {"birthdate": GROWN}, 4: {"birthdate": CHILD}})
        yield made
        made.stop()


def form_of(page: str, action: str) -> dict[str, str]:
    """The hidden fields of a form."""
    form = re.search(rf'(?s)<form[^>]*action="{re.escape(action)}".*?</form>', page)
    assert form is not None, action
    return {name: html.unescape(value)
            for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0])}  # fmt: skip


def number_of(browser, world: PortalWorld) -> str:  # type: ignore[no-untyped-def]
    page = world.post(browser, "/proxies", "/proxies/number").text
    found = re.search(r'class="code">([\d ]+)<', page)
    assert found is not None
    return found[1]


def test_a_correction_is_asked_for_answered_and_both_are_recorded(acting: PortalWorld) -> None:
    parties = acting.parties
    record = records_of(acting, 0)[-1]
    at = address_of(record)
    with acting.signed_in(0) as browser:
        fields = form_of(browser.get(f"/record/{at}").text, f"/record/{at}/correction")
        send = {**fields, "text": "住所が違います\n<b>確認を</b>", "institution": "nenkin"}
        for _ in range(2):
            answer = browser.post(f"/record/{at}/correction", data=send)
            assert (answer.status_code, answer.headers["location"]) == (303, "/tickets?done=asked")
        asked = [one for one in records_of(acting, 0) if one.kind == hub.Kind.CORRECTION_ASKED]
        # The same form sent twice is one ticket.
        assert [one.remark for one in asked] == ["住所が違います <b>確認を</b>"]
        (notice,) = [one for one in parties.h.corrections("nenkin") if one.kind == hub.Kind.CORRECTION_ASKED]
        parties.h.correct(notice.handle, "調べて改めました", "国民年金部", institution="nenkin")
        page = browser.get("/tickets").text
        assert "&lt;b&gt;確認を&lt;/b&gt;" in page
        text = text_of(page)
        for words in (f"受付番号 {asked[0].index}", "調べて改めました", "訂正されました。"):
            assert words in text
        assert "訂正の求めあり" in text_of(browser.get("/history").text)


def test_a_correction_that_does_not_fit_changes_nothing(acting: PortalWorld) -> None:
    at = address_of(records_of(acting, 0)[-1])
    before = len(records_of(acting, 0))
    with acting.signed_in(0) as browser:
        fields = form_of(browser.get(f"/record/{at}").text, f"/record/{at}/correction")
        fitting = {**fields, "text": "違います", "institution": "nenkin"}
        changes = ({"text": ""}, {"text": " \n"}, {"text": "あ" * 2_001}, {"disclosed": "00" * 32},
                   {"institution": "131016"})  # fmt: skip
        for change in changes:
            assert browser.post(f"/record/{at}/correction", data={**fitting, **change}).status_code == 400
        assert len(records_of(acting, 0)) == before
        longest = {**fitting, "text": "あ" * 2_000}
        assert browser.post(f"/record/{at}/correction", data=longest).status_code == 303
    assert len(records_of(acting, 0)) == before + 1


def test_nobody_asks_for_the_correction_of_anothers_record(acting: PortalWorld) -> None:
    at = address_of(records_of(acting, 0)[-1])
    with acting.signed_in(1) as browser:
        token = token_of(browser.get("/history").text)
        for one in (at, at + "0", "x"):
            answer = browser.post(f"/record/{one}/correction", data={"csrf": token, "text": "x", "disclosed": "x"})
            assert answer.status_code == 404
        assert "訂正の求めはありません" in text_of(browser.get("/tickets").text)


def test_a_notice_is_unread_until_it_is_opened(acting: PortalWorld) -> None:
    parties = acting.parties
    notice = hub.Notice(institution=parties.town, subject="乳児健診のお知らせ", section="こども課", request_id="n-1")
    parties.h.notify(notice, np.ascontiguousarray(parties.known[:1]), b"3\xe6\x9c\x88\n<script>")
    with acting.signed_in(0) as mine, acting.signed_in(1) as other:
        page = mine.get("/notices").text
        assert text_of(page).count("未読") == 1
        (at,) = re.findall(r'href="/notices/([\d-]+)"', page)
        opened = mine.get(f"/notices/{at}").text
        assert "乳児健診のお知らせ" in opened
        assert "&lt;script&gt;" in opened
        assert "未読" not in text_of(mine.get("/notices").text)
        assert mine.post(f"/notices/{at}/unread", data={"csrf": token_of(opened)}).status_code == 303
        assert "未読" in text_of(mine.get("/notices").text)
        assert other.get(f"/notices/{at}").status_code == 404
        assert "お知らせはありません" in text_of(other.get("/notices").text)
        assert "乳児健診のお知らせ" in text_of(mine.get("/history").text)


def grant(world: PortalWorld, person, agent, **changes: str):  # type: ignore[no-untyped-def]
    """The person lets the agent read for them, with the agent's number."""
    number = changes.get("number") or number_of(agent, world)
    fields = {"number": number, "label": "母", "called": "花子", "kind": "voluntary", "until": ""}
    return world.post(person, "/proxies", "/proxies/grant", **{**fields, **changes})


def test_a_proxy_reads_what_is_recorded_and_after_the_revocation_meets_the_sign_in_page(acting: PortalWorld) -> None:
    with acting.signed_in(0) as child, acting.signed_in(1) as mother:
        assert grant(acting, child, mother).headers["location"] == "/proxies?done=granted"
        (base,) = re.findall(r'href="(/for/[0-9a-f]+)/history"', mother.get("/proxies").text)
        page = mother.get(f"{base}/history")
        assert page.status_code == 200
        assert "花子さんの履歴" in text_of(page.text)
        assert "日本年金機構が" in text_of(page.text)
        (first, *_) = re.findall(rf'href="({base}/record/[\d-]+)"', page.text)
        assert mother.get(first).status_code == 200
        assert mother.get(first + "0").status_code == 404
        assert mother.get(f"{base}/history?cursor={'0' * 32}").status_code == 404
        # Her own pages do not find the child's record, and a name is good in its session alone.
        assert mother.get(first.removeprefix(base)).status_code == 404
        with acting.signed_in(1) as elsewhere:
            assert elsewhere.get(f"{base}/history").headers["location"] == "/signin"
        seen = text_of(child.get("/history").text)
        assert "あなたの代理人が、あなたの履歴を見ました（任意代理人）。 母" in seen
        (revoke,) = re.findall(r'action="(/proxies/[0-9a-f]+/revoke)"', child.get("/proxies").text)
        assert acting.post(child, "/proxies", revoke).headers["location"] == "/proxies?done=revoked"
        cookie = mother.cookies["__Host-session"]
        answer = mother.get(f"{base}/history")
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
        assert mother.get("/history", headers={"Cookie": f"__Host-session={cookie}"}).status_code == 303
        assert mother.get("/history").headers["location"] == "/signin"
        with acting.browser() as fresh:
            assert mother.get("/signin").text == fresh.get("/signin").text
    with acting.signed_in(1) as mother:
        assert "/for/" not in mother.get("/proxies").text


def test_what_a_signed_out_browser_and_a_revoked_agent_meet_is_alike(acting: PortalWorld) -> None:
    with acting.signed_in(1) as agent, acting.browser() as nobody:
        answers = [one.get("/for/0123456789abcdef01234567/history") for one in (agent, nobody)]
    assert answers[0].status_code == answers[1].status_code == 303
    assert answers[0].headers["location"] == answers[1].headers["location"] == "/signin"
    assert answers[0].headers.get_list("set-cookie") == answers[1].headers.get_list("set-cookie")


def test_a_number_is_good_once_for_minutes_and_not_for_oneself(acting: PortalWorld) -> None:
    with acting.signed_in(0) as person, acting.signed_in(1) as agent, acting.signed_in(2) as third:
        number = number_of(agent, acting)
        assert grant(acting, agent, agent, number=number).status_code == 400
        assert grant(acting, person, third, number=number).status_code == 303
        assert grant(acting, person, third, number=number).status_code == 400
        number = number_of(agent, acting)
        acting.parties.clock.now += 601
        assert grant(acting, person, third, number=number).status_code == 400


def test_who_guesses_numbers_is_stopped(acting: PortalWorld) -> None:
    with acting.signed_in(0) as person, acting.signed_in(1) as agent:
        number = number_of(agent, acting)
        for guess in range(5):
            assert grant(acting, person, agent, number=f"{guess:010}").status_code == 400
        assert grant(acting, person, agent).status_code == 400
        acting.parties.clock.now += 601
        assert number_of(agent, acting) != number
        assert grant(acting, person, agent).status_code == 303


def test_a_proxy_that_does_not_fit_is_not_granted(acting: PortalWorld) -> None:
    with acting.signed_in(0) as person, acting.signed_in(1) as agent:
        for change in ({"label": ""}, {"called": "x" * 51}, {"kind": "king"}, {"until": "soon"}):
            assert grant(acting, person, agent, **change).status_code == 400
        assert len(acting.parties.h.proxies(acting.parties.portal[0])) == 0
        assert grant(acting, person, agent, called="x" * 50).status_code == 303


def test_an_agent_can_resign(acting: PortalWorld) -> None:
    with acting.signed_in(0) as person, acting.signed_in(1) as agent:
        grant(acting, person, agent)
        (action,) = re.findall(r'action="(/for/[0-9a-f]+/resign)"', agent.get("/proxies").text)
        assert acting.post(agent, "/proxies", action).status_code == 303
        assert "代理人はいません" in text_of(person.get("/proxies").text)


def test_a_proxy_name_of_another_is_not_found(acting: PortalWorld) -> None:
    with acting.signed_in(0) as person, acting.signed_in(1) as agent:
        grant(acting, person, agent)
        (action,) = re.findall(r'action="(/proxies/[0-9a-f]+/revoke)"', person.get("/proxies").text)
        assert acting.post(agent, "/proxies", action).status_code == 404
        assert len(acting.parties.h.proxies(acting.parties.portal[0])) == 1


def test_a_child_has_a_parent_as_a_proxy_by_law_until_the_fifteenth_birthday(acting: PortalWorld) -> None:
    birthday, clock, h = dt.date(2029, 2, 28), acting.parties.clock, acting.parties.h
    with acting.signed_in(4) as child, acting.signed_in(1) as mother:
        page = text_of(child.get("/proxies").text)
        assert "2029年2月28日(水)（15歳の誕生日）に自動で終わります" in page
        # By the child's own word it would not end, and a later day is not theirs to say.
        refused = grant(acting, child, mother, kind="voluntary")
        assert (refused.status_code, "15歳未満の人の代理人は、法定代理人だけです" in refused.text) == (400, True)
        assert grant(acting, child, mother, kind="statutory", until="2040-01-01").status_code == 303
        (proxy,) = h.proxies(acting.parties.portal[4])
        assert (proxy.kind, proxy.until) == (hub.ProxyKind.STATUTORY, birthday)
        assert grant(acting, child, mother, kind="statutory", until="2028-04-01").status_code == 303
        assert [one.until for one in h.proxies(acting.parties.portal[4])] == [dt.date(2028, 4, 1)]
        assert grant(acting, child, mother, kind="statutory").status_code == 303
    clock.now = int(dt.datetime(2029, 2, 27, 14, 59, 59, tzinfo=dt.UTC).timestamp())
    with acting.signed_in(1) as mother:
        (base,) = re.findall(r'href="(/for/[0-9a-f]+)/history"', mother.get("/proxies").text)
        assert mother.get(f"{base}/history").status_code == 200
        clock.now += 1
        answer = mother.get(f"{base}/history")
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    with acting.signed_in(4) as child, acting.signed_in(1) as mother:
        # Fifteen now: a proxy is by their own word.
        assert "自分で頼む人（任意代理人）を登録します" in text_of(child.get("/proxies").text)
        assert grant(acting, child, mother, kind="statutory").status_code == 400
        assert grant(acting, child, mother).status_code == 303


def test_nobody_but_a_child_under_fifteen_has_a_proxy_by_law(acting: PortalWorld) -> None:
    with acting.signed_in(1) as agent:
        # Of the first the sign-in says no birth date, the second is grown up.
        for person in (0, 3):
            with acting.signed_in(person) as browser:
                answer = grant(acting, browser, agent, kind="statutory")
                assert (answer.status_code, "15歳未満の子が" in answer.text) == (400, True)
                assert acting.parties.h.proxies(acting.parties.portal[person]) == []


@pytest.mark.parametrize(
    ("said", "day"),
    [("2012-02-29", dt.date(2027, 3, 1)), ("2012-12-31", dt.date(2027, 12, 31)), ("0000-04-02", None), ("2012", None),
     ("20120229", None), ("2012-02-30", None), ("9999-01-01", None), (20120229, None), (None, None), ("", None)],
    ids=str,
)  # fmt: skip
def test_the_day_on_which_somebody_turns_fifteen_is_read_from_the_sign_in_or_not_known(
    said: object, day: dt.date | None
) -> None:
    assert citizen_of({"birthdate": said}, "birthdate").fifteen == day
    assert citizen_of({"birthdate": said}, None).fifteen is None


def test_who_asks_for_the_first_time_in_all_the_years_is_pointed_out_and_who_asked_long_ago_is_not(
    acting: PortalWorld,
) -> None:
    parties, h = acting.parties, acting.parties.h
    parties.clock.now += 700 * 86_400
    fill(parties, 0, name="again")
    allowance = hub.Inquiry(
        requester=parties.town, procedure="19-8/106/108.1", items=("市町村民税",), role="一般受給資格者",
        section="こども家庭課", request_id="new",
    )  # fmt: skip
    h.inquire(allowance, np.ascontiguousarray(parties.known[:1]), parties.other_town)
    parties.clock.now += 60

    def new_ones() -> list[str]:
        with acting.signed_in(0) as browser:
            page = browser.get("/year").text
        return re.findall(r'<a href="/history\?institution=(\w+)">', page)

    assert new_ones() == [parties.town], "nenkin asked nearly two years ago"


NAMESPACES = "namespace,name,issuer,relying,following\njpki,発行番号,jlis,portal,portal\n"


def test_who_signs_in_with_a_card_is_found_by_it_and_a_renewed_card_lets_proxies_rest(
    tmp_path: Path, network: Network
) -> None:
    with Parties(tmp_path / "hub") as parties:
        parties.h.load_catalog(parties.h.catalog.import_table(NAMESPACES.encode(), "namespaces"))
        parties.h.register_identifiers("jpki", "jlis", parties.codes[:2], ["SERIAL-A", "SERIAL-B"])
        fill(parties, 0)
        claims: dict[int, dict[str, object]] = {n: {"serial": f"SERIAL-{'ABC'[n]}"} for n in range(3)}
        world = PortalWorld(tmp_path, network, parties, link=Link("serial", "jpki"), claims=claims)
        try:
            with world.signed_in(0) as person, world.signed_in(1) as agent:
                assert "日本年金機構が" in text_of(person.get("/history").text)
                grant(world, person, agent)
            with world.browser() as unknown:
                assert unknown.get(world.back(world.way(unknown), "sub-2")).status_code == 403
            parties.h.renew_identifiers("jpki", "jlis", ["SERIAL-A"], ["SERIAL-D"])
            with world.browser() as browser:
                # The card they had is not theirs any more once another stands in its place at the hub; the portal
                # knows them by what they signed in with before.
                assert browser.get(world.back(world.way(browser), "sub-0")).status_code == 303
            world.provider.users[0].claims["serial"] = "SERIAL-D"
            with world.signed_in(0) as person:
                page = person.get("/proxies").text
                assert "カードが新しくなったため" in text_of(page)
                assert world.post(person, "/proxies", "/proxies/confirm").status_code == 303
                assert "カードが新しくなったため" not in text_of(person.get("/proxies").text)
            world.provider.users[0].claims["serial"] = "SERIAL-B"
            with world.browser() as browser:
                assert browser.get(world.back(world.way(browser), "sub-0")).status_code == 403
        finally:
            world.stop()
