"""Pushes: a provision without an inquiry (birth, death, move, income fixed), to receivers that have a rule for it.

The law in force in Japan has no such provision. A push rests on a rule of the operator's own (basis ``own``), shown as
such to the citizen, by which the receiver might ask the sender for the same: procedure x items x role x receiver as
requester x sender as provider, with both sides' assessments, decided by the tables of inquiries with the roles turned
round, once for each receiver. Whatever else a procedure rests on, its rows are DENIED (NOT_OWN).

What the sender is told of a row is whether it may send, and whether its own alias is good; never whether the receiver
knows the person, which only the record says: asking by pushing would be a search. About a person of whom a clerk must
decide at some institution (MANUAL) a machine pushes nothing: the row comes back as MANUAL without a record, for a clerk
of the sender who sends it as ``confirmed``. Then, as in an inquiry, every receiver seems to know that person. So does
a row about a person whose linkage the sender has suspended, as SUSPENDED.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.catalog.decide import DecisionTable
from hub.decode import decode_aliases, decode_providers
from hub.errors import RequestError, RowsError
from hub.limits import (
    ARRIVAL_DAYS,
    ITEMS_PER_INQUIRY_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_BYTES_PER_COMMIT_MAX,
    REQUEST_ID_CHARS_MAX,
    ROWS_PER_CHUNK,
    SECTION_CHARS_MAX,
)
from hub.messages import Inquiry, Kind, Push, Reason, Status
from hub.protection.flags import Flagged
from hub.protection.withholding import check_clerk, check_text
from hub.provision.payloadkeys import read_payload_key
from hub.provision.payloads import check_payloads
from hub.provision.payloadstore import pack_payloads, put_payloads
from hub.records.permits import lapse_time
from hub.sending.send import Decisions, Entry, Numbers, Put, Screened, Sending, Statuses
from hub.storage.periods import PeriodKey
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

OWN = "own"
"""The basis of an operator's own rules."""

Payloads = list[bytes | None]


class Carrying(Sending):
    """A call that carries payloads to institutions."""

    store: Store
    payloads: Payloads | None
    """Of each place, see :class:`Columns`; receivers of these are ``receivers``."""

    def check(self, snapshot: Snapshot) -> None:
        """Where the receiver has a key, what is not sealed to it is refused."""
        if self.payloads is None or not self.payloads:
            return
        order = np.argsort(self.receivers, kind="stable")
        numbers, starts = np.unique(self.receivers[order], return_index=True)
        for number, rows in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            key = read_payload_key(self.store, snapshot, number)
            if key is None:
                continue
            payloads = [self.payloads[row] for row in rows.tolist()]
            if check_payloads(payloads, key) is not None:
                wrong = rows[[check_payloads([one], key) is not None for one in payloads]]
                bad = sorted({self.row_of(place) for place in wrong.tolist()})
                message = f"payloads: expected them sealed to the receiver's key, got another in row {bad[0]}"
                raise RowsError(message, rows=bad, cause="payload")

    def row_of(self, place: int) -> int:
        """The row of the call that a place is of."""
        return place

    def pack(self, key: PeriodKey, places: npt.NDArray[np.intp], status: Statuses, sent_at: int) -> Put:
        """The payloads, of those rows that were sent."""
        packed = None
        if self.payloads is not None:
            pairs = zip(places.tolist(), (status == Status.OK).tolist(), strict=True)
            packed = pack_payloads(key, [self.payloads[place] if sent else None for place, sent in pairs], sent_at)

        def put(commit: Commit, first: int) -> None:
            put_payloads(commit, first, packed)

        return put

    def lapses_at(self, received_at: int) -> int:
        """At the end of a day in Japan."""
        return lapse_time(received_at, ARRIVAL_DAYS)

    def screen_manual(self, flagged: Flagged, persons: Numbers, status: Statuses, *, confirmed: bool) -> Screened:
        """See the module."""
        recorded = np.ones(len(status), np.bool_)
        manual = flagged.manual_anywhere(persons)
        if manual is not None:
            manual &= (status == Status.OK) | (status == Status.NO_ALIAS_AT_PROVIDER)
            status[manual] = Status.OK if confirmed else Status.MANUAL
            if not confirmed:
                recorded[manual] = False
        suspended = None if confirmed else flagged.suspended(persons, self.number)
        if suspended is not None:
            # Whether the receiver knows the person or not, or the row would tell it.
            suspended &= (status == Status.OK) | (status == Status.NO_ALIAS_AT_PROVIDER)
            status[suspended] = Status.SUSPENDED
            recorded[suspended] = False
        told = status.copy()
        told[status == Status.NO_ALIAS_AT_PROVIDER] = Status.OK
        return Screened(status, told, recorded, None)


class Pushing(Carrying):
    """A push, checked."""

    kind = Kind.PUSH

    def __init__(
        self, store: Store, catalog: Catalog, push: Push, aliases: Any, receivers: Any, payloads: Any
    ) -> None:
        if not isinstance(push, Push):
            raise RequestError(f"push: expected hub.Push, got {type(push).__name__}")
        check_sent(push.section, push.request_id, push.operator, push.confirmed)
        check_text("procedure", push.procedure, SECTION_CHARS_MAX)
        if push.event is not None:
            check_text("event", push.event, SECTION_CHARS_MAX)
        self.store, self._push, self._items = store, push, check_items(push.items)
        self.number = catalog.institution(push.institution).number
        self.sender, self.section, self.request_id = push.institution, push.section, push.request_id
        self.operator = push.operator
        self.aliases = decode_aliases(aliases)
        try:
            self.receivers = decode_providers(catalog, receivers, len(self.aliases))
        except RequestError as error:
            raise RequestError(str(error).replace("providers", "receivers", 1)) from None
        wrong = np.flatnonzero((self.receivers == 0) | (self.receivers >= catalog.numbers_end))
        if len(wrong):
            raise RequestError(f"receivers: expected institution numbers, got another in row {wrong[0]}")
        self.payloads = decode_payloads(payloads, len(self.aliases))
        self.chunk_rows = rows_per_chunk(self.payloads)
        digest = hashlib.sha256(b"hub/push/1" + msgspec.msgpack.encode(push))
        digest.update(len(self).to_bytes(8, "little"))
        digest.update(self.aliases.data)
        digest.update(self.receivers.data)
        add_payloads(digest, self.payloads)
        self.digest = digest.digest()

    def decide(self, catalog: Catalog, at: int) -> Decisions:
        """Each receiver once."""
        push = self._push
        own = catalog.procedure(push.procedure).basis == OWN
        numbers, of_row = np.unique(self.receivers, return_inverse=True)
        entries: dict[Entry, int] = {}
        of_receiver = np.empty(len(numbers), np.uint16)
        for place, number in enumerate(numbers.tolist()):
            inquiry = Inquiry(
                requester=catalog.institution_by_number(number).code, procedure=push.procedure, items=self._items,
                section=push.section, request_id=push.request_id, role=push.role,
            )  # fmt: skip
            entry = _entry(catalog.table(inquiry, at), self.number, push.procedure, push.event, own=own)
            of_receiver[place] = entries.setdefault(entry, len(entries))
        return Decisions(list(entries), of_receiver[of_row.reshape(-1)])

    def screen(self, flagged: Flagged, persons: Numbers, status: Statuses) -> Screened:
        """Of whom a clerk must decide nothing is sent until one has confirmed it."""
        return self.screen_manual(flagged, persons, status, confirmed=self._push.confirmed)


def _entry(table: DecisionTable, sender: int, procedure: str, event: str | None, *, own: bool) -> Entry:
    """The decision of what the receiver whose table it is may be sent by this institution."""
    # Nobody has consented to what nobody asked for.
    at = table.without_consent.item(table.of_institution.item(sender))
    status, reason = Status(table.status.item(at)), int(table.reason.item(at))
    if not own:
        status, reason = Status.DENIED, int(Reason.NOT_OWN)
    return Entry(
        status, int(table.rule.item(at)), reason, procedure, tuple(table.items), table.role, table.on_behalf_of,
        table.legal_basis[at], event,
    )  # fmt: skip


def check_sent(section: str, request_id: str, operator: str | None, confirmed: bool) -> None:
    """Check the words that pushes and updates share.

    Raises:
        RequestError: one has the wrong form, or nobody is named who has confirmed.
    """
    check_text("section", section, SECTION_CHARS_MAX)
    check_text("request_id", request_id, REQUEST_ID_CHARS_MAX)
    check_clerk("operator", operator)
    if not isinstance(confirmed, bool):
        raise RequestError(f"confirmed: expected True or False, got {type(confirmed).__name__}")
    if confirmed and operator is None:
        raise RequestError("operator: expected the clerk who has confirmed every row, got none")


def check_items(items: Any) -> tuple[str, ...]:
    """Check items as of an inquiry.

    Raises:
        RequestError: no list, none or too many, or one is no text.
    """
    if isinstance(items, str) or not isinstance(items, list | tuple):
        raise RequestError(f"items: expected a tuple of names, got {type(items).__name__}")
    if not 1 <= len(items) <= ITEMS_PER_INQUIRY_MAX:
        raise RequestError(f"items: expected 1 to {ITEMS_PER_INQUIRY_MAX}, got {len(items)}")
    for item in items:
        check_text("items", item, 200)
    return tuple(items)


def decode_payloads(payloads: Any, rows: int) -> Payloads | None:
    """Check payloads: None, or bytes or None a row.

    Raises:
        RequestError: another count, or one is no bytes or too long.
    """
    if payloads is None:
        return None
    if not isinstance(payloads, list | tuple):
        raise RequestError(f"payloads: expected a list, got {type(payloads).__name__}")
    if len(payloads) != rows:
        raise RequestError(f"payloads: expected {rows} rows, got {len(payloads)}")
    for row, one in enumerate(payloads):
        if one is not None and (type(one) is not bytes or len(one) > PAYLOAD_BYTES_MAX):
            raise RequestError(f"payloads: expected at most {PAYLOAD_BYTES_MAX} bytes, got something else in row {row}")
    return list(payloads)


def rows_per_chunk(payloads: Payloads | None) -> int:
    """Rows of one transaction, whatever payloads it gets."""
    longest = max((len(one) for one in payloads if one is not None), default=0) if payloads is not None else 0
    return min(ROWS_PER_CHUNK, PAYLOAD_BYTES_PER_COMMIT_MAX // max(longest, 1))


def add_payloads(digest: Any, payloads: Payloads | None) -> None:
    """Take payloads into the digest of a call: their lengths, then their bytes."""
    if payloads is None:
        return
    sizes = np.array([-1 if one is None else len(one) for one in payloads], np.int32)
    digest.update(b"payloads" + sizes.tobytes())
    for one in payloads:
        if one is not None:
            digest.update(one)
