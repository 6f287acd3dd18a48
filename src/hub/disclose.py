"""Stage 6 of 6: a person -> their history, newest first. Reads only."""

from __future__ import annotations

import datetime as dt
import hmac

from hub.bodies import Chunk, Chunks
from hub.catalog import Catalog
from hub.catalog.moments import day_starts, ends_at
from hub.errors import RequestError
from hub.history import find_records
from hub.keys import Keys
from hub.limits import HISTORY_LIMIT_MAX
from hub.messages import History, Kind, Record, Status

_FIRST = 1 << 63


def disclose_history(
    chunks: Chunks,
    catalog: Catalog,
    keys: Keys,
    person_key: bytes,
    *,
    since: dt.datetime | dt.date | None,
    until: dt.datetime | dt.date | None,
    institution: str | None,
    procedure: str | None,
    limit: int,
    cursor: str | None,
) -> History:
    """A page of a person's records.

    Args:
        person_key: 12 bytes, see ``Keys.person_keys``.
        since, until: since <= requested_at < until; a date means the day in Japan, ``until`` the whole of it.
        institution: only records that it asked for or was asked in. procedure: only this one.
        cursor: of the page before; stays valid while records are added.

    Raises:
        RequestError: limit, cursor, institution or procedure is not of this history or catalog.
    """
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise RequestError(f"limit: expected 1 to {HISTORY_LIMIT_MAX}, got {type(limit).__name__}")
    if not 1 <= limit <= HISTORY_LIMIT_MAX:
        raise RequestError(f"limit: expected 1 to {HISTORY_LIMIT_MAX}, got another number")
    first, end = _moment(since, end_of_day=False), _moment(until, end_of_day=True)
    number = None if institution is None else catalog.institution(institution).number
    if procedure is not None:
        catalog.procedure(procedure)
    below = _FIRST if cursor is None else _read_cursor(keys, person_key, cursor)
    records: list[Record] = []
    with chunks.snapshot.reading:
        for chunk, position in find_records(chunks, person_key, below):
            # A resumed inquiry keeps the time of its first chunk, so an older record may stand behind a newer one.
            if (
                (first is not None and chunk.received_at < first)
                or (end is not None and chunk.received_at >= end)
                or (procedure is not None and chunk.shared.procedure != procedure)
                or (number is not None and chunk.shared.requester != institution and chunk.provider(position) != number)
            ):
                continue
            if len(records) == limit:
                return History(records, _write_cursor(keys, person_key, records[-1].index))
            records.append(_record(catalog, chunk, position))
    return History(records, None)


def _moment(value: dt.datetime | dt.date | None, *, end_of_day: bool) -> float | None:
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise RequestError("since, until: expected a date or a datetime with its time zone, got one without")
        return value.timestamp()
    if not isinstance(value, dt.date):
        raise RequestError(f"since, until: expected a date or datetime, got {type(value).__name__}")
    return ends_at(value) if end_of_day else day_starts(value)


def _record(catalog: Catalog, chunk: Chunk, position: int) -> Record:
    shared, decision = chunk.shared, chunk.decision(position)
    return Record(
        kind=Kind(shared.kind),
        requested_at=dt.datetime.fromtimestamp(chunk.received_at, dt.UTC),
        provided_at=None,
        requester=shared.requester,
        on_behalf_of=shared.on_behalf_of,
        provider=catalog.institution_by_number(chunk.provider(position)).code,
        procedure=shared.procedure,
        items=shared.items,
        role=shared.role,
        section=shared.section,
        legal_basis=shared.legal_basis[decision],
        outcome=Status(chunk.outcome(position)),
        inquiry=shared.inquiry.hex(),
        index=chunk.first + position,
    )


def _write_cursor(keys: Keys, person_key: bytes, index: int) -> str:
    body = index.to_bytes(8, "big")
    return (body + keys.cursor_tag(person_key + body)).hex()


def _read_cursor(keys: Keys, person_key: bytes, cursor: str) -> int:
    try:
        raw = bytes.fromhex(cursor)
    except (ValueError, TypeError):
        raw = b""
    if len(raw) != 16 or not hmac.compare_digest(keys.cursor_tag(person_key + raw[:8]), raw[8:]):
        raise RequestError("cursor: expected one that this history gave, got another")
    return int.from_bytes(raw[:8], "big")
