"""Proxies (代理人): who may read whose history, by law (法定代理人) or because the person said so (任意代理人).

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
| 24 | rest | encrypted (``confidential.py``, period 0): :class:`Inside` |

What is over by a person's word or by death is removed; what its day has ended is passed over, and removed when the
person next grants one. A handle is AES-256 under own key "proxies" of u32 principal, u32 agent, u64 (number of the
grant, plus 2**63 in the agent's), little endian.

A proxy rests while any institution flags its principal NO_SELF (``flags.py``): nothing is stored for it, so that it
rests from the commit of the flag on, and is back with its end. The agent then meets what a handle meets that is
nobody's. The entry by principal decides alone: where a damaged page hid it nobody could act, and the flags have a sum
of their own.

Each change is one transaction with its record and its event; a view's record is durable before anything is read.
"""

from __future__ import annotations

import datetime as dt
import hmac
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub.append import append_records, lay_records, make_fields
from hub.bodies import ROW
from hub.catalog.words import is_plain
from hub.confidential import HUB
from hub.errors import RequestError, StorageError
from hub.events import EventKind, ToldProxy, last_number
from hub.limits import PRINCIPALS_PER_AGENT_MAX, PROXIES_PER_PERSON_MAX, PROXY_LABEL_CHARS_MAX, PROXY_VIEW_S
from hub.messages import Kind, Status
from hub.periods import JAPAN_TIME, period_of
from hub.sealed import unseal
from hub.snapshot import Commit, Snapshot
from hub.tlog.entry import Shared
from hub.withholding import Office

NAME = "proxies"
PRINCIPAL, AGENT = b"p", b"a"
HANDLE_BYTES = 16
PORTAL = "portal"
KINDS = frozenset(map(int, (Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED)))
"""Kinds of records that only the principal reads: no proxy learns of another."""

BASIS = "個人情報保護法76条2項"
_OF_AGENT = 1 << 63
_PROXY = struct.Struct("<BBHIQq")
_HANDLE = struct.Struct("<IIQ")
_PAIR = struct.Struct(">cII")


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


_ROLES = {ProxyKind.STATUTORY: "法定代理人", ProxyKind.VOLUNTARY: "任意代理人"}


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


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy as its principal sees it.

    Attributes:
        handle: 16 bytes, by which the person names it. label: how the person calls the agent.
        until: the first day on which it is over, None = open. granted_at: UTC.
    """

    handle: bytes
    kind: ProxyKind
    state: ProxyState
    label: str
    until: dt.date | None
    granted_at: dt.datetime

    def __repr__(self) -> str:
        return f"Proxy({self.kind.name}, {self.state.name})"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A person as their agent sees them.

    Attributes:
        handle: 16 bytes, by which this agent names this person. label: how the agent calls the person.
        until: the first day on which it is over, None = open.
    """

    handle: bytes
    kind: ProxyKind
    label: str
    until: dt.date | None

    def __repr__(self) -> str:
        return f"Principal({self.kind.name})"


class Proxies:
    """Proxies of an open hub.

    Attributes:
        closed: whether a person's life is over in a snapshot; the proxies of such a person, on either side, are over.
    """

    def __init__(
        self, office: Office, appended: Callable[[], None], *, closed: Callable[[Snapshot, int], bool]
    ) -> None:
        self._office, self._appended, self.closed = office, appended, closed
        self._key = office.keys.derive("proxies")
        self._cipher = Cipher(algorithms.AES(self._key), modes.ECB())

    def __repr__(self) -> str:
        return "Proxies()"

    # -- the principal

    def grant(
        self, principal: int, agent: int, kind: ProxyKind, label: str, called: str, until: dt.date | None,
        clerk: str | None,
    ) -> bytes:  # fmt: skip
        """See ``Hub.grant_proxy``."""
        office = self._office
        if principal == agent:
            raise RequestError("agent: expected another person than the principal, got the same")
        today = self._today()
        day = 0 if until is None else until.toordinal()
        if day and day <= today:
            raise RequestError("until: expected a day to come, got another")
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                if self.closed(snapshot, principal) or self.closed(snapshot, agent):
                    raise RequestError("agent: expected two persons who live, got another")
                mine = list(self._of_principal(snapshot, principal))
                theirs = len(snapshot.items(NAME, *_range(AGENT, agent), limit=PRINCIPALS_PER_AGENT_MAX + 1))
            over = [one for one in mine if _is_over(one, today)]
            before = next((one for one in mine if one.agent == agent and one not in over), None)
            inside = Inside(label, called, office.now(), clerk)
            if before is not None and before.state == ProxyState.IN_FORCE and _says(before, kind, day, inside):
                self._appended()
                return self._handle(before, 0)
            if before is None and len(mine) - len(over) >= PROXIES_PER_PERSON_MAX:
                raise RequestError(f"proxies: expected at most {PROXIES_PER_PERSON_MAX} of one person, got more")
            if before is None and theirs >= PRINCIPALS_PER_AGENT_MAX:
                raise RequestError(f"proxies: expected at most {PRINCIPALS_PER_AGENT_MAX} of one agent, got more")
            with office.store.commit() as commit:
                for one in over:
                    self._remove(commit, one, "over", None)
                grant = before.grant if before is not None else last_number(commit) + 1
                viewed_at = before.viewed_at if before is not None else 0
                made = Stored(principal, agent, kind, ProxyState.IN_FORCE, day, grant, viewed_at, inside)
                self._put(commit, made)
                self._append(commit, made, Kind.PROXY_GRANTED, clerk)
                self._tell(commit, made, EventKind.PROXY_GRANTED, kind.name.lower(), clerk)
        self._appended()
        return self._handle(made, 0)

    def proxies(self, snapshot: Snapshot, principal: int) -> list[Proxy]:
        """See ``Hub.proxies``."""
        today = self._today()
        return [
            Proxy(
                handle=self._handle(one, 0),
                kind=one.kind,
                state=one.state,
                label=one.inside.label,
                until=_date(one.until),
                granted_at=dt.datetime.fromtimestamp(one.inside.at, dt.UTC),
            )
            for one in sorted(self._of_principal(snapshot, principal), key=lambda one: one.grant)
            if not _is_over(one, today) and not self.closed(snapshot, one.agent)
        ]

    def revoke(self, person: int, handle: bytes, clerk: str | None) -> bool:
        """See ``Hub.revoke_proxy``."""
        office = self._office
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                found, side = self._named(snapshot, person, handle), "person"
                if found is None:
                    found, side = self._find(snapshot, person, handle), "agent"
            if found is None:
                return False
            with office.store.commit() as commit:
                self._remove(commit, found, f"by the {side}", clerk)
                self._append(commit, found, Kind.PROXY_REVOKED, clerk)
        self._appended()
        return True

    def set_state(self, person: int, state: ProxyState, clerk: str | None) -> int:
        """Let all proxies of a person wait for confirmation, or confirm them; returns how many changed."""
        office, today = self._office, self._today()
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                mine = [one for one in self._of_principal(snapshot, person) if not _is_over(one, today)]
            changed = [one._replace(state=state) for one in mine if one.state != state]
            if changed:
                with office.store.commit() as commit:
                    for one in changed:
                        self._put(commit, one)
                        self._tell(commit, one, EventKind.PROXY_CONFIRMED, state.name.lower(), clerk)
        return len(changed)

    # -- the agent

    def principals(self, snapshot: Snapshot, agent: int) -> list[Principal]:
        """See ``Hub.principals``."""
        today = self._today()
        found = []
        for key, value in snapshot.items(NAME, *_range(AGENT, agent)):
            _, _, principal = _PAIR.unpack(key)
            parse_index(key, value)
            one = self._read(snapshot, principal, agent)
            if self._acts(snapshot, one, today):
                assert one is not None
                found.append(one)
        return [
            Principal(
                handle=self._handle(one, _OF_AGENT), kind=one.kind, label=one.inside.called, until=_date(one.until)
            )
            for one in sorted(found, key=lambda one: one.grant)
        ]

    def principal_of(self, snapshot: Snapshot, agent: int, handle: Any) -> int:
        """The person for whom an agent may act in a snapshot, by the agent's handle.

        Raises:
            RequestError: there is none, whatever the reason: the same words, after the same look-ups.
        """
        found = self._find(snapshot, agent, handle)
        if found is None:
            raise RequestError("handle: expected one of a person for whom this one may act, got another")
        return found.principal

    def note_view(self, find_agent: Callable[[Snapshot], int], handle: Any) -> None:
        """Leave the record that a proxy is about to read, where the last one is not of just now; durable and published.

        Raises:
            RequestError: as of :meth:`principal_of`.
        """
        office = self._office
        with office.store.snapshot() as snapshot:
            agent = find_agent(snapshot)
            self.principal_of(snapshot, agent, handle)
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                self.principal_of(snapshot, agent, handle)
                found = self._find(snapshot, agent, handle)
                assert found is not None
            now = office.now()
            if not 0 <= now - found.viewed_at < PROXY_VIEW_S:
                with office.store.commit() as commit:
                    self._put(commit, found._replace(viewed_at=now))
                    self._append(commit, found, Kind.PROXY_VIEW, None)
        self._appended()

    # -- the ends of lives

    def end_all(self, commit: Commit, person: int, ground: str) -> int:
        """End every proxy of a person, on either side, in a transaction that is under way; returns how many."""
        pairs = {(one.principal, one.agent) for one in self._of_principal(commit, person)}
        for key, _ in _items(commit, *_range(AGENT, person)):
            pairs.add((_PAIR.unpack(key)[2], person))
        found = [self._read(commit, *pair) for pair in sorted(pairs)]
        for one in found:
            if one is None:
                raise StorageError(f"{NAME}: expected the proxy of an index, found none")
            self._remove(commit, one, ground, None)
        return len(found)

    # -- parts

    def _find(self, snapshot: Snapshot, agent: int, handle: Any) -> Stored | None:
        """What an agent's handle names, if the agent may act by it."""
        principal, other, grant = self._open(handle)
        # Looked up also where the handle cannot be right: its time must not tell why it is not.
        found = self._read(snapshot, principal, agent)
        acts = self._acts(snapshot, found, self._today())
        return found if acts and found is not None and (other, grant) == (agent, found.grant | _OF_AGENT) else None

    def _named(self, snapshot: Snapshot, principal: int, handle: Any) -> Stored | None:
        """What a principal's handle names."""
        own, agent, grant = self._open(handle)
        found = self._read(snapshot, principal, agent)
        return found if found is not None and (own, grant) == (principal, found.grant) else None

    def _acts(self, snapshot: Snapshot, found: Stored | None, today: int) -> bool:
        person = found.principal if found is not None else 0
        rests = self._office.flagged.of(snapshot).no_self_anywhere(np.array([person], dtype=np.uint32))
        if found is None or found.state != ProxyState.IN_FORCE or _is_over(found, today):
            return False
        if self.closed(snapshot, found.principal) or self.closed(snapshot, found.agent):
            return False
        return rests is None or not rests[0]

    def _handle(self, one: Stored, side: int) -> bytes:
        return self._cipher.encryptor().update(_HANDLE.pack(one.principal, one.agent, one.grant | side))

    def _open(self, handle: Any) -> tuple[int, int, int]:
        if not isinstance(handle, bytes | bytearray) or len(handle) != HANDLE_BYTES:
            handle = bytes(HANDLE_BYTES)
        principal, agent, grant = _HANDLE.unpack(self._cipher.decryptor().update(bytes(handle)))
        return principal, agent, grant

    def _of_principal(self, source: Snapshot | Commit, principal: int) -> Iterator[Stored]:
        for key, value in _items(source, *_range(PRINCIPAL, principal)):
            yield self._parse(key, value)

    def _read(self, source: Snapshot | Commit, principal: int, agent: int) -> Stored | None:
        key = _PAIR.pack(PRINCIPAL, principal, agent)
        value = source.get(NAME, key)
        return None if value is None else self._parse(key, bytes(value))

    def _parse(self, key: bytes, value: Any) -> Stored:
        return parse_proxy(self._office, key, value)

    def _put(self, commit: Commit, one: Stored) -> None:
        head = _PROXY.pack(one.kind, one.state, 0, one.until, one.grant, one.viewed_at)
        encrypted = self._office.vault.encrypt(NAME, HUB, one.inside)
        commit.put_sealed(NAME, _PAIR.pack(PRINCIPAL, one.principal, one.agent), head + encrypted)
        commit.put_sealed(NAME, _PAIR.pack(AGENT, one.agent, one.principal), one.grant.to_bytes(8, "little"))

    def _remove(self, commit: Commit, one: Stored, ground: str, clerk: str | None) -> None:
        commit.delete(NAME, _PAIR.pack(PRINCIPAL, one.principal, one.agent))
        commit.delete(NAME, _PAIR.pack(AGENT, one.agent, one.principal))
        self._tell(commit, one._replace(state=ProxyState.ENDED), EventKind.PROXY_ENDED, ground, clerk)

    def _tell(self, commit: Commit, one: Stored, kind: EventKind, ground: str, clerk: str | None) -> None:
        told = ToldProxy(
            at=self._office.now(), kind=kind, institution=PORTAL, clerk=clerk, ground=ground, person=one.principal,
            agent=one.agent, grant=one.grant, state=int(one.state),
        )  # fmt: skip
        self._office.tell(told, commit, HUB)

    def _append(self, commit: Commit, one: Stored, kind: Kind, clerk: str | None) -> None:
        """Put a record about the principal into the transaction."""
        office = self._office
        now = max(commit.state.time, office.now())
        key = office.periods.make(period_of(now))
        until = _date(one.until) if kind == Kind.PROXY_GRANTED else None
        shared = Shared(
            # Which proxy: the same in all records of one grant.
            inquiry=hmac.digest(self._key, _HANDLE.pack(one.principal, one.agent, one.grant), "sha256")[:8],
            requester=PORTAL,
            on_behalf_of=None,
            procedure="",
            items=(),
            role=_ROLES[one.kind],
            section="",
            reference_date=None,
            catalog=office.catalog().digest,
            rule=0,
            reason=0,
            legal_basis=BASIS,
            supervised=bytes(32),
            remark=one.inside.label if until is None else f"{one.inside.label} ({until}の前日まで)",
        )
        rows = np.zeros(1, dtype=ROW)
        rows["person"], rows["kind"], rows["outcome"] = one.principal, kind, Status.OK
        fields = make_fields([shared], [(now, 0)], [(clerk, None)])
        append_records(commit, lay_records(fields, rows, key.person_keys(rows["person"].copy()), office.keys, key), now)

    def _today(self) -> int:
        return dt.datetime.fromtimestamp(self._office.now(), JAPAN_TIME).date().toordinal()


# -- stored


def parse_proxy(office: Office, key: bytes, value: Any) -> Stored:
    """A stored proxy.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    _, principal, agent = _PAIR.unpack(key)
    try:
        kind, state, zero, until, grant, viewed_at = _PROXY.unpack_from(body)
        found = Stored(principal, agent, ProxyKind(kind), ProxyState(state), until, grant, viewed_at, _NOTHING)
    except (struct.error, ValueError):
        raise StorageError(f"{NAME}: expected a proxy, got something else") from None
    inside = office.vault.decrypt(NAME, HUB, body[_PROXY.size :], Inside)
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
    _, agent, principal = _PAIR.unpack(key)
    return principal, agent, int.from_bytes(body, "little")


_NOTHING = Inside("", "", 0, None)


def _range(side: bytes, person: int) -> tuple[bytes, bytes]:
    return side + person.to_bytes(4, "big"), side + (person + 1).to_bytes(4, "big")


def _items(source: Snapshot | Commit, first: bytes, below: bytes) -> list[tuple[bytes, bytes]]:
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


def _is_over(one: Stored, today: int) -> bool:
    return 0 < one.until <= today


def _says(before: Stored, kind: ProxyKind, until: int, inside: Inside) -> bool:
    """Whether a proxy has just these terms."""
    old = before.inside
    return (before.kind, before.until, old.label, old.called) == (kind, until, inside.label, inside.called)


def _date(day: int) -> dt.date | None:
    return dt.date.fromordinal(day) if day else None


def check_label(name: str, text: object) -> str:
    """A name of one citizen for another: printable, of bounded length.

    Raises:
        RequestError: it is not.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= PROXY_LABEL_CHARS_MAX or not is_plain(text):
        raise RequestError(f"{name}: expected 1 to {PROXY_LABEL_CHARS_MAX} printable characters, got something else")
    return text
