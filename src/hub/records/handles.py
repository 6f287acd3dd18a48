"""Handles: by what an institution names a record that it is a party to, without learning where it stands in the log.

``(request_id, row)`` is the requester's own, for as long as request ids are kept. The others are 18 bytes:

| at | type | what |
|---|---|---|
| 0 | u16 | number of the institution that it was made for, little endian |
| 2 | 16 | AES-256 of (u64 index, u32 that number, u32 0), little endian, under HMAC-SHA-256(key, u16 number) |

with key = HMAC-SHA-256(``identifiers.key``, "hub/own/handles/1"). Eight of the bytes are known, so that nobody makes
one up; another institution's handle of the same record says nothing beside it, so two parties cannot join their records
by handles. For the same reason a provider never acts by (request id, row): what changes would tell whose row is whose.
"""

from __future__ import annotations

import datetime as dt
import hmac
import struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub._bodies import Body
from hub.catalog import Catalog
from hub.errors import RequestError
from hub.messages import Kind, Status, parties_of
from hub.records.bodies import Bodies
from hub.records.permits import PermitNumbers
from hub.requests.groups import RequestGroups
from hub.requests.state import chunk_state, record_of_row, request_key
from hub.storage.keys import Keys
from hub.store import Store
from hub.tlog.entry import Shared

HANDLE_BYTES = 18
REQUESTER, PROVIDER = 1, 2
"""The sides of a record."""

QUESTIONS = (int(Kind.INQUIRY), int(Kind.RELEASE))
"""Kinds of records by which a provider is asked."""

CORRECTABLE = (*QUESTIONS, int(Kind.PUSH), int(Kind.NOTICE))
"""Kinds of records whose correction may be asked for."""

MARKED = (*CORRECTABLE, int(Kind.MISLINK), int(Kind.COUNTER_VIEW))
"""Kinds of records that have marks of their own."""

_BLOCK = struct.Struct("<QII")

_NOT_REACHED = {
    Status.UNKNOWN_ALIAS,
    Status.REVOKED,
    Status.NO_ALIAS_AT_PROVIDER,
    Status.DENIED,
    Status.DENIED_ASSESSMENT,
    Status.DENIED_CONSENT,
    Status.DENIED_LIMITED,
    Status.HELD,
}
"""Outcomes of which the provider never heard: it is no party to such a record, and must not learn of it here."""

_REACHED = np.ones(256, dtype=np.bool_)
_REACHED[list(_NOT_REACHED)] = False


class Stood(msgspec.Struct, frozen=True):
    """One record as it stands in the log; never leaves the hub.

    Attributes:
        index, person, kind, outcome, link: see ``bodies.py``; link is the index of the record it follows, or None.
        provider: institution number, 0 where the row named a class and nobody of it was asked.
        period: whose keys it is under. requested_at, provided_at: seconds since 1970.
        by_class: whether its inquiry named classes.
    """

    index: int
    person: int
    kind: int
    outcome: int
    link: int | None
    provider: int
    period: int
    requested_at: int
    provided_at: int
    shared: Shared
    by_class: bool = False

    def __repr__(self) -> str:
        return f"Stood(index={self.index})"


class PartyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record as a party to it sees it: no place in the log, nothing of the other side's alias.

    Attributes:
        alias: the institution's own alias of the person, 16 bytes; zeros where it has none any more.
        provider: its code; empty in an inquiry that named classes, but for the provider itself.
        withheld: whether this institution's own mark withholds it; the other side's is never told.
        others: as in :class:`hub.Record`.
    """

    alias: bytes
    kind: Kind
    requested_at: dt.datetime
    provided_at: dt.datetime | None
    requester: str
    on_behalf_of: str | None
    provider: str
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    legal_basis: str
    outcome: Status
    withheld: bool

    def __repr__(self) -> str:
        return f"PartyRecord({self.kind.name})"


def stood(body: Body) -> Stood:
    """A record that was read, decoded."""
    chunk, decision = body.chunk, body.decision
    requested_at, provided_at = chunk.fields.times[decision]
    return Stood(
        index=body.index,
        person=body.person,
        kind=body.kind,
        outcome=body.outcome,
        link=body.link,
        provider=body.provider,
        period=chunk.period,
        requested_at=requested_at,
        provided_at=provided_at,
        shared=chunk.shared[decision],
        by_class=chunk.by_class(decision),
    )


def read_stood(bodies: Bodies, index: int) -> Stood:
    """Read one record.

    Raises:
        StorageError: there is none, it is damaged, or its period's key is gone.
    """
    return stood(bodies.read([index])[0])


def provider_is_party(record: Stood) -> bool:
    """Whether the question reached the provider; 0 is none, of a class nobody of which was asked.

    The portal is none either: a notice is the person's.
    """
    return record.provider != 0 and record.outcome not in _NOT_REACHED and record.kind != Kind.NOTICE


def reached(outcomes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool[N]: :func:`provider_is_party` of many outcomes."""
    return _REACHED.take(outcomes)


def sides_of(catalog: Catalog, record: Stood, *numbers: int) -> list[int]:
    """The sides on which an institution is a party to a record; several numbers: also as those that it succeeded."""
    sides = [REQUESTER] if catalog.institution(record.shared.requester).number in numbers else []
    return sides + [PROVIDER] * (record.provider in numbers and provider_is_party(record))


def tell(catalog: Catalog, record: Stood, number: int, alias: bytes, *, withheld: bool) -> PartyRecord:
    """A record for the party to it with this number.

    Whoever asked a class is not told here which body holds the person: it would tell, of a protected one, where. Nor is
    who pushed something told whether the receiver knows the person.
    """
    shared = record.shared
    told = record.provider == number or not record.by_class
    outcome = Status(record.outcome)
    if record.kind in (Kind.PUSH, Kind.UPDATE) and outcome == Status.NO_ALIAS_AT_PROVIDER:
        outcome = Status.OK
    gives, receives = parties_of(record.kind, catalog.code_by_number(record.provider), shared.requester)
    return PartyRecord(
        alias=alias,
        kind=Kind(record.kind),
        requested_at=dt.datetime.fromtimestamp(record.requested_at, dt.UTC),
        provided_at=dt.datetime.fromtimestamp(record.provided_at, dt.UTC) if record.provided_at else None,
        requester=receives,
        on_behalf_of=shared.on_behalf_of,
        provider=gives if told else "",
        procedure=shared.procedure,
        items=shared.items,
        role=shared.role,
        section=shared.section,
        legal_basis=shared.legal_basis,
        outcome=outcome,
        withheld=withheld,
    )



def make_handle(keys: Keys, number: int, index: int) -> bytes:
    """The handle of a record for one institution; always the same."""
    return number.to_bytes(2, "little") + _cipher(keys, number).encryptor().update(_BLOCK.pack(index, number, 0))


def read_handle(keys: Keys, handle: bytes) -> tuple[int, int]:
    """(institution number, index) of a handle.

    Raises:
        RequestError: this hub has not made it.
    """
    if len(handle) == HANDLE_BYTES:
        number = int.from_bytes(handle[:2], "little")
        index, own, zero = _BLOCK.unpack(_cipher(keys, number).decryptor().update(bytes(handle[2:])))
        if own == number and zero == 0:
            return number, index
    raise RequestError("handle: expected one that this hub gave, got another")


def _cipher(keys: Keys, number: int) -> Cipher[modes.ECB]:
    key = hmac.digest(keys.derive("handles"), number.to_bytes(2, "little"), "sha256")
    return Cipher(algorithms.AES(key), modes.ECB())


def find_handle(
    store: Store,
    groups: RequestGroups,
    catalog: Catalog,
    now: int,
    handle: Any,
    institution: str | None,
    requester: str | None,
) -> tuple[str, int]:
    """The institution that acts and the index that it names.

    Args:
        handle: ``(request_id, row)``, row counted from 0; bytes of :func:`make_handle`; or a permit's number.
        institution: who acts; may lack where the handle says it, which a permit does not. requester: whose request id
            it is.

    Raises:
        RequestError: it names no record, or one of another institution.
    """
    if isinstance(handle, bytes | bytearray):
        number, index = read_handle(store.keys, bytes(handle))
        owner = catalog.institution_by_number(number).code
        if institution is not None and catalog.institution(institution).code != owner:
            raise RequestError("handle: expected one of this institution, got another's")
        return owner, index
    if isinstance(handle, int | np.integer) and not isinstance(handle, bool) and 0 <= int(handle) < 1 << 64:
        if institution is None:
            raise RequestError("institution: expected the provider whose permit it is, got none")
        body = catalog.institution(institution)
        permit = np.array([int(handle)], dtype=np.uint64)
        return body.code, int(PermitNumbers(store.keys).index(body.number, permit)[0])
    if not isinstance(handle, tuple) or len(handle) != 2 or not isinstance(handle[0], str):
        raise RequestError(f"handle: expected (request_id, row), bytes or a permit, got {type(handle).__name__}")
    request_id, row = handle
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise RequestError(f"handle: expected a row, counted from 0, got {type(row).__name__}")
    owner = _owner(groups, catalog, now, request_id, requester if requester is not None else institution)
    if institution is not None and institution != owner:
        raise RequestError("handle: expected the requester's own request id, got another's: use one of h.handles")
    return owner, _find_row(store, groups, now, request_key(owner, request_id), int(row))


def _owner(groups: RequestGroups, catalog: Catalog, now: int, request_id: str, requester: str | None) -> str:
    if requester is not None:
        return catalog.institution(requester).code
    codes = {request_key(body.code, request_id): body.code for body in catalog.institutions()}
    found = groups.find_keys(list(codes), now)
    if len(found) > 1:
        raise RequestError("handle: expected requester= with an id that several institutions used, got none")
    if not found:
        raise RequestError("handle: expected a request id of the last 30 days, got an unknown one")
    return codes[found[0]]


def _find_row(store: Store, groups: RequestGroups, now: int, key: bytes, row: int) -> int:
    found = groups.find(key, now)
    if found is None:
        raise RequestError("handle: expected a request id of the last 30 days, got an unknown one")
    name, request, state = found
    if not 0 <= row < request.rows:
        raise RequestError(f"handle: expected a row from 0 to {request.rows - 1}, got another")
    chunk, place = divmod(row, request.chunk_rows)
    if state is None:
        with store.snapshot() as snapshot:
            state = chunk_state(snapshot, name, key, request, chunk)
    if state is None:
        raise RequestError("handle: expected a row that is recorded, got one that is not yet")
    index = record_of_row(state, place)
    if index is None:
        raise RequestError("handle: expected a row with a record, got one whose alias was unknown")
    return index
