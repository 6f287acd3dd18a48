"""What is sent where persons are merged and split, and bodies succeed others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.errors import RequestError, RowsError
from hub.messages import Flag, Status
from inquiries import tax_inquiry
from test_own_data import CLASS, RULE, TOWN, ask
from test_push import Pushers, push_of
from test_update import update_of

DAY = dt.date(2026, 11, 25)
TWO = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "merged"}


class World(Pushers):
    """Pushers, and a third town that is to succeed the first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new = self.h.catalog.institutions("市町村長")[2].code

    def succeed(self, *olds: str) -> None:
        self.h.succeed(list(olds) or [self.town], self.new, DAY, **TWO)

    def merge(self) -> None:
        self.h.merge("jlis", *self.codes[:2], **TWO)

    def split(self) -> None:
        self.h.split("jlis", *self.codes[:2], **TWO)

    def provided(self, person: int, request_id: str = "r1") -> np.ndarray:
        """The town's permit of a question that it answered."""
        assert self.ask(request_id, [person]).status.tolist() == [Status.OK]
        permits = self.h.collect(self.town)[0].permit
        self.h.provide(self.town, permits, Status.PROVIDED, [b"tax"])
        return permits

    def came(self, institution: str = "nenkin") -> list[tuple[bytes, bytes | None]]:
        """What waits for a body: alias, payload."""
        return [
            (alias.tobytes(), payload)
            for some in self.h.arrived(institution)
            for alias, payload in zip(some.aliases, some.payloads, strict=True)
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "hub") as made:
        yield made
        assert made.h.verify().problems == ()


def test_a_body_that_was_succeeded_sends_nothing_more(world: World) -> None:
    """Its flags went to the successor: it would send what a clerk must decide, and tell whom it must not."""
    h, old = world.h, world.town
    h.flag(old, world.known[:1], Flag.NO_SELF)
    notice = hub.Notice(institution=old, subject="s", section="窓口", request_id="n1")
    first = h.notify(notice, world.known[:2], "text").status.tolist()
    drawn = h.tickets(old, 1)
    h.deliver("jlis", drawn, world.codes[2:3])
    world.succeed()
    later = hub.Notice(institution=old, subject="s", section="窓口", request_id="n2")
    one, words = world.known[:1], {"clerk": "佐藤", "reason": "merged"}
    calls: list[Any] = [
        lambda: h.notify(later, one, "text"),
        lambda: world.push([0]),
        lambda: h.push(push_of(world.new, "p2"), one, old),
        lambda: h.update(update_of(old, items=("出生",)), one, [b"x"]),
        lambda: h.flag(old, one, Flag.MANUAL),
        lambda: h.suspend(old, one, **words),
        lambda: h.resume(old, **words),
        lambda: h.tickets(old, 1),
        lambda: h.confirm_links(old, drawn, **words),
        lambda: h.replace_links(old, drawn, one, **words),
        lambda: h.report_mislink(old, world.known[0], **TWO),
    ]
    for call in calls:
        with pytest.raises(RequestError, match=f"got {old}, which {world.new} succeeded"):
            call()
    assert not [one for one in h.history(world.portal[0]).records if one.procedure == "mislink"]
    assert h.notify(notice, world.known[:2], "text").status.tolist() == first, "what was sent before is told again"
    named = hub.Notice(institution=world.new, subject="s", section="窓口", request_id="n3")
    assert h.notify(named, world.known[:2], "text").status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK]


def test_a_successor_corrects_what_the_old_body_gave(world: World) -> None:
    permits = world.provided(0)
    world.push([1], receivers="mhlw")
    world.h.acquire("mhlw", world.codes)
    world.succeed()
    sent = world.h.update(update_of(world.new), permits, [b"right"])
    assert sent.status.tolist() == [Status.OK]
    assert world.came() == [(world.nenkin[0].tobytes(), b"right")]
    sent = world.h.update(update_of(world.new, "u2", items=("出生",)), world.known[:2], [b"a", b"b"])
    assert sent.status.tolist() == [Status.NO_RECORD, Status.OK]


def test_an_update_by_a_permit_of_the_gone_one_heeds_the_flags_of_who_they_are_now(world: World) -> None:
    permits = world.provided(1)
    world.merge()
    world.h.flag(world.town, world.known[:1], Flag.MANUAL)
    assert world.h.update(update_of(world.town), permits, [b"x"]).status.tolist() == [Status.MANUAL]
    assert world.came() == []


def test_an_update_of_what_is_anothers_by_now_is_refused(world: World) -> None:
    """The town knew only the gone one, the agency both: it must not get the correction with the other's alias."""
    h = world.h
    h.revoke(world.town, world.known[:1])
    world.merge()
    permits = world.provided(0)
    world.split()
    with pytest.raises(RowsError, match="whose person is certain"):
        h.update(update_of(world.town), permits, [b"x"])
    sent = h.update(update_of(world.town, "u2", items=("市町村民税",)), world.known[1:2], [b"x"])
    assert sent.status.tolist() == [Status.NO_RECORD]
    assert world.came() == []


def test_an_update_of_what_is_nobodys_is_refused(world: World) -> None:
    world.merge()
    permits = world.provided(0)
    world.split()
    with pytest.raises(RowsError, match="whose person is certain") as caught:
        world.h.update(update_of(world.town), permits, [b"x"])
    assert (caught.value.cause, caught.value.rows) == ("split", [0])


def test_who_was_merged_is_corrected_by_the_alias_that_is_left(world: World) -> None:
    world.push([1])
    world.merge()
    sent = world.h.update(update_of(world.town, items=("出生",)), world.known[:1], [b"right"])
    assert sent.status.tolist() == [Status.OK]
    assert (world.nenkin[0].tobytes(), b"right") in world.came()
    assert world.h.verify().problems == ()
    world.split()
    shown = [len(world.h.history(world.portal[person]).records) for person in (0, 1)]
    assert shown == [2, 4], "merged and split; the gone one also what was sent, and corrected"


def test_a_proxy_that_was_granted_by_two_as_one_ends_with_the_split(world: World) -> None:
    """Both went by one alias at the portal: whoever was meant by the one must not read the other's history."""
    h, words = world.h, {"label": "夫", "called": "妻"}
    voluntary = hub.ProxyKind.VOLUNTARY
    h.grant_proxy(world.portal[0], world.portal[2], voluntary, **words)
    world.merge()
    h.grant_proxy(world.portal[0], world.portal[3], voluntary, **words)
    h.grant_proxy(world.portal[4], world.portal[0], voluntary, **words)
    world.split()
    assert [len(h.principals(world.portal[person])) for person in (2, 3, 0, 1)] == [1, 0, 0, 0]


def test_a_successor_finds_out_and_reports_what_an_old_bodys_link_has_done(world: World) -> None:
    h = world.h
    permits = world.provided(0)
    h.inquire(tax_inquiry("r2"), world.nenkin[:1], world.town)
    waiting = h.collect(world.town)[0].permit.tolist()
    world.push([0])
    before = h.blast_radius(world.town, world.known[0])
    world.succeed()
    found = h.blast_radius(world.new, world.known[0])
    # Of one second they stand in the order of their handles.
    said = [
        {(one.kind, one.side, one.receiver, one.outcome, one.permit, one.open) for one in radius.dealings}
        for radius in (before, found)
    ]
    assert said[0] == said[1]
    assert len(found.dealings) == 3
    assert {one.permit for one in found.dealings} == {None, *permits.tolist(), *waiting}
    h.withhold(found.dealings[0].handle, "in doubt", DAY + dt.timedelta(days=100), institution=world.new, clerk="佐藤")
    report = h.report_mislink(world.new, world.known[0], right_alias=world.known[1], **TWO)
    assert (report.notified, report.otherwise, len(report.blast.received)) == (2, 0, 2)


@pytest.mark.parametrize("how", ["merged", "succeeded"])
def test_own_data_stays_hidden_in_the_blast_radius_as_in_the_answers(world: World, how: str) -> None:
    """A record has the number of the gone one, or of the old body; the flag is of who they are now."""
    h = world.h
    catalog = h.catalog.import_table(CLASS.encode(), "classes")
    h.load_catalog(catalog.import_rules(RULE.encode()))
    known = h.acquire(TOWN, world.codes).aliases
    ask(h, "o1", world.portal[1:2])
    h.provide(TOWN, h.collect(TOWN)[0].permit, Status.PROVIDED, [b"tax"])
    if how == "merged":
        world.merge()
        h.flag(TOWN, known[:1], Flag.NO_SELF)
        alias = world.portal[0]
    else:
        h.flag(TOWN, known[1:2], Flag.NO_SELF)
        world.succeed(TOWN)
        alias = world.portal[1]
    assert h.answers("portal", "o1").status.tolist() == [Status.NO_RECORD]
    assert [one.outcome for one in h.blast_radius("portal", alias).dealings] == [Status.NO_RECORD]


def test_a_successor_takes_what_was_sent_to_the_old_body(world: World) -> None:
    """The old one would be told the successor's aliases of persons whom both know."""
    h, old, new = world.h, world.other_town, world.new
    theirs = h.acquire(old, world.codes[:2]).aliases
    world.push([0, 1], receivers=old, payloads=[b"a", b"b"])
    world.succeed(old)
    mine = h.acquire(new, world.codes[:3]).aliases
    world.push([2], "p2", receivers=new, payloads=[b"c"])
    for call in (lambda: h.arrived(old), lambda: h.taken(old, [1])):
        with pytest.raises(RequestError, match=f"got {old}, which {new} succeeded"):
            call()
    assert sorted(world.came(new)) == sorted(zip(map(bytes, mine), (b"a", b"b", b"c"), strict=True))
    assert theirs[0].tobytes() not in dict(world.came(new))
    numbers = world.arrived(new, limit=1)
    assert len(set(numbers)) == 3, "by pages, each once"
    with pytest.raises(RowsError) as caught:
        h.taken(new, [*numbers, 12345])
    assert caught.value.rows == [3]
    h.update(update_of(world.town, items=("出生",)), world.known[:1], [b"right"])
    (corrects,) = [one for some in h.arrived(new) for one in some.corrects if one is not None]
    h.withhold(corrects, "in doubt", DAY + dt.timedelta(days=100), institution=new, clerk="佐藤")
    assert h.taken(new, numbers).rows == 3
    assert [payload for _, payload in world.came(new)] == [b"right"]


@pytest.mark.parametrize("known", ["one", "both"])
def test_a_split_gives_back_the_flags_that_a_successor_has(world: World, known: str) -> None:
    """It flagged by the alias of the gone one, which is the old body's: that one must not be left unprotected."""
    h = world.h
    if known == "one":
        h.revoke(world.town, world.known[:1])
    world.merge()
    world.succeed()
    h.flag(world.new, world.known[1:2] if known == "one" else world.known[:1], Flag.MANUAL)
    world.split()
    assert h.flags(world.new, world.known[1:2]).tolist() == [Flag.MANUAL]
