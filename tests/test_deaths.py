"""Deaths that are told, corrected and taken back: what they close, and what stays at work."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.errors import RequestError, RowsError, StorageError
from hub.limits import DEATHS_PER_CALL_MAX
from hub.messages import Acquisition, Kind, Status
from hub.persons import dying
from hub.persons.deaths import ALIVE, all_deaths, dead, is_closed, read_deaths
from hub.records.events import EventKind
from inquiries import tax_inquiry
from parties import Parties

TODAY = dt.date(2026, 11, 25)
YESTERDAY = TODAY - dt.timedelta(1)
TWO = {"clerk": "佐藤", "second_clerk": "鈴木"}


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as made:
        yield made
        assert made.h.verify().problems == ()


def person(parties: Parties, row: int) -> int:
    with parties.h._store.snapshot() as snapshot:
        return parties.h._find_citizen(snapshot, parties.portal[row], closed=True)


def test_a_death_closes_the_portal_alias_and_no_other(parties: Parties) -> None:
    h = parties.h
    parties.ask("before", [0, 1])
    told = h.deaths(parties.town, parties.known[:1].copy(), YESTERDAY, clerk="佐藤")
    assert (told.told, told.corrected, told.known) == (1, 0, 0)
    for call in (h.history, h.disclosure_key, h.disclosure_keys):
        with pytest.raises(RequestError, match="closed"):
            call(parties.portal[0])
    assert len(h.history(parties.portal[1])) == 1
    assert parties.ask("after", [0, 1]).status.tolist() == [Status.OK] * 2
    permits = h.collect(parties.town)
    assert sum(map(len, permits)) == 4
    for some in permits:
        h.provide(parties.town, some, Status.PROVIDED, [b"inheritance"] * len(some))
    assert h.answers("nenkin", "after").status.tolist() == [Status.PROVIDED] * 2
    assert (h.reissue(parties.town, parties.known[:1].copy()).status == Acquisition.CREATED).all()
    assert [(event.kind, event.ground) for event in h.events()] == [(EventKind.DIED, "1 told")]


def test_a_closed_alias_asks_nothing_and_is_not_replaced(parties: Parties) -> None:
    h = parties.h
    h.deaths("jlis", [parties.codes[0]], TODAY)
    inquiry = tax_inquiry("own", requester="portal")
    assert h.resolve("portal", parties.town, parties.portal[:2]).status.tolist() == [Status.REVOKED, Status.OK]
    assert inquiry.requester == "portal"
    assert h.reissue("portal", parties.portal[:1].copy()).status.tolist() == [Acquisition.NONE]
    assert h.revoke("portal", parties.portal[:1].copy()) == 0


def test_nobody_acquires_a_portal_alias_of_the_dead(parties: Parties) -> None:
    h = parties.h
    late = [f"{10**9 + 100:011}", f"{10**9 + 101:011}"]
    known = h.acquire(parties.town, late).aliases
    tickets = h.tickets("portal", 4)
    h.deliver("jlis", tickets[:1].copy(), [parties.codes[0]])
    h.deaths(parties.town, np.concatenate((parties.known[:1], known[:1])), TODAY)
    found = h.acquire("portal", [*late, *parties.codes[:2], late[0]])
    none, created, already = Acquisition.NONE, Acquisition.CREATED, Acquisition.ALREADY
    assert found.status.tolist() == [none, created, none, already, none]
    assert not found.aliases[[0, 2, 4]].any()
    h.deliver("jlis", tickets[1:].copy(), [parties.codes[0], late[0], late[1]])
    told = h.acquired("portal", tickets)
    assert told.status.tolist() == [none, none, none, already]
    assert not told.aliases[:3].any()
    assert (h.acquire("nenkin", late).status == created).all()
    h.alive("jlis", [late[0]], reason="another of that name", **TWO)
    assert h.acquire("portal", late[:1]).status.tolist() == [created]


def test_the_same_day_again_changes_nothing_and_another_is_refused(parties: Parties) -> None:
    h, row = parties.h, parties.known[:1].copy()
    h.deaths(parties.town, row, YESTERDAY)
    commits = h.stats()["commits"]
    again = h.deaths("jlis", [parties.codes[0]], [YESTERDAY])
    assert (again.told, again.known, h.stats()["commits"]) == (0, 1, commits)
    with pytest.raises(RowsError, match="correct it") as caught:
        h.deaths(parties.town, row, TODAY)
    assert (caught.value.cause, h.stats()["commits"]) == ("corrects", commits)


def test_a_correction_takes_two_clerks_and_follows_the_record_before(parties: Parties) -> None:
    h, row = parties.h, parties.known[:1].copy()
    h.deaths(parties.town, row, YESTERDAY)
    for words in ({}, {"clerk": "佐藤"}, {"clerk": "佐藤", "second_clerk": "佐藤"}):
        with pytest.raises(RequestError, match="clerk"):
            h.deaths(parties.town, row, TODAY, correct=True, **words)
    told = h.deaths(parties.town, row, TODAY, correct=True, **TWO)
    assert (told.told, told.corrected) == (0, 1)
    assert h.alive(parties.town, row, reason="a slip", **TWO) == 1
    shown = [one for one in h.history(parties.portal[0]).records if one.kind == Kind.DIED]
    assert [one.outcome for one in shown] == [Status.EMPTY, Status.OK, Status.OK]
    assert [one.link for one in shown] == [shown[1].index, shown[2].index, None]
    assert {one.requester for one in shown} == {parties.town}
    assert [(one.kind, one.ground) for one in h.events()] == [
        (EventKind.DIED, "1 told"), (EventKind.DIED, "1 corrected"), (EventKind.ALIVE, "1: a slip"),
    ]  # fmt: skip


def test_whoever_was_told_dead_by_mistake_has_everything_back(parties: Parties) -> None:
    h = parties.h
    parties.ask("r1", [0, 1])
    before = parties.shown(0)
    h.deaths(parties.town, parties.known[:2].copy(), YESTERDAY)
    assert h.alive(parties.town, parties.known[:1].copy(), reason="alive", **TWO) == 1
    assert parties.shown(0)[2:] == before
    assert h.acquire("portal", parties.codes[:2]).status.tolist() == [Acquisition.ALREADY, Acquisition.NONE]
    commits = h.stats()["commits"]
    assert h.alive(parties.town, parties.known[:1].copy(), reason="alive", **TWO) == 0
    assert h.stats()["commits"] == commits
    h.deaths(parties.town, parties.known[:1].copy(), YESTERDAY)
    assert is_closed_now(parties, 0)


def is_closed_now(parties: Parties, row: int) -> bool:
    with parties.h._store.snapshot() as snapshot:
        return is_closed(snapshot, person(parties, row))


def test_the_portal_is_told_whose_sessions_end(parties: Parties) -> None:
    h = parties.h
    assert (len(h.closed().aliases), h.closed().upto) == (0, 0)
    h.deaths(parties.town, parties.known[:2].copy(), YESTERDAY)
    first = h.closed()
    assert set(map(bytes, first.aliases)) == set(map(bytes, parties.portal[:2]))
    h.deaths(parties.town, parties.known[2:3].copy(), YESTERDAY)
    second = h.closed(first.upto)
    assert second.aliases.tobytes() == parties.portal[2].tobytes()
    assert len(h.closed(second.upto).aliases) == 0
    assert h.closed(second.upto).upto == second.upto
    assert len(h.closed(0, limit=1).aliases) == 2
    h.alive(parties.town, parties.known[:1].copy(), reason="alive", **TWO)
    assert set(map(bytes, h.closed().aliases)) == set(map(bytes, parties.portal[1:3]))
    assert repr(first) == "Closed(rows=2)"


@pytest.mark.parametrize(
    ("days", "born", "cause"),
    [
        (TODAY + dt.timedelta(1), None, "future"),
        (YESTERDAY, TODAY, "born"),
        (dt.date(1970, 1, 1), dt.date(1970, 1, 2), "born"),
    ],
)
def test_days_that_cannot_be_are_refused(
    parties: Parties, days: dt.date, born: dt.date | None, cause: str
) -> None:
    commits = parties.h.stats()["commits"]
    rows = parties.known[:2].copy()
    with pytest.raises(RowsError) as caught:
        parties.h.deaths(parties.town, rows, [YESTERDAY, days], born=None if born is None else [None, born])
    assert (caught.value.cause, caught.value.rows) == (cause, [1])
    assert parties.h.stats()["commits"] == commits


def test_the_last_days_that_can_be_are_taken(parties: Parties) -> None:
    rows = parties.known[:2].copy()
    assert parties.h.deaths(parties.town, rows, [TODAY, YESTERDAY], born=[TODAY, dt.date(1912, 3, 4)]).told == 2


def test_today_is_japans(parties: Parties) -> None:
    # 08:59 in Japan on the 26th is still the 25th in UTC.
    parties.clock.now = int(dt.datetime(2026, 11, 25, 23, 59, tzinfo=dt.UTC).timestamp())
    assert parties.h.deaths(parties.town, parties.known[:1].copy(), dt.date(2026, 11, 26)).told == 1
    with pytest.raises(RowsError):
        parties.h.deaths(parties.town, parties.known[1:2].copy(), dt.date(2026, 11, 27))


def test_who_is_not_known_and_who_may_not_tell(parties: Parties) -> None:
    h = parties.h
    strangers = np.concatenate((parties.known[:1], parties.nenkin[:1]))
    with pytest.raises(RowsError) as caught:
        h.deaths(parties.town, strangers, TODAY)
    assert (caught.value.cause, caught.value.rows) == ("unknown", [1])
    with pytest.raises(RowsError):
        h.deaths("jlis", [f"{5:011}"], TODAY)
    with pytest.raises(RequestError, match="municipality"):
        h.deaths("nenkin", parties.nenkin[:1].copy(), TODAY)
    with pytest.raises(RowsError) as caught:
        h.deaths(parties.town, np.concatenate((parties.known[:2], parties.known[:1])), [TODAY, TODAY, YESTERDAY])
    assert (caught.value.cause, caught.value.rows) == ("twice", [2])
    assert h.deaths(parties.town, np.concatenate((parties.known[:1], parties.known[:1])), TODAY).told == 1
    with pytest.raises(RequestError, match="at most"):
        h.deaths(parties.town, np.zeros((DEATHS_PER_CALL_MAX + 1, 16), np.uint8), TODAY)
    assert h.events(limit=10)[0].kind == EventKind.DIED


def test_many_deaths_are_several_transactions_and_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dying, "DEATHS_PER_COMMIT", 100)
    with Parties(tmp_path / "hub", persons=1_000) as parties:
        rows = np.random.default_rng(1).permutation(1_000)[:730]
        days = np.array([YESTERDAY] * 730, dtype="datetime64[D]") - np.arange(730) % 400
        commits = parties.h.stats()["commits"]
        assert parties.h.deaths(parties.town, parties.known[rows], days).told == 730
        assert parties.h.stats()["commits"] == commits + 8
        with parties.h._store.snapshot() as snapshot:
            persons = np.array([person(parties, row) for row in rows.tolist()], dtype=np.uint32)
            assert (read_deaths(snapshot, persons)["day"] == days.astype(np.int64)).all()
            assert int(dead(snapshot, np.arange(1_000, dtype=np.uint32)).sum()) == len(all_deaths(snapshot)) == 730
        assert len(parties.h.closed().aliases) == 730
        assert parties.h.alive(parties.town, parties.known[rows[:500]], reason="a wrong file", **TWO) == 500
        assert len(parties.h.closed().aliases) == 230
        assert parties.h.verify().problems == ()


def test_a_merged_person_dies_once(parties: Parties) -> None:
    h, words = parties.h, {**TWO, "reason": "one human being"}
    h.merge("jlis", parties.codes[0], parties.codes[1], **words)
    one, other = person(parties, 0), 0
    h.deaths("jlis", [parties.codes[1]], TODAY)
    with h._store.snapshot() as snapshot:
        other = h._merging.person_of(snapshot, h._pseudonym(parties.codes[1]))
        assert is_closed(snapshot, one)
        assert is_closed(snapshot, other)
    with pytest.raises(RequestError, match="take it back first"):
        h.split("jlis", parties.codes[0], parties.codes[1], **words)
    h.alive("jlis", [parties.codes[0]], **words)
    h.split("jlis", parties.codes[0], parties.codes[1], **words)
    h.deaths("jlis", [parties.codes[0]], TODAY)
    with pytest.raises(RequestError, match="correct the death first"):
        h.merge("jlis", parties.codes[0], parties.codes[1], **words)
    h.deaths("jlis", [parties.codes[1]], TODAY)
    h.merge("jlis", parties.codes[0], parties.codes[1], **words)
    h.split("jlis", parties.codes[0], parties.codes[1], **words)
    with h._store.snapshot() as snapshot:
        assert dead(snapshot, np.array([one, other], dtype=np.uint32)).tolist() == [True, True]


def test_a_damaged_list_of_the_dead_stops_what_relies_on_it(parties: Parties) -> None:
    import lmdb

    parties.h.deaths(parties.town, parties.known[:1].copy(), TODAY)
    parties.h.close()
    with lmdb.open(str(parties.folder / "env"), max_dbs=256, lib_version=0) as env:
        database = env.open_db(b"deaths", create=False)
        with env.begin(write=True, db=database) as txn:
            kept = [(bytes(key), bytes(value)) for key, value in txn.cursor()]
            for key, _ in kept:
                txn.delete(key)
    parties.h = hub.open(parties.folder, clock=parties.clock)
    for call in (
        lambda: parties.h.acquire("portal", parties.codes[:1]),
        lambda: parties.h.closed(),
        lambda: parties.h.deaths(parties.town, parties.known[:1].copy(), TODAY),
    ):
        with pytest.raises(StorageError, match="deaths: expected the sum"):
            call()
    parties.h.close()
    with lmdb.open(str(parties.folder / "env"), max_dbs=256, lib_version=0) as env:
        database = env.open_db(b"deaths", create=False)
        with env.begin(write=True, db=database) as txn:
            for key, value in kept:
                txn.put(key, value)
    parties.h = hub.open(parties.folder, clock=parties.clock)


def test_of_the_living_nothing_is_stored(parties: Parties) -> None:
    with parties.h._store.snapshot() as snapshot:
        found = read_deaths(snapshot, np.array([3, 0xFFFFFFFF, 1], dtype=np.uint32))
        assert found["day"].tolist() == [ALIVE] * 3
        assert not dead(snapshot, np.arange(6, dtype=np.uint32)).any()
        assert read_deaths(snapshot, np.empty(0, np.uint32)).tolist() == []
