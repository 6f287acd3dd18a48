"""Two persons who are found to be one, one who is found to be two: aliases, records, flags, holders, protections."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import hub
from hub.aliases import RESIDENT_CODES, find_persons
from hub.errors import RequestError, RowsError, StorageError
from hub.messages import Acquisition, Kind, Status
from hub.persons.merges import Life, Lives, Merge, aliases_of, life_of, lives_of
from hub.records.events import EventKind
from hub.storage.workers import Workers
from inquiries import tax_inquiry
from parties import DAY_S, Clock, shown_in

A, B, C, D = (f"{10**9 + number:011}" for number in range(4))
TWO = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "two codes were delivered for one human being"}
MANUAL, WITHHELD, NO_SELF = hub.Flag.MANUAL, hub.Flag.WITHHELD, hub.Flag.NO_SELF


class World:
    """nenkin knows A, B, C and D; one town knows A and C, another B and C; the portal knows A, B and D."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.town, self.other, self.third = (body.code for body in self.h.catalog.institutions("市町村長")[:3])
        self.known: dict[tuple[str, str], bytes] = {}
        for body, codes in (("nenkin", [C, D]), (self.town, [A, C]), (self.other, [B, C]), ("portal", [A, B, D])):
            self.acquire(body, codes)

    def acquire(self, body: str, codes: list[str]) -> list[int]:
        """Acquire aliases; returns the statuses."""
        found = self.h.acquire(body, codes)
        self.known |= {(body, code): alias.tobytes() for code, alias in zip(codes, found.aliases, strict=True)}
        return found.status.tolist()

    def row(self, body: str, code: str) -> np.ndarray:
        """An alias as a call takes it."""
        return np.frombuffer(self.known[body, code], np.uint8).reshape(1, 16).copy()

    def ask(self, request_id: str, asked_by: str, code: str, provider: str) -> int:
        """The status of a question by that body's alias of that person."""
        inquiry = tax_inquiry(request_id)
        if asked_by != "nenkin":
            found = self.h.catalog.procedure("19-8/106/108.1")
            inquiry = hub.Inquiry(
                requester=asked_by, procedure=found.id, items=(found.items[0],), role=found_role(self.h, found.id),
                section="福祉課", request_id=request_id,
            )  # fmt: skip
        return int(self.h.inquire(inquiry, self.row(asked_by, code), provider).status[0])

    def merge(self, keep: str = A, gone: str = B) -> None:
        self.h.merge("jlis", keep, gone, **TWO)

    def split(self, keep: str = A, gone: str = B) -> None:
        self.h.split("jlis", keep, gone, **TWO)

    def shown(self, code: str) -> list[int]:
        """Indexes of a person's history, by the portal's alias."""
        return shown_in(self.h, np.frombuffer(self.known["portal", code], np.uint8))

    def tables(self) -> dict[str, Any]:
        """Everything that the alias tables say of the four, and how the known aliases stand."""
        number_of = {body: self.h.catalog.institution(body).number for body, _ in self.known}
        with self.h._store.snapshot() as snapshot:
            said: dict[str, Any] = {
                str(person): aliases_of(snapshot, person) for person in range(snapshot.state.persons)
            }
            for (body, code), alias in self.known.items():
                one = np.frombuffer(alias, np.uint8).reshape(1, 16)
                said[f"{body} {code}"] = [
                    int(column[0]) for column in find_persons(snapshot, number_of[body], one, Workers(1))
                ]
            for code in (A, B, C, D):
                one = np.frombuffer(self.h._pseudonym(code), np.uint8).reshape(1, 16)
                said[code] = int(find_persons(snapshot, RESIDENT_CODES, one, Workers(1))[0][0])
        return said


def found_role(h: hub.Hub, procedure: str) -> str:
    return h.catalog.rules_of(procedure)[0].roles[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "hub")
    yield made
    assert made.h.verify().problems == ()
    made.h.close()


def told(h: hub.Hub) -> list[tuple[EventKind, str | None]]:
    return [(event.kind, event.clerk) for event in h.events()]


# -- merge


def test_an_alias_of_the_gone_one_leads_to_the_one_who_stays(world: World) -> None:
    world.acquire("nenkin", [A])
    assert world.ask("before", "nenkin", A, world.other) == Status.NO_ALIAS_AT_PROVIDER
    world.merge()
    assert world.ask("after", "nenkin", A, world.other) == Status.OK
    assert [some.aliases.tobytes() for some in world.h.collect(world.other)] == [world.known[world.other, B]]
    assert world.h.stats()["aliases"][world.other] == 2


def test_where_both_were_known_the_alias_of_the_gone_one_is_replaced(world: World) -> None:
    world.acquire("nenkin", [A, B])
    world.merge()
    assert world.ask("r1", "nenkin", B, world.town) == Status.REVOKED
    assert world.ask("r2", "nenkin", A, world.town) == Status.OK
    found = world.h.reissue("nenkin", world.row("nenkin", B))
    assert found.status.tolist() == [Acquisition.ALREADY]
    assert found.aliases.tobytes() == world.known["nenkin", A]
    assert world.h.stats()["aliases"]["nenkin"] == 3


def test_an_alias_that_was_reissued_before_leads_on_behind_the_merge(world: World) -> None:
    world.acquire("nenkin", [A, B])
    first = world.row("nenkin", B)
    world.h.reissue("nenkin", first)
    world.merge()
    found = world.h.reissue("nenkin", first)
    assert found.status.tolist() == [Acquisition.ALREADY]
    assert found.aliases.tobytes() == world.known["nenkin", A]


def test_either_code_acquires_the_alias_of_the_one(world: World) -> None:
    world.merge()
    assert world.acquire("nenkin", [A, B]) == [Acquisition.CREATED, Acquisition.ALREADY]
    assert world.known["nenkin", A] == world.known["nenkin", B]
    assert world.h.stats()["persons"] == 4
    assert world.acquire(world.third, [B]) == [Acquisition.CREATED]
    assert world.acquire(world.third, [A]) == [Acquisition.ALREADY]


def test_the_history_shows_the_records_of_both_each_with_a_proof_by_its_own_key(world: World) -> None:
    world.acquire("nenkin", [A, B])
    for number, code in enumerate((A, B, A, B, B, A)):
        world.ask(f"r{number}", "nenkin", code, world.town)
    one, other = world.shown(A), world.shown(B)
    key, gone_key = (world.h.disclosure_key(world.row("portal", code)) for code in (A, B))
    world.merge()
    alias = world.row("portal", A)
    assert world.shown(A)[2:] == sorted(one + other, reverse=True)
    assert world.h.disclosure_keys(alias) == [key, gone_key]
    history = world.h.history(alias)
    assert [record.kind for record in history.records[:2]] == [Kind.MERGED] * 2
    for number, record in enumerate(history.records):
        proof = history.proof(number)
        fits = [hub.tlog.verify.subject_tag(proof.salt, one) == proof.row[32:] for one in (key, gone_key)]
        assert sum(fits) == 1
        assert fits[1] == (record.index in other) or record.kind == Kind.MERGED


def test_pages_and_filters_go_over_both(world: World) -> None:
    world.acquire("nenkin", [A, B])
    for number in range(30):
        world.clock.now += 60
        world.ask(f"r{number}", "nenkin", A if number % 3 else B, world.town if number % 2 else world.other)
    page = world.h.history(world.row("portal", A), limit=3)
    gone = world.h.history(world.row("portal", B), limit=3)
    world.merge()
    whole, alias = world.shown(A), world.row("portal", A)
    assert len(whole) == 32
    for limit in (1, 2, 7, 31, 32, 33):
        found, cursor = [], None
        while True:
            some = world.h.history(alias, limit=limit, cursor=cursor)
            found += [record.index for record in some.records]
            cursor = some.cursor
            if cursor is None:
                break
        assert found == whole
    # What was begun before the merge goes on, whoever's it was.
    for begun in (page, gone):
        rest = world.h.history(alias, cursor=begun.cursor, limit=1000)
        assert [one.index for one in rest.records] == [one for one in whole if one < begun.records[-1].index]
    only = world.h.history(alias, institution=world.other, limit=1000)
    assert len(only.records) == 15
    since = dt.datetime.fromtimestamp(world.clock.now - 300, dt.UTC)
    assert len(world.h.history(alias, since=since).records) == 6 + 2


def test_records_before_and_behind_an_erased_period_are_no_hindrance(world: World) -> None:
    world.acquire("nenkin", [A, B])
    world.ask("old/a", "nenkin", A, world.town)
    world.ask("old/b", "nenkin", B, world.town)
    world.clock.now += 8 * 366 * DAY_S
    world.ask("new/a", "nenkin", A, world.town)
    world.ask("new/b", "nenkin", B, world.town)
    world.merge()
    before = world.h.history(world.row("portal", A)).records
    world.h.retain(confirm=True)
    # Gone are the two old questions and, where they have come already, the lapses that they came to.
    day = dt.datetime.fromtimestamp(world.clock.now - DAY_S, dt.UTC)
    assert world.shown(A) == [record.index for record in before if record.requested_at > day]
    assert len([one for one in world.h.history(world.row("portal", A)).records if one.kind == Kind.INQUIRY]) == 2


def test_whoever_was_protected_at_either_is_so(world: World) -> None:
    world.h.flag(world.other, world.row(world.other, B), MANUAL | WITHHELD)
    world.h.flag(world.town, world.row(world.town, A), NO_SELF)
    world.merge()
    assert world.h.flags(world.other, world.row(world.other, B)).tolist() == [MANUAL | WITHHELD]
    assert world.h.flags(world.town, world.row(world.town, A)).tolist() == [NO_SELF]
    world.acquire("nenkin", [A])
    assert world.ask("r1", "nenkin", A, world.third) == Status.OK
    world.split()
    assert world.h.flags(world.other, world.row(world.other, B)).tolist() == [MANUAL | WITHHELD]
    assert world.ask("r2", "nenkin", A, world.third) == Status.NO_ALIAS_AT_PROVIDER


def test_a_machine_does_not_answer_what_was_asked_about_the_gone_one_before(world: World) -> None:
    world.acquire("nenkin", [B])
    world.h.flag(world.town, world.row(world.town, A), MANUAL)
    assert world.ask("r1", "nenkin", B, world.other) == Status.OK
    permit = world.h.collect(world.other)[0].permit
    world.merge()
    world.h.provide(world.other, permit, Status.PROVIDED, [b"x"])
    assert world.h.answers("nenkin", "r1").status.tolist() == [Status.PENDING]
    assert world.h.collect(world.other, manual=True)[0].permit.tolist() == permit.tolist()


def test_a_permit_of_the_gone_one_is_collected_by_the_alias_that_stands(world: World) -> None:
    world.acquire(world.town, [B])
    world.acquire("nenkin", [A, B])
    world.ask("r1", "nenkin", B, world.town)
    world.merge()
    permits = world.h.collect(world.town)[0]
    assert permits.aliases.tobytes() == world.known[world.town, A]
    world.h.provide(world.town, permits, Status.PROVIDED, [b"data"])
    assert world.h.answers("nenkin", "r1").payloads == [b"data"]
    assert [record.kind for record in world.h.history(world.row("portal", A)).records].count(Kind.PROVISION) == 1


def test_a_protection_of_either_covers_the_records_of_both(world: World) -> None:
    world.acquire("nenkin", [A, B])
    world.ask("r1", "nenkin", A, world.town)
    world.ask("r2", "nenkin", B, world.other)
    world.h.protect("jlis", B, since=dt.date(2020, 1, 1), ground="violence")
    world.merge()
    assert world.h.history(world.row("portal", A)).records[0].kind == Kind.MERGED
    assert [one for one in world.h.history(world.row("portal", A)).records if one.kind == Kind.INQUIRY] == []
    for body in ("nenkin", world.town, world.other):
        for handle, _ in world.h.unjudged(body):
            world.h.judge(body, handle, withhold=False, clerk="佐藤")
    assert len([one for one in world.h.history(world.row("portal", A)).records if one.kind == Kind.INQUIRY]) == 2
    world.split()
    assert world.h.unprotect("jlis", B, clerk="佐藤", second_clerk="鈴木")


def test_an_institution_finds_its_old_records_by_the_alias_that_it_had(world: World) -> None:
    world.acquire("nenkin", [B])
    world.ask("r1", "nenkin", B, world.other)
    before = world.h.handles(world.other, world.row(world.other, B))
    world.merge()
    assert world.h.handles(world.other, world.row(world.other, B)) == before
    assert before[0][1].alias == world.known[world.other, B]


def test_a_correction_is_asked_for_with_a_disclosure_from_before(world: World) -> None:
    world.acquire("nenkin", [A, B])
    world.ask("r1", "nenkin", B, world.other)
    page = world.h.history(world.row("portal", B))
    world.merge()
    made = world.h.ask_correction(
        world.row("portal", A), page.records[0], "not me", disclosed=page.disclosure, institution="nenkin"
    )
    notice = world.h.corrections("nenkin")[0]
    assert notice.record.alias == world.known["nenkin", A]
    assert world.shown(A)[0] == made


def test_tickets_that_were_delivered_for_the_gone_one_tell_the_alias_that_stands(world: World) -> None:
    tickets = world.h.tickets("nenkin", 2)
    world.h.deliver("jlis", tickets, [A, B])
    world.merge()
    found = world.h.acquired("nenkin", tickets)
    assert (found.aliases[0] == found.aliases[1]).all()
    assert world.h.deliver("jlis", tickets, [A, B]).rows == 2


def test_whoever_held_the_gone_one_holds_the_one(world: World) -> None:
    h, label, day = world.h, "市町村長", dt.date(2026, 1, 1)
    h.push_holders("jlis", [A], label, world.town, dt.date(2020, 1, 1))
    h.push_holders("jlis", [B], label, world.other, day)
    world.acquire("nenkin", [A])
    world.merge()
    assert h.inquire(tax_inquiry("r1"), world.row("nenkin", A), label).status.tolist() == [Status.OK]
    assert [some.aliases.tobytes() for some in h.collect(world.other)] == [world.known[world.other, B]]
    h.push_holders("jlis", [A], label, world.third, dt.date(2026, 6, 1))
    world.split()
    assert h.inquire(tax_inquiry("r2"), world.row("nenkin", A), label).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER]
    earlier = tax_inquiry("r3", reference_date=dt.date(2026, 2, 1))
    assert h.inquire(earlier, world.row("nenkin", A), label).status.tolist() == [Status.OK]
    assert [some.aliases.tobytes() for some in h.collect(world.town)] == [world.known[world.town, A]]


# -- split


def test_a_split_puts_back_what_the_merge_took(world: World) -> None:
    world.acquire("nenkin", [A, B])
    world.h.flag("nenkin", world.row("nenkin", B), MANUAL)
    before, counts = world.tables(), world.h.stats()["aliases"]
    world.merge()
    assert world.tables() != before
    world.split()
    assert world.tables() == before
    assert world.h.stats()["aliases"] == counts
    assert world.h.flags("nenkin", world.row("nenkin", B)).tolist() == [MANUAL]


def test_an_alias_that_was_replaced_meanwhile_goes_with_the_one_whose_it_was(world: World) -> None:
    world.merge()
    fresh = world.h.reissue(world.other, world.row(world.other, B)).aliases
    world.split()
    world.acquire("nenkin", [B])
    assert world.ask("r1", "nenkin", B, world.other) == Status.OK
    assert world.h.collect(world.other)[0].aliases.tobytes() == fresh.tobytes()
    again = world.h.reissue(world.other, world.row(world.other, B))
    assert again.status.tolist() == [Acquisition.ALREADY]
    assert again.aliases.tobytes() == fresh.tobytes()


def test_what_was_revoked_meanwhile_stays_so_and_what_was_acquired_stays_with_the_one_who_stays(world: World) -> None:
    world.merge()
    world.h.revoke(world.other, world.row(world.other, B))
    fresh = world.h.acquire(world.other, [B])
    assert fresh.status.tolist() == [Acquisition.CREATED]
    world.split()
    assert world.acquire(world.other, [B]) == [Acquisition.CREATED]
    assert world.acquire(world.other, [A]) == [Acquisition.ALREADY]
    assert world.known[world.other, A] == fresh.aliases.tobytes()


def test_records_from_in_between_go_to_whom_the_asking_institution_knew(world: World) -> None:
    world.merge()
    by_town = world.ask("town", world.town, A, world.other)
    by_other = world.ask("other", world.other, B, world.third)
    world.acquire("nenkin", [A])
    world.ask("nenkin", "nenkin", A, world.third)
    together = world.shown(A)
    assert len(together) == 2 + 3
    world.split()
    kinds = {code: [one.inquiry for one in world.h.history(world.row("portal", code)).records] for code in (A, B)}
    assert not set(kinds[A]) & set(kinds[B]) - {kinds[A][0], kinds[A][-1], kinds[B][0], kinds[B][-1]}
    asked = {
        code: [one.requester for one in world.h.history(world.row("portal", code)).records if one.kind == Kind.INQUIRY]
        for code in (A, B)
    }
    # The town knew A only and asked the other, which knew B only: where it was reached, the two contradict each other.
    mixed = by_town == Status.OK
    assert asked == {A: [] if mixed else [world.town], B: [world.other]}
    assert by_other in (Status.NO_ALIAS_AT_PROVIDER, Status.DENIED)
    undecided = world.h.undecided("jlis", A)
    assert {one.requester for one in undecided} == {"nenkin"} | ({world.town} if mixed else set())


def test_what_is_undecided_is_in_no_history_until_a_supervisor_assigns_it(world: World) -> None:
    world.merge()
    world.acquire("nenkin", [A])
    for number in range(3):
        world.ask(f"r{number}", "nenkin", A, world.third)
    world.split()
    undecided = world.h.undecided("jlis", A)
    assert len(undecided) == 3
    assert [one for one in world.h.history(world.row("portal", B)).records if one.kind == Kind.INQUIRY] == []
    world.h.assign("jlis", undecided[0].handle, B, **TWO)
    world.h.assign("jlis", undecided[1].handle, A, **TWO)
    world.h.assign("jlis", undecided[1].handle, A, **TWO)
    count = {
        code: len([one for one in world.h.history(world.row("portal", code)).records if one.kind == Kind.INQUIRY])
        for code in (A, B)
    }
    assert count == {A: 1, B: 1}
    assert [one.handle for one in world.h.undecided("jlis", A)] == [undecided[2].handle]
    assert [kind for kind, _ in told(world.h)].count(EventKind.ASSIGNED) == 2
    with pytest.raises(RequestError, match="undecided between"):
        world.h.assign("jlis", undecided[2].handle, C, **TWO)
    # Whoever was wrong may say otherwise.
    world.h.assign("jlis", undecided[1].handle, B, **TWO)
    assert len([one for one in world.h.history(world.row("portal", B)).records if one.kind == Kind.INQUIRY]) == 2


def test_a_permit_from_in_between_is_not_answered_about_the_wrong_one(world: World) -> None:
    world.acquire("nenkin", [B])
    world.acquire(world.town, [B])
    world.merge()
    # nenkin knew B only, the town both: it was told A's alias, and is asked about B.
    assert world.ask("r1", "nenkin", B, world.town) == Status.OK
    permits = world.h.collect(world.town)[0]
    assert permits.aliases.tobytes() == world.known[world.town, A]
    world.split()
    assert world.h.collect(world.town) == []
    with pytest.raises(RowsError, match="whose person is certain") as caught:
        world.h.provide(world.town, permits, Status.PROVIDED, [b"A's"])
    assert caught.value.cause == "split"
    refused = np.array([hub.Reason.IDENTITY_IN_DOUBT], np.uint8)
    world.h.provide(world.town, permits, Status.REFUSED, reasons=refused, clerk="佐藤")
    assert world.h.answers("nenkin", "r1").status.tolist() == [Status.REFUSED]
    assert Kind.PROVISION in [one.kind for one in world.h.history(world.row("portal", B)).records]


def test_merges_are_split_in_the_reverse_order(world: World) -> None:
    before = world.tables()
    world.merge(A, B)
    middle = world.tables()
    world.merge(A, C)
    with pytest.raises(RequestError, match="the last merge"):
        world.split(A, B)
    world.split(A, C)
    assert world.tables() == middle
    world.merge(C, A)
    with pytest.raises(RequestError, match="split that first"):
        world.split(A, B)
    with world.h._store.snapshot() as snapshot:
        a, b, c = (world.h._merging.person_of(snapshot, world.h._pseudonym(code)) for code in (A, B, C))
        assert life_of(snapshot, b) == life_of(snapshot, a) == (c, [c, a, b])
    world.split(C, A)
    world.split(A, B)
    assert world.tables() == before


def test_records_of_chained_merges_find_their_way_back(world: World) -> None:
    world.merge(A, B)
    world.ask("first", world.other, B, world.third)
    world.merge(D, A)
    world.ask("second", world.other, B, world.third)
    world.split(D, A)
    world.ask("third", world.other, B, world.third)
    assert [one.requester for one in records(world, A)] == [world.other] * 3
    assert records(world, D) == []
    world.split(A, B)
    assert records(world, A) == []
    assert [one.requester for one in records(world, B)] == [world.other] * 3


def records(world: World, code: str) -> list[hub.Record]:
    alias = world.row("portal", code)
    return [one for one in world.h.history(alias).records if one.kind == Kind.INQUIRY]


def test_two_who_contradict_each_other_within_one_merge_meant_one_of_another(world: World) -> None:
    """nenkin knew A and D, the provider B and D: whom both can have meant is D alone."""
    world.acquire("nenkin", [A])
    world.acquire(world.other, [D])
    world.merge(A, B)
    world.merge(A, D)
    assert world.ask("between", "nenkin", A, world.other) == Status.OK
    index = max(world.shown(A))
    world.split(A, D)
    world.split(A, B)
    assert index in world.shown(D)
    assert index not in world.shown(A) + world.shown(B)
    assert world.h.undecided("jlis", A) == []


def test_merged_and_split_again_and_again(world: World) -> None:
    before = world.tables()
    for _ in range(4):
        world.merge()
        world.split()
    world.merge(B, A)
    world.split(B, A)
    assert world.tables() == before
    assert [kind for kind, _ in told(world.h)] == [EventKind.MERGED, EventKind.SPLIT] * 5


# -- bad input, repeats, at once


def test_the_same_merge_and_split_again_change_nothing(world: World) -> None:
    world.merge()
    commits = world.h.stats()["commits"]
    world.merge()
    assert world.h.stats()["commits"] == commits
    world.split()
    commits = world.h.stats()["commits"]
    world.split()
    assert world.h.stats()["commits"] == commits


@pytest.mark.parametrize(
    ("call", "words", "message"),
    [
        ("merge", (A, A), "codes: expected those of two persons"),
        ("merge", (A, f"{77:011}"), "codes: expected those of persons who are known here"),
        ("split", (A, B), "codes: expected persons of whom the second was merged"),
        ("split", (A, A), "codes: expected those of two persons"),
        ("merge", (A, "1"), "code"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, call: str, words: tuple[str, str], message: str) -> None:
    commits = world.h.stats()["commits"]
    with pytest.raises(RequestError, match=message):
        getattr(world.h, call)("jlis", *words, **TWO)
    assert world.h.stats()["commits"] == commits


def test_it_takes_the_register_body_and_two_clerks(world: World) -> None:
    with pytest.raises(RequestError, match="register body"):
        world.h.merge("nenkin", A, B, **TWO)
    with pytest.raises(RequestError, match="another clerk than the first"):
        world.h.merge("jlis", A, B, clerk="佐藤", second_clerk=" 佐 藤 ", reason="x")
    with pytest.raises(RequestError, match="reason"):
        world.h.merge("jlis", A, B, clerk="佐藤", second_clerk="鈴木", reason="")
    with pytest.raises(RequestError, match="clerk"):
        world.h.merge("jlis", A, B, clerk=None, second_clerk="鈴木", reason="x")  # type: ignore[arg-type]


def test_a_merged_person_is_merged_with_nobody_else(world: World) -> None:
    world.merge(A, B)
    for keep, gone in ((C, B), (B, C), (B, A)):
        with pytest.raises(RequestError, match="split first"):
            world.merge(keep, gone)


def test_two_threads_that_merge_the_same_merge_once(world: World) -> None:
    failed: list[BaseException] = []

    def work(keep: str, gone: str) -> None:
        try:
            world.merge(keep, gone)
        except RequestError as error:
            failed.append(error)

    pairs = [(A, B), (A, B), (B, A), (C, B), (A, C)]
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.h._store.snapshot() as snapshot:
        lives = lives_of(snapshot)
        merged = [person for person, life in lives.items() if life.into != 0xFFFFFFFF]
    assert 1 <= len(merged) <= 2
    assert [kind for kind, _ in told(world.h)] == [EventKind.MERGED] * len(merged)


def test_messages_and_reprs_name_nobody(world: World) -> None:
    world.merge()
    with world.h._store.snapshot() as snapshot:
        lives = lives_of(snapshot)
    texts = [repr(lives), repr(lives.life(0)), repr(lives.life(0).merges), repr(world.h.undecided("jlis", A))]
    for event in world.h.events():
        texts += [repr(event), event.ground or ""]
    assert not any(A in text or B in text or world.known["portal", A].hex() in text for text in texts)


# -- stored


def test_a_value_that_is_lost_is_noticed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.merge()
    path = tmp_path / "hub"
    world.h.close()
    with lmdb.open(str(path / "env"), max_dbs=256, lib_version=0) as env:
        database = env.open_db(b"persons", create=False)
        with env.begin(write=True, db=database) as txn:
            key, kept = next((bytes(key), bytes(one)) for key, one in txn.cursor())
            txn.delete(key)
    monkeypatch.setattr("hub.persons.merges._known", hub.persons.merges._known[:0])
    world.h = hub.open(path, clock=world.clock)
    with pytest.raises(StorageError, match="persons: expected the sum"):
        world.h.history(world.row("portal", A))
    world.h.close()
    with lmdb.open(str(path / "env"), max_dbs=256, lib_version=0) as env:
        database = env.open_db(b"persons", create=False)
        with env.begin(write=True, db=database) as txn:
            txn.put(key, kept)
    world.h = hub.open(path, clock=world.clock)


def test_who_is_who_is_followed_for_many_at_once() -> None:
    def merge(gone: int) -> Merge:
        return Merge(gone, 0, 0, 1, [], [], [], [], [], [])

    nobody = 0xFFFFFFFF
    lives = Lives(1, {5: Life(nobody, [merge(3)]), 3: Life(5, [merge(8)]), 8: Life(3, [])})
    persons = np.array([8, 1, 3, 5, nobody, 8], dtype=np.uint32)
    assert lives.current(persons).tolist() == [5, 1, 5, 5, nobody, 5]
    assert lives.members(5) == [5, 3, 8]
    assert (lives.now(8), lives.now(1)) == (5, 1)
    with pytest.raises(StorageError, match="circle"):
        Lives(1, {1: Life(2, []), 2: Life(1, [])})
