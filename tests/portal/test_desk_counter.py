"""Disclosure at the counter: by whom, with whom, what is recorded and what is not shown."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from deskworld import SECTION, DeskWorld, operator_of
from portalworld import fill, text_of
from served import Network

from hub.citizens.proxystate import ProxyKind
from hub.errors import RequestError, StorageError
from hub.messages import Flag, Kind
from hub.methods import proxies as proxying
from hub.tlog.entry import paper_code
from hub.tlog.verify import verify_proof
from parties import REVIEW, Parties

WORDS = {"clerk": "sato", "second_clerk": "suzuki", "checked": "運転免許証", "section": "市民課"}


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    """Persons 0 and 1 were asked about three times."""
    with Parties(tmp_path / "hub") as made:
        fill(made, 0)
        fill(made, 1)
        yield made
        assert made.h.verify().problems == ()


def kinds(parties: Parties, person: int) -> list[Kind]:
    return [one.kind for one in parties.h.history(parties.portal[person]).records]


# -- the hub


def test_a_counter_reads_what_the_person_reads_and_the_person_sees_that_it_did(parties: Parties) -> None:
    page = parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    mine = parties.h.history(parties.portal[0]).records
    view = mine[0]
    assert (view.kind, view.requester) == (Kind.COUNTER_VIEW, parties.town)
    assert (view.section, view.remark) == ("市民課", "運転免許証")
    assert view.legal_basis == "個人情報保護法76条1項"
    assert [(one.kind, one.requested_at, one.outcome) for one in page.records] == [
        (one.kind, one.requested_at, one.outcome) for one in mine
    ]
    assert operator_of(parties.h, view.index) == "sato + suzuki"
    assert parties.h.history(parties.portal[0]).proof(0).record == view


def test_every_call_is_a_record_of_that_person_alone(parties: Parties) -> None:
    for _ in range(3):
        parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    assert kinds(parties, 0).count(Kind.COUNTER_VIEW) == 3
    assert Kind.COUNTER_VIEW not in kinds(parties, 1)


def test_nothing_of_the_page_joins_it_with_what_a_party_has(parties: Parties) -> None:
    page = parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    n = len(page.records)
    assert [one.index for one in page.records] == list(range(n, 0, -1))
    assert {one.inquiry for one in page.records} == {""}
    assert (page.cursor, page.disclosure) == (None, "")
    # The answer still follows its question, by the page's own numbers.
    answer = next(one for one in page.records if one.kind == Kind.PROVISION)
    assert next(one for one in page.records if one.index == answer.link).kind == Kind.INQUIRY


def test_a_paper_is_tied_to_a_proof_by_a_code_that_its_counter_cannot_make(parties: Parties) -> None:
    h = parties.h
    page = h.counter_history(parties.town, parties.known[0], **WORDS)
    mine = h.history(parties.portal[0])
    for place, code in enumerate(page.codes):
        proof = mine.proof(place)
        found = verify_proof(proof.text(), h.verifier_key)
        assert found.paper.hex() == code == paper_code(proof.salt, proof.leaf).hex()
        assert proof.leaf.hex() not in repr(page.records) + repr(page.codes), "the log's number could be read from it"
    assert len(set(page.codes)) == len(page.records)
    again = h.counter_history(parties.town, parties.known[0], **WORDS)
    assert again.codes[1:] == page.codes, "of the same record always the same"
    with pytest.raises(RequestError, match="proof"):
        page.proof(len(page.records))


def test_the_prime_minister_and_municipalities_may_and_others_may_not(parties: Parties) -> None:
    theirs = parties.h.acquire("pm", parties.codes).aliases
    assert len(parties.h.counter_history("pm", theirs[0], **WORDS).records) == 5
    before = parties.h.stats()["records"]
    for code, alias in (("nenkin", parties.nenkin[0]), ("portal", parties.portal[0])):
        with pytest.raises(RequestError, match="institution: expected one that discloses at a counter, got"):
            parties.h.counter_history(code, alias, **WORDS)
    assert parties.h.stats()["records"] == before


@pytest.mark.parametrize(
    "changed",
    [{"second_clerk": "sato"}, {"second_clerk": "SA TO"}, {"second_clerk": None}, {"clerk": None}, {"clerk": ""},
     {"checked": ""}, {"checked": None}, {"section": ""}, {"section": "a\nb"}, {"limit": 0}, {"limit": 1_001}],
    ids=["the same", "the same by case", "no second", "no first", "empty", "unchecked", "no check", "no section",
         "control", "none", "too many"],
)  # fmt: skip
def test_without_two_clerks_and_a_check_nothing_is_read(parties: Parties, changed: dict[str, object]) -> None:
    before = parties.h.stats()["records"]
    with pytest.raises(RequestError):
        parties.h.counter_history(parties.town, parties.known[0], **{**WORDS, **changed})
    assert parties.h.stats()["records"] == before


def test_an_alias_of_another_body_or_of_nobody_is_refused_alike(parties: Parties) -> None:
    told = set()
    for alias in (parties.nenkin[0], parties.portal[0], bytes(16)):
        with pytest.raises(RequestError) as error:
            parties.h.counter_history(parties.town, alias, **WORDS)
        told.add(str(error.value))
    assert told == {"alias: expected one of the institution's that is open, got another"}
    assert kinds(parties, 0).count(Kind.COUNTER_VIEW) == 0


def test_the_record_is_durable_before_anything_is_shown(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("write: full")

    with monkeypatch.context() as patch:
        patch.setattr("hub.citizens.counter.append_records", fail)
        with pytest.raises(StorageError):
            parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    assert Kind.COUNTER_VIEW not in kinds(parties, 0)
    with monkeypatch.context() as patch:
        patch.setattr("hub.methods.counter.renumber", fail)
        with pytest.raises(StorageError):
            parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    assert kinds(parties, 0).count(Kind.COUNTER_VIEW) == 1


def test_what_is_withheld_is_not_shown_nor_counted(parties: Parties) -> None:
    handles = parties.handles_of_town(0)
    before = len(parties.h.counter_history(parties.town, parties.known[0], **WORDS).records)
    parties.h.withhold(handles[-1], "調査", REVIEW, institution=parties.town)
    page = parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    shown = len(parties.h.history(parties.portal[0]).records)
    assert len(page.records) == shown < before + 1
    assert [one.index for one in page.records] == list(range(shown, 0, -1))


def test_whom_the_body_withholds_begins_withheld_and_a_protected_one_waits_to_be_judged(parties: Parties) -> None:
    parties.h.flag(parties.town, np.ascontiguousarray(parties.known[:1]), Flag.WITHHELD)
    parties.h.counter_history(parties.town, parties.known[0], **WORDS)
    assert Kind.COUNTER_VIEW not in kinds(parties, 0)
    since = dt.datetime.fromtimestamp(parties.clock.now, dt.UTC)
    parties.h.protect("jlis", parties.codes[1], since=since, ground="支援措置")
    parties.clock.now += 60
    parties.h.counter_history(parties.town, parties.known[1], **WORDS)
    assert Kind.COUNTER_VIEW not in kinds(parties, 1), "it tells where somebody goes"
    (waiting,) = parties.h.unjudged(parties.town)
    parties.h.judge(parties.town, waiting[0], withhold=False)
    assert Kind.COUNTER_VIEW in kinds(parties, 1)


def test_a_proxy_does_not_read_where_the_person_went(parties: Parties) -> None:
    h, (principal, agent) = parties.h, parties.portal[:2]
    h.grant_proxy(principal, agent, ProxyKind.VOLUNTARY, label="妻", called="夫")
    h.counter_history(parties.town, parties.known[0], **WORDS)
    (one,) = h.principals(agent)
    assert Kind.COUNTER_VIEW not in [record.kind for record in h.proxy_history(agent, one.handle).records]
    assert Kind.COUNTER_VIEW in kinds(parties, 0)
    assert int(Kind.COUNTER_VIEW) in proxying.KINDS


# -- the desk


@pytest.fixture
def world(tmp_path: Path, network: Network, parties: Parties) -> Iterator[DeskWorld]:
    made = DeskWorld(tmp_path, network, parties)
    yield made
    made.stop()


def take(world: DeskWorld, browser: object, person: int = 0, **more: str) -> str:
    once = re.search(r'name="once" value="([0-9a-f]{32})"', browser.get("/counter").text)  # type: ignore[attr-defined]
    assert once is not None
    answer = world.post(browser, "/counter", once=once[1], own_id=f"R-{person}", checked="licence", **more)  # type: ignore[arg-type]
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_two_clerks_print_a_history_once(world: DeskWorld, parties: Parties) -> None:
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second, world.clerk("田中") as other:
        page = take(world, first)
        assert world.post(first, page + "/print").status_code == 403, "nobody has confirmed it"
        assert world.post(first, page + "/confirm").status_code == 403, "the same pair of eyes"
        assert other.get(page).status_code == world.post(other, page + "/confirm").status_code == 404
        assert Kind.COUNTER_VIEW not in kinds(parties, 0)
        assert page in second.get("/").text
        assert world.post(second, page + "/confirm").status_code == 303
        assert "市町村民税" not in second.get(page).text, "the second clerk reads nothing of it"
        assert world.post(second, page + "/print").status_code == 403
        paper = world.post(first, page + "/print")
        assert paper.status_code == 200
        assert world.post(first, page + "/print").status_code == 403, "a replayed form"
    text = text_of(paper.text)
    assert "日本年金機構が" in text
    assert "窓口であなたの履歴を印刷しました" in text
    assert parties.h.checkpoint().split("\n")[2] in text
    assert 'hub verify ファイル --key log.key --paper "照合の値"' in text
    shown = parties.h.history(parties.portal[0])
    for place in range(len(shown.records)):
        proof = shown.proof(place)
        assert paper_code(proof.salt, proof.leaf).hex(" ", 2) in text
        assert proof.leaf.hex() not in paper.text.replace(" ", "")
    (view,) = [one for one in parties.h.history(parties.portal[0]).records if one.kind == Kind.COUNTER_VIEW]
    assert (view.section, view.remark) == (SECTION, "運転免許証")
    assert operator_of(parties.h, view.index) == "platform/E7701 + platform/E7702"


@pytest.mark.parametrize(
    "changed", [{"own_id": "R-99"}, {"checked": ""}, {"checked": "face"}, {"since": "yesterday"}], ids=str
)
def test_a_wrong_form_is_told_and_makes_nothing(world: DeskWorld, changed: dict[str, str]) -> None:
    with world.clerk("佐藤") as browser:
        fields = {"once": "0" * 32, "own_id": "R-0", "checked": "licence", **changed}
        assert world.post(browser, "/counter", **fields).status_code == 400
        assert browser.get("/counter/" + "0" * 32).status_code == 404


def test_with_the_hub_away_nothing_is_printed_and_it_can_be_printed_later(
    tmp_path: Path, network: Network, parties: Parties
) -> None:
    world = DeskWorld(tmp_path, network, parties, hub_timeout_s=1.0)
    with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
        page = take(world, first)
        world.post(second, page + "/confirm")
        asked = world.make(first, 0, "19-8/106/108.6")
        world.served.stop()
        answer = world.post(first, page + "/print")
        assert answer.status_code == 503
        assert "つながりません" in answer.text
        assert world.post(first, asked + "/send").status_code == 503
        assert Kind.COUNTER_VIEW not in kinds(parties, 0)
        line = world.desk.book.find(asked.rpartition("/")[2], "ask", SECTION)
        assert line is not None
        assert line.state == "sending"
        assert "もう一度送る" in first.get(asked).text
        assert world.desk.book.find(page.rpartition("/")[2], "counter", SECTION).state == "confirmed"  # type: ignore[union-attr]
    world.stop()


def test_a_session_that_is_over_signs_in_anew(world: DeskWorld, parties: Parties) -> None:
    with world.clerk("佐藤") as browser:
        page = take(world, browser)
        parties.clock.now += world.config.limits.idle_s + 1
        for answer in (browser.get(page), browser.post(page + "/drop", data={})):
            assert (answer.status_code, answer.headers["location"]) == (303, "/signin")


def test_a_body_that_does_not_disclose_has_no_counter(tmp_path: Path, network: Network) -> None:
    folder = tmp_path / "nenkin"
    folder.mkdir()
    with Parties(folder / "hub") as made:
        world = DeskWorld(folder, network, made, institution="nenkin")
        try:
            with world.clerk("佐藤") as browser:
                assert browser.get("/counter").status_code == 404
                fields = {"once": "0" * 32, "own_id": "R-0", "checked": "licence"}
                assert world.post(browser, "/counter", **fields).status_code == 404
                assert browser.get("/find", params={"words": "国民年金"}).status_code == 200
        finally:
            world.stop()
