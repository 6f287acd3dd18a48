"""The receiver's side of what is sent unasked: what has arrived, handed out until it is taken.

Arrivals come as permits do: by numbers of the receiver's own, in the order of these, a stretch of the log at a time
(``provision/collect.py``). What is taken ends with a record of kind TAKEN, and its payload goes in the same
transaction; what is not taken in ``limits.ARRIVAL_DAYS`` lapses, with a record of the same kind
(``provision/lapse.py``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError, RowsError
from hub.exchange import Exchange, State
from hub.limits import ARRIVED_ROWS_MAX, ROWS_PER_BATCH_MAX, ROWS_PER_CHUNK
from hub.messages import Arrivals, Arrived, Kind, Receipt, Status
from hub.persons.successions import successions_of
from hub.protection.lately import Lately
from hub.protection.withholding import Office
from hub.provision.collect import Collector
from hub.provision.ends import Ends, append_ends
from hub.provision.inbox import ARRIVALS, PermitRows, status_of
from hub.provision.payloadstore import PayloadReader, forget_payloads
from hub.records.append import order_by_chance
from hub.records.bodies import ROW, Bodies, Chunk, link_of
from hub.records.handles import make_handle
from hub.records.permits import PermitNumbers
from hub.storage.snapshot import Commit
from hub.tlog.entry import decode_shared

FEW = 64
"""Records of one chunk up to which each is read by itself."""

Shared = tuple[Kind, Any, str | None, int]


class Receiver(Collector):
    """Hands out what has arrived in an open hub, and takes the word that it was taken."""

    def __init__(
        self, office: Office, exchange: Exchange, numbers: PermitNumbers, published: Callable[[], None]
    ) -> None:
        super().__init__(office, exchange, numbers)
        self._published = published

    def __repr__(self) -> str:
        return "Receiver()"

    def arrived(self, institution: str, limit: int, after: str | None) -> list[Arrivals]:
        """See ``Hub.arrived``."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= ARRIVED_ROWS_MAX:
            raise RequestError(f"limit: expected 1 to {ARRIVED_ROWS_MAX}, got something else")
        return self.pages(self._box(institution), limit, after, None)

    def _box(self, institution: str) -> int:
        return ARRIVALS + self._office.catalog().institution(institution).number

    def hand_out(
        self,
        state: State,
        provider: int,
        some: tuple[PermitRows, npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.bool_]],
        cursor: str,
        lately: Lately,
    ) -> list[Any]:
        """The arrivals by what they have in common; no order but that of their numbers."""
        rows, numbers, aliases, _ = some
        if not len(numbers):
            return []
        indexes = rows.indexes.astype(np.int64)
        payloads: list[bytes | None] = [None] * len(indexes)
        PayloadReader(state.snapshot, state.periods).read(indexes, payloads, np.arange(len(indexes)))
        chunks, chunk_of, table = _read_rows(self._office.bodies(state.snapshot), indexes)
        known: dict[Shared, int] = {}
        columns = rows.which.astype(np.intp), chunk_of, table["decision"].astype(np.intp), table["kind"].astype(np.intp)
        different, place = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        names_of = np.empty(len(different), np.intp)
        for at, (which, chunk, decision, kind) in enumerate(different.tolist()):
            part = rows.parts[which]
            name = Kind(kind), part.shared, chunks[chunk].shared[decision].remark, part.deadline
            names_of[at] = known.setdefault(name, len(known))
        of_row = names_of[place.reshape(-1)]
        corrects: list[bytes | None] = [None] * len(indexes)
        for at in np.flatnonzero(table["link"].any(axis=1)).tolist():
            corrects[at] = self._corrected(state, provider, table[at])
        used, first = np.unique(of_row, return_index=True)
        names = list(known)
        made = []
        # By the lowest number in each, so that the order of the groups is none of the log's either.
        for group in used[np.argsort(first)].tolist():
            own = np.flatnonzero(of_row == group)
            made.append(
                Arrivals(
                    self._about(names[group]), aliases[own], numbers[own], [payloads[at] for at in own.tolist()],
                    [corrects[at] for at in own.tolist()], names[group][3], cursor,
                )
            )  # fmt: skip
        return made

    def _about(self, name: Shared) -> Arrived:
        kind, raw, event, _ = name
        shared = decode_shared(raw)
        return Arrived(
            kind=kind,
            sender=shared.requester,
            sender_name=self._office.catalog().institution(shared.requester).name,
            on_behalf_of=shared.on_behalf_of,
            procedure=shared.procedure,
            items=shared.items,
            role=shared.role,
            section=shared.section,
            reference_date=None if shared.reference_date is None else dt.date.fromisoformat(shared.reference_date),
            event=event,
            legal_basis=shared.legal_basis,
        )

    def _corrected(self, state: State, box: int, row: np.void) -> bytes | None:
        """The receiver's handle of the record by which it got what an update corrects: its inquiry, or the push."""
        link = link_of(row)
        if link is None:
            return None
        bodies = self._office.bodies(state.snapshot)
        while not bodies.is_erased(link):
            (one,) = bodies.read([link])
            following = one.link
            if following is None or one.kind != Kind.PROVISION:
                number = successions_of(state.snapshot).now(box % ARRIVALS)
                return make_handle(self._office.keys, number, link)
            link = following
        return None

    def taken(self, institution: str, numbers: Any) -> Receipt:
        """See ``Hub.taken``."""
        box = self._box(institution)
        indexes = self._numbers.index(box, decode_numbers(numbers))
        with self._exchange.lock(box):
            now = self._office.now()
            with self._exchange.state() as state:
                seen = state.see(box, indexes)
                if not seen.found.all():
                    raise _unfit("numbers: expected arrivals of this institution, got another", ~seen.found, "unknown")
                before = status_of(seen.outcomes.words)
                fresh = before == 0
                deadlines = np.array([part.deadline for part in seen.parts] or [0], dtype=np.int64)
                late = (fresh & (deadlines[np.where(fresh, seen.which, 0)] <= now)) | (before == Status.LAPSED)
                if late.any():
                    raise _unfit("numbers: expected ones that have not lapsed, got one", late, "lapsed")
                parts = [decode_shared(part.shared) for part in seen.parts]
            rows = np.flatnonzero(fresh)
            if len(rows) > ROWS_PER_CHUNK:
                # Who sees the records' indexes, the portal, must not learn in which part of this order each stands.
                rows = rows[order_by_chance(len(rows))]
            for some in np.array_split(rows, -(-len(rows) // ROWS_PER_CHUNK)) if len(rows) else []:
                ends = Ends(
                    np.full(len(some), box % ARRIVALS, np.uint16), indexes[some], seen.persons[some],
                    seen.which[some], seen.parts, parts, np.full(len(some), Status.PROVIDED, np.uint8),
                    np.zeros(len(some), np.uint8), None, None, Kind.TAKEN, None, None,
                )  # fmt: skip
                append_ends(self._office, ends, self._forget(np.sort(indexes[some]).astype(np.int64)))
        self._published()
        return Receipt(request_id="", rows=len(indexes), received_at=now)

    def taken_all(self, institutions: list[str], numbers: Any) -> Receipt:
        """:meth:`taken`, of an institution and of those that it succeeded, whose arrivals it has as well."""
        given = decode_numbers(numbers)
        which = np.full(len(given), -1, np.intp)
        with self._exchange.state() as state:
            for place, code in enumerate(institutions):
                left = np.flatnonzero(which < 0)
                box = self._box(code)
                found = state.see(box, self._numbers.index(box, given[left])).found
                which[left[found]] = place
        if (which < 0).any():
            raise _unfit("numbers: expected arrivals of this institution, got another", which < 0, "unknown")
        for place in np.unique(which).tolist():
            rows = np.flatnonzero(which == place)
            try:
                self.taken(institutions[place], given[rows])
            except RowsError as error:
                error.rows = rows[error.rows].tolist()
                raise
        return Receipt(request_id="", rows=len(given), received_at=self._office.now())

    def _forget(self, indexes: npt.NDArray[np.int64]) -> Callable[[Commit], None]:
        return lambda commit: forget_payloads(commit, self._office.periods, indexes)


def _read_rows(
    bodies: Bodies, indexes: npt.NDArray[np.int64]
) -> tuple[list[Chunk], npt.NDArray[np.intp], npt.NDArray[np.void]]:
    """Some records, in their order: chunks, intp[N] which of them each stands in, and their rows, ``ROW``[N].

    Of a chunk with many of them all rows are decrypted at once.
    """
    order = np.argsort(indexes)
    ascending = indexes[order]
    table, chunk_of = np.empty(len(indexes), ROW), np.empty(len(indexes), np.intp)
    chunks: list[Chunk] = []
    begin = 0
    while begin < len(ascending):
        chunk = bodies.locate(int(ascending[begin])).chunk
        end = int(np.searchsorted(ascending, chunk.first + chunk.rows))
        own = order[begin:end]
        if end - begin > FEW:
            table[own] = bodies.whole(chunk.first)[1].view(ROW)[ascending[begin:end] - chunk.first, 0]
        else:
            table[own] = bodies.rows(ascending[begin:end].tolist())
        chunk_of[own] = len(chunks)
        chunks.append(chunk)
        begin = end
    return chunks, chunk_of, table


def decode_numbers(numbers: Any) -> npt.NDArray[np.uint64]:
    """Check numbers of arrivals: :class:`Arrivals`, uint64[N] or a list.

    Raises:
        RequestError: something else, or too many.
    """
    found = numbers.number if isinstance(numbers, Arrivals) else numbers
    if isinstance(found, list | tuple) and all(type(one) is int and 0 <= one < 1 << 64 for one in found):
        found = np.array(found, dtype=np.uint64)
    if not isinstance(found, np.ndarray) or found.dtype != np.uint64 or found.ndim != 1:
        raise RequestError(f"numbers: expected hub.Arrivals or uint64[N], got {type(numbers).__name__}")
    if len(found) > ROWS_PER_BATCH_MAX:
        raise RequestError(f"numbers: expected at most {ROWS_PER_BATCH_MAX} rows, got {len(found)}")
    return np.ascontiguousarray(found)


def _unfit(message: str, rows: npt.NDArray[np.bool_], cause: str) -> RowsError:
    places = np.flatnonzero(rows)
    return RowsError(f"{message} in row {places[0]}", rows=places.tolist(), cause=cause)
