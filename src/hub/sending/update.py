"""Updates: an institution corrects what it has provided or pushed, and everybody who received it gets the correction.

Who received it is in the log: the records of the person (or the permit's own end) say which provisions were PROVIDED,
and which pushes were left for a receiver and have not lapsed. An update leaves a record of kind UPDATE for each, which
links to that provision or push, with its procedure, items, role and legal basis; it waits with the receiver as a push
does. Whose request lapsed, or was answered otherwise, received nothing and gets nothing.

All of an update is one transaction, so that it reaches all of them or nobody; under the lock of the institution's
permits, so that nothing is provided between the look and the commit. A push under way at the same time in another
thread may be missed: the data that it carries are of the same sender and moment.

A receiver of a push that does not know the person got nothing, but the sender must not learn that: such a push counts
in everything that the sender is told, and has no record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub._bodies import Body
from hub.aliases import NOBODY
from hub.catalog import Catalog
from hub.decode import decode_aliases
from hub.errors import RequestError, RowsError
from hub.exchange import Exchange, State
from hub.history import GapError, find_all_records
from hub.limits import (
    PAYLOAD_BYTES_MAX,
    PAYLOAD_BYTES_PER_COMMIT_MAX,
    REMARK_CHARS_MAX,
    ROWS_PER_CHUNK,
    UPDATE_ROWS_MAX,
)
from hub.messages import OWN_DATA, Kind, Permits, Status, Update
from hub.persons.merges import current, lives_of
from hub.persons.successions import Successions, find_known_persons, successions_of
from hub.protection.flags import Flagged
from hub.protection.withholding import Office, check_text
from hub.provision.inbox import ended_by, status_of
from hub.records.bodies import pack_link
from hub.records.handles import stood
from hub.records.permits import PermitNumbers
from hub.sending.push import Carrying, check_items, check_sent
from hub.sending.send import Columns, Decisions, Entry, Numbers, Screened, Statuses
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import Shared

_ALONE = Workers(1)
_ALL = (1 << 63) - 1
_AT_A_TIME = 256
_NOTHING = Entry(Status.OK, 0, 0, "", (), "", None, "")
"""What stands for rows without a record: an update has a decision for each of its rows."""


class Received(NamedTuple):
    """Something that a receiver got: the index of the record by which, and what it says.

    Attributes:
        row: of the call. person: as its record numbers them, who may have been merged into another since.
        silent: a push whose receiver does not know the person.
    """

    row: int
    person: int
    receiver: int
    record: int
    shared: Shared
    silent: bool = False

    def __repr__(self) -> str:
        return f"Received(row={self.row})"


class Updating(Carrying):
    """An update, checked; who receives it is found when it is decided."""

    kind = Kind.UPDATE
    chunk_rows = UPDATE_ROWS_MAX

    def __init__(
        self, office: Office, exchange: Exchange, numbers: PermitNumbers, update: Update, permits: Any, payloads: Any
    ) -> None:
        if not isinstance(update, Update):
            raise RequestError(f"update: expected hub.Update, got {type(update).__name__}")
        check_sent(update.section, update.request_id, update.operator, update.confirmed)
        if update.reason is not None:
            check_text("reason", update.reason, REMARK_CHARS_MAX)
        self._office, self._exchange, self._numbers, self._update = office, exchange, numbers, update
        self.store = office.store
        self.number = office.catalog().institution(update.institution).number
        self.sender, self.section, self.request_id = update.institution, update.section, update.request_id
        self.operator = update.operator
        self._permits: npt.NDArray[np.uint64] | None = None
        if isinstance(permits, np.ndarray) and permits.dtype == np.uint8:
            self.aliases = decode_aliases(permits)
            if update.items is None:
                raise RequestError("items: expected those that are corrected, got none")
            check_items(update.items)
        else:
            if update.items is not None:
                raise RequestError("items: expected none with permits, which have their own, got some")
            self._told = _decode_permits(permits)
            self._permits = numbers.index(self.number, self._told)
            self.aliases = np.zeros((len(self._permits), 16), np.uint8)
        if len(self) > UPDATE_ROWS_MAX:
            raise RequestError(f"update: expected at most {UPDATE_ROWS_MAX} rows, got {len(self)}")
        self._given = decode_given(payloads, len(self))
        self._found: list[Received] = []
        self._base = np.zeros(0, np.uint8)
        self._now = np.zeros(0, np.uint32)
        digest = hashlib.sha256(b"hub/update/1" + msgspec.msgpack.encode(update))
        digest.update(len(self).to_bytes(8, "little"))
        digest.update(self.aliases.data if self._permits is None else b"permits" + self._permits.tobytes())
        digest.update(msgspec.msgpack.encode(self._given))
        self.digest = digest.digest()

    def decide(self, catalog: Catalog, at: int) -> Decisions:
        """Find who received it; what each got says on what it rests."""
        try:
            return self._decide(catalog)
        except GapError:
            # Retention may have erased, since this snapshot began, what it still names: once more from the newest one.
            return self._decide(catalog)

    def _decide(self, catalog: Catalog) -> Decisions:
        with self._exchange.state() as state:
            snapshot = state.snapshot
            if self._permits is None:
                self._found, self._base = self._by_alias(snapshot, catalog)
            else:
                self._found = self._by_permit(snapshot, catalog, self._ends(state))
                self._base = np.zeros(len(self), np.uint8)
        if len(self._found) > ROWS_PER_CHUNK:
            raise RequestError(f"update: expected at most {ROWS_PER_CHUNK} receivers in all, got {len(self._found)}")
        self.receivers = np.array([one.receiver for one in self._found], np.uint32)
        self.payloads = [self._payload(catalog, one) for one in self._found]
        if sum(len(one) for one in self.payloads if one is not None) > PAYLOAD_BYTES_PER_COMMIT_MAX:
            raise RequestError(f"payloads: expected at most {PAYLOAD_BYTES_PER_COMMIT_MAX} bytes in all, got more")
        entries = {_NOTHING: 0}
        decision = [entries.setdefault(self._entry(one.shared), len(entries)) for one in self._found]
        return Decisions(list(entries), np.array(decision, np.uint16))

    def _entry(self, shared: Shared) -> Entry:
        return Entry(
            Status.OK, shared.rule, 0, shared.procedure, shared.items, shared.role, shared.on_behalf_of,
            shared.legal_basis, self._update.reason, shared.reference_date,
        )  # fmt: skip

    def _payload(self, catalog: Catalog, one: Received) -> bytes | None:
        given = self._given[one.row]
        if not isinstance(given, dict):
            return given
        code = catalog.institution_by_number(one.receiver).code
        if code not in given:
            raise RequestError(f"payloads: expected one for {code}, got none in row {one.row}")
        return given[code]

    # -- who received it

    def _ends(self, state: State) -> npt.NDArray[np.int64]:
        """int64[N]: the index of the record by which each permit was answered, here or by a body succeeded since."""
        ends = np.full(len(self._told), -1, np.int64)
        for number in (self.number, *successions_of(state.snapshot).olds(self.number)):
            left = np.flatnonzero(ends < 0)
            seen = state.see(number, self._numbers.index(number, self._told[left]))
            answered = seen.found & (status_of(seen.outcomes.words) == Status.PROVIDED)
            ends[left[answered]] = ended_by(seen.outcomes.words)[answered]
        wrong = np.flatnonzero(ends < 0)
        if len(wrong):
            message = "permits: expected ones of this institution that were answered PROVIDED, got another"
            raise RowsError(f"{message} in row {wrong[0]}", rows=wrong.tolist(), cause="answered")
        return ends

    def _by_permit(self, snapshot: Snapshot, catalog: Catalog, ends: npt.NDArray[np.int64]) -> list[Received]:
        bodies = self._office.bodies(snapshot)
        if any(bodies.is_erased(index) for index in ends.tolist()):
            raise RequestError("permits: expected ones whose records are kept, got an older one")
        found, wrong = [], []
        successions = successions_of(snapshot)
        for at, one in enumerate(bodies.read(ends.tolist())):
            shared = one.chunk.shared[one.decision]
            receiver = successions.now(catalog.institution(shared.requester).number)
            if self._owner(snapshot, one) is None:
                wrong.append(at)
                continue
            found.append(Received(at, one.person, receiver, one.index, shared))
        if wrong:
            message = "permits: expected ones whose person is certain, got one of persons who were split"
            raise RowsError(f"{message} in row {wrong[0]}", rows=wrong, cause="split")
        return found

    def _by_alias(self, snapshot: Snapshot, catalog: Catalog) -> tuple[list[Received], Statuses]:
        assert self._update.items is not None
        items = details_of(catalog, self._update.items)
        persons, _, resolved = find_known_persons(snapshot, self.number, self.aliases, _ALONE)
        base = np.where(resolved == Status.OK, np.uint8(Status.NO_RECORD), resolved)
        found: list[Received] = []
        for at, person in enumerate(persons.tolist()):
            if resolved[at] == Status.OK and person != NOBODY:
                found += self._of_person(snapshot, catalog, at, person, items)
        return found, base

    def _of_person(
        self, snapshot: Snapshot, catalog: Catalog, at: int, person: int, items: frozenset[str]
    ) -> list[Received]:
        """What each receiver got last about a person, for each procedure, items, role and reference date."""
        bodies, sources = self._office.bodies(snapshot), lives_of(snapshot).sources(person)
        successions = successions_of(snapshot)
        newest: dict[tuple[Any, ...], Received] = {}
        lapsed: set[int] = set()
        for batch in find_all_records(snapshot, bodies, self._office.periods, sources, _ALL, batch=_AT_A_TIME):
            for one in batch:
                if self._owner(snapshot, one) != person:
                    continue
                if one.kind == Kind.TAKEN and one.outcome == Status.LAPSED:
                    lapsed.add(one.link or 0)
                    continue
                got = self._got(catalog, successions, at, one)
                if got is None or items.isdisjoint(got.shared.items) or got.record in lapsed:
                    continue
                shared = got.shared
                name = got.receiver, shared.procedure, shared.items, shared.role, shared.reference_date
                before = newest.setdefault(name, got)
                if before.silent and not got.silent:
                    # It did not know the person when it was sent the later one.
                    newest[name] = got
        return list(newest.values())

    def _owner(self, snapshot: Snapshot, body: Body) -> int | None:
        """Whom a record is about now, None where that is not who its number says (``persons/merges.py``).

        What two who were merged received as one and is another's by now cannot be corrected: what follows a record has
        its number, and would arrive with the other's alias.
        """
        record = stood(body)
        if record.link is not None:
            record = msgspec.structs.replace(record, index=record.link)
        owner = self._office.owner(snapshot, record)
        return owner if owner == lives_of(snapshot).now(record.person) else None

    def _got(self, catalog: Catalog, successions: Successions, at: int, body: Body) -> Received | None:
        """What a record says that somebody got of this institution, or of one that it succeeded, or None."""
        person, provider, outcome, kind = body.person, body.provider, body.outcome, body.kind
        shared = body.chunk.shared[body.decision]
        requester = catalog.institution(shared.requester).number
        if kind == Kind.PROVISION and outcome == Status.PROVIDED and successions.now(provider) == self.number:
            return Received(at, person, successions.now(requester), body.index, shared)
        sent = outcome in (Status.OK, Status.NO_ALIAS_AT_PROVIDER)
        if kind == Kind.PUSH and successions.now(requester) == self.number and sent:
            return Received(at, person, successions.now(provider), body.index, shared, outcome != Status.OK)
        return None

    # -- what becomes of it

    def row_of(self, place: int) -> int:
        """The row of the call that a receiver's place is of."""
        return self._found[place].row

    def columns(self, snapshot: Snapshot, decisions: Decisions, rows: slice) -> Columns:
        """What was found: a record for each receiver."""
        found = self._found
        n = len(found)
        status = np.array([Status.NO_ALIAS_AT_PROVIDER if one.silent else Status.OK for one in found], np.uint8)
        persons = np.array([one.person for one in found], np.uint32)
        self._now = current(snapshot, persons)
        row = np.array([one.row for one in found], np.intp)
        return Columns(persons, status, self.receivers, decisions.decision, np.arange(n), row, self._base)

    def screen(self, flagged: Flagged, persons: Numbers, status: Statuses) -> Screened:
        """As of a push; own data of persons flagged NO_SELF here go nowhere, and nobody is told."""
        silent = np.array([one.silent for one in self._found], np.bool_)
        own = np.array([one.shared.procedure.startswith(OWN_DATA) for one in self._found], np.bool_)
        # Records follow others by their numbers; flags are of whom these are now.
        blocked = own & flagged.no_self(self._now, self.number)
        screened = self.screen_manual(flagged, self._now, status, confirmed=self._update.confirmed)
        screened.recorded[silent | blocked] = False
        return screened

    def links(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.uint16]:
        """To what each receiver got."""
        links = [pack_link(self._found[place].record) for place in places.tolist()]
        return np.array(links, np.uint16).reshape(-1, 3)


def details_of(catalog: Catalog, items: Any) -> frozenset[str]:
    """The details that items name, kinds or details.

    Raises:
        RequestError: one is no word of the catalog.
    """
    words = check_items(items)
    unknown = next((word for word in words if word not in catalog.item_words), None)
    if unknown is not None:
        raise RequestError(f"items: expected words of the catalog, got {unknown[:40]}")
    return frozenset(words) | frozenset(rule.detail for rule in catalog.rules if rule.kind in words)


def decode_given(payloads: Any, rows: int) -> list[bytes | dict[str, bytes | None] | None]:
    """Check the payloads of an update: of each row bytes, None, or a dict of them by the receiver's code.

    Raises:
        RequestError: another count, or one is something else or too long.
    """
    if not isinstance(payloads, list | tuple):
        raise RequestError(f"payloads: expected a list, got {type(payloads).__name__}")
    if len(payloads) != rows:
        raise RequestError(f"payloads: expected {rows} rows, got {len(payloads)}")
    found: list[bytes | dict[str, bytes | None] | None] = []
    for row, one in enumerate(payloads):
        several = list(one.values()) if isinstance(one, Mapping) else [one]
        if any(each is not None and (type(each) is not bytes or len(each) > PAYLOAD_BYTES_MAX) for each in several):
            raise RequestError(f"payloads: expected at most {PAYLOAD_BYTES_MAX} bytes, got something else in row {row}")
        if isinstance(one, Mapping):
            if not all(isinstance(code, str) for code in one):
                raise RequestError(f"payloads: expected codes of receivers, got something else in row {row}")
            found.append({code: one[code] for code in sorted(one)})
        else:
            found.append(one)
    return found


def _decode_permits(permits: Any) -> npt.NDArray[np.uint64]:
    numbers = permits.permit if isinstance(permits, Permits) else permits
    if isinstance(numbers, list | tuple) and all(type(one) is int and 0 <= one < 1 << 64 for one in numbers):
        numbers = np.array(numbers, dtype=np.uint64)
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.uint64 or numbers.ndim != 1:
        raise RequestError(
            f"permits: expected hub.Permits, uint64[N] or aliases uint8[N, 16], got {type(permits).__name__}"
        )
    return np.ascontiguousarray(numbers)
