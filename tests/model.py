"""The same hub as a few dicts and a list: what the real one must answer, written as plainly as the law reads.

Aliases are random, so the model takes each new one from the hub's own answer and then holds the hub to it: it must
be nobody's yet, at any institution, and stay the person's for ever. Everything else is computed here; the law comes
from ``catalog.decide``, one row at a time, which the catalog's own tests hold against the Order.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import hub
from hub.limits import CLASSES_FROM
from hub.messages import Acquisition, Status

Aliases = npt.NDArray[np.uint8]
PORTAL = "portal"
MANUAL, WITHHELD = int(hub.Flag.MANUAL), int(hub.Flag.WITHHELD)


class Line(NamedTuple):
    """One record as the citizen reads it, but for the inquiry's opaque name and the position in the log."""

    requested_at: int
    requester: str
    on_behalf_of: str | None
    provider: str
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    legal_basis: str
    outcome: Status


class Answered(NamedTuple):
    """What an inquiry must get: status uint8[N], rule uint32[N], reason uint8[N], holders of rows with several."""

    status: npt.NDArray[np.uint8]
    rule: npt.NDArray[np.uint32]
    reason: npt.NDArray[np.uint8]
    holders: dict[int, tuple[str, ...]]


class Conflict(Exception):
    """The request id was used for another inquiry."""


class Model:
    """A hub that forgets nothing and is right by inspection.

    Attributes:
        persons: resident record code -> person.
        alias_of: institution -> person -> alias.
        person_of: institution -> alias -> person.
        records: one (inquiry, person, Line) a recorded row, oldest inquiry first.
        requests: (requester, request id) -> what was asked and answered.
        facts: (class label, person) -> (institution, first day) -> last day.
        flags: institution -> person -> flags there. withheld: places in ``records`` that nobody is shown.
    """

    def __init__(self, catalog: hub.Catalog) -> None:
        self.catalog = catalog
        self.persons: dict[str, int] = {}
        self.alias_of: dict[str, dict[int, bytes]] = {}
        self.person_of: dict[str, dict[bytes, int]] = {}
        self.records: list[tuple[int, int, Line]] = []
        self.requests: dict[tuple[str, str], tuple[bytes, Answered, int]] = {}
        self.facts: dict[tuple[str, int], dict[tuple[str, dt.date], dt.date]] = {}
        self.flags: dict[str, dict[int, int]] = {}
        self.withheld: set[int] = set()
        self._by_person: dict[int, list[int]] = {}
        self._issued: set[bytes] = set()
        self._codes = {i.number: i.code for i in catalog.institutions()}
        self._labels = {CLASSES_FROM + catalog.class_number(label): label for label in catalog.class_labels}
        self._numbers = {code: number for number, code in (self._labels | self._codes).items()}
        self._decisions: dict[tuple[Any, ...], Any] = {}

    def copy(self) -> Model:
        """A second model that goes its own way."""
        twin = copy.copy(self)
        twin.persons = dict(self.persons)
        twin.alias_of = {code: dict(known) for code, known in self.alias_of.items()}
        twin.person_of = {code: dict(known) for code, known in self.person_of.items()}
        twin.records = list(self.records)
        twin.requests = dict(self.requests)
        twin.facts = {key: dict(facts) for key, facts in self.facts.items()}
        twin.flags = {code: dict(flags) for code, flags in self.flags.items()}
        twin.withheld = set(self.withheld)
        twin._by_person = {person: list(lines) for person, lines in self._by_person.items()}
        twin._issued = set(self._issued)
        return twin

    def acquire(
        self, institution: str, codes: Sequence[str], given: Aliases
    ) -> tuple[Aliases, npt.NDArray[np.uint8]]:
        """The aliases and statuses that the hub must have answered; ``given`` is used for new persons only.

        Raises:
            AssertionError: a new alias is nothing, or was somebody's before.
        """
        assert given.dtype == np.uint8
        assert given.shape == (len(codes), 16)
        alias_of = self.alias_of.setdefault(institution, {})
        person_of = self.person_of.setdefault(institution, {})
        status = np.empty(len(codes), np.uint8)
        aliases: list[bytes] = []
        flat = given.tobytes()
        for row, code in enumerate(codes):
            person = self.persons.setdefault(code, len(self.persons))
            alias = alias_of.get(person)
            status[row] = Acquisition.CREATED if alias is None else Acquisition.ALREADY
            if alias is None:
                alias = alias_of[person] = flat[16 * row : 16 * row + 16]
                assert any(alias), f"row {row}: expected an alias, got zeros"
                assert alias not in self._issued, f"row {row}: expected a new alias, got one that was given before"
                self._issued.add(alias)
                person_of[alias] = person
            aliases.append(alias)
        return np.frombuffer(b"".join(aliases), np.uint8).reshape(-1, 16), status

    def flag(self, institution: str, aliases: Sequence[bytes], flags: int, on: bool) -> None:
        """Switch flags of persons whom the institution knows.

        Raises:
            KeyError: an alias is not its own; nothing was changed.
        """
        persons = [self.person_of.get(institution, {})[alias] for alias in aliases]
        known = self.flags.setdefault(institution, {})
        for person in persons:
            known[person] = known.get(person, 0) | flags if on else known.get(person, 0) & ~flags

    def push_holders(
        self, label: str, codes: Sequence[str], towns: Sequence[str], since: Sequence[dt.date],
        until: Sequence[dt.date | None],
    ) -> tuple[int, int]:  # fmt: skip
        """Enter facts; returns how many rows were taken, and how many are of unknown persons."""
        unknown = 0
        for code, town, first, last in zip(codes, towns, since, until, strict=True):
            if code not in self.persons:
                unknown += 1
                continue
            self.facts.setdefault((label, self.persons[code]), {})[town, first] = dt.date.max if last is None else last
        for key, facts in self.facts.items():
            standing = {fact: last for fact, last in facts.items() if last >= fact[1]}
            for (town, first), last in list(standing.items()):
                later = [other for _, other in standing if other > first]
                if last == dt.date.max and later:
                    standing[town, first] = min(later) - dt.timedelta(1)
            self.facts[key] = standing
        return len(codes) - unknown, unknown

    def locate(self, inquiry: hub.Inquiry, label: str, person: int | None, at: int) -> tuple[str, Any, list[str]]:
        """The body that a row goes to (or ""), the decision about it, and where there are several all of them."""
        members = [body.code for body in self.catalog.institutions(label)]
        anyone = next((one for one in members if self.decide(inquiry, one, at).allowed), members[0])
        day = inquiry.reference_date or dt.datetime.fromtimestamp(at, dt.timezone(dt.timedelta(hours=9))).date()
        held: dict[str, dt.date] = {}
        for (town, first), last in self.facts.get((label, person), {}).items() if person is not None else ():
            if first <= day <= last:
                held[town] = max(first, held.get(town, first))
        latest = max(held, key=lambda town: (held[town], self._numbers[town]), default="")
        in_order = sorted(held, key=self._numbers.__getitem__)
        allowed = [town for town in in_order if self.decide(inquiry, town, at).allowed]
        if len(held) > 1 and not self._is_manual(person):
            if len(allowed) > 1:
                return "", self.decide(inquiry, anyone, at), allowed
            latest = allowed[0] if allowed else latest
        return latest, self.decide(inquiry, latest or anyone, at), []

    def flags_of(self, institution: str, person: int) -> int:
        """How a person stands at an institution."""
        return self.flags.get(institution, {}).get(person, 0)

    def numbers(self, providers: str | Sequence[str] | npt.NDArray[np.uint32], rows: int) -> list[int]:
        """Institution numbers, one a row."""
        if isinstance(providers, str):
            return [self._numbers[providers]] * rows
        if isinstance(providers, np.ndarray):
            return [int(number) for number in providers]
        return [self._numbers[code] for code in providers]

    def resolve(
        self, requester: str, providers: str | Sequence[str] | npt.NDArray[np.uint32], aliases: Aliases
    ) -> tuple[Aliases, npt.NDArray[np.uint8]]:
        """The providers' aliases of the requester's, zeros where there is none, and statuses."""
        person_of = self.person_of.get(requester, {})
        out: list[bytes] = []
        status = np.empty(len(aliases), np.uint8)
        for row, (alias, number) in enumerate(zip(_split(aliases), self.numbers(providers, len(aliases)), strict=True)):
            person = person_of.get(alias)
            found = None if person is None else self.alias_of.get(self._codes[number], {}).get(person)
            status[row] = self._outcome(person, found)
            out.append(found or bytes(16))
        return np.frombuffer(b"".join(out), np.uint8).reshape(-1, 16), status

    @staticmethod
    def _outcome(person: int | None, found: bytes | None) -> Status:
        if person is None:
            return Status.UNKNOWN_ALIAS
        return Status.NO_ALIAS_AT_PROVIDER if found is None else Status.OK

    def decide(self, inquiry: hub.Inquiry, provider: str, at: int) -> Any:
        """The catalog's decision about one provider."""
        key = (inquiry.requester, inquiry.procedure, tuple(inquiry.items), inquiry.role, provider, at)
        if key not in self._decisions:
            moment = dt.datetime.fromtimestamp(at, dt.UTC)
            self._decisions[key] = self.catalog.decide(inquiry, provider, at=moment)
        return self._decisions[key]

    def inquire(
        self,
        inquiry: hub.Inquiry,
        aliases: Aliases,
        providers: str | Sequence[str] | npt.NDArray[np.uint32],
        at: int,
    ) -> Answered:
        """The answer to an inquiry that the hub received at ``at``; recorded unless the request id was used.

        A row that the law does not allow is denied whatever its alias; it is recorded where the alias is somebody's.

        Raises:
            Conflict: the request id was used for something else.
        """
        numbers = self.numbers(providers, len(aliases))
        digest = _digest(inquiry, aliases, numbers)
        earlier = self.requests.get((inquiry.requester, inquiry.request_id))
        if earlier is not None:
            if earlier[0] != digest:
                raise Conflict(inquiry.request_id)
            return earlier[1]
        person_of = self.person_of.get(inquiry.requester, {})
        rows = len(aliases)
        answer = Answered(np.empty(rows, np.uint8), np.empty(rows, np.uint32), np.empty(rows, np.uint8), {})
        this = len(self.requests)
        named = {number for number in numbers if number in self._codes}
        decisions = {number: self.decide(inquiry, self._codes[number], at) for number in named}
        lines: dict[tuple[str, Status], tuple[Line, list[dict[int, int]]]] = {}
        holders: dict[int, tuple[str, ...]] = {}
        for row, (alias, number) in enumerate(zip(_split(aliases), numbers, strict=True)):
            person = person_of.get(alias)
            if number in self._labels:
                provider, decision, several = self.locate(inquiry, self._labels[number], person, at)
            else:
                provider, decision, several = self._codes[number], decisions[number], []
            outcome = decision.status
            if decision.allowed:
                found = None if person is None else self.alias_of.get(provider, {}).get(person)
                outcome = Status.MULTIPLE if several else self._outcome(person, found)
                if several:
                    holders[row] = tuple(several)
                if outcome == Status.NO_ALIAS_AT_PROVIDER and self._is_manual(person):
                    outcome = Status.OK
            answer.status[row] = outcome
            answer.rule[row] = decision.rule
            answer.reason[row] = decision.reason
            if person is not None:
                known = lines.get((provider, outcome))
                if known is None:
                    parties = [inquiry.requester] + [provider] * (outcome == Status.OK and provider != "")
                    flagged = [self.flags[code] for code in parties if code in self.flags]
                    known = lines[provider, outcome] = self._line(inquiry, decision, provider, outcome, at), flagged
                line, flagged = known
                for flags in flagged:
                    if flags.get(person, 0) & WITHHELD:
                        self.withheld.add(len(self.records))
                self._by_person.setdefault(person, []).append(len(self.records))
                self.records.append((this, person, line))
        answer.holders.update(holders)
        self.requests[inquiry.requester, inquiry.request_id] = (digest, answer, at)
        return answer

    def _is_manual(self, person: int | None) -> bool:
        return person is not None and any(f.get(person, 0) & MANUAL for f in self.flags.values())

    @staticmethod
    def _line(inquiry: hub.Inquiry, decision: Any, provider: str, outcome: Status, at: int) -> Line:
        return Line(
            requested_at=at,
            requester=inquiry.requester,
            on_behalf_of=decision.on_behalf_of,
            provider=provider,
            procedure=inquiry.procedure,
            items=decision.items,
            role=decision.role,
            section=inquiry.section,
            legal_basis=decision.legal_basis,
            outcome=outcome,
        )

    def history(
        self,
        portal_alias: bytes,
        *,
        since: int | None = None,
        until: int | None = None,
        institution: str | None = None,
        procedure: str | None = None,
    ) -> list[tuple[int, Line]]:
        """(inquiry, line) of a person, newest inquiry first; the order within one inquiry is the hub's to choose.

        ``since`` is included, ``until`` is not; ``institution`` is on either side.
        """
        person = self.person_of.get(PORTAL, {}).get(portal_alias)
        if person is None:
            return []
        shown = [i for i in self._by_person.get(person, []) if i not in self.withheld]
        lines = [(self.records[i][0], self.records[i][2]) for i in shown]
        return [
            (inquiry, line)
            for inquiry, line in reversed(lines)
            if (since is None or line.requested_at >= since)
            and (until is None or line.requested_at < until)
            and (institution is None or institution in (line.requester, line.provider))
            and (procedure is None or procedure == line.procedure)
        ]


def line_of(record: hub.Record) -> Line:
    """A record of the hub's, for comparison."""
    return Line(
        requested_at=int(record.requested_at.timestamp()),
        requester=record.requester,
        on_behalf_of=record.on_behalf_of,
        provider=record.provider,
        procedure=record.procedure,
        items=tuple(record.items),
        role=record.role,
        section=record.section,
        legal_basis=record.legal_basis,
        outcome=record.outcome,
    )


def check_history(records: Sequence[hub.Record], expected: Sequence[tuple[int, Line]]) -> None:
    """A whole history against the model's: newest first, every record once, one opaque name an inquiry.

    Raises:
        AssertionError: it differs; the message holds numbers of records only.
    """
    assert len(records) == len(expected), f"expected {len(expected)} records, got {len(records)}"
    order = [(record.requested_at, record.index) for record in records]
    assert order == sorted(order, reverse=True), "expected the newest record first"
    assert len({record.index for record in records}) == len(records), "expected every record once"
    at = 0
    names: dict[int, str] = {}
    while at < len(expected):
        inquiry = expected[at][0]
        end = at + 1
        while end < len(expected) and expected[end][0] == inquiry:
            end += 1
        got = Counter(line_of(record) for record in records[at:end])
        same = got == Counter(line for _, line in expected[at:end])
        assert same, f"expected the model's records {at} to {end - 1}, got others"
        opaque = {record.inquiry for record in records[at:end]}
        assert len(opaque) == 1, f"expected one name for the inquiry of records {at} to {end - 1}, got {len(opaque)}"
        names[inquiry] = opaque.pop()
        at = end
    assert len(set(names.values())) == len(names), "expected another name for each inquiry"
    assert all(record.provided_at is None for record in records), "expected nothing to be provided yet"


def _split(aliases: Aliases) -> list[bytes]:
    flat = aliases.tobytes()
    return [flat[at : at + 16] for at in range(0, len(flat), 16)]


def _digest(inquiry: hub.Inquiry, aliases: Aliases, numbers: list[int]) -> bytes:
    fields = (inquiry.procedure, tuple(inquiry.items), inquiry.section, inquiry.role, inquiry.operator)
    text = repr((fields, inquiry.reference_date, numbers)).encode()
    return hashlib.sha256(text + aliases.tobytes()).digest()
