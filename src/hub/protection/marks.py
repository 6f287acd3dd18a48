"""Which records are withheld from histories (不開示): the marks as they stand, and what they mean.

A mark is never part of the log or of a history: it is a record for auditors (番号法23条2項). Database ``marks``, values
sealed, little endian:

| key | value |
|---|---|
| "r", u64 index of a record (big endian), u8 side: 1 requester, 2 provider | mark |
| "p", first 16 bytes of HMAC-SHA-256(own key "marks", pseudonym of the person's resident code) | protection |

Mark:

| at | type | what |
|---|---|---|
| 0 | u8 | bit 0: withheld; bit 1: one clerk has asked to lift it |
| 1 | u8 | 0 |
| 2 | u16 | period of the record |
| 4 | u32 | day of review (1 = 0001-01-01), 0 = none |
| 8 | u64 | number of the protection under which this side has judged the record, 0 = none |
| 16 | rest | encrypted (``storage/confidential.py``) under that period: :class:`Inside` |

Protection:

| at | type | what |
|---|---|---|
| 0 | u8 | bit 0: in force; bit 1: one clerk has asked to end it |
| 1 | 7 | 0 |
| 8 | i64 | records requested from this moment on, seconds since 1970 |
| 16 | u64 | its number: of the event with which it began |
| 24 | rest | encrypted under the hub's own key: :class:`Inside`, with the pseudonym of the person |

What a history needs of a mark, its first sixteen bytes, is not encrypted; who, why and by whom is.

A record is shown if neither side withholds it and, where its person is under a protection that covers it, every party
to it has judged it under that protection; the provider is one unless the outcome is one of 1 to 7
(``records/handles.py``). What follows a record (corrections, provisions, lapses, updates, what was taken) is
shown with it or not at all; what follows an erased one is not shown, since its marks were erased with it. A release has
marks of its own, and is shown only where the held record is shown too.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from hub._bodies import Body
from hub.aliases import RESIDENT_CODES, find_aliases
from hub.errors import StorageError
from hub.messages import Kind, Withhold
from hub.persons.merges import Lives
from hub.records.bodies import Bodies
from hub.records.events import EventKind, Told, encrypt_event, put_event
from hub.records.handles import PROVIDER, REQUESTER, Stood, provider_is_party, read_stood, stood
from hub.storage.confidential import HUB, Vault, encrypt
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKey
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

NAME = "marks"
RECORD, PERSON = b"r", b"p"
LINKS_MAX = 8
"""Links behind each other: a correction has three at most (asked, decided, confirmed), a provision two (of a release);
more is damage."""

_ON, _LIFT_ASKED = 1, 2
_UNMARKED = False, 0
_MARK = struct.Struct("<BBHIQ")
_PROTECTION = struct.Struct("<B7sqQ")
_ALONE = Workers(1)
FOLLOWING = frozenset(
    map(
        int,
        (
            Kind.CORRECTION_ASKED, Kind.CORRECTION, Kind.CONFIRMATION,
            Kind.PROVISION, Kind.LAPSE, Kind.UPDATE, Kind.TAKEN,
        ),
    )
)  # fmt: skip
"""Kinds of records that go back to an inquiry, a release or a push, and are shown with it or not at all.

A release is none of them: its provider is a party to it and not to the held record, and may withhold it."""

UNJUDGED = frozenset(map(int, (Kind.MERGED, Kind.SPLIT)))
"""Kinds of records that are about a person by number, have no parties and tell nothing of where anybody is: no
protection keeps them back, and a split does not move them."""

PERSONAL = frozenset(
    map(int, (Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED, Kind.CONSENT_WITHDRAWN, Kind.CONSENT_GIVEN))
)
"""Kinds of records between a person and the portal: they tell of no institution, and no protection keeps them back."""


class Inside(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What is encrypted of a mark or a protection: who, why, when (seconds since 1970), and for a protection the
    pseudonym of the person's resident code; ``asked_by`` is the clerk who asked to lift it."""

    institution: str
    ground: str
    clerk: str | None
    at: int
    asked_by: str | None = None
    pseudonym: bytes = b""


class Mark(NamedTuple):
    """How a record stands on one side; ``until`` is a proleptic day, 0 = none."""

    withheld: bool
    period: int
    until: int
    judged: int
    inside: Inside | None

    def __repr__(self) -> str:
        return "Mark()"


class Protection(NamedTuple):
    """How a person stands with the register body; ``since`` in seconds since 1970."""

    on: bool
    since: int
    number: int
    inside: Inside

    def __repr__(self) -> str:
        return "Protection()"


# -- stored


def mark_key(index: int, side: int) -> bytes:
    """Where the mark of a record and side is."""
    return RECORD + index.to_bytes(8, "big") + side.to_bytes(1, "big")


def protection_key(keys: Keys, pseudonym: bytes) -> bytes:
    """Where the protection of a person is."""
    return PERSON + hmac.digest(keys.derive("marks"), pseudonym, "sha256")[:16]


def person_key(snapshot: Snapshot, keys: Keys, person: int) -> bytes:
    """Where the protection of a person is, by their number."""
    found, status = find_aliases(snapshot, RESIDENT_CODES, np.array([person], dtype=np.uint32), _ALONE)
    if status[0]:
        raise StorageError("marks: expected the resident code of a person, got none")
    return protection_key(keys, found[0].tobytes())


def put_mark(commit: Commit, vault: Vault, index: int, side: int, mark: Mark) -> None:
    """Write how a record stands on a side."""
    assert mark.inside is not None
    encrypted = vault.encrypt(NAME, mark.period, mark.inside)
    commit.put_sealed(NAME, mark_key(index, side), _mark_head(mark) + encrypted)


def _mark_head(mark: Mark) -> bytes:
    asked = mark.inside is not None and mark.inside.asked_by is not None
    return _MARK.pack(_ON * mark.withheld | _LIFT_ASKED * asked, 0, mark.period, mark.until, mark.judged)


def put_protection(commit: Commit, vault: Vault, key: bytes, protection: Protection) -> None:
    """Write how a person stands."""
    asked = protection.inside.asked_by is not None
    head = _PROTECTION.pack(_ON * protection.on | _LIFT_ASKED * asked, bytes(7), protection.since, protection.number)
    commit.put_sealed(NAME, key, head + vault.encrypt(NAME, HUB, protection.inside))


def read_state(snapshot: Snapshot | Commit, index: int, side: int) -> tuple[bool, int]:
    """(withheld, number of the protection under which it was judged): all that a history needs.

    Raises:
        StorageError: the mark is damaged; nothing may be shown.
    """
    key = mark_key(index, side)
    value = snapshot.get(NAME, key)
    return (False, 0) if value is None else _open_mark(key, value)[:2]


def _open_mark(key: bytes, value: bytes) -> tuple[bool, int, int, int, bool, bytes]:
    body = unseal(NAME, key, value)
    if len(body) < _MARK.size:
        raise StorageError(f"{NAME}: expected at least {_MARK.size} bytes, got {len(body)}")
    flags, zero, period, until, judged = _MARK.unpack_from(body)
    if flags > _ON | _LIFT_ASKED or zero:
        raise StorageError(f"{NAME}: expected a state, got something else")
    return bool(flags & _ON), judged, period, until, bool(flags & _LIFT_ASKED), body[_MARK.size :]


def read_mark(snapshot: Snapshot | Commit, vault: Vault, index: int, side: int) -> Mark | None:
    """How a record stands on a side, or None where nothing was ever said; without its inside where it was shredded.

    Raises:
        StorageError: it is damaged.
    """
    key = mark_key(index, side)
    value = snapshot.get(NAME, key)
    return None if value is None else parse_mark(key, value, vault)


def parse_mark(key: bytes, value: bytes, vault: Vault) -> Mark:
    """A stored mark.

    Raises:
        StorageError: it is damaged.
    """
    withheld, judged, period, until, asked, encrypted = _open_mark(key, value)
    inside = vault.decrypt(NAME, period, encrypted, Inside)
    if inside is not None and asked != (inside.asked_by is not None):
        raise StorageError(f"{NAME}: expected a state that agrees with itself, got another")
    return Mark(withheld, period, until, judged, inside)


def read_protection(snapshot: Snapshot | Commit, vault: Vault, key: bytes) -> Protection | None:
    """How a person stands, or None where nothing was ever said.

    Raises:
        StorageError: it is damaged.
    """
    value = snapshot.get(NAME, key)
    return None if value is None else parse_protection(key, value, vault)


def parse_protection(key: bytes, value: bytes, vault: Vault) -> Protection:
    """A stored protection.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    if len(body) < _PROTECTION.size:
        raise StorageError(f"{NAME}: expected at least {_PROTECTION.size} bytes, got {len(body)}")
    flags, zero, since, number = _PROTECTION.unpack_from(body)
    inside = vault.decrypt(NAME, HUB, body[_PROTECTION.size :], Inside)
    if inside is None or flags > _ON | _LIFT_ASKED or any(zero):
        raise StorageError(f"{NAME}: expected a state, got something else")
    return Protection(bool(flags & _ON), since, number, inside)


def has_marks(snapshot: Snapshot) -> bool:
    """Whether anything was ever withheld or protected in this hub."""
    return bool(snapshot.items(NAME, b"", limit=1))


# -- what they mean


class Visibility:
    """What of one person's records may be shown, in one snapshot.

    In a hub that has marks the same look-ups are made for every record, whether it has some or not.

    Args:
        person: who it is now; records of whoever was merged into them are theirs. lives: of the same snapshot.
        number_of: an institution's number by its code.
    """

    def __init__(
        self, snapshot: Snapshot, bodies: Bodies, vault: Vault, keys: Keys, person: int, lives: Lives,
        number_of: Callable[[str], int],
    ) -> None:  # fmt: skip
        self._snapshot, self._bodies = snapshot, bodies
        self._lives, self._number_of = lives, number_of
        self._members = frozenset(lives.members(person))
        self._protections = read_protections(snapshot, vault, keys, self._members)
        # Of the whole hub, as it is told by the time at which histories leave: without one nothing is looked up.
        self._marked = has_marks(snapshot)

    def __repr__(self) -> str:
        return "Visibility()"

    def roots(self, found: Sequence[Body]) -> list[Body | None]:
        """Of each record the one that it goes back to (itself, mostly), or None where it may not be shown.

        Raises:
            StorageError: a mark is damaged, or a link does not lead to a record of the same person.
        """
        roots = self._follow(found)
        if not self._marked:
            shown = [root if root and self._may_be_shown(root, _UNMARKED, _UNMARKED) else None for root in roots]
            return self._without_hidden_releases(shown)
        keys = [mark_key(root.index, side) for root in roots if root for side in (REQUESTER, PROVIDER)]
        database = self._snapshot.databases[NAME]
        with self._snapshot.reading:
            values = [self._snapshot.txn.get(key, db=database) for key in keys]
            marks = [
                _UNMARKED if value is None else _open_mark(key, bytes(value))[:2]
                for key, value in zip(keys, values, strict=True)
            ]
        states = iter(marks)
        shown = [root if root and self._may_be_shown(root, next(states), next(states)) else None for root in roots]
        return self._without_hidden_releases(shown)

    def _without_hidden_releases(self, roots: list[Body | None]) -> list[Body | None]:
        """Roots, but for releases of held records that may not be shown."""
        released = [(at, one) for at, one in enumerate(roots) if one and one.kind == Kind.RELEASE]
        if released:
            links = [_earlier(one.index, one.link) for _, one in released]
            places, held = self._bodies.read_kept(links)
            shown = dict(zip(places, self.roots(held), strict=True))
            for place, (at, _) in enumerate(released):
                if shown.get(place) is None:
                    roots[at] = None
        return roots

    def _follow(self, found: Sequence[Body]) -> list[Body | None]:
        """The records that these go back to, a link of all of them at a time: half of a history follows another."""
        roots: list[Body | None] = list(found)
        following = [(at, one) for at, one in enumerate(found) if one.kind in FOLLOWING]
        for _ in range(LINKS_MAX):
            if not following:
                return roots
            links = [_earlier(one.index, one.link) for _, one in following]
            places, linked = self._bodies.read_kept(links)
            for at, _ in following:
                roots[at] = None
            before, following = following, []
            for place, one in zip(places, linked, strict=True):
                at, follower = before[place]
                if one.person != follower.person:
                    raise StorageError(f"record {one.index}: expected a record of the same person, got another's")
                roots[at] = one
                if one.kind in FOLLOWING:
                    following.append((at, one))
        for _, one in following:
            raise _too_many(one.index)
        return roots

    def _may_be_shown(self, root: Body, requester: tuple[bool, int], provider: tuple[bool, int]) -> bool:
        if requester[0] or provider[0]:
            return False
        if not self._protections and not self._lives.any_split:
            return True
        record = stood(root)
        if not owners_of(self._lives, record, self._number_of) <= self._members:
            return False
        protection = covering(self._protections, record)
        if protection is None or record.kind in UNJUDGED | PERSONAL:
            return True
        judged = {requester[1], provider[1]} if provider_is_party(record) else {requester[1]}
        return judged == {protection.number}


def owners_of(lives: Lives, record: Stood, number_of: Callable[[str], int]) -> frozenset[int]:
    """Whose a record can be that goes back to no other, see :meth:`Lives.owners`.

    Args:
        number_of: an institution's number by its code.
    """
    if record.kind in UNJUDGED or not lives.split_at_all(record.person):
        return frozenset((record.person,))
    return lives.owners(record.person, *asked_as(record, number_of))


def asked_as(record: Stood, number_of: Callable[[str], int]) -> tuple[int, int, int]:
    """By which index a question counts as made, its requester and its provider, 0 where it did not reach one."""
    # A release is made later than what it releases, and is about the same question.
    index = record.link if record.kind == Kind.RELEASE and record.link is not None else record.index
    return index, number_of(record.shared.requester), record.provider if provider_is_party(record) else 0


def read_protections(
    snapshot: Snapshot, vault: Vault, keys: Keys, members: Iterable[int]
) -> list[Protection]:
    """The protections that are in force of a person and of whoever was merged into them."""
    found = (read_protection(snapshot, vault, person_key(snapshot, keys, one)) for one in sorted(members))
    return [one for one in found if one is not None and one.on]


def covering(protections: Sequence[Protection], record: Stood) -> Protection | None:
    """The protection under which a record has to be judged: of several that cover it, the one that began last."""
    return max((one for one in protections if covers(one, record)), key=lambda one: one.number, default=None)


def covers(protection: Protection | None, record: Stood) -> bool:
    """Whether a person's protection is in force and reaches back to a record."""
    return protection is not None and protection.on and record.requested_at >= protection.since


def follow(bodies: Bodies, record: Stood) -> Stood | None:
    """The record to which one that follows others goes back, itself of any other kind; None where it was erased.

    Raises:
        StorageError: the links lead nowhere, or too far.
    """
    for _ in range(LINKS_MAX):
        if record.kind not in FOLLOWING:
            return record
        link = _earlier(record.index, record.link)
        if bodies.is_erased(link):
            return None
        record = read_stood(bodies, link)
    if record.kind in FOLLOWING:
        raise _too_many(record.index)
    return record


def _earlier(index: int, link: int | None) -> int:
    if link is None or link >= index:
        raise StorageError(f"record {index}: expected a link to an earlier record, got another")
    return link


def _too_many(index: int) -> StorageError:
    return StorageError(f"record {index}: expected at most {LINKS_MAX} links behind each other, got more")


# -- with an inquiry


class Marking(NamedTuple):
    """A record's position in its chunk, the side that marks it and the institution there, its clerk, the mark."""

    position: int
    side: int
    institution: str
    clerk: str | None
    mark: Withhold

    def __repr__(self) -> str:
        return "Marking()"


class NewMark(NamedTuple):
    """A mark that comes with its record: the record's position in its chunk, side, and all else but its index."""

    position: int
    side: int
    value: bytes
    event: bytes

    def __repr__(self) -> str:
        return "NewMark()"


def prepare_marks(key: PeriodKey, at: int, rows: Sequence[Marking]) -> list[NewMark]:
    """Encrypt the marks with which records of a chunk begin; needs no lock."""
    prepared = []
    for position, side, institution, clerk, mark in rows:
        inside = Inside(institution=institution, ground=mark.ground, clerk=clerk, at=at)
        until = mark.until.toordinal()
        head = _mark_head(Mark(True, key.period, until, 0, inside))
        told = Told(
            at=at, kind=EventKind.WITHHELD, institution=institution, clerk=clerk, ground=mark.ground, until=until,
            side=side, withheld=True,
        )  # fmt: skip
        value = head + encrypt(key.marks, NAME, key.period, inside)
        prepared.append(NewMark(position, side, value, encrypt_event(key.marks, key.period, told)))
    return prepared


def put_new_marks(commit: Commit, marks: Sequence[NewMark], period: int, first: int) -> None:
    """Write the marks of a chunk whose first record has this index."""
    for mark in marks:
        index = first + mark.position
        commit.put_sealed(NAME, mark_key(index, mark.side), mark.value)
        put_event(commit, period, index, mark.event)
