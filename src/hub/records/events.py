"""What was done with marks, flags, identifiers and the like, in order, for auditors; no history ever reads it.

Database ``events``, key u64 number from 1 (big endian), value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u16 | period of the record concerned, 0 = of none |
| 2 | u48 | 1 + index of that record, 0 = none |
| 8 | rest | encrypted (``storage/confidential.py``): :class:`Told`, or one that adds to it |

An event is written in the transaction of what it tells. Events are never changed; those of a shredded period cannot
be read any more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from enum import IntEnum
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.aliases import NOBODY
from hub.errors import RequestError, StorageError
from hub.messages import Flag
from hub.storage.confidential import Vault, encrypt
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

NAME = "events"
HEAD_BYTES = 8
_AT_A_TIME = 1_000


class EventKind(IntEnum):
    """What was done."""

    WITHHELD = 1
    LIFT_ASKED = 2
    """The first of two clerks asked to lift a mark."""
    LIFTED = 3
    JUDGED = 4
    """A party judged a record of a protected person."""
    PROTECTED = 5
    UNPROTECT_ASKED = 6
    UNPROTECTED = 7
    CORRECTION_ASKED = 8
    CORRECTED = 9
    CONFIRMED = 10
    FLAGGED = 11
    """An institution flagged a person of its own (``protection/flags.py``)."""
    UNFLAGGED = 12
    KEY_REGISTERED = 21
    """An institution's key for payloads was registered or replaced."""
    KEY_REMOVED = 22
    REFUSED = 20
    """A provider refused to answer a permit; ground is the reason of the closed list."""
    HOLDERS_PUSHED = 31
    """The register body said who holds some persons; the ground names the class and how many persons changed."""
    ALIAS_ASKED = 32
    """A requester asked that a provider acquires an alias of a person whom it does not know."""
    MERGED = 40
    """The register body found two persons to be one; the ground says why."""
    SPLIT = 41
    """The register body found a person to be two."""
    DIED = 42
    """An institution told of deaths, or corrected their day; the ground says of how many persons."""
    ALIVE = 43
    """Deaths were taken back; the ground says of how many persons and why."""
    SUCCEEDED = 44
    """Institutions were succeeded by another; the ground names them, the new one last."""
    ASSIGNED = 45
    """A supervisor said whose a record is that was made while two persons were one."""
    RELEASED = 23
    """A row that was held (``protection/asked.py``) was released."""
    IDENTIFIERS_REGISTERED = 46
    """The issuer of a namespace said whom identifiers name; the ground names it and how many."""
    IDENTIFIERS_RENEWED = 47
    IDENTIFIERS_REVOKED = 48
    PROXY_GRANTED = 49
    """A person has a proxy (``citizens/proxies.py``), or other terms for one."""
    PROXY_ENDED = 50
    PROXY_CONFIRMED = 51
    """A proxy waits for confirmation by the person, or was confirmed; the ground says which."""
    LINKS_HELD = 52
    """The register body found attributes that differ; the ground says of whose tickets how many, and which."""
    LINK_CONFIRMED = 53
    """A second clerk released a ticket that was held; the first is the one who claimed."""
    LINK_REPLACED = 54
    """A wrong link was replaced: the alias that stood on the file, and the one that takes its place (``other``)."""
    CLAIMS_REQUIRED = 55
    """From now on no ticket of the institution is delivered without attributes."""
    CLAIMS_OPTIONAL = 56
    SUSPENDED = 57
    """A provider suspended the linkage of a person or, without an alias, of everybody; the ground says why."""
    RESUMED = 58
    MISLINK_RECORDED = 59
    """A wrong link was reported (``mislinks/report.py``): a record about one of its citizens; the ground says why."""
    MISLINK_NOTIFIED = 60
    """Its citizens were notified; the ground counts those who must be told by other means."""
    MISLINK_DRAFTED = 61
    """A report to the Commission was drafted; the ground has its counts and last days."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event, for supervisors.

    Attributes:
        number: from 1, in the order in which they happened. at: UTC, by the hub's clock.
        institution: who acted; clerk, second_clerk: its people, as named by it.
        ground, until: of a mark, with the day of its review.
        index: of the record concerned, in the log. side: "requester" or "provider", for which a mark is.
        protection: number of the event by which a person came under protection.
        withheld: how a record stands on this side afterwards.
        alias: the institution's own, of a person whom it flagged or suspended, or of a link. flags: how the person whom
            it flagged or suspended stands there afterwards; without an alias how everybody does. other: the alias that
            takes its place.
    """

    number: int
    at: dt.datetime
    kind: EventKind
    institution: str
    clerk: str | None
    second_clerk: str | None
    ground: str | None
    until: dt.date | None
    index: int | None
    side: str | None
    protection: int | None
    withheld: bool | None
    alias: bytes | None = None
    flags: Flag | None = None
    other: bytes | None = None

    def __repr__(self) -> str:
        return f"Event({self.number}, {self.kind.name})"


class Told(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """An event as it is encrypted: the fields of :class:`Event` but number and index; ``at`` in seconds since 1970,
    ``until`` as a proleptic day (1 = 0001-01-01), 0 = none; ``side`` 1 requester, 2 provider, 0 neither."""

    at: int
    kind: EventKind
    institution: str
    clerk: str | None = None
    second_clerk: str | None = None
    ground: str | None = None
    until: int = 0
    side: int = 0
    protection: int = 0
    withheld: bool | None = None


class ToldFlag(Told, array_like=True, frozen=True, kw_only=True):
    """The end of FLAGGED, UNFLAGGED, SUSPENDED and RESUMED: the person's number, the institution's alias, the flags as
    they stand then; NOBODY and an empty alias where the institution suspended or resumed the linkage of everybody."""

    person: int = NOBODY
    alias: bytes = b""
    flags: int = 0


T = TypeVar("T", bound=ToldFlag)


class ToldIdentifiers(ToldFlag, array_like=True, frozen=True, kw_only=True):
    """The end of IDENTIFIERS_*: number of the namespace, entries that its table gained, and that were renewed."""

    namespace: int = 0
    gained: int = 0
    renewed: int = 0


class ToldProxy(ToldFlag, array_like=True, frozen=True, kw_only=True):
    """The end of PROXY_*, ``person`` being the principal: the agent's number, that of the grant, the state then."""

    agent: int = NOBODY
    grant: int = 0
    state: int = 0


class ToldLink(ToldFlag, array_like=True, frozen=True, kw_only=True):
    """The end of LINK_CONFIRMED and LINK_REPLACED: ``person`` is the one whom the file is about, ``alias`` the one that
    is confirmed, or was replaced; ``other``: the one in its place."""

    other: bytes = b""


FORMS: dict[EventKind, type[ToldFlag]] = {
    EventKind.IDENTIFIERS_REGISTERED: ToldIdentifiers,
    EventKind.IDENTIFIERS_RENEWED: ToldIdentifiers,
    EventKind.IDENTIFIERS_REVOKED: ToldIdentifiers,
    EventKind.PROXY_GRANTED: ToldProxy,
    EventKind.PROXY_ENDED: ToldProxy,
    EventKind.PROXY_CONFIRMED: ToldProxy,
    EventKind.LINK_CONFIRMED: ToldLink,
    EventKind.LINK_REPLACED: ToldLink,
}
"""Events that tell more than flags do; all others are read as :class:`ToldFlag`."""

_OF_FLAGS = (EventKind.FLAGGED, EventKind.UNFLAGGED, EventKind.SUSPENDED, EventKind.RESUMED)

SIDE_NAMES = {0: None, 1: "requester", 2: "provider"}


def encrypt_event(cipher: AESGCM, period: int, told: Told) -> bytes:
    """An event of a period, ready for :func:`put_event`."""
    return encrypt(cipher, NAME, period, told)


def last_number(commit: Commit) -> int:
    """The number of the newest event, 0 = there is none yet."""
    with commit.txn.cursor(db=commit.databases[NAME]) as cursor:
        return int.from_bytes(bytes(cursor.key()), "big") if cursor.last() else 0


def put_event(commit: Commit, period: int, index: int | None, encrypted: bytes) -> int:
    """Append an event; returns its number."""
    number = last_number(commit) + 1
    head = period.to_bytes(2, "little") + (0 if index is None else index + 1).to_bytes(6, "little")
    commit.put_sealed(NAME, number.to_bytes(8, "big"), head + encrypted)
    return number


def read_told(snapshot: Snapshot, vault: Vault, after: int, limit: int) -> Iterator[tuple[int, int, ToldFlag | None]]:
    """The next events behind a number: (number, 1 + index of the record or 0, event or None where it was shredded).

    Raises:
        StorageError: one is damaged.
    """
    for key, value in snapshot.items(NAME, (after + 1).to_bytes(8, "big"), limit=limit):
        number = int.from_bytes(key, "big")
        body = unseal(NAME, key, value)
        if len(body) < HEAD_BYTES:
            raise StorageError(f"event {number}: expected a head, got {len(body)} bytes")
        yield number, int.from_bytes(body[2:8], "little"), _decrypt(vault, body)


def _decrypt(vault: Vault, body: bytes) -> ToldFlag | None:
    """An event in the form of its kind."""
    period = int.from_bytes(body[:2], "little")
    told = vault.decrypt(NAME, period, body[HEAD_BYTES:], ToldFlag)
    form = None if told is None else FORMS.get(told.kind)
    return told if form is None else vault.decrypt(NAME, period, body[HEAD_BYTES:], form)


def read_told_as(
    snapshot: Snapshot, vault: Vault, form: type[T], kinds: Collection[EventKind]
) -> Iterator[tuple[int, int, T]]:
    """All events of some kinds, which have this form, that were not shredded, as of :func:`read_told`.

    Raises:
        StorageError: one is damaged.
    """
    after = 0
    while found := list(read_told(snapshot, vault, after, _AT_A_TIME)):
        for after, link, told in found:
            if told is not None and told.kind in kinds:
                assert isinstance(told, form)
                yield after, link, told


def read_events(snapshot: Snapshot, vault: Vault, after: int, limit: int) -> tuple[list[Event], int | None]:
    """Events behind a number that can still be read, in order.

    Returns:
        (events of the next ``limit`` numbers, the last number looked at or None at the end).

    Raises:
        StorageError: one is damaged.
    """
    found = list(read_told(snapshot, vault, after, limit))
    events = [_event(number, link, told) for number, link, told in found if told is not None]
    return events, (found[-1][0] if len(found) == limit else None)


def _event(number: int, link: int, told: ToldFlag) -> Event:
    return Event(
        number=number,
        at=dt.datetime.fromtimestamp(told.at, dt.UTC),
        kind=told.kind,
        institution=told.institution,
        clerk=told.clerk,
        second_clerk=told.second_clerk,
        ground=told.ground,
        until=dt.date.fromordinal(told.until) if told.until else None,
        index=link - 1 if link else None,
        side=SIDE_NAMES.get(told.side),
        protection=told.protection or None,
        withheld=told.withheld,
        alias=told.alias or None,
        flags=Flag(told.flags) if told.kind in _OF_FLAGS else None,
        other=(told.other or None) if isinstance(told, ToldLink) else None,
    )


def check_after(after: object, limit: object, most: int) -> None:
    """Refuse a number or a limit that is none."""
    for name, value, low, high in (("after", after, 0, (1 << 63) - 1), ("limit", limit, 1, most)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise RequestError(f"{name}: expected {low} to {high}, got something else")
