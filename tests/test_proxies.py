"""Proxies (代理人): who reads for whom, what the person sees of it, and how it ends."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub import limits
from hub.citizens import proxies, proxystate
from hub.citizens.proxystate import ProxyKind, ProxyState
from hub.errors import RequestError, StorageError
from hub.messages import Flag, Kind
from hub.records.events import EventKind
from inquiries import tax_inquiry

TOWN, OTHER_TOWN = "131016", "011002"
START = 1_798_761_600
"""2027-01-01, nine o'clock in Japan."""

REFUSED = "handle: expected one of a person for whom this one may act, got another"


class World:
    """Five citizens, of whom the town knows all; nenkin has asked about each of them once."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.folder = folder
        self.h = hub.open(folder, create=True, clock=lambda: self.now)
        codes = np.arange(5, dtype=np.int64) + 10**9
        self.mine = self.h.acquire("nenkin", codes).aliases
        self.town = self.h.acquire(TOWN, codes).aliases
        self.citizens = [alias.tobytes() for alias in self.h.acquire("portal", codes).aliases]
        self.h.inquire(tax_inquiry("first"), self.mine, TOWN)

    def grant(self, person: int, agent: int, **words: Any) -> bytes:
        words = {"label": "夫", "called": "妻", **words}
        kind = words.pop("kind", ProxyKind.VOLUNTARY)
        return self.h.grant_proxy(self.citizens[person], self.citizens[agent], kind, **words)

    def handle(self, agent: int, at: int = 0) -> bytes:
        return self.h.principals(self.citizens[agent])[at].handle

    def read(self, agent: int, handle: bytes, **words: Any) -> list[hub.Record]:
        return self.h.proxy_history(self.citizens[agent], handle, **words).records

    def kinds(self, person: int) -> list[Kind]:
        return [record.kind for record in self.h.history(self.citizens[person]).records]

    def refused(self, agent: int, handle: Any) -> None:
        records = self.h.stats()["records"]
        with pytest.raises(RequestError) as error:
            self.h.proxy_history(self.citizens[agent], handle)
        assert str(error.value) == REFUSED
        assert self.h.stats()["records"] == records


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path / "hub")
    yield made
    report = made.h.verify()
    assert report.ok, report.problems
    made.h.close()


# -- granted


def test_a_proxy_reads_the_persons_history_and_the_person_sees_it(world: World) -> None:
    world.grant(0, 1)
    records = world.read(1, world.handle(1))
    assert [record.kind for record in records] == [Kind.INQUIRY]
    mine = world.h.history(world.citizens[0]).records
    assert [record.kind for record in mine] == [Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.INQUIRY]
    view = mine[0]
    assert (view.requester, view.provider, view.role, view.remark) == ("portal", "", "任意代理人", "夫")
    assert view.legal_basis == "個人情報保護法76条2項"
    assert view.inquiry == mine[1].inquiry
    assert world.h.history(world.citizens[0]).proof(0).record == view
    assert world.kinds(1) == [Kind.INQUIRY], "nothing of it is in the agent's own history"


def test_the_record_of_a_view_is_durable_before_anything_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.grant(0, 1)
    handle = world.handle(1)

    def fail(*_: object, **__: object) -> None:
        raise StorageError("read: damaged")

    with monkeypatch.context() as patch:
        patch.setattr("hub.methods.showing.disclose_history", fail)
        with pytest.raises(StorageError):
            world.read(1, handle)
    assert Kind.PROXY_VIEW in world.kinds(0)
    world.now += limits.PROXY_VIEW_S
    with monkeypatch.context() as patch:
        patch.setattr("hub.citizens.proxies.append_records", fail)
        patch.setattr("hub.methods.showing.disclose_history", lambda *_, **__: pytest.fail("read without a record"))
        with pytest.raises(StorageError):
            world.read(1, handle)
    assert world.kinds(0).count(Kind.PROXY_VIEW) == 1


def test_views_of_a_quarter_of_an_hour_are_one_record(world: World) -> None:
    for row in range(4):
        world.h.inquire(tax_inquiry(f"more-{row}"), world.mine[:1], TOWN)
    world.grant(0, 1)
    page = world.h.proxy_history(world.citizens[1], world.handle(1), limit=3)
    rest = world.h.proxy_history(world.citizens[1], world.handle(1), limit=3, cursor=page.cursor)
    assert len(page.records) == 3
    assert len(rest.records) == 2
    world.now += limits.PROXY_VIEW_S - 1
    world.read(1, world.handle(1))
    assert world.kinds(0).count(Kind.PROXY_VIEW) == 1
    world.now += 1
    world.read(1, world.handle(1))
    assert world.kinds(0).count(Kind.PROXY_VIEW) == 2


def test_the_same_grant_again_adds_nothing_and_other_terms_are_a_record(world: World) -> None:
    first = world.grant(0, 1)
    handle = world.handle(1)
    assert world.grant(0, 1) == first
    assert world.kinds(0).count(Kind.PROXY_GRANTED) == 1
    assert world.grant(0, 1, until=dt.date(2027, 6, 1)) == first
    assert world.kinds(0).count(Kind.PROXY_GRANTED) == 2
    assert world.h.history(world.citizens[0]).records[0].remark == "夫 (2027-06-01の前日まで)"
    assert world.handle(1) == handle
    (one,) = world.h.proxies(world.citizens[0])
    assert (one.handle, one.kind, one.state) == (first, ProxyKind.VOLUNTARY, ProxyState.IN_FORCE)
    assert (one.label, one.until) == ("夫", dt.date(2027, 6, 1))


def test_each_names_the_other_by_a_handle_that_is_no_alias_and_nobody_elses(world: World) -> None:
    world.grant(0, 1)
    world.grant(0, 2)
    world.grant(3, 1)
    handles = [one.handle for person in (0, 3) for one in world.h.proxies(world.citizens[person])]
    handles += [one.handle for agent in (1, 2) for one in world.h.principals(world.citizens[agent])]
    assert len(set(handles)) == 6
    assert not set(handles) & set(world.citizens)
    world.refused(2, world.handle(1))
    world.refused(1, world.h.proxies(world.citizens[0])[0].handle)
    assert [one.label for one in world.h.principals(world.citizens[1])] == ["妻", "妻"]


def test_a_proxy_learns_of_no_other_proxy(world: World) -> None:
    world.grant(0, 1)
    world.grant(0, 2)
    world.read(1, world.handle(1))
    assert [record.kind for record in world.read(2, world.handle(2))] == [Kind.INQUIRY]
    assert world.h.proxy_history(world.citizens[2], world.handle(2)).disclosure == ""


@pytest.mark.parametrize("handle", [b"", bytes(16), b"x" * 16, "x" * 16, None, 7])
def test_a_handle_that_is_nobodys_is_refused_with_the_same_words(world: World, handle: Any) -> None:
    world.grant(0, 1)
    world.refused(1, handle)
    assert world.h.revoke_proxy(world.citizens[1], handle) is False


def test_what_is_wrong_is_refused_and_nothing_changes(world: World) -> None:
    commits = world.h.stats()["commits"]
    for words in (
        {"label": ""}, {"label": "x" * 51}, {"called": "a\nb"}, {"kind": 2}, {"until": dt.date(2027, 1, 1)},
        {"until": dt.datetime(2030, 1, 1)}, {"clerk": ""},
    ):  # fmt: skip
        with pytest.raises(RequestError):
            world.grant(0, 1, **words)
    with pytest.raises(RequestError, match="got the same"):
        world.grant(0, 0)
    with pytest.raises(RequestError, match="one of the portal's"):
        world.h.grant_proxy(world.town[0], world.citizens[1], ProxyKind.VOLUNTARY, label="a", called="b")
    assert world.h.stats()["commits"] == commits
    world.grant(0, 1, label="x" * 50, until=dt.date(2027, 1, 2))


def test_one_proxy_more_than_a_person_may_have_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "PROXIES_PER_PERSON_MAX", 2)
    world.grant(0, 1)
    world.grant(0, 2)
    with pytest.raises(RequestError, match="at most 2 of one person"):
        world.grant(0, 3)
    world.grant(0, 2, label="兄")
    monkeypatch.setattr(proxies, "PRINCIPALS_PER_AGENT_MAX", 1)
    with pytest.raises(RequestError, match="at most 1 of one agent"):
        world.grant(4, 1)
    world.grant(4, 3)


def test_why_a_handle_is_refused_costs_the_same_look_ups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    read, flagged = proxies.read_proxy, world.h._office.flagged.of

    def count_read(*arguments: Any) -> Any:
        looked.append("proxy")
        return read(*arguments)

    def count_flags(snapshot: Any) -> Any:
        looked.append("flags")
        return flagged(snapshot)

    own, revoked = world.grant(0, 1), world.handle(1)
    world.h.revoke_proxy(world.citizens[0], own)
    world.grant(2, 1)
    resting = world.handle(1)
    world.h.flag(TOWN, world.town[2:3].copy(), Flag.NO_SELF)
    monkeypatch.setattr(proxies, "read_proxy", count_read)
    monkeypatch.setattr(world.h._office.flagged, "of", count_flags)
    counts = []
    for handle in (revoked, resting, bytes(16), b"made up"):
        looked.clear()
        world.refused(1, handle)
        counts.append(tuple(looked))
    assert set(counts) == {("proxy", "flags")}


# -- ended


@pytest.mark.parametrize("by_agent", [False, True])
def test_a_revoked_proxy_meets_what_a_handle_of_nobody_meets(world: World, by_agent: bool) -> None:
    own, handle = world.grant(0, 1), world.handle(1)
    world.read(1, handle)
    alias, named = (world.citizens[1], handle) if by_agent else (world.citizens[0], own)
    assert world.h.revoke_proxy(alias, named) is True
    assert world.h.revoke_proxy(alias, named) is False
    world.refused(1, handle)
    assert world.h.principals(world.citizens[1]) == []
    assert world.h.proxies(world.citizens[0]) == []
    assert world.kinds(0)[0] == Kind.PROXY_REVOKED
    assert world.grant(0, 1) != own
    world.refused(1, handle)
    world.read(1, world.handle(1))


def test_a_revocation_between_record_and_reading_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    own, handle = world.grant(0, 1), world.handle(1)
    note = world.h._proxies.note_view

    def note_and_revoke(*arguments: Any) -> None:
        note(*arguments)
        world.h.revoke_proxy(world.citizens[0], own)

    monkeypatch.setattr(world.h._proxies, "note_view", note_and_revoke)
    with pytest.raises(RequestError, match=REFUSED):
        world.h.proxy_history(world.citizens[1], handle)


def test_nobody_revokes_anothers_proxy(world: World) -> None:
    own, handle = world.grant(0, 1), world.handle(1)
    for person, named in ((1, own), (2, own), (2, handle), (0, handle)):
        assert world.h.revoke_proxy(world.citizens[person], named) is False
    world.read(1, handle)


def test_a_proxy_by_law_is_over_on_its_day_in_japan(world: World) -> None:
    birthday = dt.date(2027, 1, 3)
    world.grant(0, 1, kind=ProxyKind.STATUTORY, until=birthday, label="母", called="子")
    handle = world.handle(1)
    world.now = int(dt.datetime(2027, 1, 2, 14, 59, 59, tzinfo=dt.UTC).timestamp())
    world.read(1, handle)
    world.now += 1
    world.refused(1, handle)
    assert world.h.principals(world.citizens[1]) == world.h.proxies(world.citizens[0]) == []
    assert world.h.verify().ok
    fresh = world.grant(0, 1)
    world.refused(1, handle)
    assert [one.handle for one in world.h.proxies(world.citizens[0])] == [fresh]


def test_a_proxy_by_law_always_has_a_day_fifteen_years_ahead_at_most(world: World) -> None:
    today = dt.datetime.fromtimestamp(world.now, dt.timezone(dt.timedelta(hours=9))).date()
    last = today + dt.timedelta(days=limits.STATUTORY_PROXY_DAYS_MAX)
    for until in (None, last + dt.timedelta(days=1)):
        with pytest.raises(RequestError, match=r"until: expected .* statutory proxy"):
            world.grant(0, 1, kind=ProxyKind.STATUTORY, until=until)
    assert world.h.proxies(world.citizens[0]) == []
    world.grant(0, 1, kind=ProxyKind.STATUTORY, until=last)
    assert [one.until for one in world.h.proxies(world.citizens[0])] == [last]
    # One by the person's own word may be open.
    world.grant(0, 1, until=None)


def test_a_renewed_card_lets_proxies_rest_until_they_are_confirmed(world: World) -> None:
    world.grant(0, 1)
    own, handle = world.grant(0, 2), world.handle(2)
    assert world.h.question_proxies(world.citizens[0]) == 2
    assert world.h.question_proxies(world.citizens[0]) == 0
    world.refused(2, handle)
    assert world.h.principals(world.citizens[2]) == []
    assert [one.state for one in world.h.proxies(world.citizens[0])] == [ProxyState.TO_CONFIRM] * 2
    world.h.revoke_proxy(world.citizens[0], own)
    assert world.h.confirm_proxies(world.citizens[0]) == 1
    world.read(1, world.handle(1))
    world.refused(2, handle)


@pytest.mark.parametrize("dead", [0, 1])
def test_death_ends_the_proxies_of_a_person_on_both_sides(world: World, dead: int) -> None:
    world.grant(0, 1)
    world.grant(1, 2)
    world.grant(2, 0)
    world.grant(3, 4)
    handle = world.handle(1)
    store = world.h._store
    with store.snapshot() as snapshot:
        person = world.h._find_citizen(snapshot, world.citizens[dead])
    with store.commit() as commit:
        assert world.h._proxies.end_all(commit, person, "death") == 2
    world.refused(1, handle)
    left = [len(world.h.proxies(world.citizens[row])) for row in range(4)]
    assert left == ([0, 1, 0, 1] if dead == 0 else [0, 0, 1, 1])
    assert [event.ground for event in world.h.events() if event.kind == EventKind.PROXY_ENDED] == ["death"] * 2


def test_who_is_closed_neither_acts_nor_is_acted_for(world: World) -> None:
    world.grant(0, 1)
    handle = world.handle(1)
    with world.h._store.snapshot() as snapshot:
        person = world.h._find_citizen(snapshot, world.citizens[0])
    world.h._proxies.closed = lambda _, one: one == person
    world.refused(1, handle)
    assert world.h.principals(world.citizens[1]) == []
    with pytest.raises(RequestError, match="two persons who live"):
        world.grant(2, 0)
    world.h._proxies.closed = lambda _, one: False
    world.read(1, handle)


# -- protected


def test_a_flag_no_self_lets_proxies_rest_in_its_own_commit_and_its_end_brings_them_back(world: World) -> None:
    world.grant(0, 1)
    handle = world.handle(1)
    before = world.h.proxies(world.citizens[0])
    commits = world.h.stats()["commits"]
    world.h.flag(TOWN, world.town[:1].copy(), Flag.NO_SELF)
    assert world.h.stats()["commits"] == commits + 1
    world.refused(1, handle)
    assert world.h.principals(world.citizens[1]) == []
    assert world.h.revoke_proxy(world.citizens[1], handle) is False
    # The person's own pages say nothing of it.
    assert world.h.proxies(world.citizens[0]) == before
    assert world.kinds(0) == [Kind.PROXY_GRANTED, Kind.INQUIRY]
    world.h.flag(TOWN, world.town[:1].copy(), Flag.NO_SELF, on=False)
    assert world.handle(1) == handle
    assert [record.kind for record in world.read(1, handle)] == [Kind.INQUIRY]


def test_a_proxy_of_another_person_goes_on(world: World) -> None:
    world.grant(0, 1)
    world.grant(2, 1)
    world.h.flag(TOWN, world.town[:1].copy(), Flag.NO_SELF | Flag.MANUAL | Flag.WITHHELD)
    (left,) = world.h.principals(world.citizens[1])
    world.read(1, left.handle)


def test_who_has_a_flag_may_still_act_for_others(world: World) -> None:
    world.grant(0, 1)
    world.h.flag(TOWN, world.town[1:2].copy(), Flag.NO_SELF)
    world.read(1, world.handle(1))


def test_a_protected_person_still_sees_what_their_proxies_did(world: World) -> None:
    world.grant(0, 1)
    world.read(1, world.handle(1))
    world.h.protect("jlis", "01000000000", since=dt.date(2026, 1, 1), ground="protected")
    assert world.kinds(0) == [Kind.PROXY_VIEW, Kind.PROXY_GRANTED]


# -- told, checked, reopened


def test_proxies_are_there_after_opening_again(world: World) -> None:
    own, handle = world.grant(0, 1), None
    handle = world.handle(1)
    world.h.close()
    world.h = hub.open(world.folder, clock=lambda: world.now)
    assert world.h.proxies(world.citizens[0])[0].handle == own
    world.read(1, handle)


def test_auditors_read_what_was_done_and_no_name(world: World) -> None:
    own = world.grant(0, 1, clerk="sato")
    world.h.question_proxies(world.citizens[0])
    world.h.confirm_proxies(world.citizens[0])
    world.h.revoke_proxy(world.citizens[0], own)
    told = [(event.kind, event.institution, event.clerk, event.ground) for event in world.h.events()]
    assert told == [
        (EventKind.PROXY_GRANTED, "portal", "sato", "voluntary"),
        (EventKind.PROXY_CONFIRMED, "portal", None, "to_confirm"),
        (EventKind.PROXY_CONFIRMED, "portal", None, "in_force"),
        (EventKind.PROXY_ENDED, "portal", None, "by the person"),
    ]


def test_no_name_is_in_a_repr(world: World) -> None:
    world.grant(0, 1)
    shown = repr(world.h.proxies(world.citizens[0])) + repr(world.h.principals(world.citizens[1]))
    assert shown == "[Proxy(VOLUNTARY, IN_FORCE)][Principal(VOLUNTARY)]"


def test_verify_finds_a_proxy_that_is_lost_made_up_or_half_there(tmp_path: Path) -> None:
    world = World(tmp_path / "hub")
    world.grant(0, 1)
    store = world.h._store
    with store.snapshot() as snapshot:
        items = [(key, bytes(value)) for key, value in snapshot.items(proxystate.NAME, b"")]
    (by_agent, index), (by_principal, _) = items
    with store.commit() as commit:
        commit.delete(proxystate.NAME, by_agent)
    assert "by agent" in " ".join(world.h.verify().problems)
    with store.commit() as commit:
        commit.delete(proxystate.NAME, by_principal)
    assert "as their events say" in " ".join(world.h.verify().problems)
    with store.commit() as commit:
        commit.put_sealed(proxystate.NAME, by_agent, index[8:])
        commit.put_sealed(proxystate.NAME, by_principal, b"\x02\x03" + bytes(40))
    assert "expected a proxy" in " ".join(world.h.verify().problems)
    with pytest.raises(StorageError, match="expected a proxy"):
        world.h.proxies(world.citizens[0])
    world.h.close()


def test_a_merge_ends_the_proxies_of_who_is_gone_and_a_death_those_of_the_dead(world: World) -> None:
    world.grant(0, 1)
    world.grant(2, 3)
    own, handle = world.handle(1), world.handle(3)
    why = {"clerk": "sato", "second_clerk": "mori", "reason": "two codes of one human being"}
    world.h.merge("jlis", "01000000004", "01000000001", **why)
    assert world.h.proxies(world.citizens[0]) == []
    assert world.h.principals(world.citizens[4]) == []
    with pytest.raises(RequestError):
        world.h.proxy_history(world.citizens[1], own)
    with pytest.raises(RequestError, match=REFUSED):
        world.h.proxy_history(world.citizens[4], own)
    world.read(3, handle)
    world.h.deaths(TOWN, world.town[2:3].copy(), [dt.date(2026, 12, 31)])
    with pytest.raises(RequestError, match=REFUSED):
        world.h.proxy_history(world.citizens[3], handle)
    assert world.h.principals(world.citizens[3]) == []


def test_whoever_reads_beside_revocations_left_a_record_or_was_refused(world: World) -> None:
    read: list[int] = []
    refused: set[str] = set()
    done = threading.Event()

    def view() -> None:
        while not done.is_set():
            for one in world.h.principals(world.citizens[1]):
                try:
                    read.append(len(world.h.proxy_history(world.citizens[1], one.handle)))
                except RequestError as error:
                    refused.add(str(error))

    reading = [threading.Thread(target=view) for _ in range(3)]
    for thread in reading:
        thread.start()
    for _ in range(15):
        own = world.grant(0, 1)
        time.sleep(0.005)
        assert world.h.revoke_proxy(world.citizens[0], own) is True
    done.set()
    for thread in reading:
        thread.join()
    assert refused <= {REFUSED}
    assert set(read) <= {1}
    kinds = world.kinds(0)
    assert kinds.count(Kind.PROXY_GRANTED) == kinds.count(Kind.PROXY_REVOKED) == 15
    # Every grant starts anew: views of one grant within a quarter of an hour are one record.
    assert kinds.count(Kind.PROXY_VIEW) <= 15
    assert bool(read) <= (kinds.count(Kind.PROXY_VIEW) > 0)
