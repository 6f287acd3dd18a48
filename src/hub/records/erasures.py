"""Which parts of the log were erased when their time was over, and when the time of a period is over.

``erasures``: key u64 index of the first erased record (big endian), value sealed: MessagePack array

| field | type | what |
|---|---|---|
| 0 version | int | 1 |
| 1 period | int | number of the period |
| 2 first | int | index of the first record, the same as the key |
| 3 end | int | index behind the last |
| 4 recorded | int | index of the record that tells of the erasure |
| 5 begun at | int | hub time, seconds since 1970 |
| 6 done at | int | the same; 0 = under way |
| 7 copied | int | records copied out under legal holds |

An entry is written in the transaction that appends the record of the erasure, before anything is erased; entries, nodes
and checkpoints of the range stay for ever. Periods are erased oldest first, so erased ranges begin at 0 without a gap.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec

from hub.errors import StorageError
from hub.limits import INQUIRY_OPEN_DAYS_MAX, RETENTION_YEARS
from hub.storage.periods import JAPAN_TIME, period_end, period_name
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

RULE = f"{RETENTION_YEARS} years from the last record of an inquiry"

_U64 = Annotated[int, msgspec.Meta(ge=0)]


class Erasure(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One erased range, see the module's table."""

    version: int
    period: _U64
    first: _U64
    end: _U64
    recorded: _U64
    begun_at: int
    done_at: int
    copied: _U64

    @property
    def key(self) -> bytes:
        """Its key in ``erasures``."""
        return self.first.to_bytes(8, "big")

    @property
    def items(self) -> tuple[str, ...]:
        """What the record of the erasure names as its items."""
        return (period_name(self.period), f"records {self.first} to {self.end - 1}", RULE)


def expires_at(period: int) -> int:
    """The moment from which a period's records are erased, seconds since 1970.

    Its last inquiry may stay open for ``INQUIRY_OPEN_DAYS_MAX`` days; seven calendar years later, in Japan's time, none
    of its records has to be kept.
    """
    last = dt.datetime.fromtimestamp(period_end(period), JAPAN_TIME) + dt.timedelta(days=INQUIRY_OPEN_DAYS_MAX)
    return int(years_after(last, RETENTION_YEARS).timestamp())


def years_after(moment: dt.datetime, years: int) -> dt.datetime:
    """The same moment of a later year; 1 March where there is no 29 February, never earlier."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, month=3, day=1)


def put_erasure(commit: Commit, erasure: Erasure) -> None:
    """Write an entry."""
    commit.put_sealed("erasures", erasure.key, msgspec.msgpack.encode(erasure))


def read_erasures(snapshot: Snapshot) -> list[Erasure]:
    """All of them, ascending.

    Raises:
        StorageError: an entry is damaged.
    """
    return [_parse(key, value) for key, value in snapshot.items("erasures", b"")]


def find_erasure(snapshot: Snapshot, index: int) -> Erasure | None:
    """The erasure whose range holds this record, or None.

    Raises:
        StorageError: an entry is damaged.
    """
    found = snapshot.pages.at_or_before(b"erasures", index.to_bytes(8, "big"))
    erasure = None if found is None else _parse(*found)
    return erasure if erasure is not None and index < erasure.end else None


def _parse(key: bytes, value: object) -> Erasure:
    try:
        erasure = msgspec.msgpack.decode(unseal("erasures", key, value), type=Erasure)
    except msgspec.DecodeError as error:
        raise StorageError("erasures: expected an entry, got something else") from error
    if erasure.version != 1 or erasure.key != key or not erasure.first < erasure.end <= erasure.recorded:
        raise StorageError("erasures: expected an entry that agrees with itself, got another")
    return erasure
