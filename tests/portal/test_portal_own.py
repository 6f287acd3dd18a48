"""Own data: asked for by who is signed in, recorded, shown once; NO_SELF looks like nothing there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from portalworld import PortalWorld, fill, only, text_of, token_of
from served import Network
from test_portal_history import records_of

import hub
from hub.catalog import Catalog
from hub.messages import Flag, Kind, Status
from hub.portal.config import Own
from hub.portal.owndata import FOUND_MAX, Look, Looks, Offers, read_payload, rule_files
from hub.portal.sessions import Session
from parties import Parties

PROCEDURE = "self/1/附則6条4項"
WHAT = PROCEDURE + "|市町村民税"
INCOME = msgspec.msgpack.encode({"市町村民税": {"課税年度": "2026年度", "合計所得金額": 3_141_000, "備考": None}})


def catalog_with_rules(catalog: Catalog) -> Catalog:
    tables = rule_files()
    return catalog.import_table(tables["own-classes.csv"], "classes").import_rules(tables["own-rules.csv"])


@pytest.fixture
def own(tmp_path: Path, network: Network) -> Iterator[PortalWorld]:
    with Parties(tmp_path / "hub") as parties:
        parties.h.load_catalog(catalog_with_rules(parties.h.catalog))
        private, public = hub.new_payload_key()
        (tmp_path / "own.key").write_bytes(private)
        parties.h.register_key("portal", public)
        fill(parties, 0)
        made = PortalWorld(tmp_path, network, parties, own=Own([str(tmp_path / "own.key")], looks_a_day=3))
        yield made
        made.stop()


def ask(world: PortalWorld, browser: httpx.Client, town: str | None = None, what: str = WHAT) -> httpx.Response:
    code = town or world.parties.town
    return world.post(browser, f"/own?institution={code}", "/own", institution=code, what=what)


def answer(world: PortalWorld, outcome: Status, data: bytes | None = None, town: str | None = None) -> None:
    h, code = world.parties.h, town or world.parties.town
    for permits in h.collect(code):
        if permits.inquiry.procedure == PROCEDURE:
            key = h.payload_key("portal")
            assert key is not None
            sealed = None if data is None else [hub.seal_payload(key, data)] * len(permits)
            h.provide(code, permits, outcome, sealed)
    world.parties.clock.now += 5


def test_a_citizen_finds_an_institution_asks_it_and_sees_the_answer_once(own: PortalWorld) -> None:
    with own.signed_in(0) as browser:
        page = browser.get("/own")
        # Who stands in the history is offered at once.
        assert f'href="/own?institution={own.parties.town}"' in page.text
        found = browser.get("/own", params={"q": "ヨコハマ 神奈川"})
        assert "神奈川県横浜市" in text_of(found.text)
        sent = ask(own, browser)
        assert sent.status_code == 303
        look = sent.headers["location"]
        waiting = browser.get(look)
        assert "回答を待っています" in text_of(waiting.text)
        assert look in browser.get("/own").text
        answer(own, Status.PROVIDED, INCOME)
        shown = browser.get(look)
        assert shown.headers["cache-control"] == "no-store"
        for words in ("課税年度", "2026年度", "合計所得金額", "3141000"):
            assert words in text_of(shown.text)
        again = browser.get(look)
        assert "この画面は終わりました" in text_of(again.text)
        assert "3141000" not in again.text
    look_records = [one for one in records_of(own, 0) if one.procedure == PROCEDURE]
    assert [(one.kind, one.requester, one.role) for one in look_records][-1] == (Kind.INQUIRY, "portal", "本人")
    with own.signed_in(0) as browser:
        history = text_of(browser.get("/history").text)
        assert "あなたが、「わたしの情報」で、" in history
        assert "を、あなたに提供しました" in history
        # One's own question is no institution's.
        assert "12か月に、あなたについて3件" in text_of(browser.get("/year").text)
        for language in ("en", "easy"):
            browser.get(f"/language/{language}")
            assert ("You asked" in browser.get("/history").text) == (language == "en")


def test_the_hub_keeps_the_answer_no_longer_than_until_it_was_shown(own: PortalWorld) -> None:
    with own.signed_in(0) as browser:
        look = ask(own, browser).headers["location"]
        answer(own, Status.PROVIDED, INCOME)
        request_id = own.portal.looks._looks.popitem()[1].popitem()[1].request_id
        assert own.parties.h.answers("portal", request_id).payloads != [None]
        own.portal.looks.put(next(iter(own.portal.sessions._by_digest.values())), look.rpartition("/")[2],
                             Look(request_id, own.parties.town, "市町村民税"))  # fmt: skip
        assert "3141000" in browser.get(look).text
        # Forgetting goes on behind the page: whatever follows on the connection finds it done.
        for _ in range(100):
            if own.parties.h.answers("portal", request_id).payloads == [None]:
                break
            browser.get("/check")
        assert own.parties.h.answers("portal", request_id).payloads == [None]
    database = (own.folder / "portal.sqlite").read_bytes()
    assert b"3141000" not in database
    assert request_id.encode() not in database


def looked_at(own: PortalWorld, person: int, calls: list[str], outcome: Status, data: bytes | None) -> tuple[str, int]:
    """What a person meets, without form tokens and names of looks; the calls to the hub that it took."""
    with own.signed_in(person) as browser:
        seen = []
        look = ask(own, browser).headers["location"]
        seen.append(browser.get(look))
        answer(own, outcome, data)
        calls.clear()
        seen.append(browser.get(look))
        asyncio.run(asyncio.sleep(0.1))
        seen += [browser.get(look), browser.get("/own")]
        texts = [re.sub(r'value="[^"]{80,}"|[0-9a-f]{16}', "", one.text) for one in seen]
        return "".join(texts), sum(len(one.content) for one in seen)


@pytest.mark.parametrize(
    ("outcome", "data"),
    [(Status.PROVIDED, INCOME), (Status.EMPTY, None), (Status.NO_RECORD, None)], ids=["provided", "empty", "none"],
)
def test_whose_own_data_are_given_to_nobody_meets_what_one_meets_of_whom_nothing_is_there(
    own: PortalWorld, outcome: Status, data: bytes | None
) -> None:
    parties = own.parties
    parties.h.flag(parties.town, only(parties.known, 1), Flag.NO_SELF)
    calls: list[str] = []
    call = own.portal.hub.call

    async def count(method: str, /, *args: Any, **kwargs: Any) -> Any:
        calls.append(method)
        return await call(method, *args, **kwargs)

    own.portal.hub.call = count  # type: ignore[method-assign]
    flagged, size = looked_at(own, 1, calls, outcome, data)
    theirs = list(calls)
    plain, plain_size = looked_at(own, 2, calls, Status.NO_RECORD, None)
    assert "表示できるあなたの情報はありませんでした" in text_of(flagged)
    assert (flagged, size) == (plain, plain_size)
    assert theirs == calls
    assert theirs[:2] == ["answers", "fetched"]
    shown = [[(one.kind, one.outcome) for one in records_of(own, person)] for person in (1, 2)]
    assert shown[0] == shown[1]


def test_who_is_flagged_after_the_answer_meets_nothing_either(own: PortalWorld) -> None:
    parties = own.parties
    with own.signed_in(1) as browser:
        look = ask(own, browser).headers["location"]
        answer(own, Status.PROVIDED, INCOME)
        parties.h.flag(parties.town, only(parties.known, 1), Flag.NO_SELF)
        page = browser.get(look).text
        assert "表示できるあなたの情報はありませんでした" in text_of(page)
        assert "3141000" not in page


def test_what_is_not_offered_is_not_asked(own: PortalWorld) -> None:
    parties = own.parties
    before = parties.h.checkpoint()
    with own.signed_in(0) as browser:
        for code, what, status in (
            (parties.town, "", 400), (parties.town, "19-8/73/75.3|市町村民税", 400),
            (parties.town, PROCEDURE + "|住民票", 400), ("moj", WHAT, 404), ("portal", WHAT, 404), ("x", WHAT, 404),
        ):  # fmt: skip
            token = token_of(browser.get("/own?institution=" + parties.town).text)
            sent = browser.post("/own", data={"csrf": token, "institution": code, "what": what})
            assert sent.status_code == status, (code, what)
        assert browser.post("/own", data={"institution": parties.town, "what": WHAT}).status_code == 403
        assert browser.get("/own?institution=moj").status_code == 404
        assert "この画面は終わりました" in text_of(browser.get("/own/0011223344556677").text)
    assert parties.h.checkpoint() == before


def test_so_many_looks_a_day_and_not_one_more(own: PortalWorld) -> None:
    parties = own.parties
    with own.signed_in(0) as browser:
        for _ in range(3):
            assert ask(own, browser).status_code == 303
        refused = ask(own, browser)
        assert refused.status_code == 429
        assert "今日はこれ以上求められません" in text_of(refused.text)
        parties.clock.now += 86_400
    with own.signed_in(0) as browser:
        assert ask(own, browser).status_code == 303
    looks = [one for one in records_of(own, 0) if one.procedure == PROCEDURE and one.kind == Kind.INQUIRY]
    assert len(looks) == 4


def test_anothers_look_is_nobodys(own: PortalWorld) -> None:
    with own.signed_in(0) as first, own.signed_in(1) as second, own.signed_in(0) as same:
        look = ask(own, first).headers["location"]
        answer(own, Status.PROVIDED, INCOME)
        for browser in (second, same):
            page = browser.get(look).text
            assert "この画面は終わりました" in text_of(page)
            assert "3141000" not in page
        assert "3141000" in first.get(look).text


def test_an_answer_that_nobody_here_could_open_is_not_asked_for(own: PortalWorld) -> None:
    own.parties.h.register_key("portal", hub.new_payload_key()[1])
    before = own.parties.h.checkpoint()
    with own.signed_in(0) as browser:
        assert ask(own, browser).status_code == 503
    assert own.parties.h.checkpoint() == before


def test_what_an_institution_sends_is_text_and_nothing_else(own: PortalWorld) -> None:
    with own.signed_in(0) as browser:
        look = ask(own, browser).headers["location"]
        answer(own, Status.PROVIDED, b"<script>alert(1)</script>")
        page = browser.get(look).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
    assert read_payload(b"\xff\xfe\x00").text == ""
    assert read_payload(b"a\x1b[31m").text == ""
    assert read_payload(b"").text == ""
    assert read_payload(msgspec.msgpack.encode({"税": {"年": None}})).groups == [("税", [("年", "")])]
    assert read_payload(b"\x91" * 100_000).groups == []


def test_without_a_key_there_is_no_such_page(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        assert browser.get("/own").status_code == 404
        assert 'href="/own"' not in browser.get("/history").text


def test_offers_are_those_of_the_rules() -> None:
    offers = Offers(catalog_with_rules(Catalog.japan()), "portal")
    town = offers.institution("131016")
    assert town is not None
    assert [one.item for one in offers.choices(town)][:3] == ["市町村民税", "住民票", "児童手当・旧特例給付の支給"]
    assert offers.institution("moj") is None
    assert [one.code for one in offers.find("ﾁﾖﾀﾞｸ")] == ["131016"]
    assert len(offers.find("市")) == FOUND_MAX + 1
    assert offers.find(" ") == []
    assert Offers(Catalog.japan(), "portal").institutions == []


def test_looks_of_a_session_are_few() -> None:
    looks = Looks(10)
    session = Session(b"a" * 16, b"digest", 0.0)
    for n in range(7):
        looks.put(session, f"{n}", Look(f"r{n}", "131016", "x"))
    assert [name for name, _ in looks.waiting(session)] == ["6", "5", "4", "3", "2"]
    assert looks.find(session, "1") is None
    assert repr(looks.find(session, "6")) == "Look()"
