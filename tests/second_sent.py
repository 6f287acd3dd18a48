"""The second reader's part for what is sent unasked; from the byte tables of ``notices.py`` and ``send.py`` alone."""

from __future__ import annotations

import struct
from typing import Any

from second_basics import ctr, expect, sha256

OK, NO_ALIAS_AT_PROVIDER = 0, 3
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


def sending_key(sender: str, request_id: str) -> bytes:
    return sha256(b"hub/sending-id/1", sender.encode(), b"\0", request_id.encode())[:16]
