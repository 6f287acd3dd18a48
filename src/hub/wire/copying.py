"""How an institution's copy travels: parts of columns, as many as fit a reply, and where the next ones begin."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from hub.methods.copies import AnsweredCopy, AskedCopy
from hub.wire.packing import raw
from hub.wire.results import Result, own


class AskedBody(msgspec.Struct):
    """aliases: 16 bytes a row. status, reason, told, told_reason: u8."""

    request: bytes
    first: int
    received_at: int
    aliases: memoryview
    status: memoryview
    reason: memoryview
    told: memoryview
    told_reason: memoryview


class AnsweredBody(msgspec.Struct):
    """permits: u64 a row. aliases: 16 bytes. outcomes, reasons: u8. provided_on: i64."""

    permits: memoryview
    aliases: memoryview
    outcomes: memoryview
    reasons: memoryview
    provided_on: memoryview


class CopyBody(msgspec.Struct, omit_defaults=True):
    """One of the two by the role; after: hand it to the next call, None at the end."""

    asked: list[AskedBody] = []
    answered: list[AnsweredBody] = []
    after: bytes | None = None


class SomeCopy(NamedTuple):
    """Parts of a copy, and behind which place the next ones are."""

    parts: list[AskedCopy | AnsweredCopy]
    after: bytes | None


_COLUMNS: dict[str, tuple[Any, int]] = {
    "aliases": (np.uint8, 16), "permits": (np.uint64, 1), "provided_on": (np.int64, 1)
}  # fmt: skip


def _columns(body: AskedBody | AnsweredBody) -> list[Any]:
    values = [(name, getattr(body, name)) for name in body.__struct_fields__]
    return [
        own(name, one, *_COLUMNS.get(name, (np.uint8, 1))) if isinstance(one, memoryview) else one
        for name, one in values
    ]


def _pack_copy(some: SomeCopy) -> CopyBody:
    body = CopyBody([], [], some.after)
    for part in some.parts:
        values: list[Any] = [raw(one) if isinstance(one, np.ndarray) else one for one in part]
        if isinstance(part, AskedCopy):
            body.asked.append(AskedBody(*values))
        else:
            body.answered.append(AnsweredBody(*values))
    return body


def _unpack_copy(body: CopyBody) -> SomeCopy:
    asked = [AskedCopy(*_columns(one)) for one in body.asked]
    return SomeCopy([*asked, *(AnsweredCopy(*_columns(one)) for one in body.answered)], body.after)


COPY = Result(CopyBody, _pack_copy, _unpack_copy)
