"""Stage 1 of 6: what the caller hands in -> a batch of checked columns.

Columns are taken as they are, without a copy, where their shape, type and order are right; anything else is refused.
What is checked here is form alone; whether procedure, items and role exist is the catalog's to say (stage 2).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _columns
from hub.catalog import Catalog, Consents
from hub.catalog.words import is_plain
from hub.errors import RequestError
from hub.limits import (
    CASE_CHARS_MAX,
    CLASSES_FROM,
    GROUND_CHARS_MAX,
    INSTITUTION_CODE_CHARS_MAX,
    ITEMS_PER_INQUIRY_MAX,
    OPERATOR_CHARS_MAX,
    REQUEST_ID_CHARS_MAX,
    ROWS_PER_BATCH_MAX,
    SECTION_CHARS_MAX,
)
from hub.messages import Aliases, Differs, Inquiry, Withhold
from hub.persons.holders import OPEN
from hub.requests.batch import Batch

CODES_ABOVE = 10**11
"""A resident record code (住民票コード) has eleven digits."""

_FIRST_DAY, _EPOCH_DAY = 1, dt.date(1970, 1, 1).toordinal()
_DAYS = _FIRST_DAY - _EPOCH_DAY, dt.date.max.toordinal() - _EPOCH_DAY
"""Days that a date can name, counted from 1970-01-01."""


def decode_inquiry(
    catalog: Catalog,
    inquiry: Inquiry,
    aliases: Any,
    providers: Any,
    cases: Sequence[str | None] | None,
    withhold: Sequence[Withhold | None] | None = None,
    consents: Any = None,
) -> Batch:
    """Check one inquiry.

    Raises:
        RequestError: something has not the form that ``Hub.inquire`` asks for; the message names it.
    """
    inquiry = _check_inquiry(inquiry)
    requester = catalog.institution(inquiry.requester).number
    rows = decode_aliases(aliases)
    numbers = decode_providers(catalog, providers, len(rows), classes=True)
    listed = None if cases is None else _check_cases(cases, len(rows))
    digest = hashlib.sha256(b"hub/request/1")
    digest.update(msgspec.msgpack.encode((inquiry, listed)))
    digest.update(len(rows).to_bytes(8, "little"))
    digest.update(rows.data)
    digest.update(numbers.data)
    marks = None if withhold is None else _check_marks(withhold, len(rows))
    if marks is not None:
        digest.update(b"marks" + msgspec.msgpack.encode(marks))
    agreed = decode_consents(consents, len(rows))
    if agreed is not None:
        digest.update(b"consents" + np.packbits(np.full(len(rows), agreed), bitorder="little").tobytes())
    classes = _classes_of(catalog, numbers)
    return Batch(inquiry, requester, rows, numbers, listed, digest.digest(), marks, agreed, classes)


def decode_aliases(aliases: Any, name: str = "aliases") -> Aliases:
    """Check an aliases column, or one of tickets: uint8[N, 16], C-contiguous, at most ``ROWS_PER_BATCH_MAX`` rows."""
    if not isinstance(aliases, np.ndarray):
        raise RequestError(f"{name}: expected a numpy array uint8[N, 16], got {type(aliases).__name__}")
    if aliases.dtype != np.uint8 or aliases.ndim != 2 or aliases.shape[1] != 16:
        raise RequestError(f"{name}: expected uint8[N, 16], got {aliases.dtype}{list(aliases.shape)}")
    if not aliases.flags.c_contiguous:
        raise RequestError(f"{name}: expected rows one behind the other (C-contiguous), got another layout")
    _check_rows(len(aliases))
    return aliases


def decode_alias(alias: Any) -> Aliases:
    """Check one alias, as 16 bytes, 32 hex digits or uint8[16]; returns uint8[1, 16]."""
    if isinstance(alias, str):
        try:
            alias = bytes.fromhex(alias) if len(alias) == 32 and " " not in alias else b""
        except ValueError:
            alias = b""
    elif isinstance(alias, np.ndarray):
        alias = alias.tobytes() if alias.dtype == np.uint8 and alias.shape in ((16,), (1, 16)) else b""
    if not isinstance(alias, bytes | bytearray) or len(alias) != 16:
        raise RequestError("alias: expected 16 bytes or 32 hex digits, got something else")
    return np.frombuffer(bytes(alias), dtype=np.uint8).reshape(1, 16)


def decode_providers(
    catalog: Catalog, providers: Any, rows: int, *, classes: bool = False
) -> npt.NDArray[np.uint32]:
    """Check the providers of a batch: a code for all rows, a list of codes, or uint32[N] numbers.

    With ``classes`` a label may stand instead of a code, and ``CLASSES_FROM`` plus a class number instead of a number.
    """
    if isinstance(providers, str):
        return np.full(rows, _number_of(catalog, providers, classes), dtype=np.uint32)
    if isinstance(providers, np.ndarray):
        if providers.dtype != np.uint32 or providers.shape != (rows,):
            raise RequestError(f"providers: expected uint32[{rows}], got {providers.dtype}{list(providers.shape)}")
        if has_classes(providers):
            for number in np.unique(providers[providers >= CLASSES_FROM]).tolist():
                if not classes:
                    raise RequestError(f"providers: expected institution numbers, got {number}")
                _check_class(catalog, catalog.class_of_number(number - CLASSES_FROM))
        return np.ascontiguousarray(providers)
    if not isinstance(providers, list | tuple):
        raise RequestError(f"providers: expected a code, a list of codes or uint32[N], got {type(providers).__name__}")
    if len(providers) != rows:
        raise RequestError(f"providers: expected {rows} rows, got {len(providers)}")
    numbers: dict[str, int] = {}
    # Types first: what cannot be hashed has no place in a set.
    other = next((code for code in providers if type(code) is not str), None)
    if other is not None or None in providers:
        raise RequestError(f"providers: expected codes as text, got {type(other).__name__}")
    for code in set(providers):
        numbers[code] = _number_of(catalog, code, classes)
    return np.fromiter(map(numbers.__getitem__, providers), dtype=np.uint32, count=rows)


def has_classes(numbers: npt.NDArray[np.uint32]) -> bool:
    """Whether a column of providers has a class in it."""
    if len(numbers) == 1:
        return bool(numbers.item() >= CLASSES_FROM)
    return bool(numbers.max(initial=0) >= CLASSES_FROM)


def _classes_of(catalog: Catalog, numbers: npt.NDArray[np.uint32]) -> list[str]:
    """The labels of the classes in a column of providers."""
    if not has_classes(numbers):
        return []
    found = np.unique(numbers[numbers >= CLASSES_FROM])
    return [catalog.class_of_number(number - CLASSES_FROM) for number in found.tolist()]


def _number_of(catalog: Catalog, word: str, classes: bool) -> int:
    """The number of an institution's code, or of a class's label."""
    if classes and word not in catalog.codes and word in catalog.class_labels:
        _check_class(catalog, word)
        return CLASSES_FROM + catalog.class_number(word)
    return catalog.institution(word).number


def _check_class(catalog: Catalog, label: str) -> None:
    if not catalog.members_of(label):
        raise RequestError(f"providers: expected a class with connected bodies, got {label}")


def decode_days(name: str, days: Any, rows: int, *, open_end: bool = False) -> npt.NDArray[np.int32]:
    """Check a column of days: one for all rows, a list, or datetime64[D][N]; counted from 1970-01-01.

    With ``open_end`` None (or NaT) stands for no day: ``OPEN``.
    """
    if days is None or _is_day(days):
        days = [days] * rows
    if isinstance(days, np.ndarray):
        if days.dtype != np.dtype("datetime64[D]") or days.shape != (rows,):
            raise RequestError(f"{name}: expected datetime64[D][{rows}], got {days.dtype}{list(days.shape)}")
        found, missing = days.astype(np.int64), np.isnat(days)
    elif isinstance(days, list | tuple):
        if len(days) != rows:
            raise RequestError(f"{name}: expected {rows} rows, got {len(days)}")
        other = next((day for day in days if day is not None and not _is_day(day)), None)
        if other is not None:
            raise RequestError(f"{name}: expected dates, got {type(other).__name__}")
        missing = np.fromiter((day is None for day in days), np.bool_, rows)
        ordinals = (_FIRST_DAY if day is None else day.toordinal() for day in days)
        found = np.fromiter(ordinals, np.int64, rows) - _EPOCH_DAY
    else:
        raise RequestError(f"{name}: expected a date, a list of dates or datetime64[D], got {type(days).__name__}")
    wrong = np.flatnonzero((missing & (not open_end)) | (~missing & ((found < _DAYS[0]) | (found > _DAYS[1]))))
    if len(wrong):
        raise RequestError(f"{name}: expected a date in every row, got something else in row {wrong[0]}")
    return np.where(missing, OPEN, found).astype(np.int32)


def _is_day(value: object) -> bool:
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def decode_consents(consents: Any, rows: int) -> Consents:
    """Check the consents of a batch: None (nobody), True (all rows) or bool[N]; the same consents in one form each."""
    if consents is None or consents is True or consents is False:
        return True if consents and rows else None
    if not isinstance(consents, np.ndarray):
        raise RequestError(f"consents: expected None, True or bool[{rows}], got {type(consents).__name__}")
    if consents.dtype != np.bool_ or consents.shape != (rows,):
        raise RequestError(f"consents: expected bool[{rows}], got {consents.dtype}{list(consents.shape)}")
    if not consents.any():
        return None
    return True if consents.all() else consents


def decode_codes(codes: Any) -> npt.NDArray[np.int64]:
    """Check resident record codes (list of 11-digit strings or int64[N]): int64[N], each 0 to under CODES_ABOVE."""
    if isinstance(codes, np.ndarray):
        if codes.dtype != np.int64 or codes.ndim != 1:
            raise RequestError(f"codes: expected int64[N], got {codes.dtype}{list(codes.shape)}")
        numbers = np.ascontiguousarray(codes)
        _check_rows(len(numbers))
    elif isinstance(codes, list | tuple):
        _check_rows(len(codes))
        numbers, bad = _columns.parse_codes(list(codes))
        if bad >= 0:
            raise RequestError(f"codes: expected 11 digits in every row, got something else in row {bad}")
    else:
        raise RequestError(f"codes: expected a list of strings or int64[N], got {type(codes).__name__}")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= CODES_ABOVE))
    if len(wrong):
        raise RequestError(f"codes: expected 11 digits in every row, got something else in row {wrong[0]}")
    return numbers


def decode_differs(differs: Any, rows: int) -> npt.NDArray[np.uint8]:
    """Check what differs of each row (uint8[N] or a list of ``Differs``): uint8[N], each 0 to 15."""
    column = np.array(differs, dtype=np.int64) if isinstance(differs, list | tuple) else differs
    if not isinstance(column, np.ndarray) or column.dtype not in (np.uint8, np.int64) or column.shape != (rows,):
        raise RequestError(f"differs: expected uint8[{rows}], a number a row, got something else")
    if ((column < 0) | (column > DIFFERS_MAX)).any():
        raise RequestError(f"differs: expected 0 to {DIFFERS_MAX} in every row, got another")
    return column.astype(np.uint8)


def _check_rows(rows: int) -> None:
    if rows > ROWS_PER_BATCH_MAX:
        raise RequestError(f"batch: expected at most {ROWS_PER_BATCH_MAX} rows, got {rows}")


DIFFERS_MAX = sum(Differs)

_CHECKED_MAX = 4_096
_checked: set[tuple[object, ...]] = set()
"""Questions whose words have the right form: a body asks the same one again and again, only the request id differs."""


def _check_inquiry(inquiry: Inquiry) -> Inquiry:
    if not isinstance(inquiry, Inquiry):
        raise RequestError(f"inquiry: expected hub.Inquiry, got {type(inquiry).__name__}")
    if type(inquiry.items) is not tuple:
        return _check_words(inquiry)
    question = (
        inquiry.requester,
        inquiry.procedure,
        inquiry.items,
        inquiry.section,
        inquiry.role,
        inquiry.operator,
        inquiry.reference_date,
    )
    try:
        known = question in _checked
    except TypeError:
        # What cannot be hashed is refused there.
        return _check_words(inquiry)
    if known:
        _check_text("request_id", inquiry.request_id, REQUEST_ID_CHARS_MAX)
        return inquiry
    checked = _check_words(inquiry)
    if len(_checked) >= _CHECKED_MAX:
        _checked.clear()
    _checked.add(question)
    return checked


def _check_words(inquiry: Inquiry) -> Inquiry:
    _check_text("requester", inquiry.requester, INSTITUTION_CODE_CHARS_MAX)
    _check_text("procedure", inquiry.procedure, 100)
    _check_text("section", inquiry.section, SECTION_CHARS_MAX)
    _check_text("request_id", inquiry.request_id, REQUEST_ID_CHARS_MAX)
    if inquiry.operator is not None:
        _check_text("operator", inquiry.operator, OPERATOR_CHARS_MAX)
    if inquiry.role is not None:
        _check_text("role", inquiry.role, 100)
    if inquiry.reference_date is not None and (
        not isinstance(inquiry.reference_date, dt.date) or isinstance(inquiry.reference_date, dt.datetime)
    ):
        raise RequestError(f"reference_date: expected a date, got {type(inquiry.reference_date).__name__}")
    if isinstance(inquiry.items, str) or not isinstance(inquiry.items, list | tuple):
        raise RequestError(f"items: expected a tuple of names, got {type(inquiry.items).__name__}")
    if not 1 <= len(inquiry.items) <= ITEMS_PER_INQUIRY_MAX:
        raise RequestError(f"items: expected 1 to {ITEMS_PER_INQUIRY_MAX}, got {len(inquiry.items)}")
    for item in inquiry.items:
        _check_text("items", item, 200)
    return inquiry if isinstance(inquiry.items, tuple) else msgspec.structs.replace(inquiry, items=tuple(inquiry.items))


def _check_text(name: str, text: Any, most: int) -> None:
    if not isinstance(text, str):
        raise RequestError(f"{name}: expected text, got {type(text).__name__}")
    if not 1 <= len(text) <= most or not text.strip():
        raise RequestError(f"{name}: expected 1 to {most} characters, got {len(text.strip())}")
    if not is_plain(text):
        raise RequestError(f"{name}: expected printable characters, got a control character")


def _check_cases(cases: Any, rows: int) -> list[str | None]:
    if not isinstance(cases, list | tuple):
        raise RequestError(f"cases: expected a list, got {type(cases).__name__}")
    if len(cases) != rows:
        raise RequestError(f"cases: expected {rows} rows, got {len(cases)}")
    for case in cases:
        if case is not None and not (type(case) is str and len(case) <= CASE_CHARS_MAX and is_plain(case)):
            raise RequestError(f"cases: expected None or at most {CASE_CHARS_MAX} printable characters in every row")
    return list(cases)


def _check_marks(marks: Any, rows: int) -> list[Withhold | None] | None:
    """A mark or None a row; None where no row has one."""
    if not isinstance(marks, list | tuple):
        raise RequestError(f"withhold: expected a list, got {type(marks).__name__}")
    if len(marks) != rows:
        raise RequestError(f"withhold: expected {rows} rows, got {len(marks)}")
    for mark in marks:
        if mark is None:
            continue
        if type(mark) is not Withhold:
            raise RequestError(f"withhold: expected None or hub.Withhold in every row, got {type(mark).__name__}")
        _check_text("ground", mark.ground, GROUND_CHARS_MAX)
        if not isinstance(mark.until, dt.date) or isinstance(mark.until, dt.datetime):
            raise RequestError(f"until: expected a date, got {type(mark.until).__name__}")
    return list(marks) if any(marks) else None
