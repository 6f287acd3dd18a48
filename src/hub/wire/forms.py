"""How arguments travel that only few methods have; the general ones are in ``packing.py``.

People are named by aliases or by resident record codes, records by permits or by aliases: of each pair one is nil.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from hub.catalog import Catalog
from hub.citizens.proxystate import ProxyKind
from hub.decode import decode_aliases, decode_codes
from hub.errors import RequestError
from hub.limits import ALIAS_BYTES, UPDATE_ROWS_MAX
from hub.messages import Arrivals
from hub.persons.pseudonyms import decode_identifiers
from hub.wire.packing import (
    MEMBERS,
    PERMITS,
    Days,
    Form,
    Rows,
    column,
    days,
    default_of,
    pack_rows,
    payloads,
    raw,
    unpack_rows,
    yes_or_column,
)


class People(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Persons by aliases, 16 bytes a row, or by resident record codes, i64 a row; the other one is nil."""

    aliases: memoryview | None
    codes: memoryview | None


class Provided(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is corrected: permits, u64 a row, or aliases, 16 bytes a row; the other one is nil."""

    permits: memoryview | None
    aliases: memoryview | None


def _is_aliases(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8


def _one_of(name: str, first: memoryview | None, second: memoryview | None) -> None:
    if (first is None) == (second is None):
        raise RequestError(f"{name}: expected one of two columns, got {'none' if first is None else 'both'}")


def _people(name: str) -> Form:
    def pack(value: Any) -> People:
        if _is_aliases(value):
            return People(raw(decode_aliases(value, name)), None)
        return People(None, raw(decode_codes(value)))

    def unpack(value: People, _: Catalog) -> Any:
        _one_of(name, value.aliases, value.codes)
        if value.aliases is not None:
            return column(name, value.aliases, np.uint8, ALIAS_BYTES)
        assert value.codes is not None
        return column(name, value.codes, np.int64)

    return Form(People, pack, unpack)


PEOPLE, DEAD = _people("people"), _people("aliases")
DIED = days("days")
BORN = days("born")._replace(default=Days(None, memoryview(b"")))
KEEP_OLD = default_of(yes_or_column("keep_old"), False)
SEALED = payloads("sealed")


def _identifiers(name: str) -> Form:
    def pack(value: Any) -> Rows:
        found = decode_identifiers(value, name)
        return Rows(raw(found.lengths.astype(np.uint32)), raw(found.data))

    return Form(Rows, pack, lambda value, _: unpack_rows(name, value))


IDENTIFIERS, OLD, NEW = (_identifiers(name) for name in ("identifiers", "old", "new"))


# -- what is sent unasked


def _named(work: Any, *args: Any) -> Any:
    try:
        return work(*args)
    except RequestError as error:
        raise RequestError(str(error).replace("providers", "receivers", 1)) from None


RECEIVERS = MEMBERS._replace(
    pack=lambda value: _named(MEMBERS.pack, value), unpack=lambda value, catalog: _named(MEMBERS.unpack, value, catalog)
)


def _pack_provided(value: Any) -> Provided:
    if _is_aliases(value):
        return Provided(None, raw(decode_aliases(value)))
    return Provided(PERMITS.pack(value), None)


def _unpack_provided(value: Provided, catalog: Catalog) -> Any:
    _one_of("permits", value.permits, value.aliases)
    if value.aliases is not None:
        return column("aliases", value.aliases, np.uint8, ALIAS_BYTES)
    return PERMITS.unpack(value.permits, catalog)


PROVIDED = Form(Provided, _pack_provided, _unpack_provided)


def _pack_corrected(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise RequestError(f"payloads: expected a list, got {type(value).__name__}")
    for row, one in enumerate(value):
        several = one.values() if isinstance(one, Mapping) else [one]
        if any(each is not None and type(each) is not bytes for each in several):
            raise RequestError(f"payloads: expected bytes or None, got something else in row {row}")
    return value


_Payload = bytes | None
CORRECTED = Form(
    Annotated[list[bytes | dict[str, _Payload] | None], msgspec.Meta(max_length=UPDATE_ROWS_MAX)],
    _pack_corrected,
    lambda value, _: value,
)
"""Payloads a row, or by the receiver's code; few, so that they need no column."""


def _encode_text(text: Any) -> bytes:
    if not isinstance(text, str | bytes):
        raise RequestError(f"texts: expected text, got {type(text).__name__}")
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise RequestError("texts: expected UTF-8, got something else") from None


def _pack_texts(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return _encode_text(value)
    if not isinstance(value, list | tuple):
        raise RequestError(f"texts: expected a text or a list of texts, got {type(value).__name__}")
    return pack_rows([_encode_text(one) for one in value])


TEXTS = Form(
    bytes | Rows, _pack_texts, lambda value, _: value if isinstance(value, bytes) else unpack_rows("texts", value)
)


# -- others


def _pack_numbers(value: Any) -> memoryview:
    numbers = value.number if isinstance(value, Arrivals) else value
    if isinstance(numbers, list | tuple) and all(type(one) is int and 0 <= one < 1 << 64 for one in numbers):
        numbers = np.array(numbers, np.uint64)
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.uint64 or numbers.ndim != 1:
        raise RequestError(f"numbers: expected hub.Arrivals or uint64[N], got {type(value).__name__}")
    packed: memoryview = raw(numbers)
    return packed


NUMBERS = Form(memoryview, _pack_numbers, lambda view, _: column("numbers", view, np.uint64))


def _pack_kind(value: Any) -> ProxyKind:
    if not isinstance(value, ProxyKind):
        raise RequestError(f"kind: expected hub.ProxyKind, got {type(value).__name__}")
    return value


KIND = Form(ProxyKind, _pack_kind, lambda value, _: value)
