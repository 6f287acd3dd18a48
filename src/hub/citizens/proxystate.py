"""Proxies (代理人) as they are stored: who may read whose history, by law (法定代理人) or by the person's own word.

Both are citizens of the portal. Neither learns the other's alias: each names the other by a handle of its own. Database
``proxies``, values sealed, little endian; numbers in keys big endian:

| key | value |
|---|---|
| "p", u32 principal, u32 agent: persons | the proxy, below |
| "a", u32 agent, u32 principal | u64 number of the grant |

| at | type | what |
|---|---|---|
| 0 | u8 | 1 by law, 2 by the person's word |
| 1 | u8 | 1 in force, 2 waits for the person's confirmation |
| 2 | 2 | 0 |
| 4 | u32 | first day (1 = 0001-01-01, in Japan) on which it is over, 0 = none |
| 8 | u64 | number of the grant: of the event with which it began |
| 16 | i64 | when a view last left a record, seconds since 1970, 0 = never |
| 24 | rest | encrypted (``storage/confidential.py``, period 0): :class:`Inside` |

What is over by a person's word or by death is removed; what its day has ended is passed over, and removed when the
person next grants one. A handle is AES-256 under own key "proxies" of u32 principal, u32 agent, u64 (number of the
grant, plus 2**63 in the agent's), little endian.

A proxy rests while any institution flags its principal NO_SELF (``protection/flags.py``): nothing is stored for it, so
that it rests from the commit of the flag on, and is back with its end. The agent then meets what a handle meets that is
nobody's. The entry by principal decides alone: where a damaged page hid it nobody could act, and the flags have a sum
of their own.

Each change is one transaction with its record and its event; a view's record is durable before anything is read.
"""

from __future__ import annotations

import datetime as dt
import struct
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from hub.errors import StorageError
from hub.storage.confidential import HUB, Vault
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

NAME = "proxies"
PRINCIPAL, AGENT = b"p", b"a"
HANDLE_BYTES = 16
OF_AGENT = 1 << 63
_PROXY = struct.Struct("<BBHIQq")
HANDLE = struct.Struct("<IIQ")
PAIR = struct.Struct(">cII")


class ProxyKind(IntEnum):
    """Why somebody may act for a person."""

    STATUTORY = 1
    """法定代理人: a parent, a guardian."""
    VOLUNTARY = 2
    """任意代理人: by the person's own word."""


class ProxyState(IntEnum):
    """How a proxy stands."""

    ENDED = 0
    IN_FORCE = 1
    TO_CONFIRM = 2
    """The person's card was renewed since: it rests until the person confirms it."""


class Inside(msgspec.Struct, array_like=True, frozen=True):
    """What is encrypted of a proxy: how the person calls the agent, how the agent calls the person, when it was granted
    (seconds since 1970), the portal's clerk."""

    label: str
    called: str
    at: int
    clerk: str | None

    def __repr__(self) -> str:
        return "Inside()"


class Stored(NamedTuple):
    """One proxy as it is stored."""

    principal: int
    agent: int
    kind: ProxyKind
    state: ProxyState
    until: int
    grant: int
    viewed_at: int
    inside: Inside

    def __repr__(self) -> str:
        return f"Stored({self.kind.name}, {self.state.name})"


# -- stored


def parse_proxy(vault: Vault, key: bytes, value: Any) -> Stored:
    """A stored proxy.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    _, principal, agent = PAIR.unpack(key)
    try:
        kind, state, zero, until, grant, viewed_at = _PROXY.unpack_from(body)
        found = Stored(principal, agent, ProxyKind(kind), ProxyState(state), until, grant, viewed_at, _NOTHING)
    except (struct.error, ValueError):
        raise StorageError(f"{NAME}: expected a proxy, got something else") from None
    inside = vault.decrypt(NAME, HUB, body[_PROXY.size :], Inside)
    if zero or inside is None or found.state == ProxyState.ENDED:
        raise StorageError(f"{NAME}: expected a proxy, got something else")
    return found._replace(inside=inside)


def parse_index(key: bytes, value: Any) -> tuple[int, int, int]:
    """(principal, agent, grant) of an entry by agent.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    if len(body) != 8:
        raise StorageError(f"{NAME}: expected the number of a grant, got something else")
    _, agent, principal = PAIR.unpack(key)
    return principal, agent, int.from_bytes(body, "little")


_NOTHING = Inside("", "", 0, None)


def put_proxy(commit: Commit, vault: Vault, one: Stored) -> None:
    """Write a proxy, by principal and by agent."""
    head = _PROXY.pack(one.kind, one.state, 0, one.until, one.grant, one.viewed_at)
    commit.put_sealed(NAME, PAIR.pack(PRINCIPAL, one.principal, one.agent), head + vault.encrypt(NAME, HUB, one.inside))
    commit.put_sealed(NAME, PAIR.pack(AGENT, one.agent, one.principal), one.grant.to_bytes(8, "little"))


def delete_proxy(commit: Commit, one: Stored) -> None:
    """Remove a proxy, by principal and by agent."""
    commit.delete(NAME, PAIR.pack(PRINCIPAL, one.principal, one.agent))
    commit.delete(NAME, PAIR.pack(AGENT, one.agent, one.principal))


def read_proxy(source: Snapshot | Commit, vault: Vault, principal: int, agent: int) -> Stored | None:
    """The proxy of two persons, or None.

    Raises:
        StorageError: it is damaged.
    """
    key = PAIR.pack(PRINCIPAL, principal, agent)
    value = source.get(NAME, key)
    return None if value is None else parse_proxy(vault, key, bytes(value))


def range_of(side: bytes, person: int) -> tuple[bytes, bytes]:
    """First key of a person on a side, and the one behind the last."""
    return side + person.to_bytes(4, "big"), side + (person + 1).to_bytes(4, "big")


def items_of(source: Snapshot | Commit, first: bytes, below: bytes) -> list[tuple[bytes, bytes]]:
    """What one person has, a page at most."""
    if isinstance(source, Snapshot):
        return [(key, bytes(value)) for key, value in source.items(NAME, first, below)]
    found = []
    with source.txn.cursor(db=source.databases[NAME]) as cursor:
        more = cursor.set_range(first)
        while more and bytes(cursor.key()) < below:
            found.append((bytes(cursor.key()), bytes(cursor.value())))
            more = cursor.next()
    return found


def is_over(one: Stored, today: int) -> bool:
    """Whether its day has ended it."""
    return 0 < one.until <= today


def says(before: Stored, kind: ProxyKind, until: int, inside: Inside) -> bool:
    """Whether a proxy has just these terms."""
    old = before.inside
    return (before.kind, before.until, old.label, old.called) == (kind, until, inside.label, inside.called)


def date_of(day: int) -> dt.date | None:
    """A stored day."""
    return dt.date.fromordinal(day) if day else None
