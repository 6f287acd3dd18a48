"""Stage 6 of 6: a person -> their history, newest first, each record with its proof. Reads only."""

from __future__ import annotations

import datetime as dt
import hmac
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub import _bodies, _hash
from hub._bodies import Body
from hub.catalog import Catalog
from hub.catalog.moments import bound_of
from hub.errors import RequestError
from hub.history import find_all_records
from hub.limits import HISTORY_LIMIT_MAX
from hub.messages import History, Kind, Record, Status, parties_of
from hub.persons.merges import Lives
from hub.protection.marks import Visibility
from hub.records.bodies import Bodies, Chunk
from hub.records.log import Log
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.tlog.proof import Proof

RECORDS_AT_A_TIME = 32
"""Records are looked at in multiples of so many, shown or not, and the same steps are taken for each."""

_FIRST = (1 << 63) - 1
_KINDS: dict[int, Kind] = {int(kind): kind for kind in Kind}
_STATUSES: dict[int, Status] = {int(status): status for status in Status}
"""A member by its number takes five times as long from its enum."""
_PERSON = struct.Struct(">I")


def disclose_history(
    snapshot: Snapshot,
    bodies: Bodies,
    catalog: Catalog,
    keys: Keys,
    periods: PeriodKeys,
    person: int,
    *,
    since: dt.datetime | dt.date | None,
    until: dt.datetime | dt.date | None,
    institution: str | None,
    procedure: str | None,
    limit: int,
    cursor: str | None,
    prove: Callable[[list[Body], list[Record]], list[Proof]],
    visibility: Visibility,
    disclosure: str,
    lives: Lives,
    catalog_of: Callable[[str], Catalog],
    leave_out: frozenset[int] = frozenset(),
    kind: Kind | None = None,
) -> History:
    """A page of a person's records.

    Args:
        person: their number now; whoever was merged into them is shown with them. lives: who that is.
        since, until: since <= requested_at < until; a date means the day in Japan, ``until`` the whole of it.
        institution: only records that it asked for or was asked in. procedure: only this one.
        cursor: of the page before; stays valid while records are added.
        prove: called when a proof of the page is first asked for.
        visibility: which records may be shown, of the same snapshot. disclosure: token of this page.
        catalog_of: the law as it was held when a record was made, by its digest.
        leave_out: kinds of records that are not shown.
        kind: only records of this kind that reached whom they were for.

    Raises:
        RequestError: limit, cursor, institution or procedure is not of this history or catalog.
    """
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise RequestError(f"limit: expected 1 to {HISTORY_LIMIT_MAX}, got {type(limit).__name__}")
    if not 1 <= limit <= HISTORY_LIMIT_MAX:
        raise RequestError(f"limit: expected 1 to {HISTORY_LIMIT_MAX}, got another number")
    first, end = bound_of(since, end_of_day=False), bound_of(until, end_of_day=True)
    number = None if institution is None else catalog.institution(institution).number
    if procedure is not None:
        catalog.procedure(procedure)
    filtered = not all(given is None for given in (first, end, procedure, number, kind))
    below = _FIRST if cursor is None else _read_cursor(keys, lives.members(person), cursor)
    found: list[Body] = []
    for batch in find_all_records(
        snapshot,
        bodies,
        periods,
        lives.sources(person),
        below,
        since=_finite(first),
        until=_finite(end),
        batch=-(-(limit + 1) // RECORDS_AT_A_TIME) * RECORDS_AT_A_TIME,
    ):
        for one, root in zip(batch, visibility.roots(batch), strict=True):
            if root is None or one.kind in leave_out:
                continue
            if not filtered:
                found.append(one)
                continue
            requested_at = one.chunk.fields.times[one.decision][0]
            # A resumed inquiry keeps the time of its first chunk, so an older record may stand behind a newer one.
            if (
                (first is not None and requested_at < first)
                or (end is not None and requested_at >= end)
                or (procedure is not None and one.chunk.shared[one.decision].procedure != procedure)
                or (number is not None and not _is_of(institution, number, (one, root)))
                or (kind is not None and (one.kind, one.outcome) != (kind, Status.OK))
            ):
                continue
            found.append(one)
        if len(found) > limit:
            break
    more, found = len(found) > limit, found[:limit]
    records = [_record(catalog, catalog_of, one) for one in found]
    after = write_cursor(keys, person, records[-1].index) if more else None
    return History(records, after, lambda: prove(found, records), disclosure)


def _is_of(institution: str | None, number: int, records: Sequence[Body]) -> bool:
    """Whether an institution asked or was asked in a record, or in the one whose correction it is about."""
    return any(
        one.provider == number or one.chunk.shared[one.decision].requester == institution
        for one in records
    )


def prove_records(
    log: Log, snapshot: Snapshot, bodies: Bodies, keys: Keys, found: list[Body], records: list[Record]
) -> list[Proof]:
    """The proofs of some records, each with the disclosure key of its own person, against the latest checkpoint.

    Raises:
        StorageError: what is stored does not lead to the signed root.
        BusyError: a record is so new that no checkpoint covers it yet.
    """
    if not found:
        return []
    salts = bodies.salts(found)
    # One row each, with its own shared fields: their decisions are numbered anew.
    rows = _bodies.rows_of(found, True)
    committed, leaves = np.empty((len(found), 48), np.uint8), np.empty((len(found), 32), np.uint8)
    _hash.hash_records(
        salts,
        keys.disclosure_keys(np.array([one.person for one in found], np.uint32)),
        rows,
        np.frombuffer(b"".join([one.chunk.shared.hash_of(one.decision) for one in found]), np.uint8).reshape(-1, 32),
        np.array([one.chunk.fields.times[one.decision] for one in found], dtype=np.int64),
        committed=committed,
        leaves=leaves,
    )
    checkpoint, paths = log.prove(snapshot, [one.index for one in found], leaves)
    return [
        Proof(
            one.index,
            path,
            checkpoint=checkpoint,
            record=record,
            salt=salt,
            shared=one.chunk.fields.shared[one.decision],
            row=row,
            leaf=leaf,
        )
        for one, path, record, salt, row, leaf in zip(
            found, paths, records, _pieces(salts), _pieces(committed), _pieces(leaves), strict=True
        )
    ]


def _pieces(column: npt.NDArray[np.uint8]) -> list[bytes]:
    """uint8[N, k] -> N times k bytes."""
    whole, each = column.tobytes(), column.shape[1]
    return [whole[at : at + each] for at in range(0, len(whole), each)]


def _finite(moment: float | None) -> float | None:
    """A moment that a stored time can be compared with."""
    return None if moment is None else min(max(moment, -(2.0**62)), 2.0**62)


class _Told(NamedTuple):
    """What all records of a decision have in common for people to read.

    Attributes:
        common: fields of :class:`hub.Record`. names: the law as it was held then, which knows what bodies were called.
    """

    requester: str
    common: dict[str, Any]
    names: Catalog


def _told(catalog_of: Callable[[str], Catalog], chunk: Chunk, decision: int) -> _Told:
    found: _Told | None = chunk.shared.told.get(decision)
    if found is None:
        shared = chunk.shared[decision]
        requested_at, provided_at = chunk.fields.times[decision]
        common = {
            "requested_at": dt.datetime.fromtimestamp(requested_at, dt.UTC),
            "provided_at": dt.datetime.fromtimestamp(provided_at, dt.UTC) if provided_at else None,
            "on_behalf_of": shared.on_behalf_of,
            "procedure": shared.procedure,
            "items": shared.items,
            "role": shared.role,
            "section": shared.section,
            "legal_basis": shared.legal_basis,
            "inquiry": shared.inquiry.hex(),
            "remark": shared.remark,
        }
        found = chunk.shared.told[decision] = _Told(shared.requester, common, catalog_of(shared.catalog))
    return found


def _record(catalog: Catalog, catalog_of: Callable[[str], Catalog], one: Body) -> Record:
    requester, common, names = _told(catalog_of, one.chunk, one.decision)
    kind, outcome = one.kind, one.outcome
    gives, receives = parties_of(kind, catalog.code_by_number(one.provider), requester)
    return Record(
        kind=_KINDS.get(kind) or Kind(kind),
        requester=receives,
        provider=gives,
        outcome=_STATUSES[outcome] if outcome in _STATUSES else Status(outcome),
        index=one.index,
        link=one.link,
        requester_name=names.name_of(receives),
        provider_name=names.name_of(gives),
        **common,
    )


def write_cursor(keys: Keys, person: int, index: int) -> str:
    """The cursor behind which a person's records below an index stand."""
    body = index.to_bytes(8, "big")
    return (body + keys.cursor_tag(_PERSON.pack(person) + body)).hex()


def _read_cursor(keys: Keys, persons: Sequence[int], cursor: str) -> int:
    try:
        raw = bytes.fromhex(cursor)
    except (ValueError, TypeError):
        raw = b""
    tags = [keys.cursor_tag(_PERSON.pack(person) + raw[:8]) for person in persons]
    if len(raw) != 16 or not any(hmac.compare_digest(tag, raw[8:]) for tag in tags):
        raise RequestError("cursor: expected one that this history gave, got another")
    return int.from_bytes(raw[:8], "big")
