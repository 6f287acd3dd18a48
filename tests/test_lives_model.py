"""Lives as a game: acquire, move, reissue, merge, split, die, correct, ask, against the dict-and-list hub.

The model knows more than the hub: of each alias whom it can have been given for (its *lineage*). So it says whose a
record is without any of the lists that the hub keeps: whoever both sides' aliases can stand for.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import hub
from hub.errors import RequestError
from hub.messages import Acquisition, Kind, Status
from inquiries import tax_inquiry
from model import PORTAL, Model
from parties import DAY_S, Clock

PERSONS = 5
CODES = [f"{10**9 + number:011}" for number in range(PERSONS)]
CODE = st.sampled_from(CODES)
TWO = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "the game says so"}
DAYS = (dt.date(2026, 11, 20), dt.date(2026, 11, 21))

Lineage = frozenset[int]


class Asked(NamedTuple):
    """A record: whom the requester's alias can have stood for, and the provider's where it was reached."""

    requester: str
    provider: str
    outcome: int
    mine: Lineage
    theirs: Lineage | None

    def about(self) -> Lineage:
        """Whose it can be; where the two sides contradict each other, any of both."""
        if self.theirs is None:
            return self.mine
        return self.mine & self.theirs or self.mine | self.theirs


class LivesModel(Model):
    """The model with persons who are merged, split, dead.

    Attributes:
        into: person -> the one into whom they were merged. merges: person -> merges that stand, oldest first: (gone,
            aliases that went over, aliases of who was known twice), by institution.
        lineage: (institution, alias) -> persons whom it can stand for. ended: aliases that were replaced.
        deaths: person -> day. asked: every record.
    """

    def __init__(self, catalog: hub.Catalog) -> None:
        super().__init__(catalog)
        self.into: dict[int, int] = {}
        self.merges: dict[int, list[tuple[int, dict[str, bytes], dict[str, bytes]]]] = {}
        self.lineage: dict[tuple[str, bytes], Lineage] = {}
        self.ended: dict[str, dict[bytes, bytes]] = {}
        self.deaths: dict[int, int] = {}
        self.asked: list[Asked] = []

    def now(self, person: int) -> int:
        while person in self.into:
            person = self.into[person]
        return person

    def members(self, person: int) -> Lineage:
        found = {person}
        for gone, _, _ in self.merges.get(person, []):
            found |= self.members(gone)
        return frozenset(found)

    def alias(self, body: str, code: str) -> bytes | None:
        person = self.persons.get(code)
        return None if person is None else self.alias_of.get(body, {}).get(self.now(person))

    def take(self, body: str, codes: list[str], given: Any) -> tuple[list[int], list[bytes]]:
        """The statuses and aliases that an acquisition must give, as :meth:`Model.acquire`."""
        known, statuses, aliases = self.alias_of.setdefault(body, {}), [], []
        for row, code in enumerate(codes):
            if code not in self.persons:
                self.persons[code] = len(self.persons)
            person = self.now(self.persons[code])
            if body == PORTAL and person in self.deaths:
                statuses.append(int(Acquisition.NONE))
                aliases.append(bytes(16))
                continue
            statuses.append(int(Acquisition.ALREADY if person in known else Acquisition.CREATED))
            if person not in known:
                alias = given[row].tobytes()
                assert alias not in self._issued
                self._issued.add(alias)
                self._give(body, person, alias, self.members(person))
            aliases.append(known[person])
        return statuses, aliases

    def _give(self, body: str, person: int, alias: bytes, lineage: Lineage) -> None:
        self.alias_of.setdefault(body, {})[person] = alias
        self.person_of.setdefault(body, {})[alias] = person
        self.lineage[body, alias] = lineage

    def reissue(self, body: str, old: bytes, fresh: bytes) -> None:
        assert fresh not in self._issued
        self._issued.add(fresh)
        person = self.person_of[body].pop(old)
        self.ended.setdefault(body, {})[old] = fresh
        self._give(body, person, fresh, self.lineage[body, old])

    def merge(self, a: int, b: int) -> bool:
        """Returns whether it changes anything; RequestError where it cannot be."""
        if a == b:
            raise RequestError("")
        if self.into.get(b) == a:
            return False
        if a in self.into or b in self.into or self.deaths.get(a) != self.deaths.get(b):
            raise RequestError("")
        moved, both = {}, {}
        for body, known in self.alias_of.items():
            alias = known.pop(b, None)
            if alias is None:
                continue
            if a in known:
                both[body] = alias
                self.lineage[body, known[a]] |= self.members(b)
                self.person_of[body].pop(alias)
            else:
                moved[body] = alias
                known[a] = alias
                self.person_of[body][alias] = a
        self.into[b] = a
        self.merges.setdefault(a, []).append((b, moved, both))
        return True

    def split(self, a: int, b: int, was_split: set[tuple[int, int]]) -> bool:
        if a == b:
            raise RequestError("")
        if self.into.get(b) != a:
            if b not in self.into and (a, b) in was_split:
                return False
            raise RequestError("")
        if a in self.into or self.merges[a][-1][0] != b or self.deaths.get(a) != self.deaths.get(b):
            raise RequestError("")
        _, moved, both = self.merges[a].pop()
        del self.into[b]
        gone = self.members(b)
        for body, alias in moved.items():
            while alias in self.ended.get(body, {}):
                alias = self.ended[body][alias]
            del self.alias_of[body][a]
            self.alias_of[body][b] = alias
            self.person_of[body][alias] = b
        for body, alias in both.items():
            self.alias_of[body][b] = alias
            self.person_of[body][alias] = b
        for body, known in self.alias_of.items():
            for person in (a, b):
                if person in known:
                    own = gone if person == b else self.members(a)
                    self.lineage[body, known[person]] &= own
        return True

    def shown(self, person: int) -> list[tuple[str, str, int]]:
        """What the history of a person shows, oldest first."""
        members = self.members(person)
        return [(one.requester, one.provider, one.outcome) for one in self.asked if one.about() <= members]


class Lives(RuleBasedStateMachine):
    """The game."""

    @initialize(known=st.lists(st.lists(CODE, min_size=1, max_size=4, unique=True), min_size=5, max_size=5))
    def open(self, known: list[list[str]]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.h = hub.open(self.folder / "hub", create=True, clock=self.clock)
        self.bodies = ["nenkin", *(body.code for body in self.h.catalog.institutions("市町村長")[:3]), PORTAL]
        self.model = LivesModel(self.h.catalog)
        self.was_split: set[tuple[int, int]] = set()
        self.questions = 0
        for body, codes in zip(self.bodies, known, strict=True):
            self.acquire(codes, body)
        self.acquire(CODES, PORTAL)

    def teardown(self) -> None:
        if hasattr(self, "h"):
            report = self.h.verify()
            self.h.close()
            shutil.rmtree(self.folder)
            assert report.problems == (), report.problems

    def acquire(self, codes: list[str], body: str) -> None:
        found = self.h.acquire(body, codes)
        statuses, aliases = self.model.take(body, codes, found.aliases)
        assert found.status.tolist() == statuses, (found.status.tolist(), statuses, len(codes))
        assert [alias.tobytes() for alias in found.aliases] == aliases

    @rule(codes=st.lists(CODE, min_size=1, max_size=4), body=st.integers(0, 4))
    def acquires(self, codes: list[str], body: int) -> None:
        self.acquire(codes, self.bodies[body])

    @rule(code=CODE, town=st.integers(1, 3))
    def move(self, code: str, town: int) -> None:
        """Whoever moves becomes known to the next town; the one before keeps what it has."""
        self.acquire([code], self.bodies[town])

    @rule(code=CODE, body=st.integers(0, 4))
    def reissue(self, code: str, body: int) -> None:
        name = self.bodies[body]
        alias = self.model.alias(name, code)
        if alias is None:
            return
        found = self.h.reissue(name, row(alias))
        if name == PORTAL and self.model.now(self.model.persons[code]) in self.model.deaths:
            assert found.status.tolist() == [Acquisition.NONE]
            return
        assert found.status.tolist() == [Acquisition.CREATED]
        self.model.reissue(name, alias, found.aliases.tobytes())
        again = self.h.reissue(name, row(alias))
        assert again.status.tolist() == [Acquisition.ALREADY]
        assert again.aliases.tobytes() == found.aliases.tobytes()

    def both(self, keep: str, gone: str, call: str) -> None:
        known = self.model.persons
        if keep not in known or gone not in known:
            with pytest.raises(RequestError):
                getattr(self.h, call)("jlis", keep, gone, **TWO)
            return
        commits = self.h.stats()["commits"]
        try:
            if call == "merge":
                changes = self.model.merge(known[keep], known[gone])
            else:
                changes = self.model.split(known[keep], known[gone], self.was_split)
                self.was_split.add((known[keep], known[gone]))
        except RequestError:
            with pytest.raises(RequestError):
                getattr(self.h, call)("jlis", keep, gone, **TWO)
            changes = False
        else:
            getattr(self.h, call)("jlis", keep, gone, **TWO)
        assert self.h.stats()["commits"] == commits + changes

    @rule(keep=CODE, gone=CODE)
    def merge(self, keep: str, gone: str) -> None:
        self.both(keep, gone, "merge")

    @rule(data=st.data())
    def merge_who_can_be(self, data: st.DataObject) -> None:
        alive = [code for code, person in self.model.persons.items() if person not in self.model.into]
        if len(alive) > 1:
            self.both(*data.draw(st.permutations(sorted(alive)))[:2], "merge")

    @rule(keep=CODE, gone=CODE)
    def split(self, keep: str, gone: str) -> None:
        self.both(keep, gone, "split")

    @rule(data=st.data())
    def split_what_was_merged(self, data: st.DataObject) -> None:
        pairs = [(a, merges[-1][0]) for a, merges in self.model.merges.items() if merges]
        if pairs:
            a, b = data.draw(st.sampled_from(sorted(pairs)))
            codes = {person: code for code, person in self.model.persons.items()}
            self.both(codes[a], codes[b], "split")

    @rule(code=CODE, day=st.sampled_from(DAYS), correct=st.booleans())
    def die(self, code: str, day: dt.date, correct: bool) -> None:
        words: dict[str, Any] = {"correct": True, "clerk": "佐藤", "second_clerk": "鈴木"} if correct else {}
        person = self.model.persons.get(code)
        number = (day - dt.date(1970, 1, 1)).days
        known = None if person is None else self.model.deaths.get(self.model.now(person))
        if person is None or (known not in (None, number) and not correct):
            with pytest.raises(RequestError):
                self.h.deaths("jlis", [code], day, **words)
            return
        told = self.h.deaths("jlis", [code], day, **words)
        expected = (known is None, known not in (None, number), known == number)
        assert (told.told, told.corrected, told.known) == expected
        now = self.model.now(person)
        self.model.deaths |= {one: number for one in self.model.members(now) if one == now or one in self.model.deaths}

    @rule(code=CODE)
    def live(self, code: str) -> None:
        person = self.model.persons.get(code)
        if person is not None:
            done = self.h.alive("jlis", [code], **TWO)
            now = self.model.now(person)
            assert done == (now in self.model.deaths)
            for one in self.model.members(now):
                self.model.deaths.pop(one, None)

    @rule(data=st.data())
    def ask_about_who_is_known(self, data: st.DataObject) -> None:
        """Most questions come from whoever knows somebody."""
        for _ in range(3):
            known = [
                (code, number) for number, body in enumerate(self.bodies[:4])
                for code in CODES if self.model.alias(body, code)
            ]  # fmt: skip
            if known:
                code, number = data.draw(st.sampled_from(known))
                self._ask(code, number, data.draw(st.integers(1, 3)))

    @rule(code=CODE, requester=st.integers(0, 3), provider=st.integers(1, 3))
    def ask(self, code: str, requester: int, provider: int) -> None:
        self._ask(code, requester, provider)

    def _ask(self, code: str, requester: int, provider: int) -> None:
        model, mine, theirs = self.model, self.bodies[requester], self.bodies[provider]
        alias = model.alias(mine, code)
        if alias is None or mine == theirs:
            return
        self.questions += 1
        self.clock.now += DAY_S if self.questions % 7 == 0 else 60
        inquiry = tax_inquiry(f"r{self.questions}")
        if requester:
            found = self.h.catalog.procedure("19-8/106/108.1")
            role = self.h.catalog.rules_of(found.id)[0].roles[0]
            inquiry = tax_inquiry(
                f"r{self.questions}", requester=mine, procedure=found.id, items=(found.items[0],), role=role
            )  # fmt: skip
        person = model.person_of[mine][alias]
        other = model.alias_of.get(theirs, {}).get(person)
        decision = self.h.catalog.decide(inquiry, theirs, at=self.clock.now)
        outcome = decision.status
        if decision.allowed:
            outcome = Status.NO_ALIAS_AT_PROVIDER if other is None else Status.OK
        assert self.h.inquire(inquiry, row(alias), theirs).status.tolist() == [outcome]
        reached = outcome == Status.OK and other is not None
        model.asked.append(
            Asked(mine, theirs, int(outcome), model.lineage[mine, alias],
                  model.lineage[theirs, other] if reached and other is not None else None)
        )  # fmt: skip

    @rule(code=CODE, body=st.integers(0, 3))
    def ask_with_what_has_ended(self, code: str, body: int) -> None:
        name = self.bodies[body]
        for old in list(self.model.ended.get(name, {}))[:3]:
            found = self.h.resolve(name, self.bodies[1 if body != 1 else 2], row(old))
            assert found.status.tolist() == [Status.REVOKED]

    @invariant()
    def the_aliases_are_the_models(self) -> None:
        if not hasattr(self, "h"):
            return
        for body in self.bodies:
            count = len(self.model.alias_of.get(body, {}))
            assert self.h.stats()["aliases"].get(body, 0) == count

    @rule()
    def show(self) -> None:
        """Every history, of whoever has a portal alias that is open."""
        for person, alias in self.model.alias_of.get(PORTAL, {}).items():
            if person in self.model.deaths:
                with pytest.raises(RequestError, match="closed"):
                    self.h.history(row(alias))
                continue
            shown = []
            cursor = None
            while True:
                page = self.h.history(row(alias), limit=3, cursor=cursor)
                shown += page.records
                cursor = page.cursor
                if cursor is None:
                    break
            inquiries = [one for one in reversed(shown) if one.kind == Kind.INQUIRY]
            found = [(one.requester, one.provider, int(one.outcome)) for one in inquiries]
            expected = self.model.shown(person)
            assert found == expected, (found, expected)
            if shown:
                assert self.h.history(row(alias), limit=1).proof(0).index == shown[0].index

    @rule()
    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.folder / "hub", clock=self.clock)


def row(alias: bytes) -> np.ndarray:
    return np.frombuffer(alias, np.uint8).reshape(1, 16).copy()


Lives.TestCase.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
TestLives = Lives.TestCase
