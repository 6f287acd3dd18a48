"""A provider's inbox -> its permits, in batches, in an order of the provider's own.

A stretch of the log at a time, sorted by permit number: an order that says nothing about the log's, nor about another
provider's. Stretches end between two chunks: within one, two providers, or one and the portal, would learn in which
part of it a permit stands, and the order of a chunk is that of persons, the same for all of them.

A cursor names the stretch and the last number handed out, encrypted for the provider (AES-256-GCM under own key
"inbox-cursors"): nonce 12 ‖ (u64 first, u64 below, u64 number, little endian) ‖ tag 16, as 104 hex digits. What is in
front of a cursor is handed out again only without it.
"""

from __future__ import annotations

import datetime as dt
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub import _columns
from hub.errors import RequestError
from hub.exchange import Exchange, Open, State
from hub.limits import COLLECT_ROWS_MAX
from hub.messages import PermitInquiry, Permits
from hub.persons.merges import current, lives_of, misplaced
from hub.persons.successions import find_known_aliases, successions_of
from hub.protection.lately import Lately
from hub.protection.withholding import Office
from hub.provision.inbox import ARRIVALS, Part, PermitRows, stretch
from hub.records.permits import PermitNumbers
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import decode_shared

_CURSOR = struct.Struct("<QQQ")
_ALONE = Workers(1)


class _Place:
    """Where a collection stands: permits with first <= index < below, and of those the numbers above ``number``."""

    __slots__ = ("below", "first", "number")

    def __init__(self, first: int, below: int, number: int) -> None:
        self.first, self.below, self.number = first, below, number


def collect_all(
    read: Callable[[str, int, str | None], list[Any]], bodies: list[str], limit: int, after: str | None
) -> list[Any]:
    """What waits for an institution, then what was left with those that it succeeded, by cursors that say whose.

    Args:
        read: of one of the bodies, how many rows, behind which of its cursors.

    Raises:
        RequestError: the cursor is none of this institution's.
    """
    place, behind = 0, after
    if after is not None and isinstance(after, str) and "." in after:
        number, behind = after.split(".", 1)
        place = int(number) if number.isdecimal() and int(number) < len(bodies) else len(bodies)
        if place == len(bodies):
            raise RequestError("after: expected a cursor of this institution's permits, got something else")
    taken: list[Any] = []
    rows = 0
    while place < len(bodies) and (rows < limit or not taken):
        for one in read(bodies[place], max(1, limit - rows), behind):
            if place:
                one.cursor = f"{place}.{one.cursor}"
            taken.append(one)
            rows += len(one)
        place, behind = place + 1, None
    return taken


class Collector:
    """Hands out the permits of an open hub."""

    def __init__(self, office: Office, exchange: Exchange, numbers: PermitNumbers) -> None:
        self._office, self._exchange, self._numbers = office, exchange, numbers
        self._cipher = AESGCM(office.keys.derive("inbox-cursors"))

    def __repr__(self) -> str:
        return "Collector()"

    def collect(self, institution: str, limit: int, after: str | None, manual: bool | None) -> list[Permits]:
        """See ``Hub.collect``."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= COLLECT_ROWS_MAX:
            raise RequestError(f"limit: expected 1 to {COLLECT_ROWS_MAX}, got something else")
        if manual is not None and not isinstance(manual, bool):
            raise RequestError(f"manual: expected True, False or None, got {type(manual).__name__}")
        return self.pages(self._office.catalog().institution(institution).number, limit, after, manual)

    def pages(self, provider: int, limit: int, after: str | None, manual: bool | None) -> list[Any]:
        """What waits in an inbox, see :meth:`collect`."""
        place = _Place(0, 0, 0) if after is None else self._read_cursor(provider, after)
        taken: list[Any] = []
        rows = 0
        with self._exchange.state() as state:
            lately = Lately(self._office, state.snapshot)
            while rows < limit:
                begin = self._cursor(provider, place)
                some = self._next(state, provider, place, limit - rows, manual)
                if some is None:
                    break
                made = self.hand_out(state, provider, some, begin, lately)
                rows += sum(map(len, made))
                if made:
                    # Who has worked through all of a list goes on behind it; who stops in between sees the rest again.
                    made[-1].cursor = self._cursor(provider, place)
                    taken += made
        return taken

    def _next(
        self, state: State, provider: int, place: _Place, limit: int, manual: bool | None
    ) -> tuple[PermitRows, npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """The next permits (in the order of their numbers), numbers, aliases, whether a clerk decides; moves the place.

        None where there are no more."""
        records = state.snapshot.state.records
        inbox = state.inbox(provider)
        if place.first == place.below:
            if place.below >= records:
                return None
            place.number, begin, waiting = 0, place.below, 0
            place.below = records
            for entry in inbox.entries[stretch(inbox.entries["last"], begin, begin)[0] :]:
                waiting += int(entry["open"])
                if waiting >= limit:
                    place.below = _chunk_end(state.snapshot, int(entry["last"]))
                    break
        found = state.between(inbox, place.first, place.below, waiting=True)
        rows, numbers, aliases, by_clerk = self._held(state, provider, found, manual)
        order = _columns.order_by_key(numbers)
        if place.number:
            order = order[int(numbers[order].searchsorted(np.uint64(place.number), side="right")) :]
        if len(order) > limit:
            order = order[:limit]
            place.number = int(numbers[order[-1]])
        else:
            place.first, place.number = place.below, 0
        return (
            PermitRows(rows.indexes[order], rows.persons[order], rows.which[order], rows.parts),
            numbers[order],
            aliases[order],
            by_clerk[order],
        )

    def _held(
        self, state: State, provider: int, found: Open, manual: bool | None
    ) -> tuple[PermitRows, npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Those permits that have not lapsed and of whose person the provider has an alias."""
        rows = found.rows
        now = self._office.now()
        deadlines = np.array([part.deadline for part in rows.parts], dtype=np.int64)
        # The successor of a body is told its own alias of a person first: nobody is told two.
        number = successions_of(state.snapshot).now(provider % ARRIVALS)
        aliases, status = find_known_aliases(state.snapshot, number, current(state.snapshot, rows.persons), _ALONE)
        keep = status == 0
        if len(deadlines):
            keep &= deadlines[rows.which] > now
        lives = lives_of(state.snapshot)
        if lives.any_split:
            requesters = [self._office.number_of(decode_shared(part.shared).requester) for part in rows.parts]
            keep &= ~misplaced(lives, provider % ARRIVALS, rows.indexes, rows.persons, rows.which, requesters)
        by_clerk = self._by_clerk(state, provider, rows)
        if manual is not None:
            keep &= by_clerk == manual
        if not keep.all():
            rows = PermitRows(rows.indexes[keep], rows.persons[keep], rows.which[keep], rows.parts)
            aliases, by_clerk = aliases[keep], by_clerk[keep]
        return rows, self._numbers.number(provider, rows.indexes), aliases, by_clerk

    def _by_clerk(self, state: State, provider: int, rows: PermitRows) -> npt.NDArray[np.bool_]:
        """bool[N]: whether a clerk has to decide."""
        persons = current(state.snapshot, rows.persons)
        flagged = self._office.manual_anywhere(state.snapshot, persons)
        by_clerk = np.zeros(len(rows.indexes), np.bool_) if flagged is None else flagged.copy()
        # A machine must not answer for whom this provider has suspended since the permit was left.
        if provider < ARRIVALS:
            number = successions_of(state.snapshot).now(provider)
            suspended = self._office.flagged.of(state.snapshot).suspended(persons, number)
            if suspended is not None:
                by_clerk |= suspended
        asked = state.manual(provider)
        if asked:
            by_clerk |= np.isin(rows.indexes, np.array(sorted(asked), dtype=np.uint64))
        return by_clerk

    def hand_out(
        self,
        state: State,
        provider: int,
        some: tuple[PermitRows, npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.bool_]],
        cursor: str,
        lately: Lately,
    ) -> list[Any]:
        """The permits by inquiry and deadline; no order but that of their numbers."""
        rows, numbers, aliases, by_clerk = some
        if not len(numbers):
            return []
        known: dict[Part, int] = {}
        names = [known.setdefault(part, len(known)) for part in rows.parts]
        asked = np.zeros(len(numbers), dtype=np.uint16)
        if by_clerk.any():
            requesters: dict[int, str] = {}
            lives = lives_of(state.snapshot)
            for at in np.flatnonzero(by_clerk).tolist():
                which = int(rows.which[at])
                if which not in requesters:
                    requesters[which] = decode_shared(rows.parts[which].shared).requester
                asked[at] = lately.bodies(lives.now(int(rows.persons[at])), requesters[which])
        of_row = np.array(names, dtype=np.uint32)[rows.which] if len(names) else rows.which
        made = []
        # By the lowest number in each, so that the order of the inquiries is none of the log's either.
        if len(known) == 1:
            used, first = np.zeros(1, np.uint32), np.zeros(1, np.intp)
        else:
            used, first = np.unique(of_row, return_index=True)
        parts = list(known)
        for name in used[np.argsort(first)].tolist():
            own = slice(None) if len(known) == 1 else of_row == name
            part = parts[name]
            made.append(
                Permits(
                    self._inquiry(part), aliases[own], numbers[own], by_clerk[own], asked[own], part.deadline, cursor
                )
            )
        return made

    def _inquiry(self, part: Part) -> PermitInquiry:
        shared = decode_shared(part.shared)
        return PermitInquiry(
            requester=shared.requester,
            requester_name=self._office.catalog().institution(shared.requester).name,
            on_behalf_of=shared.on_behalf_of,
            procedure=shared.procedure,
            items=shared.items,
            role=shared.role,
            section=shared.section,
            reference_date=None if shared.reference_date is None else dt.date.fromisoformat(shared.reference_date),
            legal_basis=shared.legal_basis,
        )

    # -- cursors

    def _cursor(self, provider: int, place: _Place) -> str:
        nonce = os.urandom(12)
        plain = _CURSOR.pack(place.first, place.below, place.number)
        return (nonce + self._cipher.encrypt(nonce, plain, provider.to_bytes(4, "big"))).hex()

    def _read_cursor(self, provider: int, text: str) -> _Place:
        try:
            raw = bytes.fromhex(text)
            return _Place(*_CURSOR.unpack(self._cipher.decrypt(raw[:12], raw[12:], provider.to_bytes(4, "big"))))
        except (ValueError, TypeError, InvalidTag, struct.error):
            raise RequestError("after: expected a cursor of this institution's permits, got something else") from None


def _chunk_end(snapshot: Snapshot, index: int) -> int:
    """Where the chunk of a record ends."""
    following = snapshot.items("records", (index + 1).to_bytes(8, "big"), limit=1)
    return int.from_bytes(following[0][0], "big") if following else snapshot.state.records
