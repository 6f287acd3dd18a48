"""Stage 4 of 6: decisions and resolutions -> durable records, one transaction a chunk.

Chunk of records: one value in ``records`` under the u64 index (big endian) of its first record, little endian inside:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 of bytes 8 to 64 |
| 8 | u64 | xxh3-64 of the value from byte 64 on |
| 16 | u32 | magic, "HRC1" |
| 20 | u32 | n, records in it, 1 to 65,536 |
| 24 | u64 | index of the first, the same as the key |
| 32 | i64 | when the hub received the inquiry, seconds since 1970 |
| 40 | u32 | s, bytes of the shared fields |
| 44 | 20 | 0 |
| 64 | s | shared fields, MessagePack array, see :class:`Shared` |
| next multiple of 8 | n x u64 | person key, ascending: first half of AES-256(records key, person as u32, zeros) |
| | n x u32 | person check: the next four bytes of the same |
| | n x u16 | provider, institution number |
| | n x u16 | decision: entry of the shared fields' decisions |
| | n x u8 | outcome, a ``Status`` |

Records of a chunk stand in person-key order: their order says nothing about the requester's rows.

Request: in the database of the day (``requests.<day>``) under SHA-256("hub/request-id/1", requester, 0, id)[:16] and
u32 part. Part 0 is :class:`Request`, MessagePack; part k + 1 is chunk k: n x u8 status, n x u16 decision, n x u16
position in its chunk of records (little endian). A status has bit 7 set where the row has no record: an unknown alias
leaves no trace of a person.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub import _core
from hub.aliases import NOBODY
from hub.authorise import Decided
from hub.catalog import DecisionTable
from hub.decode import Batch
from hub.errors import RequestError, StorageError
from hub.keys import Keys
from hub.limits import REQUEST_DAYS, ROWS_PER_CHUNK
from hub.messages import Kind, Status
from hub.resolve import Resolution
from hub.sealed import unseal
from hub.snapshot import Commit, Snapshot
from hub.store import Store

MAGIC = 0x31435248  # "HRC1"
HEAD = struct.Struct("<QQIIQqI20x")
HEAD_BYTES = 64
ROW_BYTES = 17
NO_RECORD_BIT = 0x80
POINTS_ROWS_MAX = 256
"""Records of a chunk up to this size are entered one by one for histories; larger chunks are searched themselves."""

_DAY_S = 86_400


class Shared(msgspec.Struct, array_like=True, frozen=True):
    """What all records of a chunk have in common.

    Attributes:
        kind: ``Kind``. inquiry: 8 random bytes, the same in all chunks of an inquiry.
        catalog: SHA-256 of the catalog that decided, hex.
        rule, reason, legal_basis: of each decision.
        cases: a case number for each record, in record order, or None.
    """

    kind: int
    inquiry: bytes
    requester: str
    on_behalf_of: str | None
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    operator: str | None
    reference_date: str | None
    catalog: str
    rule: list[int]
    reason: list[int]
    legal_basis: list[str]
    cases: list[str | None] | None


class Request(msgspec.Struct, array_like=True, frozen=True):
    """What is known about a request id.

    Attributes:
        digest: SHA-256 of the inquiry and its rows.
        rows, chunk_rows: its length, and the length of all its chunks but the last.
        received_at: by the hub's clock; the law of this moment decides all its chunks.
        inquiry: the inquiry's name in records. catalog: hex digest of the catalog that decides.
        status, rule, reason: the decision table.
    """

    digest: bytes
    rows: int
    chunk_rows: int
    received_at: int
    inquiry: bytes
    catalog: str
    status: list[int]
    rule: list[int]
    reason: list[int]

    @property
    def chunks(self) -> int:
        """Chunks that the request has when it is complete."""
        return -(-self.rows // self.chunk_rows)


class Prepared(NamedTuple):
    """A chunk, ready to be written but for its place in the log.

    Attributes:
        number: which chunk of the request. value: the records' value, head still empty, or None if there are none.
        rows: records in it. keys: their person keys, uint8[rows, 12].
        state: the request's part. status: uint8[N] as answered. tables_commit: what it was resolved from.
    """

    number: int
    value: npt.NDArray[np.uint8] | None
    rows: int
    keys: npt.NDArray[np.uint8]
    state: bytes
    status: npt.NDArray[np.uint8]
    tables_commit: int


# -- requests


def request_key(requester: str, request_id: str) -> bytes:
    """The 16 bytes under which a request is kept; another requester's same id is another request."""
    return hashlib.sha256(b"hub/request-id/1" + requester.encode() + b"\0" + request_id.encode()).digest()[:16]


def new_request(batch: Batch, table: DecisionTable, received_at: int, catalog_digest: str) -> Request:
    """A request that has not been seen before."""
    return Request(
        digest=batch.digest,
        rows=len(batch),
        chunk_rows=ROWS_PER_CHUNK,
        received_at=received_at,
        inquiry=os.urandom(8),
        catalog=catalog_digest,
        status=table.status.tolist(),
        rule=table.rule.tolist(),
        reason=table.reason.tolist(),
    )


def find_request(store: Store, key: bytes, now: int) -> tuple[str, Request] | None:
    """The day's database and the state of a request of the last 30 days, or None."""
    today = now // _DAY_S
    # Tomorrow as well: the clock may have been set back.
    days = [day for day in store.request_days() if today - REQUEST_DAYS <= day <= today + 1]
    names = [name for day in days if (name := store.request_database(day, create=False)) is not None]
    with store.snapshot() as snapshot:
        for name in names:
            value = snapshot.get(name, key + bytes(4))
            if value is not None:
                return name, msgspec.msgpack.decode(unseal(name, key + bytes(4), value), type=Request)
    return None


def forget_old_requests(store: Store, now: int) -> None:
    """Drop the databases of days whose request ids have expired, each as a whole."""
    for day in sorted(store.request_days()):
        if day < now // _DAY_S - REQUEST_DAYS:
            store.drop_request_database(day)


def chunk_state(snapshot: Snapshot, name: str, key: bytes, request: Request, chunk: int) -> bytes | None:
    """The stored part of one chunk, checked, or None if it is not done."""
    part = key + (chunk + 1).to_bytes(4, "big")
    value = snapshot.get(name, part)
    if value is None:
        return None
    body = unseal(name, part, value)
    rows = min(request.chunk_rows, request.rows - chunk * request.chunk_rows)
    if len(body) != 5 * rows:
        raise StorageError(f"request: expected {5 * rows} bytes in chunk {chunk}, got {len(body)}")
    return body


def chunks_done(snapshot: Snapshot, name: str, key: bytes, request: Request) -> list[bool]:
    """Which chunks of a request are durable."""
    return [snapshot.get(name, key + (chunk + 1).to_bytes(4, "big")) is not None for chunk in range(request.chunks)]


# -- records


def rows_of(request: Request, chunk: int) -> slice:
    """The rows of the batch that a chunk holds."""
    return slice(chunk * request.chunk_rows, min(request.rows, (chunk + 1) * request.chunk_rows))


def prepare_chunk(
    batch: Batch, request: Request, decided: Decided, resolution: Resolution, chunk: int, keys: Keys
) -> Prepared:
    """Order a chunk's records by person key and lay them out. Needs no lock and no transaction."""
    rows = rows_of(request, chunk)
    decision = decided.decision[rows]
    status = decided.table.status.take(decision)
    np.copyto(status, resolution.status, where=status == Status.OK)
    known = np.flatnonzero(resolution.persons != NOBODY)
    person_keys = keys.person_keys(resolution.persons[known])
    order = _core.order_by_key(np.ascontiguousarray(person_keys.view(np.uint64)[:, 0]))
    place = known[order]
    stored = status | NO_RECORD_BIT
    stored[known] = status[known]
    position = np.zeros(len(status), dtype=np.uint16)
    position[place] = np.arange(len(place), dtype=np.uint16)
    state = b"".join((stored.tobytes(), decision.tobytes(), position.tobytes()))
    value = None
    ordered = person_keys[order]
    if len(place):
        cases = None if batch.cases is None else [batch.cases[rows.start + row] for row in place.tolist()]
        shared = msgspec.msgpack.encode(_shared_fields(batch, request, decided.table, cases))
        value = _lay_out(shared, ordered, batch.providers[rows][place], decision[place], status[place])
    return Prepared(chunk, value, len(place), ordered[:, :12], state, status, resolution.tables_commit)


def _shared_fields(batch: Batch, request: Request, table: DecisionTable, cases: list[str | None] | None) -> Shared:
    inquiry = batch.inquiry
    return Shared(
        kind=Kind.INQUIRY,
        inquiry=request.inquiry,
        requester=inquiry.requester,
        on_behalf_of=table.on_behalf_of,
        procedure=inquiry.procedure,
        items=tuple(table.items),
        role=table.role,
        section=inquiry.section,
        operator=inquiry.operator,
        reference_date=None if inquiry.reference_date is None else inquiry.reference_date.isoformat(),
        catalog=request.catalog,
        rule=request.rule,
        reason=request.reason,
        legal_basis=list(table.legal_basis),
        cases=cases,
    )


def _lay_out(
    shared: bytes,
    person_keys: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    decision: npt.NDArray[np.uint16],
    outcome: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    n, start = len(person_keys), columns_at(len(shared))
    value = np.zeros(start + ROW_BYTES * n, dtype=np.uint8)
    value[HEAD_BYTES : HEAD_BYTES + len(shared)] = np.frombuffer(shared, dtype=np.uint8)
    words = person_keys.view(np.uint32)
    value[start : start + 8 * n].view(np.uint64)[:] = person_keys.view(np.uint64)[:, 0]
    value[start + 8 * n : start + 12 * n].view(np.uint32)[:] = words[:, 2]
    value[start + 12 * n : start + 14 * n].view(np.uint16)[:] = providers
    value[start + 14 * n : start + 16 * n].view(np.uint16)[:] = decision
    value[start + 16 * n :] = outcome
    body_sum = xxhash.xxh3_64_intdigest(value[HEAD_BYTES:].data)
    HEAD.pack_into(value.data, 0, 0, body_sum, MAGIC, n, 0, 0, len(shared))
    return value


def columns_at(shared_bytes: int) -> int:
    """Where the columns of a chunk begin."""
    return HEAD_BYTES + (shared_bytes + 7) // 8 * 8


def write_chunk(commit: Commit, name: str, key: bytes, request: Request, chunk: Prepared) -> None:
    """Put a prepared chunk into the transaction: its records, its request's state, the counters."""
    state = commit.state
    part = key + (chunk.number + 1).to_bytes(4, "big")
    if commit.txn.get(part, db=commit.databases[name]) is not None:
        # It is there already: an interrupt came between its commit and its caller's notice of it.
        return
    if chunk.number == 0:
        commit.put_sealed(name, key + bytes(4), msgspec.msgpack.encode(request))
    commit.put_sealed(name, part, chunk.state)
    if chunk.value is not None:
        first = state.records.to_bytes(8, "big")
        view = chunk.value.data
        _, body, magic, rows, _, _, shared = HEAD.unpack_from(view)
        HEAD.pack_into(view, 0, 0, body, magic, rows, state.records, request.received_at, shared)
        struct.pack_into("<Q", view, 0, xxhash.xxh3_64_intdigest(view[8:HEAD_BYTES]))
        commit.put("records", first, chunk.value.data)
        if chunk.rows > POINTS_ROWS_MAX:
            commit.put_sealed("bulk", first, chunk.rows.to_bytes(4, "little"))
        else:
            for position in range(chunk.rows):
                index = (state.records + position).to_bytes(8, "big")
                commit.put("points", chunk.keys[position].tobytes() + index, b"")
        state.records += chunk.rows
        state.time = max(state.time, request.received_at)


def check_request(request: Request, batch: Batch) -> None:
    """A request id that was used before must come with the same inquiry and rows.

    Raises:
        RequestError: it comes with others; nothing was changed.
    """
    if request.digest != batch.digest:
        raise RequestError("request_id: expected the inquiry and rows that it was first used with, got others")
