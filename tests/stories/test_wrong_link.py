"""The story of a wrong link: made, asked through, found, suspended, corrected, reported, resumed.

A town registers a member under the code of somebody of the same name. Three bodies receive the member's data as the
namesake's. It is found out when the namesake reads their history.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

import hub
from hub.messages import Acquisition, Kind, Reason, Status
from hub.records.events import EventKind
from hub.tlog.verify import verify_proof
from inquiries import tax_inquiry
from parties import DAY_S, NOON, Clock

NAMESAKE, MEMBER, NEIGHBOUR = range(3)
CODES = [f"{10**9 + person:011}" for person in range(3)]
FIRST_DAY = dt.date(2026, 11, 25)
CLERKS = {"clerk": "佐藤", "second_clerk": "鈴木"}
TOWNS_QUESTION = {"procedure": "19-8/106/108.1", "role": "一般受給資格者"}
NO_ALIAS = Status.NO_ALIAS_AT_PROVIDER


def test_a_wrong_link_from_its_making_to_its_end(tmp_path: Path) -> None:
    clock = Clock()
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        story = Story(h, clock)
        story.make_the_link()
        story.ask_through_it()
        story.find_it()
        story.suspend_it()
        story.correct_it()
        story.report_it()
        story.resume()
    with hub.open(tmp_path / "hub", clock=clock) as h:
        report = h.verify()
        assert report.ok, report.problems


class Story:
    """Who is in it: a town that holds the data, the bodies that ask for them, citizens."""

    def __init__(self, h: hub.Hub, clock: Clock) -> None:
        self.h, self.clock = h, clock
        bodies = [body.code for body in h.catalog.institutions("市町村長")]
        # Each asks by a procedure of its own; each knows all three people.
        self.town = bodies[0]
        self.askers = ["nenkin", *bodies[1:3]]
        self.aliases = {code: h.acquire(code, CODES).aliases for code in self.askers}
        self.portal = h.acquire("portal", CODES).aliases

    def make_the_link(self) -> None:
        """The town means its member and registers the namesake's code; of the neighbour it is right."""
        self.wrong, self.neighbour = self.h.acquire(self.town, [CODES[NAMESAKE], CODES[NEIGHBOUR]]).aliases

    def ask(self, name: str, person: int) -> list[int]:
        """Every body asks the town about a person."""
        found = []
        for code in self.askers:
            one = np.ascontiguousarray(self.aliases[code][[person]])
            words = {} if code == "nenkin" else {**TOWNS_QUESTION, "requester": code}
            answer = self.h.inquire(tax_inquiry(f"{name}/{person}/{code}", **words), one, self.town)
            found.append(int(answer.status[0]))
        return found

    def answer(self) -> None:
        """The town's machine answers what it may: by its own books it gives the member's data."""
        for permits in self.h.collect(self.town, manual=False):
            self.h.provide(self.town, permits, Status.PROVIDED, [b"the member's tax"] * len(permits))
        self.clock.now += 1

    def ask_through_it(self) -> None:
        """Three bodies receive the member's data as the namesake's; a fourth question waits."""
        assert self.ask("first", NAMESAKE) == [Status.OK] * 3
        assert self.ask("first", NEIGHBOUR) == [Status.OK] * 3
        self.answer()
        for code in self.askers:
            assert self.h.answers(code, f"first/{NAMESAKE}/{code}").payloads == [b"the member's tax"]
        # Who would ask about the member is told that the town does not know them.
        assert self.ask("member", MEMBER) == [NO_ALIAS] * 3
        self.h.fetched("nenkin", f"first/{NAMESAKE}/nenkin")
        self.clock.now = NOON + 3 * DAY_S
        one = np.ascontiguousarray(self.aliases["nenkin"][[NAMESAKE]])
        assert self.h.inquire(tax_inquiry("waits"), one, self.town).status.tolist() == [Status.OK]

    def find_it(self) -> None:
        """The namesake reads who received data about them from a town in which they never lived."""
        records = self.h.history(self.portal[NAMESAKE]).records
        given = [one for one in records if one.outcome == Status.PROVIDED]
        assert [one.provider for one in given] == [self.town] * 3
        assert {one.requester for one in given} == set(self.askers)
        # Within seconds the town knows what was done through the link.
        found = self.h.blast_radius(self.town, self.wrong, since=FIRST_DAY)
        assert found.receivers == dict.fromkeys(self.askers, 1) | {"nenkin": 1}
        assert sorted(one.payload for one in found.received) == ["gone", "waiting", "waiting"]
        assert [one.outcome for one in found.open] == [Status.PENDING]

    def suspend_it(self) -> None:
        """No more of it leaves: not by questions, not by the machine that would answer the one that waits."""
        # The neighbour's was typed in by the same hand and is looked at again as well.
        both = np.stack([self.wrong, self.neighbour])
        assert self.h.suspend(self.town, both, clerk="佐藤", reason="identity in doubt") == 2
        for person in (NAMESAKE, NEIGHBOUR):
            assert self.ask("meanwhile", person) == [Status.SUSPENDED] * 3
        self.answer()
        assert self.h.answers("nenkin", "waits").status.tolist() == [Status.PENDING]
        open_permits = [one.permit for one in self.h.blast_radius(self.town, self.wrong).open]
        numbers = np.array(open_permits, dtype=np.uint64)
        self.h.provide(self.town, numbers, Status.REFUSED, reasons=Reason.LINKAGE_SUSPENDED, clerk="佐藤")
        assert self.h.answers("nenkin", "waits").reason.tolist() == [Reason.LINKAGE_SUSPENDED]

    def correct_it(self) -> None:
        """The wrong alias stops, and the member's takes its place on the file, in one commit."""
        tickets = self.h.tickets(self.town, 1)
        self.h.deliver("jlis", tickets, [CODES[MEMBER]])
        reason = "同姓同名の取り違え"
        replaced = self.h.replace_links(self.town, tickets, self.wrong.reshape(1, 16), clerk="佐藤", reason=reason)
        assert replaced.status.tolist() == [Acquisition.CREATED]
        self.right = replaced.aliases[0]
        assert self.ask("after", NAMESAKE) == [NO_ALIAS] * 3

    def report_it(self) -> None:
        """Both citizens are told what is theirs to know; the Commission gets a draft."""
        until = FIRST_DAY + dt.timedelta(days=4)
        words = {**CLERKS, "reason": "同姓同名の取り違え", "since": FIRST_DAY, "until": until}
        foreseen = self.h.report_mislink(self.town, self.wrong, self.right, dry_run=True, **words)
        assert self.h.notices(self.portal[NAMESAKE]).records == []
        found = self.h.report_mislink(self.town, self.wrong, self.right, **words)
        assert found.draft == foreseen.draft
        assert (found.citizens, found.notified, found.otherwise) == (2, 2, 0)
        assert {one.receiver for one in found.blast.updates} == set(self.askers)
        assert found.blast.open == []
        (namesake,) = self.h.notices(self.portal[NAMESAKE]).texts
        (member,) = self.h.notices(self.portal[MEMBER]).texts
        assert namesake is not None
        assert member is not None
        assert "あなたのものではない情報" in namesake
        assert "あなたの情報が、別の方の情報として" in member
        for line in ("別人のものとして提供されたおそれがある本人", "1人", "同姓同名の取り違え", "市町村民税"):
            assert line in found.draft
        # Each proves to whom it may concern that they were told, and neither finds the other.
        history = self.h.history(self.portal[MEMBER])
        assert [one.kind for one in history.records[:2]] == [Kind.NOTICE, Kind.MISLINK]
        key = self.h.disclosure_key(self.portal[MEMBER])
        assert verify_proof(history.proof(1).text(), self.h.verifier_key, disclosure_key=key).row.kind == Kind.MISLINK
        told = [event.kind for event in self.h.events() if event.kind >= EventKind.SUSPENDED]
        assert told == [
            EventKind.SUSPENDED, EventKind.SUSPENDED, EventKind.MISLINK_RECORDED, EventKind.MISLINK_RECORDED,
            EventKind.MISLINK_NOTIFIED, EventKind.MISLINK_DRAFTED,
        ]  # fmt: skip

    def resume(self) -> None:
        """The neighbour's link was right and goes on; the member's data are asked for as the member's."""
        assert self.h.resume(self.town, self.neighbour.reshape(1, 16), clerk="佐藤", reason="it was right") == 1
        assert self.ask("end", NEIGHBOUR) == [Status.OK] * 3
        assert not self.h.flags(self.town, self.right.reshape(1, 16)).any()
        assert self.ask("end", MEMBER) == [Status.OK] * 3
        self.answer()
        assert self.h.answers("nenkin", f"end/{MEMBER}/nenkin").payloads == [b"the member's tax"]
        found = self.h.blast_radius(self.town, self.right)
        assert {one.receiver for one in found.received} == set(self.askers)
