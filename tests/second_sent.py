"""The second reader: what is sent unasked, from the byte tables of ``sending/notices.py`` and ``sending/send.py``."""

from __future__ import annotations

import hmac
import struct
from typing import Any

from second_basics import aes, ctr, expect, sha256
from second_exchange import ARRIVALS, PROVISION, PUSH, UPDATE, box_of, part_of, permit_number

OK = 0
NOTICE = 11
GIVEN = (9, 10, NOTICE, 12)
"""Kinds of which shared fields name who gives, and the row who receives."""
NO_TEXT = 0xFFFFFFFF
TEXT_BYTES_MAX = 8_192


def read_notices(reader: Any, name: str) -> None:
    """Texts by the record of the notice."""
    reader.texts = {}
    behind = 0
    for key, body in reader.opened(name):
        (first,) = struct.unpack(">Q", key)
        period, form, nonce, at, n, zero = struct.unpack_from("<HH12sqII", body)
        expect(zero == 0 and form <= 1 and n > 0 and first >= behind, "texts")
        behind = first + n
        begin = max(chunk for chunk in reader.chunks if chunk <= first)
        rows, of_chunk = reader.chunks[begin]
        expect(first + n <= begin + rows and period == of_chunk, "texts of one chunk")
        plain = ctr(reader.period_key(period, "fields"), nonce + bytes(4), body[32:])
        sizes = struct.unpack_from(f"<{n}I", plain) if form else (len(plain),) * n
        place = 4 * n if form else 0
        for index, size in enumerate(sizes, first):
            record = reader.records[index]
            expect(record["kind"] == NOTICE and record["times"] == (at, 0), "record of a text")
            expect(record["outcome"] == OK or size == NO_TEXT or form == 0, "text that reached nobody")
            if size == NO_TEXT:
                expect(record["outcome"] != OK, "a notice without a text")
                continue
            expect(0 < size <= TEXT_BYTES_MAX, "bytes of a text")
            if record["outcome"] == OK:
                reader.texts[index] = plain[place : place + size].decode()
            place += size if form else 0
        expect(not form or place == len(plain), "bytes of texts")


def notices(reader: Any, person: int) -> list[list[Any]]:
    """Sender, subject and text of a person's notices, newest first, none of them withheld."""
    return [
        [record["shared"][2], record["shared"][5][0], reader.texts.get(index)]
        for index, record in reversed(list(enumerate(reader.records)))
        if record is not None and (record["kind"], record["outcome"], record["person"]) == (NOTICE, OK, person)
    ]


def handle(reader: Any, institution: int, index: int) -> str:
    """By what an institution names a record."""
    key = hmac.digest(reader.own_key("handles"), struct.pack("<H", institution), "sha256")
    return (struct.pack("<H", institution) + aes(key, struct.pack("<QII", index, institution, 0))).hex()


def arrived(reader: Any, institution: str, now: int) -> list[list[Any]]:
    """What waits for an institution, in the order of its own numbers: number, alias, kind, sender, reason, payload,
    handle of the record that an update goes back to."""
    receiver = reader.numbers[institution]
    aliases = reader.tables[receiver, 1]
    found = []
    for index, record in reader.waiting.items():
        alias = aliases.get(struct.pack("<I", record["person"]))
        open_still = index not in reader.ends and record["moment"] > now
        if box_of(record) != ARRIVALS + receiver or not open_still or alias is None:
            continue
        payload = reader.payloads.get(index)
        root = record["link"]
        while root is not None and reader.records[root]["kind"] == PROVISION:
            root = reader.records[root]["link"]
        number, shared = permit_number(reader, ARRIVALS + receiver, index), record["shared"]
        corrects = None if root is None else handle(reader, receiver, root)
        data = None if payload is None else payload.hex()
        found.append([number, alias.hex(), record["kind"], shared[2], shared[14], data, corrects])
        expect(record["kind"] in (PUSH, UPDATE) and part_of(record)[2] > now, "arrival")
    return sorted(found)


def sending(reader: Any, sender: str, request_id: str) -> list[int] | None:
    """The statuses that a sender is told, or None where nothing is kept (any more)."""
    key = sending_key(sender, request_id)
    if (key, 0) not in reader.requests:
        return None
    _, rows, chunk_rows, *_ = reader.requests[key, 0]
    status: list[int] = []
    for chunk in range(-(-rows // chunk_rows)):
        body = reader.requests[key, chunk + 1]
        n = (len(body) - 8) // 5
        status += [one & 0x7F for one in body[8 : 8 + n]]
    return status


def sending_key(sender: str, request_id: str) -> bytes:
    return sha256(b"hub/sending-id/1", sender.encode(), b"\0", request_id.encode())[:16]
