"""What is kept of each request id for 30 days: what was asked, which chunks are done, the statuses.

What is sent unasked is kept in the same form under keys of its own, see ``sending/send.py``.

Request: in the database of the day (``requests.<day>``) under SHA-256("hub/request-id/1", requester, 0, id)[:16] and
u32 part. Part 0 is :class:`Request`, MessagePack, or of a small request 8 bytes, see ``groups.py``; part k + 1
is chunk k: u64 index of the first record of its chunk of records, n x u8 status, n x u16 decision, n x u16 position in
that chunk (little endian). A status has bit 7 set where the row has no record: an unknown alias leaves no trace of a
person. Part 0xFFFFFFFF is :class:`File`: of a file that is sent in parts, under the whole's id. Part 0x80000000 + k is
there where chunk k has rows of status MULTIPLE: MessagePack, of each of them an array of its row in the chunk and the
numbers of its holders, in the order of the rows (see ``persons/locate.py``).
"""

from __future__ import annotations

import hashlib
import os

import msgspec

from hub.catalog import DecisionTable
from hub.errors import RequestError, StorageError
from hub.limits import REQUEST_DAYS, ROWS_PER_CHUNK, ROWS_PER_CHUNK_BESIDE
from hub.requests.batch import Batch
from hub.requests.several import Entry, Several, decode_several, encode_several
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

NO_RECORD_BIT = 0x80
FILE_PART = b"\xff\xff\xff\xff"
HOLDERS_PART = 0x80000000

_DAY_S = 86_400


class Request(msgspec.Struct, array_like=True, frozen=True):
    """What is known about a request id.

    Attributes:
        digest: SHA-256 of "hub/request/1" ‖ MessagePack [inquiry as a map of its fields, nil or a case number a row] ‖
            u64 rows ‖ rows x 16 bytes of aliases ‖ rows x u32 providers, little endian; where rows have marks ‖ "marks"
            ‖ MessagePack array: nil or a map of ground and until (ISO date) a row; where persons consented ‖ "consents"
            ‖ a bit a row, the first one the least of its byte.
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


class File(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a file that is sent in parts, each a request of its own.

    Attributes:
        digest: SHA-256 of the question and the file.
        rows_max: no more rows than that; when complete, the rows that were sent.
        received_at: when its first part came. complete: whether all its parts are durable.
    """

    digest: bytes
    rows_max: int
    received_at: int
    complete: bool


def request_key(requester: str, request_id: str) -> bytes:
    """The 16 bytes under which a request is kept; another requester's same id is another request."""
    return hashlib.sha256(b"hub/request-id/1" + requester.encode() + b"\0" + request_id.encode()).digest()[:16]


def new_request(
    batch: Batch, table: DecisionTable, received_at: int, catalog_digest: str, *, beside: bool = False
) -> Request:
    """A request that has not been seen before.

    Args:
        beside: whether small ones come at the same time, which are to wait for short chunks only.
    """
    return Request(
        digest=batch.digest,
        rows=len(batch),
        chunk_rows=min(ROWS_PER_CHUNK, ROWS_PER_CHUNK_BESIDE) if beside else ROWS_PER_CHUNK,
        received_at=received_at,
        inquiry=os.urandom(8),
        catalog=catalog_digest,
        status=table.status.tolist(),
        rule=table.rule.tolist(),
        reason=table.reason.tolist(),
    )


def find_file(store: Store, key: bytes, now: int) -> tuple[str, File] | None:
    """The day's database and what is known of a file of the last 30 days, or None."""
    found = _find(store, key + FILE_PART, now)
    return None if found is None else (found[0], msgspec.msgpack.decode(found[1], type=File))


def put_file(commit: Commit, name: str, key: bytes, file: File) -> None:
    """Write what is known of a file."""
    commit.put_sealed(name, key + FILE_PART, msgspec.msgpack.encode(file))


def _find(store: Store, part: bytes, now: int) -> tuple[str, bytes] | None:
    names = request_days(store, now)
    with store.snapshot() as snapshot:
        for name in names:
            value = snapshot.get(name, part)
            if value is not None:
                return name, unseal(name, part, value)
    return None


def request_days(store: Store, now: int) -> list[str]:
    """The databases of the last 30 days."""
    today = now // _DAY_S
    # Tomorrow as well: the clock may have been set back.
    days = [day for day in list(store.request_days()) if today - REQUEST_DAYS <= day <= today + 1]
    return [name for day in days if (name := store.request_database(day, create=False)) is not None]


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
    if len(body) != 8 + 5 * rows:
        raise StorageError(f"request: expected {8 + 5 * rows} bytes in chunk {chunk}, got {len(body)}")
    return body


def put_lists(commit: Commit, name: str, key: bytes, chunk: int, several: Several) -> None:
    """Write the holders of the rows of a chunk that have several, as institution numbers."""
    if len(several.rows):
        commit.put_sealed(name, _lists_part(key, chunk), encode_several(several))


def read_lists(snapshot: Snapshot, name: str, key: bytes, chunk: int) -> list[Entry]:
    """The rows of a chunk that have several holders, in their order.

    Raises:
        StorageError: they are damaged.
    """
    part = _lists_part(key, chunk)
    value = snapshot.get(name, part)
    if value is None:
        return []
    try:
        return decode_several(unseal(name, part, value))
    except msgspec.DecodeError:
        raise StorageError(f"request: expected the holders of chunk {chunk}, got something else") from None


def _lists_part(key: bytes, chunk: int) -> bytes:
    return key + (HOLDERS_PART + chunk).to_bytes(4, "big")


def record_of_row(state: bytes, row: int) -> int | None:
    """Index of the record of one row of a chunk's part, or None where the row has none."""
    rows = (len(state) - 8) // 5
    if state[8 + row] & NO_RECORD_BIT:
        return None
    at = 8 + 3 * rows + 2 * row
    return int.from_bytes(state[:8], "little") + int.from_bytes(state[at : at + 2], "little")


def chunks_done(snapshot: Snapshot, name: str, key: bytes, request: Request) -> list[bool]:
    """Which chunks of a request are durable."""
    return [snapshot.get(name, key + (chunk + 1).to_bytes(4, "big")) is not None for chunk in range(request.chunks)]


def rows_of(request: Request, chunk: int) -> slice:
    """The rows of the batch that a chunk holds."""
    return slice(chunk * request.chunk_rows, min(request.rows, (chunk + 1) * request.chunk_rows))


def check_request(request: Request, batch: Batch) -> None:
    """A request id that was used before must come with the same inquiry and rows.

    Raises:
        RequestError: it comes with others; nothing was changed.
    """
    if request.digest != batch.digest:
        raise RequestError("request_id: expected the inquiry and rows that it was first used with, got others")
