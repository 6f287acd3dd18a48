"""The hub goes and comes back, records are withheld, many people come at once: nobody reads what is not theirs."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from portalworld import PortalWorld, fill
from served import Network, Served
from test_portal_history import records_of, shown_on
from test_portal_prove import pdf_text

from hub.portal.config import Limits
from hub.portal.reading import address_of
from parties import Parties

PEOPLE, AT_ONCE = 200, 64


@pytest.fixture
def crowd(tmp_path: Path, network: Network) -> Iterator[PortalWorld]:
    with Parties(tmp_path / "hub", PEOPLE) as parties:
        made = PortalWorld(tmp_path, network, parties, limits=Limits(sessions=PEOPLE))
        yield made
        made.stop()


def test_many_people_at_once_read_their_own_records_and_no_other(crowd: PortalWorld) -> None:
    for n in range(3):
        crowd.parties.ask(f"all-{n}", list(range(PEOPLE)))
    own = [{address_of(record) for record in records_of(crowd, n)} for n in range(PEOPLE)]
    everybody = set().union(*own)
    assert len(everybody) == 3 * PEOPLE

    def read(person: int) -> None:
        with crowd.signed_in(person) as browser:
            for path in ("/history", "/history?outcome=allowed"):
                assert shown_on(browser.get(path).text) == own[person]
            found = json.loads(browser.get("/save/history.json").content)["records"]
            assert {one["index"] for one in found} == {int(at.split("-")[1]) for at in own[person]}
            assert browser.get(f"/record/{min(everybody - own[person])}").status_code == 404

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(read, range(PEOPLE)))
    # However many came at once, the provider was asked where it is, and for its keys, by one of them.
    asked = crowd.provider.asked
    assert [asked.count(path) for path in ("/.well-known/openid-configuration", "/jwks")] == [1, 1]
    assert len(crowd.portal.sessions) == PEOPLE
    # One more than there may be: whoever was away for longest signs in again.
    with crowd.signed_in(0) as browser:
        assert len(crowd.portal.sessions) == PEOPLE
        assert shown_on(browser.get("/history").text) == own[0]


def test_a_withheld_record_is_on_no_page_in_no_file_and_has_no_proof(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        fill(parties, 0)
        page = parties.h.history(parties.portal[0], limit=100)
        before, leaves = page.records, [page.proof(at).leaf.hex() for at in range(len(page.records))]
        hidden = before[-1]
        for handle, record in parties.h.handles(parties.town, parties.known[0]):
            if record.requested_at == hidden.requested_at:
                parties.h.withhold(handle, "保護のため", dt.date(2027, 4, 1), institution=parties.town)
        shown = records_of_parties(parties)
        assert len(shown) < len(before)
        world = PortalWorld(tmp_path, network, parties)
        try:
            with world.signed_in(0) as browser:
                assert shown_on(browser.get("/history").text) == {address_of(record) for record in shown}
                for path in ("", "/proof"):
                    assert browser.get(f"/record/{address_of(hidden)}{path}").status_code == 404
                found = json.loads(browser.get("/save/history.json").content)["records"]
                assert [one["index"] for one in found] == [record.index for record in shown]
                table, paper = browser.get("/save/history.csv").text, browser.get("/save/history.pdf").content
                year = browser.get("/year").text
            left = [leaf for leaf, record in zip(leaves, before, strict=True) if record in shown]
            for text in (table, pdf_text(paper)):
                assert [text.count(leaf) for leaf in left] == [1] * len(shown)
                assert leaves[-1] not in text
            assert f"{sum(record.kind.name == 'INQUIRY' for record in shown)}件の照会" in year
        finally:
            world.stop()


def records_of_parties(parties: Parties) -> list:  # type: ignore[type-arg]
    return list(parties.h.history(parties.portal[0], limit=100).records)


def read_when_there(browser: httpx.Client) -> set[str]:
    """What the history shows, once the hub answers in time."""
    end = time.monotonic() + 60
    while (answer := browser.get("/history")).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    return shown_on(answer.text)


def test_the_hub_goes_and_comes_back_and_nobody_is_signed_out(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        fill(parties, 0)
        world = PortalWorld(tmp_path, network, parties, hub_timeout_s=1.0)
        try:
            with world.signed_in(0) as browser:
                before = read_when_there(browser)
                port = world.served.port
                world.served.stop()
                for path in ("/history", "/notices", "/save/history.json"):
                    answer = browser.get(path)
                    assert answer.status_code == 503
                    assert not shown_on(answer.text)
                assert browser.get("/").status_code == 200
                world.served = Served(parties.h, network.config(["portal"], listen=f"127.0.0.1:{port}"))
                assert read_when_there(browser) == before
        finally:
            world.stop()


def test_a_portal_whose_certificate_may_call_for_others_too_shows_nothing(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        world = PortalWorld(tmp_path, network, parties)
        try:
            port = world.served.port
            world.served.stop()
            world.served = Served(parties.h, network.config(["portal", "nenkin"], listen=f"127.0.0.1:{port}"))
            with world.signed_in(0) as browser:
                assert browser.get("/history").status_code == 503
        finally:
            world.stop()


def test_the_provider_of_sign_in_away_is_said(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        world = PortalWorld(tmp_path, network, parties)
        world.provider.stop()
        try:
            with world.browser() as browser:
                answer = browser.post("/signin")
            assert answer.status_code == 503
            assert "認証アプリにつながりません" in answer.text
        finally:
            world.thread.stop()
            world.served.stop()
