"""The history: everything that is the reader's, in words, and nothing of anybody else."""

from __future__ import annotations

import re

import pytest
from portalworld import PortalWorld, text_of

import hub
from hub.portal.hubside import HubAwayError
from hub.portal.reading import address_of


def records_of(world: PortalWorld, person: int) -> list[hub.Record]:
    found, cursor = [], None
    while True:
        page = world.parties.h.history(world.parties.portal[person], cursor=cursor)
        found += page.records
        cursor = page.cursor
        if cursor is None:
            return found


def shown_on(page: str) -> set[str]:
    """Addresses of the records on a page."""
    return set(re.findall(r'href="/record/(\d+-\d+)"', page))


def test_an_inquiry_and_its_answer_are_one_story_with_the_article_of_law(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        text = text_of(browser.get("/history").text)
    assert "「給付の支給・保険料の納付処分・徴収」（国民年金法）の事務のため" in text
    assert "市町村民税を照会しました（あなたの立場：納付義務者）" in text
    assert "市町村民税を提供しました" in text
    assert "番号法19条8号・主務省令2条の表73の項・75条3号" in text
    assert text.count("を照会しました") == 3


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The Japan Pension Service asked 北海道札幌市 for your local tax (amount and the income behind it), to "
               "pay the national pension and collect its contributions (you as: person liable to contribute)."),
        ("easy", "日本年金機構(年金の役所)が、北海道札幌市に、あなたの税金のこと(住民税の額や所得)を聞きました。"
                 "国民年金を払う、保険料を集めるためです。"),
    ],
)  # fmt: skip
def test_the_same_in_other_words(world: PortalWorld, language: str, sentence: str) -> None:
    town = world.parties.h.catalog.name_of(world.parties.town)
    with world.signed_in(0) as browser:
        answer = browser.get(f"/language/{language}?to=/history")
        assert answer.headers["location"] == "/history"
        assert sentence.replace("北海道札幌市", town) in text_of(browser.get("/history").text)


def test_a_browser_that_speaks_no_japanese_reads_english(world: PortalWorld) -> None:
    with world.browser("de-DE,de;q=0.9") as browser:
        assert '<html lang="en">' in browser.get("/").text
    with world.browser("en-US,ja;q=0.5") as browser:
        assert '<html lang="ja">' in browser.get("/").text


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_the_language_leads_to_no_other_site(world: PortalWorld, to: str) -> None:
    with world.browser() as browser:
        assert browser.get("/language/en", params={"to": to}).headers["location"] == "/"


def test_pages_together_show_every_record_once(world: PortalWorld) -> None:
    expected = [address_of(record) for record in records_of(world, 1)]
    assert len(expected) > world.config.limits.page_rows
    seen: list[str] = []
    path = "/history"
    with world.signed_in(1) as browser:
        while path:
            page = browser.get(path).text
            assert not set(seen) & shown_on(page)
            seen += shown_on(page)
            following = re.search(r'rel="next" href="([^"]+)"', page)
            path = following[1].replace("&amp;", "&") if following else ""
    assert sorted(seen) == sorted(expected)


def test_no_page_holds_a_record_of_another(world: PortalWorld) -> None:
    mine, theirs = ({address_of(record) for record in records_of(world, n)} for n in (0, 1))
    assert mine
    assert theirs
    with world.signed_in(0) as browser:
        assert shown_on(browser.get("/history").text) == mine
        for path in ("/history", "/year", "/"):
            page = browser.get(path).text
            assert not any(f"record/{one}" in page for one in theirs)
            assert world.parties.portal[0].tobytes().hex() not in page
            assert "sub-0" not in page


def test_a_foreign_record_and_one_of_nobody_are_answered_alike(world: PortalWorld) -> None:
    mine, theirs = (address_of(records_of(world, n)[0]) for n in (0, 1))
    seconds, index = theirs.split("-")
    with world.signed_in(0) as browser:
        assert browser.get(f"/record/{mine}").status_code == 200
        pages = []
        for path in (theirs, f"{seconds}-{int(index) + 10**6}", f"{int(seconds) + 1}-{index}", f"{mine}0", "x", "1-",
                     "9" * 12 + "-1", "1-" + "9" * 19, "1-" + "9" * 30):  # fmt: skip
            answer = browser.get(f"/record/{path}")
            assert answer.status_code == 404
            pages.append(answer.text.replace(f"/record/{path}", ""))
    assert len(set(pages)) == 1


def test_a_foreign_cursor_is_not_found(world: PortalWorld) -> None:
    with world.signed_in(1) as browser:
        cursor = re.search(r'cursor=([0-9a-f]+)"', browser.get("/history").text)
        assert cursor is not None
        assert browser.get(f"/history?cursor={cursor[1]}").status_code == 200
    with world.signed_in(0) as browser:
        for one in (cursor[1], "0" * 32, "x", cursor[1][:-1] + ("0" if cursor[1][-1] != "0" else "1")):
            assert browser.get(f"/history?cursor={one}").status_code == 404


def test_the_history_is_filtered_by_period_institution_procedure_and_outcome(world: PortalWorld) -> None:
    records = records_of(world, 0)
    days = sorted({record.requested_at.date().isoformat() for record in records})
    with world.signed_in(0) as browser:
        def count(**query: str) -> int:
            answer = browser.get("/history", params=query)
            assert answer.status_code == 200
            return len(shown_on(answer.text))

        assert count(since=days[0]) == len(records)
        assert count(until=days[0]) == 2
        assert count(since="2030-01-01") == 0
        assert count(institution="nenkin") == len(records)
        assert count(institution=world.parties.other_town) == 0
        assert count(procedure="19-8/73/75.3") == len(records)
        assert count(procedure="19-8/106/108.1") == 0
        assert count(outcome="provided") == 2
        assert count(outcome="lapsed") == 4
        assert count(outcome="allowed") == 0
        assert count(outcome="denied") == 0
        for query in ({"since": "2026-13-01"}, {"since": "2026-12-02", "until": "2026-12-01"}, {"outcome": "all"}):
            assert browser.get("/history", params=query).status_code == 400
        for query in ({"institution": "nobody"}, {"procedure": "19-8/999/1"}):
            assert browser.get("/history", params=query).status_code == 404


def test_an_outcome_that_is_rare_is_found_behind_many_others(world: PortalWorld) -> None:
    with world.signed_in(1) as browser:
        assert len(shown_on(browser.get("/history", params={"outcome": "provided"}).text)) == 2


def test_nobody_asked_is_said_in_words(world: PortalWorld) -> None:
    with world.signed_in(2) as browser:
        assert "これまでに、あなたについての照会はありません。" in text_of(browser.get("/history").text)
        empty = text_of(browser.get("/history?since=2026-01-01").text)
        assert "この期間に、あなたについての照会はありませんでした。" in empty
        assert "この一年に、あなたについての照会はありませんでした。" in text_of(browser.get("/year").text)


def test_the_page_says_what_is_not_in_the_history(world: PortalWorld) -> None:
    with world.signed_in(2) as browser:
        text = text_of(browser.get("/history").text)
    for words in ("一つの機関の中", "19条10号", "住民基本台帳", "資格の確認", "19条15号", "19条16号"):
        assert words in text


def test_a_record_says_when_who_for_what_and_by_which_article(world: PortalWorld) -> None:
    record = records_of(world, 0)[-1]
    with world.signed_in(0) as browser:
        text = text_of(browser.get(f"/record/{address_of(record)}").text)
    for words in (f"記録 {record.index}", "日本年金機構", "国民年金部", "市町村民税", "納付義務者", record.legal_basis,
                  "住民税などの額"):  # fmt: skip
        assert words in text


def test_the_year_is_a_picture_and_a_table_that_agree(world: PortalWorld) -> None:
    with world.signed_in(1) as browser:
        page = browser.get("/year").text
    rows = re.findall(r"<tbody>.*?</tbody>", page, re.S)
    cells = [int(cell) for cell in re.findall(r"<td>(\d+)</td>", rows[0])]
    # The sum, then the newest month first.
    assert cells[0] == sum(cells[1:]) == 30
    assert page.count('<rect class="s0" x=') == len(cells) - 1


def test_the_hub_away_is_said_and_nothing_of_another_is_shown(world: PortalWorld) -> None:
    async def away(*_: object, **__: object) -> None:
        raise HubAwayError

    with world.signed_in(0) as browser, pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.portal.hub, "_connect", away)
        answer = browser.get("/history")
        assert answer.status_code == 503
        assert "記録が消えたわけではありません" in answer.text
        assert not shown_on(answer.text)


def test_a_first_page_is_small(world: PortalWorld) -> None:
    with world.signed_in(1) as browser:
        total = 0
        for path in ("/history", *re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/history").text)):
            with browser.stream("GET", path) as answer:
                total += sum(len(piece) for piece in answer.iter_raw())
    assert total < 60 * 1024


def test_nothing_of_a_person_is_logged(world: PortalWorld, caplog: pytest.LogCaptureFixture) -> None:
    at = address_of(records_of(world, 0)[0])
    with caplog.at_level(0), world.signed_in(0) as browser:
        for path in ("/history", f"/record/{at}", f"/record/{at}/proof", "/record/1-1", "/history?cursor=00", "/year",
                     "/save/history.csv", "/signin/back?state=abc&code=def"):  # fmt: skip
            browser.get(path)
        token = browser.cookies["__Host-session"]
    # What the browser of this test and the provider say of themselves is theirs.
    told = [one for one in caplog.records if one.name.split(".")[0] not in ("httpx", "httpcore", "werkzeug")]
    text = "\n".join(f"{one.name} {one.getMessage()}" for one in told)
    alias = world.parties.portal[0].tobytes()
    for secret in (at, "sub-0", token, alias.hex(), "/history", "code=def", world.parties.h.history(alias).disclosure):
        assert secret not in text
