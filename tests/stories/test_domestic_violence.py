"""Domestic violence: a woman moves away, and nothing that her partner can read tells him where.

With the push for the card in 2023 came the question what becomes of those who have fled. A violent partner may know
the card's secret number, may be her proxy in the portal from better days, or may know a clerk; victims were told to
have their own data closed (自己情報提供不可) and answers decided by hand (自動応答不可), town by town.

What must not happen: that he learns the new town from the history of who asked whom, from the answers that other bodies
get, from her own data, from errors, counts, or from what changes when she is protected; and when it is over, that
anything of her past is lost. Aoi is the one who moves, Ren her partner and proxy, Kei a citizen like any other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

import hub
from hub.citizens.proxystate import ProxyKind
from hub.errors import RequestError
from hub.messages import Flag, Kind, Status
from hub.records.events import EventKind

OLD_TOWN, NEW_TOWN, THIRD_TOWN = "131016", "131024", "011002"
AOI, REN, KEI = range(3)
NEW_YEAR = dt.datetime(2027, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=9)))
DAY_S = 86_400

OWN_DATA = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
self,1,1,番号法附則6条3項,番号法,自己情報の提供,自己情報の提供,市町村長,地方税,市町村民税,本人
"""
OWN_DATA_CLASS = "label,members\n番号法附則6条3項,code:portal\n"


class Life:
    """The three, what each institution calls them, and a clock in days."""

    def __init__(self, folder: Path) -> None:
        self.day = 0
        self.h = hub.open(folder, create=True, clock=lambda: NEW_YEAR.timestamp() + self.day * DAY_S)
        catalog = self.h.catalog.import_table(OWN_DATA_CLASS.encode(), "classes")
        self.h.load_catalog(catalog.import_rules(OWN_DATA.encode()))
        self.codes = [f"{10**9 + person:011}" for person in range(3)]
        self.nenkin = self.h.acquire("nenkin", self.codes).aliases
        self.citizens = self.h.acquire("portal", self.codes).aliases
        self.old_town = self.h.acquire(OLD_TOWN, self.codes).aliases
        # Where Aoi will move lives Kei; the third town knows neither of them.
        self.new_town = {KEI: self.h.acquire(NEW_TOWN, [self.codes[KEI]]).aliases}
        self.h.acquire(THIRD_TOWN, [self.codes[REN]])

    def ask(self, request_id: str, person: int, town: str) -> int:
        """The pension agency asks a town about a person's tax."""
        inquiry = hub.Inquiry(
            requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="年金部",
            request_id=request_id,
        )  # fmt: skip
        return int(self.h.inquire(inquiry, self.nenkin[person : person + 1], town).status[0])

    def ask_own(self, request_id: str, person: int, town: str) -> int:
        """A person asks a town for their own data, through the portal."""
        inquiry = hub.Inquiry(
            requester="portal", procedure="self/1/1", items=("市町村民税",), role="本人", section="わたしの情報",
            request_id=request_id,
        )  # fmt: skip
        return int(self.h.inquire(inquiry, self.citizens[person : person + 1], town).status[0])

    def answer(self, town: str, outcome: Status, payload: bytes | None = None, clerk: str | None = None) -> int:
        """A town answers all that waits for it alike."""
        rows = 0
        for permits in self.h.collect(town):
            payloads = None if payload is None else [payload] * len(permits)
            self.h.provide(town, permits, outcome, payloads, clerk=clerk)
            rows += len(permits)
        return rows

    def told(self, requester: str, request_id: str) -> tuple[object, ...]:
        """All that a requester is told of a request."""
        found = self.h.answers(requester, request_id)
        return found.status.tolist(), found.reason.tolist(), found.payloads, found.complete

    def history(self, person: int) -> list[hub.Record]:
        return self.h.history(self.citizens[person]).records

    def refused(self, handle: bytes) -> str:
        """With which words Ren is refused; nothing is recorded."""
        records = self.h.stats()["records"]
        with pytest.raises(RequestError) as error:
            self.h.proxy_history(self.citizens[REN], handle)
        assert self.h.stats()["records"] == records
        return str(error.value)

    def protect(self) -> int:
        """Aoi has moved: her new town acquires an alias and flags her in one commit, the register body protects her."""
        self.new_town[AOI] = self.h.acquire(NEW_TOWN, [self.codes[AOI]]).aliases
        commits = self.h.stats()["commits"]
        self.h.flag(NEW_TOWN, self.new_town[AOI], Flag.MANUAL | Flag.WITHHELD | Flag.NO_SELF, clerk="sato")
        commits = self.h.stats()["commits"] - commits
        since = NEW_YEAR.date()
        self.h.protect("jlis", self.codes[AOI], since=since, ground="support measures", clerk="mori")
        return int(commits)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path / "hub")
    yield made
    report = made.h.verify()
    assert report.ok, report.problems
    made.h.close()


@pytest.fixture
def handle(life: Life) -> bytes:
    """The better days: Ren may read for Aoi, and has; her old town has answered about her tax."""
    life.h.grant_proxy(life.citizens[AOI], life.citizens[REN], ProxyKind.VOLUNTARY, label="蓮", called="葵")
    assert life.ask("spring", AOI, OLD_TOWN) == Status.OK
    assert life.answer(OLD_TOWN, Status.PROVIDED, b"tax of Aoi") == 1
    (aoi,) = life.h.principals(life.citizens[REN])
    read = life.h.proxy_history(life.citizens[REN], aoi.handle).records
    assert [record.provider for record in read] == [OLD_TOWN, OLD_TOWN]
    life.day = 30
    return aoi.handle


def test_the_proxy_is_gone_in_the_commit_of_the_flag_and_looks_like_one_that_never_was(
    life: Life, handle: bytes
) -> None:
    never = life.refused(bytes(16))
    assert life.protect() == 1
    assert life.h.principals(life.citizens[REN]) == []
    assert life.refused(handle) == never
    assert life.h.revoke_proxy(life.citizens[REN], handle) is False
    assert life.refused(handle) == never
    # He may hold her card as well: her own list of proxies says nothing of it.
    assert [one.label for one in life.h.proxies(life.citizens[AOI])] == ["蓮"]
    assert life.h.principals(life.citizens[REN]) == []


def test_no_record_shows_the_new_town_nor_that_one_is_missing(life: Life, handle: bytes) -> None:
    life.protect()
    assert life.ask("summer", AOI, NEW_TOWN) == Status.OK
    life.h.provide(NEW_TOWN, life.h.collect(NEW_TOWN)[0], Status.PROVIDED, [b"tax of Aoi"], clerk="sato")
    # The agency gets what it needs; a machine alone would have left it to a clerk.
    assert life.h.answers("nenkin", "summer").payloads == [b"tax of Aoi"]
    shown = life.history(AOI)
    assert {record.kind for record in shown} == {Kind.PROXY_GRANTED, Kind.PROXY_VIEW}
    assert not [record for record in shown if NEW_TOWN in (record.requester, record.provider)]
    for limit in (1, 2, 100):
        page = life.h.history(life.citizens[AOI], limit=limit)
        assert len(page.records) == min(limit, 2)
        assert (page.cursor is None) == (limit >= 2), "no page is cut where something is hidden"
    assert life.h.history(life.citizens[AOI], institution=NEW_TOWN).records == []


def test_a_town_that_holds_her_answers_like_one_that_does_not(life: Life, handle: bytes) -> None:
    life.protect()
    # Somebody at a body that may ask looks for her, town by town; and for Kei, whom nobody protects.
    assert life.ask("aoi-new", AOI, NEW_TOWN) == life.ask("aoi-third", AOI, THIRD_TOWN) == Status.OK
    assert life.ask("kei-new", KEI, NEW_TOWN) == Status.OK
    assert life.ask("kei-third", KEI, THIRD_TOWN) == Status.NO_ALIAS_AT_PROVIDER
    # The machine of the new town answers at once what it may; her row waits for a clerk who will not say.
    for permits in life.h.collect(NEW_TOWN):
        assert permits.manual.tolist() == [permits.aliases[0].tobytes() == life.new_town[AOI].tobytes()]
        life.h.provide(NEW_TOWN, permits, Status.PROVIDED, [b"tax"])
    assert life.h.collect(THIRD_TOWN) == []
    assert life.told("nenkin", "aoi-new") == life.told("nenkin", "aoi-third")
    assert life.told("nenkin", "aoi-new")[0] == [Status.PENDING]
    assert life.told("nenkin", "kei-new")[0] == [Status.PROVIDED]


def test_a_lapse_at_the_town_that_holds_her_is_a_lapse_like_any(life: Life, handle: bytes) -> None:
    life.protect()
    life.ask("aoi-new", AOI, NEW_TOWN)
    life.ask("aoi-third", AOI, THIRD_TOWN)
    life.h.provide(NEW_TOWN, life.h.collect(NEW_TOWN)[0], Status.MANUAL)
    life.day += 10
    assert life.h.lapse() in (0, 2)
    assert life.told("nenkin", "aoi-new") == life.told("nenkin", "aoi-third")
    assert life.told("nenkin", "aoi-new")[0] == [Status.LAPSED]


def test_her_own_data_is_no_data(life: Life, handle: bytes) -> None:
    life.protect()
    assert life.ask_own("own-aoi", AOI, NEW_TOWN) == life.ask_own("own-kei", KEI, NEW_TOWN) == Status.OK
    for permits in life.h.collect(NEW_TOWN):
        hers = permits.aliases[0].tobytes() == life.new_town[AOI].tobytes()
        outcome, payload = (Status.PROVIDED, [b"income, address"]) if hers else (Status.NO_RECORD, None)
        life.h.provide(NEW_TOWN, permits, outcome, payload, clerk="sato")
    # Answers that a clerk decided leave at full seconds; the clock of this story goes in days.
    life.day += 1
    assert life.told("portal", "own-aoi") == life.told("portal", "own-kei")
    assert life.told("portal", "own-aoi")[0] == [Status.NO_RECORD]


def test_when_it_is_over_everything_is_there_again(life: Life, handle: bytes) -> None:
    before = life.history(AOI)
    life.protect()
    life.ask("summer", AOI, NEW_TOWN)
    life.h.provide(NEW_TOWN, life.h.collect(NEW_TOWN)[0], Status.PROVIDED, [b"tax of Aoi"], clerk="sato")
    life.refused(handle)
    life.day = 400
    # Two clerks each: the register body ends the protection, the town lifts what it withheld. One alone does nothing.
    assert life.h.unprotect("jlis", life.codes[AOI], clerk="mori") is False
    assert len(life.history(AOI)) == 2
    assert life.h.unprotect("jlis", life.codes[AOI], clerk="ito") is True
    for withheld, record in life.h.handles(NEW_TOWN, life.new_town[AOI]):
        assert record.withheld
        assert life.h.lift(withheld, clerk="sato", second_clerk="abe") is True
    life.refused(handle)
    life.h.flag(NEW_TOWN, life.new_town[AOI], Flag.MANUAL | Flag.WITHHELD | Flag.NO_SELF, on=False, clerk="sato")
    now = life.history(AOI)
    assert now[-len(before) :] == before
    assert [(record.kind, record.provider) for record in now[: -len(before)]] == [
        (Kind.PROVISION, NEW_TOWN), (Kind.INQUIRY, NEW_TOWN),
    ]  # fmt: skip
    assert all(life.h.history(life.citizens[AOI]).proof(row).record == record for row, record in enumerate(now))
    # The proxy is hers to end: it is back as it was, and goes in one call when she says so.
    assert [one.handle for one in life.h.principals(life.citizens[REN])] == [handle]
    assert len(life.h.proxy_history(life.citizens[REN], handle).records) == 4
    (own,) = life.h.proxies(life.citizens[AOI])
    assert life.h.revoke_proxy(life.citizens[AOI], own.handle) is True
    life.refused(handle)
    assert [record.kind for record in life.history(AOI)[:2]] == [Kind.PROXY_REVOKED, Kind.PROXY_VIEW]
    told = [event.kind for event in life.h.events()]
    assert told.count(EventKind.FLAGGED) == told.count(EventKind.UNFLAGGED) == 1
    assert told[-1] == EventKind.PROXY_ENDED
