"""How arguments travel: columns as one field of bytes each, little endian, read where they arrived.

| column | bytes a row |
|---|---|
| aliases, tickets | 16 |
| institution numbers, indexes into a list of codes, sizes | u32 |
| permits | u64; resident record codes i64 |
| days | i32, from 1970-01-01; 0x7FFFFFFF is none |
| statuses, outcomes, reasons, flags, yes (1) or no (0) | u8 |

Rows of bytes or text of different lengths are two fields, :class:`Rows`. Dates are ISO 8601 texts.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.decode import decode_alias, decode_aliases, decode_codes, decode_days, decode_providers
from hub.errors import RequestError
from hub.limits import ALIAS_BYTES, ROWS_PER_BATCH_MAX, WIRE_LIST_MAX
from hub.messages import Permits, Record, Withhold
from hub.persons.holders import OPEN
from hub.storage.turns import no_rest

NONE_SIZE = 0xFFFFFFFF
"""The size of a row that has nothing, not even nothing of length 0."""

REQUIRED: Any = msgspec.NODEFAULT


class Form(NamedTuple):
    """How one argument travels.

    Attributes:
        type: of the field, for msgspec.
        pack: what the caller gave -> the field. unpack: the field -> what the Hub takes.
        default: what stands for an argument that was left out, packed.
    """

    type: Any
    pack: Callable[[Any], Any]
    unpack: Callable[[Any, Catalog], Any]
    default: Any = REQUIRED


class Providers(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Whom rows are asked of: one code and no numbers; or codes, and of each row the place of its own, u32; or no
    codes, and of each row an institution number, u32."""

    codes: Annotated[list[str], msgspec.Meta(max_length=1 << 16)]
    numbers: memoryview


class Rows(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Rows of bytes: sizes u32 a row (``NONE_SIZE``: None), and all of them one behind the other."""

    sizes: memoryview
    data: memoryview


COPIED_BYTES = 1 << 10
"""A column that is no longer is copied: it takes a tenth of the time of looking at it without a copy."""


def raw(values: npt.NDArray[Any]) -> Any:
    """A column as its bytes, a long one without a copy."""
    if values.nbytes <= COPIED_BYTES:
        return values.tobytes()
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


LONG_BYTES = 1 << 18
"""Columns from so many bytes on are copied by pieces of so many: some 50 us each."""

_LISTED_MAX = 64
_MARK_BYTES = 16
_ENCODER = msgspec.msgpack.Encoder()


def encode_body(body: Any, rest: Callable[[], None] = no_rest) -> bytes | memoryview:
    """Arguments or a reply's body as MessagePack, as msgspec's encoder makes it.

    That holds the interpreter's lock to its end, a fifth of a second for ten million rows; here others get their turn
    between the pieces of a long column.

    Args:
        rest: called behind each piece.
    """
    columns: list[tuple[bytes, bytes | memoryview]] = []
    text = _ENCODER.encode(_without_columns(body, columns))
    if not columns:
        return text
    places = sorted((text.index(mark), data) for mark, data in columns)
    whole = np.empty(len(text) + sum(5 - _MARK_BYTES + len(data) for _, data in places), np.uint8).data
    at = begin = 0
    for place, data in places:
        head = text[begin:place] + b"\xc6" + len(data).to_bytes(4, "big")
        whole[at : at + len(head)] = head
        at, begin = at + len(head), place + _MARK_BYTES
        view = memoryview(data)
        for first in range(0, len(view), LONG_BYTES):
            piece = view[first : first + LONG_BYTES]
            whole[at : at + len(piece)] = piece
            at += len(piece)
            rest()
    whole[at:] = text[begin:]
    return whole


def _without_columns(value: Any, columns: list[tuple[bytes, bytes | memoryview]]) -> Any:
    """The same with marks of chance instead of its long columns, which are added to ``columns``."""
    if isinstance(value, bytes | memoryview):
        if len(value) < LONG_BYTES:
            return value
        columns.append((os.urandom(_MARK_BYTES), value))
        return msgspec.Raw(columns[-1][0])
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        cut = {name: _without_columns(field, columns) for name, field in fields.items()}
        changed = {name: field for name, field in cut.items() if field is not fields[name]}
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, list) and len(value) <= _LISTED_MAX:
        parts = [_without_columns(one, columns) for one in value]
        return parts if any(part is not one for part, one in zip(parts, value, strict=True)) else value
    return value


def column(name: str, view: memoryview, dtype: Any, width: int = 1) -> npt.NDArray[Any]:
    """A column in place: dtype[N], or dtype[N, width].

    Raises:
        RequestError: the bytes are no whole number of rows.
    """
    row = np.dtype(dtype).itemsize * width
    if len(view) % row:
        raise RequestError(f"{name}: expected {row} bytes a row, got {len(view)} bytes")
    values: npt.NDArray[Any] = np.frombuffer(view, dtype)
    if not values.flags.aligned:
        values = values.copy()
    return values.reshape(-1, width) if width > 1 else values


def pack_rows(rows: Sequence[bytes | None]) -> Rows:
    """Rows of bytes as two fields."""
    sizes = np.fromiter((NONE_SIZE if one is None else len(one) for one in rows), np.uint32, len(rows))
    return Rows(raw(sizes), memoryview(b"".join([one for one in rows if one])))


def unpack_rows(name: str, rows: Rows) -> list[bytes | None]:
    """The rows of two fields.

    Raises:
        RequestError: the sizes are not those of the data.
    """
    sizes = column(name, rows.sizes, np.uint32)
    lengths = np.where(sizes == NONE_SIZE, 0, sizes).astype(np.int64)
    ends = np.cumsum(lengths)
    if (int(ends[-1]) if len(ends) else 0) != len(rows.data):
        raise RequestError(f"{name}: expected as many bytes as the sizes say, got {len(rows.data)}")
    data = rows.data
    bounds = zip((ends - lengths).tolist(), ends.tolist(), (sizes == NONE_SIZE).tolist(), strict=True)
    return [None if nothing else data[start:end].tobytes() for start, end, nothing in bounds]


def _same(value: Any) -> Any:
    return value


def _taken(value: Any, _: Catalog) -> Any:
    return value


def plain(type_: Any, default: Any = REQUIRED) -> Form:
    """What MessagePack carries as it is."""
    return Form(type_, _same, _taken, default)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


TEXT, NUMBER = plain(str), Form(int, _whole, _taken)
CLERK = plain(str | None, None)
BYTES = Form(bytes, lambda value: bytes(value) if isinstance(value, bytearray | memoryview) else value, _taken)


def default_of(form: Form, default: Any) -> Form:
    """The same form, which may be left out."""
    return form._replace(type=form.type | None if default is None else form.type, default=default)


def optional(form: Form) -> Form:
    """The same form, or None."""
    return Form(
        form.type | None,
        lambda value: None if value is None else form.pack(value),
        lambda value, catalog: None if value is None else form.unpack(value, catalog),
        None,
    )


def _aliases(name: str) -> Form:
    def unpack(view: memoryview, _: Catalog) -> npt.NDArray[np.uint8]:
        if len(view) % ALIAS_BYTES:
            raise RequestError(f"{name}: expected {ALIAS_BYTES} bytes a row, got {len(view)} bytes")
        return np.frombuffer(view, np.uint8).reshape(-1, ALIAS_BYTES)

    return Form(memoryview, lambda value: raw(decode_aliases(value, name)), unpack)


ALIASES, TICKETS = _aliases("aliases"), _aliases("tickets")
ALIAS = Form(bytes, lambda value: decode_alias(value).tobytes(), _taken)
CODES = Form(memoryview, lambda value: raw(decode_codes(value)), lambda view, _: column("codes", view, np.int64))


# -- whom rows are asked of


def _pack_providers(value: Any) -> Providers:
    if isinstance(value, str):
        return Providers([value], memoryview(b""))
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint32 or value.ndim != 1:
            raise RequestError(f"providers: expected uint32[N], got {value.dtype}{list(value.shape)}")
        return Providers([], raw(value))
    if not isinstance(value, list | tuple):
        raise RequestError(f"providers: expected a code, a list of codes or uint32[N], got {type(value).__name__}")
    other = next((code for code in value if type(code) is not str), None)
    if other is not None or None in value:
        raise RequestError(f"providers: expected codes as text, got {type(other).__name__}")
    places: dict[str, int] = {}
    index = np.fromiter((places.setdefault(code, len(places)) for code in value), np.uint32, len(value))
    return Providers(list(places), raw(index))


def _unpack_providers(classes: bool) -> Callable[[Providers, Catalog], Any]:
    def unpack(value: Providers, catalog: Catalog) -> Any:
        codes = value.codes
        if codes and not len(value.numbers):
            return codes[0] if len(codes) == 1 else codes
        numbers = column("providers", value.numbers, np.uint32)
        if not codes:
            return numbers
        known = decode_providers(catalog, codes, len(codes), classes=classes)
        if int(numbers.max()) >= len(codes):
            raise RequestError(f"providers: expected places of {len(codes)} codes, got {numbers.max()}")
        return known[numbers]

    return unpack


PROVIDERS = Form(Providers, _pack_providers, _unpack_providers(True))
MEMBERS = Form(Providers, _pack_providers, _unpack_providers(False))


# -- columns of one value or many


def _pack_bytes_column(name: str) -> Callable[[Any], Any]:
    def pack(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
            return raw(value)
        if isinstance(value, list | tuple) and all(isinstance(one, int | np.integer) for one in value):
            try:
                return bytes(map(int, value))
            except ValueError:
                raise RequestError(f"{name}: expected 0 to 255 in every row, got another") from None
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return int(value)
        raise RequestError(f"{name}: expected one value, a list or uint8[N], got {type(value).__name__}")

    return pack


def _small_numbers(name: str) -> Form:
    def unpack(value: Any, _: Catalog) -> Any:
        return value if isinstance(value, int) else column(name, value, np.uint8)

    return Form(memoryview | int, _pack_bytes_column(name), unpack)


OUTCOMES, REASONS = _small_numbers("outcomes"), optional(_small_numbers("reasons"))
DIFFERS = optional(_small_numbers("differs"))


def _pack_permits(value: Any) -> memoryview:
    numbers = value.permit if isinstance(value, Permits) else value
    if isinstance(numbers, list | tuple) and all(type(one) is int and 0 <= one < 1 << 64 for one in numbers):
        numbers = np.array(numbers, np.uint64)
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.uint64 or numbers.ndim != 1:
        raise RequestError(f"permits: expected hub.Permits or uint64[N], got {type(value).__name__}")
    return raw(numbers)


PERMITS = Form(memoryview, _pack_permits, lambda view, _: column("permits", view, np.uint64))


def payloads(name: str) -> Form:
    """Bytes or None a row."""

    def pack(value: Any) -> Rows:
        if not isinstance(value, list | tuple):
            raise RequestError(f"{name}: expected a list, got {type(value).__name__}")
        for row, one in enumerate(value):
            if one is not None and not isinstance(one, bytes | bytearray | memoryview):
                raise RequestError(f"{name}: expected bytes or None, got something else in row {row}")
        return pack_rows([one if one is None or type(one) is bytes else bytes(one) for one in value])

    return Form(Rows, pack, lambda value, _: unpack_rows(name, value))


PAYLOADS = optional(payloads("payloads"))


def _pack_cases(value: Any) -> Rows:
    if not isinstance(value, list | tuple):
        raise RequestError(f"cases: expected a list, got {type(value).__name__}")
    for case in value:
        if case is not None and type(case) is not str:
            raise RequestError(f"cases: expected texts or None, got {type(case).__name__}")
    return pack_rows([None if case is None else case.encode() for case in value])


def _unpack_cases(value: Rows, _: Catalog) -> list[str | None]:
    try:
        return [None if one is None else one.decode() for one in unpack_rows("cases", value)]
    except UnicodeDecodeError:
        raise RequestError("cases: expected UTF-8, got something else") from None


CASES = optional(Form(Rows, _pack_cases, _unpack_cases))

MARKS = plain(Annotated[list[Withhold | None], msgspec.Meta(max_length=ROWS_PER_BATCH_MAX)] | None, None)
TEXTS = plain(Annotated[list[str], msgspec.Meta(max_length=WIRE_LIST_MAX)])


def yes_or_column(name: str) -> Form:
    """Yes or no for all rows, or bool[N]: a byte a row."""

    def pack(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype != np.bool_ or value.ndim != 1:
                raise RequestError(f"{name}: expected bool[N], got {value.dtype}{list(value.shape)}")
            return raw(value)
        if isinstance(value, bool):
            return value
        raise RequestError(f"{name}: expected True, False or bool[N], got {type(value).__name__}")

    def unpack(value: Any, _: Catalog) -> Any:
        if not isinstance(value, memoryview):
            return value
        found = column(name, value, np.uint8)
        if found.max(initial=0) > 1:
            raise RequestError(f"{name}: expected 0 or 1 in every row, got another")
        return found.view(np.bool_)

    return Form(memoryview | bool, pack, unpack)


CONSENTS = optional(yes_or_column("consents"))


# -- days, moments, records


class Days(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One day for all rows, or nil and of each row a day, i32 from 1970-01-01; nil and nothing is no day."""

    day: dt.date | None
    days: memoryview


def days(name: str) -> Form:
    """One day for all rows, or a day a row."""

    def pack(value: Any) -> Days:
        if value is None or (isinstance(value, dt.date) and not isinstance(value, dt.datetime)):
            return Days(value, memoryview(b""))
        if not isinstance(value, list | tuple | np.ndarray):
            raise RequestError(
                f"{name}: expected a date, a list of dates or datetime64[D], got {type(value).__name__}"
            )
        return Days(None, raw(decode_days(name, value, len(value), open_end=True)))

    def unpack(value: Days, _: Catalog) -> Any:
        numbers = column(name, value.days, np.int32)
        if not len(numbers):
            return value.day
        found = numbers.astype("datetime64[D]")
        found[numbers == OPEN] = np.datetime64("NaT")
        return found

    return Form(Days, pack, unpack)


SINCE = days("since")
UNTIL = days("until")._replace(default=Days(None, memoryview(b"")))
DAY = plain(dt.date)
OPTIONAL_DAY = plain(dt.date | None, None)


def _moment(name: str) -> Form:
    def pack(value: Any) -> str:
        if isinstance(value, dt.datetime | dt.date):
            return value.isoformat()
        raise RequestError(f"{name}: expected a date or an aware datetime, got {type(value).__name__}")

    def unpack(text: str, _: Catalog) -> dt.datetime | dt.date:
        try:
            if len(text) == len("2026-04-01"):
                return dt.date.fromisoformat(text)
            return dt.datetime.fromisoformat(text)
        except ValueError:
            raise RequestError(f"{name}: expected ISO 8601, such as 2026-04-01, got something else") from None

    return Form(Annotated[str, msgspec.Meta(max_length=40)], pack, unpack)


def moment(name: str, *, needed: bool = False) -> Form:
    """A day in Japan, or a moment with its zone."""
    return _moment(name) if needed else optional(_moment(name))


def _pack_handle(value: Any) -> Any:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], str):
        row = _whole(value[1])
        if isinstance(row, int) and not isinstance(row, bool):
            return value[0], row
        raise RequestError(f"handle: expected a row, counted from 0, got {type(row).__name__}")
    number = _whole(value)
    if isinstance(number, bytes):
        return number
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 64:
        return number
    raise RequestError(f"handle: expected (request_id, row), bytes or a permit, got {type(value).__name__}")


HANDLE = Form(bytes | tuple[str, int] | int, _pack_handle, _taken)
RECORD = Form(int, lambda value: value.index if isinstance(value, Record) else _whole(value), _taken)
