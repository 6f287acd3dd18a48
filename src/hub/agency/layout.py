"""The layout of a copy register (副本): its columns, their types, and which procedures and items they answer.

A layout is a TOML file:

    name = "resident-tax"
    procedures = ["19-8/73/75.3"]       # left out: every procedure that asks for its items
    encoding = "auto"                   # utf-8 (with or without a byte order mark), cp932, or auto
    key = { column = "宛名番号", kind = "own_id" }        # or kind = "alias": 32 hex digits

    [[column]]
    name = "合計所得金額"                # of the CSV's header
    item = "市町村民税"                  # an item as permits name it
    type = "int"                        # int, date, digits, text
    min = 0
    max = 999999999999

| type | what a cell holds, where it is not empty | options |
|---|---|---|
| int | a whole number, of 64 bits | min, max |
| date | YYYY-MM-DD or YYYYMMDD, a day that there is | min, max: dates |
| digits | exactly ``width`` digits 0 to 9 | width; check = "mod11" or "luhn": the last one is a check digit |
| text | UTF-8 | max_bytes; values: the only ones |

``required = true``: no cell is empty. A check digit is judged over a chunk: where fewer than 19 of 20 hold, the column
holds something else (one in 10 does by chance).
"""

from __future__ import annotations

import datetime as dt
import tomllib
from typing import Any, Literal

import msgspec

from hub.errors import RequestError
from hub.limits import REGISTER_CELL_BYTES_MAX, REGISTER_COLUMNS_MAX, REGISTER_ITEMS_MAX

WIDTH_MAX = 32


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of a register, see the module."""

    name: str
    item: str
    type: Literal["int", "date", "digits", "text"]
    required: bool = False
    min: int | dt.date | None = None
    max: int | dt.date | None = None
    width: int | None = None
    check: Literal["mod11", "luhn"] | None = None
    max_bytes: int = 1_000
    values: tuple[str, ...] = ()


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The column that says whose a row is."""

    column: str
    kind: Literal["own_id", "alias"]


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The layout of a register, see the module."""

    name: str
    key: Key
    column: tuple[Column, ...]
    procedures: tuple[str, ...] = ()
    encoding: Literal["auto", "utf-8", "cp932"] = "auto"

    @property
    def items(self) -> tuple[str, ...]:
        """Its items, in the order of their first columns."""
        return tuple(dict.fromkeys(one.item for one in self.column))

    @property
    def header(self) -> list[str]:
        """The columns of its CSV; their order there does not matter."""
        return [self.key.column, *(one.name for one in self.column)]


def read_layout(text: str) -> Layout:
    """A layout from TOML.

    Raises:
        RequestError: it is none, with what is wrong.
    """
    try:
        return check_layout(msgspec.convert(tomllib.loads(text), Layout, strict=True))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RequestError(f"layout: {str(error)[:1].lower()}{str(error)[1:]}") from None


def check_layout(layout: Layout) -> Layout:
    """Refuse a layout that contradicts itself.

    Raises:
        RequestError: with what is wrong.
    """
    _expect(0 < len(layout.name) <= 64 and layout.name.isprintable(), "name: expected 1 to 64 characters, got others")
    count = len(layout.column)
    _expect(0 < count <= REGISTER_COLUMNS_MAX, f"column: expected 1 to {REGISTER_COLUMNS_MAX}, got {count}")
    _expect(len(layout.items) <= REGISTER_ITEMS_MAX, f"items: expected at most {REGISTER_ITEMS_MAX}, got more")
    names = layout.header
    _expect(len(set(names)) == len(names), "column: expected each name once, got one twice")
    for name in [*names, *layout.items]:
        plain = 0 < len(name.encode()) <= 255 and not set(name) & set(',"\r\n')
        _expect(plain, "column: expected a plain name, got another")
    for one in layout.column:
        _check_column(one)
    return layout


def _check_column(one: Column) -> None:
    name = f"column {one.name}"
    bound: Any = {"int": int, "date": dt.date}.get(one.type, type(None))
    for value in (one.min, one.max):
        fits = value is None or (isinstance(value, bound) and not isinstance(value, bool))
        _expect(fits, f"{name}: expected bounds of its type, got others")
    if one.type == "int":
        for value in (one.min, one.max):
            _expect(value is None or abs(int(value)) < 1 << 63, f"{name}: expected bounds of 64 bits, got more")  # type: ignore[arg-type]
    if one.type == "digits":
        _expect(one.width is not None and 1 <= one.width <= WIDTH_MAX, f"{name}: expected a width, 1 to {WIDTH_MAX}")
        _expect(one.check is None or (one.width or 0) >= 2, f"{name}: expected 2 digits or more with a check digit")
    else:
        _expect(one.width is None and one.check is None, f"{name}: expected width and check with digits only")
    _expect(not one.values or one.type == "text", f"{name}: expected values with text only")
    most = REGISTER_CELL_BYTES_MAX
    _expect(0 < one.max_bytes <= most, f"{name}: expected a max_bytes of 1 to {most}, got {one.max_bytes}")


def _expect(fits: bool, message: str) -> None:
    if not fits:
        raise RequestError(f"layout: {message}")
