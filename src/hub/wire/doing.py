"""Methods of the Hub that are not simply called, such as those whose results come in parts."""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hub.errors import HubError, RequestError
from hub.hub import Hub
from hub.limits import ARRIVED_ROWS, ARRIVED_ROWS_MAX, WIRE_ANSWERS_BYTES, WIRE_ANSWERS_ROWS_MAX, WIRE_COPY_ROWS
from hub.limits import WIRE_ANSWERS_STEP_ROWS as STEP
from hub.messages import Answers, Arrivals, History
from hub.methods.copies import AnsweredCopy, AskedCopy
from hub.wire import results as r
from hub.wire.copying import SomeCopy


def answers(h: Hub, requester: str, request_id: str, first: int, limit: int | None) -> r.SomeAnswers:
    """A reply's worth of answers: whoever wants more calls again."""
    rows = h.status(requester, request_id).rows
    if not 0 <= first <= rows or (limit is not None and limit < 0):
        # As the embedded hub says it.
        h.answers(requester, request_id, first=first, limit=limit)
    end = rows if limit is None else min(rows, first + limit)
    begin, size, found = first, 0, []
    while True:
        some = h.answers(requester, request_id, first=begin, limit=min(STEP, end - begin))
        found.append(some)
        begin += len(some)
        size += sum(len(one) for one in some.payloads if one is not None)
        if begin >= end or begin - first + STEP > WIRE_ANSWERS_ROWS_MAX or size >= WIRE_ANSWERS_BYTES:
            return r.SomeAnswers(join_answers(found), begin < end)


def join_answers(found: list[Answers]) -> Answers:
    """Answers to neighbouring rows as one."""
    if len(found) == 1:
        return found[0]
    return Answers(
        np.concatenate([one.status for one in found]),
        np.concatenate([one.reason for one in found]),
        [payload for one in found for payload in one.payloads],
        all(one.complete for one in found),
    )


_PAGES_MAX = 10
"""Pages behind the first one in which records are looked for that were on it a moment ago."""


def _show(read: Callable[..., History], proofs: list[int] | None, cursor: str | None) -> r.ShownHistory:
    """A page; or of records of a page (indexes) the proofs, as far as they are shown now."""
    page = read(cursor=cursor)
    if proofs is None:
        return r.ShownHistory(page, [])
    wanted, found = list(dict.fromkeys(proofs)), {}
    shown = page
    for _ in range(_PAGES_MAX):
        for place, record in enumerate(shown.records):
            if record.index in wanted:
                found[record.index] = shown.proof(place)
        if len(found) == len(wanted) or shown.cursor is None:
            break
        # New records have come before it since.
        shown = read(cursor=shown.cursor)
    if len(found) < len(wanted):
        raise RequestError("proof: expected records of this history, got one that it no longer shows: ask for it again")
    made = [found[index] for index in wanted]
    return r.ShownHistory(History([one.record for one in made], page.cursor, lambda: made, page.disclosure), made)


def history(h: Hub, proofs: list[int] | None, cursor: str | None, **words: Any) -> r.ShownHistory:
    begun = time.monotonic()
    try:
        shown = _show(functools.partial(h.page_of, **words), proofs, cursor)
    except HubError:
        # That there is no page leaves when a page would.
        time.sleep(max(0.0, h.leaves_at(begun) - time.monotonic()))
        raise
    return shown._replace(leaves_at=h.leaves_at(begun))


def notices(h: Hub, proofs: list[int] | None, cursor: str | None, **words: Any) -> r.ShownHistory:
    return _show(functools.partial(h.notices, **words), proofs, cursor)


def proxy_history(h: Hub, proofs: list[int] | None, cursor: str | None, **words: Any) -> r.ShownHistory:
    return _show(functools.partial(h.proxy_history, **words), proofs, cursor)


def arrived(h: Hub, institution: str, limit: int, after: str | None) -> list[Arrivals]:
    """A reply's worth at most: of so many rows the data take 268 MB if all of them are as large as they may be."""
    few = limit if not 1 <= limit <= ARRIVED_ROWS_MAX else min(limit, ARRIVED_ROWS)
    return h.arrived(institution, limit=few, after=after)


def ask_alias(h: Hub, requester: str, handle: Any, clerk: str | None) -> None:
    h.check_handle(requester, handle)
    h.ask_alias(handle, requester=requester, clerk=clerk)


def release(h: Hub, requester: str, handle: Any, reason: str, clerk: str) -> bytes:
    h.check_handle(requester, handle)
    return h.release(handle, reason, clerk=clerk, requester=requester)


def catalog(h: Hub) -> Any:
    return h.catalog


def verifier_key(h: Hub) -> str:
    return h.verifier_key


# -- copies

_ASKED, _ANSWERED = struct.Struct(">16sI"), struct.Struct(">Q")


def copy(h: Hub, institution: str, role: str, since: Any, until: Any, after: bytes | None) -> SomeCopy:
    """A reply's worth of an institution's copy, behind a place in its order; whoever wants more calls again.

    A place is a request and the last row of its part, or a permit's number: what comes in between moves nothing.
    """
    parts: list[AskedCopy | AnsweredCopy] = []
    found = h.copy_of(institution, role=role, since=since, until=until)
    form = _ASKED if role == "requester" else _ANSWERED
    if after is not None and len(after) != form.size:
        raise RequestError(f"after: expected {form.size} bytes of a reply before, got {len(after)}")
    place = None if after is None else form.unpack(after)
    rows = 0
    for part in found:
        behind = _behind(part, place)
        if behind is None:
            continue
        parts.append(behind)
        rows += len(behind.aliases)
        if rows >= WIRE_COPY_ROWS:
            return SomeCopy(parts, _place_of(behind))
    return SomeCopy(parts, None)


def _behind(part: AskedCopy | AnsweredCopy, place: tuple[Any, ...] | None) -> AskedCopy | AnsweredCopy | None:
    if place is None:
        return part
    if isinstance(part, AskedCopy):
        return part if (part.request, part.first) > place else None
    first = int(np.searchsorted(part.permits, np.uint64(place[0]), "right"))
    columns: list[Any] = [values[first:] for values in part]
    return None if first == len(part.permits) else AnsweredCopy(*columns)


def _place_of(part: AskedCopy | AnsweredCopy) -> bytes:
    if isinstance(part, AskedCopy):
        return _ASKED.pack(part.request, part.first)
    return _ANSWERED.pack(int(part.permits[-1]))
