"""The second reader's part for reports of wrong links; from the byte table of ``mislinks/state.py`` alone."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from second_basics import expect, sha256

OK, MISLINK = 0, 21
RECORDED_EVENT, NOTIFIED_EVENT, DRAFTED_EVENT = 59, 60, 61
RECORDED, NOTIFIED = 1, 2


def read_mislinks(reader: Any, name: str) -> None:
    """How reports stand, against their events and records: every record of this kind is of one of them."""
    reader.mislinks = {}
    for key, body in reader.opened(name):
        period, step, zero = struct.unpack_from("<HBB", body)
        expect(step in (RECORDED, NOTIFIED) and zero == 0, "step of a report")
        state = reader.decrypt(name, period, body[4:])
        if state is None:
            continue
        digest, at, institution, request_id, records, shapes, portal, otherwise = state
        own = sha256(b"hub/mislink-id/1", institution.encode(), b"\0", request_id.encode())[:16]
        expect(key == own and len(digest) == 32, "place of a report")
        expect(len(records) == len(shapes) == len(set(records)) and 1 <= len(records) <= 2, "records of a report")
        told = portal + otherwise
        expect(told == (len(records) if step == NOTIFIED else 0) and max(shapes) <= 3, "who was told")
        for index in records:
            record = reader.records[index]
            expect((record["kind"], record["outcome"], record["provider"]) == (MISLINK, OK, 0), "record of a report")
            expect(record["shared"][2] == institution and record["times"] == (at, 0), "whose report")
            expect(record["period"] == period and record["link"] is None, "record by itself")
        people = [reader.records[index]["person"] for index in records]
        expect(len(set(people)) == len(people), "two citizens")
        reader.mislinks[institution, request_id] = step, records, shapes, portal, otherwise


def check_mislinks(reader: Any) -> None:
    """Events and records of reports, each once."""
    stated = {index: state for state in reader.mislinks.values() for index in state[1]}
    made = [index for index, record in enumerate(reader.records) if record is not None and record["kind"] == MISLINK]
    expect(sorted(stated) == made, "a report of each record")
    told = Counter((event[1], event[3]) for event in reader.events if RECORDED_EVENT <= event[3] <= DRAFTED_EVENT)
    expected: Counter[tuple[int, int]] = Counter()
    for step, records, *_ in reader.mislinks.values():
        expected.update((index, RECORDED_EVENT) for index in records)
        if step == NOTIFIED:
            expected.update([(records[0], NOTIFIED_EVENT), (records[0], DRAFTED_EVENT)])
    expect(told == expected, "events of reports")
