"""What the hub's log says for one institution: the copy to compare its own with, and what supervisors compare.

Each of the three parties to a record keeps it: the requester by (request, row), the provider by its permit's number,
the hub in its log. No call gives one caller both names of a record, nor another's alias; a supervisor who holds the
folder can join the two, see ``agency/compare.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.aliases import find_persons
from hub.catalog.moments import seconds_of
from hub.errors import RequestError, StorageError
from hub.limits import REQUEST_DAYS, ROWS_PER_CHUNK
from hub.messages import OWN_DATA, Aliases, Kind, Status
from hub.persons.merges import current
from hub.persons.successions import find_known_aliases, successions_of
from hub.protection.withholding import Office
from hub.provision.answers import Answering, Stand
from hub.provision.tail import read_chunks
from hub.records.bodies import ROW, Bodies, Chunk, links_of, read_place
from hub.records.permits import PermitNumbers
from hub.requests.groups import Group
from hub.requests.state import request_days
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store

NOBODY = 0xFFFFFFFF
_KEY_BYTES, _GROUP_BYTES = 16, 8
_FIRST_PART = bytes(4)
_ALONE = Workers(1)
_GROUPS_AT_A_TIME = 256
ANSWERED_AT_A_TIME = 1 << 23
"""Answers that are sorted together, about 400 MB; of more the log is read several times."""
_KEYS_AT_A_TIME = 1_024
_DAY_S, _JAPAN_S = 86_400, 32_400


class AskedCopy(NamedTuple):
    """Rows of a request of an institution, as the hub has them.

    Attributes:
        request: 16 bytes, ``request_key`` of ``requests/state.py`` of the institution's own id. first: its first row's
        place.
        received_at: seconds since 1970. aliases: uint8[N, 16], the institution's own of today; zeros where there is no
            record, or no alias any more. status, reason: uint8[N], as answered first; told, told_reason: as told now.
    """

    request: bytes
    first: int
    received_at: int
    aliases: Aliases
    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    told: npt.NDArray[np.uint8]
    told_reason: npt.NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"AskedCopy({len(self.status)})"


class AnsweredCopy(NamedTuple):
    """Answers of an institution, as the hub has them, in the order of its permit numbers.

    Attributes:
        permits: uint64[N]. aliases: uint8[N, 16], its own of today; zeros where there is none any more.
        outcomes, reasons: uint8[N]. provided_on: int64[N], seconds since 1970 at which the day in Japan began on which
            the answer was given.
    """

    permits: npt.NDArray[np.uint64]
    aliases: Aliases
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    provided_on: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"AnsweredCopy({len(self.permits)})"


class HubAsked(NamedTuple):
    """Rows of a request with what the hub alone knows: how they stand, persons (NOBODY where there is no record) and
    providers' numbers, of each row."""

    stand: Stand
    persons: npt.NDArray[np.uint32]
    providers: npt.NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"HubAsked({len(self.persons)})"


class HubProvided(NamedTuple):
    """Provisions of a chunk of the log: indexes of their permits' records, and what they say; columns of N."""

    permits: npt.NDArray[np.uint64]
    providers: npt.NDArray[np.uint16]
    persons: npt.NDArray[np.uint32]
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    provided_at: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"HubProvided({len(self.permits)})"

    def part(self, rows: npt.NDArray[np.bool_]) -> HubProvided:
        """Those of some rows."""
        return HubProvided(
            self.permits[rows], self.providers[rows], self.persons[rows], self.outcomes[rows], self.reasons[rows],
            self.provided_at[rows],
        )  # fmt: skip


class CopyReader:
    """Reads copies from an open hub."""

    def __init__(self, office: Office, answering: Answering, numbers: PermitNumbers) -> None:
        self._office, self._answering, self.numbers = office, answering, numbers

    def __repr__(self) -> str:
        return "CopyReader()"

    # -- as requester

    def asked(self, key: bytes, first: int) -> HubAsked | None:
        """A chunk of a request's rows from ``first`` on; None where the hub does not know the request (any more)."""
        stand = self._answering.stand(key, first, ROWS_PER_CHUNK)
        if stand is None:
            return None
        n = len(stand.status)
        persons, providers = np.full(n, NOBODY, np.uint32), np.zeros(n, np.uint32)
        at = np.flatnonzero(stand.indexes >= 0)
        if len(at):
            with self._office.store.snapshot() as snapshot:
                rows = self._rows(snapshot, stand.indexes[at])
            persons[at], providers[at] = rows["person"], rows["provider"]
        return HubAsked(stand, persons, providers)

    def _rows(self, snapshot: Snapshot, indexes: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Records of one chunk of the log, ``ROW``[N]."""
        bodies = self._office.bodies(snapshot)
        low, high = int(indexes.min()), int(indexes.max())
        if len(indexes) <= 64:
            return bodies.rows(indexes.tolist())
        located = bodies.locate(low)
        if located.chunk.first + located.chunk.rows <= high:
            return bodies.rows(indexes.tolist())
        _, rows = bodies.whole(located.chunk.first)
        return rows.view(ROW)[:, 0][indexes - located.chunk.first]

    def requests_of(self, institution: str) -> Iterator[bytes]:
        """The keys of the requests of an institution of the last 30 days that left a record."""
        names: set[bytes] = set()
        for chunk in self.heads(self._office.now() - (REQUEST_DAYS + 1) * _DAY_S):
            names.update(shared.inquiry for shared in chunk.shared if shared.requester == institution)
        keys = self._keys()
        for first in range(0, len(keys), _KEYS_AT_A_TIME):
            some = keys[first : first + _KEYS_AT_A_TIME]
            for key, found in zip(some, self._office.groups.find_all(some, self._office.now()), strict=True):
                if found is not None and found.request.inquiry in names:
                    yield key

    def _keys(self) -> list[bytes]:
        found: set[bytes] = set()
        for name in request_days(self._office.store, self._office.now()):
            first = b""
            while True:
                with self._office.store.snapshot() as snapshot:
                    items = snapshot.items(name, first, limit=_GROUPS_AT_A_TIME)
                    for key, value in items:
                        if len(key) == _GROUP_BYTES:
                            group = msgspec.msgpack.decode(unseal(name, key, value)[_GROUP_BYTES:], type=Group)
                            found.update(
                                group.keys[at : at + _KEY_BYTES] for at in range(0, len(group.keys), _KEY_BYTES)
                            )
                        elif len(key) == _KEY_BYTES + 4 and key.endswith(_FIRST_PART):
                            found.add(key[:_KEY_BYTES])
                if not items:
                    break
                first = items[-1][0] + b"\0"
        return sorted(found)

    # -- the log

    def chunks(self, first: int = 0) -> Iterator[tuple[Chunk, npt.NDArray[np.void]]]:
        """The chunks of the log that can be read, with their rows; a snapshot for each, so that none is held long."""
        store: Store = self._office.store
        while True:
            with store.snapshot() as snapshot:
                bodies: Bodies = self._office.bodies(snapshot)
                found = next(read_chunks(snapshot, bodies, first, snapshot.state.records), None)
            if found is None:
                return
            yield found
            first = found[0].first + found[0].rows

    def first_since(self, since: int) -> int:
        """An index in front of which no record is of this time or later; chunks stand in the order of their times."""
        with self._office.store.snapshot() as snapshot:
            low, high = 0, snapshot.state.records
            while low < high:
                middle = (low + high) // 2
                try:
                    place = read_place(snapshot, middle)
                except StorageError:
                    # Erased, and so older than anything that is left; what is damaged is found when it is read.
                    low = middle + 1
                    continue
                if place.time < since:
                    low = max(middle + 1, place.first + place.rows)
                else:
                    high = min(middle, place.first)
        return low

    def heads(self, since: int) -> Iterator[Chunk]:
        """The heads of the chunks of the log from a time on that can be read; their rows are not."""
        first = self.first_since(since)
        while True:
            with self._office.store.snapshot() as snapshot:
                if first >= snapshot.state.records:
                    return
                chunk = self._office.bodies(snapshot).locate(first).chunk
            yield chunk
            first = chunk.first + chunk.rows

    @staticmethod
    def provided(chunk: Chunk, rows: npt.NDArray[np.void]) -> HubProvided | None:
        """The provisions of a chunk; None where it has none."""
        at = np.flatnonzero(rows["kind"] == Kind.PROVISION)
        if not len(at):
            return None
        some = rows if len(at) == len(rows) else rows[at]
        decision = some["decision"]
        return HubProvided(
            links_of(some).astype(np.uint64), some["provider"].copy(), some["person"].copy(), some["outcome"].copy(),
            np.array([shared.reason for shared in chunk.shared], dtype=np.uint8)[decision],
            np.array([times[1] for times in chunk.fields.times], dtype=np.int64)[decision],
        )  # fmt: skip

    @staticmethod
    def inquiries(chunk: Chunk, rows: npt.NDArray[np.void], requester: str) -> dict[bytes, int]:
        """The inquiries of a requester that have records in a chunk: name -> when the hub received it."""
        own = {at: shared.inquiry for at, shared in enumerate(chunk.shared) if shared.requester == requester}
        if not own:
            return {}
        counts = np.bincount(rows["decision"][rows["kind"] == Kind.INQUIRY], minlength=len(chunk.shared))
        return {inquiry: chunk.fields.times[at][0] for at, inquiry in own.items() if counts[at]}

    def is_blocked(self, index: int, person: int, provider: int) -> bool:
        """Whether a permit is for own data that its person's flag at the provider (NO_SELF) keeps back."""
        with self._office.store.snapshot() as snapshot:
            body = self._office.bodies(snapshot).read([index])[0]
            shared = body.chunk.shared[body.decision]
            flagged = self._office.flagged.of(snapshot).no_self(
                current(snapshot, np.array([person], np.uint32)), successions_of(snapshot).now(provider)
            )
        return shared.procedure.startswith(OWN_DATA) and bool(flagged[0])

    def persons(self, institution: int, aliases: Aliases) -> npt.NDArray[np.uint32]:
        """Whom an institution's aliases stand for, or stood for: uint32[N], NOBODY where nobody."""
        with self._office.store.snapshot() as snapshot:
            found, _, status = find_persons(snapshot, institution, np.ascontiguousarray(aliases), _ALONE)
        return np.where(status == Status.UNKNOWN_ALIAS, np.uint32(NOBODY), found)

    def aliases(self, institution: int, persons: npt.NDArray[np.uint32]) -> Aliases:
        """An institution's aliases of today, zeros where it has none."""
        out = np.zeros((len(persons), 16), np.uint8)
        known = np.flatnonzero(persons != NOBODY)
        if len(known):
            with self._office.store.snapshot() as snapshot:
                now = current(snapshot, np.ascontiguousarray(persons[known]))
                out[known] = find_known_aliases(snapshot, institution, now, _ALONE)[0]
        return out


class Copies(ABC):
    """The part of :class:`hub.Hub` that gives institutions the hub's copy of their records."""

    _office: Office
    _copies: CopyReader

    def copy_of(
        self,
        institution: str,
        *,
        role: str,
        since: dt.date | dt.datetime | None = None,
        until: dt.date | dt.datetime | None = None,
    ) -> Iterator[AskedCopy | AnsweredCopy]:
        """What the log says for an institution, to compare its own copy with; a few thousand rows at a time.

        As requester by request and row: the requests of the last 30 days that left a record, each in its rows' order.
        As provider by permit number, in the order of these numbers: what it answered, as far as the log has not been
        erased. Which row is whose permit is told to neither, nor is another's alias.

        Args:
            role: "requester" or "provider". since, until: received or provided from then on, and before then; for a
                provider the beginnings of days.

        Raises:
            RequestError: an unknown institution or role. StorageError: what is stored is damaged.
        """
        number = self._office.catalog().institution(institution).number
        low = 0 if since is None else seconds_of(since)
        high = 1 << 62 if until is None else seconds_of(until)
        # A bound within a day would tell the second of an answer, found out bit by bit.
        if role == "provider" and any(isinstance(one, dt.datetime) for one in (since, until)):
            raise RequestError("since, until: expected days for a provider's copy, got a moment")
        if role == "requester":
            return self._asked_copy(institution, number, low, high)
        if role == "provider":
            return self._answered_copy(number, low, high)
        raise RequestError("role: expected requester or provider, got something else")

    def _asked_copy(self, institution: str, number: int, low: float, high: float) -> Iterator[AskedCopy | AnsweredCopy]:
        for key in self._copies.requests_of(institution):
            first, rows = 0, 1
            while first < rows:
                found = self._copies.asked(key, first)
                if found is None:
                    break
                stand = found.stand
                rows = stand.rows
                if low <= stand.received_at < high:
                    yield AskedCopy(
                        key, first, stand.received_at, self._copies.aliases(number, found.persons), stand.first_status,
                        stand.first_reason, stand.status, stand.reason,
                    )  # fmt: skip
                first += ROWS_PER_CHUNK

    def _answered_copy(self, number: int, low: float, high: float) -> Iterator[AskedCopy | AnsweredCopy]:
        """By permit number, over all chunks: which answers share a chunk of the log, and in which second each was
        written, a provider must not learn, since the portal sees the same of its records' indexes."""
        total = sum(len(part.permits) for part in self._provided_by(number, low, high))
        parts = max(1, -(-total // ANSWERED_AT_A_TIME))
        for place in range(parts):
            columns: list[list[Any]] = [[], [], [], [], []]
            for part in self._provided_by(number, low, high):
                permits = self._copies.numbers.number(number, part.permits)
                rows = np.full(len(permits), True)
                if parts > 1:
                    rows = permits // np.uint64(-(-(1 << 64) // parts)) == place
                days = (part.provided_at + _JAPAN_S) // _DAY_S * _DAY_S - _JAPAN_S
                some: tuple[Any, ...] = (permits, part.persons, part.outcomes, part.reasons, days)
                for column, values in zip(columns, some, strict=True):
                    column.append(values[rows])
            if not columns[0]:
                return
            permits, persons, outcomes, reasons, days = (np.concatenate(column) for column in columns)
            order = np.argsort(permits)
            for first in range(0, len(order), ROWS_PER_CHUNK):
                at = order[first : first + ROWS_PER_CHUNK]
                aliases = self._copies.aliases(number, persons[at])
                yield AnsweredCopy(permits[at], aliases, outcomes[at], reasons[at], days[at])

    def _provided_by(self, number: int, low: float, high: float) -> Iterator[HubProvided]:
        for chunk, rows in self._copies.chunks(self._copies.first_since(int(low))):
            found = self._copies.provided(chunk, rows)
            if found is not None:
                mine = (found.providers == number) & (found.provided_at >= low) & (found.provided_at < high)
                if mine.any():
                    yield found.part(mine)
