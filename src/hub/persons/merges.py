"""Who is who: persons that were merged into one, what was merged, and what of it was split again.

A person keeps their number for ever: records, runs and disclosure keys are made with it and never rewritten. That two
numbers are one human being stands here alone. Database ``persons``, key u32 person (big endian), value sealed,
MessagePack arrays:

| field | type | what |
|---|---|---|
| 0 into | int | person that this one was merged into, 4294967295 = none |
| 1 merges | array | what was merged into this one, oldest first, each: |
| 1.0 gone | int | the person that was merged into this one |
| 1.1 since | int | records about either from this index on are about this one |
| 1.2 until | int | index from which on they are two again, 0 = the merge stands |
| 1.3 event | int | number of the event (``records/events.py``) of the merge |
| 1.4 kept | array of int | numbers of institutions that knew this one only |
| 1.5 moved | array of (int, bin 16, int) | number, alias, its flags: institutions that knew the gone one only |
| 1.6 both | array of (int, bin 16, int) | the same: institutions that knew both; the alias of the gone one |
| 1.7 flags | array of (int, int) | number, flags of ``flagged`` that this one had not before |
| 1.8 holders | array of (int, bin, bin) | class, this one's facts before and after, ``HELD`` of ``holders.py`` |
| 1.9 assigned | array of (int, int) | index of a record, whose it is by decision of a supervisor: a person |

Who was never merged has no value. Only the newest merge that stands of a person can be split, so that what a split puts
back is what the merge took. All of it is kept in memory by its sum (``storage/sealed.py``), which is compared when it
is read: a value that a damaged page hides would hide records, or show them to another.

Whose a record is that was made while two persons were one: it was asked by an institution's alias, so an institution
that knew one of them only asked about that one; and where the question reached a provider that knew one only, it
answered about that one. It is about whom both can have meant: where that is one human being, it is settled. Else (an
institution that knew both, or came to know the person meanwhile; two that contradict each other) it is nobody's, in no
history, until a supervisor assigns it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _core
from hub.aliases import BY_PERSON, NOT_LOADED, UNCHECKED, Persons, check_slots, provider_map, table_numbers
from hub.errors import StorageError
from hub.storage.sealed import unseal, value_sum
from hub.storage.snapshot import SUM_MASK, Commit, Snapshot, State

NAME = "persons"
NOBODY = 0xFFFFFFFF
STATES_KEPT = 4

_AT_A_TIME = 1_000
_ROUNDS_MAX = 4


class Merge(msgspec.Struct, array_like=True, frozen=True):
    """One merge; see the module's table."""

    gone: int
    since: int
    until: int
    event: int
    kept: list[int]
    moved: list[tuple[int, bytes, int]]
    both: list[tuple[int, bytes, int]]
    flags: list[tuple[int, int]]
    holders: list[tuple[int, bytes, bytes]]
    assigned: list[tuple[int, int]]

    def __repr__(self) -> str:
        return f"Merge(event={self.event})"

    def covers(self, index: int) -> bool:
        """Whether a record stands where the two were one and are not any more."""
        return self.since <= index < self.until

    def side(self, number: int) -> bool | None:
        """Whom an institution meant: True the one who is gone, False the one who stays, None where nobody can tell."""
        if any(number == one for one, _, _ in self.moved):
            return True
        return False if number in self.kept else None

    def meant(self, index: int, number: int) -> bool | None:
        """Whom an institution meant in one record, by decision of a supervisor or as of :meth:`side`."""
        decided = next((to for one, to in self.assigned if one == index), None)
        return self.side(number) if decided is None else decided == self.gone


class Life(msgspec.Struct, array_like=True, frozen=True):
    """How a person stands; see the module's table."""

    into: int
    merges: list[Merge]

    def __repr__(self) -> str:
        return f"Life(merges={len(self.merges)})"


NEVER = Life(NOBODY, [])
"""Of whoever was never merged."""


class Lives:
    """Everybody who was ever merged, in one state of the hub; immutable, so that any thread may read it.

    Attributes:
        sum: of database ``persons`` in the states that this is true of; 0 = nobody was.
    """

    __slots__ = ("_arrays", "_holders", "_lives", "_now", "_partners", "sum")

    def __init__(self, total: int, lives: Mapping[int, Life]) -> None:
        self.sum = total
        self._lives: dict[int, Life] = {}
        self._now: dict[int, int] = {}
        """Of whoever is merged into another: who they are now."""
        self._partners: dict[int, tuple[int, ...]] = {}
        """Person -> who had them absorbed once and has not any more."""
        self._holders: dict[int, list[Merge]] = {}
        """Person -> merges into them that were split."""
        self._arrays: tuple[Persons, Persons] | None = None
        """``_now`` as two columns, made when first asked for; several threads make the same."""
        self._take(lives)

    def _take(self, lives: Mapping[int, Life]) -> None:
        """Take in how some persons stand; only while nobody else sees this object."""
        self._lives.update(lives)
        for person, life in lives.items():
            ended = [merge for merge in life.merges if merge.until]
            if ended:
                self._holders[person] = ended
            for gone in dict.fromkeys(merge.gone for merge in ended):
                if person not in self._partners.get(gone, ()):
                    self._partners[gone] = (*self._partners.get(gone, ()), person)
        for person in lives:
            root = self._follow(person)
            self._now.pop(root, None)
            self._now.update(dict.fromkeys(self.members(root)[1:], root))

    def __len__(self) -> int:
        return len(self._lives)

    def __repr__(self) -> str:
        return f"Lives(persons={len(self)})"

    def _follow(self, person: int) -> int:
        seen = set()
        while (into := self.life(person).into) != NOBODY:
            if person in seen:
                raise StorageError(f"{NAME}: expected merges that end, got a circle")
            seen.add(person)
            person = into
        return person

    def life(self, person: int) -> Life:
        """How a person stands."""
        return self._lives.get(person, NEVER)

    def items(self) -> Iterable[tuple[int, Life]]:
        """Everybody who was ever merged."""
        return self._lives.items()

    def current(self, persons: Persons) -> Persons:
        """Who these persons (uint32[N], NOBODY allowed) are now; the same array where nobody was merged."""
        if not self._now:
            return persons
        arrays = self._arrays
        if arrays is None:
            order = sorted(self._now)
            now = np.array([self._now[person] for person in order], dtype=np.uint32)
            arrays = self._arrays = np.array(order, dtype=np.uint32), now
        gone, now = arrays
        at = np.minimum(gone.searchsorted(persons), len(gone) - 1)
        return np.where(gone[at] == persons, now[at], persons)

    def now(self, person: int) -> int:
        """Who a person is now."""
        return self._now.get(person, person)

    def members(self, person: int) -> list[int]:
        """A person and whoever is merged into them, also by others, each once."""
        found = [person]
        for one in found:
            found += [merge.gone for merge in self.life(one).merges if not merge.until]
        return found

    def split_at_all(self, person: int) -> bool:
        """Whether some merge into this person was split: then a record with their number may be another's."""
        return person in self._holders

    def split(self) -> Persons:
        """Into whom somebody was merged who was split from them again: uint32[N]."""
        return np.fromiter(self._holders, np.uint32, len(self._holders))

    @property
    def any_split(self) -> bool:
        """Whether any merge was ever split."""
        return bool(self._holders)

    def sources(self, person: int) -> list[int]:
        """The numbers that records of this person may have: the members, and who once had one of them absorbed."""
        found = dict.fromkeys(self.members(person))
        waiting = list(found)
        for one in waiting:
            fresh = [other for other in self._partners.get(one, ()) if other not in found]
            found.update(dict.fromkeys(fresh))
            waiting += fresh
        return list(found)

    def owners(self, person: int, index: int, requester: int, provider: int) -> frozenset[int]:
        """Whose a record can be: of the person that it names, unless it was made while they were one with another.

        Args:
            person, index: of the record, of a following one those of the one it goes back to. requester, provider:
                institution numbers; 0 = none, as where the question did not reach the provider.

        Returns:
            persons, as numbered before any merge; it belongs to who is all of them now, or to nobody.
        """
        told = [self._meant(person, index, number) for number in (requester, provider) if number]
        if not told:
            return self._meant(person, index, 0)
        # Compared over all merges together: two may contradict each other within one of them, so that it was about
        # somebody of another. Who contradict each other altogether: any of both.
        return frozenset.intersection(*told) or frozenset.union(*told)

    def _meant(self, person: int, index: int, number: int) -> frozenset[int]:
        """Whom an institution can have meant by its alias of a person; 0: one that tells nothing."""
        found: set[int] = set()
        # The newest first: it lies within those before it.
        for merge in reversed(self._holders.get(person, ())):
            if not merge.covers(index):
                continue
            gone = merge.meant(index, number)
            if gone is not False:
                # An institution that knew both went by the alias of the one who stays: whom of those merged into the
                # other before it knew says nothing.
                found |= self._meant(merge.gone, index, number if gone else 0)
            if gone is True:
                return frozenset(found)
        return frozenset(found | {person})

    def open_merge(self, person: int, index: int, requester: int, provider: int) -> Merge | None:
        """The newest merge that was split and does not tell whose a record of the two is, but by assignment."""
        for merge in reversed(self._holders.get(person, ())):
            sides = {merge.side(requester), merge.side(provider)} - {None}
            if merge.covers(index) and len(sides) != 1:
                return merge
        return None

    def changed(self, total: int, lives: Mapping[int, Life]) -> Lives:
        """The next state: these persons stand otherwise.

        Args:
            total: the sum of that state.
        """
        # Of thousands who were merged only these few are looked at: a merge takes as long as the first did.
        after = Lives(total, {})
        after._lives, after._now = dict(self._lives), dict(self._now)
        after._partners, after._holders = dict(self._partners), dict(self._holders)
        after._take(lives)
        return after


# -- stored


def person_key(person: int) -> bytes:
    """Where a person's value is."""
    return person.to_bytes(4, "big")


def put_life(commit: Commit, person: int, life: Life) -> None:
    """Write how a person stands."""
    commit.put_sealed(NAME, person_key(person), msgspec.msgpack.encode(life))


def read_lives(snapshot: Snapshot) -> Lives:
    """Everybody who was ever merged.

    Raises:
        StorageError: a value is damaged, or their sum is another than what was written last.
    """
    found, first = 0, b""
    lives: dict[int, Life] = {}
    while items := snapshot.items(NAME, first, limit=_AT_A_TIME):
        for key, value in items:
            lives[int.from_bytes(key, "big")] = _parse(key, unseal(NAME, key, value))
            found += value_sum(key, value)
        first = items[-1][0] + b"\0"
    expected = snapshot.state.sums.get(NAME, 0)
    if found & SUM_MASK != expected:
        raise StorageError(f"{NAME}: expected the sum of what was written last, got another")
    return Lives(expected, lives)


def _parse(key: bytes, body: bytes) -> Life:
    try:
        life = msgspec.msgpack.decode(body, type=Life)
    except msgspec.DecodeError:
        raise StorageError(f"{NAME}: expected how a person stands, got something else") from None
    if len(key) != 4:
        raise StorageError(f"{NAME}: expected values by person, got something else")
    return life


# -- asked about

_NOBODY_MERGED = Lives(0, {})
_known: tuple[Lives, ...] = (_NOBODY_MERGED,)
"""What was read lately, by its sum, which covers every key and value: of whichever hub, equal sums are equal lives."""
_reading = threading.Lock()


def lives_of(snapshot: Snapshot) -> Lives:
    """Everybody who was ever merged, from memory where a snapshot with the same sum was read before.

    Raises:
        StorageError: a value is damaged or missing.
    """
    total = snapshot.state.sums.get(NAME, 0)
    if not total:
        return _NOBODY_MERGED
    found = _find(total)
    if found is None:
        with _reading:
            found = _find(total)
            if found is None:
                found = read_lives(snapshot)
                note_lives(found)
    return found


def _find(total: int) -> Lives | None:
    return next((one for one in _known if one.sum == total), None)


def note_lives(lives: Lives) -> None:
    """Take in a state that is about to become durable, so that nobody reads all of it again."""
    global _known
    # One assignment: whoever reads meanwhile has the old ones.
    _known = (lives, *_known[: STATES_KEPT - 1])


def lives_sum(state: State) -> int:
    """Changes when a merge or a split does."""
    return state.sums.get(NAME, 0)


def life_of(snapshot: Snapshot, person: int) -> tuple[int, list[int]]:
    """(who a person is now, that one and whoever is merged into them)."""
    lives = lives_of(snapshot)
    now = lives.now(person)
    return now, lives.members(now)


def current(snapshot: Snapshot, persons: Persons) -> Persons:
    """Who these persons (uint32[N]) are now: whom the alias tables know."""
    return lives_of(snapshot).current(persons)


def misplaced(
    lives: Lives, provider: int, indexes: npt.NDArray[np.uint64], persons: Persons, which: Persons,
    requesters: list[int],
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """bool[N]: which permits of a provider are not about the person that their records name, or about nobody certain.

    They were left while two persons were one, and a provider that was told one alias then would answer for the other.

    Args:
        indexes, persons: of their records. which: uint32[N], place of each in ``requesters``.
    """
    wrong = np.zeros(len(persons), np.bool_)
    # Few persons were ever split: only theirs are looked at one by one.
    for at in np.flatnonzero(np.isin(persons, lives.split())).tolist():
        person = int(persons[at])
        owners = lives.owners(person, int(indexes[at]), requesters[int(which[at])], provider)
        wrong[at] = {lives.now(one) for one in owners} != {lives.now(person)}
    return wrong


def holding(snapshot: Snapshot) -> npt.NDArray[np.uint32]:
    """Numbers of the institutions that have any alias, ascending; kept by the snapshot and those behind it."""
    found = snapshot.holding
    if found is None:
        numbers = [table >> 1 for table in table_numbers(snapshot) if table & 1 == BY_PERSON and table >> 17 == 0]
        found = snapshot.holding = np.array(numbers, dtype=np.uint32)
        # Read, so that the snapshots behind this one notice a table that is new.
        provider_map(snapshot, numbers)
    return found


def aliases_of(snapshot: Snapshot, person: int) -> dict[int, bytes]:
    """All aliases of a person: institution number -> alias, by a look into each institution's by-person table.

    Raises:
        StorageError: a block is damaged.
    """
    numbers = holding(snapshot)
    aliases, status = np.empty((len(numbers), 16), np.uint8), np.empty(len(numbers), np.uint8)
    for _ in range(_ROUNDS_MAX):
        if not _core.probe_person(person, numbers, snapshot.providers, aliases, status):
            break
        missing = numbers[status == NOT_LOADED].tolist()
        if missing:
            provider_map(snapshot, missing)
        one = np.array([person], dtype=np.uint32)
        for number in numbers[status == UNCHECKED].tolist():
            table = snapshot.providers.loaded()[number]
            check_slots(table, _core.slots_of_persons(table, one))
    else:
        raise StorageError("aliases: expected every block to be checked by now, got some that are not", retry_safe=True)
    found = np.flatnonzero(status == 0)
    return {number: aliases[at].tobytes() for at, number in zip(found.tolist(), numbers[found].tolist(), strict=True)}
