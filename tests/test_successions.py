"""Municipalities that merge: old aliases, permits, answers, flags and records under the successor."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.errors import RequestError, RowsError
from hub.messages import Acquisition, Kind, Status
from hub.persons.successions import Successions
from hub.records.events import EventKind
from inquiries import tax_inquiry
from parties import DAY_S, NOON, Parties

DAY = dt.date(2026, 11, 25)
TWO = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "合併"}


class Merged(Parties):
    """Two towns, of which the first knows all six persons and the second the last three; a third is to succeed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new = self.h.catalog.institutions("市町村長")[2].code
        self.others = self.h.acquire(self.other_town, self.codes[3:]).aliases

    def succeed(self, *olds: str, new: str | None = None) -> None:
        self.h.succeed(list(olds) or [self.town, self.other_town], new or self.new, DAY, **TWO)

    def ask_new(self, request_id: str, persons: list[int], provider: str | None = None) -> list[int]:
        rows = np.ascontiguousarray(self.nenkin[persons])
        return self.h.inquire(tax_inquiry(request_id), rows, provider or self.new).status.tolist()


@pytest.fixture
def bodies(tmp_path: Path) -> Iterator[Merged]:
    with Merged(tmp_path / "hub") as made:
        yield made
        assert made.h.verify().problems == ()


def numbers_of(permits: list[hub.Permits]) -> np.ndarray:
    return np.concatenate([some.permit for some in permits])


def aliases_of(permits: list[hub.Permits]) -> set[bytes]:
    return {alias.tobytes() for some in permits for alias in some.aliases}


def test_the_successor_is_found_where_an_old_one_knew_the_person(bodies: Merged) -> None:
    assert bodies.ask_new("before", [0, 3]) == [Status.NO_ALIAS_AT_PROVIDER] * 2
    bodies.succeed()
    assert bodies.ask_new("after", [0, 3, 5]) == [Status.OK] * 3
    permits = bodies.h.collect(bodies.new)
    assert aliases_of(permits) == {bodies.known[person].tobytes() for person in (0, 3, 5)}
    bodies.h.provide(bodies.new, numbers_of(permits), Status.PROVIDED, [b"tax"] * 3)
    assert bodies.h.answers("nenkin", "after").status.tolist() == [Status.PROVIDED] * 3


def test_the_successor_asks_by_old_aliases(bodies: Merged) -> None:
    h = bodies.h
    bodies.succeed()
    rows = np.concatenate((bodies.known[:2], bodies.others[1:2], bodies.nenkin[:1]))
    found = h.resolve(bodies.new, "nenkin", rows)
    assert found.status.tolist() == [Status.OK] * 3 + [Status.UNKNOWN_ALIAS]
    assert found.aliases[:3].tobytes() == bodies.nenkin[[0, 1, 4]].tobytes()
    new = h.acquire(bodies.new, bodies.codes[:1])
    assert new.status.tolist() == [Acquisition.CREATED]
    assert h.resolve("nenkin", bodies.new, bodies.nenkin[:2]).aliases.tobytes() == (
        new.aliases.tobytes() + bodies.known[1].tobytes()
    )


def test_what_was_left_with_an_old_one_is_answered_by_the_successor(bodies: Merged) -> None:
    h = bodies.h
    bodies.ask("r1", [0, 1, 2])
    bodies.ask_new("r2", [3, 4], bodies.other_town)
    first = h.collect(bodies.town)[0]
    h.provide(bodies.town, first.permit[:1], Status.EMPTY)
    bodies.succeed()
    bodies.ask_new("r3", [5])
    seen, cursor = [], None
    while some := h.collect(bodies.new, limit=2, after=cursor):
        seen += some
        cursor = some[-1].cursor
    assert len(numbers_of(seen)) == 2 + 2 + 1
    assert len(set(numbers_of(seen).tolist())) == 5
    assert sorted(numbers_of(h.collect(bodies.new)).tolist()) == sorted(numbers_of(seen).tolist())
    outcomes = np.full(5, Status.PROVIDED, np.uint8)
    h.provide(bodies.new, numbers_of(seen), outcomes, [b"%d" % row for row in range(5)])
    assert h.collect(bodies.new) == []
    assert [h.answers("nenkin", name).complete for name in ("r1", "r2", "r3")] == [True] * 3
    # What was answered before is accepted again, as ever.
    h.provide(bodies.new, first.permit[:1], Status.EMPTY)


def test_a_bad_row_changes_nothing_at_any_of_them(bodies: Merged) -> None:
    h = bodies.h
    bodies.ask("r1", [0, 1])
    bodies.succeed()
    bodies.ask_new("r2", [2])
    numbers = np.append(numbers_of(h.collect(bodies.new)), np.uint64(12345))
    with pytest.raises(RowsError) as caught:
        h.provide(bodies.new, numbers, Status.EMPTY)
    assert caught.value.rows == [3]
    assert len(numbers_of(h.collect(bodies.new))) == 3
    with pytest.raises(RequestError, match="cursor"):
        h.collect(bodies.new, after="7.ab")
    with pytest.raises(RequestError, match="cursor"):
        h.collect(bodies.new, after="1.ab")


def test_whoever_asks_an_old_one_is_told_the_successor(bodies: Merged) -> None:
    h = bodies.h
    first = bodies.ask("before", [0])
    bodies.succeed()
    for call in (
        lambda: bodies.ask("after", [0]),
        lambda: h.inquire(tax_inquiry("x"), bodies.nenkin[:2], [bodies.new, bodies.town]),
        lambda: h.collect(bodies.town),
        lambda: h.provide(bodies.town, [1], Status.EMPTY),
    ):
        with pytest.raises(RequestError, match=f"{bodies.town}, which {bodies.new} succeeded"):
            call()
    # A request that is sent again is answered as it was.
    assert bodies.ask("before", [0]).status.tolist() == first.status.tolist()


def test_answers_to_what_an_old_one_asked_go_to_the_successor(bodies: Merged) -> None:
    h = bodies.h
    found = h.catalog.procedure("19-8/106/108.1")
    role = h.catalog.rules_of(found.id)[0].roles[0]
    inquiry = hub.Inquiry(
        requester=bodies.town, procedure=found.id, items=(found.items[0],), role=role, section="福祉課",
        request_id="old",
    )  # fmt: skip
    h.acquire(bodies.new, bodies.codes[:2])
    asked = h.inquire(inquiry, bodies.known[:2], bodies.new)
    bodies.succeed()
    assert len(h.answers(bodies.new, "old")) == len(asked.status)
    with pytest.raises(RequestError):
        h.answers(bodies.new, "unknown")


def test_flags_go_with_the_successor_who_alone_takes_them_off(bodies: Merged) -> None:
    h, manual = bodies.h, hub.Flag.MANUAL
    h.flag(bodies.town, bodies.known[3:5], manual)
    h.flag(bodies.other_town, bodies.others[:1], hub.Flag.WITHHELD)
    bodies.succeed()
    assert h.flags(bodies.new, bodies.known).tolist() == [0, 0, 0, 3, 1, 0]
    assert bodies.ask_new("r1", [3]) == [Status.OK]
    bodies.ask_new("r2", [0])
    assert bodies.shown(3) == []
    permits = h.collect(bodies.new, manual=True)
    assert len(numbers_of(permits)) == 1
    h.flag(bodies.new, bodies.known[3:5], manual | hub.Flag.WITHHELD, on=False)
    assert h.flags(bodies.new, bodies.known).tolist() == [0] * 6
    assert h.collect(bodies.new, manual=True) == []


def test_the_successor_withholds_and_lifts_what_an_old_one_was_asked(bodies: Merged) -> None:
    h = bodies.h
    bodies.ask("r1", [0])
    h.withhold(h.handles(bodies.town, bodies.known[0])[0][0], "violence", DAY, clerk="佐藤")
    bodies.ask("r2", [0])
    bodies.succeed()
    assert [one.provider for _, one in h.handles(bodies.new, bodies.known[0])] == [bodies.town] * 2
    assert all(one.alias == bodies.known[0].tobytes() for _, one in h.handles(bodies.new, bodies.known[0]))
    assert len(h.history(bodies.portal[0])) == 1
    for handle, one in h.handles(bodies.new, bodies.known[0]):
        if one.withheld:
            assert h.lift(handle, clerk="佐藤", second_clerk="鈴木")
        else:
            h.withhold(handle, "violence", DAY, clerk="佐藤")
    shown = h.history(bodies.portal[0]).records
    assert [one.inquiry for one in shown] != []
    assert len(shown) == 1


def test_people_whose_linkage_is_suspended_stay_so_and_a_body_that_is_is_not_succeeded(bodies: Merged) -> None:
    h = bodies.h
    h.suspend(bodies.town, bodies.known[:1].copy(), clerk="佐藤", reason="a wrong link")
    h.suspend(bodies.other_town, clerk="佐藤", reason="a wrong file")
    with pytest.raises(RequestError, match=f"not suspended, got {bodies.other_town}"):
        bodies.succeed()
    h.resume(bodies.other_town, clerk="佐藤", reason="mended")
    bodies.succeed()
    assert bodies.ask_new("r1", [0, 1]) == [Status.SUSPENDED, Status.OK]
    h.resume(bodies.new, bodies.known[:1].copy(), clerk="佐藤", reason="mended")
    assert bodies.ask_new("r2", [0]) == [Status.OK]


def test_the_record_keeps_the_code_and_the_name_of_its_time(bodies: Merged) -> None:
    h = bodies.h
    old = h.catalog.institution(bodies.town)
    bodies.ask("before", [0])
    bodies.succeed()
    bodies.ask_new("after", [0])
    renamed = f"code,kind,prefecture,name\n{old.code},{old.kind},{old.prefecture},{old.prefecture}新市\n"
    h.load_catalog(h.catalog.import_institutions(renamed.encode(), assessed=False))
    assert h.catalog.institution(bodies.town).name.endswith("新市")
    after, before = h.history(bodies.portal[0]).records
    assert (before.provider, before.provider_name) == (bodies.town, old.name)
    assert after.provider == bodies.new
    assert len(h.history(bodies.portal[0], institution=bodies.town)) == 1


def test_whoever_an_old_one_held_is_asked_of_the_successor(bodies: Merged) -> None:
    h, label = bodies.h, "市町村長"
    h.push_holders("jlis", bodies.codes, label, bodies.town, dt.date(2020, 1, 1))
    h.push_holders("jlis", bodies.codes[:1], label, bodies.other_town, dt.date(2020, 1, 1))
    rows = bodies.nenkin[:2].copy()
    assert h.inquire(tax_inquiry("r1"), rows, label).status.tolist() == [Status.MULTIPLE, Status.OK]
    bodies.succeed()
    assert h.inquire(tax_inquiry("r2"), rows, label).status.tolist() == [Status.OK] * 2
    providers = {one.provider for one in h.history(bodies.portal[0]).records if one.outcome == Status.OK}
    assert providers == {bodies.new}


def test_deaths_reissue_and_revocation_by_old_aliases(bodies: Merged) -> None:
    h = bodies.h
    bodies.succeed()
    assert h.deaths(bodies.new, bodies.known[:1], DAY).told == 1
    fresh = h.reissue(bodies.new, np.concatenate((bodies.known[1:2], bodies.others[2:3])))
    assert fresh.status.tolist() == [Acquisition.CREATED] * 2
    assert h.resolve("nenkin", bodies.new, bodies.nenkin[1:2]).aliases.tobytes() == fresh.aliases[0].tobytes()
    assert h.resolve(bodies.new, "nenkin", bodies.known[1:2]).status.tolist() == [Status.REVOKED]
    assert h.revoke(bodies.new, np.concatenate((bodies.known[2:3], bodies.others[:1]))) == 2
    assert h.resolve("nenkin", bodies.new, bodies.nenkin[2:3]).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER]


def test_a_successor_may_be_succeeded(bodies: Merged) -> None:
    bodies.succeed(bodies.town, new=bodies.other_town)
    bodies.succeed(bodies.other_town)
    assert bodies.ask_new("r1", [0, 5]) == [Status.OK] * 2
    assert bodies.h.successions() == {
        bodies.town: (bodies.other_town, DAY), bodies.other_town: (bodies.new, DAY),
    }  # fmt: skip


def test_merges_and_splits_go_over_the_tables_of_those_that_were_succeeded(bodies: Merged) -> None:
    h, words = bodies.h, {**TWO}
    bodies.succeed()
    late = f"{10**9 + 77:011}"
    h.acquire("nenkin", [late])
    mine = h.acquire("nenkin", [late]).aliases
    h.merge("jlis", late, bodies.codes[0], **words)
    assert h.resolve("nenkin", bodies.new, mine).aliases.tobytes() == bodies.known[0].tobytes()
    h.split("jlis", late, bodies.codes[0], **words)
    assert h.resolve("nenkin", bodies.new, mine).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER]


def test_the_same_succession_again_changes_nothing(bodies: Merged) -> None:
    bodies.succeed()
    commits = bodies.h.stats()["commits"]
    bodies.succeed()
    assert bodies.h.stats()["commits"] == commits
    assert [(event.kind, event.institution) for event in bodies.h.events()] == [(EventKind.SUCCEEDED, bodies.new)]
    assert [one.kind for one in bodies.h.history(bodies.portal[0]).records if one.kind != Kind.INQUIRY] == []


def test_what_cannot_be_is_refused(bodies: Merged) -> None:
    h = bodies.h
    commits = h.stats()["commits"]
    later = DAY + dt.timedelta(1)
    for olds, new, day, message in (
        ([], bodies.new, DAY, "got none"),
        ([bodies.new], bodies.new, DAY, "other bodies"),
        (["nenkin"], bodies.new, DAY, "of the kind city"),
        ([bodies.town], bodies.new, later, "up to today"),
        (bodies.town, bodies.new, DAY, "a list of codes"),
        (["unknown"], bodies.new, DAY, "connected body"),
    ):
        with pytest.raises(RequestError, match=message):
            h.succeed(olds, new, day, **TWO)
    with pytest.raises(RequestError, match="second_clerk"):
        h.succeed([bodies.town], bodies.new, DAY, clerk="a", second_clerk="A", reason="x")
    assert h.stats()["commits"] == commits
    bodies.succeed(bodies.town)
    with pytest.raises(RequestError, match="succeeded already"):
        bodies.succeed(bodies.town, new=bodies.other_town)
    with pytest.raises(RequestError, match="succeeded itself"):
        bodies.succeed(bodies.other_town, new=bodies.town)
    bodies.clock.now = NOON + DAY_S
    h.succeed([bodies.other_town], bodies.new, later, **TWO)


def test_who_succeeds_whom_is_followed_for_many_at_once() -> None:
    found = Successions(1, {3: (5, 0), 5: (9, 0), 7: (9, 0)})
    assert found.current(np.array([3, 4, 5, 7, 9, 60_000], dtype=np.uint32)).tolist() == [9, 4, 9, 9, 9, 60_000]
    assert found.olds(9) == [3, 5, 7]
    assert (found.olds(5), found.now(3), found.now(60_000)) == ([], 9, 60_000)
