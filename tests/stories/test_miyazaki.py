"""Miyazaki, 2023: a column that slipped.

A prefecture linked the individual numbers of people with disability certificates by a spreadsheet. Names stood in one
column, numbers in another, and one of the two slipped by a row: from somewhere on everybody had the number of the
person below. Of 8,279 certificates 2,336 were linked with somebody else, who could read in their own portal of a
disability that was not theirs. Nobody had compared anything: a number is as good as the next.

What must not happen here: that one of the 2,336 becomes an alias before a clerk has looked. The file claims with each
ticket what it says of the person; the register body compares; the hub holds. Where a file went wrong before anybody
compared, its wrong links are replaced in one call, without a moment in which both or neither of two links hold.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hub.messages import Acquisition, Differs, Kind, Status
from hub.mislinks.attributes import People
from hub.mislinks.detectors import Mislink, Run, find_doubles, find_mislinks
from linkworld import LinkWorld

CERTIFICATES, SLIPPED, FROM = 8_279, 2_336, 3_105
PREFECTURE = "450006"


def slipped(codes: np.ndarray) -> np.ndarray:
    """The column of codes in which so many rows have that of the row below."""
    wrong = codes.copy()
    wrong[FROM : FROM + SLIPPED] = codes[FROM + 1 : FROM + SLIPPED + 1]
    return wrong


def test_the_slipped_rows_are_held_and_no_other(tmp_path: Path) -> None:
    with LinkWorld(tmp_path / "hub", CERTIFICATES) as world:
        h = world.h
        # The prefecture draws tickets and says of each, under seal, whose it is to be.
        tickets = world.claim(PREFECTURE, world.people, clerk="the clerk with the spreadsheet")
        # With each ticket the register body gets a code by the number of the slipped column, and compares.
        compared = world.deliver(tickets, slipped(world.codes))

        acquired = h.acquired(PREFECTURE, tickets)
        held = np.flatnonzero(acquired.status == Acquisition.HELD)
        assert held.tolist() == list(range(FROM, FROM + SLIPPED))
        assert h.stats()["aliases"][PREFECTURE] == CERTIFICATES - SLIPPED
        # Of a person who is held the prefecture learns which attributes differ, and not who it was instead.
        assert (acquired.differs[held] != 0).all()
        assert Differs(int(acquired.differs[FROM])) & (Differs.NAME | Differs.BIRTH)
        assert not acquired.aliases[held].any()

        # The register body sees at once what kind of mistake it is, and tells the prefecture from where to where.
        found = find_mislinks(compared.own, compared.registered)
        assert found.runs == [Run(FROM, FROM + SLIPPED - 1, -1)]
        assert found.counts == {Mislink.SHIFTED.value: SLIPPED}

        # The prefecture drops those tickets and draws others, for the column as it should be.
        assert h.close_tickets(PREFECTURE, np.ascontiguousarray(tickets[held])) == SLIPPED
        again = world.claim(PREFECTURE, [world.people[row] for row in held.tolist()])
        world.deliver(again, world.codes[held])
        assert set(h.acquired(PREFECTURE, again).status.tolist()) <= {Acquisition.CREATED, Acquisition.ALREADY}
        assert h.stats()["aliases"][PREFECTURE] == CERTIFICATES
        assert h.verify().ok


def test_a_file_that_slipped_before_anybody_compared_is_put_right(tmp_path: Path) -> None:
    with LinkWorld(tmp_path / "hub", CERTIFICATES) as world:
        h = world.h
        # As it was in 2023: no attributes, so that every number was as good as the next.
        tickets = h.tickets(PREFECTURE, CERTIFICATES)
        h.deliver("jlis", tickets, slipped(world.codes))
        before = h.acquired(PREFECTURE, tickets)
        assert (before.aliases != 0).any(axis=1).all()
        portal = h.acquire("portal", world.codes).aliases

        # The prefecture asks the register what it has of the people whom it is linked with, and looks for a pattern.
        linked = People.of([world.register[row] for row in np.searchsorted(world.codes, slipped(world.codes))])
        found = find_mislinks(People.of(world.people), linked)
        (run,) = found.runs
        rows = np.arange(run.first, run.last + 1)
        assert len(rows) == SLIPPED

        # Where the slip ends two rows stand on one alias: the wrong one, and the first that is right again. There the
        # old alias must stay, for it is another file's right one.
        _, twice = find_doubles([str(row) for row in range(CERTIFICATES)], before.aliases)
        assert [group.tolist() for group in twice] == [[FROM + SLIPPED - 1, FROM + SLIPPED]]
        keep = np.isin(rows, np.concatenate(twice))

        # New tickets for those rows, compared this time; then one call puts right links in the place of wrong ones.
        right = world.claim(PREFECTURE, [world.people[row] for row in rows])
        assert not world.deliver(right, world.codes[rows]).differs.any()
        acquired = h.replace_links(
            PREFECTURE, right, np.ascontiguousarray(before.aliases[rows]), clerk="another clerk",
            reason="障害者手帳の番号の列が1行ずれていたため", keep_old=keep,
        )  # fmt: skip

        # Everybody's link is their own now, and every other link that was wrong has stopped.
        file = before.aliases.copy()
        file[rows] = acquired.aliases
        assert (h.acquire(PREFECTURE, world.codes).aliases == file).all()
        stopped = h.resolve(PREFECTURE, world.town, np.ascontiguousarray(before.aliases[rows[~keep]])).status
        assert (stopped == Status.REVOKED).all()

        # Who was linked with a stranger's certificate reads of it; whose certificate was on a stranger's link as well.
        first, middle, outside = (h.history(portal[row]).records for row in (FROM, FROM + 9, FROM - 1))
        assert [(one.kind, one.outcome) for one in first] == [(Kind.LINK_REPLACED, Status.OK)]
        assert {one.outcome for one in middle} == {Status.OK, Status.REVOKED}
        assert outside == []
        assert h.verify().ok
