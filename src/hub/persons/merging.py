"""Merge and split: two persons who were found to be one, one who was found to be two.

A person gets two numbers where two resident record codes were delivered for one human being. A merge is one
transaction, in which the one who stays takes over what the alias tables know of the other:

| an institution knew | then |
|---|---|
| only the one who is gone | its alias leads to the one who stays |
| both | the alias of the gone one is replaced (REVOKED, and ``reissue`` tells the other), as after a reissue |

The resident code of the gone one leads to the one who stays; flags are united; holders' facts too. Records, index and
disclosure keys are left as they are: ``merges.py`` says whose they are. A split undoes the newest merge of a person
exactly; an alias that was replaced since goes with the one whose it was, what was acquired anew since stays.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from hub.acquisition.additions import complete_pending
from hub.acquisition.tableedits import TableEdits, entries_of, entry_of
from hub.aliases import CLOSED, NOBODY, REPLACED, RESIDENT_CODES, REVOKED, find_aliases, find_persons
from hub.errors import RequestError, StorageError
from hub.history import find_records, person_keys
from hub.messages import Kind
from hub.persons.deaths import day_of_death
from hub.persons.holders import HELD, put_person, read_person, unite
from hub.persons.liferecords import append_life_records
from hub.persons.merges import Life, Lives, Merge, aliases_of, lives_of, lives_sum, note_lives, put_life
from hub.persons.successions import successions_of
from hub.protection.flags import NAME as FLAGGED
from hub.protection.flags import put_person as put_flags
from hub.protection.flags import read_person as read_flags
from hub.protection.marks import asked_as
from hub.protection.withholding import REGISTER, Office
from hub.records.append import Laid
from hub.records.events import EventKind, ToldFlag
from hub.records.handles import QUESTIONS, Stood, make_handle, read_handle, stood
from hub.storage.confidential import HUB
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

_AT_A_TIME = 256
_ALONE = Workers(1)


class Words(NamedTuple):
    """Who decided, and why."""

    clerk: str
    second_clerk: str
    reason: str


class Undecided(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was made while two persons were one, and of which it cannot be told whose it is.

    Attributes:
        handle: hand it to ``h.assign``. at: when it was requested, UTC.
        requester, provider: institution codes; procedure: its id.
    """

    handle: bytes
    at: dt.datetime
    requester: str
    provider: str
    procedure: str

    def __repr__(self) -> str:
        return "Undecided()"


class Merging:
    """Merges and splits of an open hub; ``appended`` is called with each, also a repeated one, before it returns.

    ``end_proxies`` ends the proxies of a person on either side: who is merged into another grants theirs anew, and of
    two who are split those end that began while they were one.
    """

    def __init__(
        self, office: Office, workers: Workers, appended: Callable[[], None],
        end_proxies: Callable[..., object], part_consents: Callable[..., object],
    ) -> None:  # fmt: skip
        self._office, self._workers, self._appended = office, workers, appended
        self._end_proxies, self._part_consents = end_proxies, part_consents

    def __repr__(self) -> str:
        return "Merging()"

    # -- merge

    def merge(self, keep: bytes, gone: bytes, words: Words) -> None:
        """See ``Hub.merge``; the two by the pseudonyms of their resident codes."""
        store = self._office.store
        with store.acquiring:
            complete_pending(store, self._workers)
            with store.writer:
                with store.snapshot() as snapshot:
                    a, b = self._two(snapshot, keep, gone)
                    lives = lives_of(snapshot)
                    again = lives.life(b).into == a
                    if not again:
                        _check_apart(snapshot, lives, a, b)
                if not again:
                    with store.commit() as commit, store.snapshot() as snapshot:
                        first, laid = self._merge(commit, snapshot, lives, a, b, words)
                    self._office.wake(first, laid)
        self._appended()

    def _two(self, snapshot: Snapshot, keep: bytes, gone: bytes) -> tuple[int, int]:
        a, b = (self.person_of(snapshot, pseudonym) for pseudonym in (keep, gone))
        if a == b:
            raise RequestError("codes: expected those of two persons, got one person's twice")
        return a, b

    def person_of(self, snapshot: Snapshot, pseudonym: bytes) -> int:
        """The person whose own resident code this is, merged or not.

        Raises:
            RequestError: nobody known here has it.
        """
        one = np.frombuffer(pseudonym, np.uint8).reshape(1, 16)
        persons, _, status = find_persons(snapshot, RESIDENT_CODES, one, _ALONE)
        for member in lives_of(snapshot).members(int(persons[0])) if not status[0] else ():
            if self._pseudonym(snapshot, member) == pseudonym:
                return member
        raise RequestError("codes: expected those of persons who are known here, got another")

    def _pseudonym(self, snapshot: Snapshot, person: int) -> bytes:
        found, status = find_aliases(snapshot, RESIDENT_CODES, np.array([person], dtype=np.uint32), _ALONE)
        if status[0]:
            raise StorageError("persons: expected the resident code of a person, got none")
        return found[0].tobytes()

    def _merge(
        self, commit: Commit, snapshot: Snapshot, lives: Lives, a: int, b: int, words: Words
    ) -> tuple[int, Laid]:
        mine, theirs = aliases_of(snapshot, a), entries_of(snapshot, aliases_of(snapshot, b))
        moved = [(number, *entry) for number, entry in theirs.items() if number not in mine]
        both = [(number, *entry) for number, entry in theirs.items() if number in mine]
        edits = TableEdits()
        for number, alias, flags in moved:
            edits.lead(number, alias, a, flags)
            edits.remove(number, alias, b)
            edits.add(number, alias, a)
        for number, alias, _ in both:
            # It leads to the gone one still: what is asked with it is about that one, see ``merges.py``.
            edits.mark(number, alias, b, REVOKED | REPLACED)
            edits.remove(number, alias, b)
        self._lead_codes(edits, snapshot, lives.members(b), a)
        edits.write(commit, snapshot, self._workers)
        event = self._tell(commit, EventKind.MERGED, b, words)
        added = self._unite_flags(commit, a, b, mine | {number: alias for number, alias, _ in moved}, words.clerk)
        holders = self._unite_holders(commit, snapshot, a, b)
        self._end_proxies(commit, b, "merged")
        first, laid = append_life_records(
            self._office, commit, Kind.MERGED, REGISTER, np.array([a, b], np.uint32), clerk=words.clerk
        )
        kept = sorted(mine.keys() - theirs.keys())
        merge = Merge(b, commit.state.records, 0, event, kept, moved, both, added, holders, [])
        life = lives.life(a)
        self._put(commit, lives, {a: Life(NOBODY, [*life.merges, merge]), b: Life(a, lives.life(b).merges)})
        return first, laid

    def _lead_codes(self, edits: TableEdits, snapshot: Snapshot, members: Iterable[int], person: int) -> None:
        """Resident codes of some persons lead to this one; by person each keeps their own."""
        for member in members:
            edits.lead(RESIDENT_CODES, self._pseudonym(snapshot, member), person, 0)

    def _put(self, commit: Commit, lives: Lives, changed: dict[int, Life]) -> None:
        for person, life in changed.items():
            put_life(commit, person, life)
        note_lives(lives.changed(lives_sum(commit.state), changed))

    def _tell(self, commit: Commit, kind: EventKind, person: int, words: Words) -> int:
        told = ToldFlag(
            at=self._office.now(), kind=kind, institution=REGISTER, clerk=words.clerk,
            second_clerk=words.second_clerk, ground=words.reason, person=person,
        )  # fmt: skip
        return self._office.tell(told, commit, HUB)

    def _unite_flags(
        self, commit: Commit, a: int, b: int, aliases: dict[int, bytes], clerk: str
    ) -> list[tuple[int, int]]:
        """Whoever was protected at either is so now: what is added, by institution."""
        before, other = read_flags(commit, a), read_flags(commit, b)
        added = [(number, flags & ~before.get(number, 0)) for number, flags in other.items()]
        added = [(number, flags) for number, flags in added if flags]
        after = {**before, **{number: before.get(number, 0) | flags for number, flags in added}}
        self._put_flags(commit, {a: (before, after)}, aliases, clerk)
        return added

    def _put_flags(
        self, commit: Commit, changed: dict[int, tuple[dict[int, int], dict[int, int]]], aliases: dict[int, bytes],
        clerk: str,
    ) -> None:  # fmt: skip
        """Write flags of persons (before, after), each change with its event."""
        office = self._office
        changed = {person: (old, new) for person, (old, new) in changed.items() if old != new}
        if not changed:
            return
        with office.store.snapshot() as snapshot:
            known = office.flagged.of(snapshot)
        for person, (old, new) in changed.items():
            put_flags(commit, person, new)
            for number in sorted(old.keys() | new.keys()):
                was, flags = old.get(number, 0), new.get(number, 0)
                if was != flags:
                    kind = EventKind.FLAGGED if flags & ~was else EventKind.UNFLAGGED
                    code = office.catalog().institution_by_number(number).code
                    told = ToldFlag(
                        at=office.now(), kind=kind, institution=code, clerk=clerk, ground="merge or split",
                        person=person, alias=aliases.get(number, b""), flags=flags,
                    )  # fmt: skip
                    office.tell(told, commit, HUB)
        states = {person: new for person, (_, new) in changed.items()}
        office.flagged.add(known.changed(commit.state.sums.get(FLAGGED, 0), states))

    def _unite_holders(self, commit: Commit, snapshot: Snapshot, a: int, b: int) -> list[tuple[int, bytes, bytes]]:
        """Who held either holds the one: class, facts before and after, of classes that change."""
        classes = self._classes()
        mine, theirs = read_person(snapshot, a, classes), read_person(snapshot, b, classes)
        found = []
        for number, facts in theirs.items():
            before = mine.get(number, np.empty(0, HELD))
            after = unite(before, facts, a)
            if before.tobytes() != after.tobytes():
                put_person(commit, snapshot, a, number, after)
                found.append((number, before.tobytes(), after.tobytes()))
        return found

    def _classes(self) -> list[int]:
        catalog = self._office.catalog()
        return [catalog.class_number(label) for label in catalog.class_labels]

    # -- split

    def split(self, keep: bytes, gone: bytes, words: Words) -> None:
        """See ``Hub.split``; the two by the pseudonyms of their resident codes."""
        store = self._office.store
        with store.acquiring:
            complete_pending(store, self._workers)
            with store.writer:
                with store.snapshot() as snapshot:
                    a, b = self._two(snapshot, keep, gone)
                    lives = lives_of(snapshot)
                    merge = _find_split(snapshot, lives, a, b)
                if merge is not None:
                    with store.commit() as commit, store.snapshot() as snapshot:
                        first, laid = self._split(commit, snapshot, lives, a, merge, words)
                    self._office.wake(first, laid)
        self._appended()

    def _split(
        self, commit: Commit, snapshot: Snapshot, lives: Lives, a: int, merge: Merge, words: Words
    ) -> tuple[int, Laid]:
        b, portal = merge.gone, self._office.catalog().institution("portal").number
        mine = entries_of(snapshot, aliases_of(snapshot, a))
        edits, theirs = TableEdits(), {}
        for number, alias, _ in merge.moved:
            _, flags = entry_of(snapshot, number, alias)
            edits.lead(number, alias, b, flags)
            now = mine.get(number)
            if now is None or (now[0] != alias and not flags & REPLACED):
                # Ended since, and whoever is known there by another alias was acquired anew.
                continue
            if now[0] != alias:
                edits.lead(number, now[0], b, now[1])
            edits.remove(number, now[0], a)
            edits.add(number, now[0], b)
            theirs[number] = now[0]
        closed = 0 if day_of_death(snapshot, b) is None else CLOSED
        for number, alias, flags in merge.both:
            # Whether their portal alias is closed may have changed since.
            edits.lead(number, alias, b, flags & ~CLOSED | closed if number == portal else flags)
            edits.add(number, alias, b)
            theirs[number] = alias
        self._lead_codes(edits, snapshot, lives.members(b), b)
        edits.write(commit, snapshot, self._workers)
        self._tell(commit, EventKind.SPLIT, b, words)
        aliases = {number: alias for number, (alias, _) in mine.items()}
        self._split_flags(commit, snapshot, a, merge, aliases | theirs, words.clerk)
        self._split_holders(commit, snapshot, a, merge)
        # Either may have granted it with the portal alias that both had: the other one's agent must not read on.
        self._end_proxies(commit, a, "split", since=merge.event)
        self._part_consents(commit, snapshot, list(lives.members(a)), a, b)
        until = commit.state.records
        first, laid = append_life_records(
            self._office, commit, Kind.SPLIT, REGISTER, np.array([a, b], np.uint32), clerk=words.clerk
        )
        life = lives.life(a)
        ended = msgspec.structs.replace(merge, until=until)
        merges = [ended if one is merge else one for one in life.merges]
        self._put(commit, lives, {a: Life(NOBODY, merges), b: Life(NOBODY, lives.life(b).merges)})
        return first, laid

    def _split_flags(
        self, commit: Commit, snapshot: Snapshot, a: int, merge: Merge, aliases: dict[int, bytes], clerk: str
    ) -> None:
        """An institution's flags go to whom it knows; where it knows both, both keep them: nobody is exposed."""
        b = merge.gone
        before, other = read_flags(commit, a), read_flags(commit, b)
        after, others = dict(before), dict(other)
        # Flags of a body that was succeeded since are its successor's.
        now = successions_of(snapshot).now
        moved, both = ({now(number) for number, _, _ in some} for some in (merge.moved, merge.both))
        kept = set(map(now, merge.kept))
        moved, both = moved - kept - both, both | (moved & kept)
        for number in moved:
            others[number] = after.pop(number, 0)
        for number in both:
            others[number] = others.get(number, 0) | before.get(number, 0)
        for number, flags in ((now(number), flags) for number, flags in merge.flags):
            if number not in moved | both | kept:
                # It knows neither any more, and could not take off what the merge brought.
                after[number] = after.get(number, 0) & ~flags
        self._put_flags(commit, {a: (before, after), b: (other, others)}, aliases, clerk)

    def _split_holders(self, commit: Commit, snapshot: Snapshot, a: int, merge: Merge) -> None:
        now = read_person(snapshot, a, [number for number, _, _ in merge.holders])
        for number, before, after in merge.holders:
            kept, merged = np.frombuffer(before, HELD), np.frombuffer(after, HELD)
            facts = now.get(number, np.empty(0, HELD))
            # By place and first day: the last day of a fact moves when another is pushed.
            known = set(merged[["institution", "since"]].tolist())
            pushed = np.array([fact not in known for fact in facts[["institution", "since"]].tolist()], dtype=np.bool_)
            put_person(commit, snapshot, a, number, unite(kept, facts[pushed], a))

    # -- what was made in between

    def undecided(self, keep: bytes, limit: int) -> list[Undecided]:
        """See ``Hub.undecided``."""
        office = self._office
        number = office.catalog().institution(REGISTER).number
        found = []
        with office.store.snapshot() as snapshot:
            person = self.person_of(snapshot, keep)
            for record in self._in_between(snapshot, person):
                if office.owner(snapshot, record) is None:
                    found.append(
                        Undecided(
                            handle=make_handle(office.keys, number, record.index),
                            at=dt.datetime.fromtimestamp(record.requested_at, dt.UTC),
                            requester=record.shared.requester,
                            provider=office.catalog().code_by_number(record.provider),
                            procedure=record.shared.procedure,
                        )
                    )
                if len(found) == limit:
                    break
        return found

    def _in_between(self, snapshot: Snapshot, person: int) -> Iterator[Stood]:
        """Records about a person that were made while another, who was split from them, was one with them.

        What follows another record belongs to whomever that one does.
        """
        office = self._office
        ended = [merge for merge in lives_of(snapshot).life(person).merges if merge.until]
        if not ended:
            return
        bodies, keys = office.bodies(snapshot), person_keys(office.periods, person)
        first = min(merge.since for merge in ended)
        for batch in find_records(snapshot, bodies, keys, person, snapshot.state.records, batch=_AT_A_TIME):
            for one in batch:
                if one.index < first:
                    return
                record = stood(one)
                if record.kind in QUESTIONS or record.link is None:
                    yield record

    def assign(self, handle: bytes, pseudonym: bytes, words: Words) -> None:
        """See ``Hub.assign``."""
        office = self._office
        number, index = read_handle(office.keys, handle)
        if number != office.catalog().institution(REGISTER).number:
            raise RequestError("handle: expected one of h.undecided, got another")
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                record, lives = office.read(snapshot, index), lives_of(snapshot)
                index, requester, provider = asked_as(record, office.number_of)
                owner = self.person_of(snapshot, pseudonym)
                merge = lives.open_merge(record.person, index, requester, provider)
                if merge is None or owner not in (record.person, merge.gone):
                    raise RequestError("handle: expected a record that is undecided between this person and another")
            if (index, owner) in merge.assigned:
                return
            with office.store.commit() as commit:
                rest = [one for one in merge.assigned if one[0] != index]
                decided = msgspec.structs.replace(merge, assigned=[*rest, (index, owner)])
                life = lives.life(record.person)
                merges = [decided if one is merge else one for one in life.merges]
                self._put(commit, lives, {record.person: Life(life.into, merges)})
                told = ToldFlag(
                    at=office.now(), kind=EventKind.ASSIGNED, institution=REGISTER, clerk=words.clerk,
                    second_clerk=words.second_clerk, ground=words.reason, person=owner,
                )  # fmt: skip
                office.tell(told, commit, record.period, record.index)


def _check_apart(snapshot: Snapshot, lives: Lives, a: int, b: int) -> None:
    for name, person in (("keep", a), ("gone", b)):
        if lives.life(person).into != NOBODY:
            raise RequestError(f"{name}: expected a person who is their own, got one who was merged: split first")
    if day_of_death(snapshot, a) != day_of_death(snapshot, b):
        raise RequestError("codes: expected two who live or died on the same day, got others: correct the death first")


def _find_split(snapshot: Snapshot, lives: Lives, a: int, b: int) -> Merge | None:
    """The merge that a split of these two undoes; None where that is done.

    Raises:
        RequestError: they were never merged, or others were merged since, or they died as one.
    """
    life = lives.life(a)
    if lives.life(b).into != a:
        if lives.life(b).into == NOBODY and any(merge.gone == b for merge in life.merges):
            return None
        raise RequestError("codes: expected persons of whom the second was merged into the first, got others")
    if life.into != NOBODY:
        raise RequestError("keep: expected a person who is their own, got one who was merged: split that first")
    merge = [one for one in life.merges if not one.until][-1]
    if merge.gone != b:
        raise RequestError("codes: expected the last merge of this person, got an earlier one: split the later first")
    if day_of_death(snapshot, a) != day_of_death(snapshot, b):
        raise RequestError("codes: expected nobody who was told dead since the merge, got one: take it back first")
    return merge
