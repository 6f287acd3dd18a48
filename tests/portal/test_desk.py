"""The clerks' desk: ask by hand with one clerk or two, follow, certify, decide; who sees what; what is refused."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from deskworld import ALLOWANCE, ALONE, PENSION, ROLE, SECTION, TERMS, DeskWorld, ask_the_town, operator_of
from portalworld import text_of, token_of
from served import Network

import hub
from hub.desk.book import State
from hub.messages import Kind, Status
from parties import Parties


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[DeskWorld]:
    """Tests take a person each, so that none meets what another did."""
    folder = tmp_path_factory.mktemp("desk")
    with Parties(folder / "hub", persons=14) as parties:
        parties.h.load_catalog(parties.h.catalog.import_table(TERMS))
        made = DeskWorld(folder, network, parties)
        yield made
        made.stop()
        assert parties.h.verify().problems == ()


def records_of(world: DeskWorld, person: int) -> list[hub.Record]:
    return world.h.history(world.parties.portal[person]).records


# -- ask


@pytest.mark.parametrize("words", ["児童手当 一般受給資格者", "児手法7条1項", "child allowance"])
def test_a_procedure_is_found_by_words_of_the_law_and_of_the_rows(world: DeskWorld, words: str) -> None:
    with world.clerk("佐藤") as browser:
        page = browser.get("/find", params={"words": words}).text
    assert "児手法7条1項" in page
    assert f"procedure={ALLOWANCE.replace('/', '%2F') if '%2F' in page else ALLOWANCE}" in page


def test_one_clerk_asks_and_reads_the_answer_and_it_is_certified(world: DeskWorld) -> None:
    with world.clerk("佐藤") as browser:
        page = world.ask_alone(browser, 0, case="児-12")
        assert "回答待ち" in text_of(browser.get(page).text)
        assert browser.get(page + "/certificate").status_code == 404
        world.answer(msgspec.msgpack.encode({"市町村民税": {"課税標準額": 2_184_000}}))
        assert "2184000" in browser.get(page).text
        paper = text_of(browser.get(page + "/certificate").text)
        listed = text_of(browser.get("/questions").text)
    assert "R-0" in paper
    assert "児-12" in paper
    assert "2184000" in paper
    assert world.h.checkpoint().split("\n")[2] in paper
    assert "提供あり" in listed
    answered, asked = records_of(world, 0)
    assert (asked.requester, asked.provider, asked.section) == (world.town, world.other, SECTION)
    assert answered.outcome == Status.PROVIDED


def test_with_two_clerks_nothing_is_asked_before_the_second_confirms(world: DeskWorld) -> None:
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        page = world.make(first, 1)
        assert world.post(first, page + "/send").status_code == 303
        assert records_of(world, 1) == []
        assert page in second.get("/").text
        assert world.post(first, page + "/confirm").status_code == 403, "who asked cannot confirm"
        assert records_of(world, 1) == []
        assert world.post(second, page + "/confirm").status_code == 303
        assert [one.kind for one in records_of(world, 1)] == [Kind.INQUIRY]
        assert world.post(second, page + "/confirm").status_code == 303
        assert len(records_of(world, 1)) == 1


def test_the_first_clerk_under_another_spelling_is_still_the_first(tmp_path: Path, network: Network) -> None:
    from hub.portal.standin import Character

    people = [Character(sub, name, "", {"name": name, "section": SECTION}) for sub, name in
              (("a7701", "小"), ("A7701", "大"), ("a 7701", "間"))]  # fmt: skip
    with Parties(tmp_path / "hub") as parties:
        parties.h.load_catalog(parties.h.catalog.import_table(TERMS))
        world = DeskWorld(tmp_path, network, parties, people=people)
        try:
            with world.clerk("小") as first, world.clerk("大") as second, world.clerk("間") as third:
                page = world.make(first, 0)
                world.post(first, page + "/send")
                assert {world.post(one, page + "/confirm").status_code for one in (second, third)} == {403}
                assert records_of(world, 0) == []
        finally:
            world.stop()


def test_clerks_are_read_by_supervisors_alone(world: DeskWorld) -> None:
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        page = world.make(first, 2, case="秘-9")
        world.post(first, page + "/send")
        world.post(second, page + "/confirm")
    (record,) = records_of(world, 2)
    collected = [one.inquiry for one in world.h.collect(world.other)]
    # The person, who is asked, and what either can get: neither of the clerks, nor the case.
    for told in (record, collected, world.h.history(world.parties.portal[2]).proof(0).text()):
        text = told if isinstance(told, str) else msgspec.json.encode(told).decode()
        assert not re.search(r"E7701|E7702|佐藤|鈴木|秘-9", text)
    assert operator_of(world.h, record.index) == "platform/E7701 + E7702"


def test_the_same_form_twice_is_one_question_and_anothers_is_none(world: DeskWorld) -> None:
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        form = first.get("/ask", params={"procedure": ALONE}).text
        found = re.search(r'name="once" value="([0-9a-f]{32})"', form)
        assert found is not None
        fields = {"once": found[1], "procedure": ALONE, "own_id": "R-3", "provider": world.other,
                  world.item(ALONE): "1", "role": ROLE}  # fmt: skip
        pages = [world.post(first, "/ask", **fields).headers["location"] for _ in range(2)]
        assert pages[0] == pages[1]
        assert world.post(second, "/ask", **fields).status_code == 403
        for _ in range(3):
            world.post(first, pages[0] + "/send")
        assert len(records_of(world, 3)) == 1
        assert world.post(second, pages[0] + "/send").status_code == 404, "only who made it sends it"


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"own_id": "R-999"}, "この番号の人は見つかりません"), ({"provider": "どこか"}, "照会先を一つに決められません"),
     ({"provider": "府中市"}, "照会先を一つに決められません"), ({"role": "納税者"}, "選んでください"),
     ({"item-0": "1"}, "法令は、この照会を認めていません"), ({"case": "x" * 101}, "100文字まで")],
    ids=["nobody", "no body", "two bodies", "role", "law", "case"],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_asked(world: DeskWorld, changed: dict[str, str], told: str) -> None:
    with world.clerk("佐藤") as browser:
        form = browser.get("/ask", params={"procedure": ALONE}).text
        found = re.search(r'name="once" value="([0-9a-f]{32})"', form)
        assert found is not None
        fields = {"once": found[1], "procedure": ALONE, "own_id": "R-4", "provider": world.other,
                  world.item(ALONE): "1", "role": ROLE}  # fmt: skip
        answer = world.post(browser, "/ask", **{**fields, **changed})
    assert answer.status_code == 400
    assert told in text_of(answer.text)
    assert records_of(world, 4) == []


def test_another_sections_question_is_not_found(world: DeskWorld) -> None:
    with world.clerk("佐藤") as first, world.clerk("田中") as other:
        page = world.make(first, 5)
        world.post(first, page + "/send")
        assert other.get(page).status_code == other.get("/questions/" + "0" * 32).status_code == 404
        assert world.post(other, page + "/confirm").status_code == 404
        assert page not in other.get("/questions").text + other.get("/").text
    assert records_of(world, 5) == []


def test_a_procedure_of_others_is_not_found(world: DeskWorld) -> None:
    with world.clerk("佐藤") as browser:
        for procedure in (PENSION, "19-8/1/3.1", "self/1", "x"):
            assert browser.get("/ask", params={"procedure": procedure}).status_code == 404, procedure


def test_a_held_question_is_released_by_another_clerk_alone(world: DeskWorld) -> None:
    towns = [one.code for one in world.h.catalog.institutions("市町村長")[2:6]]
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        pages = [world.ask_alone(first, 6, provider=town) for town in towns]
        assert "保留" in text_of(first.get(pages[3]).text)
        assert world.post(first, pages[3] + "/release", reason="転入が多いため").status_code == 403
        second.get(pages[3])
        assert world.post(second, pages[3] + "/release", reason="").status_code == 400
        assert Kind.RELEASE not in [one.kind for one in records_of(world, 6)]
        assert world.post(second, pages[3] + "/release", reason="転入が多いため").status_code == 303
        assert world.post(second, pages[0] + "/release", reason="転入が多いため").status_code == 403, "it is not held"
    assert [one.remark for one in records_of(world, 6) if one.kind == Kind.RELEASE] == ["転入が多いため"]


@pytest.mark.parametrize("clerk", ["platform/E7701", "platform/E7702", "platform/E7703"])
def test_the_hub_lets_neither_of_two_clerks_release_what_they_asked(world: DeskWorld, clerk: str) -> None:
    n = ["platform/E7701", "platform/E7702", "platform/E7703"].index(clerk)
    towns = [one.code for one in world.h.catalog.institutions("市町村長")[2:6]]
    asked = hub.Inquiry(requester=world.town, procedure=ALONE, items=("市町村民税",), role=ROLE, section=SECTION,
                        request_id=f"two-{n}", operator="platform/E7701 + E7702")  # fmt: skip
    alias = np.repeat(world.aliases[7 + n : 8 + n], 4, axis=0)
    assert world.h.inquire(asked, alias, towns).status[3] == Status.HELD
    if n < 2:
        with pytest.raises(hub.errors.RequestError, match="expected another than the operator"):
            world.h.release((f"two-{n}", 3), "理由", clerk=clerk, requester=world.town)
    else:
        assert world.h.release((f"two-{n}", 3), "理由", clerk=clerk, requester=world.town)


# -- decide


def test_a_permit_for_a_clerk_is_decided_and_a_foreign_number_is_not_found(world: DeskWorld) -> None:
    world.h.flag(world.town, np.ascontiguousarray(world.aliases[10:12]), hub.Flag.MANUAL)
    ask_the_town(world, 10, "m-10")
    ask_the_town(world, 11, "m-11")
    with world.clerk("佐藤") as browser:
        page = browser.get("/permits").text
        numbers = re.findall(r'href="/permits/(\d+)"', page)
        assert len(numbers) == 2
        assert "R-10" in page
        for number in ("0", "18446744073709551615", "x", "-1", numbers[0] + "1", "%00"):
            assert browser.get(f"/permits/{number}").status_code == 404, number
            assert world.post(browser, f"/permits/{number}", outcome="EMPTY").status_code == 404, number
        mine = next(one for one in numbers if "R-10" in browser.get(f"/permits/{one}").text)
        for form in ({}, {"outcome": "MANUAL"}, {"outcome": "REFUSED"}, {"outcome": "PROVIDED"}):
            assert world.post(browser, f"/permits/{mine}", **form).status_code == 400, form
        assert world.h.answers("nenkin", "m-10").status.tolist() == [Status.PENDING]
        form = {"outcome": "PROVIDED", "item-0": "非課税"}
        assert world.post(browser, f"/permits/{mine}", **form).status_code == 303
        assert world.post(browser, f"/permits/{mine}", **form).status_code == 404, "a replayed form"
        other = next(one for one in numbers if one != mine)
        form = {"outcome": "REFUSED", "reason": "UNDER_CORRECTION"}
        assert world.post(browser, f"/permits/{other}", **form).status_code == 303
        assert "ありません" in text_of(browser.get("/permits").text)
    world.parties.clock.now += 5
    found = world.h.answers("nenkin", "m-10")
    assert msgspec.msgpack.decode(found.payloads[0]) == {"市町村民税": {"回答": "非課税"}}
    assert world.h.answers("nenkin", "m-11").reason.tolist() == [hub.Reason.UNDER_CORRECTION]


def test_an_answer_is_sealed_where_the_requester_has_a_key(world: DeskWorld) -> None:
    private, public = hub.new_payload_key()
    world.h.register_key("nenkin", public)
    try:
        world.h.flag(world.town, np.ascontiguousarray(world.aliases[12:13]), hub.Flag.MANUAL)
        ask_the_town(world, 12, "m-12")
        with world.clerk("佐藤") as browser:
            (number,) = re.findall(r'href="/permits/(\d+)"', browser.get("/permits").text)
            assert world.post(browser, f"/permits/{number}", outcome="PROVIDED", **{"item-0": "秘"}).status_code == 303
        world.parties.clock.now += 5
        (payload,) = world.h.answers("nenkin", "m-12").payloads
        assert msgspec.msgpack.decode(hub.open_payload(private, payload)) == {"市町村民税": {"回答": "秘"}}
    finally:
        world.h.register_key("nenkin", None, clerk="test")


# -- the report


def test_the_report_names_what_was_never_used(world: DeskWorld) -> None:
    with world.clerk("佐藤") as browser:
        world.ask_alone(browser, 13)
        page, lines = text_of(browser.get("/report").text), browser.get("/report.csv").content.decode("utf-8-sig")
    listed = {line.split(",")[0] for line in lines.splitlines()[1:]}
    able = {one.id for one in world.h.catalog.procedures(requester=world.town) if not one.id.startswith("self/")}
    assert ALONE not in listed
    # The other one was asked about before, or not, as the tests are run.
    assert able - {ALONE, ALLOWANCE} <= listed <= able - {ALONE}
    assert "使われていない手続" in page


# -- who may


def test_nobody_in_and_everybody_is_sent_to_sign_in(world: DeskWorld) -> None:
    with world.browser() as browser:
        for path in ("/find", "/ask", "/questions", "/permits", "/links", "/counter", "/report", "/report.csv"):
            answer = browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/signin"), path
        for path in ("/ask", "/permits/1", "/counter", "/links/x/confirm"):
            assert browser.post(path, data={}).headers["location"] == "/signin", path


def test_who_has_no_section_is_not_let_in(world: DeskWorld) -> None:
    with world.browser() as browser:
        answer = world.sign_in(browser, "無名")
        assert answer.status_code == 403
        assert "係の名前" in answer.text
        assert browser.get("/find").headers["location"] == "/signin"


def test_a_form_of_another_session_or_site_changes_nothing(world: DeskWorld) -> None:
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        page = world.make(first, 5)
        token = token_of(first.get("/report").text)
        for answer in (
            first.post(page + "/send", data={}), first.post(page + "/send", data={"csrf": "x"}),
            first.post(page + "/send", data={"csrf": token_of(second.get("/report").text)}),
            first.post(page + "/send", data={"csrf": token}, headers={"Origin": "https://evil.example"}),
            first.post(page + "/send", data={"csrf": token}, headers={"Sec-Fetch-Site": "cross-site"}),
        ):  # fmt: skip
            assert answer.status_code == 403
        line = world.desk.book.find(page.rpartition("/")[2], "ask", SECTION)
        assert line is not None
        assert line.state == State.DRAFT


def test_the_book_is_read_by_its_owner_alone(world: DeskWorld) -> None:
    assert Path(world.config.book).stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(world.config.book) as db:
        assert {row[1] for row in db.execute("PRAGMA table_info(used)")} == {"procedure", "times", "last"}


def test_every_answer_has_the_headers(world: DeskWorld) -> None:
    with world.clerk("佐藤") as browser:
        for path in ("/", "/find", "/nowhere", "/static/desk.css"):
            headers = browser.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert path.startswith("/static") or headers["cache-control"] == "no-store"


def test_signing_out_goes_on_to_the_institutions_own_sign_in_which_knows_whose_it_was(world: DeskWorld) -> None:
    with world.clerk("佐藤") as browser:
        page = world.post(browser, "/signout").text
        way = html.unescape(re.search(r'<a class="button" href="(http[^"]+)"', page)[1])  # type: ignore[index]
        assert way.startswith(f"{world.issuer}/logout?id_token_hint=")
        with httpx.Client(timeout=120) as outside:
            back = outside.get(way)
            assert (back.status_code, back.headers["location"]) == (303, world.address + "/signedout")
            for wrong in (way.replace("id_token_hint=", "id_token_hint=x"), way + "x"):
                assert outside.get(wrong).status_code == 400
        assert "サインアウトしました" in browser.get("/signedout").text
        assert browser.get("/report").headers["location"] == "/signin"
