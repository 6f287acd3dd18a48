"""The institution's own copy of the records (情報提供等記録): what it asked and was told, and what it answered.

Values are sealed, numbers in keys big endian, in values little endian:

| database | key | value |
|---|---|---|
| ``requests`` | 16 bytes, ``request_key`` of the hub's ``requests/state.py`` | MessagePack array :class:`Asked` |
| ``asked`` | the same, u32 chunk | n x 16 bytes of alias, n x u32 provider's number, as asked; 65,536 rows a chunk |
| ``told`` | the same, u32 chunk, u32 number | n x u8 status, n x u8 reason, see below |
| ``answered`` | u64 number, 0 | u32 n, u32 0, n x u64 permit, n x 16 bytes of alias, n x u8 outcome, n x u8 reason |
| | u64 number, 1 | i64 time of the hub's receipt: the answers are given |

In ``told`` 0 is how the inquiry was answered, 1 and up how the answers were read later, where something had changed.

What is written stays, but for lines of ``answered`` that the hub did not take or keeps for a clerk.

The rows stand in ``asked`` before the hub is asked, and in ``answered`` before it is answered: if the process dies in
between, what is there without a status or a receipt says what was under way. The same inquiry made again completes it,
and ``Agency.answer`` begins with what has no receipt: the hub says which of it was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.agency.store import AgencyStore, Reader
from hub.errors import RequestError, StorageError
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Aliases, Status
from hub.requests.state import request_key

REQUESTS, ASKED, TOLD, ANSWERED = "requests", "asked", "told", "answered"
CHUNKS_PER_COMMIT = 16
LINES, RECEIPT = b"\0", b"\1"

Bytes = npt.NDArray[np.uint8]


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """A request of the institution; received_at by the hub's receipt, 0 = it has not answered yet."""

    request_id: str
    procedure: str
    items: tuple[str, ...]
    role: str | None
    section: str
    rows: int
    received_at: int


class AskedByHand(NamedTuple):
    """One question of a clerk's about one person, and what the hub answered at once.

    Attributes:
        alias: 16 bytes. provider: code. received_at: by the hub's receipt, seconds since 1970.
    """

    request_id: str
    procedure: str
    items: tuple[str, ...]
    role: str | None
    section: str
    alias: bytes
    provider: str
    received_at: int
    status: int
    reason: int

    def __repr__(self) -> str:
        return "AskedByHand()"


class AskedRows(NamedTuple):
    """Rows of a request, one chunk of them.

    Attributes:
        first: place of the first in the request. aliases: uint8[N, 16]. providers: uint32[N].
        status, reason: uint8[N], as the inquiry was answered; told, told_reason: as it was told last. All four are None
            where no answer was written.
    """

    first: int
    aliases: Aliases
    providers: npt.NDArray[np.uint32]
    status: Bytes | None
    reason: Bytes | None
    told: Bytes | None
    told_reason: Bytes | None

    def __repr__(self) -> str:
        return f"AskedRows({len(self.aliases)})"


class AnsweredRows(NamedTuple):
    """Permits that the institution answered in one go.

    Attributes:
        number: of the go. permits: uint64[N]. aliases: uint8[N, 16]. outcomes, reasons: uint8[N].
        given_at: time of the receipt; None where none was written.
    """

    number: int
    permits: npt.NDArray[np.uint64]
    aliases: Aliases
    outcomes: Bytes
    reasons: Bytes
    given_at: int | None

    def __repr__(self) -> str:
        return f"AnsweredRows({len(self.permits)})"


class OwnCopy:
    """Writes and reads the copy."""

    def __init__(self, store: AgencyStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        return "OwnCopy()"

    # -- as requester

    def begin(self, asked: Asked, aliases: Aliases, providers: npt.NDArray[np.uint32]) -> tuple[bytes, bool]:
        """Write what is about to be asked, unless it stands there already.

        Returns:
            the request's key, and whether nothing of it was there before.

        Raises:
            RequestError: other rows were begun under this request id.
        """
        key = request_key(self._store.institution, asked.request_id)
        chunks = -(-asked.rows // ROWS_PER_CHUNK)

        def body_of(chunk: int) -> bytes:
            rows = slice(chunk * ROWS_PER_CHUNK, (chunk + 1) * ROWS_PER_CHUNK)
            return aliases[rows].tobytes() + providers[rows].astype("<u4").tobytes()

        with self._store.read() as reader:
            is_known = reader.get(REQUESTS, key) is not None
            done = 0
            for place, value in reader.items(ASKED, key, _behind(key)):
                if done >= chunks or place != _part(key, done) or value != body_of(done):
                    raise RequestError("request_id: expected the rows that it was first used with, got others")
                done += 1
        if is_known and done != chunks:
            raise RequestError("request_id: expected the rows that it was first used with, got others")
        for first in range(done, chunks, CHUNKS_PER_COMMIT):
            with self._store.commit() as commit:
                for chunk in range(first, min(first + CHUNKS_PER_COMMIT, chunks)):
                    commit.put_sealed(ASKED, _part(key, chunk), body_of(chunk))
        return key, not done and not is_known

    def forget(self, key: bytes) -> None:
        """Remove a request that the hub did not take."""
        with self._store.commit() as commit:
            with self._store.read() as reader:
                keys = [bytes(one) for one in reader.keys(ASKED, key, _behind(key))]
            for one in keys:
                commit.delete(ASKED, one)

    def told(self, key: bytes, asked: Asked, first: int, status: Bytes, reason: Bytes, *, begun: bool) -> None:
        """Write how rows from ``first`` (the first of a chunk) on stand; ``begun``: as the inquiry was answered."""
        chunks = list(range(first // ROWS_PER_CHUNK, -(-(first + len(status)) // ROWS_PER_CHUNK)))
        for at in range(0, len(chunks), CHUNKS_PER_COMMIT):
            some = chunks[at : at + CHUNKS_PER_COMMIT]
            with self._store.read() as reader:
                before = {chunk: _last_told(reader, key, chunk) for chunk in some}
            with self._store.commit() as commit:
                for chunk in some:
                    low = chunk * ROWS_PER_CHUNK - first
                    body = status[low : low + ROWS_PER_CHUNK].tobytes() + reason[low : low + ROWS_PER_CHUNK].tobytes()
                    number, last = before[chunk]
                    if body != last and not (begun and number):
                        commit.put_sealed(TOLD, _part(key, chunk) + number.to_bytes(4, "big"), body)
                if begun and some[-1] == chunks[-1]:
                    commit.put_sealed(REQUESTS, key, msgspec.msgpack.encode(asked))

    def find(self, request_id: str) -> tuple[bytes, Asked]:
        """The key of a request of the copy, and what was asked.

        Raises:
            RequestError: the copy has none of this id whose inquiry was answered.
        """
        key = request_key(self._store.institution, request_id)
        with self._store.read() as reader:
            value = reader.get(REQUESTS, key)
        if value is None:
            raise RequestError("request_id: expected one of the own copy that is complete, got another: inquire again")
        return key, msgspec.msgpack.decode(value, type=Asked)

    def close(self, key: bytes, asked: Asked) -> None:
        """Write a request without rows."""
        with self._store.commit() as commit:
            commit.put_sealed(REQUESTS, key, msgspec.msgpack.encode(asked))

    # -- as provider

    def intend(
        self, permits: npt.NDArray[np.uint64], aliases: Aliases, outcomes: Bytes, reasons: Bytes
    ) -> int:
        """Write what is about to be answered; returns its number."""
        with self._store.commit() as commit:
            number = self._last_answered(commit.txn, commit.databases[ANSWERED]) + 1
            head = len(permits).to_bytes(8, "little")
            body = head + b"".join(
                (permits.astype("<u8").tobytes(), aliases.tobytes(), outcomes.tobytes(), reasons.tobytes())
            )
            commit.put_sealed(ANSWERED, number.to_bytes(8, "big") + LINES, body)
        return number

    def given(self, number: int, at: int) -> None:
        """Write that the hub took all of them."""
        with self._store.commit() as commit:
            commit.put_sealed(ANSWERED, number.to_bytes(8, "big") + RECEIPT, at.to_bytes(8, "little", signed=True))

    def settle(self, rows: AnsweredRows, kept: npt.NDArray[np.bool_], at: int) -> None:
        """Write that the hub took some of them: the others were never answered, and go."""
        key = rows.number.to_bytes(8, "big")
        with self._store.commit() as commit:
            if not kept.any():
                commit.delete(ANSWERED, key + LINES)
                return
            if not kept.all():
                body = int(kept.sum()).to_bytes(8, "little") + b"".join(
                    column[kept].tobytes() for column in (rows.permits, rows.aliases, rows.outcomes, rows.reasons)
                )
                commit.put_sealed(ANSWERED, key + LINES, body)
            commit.put_sealed(ANSWERED, key + RECEIPT, at.to_bytes(8, "little", signed=True))

    def turn(self, rows: AnsweredRows, hit: npt.NDArray[np.bool_]) -> None:
        """Write that the hub keeps some answers for a clerk to decide."""
        outcomes = np.where(hit, np.uint8(Status.MANUAL), rows.outcomes)
        reasons = np.where(hit, np.uint8(0), rows.reasons)
        body = len(outcomes).to_bytes(8, "little") + b"".join(
            column.tobytes() for column in (rows.permits, rows.aliases, outcomes, reasons)
        )
        with self._store.commit() as commit:
            commit.put_sealed(ANSWERED, rows.number.to_bytes(8, "big") + LINES, body)

    def last_number(self) -> int:
        """The number of the last go; 0 = there was none."""
        with self._store.read() as reader:
            return int.from_bytes((reader.last_key(ANSWERED) or b"")[:8], "big")

    def read(self, number: int) -> AnsweredRows | None:
        """What was answered in a go; None where nothing of it was taken."""
        with self._store.read() as reader:
            if reader.get(ANSWERED, number.to_bytes(8, "big") + LINES) is None:
                return None
            return _answered_rows(reader, number)

    def _last_answered(self, txn: object, database: object) -> int:
        with txn.cursor(db=database) as cursor:  # type: ignore[attr-defined]
            return int.from_bytes(bytes(cursor.key())[:8], "big") if cursor.last() else 0

    def open_goes(self) -> list[AnsweredRows]:
        """What was about to be answered and has no receipt."""
        with self._store.read() as reader:
            keys = {bytes(key) for key in reader.keys(ANSWERED)}
            numbers = sorted(key[:8] for key in keys if key[8:] == LINES and key[:8] + RECEIPT not in keys)
            return [_answered_rows(reader, int.from_bytes(number, "big")) for number in numbers]


# -- read


def read_requests(reader: Reader) -> Iterator[tuple[bytes, Asked | None]]:
    """The requests by key; None where the hub's answer was not written."""
    known = {key: msgspec.msgpack.decode(value, type=Asked) for key, value in reader.items(REQUESTS)}
    begun = {bytes(key[:16]) for key in reader.keys(ASKED)}
    for key in sorted(begun | known.keys()):
        yield key, known.get(key)


def read_asked(reader: Reader, key: bytes) -> Iterator[AskedRows]:
    """The rows of a request, chunk by chunk.

    Raises:
        StorageError: a chunk is damaged or missing.
    """
    for number, (place, body) in enumerate(reader.items(ASKED, key, _behind(key))):
        n = len(body) // 20
        if place != _part(key, number) or len(body) != 20 * n:
            raise StorageError(f"{ASKED}: expected the chunks of a request, one is missing")
        told = [value for _, value in reader.items(TOLD, place, _behind(place))]
        if any(len(value) != 2 * n for value in told):
            raise StorageError(f"{TOLD}: expected a status for each row, got another number")
        columns = [np.frombuffer(value, np.uint8).reshape(2, n) for value in (told[:1] + told[-1:])]
        first, last = columns if columns else ((None, None), (None, None))
        yield AskedRows(
            number * ROWS_PER_CHUNK, np.frombuffer(body, np.uint8, 16 * n).reshape(n, 16),
            np.frombuffer(body, "<u4", n, 16 * n).astype(np.uint32, copy=False), first[0], first[1], last[0], last[1],
        )  # fmt: skip


def read_answered(reader: Reader) -> Iterator[AnsweredRows]:
    """Everything that was answered, or about to be."""
    for key in reader.keys(ANSWERED):
        if key[8:] == LINES:
            yield _answered_rows(reader, int.from_bytes(key[:8], "big"))


def _answered_rows(reader: Reader, number: int) -> AnsweredRows:
    key = number.to_bytes(8, "big")
    body = reader.get(ANSWERED, key + LINES) or b""
    n = int.from_bytes(body[:8], "little")
    if len(body) != 8 + 26 * n:
        raise StorageError(f"{ANSWERED}: expected {8 + 26 * n} bytes, got {len(body)}")
    receipt = reader.get(ANSWERED, key + RECEIPT)
    return AnsweredRows(
        number, np.frombuffer(body, "<u8", n, 8), np.frombuffer(body, np.uint8, 16 * n, 8 + 8 * n).reshape(n, 16),
        np.frombuffer(body, np.uint8, n, 8 + 24 * n), np.frombuffer(body, np.uint8, n, 8 + 25 * n),
        None if receipt is None else int.from_bytes(receipt, "little", signed=True),
    )  # fmt: skip


def is_final(status: Bytes) -> npt.NDArray[np.bool_]:
    """bool[N]: whether a status is what a permit ended with."""
    return np.isin(status, (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED, Status.LAPSED))


def _last_told(reader: Reader, key: bytes, chunk: int) -> tuple[int, bytes | None]:
    """The number of the next value of a chunk, and the last one."""
    place = _part(key, chunk)
    values = list(reader.keys(TOLD, place, _behind(place)))
    return len(values), (reader.get(TOLD, values[-1]) if values else None)


def _part(key: bytes, chunk: int) -> bytes:
    return key + chunk.to_bytes(4, "big")


def _behind(key: bytes) -> bytes:
    """A key behind all those that begin with this one and are not much longer."""
    return key + b"\xff" * 16
