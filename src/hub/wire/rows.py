"""How many rows a call and its reply have, and how much work it may be: for quotas, metrics and the choice of a thread.

Rows of a call are those of its longest column. Of a reply they are those of its longest column as well, so that who
collects is charged for what was collected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from hub.limits import ALIAS_BYTES, COLLECT_ROWS
from hub.wire.methods import METHODS, REQUESTS
from hub.wire.packing import Rows

_WIDTHS = {
    "aliases": ALIAS_BYTES, "tickets": ALIAS_BYTES, "codes": 8, "permits": 8, "permit": 8, "numbers": 8, "number": 8,
    "status": 1,
}  # fmt: skip
"""Bytes a row of the columns that say how many rows there are."""

_LISTS = ("people", "identifiers", "old", "sealed", "texts")

BOUNDED = frozenset(
    {
        "inquire", "provide", "push", "notify", "taken", "tickets", "deliver", "acquired", "claim", "identify",
        "collect", "arrived", "answers", "flags",
    }
)  # fmt: skip
"""Bulk methods of which a call with few bytes and no large limit is done in some ten milliseconds."""

LIMIT_MAX = COLLECT_ROWS


def _rows_of(value: Any, width: int) -> int:
    """Rows of one field, however it travels; 0 for what has none."""
    if isinstance(value, memoryview | bytes):
        return len(value) // width
    if isinstance(value, Rows):
        return len(value.sizes) // 4
    if isinstance(value, list):
        return len(value)
    if isinstance(value, msgspec.Struct):
        # Of a pair, such as aliases and codes, one is nil.
        names = value.__struct_fields__
        return max((_rows_of(getattr(value, name), _WIDTHS.get(name, width)) for name in names), default=0)
    return 0


def _measure_of(name: str) -> Callable[[Any], int]:
    fields = [(field, _WIDTHS.get(field, 1)) for field in REQUESTS[name].__struct_fields__]
    counted = [(field, width) for field, width in fields if field in _WIDTHS or field in _LISTS]
    if name == "tickets":
        return lambda given: max(0, given.n) if isinstance(given.n, int) else 0
    if not counted:
        return lambda given: 0
    if counted[0] == ("aliases", ALIAS_BYTES) and name in ("inquire", "push"):
        # Nearly every call is one of these.
        return lambda given: len(given.aliases) // ALIAS_BYTES
    return lambda given: max(_rows_of(getattr(given, field), width) for field, width in counted)


_MEASURES = {name: _measure_of(name) for name in METHODS}


def rows_of_call(name: str, given: msgspec.Struct) -> int:
    """Rows of a call's arguments, as they were decoded; nothing of them need be right yet."""
    return _MEASURES[name](given)


def rows_of_reply(body: Any) -> int:
    """Rows of a reply's body, as it is encoded."""
    if isinstance(body, list):
        # Permits or arrivals by inquiry; or a list of single things.
        return sum(_rows_of_body(one) if isinstance(one, msgspec.Struct) else 1 for one in body)
    return _rows_of_body(body) if isinstance(body, msgspec.Struct) else 0


def _rows_of_body(body: msgspec.Struct) -> int:
    found = 0
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if name in _WIDTHS and isinstance(value, memoryview | bytes):
            found = max(found, len(value) // _WIDTHS[name])
        elif name == "records" and isinstance(value, list):
            found = max(found, len(value))
    return max(found, 1)


def is_bounded(name: str, given: msgspec.Struct) -> bool:
    """Whether a call of a bulk method whose arguments are few bytes is done soon."""
    limit = getattr(given, "limit", None) or 0
    return name in BOUNDED and max(limit, rows_of_call(name, given)) <= LIMIT_MAX
