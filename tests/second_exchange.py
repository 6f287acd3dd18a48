"""The second reader's part for the exchange: inboxes, payloads, and what the hub tells of them.

Written from the byte tables of ``provision/inbox.py``, ``provision/tail.py``, ``provision/deliver.py``,
``provision/payloadstore.py``, ``records/permits.py``, ``provision/collect.py`` and ``protection/releases.py`` alone;
what is sent unasked waits in the same inboxes. Everything is compared with the records, from which all of it follows.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from second_basics import aes, ctr, expect

INQUIRY, PROVISION, LAPSE, RELEASE, PUSH, UPDATE, TAKEN = 1, 6, 7, 8, 9, 10, 12
ARRIVALS = 65_536
OK, PENDING, PROVIDED, NO_RECORD, REFUSED, LAPSED, HELD = 0, 8, 9, 11, 12, 13, 16
NOT_LOADED = 23
REASONS = {20: "IDENTITY_IN_DOUBT", 21: "UNDER_CORRECTION", 22: "LINKAGE_SUSPENDED"}
MANUAL = 1
REFUSED_EVENT, RELEASED_EVENT = 20, 23
NO_PAYLOAD = 0xFFFFFFFF
DAY_S, JAPAN_S = 86_400, 32_400
PERMIT_DAYS_MAX, DROP_AFTER_S, ASKED_DAYS = 28, 63 * DAY_S, 31
PROMPT_S = 2


def box_of(record: dict[str, Any]) -> int:
    """The inbox of what a record leaves or ends."""
    return record["provider"] + ARRIVALS * (record["kind"] in (PUSH, UPDATE, TAKEN))


def part_of(record: dict[str, Any]) -> tuple[bytes, int, int]:
    """What permits of one inquiry have in common: shared fields, supervised zeros and remark nil, and times."""
    shared = msgspec.msgpack.encode([*record["shared"][:13], bytes(32), None])
    return shared, record["times"][0], record["moment"]


def read_inbox(reader: Any, name: str) -> None:
    """Permits and their ends as the log has them, and up to where it was sorted in."""
    reader.waiting = {
        index: record
        for index, record in enumerate(reader.records)
        if record is not None and record["kind"] in (INQUIRY, RELEASE, PUSH, UPDATE) and record["outcome"] == OK
    }
    reader.ends = {}
    for record in reader.waiting.values():
        asked, until = record["times"][0], record["moment"]
        expect(asked < until <= asked + (PERMIT_DAYS_MAX + 1) * DAY_S, "time of a permit")
        expect((until + JAPAN_S) % DAY_S == 0, "permits lapse at the end of a day in Japan")
    for index, record in enumerate(reader.records):
        if record is not None and record["kind"] in (PROVISION, LAPSE, TAKEN):
            read_end(reader, index, record)
    check_events(reader)
    values = dict(reader.opened(name))
    expect(values.keys() <= {b"delivering", b"delivered"}, "what was delivered")
    reader.delivered = int.from_bytes(values.get(b"delivered", b""), "little")
    reader.delivering = None
    if b"delivering" in values:
        begin, end, provider = struct.unpack("<QQI", values[b"delivering"])
        expect(begin == reader.delivered < end, "stretch that is delivered")
        reader.delivering = end, provider
    firsts = {*reader.chunks, len(reader.records)}
    ends = {reader.delivered, *([reader.delivering[0]] if reader.delivering else [])}
    # Between two chunks.
    expect(ends <= firsts | {0}, "end of what is delivered")


def read_end(reader: Any, index: int, record: dict[str, Any]) -> None:
    """One provision or lapse."""
    link, provided, reason = record["link"], record["times"][1], record["shared"][11]
    expect(link is not None and link < index and link not in reader.ends, "each permit ends once")
    reader.ends[link] = index
    expect(record["shared"][14] is None, "no remark")
    lapsed = record["kind"] == LAPSE or (record["kind"] == TAKEN and record["outcome"] == LAPSED)
    if lapsed:
        expect((record["outcome"], provided, reason, record["moment"]) == (LAPSED, 0, 0, 0), "lapse")
    elif record["kind"] == TAKEN:
        expect((record["outcome"], reason, record["moment"]) == (PROVIDED, 0, 0) and provided > 0, "taken")
    else:
        expect(PROVIDED <= record["outcome"] <= REFUSED, "answer")
        allowed = {REFUSED: tuple(REASONS), NO_RECORD: (0, NOT_LOADED)}
        expect(reason in allowed.get(record["outcome"], (0,)), "reason of an answer")
        late = record["times"][0] + PROMPT_S < provided
        expect(record["moment"] != 0 or not late, "a late answer leaves at a fixed moment")
        expect(record["moment"] == 0 or 0 <= record["moment"] - provided < DAY_S, "moment of an answer")
    if reader.is_erased(link):
        return
    expect(link in reader.waiting, "end of a permit")
    permit = reader.waiting[link]
    expect((permit["kind"] in (PUSH, UPDATE)) == (record["kind"] == TAKEN), "end of another kind")
    same = [record["shared"][:11], record["shared"][12], record["person"], record["provider"], record["times"][0]]
    expect(
        same == [permit["shared"][:11], permit["shared"][12], permit["person"], permit["provider"], permit["times"][0]],
        "end of another's permit",
    )
    if lapsed:
        expect(permit["moment"] <= record["written"], "lapsed too early")
    else:
        expect(permit["times"][0] <= provided < permit["moment"], "answered in time")


def check_events(reader: Any) -> None:
    """Auditors are told of every refusal and every release."""
    refused = [
        (index, record["written"], reader.institutions[record["provider"]], REASONS[record["shared"][11]])
        for index, record in enumerate(reader.records)
        if record is not None and (record["kind"], record["outcome"]) == (PROVISION, REFUSED)
    ]
    told = [(event[1], event[2], event[4], event[7]) for event in reader.events if event[3] == REFUSED_EVENT]
    expect(told == refused, "events of refusals")
    released = [event[1] for event in reader.events if event[3] == RELEASED_EVENT]
    expect(sorted(released) == sorted(reader.released), "events of releases")


def base_of(reader: Any, provider: int) -> int:
    """Everything before this record is in the segments of a provider."""
    if reader.delivering is not None and provider < reader.delivering[1]:
        return reader.delivering[0]
    return reader.delivered


def read_inboxes(reader: Any, name: str) -> None:
    reader.segments = {}
    for key, body in reader.opened(name):
        (provider,), (base,) = struct.unpack(">I", key), struct.unpack_from("<Q", body)
        expect(provider == 0 or provider % ARRIVALS in reader.institutions, "whose inbox")
        expect(provider < 2 * ARRIVALS, "number of an inbox")
        expect(base == base_of(reader, provider), "base of an inbox")
        behind = 0
        for first, last, n, waiting, deadline, asked, released, zero in struct.iter_unpack("<QQIIqqII", body[8:]):
            expect(behind <= first <= last < base and 0 <= waiting <= n and zero == 0 < n, "entry")
            behind = last + 1
            reader.segments[provider, first] = last, n, waiting, deadline, asked, released


def read_permits(reader: Any, name: str) -> None:
    """Segments: (provider, first) -> [(index, part)]."""
    reader.permits = {}
    sorted_in: set[int] = set()
    for key, body in reader.opened(name):
        provider, first = struct.unpack(">IQ", key)
        expect((provider, first) in reader.segments, "a segment of an inbox")
        period, zero, nonce, n, size = struct.unpack_from("<HH12sII", body)
        expect(zero == 0 and len(body) == 24 + size + 10 * n, "segment")
        plain = ctr(reader.period_key(period, "fields"), nonce + bytes(4), body[24:])
        parts = [tuple(part) for part in msgspec.msgpack.decode(plain[:size])]
        offsets = struct.unpack_from(f"<{n}I", plain, size)
        persons = struct.unpack_from(f"<{n}I", plain, size + 4 * n)
        which = struct.unpack_from(f"<{n}H", plain, size + 8 * n)
        expect(sorted(set(which)) == list(range(len(parts))) and len(set(parts)) == len(parts), "parts of a segment")
        expect(offsets[0] == 0 and list(offsets) == sorted(set(offsets)), "order of a segment")
        last, count, *_ = reader.segments[provider, first]
        expect((first + offsets[-1], n) == (last, count), "what an inbox says of a segment")
        rows = [(first + offset, parts[part]) for offset, part in zip(offsets, which, strict=True)]
        for (index, part), person in zip(rows, persons, strict=True):
            sorted_in.add(index)
            if reader.is_erased(index):
                continue
            expect(index in reader.waiting, "permit of a segment")
            record = reader.waiting[index]
            expect((box_of(record), record["person"]) == (provider, person), "whose permit")
            expect(part_of(record) == part, "part of a permit")
        reader.permits[provider, first] = rows
    expect(reader.permits.keys() == reader.segments.keys(), "segments of the inboxes")
    for index, record in reader.waiting.items():
        base = base_of(reader, box_of(record))
        if index < base and index not in sorted_in:
            # Its segment was dropped: everything in it had ended, and was asked long ago.
            expect(reader.ends.get(index, base) < base, "a permit that waits is in a segment")
            expect(record["times"][0] + DROP_AFTER_S < reader.state["time"], "dropped too early")


def read_outcomes(reader: Any, name: str) -> None:
    stored = dict(reader.opened(name))
    for (provider, first), rows in reader.permits.items():
        n = len(rows)
        words, released = [0] * n, [0] * n
        body = stored.pop(struct.pack(">IQ", provider, first), None)
        if body is not None:
            expect(len(body) == 12 * n, "outcomes")
            words, released = list(struct.unpack_from(f"<{n}Q", body)), list(struct.unpack_from(f"<{n}I", body, 8 * n))
            expect(any(words), "outcomes while all are open")
        base = base_of(reader, provider)
        expected = [expected_end(reader, index, base) for index, _ in rows]
        expect(list(zip(words, released, strict=True)) == expected, "outcomes that the log has")
        deadlines = [part[2] for (_, part), word in zip(rows, words, strict=True) if not word]
        asked = max(part[1] for _, part in rows)
        said = len(deadlines), min(deadlines, default=0), asked, max(released)
        expect(reader.segments[provider, first][2:] == said, "what an inbox says of outcomes")
    expect(not stored, "outcomes of a segment")


def expected_end(reader: Any, index: int, base: int) -> tuple[int, int]:
    """The word of a permit and when its requester sees it, as the log before ``base`` has it."""
    end = reader.ends.get(index, base)
    if end >= base:
        return 0, 0
    record = reader.records[end]
    return (end + 1) | record["outcome"] << 48 | record["shared"][11] << 56, record["moment"]


def read_manual(reader: Any, name: str) -> None:
    reader.manual = set()
    for key, body in reader.opened(name):
        provider, index = struct.unpack(">IQ", key)
        (time,) = struct.unpack("<Q", body)
        expect(index in reader.waiting and index not in reader.ends, "a clerk's permit waits")
        record = reader.waiting[index]
        expect(box_of(record) == provider, "a clerk's permit")
        expect(record["times"][0] <= time < record["moment"] and time <= reader.state["time"], "a clerk's time")
        reader.manual.add(index)


def read_payloads(reader: Any, name: str) -> None:
    """Payloads by the record that brought them."""
    reader.payloads = {}
    for key, body in reader.opened(name):
        (first,) = struct.unpack(">Q", key)
        period, zero, nonce, at, n, zero_too = struct.unpack_from("<HH12sqII", body)
        expect(zero == zero_too == 0 and reader.chunks[first] == (n, period), "payloads of a chunk")
        plain = ctr(reader.period_key(period, "fields"), nonce + bytes(4), body[32:])
        place, sizes = 4 * n, struct.unpack_from(f"<{n}I", plain)
        for index, size in enumerate(sizes, first):
            record = reader.records[index]
            sent = record["kind"] in (PUSH, UPDATE)
            expect(record["times"][not sent] == at, "time of payloads")
            if size == NO_PAYLOAD:
                continue
            right = record["outcome"] == OK if sent else (record["kind"], record["outcome"]) == (PROVISION, PROVIDED)
            expect(right, "payload of what was provided")
            reader.payloads[index] = plain[place : place + size]
            place += size
        expect(place == len(plain) and any(size != NO_PAYLOAD for size in sizes), "bytes of payloads")


# -- what the hub tells of it


def permit_number(reader: Any, provider: int, index: int) -> int:
    left, right = index >> 32, index & 0xFFFFFFFF
    for step in range(6):
        block = aes(reader.own_key("permits"), struct.pack("<IIII", provider, step, right, 0))
        left, right = right, left ^ int.from_bytes(block[:4], "little")
    return left << 32 | right


def stands(reader: Any, row: tuple[int, int, int | None], now: int) -> tuple[int, int, bytes | None]:
    """Status, reason and payload of a request's row at a time; the row as ``Reader.answer`` has it."""
    status, reason, index = row
    if status == HELD and index in reader.released:
        index = reader.released[index]
        status = reader.records[index]["outcome"]
    if status != OK:
        return status, reason, None
    end = reader.ends.get(index)
    record = None if end is None else reader.records[end]
    if record is None or record["moment"] > now:
        return PENDING, 0, None
    return record["outcome"], record["shared"][11], reader.payloads.get(end)


def answers(reader: Any, requester: str, request_id: str, now: int) -> dict[str, Any] | None:
    """What the hub says of a request, or None where nothing is kept (any more)."""
    found = reader.answer(requester, request_id)
    if found is None:
        return None
    rows = zip(found["status"], found["reason"], found["records"], strict=True)
    status, reason, payloads = zip(*(stands(reader, row, now) for row in rows), strict=True)
    hexes = [None if one is None else one.hex() for one in payloads]
    complete = not {PENDING, HELD} & set(status)
    return {"status": list(status), "reason": list(reason), "payloads": hexes, "complete": complete}


def collected(reader: Any, institution: str, now: int) -> list[dict[str, Any]]:
    """What waits for an institution, by inquiry, in the order of its own numbers."""
    provider = reader.numbers[institution]
    aliases = reader.tables[provider, 1]
    by_part: dict[tuple[bytes, int, int], list[tuple[int, int, dict[str, Any]]]] = {}
    for index, record in reader.waiting.items():
        known = struct.pack("<I", record["person"]) in aliases
        if box_of(record) == provider and index not in reader.ends and record["moment"] > now and known:
            row = permit_number(reader, provider, index), index, record
            by_part.setdefault(part_of(record), []).append(row)
    found = []
    manual = {person for (person, _), flags in reader.flagged.items() if flags & MANUAL}
    for part, rows in sorted(by_part.items(), key=lambda item: min(item[1])[0]):
        rows.sort(key=lambda row: row[0])
        shared = msgspec.msgpack.decode(part[0])
        clerk = [record["person"] in manual or index in reader.manual for _, index, record in rows]
        found.append({
            "inquiry": {
                "requester": shared[2], "on_behalf_of": shared[3], "procedure": shared[4], "items": shared[5],
                "role": shared[6], "section": shared[7], "reference_date": shared[8], "legal_basis": shared[12],
            },
            "aliases": [aliases[struct.pack("<I", record["person"])].hex() for _, _, record in rows],
            "permits": [number for number, _, _ in rows],
            "manual": clerk,
            "asked": [
                asked(reader, record["person"], shared[2], now) if one else 0
                for one, (_, _, record) in zip(clerk, rows, strict=True)
            ],
            "valid_until": part[2],
        })  # fmt: skip
    return found


def asked(reader: Any, person: int, requester: str, now: int) -> int:
    """How many bodies a requester has asked about a person lately."""
    since = now - ASKED_DAYS * DAY_S
    return len({
        record["provider"]
        for record in reader.records
        if record is not None and record["kind"] in (INQUIRY, RELEASE) and record["person"] == person
        and record["shared"][2] == requester and record["times"][0] >= since
    })  # fmt: skip


def cursor_of(reader: Any, provider: int, text: str) -> tuple[int, int, int]:
    """Where a collection goes on: from record, to before record, behind number."""
    raw = bytes.fromhex(text)
    plain = AESGCM(reader.own_key("inbox-cursors")).decrypt(raw[:12], raw[12:], struct.pack(">I", provider))
    first, below, number = struct.unpack("<QQQ", plain)
    return first, below, number
