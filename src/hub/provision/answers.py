"""What has become of a request's rows, and what the providers answered, in the requester's order.

A row stands as its last record says: OK is shown as PENDING until a provision or a lapse ends its permit. A provider's
MANUAL is in no record, so that such a row is the same as one that was not answered yet, in every byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError, StorageError
from hub.exchange import Exchange, State
from hub.limits import ROWS_PER_BATCH_MAX
from hub.messages import OWN_DATA, Answers, Flag, Reason, Status
from hub.persons.merges import current
from hub.persons.successions import successions_of
from hub.protection.releases import find_releases
from hub.protection.withholding import Office
from hub.provision.inbox import Inbox, Indexes, Outcomes, ended_by, reason_of, status_of
from hub.provision.payloadstore import PayloadReader, forget_payloads
from hub.requests.state import NO_RECORD_BIT, Request, chunk_state

FEW_ROWS = 1_024
"""Up to so many rows their providers are read from their records; of more every provider is asked for the stretch."""

class _Rows(NamedTuple):
    """Rows of a request as its chunks have them.

    Attributes:
        status, reason: uint8[N], as answered first. indexes: int64[N] of their records, -1 = none.
    """

    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    indexes: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"_Rows({len(self.status)})"


class Stand(NamedTuple):
    """How rows of a request stand, without what was provided.

    Attributes:
        rows: of the whole request. received_at: when the hub received it. inquiry: its name in records.
        first_status, first_reason: uint8[N], as the inquiry was answered; status, reason: as they are told now; ended,
            ended_reason: the same as the log has it, where own data has been blocked since.
        indexes: int64[N], of the records of the inquiry itself, -1 = none; permits: of those that leave the permits.
    """

    rows: int
    received_at: int
    inquiry: bytes
    first_status: npt.NDArray[np.uint8]
    first_reason: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    ended: npt.NDArray[np.uint8]
    ended_reason: npt.NDArray[np.uint8]
    indexes: npt.NDArray[np.int64]
    permits: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Stand({len(self.status)})"


class Answering:
    """Reads the answers of an open hub's requests."""

    def __init__(self, office: Office, exchange: Exchange) -> None:
        self._office, self._exchange = office, exchange

    def __repr__(self) -> str:
        return "Answering()"

    def answers(self, requester: str, key: bytes, first: int, limit: int | None) -> Answers:
        """See ``Hub.answers``."""
        office = self._office
        now = office.now()
        found = office.groups.find(key, now)
        if found is None:
            raise RequestError("request_id: expected one of the last 30 days, got an unknown one")
        name, request, small = found
        for word, value, most in (("first", first, request.rows), ("limit", limit, ROWS_PER_BATCH_MAX)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most):
                raise RequestError(f"{word}: expected 0 to {most}, got something else")
        end = request.rows if limit is None else min(first + limit, request.rows)
        with self._exchange.state() as state:
            rows = _read_rows(state, name, key, request, small, first, end)
            self._follow_released(state, rows)
            waiting = np.flatnonzero((rows.status == Status.OK) & (rows.indexes >= 0))
            outcomes = self._outcomes(state, rows.indexes[waiting])
            return self._answer(state, rows, waiting, outcomes, now)

    def stand(self, key: bytes, first: int, limit: int) -> Stand | None:
        """How rows of a request stand, for copies that are compared (``methods/copies.py``); None: not known."""
        now = self._office.now()
        found = self._office.groups.find(key, now)
        if found is None:
            return None
        name, request, small = found
        end = min(first + limit, request.rows)
        with self._exchange.state() as state:
            rows = _read_rows(state, name, key, request, small, first, end)
            asked = _Rows(rows.status.copy(), rows.reason, rows.indexes.copy())
            self._follow_released(state, rows)
            waiting = np.flatnonzero((rows.status == Status.OK) & (rows.indexes >= 0))
            outcomes = self._outcomes(state, rows.indexes[waiting])
            ended, ended_reason = _told(rows, waiting, outcomes, now)
            status, reason = ended.copy(), ended_reason.copy()
            self._block_own_data(state, rows, status, reason)
        return Stand(
            request.rows, request.received_at, request.inquiry, asked.status, asked.reason, status, reason,
            ended, ended_reason, asked.indexes, rows.indexes,
        )  # fmt: skip

    def _follow_released(self, state: State, rows: _Rows) -> None:
        """Rows that were held and released stand as their releases do, see ``protection/releases.py``."""
        held = np.flatnonzero((rows.status == Status.HELD) & (rows.indexes >= 0))
        releases = find_releases(state.snapshot, rows.indexes[held])
        at = held[releases >= 0]
        if len(at):
            rows.indexes[at] = releases[releases >= 0]
            found = self._office.bodies(state.snapshot).rows(rows.indexes[at].tolist())
            rows.status[at] = found["outcome"]

    def _outcomes(self, state: State, indexes: npt.NDArray[np.int64]) -> Outcomes:
        """What became of permits (int64[N], any order)."""
        wanted = indexes.astype(np.uint64)
        return state.ends(self._inboxes(state, wanted), wanted)

    def _inboxes(self, state: State, indexes: Indexes) -> Sequence[Inbox]:
        """The inboxes in which these permits can be."""
        if len(indexes) > FEW_ROWS:
            return state.providers()
        rows = self._office.bodies(state.snapshot).rows(indexes.tolist())
        return [state.inbox(number) for number in np.unique(rows["provider"]).tolist()]

    def _answer(
        self, state: State, rows: _Rows, waiting: npt.NDArray[np.intp], outcomes: Outcomes, now: int
    ) -> Answers:
        shown = outcomes.words * (outcomes.released <= now)
        status, reason = _told(rows, waiting, outcomes, now)
        self._block_own_data(state, rows, status, reason)
        payloads: list[bytes | None] = [None] * len(status)
        provided = status[waiting] == Status.PROVIDED
        if provided.any():
            reader = PayloadReader(state.snapshot, state.periods)
            reader.read(ended_by(shown[provided]), payloads, waiting[provided])
        complete = not np.isin(status, (Status.PENDING, Status.HELD)).any()
        return Answers(status, reason, payloads, bool(complete))

    def _block_own_data(
        self, state: State, rows: _Rows, status: npt.NDArray[np.uint8], reason: npt.NDArray[np.uint8]
    ) -> None:
        """Own data that was answered, however, before its person was flagged NO_SELF there is shown as no data."""
        flagged = self._office.flagged.of(state.snapshot)
        at = np.flatnonzero(np.isin(status, (Status.PROVIDED, Status.EMPTY, Status.REFUSED)))
        if not len(at) or not flagged.has(Flag.NO_SELF):
            return
        bodies = self._office.bodies(state.snapshot)
        first = bodies.read([int(rows.indexes[at[0]])])[0]
        # All rows of a request are of one procedure.
        if not first.chunk.shared[first.decision].procedure.startswith(OWN_DATA):
            return
        found = bodies.rows(rows.indexes[at].tolist())
        persons = current(state.snapshot, np.ascontiguousarray(found["person"]))
        numbers = successions_of(state.snapshot).current(found["provider"].astype(np.uint32))
        blocked = at[flagged.no_self(persons, numbers)]
        status[blocked], reason[blocked] = Status.NO_RECORD, Reason.NONE

    def knows(self, key: bytes) -> bool:
        """Whether there is such a request."""
        return self._office.groups.find(key, self._office.now()) is not None

    def fetched(self, requester: str, key: bytes) -> int:
        """See ``Hub.fetched``."""
        office = self._office
        found = office.groups.find(key, office.now())
        if found is None:
            raise RequestError("request_id: expected one of the last 30 days, got an unknown one")
        name, request, small = found
        with self._exchange.state() as state:
            rows = _read_rows(state, name, key, request, small, 0, request.rows)
            self._follow_released(state, rows)
            at = np.flatnonzero((rows.status == Status.OK) & (rows.indexes >= 0))
            outcomes = self._outcomes(state, rows.indexes[at])
        # What the requester cannot have seen yet stays; neither may the count tell of it.
        seen = (status_of(outcomes.words) == Status.PROVIDED) & (outcomes.released <= office.now())
        provided = ended_by(outcomes.words[seen])
        if len(provided):
            with office.store.commit() as commit:
                forget_payloads(commit, office.periods, np.sort(provided))
        return len(provided)


def _told(
    rows: _Rows, waiting: npt.NDArray[np.intp], outcomes: Outcomes, now: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Statuses and reasons as the log tells the requester of them."""
    shown = outcomes.words * (outcomes.released <= now)
    status = rows.status.copy()
    reason = rows.reason.copy()
    status[status == Status.OK] = Status.PENDING
    status[waiting] = np.where(shown == 0, np.uint8(Status.PENDING), status_of(shown))
    reason[waiting] = reason_of(shown)
    return status, reason


def _read_rows(
    state: State, name: str, key: bytes, request: Request, small: bytes | None, first: int, end: int
) -> _Rows:
    """Rows ``first`` to before ``end`` of a request.

    Raises:
        RequestError: some of its chunks are not durable yet. StorageError: what is stored is damaged.
    """
    n = end - first
    rows = _Rows(np.empty(n, np.uint8), np.empty(n, np.uint8), np.full(n, -1, np.int64))
    reasons = np.array(request.reason or [int(Reason.NONE)], dtype=np.uint8)
    for chunk in range(first // request.chunk_rows, -(-end // request.chunk_rows)):
        body = chunk_state(state.snapshot, name, key, request, chunk) if small is None else small
        if body is None:
            raise RequestError("request_id: expected a request that is complete, got one under way: send it again")
        start, count = chunk * request.chunk_rows, (len(body) - 8) // 5
        low, high = max(first, start), min(end, start + count)
        at, out = slice(low - start, high - start), slice(low - first, high - first)
        stored = np.frombuffer(body, np.uint8, count, 8)[at]
        decision = np.frombuffer(body, np.uint16, count, 8 + count)[at]
        position = np.frombuffer(body, np.uint16, count, 8 + 3 * count)[at].astype(np.int64)
        if len(decision) and int(decision.max()) >= len(reasons):
            raise StorageError("request: expected decisions of its table, got others")
        rows.status[out] = stored & (0xFF ^ NO_RECORD_BIT)
        rows.reason[out] = reasons[decision]
        base = int.from_bytes(body[:8], "little")
        rows.indexes[out] = np.where(stored & NO_RECORD_BIT, -1, position + base)
    return rows
