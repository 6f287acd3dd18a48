"""Proxies (代理人): granted, confirmed, ended; what each side is told; the record that a view leaves.

Each change is one transaction with its record and its event; a view's record is durable before anything is read. The
stored format stands in ``proxystate.py``, the rules in docs/proxies.md.
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub.catalog.words import is_plain
from hub.citizens.proxystate import (
    AGENT,
    HANDLE,
    HANDLE_BYTES,
    NAME,
    OF_AGENT,
    PAIR,
    PRINCIPAL,
    Inside,
    ProxyKind,
    ProxyState,
    Stored,
    date_of,
    delete_proxy,
    is_over,
    items_of,
    parse_index,
    parse_proxy,
    put_proxy,
    range_of,
    read_proxy,
    says,
)
from hub.errors import RequestError, StorageError
from hub.limits import (
    PRINCIPALS_PER_AGENT_MAX,
    PROXIES_PER_PERSON_MAX,
    PROXY_LABEL_CHARS_MAX,
    PROXY_VIEW_S,
    STATUTORY_PROXY_DAYS_MAX,
)
from hub.messages import Kind, Status
from hub.protection.withholding import Office
from hub.records.append import append_records, lay_records, make_fields
from hub.records.bodies import ROW
from hub.records.events import EventKind, ToldProxy, last_number
from hub.storage.confidential import HUB
from hub.storage.periods import JAPAN_TIME, period_of
from hub.storage.snapshot import Commit, Snapshot
from hub.tlog.entry import Shared

PORTAL = "portal"
KINDS = frozenset(map(int, (Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED, Kind.COUNTER_VIEW)))
"""Kinds of records that only the principal reads: no proxy learns of another, nor where the person goes."""

BASIS = "個人情報保護法76条2項"
_ROLES = {ProxyKind.STATUTORY: "法定代理人", ProxyKind.VOLUNTARY: "任意代理人"}


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
        if kind == ProxyKind.STATUTORY and not day:
            raise RequestError("until: expected the day on which a statutory proxy is over, got none")
        if kind == ProxyKind.STATUTORY and day - today > STATUTORY_PROXY_DAYS_MAX:
            bound = f"at most {STATUTORY_PROXY_DAYS_MAX} days of a statutory proxy"
            raise RequestError(f"until: expected {bound}, got more")
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                if self.closed(snapshot, principal) or self.closed(snapshot, agent):
                    raise RequestError("agent: expected two persons who live, got another")
                mine = list(self._of_principal(snapshot, principal))
                theirs = len(snapshot.items(NAME, *range_of(AGENT, agent), limit=PRINCIPALS_PER_AGENT_MAX + 1))
            over = [one for one in mine if is_over(one, today)]
            before = next((one for one in mine if one.agent == agent and one not in over), None)
            inside = Inside(label, called, office.now(), clerk)
            if before is not None and before.state == ProxyState.IN_FORCE and says(before, kind, day, inside):
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
                put_proxy(commit, office.vault, made)
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
                until=date_of(one.until),
                granted_at=dt.datetime.fromtimestamp(one.inside.at, dt.UTC),
            )
            for one in sorted(self._of_principal(snapshot, principal), key=lambda one: one.grant)
            if not is_over(one, today) and not self.closed(snapshot, one.agent)
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
                mine = [one for one in self._of_principal(snapshot, person) if not is_over(one, today)]
            changed = [one._replace(state=state) for one in mine if one.state != state]
            if changed:
                with office.store.commit() as commit:
                    for one in changed:
                        put_proxy(commit, office.vault, one)
                        self._tell(commit, one, EventKind.PROXY_CONFIRMED, state.name.lower(), clerk)
        return len(changed)

    # -- the agent

    def principals(self, snapshot: Snapshot, agent: int) -> list[Principal]:
        """See ``Hub.principals``."""
        today = self._today()
        found = []
        for key, value in snapshot.items(NAME, *range_of(AGENT, agent)):
            _, _, principal = PAIR.unpack(key)
            parse_index(key, value)
            one = self._read(snapshot, principal, agent)
            if self._acts(snapshot, one, today):
                assert one is not None
                found.append(one)
        return [
            Principal(
                handle=self._handle(one, OF_AGENT), kind=one.kind, label=one.inside.called, until=date_of(one.until)
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
                    put_proxy(commit, office.vault, found._replace(viewed_at=now))
                    self._append(commit, found, Kind.PROXY_VIEW, None)
        self._appended()

    # -- the ends of lives

    def end_all(self, commit: Commit, person: int, ground: str, *, since: int = 0) -> int:
        """End every proxy of a person, on either side, in a transaction that is under way; returns how many.

        Args:
            since: only those that began behind the event of this number.
        """
        pairs = {(one.principal, one.agent) for one in self._of_principal(commit, person)}
        for key, _ in items_of(commit, *range_of(AGENT, person)):
            pairs.add((PAIR.unpack(key)[2], person))
        found = [self._read(commit, *pair) for pair in sorted(pairs)]
        for one in found:
            if one is None:
                raise StorageError(f"{NAME}: expected the proxy of an index, found none")
        ended = [one for one in found if one is not None and one.grant > since]
        for one in ended:
            self._remove(commit, one, ground, None)
        return len(ended)

    # -- parts

    def _find(self, snapshot: Snapshot, agent: int, handle: Any) -> Stored | None:
        """What an agent's handle names, if the agent may act by it."""
        principal, other, grant = self._open(handle)
        # Looked up also where the handle cannot be right: its time must not tell why it is not.
        found = self._read(snapshot, principal, agent)
        acts = self._acts(snapshot, found, self._today())
        return found if acts and found is not None and (other, grant) == (agent, found.grant | OF_AGENT) else None

    def _named(self, snapshot: Snapshot, principal: int, handle: Any) -> Stored | None:
        """What a principal's handle names."""
        own, agent, grant = self._open(handle)
        found = self._read(snapshot, principal, agent)
        return found if found is not None and (own, grant) == (principal, found.grant) else None

    def _acts(self, snapshot: Snapshot, found: Stored | None, today: int) -> bool:
        person = found.principal if found is not None else 0
        rests = self._office.flagged.of(snapshot).no_self_anywhere(np.array([person], dtype=np.uint32))
        if found is None or found.state != ProxyState.IN_FORCE or is_over(found, today):
            return False
        if self.closed(snapshot, found.principal) or self.closed(snapshot, found.agent):
            return False
        return rests is None or not rests[0]

    def _handle(self, one: Stored, side: int) -> bytes:
        return self._cipher.encryptor().update(HANDLE.pack(one.principal, one.agent, one.grant | side))

    def _open(self, handle: Any) -> tuple[int, int, int]:
        if not isinstance(handle, bytes | bytearray) or len(handle) != HANDLE_BYTES:
            handle = bytes(HANDLE_BYTES)
        principal, agent, grant = HANDLE.unpack(self._cipher.decryptor().update(bytes(handle)))
        return principal, agent, grant

    def _of_principal(self, source: Snapshot | Commit, principal: int) -> Iterator[Stored]:
        for key, value in items_of(source, *range_of(PRINCIPAL, principal)):
            yield parse_proxy(self._office.vault, key, value)

    def _read(self, source: Snapshot | Commit, principal: int, agent: int) -> Stored | None:
        return read_proxy(source, self._office.vault, principal, agent)

    def _remove(self, commit: Commit, one: Stored, ground: str, clerk: str | None) -> None:
        delete_proxy(commit, one)
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
        until = date_of(one.until) if kind == Kind.PROXY_GRANTED else None
        shared = Shared(
            # Which proxy: the same in all records of one grant.
            inquiry=hmac.digest(self._key, HANDLE.pack(one.principal, one.agent, one.grant), "sha256")[:8],
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


def check_label(name: str, text: object) -> str:
    """A name of one citizen for another: printable, of bounded length.

    Raises:
        RequestError: it is not.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= PROXY_LABEL_CHARS_MAX or not is_plain(text):
        raise RequestError(f"{name}: expected 1 to {PROXY_LABEL_CHARS_MAX} printable characters, got something else")
    return text
